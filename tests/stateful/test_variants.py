"""The teeth of the model: rules broken on purpose, each of which must be caught."""

from __future__ import annotations

import pytest

from tests.stateful.play import steps_of
from tests.stateful.shrink import failure
from tests.stateful.variants import VARIANTS, broken

SEEDS = range(40)
NOTICED = {
    "caps-not-checked-on-change": 2,
    "decline-taken-for-accept": 3,
    "extension-not-checked": 18,
    "windows-a-second-longer": 6,
}
"""Seeds to begin with where those before them notice nothing. Whatever becomes of them, all seeds are tried."""


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    seeds = sorted(SEEDS, key=lambda seed: seed != NOTICED.get(name))
    with broken(VARIANTS[name]):
        assert any(failure(steps_of(seed, 250))[0] is not None for seed in seeds), f"{name} is not noticed"
