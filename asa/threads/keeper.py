"""KEEPER: sees to what time and others decide of reservations: holds that run out, what is parked, ends that moved,
alarms."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from random import Random
from typing import Final, Protocol

from asa import expiry
from asa.alarms import Alarms
from asa.books import Books
from asa.errors import AsaError, Ended, NotFound
from asa.events import EventLog
from asa.ledger import Ledger
from asa.records import Reservation, ReservationState
from asa.steps import Party
from asa.threads.duty import Duty
from objectives import NodeId
from objectives.block import earlier
from objectives.reach import Prefix

MOST: Final = 256
"""Reservations that lapse in one transaction."""

TRIES: Final = 8
"""Reservations placed in one turn, so that deadlines are kept."""

MOST_SERVED: Final = 64
"""Agents whose prefixes have changed and for which it was not looked yet."""

MOST_ASTRAY: Final = 10_000
"""Reservations with an end that moved, waiting to be placed anew; more are found when they are refreshed."""


class Placer(Protocol):
    """Finds new places for reservations; raises what stands in the way."""

    def retry(self, parked: Reservation) -> bool: ...
    def place(self, identifier: str) -> bool: ...
    def astray(self, node: NodeId, prefixes: Collection[Prefix]) -> list[str]: ...


class Keeper(Duty):
    name = "keeper"
    pause = 15.0
    limit = 300.0

    def __init__(
        self,
        party: Party,
        books: Books,
        events: EventLog,
        alarms: Alarms,
        placer: Placer,
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._party = party
        self._books = books
        self._events = events
        self._alarms = alarms
        self._placer = placer
        self._lock = threading.Lock()
        self._deadline: int | None = None
        self._next: dict[str, float] = {}
        self._served: deque[tuple[NodeId, Collection[Prefix]]] = deque(maxlen=MOST_SERVED)
        self._astray: dict[str, float] = {}

    def remember(self) -> None:
        """What is above its threshold at the start was told in an earlier life."""
        now, policy = self._party.clock(), self._party.params()["alarm"]
        with self._lock:
            self._books.read(lambda ledger: self._alarms.check(ledger, now, [*ledger.links, *ledger.accounts], policy))

    def booked(self, reservation: Reservation) -> None:
        """Somebody booked, held or parked something."""
        self._alarm(reservation.demand())
        if reservation.state is ReservationState.PARKED:
            self._next[reservation.id] = time.monotonic() + self._party.params()["retry"]
        if reservation.until is not None:
            self._deadline = earlier(self._deadline, reservation.until)
        if reservation.until is not None or reservation.state is ReservationState.PARKED:
            self.wake()

    def lapse(self) -> None:
        """End the holds whose deadline has come, so that nobody is refused for them; quick where there are none."""
        now = self._party.clock()
        if self._deadline is None or now < self._deadline:
            return
        while True:
            gone = self._books.transact(lambda ledger: expiry.lapsed(ledger, now, MOST))
            for each in gone:
                self._events.tell("reservation-lapsed", f"{each.id} is over: {each.why}", id=each.id)
            if len(gone) < MOST:
                break
        self._deadline = self._books.read(_next_deadline)

    def served(self, node: NodeId, prefixes: Collection[Prefix]) -> None:
        """Another agent serves these now: ends may have moved there."""
        self._served.append((node, prefixes))
        self.wake()

    def turn(self) -> float | None:
        # Also those it was not told of: of agents at other ends, and what was parked too long.
        self._deadline = 0
        self.lapse()
        self._alarm(self._books.read(lambda ledger: [*ledger.links, *ledger.accounts]))
        parked = {each.id: each for each in self._books.read(self._parked)}
        self._next = {each: self._next.get(each, 0.0) for each in parked}
        while self._served:
            found = self._placer.astray(*self._served.popleft())
            self._astray |= dict.fromkeys(found[: MOST_ASTRAY - len(self._astray)], 0.0)
        ticks = time.monotonic()
        due = [each for each, at in (*self._next.items(), *self._astray.items()) if at <= ticks]
        for identifier in due[:TRIES]:
            self.lapse()
            if self.stopping or not self._party.active():
                break
            self._place(identifier, parked.get(identifier))
        else:
            if len(due) > TRIES:
                return 0.0
        # Trying takes its time.
        now, ticks = self._party.clock(), time.monotonic()
        deadlines = [] if self._deadline is None else [self._deadline - now]
        tries = [at - ticks for at in (*self._next.values(), *self._astray.values()) if at > ticks]
        return max(0.2, min([self.pause, *deadlines, *tries]))

    def _place(self, identifier: str, parked: Reservation | None) -> None:
        later = time.monotonic() + self._party.params()["retry"] * self._rng.uniform(0.8, 1.2)
        try:
            if parked is not None:
                self._placer.retry(parked)
            else:
                self._placer.place(identifier)
                del self._astray[identifier]
        except (Ended, NotFound):
            self._astray.pop(identifier, None)
            if parked is not None:
                self._next[identifier] = later
        except AsaError as error:
            fields = {"id": identifier, "code": error.code}
            if parked is not None:
                self._next[identifier] = later
                self._events.tell("reservation-parked", f"{identifier} stays parked: {error.message}", **fields)
            else:
                self._astray[identifier] = later
                self._events.tell("reservation-astray", f"an end of {identifier} moved: {error.message}", **fields)

    def _alarm(self, resources: Iterable[str]) -> None:
        now, policy = self._party.clock(), self._party.params()["alarm"]
        with self._lock:
            found = self._books.read(lambda ledger: self._alarms.check(ledger, now, resources, policy))
        for each in found:
            self._events.tell(
                "utilisation-alarm",
                f"{each.percent} % of {each.resource} is in use at the worst instant, {each.threshold} % or more",
                resource=each.resource,
                percent=each.percent,
            )

    def _parked(self, ledger: Ledger) -> list[Reservation]:
        return [each for each in ledger.waiting.values() if each.state is ReservationState.PARKED]


def _next_deadline(ledger: Ledger) -> int | None:
    held = (each.until for each in ledger.waiting.values() if each.state is ReservationState.HELD)
    return min((each for each in held if each is not None), default=None)
