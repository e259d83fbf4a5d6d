"""What the clock decides of reservations, at its time and not at the keeper's convenience."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from random import Random
from typing import Any

import pytest

from asa import reservations
from asa.alarms import Alarms
from asa.books import Books
from asa.errors import Ended, NotFound, Short, StoreFailed, UnknownPool
from asa.events import EventLog
from asa.ledger import Ledger
from asa.peers import Peers
from asa.records import OUT, Change, Held, Plan, Reservation, ReservationState, Seed, made
from asa.steps import Party
from asa.threads.keeper import MOST, MOST_SERVED, TRIES, Keeper
from asa.views import Event
from objectives import Block, NodeId, Window
from objectives.params import Params
from objectives.reach import Prefix

ME, PEER = NodeId("me", "0" * 16), NodeId("peer", "1" * 16)
NOW = 10_000
PATIENCE = 60.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Disk:
    def __init__(self) -> None:
        self.fails = False

    def commit(self, changes: Sequence[Change]) -> None:
        if self.fails:
            raise StoreFailed("the disk is full")


class World:
    """A keeper and all around it, which finds the places too. ``attempts``: what it tried to place, in order."""

    def __init__(self) -> None:
        self.now = NOW
        self.active = True
        self.params = Params().changed("test", {"retry": 100, "alarm": 90})
        records = Seed("wan", 0, 1_000, NOW), Held("wan", Block(0, 1_000, 0, None))
        self.disk = Disk()
        self.books = Books(Ledger(ME, NOW, records, links={"eth0:out": 100}), self.disk)
        rng = Random(7)
        party = Party(
            ME, lambda: self.now, time.monotonic, rng, Peers(ME, rng), lambda: self.params, lambda: self.active
        )
        self.events = EventLog()
        self.attempts: list[str] = []
        self.attempt: Callable[[Reservation], bool] = self.refuse
        self.moved: dict[NodeId, list[str]] = {}
        self.asked: list[tuple[NodeId, Collection[Prefix]]] = []
        self.reported: list[tuple[str, str]] = []
        self.keeper = Keeper(
            party, self.books, self.events, Alarms({"eth0:out": 50}), self,
            lambda *said: self.reported.append(said), rng,
        )  # fmt: skip

    def retry(self, parked: Reservation) -> bool:
        self.attempts.append(parked.id)
        return self.attempt(parked)

    def place(self, identifier: str) -> bool:
        self.attempts.append(identifier)
        return self.attempt(self.books.read(lambda ledger: reservations.find(ledger, identifier)))

    def astray(self, node: NodeId, prefixes: Collection[Prefix]) -> list[str]:
        self.asked.append((node, prefixes))
        return self.moved.get(node, [])

    def refuse(self, parked: Reservation) -> bool:
        raise Short("it does not fit")

    def succeed(self, parked: Reservation) -> bool:
        self.books.transact(lambda ledger: reservations.unpark(ledger, self.now, parked, parked))
        return True

    def keep(self, *records: Reservation) -> None:
        self.books.transact(lambda ledger: Plan(made(*records), None))

    def state(self, identifier: str) -> ReservationState:
        return self.books.read(lambda ledger: ledger.reservations[identifier].state)

    def told(self, kind: str) -> list[Event]:
        return [each for each in self.events.after(0, 10_000, 0.0).events if each.kind == kind]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.keeper.stop()
    assert made.keeper.join(PATIENCE)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, for tests without threads."""
    now = [5_000.0]
    monkeypatch.setattr("asa.threads.keeper.time.monotonic", lambda: now[0])
    return now


def wish(name: str, state: ReservationState, **more: Any) -> Reservation:
    return Reservation(
        **{"id": name, "pool": "wan", "rate": 5, "window": Window(NOW, None), "state": state}
        | {"created": NOW, "changed": NOW, "source": name, "destination": "10.0.0.1"}
        | more
    )


def held(name: str, deadline: int | None, **more: Any) -> Reservation:
    return wish(name, ReservationState.HELD, until=deadline, **more)


