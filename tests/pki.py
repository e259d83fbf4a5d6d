"""A PKI for tests, which can also make what no CA should. It shares no code with the product's CA.

ca = Authority("acp.example.com")
rack = ca.issue("rack-7")                      # Issued(key, certificate, chain)
ca.write(tmp_path / "rack-7", rack)            # certificate.pem, key.pem, trust.pem
identity = ca.identity("rack-8")               # grasp.security.Identity
below = Authority("acp.example.com", "below", issuer=ca)
ca.revoke(rack)
ca.crl()                                       # PEM
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from grasp.security import Identity

DAY: Final = 86_400.0

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-224": ec.SECP224R1(),
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "SHA-224": hashes.SHA224(),
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}
_ACP_NODE_NAME: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.10")
_serials = itertools.count(0x1000)
_addresses = itertools.count(1)
_rsa_keys: dict[str, rsa.RSAPrivateKey] = {}


def new_key(algorithm: str = "P-256", *, fresh: bool = False) -> PrivateKey:
    """``P-256``, ``P-384``, ``P-521``, ``P-224``, ``secp256k1``, ``RSA-2048`` (any size), ``Ed25519``.

    RSA keys take long to make: one of each size is used again unless ``fresh``.
    """
    if algorithm == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    bits = int(algorithm.removeprefix("RSA-"))
    if fresh:
        return rsa.generate_private_key(65_537, bits)
    if algorithm not in _rsa_keys:
        _rsa_keys[algorithm] = rsa.generate_private_key(65_537, bits)
    return _rsa_keys[algorithm]


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS #8."""
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        hidden = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def ia5(text: str | bytes) -> bytes:
    """DER of an IA5String; bytes are taken as they are, valid or not."""
    content = text.encode("ascii") if isinstance(text, str) else text
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x81" + bytes([size]) if size < 0x100 else b"\x82" + size.to_bytes(2)
    return b"\x16" + length + content


