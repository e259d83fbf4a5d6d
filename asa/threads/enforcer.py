"""ENFORCER: sees that packets get what is booked for them, no more and no less, and that it stays so (not in RFC 9222:
its agents negotiate resources, and somebody else configures them)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Final

from asa.books import Books
from asa.config import EnforcementSection
from asa.dataplane.backend import Abilities, Backend, EnforcementFailed, Unfit
from asa.dataplane.choice import backend_for
from asa.dataplane.plan import Action, Line
from asa.desired import Desired
from asa.enforcement import Enforcement, Picture
from asa.errors import AsaError, NotCleared
from asa.events import EventLog
from asa.flows import Place
from asa.installation import Abandoned, Installation
from asa.ledger import Ledger
from asa.lifecycle import Phase, Standing
from asa.predecessor import Predecessor
from asa.records import Reservation, ReservationState
from asa.threads.duty import Duty
from asa.threads.listener import Listener
from asa.traffic import TrafficClasses

MOST: Final = 1_000
"""Reservations looked at under the books' lock in one go."""

MOST_DUE: Final = 4_000
"""Reservations whose instant has come, looked at in one turn."""

ECHO_S: Final = 0.3
"""What is heard of the kernel during changes of our own, and so soon after them, is most likely they. As it may be
somebody else's, everything is read once, so much later."""

NEWS_S: Final = 1.0
"""Between two times that everything is read because something was heard, at the least."""

REST: Final = 10
"""Nor is it read more often than leaves so many times what a reading takes for other work."""

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0

LOST: Final = 3
"""Times in a row that a back end could not be read, after which another is made in its place."""

CLEAR_S: Final = 60.0
"""For everything to be removed, commands that hang included."""

EVERYTHING: Final = Abilities(frozenset({"out", "in"}), frozenset(Action))
"""What counts as possible while it is not known what is."""


