"""Lists of revoked certificates: which are taken, kept and told, and when somebody says them."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from asa import lists as module
from asa.lists import FILE, Lists, Turn
from grasp.security import Revocations
from objectives import InvalidValue
from objectives.revoked import MAX_BYTES, MAX_CRL, Revoked
from tests.pki import DAY, Authority


class Node:
    """What one agent knows, on a disk that outlives it."""

    def __init__(self, directory, *cas):
        self.directory = directory
        self.cas = cas
        self.ticks = 1_000.0
        self.begin()

    def begin(self):
        self.revocations = Revocations()
        self.lists = Lists(
            self.directory, self.revocations, lambda: [each.certificate for each in self.cas], time.time,
            lambda: self.ticks,
        )  # fmt: skip
        self.lists.remember()
        return self


@pytest.fixture
def ca():
    return Authority()


@pytest.fixture
def node(tmp_path, ca):
    return Node(tmp_path, ca)


def der(crl):
    return x509.load_pem_x509_crl(crl).public_bytes(Encoding.DER)


def test_what_one_node_is_given_another_hears_and_knows_in_its_next_life(tmp_path, ca, node):
    rack = ca.issue("rack-7")
    ca.revoke(rack)
    assert node.lists.given([ca.crl()]) == []
    (tmp_path / "other").mkdir()
    other = Node(tmp_path / "other", ca)
    assert other.lists.heard(node.lists.told()) == (False, [])
    assert other.revocations.revoked(rack.certificate)
    other.lists.keep()
    assert other.begin().revocations.revoked(rack.certificate)
    assert other.lists.told() == node.lists.told()
    # A text that every other tool can read.
    (found,) = x509.load_pem_x509_crl((tmp_path / "other" / FILE).read_bytes())
    assert found.serial_number == rack.certificate.serial_number


def test_an_older_list_is_not_taken_and_tells_that_somebody_has_not_heard(ca, node):
    old = der(ca.crl())
    ca.revoke(ca.issue("rack-7"))
    new = der(ca.crl())
    node.lists.heard(Revoked((new,)))
    version = node.lists.version
    assert node.lists.heard(Revoked((new,))) == (False, [])
    assert node.lists.heard(Revoked((old,))) == (True, [])
    assert node.lists.version == version
    assert node.lists.told().crls == (new,)


def test_a_list_no_ca_of_the_domain_signed_is_refused_and_the_good_beside_it_taken(ca, node):
    bad = der(Authority().crl())
    other = der(ca.crl())
    altered = bytearray(other)
    altered[-1] ^= 1
    older, wrong = node.lists.heard(Revoked((bad, b"\x30\x00", bytes(altered), other)))
    assert (older, len(wrong)) == (False, 3)
    assert node.lists.told().crls == (other,)


def test_what_is_on_disk_and_no_list_is_left_out(tmp_path, ca, node):
    node.lists.given([ca.crl()])
    node.lists.keep()
    file = tmp_path / FILE
    file.write_bytes(b"-----BEGIN X509 CRL-----\nx\n-----END X509 CRL-----\n" + file.read_bytes() + b"\xff")
    assert len(node.begin().lists.told().crls) == 1
    file.write_bytes(b"\x00" * 100)
    assert node.begin().lists.told().crls == ()


def test_lists_of_others_are_verified_no_faster_than_the_rate_allows(ca, node, monkeypatch):
    monkeypatch.setattr(module, "BURST", 2.0)
    node.begin()
    garbage = Revoked(tuple(bytes([number]) for number in range(1, 6)))
    _, wrong = node.lists.heard(garbage)
    assert len(wrong) == 3
    assert "too many" in wrong[-1]
    good = Revoked((der(ca.crl()),))
    assert node.lists.heard(good)[1] == ["too many lists at once to verify them all"]
    node.ticks += 1.0
    assert node.lists.heard(good) == (False, [])


def test_a_list_that_is_too_long_is_in_force_but_told_of_only_here(ca, node):
    for _ in range(400):
        ca.revoked.append((10**30 + len(ca.revoked), time.time()))
    crl = ca.crl(next_update=time.time() + DAY)
    assert len(der(crl)) > MAX_CRL
    assert node.lists.given([crl]) == []
    assert node.lists.told().crls == ()
    assert node.lists.too_long() == ["CN=ca"]


def test_what_is_told_fits_one_answer_and_its_parts_one_flood_each():
    crls = [bytes([number]) * size for number, size in enumerate((MAX_CRL, 9_000, 4_000, MAX_CRL + 1, 0, 9_000, 9_000))]
    told = Revoked.fitting(crls)
    assert sum(map(len, told.crls)) <= MAX_BYTES
    assert told.crls == (crls[0], crls[1], crls[2], crls[5], crls[6])
    parts = told.parts()
    assert [crl for part in parts for crl in part.crls] == list(told.crls)
    assert all(sum(map(len, part.crls)) <= MAX_CRL for part in parts)
    assert Revoked(()).parts() == []
    assert len(Revoked.fitting(b"x" * 9_000 for _ in range(20)).crls) == MAX_BYTES // 9_000
    with pytest.raises(InvalidValue):
        Revoked((b"x" * 9_000,) * 6)


def test_it_is_said_once_after_the_pause_unless_somebody_else_said_it():
    turn = Turn(10.0)
    assert turn.wait(100.0) is None
    turn.come(100.0, 3.0)
    turn.come(100.0, 1.0)
    turn.come(100.0, 2.0)
    assert (turn.take(100.5), turn.wait(100.5)) == (False, 0.5)
    assert turn.take(101.0)
    assert not turn.take(200.0)
    turn.come(200.0, 1.0)
    turn.said(200.5)
    assert not turn.take(300.0)


def test_who_said_it_rests_unless_there_is_news():
    turn = Turn(10.0)
    turn.come(100.0, 0.0)
    assert turn.take(100.0)
    turn.come(101.0, 0.5)
    assert turn.wait(101.0) == 9.5
    turn.come(101.0, 0.5, news=True)
    assert turn.wait(101.0) == 0.5
