"""Conversations about reservations two agents have in common, of either side. No I/O.

The rules they perform are in :mod:`asa.pacts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from asa import pacts
from asa.asking import ATTEMPTS, Grants, give_back, obtain_for
from asa.errors import AsaError, LinkShort, Short, StoreFailed
from asa.ledger import Ledger
from asa.records import Notice, Pact, Plan, Reservation
from asa.steps import (
    Agree,
    Begin,
    Broken,
    Deny,
    Drop,
    Finish,
    Look,
    Party,
    Propose,
    Refused,
    Steps,
    Tell,
    Transact,
    Wait,
)
from asa.transfer import Declined
from objectives import InvalidValue, NodeId, Window
from objectives.pact import (
    MAX_PATIENCE_MS,
    NAME,
    Arrange,
    Arranged,
    CallOff,
    Confirm,
    Confirmed,
    Request,
    Settle,
    Settled,
    Terms,
)
from objectives.resource import ACCEPTED

ANSWER_MS: Final = 500
"""Of the other agent's patience, what is kept for the answer when peers are asked for capacity."""

ROUNDS: Final = 3
"""How often a reservation is arranged, where another took meanwhile what this agent's end was to have."""

T = TypeVar("T")


# The agent that asks.


def arrange(
    party: Party,
    peer: NodeId,
    identifier: str,
    terms: Terms,
    decide: Callable[[Ledger], Plan[Reservation]],
    until: float,
    lacking: Callable[[Ledger], list[tuple[str, int, Window]]],
) -> Steps[Reservation]:
    """Make or change a reservation here and at a peer, which is to have ``terms``; at both or at neither.

    ``decide`` books this end; ``lacking`` says what it needs of pools: it is obtained before the peer is asked, and
    goes back if nothing comes of it. ``until``: monotonic s. Raises Refused, with the peer's reason, Broken, and what
    ``decide`` raises.
    """
    grants: Grants = []
    try:
        for _ in range(ROUNDS - 1):
            yield from _gather(party, decide, lacking, until, grants)
            try:
                return (yield from _agree(party, peer, identifier, terms, decide, until))
            except LinkShort:
                raise
            except Short:
                # Another has taken what was there: the peer itself, perhaps, for its end.
                continue
        yield from _gather(party, decide, lacking, until, grants)
        return (yield from _agree(party, peer, identifier, terms, decide, until))
    except (AsaError, Refused, Broken):
        yield from give_back(party, grants)
        raise


def _gather(
    party: Party,
    rule: Callable[[Ledger], Plan[T]],
    lacking: Callable[[Ledger], list[tuple[str, int, Window]]],
    until: float,
    grants: Grants,
    path: tuple[str, ...] = (),
) -> Steps[None]:
    """Obtain what a rule lacks, but not of ``path``. Raises what the rule would."""
    for _ in range(ATTEMPTS):
        try:
            yield Look(rule)
            return
        except LinkShort:
            raise
        except Short:
            if party.ticks() >= until or not party.active():
                raise
        missing: list[tuple[str, int, Window]] = yield Look(lacking)
        if missing:
            got = yield from obtain_for(party, missing[0], until, grants, path)
            if got.rate < missing[0][1]:
                break
    # What another consumer gave back meanwhile may do.
    yield Look(rule)


def _agree(
    party: Party,
    peer: NodeId,
    identifier: str,
    terms: Terms,
    decide: Callable[[Ledger], Plan[Reservation]],
    until: float,
) -> Steps[Reservation]:
    """Steps 1 and 3 of a pact."""
    txn = party.txn()
    left_ms = int((until - party.ticks()) * 1000)
    if left_ms <= 0:
        raise Broken("no time is left")
    request = Arrange(txn, party.me, peer, identifier, terms, party.clock(), min(left_ms, MAX_PATIENCE_MS))
    yield Look(lambda ledger: pacts.begin(ledger, txn, identifier, terms))
    try:
        answer = yield Begin(peer, request, patience_ms=left_ms, objective=NAME)
    except (Refused, Broken):
        yield Look(lambda ledger: pacts.abandon(ledger, txn))
        raise
    if answer != Arranged(txn, peer, identifier):
        yield Look(lambda ledger: pacts.abandon(ledger, txn))
        yield Drop()
        raise Broken("it answered something else")
    try:
        booked: Reservation = yield Transact(lambda ledger: pacts.decide(ledger, party.clock(), request, decide))
    except AsaError as error:
        yield Look(lambda ledger: pacts.abandon(ledger, txn))
        # Of what the store did nothing is known for certain: the peer has to ask.
        yield Drop() if isinstance(error, StoreFailed) else Finish(False, f"{error.code}: {party.me.name} cannot")
        raise
    if booked.id != identifier:
        yield Look(lambda ledger: pacts.abandon(ledger, txn))
        yield Finish(False, f"conflict: it was booked before as {booked.id}")
        return booked
    yield Finish(True)
    return booked


def confirm_verdicts(party: Party, peer: NodeId, txns: Sequence[bytes]) -> Steps[int]:
    """Ask which accepted transactions a peer has closed, so that they need not be remembered; how many those are.

    Raises Refused, Broken, StoreFailed.
    """
    answer = yield Begin(peer, Confirm(party.me, peer, tuple(txns)), objective=NAME)
    if not isinstance(answer, Confirmed) or answer.node != peer:
        yield Drop()
        raise Broken("it answered something else")
    theirs = [each for each in answer.txns if each in txns]
    try:
        yield Transact(lambda ledger: pacts.confirmed(ledger, peer, theirs))
    except AsaError:
        yield Drop()
        raise
    yield Finish(True)
    return len(theirs)


