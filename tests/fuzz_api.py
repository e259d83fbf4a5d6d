"""What schemathesis makes of the API's own description, sent to a real agent: ``python -m tests.fuzz_api``.

Over TLS with a token, over TLS as a member of the domain, and over the Unix socket, in turn. The last line of output is
the verdict, as JSON; the exit status is 1 if something was found. Operations that end the agent or its part in the
domain are left out, and the stream, which has no end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from asa.errors import AsaError
from lab import Lab, unavailable_reason

from .northbound.living import ADDRESS, TOKEN, Living, living

LEFT_OUT = ("restart", "remove", "deactivate", "pause", "stream")
PROXY = 7181
ROUND_S = 60
"""Seconds one client asks before it is the next one's turn."""
GROWTH_KIB = 64 * 1024
"""What may be added to the agent's memory once every client has asked for a while: each thread that hashes secrets
takes some MiB and keeps them."""

SETTINGS = """
[checks]
# A name in a place where it means nothing, a window that is over: what no schema says is refused with 400 as well.
positive_data_acceptance.enabled = false
# Beside what schemathesis takes for a refusal of itself: a target that is too long, a head that is too large.
negative_data_rejection.expected-statuses = [
    "400", "401", "403", "404", "405", "408", "409", "411", "413", "414", "415", "422", "429", "431", "5xx",
]
"""


def command(url: str, *more: str, left_out: Sequence[str] = LEFT_OUT) -> list[str]:
    """Schemathesis, with what it finds told in full."""
    left = [word for each in left_out for word in ("--exclude-operation-id", each)]
    st = str(Path(sys.executable).with_name("st"))
    return [
        st, "run", f"{url}/openapi.json", "--url", url, "--no-color", "--warnings", "off",
        "--suppress-health-check", "all", "--continue-on-failure", *left, *more,
    ]  # fmt: skip


def run(argv: list[str], directory: Path, within_s: float) -> str:
    """What it has found, as it tells it; empty: nothing."""
    (directory / "schemathesis.toml").write_text(SETTINGS)
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=within_s)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@contextlib.contextmanager
def forwarded(path: Path, port: int) -> Iterator[None]:
    """A Unix socket behind a TCP port of loopback: schemathesis speaks nothing else."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=_accept, args=(listener, path), name="proxy", daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, path: Path) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            agent = socket.socket(socket.AF_UNIX)
            agent.connect(str(path))
            for here, there in ((client, agent), (agent, client)):
                threading.Thread(target=_pump, args=(here, there), name="proxy", daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def level(pid: int) -> dict[str, int]:
    """Memory, threads and descriptors of the agent."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"rss_kib": int(status["VmRSS"].split()[0]), "threads": int(status["Threads"]), "descriptors": descriptors}


def _clients(found: Living) -> list[tuple[str, list[str]]]:
    ops = found.identity("ops-1")
    pair = ["--request-cert", str(ops / "certificate.pem"), "--request-cert-key", str(ops / "key.pem")]
    # Its certificate has the node's name and no address, which schemathesis cannot be told to want.
    tls = ["--tls-verify", "false"]
    return [
        (f"https://{ADDRESS}", [*tls, "-H", f"Authorization: Bearer {TOKEN}"]),
        (f"https://{ADDRESS}", [*tls, *pair]),
        (f"http://127.0.0.1:{PROXY}", []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_api", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to ask (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="repeat what was asked with this seed")
    arguments = parser.parse_args()
    if reason := unavailable_reason():
        print(f"cannot fuzz: {reason}", file=sys.stderr)
        return 1
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    wrong: list[str] = []
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="asa") as made:
        directory = Path(made)
        with living(lab, directory) as found, found.agent.host.entered(), forwarded(found.agent.socket, PROXY):
            clients = _clients(found)
            before = level(found.agent.pid)
            left, rounds = arguments.seconds, 0
            while not wrong and left >= 1:
                url, more = clients[rounds % len(clients)]
                seconds = min(ROUND_S, max(left / len(clients), 10) if rounds < len(clients) else left, left)
                argv = command(
                    url,
                    *more,
                    "--generation-database",
                    "none",
                    "--max-time",
                    str(int(seconds) or 1),
                    "--seed",
                    str(seed + rounds),
                )
                if told := run(argv, directory, seconds + 300):
                    wrong.append(told)
                left, rounds = left - seconds, rounds + 1
                if rounds <= len(clients):
                    before = level(found.agent.pid)
                print(f"round {rounds}, {url}: {json.dumps(level(found.agent.pid))}", flush=True)
            wrong += _aftermath(found, before)
            after = level(found.agent.pid)
    for each in wrong:
        print(each, flush=True)
    told = [each.splitlines()[0] for each in wrong]
    print(
        json.dumps({"ok": not wrong, "wrong": told, "seed": seed, "rounds": rounds, "before": before, "after": after})
    )
    return 1 if wrong else 0


def _aftermath(found: Living, before: dict[str, int]) -> list[str]:
    """What is wrong with the agent afterwards."""
    agent = found.agent
    # What was kept open since the start was closed meanwhile, and a POST is not repeated.
    agent._connections = threading.local()
    wrong = [f"its log says: {line}" for line in agent.log().splitlines() if "Traceback" in line or " ERROR " in line]
    try:
        agent.post("agent/activate")
        if not agent.get("health")["ready"]:
            wrong.append(f"it is not well: {agent.get('health')}")
        if not agent.audit()["ok"]:
            wrong.append(f"capacity is not where it should be: {agent.audit()}")
    except AsaError as error:
        wrong.append(f"it does not answer: {error}")
    after = level(agent.pid)
    if after["rss_kib"] > before["rss_kib"] + GROWTH_KIB:
        wrong.append(f"its memory grew from {before['rss_kib']} to {after['rss_kib']} KiB")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
