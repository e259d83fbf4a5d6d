"""Reading certificates, and which are too weak (RFC 8994 §6.2.1)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from grasp.security import (
    BadCertificate,
    certificate_from_der,
    certificates_from_pem,
    crl_points,
    crl_urls,
    der,
    fingerprint,
    key_weakness,
    weakness,
)
from tests.pki import Authority, new_key, pem


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


def test_the_certificates_of_a_file_come_in_its_order(ca: Authority) -> None:
    issued = Authority(issuer=ca, name="below").issue("rack-7")
    data = b"Bag Attributes\n" + pem(issued.certificate) + b"\n# more\n" + pem(*issued.chain)
    assert certificates_from_pem(data) == issued.whole
    assert certificate_from_der(der(issued.certificate)) == issued.certificate


def test_what_is_beside_certificates_in_a_file_is_not_read(ca: Authority) -> None:
    assert certificates_from_pem(ca.crl() + pem(ca.certificate)) == (ca.certificate,)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no PEM"),
        (b"\x30\x82\x01\x00", "no PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no X.509 certificate"),
        (b"-----BEGIN CERTIFICATE-----\n", "no X.509 certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "certificate"),
        (b"-----BEGIN CERTIFICATE-----\n" * 17, "more than 16"),
    ],
)
def test_a_file_without_certificates_says_what_it_is(data: bytes, why: str) -> None:
    with pytest.raises(BadCertificate, match=why):
        certificates_from_pem(data)


def test_a_fingerprint_is_openssls(tmp_path: Path, ca: Authority) -> None:
    (tmp_path / "c.pem").write_bytes(pem(ca.certificate))
    command = ["openssl", "x509", "-in", str(tmp_path / "c.pem"), "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.strip().rpartition("=")[2].replace(":", "").lower() == fingerprint(ca.certificate).hex()


@pytest.mark.parametrize("algorithm", ["P-256", "P-384", "P-521", "RSA-2048", "RSA-3072"])
def test_the_keys_the_rfc_names_are_strong_enough(ca: Authority, algorithm: str) -> None:
    key = new_key(algorithm)
    assert key_weakness(key) is None
    assert key_weakness(key.public_key()) is None
    assert weakness(ca.issue("rack-7", key=key).certificate) is None


@pytest.mark.parametrize("algorithm", ["P-224", "secp256k1", "RSA-1024", "Ed25519"])
def test_weaker_and_other_keys_are_not(ca: Authority, algorithm: str) -> None:
    key = new_key(algorithm)
    assert key_weakness(key)
    assert key_weakness(key.public_key())
    assert weakness(ca.issue("rack-7", key=key).certificate)


@pytest.mark.parametrize(("digest", "strong"), [("SHA-224", False), ("SHA-256", True), ("SHA-512", True)])
def test_a_digest_below_sha_256_is_weak(ca: Authority, digest: str, strong: bool) -> None:
    assert (weakness(ca.issue("rack-7", digest=digest).certificate) is None) == strong


def test_distribution_points_are_told_apart_and_names_of_other_kinds_left_out(ca: Authority) -> None:
    def point(*urls: str) -> x509.DistributionPoint:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(url) for url in urls]
        return x509.DistributionPoint([*names, x509.DNSName("a.example")], None, None, None)

    points = x509.CRLDistributionPoints([point("http://a/1", "http://b/1"), point("ldap://c/2")])
    issued = ca.issue("rack-7", extensions=[(points, False)])
    assert crl_points(issued.certificate) == (("http://a/1", "http://b/1"), ("ldap://c/2",))
    assert crl_urls(issued.certificate) == ("http://a/1", "http://b/1", "ldap://c/2")
    assert crl_points(ca.certificate) == ()


def test_loading_it_does_not_load_openssls_binding_and_plain_loads_nothing_of_it() -> None:
    script = (
        "import sys, grasp, grasp.transport.plain\n"
        "assert not {'grasp.security', 'cryptography'} & set(sys.modules), 'plain'\n"
        "import grasp.security, grasp.security.crl_fetch\n"
        "assert 'OpenSSL' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
