"""Exactly-once transfer of blocks: what giver and requester may do, as rules on the ledger. No I/O.

GRASP gives no transactional integrity (RFC 9222 §5); these rules do, if each plan is durable before its result is sent:

1. the requester makes up a transaction id and asks;
2. the giver moves blocks into escrow (:func:`escrow`), then offers them;
3. the requester takes them (:func:`accept`), then says so; or records that it never will (:func:`refuse`);
4. on accept the giver closes (:func:`close`), on decline it takes back (:func:`take_back`). However else the session
   ends, the transfer is in doubt: the escrow stays, and the giver asks until the requester answers (:func:`answer`).

An answer and an acceptance exclude each other, because both need the transaction to be still asked for
(``Ledger.asking``) under the one lock. The states and their transitions are tables in :mod:`asa.records`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from asa import lending
from asa.errors import Conflict, UnknownTransfer
from asa.ledger import Ledger
from asa.records import (
    Change,
    Given,
    GivenState,
    Held,
    Plan,
    Promise,
    Taken,
    TakenState,
    made,
    removed,
)
from asa.refusals import BadOffer as BadOffer
from asa.refusals import Declined as Declined
from asa.refusals import check_room, never_taken
from objectives import Block, NodeId, Window
from objectives.block import peak, trough, within
from objectives.fields import MAX_RATE
from objectives.params import Params
from objectives.resource import (
    ACCEPTED,
    MAX_BLOCKS,
    NEVER,
    Ask,
    Confirm,
    Give,
    Hold,
    Offer,
    Settle,
    limit_text,
    short_text,
)

SKEW_S: Final = 60
"""A request made longer ago, or later, by our clock is a replay, or its sender's clock is wrong.

