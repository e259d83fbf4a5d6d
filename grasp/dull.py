"""DULL: the insecure instance of GRASP for what comes before security (RFC 8990 §2.5.2). Times are milliseconds.

It finds neighbours on one link with whom no key is shared yet, such as candidates for an ACP (RFC 8994 §6.4).
What it finds has to prove itself by other means. :class:`~grasp.onlink.DullRules` judges what is received.
:class:`Dull` sends M_DISCOVERY and M_FLOOD with a loop count of 1, M_RESPONSE when asked, and nothing else.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address
from itertools import product
from typing import Final

from grasp.cbor import copied
from grasp.constants import F_SYNCH, GRASP_DEF_TIMEOUT, IPPROTO_TCP
from grasp.core.channel import Channel
from grasp.core.shared import milliseconds
from grasp.core.tasks import TaskPool
from grasp.discovery import MS_PER_LOOP, Ignore, Source
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.flooding import TaggedObjective
from grasp.limits import Limits
from grasp.locators import Discovered
from grasp.onlink import DULL_LIMITS, LOOP_COUNT, DullRules, Question, on_link
from grasp.rates import backoff
from grasp.transport import Connection, Interface
from grasp.transport.plain import PlainSubstrate
from grasp.wire import Flood, FloodEntry, IPv6Locator, Locator, Objective, Response
from grasp.wire.codec import decode_message, encode_message

_UNSPECIFIED: Final = IPv6Address("::")
_INTERVAL_S: Final = MS_PER_LOOP * LOOP_COUNT / 1000


class _Ear:
    """What the substrate calls (:class:`~grasp.transport.Receiver`).

    ``changed`` has the only lock; it is never held while something is sent or received, or a handler runs.
    """

    def __init__(self, rules: DullRules, substrate: PlainSubstrate, limits: Limits, tasks: TaskPool) -> None:
        self._rules = rules
        self._substrate = substrate
        self._limits = limits
        self._tasks = tasks
        self.changed: Final = threading.Condition()
        self.handlers: Final[list[tuple[str | None, Callable[[TaggedObjective], None]]]] = []
        self.counts: Final[Counter[str]] = Counter()

    def own(self) -> tuple[int, IPv6Address]:
        """The interface's index and link-local address, 0 and ``::`` while it cannot be used."""
        usable = ((each.index, each.link_local) for each in self._substrate.interfaces if each.link_local)
        return next(usable, (0, _UNSPECIFIED))

    def multicast_received(self, data: bytes, source: Source) -> None:
        try:
            message = decode_message(data)
        except WireError:
            self.counts["malformed message"] += 1
            return
        with self.changed:
            verdict = self._rules.multicast(time.monotonic(), message, source, self.own()[1])
            if isinstance(verdict, Ignore):
                self.counts[verdict.reason] += 1
            handlers = list(self.handlers)
            self.changed.notify_all()
        if isinstance(verdict, Response):
            self._substrate.reply(source, encode_message(verdict, self._limits.message_size))
        elif isinstance(verdict, list):
            for entry, (name, handler) in product(verdict, handlers):
                if name in (None, entry.objective.name):
                    objective = entry.objective.with_value(copied(entry.objective.value))
                    if not self._tasks.submit(partial(handler, replace(entry, objective=objective))):
                        self.counts["flood handler not called: too many tasks"] += 1

    def connected(self, connection: Connection) -> None:
        source = Source(connection.peer, connection.peer_port, connection.interface)
        reason = "source not link-local"
        try:
            if not self._rules.stranger(source):
                deadline = time.monotonic() + self._limits.first_message_ms / 1000
                message = Channel(connection, self._limits.message_size).receive(deadline)
                with self.changed:
                    verdict = self._rules.unicast(time.monotonic(), message, source)
                    reason = verdict.reason if isinstance(verdict, Ignore) else ""
                    self.changed.notify_all()
        except (OSError, WireError):
            reason = "connection without a valid message"
        finally:
            connection.close()
        if reason:
            self.counts[reason] += 1

    def interfaces_changed(self, gone: frozenset[int]) -> None:
        with self.changed:
            self._rules.gone(time.monotonic(), gone)

    def neighbour_up(self, interface: int) -> None: ...

    def upkeep(self, now: float) -> None: ...


