"""Putting an identity in place: what a CA has sent is checked as members will check it, then the files change.

A good identity is never replaced by one that members would refuse, nor by one of another node or domain.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from asa.domain import files, keys
from asa.domain.errors import BadFile, BadIdentity
from asa.domain.keys import PrivateKey
from asa.errors import Conflict, NotFound
from grasp.security import (
    UNREADABLE,
    BadCertificate,
    BadCrl,
    Identity,
    Membership,
    NotMember,
    Revocations,
    certificate_from_der,
    certificates_from_pem,
    common_name,
    crl_pem,
    crls_from_pem,
    load_crls,
    node_name,
    save,
    save_crls,
)
from grasp.security import BadIdentity as Unfit

CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
TRUST: Final = "trust.pem"
CRL: Final = "crl.pem"
REQUEST: Final = "request.pem"

_BEGIN: Final = b"-----BEGIN"
_PKCS7: Final = b"-----BEGIN PKCS7-----"
_CHECK: Final = "asa domain check shows it rule by rule"


@dataclass(frozen=True, slots=True)
class Sent:
    """What there is to install. ``trust`` and ``crls`` come on top of, or instead of, what is in place already."""

    certificates: tuple[x509.Certificate, ...]
    """The node's and those above it, in any order."""
    trust: tuple[x509.Certificate, ...] = ()
    """Empty: the trust anchors that are in place."""
    crls: tuple[bytes, ...] = ()
    """PEM or DER."""


def read_certificates(content: bytes, where: object) -> tuple[x509.Certificate, ...]:
    """PEM, DER or PKCS #7. Raises BadFile."""
    try:
        if _PKCS7 in content:
            return _bundled(pkcs7.load_pem_pkcs7_certificates, content)
        if _BEGIN in content:
            return certificates_from_pem(content)
        try:
            return (certificate_from_der(content),)
        except BadCertificate:
            return _bundled(pkcs7.load_der_pkcs7_certificates, content)
    except BadCertificate as error:
        raise BadFile(f"{where}: {error}") from None
    except UNREADABLE:
        raise BadFile(f"{where}: no certificates, neither PEM nor DER nor PKCS #7") from None


def _bundled(load: Callable[[bytes], list[x509.Certificate]], content: bytes) -> tuple[x509.Certificate, ...]:
    with warnings.catch_warnings():
        # That openssl(1) and others do not sort the set as DER wants it is nothing to trouble an operator with.
        warnings.simplefilter("ignore", UserWarning)
        return tuple(load(content))


def read_crls(content: bytes) -> tuple[bytes, ...]:
    """What is in a file of lists, each PEM, or its one list in DER."""
    return crls_from_pem(content) if _BEGIN in content else (content,)


def refuse_present(directory: Path) -> None:
    """Raises Conflict where there is an identity, or a key that one may be asked for with."""
    for name in (KEY, CERTIFICATE):
        if (directory / name).exists():
            raise Conflict(
                f"{directory / name} is there already",
                hint="a node joins once; asa domain renew at the CA goes on with it, --identity names another place",
            )


def install(directory: Path, sent: Sent, candidates: Sequence[PrivateKey], now: float) -> Identity:
    """Check ``sent`` and put it in place with that one of ``candidates`` that its certificate is for.

    Raises BadIdentity (nothing has changed), BadFile, Conflict or StoreFailed.
    """
    key, leaf = _pair(sent.certificates, candidates, directory)
    before = _trust_in(directory)
    trust = sent.trust or before
    if not trust:
        raise BadIdentity(f"no trust anchors, neither given nor in {directory}", hint="--trust FILE, from the CA")
    try:
        _, name = node_name(leaf)
        revocations = Revocations()
        membership = Membership(name.domain, trust, revocations)
        others = [each for each in sent.certificates if each != leaf and each not in trust]
        path = membership.path((leaf, *others), now)
        _add_all(revocations, sent.crls, (*path, *trust), now)
        _add_known(revocations, directory, (*path, *trust), now)
        identity = Identity(key, leaf, path[1:-1], trust)
        membership.check(identity.whole, now)
    except NotMember as refusal:
        raise BadIdentity(f"members would refuse the certificate, {refusal}", hint=_CHECK) from None
    except Unfit as error:
        raise _told(error) from None
    except ValueError as error:
        raise BadIdentity(str(error)) from None
    if not identity.name:
        raise BadIdentity("the certificate's common name is none that a node can have", hint="agent.name as CN")
    _same_node(directory, identity)
    _put(directory, identity, before, revocations)
    return identity


