"""Where one message ends in a stream of bytes, however they arrive: Framer and MessageReader.

The reference is the walker of :mod:`tests.wire.by_hand`.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.cbor import Framer, decode
from grasp.errors import ErrorCode, WireError
from grasp.wire import Noop, Wait, decode_message
from grasp.wire.stream import MessageReader
from tests.wire.by_hand import TAGGED_ITEMS, Malformed, Short, head, item_end, mutated, pack, pieces
from tests.wire.test_appendix_a import EXAMPLES

_CASES = settings(max_examples=100, deadline=None)
_NO_LIMIT = 1 << 70
_MESSAGES = {name: bytes.fromhex(text) for name, (text, _) in EXAMPLES.items()}


def _frame(parts: list[bytes], limit: int = _NO_LIMIT) -> int | None:
    """What a Framer says of a buffer that grows by ``parts``."""
    framer, buffer = Framer(limit), bytearray()
    for part in parts:
        buffer += part
        end = framer.end(buffer)
        if end is not None:
            return end
    return None


@given(st.data(), TAGGED_ITEMS, st.binary(max_size=20))
@_CASES
def test_the_end_of_an_item_is_found_however_it_arrives(data: st.DataObject, item: bytes, more: bytes) -> None:
    assert item_end(item + more) == len(item)
    assert _frame([item + more]) == len(item)
    assert _frame(data.draw(pieces(item + more))) == len(item)


@given(TAGGED_ITEMS)
@_CASES
def test_the_end_of_an_item_is_found_with_its_last_byte_and_not_before(item: bytes) -> None:
    framer = Framer(_NO_LIMIT)
    for length in range(len(item)):
        assert framer.end(item[:length]) is None
    assert framer.end(item) == len(item)


@given(st.data(), st.binary(max_size=40) | mutated(TAGGED_ITEMS))
@settings(max_examples=250, deadline=None)
def test_framer_and_walker_agree_on_any_bytes(data: st.DataObject, stream: bytes) -> None:
    """The framer may leave a violation to the decoder, but never accepts what is none, nor cuts elsewhere."""
    parts = data.draw(pieces(stream)) or [b""]
    try:
        expected: int | None = item_end(stream)
    except Short:
        expected = None
    except Malformed:
        try:
            end = _frame(parts)
        except WireError:
            return
        if end is not None:
            with pytest.raises(WireError):
                decode(stream[:end])
        return
    assert _frame(parts) == expected


def test_no_bytes_are_no_item() -> None:
    assert Framer(10).end(b"") is None


def test_a_framer_stops_at_the_first_item() -> None:
    assert Framer(100).end(b"\x00\x01\x02") == 1


@pytest.mark.parametrize(
    "item",
    [b"\x42ab", b"\x62ab", b"\x82\x00\x00", b"\xa1\x00\x00", b"\x19\x01\x00", b"\xc1\x18\x20", b"\x80", b"\xf6",
     b"\x9f\x00\xff", b"\x9f\xff", b"\x9f\x9f\xff\xff", b"\xbf\x00\x00\xff", b"\x5f\x41a\xff", b"\x81\x81\x80"],
    ids=bytes.hex,
)  # fmt: skip
def test_an_item_at_the_limit_is_framed_and_one_byte_longer_is_not(item: bytes) -> None:
    assert Framer(len(item)).end(item) == len(item)
    assert _frame([item[at : at + 1] for at in range(len(item))], len(item)) == len(item)
    with pytest.raises(WireError) as caught:
        Framer(len(item) - 1).end(item)
    assert caught.value.code is ErrorCode.tooLong


@pytest.mark.parametrize("first", [byte for byte in range(256) if 28 <= byte & 31 <= 30] + [0x1F, 0x3F, 0xDF, 0xFF])
def test_a_byte_no_item_can_begin_with_is_refused_at_once(first: int) -> None:
    for before in (b"", b"\x82\x00", b"\xc1"):
        with pytest.raises(WireError):
            Framer(2048).end(before + bytes([first]))


@pytest.mark.parametrize("major", [2, 3, 4, 5])
@pytest.mark.parametrize("count", [2049, 2**32 - 1, 2**62, 2**64 - 1])
def test_a_claim_beyond_the_limit_is_refused_with_its_head(major: int, count: int) -> None:
    with pytest.raises(WireError) as caught:
        Framer(2048).end(b"\x83" + head(major, count))
    assert caught.value.code is ErrorCode.tooLong


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x00", b"\xc6", b"\x9f", b"\xbf\x00"], ids=bytes.hex)
@pytest.mark.parametrize("inner", [b"\x00", b"\x41a", b"\x5f\x41a\xff", b"\x80", b"\x9f\xff"], ids=bytes.hex)
@pytest.mark.parametrize("depth", [30, 31, 32, 33])
def test_framer_and_decoder_draw_the_same_line_at_32_levels(opening: bytes, inner: bytes, depth: int) -> None:
    closing = b"\xff" if opening[0] & 31 == 31 else b""
    item = opening * depth + inner + closing * depth
    try:
        decode(item)
    except WireError:
        with pytest.raises(WireError):
            Framer(_NO_LIMIT).end(item)
    else:
        assert Framer(_NO_LIMIT).end(item) == len(item)


# -- MessageReader


def _read(parts: list[bytes], limit: int = 2048) -> list[bytes]:
    """The bytes of the messages found, each taken as soon as it is there."""
    reader, found = MessageReader(limit), []
    for part in parts:
        reader.feed(part)
        while (message := reader.next()) is not None:
            assert message == decode_message(reader.last)
            found.append(reader.last)
    assert b"".join(found) + reader.buffer == b"".join(parts)
    return found


@pytest.mark.parametrize("name", _MESSAGES)
def test_a_message_in_two_pieces_is_read_wherever_it_was_cut(name: str) -> None:
    data = _MESSAGES[name]
    for cut in range(1, len(data)):
        assert _read([data[:cut], data[cut:]]) == [data], cut


@pytest.mark.parametrize("name", _MESSAGES)
def test_a_message_is_read_byte_by_byte(name: str) -> None:
    data = _MESSAGES[name]
    assert _read([data[at : at + 1] for at in range(len(data))]) == [data]


@pytest.mark.parametrize("length", [1, 2, 3, 8, 17, 18, 24, 100, 300])
def test_a_text_that_arrives_in_two_pieces_is_read(length: int) -> None:
    data = pack([8, 1, ["x" * length, 5, 6, "é" * length]])
    for cut in range(1, len(data)):
        assert _read([data[:cut], data[cut:]]) == [data], cut


def test_several_messages_in_one_read_come_out_in_order() -> None:
    data = list(_MESSAGES.values())
    assert _read([b"".join(data)]) == data


@pytest.mark.parametrize("name", _MESSAGES)
def test_a_message_and_the_beginning_of_the_next_in_one_read(name: str) -> None:
    first, second = pack([7, 1, 1000]), _MESSAGES[name]
    for cut in range(1, len(second)):
        assert _read([first + second[:cut], second[cut:]]) == [first, second], cut


@given(st.data(), st.lists(st.sampled_from(sorted(_MESSAGES)), min_size=1, max_size=5))
@_CASES
def test_messages_are_found_however_the_stream_is_cut(data: st.DataObject, names: list[str]) -> None:
    messages = [_MESSAGES[name] for name in names]
    assert _read(data.draw(pieces(b"".join(messages)))) == messages


@pytest.mark.parametrize(
    "junk", [b"\xff", b"\x1c", b"\x61\xff", b"\xa2\x00\x00\x00\x00", b"\x81\xff", b"\x9f\xfe", b"\x00"]
)
def test_a_message_is_read_before_the_junk_behind_it_is_refused(junk: bytes) -> None:
    reader = MessageReader(2048)
    reader.feed(pack([7, 1, 1000]) + junk)
    assert reader.next() == Wait(1, 1000)
    with pytest.raises(WireError):
        reader.next()


def test_an_empty_reader_has_no_message() -> None:
    reader = MessageReader(2048)
    assert reader.next() is None
    reader.feed(b"")
    assert reader.next() is None
    assert reader.buffer == b""


def test_the_bytes_of_no_message_yet_stay_in_the_buffer() -> None:
    reader = MessageReader(2048)
    reader.feed(pack([0]) + b"\x83\x07")
    assert reader.next() == Noop()
    assert reader.next() is None
    assert reader.buffer == b"\x83\x07"


def _of_length(length: int) -> bytes:
    data = pack([8, 1, ["EX1", 5, 6, b"x" * (length - 13)]])
    data = pack([8, 1, ["EX1", 5, 6, b"x" * (length - 13 + length - len(data))]])
    assert len(data) == length
    return data


@pytest.mark.parametrize("limit", [100, 2048, 65_536])
@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_a_message_of_exactly_the_limit_is_read(limit: int, size: int) -> None:
    data = _of_length(limit)
    if len(data) // size > 3000:
        size = 100
    assert _read([data[at : at + size] for at in range(0, len(data), size)], limit) == [data]
    assert _read([data + data], limit) == [data, data]


@pytest.mark.parametrize("limit", [100, 2048, 65_536])
@pytest.mark.parametrize("size", [7, 1000, 100_000])
def test_a_message_one_byte_above_the_limit_is_refused_for_its_length(limit: int, size: int) -> None:
    data = _of_length(limit + 1)
    if len(data) // size > 3000:
        size = 100
    with pytest.raises(WireError) as caught:
        _read([data[at : at + size] for at in range(0, len(data), size)], limit)
    assert caught.value.code is ErrorCode.tooLong


@pytest.mark.parametrize("width", [2, 4, 8])
def test_a_head_that_goes_beyond_the_limit_is_refused_before_it_is_whole(width: int) -> None:
    data = b"\x83\x07\x01" + head(0, 1, width)
    with pytest.raises(WireError) as caught:
        _read([data[:-1]], len(data) - 2)
    assert caught.value.code is ErrorCode.tooLong


@pytest.mark.parametrize("opening", [b"\x9f", b"\x9f\x9f\x9f", b"\x83\x08\x01\x9f"], ids=bytes.hex)
def test_breaks_count_towards_the_limit(opening: bytes) -> None:
    data = opening + b"\x00" * 8 + b"\xff" * opening.count(b"\x9f")
    with pytest.raises(WireError) as caught:
        _read([data], len(data) - 1)
    assert caught.value.code is ErrorCode.tooLong


@pytest.mark.parametrize("start", [b"\x9f", b"\x5f", b"\xbf", b"\x7f", b"\x83\x07\x9f"], ids=bytes.hex)
def test_a_message_that_never_ends_is_refused_at_the_limit(start: bytes) -> None:
    filler = b"\x60" if start == b"\x7f" else b"\x40"
    with pytest.raises(WireError):
        _read([start, *[filler] * (2049 - len(start))])


@given(st.data(), st.binary(max_size=60) | mutated(TAGGED_ITEMS))
@_CASES
def test_what_is_malformed_is_refused_at_the_latest_when_the_limit_is_reached(
    data: st.DataObject, stream: bytes
) -> None:
    try:
        item_end(stream)
    except Malformed:
        with pytest.raises(WireError):
            _read([*data.draw(pieces(stream)), *[b"\x00"] * 201], 200)
    except Short:
        pass


@given(st.data(), mutated(st.sampled_from(sorted(_MESSAGES.values()))))
@_CASES
def test_the_outcome_does_not_depend_on_how_the_bytes_arrive(data: st.DataObject, stream: bytes) -> None:
    def outcome(parts: list[bytes]) -> tuple[list[bytes], bool]:
        reader, found = MessageReader(2048), []
        try:
            for part in parts:
                reader.feed(part)
                while reader.next() is not None:
                    found.append(reader.last)
        except WireError:
            return found, True
        return found, False

    at_once = outcome([stream])
    in_bytes = outcome([stream[at : at + 1] for at in range(len(stream))])
    in_pieces = outcome(data.draw(pieces(stream)))
    # Pieces may tell later that what came is wrong, as the framer leaves some violations to the decoder.
    assert at_once[0] == in_bytes[0] == in_pieces[0]


def test_the_longest_message_byte_by_byte_takes_no_time_to_speak_of() -> None:
    """Linear in the parser, so only copying grows: 65,536 reads of one byte stay below 5 s of this process."""
    data = _of_length(65_536)
    reader, start = MessageReader(65_536), time.process_time()
    for at in range(len(data) - 1):
        reader.feed(data[at : at + 1])
        assert reader.next() is None
    reader.feed(data[-1:])
    assert reader.next() is not None
    assert time.process_time() - start < 5
