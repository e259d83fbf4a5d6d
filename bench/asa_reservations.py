"""Durable reservations a second through the API, beside bare sqlite3 commits of the same rows.

python -m bench.asa_reservations
python -m bench.asa_reservations api SOCKET --clients 32 --sessions 4000
python -m bench.asa_reservations bare DATABASE --clients 32 --sessions 4000
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asa.reservations import identifier
from bench.agents import POOL, agent_on, running
from bench.load import run
from bench.pair import two_hosts
from bench.report import Result

SEED = 2**50
"""bit/s: nothing is refused."""
DAY = 86_400
ROUNDS = 9
SESSIONS = {1: 1_000, 32: 4_000}
AIM = 0.5

SCHEMA = """
CREATE TABLE reservations (id TEXT PRIMARY KEY, pool TEXT, rate INTEGER, start INTEGER, stop INTEGER, state TEXT,
    created INTEGER, changed INTEGER, source TEXT, destination TEXT, owner TEXT, label TEXT) WITHOUT ROWID;
CREATE TABLE onces (name TEXT PRIMARY KEY, digest TEXT, reservation TEXT, at INTEGER) WITHOUT ROWID;
"""


def api(path: str) -> Callable[[], None]:
    """A reservation with an idempotency key, over a connection that each thread keeps."""
    connections = threading.local()
    now = int(time.time())

    def ask() -> None:
        sock = getattr(connections, "sock", None)
        if sock is None:
            sock = connections.sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
        start = now + random.randrange(60, DAY)
        body = json.dumps({"pool": POOL, "rate": 10**6, "start": start, "end": start + 3_600, "owner": "bench"})
        sock.sendall(
            b"POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Idempotency-Key: %032x\r\nContent-Length: %d\r\n\r\n%b"
            % (random.getrandbits(128), len(body), body.encode())
        )
        answer = sock.recv(65_536)
        while not _complete(answer):
            part = sock.recv(65_536)
            if not part:
                raise ConnectionError("closed without an answer")
            answer += part
        if not answer.startswith(b"HTTP/1.1 201 "):
            raise ConnectionError(answer)

    return ask


def _complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


def bare(path: str) -> Callable[[], None]:
    """The rows of such a reservation in one transaction: one connection, WAL, synchronous=FULL.

    Threads take turns at it: with a connection each they would sleep in SQLite's busy handler.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        connection.executescript(SCHEMA)
    lock = threading.Lock()
    now = int(time.time())
    numbers = itertools.count()

    def ask() -> None:
        start = now + random.randrange(60, DAY)
        key = identifier(time.time_ns() // 1_000_000, next(numbers))
        once = f"{random.getrandbits(128):032x}"
        with lock:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO reservations VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (key, POOL, 10**6, start, start + 3_600, "booked", now, now, "any", "any", "bench", ""),
            )
            connection.execute("INSERT INTO onces VALUES (?,?,?,?)", (once, once, key, now))
            connection.execute("COMMIT")

    return ask


def loaded(kind: str, path: Path, clients: int) -> dict[str, Any]:
    """What a process of its own says of its load."""
    load = ("--clients", str(clients), "--sessions", str(SESSIONS[clients]))
    command = [sys.executable, "-m", "bench.asa_reservations", kind, str(path), *load]
    outcome: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120).stdout
    )
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.asa_reservations", description=__doc__.partition("\n")[0])
    parser.add_argument("kind", nargs="?", choices=["api", "bare"])
    parser.add_argument("path", nargs="?")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=1_000)
    args = parser.parse_args()
    if args.kind is not None:
        ask = (api if args.kind == "api" else bare)(args.path)
        print(json.dumps(run(ask, args.sessions, args.clients, ConnectionError)))
        return
    with (
        tempfile.TemporaryDirectory(prefix="asa-bench-") as name,
        two_hosts() as (_, _, server, server_end),
        running(agent_on(server, server_end, "origin", "origin", Path(name), {POOL: SEED})) as agent,
    ):
        # The log stays as long as somebody has the database open, as the agent has its own. Then it is written over,
        # which a disk does faster than letting it grow: the first round is for that, on both sides.
        database = Path(name, "bare.db")
        bare(str(database))()
        kept = sqlite3.connect(database)
        kept.execute("SELECT count(*) FROM onces").fetchone()
        for kind, path in ("bare", database), ("api", agent.socket):
            loaded(kind, path, 1)
        for clients in SESSIONS:
            # In turn, so that what else the disk does falls on both alike.
            rounds = [(loaded("bare", database, clients), loaded("api", agent.socket, clients)) for _ in range(ROUNDS)]
            # The round whose ratio is the median: medians of each might be of two moods of the disk.
            rounds.sort(key=lambda each: each[1]["rate"] / each[0]["rate"])
            floor, rate = (each["rate"] for each in rounds[ROUNDS // 2])
            many = f"{clients} client{'s' if clients > 1 else ''}"
            Result(f"asa durable reservations, {many}", rate, "1/s", floor=floor, aim=AIM).print()
            late = statistics.median(each["p99_us"] for _, each in rounds)
            Result(f"asa durable reservations, {many}, 99th percentile", round(late / 1000, 2), "ms").print()
            refused = sum(each["refused"] for _, each in rounds)
            Result(f"asa reservations refused, {many}", refused, "", aim=0, lower_is_better=True).print()
        kept.close()


if __name__ == "__main__":
    main()
