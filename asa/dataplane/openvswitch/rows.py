"""Values as they are in the rows of a database (RFC 7047 §5.1). No I/O."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
Operation = dict[str, Any]


def as_map(value: Any) -> dict[Any, Any]:
    return dict(value[1]) if isinstance(value, list) and value[0] == "map" else {}


def as_set(value: Any) -> list[Any]:
    return list(value[1]) if isinstance(value, list) and value[0] == "set" else [value]


def as_uuids(value: Any) -> list[str]:
    return [each[1] for each in as_set(value)]


def of_map(value: dict[str, str]) -> list[Any]:
    return ["map", [[key, each] for key, each in value.items()]]
