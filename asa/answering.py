"""The side that is asked: granting capacity, taking it, saying what became of it. No I/O."""

from __future__ import annotations

from typing import Final

from asa import transfer
from asa.asking import Need, guarded, obtain
from asa.errors import AsaError
from asa.ledger import Ledger
from asa.records import Plan
from asa.steps import Agree, Broken, Deny, Look, Party, Propose, Steps, Tell, Transact, Wait
from asa.transfer import Declined
from objectives import InvalidValue
from objectives.block import peak
from objectives.resource import ACCEPTED, MAX_PATH, Ask, Confirm, Confirmed, Give, Hold, Offer, Request, Settle, Settled

HOP_MS: Final = 300
"""Of a requester's patience, what each node in a chain keeps for its own answer."""


def serve(party: Party, request: Request, dry: bool) -> Steps[None]:
    """Answer whatever a session began with. A rule's refusal is declined with its reason, and changes nothing."""
    try:
        match request:
            case Ask():
                if not party.active():
                    raise Declined("inactive", "this agent is not active")
                yield from (_serve_dry(party, request) if dry else _serve_ask(party, request))
            case Give():
                yield from _serve_give(party, request)
            case Settle():
                yield from _serve_settle(party, request)
            case Confirm():
                closed = yield Look(lambda ledger: transfer.closed(ledger, request))
                yield Propose(Confirmed(party.me, closed))
    except Declined as error:
        yield Deny(error.reason)
    except InvalidValue as error:
        yield Deny(f"bad-value: {error}")
    except AsaError as error:
        yield Deny(f"{error.code}: not now")
    except Broken:
        # A transfer this leaves in doubt is in the ledger; the delegator asks about it.
        pass


def _serve_ask(party: Party, ask: Ask) -> Steps[None]:
    """Step 2 and 4 of a transfer; if this agent is short itself, third parties are asked first."""

    def rule(ledger: Ledger) -> Plan[Offer]:
        keep, most = party.keep(ledger, ask.pool), party.lends(ask.node.name)
        return transfer.escrow(ledger, party.clock(), party.params(), ask, keep, most)

    party.talking.add(ask.txn)
    try:
        try:
            offer: Offer = yield Transact(rule)
        except Declined as error:
            if error.code != "short" or not (yield from _relayed(party, ask, error.available)):
                raise
            offer = yield Transact(rule)
        accepted = yield Propose(offer)
        end = transfer.close if accepted else transfer.take_back
        yield Transact(lambda ledger: end(ledger, party.clock(), ask.txn))
    finally:
        party.talking.discard(ask.txn)
    if accepted:
        yield Tell(
            "capacity-given",
            f"{peak(offer.blocks)} bit/s of {ask.pool} went to {ask.node.name}",
            {"peer": str(ask.node), "pool": ask.pool, "rate": peak(offer.blocks), "txn": ask.txn.hex()},
        )


def _relayed(party: Party, ask: Ask, available: int) -> Steps[bool]:
    """Ask third parties on a requester's behalf while it waits; nobody on the path is asked, so there are no loops."""
    budget = ask.patience - HOP_MS
    if not ask.urgent or budget <= 0 or len(ask.path) >= party.params()["relay_depth"]:
        return False
    yield Wait(ask.patience)
    path = (*ask.path, ask.node.name)[-MAX_PATH:]
    window = guarded(ask.window, 0, party.clock())
    need = Need(ask.pool, ask.rate - available, window, party.ticks() + budget / 1000, True, path)
    got = yield from obtain(party, need)
    return available + got.rate >= ask.least


def _serve_dry(party: Party, ask: Ask) -> Steps[None]:
    most = party.lends(ask.node.name)
    kept: Hold = yield Transact(
        lambda ledger: transfer.hold(ledger, party.clock(), party.params(), ask, party.keep(ledger, ask.pool), most)
    )
    if not (yield Propose(kept)):
        yield Transact(lambda ledger: transfer.release(ledger, ask.txn))


def _serve_give(party: Party, give: Give) -> Steps[None]:
    try:
        yield Transact(
            lambda ledger: transfer.receive(
                ledger,
                party.clock(),
                give,
                party.seeds(ledger, give.pool) or [],
                party.gives(give.node.name),
                members=party.members,
            )
        )
    except Declined as error:
        if error.code == "not-me":
            # Whoever it is meant for may have it already; its giver must not take a decline of ours for an answer.
            raise Broken(error.reason) from None
        # On disk before it is said, so that a replay of the gift is not taken after its giver took it back.
        try:
            yield Transact(
                lambda ledger: transfer.refuse(
                    ledger, party.clock(), give.txn, give.pool, give.node, give.blocks, members=party.members
                )
            )
        except AsaError as failure:
            raise Broken(failure.message) from None
        yield Deny(error.reason)
    except AsaError as error:
        # A decline is final, and nothing is on disk yet that would make this one so: the giver has to ask.
        raise Broken(error.message) from None
    else:
        yield Agree()


def _serve_settle(party: Party, question: Settle) -> Steps[None]:
    outcome = yield Transact(lambda ledger: transfer.answer(ledger, party.clock(), question, members=party.members))
    if (yield Propose(Settled(question.txn, party.me, outcome))) and outcome == ACCEPTED:
        yield Transact(lambda ledger: transfer.confirm(ledger, party.clock(), question.node, [question.txn]))
