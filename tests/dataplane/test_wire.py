"""Frames between an agent and its deputy: what is said is what is heard, and what is not of the vocabulary is
refused."""

from __future__ import annotations

import random
from ipaddress import IPv4Network
from typing import Any

import msgspec
import pytest

from asa.dataplane.backend import Abilities, Counters, Found
from asa.dataplane.deputy.vocabulary import (
    LONGEST_TEXT,
    MOST_IDS,
    MOST_ITEMS,
    Able,
    Change,
    Changed,
    Count,
    Counted,
    Failure,
    Hello,
    OfEntry,
    Probe,
    Read,
    There,
)
from asa.dataplane.deputy.wire import (
    FULL_FRAME,
    MAX_FRAME,
    Garbled,
    Splitter,
    abilities_of,
    able_frame,
    answer_from,
    asked_from,
    batches,
    counters_frame,
    counters_of,
    cut,
    encoded,
    entry_frame,
    entry_of,
    found_frame,
    found_of,
    key_frame,
    key_of,
    line_frame,
    line_of,
    other_frame,
    other_of,
    series,
)
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Share
from asa.errors import BadRequest
from tests.dataplane.deputies import IN, OUT, VARIED, entry


def over(frame: Any) -> Any:
    """As it arrives at the other side."""
    read = asked_from if isinstance(frame, Hello | Probe | Change | Read | Count) else answer_from
    return read(encoded(frame)[4:])


@pytest.mark.parametrize("line", [OUT, IN])
def test_a_line(line: Line) -> None:
    assert line_of(over(Probe((line_frame(line),))).lines[0]) == line


@pytest.mark.parametrize("given", VARIED, ids=lambda each: each.ids[0])
def test_an_entry_and_its_spots_in_order(given: Entry) -> None:
    frame, spots = entry_frame(7, given)
    heard = over(Change(come=(frame,))).come[0]
    assert heard.number == 7
    assert entry_of(heard) == (given, spots)
    assert key_of(over(Read(keys=(key_frame(given.key),))).keys[0]) == given.key


FOUND = (
    Found(16, Share(8_000, 16_000, 3), 46, 1_900_000_000.25),
    Found(0, None, None, None),
    Found(0, None, None, None, ("10.0.0.9",), "aa:bb:cc:dd:ee:ff"),
)


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found(found: Found) -> None:
    spot = (OUT.name, Action.KEEP, Match(4, IPv4Network("10.0.0.0/8")))
    heard = over(There({OUT.name: "gone"}, (OfEntry(3, 0, found_frame(found)),), (other_frame(spot, found),), ("x",)))
    assert (heard.lines, heard.strays) == ({OUT.name: "gone"}, ("x",))
    assert found_of(heard.entries[0].found) == found
    assert other_of(heard.others[0]) == (spot, found)


def test_counters_abilities_and_failures() -> None:
    counters = Counters(1, 2, 3, 4, 5, 6)
    assert counters_of(over(Counted((counters_frame(9, counters),))).entries[0]) == counters
    for able in (Abilities(), Abilities(frozenset({"out"}), frozenset(Action), False, False, ("slow", "old"))):
        assert abilities_of(over(able_frame(able))) == able
    assert over(Changed((Failure(1, "no room"),), True)) == Changed((Failure(1, "no room"),), True)
    assert isinstance(over(able_frame(Abilities(notes=("x" * 5_000,)))), Able)


def test_of_an_entry_of_many_reservations_only_some_are_named() -> None:
    shared = entry(1, ids=tuple(f"r{each:03}" for each in range(500)))
    assert entry_of(entry_frame(1, shared)[0])[0].ids == shared.ids[:MOST_IDS]
    odd = entry(1, ids=("a b", "r1", "$(reboot)"))
    assert entry_of(over(Change(come=(entry_frame(1, odd)[0],))).come[0])[0].ids == ("r1",)


# -- what is not of the vocabulary

GOOD: dict[str, Any] = {
    "is": "change",
    "lines": [{"interface": "eth0", "way": "out", "rate": 800_000, "floor": 8_000, "cleared": [46]}],
    "gone": [],
    "come": [{
        "number": 1, "line": "eth0:out", "action": "guarantee", "expires": 1_900_000_000, "ids": ["r1"],
        "matches": [{"family": 4, "destination": "10.0.0.1/32", "protocol": 6, "destination_port": [443, 65_535]}],
        "share": {"guarantee": 8_000, "ceiling": 8_000, "priority": 1}, "dscp": 46,
    }],
}  # fmt: skip

