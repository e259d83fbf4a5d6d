from __future__ import annotations

import json
import os
import re
from dataclasses import FrozenInstanceError, fields
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.config import (
    MAX_FILE,
    AgentSection,
    AllowSection,
    ApiSection,
    Config,
    DomainSection,
    EnforcementSection,
    FlowsSection,
    GraspSection,
    LimitsSection,
    LinkSection,
    PoolSeed,
    RouteSection,
    load,
    parse,
    problem_text,
)
from asa.config.api import ClientSection, TokenSection
from asa.errors import BadConfig
from asa.traffic import BUILT_IN, TrafficClass, TrafficClasses

ROOT = Path(__file__).parents[2]
AGENT = '[agent]\nname = "o"\nmode = "origin"\n'
PLAIN = '[grasp]\nsubstrate = "plain"\n'
REAL = EnforcementSection("auto")


def problems(text: str) -> dict[str, tuple[str, str]]:
    """What is wrong with ``text``, and what is allowed, by key."""
    with pytest.raises(BadConfig) as error:
        parse(text, "asa.toml")
    found = error.value.details["problems"]
    assert json.loads(json.dumps(found)) == found
    assert error.value.message.startswith("asa.toml")
    assert all(problem_text(each) in error.value.message for each in found)
    return {each["key"]: (each["problem"], each["allowed"]) for each in found}


def test_two_keys_are_enough() -> None:
    assert parse(AGENT, "x") == Config(AgentSection("o", "origin"))
    config = parse(f'[agent]\nname = "d"\nmode = "delegator"\n{PLAIN}', "x")
    assert config.agent == AgentSection("d", "delegator", Path("/var/lib/asa"), "info")
    assert config.grasp == GraspSection(None, 0, None, False, "EX1.", "plain")
    assert GraspSection().substrate == "domain"
    assert config.api == ApiSection(
        Path("/run/asa/asa.sock"), 0o660, None, (), ("*",), (), None, None, None, None, None, (), (), 8, 1_000, None
    )
    assert config.pools == ()
    assert config.limits == LimitsSection(200_000, 4_096, 8, 10_000)
    assert (config.links, config.routes) == ((), ())
    assert config.flows == FlowsSection(True, None, "ipv6", ())
    assert config.classes == TrafficClasses(BUILT_IN)
    assert config.enforcement == EnforcementSection(
        "record", False, 5, 5, 300, 10, 10, True, None, Path("/run/openvswitch/db.sock")
    )
    assert config.floor == 0


def test_every_key_is_read() -> None:
    config = parse(
        """
        [agent]
        name = "o-1_x.y"
        mode = "origin"
        state_dir = "/srv/asa"
        log_level = "debug"
        [grasp]
        interfaces = ["eth0", "wg0"]
        port = 7017
        address = "2001:db8::1"
        ipv4 = true
        objective_prefix = "example.com:bandwidth."
        substrate = "plain"
        [api]
        socket = "/run/x.sock"
        socket_mode = "0600"
        socket_group = "users"
        operators = ["@adm", "alice", 1000]
        consumers = []
        readers = ["*"]
        tcp = "[::1]:7180"
        tls_certificate = "/etc/asa/tls.pem"
        tls_key = "/etc/asa/tls.key"
        client_trust = "/etc/asa/clients.pem"
        token_file = "/etc/asa/token"
        workers = 64
        rate = 5
        admin_file = "/etc/asa/admin"
        [[api.token]]
        file = "/etc/asa/reader"
        role = "reader"
        [[api.client]]
        members = ["ops-*", "rack-7"]
        role = "consumer"
        [[pool]]
        name = "wan"
        capacity = "2.5Gbit"
        at = 0
        [[pool]]
        name = "lan"
        capacity = 1000
        at = "1Mibit"
        [limits]
        reservations = 1
        peers = 2
        negotiations = 3
        events = 100
        [[link]]
        interface = "eth0"
        capacity = "10Gbit"
        [[link]]
        interface = "eth1"
        capacity = 1001
        capacity_in = "1kbit"
        headroom = 10
        alarm = 0
        [[route]]
        prefix = "10.2.0.0/16"
        interface = "eth0"
        pools = ["wan", "lan"]
        [[route]]
        prefix = "10.2.0.1"
        pools = []
        [[route]]
        prefix = "::/0"
        interface = "eth1"
        [flows]
        kernel_routes = false
        hosts_file = "/etc/asa/hosts.toml"
        prefer = "ipv4"
        serves = ["fd00:1::/64", "10.1.0.0/24"]
        [classes]
        gold = { dscp = 10, keep = true }
        [classes.silver]
        dscp = 12
        guarantee = 50
        ceiling = 250
        priority = 6
        [enforcement]
        backend = "tc-nft"
        take_over = true
        floor = 50
        lead_s = 0
        rule_life_s = 30
        reconcile_s = 1
        sample_s = 3600
        remark = false
        deputy = "/run/asa-deputy/deputy.sock"
        ovsdb = "/run/db.sock"
        """,
        "x",
    )
    assert config == Config(
        AgentSection("o-1_x.y", "origin", Path("/srv/asa"), "debug"),
        GraspSection(("eth0", "wg0"), 7017, IPv6Address("2001:db8::1"), True, "example.com:bandwidth.", "plain"),
        ApiSection(
            Path("/run/x.sock"), 0o600, "users", ("@adm", "alice", "1000"), (), ("*",), ("::1", 7180),
            Path("/etc/asa/tls.pem"), Path("/etc/asa/tls.key"), Path("/etc/asa/clients.pem"), Path("/etc/asa/token"),
            (TokenSection(Path("/etc/asa/reader"), "reader"),), (ClientSection(("ops-*", "rack-7"), "consumer"),),
            64, 5, Path("/etc/asa/admin"),
        ),
        (PoolSeed("wan", 2_500_000_000, 0), PoolSeed("lan", 1_000, 2**20)),
        LimitsSection(1, 2, 3, 100),
        (LinkSection("eth0", 10**10), LinkSection("eth1", 1_001, 1_000, 10, 0)),
        (
            RouteSection(ip_network("10.2.0.0/16"), "eth0", ("wan", "lan")),
            RouteSection(ip_network("10.2.0.1/32"), None, ()),
            RouteSection(ip_network("::/0"), "eth1", None),
        ),
        FlowsSection(False, Path("/etc/asa/hosts.toml"), "ipv4",
                     (ip_network("fd00:1::/64"), ip_network("10.1.0.0/24"))),
        (TrafficClass("gold", 10, True), TrafficClass("silver", 12, False, 50, 250, 6)),
        EnforcementSection("tc-nft", True, 50, 0, 30, 1, 3_600, False, Path("/run/asa-deputy/deputy.sock"),
                           Path("/run/db.sock")),
    )  # fmt: skip
    assert config.floor == 50
    assert config.classes.find("gold") == TrafficClass("gold", 10, True)