def parked(name: str, end: int | None = None, **more: Any) -> Reservation:
    return wish(name, ReservationState.PARKED, window=Window(NOW, end), why="short: no", **more)


# -- holds


def test_a_hold_lapses_at_its_deadline_and_not_before(world: World) -> None:
    world.keep(held("r-1", NOW + 10))
    world.now = NOW + 9
    world.keeper.turn()
    assert world.state("r-1") is ReservationState.HELD
    world.now = NOW + 10
    world.keeper.turn()
    assert world.state("r-1") is ReservationState.LAPSED
    assert world.books.read(lambda ledger: ledger.free("wan", Window(world.now, None))) == 1_000
    (event,) = world.told("reservation-lapsed")
    assert (event.message, event.fields) == ("r-1 is over: nobody confirmed it in time", {"id": "r-1"})
    world.keeper.turn()
    assert len(world.told("reservation-lapsed")) == 1


@pytest.mark.parametrize(
    ("records", "rest"),
    [
        ([], 15.0),
        ([held("r-1", NOW + 3), held("r-2", NOW + 2), held("r-3", NOW + 9)], 2),
        ([held("r-1", NOW + 15)], 15),
        ([held("r-1", NOW + 16)], 15.0),
        ([held("r-1", None)], 15.0),
        ([wish("r-1", ReservationState.PREPARED, until=NOW + 1)], 15.0),
        ([wish("r-1", ReservationState.BOOKED)], 15.0),
    ],
)
def test_the_next_turn_is_at_the_next_deadline_if_that_is_sooner(
    world: World, records: list[Reservation], rest: float
) -> None:
    world.keep(*records)
    assert world.keeper.turn() == rest


def test_what_waits_for_another_agent_does_not_lapse_by_itself(world: World) -> None:
    world.keep(wish("r-1", ReservationState.PREPARED, until=NOW + 1), held("r-2", None))
    world.now = NOW + 100
    world.keeper.turn()
    assert [world.state(each) for each in ("r-1", "r-2")] == [ReservationState.PREPARED, ReservationState.HELD]


def test_what_was_confirmed_does_not_lapse(world: World) -> None:
    world.keep(held("r-1", NOW + 1))
    world.books.transact(lambda ledger: reservations.confirm(ledger, NOW, "r-1"))
    world.now = NOW + 50
    world.keeper.turn()
    assert world.state("r-1") is ReservationState.BOOKED
    assert world.told("reservation-lapsed") == []


def test_any_number_of_them_lapses_in_one_turn(world: World) -> None:
    names = [f"r-{number:04}" for number in range(2 * MOST + 1)]
    world.keep(*(held(each, NOW + 1, rate=1) for each in names))
    world.now = NOW + 1
    world.keeper.turn()
    assert {world.state(each) for each in names} == {ReservationState.LAPSED}
    assert sorted(each.fields["id"] for each in world.told("reservation-lapsed")) == names


def test_a_running_keeper_lets_a_hold_lapse_long_before_its_usual_pause_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "pause", 3_600.0)
    rests: list[float | None] = []
    turn = world.keeper.turn

    def watched() -> float | None:
        rests.append(turn())
        return rests[-1]

    monkeypatch.setattr(world.keeper, "turn", watched)
    world.keeper.start()
    until(lambda: rests == [Keeper.pause])
    began = time.monotonic()
    hold = held("r-1", NOW + 1)
    world.keep(hold)
    world.keeper.booked(hold)
    # It may have looked once more already.
    until(lambda: rests[:2] == [Keeper.pause, 1])
    assert world.state("r-1") is ReservationState.HELD
    world.now = NOW + 1
    until(lambda: world.state("r-1") is ReservationState.LAPSED)
    assert time.monotonic() - began < PATIENCE < Keeper.pause
    assert world.reported == []


def test_only_what_has_a_deadline_or_is_parked_wakes_the_keeper(world: World) -> None:
    for record, wakes in (
        (wish("r-1", ReservationState.BOOKED), False),
        (held("r-2", NOW + 5), True),
        (parked("r-3"), True),
    ):
        world.keeper._wake.clear()
        world.keeper.booked(record)
        assert world.keeper._wake.is_set() is wakes


