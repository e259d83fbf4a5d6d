"""What the kernel has on its interfaces, read by raw rtnetlink, for which no privilege is needed.

Only the calling thread's network namespace is looked at. Each question waits at most :data:`PATIENCE` and raises
:class:`~asa.dataplane.backend.EnforcementFailed` if the kernel does not tell.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asa.dataplane.backend import Counters, EnforcementFailed
from asa.dataplane.tc.classifier import MAJOR
from asa.dataplane.tc.htb import Rates

PATIENCE: Final = 5.0
"""Seconds for each part of an answer."""

ATTEMPTS: Final = 5
"""At a list that changed while it was told."""

SEQUENCE: Final = 0x0A5A0A5A
"""Of our questions. The kernel tells the answers to some of them to all who listen for changes."""

_BUFFER: Final = 65_536
"""Bytes; the kernel makes no part of a list larger than 32 KiB."""

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/pkt_sched.h, linux/pkt_cls.h, linux/gen_stats.h
_ERROR, _DONE = 2, 3
_REQUEST, _ACKNOWLEDGED, _ECHO, _DUMP, _INTERRUPTED = 0x1, 0x4, 0x8, 0x300, 0x10
_GETLINK, _GETQDISC, _GETTCLASS, _GETTFILTER = 18, 38, 42, 46
_IFNAME, _LINKINFO, _IFALIAS, _INFO_KIND, _INFO_SLAVE_KIND = 3, 18, 20, 1, 4
_KIND, _OPTIONS, _XSTATS, _STATS2 = 1, 2, 4, 7
_HTB_PARMS, _HTB_INIT, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 6, 7
_BASIC, _QUEUE, _PKT64 = 1, 3, 8
_U32_ACTIONS, _ACTION_OPTIONS, _MIRRED_PARMS = 7, 2, 2
_IFF_UP: Final = 1
_TYPE: Final = 0x3FFF
"""Of an attribute, without the bits for nested ones and byte order."""
_ROOT: Final = 0xFFFFFFFF
_INGRESS: Final = 0xFFFFFFF1
_INGRESS_FILTERS: Final = 0xFFFFFFF2

_HEADER: Final = struct.Struct("=LHHLL")
_LINK: Final = struct.Struct("=BxHiII")
_TC: Final = struct.Struct("=BxHiIII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=I")
_LARGE: Final = struct.Struct("=Q")
_PARMS: Final = struct.Struct("=8xI8xI4xIIII")
"""Of tc_htb_opt: rate and ceil (bytes/s), after buffer cbuffer, quantum, level and prio."""
_BASIC_STATS: Final = struct.Struct("=QI")
_QUEUE_STATS: Final = struct.Struct("=IIIII")

_ABSENT: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.EINVAL})
"""What the kernel says to questions about what is not there; the last one to those about a device without any."""


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    alias: str
    up: bool
    kind: str
    """``ifb``, ``veth``...; empty for a real one."""
    master_kind: str = ""
    """``bridge``, ``bond``...: of what it is a port of."""


@dataclass(frozen=True, slots=True)
class Qdisc:
    kind: str
    handle: int
    default: int | None = None
    """HTB only: the minor number of its default class."""


@dataclass(frozen=True, slots=True)
class Queues:
    """By index of the interface. Handle 0 is a queue nobody asked for."""

    roots: dict[int, Qdisc]
    ingress: dict[int, Qdisc]
    leaves: dict[int, set[int]]
    """Minor numbers of the classes of ours that have a queue of their own."""


@dataclass(frozen=True, slots=True)
class Filter:
    """At the ingress of an interface; ``target``: the index of the one it redirects to, 0 if it does not."""

    preference: int
    kind: str
    target: int


Attributes = dict[int, bytes]


def links() -> dict[str, Link]:
    """All interfaces, by name."""
    found = (_link(body) for body in _dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0)))
    return {each.name: each for each in found}


def link(name: str) -> Link | None:
    octets = os.fsencode(name) + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(octets), _IFNAME) + octets + bytes(-len(octets) % 4)
    body = _one(_GETLINK, _LINK.pack(0, 0, 0, 0, 0) + attribute)
    return None if body is None else _link(body)


def queues() -> Queues:
    """Of all interfaces."""
    found = Queues({}, {}, {})
    for body in _dump(_GETQDISC, _TC.pack(0, 0, 0, 0, 0, 0)):
        _, _, index, handle, parent, _ = _TC.unpack_from(body)
        if parent == _ROOT:
            found.roots[index] = _qdisc(handle, body)
        elif parent == _INGRESS:
            found.ingress[index] = _qdisc(handle, body)
        elif parent >> 16 == MAJOR:
            found.leaves.setdefault(index, set()).add(parent & 0xFFFF)
    return found


def leaves(index: int, major: int = MAJOR) -> set[int]:
    """Minor numbers of the classes of the root qdisc ``major`` of an interface that have a queue of their own."""
    asked = (_TC.unpack_from(body) for body in _dump(_GETQDISC, _TC.pack(0, 0, 0, 0, 0, 0)))
    return {parent & 0xFFFF for _, _, its, _, parent, _ in asked if its == index and parent >> 16 == major}


def root(index: int) -> Qdisc | None:
    return _at(index, _ROOT)


def ingress(index: int) -> Qdisc | None:
    return _at(index, _INGRESS)


def classes(index: int, major: int = MAJOR) -> dict[int, Rates]:
    """Of the root qdisc ``major`` of an interface, by minor number; empty if there is none."""
    return {_minor(body): _rates(body) for body in _dump(_GETTCLASS, _TC.pack(0, 0, index, 0, major << 16, 0))}


def one_class(index: int, number: int, major: int = MAJOR) -> Rates | None:
    body = _one(_GETTCLASS, _TC.pack(0, 0, index, major << 16 | number, major << 16, 0))
    return None if body is None else _rates(body)


def counters(index: int, major: int = MAJOR) -> dict[int, Counters]:
    """Of the classes of the root qdisc ``major`` of an interface, by minor number."""
    return {_minor(body): _counters(body) for body in _dump(_GETTCLASS, _TC.pack(0, 0, index, 0, major << 16, 0))}


def filters(index: int) -> list[Filter]:
    """At the ingress of an interface, with one for each preference at least."""
    return [_filter(body) for body in _dump(_GETTFILTER, _TC.pack(0, 0, index, 0, _INGRESS_FILTERS, 0))]


def queue_filters(index: int, major: int = MAJOR) -> list[Filter]:
    """Of the root qdisc ``major`` of an interface, likewise."""
    return [_filter(body) for body in _dump(_GETTFILTER, _TC.pack(0, 0, index, 0, major << 16, 0))]


def dump(kind: int, body: bytes, protocol: int) -> list[bytes]:
    """All answers to a question of another family of netlink's. Raises EnforcementFailed."""
    return _told(kind, _DUMP, body, protocol) or []


