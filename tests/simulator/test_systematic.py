"""Every fault at every event of the small stories, and pairs of faults by chance."""

from __future__ import annotations

import pytest

from tests.simulator.scenarios import SCENARIOS, Scenario
from tests.simulator.systematic import faults_for, pairs, singly
from tests.simulator.world import FAULTS

PAIRS = 250
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
UNWRITTEN = {"decline": {"store refuses", "crash after commit"}}
"""Faults of the store cannot strike a story in which nothing is written."""


@each_scenario
@pytest.mark.parametrize("restless", [False, True], ids=["patient", "restless"])
def test_no_fault_at_any_event_loses_or_doubles_capacity(scenario: Scenario, restless: bool) -> None:
    tried = singly(scenario, restless)
    idle = UNWRITTEN.get(scenario.name, set())
    if "settle now" not in tried:
        idle = idle | {"settle now", "confirm now"}
        assert scenario.name == "decline"
    struck = {kind.partition(",")[0] for kind in faults_for(scenario) if kind not in idle}
    assert {kind for kind in struck if not tried[kind]} == set()
    assert tried["all"] > 50
    assert tried["checks"] > 100


@each_scenario
def test_no_two_faults_lose_or_double_capacity(scenario: Scenario) -> None:
    tried = pairs(scenario, PAIRS)
    assert tried["all"] > 20
    assert tried["crashes"] > 100


def test_every_kind_of_fault_strikes_somewhere() -> None:
    relay = next(each for each in SCENARIOS if each.name == "relay")
    assert faults_for(relay) == list(FAULTS)
