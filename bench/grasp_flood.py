"""How long a flood takes per hop, from the call to the cache of the last node of a chain."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

import grasp
from bench.report import Result
from lab import Lab

FLOODS, HOPS = 200, 4


def hear(count: int) -> None:
    """Print when each flood was in the cache, in monotonic seconds, which all hosts of a lab share."""
    with grasp.Node() as node, node.register_asa("last") as asa:
        print(json.dumps({"port": node.port}), flush=True)
        print(json.dumps([_heard(asa, number) for number in range(count)]), flush=True)


def _heard(asa: grasp.ASA, number: int) -> float:
    asa.wait_flood(f"EX{number}")
    return time.monotonic()


def relay() -> None:
    with grasp.Node() as node:
        print(json.dumps({"port": node.port}), flush=True)
        sys.stdin.read()


def say(count: int) -> None:
    """Flood, and print when."""
    with grasp.Node() as node, node.register_asa("first") as asa:
        said = []
        for number in range(count):
            objective = grasp.Objective.synchronization(f"EX{number}", number, loop_count=16)
            asa.register(objective)
            said.append(time.monotonic())
            asa.flood(objective, ttl=60_000)
            time.sleep(0.02)
        print(json.dumps(said), flush=True)


def measure() -> list[float]:
    """Milliseconds per hop of each flood."""
    with Lab() as lab, ExitStack() as stack:
        first, *relays, last = lab.chain(HOPS + 1)

        def started(host: object, *args: str) -> subprocess.Popen[str]:
            process: subprocess.Popen[str] = host.python(  # type: ignore[attr-defined]
                "-m", "bench.grasp_flood", *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(process.wait, 10)
            assert process.stdin is not None
            stack.callback(process.stdin.close)
            assert process.stdout is not None
            process.stdout.readline()
            return process

        for host in relays:
            started(host, "relay")
        hearing = started(last, "hear", "--floods", str(FLOODS))
        said = json.loads(first.run([sys.executable, "-m", "bench.grasp_flood", "say", "--floods", str(FLOODS)]).stdout)
        assert hearing.stdout is not None
        heard = json.loads(hearing.stdout.readline())
        return [(late - early) * 1000 / HOPS for early, late in zip(said, heard, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grasp_flood", description=__doc__.partition("\n")[0])
    parser.add_argument("role", nargs="?", choices=["hear", "relay", "say"])
    parser.add_argument("--floods", type=int, default=FLOODS)
    args = parser.parse_args()
    if args.role == "hear":
        hear(args.floods)
    elif args.role == "relay":
        relay()
    elif args.role == "say":
        say(args.floods)
    else:
        each = measure()
        Result("flood, per hop, median", round(statistics.median(each), 3), "ms", aim=0.5, lower_is_better=True).print()


if __name__ == "__main__":
    main()
