"""The CA, against openssl(1) and the RFC's own example."""

from __future__ import annotations

import re
import stat
import time
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from asa.domain import authority, keys
from asa.domain.addresses import zone_address
from asa.domain.authority import Authority
from asa.domain.errors import BadFile, NameTaken, Revoked, WrongPassphrase
from asa.domain.index import Issued
from asa.errors import AsaError, BadRequest, Conflict, NotFound, StoreDamaged
from grasp.security import Membership, NotMember, Revocations, acp_names, common_name, parse_acp_name
from tests.asa_domain.conftest import DOMAIN, PASSPHRASE, openssl, unlocked

DAY = 86_400


def key() -> ec.EllipticCurvePublicKey:
    return keys.generate().public_key()


def read(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.pem.encode())


def write(home: Path, issued: Issued) -> Path:
    path = home / f"{issued.serial:x}.pem"
    path.write_text(issued.pem)
    return path


def address(issued: Issued) -> IPv6Address | None:
    return parse_acp_name(acp_names(read(issued))[0]).address


def test_the_address_of_the_rfcs_example() -> None:
    # RFC 8994 §6.2.2: registrar 0200:0000:6400, node number 0.
    found = zone_address("area51.research.acp.example.com", bytes.fromhex("020000006400"), 0)
    assert found == IPv6Address("fd89:b714:f3db:0:200:0:6400:0000")


def test_openssl_sees_what_a_certificate_is_to_have(home: Path, ca: Authority) -> None:
    path = write(home, ca.issue("rack-7", key()))
    text = openssl("x509", "-in", path, "-noout", "-text")
    assert "Subject: CN = rack-7" in text
    assert "ASN1 OID: prime256v1" in text
    assert "X509v3 Basic Constraints: critical\n                CA:FALSE" in text
    assert "Key Usage: critical\n                Digital Signature, Key Agreement" in text
    assert "TLS Web Client Authentication, TLS Web Server Authentication" in text
    assert "X509v3 Subject Alternative Name: \n" in text
    assert f"othername: 1.3.6.1.5.5.7.8.10::{address(ca.certificates()[0]).packed.hex()}@{DOMAIN}" in text  # type: ignore[union-attr]
    assert "X509v3 Authority Key Identifier" in text
    assert "CRL Distribution Points" not in text
    crl = ("-crl_check", "-CRLfile", home / "ca" / "crl.pem")
    for purpose in ("sslclient", "sslserver"):
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", home / "ca" / "ca.pem", *crl, path)


def test_openssl_sees_what_the_trust_anchor_is_to_have(home: Path) -> None:
    text = openssl("x509", "-in", home / "ca" / "ca.pem", "-noout", "-text")
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0" in text
    assert "Key Usage: critical\n                Certificate Sign, CRL Sign" in text
    openssl("verify", "-x509_strict", "-CAfile", home / "ca" / "ca.pem", home / "ca" / "ca.pem")


def test_a_certificate_passes_the_membership_check(ca: Authority) -> None:
    issued = ca.issue("rack-7", key())
    member = Membership(DOMAIN, (ca.certificate,), Revocations()).check((read(issued),), time.time(), link=True)
    assert (member.name, member.domain, member.expires) == ("rack-7", DOMAIN, issued.expires)


def test_the_key_is_encrypted_so_that_trying_passphrases_costs(tmp_path: Path) -> None:
    home = tmp_path
    authority.create(home / "ca", DOMAIN, PASSPHRASE, now=time.time())
    path = home / "ca" / "key.pem"
    parsed = openssl("asn1parse", "-in", path)
    # N, r and p of RFC 7914.
    assert re.search(r":scrypt.*INTEGER +:4000\n.*INTEGER +:08\n.*INTEGER +:05\n", parsed, re.DOTALL)
    assert ":aes-256-cbc" in parsed
    there = openssl("pkey", "-in", path, "-passin", "env:PASSPHRASE", "-pubout")
    assert there == openssl("x509", "-in", home / "ca" / "ca.pem", "-noout", "-pubkey")
    openssl("pkey", "-in", path, "-passin", "env:PASSPHRASE", "-pubout", passphrase=b"another one", status=1)


