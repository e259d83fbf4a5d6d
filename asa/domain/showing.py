"""What is in an identity, a CA and files of them, as JSON-ready values; and what members would say of a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from asa.domain import authority, files, installing, keys, requests
from asa.domain.errors import BadFile, BadIdentity
from asa.errors import NotFound
from grasp.security import (
    UNREADABLE,
    BadCrl,
    Finding,
    InvalidAcpName,
    Membership,
    Revocations,
    acp_names,
    crl_urls,
    fingerprint,
    load_crls,
    parse_acp_name,
    problems,
)
from grasp.security import (
    BadIdentity as Unfit,
)

MEMBER_RULES: Final = (1, 2, 3, 4)
"""Those of RFC 8994 §6.2.3 that refuse a member; rule 5 refuses a neighbour link only."""
_SHOWN_SERIALS: Final = 100
_REFUSED_KIND: Final = "of a kind that members refuse"


def show(path: Path) -> list[dict[str, Any]]:
    """Every certificate, request and list in a file, an identity or a CA, each with ``kind`` and ``file``.

    Raises NotFound or BadFile.
    """
    if not path.is_dir():
        return _content(path)
    if (path / authority.CERTIFICATE).is_file():
        names: tuple[str, ...] = (authority.CERTIFICATE, authority.CRL)
    else:
        names = (installing.CERTIFICATE, installing.TRUST, installing.CRL, installing.REQUEST)
    found = [each for name in names if (path / name).is_file() for each in _content(path / name)]
    if not found:
        raise NotFound(f"there is no identity in {path}, and no CA", hint="asa domain join, or asa domain install")
    return found


def _content(path: Path) -> list[dict[str, Any]]:
    content = files.read(path)
    if b"PRIVATE KEY-----" in content and b"-----BEGIN CERTIFICATE-----" not in content:
        raise BadFile(f"{path} is a private key, which is not shown")
    if b"CERTIFICATE REQUEST-----" in content:
        return [request_view(content, path)]
    if b"-----BEGIN X509 CRL-----" in content:
        return [crl_view(each, path) for each in installing.read_crls(content)]
    found = installing.read_certificates(content, path)
    try:
        return [certificate_view(each) | {"file": str(path)} for each in found]
    except UNREADABLE:
        raise BadFile(f"{path} has a certificate in it that cannot be read") from None


def certificate_view(certificate: x509.Certificate) -> dict[str, Any]:
    """Times in UNIX s. Raises what is in ``UNREADABLE`` for one that no CA made; its key may be of any kind."""
    try:
        names = acp_names(certificate)
    except InvalidAcpName:
        names = ()
    return {
        "kind": "ca" if _is_ca(certificate) else "certificate",
        "subject": certificate.subject.rfc4514_string(),
        "acp_names": list(names),
        "address": _address(names),
        "serial": f"{certificate.serial_number:x}",
        "issuer": certificate.issuer.rfc4514_string(),
        "not_before": int(certificate.not_valid_before_utc.timestamp()),
        "not_after": int(certificate.not_valid_after_utc.timestamp()),
        "key": _certified_key(certificate),
        "fingerprint": fingerprint(certificate).hex(),
        "crl_urls": list(crl_urls(certificate)),
    }


def request_view(content: bytes, path: Path) -> dict[str, Any]:
    """Raises BadFile or BadIdentity."""
    found = requests.wishes(content, path)
    return {
        "kind": "request",
        "file": str(path),
        "name": found.name,
        "acp_name": found.acp_name,
        "key": _key(found.key),
    }


def crl_view(content: bytes, path: Path) -> dict[str, Any]:
    """Raises BadFile."""
    try:
        read = x509.load_pem_x509_crl if b"-----BEGIN" in content else x509.load_der_x509_crl
        found = read(content)
        number = [each.value.crl_number for each in found.extensions if isinstance(each.value, x509.CRLNumber)]
        until = found.next_update_utc
        serials = [f"{each.serial_number:x}" for each, _ in zip(found, range(_SHOWN_SERIALS), strict=False)]
        return {
            "kind": "crl",
            "file": str(path),
            "issuer": found.issuer.rfc4514_string(),
            "number": number[0] if number else None,
            "this_update": int(found.last_update_utc.timestamp()),
            "next_update": int(until.timestamp()) if until is not None else None,
            "revoked": len(found),
            "serials": serials,
            "fingerprint": found.fingerprint(hashes.SHA256()).hex(),
        }
    except UNREADABLE:
        raise BadFile(f"{path} is no revocation list") from None


def check_own(directory: Path, now: float) -> tuple[list[str], list[Finding]]:
    """All that is wrong with an identity, and what members with the same trust anchors find. Raises BadIdentity."""
    wrong = problems(directory, now)
    certificates, membership = _judge(directory, now, wrong)
    return wrong, membership.explain(certificates, now, link=True)


def check_peer(directory: Path, peer: Path, now: float) -> list[Finding]:
    """What the identity in ``directory`` finds of the certificate in ``peer``.

    Raises BadIdentity, BadFile or NotFound.
    """
    presented = installing.read_certificates(files.read(peer), peer)
    _, membership = _judge(directory, now, [])
    return membership.explain(presented, now, link=True)


def member(findings: Sequence[Finding]) -> bool:
    return all(each.ok for each in findings if each.rule in MEMBER_RULES)


def _judge(directory: Path, now: float, wrong: list[str]) -> tuple[tuple[x509.Certificate, ...], Membership]:
    """The identity's own certificates, and its view of others, as far as it can be had."""
    try:
        certificates = installing.read_certificates(files.read(directory / installing.CERTIFICATE), directory)
        trust = installing.read_certificates(files.read(directory / installing.TRUST), directory)
        domain = parse_acp_name(acp_names(certificates[0])[0]).domain
        membership = Membership(domain, trust, Revocations())
        crls = load_crls(directory)
    except (BadFile, NotFound) as error:
        raise _unusable(directory, wrong or [error.message]) from None
    except Unfit as error:
        raise _unusable(directory, wrong or list(error.problems)) from None
    except (ValueError, IndexError):
        raise _unusable(directory, wrong or ["its certificate names no domain"]) from None
    for each in crls:
        try:
            membership.revocations.add(each, (*trust, *certificates), now)
        except BadCrl as error:
            wrong.append(f"{directory / installing.CRL}: {error}")
    return certificates, membership


def _unusable(directory: Path, wrong: list[str]) -> BadIdentity:
    hint = "asa domain join, or asa domain install, puts one there"
    return BadIdentity(
        f"there is no usable identity in {directory}: {wrong[0]}", hint=hint, details={"problems": wrong}
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False


def _address(names: Sequence[str]) -> str:
    try:
        address = parse_acp_name(names[0]).address if len(names) == 1 else None
    except InvalidAcpName:
        return ""
    return "" if address is None else str(address) if int(address) else "0"


def _certified_key(certificate: x509.Certificate) -> str:
    try:
        return _key(certificate.public_key())
    except UNREADABLE:
        return _REFUSED_KIND


def _key(key: object) -> str:
    try:
        known = keys.supported(key, "")
    except BadFile:
        return _REFUSED_KIND
    return f"P-{known.key_size}" if isinstance(known, ec.EllipticCurvePublicKey) else f"RSA {known.key_size}"
