"""u32 on the real kernel: which class packets get into, and what is left of it afterwards."""

from __future__ import annotations

import itertools
import random
import socket
import struct
from collections.abc import Iterator

import pytest

from asa.dataplane.backend import Spot
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.dataplane.tc.classifier import Rule
from asa.dataplane.tc.control import TrafficControl
from asa.dataplane.u32 import kernel
from asa.dataplane.u32.classifier import SCRATCH, U32
from asa.dataplane.u32.filters import keys_of, match_of, ways_of
from asa.dataplane.u32.messages import new_leaf
from asa.dataplane.u32.tree import CROWDED, Tree
from asa.flows import Port
from lab import Host, Lab, unavailable_reason
from tests.dataplane.u32_box import (
    DEVICE,
    LINE,
    classes_of,
    datagram,
    eventually,
    filters,
    frame,
    match,
    net,
    pair,
    sent,
    shape,
    spot,
    wardens,
)

MANY = 5_000
UDP = 17


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    if why := unavailable_reason():
        pytest.skip(why)
    with Lab() as lab:
        yield pair(lab)


@pytest.fixture
def host(hosts: tuple[Host, Host]) -> Iterator[Host]:
    shape(hosts[0])
    yield hosts[0]
    hosts[0].run(["tc", "qdisc", "delete", "dev", DEVICE, "root"], check=False)


@pytest.fixture
def u32() -> Iterator[U32]:
    made = U32()
    yield made
    made.close()


def install(host: Host, u32: U32, *rules: tuple[Match, int]) -> dict[Spot, Rule]:
    wanted = {
        spot(each, Action.GUARANTEE if number else Action.KEEP): Rule(number, None, None) for each, number in rules
    }
    with host.entered():
        assert u32.change((), wanted) == {}
    return wanted


# -- what keys say


def random_match(luck: random.Random) -> Match:
    family = luck.choice((0, 4, 6))
    places: list[str | None] = []
    for _ in range(2):
        length = luck.randint(1, 32 if family == 4 else 128)
        choices: list[str | None] = [None, ":".join(f"{luck.randrange(256):02x}" for _ in range(6))]
        if family:
            packed = luck.randbytes(4 if family == 4 else 16)
            text = socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, packed)
            network = type(net("::/0" if family == 6 else "0.0.0.0/0"))((text, length), strict=False)
            choices.append(str(network))
        places.append(luck.choice(choices))
    protocol = luck.choice((None, 6, 17, 132, 47)) if family else None
    ports: list[Port | None] = [None, None]
    if protocol in (6, 17, 132):
        for at in range(2):
            mask = luck.randint(1, 0xFFFF)
            masked = None if mask == 0xFFFF else Port(luck.randrange(0x10000) & mask, mask)
            ports[at] = luck.choice((None, Port(luck.randint(1, 0xFFFF)), masked))
    return match(*places, protocol, *ports, family=family)


def test_a_match_is_told_by_its_keys_alone() -> None:
    luck = random.Random(5)
    for _ in range(3_000):
        made = random_match(luck)
        keys = keys_of(made)
        assert match_of(keys) == made
        # A filter that looks at less than the match it is taken for would be one of other packets.
        for at in range(len(keys)):
            assert match_of(keys[:at] + keys[at + 1 :]) != made
        for way in ways_of(made.shape):
            assert 0 <= way.bucket(keys) < 256


# -- which class packets get into