def test_the_key_is_nowhere_in_the_clear(home: Path) -> None:
    pem = (home / "ca" / "key.pem").read_bytes()
    found = serialization.load_pem_private_key(pem, PASSPHRASE)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    secret = found.private_numbers().private_value.to_bytes(32)
    for each in (home / "ca").iterdir():
        assert secret not in each.read_bytes()
        assert PASSPHRASE not in each.read_bytes()


def test_modes(home: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(home / "ca") == 0o700
    assert mode(home / "ca" / "key.pem") == 0o600
    assert mode(home / "ca" / "index.db") == 0o600


def test_another_passphrase_or_a_readable_key_unlocks_nothing(home: Path) -> None:
    with pytest.raises(WrongPassphrase):
        Authority(home / "ca").unlock(b"incorrect horse")
    (home / "ca" / "key.pem").chmod(0o640)
    with pytest.raises(BadFile, match="others") as raised:
        Authority(home / "ca").unlock(PASSPHRASE)
    assert "chmod" in raised.value.hint


@pytest.mark.parametrize("algorithm", ["p256", "p384"])
def test_either_curve(tmp_path: Path, algorithm: str) -> None:
    authority.create(tmp_path / "ca", DOMAIN, PASSPHRASE, algorithm=algorithm, now=time.time())
    text = openssl("x509", "-in", tmp_path / "ca" / "ca.pem", "-noout", "-text")
    assert {"p256": "ecdsa-with-SHA256", "p384": "ecdsa-with-SHA384"}[algorithm] in text
    path = write(tmp_path, unlocked(tmp_path).issue("rack-7", key()))
    openssl("verify", "-CAfile", tmp_path / "ca" / "ca.pem", path)


def test_a_ca_is_never_written_over(home: Path) -> None:
    before = {each.name: each.read_bytes() for each in (home / "ca").iterdir()}
    with pytest.raises(Conflict):
        authority.create(home / "ca", DOMAIN, PASSPHRASE, now=time.time())
    assert {each.name: each.read_bytes() for each in (home / "ca").iterdir()} == before


@pytest.mark.parametrize("domain", ["", "a..b", "-a.example", "a_b.example", "1.example", "ä.example", "x" * 64])
def test_what_is_no_domain(tmp_path: Path, domain: str) -> None:
    with pytest.raises(BadRequest):
        authority.create(tmp_path / "ca", domain, PASSPHRASE, now=time.time())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 64, "ä", "a\n", "*"])
def test_what_is_no_name(ca: Authority, name: str) -> None:
    with pytest.raises(BadRequest):
        ca.issue(name, key())
    assert ca.certificates() == []


def test_every_node_has_an_address_of_its_own(ca: Authority) -> None:
    found = {address(ca.issue(f"rack-{number}", key())) for number in range(5)}
    assert len(found) == 5
    assert all(str(each).startswith("fd") for each in found)


def test_a_name_is_issued_once_at_a_time(ca: Authority) -> None:
    first = ca.issue("rack-7", key())
    with pytest.raises(NameTaken, match=f"{first.serial:x}") as raised:
        ca.issue("rack-7", key())
    assert "renew" in raised.value.hint
    assert "revoke" in raised.value.hint
    ca.revoke("rack-7")
    second = ca.issue("rack-7", key())
    assert address(second) == address(first)


def test_a_name_whose_certificate_has_ended_is_free(home: Path) -> None:
    unlocked(home).issue("rack-7", key(), days=90)
    unlocked(home, lambda: time.time() + 100 * DAY).issue("rack-7", key())


def test_an_address_is_one_nodes(ca: Authority) -> None:
    chosen = IPv6Address("fd00::1")
    ca.issue("rack-7", key(), address=chosen)
    with pytest.raises(NameTaken, match="rack-7"):
        ca.issue("rack-8", key(), address=chosen)
    assert [each.name for each in ca.certificates()] == ["rack-7"]


def test_no_address_or_none_yet(ca: Authority) -> None:
    assert address(ca.issue("noc", key(), address="none")) is None
    for name in ("rack-7", "rack-8"):
        assert address(ca.issue(name, key(), address=IPv6Address(0))) == IPv6Address(0)
    assert address(ca.renew("noc", key())) is None
    assert address(ca.renew("rack-7", key())) == IPv6Address(0)


