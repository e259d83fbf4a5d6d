"""Making a reservation, and the command that makes the same one again."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from typing import Final

from asa.cli.agent import Agent, lost
from asa.cli.commands import BANDWIDTH, DEFAULT_PATIENCE_MS
from asa.cli.interrupts import Failed, Interrupted, Stopped
from asa.cli.operands import NEVER
from asa.cli.output import Output, safe
from asa.cli.refusals import over_cap, refused
from asa.cli.reservations import one
from asa.cli.shapes import shaped
from asa.errors import AsaError, KeyReused, OverCap, Short
from asa.quantities import exact_rate, format_duration, format_milliseconds, format_time
from asa.views import Offer, ReservationRequest, ReservationView

_SAME: Final = (
    "a repeat has the same times too: give absolute ones together with --key, for +2h and --for count from now; "
    "another request needs another key"
)
"""What to do about an idempotency key that belongs to another request."""


def reserve(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """With a key of its own, so that the attempt can be repeated without reserving twice."""
    request = _request(arguments)
    key = arguments.key or os.urandom(16).hex()
    headers = agent.secret | ({} if request.dry_run else {"Idempotency-Key": key})
    try:
        answer = agent.post("reservations", body=asdict(request), headers=headers)
    except Short as error:
        # Of two directions together an offer's rate is neither's.
        fitting = {"later_start", "shorter"} | ({"lower_rate"} if request.kind == "one-way" else set())
        raise refused(error, _rates(request), lambda offer: _offered(agent, request, offer), fitting) from None
    except OverCap as error:
        raise over_cap(error) from None
    except KeyReused as error:
        error.hint = _SAME
        raise
    except (AsaError, Interrupted) as error:
        if request.dry_run or not (isinstance(error, Interrupted) or lost(error)):
            raise
        raise _unknown(agent, request, key, error) from None
    output.result(answer, _made(shaped(ReservationView, answer), request.dry_run) if not output.as_json else "")
    return 0


def _request(arguments: argparse.Namespace) -> ReservationRequest:
    end = None if arguments.end == NEVER else arguments.end
    if arguments.duration is not None:
        end = (int(time.time()) if arguments.start is None else arguments.start) + arguments.duration
    return ReservationRequest(
        pool=arguments.pool,
        rate=arguments.rate,
        start=arguments.start,
        end=end,
        source=arguments.source,
        destination=arguments.destination,
        owner=arguments.owner,
        labels=arguments.labels,
        patience_ms=arguments.patience,
        dry_run=arguments.dry_run,
        kind=arguments.kind,
        protocol=arguments.protocol,
        back=arguments.back or 0,
        traffic=arguments.traffic,
        through=arguments.through,
        output=arguments.output,
        hold_s=arguments.hold,
        park=arguments.park,
    )


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
    words = ["reserve", *([request.pool] if request.pool else [])]
    if request.kind in BANDWIDTH:
        words.append(exact_rate(request.rate))
    if request.back:
        words += ["--back", exact_rate(request.back)]
    elif request.kind != "one-way":
        words += ["--kind", request.kind]
    if request.start is not None:
        words += ["--start", format_time(request.start)]
    if request.end is not None:
        words += ["--end", format_time(request.end)]
    for name, value, default in (
        ("--source", request.source, "any"),
        ("--destination", request.destination, "any"),
        ("--protocol", request.protocol, "any"),
        ("--class", request.traffic, "default"),
        *(("--through", each, "") for each in request.through),
        ("--output", request.output, ""),
        ("--owner", request.owner, ""),
        *(("--label", each, None) for each in request.labels),
    ):
        if value != default:
            # With a minus sign in front it would be taken for an option.
            words += [f"{name}={value}"] if value.startswith("-") else [name, value]
    if request.patience_ms != DEFAULT_PATIENCE_MS:
        words += ["--patience", format_milliseconds(request.patience_ms)]
    if request.hold_s:
        words += ["--hold", format_duration(request.hold_s)]
    return [*words, *(["--park"] if request.park else []), *(["--dry-run"] if request.dry_run else [])]


def _offered(agent: Agent, request: ReservationRequest, offer: Offer) -> str:
    # An offer from now on would be in the past when it is pasted.
    soon = request.start is None and offer.start <= int(time.time()) + 1
    rate = offer.rate if request.kind == "one-way" else request.rate
    values = asdict(request) | {"rate": rate, "start": None if soon else offer.start, "end": offer.end}
    return agent.command(*_words(ReservationRequest(**values)))


def _rates(request: ReservationRequest | ReservationView) -> str:
    back = f" and {exact_rate(request.back)} back" if request.back else ""
    return exact_rate(request.rate) + back


def _made(view: ReservationView, dry_run: bool) -> str:
    if not dry_run:
        return one(view)
    what = view.kind if view.kind not in BANDWIDTH else _rates(view) + (f" of {safe(view.pool)}" if view.pool else "")
    return f"would be admitted: {what} from {format_time(view.start)} until {format_time(view.end)}"
