"""The back end for the kernel's traffic control with nftables: what is in place after it, and after what others did."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from asa.config import EnforcementSection
from asa.dataplane.backend import Counters, Reading, Spot, Unfit
from asa.dataplane.choice import backend_for
from asa.dataplane.nft.classifier import Nftables
from asa.dataplane.nft.table import NOTES
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.dataplane.tc import netlink
from asa.dataplane.tc.changes import Change, Changes
from asa.dataplane.tc.classifier import DEFAULT, WHOLE
from asa.dataplane.tc.control import TrafficControl
from asa.dataplane.tc.htb import Rates
from asa.dataplane.u32.classifier import U32
from lab import Host

from .between import MBIT, Between, entry, eventually, line, plan, v4, v6

OUT, IN = line(), line(way="in")
TO_RIGHT, SIX = v4(None, "10.0.0.2/32", 1), v6(None, "fd00::2/128", 58)


def new(take_over: bool = False) -> TrafficControl:
    return TrafficControl(Nftables(), take_over)


@pytest.fixture
def backend(bridged: Between) -> Iterator[TrafficControl]:
    backend = new()
    abilities = backend.probe((OUT, IN))
    assert (abilities.ways, abilities.actions) == ({"out", "in"}, {Action.GUARANTEE, Action.KEEP})
    assert (abilities.marks, abilities.expires, abilities.notes) == (True, True, NOTES)
    assert sorted(netlink.links()) == ["br0", "eth0", "eth1", "lo"], "probing left something behind"
    yield backend
    backend.close()


def both() -> Plan:
    """Both ways, both versions, with everything that entries may have."""
    return plan(
        (OUT, IN),
        entry(TO_RIGHT, SIX, dscp=46, share=Share(20 * MBIT, 30 * MBIT, 2)),
        entry(v4("10.0.0.9/32"), share=Share(8, 8)),
        entry(v4("10.0.0.0/24"), action=Action.KEEP),
        entry(v4("10.0.0.2/32"), on="eth1:in", dscp=10),
    )


def is_as_planned(reading: Reading, wanted: Plan) -> None:
    assert reading.lines == {each.name: "" for each in wanted.lines}
    assert reading.strays == ()
    spots: dict[Spot, Entry] = {
        (each.line, each.action, match): each for each in wanted.entries.values() for match in each.matches
    }
    assert reading.found.keys() == spots.keys()
    groups: dict[tuple[str, int], Entry] = {}
    for spot, each in spots.items():
        found = reading.found[spot]
        assert (found.share, found.dscp, found.through, found.output) == (each.share, each.dscp, (), "")
        assert found.expires == pytest.approx(each.expires, abs=2)
        assert bool(found.group) == (each.action is Action.GUARANTEE)
        if found.group:
            assert groups.setdefault((each.line, found.group), each) is each


def ping(host: Host, to: str, count: int = 5) -> None:
    host.run(["ping", "-c", str(count), "-i", "0.01", "-q", to])


def of(backend: TrafficControl, each: Entry) -> Counters:
    return backend.count()[each.key]


def classes(device: str) -> dict[int, Rates]:
    found = netlink.link(device)
    return {} if found is None else netlink.classes(found.index)


def test_what_was_planned_is_there(backend: TrafficControl) -> None:
    wanted = both()
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    assert classes("eth1")[WHOLE] == Rates(100 * MBIT, 100 * MBIT, 0)
    assert classes("asa-eth1")[DEFAULT] == Rates(5 * MBIT, 100 * MBIT, 7)
    assert set(backend.count()) == {each.key for each in wanted.entries.values() if each.share is not None}


def test_some_of_it_is_read(backend: TrafficControl) -> None:
    wanted = both()
    before = backend.read(list(wanted.entries))
    assert all(before.lines[each.name] for each in wanted.lines)
    assert before.found == {}
    backend.apply(wanted)
    whole = backend.read()
    for each in wanted.entries.values():
        found = backend.read([each.key])
        assert found.lines == {each.line: ""}
        assert found.found.keys() == {(each.line, each.action, match) for match in each.matches}
        for spot, its in found.found.items():
            assert dataclasses.replace(its, expires=None) == dataclasses.replace(whole.found[spot], expires=None)
            assert its.expires == pytest.approx(whole.found[spot].expires, abs=2)
    is_as_planned(backend.read(list(wanted.entries)), wanted)
    assert backend.read([]) == Reading()


def test_who_starts_anew_changes_nothing(backend: TrafficControl) -> None:
    wanted = both()
    backend.apply(wanted)
    changes = Changes("asa")
    try:
        assert changes.hears_tables
        eventually(lambda: not changes.wait(0.3))
        successor = new()
        assert successor.apply(wanted) == {}
        is_as_planned(successor.read(), wanted)
        is_as_planned(successor.read(list(wanted.entries)), wanted)
        assert successor.apply(wanted) == {}
        # A bridge has something to tell at times that are its own.
        assert {each for each in changes.wait(0.3) if each.what != "link"} == set()
        assert set(successor.count()) == set(backend.count())
        assert successor.apply(plan((OUT, IN))) == {}
        assert Change("nft") in changes.wait(5)
    finally:
        changes.close()


def test_packets_of_both_ways_are_counted(backend: TrafficControl, bridged: Between) -> None:
    there, back = entry(TO_RIGHT), entry(v4("10.0.0.2/32", None, 1), on="eth1:in", dscp=46)
    six = entry(v6("fd00::2/128", None, 58), on="eth1:in")
    assert backend.apply(plan((OUT, IN), there, back, six)) == {}
    ping(bridged.left, "10.0.0.2")
    assert of(backend, there).packets == of(backend, back).packets == 5
    ping(bridged.left, "fd00::2")
    assert of(backend, six).packets >= 5
    assert of(backend, there).packets == 5
    assert of(backend, there).bytes == 5 * 98


def test_a_share_that_changes_keeps_the_class_and_its_counters(backend: TrafficControl, bridged: Between) -> None:
    backend.apply(plan(OUT, entry(TO_RIGHT, share=Share(MBIT, MBIT))))
    ping(bridged.left, "10.0.0.2")
    for share in (Share(2 * MBIT, 8 * MBIT, 3), Share(8, 8 * MBIT), Share(95 * MBIT, 95 * MBIT)):
        changed = entry(TO_RIGHT, share=share)
        assert backend.apply(plan(OUT, changed)) == {}
        assert of(backend, changed).packets == 5
        is_as_planned(backend.read(), plan(OUT, changed))


def test_what_is_renewed_or_marked_otherwise_keeps_its_counters(backend: TrafficControl, bridged: Between) -> None:
    backend.apply(plan(OUT, entry(TO_RIGHT)))
    ping(bridged.left, "10.0.0.2")
    for more in ({"expires": int(time.time()) + 600}, {"dscp": 46}, {"dscp": 0}):
        changed = entry(TO_RIGHT, **more)
        assert backend.apply(plan(OUT, changed)) == {}
        assert of(backend, changed).packets == 5
        is_as_planned(backend.read(), plan(OUT, changed))


def test_entries_merge_and_part(backend: TrafficControl, bridged: Between) -> None:
    first, second = entry(TO_RIGHT), entry(SIX)
    backend.apply(plan(OUT, first, second))
    ping(bridged.left, "10.0.0.2")
    merged = entry(TO_RIGHT, SIX, share=Share(2 * MBIT, 2 * MBIT))
    for wanted in (plan(OUT, merged), plan(OUT, second, first), plan(OUT, merged), plan(OUT, first)):
        assert backend.apply(wanted) == {}
        is_as_planned(backend.read(), wanted)
        assert len(classes("eth1")) == 2 + len(wanted.entries)


@pytest.mark.parametrize("rate", [8, 16, 800, 8_000])
def test_the_least_rates(backend: TrafficControl, bridged: Between, rate: int) -> None:
    least = entry(TO_RIGHT, share=Share(rate, rate))
    assert backend.apply(plan(OUT, least)) == {}
    is_as_planned(backend.read(), plan(OUT, least))
    bridged.left.run(["ping", "-c", "1", "-W", "1", "-q", "10.0.0.2"], check=False)
    assert of(backend, least).packets == 1


def test_a_line_of_the_least_rate_and_one_of_the_greatest(backend: TrafficControl) -> None:
    tiny, huge = line(rate=16, floor=8), line("eth0", rate=400_000 * MBIT, floor=20_000 * MBIT)
    wanted = plan(
        (tiny, huge),
        entry(TO_RIGHT, share=Share(8, 8)),
        entry(TO_RIGHT, on=huge.name, share=Share(380_000 * MBIT, 400_000 * MBIT)),
    )
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)


def test_rules_end_by_themselves_and_their_classes_are_swept(backend: TrafficControl, bridged: Between) -> None:
    short, long = entry(SIX, expires=int(time.time()) + 2), entry(TO_RIGHT)
    backend.apply(plan(OUT, short, long))
    eventually(lambda: len(backend.read([short.key, long.key]).found) == 1)
    reading = backend.read()
    assert len(reading.found) == 1
    assert any("no rule leads to" in each for each in reading.strays)
    assert backend.apply(plan(OUT, long)) == {}
    is_as_planned(backend.read(), plan(OUT, long))


def test_one_that_is_over_is_refused_and_the_others_are_not(backend: TrafficControl) -> None:
    over, there = entry(SIX, expires=int(time.time()) - 5), entry(TO_RIGHT)
    assert backend.apply(plan(OUT, over, there)) == {over.key: "its time is over"}
    is_as_planned(backend.read(), plan(OUT, there))


# -- lines


def test_lines_come_change_and_go(backend: TrafficControl, bridged: Between) -> None:
    before = bridged.run("tc qdisc; nft list ruleset; ip -br link | awk '{print $1}'")
    first = entry(TO_RIGHT, share=Share(50 * MBIT, 50 * MBIT))
    wanted = plan(OUT, first)
    assert backend.apply(wanted) == {}
    ping(bridged.left, "10.0.0.2")
    other = entry(v4("10.0.0.2/32"), on="eth1:in")
    for wanted in (
        plan((OUT, IN), first, other),
        plan((line(rate=60 * MBIT, floor=10 * MBIT), IN), first, other),
        plan((IN, line(rate=600 * MBIT, floor=200 * MBIT, cleared=(46,))), first, other),
        plan(line(rate=600 * MBIT, floor=200 * MBIT, vouched=(ip_network("10.0.0.0/8"),), cleared=(46,)), first),
    ):
        assert backend.apply(wanted) == {}
        is_as_planned(backend.read(), wanted)
        assert of(backend, first).packets == 5
    assert backend.apply(plan(())) == {}
    assert "a5a:" not in bridged.run("tc qdisc; nft list ruleset")
    assert netlink.link("asa-eth1") is None
    backend.clear()
    assert bridged.run("tc qdisc; nft list ruleset; ip -br link | awk '{print $1}'") == before


def test_a_line_without_an_interface_holds_up_nobody(backend: TrafficControl, bridged: Between) -> None:
    absent = Line("eth9", "out", 8 * MBIT, 8_000), Line("eth8", "in", 8 * MBIT, 8_000)
    lost = [entry(TO_RIGHT, on=each.name) for each in absent]
    there = entry(TO_RIGHT)
    wanted = plan((OUT, *absent), there, *lost)
    assert backend.apply(wanted) == {
        lost[0].key: "there is no interface eth9", lost[1].key: "there is no interface eth8",
    }  # fmt: skip
    reading = backend.read()
    assert reading.lines == {
        "eth1:out": "", "eth9:out": "there is no interface eth9", "eth8:in": "there is no interface eth8",
    }  # fmt: skip
    assert len(reading.found) == 1
    assert set(backend.apply(wanted)) == {each.key for each in lost}
    bridged.run("ip link add eth9 type ifb; ip link add eth8 type ifb")
    backend.read()
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    ping(bridged.left, "10.0.0.2")
    assert of(backend, there).packets == 5


@pytest.mark.parametrize("root", ["handle 1: htb default 1", "handle 7: pfifo", "handle a5a: pfifo"])
def test_a_root_qdisc_of_somebody_else_s(backend: TrafficControl, bridged: Between, root: str) -> None:
    bridged.run(f"tc qdisc add dev eth1 root {root}")
    show = "tc qdisc | sed 's/direct_packets_stat.*//'; tc class show dev eth1"
    before = bridged.run(show)
    first, other = entry(TO_RIGHT), entry(TO_RIGHT, on="eth0:out")
    wanted = plan((OUT, line("eth0")), first, other)
    if "a5a" not in root:
        assert list(backend.apply(wanted)) == [first.key]
        assert "somebody else's" in backend.read().lines["eth1:out"]
        assert backend.read().lines["eth0:out"] == ""
        backend.clear()
        assert bridged.run(show) == before
    taker = new(take_over="a5a" not in root)
    assert taker.apply(wanted) == {}
    is_as_planned(taker.read(), wanted)


@pytest.mark.parametrize("kind", ["ingress", "clsact"])
def test_an_ingress_qdisc_of_somebody_else_s_stays(backend: TrafficControl, bridged: Between, kind: str) -> None:
    bridged.run(f"tc qdisc add dev eth1 {kind}")
    bridged.run("tc filter add dev eth1 parent ffff:fff2 protocol ip pref 9 u32 match ip src 10.9.9.9 flowid 1:1")
    before = bridged.run("tc qdisc; tc filter show dev eth1 ingress")
    wanted = plan(IN, entry(v4("10.0.0.2/32"), on=IN.name))
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    ping(bridged.left, "10.0.0.2")
    assert next(iter(backend.count().values())).packets >= 5
    backend.clear()
    assert bridged.run("tc qdisc; tc filter show dev eth1 ingress") == before


def test_a_device_of_somebody_else_s_is_left_alone(backend: TrafficControl, bridged: Between) -> None:
    bridged.run("ip link add asa-eth1 type ifb")
    wanted = plan((OUT, IN), entry(TO_RIGHT), entry(TO_RIGHT, on=IN.name))
    assert list(backend.apply(wanted).values()) == ["asa-eth1 is a device of somebody else's"]
    ping(bridged.left, "10.0.0.2")
    backend.clear()
    assert netlink.link("asa-eth1") is not None


def test_nothing_is_left_behind(backend: TrafficControl, bridged: Between) -> None:
    bridged.run("nft add table inet somebody; tc qdisc add dev eth0 root handle 7: pfifo; ip link add asa-0 type ifb")
    before = bridged.run("tc qdisc; nft list ruleset; ip -br link | awk '{print $1}'; tc filter show dev eth1 ingress")
    backend.apply(both())
    new().clear()
    assert (
        bridged.run("tc qdisc; nft list ruleset; ip -br link | awk '{print $1}'; tc filter show dev eth1 ingress")
        == before
    )
    backend.clear()
    assert (
        bridged.run("tc qdisc; nft list ruleset; ip -br link | awk '{print $1}'; tc filter show dev eth1 ingress")
        == before
    )


@pytest.mark.parametrize("tried", ["TrafficControl(Nftables(), False)", "Nftables()", "U32()"])
def test_an_unprivileged_one_is_told(bridged: Between, tried: str) -> None:
    program = (
        "from asa.dataplane.tc.control import TrafficControl; from asa.dataplane.nft.classifier import Nftables\n"
        "from asa.dataplane.backend import Unfit; from asa.dataplane.u32.classifier import U32\n"
        f"try: {tried}.probe(())\n"
        "except Unfit as error: print(error.message)"
    )
    done = bridged.node.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program])
    assert "not permitted" in done.stdout
    assert done.stdout.endswith(": it takes CAP_NET_ADMIN\n")


def test_rules_last_as_long_as_the_clock_it_is_given_says(bridged: Between) -> None:
    """A system whose clock was set back does not make them last longer."""
    ahead = 3_600
    backend = backend_for(EnforcementSection(backend="tc-nft"), (), lambda: time.time() + ahead)
    wanted = plan(OUT, entry(TO_RIGHT, expires=int(time.time()) + ahead + 300))
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    is_as_planned(backend.read(list(wanted.entries)), wanted)
    lasts = [int(each) for each in re.findall('"timeout": ([0-9]+)', bridged.run("nft -j list ruleset"))]
    assert len(lasts) == 1
    assert lasts[0] <= 300
    backend.close()


# -- what others do

DAMAGE = [
    "tc class del dev eth1 classid a5a:10",
    "tc class change dev eth1 parent a5a:1 classid a5a:10 htb rate 1mbit ceil 2mbit quantum 2000",
    "tc class change dev eth1 parent a5a: classid a5a:1 htb rate 1gbit ceil 1gbit quantum 2000",
    "tc class change dev eth1 parent a5a:1 classid a5a:ffff htb rate 1gbit ceil 1gbit quantum 2000",
    "tc class add dev eth1 parent a5a:1 classid a5a:777 htb rate 80mbit quantum 2000",
    "tc qdisc del dev eth1 root",
    "tc qdisc del dev eth1 root; tc qdisc add dev eth1 root handle a5a: htb default 1",
    "tc qdisc del dev asa-eth1 root",
    "tc qdisc del dev eth1 parent a5a:10 handle 10:",
    "tc qdisc del dev eth1 parent a5a:ffff handle 1:",
    "ip link del asa-eth1",
    "ip link set asa-eth1 down",
    "nft flush ruleset",
    "nft delete table netdev asa",
    "nft flush chain netdev asa out.eth1",
    "nft flush chain netdev asa in.eth1",
    "nft 'flush chain netdev asa in.eth1; delete chain netdev asa in.eth1'",
    "nft add rule netdev asa out.eth1 drop",
    "for m in $(nft -j list maps | grep -o 'out.eth1//[^\"]*'); do nft flush map netdev asa $m; done",
    "ip link set eth1 down; ip link set eth1 up",
    "ip link set eth1 name other; ip link set other name eth1",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_drift_is_seen_and_repaired(backend: TrafficControl, bridged: Between, damage: str) -> None:
    beside = entry(v4(None, "10.0.0.1/32", 1), on="eth0:out")
    wanted = both()
    wanted = plan((OUT, IN, line("eth0")), *wanted.entries.values(), beside)
    assert backend.apply(wanted) == {}
    ping(bridged.left, "10.0.0.2")
    before = backend.read()
    bridged.run(damage)
    harmless = damage.startswith("ip link set eth1") or "handle 10:" in damage
    after = backend.read()
    if not harmless:
        assert (after.lines, after.found, after.strays) != (before.lines, before.found, before.strays)
        assert differs(before, after)
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    # The others are not interrupted.
    assert of(backend, beside).packets == 5
    eventually(lambda: pings(bridged.left))
    assert of(backend, beside).packets > 5
    backend.clear()


def differs(before: Reading, after: Reading) -> bool:
    def timeless(reading: Reading) -> object:
        return {spot: dataclasses.replace(each, expires=None) for spot, each in reading.found.items()}

    return (before.lines, timeless(before), before.strays) != (after.lines, timeless(after), after.strays)


def pings(host: Host) -> bool:
    return host.run(["ping", "-c", "1", "-W", "1", "-q", "10.0.0.2"], check=False).returncode == 0


def test_an_interface_that_is_made_anew(backend: TrafficControl, bridged: Between) -> None:
    bridged.run("ip link add spare type veth peer name spare1; ip link set spare up; ip link set spare1 up")
    lines = line("spare"), line("spare", "in"), OUT
    there, back, other = entry(TO_RIGHT, on="spare:out"), entry(TO_RIGHT, on="spare:in"), entry(TO_RIGHT)
    wanted = plan(lines, there, back, other)
    assert backend.apply(wanted) == {}
    ping(bridged.left, "10.0.0.2")
    bridged.run("ip link del spare")
    reading = backend.read()
    assert reading.lines["spare:out"] == reading.lines["spare:in"] == "there is no interface spare"
    assert backend.apply(wanted).keys() == {there.key, back.key}
    bridged.run("ip link add spare type veth peer name spare1; ip link set spare up; ip link set spare1 up")
    assert backend.read().lines["spare:out"]
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    assert of(backend, other).packets == 5


def test_an_interface_that_is_made_anew_unseen(backend: TrafficControl, bridged: Between) -> None:
    again = (
        "ip link add spare type veth peer name spare1; ip link set spare up; ip link set spare1 up; "
        "ip address add 10.8.0.1/24 dev spare"
    )
    bridged.run(again)
    there = entry(v4(None, "10.8.0.2/32"), on="spare:out")
    wanted = plan((line("spare"), line("spare", "in")), there)
    assert backend.apply(wanted) == {}
    bridged.run(f"ip link del spare; {again}")
    backend.read()
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    # The chain hangs at the new one.
    bridged.run(
        "ip neigh add 10.8.0.2 lladdr 02:00:00:00:00:09 dev spare; ping -c 3 -i 0.01 -W 0.1 -q 10.8.0.2", check=False
    )
    assert of(backend, there).packets == 3


def test_an_interface_of_another_name(backend: TrafficControl, bridged: Between) -> None:
    wanted = plan((OUT, IN), entry(TO_RIGHT), entry(TO_RIGHT, on=IN.name))
    backend.apply(wanted)
    bridged.run("ip link set eth1 name lan1")
    reading = backend.read()
    assert set(reading.lines.values()) == {"there is no interface eth1"}
    assert any("lan1" in each for each in reading.strays)
    assert set(backend.apply(wanted)) == set(wanted.entries)
    assert netlink.queues().roots[netlink.links()["lan1"].index].handle == 0
    moved = plan(
        (line("lan1"), line("lan1", "in")), entry(TO_RIGHT, on="lan1:out"), entry(v4("10.0.0.2/32"), on="lan1:in")
    )
    assert backend.apply(moved) == {}
    is_as_planned(backend.read(), moved)
    ping(bridged.left, "10.0.0.2")
    assert {each.packets for each in backend.count().values()} == {5} or all(
        each.packets >= 5 for each in backend.count().values()
    )


def test_what_changed_unseen_fails_for_those_it_concerns_and_is_mended(
    backend: TrafficControl, bridged: Between
) -> None:
    first, second = entry(TO_RIGHT), entry(SIX)
    backend.apply(plan(OUT, first, second))
    bridged.run("tc class del dev eth1 classid a5a:10")
    more = Share(2 * MBIT, 2 * MBIT)
    wanted = plan(OUT, entry(TO_RIGHT, share=more), entry(SIX, share=more), entry(v4("10.0.0.9/32")))
    failed = backend.apply(wanted)
    assert len(failed) == 1
    assert "cannot be made" in next(iter(failed.values()))
    assert len(backend.read([entry(SIX).key]).found) == 1
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)


def test_a_class_that_does_not_shrink_leaves_no_room(backend: TrafficControl, bridged: Between) -> None:
    backend.apply(plan(OUT, entry(TO_RIGHT, share=Share(90 * MBIT, 90 * MBIT))))
    # Its number is taken for a moment by what nobody knows of.
    bridged.run("tc class del dev eth1 classid a5a:10")
    wanted = plan(OUT, entry(TO_RIGHT), entry(SIX, share=Share(90 * MBIT, 90 * MBIT)))
    failed = backend.apply(wanted)
    assert len(failed) == 2
    guaranteed = sum(each.guarantee for number, each in classes("eth1").items() if number != WHOLE)
    assert guaranteed <= 100 * MBIT
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)


def test_what_could_not_shrink_before_it_ends_leaves_no_room(backend: TrafficControl, bridged: Between) -> None:
    near, far = v4("10.0.0.1/32"), v4("10.0.0.3/32")
    backend.apply(
        plan(OUT, entry(near, share=Share(10 * MBIT, MBIT * 10)), entry(far, share=Share(60 * MBIT, 60 * MBIT)))
    )
    ends = backend.read().found["eth1:out", Action.GUARANTEE, far].group
    bridged.run(f"tc class del dev eth1 classid a5a:{ends:x}")
    wanted = plan(OUT, entry(near, far, share=Share(90 * MBIT, 90 * MBIT)))
    assert backend.apply(wanted).keys() == wanted.entries.keys()
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)


def test_what_ends_on_one_line_makes_no_room_on_another(backend: TrafficControl, bridged: Between) -> None:
    """Their classes have the same numbers."""
    near, far, beside = v4("10.0.0.1/32"), v4("10.0.0.3/32"), line("eth0")
    others = entry(near, on="eth0:out"), entry(far, on="eth0:out")
    grows, shrinks = (entry(each, share=Share(n * MBIT, n * MBIT)) for each, n in ((near, 30), (far, 60)))
    backend.apply(plan((OUT, beside), *others, grows, shrinks))
    found = backend.read().found
    ends = found["eth0:out", Action.GUARANTEE, far].group
    assert found["eth1:out", Action.GUARANTEE, far].group == ends
    bridged.run(f"tc class del dev eth1 classid a5a:{ends:x}")
    wanted = plan(
        (OUT, beside), entry(near, far, on="eth0:out"), entry(near, share=Share(90 * MBIT, 90 * MBIT)), entry(far)
    )
    assert backend.apply(wanted).keys() == {grows.key, shrinks.key}
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)


@pytest.mark.parametrize("table", ["netdev", "bridge"])
@pytest.mark.parametrize(
    "damage",
    [
        "flush chain {} asa out.eth1",
        "insert rule {} asa out.eth1 drop",
        "flush chain {0} asa out.eth1; add rule {0} asa out.eth1 accept comment unlike",
    ],
)
def test_what_rests_on_rules_that_are_not_there_is_not_in_place(
    backend: TrafficControl, bridged: Between, table: str, damage: str
) -> None:
    first, second = entry(v4(None, "10.0.0.2/32")), entry(v4(None, "10.0.0.9/32"))
    backend.apply(plan((OUT, IN), first))
    bridged.run(f"nft '{damage.format(table)}'")
    wanted = plan((OUT, IN), first, second)
    assert backend.apply(wanted) == {}
    assert backend.read([second.key]).lines == {"eth1:out": "the chain of eth1:out has other rules than it shall have"}
    assert backend.apply(wanted) == {}
    assert backend.read([second.key]).lines == {"eth1:out": ""}
    is_as_planned(backend.read(), wanted)


def test_a_rule_without_its_copy_is_not_in_place(backend: TrafficControl, bridged: Between) -> None:
    first, second = entry(v4(None, "10.0.0.2/32")), entry(v4(None, "10.0.0.9/32"))
    wanted = plan((OUT, IN), first, second)
    backend.apply(wanted)
    assert len(backend.read([first.key, second.key]).found) == 2
    bridged.run("nft delete element bridge asa out.eth1//g.4.n.32.n.n.n.n.n '{ 10.0.0.9 }'")
    assert backend.read([first.key, second.key]).found.keys() == {
        ("eth1:out", Action.GUARANTEE, each) for each in first.matches
    }


def test_another_classifier_s_filters_are_swept(backend: TrafficControl, bridged: Between) -> None:
    """Each holds the class it leads to."""
    before = TrafficControl(U32(), False)
    assert before.apply(plan(OUT, entry(TO_RIGHT), entry(v4("10.0.0.9/32")))) == {}
    before.close()
    bridged.run("tc filter add dev eth1 parent a5a: pref 7 protocol ip u32 match u32 0 0 classid a5a:ffff")
    wanted = plan(OUT, entry(SIX))
    assert "u32 filters of ours on eth1" in backend.read().strays
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    assert "pref 2650" not in (told := bridged.run("tc filter show dev eth1"))
    assert "pref 7" in told
    assert set(classes("eth1")) - {WHOLE, DEFAULT} == {each.group for each in backend.read().found.values()}


def test_guarantees_are_never_more_than_the_line_has(backend: TrafficControl, bridged: Between) -> None:
    most = 95
    watch = subprocess.Popen(
        ["ip", "netns", "exec", bridged.node.netns, "tc", "monitor"], stdout=subprocess.PIPE, text=True
    )
    eventually(lambda: watch.poll() is None)
    time.sleep(0.3)
    a, b = v4("10.0.0.1/32"), v4("10.0.0.3/32")
    for first in (most - 1, 1, 60, 35, most - 1):
        shares = (first, most - first)
        wanted = plan(
            OUT, *(entry(each, share=Share(n * MBIT, n * MBIT)) for each, n in zip((a, b), shares, strict=True))
        )
        assert backend.apply(wanted) == {}
    assert backend.apply(plan(OUT, entry(a, b, share=Share(most * MBIT, most * MBIT)))) == {}
    assert backend.apply(plan(OUT, entry(b, share=Share(most * MBIT, most * MBIT)))) == {}
    time.sleep(0.3)
    watch.terminate()
    seen: dict[str, int] = {}
    for text in watch.communicate()[0].splitlines():
        words = text.split()
        if "class" not in words or words[words.index("class") + 2] == "a5a:1":
            continue
        number = words[words.index("class") + 2]
        if words[0] == "deleted":
            seen.pop(number, None)
            continue
        seen[number] = rate_of(words[words.index("rate") + 1])
        assert sum(seen.values()) <= 100 * MBIT + 16, (text, seen)
    assert len(seen) >= 2


def rate_of(text: str) -> int:
    for unit, factor in (("Gbit", 10**9), ("Mbit", 10**6), ("Kbit", 10**3), ("bit", 1)):
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * factor
    raise AssertionError(text)


def test_a_class_of_another_line_means_nothing_here(backend: TrafficControl, bridged: Between) -> None:
    """Packets that come through the queue of one line do not take their class along to the next."""
    inward = entry(v4("10.0.0.1/32"), on="eth0:in")
    decoy = entry(v4("10.7.7.7/32"))
    assert backend.apply(plan((line("eth0", "in"), OUT), inward, decoy)) == {}
    ping(bridged.left, "10.0.0.2")
    assert of(backend, inward).packets >= 5
    assert of(backend, decoy).packets == 0


def test_packets_routed_from_the_queue_of_one_line_to_that_of_another(routed: Between) -> None:
    """They pass no egress hook on the way out."""
    backend = new()
    lines = line("eth0", "in"), line("eth1"), line("eth1", "in"), line("eth0")
    inward, outward = entry(v4("10.0.1.1/32"), on="eth0:in"), entry(v4("10.0.0.0/16", "10.0.2.1/32", 1), dscp=46)
    six = entry(v6("fd00:1::/32", None, 58), dscp=10)
    wanted = plan(lines, inward, outward, six)
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    watch = routed.right.run
    watch(["nft", "-f", "-"], input=COUNT)
    ping(routed.left, "10.0.2.1")
    ping(routed.left, "fd00:2::1")
    assert [of(backend, each).packets for each in (inward, outward)] == [5, 5]
    assert of(backend, six).packets >= 5
    assert (
        watch(["sh", "-c", "nft list ruleset | grep -o 'packets [0-9]*'"]).stdout.split("\n")[:2] == ["packets 5"] * 2
    )
    # What the node itself sends passes it.
    routed.run("ping -c 5 -i 0.01 -q 10.0.2.1")
    assert of(backend, outward).packets == 10
    assert backend.apply(plan(lines, inward, six)) == {}
    ping(routed.left, "10.0.2.1")
    assert len(backend.count()) == 2
    assert set(routed.run("nft list tables").splitlines()) == {"table netdev asa", "table inet asa"}
    less = plan(line("eth1"), outward)
    assert backend.apply(less) == {}
    is_as_planned(backend.read(), less)
    assert routed.run("nft list tables") == "table netdev asa\n"


COUNT = """
table inet count {
    chain c {
        type filter hook input priority 0;
        icmp type echo-request ip dscp 46 counter
        icmpv6 type echo-request ip6 dscp 10 counter
    }
}
"""


def test_unreserved_packets_routed_from_a_queue_lose_markings(routed: Between) -> None:
    backend = new()
    assert backend.apply(plan((line("eth0", "in"), line("eth1", cleared=(46, 10))))) == {}
    routed.right.run(["nft", "-f", "-"], input=COUNT)
    routed.left.run(["ping", "-c", "5", "-i", "0.01", "-Q", "184", "-q", "10.0.2.1"])
    routed.left.run(["ping", "-c", "5", "-i", "0.01", "-Q", "40", "-q", "fd00:2::1"])
    told = routed.right.run(["sh", "-c", "nft list ruleset | grep -o 'packets [0-9]*'"]).stdout
    assert told.split("\n")[:2] == ["packets 0"] * 2


@pytest.mark.parametrize("family", ["bridge", "inet"])
@pytest.mark.parametrize(
    "damage",
    ["nft delete table {} asa", "nft flush table {} asa", "nft add rule {} asa out.eth1 drop", "nft add map {} asa m "
     "'{{ type ipv4_addr : classid; }}'",
     "for m in $(nft -j list maps | grep -o 'out.eth1//[^\"]*'); do nft flush map {} asa $m 2>/dev/null; done; true"],
)  # fmt: skip
def test_drift_of_copies_is_seen_and_repaired(
    backend: TrafficControl, bridged: Between, family: str, damage: str
) -> None:
    if family == "inet":
        bridged.run("ip link set eth1 nomaster")
    wanted = both()
    assert backend.apply(wanted) == {}
    before = backend.read()
    bridged.run(damage.format(family))
    after = backend.read()
    assert (after.lines["eth1:out"], after.strays) != ("", ())
    assert after.found.keys() == before.found.keys()
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)


def test_a_port_that_leaves_its_bridge(backend: TrafficControl, bridged: Between) -> None:
    wanted = both()
    assert backend.apply(wanted) == {}
    assert "table bridge asa" in bridged.run("nft list tables")
    bridged.run("ip link set eth1 nomaster")
    assert backend.read().lines["eth1:out"]
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    assert set(bridged.run("nft list tables").splitlines()) == {"table netdev asa", "table inet asa"}


def test_a_system_that_does_not_answer(bridged: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = new()
    wanted = plan(OUT, entry(TO_RIGHT))
    backend.apply(wanted)
    monkeypatch.setattr("asa.dataplane.commands._ENVIRONMENT", {"PATH": "/nowhere"})
    with pytest.raises(Unfit, match="there is no program"):
        backend.apply(plan(OUT, entry(SIX)))
    monkeypatch.undo()
    wanted = plan(OUT, entry(SIX))
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)


def test_many(backend: TrafficControl) -> None:
    big = line(rate=10_000 * MBIT, floor=500 * MBIT)
    entries = [entry(v4(f"10.1.{each >> 8}.{each & 255}/32"), dscp=46 if each % 2 else None) for each in range(600)]
    wanted = plan(big, *entries)
    assert backend.apply(wanted) == {}
    is_as_planned(backend.read(), wanted)
    is_as_planned(backend.read(list(wanted.entries)), wanted)
    assert len(backend.count()) == 600
    less = plan(big, *entries[:300])
    assert backend.apply(less) == {}
    is_as_planned(backend.read(), less)
