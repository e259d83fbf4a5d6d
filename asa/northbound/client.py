"""A client of the northbound API that loads fast: the standard library and the agent's errors, nothing else."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from asa.errors import AsaError, BadRequest, Unreachable
from asa.northbound import refusals

_STREAM_TIMEOUT_S: Final = 45.0
"""Three of the comments a stream sends in silence."""
_REPEATABLE: Final = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}
_COUNTED: Final = {("DELETE", "/v1/reservations")}
"""Done twice it would count the second time only what the first left."""
_CLOSED: Final = (
    ConnectionResetError, BrokenPipeError, ConnectionAbortedError, http.client.RemoteDisconnected, ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
)  # fmt: skip


def _by_code() -> dict[str, type[AsaError]]:
    """Every class of error by its code; of those that share one, the most general."""
    found: dict[str, type[AsaError]] = {}
    classes = [AsaError]
    while classes:
        kind = classes.pop(0)
        found.setdefault(kind.code, kind)
        classes += kind.__subclasses__()
    return found


_CLASSES: Final = _by_code()
assert refusals.UnknownPath.code in _CLASSES


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom a client believes over TCP, and what it shows: PEM files."""

    authorities: str | None = None
    """None: those of this system."""
    node: str = ""
    """The common name the agent's certificate must have; empty: the host's name must be in it, as on the web."""
    certificate: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises BadRequest for files that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.authorities)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except OSError as error:
            # Which of them it is, OpenSSL does not tell.
            files = ", ".join(filter(None, (self.authorities, self.certificate, self.key)))
            why = getattr(error, "reason", None) or error.strerror or type(error).__name__
            raise BadRequest(
                f"TLS with {files}: {why}", hint="PEM files: authorities; a certificate and its key, not encrypted"
            ) from None
        context.check_hostname = not self.node
        return context


class _TlsConnection(http.client.HTTPSConnection):
    auto_open = 0
    """Only :class:`Client` connects, which says what went wrong."""

    def __init__(self, host: str, port: int, timeout: float, context: ssl.SSLContext, node: str) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._node = node

    def connect(self) -> None:
        super().connect()
        if not self._node:
            return
        subject: Any = (self.sock.getpeercert() or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        if names != [self._node]:
            self.close()
            raise Unreachable(
                f"who answers at {self.host} port {self.port} is {', '.join(names) or 'nobody'}, not {self._node}",
                hint="look at the address and at --node",
            )


class _UnixConnection(http.client.HTTPConnection):
    auto_open = 0

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            self.sock = None
            raise


class Client:
    """One connection to an agent, kept open between requests; for one thread at a time.

    ``address`` is the path of its Unix socket (``/run/asa/asa.sock`` or ``unix:asa.sock``), or ``HOST:PORT`` with a
    ``token`` or a certificate in ``tls``. ``timeout``: seconds to wait for an answer; give more than the patience of
    what is asked.
    """

    def __init__(self, address: str, token: str | None = None, timeout: float = 30.0, tls: Tls | None = None) -> None:
        """Raises BadRequest for an address that is none, and for files that cannot be used."""
        self._address = address
        self._token = token
        self._timeout = timeout
        self._node = "" if tls is None else tls.node
        self._connection: http.client.HTTPConnection | None = None
        self._path, self._host, self._port = _parsed(address)
        self._context = None if self._path is not None else (tls or Tls()).context()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded answer; None if it has no body. Query parameters that are None are left out.

        Raises the agent's error as its class, and Unreachable. A connection that was closed before anything was
        answered is tried once more, if doing the request twice does no more than once.
        """
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        sent = dict(headers or {})
        for name, value in sent.items():
            # A header may be a secret, which the standard library would show in its own error.
            if not (value.isascii() and value.isprintable()):
                raise BadRequest(f"the header {name} is not printable ASCII", hint="look for line ends")
        keyed = method == "POST" and any(name.lower() == "idempotency-key" for name in sent)
        repeatable = (method in _REPEATABLE and (method, path) not in _COUNTED) or keyed
        target = _target(path, query)
        try:
            response, answer = self._exchange(method, target, data, sent)
        except _CLOSED as error:
            self.close()
            if not repeatable:
                raise self._lost(error) from error
            try:
                response, answer = self._exchange(method, target, data, sent)
            except _CLOSED as again:
                self.close()
                raise self._lost(again) from again
        # A health that is not ready is an answer, though its status is an error's.
        found = _decoded(answer) if answer else None
        if response.status >= 400 and (failed := _error(response.status, found)) is not None:
            raise failed
        return found

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Events as they happen, numbered above ``after``, each as :class:`asa.views.Event` in JSON.

        An event of the kind ``missed`` stands for those no longer kept. Ends when the agent stops; raises what
        :meth:`request` does, and Unreachable if the agent is silent.
        """
        connection = self._connect(max(self._timeout, _STREAM_TIMEOUT_S))
        try:
            response = self._ask(connection, "GET", f"/v1/events/stream?after={after}", None, {})
            if response.status != 200:
                found = _error(response.status, _decoded(response.read()))
                raise found or Unreachable(f"what answers at {self._address} is not an agent: no event stream")
            lines: list[str] = []
            while raw := response.readline():
                line = raw.decode().rstrip("\r\n")
                if line.startswith("data:"):
                    lines.append(line[5:].removeprefix(" "))
                elif not line and lines:
                    yield json.loads("\n".join(lines))
                    lines = []
        except TimeoutError as error:
            raise Unreachable(f"the agent at {self._address} is silent", hint="ask again") from error
        except _CLOSED:
            return
        except ssl.SSLError as error:
            raise _no_tls(self._address, error) from None
        except OSError as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        # Behind an answer that says so, http.client has closed it.
        if self._connection is None or self._connection.sock is None:
            self._connection = self._connect(self._timeout)
        try:
            response = self._ask(self._connection, method, target, data, headers)
            return response, response.read()
        except TimeoutError as error:
            self.close()
            raise Unreachable(
                f"no answer from the agent at {self._address} within {self._timeout:g} s",
                hint="it may still do what was asked: look before you ask again, or repeat with the same key",
            ) from error
        except ssl.SSLError as error:
            self.close()
            if isinstance(error, _CLOSED):
                raise
            raise _no_tls(self._address, error) from None
        except http.client.IncompleteRead as error:
            self.close()
            raise self._lost(error) from error
        except http.client.HTTPException as error:
            self.close()
            if isinstance(error, http.client.RemoteDisconnected):
                raise
            raise Unreachable(f"what answers at {self._address} is not an agent: {error!r}") from error
        except OSError as error:
            self.close()
            if isinstance(error, _CLOSED):
                raise
            raise self._lost(error) from error

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        data: bytes | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        sent = {"Accept": "application/json", **headers}
        if data is not None:
            sent["Content-Type"] = "application/json"
        if self._token is not None and self._path is None:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, target, data, sent)
        except (BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # Refused while it was being sent; the answer tells why, if there is one.
            pass
        return connection.getresponse()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        connection = (
            _TlsConnection(self._host, self._port, timeout, self._context, self._node)
            if self._context is not None
            else _UnixConnection(self._path or "", timeout)
        )
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"the agent at {self._address} is not believed: {error.verify_message}", hint=_disbelief(error)
            ) from None
        except ssl.SSLError as error:
            raise _no_tls(self._address, error) from None
        except OSError as error:
            raise Unreachable(f"no agent at {self._address}: {error.strerror or error}", hint=_hint(error)) from error
        return connection

    def _lost(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"the agent at {self._address} closed the connection before it answered: {error or type(error).__name__}",
            hint="it may have done what was asked: look before you ask again",
        )


