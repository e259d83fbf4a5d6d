"""The domain membership check (RFC 8994 §6.2.3), rule by rule, on the certificates a peer presented."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from grasp.member import Member
from grasp.security.acp_name import AcpName, InvalidAcpName, is_domain, parse_acp_name
from grasp.security.certificates import UNREADABLE, acp_names, common_name, crl_points, der, fingerprint, plain, shown
from grasp.security.paths import MAX_ANCHORS, BadPath, begins, date, ends, find_path
from grasp.security.revocation import Revocations

REMEMBERED: Final = 2_048
"""Digests of chains, and of paths, whose verdict is kept; the one that was not met for longest makes room."""

_TITLES: Final = {
    0: "Node name",
    1: "Proof of the private key",
    2: "Certification path and lifetimes",
    3: "Revocation",
    4: "AcpNodeName and domain",
    5: "ACP address, for a neighbour link",
}


class NotMember(Exception):
    """No member of the domain: the rule of §6.2.3 it fails, and why, for people."""

    def __init__(self, rule: int, why: str) -> None:
        super().__init__(f"rule {rule}: {why}")
        self.rule = rule
        self.why = why

    def __reduce__(self) -> tuple[object, ...]:
        return NotMember, (self.rule, self.why)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of a certificate. Rule 0 is none of the RFC's: it refuses nobody."""

    rule: int
    title: str
    ok: bool
    detail: str


@dataclass(slots=True)
class _Verdict:
    member: Member
    path: tuple[x509.Certificate, ...]
    begins: float
    ends: float
    linkable: bool
    version: int