Less than the time that is not yet forgotten (MARGIN_S), so that whose clocks differ by less can deal with each other.
"""

TOMBSTONE_S: Final = 900
"""What ended is remembered so long: far longer than any replay can pass for fresh."""


def available(ledger: Ledger, now: int, ask: Ask, keep: int) -> int:
    """bit/s that can be granted over the window asked for; ``keep`` is held back unless a consumer waits."""
    free = ledger.free(ask.pool, _live(ledger, ask.window)) - (0 if ask.urgent else keep)
    promise = _promise(ledger, now, ask)
    if promise is not None:
        free = max(free, 0) + promise.rate
    return max(0, free)


def escrow(ledger: Ledger, now: int, params: Params, ask: Ask, keep: int = 0, most: int | None = None) -> Plan[Offer]:
    """Step 2: as much as can be given of what is asked, down to its least. Raises Declined.

    ``most``: bit/s that may be lent to its sender at a time; None: what is lent is not counted.
    """
    amount = _granted(ledger, now, params, ask, keep, most)
    account = ledger.account(ask.pool)
    window = _live(ledger, ask.window)
    parts = tuple(account.held.pick(amount, window))
    if len(parts) > MAX_BLOCKS:
        raise Declined("fragmented", f"{amount} bit/s are {len(parts)} blocks here; ask for less or for a shorter time")
    promise = _promise(ledger, now, ask)
    kept = removed([promise]) if promise is not None else ()
    lent = lending.lend(ledger, ask.node.name, ask.pool, parts) if most is not None else None
    if lent is None and most is not None and most < MAX_RATE:
        raise Declined("limit", f"more than {lending.MOST_CHANGES} different times")
    given = Given(ask.txn, ask.pool, ask.node, parts, GivenState.ESCROW, now, lent is not None)
    changes = (*kept, *_out(ledger, ask.pool, parts), *made(given), *(lent or ()))
    return Plan(changes, Offer(ask.txn, ledger.me, parts))


def hold(ledger: Ledger, now: int, params: Params, ask: Ask, keep: int = 0, most: int | None = None) -> Plan[Hold]:
    """The answer to a dry run: keep what would be offered for ``params["hold"]`` seconds (RFC 9222 App. C)."""
    if most is not None and len(lending.kept(ledger, now, ask.node.name)) >= lending.MOST_KEPT:
        raise Declined("busy", f"{lending.MOST_KEPT} dry runs of {ask.node.name} are kept")
    amount = _granted(ledger, now, params, ask, keep, most)
    until = now + params["hold"]
    promise = Promise(ask.txn, ask.pool, ask.node, amount, _live(ledger, ask.window), until)
    return Plan(made(promise), Hold(ask.txn, ledger.me, amount, until))


def release(ledger: Ledger, txn: bytes) -> Plan[None]:
    """A dry run that was declined, or whose time is over."""
    promise = ledger.promises.get(txn)
    return Plan(removed([promise]) if promise is not None else (), None)


def push(ledger: Ledger, now: int, txn: bytes, peer: NodeId, pool: str, blocks: Sequence[Block]) -> Plan[Give]:
    """Put blocks into escrow to hand them over unasked. Raises Conflict if they are promised to somebody."""
    for window in _pieces(blocks):
        if window.passed(ledger.floor):
            continue
        if ledger.free(pool, window) < sum(each.amount for each in blocks if each.window.covers(window)):
            raise Conflict(f"{pool}: what is to be handed over in {window} is promised to consumers")
    given = Given(txn, pool, peer, tuple(blocks), GivenState.ESCROW, now)
    return Plan((*_out(ledger, pool, blocks), *made(given)), Give(txn, ledger.me, peer, pool, tuple(blocks), now))


def close(ledger: Ledger, now: int, txn: bytes) -> Plan[None]:
    """The requester has accepted. Harmless when done before."""
    return _end(ledger, now, txn, GivenState.CLOSED)


def take_back(ledger: Ledger, now: int, txn: bytes) -> Plan[None]:
    """The requester never will accept. Harmless when done before."""
    return _end(ledger, now, txn, GivenState.RETURNED)


def forfeit(ledger: Ledger, now: int, txn: bytes) -> Plan[Given]:
    """Take back what is in doubt, by an operator who knows that the requester never comes back."""
    given = ledger.given.get(txn)
    if given is None:
        raise UnknownTransfer(f"there is no transfer {txn.hex()}")
    if given.state is not GivenState.ESCROW:
        raise Conflict(f"the transfer is {given.state}, not in doubt")
    return Plan(_end(ledger, now, txn, GivenState.FORFEITED).changes, given)


def accept(
    ledger: Ledger,
    now: int,
    ask: Ask,
    offer: Offer,
    seeds: Sequence[tuple[int, int]] | None = None,
    gives: bool = True,
) -> Plan[tuple[Block, ...]]:
    """Step 3: take the blocks offered. ``seeds``: the pool's ranges at all origins, if known; ``gives``: whether
    capacity of the giver is taken.

    Raises BadOffer if it is not what was asked for, or the transaction was answered meanwhile.
    """
    if ledger.asking.get(ask.txn) != ask:
        raise BadOffer("withdrawn", "the transaction is over")
    if offer.txn != ask.txn:
        raise BadOffer("bad-offer", "another transaction")
    _check_new(ledger, ask.pool, offer.blocks, offer.node, seeds, gives)
    window = ask.window
    if not all(window.covers(each.window) for each in offer.blocks):
        raise BadOffer("bad-offer", "a block reaches beyond the window asked for")
    if peak(offer.blocks) > ask.rate:
        raise BadOffer("bad-offer", f"more than the {ask.rate} bit/s asked for")
    if trough(offer.blocks, _live(ledger, window)) < ask.least:
        raise BadOffer("bad-offer", f"less than {ask.least} bit/s at some instant")
    taken = Taken(ask.txn, ask.pool, offer.node, offer.blocks, TakenState.ACCEPTED, now)
    return Plan((*made(taken), *_in(ledger, ask.pool, offer.node, offer.blocks)), offer.blocks)


def refuse(
    ledger: Ledger,
    now: int,
    txn: bytes,
    pool: str,
    peer: NodeId,
    blocks: Sequence[Block],
    *,
    members: bool = False,
) -> Plan[None]:
    """Record that the blocks never will be taken under this transaction. Harmless when done before.

    ``members``: whether peers are known by name, so that each has a bound of its own. Raises Declined above a bound.
    """
    if txn in ledger.taken:
        return Plan((), None)
    check_room(never_taken(ledger), peer.name, members)
    return Plan(made(Taken(txn, pool, peer, tuple(blocks), TakenState.REFUSED, now)), None)


def answer(ledger: Ledger, now: int, settle: Settle, *, members: bool = False) -> Plan[str]:
    """What became of a transaction; final, so an unknown one is refused on disk first. Raises Declined."""
    if settle.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}; what became of transactions of {settle.of} is not known here")
    taken = ledger.taken.get(settle.txn)
    if taken is None:
        never = refuse(ledger, now, settle.txn, settle.pool, settle.node, settle.blocks, members=members)
        return Plan(never.changes, NEVER)
    if taken.state is TakenState.REFUSED or taken.peer != settle.node:
        # Under one transaction blocks come from one giver: what another has in escrow for it never will be taken.
        return Plan((), NEVER)
    if taken.pool != settle.pool or set(taken.blocks) != set(settle.blocks):
        raise Declined("bad-value", "the blocks are not those accepted under the transaction")
    return Plan((), ACCEPTED)


def receive(
    ledger: Ledger,
    now: int,
    give: Give,
    seeds: Sequence[tuple[int, int]] | None = None,
    gives: bool = True,
    *,
    members: bool = False,
) -> Plan[None]:
    """Take blocks handed over unasked. Raises Declined; a replay changes nothing.

    Gifts that were taken stay so when they come again: to decline would have the giver take them back. Where
    ``members`` are known nobody hands over what went from here to another just before.
    """
    if give.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}, not {give.of}")
    taken = ledger.taken.get(give.txn)
    if taken is not None:
        if taken.state is TakenState.REFUSED or (taken.peer, taken.pool) != (give.node, give.pool):
            raise Declined("replay", "the transaction is known")
        if set(taken.blocks) != set(give.blocks):
            raise Declined("bad-value", "the blocks are not those accepted under the transaction")
        return Plan((), None)
    _check_fresh(now, give.at)
    _check_new(ledger, give.pool, give.blocks, give.node, seeds, gives)
    if members:
        _check_whose(ledger, give)
    taken = Taken(give.txn, give.pool, give.node, give.blocks, TakenState.ACCEPTED, now)
    return Plan((*made(taken), *_in(ledger, give.pool, give.node, give.blocks)), None)


def closed(ledger: Ledger, confirm: Confirm) -> tuple[bytes, ...]:
    """Which transactions of a requester are no longer open here. Raises Declined."""
    if confirm.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}")
    return tuple(each for each in confirm.txns if each not in ledger.escrows)


def confirm(ledger: Ledger, now: int, giver: NodeId, txns: Iterable[bytes]) -> Plan[None]:
    """The giver has closed these and will not ask again."""
    found = [ledger.taken.get(each) for each in txns]
    return Plan(
        tuple(
            Change(each, replace(each, state=TakenState.CONFIRMED, at=now))
            for each in found
            if each is not None and each.peer == giver and each.state is TakenState.ACCEPTED
        ),
        None,
    )


def elapsed(ledger: Ledger, now: int, most: int = 512) -> Plan[list[Given]]:
    """The garbage collector's: what time has decided, and what need not be remembered any more."""
    changes: list[Change] = []
    for given in ledger.given.values():
        if given.state is GivenState.ESCROW:
            if all(each.window.passed(ledger.floor) for each in given.blocks):
                changes.append(Change(given, replace(given, state=GivenState.LAPSED, at=now)))
        elif given.at + TOMBSTONE_S <= now:
            changes.append(Change(given, None))
    for taken in ledger.taken.values():
        if taken.state is TakenState.ACCEPTED:
            if all(each.window.passed(ledger.floor) for each in taken.blocks):
                changes.append(Change(taken, replace(taken, state=TakenState.CONFIRMED, at=now)))
        elif taken.at + TOMBSTONE_S <= now:
            changes.append(Change(taken, None))
    changes += [Change(each, None) for each in ledger.promises.values() if each.until <= now]
    del changes[most:]
    return Plan(tuple(changes), [each.after for each in changes if isinstance(each.after, Given)])


