"""What happened at the agent, and what is happening."""

from __future__ import annotations

import argparse
import json
from typing import Any

from asa.cli.agent import PAGE, Agent
from asa.cli.interrupts import Interrupted
from asa.cli.output import Output, safe
from asa.cli.shapes import shaped
from asa.errors import Unreachable
from asa.quantities import format_time
from asa.views import Event, Events


def events(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _follow(arguments, agent, output) if arguments.follow else _kept(arguments, agent, output)


def _kept(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """All up to now: a page that is not full was the last."""
    after, missed, raw, found = arguments.after, 0, [], []
    while True:
        answer = agent.get("events", after=after, limit=PAGE)
        page = shaped(Events, answer)
        raw += answer["events"]
        found += page.events
        missed += page.missed
        progress, after = page.next > after, max(after, page.next)
        if len(page.events) < PAGE or not progress:
            break
    value = {"events": raw, "next": after, "missed": missed}
    if output.as_json:
        output.result(value, "")
        return 0
    lines = [_line(each) for each in found]
    output.result(value, "\n".join(lines) if lines else "no events")
    if missed:
        output.note(f"asa: {missed} older events are no longer kept")
    return 0


def _follow(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """Until a signal, which is how this is meant to end, or until the agent is gone, which is not."""
    try:
        for each in agent.stream(arguments.after):
            output.line(each, "" if output.as_json else _line(shaped(Event, each)))
    except Interrupted:
        return 0
    raise Unreachable("the agent has ended the stream of events", hint="asa status tells whether it is running")


def _line(event: Event) -> str:
    fields = " ".join(f"{name}={_short(value)}" for name, value in event.fields.items())
    text = f"{event.number}  {format_time(int(event.at))}  {event.kind}  {event.message}"
    return safe(f"{text}  {fields}" if fields else text)


def _short(value: Any) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
