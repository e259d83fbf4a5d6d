"""What happened at this agent: a bounded log that can be read, waited for and followed."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from asa.views import Event, Events

_log = logging.getLogger("asa")

LONGEST_TEXT: Final = 300
ROUTINE: Final = ("reservation-", "capacity-")
"""Kinds of events that an agent at work has by the thousand."""


class EventLog:
    """Keeps the last ``most`` events; who reads too late is told how many were missed. Thread-safe."""

    def __init__(self, most: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=most)
        self._changed = threading.Condition()
        self._number = 0
        self._closed = False

    def tell(self, kind: str, message: str, **fields: Any) -> None:
        """Add an event, and a line to the log."""
        message = message[:LONGEST_TEXT]
        _log.log(logging.DEBUG if kind.startswith(ROUTINE) else logging.INFO, "%s: %s", kind, message)
        with self._changed:
            self._number += 1
            self._events.append(Event(self._number, round(self._clock(), 3), kind, message, fields))
            self._changed.notify_all()

    def after(self, number: int, limit: int, wait_s: float) -> Events:
        """The first events numbered above ``number``; waits until there is one, ``wait_s`` have passed, or the end."""
        with self._changed:
            if number > self._number:
                # Of an earlier life of the agent, whose numbers began at 1 too.
                number = 0
            self._changed.wait_for(lambda: self._number > number or self._closed, wait_s)
            first = self._events[0].number if self._events else self._number + 1
            skip = max(0, number + 1 - first)
            found = [self._events[index] for index in range(skip, min(len(self._events), skip + limit))]
            return Events(found, found[-1].number if found else number, max(0, first - number - 1))

    def close(self) -> None:
        """Wake who waits; nothing more will happen."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Complaints:
    """Counts what peers sent that was refused, so that it is told now and then, not each time: garbage must not
    fill the log. At most ``KINDS`` reasons between two tellings. Thread-safe."""

    KINDS: Final = 16

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        with self._lock:
            if reason in self._counts or len(self._counts) < self.KINDS:
                self._counts[reason[:LONGEST_TEXT]] += 1

    def tell(self, events: EventLog, kind: str) -> None:
        """What came since the last telling, the most frequent three."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        for reason, count in counts.most_common(3):
            events.tell(kind, f"{count} refused: {reason}", count=count)