class Dull:
    """One DULL instance on one interface. A context manager: starts on entry, stops on exit, for good.

    ``interface``: its name; it may be down or appear later, and change its address. ``objectives``: the names of
    all that may be spoken of; any other is refused with :class:`LocalError` ``notObj``, and discarded when heard.
    ``port``: UDP source and TCP port (§2.8.4), 0 for any free one. ``limits``: ``DULL_LIMITS`` unless given.

    Calls may come from any thread. They raise :class:`LocalError` ``stopped`` while it is not running.
    """

    def __init__(
        self, interface: str, objectives: Iterable[str], *,
        port: int = 0, limits: Limits | None = None, name: str = "dull",
    ) -> None:  # fmt: skip
        names = list(objectives)
        if type(interface) is not str or isinstance(objectives, str) or {str} != {type(each) for each in names}:
            raise LocalError(ErrorCode.badArgument, "DULL needs the name of one interface and a list of objectives'")
        self._limits = limits or DULL_LIMITS
        self._substrate = PlainSubstrate([interface], link_local_only=True, port=port, limits=self._limits, name=name)
        self._rules = DullRules(names, self._limits)
        self._tasks = TaskPool(self._limits.task_threads, self._limits.tasks, f"{name}-task")
        self._ear = _Ear(self._rules, self._substrate, self._limits, self._tasks)
        self._state = "new"

    def start(self) -> Dull:
        """Raises :class:`LocalError` ``noSocket``; ``stopped`` if it was started before."""
        if self._state != "new":
            raise LocalError(ErrorCode.stopped, "a DULL instance starts once")
        self._substrate.start(self._ear)
        self._state = "running"
        return self

    def stop(self) -> None:
        """Blocked calls end with ``stopped``, threads and sockets are gone. Idempotent; final."""
        with self._ear.changed:
            self._state = "stopped"
            self._ear.changed.notify_all()
        self._substrate.stop()
        self._tasks.stop()

    def __enter__(self) -> Dull:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

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
        return dict(self._ear.counts)

    def _check(self, name: str | None = None) -> None:
        if self._state != "running":
            raise LocalError(ErrorCode.stopped, "start the DULL instance first")
        if name is not None and name not in self._rules.objectives:
            raise LocalError(ErrorCode.notObj, f"{name!r:.80} is none of this DULL instance's objectives")

    def flood(self, objective: Objective, ttl: int, locator: Locator | None = None) -> bool:
        """Tell the link, once, valid for ``ttl`` ms, 0 for ever; False if the interface cannot be used now.

        The loop count becomes 1 and F_SYNCH is set. ``locator``: link-local, ``::`` for the interface's own
        address. Raises :class:`LocalError` ``notObj``, ``notSynch``, ``invalidLoc`` (other locators), ``tooLong``.
        """
        self._check(objective.name)
        milliseconds(ttl, "ttl")
        if objective.negotiable:
            raise LocalError(ErrorCode.notSynch, objective.name)
        index, own = self._ear.own()
        if isinstance(locator, IPv6Locator) and locator.address == _UNSPECIFIED:
            locator = replace(locator, address=own)
        elif locator is not None and not on_link(locator):
            raise LocalError(ErrorCode.invalidLoc, f"{locator} is not link-local (RFC 8990 §2.5.2)")
        told = Objective(objective.name, objective.flags | F_SYNCH, LOOP_COUNT, objective.value)
        with self._ear.changed:
            session_id = self._rules.ids.new()
            self._rules.ids.release(session_id)
        message = Flood(session_id, own, ttl, (FloodEntry(told, locator),))
        return self._substrate.multicast(index, encode_message(message, self._limits.multicast_size))

    def floods(self, name: str | None = None) -> list[TaggedObjective]:
        """What neighbours have flooded and has not expired, of one objective or of all."""
        with self._ear.changed:
            self._check(name)
            return self._rules.floods.get(time.monotonic(), name)

    def wait_flood(self, name: str, timeout: int = GRASP_DEF_TIMEOUT) -> list[TaggedObjective]:
        """The same, as soon as there is something; an empty list after ``timeout`` ms."""
        with self._ear.changed:
            return self._ear.changed.wait_for(lambda: self.floods(name), milliseconds(timeout) / 1000)

    def on_flood(self, name: str | None, handler: Callable[[TaggedObjective], None]) -> None:
        """Call ``handler``, in another thread, for every flood of that objective, or of any, that arrives."""
        with self._ear.changed:
            self._check(name)
            self._ear.handlers.append((name, handler))

    def serve(self, name: str, locator_port: int, protocol: int = IPPROTO_TCP, ttl: int = GRASP_DEF_TIMEOUT) -> None:
        """Answer discoveries with our address, this port and protocol, for ``ttl`` ms; floods are better (§2.5.2)."""
        locator = IPv6Locator(_UNSPECIFIED, protocol, locator_port)
        if locator_port == 0:
            raise LocalError(ErrorCode.invalidLoc, "port 0 cannot be reached")
        milliseconds(ttl, "ttl")
        with self._ear.changed:
            self._check(name)
            self._rules.served[name] = locator, ttl

    def stop_serving(self, name: str) -> None:
        """Undo :meth:`serve`."""
        with self._ear.changed:
            self._check(name)
            self._rules.served.pop(name, None)

    def discover(self, name: str, timeout: int = 1000, count: int | None = 1, minimum_ttl: int = 1) -> list[Discovered]:
        """Neighbours that serve ``name``: as soon as ``count`` are known, or with None all that answer in time.

        ``timeout`` and ``minimum_ttl`` are as in :meth:`grasp.ASA.discover`; an empty list is no error.
        """
        deadline = time.monotonic() + milliseconds(timeout) / 1000
        milliseconds(minimum_ttl, "minimum_ttl")
        if count is not None and (type(count) is not int or count < 1):
            raise LocalError(ErrorCode.badArgument, f"count must be 1 or more, or None, not {count!r:.40}")
        question = Question(name)
        intervals = backoff(_INTERVAL_S, 10.0, secrets.SystemRandom().random)
        repeat = 0.0

        def enough() -> bool:
            self._check(name)
            return count is not None and len(self._rules.known(time.monotonic(), question)) >= count

        changed = self._ear.changed
        with changed:
            self._rules.locators.drop_below(time.monotonic(), name, minimum_ttl)
        try:
            while True:
                with changed:
                    done = changed.wait_for(enough, min(repeat, deadline) - time.monotonic())
                    if done or time.monotonic() >= deadline:
                        return self._rules.known(time.monotonic(), question)
                # Found one, wait for others; asked nobody, there is nothing to back off from.
                now = time.monotonic()
                asked = not question.found and self._ask(now, question)
                repeat = deadline if question.found else now + (next(intervals) if asked else _INTERVAL_S)
        finally:
            with changed:
                self._rules.forget(question)

    def _ask(self, now: float, question: Question) -> bool:
        """One M_DISCOVERY, if the interface can be used and ``Limits.discovery_rate`` allows it."""
        index, own = self._ear.own()
        with self._ear.changed:
            message = self._rules.ask(now, question, own)
        limit = self._limits.multicast_size
        return message is not None and self._substrate.multicast(index, encode_message(message, limit))
