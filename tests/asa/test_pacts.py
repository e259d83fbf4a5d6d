"""Reservations of two agents: the rules of either side, and the duty that settles them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from asa import expiry, pacts, reservations
from asa.books import Books
from asa.errors import Conflict, Duplicate, OverCap, Short
from asa.events import EventLog
from asa.ledger import MARGIN_S, Ledger
from asa.peers import Peers
from asa.records import (
    BACK,
    BOTH,
    OUT,
    Cap,
    Held,
    Kind,
    Plan,
    Reservation,
    ReservationState,
    Verdict,
    VerdictState,
    made,
)
from asa.steps import Begin, Broken, Look, Party, Refused, Steps, Transact
from asa.terms import asked_for, terms_of
from asa.threads.pact_settler import PactSettler
from asa.transfer import SKEW_S, TOMBSTONE_S, Declined
from objectives import Block, NodeId, Window
from objectives.pact import Arrange, Arranged, CallOff, Confirm, Confirmed, Settle, Settled
from objectives.params import Params
from objectives.resource import ACCEPTED, NEVER

NOW = 1_000_000
A, B, C = (NodeId(name, number * 16) for name, number in (("a", "0"), ("b", "1"), ("c", "2")))
TXN, OTHER = bytes(16), bytes([1] * 16)
HELD, PREPARED, BOOKED = ReservationState.HELD, ReservationState.PREPARED, ReservationState.BOOKED


def ledger_of(me: NodeId, capacity: int = 100) -> Ledger:
    return Ledger(me, NOW, [Held("wan", Block(0, capacity, NOW - 100, None))])


def do(ledger: Ledger, plan: Plan[Any]) -> Any:
    ledger.apply(plan.changes)
    return plan.result


def booking(rate: int = 10, back: int = 4, end: int | None = NOW + 600, **other: Any) -> Reservation:
    plain = Reservation(
        "r-1", "wan", rate, Window(NOW, end), BOOKED, NOW, NOW, "h1", "h2", kind=Kind.TWO_WAY, back=back, partner=str(B)
    )
    return replace(plain, **other)


def arrangement(wanted: Reservation, txn: bytes = TXN, **other: Any) -> Arrange:
    return replace(Arrange(txn, A, B, wanted.id, terms_of(wanted), NOW, 5_000), **other)


def prepared(ledger: Ledger, arrange: Arrange, now: int = NOW) -> Arranged:
    """What the asked agent does with a request, as far as its rules go."""
    known = pacts.known(ledger, now, arrange)
    if known is not None:
        return known
    old = ledger.reservations.get(arrange.id)
    mine = old if old is not None and old.partner == str(arrange.node) else None
    placed = asked_for(arrange.id, arrange.terms, arrange.node, now, mine)
    return do(ledger, pacts.prepare(ledger, now, arrange, placed))  # type: ignore[no-any-return]


def there(ledger: Ledger) -> Reservation:
    return ledger.reservations["r-1"]


@pytest.fixture
def asked() -> Ledger:
    return ledger_of(B)


@pytest.fixture
def paired(asked: Ledger) -> Ledger:
    """The asked agent, with its end booked."""
    prepared(asked, arrangement(booking()))
    do(asked, pacts.close(asked, NOW, TXN, True))
    return asked


def test_what_is_prepared_takes_capacity_and_becomes_what_it_was_to_be(asked: Ledger) -> None:
    assert prepared(asked, arrangement(booking())) == Arranged(TXN, B, "r-1")
    assert there(asked).state is PREPARED
    assert (there(asked).rate, there(asked).back, there(asked).source) == (4, 10, "h2")
    assert asked.free("wan", Window(NOW, NOW + 1)) == 96
    final = do(asked, pacts.close(asked, NOW, TXN, True))
    assert final == there(asked)
    assert there(asked).state is BOOKED
    assert asked.pacts == {}


def test_what_was_new_is_gone_after_a_decline(asked: Ledger) -> None:
    prepared(asked, arrangement(booking()))
    do(asked, pacts.close(asked, NOW, TXN, False))
    assert asked.reservations == {}
    assert asked.free("wan", Window(NOW, NOW + 1)) == 100
    assert do(asked, pacts.close(asked, NOW, TXN, True)) is None


def test_a_hold_has_no_deadline_until_it_is_decided_for(asked: Ledger) -> None:
    prepared(asked, arrangement(booking(state=HELD, until=NOW + 30)))
    assert there(asked).until is None
    do(asked, pacts.close(asked, NOW, TXN, True))
    assert (there(asked).state, there(asked).until) == (HELD, NOW + 30)
    prepared(asked, arrangement(booking(), OTHER))
    # It does not lapse while the other end is confirming it.
    assert pacts.open_on(asked, "r-1") is not None
    assert expiry.lapsed(asked, NOW + 40).changes == ()
    do(asked, pacts.close(asked, NOW + 40, OTHER, True))
    assert (there(asked).state, there(asked).until) == (BOOKED, None)


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    ("rate", "back", "end"), [(3, 20, NOW + 600), (12, 1, NOW + 60), (10, 4, None), (1, 1, NOW + 1)]
)
def test_while_a_change_is_open_the_most_of_before_and_after_is_kept(
    paired: Ledger, rate: int, back: int, end: int | None, accepted: bool
) -> None:
    before, after = there(paired), booking(rate, back, end)
    prepared(paired, arrangement(after, OTHER))
    for instant in (NOW, NOW + 59, NOW + 61, NOW + 599, NOW + 601, NOW + 10_000):
        window = Window(instant, instant + 1)
        needed = max(4 if before.window.covers(window) else 0, back if after.window.covers(window) else 0)
        assert paired.free("wan", window) <= 100 - needed
    do(paired, pacts.close(paired, NOW + 1, OTHER, accepted))
    if accepted:
        assert (there(paired).rate, there(paired).back, there(paired).window) == (back, rate, after.window)
    else:
        assert there(paired) == before


def test_what_is_taken_over_takes_nobodys_place(asked: Ledger) -> None:
    local = replace(booking(kind=Kind.ONE_WAY, back=0), partner="")
    do(asked, Plan(made(local), None))
    with pytest.raises(Declined, match="not a reservation of this agent and a#"):
        pacts.prepare(asked, NOW, arrangement(local), local)
    moved = replace(local, id="r-2", source="h9")
    do(asked, pacts.prepare(asked, NOW, arrangement(moved), moved))
    do(asked, pacts.close(asked, NOW, TXN, True))
    assert asked.reservations["r-2"] == moved


def test_what_comes_to_something_else_here_is_declined(asked: Ledger) -> None:
    terms = arrangement(booking())
    placed = asked_for("r-1", terms.terms, A, NOW)
    for other in (
        replace(placed, rate=10, back=4),
        replace(placed, partner=str(C)),
        replace(placed, kind=Kind.ONE_WAY),
    ):
        with pytest.raises(Declined, match=r"bad-value|elsewhere|here it would be|serves the other end"):
            pacts.prepare(asked, NOW, terms, other)


def test_a_hull_covers_both_places() -> None:
    old = booking(rate=5, back=7, claims=(("wan", OUT), ("eth0:out", OUT)))
    new = booking(rate=6, back=2, end=None, claims=(("lan", BOTH), ("eth0:in", BACK)))
    for one, other in ((old, new), (new, old), (replace(old, claims=()), new)):
        both = pacts.hull(one, other)
        assert both.window == Window(NOW, None)
        for each in (one, other):
            assert all(both.demand().get(name, 0) >= amount for name, amount in each.demand().items())


@pytest.mark.parametrize(
    ("arrange", "code"),
    [
        (arrangement(booking(), OTHER, of=C), "not-me"),
        (arrangement(booking(), OTHER, node=B), "own"),
        (arrangement(booking(), OTHER, at=NOW - SKEW_S - 1), "stale"),
        (arrangement(booking(), OTHER, at=NOW + SKEW_S + 1), "stale"),
        (arrangement(booking(), TXN), "replay"),
        (arrangement(booking(), OTHER, node=C), "taken"),
        (arrangement(booking(window=Window(NOW + 1, NOW + 600)), OTHER), "bad-value"),
        (arrangement(booking(kind=Kind.ONE_WAY, back=0), OTHER), "bad-value"),
        (arrangement(booking(state=HELD, until=NOW + 5), OTHER), "conflict"),
        (arrangement(booking(window=Window(NOW - 300, NOW - 200)), OTHER, id="r-2"), "past"),
    ],
)
def test_what_is_declined(paired: Ledger, arrange: Arrange, code: str) -> None:
    before = set(paired.records())
    with pytest.raises(Declined) as refusal:
        prepared(paired, arrange)
    assert refusal.value.code == code
    assert set(paired.records()) == before


def test_an_open_request_repeated_is_answered_again_and_another_about_the_same_waits(asked: Ledger) -> None:
    first = prepared(asked, arrangement(booking()))
    assert prepared(asked, arrangement(booking()), NOW + 1_000) == first
    assert len(asked.pacts) == 1
    with pytest.raises(Declined, match="being decided"):
        prepared(asked, arrangement(booking(), OTHER))
    with pytest.raises(Declined, match="known"):
        prepared(asked, arrangement(booking(), TXN, node=C))
    with pytest.raises(Declined, match="same flow"):
        prepared(asked, arrangement(booking(), OTHER, id="r-2"))
    with pytest.raises(Conflict, match="waits for what a, at its other end, decides"):
        pacts.check_free(asked, "r-1")
    pacts.check_free(asked, "r-2")


@pytest.mark.parametrize("accepted", [True, False])
def test_what_was_closed_is_not_prepared_again_while_it_can_pass_for_fresh(asked: Ledger, accepted: bool) -> None:
    request = arrangement(booking())
    prepared(asked, request)
    do(asked, pacts.close(asked, NOW, TXN, accepted))
    for later in (0, SKEW_S, SKEW_S + 1, TOMBSTONE_S, TOMBSTONE_S + 1_000):
        do(asked, pacts.elapsed(asked, NOW + later))
        with pytest.raises(Declined, match=r"over|replay"):
            prepared(asked, request, NOW + later)
    assert asked.onces == {}


def test_admission_is_that_of_any_reservation(paired: Ledger) -> None:
    other: dict[str, Any] = {"source": "h3", "destination": "h4"}
    with pytest.raises(Short):
        prepared(paired, arrangement(booking(1, 97, **other), OTHER, id="r-2"))
    with pytest.raises(Duplicate):
        prepared(paired, arrangement(booking(), OTHER, id="r-2"))
    do(paired, Plan(made(Cap("*", "wan", 5, False)), None))
    with pytest.raises(OverCap):
        prepared(paired, arrangement(booking(1, 2, **other), OTHER, id="r-2"))
    with pytest.raises(OverCap):
        prepared(paired, arrangement(booking(1, 6), OTHER))


# The side that asks.


def booked(wanted: Reservation) -> Callable[[Ledger], Plan[Reservation]]:
    return lambda ledger: reservations.book(ledger, NOW, wanted)


def test_a_booking_is_decided_together_with_its_verdict() -> None:
    asking = ledger_of(A)
    request = arrangement(booking())
    with pytest.raises(Conflict):
        pacts.decide(asking, NOW, request, booked(booking()))
    asking.arranging.add(TXN)
    assert do(asking, pacts.decide(asking, NOW, request, booked(booking()))) == booking()
    assert asking.verdicts[TXN] == Verdict(TXN, B, "r-1", VerdictState.ACCEPTED, NOW)
    assert asking.arranging == set()
    question = Settle(TXN, B, A, "r-1")
    assert pacts.answer(asking, NOW, question) == Plan((), ACCEPTED)
    assert pacts.answer(asking, NOW, replace(question, node=C)) == Plan((), NEVER)
    with pytest.raises(Declined, match="another reservation"):
        pacts.answer(asking, NOW, replace(question, id="r-2"))


def test_an_answer_excludes_a_decision() -> None:
    asking = ledger_of(A)
    asking.arranging.add(TXN)
    assert do(asking, pacts.answer(asking, NOW, Settle(TXN, B, A, "r-1"))) == NEVER
    with pytest.raises(Conflict, match="did not wait"):
        pacts.decide(asking, NOW, arrangement(booking()), booked(booking()))
    do(asking, pacts.elapsed(asking, NOW + TOMBSTONE_S))
    assert asking.verdicts == {}
    with pytest.raises(Conflict):
        pacts.decide(asking, NOW, arrangement(booking()), booked(booking()))
    with pytest.raises(Declined, match="not known here"):
        pacts.answer(asking, NOW, Settle(TXN, B, C, "r-1"))


def test_what_was_booked_before_or_otherwise_is_not_decided() -> None:
    asking = ledger_of(A)
    asking.arranging.add(TXN)
    before = booking(source="h3")
    plan = pacts.decide(asking, NOW, arrangement(booking()), lambda _: Plan((), replace(before, id="r-0")))
    assert plan.changes == ()
    with pytest.raises(Conflict, match="changed meanwhile"):
        pacts.decide(asking, NOW, arrangement(booking()), booked(booking(rate=11)))


def test_a_verdict_is_forgotten_once_it_is_closed_and_not_before(asked: Ledger) -> None:
    asking = ledger_of(A)
    asking.arranging.add(TXN)
    do(asking, pacts.decide(asking, NOW, arrangement(booking()), booked(booking())))
    prepared(asked, arrangement(booking()))
    question = Confirm(A, B, (TXN, OTHER))
    assert pacts.closed(asked, question) == (OTHER,)
    do(asking, pacts.elapsed(asking, NOW + 10**7))
    do(asking, pacts.confirmed(asking, C, [TXN]))
    assert TXN in asking.verdicts
    do(asked, pacts.close(asked, NOW, TXN, True))
    assert pacts.closed(asked, question) == (TXN, OTHER)
    do(asking, pacts.confirmed(asking, B, [TXN, OTHER]))
    assert asking.verdicts == {}
    with pytest.raises(Declined, match="this is b"):
        pacts.closed(asked, replace(question, of=C))


# Ends.


def test_the_end_at_one_is_told_until_the_other_has_ended_it(paired: Ledger) -> None:
    do(paired, reservations.cancel(paired, NOW + 1, "r-1", why="by its owner"))
    (notice,) = pacts.to_tell(paired)
    assert (notice.peer, notice.why) == (A, "by its owner")
    asking = ledger_of(A)
    do(asking, booked(booking())(asking))
    call = CallOff(B, A, "r-1", notice.at, notice.why)
    assert do(asking, pacts.called_off(asking, NOW + 2, call)) == booking()
    assert (there(asking).state, there(asking).why) == (ReservationState.CANCELLED, "by its owner")
    assert asking.notices == {}
    assert pacts.called_off(asking, NOW + 3, call) == Plan((), None)
    do(paired, pacts.told(paired, notice))
    assert paired.notices == {}
    assert pacts.told(paired, notice) == Plan((), None)


def test_only_the_other_end_calls_off(paired: Ledger) -> None:
    for call, code in ((CallOff(C, B, "r-1", NOW), "taken"), (CallOff(A, C, "r-1", NOW), "not-me")):
        with pytest.raises(Declined) as refusal:
            pacts.called_off(paired, NOW, call)
        assert refusal.value.code == code
    assert pacts.called_off(paired, NOW, CallOff(A, B, "r-2", NOW)) == Plan((), None)
    # Of an earlier life of the same id.
    assert pacts.called_off(paired, NOW, CallOff(A, B, "r-1", NOW - SKEW_S - 1)) == Plan((), None)


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("new", [True, False])
def test_what_is_cancelled_while_it_waits_stays_so_and_is_told_afterwards(
    asked: Ledger, accepted: bool, new: bool
) -> None:
    prepared(asked, arrangement(booking()))
    if not new:
        do(asked, pacts.close(asked, NOW, TXN, True))
        prepared(asked, arrangement(booking(5, 5), OTHER))
    do(asked, reservations.cancel(asked, NOW, "r-1"))
    assert asked.free("wan", Window(NOW, NOW + 1)) == 100
    assert pacts.to_tell(asked) == []
    do(asked, pacts.close(asked, NOW, TXN if new else OTHER, accepted))
    assert there(asked).state is ReservationState.CANCELLED
    assert [each.id for each in pacts.to_tell(asked)] == ["r-1"]


def test_what_is_called_off_while_it_waits_stays_open_to_be_settled(asked: Ledger) -> None:
    prepared(asked, arrangement(booking()))
    do(asked, pacts.called_off(asked, NOW, CallOff(A, B, "r-1", NOW)))
    assert there(asked).state is ReservationState.CANCELLED
    assert TXN in asked.pacts
    do(asked, pacts.close(asked, NOW, TXN, True))
    assert there(asked).state is ReservationState.CANCELLED
    assert asked.notices == {}


def test_nothing_is_decided_that_a_notice_on_its_way_would_end() -> None:
    asking = ledger_of(A)
    asking.arranging.add(TXN)
    do(asking, Plan(reservations.told_off(asking, NOW, booking(), "moved"), None))
    with pytest.raises(Conflict, match="yet to be told"):
        pacts.decide(asking, NOW, arrangement(booking()), booked(booking()))


def test_time_decides_what_nobody_does(paired: Ledger) -> None:
    prepared(paired, arrangement(booking(5, 5, NOW + 900), OTHER))
    fresh = arrangement(booking(1, 1, NOW + 100, source="h5"), bytes([2] * 16), id="r-2")
    prepared(paired, fresh)
    hold = arrangement(booking(1, 1, None, source="h6", state=HELD, until=NOW + 50), bytes([3] * 16), id="r-3")
    prepared(paired, hold)
    for later, left in ((100, {"r-1", "r-2", "r-3"}), (50 + MARGIN_S, {"r-1", "r-2"}), (899 + MARGIN_S, {"r-1"})):
        paired.advance(NOW + later)
        do(paired, pacts.elapsed(paired, NOW + later))
        assert {each.after.id for each in paired.pacts.values()} == left
        assert set(paired.reservations) == left
    paired.advance(NOW + 900 + MARGIN_S)
    assert [each.after.id for each in do(paired, pacts.elapsed(paired, NOW + 900 + MARGIN_S))] == ["r-1"]
    assert paired.pacts == {}


def test_a_notice_is_dropped_when_the_window_has_passed(paired: Ledger) -> None:
    do(paired, reservations.cancel(paired, NOW, "r-1"))
    for later, left in ((599, 1), (600, 0)):
        paired.advance(NOW + later + MARGIN_S)
        do(paired, pacts.elapsed(paired, NOW + later + MARGIN_S))
        assert len(paired.notices) == left


def test_what_waits_for_an_agent_that_is_gone_for_ever_goes_and_what_is_booked_stays(paired: Ledger) -> None:
    before = there(paired)
    prepared(paired, arrangement(booking(50, 50), OTHER))
    prepared(paired, arrangement(booking(source="h5"), bytes([2] * 16), id="r-2"))
    do(paired, Plan(made(Verdict(bytes([3] * 16), A, "r-3", VerdictState.ACCEPTED, NOW)), None))
    do(paired, Plan(made(Verdict(bytes([4] * 16), C, "r-4", VerdictState.ACCEPTED, NOW)), None))
    do(paired, Plan(reservations.told_off(paired, NOW, booking(id="r-5", partner=str(A)), "over"), None))
    assert [each.after.id for each in do(paired, pacts.forget(paired, NOW, A))] == ["r-1", "r-2"]
    assert paired.reservations == {"r-1": before}
    assert (paired.pacts, paired.notices) == ({}, {})
    assert [each.id for each in paired.verdicts.values()] == ["r-4"]


# The duty.


class Journal:
    def commit(self, changes: Any) -> None:
        pass


class Peer:
    """Performs conversations; what a peer answers is what ``answer`` makes of a request, or what it raises."""

    def __init__(self, books: Books, answer: Callable[[Any], Any]) -> None:
        self.books = books
        self.answer = answer
        self.asked: list[Any] = []

    def run(self, steps: Steps[Any]) -> Any:
        result: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.throw(error) if error is not None else steps.send(result)
            except StopIteration as end:
                return end.value
            result = error = None
            match step:
                case Transact():
                    result = self.books.transact(step.rule)
                case Look():
                    result = self.books.read(step.look)
                case Begin():
                    self.asked.append(step.request)
                    try:
                        result = self.answer(step.request)
                    except (Broken, Refused) as raised:
                        error = raised


def settler_of(ledger: Ledger, answer: Callable[[Any], Any]) -> tuple[PactSettler, Peer, Party]:
    rng = Random(1)
    books = Books(ledger, Journal())
    party = Party(ledger.me, lambda: NOW + 100, lambda: 0.0, rng, Peers(ledger.me, rng), Params)
    peer = Peer(books, answer)
    return PactSettler(party, peer, books, EventLog(100), lambda *_: None, rng), peer, party  # type: ignore[arg-type]


def test_the_settler_asks_tells_and_has_confirmed() -> None:
    ledger = ledger_of(B)
    prepared(ledger, arrangement(booking()))
    other = arrangement(booking(source="h7"), OTHER, id="r-2")
    prepared(ledger, other)
    do(ledger, pacts.close(ledger, NOW, OTHER, True))
    do(ledger, reservations.cancel(ledger, NOW, "r-2"))
    mine = Verdict(bytes([5] * 16), C, "r-3", VerdictState.ACCEPTED, NOW)
    do(ledger, Plan(made(mine), None))

    def answer(request: Any) -> Any:
        match request:
            case Settle():
                return Settled(request.txn, request.of, ACCEPTED)
            case Confirm():
                return Confirmed(request.of, request.txns)
        return None

    settler, peer, party = settler_of(ledger, answer)
    party.talking.add(TXN)
    settler.turn()
    assert {type(each) for each in peer.asked} == {CallOff, Confirm}
    party.talking.clear()
    settler.turn()
    assert {type(each) for each in peer.asked} == {CallOff, Confirm, Settle}
    assert (ledger.pacts, ledger.notices, ledger.verdicts) == ({}, {}, {})
    assert there(ledger).state is BOOKED
    settler.turn()
    assert len(peer.asked) == 3


def test_the_settler_lets_a_peer_rest_that_does_not_answer() -> None:
    ledger = ledger_of(B)
    for number in range(3):
        flow = booking(1, 1, source=f"h{number}0")
        prepared(ledger, arrangement(flow, bytes([number] * 16), id=f"r-{number}"))

    def answer(request: Any) -> Any:
        raise Broken("no answer")

    settler, peer, _ = settler_of(ledger, answer)
    settler.turn()
    settler.turn()
    assert len(peer.asked) == 1

    def refuse(request: Any) -> Any:
        raise Refused("busy: not now")

    settler, peer, _ = settler_of(ledger, refuse)
    settler.turn()
    settler.turn()
    assert len(peer.asked) == 3
    assert len(ledger.pacts) == 3
