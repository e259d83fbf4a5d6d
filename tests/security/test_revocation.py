"""Revocation lists (RFC 5280 §5, rule 3 of RFC 8994 §6.2.3); ``openssl verify -crl_check`` beside us."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from grasp.security import BadCrl, Membership, NotMember, Revocations, crl_pem, crls_from_pem
from grasp.security import revocation as module
from tests.pki import DAY, Authority, Issued, new_key, pem

DOMAIN = "acp.example.com"


@pytest.fixture
def ca() -> Authority:
    return Authority(DOMAIN)


@pytest.fixture
def revocations() -> Revocations:
    return Revocations()


def accepted(revocations: Revocations, ca: Authority, issued: Issued) -> bool:
    rule = 0
    try:
        Membership(DOMAIN, [ca.anchor], revocations).check(issued.whole, time.time())
    except NotMember as refusal:
        rule = refusal.rule
    assert rule in (0, 3)
    return rule == 0


def take(revocations: Revocations, ca: Authority, **odd: Any) -> bool:
    return revocations.add(ca.crl(**odd), [ca.certificate], time.time())


@pytest.mark.parametrize("algorithm", ["P-256", "P-384", "P-521", "RSA-2048"])
@pytest.mark.parametrize("der", [True, False])
def test_who_is_on_the_list_is_refused_and_nobody_else(revocations: Revocations, algorithm: str, der: bool) -> None:
    ca = Authority(DOMAIN, algorithm=algorithm)
    good, bad = ca.issue("good"), ca.issue("bad")
    ca.revoke(bad)
    assert accepted(revocations, ca, bad)
    assert take(revocations, ca, der=der)
    assert not accepted(revocations, ca, bad)
    assert accepted(revocations, ca, good)


def test_a_verdict_that_is_remembered_ends_with_a_list(revocations: Revocations, ca: Authority) -> None:
    members = Membership(DOMAIN, [ca.certificate], revocations)
    issued, other = ca.issue("rack-7"), ca.issue("rack-8")
    for each in (issued, other):
        members.check(each.whole, time.time())
    ca.revoke(issued)
    take(revocations, ca)
    with pytest.raises(NotMember):
        members.check(issued.whole, time.time())
    members.check(other.whole, time.time())
    with pytest.raises(NotMember):
        members.check(issued.whole, time.time())


def test_openssl_refuses_whom_we_refuse(tmp_path: Path, revocations: Revocations, ca: Authority) -> None:
    good, bad = ca.issue("good"), ca.issue("bad")
    ca.revoke(bad)
    data = ca.crl()
    revocations.add(data, [ca.certificate], time.time())
    (tmp_path / "crl.pem").write_bytes(data)
    (tmp_path / "ca.pem").write_bytes(pem(ca.certificate))
    for issued in (good, bad):
        (tmp_path / "leaf.pem").write_bytes(pem(issued.certificate))
        command = ["openssl", "verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "crl.pem", "leaf.pem"]
        verdict = subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
        assert verdict == accepted(revocations, ca, issued)


def test_a_revoked_intermediate_takes_all_below_with_it(revocations: Revocations, ca: Authority) -> None:
    below = Authority(DOMAIN, "below", ca)
    lowest = Authority(DOMAIN, "lowest", below)
    issued, direct = lowest.issue("rack-7"), ca.issue("rack-8")
    assert accepted(revocations, ca, issued)
    ca.revoke(below.certificate)
    take(revocations, ca)
    assert not accepted(revocations, ca, issued)
    assert accepted(revocations, ca, direct)


def test_the_same_number_of_another_issuer_is_another_certificate(revocations: Revocations, ca: Authority) -> None:
    below = Authority(DOMAIN, "below", ca)
    theirs, ours = below.issue("rack-7", serial=77), ca.issue("rack-8", serial=77)
    below.revoke(theirs)
    take(revocations, below)
    assert not accepted(revocations, ca, theirs)
    assert accepted(revocations, ca, ours)


def test_a_ca_revokes_with_its_new_key_what_its_old_one_signed(revocations: Revocations) -> None:
    old, new = Authority(DOMAIN), Authority(DOMAIN)
    issued = old.issue("rack-7")
    members = Membership(DOMAIN, [old.certificate, new.certificate], revocations)
    members.check(issued.whole, time.time())
    new.revoke(issued)
    revocations.add(old.crl(number=9), members.trust, time.time())
    revocations.add(new.crl(number=1), members.trust, time.time())
    with pytest.raises(NotMember):
        members.check(issued.whole, time.time())


def test_an_overdue_list_still_revokes(revocations: Revocations, ca: Authority) -> None:
    issued = ca.issue("rack-7")
    ca.revoke(issued)
    assert take(revocations, ca, this_update=time.time() - 30 * DAY, next_update=time.time() - 20 * DAY)
    assert not accepted(revocations, ca, issued)
    assert not revocations.lists()[0].current(time.time())


def test_a_list_whose_time_has_not_come_by_our_clock_still_revokes(revocations: Revocations, ca: Authority) -> None:
    issued = ca.issue("rack-7")
    ca.revoke(issued)
    assert take(revocations, ca, this_update=time.time() + DAY, next_update=time.time() + 2 * DAY)
    assert not accepted(revocations, ca, issued)


@pytest.mark.parametrize(
    ("first", "second", "newer"),
    [
        ((1, 0), (2, 0), True),
        ((2, 0), (1, 60), False),
        ((1, 0), (1, 0), False),
        ((1, 0), (1, 60), True),
        ((None, 0), (None, 60), True),
        ((None, 60), (None, 0), False),
        ((5, 0), (None, 60), True),
        ((5, 60), (None, 0), False),
        ((None, 0), (1, 60), True),
    ],
)
def test_only_a_newer_list_replaces_one(
    revocations: Revocations, ca: Authority, first: tuple[Any, int], second: tuple[Any, int], newer: bool
) -> None:
    start = time.time() - 3_600
    issued = ca.issue("rack-7")
    ca.revoke(issued)
    for number, later in (first, second):
        before = revocations.version
        added = take(revocations, ca, number=number, numbered=number is not None, this_update=start + later)
        assert revocations.version == before + added
        ca.revoked.clear()
    assert added == newer
    assert accepted(revocations, ca, issued) == newer
    assert len(revocations.lists()) == 1


def test_an_old_list_played_back_lets_nobody_in(revocations: Revocations, ca: Authority) -> None:
    issued = ca.issue("rack-7")
    empty = ca.crl()
    ca.revoke(issued)
    take(revocations, ca)
    assert not revocations.add(empty, [ca.certificate], time.time())
    assert not accepted(revocations, ca, issued)


def distribution(**odd: Any) -> x509.IssuingDistributionPoint:
    fields = {
        "full_name": None, "relative_name": None, "only_contains_user_certs": False, "only_contains_ca_certs": False,
        "only_some_reasons": None, "indirect_crl": False, "only_contains_attribute_certs": False,
    }  # fmt: skip
    return x509.IssuingDistributionPoint(**{**fields, **odd})


def test_lists_of_different_scope_stand_beside_each_other(revocations: Revocations, ca: Authority) -> None:
    issued = ca.issue("rack-7")
    ca.revoke(issued)
    assert take(revocations, ca, number=1, extensions=[(distribution(only_contains_user_certs=True), True)])
    ca.revoked.clear()
    assert take(revocations, ca, number=2, extensions=[(distribution(only_contains_ca_certs=True), True)])
    assert not accepted(revocations, ca, issued)
    assert len(revocations.lists()) == 2


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

REFUSED: dict[str, tuple[Callable[[Authority], bytes], str]] = {
    "nothing": (lambda ca: b"", "no certificate revocation list"),
    "a page of HTML": (lambda ca: b"<html>404</html>", "no certificate revocation list"),
    "PEM of nothing": (lambda ca: b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "no certificate"),
    "a certificate": (lambda ca: pem(ca.certificate), "no certificate revocation list"),
    "signed by another": (lambda ca: ca.crl(signer=new_key()), "signed by none"),
    "signed by another kind of key": (lambda ca: ca.crl(signer=new_key("RSA-2048")), "signed by none"),
    "of another CA": (lambda ca: Authority(DOMAIN, "x").crl(), "signed by none"),
    "of another CA of the same name": (lambda ca: Authority(DOMAIN).crl(), "signed by none"),
    "in another's name": (lambda ca: Authority(DOMAIN, "x", key=ca.key).crl(), "signed by none"),
    "a delta": (lambda ca: ca.crl(extensions=[(x509.DeltaCRLIndicator(1), True)]), "delta"),
    "an indirect one": (lambda ca: ca.crl(extensions=[(distribution(indirect_crl=True), True)]), "indirect"),
    "of attribute certificates": (
        lambda ca: ca.crl(extensions=[(distribution(only_contains_attribute_certs=True), True)]),
        "attribute",
    ),
    "an unknown critical extension": (lambda ca: ca.crl(extensions=[(UNKNOWN, True)]), "1.2.3.4"),
    "too long": (lambda ca: b"\x30" * (2**21 + 1), "more than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_list_of_an_issuer_is_refused(revocations: Revocations, ca: Authority, name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(BadCrl, match=why):
        revocations.add(make(ca), [ca.certificate], time.time())
    assert revocations.version == 0


@pytest.mark.parametrize(
    "odd", [{"usage": ("key_cert_sign",)}, {"ca": False, "usage": None}, {"ca": None, "usage": ("crl_sign",)}]
)
def test_who_may_not_sign_lists_does_not(revocations: Revocations, odd: dict[str, Any]) -> None:
    ca = Authority(DOMAIN, **odd)
    with pytest.raises(BadCrl):
        take(revocations, ca)


def test_a_member_named_as_its_ca_revokes_nobody(revocations: Revocations, ca: Authority) -> None:
    member = ca.issue("ca")
    victim = ca.issue("rack-7")
    forged = Authority(DOMAIN, key=member.key)
    forged.revoke(victim)
    with pytest.raises(BadCrl):
        revocations.add(forged.crl(), [ca.certificate, member.certificate], time.time())
    assert accepted(revocations, ca, victim)


def test_an_issuer_without_key_usage_may_sign_lists(revocations: Revocations) -> None:
    assert take(revocations, Authority(DOMAIN, usage=None))


def test_the_lists_are_bounded(revocations: Revocations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LISTS", 2)
    first, second, third = (Authority(DOMAIN, f"ca-{n}") for n in range(3))
    assert take(revocations, first)
    assert take(revocations, second)
    with pytest.raises(BadCrl, match="2 issuers"):
        take(revocations, third)
    assert take(revocations, first)


def test_a_list_is_kept_as_it_came(revocations: Revocations, ca: Authority) -> None:
    issued = ca.issue("rack-7")
    ca.revoke(issued)
    data = ca.crl(der=True, number=12, this_update=1_700_000_000, next_update=1_700_086_400)
    revocations.add(data, [ca.certificate], 1_700_000_500.0)
    (found,) = revocations.lists()
    assert (found.der, found.number, list(found.serials)) == (data, 12, [issued.certificate.serial_number])
    assert (found.this_update, found.next_update, found.taken) == (1_700_000_000, 1_700_086_400, 1_700_000_500.0)
    assert x509.load_pem_x509_crl(crl_pem(found)).public_bytes(Encoding.DER) == data


def test_the_lists_of_a_file_are_told_apart(ca: Authority) -> None:
    lists = [ca.crl(), Authority(DOMAIN, "x").crl()]
    found = crls_from_pem(b"text before\n" + lists[0] + b"between\n" + lists[1])
    assert [x509.load_pem_x509_crl(each) for each in found] == [x509.load_pem_x509_crl(each) for each in lists]
    assert crls_from_pem(b"") == ()


def test_a_flipped_bit_in_what_was_signed_is_never_a_list_and_never_another_exception(
    revocations: Revocations, ca: Authority
) -> None:
    for n in range(4):
        ca.revoke(ca.issue(f"rack-{n}"))
    original = ca.crl(der=True, extensions=[(distribution(only_contains_user_certs=True), True)])
    chance = random.Random(7)
    for _ in range(600):
        data = bytearray(original)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            revocations.add(bytes(data), [ca.certificate], time.time())
        except BadCrl:
            continue
        # Only around what the CA signed: the form of the signature itself.
        signed = x509.load_der_x509_crl(original).tbs_certlist_bytes
        assert x509.load_der_x509_crl(bytes(data)).tbs_certlist_bytes == signed
