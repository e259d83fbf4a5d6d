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
from lab.domain.identities import identities
from lab.domain.topology import Topology
from lab.traffic import missing, refusal

PREFIX: Final = IPv6Address("fd00:a5a::")
"""Every node's routed address is this plus its number."""

SITE: Final = "10.{}.0.0/16"
"""Where the consumers of each agent are, by the number of the agent, from 1."""

ACCESS: Final = ("172.16.0.{}", "172.16.1.{}")
"""The networks of the sender and of the receiver behind an agent: 1 is the agent, 2 the host."""

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
    identity: Path | None = None
    """The directory of its identity; None: over the substrate ``plain``."""


@dataclass(frozen=True, slots=True)
class Access:
    """Two hosts behind an agent, which do not know GRASP; all that one sends to the other passes the agent's node."""

    agent: str
    sender: Host
    receiver: Host
    interface: str
    """The agent's, towards the receiver."""


@dataclass(frozen=True, slots=True)
class Ground:
    """All places, and the processes that only relay."""

    where: str
    """In words."""
    places: dict[str, Place]
    relays: dict[str, Process]
    access: Access | None = None
    """None: packets cannot be made to obey here."""
    why: str = ""
    """Why they cannot."""
    wires: tuple[tuple[Host, str], ...] = ()
    """Of each link between nodes one end, where all that crosses it can be seen."""

    @property
    def substrate(self) -> str:
        return "domain" if all(each.identity is not None for each in self.places.values()) else "plain"


def guarded(argv: Sequence[str]) -> list[str]:
    """The command, killed by the kernel if this process dies first. To be started by a thread that stays."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "sh", "-c", _ORPHAN, str(os.getpid()), *argv] if setpriv else list(argv)


@contextlib.contextmanager
def namespaces(topology: Topology, directory: Path, check: Callable[[], None]) -> Iterator[Ground]:
    """Hosts, links, an address of its own for each and routes between all, and identities of one domain.

    ``directory`` is for what is written: identities and logs. ``check`` may raise to give up.

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
        why = missing()
        access = None if why else _access(lab, topology.delegators[0], hosts)
        if access is not None and (why := refusal(access.sender)):
            access = None
        known = identities(topology.nodes, directory / "identities", check)
        places = {
            name: Place(
                tuple(dict.fromkeys(interfaces[name].values())), addresses[name], False, _in(hosts[name]), known[name]
            )
            for name in topology.agents
        }
        relays = {}
        for name in topology.relays:
            with open(directory / f"{name}.log", "wb") as output:
                command = [sys.executable, "-m", "grasp", "relay", "--identity", str(known[name])]
                relays[name] = _in(hosts[name])(command, output)
        links = f"{len(topology.links)} {'link' if len(topology.links) == 1 else 'links'}"
        ends = {link: (hosts[name], device) for name in hosts for link, device in interfaces.get(name, {}).items()}
        where = f"{len(hosts)} namespaces, {links}"
        yield Ground(where, places, relays, access, why or "", tuple(ends[link] for link in sorted(ends)))


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
    sites = {each: SITE.format(number) for number, each in enumerate(topology.agents, 1)}
    commands = [f"address add {sites[name].replace('0.0/', '0.1/')} dev lo"] if name in sites else []
    for other, hop in topology.next_hops(name).items():
        gateway, device = gateways[hop]
        if other in sites:
            commands.append(f"route add {sites[other]} via inet6 {gateway} dev {device}")
        if other == topology.origin:
            # The world outside is behind the origin.
            commands.append(f"route add 0.0.0.0/0 via inet6 {gateway} dev {device}")
        # The source must be an address every node has a route to, and a link has none of those.
        commands.append(f"route add {addresses[other]}/128 via {gateway} dev {device} src {addresses[name]}")
    host.ip(*commands)


def _access(lab: Lab, agent: str, hosts: dict[str, Host]) -> Access:
    """No node's name begins with an underscore."""
    made, interface = [], ""
    for name, network in zip(("_sender", "_receiver"), ACCESS, strict=True):
        host = lab.host(name)
        interface, device = lab.link(hosts[agent], host)
        hosts[agent].address(f"{network.format(1)}/24", interface)
        host.address(f"{network.format(2)}/24", device)
        host.route("0.0.0.0/0", via=network.format(1))
        # Whole packets, as on a wire, and the way TCP shares a link fairly everywhere.
        host.ip(f"link set {device} gso_max_segs 1")
        host.sysctl("net.ipv4.tcp_congestion_control", "reno")
        made.append(host)
    return Access(agent, made[0], made[1], interface)


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
        yield Ground("the loopback interface of this host", places, {}, why="no queue of this host itself is touched")
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
