"""The back end without effect: what it was told is what it reads back."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from asa.dataplane.backend import Backend, Found
from asa.dataplane.drift import differences
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.dataplane.record import NOTE, Record

LINES = (Line("eth0", "out", 8_000, 800), Line("eth0", "in", 8_000, 800))
MATCHES = [Match(4, ip_network(f"10.0.0.{number}")) for number in range(6)]


def entry(number: int, action: Action = Action.GUARANTEE, expires: int = 100) -> Entry:
    return Entry(
        LINES[number % 2].name,
        action,
        frozenset({MATCHES[number]}),
        (f"r-{number}",),
        expires,
        Share(8, 16) if action is Action.GUARANTEE else None,
        through=("10.0.0.9",) if action is Action.STEER else (),
        output="10.0.0.9" if action is Action.MIRROR else "",
    )


def plan(*entries: Entry) -> Plan:
    return Plan(LINES, {each.key: each for each in entries})


def test_it_can_do_everything_and_says_that_it_does_nothing() -> None:
    record: Backend = Record()
    abilities = record.probe(LINES)
    assert (record.name, abilities.actions, abilities.ways) == ("record", frozenset(Action), frozenset({"out", "in"}))
    assert (abilities.marks, abilities.expires, abilities.notes) == (True, True, (NOTE,))
    assert record.apply(plan(entry(0))) == {}
    assert record.count() == {}


PLANS = st.lists(
    st.dictionaries(st.integers(0, 5), st.tuples(st.sampled_from(Action), st.integers(0, 9))).map(
        lambda some: plan(*(entry(number, *rest) for number, rest in some.items()))
    ),
    max_size=4,
)


@given(PLANS)
def test_what_it_was_told_last_is_what_it_reads_back(plans: list[Plan]) -> None:
    record = Record()
    for each in plans:
        record.apply(each)
        assert differences(each, record.read(), 0.0) == []
        assert record.read().lines == {"eth0:out": "", "eth0:in": ""}
        some = list(each.entries)[:2]
        reading = record.read(some)
        assert {(line, action) for line, action, _ in reading.found} == {key[:2] for key in some}
        assert reading.lines.keys() == {key[0] for key in some}
        assert differences(each, reading, 0.0, some) == []


def test_who_stays_keeps_its_class_and_who_is_new_gets_another() -> None:
    record = Record()
    record.apply(plan(entry(0), entry(2)))
    before = record.read().found
    record.apply(plan(entry(4), entry(2, expires=200)))
    after = record.read().found
    (kept,) = before.keys() & after.keys()
    assert kept == ("eth0:out", Action.GUARANTEE, MATCHES[2])
    assert after[kept] == Found(before[kept].group, Share(8, 16), None, 200)
    groups = [each.group for each in (*before.values(), *after.values())]
    assert 0 not in groups
    assert len(set(groups)) == 3


def test_nothing_is_left_of_what_was_cleared() -> None:
    record = Record()
    record.apply(plan(entry(0), entry(1, Action.KEEP)))
    record.clear()
    assert (record.read().found, record.read().lines) == ({}, {})
    record.close()
