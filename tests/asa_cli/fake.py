"""An agent that answers what it is told to, over HTTP on a Unix socket, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, is_dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from asa.errors import AsaError


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    key: str | None = field(default=None, compare=False)
    token: str | None = field(default=None, compare=False)
    secret: str | None = None


Answer = Any
"""What ``asdict`` makes JSON of, an error, raw bytes, or a function of what was asked to one of those."""


def as_json(value: Any) -> Any:
    """As the API has the dataclasses of asa.views."""
    if isinstance(value, list):
        return [as_json(each) for each in value]
    return json.loads(json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "peer"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        asked = Asked(
            self.command, parts.path, dict(parse_qsl(parts.query)), body,
            self.headers.get("Idempotency-Key"), self.headers.get("Authorization"), self.headers.get("Asa-Secret"),
        )  # fmt: skip
        fake = self.server.fake
        fake.asked.append(asked)
        answer = fake.answers.get((asked.method, asked.path))
        if callable(answer):
            answer = answer(asked)
        if answer is None:
            answer = AsaError(f"the fake has no answer to {asked.method} {asked.path}")
        if isinstance(answer, Hangup):
            answer.before.set()
            answer.until.wait(60)
            self.close_connection = True
            return
        if isinstance(answer, Open):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.begun)
            answer.until.wait(60)
            self.close_connection = True
            return
        if isinstance(answer, bytes):
            self._send(200, answer, "text/event-stream")
            self.close_connection = True
        elif isinstance(answer, AsaError):
            error = {"code": answer.code, "message": answer.message, "hint": answer.hint, "details": answer.details}
            self._send(answer.status, json.dumps({"error": error}).encode(), "application/json")
        else:
            status = 503 if asked.path == "/v1/health" and not as_json(answer)["ready"] else 200
            self._send(status, json.dumps(as_json(answer)).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer


class Hangup:
    """Not to answer: close the connection once ``until`` is set; ``before`` tells that the request came."""

    def __init__(self, at_once: bool = True) -> None:
        self.before = threading.Event()
        self.until = threading.Event()
        if at_once:
            self.until.set()


class Open:
    """An answer that begins and goes on until ``until`` is set."""

    def __init__(self, begun: bytes, until: threading.Event) -> None:
        self.begun = begun
        self.until = until


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    fake: Fake


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = self.socket.accept()
        return connection, ("", 0)


class Fake:
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """On a Unix socket; with ``tls`` over TCP at loopback."""
        # Not pytest's directory: a socket's path must be short (unix(7)).
        self._directory = tempfile.TemporaryDirectory(prefix="asa")
        self.socket = str(Path(self._directory.name) / "s")
        self.answers: dict[tuple[str, str], Answer | Callable[[Asked], Answer]] = {}
        self.asked: list[Asked] = []
        self._server = _Server(("127.0.0.1", 0), _Handler) if tls else _UnixServer(self.socket, _Handler)  # type: ignore[arg-type]
        self._server.fake = self
        self.port = 0
        if tls is not None:
            self.port = self._server.server_address[1]
            # The handshake is each connection's own thread's.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._directory.cleanup()
