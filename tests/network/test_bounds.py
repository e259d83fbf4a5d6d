"""What happens at the bounds of a node, and that whoever reaches them blocks nobody else."""

from __future__ import annotations

import time
from contextlib import ExitStack

import cbor2
import pytest

from .raw import M_DISCOVERY, M_END, M_NEGOTIATE, M_NOOP, M_REQ_NEG, M_REQ_SYN, M_WAIT, NEG, O_ACCEPT, SYN, Raw
from .steer import Failed, eventually


@pytest.fixture(scope="module")
def net(shared_lab):
    """Hosts a (the node under test), b (an honest one) and c (raw), and the raw neighbour."""
    a, b, c = (shared_lab.host(name) for name in "abc")
    shared_lab.lan(a, b, c)
    for n, host in enumerate((a, b, c), 1):
        host.address(f"fd00::{n}/64", "eth0")
    for n in range(3):
        c.address(f"fd00::c{n}/64", "eth0")
    with Raw(c, "eth0") as raw:
        yield a, b, raw


def at(agent):
    return [["fd00::1", 6, agent.port], 0]


def request(number: int, name: str = "held", value: object = 1) -> list[object]:
    return [M_REQ_NEG, number, [name, NEG, 6, value]]


def served_promptly(agent, honest, name, within=4.0):
    """A negotiation of an honest node: long before who says nothing is given up, which takes 5 s."""
    before = time.monotonic()
    assert honest.negotiate(name, 1, peer=at(agent), timeout=int(within * 1000))["agreed"]
    assert time.monotonic() - before < within


@pytest.fixture
def pair(net, start):
    """The node under test, ready to accept "open" at once, and the honest one that has it registered."""

    def make(**limits):
        agent, honest = start(net[0], ["eth0"], limits=limits), start(net[1], ["eth0"])
        for each in agent, honest:
            each.register("open")
            each.register("held")
        agent.serve("open", [["accept"]])
        agent.serve("held", [["hold", "gate"], ["accept"]])
        return agent, honest

    return make


# -- how many


def test_one_peer_has_only_its_share_of_sessions(net, pair):
    agent, honest = pair(sessions_per_peer=5)
    raw = net[2]
    with ExitStack() as stack:
        wires = [stack.enter_context(raw.connect("fd00::1", agent.port)) for _ in range(5)]
        for number, wire in enumerate(wires):
            wire.send(request(number))
        assert eventually(lambda: agent.statistics()["sessions"] == 5)
        with raw.connect("fd00::1", agent.port) as sixth:
            sixth.send(request(99, "open"))
            assert sixth.closed_within(3) is not None
        served_promptly(agent, honest, "open")
        agent.open_gate("gate")
        for number, wire in enumerate(wires):
            assert wire.receive() == [M_END, number, [O_ACCEPT]]
    assert eventually(lambda: agent.statistics()["sessions"] == 0)
    with raw.connect("fd00::1", agent.port) as again:
        again.send(request(100, "open"))
        assert again.receive() == [M_END, 100, [O_ACCEPT]]


def test_a_node_refuses_to_open_more_sessions_than_allowed(net, pair):
    agent, _ = pair(sessions=3)
    raw = net[2]
    futures = [agent.begin("negotiate", "open", 1, peer=[["fd00::3", 6, raw.port], 0]) for _ in range(3)]
    wires = [raw.accept() for _ in futures]
    assert eventually(lambda: agent.statistics()["sessions"] == 3)
    assert agent.code_of("negotiate", "open", 1, peer=[["fd00::3", 6, raw.port], 0]) == "busy"
    for wire in wires:
        wire.send([M_END, wire.receive()[1], [O_ACCEPT]])
        wire.close()
    assert all(future.result(10)["agreed"] for future in futures)
    with pytest.raises(TimeoutError):
        agent.begin("negotiate", "open", 1, peer=[["fd00::3", 6, raw.port], 0], timeout=500).result(0.2)
    raw.accept().close()


def test_connections_above_the_number_of_sessions_are_closed_unread(net, pair):
    agent, _ = pair(sessions=4, sessions_per_peer=96)
    raw = net[2]
    with ExitStack() as stack:
        for number in range(4):
            wire = stack.enter_context(raw.connect("fd00::1", agent.port))
            wire.send(request(number))
        assert eventually(lambda: agent.statistics()["sessions"] == 4)
        with raw.connect("fd00::1", agent.port) as fifth:
            fifth.send(request(5, "open"))
            assert fifth.closed_within(3) is not None
        agent.open_gate("gate")
    assert eventually(lambda: agent.statistics()["sessions"] == 0)


