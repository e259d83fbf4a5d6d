"""CBOR (RFC 8949) written by hand: an encoder, and a walker that knows what is well-formed.

The tests' independent source: neither knows cbor2 nor grasp, and both can say the same thing in every way CBOR
allows (heads that are longer than needed, indefinite lengths).
"""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st


def head(major: int, argument: int, width: int | None = None) -> bytes:
    """The head of an item; ``width`` bytes for its argument (0: in the first byte), None for the fewest."""
    if width is None:
        width = 0 if argument < 24 else next(each for each in (1, 2, 4, 8) if argument < 1 << 8 * each)
    if width == 0:
        return bytes([major << 5 | argument])
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[width]]) + argument.to_bytes(width, "big")


class Raw(bytes):
    """CBOR that is there already."""


def pack(value: Any) -> bytes:
    """A Python value in its shortest form."""
    match value:
        case Raw():
            return bytes(value)
        case bool() | None:
            return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list():
            return head(4, len(value)) + b"".join(map(pack, value))
        case dict():
            return head(5, len(value)) + b"".join(pack(key) + pack(each) for key, each in value.items())
    raise TypeError(value)


def tagged(number: int, content: bytes) -> Raw:
    return Raw(head(6, number) + content)


class Short(Exception):
    """Well-formed so far."""


class Malformed(Exception):
    pass


def item_end(data: bytes, at: int = 0) -> int:
    """Where the item at ``at`` ends. Raises Short or Malformed (RFC 8949 Appendix C)."""
    return _end(data, at, breakable=False)[0]


def _end(data: bytes, at: int, breakable: bool) -> tuple[int, int]:
    """(end, major type), the latter -1 for a break."""
    if at >= len(data):
        raise Short
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    argument = info
    if 24 <= info <= 27:
        size = 1 << info - 24
        if at + size > len(data):
            raise Short
        argument = int.from_bytes(data[at : at + size], "big")
        at += size
    elif 28 <= info <= 30:
        raise Malformed("reserved additional information")
    elif info == 31:
        return _indefinite(data, at, major, breakable)
    if major in (2, 3):
        if at + argument > len(data):
            raise Short
        at += argument
    elif major in (4, 5):
        for _ in range(argument * (major - 3)):
            at = item_end(data, at)
    elif major == 6:
        at = item_end(data, at)
    elif major == 7 and info == 24 and argument < 32:
        raise Malformed("simple value that has a shorter form")
    return at, major


def _indefinite(data: bytes, at: int, major: int, breakable: bool) -> tuple[int, int]:
    if major in (2, 3):
        while True:
            chunk = at
            at, kind = _end(data, at, breakable=True)
            if kind == -1:
                return at, major
            if kind != major or data[chunk] & 31 == 31:
                raise Malformed("chunk of another kind")
    if major == 4:
        kind = 0
        while kind != -1:
            at, kind = _end(data, at, breakable=True)
        return at, major
    if major == 5:
        while True:
            at, kind = _end(data, at, breakable=True)
            if kind == -1:
                return at, major
            at = item_end(data, at)
    if major == 7 and breakable:
        return at, -1
    raise Malformed("no such indefinite length, or a break out of place")


# -- the same value in every form

Item = tuple[bytes, Any]
"""Bytes, and the Python value they stand for."""


def _widths(argument: int) -> st.SearchStrategy[int]:
    fitting = [0] if argument < 24 else []
    return st.sampled_from(fitting + [each for each in (1, 2, 4, 8) if argument < 1 << 8 * each])


@st.composite
def any_head(draw: st.DrawFn, major: int, argument: int) -> bytes:
    """A head of any width that holds the argument."""
    return head(major, argument, draw(_widths(argument)))


@st.composite
def any_uint(draw: st.DrawFn, values: st.SearchStrategy[int] | None = None) -> Item:
    value = draw(values if values is not None else st.integers(0, 2**64 - 1))
    return draw(any_head(0, value)), value


@st.composite
def _negative(draw: st.DrawFn) -> Item:
    value = draw(st.integers(0, 2**64 - 1))
    return draw(any_head(1, value)), -1 - value


@st.composite
def any_string(draw: st.DrawFn, value: bytes | str) -> bytes:
    """A string of definite length, or in chunks."""
    major = 3 if isinstance(value, str) else 2
    if not draw(st.booleans()):
        data = value.encode() if isinstance(value, str) else value
        return draw(any_head(major, len(data))) + data
    cut = draw(st.integers(0, len(value)))
    chunks = [each.encode() if isinstance(each, str) else each for each in (value[:cut], value[cut:])]
    parts = [draw(any_head(major, len(each))) + each for each in chunks]
    return bytes([major << 5 | 31]) + b"".join(parts) + b"\xff"


@st.composite
def any_array(draw: st.DrawFn, parts: list[bytes]) -> bytes:
    if draw(st.booleans()):
        return b"\x9f" + b"".join(parts) + b"\xff"
    return draw(any_head(4, len(parts))) + b"".join(parts)


TEXTS = st.text(max_size=8)


@st.composite
def _string(draw: st.DrawFn) -> Item:
    value = draw(TEXTS | st.binary(max_size=8))
    return draw(any_string(value)), value


_FIXED: st.SearchStrategy[Item] = st.sampled_from(
    [
        (b"\xf4", False), (b"\xf5", True), (b"\xf6", None), (b"\xf9\x3c\x00", 1.0), (b"\xf9\x7c\x00", float("inf")),
        (b"\xfa\x47\xc3\x50\x00", 100000.0), (b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", 1.1),
    ]
)  # fmt: skip

_SCALARS = any_uint() | _negative() | _string() | _FIXED


def _container(items: st.SearchStrategy[Item]) -> st.SearchStrategy[Item]:
    @st.composite
    def array(draw: st.DrawFn) -> Item:
        members = draw(st.lists(items, max_size=4))
        return draw(any_array([each[0] for each in members])), [each[1] for each in members]

    @st.composite
    def mapping(draw: st.DrawFn) -> Item:
        keys = draw(st.lists(TEXTS | st.integers(0, 2**64 - 1), max_size=3, unique_by=lambda key: (type(key), key)))
        data, value = b"", {}
        for key in keys:
            member, value[key] = draw(items)
            data += (draw(any_string(key)) if isinstance(key, str) else draw(any_head(0, key))) + member
        indefinite = draw(st.booleans())
        data = b"\xbf" + data + b"\xff" if indefinite else draw(any_head(5, len(keys))) + data
        return data, value

    return array() | mapping()


ITEMS: st.SearchStrategy[Item] = st.recursive(_SCALARS, _container, max_leaves=12)
"""Valid items without tags."""


@st.composite
def _with_tag(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    return draw(any_head(6, draw(st.integers(0, 70_000) | st.integers(0, 2**64 - 1)))) + draw(inner)


_PLAIN = ITEMS.map(lambda item: item[0])

TAGGED_ITEMS: st.SearchStrategy[bytes] = _PLAIN | _with_tag(_PLAIN) | _with_tag(_with_tag(_PLAIN))
"""Bytes of valid items, some under tags of every kind."""


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` cut anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were valid until somebody meddled with them."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "insert", "delete", "repeat", "cut"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "delete":
                del data[at : at + draw(st.integers(1, 4))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 20))]
            case "cut":
                del data[at:]
    return bytes(data)
