"""How long it takes two agents to set up a reservation of both ends, beside one plain negotiation, between two hosts.

python -m bench.asa_two_way
"""

from __future__ import annotations

import statistics
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from bench.agents import POOL, agent_on, running
from bench.asa_reservations import bare
from bench.asa_transfer import commits, negotiation_s
from bench.pair import two_hosts
from bench.report import Result
from lab.domain.agents import Agent

SEED = 10**12
ROUNDS, PAIRS = 5, 40
RATE = 10**6
FIRST_S = 60.0
SERVES = '[flows]\nkernel_routes = false\nserves = ["{}"]\n'


def arranged(agent: Agent, numbers: count[int]) -> list[float]:
    """Seconds of each two-way reservation, from the request until both ends are booked."""
    took = []
    start = int(time.time()) + 86_400
    for _ in range(PAIRS):
        number = next(numbers)
        body: dict[str, Any] = {
            "pool": POOL, "rate": RATE, "back": RATE, "kind": "two-way", "start": start, "end": start + 60,
            "source": f"10.1.{number // 250}.{number % 250 + 1}", "destination": "10.2.0.1",
        }  # fmt: skip
        begun = time.perf_counter()
        made = agent.request("POST", "reservations", body)
        took.append(time.perf_counter() - begun)
        assert made["partner"], made
    return took


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="asa-bench-") as name,
        two_hosts() as (client, client_end, server, server_end),
    ):
        directory = Path(name)
        negotiation = negotiation_s(client, client_end, server, server_end)
        commit = bare(str(directory / "bare.db"))
        near = agent_on(client, client_end, "near", "delegator", directory, more=SERVES.format("10.1.0.0/16"))
        far = agent_on(server, server_end, "far", "origin", directory, {POOL: SEED}, SERVES.format("10.2.0.0/16"))
        took: list[float] = []
        bare_commits: list[float] = []
        numbers = count()
        with running(far), running(near):
            until = time.monotonic() + FIRST_S
            while near.request("GET", f"pools/{POOL}")["pool"]["free"] < RATE * ROUNDS * PAIRS or not _served(near):
                assert time.monotonic() < until, near.tail()
                time.sleep(0.1)
            arranged(near, numbers)
            # In turn, so that what else the disk does falls on both alike.
            for _ in range(ROUNDS):
                took += arranged(near, numbers)
                bare_commits += commits(commit)
        floor = negotiation + 3 * statistics.median(bare_commits)
        for what, value in ("one negotiation", negotiation), ("a negotiation and three bare commits", floor):
            Result(
                f"asa two-way reservation set up at both ends, beside {what}",
                round(statistics.median(took) * 1000, 2),
                "ms",
                floor=round(value * 1000, 2),
            ).print()


def _served(agent: Agent) -> bool:
    return any(each["kind"] == "peer-serves" for each in agent.request("GET", "events", limit=1_000)["events"])


if __name__ == "__main__":
    main()
