"""Looking at reservations, one by one and all of them."""

from __future__ import annotations

import argparse

from asa.cli import enforcement
from asa.cli.agent import Agent
from asa.cli.commands import BANDWIDTH
from asa.cli.output import Output, listed, table
from asa.cli.shapes import shaped
from asa.quantities import exact_rate, format_rate, format_time, roughly
from asa.views import Page, ReservationView


def one(view: ReservationView) -> str:
    """All of it, escaped."""
    return listed(
        [
            ("id", view.id),
            ("kind", view.kind),
            ("pool", view.pool),
            ("rate", exact_rate(view.rate) if view.kind in BANDWIDTH else ""),
            ("back", exact_rate(view.back) if view.back else ""),
            ("state", f"{view.state}, {left}" if (left := _left(view)) else view.state),
            ("why", view.why),
            ("held until", "" if view.held_until is None else format_time(view.held_until)),
            ("start", format_time(view.start)),
            ("end", format_time(view.end)),
            ("source", _end(view.source, view.source_address)),
            ("destination", _end(view.destination, view.destination_address)),
            ("protocol", view.protocol),
            ("class", view.traffic),
            *(("through", each) for each in view.through),
            ("output", view.output),
            *(("takes", f"{exact_rate(amount)} of {name}") for name, amount in view.takes.items()),
            *enforcement.lines(view),
            ("partner", f"{view.partner} has the other end" if view.partner else ""),
            ("owner", view.owner),
            *(("label", each) for each in view.labels),
            ("secret", "needed to change it" if view.secret else ""),
            ("created", format_time(view.created)),
        ]
    )


def _end(given: str, resolved: str) -> str:
    return given if resolved in (given, "any") else f"{given}, {resolved}"


def _left(view: ReservationView) -> str:
    left = view.remaining_s
    if view.state == "pending":
        return "" if left is None else f"starts in {roughly(left)}"
    if view.state == "held":
        return "" if left is None else f"to be confirmed within {roughly(left)}"
    if view.state in ("installing", "active", "paused", "failed"):
        return "for ever" if left is None else f"{roughly(left)} left"
    return ""


def list_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """All that fit, however many pages they are."""
    answer = agent.pages(
        pool=arguments.pool,
        state="all" if arguments.all else arguments.state,
        owner=arguments.owner,
        kind=arguments.kind,
        label=arguments.label,
        host=arguments.host,
    )
    if output.as_json:
        output.result(answer, "")
        return 0
    rows = [
        [
            each.id,
            each.kind,
            each.pool,
            format_rate(each.rate) if each.kind in BANDWIDTH else "",
            format_rate(each.back) if each.back else "",
            each.state,
            format_time(each.start),
            format_time(each.end),
            _left(each),
            "" if each.source == "any" else each.source,
            "" if each.destination == "any" else each.destination,
            each.owner,
            ", ".join(each.labels),
        ]
        for each in shaped(Page, answer).reservations
    ]
    headers = ["ID", "KIND", "POOL", "RATE", "BACK", "STATE", "START", "END", "TIME", "SOURCE", "DESTINATION", "OWNER"]
    output.result(answer, table([*headers, "LABELS"], rows, {"RATE", "BACK"}) if rows else "no reservations")
    return 0


def show(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("reservations", arguments.id)
    output.result(answer, "" if output.as_json else one(shaped(ReservationView, answer)))
    return 0
