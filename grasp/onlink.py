"""What DULL does with what it hears (RFC 8990 §2.5.2). No I/O.

Nothing heard is authenticated: it never leaves the link, and is at most where to look for a neighbour.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from grasp.constants import F_DISC, GRASP_DEF_TIMEOUT
from grasp.discovery import Ignore, Source
from grasp.flooding import FloodCache, TaggedObjective
from grasp.limits import Limits
from grasp.locators import Discovered, LocatorCache
from grasp.rates import TokenBucket
from grasp.seen import SeenTable
from grasp.session import SessionIds
from grasp.wire import Discovery, Flood, IPv6Locator, Locator, Message, Objective, Response

DULL_LIMITS: Final = Limits(
    sessions=32, sessions_per_peer=8, workers=8, backlog=32, tasks=64, task_threads=1,
    cached_floods=256, seen=4_096, relay_rate=20, recent_session_ids=256,
)  # fmt: skip
"""The bounds unless others are given: one link, where anybody may be hostile. ``relay_rate`` bounds answers here."""

LOOP_COUNT: Final = 1
_LINK_LOCAL: Final = IPv6Network("fe80::/10")


def on_link(locator: Locator) -> bool:
    """Whether it is a link-local address, the only kind DULL takes or gives."""
    return isinstance(locator, IPv6Locator) and locator.address in _LINK_LOCAL


@dataclass(slots=True)
class Question:
    """What a discovery of this instance has found; ``session_ids`` are those it was sent with."""

    name: str
    session_ids: list[int] = field(default_factory=list)
    found: dict[Locator, Discovered] = field(default_factory=dict)


class DullRules:
    """What DULL does with a message: :class:`Ignore` is a silent discard and says why, for counters.

    Not thread-safe; the owner locks. ``now`` is monotonic seconds.
    """

    def __init__(self, objectives: Iterable[str], limits: Limits) -> None:
        self.objectives: Final = frozenset(objectives)
        self.floods: Final = FloodCache(limits)
        self.locators: Final = LocatorCache(limits)
        #: Port and protocol (its address does not count) and ttl in ms of what discoveries are answered with.
        self.served: Final[dict[str, tuple[IPv6Locator, int]]] = {}
        self.ids: Final = SessionIds(limits.recent_session_ids, lambda: secrets.randbits(32))
        self._questions: dict[int, tuple[Question, IPv6Address]] = {}
        self._answered = SeenTable(limits.seen, 2 * GRASP_DEF_TIMEOUT / 1000)
        self._answers = TokenBucket(limits.relay_rate, limits.relay_rate)
        self._asking = {each: TokenBucket(limits.discovery_rate, limits.discovery_rate) for each in self.objectives}

    def stranger(self, source: Source) -> bool:
        """Whether a message from there is discarded unread: its source is not link-local."""
        return source.interface == 0 or source.address not in _LINK_LOCAL

    def _objection(self, message: Message, source: Source) -> str:
        """Why a message of any type is discarded; empty if nothing speaks against it yet."""
        if self.stranger(source):
            return "source not link-local"
        if isinstance(message, Flood):
            objectives = [entry.objective for entry in message.entries]
        else:
            objectives = [each] if (each := getattr(message, "objective", None)) is not None else []
        if any(each.name not in self.objectives for each in objectives):
            return "foreign objective"
        if any(each.loop_count != LOOP_COUNT for each in objectives):
            return "loop count not 1"
        return ""

    def multicast(
        self, now: float, message: Message, source: Source, own: IPv6Address
    ) -> list[TaggedObjective] | Response | Ignore:
        """A multicast: what of it is cached now, or the response to send; ``own`` is our link-local address.

        A flood whose locator leads off the link is discarded too: DULL is for link-local operations only.
        """
        if reason := self._objection(message, source):
            return Ignore(reason)
        if isinstance(message, Flood):
            if not all(entry.locator is None or on_link(entry.locator) for entry in message.entries):
                return Ignore("locator not link-local")
            return self.floods.store(now, message, source.interface)
        if not isinstance(message, Discovery):
            return Ignore("message type")
        # Answered with exactly one link-local locator, never a Divert (§2.5.2; §2.9.5.1 note 1).
        served = self.served.get(message.objective.name)
        if served is None or own not in _LINK_LOCAL:
            return Ignore("not served")
        if not self._answered.add(now, (message.session_id, message.initiator, source.address)):
            return Ignore("answered already")
        if not self._answers.take(now):
            return Ignore("answer rate exceeded")
        locator, ttl = served
        return Response(message.session_id, message.initiator, ttl, (replace(locator, address=own),))

    def ask(self, now: float, question: Question, own: IPv6Address) -> Discovery | None:
        """The M_DISCOVERY to send, each with another session ID (§2.5.4.3); None if it is too soon for it."""
        if own not in _LINK_LOCAL or not self._asking[question.name].take(now):
            return None
        session_id = self.ids.new()
        question.session_ids.append(session_id)
        self._questions[session_id] = question, own
        return Discovery(session_id, own, Objective(question.name, F_DISC, LOOP_COUNT))

    def known(self, now: float, question: Question) -> list[Discovered]:
        """What answers ``question``; an answer that lives shorter than the wait for it is one all the same."""
        return self.locators.get(now, question.name) or list(question.found.values())

    def forget(self, question: Question) -> None:
        """Its responses are unsolicited from now on."""
        for session_id in question.session_ids:
            del self._questions[session_id]
            self.ids.release(session_id)

    def unicast(self, now: float, message: Message, source: Source) -> Question | Ignore:
        """A message by TCP: only the response to a question is welcome, with link-local locators (§2.5.2)."""
        if reason := self._objection(message, source):
            return Ignore(reason)
        if not isinstance(message, Response):
            return Ignore("message type")
        question, initiator = self._questions.get(message.session_id, (None, None))
        about = None if message.objective is None else message.objective.name
        if question is None or message.initiator != initiator or about not in (None, question.name):
            return Ignore("unsolicited response")
        if message.diverted:
            return Ignore("response with Divert")
        if not all(on_link(each) and each.port for each in message.locators):
            return Ignore("locator not link-local")
        learnt = self.locators.add(now, question.name, message.locators, source.interface, message.ttl, False)
        question.found.update((each.locator, each) for each in learnt)
        return question

    def gone(self, now: float, interfaces: frozenset[int]) -> None:
        """An interface is gone: its neighbours, and what they said, may be others when it comes back."""
        for index in interfaces:
            self.locators.forget_interface(index)
        for entry in self.floods.get(now):
            if entry.interface in interfaces:
                self.floods.expire(entry.objective.name, entry.locator)
