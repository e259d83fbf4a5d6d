"""TLS 1.3 between a joining node and the CA, without a socket: bytes go in and out. Not thread-safe.

The CA's key is made for one invitation and known by its hash only; the node has none yet.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from cryptography import x509
from OpenSSL import SSL

from asa.domain import conversation, keys
from asa.domain.conversation import Frames, Message
from asa.domain.errors import BadFile
from asa.domain.issuing import DAY_S, common_name, digest_for, instant
from asa.errors import AgentError
from grasp.security import UNREADABLE

_SUITES: Final = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_LABEL: Final = b"EXPERIMENTAL asa join"
_EXPORTED: Final = 32
_PIECE: Final = 16_384
READ: Final = 65_536
"""Bytes worth reading from a socket at once."""


class Broken(AgentError):
    """What came is no TLS of this kind, or the other side broke off."""

    code = "broken"


class ChannelKey:
    """A server's key, for one invitation and never on disk."""

    def __init__(self, now: float) -> None:
        self._key = keys.generate()
        name = common_name("asa")
        public = self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(instant(now - DAY_S))
            .not_valid_after(instant(now) + timedelta(days=2))
        )
        self._certificate = builder.sign(self._key, digest_for(self._key))
        self.pin = pin_of(self._certificate)

    def context(self) -> SSL.Context:
        context = _context()
        context.use_certificate(self._certificate)
        context.use_privatekey(self._key)
        return context


def pin_of(certificate: x509.Certificate) -> bytes:
    """SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(keys.public_bytes(keys.supported(certificate.public_key(), "the certificate"))).digest()


def client_context() -> SSL.Context:
    """Trusts nobody: :attr:`Channel.pin` is looked at before anything is said."""
    return _context()


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(_SUITES)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


class Channel:
    """One connection. Every method may raise :class:`Broken` or :class:`~asa.domain.conversation.Garbled`."""

    def __init__(self, context: SSL.Context, *, server: bool, longest: int) -> None:
        """``longest``: bytes of a message that the other side may send."""
        self._tls = SSL.Connection(context, None)
        (self._tls.set_accept_state if server else self._tls.set_connect_state)()
        self._frames = Frames(longest)
        self.established = False
        self.closed = False
        """The other side has said that it ends."""

    def receive(self, content: bytes) -> list[Message]:
        """Take in bytes of the other side, none at the start; the messages that are complete now."""
        for start in range(0, len(content), _PIECE):
            self._tls.bio_write(content[start : start + _PIECE])
        found: list[Message] = []
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
            while True:
                found += self._frames.feed(self._tls.recv(_PIECE))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error:
            # Its texts are OpenSSL's queue of errors.
            raise Broken("what came is no TLS 1.3, or was altered") from None
        return found

    def send(self, message: Message) -> None:
        content = conversation.encode(message)
        for start in range(0, len(content), _PIECE):
            self._tls.sendall(content[start : start + _PIECE])

    def outgoing(self) -> bytes:
        """What is to be sent, and not returned before."""
        found = bytearray()
        try:
            while True:
                found += self._tls.bio_read(READ)
        except SSL.WantReadError:
            return bytes(found)

    def end(self) -> None:
        """Tell the other side that nothing more comes."""
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass

    @property
    def pin(self) -> bytes:
        """Of the key the other side has shown that it has; empty if that is none of ours."""
        try:
            found = self._tls.get_peer_certificate(as_cryptography=True)
            return b"" if found is None else pin_of(found)
        except (BadFile, *UNREADABLE):
            return b""

    def exported(self) -> bytes:
        """Keying material that only the two ends of this connection have (RFC 5705)."""
        return self._tls.export_keying_material(_LABEL, _EXPORTED)
