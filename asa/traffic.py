"""Traffic classes: the names consumers give for how packets are treated, and the DSCP that says it to nodes. No I/O.

On this node a class says too how much of the rate that is reserved is guaranteed, and what may be borrowed beyond it.

A class is written ``voice``, or ``global_voice`` for packets that keep its marking when they leave the domain; without
that a marking is worth nothing outside, and is set to 0 at the edge.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from asa.errors import BadConfig, BadRequest
from objectives.fields import MAX_NAME, InvalidValue, check_name, shown

GLOBAL: Final = "global_"
"""Before the name of a class: the marking is kept on leaving the domain."""

DEFAULT: Final = "default"
"""The class of what asks for none; always there, always DSCP 0 (RFC 2474 §4.1)."""

MAX_DSCP: Final = 63
"""Six bits (RFC 2474 §3): 0..63 everywhere; only who writes the TOS octet shifts it."""

MAX_PRIORITY: Final = 6
"""0 borrows first; behind all classes come the packets nobody reserved anything for."""

MAX_CEILING: Final = 100_000
"""Percent of the rate that is reserved; no ceiling is above the link either."""

_KEYS: Final = ("dscp", "keep", "guarantee", "ceiling", "priority")
_DSCPS: Final = f"an integer 0..{MAX_DSCP}"
_SHARES: Final = (
    ("guarantee", 100, 1, 100, " percent of the rate that is reserved"),
    ("ceiling", 100, 100, MAX_CEILING, " percent of the rate that is reserved"),
    ("priority", 1, 0, MAX_PRIORITY, ", where 0 borrows first"),
)
_NAMES: Final = f"1..{MAX_NAME} lower-case letters, digits, - _ or ., without {GLOBAL} before it"


class UnknownClass(BadRequest):
    """A traffic class the table does not have."""

    code = "unknown-class"


def _problem(key: str, wrong: str, allowed: str) -> dict[str, str]:
    return {"key": key, "problem": wrong, "allowed": allowed}


def _raise_any(source: str, problems: list[dict[str, str]]) -> None:
    if problems:
        told = "; ".join(f"{each['key']} {each['problem']}; allowed: {each['allowed']}".strip() for each in problems)
        raise BadConfig(f"{source}: {told}", hint="see docs/configuration.md", details={"problems": problems})


def _name_problems(name: object) -> list[dict[str, str]]:
    try:
        if check_name(name, "") == str(name).lower() and not str(name).startswith(GLOBAL):
            return []
    except InvalidValue:
        pass
    return [_problem("name", f"is {shown(name)}", _NAMES)]


def _value_problems(path: str, table: Mapping[str, object]) -> list[dict[str, str]]:
    problems = []
    dscp: Any = table.get("dscp", 0)
    keep = table.get("keep", False)
    if type(dscp) is not int or not 0 <= dscp <= MAX_DSCP:
        octet = type(dscp) is int and MAX_DSCP < dscp <= 255 and dscp % 4 == 0
        meant = f"; did you mean {dscp // 4}, whose TOS octet that is?" if octet else ""
        problems.append(_problem(f"{path}dscp", f"is {shown(dscp)}{meant}", _DSCPS))
    if type(keep) is not bool:
        problems.append(_problem(f"{path}keep", f"is {shown(keep)}", "true or false"))
    for name, default, least, most, what in _SHARES:
        value: Any = table.get(name, default)
        if type(value) is not int or not least <= value <= most:
            problems.append(_problem(f"{path}{name}", f"is {shown(value)}", f"an integer {least}..{most}{what}"))
    return problems


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A class and its DSCP, 0..63. ``keep``: the marking is kept on leaving the domain. Raises :class:`BadConfig`."""

    name: str
    dscp: int
    keep: bool = False
    guarantee: int = 100
    """Percent of the rate that is reserved, 1..100: what its packets get whatever others send."""
    ceiling: int = 100
    """Percent of the rate that is reserved, 100..MAX_CEILING: what they get at most, if others leave it."""
    priority: int = 1
    """0..6: who borrows first."""

    def __post_init__(self) -> None:
        values = {key: getattr(self, key) for key in _KEYS}
        problems = [*_name_problems(self.name), *_value_problems("", values)]
        if self.name == DEFAULT and self.dscp != 0:
            problems.append(_problem("dscp", f"is {shown(self.dscp)}", f"0 for {DEFAULT}"))
        _raise_any("TrafficClass", problems)

    def __str__(self) -> str:
        return f"{GLOBAL if self.keep else ''}{self.name}"


