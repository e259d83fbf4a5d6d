"""Talking to a bridge: flows by ovs-ofctl, in bundles; meters by the protocol itself, for there are no bundles of them.

Meters that are ours have a number of :data:`~asa.dataplane.openvswitch.pipeline.METERS` and above.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asa.dataplane import commands
from asa.dataplane.backend import Counters, EnforcementFailed
from asa.dataplane.commands import CommandFailed
from asa.dataplane.openvswitch.flows import OURS, Seen, seen_in
from asa.dataplane.openvswitch.pipeline import METERS

TIME_LIMIT_S: Final = 20.0

MOST_METERS: Final = 0xFFFF

_VERSIONS: Final[Mapping[str, int]] = {"OpenFlow13": 4, "OpenFlow14": 5, "OpenFlow15": 6}
_HELLO, _ERROR, _ECHO, _ECHOED, _BARRIER, _PASSED, _METER = 0, 1, 2, 3, 20, 21, 29
_HEADER: Final = struct.Struct("!BBHI")
_MOD: Final = struct.Struct("!HHI")
_BAND: Final = struct.Struct("!HHIIxxxx")
_KBPS_BURST_STATS: Final = 1 | 4 | 8
_DROP: Final = 1

_CONFIG: Final = re.compile(r"meter=(\d+) kbps burst stats bands=\s+type=drop rate=(\d+) burst_size=(\d+)")
_STATISTICS: Final = re.compile(
    r"meter:(\d+) flow_count:\d+ packet_in_count:(\d+) byte_in_count:(\d+) duration:[\d.]+s bands:\s+"
    r"0: packet_count:(\d+) byte_count:(\d+)"
)


@dataclass(frozen=True, slots=True)
class Bridge:
    """``address``: its management socket, beside the database's. Everything raises EnforcementFailed."""

    name: str
    address: Path
    protocol: str

    def dump(self, only: str = "") -> list[Seen | str]:
        """Our flows; ``only``: those with some fields at least, and of a table."""
        return list(seen_in(self._ofctl("--no-names", "dump-flows", more=[OURS + (only and f",{only}")])))

    def bundle(self, changes: Sequence[str]) -> None:
        """All of them, or none."""
        if changes:
            self._ofctl("--bundle", "add-flows", more=["-"], stdin="\n".join([*changes, ""]))

    def clear(self) -> None:
        self._ofctl("del-flows", more=[OURS])
        self.meter(dict.fromkeys(self.meters()))

    def meters(self) -> dict[int, tuple[int, int]]:
        """Rate (kbit/s) and burst (kbit) of our meters, by number."""
        found = _CONFIG.findall(self._ofctl("dump-meters"))
        return {
            int(number) - METERS: (int(rate), int(burst))
            for number, rate, burst in found
            if 0 < int(number) - METERS <= MOST_METERS
        }

    def metered(self) -> dict[int, Counters]:
        """What went through our meters."""
        found: dict[int, Counters] = {}
        for each in _STATISTICS.findall(self._ofctl("meter-stats")):
            number, packets, octets, dropped, lost = map(int, each)
            if 0 < number - METERS <= MOST_METERS:
                passed = max(octets - lost, 0), max(packets - dropped, 0)
                found[number - METERS] = Counters(*passed, dropped=dropped, borrowed=0, backlog=0, overlimits=dropped)
        return found

    def meter(self, changes: Mapping[int, tuple[int, int] | None], known: Mapping[int, object] | None = None) -> None:
        """Make, change (those in ``known``) or, for None, remove meters; the first failure raises."""
        if not changes:
            return
        version = _VERSIONS[self.protocol]
        there = known or {}
        octets = bytearray(_HEADER.pack(version, _HELLO, 16, 0) + struct.pack("!HHI", 1, 8, 1 << version))
        for serial, (number, rates) in enumerate(changes.items(), 1):
            command = 2 if rates is None else 1 if number in there else 0
            bands = b"" if rates is None else _BAND.pack(_DROP, _BAND.size, *rates)
            body = _MOD.pack(command, _KBPS_BURST_STATS, METERS + number) + bands
            octets += _HEADER.pack(version, _METER, _HEADER.size + len(body), serial) + body
        last = len(changes) + 1
        octets += _HEADER.pack(version, _BARRIER, _HEADER.size, last)
        try:
            self._told(version, bytes(octets), last)
        except OSError as error:
            why = "it did not answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise EnforcementFailed(f"the meters of {self.name} cannot be set: {why}") from None

    def _told(self, version: int, octets: bytes, last: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(TIME_LIMIT_S)
            connection.connect(str(self.address))
            connection.sendall(octets)
            while True:
                head = self._exactly(connection, _HEADER.size)
                its, kind, length, serial = _HEADER.unpack(head)
                body = self._exactly(connection, max(length - _HEADER.size, 0))
                if kind == _ERROR:
                    raise EnforcementFailed(f"{self.name} refuses a meter: {body[:4].hex()}")
                if kind == _ECHO:
                    connection.sendall(_HEADER.pack(version, _ECHOED, length, serial) + body)
                if kind == _PASSED and serial == last and its == version:
                    return

    @staticmethod
    def _exactly(connection: socket.socket, length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            if not (chunk := connection.recv(length - len(found))):
                raise ConnectionResetError("it hung up")
            found += chunk
        return bytes(found)

    def _ofctl(self, *arguments: str, more: Sequence[str] = (), stdin: str = "") -> str:
        try:
            return commands.run(
                "ovs-ofctl", ["-O", self.protocol, *arguments, f"unix:{self.address}", *more], stdin, TIME_LIMIT_S
            )
        except CommandFailed as error:
            if "Connection refused" in error.said or "No such file" in error.said:
                raise EnforcementFailed(
                    f"the bridge {self.name} does not answer", hint="see whether ovs-vswitchd runs"
                ) from None
            raise
