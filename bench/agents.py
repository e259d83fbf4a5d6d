"""Real agents on the hosts of a lab, for benchmarks: each a process with a state directory on disk."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import IO, Final

from lab import Host
from lab.domain.agents import Agent
from lab.domain.places import Place, Process

POOL: Final = "wan"
READY_S: Final = 60.0


def agent_on(
    host: Host,
    device: str,
    name: str,
    mode: str,
    directory: Path,
    seeds: Mapping[str, int] | None = None,
    more: str = "",
) -> Agent:
    """An agent that can be started on a host, with its files in ``directory``; ``seeds``: bit/s by pool; ``more``:
    further sections of its configuration."""

    def launch(argv: Sequence[str], output: IO[bytes]) -> Process:
        return host.popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    address = next(map(IPv6Address, host.addresses(device)), None)
    return Agent(name, mode, Place((device,), address, False, launch), directory, seeds or {}, more)


@contextmanager
def running(agent: Agent) -> Iterator[Agent]:
    """The agent for the block, ready at its beginning and ended by SIGTERM after it."""
    agent.start()
    try:
        wait_ready(agent)
        yield agent
    finally:
        stop(agent)


def wait_ready(agent: Agent) -> None:
    """Raises RuntimeError, with the end of its log, if it ends or is not ready in time."""
    until = time.monotonic() + READY_S
    while not agent.ready():
        if not agent.running or time.monotonic() > until:
            raise RuntimeError(f"{agent.name} is not ready: {agent.tail()}")
        time.sleep(0.005)


def stop(agent: Agent) -> None:
    process = agent._process
    if process is not None and process.poll() is None:
        agent.expected = True
        process.terminate()
        process.wait(30)