def test_what_of_a_link_may_be_reserved() -> None:
    small = LinkSection("eth1", 999, 1_001, 10)
    assert small.usable() == small.usable(10) == (899, 900)
    assert small.usable(11) == (889, 890)
    assert LinkSection("eth0", 10**10, headroom=99).usable(50) == (10**8, 10**8)
    assert LinkSection("eth0", 7).usable() == (7, 7)


SLOW = 'at least 1000 bit/s, or backend = "record"'
LETTERS = 'letters, digits, _ . @ + or -, and no - at the start, or backend = "record"'


def test_a_link_that_cannot_be_shaped_is_told_unless_packets_are_left_alone() -> None:
    links = """
        [[link]]
        interface = "eth0"
        capacity = 999
        [[link]]
        interface = "a;b"
        capacity = "1kbit"
        capacity_in = 7
        [[link]]
        interface = "eth0.7"
        capacity = "1kbit"
        [[link]]
        interface = "x y"
        capacity = 1
        [[link]]
        interface = "asa-eth0"
        capacity = "1kbit"
        [[link]]
        interface = "asa+probe"
        capacity = "1kbit"
        [[link]]
        interface = "asa~u32"
        capacity = "1kbit"
        [[link]]
        interface = "asa0"
        capacity = "1kbit"
        """
    ours = 'no name that begins with asa- or asa+, or backend = "record"'
    expected = {
        "link[0].capacity": ("is 999", SLOW),
        "link[1].interface": ("is 'a;b'", LETTERS),
        "link[1].capacity_in": ("is 7", SLOW),
        "link[3].interface": ("is 'x y'", "the name of an interface, 1..15 characters"),
        "link[3].capacity": ("is 1", SLOW),
        "link[4].interface": ("is asa-eth0, as a device the agent makes", ours),
        "link[5].interface": ("is asa+probe, as a device the agent makes", ours),
        "link[6].interface": ("is 'asa~u32'", LETTERS),
    }
    for backend in ("auto", "tc-nft", "tc-u32", "openvswitch"):
        assert problems(f'{AGENT}{links}[enforcement]\nbackend = "{backend}"\n') == expected
    assert list(problems(AGENT + links)) == ["link[3].interface"]
    assert list(problems(f'{AGENT}{links}[enforcement]\nbackend = "x"\n')) == [
        "enforcement.backend",
        "link[3].interface",
    ]


def test_no_pools_are_something_else_than_none_named() -> None:
    one = '[[route]]\nprefix = "::/0"\ninterface = "eth0"\n'
    assert [parse(AGENT + one + each, "x").routes[0].pools for each in ("", "pools = []")] == [None, ()]


def test_classes_take_the_place_of_the_built_in_ones() -> None:
    assert list(parse(f"{AGENT}[classes]\n", "x").classes.by_name) == ["default"]


NAMES = "1..63 letters, digits, - _ or ."
RATES = '..9007199254740992 bit/s, as an integer or as text such as "2.5Gbit"'
MODES = 'octal digits between quotes, such as "0660": read and write only, owner included'
ROUTED = "an IPv6 or IPv4 address other hosts can reach: not link-local, not loopback"
PREFIXES = '"EX0." to "EX9.", or a domain you own as in "example.com:bandwidth."'
ENDPOINTS = '"ADDRESS:PORT" or "[ADDRESS]:PORT"; 0.0.0.0 and [::] are all of this host'
USERS = 'a user by name or number, a group as "@group", or "*" for everybody'
PREFIX = 'a prefix such as "10.2.0.0/16" or "fd00:2::/32"; "0.0.0.0/0" and "::/0" are everything'
SECTIONS = "agent, grasp, api, limits, flows, enforcement, domain, classes, pool, link, route, allow"
ITS_OWN = "a file of its own for each token, and for the administrator's secret"
CLASS = "dscp, keep, guarantee, ceiling, priority"
LEVELS = '"debug" or "info" or "warning" or "error"'

