"""Where the agents run: each in a namespaced host of its own, or all on this host's loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import IO, Final, Protocol

from lab import Host, Lab
from lab.domain.topology import Topology

PREFIX: Final = IPv6Address("fd00:a5a::")
"""Every node's routed address is this plus its number."""

_ORPHAN: Final = '[ "$PPID" = "$0" ] && exec "$@"'
"""Nothing, if the lab died before the kernel was told."""

Process = subprocess.Popen[bytes]


class Launch(Protocol):
    def __call__(self, argv: Sequence[str], output: IO[bytes]) -> Process: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where one agent runs, and what its configuration has to say of it."""

    interfaces: tuple[str, ...]
    address: IPv6Address | None
    """None: the node finds one by itself."""
    ipv4: bool
    launch: Launch


@dataclass(frozen=True, slots=True)
class Ground:
    """All places, and the processes that only relay."""

    where: str
    """In words."""
    places: dict[str, Place]
    relays: dict[str, Process]


def guarded(argv: Sequence[str]) -> list[str]:
    """The command, killed by the kernel if this process dies first. To be started by a thread that stays."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "sh", "-c", _ORPHAN, str(os.getpid()), *argv] if setpriv else list(argv)


@contextlib.contextmanager
def namespaces(topology: Topology, logs: Path, check: Callable[[], None]) -> Iterator[Ground]:
    """Hosts, links, an address of its own for each and routes between all. ``check`` may raise to give up.

    Raises :class:`~lab.LabError`.
    """
    with Lab() as lab:
        hosts = {}
        for name in topology.nodes:
            check()
            hosts[name] = lab.host(name)
        interfaces = _join(lab, topology, hosts, check)
        addresses = {name: PREFIX + number for number, name in enumerate(topology.nodes, 1)}
        for name in hosts:
            check()
            _route(name, topology, hosts, interfaces, addresses)
        places = {
            name: Place(tuple(dict.fromkeys(interfaces[name].values())), addresses[name], False, _in(hosts[name]))
            for name in topology.agents
        }
        relays = {}
        for name in topology.relays:
            with open(logs / f"{name}.log", "wb") as output:
                relays[name] = _in(hosts[name])([sys.executable, "-m", "grasp", "relay"], output)
        links = f"{len(topology.links)} {'link' if len(topology.links) == 1 else 'links'}"
        yield Ground(f"{len(hosts)} namespaces, {links}", places, relays)


def _join(lab: Lab, topology: Topology, hosts: dict[str, Host], check: Callable[[], None]) -> dict[str, dict[int, str]]:
    """Make the links; of each node its interface by the link's index."""
    found: dict[str, dict[int, str]] = {name: {} for name in hosts}
    for index, link in enumerate(topology.links):
        check()
        ends = [hosts[name] for name in link]
        for name, device in zip(link, lab.link(*ends) if len(ends) == 2 else lab.lan(*ends), strict=True):
            found[name][index] = device
    return found


def _route(
    name: str,
    topology: Topology,
    hosts: dict[str, Host],
    interfaces: dict[str, dict[int, str]],
    addresses: dict[str, IPv6Address],
) -> None:
    host = hosts[name]
    host.forwarding(True)
    # Without nodad it may still be tentative, and no source, when the routes are made.
    host.ip(f"address add {addresses[name]}/128 dev lo nodad")
    neighbours = topology.neighbours()[name]
    gateways = {
        each: (hosts[each].link_local(interfaces[each][link]), interfaces[name][link])
        for each, link in neighbours.items()
    }
    commands = []
    for other, hop in topology.next_hops(name).items():
        gateway, device = gateways[hop]
        # The source must be an address every node has a route to, and a link has none of those.
        commands.append(f"route add {addresses[other]}/128 via {gateway} dev {device} src {addresses[name]}")
    host.ip(*commands)


def _in(host: Host) -> Launch:
    def launch(argv: Sequence[str], output: IO[bytes]) -> Process:
        return host.popen(guarded(argv), **_apart(output))

    return launch


@contextlib.contextmanager
def loopback(topology: Topology) -> Iterator[Ground]:
    """All agents on ``lo``, told apart by their ports. It has no IPv6 multicast, hence IPv4."""
    processes: list[Process] = []

    def launch(argv: Sequence[str], output: IO[bytes]) -> Process:
        processes.append(subprocess.Popen(guarded(argv), **_apart(output)))  # type: ignore[call-overload]  # of a dict
        return processes[-1]

    try:
        places = {name: Place(("lo",), None, True, launch) for name in topology.agents}
        yield Ground("the loopback interface of this host", places, {})
    finally:
        end(processes)


def _apart(output: IO[bytes]) -> dict[str, object]:
    # A session of its own: Ctrl-C is for the lab, which ends the agents itself.
    return {
        "stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True,
    }  # fmt: skip


def end(processes: Sequence[Process], patience_s: float = Lab.TERMINATION) -> None:
    """End what still runs; what does not within ``patience_s`` is killed."""
    running = [each for each in processes if each.poll() is None]
    for each in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGTERM)
    for each in running:
        try:
            each.wait(patience_s)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()
