"""Reservations two agents have in common, an end each: what either may do, as rules on the ledger. No I/O.

The agent whose consumer wants it asks, and its word decides; each plan is durable before its result is sent:

1. the asking agent makes up a transaction id, remembers in memory that it may still decide (``Ledger.arranging``) and
   asks;
2. the asked agent keeps the capacity: a new reservation is PREPARED, one that is there takes the most of what it was
   and of what it is to be; beside it a pact says what it was and what it becomes (:func:`prepare`). Then it says so;
3. the asking agent books its own end together with its verdict (:func:`decide`), then accepts; or declines;
4. on accept the reservation of the asked agent becomes what it was to be, on decline what it was (:func:`close`).
   However else the session ends, the pact is in doubt: it stays, and the asked agent asks until it gets an answer
   (:func:`answer`).

A verdict is final. An answer and a decision exclude each other, because both need the transaction to be in
``Ledger.arranging`` under the one lock. An accepted one is forgotten when the asked agent has no open pact of it any
more (:func:`closed`). What ends at one agent is a notice there until the other has ended it too (:func:`called_off`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from asa import reservations
from asa.caps import Whole, seeded_here
from asa.diary import FlowKey, flow_key, flow_of
from asa.errors import Conflict
from asa.ledger import Ledger
from asa.lifecycle import over
from asa.records import (
    LIVING,
    OUT,
    Change,
    Claim,
    Notice,
    Once,
    Pact,
    Plan,
    Reservation,
    ReservationState,
    Verdict,
    VerdictState,
    made,
    removed,
)
from asa.refusals import Declined, check_room, never_decided
from asa.terms import terms_of
from asa.transfer import SKEW_S, TOMBSTONE_S
from objectives import NodeId, Window
from objectives.pact import Arrange, Arranged, CallOff, Confirm, Settle, Terms
from objectives.resource import ACCEPTED, NEVER

MOST_OPEN: Final = 10_000
"""Pacts open at once."""

_CLOSED: Final = "\tpact "
"""What closed a transaction is remembered as an idempotency key of this beginning."""


def open_on(ledger: Ledger, identifier: str) -> Pact | None:
    """The open pact about a reservation."""
    return next((each for each in ledger.pacts.values() if each.after.id == identifier), None)


def check_free(ledger: Ledger, identifier: str) -> None:
    """Raises Conflict for a reservation that the agent at its other end has yet to decide about."""
    pact = open_on(ledger, identifier)
    if pact is not None:
        raise Conflict(
            f"{identifier[:64]} waits for what {pact.peer.name}, at its other end, decides",
            hint="try again in a moment",
        )


# At the agent that is asked.


def known(ledger: Ledger, now: int, arrange: Arrange) -> Arranged | None:
    """The answer to a request that has one already; None to a new one. Raises Declined for what is neither."""
    if arrange.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}, not {arrange.of}")
    if arrange.node == ledger.me:
        raise Declined("own", "an agent does not ask itself")
    pact = ledger.pacts.get(arrange.txn)
    if pact is not None:
        if (pact.peer, pact.after.id) != (arrange.node, arrange.id):
            raise Declined("replay", "the transaction is known")
        return Arranged(arrange.txn, ledger.me, arrange.id)
    _check_not_closed(ledger, arrange.txn)
    if abs(now - arrange.at) > SKEW_S:
        raise Declined(
            "stale", f"made {now - arrange.at} s ago by this clock, more than {SKEW_S}: a replay, or the clocks differ"
        )
    return None


def prepare(
    ledger: Ledger, now: int, arrange: Arrange, placed: Reservation, whole: Whole = seeded_here
) -> Plan[Arranged]:
    """Step 2: keep capacity for ``placed``, which is what the terms come to here; without a partner it is taken over.

    Raises Declined, and what :func:`reservations.admit` does.
    """
    if arrange.txn in ledger.pacts:
        return Plan((), Arranged(arrange.txn, ledger.me, arrange.id))
    _check_not_closed(ledger, arrange.txn)
    if open_on(ledger, arrange.id) is not None:
        raise Declined("busy", f"what becomes of {arrange.id} is being decided")
    if len(ledger.pacts) >= MOST_OPEN:
        raise Declined("busy", "too many reservations wait for the agents at their other ends")
    if placed.window.passed(ledger.floor):
        raise Declined("past", "the window has passed")
    if placed.partner not in ("", str(arrange.node)):
        raise Declined("elsewhere", f"{placed.partner} serves the other end, not {arrange.node}")
    terms = arrange.terms
    if (placed.kind, placed.rate, placed.back, placed.window) != (terms.kind, terms.rate, terms.back, terms.window):
        raise Declined("bad-value", f"here it would be {placed.kind} of {placed.rate} and {placed.back} bit/s")
    state = ReservationState.HELD if terms.hold is not None else ReservationState.BOOKED
    wanted = replace(placed, id=arrange.id, state=state, until=terms.hold, changed=now)
    old = ledger.reservations.get(arrange.id)
    if old is not None and old.partner != str(arrange.node):
        raise Declined("taken", f"{old.id} is not a reservation of this agent and {arrange.node}")
    after = wanted if old is None else _after(old, now, wanted)
    kept = replace(after, state=ReservationState.PREPARED, until=None) if old is None else hull(old, after)
    _check_not_crossed(ledger, arrange, flow_of(kept))
    double = ledger.duplicate(kept)
    if double is not None and double.state is ReservationState.PREPARED:
        raise Declined("busy", f"{double.id} is for the same flow, and not decided yet")
    reservations.admit(ledger, now, kept, whole, old)
    changes = (Change(old, kept),) if kept != old else ()
    return Plan(
        (*changes, *made(Pact(arrange.txn, arrange.node, old, after, now))),
        Arranged(arrange.txn, ledger.me, arrange.id),
    )


def _check_not_crossed(ledger: Ledger, arrange: Arrange, flow: FlowKey | None) -> None:
    """Of two agents that ask each other for the same the one whose name sorts first goes on. Raises Declined."""
    for txn, (identifier, wanted) in ledger.requests.items():
        same = identifier == arrange.id or (flow is not None and flow == wanted)
        if same and txn in ledger.arranging and str(ledger.me) < str(arrange.node):
            raise Declined("busy", f"{ledger.me.name} is just arranging the same")


def begin(ledger: Ledger, txn: bytes, identifier: str, terms: Terms) -> None:
    """Step 1: from now on a transaction may be decided for."""
    ledger.arranging.add(txn)
    ledger.requests[txn] = identifier, flow_key(terms.kind, terms.protocol, terms.source, terms.destination)


def abandon(ledger: Ledger, txn: bytes) -> None:
    """It will not be decided for."""
    ledger.arranging.discard(txn)
    ledger.requests.pop(txn, None)


def lacking(ledger: Ledger, now: int, arrange: Arrange, placed: Reservation) -> list[tuple[str, int, Window]]:
    """What has to be obtained of pools before it can be prepared: pool, bit/s, window."""
    old = ledger.reservations.get(arrange.id)
    wanted = replace(placed, id=arrange.id)
    return reservations.lacking(ledger, now, wanted if old is None else hull(old, wanted))


def _after(old: Reservation, now: int, wanted: Reservation) -> Reservation:
    """What a reservation that is there becomes. Raises Declined."""
    if over(old, now):
        raise Declined("ended", f"{old.id} is over: {old.why or 'its window has passed'}")
    if old.state is ReservationState.PARKED:
        raise Declined("parked", f"{old.id} cannot be placed now: {old.why}")
    if old.kind is not wanted.kind or old.window.start != wanted.window.start:
        raise Declined("bad-value", f"{old.id} is {old.kind} from {old.window.start} on, which cannot change")
    if old.state is ReservationState.BOOKED and wanted.state is ReservationState.HELD:
        raise Declined("conflict", f"{old.id} is booked already")
    return replace(
        old,
        rate=wanted.rate,
        back=wanted.back,
        window=wanted.window,
        pool=wanted.pool,
        claims=wanted.claims,
        source=wanted.source,
        destination=wanted.destination,
        protocol=wanted.protocol,
        names=wanted.names,
        state=wanted.state,
        until=wanted.until,
        changed=now,
    )


def hull(old: Reservation, new: Reservation) -> Reservation:
    """``old``, but of the flow of ``new``, with as much as both of them take, wherever and for as long as either does,
    and no deadline."""
    end = None if None in (old.window.end, new.window.end) else max(old.window.end or 0, new.window.end or 0)
    claims = old.claims
    if (old.pool, old.claims) != (new.pool, new.claims):
        claims = tuple(dict.fromkeys((*_claims(old), *_claims(new))))
    return replace(
        old,
        rate=max(old.rate, new.rate),
        back=max(old.back, new.back),
        window=Window(old.window.start, end),
        claims=claims,
        until=None,
        source=new.source,
        destination=new.destination,
        protocol=new.protocol,
        names=new.names,
    )


def _claims(reservation: Reservation) -> tuple[Claim, ...]:
    return reservation.claims or (((reservation.pool, OUT),) if reservation.pool else ())


def close(ledger: Ledger, now: int, txn: bytes, accepted: bool) -> Plan[Reservation | None]:
    """The other agent has decided; the reservation as it is then. Harmless when done before.

    What was cancelled meanwhile stays so; the notice of it can be told from now on (:func:`to_tell`).
    """
    pact = ledger.pacts.get(txn)
    if pact is None:
        return Plan((), None)
    current = ledger.reservations.get(pact.after.id)
    gone = (*removed([pact]), *_remember(ledger, now, pact))
    if current is None or current.state not in LIVING:
        return Plan(gone, current)
    final = pact.after if accepted else pact.before
    return Plan((*gone, *((Change(current, final),) if current != final else ())), final)


def _remember(ledger: Ledger, now: int, pact: Pact) -> tuple[Change, ...]:
    name = _CLOSED + pact.txn.hex()
    return (Change(ledger.onces.get(name), Once(name, "", pact.after.id, now)),)


def _check_not_closed(ledger: Ledger, txn: bytes) -> None:
    if _CLOSED + txn.hex() in ledger.onces:
        raise Declined("replay", "the transaction is over")


def closed(ledger: Ledger, confirm: Confirm) -> tuple[bytes, ...]:
    """Which transactions of an agent that asked are no longer open here. Raises Declined."""
    if confirm.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}, not {confirm.of}")
    return tuple(each for each in confirm.txns if each not in ledger.pacts)


# At the agent that asks.


def decide(
    ledger: Ledger, now: int, request: Arrange, book: Callable[[Ledger], Plan[Reservation]]
) -> Plan[Reservation]:
    """Step 3: book this agent's end, together with its verdict. Raises Conflict, and what ``book`` does.

    What ``book`` gives back under another id was booked before and is none of this transaction, which is not decided.
    """
    if request.txn not in ledger.arranging:
        raise Conflict(f"{request.of.name} did not wait for the decision about {request.id}", hint="try again")
    check_free(ledger, request.id)
    if (request.id, str(request.of)) in ledger.notices:
        raise Conflict(f"{request.of.name} has yet to be told that {request.id} was over", hint="try again later")
    plan = book(ledger)
    if plan.result.id != request.id:
        return plan
    if terms_of(plan.result) != request.terms:
        raise Conflict(f"{request.id} was changed meanwhile", hint="try again")
    verdict = Verdict(request.txn, request.of, request.id, VerdictState.ACCEPTED, now)
    return Plan((*plan.changes, *made(verdict)), plan.result)


def answer(ledger: Ledger, now: int, settle: Settle, *, members: bool = False) -> Plan[str]:
    """What became of a transaction; final, so what is not decided never will be, on disk first. Raises Declined."""
    if settle.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}; what {settle.of} decided is not known here")
    verdict = ledger.verdicts.get(settle.txn)
    if verdict is None:
        check_room(never_decided(ledger), settle.node.name, members)
        return Plan(made(Verdict(settle.txn, settle.node, settle.id, VerdictState.NEVER, now)), NEVER)
    if verdict.state is VerdictState.NEVER or verdict.peer != settle.node:
        # A transaction is between two agents: what a third has for it never will be.
        return Plan((), NEVER)
    if verdict.id != settle.id:
        raise Declined("bad-value", "the transaction is about another reservation")
    return Plan((), ACCEPTED)


def confirmed(ledger: Ledger, peer: NodeId, txns: Iterable[bytes]) -> Plan[None]:
    """The agent that was asked has closed these and will not ask again: they are forgotten."""
    found = (ledger.verdicts.get(each) for each in txns)
    return Plan(
        removed(
            each for each in found if each is not None and each.peer == peer and each.state is VerdictState.ACCEPTED
        ),
        None,
    )


# At either.


def called_off(ledger: Ledger, now: int, call: CallOff) -> Plan[Reservation | None]:
    """The agent at the other end says that a reservation is over; what it was, if it was not over here.

    A pact about it stays open, to be settled. Raises Declined for who is not at the other end.
    """
    if call.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}, not {call.of}")
    old = ledger.reservations.get(call.id)
    if old is None or over(old, now) or call.at + SKEW_S < old.created:
        # Also an earlier one of the same id, which came back here after it was over.
        return Plan((), None)
    if old.partner != str(call.node):
        raise Declined("taken", f"{call.id} is not a reservation of this agent and {call.node}")
    why = (call.why or f"{call.node.name} ended it")[: reservations.LONGEST_WHY]
    return Plan((Change(old, replace(old, state=ReservationState.CANCELLED, why=why, changed=now)),), old)


def to_tell(ledger: Ledger) -> list[Notice]:
    """The notices that can be told now.

    The end of what the other agent is just deciding about is not: it would not know yet that it has it.
    """
    waiting = {each.after.id for each in ledger.pacts.values()}
    return [each for each in ledger.notices.values() if each.id not in waiting]


def told(ledger: Ledger, notice: Notice) -> Plan[None]:
    """The other agent has ended it too. Harmless when done before."""
    return Plan(removed([notice]) if ledger.notices.get((notice.id, str(notice.peer))) == notice else (), None)


def forget(ledger: Ledger, now: int, peer: NodeId) -> Plan[list[Pact]]:
    """An operator knows that an agent never comes back: what it has yet to decide is as if it had declined.

    What is booked here stays.
    """
    gone = [each for each in ledger.pacts.values() if each.peer == peer]
    changes = [change for each in gone for change in close(ledger, now, each.txn, False).changes]
    changes += removed(each for each in ledger.verdicts.values() if each.peer == peer)
    changes += removed(each for each in ledger.notices.values() if each.peer == peer)
    return Plan(tuple(changes), gone)


def elapsed(ledger: Ledger, now: int, most: int = 512) -> Plan[list[Pact]]:
    """The garbage collector's: pacts that time has decided, and what need not be remembered any more."""
    changes: list[Change] = []
    lapsed: list[Pact] = []
    for pact in ledger.pacts.values():
        if all(_over(ledger, each) for each in (pact.before, pact.after) if each is not None):
            lapsed.append(pact)
            changes += [Change(pact, None), *_ended(ledger, now, pact)]
            if len(changes) >= most:
                return Plan(tuple(changes), lapsed)
    changes += removed(
        each for each in ledger.verdicts.values() if each.state is VerdictState.NEVER and each.at + TOMBSTONE_S <= now
    )
    changes += removed(each for each in ledger.notices.values() if each.end is not None and each.end <= ledger.floor)
    changes += removed(
        each for name, each in ledger.onces.items() if name.startswith(_CLOSED) and each.at + TOMBSTONE_S <= now
    )
    return Plan(tuple(changes[:most]), lapsed)


def _over(ledger: Ledger, reservation: Reservation) -> bool:
    """Whether its time is over for every agent whose clock differs by no more than is forgiven."""
    held = reservation.state is ReservationState.HELD and reservation.until is not None
    return reservation.window.passed(ledger.floor) or (held and (reservation.until or 0) <= ledger.floor)


def _ended(ledger: Ledger, now: int, pact: Pact) -> tuple[Change, ...]:
    current = ledger.reservations.get(pact.after.id)
    if current is None:
        return ()
    if current.state is ReservationState.PREPARED:
        return (Change(current, None),)
    if current.state is ReservationState.HELD:
        why = "nobody confirmed it in time"
        return (Change(current, replace(current, state=ReservationState.LAPSED, why=why, changed=now)),)
    return ()
