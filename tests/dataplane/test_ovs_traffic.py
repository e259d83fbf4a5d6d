"""Packets through the bridge: what a reservation is worth, how they are marked, where they go and who gets copies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from asa.dataplane.match import Match
from asa.dataplane.plan import Share
from asa.flows import Port
from lab.traffic import Flow, Stream

from .ovs import IN, MBIT, OUT, PORT, TCP, Ear, Node, entry, eventually, mac_of, more, node, plan, sent

SECONDS = 3.0
PROBE = Match(4, ip_network("10.0.0.1/32"), ip_network("10.0.0.2/32"), 17, None, Port(PORT))


@pytest.fixture
def here() -> Iterator[Node]:
    with node() as found:
        yield found


def measured(here: Node, *flows: Flow) -> list[float]:
    """Mbit/s of each, while all of them run."""
    with ExitStack() as stack:
        running = [stack.enter_context(Stream(each, 20)) for each in flows]
        for each in reversed(running):
            each.begin()
        begin = time.time() + 0.5
        eventually(lambda: time.time() > begin + SECONDS + 0.3)
        return [each.rate(begin, begin + SECONDS) / MBIT for each in running]


def test_a_reserved_flow_keeps_its_rate_against_greedy_ones(here: Node) -> None:
    reserved = Flow(here.a, here.b, "10.0.0.2", 5201)
    # By a port of their own: what comes by one is dropped alike if the datapath does not keep up.
    greedy = Flow(more(here, "c", "10.0.0.3/24"), here.b, "10.0.0.2", 5301, streams=8)
    backend = here.backend()
    assert backend.apply(plan(entry(TCP))) == {}
    kept, rest = measured(here, reserved, greedy)
    assert 18 <= kept <= 20.5, f"{kept} of it, {rest} of the others"
    assert rest >= 70, f"{rest} of the others"
    counters = backend.count()[entry(TCP).key]
    assert counters.bytes > 18 * MBIT / 8 * SECONDS
    assert counters.packets > 1_000


def test_what_comes_in_is_held_to_its_ceiling(here: Node) -> None:
    backend = here.backend()
    backend.apply(plan(entry(TCP, line=IN, share=Share(MBIT, 20 * MBIT))))
    (kept,) = measured(here, Flow(here.a, here.b, "10.0.0.2", 5201))
    # A policer, and TCP: much below the ceiling, but not above it.
    assert 1 < kept <= 21
    counters = backend.count()[entry(TCP, line=IN).key]
    assert counters.dropped > 0
    assert counters.bytes > MBIT / 8


def test_markings_at_the_receiver(here: Node) -> None:
    here.a.run(["ping", "-c", "1", "10.0.0.2"])
    kept = Match(4, ip_network("10.0.0.1/32"), ip_network("10.0.0.2/32"), 17, None, Port(PORT + 1))
    # The sender's port is no line here, else its markings would be trusted.
    assert here.backend().apply(plan(entry(PROBE), entry(kept, share=None), lines=(OUT,))) == {}
    with Ear(here.b) as ear:
        sent(here.a, b"reserved", 0, PORT)
        sent(here.a, b"passing", 46, PORT + 1)
        sent(here.a, b"cheating", 46, PORT + 2)
        sent(here.a, b"ordinary", 10, PORT + 2)
        eventually(lambda: bool(ear.of(b"ordinary")))
        found = {name: ear.of(name)[0][1] for name in (b"reserved", b"passing", b"cheating", b"ordinary")}
    assert found == {b"reserved": 46, b"passing": 46, b"cheating": 0, b"ordinary": 10}


def test_the_operators_own_flows_go_on_to_forward(here: Node) -> None:
    here.a.run(["ping", "-c", "1", "10.0.0.2"])
    assert here.backend().apply(plan(entry(PROBE), lines=(OUT,))) == {}
    here.switch.ofctl(
        "add-flow", "br0", "table=0,priority=50,udp,nw_tos=184,actions=set_field:12->ip_dscp,resubmit(,7)"
    )
    here.switch.ofctl("add-flow", "br0", "table=7,priority=1,actions=NORMAL")
    here.switch.ofctl("add-flow", "br0", f"table=0,priority=60,udp,tp_dst={PORT + 1},actions=drop")
    with Ear(here.b) as ear:
        sent(here.a, b"dropped", 0, PORT + 1)
        sent(here.a, b"forwarded", 0, PORT)
        eventually(lambda: bool(ear.of(b"forwarded")))
        # They see what we have marked, once.
        assert [dscp for _, dscp in ear.of(b"forwarded")] == [12]
        assert ear.of(b"dropped") == []


def test_packets_go_through_the_middleboxes_in_order(here: Node) -> None:
    boxes = [more(here, "box1", "10.0.0.11/24"), more(here, "box2", "10.0.0.12/24")]
    here.host.ip("link set br0 up", "address add 10.0.0.254/24 dev br0")
    for box in boxes:
        box.forwarding(True)
        for key in ("all", "eth0"):
            box.sysctl(f"net.ipv4.conf.{key}.send_redirects", "0")
        box.run(["ping", "-c", "1", "10.0.0.2"])
        # So that the node knows its MAC address by its address.
        here.host.run(["ping", "-c", "1", "10.0.0.11" if box is boxes[0] else "10.0.0.12"])
    here.a.run(["ping", "-c", "1", "10.0.0.2"])
    backend, wanted = here.backend(), plan(entry(PROBE, through=("10.0.0.11", str(mac_of(boxes[1])))), lines=(OUT,))
    assert backend.apply(wanted) == {}
    with Ear(boxes[0]) as first, Ear(boxes[1]) as second, Ear(here.b) as last:
        sent(here.a, b"steered")
        sent(here.a, b"straight", port=PORT + 1)
        eventually(lambda: bool(last.of(b"steered") and last.of(b"straight")))
        assert (mac_of(boxes[0]), 0) in first.of(b"steered")
        assert (mac_of(boxes[1]), 0) in second.of(b"steered")
        hops = [each[22] for ear in (first, second, last) for each in ear.frames if b"steered" in each]
        # Each box has taken one from its time to live, and nothing came twice.
        assert min(hops) == next(each[22] for each in last.frames if b"steered" in each) == 62
        assert len(last.of(b"steered")) == 1
        assert first.of(b"straight") == second.of(b"straight") == []
        assert backend.apply(plan(lines=(OUT,))) == {}
        here.settle()
        sent(here.a, b"afterwards")
        eventually(lambda: bool(last.of(b"afterwards")))
        assert first.of(b"afterwards") == []


def test_copies_go_to_the_mirrors_output_and_nowhere_else(here: Node) -> None:
    tap, other = more(here, "tap", "10.0.0.21/24"), more(here, "other", "10.0.0.22/24")
    here.a.run(["ping", "-c", "1", "10.0.0.2"])
    assert here.backend().apply(plan(entry(PROBE, output=str(mac_of(tap))), entry(PROBE), lines=(OUT,))) == {}
    with Ear(tap) as copies, Ear(here.b) as packets, Ear(other) as none:
        sent(here.a, b"mirrored")
        sent(here.a, b"unseen", port=PORT + 1)
        eventually(lambda: bool(packets.of(b"unseen") and copies.of(b"mirrored")))
        # The copy is of the packet as it came, the packet itself has its marking.
        assert copies.of(b"mirrored") == [(mac_of(tap), 0)]
        assert packets.of(b"mirrored") == [(mac_of(here.b), 46)]
        assert copies.of(b"unseen") == none.of(b"mirrored") == []