CASES = {
    "IPv4 host": (match("10.0.0.1/32", "10.0.0.2/32"), datagram("10.0.0.2", 9), datagram("10.0.0.3", 9)),
    "IPv4 prefix": (match(None, "10.0.0.0/30"), datagram("10.0.0.2", 9), datagram("10.0.0.4", 9)),
    "short prefix": (match(None, "8.0.0.0/5"), datagram("10.0.0.2", 9), datagram("16.0.0.1", 9)),
    "protocol": (match(protocol=UDP), datagram("10.0.0.2", 9), datagram("fd00::2", 9)),
    "port": (match(None, "10.0.0.2/32", UDP, None, Port(53)), datagram("10.0.0.2", 53), datagram("10.0.0.2", 54)),
    "source port": (match("10.0.0.1/32", None, UDP, Port(700)), datagram("10.0.0.2", 53, 700),
                    datagram("10.0.0.2", 700, 701)),
    "ports with masks": (match("10.0.0.1/32", None, UDP, Port(0x1000, 0xF000), Port(0x20, 0xFFF0)),
                         datagram("10.0.0.2", 0x2F, 0x1ABC), datagram("10.0.0.2", 0x30, 0x1ABC)),
    "behind options": (match(None, None, UDP, None, Port(53)), datagram("10.0.0.2", 53, options=b"\1\1\1\1\1\1\1\0"),
                       datagram("10.0.0.2", 54, options=b"\1\1\1\1\1\1\1\0")),
    "IPv6 host": (match("fd00::1/128", "fd00::2/128", family=6), datagram("fd00::2", 9), datagram("10.0.0.2", 9)),
    "IPv6 prefix": (match(None, "fd00::2/127", family=6), datagram("fd00::2", 9), datagram("fd00::5", 9)),
    "IPv6 port": (match(None, "fd00::/64", UDP, None, Port(53), 6), datagram("fd00::2", 53), datagram("fd00::2", 54)),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_packets_that_fit_get_into_the_class_and_others_do_not(host: Host, u32: U32, case: str) -> None:
    what, fits, differs = CASES[case]
    install(host, u32, (what, 0x10))
    assert classes_of(host, fits) == {0x10}
    assert classes_of(host, differs) == set()


def test_frames_are_told_by_their_mac_addresses(host: Host, hosts: tuple[Host, Host], u32: U32) -> None:
    mine, other = (
        each.run(["cat", f"/sys/class/net/{DEVICE}/address"]).stdout.strip() for each in (host, hosts[1])
    )  # fmt: skip
    install(host, u32, (match(mine, other, family=0), 0x10), (match(None, other, UDP, None, Port(53), family=4), 0x11))
    assert classes_of(host, datagram("fd00::2", 9)) == {0x10}
    # Looks at less of the places, so the other one decides.
    assert classes_of(host, datagram("10.0.0.2", 53)) == {0x10}
    install(host, u32, (match(mine, other, UDP, None, Port(53), family=4), 0x12))
    assert classes_of(host, datagram("10.0.0.2", 53)) == {0x12}
    with host.entered():
        u32.change([spot(match(mine, other, family=0))], {})
    assert classes_of(host, datagram("10.0.0.2", 9)) == set()
    assert classes_of(host, frame(bytes.fromhex("ffffffffffff" + mine.replace(":", "") + "88b5") + bytes(50))) == set()
    install(host, u32, (match(mine, None, family=0), 0x13))
    assert classes_of(host, frame(bytes.fromhex("ffffffffffff" + mine.replace(":", "") + "88b5") + bytes(50))) == {0x13}


def tagged(vlan: int, port: int) -> bytes:
    """A frame with a VLAN tag and a datagram from 10.0.0.1 to 10.0.0.2."""
    udp = struct.pack("!HHHH", 1_000, port, 8, 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, UDP, 0, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)))
    return bytes.fromhex("02000000000202000000000181 00".replace(" ", "")) + struct.pack("!HH", vlan, 0x0800) + ip + udp


def test_tagged_frames_fit_matches_without_vlan_and_matches_with_vlan_are_refused(u32: U32) -> None:
    if why := unavailable_reason():
        pytest.skip(why)
    with Lab() as lab:
        ends = lab.host("left"), lab.host("right")
        lab.lan(*ends)
        switch = lab.hosts["switch0"]
        shape(switch, "eth1")
        line = "eth1:out"
        wanted = {
            spot(match(None, "10.0.0.2/32", UDP, None, Port(53)), line=line): Rule(0x10, None, None),
            spot(match(None, "10.0.0.2/32", UDP, None, Port(53), vlan=7), line=line): Rule(0x11, None, None),
        }
        with switch.entered():
            refused = u32.change((), wanted)
        assert list(refused) == list(wanted)[1:]
        assert "VLAN" in refused[list(wanted)[1]]

        def counted(port: int) -> int:
            before = sent(switch, "eth1")
            with ends[0].entered():
                frame(tagged(7, port))()
            eventually(lambda: sum(sent(switch, "eth1").values()) > sum(before.values()))
            return sent(switch, "eth1")[0x10] - before[0x10]

        assert counted(53) == 1
        assert counted(54) == 0


