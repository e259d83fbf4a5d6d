"""What CAs from elsewhere send: one made with openssl(1), with one intermediate, issues for our requests."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from asa.domain import installing, keys, requests
from asa.domain.errors import BadFile, BadIdentity
from asa.domain.installing import Sent
from asa.errors import AsaError, Conflict
from grasp.security import AcpName, Identity, NotMember, Revocations, load_crls, problems
from grasp.security import BadIdentity as Unfit
from tests.asa_domain.conftest import DOMAIN, Run, openssl
from tests.pki import Authority, Issued, key_pem, pem

NOW = time.time()
SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
DAY = 86_400


class Foreign:
    """A root, and under it an intermediate that issues."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self.root, self.below = home / "root.pem", home / "below.pem"
        self._key("root")
        self._key("below")
        (home / "ca.ext").write_text(
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        )
        (home / "leaf.ext").write_text("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyAgreement\n")
        openssl(
            "req", "-x509", "-new", "-key", home / "root.key", "-subj", "/O=Elsewhere/CN=root", "-days", "30",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", self.root,
        )  # fmt: skip
        openssl("req", "-new", "-key", home / "below.key", "-subj", "/O=Elsewhere/CN=below", "-out", home / "below.csr")
        self._sign("root", home / "below.csr", self.below, home / "ca.ext")

    def _key(self, name: str) -> None:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.home / f"{name}.key")

    def _sign(self, by: str, csr: Path, out: Path, extensions: Path, days: int = 20) -> None:
        openssl(
            "x509", "-req", "-in", csr, "-CA", self.home / f"{by}.pem", "-CAkey", self.home / f"{by}.key",
            "-copy_extensions", "copy", "-extfile", extensions, "-days", str(days), "-out", out,
        )  # fmt: skip

    def issue(self, csr: Path) -> Path:
        """The node's certificate alone."""
        out = self.home / "leaf.pem"
        self._sign("below", csr, out, self.home / "leaf.ext")
        return out


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return Foreign(tmp_path_factory.mktemp("foreign") / "pki")


@pytest.fixture
def asked(asa: Run, home: Path) -> Path:
    """A directory with a key and a request, made as an operator would."""
    done = asa("request", "rack-7", "--domain", DOMAIN, "--address", "fd89b714f3db00000200000064000000", "--out",
               home / "asked")  # fmt: skip
    assert done.status == 0
    return home / "asked"


def both(*files: Path) -> bytes:
    return b"".join(each.read_bytes() for each in files)


def test_openssl_reads_our_request(asked: Path) -> None:
    text = openssl("req", "-in", asked / "request.pem", "-verify", "-noout", "-text")
    assert "self-signature verify OK" in text
    assert "Subject: CN = rack-7" in text
    assert f"othername: 1.3.6.1.5.5.7.8.10::fd89b714f3db00000200000064000000@{DOMAIN}" in text
    assert stat.S_IMODE((asked / "key.pem").stat().st_mode) == 0o600


def test_a_ca_made_with_openssl_issues_through_an_intermediate(
    asa: Run, home: Path, asked: Path, foreign: Foreign
) -> None:
    leaf = foreign.issue(asked / "request.pem")
    openssl("verify", "-CAfile", foreign.root, "-untrusted", foreign.below, leaf)
    (asked / "chain.pem").write_bytes(both(leaf, foreign.below))
    place = home / "identity"
    done = asa("install", asked / "chain.pem", "--trust", foreign.root, "--identity", place)
    assert (done.status, done.stderr) == (0, "")
    identity = Identity.load(place)
    assert (identity.name, identity.domain, len(identity.chain)) == ("rack-7", DOMAIN, 1)
    member = identity.membership().check(identity.whole, time.time(), link=True)
    assert member.acp_name == f"fd89b714f3db00000200000064000000@{DOMAIN}"
    assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    assert asa("check", place).status == 0


@pytest.mark.parametrize("form", ["shuffled", "root too", "der", "pkcs7", "pkcs7 der", "text around"])
def test_chains_come_in_many_forms(asked: Path, foreign: Foreign, home: Path, form: str) -> None:
    leaf = foreign.issue(asked / "request.pem")
    out = home / "sent"
    crl2pkcs7 = ("crl2pkcs7", "-nocrl", "-certfile", leaf, "-certfile", foreign.below, "-out", out)
    trust = installing.read_certificates(foreign.root.read_bytes(), "root")
    if form == "shuffled":
        out.write_bytes(both(foreign.below, leaf))
    elif form == "root too":
        out.write_bytes(both(leaf, foreign.root, foreign.below))
    elif form == "der":
        openssl("x509", "-in", leaf, "-outform", "DER", "-out", out)
        trust += installing.read_certificates(foreign.below.read_bytes(), "below")
    elif form == "pkcs7":
        openssl(*crl2pkcs7)
    elif form == "pkcs7 der":
        openssl(*crl2pkcs7, "-outform", "DER")
    else:
        out.write_bytes(openssl("x509", "-in", leaf, "-text").encode() + foreign.below.read_bytes())
    sent = Sent(installing.read_certificates(out.read_bytes(), out), trust)
    key = keys.read((asked / "key.pem").read_bytes(), "key.pem")
    installing.install(home / "identity", sent, [key], time.time())
    assert problems(home / "identity", time.time()) == []