BAD: list[tuple[str, str, list[tuple[str, str]], str]] = [
    ("agent", "name", [('""', "is ''"), ("7", "is 7"), ('"a b"', "is 'a b'"), ('"é"', "is '\\xe9'"),
                       (f'"{"x" * 64}"', f"is '{'x' * 40}'…"), ("[]", "is a list")], NAMES),
    ("agent", "mode", [('"Origin"', "is 'Origin'"), ("true", "is true")], '"origin" or "delegator"'),
    ("agent", "state_dir", [('"asa"', "is 'asa'"), ('""', "is ''"), ("1", "is 1"), ('"/a\\u0000"', "is '/a\\x00'")],
     "an absolute path"),
    ("agent", "log_level", [('"INFO"', "is 'INFO'"), ("10", "is 10")], LEVELS),
    ("grasp", "interfaces", [("[]", "is empty"), ('"eth0"', "is 'eth0'")], "a list of names; leave it out for all"),
    ("grasp", "interfaces", [("[1]", "has 1"), ('["a/b"]', "has 'a/b'"), ('["0123456789abcdef"]',
                             "has '0123456789abcdef'"), ('["a b"]', "has 'a b'"), ('[".."]', "has '..'")],
     "names of interfaces, 1..15 characters"),
    ("grasp", "interfaces", [('["a", "a"]', "has a name twice")], "each interface once"),
    ("grasp", "port", [("-1", "is -1"), ("65536", "is 65536"), ('"7017"', "is '7017'"), ("true", "is true"),
                       ("1.0", "is 1.0")], "an integer 0..65535"),
    ("grasp", "address", [('"fe80::1"', "is 'fe80::1'"), ('"::1"', "is '::1'"), ('"ff02::13"', "is 'ff02::13'"),
                          ('"::"', "is '::'"), ('"host"', "is 'host'"), ("5", "is '5'"), ('"127.0.0.1"',
                          "is '127.0.0.1'"), ('"fd00::/64"', "is 'fd00::/64'")], ROUTED),
    ("grasp", "ipv4", [("1", "is 1"), ('"yes"', "is 'yes'")], "true or false"),
    ("grasp", "objective_prefix", [('""', "is ''"), ('"EX1"', "is 'EX1'"), ('"EX10."', "is 'EX10.'"),
                                   ('"example:bandwidth."', "is 'example:bandwidth.'"),
                                   ('"example.com:bandwidth"', "is 'example.com:bandwidth'"),
                                   ('"-a.com:x."', "is '-a.com:x.'"), ('"EX1.\\n"', "is 'EX1.\\n'"), ("1", "is 1")],
     PREFIXES),
    ("grasp", "substrate", [('"tls"', "is 'tls'"), ("true", "is true")], '"domain" or "plain"'),
    ("domain", "identity", [('"identity"', "is 'identity'"), ("1", "is 1")], "an absolute path"),
    ("api", "socket", [('"asa.sock"', "is 'asa.sock'")], "an absolute path"),
    ("api", "socket", [(f'"/{"é" * 54}"', "is 109 bytes long")], "at most 107 bytes: the kernel takes no longer one"),
    ("api", "socket_mode", [("660", "is 660"), ("0o660", "is 432"), ('"0770"', "is '0770'"), ('"0060"', "is '0060'"),
                            ('"0680"', "is '0680'"), ('"rw"', "is 'rw'"), ('"04660"', "is '04660'")], MODES),
    ("api", "socket_group", [('""', "is ''"), ("100", "is 100"), ('"a b"', "is 'a b'")], "the name of a group"),
    ("api", "operators", [('"root"', "is 'root'"), ("5", "is 5")], "a list of users"),
    ("api", "consumers", [('["a b"]', "[0] is 'a b'"), ('["*", "@"]', "[1] is '@'"), ("[-1]", "[0] is -1")], USERS),
    ("api", "readers", [('["a", "a"]', "[1] is 'a', as [0] is")], "each once"),
    ("api", "tls_certificate", [('"x.pem"', "is 'x.pem'")], "an absolute path"),
    ("api", "tls_key", [('"x.key"', "is 'x.key'")], "an absolute path"),
    ("api", "client_trust", [('"x.pem"', "is 'x.pem'")], "an absolute path"),
    ("api", "token", [("5", "is 5"), ("[1]", "is a list")], "a list of sections, with two brackets each"),
    ("api", "token", [('[{file = "/a"}]', "[0].role is missing")], "required"),
    ("api", "token", [('[{file = "/a", role = "reader", x = 1}]', "[0].x does not exist")], "file, role"),
    ("api", "token", [('[{file = "/a", role = "root"}]', "[0] is 'root'")], '"reader" or "consumer" or "operator"'),
    ("api", "client", [('[{members = ["a b"], role = "reader"}]', "[0] [0] is 'a b'")],
     "a name, or a pattern of names with *, ? or [...], at most 127 characters"),
    ("api", "client", [('[{members = [], role = "reader"}]', "[0].members is empty")],
     'patterns of names, such as ["ops-*"]'),
    ("api", "rate", [("0", "is 0"), ("1_000_001", "is 1000001")], "an integer 1..1000000"),
    ("api", "tcp", [('"224.0.0.1:7180"', "is '224.0.0.1:7180'"), ('"localhost:7180"', "is 'localhost:7180'"),
                    ('"127.0.0.1"', "is '127.0.0.1'"), ('"127.0.0.1:0"', "is '127.0.0.1:0'"),
                    ('"127.0.0.1:65536"', "is '127.0.0.1:65536'"), ('"::1:7180"', "is '::1:7180'"), ("7180", "is 7180"),
                    ('"[fd00::]"', "is '[fd00::]'")], ENDPOINTS),
    ("api", "token_file", [('"token"', "is 'token'")], "an absolute path"),
    ("api", "workers", [("1", "is 1"), ("65", "is 65")], "an integer 2..64"),
    ("api", "admin_file", [('"admin"', "is 'admin'"), ("7", "is 7")], "an absolute path"),
    ("flows", "kernel_routes", [('"yes"', "is 'yes'"), ("0", "is 0")], "true or false"),
    ("flows", "hosts_file", [('"hosts"', "is 'hosts'"), ("true", "is true")], "an absolute path"),
    ("flows", "prefer", [('"both"', "is 'both'"), ("6", "is 6")], '"ipv6" or "ipv4"'),
    ("flows", "serves", [('"10.0.0.0/8"', "is '10.0.0.0/8'"), ("1", "is 1")], "a list of prefixes"),
    ("flows", "serves", [(f"{[f'10.0.0.{each}' for each in range(65)]}", "has 65 prefixes")], "at most 64"),
    ("flows", "serves", [('["::1", "::1/128"]', "[1] is '::1/128', as [0] is")], "each once"),
    ("flows", "serves", [('["::/0", 7]', "[1] is 7"), ('["web1"]', "[0] is 'web1'"), ('[["::/0"]]', "[0] is a list"),
                         ('["10.0.0.1/8"]', "[0] is '10.0.0.1/8': host bits are set; did you mean 10.0.0.0/8?")],
     PREFIX),
    ("limits", "reservations", [("0", "is 0"), ("2000001", "is 2000001")], "an integer 1..2000000"),
    ("limits", "peers", [("0", "is 0"), ("65537", "is 65537")], "an integer 1..65536"),
    ("limits", "negotiations", [("0", "is 0"), ("65", "is 65")], "an integer 1..64"),
    ("limits", "events", [("99", "is 99"), ("1000001", "is 1000001")], "an integer 100..1000000"),
    ("enforcement", "backend", [('"tc"', "is 'tc'"), ('"null"', "is 'null'"), ("true", "is true")],
     '"record" or "auto" or "tc-nft" or "tc-u32" or "openvswitch"'),
    ("enforcement", "take_over", [("1", "is 1")], "true or false"),
    ("enforcement", "remark", [('"no"', "is 'no'")], "true or false"),
    ("enforcement", "floor", [("0", "is 0"), ("51", "is 51"), ("5.0", "is 5.0")], "an integer 1..50"),
    ("enforcement", "lead_s", [("-1", "is -1"), ("301", "is 301"), ('"5s"', "is '5s'")], "an integer 0..300"),
    ("enforcement", "rule_life_s", [("29", "is 29"), ("64801", "is 64801")], "an integer 30..64800"),
    ("enforcement", "reconcile_s", [("0", "is 0"), ("3601", "is 3601")], "an integer 1..3600"),
    ("enforcement", "sample_s", [("0", "is 0"), ("3601", "is 3601")], "an integer 1..3600"),
    ("enforcement", "deputy", [('"deputy"', "is 'deputy'"), ("1", "is 1")], "an absolute path"),
    ("enforcement", "ovsdb", [('"db.sock"', "is 'db.sock'")], "an absolute path"),
    ("enforcement", "ovsdb", [(f'"/{"x" * 107}"', "is 108 bytes long")],
     "at most 107 bytes: the kernel takes no longer one"),
]  # fmt: skip
SINGLE = [(section, key, text, wrong, allowed) for section, key, values, allowed in BAD for text, wrong in values]


