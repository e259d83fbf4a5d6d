"""CDDL (RFC 8610), as much of it as docs/objectives.md uses: maps, arrays, choices, ranges and a few controls."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cbor2 import loads

Type = Callable[[Any], bool]
TOKEN = re.compile(r'\s*(?:;[^\n]*)?(?:("[^"]*")|(\.\.|=>|\.[a-z]+|[\[\]{}():,/=?*])|(\d+)|([A-Za-z][A-Za-z0-9_-]*)|$)')


def _tokens(text: str) -> list[str]:
    text = re.sub(r'("[^"\n]*")|;[^\n]*', lambda found: found[1] or "", text)
    found, place = [], 0
    while text[place:].strip():
        match = TOKEN.match(text, place)
        assert match is not None, text[place : place + 40]
        assert match.end() > place, text[place : place + 40]
        found.append(match[0].strip())
        place = match.end()
    return found


class Cddl:
    """Rules by name. ``defaults`` are those of the keys that have one."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._place = 0
        self.rules: dict[str, Type] = {
            "tstr": lambda value: type(value) is str,
            "bstr": lambda value: type(value) is bytes,
            "bool": lambda value: type(value) is bool,
            "null": lambda value: value is None,
            "any": lambda value: True,
        }
        self.keys: dict[str, dict[str, bool]] = {}
        """By rule: the keys of its map, and whether each may be missing."""
        self.defaults: dict[str, Any] = {}
        while self._place < len(self._tokens):
            name = self._take()
            self._take("=")
            self._rule = name
            self.rules[name] = self._type()

    def _peek(self, ahead: int = 0) -> str:
        return self._tokens[self._place + ahead] if self._place + ahead < len(self._tokens) else ""

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        assert expected in (None, token), f"{expected} expected, not {' '.join(self._tokens[self._place :][:8])}"
        self._place += 1
        return token

    def _type(self) -> Type:
        choices = [self._one()]
        while self._peek() == "/":
            self._take()
            choices.append(self._one())
        return lambda value: any(each(value) for each in choices)

    def _one(self) -> Type:
        token = self._take()
        if token == "[":
            return self._array()
        if token == "{":
            return self._map()
        if token.startswith('"'):
            return lambda value: type(value) is str and value == token[1:-1]
        if token.isdigit():
            self._take("..")
            low, high = int(token), int(self._take())
            found: Type = lambda value: type(value) is int and low <= value <= high  # noqa: E731 - one kind beside others
        else:
            found = lambda value: self.rules[token](value)  # noqa: E731 - named when it is used, for rules look ahead
        while self._peek() in (".regexp", ".size", ".cbor", ".default"):
            found = self._controlled(self._take(), found)
        return found

    def _controlled(self, control: str, found: Type) -> Type:
        argument = self._take()
        if control == ".regexp":
            return lambda value: found(value) and re.fullmatch(argument[1:-1], value) is not None
        if control == ".cbor":
            return lambda value: found(value) and self.rules[argument](loads(value))
        if argument == "(":
            low, _, high, _ = int(self._take()), self._take(".."), int(self._take()), self._take(")")
            return lambda value: found(value) and low <= len(value) <= high
        if control == ".size":
            return lambda value: found(value) and len(value) == int(argument)
        self.defaults[self._key] = {"true": True, "false": False}.get(argument) if argument.isalpha() else int(argument)
        return found

    def _array(self) -> Type:
        items: list[tuple[int, int | None, Type]] = []
        while self._peek() != "]":
            least, most = 1, 1
            if self._peek() == "*" or self._peek(1) == "*":
                least = int(self._take()) if self._peek() != "*" else 0
                self._take("*")
                most = int(self._take()) if self._peek().isdigit() else None  # type: ignore[assignment]
            if self._peek(1) == ":":
                self._take()
                self._take(":")
            items.append((least, most, self._type()))
            if self._peek() == ",":
                self._take()
        self._take("]")

        def matches(value: Any) -> bool:
            if type(value) is not list:
                return False
            place = 0
            for least, most, kind in items:
                count = 0
                while place < len(value) and (most is None or count < most) and kind(value[place]):
                    place, count = place + 1, count + 1
                if count < least:
                    return False
            return place == len(value)

        return matches

    def _map(self) -> Type:
        members: dict[str, tuple[bool, Type]] = {}
        keys: dict[str, bool] = {}
        self.keys.setdefault(self._rule, keys)
        while self._peek() != "}":
            if self._peek() == "*":
                # Any other key, with any value.
                for each in ("*", "any", "=>", "any"):
                    self._take(each)
            else:
                optional = self._peek() == "?" and bool(self._take())
                key = self._key = self._take()
                self._take(":")
                members[key] = optional, self._type()
                keys[key] = optional
            if self._peek() == ",":
                self._take()
        self._take("}")

        def matches(value: Any) -> bool:
            return isinstance(value, dict) and all(
                kind(value[key]) if key in value else optional for key, (optional, kind) in members.items()
            )

        return matches