# -- what is in the answers


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    about = attributes(found.get(_LINKINFO, b""))
    kind, master = _text(about.get(_INFO_KIND)), _text(about.get(_INFO_SLAVE_KIND))
    return Link(index, _text(found.get(_IFNAME)), _text(found.get(_IFALIAS)), bool(flags & _IFF_UP), kind, master)


def _at(index: int, parent: int) -> Qdisc | None:
    body = _one(_GETQDISC, _TC.pack(0, 0, index, 0, parent, 0))
    return None if body is None else _qdisc(_TC.unpack_from(body)[3], body)


def _qdisc(handle: int, body: bytes) -> Qdisc:
    found = attributes(body, _TC.size)
    kind, default = _text(found.get(_KIND)), None
    if kind == "htb":
        default = _NUMBER.unpack_from(attributes(found[_OPTIONS])[_HTB_INIT], 8)[0] & 0xFFFF
    return Qdisc(kind, handle >> 16, default)


def _minor(body: bytes) -> int:
    handle: int = _TC.unpack_from(body)[3]
    return handle & 0xFFFF


def _rates(body: bytes) -> Rates:
    found = attributes(attributes(body, _TC.size)[_OPTIONS])
    guarantee, ceiling, _, _, _, priority = _PARMS.unpack_from(found[_HTB_PARMS])
    if _HTB_RATE64 in found:
        guarantee = _LARGE.unpack_from(found[_HTB_RATE64])[0]
    if _HTB_CEIL64 in found:
        ceiling = _LARGE.unpack_from(found[_HTB_CEIL64])[0]
    return Rates(8 * guarantee, 8 * ceiling, priority)


