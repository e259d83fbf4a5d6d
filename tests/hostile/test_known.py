"""What is known to bring other implementations down, one item at a time, and a check-up at the end."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack

import cbor2
import pytest

from tests.network.raw import (
    F_DRY,
    M_DISCOVERY,
    M_END,
    M_FLOOD,
    M_INVALID,
    M_NEGOTIATE,
    M_NOOP,
    M_REQ_NEG,
    M_REQ_SYN,
    M_RESPONSE,
    M_SYNCH,
    M_WAIT,
    NEG,
    O_ACCEPT,
    O_FQDN,
    O_IPV4,
    O_IPV6,
    O_URI,
    SYN,
)
from tests.network.steer import Failed, eventually

from .messages import BOMBS, shared_reference_bomb
from .siege import ATTACKER, TARGET, Siege

FAR = bytes.fromhex("fd00") + bytes(13) + b"\x99"


def sid() -> int:
    return secrets.randbits(32)


@pytest.fixture(scope="module", autouse=True)
def check_up(besieged):
    """The same threads, descriptors and services after all of it as before."""
    assert besieged.serves()
    before = besieged.level()
    yield
    assert besieged.recovered(before) == []


@pytest.fixture(autouse=True)
def still_serving(besieged):
    yield
    assert besieged.serves()


def heard(besieged: Siege, name: str) -> bool:
    """Whether the target takes in a good flood after whatever it was sent before."""
    besieged.raw.multicast([M_FLOOD, sid(), FAR, 60_000, [[name, SYN, 3, 1], []]])
    return bool(besieged.target.wait_flood(name, timeout=10_000))


# -- by multicast


@pytest.mark.parametrize(
    "entry",
    [5, None, {"a": 1}, "text", b"bytes", [], [5], [None, []], [["syn", SYN, 3, 1]], [["syn", SYN, 3, 1], 7], 1.5],
    ids=repr,
)
def test_a_flood_entry_that_is_none(besieged, entry):
    besieged.raw.multicast([M_FLOOD, sid(), FAR, 1_000, entry])
    besieged.raw.multicast([M_FLOOD, sid(), FAR, 1_000, [["good half", SYN, 3, 1], []], entry])
    assert heard(besieged, f"after {entry!r:.40}")


@pytest.mark.parametrize(
    "locator",
    [
        [O_IPV6, bytes(15), 6, 1],
        [O_IPV6, bytes(17), 6, 1],
        [O_IPV6, "fd00::1", 6, 1],
        [O_IPV6, 5, 6, 1],
        [O_IPV6, None, 6, 1],
        [O_IPV6, bytes(16), 6],
        [O_IPV6, bytes(16), 6, 65_536],
        [O_IPV6, bytes(16), 6, -1],
        [O_IPV6, bytes(16), 99, 1],
        [O_IPV6, bytes(16), "tcp", "http"],
        [O_IPV4, bytes(3), 6, 1],
        [O_IPV4, bytes(16), 6, 1],
        [O_FQDN, b"name", 6, 1],
        [O_FQDN, "", 6, 1],
        [O_URI, 5, None, None],
        [O_URI],
        [102],
        [107, 1, 2, 3],
        "locator",
    ],
    ids=repr,
)
def test_a_locator_of_the_wrong_length_or_type(besieged, locator):
    """In a flood, in an answer to the target's own discovery, and in one it relays."""
    raw, target = besieged.raw, besieged.target
    raw.multicast([M_FLOOD, sid(), FAR, 1_000, [["located", SYN, 3, 1], locator]])
    name = f"wanted {locator!r:.60}"
    future = target.begin("discover", name, timeout=400)
    _, port, message = raw.hear(M_DISCOVERY, lambda m: m[3][0] == name)
    with raw.connect(besieged.link_local, port) as wire:
        wire.send([M_RESPONSE, message[1], message[2], 60_000, locator])
    with raw.connect(besieged.link_local, port) as wire:
        wire.send([M_RESPONSE, message[1], message[2], 60_000, [100, locator]])
    assert future.result(10) == []


@pytest.mark.parametrize("initiator", [b"", bytes(3), bytes(15), bytes(17), "fd00::1", 5, None, []], ids=repr)
def test_an_initiator_that_is_no_address(besieged, initiator):
    besieged.raw.multicast([M_FLOOD, sid(), initiator, 0, [["initiated", SYN, 3, 1], []]])
    besieged.raw.multicast([M_DISCOVERY, sid(), initiator, ["syn", 1, 6]])
    assert heard(besieged, f"after {initiator!r}")
    assert besieged.target.floods("initiated") == []


