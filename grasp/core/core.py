"""One GRASP instance: rules, sessions and caches behind the calls of an ASA (RFC 8990 §2.1, RFC 8991)."""

from __future__ import annotations

import logging
import secrets
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from grasp.calls import Peer, Registration
from grasp.constants import F_NEG
from grasp.core.channel import Channel
from grasp.core.discover import Discoveries
from grasp.core.flood import Floods
from grasp.core.negotiate import Negotiations
from grasp.core.requests import Requests
from grasp.core.search import Searches
from grasp.core.sessions import Sessions
from grasp.core.shared import Shared
from grasp.core.synchronize import Synchronizations
from grasp.discovery import DiscoveryRules, Source
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.limits import Limits
from grasp.transport import Connection, Substrate
from grasp.wire import (
    Discovery,
    End,
    Flood,
    Invalid,
    InvalidMessage,
    Negotiation,
    Objective,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    Synchronization,
    UnknownMessage,
    Wait,
    decode_message,
)

_log = logging.getLogger("grasp.core")

_SESSION_STEPS: Final = (Negotiation, End, Wait, Synchronization)


class RandomIds:
    """32-bit numbers from the system's cryptographic generator (§2.7), a page of them at a time."""

    def __init__(self) -> None:
        self._page: list[int] = []

    def draw(self) -> int:
        """Not thread-safe; the owner locks."""
        if not self._page:
            self._page = list(struct.unpack("256I", secrets.token_bytes(1024)))
        return self._page.pop()


@dataclass(frozen=True, slots=True)
class Statistics:
    """A node at one moment: what is open and cached, and why messages were not acted upon (counts)."""

    sessions: int
    floods: int
    objectives_located: int
    discarded: dict[str, int]


