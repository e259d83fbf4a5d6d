from __future__ import annotations

import errno
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.config import RouteSection
from asa.errors import Unreachable
from asa.flows import HostName, Mac, Place
from asa.routing import ANYWHERE, MAX_REPLY, PATIENCE, Hop, Routes, kernel_interface
from lab import Host, Lab

Network = IPv4Network | IPv6Network
MAC = Mac("02:00:00:00:00:01")


def route(prefix: str, interface: str | None = None, pools: tuple[str, ...] | None = None) -> RouteSection:
    return RouteSection(ip_network(prefix), interface, pools)


def kernel_of(table: dict[str, str]) -> Callable[[Any], str | None]:
    return lambda address: table.get(str(address))


# -- the map


def test_interface_and_pools_are_each_of_the_longest_prefix_that_states_them() -> None:
    routes = Routes(
        [
            route("10.0.0.0/8", "eth0", ("wan",)),
            route("10.1.0.0/16", "eth1"),
            route("10.1.2.0/24", None, ("lan", "wan")),
            route("10.1.2.3/32", None, ()),
        ],
        None,
    )
    assert routes.toward(ip_network("10.9.9.9")) == Hop("eth0", ("wan",))
    assert routes.toward(ip_network("10.1.0.1")) == Hop("eth1", ("wan",))
    assert routes.toward(ip_network("10.1.2.0/25")) == Hop("eth1", ("lan", "wan"))
    assert routes.toward(ip_network("10.1.2.3")) == Hop("eth1", ())
    assert routes.toward(ip_network("11.0.0.0")) == Hop(None, None)


def test_a_prefix_that_has_a_part_of_the_destination_only_says_nothing_of_it() -> None:
    routes = Routes([route("10.1.0.0/16", "eth1", ()), route("10.0.0.0/7", "eth0")], None)
    assert routes.toward(ip_network("10.0.0.0/8")) == Hop("eth0", None)
    assert routes.toward(ip_network("8.0.0.0/6")) == Hop(None, None)


def test_the_versions_of_ip_are_apart() -> None:
    routes = Routes([route("0.0.0.0/0", "eth0"), route("::/0", "eth1")], None)
    assert routes.toward(ip_network("::10.0.0.0/104")).interface == "eth1"
    assert routes.toward(ip_network("10.0.0.0/8")).interface == "eth0"


SMALL = 4
"""Bits in which the prefixes of the model differ; the rest of an address is the same, or 0."""


