"""When something is to be looked at again: one instant for each reservation, the next one first. No I/O."""

from __future__ import annotations

import heapq
from typing import Final

from asa.records import Reservation, ReservationState
from objectives import Window

SPARE: Final = 64
"""Entries of the heap that may be out of date before it is made anew, beside as many as there are reservations."""

AFTER_S: Final = 5
"""What is installed ends by itself so long after its window."""

ROUNDS: Final = 8
"""Refreshing happens at most so many times in the life of a rule, for many at once: each time all of them are put
together and compared."""


class Agenda:
    """An instant for each identifier, UNIX s. What is done costs O(log n); nothing is scanned."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._at)

    def put(self, identifier: str, at: int) -> None:
        """In place of what it had."""
        if self._at.get(identifier) == at:
            return
        self._at[identifier] = at
        heapq.heappush(self._heap, (at, identifier))
        if len(self._heap) > 2 * len(self._at) + SPARE:
            self._heap = [(when, each) for each, when in self._at.items()]
            heapq.heapify(self._heap)

    def remove(self, identifier: str) -> None:
        self._at.pop(identifier, None)

    def clear(self) -> None:
        self._at.clear()
        self._heap.clear()

    def next(self) -> int | None:
        """The earliest instant; None if there is none."""
        while self._heap:
            at, identifier = self._heap[0]
            if self._at.get(identifier) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: int, most: int) -> list[str]:
        """Those whose instant has come, the earliest first, at most so many; they are no longer on it."""
        found: list[str] = []
        while len(found) < most and (at := self.next()) is not None and at <= now:
            _, identifier = heapq.heappop(self._heap)
            del self._at[identifier]
            found.append(identifier)
        return found


def ends_by_itself(window: Window, now: int, life_s: int) -> int:
    """UNIX s until when a rule that is made now is in force."""
    expires = now + life_s
    return expires if window.end is None else min(expires, window.end + AFTER_S)


def left_until(reservation: Reservation, life_s: int) -> int:
    """UNIX s until when a rule of a reservation that is over may be in force, though nobody removed it: it was made or
    refreshed for the last time before that was over, or before its window was changed."""
    changed, end = reservation.changed + life_s, reservation.window.end
    if reservation.state is ReservationState.CANCELLED or end is None:
        return changed
    return max(changed, end + AFTER_S)


def to_refresh(expires: int, life_s: int) -> int:
    """UNIX s when a rule is given a longer life: at the half of it or a little before, with others."""
    round_s = max(1, life_s // ROUNDS)
    return (expires - life_s // 2) // round_s * round_s


def next_instant(window: Window, now: int, lead_s: int, life_s: int, expires: int | None = None) -> int | None:
    """UNIX s, after ``now``, when something of a booked reservation changes for the data plane; None: never again.

    ``expires``: when its rules end by themselves, if it has some.
    """
    if window.passed(now):
        return None
    if now < window.start - lead_s:
        return window.start - lead_s
    instants = [] if window.end is None else [window.end]
    if now < window.start:
        instants.append(window.start)
    if expires is not None and (window.end is None or expires < window.end):
        instants.append(max(now + 1, to_refresh(expires, life_s)))
    return min(instants, default=None)
