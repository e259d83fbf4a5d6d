"""A crash at any step leaves a CA and an identity that work, and nothing handed out that the index does not know."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from cryptography import x509

from asa.domain import authority, delivery, installing, keys
from asa.domain.authority import Authority
from asa.domain.errors import NameTaken
from asa.domain.installing import Sent
from asa.errors import Conflict, NotFound
from grasp.security import Identity, certificates_from_pem, problems
from tests.asa_domain.conftest import DOMAIN, PASSPHRASE, openssl, unlocked
from tests.asa_domain.crashing import deaths


def fresh(home: Path, *names: str) -> None:
    """The CA as it was, and none of ``names``."""
    if not (home / "before").exists():
        shutil.copytree(home / "ca", home / "before")
    for each in ("ca", *names):
        shutil.rmtree(home / each, ignore_errors=True)
    shutil.copytree(home / "before", home / "ca")


def known(home: Path) -> set[int]:
    return {each.serial for each in Authority(home / "ca").certificates()}


def test_a_new_ca_is_there_as_a_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_COST", 2)

    def make() -> None:
        authority.create(tmp_path / "ca", DOMAIN, PASSPHRASE, now=time.time())

    for _ in deaths(make, lambda: shutil.rmtree(tmp_path / "ca", ignore_errors=True)):
        if (tmp_path / "ca").exists():
            unlocked(tmp_path).sign_crl()
        else:
            make()
            assert not Authority(tmp_path / "ca").crl_outdated()


def test_no_certificate_is_handed_out_that_is_not_in_the_index(home: Path) -> None:
    ca = unlocked(home)
    out = home / "rack-7"

    def issue() -> None:
        public = delivery.own_key(out).public_key()
        delivery.deliver(out, ca, ca.issue("rack-7", public))

    for _ in deaths(issue, lambda: fresh(home, "rack-7")):
        serials = known(home)
        if (out / "certificate.pem").exists():
            (handed,) = certificates_from_pem((out / "certificate.pem").read_bytes())
            assert {handed.serial_number} == serials
            assert problems(out, time.time()) == []
        elif serials:
            # It is told, and what there is to do works: the same key, so that all is complete.
            with pytest.raises(NameTaken):
                ca.check_free("rack-7")
            delivery.deliver(out, ca, ca.renew("rack-7", ca.current_key("rack-7")))
            assert problems(out, time.time()) == []
        else:
            issue()
            assert problems(out, time.time()) == []


def test_a_revocation_counts_or_can_be_asked_for_again(home: Path) -> None:
    ca = unlocked(home)
    serial = ca.issue("rack-7", keys.generate().public_key()).serial
    shutil.copytree(home / "ca", home / "before")
    numbers = set()
    for _ in deaths(lambda: ca.revoke("rack-7"), lambda: fresh(home)):
        written = x509.load_pem_x509_crl((home / "ca" / "crl.pem").read_bytes())
        listed = written.get_revoked_certificate_by_serial_number(serial) is not None
        (there,) = Authority(home / "ca").certificates()
        # Never on a list and valid for the CA; where the list lags, the CA says so.
        assert not listed or there.revoked is not None
        assert listed or there.revoked is None or Authority(home / "ca").crl_outdated()
        numbers.add(int(openssl("crl", "-in", home / "ca" / "crl.pem", "-noout", "-crlnumber").split("=0x")[1], 16))
        ca.revoke("rack-7")
        after = x509.load_pem_x509_crl((home / "ca" / "crl.pem").read_bytes())
        assert after.get_revoked_certificate_by_serial_number(serial) is not None
        assert after.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > max(numbers)
        assert not Authority(home / "ca").crl_outdated()


def test_an_identity_is_the_old_one_or_the_new_one(home: Path) -> None:
    """With another key, and under another trust anchor: nothing of the two fits together."""
    authority.create(home / "other" / "ca", DOMAIN, PASSPHRASE, now=time.time())
    old, new = unlocked(home), unlocked(home / "other")
    place = home / "identity"
    chosen = [keys.generate(), keys.generate()]
    sent = [
        Sent(
            (x509.load_pem_x509_certificate(each.issue("rack-7", key.public_key()).pem.encode()),),
            (each.certificate,),
            (each.crl().encode(),),
        )
        for each, key in zip((old, new), chosen, strict=True)
    ]
    found = set()

    def prepare() -> None:
        shutil.rmtree(place, ignore_errors=True)
        installing.install(place, sent[0], chosen[:1], time.time())

    for _ in deaths(lambda: installing.install(place, sent[1], chosen[1:], time.time()), prepare):
        found.add(Identity.load(place).certificate)
        installing.install(place, sent[1], chosen[1:], time.time())
        now = Identity.load(place)
        assert (now.certificate, now.trust) == (sent[1].certificates[0], sent[1].trust)
    assert found == {each.certificates[0] for each in sent}


def test_joining_leaves_an_identity_or_nothing_that_is_in_the_way(home: Path) -> None:
    ca = unlocked(home)
    key = keys.generate()
    leaf = x509.load_pem_x509_certificate(ca.issue("rack-7", key.public_key()).pem.encode())
    sent = Sent((leaf,), (ca.certificate,), (ca.crl().encode(),))
    place = home / "identity"
    for _ in deaths(
        lambda: installing.install(place, sent, [key], time.time()),
        lambda: shutil.rmtree(place, ignore_errors=True),
    ):
        if (place / "certificate.pem").exists():
            assert problems(place, time.time()) == []
        else:
            installing.refuse_present(place)


def test_an_invitation_is_used_exactly_when_its_certificate_is_in_the_index(home: Path) -> None:
    ca = unlocked(home)
    ca.invite("first", "rack-7", int(time.time()) + 600)
    shutil.copytree(home / "ca", home / "before")
    public = keys.generate().public_key()
    for _ in deaths(lambda: ca.issue("rack-7", public, invitation="first"), lambda: fresh(home)):
        issued = known(home)
        if issued:
            ca.revoke("rack-7")
            with pytest.raises(Conflict, match="used already"):
                ca.issue("rack-7", keys.generate().public_key(), invitation="first")
        else:
            ca.issue("rack-7", public, invitation="first")


def test_a_directory_without_a_ca(home: Path) -> None:
    (home / "ca" / "ca.pem").unlink()
    with pytest.raises(NotFound):
        Authority(home / "ca")
