from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.errors import BadConfig
from asa.flows import Flow, InvalidFlow, Mac, flow_from_json, flow_json
from asa.hosts import MAX_FILE, Host, HostTable, Preference, UnknownHost, load, parse

ADDRESSES = 'a list of one IPv4 address, one IPv6 address or both, as in ["10.0.0.1", "fd00::1"]'
ONE = "an address that one host has and others reach"
SECTION = "a section: [hosts.web1]"
NAME = "a name is labels of 1..63 letters, digits and inner -, with dots between; the last is no number"
MAC = "a MAC address: write aa:bb:cc:dd:ee:ff"

TABLE = parse(
    """
    [hosts.web1]
    addresses = ["10.0.0.1", "fd00::1"]
    mac = "02:00:00:00:00:01"

    [hosts]
    Web2 = { addresses = ["fd00::2", "10.0.0.2"] }
    old = { addresses = ["10.0.0.3"] }
    new = { addresses = ["fd00::4"] }
    wire = { mac = "02:00:00:00:00:05" }
    wire2 = { mac = "02:00:00:00:00:06" }

    [hosts."db.example.com"]
    addresses = ["fd00::7"]
    """,
    "hosts.toml",
)


def flow(source: str, destination: str, protocol: str = "any") -> Flow:
    return flow_from_json({"source": source, "destination": destination, "protocol": protocol})


def problems(text: str) -> dict[str, tuple[str, str]]:
    """What is wrong with ``text``, and what is allowed, by key."""
    with pytest.raises(BadConfig) as error:
        parse(text, "hosts.toml")
    found = error.value.details["problems"]
    assert json.loads(json.dumps(found)) == found
    assert error.value.message.startswith("hosts.toml")
    assert error.value.message.isprintable()
    return {each["key"]: (each["problem"], each["allowed"]) for each in found}


def test_every_key_is_read() -> None:
    assert TABLE.resolve("web1") == Host(
        "web1", (IPv4Address("10.0.0.1"), IPv6Address("fd00::1")), Mac("02:00:00:00:00:01")
    )
    assert TABLE.resolve("wire") == Host("wire", (), Mac("02:00:00:00:00:05"))
    assert TABLE.resolve("db.example.com").addresses == (IPv6Address("fd00::7"),)
    assert len(TABLE.hosts) == 7


def test_the_order_of_addresses_and_the_case_of_names_make_no_difference() -> None:
    assert TABLE.resolve("WEB2").addresses == (IPv4Address("10.0.0.2"), IPv6Address("fd00::2"))
    assert parse('[hosts.A]\nmac = "02:AA:00:00:00:01"', "x") == parse('[hosts.a]\nmac = "02:aa:00:00:00:01"', "x")


