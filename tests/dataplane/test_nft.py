"""The table of nftables: its text, how it is read back, and which packets it really tells apart."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from asa.dataplane.backend import Spot
from asa.dataplane.match import ANY_FRAME, Match
from asa.dataplane.nft import listing, ruleset
from asa.dataplane.nft.classifier import Nftables
from asa.dataplane.nft.ruleset import Map
from asa.dataplane.plan import Action, Line, Plan
from asa.dataplane.tc import netlink
from asa.dataplane.tc.classifier import Rule
from asa.dataplane.tc.control import TrafficControl
from asa.flows import Mac, Port

from .between import Between, entry, eventually, line, plan, v4, v6

NOW = 1_700_000_000.0
MACS = Mac("02:00:00:00:00:01"), Mac("02:00:00:00:00:02")

MATCHES = [
    v4("10.0.0.1/32", "10.0.0.2/32", 17, Port(1000), Port(2000)),
    v4("10.0.0.0/24", "10.0.1.0/25", 6, None, Port(80, 0xFFF0)),
    v4(None, "10.0.0.2/32"),
    v4(None, None, 1),
    v6("fd00::1/128", "fd00::/64", 132, Port(8, 0xFFF8)),
    v6("::ffff:10.0.0.1/128"),
    Match(4, MACS[0], None, 6, None, Port(22)),
    Match(6, MACS[0], ip_network("fd00::/16"), vlan=7),
    Match(ANY_FRAME, MACS[0], MACS[1]),
    Match(ANY_FRAME, vlan=4094),
    Match(ANY_FRAME, None, MACS[1], vlan=1),
]


def map_for(match: Match, dscp: int | None = None, action: Action = Action.GUARANTEE, on: str = "eth1:out") -> Map:
    return ruleset.map_of((on, action, match), dscp)


# -- text


@pytest.mark.parametrize("name", ["eth0:out", "eth0.100:in", "br-lan:out", "veth@x+:in", "a_b:out"])
def test_names_lead_back_to_lines(name: str) -> None:
    assert ruleset.line_of(ruleset.chain_of(name)) == name


@pytest.mark.parametrize("match", MATCHES, ids=str)
@pytest.mark.parametrize("dscp", [None, 0, 46])
@pytest.mark.parametrize("action", [Action.GUARANTEE, Action.KEEP])
def test_names_of_maps_say_what_they_are(match: Match, dscp: int | None, action: Action) -> None:
    map = map_for(match, dscp, action, "eth0.1:in")
    assert ruleset.map_from(ruleset.name_of(map)) == map


@pytest.mark.parametrize(
    "name",
    ["", "x", "out.eth0", "out.eth0//", "out.eth0//g.4.32.32.p.n.n.n", "out.eth0//g.4.032.32.p.n.n.n.46",
     "out.eth0//x.4.32.32.p.n.n.n.46", "out.eth0//g.4.32.32.p.n.n.n.64", "eth0//g.4.32.32.p.n.n.n.46",
     "out.eth0//g.four.32.32.p.n.n.n.46", "out.eth0//g.4.32.32.p.zz.n.n.46"],
)  # fmt: skip
def test_names_of_others_are_no_maps_of_ours(name: str) -> None:
    with pytest.raises(ValueError, match=r"is no map of ours|is of no line|invalid literal"):
        ruleset.map_from(name)


def test_the_rules_of_a_line() -> None:
    maps = [
        map_for(v4("10.0.0.0/24", "10.0.0.2/32", 17, None, Port(80, 0xFFF0)), 46),
        map_for(v4("10.0.0.0/24", "10.0.0.2/32", 17, None, Port(80, 0xFFF0)), None, Action.KEEP),
        map_for(v6(None, "fd00::/16")),
        map_for(Match(4, MACS[0], vlan=7), 10),
        map_for(Match(ANY_FRAME, MACS[0]), 10),
    ]
    its = line(cleared=(46, 10), vouched=(ip_network("10.0.0.0/9"), ip_network("10.128.0.0/9")))
    rules = ruleset.rules_of(its, maps)
    key = "(ip saddr & 255.255.255.0) . ip daddr . meta l4proto . (th dport & 0xfff0)"
    assert [each.rpartition(" comment ")[0] for each in rules] == [
        f"meta protocol ip meta priority set {key} map @out.eth1//g.4.24.32.p.n.fff0.n.46 ip dscp set 46 accept",
        f"meta protocol ip meta priority set {key} map @out.eth1//k.4.24.32.p.n.fff0.n.n accept",
        "vlan type ip meta priority set vlan id . ether saddr map @out.eth1//g.4.m.n.n.n.n.v.10 ip dscp set 10 accept",
        "meta protocol ip meta priority set ether saddr map @out.eth1//g.0.m.n.n.n.n.n.10 ip dscp set 10 accept",
        "meta protocol ip6 meta priority set ether saddr map @out.eth1//g.0.m.n.n.n.n.n.10 ip6 dscp set 10 accept",
        "meta priority set ether saddr map @out.eth1//g.0.m.n.n.n.n.n.10 accept",
        "meta protocol ip6 meta priority set (ip6 daddr & ffff::) map @out.eth1//g.6.n.16.n.n.n.n.n accept",
        "meta protocol ip ip saddr { 10.0.0.0/8 } ip dscp { 10, 46 } ip dscp set 0",
        "meta priority set a5a:ffff accept",
    ]
    assert len({ruleset.digest_in(each) for each in rules}) == len(rules)
    assert all(each.endswith(f'comment "{ruleset.digest_in(each)}"') for each in rules)


def test_the_way_in_goes_through_the_device_that_stands_for_it() -> None:
    inward = line("eth1", "in")
    assert ruleset.chain_come(inward.name) == (
        'add chain netdev asa in.eth1 { type filter hook ingress device "eth1" priority 0; policy accept; }'
    )
    map = map_for(v4("10.0.0.1/32"), on=inward.name)
    assert [each.rpartition(" comment ")[0] for each in ruleset.rules_of(inward, [map])] == [
        f'meta protocol ip meta priority set ip saddr map @{ruleset.name_of(map)} fwd to "asa-eth1"',
        'meta priority set a5a:ffff fwd to "asa-eth1"',
    ]


def test_copies() -> None:
    near, tagged_one = v4("10.0.0.1/32"), v4("10.0.0.1/32", None, None, None, None, 7)
    assert [each for each in MATCHES if ruleset.copied(each, ruleset.ROUTED)] == MATCHES[:6]
    assert all(ruleset.copied(each, ruleset.BRIDGED) for each in MATCHES)
    assert ruleset.chain_come("eth1:out", ruleset.ROUTED) == (
        "add chain inet asa out.eth1 { type filter hook postrouting priority 300; policy accept; }"
    )
    rules = ruleset.rules_of(line(cleared=(46,)), [map_for(near), map_for(tagged_one)], ruleset.BRIDGED)
    names = [ruleset.name_of(map_for(each)) for each in (tagged_one, near)]
    assert [each.rpartition(" comment ")[0] for each in rules] == [
        f'oifname "eth1" vlan type ip meta priority set vlan id . ip saddr map @{names[0]} accept',
        f'oifname "eth1" meta protocol ip meta priority set ip saddr map @{names[1]} accept',
        'oifname "eth1" meta protocol ip ip dscp { 46 } ip dscp set 0',
        'oifname "eth1" meta protocol ip6 ip6 dscp { 46 } ip6 dscp set 0',
        'oifname "eth1" meta priority set a5a:ffff accept',
    ]


@pytest.mark.parametrize(
    ("vouched", "texts"),
    [
        ((), ["meta protocol ip ip dscp { 46 } ip dscp set 0", "meta protocol ip6 ip6 dscp { 46 } ip6 dscp set 0"]),
        (("fd00::/8",), ["meta protocol ip6 ip6 saddr { fd00::/8 } ip6 dscp { 46 } ip6 dscp set 0"]),
        (("0.0.0.0/0", "10.0.0.0/8"), ["meta protocol ip ip dscp { 46 } ip dscp set 0"]),
    ],
)
def test_whose_markings_are_cleared(vouched: tuple[str, ...], texts: list[str]) -> None:
    its = line(cleared=(46,), vouched=tuple(map(ip_network, vouched)))
    assert [each.rpartition(" comment ")[0] for each in ruleset.rules_of(its, ())] == [
        *texts, "meta priority set a5a:ffff accept",
    ]  # fmt: skip


def test_elements_in_words() -> None:
    match = v4("10.0.0.0/24", "10.0.0.2/32", 17, None, Port(80, 0xFFF0))
    name = ruleset.name_of(map_for(match))
    key = ruleset.key_of(match)
    assert ruleset.element_come(name, key, Rule(0x10, None, NOW + 1.5), NOW) == (
        f"add element netdev asa {name} {{ 10.0.0.0 . 10.0.0.2 . 17 . 80 timeout 1500ms : a5a:10 }}"
    )
    assert ruleset.element_come(name, key, Rule(0, None, None), NOW).endswith("17 . 80 : a5a:ffff }")


def test_a_table_of_another_name_that_leads_to_other_queues() -> None:
    table = ruleset.Table(name="other", major=1, default=1)
    map = map_for(v4("10.0.0.0/24"), dscp=None)
    name = ruleset.name_of(map)
    assert ruleset.element_come(name, "10.0.0.0", Rule(0x101, None, None), NOW, table) == (
        f"add element netdev other {name} {{ 10.0.0.0 : 1:101 }}"
    )
    assert ruleset.element_come(name, "10.0.0.0", Rule(0, None, None), NOW, table).endswith(" : 1:1 }")
    assert ruleset.chain_come("eth1:out", table).startswith("add chain netdev other out.eth1 { type filter hook egress")
    rules = ruleset.rules_of(line(), [map], table)
    assert [each.rpartition(" comment ")[0] for each in rules] == [
        f"meta protocol ip meta priority set (ip saddr & 255.255.255.0) map @{name} accept",
        "meta priority set 1:1 accept",
    ]
    raw = {"elem": [["10.0.0.0", "1:101"], ["10.0.1.0", "1:1"], ["10.0.2.0", "a5a:101"]]}
    assert [each.number for each in listing.elements(raw, table)[0]] == [0x101, 0, listing.FOREIGN]
    assert [each.number for each in listing.elements_in("{ 10.0.0.0 : 1:101, 10.0.1.0 : 1:1 }", table)] == [0x101, 0]
    told = {"nftables": [{"map": {"family": "netdev", "table": each}} for each in ("asa", "other")]}
    assert [content["table"] for _, content in listing.objects(told, table)] == ["other"]


def test_what_nft_says_of_a_script() -> None:
    said = (
        "/dev/stdin:1:32-37: Error: Could not process rule: No such file or directory\ndelete element ...\n ^^^\n"
        "/dev/stdin:3:29-34: Error: Could not process rule: File exists\n/dev/stdin:9:1: Error: what\n"
    )
    assert listing.failures(said, 3) == {
        0: "Could not process rule: No such file or directory", 2: "Could not process rule: File exists",
    }  # fmt: skip
    assert listing.failures("netlink: Error: Operation not permitted", 3) == {}


def test_listings_of_any_form_are_read() -> None:
    good = {"elem": {"val": {"concat": ["10.0.0.1", 17]}, "timeout": 30, "expires": 29}}
    raw: list[Any] = [
        [good, "a5a:10"], ["x", "a5a:ffff"], [good, "1:10"], [good, "a5a:0"], [good, 7], [good], good, None,
        [[], "a5a:1"], [{"elem": {"val": {"concat": [["x"]]}}}, "a5a:1"],
        [{"elem": {"val": "x", "timeout": 3, "expires": "soon"}}, "a5a:11"], [{"elem": None}, "a5a:11"],
    ]  # fmt: skip
    found, strays = listing.elements({"elem": raw})
    assert [(each.key, each.number, each.left) for each in found] == [
        ("10.0.0.1 . 17", 0x10, 29.5), ("x", 0, None), ("10.0.0.1 . 17", -1, 29.5), ("10.0.0.1 . 17", -1, 29.5),
    ]  # fmt: skip
    assert len(strays) == len(raw) - 4
    assert listing.elements({"elem": "all of them"}) == listing.elements({}) == ([], [])
    for told in (None, [], {}, {"nftables": 1}, {"nftables": [1, {"map": 2}, {"map": {"table": "asa"}}]}):
        assert list(listing.objects(told)) == []


@pytest.mark.parametrize(
    "parts", [[], ["10.0.0.1"], ["10.0.0.1", "17"], ["10.0.0.1", 17, 1], ["nowhere", 17], [17, 17]]
)
def test_keys_that_are_none(parts: list[object]) -> None:
    map = map_for(v4("10.0.0.0/24", None, 17))
    assert listing.spot_of(map, listing.Element("", parts, 1, None)) is None


def test_a_listing_without_json() -> None:
    text = (
        "table netdev asa {\n\tmap x {\n\t\telements = { 10.0.0.1 . 17 timeout 3h expires 2h59m59s992ms : a5a:10,\n"
        "\t\t\t     fd00::1 . 6 : a5a:ffff, 10.0.0.3 : 1:1 }\n\t}\n}\n"
    )
    assert [(each.parts, each.number, each.left) for each in listing.elements_in(text)] == [
        (["10.0.0.1", 17], 0x10, pytest.approx(10_799.992)), (["fd00::1", 6], 0, None), (["10.0.0.3"], -1, None),
    ]  # fmt: skip


# -- in the kernel


@pytest.fixture
def nft(bridged: Between) -> Iterator[Nftables]:
    nft = Nftables()
    nft.probe(())
    yield nft
    nft.close()


LINE = line()


def spot(match: Match, action: Action = Action.GUARANTEE) -> Spot:
    return LINE.name, action, match


def rule(number: int = 0x10, dscp: int | None = None, lasts: float = 300) -> Rule:
    return Rule(number, dscp, time.time() + lasts)


def same(found: dict[Spot, Rule] | Any, wanted: dict[Spot, Rule]) -> bool:
    return found.keys() == wanted.keys() and all(
        (found[each].number, found[each].dscp) == (its.number, its.dscp)
        and abs((found[each].expires or 0) - (its.expires or 0)) < 2
        for each, its in wanted.items()
    )


def test_all_matches_are_taken_and_read_back(nft: Nftables) -> None:
    assert nft.prepare([LINE]) == {}
    wanted = {spot(match): rule(0x10 + number, 46 if number % 2 else None) for number, match in enumerate(MATCHES)}
    wanted |= {spot(match, Action.KEEP): rule(0) for match in MATCHES}
    assert nft.change((), wanted) == {}
    assert same(nft.look(wanted), wanted)
    for reader in (nft, Nftables()):
        rules, wrong, strays = reader.read([LINE])
        assert (wrong, strays) == ({LINE.name: ""}, [])
        assert same(rules, wanted)
        assert same(reader.look(list(wanted)[:3]), {each: wanted[each] for each in list(wanted)[:3]})
    assert nft.change(wanted, {}) == {}
    assert nft.read([LINE]) == ({}, {LINE.name: ""}, [])
    assert nft.look(wanted) == {}


def test_what_is_asked_for_and_not_there(nft: Nftables, bridged: Between) -> None:
    nft.prepare([LINE])
    wanted = {spot(each): rule() for each in MATCHES[:3]}
    assert nft.change((), wanted) == {}
    name = ruleset.name_of(map_for(MATCHES[2]))
    bridged.run(f"nft delete element netdev asa {name} '{{ {ruleset.key_of(MATCHES[2])} }}'")
    assert same(nft.look(wanted), {each: wanted[each] for each in list(wanted)[:2]})
    assert nft.look([]) == {}


def test_a_rule_is_replaced_and_renewed(nft: Nftables) -> None:
    nft.prepare([LINE])
    first, second = spot(MATCHES[0]), spot(MATCHES[1])
    for its in (
        rule(0x10, None, 60),
        rule(0x10, None, 300),
        rule(0x11, None, 300),
        rule(0x11, 46, 300),
        rule(0x11, 0, 9),
    ):
        come = {first: its, second: its}
        assert nft.change([first], come) == {}
        assert same(nft.read([LINE])[0], come)
        assert nft.read([LINE])[1:] == ({LINE.name: ""}, [])


def test_rules_end_by_themselves(nft: Nftables) -> None:
    nft.prepare([LINE])
    first, second = spot(MATCHES[0]), spot(MATCHES[1])
    assert nft.change((), {first: rule(lasts=0.5), second: rule()}) == {}
    eventually(lambda: set(nft.look([first, second])) == {second})
    # It knows of both, and one is gone: neither is a failure.
    assert nft.change([first, second], {}) == {}
    assert nft.read([LINE])[0] == {}


@pytest.mark.parametrize("lasts", [0.5, 1.0, 2.5])
def test_a_rule_that_may_have_ended_is_renewed(nft: Nftables, lasts: float) -> None:
    nft.prepare([LINE])
    first = spot(MATCHES[0])
    assert nft.change((), {first: rule(lasts=lasts)}) == {}
    time.sleep(0.6)
    assert nft.change((), {first: rule()}) == {}
    assert same(nft.read([LINE])[0], {first: rule()})


def test_what_is_over_is_refused(nft: Nftables) -> None:
    nft.prepare([LINE])
    first, second = spot(MATCHES[0]), spot(MATCHES[1])
    assert nft.change((), {first: rule(lasts=0), second: rule()}) == {first: "its time is over"}
    assert set(nft.read([LINE])[0]) == {second}


def test_a_line_without_an_interface_holds_up_nobody(nft: Nftables) -> None:
    absent = Line("eth9", "out", 8_000, 800)
    # Newer kernels take a chain that waits for its interface.
    failed = nft.prepare([LINE, absent])
    assert set(failed) <= {absent.name}
    there, unknown = spot(MATCHES[0]), ("eth8:out", Action.GUARANTEE, MATCHES[0])
    assert set(nft.change((), {there: rule(), unknown: rule()})) == {unknown}
    assert set(nft.read([LINE])[0]) == {there}


@pytest.mark.parametrize(
    "damage",
    ["nft flush ruleset", "nft delete chain netdev asa out.eth1", "nft flush chain netdev asa out.eth1",
     "nft add rule netdev asa out.eth1 accept", "nft insert rule netdev asa out.eth1 accept"],
)  # fmt: skip
def test_damage_is_seen_and_repaired(nft: Nftables, bridged: Between, damage: str) -> None:
    nft.prepare([LINE])
    wanted = {spot(each): rule() for each in MATCHES[:3]}
    nft.change((), wanted)
    bridged.run(damage)
    rules, wrong, _ = nft.read([LINE])
    assert wrong[LINE.name]
    assert nft.prepare([LINE]) == {}
    assert nft.change((), {each: its for each, its in wanted.items() if each not in rules}) == {}
    rules, wrong, strays = nft.read([LINE])
    assert (wrong, strays) == ({LINE.name: ""}, [])
    assert same(rules, wanted)


def test_a_change_after_damage_nobody_told_of(nft: Nftables, bridged: Between) -> None:
    nft.prepare([LINE])
    assert nft.change((), {spot(MATCHES[0]): rule(), spot(MATCHES[1]): rule()}) == {}
    bridged.run("nft flush ruleset")
    assert nft.change([spot(MATCHES[0])], {spot(MATCHES[1]): rule(0x11), spot(MATCHES[2]): rule()}) == {}
    rules, wrong, _ = nft.read([LINE])
    assert wrong == {LINE.name: ""}
    assert same(rules, {spot(MATCHES[1]): rule(0x11), spot(MATCHES[2]): rule()})


def test_strays_are_told_of_and_swept(nft: Nftables, bridged: Between) -> None:
    nft.prepare([LINE])
    assert nft.change((), {spot(MATCHES[0]): rule()}) == {}
    bridged.run(
        "nft add table inet somebody; nft add chain netdev asa foreign; nft add rule netdev asa foreign accept; "
        "nft add set netdev asa s '{ type ipv4_addr; }'; nft add map netdev asa m '{ type ipv4_addr : classid; }'; "
        "nft add counter netdev asa c; "
        "nft add chain netdev asa out.eth0 '{ type filter hook egress device \"eth0\" priority 0; }'; "
        f"nft add element netdev asa {ruleset.name_of(map_for(MATCHES[0]))} '{{ 1.1.1.1 . 1.1.1.1 . 6 . 0 . 9 : 1:9 }}'"
    )
    assert len(nft.read([LINE])[2]) >= 6
    assert nft.prepare([LINE]) == {}
    rules, wrong, strays = nft.read([LINE])
    assert (set(rules), wrong, strays) == ({spot(MATCHES[0])}, {LINE.name: ""}, [])
    assert "somebody" in bridged.run("nft list tables")


def test_lines_that_go_take_everything_along(nft: Nftables, bridged: Between) -> None:
    other = line("eth0")
    nft.prepare([LINE, other])
    assert nft.change((), {spot(MATCHES[0]): rule(), (other.name, Action.GUARANTEE, MATCHES[0]): rule()}) == {}
    nft.read([other])
    assert nft.prepare([other]) == {}
    assert "eth1" not in bridged.run("nft list table netdev asa")
    assert set(nft.read([other])[0]) == {(other.name, Action.GUARANTEE, MATCHES[0])}


def test_cleared(nft: Nftables, bridged: Between) -> None:
    bridged.run("nft add table inet somebody")
    nft.prepare([LINE])
    nft.change((), {spot(MATCHES[0]): rule()})
    nft.clear()
    assert bridged.run("nft list tables") == "table inet somebody\n"
    nft.clear()
    assert bridged.run("nft list tables") == "table inet somebody\n"


def test_what_is_as_it_shall_be_is_not_touched(nft: Nftables, bridged: Between) -> None:
    nft.prepare([LINE])
    nft.change((), {spot(MATCHES[0]): rule()})

    def generation() -> str:
        return json.loads(bridged.run("nft -j list ruleset"))["nftables"][1]["table"]["handle"], bridged.run(
            "nft -a list table netdev asa | grep -o 'handle [0-9]*'"
        )

    before = generation()
    for each in (nft, Nftables()):
        each.read([LINE])
        assert each.prepare([LINE]) == {}
        assert each.change((), {}) == {}
    assert generation() == before


# -- which packets


def udp(source: int = 0, destination: int = 2_000, to: str = "10.0.0.2") -> Callable[[Between], None]:
    def send(between: Between) -> None:
        with (
            between.left.entered(),
            socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as it,
        ):
            it.bind(("", source))
            for _ in range(5):
                it.sendto(b"x", (to, destination))

    return send


def ping(to: str) -> Callable[[Between], None]:
    return lambda between: void(between.left.run(["ping", "-c", "5", "-i", "0.01", "-q", to]))


def void(_: object) -> None: ...


def tagged(vlan: int, inner: bytes = b"") -> Callable[[Between], None]:
    """Frames with a tag, from one host's MAC address to the other's."""

    def send(between: Between) -> None:
        with between.left.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as it:
            it.bind(("eth0", 0))
            frame = (
                mac_of(between.right) + mac_of(between.left) + struct.pack("!HHH", 0x8100, vlan, 0x0800) + datagram()
            )
            for _ in range(5):
                it.send(frame)

    return send


def datagram() -> bytes:
    addresses = socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.2")
    header = struct.pack("!BBHHHBBH", 0x45, 0, 46, 0, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return (
        header[:10] + struct.pack("!H", checksum) + header[12:] + struct.pack("!HHHH", 1_000, 2_000, 26, 0) + bytes(18)
    )


def mac_of(host: Any) -> bytes:
    with host.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as it:
        it.bind(("eth0", 0))
        return bytes(it.getsockname()[4])


CASES = [
    ("an address", v4("10.0.0.1/32"), udp(), True),
    ("both addresses", v4("10.0.0.1/32", "10.0.0.2/32"), udp(), True),
    ("another address", v4("10.0.0.3/32", "10.0.0.2/32"), udp(), False),
    ("a prefix", v4("10.0.0.0/29", "10.0.0.2/31"), udp(), True),
    ("another prefix", v4("10.0.0.8/29", "10.0.0.2/31"), udp(), False),
    ("IPv6", v6("fd00::1/128", "fd00::2/128"), udp(to="fd00::2"), True),
    ("a prefix of IPv6", v6("fd00::/65", "fd00::2/127"), udp(to="fd00::2"), True),
    ("another prefix of IPv6", v6("fd00::/127", "fd00::/127"), udp(to="fd00::2"), False),
    ("a protocol", v4(None, "10.0.0.2/32", 17), udp(), True),
    ("another protocol", v4(None, "10.0.0.2/32", 6), udp(), False),
    ("a protocol alone", v4(None, None, 1), ping("10.0.0.2"), True),
    ("any protocol", v4("10.0.0.1/32", "10.0.0.2/32"), ping("10.0.0.2"), True),
    ("a destination port", v4(None, "10.0.0.2/32", 17, None, Port(2_000)), udp(), True),
    ("another destination port", v4(None, "10.0.0.2/32", 17, None, Port(2_001)), udp(), False),
    ("both ports", v4(None, None, 17, Port(1_000), Port(2_000)), udp(1_000), True),
    ("another source port", v4(None, None, 17, Port(1_001), Port(2_000)), udp(1_000), False),
    ("ports of a mask", v4(None, "10.0.0.2/32", 17, None, Port(2_000 & 0xFFF0, 0xFFF0)), udp(0, 2_003), True),
    ("ports of another mask", v4(None, "10.0.0.2/32", 17, None, Port(2_016 & 0xFFF0, 0xFFF0)), udp(0, 2_003), False),
    ("ports of IPv6", v6("fd00::/16", None, 17, Port(1_000), Port(2_000, 0xFFFE)), udp(1_000, 2_001, "fd00::2"), True),
    ("a tag", Match(ANY_FRAME, vlan=7), tagged(7), True),
    ("another tag", Match(ANY_FRAME, vlan=8), tagged(7), False),
    ("a tag and an address", v4("10.0.0.1/32", "10.0.0.2/32", None, None, None, 7), tagged(7), True),
    ("a tag and a port", v4("10.0.0.0/24", None, 17, None, Port(2_000), 7), tagged(7), True),
    ("another tag and an address", v4("10.0.0.1/32", "10.0.0.2/32", None, None, None, 8), tagged(7), False),
    ("an address in any VLAN", v4("10.0.0.1/32", "10.0.0.2/32"), tagged(7), True),
    ("no tag", v4("10.0.0.1/32", "10.0.0.2/32", None, None, None, 7), udp(), False),
]  # fmt: skip


def counted(backend: TrafficControl) -> int:
    found = backend.count()
    assert len(found) == 1
    return next(iter(found.values())).packets


@pytest.mark.parametrize(("match", "send", "fits"), [each[1:] for each in CASES], ids=[each[0] for each in CASES])
def test_packets_get_their_class(bridged: Between, match: Match, send: Callable[[Between], None], fits: bool) -> None:
    backend = TrafficControl(Nftables(), False)
    assert backend.apply(plan(line(), entry(match))) == {}
    sent_before = passed(bridged)
    send(bridged)
    eventually(lambda: passed(bridged) >= sent_before + 5)
    if fits:
        eventually(lambda: counted(backend) >= 5)
    else:
        assert counted(backend) == 0
    backend.clear()


def passed(between: Between) -> int:
    """Packets that went out to the right."""
    index = netlink.links()["eth1"].index
    return sum(each.packets for number, each in netlink.counters(index).items() if number != 1)


@pytest.mark.parametrize("places", [(True, False), (False, True), (True, True)])
def test_frames_by_mac_address(bridged: Between, places: tuple[bool, bool]) -> None:
    macs = [Mac(":".join(f"{each:02x}" for each in mac_of(host))) for host in (bridged.left, bridged.right)]
    source, destination = (mac if looked_at else None for mac, looked_at in zip(macs, places, strict=True))
    backend = TrafficControl(Nftables(), False)
    assert backend.apply(plan(line(), entry(Match(ANY_FRAME, source, destination)))) == {}
    ping("fd00::2")(bridged)
    assert counted(backend) >= 5
    swapped = Match(ANY_FRAME, macs[1] if source else None, macs[0] if destination else None)
    assert backend.apply(plan(line(), entry(swapped))) == {}
    ping("fd00::2")(bridged)
    assert counted(backend) == 0


def received(between: Between, send: Callable[[Between], None], to: str = "10.0.0.2") -> set[int]:
    """The DSCPs of the datagrams that arrive at port 2000."""
    six = ":" in to
    with between.right.entered():
        it = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    with it:
        it.settimeout(5)
        it.bind((to, 2_000))
        if six:
            it.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            it.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        send(between)
        found = set()
        for _ in range(5):
            _, ancillary, _, _ = it.recvmsg(100, 100)
            found.add(ancillary[0][2][0] >> 2)
    return found


def marked(dscp: int, to: str = "10.0.0.2") -> Callable[[Between], None]:
    def send(between: Between) -> None:
        six = ":" in to
        with between.left.entered(), socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as it:
            it.setsockopt(
                *((socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if six else (socket.IPPROTO_IP, socket.IP_TOS)), dscp << 2
            )
            for _ in range(5):
                it.sendto(b"x", (to, 2_000))

    return send


@pytest.mark.parametrize("to", ["10.0.0.2", "fd00::2"])
def test_markings(bridged: Between, to: str) -> None:
    backend = TrafficControl(Nftables(), False)
    its = line(cleared=(46, 10), vouched=(ip_network("10.0.0.1/32"), ip_network("fd00::1/128")))
    match = v6(None, f"{to}/128") if ":" in to else v4(None, f"{to}/32")

    def wanted(*entries: Any, on: Line = its) -> Plan:
        return plan(on, *entries)

    def arrives(dscp: int) -> int:
        (found,) = received(bridged, marked(dscp, to), to)
        return found

    assert backend.apply(wanted(entry(match, dscp=46))) == {}
    assert (arrives(0), arrives(10), arrives(46)) == (46, 46, 46)
    assert backend.apply(wanted(entry(match, dscp=0))) == {}
    assert (arrives(0), arrives(46)) == (0, 0)
    assert backend.apply(wanted(entry(match, dscp=None))) == {}
    assert (arrives(0), arrives(46)) == (0, 46)
    # Passing through: the marking it came with.
    assert backend.apply(wanted(entry(match, action=Action.KEEP))) == {}
    assert (arrives(20), arrives(46)) == (20, 46)
    # Unreserved packets keep markings that are nobody's.
    assert backend.apply(wanted()) == {}
    assert (arrives(20), arrives(46), arrives(10)) == (20, 0, 0)
    # What others are answerable for is left alone.
    others = line(cleared=(46, 10), vouched=(ip_network("10.9.0.0/16"), ip_network("fd09::/16")))
    assert backend.apply(wanted(on=others)) == {}
    assert arrives(46) == 46


def test_the_match_that_looks_at_most_decides(bridged: Between) -> None:
    backend = TrafficControl(Nftables(), False)
    near = entry(v4("10.0.0.1/32", "10.0.0.2/32", 17, None, Port(2_000)), dscp=1)
    wide = entry(v4("10.0.0.0/24"), dscp=2)
    keep = entry(v4("10.0.0.0/24"), action=Action.KEEP)
    for entries, dscp in (((near, wide, keep), 1), ((wide, keep), 2), ((keep,), 46), ((wide, near), 1)):
        assert backend.apply(plan(line(cleared=(46,)), *entries)) == {}
        assert received(bridged, marked(46)) == {dscp}
