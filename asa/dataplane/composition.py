"""A plan made of the entries of many reservations, a few of which change. No I/O."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Key, Line, Plan, Share
from asa.errors import BadRequest
from asa.quantities import exact_rate

_Seat = tuple[int, str, int]
"""Turn, owner, and which of its entries: who comes first."""

_Place = tuple[Action, Match]
"""One match of a line, for each action that packets can get beside the others."""

_BESIDE: Final = {Action.GUARANTEE: Action.GUARANTEE, Action.KEEP: Action.GUARANTEE} | {
    each: each for each in (Action.STEER, Action.MIRROR)
}
"""A packet has one class and one marking, so what says of either has one place."""


class Composition:
    """Entries of owners - reservations - that come and go; what a change costs does not grow with the others, as long
    as every line has room for all.

    Entries whose packets are partly the same on a line are one, with their shares together: of guarantees, of
    passthroughs, of both (the share of the one; and no marking, as the other says), of steerings the same way and of
    mirrors to the same place. What a line has no room for waits, and so does what contradicts what came before. Who
    has the lower ``turn`` comes first, then who has the lower name.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        """Raises BadRequest for a line that is there twice."""
        self.lines: Final = tuple(lines)
        self._entries: dict[Key, Entry] = {}
        self._boards = {each.name: _Board(each, self._entries) for each in self.lines}
        if len(self._boards) < len(self.lines):
            raise BadRequest("a line is there twice")
        self._seats: dict[str, list[tuple[_Board, _Seat]]] = {}
        self._plan: Plan | None = None

    def put(self, owner: str, entries: Iterable[Entry], turn: int = 0) -> None:
        """In place of what the owner had. Raises BadRequest for an entry that is on no line."""
        added = []
        for index, entry in enumerate(entries):
            if entry.line not in self._boards:
                raise BadRequest(f"an entry of {entry.ids} on {entry.line}, which is no line")
            added.append((self._boards[entry.line], (turn, owner, index), entry))
        self.remove(owner)
        for board, seat, entry in added:
            board.add(seat, entry)
        if added:
            self._seats[owner] = [(board, seat) for board, seat, _ in added]
            self._plan = None

    def remove(self, owner: str) -> None:
        """What the owner had, if anything."""
        for board, seat in self._seats.pop(owner, ()):
            board.remove(seat)
            self._plan = None

    def plan(self) -> Plan:
        """Of everything there is room for; the same object as long as nothing changes."""
        if self._plan is None:
            for board in self._boards.values():
                board.settle()
            self._plan = Plan.unchecked(self.lines, MappingProxyType(self._entries.copy()))
        return self._plan

    def waiting(self) -> Mapping[str, str]:
        """The ids of which not everything is in the plan, and why."""
        self.plan()
        found: dict[str, str] = {}
        for board in self._boards.values():
            for identifier, why in board.waiting():
                found.setdefault(identifier, why)
        return found


def compose(lines: Iterable[Line], wanted: Iterable[Entry]) -> tuple[Plan, Mapping[str, str]]:
    """The plan, and the ids of which not everything is in it, and why; of two of ``wanted`` the first comes first.
    Raises BadRequest as :class:`Composition` does."""
    composition = Composition(lines)
    for turn, entry in enumerate(wanted):
        composition.put(str(turn), (entry,), turn)
    return composition.plan(), composition.waiting()


