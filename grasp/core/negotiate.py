"""Negotiating: the request, and each side's moves (RFC 8990 §2.5.5; RFC 8991 §2.3.5)."""

from __future__ import annotations

import time
from typing import Final

from grasp.calls import Peer, SessionHandle, Step
from grasp.core.channel import Channel
from grasp.core.search import Searches
from grasp.core.sessions import TURN_MS, Sessions
from grasp.core.shared import Shared, milliseconds
from grasp.errors import ErrorCode, LocalError, PeerError
from grasp.session import NegotiationSession
from grasp.transport import NotMemberError
from grasp.wire import Invalid, Message, Objective

_REASON_SHARE: Final = 8


class Negotiations:
    """What an ASA does in negotiations; the requests of others are :class:`~grasp.core.requests.Requests`'."""

    def __init__(self, shared: Shared, searches: Searches, sessions: Sessions) -> None:
        self._shared = shared
        self._searches = searches
        self._sessions = sessions

    def request(self, asa: int, objective: Objective, peer: Peer | None, timeout: int, rapid: bool = False) -> Step:
        shared = self._shared
        deadline = time.monotonic() + (milliseconds(timeout) or TURN_MS) / 1000
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
        sessions = self._sessions
        session_id = sessions.new_id()
        try:
            machine = NegotiationSession(session_id, objective)
            channel = self._connect(peer, deadline, limit)
            try:
                request = machine.request()
                live = sessions.open(asa, machine, channel, limit)
            except BaseException:
                channel.close()
                raise
        except BaseException:
            sessions.release_id(session_id)
            raise
        try:
            sessions.send(live, request)
        except LocalError:
            sessions.close(live)
            raise
        return sessions.wait(live, deadline)

    def _connect(self, peer: Peer, deadline: float, limit: int) -> Channel:
        try:
            return self._shared.connect(peer, deadline, limit)
        except OSError as error:
            self._shared.check_running()
            code = ErrorCode.notMember if isinstance(error, NotMemberError) else ErrorCode.sockErrNegRq
            raise PeerError(code, f"{peer.locator}: {error}") from None

    def _rapid(
        self, asa: int, objective: Objective, session_id: int, channel: Channel, first: Message, deadline: float,
        limit: int,
    ) -> Step:  # fmt: skip
        """Go on where a rapid discovery was answered with the first step (§2.5.5.1)."""
        machine = NegotiationSession(session_id, objective)
        machine.request()
        channel.limit_to(limit)
        live = self._sessions.open(asa, machine, channel, limit)
        return self._sessions.wait(live, deadline, first)

    # -- either side

    def step(self, asa: int, session: SessionHandle, objective: Objective, timeout: int) -> Step:
        deadline = time.monotonic() + (milliseconds(timeout) or TURN_MS) / 1000
        live = self._sessions.find(asa, session)
        try:
            message = live.machine.step(objective)
        except LocalError:
            if live.machine.ended:
                # Nothing is sent, so the peer's timer runs out; the open connection would only hold it.
                self._sessions.close(live)
            raise
        try:
            self._sessions.send(live, message)
        except LocalError:
            live.machine.withdraw()
            raise
        return self._sessions.wait(live, deadline)

    def wait(self, asa: int, session: SessionHandle, timeout: int) -> None:
        live = self._sessions.find(asa, session)
        duration = milliseconds(timeout) or TURN_MS
        self._sessions.send(live, live.machine.wait(duration))
        live.turn_ends = min(live.ends, time.monotonic() + duration / 1000)

    def end(self, asa: int, session: SessionHandle, accept: bool, reason: str | None) -> None:
        live = self._sessions.find(asa, session)
        if reason is not None:
            # It is for people, so what would not fit into a message is cut.
            reason = reason[: live.limit // _REASON_SHARE]
        self._sessions.finish(live, accept, reason, report=True)

    def send_invalid(self, asa: int, session: SessionHandle, info: bytes) -> None:
        live = self._sessions.find(asa, session)
        try:
            # Part of it will do (§2.8.12): what does not fit is cut.
            room = live.limit - 32
            self._sessions.send(live, Invalid(session.session_id, bytes(info[:room])))
        finally:
            self._sessions.close(live)
