"""u32 filters as the kernel's rtnetlink has them: what is asked, what comes back. No I/O.

Everything of ours on a device is of one preference, :data:`PREFERENCE`, on the root qdisc ``a5a:``, and each filter has
a key that every packet fits and that has our mark as its value; another has the UNIX second at which a leaf expires.
So the kernel itself keeps all there is to know of a filter, for whoever comes next. tc(8) shows these keys as
``match 0a5a7533/00000000 at 0``.

linux/pkt_cls.h, linux/rtnetlink.h, net/sched/cls_u32.c
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asa.dataplane.u32.filters import AFTER_HEADER, Key, Way, family_keys, plain_key

ROOT: Final = 0x0A5A0000
"""The qdisc the filters are on, classifier.MAJOR's, which this module does without: the warden loads it alone."""

PREFERENCE: Final = 0x0A5A
MARK: Final = 0x0A5A7533
"""The value of the key that is our mark."""

NODES: Final = range(0x001, 0x1000)
"""Numbers of filters in a bucket; the lower is asked first."""

TABLES: Final = range(0x001, 0x800)
"""Numbers of tables; the kernel chooses its own above."""

BUCKETS: Final = 256
LAST_SECOND: Final = 0xFFFFFFFF

NEW_FILTER: Final = 44
_NEW_QDISC: Final = 36
_GET_QDISC: Final = 38
_DELETE_FILTER: Final = 45
_GET_FILTER: Final = 46
_CREATE: Final = 0x601
"""NLM_F_REQUEST, NLM_F_EXCL and NLM_F_CREATE."""
_DUMP: Final = 0x301
_REQUEST: Final = 0x1

_KIND: Final = 1
_OPTIONS: Final = 2
_CLASS: Final = 1
_HASH: Final = 2
_LINK: Final = 3
_DIVISOR: Final = 4
_SELECTOR: Final = 5

_TERMINAL: Final = 1
_VARIABLE_OFFSET: Final = 4
_HEADER_WORDS: Final = 0x0F00
"""Of the first 16 bits of an IPv4 header; 6 bits to the right they are bytes."""
_HEADER_SHIFT: Final = 6
_ROOT_TABLE: Final = 0xFFF00000
_EVERYTHING: Final = 0x0003
"""ETH_P_ALL."""

HEADER: Final = struct.Struct("=LHHLL")
_TRAFFIC: Final = struct.Struct("=BxxxiLLL")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=L")
_SHIFTS: Final = struct.Struct("=BBBx2sHhh4s")
_COMPARED: Final = struct.Struct("=4s4sii")
_INFO: Final = PREFERENCE << 16 | struct.unpack("=H", struct.pack("!H", _EVERYTHING))[0]


@dataclass(frozen=True, slots=True)
class Table:
    """``handle``: its number, shifted to the left by 20 bits. The kernel's root table is one too."""

    handle: int
    divisor: int


@dataclass(frozen=True, slots=True)
class Link:
    """In the root table: packets that fit look on in ``table``, and past it if nothing there fits."""

    handle: int
    family: int
    way: Way
    table: int

    @property
    def node(self) -> int:
        return self.handle & 0xFFF


@dataclass(frozen=True, slots=True)
class Leaf:
    """Packets that fit go to ``classid``. ``expires``: UNIX s; 0: never."""

    handle: int
    keys: tuple[Key, ...]
    classid: int
    expires: int


@dataclass(frozen=True, slots=True)
class Other:
    """Without our mark."""

    handle: int


Node = Table | Link | Leaf | Other


def new_table(index: int, number: int) -> bytes:
    return _filter_message(index, number << 20, _attribute(_DIVISOR, _NUMBER.pack(BUCKETS)))


def new_link(index: int, link: Link) -> bytes:
    keys = family_keys(link.family) + ((plain_key(),) if link.way.plain else ())
    flags, shift, mask = (_VARIABLE_OFFSET, _HEADER_SHIFT, _HEADER_WORDS) if link.family == 4 else (0, 0, 0)
    selector = _selector(flags, keys, None, shift, mask, link.way)
    return _filter_message(index, link.node, _attribute(_LINK, _NUMBER.pack(link.table)) + selector)


def new_leaf(index: int, leaf: Leaf) -> bytes:
    options = (
        _attribute(_CLASS, _NUMBER.pack(leaf.classid))
        + _attribute(_HASH, _NUMBER.pack(leaf.handle & 0xFFFFF000))
        + _selector(_TERMINAL, leaf.keys, leaf.expires, 0, 0, Way(0, 0))
    )
    return _filter_message(index, leaf.handle & 0xFFF, options)


def deletion(index: int, handle: int) -> bytes:
    return _message(_DELETE_FILTER, _REQUEST, index, handle, ROOT, _INFO, _attribute(_KIND, b"u32\0"))


def link_deletion(index: int, link: Link, root: int) -> bytes:
    """``root``: the handle of the root table, which the kernel chose."""
    return deletion(index, root | link.node)


def root_question(index: int) -> bytes:
    return question(index, _ROOT_TABLE)


def question(index: int, handle: int) -> bytes:
    return _message(_GET_FILTER, _REQUEST, index, handle, ROOT, _INFO, _attribute(_KIND, b"u32\0"))


def all_filters(index: int, preference: int = PREFERENCE) -> bytes:
    """``preference``: 0 for those of all."""
    return _message(_GET_FILTER, _DUMP, index, 0, ROOT, preference << 16, b"")


