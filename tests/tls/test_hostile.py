"""Who has no place in the domain and a lot of time: nothing is held up, nothing grows, nothing is said at length."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from OpenSSL import SSL

from grasp.transport.tls import LINK, SESSION, TlsSession
from tests.pki import Authority
from tests.tls.pairs import contexts, lenient
from tests.tls.substrates import PATIENCE, Running, eventually

CA = Authority()
Start = Callable[..., Running]
QUICK = {"first_message_ms": 300}


def dial(node: Running) -> socket.socket:
    sock = socket.create_connection(("::1", node.port), PATIENCE)
    sock.settimeout(PATIENCE)
    return sock


def last_words(sock: socket.socket) -> bytes:
    """What the node says until it hangs up."""
    heard = b""
    with sock:
        try:
            while data := sock.recv(65_536):
                heard += data
        except ConnectionResetError:
            pass
    return heard


def hello() -> bytes:
    session = TlsSession(contexts(CA.identity("any")), False)
    session.handshake()
    return session.outgoing()


def resources() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes.fromhex("830318634583634558330306182f"),
        bytes([22, 3, 1, 0xFF, 0xFF]) + bytes(70_000),
        bytes([21, 3, 3, 0, 2, 2, 40]),
        bytes([23, 3, 3, 0, 32]) + bytes(32),
        os.urandom(2_000),
    ],
    ids=["HTTP", "GRASP in clear", "a record longer than records are", "an alert", "data before a handshake", "noise"],
)
def test_whatever_is_no_handshake_ends_at_once(running: Start, sent: bytes) -> None:
    node = running(CA.identity("node"))
    sock = dial(node)
    try:
        sock.sendall(sent)
    except ConnectionError:
        pass
    heard = last_words(sock)
    assert len(heard) < 100
    assert eventually(lambda: node.count("handshake: failed")) == 1
    assert node.ear.served == 0


@pytest.mark.parametrize("said", [0, 1, 100], ids=["nothing", "one byte", "half a hello"])
def test_the_whole_handshake_has_one_deadline(running: Start, said: int) -> None:
    node = running(CA.identity("node"), **QUICK)
    sock = dial(node)
    sock.sendall(hello()[:said])
    assert last_words(sock) == b""
    assert eventually(lambda: node.count("handshake: not done in time")) == 1


def test_a_byte_now_and_then_does_not_prolong_it(running: Start) -> None:
    node = running(CA.identity("node"), **QUICK)
    sock = dial(node)
    over = threading.Event()

    def drip() -> None:
        try:
            for each in hello():
                sock.send(bytes([each]))
                if over.wait(0.02):
                    return
        except OSError:
            pass

    dripping = threading.Thread(target=drip)
    dripping.start()
    assert last_words(sock) == b""
    over.set()
    dripping.join()
    assert eventually(lambda: node.count("handshake: not done in time")) == 1


def test_members_are_served_while_hundreds_hold_the_door(running: Start) -> None:
    node, member = running(CA.identity("node"), workers=16), running(CA.identity("member"))
    half_open = [dial(node) for _ in range(90)]
    for each in half_open[::2]:
        each.sendall(hello()[:50])
    for _ in range(3):
        member.session(node)
    for each in half_open:
        each.close()


def test_after_hundreds_of_bad_handshakes_everything_is_level(running: Start, caplog: pytest.LogCaptureFixture) -> None:
    node, member = running(CA.identity("node")), running(CA.identity("member"), kept_ms=1)
    member.session(node)
    stranger = lenient(Authority().issue("stranger"), CA)
    nameless = lenient(None, CA)
    greeting = hello()
    eventually(lambda: len(member.substrate._kept) == 0)
    before = resources()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        for number in range(300):
            sock = dial(node)
            if number % 3 == 0:
                sock.sendall(greeting[: number % 200])
                sock.close()
                continue
            connection = SSL.Connection(stranger if number % 3 == 1 else nameless, sock)
            connection.set_connect_state()
            sock.setblocking(True)
            try:
                connection.do_handshake()
                connection.recv(1)
            except SSL.Error:
                pass
            sock.close()
        member.session(node)
    # Counted, each of them; told, a few.
    eventually(lambda: node.count("handshake: failed") + node.count("handshake: not a member") == 300)
    assert node.count("handshake: not a member") == 100
    assert len([each for each in caplog.records if "no TLS with" in each.message]) <= 15
    assert max(len(each.getMessage()) for each in caplog.records) < 500
    eventually(lambda: all(now <= then + 2 for now, then in zip(resources(), before, strict=True)))


@pytest.mark.parametrize("part", [SESSION, LINK], ids=["session", "link"])
def test_a_member_that_breaks_the_record_layer_ends_its_own_connection(running: Start, part: bytes) -> None:
    node = running(CA.identity("node"))
    session = TlsSession(contexts(CA.identity("member")), False, (part,))
    sock = dial(node)
    while not session.handshake():
        sock.sendall(session.outgoing())
        session.feed(sock.recv(65_536))
    sock.sendall(session.outgoing() + bytes([23, 3, 3, 0, 40]) + bytes(40))
    last_words(sock)
    if part == SESSION:
        assert isinstance(node.ear.errors.get(timeout=PATIENCE), ConnectionError)


def test_who_asks_for_new_keys_all_the_time_is_served_no_longer(running: Start) -> None:
    """A TLS 1.2 member that renegotiates for ever gets an alert each time, and an end with its patience."""
    node = running(CA.identity("node"))
    context = lenient(CA.issue("restless"), CA)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    sock = dial(node)
    connection = SSL.Connection(context, sock)
    connection.set_connect_state()
    sock.setblocking(True)
    connection.do_handshake()
    for _ in range(3):
        connection.send(b"x")
        assert connection.recv(1) == b"x"
    connection.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        connection.do_handshake()
    sock.close()
    node.ear.errors.get(timeout=PATIENCE)
