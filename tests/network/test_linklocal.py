"""A network with link-local addresses only."""

from __future__ import annotations

import pytest

from .raw import F_DISC, M_DISCOVERY, M_FLOOD, SYN, Raw, about
from .steer import eventually


@pytest.fixture(scope="module")
def row(shared_lab, start_shared):
    """a - b - c, and the raw neighbours x at a's link and y at c's: a on eth0, b on both."""
    hosts = {name: shared_lab.host(name) for name in "abcxy"}
    shared_lab.lan(hosts["a"], hosts["b"], hosts["x"])
    shared_lab.lan(hosts["b"], hosts["c"], hosts["y"])
    with Raw(hosts["x"], "eth0") as x, Raw(hosts["y"], "eth0") as y:
        yield [*(start_shared(hosts[name]) for name in "abc"), x, y]


def test_a_neighbour_is_discovered_by_its_link_local_address_and_negotiated_with(row):
    a, b, *_ = row
    b.register("next door")
    b.serve("next door", [["propose", 1], ["accept"]])
    a.register("next door")
    (found,) = a.discover("next door")
    assert found["locator"] == [b.host.link_local("eth0"), 6, b.port]
    assert found["interface"] == "eth0"
    assert not found["diverted"]
    offer = a.negotiate("next door", 5)
    assert a.propose(offer["session"], 2)["agreed"]


def test_each_link_is_told_the_address_that_is_on_it(row):
    a, b, c, *_ = row
    b.register("both sides", "synchronize")
    b.publish("both sides", 1)
    assert a.discover("both sides")[0]["locator"][0] == b.host.link_local("eth0")
    assert c.discover("both sides")[0]["locator"][0] == b.host.link_local("eth1")
    assert a.synchronize("both sides") == c.synchronize("both sides") == 1


def test_a_local_objective_is_known_by_link_local_address_although_there_is_another(lab, start):
    hosts = lab.host("a"), lab.host("b")
    lab.link(*hosts)
    for n, host in enumerate(hosts, 1):
        host.address(f"fd00::{n}/64", "eth0")
    one, other = (start(host) for host in hosts)
    other.register("local", "synchronize", local=True)
    other.publish("local", 1)
    (found,) = one.discover("local")
    assert found["locator"][0] == hosts[1].link_local("eth0")
    assert one.synchronize("local") == 1


def test_a_flood_stays_on_its_link(row):
    a, b, c, x, y = row
    b.register("on link", "synchronize")
    assert b.flood([["on link", 1, None]]) == 2
    for raw, dev in ((x, "eth0"), (y, "eth1")):
        source, _, message = raw.hear(M_FLOOD, about("on link"))
        assert source == b.host.link_local(dev)
        assert message[4][0] == ["on link", SYN, 1, 1]
    assert a.wait_flood("on link")
    assert c.wait_flood("on link")
    a.register("mine alone", "synchronize")
    a.register("after", "synchronize")
    a.flood([["mine alone", 1, None]])
    b.register("after", "synchronize")
    assert b.wait_flood("mine alone")
    b.flood([["after", 1, None]])
    assert c.wait_flood("after")
    assert c.floods("mine alone") == []
    assert not [m for _, _, m in y.messages(M_FLOOD) if about("mine alone")(m)]


def test_the_initiator_is_the_address_of_the_link(row):
    _, b, _, x, y = row
    b.discover("of nobody", timeout=100)
    for raw in x, y:
        source, _, message = raw.hear(M_DISCOVERY, about("of nobody"))
        assert message[2] == bytes.fromhex("".join(f"{int(part or '0', 16):04x}" for part in _groups(source)))


def _groups(address: str) -> list[str]:
    head, tail = (side.split(":") for side in address.split("::"))
    return [*head, *["0"] * (8 - len(head) - len(tail)), *tail]


def test_a_relay_does_not_divert_to_a_link_local_address(row):
    a, _, c, _, y = row
    c.register("far", "synchronize")
    c.publish("far", 1)
    assert a.discover("far", timeout=1_500) == []
    # It was relayed all the same: a routed answer could have come back.
    y.hear(M_DISCOVERY, about("far"))


def test_an_unspecified_flood_locator_becomes_the_links_own_address(row):
    a, b, c, x, y = row
    b.register("tagged here", "synchronize")
    b.flood([["tagged here", 1, ["::", 6, 4711]]])
    assert a.wait_flood("tagged here")[0]["locator"] == [b.host.link_local("eth0"), 6, 4711]
    assert c.wait_flood("tagged here")[0]["locator"] == [b.host.link_local("eth1"), 6, 4711]
    for raw in x, y:
        assert raw.hear(M_FLOOD, about("tagged here"))[2][4][0][2] == 1


def test_two_links_with_the_same_link_local_address_do_not_mix(lab, start):
    a, b, c = (lab.host(name) for name in "abc")
    lab.link(a, b)
    lab.link(a, c)
    for host in b, c:
        host.delete_address(f"{host.link_local('eth0')}/64", "eth0")
        host.address("fe80::1/64", "eth0")
        host.link_local("eth0")
    asker, *others = start(a), start(b), start(c)
    for n, each in enumerate(others):
        each.register("twin", "synchronize")
        each.publish("twin", n)
    found = asker.discover("twin", count=2)
    assert {each["interface"] for each in found} == {"eth0", "eth1"}
    values = {asker.synchronize("twin", peer=[each["locator"], each["interface"]]) for each in found}
    assert values == {0, 1}


def test_an_answer_needs_no_routed_address_at_the_asker(row):
    _, b, _, x, _ = row
    b.register("asked from the link", "synchronize")
    b.publish("asked from the link", 1)
    x.multicast([M_DISCOVERY, 9, x.packed, ["asked from the link", F_DISC, 1]])
    with x.accept() as wire:
        assert wire.socket.getpeername()[0].partition("%")[0] == b.host.link_local("eth0")
        assert wire.receive()[1] == 9
    assert eventually(lambda: b.statistics()["sessions"] == 0)
