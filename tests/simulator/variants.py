"""The transfer, broken on purpose: what a plausible shortcut in each rule would be. The simulator must catch every one.

The first four are those of ``transfer_model.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from asa import answering, asking, pool, transfer
from asa.errors import AsaError
from asa.ledger import Ledger
from asa.records import Change, Given, GivenState, Held, Plan, Taken, TakenState, made
from asa.steps import Agree, Begin, Broken, Deny, Finish, Look, Party, Propose, Refused, Steps, Transact
from asa.transfer import BadOffer, Declined
from objectives import Block, NodeId
from objectives.resource import ACCEPTED, NEVER, Ask, Confirm, Give, Offer, Settle, Settled

Replaced = tuple[Any, str, Any]


def _given_up(end: Callable[..., Plan[None]]) -> Callable[[Party, Ask], Steps[None]]:
    """The answering side that takes a broken session for a decision."""

    def serve_ask(party: Party, ask: Ask) -> Steps[None]:
        offer: Offer = yield Transact(
            lambda ledger: transfer.escrow(ledger, party.clock(), party.params(), ask, party.keep(ledger, ask.pool))
        )
        try:
            accepted = yield Propose(offer)
            rule = transfer.close if accepted else transfer.take_back
        except Broken:
            rule = end
        yield Transact(lambda ledger: rule(ledger, party.clock(), ask.txn))

    return serve_ask


def _accept_unasked(forget: bool) -> Callable[..., Plan[tuple[Block, ...]]]:
    """Step 3 that minds nothing it was asked meanwhile; with ``forget`` not even the refusal on disk."""

    def accept(ledger: Ledger, now: int, ask: Ask, offer: Offer, seeds: Any = None, *_: Any) -> Plan[tuple[Block, ...]]:
        refused = ledger.taken.get(ask.txn)
        if refused is not None and not forget:
            raise BadOffer("withdrawn", "the transaction is over")
        ledger.asking[ask.txn] = ask
        plan = _ACCEPT(ledger, now, ask, offer, seeds)
        return Plan((*((Change(refused, None),) if refused is not None else ()), *plan.changes), plan.result)

    return accept


def _answer_unwritten(ledger: Ledger, now: int, settle: Settle, **_: Any) -> Plan[str]:
    taken = ledger.taken.get(settle.txn)
    accepted = taken is not None and taken.state is not TakenState.REFUSED
    return Plan((), ACCEPTED if accepted else NEVER)


def _answer_for_anybody(ledger: Ledger, now: int, settle: Settle, **_: Any) -> Plan[str]:
    mine = Settle(settle.txn, settle.node, ledger.me, settle.pool, settle.blocks)
    return _ANSWER(ledger, now, mine)


def _serve_settle_posing(party: Party, question: Settle) -> Steps[None]:
    """The answer is given in the name of whoever was asked for."""
    outcome = yield Transact(lambda ledger: transfer.answer(ledger, party.clock(), question))
    yield Propose(Settled(question.txn, question.of, outcome))


def _forgetful(ledger: Ledger, now: int, most: int = 512) -> Plan[list[Given]]:
    """Accepted transfers are forgotten though their giver may still ask."""
    early = [each for each in ledger.taken.values() if each.state is TakenState.ACCEPTED]
    if early:
        return Plan(tuple(Change(each, _confirmed(each)) for each in early), [])
    confirmed = [each for each in ledger.taken.values() if each.state is TakenState.CONFIRMED]
    return Plan(tuple(Change(each, None) for each in confirmed), [])


def _confirmed(taken: Taken) -> Taken:
    return Taken(taken.txn, taken.pool, taken.peer, taken.blocks, TakenState.CONFIRMED, taken.at)


def _offer_first(party: Party, ask: Ask) -> Steps[None]:
    """The offer is sent before the escrow is on disk."""
    plan: Plan[Offer] = yield Look(
        lambda ledger: transfer.escrow(ledger, party.clock(), party.params(), ask, party.keep(ledger, ask.pool))
    )
    if (yield Propose(plan.result)):
        yield Transact(lambda ledger: plan)
        yield Transact(lambda ledger: transfer.close(ledger, party.clock(), ask.txn))


def _accept_first(party: Party, peer: NodeId, ask: Ask, patience_ms: int) -> Steps[tuple[Block, ...]]:
    """Acceptance is said before it is on disk."""
    yield Look(lambda ledger: ledger.asking.__setitem__(ask.txn, ask))
    answer = yield Begin(peer, ask, patience_ms=patience_ms)
    if not isinstance(answer, Offer):
        raise Refused("bad-offer")
    yield Finish(True)
    taken: tuple[Block, ...] = yield Transact(
        lambda ledger: transfer.accept(ledger, party.clock(), ask, answer, party.seeds(ledger, ask.pool))
    )
    return taken


def _receive_again(ledger: Ledger, now: int, give: Give, seeds: Any = None, *_: Any, **__: Any) -> Plan[None]:
    """A gift is taken whatever is on disk about it."""
    known = ledger.taken.pop(give.txn, None)
    try:
        plan = _RECEIVE(ledger, now, give, seeds)
    finally:
        if known is not None:
            ledger.taken[give.txn] = known
    gone: tuple[Change, ...] = ()
    if known is not None and known.state is TakenState.ACCEPTED:
        gone = (Change(known, _confirmed(known)), Change(_confirmed(known), None))
    elif known is not None:
        gone = (Change(known, None),)
    return Plan((*gone, *plan.changes), None)


def _end_keeps_escrow(ledger: Ledger, now: int, txn: bytes, state: GivenState) -> Plan[None]:
    if state is GivenState.CLOSED:
        return _END(ledger, now, txn, state)
    given = ledger.given.get(txn)
    if given is None or given.state is not GivenState.ESCROW:
        return Plan((), None)
    return Plan(made(*(Held(given.pool, each) for each in given.blocks)), None)


def _taking_loses(self: pool.Pool, parts: Sequence[Block]) -> tuple[list[Block], list[Block]]:
    gone, left = _TAKING(self, parts)
    return gone, left[:-1]


def _push_unsummed(
    ledger: Ledger, now: int, txn: bytes, peer: NodeId, name: str, blocks: Sequence[Block]
) -> Plan[Give]:
    """Each block is looked at as if it alone were handed over."""
    for block in blocks:
        if ledger.free(name, block.window) < block.amount:
            raise Declined("conflict", "promised to consumers")
    given = Given(txn, name, peer, tuple(blocks), GivenState.ESCROW, now)
    changes = transfer._out(ledger, name, blocks)
    return Plan((*changes, *made(given)), Give(txn, ledger.me, peer, name, tuple(blocks), now))


def _closed_says_yes(ledger: Ledger, confirm: Confirm) -> tuple[bytes, ...]:
    return confirm.txns


def _forgets_quickly(ledger: Ledger, now: int, giver: NodeId, txns: Sequence[bytes]) -> Plan[None]:
    """What is confirmed is forgotten at once: sound in itself, and shows a wrong confirmation."""
    found = [ledger.taken[each] for each in txns if each in ledger.taken]
    found = [each for each in found if each.peer == giver and each.state is TakenState.ACCEPTED]
    changes = [Change(*each) for one in found for each in ((one, _confirmed(one)), (_confirmed(one), None))]
    return Plan(tuple(changes), None)


def _serve_give_hastily(party: Party, give: Give) -> Steps[None]:
    """A gift is declined though nothing on disk will keep it from being taken later."""
    try:
        yield Transact(lambda ledger: transfer.receive(ledger, party.clock(), give, party.seeds(ledger, give.pool)))
    except AsaError:
        yield Deny("not now")
    else:
        yield Agree()


def _receive_declines_known(ledger: Ledger, now: int, give: Give, seeds: Any = None, *_: Any, **__: Any) -> Plan[None]:
    """A gift that comes twice is declined the second time, though it was taken the first."""
    if give.txn in ledger.taken:
        raise Declined("replay", "the transaction is known")
    return _RECEIVE(ledger, now, give, seeds)


def _receive_for_anybody(ledger: Ledger, now: int, give: Give, seeds: Any = None, *_: Any, **__: Any) -> Plan[None]:
    """A gift meant for another instance of the name is taken."""
    return _RECEIVE(ledger, now, Give(give.txn, give.node, ledger.me, give.pool, give.blocks, give.at), seeds)


def _unguarded(ledger: Ledger, now: int, ask: Ask, keep: int) -> int:
    """What is promised to consumers is granted to peers too."""
    account = ledger.accounts.get(ask.pool)
    whole = [] if account is None else [each for each in account.held if each.window.covers(ask.window)]
    return sum(each.amount for each in whole)


def _refuse_nothing(
    ledger: Ledger, now: int, txn: bytes, name: str, peer: NodeId, blocks: Sequence[Block], **_: Any
) -> Plan[None]:
    return Plan((), None)


_ACCEPT, _RECEIVE, _ANSWER = transfer.accept, transfer.receive, transfer.answer
_END, _TAKING = transfer._end, pool.Pool.taking

VARIANTS: dict[str, list[Replaced]] = {
    "timeout-returns": [(answering, "_serve_ask", _given_up(transfer.take_back))],
    # Three things keep a refused transaction from being accepted: it is no longer asked for in memory, its refusal is
    # on disk, and the table of states knows no way from there. Without the first alone nothing goes wrong.
    "accept-after-settle": [(transfer, "accept", _accept_unasked(forget=True))],
    # Not on disk, an answer does not end the asking in memory either.
    "answer-before-disk": [(transfer, "answer", _answer_unwritten)],
    "forget": [(transfer, "elapsed", _forgetful)],
    "offer-before-escrow": [(answering, "_serve_ask", _offer_first)],
    "accept-before-disk": [(asking, "ask_one", _accept_first)],
    "closes-on-a-broken-session": [(answering, "_serve_ask", _given_up(transfer.close))],
    # The giver looks who answers, too.
    "answers-for-another-instance": [
        (transfer, "answer", _answer_for_anybody),
        (answering, "_serve_settle", _serve_settle_posing),
    ],
    "takes-a-gift-twice": [(transfer, "receive", _receive_again)],
    "takes-back-and-keeps-escrow": [(transfer, "_end", _end_keeps_escrow)],
    "split-loses-a-remainder": [(pool.Pool, "taking", _taking_loses)],
    "hands-over-what-is-promised": [(transfer, "push", _push_unsummed)],
    "grants-what-is-promised": [(transfer, "available", _unguarded)],
    "confirms-what-is-open": [(transfer, "closed", _closed_says_yes), (transfer, "confirm", _forgets_quickly)],
    "declines-a-gift-before-disk": [(answering, "_serve_give", _serve_give_hastily)],
    "declines-a-gift-it-took": [(transfer, "receive", _receive_declines_known)],
    "takes-a-gift-for-another-instance": [(transfer, "receive", _receive_for_anybody)],
    "refuses-nothing": [(transfer, "refuse", _refuse_nothing)],
}

HARMLESS: dict[str, list[Replaced]] = {
    # The giver does not take the answer of another instance.
    "answers-in-its-own-name": [(transfer, "answer", _answer_for_anybody)],
    # The refusal on disk alone still keeps a settled transaction from being accepted.
    "accept-without-asking": [(transfer, "accept", _accept_unasked(forget=False))],
}
"""One of two overlapping protections removed: nothing goes wrong, and that is worth knowing."""


@contextmanager
def broken(replaced: Sequence[Replaced]) -> Iterator[None]:
    """The rules with some of them replaced."""
    patches = [patch.object(*each) for each in replaced]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in reversed(patches):
            each.stop()
