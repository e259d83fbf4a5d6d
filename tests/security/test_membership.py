"""The domain membership check rule by rule (RFC 8994 §6.2.3), what is remembered of it, and its explanations."""

from __future__ import annotations

import os
import pickle
import random
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.security import BadCertificate, Membership, NotMember, Revocations, certificate_from_der
from grasp.security import membership as module
from tests.pki import DAY, Authority, Issued, acp_other_name, fingerprint

DOMAIN = "acp.example.com"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority(DOMAIN)


@pytest.fixture
def members(ca: Authority) -> Membership:
    return Membership(DOMAIN, [ca.certificate])


def refusal(membership: Membership, issued: Issued, *, link: bool = False, now: float | None = None) -> NotMember:
    with pytest.raises(NotMember) as refused:
        membership.check(issued.whole, time.time() if now is None else now, link=link)
    return refused.value


def test_a_member_is_what_its_certificate_says(ca: Authority, members: Membership) -> None:
    ends = time.time() + 30 * DAY
    issued = ca.issue("rack-7", f"0+r@{DOMAIN.upper()}", not_after=ends)
    member = members.check(issued.whole, time.time())
    assert (member.name, member.acp_name, member.domain) == ("rack-7", f"0+r@{DOMAIN.upper()}", DOMAIN)
    assert member.fingerprint == fingerprint(issued.certificate)
    assert member.expires == int(ends)


def test_a_member_ends_with_the_first_certificate_of_its_path(ca: Authority, members: Membership) -> None:
    ends = time.time() + 3 * DAY
    below = Authority(DOMAIN, "below", ca, not_after=ends)
    assert members.check(below.issue("rack-7").whole, time.time()).expires == int(ends)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ((), "no AcpNodeName"),
        ((f"0@{DOMAIN}", f"0@{DOMAIN}"), "2 AcpNodeNames"),
        ((f"0@{DOMAIN}", "0@other.example.com"), "2 AcpNodeNames"),
        ((f"0@{DOMAIN}", b"\xff"), "not ASCII"),
        ("0@other.example.com", "its domain is other.example.com"),
        (f"0@sub.{DOMAIN}", f"its domain is sub.{DOMAIN}"),
        ("0@example.com", "its domain is example.com"),
        (f"1@{DOMAIN}", "acp-address"),
        (DOMAIN, "no @"),
        (b"0@acp.example.com\x00", "no domain name"),
        (b"0@acp.example.co\xed", "not ASCII"),
        (b"", "empty"),
    ],
)
def test_rule_4_asks_for_one_valid_name_of_the_domain(
    ca: Authority, members: Membership, name: str | bytes | tuple[str | bytes, ...], why: str
) -> None:
    found = refusal(members, ca.issue("rack-7", name))
    assert found.rule == 4
    assert why in found.why


def test_rule_4_does_not_see_case(ca: Authority) -> None:
    issued = ca.issue("rack-7", "0@ACP.example.COM")
    assert Membership("Acp.Example.Com", [ca.certificate]).check(issued.whole, time.time()).domain == DOMAIN


def test_rule_4_is_not_met_by_other_kinds_of_name(ca: Authority, members: Membership) -> None:
    like = [x509.RFC822Name(f"0@{DOMAIN}"), x509.DNSName(DOMAIN), x509.OtherName(NameOID.COMMON_NAME, b"\x16\x01a")]
    assert refusal(members, ca.issue("rack-7", (), names=like)).rule == 4


@pytest.mark.parametrize("address", ["0", "fd89b714f3db00000200000064000000"])
def test_rule_5_wants_an_address_for_a_link(ca: Authority, members: Membership, address: str) -> None:
    issued = ca.issue("rack-7", f"{address}@{DOMAIN}")
    assert members.check(issued.whole, time.time(), link=True).name == "rack-7"


def test_rule_5_is_for_links_only_also_when_it_is_remembered(ca: Authority, members: Membership) -> None:
    noc = ca.issue("noc", f"@{DOMAIN}")
    assert refusal(members, noc, link=True).rule == 5
    assert members.check(noc.whole, time.time()).name == "noc"
    assert refusal(members, noc, link=True).rule == 5


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("rack-7", "rack-7"),
        ("a" * 63, "a" * 63),
        ("a" * 64, ""),
        ("Rack_7.example", "Rack_7.example"),
        ("rack 7", ""),
        ("räck", ""),
        ("rack\n7", ""),
        ("*", ""),
        ("", ""),
    ],
)
def test_a_member_has_a_name_only_if_an_objective_could_say_it(
    ca: Authority, members: Membership, name: str, called: str
) -> None:
    assert members.check(ca.issue(name).whole, time.time()).name == called


def test_of_two_common_names_none_is_the_name(ca: Authority, members: Membership) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in ("rack-7", "rack-8")])
    assert members.check(ca.issue("x", subject=subject).whole, time.time()).name == ""


