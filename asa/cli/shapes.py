"""From an agent's JSON to the dataclasses of :mod:`asa.views`, or an error that says what an answer lacks.

The agent may be older or newer than the command: fields that are not known are ignored, missing ones are refused.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from asa.errors import AgentError

T = TypeVar("T")


class BadAnswer(AgentError):
    """The agent answered something this command does not understand."""

    code = "bad-answer"


def shaped(made: type[T], value: Any) -> T:
    """``value`` as a ``made``, a class of :mod:`asa.views`. Raises :class:`BadAnswer`."""
    found: T = _shaped(made, value, made.__name__)
    return found


def shaped_list(made: type[T], value: Any) -> list[T]:
    """Raises :class:`BadAnswer`."""
    found: list[T] = _shaped(types.GenericAlias(list, (made,)), value, f"{made.__name__}s")
    return found


def _shaped(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _object(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _one_of([each for each in arguments if each is not type(None)], value, where)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is list:
        if isinstance(value, list):
            return [_shaped(arguments[0], each, f"{where}[{index}]") for index, each in enumerate(value)]
    elif origin is tuple:
        if isinstance(value, list) and len(value) == len(arguments):
            return tuple(_shaped(each, item, where) for each, item in zip(arguments, value, strict=True))
    elif origin is dict:
        if isinstance(value, dict):
            return {key: _shaped(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif type(value) is kind:
        return value
    raise _refused(where, f"is {_said(value)}")


def _one_of(kinds: list[Any], value: Any, where: str) -> Any:
    if len(kinds) == 1:
        return _shaped(kinds[0], value, where)
    for kind in kinds:
        if type(value) is kind:
            return value
    raise _refused(where, f"is {_said(value)}")


def _object(made: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _refused(where, f"is {_said(value)}")
    hints = get_type_hints(made)
    found = {}
    for each in fields(made):
        if each.name in value:
            found[each.name] = _shaped(hints[each.name], value[each.name], f"{where}.{each.name}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise _refused(f"{where}.{each.name}", "is missing")
    return made(**found)


def _said(value: Any) -> str:
    return "null" if value is None else repr(value)[:40]


def _refused(where: str, what: str) -> BadAnswer:
    return BadAnswer(
        f"the agent's answer is not understood: {where} {what}",
        hint="agent and command may be of different versions; --json shows the answer as it is",
    )
