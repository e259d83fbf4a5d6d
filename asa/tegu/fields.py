"""The fields of one JSON object of a checkpoint, under any of their names. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from asa.tegu.report import Code, Refused

_IGNORED: Final = frozenset({"state", "time", "qid", "pushed", "paused", "path_list", "gate", "window", "ptype", "id"})
"""What Tegu worked out, or what is read before the fields of a kind."""


class _Twice(ValueError):
    pass


def read_object(text: str) -> dict[str, object]:
    """One JSON object. Raises :class:`Refused`, which tells the place at most."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except _Twice:
        raise Refused(Code.UNPARSABLE, "a field stands there twice") from None
    except json.JSONDecodeError as error:
        raise Refused(Code.UNPARSABLE, f"no JSON from character {error.pos + 1} on") from None
    except (ValueError, RecursionError):
        # Integers of thousands of digits, and thousands of brackets.
        raise Refused(Code.UNPARSABLE, "no JSON within bounds") from None
    if not isinstance(found, dict):
        raise Refused(Code.UNPARSABLE, "no JSON object")
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _no_constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


class Fields:
    """One object. An accessor takes all names of a field; null is as if it were not there.

    Each raises :class:`Refused` for a wrong type, for a value out of bounds, and if two names say different things.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._asked: set[str] = set()

    def _get(self, names: tuple[str, ...]) -> object:
        self._asked.update(names)
        there = [(name, self._values[name]) for name in names if self._values.get(name) is not None]
        for name, value in there[1:]:
            if type(value) is not type(there[0][1]) or value != there[0][1]:
                raise Refused(Code.BAD_FIELD, f"{there[0][0]} and {name} say different things")
        return there[0][1] if there else None

    def integer(self, *names: str, low: int, high: int) -> int | None:
        value = self._get(names)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise Refused(Code.BAD_FIELD, f"{names[0]} is not an integer {low}..{high}")
        return value

    def boolean(self, *names: str) -> bool | None:
        value = self._get(names)
        if value is None or isinstance(value, bool):
            return value
        raise Refused(Code.BAD_FIELD, f"{names[0]} is neither true nor false")

    def text(self, *names: str, most: int) -> str:
        """Empty if it is not there. ``most``: characters."""
        value = self._get(names)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > most:
            raise Refused(Code.BAD_FIELD, f"{names[0]} is not a text of at most {most} characters")
        return value

    def text_or_integer(self, *names: str) -> str:
        """As :meth:`text`, for what some write as a number."""
        value = self._get(names)
        if value is None:
            return ""
        if type(value) is int and 0 <= value < 2**32:
            return str(value)
        if isinstance(value, str) and len(value) <= 64:
            return value
        raise Refused(Code.BAD_FIELD, f"{names[0]} is neither a short text nor a number")

    def objects(self, *names: str, most: int) -> list[object]:
        """Empty if it is not there. ``most``: elements."""
        value = self._get(names)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most:
            raise Refused(Code.BAD_FIELD, f"{names[0]} is not a list of at most {most}")
        return value

    def unknown(self) -> int:
        """How many fields nobody has asked for."""
        return len(self._values.keys() - self._asked - _IGNORED)
