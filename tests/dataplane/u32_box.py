"""A host whose interface has our HTB, so that u32 can be tried alone, and a host that packets go to."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from asa.dataplane.backend import Spot
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Line
from asa.flows import Mac, Port
from lab import Host, Lab

DEVICE = "eth0"
LINE = Line(DEVICE, "out", 10**9, 8)
CLASSES = range(0x10, 0x20)


def eventually(holds: Callable[[], object], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


def net(text: str) -> IPv4Network | IPv6Network:
    return IPv6Network(text) if ":" in text else IPv4Network(text)


def match(
    source: str | None = None,
    destination: str | None = None,
    protocol: int | None = None,
    sport: Port | None = None,
    dport: Port | None = None,
    family: int = 4,
    vlan: int | None = None,
) -> Match:
    places = [
        None if each is None else Mac(each) if len(each) == 17 and "/" not in each else net(each)
        for each in (source, destination)
    ]
    return Match(family, places[0], places[1], protocol, sport, dport, vlan)


def spot(what: Match, action: Action = Action.GUARANTEE, line: str = LINE.name) -> Spot:
    return line, action, what


def shape(host: Host, device: str = DEVICE) -> None:
    lines = [
        f"qdisc replace dev {device} root handle a5a: htb default ffff",
        f"class replace dev {device} parent a5a: classid a5a:1 htb rate 1gbit quantum 1514",
        f"class replace dev {device} parent a5a:1 classid a5a:ffff htb rate 1gbit quantum 1514",
    ]
    lines += [
        f"class replace dev {device} parent a5a:1 classid a5a:{each:x} htb rate 10mbit quantum 1514" for each in CLASSES
    ]
    host.run(["tc", "-batch", "-"], input="\n".join(lines) + "\n")


def sent(host: Host, device: str = DEVICE) -> dict[int, int]:
    """Packets by class."""
    shown = host.run(["tc", "-s", "class", "show", "dev", device]).stdout
    found = re.findall(r"class htb a5a:([0-9a-f]+) .*\n Sent \d+ bytes (\d+) pkt", shown)
    return {int(number, 16): int(packets) for number, packets in found}


def classes_of(host: Host, send: Callable[[], None], device: str = DEVICE) -> set[int]:
    """Which classes of entries what ``send`` sends in this host got into."""
    before = sent(host, device)
    with host.entered():
        send()
    after = sent(host, device)
    return {each for each in CLASSES if after[each] > before[each]}


def datagram(address: str, port: int, sport: int = 0, size: int = 10, options: bytes = b"") -> Callable[[], None]:
    def send() -> None:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as link:
            if options:
                link.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
            link.bind(("", sport))
            link.sendto(bytes(size), (address, port))

    return send


def frame(data: bytes, device: str = DEVICE) -> Callable[[], None]:
    def send() -> None:
        with closing(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as link:
            link.bind((device, 0))
            link.send(data)

    return send


def filters(host: Host, *more: str) -> str:
    return host.run(["tc", "filter", "show", "dev", DEVICE, *more]).stdout


def wardens(host: Host) -> list[int]:
    listed = subprocess.run(["ip", "netns", "pids", host.netns], capture_output=True, text=True, check=True)
    return [pid for pid in map(int, listed.stdout.split()) if b"asa.dataplane.u32.warden" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pair(lab: Lab) -> tuple[Host, Host]:
    here, there = lab.host("here"), lab.host("there")
    lab.link(here, there)
    for host, number in (here, 1), (there, 2):
        host.address(f"10.0.0.{number}/8", DEVICE)
        host.ip(f"address add fd00::{number}/64 dev {DEVICE} nodad")
    # Of an address that is not known yet, packets wait where no class counts them.
    mac = there.run(["cat", f"/sys/class/net/{DEVICE}/address"]).stdout.strip()
    known = ("10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::2", "fd00::5")
    here.ip(*(f"neigh replace {each} lladdr {mac} dev {DEVICE} nud permanent" for each in known))
    here.route("16.0.0.0/8", via="10.0.0.2")
    return here, there
