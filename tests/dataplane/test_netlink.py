"""What the kernel has on its interfaces, as it tells, and its word of changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from asa.dataplane.tc import netlink
from asa.dataplane.tc.changes import Change, Changes
from asa.dataplane.tc.htb import Rates
from asa.dataplane.tc.netlink import Filter, Qdisc

from .between import Between, eventually

ROOT = "tc qdisc add dev eth1 root handle a5a: htb default ffff"
CLASS = "tc class add dev eth1 parent {} classid a5a:{} htb rate {} ceil {} prio {} quantum 2000"


def index_of(name: str) -> int:
    found = netlink.link(name)
    assert found is not None
    return found.index


def test_links(bridged: Between) -> None:
    bridged.run("ip link add asa-eth1 type ifb && ip link set asa-eth1 alias asa:eth1:in")
    links = netlink.links()
    assert sorted(links) == ["asa-eth1", "br0", "eth0", "eth1", "lo"]
    assert (links["asa-eth1"].kind, links["asa-eth1"].alias, links["asa-eth1"].up) == ("ifb", "asa:eth1:in", False)
    assert (links["eth1"].kind, links["eth1"].alias, links["eth1"].up) == ("veth", "", True)
    assert all(netlink.link(name) == each for name, each in links.items())
    assert netlink.link("eth9") is None


def test_classes_exactly_as_they_are(bridged: Between) -> None:
    index = index_of("eth1")
    assert netlink.classes(index) == {}
    assert netlink.one_class(index, 0x10) is None
    bridged.run(ROOT)
    wanted = {
        1: Rates(400_000_000_000, 400_000_000_000, 0),
        0x10: Rates(8, 16, 1),
        0x11: Rates(20_123_456, 40_000_000_000, 7),
        0xFFFF: Rates(16, 400_000_000_000, 3),
    }
    for number, (guarantee, ceiling, priority) in wanted.items():
        parent = "a5a:" if number == 1 else "a5a:1"
        bridged.run(CLASS.format(parent, f"{number:x}", f"{guarantee}bit", f"{ceiling}bit", priority))
    # An inner class has no priority.
    assert netlink.classes(index) == wanted
    assert {number: netlink.one_class(index, number) for number in wanted} == wanted
    assert netlink.one_class(index, 0x12) is None
    assert netlink.classes(index + 1_000) == {}


def test_queues(bridged: Between) -> None:
    bridged.run(f"{ROOT}; {CLASS.format('a5a:', 1, '8mbit', '8mbit', 0)}")
    bridged.run("tc qdisc add dev eth1 parent a5a:1 handle 1: pfifo limit 100; tc qdisc add dev eth0 clsact")
    left, right = index_of("eth0"), index_of("eth1")
    queues = netlink.queues()
    assert queues.roots[right] == netlink.root(right) == Qdisc("htb", 0x0A5A, 0xFFFF)
    assert queues.roots[left].handle == 0
    assert queues.ingress == {left: Qdisc("clsact", 0xFFFF)}
    assert netlink.ingress(left) == Qdisc("clsact", 0xFFFF)
    assert netlink.ingress(right) is None
    assert queues.leaves == {right: {1}}


def test_filters_at_the_ingress(bridged: Between) -> None:
    assert netlink.filters(index_of("eth0")) == []
    bridged.run(
        "tc qdisc add dev eth0 ingress; tc filter add dev eth0 parent ffff: protocol all pref 7 u32 match u32 0 0 "
        "action mirred egress redirect dev eth1; tc filter add dev eth0 parent ffff: protocol ip pref 9 u32 "
        "match ip src 10.9.9.9 flowid 1:1"
    )
    found = set(netlink.filters(index_of("eth0")))
    assert {Filter(7, "u32", index_of("eth1")), Filter(9, "u32", 0)} <= found
    assert {each.target for each in found} == {0, index_of("eth1")}


def test_counters(bridged: Between) -> None:
    bridged.run(f"{ROOT}; {CLASS.format('a5a:', 'ffff', '8mbit', '8mbit', 0)}")
    before = netlink.counters(index_of("eth1"))[0xFFFF]
    bridged.left.run(["ping", "-c", "5", "-i", "0.01", "-q", "10.0.0.2"])
    after = netlink.counters(index_of("eth1"))[0xFFFF]
    assert after.packets - before.packets >= 5
    assert after.bytes - before.bytes >= 5 * 98
    assert (after.dropped, after.backlog) == (0, 0)


def test_what_waits_is_dropped_and_borrowed_is_counted(bridged: Between) -> None:
    bridged.run(f"{ROOT}; {CLASS.format('a5a:', 1, '80kbit', '80kbit', 0)}")
    bridged.run(CLASS.format("a5a:1", "ffff", "8kbit", "80kbit", 0))
    bridged.run("tc qdisc add dev eth1 parent a5a:ffff handle 1: pfifo limit 5")
    bridged.left.run(["ping", "-c", "100", "-i", "0.002", "-q", "-s", "1000", "-W", "0.1", "10.0.0.2"], check=False)
    found = netlink.counters(index_of("eth1"))[0xFFFF]
    assert found.dropped > 0
    assert found.borrowed > 0
    assert found.overlimits > 0


def test_no_privilege_is_needed(bridged: Between) -> None:
    bridged.run(f"{ROOT}; {CLASS.format('a5a:', 1, '8mbit', '8mbit', 0)}")
    program = (
        "from asa.dataplane.tc import netlink; from asa.dataplane.tc.changes import Changes; "
        "i = netlink.link('eth1').index; "
        "changes = Changes('asa'); print(changes.hears_tables, netlink.one_class(i, 1), len(netlink.counters(i)), "
        "netlink.root(i).kind)"
    )
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program]
    assert bridged.node.run(bare).stdout.split("\n")[0] == (
        "False Rates(guarantee=8000000, ceiling=8000000, priority=0) 1 htb"
    )


@pytest.mark.parametrize("octets", [b"\x03\x00\x01\x00", b"\x09\x00\x01\x00ab"])
def test_attributes_that_are_none(octets: bytes) -> None:
    with pytest.raises(ValueError, match="an attribute of"):
        netlink.attributes(octets)


# -- word of changes


@pytest.fixture
def changes(bridged: Between) -> Iterator[Changes]:
    changes = Changes("asa")
    eventually(lambda: not heard(changes))
    yield changes
    changes.close()


def heard(changes: Changes) -> set[Change]:
    found: set[Change] = set()
    while more := changes.wait(1.0 if not found else 0.1):
        found |= more
    # A bridge has something to tell at times that are its own.
    return found - {Change("link", index_of("br0"))}


def test_what_others_change_is_told_of(bridged: Between, changes: Changes) -> None:
    bridged.run(ROOT)
    assert Change("tc", index_of("eth1")) in heard(changes)
    bridged.run(CLASS.format("a5a:", 1, "8mbit", "8mbit", 0))
    assert heard(changes) == {Change("tc", index_of("eth1"))}
    bridged.run("tc class del dev eth1 classid a5a:1")
    assert heard(changes) == {Change("tc", index_of("eth1"))}
    bridged.run("ip link set eth0 alias somebody")
    assert Change("link", index_of("eth0")) in heard(changes)
    assert changes.hears_tables
    bridged.run("nft add table netdev asa")
    assert Change("nft") in heard(changes)
    bridged.run("nft flush ruleset")
    assert Change("nft") in heard(changes)


def test_neither_questions_nor_the_tables_of_others_are_changes(bridged: Between, changes: Changes) -> None:
    bridged.run(f"{ROOT}; {CLASS.format('a5a:', 1, '8mbit', '8mbit', 0)}")
    heard(changes)
    index = index_of("eth1")
    assert netlink.root(index) is not None
    assert netlink.one_class(index, 1) is not None
    bridged.run("nft add table inet somebody")
    assert heard(changes) == set()


def test_waiting_is_bounded(bridged: Between, changes: Changes) -> None:
    before = time.monotonic()
    assert changes.wait(0.2) == frozenset()
    assert time.monotonic() - before >= 0.2
    assert changes.changes() == frozenset()


def test_more_than_can_be_told_is_said_to_be_lost(bridged: Between, changes: Changes) -> None:
    bridged.run(ROOT)
    script = "\n".join(CLASS.format("a5a:", f"{each:x}", "8mbit", "8mbit", 0)[3:] for each in range(0x10, 0x1810))
    bridged.node.run(["tc", "-batch", "-"], input=script + "\n")
    assert Change("lost") in heard(changes)
    bridged.run("ip link set eth0 alias somebody")
    assert Change("link", index_of("eth0")) in heard(changes)
