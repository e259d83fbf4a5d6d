"""What cheroot does not do by itself: times in total instead of times of silence, strict requests, errors as JSON.

A request that has begun keeps a thread until it is there, REQUEST_S at most; idle connections keep none.
"""
# cheroot's stubs name everything and give it no types.
# mypy: allow-untyped-calls, allow-any-generics

from __future__ import annotations

import errno
import io
import re
import select
import socket
import ssl
import time
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from cheroot.errors import MaxSizeExceeded
from cheroot.server import HeaderReader, HTTPConnection, HTTPRequest

from asa.errors import AsaError, BadRequest, Busy
from asa.northbound.access import Shown
from asa.northbound.application import error_headers, error_json
from asa.northbound.handshakes import Entrant
from asa.northbound.limits import LINGER_S, MAX_BODY, MAX_HEAD, MAX_HEADERS, MAX_TARGET, REQUEST_S, STAY_MS, WRITE_S
from asa.northbound.refusals import HeadTooLarge, RequestTimeout, TargetTooLong, TooLarge
from asa.northbound.roles import Principal

_KEPT: Final = frozenset(
    {b"Asa-Secret", b"Authorization", b"Connection", b"Content-Length", b"Content-Type", b"Expect", b"Host",
     b"Idempotency-Key", b"Last-Event-Id", b"Transfer-Encoding"}
)  # fmt: skip
"""The headers that mean something here; a request that gives one of them twice is refused."""
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\r\n")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")
_READ_SIZE: Final = 8_192
_BYTES: Final = MAX_HEAD + 4 * MAX_BODY
"""Of one request, with all that is no part of its head or body, as the extensions of chunks are not."""
_SAID: Final[dict[int, type[AsaError]]] = {408: RequestTimeout, 413: TooLarge, 414: TargetTooLong, 500: AsaError}
"""What cheroot says with a status; anything else is no request to us."""


class Headers(HeaderReader):
    """Keeps the headers that mean something here, and refuses what could be understood in two ways (RFC 9112 §5)."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {} if hdict is None else hdict
        readline, left = rfile.rfile.readline, rfile.maxlen - rfile.bytes_read
        for _ in range(MAX_HEADERS + 1):
            line = readline(left + 1)
            left -= len(line)
            if left < 0:
                break
            if line == b"\r\n":
                return found
            header = _HEADER.fullmatch(line)
            if header is None:
                raise BadRequest("a header is not one", hint="RFC 9112 §5; a space before the colon is no part of it")
            name = header[1].title()
            if name in found:
                raise BadRequest(f"header {name.decode()} is given twice", hint="give it once")
            if name in _KEPT:
                found[name] = header[2].rstrip()
        raise HeadTooLarge(
            f"more than {MAX_HEADERS} headers, or more than {MAX_HEAD} bytes of them", hint="send fewer headers"
        )


class Request(HTTPRequest):
    """A request, and what it is answered with."""

    header_reader = Headers()

    def parse_request(self) -> None:
        try:
            super().parse_request()
        except AsaError as error:
            self.refuse(error)

    def read_request_line(self) -> bool:
        if not super().read_request_line():
            return False
        if not _METHOD.fullmatch(self.method):
            raise BadRequest("HTTP has no such method")
        if len(self.uri) > MAX_TARGET:
            raise TargetTooLong(f"the path and query are longer than {MAX_TARGET} bytes")
        if not _TARGET.fullmatch(self.uri):
            raise BadRequest("the path has bytes that must be percent-encoded")
        # As it was written: a slash in a name is only told from one between names before they are decoded.
        self.path = self.uri.partition(b"?")[0]
        return True

    def read_request_headers(self) -> bool:
        if not super().read_request_headers():
            return False
        headers = self.inheaders
        if b"Host" not in headers and self.response_protocol == "HTTP/1.1":
            raise BadRequest("the Host header is missing", hint="RFC 9112 §3.2; its value does not matter here")
        if (length := headers.get(b"Content-Length")) is not None and not length.isdigit():
            raise BadRequest("the Content-Length is not a number")
        if b"Transfer-Encoding" in headers and (length is not None or not self.chunked_read):
            raise BadRequest("a Transfer-Encoding that is not chunked, or beside a Content-Length")
        connection = headers.get(b"Connection", b"").lower()
        if b"close" in [each.strip() for each in connection.split(b",")]:
            self.close_connection = True
        self.conn.wfile.flush()  # 100 Continue
        return True

    def respond(self) -> None:
        super().respond()
        self.conn.wfile.flush()

    def send_headers(self) -> None:
        # What is left of a body whose end is not known, or not awaited, is not taken for a request.
        if self.chunked_read or int(self.status[:3]) in (408, 413):
            self.close_connection = self.conn.refused = True
        self.outheaders.append((b"Date", _date(int(time.time()))))
        super().send_headers()

    def write(self, chunk: bytes) -> None:
        super().write(chunk)
        self.conn.wfile.flush()

    def simple_response(self, status: object, msg: str = "") -> None:
        """What cheroot itself refuses, in our form."""
        kind = _SAID.get(int(str(status)[:3]), BadRequest)
        self.refuse(kind(msg or str(status)[4:], hint="" if kind is AsaError else "speak HTTP/1.1"))

    def refuse(self, error: AsaError) -> None:
        """Answer with an error instead of what the endpoint would have said, and read no more."""
        self.close_connection = self.conn.refused = True
        body = error_json(error)
        status: Any = f"{error.status} {HTTPStatus(error.status).phrase}".encode()
        self.status = status
        headers = [*error_headers(error), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        self.outheaders = [(name.encode(), value.encode()) for name, value in (*headers, ("Connection", "close"))]
        try:
            self.ensure_headers_sent()
            self.write(body)
        except OSError:
            pass  # The client is gone.


@lru_cache(1)
def _date(now: int) -> bytes:
    return formatdate(now, usegmt=True).encode()


class _Incoming(io.RawIOBase):
    """The bytes a client sends, so many in so long for each request."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.until: float | None = None
        """By the monotonic clock; None: nothing is read now."""
        self.left = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.until is None:
            return None
        patience = self.until - time.monotonic()
        if patience <= 0:
            raise TimeoutError("timed out")  # the text cheroot goes by
        if self.left <= 0:
            raise MaxSizeExceeded
        self._sock.settimeout(patience)
        try:
            count = self._sock.recv_into(buffer)
        except ssl.SSLError as error:
            raise _broken(error) from None
        self.left -= count
        return count

    def decrypted(self) -> bool:
        """Whether TLS has bytes that no poll of the socket would tell of."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0


def _broken(error: ssl.SSLError) -> OSError:
    """What the rest of the house knows: a connection that ends."""
    return ConnectionResetError(errno.ECONNRESET, f"TLS: {error.reason or 'broken'}")


class Reader(io.BufferedReader):
    """In the place of cheroot's, which is made of Python."""

    bytes_read = 0

    def __init__(self, sock: socket.socket) -> None:
        self._incoming = _Incoming(sock)
        super().__init__(self._incoming, _READ_SIZE)

    def begin(self) -> None:
        """Allow the next request its time and its bytes."""
        self._incoming.until = time.monotonic() + REQUEST_S
        self._incoming.left = _BYTES

    def has_data(self) -> bool:
        """Whether something has been read that nobody has taken."""
        self._incoming.until = None
        return bool(self.peek()) or self._incoming.decrypted()


