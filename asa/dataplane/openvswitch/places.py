"""Where hosts are that packets are steered through or copied to: MAC addresses, and the ports they are behind."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from asa.dataplane import commands
from asa.dataplane.backend import EnforcementFailed
from asa.dataplane.openvswitch.topology import Topology
from asa.errors import BadRequest
from asa.flows import Mac

_LEARNT: Final = re.compile(r"^ *([0-9]+|LOCAL) +[0-9]+ +([0-9a-f:]{17}) +[0-9]+ *$", re.MULTILINE)
_PID: Final = re.compile(r"[1-9][0-9]{0,9}")
_USELESS: Final = frozenset({"FAILED", "INCOMPLETE", "NONE"})
LONGEST: Final = 4 * 2**20
"""Characters of a table of addresses that are looked at."""


class Places:
    """What is known now; each is asked once. Raises EnforcementFailed."""

    def __init__(self, directory: Path, topology: Topology) -> None:
        self._directory = directory
        self._topology = topology
        self._ports: dict[str, dict[str, int]] = {}
        self._macs: dict[str, Mac | None] = {}

    def mac(self, text: str) -> Mac | None:
        """Of a MAC address itself; of an IP address the kernel's neighbour's. None: nobody knows."""
        if text not in self._macs:
            self._macs[text] = self._found(text)
        return self._macs[text]

    def port(self, bridge: str, mac: Mac) -> int | None:
        """The OpenFlow port it is behind: as an Interface says (``external_ids:attached-mac``), or as the bridge has
        learnt from its frames."""
        if bridge not in self._ports:
            learnt = {
                found[2]: int(found[1]) for found in _LEARNT.finditer(self._learnt(bridge)) if found[1] != "LOCAL"
            }
            said = {mac: port.number for port in self._topology.of(bridge) for mac in port.macs if port.number}
            self._ports[bridge] = learnt | said
        return self._ports[bridge].get(str(mac))

    def _learnt(self, bridge: str) -> str:
        try:
            pid = (self._directory / "ovs-vswitchd.pid").read_text("ascii", "replace").strip()
        except OSError:
            return ""
        if not _PID.fullmatch(pid):
            return ""
        control = self._directory / f"ovs-vswitchd.{pid}.ctl"
        return commands.run("ovs-appctl", ["-t", str(control), "fdb/show", bridge])[:LONGEST]

    @staticmethod
    def _found(text: str) -> Mac | None:
        try:
            return Mac(text.lower())
        except BadRequest:
            pass
        try:
            address = ip_address(text)
        except ValueError:
            raise EnforcementFailed(f"{text!r:.40} is neither an address nor a MAC address") from None
        listed = json.loads(commands.run("ip", ["-j", "neigh", "show", "to", str(address)]) or "[]")
        for each in listed:
            if "lladdr" in each and not _USELESS & set(each.get("state", [])):
                return Mac(each["lladdr"])
        return None
