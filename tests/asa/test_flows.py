from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asa.errors import BadRequest
from asa.flows import (
    ANY,
    Endpoint,
    Flow,
    HostName,
    InvalidFlow,
    Mac,
    Place,
    Port,
    check_ends_differ,
    endpoint_from_text,
    flow_from_json,
    flow_json,
    identity,
    overlapping,
    protocol_from_text,
    protocol_text,
    same_flow,
)

HOW_PLACES = "write 10.0.0.1, 10.0.0.0/8, fd00::1, fd00::/64, aa:bb:cc:dd:ee:ff, a host's name, or any"
HOW_NAMES = "a name is labels of 1..63 letters, digits and inner -, with dots between; the last is no number"
HOW_PORTS = "a port is 80, 0x50, or 80/0xfff0 with a mask"
HOW_VLANS = "a VLAN is {1} to {4094}"
HOW_MASKS = "a mask is 0x and one to four hexadecimal digits"
HOW_BRACKETS = "write [fd00::1]:443 or 10.0.0.1:80"
HOW_PROTOCOLS = "write icmp, tcp, udp, icmpv6, sctp, a number 0..255, or any"


def v4_prefix(address: int, length: int) -> IPv4Network:
    return IPv4Network((address & ~(2 ** (32 - length) - 1), length))


def v6_prefix(address: int, length: int) -> IPv6Network:
    return IPv6Network((address & ~(2 ** (128 - length) - 1), length))