def put(place: Path, issued: Issued, *trust: x509.Certificate, crls: tuple[bytes, ...] = ()) -> Identity:
    assert isinstance(issued.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return installing.install(place, Sent(issued.whole, trust, crls), [issued.key], NOW)


CA = Authority(DOMAIN)
BELOW = Authority(DOMAIN, "below", issuer=CA)
OTHER = Authority(DOMAIN, "other")


def revoked() -> Issued:
    issued = CA.issue("rack-7")
    CA.revoke(issued)
    return issued


BAD: dict[str, tuple[Callable[[], Issued], str]] = {
    "expired": (lambda: CA.issue("rack-7", not_after=NOW - 60), "rule 2: the certificate expired"),
    "not yet valid": (lambda: CA.issue("rack-7", not_before=NOW + 3600), "rule 2: the certificate is not valid before"),
    "no AcpNodeName": (lambda: CA.issue("rack-7", ()), "rule 4"),
    "two of them": (lambda: CA.issue("rack-7", [CA.acp_name(), CA.acp_name()]), "rule 4"),
    "a malformed one": (lambda: CA.issue("rack-7", "fd89@"), "rule 4"),
    "another CA": (lambda: OTHER.issue("rack-7"), "rule 2"),
    "intermediate missing": (
        lambda: Issued((made := BELOW.issue("rack-7")).key, made.certificate, ()), "neither presented nor a trust",
    ),
    "self-signed": (
        lambda: Issued((ca := Authority(DOMAIN, "rack-7", ca=False, acp=(CA.acp_name(),))).key, ca.certificate, ()),
        "self-signed",
    ),
    "a weak key": (lambda: CA.issue("rack-7", algorithm="RSA-1024"), "RSA key of 1024 bits"),
    "a CA's": (lambda: CA.issue("rack-7", ca=True), "CA:TRUE"),
    "no name": (lambda: CA.issue(""), "common name"),
    "a name no node can have": (lambda: CA.issue("rack 7"), "common name"),
    "revoked": (revoked, "rule 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_good_identity_is_never_replaced_by_a_bad_one(tmp_path: Path, what: str) -> None:
    make, why = BAD[what]
    place = tmp_path / "identity"
    put(place, CA.issue("rack-7"), CA.anchor)
    before = {each.name: (each.read_bytes(), each.stat().st_ino) for each in place.iterdir()}
    issued = make()
    with pytest.raises(BadIdentity) as raised:
        put(place, issued, crls=(CA.crl(),))
    assert why in raised.value.message
    assert {each.name: (each.read_bytes(), each.stat().st_ino) for each in place.iterdir()} == before
    assert problems(place, NOW) == []


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    issued = CA.issue("rack-7")
    with pytest.raises(BadIdentity, match="none of the certificates is for a key"):
        put(tmp_path, Issued(keys.generate(), issued.certificate, ()), CA.anchor)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other", [CA.issue("rack-8"), CA.issue("rack-7", "fd89b714f3db00000200000064000000@other.example.com")]
)
def test_another_nodes_or_another_domains_identity_is_not_put_over_it(tmp_path: Path, other: Issued) -> None:
    put(tmp_path, CA.issue("rack-7"), CA.anchor)
    with pytest.raises(Conflict, match="is the identity of rack-7"):
        put(tmp_path, other)
    assert Identity.load(tmp_path).name == "rack-7"


def test_trust_anchors_never_come_from_the_chain(tmp_path: Path) -> None:
    issued = CA.issue("rack-7")
    with pytest.raises(BadIdentity, match="no trust anchors"):
        put(tmp_path, Issued(issued.key, issued.certificate, (CA.anchor,)))


def test_a_renewed_certificate_takes_the_trust_that_is_there(tmp_path: Path) -> None:
    first = put(tmp_path, CA.issue("rack-7"), CA.anchor)
    second = put(tmp_path, BELOW.issue("rack-7"))
    there = Identity.load(tmp_path)
    assert first.certificate != second.certificate == there.certificate
    assert (there.trust, there.chain) == ((CA.anchor,), (BELOW.certificate,))


def test_a_list_alone(tmp_path: Path) -> None:
    ca = Authority(DOMAIN)
    put(tmp_path, ca.issue("rack-7"), ca.anchor)
    bad = ca.issue("rack-8")
    assert load_crls(tmp_path) == ()
    first = ca.crl()
    assert installing.install_crls(tmp_path, (first,), NOW)
    ca.revoke(bad)
    second = ca.crl()
    assert installing.install_crls(tmp_path, (second,), NOW)
    assert not installing.install_crls(tmp_path, (first,), NOW)
    assert not installing.install_crls(tmp_path, (second,), NOW)
    revocations = Revocations()
    assert [revocations.add(each, (ca.anchor,), NOW) for each in load_crls(tmp_path)] == [True]
    with pytest.raises(NotMember):
        Identity.load(tmp_path).membership(revocations).check(bad.whole, NOW)


@pytest.mark.parametrize("crl", [OTHER.crl(), b"garbage", CA.crl(signer=OTHER.key)], ids=["foreign", "none", "forged"])
def test_a_list_that_is_none_of_the_domains(tmp_path: Path, crl: bytes) -> None:
    put(tmp_path, CA.issue("rack-7"), CA.anchor)
    with pytest.raises(BadFile):
        installing.install_crls(tmp_path, (crl,), NOW)
    assert load_crls(tmp_path) == ()


def csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


WEAK = {
    "RSA-1024": rsa.generate_private_key(65_537, 1024),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "P-224": ec.generate_private_key(ec.SECP224R1()),
}


@pytest.mark.parametrize("key", WEAK.values(), ids=WEAK)
def test_requests_for_weak_keys(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    with pytest.raises(BadIdentity):
        requests.wishes(csr(key), "request")


def test_a_request_of_somebody_elses_key() -> None:
    mine, theirs = x509.load_pem_x509_csr(csr(keys.generate())), keys.generate()
    # The same request, signed by another key: the signature of one in the body of the other.
    whole = mine.public_bytes(Encoding.DER)
    altered = whole.replace(mine.public_key().public_bytes(*SPKI), theirs.public_key().public_bytes(*SPKI))
    assert altered != whole
    with pytest.raises(BadIdentity, match="not signed by the key"):
        requests.wishes(altered, "request")


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN CERTIFICATE REQUEST-----", b"\x30\x03\x02\x01\x01", b"x" * 20_000]
)
def test_what_is_no_request(content: bytes) -> None:
    with pytest.raises(BadFile):
        requests.wishes(content, "request")


def test_our_request_says_what_was_wished() -> None:
    key = keys.generate("p384")
    found = requests.wishes(requests.request(key, "rack-7", AcpName(DOMAIN, None)), "request")
    assert (found.name, found.acp_name) == ("rack-7", f"@{DOMAIN}")
    assert keys.same(found.key, key)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_what_are_no_certificates(content: bytes) -> None:
    with pytest.raises(BadFile):
        installing.read_certificates(content, "file")


def test_an_encrypted_key_or_one_that_others_may_read(asa: Run, home: Path) -> None:
    issued = CA.issue("rack-7")
    CA.write(home / "sent", issued)
    (home / "sent" / "key.pem").write_bytes(key_pem(issued.key, b"passphrase"))
    done = asa("install", home / "sent", "--identity", home / "identity")
    assert (done.status, "encrypted" in done.stderr) == (1, True)
    (home / "sent" / "key.pem").write_bytes(key_pem(issued.key))
    (home / "sent" / "key.pem").chmod(0o640)
    done = asa("install", home / "sent", "--identity", home / "identity")
    assert (done.status, "chmod" in done.stderr) == (1, True)
    assert not (home / "identity").exists()
    (home / "sent" / "key.pem").chmod(0o600)
    assert asa("install", home / "sent", "--identity", home / "identity").status == 0


def test_what_cannot_be_written_is_said(home: Path) -> None:
    (home / "identity").write_bytes(b"a file")
    with pytest.raises(AsaError) as raised:
        put(home / "identity", CA.issue("rack-7"), CA.anchor)
    assert raised.value.code == "store-failed"


def test_a_chain_that_never_ends(tmp_path: Path) -> None:
    with pytest.raises((BadIdentity, BadFile)):
        installing.read_certificates(pem(*[CA.anchor] * 40), "file")


def test_an_identity_that_cannot_be_loaded_is_repaired(tmp_path: Path) -> None:
    put(tmp_path, CA.issue("rack-7"), CA.anchor)
    (tmp_path / "certificate.pem").write_bytes(b"damaged")
    with pytest.raises(Unfit):
        Identity.load(tmp_path)
    put(tmp_path, CA.issue("rack-7"))
    assert Identity.load(tmp_path).name == "rack-7"
