"""A relay changes the loop count and no other byte, whatever form of CBOR the message came in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.wire import Discovery, Flood, decode_message, with_loop_count
from tests.wire.by_hand import TAGGED_ITEMS, any_array, any_head, any_string, any_uint, head, pack, tagged

_CASES = settings(max_examples=120, deadline=None)
_MARK = b"\xde\xad\xbe\xef\xde\xad\xbe\xef"
"""Stands for the loop count until everything around it is written."""

ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
FLAGS = st.integers(0, 15)
UINT32 = st.integers(0, 2**32 - 1)


@st.composite
def _objective(draw: st.DrawFn, loop_count: bytes) -> bytes:
    value = draw(st.lists(TAGGED_ITEMS, max_size=1))
    name = draw(any_string(draw(st.text(max_size=30))))
    return draw(any_array([name, draw(any_uint(FLAGS))[0], loop_count, *value]))


@st.composite
def _any_loop_count(draw: st.DrawFn) -> bytes:
    return draw(any_uint(st.integers(0, 255)))[0]


@st.composite
def relayed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An M_DISCOVERY or M_FLOOD as the bytes before and behind its (first) loop count."""
    kind = draw(st.sampled_from([1, 9]))
    parts = [
        draw(any_head(0, kind)),
        draw(any_uint(UINT32))[0],
        draw(any_string(draw(ADDRESSES))),
    ]
    if kind == 1:
        parts.append(draw(_objective(_MARK)))
    else:
        parts.append(draw(any_uint(UINT32))[0])
        tag = draw(st.sampled_from([b"\x80", b"\x9f\xff", pack([103, bytes(16), 6, 7017]), pack([101])]))
        parts.append(draw(any_array([draw(_objective(_MARK)), tag])))
        for _ in range(draw(st.integers(0, 2))):
            parts.append(draw(any_array([draw(_objective(draw(_any_loop_count()))), b"\x80"])))
    if draw(st.booleans()):
        parts.append(pack([101]))
    before, _, behind = draw(any_array(parts)).partition(_MARK)
    return before, behind


def _loop_count(data: bytes) -> int:
    message = decode_message(data)
    if isinstance(message, Discovery):
        return message.objective.loop_count
    assert isinstance(message, Flood)
    return message.entries[0].objective.loop_count


@given(relayed(), _any_loop_count(), st.integers(0, 255))
@_CASES
def test_every_byte_but_the_loop_count_stays(message: tuple[bytes, bytes], old: bytes, new: int) -> None:
    before, behind = message
    patched = with_loop_count(before + old + behind, new)
    assert patched == before + head(0, new) + behind
    assert _loop_count(patched) == new


@pytest.mark.parametrize("new", [0, 1, 23, 24, 254, 255])
@pytest.mark.parametrize(
    "old", ["00", "06", "17", "1806", "18ff", "190006", "1900ff", "1a00000006", "1b00000000000000ff"]
)
def test_a_loop_count_of_any_width_gives_way_to_the_shortest(old: str, new: int) -> None:
    before, behind = b"\x84\x01\x01" + pack(bytes(16)) + b"\x84\x63EX1\x01", pack({"v": [1.5, b"x"]})
    assert with_loop_count(before + bytes.fromhex(old) + behind, new) == before + head(0, new) + behind


HAND_MADE: dict[str, tuple[str, str]] = {
    "non-minimal heads": (
        "9b0000000000000004 1801 1a00000001 5b0000000000000004 0a000001 9a00000004 7a00000003 455831 190005",
        "f6",
    ),
    "indefinite strings": ("84 01 01 5f 420a00 40 420001 ff 84 7f 61 45 60 62 5831 ff 05", "00"),
    "breaks in the chunks of a string": ("84 01 01 5f 42ffff 40 42ff83 ff 84 63 455831 05", "00"),
    "indefinite arrays": ("9f 01 01 44 0a000001 9f 63 455831 05", "00 ff ff"),
    "name as long as a head can say": ("84 01 01 44 0a000001 84 790100" + "61" * 256 + "05", "f6"),
    "unknown tags in the value": ("84 01 01 44 0a000001 84 63 455831 05", "d9fffe d81c 82 d81d 00 c24101"),
    "value full of loop counts": ("84 01 01 44 0a000001 84 63 455831 05", "84 63 455831 05 06 9f06ff"),
    "flood": ("85 09 01 44 0a000001 1903e8 82 84 63 455831 05", "00 80"),
    "flood, ttl in nine bytes": ("85 09 01 44 0a000001 1b00000000ffffffff 82 84 63 455831 05", "00 80"),
    "flood, indefinite entry": ("9f 09 01 5f 440a000001 ff 00 9f 9f 7f 63 455831 ff 05", "00 ff 9f ff ff ff"),
    "flood of two": ("86 09 01 44 0a000001 00 82 83 63 455831 05", "80 82 83 63 455832 05 06 80"),
}  # fmt: skip


@pytest.mark.parametrize("name", HAND_MADE)
def test_a_message_written_by_hand_keeps_its_other_bytes(name: str) -> None:
    before, behind = (bytes.fromhex(each.replace(" ", "")) for each in HAND_MADE[name])
    for old in (b"\x06", b"\x18\x06", b"\x19\x00\x06"):
        assert _loop_count(before + old + behind) == 6
        assert with_loop_count(before + old + behind, 5) == before + b"\x05" + behind


OPTIONS: dict[str, Any] = {
    "accept": [101],
    "divert": [100, [103, bytes(16), 6, 1]],
    "an option to come": [107, "x" * 20],
    "with a tag": [200, tagged(99, pack([6, 6]))],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_misplaced_option_before_the_first_objective_of_a_flood_stays_as_it_is(option: str) -> None:
    """It is discarded on receipt (RFC 8990 §2.8.2), so the loop count is that of the objective behind it."""
    stray = pack(OPTIONS[option])
    before = head(4, 6) + pack(9) + pack(1) + pack(bytes(16)) + pack(0) + stray + b"\x82\x84\x63EX1\x05"
    behind = b"\x00\x80"
    assert _loop_count(before + b"\x06" + behind) == 6
    assert with_loop_count(before + b"\x06" + behind, 5) == before + b"\x05" + behind
