"""The enforcer's thread with a back end that keeps a record, which can be made to fail, to lose and to hang."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from asa import reservations
from asa.books import Books
from asa.config import Config, EnforcementSection, parse
from asa.dataplane.backend import Abilities, Backend, Counters, EnforcementFailed, Found, Reading, Spot, Unfit
from asa.dataplane.choice import backend_for
from asa.dataplane.plan import Key, Line, Plan
from asa.dataplane.planning import lines_of
from asa.dataplane.record import Record as Recorder
from asa.enforcement import Enforcement
from asa.errors import NotCleared
from asa.events import EventLog
from asa.ledger import Ledger
from asa.lifecycle import Phase, Standing, State, state_of
from asa.predecessor import ENFORCED, TRIES
from asa.records import OUT, Change, Fact, Kind, Record, Reservation, ReservationState, made
from asa.records import Plan as Changes
from asa.threads.enforcer import ECHO_S, LOST, NEWS_S, Enforcer
from asa.threads.monitor import Monitor
from asa.views import Event
from lab import Host, Lab, unavailable_reason
from objectives import NodeId, Window

ME = NodeId("me", "0" * 16)
NOW = 1_000_000
PATIENCE = 20.0
M = 10**6
CONFIG_TEXT = """
[agent]
name = "me"
mode = "delegator"
[grasp]
substrate = "plain"
[[link]]
interface = "eth0"
capacity = 100_000_000
[enforcement]
backend = "tc-nft"
lead_s = 5
rule_life_s = 300
reconcile_s = 1
sample_s = 1
"""
CONFIG = parse(CONFIG_TEXT, "test")


def until(condition: Callable[[], Any], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


class Disk:
    def commit(self, changes: Sequence[Change]) -> None:
        pass


class Plane(Recorder):
    """A record that stands for a system: it may refuse, lose what it has, not answer, or hang."""

    name = "tc-nft"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.plans: list[Plan] = []
        self.refusing: dict[str, str] = {}
        """By id, why."""
        self.lost: set[str] = set()
        """Ids of which nothing is found until they are applied again."""
        self.broken: dict[str, str] = {}
        """By call, what it fails with."""
        self.line_wrong = ""
        self.hang: threading.Event | None = None
        self.sent = 0
        self.closed = False

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.hang is not None and call == "apply":
            assert self.hang.wait(PATIENCE)
        if call in self.broken:
            raise EnforcementFailed(self.broken[call])

    def probe(self, lines: Sequence[Line]) -> Abilities:
        self._called("probe")
        return Abilities(notes=("a note",))

    def apply(self, plan: Plan) -> Mapping[Key, str]:
        self._called("apply")
        self.plans.append(plan)
        refused = {
            key: self.refusing[each]
            for key, entry in plan.entries.items()
            for each in entry.ids
            if each in self.refusing
        }
        super().apply(Plan.unchecked(plan.lines, {k: e for k, e in plan.entries.items() if k not in refused}))
        self.lost.clear()
        self.line_wrong = ""
        return refused

    def read(self, keys: Collection[Key] | None = None) -> Reading:
        self._called("read" if keys is not None else "read all")
        found = super().read(keys)
        gone = {
            (each.line, each.action, match)
            for each in self._plan.entries.values()
            if not self.lost.isdisjoint(each.ids)
            for match in each.matches
        }
        there: dict[Spot, Found] = {spot: each for spot, each in found.found.items() if spot not in gone}
        return Reading(dict.fromkeys(found.lines, self.line_wrong), there)

    def count(self) -> Mapping[Key, Counters]:
        self._called("count")
        self.sent += 1_000_000
        return {key: Counters(self.sent, self.sent // 1_000, 0, 0, 0) for key in self._plan.entries}

    def clear(self) -> None:
        self._called("clear")
        super().clear()

    def close(self) -> None:
        self.closed = True

    def ids(self) -> set[str]:
        return {each for entry in self._plan.entries.values() for each in entry.ids}


class World:
    """An enforcer and all around it. ``now``: UNIX s."""

    def __init__(self, config: Config = CONFIG, effect: bool = True, facts: Sequence[Record] = ()) -> None:
        self.now = float(NOW)
        self.plane = Plane()
        self.made: list[Plane] = []
        self.unfit = ""
        self.paused = False
        self.local = True
        lines = lines_of(config)
        self.enforcement = Enforcement(True, effect, config.enforcement.rule_life_s)
        self.books = Books(Ledger(ME, NOW, facts), Disk(), on_changes=self.enforcement.changed)
        self.events = EventLog()
        self.problems: dict[str, str] = {}
        self.reported: list[tuple[str, str]] = []
        self.enforcer = Enforcer(
            config.enforcement, lines, config.classes, lambda _: self.local, self.books, lambda: int(self.now),
            self.enforcement, lambda: self.paused, self.events, self.problem,
            lambda *said: self.reported.append(said), Random(7), lambda: self.now, self.choose,
        )  # fmt: skip

    def choose(self, section: EnforcementSection, lines: tuple[Line, ...]) -> Backend:
        if self.unfit:
            raise Unfit(self.unfit, hint="another system")
        self.made.append(self.plane)
        return self.plane

    def problem(self, code: str, message: str | None) -> None:
        if message is None:
            self.problems.pop(code, None)
        else:
            self.problems[code] = message

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.enforcer.wake()

    def book(self, *wanted: Reservation) -> None:
        self.books.transact(lambda ledger: Changes(made(*wanted), None))

    def become(self, identifier: str, **changes: Any) -> None:
        def rule(ledger: Ledger) -> Changes[None]:
            old = ledger.reservations[identifier]
            return Changes((Change(old, replace(old, **changes)),), None)

        self.books.transact(rule)

    def found(self, identifier: str) -> Reservation:
        return self.books.read(lambda ledger: reservations.find(ledger, identifier))

    def standing(self, identifier: str) -> Standing | None:
        return self.enforcement.standing(self.found(identifier), int(self.now))

    def state(self, identifier: str) -> State:
        return state_of(self.found(identifier), int(self.now), self.paused, self.enforcement.standing)

    def becomes(self, identifier: str, state: State) -> None:
        until(lambda: self.state(identifier) is state, f"{identifier} is {self.state(identifier)}, not {state}")

    @property
    def settled(self) -> bool:
        """Whether everything that changed was dealt with."""
        seen = self.enforcement
        return not (seen._touched or seen._working or seen._everything or seen._working_all)

    def told(self, kind: str) -> list[Event]:
        return [each for each in self.events.after(0, 10_000, 0.0).events if each.kind == kind]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.plane.hang = None
    made.enforcer.stop()
    assert made.enforcer.join(PATIENCE)


def wanted(number: int, start: int = 0, length: int | None = 100, rate: int = 10 * M, **more: Any) -> Reservation:
    values: dict[str, Any] = {
        "id": f"r-{number}", "pool": "", "rate": rate, "state": ReservationState.BOOKED, "created": NOW,
        "changed": NOW, "source": "10.0.0.0/24", "destination": f"10.1.{number // 250}.{number % 250 + 1}",
        "window": Window(NOW + start, None if length is None else NOW + start + length),
        "claims": (("eth0:out", OUT),), "traffic": "voice",
    }  # fmt: skip
    return Reservation(**(values | more))


def test_it_is_in_force_once_it_was_read_back_and_over_once_it_was_read_back_as_gone(world: World) -> None:
    world.book(wanted(1), wanted(2, rate=0, claims=(("wan", OUT),)), wanted(3, 1_000))
    assert world.state("r-1") is State.INSTALLING
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    assert (world.state("r-2"), world.state("r-3")) == (State.ACTIVE, State.PENDING)
    assert world.plane.ids() == {"r-1"}
    (entry,) = world.plane.plans[-1].entries.values()
    assert entry.share is not None
    assert (entry.share.guarantee, entry.dscp, entry.expires) == (10 * M, 46, NOW + 105)
    assert world.plane.calls[:4] == ["probe", "read all", "apply", "read all"]
    world.pass_(100)
    world.becomes("r-1", State.ENDED)
    assert world.plane.ids() == set()


def test_what_is_booked_changed_and_cancelled_is_put_in_place_changed_and_removed(world: World) -> None:
    world.enforcer.start()
    until(lambda: world.plane.plans)
    world.book(wanted(1), wanted(2))
    world.becomes("r-1", State.ACTIVE)
    world.become("r-1", rate=20 * M)
    assert world.state("r-1") is State.INSTALLING
    world.becomes("r-1", State.ACTIVE)
    shown = world.enforcement.enforced(world.found("r-1"), int(world.now))
    assert shown is not None
    assert [each.guarantee for each in shown.lines] == [20 * M]
    world.become("r-1", state=ReservationState.CANCELLED)
    assert world.state("r-1") is State.ENDING
    world.becomes("r-1", State.CANCELLED)
    assert world.plane.ids() == {"r-2"}
    # What is asked about a few is asked about a few.
    assert "read" in world.plane.calls


def test_it_is_there_before_its_start_and_waits_where_it_has_no_room_yet(world: World) -> None:
    world.book(wanted(1, 0, 100, 90 * M), wanted(2, 100, 100, 90 * M), wanted(3, 100, 100, 1 * M))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    world.pass_(95)
    until(lambda: world.plane.ids() == {"r-1", "r-3"})
    until(lambda: world.standing("r-2") is not None)
    waiting = world.standing("r-2")
    assert waiting is not None
    assert (waiting.phase, "left to guarantee" in waiting.why) == (Phase.INSTALLING, True)
    assert world.state("r-2") is State.PENDING
    applied = len(world.plane.plans)
    world.pass_(5)
    world.becomes("r-2", State.ACTIVE)
    world.becomes("r-1", State.ENDED)
    # The one goes as the other comes.
    turn = world.plane.plans[applied]
    assert {each for entry in turn.entries.values() for each in entry.ids} == {"r-2", "r-3"}


def test_what_cannot_be_put_in_place_has_failed_with_its_reason_and_is_tried_again(world: World) -> None:
    world.plane.refusing["r-1"] = "no class left"
    world.book(wanted(1), wanted(2))
    world.enforcer.start()
    world.becomes("r-1", State.FAILED)
    world.becomes("r-2", State.ACTIVE)
    assert world.standing("r-1") == Standing(Phase.FAILED, "no class left")
    until(lambda: world.plane.calls.count("apply") >= 3)
    assert world.state("r-1") is State.FAILED
    (told,) = world.told("enforcement-failed")
    assert (told.fields["ids"], told.fields["line"]) == (["r-1"], "eth0:out")
    assert "1 entries" in world.problems["data-plane"]
    world.plane.refusing.clear()
    world.becomes("r-1", State.ACTIVE)
    until(lambda: len(world.told("enforcement-works")) == 1)
    assert world.problems == {}


def test_what_is_lost_is_told_with_before_and_after_and_put_right(world: World) -> None:
    world.book(wanted(1), wanted(2))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    assert world.told("enforcement-drift") == []
    world.plane.lost.add("r-1")
    until(lambda: world.told("enforcement-drift"))
    (told,) = world.told("enforcement-drift")
    assert (told.fields["ids"], told.fields["what"], told.fields["before"]) == (["r-1"], "missing", "nothing")
    assert "10Mbit" in told.fields["after"]
    world.becomes("r-1", State.ACTIVE)
    assert world.plane.lost == set()
    assert [each.ids for each in world.enforcement.view(False).differences] == [["r-1"]]
    assert world.told("enforcement-failed") == []


def test_word_of_a_change_is_looked_at_at_once(world: World) -> None:
    slow = parse(CONFIG_TEXT.replace("reconcile_s = 1\n", "reconcile_s = 3600\n"), "test")
    world = World(slow)
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    world.plane.lost.add("r-1")

    def repaired() -> bool:
        world.enforcer.heard()
        return not world.plane.lost

    until(repaired)
    assert len(world.told("enforcement-drift")) == 1
    world.enforcer.stop()
    assert world.enforcer.join(PATIENCE)


def test_what_may_be_an_echo_of_our_own_changes_is_looked_at_once(world: World) -> None:
    world = World(parse(CONFIG_TEXT.replace("reconcile_s = 1\n", "reconcile_s = 3600\n"), "test"))
    plane = world.plane
    apply = plane.apply

    def applied(plan: Plan) -> Mapping[Key, str]:
        refused = apply(plan)
        world.enforcer.heard()
        return refused

    plane.apply = applied  # type: ignore[method-assign]
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    # Somebody else's change at the same time is told by the same word.
    plane.lost.add("r-1")
    until(lambda: not plane.lost)
    assert len(world.told("enforcement-drift")) == 1
    world.becomes("r-1", State.ACTIVE)
    # The repair is heard too, and that is all.
    until(lambda: world.enforcer._news_at() == math.inf)
    read = plane.calls.count("read all")
    time.sleep(NEWS_S + 2 * ECHO_S)
    assert plane.calls.count("read all") == read
    world.enforcer.stop()
    assert world.enforcer.join(PATIENCE)


def test_packets_that_pass_from_one_reservation_to_another_are_not_left_over(world: World) -> None:
    world.enforcer.start()
    world.book(wanted(1, destination="10.1.0.9:80", protocol="any"))
    world.becomes("r-1", State.ACTIVE)
    world.book(wanted(2, destination="10.1.0.9:80", protocol="tcp"))
    for each in "r-1", "r-2":
        world.becomes(each, State.ACTIVE)
    owners = {entry.ids for entries in world.enforcement.picture.entries.values() for entry in entries}
    assert owners == {("r-1",), ("r-2",)}
    world.become("r-2", state=ReservationState.CANCELLED, changed=NOW)
    world.becomes("r-2", State.CANCELLED)
    world.becomes("r-1", State.ACTIVE)
    assert world.told("enforcement-failed") == []
    assert world.problems == {}


def test_the_same_flow_renewed_gets_no_more_before_its_turn(world: World) -> None:
    world.enforcer.start()
    world.book(wanted(1, 0, 20), wanted(2, 20, 100, destination=wanted(1).destination))
    world.becomes("r-1", State.ACTIVE)
    world.pass_(17)
    until(lambda: world.settled)

    def shares() -> set[int]:
        entries = {each.key: each for some in world.enforcement.picture.entries.values() for each in some}
        return {each.share.guarantee for each in entries.values() if each.share is not None}

    assert shares() == {10 * M}
    world.pass_(4)
    world.becomes("r-2", State.ACTIVE)
    assert shares() == {10 * M}
    assert world.state("r-1") is State.ENDED


def test_a_line_that_is_not_shaped_fails_all_that_is_on_it(world: World) -> None:
    world.enforcer.start()
    world.book(wanted(1))
    world.becomes("r-1", State.ACTIVE)
    world.plane.broken["apply"] = "tc hangs"
    world.plane.line_wrong = "its root qdisc is another's"
    world.becomes("r-1", State.FAILED)
    until(lambda: "eth0:out" in world.problems.get("data-plane", ""))
    view = world.enforcement.view(False)
    assert [each.trouble for each in view.lines if each.name == "eth0:out"] != [""]
    world.plane.broken.clear()
    world.becomes("r-1", State.ACTIVE)
    until(lambda: world.problems == {})


def test_an_apply_that_fails_leaves_nothing_in_force_that_was_not_read_back(world: World) -> None:
    world.enforcer.start()
    world.book(wanted(1))
    world.becomes("r-1", State.ACTIVE)
    world.plane.broken["apply"] = "nft did not end within 20 s"
    world.book(wanted(2))
    world.becomes("r-2", State.FAILED)
    assert world.state("r-1") is State.ACTIVE
    assert world.enforcement.view(False).trouble == "nft did not end within 20 s"
    world.become("r-1", state=ReservationState.CANCELLED)
    until(lambda: world.standing("r-1") is not None)
    assert world.state("r-1") is State.ENDING
    world.plane.broken.clear()
    world.becomes("r-1", State.CANCELLED)
    world.becomes("r-2", State.ACTIVE)


def test_a_pause_takes_all_away_and_keeps_the_bookings(world: World) -> None:
    world.book(wanted(1), wanted(2))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    world.paused = True
    world.enforcer.wake()
    until(lambda: world.plane.ids() == set())
    world.book(wanted(3))
    until(lambda: world.settled)
    assert {world.state(each) for each in ("r-1", "r-2", "r-3")} == {State.PAUSED}
    assert world.plane.ids() == set()
    assert [each.rate for each in world.plane.plans[-1].lines] == [100 * M, 100 * M]
    assert world.enforcement.view(True).installing == 0
    world.paused = False
    assert {world.state(each) for each in ("r-1", "r-2", "r-3")} == {State.INSTALLING}
    world.enforcement.resumed()
    world.becomes("r-3", State.ACTIVE)
    assert world.plane.ids() == {"r-1", "r-2", "r-3"}


def test_a_pause_that_is_over_before_it_took_effect_leaves_nothing_in_force_that_is_being_removed(world: World) -> None:
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    world.plane.hang = threading.Event()
    applied = world.plane.calls.count("apply")
    world.paused = True
    world.enforcer.wake()
    until(lambda: world.plane.calls.count("apply") > applied)
    world.enforcement.resumed()
    world.paused = False
    assert world.state("r-1") is State.INSTALLING
    world.plane.hang.set()
    world.becomes("r-1", State.ACTIVE)
    assert world.plane.ids() == {"r-1"}


def test_whose_time_comes_while_the_enforcer_is_held_up_is_not_in_force(world: World) -> None:
    world.book(wanted(1, 6), wanted(2, 6, claims=(("wan", OUT),)))
    world.enforcer.start()
    until(lambda: world.settled and world.enforcement.picture.back_end)
    world.plane.hang = threading.Event()
    world.book(wanted(3))
    until(lambda: world.plane.calls.count("apply") > 1)
    world.now += 6
    assert (world.state("r-1"), world.state("r-2")) == (State.INSTALLING, State.ACTIVE)
    world.plane.hang.set()
    world.becomes("r-1", State.ACTIVE)
    assert world.plane.ids() == {"r-1", "r-3"}


def test_rules_are_refreshed_at_the_half_of_their_life_together(world: World) -> None:
    world.book(*(wanted(number, 0, None, M) for number in range(50)))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)

    def expires() -> set[int]:
        return {each.expires for each in world.plane._plan.entries.values()}

    assert expires() == {NOW + 300}
    applied = len(world.plane.plans)
    world.pass_(150)
    until(lambda: expires() == {NOW + 450})
    assert len(world.plane.plans) == applied + 1
    assert {world.state(f"r-{number}") for number in range(50)} == {State.ACTIVE}


def test_no_back_end_is_a_problem_that_is_told_and_tried_again_and_no_reason_to_stop(world: World) -> None:
    world.unfit = "there is no program nft"
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.FAILED)
    standing = world.standing("r-1")
    assert standing == Standing(Phase.FAILED, "there is no program nft")
    assert world.problems["data-plane"] == "there is no program nft (another system)"
    world.book(wanted(2), wanted(3, created=NOW + 1), wanted(4))
    world.becomes("r-2", State.FAILED)
    for each in "r-3", "r-4":
        world.become(each, state=ReservationState.CANCELLED)
    world.becomes("r-3", State.CANCELLED)
    until(lambda: world.settled)
    # It is of an earlier life, and nobody has looked what is left of that.
    assert world.state("r-4") is State.ENDING
    world.paused = True
    world.enforcer.wake()
    until(lambda: world.standing("r-2") == Standing(Phase.INSTALLING, "there is no program nft"))
    assert (world.state("r-2"), world.enforcement.view(True).failed) == (State.PAUSED, 0)
    world.paused = False
    world.enforcement.resumed()
    world.becomes("r-2", State.FAILED)
    assert world.enforcer.state() == "alive"
    world.unfit = ""
    world.becomes("r-2", State.ACTIVE)
    assert world.state("r-4") is State.CANCELLED
    assert world.problems == {}


def test_a_back_end_that_no_longer_answers_is_replaced(world: World) -> None:
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    dead = world.plane
    dead.broken |= {"read": "it is gone", "read all": "it is gone", "apply": "it is gone"}
    world.plane = Plane()
    until(lambda: len(world.made) == 2)
    assert dead.closed
    assert dead.calls.count("read all") >= LOST
    world.becomes("r-1", State.ACTIVE)
    assert world.plane.ids() == {"r-1"}
    until(lambda: world.problems == {})


def test_while_a_back_end_is_lost_only_what_was_read_back_as_gone_is_over(world: World) -> None:
    world.book(*(wanted(number) for number in range(1, 5)))
    world.enforcer.start()
    world.becomes("r-4", State.ACTIVE)
    world.become("r-1", state=ReservationState.CANCELLED)
    world.becomes("r-1", State.CANCELLED)
    dead = world.plane
    world.pass_(1)
    dead.broken |= {"read": "it is gone", "read all": "it is gone", "apply": "it is gone"}
    world.become("r-2", state=ReservationState.CANCELLED, changed=NOW + 1)
    world.unfit = "there is no more"
    until(lambda: dead.closed)
    world.becomes("r-4", State.FAILED)
    world.pass_(1)
    world.become("r-3", state=ReservationState.CANCELLED, changed=NOW + 2)
    until(lambda: world.settled and world.standing("r-4") == Standing(Phase.FAILED, "there is no more"))
    assert [world.state(f"r-{number}") for number in (1, 2, 3)] == [State.CANCELLED, State.ENDING, State.ENDING]
    world.plane = Plane()
    world.unfit = ""
    world.becomes("r-4", State.ACTIVE)
    assert [world.state(f"r-{number}") for number in (2, 3)] == [State.CANCELLED] * 2


def test_a_thread_that_hangs_is_replaced_and_comes_back_to_nothing(world: World) -> None:
    world.book(wanted(1))
    stuck = world.plane
    stuck.hang = threading.Event()
    world.enforcer.limit = 0.2
    world.enforcer.start()
    until(lambda: "apply" in stuck.calls)
    world.plane = Plane()
    monitor = Monitor([world.enforcer], lambda *said: world.reported.append(said), pytest.fail, Random(1))
    until(lambda: monitor.turn() or world.enforcer.restarts == 1)
    world.enforcer.limit = 300.0
    world.becomes("r-1", State.ACTIVE)
    calls = len(stuck.calls)
    stuck.hang.set()
    until(lambda: stuck.closed)
    assert len(stuck.calls) == calls
    world.become("r-1", state=ReservationState.CANCELLED)
    world.becomes("r-1", State.CANCELLED)
    assert world.plane.ids() == set()


def test_what_packets_did_is_counted_and_judged(world: World) -> None:
    world.book(wanted(1, rate=1_000))
    world.enforcer.start()

    def usage() -> Any:
        shown = world.enforcement.enforced(world.found("r-1"), int(world.now))
        return shown is not None and shown.lines and shown.lines[0].usage

    until(usage)
    found = usage()
    assert (found.verdict, found.at) == ("kept", NOW)
    assert found.rate > 0
    assert found.sent_bytes % 1_000_000 == 0
    world.become("r-1", state=ReservationState.CANCELLED)
    world.becomes("r-1", State.CANCELLED)
    assert world.enforcement.picture.samples == {}


def test_what_a_back_end_cannot_do_has_failed_and_the_rest_is_done(world: World) -> None:
    world.book(wanted(1, kind=Kind.MIRRORING, rate=0, output="10.9.9.9"), wanted(2))
    world.enforcer.start()
    world.becomes("r-2", State.ACTIVE)
    world.becomes("r-1", State.FAILED)
    standing = world.standing("r-1")
    assert standing == Standing(Phase.FAILED, "the back end cannot mirror")


def test_clearing_leaves_nothing_and_begins_nothing_again(world: World) -> None:
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    world.plane.broken["clear"] = "tc hangs"
    with pytest.raises(NotCleared, match="tc hangs"):
        world.enforcer.clear()
    del world.plane.broken["clear"]
    world.becomes("r-1", State.ACTIVE)
    world.enforcer.clear()
    assert world.plane.ids() == set()
    world.book(wanted(2))
    applied = len(world.plane.plans)
    world.pass_(1)
    time.sleep(0.1)
    assert len(world.plane.plans) == applied


def test_stopping_leaves_everything_in_place(world: World) -> None:
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    world.enforcer.stop()
    assert world.enforcer.join(PATIENCE)
    assert world.plane.ids() == {"r-1"}


def test_a_start_adopts_what_it_finds_and_says_so(world: World) -> None:
    world.book(wanted(1), wanted(2))
    world.enforcer.start()
    world.becomes("r-1", State.ACTIVE)
    world.enforcer.stop()
    assert world.enforcer.join(PATIENCE)
    again = World()
    again.plane = world.plane
    again.book(wanted(1), wanted(2), wanted(3))
    again.enforcer.start()
    again.becomes("r-3", State.ACTIVE)
    (told,) = again.told("enforcement-adopted")
    assert (told.fields["entries"], told.fields["missing"], told.fields["changed"]) == (3, 1, 0)
    assert again.told("enforcement-drift") == []
    again.enforcer.stop()
    assert again.enforcer.join(PATIENCE)


def test_a_turn_costs_the_near_ones_and_not_the_far_ones(world: World) -> None:
    world.book(*(wanted(number, 10_000 + number) for number in range(20_000)))
    world.enforcer.start()
    until(lambda: world.settled)
    looked: list[str] = []
    desired = world.enforcer._desired
    look = desired.look
    desired.look = lambda identifier, *rest: (looked.append(identifier), look(identifier, *rest))[1]  # type: ignore[method-assign, assignment]
    world.book(wanted(30_000))
    world.becomes("r-30000", State.ACTIVE)
    world.pass_(10_000 - 5)
    until(lambda: world.plane.ids() == {"r-0"})
    assert set(looked) == {"r-30000", "r-0"}


def test_a_trial_installation_shows_what_would_be_done(world: World) -> None:
    trial = World(parse(CONFIG_TEXT.replace("tc-nft", "record"), "test"), effect=False)
    trial.choose = lambda section, lines: Recorder()  # type: ignore[method-assign]
    trial.enforcer._choose = trial.choose
    trial.book(wanted(1))
    assert trial.state("r-1") is State.ACTIVE
    trial.enforcer.start()
    until(lambda: trial.enforcement.view(False).installed == 1)
    view = trial.enforcement.view(False)
    assert (view.back_end, view.effect) == ("record", False)
    assert any("no effect" in each for each in view.notes)
    trial.become("r-1", state=ReservationState.CANCELLED)
    assert trial.state("r-1") is State.CANCELLED
    until(lambda: trial.enforcement.view(False).installed == 0)
    trial.enforcer.stop()
    assert trial.enforcer.join(PATIENCE)


# -- on the kernel


KERNEL_TEXT = CONFIG_TEXT.replace("reconcile_s = 1\n", "reconcile_s = 3600\n")


@pytest.fixture
def node() -> Iterator[Host]:
    """A host with an eth0."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        found = lab.host("a")
        lab.link(found, lab.host("b"))
        found.run(["ip", "link", "show", "eth0"])
        yield found