@st.composite
def prefixes(draw: st.DrawFn) -> Network:
    version = draw(st.sampled_from([4, 6]))
    width = 32 if version == 4 else 128
    # At the front, in the middle or at the end of the address.
    behind = draw(st.sampled_from([width - SMALL, width // 2, 0]))
    length = width - behind - draw(st.integers(0, SMALL))
    number = draw(st.integers(0, 2**SMALL - 1)) << behind
    made = (IPv4Address if version == 4 else IPv6Address)(number)
    return ip_network((made, draw(st.sampled_from([length, length, 0]))), strict=False)


sections = st.lists(
    st.tuples(prefixes(), st.sampled_from([None, "eth0", "eth1"]), st.sampled_from([None, (), ("wan",)])),
    unique_by=lambda each: each[0],
    max_size=12,
)


def _stated(stated: list[tuple[Network, Any]], place: Network) -> Any:
    """A scan of all of them."""
    covering = [
        (prefix.prefixlen, value)
        for prefix, value in stated
        if prefix.version == place.version and place.subnet_of(prefix)  # type: ignore[arg-type]
    ]
    return max(covering, key=lambda each: each[0])[1] if covering else None


def _agreed(stated: list[tuple[Network, Any]]) -> Any:
    values = {value for prefix, value in stated if prefix.prefixlen == 0}
    return values.pop() if len(values) == 1 else None


@given(sections, st.one_of(prefixes(), st.none(), st.just(MAC)))
def test_the_map_says_what_a_scan_of_it_says(rows: list[tuple[Network, Any, Any]], place: Place) -> None:
    interfaces = [(prefix, interface) for prefix, interface, _ in rows if interface is not None]
    pools = [(prefix, each) for prefix, _, each in rows if each is not None]
    expected = (
        Hop(_stated(interfaces, place), _stated(pools, place))
        if isinstance(place, IPv4Network | IPv6Network)
        else Hop(_agreed(interfaces), _agreed(pools))
    )
    made = [RouteSection(*each) for each in rows if each[1:] != (None, None)]
    assert Routes(made, None).toward(place) == expected


def test_ten_thousand_routes_are_not_scanned() -> None:
    dice = random.Random(7)
    numbers = dice.sample(range(2**24), 10_000)
    found = Routes(
        [RouteSection(IPv4Network((each << 8, 24)), f"eth{index % 7}") for index, each in enumerate(numbers)], None
    )
    places = [IPv4Network((each << 8) + 5) for each in numbers]
    began = time.process_time()
    assert [found.toward(each).interface for each in places] == [f"eth{index % 7}" for index in range(10_000)]
    # A scan takes more than ten seconds.
    assert time.process_time() - began < 2


# -- what the map does not name


@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("10.0.0.7", ["10.0.0.7"]),
        ("10.0.0.0/24", ["10.0.0.1", "10.0.0.254"]),
        ("10.0.0.0/30", ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/31", ["10.0.0.0", "10.0.0.1"]),
        ("fd00::7", ["fd00::7"]),
        ("fd00::/126", ["fd00::1", "fd00::3"]),
        ("fd00::/127", ["fd00::", "fd00::1"]),
        ("fd00::/64", ["fd00::1", "fd00::ffff:ffff:ffff:ffff"]),
        ("0.0.0.0/0", [str(ANYWHERE[0])]),
        ("::/0", [str(ANYWHERE[1])]),
        (None, [str(each) for each in ANYWHERE]),
    ],
)
def test_the_kernel_is_asked_for_addresses_a_host_can_have(place: str | None, asked: list[str]) -> None:
    seen: list[str] = []
    where = None if place is None else ip_network(place)
    assert Routes([], lambda address: seen.append(str(address))).toward(where) == Hop(None, None)
    assert seen == asked
    for each in asked:
        assert Routes([], kernel_of({each: "eth3"})).toward(where) == Hop("eth3", None)
    answers = {each: f"eth{index}" for index, each in enumerate(asked)}
    assert Routes([], kernel_of(answers)).toward(where).interface == "eth0"


def test_the_kernel_is_not_asked_where_the_map_names_an_interface() -> None:
    def refuse(_: Any) -> str | None:
        raise AssertionError

    routes = Routes([route("0.0.0.0/0", "eth0"), route("10.0.0.0/8", None, ("wan",))], refuse)
    assert routes.toward(ip_network("10.0.0.0/24")) == Hop("eth0", ("wan",))
    assert routes.toward(None) == Hop("eth0", None)
    assert routes.toward(MAC) == Hop("eth0", None)
    assert Routes([], refuse).toward(MAC) == Hop(None, None)
    assert routes.toward(HostName("web1")) == Hop(None, None)


def test_a_map_without_a_default_for_both_versions_leaves_any_to_the_kernel() -> None:
    kernel = kernel_of({str(ANYWHERE[1]): "eth9"})
    differing = [route("0.0.0.0/0", "eth0", ("wan",)), route("::/0", "eth1", ("wan",))]
    assert Routes(differing, kernel).toward(None) == Hop("eth9", ("wan",))
    assert Routes(differing, kernel).toward(MAC) == Hop(None, ("wan",))
    assert Routes(differing[1:], kernel).toward(None) == Hop("eth1", ("wan",))
    assert Routes([route("::/0", None, ())], kernel).toward(None) == Hop("eth9", ())


def test_what_the_kernel_does_not_tell_is_an_error() -> None:
    def fail(_: Any) -> str | None:
        raise Unreachable("no answer")

    with pytest.raises(Unreachable):
        Routes([route("10.0.0.0/8", None, ())], fail).toward(ip_network("10.0.0.1"))


# -- the kernel's routes


@pytest.fixture
def router(lab: Lab) -> Iterator[Host]:
    """A host of two links, the calling thread in it, without routes but those of its addresses."""
    here, left, right = lab.host("r"), lab.host("a"), lab.host("b")
    assert [lab.link(here, each)[0] for each in (left, right)] == ["eth0", "eth1"]
    for number in (0, 1):
        here.address(f"10.0.{number}.1/24", f"eth{number}")
        here.address(f"fd00:0:0:{number}::1/64", f"eth{number}")
    with here.entered():
        yield here


def ask(address: str) -> str | None:
    return kernel_interface(ip_address(address))


def test_the_kernels_routes_are_found(router: Host) -> None:
    router.ip(
        "route add 10.2.0.0/16 via 10.0.0.2",
        "route add 10.2.3.0/24 via 10.0.1.2",
        "route add fd00:2::/32 via fd00::2",
        "route add fd00:2:3::/48 via fd00:0:0:1::2",
    )
    expected = {
        "10.0.0.2": "eth0", "10.0.1.2": "eth1", "10.2.0.1": "eth0", "10.2.3.1": "eth1", "10.3.0.1": None,
        "fd00::2": "eth0", "fd00:0:0:1::2": "eth1", "fd00:2::1": "eth0", "fd00:2:3::1": "eth1", "fd00:3::1": None,
    }  # fmt: skip
    assert {each: ask(each) for each in expected} == expected
    for each, interface in expected.items():
        done = router.run(["ip", "-json", "route", "get", each], check=False)
        assert (json.loads(done.stdout)[0]["dev"] if done.returncode == 0 else None) == interface


@pytest.mark.parametrize("kind", ["unreachable", "prohibit", "blackhole", "throw"])
def test_routes_on_which_nothing_is_sent_have_no_interface(router: Host, kind: str) -> None:
    router.ip("route add default via 10.0.0.2", "route add default via fd00::2")
    router.ip(f"route add {kind} 10.2.0.0/16", f"route add {kind} fd00:2::/32")
    # The lab has no other table in which a lookup that was thrown back could go on.
    assert (ask("10.2.0.1"), ask("fd00:2::1")) == (None, None)
    assert (ask("10.3.0.1"), ask("fd00:3::1")) == ("eth0", "eth0")


def test_what_is_sent_to_this_host_itself_has_no_interface(router: Host) -> None:
    router.forwarding(True)
    router.ip("route add 10.2.0.0/16 dev lo", "route add fd00:2::/32 dev lo")
    for each in "127.0.0.1", "10.0.0.1", "0.0.0.0", "10.2.0.1", "::1", "fd00::1", "fd00:2::1":
        assert ask(each) is None, each
    # The anycast address of the subnet's routers, of which this host is one (RFC 4291 §2.6.1).
    assert ask("fd00::") is None
    assert ask("fe80::1") is None


def test_a_network_this_router_is_the_first_host_of_is_on_its_link(router: Host) -> None:
    routes = Routes([], kernel_interface)
    for place, interface in ("10.0.1.0/24", "eth1"), ("fd00:0:0:1::/64", "eth1"), ("10.0.1.1/32", None):
        assert routes.toward(ip_network(place)) == Hop(interface, None)


def test_any_is_the_kernels_default_route_of_ipv4_then_of_ipv6(router: Host) -> None:
    routes = Routes([], kernel_interface)
    # Half of everything each, so that only a default route is left for the rest.
    router.ip("route add 128.0.0.0/1 via 10.0.0.2", "route add 2000::/3 via fd00::2")
    assert routes.toward(None) == Hop(None, None)
    router.route("default", "fd00:0:0:1::2")
    assert routes.toward(None) == Hop("eth1", None)
    assert routes.toward(ip_network("::/0")) == Hop("eth1", None)
    assert routes.toward(ip_network("0.0.0.0/0")) == Hop(None, None)
    router.route("default", "10.0.0.2")
    assert routes.toward(None) == Hop("eth0", None)
    router.down("eth0")
    assert routes.toward(None) == Hop("eth1", None)


def test_of_equal_routes_it_is_one(router: Host) -> None:
    router.ip(
        "route add 10.2.0.0/16 nexthop via 10.0.0.2 nexthop via 10.0.1.2",
        "route add fd00:2::/32 nexthop via fd00::2 nexthop via fd00:0:0:1::2",
    )
    for prefix in "10.2.0.", "fd00:2::":
        assert {ask(f"{prefix}{each}") for each in range(1, 100)} == {"eth0", "eth1"}


def test_threads_ask_side_by_side(router: Host) -> None:
    found: list[str | None] = []

    def look() -> None:
        for _ in range(200):
            found.append(ask("10.0.0.2"))
            found.append(ask("fd00::2"))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert found == ["eth0"] * 1600


# -- a kernel that does not answer as it should


class Fake:
    """A netlink socket that gives one answer."""

    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer
        self.timeout: float | None = None

    def __call__(self, *_: Any) -> Fake:
        return self

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def settimeout(self, value: float) -> None:
        self.timeout = value

    def connect(self, address: tuple[int, int]) -> None:
        assert address == (0, 0)

    def send(self, question: bytes) -> int:
        return len(question)

    def recv(self, most: int) -> bytes:
        assert self.timeout == PATIENCE
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer[:most]


def answered(answer: bytes | OSError, address: str = "10.0.0.1") -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", fake := Fake(answer))
        patch.setattr(socket, "if_indextoname", lambda index: f"if{index}")
        try:
            return ask(address)
        finally:
            assert fake.closed


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=LHHLL", 16 + len(body), kind, 0, 1, 0) + body


def refusal(code: int) -> bytes:
    return message(2, struct.pack("=i", -code))


ROUTE = bytes([2, 32, 0, 0, 254, 0, 0, 1]) + bytes(4)
TABLE = struct.pack("=HHL", 8, 15, 254)
INTERFACE = struct.pack("=HHL", 8, 4, 7)


def test_an_answer_is_read() -> None:
    assert answered(message(24, ROUTE + TABLE + INTERFACE)) == "if7"
    assert answered(message(24, ROUTE + struct.pack("=HH", 5, 99) + b"x\0\0\0" + INTERFACE)) == "if7"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (TimeoutError("timed out"), "timed out"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        # Of a policy, not of a route.
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (refusal(errno.EPERM), "Operation not permitted"),
        (refusal(errno.EOPNOTSUPP), "Operation not supported"),
        (b"", "its answer cannot be read: "),
        (message(3, b""), "a message of type 3"),
        (message(24, ROUTE), "no interface"),
        (message(24, ROUTE[:-1]), "its answer cannot be read: "),
        (message(24, ROUTE + TABLE + INTERFACE)[:-1], "44 bytes, 43 came"),
        (message(24, ROUTE + struct.pack("=HHL", 3, 4, 7)), "an attribute of 3 bytes"),
        (message(24, ROUTE + struct.pack("=HHL", 9, 4, 7)), "an attribute of 9 bytes"),
        (message(24, ROUTE + bytes(MAX_REPLY)), f"{16 + 12 + MAX_REPLY} bytes, {MAX_REPLY} came"),
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes | OSError, why: str) -> None:
    with pytest.raises(Unreachable) as error:
        answered(answer)
    assert error.value.message.startswith("the kernel does not tell how it reaches 10.0.0.1: ")
    assert why in error.value.message
    assert "kernel_routes" in error.value.hint


def test_a_kernel_without_ipv6_has_no_routes_of_it() -> None:
    assert answered(refusal(errno.EOPNOTSUPP), "fd00::1") is None


def test_an_interface_that_went_away_meanwhile_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Fake(message(24, ROUTE + struct.pack("=HHL", 8, 4, 2**31 - 1))))
    assert ask("10.0.0.1") is None


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_any_bytes_are_an_answer_or_an_error(whole: bytes, attributes: bytes) -> None:
    for each in whole, message(24, ROUTE + attributes):
        try:
            found = answered(each)
        except Unreachable:
            continue
        assert found is None or found.startswith("if")
