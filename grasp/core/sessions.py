"""Negotiation sessions that have a connection: what is sent and awaited on them, how they end (RFC 8990 §2.5.5)."""

from __future__ import annotations

import itertools
import time
from typing import Final

from grasp.calls import SessionHandle, Step
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.core.channel import Channel
from grasp.core.live import INVALID, SOCKET_ERRORS, Live
from grasp.core.shared import Shared
from grasp.errors import Declined, ErrorCode, LocalError, PeerError, WireError
from grasp.session import Agreed, NegotiationSession, Offer, Refused, State, Waiting
from grasp.transport import NotMemberError
from grasp.wire import Invalid, InvalidMessage, Message, Noop

TURN_MS: Final = GRASP_DEF_TIMEOUT
"""How long either side has for its move unless it says otherwise (§2.5.5)."""


class Sessions:
    """The open negotiations of a core, at either end."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._open: dict[int, Live] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._open)

    def new_id(self) -> int:
        """A session ID of our own. Raises ``busy``."""
        with self._shared.lock:
            if len(self._open) >= self._shared.limits.sessions:
                raise LocalError(ErrorCode.busy, f"{self._shared.limits.sessions} sessions are open, the most allowed")
            return self._shared.ids.new()

    def release_id(self, session_id: int) -> None:
        with self._shared.lock:
            self._shared.ids.release(session_id)

    def open(self, asa: int, machine: NegotiationSession, channel: Channel, limit: int) -> Live:
        """A session this node has initiated."""
        with self._shared.lock:
            return self.enter(asa, machine, channel, limit, initiated=True)

    def enter(self, asa: int, machine: NegotiationSession, channel: Channel, limit: int, initiated: bool) -> Live:
        """The caller holds the lock."""
        connection = channel.connection
        handle = SessionHandle(
            next(self._numbers), machine.session_id, connection.peer, initiated, connection.member
        )  # fmt: skip
        live = Live(asa, handle, machine, channel, limit, time.monotonic() + self._shared.limits.session_ms / 1000)
        self._open[handle.number] = live
        return live

    def find(self, asa: int, session: SessionHandle) -> Live:
        live = self._open.get(session.number)
        if live is None or live.asa != asa:
            raise LocalError(ErrorCode.noSession, "it has ended, or is not this ASA's")
        return live

    def of(self, asa: int) -> list[Live]:
        with self._shared.lock:
            return [live for live in self._open.values() if live.asa == asa]

    def send(self, live: Live, message: Message) -> None:
        try:
            live.channel.send(message, live.limit)
        except OSError as error:
            self.close(live, check=True)
            raise PeerError(SOCKET_ERRORS[type(message)], f"{live.machine.name}: {error}") from None

    def wait(self, live: Live, deadline: float, first: Message | None = None) -> Step:
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
                self.close(live, check=True)
                raise PeerError(ErrorCode.noNegReply, f"{machine.name}: {live.handle.peer}") from None
            except OSError as error:
                self.close(live, check=True)
                code = ErrorCode.notMember if isinstance(error, NotMemberError) else ErrorCode.noPeer
                raise PeerError(code, f"{machine.name}: {live.handle.peer}: {error}") from None
            except WireError as error:
                if isinstance(error, InvalidMessage) and error.session_id is not None:
                    self.refuse(live.channel, error.session_id, error.detail)
                self.close(live)
                code = INVALID.get(error.kind, ErrorCode.CBORfail) if isinstance(error, InvalidMessage) else error.code
                raise PeerError(code, f"{machine.name}: {error.detail}") from None
            except PeerError as error:
                if not isinstance(message, Invalid | Noop):
                    # M_INVALID has the session ID of what it is about (§2.8.12).
                    self.refuse(live.channel, message.session_id, error.detail)
                self.close(live)
                raise
            if isinstance(outcome, Offer):
                live.turn_ends = min(live.ends, time.monotonic() + TURN_MS / 1000)
                return Step(live.handle, outcome.objective)
            if isinstance(outcome, Waiting):
                deadline = time.monotonic() + min(outcome.milliseconds, limits.wait_ms) / 1000
                continue
            self.close(live, in_turn=True)
            if isinstance(outcome, Agreed):
                return Step(None, outcome.objective)
            if isinstance(outcome, Refused):
                raise Declined(outcome.reason)

    def refuse(self, channel: Channel, session_id: int, why: str) -> None:
        """M_INVALID, and the end."""
        try:
            channel.send(Invalid(session_id, why), self._shared.limits.message_size)
        except OSError:
            pass
        channel.close()

    def finish(self, live: Live, accept: bool, reason: str | None, report: bool = False) -> None:
        """M_END. Its failure is only raised to an ASA that asked for it, with ``report``."""
        in_turn = live.machine.state is State.OURS
        sent = False
        try:
            self.send(live, live.machine.end(accept, reason))
            sent = True
        except PeerError:
            if report:
                raise
        finally:
            if live.machine.ended:
                self.close(live, in_turn=in_turn and sent)

    def close(self, live: Live, check: bool = False, in_turn: bool = False) -> None:
        """End it here. With ``check`` raises ``stopped`` or ``noSession`` if this node has ended it before.

        ``in_turn``: an M_END has ended it at both sides, so that its connection may be used again.
        """
        live.machine.fail()
        with self._shared.lock:
            if check:
                self._shared.check_running()
            if self._open.pop(live.handle.number, None) is None:
                if check:
                    raise LocalError(ErrorCode.noSession, f"{live.machine.name}: was ended here")
                return
            if live.handle.initiated:
                self._shared.ids.release(live.handle.session_id)
            else:
                self._shared.ids.leave(live.channel.connection.peer_name, live.handle.session_id)
        if in_turn:
            live.channel.release()
        else:
            live.channel.close()

    def upkeep(self, now: float) -> None:
        """End sessions whose ASA has not made its move while the peer would still wait."""
        with self._shared.lock:
            stale = [live for live in self._open.values() if live.machine.state is State.OURS and live.turn_ends <= now]
        for live in stale:
            self._shared.counts["session abandoned by its ASA"] += 1
            self.close(live)

    def stop(self) -> None:
        with self._shared.lock:
            live = list(self._open.values())
        for each in live:
            self.close(each)
