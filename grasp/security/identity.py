"""Who a node is in its domain: key, certificate, trust anchors, and the directory they are kept in."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from grasp.errors import ErrorCode, LocalError
from grasp.member import Member
from grasp.security.acp_name import AcpName
from grasp.security.certificates import (
    UNREADABLE,
    BadCertificate,
    certificates_from_pem,
    common_name,
    fingerprint,
    key_weakness,
    weakness,
)
from grasp.security.durable import sync_directory, write_durably
from grasp.security.membership import Membership, NotMember, node_name
from grasp.security.paths import MAX_ANCHORS, MAX_PRESENTED, ends
from grasp.security.revocation import MAX_LIST, BadCrl, Revocations, crls_from_pem

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Stamp = tuple[tuple[int, int, int] | None, ...]

CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
TRUST: Final = "trust.pem"
CRL: Final = "crl.pem"
NEXT_KEY: Final = "key.next.pem"
"""The key of a certificate that is about to be, or has just been put in place: see :func:`save`."""

_MAX_FILE: Final = 2**18
_MAX_CRLS: Final = 8 * MAX_LIST


class BadIdentity(LocalError):
    """An identity that cannot be used; ``problems`` are all of them, each for people."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(ErrorCode.badIdentity, "; ".join(self.problems))


@dataclass(frozen=True, eq=False)
class Identity:
    """One node's. Raises :class:`BadIdentity` if its parts do not belong together or are too weak.

    Whether it is valid now, and by its own trust anchors, :func:`problems` says.
    """

    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    """Intermediates, presented with the certificate."""
    trust: tuple[x509.Certificate, ...]

    def __post_init__(self) -> None:
        if found := _unfit(self.key, self.certificate, self.chain, self.trust):
            raise BadIdentity(found)

    @property
    def whole(self) -> tuple[x509.Certificate, ...]:
        """As it is presented: the certificate, then the intermediates."""
        return (self.certificate, *self.chain)

    @property
    def name(self) -> str:
        """The node's name: the common name; empty if there is none."""
        return common_name(self.certificate)

    @property
    def domain(self) -> str:
        """In lower case."""
        return self.acp_name.domain

    @cached_property
    def acp_name(self) -> AcpName:
        return node_name(self.certificate)[1]

    @cached_property
    def member(self) -> Member:
        """As others see it, if they accept it."""
        text, name = node_name(self.certificate)
        try:
            path = self.membership(check_times=False).path(self.whole, 0.0)
        except NotMember:
            path = self.whole
        until = min(map(ends, path))
        return Member(common_name(self.certificate), text, name.domain, fingerprint(self.certificate), int(until))

    def membership(self, revocations: Revocations | None = None, *, check_times: bool = True) -> Membership:
        """The check of others, for this identity's domain and trust anchors."""
        return Membership(self.domain, self.trust, revocations, check_times=check_times)

    @classmethod
    def load(cls, directory: Path | str, *, check_times: bool = True) -> Identity:
        """From ``certificate.pem`` (leaf, then intermediates), ``key.pem`` and ``trust.pem``.

        Raises :class:`BadIdentity` with all that is wrong; without ``check_times`` lifetimes are not (§6.2.3.1).
        """
        found, wrong = _look(Path(directory), time.time() if check_times else None)
        if found is None or wrong:
            raise BadIdentity(wrong)
        return found

    def save(self, directory: Path | str) -> None:
        """See :func:`save`."""
        save(directory, key=self.key, certificates=self.whole, trust=self.trust)


def problems(directory: Path | str, now: float) -> list[str]:
    """All that is wrong with the identity in ``directory`` at ``now`` (UNIX s), each what, where and what to do."""
    return _look(Path(directory), now)[1]


