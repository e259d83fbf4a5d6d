"""All that is in the switch of ours, read from the database, the bridges and the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asa.dataplane.backend import Spot
from asa.dataplane.openvswitch import kernel, pipeline, queues, topology
from asa.dataplane.openvswitch.flows import Flow, Seen
from asa.dataplane.openvswitch.openflow import Bridge
from asa.dataplane.openvswitch.ovsdb import Ovsdb
from asa.dataplane.openvswitch.pipeline import Laid
from asa.dataplane.openvswitch.queues import Qualities, Quality
from asa.dataplane.openvswitch.topology import Port, Topology
from asa.dataplane.plan import Action, Line, Share
from asa.dataplane.tc.htb import Rates


@dataclass(slots=True)
class Known:
    """Kept in step with what is changed. Rates are those of the classes in the kernel, by line and number of the queue;
    ``shaped``: lines whose root qdisc is ovs-vswitchd's."""

    topology: Topology
    qualities: Qualities
    bridges: dict[str, Bridge] = field(default_factory=dict)
    laid: dict[Spot, tuple[Laid, float | None]] = field(default_factory=dict)
    """And when it ends, UNIX s."""
    common: dict[str, set[Flow]] = field(default_factory=dict)
    """By bridge, as the two below."""
    odd: dict[str, list[Flow]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    meters: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    lines: dict[str, Quality] = field(default_factory=dict)
    """The QoS of ours that the port of a line has."""
    rates: dict[str, dict[int, Rates]] = field(default_factory=dict)
    shaped: set[str] = field(default_factory=set)
    leaves: dict[str, set[int]] = field(default_factory=dict)
    """By line on a userspace datapath, the queues that are bounded."""

    def port(self, line: str) -> Port | None:
        return self.topology.ports.get(line.rpartition(":")[0])

    def share(self, line: str, number: int) -> Share | None:
        """What the kernel gives a queue: as the database says, if it has acted on that."""
        quality, rates = self.lines.get(line), self.rates.get(line, {}).get(number)
        if quality is None or rates is None or line not in self.shaped:
            return None
        queue = quality.queues.get(number)
        if queue is not None and queue.share is not None and queues.in_kernel(queue.share, quality.rate) == rates:
            return queue.share
        try:
            return Share(rates.guarantee, max(rates.ceiling, rates.guarantee), min(rates.priority, 7))
        except ValueError:
            return None

    def look(self, line: str) -> None:
        """At what the kernel has of a line on a way out."""
        device = line.rpartition(":")[0]
        self.rates[line] = {number - 1: rates for number, rates in kernel.classes(device).items()}
        port = self.port(line)
        if port is not None and port.userspace:
            self.leaves[line] = {number - 1 for number in kernel.leaves(device)}
        (self.shaped.add if kernel.shaped(device) else self.shaped.discard)(line)

    def wrong(self, line: Line) -> str:
        """With the queue of a line as a whole; empty if nothing is."""
        quality = self.lines.get(line.name)
        if quality is None:
            return f"{line.interface} has no queues of ours"
        if line.name not in self.shaped:
            return f"the root qdisc of {line.interface} is not what the switch made"
        whole = self.rates.get(line.name, {}).get(kernel.WHOLE - 1)
        if quality.rate != line.rate or whole is None or whole.ceiling != line.rate:
            return f"{line.interface} is not held to {line.rate} bit/s"
        if self.share(line.name, 0) != queues.default(line):
            return f"the queue of unreserved packets on {line.interface} has another share than it shall have"
        if line.name in self.leaves and 0 not in self.leaves[line.name]:
            return f"the queue of unreserved packets on {line.interface} is not bounded"
        return ""


def look_up(database: Ovsdb) -> tuple[Topology, Qualities]:
    rows = database.select(*topology.COLUMNS, *queues.COLUMNS)
    return topology.topology_of(*rows[:3]), queues.qualities_of(*rows[3:])


def bridges_of(found: Topology, directory: Path) -> dict[str, Bridge]:
    """Those that can be spoken with, by name."""
    protocols = {port.bridge: port.protocol for port in found.ports.values()}
    return {name: Bridge(name, directory / f"{name}.mgmt", each) for name, each in protocols.items() if each}


def survey(database: Ovsdb, directory: Path, now: float) -> Known:
    """``directory``: of the bridges' sockets; ``now``: UNIX s. Raises EnforcementFailed."""
    known = Known(*look_up(database))
    known.bridges = bridges_of(known.topology, directory)
    for port in known.topology.ports.values():
        if port.qos in known.qualities.ours:
            line = f"{port.name}:out"
            known.lines[line] = known.qualities.ours[port.qos]
            known.look(line)
    for bridge in known.bridges.values():
        take(known, bridge, bridge.dump(), now)
        known.meters[bridge.name] = bridge.meters()
    return known


def take(known: Known, bridge: Bridge, dump: Sequence[Seen | str], now: float) -> None:
    found = pipeline.read(each for each in dump if isinstance(each, Seen))
    known.unread += [f"a flow of {bridge.name}: {each:.160}" for each in dump if isinstance(each, str)]
    known.common[bridge.name] = set(found.common)
    odd = known.odd[bridge.name] = list(found.odd)
    for spot, (laid, left) in found.laid.items():
        if here(known, bridge.name, laid):
            known.laid[spot] = laid, None if left is None else now + left
        else:
            odd += pipeline.flows_of(laid)


def here(known: Known, bridge: str, laid: Laid) -> bool:
    """Whether it is for the port its line has now."""
    port = known.port(laid.spot[0])
    inward = port.number if port is not None and laid.spot[0].endswith(":in") else 0
    return port is not None and port.bridge == bridge and laid.inward == inward


def led(known: Known, spot: Spot) -> bool:
    """Whether it takes more than a flow to lead its packets to a queue."""
    port = known.port(spot[0])
    return (
        port is not None and port.userspace and spot[0].endswith(":out")
        and spot[1] in (Action.GUARANTEE, Action.KEEP)
    )  # fmt: skip


def strays(known: Known) -> list[str]:
    """In words."""
    used = {port.qos for port in known.topology.ports.values()}
    told = [f"a flow of {name}: {each.deleted[:160]}" for name, flows in known.odd.items() for each in flows]
    told += known.unread
    told += [f"a QoS of {known.qualities.lines[each]}" for each in known.qualities.ours if each not in used]
    told += [f"a queue {each}" for each in known.qualities.loose]
    led: Mapping[str, set[int]] = {line: {0} for line in known.lines}
    metered: dict[str, set[int]] = {}
    for laid, _ in known.laid.values():
        line = laid.spot[0]
        if laid.inward and (port := known.port(line)) is not None:
            metered.setdefault(port.bridge, set()).add(laid.number)
        elif line in led:
            led[line].add(laid.number)
    told += [
        f"queue {number} of {line}" for line, quality in known.lines.items() for number in quality.queues
        if number not in led[line]
    ]  # fmt: skip
    told += [
        f"meter {number} of {bridge}" for bridge, meters in known.meters.items() for number in meters
        if number not in metered.get(bridge, set())
    ]  # fmt: skip
    return told
