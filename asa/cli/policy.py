"""The policy all agents of a domain share: looking at it and changing it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from asa.cli.agent import Agent
from asa.cli.output import Output, listed, safe, table
from asa.cli.shapes import shaped
from asa.errors import BadRequest, NotFound
from asa.quantities import (
    exact_rate,
    format_duration,
    format_milliseconds,
    format_rate,
    parse_duration,
    parse_milliseconds,
    parse_rate,
)
from asa.views import ParamsView, ParamView

_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


def get(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("params")
    found = shaped(ParamsView, answer)
    name = getattr(arguments, "name", None)
    if name is None:
        output.result(answer, _all(found))
        return 0
    param = _named(found, name)
    output.result(next(each for each in answer["params"] if each["name"] == name), _one(param))
    return 0


def set_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """Values may have units; which ones, the parameter says."""
    known = shaped(ParamsView, agent.get("params"))
    values = {name: _read(_named(known, name), text) for name, text in arguments.values}
    answer = agent.patch("params", body=values)
    output.result(answer, "" if output.as_json else _all(shaped(ParamsView, answer)))
    return 0


def _named(found: ParamsView, name: str) -> ParamView:
    for each in found.params:
        if each.name == name:
            return each
    from difflib import get_close_matches

    names = [each.name for each in found.params]
    near = get_close_matches(name, names, 1)
    raise NotFound(
        f"there is no parameter {name}", hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    )


def _read(param: ParamView, text: str) -> int | bool:
    if type(param.default) is bool:
        if text.lower() in _SWITCH:
            return _SWITCH[text.lower()]
        raise BadRequest(f"{param.name} cannot be {text:.40}", hint="it is true or false")
    try:
        digits = text.removesuffix("%") if param.unit == "%" else text
        if digits.isascii() and digits.isdecimal() and len(digits) <= 18:
            value = int(digits)
        elif param.unit == "s":
            value = parse_duration(text)
        elif param.unit == "ms":
            value = parse_milliseconds(text)
        elif param.unit == "bit/s":
            value = parse_rate(text, least=0)
        else:
            raise BadRequest("no number", hint="a whole number is wanted")
    except BadRequest as error:
        raise BadRequest(f"{param.name} cannot be {text:.40}", hint=f"{error.hint}; {_allowed(param)}") from None
    if not param.low <= value <= param.high:
        raise BadRequest(f"{param.name} cannot be {text:.40}", hint=_allowed(param))
    return value


def _allowed(param: ParamView, rate: Callable[[int], str] = exact_rate) -> str:
    if type(param.default) is bool:
        return "true or false"
    return f"{_value(param, param.low, rate)} to {_value(param, param.high, rate)}"


def _value(param: ParamView, value: int | bool, rate: Callable[[int], str] = exact_rate) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if param.unit == "s":
        return format_duration(value)
    if param.unit == "ms":
        return format_milliseconds(value)
    if param.unit == "bit/s":
        return rate(value)
    return f"{value}{param.unit}" if param.unit == "%" else f"{value} {param.unit}".strip()


def _all(found: ParamsView) -> str:
    rows = [
        [
            each.name,
            _value(each, each.value, format_rate),
            "" if each.value == each.default else _value(each, each.default, format_rate),
            _allowed(each, format_rate),
            each.about,
        ]
        for each in found.params
    ]
    issued = f"serial {found.serial}, issued by {safe(found.issuer)}" if found.serial else "the defaults"
    return table(["PARAMETER", "VALUE", "DEFAULT", "ALLOWED", "ABOUT"], rows) + f"\n\n{issued}"


def _one(param: ParamView) -> str:
    pairs: list[tuple[str, Any]] = [
        ("parameter", param.name),
        ("value", _value(param, param.value)),
        ("default", _value(param, param.default)),
        ("allowed", _allowed(param)),
        ("about", param.about),
    ]
    return listed(pairs)