def test_a_full_queue_of_requests_turns_the_next_away_at_once(net, start):
    agent = start(net[0], ["eth0"], limits={"pending_requests": 3})
    honest = start(net[1], ["eth0"])
    for each in agent, honest:
        each.register("queued")
    assert agent.code_of("listen", "queued", timeout=1) == "noReply"
    futures = []
    for n in range(3):
        futures.append(honest.begin("negotiate", "queued", n, peer=at(agent)))
        assert eventually(lambda n=n: agent.statistics()["sessions"] == n + 1)
    before = time.monotonic()
    assert honest.code_of("negotiate", "queued", 9, peer=at(agent)) == "noPeer"
    assert time.monotonic() - before < 8
    for _ in futures:
        agent.accept(agent.listen("queued")["session"])
    assert all(future.result(10)["agreed"] for future in futures)
    future = honest.begin("negotiate", "queued", 9, peer=at(agent))
    agent.accept(agent.listen("queued")["session"])
    assert future.result(10)["agreed"]


# -- who says nothing, or little


def test_100_silent_connections_hold_up_nobody(net, pair):
    agent, honest = pair()
    raw = net[2]
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(raw.connect("fd00::1", agent.port))
        served_promptly(agent, honest, "open")
        assert honest.discover("open", timeout=10_000, minimum_ttl=0)
        assert agent.threads() < 200


def test_more_silent_connections_than_the_backlog_hold_up_nobody(net, pair):
    agent, honest = pair()
    raw = net[2]
    with ExitStack() as stack:
        for n in range(700):
            try:
                stack.enter_context(raw.connect("fd00::1", agent.port, timeout=1 if n < 600 else 0.01))
            except TimeoutError:
                continue
        # The kernel drops the first SYN where its backlog is full, and that is sent again after seconds.
        served_promptly(agent, honest, "open", 8.0)


def test_100_connections_that_stop_in_the_middle_of_a_message_hold_up_nobody(net, pair):
    agent, honest = pair()
    raw = net[2]
    with ExitStack() as stack:
        for n in range(100):
            wire = stack.enter_context(raw.connect("fd00::1", agent.port))
            try:
                wire.send(cbor2.dumps(request(n, "open"))[: 1 + n % 10])
            except OSError:
                assert n >= 96
        served_promptly(agent, honest, "open")
        assert honest.discover("open", timeout=10_000, minimum_ttl=0)


def test_even_with_every_thread_taken_the_wait_is_bounded(net, pair):
    """More half messages than the node has threads, from as many addresses as that takes."""
    agent, honest = pair(workers=20, sessions_per_peer=10, first_message_ms=1_500)
    raw = net[2]
    with ExitStack() as stack:
        for source in range(3):
            for _ in range(10):
                stack.enter_context(connect_from(raw, f"fd00::c{source}", agent.port)).send(b"\x83")
        served_promptly(agent, honest, "open", 8.0)


def connect_from(raw, source, port):
    import socket

    from .raw import Wire

    with raw.host.entered():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.bind((source, 0))
        sock.settimeout(5)
        sock.connect(("fd00::1", port))
        return Wire(sock)


@pytest.mark.parametrize("saying", ["nothing", "half a message", "drops", "no-ops"])
def test_a_connection_that_brings_no_message_is_closed(net, start, saying):
    agent = start(net[0], ["eth0"], limits={"first_message_ms": 1_000})
    with net[2].connect("fd00::1", agent.port) as wire:
        message = iter(cbor2.dumps([M_REQ_SYN, 1, ["x" * 200, SYN, 6, None]]))
        before = time.monotonic()
        if saying == "half a message":
            wire.send(b"\x83\x03")

        def closed():
            try:
                if saying == "drops":
                    wire.send(bytes([next(message)]))
                elif saying == "no-ops":
                    wire.send([M_NOOP])
                return wire.receive(0.05) is None
            except TimeoutError:
                return False
            except OSError:
                return True

        assert eventually(closed)
        # A connection without a byte is the kernel's until it has waited about as long again.
        assert 0.5 < time.monotonic() - before < 20