LABELS = st.from_regex("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
NAMES = st.builds(lambda labels, last: ".".join([*labels, "h" + last]), st.lists(LABELS, max_size=3), LABELS)
PLACES = st.one_of(
    st.none(),
    st.builds(v4_prefix, st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda address: IPv4Network(address), st.integers(0, 2**32 - 1)),
    st.builds(v6_prefix, st.integers(2**96, 2**128 - 1), st.integers(0, 128)),
    st.builds(lambda address: IPv6Network(address), st.integers(2**96, 2**128 - 1)),
    st.builds(lambda octets: Mac(octets.hex(":")), st.binary(min_size=6, max_size=6)),
    st.builds(HostName, NAMES),
)
PORTS = st.one_of(
    st.builds(Port, st.integers(1, 0xFFFF)),
    st.builds(lambda number, mask: Port(number & mask or mask, mask), st.integers(0, 0xFFFF), st.integers(1, 0xFFFF)),
)
ENDPOINTS = st.builds(Endpoint, PLACES, st.none() | PORTS, st.none() | st.integers(1, 4_094))


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    source, destination = draw(ENDPOINTS), draw(ENDPOINTS)
    protocol = draw(st.sampled_from([None, 6, 17, 132]) | st.none() | st.integers(0, 255))
    try:
        return Flow(source, destination, protocol)
    except InvalidFlow:
        assume(False)
        raise


def flow(source: str, destination: str, protocol: str = "any") -> Flow:
    return flow_from_json({"source": source, "destination": destination, "protocol": protocol})


def refused(text: object) -> InvalidFlow:
    with pytest.raises(InvalidFlow) as error:
        endpoint_from_text(text)
    assert isinstance(error.value, ValueError)
    assert isinstance(error.value, BadRequest)
    assert error.value.code == "bad-flow"
    assert error.value.message.startswith("endpoint ")
    assert error.value.message.isprintable()
    return error.value


# -- endpoints


@pytest.mark.parametrize(
    ("text", "place", "port", "vlan"),
    [
        ("10.0.0.1", IPv4Network("10.0.0.1/32"), None, None),
        ("10.0.0.0/8", IPv4Network("10.0.0.0/8"), None, None),
        ("10.0.0.0/8:80", IPv4Network("10.0.0.0/8"), Port(80), None),
        ("10.0.0.1:80", IPv4Network("10.0.0.1/32"), Port(80), None),
        ("10.0.0.1:80/0xfff0{3}", IPv4Network("10.0.0.1/32"), Port(80, 0xFFF0), 3),
        ("[fd00::1]:443", IPv6Network("fd00::1/128"), Port(443), None),
        ("fd00::1", IPv6Network("fd00::1/128"), None, None),
        ("fd00::/64", IPv6Network("fd00::/64"), None, None),
        ("[fd00::/64]:53", IPv6Network("fd00::/64"), Port(53), None),
        ("fd00::1{4094}", IPv6Network("fd00::1/128"), None, 4094),
        ("::", IPv6Network("::/128"), None, None),
        ("::/0", IPv6Network("::/0"), None, None),
        ("0.0.0.0/0", IPv4Network("0.0.0.0/0"), None, None),
        ("aa:bb:cc:dd:ee:ff", Mac("aa:bb:cc:dd:ee:ff"), None, None),
        ("aa:bb:cc:dd:ee:ff{7}", Mac("aa:bb:cc:dd:ee:ff"), None, 7),
        ("[aa:bb:cc:dd:ee:ff]:80", Mac("aa:bb:cc:dd:ee:ff"), Port(80), None),
        ("web1:80{3}", HostName("web1"), Port(80), 3),
        ("fd00:1", HostName("fd00"), Port(1), None),
        ("1st.example.com", HostName("1st.example.com"), None, None),
        ("any", None, None, None),
        ("any:53", None, Port(53), None),
        ("any{1}", None, None, 1),
        ("web1:0/0xfc00", HostName("web1"), Port(0, 0xFC00), None),
        ("web1:255/0xff", HostName("web1"), Port(255, 0xFF), None),
    ],
)
def test_an_endpoint_is_read_and_written(text: str, place: Place, port: Port | None, vlan: int | None) -> None:
    assert endpoint_from_text(text) == Endpoint(place, port, vlan)
    assert str(Endpoint(place, port, vlan)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" WEB1:80 ", "web1:80"), ("web1:0x50", "web1:80"), ("web1:80/0xffff", "web1:80"), ("web1:0X50/0x0FF0", None),
        ("10.0.0.1/32", "10.0.0.1"), ("FD00:0:0::0001/128", "fd00::1"), ("[fd00::1]", "fd00::1"),
        ("AA:BB:CC:DD:EE:FF", "aa:bb:cc:dd:ee:ff"), ("ANY", "any"), ("fd00::1:443", "fd00::1:443"),
        ("[fd00::1]{3}", "fd00::1{3}"), ("::1.2.3.4", "::102:304"),
    ],
)  # fmt: skip
def test_there_is_one_text_for_each_endpoint(text: str, canonical: str | None) -> None:
    assert str(endpoint_from_text(text)) == (canonical or "web1:80/0xff0")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("10.0.0.1/8:80", "did you mean 10.0.0.0/8?"),
        ("fd00::1/64", "did you mean fd00::/64?"),
        ("10.0.0.0/255.0.0.0", "did you mean 10.0.0.0/8?"),
        ("10.0.0.0/0.255.255.255", "did you mean 10.0.0.0/8?"),
        ("10.0.0.0/08", "did you mean 10.0.0.0/8?"),
        ("fe80::1%eth0", "leave out % and the interface"),
        ("[fe80::1%eth0]:80", "leave out % and the interface"),
        ("::ffff:10.0.0.1", "did you mean 10.0.0.1?"),
        ("::ffff:10.0.0.0/104", "did you mean 10.0.0.0/8?"),
        ("fd00::1:80/0xfff0", "did you mean [fd00::1]:80/0xfff0?"),
        ("fd00::/64:53", "did you mean [fd00::/64]:53?"),
        ("1:2:3:4:5:6:7:8:80", "did you mean [1:2:3:4:5:6:7:8]:80?"),
        ("fd00:::1", "did you mean [fd00::]:1?"),
        ("aa:bb:cc:dd:ee:ff:80", "did you mean [aa:bb:cc:dd:ee:ff]:80?"),
        ("aa-bb-cc-dd-ee-ff", "did you mean aa:bb:cc:dd:ee:ff?"),
        ("AABB.CCDD.EEFF", "did you mean aa:bb:cc:dd:ee:ff?"),
        ("aabb.ccdd.1234", "did you mean aa:bb:cc:dd:12:34?"),
        ("web1:85/0xfff0", "did you mean 80/0xfff0?"),
        ("web1:3/0xfff0", "did you mean 0/0xfff0?"),
        ("web1:80/0x0", "leave the port out: that is any"),
        ("web1:0", "leave the port out for any port"),
        ("web1:65536", "a port is 1..65535"),
        ("web1:80/12", f"{HOW_MASKS}; 12 bits are 0xfff0"),
        ("web1:80/16", f"{HOW_MASKS}; 16 bits are 0xffff"),
        ("web1:80/17", HOW_MASKS),
        ("web1:80/", HOW_MASKS),
        ("web1:80/0x12345", HOW_MASKS),
        ("web1{0}", "0 is a priority tag; leave it out for any VLAN"),
        ("web1{4095}", HOW_VLANS),
        *((f"web1{each}", HOW_VLANS) for each in ("{x}", "{}", "{3", "3}", "{03}", "{3}{4}", "{3}:80", "{-1}")),
        *((f"web1:{each}", HOW_PORTS) for each in ("", "http", "080", "-1", "0x", "0x10000", "100000", "80-90", " 80")),
        *((each, HOW_BRACKETS) for each in ("[10.0.0.1]:80", "[web1]:80", "[fd00::1", "[fd00::1]80", "[[::]]", "[]")),
        *((each, HOW_NAMES) for each in (
            "web1.", "we_b", "-web", "web-", "a b", "a..b", "*", "*.example.com", "x" * 64, "a." * 126 + "bc", "a\0b",
        )),
        *((each, HOW_PLACES) for each in (
            "", " ", ":80", "{3}", "10", "010.0.0.1", "1.2.3", "10.0.0.256", "300.1.1.1", "0x7f.1", "0x10",
            "10.0.0.0/33", "fd00::/129", "10.0.0.1:80:90", "10.0.0.1-10.0.0.9", "a:b:c:d:e:f", "fd00:::", "web1/24",
            "any/0", ":" * 299, ":1" * 149, "web\u212a", "wéb", "x" * 301, None, 80, b"any", ["any"], "web1.123",
            "10.0.0.1.",
        )),
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused_with_what_to_write(text: object, hint: str) -> None:
    assert refused(text).hint == hint


