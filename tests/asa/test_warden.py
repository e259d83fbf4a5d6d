"""What makes an agent a member is followed while it runs: its files, its certificate's life, who is none any more."""

from __future__ import annotations

import random
import re
import time
from ipaddress import IPv6Address
from types import SimpleNamespace

import pytest

from asa.config import Config
from asa.config.sections import AgentSection, GraspSection
from asa.config.security import DomainSection
from asa.events import EventLog
from asa.lists import FILE
from asa.peers import Peers
from asa.problems import Problems
from asa.seals import Seals
from asa.threads import warden
from asa.threads.warden import Warden
from grasp import GraspError
from grasp.errors import ErrorCode, PeerError
from grasp.security import Identity, Revocations, der
from grasp.transport import Interface, Neighbour
from objectives import NodeId
from objectives.agent import Announcement
from objectives.params import Params
from objectives.revoked import revoked_from_value
from tests.pki import DAY, Authority

ME = NodeId("rack-7", "0" * 16)


class Network:
    """What the warden says to others, and what they answer."""

    def __init__(self):
        self.floods = []
        self.answer = None
        self.asked = []
        self.provider = self.handler = None

    def on_synchronize(self, name, provider):
        self.provider = provider

    def on_flood(self, name, handler):
        self.handler = handler

    def flood(self, item, ttl):
        self.floods.append(item.objective.value)

    def synchronize(self, name, peer, timeout):
        self.asked.append(peer.member)
        if self.answer is None:
            raise PeerError(ErrorCode.noReply, "nobody answers")
        return SimpleNamespace(value=self.answer)


class World:
    """A warden, and of its agent what it touches."""

    def __init__(self, tmp_path, ca, **odd):
        self.ca = ca
        self.directory = tmp_path / "identity"
        self.state = tmp_path / "state"
        self.state.mkdir()
        self.now = time.time()
        self.network = Network()
        self.revocations = Revocations()
        self.renewed = []
        self.write("rack-7", **odd)
        identity = Identity.load(self.directory)
        events = EventLog()
        problems = Problems(events, lambda: int(self.now))
        self.complaints = []
        seals = Seals(identity, lambda: self.revocations, self.wall, time.monotonic)
        config = Config(
            agent=AgentSection(name="rack-7", mode="origin", state_dir=self.state),
            grasp=GraspSection(substrate="domain"),
            domain=DomainSection(identity=self.directory),
        )
        self.agent = SimpleNamespace(
            config=config, node=self.node(), seals=seals,
            events=events, problem=problems.set, complain=self.complaints.append, wall=self.wall, identity=identity,
            names=SimpleNamespace(revoked="EX1.Revoked"), asa=self.network, peers=Peers(ME, random.Random(1)),
            policy=SimpleNamespace(params=Params()), flooder=SimpleNamespace(greet=lambda: None),
        )  # fmt: skip
        self.problems = problems
        self.warden = Warden(self.agent, identity, lambda *_: None, random.Random(1))
        self.warden.prepare()
        self.warden.listen()

    def node(self):
        return SimpleNamespace(
            revocations=self.revocations,
            renew=self.renewed.append,
            neighbours=(),
            interfaces=(Interface("eth0", 3, None, (), ()),),
        )

    def wall(self):
        return self.now

    def write(self, name, ca=None, **odd):
        issued = (ca or self.ca).issue(name, **odd)
        return (ca or self.ca).write(self.directory, issued), issued

    def expose_key(self):
        file = self.directory / "key.pem"
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        file.chmod(0o644)

    def turn(self):
        self.warden.turn()
        return {each.code: each.message for each in self.problems.all()}

    def told(self, kind):
        return [each.message for each in self.agent.events.after(0, 1000, 0).events if each.kind == kind]

    def floods_until(self, count):
        deadline = time.monotonic() + 30
        while len(self.network.floods) < count:
            assert time.monotonic() < deadline
            self.warden.turn()
        return [revoked_from_value(each) for each in self.network.floods]


@pytest.fixture
def ca():
    return Authority()


@pytest.fixture
def world(tmp_path, ca):
    return World(tmp_path, ca)