def _no_tls(address: str, error: ssl.SSLError) -> Unreachable:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return Unreachable(
        f"no TLS with the agent at {address}: {reason}", hint="is the certificate shown one it believes?"
    )


def _disbelief(error: ssl.SSLCertVerificationError) -> str:
    # X509_V_ERR_HOSTNAME_MISMATCH and its brother for addresses.
    if error.verify_code in (62, 64):
        return "--node NAME where its certificate has the node's name and no address"
    return "--cacert FILE with the authority of the agent's certificate"


def _parsed(address: str) -> tuple[str | None, str, int]:
    if address.startswith("unix:"):
        return address.removeprefix("unix:"), "", 0
    if address.startswith("http://"):
        raise BadRequest(f"{address!r}: the API over TCP is TLS", hint="https://HOST:PORT, or HOST:PORT")
    if "/" in address and not address.startswith("https://"):
        return address, "", 0
    try:
        parts = urlsplit(address if address.startswith("https://") else f"https://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise BadRequest(f"{address!r} is no address of an agent", hint="give the path of its socket, or HOST:PORT")
    return None, host, port


def _target(path: str, query: Mapping[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    if not given:
        return quote(path, safe="/%?=&+")
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    return f"{quote(path, safe='/%')}?{urlencode(texts)}"


def _decoded(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError as error:
        raise Unreachable("what answered is not an agent: no JSON", hint="look at the address") from error


def _error(status: int, answer: Any) -> AsaError | None:
    """The error an agent answered with; None for an answer that is none."""
    body = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        return None
    code = body["code"]
    # What asa.flows, asa.hosts and asa.traffic refuse is a BadRequest; they are not loaded for it.
    kind = _CLASSES.get(code, BadRequest if status == BadRequest.status else AsaError)
    error = kind(str(body.get("message", "")), hint=str(body.get("hint", "")), details=body.get("details") or {})
    error.code, error.status = code, status
    return error


def _hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "only the socket's group may ask; join it, or ask as root"
    if isinstance(error, TimeoutError):
        return "the agent does not accept connections; look at its log"
    return "is the agent running, and is this the address its configuration names?"