# The agent that was asked, later.


def settle_pact(party: Party, pact: Pact) -> Steps[str]:
    """Ask what was decided about a pact in doubt, and do as it says. Raises Refused, Broken, StoreFailed."""
    identifier = pact.after.id
    answer = yield Begin(pact.peer, Settle(pact.txn, party.me, pact.peer, identifier), objective=NAME)
    if not isinstance(answer, Settled) or answer.txn != pact.txn or answer.node != pact.peer:
        yield Drop()
        raise Broken("it answered something else")
    try:
        yield Transact(lambda ledger: pacts.close(ledger, party.clock(), pact.txn, answer.outcome == ACCEPTED))
    except AsaError:
        yield Drop()
        raise
    yield Finish(True)
    yield Tell(
        "pact-settled",
        f"what {pact.peer.name} decided about {identifier} is settled: {answer.outcome}",
        {"peer": str(pact.peer), "id": identifier, "txn": pact.txn.hex(), "outcome": answer.outcome},
    )
    return answer.outcome


# Either of them.


def call_off(party: Party, notice: Notice) -> Steps[bool]:
    """Tell the agent at the other end that a reservation is over here. Raises Refused, Broken, StoreFailed.

    False, and nothing is said, while that agent is just deciding about it.
    """
    if not (yield Look(lambda ledger: notice in pacts.to_tell(ledger))):
        return False
    call = CallOff(party.me, notice.peer, notice.id, notice.at, notice.why)
    try:
        if (yield Begin(notice.peer, call, objective=NAME)) is not None:
            yield Drop()
            raise Broken("it answered something else")
    except Refused as error:
        # What it has under that id is not ours to end, however often it is told.
        if error.code != "taken":
            raise
    yield Transact(lambda ledger: pacts.told(ledger, notice))
    return True


# The agent that is asked.


def serve_pact(party: Party, request: Request, place: Callable[[Arrange], Reservation]) -> Steps[None]:
    """Answer whatever a session began with. A refusal is declined with its reason, and changes nothing.

    ``place`` says what the terms of a request come to here, or raises AsaError.
    """
    try:
        match request:
            case Arrange():
                yield from _serve_arrange(party, request, place)
            case Settle():
                yield from _serve_settle(party, request)
            case Confirm():
                closed = yield Look(lambda ledger: pacts.closed(ledger, request))
                yield Propose(Confirmed(party.me, closed))
            case CallOff():
                yield from _serve_call_off(party, request)
    except Declined as error:
        yield Deny(error.reason)
    except InvalidValue as error:
        yield Deny(f"bad-value: {error}")
    except AsaError as error:
        yield Deny(f"{error.code}: {error.message}")
    except Broken:
        # A pact this leaves in doubt is in the ledger; the settler asks about it.
        pass


def _serve_arrange(party: Party, request: Arrange, place: Callable[[Arrange], Reservation]) -> Steps[None]:
    """Steps 2 and 4 of a pact."""
    party.talking.add(request.txn)
    try:
        answer: Arranged | None = yield Look(lambda ledger: pacts.known(ledger, party.clock(), request))
        if answer is None:
            if not party.active():
                raise Declined("inactive", "this agent is not active")
            answer = yield from _prepared(party, request, place(request))
        accepted = yield Propose(answer)
        final: Reservation | None = yield Transact(
            lambda ledger: pacts.close(ledger, party.clock(), request.txn, accepted)
        )
    finally:
        party.talking.discard(request.txn)
    if accepted and final is not None:
        yield Tell(
            "reservation-arranged",
            f"{final.id} has its other end at {request.node.name}",
            {"peer": str(request.node), "id": final.id, "rate": final.rate, "pool": final.pool},
        )


def _prepared(party: Party, request: Arrange, placed: Reservation) -> Steps[Arranged]:
    """Keep what is asked for; what is lacking is obtained of peers while the other agent waits, of that agent last."""

    def rule(ledger: Ledger) -> Plan[Arranged]:
        return pacts.prepare(ledger, party.clock(), request, placed, party.seeded)

    def lacking(ledger: Ledger) -> list[tuple[str, int, Window]]:
        return pacts.lacking(ledger, party.clock(), request, placed)

    patience = (request.patience - ANSWER_MS) / 1000
    until = party.ticks() + patience
    if patience <= 0 or not (yield Look(lacking)):
        at_once: Arranged = yield Transact(rule)
        return at_once
    yield Wait(request.patience)
    grants: Grants = []
    try:
        try:
            yield from _gather(party, rule, lacking, until - patience / 2, grants, (request.node.name,))
        except Short:
            yield from _gather(party, rule, lacking, until, grants)
        answer: Arranged = yield Transact(rule)
        return answer
    except AsaError:
        yield from give_back(party, grants)
        raise


def _serve_settle(party: Party, question: Settle) -> Steps[None]:
    outcome = yield Transact(lambda ledger: pacts.answer(ledger, party.clock(), question, members=party.members))
    if (yield Propose(Settled(question.txn, party.me, outcome))) and outcome == ACCEPTED:
        yield Transact(lambda ledger: pacts.confirmed(ledger, question.node, [question.txn]))


def _serve_call_off(party: Party, call: CallOff) -> Steps[None]:
    ended: Reservation | None = yield Transact(lambda ledger: pacts.called_off(ledger, party.clock(), call))
    yield Agree()
    if ended is not None:
        yield Tell(
            "reservation-cancelled",
            f"{ended.id} is cancelled by {call.node.name}, at its other end",
            {"peer": str(call.node), "id": ended.id, "rate": ended.rate, "pool": ended.pool},
        )