INJECTED = (
    "eth0;reboot", "$(reboot)", "`reboot`", "eth0 root handle 1:", "eth0\n", "eth0\nqdisc del dev eth0 root",
    'eth0" ; flush ruleset ; "', "eth0}", "eth*", "-force", "..", ".", "", "e" * 16, "eth0:1", "\u0435th0", "eth0\0",
    "eth0#", "eth0\\", "%eth0", "eth0/..",
)  # fmt: skip


def changed(**by_path: Any) -> bytes:
    """GOOD, with values put where the path says, its steps parted by two underscores."""
    value = msgspec.json.decode(msgspec.json.encode(GOOD))
    for path, new in by_path.items():
        at, *steps = [int(each) if each.isdigit() else each for each in path.split("__")][::-1]
        parent = value
        for step in reversed(steps):
            parent = parent[step]
        parent[at] = new
    return msgspec.json.encode(value)


def taken_over(body: bytes) -> None:
    frame = asked_from(body)
    assert isinstance(frame, Change)
    for each in frame.lines or ():
        line_of(each)
    for each in frame.come:
        entry_of(each)


def test_the_good_one_is_good() -> None:
    taken_over(changed())


@pytest.mark.parametrize("text", INJECTED)
@pytest.mark.parametrize(
    "path",
    [
        "lines__0__interface", "lines__0__way", "come__0__line", "come__0__action", "come__0__output",
        "come__0__matches__0__destination", "come__0__matches__0__source", "is",
    ],
)  # fmt: skip
def test_no_text_gets_through_that_means_something_to_a_program(path: str, text: str) -> None:
    if path == "come__0__output" and text == "":
        return
    with pytest.raises((Garbled, BadRequest)):
        taken_over(changed(**{path: text}))


@pytest.mark.parametrize("text", INJECTED)
def test_nor_in_lists(text: str) -> None:
    ids = ["come__0__ids"] if text != "e" * 16 else []
    for path in (*ids, "come__0__through", "lines__0__vouched", "come__0__matches", "gone"):
        with pytest.raises((Garbled, BadRequest)):
            taken_over(changed(**{path: [text]}))
    with pytest.raises((Garbled, BadRequest)):
        taken_over(changed(come__0__line=f"{text}:out"))


WRONG: tuple[tuple[str, Any], ...] = (
    ("lines__0__rate", -8), ("lines__0__rate", 2**63), ("lines__0__rate", 10**30), ("lines__0__rate", 800_001),
    ("lines__0__rate", 8.5), ("lines__0__rate", "800000"), ("lines__0__rate", None), ("lines__0__rate", True),
    ("lines__0__floor", 900_000), ("lines__0__cleared", [64]), ("lines__0__cleared", [-1]),
    ("lines__0__vouched", ["10.0.0.1/8"]), ("lines__0__vouched", ["10.0.0.0/255.0.0.0"]),
    ("lines__0__vouched", ["10.0.0.0"]), ("lines__0__more", 1), ("lines", [{}] * 300), ("lines", {}),
    ("come__0__number", -1), ("come__0__number", 2**60), ("come__0__expires", -1), ("come__0__expires", 2**41),
    ("come__0__expires", 1.5), ("come__0__dscp", 64), ("come__0__dscp", -1), ("come__0__share", None),
    ("come__0__share__guarantee", 0), ("come__0__share__guarantee", 16_000), ("come__0__share__ceiling", 8_001),
    ("come__0__share__ceiling", 2**60), ("come__0__share__priority", 8), ("come__0__through", ["10.0.0.1"]),
    ("come__0__through", ["10.0.0.1"] * 65), ("come__0__action", "steer"), ("come__0__action", "mirror"),
    ("come__0__matches", []), ("come__0__matches", GOOD["come"][0]["matches"] * 2), ("come__0__ids", ["r"] * 65),
    ("come__0__matches__0__family", 5), ("come__0__matches__0__family", 6), ("come__0__matches__0__family", 0),
    ("come__0__matches__0__protocol", 256), ("come__0__matches__0__protocol", 1),
    ("come__0__matches__0__vlan", 0), ("come__0__matches__0__vlan", 4_095),
    ("come__0__matches__0__destination_port", [0, 65_535]), ("come__0__matches__0__destination_port", [1, 65_536]),
    ("come__0__matches__0__destination_port", [443, 0]), ("come__0__matches__0__destination_port", [443]),
    ("come__0__matches__0__destination_port", [3, 1]), ("come__0__matches__0__destination", "10.0.0.1/33"),
    ("come__0__matches__0__destination", "10.0.0.1"), ("come__0__matches__0__destination", "0.0.0.0/0"),
    ("come__0__matches__0__destination", "AA:BB:CC:DD:EE:FF"), ("come__0__matches__0__destination", "fe80::1%1/128"),
    ("come__0__matches__0__destination", "////"), ("come__0__matches__0__destination", "010.0.0.1/32"),
    ("command", "tc qdisc del dev eth0 root"), ("come__0__command", "x"), ("more", "yes"), ("is", "run"), ("is", None),
)  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_values_out_of_their_range_are_refused(path: str, value: Any) -> None:
    with pytest.raises((Garbled, BadRequest)):
        taken_over(changed(**{path: value}))


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"null", b"[]", b"{}", b'{"is":1}', b"\xff\xfe", b'{"is":"clear"', b'{"is":"clear"}x', b"[" * 100_000,
     b'{"is":"read","numbers":' + b"[" * 100_000, b'{"is":"hello"}', b'{"is":"hello","version":"1"}', b"NaN"],
)  # fmt: skip
def test_what_is_no_frame_is_garbled(body: bytes) -> None:
    with pytest.raises(Garbled) as caught:
        asked_from(body)
    assert caught.value.code == "garbled"
    assert len(caught.value.message) <= LONGEST_TEXT
    assert caught.value.message.isprintable()
    with pytest.raises(Garbled):
        answer_from(body)


