"""From a request to its answer, as a falcon application: who may ask, what a request carries, and what came of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import falcon
import msgspec
from cheroot.errors import MaxSizeExceeded

from asa.errors import AsaError, BadRequest, Forbidden, Unauthorized
from asa.northbound import checking
from asa.northbound.access import Gate
from asa.northbound.bodies import EventsQuery, NoQuery
from asa.northbound.limits import MAX_BODY, MAX_INT, MAX_KEY, MAX_SECRET, PATIENCE_MS, PLACE_S
from asa.northbound.refusals import (
    LengthRequired,
    MethodNotAllowed,
    RequestTimeout,
    TooLarge,
    UnknownPath,
    UnsupportedMediaType,
)
from asa.northbound.roles import Principal
from asa.northbound.routes import Call, Reply, Route
from asa.northbound.watchers import Lane, Watchers
from asa.service import Service

_log = logging.getLogger(__name__)

CONNECTION: Final = "asa.connection"
"""Where the server puts a request's connection into its environment."""
METHOD: Final = "asa.method"
"""Where the server puts a request's method, as it was sent."""
PRINCIPAL: Final = "asa.principal"
"""Where the gate puts who asks."""
AGAIN: Final = "asa.again"
"""Where the gate puts what says who asks now, of a request that lasts."""

_KEY: Final = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY}}}")
_SECRET: Final = re.compile(rf"[\x20-\x7e]{{1,{MAX_SECRET}}}")
_NO_QUERY: Final = NoQuery()
_JSON: Final = re.compile(r"application/json(?:\s*;\s*charset=\"?utf-8\"?)?\s*", re.IGNORECASE)
_ENCODER: Final = msgspec.json.Encoder()


