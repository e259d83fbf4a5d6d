"""What is told where a system is not as it shall be: by hand for each rule of it, and that nothing of it gets lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.dataplane.backend import Abilities, Found, Reading, Spot
from asa.dataplane.drift import ABSENT, LATE_S, LONGEST_WORDS, Difference, What, differences
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.dataplane.record import Record
from asa.flows import Port

OUT, IN = Line("eth0", "out", 100_000_000, 5_000_000), Line("eth0", "in", 100_000_000, 5_000_000)
WEB4 = Match(4, ip_network("10.0.0.1"), ip_network("10.0.1.0/24"), 6, None, Port(80))
WEB6 = Match(6, ip_network("fd00::1"), None, 6, None, Port(80), 3)
VOICE, FRAMES = Match(4, None, ip_network("10.0.0.3")), Match(0, vlan=7)
SHARE = Share(20_000_000, 40_000_000)
WEB = Entry("eth0:out", Action.GUARANTEE, frozenset({WEB4, WEB6}), ("r-1", "r-2"), 1_300, SHARE, 46)
CALLS = Entry("eth0:out", Action.GUARANTEE, frozenset({VOICE}), ("r-3",), 1_300, Share(8, 8, 0), 0)
KEPT = Entry("eth0:in", Action.KEEP, frozenset({FRAMES}), ("r-4",), 1_300)
STEERED = Entry("eth0:in", Action.STEER, frozenset({VOICE}), ("r-5",), 1_300, through=("10.0.0.8", "10.0.0.9"))
COPIED = Entry("eth0:in", Action.MIRROR, frozenset({VOICE}), ("r-6",), 1_300, output="10.0.0.8")
ENTRIES = (WEB, CALLS, KEPT, STEERED, COPIED)
PLAN = Plan((OUT, IN), {each.key: each for each in ENTRIES})
NOW = 1_000.0


def as_planned(plan: Plan = PLAN) -> Reading:
    """Read back from who keeps what it is told."""
    record = Record()
    record.apply(plan)
    return record.read()


def spot(entry: Entry, match: Match) -> Spot:
    return entry.line, entry.action, match


def altered(change: Mapping[Spot, Found | None], reading: Reading | None = None) -> Reading:
    found: dict[Spot, Found | None] = {**(reading or as_planned()).found, **change}
    return replace(as_planned(), found={key: each for key, each in found.items() if each is not None})


def of(entry: Entry, match: Match) -> Found:
    return as_planned().found[spot(entry, match)]


WEB_WORDS = "IPv4 tcp 10.0.0.1 -> 10.0.1.0/24:80 and 1 more: 20Mbit up to 40Mbit, priority 1, DSCP 46, ends in 300 s"


def test_what_is_as_it_shall_be_is_no_difference() -> None:
    assert differences(PLAN, as_planned(), NOW) == []
    assert differences(Plan(), Reading(), NOW) == []


def test_scenario_40_what_is_missing_is_told() -> None:
    gone = altered({spot(WEB, WEB4): None, spot(WEB, WEB6): None, spot(KEPT, FRAMES): None})
    assert differences(PLAN, gone, NOW) == [
        Difference("eth0:out", ("r-1", "r-2"), What.MISSING, ABSENT, WEB_WORDS),
        Difference("eth0:in", ("r-4",), What.MISSING, ABSENT, "any -> any VLAN 7: marking left alone, ends in 300 s"),
    ]
    everything = differences(PLAN, Reading(dict.fromkeys(("eth0:out", "eth0:in"), "")), NOW)
    assert [each.what for each in everything] == [What.MISSING] * 5
    (half,) = differences(PLAN, altered({spot(WEB, WEB6): None}), NOW)
    assert half == Difference("eth0:out", ("r-1", "r-2"), What.CHANGED, "1 of 2 rules are missing", WEB_WORDS)


@pytest.mark.parametrize(
    ("entry", "match", "change", "before"),
    [
        (CALLS, VOICE, {"share": Share(8, 16, 0)}, "8bit up to 16bit, priority 0"),
        (CALLS, VOICE, {"share": Share(8, 8, 1)}, "8bit up to 8bit, priority 1"),
        (CALLS, VOICE, {"share": None}, "a class that is not there"),
        (CALLS, VOICE, {"share": None, "group": 0}, "no share"),
        (CALLS, VOICE, {"group": 0}, "8bit up to 8bit, priority 0, in no class"),
        (CALLS, VOICE, {"dscp": None}, "marking left alone"),
        (CALLS, VOICE, {"dscp": 46}, "DSCP 46"),
        (CALLS, VOICE, {"dscp": 46, "expires": None}, "DSCP 46, never ends"),
        (CALLS, VOICE, {"expires": None}, "never ends"),
        (CALLS, VOICE, {"expires": 1_300 + LATE_S + 0.6}, "ends in 306 s"),
        (WEB, WEB6, {"share": Share(8, 8)}, "8bit up to 8bit, priority 1"),
        (WEB, WEB4, {"group": 99}, "its packets are in several classes"),
        (KEPT, FRAMES, {"group": 98, "share": Share(8, 8)}, "8bit up to 8bit, priority 1"),
        (KEPT, FRAMES, {"dscp": 0}, "DSCP 0"),
        (STEERED, VOICE, {"through": ("10.0.0.8",)}, "through 10.0.0.8"),
        (STEERED, VOICE, {"through": ()}, "through no middlebox"),
        (COPIED, VOICE, {"output": "10.0.0.9"}, "copies to 10.0.0.9"),
    ],
)
def test_what_was_changed_is_told(entry: Entry, match: Match, change: dict[str, object], before: str) -> None:
    reading = altered({spot(entry, match): replace(of(entry, match), **change)})  # type: ignore[arg-type]
    (found,) = differences(PLAN, reading, NOW)
    assert (found.line, found.ids, found.what, found.before) == (entry.line, entry.ids, What.CHANGED, before)
    assert found.after.endswith("ends in 300 s")


@pytest.mark.parametrize("expires", [1_000.1, 1_299.0, 1_300 + LATE_S])
def test_what_ends_sooner_or_a_little_later_is_no_difference(expires: float) -> None:
    assert differences(PLAN, altered({spot(CALLS, VOICE): replace(of(CALLS, VOICE), expires=expires)}), NOW) == []


def test_a_class_is_of_one_entry() -> None:
    calls, web = of(CALLS, VOICE), of(WEB, WEB4)
    found = differences(PLAN, altered({spot(CALLS, VOICE): replace(calls, group=web.group)}), NOW)
    assert [(each.ids, each.before) for each in found] == [
        (("r-1", "r-2"), "its class has packets of others too"), (("r-3",), "its class has packets of others too"),
    ]  # fmt: skip
    stray = differences(PLAN, altered({("eth0:out", Action.GUARANTEE, FRAMES): calls}), NOW)
    assert [(each.what, each.ids) for each in stray] == [(What.CHANGED, ("r-3",)), (What.STRAY, ())]
    other_line = differences(PLAN, altered({("eth0:in", Action.GUARANTEE, FRAMES): calls}), NOW)
    assert [each.what for each in other_line] == [What.STRAY]


def test_strays_are_told_in_words() -> None:
    reading = altered({("eth9:out", Action.GUARANTEE, WEB6): Found(7, SHARE, None, None)})
    assert differences(PLAN, replace(reading, strays=("class a5a:11 of eth0, which no rule leads to",)), NOW) == [
        Difference(
            "eth9:out", (), What.STRAY,
            "guarantee IPv6 tcp fd00::1 -> any:80 VLAN 3: "
            "20Mbit up to 40Mbit, priority 1, marking left alone, never ends",
            ABSENT,
        ),
        Difference("", (), What.STRAY, "class a5a:11 of eth0, which no rule leads to", ABSENT),
    ]  # fmt: skip


def test_a_line_that_is_not_shaped_is_told_first() -> None:
    reading = replace(
        altered({spot(CALLS, VOICE): None}), lines={"eth0:out": "it has another root qdisc", "eth0:in": ""}
    )
    found = differences(PLAN, reading, NOW)
    assert found[0] == Difference(
        "eth0:out", (), What.LINE, "it has another root qdisc",
        "shaped to 100Mbit, 5Mbit of it for packets nobody reserved for",
    )  # fmt: skip
    assert [each.what for each in found] == [What.LINE, What.MISSING]


def test_a_reading_of_some_entries_tells_of_no_others() -> None:
    record = Record()
    record.apply(PLAN)
    keys = [CALLS.key, KEPT.key, ("eth9:out", Action.KEEP, frozenset({VOICE}))]
    assert differences(PLAN, record.read(keys), NOW, keys) == []
    found = differences(PLAN, replace(Reading(), strays=("x",)), NOW, keys)
    assert [(each.what, each.ids) for each in found] == [(What.MISSING, ("r-3",)), (What.MISSING, ("r-4",))]


def test_what_a_back_end_cannot_do_is_no_difference() -> None:
    reading = altered({spot(CALLS, VOICE): replace(of(CALLS, VOICE), dscp=None, expires=None)})
    assert differences(PLAN, reading, NOW, abilities=Abilities(marks=False, expires=False)) == []
    assert len(differences(PLAN, reading, NOW, abilities=Abilities(marks=False))) == 1
    assert len(differences(PLAN, reading, NOW, abilities=Abilities(expires=False))) == 1


def test_words_are_bounded() -> None:
    boxes = tuple(f"fd00:1234:5678:9abc:def0:1234:5678:{number:x}" for number in range(16))
    long = replace(STEERED, through=boxes)
    plan = Plan((OUT, IN), {long.key: long})
    reading = Reading(
        {"eth0:in": "x" * 1_000}, {spot(long, VOICE): Found(0, None, None, 1_300.0, boxes[::-1])}, ("y" * 1_000,)
    )
    found = differences(plan, reading, NOW)
    assert [each.what for each in found] == [What.LINE, What.CHANGED, What.STRAY]
    assert all(len(each.before) <= LONGEST_WORDS and len(each.after) <= LONGEST_WORDS for each in found)
    assert max(len(each.before) for each in found) == LONGEST_WORDS


@given(st.sets(st.integers(0, len(ENTRIES) - 1)), st.sets(st.integers(0, len(ENTRIES) - 1)))
def test_of_two_plans_what_only_one_has_is_what_is_told(there: set[int], wanted: set[int]) -> None:
    def of_some(some: set[int]) -> Plan:
        return Plan((OUT, IN), {ENTRIES[each].key: ENTRIES[each] for each in sorted(some)})

    found = differences(of_some(wanted), as_planned(of_some(there)), NOW)
    missing = {each.ids for each in found if each.what is What.MISSING}
    assert missing == {ENTRIES[each].ids for each in wanted - there}
    strays = [each for each in found if each.what is What.STRAY]
    assert len(strays) == sum(len(ENTRIES[each].matches) for each in there - wanted)
    assert len(found) == len(missing) + len(strays)