class Membership:
    """Judges certificates for one domain and its trust anchors. Thread-safe.

    What was accepted is remembered with its times: judged again it costs microseconds, and still ends with its
    certificates and with a newer revocation list. Of the certificates only the path is kept, once, whatever else was
    presented with it, and however often. Without ``check_times`` no lifetimes are checked, for a node that
    does not know the time (§6.2.3.1).
    """

    def __init__(
        self,
        domain: str,
        trust: Sequence[x509.Certificate],
        revocations: Revocations | None = None,
        *,
        check_times: bool = True,
    ) -> None:
        if not is_domain(domain):
            raise ValueError(f"{domain!r} is no domain name (RFC 1034 §3.5)")
        if not 1 <= len(trust) <= MAX_ANCHORS:
            raise ValueError(f"a domain has 1 to {MAX_ANCHORS} trust anchors, not {len(trust)}")
        self.domain = domain.lower()
        self.trust = tuple(trust)
        self.revocations = Revocations() if revocations is None else revocations
        self.check_times = check_times
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[bytes, _Verdict] = OrderedDict()

    def check(self, chain: Sequence[x509.Certificate], now: float, *, link: bool = False) -> Member:
        """Rules 2 to 4, for a neighbour link also 5; rule 1 is the handshake's. ``now`` is UNIX s.

        ``chain``: the leaf, then the others presented. Raises :class:`NotMember`, whatever they contain.
        """
        verdict = self._judged(tuple(chain), now)
        if link and not verdict.linkable:
            raise NotMember(5, "the AcpNodeName has no acp-address, which a neighbour link needs")
        return verdict.member

    def path(self, chain: Sequence[x509.Certificate], now: float) -> tuple[x509.Certificate, ...]:
        """From the leaf to the trust anchor, both included. Raises :class:`NotMember` as :meth:`check` does."""
        return self._judged(tuple(chain), now).path

    def explain(self, chain: Sequence[x509.Certificate], now: float, link: bool = False) -> list[Finding]:
        """What every rule says, also those behind the first that refuses; nothing is remembered."""
        findings = [_finding(1, None, "shown in the handshake, not by the certificate")]
        path: tuple[x509.Certificate, ...] = ()
        try:
            path = self._path(chain, now)
            findings.append(_finding(2, None, f"{_route(path)}; valid until {date(min(map(ends, path)))}"))
        except NotMember as refusal:
            findings.append(_finding(2, refusal))
        try:
            self._refuse_revoked(path or tuple(chain))
            findings.append(_finding(3, None, self._about_revocation(chain[0], now)))
        except NotMember as refusal:
            findings.append(_finding(3, refusal))
        name = None
        try:
            text, name = node_name(chain[0])
            self._refuse_foreign(name)
            findings.append(_finding(4, None, text))
        except NotMember as refusal:
            findings.append(_finding(4, refusal))
        if link and name is not None:
            address = "omitted" if name.address is None else str(name.address) if int(name.address) else "0"
            findings.append(Finding(5, _TITLES[5], name.address is not None, address))
        called = common_name(chain[0])
        nameless = "no common name that a node could have: it has none, and no policy that names nodes fits it"
        findings.append(Finding(0, _TITLES[0], bool(called), called or nameless))
        return findings

    def _judged(self, chain: tuple[x509.Certificate, ...], now: float) -> _Verdict:
        # Read first: of a list that comes meanwhile the next check will know.
        version = self.revocations.version
        digest = _digest(chain)
        with self._lock:
            known = self._verdicts.get(digest)
            if known is not None:
                self._verdicts.move_to_end(digest)
        if known is None or (self.check_times and not known.begins <= now <= known.ends):
            known = self._judge(chain, now, version)
            path = _digest(known.path)
            with self._lock:
                same = self._verdicts.get(path)
                if same is not None:
                    same.version = max(same.version, version)
                    known = same
                for each in (digest, path):
                    self._verdicts[each] = known
                    self._verdicts.move_to_end(each)
                while len(self._verdicts) > REMEMBERED:
                    self._verdicts.popitem(last=False)
        elif known.version != version:
            self._refuse_revoked(known.path)
            known.version = version
        return known

    def _judge(self, chain: tuple[x509.Certificate, ...], now: float, version: int) -> _Verdict:
        path = self._path(chain, now)
        self._refuse_revoked(path)
        text, name = node_name(path[0])
        self._refuse_foreign(name)
        until = min(map(ends, path))
        member = Member(common_name(path[0]), text, name.domain, fingerprint(path[0]), int(until))
        return _Verdict(member, path, max(map(begins, path)), until, name.address is not None, version)

    def _path(self, chain: Sequence[x509.Certificate], now: float) -> tuple[x509.Certificate, ...]:
        try:
            return find_path(chain, self.trust, now if self.check_times else None)
        except BadPath as error:
            raise NotMember(2, str(error)) from None
        except Exception as error:
            # A certificate is parsed piece by piece, and each piece has exceptions of its own.
            raise NotMember(2, f"a certificate cannot be read: {plain(error)}") from None

    def _refuse_revoked(self, path: tuple[x509.Certificate, ...]) -> None:
        try:
            for each in path:
                if each not in self.trust and self.revocations.revoked(each):
                    whose = "the certificate" if each is path[0] else f"the certificate of {shown(each.subject)}"
                    raise NotMember(3, f"{whose} (serial {each.serial_number:x}) is revoked by {shown(each.issuer)}")
        except UNREADABLE:
            raise NotMember(3, "the issuer of a certificate cannot be read") from None

    def _refuse_foreign(self, name: AcpName) -> None:
        if name.domain != self.domain:
            raise NotMember(4, f"its domain is {name.domain}, not {self.domain}")

    def _about_revocation(self, leaf: x509.Certificate, now: float) -> str:
        """Of a certificate that is not revoked: how well that is known."""
        lists = self.revocations.of(leaf)
        if lists:
            newest = max(lists, key=lambda each: each.this_update)
            overdue = "" if newest.current(now) else f", and a newer one was due on {date(newest.next_update or 0)}"
            return f"not on the list of {date(newest.this_update)}{overdue}"
        if crl_points(leaf):
            return "skipped: the list its CRL distribution point names is not available here"
        return "nothing to check: no list of its issuer is known, and it names none"


def node_name(certificate: x509.Certificate) -> tuple[str, AcpName]:
    """Its one AcpNodeName, as it stands there and read. Raises :class:`NotMember`, rule 4."""
    try:
        texts = acp_names(certificate)
        if len(texts) != 1:
            raise NotMember(4, f"it has {len(texts) or 'no'} AcpNodeName{'s' if texts else ''}: exactly one")
        return texts[0], parse_acp_name(texts[0])
    except InvalidAcpName as error:
        raise NotMember(4, str(error)) from None


def _digest(chain: Sequence[x509.Certificate]) -> bytes:
    # DER says how long it is: no two chains are the same bytes.
    return hashlib.sha256(b"".join(map(der, chain))).digest()


def _finding(rule: int, refusal: NotMember | None, detail: str = "") -> Finding:
    if refusal is None:
        return Finding(rule, _TITLES[rule], True, detail)
    return Finding(rule, _TITLES[rule], False, refusal.why)


def _route(path: tuple[x509.Certificate, ...]) -> str:
    return " < ".join(shown(each.subject) for each in path)