@given(ENDPOINTS)
def test_an_endpoint_reads_back_as_itself(end: Endpoint) -> None:
    assert endpoint_from_text(str(end)) == end
    assert endpoint_from_text(str(end).upper()) == end


@given(st.text(st.sampled_from("0123456789abcdefx:./[]{}-% "), max_size=30) | st.text(max_size=10))
def test_what_is_read_has_one_text_and_what_is_not_is_refused(text: str) -> None:
    try:
        end = endpoint_from_text(text)
    except InvalidFlow:
        assert refused(text).hint
    else:
        assert endpoint_from_text(str(end)) == end


@given(st.ip_addresses())
def test_what_parses_as_an_address_is_one(address: IPv4Address | IPv6Address) -> None:
    assume(getattr(address, "ipv4_mapped", None) is None)
    assert endpoint_from_text(str(address)).place == ip_network(address)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Mac, ("AA:bb:cc:dd:ee:ff",)), (HostName, ("Web1",)), (HostName, ("any",)), (HostName, ("1.2",)),
        (HostName, ("aa-bb-cc-dd-ee-ff",)), (Port, (-1,)), (Port, (True,)), (Port, (1, 1 << 16)), (Port, (2, 1)),
        (Endpoint, ("10.0.0.1",)), (Endpoint, (None, 80)), (Endpoint, (None, None, 0)), (Endpoint, (None, None, True)),
        (Endpoint, (IPv6Network("::ffff:1.2.3.4"),)), (Endpoint, (IPv6Network("fe80::1%eth0"),)),
        (Endpoint, (ip_address("10.0.0.1"),)), (Flow, ("any", ANY)), (Flow, (ANY, ANY, 256)), (Flow, (ANY, ANY, "tcp")),
        (Flow, (ANY, ANY, True)),
    ],
)  # fmt: skip
def test_values_are_checked_when_made(kind: Callable[..., object], values: tuple[object, ...]) -> None:
    with pytest.raises(InvalidFlow) as error:
        kind(*values)
    assert error.value.hint


def test_values_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ANY.vlan = 3  # type: ignore[misc]


