"""What projects may have booked at most, and the interfaces that have no more than they have."""

from __future__ import annotations

import argparse
from typing import Any

from asa.cli.agent import Agent
from asa.cli.output import Output, table
from asa.cli.shapes import shaped_list
from asa.quantities import exact_rate, format_rate
from asa.views import CapView, LinkView


def list_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _shown(agent.get("caps"), output)


def set_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    amount, percent = arguments.cap
    return _put(arguments, agent, output, amount, percent)


def remove(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _put(arguments, agent, output, None, False)


def _put(arguments: argparse.Namespace, agent: Agent, output: Output, amount: int | None, percent: bool) -> int:
    body = {"project": arguments.project, "resource": arguments.resource, "amount": amount, "percent": percent}
    return _shown(agent.put("caps", body=body, headers=agent.secret), output)


def _shown(answer: Any, output: Output) -> int:
    if output.as_json:
        output.result(answer, "")
        return 0
    rows = [[each.project or "(none)", each.resource, cap_text(each)] for each in shaped_list(CapView, answer)]
    output.result(answer, table(["PROJECT", "RESOURCE", "CAP"], rows, {"CAP"}) if rows else "no caps")
    return 0


def cap_text(cap: CapView) -> str:
    """As ``caps set`` takes it."""
    return f"{cap.amount}%" if cap.percent else exact_rate(cap.amount)


def links(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("links")
    if output.as_json:
        output.result(answer, "")
        return 0
    rows = [
        [
            each.name,
            format_rate(each.capacity),
            format_rate(each.booked),
            format_rate(each.free),
            str(each.reservations),
        ]
        for each in shaped_list(LinkView, answer)
    ]
    headers = ["LINK", "CAPACITY", "BOOKED", "FREE", "RESERVATIONS"]
    output.result(answer, table(headers, rows, set(headers[1:])) if rows else "no interface has a limit")
    return 0
