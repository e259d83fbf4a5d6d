"""The ports of a switch as its database tells of them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from asa.dataplane.openvswitch.rows import Row, as_map, as_set, as_uuids

COLUMNS: Final = (
    ("Bridge", ("name", "datapath_type", "protocols", "ports")),
    ("Port", ("name", "interfaces", "qos")),
    ("Interface", ("name", "type", "ofport", "external_ids")),
)
"""What :func:`ports_of` is made of."""

WITH_QUEUES: Final = frozenset({"", "system", "internal", "tap"})
"""The types of interfaces that are ones of the kernel."""

PROTOCOLS: Final = ("OpenFlow14", "OpenFlow15", "OpenFlow13")
"""Those with bundles and meters, the preferred one first."""


@dataclass(frozen=True, slots=True)
class Port:
    name: str
    row: str
    """UUID."""
    bridge: str
    number: int
    """OpenFlow's; 0 if it has none."""
    kind: str
    single: bool
    """Of one interface, which has its name: no bond."""
    qos: str
    """UUID; empty if it has none."""
    userspace: bool
    """Of a bridge whose packets do not go through the kernel's datapath."""
    protocol: str
    """The one to speak with its bridge, of PROTOCOLS; empty if it allows none of them."""
    macs: tuple[str, ...] = ()
    """What is said to be behind it (``external_ids:attached-mac``)."""

    @property
    def problem(self) -> str:
        """Why nothing can be enforced here; empty if it can."""
        if not self.single:
            return f"{self.name} is a bond"
        if self.kind not in WITH_QUEUES:
            return f"{self.name} is of type {self.kind}, which has no queues"
        if not self.number:
            return f"{self.name} has no number: ovs-vswitchd could not open it"
        if not self.protocol:
            return f"{self.bridge} allows none of {', '.join(PROTOCOLS)}"
        return ""


@dataclass(frozen=True, slots=True)
class Topology:
    ports: Mapping[str, Port] = field(default_factory=dict)
    """By name."""

    def of(self, bridge: str) -> list[Port]:
        return [each for each in self.ports.values() if each.bridge == bridge]


def topology_of(bridges: Sequence[Row], ports: Sequence[Row], interfaces: Sequence[Row]) -> Topology:
    """From the rows of COLUMNS."""
    by_row = {each["_uuid"][1]: each for each in ports}
    interface_rows = {each["_uuid"][1]: each for each in interfaces}
    found: dict[str, Port] = {}
    for bridge in bridges:
        allowed = set(as_set(bridge["protocols"]))
        protocol = next((each for each in PROTOCOLS if not allowed or each in allowed), "")
        for row in as_uuids(bridge["ports"]):
            if row in by_row:
                members = [
                    interface_rows[each] for each in as_uuids(by_row[row]["interfaces"]) if each in interface_rows
                ]
                found[by_row[row]["name"]] = _port(bridge, by_row[row], members, protocol)
    return Topology(found)


def _port(bridge: Row, port: Row, members: Sequence[Row], protocol: str) -> Port:
    first: Row = members[0] if members else {"name": "", "type": "", "ofport": ["set", []], "external_ids": None}
    numbers = [each for each in as_set(first["ofport"]) if isinstance(each, int) and each > 0]
    macs: list[Any] = [as_map(each["external_ids"]).get("attached-mac") for each in members]
    return Port(
        name=port["name"],
        row=port["_uuid"][1],
        bridge=bridge["name"],
        number=numbers[0] if numbers else 0,
        kind=first["type"],
        single=len(members) == 1 and first["name"] == port["name"],
        qos=next(iter(as_uuids(port["qos"])), ""),
        userspace=bridge["datapath_type"] == "netdev",
        protocol=protocol,
        macs=tuple(each.lower() for each in macs if each),
    )
