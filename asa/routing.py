"""Where traffic leaves this node: the map of the configuration's ``[[route]]`` sections, and the kernel's routes.

The map is computed; only :func:`kernel_interface` asks somebody.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Generic, TypeVar

from asa.config import RouteSection
from asa.errors import Unreachable
from asa.flows import HostName, Mac, Place

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
T = TypeVar("T")

PATIENCE: Final = 1.0
"""Seconds the kernel has for its answer, which is there as a rule when the question is sent."""

MAX_REPLY: Final = 8192
"""Bytes of an answer; it has some hundred."""

ANYWHERE: Final = (IPv4Address("0.0.0.1"), IPv6Address("4000::1"))
"""Addresses of nobody (RFC 6890; IANA, IPv6 Address Space), so that only the default route leads there."""


@dataclass(frozen=True, slots=True)
class Hop:
    """How traffic goes on from here."""

    interface: str | None
    """None: not known, so no link limits it."""
    pools: tuple[str, ...] | None
    """What it takes capacity of; empty: of none; None: the consumer must name one."""


class Routes:
    """The map, up to one look-up for each length of a prefix. For any thread."""

    def __init__(self, sections: Sequence[RouteSection], kernel: Callable[[Address], str | None] | None) -> None:
        """``kernel``: the interface for an address where the map names none (:func:`kernel_interface`)."""
        self._interfaces = _Prefixes((each.prefix, each.interface) for each in sections if each.interface is not None)
        self._pools = _Prefixes((each.prefix, each.pools) for each in sections if each.pools is not None)
        self._kernel = kernel

    def toward(self, place: Place) -> Hop:
        """Interface and pools, each of the longest prefix that covers the whole of ``place`` and states it.

        Where the map names no interface, the kernel's for the network's first usable address; if there is none, as
        for an address of this host, for its last one. Of ``any`` what the prefixes of length 0 state, unless IPv4's
        and IPv6's differ, or the kernel's default route, IPv4's first. Of a MAC address the prefixes of length 0
        alone; of a name, which is to be resolved before, nothing. Raises what the kernel's look-up raises.
        """
        if isinstance(place, HostName):
            return Hop(None, None)
        if isinstance(place, Mac):
            return Hop(self._interfaces.everything(), self._pools.everything())
        if place is None:
            return Hop(self._interfaces.everything() or self._first(ANYWHERE), self._pools.everything())
        return Hop(self._interfaces.covering(place) or self._first(_probes(place)), self._pools.covering(place))

    def _first(self, addresses: Iterable[Address]) -> str | None:
        if self._kernel is None:
            return None
        found = (self._kernel(each) for each in addresses)
        return next((each for each in found if each is not None), None)


def _probes(network: Network) -> tuple[Address, ...]:
    """The addresses that stand for a network: no subnet's own or router anycast address (RFC 4291 §2.6.1), no
    broadcast, but both of a point-to-point link (RFC 3021, RFC 6164)."""
    if network.prefixlen == 0:
        return tuple(each for each in ANYWHERE if each.version == network.version)
    first, last = network[0], network[-1]
    if network.num_addresses > 2:
        first, last = first + 1, last - (1 if network.version == 4 else 0)
    return (first,) if first == last else (first, last)


class _Prefixes(Generic[T]):
    """What prefixes state."""

    def __init__(self, stated: Iterable[tuple[Network, T]]) -> None:
        tables: dict[tuple[int, int], dict[int, T]] = {}
        for prefix, value in stated:
            table = tables.setdefault((prefix.version, prefix.prefixlen), {})
            table[int(prefix.network_address) >> prefix.max_prefixlen - prefix.prefixlen] = value
        self._tables = {
            version: [
                (length, tables[version, length])
                for length in sorted((each for its, each in tables if its == version), reverse=True)
            ]
            for version in (4, 6)
        }

    def covering(self, network: Network) -> T | None:
        """Of the longest prefix that has all of ``network``."""
        number, width = int(network.network_address), network.max_prefixlen
        for length, table in self._tables[network.version]:
            if length <= network.prefixlen and (bits := number >> width - length) in table:
                return table[bits]
        return None

    def everything(self) -> T | None:
        """Of the prefixes of length 0, unless they differ."""
        found = [table[0] for tables in self._tables.values() for length, table in tables if length == 0]
        return found[0] if found and all(each == found[0] for each in found) else None


# rtnetlink(7), linux/rtnetlink.h
_NLMSG_ERROR: Final = 2
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_NLM_F_REQUEST: Final = 1
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTN_HERE: Final = frozenset({2, 4})
"""RTN_LOCAL, RTN_ANYCAST."""
_LOOPBACK: Final = 1
"""The index of ``lo`` in every namespace (LOOPBACK_IFINDEX in the kernel's net.h)."""

_HEADER: Final = struct.Struct("=LHHLL")
_ROUTE: Final = struct.Struct("=8BL")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")
_INDEX: Final = struct.Struct("=L")

_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})
"""No route, and the routes ``throw``, ``unreachable``, ``prohibit`` and ``blackhole`` (ip-route(8))."""
_NO_IPV6: Final = frozenset({errno.EOPNOTSUPP})
"""A kernel without IPv6, where nobody takes the question (rtnetlink_rcv_msg)."""


