"""What consumers and operators do in the simulated network, and what they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asa import asking, reservations
from asa.asking import Need
from asa.ledger import Ledger
from asa.records import Plan, Reservation, ReservationState
from asa.steps import Steps, Transact
from objectives import Block, NodeId, Window
from objectives.resource import Ask
from tests.simulator.checker import Violation
from tests.simulator.couples import Couples
from tests.simulator.network import FAULTS, POOL, START, M, Network
from tests.simulator.node import Node
from tests.simulator.process import Process

Told = tuple[NodeId, int, Window]


class World(Network):
    """The network, and those who use it."""

    def __init__(
        self, names: Sequence[str], seeds: Mapping[str, tuple[int, int]], seed: int = 0, **options: Any
    ) -> None:
        self._changing: dict[Process, tuple[str, list[Told | None]]] = {}
        super().__init__(names, seeds, seed, **options)
        self.couples = Couples(self)

    def reserve(
        self,
        name: str,
        rate: int,
        start: int,
        seconds: int | None,
        patience: float = 10,
        then: Callable[[bool], object] | None = None,
    ) -> str:
        """A consumer at a node asks for ``rate`` bit/s, ``start`` s from now. The id it gets."""
        node = self.nodes[name]
        now = node.clock()
        window = Window(now + start, None if seconds is None else now + start + seconds)
        identifier = reservations.identifier(int(self.now * 1000), self.rng.getrandbits(25))
        if not node.alive or identifier in self.checker.told:
            return identifier
        wanted = Reservation(identifier, POOL, rate, window, ReservationState.BOOKED, now, now)

        def done(result: Any, error: BaseException | None) -> None:
            self.counts["booked" if error is None else "refused"] += 1
            self.checker.told[identifier] = (node.me, rate, window) if error is None else None
            self.checker.check_told_one(identifier)
            if then is not None:
                then(error is None)

        node.run(asking.reserve(node.party, wanted, self.now + patience), "reserves", done=done)
        return identifier

    def booked(self, name: str) -> list[str]:
        """Reservations a node's consumers were told of and can still change."""
        node = self.nodes[name]
        changing = {each for each, _ in self._changing.values()}
        return [
            each
            for each, told in self.checker.told.items()
            if told is not None and told[0] == node.me and not told[2].passed(node.clock()) and each not in changing
        ]

    def cancel(self, name: str, identifier: str) -> None:
        node = self.nodes[name]
        self._alter(
            node, identifier, lambda ledger: reservations.cancel(ledger, node.clock(), identifier), "cancels", None
        )

    def change(self, name: str, identifier: str, rate: int | None, seconds: int | None) -> None:
        """Another rate, or an end ``seconds`` from now."""
        node = self.nodes[name]
        told = self.checker.told[identifier]
        assert told is not None
        end = None if seconds is None else max(node.clock() + seconds, told[2].start + 1)
        new = rate or told[1], told[2] if end is None else Window(told[2].start, end)

        def changed(ledger: Ledger) -> Reservation:
            found = reservations.find(ledger, identifier)
            return reservations.changed(found, node.clock(), self.params, rate, None, end, end is None)

        self._alter(
            node,
            identifier,
            lambda ledger: reservations.exchange(ledger, node.clock(), changed(ledger)),
            "changes",
            (told[0], *new),
        )

    def _alter(
        self,
        node: Node,
        identifier: str,
        rule: Callable[[Any], Plan[Any]],
        label: str,
        new: tuple[NodeId, int, Window] | None,
    ) -> None:
        """Until a consumer is told of a change, either may be so: the old, or the new."""
        old = self.checker.told.pop(identifier)

        def done(result: Any, error: BaseException | None) -> None:
            del self._changing[process]
            self.counts[label] += error is None
            after = new if error is None else old
            if after is not None:
                self.checker.told[identifier] = after
                self.checker.check_told_one(identifier)

        def alter() -> Steps[None]:
            yield Transact(rule)

        steps = alter()
        # The process ends in an event of its own, never before it is entered here.
        process = node.run(steps, label, done=done)
        self._changing[process] = identifier, [old, new]

    def killed(self, process: Process) -> None:
        """A change whose node crashed: the disk says which of the two it is, and no other."""
        changing = self._changing.pop(process, None)
        if changing is None:
            return
        identifier, either = changing
        for told in either:
            if told is not None and self.checker.is_told(identifier, told):
                self.checker.told[identifier] = told
                return
        if None not in either:
            raise Violation(f"{identifier} is neither as it was nor as it was to be")

    def hand_over(
        self, name: str, peer: str, blocks: Sequence[Block], done: Callable[..., object] | None = None
    ) -> None:
        node = self.nodes[name]
        if node.alive and blocks:
            node.run(asking.hand_over(node.party, self.nodes[peer].me, POOL, blocks), "hands over", done=done)

    def ask(
        self,
        name: str,
        peer: str,
        rate: int,
        seconds: int | None,
        *,
        least: int = M,
        urgent: bool = True,
        dry: bool = False,
        patience_ms: int = 10_000,
        held: bytes | None = None,
        done: Callable[..., object] | None = None,
    ) -> None:
        """Ask one peer, for a stock or as a dry run that is followed by its live run."""
        node = self.nodes[name]
        if not node.alive:
            return
        now, party = node.clock(), node.party
        to = self.nodes[peer].me

        def made_up(held: bytes | None = None) -> Ask:
            end = None if seconds is None else now + seconds
            return Ask(
                party.txn(), node.me, to, POOL, rate, least, now, end, node.clock(), urgent, patience_ms, (), held
            )

        def steps() -> Steps[Any]:
            hold = yield from asking.try_out(party, to, made_up(), patience_ms)
            return (yield from asking.ask_one(party, to, made_up(hold.txn), patience_ms))

        asks = steps() if dry else asking.ask_one(party, to, made_up(held), patience_ms)
        node.run(asks, "tries, then asks" if dry else "asks", done=done)

    def obtain(self, name: str, rate: int, seconds: int | None, urgent: bool = False) -> None:
        """Refill a node's stock."""
        node = self.nodes[name]
        if node.alive:
            window = Window(node.clock(), None if seconds is None else node.clock() + seconds)
            node.run(asking.obtain(node.party, Need(POOL, rate, window, self.now + 10, urgent)), "refills")


__all__ = ["FAULTS", "POOL", "START", "M", "World"]
