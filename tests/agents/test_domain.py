"""Agents in a domain, with TLS between namespaces: what a member floods that ought not to, and who is none any more."""

from __future__ import annotations

import threading
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from asa.errors import Short
from grasp import GraspError, Objective, cbor
from grasp.calls import Peer
from objectives import NodeId
from objectives.agent import Announcement, PoolSummary
from objectives.holdings import HoldingsPage, SeedRow
from objectives.reach import Reach
from tests.pki import Authority

from .domain import ONE_ORIGIN, QUIET, Domain, G, M, Stranger, eventually

MALLORY = NodeId("mallory", "00000000000000aa")


def now_ms():
    return int(time.time() * 1000)


def say(stranger, spare, *, state="active", age_s=0.0, pool="said", seeds=()):
    """What the member says of itself."""
    pools = (PoolSummary(pool, spare, seeds),)
    said = Announcement(MALLORY, int(now_ms() - age_s * 1000), state, pools)
    stranger.flood("EX1.Agent", stranger.seals.wrap("EX1.Agent", said.to_value()))


def hear(agents, spare, pool="said"):
    """Wait until all have heard that."""
    for each in agents.values():
        eventually(lambda each=each: each.spare_of(pool).get("mallory") == spare, what=f"{each.name} has heard it")


@pytest.fixture
def mallory(secured):
    """A member that is no agent, beside ``d``; what it floods passes the relay to all others."""
    with secured.stranger("d", "mallory") as stranger:
        mark = now_ms() % 10**6

        def heard():
            say(stranger, mark)
            return all(each.spare_of("said").get("mallory") == mark for each in secured.agents.values())

        # Links are new, and may be made twice: until they are settled something said once may be lost.
        eventually(heard, what="all hear mallory", pause=0.3)
        yield stranger
        # It is missed by no audit.
        say(stranger, 0, state="left")
        hear(secured.agents, 0)


def refused(agent, text):
    """Whether it has told that something was refused for this."""
    return any(text in each["message"] for each in agent.events("peer-refused"))


def linked(agent):
    """The members it has a link with."""
    return sorted(each["member"] for each in agent.get("status")["neighbours"] if each["state"] == "up")


def admitted(agent):
    try:
        return agent.reserve("wan", M, patience_ms=2_000)
    except Short:
        return None


def in_its_hands(stranger, name, taken=lambda value: True):
    """What was flooded to it, as it came."""

    def look():
        found = [each.objective.value for each in stranger.asa.floods(name)]
        return [each for each in found if type(each) is list and taken(cbor.decode(each[0]))]

    return eventually(look, what=f"{name} at mallory")[-1]


def test_status_tells_of_the_domain_the_certificate_and_the_neighbours_by_name(secured):
    b = secured.agents["b"]
    eventually(lambda: linked(b) == ["a", "c"])
    found = b.get("status")
    assert (found["substrate"], found["secure"]) == ("domain", True)
    assert found["domain"]["name"] == secured.pki.domain
    assert found["domain"]["expires"] == int(secured.members["b"].certificate.not_valid_after_utc.timestamp())
    assert all(each["interface"].startswith("eth") and each["since"] > 0 for each in found["neighbours"])
    assert b.get("health")["notices"] == []
    assert b.get("health")["threads"]["warden"] == "alive"


def test_a_policy_reaches_all_and_one_that_its_issuer_has_not_sealed_changes_nothing(secured, mallory):
    serial = secured.obey(hold=100)
    payload, seal = in_its_hands(mallory, "EX1.Params", lambda value: value["serial"] == serial)
    forged = {"serial": serial + 7, "issuer": "a", "values": {"hold": 1}}
    for value in (
        forged,
        mallory.seals.wrap("EX1.Params", forged),
        mallory.seals.wrap("EX1.Params", {**forged, "issuer": "mallory"}),
        # Altered on its way.
        [cbor.encode(forged), seal],
        [payload + b"\x00", seal],
    ):
        mallory.flood("EX1.Params", value)
    # Behind one of the origin's all of those have come.
    assert secured.obey(hold=101) == serial + 1
    assert {each.params()["hold"] for each in secured.agents.values()} == {101}
    # All but the one that is on one host with it, and has no link with it yet.
    for name in "a", "b", "c":
        eventually(lambda name=name: refused(secured.agents[name], "a policy: "), what=f"{name} tells of it")
    # A member that only stores and passes on cannot bring back the old one.
    mallory.flood("EX1.Params", [payload, seal])
    assert secured.obey(history=5_000) == serial + 2
    assert {each.params()["hold"] for each in secured.agents.values()} == {101}


