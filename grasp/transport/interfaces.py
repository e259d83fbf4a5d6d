"""The node's network interfaces and their addresses, as they come and go (RFC 8990 §2.2)."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import netifaces

from grasp.wire import Address

_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_IFF_RUNNING: Final = 0x40
_IFF_MULTICAST: Final = 0x1000
_USABLE: Final = _IFF_UP | _IFF_RUNNING | _IFF_MULTICAST

_RTMGRP: Final = 0x1 | 0x10 | 0x100  # LINK, IPV4_IFADDR, IPV6_IFADDR


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface that is up: name, index, its link-local address if any, its routed addresses."""

    name: str
    index: int
    link_local: IPv6Address | None
    routed: tuple[IPv6Address, ...]
    ipv4: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the host has at one moment: usable interfaces by index, and every address that is its own."""

    interfaces: dict[int, Interface]
    own: frozenset[Address]
    """The routed addresses of the GRASP interfaces and of the loopback."""
    loopback_routed: tuple[IPv6Address, ...]

    @property
    def routed(self) -> Iterable[Address]:
        """Addresses that can stand for the node anywhere in the domain, best first."""
        for interface in self.interfaces.values():
            yield from interface.routed
        yield from self.loopback_routed
        for interface in self.interfaces.values():
            yield from interface.ipv4


def take_snapshot(wanted: tuple[str, ...] | None, ipv4: bool) -> Snapshot:
    """Look at the host now. ``wanted`` names the GRASP interfaces, None means all but the loopback.

    An interface counts once it is up and running, can multicast and has a link-local address (or, with
    ``ipv4``, an IPv4 address).
    """
    interfaces: dict[int, Interface] = {}
    own: set[Address] = set()
    loopback: tuple[IPv6Address, ...] = ()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        for index, name in socket.if_nameindex():
            flags = _flags(query, name)
            is_loopback = bool(flags & _IFF_LOOPBACK)
            if not is_loopback and (flags & _USABLE != _USABLE or (wanted is not None and name not in wanted)):
                continue
            interface = _read(name, index, ipv4)
            if interface is None:
                continue
            own.update(interface.routed)
            own.update(interface.ipv4)
            if is_loopback and (wanted is None or name not in wanted):
                loopback += tuple(each for each in interface.routed if not each.is_loopback)
                continue
            if interface.link_local is not None or (ipv4 and interface.ipv4):
                interfaces[index] = interface
    return Snapshot(interfaces, frozenset(own), loopback)


def _flags(query: socket.socket, name: str) -> int:
    request = struct.pack("16s16x", name.encode()[:15])
    try:
        return int(struct.unpack_from("H", fcntl.ioctl(query, _SIOCGIFFLAGS, request), 16)[0])
    except OSError:
        return 0


def _read(name: str, index: int, ipv4: bool) -> Interface | None:
    try:
        found = netifaces.ifaddresses(name)
    except (OSError, ValueError):
        # It went away since it was listed.
        return None
    sixes = [IPv6Address(each["addr"].partition("%")[0]) for each in found.get(netifaces.AF_INET6, ())]
    fours = tuple(IPv4Address(each["addr"]) for each in found.get(netifaces.AF_INET, ()) if ipv4 and "addr" in each)
    link_local = next((each for each in sixes if each.is_link_local), None)
    return Interface(name, index, link_local, tuple(each for each in sixes if not each.is_link_local), fours)


class ChangeBell:
    """A netlink socket that becomes readable when a link or an address changes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _RTMGRP))

    def fileno(self) -> int:
        return self._socket.fileno()

    def silence(self) -> None:
        """Read what rang; only that it rang matters."""
        try:
            while self._socket.recv(65_536):
                pass
        except BlockingIOError:
            pass
        except OSError:
            # ENOBUFS: rang more often than the kernel kept count of.
            pass

    def close(self) -> None:
        self._socket.close()