def test_what_the_disk_does_not_take_has_not_lapsed_and_does_next_time(world: World) -> None:
    world.keep(held("r-1", NOW + 1))
    world.now, world.disk.fails = NOW + 1, True
    with pytest.raises(StoreFailed):
        world.keeper.turn()
    assert world.state("r-1") is ReservationState.HELD
    assert world.told("reservation-lapsed") == []
    world.disk.fails = False
    world.keeper.turn()
    assert world.state("r-1") is ReservationState.LAPSED


# -- what is parked


def test_what_is_parked_is_tried_and_when_it_is_placed_no_more(world: World) -> None:
    world.keep(parked("r-1"))
    world.attempt = world.succeed
    world.keeper.turn()
    world.keeper.turn()
    assert world.attempts == ["r-1"]
    assert world.state("r-1") is ReservationState.BOOKED
    assert world.told("reservation-parked") == []


def test_what_stays_parked_says_why_and_is_tried_again_after_the_policys_time(world: World, ticks: list[float]) -> None:
    world.keep(parked("r-1"))
    waits = []
    for _ in range(20):
        count, began = len(world.attempts), ticks[0]
        while len(world.attempts) == count:
            ticks[0] += 1.0
            world.keeper.turn()
        waits.append(ticks[0] - began)
    assert all(80.0 <= each <= 121.0 for each in waits[1:])
    assert len(set(waits[1:])) > 5
    told = world.told("reservation-parked")
    assert len(told) == 20
    assert (told[0].message, told[0].fields) == (
        "r-1 stays parked: it does not fit",
        {"id": "r-1", "code": "short"},
    )


def test_the_next_turn_is_when_the_next_attempt_is_due_if_that_is_sooner(world: World, ticks: list[float]) -> None:
    world.params = world.params.changed("test", {"retry": 2})
    world.keep(parked("r-1"))
    rest = world.keeper.turn()
    assert rest is not None
    assert 1.6 <= rest <= 2.4
    ticks[0] += rest
    world.keeper.turn()
    assert world.attempts == ["r-1", "r-1"]


def test_a_few_are_tried_in_a_turn_and_the_others_in_the_next_at_once(world: World, ticks: list[float]) -> None:
    names = [f"r-{number:02}" for number in range(2 * TRIES + 3)]
    world.keep(*map(parked, names))
    rests = [world.keeper.turn() for _ in range(3)]
    assert [rests[0], rests[1]] == [0.0, 0.0]
    assert rests[2] == Keeper.pause
    assert sorted(world.attempts) == names


def test_of_many_that_wait_none_is_passed_over(world: World, ticks: list[float]) -> None:
    names = [f"r-{number:02}" for number in range(3 * TRIES)]
    world.keep(*map(parked, names))
    for _ in range(100):
        ticks[0] += 15.0
        world.keeper.turn()
    counts = [world.attempts.count(each) for each in names]
    assert max(counts) <= 2 * min(counts)


def test_holds_lapse_between_attempts_however_many_are_parked(world: World) -> None:
    world.keep(*(parked(f"r-{number:02}") for number in range(3 * TRIES)), held("r-x", NOW + 5))

    def slow(parked: Reservation) -> bool:
        world.now += 1
        raise Short("it does not fit")

    world.attempt = slow
    world.keeper.turn()
    assert len(world.attempts) == TRIES
    world.keeper.turn()
    assert world.state("r-x") is ReservationState.LAPSED


def test_the_time_that_attempts_took_is_not_rested_too(world: World) -> None:
    world.keep(parked("r-1"), held("r-2", NOW + 12))

    def slow(parked: Reservation) -> bool:
        world.now += 10
        raise Short("it does not fit")

    world.attempt = slow
    assert world.keeper.turn() == 2


def test_an_agent_that_takes_no_part_tries_nothing_and_does_not_spin(world: World) -> None:
    world.keep(*(parked(f"r-{number:02}") for number in range(3 * TRIES)), held("r-x", NOW + 1))
    world.active = False
    world.now = NOW + 1
    assert world.keeper.turn() == Keeper.pause
    assert world.attempts == []
    assert world.state("r-x") is ReservationState.LAPSED
    world.active = True
    world.keeper.turn()
    assert len(world.attempts) == TRIES


