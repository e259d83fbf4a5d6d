"""A plan made of the entries of many reservations, a few of which change. No I/O."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Key, Line, Plan, Share
from asa.errors import BadRequest
from asa.quantities import exact_rate

MOST_NAMED: Final = 4
"""Reservations that are named where it is told why another waits."""

_Seat = tuple[bool, int, str, int]
"""Whether the window is still to begin, turn, owner, and which of its entries: who comes first."""

_Rank = tuple[bool, int, int, str, int]
"""Of the first seat, with the number of matches before the turn: who owns a place."""

_Place = tuple[Action, Match]
"""One match of a line, for each action that packets can get beside the others."""

_BESIDE: Final = {Action.GUARANTEE: Action.GUARANTEE, Action.KEEP: Action.GUARANTEE} | {
    each: each for each in (Action.STEER, Action.MIRROR)
}
"""A packet has one class and one marking, so what says of either has one place."""


class Composition:
    """Entries of owners - reservations - that come and go; what a change costs does not grow with the others, as long
    as every line has room for all.

    Entries of exactly the same packets of a line are one, with their shares together: of guarantees, of passthroughs,
    of both (the share of the one; and no marking, as the other says), of steerings the same way and of mirrors to the
    same place. While one of them has begun those that have not wait; if none has, those of the earliest turn are in.

    Of packets that are partly the same each match has one owner: who has begun, then who asks for fewer matches, then
    who has the lower ``turn``, then the lower name. The others have the rest of theirs, with all of their share; who
    has none left waits. So does what a line has no room for - who has begun comes first, then who has the lower turn -
    and what contradicts one before it with the same packets, in its marking or where packets go. Who waits for room or
    because of a contradiction owns nothing.
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

    def put(self, owner: str, entries: Iterable[Entry], turn: int = 0, begun: bool = True) -> None:
        """In place of what the owner had. ``begun``: its window has. Raises BadRequest for an entry that is on no
        line."""
        added = []
        for index, entry in enumerate(entries):
            if entry.line not in self._boards:
                raise BadRequest(f"an entry of {entry.ids} on {entry.line}, which is no line")
            added.append((self._boards[entry.line], (not begun, turn, owner, index), entry))
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
        """Of everything that does not wait; the same object as long as nothing changes."""
        if self._plan is None:
            for board in self._boards.values():
                board.settle()
            self._plan = Plan.unchecked(self.lines, MappingProxyType(self._entries.copy()))
        return self._plan

    def waiting(self) -> Mapping[str, str]:
        """The ids with an entry that is not in the plan, and why."""
        self.plan()
        found: dict[str, str] = {}
        for board in self._boards.values():
            for identifier, why in board.waiting():
                found.setdefault(identifier, why)
        return found


def compose(lines: Iterable[Line], wanted: Iterable[Entry]) -> tuple[Plan, Mapping[str, str]]:
    """The plan, and the ids with an entry that is not in it, and why; all have begun, and of two of ``wanted`` the
    first comes first. Raises BadRequest as :class:`Composition` does."""
    composition = Composition(lines)
    for turn, entry in enumerate(wanted):
        composition.put(str(turn), (entry,), turn)
    return composition.plan(), composition.waiting()


class _Group:
    """The seats with exactly the same packets of a line, in order, and what became of them."""

    __slots__ = ("beside", "key", "matches", "members", "rank", "seats")

    def __init__(self, beside: Action, matches: frozenset[Match]) -> None:
        self.beside: Final = beside
        self.matches: Final = matches
        self.seats: list[_Seat] = []
        self.members: list[_Seat] = []
        """Who would be in the plan if the group has a match left."""
        self.rank: _Rank | None = None
        """None without members."""
        self.key: Key | None = None
        """Of its entry in the plan."""