@pytest.mark.parametrize(
    ("section", "key", "text", "wrong", "allowed"), SINGLE, ids=[f"{each[1]}={each[2]}"[:40] for each in SINGLE]
)
def test_a_wrong_value_is_told_with_what_is_allowed(
    section: str, key: str, text: str, wrong: str, allowed: str
) -> None:
    document: dict[str, dict[str, str]] = {"agent": {"name": '"o"', "mode": '"origin"'}}
    document.setdefault(section, {})[key] = text
    written = "".join(
        f"[{name}]\n" + "".join(f"{each} = {value}\n" for each, value in values.items())
        for name, values in document.items()
    )
    assert problems(written) == {f"{section}.{key}": (wrong, allowed)}


POOLS: list[tuple[str, dict[str, tuple[str, str]]]] = [
    ('capacity = 5', {"pool[0].name": ("is missing", "required")}),
    ('name = "wan"', {"pool[0].capacity": ("is missing", "required")}),
    ('name = "wan"\ncapacity = "500MB"',
     {"pool[0].capacity": ("is '500MB': bytes are not accepted; did you mean 4Gbit?", f"1{RATES}")}),
    ('name = "wan"\ncapacity = 0', {"pool[0].capacity": ("is 0", f"1{RATES}")}),
    ('name = "wan"\ncapacity = 1.5', {"pool[0].capacity": ("is 1.5", f"1{RATES}")}),
    ('name = "wan"\ncapacity = "9008Tbit"', {"pool[0].capacity": ("is '9008Tbit'", f"1{RATES}")}),
    ('name = "wan"\ncapacity = 5\nat = -1', {"pool[0].at": ("is -1", f"0{RATES}")}),
    ('name = "wan"\ncapacity = 5\nat = 9007199254740990',
     {"pool[0].at": ("and capacity reach too far together", "at most 9007199254740992 bit/s")}),
    ('name = "wan"\ncapacty = 5\ncapacity = 5',
     {"pool[0].capacty": ("does not exist; did you mean capacity?", "name, capacity, at")}),
    ('name = "wan"\ncapacity = 5\n[[pool]]\nname = "wan"\ncapacity = 6',
     {"pool[1].name": ("is wan, as pool[0] is", "each name once")}),
]  # fmt: skip


