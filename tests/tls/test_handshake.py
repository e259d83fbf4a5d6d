"""Who gets through a handshake, at either end, and what is offered in it (RFC 8994 §6.1, §6.2.3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from cryptography import x509
from OpenSSL import SSL

from grasp.errors import ErrorCode, LocalError
from grasp.transport import NotMemberError
from grasp.transport.tls import LINK, SESSION, TlsClosed, TlsContexts, TlsFailed, TlsNotMember, TlsSession
from tests.pki import DAY, Authority, Issued, fingerprint
from tests.tls.pairs import Met, Peer, carry, client_hello, contexts, lenient, meet, records

CA = Authority()
HERE = CA.identity("here")


def here() -> TlsContexts:
    return contexts(HERE)


@pytest.mark.parametrize("offers", [(SESSION,), (), (LINK,)], ids=["session", "no protocol named", "link"])
def test_members_of_one_domain_know_each_other_after_the_handshake(offers: tuple[bytes, ...]) -> None:
    there = CA.identity("there")
    met = meet(here(), contexts(there), offers)
    assert (met.client_error, met.server_error) == (None, None)
    protocol = offers[0] if offers else b""
    assert met.client.protocol == met.server.protocol == protocol
    assert (met.client.member.name, met.server.member.name) == ("there", "here")
    assert met.client.member.fingerprint == fingerprint(there.certificate)
    assert met.client.chain == (there.certificate, CA.certificate)
    for one, other in ((met.client, met.server), (met.server, met.client)):
        one.write(b"a" * 100_000)
        other.feed(one.outgoing())
        said = b""
        while data := other.read():
            said += data
        assert said == b"a" * 100_000


def _below(levels: int) -> tuple[Authority, Issued]:
    root = Authority(name="root")
    issuer = root
    for level in range(levels):
        issuer = Authority(name=f"below {level}", issuer=issuer)
    return root, issuer.issue("deep")


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("with_anchor", [False, True])
def test_a_path_may_have_intermediates(levels: int, with_anchor: bool) -> None:
    root, issued = _below(levels)
    if with_anchor:
        issued = replace(issued, chain=(*issued.chain, root.certificate))
    other = contexts(root.identity("other"))
    deep = contexts(root.identity("deep", issued))
    for client, server, seen in ((deep, other, "server"), (other, deep, "client")):
        met = meet(client, server)
        assert (met.client_error, met.server_error) == (None, None)
        found: TlsSession = getattr(met, seen)
        assert found.member.name == "deep"
        assert found.chain[0] == issued.certificate


def test_either_of_two_trust_anchors_will_do() -> None:
    other = Authority(name="another root")
    both = (CA.certificate, other.certificate)
    met = meet(contexts(CA.identity("one", trust=both)), contexts(other.identity("two", trust=both)))
    assert (met.client_error, met.server_error) == (None, None)


@dataclass(frozen=True)
class Outsider:
    """Somebody who is to be refused, and by which rule of §6.2.3."""

    what: str
    rule: int
    issued: Callable[[], Issued]


def _revoked() -> Issued:
    issued = CA.issue("revoked")
    CA.revoke(issued)
    return issued


def _forged() -> Issued:
    """It names our CA, and was signed by somebody else."""
    return CA.issue("forged", signer=Authority().key)


def _altered() -> Issued:
    """One's certificate, presented by somebody who has another key, cannot even be loaded: see below."""
    issuer = Authority("acp.example.com")
    own = issuer.issue("here")
    return Issued(own.key, own.certificate, ())


OUTSIDERS = [
    Outsider("another CA", 2, lambda: Authority().issue("x")),
    Outsider("another CA of the same name", 2, _altered),
    Outsider("self-signed", 2, lambda: _self_signed()),
    Outsider("forged", 2, _forged),
    Outsider("an intermediate left out", 2, lambda: replace(Authority(name="mid", issuer=CA).issue("x"), chain=())),
    Outsider("issued by a member", 2, lambda: _issued_by_member()),
    Outsider("expired", 2, lambda: CA.issue("x", not_after=time.time() - 1)),
    Outsider("not yet valid", 2, lambda: CA.issue("x", not_before=time.time() + DAY)),
    Outsider("under an expired CA", 2, lambda: Authority(name="m", issuer=CA, not_after=time.time() - 1).issue("x")),
    Outsider("revoked", 3, _revoked),
    Outsider("no AcpNodeName", 4, lambda: CA.issue("x", ())),
    Outsider("two AcpNodeNames", 4, lambda: CA.issue("x", (CA.acp_name(), CA.acp_name()))),
    Outsider("an AcpNodeName that is none", 4, lambda: CA.issue("x", "not-an-address@acp.example.com")),
    Outsider("another domain", 4, lambda: CA.issue("x", "0@other.example.com")),
    Outsider("a domain that begins like ours", 4, lambda: CA.issue("x", "0@acp.example.com.evil.example")),
    Outsider("RSA of 1024 bits", 2, lambda: CA.issue("x", algorithm="RSA-1024")),
]