class _Board:
    """The entries of a line, by seat; ``merged`` has what becomes of them, beside those of other lines."""

    def __init__(self, line: Line, merged: dict[Key, Entry]) -> None:
        self._line = line
        self._merged = merged
        self._wanted: dict[_Seat, Entry] = {}
        self._groups: dict[tuple[Action, frozenset[Match]], _Group] = {}
        self._at: dict[_Place, list[tuple[_Rank, _Group]]] = {}
        """The groups with members that want a place, its owner first."""
        self._wanting: dict[_Place, int] = {}
        """How many groups want it, with members or without."""
        self._changed: dict[_Group, None] = {}
        self._taken = 0
        self._taking: dict[_Seat, int] = {}
        """Guarantees in the plan, bit/s; together they are ``_taken``."""
        self._over: dict[_Seat, str] = {}
        self._behind: dict[_Seat, str] = {}
        """Who waits for others with the same packets."""
        self._covered: dict[_Group, None] = {}
        """Who has members and no match left."""

    def add(self, seat: _Seat, entry: Entry) -> None:
        self._wanted[seat] = entry
        group = self._group(entry)
        insort(group.seats, seat)
        self._changed[group] = None

    def remove(self, seat: _Seat) -> None:
        group = self._group(self._wanted.pop(seat))
        del group.seats[bisect_left(group.seats, seat)]
        self._changed[group] = None
        self._over.pop(seat, None)
        self._behind.pop(seat, None)

    def _group(self, entry: Entry) -> _Group:
        beside = _BESIDE[entry.action]
        found = self._groups.get((beside, entry.matches))
        if found is None:
            found = self._groups[beside, entry.matches] = _Group(beside, entry.matches)
            for match in entry.matches:
                self._wanting[beside, match] = self._wanting.get((beside, match), 0) + 1
        return found

    def waiting(self) -> Iterable[tuple[str, str]]:
        covered = {seat: why for group in self._covered for why in [self._owners(group)] for seat in group.members}
        for seat, why in sorted((self._over | self._behind | covered).items()):
            for identifier in self._wanted[seat].ids:
                yield identifier, why

    def settle(self) -> None:
        if not self._changed:
            return
        # What there is shall not depend on what there was, so everybody may ask for room again.
        again = {seat: self._group(self._wanted[seat]) for seat in self._over}
        self._over.clear()
        alone = {seat for seat, group in again.items() if group not in self._changed and self._is_alone(group)}
        self._changed |= {group: None for seat, group in again.items() if seat not in alone}
        self._arrange()
        self._refuse(alone)
        while self._changed:
            # Who had to leave may have owned packets of others, who ask for room in turn.
            self._arrange()
            self._refuse()

    def _is_alone(self, group: _Group) -> bool:
        """Whether it is all the same to others what becomes of it, but for room."""
        return len(group.seats) == 1 and all(self._wanting[group.beside, match] == 1 for match in group.matches)

    def _refuse(self, alone: Iterable[_Seat] = ()) -> None:
        """Who is to leave for want of room; ``alone`` are no members yet, and come in if there is room for them."""
        asking = {seat: _guarantee(self._wanted[seat]) for seat in alone}
        left = self._line.guaranteeable
        if self._taken + sum(asking.values()) <= left:
            self._changed |= {self._group(self._wanted[seat]): None for seat in asking}
            return
        for seat, guarantee in sorted((self._taking | asking).items()):
            if guarantee > left:
                needed = f"{exact_rate(guarantee)} is to be guaranteed"
                self._over[seat] = f"{self._line.name} has {exact_rate(left)} left to guarantee, and {needed}"
            else:
                left -= guarantee
            if (seat in self._over) != (seat in asking):
                self._changed[self._group(self._wanted[seat])] = None

    def _arrange(self) -> None:
        affected = self._changed.copy()
        for group in self._changed:
            self._withdraw(group)
            before = group.rank
            self._elect(group)
            if group.rank != before:
                affected |= dict.fromkeys(self._move(group, before))
            if not group.seats:
                self._drop(group)
        self._changed.clear()
        # An entry may be of the packets another was of.
        for group in affected:
            self._withdraw(group)
        for group in affected:
            self._enter(group)

    def _drop(self, group: _Group) -> None:
        del self._groups[group.beside, group.matches]
        for match in group.matches:
            place = group.beside, match
            self._wanting[place] -= 1
            if not self._wanting[place]:
                del self._wanting[place]

    def _elect(self, group: _Group) -> None:
        """Who of the group is in."""
        group.members, group.rank = [], None
        leading: Entry | None = None
        for seat in group.seats:
            entry, first = self._wanted[seat], group.seats[0]
            self._behind.pop(seat, None)
            if seat[0] and seat[:2] != first[:2]:
                when = "begins earlier" if first[0] else "has begun"
                self._behind[seat] = f"its packets are those of {self._wanted[first].ids[0]}, which {when}"
            elif seat in self._over:
                continue
            elif leading is not None and _contradict(entry, leading):
                self._behind[seat] = _contradiction(leading)
            else:
                group.members.append(seat)
                if leading is None and entry.action is not Action.KEEP:
                    leading = entry
        if group.members:
            later, turn, owner, index = group.members[0]
            group.rank = (later, len(group.matches), turn, owner, index)

    def _move(self, group: _Group, before: _Rank | None) -> Iterable[_Group]:
        """Those who owned a place before, or own it now."""
        for match in group.matches:
            queue = self._at.setdefault((group.beside, match), [])
            if queue:
                yield queue[0][1]
            if before is not None:
                del queue[bisect_left(queue, before, key=_rank)]
            if group.rank is not None:
                insort(queue, (group.rank, group), key=_rank)
            if queue:
                yield queue[0][1]
            else:
                del self._at[group.beside, match]

    def _withdraw(self, group: _Group) -> None:
        self._covered.pop(group, None)
        if group.key is not None:
            del self._merged[group.key]
            group.key = None
            for seat in group.members:
                self._taken -= self._taking.pop(seat, 0)

    def _enter(self, group: _Group) -> None:
        if not group.members:
            return
        left = [match for match in group.matches if self._at[group.beside, match][0][1] is group]
        if not left:
            self._covered[group] = None
            return
        entries = [self._wanted[each] for each in group.members]
        for seat, each in zip(group.members, entries, strict=True):
            if guarantee := _guarantee(each):
                self._taking[seat] = guarantee
                self._taken += guarantee
        matches = group.matches if len(left) == len(group.matches) else frozenset(left)
        entry = self._one(entries, matches)
        self._merged[entry.key] = entry
        group.key = entry.key

    def _one(self, entries: list[Entry], matches: frozenset[Match]) -> Entry:
        first, shares = entries[0], [each.share for each in entries if each.share is not None]
        if len(entries) == 1:
            return first if len(matches) == len(first.matches) else replace(first, matches=matches)
        share = None
        if shares:
            ceiling = min(sum(each.ceiling for each in shares), self._line.rate)
            guarantee = sum(each.guarantee for each in shares)
            share = Share(guarantee, max(guarantee, ceiling), min(each.priority for each in shares))
        kept = any(each.action is Action.KEEP for each in entries)
        return Entry(
            first.line,
            Action.GUARANTEE if shares else first.action,
            matches,
            tuple(sorted({identifier for each in entries for identifier in each.ids})),
            max(each.expires for each in entries),
            share,
            None if kept else first.dscp,
            first.through,
            first.output,
        )

    def _owners(self, group: _Group) -> str:
        """Why the group has no match left."""
        ranks = dict(sorted((self._at[group.beside, match][0] for match in group.matches), key=_rank))
        seats = [seat for owner in ranks.values() for seat in owner.members]
        ids = list(dict.fromkeys(identifier for seat in seats for identifier in self._wanted[seat].ids))
        named = ", ".join(ids[:MOST_NAMED]) + (f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else "")
        begun = group.members[0][0] and not any(each[0] for each in ranks)
        if begun:
            why = "has begun" if len(ids) == 1 else "have begun"
        elif all(each[1] < len(group.matches) for each in ranks):
            why = "are more particular"
        else:
            why = "come first"
        return f"all its packets are those of {named}, which {why}"


def _guarantee(entry: Entry) -> int:
    return 0 if entry.share is None else entry.share.guarantee


def _rank(queued: tuple[_Rank, _Group]) -> _Rank:
    return queued[0]


def _contradict(one: Entry, other: Entry) -> bool:
    if Action.KEEP in (one.action, other.action):
        return False
    return (one.through, one.output, one.dscp) != (other.through, other.output, other.dscp)


def _contradiction(other: Entry) -> str:
    if other.action is Action.STEER:
        way = ", ".join(other.through)
        return f"packets of it go through {way[:100]} already, for {other.ids[0]}"
    if other.action is Action.MIRROR:
        return f"copies of packets of it go to {other.output[:100]} already, for {other.ids[0]}"
    marked = "are not marked" if other.dscp is None else f"are marked with DSCP {other.dscp}"
    return f"its packets are those of {other.ids[0]}, which {marked}"