LINKS: list[tuple[str, dict[str, tuple[str, str]]]] = [
    ("", {"link[0].interface": ("is missing", "required"), "link[0].capacity": ("is missing", "required")}),
    ('interface = "a/b"\ncapacity = 5',
     {"link[0].interface": ("is 'a/b'", "the name of an interface, 1..15 characters")}),
    ('interface = "eth0"\ncapacity = 0\ncapacity_in = "1GB"',
     {"link[0].capacity": ("is 0", f"1{RATES}"),
      "link[0].capacity_in": ("is '1GB': bytes are not accepted; did you mean 8Gbit?", f"1{RATES}")}),
    ('interface = "eth0"\ncapacity = 5\nheadroom = 100', {"link[0].headroom": ("is 100", "an integer 0..99")}),
    ('interface = "eth0"\ncapacity = 5\nheadroom = "5%"', {"link[0].headroom": ("is '5%'", "an integer 0..99")}),
    ('interface = "eth0"\ncapacity = 5\nalarm = 101', {"link[0].alarm": ("is 101", "an integer 0..100")}),
    ('interface = "eth0"\ncapacity = 5\nalarms = 1',
     {"link[0].alarms": ("does not exist; did you mean alarm?", "interface, capacity, capacity_in, headroom, alarm")}),
    ('interface = "eth0"\ncapacity = 5\n[[link]]\ninterface = "eth0"\ncapacity = -1',
     {"link[1].capacity": ("is -1", f"1{RATES}"),
      "link[1].interface": ("is eth0, as link[0] is", "each interface once")}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LINKS)
def test_a_wrong_link_is_told(text: str, expected: dict[str, tuple[str, str]]) -> None:
    assert problems(f"{AGENT}[[link]]\n{text}\n") == expected


ROUTES: list[tuple[str, dict[str, tuple[str, str]]]] = [
    ("pools = []", {"route[0].prefix": ("is missing", "required")}),
    ('prefix = "::/0"', {"route[0].interface": ("is missing", "interface or pools, or both")}),
    ('prefix = "::/0"\npools = ["a b"]', {"route[0].pools": ("[0] is 'a b'", NAMES)}),
    ('prefix = "::/0"\npools = ["wan", "lan", "wan"]',
     {"route[0].pools": ("[2] is 'wan', as [0] is", "each once")}),
    ('prefix = "::/0"\npools = "wan"', {"route[0].pools": ("is 'wan'", "a list of names of pools")}),
    ('prefix = "::/0"\ninterface = ""',
     {"route[0].interface": ("is ''", "the name of an interface, 1..15 characters")}),
    ('prefix = "fd00::1/64"\npools = []',
     {"route[0].prefix": ("is 'fd00::1/64': host bits are set; did you mean fd00::/64?", PREFIX)}),
    ('prefix = "10.0.0.0/255.0.0.0"\npools = []',
     {"route[0].prefix": ("is '10.0.0.0/255.0.0.0': the length is no plain number; did you mean 10.0.0.0/8?", PREFIX)}),
    ('prefix = "default"\npools = []', {"route[0].prefix": ("is 'default'", PREFIX)}),
    ('prefix = 10\npools = []', {"route[0].prefix": ("is 10", PREFIX)}),
    ('prefix = ""\npools = []', {"route[0].prefix": ("is ''", PREFIX)}),
    ('prefix = "10.0.0.0/33"\npools = []', {"route[0].prefix": ("is '10.0.0.0/33'", PREFIX)}),
    ('prefix = "fe80::%eth0/64"\npools = []',
     {"route[0].prefix": ("is 'fe80::%eth0/64': a scope is of one host only", "leave out % and the interface")}),
    ('prefix = "::ffff:10.0.0.0/104"\npools = []',
     {"route[0].prefix": ("is '::ffff:10.0.0.0/104': no packet has an IPv4-mapped address",
                          "did you mean 10.0.0.0/8?")}),
    ('prefix = "FD00:0::/32"\npools = []\n[[route]]\nprefix = "fd00::/32"\ninterfaces = "eth0"\npools = []',
     {"route[1].interfaces": ("does not exist; did you mean interface?", "prefix, interface, pools"),
      "route[1].prefix": ("is fd00::/32, as route[0] is", "each prefix once")}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ROUTES)
def test_a_wrong_route_is_told(text: str, expected: dict[str, tuple[str, str]]) -> None:
    assert problems(f"{AGENT}[[route]]\n{text}\n") == expected


CLASSES: list[tuple[str, dict[str, tuple[str, str]]]] = [
    ("classes = 5", {"classes": ("is 5", "a section for each class, such as [classes.voice]")}),
    ("[classes]\nvoice = 46", {"classes.voice": ("is 46", f"a section with dscp and, where wanted, {CLASS[6:]}")}),
    ("[classes.voice]\nkeep = 1\ndcsp = 5",
     {"classes.voice.dcsp": ("does not exist; did you mean dscp?", CLASS),
      "classes.voice.dscp": ("is missing", "an integer 0..63"), "classes.voice.keep": ("is 1", "true or false")}),
    ("[classes.voice]\ndscp = 46\n[classes.video]\ndscp = 46",
     {"classes.video.dscp": ("is 46, as that of voice", "each DSCP once")}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CLASSES)
def test_a_wrong_class_is_told(text: str, expected: dict[str, tuple[str, str]]) -> None:
    assert problems(f"{text}\n{AGENT}") == expected


@pytest.mark.parametrize(("text", "expected"), POOLS)
def test_a_wrong_pool_is_told(text: str, expected: dict[str, tuple[str, str]]) -> None:
    assert problems(f"{AGENT}[[pool]]\n{text}\n") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"agent.name": ("is missing", "required"), "agent.mode": ("is missing", "required")}),
        (f"{AGENT}[agnt]\n", {"agnt": ("does not exist; did you mean agent?", SECTIONS)}),
        (f"{AGENT}[x]\n", {"x": ("does not exist", SECTIONS)}),
        (f"{AGENT}port = 1\n",
         {"agent.port": ("does not exist; it belongs to [grasp]", "name, mode, state_dir, log_level")}),
        (f"{AGENT}prefix = 1\n",
         {"agent.prefix": ("does not exist; it belongs to [[route]]", "name, mode, state_dir, log_level")}),
        (f"{AGENT}[limits]\nPeers = 1\n",
         {"limits.Peers": ("does not exist; did you mean peers?", "reservations, peers, negotiations, events")}),
        ("agent = 5\n", {"agent": ("is 5", "a section: [agent]")}),
        (f"{AGENT}[[grasp]]\n", {"grasp": ("is a list", "a section: [grasp]")}),
        (f"{AGENT}[pool]\n", {"pool": ("is no list of sections", "[[pool]], with two brackets, once for each pool")}),
        ('pool = [1]\n' + AGENT,
         {"pool": ("is no list of sections", "[[pool]], with two brackets, once for each pool")}),
        (f"{AGENT}[link]\n", {"link": ("is no list of sections", "[[link]], with two brackets, once for each link")}),
        (f"route = 1\n{AGENT}",
         {"route": ("is no list of sections", "[[route]], with two brackets, once for each route")}),
        (f'[agent]\nname = "d"\nmode = "delegator"\n{PLAIN}[[pool]]\nname = "wan"\ncapacity = 5\n',
         {"pool": ("is for an origin", 'mode = "origin", or no [[pool]]: a delegator gets its capacity from peers')}),
        (f'{AGENT}[api]\ntcp = "127.0.0.1:7180"\n',
         {"api.token_file": ("is missing", "a file with a token, or an [[api.client]], is required with tcp")}),
        (f'{AGENT}[api]\ntoken_file = "/a"\nadmin_file = "/a"\n',
         {"api.admin_file": ("is the token_file too", ITS_OWN)}),
        (f'{AGENT}[api]\n[[api.token]]\nfile = "/a"\nrole = "reader"\n[[api.token]]\nfile = "/a"\nrole = "operator"\n',
         {"api.token": ("is /a, as another is", ITS_OWN)}),
        (f'{AGENT}[api]\ntls_key = "/a"\n',
         {"api.tls_certificate": ("is missing", "tls_certificate and tls_key, both or none")}),
        (f'{AGENT}[grasp]\nsubstrate = "plain"\n[api]\ntcp = "192.0.2.1:7180"\ntoken_file = "/a"\n',
         {"api.tls_certificate": (
             "is missing, and tcp is TLS",
             'a PEM file, or [grasp] substrate = "domain": then those of [domain] are used',
         )}),
        (f'{AGENT}[grasp]\nsubstrate = "plain"\n[api]\ntcp = "192.0.2.1:7180"\ntls_certificate = "/a"\ntls_key = "/b"\n'
         '[[api.client]]\nmembers = ["*"]\nrole = "reader"\n',
         {"api.client_trust": (
             "is missing, and says whose certificates of clients count",
             'a PEM file, or [grasp] substrate = "domain": then those of [domain] are used',
         )}),
        (f'{AGENT}[grasp]\naddress = "192.0.2.1"\n',
         {"grasp.address": ("is 192.0.2.1", "an IPv4 address only together with ipv4 = true")}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_whole_is_told(text: str, expected: dict[str, tuple[str, str]]) -> None:
    assert problems(text) == expected


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        """
        [agent]
        name = "a b"
        mode = "delegator"
        [grasp]
        port = "x"
        adress = "fd00::1"
        [api]
        tcp = "127.0.0.1:7180"
        workers = 1
        [[pool]]
        name = "wan"
        capacity = 0
        [[pool]]
        name = "wan"
        [limits]
        events = 1
        [log]
        [flows]
        prefer = "any"
        [classes.Voice]
        dscp = 64
        [[route]]
        prefix = "10.0.0.1/8"
        [[link]]
        interface = "eth0"
        """
    )
    assert list(found) == [
        "log", "agent.name", "grasp.adress", "grasp.port", "api.workers", "api.token_file", "limits.events",
        "flows.prefer", "classes.'Voice'", "classes.'Voice'.dscp", "pool[0].capacity", "pool[1].capacity",
        "link[0].capacity", "route[0].prefix", "pool", "pool[1].name", "allow",
    ]  # fmt: skip


def test_a_value_that_is_refused_is_not_missing_too() -> None:
    assert list(problems(f'{AGENT}[api]\ntcp = "127.0.0.1:7180"\ntoken_file = "token"\n')) == ["api.token_file"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("[agent\n", 1, 7),
        (f"{AGENT}x = \n", 4, 5),
        (f"{AGENT}name = 5\nx = 1", 4, 9),
        ("a = 1\na", 2, 2),
        ("\x00", 1, 1),
    ],
)
def test_what_is_not_toml_is_told_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(BadConfig) as error:
        parse(text, "asa.toml")
    assert error.value.message.startswith(f"asa.toml, line {line}, column {column}: not TOML: ")
    (problem,) = error.value.details["problems"]
    assert (problem["line"], problem["column"]) == (line, column)


