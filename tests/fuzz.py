"""Hostile bytes at live nodes for as long as you like: ``python -m tests.fuzz --seconds 600``.

Half of the time at one that trusts its links, half at a member of a domain, on its TLS ports and behind them.
The last line of output is the verdict, as JSON; the exit status is 1 if something was found.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from lab import unavailable_reason

from .hostile.besieged import Besieged
from .hostile.fortress import fortress
from .hostile.siege import siege

ROUND = 15.0  #: seconds between two looks at the node
GROWTH_KIB = 24 * 1024  #: what may be added to the memory once the caches are full
NODES: dict[str, Callable[[], AbstractContextManager[Besieged]]] = {"plain": siege, "domain": fortress}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to attack in all (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="repeat what was sent with this seed")
    parser.add_argument("--only", choices=list(NODES), help="attack a node with this substrate only")
    arguments = parser.parse_args()
    if reason := unavailable_reason():
        print(f"cannot fuzz: {reason}", file=sys.stderr)
        return 1
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    chosen = [arguments.only] if arguments.only else list(NODES)
    verdicts = {name: attacked(name, seed, arguments.seconds / len(chosen)) for name in chosen}
    ok = not any(each["wrong"] for each in verdicts.values())
    print(json.dumps({"ok": ok, "seed": seed, **verdicts}), flush=True)
    return 0 if ok else 1


def attacked(name: str, seed: int, seconds: float) -> dict[str, Any]:
    """What came of it."""
    wrong: list[str] = []
    with NODES[name]() as besieged:
        idle = besieged.level()
        besieged.storm(seed - 1, min(5.0, seconds / 4))  # fills the caches
        wrong += besieged.recovered(replace(besieged.level(), descriptors=idle.descriptors))
        before = replace(besieged.level(), descriptors=idle.descriptors)
        ends = time.monotonic() + seconds
        rounds = 0
        while not wrong and (left := ends - time.monotonic()) > 0:
            besieged.storm(seed + rounds, min(ROUND, left), lambda done: _show(name, ends, done))
            rounds += 1
            wrong += besieged.recovered(before)
            print(f"{name}, round {rounds}: {json.dumps(besieged.level().as_json())}", flush=True)
        after = besieged.level() if besieged.target.process.poll() is None else None
    if after is None:
        wrong.append("the node's process has ended")
    elif after.rss_kib > before.rss_kib + GROWTH_KIB:
        wrong.append(f"its memory grew from {before.rss_kib} to {after.rss_kib} KiB")
    return {
        "wrong": wrong,
        "rounds": rounds,
        "sent": dict(besieged.sent),
        "alive": after is not None,
        "before": before.as_json(),
        "after": after.as_json() if after is not None else None,
    }


def _show(name: str, ends: float, done: str) -> None:
    line = f"{name}, {max(0.0, ends - time.monotonic()):6.0f} s left: {done}"
    print(line, end="\r" if os.isatty(1) else "\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
