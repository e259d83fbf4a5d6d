"""Handshakes that go wrong in ways no TLS library offers: flights and certificates with bytes of them spoilt."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random

from OpenSSL import SSL, crypto

from .messages import spoilt

Spoil = Callable[[bytes], bytes]


def shake(sock: socket.socket, context: ssl.SSLContext, server: bool, spoil: Spoil) -> bytes:
    """Do a handshake and read something, with everything that is sent ``spoil``\\ ed; what was read. Raises OSError."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_side=server)
    shaken = False
    while True:
        try:
            if not shaken:
                session.do_handshake()
                shaken = True
            return session.read(100)
        except ssl.SSLWantReadError:
            pass
        finally:
            if data := outgoing.read():
                sock.sendall(spoil(data))
        data = sock.recv(65_536)
        if not data:
            return b""
        incoming.write(data)


def in_one_flight(rng: Random) -> Spoil:
    """Spoils one of the first three flights, the others not at all."""
    chosen, number = rng.randrange(3), 0

    def spoil(data: bytes) -> bytes:
        nonlocal number
        number += 1
        return spoilt(rng, data) if number == chosen + 1 else data

    return spoil


def with_spoilt_certificate(rng: Random, identity: Path, protocol: bytes) -> SSL.Connection | None:
    """A client that has the key, and bytes of its certificate changed; None if that is none any more."""
    context = SSL.Context(SSL.TLS_METHOD)
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, (identity / "certificate.pem").read_bytes())
    der = bytearray(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))
    for _ in range(rng.choice([1, 1, 2, 5])):
        der[rng.randrange(len(der))] = rng.randrange(256)
    try:
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, bytes(der)))
        context.use_privatekey_file(str(identity / "key.pem"))
    except (SSL.Error, crypto.Error, ValueError):
        return None
    made = SSL.Connection(context, None)
    made.set_alpn_protos([protocol])
    made.set_connect_state()
    return made


def converse(sock: socket.socket, session: SSL.Connection, data: bytes) -> None:
    """Do a handshake and say ``data``, as far as it comes. Raises OSError, SSL.Error."""
    shaken = False
    while True:
        try:
            if not shaken:
                session.do_handshake()
                shaken = True
                session.send(data)
            session.recv(100)
            return
        except SSL.WantReadError:
            pass
        with contextlib.suppress(SSL.WantReadError):
            while said := session.bio_read(65_536):
                sock.sendall(said)
        heard = sock.recv(65_536)
        if not heard:
            return
        session.bio_write(heard)