def acp_other_name(text: str | bytes) -> x509.OtherName:
    return x509.OtherName(_ACP_NODE_NAME, ia5(text))


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _usage(names: Iterable[str]) -> x509.KeyUsage:
    known = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    wanted = set(names)
    assert wanted <= set(known)
    return x509.KeyUsage(**{each: each in wanted for each in known})


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and the intermediates up to the trust anchor, which is left out."""

    key: PrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]

    @property
    def whole(self) -> tuple[x509.Certificate, ...]:
        """As a peer presents it: the leaf, then the intermediates."""
        return (self.certificate, *self.chain)


class Authority:
    """A CA: self-signed, or under ``issuer``."""

    def __init__(
        self,
        domain: str = "acp.example.com",
        name: str = "ca",
        issuer: Authority | None = None,
        algorithm: str = "P-256",
        *,
        key: PrivateKey | None = None,
        not_before: float | None = None,
        not_after: float | None = None,
        **odd: Any,
    ) -> None:
        """``odd`` as for :meth:`issue`."""
        self.domain = domain
        self.name = name
        self.issuer = issuer
        self.key = key or new_key(algorithm)
        self.revoked: list[tuple[int, float]] = []
        self._numbers = itertools.count(1)
        odd = {"ca": True, "usage": ("key_cert_sign", "crl_sign", "digital_signature"), "acp": (), **odd}
        self.certificate = (issuer or self)._sign(
            name, self.key, not_before, not_after, odd, self_signed=issuer is None
        )

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """This one's certificate and those above it, without the trust anchor."""
        return () if self.issuer is None else (self.certificate, *self.issuer.chain)

    @property
    def anchor(self) -> x509.Certificate:
        return self.certificate if self.issuer is None else self.issuer.anchor

    def acp_name(self, address: str | None = None) -> str:
        """A new AcpNodeName of the domain."""
        local = f"fd89b714f3db{next(_addresses):020x}" if address is None else address
        return f"{local}@{self.domain}"

    def issue(
        self,
        name: str,
        acp_name: str | bytes | Sequence[str | bytes] | None = None,
        *,
        not_before: float | None = None,
        not_after: float | None = None,
        key: PrivateKey | None = None,
        algorithm: str = "P-256",
        **odd: Any,
    ) -> Issued:
        """A certificate for ``name`` (CN; "" = no subject).

        ``acp_name``: None = a new one of the domain; a text or raw bytes; several; ``()`` = no AcpNodeName.
        Times in UNIX s; by default from a day ago for a year. ``odd``: ``ca`` (None = no basicConstraints),
        ``path_length``, ``usage`` (names of KeyUsage bits, None = no extension), ``digest`` ("SHA-256"),
        ``pss``, ``serial``, ``subject`` (x509.Name), ``names`` (further GeneralNames), ``san_critical``,
        ``extensions`` ((x509.ExtensionType, critical) …), ``crl_urls``, ``signer`` (the key that signs instead
        of the CA's), ``issuer_name`` (x509.Name), ``identifiers`` (False = no SKI, no AKI), ``eku`` (OIDs).
        """
        texts = (acp_name,) if isinstance(acp_name, str | bytes) else acp_name
        odd = {"ca": False, "usage": ("digital_signature", "key_agreement"), **odd}
        odd["acp"] = (self.acp_name(),) if texts is None else tuple(texts)
        key = key or new_key(algorithm)
        return Issued(key, self._sign(name, key, not_before, not_after, odd), self.chain)

    def _sign(
        self,
        name: str,
        key: PrivateKey,
        not_before: float | None,
        not_after: float | None,
        odd: dict[str, Any],
        self_signed: bool = False,
    ) -> x509.Certificate:
        now = time.time()
        subject = odd.pop("subject", None)
        if subject is None:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        issuer = odd.pop("issuer_name", None) or (subject if self_signed else self.certificate.subject)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(odd.pop("serial", None) or next(_serials))
            .not_valid_before(_when(now - DAY if not_before is None else not_before))
            .not_valid_after(_when(now + 365 * DAY if not_after is None else not_after))
        )
        ca, length = odd.pop("ca"), odd.pop("path_length", None)
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, length), critical=True)
        if (usage := odd.pop("usage")) is not None:
            builder = builder.add_extension(_usage(usage), critical=True)
        if (eku := odd.pop("eku", None)) is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
        if odd.pop("identifiers", True):
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(above, critical=False)
        names = [*map(acp_other_name, odd.pop("acp")), *odd.pop("names", ())]
        critical = odd.pop("san_critical", False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
        if urls := odd.pop("crl_urls", ()):
            points = [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in urls]
            builder = builder.add_extension(x509.CRLDistributionPoints(points), critical=False)
        for extension, critical in odd.pop("extensions", ()):
            builder = builder.add_extension(extension, critical=critical)
        signer = odd.pop("signer", None) or self.key
        digest, pss = _digest(signer, odd.pop("digest", None)), odd.pop("pss", False)
        assert not odd, odd
        if pss:
            assert digest is not None
            return builder.sign(signer, digest, rsa_padding=padding.PSS(padding.MGF1(digest), digest.digest_size))
        return builder.sign(signer, digest)

    def revoke(self, issued: Issued | x509.Certificate) -> None:
        certificate = issued.certificate if isinstance(issued, Issued) else issued
        self.revoked.append((certificate.serial_number, time.time()))

    def crl(
        self,
        number: int | None = None,
        *,
        this_update: float | None = None,
        next_update: float | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        signer: PrivateKey | None = None,
        issuer_name: x509.Name | None = None,
        numbered: bool = True,
        der: bool = False,
    ) -> bytes:
        """All it has revoked, in PEM. ``number`` counts up from 1 unless given."""
        now = time.time()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer_name or self.certificate.subject)
            .last_update(_when(now - 60 if this_update is None else this_update))
            .next_update(_when(now + DAY if next_update is None else next_update))
        )
        if numbered:
            number = next(self._numbers) if number is None else number
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        for serial, when in self.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_when(when))
            builder = builder.add_revoked_certificate(entry.build())
        key = signer or self.key
        made = builder.sign(key, _digest(key, None))
        return made.public_bytes(serialization.Encoding.DER if der else serialization.Encoding.PEM)

    def identity(self, name: str, issued: Issued | None = None, trust: Sequence[x509.Certificate] = ()) -> Identity:
        """An identity in memory, of a new certificate for ``name`` or of ``issued``."""
        from grasp.security import Identity

        issued = issued or self.issue(name)
        assert isinstance(issued.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        return Identity(issued.key, issued.certificate, issued.chain, tuple(trust) or (self.anchor,))

    def write(
        self,
        directory: Path,
        issued: Issued,
        trust: Sequence[x509.Certificate] | None = None,
        crls: Iterable[bytes] = (),
    ) -> Path:
        """The identity directory: certificate.pem, key.pem, trust.pem and, with ``crls``, crl.pem."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "certificate.pem").write_bytes(pem(*issued.whole))
        (directory / "trust.pem").write_bytes(pem(*((self.anchor,) if trust is None else trust)))
        if lists := b"".join(crls):
            (directory / "crl.pem").write_bytes(lists)
        path = directory / "key.pem"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key_pem(issued.key))
        return directory


def _digest(key: PrivateKey, name: str | None) -> Any:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if name is None:
        size = key.curve.key_size if isinstance(key, ec.EllipticCurvePrivateKey) else 256
        name = "SHA-256" if size <= 256 else "SHA-384" if size <= 384 else "SHA-512"
    return _HASHES[name]


def fingerprint(certificate: x509.Certificate) -> bytes:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
