"""What the northbound API costs by itself: a service that does nothing, and keep-alive clients in another process.

python -m bench.asa_api
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from asa.northbound.server import Server
from asa.views import ReservationRequest, ReservationView
from bench.report import Result

NOW = 1_800_000_000
BODY = b'{"pool":"wan","rate":1000000,"start":1800000000,"end":1800003600,"owner":"bench"}'
REQUEST = (
    b"POST /v1/reservations HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


class Nothing:
    """Admits every reservation and remembers none."""

    def reserve(
        self, request: ReservationRequest, key: str | None = None, secret: str | None = None
    ) -> ReservationView:
        return ReservationView(
            "r1", request.pool, request.rate, NOW, request.end, "active", request.source, request.destination,
            request.owner, request.labels, NOW, 3600,
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def ask(path: str, requests: int) -> None:
    """Make ``requests`` requests one after the other on one connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        for _ in range(requests):
            sock.sendall(REQUEST)
            answer = sock.recv(65_536)
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                part = sock.recv(65_536)
                if not part:
                    raise ConnectionError("closed without an answer")
                answer += part
            if not answer.startswith(b"HTTP/1.1 201 "):
                raise ValueError(answer)


def clients(path: str, count: int, requests: int) -> float:
    """Seconds that ``count`` threads take for ``requests`` requests each."""
    failures: list[Exception] = []

    def one() -> None:
        try:
            ask(path, requests)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if failures:
        raise failures[0]
    return took


def overhead_us(path: str, count: int, requests: int) -> float:
    """Microseconds per request, of ``count`` clients in a process of their own."""
    command = [sys.executable, "-m", "bench.asa_api", "--clients", str(count), "--requests", str(requests), path]
    took: float = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    return round(took / (count * requests) * 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.asa_api", description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", help="be the clients of the server there, and print what it took")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--requests", type=int, default=5_000, help="of each client")
    args = parser.parse_args()
    if args.path is not None:
        print(json.dumps(clients(args.path, args.clients, args.requests)))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "api"
        # What is measured is the way, not what bounds it.
        server = Server(Nothing(), path, rate=10**9)
        server.start()
        try:
            overhead_us(str(path), 1, 500)
            for count, requests in ((1, 10_000), (32, 500)):
                figure = overhead_us(str(path), count, requests)
                Result(f"asa api overhead, {count} clients", figure, "us", aim=200, lower_is_better=True).print()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
