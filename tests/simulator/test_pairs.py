"""Reservations of two agents: both ends or neither, whatever happens; and rules broken on purpose are caught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.simulator.pair_scenarios import PAIR_SCENARIOS
from tests.simulator.pair_variants import PAIR_HARMLESS, PAIR_VARIANTS
from tests.simulator.paired_churn import PairedChurn
from tests.simulator.scenarios import Scenario
from tests.simulator.systematic import faults_for, pairs, singly
from tests.simulator.variants import broken

PAIRS = 150
LONG_STORIES = {"both cross", "meddled with", "all of it is at the asking end"}
"""Too long to strike every event of them: two faults by chance are."""

RESTLESS = {"made at both", "resized", "confirmed at both"}
"""Stories in which asking too early could change something."""

each_scenario = pytest.mark.parametrize("scenario", PAIR_SCENARIOS, ids=lambda each: each.name)


@pytest.mark.parametrize(
    ("scenario", "restless"),
    [
        pytest.param(each, restless, id=f"{each.name}-{'restless' if restless else 'patient'}")
        for each in PAIR_SCENARIOS
        for restless in (False, True)
        if each.name not in LONG_STORIES and (not restless or each.name in RESTLESS)
    ],
)
def test_no_fault_at_any_event_books_half(scenario: Scenario, restless: bool) -> None:
    tried = singly(scenario, restless)
    struck = {kind.partition(",")[0] for kind in faults_for(scenario)}
    assert {kind for kind in struck if not tried[kind]} <= {"confirm now", "settle now"}
    assert tried["all"] > 50
    assert tried["checks"] > 100


@each_scenario
def test_no_two_faults_book_half(scenario: Scenario) -> None:
    tried = pairs(scenario, PAIRS)
    assert tried["all"] > 10
    assert tried["crashes"] > 50


def test_networks_with_reservations_of_two_agents_keep_the_promise() -> None:
    counts: Counter[str] = Counter()
    for seed in range(4):
        churn = PairedChurn(seed, nodes=4)
        churn.run(150)
        counts += churn.world.counts
    for name in ("arranged", "not arranged", "changes", "confirms", "cancels", "pact-settled", "crashes", "forgeries"):
        assert counts[name] > 0, name


Run = Callable[[], object]


def scenario(name: str, restless: bool = False) -> Run:
    found = next(each for each in PAIR_SCENARIOS if each.name == name)
    return lambda: singly(found, restless)


def paired(name: str, *kinds: str) -> Run:
    found = next(each for each in PAIR_SCENARIOS if each.name == name)
    return lambda: pairs(found, kinds=kinds)


CAUGHT_BY: dict[str, Run] = {
    "commits-on-a-broken-session": scenario("made at both"),
    "aborts-on-a-broken-session": scenario("made at both"),
    "answers-before-prepared": scenario("made at both"),
    "books-before-prepared": scenario("made at both"),
    "accepts-before-disk": scenario("made at both"),
    "decides-without-verdict": scenario("made at both"),
    "books-other-than-arranged": scenario("changed by all at once"),
    "answers-before-disk": scenario("made at both", restless=True),
    "answers-for-another-instance": paired("made at both", "lose", "replace requester"),
    "forgets-a-verdict": scenario("made at both"),
    "confirms-what-is-open": scenario("made at both"),
    "accepts-after-settle": scenario("made at both", restless=True),
    "notice-not-durable": scenario("cancelled"),
    "notice-gone-when-sent": scenario("cancelled"),
    "tells-too-early": scenario("cancelled while prepared"),
    "keeps-what-it-was-only": scenario("resized"),
    "keeps-what-it-becomes-only": scenario("resized from the other end"),
    "books-what-was-cancelled": scenario("cancelled while prepared"),
    "prepares-again": scenario("changed by all at once"),
    "keeps-what-was-declined": scenario("made at both"),
    "called-off-by-anybody": scenario("meddled with"),
    "changed-while-it-waits": scenario("changed by all at once"),
}


@pytest.mark.parametrize("name", PAIR_VARIANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    with broken(PAIR_VARIANTS[name]), pytest.raises(AssertionError):
        CAUGHT_BY[name]()


def test_the_unbroken_rules_pass_the_same_runs() -> None:
    CAUGHT_BY["answers-for-another-instance"]()


@pytest.mark.parametrize("name", PAIR_HARMLESS)
def test_either_of_two_overlapping_protections_suffices(name: str) -> None:
    with broken(PAIR_HARMLESS[name]):
        scenario("made at both", restless=True)()