def test_a_new_certificate_is_in_force_as_soon_as_it_is_seen(world):
    assert world.turn() == {}
    assert world.renewed == []
    old = world.agent.identity
    _, issued = world.write("rack-7")
    assert world.turn() == {}
    (new,) = world.renewed
    assert new.certificate == issued.certificate
    assert world.agent.identity is new is not old
    assert world.warden.view().acp_name == new.member.acp_name
    assert len(world.told("identity-renewed")) == 1
    assert world.agent.seals.seal("x", 1).seal[1][33] == der(new.certificate)
    world.turn()
    assert len(world.renewed) == 1


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda world: (world.directory / "certificate.pem").write_bytes(b"garbage"), "certificate.pem"),
        (lambda world: (world.directory / "key.pem").unlink(), "key.pem is not there"),
        (lambda world: world.expose_key(), "chmod 600"),
        (lambda world: world.write("rack-8"), "that of rack-8"),
        (lambda world: world.write("rack-7", not_after=world.now - 5, not_before=world.now - DAY), "ended|expired"),
        (lambda world: world.write("rack-7", acp_name=()), "AcpNodeName"),
    ],
    ids=["garbage", "no key", "readable key", "another's", "expired", "no member's"],
)
def test_an_identity_that_turns_bad_is_told_and_the_old_one_stays_in_force(world, spoil, why):
    world.turn()
    spoil(world)
    # Files are not replaced all at once: what is bad for one look is nothing yet.
    assert world.turn() == {}
    found = world.turn()
    assert set(found) == {"identity"}
    assert "stays in force" in found["identity"]
    assert re.search(why, found["identity"]), found
    assert world.renewed == []
    world.write("rack-7")
    assert world.turn() == {}
    assert len(world.renewed) == 1


def test_what_the_node_refuses_to_be_renewed_with_is_told(world):
    def refuse(_):
        raise GraspError(ErrorCode.badIdentity, "another domain")

    world.agent.node.renew = refuse
    world.turn()
    world.write("rack-7")
    world.turn()
    assert "another domain" in world.turn()["identity"]


def test_the_end_of_the_certificate_is_told_before_it_comes_and_when_it_has(tmp_path, ca):
    now = time.time()
    world = World(tmp_path, ca, not_before=now - 59 * DAY, not_after=now + 30 * DAY)
    assert set(world.turn()) == set()
    world.now = now + 1 * DAY
    assert set(world.turn()) == {"certificate-ends"}
    world.now = now + 30 * DAY + 1
    assert set(world.turn()) == {"certificate-expired"}
    world.now = now
    assert world.turn() == {}


def test_the_own_revocation_is_told(world, ca):
    ca.revoke(world.agent.identity.certificate)
    (world.directory / "crl.pem").write_bytes(ca.crl())
    # With it the identity is no member's; for as long as it is in force that is told too.
    world.turn()
    assert set(world.turn()) == {"identity", "certificate-revoked"}


def test_a_list_put_into_the_identity_directory_is_in_force_kept_and_flooded(world, ca):
    rack = ca.issue("rack-9")
    ca.revoke(rack)
    world.turn()
    (world.directory / "crl.pem").write_bytes(ca.crl())
    assert world.turn() == {}
    assert world.revocations.revoked(rack.certificate)
    assert (world.state / FILE).exists()
    assert len(world.told("revocations-changed")) == 1
    (said,) = world.floods_until(1)
    assert said.crls == tuple(each.der for each in world.revocations.lists())
    assert world.network.provider() == said.to_value()


def test_a_bad_list_of_the_operators_is_told(world, ca):
    world.turn()
    (world.directory / "crl.pem").write_bytes(Authority(name="stranger").crl())
    assert "stranger" in world.turn()["crl-refused"]
    (world.directory / "crl.pem").write_bytes(ca.crl())
    assert world.turn() == {}


def flooded(world, *crls):
    world.network.handler(SimpleNamespace(objective=SimpleNamespace(value={"crls": list(crls)})))


def test_a_list_somebody_floods_is_taken_and_what_is_none_is_a_complaint(world, ca):
    rack = ca.issue("rack-9")
    ca.revoke(rack)
    world.turn()
    flooded(world, b"garbage", Authority().crl(der=True))
    world.network.handler(SimpleNamespace(objective=SimpleNamespace(value=[1])))
    assert len(world.complaints) == 3
    assert not world.revocations.revoked(rack.certificate)
    flooded(world, ca.crl(der=True))
    assert world.revocations.revoked(rack.certificate)
    world.turn()
    assert (world.state / FILE).exists()


