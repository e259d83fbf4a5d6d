"""IPv4: alone on the link, and beside IPv6."""

from __future__ import annotations

import pytest

from .raw import M_DISCOVERY, M_FLOOD, M_RESPONSE, O_DIVERT, O_IPV4, SYN, Raw, about
from .steer import eventually


def without_ipv6(host):
    host.sysctl("net.ipv6.conf.all.disable_ipv6", "1")
    host.sysctl("net.ipv6.conf.default.disable_ipv6", "1")


@pytest.fixture(scope="module")
def four(shared_lab, start_shared):
    """a and b on one link, b and c on another, and raw on the first; all without IPv6 but b's loopback."""
    hosts = {name: shared_lab.host(name) for name in "abcr"}
    shared_lab.lan(hosts["a"], hosts["b"], hosts["r"])
    shared_lab.link(hosts["b"], hosts["c"])
    for name, prefix, dev in (
        ("a", "10.0.1.1/24", "eth0"),
        ("b", "10.0.1.2/24", "eth0"),
        ("r", "10.0.1.9/24", "eth0"),
        ("b", "10.0.2.2/24", "eth1"),
        ("c", "10.0.2.3/24", "eth0"),
    ):
        without_ipv6(hosts[name])
        hosts[name].address(prefix, dev)
    hosts["b"].forwarding(True)
    for name in "ar":
        hosts[name].route("10.0.2.0/24", via="10.0.1.2")
    hosts["c"].route("10.0.1.0/24", via="10.0.2.2")
    with Raw(hosts["r"], "eth0", ipv4="10.0.1.9") as raw:
        yield [*(start_shared(hosts[name], ipv4=True) for name in "abc"), raw]


def test_discovery_negotiation_and_synchronization_work_over_ipv4(four):
    a, b, *_ = four
    b.register("v4")
    b.serve("v4", [["propose", 1], ["accept"]])
    a.register("v4")
    (found,) = a.discover("v4")
    assert found["locator"] == ["10.0.1.2", 6, b.port]
    assert not found["diverted"]
    offer = a.negotiate("v4", 5)
    assert a.propose(offer["session"], 2)["agreed"]
    b.register("v4 value", "synchronize")
    b.publish("v4 value", 3)
    assert a.synchronize("v4 value") == 3
    assert a.discover("v4", peer=[["10.0.1.2", 6, b.port], 0])


def test_floods_and_discoveries_are_relayed_over_ipv4(four):
    a, b, c, raw = four
    a.register("v4 flood", "synchronize")
    assert a.flood([["v4 flood", 1, ["10.0.1.1", 6, 7]]]) == 1
    for each in b, c:
        (tagged,) = each.wait_flood("v4 flood")
        assert (tagged["locator"], tagged["initiator"]) == (["10.0.1.1", 6, 7], "10.0.1.1")
    source, port, message = raw.hear(M_FLOOD, about("v4 flood"))
    assert (source, port, message[2]) == ("10.0.1.1", a.port, bytes([10, 0, 1, 1]))
    c.register("v4 far")
    c.serve("v4 far", [["accept"]])
    (found,) = a.discover("v4 far")
    assert found["diverted"]
    assert found["locator"] == ["10.0.2.3", 6, c.port]
    a.register("v4 far")
    assert a.negotiate("v4 far", 1)["agreed"]


def test_a_response_comes_to_the_udp_source_port_over_ipv4(four):
    _, b, _, raw = four
    b.register("v4 answer", "synchronize")
    b.publish("v4 answer", 1)
    raw.multicast([M_DISCOVERY, 5, raw.packed, ["v4 answer", 1, 6]])
    with raw.accept() as wire:
        assert wire.receive()[:5] == [M_RESPONSE, 5, raw.packed, 60_000, [O_IPV4, bytes([10, 0, 1, 2]), 6, b.port]]
        assert wire.receive() is None


