"""What it costs to look for a duplicate and for a cap among live reservations, each of its own flow, of one project.

One flow has as many windows as there are reservations too, which is the worst for the first.

python -m bench.asa_checks
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from asa import caps
from asa.ledger import Ledger
from asa.records import Cap, Held, Record, Reservation, ReservationState
from bench.report import Result
from objectives import Block, NodeId, Window

LIVE = (1_000, 10_000, 100_000)
NOW = 1_800_000_000
YEAR = 31_536_000
CHECKS = 2_000
ROUNDS = 5
AIM = 4
"""Times as much with a hundred times as many: the depth of the trees, and memory that is not in a cache."""


def records(live: int, own_flow: bool) -> Iterator[Record]:
    chance = Random(live)
    yield Held("wan", Block(0, 10**15, NOW, None))
    yield Cap("bench", "*", 10**15, False)
    step = YEAR // live
    for number in range(live):
        start = NOW + (chance.randrange(YEAR) if own_flow else number * step)
        source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" if own_flow else "10.0.0.1"
        yield Reservation(
            f"r-{number:014d}", "wan", 10**6, Window(start, start + (3_600 if own_flow else step - 1)),
            ReservationState.BOOKED, NOW, NOW, source, "192.0.2.1:443", "bench", protocol="tcp",
        )  # fmt: skip


def each_us(check: Callable[[Reservation], object], wanted: list[Reservation]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for one in wanted:
            check(one)
        rounds.append((time.perf_counter() - begun) / len(wanted) * 1e6)
    return statistics.median(rounds)


def capped(ledger: Ledger, wanted: Reservation) -> None:
    caps.check(ledger, wanted.owner, wanted.demand(), wanted.window, caps.seeded_here)


def main() -> None:
    chance = Random(8990)
    fewest: dict[str, float] = {}
    for live in LIVE:
        for own_flow in True, False:
            ledger = Ledger(NodeId("origin", "0123456789abcdef"), NOW, records(live, own_flow))
            some = [ledger.reservations[chance.choice(ledger.order)] for _ in range(CHECKS)]
            wanted = [replace(each, id="r-new") for each in some]
            found = {f"duplicate, {'a flow each' if own_flow else 'one flow'}": each_us(ledger.duplicate, wanted)}
            assert all(map(ledger.duplicate, wanted))
            if own_flow:
                found["cap"] = each_us(lambda one, on=ledger: capped(on, one), wanted)
            for what, value in found.items():
                floor = fewest.setdefault(what, value)
                Result(
                    f"asa look for a {what}, {live:,} live reservations",
                    round(value, 2),
                    "us",
                    round(floor, 2),
                    AIM,
                    True,
                ).print()


if __name__ == "__main__":
    main()
