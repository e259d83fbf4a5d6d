"""Negotiation sessions (RFC 8990 §2.5.5, §2.8.6-2.8.9) and Session IDs (§2.7), without I/O.

One session is a :class:`NegotiationSession` at each end. The whole protocol is the table ``TRANSITIONS``;
methods build what is sent, :meth:`NegotiationSession.receive` judges what is received.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from grasp.constants import F_NEG, F_NEG_DRY
from grasp.errors import ErrorCode, LocalError, PeerError
from grasp.wire import (
    NO_VALUE,
    Accept,
    Decline,
    End,
    Invalid,
    Message,
    Negotiation,
    Objective,
    RequestNegotiation,
    Wait,
)


class State(StrEnum):
    """Whose message comes next."""

    IDLE = "idle"
    THEIRS = "theirs"
    OURS = "ours"
    AGREED = "agreed"
    DECLINED = "declined"
    FAILED = "failed"


class Event(StrEnum):
    """What was sent or received."""

    SEND_REQUEST = "send M_REQ_NEG"
    SEND_STEP = "send M_NEGOTIATE"
    SEND_WAIT = "send M_WAIT"
    SEND_ACCEPT = "send M_END accept"
    SEND_DECLINE = "send M_END decline"
    RECV_REQUEST = "recv M_REQ_NEG"
    RECV_STEP = "recv M_NEGOTIATE"
    RECV_WAIT = "recv M_WAIT"
    RECV_ACCEPT = "recv M_END accept"
    RECV_DECLINE = "recv M_END decline"
    FAIL = "fail"


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.IDLE: {
        Event.SEND_REQUEST: State.THEIRS,
        Event.RECV_REQUEST: State.OURS,
        Event.FAIL: State.FAILED,
    },
    State.THEIRS: {
        Event.RECV_STEP: State.OURS,
        Event.RECV_WAIT: State.THEIRS,
        Event.RECV_ACCEPT: State.AGREED,
        Event.RECV_DECLINE: State.DECLINED,
        Event.SEND_DECLINE: State.DECLINED,
        Event.FAIL: State.FAILED,
    },
    State.OURS: {
        Event.SEND_STEP: State.THEIRS,
        Event.SEND_WAIT: State.OURS,
        Event.SEND_ACCEPT: State.AGREED,
        Event.SEND_DECLINE: State.DECLINED,
        Event.FAIL: State.FAILED,
    },
    State.AGREED: {},
    State.DECLINED: {},
    State.FAILED: {},
}


_ENDED: Final = frozenset(state for state, events in TRANSITIONS.items() if not events)
# Looked up once: a member of an Enum class costs a call each time.
_SEND_REQUEST, _SEND_STEP, _SEND_ACCEPT = Event.SEND_REQUEST, Event.SEND_STEP, Event.SEND_ACCEPT
_RECV_REQUEST, _RECV_STEP, _RECV_ACCEPT = Event.RECV_REQUEST, Event.RECV_STEP, Event.RECV_ACCEPT
_IN_SESSION: Final = (Negotiation, End, Wait, Invalid)


@dataclass(frozen=True, slots=True)
class Offer:
    """The peer proposes ``objective``; it is our turn."""

    objective: Objective


@dataclass(frozen=True, slots=True)
class Waiting:
    """The peer asks for ``milliseconds`` more, from now."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Agreed:
    """The peer accepts ``objective``, our last proposal."""

    objective: Objective


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer declines, with a reason or an empty text."""

    reason: str


Outcome = Offer | Waiting | Agreed | Refused


class NegotiationSession:
    """One end of a negotiation.

    Name and dry-run flag are those of the request throughout (§2.10.2). The loop count handed to the ASA
    never rises, whatever the peer sends, so a session ends after at most 255 steps.
    """

    __slots__ = ("_proposed", "_withdrawn", "dry_run", "loop_count", "name", "session_id", "state")

    def __init__(self, session_id: int, objective: Objective) -> None:
        self.session_id = session_id
        self.name = objective.name
        self.dry_run = objective.dry_run
        self.loop_count = objective.loop_count
        self.state = State.IDLE
        self._proposed = objective

    def _move(self, event: Event) -> None:
        following = TRANSITIONS[self.state].get(event)
        if following is None:
            raise LocalError(
                ErrorCode.noSession if self.ended else ErrorCode.badArgument,
                f"cannot {event.value} while the session is {self.state.value}",
            )
        self.state = following

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    def request(self) -> Message:
        """M_REQ_NEG with the objective the session was made with."""
        self._move(_SEND_REQUEST)
        return RequestNegotiation(self.session_id, self._proposed)

    def requested(self, message: RequestNegotiation) -> Offer:
        """The peer's M_REQ_NEG, which is this session's first message."""
        self._move(_RECV_REQUEST)
        return Offer(message.objective)

    def step(self, objective: Objective) -> Message:
        """M_NEGOTIATE with the loop count decremented (§2.8.7).

        Raises :class:`LocalError` ``loopExhausted`` when that is zero: nothing may be sent and the session
        has failed.
        """
        if self._differs(objective):
            raise LocalError(ErrorCode.badArgument, self._differs(objective))
        self._withdrawn = self.state, self.loop_count, self._proposed
        self._move(_SEND_STEP)
        if self.loop_count <= 1:
            self.fail()
            raise LocalError(ErrorCode.loopExhausted, f"{self.name}: no step is left in this session")
        self.loop_count -= 1
        self._proposed = objective.with_loop_count(self.loop_count)
        return Negotiation(self.session_id, self._proposed)

    def withdraw(self) -> None:
        """Take back the last :meth:`step`: it could not be encoded, so nothing was sent."""
        if self.state is State.THEIRS:
            self.state, self.loop_count, self._proposed = self._withdrawn

    def wait(self, milliseconds: int) -> Message:
        """M_WAIT (§2.8.9)."""
        message = Wait(self.session_id, milliseconds)
        self._move(Event.SEND_WAIT)
        return message

    def end(self, accept: bool, reason: str | None = None) -> Message:
        """M_END (§2.8.8). Declining is allowed out of turn, accepting is not."""
        message = End(self.session_id, Accept() if accept else Decline(reason or None))
        self._move(_SEND_ACCEPT if accept else Event.SEND_DECLINE)
        return message

    def fail(self) -> None:
        """Time out, broken connection or protocol error; no effect on an ended session."""
        if self.state not in _ENDED:
            self._move(Event.FAIL)

    def receive(self, message: Message) -> Outcome | None:
        """What the peer's next message means; None for one to be ignored.

        Raises :class:`PeerError` ``noValidStep``, ``invalidNeg`` or ``invalidEnd``; the session has then
        failed.
        """
        try:
            return self._judge(message)
        except PeerError:
            self.fail()
            raise

    def _judge(self, message: Message) -> Outcome | None:
        if isinstance(message, _IN_SESSION) and message.session_id == self.session_id:
            if isinstance(message, Negotiation):
                objective = message.objective
                if self._differs(objective):
                    raise PeerError(ErrorCode.invalidNeg, self._differs(objective))
                self._expect(_RECV_STEP, message)
                if objective.loop_count == 0:
                    raise PeerError(ErrorCode.invalidNeg, f"{self.name}: loop count 0 may not be sent")
                if objective.loop_count > self.loop_count:
                    objective = objective.with_loop_count(self.loop_count)
                self.loop_count = objective.loop_count
                return Offer(objective)
            if isinstance(message, End):
                if isinstance(message.option, Accept):
                    self._expect(_RECV_ACCEPT, message)
                    return Agreed(self._proposed)
                self._expect(Event.RECV_DECLINE, message)
                return Refused(message.option.reason or "")
            if isinstance(message, Wait):
                self._expect(Event.RECV_WAIT, message)
                return Waiting(message.waiting_time)
            raise PeerError(ErrorCode.noValidStep, f"{self.name}: peer answered M_INVALID")
        raise PeerError(ErrorCode.noValidStep, f"{self.name}: {type(message).__name__} of another session or kind")

    def _expect(self, event: Event, message: Message) -> None:
        if event not in TRANSITIONS[self.state]:
            code = ErrorCode.invalidEnd if isinstance(message, End) else ErrorCode.noValidStep
            raise PeerError(code, f"{self.name}: {event.value} while the session is {self.state.value}")
        self._move(event)

    def _differs(self, objective: Objective) -> str:
        """Why ``objective`` has no place in this session; an empty text if it has."""
        flags = objective.flags
        if objective.name != self.name:
            return f"objective {objective.name!r:.80} in a session about {self.name!r:.80}"
        if flags & F_NEG == 0 or objective.value is NO_VALUE:
            return f"{self.name}: not a negotiation objective with a value"
        if (flags & F_NEG_DRY != 0) is not self.dry_run:
            return f"{self.name}: dry run and live mixed in one session"
        return ""


class SessionIds:
    """Session IDs in use and used lately (§2.7). Not thread-safe; the owner locks.

    ``random_id`` draws 32 bits from a cryptographic generator.
    """

    def __init__(self, recent: int, random_id: Callable[[], int]) -> None:
        self._random_id = random_id
        self._own: set[int] = set()
        self._incoming: set[tuple[str, int]] = set()
        self._incoming_ids: Counter[int] = Counter()
        self._recent: deque[int] = deque()
        self._recent_set: set[int] = set()
        self._recent_limit = recent

    def new(self) -> int:
        """An ID neither active here nor used lately; :meth:`release` it in the end."""
        while True:
            session_id = self._random_id()
            if not (session_id in self._own or session_id in self._recent_set or session_id in self._incoming_ids):
                break
        self._own.add(session_id)
        if len(self._recent) == self._recent_limit:
            self._recent_set.discard(self._recent.popleft())
        self._recent.append(session_id)
        self._recent_set.add(session_id)
        return session_id

    def release(self, session_id: int) -> None:
        self._own.discard(session_id)

    def enter(self, peer: str, session_id: int, ourselves: bool = False) -> bool:
        """Whether a request with this ID may open a session: not while the ID is active here (§2.8.6).

        ``ourselves``: the peer is this node, so the ID is active at the other end of the same session.
        """
        if (session_id in self._own and not ourselves) or (peer, session_id) in self._incoming:
            return False
        self._incoming.add((peer, session_id))
        self._incoming_ids[session_id] += 1
        return True

    def leave(self, peer: str, session_id: int) -> None:
        if (peer, session_id) in self._incoming:
            self._incoming.remove((peer, session_id))
            self._incoming_ids[session_id] -= 1
            if not self._incoming_ids[session_id]:
                del self._incoming_ids[session_id]

    def active(self, session_id: int) -> bool:
        """Whether this node opened a session with the ID and has not ended it."""
        return session_id in self._own
