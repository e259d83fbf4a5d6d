"""Reading certificates: PEM and DER, names, and which keys are too weak (RFC 8994 §6.2.1). No I/O."""

from __future__ import annotations

import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from grasp.security.acp_name import ACP_NAME_OID, AcpName, InvalidAcpName, decode_acp_name, encode_acp_name

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MAX_CERTIFICATE: Final = 16_384
"""Bytes of DER. A certificate of P-256 has about 600."""

MAX_CERTIFICATES: Final = 16
"""In one file."""

_OTHER_NAME: Final = x509.ObjectIdentifier(ACP_NAME_OID)
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}", re.ASCII)
_RSA_BITS: Final = 2_048
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_ALLOWED: Final = "P-256, P-384 or P-521"
_DIGESTS: Final = ("sha256", "sha384", "sha512")
_BEGIN: Final = b"-----BEGIN "


UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What a part of a certificate or a list may raise when it is looked at: only the outermost DER is parsed before."""


class BadCertificate(ValueError):
    """Bytes that are no certificate, or not as many as they should be."""


def certificate_from_der(data: bytes) -> x509.Certificate:
    """Raises :class:`BadCertificate`. What is inside is parsed when it is asked for, not here."""
    if len(data) > MAX_CERTIFICATE:
        raise BadCertificate(f"a certificate of {len(data)} bytes: more than {MAX_CERTIFICATE}")
    try:
        return x509.load_der_x509_certificate(data)
    except UNREADABLE as error:
        raise BadCertificate(f"no X.509 certificate: {plain(error)}") from None


def certificates_from_pem(data: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM file, at least one. Raises :class:`BadCertificate`."""
    if _BEGIN not in data:
        raise BadCertificate('no PEM: there is no "-----BEGIN CERTIFICATE-----"')
    if data.count(_BEGIN) > MAX_CERTIFICATES:
        raise BadCertificate(f"more than {MAX_CERTIFICATES} certificates")
    try:
        found = tuple(x509.load_pem_x509_certificates(data))
    except UNREADABLE as error:
        raise BadCertificate(f"no X.509 certificate in PEM: {plain(error)}") from None
    if not found:
        raise BadCertificate("there is no certificate in it")
    for each in found:
        certificate_from_der(der(each))
    return found


def der(certificate: x509.Certificate) -> bytes:
    """The certificate's bytes."""
    return certificate.public_bytes(Encoding.DER)


def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate.

    It tells nobody apart: the bytes around what the CA signed can be changed (ECDSA's s and -s). Issuer and serial
    number do.
    """
    return certificate.fingerprint(hashes.SHA256())


def is_node_name(text: str) -> bool:
    """Whether an objective could call a node so: 1 to 63 of A-Z, a-z, 0-9, "_", "." and "-"."""
    return _NAME.fullmatch(text) is not None


def common_name(certificate: x509.Certificate) -> str:
    """The CN of the subject if it has exactly one and that is a node's name, else ""."""
    try:
        found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UNREADABLE:
        return ""
    if len(found) != 1:
        return ""
    value = found[0].value
    return value if isinstance(value, str) and is_node_name(value) else ""


def acp_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The texts of all its AcpNodeNames. Raises :class:`InvalidAcpName` if its extensions or one are no DER."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except UNREADABLE as error:
        raise InvalidAcpName(f"its extensions cannot be read: {plain(error)}") from None
    ours = (each for each in names if isinstance(each, x509.OtherName) and each.type_id == _OTHER_NAME)
    return tuple(decode_acp_name(each.value) for each in ours)


def crl_points(certificate: x509.Certificate) -> tuple[tuple[str, ...], ...]:
    """Its CRL distribution points, the URIs of each; none if the extension cannot be read."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return ()
    return tuple(
        tuple(name.value for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier))
        for point in points
    )


def crl_urls(certificate: x509.Certificate) -> tuple[str, ...]:
    """All of them in one row."""
    return tuple(url for urls in crl_points(certificate) for url in urls)


def acp_other_name(name: AcpName | str) -> x509.OtherName:
    """The GeneralName for a certificate or a request. Raises :class:`InvalidAcpName`."""
    return x509.OtherName(_OTHER_NAME, encode_acp_name(name))


def key_weakness(key: object) -> str | None:
    """What §6.2.1 has against a public or private key, to be put after "has"; None if nothing."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return None if key.key_size >= _RSA_BITS else f"an RSA key of {key.key_size} bits instead of {_RSA_BITS}"
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return None if key.curve.name in _CURVES else f"a key on the curve {key.curve.name} instead of {_ALLOWED}"
    # The order of Ed25519's group is below 256 bits.
    return f"a key that is neither RSA nor on {_ALLOWED}"


def weakness(certificate: x509.Certificate) -> str | None:
    """What §6.2.1 has against the certificate's version, key or signature, to be put after "has"; None if nothing."""
    if certificate.version is not x509.Version.v3:
        return "version 1 of X.509 instead of 3"
    try:
        key: object = certificate.public_key()
        digest = certificate.signature_hash_algorithm
    except UNREADABLE as error:
        return f"a key or signature of an unknown kind: {plain(error)}"
    if weak := key_weakness(key):
        return weak
    if digest is None or digest.name not in _DIGESTS:
        return f"a signature with {digest.name if digest else 'no digest'} instead of SHA-256, SHA-384 or SHA-512"
    return None


def shown(name: x509.Name) -> str:
    """A distinguished name for a message to people, bounded, without control characters."""
    return plain(name.rfc4514_string() or "(no name)")


def plain(text: object) -> str:
    """Foreign text for a message to people: bounded, printable, ASCII."""
    line = ascii(str(text))[1:-1]
    return line if len(line) <= 128 else line[:128] + "…"
