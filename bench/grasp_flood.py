"""How long a flood takes per hop, from the call to the cache of the last node of a chain: plain, and in a domain."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import grasp
from bench.report import Result
from lab import Host, Lab
from tests.pki import Authority

FLOODS, HOPS = 200, 4
LINKED_S = 3.0
"""For all neighbours of a domain to have their links."""


def node_of(identity: Path | None) -> grasp.Node:
    if identity is None:
        return grasp.Node()
    from grasp.security import Identity

    return grasp.Node(identity=Identity.load(identity))


def hear(count: int, identity: Path | None) -> None:
    """Print when each flood was in the cache, in monotonic seconds, which all hosts of a lab share."""
    with node_of(identity) as node, node.register_asa("last") as asa:
        print(json.dumps({"port": node.port}), flush=True)
        print(json.dumps([_heard(asa, number) for number in range(count)]), flush=True)


def _heard(asa: grasp.ASA, number: int) -> float:
    asa.wait_flood(f"EX{number}")
    return time.monotonic()


def relay(identity: Path | None) -> None:
    with node_of(identity) as node:
        print(json.dumps({"port": node.port}), flush=True)
        sys.stdin.read()


def say(count: int, identity: Path | None) -> None:
    """Flood, and print when."""
    with node_of(identity) as node, node.register_asa("first") as asa:
        said = []
        if identity is not None:
            time.sleep(LINKED_S)
        for number in range(count):
            objective = grasp.Objective.synchronization(f"EX{number}", number, loop_count=16)
            asa.register(objective)
            said.append(time.monotonic())
            asa.flood(objective, ttl=60_000)
            time.sleep(0.02)
        print(json.dumps(said), flush=True)


def measure(secured: bool) -> list[float]:
    """Milliseconds per hop of each flood."""
    with Lab() as lab, ExitStack() as stack:
        first, *relays, last = lab.chain(HOPS + 1)
        authority, directory = Authority(), Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def member(host: Host) -> list[str]:
            if not secured:
                return []
            return ["--identity", str(authority.write(directory / host.name, authority.issue(host.name)))]

        def started(host: Host, *args: str) -> subprocess.Popen[str]:
            process: subprocess.Popen[str] = host.python(
                "-m",
                "bench.grasp_flood",
                *args,
                *member(host),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
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
        command = [sys.executable, "-m", "bench.grasp_flood", "say", "--floods", str(FLOODS), *member(first)]
        said = json.loads(first.run(command).stdout)
        assert hearing.stdout is not None
        heard = json.loads(hearing.stdout.readline())
        return [(late - early) * 1000 / HOPS for early, late in zip(said, heard, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grasp_flood", description=__doc__.partition("\n")[0])
    parser.add_argument("role", nargs="?", choices=["hear", "relay", "say"])
    parser.add_argument("--floods", type=int, default=FLOODS)
    parser.add_argument("--identity", type=Path)
    args = parser.parse_args()
    if args.role == "hear":
        hear(args.floods, args.identity)
    elif args.role == "relay":
        relay(args.identity)
    elif args.role == "say":
        say(args.floods, args.identity)
    else:
        plain, secured = (round(statistics.median(measure(each)), 3) for each in (False, True))
        Result("flood, per hop, median", plain, "ms", aim=0.5, lower_is_better=True).print()
        Result("flood in a domain, per hop, median", secured, "ms", floor=plain, lower_is_better=True).print()


if __name__ == "__main__":
    main()