def test_ports_with_masks_meet_where_a_port_is_in_both_and_are_equal_where_all_are() -> None:
    """Three bits of the port, each 0, 1 or not looked at: every pair of 27."""
    masked = [Port(0x40 | number, 0xFFF8 | mask) for mask in range(8) for number in range(8) if number & ~mask == 0]
    ports = {each: {port for port in range(0x40, 0x48) if port & each.mask == each.number} for each in masked}
    assert len(masked) == 27
    for a, b in itertools.product(masked, masked):
        assert a.meets(b) is bool(ports[a] & ports[b])
        assert (a == b) is (ports[a] == ports[b])


# -- protocols and flows


@pytest.mark.parametrize(
    ("text", "number", "canonical"),
    [
        ("tcp", 6, "tcp"), ("6", 6, "tcp"), (" UDP ", 17, "udp"), ("icmp", 1, "icmp"), ("icmpv6", 58, "icmpv6"),
        ("sctp", 132, "sctp"), ("any", None, "any"), ("0", 0, "0"), ("47", 47, "47"), ("255", 255, "255"),
    ],
)  # fmt: skip
def test_a_protocol_is_read_and_written(text: str, number: int | None, canonical: str) -> None:
    assert protocol_from_text(text) == number
    assert protocol_text(number) == canonical


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tpc", "did you mean tcp?"), ("udp6", "did you mean udp?"), ("tcp4", "did you mean tcp?"),
        ("icmp6", "did you mean icmpv6?"),
        *((each, HOW_PROTOCOLS) for each in ("", "256", "-1", "06", "0x6", "xyz", "٣", "9" * 400, None, 6, True)),
    ],
)  # fmt: skip
def test_what_is_no_protocol_is_refused_with_what_to_write(text: object, hint: str) -> None:
    with pytest.raises(InvalidFlow) as error:
        protocol_from_text(text, "flow.protocol")
    assert error.value.hint == hint
    assert error.value.message.startswith("flow.protocol ")


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "hint"),
    [
        ("10.0.0.1", "fd00::1", "any", "give both ends as IPv4 or as IPv6"),
        ("fd00::/8", "0.0.0.0/0", "tcp", "give both ends as IPv4 or as IPv6"),
        ("10.0.0.1", "fd00::1", "icmp", "give both ends as IPv4 or as IPv6"),
        ("fd00::1", "any", "icmp", "did you mean icmpv6?"),
        ("any", "10.0.0.1", "58", "did you mean icmp?"),
        ("10.0.0.1:80", "any", "icmp", "leave the port out, or name tcp, udp or sctp"),
        ("any", "web1:80", "47", "leave the port out, or name tcp, udp or sctp"),
        ("[aa:bb:cc:dd:ee:ff]:80", "any", "any", "name tcp, udp or sctp"),
        ("web1", "[aa:bb:cc:dd:ee:ff]:80", "any", "name tcp, udp or sctp"),
    ],
)
def test_ends_and_protocol_that_do_not_go_together_are_refused(
    source: str, destination: str, protocol: str, hint: str
) -> None:
    with pytest.raises(InvalidFlow) as error:
        flow(source, destination, protocol)
    assert error.value.hint == hint
    assert error.value.message.startswith("flow: ")


def test_a_port_without_a_protocol_is_of_tcp_and_udp() -> None:
    assert flow("any:53", "any").protocols == frozenset({6, 17})
    assert flow("any", "any:53").protocols == frozenset({6, 17})
    assert flow("any", "any").protocols is None
    assert flow("any:53", "any", "sctp").protocols == frozenset({132})
    assert flow("any", "any", "47").protocols == frozenset({47})


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "families"),
    [
        ("any", "web1", "any", {4, 6}), ("aa:bb:cc:dd:ee:ff", "any", "tcp", {4, 6}), ("10.0.0.1", "any", "any", {4}),
        ("web1", "fd00::1", "any", {6}), ("web1", "web2", "icmp", {4}), ("web1", "web2", "icmpv6", {6}),
    ],
)  # fmt: skip
def test_ends_and_protocol_say_the_ip_version(source: str, destination: str, protocol: str, families: set[int]) -> None:
    assert flow(source, destination, protocol).families == families


@given(flows())
def test_the_way_back_of_the_way_back_is_the_way(one: Flow) -> None:
    back = one.reversed()
    assert (back.source, back.destination, back.protocol) == (one.destination, one.source, one.protocol)
    assert back.reversed() == one