def all_queues() -> bytes:
    return _message(_GET_QDISC, _DUMP, 0, 0, 0, 0, b"")


def queue_of(message: bytes) -> int | None:
    """The index of the interface, if it is a root qdisc of ours that this message tells of. Raises struct.error."""
    _, kind, *_ = HEADER.unpack_from(message)
    if kind != _NEW_QDISC:
        return None
    _, index, handle, _, _ = _TRAFFIC.unpack_from(message, HEADER.size)
    ours = handle == ROOT and _attributes(message, HEADER.size + _TRAFFIC.size).get(_KIND, b"").rstrip(b"\0") == b"htb"
    return index if ours else None


def is_foreign(message: bytes) -> bool:
    """Whether it is a filter of another preference, or without our mark."""
    _, kind, *_ = HEADER.unpack_from(message)
    preference = _TRAFFIC.unpack_from(message, HEADER.size)[4] >> 16
    return kind == NEW_FILTER and (preference != PREFERENCE or isinstance(node_of(message), Other))


def node_of(message: bytes) -> Node | None:
    """None if it is nothing of our preference. Raises struct.error or ValueError if it cannot be read."""
    _, kind, *_ = HEADER.unpack_from(message)
    if kind != NEW_FILTER:
        return None
    _, _, handle, parent, info = _TRAFFIC.unpack_from(message, HEADER.size)
    found = _attributes(message, HEADER.size + _TRAFFIC.size)
    # The kernel tells of the preference as a whole too, without a handle.
    if parent != ROOT or info >> 16 != PREFERENCE or not handle or found.get(_KIND, b"").rstrip(b"\0") != b"u32":
        return None
    options = _attributes(found.get(_OPTIONS, b""), 0)
    if _DIVISOR in options:
        return Table(handle, _NUMBER.unpack(options[_DIVISOR])[0])
    selector = options.get(_SELECTOR, b"")
    flags, shift, count, mask, _, _, at, way_mask = _SHIFTS.unpack_from(selector)
    keys = tuple(_key(selector, _SHIFTS.size + number * _COMPARED.size) for number in range(count))
    ours = keys[-1:] == (Key(0, MARK, 0),)
    if ours and _LINK in options and not flags & _TERMINAL:
        way = Way(at, int.from_bytes(way_mask, "big"), plain_key() in keys)
        family = next((each for each in (4, 6) if family_keys(each)[0] in keys), 0)
        offset = (_VARIABLE_OFFSET, _HEADER_SHIFT, _HEADER_WORDS) if family == 4 else (0, 0, 0)
        if (flags, shift, int.from_bytes(mask, "big")) == offset:
            return Link(handle, family, way, _NUMBER.unpack(options[_LINK])[0])
    if ours and _CLASS in options and flags & _TERMINAL and len(keys) >= 2 and keys[-2].mask == 0:
        return Leaf(handle, keys[:-2], _NUMBER.unpack(options[_CLASS])[0], keys[-2].value)
    return Other(handle)


def messages_of(buffer: bytes) -> Iterator[bytes]:
    """The messages the kernel put into one datagram. Raises struct.error or ValueError."""
    at = 0
    while at + HEADER.size <= len(buffer):
        length = HEADER.unpack_from(buffer, at)[0]
        if not HEADER.size <= length <= len(buffer) - at:
            raise ValueError(f"a message of {length} bytes")
        yield buffer[at : at + length]
        at += (length + 3) & ~3


def _filter_message(index: int, handle: int, options: bytes) -> bytes:
    body = _attribute(_KIND, b"u32\0") + _attribute(_OPTIONS, options)
    return _message(NEW_FILTER, _CREATE, index, handle, ROOT, _INFO, body)


def _message(kind: int, flags: int, index: int, handle: int, parent: int, information: int, body: bytes) -> bytes:
    length = HEADER.size + _TRAFFIC.size + len(body)
    return (
        HEADER.pack(length, kind, flags, 0, 0) + _TRAFFIC.pack(0, index, handle, parent, information) + body
    )  # fmt: skip


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _selector(flags: int, keys: tuple[Key, ...], expires: int | None, shift: int, mask: int, way: Way) -> bytes:
    # The mark is last, and not the first thing a packet is compared with.
    told = keys + (() if expires is None else (Key(0, expires, 0),)) + (Key(0, MARK, 0),)
    head = _SHIFTS.pack(flags, shift, len(told), mask.to_bytes(2, "big"), 0, 0, way.at, way.mask.to_bytes(4, "big"))
    return _attribute(_SELECTOR, head + b"".join(map(_compared, told)))


def _compared(key: Key) -> bytes:
    return _COMPARED.pack(key.mask.to_bytes(4, "big"), key.value.to_bytes(4, "big"), key.at, key.from_mask)


def _key(selector: bytes, at: int) -> Key:
    mask, value, offset, from_mask = _COMPARED.unpack_from(selector, at)
    return Key(int.from_bytes(mask, "big"), int.from_bytes(value, "big"), offset, AFTER_HEADER if from_mask else 0)


def _attributes(buffer: bytes, at: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + _ATTRIBUTE.size <= len(buffer):
        size, kind = _ATTRIBUTE.unpack_from(buffer, at)
        if not _ATTRIBUTE.size <= size <= len(buffer) - at:
            raise ValueError(f"an attribute of {size} bytes")
        # The kernel flags nests and orders of bytes in the two highest bits.
        found[kind & 0x3FFF] = buffer[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return found
