"""Both ways with a peer that behaves like the IETF's demonstration implementation.

What it does is taken from observations on the wire, not from its code: one TCP listener per objective, the
objective's 4th item always there, an M_NOOP at start, one recv for one message, and a first M_NEGOTIATE
whose loop count was not decremented.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import threading

import cbor2
import dpkt
import pytest

from lab import Capture

from .raw import (
    M_DISCOVERY,
    M_END,
    M_FLOOD,
    M_NEGOTIATE,
    M_NOOP,
    M_REQ_NEG,
    M_REQ_SYN,
    M_RESPONSE,
    M_SYNCH,
    M_WAIT,
    NEG,
    O_ACCEPT,
    O_IPV6,
    SYN,
    Raw,
    encoded,
    items,
)
from .steer import eventually

TTL = 600_000


def tag24(value: object) -> cbor2.CBORTag:
    return cbor2.CBORTag(24, cbor2.dumps(value))


class Demonstration(Raw):
    """That peer. What it receives in one recv beyond the first message is lost, and noted in ``lost``."""

    def __init__(self, host, dev):
        super().__init__(host, dev)
        self.objectives = {}
        self.lost = []
        self._answered = set()
        self._ended = threading.Event()
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self._answering.start()
        self.multicast([M_NOOP])

    def __exit__(self, *ending):
        self._ended.set()
        self._answering.join()
        for listener, _ in self.objectives.values():
            listener.close()
        super().__exit__(*ending)

    def objective(self, name, flags):
        """Register: from now on a discovery of ``name`` is answered with the port of its own listener."""
        with self.host.entered():
            listener = socket.create_server(("::", 0), family=socket.AF_INET6)
        listener.settimeout(10)
        self.objectives[name] = listener, flags
        return listener

    def _answer(self):
        while not self._ended.wait(0.02):
            for source, port, message in self.messages(M_DISCOVERY):
                key = message[1], message[2]
                if message[3][0] in self.objectives and key not in self._answered and len(message[2]) == 16:
                    self._answered.add(key)
                    listener, flags = self.objectives[message[3][0]]
                    locator = [O_IPV6, self.packed, 6, listener.getsockname()[1]]
                    objective = [message[3][0], flags, 6, None]
                    with self.connect(source, port, 2) as wire:
                        wire.send([M_RESPONSE, message[1], message[2], TTL, locator, objective])

    def one_recv(self, sock):
        """A message is what one recv returns."""
        sock.settimeout(10)
        data = sock.recv(65_536)
        if not data:
            return None
        messages, rest = items(data)
        if len(messages) != 1 or rest:
            self.lost.append(data)
        return messages[0] if messages else None

    def discover(self, name, flags):
        number = secrets.randbits(32)
        self.multicast([M_DISCOVERY, number, self.packed, [name, flags, 6, None]])
        with self.accept() as wire:
            message = self.one_recv(wire.socket)
            assert message[:3] == [M_RESPONSE, number, self.packed]
            locator = next(each for each in message[4:] if each[0] == O_IPV6)
            return str(socket.inet_ntop(socket.AF_INET6, locator[1])), locator[3]


@pytest.fixture(scope="module")
def meeting(shared_lab, start_shared):
    a, b = shared_lab.host("a"), shared_lab.host("b")
    shared_lab.link(a, b)
    for n, host in enumerate((a, b), 1):
        host.address(f"fd00::{n}/64", "eth0")
    with Demonstration(b, "eth0") as theirs:
        yield start_shared(a, ["eth0"]), theirs
        assert theirs.lost == []


def test_we_negotiate_with_it(meeting):
    ours, theirs = meeting
    listener = theirs.objective("ours to theirs", NEG)
    ours.register("ours to theirs")
    (found,) = ours.discover("ours to theirs")
    assert found["locator"] == [theirs.address, 6, listener.getsockname()[1]]
    assert 500 < found["left"] <= 600
    future = ours.begin("negotiate", "ours to theirs", ["NZD", 100])
    sock, _ = listener.accept()
    with sock:
        kind, number, objective = theirs.one_recv(sock)
        assert (kind, objective) == (M_REQ_NEG, ["ours to theirs", NEG, 6, ["NZD", 100]])
        # Not decremented, the first time.
        sock.sendall(encoded([M_NEGOTIATE, number, ["ours to theirs", NEG, 6, ["NZD", 10]]]))
        offer = future.result(10)
        assert (offer["value"], offer["loop_count"]) == (["NZD", 10], 6)
        future = ours.begin("propose", offer["session"], ["NZD", 60])
        kind, _, objective = theirs.one_recv(sock)
        assert (kind, objective) == (M_NEGOTIATE, ["ours to theirs", NEG, 5, ["NZD", 60]])
        sock.sendall(encoded([M_WAIT, number, 5_000]))
        sock.sendall(encoded([M_NEGOTIATE, number, ["ours to theirs", NEG, 4, ["NZD", 30]]]))
        assert future.result(10)["loop_count"] == 4
        future = ours.begin("propose", offer["session"], ["NZD", 40])
        assert theirs.one_recv(sock)[2] == ["ours to theirs", NEG, 3, ["NZD", 40]]
        sock.sendall(encoded([M_END, number, [O_ACCEPT]]))
        assert future.result(10)["agreed"]
        assert theirs.one_recv(sock) is None


def test_it_negotiates_with_us(meeting):
    ours, theirs = meeting
    ours.register("theirs to ours")
    ours.serve("theirs to ours", [["propose", 10], ["wait", 5_000], ["propose", 20], ["accept"]])
    address, port = theirs.discover("theirs to ours", NEG)
    with theirs.connect(address, port) as wire:
        number = secrets.randbits(32)
        wire.send([M_REQ_NEG, number, ["theirs to ours", NEG, 6, 100]])
        assert theirs.one_recv(wire.socket) == [M_NEGOTIATE, number, ["theirs to ours", NEG, 5, 10]]
        # It decrements what it receives, and sends that.
        wire.send([M_NEGOTIATE, number, ["theirs to ours", NEG, 4, 80]])
        messages = [theirs.one_recv(wire.socket)]
        if messages[0] == [M_WAIT, number, 5_000] and not theirs.lost:
            messages.append(theirs.one_recv(wire.socket))
        theirs.lost.clear()  # two of ours may meet in its buffer; on the wire they are apart (below)
        assert messages[0] == [M_WAIT, number, 5_000]
        wire.send([M_NEGOTIATE, number, ["theirs to ours", NEG, 2, 30]])
        assert theirs.one_recv(wire.socket) == [M_END, number, [O_ACCEPT]]
        assert theirs.one_recv(wire.socket) is None


def test_a_raw_value_passes_both_ways(meeting):
    ours, theirs = meeting
    inner = cbor2.dumps({"bw": [1, 2]}).hex()
    ours.register("raw value")
    ours.serve("raw value", [["propose", {"$raw": inner}], ["accept"]])
    address, port = theirs.discover("raw value", NEG)
    with theirs.connect(address, port) as wire:
        wire.send([M_REQ_NEG, 77, ["raw value", NEG, 6, tag24({"bw": [1, 2]})]])
        assert theirs.one_recv(wire.socket)[2][3] == tag24({"bw": [1, 2]})
        wire.send([M_END, 77, [O_ACCEPT]])
    assert eventually(lambda: [e["offers"][0] for e in ours.served() if e["name"] == "raw value"] == [{"$raw": inner}])
    theirs.multicast([M_FLOOD, 78, theirs.packed, TTL, [["raw flood", SYN, 1, tag24("x")], []]])
    assert [each["value"] for each in ours.wait_flood("raw flood")] == [{"$raw": "6178"}]


def test_we_synchronize_with_it(meeting):
    ours, theirs = meeting
    listener = theirs.objective("their value", SYN)
    future = ours.begin("synchronize", "their value")
    sock, _ = listener.accept()
    with sock:
        kind, number, objective = theirs.one_recv(sock)
        assert (kind, objective[0]) == (M_REQ_SYN, "their value")
        sock.sendall(encoded([M_SYNCH, number, ["their value", SYN, 6, [1, "two"]]]))
        assert future.result(10) == [1, "two"]


def test_it_synchronizes_with_us(meeting):
    ours, theirs = meeting
    ours.register("our value", "synchronize")
    ours.publish("our value", [1, "two"])
    address, port = theirs.discover("our value", SYN)
    with theirs.connect(address, port) as wire:
        wire.send([M_REQ_SYN, 79, ["our value", SYN, 6, None]])
        kind, number, objective = theirs.one_recv(wire.socket)
        assert (kind, number, objective[0], objective[3]) == (M_SYNCH, 79, "our value", [1, "two"])


def test_floods_pass_both_ways(meeting):
    ours, theirs = meeting
    theirs.multicast([M_FLOOD, 80, theirs.packed, TTL, [["their flood", SYN, 1, {"a": 1}], []]])
    assert ours.wait_flood("their flood")[0]["value"] == {"$map": [["a", 1]]}
    ours.register("our flood", "synchronize")
    ours.flood([["our flood", 1, None]])
    message = theirs.hear(M_FLOOD, lambda m: m[4][0][0] == "our flood")[2]
    assert len(message[2]) == 16
    assert message[4] == [["our flood", SYN, 6, 1], []]


def test_a_noop_is_ignored_by_multicast_and_on_a_connection(meeting):
    ours, theirs = meeting
    ours.register("after a noop", "synchronize")
    ours.publish("after a noop", 1)
    theirs.multicast([M_NOOP])
    with theirs.connect("fd00::1", ours.port) as wire:
        wire.send([M_NOOP])
        wire.send([M_REQ_SYN, 81, ["after a noop", SYN, 6, None]])
        assert theirs.one_recv(wire.socket)[0] == M_SYNCH


def test_a_response_can_be_sent_as_soon_as_the_discovery_is_heard(meeting, start):
    """The TCP port is open before the first multicast leaves from it."""
    ours, theirs = meeting
    fresh = start(ours.host, ["eth0"])
    future = fresh.begin("discover", "first thing", timeout=5_000)
    source, port, message = theirs.hear(M_DISCOVERY, lambda m: m[3][0] == "first thing")
    with theirs.connect(source, port) as wire:
        wire.send([M_RESPONSE, message[1], message[2], TTL, theirs.locator])
    assert len(future.result(10)) == 1


def test_every_message_is_one_segment_and_no_segment_is_two_messages(meeting):
    ours, theirs = meeting
    name = "segments"
    ours.register(name)
    ours.serve(name, [["wait", 5_000], ["propose", 1], ["wait", 1], ["wait", 2], ["wait", 3], ["accept"]])
    address, port = theirs.discover(name, NEG)
    with Capture(theirs.host, "eth0") as capture:
        with theirs.connect(address, port) as wire:
            wire.send([M_REQ_NEG, 82, [name, NEG, 6, "x" * 1_000]])
            assert [wire.receive() for _ in range(2)] == [[M_WAIT, 82, 5_000], [M_NEGOTIATE, 82, [name, NEG, 5, 1]]]
            wire.send([M_NEGOTIATE, 82, [name, NEG, 4, 2]])
            assert [wire.receive()[0] for _ in range(4)] == [M_WAIT, M_WAIT, M_WAIT, M_END]
            assert wire.receive() is None
        future = ours.begin("negotiate", name, "y" * 1_000, peer=[["fd00::2", 6, theirs.port], 0])
        with theirs.accept() as wire:
            number = wire.receive()[1]
            wire.send([M_NEGOTIATE, number, [name, NEG, 5, 1]])
            session = future.result(10)["session"]
            ours.wait(session, 5_000)
            step = ours.begin("propose", session, "z" * 1_000)
            kinds = [wire.receive()[0] for _ in range(2)]
            assert kinds == [M_WAIT, M_NEGOTIATE]
            wire.send([M_END, number, [O_ACCEPT]])
            assert step.result(10)["agreed"]
    payloads = []
    for frame in capture.frames:
        packet = dpkt.ethernet.Ethernet(frame.data).data
        if not frame.outgoing and isinstance(getattr(packet, "data", None), dpkt.tcp.TCP) and packet.data.data:
            payloads.append(packet.data.data)
    found = [items(payload) for payload in payloads]
    assert [(len(messages), rest) for messages, rest in found] == [(1, b"")] * len(found)
    kinds = list(itertools.chain.from_iterable([message[0] for message in messages] for messages, _ in found))
    assert kinds == [
        *[M_WAIT, M_NEGOTIATE, M_WAIT, M_WAIT, M_WAIT, M_END],
        *[M_REQ_NEG, M_WAIT, M_NEGOTIATE],
    ]
