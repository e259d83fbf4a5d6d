from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import unavailable_reason

from .siege import Siege, siege


@pytest.fixture(scope="module")
def besieged() -> Iterator[Siege]:
    """A node to be attacked, which must be well in the end."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with siege() as siege_:
        yield siege_
    assert siege_.ended == [0, 0], siege_.target.log()[-3_000:]
