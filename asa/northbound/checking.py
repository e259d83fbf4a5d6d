"""From bytes to checked values; what does not fit is refused with where it stands and what was expected there."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
import msgspec.inspect

from asa.errors import BadRequest
from asa.northbound.limits import MAX_NAME

_PLACE: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_EXPECTED: Final = re.compile(r"^(?:Expected|Invalid) ")
_INTEGER: Final = re.compile(r"(?:0|-?[1-9][0-9]*)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN: Final = 64
"""Characters of what a client sent that are repeated to it."""


def body(decoder: msgspec.json.Decoder[Any], data: bytes, known: Iterable[str]) -> Any:
    """The body as the decoder's type. ``known`` are the names a misspelt field is compared with."""
    try:
        found = decoder.decode(data)
        # Which msgspec does not do: of a key given twice the last would count.
        _ONCE.decode(data.decode())
        return found
    except msgspec.ValidationError as error:
        raise _explained(str(error), known, "field", decoder.type) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"is not JSON: {error}"
        raise BadRequest(
            f"the body {what}", hint="send one JSON object in UTF-8", details={"path": "$", "expected": "JSON"}
        ) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            path = f"$.{name[:_SHOWN]}"
            raise BadRequest(
                f"field {shown(name)} is given twice", hint="give it once", details={"path": path, "expected": "one"}
            )
        found[name] = value
    return found


_ONCE: Final = json.JSONDecoder(object_pairs_hook=_each_once)


def query(kind: type[msgspec.Struct], raw: bytes) -> Any:
    """The query string as ``kind``. A parameter that is unknown or given twice is refused."""
    read = _readers(kind)
    values: dict[str, Any] = {}
    for pair in raw.split(b"&") if raw else ():
        name, _, value = (text(part.replace(b"+", b" "), "the query") for part in pair.partition(b"="))
        if name in values:
            raise BadRequest(f"query parameter {shown(name)} is given twice", hint="give it once")
        values[name] = read[name](value) if name in read else value
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise _explained(str(error), read, "query parameter", kind) from None


@cache
def _readers(kind: type[msgspec.Struct]) -> dict[str, Callable[[str], Any]]:
    """By parameter: how its text becomes a value, or stays text where it cannot, for the type check to refuse."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    return {field.name: _reader(field.type) for field in described.fields}


def _reader(kind: msgspec.inspect.Type) -> Callable[[str], Any]:
    kinds = set(_kinds(kind))
    if msgspec.inspect.IntType in kinds:
        return _integer
    return _boolean if msgspec.inspect.BoolType in kinds else str


def _kinds(kind: msgspec.inspect.Type) -> Iterator[type[msgspec.inspect.Type]]:
    """What a type comes down to, without its descriptions."""
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _kinds(kind.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _kinds(each)
    else:
        yield type(kind)


def _integer(value: str) -> int | str:
    """An integer as JSON writes it, so that neither 1e3 nor 5.0 passes for one."""
    return int(value) if len(value) <= 20 and _INTEGER.fullmatch(value) else value


def _boolean(value: str) -> bool | str:
    return {"true": True, "false": False}.get(value, value)


def segment(raw: bytes) -> str:
    """One segment of a path: 1..255 characters, no control characters."""
    value = text(raw, "the path")
    if not 0 < len(value) <= MAX_NAME or _CONTROL.search(value):
        raise BadRequest(f"a name in a path has 1 to {MAX_NAME} characters and no control characters")
    return value


def text(raw: bytes, where: str) -> str:
    """What percent-encoded UTF-8 says."""
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{where} is not UTF-8", hint="percent-encode UTF-8") from None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is none of ``known``."""
    known = list(known)
    close = difflib.get_close_matches(name[:_SHOWN], known, n=1)
    return f"did you mean {close[0]}?" if close else _listed(known)


def _listed(known: Iterable[str]) -> str:
    names = ", ".join(known)
    return f"known here: {names}" if names else "there are none here"


def shown(name: str) -> str:
    """A name of a client as a message may repeat it: quoted, and not too long."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


def _choices(kind: Any, path: str) -> str:
    """What a field may be that is one of some texts."""
    described = msgspec.inspect.type_info(kind)
    for field in getattr(described, "fields", ()):
        if f"$.{field.name}" == path:
            return ", ".join(_texts(field.type))
    return ""


def _texts(kind: msgspec.inspect.Type) -> Iterator[str]:
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _texts(kind.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _texts(each)
    elif isinstance(kind, msgspec.inspect.LiteralType):
        yield from map(str, kind.values)
    elif isinstance(kind, msgspec.inspect.IntType):
        yield "an integer"


def _explained(problem: str, known: Iterable[str], kind: str, wanted: Any) -> BadRequest:
    matched = _PLACE.match(problem)
    what, path = (matched["what"], matched["path"] or "$") if matched else (problem, "$")
    if found := _UNKNOWN.match(what):
        name = found["name"]
        return BadRequest(
            f"unknown {kind} {shown(name)}",
            hint=did_you_mean(name, known),
            details={"path": f"{path}.{name[:_SHOWN]}", "expected": "nothing"},
        )
    if found := _MISSING.match(what):
        name = found["name"]
        return BadRequest(
            f"{kind} {name!r} is missing", hint="add it", details={"path": f"{path}.{name}", "expected": name}
        )
    expected = _EXPECTED.sub("", what).replace("`", "")
    if what.startswith("Invalid enum value"):
        expected = f"one of {_choices(wanted, path)}"
    if "matching regex" in expected:
        expected = "text without control characters"
    where = path if kind == "field" else path.removeprefix("$.")
    place = "the body" if where == "$" else f"{kind} {where}"
    return BadRequest(
        f"{place}: expected {expected}",
        hint="GET /openapi.json tells every field",
        details={"path": path, "expected": expected},
    )
