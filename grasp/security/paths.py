"""Certification paths (RFC 5280 §6, rule 2 of RFC 8994 §6.2.3): from a member's certificate to a trust anchor.

The path is found and judged by cryptography's verifier, which bounds its work, knows path lengths and name
constraints and refuses critical extensions it does not know; of its profile for the web, which asks more of a
certificate than RFC 5280 does, nothing is used. Added here: who signs certificates must be allowed to
(keyCertSign), no weak key or digest anywhere (§6.2.1), a member is no CA and no trust anchor.

keyUsage and extendedKeyUsage of a member's certificate are not looked at: §6.2.1 asks for keyAgreement only where
the certificate's key itself does ECDH, which none of the TLS suites of §6.1 uses. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from grasp.security.certificates import MAX_CERTIFICATE, UNREADABLE, der, plain, shown, weakness

MAX_INTERMEDIATES: Final = 2
"""Between leaf and trust anchor (§6.2.4: one must, two should be supported)."""

MAX_PRESENTED: Final = 6
"""Certificates a peer may present: leaf, intermediates, and some who send the trust anchor too."""

MAX_CHAIN: Final = 32_768
"""Bytes of DER of all that a peer presents."""

MAX_ANCHORS: Final = 8
"""Of one domain; §6.2.4 asks for two."""

_EITHER: Final = Criticality.AGNOSTIC
_AROUND: Final = re.compile(r"^validation failed: (candidates exhausted: )?| \(encountered processing .*", re.DOTALL)


class BadPath(ValueError):
    """No path to a trust anchor; the text says why."""


def find_path(
    chain: Sequence[x509.Certificate], trust: Sequence[x509.Certificate], now: float | None
) -> tuple[x509.Certificate, ...]:
    """The path, leaf first, trust anchor last. ``chain``: leaf, then other certificates in any order.

    ``now`` is UNIX s; None: the clock is not trusted (§6.2.3.1), it is enough that all certificates of the path were
    valid at one time. Raises :class:`BadPath`; a certificate that cannot be parsed may raise other exceptions.
    """
    if not 1 <= len(chain) <= MAX_PRESENTED:
        raise BadPath(f"{len(chain)} certificates presented: 1 to {MAX_PRESENTED}")
    sizes = [len(der(each)) for each in chain]
    if max(sizes) > MAX_CERTIFICATE:
        raise BadPath(f"a certificate of more than {MAX_CERTIFICATE} bytes")
    if sum(sizes) > MAX_CHAIN:
        raise BadPath(f"certificates of more than {MAX_CHAIN} bytes in all")
    leaf = chain[0]
    if leaf in trust:
        raise BadPath("it is a trust anchor, not a member's certificate")
    if weak := weakness(leaf):
        raise BadPath(f"the certificate has {weak}")
    if is_ca(leaf):
        raise BadPath("the certificate is a CA's (basicConstraints CA:TRUE), not a member's")
    path = _verified(chain, trust, now)
    for each in path[1:]:
        if weak := weakness(each):
            raise BadPath(f"the certificate of {shown(each.subject)} has {weak}")
    return path


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints says so. Raises what its extensions raise that cannot be parsed."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def begins(certificate: x509.Certificate) -> float:
    """UNIX s."""
    return certificate.not_valid_before_utc.timestamp()


def ends(certificate: x509.Certificate) -> float:
    """UNIX s; it is still valid then."""
    return certificate.not_valid_after_utc.timestamp()


def date(seconds: float) -> str:
    """A time for a message to people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _verified(
    chain: Sequence[x509.Certificate], trust: Sequence[x509.Certificate], now: float | None
) -> tuple[x509.Certificate, ...]:
    # The lifetimes of a path have a time in common if, and only if, one of its certificates begins at such a time.
    moments = [now] if now is not None else sorted({begins(each) for each in (*chain, *trust)})
    for moment in moments:
        verifier = (
            PolicyBuilder()
            .store(Store(list(trust)))
            .time(datetime.fromtimestamp(moment, UTC))
            .max_chain_depth(MAX_INTERMEDIATES)
            .extension_policies(ca_policy=_AUTHORITY, ee_policy=_MEMBER)
            .build_client_verifier()
        )
        try:
            return tuple(verifier.verify(chain[0], list(chain[1:])).chain)
        except VerificationError as error:
            refused = error
    raise BadPath(_reason(chain, trust, now) or plain(_AROUND.sub("", str(refused))))


def _may_sign(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("its keyUsage does not allow it to sign certificates")


# Certificate policies restrict nothing unless a policy is demanded, and the extension that demands one is refused.
_MEMBER: Final = ExtensionPolicy.permit_all().may_be_present(x509.CertificatePolicies, _EITHER, None)
_AUTHORITY: Final = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.CertificatePolicies, _EITHER, None)
    .require_present(x509.BasicConstraints, _EITHER, None)
    .may_be_present(x509.KeyUsage, _EITHER, _may_sign)
)


def _reason(chain: Sequence[x509.Certificate], trust: Sequence[x509.Certificate], now: float | None) -> str:
    """Why there is no path, for people, as far as it can be told; "" if it cannot."""
    current, above = chain[0], [*chain[1:], *trust]
    for _ in range(MAX_INTERMEDIATES + 2):
        whose = "the certificate" if current is chain[0] else f"the certificate of {shown(current.subject)}"
        if now is not None and now > ends(current):
            return f"{whose} expired on {date(ends(current))}"
        if now is not None and now < begins(current):
            return f"{whose} is not valid before {date(begins(current))}"
        if current in trust:
            return ""
        named = [each for each in above if each.subject == current.issuer and each != current]
        if not named:
            if current.issuer == current.subject:
                return f"{whose} is self-signed, and no trust anchor here"
            return f"{whose} was issued by {shown(current.issuer)}, which is neither presented nor a trust anchor here"
        signed = _signers(current, named)
        if not signed:
            return f"{whose} names {shown(current.issuer)} as its issuer, but is not signed by its key"
        current = next((each for each in signed if each in trust), signed[0])
        if not is_ca(current):
            return f"{shown(current.subject)} is no CA, but signed a certificate"
        if not _signs_certificates(current):
            return f"{shown(current.subject)} may not sign certificates by its keyUsage, but did"
        if weak := weakness(current):
            return f"the certificate of {shown(current.subject)} has {weak}"
    return f"more than {MAX_INTERMEDIATES} intermediate certificates"


def _signs_certificates(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _signers(certificate: x509.Certificate, candidates: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    found = []
    for each in candidates:
        try:
            certificate.verify_directly_issued_by(each)
        except (InvalidSignature, *UNREADABLE):
            continue
        found.append(each)
    return found
