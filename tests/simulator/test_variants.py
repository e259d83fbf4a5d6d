"""The simulator's teeth: the transfer broken on purpose in many ways, each of which must be caught.

The unbroken code passes the same runs: those of the scenarios in ``test_systematic``, the others here.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulator.checker import Violation
from tests.simulator.churn import Churn
from tests.simulator.scenarios import SCENARIOS
from tests.simulator.systematic import pairs, singly
from tests.simulator.variants import HARMLESS, VARIANTS, broken

Run = Callable[[], object]


def scenario(name: str, restless: bool = False) -> Run:
    found = next(each for each in SCENARIOS if each.name == name)
    return lambda: singly(found, restless)


def paired(name: str, *kinds: str) -> Run:
    found = next(each for each in SCENARIOS if each.name == name)
    return lambda: pairs(found, kinds=kinds)


def churned(seeds: int = 40) -> Run:
    def run() -> None:
        for seed in range(seeds):
            Churn(seed, 4).run(200)

    return run


CAUGHT_BY: dict[str, Run] = {
    "timeout-returns": scenario("one transfer"),
    "accept-after-settle": scenario("one transfer", restless=True),
    "answer-before-disk": scenario("give"),
    "forget": scenario("one transfer"),
    "offer-before-escrow": scenario("one transfer"),
    "accept-before-disk": scenario("one transfer"),
    "closes-on-a-broken-session": scenario("one transfer"),
    "answers-for-another-instance": paired("one transfer", "lose", "replace requester"),
    "takes-a-gift-twice": scenario("give"),
    "takes-back-and-keeps-escrow": scenario("one transfer"),
    "split-loses-a-remainder": scenario("one transfer"),
    "hands-over-what-is-promised": scenario("gifts that are promised"),
    "grants-what-is-promised": scenario("partial grant"),
    "confirms-what-is-open": scenario("one transfer"),
    "declines-a-gift-before-disk": scenario("give"),
    "declines-a-gift-it-took": scenario("give"),
    # A new instance first has to hear of the pool again, or what comes is foreign to it: that takes a longer life.
    "takes-a-gift-for-another-instance": churned(60),
    "refuses-nothing": scenario("give"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    with broken(VARIANTS[name]), pytest.raises(Violation):
        CAUGHT_BY[name]()


def test_the_unbroken_rules_pass_the_same_runs() -> None:
    CAUGHT_BY["answers-for-another-instance"]()


def test_the_unbroken_rules_pass_what_chance_brings() -> None:
    churned(10)()


@pytest.mark.parametrize("name", ["takes-back-and-keeps-escrow", "confirms-what-is-open", "refuses-nothing"])
def test_chance_finds_broken_rules_too(name: str) -> None:
    with broken(VARIANTS[name]), pytest.raises(Violation):
        churned()()


@pytest.mark.parametrize("name", HARMLESS)
def test_either_of_two_overlapping_protections_suffices(name: str) -> None:
    """One alone keeps what the other would have kept: a refusal on disk, say, without the asking in memory."""
    with broken(HARMLESS[name]):
        scenario("one transfer", restless=True)()
