"""Pools: which there are, what is held of one, how much is free; seeding one."""

from __future__ import annotations

import argparse
import time
from typing import Final

from asa.cli.agent import Agent
from asa.cli.commands import DEFAULT_PATIENCE_MS
from asa.cli.output import Output, listed, safe, table
from asa.cli.shapes import shaped, shaped_list
from asa.quantities import exact_rate, format_duration, format_milliseconds, format_rate, format_time
from asa.views import Availability, BlockView, PoolDetail, PoolView

_STEPS: Final = 50


def list_(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("pools")
    output.result(answer, "" if output.as_json else overview(shaped_list(PoolView, answer)))
    return 0


def overview(pools: list[PoolView]) -> str:
    if not pools:
        return "no pools"
    rows = [
        [
            each.name,
            format_rate(each.seeded),
            format_rate(each.held),
            format_rate(each.committed),
            format_rate(each.free),
            format_rate(each.spare),
            format_rate(each.in_doubt) if each.in_doubt else "",
            str(each.reservations),
            "; ".join(each.problems),
        ]
        for each in pools
    ]
    headers = ["POOL", "SEEDED", "HELD", "COMMITTED", "FREE", "SPARE", "IN DOUBT", "RESERVATIONS", "PROBLEMS"]
    return table(headers, rows, set(headers) - {"POOL", "PROBLEMS"})


def _one(pool: PoolView) -> str:
    return listed(
        [
            ("pool", pool.name),
            ("seeded", f"{exact_rate(pool.seeded)} over all agents"),
            *(("  by", f"{each.origin}: {_range(each.low, each.high)}") for each in pool.seeds),
            ("held", exact_rate(pool.held)),
            ("committed", exact_rate(pool.committed)),
            ("free", exact_rate(pool.free)),
            ("spare", f"{exact_rate(pool.spare)} over the policy's horizon"),
            ("in doubt", exact_rate(pool.in_doubt) if pool.in_doubt else ""),
            ("reservations", str(pool.reservations)),
            *(("problem", each) for each in pool.problems),
        ]
    )


def _range(low: int, high: int) -> str:
    return f"{exact_rate(low) if low else '0'} to {exact_rate(high)}"


def blocks(found: list[BlockView], indent: str = "") -> str:
    """Blocks as a table: where on the pool's line, how much, when."""
    rows = [
        [
            f"{indent}{_range(each.low, each.high)}",
            format_rate(each.high - each.low),
            format_time(each.start),
            format_time(each.end),
        ]
        for each in found
    ]
    return table([f"{indent}BLOCK", "RATE", "START", "END"], rows, {"RATE"})


def show(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("pools", arguments.pool)
    if output.as_json:
        output.result(answer, "")
        return 0
    found = shaped(PoolDetail, answer)
    output.result(answer, _one(found.pool) + (f"\n\n{blocks(found.held)}" if found.held else ""))
    return 0


def add(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    body = {"name": arguments.name, "capacity": arguments.capacity}
    answer = agent.post("pools", body=body if arguments.at is None else body | {"at": arguments.at})
    output.result(answer, "" if output.as_json else _one(shaped(PoolView, answer)))
    return 0


def availability(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """With a rate, a duration is searched for, not a window looked at."""
    start, end, rate = arguments.start, arguments.end, arguments.rate
    begin = int(time.time()) if start is None else start
    duration = None
    if rate is not None:
        duration = arguments.duration if end is None else max(1, end - begin)
    elif arguments.duration is not None:
        end = begin + arguments.duration
    patience = arguments.patience or None
    answer = agent.get(
        "availability", pool=arguments.pool, start=start, end=end, rate=rate, duration=duration, patience_ms=patience
    )
    text = "" if output.as_json else _free(shaped(Availability, answer), rate, duration, arguments.patience, agent)
    output.result(answer, text)
    return 0


def _free(found: Availability, rate: int | None, duration: int | None, patience_ms: int, agent: Agent) -> str:
    lines = [
        listed(
            [
                ("pool", found.pool),
                ("from", format_time(found.start)),
                ("until", format_time(found.end)),
                ("free throughout", exact_rate(found.free)),
                ("peers", f"last said they could spare {exact_rate(found.peers_spare)}" if found.peers_spare else ""),
                ("on top", "" if found.obtainable is None else f"{exact_rate(found.obtainable)}, peers would grant"),
            ]
        )
    ]
    if len(found.steps) > 1:
        rows = [[format_time(at), format_rate(free)] for at, free in found.steps[:_STEPS]]
        lines.append(table(["FROM", "FREE"], rows, {"FREE"}))
        if len(found.steps) > _STEPS:
            lines.append(f"and {len(found.steps) - _STEPS} more steps; --json has them all")
    if rate is not None and duration is not None:
        lines.append(_when(found, rate, duration, patience_ms, agent))
    return "\n\n".join(lines)


def _when(found: Availability, rate: int, duration: int, patience_ms: int, agent: Agent) -> str:
    """From when on so much fits for so long, here and with what peers would grant, and the command for each."""
    wish = f"{exact_rate(rate)} for {format_duration(duration)}"
    lines = []
    for start, how, patience in (
        (found.earliest, "", DEFAULT_PATIENCE_MS),
        (found.earliest_obtainable, " with what peers would grant", patience_ms),
    ):
        # What fits here anyway is nothing to ask peers for.
        if start is None or (how and found.earliest is not None and found.earliest <= start):
            continue
        words = ["reserve", found.pool, exact_rate(rate)]
        words += ["--start", format_time(start), "--end", format_time(start + duration)]
        words += [] if patience == DEFAULT_PATIENCE_MS else ["--patience", format_milliseconds(patience)]
        lines.append(f"{wish} fits{how} from {format_time(start)} on:\n  {safe(agent.command(*words))}")
    if lines:
        return "\n".join(lines)
    if found.obtainable is None:
        return f"{wish} fits at no time as far as is known here; peers may have more"
    return f"{wish} fits at no time as far as is known here, nor with what peers would grant at the times tried"
