"""What to do with a discovery and its responses (RFC 8990 §2.5.4, §2.8.4, §2.8.5). No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.limits import Limits
from grasp.locators import Discovered, LocatorCache
from grasp.member import Member
from grasp.rates import TokenBucket
from grasp.seen import SeenTable
from grasp.wire import Address, Discovery, Response, with_loop_count

MS_PER_LOOP: Final = 100
"""Suggested wait for responses, per loop count (§2.5.4.3)."""

_RELAY_MINIMUM_MS: Final = 1_000
"""A relay does not know its asker's timeout, so it forwards at least this long (§2.5.4.4)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a multicast came from: address, port, index of the interface it arrived on, and who sent it if known."""

    address: Address
    port: int
    interface: int
    member: Member | None = None
    """The neighbour whose link it came by; not necessarily who said it first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An ASA here supports it: respond with our own locators."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """It is known who supports it: respond with a Divert."""

    entries: tuple[Discovered, ...]


@dataclass(frozen=True, slots=True)
class Relay:
    """Re-issue ``data`` on the other interfaces."""

    data: bytes
    interfaces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to do; why not is for counters and the log."""

    reason: str


Reaction = Answer | Redirect | Relay | Ignore


@dataclass(frozen=True, slots=True)
class Asked:
    """A relayed discovery: who asked for which objective, and until when (monotonic s) it matters."""

    source: Source
    name: str
    expires: float


class DiscoveryRules:
    """One node's part in everybody's discoveries. Not thread-safe; the owner locks. ``now`` is monotonic s."""

    def __init__(self, limits: Limits, cache: LocatorCache) -> None:
        self._cache = cache
        self._limits = limits
        self._rate = TokenBucket(limits.relay_rate, limits.relay_rate)
        lifetime = 2 * GRASP_DEF_TIMEOUT / 1000
        self._answered = SeenTable(limits.seen, lifetime)
        # The relay rate times the lifetime stays below this table's bound, so no loop outlives its entry.
        self._relayed = SeenTable(limits.seen, lifetime)
        self._own = SeenTable(limits.seen, lifetime)
        self._asked: dict[tuple[int, Address], Asked] = {}

    def received(
        self,
        now: float,
        message: Discovery,
        data: bytes,
        source: Source,
        supported: bool,
        interfaces: Sequence[int],
    ) -> Reaction:
        """A discovery of someone else, with its bytes ``data``, and the node's GRASP interfaces."""
        key = (message.session_id, message.initiator)
        if supported:
            return self._once(now, key, source, Answer())
        name = message.objective.name
        known = self._cache.learnt_elsewhere(now, name, source.interface)
        if known:
            return self._once(now, key, source, Redirect(tuple(known)))
        if known is not None:
            return Ignore("the responder is on the asker's link")
        return self._relay(now, key, message, data, source, interfaces)

    def _once(self, now: float, key: tuple[int, Address], source: Source, reaction: Reaction) -> Reaction:
        if self._answered.add(now, (key, source.address)):
            return reaction
        return Ignore("answered already")

    def _relay(
        self,
        now: float,
        key: tuple[int, Address],
        message: Discovery,
        data: bytes,
        source: Source,
        interfaces: Sequence[int],
    ) -> Reaction:
        others = tuple(index for index in interfaces if index != source.interface)
        if not others:
            return Ignore("no other interface")
        loop_count = message.objective.loop_count - 1
        if loop_count <= 0:
            return Ignore("loop count exhausted")
        if key in self._relayed or key in self._own:
            return Ignore("relayed already")
        if not self._rate.take(now):
            return Ignore("relay rate exceeded")
        self._relayed.add(now, key)
        self._expire(now)
        wait = max(_RELAY_MINIMUM_MS, MS_PER_LOOP * loop_count) / 1000
        self._asked[key] = Asked(source, message.objective.name, now + wait)
        return Relay(with_loop_count(data, loop_count), others)

    def _expire(self, now: float) -> None:
        # Every entry waits at least the minimum and at most 25.5 s, at no more than the relay rate.
        for key in [key for key, asked in self._asked.items() if asked.expires <= now]:
            del self._asked[key]

    def own(self, now: float, session_id: int, initiator: Address) -> None:
        """A discovery this node starts: when it comes back it is not relayed."""
        self._own.add(now, (session_id, initiator))

    def asker(self, now: float, response: Response) -> Asked | None:
        """Whose relayed discovery ``response`` answers; None if nobody's or too late."""
        asked = self._asked.get((response.session_id, response.initiator))
        return asked if asked is not None and asked.expires > now else None
