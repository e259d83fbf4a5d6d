"""Seals (COSE_Sign1, RFC 9052; x5chain, RFC 9360): written out by hand here, and verified by the command openssl."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from grasp.security import BadSeal, Identity, Membership, NotMember, Revocations, seal, unseal
from tests.pki import DAY, Authority, Issued

DOMAIN = "acp.example.com"
PAYLOAD = b"\x82\x01\x63abc"
CONTEXT = "asa.parameters"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority(DOMAIN)


@pytest.fixture(scope="module")
def rack(ca: Authority) -> Identity:
    return ca.identity("rack-7")


@pytest.fixture
def members(ca: Authority) -> Membership:
    return Membership(DOMAIN, [ca.certificate], Revocations())


def bstr(data: bytes) -> bytes:
    """CBOR of a byte string below 256 bytes, by hand."""
    return (bytes([0x40 + len(data)]) if len(data) < 24 else bytes([0x58, len(data)])) + data


def to_be_signed(protected: bytes, context: bytes, payload: bytes) -> bytes:
    return b"\x84\x6aSignature1" + bstr(protected) + bstr(context) + bstr(payload)


PROTECTED = {
    "P-256": b"\xa1\x01\x26",
    "P-384": b"\xa1\x01\x38\x22",
    "P-521": b"\xa1\x01\x38\x23",
    "RSA-2048": b"\xa1\x01\x38\x24",
}
DIGESTS = {"P-256": "sha256", "P-384": "sha384", "P-521": "sha512", "RSA-2048": "sha256"}


@pytest.mark.parametrize("algorithm", PROTECTED)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_seal_says_who_made_it(ca: Authority, members: Membership, algorithm: str, depth: int) -> None:
    issuer = ca
    for n in range(depth):
        issuer = Authority(DOMAIN, f"ca-{n}", issuer)
    identity = ca.identity("rack-7", issuer.issue("rack-7", algorithm=algorithm))
    made = cbor2.loads(cbor2.dumps(seal(identity, CONTEXT, PAYLOAD)))
    assert unseal(members, CONTEXT, PAYLOAD, made, time.time()) == identity.member


@pytest.mark.parametrize("algorithm", PROTECTED)
def test_openssl_verifies_a_seal(tmp_path: Path, ca: Authority, algorithm: str) -> None:
    issued = ca.issue("rack-7", algorithm=algorithm)
    protected, unprotected, payload, signature = seal(ca.identity("rack-7", issued), CONTEXT, PAYLOAD)
    assert protected == PROTECTED[algorithm]
    assert unprotected == {33: issued.certificate.public_bytes(Encoding.DER)}
    assert payload is None
    options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]
    if algorithm != "RSA-2048":
        options, half = [], len(signature) // 2
        signature = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    (tmp_path / "key.pem").write_bytes(
        issued.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "signed").write_bytes(to_be_signed(protected, CONTEXT.encode(), PAYLOAD))
    command = ["openssl", "dgst", f"-{DIGESTS[algorithm]}", *options, "-verify", "key.pem", "-signature", "signature"]
    done = subprocess.run([*command, "signed"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "Verified OK\n"


def by_hand(issued: Issued, protected: bytes, largest: int = 2**256) -> list[Any]:
    """With an s below ``largest``."""
    assert isinstance(issued.key, ec.EllipticCurvePrivateKey)
    signed = to_be_signed(protected, CONTEXT.encode(), PAYLOAD)
    while True:
        r, s = decode_dss_signature(issued.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        if s < largest:
            leaf = issued.certificate.public_bytes(Encoding.DER)
            return [protected, {33: leaf}, None, r.to_bytes(32) + s.to_bytes(32)]


def test_a_seal_written_by_hand_is_accepted(ca: Authority, members: Membership) -> None:
    made = by_hand(ca.issue("rack-7"), b"\xa1\x01\x26")
    assert unseal(members, CONTEXT, PAYLOAD, made, time.time()).name == "rack-7"


@pytest.mark.parametrize(
    "protected",
    [b"", b"\xa0", b"\xa1\x01\x38\x22", b"\xa2\x01\x26\x02\x81\x18\x2a", b"\xbf\x01\x26\xff"],
    ids=bytes.hex,
)
def test_a_member_has_no_choice_of_the_protected_header(ca: Authority, members: Membership, protected: bytes) -> None:
    with pytest.raises(BadSeal, match="protected header"):
        unseal(members, CONTEXT, PAYLOAD, by_hand(ca.issue("rack-7"), protected), time.time())


def test_a_signature_has_its_whole_length(ca: Authority, members: Membership) -> None:
    made = by_hand(ca.issue("rack-7"), b"\xa1\x01\x26", largest=2**248)
    assert made[3][32] == 0
    assert unseal(members, CONTEXT, PAYLOAD, made, time.time()).name == "rack-7"
    with pytest.raises(BadSeal):
        unseal(members, CONTEXT, PAYLOAD, [*made[:3], made[3][:32] + made[3][33:]], time.time())


def test_a_chain_is_an_array_of_two_or_more(ca: Authority) -> None:
    below = Authority(DOMAIN, "below", ca)
    issued = below.issue("rack-7")
    _, unprotected, _, _ = seal(ca.identity("rack-7", issued), CONTEXT, PAYLOAD)
    assert unprotected == {33: [each.public_bytes(Encoding.DER) for each in issued.whole]}


@pytest.mark.parametrize(
    ("context", "payload"),
    [(CONTEXT, PAYLOAD + b"\x00"), (CONTEXT, b""), ("asa.parameter", PAYLOAD), ("", PAYLOAD), (CONTEXT + "s", PAYLOAD)],
)
def test_a_seal_is_over_one_payload_in_one_context(
    rack: Identity, members: Membership, context: str, payload: bytes
) -> None:
    with pytest.raises(BadSeal):
        unseal(members, context, payload, seal(rack, CONTEXT, PAYLOAD), time.time())


def test_context_and_payload_do_not_run_into_each_other(rack: Identity, members: Membership) -> None:
    with pytest.raises(BadSeal):
        unseal(members, "a", b"bc", seal(rack, "ab", b"c"), time.time())


def test_anothers_certificate_does_not_fit(ca: Authority, rack: Identity, members: Membership) -> None:
    mine = seal(rack, CONTEXT, PAYLOAD)
    theirs = seal(ca.identity("rack-8"), CONTEXT, PAYLOAD)
    with pytest.raises(BadSeal):
        unseal(members, CONTEXT, PAYLOAD, [mine[0], theirs[1], None, mine[3]], time.time())


def test_a_seal_of_no_member_is_refused_by_rule(ca: Authority, members: Membership) -> None:
    foreign = Authority(DOMAIN, "x").identity("rack-7")
    expired = ca.identity("rack-7", ca.issue("rack-7", not_after=time.time() - 5))
    elsewhere = ca.identity("rack-7", ca.issue("rack-7", "0@other.example.com"))
    revoked = ca.issue("rack-7")
    same_key = Authority(DOMAIN, key=ca.key)
    same_key.revoke(revoked)
    members.revocations.add(same_key.crl(), [ca.certificate], time.time())
    rules = []
    for identity in (foreign, expired, ca.identity("rack-7", revoked), elsewhere):
        with pytest.raises(NotMember) as refused:
            unseal(members, CONTEXT, PAYLOAD, seal(identity, CONTEXT, PAYLOAD), time.time())
        rules.append(refused.value.rule)
    assert rules == [2, 2, 3, 4]


def test_a_seal_is_good_while_its_certificate_is(ca: Authority, members: Membership) -> None:
    identity = ca.identity("rack-7", ca.issue("rack-7", not_after=time.time() + DAY))
    made = seal(identity, CONTEXT, PAYLOAD)
    assert unseal(members, CONTEXT, PAYLOAD, made, time.time()).name == "rack-7"
    with pytest.raises(NotMember):
        unseal(members, CONTEXT, PAYLOAD, made, time.time() + 2 * DAY)


MALFORMED: dict[str, Any] = {
    "nothing": lambda p, u, n, s: None,
    "a text": lambda p, u, n, s: "seal",
    "three parts": lambda p, u, n, s: [p, u, n],
    "five parts": lambda p, u, n, s: [p, u, n, s, s],
    "a tuple": lambda p, u, n, s: (p, u, n, s),
    "tagged": lambda p, u, n, s: cbor2.CBORTag(18, [p, u, n, s]),
    "the payload attached": lambda p, u, n, s: [p, u, PAYLOAD, s],
    "no signature": lambda p, u, n, s: [p, u, n, b""],
    "half a signature": lambda p, u, n, s: [p, u, n, s[:32]],
    "a longer signature": lambda p, u, n, s: [p, u, n, s + b"\x00"],
    "a signature of zeros": lambda p, u, n, s: [p, u, n, bytes(64)],
    "a signature beyond the group": lambda p, u, n, s: [p, u, n, b"\xff" * 64],
    "a huge signature": lambda p, u, n, s: [p, u, n, bytes(20_000)],
    "a signature as text": lambda p, u, n, s: [p, u, n, "s"],
    "a signature in DER": lambda p, u, n, s: [
        p,
        u,
        n,
        encode_dss_signature(int.from_bytes(s[:32]), int.from_bytes(s[32:])),
    ],
    "no algorithm": lambda p, u, n, s: [b"\xa0", u, n, s],
    "nothing protected": lambda p, u, n, s: [b"", u, n, s],
    "another algorithm": lambda p, u, n, s: [b"\xa1\x01\x38\x22", u, n, s],
    "the same algorithm written longer": lambda p, u, n, s: [b"\xa1\x01\x38\x06", u, n, s],
    "a critical header": lambda p, u, n, s: [b"\xa2\x01\x26\x02\x81\x18\x2a", u, n, s],
    "protected as a map": lambda p, u, n, s: [{1: -7}, u, n, s],
    "no certificate": lambda p, u, n, s: [p, {}, n, s],
    "more headers": lambda p, u, n, s: [p, {**u, 4: b"kid"}, n, s],
    "another key for x5chain": lambda p, u, n, s: [p, {33.0: u[33]}, n, s],
    "an x5chain of one in an array": lambda p, u, n, s: [p, {33: [u[33]]}, n, s],
    "an empty x5chain": lambda p, u, n, s: [p, {33: []}, n, s],
    "an x5chain of numbers": lambda p, u, n, s: [p, {33: [1, 2]}, n, s],
    "an x5chain of text": lambda p, u, n, s: [p, {33: "c"}, n, s],
    "too many certificates": lambda p, u, n, s: [p, {33: [u[33]] * 7}, n, s],
    "too long a certificate": lambda p, u, n, s: [p, {33: bytes(13_000)}, n, s],
    "no X.509": lambda p, u, n, s: [p, {33: b"\x30\x00"}, n, s],
    "headers in an array": lambda p, u, n, s: [p, [33, u[33]], n, s],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_such_seal_is_refused(rack: Identity, members: Membership, name: str) -> None:
    malformed = MALFORMED[name](*seal(rack, CONTEXT, PAYLOAD))
    with pytest.raises(BadSeal) as refused:
        unseal(members, CONTEXT, PAYLOAD, malformed, time.time())
    assert 0 < len(str(refused.value)) < 200


def test_a_flipped_bit_breaks_it_and_raises_nothing_else(rack: Identity, members: Membership) -> None:
    made = seal(rack, CONTEXT, PAYLOAD)
    original = cbor2.dumps(made)
    chance = random.Random(3)
    judged = 0
    for _ in range(500):
        data = bytearray(original)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            found = cbor2.loads(bytes(data))
        except Exception:
            continue
        judged += 1
        try:
            unseal(members, CONTEXT, PAYLOAD, found, time.time())
        except (BadSeal, NotMember):
            continue
        # Only in the certificate, around what the CA signed.
        assert [found[0], found[2], found[3]] == [made[0], None, made[3]]
        certificate = x509.load_der_x509_certificate(found[1][33])
        assert certificate.tbs_certificate_bytes == rack.certificate.tbs_certificate_bytes
    assert judged > 100


def test_what_is_too_long_is_neither_sealed_nor_looked_at(rack: Identity, members: Membership) -> None:
    with pytest.raises(ValueError, match="at most"):
        seal(rack, CONTEXT, bytes(65_537))
    with pytest.raises(BadSeal, match="at most"):
        unseal(members, CONTEXT, bytes(65_537), seal(rack, CONTEXT, b""), time.time())


def test_a_seal_with_more_certificates_than_others_take_is_not_made(ca: Authority) -> None:
    chain = [ca.issue("x", "0++" + "e" * 6_000 + f"@{DOMAIN}").certificate for _ in range(2)]
    issued = ca.issue("rack-7")
    identity = Identity(ca.identity("rack-7", issued).key, issued.certificate, tuple(chain), (ca.certificate,))
    with pytest.raises(ValueError, match="12288"):
        seal(identity, CONTEXT, PAYLOAD)
