"""Which packets a match is of, against a packet matcher that looks at one field after the other."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.dataplane.match import ANY_FRAME, Match, Where, matches_of
from asa.flows import Endpoint, Flow, InvalidFlow, Mac, Place, Port, endpoint_from_text, protocol_from_text


@dataclass(frozen=True)
class Packet:
    macs: tuple[str, str]
    family: int
    """4 or 6, or another that is no IP."""
    addresses: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address] | None
    protocol: int | None
    ports: tuple[int, int] | None
    vlan: int | None


MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
V4 = [ip_address(each) for each in ("10.0.0.1", "10.0.0.2", "10.0.1.1")]
V6 = [ip_address(each) for each in ("fd00::1", "fd00::2", "fd00:1::1")]
PORTS = st.sampled_from([80, 81, 443])


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from([4, 6, 99]))
    addresses = None
    protocol = None
    if family != 99:
        hosts = st.sampled_from(V4 if family == 4 else V6)
        addresses = draw(hosts), draw(hosts)
        protocol = draw(st.sampled_from([6, 17, 132, 1 if family == 4 else 58]))
    ports = (draw(PORTS), draw(PORTS)) if protocol in (6, 17, 132) else None
    macs = draw(st.sampled_from(MACS)), draw(st.sampled_from(MACS))
    return Packet(macs, family, addresses, protocol, ports, draw(st.sampled_from([None, 3, 4])))


PLACES: st.SearchStrategy[Place] = st.sampled_from(
    [None, Mac(MACS[0]), *map(ip_network, ("10.0.0.1", "10.0.0.0/24", "0.0.0.0/0", "fd00::1", "fd00::/64", "::/0"))]
)
MASKED = st.sampled_from([None, Port(80), Port(80, 0xFFFE), Port(443)])
ENDPOINTS = st.builds(Endpoint, PLACES, MASKED, st.sampled_from([None, 3]))
PROTOCOLS = st.sampled_from([None, 6, 17, 1, 58, 132])


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    try:
        return Flow(draw(ENDPOINTS), draw(ENDPOINTS), draw(PROTOCOLS))
    except InvalidFlow:
        return Flow(Endpoint(), Endpoint(port=draw(st.just(Port(80)))), 6)


def in_place(place: Where, packet: Packet, end: int) -> bool:
    if place is None:
        return True
    if isinstance(place, Mac):
        return packet.macs[end] == place.text
    address = None if packet.addresses is None else packet.addresses[end]
    return address is not None and address.version == place.version and address in place


def through_port(port: Port | None, packet: Packet, end: int) -> bool:
    return port is None or (packet.ports is not None and packet.ports[end] & port.mask == port.number)


def fits(match: Match, packet: Packet) -> bool:
    return (
        match.family in (ANY_FRAME, packet.family)
        and in_place(match.source, packet, 0)
        and in_place(match.destination, packet, 1)
        and match.protocol in (None, packet.protocol)
        and through_port(match.source_port, packet, 0)
        and through_port(match.destination_port, packet, 1)
        and match.vlan in (None, packet.vlan)
    )


def of_flow(flow: Flow, packet: Packet, vlan: int | None) -> bool:
    """As the flow says it, read off its own fields."""
    of_ip = flow.protocol is not None or flow.has_ports
    of_ip |= any(getattr(each.place, "version", None) for each in (flow.source, flow.destination))
    return (
        (not of_ip or packet.family in flow.families)
        and in_place(flow.source.place, packet, 0)  # type: ignore[arg-type]  # No names here.
        and in_place(flow.destination.place, packet, 1)  # type: ignore[arg-type]
        and (flow.protocols is None or packet.protocol in flow.protocols)
        and through_port(flow.source.port, packet, 0)
        and through_port(flow.destination.port, packet, 1)
        and vlan in (None, packet.vlan)
    )


@given(flows(), st.sampled_from([None, 3]), packets())
def test_a_packet_is_of_a_flow_if_it_is_like_one_of_its_matches(flow: Flow, vlan: int | None, packet: Packet) -> None:
    matches = matches_of(flow, vlan)
    if matches:
        assert any(fits(each, packet) for each in matches) == of_flow(flow, packet, vlan)
        assert sum(fits(each, packet) for each in matches) <= 1
    else:
        assert of_flow(flow, packet, vlan)


@given(flows(), st.sampled_from([None, 3]), packets(), packets())
def test_only_of_every_packet_there_is_no_match(flow: Flow, vlan: int | None, one: Packet, other: Packet) -> None:
    everything = (None, None, None, False)
    looked_at = (flow.source.place, flow.destination.place, flow.protocol, flow.has_ports)
    assert (matches_of(flow, vlan) == ()) is (looked_at == everything and vlan is None)


@given(flows(), flows(), packets())
def test_matches_of_one_shape_exclude_each_other(one: Flow, other: Flow, packet: Packet) -> None:
    for a in matches_of(one):
        for b in matches_of(other):
            if a.shape == b.shape and a != b:
                assert not (fits(a, packet) and fits(b, packet))


def bits(match: Match) -> list[bool]:
    """Which bits of a frame it looks at: its family, its places, its protocol, its ports, its VLAN."""

    def of_place(place: Where) -> list[bool]:
        length = 0 if place is None else 0 if isinstance(place, Mac) else place.prefixlen
        return [isinstance(place, Mac), *(bit < length for bit in range(128))]

    def of_port(port: Port | None) -> list[bool]:
        return [port is not None and bool(port.mask >> bit & 1) for bit in range(16)]

    return [
        match.family != ANY_FRAME,
        *of_place(match.source),
        *of_place(match.destination),
        match.protocol is not None,
        *of_port(match.source_port),
        *of_port(match.destination_port),
        match.vlan is not None,
    ]


def narrower(a: Match, b: Match) -> bool:
    """Whether a looks at everything that b does, and at something more."""
    apart = 0 not in (a.family, b.family) and a.family != b.family
    pairs = list(zip(bits(a), bits(b), strict=True))
    return (
        not apart and all(one or not other for one, other in pairs) and any(one and not other for one, other in pairs)
    )


@given(flows(), flows())
def test_who_looks_at_more_decides(one: Flow, other: Flow) -> None:
    for a in matches_of(one):
        for b in matches_of(other):
            if narrower(a, b):
                assert a.shape.rank > b.shape.rank
            assert (a.shape.rank == b.shape.rank) is (a.shape == b.shape)


def match(source: str, destination: str, protocol: str = "any", vlan: int | None = None) -> Match:
    flow = Flow(endpoint_from_text(source), endpoint_from_text(destination), protocol_from_text(protocol))
    return matches_of(flow, vlan)[0]


def test_the_order_of_what_is_more_particular() -> None:
    ordered = [
        match("10.0.0.1", "10.0.0.2:80", "tcp"),
        match("10.0.0.1", "10.0.0.2:80/0xfff0", "tcp"),
        match("10.0.0.1", "10.0.0.2", "tcp", 3),
        match("10.0.0.1", "10.0.0.2", "tcp"),
        match("10.0.0.1", "10.0.0.2"),
        match("10.0.0.0/24", "10.0.0.2:80", "tcp"),
        match("any", "10.0.0.2:80", "tcp"),
        match("any", "10.0.0.0/8"),
        match("any", "any:80", "udp"),
        match("any", "any", "udp"),
        match("any", "any", vlan=3),
    ]
    assert sorted(ordered, key=lambda each: each.shape.rank, reverse=True) == ordered


def test_a_port_without_a_protocol_is_of_tcp_and_udp() -> None:
    found = matches_of(Flow(Endpoint(), endpoint_from_text("any:53")))
    assert [(each.family, each.protocol) for each in found] == [(4, 6), (4, 17), (6, 6), (6, 17)]


def test_a_name_is_no_place_in_a_packet() -> None:
    with pytest.raises(InvalidFlow, match="web1 was not resolved"):
        matches_of(Flow(endpoint_from_text("web1"), Endpoint()))


@pytest.mark.parametrize(
    "values",
    [
        {"family": 5},
        {"family": 6, "source": ip_network("10.0.0.1")},
        {"family": 4, "source": ip_network("0.0.0.0/0")},
        {"family": 6, "destination": ip_network("fe80::1%eth0")},
        {"family": ANY_FRAME, "protocol": 6},
        {"family": 4, "protocol": 256},
        {"family": 4, "protocol": 1, "source_port": Port(80)},
        {"family": 4, "source_port": Port(80)},
        {"family": 4, "protocol": 6, "destination_port": 80},
        {"family": 4, "source": "10.0.0.1"},
        {"family": 4, "vlan": 0},
        {"family": 4, "vlan": 4_095},
        {"family": 4, "vlan": True},
    ],
)
def test_what_no_packet_is_like_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidFlow):
        Match(**values)


def test_equal_matches_are_one_key() -> None:
    one, other = match("10.0.0.1", "10.0.0.2:80", "tcp", 3), match("10.0.0.1", "10.0.0.2:80", "tcp", 3)
    assert one is not other
    assert ({one: 1}[other], hash(one)) == (1, hash(other))
    assert one != match("10.0.0.1", "10.0.0.2:80", "udp", 3)