class Real(World):
    """With the kernel of a host for a data plane, and the clock of all."""

    def __init__(self, node: Host, backend: str, facts: Sequence[Record] = (), text: str = KERNEL_TEXT) -> None:
        super().__init__(parse(text.replace("tc-nft", backend), "test"), facts=facts)
        self.node = node
        self.enforcer._choose = backend_for
        self.enforcer._wall = time.time
        self.enforcer._clock = lambda: int(time.time())
        self.now = time.time()

    def begin(self) -> None:
        """Threads begun in a host stay in it, and so do the programs they run."""
        with self.node.entered():
            self.enforcer.start()

    def end(self) -> None:
        self.enforcer.stop()
        assert self.enforcer.join(PATIENCE)

    def classes(self) -> str:
        return self.node.run(["tc", "class", "show", "dev", "eth0"]).stdout


def real(number: int, **more: Any) -> Reservation:
    return wanted(number, int(time.time()) - NOW - 10, 1_000, **more)


@pytest.mark.parametrize("backend", ["tc-nft", "tc-u32", "auto"])
def test_on_the_kernel_it_is_in_place_repaired_when_the_kernel_tells_adopted_and_cleared(
    node: Host, backend: str
) -> None:
    world = Real(node, backend)
    # What u32 can do wholly.
    traffic = "default" if backend == "tc-u32" else "voice"
    booked = real(1, traffic=traffic)
    world.book(booked)
    world.begin()
    world.becomes("r-1", State.ACTIVE)
    assert "rate 10Mbit" in world.classes()
    assert world.enforcement.view(False).back_end == ("tc-nft" if backend == "auto" else backend)
    # Nothing is read back for an hour unless somebody tells.
    time.sleep(1.0)
    node.run(["tc", "qdisc", "delete", "dev", "eth0", "root"])
    until(lambda: "rate 10Mbit" in world.classes())
    until(lambda: world.told("enforcement-drift"))
    world.becomes("r-1", State.ACTIVE)
    before = world.classes()
    world.end()
    again = Real(node, backend)
    again.book(booked, real(2, rate=20 * M, traffic=traffic))
    again.begin()
    again.becomes("r-2", State.ACTIVE)
    (told,) = again.told("enforcement-adopted")
    assert (told.fields["missing"], told.fields["changed"]) == (1, 0)
    assert set(before.splitlines()) < set(again.classes().splitlines())
    again.enforcer.clear()
    assert "a5a:" not in node.run(["tc", "qdisc", "show"]).stdout
    assert "asa" not in node.run(["nft", "list", "ruleset"]).stdout
    again.end()


