"""Plans made of the entries of many reservations: each rule by hand, and all of them against a naive way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.dataplane.composition import MOST_NAMED, Composition, compose
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.errors import BadRequest
from asa.flows import Port

OUT, IN = Line("eth0", "out", 800, 80), Line("eth0", "in", 400, 80)
LINES = (OUT, IN)
WEB = Match(4, None, ip_network("10.0.0.1"), 6, None, Port(80))
QUIC = replace(WEB, protocol=17)
DNS = Match(4, None, ip_network("10.0.0.2"), 17, None, Port(53))
VOICE = Match(4, None, ip_network("10.0.0.3"))
MATCHES = [WEB, QUIC, DNS, VOICE]
GUARANTEE, KEEP, STEER, MIRROR = Action


def entry(
    name: str, *matches: Match, guarantee: int = 80, action: Action = GUARANTEE, line: Line = OUT, **more: Any
) -> Entry:
    ceiling, priority = more.pop("ceiling", guarantee), more.pop("priority", 1)
    share = Share(guarantee, ceiling, priority) if action is GUARANTEE else None
    return Entry(line.name, action, frozenset(matches), (name,), more.pop("expires", 100), share, **more)


def only(found: Plan) -> Entry:
    (each,) = found.entries.values()
    return each


def by_ids(found: Plan) -> dict[tuple[str, ...], tuple[frozenset[Match], Share | None]]:
    told = {each.ids: (each.matches, each.share) for each in found.entries.values()}
    assert len(told) == len(found.entries)
    return told


def whole(*matches: Match, guarantee: int = 80) -> tuple[frozenset[Match], Share]:
    return frozenset(matches), Share(guarantee, guarantee)


# -- the same packets


def test_of_the_same_packets_shares_are_added() -> None:
    one = entry("b", WEB, guarantee=160, ceiling=320, priority=4, dscp=46, expires=50)
    other = entry("a", WEB, guarantee=80, ceiling=640, priority=2, dscp=46, expires=70)
    found, waiting = compose(LINES, [one, other])
    assert waiting == {}
    assert only(found) == replace(one, ids=("a", "b"), share=Share(240, 800, 2), expires=70)


def test_scenario_27_a_passthrough_of_packets_with_a_guarantee_leaves_them_both() -> None:
    for order in (1, -1):
        wanted = [entry("r", WEB, guarantee=160, dscp=46), entry("p", WEB, action=KEEP)][::order]
        found, waiting = compose(LINES, wanted)
        merged = only(found)
        assert (merged.action, merged.share, merged.dscp) == (GUARANTEE, Share(160, 160), None)
        assert (merged.ids, waiting) == (("p", "r"), {})
    kept, _ = compose(LINES, [entry("p", WEB, action=KEEP), entry("q", WEB, action=KEEP)])
    assert (only(kept).action, only(kept).ids, only(kept).share) == (KEEP, ("p", "q"), None)


def test_what_contradicts_waits() -> None:
    steered = [entry(name, WEB, action=STEER, through=(box,)) for name, box in (("a", "10.0.0.8"), ("b", "10.0.0.9"))]
    copied = [entry(name, WEB, action=MIRROR, output=box) for name, box in (("c", "10.0.0.8"), ("d", "10.0.0.9"))]
    found, waiting = compose(LINES, [*steered, *copied, entry("e", WEB, action=MIRROR, output="10.0.0.8")])
    assert sorted(each.ids for each in found.entries.values()) == [("a",), ("c", "e")]
    assert waiting == {
        "b": "packets of it go through 10.0.0.8 already, for a",
        "d": "copies of packets of it go to 10.0.0.8 already, for c",
    }


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [(46, 18, "marked with DSCP 46"), (0, 46, "marked with DSCP 0"), (None, 0, "not marked")],
)
def test_the_same_packets_have_one_marking(first: int | None, second: int | None, words: str) -> None:
    composition = Composition(LINES)
    composition.put("b", [entry("b", WEB, dscp=second)], turn=2)
    composition.put("a", [entry("a", WEB, dscp=first)], turn=1)
    composition.put("c", [entry("c", WEB, dscp=first)], turn=3)
    assert (only(composition.plan()).ids, only(composition.plan()).dscp) == (("a", "c"), first)
    assert composition.waiting() == {"b": f"its packets are those of a, which are {words}"}
    composition.put("p", [entry("p", WEB, action=KEEP)])
    assert (only(composition.plan()).ids, list(composition.waiting())) == (("a", "c", "p"), ["b"])
    composition.remove("a")
    assert (only(composition.plan()).ids, list(composition.waiting())) == (("b", "p"), ["c"])


# -- windows


def test_a_renewal_adds_nothing_until_it_has_begun() -> None:
    composition = Composition(LINES)
    composition.put("old", [entry("old", WEB)], turn=100)
    composition.put("new", [entry("new", WEB, guarantee=160)], turn=200, begun=False)
    assert by_ids(composition.plan()) == {("old",): whole(WEB)}
    assert composition.waiting() == {"new": "its packets are those of old, which has begun"}
    composition.put("new", [entry("new", WEB, guarantee=160)], turn=200)
    assert by_ids(composition.plan()) == {("new", "old"): whole(WEB, guarantee=240)}
    composition.remove("old")
    assert by_ids(composition.plan()) == {("new",): whole(WEB, guarantee=160)}
    assert composition.waiting() == {}


def test_of_those_that_have_not_begun_the_first_turn_is_in() -> None:
    composition = Composition(LINES)
    for name, turn in ("a", 300), ("b", 200), ("c", 200):
        composition.put(name, [entry(name, WEB)], turn, begun=False)
    assert by_ids(composition.plan()) == {("b", "c"): whole(WEB, guarantee=160)}
    assert composition.waiting() == {"a": "its packets are those of b, which begins earlier"}


def test_who_waits_for_the_same_packets_takes_no_room() -> None:
    composition = Composition(LINES)
    composition.put("old", [entry("old", WEB, guarantee=480)], turn=100)
    composition.put("new", [entry("new", WEB, guarantee=480)], turn=200, begun=False)
    composition.put("other", [entry("other", DNS, guarantee=240)], turn=300, begun=False)
    assert by_ids(composition.plan()) == {("old",): whole(WEB, guarantee=480), ("other",): whole(DNS, guarantee=240)}
    # Who has begun comes first, whatever the turn.
    composition.put("late", [entry("late", VOICE, guarantee=240)], turn=400)
    assert list(composition.waiting()) == ["new", "other"]


# -- packets that are partly the same


def test_a_guarantee_for_tcp_is_not_for_the_udp_of_another() -> None:
    found, waiting = compose(LINES, [entry("b", WEB, QUIC, guarantee=8, dscp=18), entry("a", WEB, dscp=46)])
    assert by_ids(found) == {("a",): whole(WEB), ("b",): whole(QUIC, guarantee=8)}
    assert {each.ids: each.dscp for each in found.entries.values()} == {("a",): 46, ("b",): 18}
    assert waiting == {}


def test_the_more_particular_owns_a_match_then_the_earlier_then_the_lower_name() -> None:
    composition = Composition(LINES)
    composition.put("a", [entry("a", WEB, QUIC, DNS)], turn=1)
    composition.put("c", [entry("c", QUIC, DNS)], turn=3)
    composition.put("b", [entry("b", DNS, VOICE)], turn=3)
    composition.put("d", [entry("d", DNS, VOICE)], turn=4)
    assert by_ids(composition.plan()) == {
        ("a",): whole(WEB), ("b", "d"): whole(DNS, VOICE, guarantee=160), ("c",): whole(QUIC),
    }  # fmt: skip
    composition.remove("b")
    assert by_ids(composition.plan()) == {("a",): whole(WEB), ("c",): whole(QUIC, DNS), ("d",): whole(VOICE)}
    composition.remove("c")
    assert by_ids(composition.plan()) == {("a",): whole(WEB, QUIC), ("d",): whole(DNS, VOICE)}
    composition.remove("d")
    assert by_ids(composition.plan()) == {("a",): whole(WEB, QUIC, DNS)}


def test_who_has_no_match_left_waits_and_takes_no_room() -> None:
    composition = Composition(LINES)
    composition.put("r-3", [entry("r-3", WEB, QUIC, guarantee=640)], turn=1)
    composition.put("r-1", [entry("r-1", WEB, guarantee=240)], turn=2)
    composition.put("r-2", [entry("r-2", QUIC, guarantee=400)], turn=3)
    assert by_ids(composition.plan()) == {("r-1",): whole(WEB, guarantee=240), ("r-2",): whole(QUIC, guarantee=400)}
    assert composition.waiting() == {"r-3": "all its packets are those of r-1, r-2, which are more particular"}
    for number in range(4, 9):
        composition.put(f"r-{number}", [entry(f"r-{number}", WEB, guarantee=8)], turn=0)
    assert MOST_NAMED == 4
    assert "those of r-4, r-5, r-6, r-7 and 3 more, which" in composition.waiting()["r-3"]
    # It comes before r-1, for whose packets others have room.
    composition.remove("r-2")
    assert by_ids(composition.plan())["r-3",] == whole(QUIC, guarantee=640)
    assert list(composition.waiting()) == ["r-1"]


def test_who_has_to_wait_for_room_owns_nothing() -> None:
    wanted = [entry("a", VOICE, guarantee=400), entry("b", WEB, QUIC, guarantee=80), entry("c", WEB, guarantee=320)]
    found, waiting = compose(LINES, wanted)
    assert by_ids(found) == {("a",): whole(VOICE, guarantee=400), ("b",): whole(WEB, QUIC)}
    assert list(waiting) == ["c"]


def test_who_has_not_begun_takes_no_match_from_one_that_runs() -> None:
    composition = Composition(LINES)
    composition.put("old", [entry("old", WEB, QUIC)], turn=2)
    composition.put("new", [entry("new", WEB)], turn=1, begun=False)
    composition.put("wide", [entry("wide", WEB, QUIC, DNS)], turn=1, begun=False)
    assert by_ids(composition.plan()) == {("old",): whole(WEB, QUIC), ("wide",): whole(DNS)}
    assert composition.waiting() == {"new": "all its packets are those of old, which has begun"}
    composition.put("new", [entry("new", WEB)], turn=1)
    assert by_ids(composition.plan()) == {("new",): whole(WEB), ("old",): whole(QUIC), ("wide",): whole(DNS)}


def test_a_packet_has_a_guarantee_or_keeps_its_marking_if_others_are_of_one_only() -> None:
    found, waiting = compose(LINES, [entry("r", WEB, QUIC, dscp=46), entry("p", WEB, action=KEEP)])
    assert by_ids(found) == {("p",): (frozenset({WEB}), None), ("r",): whole(QUIC)}
    assert waiting == {}
    steered = [
        entry("s", WEB, QUIC, action=STEER, through=("10.0.0.8",)),
        entry("t", WEB, action=STEER, through=("10.0.0.9",)),
    ]
    found, waiting = compose(LINES, [*steered, entry("r", WEB, QUIC)])
    assert by_ids(found) == {
        ("s",): (frozenset({QUIC}), None), ("t",): (frozenset({WEB}), None), ("r",): whole(WEB, QUIC),
    }  # fmt: skip
    assert waiting == {}


# -- room


def test_who_comes_first_has_the_room() -> None:
    wanted = [entry("a", WEB, guarantee=400), entry("b", DNS, guarantee=400), entry("c", VOICE, guarantee=320)]
    found, waiting = compose(LINES, wanted)
    assert sorted(each.ids for each in found.entries.values()) == [("a",), ("c",)]
    assert waiting == {"b": "eth0:out has 320bit left to guarantee, and 400bit is to be guaranteed"}


def test_scenario_18_at_the_turn_of_two_windows_the_next_waits_for_the_last() -> None:
    composition = Composition(LINES)
    composition.put("old", [entry("old", WEB, guarantee=480), entry("old", WEB, line=IN)], turn=100)
    composition.put("next", [entry("next", DNS, guarantee=480), entry("next", DNS, line=IN)], turn=200)
    composition.put("far", [entry("far", VOICE, guarantee=240)], turn=300)
    assert sorted(each.ids for each in composition.plan().entries.values()) == [("far",), ("next",), ("old",), ("old",)]
    assert list(composition.waiting()) == ["next"]
    composition.remove("old")
    assert sorted(each.ids for each in composition.plan().entries.values()) == [("far",), ("next",), ("next",)]
    assert composition.waiting() == {}
    composition.put("far", [entry("far", VOICE, guarantee=320)], turn=300)
    assert list(composition.waiting()) == ["far"]
    composition.put("far", [entry("far", VOICE, guarantee=320)], turn=150)
    assert list(composition.waiting()) == ["next"]


def test_who_waits_for_room_still_does_when_another_with_its_packets_goes() -> None:
    composition = Composition(LINES)
    composition.put("a", [entry("a", VOICE, guarantee=400)], turn=1)
    composition.put("b", [entry("b", WEB)], turn=2)
    composition.put("c", [entry("c", WEB, guarantee=400)], turn=3)
    assert list(composition.waiting()) == ["c"]
    composition.remove("b")
    assert by_ids(composition.plan()) == {("a",): whole(VOICE, guarantee=400)}
    assert list(composition.waiting()) == ["c"]


# -- changes


def test_nothing_changed_is_the_same_plan() -> None:
    composition = Composition(LINES)
    composition.put("a", [entry("a", WEB)])
    first = composition.plan()
    composition.remove("b")
    assert composition.plan() is first
    composition.put("a", [entry("a", WEB, expires=200)])
    assert composition.plan() is not first
    assert only(first).expires == 100
    assert only(composition.plan()).expires == 200
    composition.put("a", [])
    assert composition.plan().entries == {}


def test_what_is_on_no_line_is_refused_and_changes_nothing() -> None:
    composition = Composition((OUT,))
    composition.put("a", [entry("a", WEB)])
    with pytest.raises(BadRequest):
        composition.put("a", [entry("a", DNS), entry("a", DNS, line=IN)])
    assert only(composition.plan()).matches == {WEB}
    with pytest.raises(BadRequest):
        Composition((OUT, OUT))


# -- against the naive way


BOXES = ["10.0.0.8", "10.0.0.9"]


@dataclass(frozen=True)
class Put:
    """Of one owner, who has at most one entry, so that what is told of ids is told of entries."""

    turn: int
    begun: bool
    entry: Entry

    @property
    def name(self) -> str:
        return self.entry.ids[0]

    @property
    def track(self) -> tuple[str, Action]:
        """Where a packet has one owner."""
        return self.entry.line, GUARANTEE if self.entry.action is KEEP else self.entry.action

    @property
    def seat(self) -> tuple[bool, int, str]:
        return not self.begun, self.turn, self.name

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        return not self.begun, len(self.entry.matches), self.turn, self.name

    @property
    def guarantee(self) -> int:
        return self.entry.share.guarantee if self.entry.share else 0


@st.composite
def puts(draw: st.DrawFn) -> Put:
    action = draw(st.sampled_from([GUARANTEE, GUARANTEE, *Action]))
    line = draw(st.sampled_from(LINES))
    guarantee = 8 * draw(st.integers(1, 50))
    wanted = entry(
        "x",
        *draw(st.lists(st.sampled_from(MATCHES), min_size=1, max_size=3)),
        action=action,
        line=line,
        guarantee=guarantee,
        ceiling=min(line.rate, guarantee + 8 * draw(st.integers(0, 60))),
        priority=draw(st.integers(0, 6)),
        expires=draw(st.integers(0, 9)),
        dscp=draw(st.sampled_from([None, 46, 46])) if action is GUARANTEE else None,
        through=(draw(st.sampled_from(BOXES)),) if action is STEER else (),
        output=draw(st.sampled_from(BOXES)) if action is MIRROR else "",
    )
    return Put(draw(st.integers(0, 3)), draw(st.booleans()), wanted)


def named(put: Put, name: str) -> Put:
    return replace(put, entry=replace(put.entry, ids=(name,)))


def composed(wanted: Mapping[str, Put], order: list[str]) -> Composition:
    composition = Composition(LINES)
    for name in order:
        composition.put(name, [wanted[name].entry], wanted[name].turn, wanted[name].begun)
    return composition


def members(put: Put, wanted: list[Put], refused: set[str]) -> list[Put]:
    """Who is in with the packets of ``put``, in order."""
    same = [each for each in wanted if (each.track, each.entry.matches) == (put.track, put.entry.matches)]
    first = min(same, key=lambda each: each.seat)
    found: list[Put] = []
    for each in sorted(same, key=lambda each: each.seat):
        if each.name in refused or (not each.begun and (first.begun or each.turn > first.turn)):
            continue
        leading = next((one.entry for one in found if one.entry.action is not KEEP), each.entry)
        if each.entry.action is not KEEP and (leading.through, leading.output, leading.dscp) != (
            each.entry.through, each.entry.output, each.entry.dscp,
        ):  # fmt: skip
            continue
        found.append(each)
    return found


def once(wanted: list[Put], refused: set[str]) -> dict[str, tuple[list[Put], frozenset[Match]]]:
    """Who shares an entry with whom, and its packets, were there room for all but the refused."""
    found = {}
    for put in wanted:
        together = members(put, wanted, refused)
        if put not in together:
            continue
        rivals = [members(each, wanted, refused) for each in wanted if each.track == put.track]
        left = frozenset(
            match
            for match in put.entry.matches
            if min(each[0].rank for each in rivals if each and match in each[0].entry.matches) == together[0].rank
        )
        if left:
            found[put.name] = together, left
    return found


def naive(wanted: list[Put]) -> list[Entry]:
    refused: set[str] = set()
    while True:
        found = once(wanted, refused)
        left = {each.name: each.guaranteeable for each in LINES}
        late = set()
        for put in sorted(wanted, key=lambda each: each.seat):
            if put.name not in found:
                continue
            if put.guarantee > left[put.entry.line]:
                late.add(put.name)
            else:
                left[put.entry.line] -= put.guarantee
        if not late:
            break
        refused |= late
    entries = {}
    for together, matches in found.values():
        shares = [each.entry.share for each in together if each.entry.share]
        first = together[0].entry
        rate = next(each.rate for each in LINES if each.name == first.line)
        share = None
        if shares:
            ceiling = min(rate, sum(each.ceiling for each in shares))
            share = Share(sum(each.guarantee for each in shares), ceiling, min(each.priority for each in shares))
        kept = any(each.entry.action is KEEP for each in together)
        entries[together[0].name] = replace(
            first,
            action=GUARANTEE if shares else first.action,
            matches=matches,
            ids=tuple(sorted(each.name for each in together)),
            expires=max(each.entry.expires for each in together),
            share=share,
            dscp=None if kept else first.dscp,
        )
    return list(entries.values())


WANTED = st.lists(puts(), max_size=10).map(
    lambda many: {name: named(put, name) for name, put in zip("abcdefghij", many, strict=False)}
)


@given(WANTED, st.randoms(use_true_random=False))
def test_one_plan_of_many_is_as_the_naive_way_makes_it(wanted: dict[str, Put], random: Any) -> None:
    order = list(wanted)
    random.shuffle(order)
    composition = composed(wanted, order)
    plan, waiting = composition.plan(), composition.waiting()
    assert plan.entries == {each.key: each for each in naive(list(wanted.values()))}
    # Checked by the plan itself: no packet twice, and no more guaranteed than a line can keep.
    assert Plan(plan.lines, plan.entries) == plan
    there = [name for each in plan.entries.values() for name in each.ids]
    assert sorted([*there, *waiting]) == sorted(wanted)


@given(WANTED)
def test_every_match_is_its_owner_s(wanted: dict[str, Put]) -> None:
    composition = composed(wanted, list(wanted))
    plan, waiting = composition.plan(), composition.waiting()
    competing = [each for each in wanted.values() if waiting.get(each.name, "all its packets").startswith("all its")]
    found: dict[tuple[tuple[str, Action], Match], tuple[str, ...]] = {}
    for each in plan.entries.values():
        for match in each.matches:
            place = wanted[each.ids[0]].track, match
            assert place not in found
            found[place] = each.ids
    places = {(each.track, match) for each in competing for match in each.entry.matches}
    assert found.keys() == places
    for place in places:
        rivals = [each for each in competing if each.track == place[0] and place[1] in each.entry.matches]
        owner = min(rivals, key=lambda each: each.rank)
        shared = {each.name for each in rivals if each.entry.matches == owner.entry.matches}
        assert found[place] == tuple(sorted(shared))
        # Beside one that runs nobody is in who does not.
        assert len({wanted[each].begun for each in shared}) == 1


STEPS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.one_of(st.none(), puts())), max_size=25)


@given(STEPS, st.sets(st.integers(0, 24)))
def test_a_plan_that_grew_and_shrank_is_the_one_made_anew(steps: list[tuple[str, Put | None]], looks: set[int]) -> None:
    composition = Composition(LINES)
    wanted: dict[str, Put] = {}
    for number, (owner, put) in enumerate(steps):
        if put is None:
            composition.remove(owner)
            wanted.pop(owner, None)
        else:
            wanted[owner] = named(put, owner)
            composition.put(owner, [wanted[owner].entry], put.turn, put.begun)
        if number in looks or number == len(steps) - 1:
            anew = composed(wanted, sorted(wanted))
            assert composition.plan().entries == anew.plan().entries
            assert composition.waiting() == anew.waiting()
