"""Floods: sending, relaying and handing on (RFC 8990 §2.5.6.2; RFC 8991 §2.3.6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import Final

from grasp.calls import FloodItem
from grasp.cbor import as_received, copied
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.core.shared import Shared, milliseconds
from grasp.discovery import Source
from grasp.errors import ErrorCode, LocalError
from grasp.flooding import FloodCache, FloodRules, TaggedObjective
from grasp.transport import Interface
from grasp.wire import Address, Flood, FloodEntry, IPv6Locator, Locator, Objective, encode_message

_UNSPECIFIED: Final = IPv6Address("::")

FloodHandler = Callable[[TaggedObjective], None]


class Floods:
    """The flood cache and everything that feeds or reads it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._cache = FloodCache(shared.limits)
        self._rules = FloodRules(shared.limits)
        self._arrived = threading.Condition(shared.lock)
        self._handlers: list[tuple[int, str | None, FloodHandler]] = []

    def __len__(self) -> int:
        return len(self._cache)

    # -- from the network

    def received(self, message: Flood, data: bytes, source: Source) -> None:
        shared = self._shared
        interfaces = [each.index for each in shared.substrate.interfaces]
        now = time.monotonic()
        with shared.lock:
            reaction = self._rules.received(now, message, data, source, interfaces)
            if not reaction.cache:
                shared.counts[f"flood: {reaction.reason}"] += 1
        for index in reaction.interfaces:
            shared.substrate.multicast(index, reaction.data)
        if reaction.cache:
            self._store(now, message, source.interface)

    def _store(self, now: float, message: Flood, interface: int) -> None:
        with self._arrived:
            stored = self._cache.store(now, message, interface)
            wanted = [
                (handler, entry)
                for entry in stored
                for _, name, handler in self._handlers
                if name is None or name == entry.objective.name
            ]
            self._arrived.notify_all()
        for handler, entry in wanted:
            value = copied(entry.objective.value)
            own = TaggedObjective(
                entry.objective.with_value(value), entry.locator, entry.interface, entry.initiator, entry.expires
            )
            if not self._shared.tasks.submit(lambda handler=handler, own=own: handler(own)):  # type: ignore[misc]
                self._shared.counts["flood handler not called: too many tasks"] += 1

    # -- from the ASAs

    def flood(self, asa: int, ttl: int, items: Sequence[FloodItem]) -> int:
        """Returns the number of interfaces it was sent on."""
        shared = self._shared
        milliseconds(ttl, "ttl")
        if not items:
            raise LocalError(ErrorCode.badArgument, "a flood needs one objective or more")
        with shared.lock:
            shared.check_running()
            for item in items:
                registered = shared.registry.of(asa, item.objective.name)
                if item.objective.negotiable or registered.registration.objective.negotiable:
                    raise LocalError(ErrorCode.notSynch, item.objective.name)
                if item.objective.loop_count == 0:
                    raise LocalError(ErrorCode.loopExhausted, f"{item.objective.name}: a flood needs 1 or more")
            session_id = shared.ids.new()
            shared.ids.release(session_id)
        entries = [(_with_value(item.objective), item.locator) for item in items]
        locators = [item.locator for item in items]
        interfaces = shared.substrate.interfaces
        prepared = [
            (interface.index, *_message(session_id, initiator, ttl, entries, interface, shared.limits.multicast_size))
            for interface in interfaces
            if (initiator := shared.initiator(interface)) is not None
            and (interface.link_local is not None or not any(map(_is_unspecified, locators)))
        ]
        if not prepared:
            # What could not be sent must not be cached either.
            encode_message(_local(session_id, ttl, entries), shared.limits.multicast_size)
        now = time.monotonic()
        with shared.lock:
            for _, message, _ in prepared:
                self._rules.own(now, session_id, message.initiator)
        sent = sum(shared.substrate.multicast(index, data) for index, _, data in prepared)
        self._store(now, _local(session_id, ttl, entries), 0)
        return sent

    def get(self, asa: int, name: str | None) -> list[TaggedObjective]:
        with self._shared.lock:
            self._shared.check_running()
            self._shared.registry.check_asa(asa)
            return self._cache.get(time.monotonic(), name)

    def wait(self, asa: int, name: str, timeout: int) -> list[TaggedObjective]:
        """What is cached of ``name``, as soon as there is something."""
        deadline = time.monotonic() + (milliseconds(timeout) or GRASP_DEF_TIMEOUT) / 1000
        with self._arrived:
            while True:
                self._shared.check_running()
                self._shared.registry.check_asa(asa)
                now = time.monotonic()
                found = self._cache.get(now, name)
                if found or now >= deadline:
                    return found
                self._arrived.wait(deadline - now)

    def serve(self, asa: int, name: str | None, handler: FloodHandler) -> None:
        with self._shared.lock:
            self._shared.check_running()
            self._shared.registry.check_asa(asa)
            others = [each for each in self._handlers if each[:2] != (asa, name)]
            if len(others) >= self._shared.limits.objectives:
                raise LocalError(ErrorCode.objFull, f"{len(others)} flood handlers, the most allowed")
            self._handlers = [*others, (asa, name, handler)]

    def stop_serving(self, asa: int, name: str | None) -> None:
        with self._shared.lock:
            self._shared.registry.check_asa(asa)
            self._handlers = [each for each in self._handlers if each[:2] != (asa, name)]

    def expire(self, asa: int, name: str, locator: Locator | None) -> None:
        with self._shared.lock:
            self._shared.registry.check_asa(asa)
            if not self._cache.expire(name, locator):
                raise LocalError(ErrorCode.notObj, f"no flood of {name!r:.80} with this locator is cached")

    def abandon_asa(self, asa: int) -> None:
        with self._shared.lock:
            self._handlers = [each for each in self._handlers if each[0] != asa]

    def stop(self) -> None:
        with self._arrived:
            self._arrived.notify_all()


def _with_value(objective: Objective) -> Objective:
    return objective if objective.has_value else objective.with_value(None)


def _is_unspecified(locator: Locator | None) -> bool:
    return isinstance(locator, IPv6Locator) and locator.address == _UNSPECIFIED


def _local(session_id: int, ttl: int, items: Sequence[tuple[Objective, Locator | None]]) -> Flood:
    """The flood as this node caches it: the ASAs that share the node hear it too."""
    entries = [FloodEntry(objective.with_value(as_received(objective.value)), locator) for objective, locator in items]
    return Flood(session_id, _UNSPECIFIED, ttl, tuple(entries))


def _message(
    session_id: int,
    initiator: Address,
    ttl: int,
    items: Sequence[tuple[Objective, Locator | None]],
    interface: Interface,
    limit: int,
) -> tuple[Flood, bytes]:
    """The flood as it goes out on one interface.

    A locator ``::`` becomes the link's own address and keeps the flood on the link (RFC 8991 §2.3.6), as
    does an initiator without routed address (RFC 8990 §2.5.6.2).
    """
    local = [_is_unspecified(locator) for _, locator in items]
    on_link = initiator.is_link_local or any(local)
    entries = []
    for (objective, locator), is_local in zip(items, local, strict=True):
        if is_local and isinstance(locator, IPv6Locator) and interface.link_local is not None:
            locator = IPv6Locator(interface.link_local, locator.protocol, locator.port)
        entries.append(FloodEntry(objective.with_loop_count(1) if on_link else objective, locator))
    message = Flood(session_id, initiator, ttl, tuple(entries))
    return message, encode_message(message, limit)