@pytest.mark.parametrize("text", ["x = " + "9" * 10_000, "x = " + "[" * 100_000, "x = 2026-13-01"])
def test_toml_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="not TOML"):
        parse(text, "asa.toml")


VALUES = st.recursive(
    st.integers()
    | st.booleans()
    | st.text(st.characters(codec="ascii", exclude_characters='"\\\x7f', min_codepoint=32)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = st.sampled_from([
    *("agent." + each.name for each in fields(AgentSection)), *("grasp." + each.name for each in fields(GraspSection)),
    *("api." + each.name for each in fields(ApiSection)), *("limits." + each.name for each in fields(LimitsSection)),
    *("flows." + each.name for each in fields(FlowsSection)),
    *("enforcement." + each.name for each in fields(EnforcementSection)),
    "agent", "pool", "grasp", "x", "link", "route", "classes",
])  # fmt: skip


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else json.dumps(value) if not isinstance(value, list) else (
        f"[{', '.join(map(_toml, value))}]"
    )  # fmt: skip


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_anything_is_a_configuration_or_a_list_of_problems(values: dict[str, Any]) -> None:
    text = "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
    try:
        config = parse(text, "x")
    except BadConfig as error:
        found = error.details["problems"]
    else:
        found = None
        assert config.agent.name
    assert found != []


# -- files


@pytest.mark.parametrize("name", ["origin", "delegator"])
def test_the_examples_are_right(name: str) -> None:
    config = load(ROOT / "examples" / f"{name}.toml")
    assert config.agent.mode == name
    assert bool(config.pools) is (name == "origin")


@pytest.mark.parametrize("name", ["origin", "delegator"])
def test_what_is_commented_out_in_the_examples_is_right_too(name: str) -> None:
    text = (ROOT / "examples" / f"{name}.toml").read_text()
    whole = re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
    assert whole != text
    config = parse(whole, name)
    assert name == "origin" or (config.links and config.routes and config.flows != FlowsSection())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as error:
        load(tmp_path / "x.toml")
    assert error.value.message == f"there is no file {tmp_path}/x.toml"
    assert error.value.hint == "start from examples/origin.toml or examples/delegator.toml"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be read: Is a directory"):
        load(tmp_path)
    file = tmp_path / "x.toml"
    file.write_bytes(b"# \xff")
    with pytest.raises(BadConfig, match="is not UTF-8, from byte 2 on"):
        load(file)
    file.write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(BadConfig, match="is too long"):
        load(file)


def test_a_file_one_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadConfig, match="may not be read"):
        load(tmp_path / "x.toml")


def test_users_and_groups_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    lists = 'operators = ["root", "@0", "no-such-user"]\nreaders = ["*", "7", "@no-such-group"]\n'
    file.write_text(f"{AGENT}[api]\n{lists}")
    with pytest.raises(BadConfig) as error:
        load(file)
    found = {each["key"]: each["problem"] for each in error.value.details["problems"]}
    assert found == {"api.operators": "has no-such-user", "api.readers": "has @no-such-group"}


@pytest.fixture(params=["token_file", "admin_file", "tls_key"])
def secret(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _with_secret(tmp_path: Path, key: str, secret: Path) -> Path:
    file = tmp_path / "x.toml"
    tcp = {"token_file": 'tcp = "127.0.0.1:7180"', "tls_key": f'tls_certificate = "{secret}"'}.get(key, "")
    file.write_text(f'{AGENT}[api]\n{tcp}\n{key} = "{secret}"\n[limits]\nevents = 1\n')
    return file


@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o640, True), (0o644, False), (0o602, False)])
def test_a_secret_everybody_can_read_is_none(tmp_path: Path, secret: str, mode: int, fine: bool) -> None:
    file = tmp_path / "secret"
    file.write_text("secret")
    file.chmod(mode)
    with pytest.raises(BadConfig) as error:
        load(_with_secret(tmp_path, secret, file))
    keys = {each["key"]: each for each in error.value.details["problems"]}
    assert (f"api.{secret}" in keys) is not fine
    assert "limits.events" in keys
    assert fine or keys[f"api.{secret}"]["allowed"] == f"chmod o= {file}"


