"""A node between two hosts, and what shall be of its data plane."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest

from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from lab import Host, Lab, unavailable_reason

MBIT = 1_000_000


def eventually(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """What the condition says as soon as it says something."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return found


@dataclass
class Between:
    """``node`` forwards between ``left`` (its eth0) and ``right`` (its eth1); the test's thread is in it."""

    lab: Lab
    left: Host
    node: Host
    right: Host

    def run(self, command: str, check: bool = True) -> str:
        """In the node; what it wrote."""
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr


def require(*programs: str) -> None:
    if reason := unavailable_reason():
        pytest.skip(reason)
    for each in programs:
        if shutil.which(each, path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
            pytest.skip(f"there is no program {each}")


def line(interface: str = "eth1", way: Any = "out", rate: int = 100 * MBIT, floor: int = 5 * MBIT, **more: Any) -> Line:
    return Line(interface, way, rate, floor, **more)


def entry(*matches: Match, on: str = "eth1:out", id: str = "r1", **more: Any) -> Entry:
    """A guarantee of 1 Mbit/s for five minutes, unless ``more`` says something else."""
    given: dict[str, Any] = {"action": Action.GUARANTEE, "expires": int(time.time()) + 300} | more
    if given["action"] is Action.GUARANTEE:
        given.setdefault("share", Share(MBIT, MBIT))
    return Entry(on, matches=frozenset(matches), ids=(id,), **given)


def plan(lines: Line | tuple[Line, ...], *entries: Entry) -> Plan:
    return Plan(lines if isinstance(lines, tuple) else (lines,), {each.key: each for each in entries})


def v4(source: str | None = None, destination: str | None = None, *more: Any) -> Match:
    """``more``: protocol, source port, destination port, VLAN."""
    return Match(4, *(None if each is None else ip_network(each) for each in (source, destination)), *more)  # type: ignore[arg-type]


def v6(source: str | None = None, destination: str | None = None, *more: Any) -> Match:
    return Match(6, *(None if each is None else ip_network(each) for each in (source, destination)), *more)  # type: ignore[arg-type]
