"""Which lines there are, and what packets of a reservation get on them, from placement on: each case by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.config import AgentSection, Config, EnforcementSection, FlowsSection, LinkSection, RouteSection
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Share
from asa.dataplane.planning import compose, entries_of, lines_of
from asa.flows import Place, Port
from asa.hosts import HostTable
from asa.placement import Surroundings, place
from asa.reach import Map
from asa.records import Kind, Reservation, ReservationState
from asa.routing import Routes
from asa.traffic import BUILT_IN, TrafficClass, TrafficClasses
from asa.whereabouts import limits
from objectives import NodeId, Window

AGENT = AgentSection("me", "origin")
SERVES = (ip_network("10.0.1.0/24"), ip_network("10.0.2.0/24"))
ROUTES = (
    RouteSection(ip_network("10.0.1.0/24"), "eth1", ()),
    RouteSection(ip_network("10.0.2.0/24"), "eth2", ()),
    RouteSection(ip_network("0.0.0.0/0"), "eth0", ()),
    RouteSection(ip_network("::/0"), "eth0", ()),
    RouteSection(ip_network("10.0.9.0/24"), "eth9", ()),
)
LINKS = tuple(LinkSection(f"eth{number}", 100_000_000) for number in range(3))
CONFIG = Config(
    AGENT, links=LINKS, routes=ROUTES, flows=FlowsSection(serves=SERVES), enforcement=EnforcementSection("auto"),
)  # fmt: skip
HOST = replace(CONFIG, flows=FlowsSection())
CLASSES = TrafficClasses(
    (*BUILT_IN, TrafficClass("burst", 10, guarantee=50, ceiling=300, priority=5), TrafficClass("kept", 12, keep=True))
)
HERE, NEAR, THERE = "10.0.1.5", "10.0.2.5", "10.0.3.5"
MBIT = 1_000_000
END = 2_000


def around(config: Config) -> Surroundings:
    map_ = Map(NodeId("me", "0" * 16))
    routes = Routes(config.routes, None)
    return Surroundings(
        HostTable(), CLASSES, routes.toward, config.flows.serves, map_.serving, frozenset(limits(config))
    )  # fmt: skip


def wish(source: str, destination: str, kind: Kind = Kind.ONE_WAY, **more: Any) -> Reservation:
    rates = {Kind.ONE_WAY: (20 * MBIT, 0), Kind.TWO_WAY: (20 * MBIT, 5 * MBIT)}.get(kind, (0, 0))
    values: dict[str, Any] = {"traffic": "voice", "rate": rates[0], "back": rates[1]} | more
    values |= {"source": source, "destination": destination, "kind": kind}
    return Reservation(
        id="r-1",
        pool="",
        window=Window(1_000, END),
        state=ReservationState.BOOKED,
        created=1_000,
        changed=1_000,
        **values,
    )


def placed(
    source: str, destination: str, kind: Kind = Kind.ONE_WAY, config: Config = CONFIG, **more: Any
) -> list[Entry]:
    reservation = place(wish(source, destination, kind, **more), around(config))
    lines = {each.name: each for each in lines_of(config)}
    return list(entries_of(reservation, lines, CLASSES, around(config).local, END + 5))


def match(source: str | None, destination: str | None, vlan: int | None = None, **more: Any) -> Match:
    one, other = (None if each is None else ip_network(each) for each in (source, destination))
    return Match(4, one, other, more.get("protocol"), more.get("source_port"), more.get("destination_port"), vlan)


def told(entries: list[Entry]) -> dict[str, tuple[Match, int | None, int | None]]:
    """By line: the one match, the guarantee in Mbit/s, the marking."""
    assert {each.ids for each in entries} <= {("r-1",)}
    assert {each.expires for each in entries} <= {END + 5}
    found = {}
    for each in entries:
        (only,) = each.matches
        found[each.line] = only, each.share.guarantee // MBIT if each.share else None, each.dscp
    assert len(found) == len(entries)
    return found


# -- lines


def test_lines_are_of_links_less_the_floor_or_the_headroom() -> None:
    links = (LinkSection("eth0", 1_000_000), LinkSection("eth1", 1_007, 2_001, headroom=10), LinkSection("a;b", 10**6))
    config = replace(CONFIG, links=links[:2])
    classes, serves = (18, 26, 46), SERVES
    assert lines_of(config) == (
        Line("eth0", "out", 1_000_000, 50_000, classes, serves),
        Line("eth0", "in", 1_000_000, 50_000, classes, serves),
        Line("eth1", "out", 1_000, 96, classes, serves),
        Line("eth1", "in", 2_000, 200, classes, serves),
    )
    assert lines_of(replace(config, links=())) == ()
    half = lines_of(replace(config, enforcement=EnforcementSection("tc-nft", floor=50, remark=False)))
    assert [(each.floor, each.cleared) for each in half] == [(500_000, ()), (500_000, ()), (496, ()), (1_000, ())]
    recorded = lines_of(replace(config, links=links, enforcement=EnforcementSection("record")))
    assert [(each.name, each.floor) for each in recorded] == [
        ("eth0:out", 0), ("eth0:in", 0), ("eth1:out", 96), ("eth1:in", 200),
    ]  # fmt: skip


@given(
    st.integers(1_000, 10**6), st.integers(0, 99), st.integers(1, 50), st.lists(st.integers(8, 400_000), max_size=6),
    st.booleans(),
)  # fmt: skip
def test_scenario_21_what_can_be_booked_of_a_link_can_be_guaranteed(
    capacity: int, headroom: int, floor: int, rates: list[int], record: bool
) -> None:
    section = EnforcementSection("record" if record else "auto", floor=floor)
    config = Config(AGENT, links=(LinkSection("eth0", capacity, headroom=headroom),), enforcement=section)
    room = limits(config)["eth0:out"]
    lines = {each.name: each for each in lines_of(config)}
    booked: list[int] = []
    for rate in (*rates, room):
        rate = min(rate, room - sum(booked))
        booked += [rate] if rate >= 8 else []
    entries: list[Entry] = []
    for number, rate in enumerate(booked):
        one = replace(wish("10.0.1.5", f"10.0.0.{number}", rate=rate), claims=(("eth0:out", "out"),))
        entries += entries_of(one, lines, CLASSES, lambda place: True, END)
    plan, waiting = compose(lines.values(), entries)
    assert (len(plan.entries), waiting) == (len(booked), {})


# -- bandwidth


def test_one_way_gets_its_share_where_it_comes_in_and_goes_out_and_its_marking_where_it_leaves() -> None:
    packets = match(HERE, THERE)
    assert told(placed(HERE, THERE)) == {"eth0:out": (packets, 20, 46), "eth1:in": (packets, 20, None)}


def test_two_way_loses_its_marking_where_it_arrives() -> None:
    there, back = match(HERE, THERE), match(THERE, HERE)
    assert told(placed(HERE, THERE, Kind.TWO_WAY)) == {
        "eth0:out": (there, 20, 46), "eth1:in": (there, 20, None), "eth0:in": (back, 5, 0), "eth1:out": (back, 5, 0),
    }  # fmt: skip


@pytest.mark.parametrize(("traffic", "dscp"), [("global_voice", 46), ("kept", 12), ("global_kept", 12)])
def test_a_class_that_keeps_its_marking_keeps_it(traffic: str, dscp: int) -> None:
    found = told(placed(HERE, THERE, Kind.TWO_WAY, traffic=traffic))
    assert {line: each[2] for line, each in found.items()} == {
        "eth0:out": dscp, "eth1:in": None, "eth0:in": None, "eth1:out": None,
    }  # fmt: skip


def test_the_default_class_is_marking_0() -> None:
    assert told(placed(HERE, THERE, traffic="default"))["eth0:out"][2] == 0


def test_scenario_26_one_way_to_outside_is_of_the_source_s_side_only() -> None:
    found = placed("10.0.1.5", "8.8.8.8:53", protocol="udp")
    packets = match("10.0.1.5", "8.8.8.8", protocol=17, destination_port=Port(53))
    assert told(found) == {"eth0:out": (packets, 20, 46), "eth1:in": (packets, 20, None)}
    from_anywhere = placed("any", "8.8.8.8")
    assert told(from_anywhere) == {"eth0:out": (match(None, "8.8.8.8"), 20, 46)}


def test_scenario_29_between_two_ends_here_there_is_nothing_on_the_way_in_and_no_marking() -> None:
    assert told(placed(HERE, NEAR)) == {"eth2:out": (match(HERE, NEAR), 20, None)}
    both = told(placed(HERE, NEAR, Kind.TWO_WAY))
    assert both == {"eth2:out": (match(HERE, NEAR), 20, None), "eth1:out": (match(NEAR, HERE), 5, None)}
    kept = told(placed(HERE, NEAR, Kind.TWO_WAY, traffic="global_voice"))
    assert {line: each[2] for line, each in kept.items()} == {"eth2:out": 46, "eth1:out": None}


def test_who_serves_nothing_in_particular_has_no_two_ends_here() -> None:
    assert set(told(placed(HERE, NEAR, config=HOST))) == {"eth2:out", "eth1:in"}
    assert told(placed(HERE, NEAR, config=HOST))["eth2:out"][2] == 46


def test_a_vlan_is_that_of_the_end_a_line_leads_to() -> None:
    found = told(placed("10.0.1.5{3}", "10.0.3.5{4}", Kind.TWO_WAY))
    assert {line: each[0] for line, each in found.items()} == {
        "eth0:out": match(HERE, THERE, 4), "eth0:in": match(THERE, HERE, 4),
        "eth1:in": match(HERE, THERE, 3), "eth1:out": match(THERE, HERE, 3),
    }  # fmt: skip


def test_ports_and_protocols_go_with_their_ends() -> None:
    found = {each.line: each for each in placed("10.0.1.5:80/0xfff0", "10.0.3.5:443", Kind.TWO_WAY)}
    low, high = Port(80, 0xFFF0), Port(443)
    assert found["eth0:out"].matches == {
        match(HERE, THERE, protocol=each, source_port=low, destination_port=high) for each in (6, 17)
    }
    assert found["eth0:in"].matches == {
        match(THERE, HERE, protocol=each, source_port=high, destination_port=low) for each in (6, 17)
    }


@pytest.mark.parametrize(
    ("rate", "traffic", "share"),
    [
        (20 * MBIT, "voice", Share(20 * MBIT, 20 * MBIT, 1)),
        (20 * MBIT, "burst", Share(10 * MBIT, 60 * MBIT, 5)),
        (90 * MBIT, "burst", Share(45 * MBIT, 100 * MBIT, 5)),
        (1_007, "voice", Share(1_000, 1_000, 1)),
        (1_007, "burst", Share(496, 3_016, 5)),
        (1, "voice", Share(8, 8, 1)),
        (1, "burst", Share(8, 8, 5)),
    ],
)
def test_a_class_says_what_of_the_rate_is_guaranteed_and_what_can_be_borrowed(
    rate: int, traffic: str, share: Share
) -> None:
    (entry,) = placed("any", THERE, rate=rate, traffic=traffic)
    assert entry.share == share


def test_a_class_that_is_gone_is_the_default_one() -> None:
    reservation = place(wish(HERE, THERE, Kind.TWO_WAY, traffic="burst"), around(CONFIG))
    lines = {each.name: each for each in lines_of(CONFIG)}
    for traffic, back in ("burst", 0), ("global_burst", None):
        changed = replace(reservation, traffic=traffic)
        entries = entries_of(changed, lines, TrafficClasses(()), lambda place: False, END)
        by_line = {each.line: each for each in entries}
        assert by_line["eth0:out"].share == Share(20 * MBIT, 20 * MBIT, 1)
        assert (by_line["eth0:out"].dscp, by_line["eth0:in"].dscp) == (0, back)


# -- the other kinds


def test_a_passthrough_is_of_each_line_where_it_might_lose_its_marking() -> None:
    for near, lines in (THERE, {"eth0:out", "eth1:in"}), (NEAR, {"eth2:out", "eth1:in"}):
        entries = placed(HERE, near, Kind.PASSTHROUGH)
        assert {each.line for each in entries} == lines
        assert {each.action for each in entries} == {Action.KEEP}
        assert set(told(entries).values()) == {(match(HERE, near), None, None)}


def test_steering_and_mirroring_are_of_one_line_the_way_out_first() -> None:
    for source, line in (HERE, "eth0:out"), ("any", "eth0:out"):
        (steered,) = placed(source, THERE, Kind.STEERING, through=("10.0.1.7", "02:00:00:00:00:01"))
        (copied,) = placed(source, THERE, Kind.MIRRORING, output="10.0.1.8")
        assert (steered.line, steered.action, steered.through) == (
            line,
            Action.STEER,
            ("10.0.1.7", "02:00:00:00:00:01"),
        )
        assert (copied.line, copied.action, copied.output) == (line, Action.MIRROR, "10.0.1.8")
        assert {steered.share, copied.share, steered.dscp, copied.dscp} == {None}
    (copied,) = placed(HERE, "10.0.9.5", Kind.MIRRORING, output="10.0.1.8{3}")
    assert (copied.line, copied.output) == ("eth1:in", "10.0.1.8")
    (steered,) = placed(HERE, THERE, Kind.STEERING, through=("fd00:0::7{3}",))
    assert steered.through == ("fd00::7",)


# -- nothing to enforce


@pytest.mark.parametrize("kind", [Kind.ONE_WAY, Kind.TWO_WAY, Kind.PASSTHROUGH])
def test_of_any_to_any_only_capacity_is_booked(kind: Kind) -> None:
    assert placed("any", "any", kind) == []
    assert placed("any", "any", kind, protocol="udp") != []


def test_without_a_line_nothing_is_enforced() -> None:
    reservation = place(wish(HERE, THERE), around(CONFIG))
    local: Callable[[Place], bool] = around(CONFIG).local
    assert reservation.claims
    assert entries_of(reservation, {}, CLASSES, local, END) == ()
    assert placed(HERE, "10.0.9.5", config=replace(CONFIG, links=())) == []
    only_in = {each.name: each for each in lines_of(CONFIG) if each.name == "eth1:in"}
    assert [each.line for each in entries_of(reservation, only_in, CLASSES, local, END)] == ["eth1:in"]


@pytest.mark.parametrize("source", ["web1", "an old note", ""])
def test_what_was_booked_before_flows_were_checked_is_capacity_only(source: str) -> None:
    old = replace(wish(source, "any"), claims=(("eth0:out", "out"),))
    lines = {each.name: each for each in lines_of(CONFIG)}
    assert entries_of(old, lines, CLASSES, lambda place: True, END) == ()
