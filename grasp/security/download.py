"""One GET over HTTP within bounds of time, size and redirections, whatever the server does."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

MAX_URL: Final = 2_048
"""Characters."""

REDIRECTS: Final = 3

_MOVED: Final = (301, 302, 303, 307, 308)
_PORTS: Final = {"http": 80, "https": 443}


class DownloadFailed(Exception):
    """Nothing came, or not what was asked for; the text says why."""


def is_downloadable(url: str) -> bool:
    """Whether it is a URL :func:`download` would follow: http or https, with a host and no user."""
    try:
        _parts(url)
    except DownloadFailed:
        return False
    return True


def download(url: str, *, seconds: float, most: int) -> bytes:
    """What ``url`` gives, at most ``most`` bytes within ``seconds`` in all. Raises :class:`DownloadFailed`.

    The resolver's time is not bounded. The server of an https URL is not authenticated: this is for what proves itself.
    """
    deadline = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        try:
            found = _get(_parts(url), deadline, most)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadFailed(f"{type(error).__name__}: {ascii(str(error))[1:-1][:120]}") from None
    raise DownloadFailed(f"more than {REDIRECTS} redirections")


def _parts(url: str) -> SplitResult:
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise DownloadFailed("no URL that can be asked for")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise DownloadFailed("no http or https URL of a host")
    return parts


def _get(parts: SplitResult, deadline: float, most: int) -> bytes | str:
    """The body, or where it is instead."""
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(host, parts.port or _PORTS[parts.scheme])
    with _connected(host, parts.port or _PORTS[parts.scheme], deadline) as plain:
        wire = plain
        if parts.scheme == "https":
            plain.settimeout(_left(deadline))
            wire = _unauthenticated().wrap_socket(plain, server_hostname=host)
        try:
            connection.sock = _Timed(wire, deadline)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"Connection": "close", "Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status in _MOVED:
                return response.headers.get("Location", "")
            if response.status != 200:
                raise DownloadFailed(f"HTTP status {response.status}")
            body = response.read(most + 1)
        finally:
            wire.close()
    if len(body) > most:
        raise DownloadFailed(f"more than {most} bytes")
    if response.length:
        raise DownloadFailed(f"{response.length} bytes are missing")
    return body


def _connected(host: str, port: int, deadline: float) -> socket.socket:
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        wire = socket.socket(family, kind, protocol)
        try:
            wire.settimeout(_left(deadline))
            wire.connect(address)
            return wire
        except OSError as error:
            wire.close()
            last = error
    raise last


def _unauthenticated() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("out of time")
    return left


class _Timed:
    """What http.client needs of a socket, with one deadline for all of it instead of one for each read."""

    def __init__(self, wire: socket.socket, deadline: float) -> None:
        self._wire = wire
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._wire.settimeout(_left(self._deadline))
        self._wire.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._wire, self._deadline))

    def close(self) -> None:
        """The socket is closed by who opened it: what was read of the answer is still to be read."""


class _Reader(io.RawIOBase):
    def __init__(self, wire: socket.socket, deadline: float) -> None:
        self._wire = wire
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.settimeout(_left(self._deadline))
        return self._wire.recv_into(buffer)
