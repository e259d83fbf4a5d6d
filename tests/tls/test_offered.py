"""What a node offers, asked by another implementation's command, in the manner of testssl."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grasp.transport.tls import TlsFailed
from tests.pki import Authority
from tests.tls.substrates import LOOPBACK, PATIENCE, Ear, Running, eventually

OPENSSL = shutil.which("openssl")
CA = Authority()

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl command")


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CA.write(tmp_path_factory.mktemp("identity"), CA.issue("asker"))


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    found = Running(Ear(), CA.identity("asked"))
    yield found
    found.substrate.stop()


def s_client(node: Running, identity: Path, *options: str, certificate: bool = True, said: bytes = b"hello!") -> str:
    """What the command tells of one connection, which ends with what is ``said``."""
    own = ("-cert", str(identity / "certificate.pem"), "-key", str(identity / "key.pem")) if certificate else ()
    # Told to wait for the answer it reads no commands, such as R.
    wait = ("-ign_eof",) if said.endswith(b"!") else ()
    found = subprocess.run(
        [str(OPENSSL), "s_client", "-connect", f"[::1]:{node.port}", *own, *wait, *options],
        input=said, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return found.stdout.decode(errors="replace")


def chosen(told: str) -> str | None:
    """The suite that was agreed on."""
    found = next((line for line in told.splitlines() if line.startswith("New, ")), "")
    suite = found.rpartition("Cipher is ")[2]
    return None if suite in ("", "(NONE)") else suite


def everything_accepted(offer: list[str], ask: Callable[[str], str]) -> list[str]:
    """Offer all, then all but what was chosen, and so on until nothing is."""
    accepted = []
    while offer and (suite := chosen(ask(":".join(offer)))) is not None:
        accepted.append(suite)
        offer.remove(suite)
    return accepted


def test_the_suites_of_tls_1_3_are_two(node: Running, identity: Path) -> None:
    suites = [
        "TLS_AES_128_GCM_SHA256", "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256", "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_256_GCM_SHA384",
    ]  # fmt: skip
    assert everything_accepted(suites, lambda offer: s_client(node, identity, "-tls1_3", "-ciphersuites", offer)) == [
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ]


def test_the_suite_of_tls_1_2_is_the_one_for_its_key(
    tmp_path: Path, identity: Path, running: Callable[..., Running]
) -> None:
    listed = subprocess.run(
        [str(OPENSSL), "ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    every = [each for each in listed.stdout.strip().split(":") if not each.startswith("TLS_")]
    assert len(every) > 50
    rsa = CA.identity("of RSA", CA.issue("of RSA", algorithm="RSA-2048"))
    for own, kind in ((CA.identity("of P-256"), "ECDSA"), (rsa, "RSA")):
        node = running(own)
        accepted = everything_accepted(
            list(every), lambda offer, node=node: s_client(node, identity, "-tls1_2", "-cipher", f"{offer}:@SECLEVEL=0")
        )
        assert accepted == [f"ECDHE-{kind}-AES256-GCM-SHA384"]


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(node: Running, identity: Path, version: str) -> None:
    told = s_client(node, identity, version, "-cipher", "ALL:@SECLEVEL=0")
    assert chosen(told) is None
    assert "alert protocol version" in told


@pytest.mark.parametrize("group", ["P-256", "P-384"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_both_groups_of_the_rfc_will_do(
    running: Callable[..., Running], identity: Path, group: str, version: str
) -> None:
    # In TLS 1.2 the groups are also the curves a certificate may have, so its own is of RSA.
    node = running(CA.identity("of RSA", CA.issue("of RSA", algorithm="RSA-2048")))
    assert chosen(s_client(node, identity, version, "-groups", group)) is not None


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_certificate_is_asked_for(node: Running, identity: Path, version: str) -> None:
    told = s_client(node, identity, version, certificate=False)
    wanted = "certificate required" if version == "-tls1_3" else "handshake failure"
    assert f"alert {wanted}" in told
    assert b"asked" in told.encode()  # its own, which it showed


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_nothing_is_resumed(node: Running, identity: Path, tmp_path: Path, version: str) -> None:
    """No ticket is sent, no session has an ID, and one that is presented all the same is not taken up."""
    saved = tmp_path / "session.pem"
    told = s_client(node, identity, version, "-msg", "-sess_out", str(saved))
    assert chosen(told) is not None
    assert "NewSessionTicket" not in told
    assert "TLS session ticket" not in told
    if version == "-tls1_2":
        assert "Session-ID: \n" in told
    if saved.exists():
        again = s_client(node, identity, version, "-sess_in", str(saved))
        assert "Reused" not in again


def test_nobody_renegotiates(node: Running, identity: Path) -> None:
    """``R`` on a line of its own asks s_client to; it ends with the alert that forbids it."""
    served = node.ear.served
    told = s_client(node, identity, "-tls1_2", "-msg", said=b"R\n")
    assert node.ear.served == served + 1
    assert told.count("ServerHello\n") == 1 or told.count(", ServerHello\n") == 1
    assert "no_renegotiation" in told


def test_nothing_is_compressed(node: Running, identity: Path) -> None:
    assert "Compression: NONE" in s_client(node, identity, "-tls1_2", "-comp")


REFUSED = [
    "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256",
    "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
    "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0",
    "-tls1_1 -cipher ALL:@SECLEVEL=0",
]
TAKEN = ["-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256"]


@pytest.mark.parametrize("options", REFUSED + TAKEN)
def test_as_a_client_it_takes_no_less(running: Callable[..., Running], identity: Path, options: str) -> None:
    node = running(CA.identity("asked"))
    with s_server(identity, *options.split()) as port:
        if options in REFUSED:
            with pytest.raises(TlsFailed):
                node.substrate.connect(LOOPBACK, port, 0, PATIENCE)
            return
        connection = node.substrate.connect(LOOPBACK, port, 0, PATIENCE, "asker")
        assert connection.member is not None
        assert connection.member.name == "asker"
        connection.close()


@contextmanager
def s_server(identity: Path, *options: str) -> Iterator[int]:
    """The command as a server; its port."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
        port = probe.getsockname()[1]
    own = ("-cert", str(identity / "certificate.pem"), "-key", str(identity / "key.pem"))
    trust = ("-CAfile", str(identity / "trust.pem"), "-Verify", "3")
    server = subprocess.Popen(
        [str(OPENSSL), "s_server", "-accept", f"[::1]:{port}", *own, *trust, "-quiet", *options],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: _listens(port))
        yield port
    finally:
        server.kill()
        server.communicate()


def _listens(port: int) -> bool:
    lines = Path("/proc/net/tcp6").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)
