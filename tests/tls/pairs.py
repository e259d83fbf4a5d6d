"""Two ends of TLS without a socket, and what can be read in their bytes without a library."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography import x509
from OpenSSL import SSL

from grasp.security import Identity, Revocations
from grasp.transport.tls import LINK, SESSION, TlsContexts, TlsSession
from tests.pki import Authority, Issued


def contexts(identity: Identity, *revocations: tuple[bytes, x509.Certificate]) -> TlsContexts:
    known = Revocations()
    for crl, issuer in revocations:
        known.add(crl, [issuer], 0.0)
    return TlsContexts(identity, known)


@dataclass
class Met:
    """How a handshake ended at each side: None if it is well, until the first read."""

    client: TlsSession
    server: TlsSession
    client_error: Exception | None = None
    server_error: Exception | None = None
    flights: list[bytes] = field(default_factory=list)


def meet(
    client: TlsContexts,
    server: TlsContexts,
    offers: tuple[bytes, ...] = (SESSION,),
    accepts: tuple[bytes, ...] = (SESSION, LINK),
) -> Met:
    """A whole handshake; then each has read what the other had to say."""
    met = Met(TlsSession(client, False, offers), TlsSession(server, True, accepts))
    carry(met)
    return met


def carry(met: Met) -> None:
    """Bytes to and fro until neither has anything to say."""
    quiet = 0
    while quiet < 2:
        quiet = 0
        for name, one, other in (("client", met.client, met.server), ("server", met.server, met.client)):
            if getattr(met, f"{name}_error") is None:
                try:
                    if one.handshake():
                        one.read()
                except Exception as error:
                    setattr(met, f"{name}_error", error)
            data = one.outgoing()
            met.flights.append(data)
            other.feed(data)
            quiet += not data


class Peer:
    """An end that TlsSession has no part in: pyOpenSSL with whatever settings, for what a member would never do."""

    def __init__(self, context: SSL.Context, server: bool) -> None:
        self.connection = SSL.Connection(context, None)
        if server:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()
        self._up = False

    def handshake(self) -> bool:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def read(self) -> bytes:
        try:
            return self.connection.recv(65_536)
        except SSL.WantReadError:
            return b""

    def feed(self, data: bytes) -> None:
        if data:
            self.connection.bio_write(data)

    def outgoing(self) -> bytes:
        try:
            return self.connection.bio_read(1_000_000)
        except SSL.WantReadError:
            return b""


def lenient(issued: Issued | None, authority: Authority) -> SSL.Context:
    """Presents ``issued``, takes everything."""
    context = SSL.Context(SSL.TLS_METHOD)
    # Weak keys are presented all the same.
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    if issued is not None:
        context.use_certificate(issued.certificate)
        for each in issued.chain:
            context.add_extra_chain_cert(each)
        context.use_privatekey(issued.key)  # type: ignore[arg-type]
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return context


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each TLS record."""
    while data:
        kind, _, size = struct.unpack_from("!BHH", data)
        yield kind, data[5 : 5 + size]
        data = data[5 + size :]


@dataclass(frozen=True)
class Hello:
    """A ClientHello (RFC 8446 §4.1.2)."""

    suites: list[int]
    compressions: bytes
    extensions: dict[int, bytes]

    @property
    def groups(self) -> list[int]:
        content = self.extensions[10][2:]
        return [each for (each,) in struct.iter_unpack("!H", content)]

    @property
    def signatures(self) -> list[int]:
        return [each for (each,) in struct.iter_unpack("!H", self.extensions[13][2:])]

    @property
    def versions(self) -> list[int]:
        content = self.extensions[43][1:]
        return [each for (each,) in struct.iter_unpack("!H", content)]


def client_hello(data: bytes) -> Hello:
    message = b"".join(content for kind, content in records(data) if kind == 22)
    assert message[0] == 1
    at = 4 + 2 + 32
    at += 1 + message[at]
    size = struct.unpack_from("!H", message, at)[0]
    suites = [each for (each,) in struct.iter_unpack("!H", message[at + 2 : at + 2 + size])]
    at += 2 + size
    compressions = message[at + 1 : at + 1 + message[at]]
    at += 1 + message[at] + 2
    extensions = {}
    while at < len(message):
        kind, size = struct.unpack_from("!HH", message, at)
        extensions[kind] = message[at + 4 : at + 4 + size]
        at += 4 + size
    return Hello(suites, compressions, extensions)
