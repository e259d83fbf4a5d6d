"""DULL: the insecure instance of GRASP for what comes before security (RFC 8990 §2.5.2). Times are milliseconds.

It finds neighbours on one link that no key is shared with yet, such as candidates for an ACP (RFC 8994 §6.4) or
a join proxy (RFC 8995 §4.1). Nothing it tells is authenticated: what it finds has to prove itself by other means.

:class:`DullRules` judges what is received and does no I/O; :class:`Dull` is the instance. There is no way to make
it send anything but M_DISCOVERY and M_FLOOD with a loop count of 1, and M_RESPONSE when asked.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from grasp.cbor import copied
from grasp.constants import F_DISC, F_SYNCH, GRASP_DEF_TIMEOUT, IPPROTO_TCP
from grasp.core.channel import Channel
from grasp.core.shared import milliseconds
from grasp.core.tasks import TaskPool
from grasp.discovery import MS_PER_LOOP, Ignore, Source
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.flooding import FloodCache, TaggedObjective
from grasp.limits import Limits
from grasp.locators import Discovered, LocatorCache
from grasp.rates import TokenBucket, backoff
from grasp.seen import SeenTable
from grasp.session import SessionIds
from grasp.transport import Connection, Interface
from grasp.transport.plain import PlainSubstrate
from grasp.wire import (
    Discovery,
    Flood,
    FloodEntry,
    IPv6Locator,
    Locator,
    Message,
    Objective,
    Response,
    decode_message,
    encode_message,
)

LOOP_COUNT: Final = 1
"""Of every message, both ways (§2.5.2)."""

DULL_LIMITS: Final = Limits(
    sessions=32, sessions_per_peer=8, workers=8, backlog=32, tasks=64, task_threads=1,
    cached_floods=256, seen=4_096, relay_rate=20, recent_session_ids=256,
)  # fmt: skip
"""The bounds unless others are given: one link, where anybody may be hostile. ``relay_rate`` bounds answers here."""

_LINK_LOCAL: Final = IPv6Network("fe80::/10")
_UNSPECIFIED: Final = IPv6Address("::")
_LONGEST_INTERVAL_S: Final = 10.0

FloodHandler = Callable[[TaggedObjective], None]


@dataclass(frozen=True, slots=True)
class Stored:
    """A flood that is cached now."""

    entries: tuple[TaggedObjective, ...]


@dataclass(slots=True)
class Question:
    """What a discovery of this instance has found; ``session_ids`` are those it was sent with."""

    name: str
    session_ids: list[int] = field(default_factory=list)
    found: dict[IPv6Locator, Discovered] = field(default_factory=dict)


class DullRules:
    """What DULL does with a message. Not thread-safe; the owner locks. ``now`` is monotonic seconds.

    :class:`~grasp.discovery.Ignore` stands for a silent discard, its reason is for counters. Nothing is relayed.
    """

    def __init__(self, objectives: Iterable[str], limits: Limits) -> None:
        self.objectives: Final = frozenset(objectives)
        self.floods: Final = FloodCache(limits)
        self.locators: Final = LocatorCache(limits)
        self._served: dict[str, tuple[IPv6Locator, int]] = {}
        self._questions: dict[int, tuple[Question, IPv6Address]] = {}
        self._answered = SeenTable(limits.seen, 2 * GRASP_DEF_TIMEOUT / 1000)
        self._rate = TokenBucket(limits.relay_rate, limits.relay_rate)

    def check(self, name: str) -> None:
        """Raises ``notObj`` for an objective that does not need this insecure mode."""
        if name not in self.objectives:
            raise LocalError(ErrorCode.notObj, f"{name!r:.80} is none of this DULL instance's objectives")

    def serve(self, locator: IPv6Locator, name: str, ttl: int) -> None:
        """Answer discoveries of ``name`` with port and protocol of ``locator``, valid for ``ttl`` ms."""
        self._served[name] = locator, ttl

    def stop_serving(self, name: str) -> bool:
        """False if it was not served."""
        return self._served.pop(name, None) is not None

    def stranger(self, source: Source) -> bool:
        """Whether a message from there is discarded unread: its source is not link-local."""
        return source.interface == 0 or source.address not in _LINK_LOCAL

    def _objection(self, message: Message, source: Source) -> str:
        """Why a message of any type is discarded; empty if nothing speaks against it yet."""
        if self.stranger(source):
            return "source not link-local"
        objectives = _objectives(message)
        if any(each.name not in self.objectives for each in objectives):
            return "foreign objective"
        if any(each.loop_count != LOOP_COUNT for each in objectives):
            return "loop count not 1"
        return ""

    def multicast(self, now: float, message: Message, source: Source, own: IPv6Address) -> Stored | Response | Ignore:
        """A multicast; ``own`` is the interface's link-local address, for a response to ``source`` (§2.5.2).

        A flood whose locator leads off the link is discarded too: usage is limited to link-local operations.
        """
        if reason := self._objection(message, source):
            return Ignore(reason)
        if isinstance(message, Flood):
            if not all(entry.locator is None or _on_link(entry.locator) for entry in message.entries):
                return Ignore("locator not link-local")
            return Stored(tuple(self.floods.store(now, message, source.interface)))
        if isinstance(message, Discovery):
            return self._answer(now, message, source, own)
        return Ignore("message type")

    def _answer(self, now: float, message: Discovery, source: Source, own: IPv6Address) -> Response | Ignore:
        """Exactly one link-local locator, never a Divert (§2.5.2; §2.9.5.1 note 1)."""
        served = self._served.get(message.objective.name)
        if served is None:
            return Ignore("not served")
        if message.session_id in self._questions:
            return Ignore("our own discovery")
        if (message.session_id, message.initiator, source.address) in self._answered:
            return Ignore("answered already")
        if not self._rate.take(now):
            return Ignore("answer rate exceeded")
        self._answered.add(now, (message.session_id, message.initiator, source.address))
        locator, ttl = served
        return Response(message.session_id, message.initiator, ttl, (replace(locator, address=own),))

    def ask(self, question: Question, session_id: int, own: IPv6Address) -> Discovery:
        """The M_DISCOVERY to send for ``question``."""
        question.session_ids.append(session_id)
        self._questions[session_id] = question, own
        return Discovery(session_id, own, Objective(question.name, F_DISC, LOOP_COUNT))

    def forget(self, question: Question) -> None:
        """Its responses are unsolicited from now on."""
        for session_id in question.session_ids:
            self._questions.pop(session_id, None)

    def unicast(self, now: float, message: Message, source: Source) -> Question | Ignore:
        """A message by TCP: only the response to a question is welcome, with link-local locators (§2.5.2)."""
        if reason := self._objection(message, source):
            return Ignore(reason)
        if not isinstance(message, Response):
            return Ignore("message type")
        question, initiator = self._questions.get(message.session_id, (None, None))
        if question is None or message.initiator != initiator:
            return Ignore("unsolicited response")
        if message.objective is not None and message.objective.name != question.name:
            return Ignore("response about another objective")
        if message.diverted:
            return Ignore("response with Divert")
        if not all(_on_link(each) and each.port for each in message.locators):
            return Ignore("locator not link-local")
        learnt = self.locators.add(now, question.name, message.locators, source.interface, message.ttl, False)
        question.found.update((each.locator, each) for each in learnt if isinstance(each.locator, IPv6Locator))
        return question

    def gone(self, now: float, interface: int) -> None:
        """The interface is gone: its neighbours, and what they said, may be others when it comes back."""
        self.locators.forget_interface(interface)
        for entry in self.floods.get(now):
            if entry.interface == interface:
                self.floods.expire(entry.objective.name, entry.locator)


def _objectives(message: Message) -> tuple[Objective, ...]:
    if isinstance(message, Flood):
        return tuple(entry.objective for entry in message.entries)
    objective: Objective | None = getattr(message, "objective", None)
    return () if objective is None else (objective,)


def _on_link(locator: Locator) -> bool:
    return isinstance(locator, IPv6Locator) and locator.address in _LINK_LOCAL


class Dull:
    """One DULL instance on one interface. A context manager: starts on entry, stops on exit, for good.

    ``interface``: its name; it may be down or appear later, and change its address. ``objectives``: the names of
    all that may be spoken of; any other is refused with :class:`LocalError` ``notObj``, and discarded when heard.
    ``port``: UDP source and TCP port (§2.8.4), 0 for any free one. ``limits``: :data:`DULL_LIMITS` unless given.

    Calls may come from any thread. They raise :class:`LocalError` ``stopped`` while it is not running.
    """

    def __init__(
        self,
        interface: str,
        objectives: Iterable[str],
        *,
        port: int = 0,
        limits: Limits | None = None,
        name: str = "dull",
    ) -> None:
        names = [objectives] if isinstance(objectives, str | bytes) else list(objectives)
        if isinstance(objectives, str | bytes) or not names or not all(type(each) is str for each in names):
            raise LocalError(ErrorCode.badArgument, "objectives must be one or more names, in a list")
        if type(interface) is not str or not interface:
            raise LocalError(ErrorCode.badArgument, "DULL needs the name of one interface (RFC 8990 §2.5.2)")
        self._limits = limits or DULL_LIMITS
        self._substrate = PlainSubstrate([interface], port=port, limits=self._limits, name=name)
        self._rules = DullRules(names, self._limits)
        self._ids = SessionIds(self._limits.recent_session_ids, lambda: secrets.randbits(32))
        rate = self._limits.discovery_rate
        self._pace = {each: TokenBucket(rate, rate) for each in self._rules.objectives}
        self._tasks = TaskPool(self._limits.task_threads, self._limits.tasks, f"{name}-task")
        # The only lock; never held while something is sent or received, or a handler runs.
        self._changed = threading.Condition(threading.Lock())
        self._handlers: list[tuple[str | None, FloodHandler]] = []
        self._counts: Counter[str] = Counter()
        self._state = "new"

    # -- life

    def start(self) -> Dull:
        """Raises :class:`LocalError` ``noSocket``; ``stopped`` if it was started before."""
        with self._changed:
            if self._state != "new":
                raise LocalError(ErrorCode.stopped, "a DULL instance starts once")
            self._state = "running"
        try:
            self._substrate.start(_Ear(self))
        except BaseException:
            self._state = "new"
            raise
        return self

    def stop(self) -> None:
        """Blocked calls end with ``stopped``, threads and sockets are gone. Idempotent."""
        with self._changed:
            if self._state != "running":
                return
            self._state = "stopped"
            self._changed.notify_all()
        self._substrate.stop()
        self._tasks.stop()

    def __enter__(self) -> Dull:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._state == "running"

    @property
    def port(self) -> int:
        return self._substrate.port

    @property
    def interface(self) -> Interface | None:
        """The interface as it is now; None while it cannot be used."""
        return next(iter(self._substrate.interfaces), None)

    @property
    def discarded(self) -> dict[str, int]:
        """How many messages were discarded, by reason."""
        return dict(self._counts)

    def _check(self, name: str | None = None) -> None:
        if self._state != "running":
            raise LocalError(ErrorCode.stopped, "start the DULL instance first")
        if name is not None:
            self._rules.check(name)

    # -- floods

    def flood(self, objective: Objective, ttl: int, locator: Locator | None = None) -> bool:
        """Tell the link, once, valid for ``ttl`` ms, 0 for ever; False if the interface cannot be used now.

        The loop count becomes 1 and F_SYNCH is set. ``locator``: link-local, ``::`` for the interface's own
        address. Repeat it at the objective's interval. Raises :class:`LocalError` ``notObj``, ``notSynch``,
        ``invalidLoc`` (any other locator), ``tooLong``.
        """
        self._check(objective.name)
        milliseconds(ttl, "ttl")
        if objective.negotiable:
            raise LocalError(ErrorCode.notSynch, objective.name)
        interface = self.interface
        own = interface.link_local if interface is not None else None
        if isinstance(locator, IPv6Locator) and locator.address == _UNSPECIFIED:
            locator = replace(locator, address=own or locator.address)
        elif locator is not None and not _on_link(locator):
            raise LocalError(ErrorCode.invalidLoc, f"{locator} is not link-local (RFC 8990 §2.5.2)")
        told = Objective(objective.name, objective.flags | F_SYNCH, LOOP_COUNT, objective.value)
        with self._changed:
            session_id = self._ids.new()
            self._ids.release(session_id)
        message = Flood(session_id, own or _UNSPECIFIED, ttl, (FloodEntry(told, locator),))
        data = encode_message(message, self._limits.multicast_size)
        return interface is not None and own is not None and self._substrate.multicast(interface.index, data)

    def floods(self, name: str | None = None) -> list[TaggedObjective]:
        """What neighbours have flooded and has not expired, of one objective or of all."""
        with self._changed:
            self._check(name)
            return self._rules.floods.get(time.monotonic(), name)

    def wait_flood(self, name: str, timeout: int = GRASP_DEF_TIMEOUT) -> list[TaggedObjective]:
        """The same, as soon as there is something; an empty list after ``timeout`` ms."""
        deadline = time.monotonic() + milliseconds(timeout) / 1000
        with self._changed:
            while True:
                self._check(name)
                now = time.monotonic()
                found = self._rules.floods.get(now, name)
                if found or now >= deadline:
                    return found
                self._changed.wait(deadline - now)

    def on_flood(self, name: str | None, handler: FloodHandler) -> None:
        """Call ``handler``, in another thread, for every flood of that objective, or of any, that arrives."""
        with self._changed:
            self._check(name)
            self._handlers.append((name, handler))

    # -- discovery

    def serve(self, name: str, locator_port: int, protocol: int = IPPROTO_TCP, ttl: int = GRASP_DEF_TIMEOUT) -> None:
        """Answer discoveries with the interface's link-local address, this port and protocol, for ``ttl`` ms.

        To flood is better (§2.5.2): it makes less traffic. Raises :class:`LocalError` ``notObj``, ``invalidLoc``.
        """
        locator = IPv6Locator(_UNSPECIFIED, protocol, locator_port)
        if locator_port == 0:
            raise LocalError(ErrorCode.invalidLoc, "port 0 cannot be reached")
        milliseconds(ttl, "ttl")
        with self._changed:
            self._check(name)
            self._rules.serve(locator, name, ttl)

    def stop_serving(self, name: str) -> None:
        """Undo :meth:`serve`; raises ``notObj`` if there was nothing to undo."""
        with self._changed:
            self._check(name)
            if not self._rules.stop_serving(name):
                raise LocalError(ErrorCode.notObj, f"{name!r:.80} is not served")

    def discover(
        self, name: str, timeout: int = 1_000, count: int | None = 1, *, minimum_ttl: int = 1
    ) -> list[Discovered]:
        """Neighbours that serve ``name``: as soon as ``count`` are known, or with None all that answer in time.

        ``timeout`` and ``minimum_ttl`` are as in :meth:`grasp.ASA.discover`; an empty list is no error.
        """
        deadline = time.monotonic() + milliseconds(timeout) / 1000
        milliseconds(minimum_ttl, "minimum_ttl")
        if count is not None and (type(count) is not int or count < 1):
            raise LocalError(ErrorCode.badArgument, f"count must be 1 or more, or None, not {count!r:.40}")
        question = Question(name)
        intervals = backoff(MS_PER_LOOP * LOOP_COUNT / 1000, _LONGEST_INTERVAL_S, secrets.SystemRandom().random)
        repeat = 0.0
        with self._changed:
            self._check(name)
            self._rules.locators.drop_below(time.monotonic(), name, minimum_ttl)
        try:
            while True:
                with self._changed:
                    self._check()
                    now = time.monotonic()
                    # An answer that lives shorter than this wait is an answer all the same.
                    found = self._rules.locators.get(now, name) or list(question.found.values())
                    if now >= deadline or (count is not None and len(found) >= count):
                        return found
                    due = now >= repeat and not question.found
                    if not due or not self._pace[name].take(now):
                        until = deadline if question.found else max(repeat, now + self._pace[name].delay(now))
                        self._changed.wait(max(0.001, min(deadline, until) - now))
                        continue
                # Without an interface there is no answer to back off from.
                repeat = now + (next(intervals) if self._ask(question) else MS_PER_LOOP / 1000)
        finally:
            with self._changed:
                self._rules.forget(question)
                for session_id in question.session_ids:
                    self._ids.release(session_id)

    def _ask(self, question: Question) -> bool:
        interface = self.interface
        if interface is None or interface.link_local is None:
            return False
        with self._changed:
            message = self._rules.ask(question, self._ids.new(), interface.link_local)
        return self._substrate.multicast(interface.index, encode_message(message, self._limits.multicast_size))


class _Ear:
    """Hears for a :class:`Dull` what its substrate receives (:class:`~grasp.transport.Receiver`)."""

    def __init__(self, dull: Dull) -> None:
        self._dull = dull

    ...
