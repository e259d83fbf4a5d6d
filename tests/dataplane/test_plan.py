"""What a plan refuses, and plans made of the entries of many reservations against a naive way to make them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.dataplane.composition import Composition, compose
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.errors import BadRequest
from asa.flows import Port

OUT, IN = Line("eth0", "out", 800, 80), Line("eth0", "in", 400, 80)
LINES = (OUT, IN)
WEB = Match(4, ip_network("10.0.0.1"), None, 6, None, Port(80))
DNS = Match(4, None, ip_network("10.0.0.2"), 17, None, Port(53))
VOICE = Match(4, None, ip_network("10.0.0.3"))
MATCHES = [WEB, DNS, VOICE, Match(0, vlan=3)]
GUARANTEE, KEEP, STEER, MIRROR = Action


def entry(
    name: str, *matches: Match, guarantee: int = 80, action: Action = GUARANTEE, line: Line = OUT, **more: Any
) -> Entry:
    ceiling, priority = more.pop("ceiling", guarantee), more.pop("priority", 1)
    share = Share(guarantee, ceiling, priority) if action is GUARANTEE else None
    return Entry(line.name, action, frozenset(matches), (name,), more.pop("expires", 100), share, **more)


# -- what is refused


@pytest.mark.parametrize(
    "make",
    [
        lambda: Share(0, 8),
        lambda: Share(16, 8),
        lambda: Share(9, 16),
        lambda: Share(8, 17),
        lambda: Share(8, 8, 8),
        lambda: Share(8, 8, -1),
        lambda: Line("eth0", "out", 80, 88),
        lambda: Line("eth0", "out", 81, 8),
        lambda: Line("eth0", "out", 80, 9),
        lambda: Line("eth0", "out", 80, -8),
        lambda: Line("eth0", "out", 0, 0),
        lambda: Line("eth0", "up", 80, 8),  # type: ignore[arg-type]
        lambda: Line("eth0;", "out", 80, 8),
        lambda: Line("-x", "out", 80, 8),
        lambda: Line("eth0", "out", 80, 8, (64,)),
        lambda: entry("r"),
        lambda: Entry("eth0:out", GUARANTEE, frozenset({WEB}), ("r",), 1),
        lambda: Entry("eth0:out", KEEP, frozenset({WEB}), ("r",), 1, Share(8, 8)),
        lambda: entry("r", WEB, action=STEER),
        lambda: entry("r", WEB, through=("10.0.0.9",)),
        lambda: entry("r", WEB, action=MIRROR),
        lambda: entry("r", WEB, action=MIRROR, output="; reboot"),
        lambda: entry("r", WEB, dscp=64),
        lambda: entry("r", WEB, dscp=-1),
    ],
)
def test_what_no_kernel_can_do_is_refused(make: Any) -> None:
    with pytest.raises(BadRequest):
        make()


def plan(*entries: Entry, lines: tuple[Line, ...] = LINES) -> Plan:
    return Plan(lines, {each.key: each for each in entries})


def test_a_plan_keeps_its_guarantees() -> None:
    full = plan(entry("a", WEB, guarantee=360), entry("b", DNS, guarantee=360), entry("c", WEB, guarantee=320, line=IN))
    assert len(full.entries) == 3
    with pytest.raises(BadRequest, match="728 bit/s guaranteed on eth0:out, which has 720"):
        plan(entry("a", WEB, guarantee=360), entry("b", DNS, guarantee=368))


def test_a_packet_of_a_line_is_wanted_once_for_each_action() -> None:
    with pytest.raises(BadRequest, match="two entries want the same packets on eth0:out"):
        plan(entry("a", WEB, DNS), entry("b", DNS, VOICE))
    both = plan(entry("a", WEB), entry("b", WEB, action=MIRROR, output="10.0.0.9"), entry("c", WEB, line=IN))
    assert len(both.entries) == 3


def test_an_entry_is_on_a_line_of_its_plan_under_its_own_key() -> None:
    with pytest.raises(BadRequest, match="which is no line"):
        plan(entry("a", WEB, line=IN), lines=(OUT,))
    with pytest.raises(BadRequest):
        Plan(LINES, {entry("a", WEB).key: entry("a", DNS)})


# -- one plan of many


def only(found: Plan) -> Entry:
    (each,) = found.entries.values()
    return each


def test_of_the_same_packets_shares_are_added() -> None:
    one = entry("b", WEB, guarantee=160, ceiling=320, priority=4, dscp=46, expires=50)
    other = entry("a", WEB, guarantee=80, ceiling=640, priority=2, dscp=18, expires=70)
    found, waiting = compose(LINES, [one, other])
    assert waiting == {}
    assert only(found) == replace(one, ids=("a", "b"), share=Share(240, 800, 2), expires=70)


def test_what_has_a_packet_in_common_is_one_also_through_others() -> None:
    found, waiting = compose(LINES, [entry("a", WEB), entry("c", DNS), entry("d", VOICE), entry("b", WEB, DNS)])
    assert waiting == {}
    assert {each.ids: (each.matches, each.share) for each in found.entries.values()} == {
        ("a", "b", "c"): (frozenset({WEB, DNS}), Share(240, 240)),
        ("d",): (frozenset({VOICE}), Share(80, 80)),
    }


def test_scenario_27_a_passthrough_of_packets_with_a_guarantee_leaves_them_both() -> None:
    for order in (1, -1):
        wanted = [entry("r", WEB, guarantee=160, dscp=46), entry("p", WEB, action=KEEP)][::order]
        found, waiting = compose(LINES, wanted)
        merged = only(found)
        assert (merged.action, merged.share, merged.dscp) == (GUARANTEE, Share(160, 160), None)
        assert (merged.ids, waiting) == (("p", "r"), {})
    kept, _ = compose(LINES, [entry("p", WEB, action=KEEP), entry("q", WEB, DNS, action=KEEP)])
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


@st.composite
def entries(draw: st.DrawFn, name: str | None = None) -> Entry:
    action = draw(st.sampled_from(Action))
    line = draw(st.sampled_from(LINES))
    guarantee = 8 * draw(st.integers(1, 50))
    return entry(
        name or draw(st.sampled_from("abcdefgh")),
        *draw(st.lists(st.sampled_from(MATCHES), min_size=1, max_size=3)),
        action=action,
        line=line,
        guarantee=guarantee,
        ceiling=min(line.rate, guarantee + 8 * draw(st.integers(0, 60))),
        priority=draw(st.integers(0, 6)),
        expires=draw(st.integers(0, 9)),
        dscp=draw(st.sampled_from([None, 0, 46])) if action is GUARANTEE else None,
        through=(draw(st.sampled_from(BOXES)),) if action is STEER else (),
        output=draw(st.sampled_from(BOXES)) if action is MIRROR else "",
    )


def naive(wanted: Iterable[Entry]) -> tuple[list[Entry], set[str]]:
    """One after the other: whoever fits comes in, and what has a packet in common with it is merged anew."""
    taken: list[list[Entry]] = []
    left = {each.name: each.guaranteeable for each in LINES}
    waiting: set[str] = set()
    beside = {KEEP: GUARANTEE}
    for each in wanted:
        guarantee = each.share.guarantee if each.share else 0
        if guarantee > left[each.line]:
            waiting.update(each.ids)
            continue
        left[each.line] -= guarantee
        near = [
            group
            for group in taken
            if any(
                one.line == each.line
                and beside.get(one.action, one.action) == beside.get(each.action, each.action)
                and one.matches & each.matches
                for one in group
            )
        ]
        if any((one.through, one.output) != (each.through, each.output) for group in near for one in group):
            waiting.update(each.ids)
            continue
        taken = [group for group in taken if group not in near] + [[one for group in near for one in group] + [each]]
    found = []
    for group in taken:
        members = [each for each in wanted if any(each is one for one in group)]
        shares = [each.share for each in members if each.share]
        rate = next(each.rate for each in LINES if each.name == members[0].line)
        share = None
        if shares:
            ceiling = min(rate, sum(each.ceiling for each in shares))
            share = Share(sum(each.guarantee for each in shares), ceiling, min(each.priority for each in shares))
        found.append(
            replace(
                members[0],
                action=GUARANTEE if shares else members[0].action,
                matches=frozenset(match for each in members for match in each.matches),
                ids=tuple(sorted({name for each in members for name in each.ids})),
                expires=max(each.expires for each in members),
                share=share,
                dscp=None if any(each.action is KEEP for each in members) else members[0].dscp,
            )
        )
    return found, waiting


@given(st.lists(entries(), max_size=12))
def test_one_plan_of_many_is_as_the_naive_way_makes_it(wanted: list[Entry]) -> None:
    found, waiting = compose(LINES, wanted)
    expected, late = naive(wanted)
    assert found.entries == {each.key: each for each in expected}
    assert waiting.keys() == late
    # Checked by the plan itself: no packet twice, and no more guaranteed than a line can keep.
    assert Plan(found.lines, found.entries) == found
    there = {name for each in found.entries.values() for name in each.ids}
    assert there | waiting.keys() == {name for each in wanted for name in each.ids}
    again, late_again = compose(LINES, [replace(each) for each in wanted])
    assert (list(again.entries.items()), dict(late_again)) == (list(found.entries.items()), dict(waiting))


OWNERS = st.sampled_from("abcdefgh")
STEPS = st.lists(
    st.tuples(OWNERS, st.one_of(st.none(), st.tuples(st.integers(0, 3), st.lists(entries("x"), max_size=3)))),
    max_size=25,
)


@given(STEPS, st.sets(st.integers(0, 24)))
def test_a_plan_that_grew_and_shrank_is_the_one_made_at_once(
    steps: list[tuple[str, tuple[int, list[Entry]] | None]], looks: set[int]
) -> None:
    composition = Composition(LINES)
    wanted: dict[str, tuple[int, list[Entry]]] = {}
    for number, (owner, put) in enumerate(steps):
        if put is None:
            composition.remove(owner)
            wanted.pop(owner, None)
        else:
            named = [replace(each, ids=(owner,)) for each in put[1]]
            composition.put(owner, named, put[0])
            wanted[owner] = put[0], named
        if number in looks or number == len(steps) - 1:
            ordered = sorted(wanted.items(), key=lambda item: (item[1][0], item[0]))
            at_once, waiting = compose(LINES, [each for _, (_, named) in ordered for each in named])
            assert composition.plan().entries == at_once.entries
            assert composition.waiting().keys() == waiting.keys()