class Enforcer(Duty):
    """``lines``: what there is to shape; none, if only what was there before is to be cleared. ``local``: whether
    a place is behind this agent; ``wall``: UNIX s, exactly.

    A turn looks at what has changed and at what is due, and at nothing else; it costs the reservations that are near.
    ``choose`` finds the back end; it is asked again, ever more rarely, until one works.
    """

    name = "enforcer"
    limit = 300.0

    def __init__(
        self,
        section: EnforcementSection,
        lines: tuple[Line, ...],
        classes: TrafficClasses,
        local: Callable[[Place], bool],
        books: Books,
        clock: Callable[[], int],
        enforcement: Enforcement,
        paused: Callable[[], bool],
        events: EventLog,
        problem: Callable[[str, str | None], None],
        report: Callable[[str, str], None],
        rng: Random,
        wall: Callable[[], float] = time.time,
        choose: Callable[[EnforcementSection, tuple[Line, ...]], Backend] = backend_for,
    ) -> None:
        super().__init__(report, rng)
        self._section = section
        self._lines = lines
        self._classes = classes
        self._local = local
        self._books = books
        self._clock = clock
        self._enforcement = enforcement
        self._paused = paused
        self._events = events
        self._problem = problem
        self._wall = wall
        self._choose = choose
        self._installation: Installation | None = None
        self._listener: Listener | None = None
        self._predecessor = Predecessor(books, section, lambda *given: self._choose(*given), events)
        self._unread: int | None = clock()
        self._read = 0
        self._leaving: dict[str, Standing] = {}
        self._clearing = threading.Event()
        self._cleared = threading.Event()
        self._left = ""
        enforcement.wake = self.wake
        self._begin()

    def _begin(self) -> None:
        self._desired = self._fresh(EVERYTHING)
        self._delay = FIRST_S
        self._open_at = self._reconcile_at = self._sample_at = 0.0
        self._own_until = self._read_next = 0.0
        self._heard: float | None = None
        self._echo: float | None = None
        self._looked: int | None = None
        self._why = "it has not begun"

    def start(self) -> None:
        # A thread that hangs may come back: it finds its back end abandoned, and this one has its own.
        if self._installation is not None:
            self._installation.abandoned = True
            self._lose(self._installation)
        self._begin()
        self._enforcement.again()
        super().start()

    def stop(self) -> None:
        """What is in place stays, and ends by itself."""
        super().stop()
        if self._listener is not None:
            self._listener.stop()

    def heard(self) -> None:
        """Somebody changed something in the kernel."""
        now = time.monotonic()
        if now > self._own_until + ECHO_S:
            self._heard = now
        elif self._echo is None:
            self._echo = now + ECHO_S
        self.wake()

    def clear(self, timeout_s: float = CLEAR_S) -> None:
        """Remove everything, and put nothing in place any more. Raises NotCleared."""
        self._cleared.clear()
        self._clearing.set()
        self.wake()
        if not self._cleared.wait(timeout_s):
            self._left = f"not within {timeout_s:g} s"
        if self._left:
            self._clearing.clear()
            self._enforcement.again()
            self.wake()
            raise NotCleared(f"the data plane could not be cleared: {self._left}", hint="asa enforcement tells more")

    def turn(self) -> float | None:
        if self._clearing.is_set():
            return self._clear()
        if not self._lines:
            return self._tidy()
        now = self._clock()
        self._look(now)
        # Once for all of a turn: what is in place and what is said of it are of the same answer.
        paused = self._paused()
        if self._installation is None and time.monotonic() >= self._open_at:
            self._open(now, paused)
        if self._installation is not None:
            self._enforce(self._installation, now, paused)
        else:
            self._publish_without(now, paused)
        return self._pause()

    def _tidy(self) -> float | None:
        """There is nothing to enforce any more, and there was."""
        try:
            self._predecessor.clear("")
        except (EnforcementFailed, Unfit) as error:
            self._not_open(error)
            return max(0.001, self._open_at - time.monotonic())
        self._problem("data-plane", None)
        return LONGEST_S

    def _clear(self) -> float | None:
        if self._cleared.is_set():
            return None
        try:
            self._clear_all()
            self._left = ""
        except (EnforcementFailed, Unfit) as error:
            self._left = error.message
        self._close()
        self._enforcement.publish(Picture(lines=self._lines))
        self._cleared.set()
        return None

    def _clear_all(self) -> None:
        name = ""
        if self._lines:
            backend = self._installation.backend if self._installation is not None else self._opened()[0]
            backend.clear()
            name = backend.name
        self._predecessor.clear(name)

    # What there shall be.

    def _fresh(self, able: Abilities) -> Desired:
        section = self._section
        return Desired(self._lines, able, self._classes, self._local, section.lead_s, section.rule_life_s)

    def _look(self, now: int) -> None:
        taken = self._enforcement.take()
        if taken.everything:
            self._desired = self._fresh(self._installation.able if self._installation is not None else EVERYTHING)
            self._look_at(self._booked(), now)
        elif taken.booked:
            self._look_at(list(taken.booked), now)
        agenda = self._desired.agenda
        if due := agenda.due(now, MOST_DUE):
            self._look_at(due, now)
        at = agenda.next()
        self._looked = (now if at is None else min(now, at - 1)) + self._section.lead_s

    def _look_at(self, ids: list[str], now: int) -> None:
        for index in range(0, len(ids), MOST):
            part = ids[index : index + MOST]
            for each, found in self._books.read(lambda ledger, part=part: _found(ledger, part)):  # type: ignore[misc]
                self._desired.look(each, found, now)
            if self.stopping:
                return

    def _booked(self) -> list[str]:
        ids = self._books.read(lambda ledger: ledger.order.copy())
        return [each for index in range(0, len(ids), MOST) for each in self._of_booked(ids[index : index + MOST])]

    def _of_booked(self, part: list[str]) -> list[str]:
        return self._books.read(
            lambda ledger: [
                each
                for each, found in _found(ledger, part)
                if found is not None and found.state is ReservationState.BOOKED
            ]
        )

    # What there is.

    def _opened(self) -> tuple[Backend, Abilities]:
        backend = self._choose(self._section, self._lines)
        try:
            return backend, backend.probe(self._lines)
        except BaseException:
            backend.close()
            raise

    def _open(self, now: int, paused: bool) -> None:
        generation = self._generation
        try:
            backend, able = self._opened()
        except (EnforcementFailed, Unfit) as error:
            self._not_open(error)
            return
        effect = backend.name != "record"
        installation = Installation(backend, able, effect, self._rng, self._events, self._problem)
        if able != EVERYTHING:
            self._desired = self._fresh(able)
            self._look_at(self._booked(), now)
        try:
            self._predecessor.clear(backend.name)
            installation.adopt(self._desired.plan(paused), now)
        except (EnforcementFailed, Unfit) as error:
            backend.close()
            self._not_open(error)
            return
        if generation != self._generation:
            backend.close()
            raise Abandoned("a back end was found too late: there is another")
        self._installation = installation
        if effect:
            self._predecessor.succeeded(backend.name)
        self._delay = FIRST_S
        self._problem("data-plane", None)
        self._reconcile_at = time.monotonic() + self._section.reconcile_s
        if effect and backend.name != "openvswitch":
            self._listen("asa" if backend.name != "tc-u32" else "")

    def _listen(self, table: str) -> None:
        if self._listener is not None:
            self._listener.stop()
        self._listener = Listener(table, self.heard)
        self._listener.start()

    def _not_open(self, error: AsaError) -> None:
        """There is no back end: all that should be in place is not."""
        self._open_at = time.monotonic() + self._delay * self._rng.uniform(0.8, 1.0)
        self._delay = min(LONGEST_S, self._delay * 2)
        self._problem("data-plane", f"{error.message}{f' ({error.hint})' if error.hint else ''}")
        self._why = error.message

    def _publish_without(self, now: int, paused: bool) -> None:
        plan = self._desired.plan(paused)
        hindered = self._desired.hindered(now, paused)
        ids = {each for entry in plan.entries.values() for each in entry.ids} | hindered.keys()
        # While the node is paused nothing is tried, so nothing has failed.
        phase = Phase.INSTALLING if paused else Phase.FAILED
        self._publish(
            Picture(trouble=self._why, lines=self._lines, standings=dict.fromkeys(ids, Standing(phase, self._why)))
        )

    def _publish(self, picture: Picture) -> None:
        standings = {**self._leaving, **picture.standings} if self._leaving else picture.standings
        self._enforcement.publish(
            replace(picture, standings=standings, unread=self._unread, read=self._read, looked=self._looked)
        )

    def _close(self) -> None:
        if self._installation is not None:
            self._installation.backend.close()
            self._lose(self._installation)

    def _lose(self, installation: Installation) -> None:
        """What it knew is all that is known until everything was read again."""
        now = self._clock()
        if self._unread is None:
            self._read = now
        self._unread = now
        self._leaving |= dict.fromkeys(installation.leaving(), Standing(Phase.REMOVING))
        self._installation = None

    def _enforce(self, installation: Installation, now: int, paused: bool) -> None:
        ticks = time.monotonic()
        plan = self._desired.plan(paused)
        before, self._own_until = self._own_until, math.inf
        changed = True
        try:
            if ticks >= self._reconcile_at or ticks >= self._news_at():
                self._heard = self._echo = None
                changed = installation.reconcile(plan, now, ticks)
                ended = time.monotonic()
                self._reconcile_at = ended + self._section.reconcile_s
                self._read_next = ended + (NEWS_S if changed else max(NEWS_S, REST * (ended - ticks)))
            else:
                changed = installation.settle(plan, now, ticks)
        finally:
            self._own_until = time.monotonic() if changed else before
        if installation.lost >= LOST:
            self._why = f"the back end {installation.backend.name} could not be read {LOST} times in a row"
            self._close()
            self._publish_without(now, paused)
            return
        if installation.tidy:
            self._unread = None
            self._leaving = {}
        if ticks >= self._sample_at:
            installation.sample(now, ticks)
            self._sample_at = ticks + self._section.sample_s
        self._publish(installation.picture(self._desired.hindered(now, paused)))

    def _news_at(self) -> float:
        """When everything is read because something was heard, by the monotonic clock."""
        heard = 0.0 if self._heard is not None else self._echo
        return math.inf if heard is None else max(heard, self._read_next)

    def _pause(self) -> float:
        """Until whatever is next."""
        ticks = time.monotonic()
        waits = [float(self._section.reconcile_s)]
        if (at := self._desired.agenda.next()) is not None:
            waits.append(at - self._wall())
        if self._installation is None:
            waits.append(self._open_at - ticks)
        else:
            waits += [self._reconcile_at - ticks, self._sample_at - ticks]
            if (again := self._installation.again()) is not None:
                waits.append(again - ticks)
            waits.append(self._news_at() - ticks)
        return max(0.001, min(waits))


def _found(ledger: Ledger, ids: Iterable[str]) -> list[tuple[str, Reservation | None]]:
    return [(each, ledger.reservations.get(each)) for each in ids]
