"""Negotiation sessions on connections (RFC 8990 §2.5.5; RFC 8991 §2.3.5)."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from grasp.calls import Peer, SessionHandle, Step
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.core.channel import Channel
from grasp.core.live import INVALID, SOCKET_ERRORS, Live
from grasp.core.registry import Registered
from grasp.core.search import Searches
from grasp.core.shared import Shared, milliseconds
from grasp.errors import Declined, ErrorCode, GraspError, LocalError, PeerError, WireError
from grasp.session import Agreed, NegotiationSession, Offer, Refused, State, Waiting
from grasp.transport import Connection
from grasp.wire import Invalid, InvalidMessage, Message, Noop, Objective, RequestNegotiation

_log = logging.getLogger("grasp.core")

_DEFAULT: Final = GRASP_DEF_TIMEOUT
_REASON_SHARE: Final = 8


class Negotiations:
    """All negotiations of a core, those it started and those it was asked for."""

    def __init__(self, shared: Shared, searches: Searches) -> None:
        self._shared = shared
        self._searches = searches
        self._sessions: dict[int, Live] = {}
        self._numbers = itertools.count(1)

    @property
    def open(self) -> int:
        return len(self._sessions)

    # -- as initiator

    def request(self, asa: int, objective: Objective, peer: Peer | None, timeout: int, rapid: bool = False) -> Step:
        shared = self._shared
        deadline = time.monotonic() + (milliseconds(timeout) or _DEFAULT) / 1000
        with shared.lock:
            shared.check_running()
            registered = shared.registry.of(asa, objective.name)
        limit = registered.max_size
        if not objective.negotiable or not registered.registration.objective.negotiable:
            raise LocalError(ErrorCode.notNeg, objective.name)
        if not objective.has_value:
            objective = objective.with_value(None)
        if objective.loop_count == 0:
            raise LocalError(ErrorCode.loopExhausted, f"{objective.name}: a request needs a loop count of 1 or more")
        if peer is not None:
            return self._request(asa, objective, peer, deadline, limit)
        if rapid:
            quick = self._searches.rapid(asa, objective, deadline)
            if quick is not None:
                return self._rapid(asa, objective, *quick, deadline, limit)
        return self._searches.with_some_peer(
            asa, objective, deadline, lambda found: self._request(asa, objective, found, deadline, limit)
        )

    def _request(self, asa: int, objective: Objective, peer: Peer, deadline: float, limit: int) -> Step:
        session_id = self._new_id()
        try:
            machine = NegotiationSession(session_id, objective)
            channel = self._connect(peer, deadline, limit)
            try:
                request = machine.request()
                live = self._open(asa, machine, channel, limit, initiated=True)
            except BaseException:
                channel.close()
                raise
        except BaseException:
            self._release_id(session_id)
            raise
        try:
            self._send(live, request)
        except LocalError:
            self._close(live)
            raise
        return self._await(live, deadline)

    def _connect(self, peer: Peer, deadline: float, limit: int) -> Channel:
        try:
            return self._shared.connect(peer, deadline, limit)
        except OSError as error:
            self._shared.check_running()
            raise PeerError(ErrorCode.sockErrNegRq, f"{peer.locator}: {error}") from None

    def _rapid(
        self, asa: int, objective: Objective, session_id: int, channel: Channel, first: Message, deadline: float,
        limit: int,
    ) -> Step:  # fmt: skip
        """Go on where a rapid discovery was answered with the first step (§2.5.5.1)."""
        machine = NegotiationSession(session_id, objective)
        machine.request()
        channel.limit_to(limit)
        live = self._open(asa, machine, channel, limit, initiated=True)
        return self._await(live, deadline, first)

    def _new_id(self) -> int:
        with self._shared.lock:
            if len(self._sessions) >= self._shared.limits.sessions:
                raise LocalError(ErrorCode.busy, f"{self._shared.limits.sessions} sessions are open, the most allowed")
            return self._shared.ids.new()

    def _release_id(self, session_id: int) -> None:
        with self._shared.lock:
            self._shared.ids.release(session_id)

    # -- as responder

    def requested(self, channel: Channel, message: RequestNegotiation) -> bool:
        """A peer's M_REQ_NEG. False if it is to be discarded; True if the connection is taken care of."""
        shared, objective, connection = self._shared, message.objective, channel.connection
        if not objective.negotiable or not objective.has_value or objective.loop_count == 0:
            self._refuse(channel, message.session_id, "not a negotiation objective with a value and a loop count")
            return True
        live: Live | None = None
        with shared.lock:
            registered = shared.registry.negotiator(objective.name)
            if registered is None:
                shared.counts["no negotiation listener"] += 1
            elif len(registered.requests) >= shared.limits.pending_requests:
                shared.counts["request queue full"] += 1
            elif len(channel.received_bytes) > registered.max_size:
                shared.counts["request longer than its objective allows"] += 1
            elif not self._enter_id(connection, message.session_id):
                shared.counts["session ID clash"] += 1
                return False
            else:
                live = self._opened(registered, message, channel)
                if registered.handler is None:
                    registered.requests.append((live, objective))
                    if registered.arrived is not None:
                        registered.arrived.notify()
        if live is None or registered is None:
            # The immediate close tells the initiator that nobody listens (§2.8.6).
            channel.close()
        elif registered.handler is not None:
            self._serve(live, registered.handler, objective)
        return True

    def _enter_id(self, connection: Connection, session_id: int) -> bool:
        ids = self._shared.ids
        if ids.enter(connection.peer_name, session_id):
            return True
        ourselves = self._shared.substrate.is_own(connection.peer)
        return ourselves and ids.enter(connection.peer_name, session_id, ourselves=True)

    def _opened(self, registered: Registered, message: RequestNegotiation, channel: Channel) -> Live:
        channel.limit_to(registered.max_size)
        machine = NegotiationSession(message.session_id, message.objective)
        machine.requested(message)
        live = self._enter(registered.asa, machine, channel, registered.max_size, initiated=False)
        live.turn_ends = min(live.ends, time.monotonic() + _DEFAULT / 1000)
        return live

    def _refuse(self, channel: Channel, session_id: int, why: str) -> None:
        try:
            channel.send(Invalid(session_id, why), self._shared.limits.message_size)
        except OSError:
            pass
        channel.close()

    def _serve(self, live: Live, handler: Callable[[SessionHandle, Objective], None], objective: Objective) -> None:
        try:
            handler(live.handle, objective)
        except GraspError as error:
            _log.info("negotiation of %s ended: %s", objective.name, error)
        except BaseException:
            # SystemExit too: a handler may not end the node's thread.
            _log.exception("the negotiation handler of %s failed", objective.name)
        finally:
            if not live.machine.ended:
                self._finish(live, accept=False, reason=None)

    def listen(self, asa: int, name: str, timeout: int | None) -> tuple[SessionHandle, Objective]:
        shared = self._shared
        deadline = None if timeout is None else time.monotonic() + milliseconds(timeout) / 1000
        with shared.lock:
            shared.check_running()
            registered = self._negotiable(asa, name)
            arrived = registered.arrived = registered.arrived or threading.Condition(shared.lock)
            if registered.handler is not None:
                raise LocalError(ErrorCode.badArgument, f"{name}: requests go to a handler")
            registered.listening = True
            while True:
                shared.check_running()
                while registered.requests:
                    live, objective = registered.requests.popleft()
                    if not live.machine.ended:
                        return live.handle, objective
                if not registered.listening:
                    raise LocalError(ErrorCode.noSession, f"{name}: listening was stopped")
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    raise LocalError(ErrorCode.noReply, f"{name}: no request yet")
                arrived.wait(remaining)

    def serve(self, asa: int, name: str, handler: Callable[[SessionHandle, Objective], None]) -> None:
        with self._shared.lock:
            self._shared.check_running()
            registered = self._negotiable(asa, name)
            if registered.listening:
                raise LocalError(ErrorCode.badArgument, f"{name}: is listened for already")
            registered.handler = handler
            registered.listening = True

    def _negotiable(self, asa: int, name: str) -> Registered:
        registered = self._shared.registry.of(asa, name)
        if not registered.registration.objective.negotiable:
            raise LocalError(ErrorCode.notNeg, name)
        return registered

    def stop_listen(self, asa: int, name: str) -> None:
        with self._shared.lock:
            registered = self._negotiable(asa, name)
        self.abandon(registered)

    def abandon(self, registered: Registered) -> None:
        """Nobody will take this objective's requests any more."""
        with self._shared.lock:
            registered.listening = False
            registered.handler = None
            waiting = [live for live, _ in registered.requests]
            registered.requests.clear()
            if registered.arrived is not None:
                registered.arrived.notify_all()
        for live in waiting:
            self._close(live)

    def abandon_asa(self, asa: int) -> None:
        """The ASA is gone; so are its sessions."""
        with self._shared.lock:
            mine = [live for live in self._sessions.values() if live.asa == asa]
        for live in mine:
            self._close(live)

    # -- either side

    def step(self, asa: int, session: SessionHandle, objective: Objective, timeout: int) -> Step:
        deadline = time.monotonic() + (milliseconds(timeout) or _DEFAULT) / 1000
        live = self._find(asa, session)
        try:
            message = live.machine.step(objective)
        except LocalError:
            if live.machine.ended:
                # Nothing is sent, so the peer's timer runs out; the open connection would only hold it.
                self._close(live)
            raise
        try:
            self._send(live, message)
        except LocalError:
            live.machine.withdraw()
            raise
        return self._await(live, deadline)

    def wait(self, asa: int, session: SessionHandle, timeout: int) -> None:
        live = self._find(asa, session)
        duration = milliseconds(timeout) or _DEFAULT
        self._send(live, live.machine.wait(duration))
        live.turn_ends = min(live.ends, time.monotonic() + duration / 1000)

    def end(self, asa: int, session: SessionHandle, accept: bool, reason: str | None) -> None:
        live = self._find(asa, session)
        if reason is not None:
            # It is for people, so what would not fit into a message is cut.
            reason = reason[: live.limit // _REASON_SHARE]
        self._finish(live, accept, reason, report=True)

    def _finish(self, live: Live, accept: bool, reason: str | None, report: bool = False) -> None:
        try:
            self._send(live, live.machine.end(accept, reason))
        except PeerError:
            if report:
                raise
        finally:
            if live.machine.ended:
                self._close(live)

    def send_invalid(self, asa: int, session: SessionHandle, info: bytes) -> None:
        live = self._find(asa, session)
        try:
            # Part of it will do (§2.8.12): what does not fit is cut.
            room = live.limit - 32
            self._send(live, Invalid(session.session_id, bytes(info[:room])))
        finally:
            self._close(live)

    def _open(self, asa: int, machine: NegotiationSession, channel: Channel, limit: int, initiated: bool) -> Live:
        with self._shared.lock:
            return self._enter(asa, machine, channel, limit, initiated)

    def _enter(self, asa: int, machine: NegotiationSession, channel: Channel, limit: int, initiated: bool) -> Live:
        handle = SessionHandle(next(self._numbers), machine.session_id, channel.connection.peer, initiated)
        ends = time.monotonic() + self._shared.limits.session_ms / 1000
        live = Live(asa, handle, machine, channel, limit, ends)
        self._sessions[handle.number] = live
        return live

    def _find(self, asa: int, session: SessionHandle) -> Live:
        live = self._sessions.get(session.number)
        if live is None or live.asa != asa:
            raise LocalError(ErrorCode.noSession, "it has ended, or is not this ASA's")
        return live

    def _send(self, live: Live, message: Message) -> None:
        try:
            live.channel.send(message, live.limit)
        except OSError as error:
            self._close(live, check=True)
            raise PeerError(SOCKET_ERRORS[type(message)], f"{live.machine.name}: {error}") from None

    def _await(self, live: Live, deadline: float, first: Message | None = None) -> Step:
        """The peer's next proposal or its acceptance; its M_WAITs prolong the wait (§2.8.9)."""
        machine, limits = live.machine, self._shared.limits
        while True:
            try:
                if first is None:
                    message = live.channel.receive(min(deadline, live.ends))
                else:
                    message, first = first, None
                outcome = machine.receive(message)
            except TimeoutError:
                self._close(live, check=True)
                raise PeerError(ErrorCode.noNegReply, f"{machine.name}: {live.handle.peer}") from None
            except OSError as error:
                self._close(live, check=True)
                raise PeerError(ErrorCode.noPeer, f"{machine.name}: {live.handle.peer}: {error}") from None
            except WireError as error:
                if isinstance(error, InvalidMessage) and error.session_id is not None:
                    self._refuse(live.channel, error.session_id, error.detail)
                self._close(live)
                code = INVALID.get(error.kind, ErrorCode.CBORfail) if isinstance(error, InvalidMessage) else error.code
                raise PeerError(code, f"{machine.name}: {error.detail}") from None
            except PeerError as error:
                if not isinstance(message, Invalid | Noop):
                    # M_INVALID has the session ID of what it is about (§2.8.12).
                    self._refuse(live.channel, message.session_id, error.detail)
                self._close(live)
                raise
            if isinstance(outcome, Offer):
                live.turn_ends = min(live.ends, time.monotonic() + _DEFAULT / 1000)
                return Step(live.handle, outcome.objective)
            if isinstance(outcome, Waiting):
                deadline = time.monotonic() + min(outcome.milliseconds, limits.wait_ms) / 1000
                continue
            self._close(live)
            if isinstance(outcome, Agreed):
                return Step(None, outcome.objective)
            if isinstance(outcome, Refused):
                raise Declined(outcome.reason)

    def _close(self, live: Live, check: bool = False) -> None:
        """End it here. With ``check`` raises ``stopped`` or ``noSession`` if this node has ended it before."""
        live.machine.fail()
        with self._shared.lock:
            if check:
                self._shared.check_running()
            if self._sessions.pop(live.handle.number, None) is None:
                if check:
                    raise LocalError(ErrorCode.noSession, f"{live.machine.name}: was ended here")
                return
            if live.handle.initiated:
                self._shared.ids.release(live.handle.session_id)
            else:
                self._shared.ids.leave(live.channel.connection.peer_name, live.handle.session_id)
        live.channel.close()

    def upkeep(self, now: float) -> None:
        """End sessions whose ASA has not made its move while the peer would still wait."""
        with self._shared.lock:
            stale = [
                live for live in self._sessions.values() if live.machine.state is State.OURS and live.turn_ends <= now
            ]
        for live in stale:
            self._shared.counts["session abandoned by its ASA"] += 1
            self._close(live)

    def stop(self) -> None:
        with self._shared.lock:
            live = list(self._sessions.values())
            for registered in self._shared.registry.everything():
                if registered.arrived is not None:
                    registered.arrived.notify_all()
        for each in live:
            self._close(each)