def application(
    service: Service, routes: Iterable[Route], lane: Lane, watchers: Watchers, gate: Gate
) -> falcon.App[falcon.Request, falcon.Response]:
    """Answers requests out of a service, of those whom the ``gate`` lets in. For any thread."""
    routes = tuple(routes)
    app = falcon.App(middleware=[_Guard(gate)])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        responder = _Responder(route, service, lane, watchers)
        methods = paths.setdefault(route.path, {})
        methods[route.method] = responder
        if route.method == "GET":
            methods["HEAD"] = responder
    for path, methods in paths.items():
        app.add_route(path, _Resource(methods))
    # What OPTIONS * asks for (RFC 9110 §9.3.7).
    every = sorted({method for methods in paths.values() for method in methods} | {"OPTIONS"})
    app.add_route("/*", _Resource({"OPTIONS": _Options(every)}))

    def failed(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
        if isinstance(error, falcon.HTTPError):
            error = _translated(error, req, paths)
        elif not isinstance(error, AsaError):
            _log.error("unexpected %s while answering %s", type(error).__name__, req.method, exc_info=error)
            error = AsaError("the agent met an error of its own", hint="its log tells more; please report it")
        elif error.status == 500:
            _log.error("%s while answering %s: %s", error.code, req.method, error, exc_info=error)
        resp.status = error.status
        resp.content_type = falcon.MEDIA_JSON
        resp.stream = None
        for name, value in error_headers(error):
            resp.set_header(name, value)
        resp.data = error_json(error)

    for kind in (Exception, falcon.HTTPError):
        app.add_error_handler(kind, failed)
    return app


def error_json(error: AsaError) -> bytes:
    """The body that tells an error."""
    body = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
    try:
        return _ENCODER.encode({"error": body})
    except (TypeError, ValueError):
        _log.exception("the details of %s are not JSON", error.code)
        return _ENCODER.encode({"error": body | {"details": {}}})


def error_headers(error: AsaError) -> Iterator[tuple[str, str]]:
    """The headers beside it."""
    yield "Cache-Control", "no-store"
    if error.status == 401:
        yield "WWW-Authenticate", 'Bearer realm="asa"'
    elif error.status == 405:
        yield "Allow", ", ".join(error.details["allow"])
    elif error.status == 429:
        yield "Retry-After", str(max(1, -(-error.details["retry_after_ms"] // 1000)))
    elif error.status == 503:
        yield "Retry-After", "1"


def _translated(error: falcon.HTTPError, req: falcon.Request, paths: Iterable[str]) -> AsaError:
    """What falcon's router found wrong, in our form."""
    try:
        path = checking.text(req.path.encode("latin-1"), "the path")
    except BadRequest as undecodable:
        return undecodable
    if isinstance(error, falcon.HTTPRouteNotFound):
        hint = checking.did_you_mean(path, paths) if len(path) <= 64 else ""
        if not hint.startswith("did you mean"):
            hint = "GET /openapi.json lists the paths"
        return UnknownPath(f"no endpoint {checking.shown(path)}", hint=hint)
    if isinstance(error, falcon.HTTPMethodNotAllowed):
        allowed = dict(error.headers or {})["Allow"].split(", ")
        message = f"{checking.shown(path)} does not take {req.env[METHOD]}"
        return MethodNotAllowed(message, hint=f"it takes {', '.join(allowed)}", details={"allow": allowed})
    return BadRequest(error.description or error.title or "the request is not one")


class _Guard:
    """Falcon's middleware: every request passes the gate, whatever its path."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        connection, authorization = req.env[CONNECTION], req.env.get("HTTP_AUTHORIZATION")
        try:
            principal = req.env[PRINCIPAL] = self._gate.enter(connection, authorization)
        except (Unauthorized, Forbidden):
            connection.entered(None)
            raise
        connection.entered(principal)
        req.env[AGAIN] = partial(self._gate.again, connection, authorization)


class _Resource:
    """One path, as falcon's router wants it: a responder for each method."""

    def __init__(self, methods: dict[str, Any]) -> None:
        methods = {"OPTIONS": _Options(sorted({*methods, "OPTIONS"}))} | methods
        for method, responder in methods.items():
            setattr(self, f"on_{method.lower()}", responder)


class _Options:
    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = ", ".join(allowed)

    def __call__(self, req: falcon.Request, resp: falcon.Response, **names: str) -> None:
        resp.status = 204
        resp.set_header("Allow", self._allowed)


class _Responder:
    """Answers one endpoint with what its service's call returns."""

    def __init__(self, route: Route, service: Service, lane: Lane, watchers: Watchers) -> None:
        self._route = route
        self._service = service
        self._lane = lane
        self._watchers = watchers

    def __call__(self, req: falcon.Request, resp: falcon.Response, **names: str) -> None:
        route = self._route
        _check_role(req.env[PRINCIPAL], route)
        call = self._call(req, names)
        resp.set_header("Cache-Control", "no-store")
        if route.stream:
            resp.content_type = "text/event-stream"
            gone = req.env[CONNECTION].gone
            after = _last_seen(req, call)
            resp.stream = () if req.method == "HEAD" else self._watchers.stream(after, gone, _judge(req, route))
            return
        if isinstance(call.query, EventsQuery) and call.query.wait_ms:
            result: object = self._watchers.wait(call.query, req.env[CONNECTION].gone, _judge(req, route))
        elif route.long and (patience_ms := _patience_ms(call)):
            with self._lane.place(min(patience_ms / 1000, PLACE_S)):
                result = route.handle(self._service, call)
        else:
            result = route.handle(self._service, call)
        resp.status = route.status
        if type(result) is Reply:
            if result.status is not None:
                resp.status = result.status
            if result.location is not None:
                resp.set_header("Location", result.location)
            result = result.value
        if isinstance(result, str) and route.media != falcon.MEDIA_JSON:
            resp.content_type, resp.data = route.media, result.encode()
        else:
            resp.data = _ENCODER.encode(result)

    def _call(self, req: falcon.Request, names: dict[str, str]) -> Call:
        """What the endpoint is called with. Raises AsaError for what does not fit."""
        route, env = self._route, req.env
        query: Any = _NO_QUERY
        if env["QUERY_STRING"] or route.query is not NoQuery:
            query = checking.query(route.query, env["QUERY_STRING"].encode("latin-1"))
        path = tuple(checking.segment(names[name].encode("latin-1")) for name in route.names) if names else ()
        body = self._body(env)
        key = env.get("HTTP_IDEMPOTENCY_KEY")
        if key is not None:
            if not route.key and req.method not in ("GET", "HEAD", "PUT", "DELETE"):
                raise BadRequest(f"{route.method} {route.path} takes no Idempotency-Key", hint="leave it out")
            if not _KEY.fullmatch(key):
                raise BadRequest(f"an Idempotency-Key is 1 to {MAX_KEY} printable ASCII characters")
        return Call(path, query, body, key if route.key else None, self._secret(env) if route.secret else None)

    def _secret(self, env: dict[str, Any]) -> str | None:
        route = self._route
        secret: str | None = env.get("HTTP_ASA_SECRET")
        if secret is None and route.secret_needed:
            raise BadRequest(
                f"{route.method} {route.path} needs the header Asa-Secret",
                hint="send the secret the reservations were made with, or the administrator's",
            )
        if secret is not None and not _SECRET.fullmatch(secret):
            raise BadRequest(f"the header Asa-Secret is not 1 to {MAX_SECRET} printable ASCII characters")
        return secret

    def _body(self, env: dict[str, Any]) -> Any:
        route = self._route
        announced = "CONTENT_LENGTH" in env or "HTTP_TRANSFER_ENCODING" in env
        data = _read(env) if announced else b""
        if route.decoder is None:
            if data:
                raise BadRequest(f"{route.method} {route.path} takes no body", hint="leave it out")
            return None
        if not data:
            if route.body_optional:
                return route.body()
            if not announced:
                raise LengthRequired(
                    f"{route.method} {route.path} needs a body", hint="send JSON with a Content-Length"
                )
            raise BadRequest(f"{route.method} {route.path} needs a body", hint="send one JSON object")
        declared = env.get("CONTENT_TYPE", "")
        if declared != "application/json" and not _JSON.fullmatch(declared):
            raise UnsupportedMediaType("the body is not declared as JSON", hint="send Content-Type: application/json")
        return checking.body(route.decoder, data, route.fields)


def _judge(req: falcon.Request, route: Route) -> Callable[[], None]:
    """Raises Unauthorized or Forbidden when who asked may no longer."""
    again: Callable[[], Principal] = req.env[AGAIN]
    return lambda: _check_role(again(), route)


def _check_role(principal: Principal, route: Route) -> None:
    """Raises Forbidden."""
    # The gate lets nobody in without a role.
    assert principal.role is not None
    if principal.role < route.role:
        raise Forbidden(
            f"{route.method} {route.path} takes the role {route.role.text}; {principal.name} is {principal.role.text}",
            hint="the agent's configuration says who has which role: [api]",
            details={"role": principal.role.text, "needed": route.role.text},
        )


def _read(env: dict[str, Any]) -> bytes:
    """The body. Raises TooLarge, RequestTimeout, BadRequest."""
    try:
        data: bytes = env["wsgi.input"].read()
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time", hint="send it whole, or in larger pieces") from None
    except ConnectionError:
        raise BadRequest("the body ends early") from None
    except (MaxSizeExceeded, OSError):
        raise TooLarge(f"the body is larger than {MAX_BODY} bytes", hint="no request here needs as much") from None
    except ValueError as error:
        raise BadRequest(f"the body is not chunked as it should be: {error}") from None
    if (length := env.get("CONTENT_LENGTH")) is not None and len(data) != int(length):
        raise BadRequest("the body ends early")
    return data


def _patience_ms(call: Call) -> int:
    """How long a call may wait for peers; the service's own patience where a request cannot say it."""
    asked = call.query if call.body is None else call.body
    found: int = getattr(asked, "patience_ms", PATIENCE_MS)
    return found


def _last_seen(req: falcon.Request, call: Call) -> int:
    """The number behind which a stream goes on: Last-Event-ID, or the query's ``after``. Raises BadRequest."""
    after: int = call.query.after
    if (last := req.env.get("HTTP_LAST_EVENT_ID")) is not None:
        if not (last.isascii() and last.isdigit()) or len(last) > 19 or int(last) > MAX_INT:
            raise BadRequest("Last-Event-ID is not the number of an event", hint="send an id the stream has sent")
        after = int(last)
    return after