def _self_signed() -> Issued:
    itself = Authority(name="x", ca=False, acp=("0@acp.example.com",))
    return Issued(itself.key, itself.certificate, ())


def _issued_by_member() -> Issued:
    member = CA.issue("member")
    below = CA.issue("x", signer=member.key, issuer_name=member.certificate.subject)
    return Issued(below.key, below.certificate, (member.certificate,))


@pytest.mark.parametrize("server", [False, True], ids=["as client", "as server"])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
@pytest.mark.parametrize("outsider", OUTSIDERS, ids=lambda each: each.what)
def test_an_outsider_is_refused_and_told(outsider: Outsider, server: bool, version: int) -> None:
    issued = outsider.issued()
    ours = contexts(HERE, (CA.crl(), CA.certificate))
    context = lenient(issued, CA)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    peer = Peer(context, server)
    we = TlsSession(ours, not server, (SESSION, LINK))
    met = Met(peer, we) if not server else Met(we, peer)  # type: ignore[arg-type]
    carry(met)
    refused, told = (met.client_error, met.server_error) if server else (met.server_error, met.client_error)
    assert isinstance(refused, NotMemberError)
    assert f"rule {outsider.rule}:" in str(refused)
    # By an alert about its certificate, which it reads at the latest where it expects an answer.
    assert isinstance(told, SSL.Error)
    assert "alert unknown ca" in str(told)
    with pytest.raises(TlsFailed):
        we.write(b"a byte of GRASP")


@pytest.mark.parametrize("server", [False, True], ids=["our server", "our client"])
def test_who_is_refused_by_a_member_learns_that_it_is_about_membership(server: bool) -> None:
    """In TLS 1.3 a client is done before the server has judged it, so it may learn it where it reads."""
    stranger = contexts(Authority().identity("stranger", trust=(CA.certificate,)))
    met = meet(here(), stranger) if server else meet(stranger, here())
    learnt = met.server_error if server else met.client_error
    assert isinstance(learnt, TlsNotMember)
    assert "does not take us for a member" in str(learnt)


def test_who_presents_no_certificate_is_refused() -> None:
    we = TlsSession(here(), True, (SESSION,))
    met = Met(Peer(lenient(None, CA), False), we)  # type: ignore[arg-type]
    carry(met)
    assert isinstance(met.server_error, TlsFailed)
    assert "did not return a certificate" in str(met.server_error)
    assert "alert certificate required" in str(met.client_error)


@pytest.mark.parametrize("server", [False, True], ids=["as client", "as server"])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
def test_who_has_a_key_that_no_member_has_finds_no_signature_to_show_it_with(server: bool, version: int) -> None:
    context = lenient(CA.issue("x", algorithm="Ed25519"), CA)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    peer, we = Peer(context, server), TlsSession(here(), not server, (SESSION, LINK))
    met = Met(peer, we) if not server else Met(we, peer)  # type: ignore[arg-type]
    carry(met)
    assert isinstance(met.client_error if server else met.server_error, TlsFailed)
    assert not hasattr(we, "member")


@pytest.mark.parametrize("link", [False, True], ids=["session", "link"])
@pytest.mark.parametrize("server", [False, True], ids=["as client", "as server"])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
def test_who_is_revoked_between_its_certificate_and_the_end_of_the_handshake_is_refused(
    server: bool, version: int, link: bool
) -> None:
    """It holds back its last flight; ``server``: the one who is revoked is."""
    ca = Authority()
    bad, ours = ca.issue("bad"), contexts(ca.identity("here"))
    context = lenient(bad, ca)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if link:
        context.set_alpn_protos([LINK])
        context.set_alpn_select_callback(lambda *_: LINK)
    peer, we = Peer(context, server), TlsSession(ours, not server, (LINK,) if link else (SESSION,))
    judged = we._judgement
    for _ in range(10):
        try:
            peer.handshake()
        except SSL.Error:
            pass
        said = peer.outgoing()
        for size in [len(said)] if not said else [5 + len(content) for _, content in records(said)]:
            we.feed(said[:size])
            said = said[size:]
            if judged.member is not None:
                # Between two records: its certificate has been seen, and found good.
                ca.revoke(bad)
                assert ours.revocations.add(ca.crl(), [ca.certificate], time.time())
                we.feed(said)
                met = Met(peer, we) if not server else Met(we, peer)  # type: ignore[arg-type]
                carry(met)
                refused = met.client_error if server else met.server_error
                assert isinstance(refused, TlsNotMember)
                assert "rule 3: " in str(refused)
                assert not hasattr(we, "member")
                with pytest.raises(TlsFailed):
                    we.write(b"a byte of GRASP")
                return
            assert not we.handshake(), "it never was judged"
        peer.feed(we.outgoing())
    pytest.fail("no handshake came about")


