"""CBOR values as JSON and back, without loss (``docs/cli.md``, "Values").

What JSON has, stands as itself. The rest of CBOR (RFC 8949) is an object with one key that starts with ``$``:

    {"$bytes": "00ff"}            a byte string, in hex
    {"$map": [[key, value], …]}   a map with a key that is not text, or is text that starts with "$"
    {"$float": "NaN"}             or "Infinity", "-Infinity"
    {"$simple": 23}               a simple value; 23 is undefined
    {"$tag": 1, "value": …}       a tag, never interpreted
    {"$cbor": "820102"}           tag 24, encoded CBOR: as a whole value, RawCBOR (RFC 8991 §2.3.2.4)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import cbor2

from grasp.cbor import RawCBOR, Tag, encode, wrap
from grasp.errors import ErrorCode, LocalError

JSON = Any
"""What :mod:`json` makes text of."""

_ENCODED_CBOR: Final = 24
_UNDEFINED: Final = 23
_FLOATS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_HINT: Final = (
    "a value is JSON; in a shell it goes between single quotes: "
    "'\"text\"', '[\"NZD\", 47]', 47, true, null"
)  # fmt: skip


class NotAValue(ValueError):
    """Text or JSON that stands for no CBOR value; the message says why."""


def parse_value(text: str) -> Any:
    """The value that a JSON text stands for. Raises :class:`NotAValue`."""
    try:
        structure = json.loads(
            text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_object_without_duplicates
        )
        value = value_from_json(structure)
        encode(wrap(value))
    except NotAValue:
        raise
    except LocalError as error:
        raise NotAValue(error.detail) from None
    except RecursionError:
        raise NotAValue("nested too deep") from None
    except ValueError as error:
        raise NotAValue(f"{text!r:.80} is not JSON ({str(error)[:80]}); {_HINT}") from None
    return value


def _no_constant(name: str) -> Any:
    raise NotAValue(f'{name} is not JSON; write {{"$float": "{name}"}}')


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotAValue(f'{text:.40} is beyond what a float holds; write {{"$float": "Infinity"}} if that is meant')
    return number


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotAValue("an object has a key twice")
    return found


def value_from_json(structure: JSON) -> Any:
    """The CBOR value of a decoded JSON text. Raises :class:`NotAValue`."""
    value = _value(structure)
    if _is_encoded_cbor(value):
        return RawCBOR(value.value)
    return value


def _value(structure: JSON) -> Any:
    if isinstance(structure, list):
        return [_value(each) for each in structure]
    if isinstance(structure, dict):
        special = sorted(key for key in structure if key.startswith("$"))
        if not special:
            return {key: _value(each) for key, each in structure.items()}
        read = _SPECIAL.get(special[0])
        if read is None:
            raise NotAValue(f'{special[0]!r:.40} means nothing; a map with such a key is {{"$map": [[key, value]]}}')
        if structure.keys() != ({"$tag", "value"} if special == ["$tag"] else {special[0]}):
            raise NotAValue(f"an object with {special[0]} has a wrong set of keys")
        return read(structure)
    if type(structure) is int and not -(1 << 64) <= structure < 1 << 64:
        # CBOR's integers end here; beyond, it has bignums (RFC 8949 §3.4.3), which a peer gets as tags.
        magnitude = structure if structure >= 0 else -1 - structure
        return Tag(2 if structure >= 0 else 3, magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big"))
    return structure


def _bytes(text: JSON, key: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise NotAValue(f"{key} wants a text of hex digits") from None


def _tag(structure: dict[str, Any]) -> Tag:
    number = structure["$tag"]
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise NotAValue("$tag wants a number 0..2^64-1")
    return Tag(number, _value(structure["value"]))


def _simple(structure: dict[str, Any]) -> Any:
    number = structure["$simple"]
    if number == _UNDEFINED and type(number) is int:
        return cbor2.undefined
    if type(number) is not int or not (0 <= number < 20 or 32 <= number < 256):
        raise NotAValue("$simple wants a number 0..19, 23 or 32..255")
    return cbor2.CBORSimpleValue(number)


def _float(structure: dict[str, Any]) -> float:
    name = structure["$float"]
    if not isinstance(name, str) or name not in _FLOATS:
        raise NotAValue(f"$float wants one of {', '.join(_FLOATS)}")
    return _FLOATS[name]


def _map(structure: dict[str, Any]) -> dict[Any, Any]:
    pairs = structure["$map"]
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise NotAValue("$map wants a list of [key, value]")
    found = {_frozen(_value(key)): _value(each) for key, each in pairs}
    if len(found) != len(pairs):
        raise NotAValue("$map has a key twice (1, 1.0 and true count as one)")
    return found


_SPECIAL: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "$bytes": lambda structure: _bytes(structure["$bytes"], "$bytes"),
    "$cbor": lambda structure: Tag(_ENCODED_CBOR, _bytes(structure["$cbor"], "$cbor")),
    "$float": _float,
    "$map": _map,
    "$simple": _simple,
    "$tag": _tag,
}


def _frozen(value: Any) -> Any:
    """``value`` as cbor2 decodes a map's key."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return cbor2.frozendict({key: _frozen(each) for key, each in value.items()})
    if type(value) is Tag:
        return Tag(value.tag, _frozen(value.value))
    return value


def _is_encoded_cbor(value: Any) -> bool:
    return type(value) is Tag and value.tag == _ENCODED_CBOR and type(value.value) is bytes


def value_to_json(value: Any) -> JSON:
    """A decoded CBOR value as what :mod:`json` can write; no NaN or Infinity among it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {"$float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, RawCBOR):
        return {"$cbor": value.hex()}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, list | tuple):
        return [value_to_json(each) for each in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: value_to_json(each) for key, each in value.items()}
        return {"$map": [[value_to_json(key), value_to_json(each)] for key, each in value.items()]}
    if isinstance(value, Tag):
        if _is_encoded_cbor(value):
            return {"$cbor": value.value.hex()}
        return {"$tag": value.tag, "value": value_to_json(value.value)}
    if value is cbor2.undefined:
        return {"$simple": _UNDEFINED}
    if isinstance(value, cbor2.CBORSimpleValue):
        return {"$simple": value.value}
    raise LocalError(ErrorCode.unspec, f"a {type(value).__name__} is no CBOR value")
