"""A message on its way through a relay: only the loop count changes, every other byte stays.

A relay does not know the objectives it forwards, so it neither decodes nor encodes their values.
"""

from __future__ import annotations

from typing import Final

from grasp.cbor import Framer, Truncated
from grasp.constants import MessageType
from grasp.errors import WireError

_ARRAY: Final = 4


def with_loop_count(data: bytes, loop_count: int) -> bytes:
    """``data``, a valid M_DISCOVERY or M_FLOOD, with the loop count of its first objective replaced."""
    start, end = _loop_count_span(data)
    count = bytes([loop_count]) if loop_count < 24 else bytes([0x18, loop_count])
    return data[:start] + count + data[end:]


def _loop_count_span(data: bytes) -> tuple[int, int]:
    at = _after_head(data, 0)
    kind = data[at : _after_head(data, at)]
    at = _after_head(data, at)  # message type
    at = _after_head(data, at)  # session ID
    at = _after_string(data, at)  # initiator
    if kind[-1] == MessageType.M_FLOOD:
        at = _after_head(data, at)  # ttl
        while data[_after_head(data, at)] >> 5 != _ARRAY:
            at = _after_item(data, at)  # an option that has no place in a flood (§2.8.2)
        at = _after_head(data, at)  # entry
    at = _after_head(data, at)  # objective
    at = _after_string(data, at)  # name
    at = _after_head(data, at)  # flags
    return at, _after_head(data, at)


def _after_head(data: bytes, at: int) -> int:
    info = data[at] & 31
    return at + 1 if info < 24 or info == 31 else at + 1 + (1 << (info - 24))


def _after_item(data: bytes, at: int) -> int:
    length = Framer(len(data)).end(data[at:])
    if length is None:
        raise Truncated("CBOR item is cut short")
    return at + length


def _after_string(data: bytes, at: int) -> int:
    info = data[at] & 31
    end = _after_head(data, at)
    if info < 24:
        return end + info
    if info < 28:
        return end + int.from_bytes(data[at + 1 : end], "big")
    if info != 31:
        raise WireError("malformed CBOR head")
    while data[end] != 0xFF:
        end = _after_string(data, end)
    return end + 1
