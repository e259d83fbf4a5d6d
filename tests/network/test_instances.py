"""Several instances on one host, and several ASAs in one instance."""

from __future__ import annotations

import pytest

from .raw import M_DISCOVERY, SYN, Raw, about
from .steer import eventually


@pytest.fixture(scope="module")
def crowd(shared_lab, start_shared):
    """Two instances on host a, one on b, and the raw neighbour c."""
    a, b, c = (shared_lab.host(name) for name in "abc")
    shared_lab.lan(a, b, c)
    for n, host in enumerate((a, b, c), 1):
        host.address(f"fd00::{n}/64", "eth0")
    with Raw(c, "eth0") as raw:
        yield start_shared(a, ["eth0"]), start_shared(a, ["eth0"]), start_shared(b, ["eth0"]), raw


def test_instances_of_one_host_have_ports_of_their_own(crowd):
    one, other, _, _ = crowd
    assert one.port != other.port


def test_every_instance_hears_every_multicast(crowd):
    one, other, remote, raw = crowd
    remote.register("to both", "synchronize")
    remote.flood([["to both", 1, None]])
    raw.multicast([9, 4711, raw.packed, 0, [["from raw", SYN, 1, 2], []]])
    for each in one, other:
        assert each.wait_flood("to both")[0]["value"] == 1
        assert each.wait_flood("from raw")[0]["value"] == 2
    one.register("from one", "synchronize")
    one.flood([["from one", 3, None]])
    for each in other, remote:
        assert each.wait_flood("from one")[0]["value"] == 3


def test_a_remote_node_discovers_both_instances(crowd):
    one, other, remote, raw = crowd
    for each in one, other:
        each.register("at both", "synchronize")
        each.publish("at both", 1)
    found = remote.discover("at both", count=2)
    assert sorted(each["locator"] for each in found) == sorted(["fd00::1", 6, each.port] for each in (one, other))
    raw.multicast([M_DISCOVERY, 4712, raw.packed, ["at both", 1, 6]])
    ports = set()
    for _ in range(2):
        with raw.accept() as wire:
            ports.add(wire.receive()[4][3])
    assert ports == {one.port, other.port}


@pytest.mark.parametrize("turned", [False, True])
def test_instances_of_one_host_discover_and_negotiate_with_each_other_and_with_a_remote(crowd, turned):
    one, other, remote, _ = crowd
    if turned:
        one, other = other, one
    for responder in one, remote:
        name = f"of {responder.host.name} {turned}"
        responder.register(name)
        responder.serve(name, [["propose", 1], ["accept"]])
        other.register(name)
        (found,) = other.discover(name)
        assert found["locator"][2] == responder.port
        offer = other.negotiate(name, 5)
        assert other.propose(offer["session"], 2)["agreed"]
    name = f"for the remote {turned}"
    other.register(name)
    other.serve(name, [["accept"]])
    remote.register(name)
    assert remote.negotiate(name, 1)["agreed"]


def test_instances_of_one_host_synchronize_with_each_other(crowd):
    one, other, _, _ = crowd
    one.register("neighbourly", "synchronize")
    one.publish("neighbourly", "hello")
    assert other.synchronize("neighbourly") == "hello"


def test_an_instance_does_not_hear_itself(crowd):
    one, _, _, raw = crowd
    one.register("echo", "synchronize")
    one.on_flood("echo")
    one.flood([["echo", 1, None]])
    one.register("echo end", "synchronize")
    one.flood([["echo end", 1, None]])
    raw.hear(9, about("echo end"))
    assert eventually(lambda: one.flooded())
    assert len(one.floods("echo")) == 1
    assert len(one.flooded()) == 1
    assert "flood: heard already" not in one.statistics()["discarded"]


def test_a_third_instance_may_come_and_go(crowd, start):
    one, _, remote, _ = crowd
    third = start(one.host, ["eth0"])
    third.register("third", "synchronize")
    third.publish("third", 1)
    assert remote.synchronize("third", timeout=10_000) == 1
    third.stop()
    one.register("still here", "synchronize")
    one.publish("still here", 1)
    assert remote.synchronize("still here", timeout=10_000) == 1


# -- several ASAs


def test_asas_of_one_instance_serve_objectives_of_their_own(crowd):
    one, _, remote, _ = crowd
    for asa in "first", "second":
        one.register(f"{asa}'s", asa=asa)
        one.serve(f"{asa}'s", [["accept"]], asa=asa)
        remote.register(f"{asa}'s", asa=asa)
        assert remote.negotiate(f"{asa}'s", 1, asa=asa)["agreed"]
    assert {each["asa"] for each in one.served() if each["name"].endswith("'s")} == {"first", "second"}


def test_an_asa_cannot_act_for_another(crowd):
    one, _, _, _ = crowd
    one.register("mine", asa="owner")
    one.register("anything", asa="stranger")
    assert one.code_of("negotiate", "mine", 1, asa="stranger") == "notYourObj"
    assert one.code_of("listen", "mine", asa="stranger") == "notYourObj"
    assert one.code_of("register", "mine", asa="stranger") == "objReg"


def test_an_asa_finds_and_negotiates_with_another_of_its_own_instance(crowd):
    one, _, _, _ = crowd
    one.register("in house", asa="clerk", overlap=True)
    one.serve("in house", [["propose", 1], ["accept"]], asa="clerk")
    one.register("in house", asa="customer", overlap=True)
    (found,) = one.discover("in house", asa="customer")
    assert found["locator"] == ["fd00::1", 6, one.port]
    offer = one.negotiate("in house", 5, asa="customer", timeout=10_000)
    assert offer["value"] == 1
    assert one.propose(offer["session"], 2)["agreed"]
    one.register("in house value", "synchronize", asa="clerk")
    one.publish("in house value", 7, asa="clerk")
    assert one.synchronize("in house value", asa="customer", timeout=10_000) == 7


def test_asas_that_share_an_objective_share_the_requests(crowd):
    one, _, remote, _ = crowd
    for asa in "left", "right":
        one.register("shared", asa=asa, overlap=True)
        assert one.code_of("listen", "shared", timeout=1, asa=asa) == "noReply"
    remote.register("shared")
    asking = []
    for n in range(4):
        asking.append(remote.begin("negotiate", "shared", n, peer=[["fd00::1", 6, one.port], 0]))
        assert eventually(lambda n=n: one.statistics()["sessions"] == n + 1)
    for asa in ("left", "right") * 2:
        one.accept(one.listen("shared", asa=asa)["session"])
    assert all(future.result(10)["agreed"] for future in asking)


def test_an_asa_that_leaves_takes_only_its_own_along(crowd):
    one, _, remote, _ = crowd
    for asa in "leaving", "staying":
        one.register(f"{asa} objective", asa=asa)
        one.serve(f"{asa} objective", [["propose", 1], ["accept"]], asa=asa)
        remote.register(f"{asa} objective")
    offers = {asa: remote.negotiate(f"{asa} objective", 9) for asa in ("leaving", "staying")}
    one.deregister_asa("leaving")
    assert remote.code_of("propose", offers["leaving"]["session"], 2) in {"noPeer", "sockErrNegStep", "declined"}
    assert remote.propose(offers["staying"]["session"], 2)["agreed"]
    assert remote.code_of("negotiate", "leaving objective", 9, peer=[["fd00::1", 6, one.port], 0]) == "noPeer"
    assert remote.negotiate("staying objective", 9)["value"] == 1
