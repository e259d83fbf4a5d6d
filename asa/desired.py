"""What shall be in place on this node now, of all that is booked. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from asa.agenda import Agenda, ends_by_itself, next_instant
from asa.dataplane.backend import Abilities
from asa.dataplane.composition import Composition
from asa.dataplane.plan import Entry, Line, Plan
from asa.dataplane.planning import entries_of
from asa.errors import AsaError
from asa.flows import Place
from asa.records import Reservation, ReservationState
from asa.traffic import TrafficClasses

LONGEST_WHY: Final = 250
"""Characters."""


class Desired:
    """Of the reservations that are booked those whose window has begun, or begins within ``lead_s`` seconds; and when
    that changes. What a reservation costs that is not near is its instant on the agenda.

    ``life_s``: what is put in place ends by itself after so long, unless it is refreshed.
    """

    def __init__(
        self,
        lines: Iterable[Line],
        able: Abilities,
        classes: TrafficClasses,
        local: Callable[[Place], bool],
        lead_s: int,
        life_s: int,
    ) -> None:
        self._lines = {each.name: each for each in lines}
        self._able = able
        self._classes = classes
        self._local = local
        self._lead_s = lead_s
        self._life_s = life_s
        self._composition = Composition([each for each in self._lines.values() if each.way in able.ways])
        self._empty = Plan(self._composition.lines)
        self._starts: dict[str, int] = {}
        self.agenda = Agenda()
        self.unable: dict[str, str] = {}
        """The ids of near reservations the back end cannot do, or not wholly, and why."""

    def look(self, identifier: str, found: Reservation | None, now: int) -> None:
        """What a reservation is now; None: there is none. ``now``: UNIX s."""
        booked = found if found is not None and found.state is ReservationState.BOOKED else None
        self.unable.pop(identifier, None)
        if booked is None or booked.window.passed(now):
            self._leave(identifier)
            self.agenda.remove(identifier)
            return
        window = booked.window
        expires: int | None = None
        if now < window.start - self._lead_s:
            self._leave(identifier)
        else:
            entries = self._entries(booked, ends_by_itself(window, now, self._life_s))
            self._composition.put(identifier, entries, window.start, window.start <= now)
            expires = entries[0].expires if entries else None
            if entries or identifier in self.unable:
                self._starts[identifier] = window.start
            else:
                self._starts.pop(identifier, None)
        at = next_instant(window, now, self._lead_s, self._life_s, expires)
        if at is None:
            self.agenda.remove(identifier)
        else:
            self.agenda.put(identifier, at)

    def _leave(self, identifier: str) -> None:
        self._composition.remove(identifier)
        self._starts.pop(identifier, None)

    def _entries(self, booked: Reservation, expires: int) -> tuple[Entry, ...]:
        try:
            entries = entries_of(booked, self._lines, self._classes, self._local, expires)
        except AsaError as error:
            self.unable[booked.id] = error.message[:LONGEST_WHY]
            return ()
        possible = []
        for each in entries:
            if each.action not in self._able.actions:
                self.unable[booked.id] = f"the back end cannot {each.action}"
            elif self._lines[each.line].way not in self._able.ways:
                self.unable[booked.id] = f"the back end does not shape {each.line}"
            elif each.dscp is None or self._able.marks:
                possible.append(each)
            else:
                # A marking of 0 only takes off what nobody was to put there.
                if each.dscp:
                    self.unable[booked.id] = f"the back end cannot mark packets, with DSCP {each.dscp} on {each.line}"
                possible.append(replace(each, dscp=None))
        return tuple(possible)

    def plan(self, paused: bool) -> Plan:
        """The same object as long as nothing changes. Nothing but the lines while the node is paused."""
        return self._empty if paused else self._composition.plan()

    def hindered(self, now: int, paused: bool) -> dict[str, tuple[bool, str]]:
        """The ids of near reservations of which not everything is in the plan: whether that is a failure, and why.

        Before its window one may have to wait for others to end; after its start it should be there. While the node is
        paused it is all of them, and no failure.
        """
        if paused:
            return dict.fromkeys(self._starts, (False, ""))
        found = {
            each: (self._starts.get(each, now) <= now, why[:LONGEST_WHY])
            for each, why in self._composition.waiting().items()
        }
        return found | {each: (True, why) for each, why in self.unable.items()}