def test_a_cached_answer_is_not_given_on_the_ipv4_link_it_was_learnt_from(four):
    a, b, c, raw = four
    a.register("v4 cached", "synchronize")
    a.publish("v4 cached", 1)
    assert b.discover("v4 cached")[0]["locator"] == ["10.0.1.1", 6, a.port]
    (found,) = c.discover("v4 cached")
    assert found["diverted"]
    raw.multicast([M_DISCOVERY, 6, raw.packed, ["v4 cached", 1, 6]])
    answers = []
    with raw.accept() as wire:
        answers.append(wire.receive())
    try:
        with raw.accept(0.5) as wire:
            answers.append(wire.receive())
    except TimeoutError:
        pass
    assert [O_DIVERT in map(_kind, answer) for answer in answers] == [False]


def _kind(item):
    return item[0] if isinstance(item, list) else None


def test_what_is_learnt_over_ipv4_belongs_to_its_interface(four):
    a, b, *_ = four
    b.register("v4 interface", "synchronize")
    b.publish("v4 interface", 1)
    (found,) = a.discover("v4 interface")
    assert found["interface"] == "eth0"


def test_ipv4_and_ipv6_nodes_meet_at_one_that_has_both(lab, start):
    six, both, old = (lab.host(name) for name in ("six", "both", "old"))
    lab.lan(six, both, old)
    without_ipv6(old)
    both.address("10.0.0.2/24", "eth0")
    old.address("10.0.0.3/24", "eth0")
    for host, address in ((six, "fd00::1/64"), (both, "fd00::2/64")):
        host.address(address, "eth0")
    agents = {"six": start(six), "both": start(both, ipv4=True), "old": start(old, ipv4=True)}
    for name, agent in agents.items():
        agent.register(f"of {name}", "synchronize")
        agent.publish(f"of {name}", name)
    for asker, responder in (("six", "both"), ("both", "six"), ("old", "both"), ("both", "old")):
        assert agents[asker].synchronize(f"of {responder}", timeout=5_000) == responder
    assert agents["old"].discover("of both")[0]["locator"][0] == "10.0.0.2"
    assert agents["six"].discover("of both")[0]["locator"][0] == "fd00::2"
    agents["both"].register("to both families", "synchronize")
    agents["both"].flood([["to both families", 1, None]])
    for name in "six", "old":
        assert agents[name].wait_flood("to both families")
    assert agents["six"].discover("of old", timeout=300) == []


def test_two_nodes_with_both_families_hear_each_other_once(lab, start):
    hosts = lab.host("a"), lab.host("b")
    lab.link(*hosts)
    for n, host in enumerate(hosts, 1):
        host.address(f"10.0.0.{n}/24", "eth0")
        host.address(f"fd00::{n}/64", "eth0")
    one, other = (start(host, ipv4=True) for host in hosts)
    other.on_flood("once")
    for name in "once", "end":
        one.register(name, "synchronize")
        one.flood([[name, 1, None]])
    assert other.wait_flood("end")
    assert eventually(lambda: other.flooded())
    assert len(other.flooded()) == 1
    other.register("dual", "synchronize")
    other.publish("dual", 1)
    found = one.discover("dual", timeout=600, count=None)
    assert {each["locator"][0] for each in found} <= {"fd00::2", "10.0.0.2"}
    assert one.synchronize("dual") == 1


def test_without_ipv4_an_ipv4_only_link_is_not_used(lab, start):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    for n, host in enumerate((a, b), 1):
        without_ipv6(host)
        host.address(f"10.0.0.{n}/24", "eth0")
    agent = start(a)
    assert agent.info()["interfaces"] == {}
    with Raw(b, "eth0", ipv4="10.0.0.2") as raw:
        raw.multicast([M_FLOOD, 1, raw.packed, 0, [["v4 only", SYN, 1, 0], []]])
        assert agent.discover("anything", timeout=200) == []
        assert agent.floods() == []
        assert not raw.heard