def kernel_interface(address: Address) -> str | None:
    """The interface by which the kernel of this network namespace would send to ``address``, of several equal routes
    the one it would choose.

    None if it would not, or to this host itself: there is no route, it is unreachable, prohibited or a black hole, or
    leads to an address of this host or to ``lo``. None for IPv6 link-local addresses too, which are on every link.
    Waits at most :data:`PATIENCE`. Raises :class:`~asa.errors.Unreachable` if the kernel does not tell.
    """
    if isinstance(address, IPv6Address) and address.is_link_local:
        return None
    try:
        index = _index(_asked(_question(address)), _NO_WAY if address.version == 4 else _NO_WAY | _NO_IPV6)
    except OSError as error:
        why = error.strerror or str(error)
    except (struct.error, ValueError) as error:
        why = f"its answer cannot be read: {error}"
    else:
        return None if index is None else _name(index)
    raise Unreachable(
        f"the kernel does not tell how it reaches {address}: {why}",
        hint="name the interface in a [[route]], or set kernel_routes = false",
    )


def _question(address: Address) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), _RTA_DST) + address.packed
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body


def _asked(question: bytes) -> bytes:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(PATIENCE)
        # Nobody but the kernel is heard then.
        netlink.connect((0, 0))
        netlink.send(question)
        return netlink.recv(MAX_REPLY)


def _index(reply: bytes, no_way: frozenset[int]) -> int | None:
    """The index of the interface; None: this host itself, or one of the errors ``no_way``.

    Raises OSError for another error of the kernel's, ValueError or struct.error for what is no answer.
    """
    length, kind, *_ = _HEADER.unpack_from(reply)
    at = _HEADER.size
    if length > len(reply):
        raise ValueError(f"{length} bytes, {len(reply)} came")
    if kind == _NLMSG_ERROR:
        code = -_ERROR.unpack_from(reply, at)[0]
        if code in no_way:
            return None
        raise OSError(code, os.strerror(code))
    if kind != _RTM_NEWROUTE:
        raise ValueError(f"a message of type {kind}")
    if _ROUTE.unpack_from(reply, at)[7] in _RTN_HERE:
        return None
    at += _ROUTE.size
    while at + _ATTRIBUTE.size <= length:
        size, attribute = _ATTRIBUTE.unpack_from(reply, at)
        if not _ATTRIBUTE.size <= size <= length - at:
            raise ValueError(f"an attribute of {size} bytes")
        if attribute == _RTA_OIF:
            index: int = _INDEX.unpack_from(reply, at + _ATTRIBUTE.size)[0]
            return None if index == _LOOPBACK else index
        at += (size + 3) & ~3
    raise ValueError("no interface")


def _name(index: int) -> str | None:
    """None if the interface went away meanwhile, and its routes with it."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None