def save(
    directory: Path | str,
    *,
    key: PrivateKey | None = None,
    certificates: Iterable[x509.Certificate] = (),
    trust: Iterable[x509.Certificate] = (),
) -> None:
    """Put in place what is given: each file atomically and durably, the key with mode 0600.

    A new key comes into force together with its certificate: it is first written as ``key.next.pem``, which
    :meth:`Identity.load` also tries, so that a crash at any moment leaves the old pair or the new one. Trust anchors
    come first: those of the certificate in place must be among them. Raises OSError.
    """
    place = Path(directory)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if anchors := tuple(trust):
        write_durably(place / TRUST, _pem(anchors), 0o644)
    if key is not None:
        write_durably(place / NEXT_KEY, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    if whole := tuple(certificates):
        write_durably(place / CERTIFICATE, _pem(whole), 0o644)
    if key is not None:
        os.replace(place / NEXT_KEY, place / KEY)
        sync_directory(place)


def load_crls(directory: Path | str) -> tuple[bytes, ...]:
    """The lists in ``crl.pem``, for :meth:`Revocations.add`; none if there is no such file.

    Raises :class:`BadIdentity` if it cannot be read.
    """
    try:
        return crls_from_pem(_read(Path(directory) / CRL, _MAX_CRLS))
    except FileNotFoundError:
        return ()
    except (OSError, BadCertificate) as error:
        raise BadIdentity([_told(Path(directory) / CRL, error)]) from None


def save_crls(directory: Path | str, lists: Iterable[bytes]) -> None:
    """Replace ``crl.pem``, atomically and durably, by ``lists`` in PEM. Raises OSError."""
    write_durably(Path(directory) / CRL, b"".join(lists), 0o644)


def stamp(directory: Path | str) -> Stamp:
    """What tells one state of the directory from another, at the cost of four calls of the kernel."""
    found: list[tuple[int, int, int] | None] = []
    for name in (CERTIFICATE, KEY, TRUST, CRL):
        try:
            file = os.stat(os.path.join(directory, name))
            found.append((file.st_ino, file.st_size, file.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)


def changed(directory: Path | str, since: Stamp) -> bool:
    """Whether a file of the identity is another one than at :func:`stamp`."""
    return stamp(directory) != since


def _look(directory: Path, now: float | None) -> tuple[Identity | None, list[str]]:
    wrong: list[str] = []
    certificates = _certificates(directory / CERTIFICATE, wrong)
    trust = _certificates(directory / TRUST, wrong)
    key = _key(directory, certificates[0] if certificates else None, wrong)
    if key is None or not certificates or not trust:
        return None, wrong
    leaf, chain = certificates[0], certificates[1:]
    wrong += [f"{directory}: {each}" for each in _unfit(key, leaf, chain, trust)]
    if wrong:
        return None, wrong
    identity = Identity(key, leaf, chain, trust)
    revocations = Revocations()
    with suppress(BadIdentity):
        for each in load_crls(directory):
            with suppress(BadCrl):
                revocations.add(each, (*chain, *trust), now or 0.0)
    try:
        identity.membership(revocations, check_times=now is not None).check(certificates, now or 0.0)
    except NotMember as refusal:
        wrong.append(f"{directory / CERTIFICATE}: other members would refuse it, {refusal}")
    return identity, wrong


def _certificates(path: Path, wrong: list[str]) -> tuple[x509.Certificate, ...]:
    try:
        return certificates_from_pem(_read(path, _MAX_FILE))
    except (OSError, BadCertificate) as error:
        wrong.append(_told(path, error))
        return ()


def _key(directory: Path, certificate: x509.Certificate | None, wrong: list[str]) -> PrivateKey | None:
    """The key, or the next one if that is the certificate's."""
    found: list[PrivateKey] = []
    refused: list[str] = []
    for name in (KEY, NEXT_KEY):
        try:
            key = _read_key(directory / name)
        except FileNotFoundError as error:
            if name == KEY:
                refused.append(_told(directory / name, error))
            continue
        except (OSError, BadCertificate) as error:
            refused.append(_told(directory / name, error))
            continue
        if certificate is not None and _public(key) == _public(certificate):
            return key
        found.append(key)
    if not found:
        wrong += refused
        return None
    return found[0]


def _read_key(path: Path) -> PrivateKey:
    content = _read(path, _MAX_FILE, secret=True)
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise BadCertificate(
            "the key is encrypted, and there is nobody to ask for the passphrase: decrypt it"
        ) from None
    except UNREADABLE:
        # The library's words might quote the key.
        raise BadCertificate("no private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise BadCertificate(f"it has {key_weakness(key)} (RFC 8994 §6.2.1)")
    return key


def _read(path: Path, most: int, *, secret: bool = False) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if secret and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadCertificate(f"others than its owner may use it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
        content = file.read(most + 1)
    if len(content) > most:
        raise BadCertificate(f"longer than {most} bytes")
    return content


def _told(path: Path, error: OSError | BadCertificate) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} is not there"
    return f"{path}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


def _public(holder: PrivateKey | x509.Certificate) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _unfit(
    key: PrivateKey,
    certificate: x509.Certificate,
    chain: tuple[x509.Certificate, ...],
    trust: tuple[x509.Certificate, ...],
) -> list[str]:
    """What is wrong whenever it is looked at."""
    found = []
    try:
        if _public(key) != _public(certificate):
            found.append("the key is not that of the certificate")
    except UNREADABLE:
        # That its key is of no known kind follows below.
        pass
    for each in (certificate, *chain, *trust):
        if weak := weakness(each):
            whose = "the certificate" if each is certificate else "the chain" if each in chain else "a trust anchor"
            found.append(f"{whose} has {weak} (RFC 8994 §6.2.1)")
    try:
        node_name(certificate)
    except NotMember as refusal:
        found.append(f"the certificate is no member's: {refusal.why} (RFC 8994 §6.2.2)")
    if len(chain) >= MAX_PRESENTED:
        found.append(f"{len(chain)} intermediate certificates: fewer than {MAX_PRESENTED}")
    if not 1 <= len(trust) <= MAX_ANCHORS:
        found.append(f"{len(trust)} trust anchors: 1 to {MAX_ANCHORS}")
    return found


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
