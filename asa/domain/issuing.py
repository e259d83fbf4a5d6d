"""Certificates and revocation lists, built and signed (RFC 5280, RFC 8994 §6.2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from asa.domain.keys import PrivateKey, PublicKey
from grasp.security import AcpName, acp_other_name

DAY_S: Final = 86_400
EARLIER_S: Final = 3_600
"""So much before now a certificate begins: clocks differ."""
CRL_LIFE_S: Final = 7 * DAY_S
_LONGEST_O: Final = 64


def instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """SHA-256 is what all must support, SHA-384 what P-384 is worth."""
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256
    return hashes.SHA384() if strong else hashes.SHA256()


def root(key: PrivateKey, domain: str, now: float, days: int) -> x509.Certificate:
    """A trust anchor: it issues to nodes, never to another CA."""
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    # Two CAs of one domain have different names.
    names = [x509.NameAttribute(NameOID.COMMON_NAME, f"domain CA {identifier.digest.hex()[:16]}")]
    if len(domain) <= _LONGEST_O:
        names.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, domain))
    name = x509.Name(names)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(instant(now - EARLIER_S))
        .not_valid_after(instant(now + days * DAY_S))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, digest_for(key))
    )


def leaf(
    ca: x509.Certificate,
    key: PrivateKey,
    public: PublicKey,
    name: str,
    acp_name: AcpName,
    now: float,
    days: int,
    crl_url: str = "",
) -> x509.Certificate:
    """A node's certificate; it ends no later than the CA's."""
    ecdsa = isinstance(public, ec.EllipticCurvePublicKey)
    ends = min(instant(now + days * DAY_S), ca.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(ca.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(instant(now - EARLIER_S), ca.not_valid_before_utc))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_agreement=ecdsa), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([acp_other_name(acp_name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_authority(ca), critical=False)
    )
    if crl_url:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(key, digest_for(key))


def revocation_list(
    ca: x509.Certificate, key: PrivateKey, number: int, now: float, revoked: Iterable[tuple[int, int]]
) -> x509.CertificateRevocationList:
    """``revoked``: serials, and since when (UNIX s)."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(instant(now))
        .next_update(instant(now + CRL_LIFE_S))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority(ca), critical=False)
    )
    for serial, since in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(instant(since)).build()
        )
    return builder.sign(key, digest_for(key))


def common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _authority(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(
    *, digital_signature: bool = False, key_agreement: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
