"""Interfaces and addresses that come, go and change under a running node."""

from __future__ import annotations

import pytest

from .raw import M_FLOOD, SYN, Raw
from .steer import eventually


@pytest.fixture
def hosts(lab):
    """a and b, not linked yet."""
    return lab.host("a"), lab.host("b")


def serve(agent, name):
    agent.register(name, "synchronize")
    agent.publish(name, agent.host.name)


def reachable(asker, responder, name):
    """Discovery, synchronization and a flood all work again."""
    assert eventually(lambda: asker.discover(name, timeout=500, minimum_ttl=0))
    assert asker.synchronize(name, timeout=10_000) == responder.host.name
    flood = f"flood about {name}"
    responder.register(flood, "synchronize")
    assert eventually(lambda: responder.flood([[flood, 1, None]]))
    assert asker.wait_flood(flood, timeout=10_000)


def test_an_interface_goes_down_and_comes_back(lab, hosts, start):
    a, b = hosts
    lab.link(a, b)
    one, other = start(a, ["eth0"]), start(b, ["eth0"])
    serve(other, "up")
    reachable(one, other, "up")
    b.down("eth0")
    assert eventually(lambda: not other.info()["interfaces"] and not one.info()["interfaces"])
    assert one.discover("up", timeout=200, minimum_ttl=0) == []
    assert one.floods("nothing") == []
    other.register("while down", "synchronize")
    assert other.flood([["while down", 1, None]]) == 0
    b.up("eth0")
    serve(other, "up again")
    reachable(one, other, "up again")
    serve(one, "the other way")
    reachable(other, one, "the other way")


def test_what_was_learnt_through_an_interface_is_forgotten_with_it(lab, hosts, start):
    a, b = hosts
    lab.link(a, b)
    one, other = start(a, ["eth0"]), start(b, ["eth0"])
    serve(other, "learnt")
    assert one.discover("learnt")
    a.down("eth0")
    assert eventually(lambda: not one.info()["interfaces"])
    assert one.discover("learnt", timeout=0) == []


def test_a_changed_address_is_what_the_next_response_carries(lab, hosts, start):
    a, b = hosts
    lab.link(a, b)
    a.address("fd00::a/64", "eth0")
    b.address("fd00::b/64", "eth0")
    one, other = start(a, ["eth0"]), start(b, ["eth0"])
    serve(other, "moving")
    (found,) = one.discover("moving")
    assert found["locator"] == ["fd00::b", 6, other.port]
    b.delete_address("fd00::b/64", "eth0")
    b.address("fd00::bb/64", "eth0")

    def locators():
        return [each["locator"] for each in one.discover("moving", minimum_ttl=0, timeout=500)]

    assert eventually(lambda: locators() == [["fd00::bb", 6, other.port]])
    assert one.synchronize("moving") == "b"
    other.register("moved flood", "synchronize")
    other.flood([["moved flood", 1, None]])
    assert one.wait_flood("moved flood")[0]["initiator"] == "fd00::bb"
    b.delete_address("fd00::bb/64", "eth0")
    link_local = [b.link_local("eth0"), 6, other.port]
    assert eventually(lambda: locators() == [link_local])


@pytest.mark.parametrize("named", [True, False])
def test_an_interface_may_appear_after_the_start(lab, hosts, start, named):
    a, b = hosts
    one, other = (start(host, ["eth0"] if named else None) for host in hosts)
    assert one.info()["interfaces"] == {}
    serve(other, "early")
    future = one.begin("discover", "early", timeout=20_000)
    lab.link(a, b)
    assert future.result(20)
    reachable(one, other, "early")


def test_a_second_interface_that_appears_is_relayed_to(lab, start):
    a, b, c = (lab.host(name) for name in "abc")
    lab.link(a, b)
    agents = [start(host) for host in (a, b, c)]
    a.address("fd00:1::1/64", "eth0")
    b.address("fd00:1::2/64", "eth0")
    lab.link(b, c)
    b.address("fd00:2::2/64", "eth1")
    c.address("fd00:2::3/64", "eth0")
    b.forwarding(True)
    a.route("default", via="fd00:1::2")
    c.route("default", via="fd00:2::2")
    assert eventually(lambda: len(agents[1].info()["interfaces"]) == 2)
    serve(agents[2], "behind")
    assert agents[0].synchronize("behind") == "c"


@pytest.mark.parametrize("same_index", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_link_deleted_and_made_anew_under_the_same_name_works(lab, hosts, start, same_index, at_once):
    a, b = hosts
    lab.link(a, b)
    one, other = start(a, ["eth0"]), start(b, ["eth0"])
    serve(other, "first life")
    reachable(one, other, "first life")
    with a.entered():
        index = one.info()["interfaces"]["eth0"]["index"]
    peer_index = other.info()["interfaces"]["eth0"]["index"]
    create = (
        f"link add eth0 index {index if same_index else 901} type veth"
        f" peer name eth0 index {peer_index if same_index else 902} netns {b.netns}"
    )
    if at_once:
        a.ip("link delete eth0", create)
    else:
        a.ip("link delete eth0")
        assert eventually(lambda: not one.info()["interfaces"] and not other.info()["interfaces"])
        a.ip(create)
    for host in hosts:
        host.up("eth0")
    for host in hosts:
        host.link_local("eth0")
    serve(other, "second life")
    reachable(one, other, "second life")
    serve(one, "the other way")
    reachable(other, one, "the other way")


def test_only_the_named_interfaces_are_used(lab, start):
    a, b, c = (lab.host(name) for name in "abc")
    lab.link(a, b)
    lab.link(a, c)
    agent = start(a, ["eth0"])
    agent.register("inside", "synchronize")
    agent.publish("inside", 1)
    with Raw(b, "eth0") as inside, Raw(c, "eth0") as outside:
        for raw in inside, outside:
            raw.multicast([M_FLOOD, 1, raw.packed, 0, [[f"from {raw.host.name}", SYN, 1, 0], []]])
            raw.multicast([1, 2, raw.packed, ["inside", 1, 6]])
            raw.multicast([1, 3, raw.packed, ["elsewhere", 1, 6]])
        assert agent.wait_flood("from b")
        inside.accept().close()
        with pytest.raises(TimeoutError):
            outside.accept(0.3)
        assert agent.floods("from c") == []
        agent.register("said", "synchronize")
        assert agent.flood([["said", 1, None]]) == 1
        inside.hear(M_FLOOD)
        assert not outside.heard
        assert not inside.messages(1)
        with outside.connect(a.link_local("eth1"), agent.port) as wire:
            wire.send([4, 5, ["inside", SYN, 6]])
            assert wire.receive() is None


def test_a_flapping_interface_does_no_harm(lab, hosts, start):
    a, b = hosts
    lab.link(a, b)
    one, other = start(a, ["eth0"]), start(b, ["eth0"])
    serve(other, "flapping")
    before = other.threads(), other.descriptors()
    for _ in range(10):
        b.down("eth0")
        b.up("eth0")
    for n in range(30):
        b.address(f"fd00::{n + 1:x}/64", "eth0")
    for n in range(30):
        b.delete_address(f"fd00::{n + 1:x}/64", "eth0")
    b.link_local("eth0")
    assert eventually(lambda: [each["routed"] for each in other.info()["interfaces"].values()] == [[]])
    reachable(one, other, "flapping")
    assert eventually(lambda: other.threads() <= before[0] + 2 and other.descriptors() <= before[1] + 1)
