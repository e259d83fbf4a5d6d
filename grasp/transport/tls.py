"""TLS between members of a domain (RFC 8994 §6.1, §6.2.3, §6.9.2), without a socket. Times are UNIX s.

OpenSSL proves that the peer has the key of its certificate; what the certificate is worth, :class:`Membership` says,
in the middle of the handshake, so that a peer that is refused learns so by an alert.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from OpenSSL import SSL, crypto

from grasp.errors import ErrorCode, LocalError
from grasp.member import Member
from grasp.security import Identity, Membership, NotMember, Revocations
from grasp.transport import NotMemberError

SESSION: Final = b"grasp/1"
"""The protocol (ALPN) of unicast sessions; a client that names none means it too."""
LINK: Final = b"grasp-link/1"
"""That of links between neighbours, which carry what plain GRASP multicasts."""

_TLS13: Final = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_TLS12: Final = b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
# What certificates may have (§6.2.1), with both paddings of RSA: its keys sign by PSS in TLS 1.3, CAs by either.
_SIGNATURES: Final = (
    b"ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:"
    b"rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"
    b"rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:"
    b"rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512"
)
# The first that the library knows. X25519MLKEM768, since 3.5, also keeps what is recorded today from the quantum
# computers of tomorrow; "*": a key of this group is sent with the hello.
_GROUPS: Final = (b"*X25519MLKEM768:*X25519:P-256:P-384:P-521", b"X25519:P-256:P-384:P-521", b"P-256:P-384:P-521")
_DISABLE_CA_NAMES: Final = 1 << 9  # SSL_OP_DISABLE_TLSEXT_CA_NAMES
_NO_CERTIFICATE_COMPRESSION: Final = 3 << 32  # SSL_OP_NO_TX_CERTIFICATE_COMPRESSION, …_RX_…
_OPTIONS: Final = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_SINGLE_ECDH_USE
    | _DISABLE_CA_NAMES
    | _NO_CERTIFICATE_COMPRESSION
)
# What OpenSSL calls its objections to a certificate (X509_V_ERR_…).
_NO_CRL: Final = 3
_SELF_SIGNED_LEAF: Final = 18
_SELF_SIGNED_TOP: Final = 19
_BEGINNINGS: Final = (21, 22)
"""Content types of the first record: an alert, a handshake (RFC 8446 §5.1)."""
_DATA: Final = 23
_HEADER: Final = 5
"""Bytes of a record before what its last two count."""
_READ: Final = 4_096
_SEND: Final = 8_192
_ABOUT_CERTIFICATES: Final = ("certificate", "unknown ca", "access denied")
_WHY: Final = 200


class TlsFailed(ConnectionError):
    """There can be no TLS with this peer, or no longer."""


class TlsNotMember(TlsFailed, NotMemberError):
    """One of the two does not take the other for a member of the domain."""


class TlsClosed(ConnectionError):
    """The peer has said that nothing more will come."""


class _Judgement:
    """What the peer presented in one handshake, and what became of it. OpenSSL's callbacks write here.

    A callback must not raise: the library would keep the exception for another connection of the same context.
    """

    __slots__ = ("certificates", "contexts", "last", "link", "member", "path", "protocols", "top", "why")

    def __init__(self, contexts: TlsContexts, protocols: tuple[bytes, ...]) -> None:
        self.contexts = contexts
        self.protocols = protocols
        self.link = protocols == (LINK,)
        self.certificates: dict[int, x509.Certificate] = {}
        self.top = self.last = -1
        self.path: tuple[x509.Certificate, ...] = ()
        self.member: Member | None = None
        self.why = ""

    def presented(self, certificate: crypto.X509, depth: int, objection: int) -> bool:
        """OpenSSL has something to say of a certificate of the peer's chain; whether to go on."""
        if depth not in self.certificates:
            self.certificates[depth] = certificate.to_cryptography()
        if self.top < 0:
            # The first objection is always to the top: OpenSSL trusts nobody. Self-signed, it needs no list.
            self.top = depth
            self.last = depth - 1 if objection == _SELF_SIGNED_TOP else depth
        if objection == _SELF_SIGNED_LEAF or (objection == _NO_CRL and depth == self.last):
            return self.judge()
        return True

    def judge(self) -> bool:
        """Whether they make the peer a member. What leads to no trust anchor is not kept."""
        chain = tuple(self.certificates[each] for each in range(self.top + 1))
        membership, now = self.contexts.membership, self.contexts.clock()
        try:
            self.member = membership.check(chain, now, link=self.link)
            self.path = membership.path(chain, now)
        except NotMember as refusal:
            self.why = str(refusal)
            return False
        return True

    def refusal(self, now: float) -> str:
        """Why the peer is no member any more; empty if it is."""
        try:
            self.contexts.membership.check(self.path, now, link=self.link)
        except NotMember as refusal:
            return str(refusal)
        return ""


