"""The back end for Open vSwitch, with real daemons: what it makes of a plan, and what it makes good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from asa.dataplane.backend import Backend, EnforcementFailed, Unfit
from asa.dataplane.match import Match
from asa.dataplane.openvswitch import kernel, ovsdb, queues
from asa.dataplane.openvswitch.backend import NOTES, SYSTEM, USERSPACE, notes_of
from asa.dataplane.openvswitch.topology import Port as SwitchPort
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.flows import Mac, Port

from .ovs import IN, MBIT, OUT, TCP, UDP, Node, entry, eventually, node, plan

ANY_MAC = Match(0, Mac("02:00:00:00:00:0a"))
V6 = Match(6, ip_network("fd00::/64"), None, vlan=5)


@pytest.fixture(scope="module")
def shared() -> Iterator[Node]:
    with node() as found:
        yield found


@pytest.fixture
def here(shared: Node) -> Iterator[Node]:
    yield shared
    shared.backend(take_over=True).clear()


@pytest.fixture
def own() -> Iterator[Node]:
    """For what stops the daemons."""
    with node() as found:
        yield found


def ours(here: Node) -> tuple[int, int, int, int]:
    """Flows, QoS rows, Queue rows and meters that are there."""
    flows = here.switch.ofctl("dump-flows", "br0", "cookie=0xa5a000000000000/0xffff000000000000").count("cookie=")
    rows = [
        len(json.loads(here.switch.vsctl("--format=json", "--columns=_uuid", "list", each))["data"])
        for each in ("QoS", "Queue")
    ]
    return flows, rows[0], rows[1], here.switch.ofctl("dump-meters", "br0").count("meter=")


def assert_as_planned(backend: Backend, wanted: Plan, tolerance: float = 2.0) -> None:
    reading = backend.read()
    assert dict(reading.lines) == {each.name: "" for each in wanted.lines}
    assert reading.strays == ()
    spots = {(key[0], key[1], match): each for key, each in wanted.entries.items() for match in each.matches}
    assert set(reading.found) == set(spots)
    for spot, each in spots.items():
        found = reading.found[spot]
        assert (found.share, found.dscp, found.through, found.output) == (
            each.share, each.dscp, each.through, each.output
        )  # fmt: skip
        assert bool(found.group) == (each.share is not None)
        assert found.expires is not None
        assert abs(found.expires - each.expires) < tolerance
    groups = {(spot[0], found.group): set[object]() for spot, found in reading.found.items() if found.group}
    for key, each in wanted.entries.items():
        for match in each.matches if each.share is not None else ():
            groups[key[0], reading.found[key[0], key[1], match].group].add(key)
    # Each entry has a queue of its own.
    assert all(len(keys) == 1 for keys in groups.values())
    assert len(groups) == sum(each.share is not None for each in wanted.entries.values())


EVERYTHING = [
    lambda: entry(TCP, UDP), lambda: entry(ANY_MAC, share=Share(8 * MBIT, 30 * MBIT, 3), dscp=10),
    lambda: entry(V6, share=None), lambda: entry(TCP, line=IN, share=Share(MBIT, 20 * MBIT)),
]  # fmt: skip


def test_what_is_planned_is_read_back_and_clearing_leaves_nothing(here: Node) -> None:
    backend, wanted = here.backend(), plan(*(each() for each in EVERYTHING))
    assert backend.probe(wanted.lines).actions == frozenset(Action)
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)
    groups = {spot: found.group for spot, found in backend.read().found.items()}
    assert groups[OUT.name, Action.GUARANTEE, TCP] == groups[OUT.name, Action.GUARANTEE, UDP]
    assert kernel.classes("br0-b")[kernel.class_of(groups[OUT.name, Action.GUARANTEE, TCP])] == (
        20 * MBIT, 20 * MBIT, 1
    )  # fmt: skip
    assert kernel.classes("br0-b")[kernel.DEFAULT] == (5 * MBIT, 100 * MBIT, 7)
    backend.clear()
    assert ours(here) == (0, 0, 0, 0)
    assert "asa_ovs" not in here.host.run(["nft", "list", "tables"]).stdout
    eventually(lambda: not kernel.shaped("br0-b"))


def test_a_few_are_read_by_themselves(here: Node) -> None:
    backend, wanted = here.backend(), plan(*(each() for each in EVERYTHING))
    backend.apply(wanted)
    everything = backend.read()
    for key, each in wanted.entries.items():
        some = backend.read([key])
        assert set(some.found) == {(key[0], key[1], match) for match in each.matches}
        assert dict(some.lines) == {key[0]: ""}
        for spot, found in some.found.items():
            assert replace(found, expires=None) == replace(everything.found[spot], expires=None)
    here.switch.ofctl("del-flows", "br0", "table=242,udp")
    tcp_and_udp = next(key for key in wanted.entries if TCP in key[2] and key[0] == OUT.name)
    assert set(backend.read([tcp_and_udp]).found) == {(OUT.name, Action.GUARANTEE, TCP)}


def test_what_is_as_it_shall_be_is_not_touched_and_shares_change_in_place(here: Node) -> None:
    backend, first = here.backend(), plan(entry(TCP), entry(V6, share=None))
    backend.apply(first)
    before = backend.read().found[OUT.name, Action.GUARANTEE, TCP]
    flows = here.switch.ofctl("dump-flows", "br0", "table=242,tcp")
    assert backend.apply(first) == {}
    assert "n_packets" in flows
    changed = plan(entry(TCP, share=Share(30 * MBIT, 40 * MBIT)), entry(V6, share=None))
    assert backend.apply(changed) == {}
    assert_as_planned(backend, changed)
    assert backend.read().found[OUT.name, Action.GUARANTEE, TCP].group == before.group
    later = plan(entry(TCP, share=Share(30 * MBIT, 40 * MBIT), left=500), entry(V6, share=None, left=500))
    assert backend.apply(later) == {}
    assert_as_planned(backend, later)


@pytest.mark.parametrize("anew", [False, True])
def test_what_comes_later_has_a_queue_or_a_meter_of_its_own(here: Node, anew: bool) -> None:
    backend, entries = here.backend(), list[Entry]()
    for match in (TCP, UDP, ANY_MAC):
        for line in (OUT, IN):
            entries.append(entry(match, line=line, share=Share((len(entries) + 1) * MBIT, 20 * MBIT)))
            if anew:
                backend = here.backend()
            assert backend.apply(plan(*entries)) == {}
            assert_as_planned(backend, plan(*entries))
    # One that went makes room.
    assert backend.apply(plan(*entries[2:])) == {}
    assert backend.apply(plan(*entries)) == {}
    assert_as_planned(backend, plan(*entries))


def test_guarantees_that_change_places_never_exceed_the_line(here: Node) -> None:
    backend = here.backend()
    backend.apply(plan(entry(TCP, share=Share(80 * MBIT, 80 * MBIT)), entry(UDP, share=Share(15 * MBIT, 15 * MBIT))))
    swapped = plan(entry(TCP, share=Share(15 * MBIT, 15 * MBIT)), entry(UDP, share=Share(80 * MBIT, 80 * MBIT)))
    assert backend.apply(swapped) == {}
    assert_as_planned(backend, swapped)


def test_an_agent_that_starts_anew_adopts_what_is_there(here: Node) -> None:
    wanted = plan(*(each() for each in EVERYTHING))
    before = here.backend()
    before.apply(wanted)
    groups = {spot: found.group for spot, found in before.read().found.items()}
    created = [line.split()[1] for line in here.switch.ofctl("dump-flows", "br0", "table=242").splitlines()[1:]]
    after = here.backend()
    assert after.apply(wanted) == {}
    assert_as_planned(after, wanted)
    assert {spot: found.group for spot, found in after.read().found.items()} == groups
    ages = [line.split()[1] for line in here.switch.ofctl("dump-flows", "br0", "table=242").splitlines()[1:]]
    # None was made anew.
    assert all(
        float(a[len("duration=") : -2]) >= float(c[len("duration=") : -2]) for a, c in zip(ages, created, strict=True)
    )  # fmt: skip


def test_what_is_not_wanted_any_more_goes_with_its_queue(here: Node) -> None:
    backend = here.backend()
    backend.apply(plan(*(each() for each in EVERYTHING)))
    rest = plan(EVERYTHING[0]())
    assert backend.apply(rest) == {}
    assert_as_planned(backend, rest)
    assert set(kernel.classes("br0-b")) - {kernel.WHOLE, kernel.DEFAULT} == {kernel.class_of(0x100)}
    assert ours(here)[3] == 0
    assert backend.apply(plan(lines=())) == {}
    assert ours(here) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "harm",
    [
        "del-flows", "queue", "qos", "class", "root", "leaf", "nft", "meter", "altered flow", "flow of nobody",
        "loose queue",
    ],
)  # fmt: skip
def test_drift_is_seen_and_made_good(here: Node, harm: str) -> None:
    backend, wanted = here.backend(), plan(*(each() for each in EVERYTHING))
    backend.apply(wanted)
    switch, host = here.switch, here.host
    if harm == "del-flows":
        switch.ofctl("del-flows", "br0")
        switch.ofctl("add-flow", "br0", "priority=0,actions=NORMAL")
    elif harm == "queue":
        row = json.loads(switch.vsctl("--format=json", "--columns=queues", "list", "QoS"))["data"][0][0][1]
        uuid = next(each[1] for number, each in row if number == 0x100)
        switch.vsctl("set", "Queue", uuid, "other_config:max-rate=30000000")
    elif harm == "qos":
        switch.vsctl("clear", "Port", "br0-b", "qos")
    elif harm == "class":
        host.run(["tc", "class", "change", "dev", "br0-b", "parent", "1:fffe", "classid", "1:101", "htb", "rate",
                  "1mbit"])  # fmt: skip
    elif harm == "root":
        host.run(["tc", "qdisc", "del", "dev", "br0-b", "root"])
    elif harm == "leaf":
        host.run(["tc", "qdisc", "del", "dev", "br0-b", "parent", "1:1"])
    elif harm == "nft":
        host.run(["nft", "flush", "ruleset"])
    elif harm == "meter":
        switch.ofctl("mod-meter", "br0", "meter=173670656,kbps,burst,stats,band=type=drop,rate=1,burst_size=9")
    elif harm == "altered flow":
        switch.ofctl("mod-flows", "br0", "cookie=0xa5a000000000000/-1,table=242,tcp,actions=drop")
    elif harm == "flow of nobody":
        switch.ofctl("add-flow", "br0", "cookie=0xa5a000000000000,table=242,priority=7000,ip,nw_proto=89,actions=drop")
    else:
        switch.vsctl("create", "Queue", "external_ids:asa=br0-b:out", "other_config:min-rate=9")
    reading = backend.read()
    intact = (
        not reading.strays and not any(reading.lines.values()) and len(reading.found) == 5
        and all(found.share is not None or action is Action.KEEP for (_, action, _), found in reading.found.items())
        and all(
            reading.found[line, action, match].share == each.share
            for (line, action, matches), each in wanted.entries.items() for match in matches
        )
    )  # fmt: skip
    assert not intact
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)


def test_the_flows_and_queues_of_others_are_left_alone(here: Node) -> None:
    here.switch.ofctl("add-flow", "br0", "cookie=0x77,table=242,priority=5,udp,actions=drop")
    here.switch.vsctl("create", "Queue", "other_config:min-rate=7000000")
    backend = here.backend()
    backend.apply(plan(entry(TCP)))
    backend.clear()
    assert "cookie=0x77" in here.switch.ofctl("dump-flows", "br0")
    assert "7000000" in here.switch.vsctl("list", "Queue")
    here.switch.ofctl("del-flows", "br0", "cookie=0x77/-1")
    here.switch.vsctl("--all", "destroy", "Queue")


@pytest.mark.parametrize("whose", ["QoS", "qdisc"])
def test_what_somebody_else_shapes_is_refused_unless_told_to_take_over(here: Node, whose: str) -> None:
    if whose == "QoS":
        here.switch.vsctl("set", "Port", "br0-b", "qos=@q", "--", "--id=@q", "create", "QoS", "type=linux-htb",
                          "other_config:max-rate=1000000")  # fmt: skip
    else:
        here.host.run(["tc", "qdisc", "add", "dev", "br0-b", "root", "handle", "7:", "htb"])
    try:
        backend, refused = here.backend(), entry(TCP)
        wanted = plan(refused, entry(TCP, line=IN))
        failed = backend.apply(wanted)
        assert list(failed) == [refused.key]
        assert "somebody else" in failed[refused.key]
        # The other line is not held up.
        assert set(backend.read().found) == {(IN.name, Action.GUARANTEE, TCP)}
        taking = here.backend(take_over=True)
        assert taking.apply(wanted) == {}
        assert_as_planned(taking, wanted)
    finally:
        here.switch.vsctl("clear", "Port", "br0-b", "qos", "--", "--all", "destroy", "QoS")


def test_nothing_is_installed_without_time_left(here: Node) -> None:
    backend, late, far = here.backend(), entry(TCP, left=-5), entry(UDP, left=70_000)
    failed = backend.apply(plan(late, far, entry(V6, share=None)))
    assert "time is over" in failed[late.key]
    assert "65535" in failed[far.key]
    assert set(backend.read().found) == {(OUT.name, Action.KEEP, V6)}


def test_rules_end_by_themselves(here: Node) -> None:
    backend = here.backend()
    backend.apply(plan(entry(TCP, left=2), entry(UDP)))
    eventually(lambda: set(backend.read().found) == {(OUT.name, Action.GUARANTEE, UDP)})
    assert "hard_timeout=0" not in here.switch.ofctl("dump-flows", "br0")


def test_lines_that_are_none_are_refused_by_name(here: Node) -> None:
    nowhere = Line("eth9", "out", 100 * MBIT, 5 * MBIT)
    backend, lost = here.backend(), entry(TCP, line=nowhere)
    assert "eth9 is no port" in "".join(backend.probe([OUT, nowhere]).notes)
    failed = backend.apply(plan(lost, entry(TCP), lines=(OUT, nowhere)))
    assert list(failed) == [lost.key]
    assert backend.read().lines[nowhere.name] == "eth9 is no port of a bridge of Open vSwitch"
    with pytest.raises(Unfit, match="eth9 is no port"):
        backend.probe([nowhere])


def test_what_is_to_be_known_depends_on_the_datapath(here: Node) -> None:
    notes = here.backend().probe([OUT, IN]).notes
    assert USERSPACE in notes
    assert SYSTEM not in notes
    port = SwitchPort("eth0", "row", "br0", 1, "", True, "", False, "OpenFlow14")
    assert set(notes_of([port])) == {*NOTES, SYSTEM}


def test_a_queue_has_no_less_than_ovs_vswitchd_gives(here: Node) -> None:
    backend, wanted = here.backend(), plan(entry(TCP, share=Share(8_000, 16_000)))
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)
    assert kernel.classes("br0-b")[kernel.class_of(queues.FIRST)] == (12_000, 16_000, 1)


def test_one_match_has_one_queue_in_a_bridge(here: Node) -> None:
    there = Line("br0-a", "out", 100 * MBIT, 5 * MBIT)
    first, second = entry(TCP), entry(TCP, line=there)
    failed = here.backend().apply(plan(first, second, lines=(OUT, there)))
    assert list(failed) == [second.key]
    assert "br0-b:out" in failed[second.key]


def test_a_bridge_that_allows_no_suitable_protocol_is_refused(here: Node) -> None:
    here.switch.vsctl("set", "Bridge", "br0", "protocols=OpenFlow10")
    try:
        with pytest.raises(Unfit, match="br0 allows none of OpenFlow14"):
            here.backend().probe([OUT])
        here.switch.vsctl("set", "Bridge", "br0", "protocols=OpenFlow10,OpenFlow13")
        backend, wanted = here.backend(), plan(entry(TCP), entry(TCP, line=IN))
        assert backend.apply(wanted) == {}
        assert_as_planned(backend, wanted)
    finally:
        here.switch.vsctl("clear", "Bridge", "br0", "protocols")


def test_who_is_not_known_gets_no_copies_and_no_steered_packets(here: Node) -> None:
    backend = here.backend()
    steered, copied = entry(TCP, through=("10.0.0.77",)), entry(UDP, output="02:00:00:00:00:99")
    failed = backend.apply(plan(steered, copied))
    assert "10.0.0.77" in failed[steered.key]
    assert "does not know behind which port 02:00:00:00:00:99" in failed[copied.key]
    here.switch.vsctl("set", "Interface", "br0-b", 'external_ids:attached-mac="02:00:00:00:00:99"')
    wanted = plan(entry(TCP, through=("02:00:00:00:00:98", "02:00:00:00:00:99")), copied)
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)
    here.switch.vsctl("clear", "Interface", "br0-b", "external_ids")


def test_all_comes_back_after_ovs_vswitchd_was_killed(own: Node) -> None:
    backend, wanted = own.backend(), plan(*(each() for each in EVERYTHING))
    backend.apply(wanted)
    own.switch.kill_daemon()
    with pytest.raises(EnforcementFailed):
        backend.read()
    own.switch.start_daemon()
    # Its flows and meters went with it.
    assert backend.read().found == {}
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)


def test_a_short_absence_of_ovsdb_server_is_waited_out(own: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, wanted = own.backend(), plan(entry(TCP))
    backend.apply(wanted)
    own.switch.kill_server()
    own.switch.start_server()
    more = plan(entry(TCP), entry(UDP))
    assert backend.apply(more) == {}
    assert_as_planned(backend, more)
    own.switch.kill_server()
    monkeypatch.setattr(ovsdb, "CONNECT_LIMIT_S", 0.2)
    with pytest.raises(EnforcementFailed, match="cannot be reached"):
        backend.apply(plan(entry(TCP)))
    own.switch.start_server()
    assert backend.apply(more) == {}
    assert_as_planned(backend, more)


def test_it_is_not_done_before_ovs_vswitchd_has_acted(own: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = own.backend()
    backend.apply(plan(entry(TCP)))
    own.switch.kill_daemon()
    monkeypatch.setattr(ovsdb, "TIME_LIMIT_S", 0.5)
    with pytest.raises(EnforcementFailed):
        backend.apply(plan(entry(TCP, share=Share(30 * MBIT, 30 * MBIT))))
    own.switch.start_daemon()
    wanted = plan(entry(TCP, share=Share(30 * MBIT, 30 * MBIT)))
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)


def test_a_port_that_is_made_anew_is_shaped_anew(own: Node) -> None:
    backend, wanted = own.backend(), plan(*(each() for each in EVERYTHING))
    backend.apply(wanted)
    own.switch.vsctl("del-port", "br0", "br0-b", "--", "del-port", "br0", "br0-a")
    own.host.ip("link del br0-b", "link del br0-a")
    refused = backend.apply(wanted)
    assert set(refused) == set(wanted.entries)
    # In another order, so that their numbers are others'.
    own.switch.attach("br0", own.b, "10.0.0.2/24")
    own.switch.attach("br0", own.a, "10.0.0.1/24")
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)


def test_many_are_counted_and_only_those_with_a_queue(here: Node) -> None:
    matches = [Match(4, ip_network((10 << 24) + n + 256), None, 17, None, Port(9)) for n in range(200)]
    backend = here.backend()
    wanted = plan(*(entry(each, share=Share(100_000, 200_000)) for each in matches), entry(V6, share=None))
    assert backend.apply(wanted) == {}
    assert_as_planned(backend, wanted)
    counted = backend.count()
    assert set(counted) == {key for key in wanted.entries if key[1] is Action.GUARANTEE}
    assert all(each.bytes == each.dropped == 0 for each in counted.values())
