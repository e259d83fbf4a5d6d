"""Every fault at every event of a scenario, and pairs of faults; nothing is left to chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from random import Random

from tests.simulator.scenarios import Scenario
from tests.simulator.world import FAULTS

SUMMED = ("events", "messages", "crashes", "cuts", "losses", "store failures", "settled")


def faults_for(scenario: Scenario) -> list[str]:
    """Those that can strike it at all."""
    return [each for each in FAULTS if each != "crash third" or "c" in scenario.names]


def singly(scenario: Scenario, eager: bool = False) -> Counter[str]:
    """Every fault at every event. How many were tried, by kind, and what they led to. Raises Violation."""
    tried: Counter[str] = Counter()
    last = scenario.run(eager=eager).acted
    for number in range(1, last + 1):
        for fault in faults_for(scenario):
            _try(scenario, {number: fault}, tried, eager)
    return tried


def pairs(scenario: Scenario, most: int | None = None, kinds: Sequence[str] = FAULTS, seed: int = 0) -> Counter[str]:
    """Every fault at every event, and then every fault at every later event of what became of it.

    With ``most`` so many of these pairs, drawn by chance. Raises Violation.
    """
    tried: Counter[str] = Counter()
    last = scenario.run().acted
    faults = [each for each in faults_for(scenario) if each in kinds]
    firsts = [(number, fault) for number in range(1, last + 1) for fault in faults]
    if most is not None:
        rng = Random(f"{scenario.name} {seed}")
        for _ in range(most):
            number, fault = rng.choice(firsts)
            second = number + 1 + min(int(rng.expovariate(1 / 15)), 80)
            _try(scenario, {number: fault, second: rng.choice(faults)}, tried)
        return tried
    for number, fault in firsts:
        for second in count(number + 1):
            struck = [_try(scenario, {number: fault, second: other}, tried) for other in faults]
            if max(struck) < second:
                break
    return tried


def _try(scenario: Scenario, faults: dict[int, str], tried: Counter[str], eager: bool = False) -> int:
    """The events it took."""
    world = scenario.run(faults, eager=eager)
    if world.struck >= len(faults):
        tried[" + ".join(each.partition(",")[0] for each in faults.values())] += 1
        tried["all"] += 1
    for name in SUMMED:
        tried[name] += world.counts[name]
    tried["checks"] += world.checker.checks
    return world.acted


def total(counts: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counts, Counter())
