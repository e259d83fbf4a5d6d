"""The teeth of the model: rules broken on purpose, each of which must be caught."""

from __future__ import annotations

import pytest

from tests.stateful.play import steps_of
from tests.stateful.shrink import failure
from tests.stateful.variants import VARIANTS, broken


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    with broken(VARIANTS[name]):
        assert any(failure(steps_of(seed, 250))[0] is not None for seed in range(40)), f"{name} is not noticed"
