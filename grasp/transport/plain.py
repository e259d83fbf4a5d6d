"""UDP multicast and TCP without cryptography, for links that are secured below IP (RFC 8990 §2.5.1)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from grasp.limits import Limits
from grasp.transport import Connection, Receiver, Source
from grasp.transport.host import HostSubstrate
from grasp.transport.replies import Replies
from grasp.transport.tcp import TcpConnection, connect
from grasp.wire import Address

_log = logging.getLogger("grasp.transport")


class PlainSubstrate(HostSubstrate):
    """Its arguments are those of :class:`HostSubstrate`, and ``link_local_only`` for DULL, which is insecure on
    purpose (§2.5.2): it refuses connections from routed peers.

    It trusts the link: who can send on it is a member. :meth:`start` logs a warning that says so.
    """

    secured = False
    multicasts_ipv4 = True

    def __init__(
        self,
        interfaces: Sequence[str] | None = None,
        *,
        port: int = 0,
        address: Address | None = None,
        ipv4: bool = False,
        link_local_only: bool = False,
        limits: Limits | None = None,
        name: str = "grasp",
    ) -> None:
        super().__init__(interfaces, port=port, address=address, ipv4=ipv4, limits=limits, name=name)
        self.link_local_only = link_local_only

    def start(self, receiver: Receiver) -> None:
        super().start(receiver)
        if self.link_local_only:
            return
        _log.warning(
            "GRASP on %s has no security of its own: it relies on links secured below IP (RFC 8990 §2.5.1)",
            ", ".join(each.name for each in self.interfaces) or "no interface yet",
        )

    def _begin(self, receiver: Receiver) -> None:
        self._replies = Replies(self._epoll, self._limits.tasks, self._limits.reply_connect_ms / 1000)

    def _accepted(self, wire: TcpConnection) -> None:
        self._receiver.connected(wire)

    def _heard(self, data: bytes, source: Source) -> None:
        self._receiver.multicast_received(data, source)

    def _ready(self, number: int) -> None:
        self._replies.ready(number)

    def _upkeep(self, now: float) -> None:
        self._replies.expire(now)

    @property
    def _busy(self) -> bool:
        return len(self._replies) > 0

    def _end(self) -> None:
        self._replies.close()

    def multicast(self, interface: int, data: bytes) -> bool:
        found = self._snapshot.interfaces.get(interface)
        return found is not None and self._running and self._multicast.send(found, data)

    def reply(self, target: Source, data: bytes) -> None:
        if self._running:
            self._replies.send(time.monotonic(), target, data)

    def connect(self, address: Address, port: int, interface: int, seconds: float, member: str = "") -> Connection:
        if not self._running:
            raise OSError("substrate is stopped")
        return connect(address, port, interface, seconds, self._outgoing)