def test_of_fragments_the_first_has_ports(host: Host, u32: U32) -> None:
    install(host, u32, (match(None, "10.0.0.2/32", UDP, None, Port(53)), 0x10))
    before = sent(host)
    with host.entered():
        datagram("10.0.0.2", 53, size=4_000)()
    assert sent(host)[0x10] - before[0x10] == 1


def test_the_most_specific_match_decides_in_whatever_order_they_come(host: Host, u32: U32) -> None:
    rules = [
        (match(None, "10.0.0.0/8"), 0x10),
        (match(None, "10.0.0.0/24"), 0x11),
        (match(None, "10.0.0.2/32"), 0x12),
        (match(None, "10.0.0.2/32", UDP, None, Port(0x30, 0xFFF0)), 0x13),
        (match(None, "10.0.0.2/32", UDP, None, Port(0x35)), 0x14),
        (match("10.0.0.1/32", "10.0.0.2/32", UDP), 0x15),
    ]
    for order in (rules, rules[::-1]):
        for each in order[:-1] if order is rules else order[1:]:
            install(host, u32, each)
        assert classes_of(host, datagram("10.0.0.2", 0x35)) == {0x14}
        assert classes_of(host, datagram("10.0.0.2", 0x36)) == {0x13}
        assert classes_of(host, datagram("10.0.0.2", 0x46)) == {0x12}
        assert classes_of(host, datagram("10.0.0.3", 0x35)) == {0x11}
        install(host, u32, rules[-1])
        assert classes_of(host, datagram("10.0.0.2", 0x35)) == {0x15}
        with host.entered():
            u32.change([spot(each) for each, _ in rules], {})
        assert classes_of(host, datagram("10.0.0.2", 0x35)) == set()


def test_shapes_in_any_number_and_order(host: Host, u32: U32) -> None:
    lengths = list(itertools.product(range(1, 15), repeat=2))
    rules = {
        each: (match(str(net_of("10.0.0.1", each[0])), str(net_of("10.0.0.2", each[1]))), 0x10 + sum(each) % 16)
        for each in lengths
    }
    # The most specific last: each gets in before all others.
    for each in sorted(rules.values(), key=lambda each: each[0].shape.rank):
        install(host, u32, each)
    assert classes_of(host, datagram("10.0.0.2", 9)) == {rules[14, 14][1]}
    with host.entered():
        assert len(U32().read([LINE])[0]) == len(rules)
        u32.change([spot(rules[14, 14][0]), spot(rules[13, 14][0]), spot(rules[14, 13][0])], {})
    best = max((what for each, (what, _) in rules.items() if sum(each) == 26), key=lambda each: each.shape.rank)
    assert classes_of(host, datagram("10.0.0.2", 9)) == {number for what, number in rules.values() if what == best}


def net_of(address: str, length: int) -> object:
    return type(net("0.0.0.0/0"))((address, length), strict=False)


def test_passthrough_goes_to_the_default_class_and_a_guarantee_of_the_same_packets_wins(host: Host, u32: U32) -> None:
    wide, narrow = match(None, "10.0.0.0/24"), match(None, "10.0.0.2/32")
    wanted = install(host, u32, (wide, 0x10), (narrow, 0))
    assert classes_of(host, datagram("10.0.0.2", 9)) == set()
    assert classes_of(host, datagram("10.0.0.3", 9)) == {0x10}
    wanted |= install(host, u32, (narrow, 0x11))
    assert classes_of(host, datagram("10.0.0.2", 9)) == {0x11}
    with host.entered():
        assert U32().read([LINE])[0] == wanted


# -- what is in place


def many(expires: float | None, same_hosts: bool = False) -> dict[Spot, Rule]:
    return {
        spot(
            match(None if same_hosts else f"10.{1 + each // 256}.{each % 256}.7/32", "10.0.0.2/32", UDP, None,
                  Port(1 + each))
        ): Rule(0x10 + each % 16, None, expires)
        for each in range(MANY)
    }  # fmt: skip


