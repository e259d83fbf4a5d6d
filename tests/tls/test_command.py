"""The command ``grasp`` in a domain, between two hosts: discovery, floods and sessions, all over TLS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Host, Lab, unavailable_reason
from tests.cli.conftest import Running, run
from tests.pki import Authority

CA = Authority()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host, Path]]:
    if reason := unavailable_reason():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("identities")
    for name in ("a", "b"):
        CA.write(directory / name, CA.issue(name))
    other = Authority()
    other.write(directory / "stranger", other.issue("stranger"))
    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        lab.link(a, b)
        yield a, b, directory


def mine(directory: Path) -> tuple[str, ...]:
    return "--identity", str(directory / "a"), "--timeout", "30000", "--json"


def test_members_find_each_other_and_agree(pair: tuple[Host, Host, Path]) -> None:
    a, b, directory = pair
    theirs = ("--identity", str(directory / "b"))
    with Running(b, "serve", "EX3", "--negotiate", '["NZD", 410]', *theirs) as serving:
        ready = serving.element()
        found = run(a, "discover", "EX3", *mine(directory))
        assert found.status == 0, found
        where = f"[{b.link_local('eth0')}%eth0]:{ready['port']}"
        assert [each["peer"] for each in found.json] == [where]
        agreed = run(a, "negotiate", "EX3", '["NZD", 300]', *mine(directory))
        assert agreed.status == 0, agreed
        assert agreed.json["agreed"] == ["NZD", 300]
        in_clear = run(a, "negotiate", "EX3", '["NZD", 300]', "--peer", where, "--json")
        assert in_clear.status == 1
        stranger = ("--identity", str(directory / "stranger"), "--json")
        refused = run(a, "negotiate", "EX3", '["NZD", 300]', "--peer", where, *stranger)
        assert refused.status == 1
        assert refused.json["error"]["code"] == "notMember"


def test_floods_reach_members(pair: tuple[Host, Host, Path]) -> None:
    a, b, directory = pair
    listening = ("--follow", "--identity", str(directory / "b"))
    with Running(b, "floods", "EX1", *listening) as hearing:
        hearing.element()
        told = run(a, "flood", "EX1", "42", "--ttl", "60000", *mine(directory))
        assert told.status == 0, told
        heard = hearing.element()
        assert (heard["event"], heard["value"], heard["interface"]) == ("flood", 42, "eth0")


def test_without_a_neighbour_nothing_is_flooded(pair: tuple[Host, Host, Path]) -> None:
    a, _, directory = pair
    told = run(a, "flood", "EX1", "1", "--ttl", "0", "--identity", str(directory / "a"), "--timeout", "300", "--json")
    assert told.status == 1
    assert told.json["error"]["code"] == "noInterface"


def test_an_identity_that_cannot_be_used_says_why(pair: tuple[Host, Host, Path], tmp_path: Path) -> None:
    a, _, _ = pair
    CA.write(tmp_path / "late", CA.issue("late", not_after=time.time() - 60))
    told = run(a, "discover", "EX3", "--identity", str(tmp_path / "late"), "--json")
    assert told.status == 1
    assert told.json["error"]["code"] == "badIdentity"
    nothing = run(a, "discover", "EX3", "--identity", str(tmp_path / "none"), "--json")
    assert nothing.json["error"]["code"] == "badIdentity"
