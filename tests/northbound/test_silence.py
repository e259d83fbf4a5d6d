"""Nothing that a real agent writes or says shows a secret: not where all is well, nor on any way to an error."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asa.config import load
from asa.errors import AsaError
from asa.northbound.client import Client, Tls
from asa.northbound.resources import ROUTES
from asa.remote import remote_of
from lab import Lab
from tests.agents.domain import eventually

from .living import ADDRESS, ADMIN, PORT, READING, TOKEN, Living, living
from .raw import Raw

OWNER = "of-the-owner-" + "o" * 20
OTHER = "of-nobody-" + "n" * 20
PROBES = ("", "x", " x", "\t", "x" * 300, "\x01")
"""What is put behind a secret to make it a wrong one."""


@pytest.fixture
def found(lab: Lab, tmp_path: Path) -> Iterator[Living]:
    with living(lab, tmp_path, log_level="debug") as living_:
        living_.secrets |= {OWNER, OTHER}
        yield living_


class Heard:
    """All that was said, with where it comes from."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bytes]] = []

    def add(self, where: str, what: bytes | str) -> None:
        self.said.append((where, what.encode(errors="replace") if isinstance(what, str) else what))

    def shows(self, secrets: set[str]) -> list[tuple[str, str]]:
        return [(where, each) for where, what in self.said for each in secrets if each.encode() in what]


