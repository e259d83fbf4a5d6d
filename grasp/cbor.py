"""CBOR (RFC 8949) within bounds: cbor2 decodes, this module keeps it from doing more than that.

cbor2 bounds depth and refuses malformed items; what it leaves open is closed here:

- bytes after the item (``loads`` ignores them): :func:`decode` decodes the item together with a mark
  behind it, in one call;
- tags with behaviour (shared references, regular expressions, big decimals …): every one cbor2 knows is
  decoded as an inert :class:`Tag`; a test walks the tag space of the installed cbor2 for new ones;
- where an item ends in a stream: :class:`Framer`, one pass over the bytes however they arrive.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, Final

import cbor2

from grasp.errors import ErrorCode, LocalError, WireError
from grasp.limits import MAX_DEPTH, MAX_MESSAGE_SIZE

Tag = cbor2.CBORTag

_ACTIVE_TAGS: Final = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
_ENCODED_CBOR: Final = 24
_BREAK: Final = 0xFF
_INDEFINITE: Final = -1

# The mark cannot be foreseen by who wrote the bytes, so they cannot contain it.
_MARK_VALUE: Final = os.urandom(16)
_MARK: Final = b"\x50" + _MARK_VALUE


class Truncated(WireError):
    """The item is well-formed so far and goes on beyond the bytes given."""


class TrailingBytes(WireError):
    """A whole item, then more bytes."""


class RawCBOR(bytes):
    """One encoded CBOR item used as an objective's value (RFC 8991 §2.3.2.4); on the wire it is tag 24."""

    def decode_item(self) -> Any:
        """The item inside. Raises :class:`WireError` where it is not exactly one valid item."""
        return decode(bytes(self))

    def __repr__(self) -> str:
        return f"RawCBOR({bytes(self)!r})"


_IMMUTABLE: Final = frozenset({str, bytes, int, float, bool, type(None), RawCBOR})


def _inert(number: int) -> Callable[[Any, bool], Tag]:
    return lambda content, _immutable: Tag(number, content)


_INERT: Final = {number: _inert(number) for number in _ACTIVE_TAGS}


def decode(data: bytes) -> Any:
    """The one item that ``data`` is.

    Raises :class:`Truncated`, :class:`TrailingBytes` or, for anything else wrong, :class:`WireError`.
    """
    try:
        item, mark = cbor2.loads(
            b"\x82" + data + _MARK,
            max_depth=MAX_DEPTH + 1,
            allow_duplicate_keys=False,
            semantic_decoders=_INERT,
        )
    except Exception as error:
        raise _fault(data, str(error)[:80]) from None
    if mark != _MARK_VALUE:
        raise _fault(data, "ambiguous end")
    return item


def _fault(data: bytes, reason: str) -> WireError:
    """What is wrong with ``data``: a decoder that ran into the mark cannot tell."""
    try:
        end = Framer(MAX_MESSAGE_SIZE).end(data)
    except WireError as error:
        return error
    if end is None:
        return Truncated("CBOR item is cut short")
    if end < len(data):
        return TrailingBytes("bytes after the CBOR item")
    return WireError(f"not valid CBOR: {reason}")


def encode(value: Any) -> bytes:
    """``value`` as CBOR. Raises :class:`LocalError` ``badArgument`` if it cannot be encoded or nests too deep."""
    try:
        data = cbor2.dumps(value)
        # A nest of n levels needs n bytes at least: short items need no check.
        if len(data) > MAX_DEPTH:
            cbor2.loads(data, max_depth=MAX_DEPTH, semantic_decoders=_INERT)
    except Exception as error:
        raise LocalError(ErrorCode.badArgument, f"value cannot be sent as CBOR: {str(error)[:200]}") from None
    return data


def wrap(value: Any) -> Any:
    """A :class:`RawCBOR` as its tag 24, anything else as it is."""
    if type(value) is RawCBOR:
        try:
            decode(bytes(value))
        except WireError as error:
            raise LocalError(ErrorCode.badArgument, f"raw value: {error.detail}") from None
        return Tag(_ENCODED_CBOR, bytes(value))
    return value


