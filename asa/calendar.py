"""How much capacity is free at each instant of one node's pool. No I/O, no clock.

The profile free(t), bit/s over whole UNIX seconds, is kept as its changes: a B+-tree of (time, delta) in which every
node knows of each child the sum of its deltas and the lowest and highest sum of a beginning of them. A booking
changes two deltas and what is known of the nodes above them; the minimum over a window is read off the nodes between
its edges. Both take O(log n). Bookings that overlap anywhere are thus judged by their peak, never by their sum.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice
from math import inf
from operator import add
from typing import Final

from asa.btree import Node, above

FAN_OUT: Final = 32
"""Measured at 100 000 bookings: from 16 to 48 it hardly matters, above that booking takes longer."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A window [start, end), UNIX s, without a second that suffices; ``missing``, > 0 bit/s, in the worst one.

    ``end`` None: for ever.
    """

    start: int
    end: int | None
    missing: int


class Calendar:
    """Free capacity over time. Not thread-safe; the owner locks.

    Amounts are integer bit/s, times integer UNIX seconds, windows half-open: [start, end), where an ``end`` of None
    means for ever. Anything but an int raises TypeError; an empty or reversed window, and a question about a time
    before the last ``forget``, ValueError. Unbounded: it holds at most two changes per booking, so the owner who
    bounds bookings bounds it.
    """

    __slots__ = ("_base", "_fan_out", "_forgotten", "_least", "_length", "_root")

    def __init__(self, fan_out: int = FAN_OUT) -> None:
        """``fan_out``: the most entries of a node of the tree, at least 4."""
        if fan_out < 4:
            raise ValueError(f"a fan-out of {fan_out} is less than 4")
        self._fan_out = fan_out
        self._least = max(fan_out // 4, 2)
        self._root = Node([], [])
        self._base = 0
        self._forgotten: int | None = None
        self._length = 0

    def __len__(self) -> int:
        """How many times there are at which the free capacity changes."""
        return self._length

    def add(self, amount: int, start: int, end: int | None) -> None:
        """Add ``amount`` throughout the window: > 0 for capacity held, < 0 for a booking.

        Adding the negative takes it back. What of the window lies before the last ``forget`` is of no effect.
        """
        _check_amount(amount)
        _check_window(start, end)
        if amount:
            self._change(start, amount)
            if end is not None:
                self._change(end, -amount)

    def fill(self, changes: Mapping[int, int]) -> None:
        """Begin with many changes, delta by time, in one go. Raises ValueError if there are some already."""
        if self._length:
            raise ValueError("the calendar is not empty")
        known = -inf if self._forgotten is None else self._forgotten
        self._base += sum(delta for time, delta in changes.items() if time <= known)
        entries = sorted((time, delta) for time, delta in changes.items() if time > known and delta)
        self._length = len(entries)
        size = self._fan_out * 3 // 4
        level = [
            Node([time for time, _ in part], [delta for _, delta in part])
            for part in (entries[index : index + size] for index in range(0, len(entries), size))
        ]
        while len(level) > 1:
            level = [above(level[index : index + size]) for index in range(0, len(level), size)]
        self._root = level[0] if level else Node([], [])

    def at(self, time: int) -> int:
        """What is free at ``time``."""
        self._check_known(time)
        node, free = self._root, self._base
        while node.children is not None:
            index = bisect_right(node.keys, time, 1) - 1
            free += sum(node.sums[:index])
            node = node.children[index]
        return free + sum(node.sums[: bisect_right(node.keys, time)])

    def lowest(self, start: int, end: int | None) -> int:
        """The least that is free at any instant of the window."""
        _check_window(start, end)
        self._check_known(start)
        until = inf if end is None else end
        node, before = self._root, self._base
        while node.children is not None:
            keys, sums = node.keys, node.sums
            first = bisect_right(keys, start, 1) - 1
            last = bisect_left(keys, until, 1) - 1
            before += sum(sums[:first])
            if first < last:
                # The edges are below different children. What lies between these, then what is below them.
                levels = list(accumulate(sums[first:last], initial=before))
                low = min(levels[1], min(map(add, levels[1:], node.lows[first + 1 : last]), default=levels[1]))
                low = _lowest_from(node.children[first], start, before, low)
                return _lowest_until(node.children[last], until, levels[-1], low)
            node = node.children[first]
        first, last = bisect_right(node.keys, start), bisect_left(node.keys, until)
        return min(accumulate(node.sums[first:last], initial=before + sum(node.sums[:first])))

    def fits(self, amount: int, start: int, end: int | None) -> bool:
        """Whether ``amount`` is free at every instant of the window."""
        _check_amount(amount)
        return self.lowest(start, end) >= amount

    def shortfalls(self, amount: int, start: int, end: int | None, limit: int = 32) -> list[Shortfall]:
        """The longest windows within this one in which less than ``amount`` is free, in time order.

        The first ``limit`` (at least 1) of them.
        """
        _check_amount(amount)
        _check_window(start, end)
        _check_limit(limit)
        self._check_known(start)
        found: list[Shortfall] = []
        begun: int | None = None
        for time, free in self._changes(start, amount):
            if end is not None and time >= end:
                break
            if free < amount:
                begun = time if begun is None else begun
            elif begun is not None:
                found.append(Shortfall(begun, time, amount - self.lowest(begun, time)))
                begun = None
                if len(found) == limit:
                    break
        if begun is not None:
            found.append(Shortfall(begun, end, amount - self.lowest(begun, end)))
        return found

    def earliest(self, amount: int, duration: int | None, after: int, before: int | None = None) -> int | None:
        """The first start, not before ``after``, of ``duration`` seconds with ``amount`` free throughout.

        They end at ``before`` at the latest, if it is given. ``duration`` is > 0, or None for for ever. None if
        there is no such start.
        """
        _check_amount(amount)
        _check_window(after, None if duration is None else after + duration)
        self._check_known(after)
        if before is not None:
            _check_time(before)
        length = inf if duration is None else duration
        until = inf if before is None else before
        begun: int | None = None
        for time, free in self._changes(after, amount):
            if begun is not None and time - begun >= length:
                break
            if begun is None or free < amount:
                if time + length > until:
                    return None
                begun = time if free >= amount else None
        return begun

    def steps(self, start: int, end: int | None, limit: int) -> list[tuple[int, int]]:
        """What is free at ``start``, and at each change after it within the window: (time, free).

        The first ``limit`` (at least 1) of them.
        """
        _check_window(start, end)
        _check_limit(limit)
        self._check_known(start)
        found = list(islice(self._changes(start), limit))
        return found if end is None else [each for each in found if each[0] < end]

    def forget(self, now: int) -> None:
        """Forget how much was free before ``now``. An earlier time than the last does nothing."""
        _check_time(now)
        if self._forgotten is not None and now <= self._forgotten:
            return
        self._forgotten = now
        path: list[tuple[Node, int]] = []
        node = self._root
        while node.children is not None:
            index = bisect_right(node.keys, now, 1) - 1
            self._base += sum(node.sums[:index])
            self._length -= sum(child.size() for child in node.children[:index])
            node.cut(0, index)
            path.append((node, 0))
            node = node.children[0]
        index = bisect_right(node.keys, now)
        self._base += sum(node.sums[:index])
        self._length -= index
        node.cut(0, index)
        below = node
        for parent, _ in reversed(path):
            parent.sums[0] = sum(below.sums)
            below = parent
        self._settle(node, path)

    def _change(self, time: int, delta: int) -> None:
        """Change by ``delta``, not 0, what is free from ``time`` on."""
        if self._forgotten is not None and time <= self._forgotten:
            self._base += delta
            return
        path: list[tuple[Node, int]] = []
        node = self._root
        while node.children is not None:
            index = bisect_right(node.keys, time, 1) - 1
            node.sums[index] += delta
            path.append((node, index))
            node = node.children[index]
        keys, sums = node.keys, node.sums
        index = bisect_left(keys, time)
        if index == len(keys) or keys[index] != time:
            keys.insert(index, time)
            sums.insert(index, delta)
            self._length += 1
        elif sums[index] != -delta:
            sums[index] += delta
        else:
            node.cut(index, index + 1)
            self._length -= 1
        self._settle(node, path)

    def _settle(self, node: Node, path: list[tuple[Node, int]]) -> None:
        """Make true what the nodes of ``path`` know of their children, of which only the sums are, up from ``node``."""
        while path:
            parent, index = path.pop()
            count = len(node.keys)
            if not count:
                parent.cut(index, index + 1)
                node = parent
                continue
            if count < self._least and len(parent.keys) > 1:
                index = max(index - 1, 0)
                node = parent.join(index)
            if len(node.keys) > self._fan_out:
                parent.split(index)
            else:
                parent.lows[index], parent.highs[index] = node.extremes()
            node = parent
        if len(node.keys) > self._fan_out:
            self._root = Node([node.keys[0]], [sum(node.sums)], [node])
            self._root.split(0)
        while node.children is not None and len(node.keys) < 2:
            node = self._root = node.children[0] if node.children else Node([], [])

    def _changes(self, start: int, amount: int | None = None) -> Iterator[tuple[int, int]]:
        """What is free at ``start``, and at each change after it.

        Where one node's changes all leave ``amount``, or all do not, they are told as one, of the least free there.
        """
        yield start, self.at(start)
        stack = [(self._base, *self._root.extremes(), self._root)] if self._root.keys else []
        while stack:
            before, low, high, node = stack.pop()
            if amount is not None and (before + low >= amount or before + high < amount):
                # Where it reaches back to `start`, that is like the rest of it.
                if (first := node.first()) > start:
                    yield first, before + low
                continue
            befores = accumulate(node.sums, initial=before)
            if node.children is None:
                index = bisect_right(node.keys, start)
                yield from zip(node.keys[index:], islice(befores, index + 1, None), strict=True)
            else:
                index = bisect_right(node.keys, start, 1) - 1
                below = list(zip(befores, node.lows, node.highs, node.children, strict=False))
                stack += reversed(below[index:])

    def _check_known(self, time: int) -> None:
        _check_time(time)
        if self._forgotten is not None and time < self._forgotten:
            raise ValueError(f"what was free at {time} is forgotten; the calendar begins at {self._forgotten}")


def _lowest_from(node: Node, start: int, before: int, low: int) -> int:
    """The lesser of ``low`` and the least from ``start`` on below ``node``; ``before`` is free ahead of the node."""
    while node.children is not None:
        index = bisect_right(node.keys, start, 1) - 1
        levels = list(accumulate(node.sums[index:], initial=before + sum(node.sums[:index])))
        before = levels[0]
        low = min(low, min(map(add, levels[1:], node.lows[index + 1 :]), default=low))
        node = node.children[index]
    index = bisect_right(node.keys, start)
    return min(low, min(accumulate(node.sums[index:], initial=before + sum(node.sums[:index]))))


def _lowest_until(node: Node, until: float, before: int, low: int) -> int:
    """The lesser of ``low`` and the least ahead of ``until`` below ``node``; ``before`` is free ahead of the node."""
    while node.children is not None:
        index = bisect_left(node.keys, until, 1) - 1
        levels = list(accumulate(node.sums[:index], initial=before))
        before = levels[-1]
        low = min(low, min(map(add, levels, node.lows[:index]), default=low))
        node = node.children[index]
    return min(low, min(accumulate(node.sums[: bisect_left(node.keys, until)], initial=before)))


def _check_amount(amount: int) -> None:
    if not isinstance(amount, int):
        raise TypeError(f"an amount is an int, bit/s, not {amount!r}")


def _check_time(time: int) -> None:
    if not isinstance(time, int):
        raise TypeError(f"a time is an int, UNIX seconds, not {time!r}")


def _check_window(start: int, end: int | None) -> None:
    if not isinstance(start, int) or not (end is None or isinstance(end, int)):
        raise TypeError(f"a window is of int, UNIX seconds, not from {start!r} to {end!r}")
    if end is not None and end <= start:
        raise ValueError(f"a window from {start} to {end} is {'empty' if end == start else 'reversed'}")


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise ValueError(f"a limit of {limit} is less than 1")