def test_a_certificate_is_of_no_use_without_the_signature_of_its_key() -> None:
    """Rule 1. In TLS 1.2 that signature goes in clear: altered on the way, it is one that no other key can make."""
    context = lenient(CA.issue("member"), CA)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    peer, we = Peer(context, False), TlsSession(here(), True, (SESSION,))
    assert not peer.handshake()
    we.feed(peer.outgoing())
    assert not we.handshake()
    peer.feed(we.outgoing())
    assert not peer.handshake()
    flight = peer.outgoing()
    certificate_verify = bytes([15])
    signature = next(content for kind, content in records(flight) if kind == 22 and content[:1] == certificate_verify)
    forged = signature[:-1] + bytes([signature[-1] ^ 1])
    we.feed(flight.replace(signature, forged))
    with pytest.raises(TlsFailed, match="signature"):
        we.handshake()
    assert not hasattr(we, "member")


def test_a_link_needs_an_address_in_the_name_and_a_session_does_not() -> None:
    """Rule 5."""
    nameless = contexts(CA.identity("noc", CA.issue("noc", "+area@acp.example.com")))
    assert meet(nameless, here()).server_error is None
    for met in (meet(nameless, here(), (LINK,)), meet(here(), nameless, (LINK,))):
        refused = (
            met.server_error if met.server_error is not None and "rule 5" in str(met.server_error) else met.client_error
        )
        assert isinstance(refused, TlsNotMember)
        assert "rule 5" in str(refused)
    zero = contexts(CA.identity("zero", CA.issue("zero", "0@acp.example.com")))
    assert meet(zero, here(), (LINK,)).server_error is None


def test_a_protocol_that_is_not_ours_ends_the_handshake() -> None:
    met = meet(here(), here(), (b"h2",))
    assert isinstance(met.server_error, TlsFailed)
    assert isinstance(met.client_error, TlsFailed)


def test_a_link_is_not_made_with_who_does_not_know_links() -> None:
    context = lenient(CA.issue("old"), CA)
    we = TlsSession(here(), False, (LINK,))
    met = Met(we, Peer(context, True))  # type: ignore[arg-type]
    carry(met)
    assert isinstance(met.client_error, TlsFailed)
    assert not isinstance(met.client_error, TlsNotMember)


def test_a_client_offers_what_the_rfc_asks_for_and_nothing_else() -> None:
    """§6.1: 256 bits of key, SHA-384 but for the one MAY; P-256 and P-384; nothing that would resume or compress."""
    session = TlsSession(here(), False)
    session.handshake()
    hello = client_hello(session.outgoing())
    renegotiation_info = 0x00FF
    assert set(hello.suites) - {renegotiation_info} == {0x1302, 0x1303, 0xC02C, 0xC030}
    assert hello.versions == [0x0304, 0x0303]
    assert {23, 24} <= set(hello.groups)
    p521, x25519, hybrid = 25, 29, 0x11EC
    assert set(hello.groups) <= {23, 24, p521, x25519, hybrid}
    # RFC 8446 §4.2.3. ECDSA, RSA by PSS and by PKCS #1, each with SHA-256, SHA-384 and SHA-512: what certificates may
    # have (§6.2.1); no Ed25519 or Ed448, no brainpool curve, no DSA, no SHA-224 or SHA-1.
    assert set(hello.signatures) == {
        0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B, 0x0401, 0x0501, 0x0601,
    }  # fmt: skip
    assert hello.compressions == b"\0"
    session_ticket, early_data, pre_shared_key, compress_certificate = 35, 42, 41, 27
    assert not {session_ticket, early_data, pre_shared_key, compress_certificate} & set(hello.extensions)


def test_nothing_in_a_handshake_says_who_it_is_before_it_is_encrypted() -> None:
    """TLS 1.3: neither name, nor domain, nor CA can be read on the way."""
    met = meet(here(), contexts(CA.identity("there")))
    seen = b"".join(met.flights)
    for secret in (b"there", b"here", b"acp.example.com", b"EX9"):
        assert secret not in seen
    kinds = {kind for kind, _ in records(seen)}
    handshake, change_cipher_spec, application_data = 22, 20, 23
    assert kinds <= {handshake, change_cipher_spec, application_data}


