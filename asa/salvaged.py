"""What a new instance may go on with after its predecessor's database was damaged. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from asa.config import PoolSeed
from asa.identity import NODE
from asa.records import (
    TAKING,
    Cap,
    Contact,
    Fact,
    Held,
    Lent,
    Once,
    Pact,
    Record,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
)
from objectives import Block


def kept(records: Iterable[Record], whole: bool, pools: Sequence[PoolSeed], now: int) -> list[Record]:
    """The records that stay true although others may be lost. ``whole``: nothing is known to be lost.

    ======================  =========================================================================================
    who it was              dropped: who may have lost transactions must not answer for them; peers are told "not me",
                            and what they have in escrow for the old instance is their operators' to forfeit
    reservations, keys      kept: what consumers were promised, whether there still is capacity for it or not. One
                            whose other agent is just deciding becomes what its pact says, booked if that is lost,
                            and goes on to take the most of before and after: the answer would be the old instance's,
                            and may have been yes
    caps                    kept: an operator's word
    policy, port, contacts  kept: newer ones win
    lent                    kept: members have it, whoever this agent is
    seeds                   kept, and those of ``pools`` that are lost put in their place without their capacity:
                            an origin that seeded anew would bring in a second time what peers hold
    blocks held             kept only if nothing is lost, for a block may have been given away in a transaction that
                            is; and of them none that came in a transfer its giver has not closed, and may get back
    given, taken, promised  dropped: they are the old instance's
    pacts, verdicts         dropped: they are the old instance's too
    notices                 dropped: agents at the other ends would take them from the old instance only, and what they
                            still have of what is over here is their operators' to cancel
    ======================  =========================================================================================

    What is dropped may be lost, which an audit shows as missing, but nothing is there twice.
    """
    records = list(records)
    outcomes = {each.after.id: each.after for each in records if isinstance(each, Pact)}
    found: list[Record] = []
    for each in records:
        match each:
            case Reservation():
                found.append(_decided(each, outcomes.get(each.id)))
            case Once() | Contact() | Seed() | Cap() | Lent():
                found.append(each)
            case Fact() if each.name != NODE:
                found.append(each)
    if whole:
        unsure = [each for each in records if isinstance(each, Taken) and each.state is TakenState.ACCEPTED]
        for each in records:
            if isinstance(each, Held):
                theirs = [block for taken in unsure if taken.pool == each.pool for block in taken.blocks]
                found += [Held(each.pool, block) for block in _without(each.block, theirs)]
        return found
    seeded = {each.pool for each in found if isinstance(each, Seed)}
    for pool in pools:
        if pool.name not in seeded:
            # At an agent's first start nobody else is known yet, so that the first place was the beginning.
            low = pool.at or 0
            found.append(Seed(pool.name, low, low + pool.capacity, now))
    return found


def _decided(reservation: Reservation, outcome: Reservation | None) -> Reservation:
    """What it goes on as, of which nobody decides any more. ``outcome``: what an open pact says it becomes."""
    if reservation.state not in TAKING:
        return reservation
    if outcome is not None:
        return replace(reservation, state=outcome.state, until=outcome.until)
    if reservation.state is not ReservationState.BOOKED and reservation.until is None:
        return replace(reservation, state=ReservationState.BOOKED)
    return reservation


def _without(block: Block, others: Iterable[Block]) -> list[Block]:
    rest = [block]
    for other in others:
        rest = [piece for each in rest for piece in each.minus(other)]
    return rest