def test_without_privileges_or_programs_the_reason_is_told(node: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Real(node, "auto")
    monkeypatch.setattr("asa.dataplane.commands._ENVIRONMENT", {"PATH": "/nowhere", "LC_ALL": "C"})
    monkeypatch.setenv("PATH", "/nowhere")
    world.book(real(1))
    world.begin()
    world.becomes("r-1", State.FAILED)
    assert "there is no program" in world.problems["data-plane"]
    monkeypatch.undo()
    world.becomes("r-1", State.ACTIVE)
    world.enforcer.clear()
    world.end()


def test_a_device_of_ours_that_is_deleted_right_after_a_change_of_our_own_is_there_again(node: Host) -> None:
    world = Real(node, "tc-nft")
    world.begin()
    until(lambda: world.enforcement.picture.back_end)
    world.book(real(1, claims=(("eth0:in", OUT),)))
    world.becomes("r-1", State.ACTIVE)
    # Nothing is read back for an hour unless somebody tells, and what is told now may be our own doing.
    node.run(["ip", "link", "delete", "asa-eth0"])

    def there() -> bool:
        return "rate 10Mbit" in node.run(["tc", "class", "show", "dev", "asa-eth0"], check=False).stdout

    until(there)
    world.becomes("r-1", State.ACTIVE)
    world.enforcer.clear()
    world.end()


def test_a_back_end_that_cannot_mark_gives_the_share_and_says_what_is_lacking(node: Host) -> None:
    world = Real(node, "tc-u32")
    world.book(real(1), real(2, traffic="default", rate=20 * M))
    world.begin()
    world.becomes("r-1", State.FAILED)
    world.becomes("r-2", State.ACTIVE)
    standing = world.standing("r-1")
    assert standing == Standing(Phase.FAILED, "the back end cannot mark packets, with DSCP 46 on eth0:out")
    assert "rate 10Mbit" in world.classes()
    assert "rate 20Mbit" in world.classes()
    shown = world.enforcement.enforced(world.found("r-1"), int(world.now))
    assert shown is not None
    assert [(each.guarantee, each.dscp) for each in shown.lines] == [(10 * M, None)]
    world.enforcer.clear()
    world.end()


def test_what_is_changed_keeps_its_class(node: Host) -> None:
    world = Real(node, "tc-nft")
    booked = real(1)
    world.book(booked)
    world.begin()
    world.becomes("r-1", State.ACTIVE)

    def shares() -> dict[str, str]:
        """Of reservations, by class."""
        found = re.findall(r"class htb a5a:([0-9a-f]+) .* rate (\S+)", world.classes())
        return {number: rate for number, rate in found if number not in ("1", "ffff")}

    ((number, _),) = shares().items()
    end = booked.window.end
    assert end is not None
    world.become("r-1", rate=20 * M, window=Window(booked.window.start, end + 100))
    # Until it is read back with its new share it has the old one.
    assert len(shares()) == 1
    world.becomes("r-1", State.ACTIVE)
    assert shares() == {number: "20Mbit"}
    world.become("r-1", rate=5 * M)
    world.becomes("r-1", State.ACTIVE)
    assert shares() == {number: "5Mbit"}
    assert world.told("enforcement-drift") == []
    world.enforcer.clear()
    world.end()


def test_after_a_pause_it_is_in_force_when_the_kernel_has_it_again_and_not_before(node: Host) -> None:
    world = Real(node, "tc-nft")
    world.book(real(1))
    world.begin()
    world.becomes("r-1", State.ACTIVE)
    for _ in range(3):
        world.paused = True
        world.enforcer.wake()
        until(lambda: "rate 10Mbit" not in world.classes())
        world.enforcement.resumed()
        world.paused = False
        world.enforcer.wake()
        world.becomes("r-1", State.ACTIVE)
        assert "rate 10Mbit" in world.classes()
    world.enforcer.clear()
    world.end()


# -- what enforced before


def fact(world: World) -> list[Record]:
    """What is remembered of the back end."""
    return world.books.read(lambda ledger: [ledger.facts[ENFORCED]])


def test_another_back_end_leaves_nothing_of_the_one_before(node: Host) -> None:
    world = Real(node, "tc-nft")
    world.book(real(1))
    world.begin()
    world.becomes("r-1", State.ACTIVE)
    world.end()
    assert "table netdev asa" in node.run(["nft", "list", "tables"]).stdout
    again = Real(node, "tc-u32", fact(world))
    again.book(real(1, traffic="default"))
    again.begin()
    again.becomes("r-1", State.ACTIVE)
    assert "asa" not in node.run(["nft", "list", "tables"]).stdout
    assert "rate 10Mbit" in again.classes()
    (told,) = again.told("enforcement-cleared")
    assert told.fields["back_end"] == "tc-nft"
    again.end()
    unlinked = KERNEL_TEXT.replace('[[link]]\ninterface = "eth0"\ncapacity = 100_000_000\n', "")
    last = Real(node, "record", fact(again), unlinked)
    last.begin()
    until(lambda: "a5a:" not in node.run(["tc", "qdisc", "show"]).stdout)
    until(lambda: last.told("enforcement-cleared"))
    assert "asa-eth0" not in node.run(["ip", "link", "show"]).stdout
    assert fact(last) == [Fact(ENFORCED, "null")]
    last.enforcer.clear()
    last.end()


def test_what_another_back_end_left_and_cannot_be_cleared_is_tried_told_and_no_reason_to_stop() -> None:
    known = {"backend": "tc-u32", "deputy": None, "ovsdb": "/run/db.sock"}
    world = World(facts=[Fact(ENFORCED, json.dumps(known))])
    asked: list[tuple[str, int]] = []

    def choose(section: EnforcementSection, lines: tuple[Line, ...]) -> Backend:
        asked.append((section.backend, len(lines)))
        if section.backend == "tc-u32":
            raise Unfit("there is no program tc")
        return world.plane

    world.enforcer._choose = choose
    world.book(wanted(1))
    world.enforcer.start()
    world.becomes("r-1", State.FAILED)
    assert "what tc-u32 left cannot be cleared: there is no program tc" in world.problems["data-plane"]
    world.becomes("r-1", State.ACTIVE)
    assert asked == [("tc-nft", 2), ("tc-u32", 0)] * TRIES
    (told,) = world.told("enforcement-left")
    assert told.fields["back_end"] == "tc-u32"
    (kept,) = fact(world)
    assert isinstance(kept, Fact)
    assert json.loads(kept.value)["backend"] == "tc-nft"
    world.enforcer.stop()
    assert world.enforcer.join(PATIENCE)
