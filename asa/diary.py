"""When there are reservations of a flow: what tells a duplicate (docs/reservations.md). No I/O."""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import pairwise
from typing import Final

from asa.records import Kind, Reservation
from objectives import Window

FlowKey = tuple[str, ...]
_FIRST: Final = ""
_EVERYTHING: Final = ("any", "any", "any")


def flow_of(reservation: Reservation) -> FlowKey | None:
    """What duplicates of a reservation have in common; None if it says of no packets that they are its own.

    Kind, protocol, ends with ports and VLANs; of two-way bandwidth whichever end comes first. Of a mirror also where
    the copies go. Neither rate nor class nor owner.
    """
    return flow_key(
        reservation.kind, reservation.protocol, reservation.source, reservation.destination, reservation.output
    )


def flow_key(kind: str, protocol: str, source: str, destination: str, output: str = "") -> FlowKey | None:
    """See :func:`flow_of`."""
    ends = source, destination
    if (protocol, *ends) == _EVERYTHING:
        return None
    if kind == Kind.TWO_WAY:
        ends = min(ends), max(ends)
    return kind, protocol, *ends, output


class Diary:
    """Windows, each with an id, in order of time. No two overlap, but for those of a database of version 1, and where
    one was placed anew after the other had ended: with such among them a question takes O(n)."""

    __slots__ = ("_apart", "_entries")

    def __init__(self) -> None:
        self._entries: list[tuple[int, str, int | None]] = []
        self._apart = True

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, window: Window, identifier: str) -> None:
        if self._apart and self.overlapping(window, identifier) is not None:
            self._apart = False
        insort(self._entries, (window.start, identifier, window.end))

    def append(self, window: Window, identifier: str) -> None:
        """As ``add`` for many, with :meth:`settle` behind the last of them."""
        self._entries.append((window.start, identifier, window.end))

    def settle(self) -> None:
        self._entries.sort()
        self._apart = all(end is not None and end <= start for (*_, end), (start, *_) in pairwise(self._entries))

    def remove(self, window: Window, identifier: str) -> None:
        del self._entries[bisect_left(self._entries, (window.start, identifier))]

    def overlapping(self, window: Window, but: str) -> str | None:
        """The id of an entry other than ``but`` that shares an instant with a window; in O(log n)."""
        at = bisect_left(self._entries, (window.start, _FIRST))
        # Of those that began before, only the last can reach into it, for they do not overlap.
        first = max(0, at - 1) if self._apart else 0
        for _, identifier, end in reversed(self._entries[first:at]):
            if identifier != but and (end is None or end > window.start):
                return identifier
        for start, identifier, _ in self._entries[at : at + 2]:
            if identifier != but and (window.end is None or start < window.end):
                return identifier
        return None
