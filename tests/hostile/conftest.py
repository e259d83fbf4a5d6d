from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import unavailable_reason

from .fortress import Fortress, Service, fortress
from .siege import Siege, siege

GROWTH_KIB = 24 * 1024


@pytest.fixture(scope="module")
def besieged() -> Iterator[Siege]:
    """A node to be attacked, which must be well in the end."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with siege() as siege_:
        yield siege_
    assert siege_.ended == [0, 0], siege_.target.log()[-3_000:]


@pytest.fixture(scope="module")
def stronghold() -> Iterator[Fortress]:
    """A member of a domain to be attacked, which must hold no more in the end than in the beginning."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with fortress() as it:
        before = it.level()
        yield it
        assert it.recovered(before) == []
        assert it.level().rss_kib < before.rss_kib + GROWTH_KIB
    assert it.ended == [0, 0], it.target.log()[-3_000:]


@pytest.fixture
def service(stronghold: Fortress) -> Iterator[Service]:
    """Whatever the test does, no session of the honest member fails, and nothing of others is accepted."""
    with Service(stronghold) as it:
        yield it
        assert it.verdict() == []
