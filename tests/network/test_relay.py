"""A chain of four nodes, and relays between raw neighbours."""

from __future__ import annotations

import itertools
import secrets
from ipaddress import ip_address

import cbor2
import pytest

from lab import Capture

from .raw import (
    M_DISCOVERY,
    M_FLOOD,
    M_RESPONSE,
    O_DIVERT,
    O_IPV6,
    PORT,
    SYN,
    Raw,
    about,
    items,
)
from .steer import eventually
from .topology import address, network

FAR = ip_address("fd00::beef").packed  # an initiator or responder beyond the raw neighbours


def sid() -> int:
    return secrets.randbits(32) | 1 << 31


@pytest.fixture(scope="module")
def chain(shared_lab, start_shared):
    return [start_shared(host) for host in shared_lab.chain(4)]


# -- four nodes


def test_a_discovery_beyond_a_relay_comes_back_as_a_divert_to_a_routed_locator(chain):
    for name, responder, own in ((f"at h{n}", chain[n], str(ip_address(f"fd00:0:0:{n - 1}::2"))) for n in (1, 2, 3)):
        responder.register(name, "synchronize")
        responder.publish(name, 1)
        (found,) = chain[0].discover(name)
        assert found["locator"] == [own, 6, responder.port]
        assert found["diverted"] == (responder is not chain[1])
        assert found["interface"] == "eth0"


@pytest.mark.parametrize("backwards", [False, True])
def test_agents_negotiate_from_end_to_end(chain, backwards):
    initiator, *_, responder = reversed(chain) if backwards else chain
    name = f"end to end {backwards}"
    responder.register(name)
    responder.serve(name, [["propose", 10], ["accept"]])
    initiator.register(name)
    offer = initiator.negotiate(name, 100)
    assert offer["value"] == 10
    assert initiator.propose(offer["session"], 50)["agreed"]


def test_synchronization_reaches_the_far_end(chain):
    chain[3].register("far value", "synchronize")
    chain[3].publish("far value", [1, 2, 3])
    assert chain[0].synchronize("far value") == [1, 2, 3]


@pytest.mark.parametrize("origin", [0, 1])
def test_a_flood_arrives_everywhere_as_it_was_sent(chain, origin):
    name = f"flood from h{origin}"
    chain[origin].register(name, "synchronize")
    initiator = chain[origin].info()["address"]
    assert chain[origin].flood([[name, {"$map": [["a", [1.5]]]}, [initiator, 6, 9]]]) == (1 if origin == 0 else 2)
    for each in chain:
        if each is not chain[origin]:
            (tagged,) = each.wait_flood(name)
            assert tagged["value"] == {"$map": [["a", [1.5]]]}
            assert tagged["locator"] == [initiator, 6, 9]
            assert tagged["initiator"] == initiator


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_flood_goes_as_far_as_its_loop_count(chain, count):
    name, marker = f"flood of {count}", f"marker of {count}"
    for each in (name, marker):
        chain[0].register(each, "synchronize")
    chain[0].flood([[name, 1, None]], loop_count=count)
    chain[0].flood([[marker, 1, None]])
    assert chain[3].wait_flood(marker)
    assert [bool(each.floods(name)) for each in chain[1:]] == [distance <= count for distance in (1, 2, 3)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_discovery_goes_as_far_as_its_loop_count(chain, count):
    for distance in (1, 2, 3):
        name = f"{distance} away, {count} allowed"
        chain[distance].register(name, "synchronize")
        chain[distance].publish(name, 1)
        found = chain[0].discover(name, timeout=3_000 if distance <= count else 400, loop_count=count)
        assert bool(found) == (distance <= count)


def test_a_relay_answers_a_unicast_discovery_for_what_is_beyond_it(chain):
    chain[3].register("beyond h1", "synchronize")
    chain[3].publish("beyond h1", 1)
    relay = [["fd00::2", 6, chain[1].port], 0]
    (found,) = chain[0].discover("beyond h1", peer=relay)
    assert found["locator"] == ["fd00:0:0:2::2", 6, chain[3].port]
    assert found["diverted"]


def test_a_discovery_that_found_nothing_is_repeated_until_somebody_listens(chain):
    future = chain[0].begin("discover", "later", timeout=20_000)
    assert eventually(lambda: chain[3].statistics()["discarded"].get("discovery: no other interface"))
    chain[3].register("later", "synchronize")
    chain[3].publish("later", 1)
    assert len(future.result(20)) == 1


# -- relays between raw neighbours


@pytest.fixture(scope="module")
def between(shared_lab, start_shared):
    """left - relay - relay - right, the outer two raw."""
    hosts = network(shared_lab, itertools.pairwise(["left", "mid", "next", "right"]))
    relays = [start_shared(hosts[name], address=address(hosts, name)) for name in ("mid", "next")]
    with Raw(hosts["left"], "eth0") as left, Raw(hosts["right"], "eth0") as right:
        yield left, *relays, right


# Each with %s for the loop count: what no encoder of ours would write.
_HEAD = "85 09 1a80000001 50 INIT 1903e8 82 84 NAME 05 %s "
ODD_FLOODS = {
    "plain": _HEAD + "00 80",
    "session ID of 8 bytes": "85 09 1b0000000080000001 50 INIT 1b00000000000003e8 82 84 NAME 05 %s 1800 80",
    "type not the shortest": "85 1809 1a80000001 50 INIT 1a000003e8 82 84 NAME 1805 %s 1900ff 80",
    "lengths not the shortest": "9805 09 1a80000001 590010 INIT 1903e8"
    " 9a00000002 9b0000000000000004 LONGNAME 05 %s 00 80",
    "indefinite": "9f 09 1a80000001 5f 48 LEFT 48 RIGHT ff 1903e8"
    " 9f 9f 7f NAME ff 05 %s 9f 5f 41 00 40 ff ff ff 80 ff ff",
    "unknown tags": _HEAD + "d9fffe 82 c1 1a00000000 db00ffffffffffffff f7 80",
    "tags with behaviour": _HEAD + "d81c 82 d81d 00 d823 63282a29 80",
    "floats and simple values": _HEAD + "87 f97e00 fa3fc00000 fb3ff8000000000000 f7 f0 f820 f90000 80",
    "unsorted map": _HEAD + "a3 61 62 01 61 61 02 1818 03 80",
    "raw CBOR": _HEAD + "d818 45 9f 01 02 03 ff 80",
    "deep": _HEAD + 20 * "81 " + "00 80",
    "big integers": _HEAD + "82 1bffffffffffffffff c2 49 010000000000000000 80",
    "several objectives": "87 09 1a80000001 50 INIT 1903e8 82 84 NAME 05 %s 00 80 82 84 63786979 05 1806 f5 80"
    " 82 84 6378697a 05 19 00ff 80 84 1869 64 68 6f 73 74 06 1900 50",
    "an FQDN as locator": _HEAD + "00 84 1869 64 686f7374 06 190050",
    "an option between": "86 09 1a80000001 50 INIT 1903e8 82 18c8 63 616263 82 84 NAME 05 %s 00 80",
    "a locator between": "86 09 1a80000001 50 INIT 1903e8 84 1867 50 INIT 06 190050 82 84 NAME 05 %s 00 80",
}
ODD_DISCOVERIES = {
    "plain": "84 01 1a80000001 50 INIT 83 NAME 01 %s",
    "not the shortest": "9804 1801 1b0000000080000001 590010 INIT 9a00000003 LONGNAME 1801 %s",
    "indefinite": "9f 01 1a80000001 5f 48 LEFT 48 RIGHT ff 9f 7f NAME ff 01 %s ff ff",
    "a value": "84 01 1a80000001 50 INIT 84 NAME 03 %s d9fffe 9f f97e00 d81c 80 ff",
    "an option behind": "85 01 1a80000001 50 INIT 83 NAME 01 %s 82 18c8 01",
}


def built(template: str, name: str, count: str) -> bytes:
    """``template`` with a random session ID, a name of 20 bytes at most and a loop count in hex."""
    text = name.encode()
    assert len(text) < 24
    digits = template.replace(" ", "") % count
    for mark, data in (
        ("LONGNAME", b"\x79" + len(text).to_bytes(2, "big") + text),
        ("NAME", bytes([0x60 + len(text)]) + text),
        ("LEFT", FAR[:8]),
        ("RIGHT", FAR[8:]),
        ("INIT", FAR),
        ("80000001", sid().to_bytes(4, "big")),
    ):
        digits = digits.replace(mark, data.hex())
    return bytes.fromhex(digits)


@pytest.mark.parametrize("counts", [("05", "03"), ("18ff", "18fd"), ("1819", "17"), ("190006", "04")])
@pytest.mark.parametrize(
    ("odd", "template"),
    [(f"flood: {odd}", template) for odd, template in ODD_FLOODS.items()]
    + [(f"discovery: {odd}", template) for odd, template in ODD_DISCOVERIES.items()],
    ids=lambda given: given if ":" in given else "",
)
def test_a_relay_changes_nothing_but_the_loop_count(between, odd, template, counts):
    left, _, _, right = between
    name = f"o{sid():x}"
    before, after = counts
    sent = built(template, name, before)
    prefix = len(built(template[: template.index("%s")] + "%s", name, ""))
    expected = sent[:prefix] + bytes.fromhex(after) + sent[prefix + len(before) // 2 :]
    assert len(items(sent)[0]) == 1
    with Capture(right.host, "eth0") as capture:
        left.multicast(sent)
        arrived = eventually(
            lambda: [packet.payload for packet in capture.packets(PORT) if name.encode() in packet.payload], 3
        )
    assert [each.hex(" ") for each in arrived] == [expected.hex(" ")]


def test_a_relayed_flood_is_cached_by_the_relays_too(between):
    left, one, other, _ = between
    left.multicast([M_FLOOD, sid(), FAR, 60_000, [["kept", SYN, 6, {"a": 1}], [O_IPV6, FAR, 6, 1]]])
    for each in one, other:
        assert [tagged["value"] for tagged in each.wait_flood("kept")] == [{"$map": [["a", 1]]}]


def test_a_flood_with_several_objectives_is_counted_in_the_first_only(between):
    left, one, _, right = between
    entries = [[[f"multi {n}", SYN, 6, n], []] for n in range(3)]
    left.multicast([M_FLOOD, sid(), FAR, 0, *entries])
    message = right.hear(M_FLOOD, about("multi 0"))[2]
    assert [entry[0][2] for entry in message[4:]] == [4, 6, 6]
    assert one.wait_flood("multi 2")


@pytest.mark.parametrize("count", [0, 1])
def test_a_message_with_no_loop_left_is_not_relayed(between, count):
    left, _, _, right = between
    left.multicast([M_FLOOD, sid(), FAR, 0, [[f"stop {count}", SYN, count, 0], []]])
    left.multicast([M_DISCOVERY, sid(), FAR, [f"stop {count}", 1, count]])
    left.multicast([M_FLOOD, sid(), FAR, 0, [[f"go {count}", SYN, 3, 0], []]])
    right.hear(M_FLOOD, about(f"go {count}"))
    heard = [m for kind in (M_FLOOD, M_DISCOVERY) for _, _, m in right.messages(kind)]
    assert not [m for m in heard if f"stop {count}" in str(m)]


def test_the_same_session_is_relayed_once(between):
    left, _, _, right = between
    flood = [M_FLOOD, sid(), FAR, 0, [["twice", SYN, 6, 0], []]]
    discovery = [M_DISCOVERY, sid(), FAR, ["twice", 1, 6]]
    for _ in range(3):
        left.multicast(flood)
        left.multicast(discovery)
    left.multicast([M_FLOOD, sid(), FAR, 0, [["after twice", SYN, 3, 0], []]])
    right.hear(M_FLOOD, about("after twice"))
    assert len([m for _, _, m in right.messages(M_FLOOD) if m[1] == flood[1]]) == 1
    assert len([m for _, _, m in right.messages(M_DISCOVERY) if m[1] == discovery[1]]) == 1


def test_equal_session_ids_of_two_initiators_are_both_relayed(between):
    left, _, _, right = between
    number = sid()
    for initiator in FAR, ip_address("fd00::dead").packed:
        left.multicast([M_FLOOD, number, initiator, 0, [["two initiators", SYN, 6, 0], []]])
    assert eventually(lambda: len([m for _, _, m in right.messages(M_FLOOD) if m[1] == number]) == 2)


def respond(right: Raw, name: str, *locators, ttl: int = 60_000) -> None:
    """Answer the relayed discovery of ``name`` for somebody beyond."""
    source, port, message = right.hear(M_DISCOVERY, about(name))
    with right.connect(source, port) as wire:
        wire.send([M_RESPONSE, message[1], message[2], ttl, *locators])


BEYOND = [O_IPV6, FAR, 6, 4711]


def test_a_response_goes_back_hop_by_hop_as_a_divert(between):
    left, _, _, right = between
    number = sid()
    left.multicast([M_DISCOVERY, number, left.packed, ["hop by hop", 1, 6]])
    respond(right, "hop by hop", BEYOND)
    with left.accept() as wire:
        kind, session_id, initiator, ttl, divert, *_ = wire.receive()
        assert [kind, session_id, initiator] == [M_RESPONSE, number, left.packed]
        assert 0 < ttl <= 60_000
        assert divert == [O_DIVERT, BEYOND]
        assert wire.receive() is None


def test_what_a_relay_has_cached_is_a_divert_but_not_where_it_was_learnt(between):
    left, _, _, right = between
    left.multicast([M_DISCOVERY, sid(), left.packed, ["cached", 1, 6]])
    respond(right, "cached", BEYOND)
    with left.accept() as wire:
        assert wire.receive()[4] == [O_DIVERT, BEYOND]
    number = sid()
    left.multicast([M_DISCOVERY, number, left.packed, ["cached", 1, 6]])
    with left.accept() as wire:
        kind, session_id, _, ttl, divert, *_ = wire.receive()
        assert [kind, session_id, divert] == [M_RESPONSE, number, [O_DIVERT, BEYOND]]
        assert ttl <= 60_000
    assert len([m for _, _, m in right.messages(M_DISCOVERY) if about("cached")(m)]) == 1
    right.multicast([M_DISCOVERY, sid(), right.packed, ["cached", 1, 6]])
    with pytest.raises(TimeoutError):
        right.accept(0.5)


def test_a_cached_answer_is_forgotten_after_its_ttl(between):
    left, _, _, right = between
    left.multicast([M_DISCOVERY, sid(), left.packed, ["brief", 1, 6]])
    respond(right, "brief", BEYOND, ttl=300)
    left.accept().close()

    def relayed_again() -> bool:
        left.multicast([M_DISCOVERY, sid(), left.packed, ["brief", 1, 6]])
        try:
            left.accept(0.2).close()
        except TimeoutError:
            pass
        return len([m for _, _, m in right.messages(M_DISCOVERY) if about("brief")(m)]) > 1

    assert eventually(relayed_again)


def test_a_relay_keeps_a_link_local_locator_to_itself(between):
    left, _, _, right = between
    left.multicast([M_DISCOVERY, sid(), left.packed, ["local only", 1, 6]])
    respond(right, "local only", right.locator)
    with pytest.raises(TimeoutError):
        left.accept(0.5)


def test_several_responses_are_all_passed_on(between):
    left, _, _, right = between
    left.multicast([M_DISCOVERY, sid(), left.packed, ["several", 1, 6]])
    for port in (1, 2, 3):
        respond(right, "several", [O_IPV6, FAR, 6, port])
    ports = set()
    for _ in range(3):
        with left.accept() as wire:
            ports |= {locator[3] for locator in wire.receive()[4][1:]}
    assert ports == {1, 2, 3}


def test_more_locators_than_fit_one_response_are_cut_to_what_fits(between):
    """As a relay of one response, and from the cache."""
    left, one, other, right = between
    names = [[105, f"{n}{'x' * 900}.example", 6, 7] for n in range(4)]
    left.multicast([M_DISCOVERY, sid(), left.packed, ["crowded", 1, 6]])
    respond(right, "crowded", names[0], names[1])
    with left.accept(5) as wire:
        assert wire.receive()[4][0] == O_DIVERT
    respond(right, "crowded", names[2], names[3])
    left.accept(5).close()
    left.multicast([M_DISCOVERY, sid(), left.packed, ["crowded", 1, 6]])
    with left.accept(5) as wire:
        kind, *_, divert = wire.receive()
        assert (kind, divert[0]) == (M_RESPONSE, O_DIVERT)
        assert all(each in names for each in divert[1:])
        assert len(divert) > 1
    for each in one, other:
        assert "Traceback" not in each.log()


def test_a_response_of_the_full_size_is_passed_on_or_cut(between):
    left, one, other, right = between
    left.multicast([M_DISCOVERY, sid(), left.packed, ["full size", 1, 6]])
    _, _, message = right.hear(M_DISCOVERY, about("full size"))
    spare = 2_048 - len(cbor2.dumps([M_RESPONSE, message[1], message[2], 60_000, BEYOND, [105, "x" * 1_000, 6, 7]]))
    respond(right, "full size", BEYOND, [105, "x" * (1_000 + spare), 6, 7])
    with left.accept(5) as wire:
        assert BEYOND in wire.receive()[4]
    for each in one, other:
        assert "Traceback" not in each.log()


def test_relaying_has_a_rate(between):
    left, one, _, right = between
    for n in range(400):
        left.multicast([M_FLOOD, sid(), FAR, 1_000, [["rate", SYN, 3, n], []]])

    def through() -> bool:
        left.multicast([M_FLOOD, sid(), FAR, 1_000, [["rate reached", SYN, 1, 0], []]])
        return bool(one.floods("rate reached"))

    assert eventually(through)
    assert 50 <= len([m for _, _, m in right.messages(M_FLOOD) if about("rate")(m)]) < 300
