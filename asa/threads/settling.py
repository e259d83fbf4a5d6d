"""What settlers have in common: conversations that are tried again, later each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from random import Random
from typing import Final

from asa.books import Books
from asa.events import EventLog
from asa.performer import Performer
from asa.steps import Party
from asa.threads.duty import Duty

LONGEST_S: Final = 600.0
GRACE_S: Final = 15.0
"""What was accepted so long ago has been closed at the other end, unless something went wrong."""


class Settling(Duty):
    """What failed is tried again after the policy's ``settle_interval``, doubled at each failure in a row."""

    limit = 300.0

    def __init__(
        self,
        party: Party,
        performer: Performer,
        books: Books,
        events: EventLog,
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._party = party
        self._performer = performer
        self._books = books
        self._events = events
        self._tries: dict[Hashable, int] = {}
        self._next: dict[Hashable, float] = {}
        self._said: set[bytes] = set()

    def _later(self, key: Hashable) -> None:
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        pause = min(LONGEST_S, self._party.params()["settle_interval"] * 2.0 ** min(tries - 1, 10))
        self._next[key] = time.monotonic() + pause * self._rng.uniform(0.5, 1.0)

    def _forget(self, key: Hashable) -> None:
        self._tries.pop(key, None)
        self._next.pop(key, None)