@given(flows())
def test_a_flow_comes_back_from_json_with_every_field(one: Flow) -> None:
    shown = json.loads(json.dumps(flow_json(one)))
    assert flow_from_json(shown) == one
    assert all(isinstance(each, str) for each in shown.values())


def test_the_protocol_may_be_left_out_of_json() -> None:
    assert flow_from_json({"source": "any", "destination": "web1"}) == Flow(ANY, Endpoint(HostName("web1")))


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (None, "flow is a NoneType", "give an object with source, destination and protocol"),
        ({}, "flow.source is missing", HOW_PLACES),
        ({"source": "any"}, "flow.destination is missing", HOW_PLACES),
        ({"source": "any", "destination": "10.0.0.1/8"},
         "flow.destination '10.0.0.1/8': is no network: host bits are set", "did you mean 10.0.0.0/8?"),
        ({"source": 1, "destination": "any"},
         "flow.source a int: is no ASCII text of at most 300 characters", HOW_PLACES),
        ({"source": "any", "destination": "any", "dst": 1}, "flow.'dst' does not exist",
         "known keys: source, destination, protocol"),
        ({"source": "any", "destination": "any", "protocol": 6}, "flow.protocol a int is no protocol", HOW_PROTOCOLS),
        ({"source": "any", "destination": "any", "protocol": None}, "flow.protocol a NoneType is no protocol",
         HOW_PROTOCOLS),
        ({"source": "1.1.1.1", "destination": "::1"}, "flow: no packet of any goes from 1.1.1.1 to ::1",
         "give both ends as IPv4 or as IPv6"),
    ],
)  # fmt: skip
def test_json_that_is_no_flow_is_refused_with_where(value: object, message: str, hint: str) -> None:
    with pytest.raises(InvalidFlow) as error:
        flow_from_json(value)
    assert (error.value.message, error.value.hint) == (message, hint)


# -- the same flow

BOOKED = flow("10.0.0.1:80{3}", "10.0.0.2:0x1000/0xf000{4}", "tcp")
CHANGED = [
    flow("10.0.0.1:81{3}", "10.0.0.2:4096/0xf000{4}", "tcp"),
    flow("10.0.0.1:80{5}", "10.0.0.2:4096/0xf000{4}", "tcp"),
    flow("10.0.0.1:80", "10.0.0.2:4096/0xf000{4}", "tcp"),
    flow("10.0.0.1{3}", "10.0.0.2:4096/0xf000{4}", "tcp"),
    flow("10.0.0.1:80{3}", "10.0.0.2:4096/0xff00{4}", "tcp"),
    flow("10.0.0.1:80{3}", "10.0.0.2:4096{4}", "tcp"),
    flow("10.0.0.1:80{3}", "10.0.0.3:4096/0xf000{4}", "tcp"),
    flow("10.0.0.1:80{3}", "10.0.0.2/31:4096/0xf000{4}", "tcp"),
    flow("10.0.0.1:80{3}", "10.0.0.2:4096/0xf000{4}", "udp"),
    flow("10.0.0.1:80{3}", "10.0.0.2:4096/0xf000{4}"),
]


@pytest.mark.parametrize("either_way", [False, True])
def test_scenario_4_the_same_ends_ports_protocol_and_vlans_are_the_same_flow(either_way: bool) -> None:
    again = flow(" 10.0.0.1/32:0x50{3}", "10.0.0.2:4096/0xF000{4}", "6")
    assert same_flow(BOOKED, again, either_way=either_way)
    assert {identity(BOOKED, either_way): "r-1"}[identity(again, either_way)] == "r-1"


def test_scenario_5_with_the_ends_swapped_it_is_the_same_flow_for_two_way_only() -> None:
    swapped = flow("10.0.0.2:4096/0xf000{4}", "10.0.0.1:80{3}", "tcp")
    assert swapped == BOOKED.reversed()
    assert same_flow(BOOKED, swapped, either_way=True)
    assert not same_flow(BOOKED, swapped, either_way=False)


