"""Searching for peers: discovery as its initiator (RFC 8990 §2.5.4.3; RFC 8991 §2.3.4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from grasp.calls import Peer
from grasp.constants import F_DISC
from grasp.core.channel import Channel
from grasp.core.shared import Shared, milliseconds, peer_of
from grasp.discovery import MS_PER_LOOP, DiscoveryRules
from grasp.errors import ErrorCode, GraspError, LocalError, PeerError, WireError
from grasp.locators import Discovered
from grasp.rates import TokenBucket, backoff
from grasp.wire import (
    Address,
    Discovery,
    IPv4Locator,
    IPv6Locator,
    Locator,
    Message,
    Objective,
    Response,
    encode_message,
)

_LONGEST_INTERVAL_S: Final = 10.0
_RETRY_AFTER_S: Final = (0.0, 0.05, 0.5)
_REDISCOVERY_MS: Final = 1_000
_UNREACHED: Final = frozenset(
    {
        ErrorCode.sockErrNegRq,
        ErrorCode.sockErrSynRq,
        ErrorCode.noPeer,
        ErrorCode.noListener,
        ErrorCode.invalidLoc,
        ErrorCode.notMember,
    }
)
_HEARD: Final = frozenset({ErrorCode.noPeer, ErrorCode.noListener})

T = TypeVar("T")
Quick = tuple[int, Channel, Message]
"""Session ID, connection and first message of an answer in rapid mode."""


class _Search:
    """A discovery this node waits for, and the session IDs it has used."""

    def __init__(self, name: str, lock: threading.Lock) -> None:
        self.name = name
        self.session_ids: list[int] = []
        self.found: dict[tuple[Locator, int], Discovered] = {}
        self.quick: Quick | None = None
        self.wants_quick = False
        self.changed = threading.Condition(lock)


class Searches:
    """All discoveries that a core waits for."""

    def __init__(self, shared: Shared, rules: DiscoveryRules) -> None:
        self._shared = shared
        self._rules = rules
        self._active: set[_Search] = set()
        self._searches: dict[tuple[int, Address], _Search] = {}
        self._unanswered: dict[str, TokenBucket] = {}

    def discover(
        self,
        asa: int,
        objective: Objective,
        timeout: int,
        minimum_ttl: int,
        count: int | None,
        peer: Peer | None = None,
    ) -> list[Discovered]:
        """Locators known or found: as soon as there are ``count``, or all within ``timeout`` ms."""
        shared = self._shared
        deadline = time.monotonic() + milliseconds(timeout) / 1000
        milliseconds(minimum_ttl, "minimum_ttl")
        if count is not None and (type(count) is not int or count < 1):
            raise LocalError(ErrorCode.badArgument, f"count must be 1 or more, or None, not {count!r:.40}")
        with shared.lock:
            shared.check_running()
            shared.registry.check_asa(asa)
            shared.locators.drop_below(time.monotonic(), objective.name, minimum_ttl)
        if peer is not None:
            self._ask(objective, peer, deadline)
        known = self._known(asa, objective.name)
        if timeout == 0 or peer is not None or (count is not None and len(known) >= count):
            return known
        search = _Search(objective.name, shared.lock)
        search.found = {(each.locator, each.interface): each for each in known}
        self._run(search, objective, deadline, lambda: count is not None and len(search.found) >= count)
        return self._known(asa, objective.name) or list(search.found.values())

    def _known(self, asa: int, name: str) -> list[Discovered]:
        shared = self._shared
        with shared.lock:
            registered = shared.registry.discoverable(name, except_asa=asa)
            found = shared.locators.get(time.monotonic(), name)
        if registered is None:
            return found
        interface = next((each.index for each in shared.substrate.interfaces), 0)
        expires = time.monotonic() + registered.registration.ttl / 1000
        own = shared.own_locators(interface, registered.registration.local)
        return [Discovered(each, interface, expires, False) for each in own] + found

    def with_some_peer(
        self,
        asa: int,
        objective: Objective,
        deadline: float,
        attempt: Callable[[Peer], T],
        none_found: ErrorCode = ErrorCode.noDiscReply,
    ) -> T:
        """What ``attempt`` makes of the first peer that can be reached.

        A locator that cannot is forgotten; when none is left discovery is made again, after a pause.
        """
        failure: GraspError | None = None
        # Who took the request and closed may have acted on it: it is not sent there twice.
        heard: set[Locator] = set()
        for attempt_number, pause in enumerate(_RETRY_AFTER_S):
            if failure is not None and time.monotonic() + pause < deadline:
                time.sleep(pause)
            left = max(0, int((deadline - time.monotonic()) * 1000))
            again = attempt_number > 0
            timeout, minimum_ttl = (min(left, _REDISCOVERY_MS), 0) if again else (left, 1)
            for found in self.discover(asa, objective, timeout, minimum_ttl, 1, None):
                if found.locator in heard:
                    continue
                try:
                    return attempt(peer_of(found))
                except GraspError as error:
                    if error.code not in _UNREACHED:
                        raise
                    if error.code in _HEARD:
                        heard.add(found.locator)
                    failure = error
                    with self._shared.lock:
                        self._shared.locators.forget(objective.name, found.locator)
            if failure is None:
                raise PeerError(none_found, objective.name)
        assert failure is not None
        raise failure

    def rapid(self, asa: int, objective: Objective, deadline: float) -> Quick | None:
        """The first answer to a discovery that carries the request itself (§2.5.4.5); None if only
        ordinary responses came, or nothing within the first interval.

        The session ID stays in use if there is an answer.
        """
        shared = self._shared
        with shared.lock:
            shared.check_running()
            shared.registry.check_asa(asa)
        search = _Search(objective.name, shared.lock)
        search.wants_quick = True
        wait = time.monotonic() + MS_PER_LOOP * objective.loop_count / 1000
        try:
            self._run(search, objective, min(deadline, wait), lambda: bool(search.found or search.quick), rapid=True)
        except LocalError as error:
            # What does not fit into a multicast can still travel with a request.
            if error.code is not ErrorCode.tooLong:
                raise
        return search.quick

    def _run(
        self, search: _Search, objective: Objective, deadline: float, done: Callable[[], bool], rapid: bool = False
    ) -> None:
        shared = self._shared
        intervals = backoff(MS_PER_LOOP * max(1, objective.loop_count) / 1000, _LONGEST_INTERVAL_S, shared.jitter)
        try:
            while True:
                if self._pace(search, deadline):
                    self._send(search, objective, rapid)
                repeat = time.monotonic() + next(intervals)
                with shared.lock:
                    while not done():
                        shared.check_running()
                        now = time.monotonic()
                        until = deadline if search.found or rapid else min(repeat, deadline)
                        if now >= until:
                            break
                        search.changed.wait(until - now)
                if done() or time.monotonic() >= deadline:
                    return
        finally:
            with shared.lock:
                kept = search.quick[0] if search.quick is not None else None
                for session_id in search.session_ids:
                    if session_id != kept:
                        shared.ids.release(session_id)
                self._forget(search)
                self._account(search)

    def _forget(self, search: _Search) -> None:
        self._active.discard(search)
        for key in [key for key, each in self._searches.items() if each is search]:
            del self._searches[key]

    def _pace(self, search: _Search, deadline: float) -> bool:
        """Wait where discoveries of this objective went unanswered too often lately; False if for too long."""
        shared = self._shared
        with shared.lock:
            while (bucket := self._unanswered.get(search.name)) is not None:
                shared.check_running()
                now = time.monotonic()
                if bucket.take(now):
                    return True
                if now >= deadline:
                    return False
                search.changed.wait(min(bucket.delay(now), deadline - now))
        return True

    def _account(self, search: _Search) -> None:
        if search.found or search.quick is not None:
            self._unanswered.pop(search.name, None)
            return
        limits = self._shared.limits
        while len(self._unanswered) >= limits.cached_objectives:
            del self._unanswered[next(iter(self._unanswered))]
        rate = limits.discovery_rate
        self._unanswered.setdefault(search.name, TokenBucket(rate, rate))

    def _send(self, search: _Search, objective: Objective, rapid: bool) -> None:
        """One M_DISCOVERY on every interface, with a session ID of its own (§2.5.4.3)."""
        shared = self._shared
        if not shared.secure_enough:
            return
        if not rapid:
            # Without a value nobody takes it for rapid mode.
            objective = Objective(objective.name, objective.flags | F_DISC, max(1, objective.loop_count))
        with shared.lock:
            session_id = shared.ids.new()
            search.session_ids.append(session_id)
            self._active.add(search)
        now = time.monotonic()
        for interface in shared.substrate.interfaces:
            initiator = shared.initiator(interface)
            if initiator is None:
                continue
            data = encode_message(Discovery(session_id, initiator, objective), shared.limits.multicast_size)
            with shared.lock:
                self._searches[session_id, initiator] = search
                self._rules.own(now, session_id, initiator)
            shared.substrate.multicast(interface.index, data)

    def _ask(self, objective: Objective, peer: Peer, deadline: float) -> None:
        """A unicast discovery (§2.5.4.2): the response comes on the same connection."""
        shared = self._shared
        with shared.lock:
            session_id = shared.ids.new()
        channel: Channel | None = None
        try:
            initiator = next((each for each in map(shared.initiator, shared.substrate.interfaces) if each), None)
            if initiator is None:
                raise LocalError(ErrorCode.noInterface, "no interface has an address yet")
            question = Objective(objective.name, objective.flags | F_DISC, max(1, objective.loop_count))
            channel = shared.connect(peer, deadline, shared.limits.message_size)
            channel.send(Discovery(session_id, initiator, question), shared.limits.message_size)
            message = channel.receive(deadline)
            if isinstance(message, Response) and message.session_id == session_id:
                self.learn(objective.name, message, channel.connection.interface)
                channel.release()
        except (OSError, WireError):
            # No answer, as with a multicast that nobody answers.
            shared.check_running()
        finally:
            if channel is not None:
                channel.close()
            with shared.lock:
                shared.ids.release(session_id)

    def on_behalf(self, message: Discovery, relay: Callable[[], None]) -> list[Discovered]:
        """What is found by relaying somebody's unicast discovery: the first response."""
        shared = self._shared
        search = _Search(message.objective.name, shared.lock)
        deadline = time.monotonic() + max(1.0, MS_PER_LOOP * message.objective.loop_count / 1000)
        with shared.lock:
            self._active.add(search)
            self._searches[message.session_id, message.initiator] = search
        try:
            relay()
            with shared.lock:
                while not search.found and (left := deadline - time.monotonic()) > 0 and shared.running:
                    search.changed.wait(left)
                return list(search.found.values())
        finally:
            with shared.lock:
                self._forget(search)

    def own(self, message: Discovery) -> bool:
        """Whether a discovery is one that this node waits for itself. The caller holds the lock."""
        return (message.session_id, message.initiator) in self._searches

    def waiting(self, message: Response) -> str | None:
        """The objective of the search that a response answers, if any. The caller holds the lock."""
        search = self._searches.get((message.session_id, message.initiator))
        return search.name if search is not None else None

    def found(self, message: Response, learnt: list[Discovered]) -> None:
        """Hand what was learnt from a response to its search."""
        with self._shared.lock:
            search = self._searches.get((message.session_id, message.initiator))
            if search is not None:
                search.found.update({(each.locator, each.interface): each for each in learnt})
                search.changed.notify_all()

    def learn(self, name: str, message: Response, interface: int) -> list[Discovered]:
        """Cache what of a response can be used."""
        usable = [each for each in message.locators if _usable(each, interface, message.diverted)]
        shared = self._shared
        with shared.lock:
            return shared.locators.add(time.monotonic(), name, usable, interface, message.ttl, message.diverted)

    def rapid_answered(self, channel: Channel, message: Message) -> bool:
        """The first step of an answer in rapid mode; False if nobody waits for it."""
        with self._shared.lock:
            session_id: int | None = getattr(message, "session_id", None)
            waiting = (each for each in self._active if each.wants_quick and each.quick is None)
            search = next((each for each in waiting if session_id in each.session_ids), None)
            if search is None or session_id is None:
                return False
            # It is closed with the session: nobody waits for another request on it.
            channel.reusable = False
            search.quick = (session_id, channel, message)
            search.changed.notify_all()
            return True

    def stop(self) -> None:
        with self._shared.lock:
            for search in self._active:
                search.changed.notify_all()


def _usable(locator: Locator, interface: int, diverted: bool) -> bool:
    """A link-local address needs the interface it is on, and has no place in a Divert (§2.9.5.1)."""
    if not isinstance(locator, IPv6Locator | IPv4Locator):
        return True
    address: Address = locator.address
    if address.is_multicast or address.is_unspecified or locator.port == 0:
        return False
    return not address.is_link_local or (interface != 0 and not diverted)