@pytest.mark.parametrize("same_hosts", [False, True])
def test_thousands_are_installed_adopted_renewed_and_removed(host: Host, u32: U32, same_hosts: bool) -> None:
    wanted = many(None, same_hosts)
    with host.entered():
        assert u32.change((), wanted) == {}
        assert u32.look(wanted) == wanted
        successor = U32()
        assert successor.read([LINE]) == (wanted, {LINE.name: ""}, [])
        index = socket.if_nametoindex(DEVICE)
        assert max(map(len, tree(index)._used.values())) <= 3 * CROWDED
        renewed = {each: Rule(0x1F, None, None) for each in wanted}
        assert successor.change((), renewed) == {}
        assert u32.read([LINE]) == (renewed, {LINE.name: ""}, [])
        assert classes_of(host, datagram("10.0.0.2", 4_321)) == ({0x1F} if same_hosts else set())
        assert u32.change(list(renewed), {}) == {}
        assert u32.read([LINE])[0] == {}
    assert classes_of(host, datagram("10.0.0.2", 4_321)) == set()


def tree(index: int) -> Tree:
    return Tree(kernel.nodes(index))


def test_who_adopts_changes_nothing(host: Host, u32: U32) -> None:
    wanted = install(host, u32, (match(None, "10.0.0.2/32"), 0x10), (match(None, "fd00::2/128", family=6), 0x11))
    before = filters(host)
    successor = U32()
    with host.entered():
        assert successor.prepare([LINE]) == {}
        assert successor.read([LINE])[0] == wanted
        assert successor.look(wanted) == wanted
        assert successor.prepare([LINE]) == {}
        assert successor.look([spot(match(None, "10.0.0.9/32"))]) == {}
    assert filters(host) == before


def test_a_renewed_rule_is_never_missing(host: Host, u32: U32) -> None:
    what = match(None, "10.0.0.2/32")
    install(host, u32, (what, 0x10))
    seen = []
    with host.entered():
        for second in range(3):
            assert u32.change([spot(what)], {spot(what): Rule(0x11, None, 4_000_000_000 + second)}) == {}
            seen.append(u32.look([spot(what)])[spot(what)])
        assert [each.expires for each in seen] == [4_000_000_000, 4_000_000_001, 4_000_000_002]
        assert len(tree(socket.if_nametoindex(DEVICE)).leaves) == 1
    assert filters(host).count("flowid") == 1


def test_what_it_cannot_mark_gets_its_class_and_is_not_put_in_place_again_and_again(host: Host, u32: U32) -> None:
    what = spot(match(None, "10.0.0.2/32"))
    with host.entered():
        assert u32.change((), {what: Rule(0x10, 46, 4_000_000_000)}) == {}
        assert u32.look([what]) == {what: Rule(0x10, None, 4_000_000_000)}
        before = tree(socket.if_nametoindex(DEVICE)).leaves
        assert u32.change([what], {what: Rule(0x10, 46, 4_000_000_000)}) == {}
        assert tree(socket.if_nametoindex(DEVICE)).leaves == before
    assert classes_of(host, datagram("10.0.0.2", 9)) == {0x10}


def test_filters_of_others_stay_and_go_on(host: Host, u32: U32) -> None:
    foreign = [
        "parent a5a: pref 5 protocol ip u32 match ip dport 4000 0xffff flowid a5a:1e",
        "parent a5a: pref 2650 protocol all u32 match ip dport 4001 0xffff flowid a5a:1f",
    ]
    for each in foreign:
        host.run(["tc", "filter", "add", "dev", DEVICE, *each.split()])
    wanted = install(host, u32, (match(None, "10.0.0.2/32", UDP, None, Port(53)), 0x10))
    with host.entered():
        found, wrong, strays = u32.read([LINE])
        assert (found, wrong, list(strays)) == (wanted, {LINE.name: ""}, [])
        u32.clear()
        assert u32.read([LINE])[0] == {}
    assert classes_of(host, datagram("10.0.0.2", 4_000)) == {0x1E}
    assert classes_of(host, datagram("10.0.0.2", 4_001)) == {0x1F}
    shown = filters(host)
    assert shown.count("flowid") == 2
    assert "0a5a7533" not in shown
    # And it can be done again beside them.
    install(host, u32, (match(None, "10.0.0.2/32", UDP, None, Port(53)), 0x10))
    assert classes_of(host, datagram("10.0.0.2", 53)) == {0x10}


