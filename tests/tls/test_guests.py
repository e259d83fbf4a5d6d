"""What one member of the domain can take of a node, from however many addresses, and what it leaves to the others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest
from OpenSSL import SSL

from grasp.limits import Limits
from grasp.security import Identity
from grasp.transport.domain import DomainSubstrate
from tests.pki import Authority, Issued
from tests.tls.pairs import lenient
from tests.tls.substrates import NO_INTERFACE, PATIENCE, Ear, eventually

CA = Authority()
LOOPBACK = IPv4Address("127.0.0.1")
TOO_MANY = "connection: too many of one member"
Start = Callable[..., tuple[DomainSubstrate, Ear]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Substrates that also listen on the loopback of IPv4, which has more than one address."""
    with ExitStack() as running:

        def begin(identity: Identity, **limits: int) -> tuple[DomainSubstrate, Ear]:
            substrate = DomainSubstrate(identity, NO_INTERFACE, ipv4=True, limits=Limits(**limits))
            ear = Ear()
            substrate.start(ear)
            running.callback(substrate.stop)
            return substrate, ear

        yield begin


def guest(issued: Issued, node: DomainSubstrate, address: str) -> SSL.Connection:
    """A member's connection from ``address`` of the loopback."""
    sock = socket.create_connection((str(LOOPBACK), node.port), PATIENCE, (address, 0))
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(PATIENCE).to_bytes(8, "little") + bytes(8))
    connection = SSL.Connection(lenient(issued, CA), sock)
    connection.set_connect_state()
    connection.do_handshake()
    return connection


def served(connection: SSL.Connection, said: bytes) -> bool:
    """Whether it is answered; False if the node hangs up."""
    try:
        connection.sendall(said)
        return connection.recv(1_000) == said
    except SSL.Error:
        return False


def session(substrate: DomainSubstrate, node: DomainSubstrate) -> None:
    connection = substrate.connect(LOOPBACK, node.port, 0, PATIENCE)
    connection.send(b"a session.")
    assert connection.receive(PATIENCE) == b"a session."
    connection.release()


def test_a_member_with_many_addresses_leaves_room_for_the_others(start: Start) -> None:
    node, ear = start(CA.identity("node"), workers=16, sessions_per_member=6, sessions_per_peer=6)
    honest, _ = start(CA.identity("honest"))
    bad = CA.issue("bad")
    guests = [guest(bad, node, f"127.0.0.{10 + number // 5}") for number in range(6)]
    assert all(served(each, b"in the middle of a session") for each in guests)
    for number in range(20):
        assert not served(guest(bad, node, f"127.0.0.{20 + number // 5}"), b"one more")
    for _ in range(3):
        session(honest, node)
    assert all(served(each, b"still here") for each in guests)
    assert node.discarded[TOO_MANY] == 20
    assert ear.served == 7
    for each in guests:
        each.sock_shutdown(socket.SHUT_RDWR)
    # What it gives up it may have again.
    assert eventually(lambda: len(node._guests) == 1)
    assert served(guest(bad, node, "127.0.0.50"), b"one more")


def test_of_a_member_at_its_bound_the_oldest_without_a_session_makes_room(start: Start) -> None:
    node, _ = start(CA.identity("node"), sessions_per_member=3)
    member = CA.issue("member")
    busy, idle, other = (guest(member, node, f"127.0.0.{number}") for number in (2, 3, 4))
    assert served(busy, b"in a session")
    assert served(idle, b"a session.")
    assert served(other, b"a session.")
    eventually(lambda: sum(each.newcomer for each in node._secured) == 2)
    late = guest(member, node, "127.0.0.5")
    assert served(late, b"another")
    assert not served(idle, b"again.")
    assert served(busy, b"in a session")
    assert served(other, b"again.")
    assert node.discarded[TOO_MANY] == 1


def test_the_bound_is_well_below_the_workers() -> None:
    assert 3 * Limits().sessions_per_member < Limits().workers
