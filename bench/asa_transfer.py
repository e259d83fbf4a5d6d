"""How long capacity takes to come from a peer, beside the GRASP operations it needs, between two hosts.

From a delegator's start (its GRASP node and its API are up) to its first grant, beside a flood and a negotiation; from
a consumer's request that does not fit to its admission, beside a negotiation.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from bench.agents import POOL, agent_on, running, stop, wait_ready
from bench.asa_reservations import bare
from bench.pair import asked, served, two_hosts
from bench.report import Result
from lab import Host
from lab.domain.agents import Agent

SEED = 10**10
STARTS = 7
ROUNDS, ADMISSIONS = 5, 40
NEGOTIATIONS = 2_000
FLOODS = 100
FIRST_S = 30.0
RATE = 10**9
"""bit/s of each reservation."""
AHEAD = 86_400
"""Seconds: beyond every lease that comes as stock."""


def events(agent: Agent) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.request("GET", "events", limit=1_000)["events"]
    return found


def _came(event: dict[str, Any]) -> bool:
    return bool(event["kind"] == "capacity-taken" and event["fields"]["rate"] == RATE)


def first_grant(agent: Agent) -> float:
    """Seconds from the start of a delegator that never ran before, to the first capacity it took."""
    agent.start()
    try:
        wait_ready(agent)
        until = time.monotonic() + FIRST_S
        while time.monotonic() < until:
            at = {each["kind"]: each["at"] for each in reversed(events(agent))}
            if "capacity-taken" in at:
                return float(at["capacity-taken"] - at["agent-started"])
            time.sleep(0.02)
        raise RuntimeError(f"nothing came within {FIRST_S} s: {agent.tail()}")
    finally:
        stop(agent)


def admissions(agent: Agent, begin: int) -> list[float]:
    """Seconds of each reservation in a window nothing is held for, from the request to its admission."""
    took = []
    for start in range(begin, begin + ADMISSIONS * 100, 100):
        body = {"pool": POOL, "rate": RATE, "start": start, "end": start + 60}
        begun = time.perf_counter()
        agent.request("POST", "reservations", body)
        took.append(time.perf_counter() - begun)
    return took


def commits(commit: Callable[[], None]) -> list[float]:
    """Seconds of as many bare commits of a reservation's rows."""
    took = []
    for _ in range(ADMISSIONS):
        begun = time.perf_counter()
        commit()
        took.append(time.perf_counter() - begun)
    return took


def flood_s(first: Host, last: Host) -> float:
    """Seconds from a call of a bare node to the cache of another."""
    hearing = last.python(
        "-m", "bench.grasp_flood", "hear", "--floods", str(FLOODS),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert hearing.stdout is not None
    hearing.stdout.readline()
    said = json.loads(first.run([sys.executable, "-m", "bench.grasp_flood", "say", "--floods", str(FLOODS)]).stdout)
    heard = json.loads(hearing.stdout.readline())
    hearing.wait(10)
    took: list[float] = [late - early for early, late in zip(said, heard, strict=True)]
    return statistics.median(took)


def negotiation_s(client: Host, client_end: str, server: Host, server_end: str) -> float:
    """Seconds of a bare negotiation, its connection included."""
    with served(server, "bench.peer", "serve", "negotiate", "--interface", server_end):
        load = ("--sessions", str(NEGOTIATIONS), "--clients", "1")
        return (
            float(asked(client, "bench.peer", "client", "negotiate", "--interface", client_end, *load)["p50_us"]) / 1e6
        )


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="asa-bench-") as name,
        two_hosts() as (client, client_end, server, server_end),
    ):
        directory = Path(name)
        negotiation = negotiation_s(client, client_end, server, server_end)
        flood = flood_s(server, client)
        numbers = count(1)
        commit = bare(str(directory / "bare.db"))
        took: list[float] = []
        bare_commits: list[float] = []
        with running(agent_on(server, server_end, "origin", "origin", directory, {POOL: SEED})):
            starts = [
                first_grant(agent_on(client, client_end, f"cold{next(numbers)}", "delegator", directory))
                for _ in range(STARTS)
            ]
            with running(agent_on(client, client_end, "warm", "delegator", directory)) as agent:
                while not agent.knows([POOL], SEED):
                    time.sleep(0.05)
                begin = int(time.time()) + AHEAD
                # In turn, so that what else the disk does falls on both alike.
                for number in range(ROUNDS):
                    took += admissions(agent, begin + number * ADMISSIONS * 100)
                    bare_commits += commits(commit)
                came = len({each["fields"]["txn"] for each in events(agent) if _came(each)})
        # The origin's escrow, the delegator's acceptance and its booking, one after the other.
        three = 3 * statistics.median(bare_commits)
        _result(
            "asa first grant to a delegator just started, beside a flood and a negotiation", starts, flood + negotiation
        )
        _result("asa reservation admitted with capacity of a peer, beside a negotiation", took, negotiation)
        _result("the same, beside a negotiation and three bare commits", took, negotiation + three)
        Result(
            "asa reservations admitted without asking a peer",
            ROUNDS * ADMISSIONS - came,
            "",
            aim=0,
            lower_is_better=True,
        ).print()


def _result(name: str, seconds: list[float], floor: float) -> None:
    Result(name, round(statistics.median(seconds) * 1000, 2), "ms", floor=round(floor * 1000, 2)).print()


if __name__ == "__main__":
    main()
