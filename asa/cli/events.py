"""What happened at the agent, and what is happening."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Final, NoReturn

from asa.cli.agent import PAGE, Agent, lost
from asa.cli.interrupts import Interrupted
from asa.cli.output import Output, safe
from asa.cli.shapes import shaped
from asa.errors import AsaError, Busy, NotReady, Unreachable
from asa.quantities import format_time
from asa.views import Event, Events

RECONNECT_S: Final = 15.0
"""How long an agent that ended the stream may take to come back, as when it is replaced."""

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
"""Between two attempts."""


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
    """Until a signal, which is how this is meant to end, or until no agent is there, which is not."""
    try:
        _followed(agent, output, arguments.after)
    except Interrupted:
        return 0


def _followed(agent: Agent, output: Output, after: int) -> NoReturn:
    """From one life of the agent into the next; ``until``: monotonic s when a stream that broke must be going on."""
    life = agent.life(RECONNECT_S)
    until: float | None = None
    while True:
        opened = time.monotonic()
        try:
            for each in agent.stream(after):
                number = _number(each)
                if until is not None:
                    found = agent.life(RECONNECT_S)
                    if number is not None and number <= after:
                        _replaced(output)
                        life = found
                    elif found != life:
                        # Asked of one life and answered by the next, which has more to tell.
                        break
                    until = None
                after = after if number is None else number
                output.line(each, "" if output.as_json else _line(shaped(Event, each)))
        except AsaError as error:
            # An agent that begins or ends refuses a stream.
            if not (lost(error) or (until is not None and isinstance(error, Busy | NotReady))):
                raise
        if until is None or time.monotonic() - opened > RECONNECT_S:
            until = time.monotonic() + RECONNECT_S
        found = _found_again(agent, until)
        if found != life:
            _replaced(output)
            life, after, until = found, 0, time.monotonic() + RECONNECT_S


def _found_again(agent: Agent, until: float) -> tuple[Any, ...]:
    """The life of the agent that answers, asked less and less often. Raises Unreachable when it is too late."""
    while (left := until - time.monotonic()) > 0:
        # As long as it has been away: twice the pause before.
        time.sleep(min(max(FIRST_PAUSE_S, RECONNECT_S - left), LONGEST_PAUSE_S, left))
        try:
            return agent.life(max(FIRST_PAUSE_S, until - time.monotonic()))
        except AsaError as error:
            if not (lost(error) or isinstance(error, Busy | NotReady)):
                raise
    raise Unreachable(
        f"the agent has ended the stream of events and is not back after {RECONNECT_S:g} s",
        hint="asa status tells whether it is running",
    )


def _replaced(output: Output) -> None:
    output.note("asa: the agent was replaced; its events are numbered from 1 again")


def _number(event: Any) -> int | None:
    """None for what stands for events that are no longer kept, and has no number of its own."""
    number = event.get("number") if isinstance(event, dict) and event.get("kind") != "missed" else None
    return number if isinstance(number, int) else None


def _line(event: Event) -> str:
    fields = " ".join(f"{name}={_short(value)}" for name, value in event.fields.items())
    text = f"{event.number}  {format_time(int(event.at))}  {event.kind}  {event.message}"
    return safe(f"{text}  {fields}" if fields else text)


def _short(value: Any) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
