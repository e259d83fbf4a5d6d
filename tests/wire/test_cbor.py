"""CBOR from strangers: bounded, inert, one item and nothing behind it (docstring of grasp.cbor)."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.cbor import Tag, TrailingBytes, Truncated, copied, decode, encode
from grasp.errors import LocalError, WireError
from tests.wire.by_hand import ITEMS, TAGGED_ITEMS, Item, Malformed, Short, head, item_end, mutated, pack

_CASES = settings(max_examples=100, deadline=None)

CONTENTS = [b"\x00", b"\x41\x00", b"\x61a", b"\x82\x00\x00", b"\xa0", b"\xf6"]


def test_no_tag_the_installed_cbor2_knows_does_anything() -> None:
    active = []
    for number in [*range(70_001), 2**32 - 1, 2**32, 2**64 - 1]:
        for content in CONTENTS:
            item = decode(head(6, number) + content)
            if type(item) is not Tag or item.tag != number:
                active.append(number)
    assert active == []


@pytest.mark.parametrize("number", [0, 2, 24, 25, 28, 29, 35, 99, 256, 258, 55799, 2**64 - 1])
@pytest.mark.parametrize("content", [["(a+)+$", b"\x01", 2], {"a": [1], "b": {}}, "x", None, [[[]]]])
def test_the_content_of_a_tag_is_handed_on_as_it_was_sent(number: int, content: Any) -> None:
    data = head(6, number) + pack(content)
    item = decode(data)
    assert isinstance(item, Tag)
    assert item.tag == number
    assert encode(item.value) == pack(content)
    assert encode(item) == data


def _reference_bomb() -> bytes:
    """Under a kilobyte; read as tags 28 and 29 mean it, a tree of 2^60 leaves."""
    layers = [head(6, 28) + b"\x80"]
    for number in range(60):
        reference = head(6, 29) + head(0, number)
        layers.append(head(6, 28) + b"\x82" + reference * 2)
    return head(4, len(layers)) + b"".join(layers)


def _visited(item: Any, bound: int) -> int:
    """How many nodes a walk meets that, as ``repr`` does, walks what is shared again and again."""
    stack, count = [item], 0
    while stack and count <= bound:
        count += 1
        each = stack.pop()
        if isinstance(each, Tag):
            stack.append(each.value)
        elif isinstance(each, list | tuple):
            stack.extend(each)
        elif isinstance(each, dict):
            stack.extend([*each.keys(), *each.values()])
    return count


def test_a_reference_bomb_does_not_unfold() -> None:
    data = _reference_bomb()
    assert len(data) < 1024
    item = decode(data)
    assert _visited(item, len(data)) <= len(data)
    assert len(repr(item)) < 40 * len(data)
    assert encode(item) == data


@given(TAGGED_ITEMS)
@_CASES
def test_no_item_unfolds_to_more_than_its_bytes(data: bytes) -> None:
    assert _visited(decode(data), len(data)) <= len(data)


def test_a_cycle_of_references_is_no_cycle() -> None:
    item = decode(head(6, 28) + b"\x81" + head(6, 29) + b"\x00")
    assert item == Tag(28, [Tag(29, 0)])


HOSTILE = {
    "arrays": b"\x81" * 65_536,
    "maps": b"\xa1\x00" * 32_768,
    "map keys": b"\xa1" * 65_536,
    "tags": b"\xc6" * 65_536,
    "shared": b"\xd8\x1c" * 32_768,
    "indefinite arrays": b"\x9f" * 65_536,
    "indefinite maps": b"\xbf\x00" * 32_768,
    "indefinite strings": b"\x5f" * 65_536,
    **{f"major {major} of {count}": head(major, count) + b"\x00" * 20
       for major in (2, 3, 4, 5) for count in (2**24, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)},
    "claims in claims": b"".join(head(4, 2**28) for _ in range(390)),
    "claims within the depth": b"".join(head(4, 2**31) for _ in range(30)),
    "big integer": head(6, 2) + head(2, 60_000) + b"\xff" * 60_000,
    "big exponent": head(6, 4) + b"\x82" + head(0, 2**62) + b"\x01",
    "regular expression": head(6, 35) + pack("(a*)*" * 2000 + "("),
    "date of long ago": head(6, 1) + head(1, 2**63),
    "MIME": head(6, 36) + pack("Content-Type: " + "x" * 20_000),
    "string references": head(6, 256) + b"\x82" + pack("a" * 20_000) + head(6, 25) + b"\x00",
    "same key a thousand times": b"\xbf" + b"\x00\x00" * 1000 + b"\xff",
    "many empty chunks": b"\x5f" + b"\x40" * 60_000 + b"\xff",
    "references": _reference_bomb(),
}  # fmt: skip


def test_no_hostile_item_takes_much_time_or_memory() -> None:
    """In a process of its own: 512 MiB of address space and 10 s of CPU for all of them, repr included."""
    program = (
        "import json, resource, sys, time\n"
        "from grasp.cbor import Framer, decode\n"
        "from grasp.errors import WireError\n"
        "from grasp.wire import decode_message\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "slowest = {}\n"
        "for name, data in json.load(sys.stdin).items():\n"
        "    data = bytes.fromhex(data)\n"
        "    start = time.process_time()\n"
        "    for attempt in (lambda each: repr(decode(each)), decode_message, Framer(1 << 70).end):\n"
        "        try:\n"
        "            attempt(data)\n"
        "        except WireError as error:\n"
        "            assert len(str(error)) < 300, name\n"
        "    slowest[name] = time.process_time() - start\n"
        "print(max((seconds, name) for name, seconds in slowest.items()))\n"
        "assert max(slowest.values()) < 0.5, slowest\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({name: data.hex() for name, data in HOSTILE.items()}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]


DEEP = {
    "arrays": (b"\x81", b""),
    "maps": (b"\xa1\x00", b""),
    "map keys": (b"\xa1", b"\x00"),
    "tags": (b"\xc6", b""),
    "shared": (b"\xd8\x1c", b""),
    "indefinite arrays": (b"\x9f", b"\xff"),
    "indefinite maps": (b"\xbf\x00", b"\xff"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_thirty_two_levels_are_accepted_and_one_more_is_not(kind: str) -> None:
    opening, closing = DEEP[kind]
    decode(opening * 32 + b"\x00" + closing * 32)
    with pytest.raises(WireError):
        decode(opening * 33 + b"\x00" + closing * 33)


@given(ITEMS)
@_CASES
def test_every_form_of_an_item_decodes_to_its_value(item: Item) -> None:
    data, value = item
    assert decode(data) == value


@given(ITEMS)
@_CASES
def test_every_beginning_of_an_item_is_truncated(item: Item) -> None:
    data, _ = item
    for length in range(len(data)):
        with pytest.raises(Truncated):
            decode(data[:length])


@given(TAGGED_ITEMS, st.binary(min_size=1, max_size=40) | TAGGED_ITEMS)
@_CASES
def test_an_item_with_anything_behind_it_is_never_decoded(data: bytes, junk: bytes) -> None:
    with pytest.raises(WireError):
        decode(data + junk)


@pytest.mark.parametrize("opening", range(256))
def test_no_opening_behind_an_item_swallows_the_hidden_end_mark(opening: int) -> None:
    """Whatever head comes before the mark, and however much of it the mark would complete."""
    for argument in (b"", b"\x00", b"\x10", b"\x11", b"\x00\x10", b"\x00\x11", bytes(3) + b"\x11", bytes(7) + b"\x11"):
        for item in (b"\x00", b"\x80", b"\x40", b"\x9f\xff"):
            with pytest.raises(WireError):
                decode(item + bytes([opening]) + argument)


@given(TAGGED_ITEMS, TAGGED_ITEMS)
@_CASES
def test_two_items_are_trailing_bytes(data: bytes, more: bytes) -> None:
    with pytest.raises(TrailingBytes):
        decode(data + more)


@given(st.binary(max_size=40) | mutated(TAGGED_ITEMS))
@settings(max_examples=250, deadline=None)
def test_what_is_decoded_is_well_formed_and_one_item(data: bytes) -> None:
    try:
        decode(data)
    except Truncated:
        with pytest.raises((Short, Malformed)):
            item_end(data, item_end(data))
    except WireError:
        pass
    else:
        assert item_end(data) == len(data)


ACCEPTED: dict[str, Any] = {
    "5f41004101ff": b"\x00\x01", "5fff": b"", "7f6161ff": "a", "7fff": "", "9fff": [], "9f00ff": [0], "bfff": {},
    "bf0001ff": {0: 1}, "1800": 0, "19000a": 10, "1b0000000000000001": 1, "3b000000000000000a": -11, "5800": b"",
    "9800": [], "ba00000000": {}, "1bffffffffffffffff": 2**64 - 1, "3bffffffffffffffff": -(2**64), "f93c00": 1.0,
    "fa3f800000": 1.0, "fb3ff0000000000000": 1.0, "f97c00": math.inf, "f9fc00": -math.inf, "c240": Tag(2, b""),
    "c249010000000000000000": Tag(2, b"\x01" + bytes(8)), "c349ff0000000000000000": Tag(3, b"\xff" + bytes(8)),
    "a201000200": {1: 0, 2: 0}, "a2016161616101": {1: "a", "a": 1},
}  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED)
def test_valid_cbor_of_every_form_is_accepted(text: str) -> None:
    item = decode(bytes.fromhex(text))
    assert item == ACCEPTED[text]
    assert type(item) is type(ACCEPTED[text])


@pytest.mark.parametrize("text", ["f97e00", "fa7fc00000", "fb7ff8000000000000"])
def test_nan_is_accepted_in_every_width(text: str) -> None:
    assert math.isnan(decode(bytes.fromhex(text)))


REFUSED = {
    "duplicate key": "a200010002", "duplicate key, longer": "a20001180002", "duplicate text key": "a2616100616101",
    "duplicate key, indefinite": "bf00010002ff", "duplicate key in a value": "81a200010002",
    "invalid UTF-8": "61ff", "overlong UTF-8": "62c080", "surrogate": "63eda080", "invalid UTF-8 in a key": "a161ff00",
    "half a character in a chunk": "7f61c361a9ff", "lone break": "ff", "break in an array": "81ff",
    "break in a map": "a1ff", "break for a value": "a100ff", "odd indefinite map": "bf00ff", "break in a tag": "c6ff",
    "tagged break": "9fc6ffff", "bytes in text": "7f4100ff", "text in bytes": "5f6100ff",
    "nested chunks": "5f5f4100ffff", "integer in bytes": "5f00ff",
    **{f"reserved {byte:02x}": f"{byte:02x}" for byte in range(256) if byte & 31 in (28, 29, 30)},
    **{f"indefinite {byte:02x}": f"{byte:02x}" for byte in (0x1F, 0x3F, 0xDF)},
    **{f"simple value {value} in two bytes": f"f8{value:02x}" for value in range(32)},
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_valid_cbor_is_refused(name: str) -> None:
    with pytest.raises(WireError) as caught:
        decode(bytes.fromhex(REFUSED[name]))
    assert not isinstance(caught.value, TrailingBytes)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False)
                    | st.text(max_size=6) | st.binary(max_size=6),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
                    max_leaves=10))  # fmt: skip
@_CASES
def test_what_is_encoded_is_one_well_formed_item_with_the_same_value(value: Any) -> None:
    data = encode(value)
    assert item_end(data) == len(data)
    assert decode(data) == value


@given(TAGGED_ITEMS)
@_CASES
def test_a_copy_of_a_decoded_item_is_the_same_item(data: bytes) -> None:
    item = decode(data)
    assert repr(copied(item)) == repr(item)


MUTABLE: dict[str, tuple[Any, Any]] = {
    "array": ([1], lambda value: value),
    "array in an array": ([[1]], lambda value: value[0]),
    "array in a map": ({"a": [1]}, lambda value: value["a"]),
    "array in a tag": (Tag(99, [1]), lambda value: value.value),
    "array in a map in a tag": ([Tag(99, {"a": [1]})], lambda value: value[0].value["a"]),
    "array in a tuple": (([1],), lambda value: value[0]),
    "bytearray": (bytearray(b"1"), lambda value: value),
}


@pytest.mark.parametrize("name", MUTABLE)
def test_a_copy_does_not_change_with_the_original(name: str) -> None:
    original, inner = MUTABLE[name]
    other = copied(original)
    before = encode(other)
    inner(original).append(2)
    assert encode(original) != before
    assert encode(other) == before


def test_what_cannot_be_encoded_is_the_callers_error() -> None:
    for value in (object(), {"a": object()}, "\ud800", lambda: None):
        with pytest.raises(LocalError):
            encode(value)


def test_the_walker_of_these_tests_knows_well_formed_from_malformed() -> None:
    for text in ACCEPTED:
        data = bytes.fromhex(text)
        assert item_end(data) == len(data)
        for length in range(len(data)):
            with pytest.raises(Short):
                item_end(data[:length])
    for name in (
        "lone break",
        "break in an array",
        "odd indefinite map",
        "bytes in text",
        "nested chunks",
        "reserved 1c",
    ):
        with pytest.raises(Malformed):
            item_end(bytes.fromhex(REFUSED[name]))