def test_an_answer_is_no_question() -> None:
    with pytest.raises(Garbled):
        asked_from(encoded(Changed())[4:])
    with pytest.raises(Garbled):
        answer_from(encoded(Count())[4:])


# -- lengths


def test_frames_arrive_in_pieces_of_any_size() -> None:
    rng = random.Random(1)
    bodies = [bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 5, 900]))) for _ in range(100)]
    stream = b"".join(len(each).to_bytes(4, "big") + each for each in bodies)
    for most in (1, 3, 64, len(stream)):
        splitter, found, at = Splitter(), [], 0
        while at < len(stream):
            step = rng.randint(1, most)
            splitter.feed(stream[at : at + step])
            at += step
            while (body := splitter.take()) is not None:
                found.append(body)
        assert found == bodies
        assert not splitter.amid


def test_a_frame_that_is_too_long_is_refused_before_it_arrives() -> None:
    splitter = Splitter()
    splitter.feed((MAX_FRAME).to_bytes(4, "big"))
    assert splitter.take() is None
    assert splitter.amid
    splitter = Splitter()
    splitter.feed((MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(Garbled):
        splitter.take()
    with pytest.raises(Garbled):
        encoded(There(strays=("x" * (MAX_FRAME + 1),)))


def test_what_is_long_goes_in_several_frames() -> None:
    few = [Failure(each, "x") for each in range(MOST_ITEMS + 1)]
    parts = list(batches(few))
    assert [len(each) for each in parts] == [MOST_ITEMS, 1]
    assert [each.more for each in series([Changed(each) for each in parts])] == [True, False]
    assert list(batches([])) == [()]
    fat = [Failure(each, "x" * 100_000) for each in range(100)]
    parts = list(batches(fat))
    assert [each for part in parts for each in part] == fat
    assert all(len(encoded(Changed(each))) < FULL_FRAME + 200_000 for each in parts)


def test_a_text_is_cut() -> None:
    assert cut("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
    assert len(cut("x" * (LONGEST_TEXT + 1))) == LONGEST_TEXT


# -- where text would reach a command line


@pytest.mark.parametrize("name", INJECTED)
def test_no_line_is_of_an_interface_whose_name_means_something_to_a_program(name: str) -> None:
    with pytest.raises(BadRequest):
        Line(name, "out", 800_000, 8_000)


@pytest.mark.parametrize("name", ["eth0", "eth0.100", "br-lan", "wg0", "enp0s31f6", "veth1a2b@if3", "a", "e" * 15])
def test_names_interfaces_have(name: str) -> None:
    assert Line(name, "in", 800_000, 8_000).name == f"{name}:in"


@pytest.mark.parametrize(
    "text", ["web1", "10.0.0.1/32", "10.0.0.1{3}", "fe80::1%eth0", "AA:BB:CC:DD:EE:FF", "any", "10.0.0.1 output:2", "1"]
)
def test_packets_are_led_to_addresses_only(text: str) -> None:
    with pytest.raises(BadRequest):
        entry(1, action=Action.STEER, share=None, through=("10.0.0.9", text))
    with pytest.raises(BadRequest):
        entry(1, action=Action.MIRROR, share=None, output=text)
