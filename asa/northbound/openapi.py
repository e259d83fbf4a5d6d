"""The OpenAPI 3.1 document, made from the table of endpoints and the types they take and answer.

What a field means is said once, in the source of its type: the docstring below it, or the description of its type.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from types import ModuleType
from typing import Any, Final

import msgspec

from asa import views
from asa.errors import AsaError, BadRequest, Busy, Forbidden, LinkShort, Short, Unauthorized
from asa.northbound import refusals
from asa.northbound.bodies import NoQuery
from asa.northbound.limits import MAX_BODY, MAX_KEY, MAX_NAME, MAX_SECRET
from asa.northbound.routes import Route

VERSION: Final = "3.0.0"
"""Of the API, not of the agent: the second number grows with what is added, the first if something is taken away."""

_REFERENCE: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (
    BadRequest,
    Unauthorized,
    Forbidden,
    refusals.RequestTimeout,
    refusals.TargetTooLong,
    refusals.TooManyRequests,
    refusals.HeadTooLarge,
    AsaError,
    Busy,
)
"""What any request may be answered with."""
_WITH_BODY: Final = (
    refusals.LengthRequired,
    refusals.TooLarge,
    refusals.UnsupportedMediaType,
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """Why a request was not done."""

    code: str
    """Stable, for programs."""
    message: str
    """What was wrong, and where."""
    hint: str
    """What to do about it; may be empty."""
    details: dict[str, Any]
    """What a program may want to know beside the code."""


@dataclass(frozen=True, slots=True)
class Error:
    """Every answer but a success."""

    error: ErrorBody


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document, JSON-ready."""
    routes = tuple(routes)
    kinds: list[Any] = [Error, views.Refusal]
    for route in routes:
        kinds += [kind for kind in (route.result, route.query, route.body) if kind is not None]
    found, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    schemas = {repr(kind): schema for kind, schema in zip(kinds, found, strict=True)}
    for name, fields in _documented(_sources(routes)).items():
        _describe(components.get(name, {}), fields)
    for name, component in components.items():
        _tidy(name, component)
    components["ShortError"] = _short_error(components)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bandwidth agent",
            "version": VERSION,
            "description": "Rates are bit/s and times UNIX seconds, integers both. Names and identifiers are opaque."
            " Every error has the form of the schema Error; programs go by its code. HEAD is answered where GET is,"
            " OPTIONS everywhere. Every operation has the least role that may: `x-role`. Over the Unix socket the user"
            " and the groups of who connects give the role, over TCP, which is TLS, a token or the client's"
            f" certificate. A body has at most {MAX_BODY} bytes.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The Unix socket, or TCP with TLS"}],
        "security": [{}, {"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": _simpler(dict(sorted(components.items()))),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Over TCP only."},
                "certificate": {"type": "mutualTLS", "description": "Over TCP only."},
            },
        },
    }


def _operation(route: Route, schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.about,
        "description": f"Takes the role {route.role.text}, or one that may more.",
        "x-role": route.role.text,
        "parameters": [*_parameters(route, components)],
        "responses": _responses(route, schemas),
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {"application/json": {"schema": schemas[repr(route.body)]}},
        }
    return operation


