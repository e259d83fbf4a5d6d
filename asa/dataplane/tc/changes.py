"""Word of what anybody changes on the interfaces and in their queues, from the kernel."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from asa.dataplane.backend import EnforcementFailed
from asa.dataplane.tc.netlink import SEQUENCE, attributes, messages

MOST: Final = 4_096
"""Messages that are read in one go; what is behind them is told the next time."""

_LARGEST: Final = 65_536
_NEWS_BUFFER: Final = 1 << 20
"""Bytes of the kernel's for what was not read yet."""
_NEWLINK, _DELLINK = 16, 17
_INDEX: Final = struct.Struct("=i")
"""Of the interface: in ifinfomsg and in tcmsg behind 4 bytes."""
_LINK_GROUP: Final = 1
"""RTMGRP_LINK."""
_TC_GROUP: Final = 8
"""RTMGRP_TC."""
_TABLES: Final = 12
"""NETLINK_NETFILTER."""
_TABLES_GROUP: Final = 1 << 6
"""NFNLGRP_NFTABLES."""
_TABLES_HEADER: Final = 4
_NEW_GENERATION: Final = 15


class Change(NamedTuple):
    what: str
    """``link``, ``tc``, ``nft``, or ``lost``: more than could be told."""
    interface: int = 0
    """Its index; 0: of none."""


class Changes:
    """Word of what anybody changes, this agent too: interfaces, traffic control, and the nftables table ``table`` where
    that is permitted. Owned by one thread; holds sockets until :meth:`close`."""

    def __init__(self, table: str = "") -> None:
        """Raises EnforcementFailed."""
        self._table = table.encode() + b"\0"
        self._sockets = [self._subscribed(socket.NETLINK_ROUTE, _LINK_GROUP | _TC_GROUP)]
        self.hears_tables = False
        """Whether the kernel let it subscribe to nftables."""
        if table:
            try:
                self._sockets.append(self._subscribed(_TABLES, _TABLES_GROUP))
                self.hears_tables = True
            except EnforcementFailed:
                # Who has no CAP_NET_ADMIN does without.
                pass

    @staticmethod
    def _subscribed(family: int, groups: int) -> socket.socket:
        try:
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        except OSError as error:
            raise EnforcementFailed(f"no word of changes from the kernel: {error.strerror}") from None
        try:
            netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NEWS_BUFFER)
            netlink.bind((0, groups))
        except OSError as error:
            netlink.close()
            raise EnforcementFailed(f"no word of changes from the kernel: {error.strerror}") from None
        netlink.setblocking(False)
        return netlink

    def wait(self, timeout: float) -> frozenset[Change]:
        """What has changed since the last call, as soon as something has; empty after ``timeout`` s without."""
        deadline = time.monotonic() + timeout
        while not (found := self.changes()):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select(self._sockets, [], [], left)[0]:
                break
        return found

    def changes(self) -> frozenset[Change]:
        """What has changed since the last call, at once."""
        found: set[Change] = set()
        for netlink in self._sockets:
            for _ in range(MOST):
                try:
                    octets = netlink.recv(_LARGEST)
                except BlockingIOError:
                    break
                except OSError:
                    # ENOBUFS: it came faster than it was read.
                    found.add(Change("lost"))
                    continue
                found.update(self._of(netlink is not self._sockets[0], octets))
        return frozenset(found)

    def _of(self, tables: bool, octets: bytes) -> Iterator[Change]:
        try:
            for kind, _, sequence, body in messages(octets):
                if sequence == SEQUENCE:
                    continue
                if not tables:
                    yield Change("link" if kind in (_NEWLINK, _DELLINK) else "tc", _INDEX.unpack_from(body, 4)[0])
                elif kind & 0xFF != _NEW_GENERATION and attributes(body, _TABLES_HEADER).get(1) == self._table:
                    yield Change("nft")
        except (ValueError, struct.error):
            yield Change("lost")

    def fileno(self) -> int:
        """Of the socket for interfaces and traffic control."""
        return self._sockets[0].fileno()

    def close(self) -> None:
        for netlink in self._sockets:
            netlink.close()
