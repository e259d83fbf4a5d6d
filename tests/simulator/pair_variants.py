"""Pacts, broken on purpose: what a plausible shortcut in each rule would be. The simulator must catch every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asa import pacts, pairing, reservations
from asa.ledger import Ledger
from asa.records import (
    Change,
    Notice,
    Pact,
    Plan,
    Reservation,
    ReservationState,
    Verdict,
    VerdictState,
    made,
    removed,
)
from asa.steps import Begin, Broken, Finish, Look, Party, Propose, Steps, Transact
from asa.transfer import Declined
from objectives import NodeId
from objectives.pact import NAME, Arrange, Arranged, CallOff, Confirm, Settle, Settled, Terms
from objectives.resource import ACCEPTED, NEVER
from tests.simulator.variants import Replaced

Decide = Callable[[Ledger], Plan[Reservation]]


def _given_up(accepted: bool) -> Callable[..., Steps[None]]:
    """The asked side that takes a broken session for a decision."""

    def serve_arrange(party: Party, request: Arrange, place: Callable[[Arrange], Reservation]) -> Steps[None]:
        answer: Arranged | None = yield Look(lambda ledger: pacts.known(ledger, party.clock(), request))
        if answer is None:
            answer = yield Transact(
                lambda ledger: pacts.prepare(ledger, party.clock(), request, place(request), party.seeded)
            )
        try:
            yes = yield Propose(answer)
        except Broken:
            yes = accepted
        yield Transact(lambda ledger: pacts.close(ledger, party.clock(), request.txn, yes))

    return serve_arrange


def _answer_first(party: Party, request: Arrange, place: Callable[[Arrange], Reservation]) -> Steps[None]:
    """It is said before it is on disk."""
    yield Look(lambda ledger: pacts.known(ledger, party.clock(), request))
    plan: Plan[Arranged] = yield Look(
        lambda ledger: pacts.prepare(ledger, party.clock(), request, place(request), party.seeded)
    )
    if (yield Propose(plan.result)):
        yield Transact(lambda ledger: plan)
        yield Transact(lambda ledger: pacts.close(ledger, party.clock(), request.txn, True))


def _book_first(
    party: Party, peer: NodeId, identifier: str, terms: Terms, decide: Decide, until: float
) -> Steps[Reservation]:
    """The asking side books its end before the other has prepared its own."""
    txn = party.txn()
    request = Arrange(txn, party.me, peer, identifier, terms, party.clock(), 10_000)
    yield Look(lambda ledger: ledger.arranging.add(txn))
    booked: Reservation = yield Transact(lambda ledger: pacts.decide(ledger, party.clock(), request, decide))
    yield Begin(peer, request, objective=NAME)
    yield Finish(True)
    return booked


def _accept_first(
    party: Party, peer: NodeId, identifier: str, terms: Terms, decide: Decide, until: float
) -> Steps[Reservation]:
    """Acceptance is said before it is on disk."""
    txn = party.txn()
    request = Arrange(txn, party.me, peer, identifier, terms, party.clock(), 10_000)
    yield Look(lambda ledger: ledger.arranging.add(txn))
    yield Begin(peer, request, objective=NAME)
    yield Finish(True)
    booked: Reservation = yield Transact(lambda ledger: pacts.decide(ledger, party.clock(), request, decide))
    return booked


def _decide_unasked(forget: bool) -> Callable[..., Plan[Reservation]]:
    """Step 3 that minds nothing it was asked meanwhile; with ``forget`` not even the verdict on disk."""

    def decide(ledger: Ledger, now: int, request: Arrange, book: Decide) -> Plan[Reservation]:
        known = ledger.verdicts.get(request.txn)
        ledger.arranging.add(request.txn)
        if known is not None and not forget:
            raise Declined("withdrawn", "the transaction is over")
        if known is None:
            return _DECIDE(ledger, now, request, book)
        plan = book(ledger)
        verdict = Verdict(request.txn, request.of, request.id, VerdictState.ACCEPTED, now)
        return Plan((*plan.changes, Change(known, None), *made(verdict)), plan.result)

    return decide


def _decide_without_verdict(ledger: Ledger, now: int, request: Arrange, book: Decide) -> Plan[Reservation]:
    """The booking is on disk, the verdict not."""
    plan = _DECIDE(ledger, now, request, book)
    return Plan(tuple(each for each in plan.changes if each.kind is not Verdict), plan.result)


def _decide_whatever(ledger: Ledger, now: int, request: Arrange, book: Decide) -> Plan[Reservation]:
    """What was arranged is not compared with what is booked."""
    plan = book(ledger)
    if request.txn not in ledger.arranging:
        raise Declined("withdrawn", "the transaction is over")
    return Plan(
        (*plan.changes, *made(Verdict(request.txn, request.of, request.id, VerdictState.ACCEPTED, now))), plan.result
    )


def _answer_unwritten(ledger: Ledger, now: int, settle: Settle, **_: Any) -> Plan[str]:
    verdict = ledger.verdicts.get(settle.txn)
    return Plan((), ACCEPTED if verdict is not None and verdict.state is VerdictState.ACCEPTED else NEVER)


def _answer_for_anybody(ledger: Ledger, now: int, settle: Settle, **_: Any) -> Plan[str]:
    return _ANSWER(ledger, now, Settle(settle.txn, settle.node, ledger.me, settle.id))


def _serve_settle_posing(party: Party, question: Settle) -> Steps[None]:
    """The answer is given in the name of whoever was asked for."""
    outcome = yield Transact(lambda ledger: pacts.answer(ledger, party.clock(), question))
    yield Propose(Settled(question.txn, question.of, outcome))


def _forgetful(ledger: Ledger, now: int, most: int = 512) -> Plan[list[Pact]]:
    """Verdicts are forgotten though the other agent may still ask."""
    return Plan(removed(ledger.verdicts.values()), [])


def _closed_says_yes(ledger: Ledger, confirm: Confirm) -> tuple[bytes, ...]:
    return confirm.txns


def _cancel_quietly(ledger: Ledger, now: int, old: Reservation, why: str) -> tuple[Change, ...]:
    """The other agent is not told."""
    return ()


def _hull_unchanged(old: Reservation, new: Reservation) -> Reservation:
    """The capacity of what it is to become is not kept."""
    return old


def _hull_changed(old: Reservation, new: Reservation) -> Reservation:
    """The capacity of what it was is not kept."""
    return replace(new, state=old.state, until=None)


def _close_anyhow(ledger: Ledger, now: int, txn: bytes, accepted: bool) -> Plan[Reservation | None]:
    """What was cancelled meanwhile is booked all the same."""
    pact = ledger.pacts.get(txn)
    current = ledger.reservations.get(pact.after.id) if pact is not None else None
    if pact is None or current is None or current.state is not ReservationState.CANCELLED or not accepted:
        return _CLOSE(ledger, now, txn, accepted)
    return Plan((*removed([pact]), Change(current, None), Change(None, pact.after)), pact.after)


def _close_unremembered(ledger: Ledger, now: int, txn: bytes, accepted: bool) -> Plan[Reservation | None]:
    """What is over may be asked for again."""
    plan = _CLOSE(ledger, now, txn, accepted)
    return Plan(tuple(each for each in plan.changes if each.kind in (Pact, Reservation, Notice)), plan.result)


def _close_keeps(ledger: Ledger, now: int, txn: bytes, accepted: bool) -> Plan[Reservation | None]:
    """The pact is gone, and what was prepared stays."""
    pact = ledger.pacts.get(txn)
    if pact is None or accepted:
        return _CLOSE(ledger, now, txn, accepted)
    return Plan(removed([pact]), None)


def _called_off_by_anybody(ledger: Ledger, now: int, call: CallOff) -> Plan[Reservation | None]:
    """Who ever asks may cancel."""
    old = ledger.reservations.get(call.id)
    partner = next((each for each in (call.node,) if old is None or str(each) == old.partner), None)
    if partner is not None or old is None or old.state is ReservationState.CANCELLED:
        return _CALLED_OFF(ledger, now, call)
    return Plan((Change(old, replace(old, state=ReservationState.CANCELLED)),), old)


def _tell_all(ledger: Ledger) -> list[Notice]:
    """Also of what the other agent is just deciding about."""
    return list(ledger.notices.values())


def _told_at_once(party: Party, notice: Notice) -> Steps[bool]:
    """A notice is forgotten when it is sent, not when it has arrived."""
    yield Transact(lambda ledger: pacts.told(ledger, notice))
    return (yield from _CALL_OFF(party, notice))


def _free_anyway(ledger: Ledger, identifier: str) -> None:
    """What waits for a decision is changed."""


_DECIDE, _ANSWER, _CLOSE, _CALLED_OFF = pacts.decide, pacts.answer, pacts.close, pacts.called_off
_CALL_OFF = pairing.call_off

PAIR_VARIANTS: dict[str, list[Replaced]] = {
    "commits-on-a-broken-session": [(pairing, "_serve_arrange", _given_up(True))],
    "aborts-on-a-broken-session": [(pairing, "_serve_arrange", _given_up(False))],
    "answers-before-prepared": [(pairing, "_serve_arrange", _answer_first)],
    "books-before-prepared": [(pairing, "_agree", _book_first)],
    "accepts-before-disk": [(pairing, "_agree", _accept_first)],
    "decides-without-verdict": [(pacts, "decide", _decide_without_verdict)],
    "books-other-than-arranged": [(pacts, "decide", _decide_whatever)],
    "answers-before-disk": [(pacts, "answer", _answer_unwritten)],
    "answers-for-another-instance": [
        (pacts, "answer", _answer_for_anybody),
        (pairing, "_serve_settle", _serve_settle_posing),
    ],
    "forgets-a-verdict": [(pacts, "elapsed", _forgetful)],
    "confirms-what-is-open": [(pacts, "closed", _closed_says_yes)],
    "accepts-after-settle": [(pacts, "decide", _decide_unasked(forget=True))],
    "notice-not-durable": [(reservations, "told_off", _cancel_quietly)],
    "notice-gone-when-sent": [(pairing, "call_off", _told_at_once)],
    "tells-too-early": [(pacts, "to_tell", _tell_all)],
    "keeps-what-it-was-only": [(pacts, "hull", _hull_unchanged)],
    "keeps-what-it-becomes-only": [(pacts, "hull", _hull_changed)],
    "books-what-was-cancelled": [(pacts, "close", _close_anyhow)],
    "prepares-again": [(pacts, "close", _close_unremembered)],
    "keeps-what-was-declined": [(pacts, "close", _close_keeps)],
    "called-off-by-anybody": [(pacts, "called_off", _called_off_by_anybody)],
    "changed-while-it-waits": [(pacts, "check_free", _free_anyway)],
}

PAIR_HARMLESS: dict[str, list[Replaced]] = {
    # The verdict on disk alone still keeps a settled transaction from being accepted.
    "decides-without-arranging": [(pacts, "decide", _decide_unasked(forget=False))],
    "answers-in-its-own-name": [(pacts, "answer", _answer_for_anybody)],
}
"""One of two overlapping protections removed: nothing goes wrong, and that is worth knowing."""