def _parameters(route: Route, components: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in route.names:
        schema = {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": r"^[^\x00-\x1f\x7f]+$"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if route.query is not NoQuery:
        query = components[route.query.__name__]
        for name, described in query["properties"].items():
            wanted: dict[str, Any] = {key: value for key, value in described.items() if key != "description"}
            if wanted.get("default", 0) is None:
                del wanted["default"]
            if "anyOf" in wanted:
                # A parameter is left out, never null.
                choices = [each for each in wanted.pop("anyOf") if each != {"type": "null"}]
                wanted |= choices[0] if len(choices) == 1 else {"anyOf": choices}
                wanted.pop("description", None)
            yield {
                "name": name,
                "in": "query",
                "required": name in query.get("required", ()),
                "description": described.get("description", ""),
                "schema": wanted,
            }
    if route.key:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The client's own name for this request: sent again with it, the request is done once.",
            "schema": {"type": "string", "pattern": f"^[ -~]{{1,{MAX_KEY}}}$"},
        }
    if route.secret:
        yield {
            "name": "Asa-Secret",
            "in": "header",
            "required": route.secret_needed,
            "description": "The owner's secret, or the administrator's.",
            "schema": {"type": "string", "format": "password", "pattern": f"^[ -~]{{1,{MAX_SECRET}}}$"},
        }
    if route.stream:
        yield {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The number of the last event seen; goes before `after`.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
        }


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    media = "text/event-stream" if route.stream else route.media
    schema = schemas[repr(route.result)]
    if route.stream:
        # A stream is text; this is the data of one event.
        schema = {"type": "string", "contentSchema": schema}
    responses: dict[str, dict[str, Any]] = {}
    for status in (route.status, *route.also):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {media: {"schema": schema}},
        }
    if route.status == 201:
        responses["201"]["headers"] = {
            "Location": {"description": "The path of what was made.", "schema": {"type": "string"}}
        }
    kinds: list[type[AsaError]] = []
    kinds += dict.fromkeys((*_ALWAYS, *route.errors))
    if route.body is not None:
        kinds += _WITH_BODY
    by_status: dict[int, list[type[AsaError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    for status, raised in sorted(by_status.items()):
        error: dict[str, Any] = {"$ref": "#/components/schemas/Error"}
        if Short in raised:
            error = {"anyOf": [{"$ref": "#/components/schemas/ShortError"}, error]}
        if str(status) in responses:  # the health of an agent that is not ready
            responses[str(status)]["content"][media]["schema"] = {"anyOf": [schema, error]}
            continue
        responses[str(status)] = {
            "description": "; ".join(f"`{kind.code}`: {_first_line(kind)}" for kind in raised),
            "content": {"application/json": {"schema": error}},
        }
    return responses


def _short_error(components: dict[str, Any]) -> dict[str, Any]:
    """Those errors whose details have a type."""
    body = components["ErrorBody"]
    properties = body["properties"] | {
        "code": {"enum": [Short.code, LinkShort.code]},
        "details": {"$ref": "#/components/schemas/Refusal"},
    }
    return {
        "title": "ShortError",
        "description": Short.__doc__,
        "type": "object",
        "properties": {"error": body | {"title": "ShortErrorBody", "properties": properties}},
        "required": ["error"],
    }


def _sources(routes: Iterable[Route]) -> set[ModuleType]:
    """The modules whose types the endpoints answer with, and this one."""
    kinds = [Error, *(getattr(views, name) for name in views.__all__), *(route.result for route in routes)]
    modules = {inspect.getmodule(kind) for kind in kinds if inspect.isclass(kind)}
    return {module for module in modules if module is not None and module is not builtins}


def _documented(modules: Iterable[ModuleType]) -> dict[str, dict[str, str]]:
    """The docstrings of the fields of every class, which exist in the source only."""
    found: dict[str, dict[str, str]] = {}
    for module in modules:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = dict(_field_docs(node))
    return found


def _field_docs(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield field.target.id, _plain(inspect.cleandoc(after.value.value)).replace("None", "null")


def _describe(schema: dict[str, Any], fields: dict[str, str]) -> None:
    for name, text in fields.items():
        if name in schema.get("properties", {}):
            schema["properties"][name] = {"description": text} | schema["properties"][name]


def _tidy(name: str, schema: dict[str, Any]) -> None:
    if "description" in schema:
        schema["description"] = _plain(schema["description"])
        # Dataclasses have a signature for a docstring where they have no other.
        if schema["description"].startswith(f"{name}("):
            del schema["description"]


def _simpler(schema: Any) -> Any:
    """Of tuples of one type, that type: more programs know what that means."""
    if isinstance(schema, list):
        return [_simpler(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("prefixItems")
    if isinstance(kinds, list) and all(each == kinds[0] for each in kinds):
        schema = {key: value for key, value in schema.items() if key != "prefixItems"} | {"items": kinds[0]}
    return {key: _simpler(value) for key, value in schema.items()}


def _plain(text: str) -> str:
    """A docstring without its markup."""
    text = re.sub(r":class:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text)
    return " ".join(text.replace("``", "`").split())


def _first_line(kind: type[AsaError]) -> str:
    if kind is AsaError:
        return "a defect of the agent"
    text = _plain((kind.__doc__ or kind.__name__).strip().partition("\n")[0])
    return text[:1].lower() + text[1:].rstrip(".")
