"""The policy in force: remembered before it is obeyed, never older than it was, and never out of bounds."""

from __future__ import annotations

import json
import time

import pytest

from asa.books import Books
from asa.errors import BadRequest, StoreFailed
from asa.events import EventLog
from asa.ledger import Ledger
from asa.policy import FACT, Policy
from asa.records import Fact
from asa.seals import Seals
from grasp import cbor
from grasp.security import Revocations
from objectives import NodeId
from objectives.params import PARAMETERS, Params
from tests.pki import Authority

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
        self.now = time.time()
        self.begin()

    def begin(self):
        self.events = EventLog()
        self.changes = 0
        self.complaints = []
        self.books = Books(Ledger(ME, 1_000, list(self.disk.records.values())), self.disk)
        self.policy = Policy(self.books, self.events, self.changed, self.complaints.append, clock=lambda: self.now)
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


def policy_of(serial, issuer="z", **values):
    return {"serial": serial, "issuer": issuer, "values": values}


FORGED = [
    policy_of(0, "zzz", hold=7, permanent=False),
    policy_of(0, "zzz"),
    policy_of(0, "", hold=7),
    policy_of(0, "zzz", **Params().values),
]


@pytest.mark.parametrize("forged", FORGED)
def test_serial_0_changes_nothing_whatever_it_says(world, forged):
    assert not world.policy.received(forged)
    assert world.policy.params == Params()
    assert (world.changes, len(world.complaints), world.disk.records) == (0, 1, {})


@pytest.mark.parametrize("forged", FORGED)
def test_a_remembered_policy_of_serial_0_is_not_obeyed(world, forged):
    world.disk.records[FACT,] = Fact(FACT, json.dumps(forged))
    assert world.begin().params == Params()
    assert len(world.told("params-refused")) == 1
    assert world.policy.set("me", {"guard": 3}).serial == 1


def test_the_highest_serial_that_is_taken_is_not_the_last(world):
    other, top = World(), int(world.now * 1000) + 60_000
    other.now = world.now
    for serial in 2**53, 2**53 - 1, top + 1:
        assert not world.policy.received(policy_of(serial))
    assert len(world.complaints) == 3
    assert world.policy.received(policy_of(top))
    assert other.policy.received(policy_of(top))
    for hold in 7, 8, 9:
        said = world.policy.set("me", {"hold": hold})
        other.now = world.now = world.now + 0.001
        assert other.policy.received(said.to_value()), other.complaints
        assert other.policy.params == world.policy.params


def test_who_was_away_while_serials_rose_takes_the_newest_as_others_do(world):
    high = int(world.now * 1000)
    assert world.policy.received(policy_of(high, hold=7))
    newcomer = World()
    assert newcomer.policy.received(world.policy.to_value())
    assert newcomer.policy.params == world.policy.params


def test_a_policy_in_force_whose_serial_cannot_be_gives_way_to_one_whose_serial_can(world):
    """The clock was far ahead when it was taken."""
    for each in world, World():
        each.now = world.now
        each.disk.records[FACT,] = Fact(FACT, json.dumps(policy_of(2**53, hold=7)))
        each.begin()
        assert each.policy.params["hold"] == 7
        each.now += 1
        assert each.policy.received(policy_of(3, "a", guard=9))
        # What it lacks is not filled in with values of the one it supersedes.
        assert each.policy.params == Params(3, "a", {**Params().values, "guard": 9})
    # Who is the first to set one finds a serial that others take.
    world.disk.records[FACT,] = Fact(FACT, json.dumps(policy_of(2**53, hold=7)))
    said = world.begin().set("me", {"hold": 8})
    other = World()
    other.now = world.now + 0.001
    assert other.policy.received(said.to_value())


# In a domain.

NAME = "EX1.Params"
SETTERS = {"origin", "second"}


