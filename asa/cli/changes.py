"""Confirming, changing and giving up reservations that are there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from asa.cli.agent import Agent, lost
from asa.cli.commands import DEFAULT_PATIENCE_MS
from asa.cli.interrupts import Failed
from asa.cli.output import Output, error_json, safe, table
from asa.cli.refusals import over_cap, refused
from asa.cli.reservations import one
from asa.cli.shapes import shaped
from asa.errors import AsaError, Conflict, OverCap, Short
from asa.quantities import exact_rate, format_milliseconds, format_time
from asa.views import Cancelled, Offer, Refreshed, ReservationView


def confirm(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    body = {"patience_ms": arguments.patience}
    headers = agent.secret
    return _each(
        "confirmed",
        arguments.ids,
        lambda identifier: agent.post("reservations", identifier, "confirm", body=body, headers=headers),
        output,
    )


def cancel(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    headers = agent.secret
    if arguments.all:
        return _cancel_all(arguments.owner, headers, agent, output)
    return _each(
        "cancelled",
        arguments.ids,
        lambda identifier: agent.delete("reservations", identifier, headers=headers),
        output,
    )


def _each(done: str, ids: Sequence[str], ask: Callable[[str], Any], output: Output) -> int:
    """Each of them; that it fails for one keeps nobody from doing it for the others."""
    answers: list[Any] = []
    failed: list[tuple[str, AsaError]] = []
    for identifier in ids:
        try:
            answers.append(ask(identifier))
        except AsaError as error:
            failed.append((identifier, error))
            if lost(error):
                # The others would only wait for the same.
                break
    value = {
        done: answers,
        "failed": [{"id": identifier, "error": error_json(error)} for identifier, error in failed],
    }
    views = [] if output.as_json else [shaped(ReservationView, each) for each in answers]
    text = "\n".join(f"{safe(each.id)} {each.state}" for each in views)
    if not failed:
        output.result(value, text)
        return 0
    if not output.as_json and text:
        output.result(value, text)
    others = "\n".join(f"asa: {safe(name)}: {safe(error.message)}" for name, error in failed[1:])
    raise Failed(failed[0][1], value, others)


def _cancel_all(owner: str | None, headers: dict[str, str], agent: Agent, output: Output) -> int:
    answer = agent.delete("reservations", headers=headers, owner=owner)
    if output.as_json:
        output.result(answer, "")
        return 0
    found = shaped(Cancelled, answer)
    lines = [f"{safe(each)} cancelled" for each in found.ids]
    if found.cancelled > len(found.ids):
        lines.append(f"and {found.cancelled - len(found.ids)} more")
    output.result(answer, "\n".join([*lines, f"{found.cancelled} in all"]) if lines else "none was there to cancel")
    return 0


def extend(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    end = arguments.end
    if end is None:
        present = shaped(ReservationView, agent.get("reservations", arguments.id))
        if present.end is None:
            raise Conflict(f"{arguments.id} has no end", hint="--end gives it one")
        end = present.end + arguments.by
    return _change(arguments, agent, output, {"end": end})


def resize(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    back = {} if arguments.back is None else {"back": arguments.back}
    return _change(arguments, agent, output, {"rate": arguments.rate} | back)


def _change(arguments: argparse.Namespace, agent: Agent, output: Output, change: dict[str, Any]) -> int:
    patience: list[str] = []
    if arguments.patience != DEFAULT_PATIENCE_MS:
        patience = ["--patience", format_milliseconds(arguments.patience)]

    def offered(offer: Offer) -> str:
        if "rate" in change:
            return agent.command("resize", arguments.id, exact_rate(offer.rate), *patience)
        return agent.command("extend", arguments.id, "--end", format_time(offer.end), *patience)

    try:
        answer = agent.patch(
            "reservations", arguments.id, body=change | {"patience_ms": arguments.patience}, headers=agent.secret
        )
    except Short as error:
        fitting = {"shorter"} if "end" in change else set() if _two_way(arguments.id, agent) else {"lower_rate"}
        raise refused(error, f"such a change of {arguments.id}", offered, fitting) from None
    except OverCap as error:
        raise over_cap(error) from None
    output.result(answer, "" if output.as_json else one(shaped(ReservationView, answer)))
    return 0


def _two_way(identifier: str, agent: Agent) -> bool:
    """Whether an offer's rate is of two directions, and neither's; not if nobody knows."""
    try:
        return shaped(ReservationView, agent.get("reservations", identifier)).kind == "two-way"
    except AsaError:
        return False


def refresh(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """1 if something could not be placed anew, which stays as it was."""
    if arguments.id is not None:
        answer = agent.post("reservations", arguments.id, "refresh", headers=agent.secret)
    else:
        answer = agent.post("refresh", body={"host": arguments.host}, headers=agent.secret)
    found = shaped(Refreshed, answer)
    rows = [[each, "moved", ""] for each in found.moved] + [[each, "as it was", ""] for each in found.same]
    rows += [[each, "FAILED", why] for each, why in found.failed.items()]
    output.result(answer, table(["ID", "PLACED", "WHY"], rows) if rows else "no reservation has such an end")
    return 1 if found.failed else 0