class Writer:
    """Sends what was written at once with :meth:`flush`, within WRITE_S in total."""

    bytes_written = 0

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._held.append(data)

    def flush(self) -> None:
        """Raises OSError if the client is gone or too slow."""
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._sock.settimeout(WRITE_S)
            try:
                self._sock.sendall(data)
            except ssl.SSLError as error:
                raise _broken(error) from None
            except TimeoutError:
                # TLS has other words for it than the text cheroot goes by.
                raise TimeoutError("timed out") from None


def _file(sock: socket.socket, mode: str, _size: int) -> Reader | Writer:
    return Reader(sock) if mode == "rb" else Writer(sock)


class Connection(HTTPConnection):
    """A client's connection; one thread's at a time."""

    RequestHandlerClass = Request

    def __init__(self, server: Any, sock: socket.socket, makefile: object = None) -> None:
        super().__init__(server, sock, _file)
        self.refused = False
        """Whether something of it will never be read."""
        self.asked = False
        """Whether a request was awaited from it already."""
        self.principal: Principal | None = None
        self.shown: Shown | None = None
        self.address = "the Unix socket"
        self.trusted = False
        self.counted: str | None = None
        """The user it takes a place of; None: it takes none, or has given it back."""
        self.place: Entrant | None = None
        """Over TCP, until it is given back."""
        self.turn = False
        """Whether it takes one of the threads that are for who has not said yet who it is."""

    def communicate(self) -> bool:
        """Answer the next request, and those that follow at once; True if there may be more."""
        self.asked = True
        while True:
            self.rfile.begin()
            if not super().communicate():
                return False
            # The way back to the thread that selects and from there to a worker costs more than most requests.
            if self.server.ready and self.server.requests.qsize:
                return True
            if not (self.rfile.has_data() or self._arrives(select.POLLIN, STAY_MS)):
                return True

    def last(self) -> bool:
        """Whether one more request is to be answered of a connection that is then closed.

        On a Unix socket nothing can arrive after this look: who sends later is told that nobody reads.
        """
        if self.rfile.has_data():
            return True
        if self.socket.family != socket.AF_UNIX:
            return self._arrives(select.POLLIN, 0)
        try:
            self.socket.shutdown(socket.SHUT_RD)
            return bool(self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def entered(self, principal: Principal | None) -> None:
        """Whose the last request was; None: nobody's who has a right here."""
        self.server.entered(self, principal)

    def gone(self) -> bool:
        """Whether the client has closed its side."""
        return self._arrives(select.POLLRDHUP, 0)

    def _arrives(self, what: int, within_ms: int) -> bool:
        poll = select.poll()
        poll.register(self.socket, what)
        return bool(poll.poll(within_ms))

    def turn_away(self, why: str) -> None:
        """Answer that there is no room, and close."""
        Request(self.server, self).refuse(Busy(why, hint="try again"))
        self.refused = False
        self.close()

    def close(self) -> None:
        if isinstance(self.socket, ssl.SSLSocket):
            self._say_goodbye()
        if self.refused:
            self._linger()
        super().close()
        self.server.turn_over(self)
        if self.counted is not None:
            self.server.doors.leave(self.counted)
            self.counted = None
        if self.place is not None:
            self.server.places.leave(self.place)

    def _say_goodbye(self) -> None:
        """TLS' own end, without which a client cannot tell an end from a cut."""
        with suppress(OSError, ValueError):
            self.socket.settimeout(0)
            self.socket.unwrap()

    def _linger(self) -> None:
        """Let the client, which may still be sending, read why it was refused: closed at once it could see a reset."""
        until = time.monotonic() + LINGER_S
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(65_536):
                    return
        except OSError:
            pass
