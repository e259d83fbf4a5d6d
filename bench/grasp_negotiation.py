"""Negotiations per second (request, offer, accept; a connection each) beside the barest program's."""

from __future__ import annotations

from bench.pair import rates
from bench.report import Result

SESSIONS = 4_000
AIMS = {1: 0.6, 8: 0.5, 32: 0.5}


def main() -> None:
    for clients, aim in AIMS.items():
        rate, floor, runs = rates("negotiate", clients, SESSIONS)
        Result(f"negotiations, {clients} at once", rate, "1/s", floor=floor, aim=aim).print()
        refused = sum(run["refused"] for run in runs)
        Result(f"sessions refused, {clients} at once", refused, "", aim=0, lower_is_better=True).print()
    rate, floor, _ = rates("negotiate", 1, SESSIONS, threads=4)
    Result("negotiations taken by listen_negotiate, 1 at once", rate, "1/s", floor=floor).print()
    _, _, runs = rates("negotiate", 1, 20_000)
    last = sorted(run["last_tenth_us"] / run["first_tenth_us"] for run in runs)[len(runs) // 2]
    Result(
        "time of the last 2,000 of 20,000 sessions over the first 2,000", last, "", aim=1.1, lower_is_better=True
    ).print()


if __name__ == "__main__":
    main()