def test_scenario_5_ports_and_vlans_swap_with_their_ends() -> None:
    hosts_only = flow("10.0.0.2:80{3}", "10.0.0.1:4096/0xf000{4}", "tcp")
    vlans_stay = flow("10.0.0.2:4096/0xf000{3}", "10.0.0.1:80{4}", "tcp")
    ports_stay = flow("10.0.0.2:80{4}", "10.0.0.1:4096/0xf000{3}", "tcp")
    assert not any(same_flow(BOOKED, each, either_way=True) for each in (hosts_only, vlans_stay, ports_stay))


@pytest.mark.parametrize("either_way", [False, True])
@pytest.mark.parametrize("other", CHANGED)
def test_scenario_6_where_only_a_vlan_a_port_or_another_part_differs_it_is_another_flow(
    other: Flow, either_way: bool
) -> None:
    assert not same_flow(BOOKED, other, either_way=either_way)
    assert not same_flow(BOOKED, other.reversed(), either_way=either_way)


def test_scenario_10_both_ends_the_same_are_refused_whatever_the_ports() -> None:
    for source, destination in (
        ("web1", "web1"), ("web1:80", "WEB1:81"), ("10.0.0.1", "10.0.0.1/32"), ("fd00::1{3}", "fd00:0::1{3}"),
        ("aa:bb:cc:dd:ee:ff", "AA:BB:CC:DD:EE:FF{3}"), ("10.0.0.0/8", "10.0.0.0/8"), ("any", "any"),
    ):  # fmt: skip
        with pytest.raises(InvalidFlow, match="are the same endpoint") as error:
            check_ends_differ(flow(source, destination))
        assert error.value.hint == "name two different hosts"
    for source, destination in (
        ("web1", "web2"), ("10.0.0.1{3}", "10.0.0.1{4}"), ("10.0.0.0/8", "10.0.0.1"), ("any", "web1"),
    ):  # fmt: skip
        check_ends_differ(flow(source, destination))


def mixed(a: Flow, b: Flow) -> Iterator[Flow]:
    """``a`` with one part each of ``b``, both ways round."""
    for source, destination, protocol in (
        (b.source, a.destination, a.protocol), (a.source, b.destination, a.protocol),
        (a.source, a.destination, b.protocol),
        (replace(a.source, vlan=b.source.vlan), a.destination, a.protocol),
        (replace(a.source, port=b.source.port), a.destination, a.protocol),
    ):  # fmt: skip
        try:
            yield Flow(source, destination, protocol)
            yield Flow(destination, source, protocol)
        except InvalidFlow:
            pass


@given(flows(), flows())
def test_identity_agrees_with_the_rule_field_by_field(a: Flow, b: Flow) -> None:
    def parts(one: Flow) -> list[object]:
        """What the rule names, taken from the text that is stored."""
        shown = flow_json(one)
        return [shown["protocol"], shown["source"], shown["destination"]]

    for other in (a, a.reversed(), b, *mixed(a, b)):
        straight = parts(a) == parts(other)
        crossed = parts(a) == parts(other.reversed())
        assert same_flow(a, other, either_way=False) is straight
        assert same_flow(a, other, either_way=True) is (straight or crossed)
        assert (hash(identity(a, True)) == hash(identity(other, True))) or not (straight or crossed)


def test_identity_is_that_of_the_packets_in_a_small_space() -> None:
    """TCP between two hosts: two bits of each port looked at or not, or no port at all; every pair of such flows."""
    masked = [Port(80 | number, 0xFFFC | mask) for mask in range(4) for number in range(4) if number & ~mask == 0]
    ports = [7, 80, 81, 82, 83]
    ends = [Endpoint(IPv4Network(place), port) for place in (1, 2) for port in [None, *masked]]

    def at(end: Endpoint) -> frozenset[tuple[Place, int]]:
        return frozenset((end.place, each) for each in ports if not end.port or each & end.port.mask == end.port.number)

    found = {Flow(a, b, 6): (at(a), at(b)) for a, b in itertools.product(ends, ends)}
    for (a, (source, destination)), (b, packets) in itertools.product(found.items(), found.items()):
        assert same_flow(a, b, either_way=False) is (packets == (source, destination))
        assert same_flow(a, b, either_way=True) is (packets in ((source, destination), (destination, source)))


