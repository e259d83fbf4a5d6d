"""A network under load and misfortune, all drawn by chance from one seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from asa.records import Seed
from objectives import Block, NodeId
from objectives.resource import Ask, Give, Settle
from tests.simulator.world import POOL, START, M, World

FORGED = (
    "overlapping",
    "foreign",
    "too much",
    "too little",
    "too long",
    "another transaction",
    "another giver",
)
WINDOWS = (20, 90, 600, 3_600, None)


class Churn:
    """Consumers come and go at every node, capacity moves about, machines and links fail, an adversary meddles.

    ``nodes`` agents, of which one in four is an origin; ``harm``: the share of acts that are misfortunes; ``skew``:
    seconds by which clocks are ahead or behind at most.
    """

    def __init__(self, seed: int, nodes: int, harm: float = 0.4, tracing: bool = False, skew: int = 2) -> None:
        self.rng = Random(seed)
        self.harm = harm
        names = [f"n{number}" for number in range(nodes)]
        origins = names[: max(1, nodes // 4)]
        share = 40 * M * nodes // len(origins)
        self.world = World(
            names,
            {name: (number * share, (number + 1) * share) for number, name in enumerate(origins)},
            seed,
            jitter=True,
            tracing=tracing,
            offsets={name: self.rng.randint(-skew, skew) for name in names},
        )
        self.world.refusing = 0.01
        self.fresh = NodeId("stranger", "0" * 16)

    def run(self, acts: int) -> None:
        """So many acts, then quiet. Raises Violation."""
        for _ in range(acts):
            self.act()
            self.world.run(self.rng.choice((0.0, 0.005, 0.02, 0.1, 1, 10, 40)) * self.rng.random())
        self.calm()

    def calm(self) -> None:
        """No more misfortunes; everything is settled, then replayed, then settled again. Raises Violation."""
        world = self.world
        refusing, world.refusing, world.eager = world.refusing, 0.0, False
        world.forging.clear()
        for name, node in world.nodes.items():
            if not node.alive:
                world.restart(name)
        world.settle_down()
        world.adversary.replay_all()
        world.settle_down()
        world.refusing = refusing

    def act(self) -> None:
        acts = MISFORTUNES if self.rng.random() < self.harm else DEEDS
        self.rng.choice(acts)(self)

    # What the acts are about.

    def _name(self) -> str:
        return self.rng.choice(list(self.world.nodes))

    def _pair(self) -> tuple[str, str]:
        one, other = self.rng.sample(list(self.world.nodes), 2)
        return one, other

    def _rate(self) -> int:
        return self.rng.randint(1, 30) * M

    # Deeds.

    def reserve(self) -> None:
        self.world.reserve(
            self._name(),
            self._rate(),
            self.rng.choice((0, 0, 30, 300)),
            self.rng.choice(WINDOWS),
            self.rng.choice((1, 10, 60)),
        )

    def alter(self) -> None:
        name = self._name()
        if self.world.nodes[name].alive and (there := self.world.booked(name)):
            chosen = self.rng.choice(there)
            if self.rng.random() < 0.6:
                self.world.cancel(name, chosen)
            else:
                self.world.change(
                    name, chosen, self.rng.choice((None, self._rate())), self.rng.choice((None, 30, 1_000))
                )

    def ask(self) -> None:
        name, peer = self._pair()
        self.world.ask(
            name,
            peer,
            self._rate(),
            self.rng.choice(WINDOWS),
            urgent=self.rng.random() < 0.7,
            dry=self.rng.random() < 0.3,
            patience_ms=self.rng.choice((500, 10_000)),
        )

    def refill(self) -> None:
        self.world.obtain(self._name(), self._rate(), self.rng.choice(WINDOWS), self.rng.random() < 0.5)

    def hand_over(self) -> None:
        name, peer = self._pair()
        blocks = self.world.holds(name)
        chosen = self.rng.sample(blocks, min(len(blocks), self.rng.randint(1, 3)))
        now = self.world.nodes[name].clock()
        parts = [self._part(each, now) for each in chosen if each.end is None or each.end > now + 1]
        self.world.hand_over(name, peer, parts)

    def _part(self, block: Block, now: int) -> Block:
        start = max(block.start, now) if self.rng.random() < 0.8 else block.start
        high = block.high if self.rng.random() < 0.5 else self.rng.randint(block.low + 1, block.high)
        end = block.end if self.rng.random() < 0.7 or block.end is not None else start + 60
        return Block(block.low, high, start, end)

    # Misfortunes.

    def replace(self) -> None:
        """A machine that is not an origin's never comes back, and another takes its name."""
        name = self._name()
        node = self.world.nodes[name]
        if node.alive and not node.disk.of(Seed) and self.rng.random() < 0.2:
            self.world.replace(name)

    def crash(self) -> None:
        name = self._name()
        if self.world.nodes[name].alive:
            self.world.crash(name, self.rng.random() < 0.5, self.rng.choice((0.01, 3, 60)))

    def cut(self) -> None:
        if there := [each for each in self.world.sessions if each.open]:
            self.rng.choice(there).sever(self.rng.random() < 0.5)

    def lose(self) -> None:
        self._soon("lose")

    def delay(self) -> None:
        # Beyond a patience, beyond the first settlements, beyond what anybody remembers.
        self.world.long = self.rng.choice((2.0, 45.0, 1_000.0))
        self._soon("delay")

    def fail(self) -> None:
        self._soon(self.rng.choice(("store refuses", "crash before commit", "crash after commit")))

    def _soon(self, fault: str) -> None:
        first = self.world.index + self.rng.randint(1, 12)
        for number in range(first, first + self.rng.randint(1, 6)):
            self.world.faults[number] = fault

    def settle(self) -> None:
        node = self.world.nodes[self._name()]
        node.settle_all()

    def restless(self) -> None:
        self.world.eager = not self.world.eager

    def replay(self) -> None:
        self.world.adversary.replay(self.rng.randrange(200))

    def forge_offer(self) -> None:
        self.world.forging[self._name()] = self.rng.choice(FORGED)

    def forge_request(self) -> None:
        """What no honest agent says: every kind must be refused, whoever gets it."""
        name, other = self._pair()
        node, posing = self.world.nodes[name], self.world.nodes[other].me
        if not node.alive:
            return
        now, txn = node.clock(), self.rng.randbytes(16)
        mine = self.world.holds(name)
        foreign = Block(10**13, 10**13 + 5 * M, now, None)
        if len(mine) >= 6 and self.rng.random() < 0.6:
            # All of the line: it overlaps, and would be foreign if all that is here were handed over meanwhile.
            line = Block(0, 10**13, now, None)
            self.world.adversary.speak(name, Give(txn, posing, node.me, POOL, (line,), now))
        elif self.rng.random() < 0.3:
            self.world.adversary.speak(name, Give(txn, posing, self.fresh, POOL, (foreign,), now))
        elif self.rng.random() < 0.3:
            self.world.adversary.speak(name, Give(txn, node.me, node.me, POOL, (foreign,), now))
        elif self.rng.random() < 0.3:
            self.world.adversary.speak(name, Give(txn, posing, node.me, POOL, (foreign,), START - 10_000))
        elif self.rng.random() < 0.5:
            self.world.adversary.speak(name, Settle(txn, posing, self.fresh, POOL, (foreign,)))
        else:
            self.world.adversary.speak(name, Ask(txn, node.me, node.me, POOL, M, M, now, None, now))


DEEDS: tuple[Callable[[Churn], None], ...] = (
    Churn.reserve,
    Churn.reserve,
    Churn.reserve,
    Churn.alter,
    Churn.alter,
    Churn.ask,
    Churn.refill,
    Churn.hand_over,
)
MISFORTUNES: tuple[Callable[[Churn], None], ...] = (
    Churn.crash,
    Churn.cut,
    Churn.lose,
    Churn.delay,
    Churn.fail,
    Churn.settle,
    Churn.restless,
    Churn.replay,
    Churn.forge_offer,
    Churn.forge_request,
    Churn.replace,
)
