"""A day of demand, made up: what the sites of a network ask of the bandwidth they share.

    python -m examples.day > examples/day.csv                # for the lab's usual four agents
    python -m examples.day origin r1 r2 r3 r4 r5 > my.csv    # for others

It models, per site,

- **people**: meetings, calls and file transfers, few at night and most around noon (a diurnal curve), each site with
  its noon at its own hour and its own share of the load, so that capacity has a reason to move;
- **backups** between one and four at night, which all sites start together and want more than there is: refusals;
- **a broadcast** in the evening, which one site books in the morning and the others want to watch;
- **standing circuits**, open-ended, one per site, for ever or until somebody cancels them;
- **calls** from each site to the next, with a rate each way: two-way, so both sites' agents book their end, or neither.

The same arguments make the same day: chance is seeded.
"""

from __future__ import annotations

import csv
import math
import random
import sys
from collections.abc import Sequence
from typing import Any

from asa.quantities import exact_rate, format_duration

HOUR = 3_600
DAY = 24 * HOUR
NODES = ("origin", "r1", "r2", "r3")
CAPACITY = 10_000_000_000
MBIT = 1_000_000
PEOPLE = 280
"""Reservations of people in a day, over all sites."""

WISHES = (
    # what, share, fraction of the capacity: least and most, seconds: least and most
    ("meeting", 5, (0.002, 0.020), (HOUR // 2, 2 * HOUR)),
    ("file transfer", 3, (0.010, 0.080), (HOUR // 4, HOUR)),
    ("remote surgery", 1, (0.020, 0.050), (HOUR, 4 * HOUR)),
    ("rendering", 2, (0.030, 0.120), (HOUR, 3 * HOUR)),
)


def day(nodes: Sequence[str] = NODES, capacity: int = CAPACITY, seed: int = 8990) -> list[dict[str, Any]]:
    """The rows of a day in order of when they are asked for; ``capacity``: bit/s the rates are fractions of."""
    chance = random.Random(seed)
    rows = [*_people(nodes, capacity, chance), *_backups(nodes, capacity, chance)]
    rows += [*_broadcast(nodes, capacity), *_circuits(nodes, capacity), *_calls(nodes, capacity)]
    return [_written(row) for row in sorted(rows, key=lambda row: (row["at"], row["node"]))]


def _people(nodes: Sequence[str], capacity: int, chance: random.Random) -> list[dict[str, Any]]:
    rows = []
    shares = [1 + 2 * (index % 3) for index in range(len(nodes))]
    for number in range(PEOPLE):
        index = chance.choices(range(len(nodes)), shares)[0]
        # Noon is at eleven to five: sites far apart, or habits.
        noon = 11 * HOUR + index % 4 * 2 * HOUR
        start = int(chance.gauss(noon, 3.2 * HOUR)) % DAY if chance.random() < 0.9 else chance.randrange(DAY)
        what, _, rates, lengths = chance.choices(WISHES, [share for _, share, _, _ in WISHES])[0]
        ahead = chance.randrange(HOUR, 6 * HOUR) if what in ("meeting", "remote surgery") else 0
        rate = math.exp(chance.uniform(*map(math.log, rates))) * capacity
        length = chance.randrange(*lengths)
        person = f"10.{1 + index}.{1 + number // 200}.{1 + number % 200}>"
        rows.append(_row(nodes[index], rate, start, start + length, max(0, start - ahead), what, person))
    return rows


def _backups(nodes: Sequence[str], capacity: int, chance: random.Random) -> list[dict[str, Any]]:
    """Everybody's cron begins within ten minutes, and together they want a half more than there is, twice."""
    rows = []
    each = 1.5 * capacity / len(nodes) / 2
    for hour in (1, 2):
        for index, node in enumerate(nodes):
            for number, part in enumerate(("disks", "databases")):
                start = hour * HOUR + chance.randrange(600)
                rate = each * chance.uniform(0.7, 1.3)
                ends = f"10.{1 + index}.9.{2 * hour + number}>10.250.0.1"
                end = start + chance.randrange(HOUR, 2 * HOUR)
                rows.append(_row(node, rate, start, end, start, f"backup: {part}", ends))
    return rows


def _broadcast(nodes: Sequence[str], capacity: int) -> list[dict[str, Any]]:
    """Booked at nine for twenty o'clock; the audience comes when it begins."""
    start, end = 20 * HOUR, 22 * HOUR + HOUR // 2
    stage, *audience = nodes[1:] or nodes
    feed = "10.251.0.1>239.1.1.1"
    rows = [_row(stage, 0.25 * capacity, start - HOUR // 4, end, 9 * HOUR, "broadcast: feed", feed)]
    for index, node in enumerate(audience):
        for number in range(6):
            late = 90 * (number + index)
            share = 0.6 * capacity / len(audience) / 4
            viewer = f">10.251.0.1:{8000 + number}"
            rows.append(_row(node, share, start + late, end, start + late, "broadcast: viewers", viewer))
    return rows


def _circuits(nodes: Sequence[str], capacity: int) -> list[dict[str, Any]]:
    rate = min(0.01, 0.1 / len(nodes)) * capacity
    return [_row(node, rate, 6 * HOUR, None, 5 * HOUR, "standing circuit", "") for node in nodes[1:]]


def _calls(nodes: Sequence[str], capacity: int) -> list[dict[str, Any]]:
    """Every hour of the working day, and the side that shows slides needs more."""
    rows = []
    for index, node in enumerate(nodes):
        other = (index + 1) % len(nodes)
        for hour in range(8, 18) if other != index else ():
            start = hour * HOUR + 60 * index
            ends = f"10.{1 + index}.8.{hour}>10.{1 + other}.8.{hour}"
            rows.append(_row(node, 0.01 * capacity, start, start + HOUR // 2, start, "call", ends, 0.004 * capacity))
    return rows


def _row(
    node: str, rate: float, start: int, end: int | None, at: int, label: str, endpoints: str, back: float = 0
) -> dict[str, Any]:
    return {
        "node": node, "pool": "wan", "rate": _whole(rate), "start": start, "end": end, "endpoints": endpoints,
        "at": at, "label": label, "back": _whole(back) if back else None,
    }  # fmt: skip


def _whole(rate: float) -> int:
    return max(MBIT, round(rate / MBIT) * MBIT)


def _written(row: dict[str, Any]) -> dict[str, Any]:
    """As it stands in the file: times as durations since midnight."""
    end = "never" if row["end"] is None else _time(row["end"])
    times = {"start": _time(row["start"]), "end": end, "at": _time(row["at"])}
    back = exact_rate(row["back"]) if row["back"] else ""
    return row | times | {"rate": exact_rate(row["rate"]), "back": back}


def _time(seconds: int) -> str:
    return format_duration(seconds) if seconds else "0"


def main(nodes: list[str]) -> int:
    rows = day(nodes or NODES)
    out = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