def _verify(connection: SSL.Connection, certificate: crypto.X509, objection: int, depth: int, ok: int) -> bool:
    judgement: _Judgement = connection.get_app_data()
    try:
        return judgement.presented(certificate, depth, objection)
    except BaseException as error:
        # A panic of cryptography's is no Exception.
        judgement.why = f"its certificate cannot be read: {type(error).__name__}"
        return False


def _choose(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """Of the client's protocols the first that is known here; nothing ends the handshake."""
    judgement: _Judgement = connection.get_app_data()
    chosen = next((each for each in offered if each in judgement.protocols), b"")
    judgement.link = chosen == LINK
    return chosen


def _without_tickets(connection: SSL.Connection) -> None:
    # Set from here on, it keeps OpenSSL from sending tickets in TLS 1.3 too; set from the start it would send two that
    # cannot be used. The call that would turn them off pyOpenSSL does not have.
    connection.set_options(SSL.OP_NO_TICKET)


def _narrow(context: SSL.Context) -> None:
    """Offer and take no signature and group that no member needs.

    pyOpenSSL has no call for it, the binding below has. Where it has not, the library's defaults remain, which only
    offer more: what a certificate is signed with, Membership looks at.
    """
    library, pointer = getattr(SSL, "_lib", None), getattr(context, "_context", None)
    signatures = getattr(library, "SSL_CTX_set1_sigalgs_list", None)
    groups = getattr(library, "SSL_CTX_set1_curves_list", None)
    if library is None or pointer is None or signatures is None or groups is None:
        return
    signatures(pointer, _SIGNATURES)
    any(groups(pointer, each) for each in _GROUPS)
    # What it does not know is no error of a connection.
    library.ERR_clear_error()


def _context(identity: Identity, server: bool) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_cipher_list(_TLS12)
    context.set_tls13_ciphersuites(_TLS13)
    _narrow(context)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.use_certificate(identity.certificate)
    for each in identity.chain:
        context.add_extra_chain_cert(each)
    context.use_privatekey(identity.key)
    # No issuer is known to OpenSSL: paths are Membership's. Asked for revocation lists, it has none, and says so of
    # each certificate in turn; the verdict is given there, as from there a refusal becomes an alert about it.
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    if server:
        context.set_alpn_select_callback(_choose)
        context.set_tlsext_servername_callback(_without_tickets)
    else:
        context.set_options(SSL.OP_NO_TICKET)
    return context


@dataclass(frozen=True, slots=True)
class _Current:
    """Everything of one identity, replaced as a whole."""

    identity: Identity
    membership: Membership
    client: SSL.Context
    server: SSL.Context
    generation: int


class TlsContexts:
    """What handshakes need of this node: its identity, and who is a member. Thread-safe."""

    def __init__(self, identity: Identity, revocations: Revocations, clock: Callable[[], float] = time.time) -> None:
        self.revocations = revocations
        self.clock = clock
        self.current = self._made(identity, 1)

    def _made(self, identity: Identity, generation: int) -> _Current:
        return _Current(
            identity,
            identity.membership(self.revocations),
            _context(identity, server=False),
            _context(identity, server=True),
            generation,
        )

    @property
    def identity(self) -> Identity:
        return self.current.identity

    @property
    def membership(self) -> Membership:
        return self.current.membership

    @property
    def generation(self) -> int:
        """Grows with each :meth:`renew`."""
        return self.current.generation

    def renew(self, identity: Identity) -> None:
        """Handshakes that begin from now on use ``identity``. Raises ``badIdentity`` if it is of another domain."""
        current = self.current
        if identity.domain != current.identity.domain:
            raise LocalError(
                ErrorCode.badIdentity,
                f"a node in {current.identity.domain} cannot move to {identity.domain}: restart it",
            )
        self.current = self._made(identity, current.generation + 1)


class TlsSession:
    """One end of a TLS connection: bytes in, bytes out. Not thread-safe; the owner locks.

    ``protocols``: what a client offers and a server accepts (ALPN). Whatever is called, look for :meth:`outgoing`
    afterwards, also after an exception: it may be the alert that says why.
    """

    __slots__ = (
        "_connection", "_first", "_judgement", "_strange", "_up", "_whole",
        "chain", "generation", "member", "protocol", "spent",
    )  # fmt: skip

    member: Member
    """The peer, after the handshake."""
    chain: tuple[x509.Certificate, ...]
    """From its certificate to the trust anchor, after the handshake."""

    def __init__(self, contexts: TlsContexts, server: bool, protocols: tuple[bytes, ...] = (SESSION,)) -> None:
        current = contexts.current
        self.generation = current.generation
        self.protocol = b""
        """What both agreed on; b"" if the client named none, which means :data:`SESSION`."""
        self._up = self._strange = False
        self._first = True
        self._whole = False
        self.spent = False
        """Whether :meth:`read` gives nothing before more is fed; asking OpenSSL costs as much as reading."""
        self._judgement = _Judgement(contexts, protocols)
        self._connection = SSL.Connection(current.server if server else current.client, None)
        self._connection.set_app_data(self._judgement)
        if server:
            self._connection.set_accept_state()
        else:
            if protocols:
                self._connection.set_alpn_protos(list(protocols))
            self._connection.set_connect_state()

    def feed(self, data: bytes) -> None:
        """What came from the peer."""
        if data:
            if self._first:
                self._first = False
                self._strange = data[0] not in _BEGINNINGS
            self._whole = data[0] == _DATA and len(data) == _HEADER + int.from_bytes(data[3:_HEADER])
            self.spent = False
            self._connection.bio_write(data)

    def handshake(self) -> bool:
        """Go on with it; whether it is done. Raises :class:`TlsFailed`, :class:`TlsNotMember` among them."""
        if self._up:
            return True
        if self._strange:
            # OpenSSL would wait for as many bytes as it takes the next two for.
            raise TlsFailed("what it says is no TLS")
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise self._failed(error) from None
        judgement = self._judgement
        judgement.certificates.clear()
        self.protocol = self._connection.get_alpn_proto_negotiated()
        if judgement.member is None:
            raise TlsNotMember("the peer's certificate was not looked at")
        if judgement.protocols == (LINK,) and self.protocol != LINK:
            raise TlsFailed("the peer does not know links between neighbours")
        # The peer may have shown its certificate, and held back the rest while it was revoked.
        if why := judgement.refusal(judgement.contexts.clock()):
            self._connection.shutdown()
            raise TlsNotMember(why)
        self.member, self.chain = judgement.member, judgement.path
        self._connection.set_app_data(None)
        self._up = True
        return True

    def refusal(self, now: float) -> str:
        """After the handshake: why the peer is no member at ``now`` (UNIX s), as this node knows it; empty if it is."""
        return self._judgement.refusal(now)

    def read(self) -> bytes:
        """Some of what the peer has said; b"" if nothing now. Raises :class:`TlsClosed`, :class:`TlsFailed`."""
        try:
            data = self._connection.recv(_READ)
        except SSL.WantReadError:
            self.spent = True
            return b""
        except SSL.ZeroReturnError:
            raise TlsClosed("peer closed the connection") from None
        except SSL.Error as error:
            raise self._failed(error) from None
        # The usual message is one record, and came alone.
        self.spent = self._whole and len(data) < _READ
        return data

    def write(self, data: bytes) -> None:
        """Say ``data``. Raises :class:`TlsFailed`."""
        try:
            sent = self._connection.send(data)
            while sent < len(data):
                data = data[sent:]
                sent = self._connection.send(data)
        except SSL.Error as error:
            raise self._failed(error) from None

    def outgoing(self) -> bytes:
        """What is to be sent to the peer; b"" if nothing."""
        try:
            data = self._connection.bio_read(_SEND)
        except SSL.WantReadError:
            return b""
        while len(data) % _SEND == 0:
            try:
                data += self._connection.bio_read(_SEND)
            except SSL.WantReadError:
                break
        return data

    def close(self) -> None:
        """Say that nothing more will come (close_notify); no effect before the handshake is done."""
        if self._up:
            try:
                self._connection.shutdown()
            except SSL.Error:
                pass

    def _failed(self, error: SSL.Error) -> TlsFailed:
        judgement = self._judgement
        if judgement.why:
            return TlsNotMember(judgement.why)
        if isinstance(error, SSL.SysCallError):
            return TlsFailed("the connection broke off")
        reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
        said = "; ".join(each[-1] for each in reasons)[:_WHY] or "no reason given"
        if " alert " in said and any(each in said for each in _ABOUT_CERTIFICATES):
            return TlsNotMember(f"the peer does not take us for a member: {said}")
        return TlsFailed(said)
