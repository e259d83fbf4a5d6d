"""The side that asks: obtaining capacity, handing it over, settling what is in doubt. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from asa import reservations, transfer
from asa.errors import AsaError, LinkShort, Short
from asa.ledger import Ledger
from asa.records import Given, Plan, Reservation
from asa.shortage import FEW, NOTHING, Said
from asa.steps import Begin, Broken, Drop, Finish, Look, Party, Refused, Steps, Tell, Transact
from asa.transfer import BadOffer, Declined
from objectives import Block, NodeId, Window
from objectives.block import peak, trough
from objectives.fields import MAX_TIME
from objectives.resource import (
    ACCEPTED,
    MAX_PATIENCE_MS,
    Ask,
    Confirm,
    Confirmed,
    Give,
    Hold,
    Offer,
    Settle,
    Settled,
    available_from,
)

T = TypeVar("T")

MOST_PEERS: Final = 8
"""Peers asked for one need, whatever the size of the network."""

HASTE_MS: Final = 500
"""With so little time left a peer has all of it to answer, with more only half: one that hangs must not use it up."""

ATTEMPTS: Final = 2 * FEW
"""How often one reservation is tried: for each of a few windows that fall short, and where another took what came."""


@dataclass(frozen=True, slots=True)
class Need:
    """Capacity to be obtained: ``rate`` bit/s over a window. ``until``: monotonic s when it is too late."""

    pool: str
    rate: int
    window: Window
    until: float
    urgent: bool = False
    path: tuple[str, ...] = ()
    """The nodes on whose behalf it is, nearest last; they are not asked."""


@dataclass(slots=True)
class Obtained:
    """What came of a need: ``rate`` at every instant, from whom, and what those who gave nothing said."""

    rate: int = 0
    grants: list[tuple[NodeId, tuple[Block, ...]]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    could: int = 0
    """bit/s that those who could not give all said they could give instead."""


def obtain(party: Party, need: Need) -> Steps[Obtained]:
    """Ask peers, one after the other, until the need is met, nobody is left or it is too late.

    What is needed at once is needed whole: peers are asked for all of it, those that cannot say how much they could
    give, and parts are taken only once they add up. So a need that is going to fail takes nothing from others.
    """
    got = Obtained()
    asked = {party.me.name, *need.path}
    if not need.urgent:
        while got.rate < need.rate and len(asked) <= MOST_PEERS:
            peer = _next(party, need, need.rate - got.rate, asked, got)
            if peer is None:
                break
            yield from _ask(party, peer, need, got, party.params()["least_grant"])
        return got
    offers: list[tuple[int, NodeId]] = []
    while len(asked) <= MOST_PEERS and got.could < need.rate:
        peer = _next(party, need, need.rate, asked, got)
        if peer is None:
            break
        could = yield from _ask(party, peer, need, got, need.rate)
        if got.rate:
            return got
        if could:
            offers.append((could, peer))
            got.could += could
    if got.could >= need.rate:
        for _, peer in sorted(offers, key=lambda each: -each[0]):
            if got.rate < need.rate:
                yield from _ask(party, peer, need, got, party.params()["least_grant"])
    elif len(asked) <= MOST_PEERS:
        # So few are known here that somebody else may know more: it is asked to ask on.
        peer = _next(party, need, need.rate, {party.me.name, *need.path}, got)
        if peer is not None:
            yield from _ask(party, peer, need, got, need.rate, relayed=True)
    return got


def _next(party: Party, need: Need, missing: int, asked: set[str], got: Obtained) -> NodeId | None:
    """Whom to ask next, who then counts as asked; None if nobody is left, or no time."""
    if need.until <= party.ticks() or need.window.passed(party.clock()):
        got.refusals.append("no time is left")
        return None
    peer = party.peers.choose(party.ticks(), need.pool, missing, asked, need.urgent)
    if peer is not None:
        asked.add(peer.name)
    return peer


def _ask(party: Party, peer: NodeId, need: Need, got: Obtained, least: int, *, relayed: bool = False) -> Steps[int]:
    """Ask one peer for what is missing, and note what came of it; what it said it could give instead, bit/s."""
    missing = need.rate - got.rate
    left_ms = int((need.until - party.ticks()) * 1000)
    if left_ms <= 0:
        return 0
    ask = _ask_for(party, peer, need, missing, left_ms if relayed else 0, least)
    try:
        blocks = yield from ask_one(party, peer, ask, left_ms if relayed else max(min(left_ms, HASTE_MS), left_ms // 2))
    except (Refused, Declined) as error:
        available = available_from(error.reason)
        party.peers.declined(peer, need.pool, available)
        got.refusals.append(f"{peer.name}: {error.reason}")
        return available
    except Broken as error:
        party.peers.failed(party.ticks(), peer)
        got.refusals.append(f"{peer.name}: {error}")
        return 0
    party.peers.granted(party.ticks(), peer, need.pool, peak(blocks))
    # Of a window that passed while the answer was on its way nothing is left to count.
    left = need.window.overlap(Window(party.clock(), None))
    got.rate += trough(blocks, left) if left is not None else 0
    got.grants.append((peer, blocks))
    return 0


def ask_one(party: Party, peer: NodeId, ask: Ask, patience_ms: int) -> Steps[tuple[Block, ...]]:
    """Steps 1 and 3 of a transfer. Raises Refused, Broken, BadOffer or StoreFailed; then nothing came."""
    yield Look(lambda ledger: ledger.asking.__setitem__(ask.txn, ask))
    try:
        answer = yield Begin(peer, ask, patience_ms=patience_ms)
    except (Refused, Broken):
        yield Look(lambda ledger: ledger.asking.pop(ask.txn, None))
        raise
    blocks: tuple[Block, ...] = answer.blocks if isinstance(answer, Offer) else ()
    try:
        if not isinstance(answer, Offer) or answer.node != peer:
            raise BadOffer("bad-offer", f"no offer of {peer}")
        taken: tuple[Block, ...] = yield Transact(
            lambda ledger: transfer.accept(
                ledger, party.clock(), ask, answer, party.seeds(ledger, ask.pool), party.gives(peer.name)
            )
        )
    except BadOffer as error:
        try:
            yield Transact(
                lambda ledger: transfer.refuse(
                    ledger, party.clock(), ask.txn, ask.pool, peer, blocks, members=party.members
                )
            )
        except AsaError:
            yield Look(lambda ledger: ledger.asking.pop(ask.txn, None))
            yield Drop()
        else:
            yield Finish(False, error.reason)
            yield Tell("offer-refused", f"an offer of {peer} was refused: {error.reason}", {"peer": str(peer)})
        raise
    except AsaError:
        # Neither accepted nor refused on disk: the giver has to ask again.
        yield Look(lambda ledger: ledger.asking.pop(ask.txn, None))
        yield Drop()
        raise
    yield Finish(True)
    yield Tell(
        "capacity-taken",
        f"{peak(taken)} bit/s of {ask.pool} came from {peer.name}",
        {"peer": str(peer), "pool": ask.pool, "rate": peak(taken), "txn": ask.txn.hex()},
    )
    return taken


def try_out(party: Party, peer: NodeId, ask: Ask, patience_ms: int, keep: bool = True) -> Steps[Hold]:
    """A dry run: what would be granted. ``keep`` it for a live run that names it, or let it go at once.

    Raises Refused, Broken.
    """
    answer = yield Begin(peer, ask, dry=True, patience_ms=patience_ms)
    if not isinstance(answer, Hold) or answer.txn != ask.txn or not ask.least <= answer.rate <= ask.rate:
        yield Finish(False, "bad-offer: not what was asked for")
        raise Refused("bad-offer: not what was asked for")
    yield Finish(keep, "" if keep else "asked: only to know")
    return answer


def probe(party: Party, need: Need) -> Steps[int]:
    """bit/s peers would grant of a need now, up to its rate; by dry runs, of which nothing is kept."""
    asked = {party.me.name}
    found = 0
    while found < need.rate and len(asked) <= MOST_PEERS:
        left_ms = int((need.until - party.ticks()) * 1000)
        peer = party.peers.choose(party.ticks(), need.pool, need.rate - found, asked) if left_ms > 0 else None
        if peer is None:
            break
        asked.add(peer.name)
        try:
            ask = _ask_for(party, peer, need, need.rate - found, 0, party.params()["least_grant"])
            held = yield from try_out(party, peer, ask, left_ms, False)
        except Refused:
            continue
        except Broken:
            party.peers.failed(party.ticks(), peer)
            continue
        found += held.rate
    return found


def _ask_for(party: Party, peer: NodeId, need: Need, rate: int, patience_ms: int, least: int) -> Ask:
    return Ask(
        party.txn(), party.me, peer, need.pool, rate, min(rate, least), need.window.start, need.window.end,
        party.clock(), need.urgent, min(patience_ms, MAX_PATIENCE_MS), need.path,
    )  # fmt: skip


Grants = list[tuple[NodeId, str, tuple[Block, ...]]]
"""What came of peers for one booking: from whom, of which pool."""


def obtain_for(
    party: Party, lacking: tuple[str, int, Window], until: float, grants: Grants, path: tuple[str, ...] = ()
) -> Steps[Obtained]:
    """Obtain what a booking lacks, pool, bit/s and window, with a guard on both sides, and note whose it was."""
    pool, rate, window = lacking
    wide = guarded(window, party.params()["guard"], party.clock())
    got = yield from obtain(party, Need(pool, rate, wide, until, True, path))
    grants += [(giver, pool, blocks) for giver, blocks in got.grants]
    return got


def give_back(party: Party, grants: Grants) -> Steps[None]:
    """What was obtained in vain goes back, the last first."""
    for giver, pool, blocks in reversed(grants):
        yield from hand_over(party, giver, pool, blocks)


def fit(
    party: Party,
    rule: Callable[[Ledger, Said], Plan[T]],
    lacking: Callable[[Ledger], list[tuple[str, int, Window]]],
    until: float,
) -> Steps[T]:
    """Perform a rule that books capacity; what does not fit here is obtained from peers first, for exactly its window.

    ``rule`` is told what peers said, ``lacking`` says what is needed: pool, bit/s, window. Raises what the rule does,
    Short among it; then what was obtained in vain goes back.
    """
    grants: Grants = []
    said: list[str] = []
    could = 0
    try:
        for _ in range(ATTEMPTS):
            try:
                done: T = yield Transact(lambda ledger: rule(ledger, NOTHING))
                return done
            except LinkShort:
                raise
            except Short:
                if party.ticks() >= until or not party.active():
                    break
            missing: list[tuple[str, int, Window]] = yield Look(lacking)
            if not missing:
                continue
            got = yield from obtain_for(party, missing[0], until, grants)
            said += got.refusals
            could = got.could if len(missing) == 1 else 0
            if got.rate < missing[0][1]:
                break
        # What another consumer gave back meanwhile may do.
        late: T = yield Transact(lambda ledger: rule(ledger, Said(said[-MOST_PEERS:], could)))
        return late
    except AsaError:
        yield from give_back(party, grants)
        raise


def reserve(
    party: Party, wanted: Reservation, until: float, key: str | None = None, digest: str = ""
) -> Steps[Reservation]:
    """Admit a reservation, with capacity of peers if need be. Raises what :func:`reservations.book` does."""
    booked: Reservation = yield from fit(
        party,
        lambda ledger, said: reservations.book(ledger, party.clock(), wanted, key, digest, party.seeded, said),
        lambda ledger: reservations.lacking(ledger, party.clock(), wanted),
        until,
    )
    return booked


def guarded(window: Window, guard: int, now: int) -> Window:
    """With a guard on both sides, so that clocks that differ a little never use a bit/s twice."""
    end = None if window.end is None else min(window.end + guard, MAX_TIME)
    return Window(min(window.start, max(now, window.start - guard)), end)


def hand_over(party: Party, peer: NodeId, pool: str, blocks: Sequence[Block]) -> Steps[bool]:
    """Give blocks to a peer unasked: surplus, or all of an agent that leaves. True if it took them."""
    txn = party.txn()
    party.talking.add(txn)
    try:
        give: Give = yield Transact(lambda ledger: transfer.push(ledger, party.clock(), txn, peer, pool, blocks))
        answer = yield Begin(peer, give)
        if answer is not None:
            # A counter-offer to a gift makes no sense; whether it took the gift will be asked.
            yield Drop()
            return False
        yield Transact(lambda ledger: transfer.close(ledger, party.clock(), txn))
    except (Refused, Broken, AsaError, ValueError) as error:
        if isinstance(error, Refused):
            yield Transact(lambda ledger: transfer.take_back(ledger, party.clock(), txn))
        yield Tell("hand-over-failed", f"{peer.name} did not take blocks of {pool}: {error}", {"peer": str(peer)})
        return False
    finally:
        party.talking.discard(txn)
    yield Tell(
        "capacity-returned",
        f"{peak(blocks)} bit/s of {pool} went to {peer.name}",
        {"peer": str(peer), "pool": pool, "rate": peak(blocks), "txn": txn.hex()},
    )
    return True


def settle(party: Party, given: Given) -> Steps[str]:
    """Ask the requester what became of a transfer in doubt, and do as it says. Raises Refused, Broken, StoreFailed."""
    question = Settle(given.txn, party.me, given.peer, given.pool, given.blocks)
    answer = yield Begin(given.peer, question)
    if not isinstance(answer, Settled) or answer.txn != given.txn or answer.node != given.peer:
        yield Drop()
        raise Broken("it answered something else")
    rule = transfer.close if answer.outcome == ACCEPTED else transfer.take_back
    try:
        yield Transact(lambda ledger: rule(ledger, party.clock(), given.txn))
    except AsaError:
        yield Drop()
        raise
    yield Finish(True)
    yield Tell(
        "transfer-settled",
        f"a transfer in doubt to {given.peer.name} is settled: {answer.outcome}",
        {"peer": str(given.peer), "txn": given.txn.hex(), "outcome": answer.outcome},
    )
    return answer.outcome


def confirm(party: Party, giver: NodeId, txns: Sequence[bytes]) -> Steps[int]:
    """Ask a giver which accepted transfers it has closed, so that they need not be remembered."""
    answer = yield Begin(giver, Confirm(party.me, giver, tuple(txns)))
    if not isinstance(answer, Confirmed) or answer.node != giver:
        yield Drop()
        raise Broken("it answered something else")
    theirs = [each for each in answer.txns if each in txns]
    try:
        yield Transact(lambda ledger: transfer.confirm(ledger, party.clock(), giver, theirs))
    except AsaError:
        yield Drop()
        raise
    yield Finish(True)
    return len(theirs)
