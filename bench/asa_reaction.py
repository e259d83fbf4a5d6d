"""How soon a packet obeys: from asking an agent for a reservation until its rule is read back from the kernel, while
others are in place; and what looking after 1,000 of them costs.

The floor of the reaction is the same change told to ``tc`` and ``nft`` at once, by whoever knows it already.

python -m bench.asa_reaction
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from bench.agents import POOL, agent_on, running
from bench.pair import two_hosts
from bench.report import Result
from lab import Host
from lab.domain.agents import Agent

IN_PLACE = (0, 1_000)
SAMPLES = 200
WATCHED_S = 30.0
LIMIT_S = 120.0
_numbers = count(1)


def more(device: str) -> str:
    return f"""[enforcement]
backend = "tc-nft"
[[link]]
interface = "{device}"
capacity = 40_000_000_000
[[route]]
prefix = "0.0.0.0/0"
interface = "{device}"
"""


def wanted() -> dict[str, Any]:
    number = next(_numbers)
    source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return {
        "pool": POOL, "rate": 10**6, "traffic": "voice", "protocol": "tcp",
        "source": source, "destination": "192.0.2.1:443",
    }  # fmt: skip


def reserve(agent: Agent) -> str:
    identifier: str = agent.request("POST", "reservations", wanted())["id"]
    return identifier


def reaction(agent: Agent) -> float:
    """Seconds."""
    begun = time.perf_counter()
    identifier = reserve(agent)
    while (state := agent.request("GET", f"reservations/{identifier}")["state"]) != "active":
        if time.perf_counter() > begun + LIMIT_S:
            raise RuntimeError(f"{identifier} is {state} after {LIMIT_S:g} s")
        time.sleep(0.001)
    return time.perf_counter() - begun


TABLE = "add table netdev bench\nadd map netdev bench m { type ipv4_addr . inet_service : classid ; flags timeout ; }\n"
QUEUE = (
    "qdisc add dev {0} root handle a5a: htb\n"
    "class add dev {0} parent a5a: classid a5a:1 htb rate 40gbit quantum 60000\n"
)
CLASS = "class add dev {0} parent a5a:1 classid a5a:10 htb rate 1mbit ceil 1mbit quantum 1600\n"
ELEMENT = "add element netdev bench m { 192.0.2.1 . 443 timeout 60s : a5a:10 }\n"


def bare(host: Host, device: str) -> float:
    """Seconds for a class and an element, on a host without an agent."""

    def tell(program: list[str], text: str) -> None:
        subprocess.run(program, input=text.replace("{0}", device), text=True, check=True)

    tc, nft = ["tc", "-batch", "-"], ["nft", "-f", "-"]
    with host.entered():
        tell(tc, QUEUE)
        tell(nft, TABLE)
        begun = time.perf_counter()
        tell(tc, CLASS)
        tell(nft, ELEMENT)
        seconds = time.perf_counter() - begun
        tell(nft, "delete table netdev bench\n")
        tell(tc, "qdisc del dev {0} root\n")
    return seconds


def cpu_s(pid: int) -> float:
    """Of a process and of the commands it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(int(each) for each in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def share(agent: Agent) -> float:
    """Percent of one CPU while nobody asks for anything."""
    begun, before = time.perf_counter(), cpu_s(agent.pid)
    time.sleep(WATCHED_S)
    return (cpu_s(agent.pid) - before) / (time.perf_counter() - begun) * 100


def settled(agent: Agent, number: int) -> None:
    until = time.monotonic() + LIMIT_S
    while agent.request("GET", "enforcement")["installed"] < number:
        if time.monotonic() > until:
            raise RuntimeError(f"not {number} in place: {agent.request('GET', 'enforcement')}")
        time.sleep(0.1)


def percentile(found: list[float], percent: int) -> float:
    return statistics.quantiles(found, n=100, method="inclusive")[percent - 1]


def told(what: str, found: list[float], floor: float) -> None:
    for name, value in ("p50", statistics.median(found)), ("p99", percentile(found, 99)):
        Result(f"asa reaction {what}, {name}", round(value * 1e3, 2), "ms", round(floor * 1e3, 2)).print()


def main() -> None:
    with (
        two_hosts() as (client, client_device, server, device),
        tempfile.TemporaryDirectory(prefix="asa-bench-") as name,
    ):
        agent = agent_on(server, device, "origin", "origin", Path(name), {POOL: 10**12}, more(device))
        with running(agent):
            idle = share(agent)
            for number in IN_PLACE:
                there = agent.request("GET", "enforcement")["installed"]
                for _ in range(number):
                    reserve(agent)
                settled(agent, there + number)
                floor = statistics.median(bare(client, client_device) for _ in range(9))
                told(f"with {number:,} in place", [reaction(agent) for _ in range(SAMPLES)], floor)
                busy = share(agent)
            Result(
                f"asa CPU with {IN_PLACE[-1] + SAMPLES * len(IN_PLACE):,} in place",
                round(busy, 2),
                "% of one",
                round(idle, 2),
            ).print()


if __name__ == "__main__":
    main()
