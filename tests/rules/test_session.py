"""One end of a negotiation: the table of RFC 8990 §2.5.5, loop counts, and everything a peer can get wrong."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.constants import F_DISC, F_NEG, F_NEG_DRY, F_SYNCH
from grasp.errors import ErrorCode, LocalError, PeerError
from grasp.session import (
    TRANSITIONS,
    Agreed,
    Event,
    NegotiationSession,
    Offer,
    Refused,
    State,
    Waiting,
)
from grasp.wire import (
    Accept,
    Decline,
    Discovery,
    End,
    Flood,
    FloodEntry,
    Invalid,
    IPv6Locator,
    Message,
    Negotiation,
    Noop,
    Objective,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    Synchronization,
    Wait,
)

SID = 4711
A6 = IPv6Address("2001:db8::1")


def objective(value: Any = 1, loop_count: int = 6) -> Objective:
    return Objective("EX3", F_DISC | F_NEG, loop_count, value)


I, T, O, A, D, F = State.IDLE, State.THEIRS, State.OURS, State.AGREED, State.DECLINED, State.FAILED  # noqa: E741

RFC: dict[tuple[State, Event], State] = {
    # An initiator sends M_REQ_NEG and awaits the answer; a counterpart receives it and owes one (§2.8.6).
    (I, Event.SEND_REQUEST): T,
    (I, Event.RECV_REQUEST): O,
    # M_NEGOTIATE is an answer, and asks for one (§2.8.7).
    (O, Event.SEND_STEP): T,
    (T, Event.RECV_STEP): O,
    # M_WAIT puts the answer off, it is none (§2.8.9).
    (O, Event.SEND_WAIT): O,
    (T, Event.RECV_WAIT): T,
    # M_END ends it at once and is not answered (§2.5.5, §2.8.8).
    (O, Event.SEND_ACCEPT): A,
    (O, Event.SEND_DECLINE): D,
    (T, Event.RECV_ACCEPT): A,
    (T, Event.RECV_DECLINE): D,
    # Who has lost interest need not wait for the answer to say so; there is nothing yet to accept.
    (T, Event.SEND_DECLINE): D,
    # Time-outs and broken connections happen at any time and count as failure (§2.5.5).
    (I, Event.FAIL): F,
    (T, Event.FAIL): F,
    (O, Event.FAIL): F,
}

REACH: dict[State, list[Event]] = {
    State.IDLE: [],
    State.THEIRS: [Event.SEND_REQUEST],
    State.OURS: [Event.RECV_REQUEST],
    State.AGREED: [Event.SEND_REQUEST, Event.RECV_ACCEPT],
    State.DECLINED: [Event.RECV_REQUEST, Event.SEND_DECLINE],
    State.FAILED: [Event.SEND_REQUEST, Event.FAIL],
}

DO: dict[Event, Callable[[NegotiationSession], Any]] = {
    Event.SEND_REQUEST: lambda session: session.request(),
    Event.SEND_STEP: lambda session: session.step(objective(2)),
    Event.SEND_WAIT: lambda session: session.wait(1000),
    Event.SEND_ACCEPT: lambda session: session.end(accept=True),
    Event.SEND_DECLINE: lambda session: session.end(accept=False),
    Event.RECV_REQUEST: lambda session: session.requested(RequestNegotiation(SID, objective())),
    Event.RECV_STEP: lambda session: session.receive(Negotiation(SID, objective(2, 5))),
    Event.RECV_WAIT: lambda session: session.receive(Wait(SID, 1000)),
    Event.RECV_ACCEPT: lambda session: session.receive(End(SID, Accept())),
    Event.RECV_DECLINE: lambda session: session.receive(End(SID, Decline("no"))),
    Event.FAIL: lambda session: session.fail(),
}
RECEIVED = [Event.RECV_STEP, Event.RECV_WAIT, Event.RECV_ACCEPT, Event.RECV_DECLINE]


def at(state: State) -> NegotiationSession:
    session = NegotiationSession(SID, objective())
    for event in REACH[state]:
        DO[event](session)
    assert session.state is state
    return session


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)), ids=lambda each: each.value)
def test_every_event_in_every_state_does_what_the_rfc_says(state: State, event: Event) -> None:
    session = at(state)
    expected = RFC.get((state, event))
    ended = state in (State.AGREED, State.DECLINED, State.FAILED)
    if expected is not None:
        DO[event](session)
        assert session.state is expected
    elif event is Event.FAIL:
        session.fail()
        assert session.state is state
    elif event in RECEIVED:
        with pytest.raises(PeerError) as from_peer:
            DO[event](session)
        is_end = event in (Event.RECV_ACCEPT, Event.RECV_DECLINE)
        assert from_peer.value.code is (ErrorCode.invalidEnd if is_end else ErrorCode.noValidStep)
        assert session.state is (state if ended else State.FAILED)
    else:
        with pytest.raises(LocalError) as ours:
            DO[event](session)
        assert ours.value.code is (ErrorCode.noSession if ended else ErrorCode.badArgument)
        assert session.state is state
    assert session.ended is (session.state in (State.AGREED, State.DECLINED, State.FAILED))


def test_the_table_is_that_of_the_rfc_and_complete() -> None:
    assert {(state, event): following for state, row in TRANSITIONS.items() for event, following in row.items()} == RFC
    assert set(TRANSITIONS) == set(State)


def test_no_refused_call_consumes_a_step() -> None:
    session = at(State.THEIRS)
    for event in (Event.SEND_STEP, Event.SEND_WAIT, Event.SEND_ACCEPT, Event.SEND_REQUEST):
        with pytest.raises(LocalError):
            DO[event](session)
    assert session.loop_count == 6
    assert session.receive(Negotiation(SID, objective(2, 5))) == Offer(objective(2, 5))


# -- what is sent


def test_what_is_sent_has_the_session_id_and_the_form_of_the_rfc() -> None:
    session = NegotiationSession(SID, objective(410))
    assert session.request() == RequestNegotiation(SID, objective(410, 6))
    session.receive(Negotiation(SID, objective(80, 6)))
    assert session.step(objective(307)) == Negotiation(SID, objective(307, 5))
    session.receive(Wait(SID, 34965))
    session.receive(Negotiation(SID, objective(120, 4)))
    assert session.wait(5) == Wait(SID, 5)
    assert session.step(objective(246)) == Negotiation(SID, objective(246, 3))
    assert session.receive(End(SID, Decline("Insufficient funds"))) == Refused("Insufficient funds")


@pytest.mark.parametrize(("accept", "reason", "option"), [
    (True, None, Accept()), (False, None, Decline()), (False, "", Decline()), (False, "no", Decline("no")),
])  # fmt: skip
def test_an_end_carries_accept_or_decline(accept: bool, reason: str | None, option: Accept | Decline) -> None:
    assert at(State.OURS).end(accept, reason) == End(SID, option)


def test_a_bad_argument_leaves_the_session_as_it_was() -> None:
    session = at(State.OURS)
    bad_calls: list[Callable[[], Any]] = [
        lambda: session.wait(-1),
        lambda: session.wait(2**32),
        lambda: session.end(False, 5),  # type: ignore[arg-type]
        lambda: session.step(Objective("EX4", F_NEG, 6, 1)),
        lambda: session.step(Objective("EX3", F_NEG | F_NEG_DRY, 6, 1)),
        lambda: session.step(Objective("EX3", F_SYNCH, 6, 1)),
        lambda: session.step(Objective("EX3", F_NEG, 6)),
    ]
    for call in bad_calls:
        with pytest.raises(LocalError) as caught:
            call()
        assert caught.value.code is ErrorCode.badArgument
    assert session.state is State.OURS
    assert session.step(objective(2)) == Negotiation(SID, objective(2, 5))


def test_null_is_a_value_and_goes_both_ways() -> None:
    session = at(State.OURS)
    assert session.step(objective(None)) == Negotiation(SID, objective(None, 5))
    assert session.receive(Negotiation(SID, objective(None, 4))) == Offer(objective(None, 4))


# -- what is received


def test_acceptance_is_of_the_last_proposal_as_it_was_sent() -> None:
    session = at(State.OURS)
    session.step(objective(2))
    session.receive(Negotiation(SID, objective(3, 4)))
    session.step(objective(4, 200))
    assert session.receive(End(SID, Accept())) == Agreed(objective(4, 3))


def test_acceptance_of_the_request_is_of_the_request() -> None:
    assert at(State.THEIRS).receive(End(SID, Accept())) == Agreed(objective(1, 6))


def test_a_decline_without_reason_has_an_empty_one() -> None:
    assert at(State.THEIRS).receive(End(SID, Decline())) == Refused("")


def test_waiting_is_handed_on_and_may_be_repeated() -> None:
    session = at(State.THEIRS)
    for milliseconds in (0, 1, 2**32 - 1):
        assert session.receive(Wait(SID, milliseconds)) == Waiting(milliseconds)
    assert session.state is State.THEIRS


LOCATOR = IPv6Locator(A6, 6, 7017)
NO_ANSWERS: dict[str, Message] = {
    "M_NOOP": Noop(),
    "M_DISCOVERY": Discovery(SID, A6, objective()),
    "M_RESPONSE": Response(SID, A6, 1, (LOCATOR,)),
    "M_REQ_NEG": RequestNegotiation(SID, objective()),
    "M_REQ_SYN": RequestSynchronization(SID, objective()),
    "M_SYNCH": Synchronization(SID, objective()),
    "M_FLOOD": Flood(SID, A6, 1, (FloodEntry(objective()),)),
    "M_INVALID": Invalid(SID, "what?"),
    "M_NEGOTIATE of another session": Negotiation(SID + 1, objective(2, 5)),
    "M_WAIT of another session": Wait(SID + 1, 1),
    "M_END of another session": End(SID + 1, Accept()),
    "M_INVALID of another session": Invalid(SID + 1),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_a_message_that_is_no_answer_of_this_session_ends_it(name: str) -> None:
    session = at(State.THEIRS)
    with pytest.raises(PeerError) as caught:
        session.receive(NO_ANSWERS[name])
    assert caught.value.code is ErrorCode.noValidStep
    assert session.state is State.FAILED


DIFFERENT = {
    "another name": Objective("EX4", F_DISC | F_NEG, 5, 1),
    "the name in other letters": Objective("ex3", F_DISC | F_NEG, 5, 1),
    "a longer name": Objective("EX3 ", F_DISC | F_NEG, 5, 1),
    "dry run begun": Objective("EX3", F_DISC | F_NEG | F_NEG_DRY, 5, 1),
    "not for negotiation": Objective("EX3", F_DISC, 5, 1),
    "for synchronization": Objective("EX3", F_DISC | F_SYNCH, 5, 1),
    "no value": Objective("EX3", F_DISC | F_NEG, 5),
    "loop count 0": Objective("EX3", F_DISC | F_NEG, 0, 1),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_step_about_something_else_ends_the_session(name: str) -> None:
    session = at(State.THEIRS)
    with pytest.raises(PeerError) as caught:
        session.receive(Negotiation(SID, DIFFERENT[name]))
    assert caught.value.code is ErrorCode.invalidNeg
    assert session.state is State.FAILED


def test_a_dry_run_stays_one() -> None:
    """RFC 8990 §2.10.2: mixing the two modes in one negotiation is not possible."""
    dry = Objective("EX3", F_NEG | F_NEG_DRY, 6, 1)
    session = NegotiationSession(SID, dry)
    session.request()
    session.receive(Negotiation(SID, dry.with_loop_count(5)))
    with pytest.raises(LocalError):
        session.step(objective())
    session.step(dry)
    with pytest.raises(PeerError):
        session.receive(Negotiation(SID, objective(1, 3)))


def test_after_its_failure_a_session_stays_failed() -> None:
    session = at(State.THEIRS)
    with pytest.raises(PeerError):
        session.receive(Invalid(SID))
    with pytest.raises(PeerError):
        session.receive(End(SID, Accept()))
    assert session.state is State.FAILED


def test_an_agreement_is_not_undone_by_what_comes_later() -> None:
    session = at(State.AGREED)
    for message in (End(SID, Decline()), Invalid(SID), Negotiation(SID, objective(2, 5))):
        with pytest.raises(PeerError):
            session.receive(message)
        assert session.state is State.AGREED


# -- a step that could not be sent


def test_a_withdrawn_step_was_never_made() -> None:
    session = at(State.OURS)
    session.step(objective(2))
    session.withdraw()
    assert session.state is State.OURS
    assert session.step(objective(3)) == Negotiation(SID, objective(3, 5))
    assert session.receive(End(SID, Accept())) == Agreed(objective(3, 5))


def test_withdrawing_a_step_does_not_revive_a_session_that_has_failed_since() -> None:
    session = at(State.OURS)
    session.step(objective(2))
    session.fail()
    session.withdraw()
    assert session.state is State.FAILED


# -- loop counts (§2.8.7)


@pytest.mark.parametrize("loop_count", [0, 1, 2, 3, 6, 255])
def test_the_steps_of_one_session_are_as_many_as_its_loop_count_allows(loop_count: int) -> None:
    """The sender decrements and does not send 0, so n - 1 steps follow a request with n, whoever makes them."""
    ends = [NegotiationSession(SID, objective(0, loop_count)) for _ in range(2)]
    initiator, counterpart = ends
    initiator.request()
    counterpart.requested(RequestNegotiation(SID, objective(0, loop_count)))
    sent = []
    for turn in range(loop_count + 1):
        sender, receiver = (counterpart, initiator) if turn % 2 == 0 else (initiator, counterpart)
        try:
            message = sender.step(objective(turn))
        except LocalError as error:
            exhausted: LocalError | None = error
            break
        assert isinstance(message, Negotiation)
        sent.append(message.objective.loop_count)
        receiver.receive(message)
    assert exhausted is not None
    assert exhausted.code is ErrorCode.loopExhausted
    assert sender.state is State.FAILED
    assert sent == list(range(loop_count - 1, 0, -1))


def test_at_the_last_step_the_session_can_still_be_ended() -> None:
    for accept in (True, False):
        session = NegotiationSession(SID, objective(0, 1))
        session.requested(RequestNegotiation(SID, objective(0, 1)))
        session.end(accept)
        assert session.state is (State.AGREED if accept else State.DECLINED)


@pytest.mark.parametrize("theirs", [6, 5, 4, 1])
def test_any_count_that_does_not_rise_is_taken_over(theirs: int) -> None:
    """Other implementations leave the first decrement to the receiver (field notes §7), or take larger steps."""
    session = at(State.THEIRS)
    assert session.receive(Negotiation(SID, objective(2, theirs))) == Offer(objective(2, theirs))
    if theirs > 1:
        assert session.step(objective(3)) == Negotiation(SID, objective(3, theirs - 1))
    else:
        with pytest.raises(LocalError):
            session.step(objective(3))


@pytest.mark.parametrize("theirs", [7, 255])
def test_a_count_that_rises_is_held_down(theirs: int) -> None:
    session = at(State.THEIRS)
    assert session.receive(Negotiation(SID, objective(2, theirs))) == Offer(objective(2, 6))
    assert session.step(objective(3)) == Negotiation(SID, objective(3, 5))


@given(st.integers(1, 255), st.lists(st.integers(0, 255), max_size=300))
@settings(max_examples=60, deadline=None)
def test_whatever_the_peer_counts_the_session_ends(first: int, theirs: list[int]) -> None:
    session = NegotiationSession(SID, objective(0, first))
    session.request()
    seen = [first]
    for count in theirs:
        try:
            offer = session.receive(Negotiation(SID, objective(0, count)))
            assert isinstance(offer, Offer)
            message = session.step(objective(0, 255))
        except (PeerError, LocalError):
            break
        assert isinstance(message, Negotiation)
        seen += [offer.objective.loop_count, message.objective.loop_count]
    assert seen == sorted(seen, reverse=True)
    assert min(seen) > 0
    steps = seen[2::2]
    assert len(steps) == len(set(steps)) < 255