def test_who_speaks_for_another_in_a_flood_is_not_heard(secured, mallory):
    a, b = secured.origin, secured.agents["b"]
    before = {each["node"]: each["locator"] for each in a.get("peers")}
    for name, said in (
        ("EX1.Agent", Announcement(b.identity, now_ms() + 5_000, "left", ())),
        ("EX1.Agent", Announcement(NodeId("b", "00000000000000bb"), now_ms(), "active", ())),
        ("EX1.Reach", Reach(b.identity, now_ms() + 5_000, ())),
    ):
        mallory.flood(name, mallory.seals.wrap(name, said.to_value()))
        mallory.flood(name, said.to_value())
    # What b has sealed itself, with another locator beside it.
    mallory.flood("EX1.Agent", in_its_hands(mallory, "EX1.Agent", lambda value: value["node"] == b.node))
    # Its own word for itself counts, and comes behind all of those.
    say(mallory, 1)
    hear(secured.agents, 1)
    assert {each["node"]: each["locator"] for each in a.get("peers")} == before
    assert before[str(MALLORY)].startswith(f"[{mallory.address}]:")


def test_what_was_sealed_too_long_ago_is_a_replay(secured, mallory):
    a = secured.origin
    # Two that are of the time, the older one last: nor does its older word go before its newer one.
    for age_s, spare in (3 * QUIET["flood_interval"] + 62, 1), (86_400, 2), (-3_600, 3), (0, 4), (0.1, 5):
        say(mallory, spare, age_s=age_s, pool="replayed")
    eventually(lambda: a.spare_of("replayed").get("mallory") == 4)
    say(mallory, 6)
    hear(secured.agents, 6)


def test_a_member_seeds_nothing_in_a_pool_it_may_not_be_the_origin_of(secured, mallory):
    b = secured.agents["b"]
    seeded = b.pool("first")["seeded"]
    say(mallory, 7, pool="first", seeds=((G, 2 * G),))
    hear(secured.agents, 7, "first")
    assert b.pool("first")["seeded"] == seeded
    assert "seeds-overlap:first" not in b.problems()


def test_an_audit_does_not_count_what_a_member_says_it_has_seeded_and_may_not(secured, mallory):
    a = secured.origin
    seeded = a.pool("first")["seeded"]
    holdings = Objective.synchronization("EX1.Holdings")
    page = HoldingsPage(MALLORY, 1, 0, 1, (SeedRow("first", G, 2 * G),))
    mallory.do(lambda: mallory.asa.register(holdings))
    mallory.do(lambda: mallory.asa.publish(holdings.with_value(page.to_value())))
    say(mallory, 8)
    hear(secured.agents, 8)
    audit = a.audited("first")
    assert str(MALLORY) in audit["agents"]
    assert [(each["seeded"], each["missing"]) for each in audit["pools"]] == [(seeded, [])]


def test_a_list_of_revoked_certificates_that_no_ca_signed_revokes_nobody(secured, mallory):
    a = secured.origin
    other = Authority(secured.pki.domain)
    other.revoke(secured.members["a"])
    mallory.flood("EX1.Revoked", {"crls": [other.crl(der=True), b"garbage"]})
    say(mallory, 8)
    hear(secured.agents, 8)
    assert a.get("status")["domain"]["crls"] == 0
    assert linked(a) == ["b"]


def test_a_certificate_is_renewed_while_it_is_used(secured):
    # More than can be asked for in the time it takes.
    pool, c = secured.seed("renewed", 1_000 * G), secured.agents["c"]
    pid, old = c.pid, c.get("status")["domain"]["acp_name"]
    going, failed, done = threading.Event(), [], []

    def consume():
        while not going.is_set():
            try:
                done.append(c.reserve(pool, M, end=int(time.time()) + 600)["id"])
            except Exception as error:
                failed.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    try:
        eventually(lambda: len(done) > 3)
        secured.identity("c")
        eventually(lambda: c.events("identity-renewed"), what="the new certificate is in force")
        there = len(done)
        eventually(lambda: len(done) > there + 3)
    finally:
        going.set()
        consumer.join()
    assert failed == [], [getattr(each, "details", each) for each in failed]
    found = c.get("status")
    assert found["domain"]["acp_name"] != old
    assert (found["pid"], c.problems()) == (pid, {})
    # Its links are made anew, and all know it.
    eventually(lambda: linked(secured.agents["b"]) == ["a", "c"])
    secured.origin.audited(pool)