def test_an_attempt_that_is_overdue_is_not_waited_for_by_an_agent_that_takes_no_part(
    world: World, ticks: list[float]
) -> None:
    world.keep(parked("r-1"))
    world.keeper.turn()
    world.active = False
    ticks[0] += 1_000.0
    assert world.keeper.turn() == Keeper.pause
    assert world.attempts == ["r-1"]


def test_an_agent_that_stops_or_no_longer_takes_part_breaks_off(world: World) -> None:
    world.keep(*map(parked, ("r-1", "r-2", "r-3")))

    def ending(parked: Reservation) -> bool:
        world.active = len(world.attempts) < 2
        raise Short("it does not fit")

    world.attempt = ending
    world.keeper.turn()
    assert len(world.attempts) == 2
    world.active = True
    world.keeper.stop()
    world.keeper.turn()
    assert len(world.attempts) == 2


def test_what_is_parked_too_long_is_dropped_with_the_reason(world: World) -> None:
    world.keep(parked("r-1", NOW + 50))
    world.now = NOW + 49
    world.keeper.turn()
    assert world.state("r-1") is ReservationState.PARKED
    world.now = NOW + 50
    world.keeper.turn()
    assert world.state("r-1") is ReservationState.LAPSED
    assert world.attempts == ["r-1"]
    (event,) = world.told("reservation-lapsed")
    assert event.message == "r-1 is over: it could not be placed in time: short: no"


def test_what_is_gone_is_forgotten(world: World) -> None:
    world.keep(parked("r-1"), parked("r-2"))
    world.keeper.turn()
    assert set(world.keeper._next) == {"r-1", "r-2"}
    world.books.transact(lambda ledger: reservations.cancel(ledger, NOW, "r-1"))
    world.keeper.turn()
    assert set(world.keeper._next) == {"r-2"}


@pytest.mark.parametrize("error", [Short, UnknownPool, Ended])
def test_whatever_keeps_it_parked_it_is_tried_again_after_a_while_only(
    world: World, ticks: list[float], error: type[Short | UnknownPool | Ended]
) -> None:
    names = [f"r-{number:02}" for number in range(TRIES + 1)]
    world.keep(*map(parked, names))

    def kept(parked: Reservation) -> bool:
        raise error("no")

    world.attempt = kept
    rests = [world.keeper.turn() for _ in range(4)]
    assert rests == [0.0, Keeper.pause, Keeper.pause, Keeper.pause]
    assert world.attempts == names


def test_a_defect_in_an_attempt_is_reported_as_the_threads_trouble(world: World) -> None:
    world.keep(parked("r-1"))

    def broken(parked: Reservation) -> bool:
        raise ZeroDivisionError("a defect")

    world.attempt = broken
    world.keeper.start()
    until(lambda: ("keeper", "ZeroDivisionError: a defect") in world.reported)


# -- what has an end that moved


SERVED = (ip_network("10.0.0.0/8"),)


def test_what_another_agent_serves_now_is_placed_anew_once(world: World) -> None:
    world.keep(wish("r-1", ReservationState.BOOKED), wish("r-2", ReservationState.BOOKED))
    world.moved[PEER] = ["r-2"]
    world.attempt = lambda moved: True
    world.keeper._wake.clear()
    world.keeper.served(PEER, SERVED)
    assert world.keeper._wake.is_set()
    assert world.keeper.turn() == Keeper.pause
    world.keeper.turn()
    assert (world.asked, world.attempts) == ([(PEER, SERVED)], ["r-2"])