def test_the_first_rule_that_refuses_is_named(ca: Authority) -> None:
    revocations = Revocations()
    issued = ca.issue("rack-7", "0@other.example.com")
    assert refusal(Membership(DOMAIN, [Authority(DOMAIN, "x").certificate], revocations), issued).rule == 2
    members = Membership(DOMAIN, [ca.certificate], revocations)
    assert refusal(members, issued, link=True).rule == 4
    same_key = Authority(DOMAIN, key=ca.key)
    same_key.revoke(issued)
    revocations.add(same_key.crl(), [ca.certificate], time.time())
    assert refusal(members, issued).rule == 3


def test_what_is_remembered_is_not_judged_again(
    ca: Authority, members: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = ca.issue("rack-7")
    first = members.check(issued.whole, time.time())
    monkeypatch.setattr(module, "find_path", lambda *_: pytest.fail("judged again"))
    again = [certificate_from_der(each.public_bytes(Encoding.DER)) for each in issued.whole]
    assert members.check(again, time.time()) == first


@pytest.mark.parametrize("moment", [-2 * DAY, 20 * DAY + 1])
def test_what_is_remembered_still_begins_and_ends(ca: Authority, members: Membership, moment: float) -> None:
    now = float(int(time.time()))
    issued = ca.issue("rack-7", not_before=now - DAY, not_after=now + 20 * DAY)
    for good in (now, now - DAY, now + 20 * DAY):
        members.check(issued.whole, good)
    assert refusal(members, issued, now=now + moment).rule == 2
    members.check(issued.whole, now)


def test_what_is_refused_is_not_remembered_as_good(ca: Authority, members: Membership) -> None:
    issued = ca.issue("rack-7", not_before=time.time() + DAY)
    assert refusal(members, issued).rule == 2
    assert members.check(issued.whole, time.time() + 2 * DAY).name == "rack-7"


def test_the_memory_is_bounded(ca: Authority, members: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    for n in range(6):
        members.check(ca.issue(f"rack-{n}").whole, time.time())
    assert len(members._verdicts) == 3


def large(name: str, size: int) -> x509.Certificate:
    """Somebody's own certificate of at least ``size`` bytes, another each time."""
    filling = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), os.urandom(size))
    return Authority(DOMAIN, name, extensions=((filling, False),)).certificate


def test_of_what_is_presented_only_the_path_is_kept_and_only_once(ca: Authority, members: Membership) -> None:
    leaf = ca.issue("rack-7").certificate
    presented, paths, untouched = [], set(), [large("x", 10)]
    for number in range(20):
        own = certificate_from_der(leaf.public_bytes(Encoding.DER))
        others = [large(f"other {number}", 10_000), large("ca", 10_000)]
        presented += others
        members.check([own, *others], time.time())
        paths.add(id(members.path([own, *others], time.time())))
        del own, others
    (holders,) = map(sys.getrefcount, untouched)
    assert list(map(sys.getrefcount, presented)) == [holders] * 40
    assert len(paths) == 1
    assert members.path([leaf], time.time()) == (leaf, ca.certificate)
    kept = {id(each): each for verdict in members._verdicts.values() for each in verdict.path}
    assert sum(len(each.public_bytes(Encoding.DER)) for each in kept.values()) < 3_000


def test_who_presents_more_than_a_path_could_need_is_refused(ca: Authority, members: Membership) -> None:
    leaf = ca.issue("rack-7").certificate
    assert members.check([leaf, large("x", 15_000), large("y", 15_000)], time.time()).name == "rack-7"
    with pytest.raises(NotMember, match="more than 32768 bytes in all") as refused:
        members.check([leaf, large("x", 15_000), large("y", 15_000), large("z", 3_000)], time.time())
    assert refused.value.rule == 2


def test_what_was_found_good_by_another_chain_is_still_revoked(ca: Authority) -> None:
    """One path, presented in two ways, before and after a list."""
    revocations = Revocations()
    members = Membership(DOMAIN, [ca.certificate], revocations)
    issued = ca.issue("rack-7")
    chains = [list(issued.whole), [*issued.whole, large("x", 10)]]
    for chain in chains:
        members.check(chain, time.time())
    ca.revoke(issued)
    assert revocations.add(ca.crl(), [ca.certificate], time.time())
    for chain in [*chains, [*issued.whole, large("y", 10)], [*issued.whole, ca.certificate], *chains]:
        with pytest.raises(NotMember, match="revoked"):
            members.check(chain, time.time())


@pytest.mark.parametrize(("domain", "anchors"), [("", 1), ("a b", 1), (DOMAIN, 0), (DOMAIN, 9)])
def test_a_membership_without_a_domain_or_anchors_is_not_made(ca: Authority, domain: str, anchors: int) -> None:
    with pytest.raises(ValueError, match=r"domain"):
        Membership(domain, [ca.certificate] * anchors)