def test_renewal_keeps_name_address_and_key(ca: Authority) -> None:
    first = ca.issue("rack-7", key(), days=2)
    second = ca.renew("rack-7", ca.current_key("rack-7"), days=5)
    assert second.serial != first.serial
    assert (common_name(read(second)), address(second)) == ("rack-7", address(first))
    assert read(second).public_key() == read(first).public_key()
    assert second.expires - first.expires >= 3 * DAY
    assert all(each.valid(time.time()) for each in ca.certificates())


def test_what_cannot_be_renewed(ca: Authority) -> None:
    with pytest.raises(NotFound):
        ca.renew("rack-7", key())
    lost = key()
    ca.issue("rack-7", lost)
    ca.revoke("rack-7")
    with pytest.raises(Revoked):
        ca.current_key("rack-7")
    with pytest.raises(Revoked):
        ca.renew("rack-7", key())
    ca.issue("rack-7", key())
    with pytest.raises(Revoked, match="this key"):
        ca.renew("rack-7", lost)


def test_a_certificate_ends_no_later_than_its_ca(tmp_path: Path) -> None:
    authority.create(tmp_path / "ca", DOMAIN, PASSPHRASE, days=3, now=time.time())
    issued = unlocked(tmp_path).issue("rack-7", key(), days=90)
    assert read(issued).not_valid_after_utc == Authority(tmp_path / "ca").certificate.not_valid_after_utc


def test_a_ca_that_has_ended_issues_nothing(home: Path) -> None:
    late = unlocked(home, lambda: time.time() + 5_000 * DAY)
    with pytest.raises(Conflict, match="ended"):
        late.issue("rack-7", key())
    assert late.certificates() == []


def test_where_the_list_is_stands_in_certificates(tmp_path: Path) -> None:
    url = "http://[fd00::1]/ca.crl"
    authority.create(tmp_path / "ca", DOMAIN, PASSPHRASE, crl_url=url, now=time.time())
    text = openssl("x509", "-noout", "-text", "-in", write(tmp_path, unlocked(tmp_path).issue("rack-7", key())))
    assert f"URI:{url}" in text


def number(home: Path) -> int:
    return int(openssl("crl", "-in", home / "ca" / "crl.pem", "-noout", "-crlnumber").strip().split("=0x")[1], 16)


def test_what_is_revoked_is_refused_and_the_rest_is_not(home: Path, ca: Authority) -> None:
    bad, good = ca.issue("rack-7", key()), ca.issue("rack-8", key())
    before = number(home)
    assert [each.serial for each in ca.revoke("rack-7")] == [bad.serial]
    assert number(home) > before
    verify = ("verify", "-CAfile", home / "ca" / "ca.pem", "-crl_check", "-CRLfile", home / "ca" / "crl.pem")
    assert "certificate revoked" in openssl(*verify, write(home, bad), status=1)
    openssl(*verify, write(home, good))
    revocations = Revocations()
    revocations.add((home / "ca" / "crl.pem").read_bytes(), (ca.certificate,), time.time())
    with pytest.raises(NotMember) as refused:
        Membership(DOMAIN, (ca.certificate,), revocations).check((read(bad),), time.time())
    assert refused.value.rule == 3


def test_one_certificate_of_several_is_revoked_by_its_serial(ca: Authority) -> None:
    first = ca.issue("rack-7", key())
    second = ca.renew("rack-7", key())
    ca.revoke(f"{first.serial:x}")
    assert [each.serial for each in ca.certificates() if each.revoked is None] == [second.serial]
    assert [each.serial for each in ca.revoke("rack-7")] == [second.serial]
    with pytest.raises(NotFound):
        ca.revoke("beef")
    with pytest.raises(NotFound):
        ca.revoke("rack-8")