def test_a_certificate_that_ends_is_judged_by_the_clock_that_is_handed_in() -> None:
    now = [time.time()]
    ours = TlsContexts(HERE, contexts(HERE).revocations, lambda: now[0])
    short = contexts(CA.identity("short", CA.issue("short", not_after=now[0] + 60)))
    assert meet(short, ours).server_error is None
    now[0] += 61
    assert isinstance(meet(short, ours).server_error, TlsNotMember)


def test_renewal_is_for_handshakes_that_begin_later() -> None:
    ours, other = here(), contexts(CA.identity("other"))
    before = TlsSession(ours, False)
    renewed = CA.identity("here")
    ours.renew(renewed)
    assert ours.generation == before.generation + 1
    met = Met(before, TlsSession(other, True, (SESSION,)))
    carry(met)
    assert met.server.member.fingerprint == fingerprint(HERE.certificate)
    assert meet(ours, other).server.member.fingerprint == fingerprint(renewed.certificate)
    assert ours.identity is renewed
    with pytest.raises(LocalError) as caught:
        ours.renew(Authority("elsewhere.example.com").identity("here"))
    assert caught.value.code is ErrorCode.badIdentity


def test_the_end_that_is_told_is_told_from_one_that_is_not() -> None:
    met = meet(here(), here())
    met.client.close()
    met.server.feed(met.client.outgoing())
    with pytest.raises(TlsClosed):
        met.server.read()


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", bytes(64), bytes([22, 3, 1, 255, 255, *bytes(100)]), b"\x83\x03\x18\x63\x45\x45\x58"],
    ids=["HTTP", "zeros", "a record too long", "GRASP in clear"],
)
def test_what_is_no_tls_fails_at_once(garbage: bytes) -> None:
    session = TlsSession(here(), True)
    session.feed(garbage * 20)
    with pytest.raises(TlsFailed) as caught:
        session.handshake()
    assert not isinstance(caught.value, TlsNotMember)
    assert len(str(caught.value)) <= 200


@pytest.mark.parametrize("flip", range(0, 900, 97))
def test_an_altered_byte_anywhere_ends_it(flip: int) -> None:
    met = meet(here(), contexts(CA.identity("there")))
    met.client.write(b"x" * 1000)
    data = bytearray(met.client.outgoing())
    data[5 + flip] ^= 1
    met.server.feed(bytes(data))
    with pytest.raises(TlsFailed):
        met.server.read()


def test_the_peer_cannot_renegotiate() -> None:
    context = lenient(CA.issue("restless"), CA)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    peer = Peer(context, False)
    we = TlsSession(here(), True, (SESSION,))
    met = Met(peer, we)  # type: ignore[arg-type]
    carry(met)
    assert (met.client_error, met.server_error) == (None, None)
    peer.connection.renegotiate()
    carry(met)
    # Refused by an alert, after which nothing of the new handshake is answered.
    assert "no renegotiation" in str(met.client_error)
    assert peer.connection.total_renegotiations() <= 1


def test_the_chain_that_is_judged_is_the_one_that_was_proved() -> None:
    """A member's certificate sent along with an outsider's own does not count."""
    member = CA.issue("member")
    outsider = Authority().issue("outsider")
    for chain in ((member.certificate,), (CA.certificate,), (member.certificate, CA.certificate)):
        context = lenient(replace(outsider, chain=chain), CA)
        we = TlsSession(here(), True, (SESSION,))
        met = Met(Peer(context, False), we)  # type: ignore[arg-type]
        carry(met)
        assert isinstance(met.server_error, TlsNotMember)


def test_certificates_of_no_use_that_are_sent_along_do_no_harm() -> None:
    member = CA.issue("member")
    extra = tuple(Authority(name=f"extra {number}").certificate for number in range(5))
    context = lenient(replace(member, chain=extra), CA)
    we = TlsSession(here(), True, (SESSION,))
    met = Met(Peer(context, False), we)  # type: ignore[arg-type]
    carry(met)
    assert met.server_error is None
    assert we.member.name == "member"
    assert isinstance(we.chain[0], x509.Certificate)


class Panic(BaseException):
    """As pyo3's, which is no Exception."""


@pytest.mark.parametrize("server", [False, True], ids=["as client", "as server"])
def test_a_panic_over_a_certificate_refuses_it_and_no_other(server: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, there = here(), contexts(CA.identity("there"))

    def panic(*_: object, **__: object) -> None:
        raise Panic

    with monkeypatch.context() as patch:
        patch.setattr(ours.membership, "check", panic)
        met = meet(there, ours) if server else meet(ours, there)
    refused = met.server_error if server else met.client_error
    assert isinstance(refused, TlsNotMember)
    assert "cannot be read: Panic" in str(refused)
    met = meet(there, ours) if server else meet(ours, there)
    assert (met.client_error, met.server_error) == (None, None)