def test_who_floods_an_old_list_is_answered_with_the_newest_and_who_floods_that_one_has_said_it_for_all(world, ca):
    old, new = ca.crl(der=True), ca.crl(der=True)
    flooded(world, new)
    world.turn()
    # It would say it soon, but somebody else does.
    flooded(world, new)
    assert world.warden._turn.wait(time.monotonic()) is None
    flooded(world, old)
    assert world.warden._turn.wait(time.monotonic()) is not None


def test_a_list_too_long_to_pass_on_is_told(world, ca):
    ca.revoked += [(10**30 + number, time.time()) for number in range(400)]
    world.turn()
    (world.directory / "crl.pem").write_bytes(ca.crl())
    assert "CN=ca" in world.turn()["crl-too-long"]


def test_who_speaks_plain_grasp_on_a_link_is_told_and_members_are_not(world):
    member = Neighbour(3, IPv6Address("fe80::1"), world.agent.identity.member, world.now, "up")
    stranger = Neighbour(3, IPv6Address("fe80::2"), None, world.now, "plain")
    world.agent.node.neighbours = (member,)
    assert world.turn() == {}
    world.agent.node.neighbours = (member, stranger)
    assert "fe80::2 on eth0" in world.turn()["plain-neighbour"]
    world.agent.node.neighbours = ()
    assert world.turn() == {}


def test_an_agent_that_no_neighbour_believes_says_what_to_look_at(world, monkeypatch):
    now = [5_000.0]
    monkeypatch.setattr(warden.time, "monotonic", lambda: now[0])
    failing = Neighbour(3, IPv6Address("fe80::1"), None, world.now, "failing", "tlsv1 alert unknown ca")
    member = Neighbour(3, IPv6Address("fe80::2"), world.agent.identity.member, world.now, "up")

    def later(seconds, *neighbours):
        now[0] += seconds
        world.agent.node.neighbours = neighbours
        return world.turn()

    assert later(0, failing) == {}
    # It is tried again at this moment.
    assert later(10) == {}
    assert later(19, failing) == {}
    told = later(2, failing)["no-neighbour"]
    assert "fe80::1 on eth0: tlsv1 alert unknown ca" in told
    assert f"asa domain check {world.directory}" in told
    assert "clock" in told
    assert later(10)["no-neighbour"] == told
    assert later(0, failing, member) == {}
    # Who is gone leaves no problem behind, and nobody at all is none.
    later(0, failing)
    assert "no-neighbour" in later(31, failing)
    assert later(16) == {}
    assert later(1_000) == {}


def test_others_are_asked_for_what_was_flooded_before_this_agent_was_there(world, ca):
    rack = ca.issue("rack-9")
    ca.revoke(rack)
    world.turn()
    assert world.network.asked == []
    other = NodeId("rack-8", "1" * 16)
    world.agent.peers.heard(time.monotonic(), Announcement(other, 1, "active", ()), "[fd00::8]:7017")
    world.turn()
    # Whom it asks has to be who answers.
    assert world.network.asked == ["rack-8"]
    world.network.answer = {"crls": [ca.crl(der=True)]}
    world.warden._ask_at = 0.0
    world.turn()
    assert world.revocations.revoked(rack.certificate)
    world.turn()
    assert len(world.network.asked) == 2


def test_the_lists_that_the_own_certificate_and_those_of_others_name_are_retrieved(tmp_path, ca, monkeypatch):
    rack = ca.issue("rack-9")
    ca.revoke(rack)
    served = {"http://crl.example/own": ca.crl(number=5), "http://crl.example/below": b""}
    asked = []

    def fetch(url, **_):
        asked.append(url)
        return served[url]

    monkeypatch.setattr("grasp.security.crl_fetch.download", fetch)
    world = World(tmp_path, ca, crl_urls=["http://crl.example/own"])
    below = Authority(name="below", issuer=ca)
    far = Seals(
        below.identity("far", below.issue("far", crl_urls=["http://crl.example/below"])), lambda: world.revocations,
        world.wall, time.monotonic,
    )  # fmt: skip
    lost = below.issue("lost")
    below.revoke(lost)
    served["http://crl.example/below"] = below.crl()
    try:
        deadline = time.monotonic() + 30
        assert world.agent.seals.open("x", far.wrap("x", 1)).member.name == "far"
        while not (world.revocations.revoked(rack.certificate) and world.revocations.revoked(lost.certificate)):
            assert time.monotonic() < deadline, asked
            time.sleep(0.01)
    finally:
        world.warden.stop()
    assert world.turn() == {}
    assert len(world.told("revocations-changed")) == 1
