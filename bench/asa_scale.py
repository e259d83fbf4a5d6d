"""What a consumer's request costs as the network grows: messages and virtual time, at 10, 100 and 1,000 agents.

The production conversations run in the simulator of the tests, on a virtual clock, a message taking 10 ms and a step
1 ms. One origin has seeded 20 Mbit/s per agent. Consumers come by chance at agents by chance, each for 10 Mbit/s and
open-ended, and leave after a minute on average, so that half the capacity is in use and has to follow them about. As
a request does in production it asks up to eight peers, one after the other, whom it chooses by what they have flooded.

Per request nothing grows with the network: a peer that can grant is found by looking at what was heard, and at most
eight are asked. What grows are the announcements, and they are counted apart: each of n agents hears the other n - 1
once a flood interval, n per agent and n x n in all, so that on one link of the network n messages pass per interval,
however many requests there are. Beyond a few thousand agents the interval has to be made longer.
"""

from __future__ import annotations

import time
from random import Random
from statistics import fmean, quantiles

from bench.report import Result
from tests.simulator.world import M, World

SIZES = (10, 100, 1_000)
RATE = 10 * M
SHARE = 20 * M
"""bit/s seeded per agent."""
STAY_S = 60.0
REQUESTS = 2_000
"""Measured at each size, after a warm-up of as many and at least eight stays."""
WARM_UP_S = 480.0
MOST_GROWTH = 1.25
"""How much more a request may cost at any size than among ten agents."""


class Demand:
    """Consumers that come and go; ``waits``: virtual seconds each booked request took, since the last clearing."""

    def __init__(self, nodes: int) -> None:
        names = [f"n{number}" for number in range(nodes)]
        self.world = World(names, {"n0": (0, nodes * SHARE)}, seed=nodes, wire=False)
        self._names = names
        self._rng = Random(nodes)
        self._pause = STAY_S * RATE / (0.5 * nodes * SHARE)
        self.waits: list[float] = []
        self.refused = 0
        self._come()

    def _come(self) -> None:
        world, began = self.world, self.world.now
        name = self._rng.choice(self._names)

        def then(booked: bool) -> None:
            if booked:
                self.waits.append(world.now - began)
                world.at(world.now + self._rng.expovariate(1 / STAY_S), "leave", name, leave)
            else:
                self.refused += 1

        def leave() -> None:
            world.cancel(name, identifier)

        identifier = world.reserve(name, RATE, 0, None, then=then)
        world.at(world.now + self._rng.expovariate(1 / self._pause), "come", name, self._come)

    def run(self, seconds: float, requests: int) -> None:
        """Until so much time has passed and so many requests were booked."""
        until = self.world.now + seconds
        self.waits.clear()
        self.refused = 0
        while self.world.now < until or len(self.waits) < requests:
            self.world.run(1.0)


def measure(nodes: int) -> tuple[float, list[Result]]:
    """Messages per request, and what else was found; ``floor`` and aim of that are the caller's."""
    began = time.perf_counter()
    demand = Demand(nodes)
    world = demand.world
    demand.run(WARM_UP_S, REQUESTS)
    before, start = world.counts.copy(), world.now
    demand.run(0, REQUESTS)
    counts, seconds = world.counts - before, world.now - start
    world.checker.audit()
    booked = len(demand.waits)
    remote = [each for each in demand.waits if each > 0.002]
    size = f"asa_scale {nodes} agents"
    heard = counts["announcements heard"] / nodes / (seconds / 60)
    return counts["messages"] / booked, [
        Result(f"{size}: virtual time to satisfy a request, mean", round(1000 * fmean(demand.waits), 1), "ms"),
        Result(
            f"{size}: virtual time to satisfy a request, 99 %",
            round(1000 * quantiles(demand.waits, n=100)[-1], 1),
            "ms",
        ),
        Result(f"{size}: requests that needed peers", round(100 * len(remote) / booked, 1), "%"),
        Result(f"{size}: requests refused", round(100 * demand.refused / (booked + demand.refused), 1), "%"),
        Result(f"{size}: announcements heard by one agent (grow with the agents)", round(heard, 1), "1/min"),
        Result(f"{size}: events simulated", round(world.counts["events"] / (time.perf_counter() - began)), "1/s"),
    ]


def main() -> None:
    least: float | None = None
    for nodes in SIZES:
        messages, others = measure(nodes)
        least = messages if least is None else least
        Result(
            f"asa_scale {nodes} agents: messages per satisfied request, announcements apart",
            round(messages, 2),
            "messages",
            floor=round(least, 2),
            aim=MOST_GROWTH,
            lower_is_better=True,
        ).print()
        for each in others:
            each.print()


if __name__ == "__main__":
    main()