BUILT_IN: Final = (TrafficClass("voice", 46), TrafficClass("control", 26), TrafficClass("data", 18))
"""The classes of an operator who says nothing: EF (RFC 3246), AF31 and AF21 (RFC 2597)."""


@dataclass(frozen=True, slots=True)
class TrafficClasses:
    """The classes of a domain, ``default`` always among them. A node tells classes apart by their DSCP alone, so no two
    have the same. Raises :class:`BadConfig`."""

    classes: tuple[TrafficClass, ...] = BUILT_IN
    by_name: Mapping[str, TrafficClass] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _raise_any("TrafficClasses", _together(self.classes))
        table = {DEFAULT: TrafficClass(DEFAULT, 0)} | {each.name: each for each in self.classes}
        object.__setattr__(self, "by_name", MappingProxyType(table))

    def find(self, name: str = DEFAULT) -> TrafficClass:
        """``voice``, or ``global_voice``: the class with ``keep``. Raises :class:`UnknownClass`."""
        found = self.by_name.get(name.removeprefix(GLOBAL))
        if found is None:
            known = sorted(self.by_name)
            near = difflib.get_close_matches(
                name[: 2 * MAX_NAME].lower(), [*known, *(GLOBAL + each for each in known)], 1
            )
            hint = f"known classes: {', '.join(known)}, each also with {GLOBAL} before it"
            raise UnknownClass(
                f"there is no traffic class {shown(name)}", hint=f"did you mean {near[0]}? {hint}" if near else hint
            )
        return replace(found, keep=True) if name.startswith(GLOBAL) else found


def classes_from(value: object, source: str = "classes") -> TrafficClasses:
    """A table such as ``{"voice": {"dscp": 46, "keep": false}}``, in place of the built-in classes.

    Raises :class:`BadConfig`, whose ``details["problems"]`` has every one with a key below ``source``.
    """
    problems: list[dict[str, str]] = []
    classes: list[TrafficClass] = []
    if not isinstance(value, dict):
        problems.append(_problem("", f"is {shown(value)}", "a section for each class, such as [classes.voice]"))
    for name, table in value.items() if isinstance(value, dict) else ():
        found = _class_problems(name, table)
        problems += found
        if not found:
            classes.append(TrafficClass(name, **table))
    _raise_any(source, problems + _together(classes))
    return TrafficClasses(tuple(classes))


def _class_problems(name: object, table: object) -> list[dict[str, str]]:
    key = name if isinstance(name, str) and not _name_problems(name) else shown(name)
    problems = [each | {"key": key} for each in _name_problems(name)]
    if not isinstance(table, dict):
        return [
            *problems,
            _problem(key, f"is {shown(table)}", f"a section with dscp and, where wanted, {', '.join(_KEYS[1:])}"),
        ]
    for each in table:
        if each not in _KEYS:
            near = difflib.get_close_matches(str(each), _KEYS, 1)
            wrong = f"does not exist; did you mean {near[0]}?" if near else "does not exist"
            problems.append(_problem(f"{key}.{shown(each)[1:-1]}", wrong, ", ".join(_KEYS)))
    if "dscp" not in table:
        problems.append(_problem(f"{key}.dscp", "is missing", _DSCPS))
    problems += _value_problems(f"{key}.", table)
    if name == DEFAULT and table.get("dscp", 0) != 0 and not problems:
        problems.append(_problem(f"{key}.dscp", f"is {shown(table['dscp'])}", f"0 for {DEFAULT}"))
    return problems


def _together(classes: tuple[TrafficClass, ...] | list[TrafficClass]) -> list[dict[str, str]]:
    problems = []
    names: set[str] = set()
    owners = {0: DEFAULT}
    for each in classes:
        if each.name in names:
            problems.append(_problem(each.name, "is there twice", "each name once"))
        names.add(each.name)
        owner = owners.setdefault(each.dscp, each.name)
        if owner != each.name:
            problems.append(_problem(f"{each.name}.dscp", f"is {each.dscp}, as that of {owner}", "each DSCP once"))
    return problems
