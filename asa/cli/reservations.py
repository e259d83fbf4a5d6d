"""Making, looking at, changing and giving up reservations."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from typing import Any, Final

from asa.cli.agent import Agent, lost
from asa.cli.arguments import DEFAULT_PATIENCE_MS
from asa.cli.interrupts import Failed, Interrupted, Stopped
from asa.cli.operands import NEVER
from asa.cli.output import Output, error_json, listed, safe, table
from asa.cli.refusals import refused
from asa.cli.shapes import shaped
from asa.errors import AsaError, Conflict, KeyReused, Short
from asa.quantities import exact_rate, format_milliseconds, format_rate, format_time, roughly
from asa.views import Offer, Page, ReservationRequest, ReservationView

_SAME: Final = (
    "a repeat has the same times too: give absolute ones together with --key, for +2h and --for count from now; "
    "another request needs another key"
)
"""What to do about an idempotency key that belongs to another request."""


def reserve(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """With a key of its own, so that the attempt can be repeated without reserving twice."""
    end = None if arguments.end == NEVER else arguments.end
    if arguments.duration is not None:
        end = (int(time.time()) if arguments.start is None else arguments.start) + arguments.duration
    request = ReservationRequest(
        arguments.pool, arguments.rate, arguments.start, end, arguments.source, arguments.destination,
        arguments.owner, arguments.label, arguments.patience, arguments.dry_run,
    )  # fmt: skip
    key = arguments.key or os.urandom(16).hex()
    headers = {} if request.dry_run else {"Idempotency-Key": key}
    try:
        answer = agent.post("reservations", body=asdict(request), headers=headers)
    except Short as error:
        what = f"there is too little of {request.pool} for {exact_rate(request.rate)}"
        raise refused(error, what, lambda offer: _offered(agent, request, offer)) from None
    except KeyReused as error:
        error.hint = _SAME
        raise
    except (AsaError, Interrupted) as error:
        if request.dry_run or not (isinstance(error, Interrupted) or lost(error)):
            raise
        raise _unknown(agent, request, key, error) from None
    output.result(answer, _made(shaped(ReservationView, answer), request.dry_run) if not output.as_json else "")
    return 0


def _unknown(agent: Agent, request: ReservationRequest, key: str, error: AsaError | Interrupted) -> Failed:
    """No answer: it was reserved, or it was not, and repeating tells without doing it twice."""
    again = agent.command(*_words(request), "--key", key)
    return Failed(
        Stopped(f"stopped by {error}") if isinstance(error, Interrupted) else error,
        {"key": key, "again": again},
        f"It may have been reserved. This asks for the same again and never reserves twice:\n  {safe(again)}",
        signal=error.number if isinstance(error, Interrupted) else None,
    )


def _words(request: ReservationRequest) -> list[str]:
    """The command that makes ``request``, its times absolute."""
    words = ["reserve", request.pool, exact_rate(request.rate)]
    if request.start is not None:
        words += ["--start", format_time(request.start)]
    if request.end is not None:
        words += ["--end", format_time(request.end)]
    for name, value, default in (
        ("--source", request.source, "any"),
        ("--destination", request.destination, "any"),
        ("--owner", request.owner, ""),
        ("--label", request.label, ""),
    ):
        if value != default:
            # With a minus sign in front it would be taken for an option.
            words += [f"{name}={value}"] if value.startswith("-") else [name, value]
    if request.patience_ms != DEFAULT_PATIENCE_MS:
        words += ["--patience", format_milliseconds(request.patience_ms)]
    return [*words, "--dry-run"] if request.dry_run else words


def _offered(agent: Agent, request: ReservationRequest, offer: Offer) -> str:
    # An offer from now on would be in the past when it is pasted.
    soon = request.start is None and offer.start <= int(time.time()) + 1
    values = asdict(request) | {"rate": offer.rate, "start": None if soon else offer.start, "end": offer.end}
    return agent.command(*_words(ReservationRequest(**values)))


def _made(view: ReservationView, dry_run: bool) -> str:
    if dry_run:
        window = f"from {format_time(view.start)} until {format_time(view.end)}"
        return f"would be admitted: {exact_rate(view.rate)} of {safe(view.pool)} {window}"
    return one(view)


def one(view: ReservationView) -> str:
    return listed(
        [
            ("id", view.id),
            ("pool", view.pool),
            ("rate", exact_rate(view.rate)),
            ("state", f"{view.state}, {left}" if (left := _left(view)) else view.state),
            ("start", format_time(view.start)),
            ("end", format_time(view.end)),
            ("source", view.source),
            ("destination", view.destination),
            ("owner", view.owner),
            ("label", view.label),
            ("created", format_time(view.created)),
        ]
    )


def _left(view: ReservationView) -> str:
    if view.state == "pending":
        return "" if view.remaining_s is None else f"starts in {roughly(view.remaining_s)}"
    if view.state == "active":
        return "for ever" if view.remaining_s is None else f"{roughly(view.remaining_s)} left"
    return ""


def list_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """All that fit, however many pages they are."""
    state = "all" if arguments.all else arguments.state
    answer = agent.pages(pool=arguments.pool, state=state, owner=arguments.owner)
    if output.as_json:
        output.result(answer, "")
        return 0
    found = shaped(Page, answer).reservations
    rows = [
        [
            each.id,
            each.pool,
            format_rate(each.rate),
            each.state,
            format_time(each.start),
            format_time(each.end),
            _left(each),
            "" if each.source == "any" else each.source,
            "" if each.destination == "any" else each.destination,
            each.owner,
            each.label,
        ]
        for each in found
    ]
    headers = ["ID", "POOL", "RATE", "STATE", "START", "END", "TIME", "SOURCE", "DESTINATION", "OWNER", "LABEL"]
    output.result(answer, table(headers, rows, {"RATE"}) if rows else "no reservations")
    return 0


def show(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("reservations", arguments.id)
    output.result(answer, "" if output.as_json else one(shaped(ReservationView, answer)))
    return 0


def cancel(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """Each of them; that one cannot be cancelled keeps nobody from cancelling the others."""
    cancelled: list[Any] = []
    failed: list[tuple[str, AsaError]] = []
    for identifier in arguments.ids:
        try:
            cancelled.append(agent.delete("reservations", identifier))
        except AsaError as error:
            failed.append((identifier, error))
            if lost(error):
                # The others would only wait for the same.
                break
    value = {
        "cancelled": cancelled,
        "failed": [{"id": identifier, "error": error_json(error)} for identifier, error in failed],
    }
    views = [] if output.as_json else [shaped(ReservationView, each) for each in cancelled]
    text = "\n".join(f"{safe(each.id)} {each.state}" for each in views)
    if not failed:
        output.result(value, text)
        return 0
    if not output.as_json and text:
        output.result(value, text)
    others = "\n".join(f"asa: {safe(name)}: {safe(error.message)}" for name, error in failed[1:])
    raise Failed(failed[0][1], value, others)


def extend(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    end = arguments.end
    if end is None:
        present = shaped(ReservationView, agent.get("reservations", arguments.id))
        if present.end is None:
            raise Conflict(f"{arguments.id} has no end", hint="--end gives it one")
        end = present.end + arguments.by
    return _change(arguments, agent, output, {"end": end})


def resize(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _change(arguments, agent, output, {"rate": arguments.rate})


def _change(arguments: argparse.Namespace, agent: Agent, output: Output, change: dict[str, Any]) -> int:
    def offered(offer: Offer) -> str:
        patience = (
            [] if arguments.patience == DEFAULT_PATIENCE_MS else ["--patience", format_milliseconds(arguments.patience)]
        )
        if "rate" in change:
            return agent.command("resize", arguments.id, exact_rate(offer.rate), *patience)
        return agent.command("extend", arguments.id, "--end", format_time(offer.end), *patience)

    try:
        answer = agent.patch("reservations", arguments.id, body=change | {"patience_ms": arguments.patience})
    except Short as error:
        fitting = {"lower_rate"} if "rate" in change else {"shorter"}
        raise refused(error, f"there is too little for such a change of {arguments.id}", offered, fitting) from None
    output.result(answer, "" if output.as_json else one(shaped(ReservationView, answer)))
    return 0
