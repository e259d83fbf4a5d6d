"""Where a reservation stands: whose end is whose, and what it takes, each case worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa import hosts
from asa.config import RouteSection
from asa.errors import BadRequest, Elsewhere, Unreachable
from asa.flows import InvalidFlow, Place, endpoint_from_text
from asa.hosts import Preference, UnknownHost
from asa.placement import MAX_BOXES, Surroundings, place
from asa.reach import Map
from asa.records import BACK, BANDWIDTH, BOTH, OUT, Kind, Reservation, ReservationState
from asa.routing import Address, Hop, Routes
from asa.traffic import TrafficClasses, UnknownClass
from objectives import NodeId, Window
from objectives.reach import Reach

ME, PEER, THIRD = (NodeId(name, digit * 16) for name, digit in (("me", "0"), ("peer", "1"), ("third", "2")))
NOW = 1_000

TABLE = hosts.parse(
    """
    [hosts.here]
    addresses = ["10.0.1.5", "fd00:1::5"]
    [hosts.there]
    addresses = ["10.0.2.5", "fd00:2::5"]
    [hosts.old]
    addresses = ["10.0.2.6"]
    [hosts.new]
    addresses = ["fd00:2::7"]
    [hosts.wire]
    mac = "02:00:00:00:00:01"
    """,
    "hosts.toml",
)

ROUTES = (
    RouteSection(ip_network("10.0.1.0/24"), "eth0", ("home",)),
    RouteSection(ip_network("10.0.2.0/24"), "eth1", ("wan", "metro")),
    RouteSection(ip_network("10.0.3.0/24"), "eth2", ()),
    RouteSection(ip_network("10.0.4.0/24"), "eth3"),
    RouteSection(ip_network("10.0.5.0/24"), None, ("wan",)),
    RouteSection(ip_network("fd00:2::/32"), "eth1", ("wan6",)),
)
ALL = frozenset(f"eth{number}:{way}" for number in range(4) for way in ("out", "in"))
NONE: frozenset[str] = frozenset()


class World:
    """What an agent knows, and what it was asked."""

    def __init__(
        self,
        serves: Iterable[str] = (),
        others: dict[NodeId, str] | None = None,
        limited: frozenset[str] = ALL,
        prefer: Preference = "ipv6",
        routes: tuple[RouteSection, ...] = ROUTES,
    ) -> None:
        self.asked: list[str] = []
        map_ = Map(ME)
        for node, prefix in (others or {}).items():
            map_.heard(0.0, Reach(node, 1, (ip_network(prefix),)))
        self._routes = Routes(routes, None)
        self.around = Surroundings(
            hosts=TABLE,
            classes=TrafficClasses(),
            toward=self._toward,
            serves=tuple(ip_network(each) for each in serves),
            serving=map_.serving,
            limited=limited,
            prefer=prefer,
        )

    def _toward(self, place: Place) -> Hop:
        self.asked.append(str(place))
        return self._routes.toward(place)


def wish(source: str = "any", destination: str = "any", kind: Kind = Kind.ONE_WAY, **more: Any) -> Reservation:
    rates = {"rate": 7 if kind in BANDWIDTH else 0, "back": 3 if kind is Kind.TWO_WAY else 0}
    return Reservation(
        **{"id": "r-1", "pool": "", "window": Window(NOW, None), "state": ReservationState.BOOKED, "created": NOW}
        | {"changed": NOW, "source": source, "destination": destination, "kind": kind}
        | rates
        | more
    )


def ends(placed: Reservation) -> tuple[str, str, int, int, tuple[str, str]]:
    return placed.source, placed.destination, placed.rate, placed.back, placed.names


SERVES = ("10.0.1.0/24", "fd00:1::/64")

# -- what it takes


TWO, ONE = Kind.TWO_WAY, Kind.ONE_WAY
FREE = [Kind.PASSTHROUGH, Kind.STEERING, Kind.MIRRORING]


@pytest.mark.parametrize(
    ("kind", "source", "destination", "limited", "demand"),
    [
        # One way: its rate out towards the destination, in from the source, and of every pool of the route.
        (ONE, "10.0.1.5", "10.0.2.5", ALL, {"wan": 7, "metro": 7, "eth1:out": 7, "eth0:in": 7}),
        (ONE, "10.0.1.5", "10.0.2.5", NONE, {"wan": 7, "metro": 7}),
        (ONE, "10.0.1.5", "10.0.2.5", frozenset({"eth1:in", "eth0:out"}), {"wan": 7, "metro": 7}),
        (ONE, "10.0.1.5", "10.0.2.5", frozenset({"eth0:in"}), {"wan": 7, "metro": 7, "eth0:in": 7}),
        (ONE, "any", "10.0.2.5", ALL, {"wan": 7, "metro": 7, "eth1:out": 7}),
        (ONE, "10.9.0.1", "10.0.2.5", ALL, {"wan": 7, "metro": 7, "eth1:out": 7}),
        (ONE, "10.0.2.9", "10.0.2.5", ALL, {"wan": 7, "metro": 7, "eth1:out": 7}),
        (ONE, "10.0.1.5", "10.0.3.5", ALL, {"eth2:out": 7, "eth0:in": 7}),
        (ONE, "10.0.1.5", "10.0.3.5", NONE, {}),
        (ONE, "10.0.1.5", "10.0.5.5", ALL, {"wan": 7, "eth0:in": 7}),
        (ONE, "any", "10.0.5.5", ALL, {"wan": 7}),
        # Both ways, and nobody else accounts for the way back.
        (TWO, "10.0.1.5", "10.0.2.5", ALL,
            {"wan": 10, "metro": 10, "eth1:out": 7, "eth1:in": 3, "eth0:in": 7, "eth0:out": 3}),
        (TWO, "10.0.1.5", "10.0.2.5", NONE, {"wan": 10, "metro": 10}),
        (TWO, "10.0.1.5", "10.0.2.5", frozenset({"eth1:in"}), {"wan": 10, "metro": 10, "eth1:in": 3}),
        (TWO, "10.0.1.5", "10.0.2.5", frozenset({"eth0:out"}), {"wan": 10, "metro": 10, "eth0:out": 3}),
        (TWO, "any", "10.0.2.5", ALL, {"wan": 10, "metro": 10, "eth1:out": 7, "eth1:in": 3}),
        (TWO, "10.0.2.9", "10.0.2.5", ALL, {"wan": 10, "metro": 10, "eth1:out": 7, "eth1:in": 3}),
        (TWO, "10.0.1.5", "10.0.3.5", NONE, {}),
    ],
)  # fmt: skip
def test_what_it_takes_follows_from_the_routes_to_both_ends(
    kind: Kind, source: str, destination: str, limited: frozenset[str], demand: dict[str, int]
) -> None:
    placed = place(wish(source, destination, kind), World(limited=limited).around)
    assert placed.demand() == demand
    assert placed.pool == next((each for each in demand if ":" not in each), "")
    assert placed.partner == ""


@pytest.mark.parametrize(
    ("limited", "demand"),
    [
        (ALL, {"wan": 7, "metro": 7, "eth1:out": 7, "eth1:in": 3, "eth0:in": 7, "eth0:out": 3}),
        (NONE, {"wan": 7, "metro": 7}),
    ],
)
def test_where_another_agent_has_the_other_end_it_accounts_for_the_way_back(
    limited: frozenset[str], demand: dict[str, int]
) -> None:
    world = World(SERVES, {PEER: "10.0.2.0/24"}, limited)
    placed = place(wish("10.0.1.5", "10.0.2.5", TWO), world.around)
    assert (placed.partner, placed.demand()) == (str(PEER), demand)


def test_of_one_pool_and_nothing_else_nothing_more_is_said() -> None:
    assert place(wish("any", "10.0.5.5"), World().around).claims == ()
    assert place(wish("any", "10.0.5.5", TWO), World().around).claims == (("wan", BOTH),)
    assert place(wish("any", "10.0.2.5"), World(limited=NONE).around).claims == (("wan", OUT), ("metro", OUT))
    placed = place(wish("any", "10.0.2.5", TWO), World().around)
    assert placed.claims == (("wan", BOTH), ("metro", BOTH), ("eth1:out", OUT), ("eth1:in", BACK))


@pytest.mark.parametrize("kind", FREE)
def test_kinds_without_bandwidth_take_nothing_wherever_they_go(kind: Kind) -> None:
    more: dict[str, Any] = {"through": ("10.0.1.7",)} if kind is Kind.STEERING else {}
    more |= {"output": "10.0.1.8"} if kind is Kind.MIRRORING else {}
    for destination in ("10.0.2.5", "10.0.3.5", "10.0.4.5", "10.9.0.1", "any"):
        placed = place(wish("10.0.1.5", destination, kind, **more), World().around)
        assert set(placed.demand().values()) <= {0}
        assert placed.partner == ""


def test_where_no_pool_follows_from_the_route_one_has_to_be_named() -> None:
    for destination in ("10.0.4.5", "10.9.0.1", "any"):
        for kind in BANDWIDTH:
            with pytest.raises(BadRequest, match=f"no pool follows from the route to {destination}$") as error:
                place(wish("10.0.1.5", destination, kind), World().around)
            assert error.value.hint == "name one, or give this agent a [[route]] with its pools"
    named = place(wish("10.0.1.5", "10.0.4.5", pool="gold"), World().around)
    assert named.demand() == {"gold": 7, "eth3:out": 7, "eth0:in": 7}


def test_a_pool_that_is_named_is_taken_instead_of_those_of_the_route_until_it_is_placed_anew() -> None:
    named = wish("10.0.1.5", "10.0.2.5", pool="gold")
    assert place(named, World(limited=NONE).around).demand() == {"gold": 7}
    assert place(named, World().around).demand() == {"gold": 7, "eth1:out": 7, "eth0:in": 7}
    assert place(named, World().around, anew=True).demand() == {"wan": 7, "metro": 7, "eth1:out": 7, "eth0:in": 7}
    unneeded = replace(named, destination="10.0.3.5")
    assert place(unneeded, World(limited=NONE).around).demand() == {"gold": 7}
    assert place(unneeded, World(limited=NONE).around, anew=True).demand() == {}
    unrouted = replace(named, destination="10.0.4.5")
    assert place(unrouted, World(limited=NONE).around, anew=True).demand() == {"gold": 7}


def test_what_was_placed_goes_by_the_routes_of_now_when_it_is_placed_anew() -> None:
    placed = place(wish("10.0.1.5", "10.0.2.5", TWO), World().around)
    moved = (RouteSection(ip_network("10.0.2.0/24"), "eth3", ("sat",)),)
    assert place(placed, World(routes=moved).around, anew=True).demand() == {"sat": 10, "eth3:out": 7, "eth3:in": 3}


# -- look-ups


def test_only_what_something_follows_from_is_looked_up() -> None:
    def looked(wanted: Reservation, limited: frozenset[str], anew: bool = False) -> list[str]:
        world = World(limited=limited)
        place(wanted, world.around, anew=anew)
        return world.asked

    free, named = wish("10.0.1.5", "10.0.2.5"), wish("10.0.1.5", "10.0.2.5", pool="gold")
    assert looked(named, NONE) == []
    assert looked(named, NONE, anew=True) == ["10.0.2.5/32"]
    assert looked(free, NONE) == ["10.0.2.5/32"]
    assert looked(named, ALL) == ["10.0.2.5/32", "10.0.1.5/32"]
    assert looked(free, ALL) == ["10.0.2.5/32", "10.0.1.5/32"]
    assert looked(replace(free, source="any"), ALL) == ["10.0.2.5/32"]


def test_a_kernel_that_does_not_tell_is_in_the_way_of_nothing_that_does_not_need_it() -> None:
    def silent(address: Address) -> str | None:
        raise Unreachable(f"the kernel does not tell how it reaches {address}")

    named = wish("10.7.0.1", "10.8.0.1", pool="gold")
    around = replace(World(limited=NONE).around, toward=Routes(ROUTES, silent).toward)
    assert place(named, around).demand() == {"gold": 7}
    assert place(wish("10.7.0.1", "10.0.2.5"), around).demand() == {"wan": 7, "metro": 7}
    with pytest.raises(Unreachable):
        place(named, replace(around, limited=ALL))


# -- whose end is whose


def test_of_two_ways_the_own_end_is_the_source_whoever_asks() -> None:
    world = World(SERVES, {PEER: "10.0.2.0/24"})
    mine = place(wish("10.0.1.5:80/0xfff0{3}", "10.0.2.5:443{4}", TWO, protocol="tcp"), world.around)
    its = wish("10.0.2.5:443{4}", "10.0.1.5:80/0xfff0{3}", TWO, protocol="tcp", rate=3, back=7)
    assert ends(mine) == ("10.0.1.5:80/0xfff0{3}", "10.0.2.5:443{4}", 7, 3, ("", ""))
    assert place(its, world.around) == mine
    assert mine.partner == str(PEER)


def test_names_go_with_their_ends() -> None:
    world = World(SERVES, {PEER: "fd00:2::/64"})
    placed = place(wish("There:443{4}", "HERE:80", TWO, protocol="tcp"), world.around)
    assert ends(placed) == ("[fd00:1::5]:80", "[fd00:2::5]:443{4}", 3, 7, ("here:80", "there:443{4}"))


def test_one_way_nothing_is_exchanged() -> None:
    world = World(SERVES)
    for kind in (ONE, Kind.PASSTHROUGH):
        placed = place(wish("10.0.2.5", "10.0.1.5", kind), world.around)
        assert (placed.source, placed.destination) == ("10.0.2.5", "10.0.1.5")


@pytest.mark.parametrize("kind", [ONE, TWO, Kind.PASSTHROUGH])
def test_whose_source_another_agent_serves_is_sent_there(kind: Kind) -> None:
    world = World(SERVES, {PEER: "10.0.2.0/24", THIRD: "10.0.2.128/25"})
    for source, node in ("10.0.2.5", PEER), ("10.0.2.130", THIRD), ("there", PEER):
        with pytest.raises(Elsewhere) as error:
            place(wish(source, "10.9.0.1", kind, pool="wan"), replace(world.around, prefer="ipv4"))
        assert (error.value.code, error.value.details) == ("elsewhere", {"node": str(node)})
        assert error.value.message == f"{node.name} serves {source.replace('there', '10.0.2.5')}"
    assert world.asked == []


def test_what_nobody_else_serves_can_be_asked_for_here() -> None:
    placed = place(wish("10.7.0.1", "10.0.2.5", TWO), World(SERVES, {PEER: "10.0.2.0/24"}).around)
    assert (placed.source, placed.partner) == ("10.7.0.1", str(PEER))


def test_an_agent_that_serves_nothing_by_name_serves_every_source() -> None:
    world = World((), {PEER: "10.0.2.0/24", THIRD: "10.0.1.0/24"})
    placed = place(wish("10.0.1.5", "10.0.2.5", TWO), world.around)
    assert (ends(placed)[:4], placed.partner) == (("10.0.1.5", "10.0.2.5", 7, 3), str(PEER))
    back = place(wish("10.0.2.5", "10.0.1.5", TWO), world.around)
    assert (ends(back)[:4], back.partner) == (("10.0.2.5", "10.0.1.5", 7, 3), str(THIRD))


def test_between_two_ends_here_nobody_else_has_a_part_and_nothing_is_exchanged() -> None:
    world = World(("10.0.1.0/24", "10.0.2.0/24"), {PEER: "10.0.0.0/8"})
    for source, destination in ("10.0.1.5", "10.0.2.5"), ("10.0.2.5", "10.0.1.5"):
        placed = place(wish(source, destination, TWO), world.around)
        assert (ends(placed)[:4], placed.partner) == ((source, destination, 7, 3), "")
        assert {way for resource, way in placed.claims if ":" not in resource} == {BOTH}


def test_all_of_an_end_must_be_behind_an_agent() -> None:
    world = World(SERVES, {PEER: "10.0.2.0/24"})
    assert place(wish("10.0.1.0/25", "10.0.2.0/24", TWO), world.around).partner == str(PEER)
    assert place(wish("10.0.1.0/25", "10.0.2.0/23", TWO, pool="wan"), world.around).partner == ""
    assert place(wish("10.0.2.0/23", "10.0.1.5", TWO, pool="wan"), world.around).source == "10.0.1.5"
    with pytest.raises(Elsewhere):
        place(wish("10.0.2.0/25", "10.0.0.0/23", TWO, pool="wan"), world.around)


def test_anywhere_and_a_mac_address_are_behind_nobody_else() -> None:
    world = World(SERVES, {PEER: "0.0.0.0/0", THIRD: "::/0"})
    for destination in ("any", "02:00:00:00:00:09"):
        placed = place(wish("10.0.1.5", destination, TWO, pool="wan"), world.around)
        assert (placed.source, placed.partner) == ("10.0.1.5", "")
    assert place(wish("any", "10.0.2.5", TWO), world.around).partner == str(PEER)
    assert place(wish("any", "any", pool="wan"), world.around).demand() == {"wan": 7}
    swapped = place(wish("02:00:00:00:00:09", "10.0.1.5", TWO, pool="wan"), world.around)
    assert ends(swapped)[:4] == ("10.0.1.5", "02:00:00:00:00:09", 3, 7)


def test_only_two_ways_are_of_two_agents() -> None:
    world = World(SERVES, {PEER: "10.0.2.0/24"})
    assert place(wish("10.0.1.5", "10.0.2.5"), world.around).partner == ""


def test_the_agent_that_says_it_has_the_other_end_has_it() -> None:
    wanted = wish("10.0.1.5", "10.0.2.5", TWO)
    for others in ({}, {PEER: "10.0.2.0/24"}):
        placed = place(wanted, World(SERVES, others, NONE).around, partner=THIRD)
        assert (placed.partner, placed.demand()) == (str(THIRD), {"wan": 7, "metro": 7})


def test_the_ends_must_differ() -> None:
    for source, destination in ("10.0.1.5", "10.0.1.5"), ("here", "10.0.1.5"), ("here", "here"):
        with pytest.raises(InvalidFlow, match="the same endpoint"):
            place(wish(source, destination, pool="wan"), replace(World().around, prefer="ipv4"))
    for source, destination in ("10.0.1.5{3}", "10.0.1.5{4}"), ("any", "any"):
        assert place(wish(source, destination, pool="wan"), World().around).source == source


# -- names and classes


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "prefer", "expected"),
    [
        ("here", "there", "any", "ipv6", ("fd00:1::5", "fd00:2::5")),
        ("here", "there", "any", "ipv4", ("10.0.1.5", "10.0.2.5")),
        ("here", "old", "any", "ipv6", ("10.0.1.5", "10.0.2.6")),
        ("here", "new", "any", "ipv4", ("fd00:1::5", "fd00:2::7")),
        ("here", "there", "icmp", "ipv6", ("10.0.1.5", "10.0.2.5")),
        ("10.0.1.9", "there:80{7}", "tcp", "ipv6", ("10.0.1.9", "10.0.2.5:80{7}")),
        ("wire", "there", "any", "ipv4", ("02:00:00:00:00:01", "10.0.2.5")),
        ("any", "there", "any", "ipv4", ("any", "10.0.2.5")),
    ],
)
def test_names_become_addresses_and_are_kept(
    source: str, destination: str, protocol: str, prefer: Preference, expected: tuple[str, str]
) -> None:
    placed = place(wish(source, destination, protocol=protocol), World(prefer=prefer).around)
    assert (placed.source, placed.destination) == expected
    kept = tuple(each if endpoint_from_text(each) != endpoint_from_text(address) else "" for each, address in
        zip((source, destination), expected, strict=True))  # fmt: skip
    assert placed.names == kept


def test_a_name_is_looked_up_again_each_time_it_is_placed() -> None:
    world = World()
    placed = place(wish("here", "there"), world.around)
    moved = hosts.parse('[hosts.here]\naddresses = ["fd00:1::5"]\n[hosts.there]\naddresses = ["fd00:2::99"]', "x")
    again = place(placed, replace(world.around, hosts=moved), anew=True)
    assert (again.source, again.destination, again.names) == ("fd00:1::5", "fd00:2::99", ("here", "there"))
    with pytest.raises(UnknownHost, match="there is no host 'there'"):
        place(placed, replace(world.around, hosts=hosts.HostTable(moved.hosts[:1])), anew=True)


def test_what_is_written_otherwise_is_the_same() -> None:
    one = place(wish(" 10.0.1.5:0x50 ", "10.0.2.0/24", protocol="6"), World().around)
    assert (one.source, one.destination, one.protocol) == ("10.0.1.5:80", "10.0.2.0/24", "tcp")
    assert one == place(wish("10.0.1.5:80", "10.0.2.0/24", protocol="TCP"), World().around)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        (wish("here", "nobody"), UnknownHost, "there is no host 'nobody' in the host table"),
        (wish("nobody", "here"), UnknownHost, "there is no host 'nobody' in the host table"),
        (wish("here", "10.0.2.5", traffic="vioce"), UnknownClass, "there is no traffic class 'vioce'"),
        (wish("10.0.1.5", "10.0.2.256"), InvalidFlow, "destination '10.0.2.256'"),
        (wish("10.0.1.5", "fd00::1"), InvalidFlow, "no packet"),
        (wish("old", "new"), InvalidFlow, "old is IPv4, new is IPv6"),
        (wish("10.0.1.5:80", "10.0.2.5", protocol="icmp"), InvalidFlow, "icmp has no ports"),
        (wish("10.0.1.5", "10.0.2.5", protocol="tpc"), InvalidFlow, "protocol 'tpc' is no protocol"),
        (wish("10.0.1.5", "10.0.2.5", Kind.STEERING, through=("nobody",)), UnknownHost, "there is no host 'nobody'"),
    ],
)
def test_what_cannot_be_placed_is_told(wanted: Reservation, error: type[BadRequest], message: str) -> None:
    with pytest.raises(error, match=message) as told:
        place(wanted, World().around)
    assert told.value.hint


@pytest.mark.parametrize("traffic", ["default", "voice", "global_voice", "global_default"])
def test_a_class_is_kept_as_it_is_written(traffic: str) -> None:
    assert place(wish("any", "10.0.2.5", traffic=traffic), World().around).traffic == traffic


# -- what only some kinds have


def test_steering_goes_through_boxes_in_order_by_their_addresses() -> None:
    boxes = ("there", "10.0.1.7", "wire", "02:00:00:00:00:09", "fd00::9{3}")
    placed = place(wish("10.0.1.5", "10.0.2.5", Kind.STEERING, through=boxes), World(prefer="ipv4").around)
    assert placed.through == ("10.0.2.5", "10.0.1.7", "02:00:00:00:00:01", "02:00:00:00:00:09", "fd00::9{3}")
    many = tuple(f"10.0.1.{number}" for number in range(1, MAX_BOXES + 2))
    assert place(wish("10.0.1.5", "any", Kind.STEERING, through=many[1:]), World().around).through == many[1:]
    with pytest.raises(BadRequest, match=f"at most {MAX_BOXES} middleboxes"):
        place(wish("10.0.1.5", "any", Kind.STEERING, through=many), World().around)


def test_a_mirror_has_an_output() -> None:
    placed = place(wish("10.0.1.5", "10.0.2.5", Kind.MIRRORING, output="there"), World().around)
    assert placed.output == "fd00:2::5"


@pytest.mark.parametrize("kind", Kind)
def test_boxes_are_of_steering_and_an_output_of_mirroring_alone(kind: Kind) -> None:
    for through, output in ((), ""), (("10.0.1.7",), ""), ((), "10.0.1.8"), (("10.0.1.7",), "10.0.1.8"):
        wanted = wish("10.0.1.5", "10.0.2.5", kind, through=through, output=output)
        if bool(through) == (kind is Kind.STEERING) and bool(output) == (kind is Kind.MIRRORING):
            assert (place(wanted, World().around).through, place(wanted, World().around).output) == (through, output)
        else:
            with pytest.raises(BadRequest) as error:
                place(wanted, World().around)
            assert error.value.hint


@pytest.mark.parametrize("host", ["any", "10.0.1.7:80", "any:80", "10.0.1.0/24", "fd00::/64", "here:80"])
def test_a_box_and_an_output_are_one_host_each(host: str) -> None:
    with pytest.raises(InvalidFlow, match=rf"through\[1\] is no host: {host}".replace(".", r"\.")):
        place(wish("any", "10.0.2.5", Kind.STEERING, through=("10.0.1.7", host)), World().around)
    with pytest.raises(InvalidFlow, match=f"output is no host: {host}".replace(".", r"\.")):
        place(wish("any", "10.0.2.5", Kind.MIRRORING, output=host), World().around)


# -- placed again


PLACES = ["any", "here", "there", "old", "new:80", "wire", "10.0.1.5", "10.0.1.6:80", "10.0.2.5{3}", "10.0.2.0/24"]
PLACES += ["10.0.3.5", "10.0.4.5", "10.0.5.5", "10.7.0.1", "fd00:1::9", "[fd00:2::9]:443", "02:00:00:00:00:09"]
WISHES = st.builds(
    wish,
    st.sampled_from(PLACES),
    st.sampled_from(PLACES),
    st.sampled_from([ONE, TWO, Kind.PASSTHROUGH]),
    pool=st.sampled_from(["", "gold"]),
    protocol=st.sampled_from(["any", "tcp"]),
)
WORLDS = st.builds(
    World,
    st.sampled_from([(), SERVES, ("10.0.0.0/16",)]),
    st.sampled_from([{}, {PEER: "10.0.2.0/24"}, {PEER: "10.0.0.0/8", THIRD: "fd00:2::/64"}]),
    st.sampled_from([NONE, ALL, frozenset({"eth1:out", "eth0:in"})]),
    st.sampled_from(["ipv6", "ipv4"]),
)


@given(WISHES, WORLDS, st.booleans())
@settings(max_examples=500, deadline=None)
def test_what_is_placed_again_stays_where_it_is(wanted: Reservation, world: World, anew: bool) -> None:
    try:
        placed = place(wanted, world.around, anew=anew)
    except (BadRequest, Elsewhere):
        return
    assert place(placed, world.around, anew=anew) == placed
    assert placed.window == wanted.window
    assert {placed.rate, placed.back} == {wanted.rate, wanted.back}
    assert (placed.id, placed.owner, placed.state) == (wanted.id, wanted.owner, wanted.state)


@given(WISHES, WORLDS)
@settings(max_examples=500, deadline=None)
def test_what_is_taken_is_what_passes_each_interface_and_pool(wanted: Reservation, world: World) -> None:
    """By the table of docs/reservations.md, from the ends it came to."""
    try:
        placed = place(wanted, world.around)
    except (BadRequest, Elsewhere):
        return
    destination, source = (endpoint_from_text(each).place for each in (placed.destination, placed.source))
    routes = Routes(ROUTES, None)
    expected = dict.fromkeys(
        (placed.pool,) if wanted.pool else routes.toward(destination).pools or (),
        placed.rate + (placed.back if not placed.partner else 0),
    )
    far, near = routes.toward(destination).interface, routes.toward(source).interface if source else None
    if far:
        expected |= {f"{far}:out": placed.rate, f"{far}:in": placed.back}
    if near and near != far:
        expected |= {f"{near}:in": placed.rate, f"{near}:out": placed.back}
    taken = {each: amount for each, amount in placed.demand().items() if amount}
    limited = world.around.limited
    assert taken == {
        each: amount for each, amount in expected.items() if amount and (":" not in each or each in limited)
    }
