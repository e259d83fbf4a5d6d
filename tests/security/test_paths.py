"""Rule 2 of RFC 8994 §6.2.3: certification paths. ``openssl verify`` judges the same chains beside us.

Where the two differ on purpose, the row says so: OpenSSL knows nothing of §6.2.1 and is not asked whether the leaf
is a member's.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from grasp.security import Membership, NotMember
from tests.pki import DAY, Authority, Issued, acp_other_name, new_key, pem

DOMAIN = "acp.example.com"
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])


class Case(NamedTuple):
    chain: Sequence[x509.Certificate]
    trust: Sequence[x509.Certificate]


def under(depth: int, **odd: Any) -> Case:
    """A leaf under that many intermediates; ``odd`` is about the lowest of them."""
    ca = top = Authority()
    for n in range(depth):
        ca = Authority(name=f"ca-{n}", issuer=ca, **(odd if n == depth - 1 else {}))
    return Case(ca.issue("rack-7").whole, [top.certificate])


def leaf(**odd: Any) -> Case:
    ca = Authority()
    return Case(ca.issue("rack-7", **odd).whole, [ca.certificate])


def anchored(**odd: Any) -> Case:
    """Directly under a trust anchor made so."""
    ca = Authority(**odd)
    return Case(ca.issue("rack-7").whole, [ca.certificate])


def two_anchors(first: bool) -> Case:
    ours, other = Authority(), Authority(name="other")
    anchors = [ours.certificate, other.certificate]
    return Case(ours.issue("rack-7").whole, anchors if first else anchors[::-1])


def rolled_over() -> Case:
    """Two keys of one CA, as between its renewals."""
    old, new = Authority(), Authority()
    return Case(new.issue("rack-7").whole, [old.certificate, new.certificate])


def with_anchor() -> Case:
    case = under(1)
    return Case((*case.chain, case.trust[0]), case.trust)


def shuffled() -> Case:
    case = under(2)
    return Case((case.chain[0], *case.chain[:0:-1]), case.trust)


def below_anchor() -> Case:
    """The trust anchor is itself a certificate that somebody issued."""
    below = Authority(name="below", issuer=Authority())
    return Case(below.issue("rack-7").whole[:1], [below.certificate])


def with_strangers() -> Case:
    case = under(1)
    return Case((*case.chain, Authority(name="stranger").certificate), case.trust)


def past_the_length(**odd: Any) -> Case:
    top = Authority(**odd)
    return Case(Authority(name="below", issuer=top).issue("rack-7").whole, [top.certificate])


def constrained(permitted: x509.GeneralName, **odd: Any) -> Case:
    limits = (x509.NameConstraints([permitted], None), True)
    top = Authority()
    below = Authority(name="below", issuer=top, extensions=[limits])
    return Case(below.issue("rack-7", **odd).whole, [top.certificate])


HOST, OTHER = x509.DNSName("rack-7.example.com"), x509.DNSName("rack-7.example.net")

GOOD: dict[str, Callable[[], Case]] = {
    "directly under the trust anchor": lambda: under(0),
    "one intermediate": lambda: under(1),
    "two intermediates": lambda: under(2),
    "two intermediates in another order": shuffled,
    "the trust anchor is presented too": with_anchor,
    "something irrelevant is presented too": with_strangers,
    "the first of two trust anchors": lambda: two_anchors(True),
    "the second of two trust anchors": lambda: two_anchors(False),
    "a CA between two keys": rolled_over,
    "a trust anchor that is not self-signed": below_anchor,
    "RSA-2048": lambda: leaf(algorithm="RSA-2048"),
    "RSA-3072": lambda: leaf(algorithm="RSA-3072"),
    "P-384": lambda: leaf(algorithm="P-384"),
    "P-521": lambda: leaf(algorithm="P-521"),
    "a CA with RSA-2048": lambda: anchored(algorithm="RSA-2048"),
    "a CA with P-384": lambda: anchored(algorithm="P-384"),
    "a CA with P-521": lambda: anchored(algorithm="P-521"),
    "SHA-384": lambda: leaf(digest="SHA-384"),
    "SHA-512": lambda: leaf(digest="SHA-512"),
    "RSA and SHA-384": lambda: anchored_rsa(digest="SHA-384"),
    "RSA and SHA-512": lambda: anchored_rsa(digest="SHA-512"),
    "RSA-PSS": lambda: anchored_rsa(pss=True),
    "no keyUsage": lambda: leaf(usage=None),
    "no keyAgreement": lambda: leaf(usage=("digital_signature",)),
    "no digitalSignature": lambda: leaf(usage=("key_agreement",)),
    "an extendedKeyUsage for other things": lambda: leaf(eku=[ExtendedKeyUsageOID.CODE_SIGNING]),
    "no basicConstraints in the leaf": lambda: leaf(ca=None),
    "no key identifiers": lambda: leaf(identifiers=False),
    "a critical subjectAltName beside a subject": lambda: leaf(san_critical=True),
    "other names beside the AcpNodeName": lambda: leaf(names=[HOST, x509.RFC822Name("a@b.c")]),
    "an unknown extension that is not critical": lambda: leaf(extensions=[(UNKNOWN, False)]),
    "critical certificate policies": lambda: leaf(extensions=[(POLICIES, True)]),
    "a trust anchor without keyUsage": lambda: anchored(usage=None),
    "an intermediate without keyUsage": lambda: under(1, usage=None),
    "a path as long as allowed": lambda: past_the_length(path_length=1),
    "name constraints that allow its DNS name": lambda: constrained(x509.DNSName("example.com"), names=[HOST]),
}


def anchored_rsa(**odd: Any) -> Case:
    ca = Authority(algorithm="RSA-2048")
    return Case(ca.issue("rack-7", **odd).whole, [ca.certificate])


def self_signed(trusted: bool) -> Case:
    own = Authority(name="rack-7", ca=False, usage=None, acp=(f"0@{DOMAIN}",))
    return Case([own.certificate], [own.certificate] if trusted else [Authority().certificate])


def anchor_as_leaf() -> Case:
    ca = Authority(acp=(f"0@{DOMAIN}",))
    return Case([ca.certificate], [ca.certificate])


def member_as_ca() -> Case:
    """A member issues a certificate itself."""
    ca = Authority()
    member = ca.issue("rack-7")
    rogue = Authority(name="rack-7", key=member.key)
    return Case((rogue.issue("rack-8").certificate, member.certificate), [ca.certificate])


def renamed() -> Case:
    """Issued by another CA of the same name."""
    return Case(Authority().issue("rack-7").whole, [Authority().certificate])


def without_intermediate() -> Case:
    case = under(1)
    return Case(case.chain[:1], case.trust)


def looped() -> Case:
    """Two CAs that certify each other, and no anchor above."""
    a, b = Authority(name="a"), Authority(name="b")
    a_by_b = Authority(name="a", issuer=b, key=a.key)
    b_by_a = Authority(name="b", issuer=a, key=b.key)
    return Case((a.issue("rack-7").certificate, a_by_b.certificate, b_by_a.certificate), [Authority().certificate])


def crowded() -> Case:
    case = under(0)
    return Case((*case.chain, *[case.trust[0]] * 6), case.trust)


BAD: dict[str, tuple[Callable[[], Case], str]] = {
    "another CA": (lambda: Case(Authority(name="x").issue("a").whole, [Authority().certificate]), "CN=x"),
    "another CA of the same name": (renamed, "not signed by its key"),
    "a wrong signature": (lambda: leaf(signer=new_key()), "not signed by its key"),
    "a wrong signature on the intermediate": (lambda: under(1, signer=new_key()), "not signed by its key"),
    "the intermediate is missing": (without_intermediate, "neither presented nor a trust anchor"),
    "self-signed": (lambda: self_signed(False), "self-signed"),
    "a loop": (looped, ""),
    "expired": (lambda: leaf(not_before=time.time() - 2 * DAY, not_after=time.time() - 60), "expired"),
    "not yet valid": (lambda: leaf(not_before=time.time() + 600), "not valid before"),
    "an expired intermediate": (lambda: under(1, not_after=time.time() - 60), "CN=ca-0 expired"),
    "an intermediate not yet valid": (lambda: under(1, not_before=time.time() + 600), "CN=ca-0 is not valid before"),
    "an expired trust anchor": (lambda: anchored(not_after=time.time() - 60), "CN=ca expired"),
    "an intermediate with CA:FALSE": (lambda: under(1, ca=False), "no CA"),
    "an intermediate without basicConstraints": (lambda: under(1, ca=None), "no CA"),
    "an intermediate without keyCertSign": (lambda: under(1, usage=("digital_signature",)), "keyUsage"),
    "issued by a member": (member_as_ca, "no CA"),
    "a trust anchor's path too long": (lambda: past_the_length(path_length=0), "path length"),
    "an unknown critical extension": (lambda: leaf(extensions=[(UNKNOWN, True)]), "critical extension"),
    "one in an intermediate": (lambda: under(1, extensions=[(UNKNOWN, True)]), "critical extension"),
    "a policy demanded": (lambda: under(1, extensions=[(x509.PolicyConstraints(0, None), True)]), "critical"),
    "constraints on its DNS name": (lambda: constrained(x509.DNSName("example.com"), names=[OTHER]), "constraint"),
    "RSA-1024": (lambda: leaf(algorithm="RSA-1024"), "1024 bits"),
    "a CA with RSA-1024": (lambda: anchored(algorithm="RSA-1024"), "1024 bits"),
}

STRICTER: dict[str, tuple[Callable[[], Case], str]] = {
    "P-224": (lambda: leaf(algorithm="P-224"), "secp224r1"),
    "secp256k1": (lambda: leaf(algorithm="secp256k1"), "secp256k1"),
    "Ed25519": (lambda: leaf(algorithm="Ed25519"), "neither RSA nor"),
    "a CA with P-224": (lambda: anchored(algorithm="P-224"), "secp224r1"),
    "a CA with Ed25519": (lambda: anchored(algorithm="Ed25519"), "no digest"),
    "SHA-224": (lambda: leaf(digest="SHA-224"), "sha224"),
    "an intermediate signed with SHA-224": (lambda: under(1, digest="SHA-224"), "SHA-256"),
    "a trust anchor signed with SHA-224": (lambda: anchored(digest="SHA-224"), "sha224"),
    "three intermediates": (lambda: under(3), "more than 2"),
    "too many certificates presented": (crowded, "1 to 6"),
    "a trust anchor as a leaf": (anchor_as_leaf, "trust anchor"),
    "a trust anchor that is the leaf": (lambda: self_signed(True), "trust anchor"),
    "a trust anchor without basicConstraints": (lambda: anchored(ca=None, usage=None), "no CA"),
    "a trust anchor without keyCertSign": (lambda: anchored(usage=("digital_signature",)), "keyUsage"),
    "a leaf that is a CA": (lambda: leaf(ca=True), "CA:TRUE"),
    "constraints on other names": (lambda: constrained(acp_other_name("0@x")), "constraint"),
}


def openssl_accepts(where: Path, case: Case) -> bool:
    (where / "trust.pem").write_bytes(pem(*case.trust))
    (where / "chain.pem").write_bytes(pem(*case.chain[1:]))
    (where / "leaf.pem").write_bytes(pem(case.chain[0]))
    command = ["openssl", "verify", "-partial_chain", "-policy_check", "-auth_level", "2", "-no-CApath", "-no-CAstore"]
    command += ["-CAfile", str(where / "trust.pem")]
    if case.chain[1:]:
        command += ["-untrusted", str(where / "chain.pem")]
    return subprocess.run([*command, where / "leaf.pem"], capture_output=True).returncode == 0


def refusal(case: Case) -> NotMember:
    with pytest.raises(NotMember) as refused:
        Membership(DOMAIN, case.trust).check(case.chain, time.time())
    return refused.value


@pytest.mark.parametrize("name", GOOD)
def test_a_good_path_is_accepted_by_us_and_by_openssl(tmp_path: Path, name: str) -> None:
    case = GOOD[name]()
    assert Membership(DOMAIN, case.trust).check(case.chain, time.time()).name == "rack-7"
    assert openssl_accepts(tmp_path, case)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_path_is_refused_by_us_and_by_openssl(tmp_path: Path, name: str) -> None:
    make, why = BAD[name]
    case = make()
    found = refusal(case)
    assert found.rule == 2
    assert why in found.why
    assert not openssl_accepts(tmp_path, case)


@pytest.mark.parametrize("name", STRICTER)
def test_what_the_domain_does_not_allow_is_refused_whatever_openssl_says(name: str) -> None:
    make, why = STRICTER[name]
    found = refusal(make())
    assert found.rule == 2
    assert why in found.why


def test_version_1_is_refused(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        subprocess.run(["openssl", *command], cwd=tmp_path, check=True, capture_output=True)

    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k.pem",
        "-subj", "/CN=old", "-out", "r.pem")  # fmt: skip
    run("x509", "-req", "-in", "r.pem", "-signkey", "k.pem", "-out", "c.pem", "-days", "2")
    old = x509.load_pem_x509_certificate((tmp_path / "c.pem").read_bytes())
    assert old.version is x509.Version.v1
    assert "version 1" in refusal(Case([old], [Authority().certificate])).why


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_path_goes_from_the_leaf_to_the_trust_anchor(depth: int) -> None:
    case = under(depth)
    path = Membership(DOMAIN, case.trust).path(case.chain, time.time())
    assert path == (*case.chain, case.trust[0])


def test_nothing_presented_is_refused() -> None:
    assert refusal(Case([], [Authority().certificate])).rule == 2


def test_a_node_without_a_clock_accepts_what_was_ever_valid_together() -> None:
    now = time.time()
    top = Authority(not_before=now - 900 * DAY, not_after=now - 800 * DAY)
    below = Authority(name="below", issuer=top, not_before=now - 850 * DAY, not_after=now - 500 * DAY)

    def issue(start: float, end: float) -> Issued:
        return below.issue("rack-7", not_before=now + start * DAY, not_after=now + end * DAY)

    clockless = Membership(DOMAIN, [top.certificate], check_times=False)
    assert clockless.check(issue(-820, -790).whole, 0.0).name == "rack-7"
    with pytest.raises(NotMember):
        clockless.check(issue(-700, -600).whole, 0.0)
    with pytest.raises(NotMember) as refused:
        clockless.check(below.issue("rack-7", not_before=now - 820 * DAY, signer=new_key()).whole, 0.0)
    assert "signed" in refused.value.why
