"""The identity directory: what is wrong with it, all at once; how it is replaced; and that nothing shows the key."""

from __future__ import annotations

import os
import pickle
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from grasp.errors import ErrorCode, LocalError
from grasp.security import (
    BadIdentity,
    Identity,
    Revocations,
    changed,
    load_crls,
    problems,
    save,
    save_crls,
    stamp,
)
from tests.pki import DAY, Authority, Issued, key_pem, new_key, pem

DOMAIN = "acp.example.com"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority(DOMAIN)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "identity"


def test_an_identity_is_read(ca: Authority, place: Path) -> None:
    below = Authority(DOMAIN, "below", ca)
    issued = below.issue("rack-7", f"fd89b714f3db00000200000064000000@{DOMAIN}")
    found = Identity.load(ca.write(place, issued))
    assert (found.name, found.domain) == ("rack-7", DOMAIN)
    assert (found.certificate, found.chain, found.trust) == (issued.certificate, issued.chain, (ca.certificate,))
    assert found.whole == issued.whole
    assert found.acp_name.address is not None
    assert found.membership().check(found.whole, time.time()) == found.member
    assert problems(place, time.time()) == []


@pytest.mark.parametrize("algorithm", ["P-256", "P-384", "P-521", "RSA-2048"])
def test_an_identity_is_saved_and_read_again(ca: Authority, place: Path, algorithm: str) -> None:
    identity = ca.identity("rack-7", ca.issue("rack-7", algorithm=algorithm))
    identity.save(place)
    assert Identity.load(place).member == identity.member
    assert sorted(os.listdir(place)) == ["certificate.pem", "key.pem", "trust.pem"]
    assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def written(make: Callable[[Authority], Issued]) -> Callable[[Authority, Path], None]:
    def write(ca: Authority, place: Path) -> None:
        ca.write(place, make(ca))

    return write


def other_key(ca: Authority, place: Path) -> None:
    ca.write(place, ca.issue("rack-7"))
    (place / "key.pem").write_bytes(key_pem(new_key()))


def open_key(mode: int) -> Callable[[Authority, Path], None]:
    def write(ca: Authority, place: Path) -> None:
        ca.write(place, ca.issue("rack-7"))
        (place / "key.pem").chmod(mode)

    return write


def replaced(name: str, data: bytes) -> Callable[[Authority, Path], None]:
    def write(ca: Authority, place: Path) -> None:
        ca.write(place, ca.issue("rack-7"))
        (place / name).write_bytes(data)

    return write


def removed(name: str) -> Callable[[Authority, Path], None]:
    def write(ca: Authority, place: Path) -> None:
        ca.write(place, ca.issue("rack-7"))
        (place / name).unlink()

    return write


def other_trust(ca: Authority, place: Path) -> None:
    ca.write(place, ca.issue("rack-7"), trust=[Authority(DOMAIN, "x").certificate])


def revoked(ca: Authority, place: Path) -> None:
    issued = ca.issue("rack-7")
    same_key = Authority(DOMAIN, key=ca.key)
    same_key.revoke(issued)
    ca.write(place, issued, crls=[b"-----BEGIN X509 CRL-----\n", same_key.crl()])