# -- how long


def test_an_endless_wait_is_cut_to_what_is_allowed(net, pair):
    agent, _ = pair(wait_ms=700)
    raw = net[2]
    future = agent.begin("negotiate", "open", 1, peer=[["fd00::3", 6, raw.port], 0], timeout=400)
    with raw.accept() as wire:
        wire.send([M_WAIT, wire.receive()[1], 0xFFFF_FFFF])
        before = time.monotonic()
        with pytest.raises(Failed, match="noNegReply"):
            future.result(10)
        assert 0.6 < time.monotonic() - before < 9


def test_waits_without_end_end_with_the_session(net, pair):
    agent, _ = pair(session_ms=1_500)
    raw = net[2]
    before = time.monotonic()
    future = agent.begin("negotiate", "open", 1, peer=[["fd00::3", 6, raw.port], 0])
    with raw.accept() as wire:
        number = wire.receive()[1]

        def ended():
            try:
                wire.send([M_WAIT, number, 1_000])
            except OSError:
                # It hangs up before it says so to its agent.
                pass
            return future.done()

        assert eventually(ended)
    with pytest.raises(Failed, match="noNegReply"):
        future.result(1)
    assert 1.4 < time.monotonic() - before < 20


def test_a_waiting_time_of_zero_is_over_at_once(net, pair):
    agent, _ = pair()
    raw = net[2]
    future = agent.begin("negotiate", "open", 1, peer=[["fd00::3", 6, raw.port], 0])
    with raw.accept() as wire:
        wire.send([M_WAIT, wire.receive()[1], 0])
        with pytest.raises(Failed, match="noNegReply"):
            future.result(8)


# -- work for others


def test_slow_flood_handlers_do_not_hold_up_discovery(net, pair):
    agent, honest = pair()
    raw = net[2]
    agent.on_flood("slow", gate="slow flood")
    for n in range(16):
        raw.multicast([9, 7_000 + n, raw.packed, 0, [["slow", SYN, 1, n], []]])
    assert eventually(lambda: len(agent.flooded()) >= 8)
    try:
        assert honest.discover("open", timeout=10_000)
    finally:
        agent.open_gate("slow flood")


def test_discoveries_from_addresses_that_do_not_answer_do_not_hold_up_others(net, pair):
    agent, honest = pair()
    raw = net[2]
    # The node's SYNs to the raw neighbour's link-local address now go nowhere.
    raw.host.ip(f"route add blackhole {agent.host.link_local('eth0')}/128")
    try:
        for n in range(300):
            raw.multicast([M_DISCOVERY, 8_000 + n, raw.packed, ["open", 1, 6]])
        assert honest.discover("open", timeout=10_000)
    finally:
        raw.host.ip(f"route delete blackhole {agent.host.link_local('eth0')}/128")


def test_discoveries_of_one_objective_are_paced(net, pair):
    agent, _ = pair()
    raw = net[2]
    before = time.monotonic()
    for _ in range(20):
        agent.discover("paced", timeout=1)
    took = time.monotonic() - before
    sent = [m for _, _, m in raw.messages(M_DISCOVERY) if m[3][0] == "paced"]
    assert len(sent) <= 6 + 5 * took


def test_large_messages_are_not_slowed_down_by_the_kernel(net, pair):
    """A step of two segments must not wait for the acknowledgement of its first."""
    agent, honest = pair()
    big = {"$hex": "00" * 1_900}
    agent.register("large")
    agent.serve("large", [["propose", big]] * 60)
    honest.register("large")
    offer = honest.negotiate("large", big, loop_count=200, peer=at(agent))
    took = []
    for _ in range(50):
        before = time.monotonic()
        honest.propose(offer["session"], big)
        took.append(time.monotonic() - before)
    assert sorted(took)[len(took) // 2] < 0.04, "a delayed acknowledgement comes 40 ms after, at the earliest"
    honest.decline(offer["session"])


def test_unasked_steps_are_answered_with_invalid_and_closed(net, pair):
    agent, _ = pair()
    with net[2].connect("fd00::1", agent.port) as wire:
        wire.send([M_NEGOTIATE, 5, ["open", NEG, 6, 1]])
        answer = wire.receive()
        assert answer is None or answer[:2] == [99, 5]
        assert wire.receive() is None