def test_a_secret_that_is_not_there_or_no_file(tmp_path: Path, secret: str) -> None:
    for file in (tmp_path / "secret", tmp_path, Path(os.devnull)):
        with pytest.raises(BadConfig) as error:
            load(_with_secret(tmp_path, secret, file))
        assert f"api.{secret}" in [each["key"] for each in error.value.details["problems"]]


HOSTS: list[tuple[bytes, list[tuple[str, str]]]] = [
    (b'[hosts.a]\nmac = "x"\n[hosts.b]\naddresses = []\n',
     [("{}: hosts.a.mac is 'x'", "a MAC address: write aa:bb:cc:dd:ee:ff"),
      ("{}: hosts.b.addresses is missing, and so is mac",
       'a list of one IPv4 address, one IPv6 address or both, as in ["10.0.0.1", "fd00::1"]')]),
    (b"[hosts", [("{}: is not TOML: Expected ']' at the end of a table declaration (at end of document)", "")]),
    (b"\xff", [("{} is not UTF-8, from byte 0 on", "TOML is UTF-8 text")]),
    (b"#" * (MAX_FILE + 1), [("{} is too long", f"at most {MAX_FILE} bytes")]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), HOSTS, ids=["wrong", "not-toml", "not-utf-8", "long"])
def test_the_problems_of_the_host_table_are_among_those_of_the_file(
    tmp_path: Path, content: bytes, expected: list[tuple[str, str]]
) -> None:
    hosts, file = tmp_path / "hosts.toml", tmp_path / "x.toml"
    hosts.write_bytes(content)
    file.write_text(f'{AGENT}[flows]\nhosts_file = "{hosts}"\n[limits]\nevents = 1\n')
    with pytest.raises(BadConfig) as error:
        load(file)
    found = error.value.details["problems"]
    assert found.pop(0)["key"] == "limits.events"
    assert {each["key"] for each in found} == {"flows.hosts_file"}
    assert [(each["problem"], each["allowed"]) for each in found] == [
        (problem.format(hosts), allowed) for problem, allowed in expected
    ]
    assert parse(file.read_text().replace("= 1", "= 100"), "x").flows.hosts_file == hosts