@pytest.mark.parametrize("session_id", [-1, 1 << 32, 1 << 64, 1.5, "1", None, b"\0\0\0\1", True], ids=repr)
def test_a_session_id_out_of_range(besieged, session_id):
    raw = besieged.raw
    raw.multicast([M_FLOOD, session_id, FAR, 0, [["out of range", SYN, 3, 1], []]])
    raw.multicast([M_DISCOVERY, session_id, FAR, ["syn", 1, 6]])
    for message in ([M_REQ_NEG, session_id, ["neg", NEG, 6, 1]], [M_REQ_SYN, session_id, ["syn", SYN, 6]]):
        with raw.connect(TARGET, besieged.port) as wire:
            wire.send(message)
            assert wire.receive(3) is None
    assert besieged.target.floods("out of range") == []


@pytest.mark.parametrize("count", [0, 256, 300, -1, 1 << 64, "6", None, 1.0], ids=repr)
def test_a_loop_count_out_of_range(besieged, count):
    raw = besieged.raw
    raw.multicast([M_FLOOD, sid(), FAR, 0, [["counted", SYN, count, 1], []]])
    raw.multicast([M_DISCOVERY, sid(), FAR, ["unknown", 1, count]])
    with raw.connect(TARGET, besieged.port) as wire:
        wire.send([M_REQ_NEG, sid(), ["neg", NEG, count, 1]])
        answer = wire.receive(3)
        assert answer is None or answer[0] == M_INVALID
    assert heard(besieged, f"after count {count!r}")


def test_bytes_that_are_no_message(besieged):
    for data in (
        *BOMBS,
        shared_reference_bomb(),
        b"\x00",
        b"\x80",
        b"\xf6",
        b"\x81\x00",
        b"\x81\x18\x63",
        b"GET / HTTP",
    ):
        besieged.raw.multicast(data[:1_200])
        with besieged.raw.connect(TARGET, besieged.port) as wire:
            wire.send(data)
    assert heard(besieged, "after the bombs")


def test_a_value_that_never_ends_where_references_are_honoured(besieged):
    bomb = shared_reference_bomb(40)
    request = cbor2.dumps([M_REQ_NEG, 4711, ["neg", NEG, 6, 0]])[:-1] + bomb
    flood = cbor2.dumps([M_FLOOD, 4712, FAR, 0, [["bomb", SYN, 1, 0], []]])[:-2] + bomb + b"\x80"
    with besieged.raw.connect(TARGET, besieged.port) as wire:
        wire.send(request)
        assert wire.receive(3)[0] == M_NEGOTIATE
    besieged.raw.multicast(flood)
    assert besieged.target.wait_flood("bomb", timeout=10_000)


def test_a_multicast_larger_than_allowed_and_an_empty_one(besieged):
    for length in (1_233, 1_400, 8_000):
        besieged.raw.multicast(cbor2.dumps([M_FLOOD, sid(), FAR, 0, [["large", SYN, 1, bytes(length)], []]]))
    besieged.raw.multicast(b"")
    assert heard(besieged, "after large ones")
    assert besieged.target.floods("large") == []


def test_unicast_messages_by_multicast(besieged):
    for kind in (M_REQ_NEG, M_REQ_SYN, M_NEGOTIATE, M_SYNCH):
        besieged.raw.multicast([kind, sid(), ["neg", NEG, 6, 1]])
    besieged.raw.multicast([M_RESPONSE, sid(), FAR, 1_000, besieged.raw.locator])
    besieged.raw.multicast([M_END, sid(), [O_ACCEPT]])
    besieged.raw.multicast([M_WAIT, sid(), 1_000])
    besieged.raw.multicast([M_INVALID, sid()])
    assert heard(besieged, "after unicast ones")


# -- on a connection


def test_a_request_for_a_name_that_is_not_registered(besieged):
    for kind, flags in ((M_REQ_NEG, NEG), (M_REQ_SYN, SYN)):
        for name in ("nobody has this", "", "x" * 1_000, "\0", "neg\0"):
            with besieged.raw.connect(TARGET, besieged.port) as wire:
                wire.send([kind, sid(), [name, flags, 6, None]])
                assert wire.closed_within(3) is not None


def test_connections_that_say_nothing(besieged):
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(besieged.raw.connect(TARGET, besieged.port))
        assert besieged.serves()