def test_no_hosts_are_a_table() -> None:
    assert parse("", "x") == parse("[hosts]", "x") == HostTable()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("web3", "did you mean web2 or web1?"),
        ("db.exmple.com", "did you mean db.example.com?"),
        ("printer", "give its address, or write it into the host table"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownHost) as error:
        TABLE.resolve(name)
    assert (error.value.code, error.value.status) == ("unknown-host", 400)
    assert error.value.message == f"there is no host '{name}' in the host table"
    assert error.value.hint == hint
    with pytest.raises(UnknownHost):
        TABLE.resolved(flow("any", name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[hosts.a]", {"hosts.a.addresses": ("is missing, and so is mac", ADDRESSES)}),
        ("[hosts.a]\naddresses = []", {"hosts.a.addresses": ("is missing, and so is mac", ADDRESSES)}),
        ('[hosts.a]\naddresses = "10.0.0.1"', {"hosts.a.addresses": ("is '10.0.0.1'", ADDRESSES)}),
        ('[hosts.a]\naddresses = ["b"]', {"hosts.a.addresses": ("has 'b'", ADDRESSES)}),
        ('[hosts.a]\naddresses = ["10.0.0.0/8"]', {"hosts.a.addresses": ("has '10.0.0.0/8'", ADDRESSES)}),
        ("[hosts.a]\naddresses = [1]", {"hosts.a.addresses": ("has 1", ADDRESSES)}),
        (
            '[hosts.a]\naddresses = ["10.0.0.1", "10.0.0.2"]',
            {"hosts.a.addresses": ("has 10.0.0.1 and 10.0.0.2", f"{ADDRESSES}; give the second a name of its own")},
        ),
        *(
            (f'[hosts.a]\naddresses = ["{each}"]', {"hosts.a.addresses": (f"has {each}", ONE)})
            for each in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "::", "::1", "ff02::1")
        ),
        (
            '[hosts.a]\naddresses = ["::ffff:10.0.0.1"]',
            {"hosts.a.addresses": (
                "has '::ffff:10.0.0.1': no packet has an IPv4-mapped address", "did you mean 10.0.0.1?")},
        ),
        (
            '[hosts.a]\naddresses = ["fe80::1%eth0"]',
            {"hosts.a.addresses": ("has 'fe80::1%eth0': a scope is of one host only", "leave out % and the interface")},
        ),
        ('[hosts.a]\nmac = "aa-bb-cc-dd-ee-ff"', {"hosts.a.mac": ("is 'aa-bb-cc-dd-ee-ff'", MAC)}),
        ("[hosts.a]\nmac = 1", {"hosts.a.mac": ("is 1", MAC)}),
        (
            '[hosts.a]\nmac = "01:00:5e:00:00:01"',
            {"hosts.a.mac": ("is 01:00:5e:00:00:01", "the MAC address of one interface: the first octet is even")},
        ),
        (
            '[hosts.a]\nadresses = ["10.0.0.1"]',
            {"hosts.a.adresses": ("does not exist; did you mean addresses?", "addresses, mac")},
        ),
        (
            '[hosts.a]\nname = "b"\nmac = "02:00:00:00:00:01"',
            {"hosts.a.name": ("does not exist", "addresses, mac")},
        ),
        (
            '[hosts.web1.example]\nmac = "02:00:00:00:00:01"',
            {"hosts.web1.example": ("does not exist", 'a name with dots is quoted: [hosts."web1.example"]')},
        ),
        ("[hosts]\na = 1", {"hosts.a": ("is 1", SECTION)}),
        ("hosts = 1", {"hosts": ("is 1", SECTION)}),
        ('[web1]\nmac = "02:00:00:00:00:01"', {"web1": ("does not exist", SECTION)}),
        (
            '[hosts."10.0.0.1"]\nmac = "02:00:00:00:00:01"',
            {"hosts.'10.0.0.1'": ("is '10.0.0.1': no host's name", NAME)},
        ),
        ('[hosts.any]\nmac = "02:00:00:00:00:01"', {"hosts.any": ("is 'any': no host's name", NAME)}),
        ('[hosts.a_b]\nmac = "02:00:00:00:00:01"', {"hosts.a_b": ("is 'a_b': no host's name", NAME)}),
        (
            '[hosts."\\u0007"]\nmac = "02:00:00:00:00:01"',
            {"hosts.'\\x07'": ("is '\\x07': no host's name", NAME)},
        ),
        (
            '[hosts.A]\nmac = "02:00:00:00:00:01"\n[hosts.a]\nmac = "02:00:00:00:00:02"',
            {"hosts.a": ("is there twice, its case aside", "each name once")},
        ),
        (
            '[hosts.a]\naddresses = ["fd00::1"]\n[hosts.b]\naddresses = ["fd00:0::1"]',
            {"hosts.b.addresses": ("has fd00::1, as hosts.a has", "each address once")},
        ),
        (
            '[hosts.a]\nmac = "02:00:00:00:00:0a"\n[hosts.b]\nmac = "02:00:00:00:00:0A"',
            {"hosts.b.mac": ("has 02:00:00:00:00:0a, as hosts.a has", "each address once")},
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_what_is_allowed(text: str, expected: dict[str, tuple[str, str]]) -> None:
    assert problems(text) == expected


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        """
        extra = 1
        [hosts.a]
        addresses = ["x"]
        mac = "y"
        z = 1
        [hosts.b]
        addresses = ["10.0.0.1"]
        [hosts.c]
        addresses = ["10.0.0.1"]
        [hosts."-"]
        """
    )
    assert list(found) == ["extra", "hosts.a.addresses", "hosts.a.mac", "hosts.a.z", "hosts.-", "hosts.c.addresses"]


@pytest.mark.parametrize("text", ["[hosts", "[hosts.a]\n[hosts.a]", "a = [" * 2_000, "\0"])
def test_what_is_not_toml_is_told(text: str) -> None:
    assert problems(text)[""][0].startswith("is not TOML: ")


def test_the_place_of_an_error_in_toml_is_told() -> None:
    assert problems("[hosts.a]\nmac = ")[""][0] == "is not TOML: Invalid value (at end of document)"


def test_values_are_checked_when_made_and_cannot_be_changed() -> None:
    good = Host("a", (IPv4Address("10.0.0.1"),))
    made: Callable[..., Host] = Host
    for wrong in (
        ("A", good.addresses), ("a", ("10.0.0.1",)), ("a", (), "02:00:00:00:00:01"), ("a",),
        ("a", (IPv6Address("fd00::1"), IPv4Address("10.0.0.1"))),
    ):  # fmt: skip
        with pytest.raises(BadConfig):
            made(*wrong)
    with pytest.raises(BadConfig):
        HostTable((good, good))
    with pytest.raises(FrozenInstanceError):
        good.name = "b"  # type: ignore[misc]  # Wrong on purpose.


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text('[hosts.a]\naddresses = ["10.0.0.1"]\n')
    assert load(file) == HostTable((Host("a", (IPv4Address("10.0.0.1"),)),))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "hosts.toml"
    with pytest.raises(BadConfig, match=r"hosts\.toml cannot be read: No such file"):
        load(file)
    with pytest.raises(BadConfig, match="cannot be read: Is a directory"):
        load(tmp_path)
    file.write_bytes(b"# \xff")
    with pytest.raises(BadConfig, match="is not UTF-8, from byte 2 on"):
        load(file)
    file.write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(BadConfig, match="is too long"):
        load(file)


# -- resolving


@pytest.mark.parametrize(
    ("source", "destination", "preference", "expected"),
    [
        ("web1", "web2", "ipv6", [("fd00::1", "fd00::2")]),
        ("web1", "web2", "ipv4", [("10.0.0.1", "10.0.0.2")]),
        ("web1", "web2", "both", [("fd00::1", "fd00::2"), ("10.0.0.1", "10.0.0.2")]),
        ("web1", "old", "ipv6", [("10.0.0.1", "10.0.0.3")]),
        ("web1", "old", "both", [("10.0.0.1", "10.0.0.3")]),
        ("web1", "new", "ipv4", [("fd00::1", "fd00::4")]),
        ("web1:80{3}", "any", "ipv6", [("[fd00::1]:80{3}", "any")]),
        ("any:80/0xfff0", "WEB1{4}", "both", [("any:80/0xfff0", "fd00::1{4}"), ("any:80/0xfff0", "10.0.0.1{4}")]),
        ("10.0.0.0/8", "web1:80", "ipv6", [("10.0.0.0/8", "10.0.0.1:80")]),
        ("wire", "web1", "both", [("02:00:00:00:00:05", "fd00::1"), ("02:00:00:00:00:05", "10.0.0.1")]),
        ("wire", "wire2", "both", [("02:00:00:00:00:05", "02:00:00:00:00:06")]),
        ("wire", "any", "ipv4", [("02:00:00:00:00:05", "any")]),
        ("10.0.0.9", "fe80::/10", "ipv6", None),
        ("10.0.0.9", "any:80", "both", [("10.0.0.9", "any:80")]),
        ("aa:bb:cc:dd:ee:ff", "new", "ipv6", [("aa:bb:cc:dd:ee:ff", "fd00::4")]),
    ],
)
def test_names_become_addresses_of_the_preferred_version(
    source: str, destination: str, preference: Preference, expected: list[tuple[str, str]] | None
) -> None:
    if expected is None:
        with pytest.raises(InvalidFlow):
            flow(source, destination)
        return
    assert TABLE.resolved(flow(source, destination), preference) == tuple(flow(*each) for each in expected)


def test_the_protocol_says_the_version_too() -> None:
    assert TABLE.resolved(flow("web1", "web2", "icmp"), "both") == (flow("10.0.0.1", "10.0.0.2", "icmp"),)
    assert TABLE.resolved(flow("web1", "web2", "icmpv6"), "ipv4") == (flow("fd00::1", "fd00::2", "icmpv6"),)


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "message"),
    [
        ("old", "new", "any", "old is IPv4, new is IPv6"),
        ("old", "fd00::/8", "any", "old is IPv4, fd00::/8 is IPv6"),
        ("web1", "old:80", "icmpv6", None),
        ("web1", "old", "icmpv6", "web1 is IPv4 and IPv6, old is IPv4"),
    ],
)
def test_ends_without_a_version_in_common_are_refused(
    source: str, destination: str, protocol: str, message: str | None
) -> None:
    with pytest.raises(InvalidFlow) as error:
        TABLE.resolved(flow(source, destination, protocol))
    assert message is None or error.value.message == message
    assert error.value.hint


