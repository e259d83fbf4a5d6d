"""Which agent serves which hosts, as the agents say by flooding. No I/O.

Thread-safe: one lock, under which nothing else is taken.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from asa.flows import Place
from objectives import NodeId
from objectives.reach import MAX_PREFIXES, Prefix, Reach

MOST: Final = 4_096
"""Agents whose prefixes are known; who was not heard for longest makes room."""


@dataclass(slots=True)
class _Known:
    sequence: int
    heard: float
    prefixes: set[Prefix]


class Map:
    """``me``'s own prefixes are not in it."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._lock = threading.Lock()
        self._agents: dict[NodeId, _Known] = {}
        self._owners: dict[Prefix, set[NodeId]] = {}
        self._lengths: Counter[tuple[int, int]] = Counter()
        """How many prefixes there are of an IP version and a length."""

    def heard(self, now: float, said: Reach) -> bool:
        """Take in what an agent floods; True if something is new. The parts of one sequence add up. ``now``:
        monotonic s."""
        if said.node == self._me:
            return False
        with self._lock:
            known = self._agents.get(said.node)
            if known is None:
                # An agent that lost its state is a new instance, and the old one will never be heard again.
                for old in [each for each in self._agents if each.name == said.node.name]:
                    self._drop(old)
                if len(self._agents) >= MOST:
                    self._drop(min(self._agents, key=lambda each: self._agents[each].heard))
                known = self._agents[said.node] = _Known(-1, now, set())
            if said.sequence < known.sequence:
                return False
            known.heard = now
            before = set(known.prefixes)
            earlier = sorted(known.prefixes, key=str) if said.sequence == known.sequence else []
            new = set([*earlier, *said.prefixes][:MAX_PREFIXES])
            known.sequence = said.sequence
            self._own(said.node, known.prefixes, new)
            known.prefixes = new
            return new != before

    def _own(self, node: NodeId, old: set[Prefix], new: set[Prefix]) -> None:
        for each in old - new:
            owners = self._owners[each]
            owners.discard(node)
            if not owners:
                del self._owners[each]
                self._lengths[each.version, each.prefixlen] -= 1
        for each in new - old:
            if each not in self._owners:
                self._owners[each] = set()
                self._lengths[each.version, each.prefixlen] += 1
            self._owners[each].add(node)

    def _drop(self, node: NodeId) -> None:
        known = self._agents.pop(node, None)
        if known is not None:
            self._own(node, known.prefixes, set())

    def forget(self, node: NodeId) -> None:
        with self._lock:
            self._drop(node)

    def of(self, node: NodeId) -> tuple[Prefix, ...]:
        """What an agent serves, as far as it said."""
        with self._lock:
            known = self._agents.get(node)
            return tuple(sorted(known.prefixes, key=str)) if known is not None else ()

    def serving(self, place: Place, longer: int = -1) -> NodeId | None:
        """Who serves all of a place, by its longest prefix that does; None of what is no network.

        ``longer``: only by prefixes longer than this. If several say so it is the last in order of name, so that all
        agents mean the same.
        """
        if not isinstance(place, Prefix):
            return None
        with self._lock:
            for length in range(place.prefixlen, longer, -1):
                if self._lengths[place.version, length]:
                    owners = self._owners.get(place.supernet(new_prefix=length))
                    if owners:
                        return max(owners)
        return None


def covers(prefix: Prefix, place: Place) -> bool:
    """Whether all of a place is within a prefix; what is no network never is."""
    return isinstance(place, Prefix) and place.version == prefix.version and place.subnet_of(prefix)  # type: ignore[arg-type]