def test_two_messages_in_one_segment_and_one_in_two(besieged):
    raw, number = besieged.raw, sid()
    request = cbor2.dumps([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
    accept = cbor2.dumps([M_END, number, [O_ACCEPT]])
    noop = cbor2.dumps([M_NOOP])
    with raw.connect(TARGET, besieged.port) as wire:
        wire.send(noop + request + accept)
        assert wire.receive()[0] == M_NEGOTIATE
        assert wire.receive() is None
    with raw.connect(TARGET, besieged.port) as wire:
        wire.send(request[:7])
        besieged.target.thread_names()  # a moment, in which the first half has arrived
        wire.send(request[7:] + accept[:2])
        assert wire.receive()[0] == M_NEGOTIATE
        wire.send(accept[2:])
        assert wire.receive() is None


def test_session_ids_used_again(besieged):
    raw, number = besieged.raw, sid()
    with raw.connect(TARGET, besieged.port) as first, raw.connect(TARGET, besieged.port) as second:
        first.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
        assert first.receive()[0] == M_NEGOTIATE
        second.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
        with pytest.raises(TimeoutError):
            second.receive(0.3)
        first.send([M_END, number, [O_ACCEPT]])
        assert first.receive() is None
    for _ in range(3):
        with raw.connect(TARGET, besieged.port) as wire:
            wire.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
            assert wire.receive()[0] == M_NEGOTIATE
            wire.send([M_END, number, [O_ACCEPT]])
            assert wire.receive() is None


def test_the_same_request_twice_on_one_connection(besieged):
    number = sid()
    with besieged.raw.connect(TARGET, besieged.port) as wire:
        for _ in range(2):
            wire.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
        assert wire.receive()[0] == M_NEGOTIATE
        answer = wire.receive(3)
        assert answer is None or answer[:2] == [M_INVALID, number]


# Answers in the middle of a session, given its ID: all of them break a rule.
WRONG_STEPS = {
    "another session ID": lambda number: [M_NEGOTIATE, number ^ 1, ["neg", NEG, 4, 3]],
    "another name": lambda number: [M_NEGOTIATE, number, ["other", NEG, 4, 3]],
    "another type": lambda number: [M_SYNCH, number, ["neg", SYN, 4, 3]],
    "a dry run now": lambda number: [M_NEGOTIATE, number, ["neg", NEG | F_DRY, 4, 3]],
    "no value": lambda number: [M_NEGOTIATE, number, ["neg", NEG, 4]],
    "no negotiation flag": lambda number: [M_NEGOTIATE, number, ["neg", 1, 4, 3]],
    "loop count 0": lambda number: [M_NEGOTIATE, number, ["neg", NEG, 0, 3]],
    "loop count 300": lambda number: [M_NEGOTIATE, number, ["neg", NEG, 300, 3]],
    "wait of -1": lambda number: [M_WAIT, number, -1],
    "wait of 2^32": lambda number: [M_WAIT, number, 1 << 32],
    "wait without time": lambda number: [M_WAIT, number],
    "wait of text": lambda number: [M_WAIT, number, "long"],
    "an end with nothing": lambda number: [M_END, number],
    "an end with 7": lambda number: [M_END, number, [7]],
    "invalid": lambda number: [M_INVALID, number, "whatever"],
    "a request": lambda number: [M_REQ_NEG, number, ["neg", NEG, 6, 1]],
    "a discovery": lambda number: [M_DISCOVERY, number, FAR, ["neg", NEG, 6, 1]],
    "a response": lambda number: [M_RESPONSE, number, FAR, 1, [O_IPV6, FAR, 6, 1]],
    "an unknown type": lambda number: [77, number, 1],
    "no array": lambda _: {"a": 1},
    "garbage": lambda _: b"\xff\xff\xff",
    "hang up": lambda _: None,
}
HARMLESS_STEPS = {
    "loop count rising": lambda number: [M_NEGOTIATE, number, ["neg", NEG, 255, 3]],
    "a no-op": lambda _: [M_NOOP],
}


@pytest.mark.parametrize("step", WRONG_STEPS)
def test_a_wrong_step_ends_the_session_the_target_serves(besieged, step):
    number = sid()
    with besieged.raw.connect(TARGET, besieged.port) as wire:
        wire.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
        assert wire.receive() == [M_NEGOTIATE, number, ["neg", NEG, 5, 1]]
        wrong = WRONG_STEPS[step](number)
        if wrong is not None:
            wire.send(wrong)
            answer = wire.receive(3)
            # The ID is that of the message it answers (RFC 8990 §2.8.12).
            assert answer is None or answer[:2] == [M_INVALID, wrong[1]]
    assert eventually(lambda: besieged.target.statistics()["sessions"] == 0)


@pytest.mark.parametrize("step", WRONG_STEPS)
def test_a_wrong_step_ends_the_session_the_target_began(besieged, step):
    where = [[ATTACKER, 6, besieged.raw.port], 0]
    future = besieged.target.begin("negotiate", "neg", 5, peer=where)
    with besieged.raw.accept() as wire:
        number = wire.receive()[1]
        before = time.monotonic()
        wrong = WRONG_STEPS[step](number)
        if wrong is not None:
            wire.send(wrong)
        else:
            wire.close()
        with pytest.raises(Failed) as failed:
            future.result(20)
        assert failed.value.kind == "PeerError"
        assert time.monotonic() - before < 9
    assert besieged.target.statistics()["sessions"] == 0


@pytest.mark.parametrize("step", HARMLESS_STEPS)
def test_a_step_that_is_only_odd_does_not_end_a_session(besieged, step):
    number = sid()
    with besieged.raw.connect(TARGET, besieged.port) as wire:
        wire.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
        assert wire.receive()[0] == M_NEGOTIATE
        wire.send(HARMLESS_STEPS[step](number))
        if step == "a no-op":
            wire.send([M_NEGOTIATE, number, ["neg", NEG, 4, 3]])
        assert wire.receive() == [M_END, number, [O_ACCEPT]]


@pytest.mark.parametrize("waiting", [0, 1, (1 << 32) - 1])
def test_a_wait_of_any_length_leaves_the_target_free(besieged, waiting):
    where = [[ATTACKER, 6, besieged.raw.port], 0]
    future = besieged.target.begin("negotiate", "neg", 5, peer=where, timeout=2_000)
    with besieged.raw.accept() as wire:
        wire.send([M_WAIT, wire.receive()[1], waiting])
        assert besieged.serves()
    with pytest.raises(Failed):
        future.result(20)


def test_a_rising_loop_count_does_not_make_a_session_endless(besieged):
    """The target began with 6: whatever the peer writes there, it takes no more than that many steps."""
    where = [[ATTACKER, 6, besieged.raw.port], 0]
    future = besieged.target.begin("negotiate", "neg", 5, peer=where)
    steps = 0
    with besieged.raw.accept() as wire:
        number = wire.receive()[1]
        wire.send([M_NEGOTIATE, number, ["neg", NEG, 255, 3]])
        session = future.result(20)["session"]
        while (proposal := wire_step(besieged, wire, session)) is not None:
            steps += 1
            assert proposal[2][2] == 6 - steps
            assert steps < 6
    assert steps == 5


def wire_step(besieged: Siege, wire, session):
    """One proposal of the target, answered with a loop count of 255; None when it has none left."""
    future = besieged.target.begin("propose", session, 4)
    proposal = wire.receive()
    if proposal is None:
        with pytest.raises(Failed, match="loopExhausted"):
            future.result(20)
        return None
    wire.send([M_NEGOTIATE, proposal[1], ["neg", NEG, 255, 3]])
    future.result(20)
    return proposal


def test_requests_in_fives(besieged):
    raw = besieged.raw
    for _ in range(10):
        with ExitStack() as stack:
            wires = [stack.enter_context(raw.connect(TARGET, besieged.port)) for _ in range(5)]
            numbers = [sid() for _ in wires]
            for wire, number in zip(wires, numbers, strict=True):
                wire.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
            for wire, number in zip(wires, numbers, strict=True):
                assert wire.receive()[:2] == [M_NEGOTIATE, number]
                wire.send([M_END, number, [O_ACCEPT]])
                assert wire.receive() is None


def test_a_synchronization_request_with_anything_in_it(besieged):
    for flags in (0, 1, 2, 3, 5, 15):
        with besieged.raw.connect(TARGET, besieged.port) as wire:
            wire.send([M_REQ_SYN, sid(), ["syn", flags, 6, {"a": 1}]])
            answer = wire.receive(3)
            assert answer is None or answer[0] in (M_SYNCH, M_INVALID)


def test_half_closed_connections(besieged):
    import socket

    number = sid()
    with besieged.raw.connect(TARGET, besieged.port) as wire:
        wire.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.receive()[:2] == [M_NEGOTIATE, number]
        answer = wire.receive(3)
        assert answer is None or answer[0] in (M_END, M_INVALID)