def test_a_refusal_travels_between_processes() -> None:
    found = pickle.loads(pickle.dumps(NotMember(4, "why")))
    assert (found.rule, found.why, str(found)) == (4, "why", "rule 4: why")


def verdicts(membership: Membership, issued: Issued, link: bool = True) -> dict[int, tuple[bool, str]]:
    findings = membership.explain(issued.whole, time.time(), link)
    return {each.rule: (each.ok, each.detail) for each in findings}


def test_every_rule_is_explained_of_a_good_certificate(ca: Authority, members: Membership) -> None:
    below = Authority(DOMAIN, "below", ca)
    found = verdicts(members, below.issue("rack-7", f"fd89b714f3db00000200000064000000@{DOMAIN}"))
    assert {rule: ok for rule, (ok, _) in found.items()} == dict.fromkeys((0, 1, 2, 3, 4, 5), True)
    assert "CN=rack-7 < CN=below < CN=ca" in found[2][1]
    assert "no list" in found[3][1]
    assert found[5][1] == "fd89:b714:f3db:0:200:0:6400:0"


def test_every_rule_is_explained_also_behind_one_that_refuses(ca: Authority) -> None:
    revocations = Revocations()
    issued = ca.issue("no name", "@other.example.com", not_after=time.time() - 60)
    revoking = Authority(DOMAIN, key=ca.key)
    revoking.revoke(issued)
    revocations.add(revoking.crl(), [ca.certificate], time.time())
    found = verdicts(Membership(DOMAIN, [ca.certificate], revocations), issued)
    assert {rule: ok for rule, (ok, _) in found.items()} == {0: False, 1: True, 2: False, 3: False, 4: False, 5: False}
    assert "expired" in found[2][1]
    assert "revoked" in found[3][1]
    assert "other.example.com" in found[4][1]


def test_it_is_said_when_revocation_could_not_be_looked_at(ca: Authority) -> None:
    revocations = Revocations()
    members = Membership(DOMAIN, [ca.certificate], revocations)
    issued = ca.issue("rack-7", crl_urls=["http://[fd00::1]/crl"])
    assert verdicts(members, issued)[3] == (
        True, "skipped: the list its CRL distribution point names is not available here",
    )  # fmt: skip
    fresh = Authority(DOMAIN, key=ca.key)
    revocations.add(fresh.crl(next_update=time.time() + DAY), [ca.certificate], time.time())
    assert verdicts(members, issued)[3][1].startswith("not on the list of ")
    revocations.add(fresh.crl(next_update=time.time() - 30), [ca.certificate], time.time())
    assert "a newer one was due" in verdicts(members, issued)[3][1]


def test_without_a_link_in_mind_there_is_no_rule_5(ca: Authority, members: Membership) -> None:
    assert 5 not in verdicts(members, ca.issue("noc", f"@{DOMAIN}"), link=False)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_in_what_was_signed_is_never_a_member_and_never_another_exception(seed: int) -> None:
    ca = Authority(DOMAIN)
    below = Authority(DOMAIN, "below", ca, crl_urls=["http://[fd00::1]/ca"])
    issued = below.issue("rack-7", crl_urls=["http://[fd00::1]/crl"], names=[x509.DNSName("a.example")])
    revocations = Revocations()
    revocations.add(below.crl(), [below.certificate], time.time())
    members = Membership(DOMAIN, [ca.certificate], revocations)
    originals = [each.public_bytes(Encoding.DER) for each in issued.whole]
    chance = random.Random(seed)
    reached = 0
    for _ in range(400):
        mutated = [bytearray(each) for each in originals]
        victim = mutated[chance.randrange(len(mutated))]
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            victim[chance.randrange(len(victim))] ^= 1 << chance.randrange(8)
        if [bytes(each) for each in mutated] == originals:
            continue
        try:
            chain = [certificate_from_der(bytes(each)) for each in mutated]
        except BadCertificate:
            continue
        reached += 1
        try:
            members.check(chain, time.time())
        except NotMember:
            pass
        else:
            # Only around what the CA signed: the form of the signature itself.
            signed = [each.tbs_certificate_bytes for each in issued.whole]
            assert [each.tbs_certificate_bytes for each in chain] == signed
        members.explain(chain, time.time(), True)
    assert reached > 100


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_bytes_that_are_no_certificate_are_refused_as_that(data: bytes) -> None:
    with pytest.raises(BadCertificate):
        certificate_from_der(data)


def test_a_name_as_long_as_a_certificate_may_be_does_not_fill_the_reason(ca: Authority, members: Membership) -> None:
    found = refusal(members, ca.issue("rack-7", "x" * 9_000 + "@" + "y" * 5_000))
    assert found.rule == 4
    assert len(str(found)) < 300


def test_a_certificate_beyond_the_size_is_refused(ca: Authority, members: Membership) -> None:
    found = refusal(members, ca.issue("rack-7", names=[acp_other_name("x" * 20_000)]))
    assert found.rule == 2
    assert "bytes" in found.why