def test_a_host_table_that_is_there_or_is_no_file(tmp_path: Path) -> None:
    hosts, file = tmp_path / "hosts.toml", tmp_path / "x.toml"
    file.write_text(f'{AGENT}[flows]\nhosts_file = "{hosts}"\n')
    with pytest.raises(BadConfig, match=r"flows\.hosts_file cannot be read: No such file or directory"):
        load(file)
    os.mkfifo(hosts)
    with pytest.raises(BadConfig, match=r"flows\.hosts_file is no file"):
        load(file)
    hosts.unlink()
    hosts.write_text('[hosts.a]\naddresses = ["10.0.0.1"]\n')
    assert load(file).flows.hosts_file == hosts


def test_a_group_is_one_of_this_host(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(f'{AGENT}[api]\nsocket_group = "no-such-group"\n')
    with pytest.raises(BadConfig, match="a group of this host"):
        load(file)
    assert parse(file.read_text(), "x").api.socket_group == "no-such-group"


# -- made without a file


@pytest.mark.parametrize(
    "make",
    [
        lambda: AgentSection("a b", "origin"),
        lambda: AgentSection("a", "both"),  # type: ignore[arg-type]
        lambda: GraspSection(port=-1),
        lambda: GraspSection(address=IPv4Address("192.0.2.1")),
        lambda: GraspSection(interfaces=()),
        lambda: ApiSection(socket_mode=0o777),
        lambda: ApiSection(socket_mode=-1),
        lambda: ApiSection(tcp=("224.0.0.1", 80), token_file=Path("/x")),
        lambda: ApiSection(operators=("a b",)),
        lambda: ApiSection(rate=0),
        lambda: TokenSection(Path("/x"), "root"),  # type: ignore[arg-type]
        lambda: ClientSection((), "reader"),
        lambda: ApiSection(tcp=("127.0.0.1", 80)),
        lambda: PoolSeed("wan", 0),
        lambda: LimitsSection(events=0),
        lambda: LinkSection("eth0", "1Gbit"),  # type: ignore[arg-type]
        lambda: LinkSection("eth0", 1, headroom=100),
        lambda: RouteSection("10.0.0.0/8", "eth0"),  # type: ignore[arg-type]
        lambda: RouteSection(ip_network("::/0")),
        lambda: RouteSection(ip_network("::/0"), pools=["wan"]),  # type: ignore[arg-type]
        lambda: FlowsSection(serves=(ip_network("::/0"), ip_network("::/0"))),
        lambda: FlowsSection(prefer="both"),  # type: ignore[arg-type]
        lambda: ApiSection(admin_file=Path("admin")),
        lambda: EnforcementSection("tc"),  # type: ignore[arg-type]
        lambda: EnforcementSection(floor=0),
        lambda: EnforcementSection(ovsdb=Path("db.sock")),
        lambda: Config(AgentSection("a", "origin"), links=(LinkSection("eth0", 999),), enforcement=REAL),
        lambda: Config(AgentSection("a", "origin"), links=(LinkSection("eth0", 999_999, 9),), enforcement=REAL),
        lambda: Config(AgentSection("a", "origin"), links=(LinkSection("-x", 1_000),), enforcement=REAL),
        lambda: Config(AgentSection("a", "origin"), links=(LinkSection("eth0", 1), LinkSection("eth0", 2))),
        lambda: Config(AgentSection("a", "origin"), routes=(RouteSection(ip_network("::/0"), "a"),) * 2),
        lambda: Config(AgentSection("a", "origin"), traffic_classes=(TrafficClass("x", 1), TrafficClass("y", 1))),
        lambda: Config(AgentSection("a", "delegator"), GraspSection(substrate="plain"), pools=(PoolSeed("wan", 1),)),
        lambda: DomainSection(Path("identity")),
        lambda: Config(AgentSection("a", "origin"), pools=(PoolSeed("wan", 1), PoolSeed("wan", 1))),
    ],
)
def test_sections_are_checked_when_they_are_made(make: Any) -> None:
    with pytest.raises(BadConfig) as error:
        make()
    assert len(error.value.details["problems"]) == 1


def test_a_mandate_does_not_change() -> None:
    config = parse(AGENT, "x")
    with pytest.raises(FrozenInstanceError):
        config.agent.name = "x"  # type: ignore[misc]


def test_every_key_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    chapters = dict(re.findall(r"^## `\[+([a-z]+)\]+`$(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL))
    sections = {
        "agent": AgentSection, "grasp": GraspSection, "api": ApiSection, "pool": PoolSeed, "limits": LimitsSection,
        "link": LinkSection, "route": RouteSection, "flows": FlowsSection, "enforcement": EnforcementSection,
        "domain": DomainSection, "allow": AllowSection,
    }  # fmt: skip
    for name, section in sections.items():
        keys = re.findall(r"^\| `([a-z0-9_]+)` \|", chapters.pop(name), re.MULTILINE)
        assert sorted(keys) == sorted(each.name for each in fields(section)), name
    assert re.findall(r"^\| `([a-z0-9_]+)` \|", chapters.pop("classes"), re.MULTILINE) == [
        "dscp", "keep", "guarantee", "ceiling", "priority",
    ]  # fmt: skip
    assert chapters == {}
