"""What needs no agent: being one, and checking a configuration."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from dataclasses import asdict
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from asa.cli.agent import Agent
from asa.cli.interrupts import Failed, defaults
from asa.cli.output import Output, listed, safe
from asa.config import ApiSection, Config, LinkSection, RouteSection, load, problem_text
from asa.config.security import notices
from asa.errors import BadConfig
from asa.quantities import exact_rate


def run(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """Be the agent until it ends; its exit status is the command's."""
    config = _checked(arguments.config)
    chosen = {"salvaged": True} if arguments.salvage else {}
    # The agent handles signals itself; loaded only now, for it needs everything.
    defaults()
    status = importlib.import_module("asa.main").run(config, **chosen)
    return status if isinstance(status, int) else 0


def check(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    config = _checked(arguments.file)
    value = {"file": arguments.file, "ok": True, "config": _json(asdict(config))}
    output.result(value, f"{safe(arguments.file)}: ok\n{_summary(config)}")
    return 0


def _checked(file: str) -> Config:
    try:
        return load(file)
    except BadConfig as error:
        problems = error.details.get("problems", [])
        if len(problems) < 2:
            raise
        # One line each, instead of all in one.
        short = BadConfig(f"{file}: {len(problems)} problems", hint=error.hint, details=error.details)
        raise Failed(short, text="\n".join(f"  {safe(problem_text(each))}" for each in problems)) from None


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    return str(value) if isinstance(value, Path | IPv4Address | IPv6Address | IPv4Network | IPv6Network) else value


def _route(route: RouteSection) -> str:
    through = "" if route.interface is None else f" through {route.interface}"
    pools = "" if route.pools is None else f", {', '.join(route.pools) or 'no pools'}"
    return f"{route.prefix}{through}{pools}"


def _link(link: LinkSection, floor: int) -> str:
    out, into = link.usable(floor)
    return f"{link.interface}, {exact_rate(out)} out, {exact_rate(into)} in"


def _local(api: ApiSection) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Who has which role over the socket."""
    yield "operator", ("root", "the agent's user", *api.operators)
    yield from (each for each in (("consumer", api.consumers), ("reader", api.readers)) if each[1])


def _summary(config: Config) -> str:
    grasp, api = config.grasp, config.api
    tcp = "" if api.tcp is None else f" and {api.tcp[0]} port {api.tcp[1]}, TLS"
    return listed(
        [
            ("agent", f"{config.agent.name}, {config.agent.mode}"),
            ("state", str(config.agent.state_dir)),
            ("interfaces", "all" if grasp.interfaces is None else ", ".join(grasp.interfaces)),
            ("objectives", f"{grasp.objective_prefix}* over {grasp.substrate}"),
            ("API", f"{api.socket} ({api.socket_mode:04o}){tcp}"),
            *((f"{role}s", ", ".join(names)) for role, names in _local(api)),
            *(("pool", f"{each.name}, {exact_rate(each.capacity)}") for each in config.pools),
            *(("link", _link(each, config.floor)) for each in config.links),
            *(("route", _route(each)) for each in config.routes),
            *(("serves", str(each)) for each in config.flows.serves),
            *(("but", each) for each in notices(grasp.substrate, config.allow)),
        ]
    )