def _end(ledger: Ledger, now: int, txn: bytes, state: GivenState) -> Plan[None]:
    given = ledger.given.get(txn)
    if given is None or given.state in (state, GivenState.LAPSED):
        # Of a window that has passed nobody need know whose it was.
        return Plan((), None)
    after = replace(given, state=state, at=now)
    if state is GivenState.CLOSED:
        return Plan((Change(given, after),), None)
    back = made(*(Held(given.pool, each) for each in given.blocks))
    lent = lending.repay(ledger, given.peer.name, given.pool, given.blocks) if given.lent else ()
    return Plan((Change(given, after), *back, *lent), None)


def _in(ledger: Ledger, pool: str, peer: NodeId, blocks: Sequence[Block]) -> tuple[Change, ...]:
    return (*made(*(Held(pool, each) for each in blocks)), *lending.repay(ledger, peer.name, pool, blocks))


def _out(ledger: Ledger, pool: str, parts: Sequence[Block]) -> tuple[Change, ...]:
    gone, left = ledger.account(pool).held.taking(parts)
    return (*removed(Held(pool, each) for each in gone), *made(*(Held(pool, each) for each in left)))


def _pieces(blocks: Sequence[Block]) -> list[Window]:
    """The windows between the instants at which a block begins or ends; the last is for ever if a block is."""
    times = sorted({each.start for each in blocks} | {each.end for each in blocks if each.end is not None})
    windows = [Window(start, end) for start, end in pairwise(times)]
    if any(each.end is None for each in blocks):
        windows.append(Window(times[-1], None))
    return windows


