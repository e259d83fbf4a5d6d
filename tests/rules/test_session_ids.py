"""Session IDs (RFC 8990 §2.7): new ones are not in use and were not lately; clashing requests are discarded."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from grasp.session import SessionIds


def drawing(*numbers: int, recent: int = 4) -> SessionIds:
    source: Iterator[int] = iter(numbers)
    return SessionIds(recent, lambda: next(source))


def test_an_id_in_use_is_drawn_again() -> None:
    ids = drawing(7, 7, 7, 8, recent=1)
    assert ids.new() == 7
    assert ids.new() == 8


def test_an_id_used_lately_is_drawn_again_although_its_session_has_ended() -> None:
    ids = drawing(7, 7, 8)
    ids.release(ids.new())
    assert ids.new() == 8


def test_an_id_used_long_ago_may_come_again() -> None:
    ids = drawing(7, 1, 2, 7, recent=2)
    for _ in range(3):
        ids.release(ids.new())
    assert ids.new() == 7


def test_an_id_still_in_use_does_not_come_again_however_long_ago_it_was_drawn() -> None:
    ids = drawing(7, 1, 2, 3, 7, 4, recent=2)
    assert ids.new() == 7
    for _ in range(3):
        ids.release(ids.new())
    assert ids.new() == 4


def test_an_id_a_peer_uses_in_a_session_with_us_is_drawn_again() -> None:
    """ "GRASP MUST check that the value is not already in use" (§2.7)."""
    ids = drawing(7, 8)
    assert ids.enter("fe80::1%eth0", 7)
    assert ids.new() == 8


def test_a_request_with_an_id_of_ours_is_refused_until_our_session_ends() -> None:
    """§2.8.6, the race of two nodes that open sessions with each other."""
    ids = drawing(7)
    own = ids.new()
    assert ids.active(own)
    assert not ids.enter("a", own)
    ids.release(own)
    assert not ids.active(own)
    assert ids.enter("a", own)


def test_a_session_with_ourselves_has_one_id_at_both_ends() -> None:
    ids = drawing(7)
    own = ids.new()
    assert ids.enter("2001:db8::1", own, ourselves=True)
    assert not ids.enter("2001:db8::1", own, ourselves=True)


def test_an_id_two_peers_use_is_free_when_both_have_ended() -> None:
    ids = drawing(7, 8, 7, recent=1)
    ids.enter("a", 7)
    ids.enter("b", 7)
    ids.leave("a", 7)
    assert ids.new() == 8
    ids.leave("b", 7)
    ids.leave("b", 7)
    assert ids.new() == 7


def test_a_second_request_of_a_peer_with_the_same_id_is_refused_while_the_first_lasts() -> None:
    ids = drawing()
    assert ids.enter("a", 7)
    assert not ids.enter("a", 7)
    ids.leave("a", 7)
    assert ids.enter("a", 7)


def test_the_same_id_of_two_peers_makes_two_sessions() -> None:
    """The initiator's address tells them apart (§2.7)."""
    ids = drawing()
    assert ids.enter("a", 7)
    assert ids.enter("b", 7)
    ids.leave("a", 7)
    assert not ids.enter("b", 7)


def test_a_peers_session_is_not_ours() -> None:
    ids = drawing()
    ids.enter("a", 7)
    assert not ids.active(7)


def test_releasing_what_is_not_in_use_is_harmless() -> None:
    ids = drawing(1)
    ids.release(5)
    ids.leave("a", 5)
    assert ids.new() == 1


class Ids(RuleBasedStateMachine):
    """Against lists that are searched from end to end, over so few numbers that they clash all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[int] = []
        self.ids = SessionIds(4, self._draw)
        self.own: list[int] = []
        self.drawn: list[int] = []
        self.incoming: list[tuple[str, int]] = []

    def _draw(self) -> int:
        return self.draws.pop(0)

    @precondition(lambda self: len(self.own) < 8)
    @rule(data=st.data())
    def new(self, data: st.DataObject) -> None:
        self.draws = [*data.draw(st.lists(st.integers(0, 15), max_size=6)), *range(16, 50)]
        taken = {*self.own, *self.drawn[-4:], *(number for _, number in self.incoming)}
        expected = next(each for each in self.draws if each not in taken)
        session_id = self.ids.new()
        assert session_id == expected
        self.own.append(session_id)
        self.drawn.append(session_id)

    @precondition(lambda self: self.own)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        session_id = data.draw(st.sampled_from(self.own))
        self.own.remove(session_id)
        self.ids.release(session_id)

    @precondition(lambda self: len(self.incoming) < 16)
    @rule(peer=st.sampled_from("ab"), session_id=st.integers(0, 31), ourselves=st.booleans())
    def enter(self, peer: str, session_id: int, ourselves: bool) -> None:
        free = (ourselves or session_id not in self.own) and (peer, session_id) not in self.incoming
        assert self.ids.enter(peer, session_id, ourselves) is free
        if free:
            self.incoming.append((peer, session_id))

    @precondition(lambda self: self.incoming)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(self.incoming))
        self.incoming.remove(which)
        self.ids.leave(*which)

    @rule(session_id=st.integers(0, 31))
    def active(self, session_id: int) -> None:
        assert self.ids.active(session_id) is (session_id in self.own)


Ids.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_session_ids_behave_like_lists_of_them = Ids.TestCase
