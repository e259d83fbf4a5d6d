"""``asa domain`` as operators have it: what it prints, how it ends, and what it never shows."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from asa.cli import _FUNCTIONS
from asa.cli.domain_commands import DOMAIN as COMMANDS
from asa.domain import keys, requests
from grasp.security import Identity
from tests.asa_cli.conftest import PATIENCE, command, environment
from tests.asa_domain.conftest import DOMAIN, PASSPHRASE, Run, openssl
from tests.pki import Authority, key_pem, pem

ROOT = Path(__file__).parents[2]


def started(*argv: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("domain", *map(str, argv)), env=environment(""), cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def visible(pid: int) -> bytes:
    """What every other user sees of a process, and its own user besides."""
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()


def inviting(home: Path, name: str = "rack-7", *more: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    invite = started(
        "invite", name, "--listen", "127.0.0.1:0", "--json", "--ca", home / "ca", "--passphrase-file",
        home / "passphrase", *more,
    )  # fmt: skip
    assert invite.stdout is not None
    return invite, json.loads(invite.stdout.readline())


def test_every_command_is_there() -> None:
    assert {f"domain {name}" for name, _, _ in COMMANDS} == {each for each in _FUNCTIONS if each.startswith("domain ")}


def test_a_ca_of_ones_own_from_the_first_to_the_last_day(asa: Run, home: Path) -> None:
    ca, node, sent = home / "new", home / "rack-7", home / "sent"
    signing = ("--ca", ca, "--passphrase-file", home / "passphrase")
    made = asa("init", "ACP.Example.com", *signing, "--json")
    assert (made.status, made.json["domain"], made.json["certificate"]["kind"]) == (0, "acp.example.com", "ca")
    again = asa("init", DOMAIN, *signing, "--json")
    assert (again.status, again.json["error"]["code"]) == (1, "conflict")

    issued = asa("issue", "rack-7", "--out", node, *signing, "--json")
    assert (issued.status, issued.json["name"]) == (0, "rack-7")
    assert Identity.load(node).domain == "acp.example.com"
    assert asa("check", node).stdout.endswith("a member\n")
    twice = asa("issue", "rack-7", "--out", home / "other", *signing, "--json")
    assert (twice.status, twice.json["error"]["code"]) == (1, "name-taken")
    assert not (home / "other").exists()

    renewed = asa("renew", "rack-7", "--out", sent, "--days", "9", *signing, "--json").json
    assert renewed["certificate"]["acp_names"] == issued.json["certificate"]["acp_names"]
    assert not (sent / "key.pem").exists()
    assert asa("install", sent, "--identity", node).status == 0
    assert f"{Identity.load(node).certificate.serial_number:x}" == renewed["certificate"]["serial"]

    revoked = asa("revoke", "rack-7", *signing, "--json").json
    assert [each["name"] for each in revoked["revoked"]] == ["rack-7", "rack-7"]
    assert asa("check", node).status == 0
    assert asa("install", "--crl", revoked["crl"], "--identity", node).status == 0
    refused = asa("check", node, "--json")
    assert (refused.status, refused.json["ok"]) == (1, False)
    assert [each["rule"] for each in refused.json["findings"] if not each["ok"]] == [3]
    listed = asa("list", "--ca", ca, "--json").json
    assert [(each["name"], each["revoked"] is not None) for each in listed["certificates"]] == [("rack-7", True)] * 2
    assert asa("crl", *signing).status == 0


def test_a_request_is_issued_under_the_name_the_operator_says(asa: Run, home: Path) -> None:
    assert asa("request", "evil", "--domain", "evil.example.com", "--out", home / "asked").status == 0
    done = asa("issue", "rack-7", "--csr", home / "asked" / "request.pem", "--out", home / "sent", signing=True)
    assert done.status == 0
    assert "evil" in done.stderr
    assert "Subject: CN = rack-7" in openssl("x509", "-in", home / "sent" / "certificate.pem", "-noout", "-text")
    assert not (home / "sent" / "key.pem").exists()
    assert asa("install", home / "sent", "--key", home / "asked" / "key.pem", "--identity", home / "id").status == 0
    assert (Identity.load(home / "id").name, Identity.load(home / "id").domain) == ("rack-7", DOMAIN)


def test_one_command_on_each_side_and_the_token_in_no_place_others_see(asa: Run, home: Path) -> None:
    invite, said = inviting(home)
    token = said["token"]
    (home / "token").write_text(token)
    (home / "token").chmod(0o600)
    join = started("join", "--token-file", "-", "--identity", home / "rack-7", "--json", stdin=subprocess.PIPE)
    seen = visible(join.pid) + visible(invite.pid)
    joined, complaints = join.communicate(token + "\n", timeout=PATIENCE)
    assert (join.returncode, complaints) == (0, "")
    assert (json.loads(joined)["name"], json.loads(joined)["domain"]) == ("rack-7", DOMAIN)
    outcome, complaints = invite.communicate(timeout=PATIENCE)
    assert (invite.returncode, json.loads(outcome)["end"]) == (0, "joined")
    assert Identity.load(home / "rack-7").name == "rack-7"
    for secret in (token, token[30:], PASSPHRASE.decode()):
        assert secret.encode() not in seen
        assert secret not in joined + complaints + outcome

    again = asa("join", "--token-file", home / "token", "--identity", home / "rack-8", "--json")
    assert (again.status, again.json["error"]["code"]) == (1, "join-refused")
    over = asa("join", "--token-file", home / "token", "--identity", home / "rack-7", "--json")
    assert (over.status, over.json["error"]["code"]) == (1, "conflict")
    assert token[30:] not in again.stdout + again.stderr + over.stdout + over.stderr


def test_the_token_is_all_there_is_on_stdout_for_people(home: Path) -> None:
    invite = started(
        "invite", "rack-7", "--listen", "[::1]:0", "--for", "1s", "--ca", home / "ca", "--passphrase-file",
        home / "passphrase",
    )  # fmt: skip
    shown, complaints = invite.communicate(timeout=PATIENCE)
    assert invite.returncode == 1
    assert shown.startswith("asa-join-")
    assert shown.count("\n") == 1
    assert "nobody joined in time" in complaints
    assert shown.strip() not in complaints


def test_an_invitation_that_is_stopped_leaves_the_name_free(asa: Run, home: Path) -> None:
    invite, said = inviting(home)
    invite.send_signal(signal.SIGINT)
    assert invite.wait(PATIENCE) == 130
    (home / "token").write_text(said["token"])
    (home / "token").chmod(0o600)
    assert asa("join", "--token-file", home / "token", "--identity", home / "late").status == 1
    assert asa("issue", "rack-7", "--out", home / "rack-7", signing=True).status == 0


@pytest.mark.parametrize("token", ["", "asa-join-AAAA", "x" * 600, "hunter2"])
def test_what_is_no_token(asa: Run, home: Path, token: str) -> None:
    (home / "token").write_text(token)
    (home / "token").chmod(0o600)
    done = asa("join", "--token-file", home / "token", "--identity", home / "rack-7", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "bad-token")
    assert not token or token not in done.stdout


@pytest.mark.parametrize("content", [b"short", b"", b"x" * 2_000, b"two lines\nof it"])
def test_what_is_no_passphrase(asa: Run, home: Path, content: bytes) -> None:
    (home / "passphrase").write_bytes(content)
    done = asa("crl", "--json", signing=True)
    assert (done.status, done.json["error"]["code"]) == (2, "usage")


def test_passphrases_are_kept_to_oneself(asa: Run, home: Path) -> None:
    (home / "passphrase").write_bytes(b"another passphrase")
    done = asa("crl", "--json", signing=True)
    assert (done.status, done.json["error"]["code"]) == (1, "wrong-passphrase")
    assert "another passphrase" not in done.stdout
    (home / "passphrase").chmod(0o644)
    assert asa("crl", signing=True).status == 2
    alone = asa("crl", "--ca", home / "ca")
    assert (alone.status, "no terminal" in alone.stderr) == (2, True)
    for words in ("crl", "issue", "invite", "init"):
        assert "--passphrase " not in asa(words, "--help").stdout


def test_on_a_terminal_a_passphrase_is_asked_for_and_not_echoed(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        words = command("domain", "init", DOMAIN, "--ca", str(tmp_path / "ca"))
        os.chdir(ROOT)
        os.execve(sys.executable, words, environment(""))
    shown = b""
    for prompt in (b"passphrase of the CA: ", b"again: "):
        while prompt not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, PASSPHRASE + b"\n")
    try:
        while more := os.read(terminal, 1024):
            shown += more
    except OSError:
        # What Linux says where the other end is closed.
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert PASSPHRASE not in shown
    assert openssl("pkey", "-in", tmp_path / "ca" / "key.pem", "-passin", "env:PASSPHRASE", "-noout") == ""


def test_a_certificate_is_judged_by_an_identity(asa: Run, home: Path) -> None:
    assert asa("issue", "rack-7", "--out", home / "rack-7", signing=True).status == 0
    assert asa("issue", "rack-8", "--out", home / "rack-8", signing=True).status == 0
    assert asa("issue", "noc", "--address", "none", "--out", home / "noc", signing=True).status == 0
    place = ("--identity", home / "rack-7")
    good = asa("check", home / "rack-8" / "certificate.pem", *place)
    assert (good.status, good.stdout.splitlines()[-1]) == (0, "a member")
    assert asa("check", home / "rack-7", "--peer", home / "rack-8" / "certificate.pem").stdout == good.stdout
    noc = asa("check", home / "noc" / "certificate.pem", *place)
    assert (noc.status, noc.stdout.splitlines()[-1]) == (0, "a member, with the limits above")
    (home / "foreign.pem").write_bytes(pem(*Authority(DOMAIN).issue("rack-8").whole))
    foreign = asa("check", home / "foreign.pem", *place, "--json")
    assert foreign.status == 1
    assert [each["rule"] for each in foreign.json["findings"] if not each["ok"]] == [2]
    assert asa("check", home / "nowhere").status == 1


def test_what_is_in_files_is_shown_and_keys_are_not(asa: Run, home: Path) -> None:
    assert asa("issue", "rack-7", "--out", home / "rack-7", signing=True).status == 0
    shown = asa("show", home / "rack-7", "--json").json
    assert [each["kind"] for each in shown] == ["certificate", "ca", "crl"]
    assert [each["kind"] for each in asa("show", home / "ca", "--json").json] == ["ca", "crl"]
    key = asa("show", home / "rack-7" / "key.pem")
    assert (key.status, key.stdout) == (1, "")
    printed = openssl("x509", "-in", home / "rack-7" / "certificate.pem", "-noout", "-fingerprint", "-sha256")
    assert printed.strip().split("=")[1].replace(":", "").lower() == shown[0]["fingerprint"]


def altered(certificate: x509.Certificate, there: bytes, instead: bytes) -> bytes:
    der = certificate.public_bytes(Encoding.DER)
    assert der.count(there) == 1
    return der.replace(there, instead)


# Of the curve P-256 and of X.509 v3: object identifier (RFC 5480 §2.1.1.1), version (RFC 5280 §4.1.2.1).
P256 = bytes.fromhex("2a8648ce3d030107")
V3 = bytes.fromhex("a003020102")


def test_a_certificate_of_an_unknown_curve_is_shown_and_not_installed(asa: Run, home: Path) -> None:
    ca = Authority(DOMAIN)
    issued = ca.issue("rack-7")
    (home / "odd.der").write_bytes(altered(issued.certificate, P256, P256[:3] + b"\x3e" + P256[4:]))
    done = asa("show", home / "odd.der", "--json")
    assert (done.status, done.json[0]["key"]) == (0, "of a kind that members refuse")
    (home / "key.pem").write_bytes(key_pem(issued.key))
    (home / "key.pem").chmod(0o600)
    (home / "trust.pem").write_bytes(pem(ca.anchor))
    done = asa("install", home / "odd.der", "--trust", home / "trust.pem", "--identity", home / "id", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "bad-identity")
    assert not (home / "id").exists()


@pytest.mark.parametrize("what", ["certificate", "list", "request", "bundle"])
def test_what_cannot_be_read_is_no_defect(asa: Run, home: Path, what: str) -> None:
    ca, path = Authority(DOMAIN), home / "odd"
    if what == "certificate":
        path.write_bytes(altered(ca.issue("rack-7").certificate, V3, V3[:-1] + b"\x0c"))
    elif what == "list":
        der = x509.load_pem_x509_crl(ca.crl()).public_bytes(Encoding.DER)
        # The version is the first INTEGER in it.
        at = der.index(b"\x02\x01\x01")
        lines = base64.encodebytes(der[: at + 2] + b"\x0c" + der[at + 3 :])
        path.write_bytes(b"-----BEGIN X509 CRL-----\n" + lines + b"-----END X509 CRL-----\n")
    elif what == "request":
        der = x509.load_pem_x509_csr(requests.request(keys.generate(), "x")).public_bytes(Encoding.DER)
        lines = base64.encodebytes(der.replace(b"\x02\x01\x00", b"\x02\x01\x0c", 1))
        path.write_bytes(b"-----BEGIN CERTIFICATE REQUEST-----\n" + lines + b"-----END CERTIFICATE REQUEST-----\n")
    else:
        # PKCS #7 of the kind data, not signedData (RFC 5652 §4).
        path.write_bytes(bytes.fromhex("300f06092a864886f70d010701a0020400"))
    done = asa("show", path, "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "bad-file")


def test_revoking_one_certificate_tells_of_those_with_the_same_key(asa: Run, home: Path) -> None:
    first = asa("issue", "rack-7", "--out", home / "rack-7", "--json", signing=True).json["certificate"]["serial"]
    second = asa("renew", "rack-7", "--out", home / "sent", "--json", signing=True).json["certificate"]["serial"]
    done = asa("revoke", first, signing=True)
    assert done.status == 0
    assert done.stdout.splitlines()[:2] == [
        f"revoked: rack-7 {first}", f"revoked: rack-7 {second}, which is of the same key",
    ]  # fmt: skip


def test_what_strangers_write_into_certificates_reaches_no_terminal(asa: Run, home: Path) -> None:
    (home / "hostile.pem").write_bytes(pem(Authority(DOMAIN).issue("\x1b[2Jx\u202e").certificate))
    done = asa("show", home / "hostile.pem")
    assert done.status == 0
    assert done.stdout.replace("\n", "").isprintable()
    assert "\u202e" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["invite", "rack-7", "--listen", "[::]:0"], ["invite", "rack-7", "--listen", "0.0.0.0:0"],
        ["invite", "rack-7", "--listen", "[fe80::1]:0"], ["invite", "rack-7", "--listen", "198.51.100.1:0"],
        ["invite", "rack-7", "--for", "2d"], ["issue", "rack-7"], ["issue", "rack-7", "--out", "/x", "--address", "12"],
        ["request", "rack-7", "--out", "/nowhere", "--address", "0"], ["install"], ["install", "--trust", "x"],
    ],
)  # fmt: skip
def test_wrong_command_lines(asa: Run, words: list[str]) -> None:
    done = asa(*words, signing=words[0] in ("invite", "issue"))
    assert (done.status, done.stdout) == (2, "")
