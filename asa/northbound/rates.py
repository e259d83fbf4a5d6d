"""How often and how many: requests of a principal in a second, connections and threads of one at a time."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from asa.northbound.limits import MAX_COUNTED

Waiting = TypeVar("Waiting")


class Buckets:
    """``rate`` a second for each name, and one second's worth at once. For any thread."""

    def __init__(self, rate: float, most: int = MAX_COUNTED) -> None:
        """Of more than ``most`` names, those that were silent longest are forgotten, and begin anew."""
        self._rate = rate
        self._most = most
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left of each, and when (s) that was."""

    def take(self, name: str, now: float) -> float:
        """0 if it may, which counts; otherwise in how many seconds it may."""
        with self._lock:
            left = self._now(name, now)
            wait = max(0.0, (1 - left) / self._rate)
            self._left[name] = (left if wait else left - 1, now)
            self._left.move_to_end(name)
            if len(self._left) > self._most:
                self._left.popitem(last=False)
            return wait

    def _now(self, name: str, now: float) -> float:
        full = max(1.0, self._rate)
        left, at = self._left.get(name, (full, now))
        return min(full, left + max(0.0, now - at) * self._rate)


class Doors:
    """At most ``most`` connections of each name at a time, and ``in_all`` of all. For any thread."""

    def __init__(self, most: int, in_all: int) -> None:
        self._most = most
        self._in_all = in_all
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()
        self._all = 0

    def enter(self, name: str) -> bool:
        """Whether there is room for one more, which is taken."""
        with self._lock:
            if self._open[name] >= self._most or self._all >= self._in_all:
                if not self._open[name]:
                    del self._open[name]
                return False
            self._open[name] += 1
            self._all += 1
            return True

    def leave(self, name: str) -> None:
        """Give the room back."""
        with self._lock:
            self._all -= 1
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]


class Place:
    """What one connection has of :class:`Places`."""

    __slots__ = ("dropped", "name", "principal")

    def __init__(self, name: str) -> None:
        self.name = name
        """The address it is counted by."""
        self.principal: str | None = None
        """Who it is from; None: a stranger's."""
        self.dropped = False
        """Whether it has made room for another."""


Held = TypeVar("Held", bound=Place)


class Places(Generic[Held]):
    """Connections of strangers, and of who is known: neither kind takes a place of the other. For any thread.

    There is always room for one more stranger: at a bound the oldest makes it, of the same name, or of the name that
    has the most.
    """

    def __init__(self, of_one: int, strangers: int, known_of_one: int, known: int) -> None:
        """At most so many strangers of a name and in all, and so many connections of a principal and in all."""
        self._of_one = of_one
        self._most = strangers
        self._known = Doors(known_of_one, known)
        self._lock = threading.Lock()
        self._strangers: dict[str, OrderedDict[Held, None]] = {}
        self._count = 0

    def enter(self, place: Held) -> Held | None:
        """One more stranger. Who has made room, and is to be closed."""
        with self._lock:
            return self._add(place)

    def know(self, place: Held, principal: str) -> None:
        """It is no stranger's; beyond the bounds of those who are known it stays one."""
        with self._lock:
            if place.principal is None and not place.dropped and self._known.enter(principal):
                self._remove(place)
                place.principal = principal

    def doubt(self, place: Held) -> Held | None:
        """It is a stranger's, the newest. Who has made room."""
        with self._lock:
            if place.principal is None:
                return None
            self._known.leave(place.principal)
            place.principal = None
            return self._add(place)

    def leave(self, place: Held) -> None:
        """Give the place back; repeatable."""
        with self._lock:
            if place.principal is not None:
                self._known.leave(place.principal)
                place.principal = None
            else:
                self._remove(place)

    def _add(self, place: Held) -> Held | None:
        name, oldest = place.name, None
        if len(self._strangers.get(name, ())) >= self._of_one:
            oldest = next(iter(self._strangers[name]))
        elif self._count >= self._most:
            crowd = max(self._strangers, key=lambda each: len(self._strangers[each]))
            oldest = next(iter(self._strangers[crowd]))
        if oldest is not None:
            oldest.dropped = True
            self._remove(oldest)
        self._strangers.setdefault(name, OrderedDict())[place] = None
        self._count += 1
        return oldest

    def _remove(self, place: Held) -> None:
        its = self._strangers.get(place.name)
        if its is not None and place in its:
            del its[place]
            self._count -= 1
            if not its:
                del self._strangers[place.name]


class Turns(Generic[Waiting]):
    """At most ``most`` of each name have their turn at a time; the others wait for theirs, in order. For any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._waiting: dict[str, deque[Waiting]] = {}

    def take(self, name: str, waiting: Waiting) -> bool:
        """Whether it is its turn; otherwise it waits, and some :meth:`give` returns it."""
        with self._lock:
            if self._busy[name] < self._most:
                self._busy[name] += 1
                return True
            self._waiting.setdefault(name, deque()).append(waiting)
            return False

    def give(self, name: str) -> Waiting | None:
        """End a turn. Whose turn it is instead."""
        with self._lock:
            if (waiting := self._waiting.get(name)) is not None:
                following = waiting.popleft()
                if not waiting:
                    del self._waiting[name]
                return following
            self._busy[name] -= 1
            if not self._busy[name]:
                del self._busy[name]
            return None

    def forget(self, name: str, which: Callable[[Waiting], bool]) -> list[Waiting]:
        """Those that wait no longer."""
        with self._lock:
            found = [each for each in self._waiting.get(name, ()) if which(each)]
            for each in found:
                self._waiting[name].remove(each)
            if found and not self._waiting[name]:
                del self._waiting[name]
            return found

    def everybody(self) -> list[Waiting]:
        """All that wait, whose turn it is at once."""
        with self._lock:
            found = [each for waiting in self._waiting.values() for each in waiting]
            for name, waiting in self._waiting.items():
                self._busy[name] += len(waiting)
            self._waiting.clear()
            return found