def test_a_certificate_that_turns_bad_is_told_and_the_old_one_works_on(secured):
    d = secured.agents["d"]
    file = secured.directory / "d.id" / "certificate.pem"
    good = file.read_bytes()
    file.write_bytes(secured.pki.issue("somebody").certificate.public_bytes(Encoding.PEM))
    try:
        eventually(lambda: "identity" in d.problems())
        assert "the key is not that of the certificate" in d.problems()["identity"]
        assert d.reserve("first", M, end=int(time.time()) + 60)
    finally:
        file.write_bytes(good)
    eventually(lambda: "identity" not in d.problems())


def test_who_speaks_plain_grasp_is_told_of_and_not_heard(secured):
    b = secured.agents["b"]
    with Stranger(secured.hosts["a"], secured.agents["a"].address, "plain") as stranger:
        said = Announcement(MALLORY, now_ms() + 50_000, "active", (PoolSummary("plain", 1, ()),))
        stranger.flood("EX1.Agent", said.to_value())
        assert "plain-neighbour" in eventually(b.problems)
        with pytest.raises(GraspError):
            stranger.do(lambda: stranger.asa.synchronize("EX1.Params", b.peer, 2_000))
    assert not b.knows("plain", 0)


def test_one_nodes_list_cuts_off_the_revoked_everywhere_and_the_others_work_on(shared_lab, tmp_path):
    domain = Domain.secured(shared_lab, tmp_path, ["w", "x", "y", "z"], ONE_ORIGIN.replace('"a"', '"w"'))
    w, x, y, z = (
        domain.agent(name, "origin" if name == "w" else "delegator", {"wan": G} if name == "w" else None)
        for name in ("w", "x", "y", "z")
    )
    domain.start(**QUIET)
    assert z.reserve("wan", M)
    domain.pki.revoke(domain.members["z"])
    (tmp_path / "w.id" / "crl.pem").write_bytes(domain.pki.crl())
    for each in w, x, y:
        eventually(lambda each=each: each.events("revocations-changed"), what=f"{each.name} has heard")
    # Its neighbour has dropped it, and nobody answers it.
    eventually(lambda: linked(y) == ["x"], what="y has dropped z")
    with domain.stranger("x", "good") as good:
        assert good.do(lambda: good.asa.synchronize("EX1.Params", w.peer, 5_000)).value
        good.grasp.revocations.add(domain.pki.crl(), [domain.pki.certificate], time.time())
        where = Peer(z.peer.locator, 0, "z")
        with pytest.raises(GraspError):
            good.do(lambda: good.asa.synchronize("EX1.Params", where, 2_000))
    eventually(lambda: not admitted(z), what="nobody grants z anything")
    eventually(lambda: any(each["why"] for each in z.get("status")["neighbours"]), what="z says why it has no link")
    # The others work on, also after they were started anew.
    assert y.reserve("wan", M)
    y.stop()
    y.start()
    assert y.get("status")["domain"]["crls"] == 1
    assert y.reserve("wan", M)
    eventually(lambda: linked(y) == ["x"])
    assert w.problems() == {}
    # A newcomer learns all of it from those who are there: the origin is not.
    serial = w.params()["serial"]
    w.stop()
    newcomer = domain.agent("v", on="x").start()
    eventually(lambda: newcomer.params()["serial"] == serial, what="the policy, as its issuer sealed it")
    eventually(lambda: newcomer.get("status")["domain"]["crls"] == 1, what="who is no member any more")


def test_over_the_plain_substrate_status_and_health_say_so(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["p", "q"])
    rules = '[[allow]]\nmembers = ["q"]\nask = "1Gbit"\n'
    agent = domain.agent("p", "origin", {"wan": G}, more=rules).start()
    found = agent.get("status")
    assert (found["substrate"], found["secure"], found["domain"], found["neighbours"]) == ("plain", False, None, [])
    assert any("neither authenticated nor encrypted" in each for each in found["health"]["notices"])
    assert any("[[allow]] has no effect" in each for each in found["health"]["notices"])
    assert (found["health"]["status"], found["health"]["problems"]) == ("ok", [])
    assert "warden" not in found["health"]["threads"]
