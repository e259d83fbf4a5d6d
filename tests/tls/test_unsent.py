"""What TLS itself has to say while nobody sends, to a peer that reads slowly or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
from OpenSSL import SSL

from grasp.transport import secured
from grasp.transport.secured import TlsConnection
from grasp.transport.tls import SESSION, TlsSession
from tests.pki import Authority
from tests.tls.pairs import Met, Peer, carry, contexts, lenient, records

CA = Authority()


class Kernel:
    """Takes ``room`` bytes where nobody waits, and everything where somebody does."""

    peer, peer_name, peer_port, interface = IPv6Address("::1"), "::1", 1, 0

    def __init__(self, said: Iterator[bytes], room: int) -> None:
        self.said = said
        self.room = room
        self.taken = b""
        self.ended = False

    def receive(self, seconds: float) -> bytes:
        return next(self.said)

    def send(self, data: bytes) -> None:
        self.taken += data

    def finish(self, data: bytes) -> bytes:
        now, self.room = self.room, 0
        self.taken += data[:now]
        return data[now:]

    def interrupt(self) -> None:
        self.ended = True


def between(room: int) -> tuple[TlsConnection, Kernel]:
    """A connection of a node, and a member that asks for a new handshake: in TLS 1.2 a warning answers it."""
    context = lenient(CA.issue("restless"), CA)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    peer, session = Peer(context, False), TlsSession(contexts(CA.identity("node")), True, (SESSION,))
    carry(Met(peer, session))  # type: ignore[arg-type]

    def said() -> Iterator[bytes]:
        peer.connection.renegotiate()
        with pytest.raises(SSL.WantReadError):
            peer.connection.do_handshake()
        yield peer.outgoing()
        yield b""

    kernel: Any = Kernel(said(), room)
    return TlsConnection(kernel, session, b"", (0, 0), lambda _: None, lambda _: True), kernel


@pytest.mark.parametrize("room", [0, 3, 1_000])
def test_no_record_is_cut_when_the_kernel_takes_part_of_an_answer(room: int) -> None:
    connection, kernel = between(room)
    assert connection.receive(1.0) == b""
    connection.send(b"an answer to something else")
    alert, data = 21, 23
    assert [kind for kind, _ in records(kernel.taken)] == [alert, data]
    # Each as long as it says.
    assert sum(5 + len(content) for _, content in records(kernel.taken)) == len(kernel.taken)


def test_who_makes_much_of_it_and_reads_nothing_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secured, "_UNSENT", 10)
    connection, kernel = between(0)
    connection.receive(1.0)
    assert kernel.ended
