"""A member's seal over bytes that pass through others: COSE_Sign1 (RFC 9052 §4.2), detached, with its certificates.

The seal is ``[protected, {33: x5chain}, nil, signature]``, untagged: the algorithm protected, the certificates (RFC
9360 §2) not, for the signature already binds their key and the membership check the rest. What the seal is for, the
context, is the external_aad, so that a seal for one thing is none for another. No I/O.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from grasp import cbor
from grasp.member import Member
from grasp.security.certificates import BadCertificate, certificate_from_der, der
from grasp.security.identity import Identity, PrivateKey
from grasp.security.membership import Membership
from grasp.security.paths import MAX_PRESENTED

MAX_PAYLOAD: Final = 65_536
"""Bytes."""

MAX_SEAL: Final = 12_288
"""Bytes of its certificates and its signature."""

_X5CHAIN: Final = 33
_PS256: Final = -37
_ES: Final[dict[str, tuple[int, hashes.HashAlgorithm]]] = {
    "secp256r1": (-7, hashes.SHA256()),
    "secp384r1": (-35, hashes.SHA384()),
    "secp521r1": (-36, hashes.SHA512()),
}
_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
_MAX_SIGNATURE: Final = 1_024
"""Bytes: RSA of 8,192 bits."""


class BadSeal(ValueError):
    """No seal, or not over this; the text says why."""


def seal(identity: Identity, context: str, payload: bytes) -> list[Any]:
    """The seal, for CBOR. Raises ValueError if payload or certificates are too long to be accepted anywhere."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes to seal: at most {MAX_PAYLOAD}")
    protected = cbor.encode({1: _algorithm(identity.key)})
    signed = _signed(protected, context, payload)
    key = identity.key
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed, _PSS, hashes.SHA256())
    else:
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(_ES[key.curve.name][1])))
        signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    certificates = [der(each) for each in identity.whole]
    if sum(map(len, certificates)) + len(signature) > MAX_SEAL:
        raise ValueError(f"the certificates of {identity.name} make a seal of more than {MAX_SEAL} bytes")
    return [protected, {_X5CHAIN: certificates if len(certificates) > 1 else certificates[0]}, None, signature]


def unseal(membership: Membership, context: str, payload: bytes, seal: object, now: float) -> Member:
    """The member who sealed ``payload`` for ``context``; ``seal`` as decoded from CBOR, ``now`` UNIX s.

    Raises :class:`BadSeal`, or :class:`NotMember` if its certificate is not good now.
    """
    protected, certificates, signature = _parts(seal)
    if len(payload) > MAX_PAYLOAD:
        raise BadSeal(f"{len(payload)} bytes sealed: at most {MAX_PAYLOAD}")
    try:
        chain = tuple(certificate_from_der(each) for each in certificates)
    except BadCertificate as error:
        raise BadSeal(str(error)) from None
    member = membership.check(chain, now)
    _verify(chain[0], protected, _signed(protected, context, payload), signature)
    return member


def _parts(seal: object) -> tuple[bytes, list[bytes], bytes]:
    if type(seal) is not list or len(seal) != 4:
        raise BadSeal("no COSE_Sign1: not an array of four")
    protected, unprotected, payload, signature = seal
    if type(protected) is not bytes or type(signature) is not bytes or payload is not None:
        raise BadSeal("no COSE_Sign1 with a detached payload")
    if type(unprotected) is not dict or [(type(each), each) for each in unprotected] != [(int, _X5CHAIN)]:
        raise BadSeal("no x5chain, or more beside it, in the unprotected header")
    found = unprotected[_X5CHAIN]
    # A lone certificate is no array (RFC 9360 §2).
    certificates = [found] if type(found) is bytes else found
    if type(certificates) is not list or (type(found) is list and len(found) < 2):
        raise BadSeal("an x5chain that is neither a certificate nor an array of two or more")
    if len(certificates) > MAX_PRESENTED or not all(type(each) is bytes for each in certificates):
        raise BadSeal(f"an x5chain of other things than up to {MAX_PRESENTED} certificates")
    if len(signature) > _MAX_SIGNATURE or sum(map(len, certificates)) + len(signature) > MAX_SEAL:
        raise BadSeal(f"a seal of more than {MAX_SEAL} bytes")
    return protected, certificates, signature


def _verify(leaf: x509.Certificate, protected: bytes, signed: bytes, signature: bytes) -> None:
    key = leaf.public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey), "membership accepts no other"
    # One algorithm for each kind of key: no choice is left to who made the seal.
    if protected != cbor.encode({1: _algorithm(key)}):
        raise BadSeal("its protected header is not the one algorithm of the certificate's key")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, _PSS, hashes.SHA256())
            return
        size = (key.curve.key_size + 7) // 8
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_ES[key.curve.name][1]))
    except InvalidSignature:
        raise BadSeal("the signature is not of the certificate's key over this") from None


def _algorithm(key: PrivateKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> int:
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return _PS256
    return _ES[key.curve.name][0]


def _signed(protected: bytes, context: str, payload: bytes) -> bytes:
    """The Sig_structure (RFC 9052 §4.4)."""
    return cbor.encode(["Signature1", protected, context.encode(), payload])
