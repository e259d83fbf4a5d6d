"""Two hosts on a link, and rates measured on them: floor and grasp in turn, so that both see the same machine."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab import Host, Lab

ROUNDS = 5


@contextmanager
def two_hosts() -> Iterator[tuple[Host, str, Host, str]]:
    """A client's host and interface, a server's host and interface, routed addresses fd00:b::1 and ::2."""
    with Lab() as lab:
        client, server = lab.host("client"), lab.host("server")
        client_end, server_end = lab.link(client, server)
        client.address("fd00:b::1/64", client_end)
        server.address("fd00:b::2/64", server_end)
        yield client, client_end, server, server_end


@contextmanager
def served(host: Host, *args: str) -> Iterator[int]:
    """A server run as ``python -m args…`` for the block; its port."""
    process: subprocess.Popen[str] = host.python("-m", *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["port"]
    finally:
        process.stdin.close()
        process.wait(10)


def asked(host: Host, *args: str) -> dict[str, Any]:
    """What a client run as ``python -m args…`` prints."""
    outcome: dict[str, Any] = json.loads(host.run([sys.executable, "-m", *args], timeout=300).stdout)
    return outcome


def rates(exchange: str, clients: int, sessions: int, threads: int = 0) -> tuple[float, float, list[dict[str, Any]]]:
    """Median sessions per second of grasp and of the floor, and what each run of grasp said."""
    floor: list[float] = []
    ours: list[dict[str, Any]] = []
    load = ("--sessions", str(sessions), "--clients", str(clients))
    with (
        two_hosts() as (client, client_end, server, server_end),
        served(server, "bench.floor", "serve", exchange, "--threads", str(clients)) as port,
        served(server, "bench.peer", "serve", exchange, "--interface", server_end, "--threads", str(threads)),
    ):
        bare = ("bench.floor", "client", exchange, "fd00:b::2", "--port", str(port), *load)
        grasp = ("bench.peer", "client", exchange, "--interface", client_end, *load)
        for _ in range(ROUNDS):
            floor.append(asked(client, *bare)["rate"])
            ours.append(asked(client, *grasp))
    return statistics.median(each["rate"] for each in ours), statistics.median(floor), ours
