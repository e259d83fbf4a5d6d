"""Two ends of one negotiation, wired together by hypothesis: they always agree on how it ended."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grasp.errors import LocalError, PeerError
from grasp.session import Agreed, NegotiationSession, Offer, Refused, State
from grasp.wire import (
    Accept,
    End,
    Message,
    Negotiation,
    Objective,
    RequestNegotiation,
    decode_message,
    encode_message,
)

SID = 99


class TwoEnds(RuleBasedStateMachine):
    """Messages take any time but keep their order; like the core, an end reads only while it awaits an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.crossed = False
        """Somebody declined although it was not their turn."""
        self.accepted: dict[int, object] = {}
        """By end: the value it holds to be agreed."""
        self.refused: dict[int, str] = {}
        self.declined: str | None = None
        self.offer: dict[int, Objective] = {}
        self.counts: list[int] = []
        self.steps = 0

    @initialize(loop_count=st.integers(1, 12), value=st.integers(0, 9), dry_run=st.booleans())
    def begin(self, loop_count: int, value: int, dry_run: bool) -> None:
        objective = Objective.negotiation("EX3", value, dry_run=dry_run, loop_count=loop_count)
        self.ends = (NegotiationSession(SID, objective), NegotiationSession(SID, objective))
        self.objective = objective
        self.counts = [loop_count]
        self._send(0, self.ends[0].request())
        request = decode_message(self.queues[1].popleft())
        assert isinstance(request, RequestNegotiation)
        self.offer[1] = self.ends[1].requested(request).objective

    def _send(self, end: int, message: Message) -> None:
        self.queues[1 - end].append(encode_message(message, 2048))

    def _with(self, *states: State) -> list[int]:
        return [end for end in (0, 1) if self.ends[end].state in states]

    @precondition(lambda self: self._with(State.OURS))
    @rule(data=st.data(), value=st.integers(0, 9), claimed=st.integers(0, 255))
    def step(self, data: st.DataObject, value: int, claimed: int) -> None:
        end = data.draw(st.sampled_from(self._with(State.OURS)))
        if self.ends[end].loop_count <= 1:
            with pytest.raises(LocalError):
                self.ends[end].step(self.objective.with_value(value).with_loop_count(claimed))
            # "The negotiation session has failed and will time out" (§2.8.7).
            self.ends[1 - end].fail()
            self.queues[0].clear()
            self.queues[1].clear()
            return
        message = self.ends[end].step(self.objective.with_value(value).with_loop_count(claimed))
        assert isinstance(message, Negotiation)
        self.counts.append(message.objective.loop_count)
        self.steps += 1
        self._send(end, message)

    @precondition(lambda self: self._with(State.OURS))
    @rule(data=st.data(), milliseconds=st.integers(0, 2**32 - 1))
    def wait(self, data: st.DataObject, milliseconds: int) -> None:
        end = data.draw(st.sampled_from(self._with(State.OURS)))
        self._send(end, self.ends[end].wait(milliseconds))

    @precondition(lambda self: self._with(State.OURS))
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        end = data.draw(st.sampled_from(self._with(State.OURS)))
        self._send(end, self.ends[end].end(accept=True))
        self.accepted[end] = self.offer[end].value

    @precondition(lambda self: self._with(State.OURS, State.THEIRS))
    @rule(data=st.data(), reason=st.sampled_from(["", "too much", "busy"]))
    def decline(self, data: st.DataObject, reason: str) -> None:
        end = data.draw(st.sampled_from(self._with(State.OURS, State.THEIRS)))
        self.crossed |= self.ends[end].state is State.THEIRS
        self._send(end, self.ends[end].end(accept=False, reason=reason))
        self.declined = reason if self.declined is None else self.declined

    @precondition(lambda self: any(self.queues[end] for end in self._with(State.THEIRS)))
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        end = data.draw(st.sampled_from([end for end in self._with(State.THEIRS) if self.queues[end]]))
        message = decode_message(self.queues[end].popleft())
        outcome = self.ends[end].receive(message)
        if isinstance(outcome, Offer):
            self.offer[end] = outcome.objective
        elif isinstance(outcome, Agreed):
            assert isinstance(message, End)
            assert isinstance(message.option, Accept)
            self.accepted[end] = outcome.objective.value
        elif isinstance(outcome, Refused):
            self.refused[end] = outcome.reason

    @precondition(lambda self: all(end.ended for end in self.ends))
    @rule()
    def nothing_more_can_be_sent(self) -> None:
        before = [end.state for end in self.ends]
        for end in self.ends:
            for attempt in (
                lambda end=end: end.step(self.objective),
                lambda end=end: end.wait(1),
                lambda end=end: end.end(True),
            ):
                with pytest.raises(LocalError):
                    attempt()
            end.fail()
        assert [end.state for end in self.ends] == before

    @invariant()
    def loop_counts_fall_with_every_step(self) -> None:
        assert all(after < before for before, after in zip(self.counts, self.counts[1:], strict=False))
        assert self.steps < 12

    @invariant()
    def it_is_never_the_turn_of_both(self) -> None:
        if hasattr(self, "ends"):
            assert len(self._with(State.OURS)) <= 1

    @invariant()
    def what_is_agreed_is_the_same_at_both_ends(self) -> None:
        assert len(set(self.accepted.values())) <= 1
        if hasattr(self, "ends"):
            assert set(self.accepted) == set(self._with(State.AGREED))

    @invariant()
    def a_reason_arrives_as_it_was_given(self) -> None:
        assert all(reason in ("", "too much", "busy") for reason in self.refused.values())
        if self.refused and not self.crossed:
            assert set(self.refused.values()) == {self.declined}

    @invariant()
    def one_does_not_agree_to_what_the_other_declined(self) -> None:
        """But for a decline out of turn that crosses an acceptance, which no protocol of messages can prevent."""
        if hasattr(self, "ends") and not self.crossed:
            states = {end.state for end in self.ends}
            assert not {State.AGREED, State.DECLINED} <= states
            assert not {State.AGREED, State.FAILED} <= states

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        # Let everything arrive; who still owes an answer then gives up.
        for _ in range(100):
            for end in self._with(State.THEIRS):
                while self.queues[end] and self.ends[end].state is State.THEIRS:
                    self.read_now(end)
            for end in self._with(State.OURS):
                self._send(end, self.ends[end].end(accept=False))
        first, second = self.ends
        assert first.ended
        assert second.ended
        if not self.crossed:
            assert first.state is second.state

    def read_now(self, end: int) -> None:
        try:
            self.ends[end].receive(decode_message(self.queues[end].popleft()))
        except PeerError:
            assert self.crossed


TwoEnds.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
test_two_ends_of_a_negotiation_agree_on_its_outcome = TwoEnds.TestCase


def test_who_declined_out_of_turn_learns_that_the_acceptance_had_crossed() -> None:
    """The two ends differ, as they must; but the one that declined can tell, and act on it."""
    objective = Objective.negotiation("EX3", 1)
    initiator, counterpart = NegotiationSession(SID, objective), NegotiationSession(SID, objective)
    initiator.request()
    counterpart.requested(RequestNegotiation(SID, objective))
    acceptance = counterpart.end(accept=True)
    initiator.end(accept=False)
    with pytest.raises(PeerError):
        initiator.receive(acceptance)
    assert (initiator.state, counterpart.state) == (State.DECLINED, State.AGREED)
