"""Who says again what was said before, and makes up what nobody said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asa.steps import Request
from objectives import Block, NodeId, pact, resource
from objectives.resource import Ask, Offer
from tests.simulator.session import Answered, End, Ended, Message, Said, Session

if TYPE_CHECKING:
    from tests.simulator.network import Network


class Adversary:
    """It hears every message and may send any, but not in the place of one that is on its way to be read."""

    def __init__(self, world: Network) -> None:
        self._world = world

    def replay(self, chosen: int) -> None:
        """Say once more, word for word, what somebody once said: to whom it was said, or now and then to another."""
        if not self._world.scripts:
            return
        node, script = self._world.scripts[chosen % len(self._world.scripts)]
        names = sorted(self._world.nodes)
        there = self._world.nodes[node.name if chosen % 3 else names[chosen % len(names)]]
        if there.alive:
            self._world.counts["replays"] += 1
            self._speak(there.name, list(script))

    def replay_all(self) -> None:
        for number in range(len(self._world.scripts)):
            self.replay(number)

    def speak(self, name: str, request: Request) -> None:
        """Begin a session with a made-up request, and break it off at its answer."""
        self._world.counts["forgeries"] += 1
        objective = pact.NAME if isinstance(request, pact.Arrange | pact.Settle | pact.CallOff) else resource.NAME
        self._speak(name, [Said(request, False, objective)]).forged = True

    def _speak(self, name: str, script: list[Message]) -> Session:
        session = Session(self._world, "adversary", name)
        session.said = lambda end, message: None  # type: ignore[method-assign]
        session.client.process = _Echo(session.client, script[1:])  # type: ignore[assignment]
        session.client.send(script[0])
        return session

    def forge(self, kind: str, ask: Ask, end: End) -> None:
        """Answer an ask, instead of the peer, with an offer that must be refused."""
        self._world.counts["forgeries"] += 1
        node, requester = self._world.nodes[end.node], self._world.nodes[ask.node.name]
        window = ask.window
        mine = self._world.holds(requester.name)
        # An offer that fits cannot be told from a good one, so where a kind does not apply another stands in.
        if (kind == "overlapping" and not mine) or (kind == "too long" and window.end is None):
            kind = "foreign"
        if kind == "foreign" and requester.party.seeds(requester.ledger, ask.pool) is None:
            # Who knows of no other origin cannot tell what is foreign.
            kind = "too much"
        match kind:
            case "overlapping":
                # With a margin: what overlaps now may have been handed over when this arrives.
                blocks = [Block(mine[0].low, mine[0].high + ask.rate, window.start, window.end)]
            case "foreign":
                blocks = [Block(10**12, 10**12 + ask.rate, window.start, window.end)]
            case "too much":
                blocks = [Block(0, ask.rate + 1, window.start, window.end)]
            case "too long":
                assert window.end is not None
                blocks = [Block(0, ask.rate, window.start, window.end + 1)]
            case "too little":
                blocks = [Block(0, 1, window.start, window.end)]
            case _:
                blocks = [Block(0, ask.rate, window.start, window.end)]
        txn = bytes(16) if kind == "another transaction" else ask.txn
        giver = NodeId(node.name, "f" * 16) if kind == "another giver" else node.me
        end.inbox.clear()
        end.process = _Echo(end, [])  # type: ignore[assignment]
        end.send(Answered(Offer(txn, giver, tuple(blocks))))


class _Echo:
    """The adversary's end: it sends the rest of its script at the first answer, then is gone."""

    def __init__(self, end: End, rest: list[Message]) -> None:
        self._end = end
        self._rest = rest

    def readable(self) -> None:
        message = self._end.inbox.popleft()
        if isinstance(message, Answered):
            for each in self._rest:
                if isinstance(each, Ended):
                    self._end.send(each)
        self._end.close()
