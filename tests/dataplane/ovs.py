"""A node whose switch has two hosts, and what is asked of its back end."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from asa.dataplane.match import Match
from asa.dataplane.openvswitch import OpenVSwitch
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.flows import Mac, Port
from lab import Host, Lab, unavailable_reason
from lab.switch import Switch, switch_unavailable_reason

MBIT = 1_000_000
OUT = Line("br0-b", "out", 100 * MBIT, 5 * MBIT, (46,))
IN = Line("br0-a", "in", 100 * MBIT, 5 * MBIT)
TCP = Match(4, ip_network("10.0.0.1/32"), ip_network("10.0.0.2/32"), 6, None, Port(5201))
UDP = Match(4, ip_network("10.0.0.1/32"), ip_network("10.0.0.2/32"), 17, None, Port(5201))
SHARE = Share(20 * MBIT, 20 * MBIT)
PORT = 9_000
"""To which single packets go."""


@dataclass(frozen=True)
class Node:
    lab: Lab
    host: Host
    switch: Switch
    a: Host
    b: Host

    def backend(self, take_over: bool = False, now: Callable[[], float] = time.time) -> OpenVSwitch:
        return OpenVSwitch(self.switch.socket, take_over, now=now)

    def settle(self) -> None:
        """Wait until the datapath's cache is as the flows are now."""
        self.switch.appctl("revalidator/wait")


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


# -- single packets


class Ear:
    """What a host hears of IP packets, with the text that is in them."""

    def __init__(self, host: Host) -> None:
        with host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.bind(("eth0", 0x0800))
        self._socket.settimeout(0.05)
        self.frames: list[bytes] = []

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def of(self, text: bytes) -> list[tuple[Mac, int]]:
        """Ethernet destination and DSCP."""
        while True:
            try:
                self.frames.append(self._socket.recv(2_048))
            except TimeoutError:
                break
        return [(Mac(each[:6].hex(":")), each[15] >> 2) for each in self.frames if text in each]


def sent(host: Host, text: bytes, dscp: int = 0, port: int = PORT) -> None:
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        sender.sendto(text, ("10.0.0.2", port))


def mac_of(host: Host) -> Mac:
    with host.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as asked:
        asked.bind(("eth0", 0))
        return Mac(asked.getsockname()[4].hex(":"))


def more(here: Node, name: str, address: str) -> Host:
    """Another host at the bridge, which has heard of it."""
    host = here.lab.host(name)
    here.switch.attach("br0", host, address)
    host.run(["ping", "-c", "1", "10.0.0.1"])
    return host