class Core:
    """Implements :class:`~grasp.calls.Calls` and :class:`~grasp.transport.Receiver`."""

    def __init__(
        self,
        substrate: Substrate,
        *,
        limits: Limits | None = None,
        rapid: bool = False,
        require_security: bool = False,
        random_id: Callable[[], int] | None = None,
        jitter: Callable[[], float] | None = None,
        name: str = "grasp",
    ) -> None:
        self.limits = limits or Limits()
        self._shared = Shared(
            substrate,
            self.limits,
            random_id or RandomIds().draw,
            jitter or secrets.SystemRandom().random,
            rapid,
            require_security,
            name,
        )
        rules = DiscoveryRules(self.limits, self._shared.locators)
        self._searches = Searches(self._shared, rules)
        self._discoveries = Discoveries(self._shared, rules, self._searches, self._serve)
        self._sessions = Sessions(self._shared)
        self._negotiations = Negotiations(self._shared, self._searches, self._sessions)
        self._requests = Requests(self._shared, self._sessions)
        self._synchronizations = Synchronizations(self._shared, self._searches)
        self._floods = Floods(self._shared)
        self._neighbour_handlers: list[Callable[[int], None]] = []
        self._started = False
        # The calls that one part answers alone.
        self.discover = self._searches.discover
        self.request_negotiate = self._negotiations.request
        self.listen_negotiate = self._requests.listen
        self.serve_negotiate = self._requests.serve
        self.stop_listen_negotiate = self._requests.stop_listen
        self.negotiate_step = self._negotiations.step
        self.negotiate_wait = self._negotiations.wait
        self.end_negotiate = self._negotiations.end
        self.send_invalid = self._negotiations.send_invalid
        self.listen_synchronize = self._synchronizations.listen
        self.serve_synchronize = self._synchronizations.serve
        self.stop_listen_synchronize = self._synchronizations.stop_listen
        self.flood = self._floods.flood
        self.get_flood = self._floods.get
        self.wait_flood = self._floods.wait
        self.serve_flood = self._floods.serve
        self.stop_serve_flood = self._floods.stop_serving
        self.expire_flood = self._floods.expire

    # -- life

    def start(self) -> None:
        """Start the substrate. Raises :class:`LocalError`; ``badArgument`` if it was started before."""
        if self._started:
            raise LocalError(ErrorCode.badArgument, "a node starts once; make another")
        self._started = True
        self._shared.running = True
        try:
            self._shared.substrate.start(self)
        except BaseException:
            self._started = self._shared.running = False
            raise

    def stop(self) -> None:
        """End every call with ``stopped``, every session and thread. Idempotent; final."""
        if not self._shared.running:
            return
        self._shared.running = False
        for part in (self._searches, self._floods, self._requests, self._sessions):
            part.stop()
        self._shared.substrate.stop()
        self._shared.tasks.stop()

    @property
    def running(self) -> bool:
        return self._shared.running

    @property
    def substrate(self) -> Substrate:
        return self._shared.substrate

    def statistics(self) -> Statistics:
        shared = self._shared
        with shared.lock:
            discarded = dict(shared.counts + Counter(shared.substrate.discarded))
            return Statistics(len(self._sessions), len(self._floods), len(shared.locators.names()), discarded)

    # -- from the substrate

    def multicast_received(self, data: bytes, source: Source) -> None:
        shared = self._shared
        if not shared.running or not shared.secure_enough:
            return
        try:
            message = decode_message(data)
        except WireError as error:
            # Silently discarded (§2.8.2): counted, never logged at length.
            kind = "unknown message" if isinstance(error, UnknownMessage) else "malformed message"
            shared.counts[f"multicast: {kind}"] += 1
            return
        if isinstance(message, Discovery):
            self._discoveries.received(message, data, source)
        elif isinstance(message, Flood):
            self._floods.received(message, data, source)
        elif isinstance(message, Response) and source.member is not None:
            # It came by the link of a neighbour who has proved itself, which is as good as a connection (§2.5.4.4).
            self._discoveries.responded(message, source.interface)
        else:
            shared.counts["multicast: not for multicast"] += 1

    def connected(self, connection: Connection) -> None:
        shared = self._shared
        channel = Channel(connection, shared.registry.receive_limit)
        deadline = time.monotonic() + shared.limits.first_message_ms / 1000
        keep = idle = False
        try:
            while shared.running and shared.secure_enough and not keep:
                keep = self._dispatch(channel, deadline)
                channel.await_back()
                if channel.idle:
                    # The peer may have another request; in the meantime it makes room for newcomers.
                    keep, idle, channel.idle = False, True, False
                    channel.limit_to(shared.registry.receive_limit)
                    deadline = time.monotonic() + shared.limits.idle_ms / 1000
        except TimeoutError:
            if not idle:
                shared.counts["connection: said nothing in time"] += 1
        except OSError:
            # The usual end: the peer has said what it had to.
            pass
        except WireError as error:
            shared.counts["connection: invalid message"] += 1
            self._complain(channel, error)
        finally:
            if not keep:
                channel.close()

    def _dispatch(self, channel: Channel, deadline: float) -> bool:
        """Act on one message; True if the connection has found its owner, who will close it."""
        message = channel.receive(deadline)
        channel.connection.newcomer = False
        if isinstance(message, RequestNegotiation):
            return self._requests.requested(channel, message)
        if isinstance(message, RequestSynchronization):
            return self._synchronizations.requested(channel, message)
        if isinstance(message, Response):
            self._discoveries.responded(message, channel.connection.interface)
        elif isinstance(message, Discovery):
            self._discoveries.asked(channel, message)
            return True
        elif isinstance(message, _SESSION_STEPS):
            if self._searches.rapid_answered(channel, message):
                return True
            raise InvalidMessage(f"{type(message).__name__} without a session", message.session_id)
        elif isinstance(message, Flood):
            raise InvalidMessage("a flood is not unicast", message.session_id)
        # M_INVALID may be ignored (§2.8.12).
        return False

    def _serve(self, channel: Channel, message: RequestNegotiation | RequestSynchronization) -> None:
        """A request that came as a rapid discovery: this node has connected, the rest is the same."""
        if isinstance(message, RequestSynchronization):
            taken = self._synchronizations.requested(channel, message)
        else:
            taken = self._requests.requested(channel, message)
        if not taken:
            channel.close()

    def _complain(self, channel: Channel, error: WireError) -> None:
        """M_INVALID about a message whose session ID is known (§2.8.2, §2.8.12)."""
        session_id = error.session_id if isinstance(error, InvalidMessage) else None
        if session_id is None:
            return
        try:
            channel.send(Invalid(session_id, error.detail[:200]), self.limits.message_size)
        except OSError:
            pass

    def interfaces_changed(self, gone: frozenset[int]) -> None:
        self._discoveries.interfaces_changed(gone)

    def neighbour_up(self, interface: int) -> None:
        for handler in self._neighbour_handlers:
            if not self._shared.tasks.submit(partial(handler, interface)):
                self._shared.counts["neighbour handler not called: too many tasks"] += 1

    def on_neighbour(self, handler: Callable[[int], None]) -> None:
        """Call ``handler``, in a task's thread, with the interface of each neighbour that comes up."""
        self._neighbour_handlers = [*self._neighbour_handlers, handler]

    def upkeep(self, now: float) -> None:
        self._sessions.upkeep(now)

    # -- from the ASAs

    def register_asa(self, name: str) -> int:
        with self._shared.lock:
            self._shared.check_running()
            return self._shared.registry.add_asa(name)

    def deregister_asa(self, asa: int, name: str) -> None:
        with self._shared.lock:
            removed = self._shared.registry.remove_asa(asa, name)
        for registered in removed:
            self._requests.abandon(registered)
        self._requests.abandon_asa(asa)
        self._floods.abandon_asa(asa)

    def register_objective(self, asa: int, registration: Registration) -> None:
        with self._shared.lock:
            self._shared.check_running()
            self._shared.registry.add_objective(asa, registration)

    def deregister_objective(self, asa: int, name: str) -> None:
        with self._shared.lock:
            registered = self._shared.registry.remove_objective(asa, name)
        self._requests.abandon(registered)

    def synchronize(
        self, asa: int, objective: Objective, peer: Peer | None, timeout: int, rapid: bool = False
    ) -> Objective:
        if objective.flags & F_NEG:
            raise LocalError(ErrorCode.notSynch, objective.name)
        if peer is None:
            flooded = self._floods.get(asa, objective.name)
            if flooded:
                return flooded[0].objective
        return self._synchronizations.request(asa, objective, peer, timeout, rapid)
