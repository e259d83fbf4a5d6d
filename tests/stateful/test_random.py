"""Reservations of all kinds at three agents, by chance: whatever consumers, operators, time and crashes do, the agents
and the naive model show the same after each step. ``python -m tests.stateful SECONDS`` goes on for longer."""

from __future__ import annotations

import functools

import pytest

from tests.stateful.play import Play, Step, Wrong, steps_of
from tests.stateful.shrink import failure, shrunk, told


@functools.cache
def tried(seed: int) -> tuple[Wrong | None, Play]:
    return failure(steps_of(seed, 250))


def fail(seed: int, steps: list[Step], wrong: Wrong) -> None:
    pytest.fail(told(seed, *shrunk(steps, wrong)), pytrace=False)


@pytest.mark.parametrize("seed", range(20))
def test_the_agents_agree_with_the_model(seed: int) -> None:
    wrong, play = tried(seed)
    if wrong is not None:
        fail(seed, steps_of(seed, 250)[: play.done + 1], wrong)


@pytest.mark.parametrize("seed", range(1_000, 1_003))
def test_with_real_databases(seed: int) -> None:
    steps = steps_of(seed, 80)
    wrong, play = failure(steps, stored=True)
    if wrong is not None:
        fail(seed, steps[: play.done + 1], wrong)


def test_the_sequences_come_to_most_of_what_can_come() -> None:
    """Else they prove little."""
    seen = {each for seed in range(20) for each in tried(seed)[1].outcomes}
    wanted = {
        "reserve": "ok short link-short over-cap duplicate refused-there elsewhere unreachable crashed bad-window",
        "change": "ok short link-short over-cap ended forbidden conflict refused-there unreachable",
        "confirm": "ok conflict ended",
        "cancel": "ok ended forbidden",
        "refresh": "ok ended forbidden",
        "cap": "ok forbidden not-found",
    }
    missing = {f"{what}: {each}" for what, outcomes in wanted.items() for each in outcomes.split()} - seen
    assert not missing
    assert seen >= {"cancel all: ok", "pause: ok", "refresh host: ok", "reserve: idempotency-key-reused"}
