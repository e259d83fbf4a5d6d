"""What is known of the other agents, and whom to ask next. No I/O.

Thread-safe: one lock, under which nothing else is taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import Final

from objectives import NodeId
from objectives.agent import Announcement

FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 300.0
MOST_INSTANCES: Final = 8
"""Of one name: a member can call itself by ever new ones, and takes the place of its own only."""
GOOD_S: Final = 600.0
"""A good peer is preferred so long after its last grant."""


@dataclass(slots=True)
class Peer:
    """One agent, as last heard. Times are monotonic seconds."""

    node: NodeId
    locator: str = ""
    sequence: int = -1
    state: str = "active"
    heard: float | None = None
    spare: dict[str, int] = field(default_factory=dict)
    seeds: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    failures: int = 0
    not_before: float = 0.0


class Peers:
    """``most`` peers are remembered; who was not heard for longest makes room. Those of whose name not ``gives`` is
    true are not asked for capacity."""

    def __init__(
        self, me: NodeId, rng: Random, most: int = 4_096, gives: Callable[[str], bool] = lambda name: True
    ) -> None:
        self._me = me
        self._rng = rng
        self._most = most
        self._gives = gives
        self._lock = threading.Lock()
        self._peers: dict[NodeId, Peer] = {}
        self._good: dict[str, tuple[NodeId, float]] = {}

    def remember(self, node: NodeId, locator: str) -> None:
        """A peer of an earlier life, not heard yet."""
        with self._lock:
            if node != self._me and node not in self._peers:
                self._make_room(node)
                self._peers[node] = Peer(node, locator)

    def heard(self, now: float, said: Announcement, locator: str) -> bool:
        """Take in what an agent floods of itself; True if it is new or somewhere else. An old flood changes nothing."""
        if said.node == self._me:
            return False
        with self._lock:
            peer = self._peers.get(said.node)
            if peer is None:
                self._make_room(said.node)
                peer = self._peers[said.node] = Peer(said.node)
            if said.sequence < peer.sequence:
                return False
            moved = peer.locator != locator or peer.state != said.state
            if said.sequence > peer.sequence:
                peer.spare, peer.seeds = {}, {}
            peer.locator, peer.sequence, peer.state, peer.heard = locator, said.sequence, said.state, now
            # An announcement may come in parts.
            peer.spare |= {each.name: each.spare for each in said.pools}
            peer.seeds |= {each.name: each.seeds for each in said.pools if each.seeds and said.state != "left"}
            return moved

    def replaced(self, now: float, node: NodeId, silent_s: float) -> list[NodeId]:
        """Forget other instances of a node's name at its address that were not heard for ``silent_s``; who they were.

        An agent that lost its state is a new instance, and the old one will never be heard again.
        """
        with self._lock:
            heard = self._peers.get(node)
            gone = [
                each.node
                for each in self._peers.values()
                if heard is not None
                and each.node.name == node.name
                and each.node != node
                and _address(each.locator) == _address(heard.locator)
                and (each.heard is None or each.heard + silent_s < now)
            ]
            for each in gone:
                del self._peers[each]
            return gone

    def _make_room(self, node: NodeId) -> None:
        namesakes = [each for each in self._peers if each.name == node.name]
        if len(namesakes) >= MOST_INSTANCES:
            del self._peers[min(namesakes, key=lambda each: self._peers[each].heard or 0.0)]
        elif len(self._peers) >= self._most:
            del self._peers[min(self._peers, key=lambda each: self._peers[each].heard or 0.0)]

    def forget(self, node: NodeId) -> None:
        with self._lock:
            self._peers.pop(node, None)

    def locator(self, node: NodeId) -> str | None:
        with self._lock:
            peer = self._peers.get(node)
            return peer.locator if peer is not None and peer.locator else None

    def named(self, name: str) -> list[NodeId]:
        with self._lock:
            return [each for each in self._peers if each.name == name]

    def namesakes(self, now: float, silent_s: float) -> list[NodeId]:
        """Agents with our name that are not us, heard within ``silent_s``: a mistake, or our own lost state."""
        with self._lock:
            return [
                each.node
                for each in self._peers.values()
                if each.node.name == self._me.name and each.heard is not None and each.heard + silent_s >= now
            ]

    def everyone(self) -> list[Peer]:
        """A copy of each, in order of node."""
        with self._lock:
            return [
                Peer(
                    each.node, each.locator, each.sequence, each.state, each.heard, dict(each.spare), dict(each.seeds),
                    each.failures, each.not_before,
                )
                for _, each in sorted(self._peers.items())
            ]  # fmt: skip

    def good(self, now: float, pool: str) -> NodeId | None:
        """Who granted capacity of this pool last (RFC 9222 App. C)."""
        with self._lock:
            return self._still_good(now, pool)

    def _still_good(self, now: float, pool: str) -> NodeId | None:
        found = self._good.get(pool)
        return found[0] if found is not None and found[1] + GOOD_S > now else None

    def granted(self, now: float, node: NodeId, pool: str, amount: int) -> None:
        """It gave: it is the good peer, and has so much less to spare until it says otherwise."""
        with self._lock:
            self._good[pool] = node, now
            peer = self._peers.get(node)
            if peer is not None:
                peer.failures, peer.not_before = 0, 0.0
                peer.spare[pool] = max(0, peer.spare.get(pool, 0) - amount)

    def declined(self, node: NodeId, pool: str, available: int) -> None:
        """It answered that it can spare no more than ``available``: it lives, but need not be asked first again."""
        with self._lock:
            if self._good.get(pool, (None,))[0] == node:
                del self._good[pool]
            peer = self._peers.get(node)
            if peer is not None:
                peer.failures, peer.not_before = 0, 0.0
                peer.spare[pool] = available

    def failed(self, now: float, node: NodeId) -> None:
        """It could not be reached, or broke off: it is left alone for a while, twice as long each time, ± half."""
        with self._lock:
            for pool in [pool for pool, (good, _) in self._good.items() if good == node]:
                del self._good[pool]
            peer = self._peers.get(node)
            if peer is not None:
                peer.failures += 1
                pause = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(16, peer.failures - 1))
                peer.not_before = now + pause * self._rng.uniform(0.5, 1.5)

    def choose(
        self, now: float, pool: str, want: int, excluded: Collection[str], urgent: bool = False
    ) -> NodeId | None:
        """Whom to ask for ``want`` bit/s of a pool: the good peer, else by what they said they can spare, by chance.

        ``excluded`` are names. Chance keeps agents with the same knowledge from all asking the same peer. Who failed is
        left alone for a while, unless it is ``urgent`` and nobody else is left.
        """
        with self._lock:
            able = [
                each
                for each in self._peers.values()
                if each.state == "active"
                and each.locator
                and each.node.name not in excluded
                and self._gives(each.node.name)
            ]
            fit = [each for each in able if each.not_before <= now] or (able if urgent else [])
            if not fit:
                return None
            good = self._still_good(now, pool)
            for peer in fit:
                if peer.node == good and peer.spare.get(pool, want) > 0:
                    return peer.node
            enough = [each for each in fit if each.spare.get(pool, 0) >= want]
            if enough:
                # Of two by chance the richer: no herd, and no need to look at all.
                pair = [self._rng.choice(enough), self._rng.choice(enough)]
                return max(pair, key=lambda each: each.spare[pool]).node
            weights = [each.spare.get(pool, 0) + max(1, want // 100) for each in fit]
            return self._rng.choices(fit, weights)[0].node

    def anybody(self, failures: int) -> bool:
        """Whether an agent takes part with which fewer sessions in a row have failed."""
        with self._lock:
            return any(each.state == "active" and each.failures < failures for each in self._peers.values())

    def crowd(self) -> int:
        """How many other agents take part."""
        with self._lock:
            return sum(each.state == "active" for each in self._peers.values())

    def seeds(self, pool: str) -> list[tuple[int, int, str]]:
        """What origins say they seeded: low, high, origin."""
        with self._lock:
            return [
                (low, high, str(peer.node)) for peer in self._peers.values() for low, high in peer.seeds.get(pool, ())
            ]

    def pools(self) -> frozenset[str]:
        """Every pool an agent has spoken of."""
        with self._lock:
            return frozenset(name for peer in self._peers.values() for name in (*peer.spare, *peer.seeds))

    def spare(self, pool: str) -> int:
        """bit/s all peers that can be asked said they could spare."""
        with self._lock:
            return sum(
                each.spare.get(pool, 0)
                for each in self._peers.values()
                if each.state == "active" and self._gives(each.node.name)
            )


def _address(locator: str) -> str:
    return locator.rpartition(":")[0]