@pytest.mark.parametrize("by", ["serial", "name"])
def test_a_key_is_revoked_with_all_that_it_could_show(home: Path, ca: Authority, by: str) -> None:
    stolen = key()
    first = ca.issue("rack-7", stolen)
    others = [ca.renew("rack-7", stolen), ca.issue("rack-8", stolen)]
    good = [ca.issue("rack-9", key()), ca.renew("rack-8", key())]
    found = ca.revoke(f"{first.serial:x}" if by == "serial" else "rack-7")
    assert [each.serial for each in found] == [each.serial for each in (first, *others)]
    verify = ("verify", "-CAfile", home / "ca" / "ca.pem", "-crl_check", "-CRLfile", home / "ca" / "crl.pem")
    for each in (first, *others):
        assert "certificate revoked" in openssl(*verify, write(home, each), status=1)
    for each in good:
        openssl(*verify, write(home, each))
    assert [each.serial for each in ca.certificates() if each.revoked is None] == [each.serial for each in good]


def test_a_revoked_key_gets_no_certificate_under_any_name(ca: Authority) -> None:
    stolen = key()
    ca.issue("rack-7", stolen)
    ca.issue("rack-8", key())
    ca.revoke("rack-7")
    before = ca.certificates()
    for name in ("rack-7", "rack-9"):
        with pytest.raises(Revoked, match="this key"):
            ca.issue(name, stolen)
    with pytest.raises(Revoked, match="this key"):
        ca.renew("rack-8", stolen)
    assert ca.certificates() == before


def test_numbers_of_lists_grow_and_a_list_is_good_for_a_week(home: Path, ca: Authority) -> None:
    numbers = [number(home)]
    for _ in range(3):
        assert ca.sign_crl() == number(home)
        numbers.append(number(home))
    assert numbers == sorted(set(numbers))
    crl = x509.load_pem_x509_crl((home / "ca" / "crl.pem").read_bytes())
    assert crl.next_update_utc is not None
    assert (crl.next_update_utc - crl.last_update_utc).days == 7


def test_what_has_ended_long_ago_leaves_the_list(home: Path) -> None:
    ca = unlocked(home)
    ca.issue("rack-7", key(), days=90)
    ca.revoke("rack-7")
    listed = x509.load_pem_x509_crl((home / "ca" / "crl.pem").read_bytes())
    assert len(listed) == 1
    unlocked(home, lambda: time.time() + 100 * DAY).sign_crl()
    assert len(x509.load_pem_x509_crl((home / "ca" / "crl.pem").read_bytes())) == 0


def test_a_damaged_index_is_told_and_left(home: Path) -> None:
    (home / "ca" / "index.db").write_bytes(b"x" * 4096)
    with pytest.raises(StoreDamaged):
        Authority(home / "ca")
    assert (home / "ca" / "index.db").read_bytes() == b"x" * 4096


def test_no_ca(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Authority(tmp_path)


def test_two_at_once_issue_two_names_and_one_name_once(home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def issue(name: str) -> str:
        try:
            unlocked_twice.issue(name, key())
        except AsaError as error:
            return error.code
        return "ok"

    unlocked_twice = unlocked(home)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(issue, ["rack-7", "rack-8", "rack-7", "rack-9", "rack-7"]))
    assert sorted(found) == ["name-taken", "name-taken", "ok", "ok", "ok"]
    assert len({address(each) for each in unlocked_twice.certificates()}) == 3


@pytest.mark.parametrize("kind", ["P-521", "RSA-2048"])
def test_keys_of_requests_may_be_of_other_kinds(home: Path, ca: Authority, kind: str) -> None:
    made = (
        ec.generate_private_key(ec.SECP521R1()) if kind == "P-521" else rsa.generate_private_key(65_537, 2048)
    ).public_key()
    path = write(home, ca.issue("rack-7", made))
    openssl("verify", "-x509_strict", "-CAfile", home / "ca" / "ca.pem", path)
    text = openssl("x509", "-in", path, "-noout", "-text")
    assert ("Key Agreement" in text) is (kind == "P-521")


def test_a_key_that_is_no_ca_key(home: Path) -> None:
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(PASSPHRASE)
    )
    (home / "ca" / "key.pem").write_bytes(other)
    with pytest.raises(BadFile):
        Authority(home / "ca").unlock(PASSPHRASE)
    (home / "ca" / "key.pem").write_bytes(keys.encrypted(keys.generate(), PASSPHRASE))
    with pytest.raises(BadFile, match="not the key"):
        Authority(home / "ca").unlock(PASSPHRASE)