def _counters(body: bytes) -> Counters:
    found = attributes(body, _TC.size)
    stats = attributes(found[_STATS2])
    sent, packets = _BASIC_STATS.unpack_from(stats[_BASIC])
    if _PKT64 in stats:
        packets = _LARGE.unpack_from(stats[_PKT64])[0]
    _, backlog, dropped, _, overlimits = _QUEUE_STATS.unpack_from(stats[_QUEUE])
    borrowed = _NUMBER.unpack_from(found[_XSTATS], 4)[0]
    return Counters(sent, packets, dropped, borrowed, backlog, overlimits)


def _filter(body: bytes) -> Filter:
    info = _TC.unpack_from(body)[5]
    found = attributes(body, _TC.size)
    target = 0
    action = attributes(attributes(found.get(_OPTIONS, b"")).get(_U32_ACTIONS, b"")).get(1, b"")
    mirred = attributes(attributes(action).get(_ACTION_OPTIONS, b"")).get(_MIRRED_PARMS, b"")
    if _text(attributes(action).get(_KIND)) == "mirred" and len(mirred) >= 28:
        target = _NUMBER.unpack_from(mirred, 24)[0]
    return Filter(info >> 16, _text(found.get(_KIND)), target)


def _text(octets: bytes | None) -> str:
    return os.fsdecode((octets or b"").rstrip(b"\0"))


def attributes(octets: bytes, at: int = 0) -> Attributes:
    """By type. Raises ValueError or struct.error for what are none."""
    found: Attributes = {}
    end = len(octets)
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(octets, at)
        if not 4 <= size <= end - at:
            raise ValueError(f"an attribute of {size} bytes")
        found[kind & _TYPE] = octets[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


# -- questions and answers


def messages(octets: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each."""
    at = 0
    while at + _HEADER.size <= len(octets):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(octets, at)
        if not _HEADER.size <= length <= len(octets) - at:
            raise ValueError(f"a message of {length} bytes")
        yield kind, flags, sequence, octets[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _asked(kind: int, flags: int, body: bytes, protocol: int) -> tuple[list[bytes], bool]:
    """The answers, and whether they are of one moment. Raises OSError for the kernel's error."""
    bodies: list[bytes] = []
    whole = True
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as netlink:
        netlink.settimeout(PATIENCE)
        # Nobody but the kernel is heard then.
        netlink.connect((0, 0))
        netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, SEQUENCE, 0) + body)
        while True:
            for its, its_flags, _, answer in messages(netlink.recv(_BUFFER)):
                whole = whole and not its_flags & _INTERRUPTED
                if its in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", answer)[0] if len(answer) >= 4 else 0
                    if code > 0:
                        raise OSError(code, os.strerror(code))
                    return bodies, whole
                bodies.append(answer)


def _told(kind: int, flags: int, body: bytes, protocol: int = socket.NETLINK_ROUTE) -> list[bytes] | None:
    for _ in range(ATTEMPTS):
        try:
            found, whole = _asked(kind, flags, body, protocol)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            why = error.strerror or str(error)
            break
        except ValueError as error:
            why = f"its answer cannot be read: {error}"
            break
        if whole:
            return found
    else:
        why = "it changes all the time"
    raise EnforcementFailed(f"the kernel does not tell what is on its interfaces: {why}")


def _dump(kind: int, body: bytes) -> list[bytes]:
    return _told(kind, _DUMP, body) or []


def _one(kind: int, body: bytes) -> bytes | None:
    # It answers some questions only who wants an echo; and of a queue it made up itself it says nothing, not even that
    # there is none.
    return next(iter(_told(kind, _ACKNOWLEDGED | _ECHO, body) or []), None)
