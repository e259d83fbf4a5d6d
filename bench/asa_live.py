"""Reserving, cancelling and listing through the API with more and more live reservations, each of its own flow.

What every figure is held against is the same with the fewest of them. The project has a cap, so duplicates and caps are
looked for each time.

python -m bench.asa_live
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from asa.records import Cap, Fact, Held, Record, Reservation, ReservationState, Seed
from asa.reservations import identifier
from asa.store import Store
from bench.agents import POOL, agent_on, running
from bench.pair import two_hosts
from bench.report import Result
from lab.domain.agents import Agent
from objectives import Block, NodeId, Window

LIVE = (1_000, 10_000, 100_000)
SEED = 10**15
ME = NodeId("origin", "0123456789abcdef")
YEAR = 31_536_000
OPERATIONS = 400
ROUNDS = 3
AIM = 2


def records(now: int, live: int) -> Iterator[Record]:
    """What an origin has on disk that booked so many reservations over the coming year."""
    chance = Random(live)
    yield Fact("node", json.dumps(str(ME)))
    yield Seed(POOL, 0, SEED, now)
    yield Held(POOL, Block(0, SEED, now, None))
    yield Cap("bench", "*", 90, True)
    for number in range(live):
        start = now + chance.randrange(YEAR)
        yield Reservation(
            identifier(now * 1000 - live + number, chance.getrandbits(25)), POOL, chance.randint(1, 100) * 10**6,
            Window(start, start + chance.randint(60, 86_400)), ReservationState.BOOKED, now, now,
            f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "192.0.2.1:443", "bench", protocol="tcp",
        )  # fmt: skip


def timed(operation: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    operation()
    return time.perf_counter() - begun


def measured(agent: Agent, now: int) -> dict[str, float]:
    """Medians of seconds."""
    chance = Random(8990)
    numbers = count()
    made: list[str] = []

    def reserve() -> None:
        start = now + chance.randrange(YEAR)
        number = next(numbers)
        body = {
            "pool": POOL, "rate": 10**6, "start": start, "end": start + 3_600, "owner": "bench", "protocol": "tcp",
            "source": f"172.16.{number >> 8}.{number & 255}", "destination": "192.0.2.1:443",
        }  # fmt: skip
        made.append(agent.request("POST", "reservations", body)["id"])

    found = {"reserve": [timed(reserve) for _ in range(OPERATIONS)]}
    found["list"] = [timed(lambda: agent.request("GET", "reservations", limit=100)) for _ in range(OPERATIONS // 4)]
    found["cancel"] = [timed(lambda: agent.request("DELETE", f"reservations/{made.pop()}")) for _ in range(OPERATIONS)]
    return {what: statistics.median(each) for what, each in found.items()}


def main() -> None:
    fewest: dict[str, float] = {}
    with two_hosts() as (_, _, server, server_end):
        for live in LIVE:
            with tempfile.TemporaryDirectory(prefix="asa-bench-") as name:
                now = int(time.time())
                Store.create_from(Path(name, "origin"), records(now, live), now=now).close()
                agent = agent_on(server, server_end, "origin", "origin", Path(name), {POOL: SEED})
                with running(agent):
                    rounds = [measured(agent, now) for _ in range(ROUNDS)]
            for what in rounds[0]:
                value = statistics.median(each[what] for each in rounds)
                floor = fewest.setdefault(what, value)
                Result(
                    f"asa {what}, {live:,} live reservations", round(value * 1e6), "us", round(floor * 1e6), AIM, True
                ).print()


if __name__ == "__main__":
    main()