def context(found: Living) -> ssl.SSLContext:
    made = Tls(str(found.trust), "a").context()
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def ask_everything(found: Living, heard: Heard) -> None:
    """Every endpoint, over TCP and the Unix socket, with right secrets, wrong ones, and some that are none."""
    bodies = (b"", b"{}", b"[", b'{"pool":"wan","rate":1000000,"confirm":true}')
    routes = [each for each in ROUTES if each.name not in ("restart", "remove", "stream", "deactivate")]
    for number, route in enumerate(routes):
        target = route.path.replace("{name}", "wan").replace("{id}", "r").replace("{node}", "b").replace("{txn}", "t")
        for where in (PORT, found.agent.socket):
            number += 1
            probe = PROBES[number % len(PROBES)]
            head = f"{route.method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head += f"Authorization: Bearer {(TOKEN, READING)[number % 2]}{PROBES[number // 2 % len(PROBES)]}\r\n"
            head += f"Asa-Secret: {(OWNER, ADMIN, OTHER)[number % 3]}{probe}\r\n"
            body = bodies[number % len(bodies)]
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            with Raw(where, context(found) if where == PORT else None) as raw:
                raw.send(head.encode() + body)
                answer = raw.read()
            heard.add(f"{where} {route.name} {probe!r}", str(answer.headers).encode() + answer.body)


def break_the_rules(found: Living, heard: Heard) -> None:
    """What is no request, with secrets in it, and what is no TLS."""
    for data in (
        f"GET /v1/pools HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
        f"GET /v1/pools HTTP/1.1\r\nHost: x\r\nAsa-Secret: {ADMIN}\r\nAsa-Secret: {OWNER}\r\n\r\n",
        f"GET /v1/pools HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {TOKEN}\r\n\r\n",
        f"GET /v1/pools HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {TOKEN}\r\nAsa-Secret: {ADMIN}",
        f"Bearer {TOKEN}\r\n\r\n",
    ):
        for where in (PORT, found.agent.socket):
            with Raw(where, context(found) if where == PORT else None) as raw:
                raw.send(data.encode())
                raw.sock.settimeout(10)
                heard.add(f"{where} {data[:20]!r}", raw.sock.recv(10_000))
    with Raw(PORT) as raw:
        raw.send(f"GET / HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())


def commands(found: Living, heard: Heard, directory: Path) -> None:
    """The command line, on its way to success and to errors."""
    owner = directory / "owner"
    owner.touch(0o600)
    owner.write_text(OWNER)
    twice = directory / "twice"
    twice.touch(0o600)
    twice.write_text(f"{TOKEN}\n{ADMIN}\n")
    remote = ["--tcp", ADDRESS, "--token-file", str(directory / "token"), "--cacert", str(found.trust)]
    ops = found.identity("ops-9")
    shown = ["--cert", str(ops / "certificate.pem"), "--cert-key", str(ops / "key.pem")]
    for words in (
        [*remote, "--node", "a", "reserve", "wan", "1Mbit", "--secret-file", str(owner)],
        [*remote, "--node", "a", "cancel", "--all", "--secret-file", str(directory / "admin")],
        [*remote, "--node", "b", "list"],
        [*remote, "list"],
        [*remote[:2], *remote[4:], *shown, "--node", "a", "pause", "--secret-file", str(owner)],
        [*remote[:2], *remote[4:], *shown[:2], "--cert-key", str(owner), "--node", "a", "list"],
        ["--tcp", ADDRESS, "--token-file", str(twice), "--cacert", str(found.trust), "--node", "a", "list"],
        ["--socket", str(found.agent.socket), "caps", "set", "p", "5%", "--secret-file", str(twice)],
        ["config", "check", str(found.agent.config)],
        ["deputy", "--listen", str(owner), "--backend", "record"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "asa", *words], capture_output=True, timeout=60, stdin=subprocess.DEVNULL
        )
        heard.add(f"asa {' '.join(words)}", done.stdout + done.stderr)


def what_the_agent_shows(found: Living, heard: Heard, directory: Path) -> None:
    agent = found.agent
    process = Path(f"/proc/{agent.pid}")
    for name in ("cmdline", "environ", "comm"):
        heard.add(name, (process / name).read_bytes())
    for task in (process / "task").iterdir():
        heard.add("a thread's name", (task / "comm").read_bytes())
    heard.add("events", repr(agent.events()))
    shown = ("status", "health", "manifest", "reservations?state=all", "caps", "pools", "peers", "transfers", "metrics")
    for path in shown:
        with Raw(agent.socket) as raw:
            heard.add(path, raw.ask("GET", f"/v1/{path}").body)
    for file in agent.state.rglob("*"):
        if file.is_file():
            heard.add(f"stable storage: {file.name}", file.read_bytes())
    config = load(agent.config)
    heard.add("the configuration", repr(config))
    heard.add("who may come over TCP", repr(remote_of(config, lambda: None)))


def test_no_secret_is_shown_by_anything_an_agent_writes_or_says(found: Living, tmp_path: Path) -> None:
    agent, heard = found.agent, Heard()
    with agent.host.entered():
        agent.reserve("wan", 1_000_000, secret=OWNER)
        ask_everything(found, heard)
        break_the_rules(found, heard)
        commands(found, heard, tmp_path)
        key = tmp_path / "a.id" / "key.pem"
        good = key.read_bytes()
        # A key of somebody else, and half of one: the old one stays, and the log says so.
        for wrong in (found.identity("b") / "key.pem").read_bytes(), good[: len(good) // 2]:
            key.write_bytes(wrong)
            with Client(ADDRESS, TOKEN, tls=found.believing()) as client:
                assert client.request("GET", "/v1/health")["ready"]
        key.write_bytes(good)
        eventually(lambda: "goes on with its old certificate" in agent.log())
        started = agent.get("status")["started"]
        agent.post("agent/restart")
        eventually(lambda: _started(found) > started, what="the program was replaced")
        agent.ready()
        what_the_agent_shows(found, heard, tmp_path)
    agent.stop()
    # Files with secrets that are wrong.
    text = agent.config.read_text()
    for name, content in (("token", f"{TOKEN} {TOKEN}"), ("reading", f"{READING}é"), ("admin", f"{ADMIN}é")):
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(content)
        agent.refuses_to_start()
        (tmp_path / name).write_text(before)
    agent.config.write_text(text.replace(str(tmp_path / "reading"), str(key)))
    agent.refuses_to_start()
    heard.add("the log", agent.log_file.read_bytes())
    assert len(heard.said) > 100
    assert heard.shows({*found.secrets, TOKEN[:-1], ADMIN[:20]}) == []


def _started(found: Living) -> int:
    try:
        return int(found.agent.get("status")["started"])
    except AsaError:
        return 0


def test_what_is_looked_for_would_be_found(tmp_path: Path) -> None:
    heard = Heard()
    heard.add("here", f"..{TOKEN}..")
    assert heard.shows({TOKEN, ADMIN}) == [("here", TOKEN)]
    assert os.fspath(tmp_path)