def test_a_host_known_by_its_mac_only_takes_a_port_where_the_protocol_is_named() -> None:
    assert TABLE.resolved(flow("wire:80", "web1", "tcp"))[0] == flow("[02:00:00:00:00:05]:80", "fd00::1", "tcp")
    with pytest.raises(InvalidFlow) as error:
        TABLE.resolved(flow("wire:80", "web1"))
    assert error.value.hint == "name tcp, udp or sctp"


NAMES = st.sampled_from(["web1", "web2", "old", "new", "wire", "any", "10.9.0.0/16", "fd09::/16"])


@given(NAMES, NAMES, st.sampled_from(["any", "tcp", "icmp", "icmpv6"]))
def test_resolved_flows_are_those_of_every_version_both_ends_have(source: str, destination: str, protocol: str) -> None:
    """Against the table as TOML has it: one flow for each version in which each end has something."""
    table = tomllib.loads(
        'web1 = ["10.0.0.1", "fd00::1"]\nweb2 = ["10.0.0.2", "fd00::2"]\nold = ["10.0.0.3"]\nnew = ["fd00::4"]\n'
        'wire = ["02:00:00:00:00:05"]\nany = ["any"]\n"10.9.0.0/16" = ["10.9.0.0/16"]\n"fd09::/16" = ["fd09::/16"]\n'
    )
    versions = {"icmp": {4}, "icmpv6": {6}}.get(protocol, {4, 6})

    def of(text: str, version: int) -> bool:
        return text == "any" or text.startswith("02:") or ip_network(text).version == version

    wanted = {
        (a, b)
        for version in versions
        for a in table[source]
        for b in table[destination]
        if of(a, version) and of(b, version)
    }
    try:
        found = TABLE.resolved(flow(source, destination, protocol), "both")
        shown = [flow_json(each) for each in found]
        preferred = TABLE.resolved(flow(source, destination, protocol))
    except InvalidFlow:
        assert wanted == set()
    else:
        assert {(each["source"], each["destination"]) for each in shown} == wanted
        assert len(found) == len(wanted)
        assert preferred == found[:1]
