from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab, unavailable_reason


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of its own for the test, which is skipped where none can be built."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab
