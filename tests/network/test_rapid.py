"""Rapid mode (RFC 8990 §2.5.5.1, §2.5.6.3): with both nodes willing, with one, and across a relay."""

from __future__ import annotations

import pytest

from .raw import (
    M_DISCOVERY,
    M_END,
    M_INVALID,
    M_NEGOTIATE,
    M_RESPONSE,
    M_SYNCH,
    NEG,
    O_ACCEPT,
    SYN,
    Raw,
    about,
)
from .steer import eventually


@pytest.fixture(scope="module")
def trio(shared_lab, start_shared):
    """a and b do rapid mode, c does not; d is raw."""
    hosts = [shared_lab.host(name) for name in "abcd"]
    shared_lab.lan(*hosts)
    for n, host in enumerate(hosts, 1):
        host.address(f"fd00::{n}/64", "eth0")
    a, b = (start_shared(host, ["eth0"], rapid=True) for host in hosts[:2])
    with Raw(hosts[3], "eth0") as raw:
        yield a, b, start_shared(hosts[2], ["eth0"]), raw


def asked_rapidly(raw: Raw, name: str) -> list[object]:
    return [m for _, _, m in raw.messages(M_DISCOVERY) if about(name)(m) and len(m[3]) == 4]


def test_a_rapid_request_is_answered_without_a_response_or_a_request(trio):
    a, b, _, raw = trio
    b.register("rapid")
    b.serve("rapid", [["propose", 10], ["accept"]])
    a.register("rapid")
    offer = a.negotiate("rapid", 100, rapid=True)
    assert (offer["value"], offer["loop_count"]) == (10, 5)
    assert a.propose(offer["session"], 50)["agreed"]
    assert [message[3] for message in asked_rapidly(raw, "rapid")] == [["rapid", NEG, 6, 100]]
    assert len([m for _, _, m in raw.messages(M_DISCOVERY) if about("rapid")(m)]) == 1
    assert [e["offers"] for e in b.served() if e["name"] == "rapid"] == [[100, 50]]
    assert eventually(lambda: a.statistics()["sessions"] == b.statistics()["sessions"] == 0)


def test_a_rapid_request_can_be_accepted_at_once(trio):
    a, b, _, _ = trio
    b.register("rapid yes")
    b.serve("rapid yes", [["accept"]])
    a.register("rapid yes")
    outcome = a.negotiate("rapid yes", {"$map": [["n", 1]]}, rapid=True)
    assert (outcome["agreed"], outcome["value"]) == (True, {"$map": [["n", 1]]})


def test_rapid_synchronization_gets_the_value(trio):
    a, b, _, raw = trio
    b.register("rapid value", "synchronize")
    b.publish("rapid value", "here")
    assert a.synchronize("rapid value", rapid=True) == "here"
    assert len(asked_rapidly(raw, "rapid value")) == 1


def test_rapid_answers_are_on_the_wire_what_the_rfc_says(trio):
    a, b, _, raw = trio
    b.register("rapid wire")
    b.serve("rapid wire", [["propose", 1], ["accept"]])
    raw.multicast([M_DISCOVERY, 4711, raw.packed, ["rapid wire", NEG, 6, 9]])
    with raw.accept() as wire:
        assert wire.receive() == [M_NEGOTIATE, 4711, ["rapid wire", NEG, 5, 1]]
        wire.send([M_END, 4711, [O_ACCEPT]])
        assert wire.receive() is None
    b.register("rapid wire value", "synchronize")
    b.publish("rapid wire value", 5)
    raw.multicast([M_DISCOVERY, 4712, raw.packed, ["rapid wire value", SYN, 6, None]])
    with raw.accept() as wire:
        kind, number, objective = wire.receive()
        assert (kind, number, objective[3]) == (M_SYNCH, 4712, 5)
    a.register("rapid to raw")
    future = a.begin("negotiate", "rapid to raw", 8, rapid=True)
    _, port, message = raw.hear(M_DISCOVERY, about("rapid to raw"))
    with raw.connect(a.host.link_local("eth0"), port) as wire:
        wire.send([M_END, message[1], [O_ACCEPT]])
        assert future.result(10)["agreed"]
        assert wire.receive() is None


def test_a_responder_that_does_not_do_rapid_mode_is_discovered_as_usual(trio):
    a, _, c, raw = trio
    c.register("usual")
    c.serve("usual", [["accept"]])
    a.register("usual")
    assert a.negotiate("usual", 1, rapid=True)["agreed"]
    assert len(asked_rapidly(raw, "usual")) == 1
    c.register("usual value", "synchronize")
    c.publish("usual value", 2)
    assert a.synchronize("usual value", rapid=True) == 2
    raw.multicast([M_DISCOVERY, 4713, raw.packed, ["usual", NEG, 6, 9]])
    with raw.accept() as wire:
        assert wire.receive()[:2] == [M_RESPONSE, 4713]


def test_a_node_that_does_not_do_rapid_mode_may_still_ask_for_it(trio):
    _, b, c, _ = trio
    b.register("ask rapidly")
    b.serve("ask rapidly", [["accept"]])
    c.register("ask rapidly")
    assert c.negotiate("ask rapidly", 1, rapid=True)["agreed"]


def test_of_two_rapid_answers_one_is_taken_and_the_other_ends(trio):
    a, _, _, raw = trio
    a.register("two answers")
    future = a.begin("negotiate", "two answers", 1, rapid=True)
    _, port, message = raw.hear(M_DISCOVERY, about("two answers"))
    where = (a.host.link_local("eth0"), port)
    with raw.connect(*where) as first, raw.connect(*where) as second:
        for wire, value in ((first, 1), (second, 2)):
            wire.send([M_NEGOTIATE, message[1], ["two answers", NEG, 5, value]])
        offer = future.result(10)
        chosen, other = (first, second) if offer["value"] == 1 else (second, first)
        answer = other.receive()
        assert answer is None or answer[:2] == [M_INVALID, message[1]]
        a.accept(offer["session"])
        assert chosen.receive() == [M_END, message[1], [O_ACCEPT]]
    assert eventually(lambda: a.statistics()["sessions"] == 0)


def test_a_value_too_long_for_a_multicast_travels_with_an_ordinary_request(trio):
    a, b, _, _ = trio
    value = {"$hex": "00" * 1_500}
    b.register("long rapid")
    b.serve("long rapid", [["accept"]])
    a.register("long rapid")
    assert a.negotiate("long rapid", value, rapid=True)["agreed"]


def test_slow_rapid_negotiations_do_not_hold_up_discovery(trio):
    """The answers to multicasts and the handlers of rapid requests must not wait for each other."""
    a, b, _, raw = trio
    b.register("slow rapid")
    b.serve("slow rapid", [["hold", "slow rapid"], ["accept"]])
    b.register("quick", discoverable=True)
    wires = []
    try:
        for number in range(5_000, 5_016):
            raw.multicast([M_DISCOVERY, number, raw.packed, ["slow rapid", NEG, 6, 1]])
        assert eventually(lambda: sum(e["name"] == "slow rapid" for e in b.served()) >= 8)
        assert a.discover("quick", timeout=10_000)
    finally:
        b.open_gate("slow rapid")
        raw.listener.settimeout(0.5)
        try:
            while True:
                wires.append(raw.listener.accept()[0])
        except TimeoutError:
            pass
        for each in wires:
            each.close()


def test_rapid_mode_across_a_relay_ends_in_an_ordinary_negotiation(lab, start):
    hosts = lab.chain(3)
    a, _, c = (start(host, rapid=True) for host in hosts)
    c.register("beyond")
    c.serve("beyond", [["propose", 1], ["accept"]])
    c.register("beyond value", "synchronize")
    c.publish("beyond value", 3)
    a.register("beyond")
    offer = a.negotiate("beyond", 9, rapid=True)
    assert offer["value"] == 1
    a.accept(offer["session"])
    assert a.synchronize("beyond value", rapid=True) == 3
