"""What makes packets obey on this node, and what they got."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Final

from asa.cli.agent import Agent
from asa.cli.output import Output, listed, safe, table
from asa.cli.shapes import shaped
from asa.quantities import exact_rate, format_rate, format_time
from asa.views import EnforcedLine, EnforcementView, Page, ReservationView

SHOWN: Final = 10
"""Differences that are shown as text."""


def status(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("enforcement")
    output.result(answer, "" if output.as_json else _status(shaped(EnforcementView, answer)))
    return 0


def _status(view: EnforcementView) -> str:
    effect = "packets obey" if view.effect else "none: packets are left alone"
    if view.trouble:
        effect = "in doubt; what was in place goes on until it ends by itself"
    if not view.lines:
        effect = "none: no [[link]] is configured"
    parts = [
        listed(
            [
                ("back end", view.back_end or "none"),
                ("effect", "none while it is paused: asa resume goes on with it" if view.paused else effect),
                ("trouble", view.trouble),
                ("shapes", ", ".join(view.ways)),
                ("can", ", ".join([*view.actions, *(["mark"] if view.marks else [])])),
                ("in place", str(view.installed)),
                ("waiting", str(view.installing or "")),
                ("failed", str(view.failed or "")),
                ("removing", str(view.removing or "")),
                ("read back", "" if view.reconciled is None else format_time(view.reconciled)),
                *(("note", each) for each in view.notes),
            ]
        )
    ]
    if view.lines:
        headers = ["LINE", "RATE", "FLOOR", "GUARANTEED", "ENTRIES", "TROUBLE"]
        rows = [
            [
                each.name,
                format_rate(each.rate),
                format_rate(each.floor),
                format_rate(each.guaranteed),
                str(each.entries),
                each.trouble,
            ]
            for each in view.lines
        ]
        parts.append(table(headers, rows, set(headers[1:5])))
    if view.differences:
        rows = [
            [format_time(each.at), each.line, ", ".join(each.ids), each.what, each.before, each.after]
            for each in view.differences[:SHOWN]
        ]
        parts.append(table(["PUT RIGHT", "LINE", "OF", "WHAT", "FOUND", "SHALL BE"], rows))
    return "\n\n".join(parts)


def usage(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    if arguments.id is not None:
        answer = agent.get("reservations", arguments.id)
        if not output.as_json:
            view = shaped(ReservationView, answer)
            output.result(answer, _usage([view]) or f"{safe(view.id)} is {view.state}: there is nothing to count")
            return 0
    else:
        answer = agent.pages()
        if not output.as_json:
            output.result(answer, _usage(shaped(Page, answer).reservations) or "there is nothing to count")
            return 0
    output.result(answer, "")
    return 0


def _usage(found: Iterable[ReservationView]) -> str:
    """A line of each reservation a row; empty if there is none."""
    headers = ["ID", "LINE", "GUARANTEE", "CEILING", "VERDICT", "RATE", "DROPPED", "BORROWED", "SENT", "STATE", "WHY"]
    rows = [
        [view.id, *_shares(line), *_counted(line), view.state, view.enforcement.why]
        for view in found
        if view.enforcement is not None
        for line in view.enforcement.lines
    ]
    right = {"GUARANTEE", "CEILING", "RATE", "DROPPED", "BORROWED", "SENT"}
    return table(headers, rows, right) if rows else ""


def _shares(line: EnforcedLine) -> list[str]:
    rates = ["" if each is None else format_rate(each) for each in (line.guarantee, line.ceiling)]
    return [line.line, *rates]


def _counted(line: EnforcedLine) -> list[str]:
    usage = line.usage
    if usage is None:
        return ["", "", "", "", ""]
    packets = [f"{each} pkt" if each else "" for each in (usage.dropped, usage.borrowed)]
    return [usage.verdict, format_rate(usage.rate), *packets, f"{usage.sent_bytes} B"]


def lines(view: ReservationView) -> list[tuple[str, str]]:
    """What packets of a reservation get, for the list that shows all of it."""
    enforced = view.enforcement
    if enforced is None:
        return []
    return [("enforced", f"{_line(each)}{'' if enforced.effect else '; on record only'}") for each in enforced.lines]


def _line(line: EnforcedLine) -> str:
    words = [line.line]
    if line.guarantee is not None and line.ceiling is not None:
        words[0] += f" {exact_rate(line.guarantee)}"
        words.append("no more" if line.guarantee == line.ceiling else f"up to {exact_rate(line.ceiling)}")
    else:
        words[0] += f" {line.action}"
    words.append("marking kept" if line.dscp is None else f"DSCP {line.dscp}")
    if line.shared_with:
        words.append(f"together with {line.shared_with} of the same packets")
    if line.since is not None:
        words.append(f"since {format_time(line.since)}")
    if line.usage is not None:
        words.append(f"{line.usage.verdict} at {format_rate(line.usage.rate)}")
    return ", ".join(words)