class Member(World):
    """The policy of a member, who takes it of SETTERS."""

    def __init__(self, ca, name):
        self.name = name
        self.identity = ca.identity(name)
        self.revocations = Revocations()
        self.setters = set(SETTERS)
        self.seals = Seals(self.identity, lambda: self.revocations, time.time, time.monotonic)
        super().__init__()

    def begin(self):
        super().begin()
        self.policy = Policy(
            self.books, self.events, self.changed, self.complaints.append, me=self.name, objective=NAME,
            seals=self.seals, may_set=lambda name: name in self.setters, clock=lambda: self.now,
        )  # fmt: skip
        return self.policy

    def told_others(self):
        """As it comes out of a message."""
        return cbor.decode(cbor.encode(self.policy.to_value()))

    def sealed(self, **value):
        return cbor.decode(cbor.encode(self.seals.wrap(NAME, {"serial": 9, "issuer": self.name, "values": {}} | value)))


@pytest.fixture
def domain():
    ca = Authority()
    return {name: Member(ca, name) for name in ("origin", "second", "rack", "far")} | {"ca": ca}


def test_in_a_domain_a_policy_is_taken_from_whoever_passes_it_on_as_its_issuer_sealed_it(domain):
    origin, rack, far = domain["origin"], domain["rack"], domain["far"]
    origin.policy.set("origin", {"hold": 7})
    assert rack.policy.received(origin.told_others())
    assert far.policy.received(rack.told_others())
    assert far.policy.params == origin.policy.params
    assert (rack.complaints, far.complaints) == ([], [])
    # Also after it was started anew, with nothing but its disk.
    rack.begin()
    assert rack.policy.known
    assert rack.told_others() == origin.told_others()


def test_in_a_domain_a_policy_not_sealed_by_an_issuer_who_may_set_it_changes_nothing(domain):
    origin, rack, far = domain["origin"], domain["rack"], domain["far"]
    origin.policy.set("origin", {"hold": 7})
    assert far.policy.received(origin.told_others())
    payload, seal = origin.told_others()
    bare = {"serial": 9, "issuer": "origin", "values": {"hold": 5}}
    for forged in (
        bare,
        rack.sealed(values={"hold": 5}),
        rack.sealed(issuer="origin"),
        domain["second"].sealed(issuer="origin"),
        [payload.replace(cbor.encode("serial") + b"\x01", cbor.encode("serial") + b"\x09"), seal],
        [cbor.encode(bare), seal],
        [payload, rack.sealed()[1]],
        Member(Authority(), "origin").sealed(values={"hold": 5}),
    ):
        assert not far.policy.received(forged)
    assert far.policy.params["hold"] == 7
    assert len(far.complaints) == 8
    assert far.changes == 1
    assert far.told("params-refused") == []
    assert far.policy.received(domain["second"].sealed(values={"hold": 9}))


def test_in_a_domain_a_policy_is_replayed_in_vain(domain):
    origin, far = domain["origin"], domain["far"]
    kept = []
    for hold in 7, 8, 9:
        origin.policy.set("origin", {"hold": hold})
        kept.append(origin.told_others())
        assert far.policy.received(kept[-1])
    far.begin()
    assert not any(far.policy.received(each) for each in kept)
    assert far.policy.params["hold"] == 9


def test_the_seal_of_a_renewed_certificate_replaces_the_kept_one_and_another_value_does_not(domain):
    origin, rack = domain["origin"], domain["rack"]
    origin.policy.set("origin", {"hold": 7})
    rack.policy.received(origin.told_others())
    first = rack.told_others()
    origin.seals.renew(domain["ca"].identity("origin"))
    renewed = origin.told_others()
    assert renewed[1][1] != first[1][1]
    assert not rack.policy.received(renewed)
    assert rack.told_others() == renewed
    rack.begin()
    assert rack.told_others() == renewed
    # The same serial with another value is not what is in force.
    assert not rack.policy.received(origin.sealed(serial=1, values={"hold": 8}))
    assert not rack.policy.received(origin.sealed(serial=1, values={}))
    assert rack.told_others() == renewed
    assert rack.policy.params["hold"] == 7


