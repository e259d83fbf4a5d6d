"""Alarms against counting second by second, in fractions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa import reservations
from asa.alarms import Alarm, Alarms, used
from asa.ledger import Ledger
from asa.records import (
    BACK,
    OUT,
    Change,
    Given,
    GivenState,
    Held,
    Promise,
    Record,
    Reservation,
    ReservationState,
    Seed,
    made,
)
from objectives import Block, NodeId, Window

ME, PEER = NodeId("me", "0" * 16), NodeId("peer", "1" * 16)
NOW = 10_000
SPAN = 20
"""Seconds from now on in which all of a history of the test begins or ends."""
WHOLE = 37
LINKS = {"eth0:out": 41, "eth0:in": 43, "eth1:out": 100}
OWN = {"eth0:out": 50, "eth1:out": 0}
"""Thresholds; eth0:in has none of its own."""
NAMES = ["wan", "eth0:out", "eth0:in", "eth1:out", "lent", "eth9:out"]
LENT = Held("lent", Block(0, 30, NOW, None))
"""Of a pool whose origin is somebody else."""


def a_ledger(*records: Record) -> Ledger:
    seeded = (Seed("wan", 0, WHOLE, NOW), Held("wan", Block(0, WHOLE, 0, None)))
    return Ledger(ME, NOW, (*seeded, LENT, *records), links=LINKS)


def booked(name: str, resource: str, rate: int, start: int = NOW, end: int | None = None) -> Reservation:
    window = Window(start, end)
    claims = ((resource, OUT),)
    return Reservation(name, "", rate, window, ReservationState.BOOKED, NOW, NOW, claims=claims, back=0)


def counted(ledger: Ledger, now: int, resource: str) -> Fraction | None:
    """Percent at the worst second, from the records themselves."""
    whole = {"wan": WHOLE, **LINKS}.get(resource)
    if whole is None:
        return None
    taken = dict.fromkeys(range(now, now + SPAN), 0)
    for each in ledger.records():
        if isinstance(each, Reservation) and each.state is ReservationState.BOOKED:
            for second in taken:
                if each.window.start <= second and (each.window.end is None or second < each.window.end):
                    taken[second] += each.demand().get(resource, 0)
    return Fraction(min(whole, max(taken.values())) * 100, whole)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["book", "book", "cancel", "tick", "look"]),
        st.sampled_from(NAMES[:4]),
        st.integers(1, 30),
        st.integers(0, 9),
        st.none() | st.integers(1, 9),
    ),
    max_size=16,
)


@given(STEPS, st.sampled_from([0, 1, 50, 90, 100]))
@settings(max_examples=300, deadline=None)
def test_it_is_told_once_and_again_only_after_it_was_less(steps: list[tuple[Any, ...]], policy: int) -> None:
    ledger, alarms, now = a_ledger(), Alarms(OWN), NOW
    above: set[str] = set()
    for number, (step, resource, rate, start, length) in enumerate(steps):
        living = [each for each in ledger.reservations.values() if each.state is ReservationState.BOOKED]
        if step == "book":
            begin = now + start
            wanted = booked(f"r-{number:02}", resource, rate, begin, None if length is None else begin + length)
            ledger.apply(made(wanted))
        elif step == "cancel" and living:
            old = living[rate % len(living)]
            ledger.apply((Change(old, replace(old, state=ReservationState.CANCELLED)),))
        elif step == "tick":
            now += start
            ledger.advance(now)
        looked = NAMES if step != "look" else [resource]
        expected = []
        for each in looked:
            threshold, percent = OWN.get(each, policy), counted(ledger, now, each)
            if threshold and percent is not None and percent >= threshold:
                if each not in above:
                    expected.append(Alarm(each, int(percent), threshold))
                above.add(each)
            else:
                above.discard(each)
        assert alarms.check(ledger, now, looked, policy) == expected


@pytest.mark.parametrize(
    ("rate", "percent", "told"),
    [(889, 88, False), (891, 89, False), (899, 89, False), (900, 90, True), (999, 99, True), (1_000, 100, True)],
)
def test_the_threshold_is_reached_by_all_of_it_and_not_by_rounding(rate: int, percent: int, told: bool) -> None:
    ledger = Ledger(ME, NOW, [booked("r-1", "eth0:out", rate)], links={"eth0:out": 1_000})
    assert used(ledger, NOW, "eth0:out") == percent
    expected = [Alarm("eth0:out", percent, 90)] if told else []
    assert Alarms({}).check(ledger, NOW, ["eth0:out"], 90) == expected


def test_what_is_to_come_counts_and_what_is_over_does_not() -> None:
    ledger = a_ledger(
        booked("r-1", "eth1:out", 95, NOW - 50, NOW),
        booked("r-2", "eth1:out", 60, NOW + 5, NOW + 10),
        booked("r-3", "eth1:out", 30, NOW + 9, NOW + 11),
        booked("r-4", "eth1:out", 99, NOW + 3_600, NOW + 3_601),
    )
    assert [used(ledger, now, "eth1:out") for now in (NOW - 1, NOW, NOW + 3_600, NOW + 3_601)] == [99, 99, 99, 0]
    ledger = a_ledger(booked("r-2", "eth1:out", 60, NOW + 5, NOW + 10), booked("r-3", "eth1:out", 30, NOW + 9, None))
    assert [used(ledger, now, "eth1:out") for now in (NOW, NOW + 9, NOW + 10)] == [90, 90, 30]


def test_at_its_origin_what_is_lent_or_promised_is_in_use_too() -> None:
    ledger = a_ledger()
    assert used(ledger, NOW, "wan") == 0
    whole = Held("wan", Block(0, WHOLE, 0, None))
    rest, gone = Block(10, WHOLE, 0, None), Block(0, 10, 0, None)
    ledger.apply((Change(whole, None), *made(Held("wan", rest))))
    ledger.apply(made(Given(b"t" * 16, "wan", PEER, (gone,), GivenState.ESCROW, NOW)))
    assert used(ledger, NOW, "wan") == 1_000 // WHOLE
    ledger.apply(made(Promise(b"p" * 16, "wan", PEER, 20, Window(NOW, NOW + 9), NOW + 9)))
    assert used(ledger, NOW, "wan") == 3_000 // WHOLE
    assert used(ledger, NOW + 9, "wan") == 1_000 // WHOLE


def test_a_delegators_pool_is_never_told_however_full() -> None:
    ledger = a_ledger(booked("r-1", "lent", 30))
    assert ledger.free("lent", Window(NOW, None)) == 0
    assert used(ledger, NOW, "lent") is None
    assert Alarms({}).check(ledger, NOW, ["lent", "nothing"], 1) == []


def test_an_interface_without_limit_is_never_told() -> None:
    ledger = a_ledger(booked("r-1", "eth9:out", 2**60))
    assert used(ledger, NOW, "eth9:out") is None
    assert Alarms({"eth9:out": 1}).check(ledger, NOW, ["eth9:out"], 1) == []


def test_more_promised_than_there_is_is_all_of_it() -> None:
    ledger = Ledger(ME, NOW, [booked("r-1", "eth0:out", 300)], links={"eth0:out": 100})
    assert used(ledger, NOW, "eth0:out") == 100


def test_each_direction_has_its_own() -> None:
    both = replace(booked("r-1", "", 40), back=42, claims=(("eth0:out", OUT), ("eth0:in", BACK)))
    ledger = a_ledger(both)
    assert Alarms(OWN).check(ledger, NOW, LINKS, 90) == [
        Alarm("eth0:out", 4_000 // 41, 50),
        Alarm("eth0:in", 4_200 // 43, 90),
    ]


def test_a_policy_of_0_tells_nothing_but_what_has_a_threshold_of_its_own() -> None:
    ledger = a_ledger(booked("r-1", "wan", WHOLE), booked("r-2", "eth0:out", 41), booked("r-3", "eth1:out", 100))
    assert Alarms(OWN).check(ledger, NOW, NAMES, 0) == [Alarm("eth0:out", 100, 50)]


def test_a_policy_that_is_lowered_tells_and_one_that_was_0_meanwhile_tells_again() -> None:
    ledger, alarms = a_ledger(booked("r-1", "wan", 30)), Alarms({})
    told = [bool(alarms.check(ledger, NOW, ["wan"], policy)) for policy in (90, 81, 50, 0, 50, 50, 90, 81)]
    assert told == [False, True, False, False, True, False, False, True]


def test_what_is_booked_by_the_rules_is_told() -> None:
    ledger, alarms = a_ledger(), Alarms({})
    wanted = Reservation("r-1", "wan", 34, Window(NOW, None), ReservationState.BOOKED, NOW, NOW)
    ledger.apply(reservations.book(ledger, NOW, wanted).changes)
    assert alarms.check(ledger, NOW, wanted.demand(), 90) == [Alarm("wan", 91, 90)]
    ledger.apply(reservations.cancel(ledger, NOW, "r-1").changes)
    assert alarms.check(ledger, NOW, wanted.demand(), 90) == []
