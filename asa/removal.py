"""The end of an agent's life: what it holds goes to its peers, and only then its state is purged (RFC 9222 §6.4).

And the end of another's, by an operator's word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asa import audit, oversight, pacts
from asa.asking import confirm, hand_over
from asa.errors import AsaError, Conflict
from asa.identity import FORGOTTEN, MOST_FORGOTTEN, forgotten_by, remembering
from asa.ledger import Ledger
from asa.pairing import confirm_verdicts
from asa.records import Plan, TakenState, VerdictState, removed
from asa.steps import Broken, Refused
from objectives import Block, NodeId, Window
from objectives.resource import MAX_TXNS

if TYPE_CHECKING:
    from asa.agent import Agent

MOST_BLOCKS: Final = 64
"""In one transfer."""


def hand_everything_over(agent: Agent) -> dict[str, Any]:
    """Give every block to a peer, and clear the data plane. Raises Conflict, with what stands in the way, if anything
    is left, and NotCleared.

    The agent is deactivated first and stays so if it fails; nothing is lost then, and it can be tried again.
    """
    agent.set_active(False)
    _check(agent)
    moved = 0
    for pool in agent.books.read(lambda ledger: list(ledger.accounts)):
        moved += _empty(agent, pool)
    _forget_decided(agent)
    left = agent.books.read(_left)
    if left:
        raise Conflict(
            "the agent still has what nobody took or what is not settled",
            hint="see details; try again when its peers are up",
            details={"left": left},
        )
    if agent.enforcer is not None:
        agent.enforcer.clear()
    return {"removed": True, "node": str(agent.party.me), "blocks_handed_over": moved}


def _check(agent: Agent) -> None:
    now = agent.party.clock()
    live = agent.books.read(lambda ledger: oversight.live(ledger, now))
    if live:
        raise Conflict(f"{live} reservations are pending or active here", hint="cancel them, or wait for their end")
    lent = agent.books.read(lambda ledger: _lent(ledger, now))
    if lent:
        raise Conflict(
            f"peers hold capacity this origin seeded in {', '.join(lent)}, or will for some time",
            hint="an origin leaves when all of it has come back; deactivate or remove the others first",
        )


def _lent(ledger: Ledger, now: int) -> list[str]:
    """The pools this agent seeded and does not hold whole, from now on and for ever."""
    return [
        name
        for name, account in ledger.accounts.items()
        if audit.lacking(
            [Block(each.low, each.high, max(now, ledger.floor), None) for each in account.seeds.values()],
            list(account.held),
        )
    ]


def _empty(agent: Agent, pool: str) -> int:
    """Hand the blocks of one pool to its origins, or else to anybody; how many were taken."""
    if agent.books.read(lambda ledger: bool(ledger.account(pool).seeds)):
        return 0
    everyone = [each for each in agent.peers.everyone() if each.state == "active" and each.locator]
    everyone.sort(key=lambda each: not each.seeds.get(pool))
    taken = 0
    for peer in everyone:
        blocks = agent.books.read(lambda ledger: _living(ledger, pool))
        while blocks:
            part, blocks = blocks[:MOST_BLOCKS], blocks[MOST_BLOCKS:]
            if not agent.performer.run(hand_over(agent.party, peer.node, pool, part)):
                break
            taken += len(part)
    return taken


def _living(ledger: Ledger, pool: str) -> list[Block]:
    """The blocks held from now on: what is past need not be handed over."""
    parts = (each.cut(Window(ledger.floor, None)) for each in ledger.account(pool).held)
    return [each for each in parts if each is not None]


def _forget_decided(agent: Agent) -> None:
    """Have peers confirm what was taken from them, or decided about with them: nobody can answer for it later."""
    taken: dict[NodeId, list[bytes]] = {}
    decided: dict[NodeId, list[bytes]] = {}

    def look(ledger: Ledger) -> None:
        for each in ledger.taken.values():
            if each.state is TakenState.ACCEPTED:
                taken.setdefault(each.peer, []).append(each.txn)
        for verdict in ledger.verdicts.values():
            if verdict.state is VerdictState.ACCEPTED:
                decided.setdefault(verdict.peer, []).append(verdict.txn)

    agent.books.read(look)
    for conversation, txns_of in (confirm, taken), (confirm_verdicts, decided):
        for peer, txns in txns_of.items():
            for index in range(0, len(txns), MAX_TXNS):
                try:
                    agent.performer.run(conversation(agent.party, peer, txns[index : index + MAX_TXNS]))
                except (Refused, Broken, AsaError):
                    break


def _left(ledger: Ledger) -> list[str]:
    left = [
        f"{len(living)} blocks of {pool}"
        for pool, account in ledger.accounts.items()
        if not account.seeds and (living := _living(ledger, pool))
    ]
    left += [f"a transfer in doubt to {each.peer}" for each in ledger.escrows.values()]
    left += [f"what {each.peer} decides about {each.after.id}" for each in ledger.pacts.values()]
    left += [f"{each.peer} has yet to be told that {each.id} is over" for each in ledger.notices.values()]
    left += [
        f"{each.peer} may ask what was decided about {each.id}"
        for each in ledger.verdicts.values()
        if each.state is VerdictState.ACCEPTED
    ]
    open_ = sum(each.state is TakenState.ACCEPTED for each in ledger.taken.values())
    if open_:
        left.append(f"{open_} transfers whose givers have not confirmed that they are closed")
    return left[:32]


def forget(agent: Agent, node: NodeId) -> None:
    """A peer that is gone for ever, by an operator's word. Raises StoreFailed."""

    def forgotten(ledger: Ledger) -> Plan[None]:
        known = remembering(ledger, FORGOTTEN, sorted({str(node), *forgotten_by(ledger)})[:MOST_FORGOTTEN])
        contact = ledger.contacts.get(str(node))
        undecided = pacts.forget(ledger, agent.party.clock(), node)
        gone = removed([contact] if contact is not None else ())
        return Plan((*known.changes, *gone, *undecided.changes), None)

    agent.books.transact(forgotten)
    agent.whereabouts.map.forget(node)
    agent.peers.forget(node)
    agent.events.tell("peer-forgotten", f"{node} is gone for ever, by an operator's word", peer=str(node))
