"""Taking a received value apart, field by field. No I/O.

What a peer sends is a CBOR map with short text keys. Unknown keys are ignored, so that agents of different versions
understand each other; a missing key, a wrong type or a value out of bounds is refused with where and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

MAX_RATE: Final = 2**53
"""bit/s: more than any link, and exact in every JSON reader."""

MAX_TIME: Final = 2**40
"""UNIX seconds: far beyond any window."""

MAX_NAME: Final = 63
"""Characters of the name of a node or a pool."""

T = TypeVar("T")


class InvalidValue(ValueError):
    """A received value that is refused. The text names the field and never quotes more than a few characters."""


def shown(value: object) -> str:
    """A stranger's value for an error text: its type and a few printable characters."""
    if isinstance(value, str):
        return ascii(value[:24])
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**64 else "a huge integer"
    return type(value).__name__


class Fields:
    """One received map. Each accessor checks type and bounds; ``where`` names the map in error texts."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise InvalidValue(f"{where} must be a map, not {shown(value)}")
        self._map: dict[Any, Any] = value
        self._where = where

    def _fail(self, key: str, what: str, value: object) -> InvalidValue:
        return InvalidValue(f"{self._where}.{key} must be {what}, not {shown(value)}")

    def _get(self, key: str) -> Any:
        if key not in self._map:
            raise InvalidValue(f"{self._where}.{key} is missing")
        return self._map[key]

    def value(self, key: str) -> Any:
        """Whatever is there, for a class that checks what it is made of."""
        return self._get(key)

    def has(self, key: str) -> bool:
        return self._map.get(key) is not None

    def integer(self, key: str, low: int, high: int) -> int:
        return check_integer(self._get(key), low, high, f"{self._where}.{key}")

    def boolean(self, key: str) -> bool:
        value = self._get(key)
        if type(value) is not bool:
            raise self._fail(key, "true or false", value)
        return value

    def octets(self, key: str, length: int) -> bytes:
        value = self._get(key)
        if type(value) is not bytes or len(value) != length:
            raise self._fail(key, f"{length} bytes", value)
        return value

    def name(self, key: str) -> str:
        return check_name(self._get(key), f"{self._where}.{key}")

    def choice(self, key: str, choices: frozenset[str]) -> str:
        value = self._get(key)
        if type(value) is not str or value not in choices:
            raise self._fail(key, " or ".join(sorted(choices)), value)
        return value

    def text(self, key: str, longest: int) -> str:
        return check_text(self._get(key), 0, longest, f"{self._where}.{key}")

    def items(self, key: str, most: int, read: Callable[[object, str], T]) -> tuple[T, ...]:
        value = self._get(key)
        if type(value) is not list or len(value) > most:
            raise self._fail(key, f"a list of at most {most}", value)
        return tuple(read(each, f"{self._where}.{key}") for each in value)

    def map(self, key: str) -> dict[Any, Any]:
        value = self._get(key)
        if type(value) is not dict:
            raise self._fail(key, "a map", value)
        return value


def check_integer(value: object, low: int, high: int, where: str) -> int:
    """An integer ``low..high``; true and false are none."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidValue(f"{where} must be an integer {low}..{high}, not {shown(value)}")
    return value


def check_text(value: object, shortest: int, longest: int, where: str) -> str:
    """A printable text of ``shortest..longest`` characters."""
    if type(value) is not str or not shortest <= len(value) <= longest or not value.isprintable():
        length = f"{shortest}..{longest}" if shortest else f"at most {longest}"
        raise InvalidValue(f"{where} must be a printable text of {length} characters, not {shown(value)}")
    return value


def check_name(value: object, where: str) -> str:
    """A node's or pool's name: 1..63 letters, digits, ``-``, ``_``, ``.``."""
    if (
        type(value) is not str
        or not 1 <= len(value) <= MAX_NAME
        or not value.isascii()
        or not all(each.isalnum() or each in "-_." for each in value)
    ):
        raise InvalidValue(f"{where} must be 1..{MAX_NAME} letters, digits, - _ or ., not {shown(value)}")
    return value
