from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab, unavailable_reason

from .domain import ONE_ORIGIN, QUIET, Domain, G


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    """A lab for all the tests of a module, where one does not disturb the next."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def shared_line(shared_lab, tmp_path_factory) -> tuple[Domain, dict[str, int | bool]]:
    """And its policy."""
    domain = Domain.line(shared_lab, tmp_path_factory.mktemp("line"), ["a", "b", "c", "relay", "d"], ["relay"])
    domain.agent("a", "origin", {"first": G})
    for name in "b", "c", "d":
        domain.agent(name)
    domain.start(**QUIET).acquainted()
    return domain, domain.origin.params()


@pytest.fixture(scope="module")
def shared_secured(shared_lab, tmp_path_factory) -> tuple[Domain, dict[str, int | bool]]:
    """The same in a domain of members only, and its policy."""
    hosts, relays = ["a", "b", "c", "relay", "d"], ["relay"]
    domain = Domain.secured(shared_lab, tmp_path_factory.mktemp("secured"), hosts, ONE_ORIGIN, relays)
    domain.agent("a", "origin", {"first": G})
    for name in "b", "c", "d":
        domain.agent(name)
    domain.start(**QUIET).acquainted()
    return domain, domain.origin.params()


@pytest.fixture
def secured(shared_secured) -> Iterator[Domain]:
    """``a`` (origin), ``b`` and ``c`` in a row, and ``d`` behind a host that only relays: all with certificates."""
    domain, policy = shared_secured
    yield domain
    domain.restore(policy)


@pytest.fixture
def line(shared_line) -> Iterator[Domain]:
    """``a`` (origin), ``b`` and ``c`` in a row, and ``d`` behind a host that only relays. Each test has a pool."""
    domain, policy = shared_line
    yield domain
    domain.restore(policy)
