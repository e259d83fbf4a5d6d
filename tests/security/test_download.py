"""One GET within bounds, against a server on the loopback interface that says whatever a test wants."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from grasp.security.download import DownloadFailed, download, is_downloadable
from tests.pki import Authority, key_pem, pem

Answer = Callable[[str], Iterable[bytes]]


class Server:
    """Answers each request with the pieces that ``answer`` gives for its path; ends a connection after them."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.context = context
        self.requests: list[bytes] = []
        self.stopped = threading.Event()
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, name="test-http", daemon=True)
        self.thread.start()

    def url(self, path: str = "/crl") -> str:
        host = self.listener.getsockname()[0]
        return f"http{'s' if self.context else ''}://{f'[{host}]' if ':' in host else host}:{self.port}{path}"

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            with suppress(OSError), wire:
                self.serve(self.context.wrap_socket(wire, server_side=True) if self.context else wire)

    def serve(self, wire: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = wire.recv(4_096)
            if not piece:
                return
            request += piece
        self.requests.append(request)
        for piece in self.answer(request.split()[1].decode()):
            wire.sendall(piece)
            if self.stopped.is_set():
                break
        wire.shutdown(socket.SHUT_RDWR)
        wire.close()

    def stop(self) -> None:
        self.stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


@contextmanager
def serving(answer: Answer, **options: Any) -> Iterator[Server]:
    server = Server(answer, **options)
    try:
        yield server
    finally:
        server.stop()


def response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def get(server: Server, path: str = "/crl", seconds: float = 60.0, most: int = 1_000) -> bytes:
    return download(server.url(path), seconds=seconds, most=most)


def test_what_is_there_is_returned() -> None:
    with serving(lambda path: [response(b"list of " + path.encode())]) as server:
        assert get(server, "/a/b?c=d") == b"list of /a/b?c=d"
    (request,) = server.requests
    assert request.startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in request


def test_an_ipv6_literal_is_a_host() -> None:
    with serving(lambda path: [response(b"list")], host="::1") as server:
        assert get(server) == b"list"
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


def test_https_is_asked_too(tmp_path: Path) -> None:
    issued = Authority().issue("server")
    (tmp_path / "key.pem").write_bytes(key_pem(issued.key) + pem(issued.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "key.pem")
    with serving(lambda path: [response(b"list")], context=context) as server:
        assert get(server) == b"list"


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    with serving(lambda path: [b"HTTP/1.0 200 OK\r\n\r\n", b"li", b"st"]) as server:
        assert get(server) == b"list"


@pytest.mark.parametrize(("size", "fits"), [(1_000, True), (1_001, False)])
def test_the_size_is_bounded(size: int, fits: bool) -> None:
    with serving(lambda path: [response(bytes(size))]) as server:
        if fits:
            assert get(server) == bytes(size)
        else:
            with pytest.raises(DownloadFailed, match="more than 1000 bytes"):
                get(server)


def test_the_size_of_chunks_without_an_end_is_bounded() -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with (
        serving(lambda path: itertools.chain([start], itertools.repeat(b"10\r\n" + bytes(16) + b"\r\n"))) as server,
        pytest.raises(DownloadFailed, match="more than 1000 bytes"),
    ):
        get(server)


@pytest.mark.parametrize("status", ["301 M", "302 M", "303 M", "307 M", "308 M"])
@pytest.mark.parametrize("relative", [True, False])
def test_a_redirection_is_followed(status: str, relative: bool) -> None:
    def answer(path: str) -> Iterable[bytes]:
        target = "new" if relative else server.url("/new")
        return [response(b"list") if path == "/new" else response(b"", status, Location=target)]

    with serving(answer) as server:
        assert get(server) == b"list"


@pytest.mark.parametrize(("times", "followed"), [(3, True), (4, False)])
def test_redirections_are_bounded(times: int, followed: bool) -> None:
    def answer(path: str) -> Iterable[bytes]:
        done = int(path[1:])
        return [response(b"list") if done == times else response(b"", "302 F", Location=f"/{done + 1}")]

    with serving(answer) as server:
        if followed:
            assert get(server, "/0") == b"list"
        else:
            with pytest.raises(DownloadFailed, match="more than 3 redirections"):
                get(server, "/0")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://u@127.0.0.1/", "//[", ""]
)
def test_a_redirection_leads_only_to_http(target: str) -> None:
    with serving(lambda path: [response(b"secret", "302 F", Location=target)]) as server, pytest.raises(DownloadFailed):
        get(server)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"hello"],
        [b"HTTP/1.1 999999 what\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1_000 + b"\r\n"],
        [b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n"],
        [response(b"nothing", "404 Not Found")],
        [response(b"later", "503 Service Unavailable")],
        [response(b"", "302 Found", Location="http://127.0.0.1:99999/")],
    ],
)
def test_what_is_no_good_answer_fails(pieces: list[bytes]) -> None:
    with serving(lambda path: pieces) as server, pytest.raises(DownloadFailed) as failed:
        get(server)
    assert str(failed.value).isprintable()
    assert len(str(failed.value)) < 200


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"]
)
def test_a_server_that_dribbles_has_no_more_time_than_another(start: bytes) -> None:
    def dribble(path: str) -> Iterator[bytes]:
        yield start
        while not server.stopped.wait(0.02):
            yield b"a"

    with serving(dribble) as server, pytest.raises(DownloadFailed, match="time"):
        get(server, seconds=0.3)


def test_a_server_that_says_nothing_has_no_more_time_either() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for scheme in ("http", "https"):
            with pytest.raises(DownloadFailed, match="time"):
                download(f"{scheme}://127.0.0.1:{port}/", seconds=0.2, most=10)


def test_nobody_there_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DownloadFailed):
        download(f"http://127.0.0.1:{port}/", seconds=10, most=10)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "crl",
        "ldap://a/b",
        "file:///etc/passwd",
        "http:///crl",
        "http://user:secret@a/crl",
        "http://a:0/",
        "http://a:70000/",
        "http://a:x/",
        "http://[::1/",
        "http://a/b c",
        "http://a/\r\nX: y",
        "http://a/\x00",
        "http://ä/",
        "http://a/" + "x" * 2_040,
    ],
)
def test_what_is_no_url_of_a_web_server_is_not_asked_for(url: str) -> None:
    assert not is_downloadable(url)
    with pytest.raises(DownloadFailed) as failed:
        download(url, seconds=10, most=10)
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    "url", ["http://a/crl", "https://a.example:8443/b?c", "http://[fd00::1]:8080", "HTTP://10.0.0.1/"]
)
def test_what_is_one_is(url: str) -> None:
    assert is_downloadable(url)
