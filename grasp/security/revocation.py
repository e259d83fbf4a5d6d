"""Certificate revocation lists (RFC 5280 §5; rule 3 of RFC 8994 §6.2.3): the newest of each issuer, verified.

Whole lists only: delta lists, indirect lists and lists for attribute certificates are refused. OCSP is not done: a
node would ask a third party about every peer, over a network that may be the one it is about to repair.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from grasp.security.certificates import UNREADABLE, key_weakness, shown
from grasp.security.paths import is_ca

MAX_LIST: Final = 2**20
"""Bytes of one list: about 30,000 certificates."""

MAX_LISTS: Final = 32
"""Issuers, keys and scopes with a list of their own; one more is refused."""

_DIGESTS: Final = ("sha256", "sha384", "sha512")
_PEM: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"


class BadCrl(ValueError):
    """No list, of a kind that is not supported, or not signed by one of the issuers; the text says which."""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A verified CRL."""

    issuer: x509.Name
    key: bytes
    """SHA-256 of the issuer's SubjectPublicKeyInfo."""
    scope: bytes
    """DER of its issuingDistributionPoint; empty: all certificates of the issuer."""
    number: int | None
    this_update: float
    """UNIX s, as ``next_update``."""
    next_update: float | None
    taken: float
    """UNIX s: when this node got it."""
    serials: frozenset[int] = field(repr=False)
    der: bytes = field(repr=False)

    def newer_than(self, other: RevocationList) -> bool:
        """By the number (RFC 5280 §5.2.3), or by the time where one has none."""
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number > other.number
        return self.this_update > other.this_update

    def current(self, now: float) -> bool:
        """Whether no newer one is due. What an overdue one revokes stays revoked."""
        return self.next_update is None or now <= self.next_update


class Revocations:
    """The newest list of each issuer. Thread-safe; its lock is held while nothing else is taken or verified."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: dict[tuple[bytes, bytes, bytes], RevocationList] = {}
        self._by_issuer: dict[bytes, tuple[RevocationList, ...]] = {}
        self._version = 0

    @property
    def version(self) -> int:
        """Grows with each list that is added."""
        return self._version

    def lists(self) -> tuple[RevocationList, ...]:
        with self._lock:
            return tuple(self._lists.values())

    def add(self, data: bytes, issuers: Iterable[x509.Certificate], now: float) -> bool:
        """Take a list in DER or PEM that one of ``issuers`` signed; whether it is newer than what was there.

        ``issuers`` have a path to a trust anchor already; ``now`` is UNIX s. Its times are not judged: what a list
        revokes is revoked, whatever the clock here says. Raises :class:`BadCrl`.
        """
        return self.take(read_crl(data, issuers, now))

    def take(self, new: RevocationList) -> bool:
        """As :meth:`add`, of what was verified. Raises :class:`BadCrl` if there are too many."""
        name = new.issuer.public_bytes()
        key = (name, new.key, new.scope)
        with self._lock:
            known = self._lists.get(key)
            if known is not None and not new.newer_than(known):
                return False
            if known is None and len(self._lists) >= MAX_LISTS:
                raise BadCrl(f"lists of {MAX_LISTS} issuers are held already")
            self._lists[key] = new
            self._by_issuer[name] = tuple(each for each in self._lists.values() if each.issuer == new.issuer)
            self._version += 1
        return True

    def revoked(self, certificate: x509.Certificate) -> bool:
        """Whether a list of its issuer has its serial number.

        Issuer and number are unique together (RFC 5280 §4.1.2.2), so after a CA has changed its key the lists of both
        keys count.
        """
        serial = certificate.serial_number
        return any(serial in each.serials for each in self.of(certificate))

    def of(self, certificate: x509.Certificate) -> tuple[RevocationList, ...]:
        """The lists of the certificate's issuer."""
        if not self._by_issuer:
            return ()
        return self._by_issuer.get(certificate.issuer.public_bytes(), ())


def read_crl(data: bytes, issuers: Iterable[x509.Certificate], now: float) -> RevocationList:
    """A list in DER or PEM and the proof that one of ``issuers`` signed it. Raises :class:`BadCrl`."""
    if len(data) > 2 * MAX_LIST:
        raise BadCrl(f"a list of {len(data)} bytes: more than {MAX_LIST}")
    try:
        read = x509.load_pem_x509_crl if _PEM in data else x509.load_der_x509_crl
        found = read(data)
        return _verified(found, issuers, now)
    except BadCrl:
        raise
    except UNREADABLE:
        raise BadCrl("no certificate revocation list") from None


def crls_from_pem(data: bytes) -> tuple[bytes, ...]:
    """The lists in a PEM file, each still in PEM and not looked into."""
    found = []
    for each in data.split(_PEM)[1 : MAX_LISTS + 1]:
        body, end, _ = each.partition(_END)
        found.append(_PEM + body + end + b"\n")
    return tuple(found)


def crl_pem(found: RevocationList) -> bytes:
    """The list in PEM."""
    return x509.load_der_x509_crl(found.der).public_bytes(Encoding.PEM)


def _verified(found: x509.CertificateRevocationList, issuers: Iterable[x509.Certificate], now: float) -> RevocationList:
    der = found.public_bytes(Encoding.DER)
    if len(der) > MAX_LIST:
        raise BadCrl(f"a list of {len(der)} bytes: more than {MAX_LIST}")
    scope = _scope(found)
    digest = found.signature_hash_algorithm
    if digest is None or digest.name not in _DIGESTS:
        raise BadCrl("a list signed without SHA-256, SHA-384 or SHA-512")
    for issuer in issuers:
        if issuer.subject != found.issuer or not _may_sign(issuer):
            continue
        key = issuer.public_key()
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or key_weakness(key):
            continue
        if found.is_signature_valid(key):
            break
    else:
        raise BadCrl(f"a list of {shown(found.issuer)}, signed by none of the issuers that are trusted here")
    hashed = hashes.Hash(hashes.SHA256())
    hashed.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    until = found.next_update_utc
    return RevocationList(
        issuer=found.issuer,
        key=hashed.finalize(),
        scope=scope,
        number=_number(found),
        this_update=found.last_update_utc.timestamp(),
        next_update=until.timestamp() if until is not None else None,
        taken=now,
        serials=frozenset(each.serial_number for each in found),
        der=der,
    )


def _may_sign(issuer: x509.Certificate) -> bool:
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return is_ca(issuer)
    return is_ca(issuer) and usage.crl_sign


def _number(found: x509.CertificateRevocationList) -> int | None:
    try:
        return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _scope(found: x509.CertificateRevocationList) -> bytes:
    scope = b""
    for each in found.extensions:
        if isinstance(each.value, x509.DeltaCRLIndicator):
            raise BadCrl("a delta list: only whole ones are supported")
        if isinstance(each.value, x509.IssuingDistributionPoint):
            if each.value.indirect_crl or each.value.only_contains_attribute_certs:
                raise BadCrl("an indirect list, or one of attribute certificates: not supported")
            scope = each.value.public_bytes()
        elif each.critical and not isinstance(each.value, x509.CRLNumber | x509.AuthorityKeyIdentifier):
            raise BadCrl(f"a list with the critical extension {each.oid.dotted_string}, which is not known")
    return scope
