"""Requests for negotiation: who may ask, and which ASA gets them (RFC 8990 §2.8.6; RFC 8991 §2.3.5)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from grasp.calls import SessionHandle
from grasp.core.channel import Channel
from grasp.core.live import Live
from grasp.core.registry import Registered
from grasp.core.sessions import TURN_MS, Sessions
from grasp.core.shared import Shared, milliseconds
from grasp.errors import ErrorCode, GraspError, LocalError
from grasp.session import NegotiationSession
from grasp.transport import Connection
from grasp.wire import Decline, End, Objective, RequestNegotiation

_log = logging.getLogger("grasp.core")

_REASON: Final = 200
"""Characters of the reason for a refusal."""


class Requests:
    """A core's part as responder."""

    def __init__(self, shared: Shared, sessions: Sessions) -> None:
        self._shared = shared
        self._sessions = sessions

    def requested(self, channel: Channel, message: RequestNegotiation) -> bool:
        """A peer's M_REQ_NEG. False if it is to be discarded; True if the connection is taken care of."""
        shared, objective, connection = self._shared, message.objective, channel.connection
        if not objective.negotiable or not objective.has_value or objective.loop_count == 0:
            why = "not a negotiation objective with a value and a loop count"
            self._sessions.refuse(channel, message.session_id, why)
            return True
        live: Live | None = None
        with shared.lock:
            registered = shared.registry.negotiator(objective.name)
        if (why_not := shared.refusal(registered, connection.member)) is not None:
            self._turn_away(channel, message.session_id, why_not)
            return True
        with shared.lock:
            if registered is None or not registered.listening:
                shared.counts["no negotiation listener"] += 1
            elif len(registered.requests) >= shared.limits.pending_requests:
                shared.counts["request queue full"] += 1
            elif len(channel.received_bytes) > registered.max_size:
                shared.counts["request longer than its objective allows"] += 1
            elif not self._enter_id(connection, message.session_id):
                shared.counts["session ID clash"] += 1
                return False
            else:
                handler = registered.handler
                live = self._opened(registered, message, channel)
                if handler is None:
                    channel.hand_over()
                    registered.requests.append((live, objective))
                    if registered.arrived is not None:
                        registered.arrived.notify()
        if live is None:
            # The immediate close tells the initiator that nobody listens (§2.8.6).
            channel.close()
        elif handler is not None:
            self._serve(live, handler, objective)
        return True

    def _turn_away(self, channel: Channel, session_id: int, why: str) -> None:
        """M_END with O_DECLINE: it was understood, and is not for this member."""
        try:
            channel.send(End(session_id, Decline(why[:_REASON] or None)), self._shared.limits.message_size)
        except OSError:
            channel.close()
        else:
            channel.release()

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
        live = self._sessions.enter(registered.asa, machine, channel, registered.max_size, initiated=False)
        live.turn_ends = min(live.ends, time.monotonic() + TURN_MS / 1000)
        return live

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
                self._sessions.finish(live, accept=False, reason=None)

    # -- from the ASAs

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
            self._sessions.close(live)

    def abandon_asa(self, asa: int) -> None:
        """The ASA is gone; so are its sessions."""
        for live in self._sessions.of(asa):
            self._sessions.close(live)

    def stop(self) -> None:
        with self._shared.lock:
            for registered in self._shared.registry.everything():
                if registered.arrived is not None:
                    registered.arrived.notify_all()
