"""The back end of a node that only keeps the books: what it was told is what it reads back, and packets are left alone.
No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from asa.dataplane.backend import Abilities, Counters, Found, Reading
from asa.dataplane.plan import Action, Key, Line, Plan

NOTE: Final = "no effect: what packets shall get is written down only, and nothing is counted"


class Record:
    """See :class:`~asa.dataplane.backend.Backend`; it can do everything, to no effect."""

    name = "record"

    def __init__(self) -> None:
        self._plan = Plan()
        self._groups: dict[Key, int] = {}
        self._last = 0

    def probe(self, lines: Sequence[Line]) -> Abilities:
        return Abilities(actions=frozenset(Action), notes=(NOTE,))

    def apply(self, plan: Plan) -> Mapping[Key, str]:
        kept = {key: group for key, group in self._groups.items() if key in plan.entries}
        for key, entry in plan.entries.items():
            if entry.share is not None and key not in kept:
                self._last += 1
                kept[key] = self._last
        self._plan, self._groups = plan, kept
        return {}

    def read(self, keys: Collection[Key] | None = None) -> Reading:
        entries = self._plan.entries
        asked = entries.values() if keys is None else [entries[key] for key in keys if key in entries]
        names = {each.name for each in self._plan.lines} if keys is None else {each.line for each in asked}
        found = {
            (each.line, each.action, match): Found(
                self._groups.get(each.key, 0), each.share, each.dscp, each.expires, each.through, each.output
            )
            for each in asked
            for match in each.matches
        }
        return Reading(dict.fromkeys(sorted(names), ""), found)

    def count(self) -> Mapping[Key, Counters]:
        return {}

    def clear(self) -> None:
        self._plan, self._groups = Plan(), {}

    def close(self) -> None:
        pass
