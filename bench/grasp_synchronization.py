"""Synchronizations per second (request, value; a connection each) beside the barest program's."""

from __future__ import annotations

from bench.pair import rates
from bench.report import Result

SESSIONS = 5_000
AIMS = {1: 0.6, 8: None, 32: None}


def main() -> None:
    for clients, aim in AIMS.items():
        rate, floor, _ = rates("synchronize", clients, SESSIONS)
        Result(f"synchronizations, {clients} at once", rate, "1/s", floor=floor, aim=aim).print()


if __name__ == "__main__":
    main()