WRONG: dict[str, tuple[Callable[[Authority, Path], None], str]] = {
    "no directory": (lambda ca, place: None, "certificate.pem is not there"),
    "no certificate": (removed("certificate.pem"), "certificate.pem is not there"),
    "no key": (removed("key.pem"), "key.pem is not there"),
    "no trust anchors": (removed("trust.pem"), "trust.pem is not there"),
    "a certificate that is none": (replaced("certificate.pem", b"hello"), "certificate.pem: no PEM"),
    "an empty key": (replaced("key.pem", b""), "key.pem: no private key in PEM"),
    "an encrypted key": (replaced("key.pem", key_pem(new_key(), b"secret")), "key.pem: the key is encrypted"),
    "an Ed25519 key": (replaced("key.pem", key_pem(new_key("Ed25519"))), "neither RSA nor"),
    "a huge file": (replaced("trust.pem", bytes(300_000)), "trust.pem: longer than"),
    "a key others read": (open_key(0o644), "chmod 600"),
    "a key the group reads": (open_key(0o640), "mode 0640"),
    "a key others write": (open_key(0o602), "mode 0602"),
    "another's key": (other_key, "the key is not that of the certificate"),
    "a weak key": (written(lambda ca: ca.issue("rack-7", algorithm="RSA-1024")), "1024 bits instead of 2048"),
    "a weak signature": (written(lambda ca: ca.issue("rack-7", digest="SHA-224")), "sha224"),
    "no AcpNodeName": (written(lambda ca: ca.issue("rack-7", ())), "it has no AcpNodeName"),
    "two": (written(lambda ca: ca.issue("rack-7", (f"0@{DOMAIN}", f"0@{DOMAIN}"))), "it has 2 AcpNodeNames"),
    "a bad one": (written(lambda ca: ca.issue("rack-7", "rack-7")), "has no @"),
    "expired": (written(lambda ca: ca.issue("rack-7", not_after=time.time() - 9)), "rule 2: the certificate expired"),
    "not yet valid": (written(lambda ca: ca.issue("rack-7", not_before=time.time() + 900)), "not valid before"),
    "a CA's certificate": (written(lambda ca: ca.issue("rack-7", ca=True)), "CA:TRUE"),
    "another trust anchor": (other_trust, "neither presented nor a trust anchor"),
    "revoked": (revoked, "is revoked by CN=ca"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_identity_that_is_wrong_is_refused_with_what_is_wrong(ca: Authority, place: Path, name: str) -> None:
    make, why = WRONG[name]
    make(ca, place)
    with pytest.raises(LocalError) as refused:
        Identity.load(place)
    assert refused.value.code is ErrorCode.badIdentity
    assert why in refused.value.detail
    assert str(place) in refused.value.detail
    assert any(why in each for each in problems(place, time.time()))


def test_all_that_is_wrong_is_said_at_once(ca: Authority, place: Path) -> None:
    ca.write(place, ca.issue("rack-7", (), algorithm="RSA-1024"))
    (place / "key.pem").write_bytes(key_pem(new_key()))
    found = problems(place, time.time())
    assert [any(why in each for each in found) for why in ("not that of", "1024", "no AcpNodeName")] == [True] * 3
    (place / "key.pem").chmod(0o644)
    (place / "certificate.pem").write_bytes(b"")
    (place / "trust.pem").unlink()
    found = problems(place, time.time())
    assert [any(why in each for each in found) for why in ("chmod", "no PEM", "not there")] == [True] * 3


def test_without_a_clock_lifetimes_do_not_matter(ca: Authority, place: Path) -> None:
    ca.write(place, ca.issue("rack-7", not_before=time.time() - 90 * DAY, not_after=time.time() - DAY / 2))
    with pytest.raises(BadIdentity):
        Identity.load(place)
    assert Identity.load(place, check_times=False).name == "rack-7"


def test_an_identity_that_is_going_to_end_is_a_problem_then(ca: Authority, place: Path) -> None:
    ca.write(place, ca.issue("rack-7", not_after=time.time() + DAY))
    assert problems(place, time.time()) == []
    assert "expired" in problems(place, time.time() + 2 * DAY)[0]


def test_an_identity_is_not_made_of_parts_that_do_not_fit(ca: Authority) -> None:
    issued, key = ca.issue("rack-7"), new_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    with pytest.raises(BadIdentity, match="not that of the certificate"):
        Identity(key, issued.certificate, (), (ca.certificate,))
    good = ca.identity("rack-7", issued)
    with pytest.raises(BadIdentity, match="0 trust anchors"):
        Identity(good.key, good.certificate, (), ())


@pytest.mark.parametrize("algorithm", ["P-256", "RSA-2048"])
def test_nothing_shows_the_key(ca: Authority, place: Path, algorithm: str) -> None:
    issued = ca.issue("rack-7", algorithm=algorithm)
    identity = ca.identity("rack-7", issued)
    if isinstance(issued.key, rsa.RSAPrivateKey):
        secret = issued.key.private_numbers().d
    else:
        assert isinstance(issued.key, ec.EllipticCurvePrivateKey)
        secret = issued.key.private_numbers().private_value
    body = key_pem(issued.key).splitlines()[1].decode()
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(identity)
    ca.write(place, issued)
    (place / "key.pem").write_bytes(key_pem(issued.key)[:-60])
    shown = repr(identity) + str(identity) + " ".join(problems(place, time.time()))
    assert "key.pem" in shown
    assert str(secret) not in shown
    assert f"{secret:x}" not in shown
    assert body[:16] not in shown


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("last", range(4))
def test_a_crash_while_it_is_renewed_leaves_the_old_one_or_the_new_one(
    ca: Authority, place: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    old, new = ca.identity("rack-7"), ca.identity("rack-7")
    old.save(place)
    done = 0
    replace = os.replace

    def crashing(source: str, target: str) -> None:
        nonlocal done
        if done == last:
            raise Crash
        done += 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crashing)
        with pytest.raises(Crash):
            new.save(place)
    # Trust anchors, the next key, the certificate, then the key under its own name.
    assert Identity.load(place).member == (old if last < 3 else new).member
    newer = ca.identity("rack-7")
    newer.save(place)
    assert Identity.load(place).member == newer.member
    assert sorted(os.listdir(place)) == ["certificate.pem", "key.pem", "trust.pem"]


def test_a_certificate_is_renewed_for_the_same_key(ca: Authority, place: Path) -> None:
    identity = ca.identity("rack-7")
    identity.save(place)
    again = ca.issue("rack-7", key=identity.key)
    save(place, certificates=again.whole)
    assert Identity.load(place).certificate == again.certificate


def test_a_next_key_that_fits_no_certificate_yet_changes_nothing(ca: Authority, place: Path) -> None:
    identity, key = ca.identity("rack-7"), new_key()
    identity.save(place)
    (place / "key.next.pem").write_bytes(key_pem(key))
    (place / "key.next.pem").chmod(0o600)
    assert Identity.load(place).member == identity.member
    issued = ca.issue("rack-7", key=key)
    (place / "certificate.pem").write_bytes(pem(issued.certificate))
    assert Identity.load(place).certificate == issued.certificate


def test_a_change_is_noticed_and_no_change_is_not(ca: Authority, place: Path) -> None:
    identity = ca.identity("rack-7")
    absent = stamp(place)
    identity.save(place)
    before = stamp(place)
    assert changed(place, absent)
    assert not changed(place, before)
    save(place, certificates=ca.issue("rack-7", key=identity.key).whole)
    middle = stamp(place)
    assert changed(place, before)
    save_crls(place, [ca.crl()])
    assert changed(place, middle)


def test_revocation_lists_are_kept_beside_it(ca: Authority, place: Path) -> None:
    ca.identity("rack-7").save(place)
    assert load_crls(place) == ()
    other = Authority(DOMAIN, "x")
    save_crls(place, [ca.crl(), other.crl()])
    revocations = Revocations()
    for each in load_crls(place):
        assert revocations.add(each, [ca.certificate, other.certificate], time.time())
    assert len(revocations.lists()) == 2


def test_a_revocation_list_that_cannot_be_read_is_said(ca: Authority, place: Path) -> None:
    ca.identity("rack-7").save(place)
    (place / "crl.pem").mkdir()
    with pytest.raises(BadIdentity, match=r"crl\.pem"):
        load_crls(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_puts_there_belongs_to_the_owner_of_the_directory(ca: Authority, place: Path) -> None:
    place.mkdir()
    os.chown(place, 65_534, 65_534)
    ca.identity("rack-7").save(place)
    assert {(place / name).stat().st_uid for name in os.listdir(place)} == {65_534}