def unwrap(value: Any) -> Any:
    """The opposite of :func:`wrap`."""
    if type(value) is Tag and value.tag == _ENCODED_CBOR and type(value.value) is bytes:
        return RawCBOR(value.value)
    return value


def as_received(value: Any) -> Any:
    """``value`` as who receives it will have it, and nobody else does. Raises ``badArgument``."""
    return unwrap(decode(encode(wrap(value))))


def copied(value: Any) -> Any:
    """``value`` with arrays, maps and tags of its own, as deep as they go."""
    kind = type(value)
    if kind is list:
        return [copied(each) for each in value]
    if kind is dict:
        return {key: copied(each) for key, each in value.items()}
    if kind is Tag:
        return Tag(value.tag, copied(value.value))
    if kind in _IMMUTABLE:
        return value
    try:
        return copy.deepcopy(value)
    except TypeError:
        # What cannot be copied is what cbor2 makes of simple values and map keys, which do not change.
        return value


class Framer:
    """Finds the end of the first CBOR item of a growing buffer (RFC 8949 §3, Appendix C).

    Call :meth:`end` each time bytes were appended; it never looks at a byte twice.
    """

    __slots__ = ("_at", "_limit", "_open")

    def __init__(self, limit: int) -> None:
        self._at = 0
        self._limit = limit
        # Items each open container still wants; _INDEFINITE waits for its break.
        self._open: list[int] = []

    def end(self, buffer: bytes | bytearray) -> int | None:
        """Length of the first item, or None while it is incomplete.

        Raises :class:`WireError` if it is malformed, nests deeper than MAX_DEPTH or exceeds the limit.
        """
        at, wanted, size = self._at, self._open, len(buffer)
        started = at > 0
        while (not started or wanted) and at < size:
            started = True
            items = 0
            if buffer[at] == _BREAK:
                if not wanted or wanted[-1] != _INDEFINITE:
                    raise WireError("break without an indefinite-length item")
                wanted.pop()
                at += 1
            else:
                head = self._head(buffer, at, size)
                if head is None:
                    started = at > 0
                    break
                length, content, items = head
                # A string in chunks is no level of nesting.
                deepest = MAX_DEPTH + (buffer[at] in (0x5F, 0x7F))
                at += length + content
                if items:
                    if len(wanted) >= deepest:
                        raise WireError(f"nested deeper than {MAX_DEPTH}")
                    wanted.append(items)
            while not items and wanted and wanted[-1] != _INDEFINITE:
                wanted[-1] -= 1
                if wanted[-1]:
                    break
                wanted.pop()
            # What is still open takes a byte more at least.
            if at + bool(wanted) > self._limit:
                raise WireError(f"message longer than {self._limit} bytes", ErrorCode.tooLong)
        self._at = at
        return at if started and not wanted and at <= size else None

    def _head(self, buffer: bytes | bytearray, at: int, size: int) -> tuple[int, int, int] | None:
        """(bytes of the head, bytes of its string, items of its container), None while incomplete."""
        first = buffer[at]
        major, info = first >> 5, first & 31
        length = 1
        argument = info
        if info >= 24:
            if info == 31 and 2 <= major <= 5:
                return 1, 0, _INDEFINITE
            if info > 27:
                raise WireError("malformed CBOR head")
            length += 1 << (info - 24)
            if at + length > size:
                return None
            argument = int.from_bytes(buffer[at + 1 : at + length], "big")
        if major in (2, 3):
            return length, argument, 0
        if major in (4, 5):
            # An item is a byte at least, so a count beyond the limit is already too long.
            items = argument * (major - 3)
            if items > self._limit:
                raise WireError(f"message longer than {self._limit} bytes", ErrorCode.tooLong)
            return length, 0, items
        return length, 0, 1 if major == 6 else 0