def install_crls(directory: Path, crls: Iterable[bytes], now: float) -> bool:
    """Lists alone, for an identity that is there; whether any was newer. Raises BadIdentity, BadFile or StoreFailed."""
    trust = _trust_in(directory)
    if not trust:
        raise NotFound(f"there is no identity in {directory}", hint="--identity says where it is")
    issuers = (*trust, *_certificates_in(directory / CERTIFICATE))
    revocations = Revocations()
    _add_known(revocations, directory, issuers, now)
    before = revocations.version
    _add_all(revocations, crls, issuers, now)
    if revocations.version == before:
        return False
    _save_crls(directory, revocations)
    return True


def _pair(
    certificates: Sequence[x509.Certificate], candidates: Sequence[PrivateKey], directory: Path
) -> tuple[PrivateKey, x509.Certificate]:
    for key in candidates:
        for each in certificates:
            try:
                fits = keys.same(key, keys.supported(each.public_key(), "a certificate"))
            except (BadFile, *UNREADABLE):
                continue
            if fits:
                return key, each
    raise BadIdentity(
        "none of the certificates is for a key that is here",
        hint=f"--key FILE with the key of the request, if it is neither in {directory} nor beside the certificate",
    )


def _add_all(revocations: Revocations, crls: Iterable[bytes], issuers: Sequence[x509.Certificate], now: float) -> None:
    for each in crls:
        try:
            revocations.add(each, issuers, now)
        except BadCrl as error:
            raise BadFile(f"the revocation list: {error}") from None


def _add_known(revocations: Revocations, directory: Path, issuers: Sequence[x509.Certificate], now: float) -> None:
    """What is in place; what of it has no issuer here any more is let go."""
    try:
        known = load_crls(directory)
    except Unfit:
        return
    for each in known:
        try:
            revocations.add(each, issuers, now)
        except BadCrl:
            continue


def _trust_in(directory: Path) -> tuple[x509.Certificate, ...]:
    return _certificates_in(directory / TRUST)


def _certificates_in(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return certificates_from_pem(files.read(path))
    except (NotFound, BadFile, BadCertificate):
        return ()


def _same_node(directory: Path, identity: Identity) -> None:
    there = _certificates_in(directory / CERTIFICATE)
    if not there:
        return
    try:
        domain = node_name(there[0])[1].domain
    except NotMember:
        return
    name = common_name(there[0])
    if (name, domain) != (identity.name, identity.domain):
        raise Conflict(
            f"{directory} is the identity of {name} in {domain}, and this one is of {identity.name} in "
            f"{identity.domain}",
            hint="a node keeps its name; --identity names another place",
        )


def _put(directory: Path, identity: Identity, before: tuple[x509.Certificate, ...], revocations: Revocations) -> None:
    files.private_directory(directory)
    try:
        _save_crls(directory, revocations)
        # Whenever a crash comes, the certificate in place has its trust anchor beside it.
        both = (*identity.trust, *(each for each in before if each not in identity.trust))
        save(directory, trust=both)
        save(directory, key=identity.key, certificates=identity.whole)
        if both != identity.trust:
            save(directory, trust=identity.trust)
    except OSError as error:
        raise files.failed(directory, error) from None


def _save_crls(directory: Path, revocations: Revocations) -> None:
    found = [crl_pem(each) for each in revocations.lists()]
    if found:
        try:
            save_crls(directory, found)
        except OSError as error:
            raise files.failed(directory, error) from None


def _told(error: Unfit) -> BadIdentity:
    return BadIdentity(error.detail, details={"problems": list(error.problems)})
