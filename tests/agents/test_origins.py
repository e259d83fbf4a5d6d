"""Several origins of one pool, and mistakes of operators that all agents can see."""

from __future__ import annotations

import time

import pytest

from asa.errors import Conflict

from .domain import QUIET, Domain, G, M, eventually


@pytest.fixture(scope="module")
def two(shared_lab, tmp_path_factory) -> Domain:
    """Two origins of ``wan`` with ranges beside each other, and a delegator between them."""
    domain = Domain.line(shared_lab, tmp_path_factory.mktemp("two"), ["west", "middle", "east"])
    domain.agent("west", "origin", {"wan": (G, 0)})
    domain.agent("east", "origin", {"wan": (G, G)})
    domain.agent("middle")
    domain.start(**QUIET)
    for each in domain.agents.values():
        eventually(lambda each=each: each.knows("wan", 2 * G))
    return domain


def test_a_delegator_gathers_what_two_origins_seeded(two):
    middle = two.agents["middle"]
    booked = middle.reserve("wan", 1_500 * M, end=int(time.time()) + 600)
    assert booked["rate"] == 1_500 * M
    found = middle.pool("wan")
    assert found["held"] >= 1_500 * M
    assert sorted((each["low"], each["high"], each["origin"][:4]) for each in found["seeds"]) == [
        (0, G, "west"),
        (G, 2 * G, "east"),
    ]
    assert two.origin.audited("wan")["pools"][0]["seeded"] == 2 * G


def test_a_policy_of_either_origin_is_in_force_at_both(two):
    for name in "east", "west", "east":
        origin = two.agents[name]
        serial = origin.params(hold=100 + len(name) + origin.params()["serial"])["serial"]
        for each in two.agents.values():
            eventually(lambda each=each, serial=serial: each.params()["serial"] == serial)
            assert each.params() == origin.params()


def test_what_is_seeded_without_a_place_goes_behind_all_others(two):
    east = two.agents["east"]
    two.seed("late", G)
    east.post("pools", {"name": "late", "capacity": 500 * M})
    assert [[low, high] for low, high, _, _ in east.held("late")] == [[G, 1_500 * M]]
    for each in two.agents.values():
        eventually(lambda each=each: each.knows("late", 1_500 * M))
    two.origin.audited("late")


def test_an_overlap_that_is_known_is_refused(two):
    east = two.agents["east"]
    before = east.pool("wan")
    with pytest.raises(Conflict, match="overlaps"):
        east.post("pools", {"name": "wan", "capacity": G, "at": 500 * M})
    with pytest.raises(Conflict, match="only an origin"):
        two.agents["middle"].post("pools", {"name": "wan", "capacity": G, "at": 5 * G})
    assert east.pool("wan")["seeds"] == before["seeds"]


def test_origins_that_did_not_know_of_each_other_are_reported_and_so_is_a_second_node_of_a_name(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["o1", "hop", "o2"])
    one = domain.agent("o1", "origin", {"wan": G}).start()
    other = domain.agent("twin", "origin", {"wan": G}, on="o2").start()
    twin = domain.agent("twin", on="hop", at="-2").start()
    for each in one, other, twin:
        eventually(lambda each=each: "seeds-overlap:wan" in each.problems(), what=f"the overlap at {each.host}")
        assert each.get("health")["status"] == "degraded"
        assert each.get("health")["ready"]
        assert each.pool("wan")["problems"]
    for each in other, twin:
        eventually(lambda each=each: "namesake" in each.problems())
        assert "another agent has the name of this one, twin#" in each.problems()["namesake"]
    assert "namesake" not in one.problems()
    audit = eventually(lambda: len((found := one.audit("wan"))["agents"]) == 3 and found, what="it has read all three")
    assert not audit["ok"]
    assert {(each["low"], each["high"]) for each in audit["pools"][0]["overlapping_seeds"]} == {(0, G)}
    assert audit["pools"][0]["twice"]
    assert len(audit["agents"]) == 3
    for each in one, other, twin:
        assert each.stop() == 0


def test_an_origin_cannot_leave_while_what_it_seeded_is_only_lent_for_a_time(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["source", "user"])
    domain.agent("source", "origin", {"wan": G})
    domain.agent("user")
    domain.start(**QUIET)
    source, user = domain.agents.values()
    eventually(lambda: user.knows("wan", G))
    now = int(time.time())
    booked = user.reserve("wan", 300 * M, end=now + 600)
    with pytest.raises(Conflict, match="peers hold capacity this origin seeded in wan"):
        source.post("agent/remove", {"confirm": "source"})
    source.post("agent/activate")
    eventually(lambda: user.spare_of("wan").get("source"), what="it takes part again")
    # Nor does one that lost its state seed again what others hold.
    user.cancel(user.reserve("wan", 100 * M, start=now + 300, end=now + 900)["id"])
    source.kill()
    for each in source.state.iterdir():
        each.unlink()
    source.start()
    assert "seed-withheld:wan" in source.problems()
    assert source.held("wan") == []
    assert user.reservations("wan", "active")[0]["id"] == booked["id"]
    for each in domain.agents.values():
        assert each.stop() == 0


def test_a_second_origin_without_a_place_of_its_own_seeds_behind_the_first(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["first", "second"])
    first = domain.agent("first", "origin", {"wan": G}).start()
    second = domain.agent("second", "origin", {"wan": G}).start()
    eventually(lambda: first.knows("wan", 2 * G))
    assert [(low, high) for low, high, *_ in second.held("wan")] == [(G, 2 * G)]
    assert first.problems() == second.problems() == {}
    # However often a pool grows, all of it is known and can be lent.
    for _ in range(12):
        second.post("pools", {"name": "wan", "capacity": M})
    eventually(lambda: first.knows("wan", 2 * G + 12 * M))
    assert first.reserve("wan", 2 * G + 10 * M, end=int(time.time()) + 600)
    for each in domain.agents.values():
        assert each.stop() == 0
