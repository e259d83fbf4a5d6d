"""The policy in force: remembered before it is obeyed, never older than it was, and never out of bounds."""

from __future__ import annotations

import json

import pytest

from asa.books import Books
from asa.errors import BadRequest, StoreFailed
from asa.events import EventLog
from asa.ledger import Ledger
from asa.policy import FACT, Policy
from asa.records import Fact
from objectives import NodeId
from objectives.params import PARAMETERS, Params

ME = NodeId("me", "0" * 16)


class Disk:
    def __init__(self):
        self.records = {}
        self.broken = False

    def commit(self, changes):
        if self.broken:
            raise StoreFailed("disk full")
        for each in changes:
            self.records[each.key] = each.after


class World:
    """A policy on a disk that outlives it."""

    def __init__(self):
        self.disk = Disk()
        self.begin()

    def begin(self):
        self.events = EventLog()
        self.changes = 0
        self.complaints = []
        self.books = Books(Ledger(ME, 1_000, list(self.disk.records.values())), self.disk)
        self.policy = Policy(self.books, self.events, self.changed, self.complaints.append)
        return self.policy

    def changed(self):
        self.changes += 1

    def told(self, kind):
        return [each.message for each in self.events.after(0, 1000, 0).events if each.kind == kind]


@pytest.fixture
def world():
    return World()


def test_without_any_policy_the_defaults_are_in_force(world):
    assert world.policy.params == Params()
    assert world.policy.params.serial == 0


def test_what_is_set_is_the_next_serial_and_survives_the_agent(world):
    assert world.policy.set("me", {"hold": 7}).serial == 1
    assert world.policy.set("me", {"guard": 3, "permanent": False}).serial == 2
    assert world.changes == 2
    found = world.begin().params
    assert (found.serial, found.issuer, found["hold"], found["guard"], found["permanent"]) == (2, "me", 7, 3, 0)
    assert found["lease"] == PARAMETERS["lease"].default


@pytest.mark.parametrize("bad", [{"hold": 0}, {"hold": "7"}, {"hold": True}, {"nothing": 7}, {"guard": 2, "hold": -1}])
def test_a_bad_value_sets_nothing(world, bad):
    world.policy.set("me", {"guard": 5})
    with pytest.raises(BadRequest):
        world.policy.set("me", bad)
    assert (world.policy.params.serial, world.policy.params["guard"]) == (1, 5)
    assert world.changes == 1
    assert world.begin().params.serial == 1


def test_a_newer_policy_is_taken_an_older_or_equal_one_is_not(world):
    def said(serial, issuer, hold):
        return {"serial": serial, "issuer": issuer, "values": {"hold": hold}}

    for value, taken in (
        (said(5, "b", 5), True),
        (said(4, "z", 4), False),
        (said(5, "b", 6), False),
        (said(5, "a", 7), False),
        (said(5, "c", 8), True),
        (said(6, "a", 9), True),
        (said(0, "", 10), False),
    ):
        assert world.policy.received(value) is taken, value
    assert (world.policy.params.serial, world.policy.params["hold"]) == (6, 9)
    assert world.changes == 3
    assert world.begin().params["hold"] == 9


def test_agents_that_hear_the_same_in_any_order_end_with_the_same():
    said = [
        {"serial": s, "issuer": i, "values": {"hold": h}}
        for s, i, h in [(3, "a", 3), (4, "b", 4), (4, "a", 5), (2, "c", 6)]
    ]
    ends = set()
    for first in range(4):
        world = World()
        for each in [*said[first:], *said[:first], *reversed(said)]:
            world.policy.received(each)
        ends.add((world.policy.params.serial, world.policy.params.issuer, world.policy.params["hold"]))
    assert ends == {(4, "b", 4)}


def test_a_value_out_of_bounds_keeps_the_old_one_and_is_told_of(world):
    world.policy.set("me", {"hold": 7})
    assert world.policy.received({"serial": 9, "issuer": "a", "values": {"hold": 10**9, "guard": 2}})
    assert (world.policy.params["hold"], world.policy.params["guard"]) == (7, 2)
    (told,) = world.told("params-refused")
    assert "hold must be" in told


@pytest.mark.parametrize(
    "garbage", [None, 7, [], {}, {"serial": 9}, {"serial": -1, "issuer": "a", "values": {}}, "policy"]
)
def test_garbage_is_refused_and_counted_and_does_not_fill_the_log(world, garbage):
    assert not world.policy.received(garbage)
    assert world.policy.params == Params()
    assert len(world.complaints) == 1
    assert world.told("params-refused") == []


def test_what_cannot_be_remembered_is_not_obeyed(world):
    world.policy.set("me", {"hold": 7})
    world.disk.broken = True
    with pytest.raises(StoreFailed):
        world.policy.set("me", {"hold": 9})
    with pytest.raises(StoreFailed):
        world.policy.received({"serial": 9, "issuer": "a", "values": {"hold": 11}})
    assert (world.policy.params.serial, world.policy.params["hold"]) == (1, 7)
    world.disk.broken = False
    assert world.policy.received({"serial": 9, "issuer": "a", "values": {"hold": 11}})
    assert world.begin().params["hold"] == 11


def test_a_remembered_value_that_is_out_of_bounds_now_is_the_default_again(world):
    value = {"serial": 4, "issuer": "me", "values": {"hold": 10**9, "guard": 9}}
    world.disk.records[FACT,] = Fact(FACT, json.dumps(value))
    policy = world.begin()
    assert (policy.params.serial, policy.params["hold"], policy.params["guard"]) == (4, PARAMETERS["hold"].default, 9)
    assert len(world.told("params-refused")) == 1