class _Board:
    """The entries of a line, by seat; ``merged`` has what becomes of them, beside those of other lines."""

    def __init__(self, line: Line, merged: dict[Key, Entry]) -> None:
        self._line = line
        self._merged = merged
        self._wanted: dict[_Seat, Entry] = {}
        self._order: list[_Seat] = []
        self._guarantees = 0
        self._at: dict[_Place, set[_Seat]] = {}
        self._keys: dict[_Seat, Key] = {}
        self._over: dict[_Seat, str] = {}
        self._against: dict[_Seat, str] = {}
        self._changed: set[_Place] = set()

    def add(self, seat: _Seat, entry: Entry) -> None:
        self._wanted[seat] = entry
        insort(self._order, seat)
        self._guarantees += _guarantee(entry)
        for place in _places(entry):
            self._at.setdefault(place, set()).add(seat)
            self._changed.add(place)

    def remove(self, seat: _Seat) -> None:
        entry = self._wanted.pop(seat)
        del self._order[bisect_left(self._order, seat)]
        self._guarantees -= _guarantee(entry)
        for place in _places(entry):
            self._at[place].discard(seat)
            if not self._at[place]:
                del self._at[place]
            self._changed.add(place)
        self._over.pop(seat, None)
        self._forget(seat)

    def waiting(self) -> Iterable[tuple[str, str]]:
        for seat, why in sorted((self._over | self._against).items()):
            for identifier in self._wanted[seat].ids:
                yield identifier, why

    def settle(self) -> None:
        self._admit()
        together = self._components()
        for seats in together:
            for seat in seats:
                self._forget(seat)
        for seats in together:
            self._merge(seats)
        self._changed.clear()

    def _admit(self) -> None:
        """Who has to wait for room; those of whom that changed get a new place in the plan, or lose theirs."""
        over: dict[_Seat, str] = {}
        if self._guarantees > self._line.guaranteeable:
            left = self._line.guaranteeable
            for seat in self._order:
                guarantee = _guarantee(self._wanted[seat])
                if guarantee > left:
                    needed = f"{exact_rate(guarantee)} is to be guaranteed"
                    over[seat] = f"{self._line.name} has {exact_rate(left)} left to guarantee, and {needed}"
                else:
                    left -= guarantee
        for seat in over.keys() ^ self._over.keys():
            self._changed.update(_places(self._wanted[seat]))
        self._over = over

    def _components(self) -> list[list[_Seat]]:
        """Those at a changed place, each with all that have a place in common, also through others; all in order."""
        found: list[list[_Seat]] = []
        seen: set[_Seat] = set()
        for changed in self._changed:
            seats: list[_Seat] = []
            ahead = [changed]
            while ahead:
                for seat in self._at.get(ahead.pop(), ()):
                    if seat not in seen:
                        seen.add(seat)
                        seats.append(seat)
                        ahead += _places(self._wanted[seat])
            if seats:
                found.append(sorted(seats))
        return sorted(found)

    def _merge(self, seats: Sequence[_Seat]) -> None:
        groups: list[list[_Seat]] = []
        for seat in seats:
            if seat in self._over:
                continue
            places = set(_places(self._wanted[seat]))
            near = [each for each in groups if any(not places.isdisjoint(self._places_of(one)) for one in each)]
            other = next((each for group in near for each in group if self._contradicts(seat, each)), None)
            if other is not None:
                self._against[seat] = _contradiction(self._wanted[other])
                continue
            groups = [each for each in groups if each not in near] + [[one for each in near for one in each] + [seat]]
        for group in groups:
            entry = self._one(sorted(group))
            self._merged[entry.key] = entry
            for seat in group:
                self._keys[seat] = entry.key

    def _places_of(self, seat: _Seat) -> Sequence[_Place]:
        return _places(self._wanted[seat])

    def _contradicts(self, seat: _Seat, other: _Seat) -> bool:
        one, two = self._wanted[seat], self._wanted[other]
        return (one.through, one.output) != (two.through, two.output)

    def _one(self, seats: Sequence[_Seat]) -> Entry:
        entries = [self._wanted[each] for each in seats]
        if len(entries) == 1:
            return entries[0]
        first, shares = entries[0], [each.share for each in entries if each.share is not None]
        share = None
        if shares:
            ceiling = min(sum(each.ceiling for each in shares), self._line.rate)
            guarantee = sum(each.guarantee for each in shares)
            share = Share(guarantee, max(guarantee, ceiling), min(each.priority for each in shares))
        kept = any(each.action is Action.KEEP for each in entries)
        return Entry(
            first.line,
            Action.GUARANTEE if shares else first.action,
            frozenset(match for each in entries for match in each.matches),
            tuple(sorted({identifier for each in entries for identifier in each.ids})),
            max(each.expires for each in entries),
            share,
            None if kept else first.dscp,
            first.through,
            first.output,
        )

    def _forget(self, seat: _Seat) -> None:
        self._against.pop(seat, None)
        if (key := self._keys.pop(seat, None)) is not None:
            self._merged.pop(key, None)


def _guarantee(entry: Entry) -> int:
    return 0 if entry.share is None else entry.share.guarantee


def _places(entry: Entry) -> list[_Place]:
    beside = _BESIDE[entry.action]
    return [(beside, match) for match in entry.matches]


def _contradiction(other: Entry) -> str:
    if other.action is Action.STEER:
        way = ", ".join(other.through)
        return f"packets of it go through {way[:100]} already, for {other.ids[0]}"
    return f"copies of packets of it go to {other.output[:100]} already, for {other.ids[0]}"
