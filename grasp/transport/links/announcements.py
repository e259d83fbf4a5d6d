"""Announcements: how neighbours learn where each other listens (RFC 8990 §2.5.2, the pattern of RFC 8994 §6.4). No I/O.

An announcement is an M_FLOOD that never leaves its link. It proves nothing: who listens there proves itself by TLS.
``now`` is monotonic seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, Final

from grasp.constants import F_SYNCH, IPPROTO_TCP
from grasp.discovery import Ignore, Source
from grasp.errors import WireError
from grasp.limits import Limits
from grasp.onlink import DULL_LIMITS, LOOP_COUNT, DullRules
from grasp.rates import TokenBucket
from grasp.wire import Discovery, Flood, FloodEntry, IPv6Locator, Message, Objective, decode_message

NEIGHBOR: Final = "EX9.Neighbor"
"""The objective, where nobody names another: one of those for experiments (RFC 8990 §6)."""

METHOD: Final = "TLS"
TTL_MS: Final = 210_000
"""Two of three announcements may be lost (RFC 8994 §6.4)."""

_LONGEST_S: Final = 3_600.0
_PERIOD_S: Final = 60.0
_BURST_S: Final = (0.0, 1.0, 3.0, 7.0)
_ANSWER_S: Final = 2.0
_JITTER_S: Final = 0.2
_LISTENED: Final = 10
_OTHER_DULL: Final = frozenset({"AN_ACP", "AN_Proxy"})
_PLAIN: Final = 64
_PLAIN_S: Final = 600.0


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a node listens on a link. Of two nodes the one whose place is greater decides."""

    address: IPv6Address
    port: int


@dataclass(frozen=True, slots=True)
class Announced:
    """Somebody may listen at ``place``, for ``seconds`` from now."""

    place: Place
    seconds: float


def announcement(session_id: int, place: Place, objective: str) -> Flood:
    """What is told to the link."""
    told = Objective(objective, F_SYNCH, LOOP_COUNT, METHOD)
    locator = IPv6Locator(place.address, IPPROTO_TCP, place.port)
    return Flood(session_id, place.address, TTL_MS, (FloodEntry(told, locator),))


def announced(flood: Flood, address: object, objective: str) -> Announced | None:
    """Where the sender of ``flood``, who has ``address``, says it listens; None unless it may say so.

    Initiator and locator must be the sender itself: nobody directs us at somebody else (RFC 8994 §6.4).
    """
    if flood.initiator != address:
        return None
    seconds = flood.ttl / 1000 if flood.ttl else _LONGEST_S
    for entry in flood.entries:
        told, where = entry.objective, entry.locator
        if told.name != objective or told.loop_count != LOOP_COUNT or not told.synchronizable or told.negotiable:
            continue
        if not isinstance(where, IPv6Locator) or where.address != address or where.protocol != IPPROTO_TCP:
            continue
        if where.port and _method(told.value) == METHOD:
            return Announced(Place(where.address, where.port), min(seconds, _LONGEST_S))
    return None


def _method(value: Any) -> Any:
    """The method-name of an objective-value: alone, or first in an array, or first in the first array there."""
    for _ in range(2):
        if type(value) is list and value:
            value = value[0]
    return value


class Announcements:
    """What is heard on the multicast port. Not thread-safe; the owner locks."""

    def __init__(self, limits: Limits, objective: str, counts: Counter[str]) -> None:
        self._limits = limits
        self._objective = objective
        self._counts = counts
        # An instance with data of its own for each interface (§2.5.2).
        self._rules: dict[int, tuple[DullRules, TokenBucket]] = {}
        self._plain: dict[tuple[int, IPv6Address], float] = {}

    def heard(self, now: float, data: bytes, source: Source, own: Container[Place]) -> Announced | None:
        """Where somebody else may listen. Everything but that is discarded, counted, and never answered."""
        verdict = self._judged(now, data, source)
        if isinstance(verdict, Announced) and verdict.place not in own:
            return verdict
        if isinstance(verdict, str):
            self._counts[f"multicast: {verdict}"] += 1
        return None

    def _judged(self, now: float, data: bytes, source: Source) -> Announced | str:
        rules, rate = self._of(source.interface)
        if not rate.take(now):
            return "more than can be listened to"
        if rules.stranger(source) or not isinstance(source.address, IPv6Address):
            return "source not link-local"
        try:
            message = decode_message(data)
        except WireError:
            return "malformed message"
        found = rules.multicast(now, message, source, source.address)
        if not isinstance(found, Ignore) and isinstance(message, Flood):
            return announced(message, source.address, self._objective) or "announcement of somewhere else"
        if _foreign(message, self._objective):
            self._note(now, (source.interface, source.address))
            return "GRASP without security"
        return found.reason if isinstance(found, Ignore) else "message type"

    def _of(self, interface: int) -> tuple[DullRules, TokenBucket]:
        found = self._rules.get(interface)
        if found is None:
            # Judging one takes some 50 µs: what is above it costs nothing, and who babbles hides few others.
            rate = _LISTENED * self._limits.relay_rate
            bucket = TokenBucket(rate, rate)
            found = self._rules[interface] = DullRules([self._objective], DULL_LIMITS), bucket
        return found

    def _note(self, now: float, who: tuple[int, IPv6Address]) -> None:
        self._plain.pop(who, None)
        if len(self._plain) >= _PLAIN:
            del self._plain[next(iter(self._plain))]
        self._plain[who] = now

    def plain(self, now: float) -> list[tuple[int, IPv6Address, float]]:
        """Who speaks GRASP without security: interface, address, seconds since it was heard last."""
        return [(*who, now - then) for who, then in self._plain.items() if now - then < _PLAIN_S]

    def gone(self, interface: int) -> None:
        self._rules.pop(interface, None)
        for who in [who for who in self._plain if who[0] == interface]:
            del self._plain[who]


def _foreign(message: Message, objective: str) -> bool:
    """Whether it is what a plain node says by multicast, and no other DULL instance."""
    if isinstance(message, Flood):
        names = {entry.objective.name for entry in message.entries}
    elif isinstance(message, Discovery):
        names = {message.objective.name}
    else:
        return False
    return not names & (_OTHER_DULL | {objective})


class Schedule:
    """When to announce ourselves on one interface."""

    def __init__(self, now: float, random: Callable[[], float]) -> None:
        self._random = random
        self._said = now - _ANSWER_S
        self._next: list[float] = []
        self.begin(now)

    def begin(self, now: float) -> None:
        """The interface, or its address, is new: announce several times soon, as some are lost."""
        self._next = [now + after + self._random() * _JITTER_S for after in _BURST_S]

    def unknown(self, now: float) -> None:
        """Somebody was heard who may not know of us."""
        soon = max(now, self._said + _ANSWER_S) + self._random() * _JITTER_S
        if soon < self._next[0]:
            self._next.insert(0, soon)

    @property
    def next(self) -> float:
        return self._next[0]

    def due(self, now: float) -> bool:
        """Whether to announce now; if so it counts as done."""
        if now < self._next[0]:
            return False
        self._next = [each for each in self._next if each > now]
        if not self._next:
            self._next = [now + _PERIOD_S * (0.9 + self._random() / 5)]
        self._said = now
        return True