@pytest.mark.parametrize("either_way", [False, True])
def test_keys_of_many_flows_do_not_collide(either_way: bool) -> None:
    """A look-up takes as long among many as among few only while the hashes are spread."""
    many = [
        Flow(Endpoint(IPv4Network(0x0A000000 + at)), Endpoint(IPv4Network(0x0B000000 + at % 100), Port(1 + at % 7)), 6)
        for at in range(20_000)
    ]
    assert len({hash(identity(each, either_way)) for each in many}) > 19_900


# -- overlapping


class Packet(NamedTuple):
    protocol: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    macs: tuple[str, str]
    ports: tuple[int, int]
    vlans: tuple[int, int]


MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
TWO = {4: [ip_address("10.0.0.0"), ip_address("10.0.0.1")], 6: [ip_address("fd00::"), ip_address("fd00::1")]}
PACKETS = [
    Packet(protocol, source, destination, (MACS[a], MACS[b]), ports, vlans)
    for family, protocols in ((4, (1, 6, 17, 132)), (6, (6, 17, 58, 132)))
    for protocol in protocols
    for source, destination in itertools.product(TWO[family], TWO[family])
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1))
    for ports in (itertools.product((80, 81), (80, 81)) if protocol in (6, 17, 132) else [(-1, -1)])
    for vlans in itertools.product((1, 2), (1, 2))
]
SMALL_PLACES = st.sampled_from([
    None, Mac(MACS[0]), Mac(MACS[1]), *map(ip_network, ("10.0.0.0", "10.0.0.1", "10.0.0.0/31", "fd00::", "fd00::/127")),
])  # fmt: skip
SMALL_PORTS = st.sampled_from([None, None, Port(80), Port(81), Port(80, 0xFFFE), Port(81, 0xFF), Port(0, 1)])
SMALL_ENDS = st.builds(Endpoint, SMALL_PLACES, SMALL_PORTS, st.sampled_from([None, None, 1, 2]))


@st.composite
def small_flows(draw: st.DrawFn) -> Flow:
    protocol = draw(st.sampled_from([None, None, 1, 6, 17, 58, 132]))
    try:
        return Flow(draw(SMALL_ENDS), draw(SMALL_ENDS), protocol)
    except InvalidFlow:
        assume(False)
        raise


def matched(one: Flow) -> set[Packet]:
    def at(end: Endpoint, address: IPv4Address | IPv6Address, mac: str, port: int, vlan: int) -> bool:
        if isinstance(end.place, Mac):
            here = mac == end.place.text
        else:
            assert not isinstance(end.place, HostName)
            here = end.place is None or address in end.place
        return (
            here
            and (end.port is None or (port >= 0 and port & end.port.mask == end.port.number))
            and (end.vlan is None or vlan == end.vlan)
        )

    ported = one.source.port or one.destination.port
    return {
        each
        for each in PACKETS
        if (each.protocol == one.protocol if one.protocol is not None else not ported or each.protocol in (6, 17))
        and at(one.source, each.source, each.macs[0], each.ports[0], each.vlans[0])
        and at(one.destination, each.destination, each.macs[1], each.ports[1], each.vlans[1])
    }


@given(small_flows(), small_flows())
def test_flows_overlap_exactly_where_a_packet_matches_both(a: Flow, b: Flow) -> None:
    first, second = matched(a), matched(b)
    assert first
    assert overlapping(a, b) is overlapping(b, a) is bool(first & second)
    assert overlapping(a, a)


def test_a_mac_address_may_be_that_of_any_address_but_a_packet_has_one_ip_version() -> None:
    by_mac = flow("02:00:00:00:00:01", "10.0.0.1")
    assert overlapping(by_mac, flow("10.0.0.9", "10.0.0.0/8"))
    assert not overlapping(by_mac, flow("02:00:00:00:00:02", "10.0.0.1"))
    assert not overlapping(by_mac, flow("fd00::1", "02:00:00:00:00:03"))


def test_a_name_may_be_any_host() -> None:
    assert overlapping(flow("web1", "10.0.0.1"), flow("fd00::1", "web2")) is False
    assert overlapping(flow("web1", "web2"), flow("10.0.0.1", "02:00:00:00:00:01"))
    assert overlapping(flow("web1:80", "web2"), flow("web3:81", "web2")) is False
