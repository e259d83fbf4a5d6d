from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.tls.substrates import Ear, Running


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    """Starts substrates on the loopback, and stops them."""
    started: list[Running] = []

    def start(*args: object, **options: object) -> Running:
        started.append(Running(Ear(), *args, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.substrate.stop()
