"""A node whose switch has two hosts, and what is asked of its back end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from asa.dataplane.match import Match
from asa.dataplane.openvswitch import OpenVSwitch
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.flows import Port
from lab import Host, Lab, unavailable_reason
from lab.switch import Switch, switch_unavailable_reason

MBIT = 1_000_000
OUT = Line("br0-b", "out", 100 * MBIT, 5 * MBIT, (46,))
IN = Line("br0-a", "in", 100 * MBIT, 5 * MBIT)
TCP = Match(4, ip_network("10.0.0.1/32"), ip_network("10.0.0.2/32"), 6, None, Port(5201))
UDP = Match(4, ip_network("10.0.0.1/32"), ip_network("10.0.0.2/32"), 17, None, Port(5201))
SHARE = Share(20 * MBIT, 20 * MBIT)


@dataclass(frozen=True)
class Node:
    lab: Lab
    host: Host
    switch: Switch
    a: Host
    b: Host

    def backend(self, take_over: bool = False, now: Callable[[], float] = time.time) -> OpenVSwitch:
        return OpenVSwitch(self.switch.socket, take_over, now=now)


@contextmanager
def node() -> Iterator[Node]:
    """10.0.0.1 at port ``br0-a``, 10.0.0.2 at ``br0-b`` of ``br0``; the calling thread is in the node."""
    if reason := unavailable_reason() or switch_unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        host, a, b = (lab.host(each) for each in ("node", "a", "b"))
        with Switch(host) as switch:
            switch.bridge("br0")
            switch.attach("br0", a, "10.0.0.1/24")
            switch.attach("br0", b, "10.0.0.2/24")
            with host.entered():
                yield Node(lab, host, switch, a, b)


def entry(
    *matches: Match, line: Line = OUT, share: Share | None = SHARE, dscp: int | None = 46, left: float = 300.0,
    through: tuple[str, ...] = (), output: str = "",
) -> Entry:  # fmt: skip
    action = (
        Action.STEER if through else Action.MIRROR if output else Action.KEEP if share is None else Action.GUARANTEE
    )
    if action is not Action.GUARANTEE:
        share, dscp = None, None
    return Entry(
        line.name, action, frozenset(matches), ("r1",), int(time.time() + left), share, dscp, through, output
    )  # fmt: skip


def plan(*entries: Entry, lines: tuple[Line, ...] = (OUT, IN)) -> Plan:
    return Plan(lines, {each.key: each for each in entries})


def eventually(holds: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.05)
