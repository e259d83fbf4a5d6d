"""Whatever consumers, machines, links and an adversary do, in whatever order: the promise holds, and quiet returns."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulator.__main__ import main
from tests.simulator.churn import FORGED, WINDOWS, Churn
from tests.simulator.world import FAULTS, M, World

numbers = st.integers(0, 1_000)
rates = st.integers(1, 30).map(lambda number: number * M)
windows = st.sampled_from(WINDOWS)
STRIKES = [each for each in FAULTS if not each.startswith(("crash giver", "crash requester", "crash third", "replace"))]
"""Faults that need no roles."""


class Fleet(RuleBasedStateMachine):
    """Three to five agents. The checker judges every commit; each rule is one thing that happens to them."""

    churn: Churn
    world: World

    @initialize(seed=st.integers(0, 2**32), nodes=st.integers(3, 5))
    def begin(self, seed: int, nodes: int) -> None:
        self.churn = Churn(seed, nodes)
        self.world = self.churn.world

    def _name(self, number: int) -> str:
        return f"n{number % len(self.world.nodes)}"

    def _other(self, number: int, other: int) -> str:
        return f"n{(number + 1 + other % (len(self.world.nodes) - 1)) % len(self.world.nodes)}"

    @rule(at=numbers, rate=rates, start=st.sampled_from((0, 30, 300)), seconds=windows)
    def reserve(self, at: int, rate: int, start: int, seconds: int | None) -> None:
        self.world.reserve(self._name(at), rate, start, seconds)

    @rule(at=numbers, which=numbers)
    def cancel(self, at: int, which: int) -> None:
        if self.world.nodes[self._name(at)].alive and (there := self.world.booked(self._name(at))):
            self.world.cancel(self._name(at), there[which % len(there)])

    @rule(at=numbers, which=numbers, rate=st.none() | rates, end=st.sampled_from((None, 5, 600)))
    def change(self, at: int, which: int, rate: int | None, end: int | None) -> None:
        if self.world.nodes[self._name(at)].alive and (there := self.world.booked(self._name(at))):
            self.world.change(self._name(at), there[which % len(there)], rate, end)

    @rule(at=numbers, peer=numbers, rate=rates, seconds=windows, urgent=st.booleans(), dry=st.booleans())
    def ask(self, at: int, peer: int, rate: int, seconds: int | None, urgent: bool, dry: bool) -> None:
        self.world.ask(self._name(at), self._other(at, peer), rate, seconds, urgent=urgent, dry=dry)

    @rule(at=numbers, rate=rates, seconds=windows)
    def refill(self, at: int, rate: int, seconds: int | None) -> None:
        self.world.obtain(self._name(at), rate, seconds)

    @rule(at=numbers, peer=numbers, chance=numbers)
    def hand_over(self, at: int, peer: int, chance: int) -> None:
        name = self._name(at)
        blocks = self.world.holds(name)
        now = self.world.nodes[name].clock()
        chosen = Random(chance).sample(blocks, min(len(blocks), 2))
        parts = [self.churn._part(each, now) for each in chosen if each.end is None or each.end > now + 1]
        self.world.hand_over(name, self._other(at, peer), parts)

    @rule(at=numbers, keep=st.booleans(), reboot=st.sampled_from((0.01, 3, 60)))
    def crash(self, at: int, keep: bool, reboot: float) -> None:
        if self.world.nodes[self._name(at)].alive:
            self.world.crash(self._name(at), keep, reboot)

    @rule(at=numbers)
    def restart(self, at: int) -> None:
        self.world.restart(self._name(at))

    @rule(which=numbers, keep=st.booleans())
    def cut(self, which: int, keep: bool) -> None:
        if there := [each for each in self.world.sessions if each.open]:
            there[which % len(there)].sever(keep)

    @rule(
        ahead=st.integers(1, 20),
        fault=st.sampled_from(STRIKES),
    )
    def strike_soon(self, ahead: int, fault: str) -> None:
        self.world.faults[self.world.index + ahead] = fault

    @rule(at=numbers)
    def settle(self, at: int) -> None:
        self.world.nodes[self._name(at)].settle_all()

    @rule(at=numbers)
    def confirm(self, at: int) -> None:
        self.world.nodes[self._name(at)].confirm_all()

    @rule(which=numbers)
    def replay(self, which: int) -> None:
        self.world.adversary.replay(which)

    @rule(at=numbers, kind=st.sampled_from(FORGED))
    def forge_offer(self, at: int, kind: str) -> None:
        self.world.forging[self._name(at)] = kind

    @rule()
    def forge_request(self) -> None:
        self.churn.forge_request()

    @rule()
    def replace(self) -> None:
        self.churn.replace()

    @rule(events=st.integers(1, 12))
    def go_on(self, events: int) -> None:
        for _ in range(events):
            self.world.step()

    @rule(seconds=st.sampled_from((0.1, 1, 10, 70, 400)))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule()
    def audit(self) -> None:
        self.world.checker.audit()
        self.world.checker.check_told()

    def teardown(self) -> None:
        if hasattr(self, "churn"):
            self.churn.calm()


Fleet.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestFleet = Fleet.TestCase


def test_a_large_network_under_misfortune_keeps_the_promise() -> None:
    churn = Churn(seed=11, nodes=12)
    churn.run(250)
    counts = churn.world.counts
    for name in ("crashes", "cuts", "losses", "store failures", "settled", "replays", "forgeries", "booked", "refused"):
        assert counts[name] > 0, name
    assert counts["capacity-given"] > 20
    assert churn.world.checker.checks > 500


def test_clocks_that_differ_lose_nothing() -> None:
    for seed in range(6):
        Churn(seed, nodes=4, skew=280).run(150)


def test_no_node_ever_has_more_out_than_is_lent_to_one() -> None:
    churn = Churn(seed=5, nodes=5)
    checker = churn.world.checker
    checker.limit = 25 * M
    churn.run(200)
    assert checker.most_lent == 25 * M
    assert churn.world.counts["settled"] > 0


def test_the_command_prints_what_it_did(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["simulator", "--seconds", "0.1", "--nodes", "3", "--acts", "60", "--seed", "1"])
    assert main() == 0
    verdict = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert verdict["ok"]
    assert verdict["invariant_checks"] > 0