def test_the_defaults_need_no_seal_and_are_no_complaint(domain):
    rack, far = domain["rack"], domain["far"]
    assert rack.told_others() == Params().to_value()
    assert not rack.policy.known
    assert not far.policy.received(rack.told_others())
    assert far.complaints == []


@pytest.mark.parametrize("forged", FORGED)
def test_in_a_domain_serial_0_needs_no_seal_because_it_changes_nothing(domain, forged):
    rack, origin = domain["rack"], domain["origin"]
    for value in forged, rack.sealed(**forged), rack.sealed(**forged | {"issuer": "rack"}), origin.sealed(**forged):
        rack.policy.received(value)
        origin.policy.received(value)
    for member in rack, origin:
        assert member.policy.params == Params()
        assert (member.changes, len(member.complaints), member.disk.records) == (0, 4, {})
    origin.policy.set("origin", {"hold": 9})
    assert rack.policy.received(origin.told_others())
    assert not rack.policy.received(forged)
    assert rack.policy.params == origin.policy.params


def revoke(domain, name, *members):
    domain["ca"].revoke(domain[name].identity.certificate)
    for member in members:
        member.revocations.add(domain["ca"].crl(), [domain["ca"].certificate], time.time())


def expel(domain, name, *members):
    for member in members:
        member.setters.discard(name)


@pytest.mark.parametrize("end", [revoke, expel])
def test_the_policy_of_a_setter_that_is_one_no_more_gives_way_to_any_that_counts(domain, end):
    """The origin was away and knows nothing of it; its next policy is older by number."""
    origin, rack, far = domain["origin"], domain["rack"], domain["far"]
    bad = domain["second"].sealed(serial=int(rack.now * 1000), values={"hold": 7, "guard": 9})
    for member in rack, far:
        assert member.policy.received(bad)
    origin.policy.set("origin", {"lease": 5})
    assert not rack.policy.received(origin.told_others())
    end(domain, "second", rack, far)
    rack.begin()
    assert rack.policy.params["hold"] == 7
    for member in rack, far:
        assert member.policy.received(origin.told_others())
        assert member.policy.params == origin.policy.params
        assert not member.policy.received(bad)
    # From here on by number again.
    kept = origin.told_others()
    origin.policy.set("origin", {"lease": 6})
    assert rack.policy.received(origin.told_others())
    assert not rack.policy.received(kept)
    assert rack.policy.params["lease"] == 6


def test_an_issuers_own_policy_outlives_its_old_certificate(domain):
    origin, rack = domain["origin"], domain["rack"]
    older = domain["second"].sealed(serial=1)
    for lease in 5, 6:
        origin.policy.set("origin", {"lease": lease})
    assert rack.policy.received(origin.told_others())
    revoke(domain, "origin", origin, rack)
    origin.seals.renew(domain["ca"].identity("origin"))
    assert not origin.policy.received(older)
    # Nothing else is in force there meanwhile, and what is gets the new seal.
    assert not rack.policy.received(origin.told_others())
    assert rack.told_others() == origin.told_others()
    assert not rack.policy.received(older)
    assert rack.policy.params["lease"] == 6


def test_a_policy_from_before_the_domain_is_obeyed_but_only_its_issuer_can_pass_it_on(domain):
    for name in "origin", "rack":
        member = domain[name]
        value = {"serial": 4, "issuer": "origin", "values": {"hold": 33}}
        member.disk.records[FACT,] = Fact(FACT, json.dumps(value))
        member.begin()
        assert member.policy.params["hold"] == 33
    assert not domain["rack"].policy.known
    assert domain["rack"].told_others() == Params().to_value()
    assert domain["origin"].policy.known
    assert domain["far"].policy.received(domain["origin"].told_others())
    assert domain["far"].policy.params["hold"] == 33
