"""Hostile messages at a live node for as long as you like: ``python -m tests.fuzz --seconds 600``.

The last line of output is the verdict, as JSON; the exit status is 1 if something was found.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time

from lab import unavailable_reason

from .hostile.siege import as_json, siege

ROUND = 15.0  #: seconds between two looks at the node
GROWTH_KIB = 24 * 1024  #: what may be added to the memory once the caches are full


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to attack (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="repeat what was sent with this seed")
    arguments = parser.parse_args()
    if reason := unavailable_reason():
        print(f"cannot fuzz: {reason}", file=sys.stderr)
        return 1
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    wrong: list[str] = []
    with siege() as besieged:
        besieged.storm(seed - 1, min(5.0, arguments.seconds / 4))  # fills the caches
        before = besieged.level()
        quiet = besieged.recovered(before)
        before = besieged.level()
        wrong += quiet
        ends = time.monotonic() + arguments.seconds
        rounds = 0
        while not wrong and (left := ends - time.monotonic()) > 0:
            besieged.storm(seed + rounds, min(ROUND, left), lambda done: _show(ends, done))
            rounds += 1
            wrong += besieged.recovered(before)
            print(f"round {rounds}: {json.dumps(as_json(besieged.level()))}", flush=True)
        after = besieged.level() if besieged.target.process.poll() is None else None
    if after is None:
        wrong.append("the node's process has ended")
    elif after.rss_kib > before.rss_kib + GROWTH_KIB:
        wrong.append(f"its memory grew from {before.rss_kib} to {after.rss_kib} KiB")
    verdict = {
        "ok": not wrong,
        "wrong": wrong,
        "seed": seed,
        "rounds": rounds,
        "sent": dict(besieged.sent),
        "alive": after is not None,
        "before": as_json(before),
        "after": as_json(after) if after is not None else None,
    }
    print(json.dumps(verdict), flush=True)
    return 1 if wrong else 0


def _show(ends: float, done: str) -> None:
    line = f"{max(0.0, ends - time.monotonic()):6.0f} s left: {done}"
    print(line, end="\r" if os.isatty(1) else "\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
