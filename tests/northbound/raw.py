"""A client that sends what it is told and reads answers byte by byte, with no opinion of its own."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])


class Raw:
    """One connection, to a Unix socket or, with TLS, a TCP port."""

    def __init__(self, where: Path | int, tls: ssl.SSLContext | None = None) -> None:
        if isinstance(where, int):
            self.sock = socket.create_connection(("127.0.0.1", where), PATIENCE_S)
            if tls is not None:
                self.sock = tls.wrap_socket(self.sock, server_hostname="127.0.0.1")
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE_S)
            self.sock.connect(str(where))
        self._file = self.sock.makefile("rb")
        self._chunked = False
        self._ahead = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The answer tells why.

    def line(self) -> bytes:
        """The next line, of the stream if one has begun, without the marks of its chunks."""
        while self._chunked and b"\n" not in self._ahead:
            size = int(self._file.readline(), 16)
            self._ahead += self._file.read(size)
            assert self._file.readline() == b"\r\n"
            if not size:
                return b""
        if not self._chunked:
            return self._file.readline()
        line, _, self._ahead = self._ahead.partition(b"\n")
        return line + b"\n"

    def read(self, *, head: bool = False) -> Answer:
        """The next answer. ConnectionError if the connection ends instead."""
        line = self._file.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        version, status, _ = line.decode().split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            assert name.lower() not in headers
            headers[name.lower()] = value.strip()
        self._chunked = headers.get("transfer-encoding") == "chunked"
        length = 0 if head else int(headers.get("content-length", "0"))
        body = self._file.read(length)
        assert len(body) == length
        return Answer(int(status), headers, body)

    def ask(self, method: str, target: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Answer:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = {"Host": "x"} | ({"Content-Type": "application/json"} if data else {})
        if data or method in ("POST", "PATCH"):
            lines["Content-Length"] = str(len(data))
        lines |= headers or {}
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items() if v) + "\r\n"
        self.send(head.encode("latin-1") + data)
        return self.read(head=method == "HEAD")

    def closed(self) -> bool:
        """Whether the server has closed the connection; waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True