def test_a_bad_spot_and_a_line_that_is_not_there_hold_up_nobody(host: Host, u32: U32) -> None:
    good = {spot(match(None, "10.0.0.2/32")): Rule(0x10, None, None)}
    bad = {
        spot(match(None, "10.0.0.2/32", vlan=3)): Rule(0x11, None, None),
        spot(match(None, "10.0.0.3/32"), Action.KEEP): Rule(0x12, None, None),
        spot(match(None, "10.0.0.4/32"), Action.STEER): Rule(0x13, None, None),
        spot(match(None, "10.0.0.2/32"), line="eth7:out"): Rule(0x10, None, None),
        spot(match(None, "10.0.0.2/32"), line="lo:out"): Rule(0x10, None, None),
    }
    with host.entered():
        refused = u32.change([spot(match(None, "10.0.0.77/32"))], bad | good)
        assert set(refused) == set(bad)
        assert [each for each in refused.values() if not each] == []
        assert u32.read([LINE])[0] == good


def test_after_the_queue_was_taken_away_rules_are_put_in_place_anew(host: Host, u32: U32) -> None:
    wanted = install(host, u32, (match(None, "10.0.0.2/32"), 0x10))
    host.run(["tc", "qdisc", "delete", "dev", DEVICE, "root"])
    with host.entered():
        assert u32.look(wanted) == {}
    shape(host)
    install(host, u32, (match(None, "10.0.0.2/32"), 0x10))
    host.run(["tc", "qdisc", "delete", "dev", DEVICE, "root"])
    shape(host)
    # What it remembers is of a queue that is no more.
    install(host, u32, (match(None, "10.0.0.3/32"), 0x11))
    with host.entered():
        assert set(u32.read([LINE])[0]) == {spot(match(None, "10.0.0.3/32"))}


def test_what_a_replacement_cut_short_left_is_told_and_removed(host: Host, u32: U32) -> None:
    what = match(None, "10.0.0.2/32")
    install(host, u32, (what, 0x10))
    with host.entered():
        # As if it had died between the new filter and the old one's end.
        double = tree(socket.if_nametoindex(DEVICE))
        leaf, needed = double.place((Action.GUARANTEE, what), Rule(0x11, None, 4_000_000_000))
        assert needed == []
        assert kernel.change([new_leaf(socket.if_nametoindex(DEVICE), leaf)]) == {}
        found, _, strays = u32.read([LINE])
        assert found == {spot(what): Rule(0x11, None, 4_000_000_000)}
        assert len(strays) == 1
        u32.prepare([LINE])
        assert u32.read([LINE])[2] == []
    assert filters(host).count("flowid") == 1


def test_what_is_on_no_line_any_more_goes(host: Host, u32: U32) -> None:
    install(host, u32, (match(None, "10.0.0.2/32"), 0x10))
    with host.entered():
        U32().prepare([])
    assert filters(host) == ""


def test_probing_tries_it_and_leaves_nothing(host: Host, u32: U32) -> None:
    before, watching = host.run(["ip", "-o", "link"]).stdout, wardens(host)
    with host.entered():
        abilities = u32.probe([LINE])
    assert abilities.expires
    assert not abilities.marks
    assert any("DSCP" in each for each in abilities.notes)
    assert SCRATCH not in host.run(["ip", "-o", "link"]).stdout
    assert [each.split(": ")[1] for each in host.run(["ip", "-o", "link"]).stdout.splitlines()] == [
        each.split(": ")[1] for each in before.splitlines()
    ]
    assert wardens(host) == watching


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_what_comes_in_is_told_apart_too(address: str) -> None:
    if why := unavailable_reason():
        pytest.skip(why)
    with Lab() as lab:
        here, there = pair(lab)
        family, length = (6, 128) if ":" in address else (4, 32)
        wanted = match(None, f"{address}/{length}", UDP, None, Port(53), family)
        lines = (Line(DEVICE, "in", 10**8, 10**7), Line(DEVICE, "out", 10**8, 10**7))
        made = Entry("eth0:in", Action.GUARANTEE, frozenset({wanted}), ("r1",), 4_000_000_000, Share(10**6, 10**6))
        backend = TrafficControl(U32(), take_over=False)
        with here.entered():
            assert backend.apply(Plan(lines, {made.key: made})) == {}
            reading = backend.read()
            assert (set(reading.found), set(reading.lines.values())) == ({("eth0:in", Action.GUARANTEE, wanted)}, {""})
        with there.entered():
            for port in (53, 53, 54):
                datagram(address, port)()
        with here.entered():
            eventually(lambda: backend.count()[made.key].packets >= 2)
            assert backend.count()[made.key].packets == 2
            backend.clear()
            backend.close()
