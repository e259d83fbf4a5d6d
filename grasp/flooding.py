"""Floods: the cache and the relaying (RFC 8990 §2.5.6.2, §2.8.11). No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from grasp.cbor import copied
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.discovery import Source
from grasp.limits import Limits
from grasp.rates import TokenBucket
from grasp.seen import SeenTable
from grasp.wire import Address, Flood, Locator, Objective, with_loop_count


@dataclass(frozen=True, slots=True)
class TaggedObjective:
    """A flooded objective and the locator it came with (RFC 8991 §2.3.2.6).

    ``interface`` is the index it was received on (0: flooded here), ``initiator`` its origin, ``expires``
    monotonic seconds or None for never.
    """

    objective: Objective
    locator: Locator | None = None
    interface: int = 0
    initiator: Address | None = None
    expires: float | None = None


class FloodCache:
    """The last flooded value of each objective and tag. Not thread-safe; the owner locks.

    At its bound the oldest entry of the initiator that has most makes room, so one babbling node
    displaces only its own.
    """

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.cached_floods
        self._entries: dict[tuple[str, Locator | None], TaggedObjective] = {}
        self._held: Counter[Address | None] = Counter()

    def store(self, now: float, flood: Flood, interface: int) -> list[TaggedObjective]:
        """Cache every objective of a flood; one with the same name and tag is overwritten."""
        expires = now + flood.ttl / 1000 if flood.ttl else None
        stored = []
        for entry in flood.entries:
            tagged = TaggedObjective(entry.objective, entry.locator, interface, flood.initiator, expires)
            self._put(now, tagged)
            stored.append(tagged)
        return stored

    def _put(self, now: float, tagged: TaggedObjective) -> None:
        key = (tagged.objective.name, tagged.locator)
        self._remove(key)
        if len(self._entries) >= self._limit:
            for each in [each for each, entry in self._entries.items() if _expired(entry, now)]:
                self._remove(each)
        if len(self._entries) >= self._limit:
            babbler = self._held.most_common(1)[0][0]
            self._remove(next(each for each, entry in self._entries.items() if entry.initiator == babbler))
        self._entries[key] = tagged
        self._held[tagged.initiator] += 1

    def _remove(self, key: tuple[str, Locator | None]) -> bool:
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._held[entry.initiator] -= 1
        if not self._held[entry.initiator]:
            del self._held[entry.initiator]
        return True

    def get(self, now: float, name: str | None = None) -> list[TaggedObjective]:
        """What is cached of one objective, or of all, and has not expired; the caller owns the values."""
        found = []
        for key, entry in list(self._entries.items()):
            if _expired(entry, now):
                self._remove(key)
            elif name is None or key[0] == name:
                objective = entry.objective
                found.append(replace(entry, objective=objective.with_value(copied(objective.value))))
        return found

    def expire(self, name: str, locator: Locator | None) -> bool:
        """Forget one entry; False if there is none."""
        return self._remove((name, locator))

    def __len__(self) -> int:
        return len(self._entries)


def _expired(entry: TaggedObjective, now: float) -> bool:
    return entry.expires is not None and entry.expires <= now


@dataclass(frozen=True, slots=True)
class FloodReaction:
    """Whether to cache it, and what to re-issue where (no interfaces: nothing)."""

    cache: bool
    data: bytes = b""
    interfaces: tuple[int, ...] = ()
    reason: str = ""


class FloodRules:
    """One node's part in everybody's floods. Not thread-safe; the owner locks. ``now`` is monotonic s."""

    def __init__(self, limits: Limits) -> None:
        self._rate = TokenBucket(limits.relay_rate, limits.relay_rate)
        lifetime = 2 * GRASP_DEF_TIMEOUT / 1000
        self._heard = SeenTable(limits.seen, lifetime)
        self._own = SeenTable(limits.seen, lifetime)
        # The relay rate times the lifetime stays below this table's bound, so no loop outlives its entry.
        self._relayed = SeenTable(limits.seen, lifetime)

    def own(self, now: float, session_id: int, initiator: Address) -> None:
        """A flood this node starts: when it comes back it is neither cached nor relayed."""
        self._own.add(now, (session_id, initiator))

    def received(
        self, now: float, flood: Flood, data: bytes, source: Source, interfaces: Sequence[int]
    ) -> FloodReaction:
        """A flood of someone else, with its bytes ``data``, and the node's GRASP interfaces."""
        loop_count = flood.entries[0].objective.loop_count
        # Read as the initiator: every IPv6 link-local multicast has a link-local IP source.
        if flood.initiator.is_link_local and loop_count != 1:
            return FloodReaction(False, reason="link-local initiator and loop count not 1")
        key = (flood.session_id, flood.initiator)
        if key in self._own or not self._heard.add(now, key):
            return FloodReaction(False, reason="heard already")
        others = tuple(index for index in interfaces if index != source.interface)
        if not others:
            return FloodReaction(True, reason="no other interface")
        if loop_count <= 1:
            return FloodReaction(True, reason="loop count exhausted")
        if key in self._relayed:
            return FloodReaction(True, reason="relayed already")
        if not self._rate.take(now):
            return FloodReaction(True, reason="relay rate exceeded")
        self._relayed.add(now, key)
        return FloodReaction(True, with_loop_count(data, loop_count - 1), others)
