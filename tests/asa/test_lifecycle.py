"""The states a consumer sees: against docs/reservations.md, and through every history of a small world."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asa
from asa import expiry, reservations
from asa.errors import AsaError
from asa.ledger import Ledger
from asa.lifecycle import LIFE, LISTED, Phase, Standing, State, gone, not_enforced, over, state_of
from asa.records import Change, Held, Plan, Reservation, ReservationState
from objectives import Block, NodeId, Window
from objectives.params import Params

ME = NodeId("me", "0" * 16)
NOW = 10_000
ON_DISK = ReservationState

PHASES: list[Phase | None] = [None, *Phase]
OF_THE_DATA_PLANE = {State.INSTALLING, State.FAILED, State.ENDING}


def a_reservation(state: ReservationState, start: int, end: int | None, until: int | None = None) -> Reservation:
    return Reservation("r-1", "wan", 5, Window(start, end), state, NOW, NOW, until=until)


def seen(reservation: Reservation | None, now: int, paused: bool = False, phase: Phase | None = None) -> State | None:
    standing = Standing(phase) if phase is not None else None
    return state_of(reservation, now, paused, lambda *_: standing) if reservation is not None else None


# -- one instant


GONE = {None: 0, Phase.ABSENT: 0, Phase.INSTALLING: 1, Phase.INSTALLED: 1, Phase.FAILED: 1, Phase.REMOVING: 1}
"""Whether there is something left to remove."""
CLOCKS = {"before": NOW - 1, "first": NOW, "last": NOW + 9, "after": NOW + 10}


def expected(state: ReservationState, clock: str, open_: bool, paused: bool, phase: Phase | None) -> State:
    """By the table of docs/reservations.md. ``open_``: the deadline of a hold has not come."""
    passed = clock == "after"
    rows: dict[ReservationState, State] = {
        ON_DISK.HELD: State.ENDED if passed or not open_ else State.HELD,
        ON_DISK.PREPARED: State.ENDED if passed or not open_ else State.HELD,
        ON_DISK.PARKED: State.ENDED if passed else State.PARKED,
        ON_DISK.LAPSED: State.ENDED,
        ON_DISK.CANCELLED: [State.CANCELLED, State.ENDING][GONE[phase]],
    }
    if state in rows:
        return rows[state]
    if passed:
        return [State.ENDED, State.ENDING][GONE[phase]]
    if clock == "before":
        return State.PENDING
    if paused:
        return State.PAUSED
    return {
        None: State.ACTIVE,
        Phase.ABSENT: State.INSTALLING,
        Phase.INSTALLING: State.INSTALLING,
        Phase.INSTALLED: State.ACTIVE,
        Phase.FAILED: State.FAILED,
        Phase.REMOVING: State.INSTALLING,
    }[phase]


@pytest.mark.parametrize("state", ReservationState)
def test_every_combination_has_the_state_it_is_said_to_have(state: ReservationState) -> None:
    met = set()
    for clock, paused, phase in product(CLOCKS, (False, True), PHASES):
        now = CLOCKS[clock]
        for until in (None, now - 1, now, now + 1):
            found = seen(a_reservation(state, NOW, NOW + 10, until), now, paused, phase)
            assert found is expected(state, clock, until is None or until > now, paused, phase)
            met.add(found)
    assert met


def test_every_state_is_that_of_some_combination() -> None:
    found = {
        seen(a_reservation(state, NOW, NOW + 10), now, paused, phase)
        for state, now, paused, phase in product(ReservationState, CLOCKS.values(), (False, True), PHASES)
    }
    assert found == set(State)


def test_what_has_no_end_never_ends_by_itself() -> None:
    for state in ON_DISK.BOOKED, ON_DISK.PARKED, ON_DISK.HELD, ON_DISK.PREPARED:
        assert seen(a_reservation(state, NOW, None), 2**40) in {State.ACTIVE, State.PARKED, State.HELD}


def test_a_node_that_only_keeps_the_books_knows_no_phases() -> None:
    assert not_enforced(a_reservation(ON_DISK.BOOKED, NOW, None), NOW) is None
    for state, now, paused in product(ReservationState, CLOCKS.values(), (False, True)):
        reservation = a_reservation(state, NOW, NOW + 10)
        assert state_of(reservation, now, paused) is seen(reservation, now, paused, None)
        assert state_of(reservation, now, paused) not in OF_THE_DATA_PLANE


def test_of_the_data_plane_only_what_it_has_nothing_of_is_gone() -> None:
    assert gone(None)
    assert [each for each in Phase if gone(Standing(each, "why"))] == [Phase.ABSENT]


def test_what_is_over_is_not_forgotten_while_the_data_plane_has_something_of_it() -> None:
    params = Params().changed("test", {"history": 0})
    for phase in PHASES:
        old = a_reservation(ON_DISK.BOOKED, 0, 10), replace(a_reservation(ON_DISK.CANCELLED, 0, None), id="r-2")
        ledger = Ledger(ME, NOW, [replace(each, changed=10) for each in old])
        standing = Standing(phase) if phase is not None else None
        changes = expiry.elapsed(ledger, NOW, params, phases=lambda *_, found=standing: found).changes  # type: ignore[misc]
        assert len(changes) == (0 if GONE[phase] else 2)


def test_the_data_plane_is_asked_for_the_reservation_itself() -> None:
    asked: list[str] = []
    state_of(a_reservation(ON_DISK.BOOKED, NOW, None), NOW, False, lambda each, _: asked.append(each.id))  # type: ignore[func-returns-value]
    assert set(asked) == {"r-1"}


def test_what_is_over_takes_no_more_part_whatever_the_data_plane_has_to_tidy_up() -> None:
    for state, now in product(ReservationState, CLOCKS.values()):
        reservation = a_reservation(state, NOW, NOW + 10, NOW + 5)
        assert over(reservation, now) == (seen(reservation, now, False, None) in (State.ENDED, State.CANCELLED))
    assert over(a_reservation(ON_DISK.CANCELLED, NOW, None), NOW)


# -- the table


def test_the_table_is_of_all_states_and_nothing_else() -> None:
    assert set(LIFE) == {*State, None}
    assert {each for following in LIFE.values() for each in following} == {*State, None}
    assert all(state not in following for state, following in LIFE.items())


def test_what_is_over_never_begins_again() -> None:
    ends = {State.ENDING, State.ENDED, State.CANCELLED}
    assert all(LIFE[state] <= ends | {None} for state in ends)


def test_what_is_not_over_can_be_cancelled() -> None:
    assert all(State.CANCELLED in LIFE[state] for state in set(State) - {State.ENDED, State.CANCELLED})


def test_what_is_listed_is_all_that_is_not_over() -> None:
    assert set(State) - LISTED == {State.ENDED, State.CANCELLED}


def test_the_document_names_the_states() -> None:
    document = (Path(asa.__file__).parent.parent / "docs" / "reservations.md").read_text()
    table = document.partition("| State | Meaning | Then |")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines()[2:] for name in re.findall("`([a-z]+)`", line.split("|")[1])]
    assert named == [str(each) for each in State]


# -- histories


PARAMS = Params().changed("test", {"history": 0})
CAPACITY = Held("wan", Block(0, 100, 0, None))
LATER = [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4, NOW + 6, NOW + 300]
"""The instants of the world."""


@dataclass(frozen=True)
class World:
    """One reservation, and all its state follows from. ``began``: there was one before."""

    record: Reservation | None
    now: int
    paused: bool
    phase: Phase | None
    began: bool = False

    @property
    def state(self) -> State | None:
        return seen(self.record, self.now, self.paused, self.phase)


def first(world: World, start: int, end: int | None, until: int | None) -> Iterator[Reservation]:
    """What a consumer, or the agent at the other end, may ask for."""
    window = Window(start, end)
    booked = Reservation("r-1", "wan", 5, window, ON_DISK.BOOKED, world.now, world.now)
    yield booked
    yield replace(booked, state=ON_DISK.HELD, until=until)
    yield replace(booked, state=ON_DISK.PREPARED)
    yield replace(booked, state=ON_DISK.PARKED)


def after(world: World, rule: Callable[[Ledger], Plan[object]]) -> Iterator[World]:
    """What a rule makes of the record, if it does not refuse."""
    assert world.record is not None
    ledger = Ledger(ME, world.now, [CAPACITY, world.record])
    try:
        ledger.apply(rule(ledger).changes)
    except AsaError:
        return
    yield replace(world, record=ledger.reservations.get("r-1"))


def acts(world: World, ends: list[int | None], untils: list[int]) -> Iterator[World]:
    """What the rules make of the reservation that is there."""
    now, record = world.now, world.record
    assert record is not None
    rules: list[Callable[[Ledger], Plan[object]]] = [
        lambda ledger: reservations.confirm(ledger, now, "r-1"),
        lambda ledger: reservations.cancel(ledger, now, "r-1"),
        lambda ledger: expiry.lapsed(ledger, now),
    ]
    for end in ends:
        rules.append(
            lambda ledger, end=end: reservations.exchange(
                ledger, now, reservations.changed(record, now, PARAMS, end=end, keep_end=False)
            )
        )
    if record.state is ON_DISK.PARKED:
        rules.append(lambda ledger: reservations.unpark(ledger, now, record, record))
    if record.state is ON_DISK.PREPARED:
        # As the other agent decides: held, booked, or not at all.
        decided: list[Reservation | None] = [None, replace(record, state=ON_DISK.BOOKED)]
        decided += [replace(record, state=ON_DISK.HELD, until=until) for until in untils]
        for final in decided:
            rules.append(lambda ledger, final=final: Plan((Change(record, final),), None))
    if world.phase in (None, Phase.ABSENT):
        rules.append(lambda ledger: expiry.elapsed(ledger, now, PARAMS))
    for rule in rules:
        yield from after(world, rule)


def enforced(world: World) -> Iterator[World]:
    """What a data plane may do next: install what is in force, remove what is not."""
    if world.phase is None or world.record is None:
        return
    record = world.record
    wanted = (
        record.state is ON_DISK.BOOKED
        and record.window.start <= world.now
        and not record.window.passed(world.now)
        and not world.paused
    )
    steps = {
        Phase.ABSENT: [Phase.INSTALLING] if wanted else [],
        Phase.INSTALLING: [Phase.INSTALLED, Phase.FAILED] if wanted else [Phase.REMOVING],
        Phase.INSTALLED: [Phase.FAILED] if wanted else [Phase.REMOVING],
        Phase.FAILED: [Phase.INSTALLING] if wanted else [Phase.REMOVING],
        Phase.REMOVING: [Phase.ABSENT],
    }
    for phase in steps[world.phase]:
        yield replace(world, phase=phase)


def moves(world: World, starts: list[int], ends: list[int | None], untils: list[int], later: list[int]) -> list[World]:
    """All that may happen next."""
    found = [replace(world, paused=not world.paused), *(replace(world, now=each) for each in later)]
    if world.record is not None:
        found += acts(world, ends, untils)
    elif not world.began:
        for start, end, until in product(starts, ends, untils):
            if start >= world.now and until > world.now and (end is None or end > start):
                found += [replace(world, record=each, began=True) for each in first(world, start, end, until)]
    return [*found, *enforced(world)]


def history(phase: Phase | None) -> set[tuple[State | None, State | None]]:
    """Every change of state in every history of the world."""
    begin = World(None, NOW, False, phase)
    known, fresh, edges = {begin}, [begin], set()
    while fresh:
        world = fresh.pop()
        later = [each for each in LATER if each > world.now]
        for each in moves(world, [NOW, NOW + 2], [NOW + 4, None], [NOW + 1, NOW + 3], later):
            edges.add((world.state, each.state))
            if each not in known:
                known.add(each)
                fresh.append(each)
    return {(one, other) for one, other in edges if one is not other}


TABLE = {(one, other) for one, following in LIFE.items() for other in following}


def test_without_a_data_plane_every_history_keeps_to_the_table_and_all_of_it_is_met() -> None:
    assert history(None) == {edge for edge in TABLE if OF_THE_DATA_PLANE.isdisjoint(edge)}


def test_with_a_data_plane_every_history_keeps_to_the_table() -> None:
    edges = history(Phase.ABSENT)
    assert edges <= TABLE
    assert {each for edge in edges for each in edge} == {*State, None}


@given(st.booleans(), st.lists(st.integers(0, 10**6), max_size=60))
@settings(max_examples=200, deadline=None)
def test_long_random_histories_keep_to_the_table_too(enforces: bool, chances: list[int]) -> None:
    world = World(None, NOW, False, Phase.ABSENT if enforces else None)
    for chance in chances:
        now = world.now
        ends: list[int | None] = [now + 5, now + 60, None]
        choices = moves(world, [now, now + 7], ends, [now + 4, now + 40], [now + 1, now + 3, now + 30])
        following = choices[chance % len(choices)]
        assert following.state is world.state or (world.state, following.state) in TABLE
        world = replace(following, began=following.began and following.record is not None)


@given(st.lists(st.integers(0, 10**6), max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_restart_changes_nothing(chances: list[int]) -> None:
    world = World(None, NOW, False, None)
    for chance in chances:
        choices = moves(world, [world.now], [world.now + 9, None], [world.now + 4], [world.now + 1, world.now + 5])
        world = choices[chance % len(choices)]
        records = [world.record] if world.record is not None else []
        read = Ledger(ME, world.now, records).reservations.get("r-1")
        assert seen(read, world.now, world.paused) is world.state