def _live(ledger: Ledger, window: Window) -> Window:
    """The window less what is forgotten. Raises Declined if nothing is left."""
    start = max(window.start, ledger.floor)
    if window.end is not None and window.end <= start:
        raise Declined("past", "the window has passed")
    return Window(start, window.end)


def _promise(ledger: Ledger, now: int, ask: Ask) -> Promise | None:
    promise = ledger.promises.get(ask.held) if ask.held is not None else None
    if (
        promise is None
        or promise.until <= now
        or (promise.peer, promise.pool) != (ask.node, ask.pool)
        or not promise.window.covers(_live(ledger, ask.window))
    ):
        return None
    return promise


def _granted(ledger: Ledger, now: int, params: Params, ask: Ask, keep: int, most: int | None) -> int:
    _check_fresh(now, ask.at)
    if ask.of != ledger.me:
        raise Declined("not-me", f"this is {ledger.me}, not {ask.of}")
    if ask.node == ledger.me:
        raise Declined("own", "an agent does not ask itself")
    if ask.txn in ledger.given or ask.txn in ledger.promises:
        raise Declined("replay", "the transaction is known")
    if ask.end is None and not params["permanent"]:
        raise Declined("policy", "capacity is not granted for ever; ask for a window with an end")
    can = available(ledger, now, ask, keep)
    room = MAX_RATE
    if most is not None:
        out = lending.lent(ledger, ask.node.name, ask.pool, ask.window)
        kept = lending.kept(ledger, now, ask.node.name, but=_promise(ledger, now, ask))
        room = max(0, most - out - lending.promised(kept, ask.pool, ask.window))
    amount = min(ask.rate, can, room)
    if amount < ask.least or (amount < ask.rate and amount < params["least_grant"]):
        if room < can:
            raise Declined("limit", limit_text(room), available=room)
        raise Declined("short", short_text(can), available=can)
    return amount


def _check_fresh(now: int, at: int) -> None:
    if abs(now - at) > SKEW_S:
        raise Declined(
            "stale", f"made {now - at} s ago by this clock, more than {SKEW_S}: a replay, or the clocks differ"
        )


def _check_new(
    ledger: Ledger,
    pool: str,
    blocks: Sequence[Block],
    peer: NodeId,
    seeds: Sequence[tuple[int, int]] | None,
    gives: bool,
) -> None:
    if peer == ledger.me:
        raise BadOffer("own", "an agent does not give to itself")
    if not gives:
        raise BadOffer("not-allowed", f"capacity of {peer.name} is not taken here")
    account = ledger.accounts.get(pool)
    for block in blocks:
        if block.window.passed(ledger.floor):
            raise BadOffer("past", "the window of a block has passed")
        if account is not None and account.held.overlapping(block) is not None:
            raise BadOffer("overlap", f"the block {block.to_item()} overlaps one held here")
        if ledger.escrow_of(pool, block) is not None:
            raise BadOffer("overlap", f"the block {block.to_item()} overlaps one in escrow here")
        if seeds is not None and not within(block.low, block.high, seeds):
            raise BadOffer("foreign", f"the block {block.to_item()} is outside of what origins have seeded")


def _check_whose(ledger: Ledger, give: Give) -> None:
    """A block that went to another member last may have come from there since; the giver is asked to wait."""
    closed = [each for each in ledger.given.values() if each.state is GivenState.CLOSED and each.pool == give.pool]
    for block in give.blocks:
        last = [each for each in closed if any(one.overlaps(block) for one in each.blocks)]
        at = max((each.at for each in last), default=0)
        newest = {each.peer.name for each in last if each.at == at}
        if newest and give.node.name not in newest:
            raise Declined("given", f"the block {block.to_item()} went from here to {min(newest)}")