def test_what_cannot_be_placed_anew_says_why_and_is_tried_again_after_the_policys_time(
    world: World, ticks: list[float]
) -> None:
    world.keep(wish("r-1", ReservationState.BOOKED))
    world.moved[PEER] = ["r-1"]
    world.keeper.served(PEER, SERVED)
    world.keeper.turn()
    world.keeper.turn()
    assert world.attempts == ["r-1"]
    (event,) = world.told("reservation-astray")
    assert event.fields == {"id": "r-1", "code": "short"}
    ticks[0] += 121.0
    world.attempt = lambda moved: True
    for _ in range(3):
        world.keeper.turn()
        ticks[0] += 121.0
    assert world.attempts == ["r-1", "r-1"]


@pytest.mark.parametrize("error", [Ended, NotFound])
def test_what_is_over_needs_no_place(world: World, ticks: list[float], error: type[Ended | NotFound]) -> None:
    world.keep(wish("r-1", ReservationState.BOOKED))
    world.moved[PEER] = ["r-1", "r-gone"]

    def over(moved: Reservation) -> bool:
        raise error("it is over")

    world.attempt = over
    world.keeper.served(PEER, SERVED)
    for _ in range(3):
        world.keeper.turn()
        ticks[0] += 1_000.0
    assert world.attempts == ["r-1", "r-gone"]
    assert world.told("reservation-astray") == []


def test_many_that_moved_are_placed_a_few_in_a_turn(world: World, ticks: list[float]) -> None:
    names = [f"r-{number:02}" for number in range(TRIES + 1)]
    world.keep(*(wish(each, ReservationState.BOOKED) for each in names))
    world.moved[PEER] = names
    world.attempt = lambda moved: True
    world.keeper.served(PEER, SERVED)
    assert [world.keeper.turn(), world.keeper.turn()] == [0.0, Keeper.pause]
    assert world.attempts == names


def test_of_too_many_agents_that_serve_something_else_now_the_first_are_not_asked_about(world: World) -> None:
    nodes = [NodeId(f"n{number}", "0" * 16) for number in range(MOST_SERVED + 2)]
    for each in nodes:
        world.keeper.served(each, SERVED)
    world.keeper.turn()
    assert [node for node, _ in world.asked] == nodes[2:]


# -- alarms


def test_an_alarm_is_told_when_something_is_booked_and_not_again_by_the_turns(world: World) -> None:
    claims = (("wan", OUT), ("eth0:out", OUT))
    one = wish("r-1", ReservationState.BOOKED, rate=60, claims=claims)
    world.keep(one)
    world.keeper.booked(one)
    (event,) = world.told("utilisation-alarm")
    assert event.message == "60 % of eth0:out is in use at the worst instant, 50 % or more"
    assert event.fields == {"resource": "eth0:out", "percent": 60}
    world.keeper.turn()
    world.keeper.booked(one)
    assert len(world.told("utilisation-alarm")) == 1
    world.books.transact(lambda ledger: reservations.cancel(ledger, NOW, "r-1"))
    world.keeper.turn()
    world.keep(replace(one, id="r-2", source="r-2"))
    world.keeper.turn()
    assert len(world.told("utilisation-alarm")) == 2


def test_a_turn_looks_at_pools_and_interfaces_whoever_booked_them(world: World) -> None:
    world.keep(wish("r-1", ReservationState.BOOKED, rate=900, claims=(("wan", OUT),)))
    world.keep(wish("r-2", ReservationState.BOOKED, rate=50, claims=(("eth0:out", OUT),)))
    world.keeper.turn()
    told = {each.fields["resource"]: each.fields["percent"] for each in world.told("utilisation-alarm")}
    assert told == {"wan": 90, "eth0:out": 50}


def test_a_new_policy_counts_at_the_next_turn(world: World) -> None:
    world.keep(wish("r-1", ReservationState.BOOKED, rate=400))
    world.keeper.turn()
    assert world.told("utilisation-alarm") == []
    world.params = world.params.changed("test", {"alarm": 40})
    world.keeper.turn()
    assert [each.fields for each in world.told("utilisation-alarm")] == [{"resource": "wan", "percent": 40}]


def test_what_lapses_in_a_turn_counts_no_more_in_it(world: World) -> None:
    world.keep(held("r-1", NOW + 1, rate=950))
    world.now = NOW + 1
    world.keeper.turn()
    assert world.told("utilisation-alarm") == []
