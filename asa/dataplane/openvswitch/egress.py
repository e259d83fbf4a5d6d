"""What leads packets to their queues where the bridge's datapath is in user space, and ``set_queue`` does nothing.

That datapath writes frames to the port's interface as any program does, so the kernel's egress hook sees them: a table
``netdev asa_ovs`` like the one of :mod:`asa.dataplane.nft.table` sets the class of ovs-vswitchd's own HTB. Markings are
OpenFlow's affair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from asa.dataplane import commands
from asa.dataplane.backend import Spot
from asa.dataplane.commands import CommandFailed
from asa.dataplane.nft import listing, ruleset
from asa.dataplane.nft.ruleset import FAMILY
from asa.dataplane.nft.ruleset import TABLE as THEIRS
from asa.dataplane.nft.table import NftTable
from asa.dataplane.nft.transaction import Known
from asa.dataplane.openvswitch import kernel
from asa.dataplane.plan import Line
from asa.dataplane.tc.classifier import DEFAULT, MAJOR, Rule

TABLE: Final = "asa_ovs"

_NAMED: Final = re.compile(rf"\b{FAMILY} {THEIRS}(?![\w-])")
_CLASS: Final = re.compile(rf"(?:(?<=: )|(?<=meta priority set )){MAJOR:x}:([0-9a-f]+)(?= )")
_LISTED_TABLE: Final = re.compile(rf'(?<="table": "){TABLE}(?=")')
_LISTED_CLASS: Final = re.compile(rf'"{kernel.MAJOR:x}:([0-9a-f]+)"')
_TOLD_CLASS: Final = re.compile(rf"(?<= : ){kernel.MAJOR:x}:([0-9a-f]+)(?=\s*[}},])")


def there(text: str) -> str:
    """What :mod:`asa.dataplane.nft.ruleset` writes, for our table and ovs-vswitchd's classes."""

    def number(found: re.Match[str]) -> str:
        return f"{kernel.MAJOR:x}:{kernel.DEFAULT if int(found[1], 16) == DEFAULT else int(found[1], 16):x}"

    return _CLASS.sub(number, _NAMED.sub(f"{FAMILY} {TABLE}", text))


def back(listing: str) -> str:
    """The reverse, of a listing in JSON."""
    return _LISTED_CLASS.sub(lambda found: f'"{_class_back(found)}"', _LISTED_TABLE.sub(THEIRS, listing))


def _class_back(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return f"{MAJOR:x}:{DEFAULT if number == kernel.DEFAULT else number:x}"


class Egress(NftTable):
    """Numbers of its rules are those of classes (:func:`~asa.dataplane.openvswitch.kernel.class_of`)."""

    name = "ovs-egress"

    def prepare(self, lines: Sequence[Line]) -> Mapping[str, str]:
        if not (failed := super().prepare(lines)):
            return failed
        # With an interface that went away the kernel has removed its chain, too.
        self._known = None
        self._indices.clear()
        return super().prepare(lines)

    def _survey(self) -> Known:
        try:
            text = commands.run("nft", ["-j", "-n", "list", "table", FAMILY, TABLE])
        except CommandFailed as error:
            if "No such file or directory" in error.said:
                return Known()
            raise
        return self._table_of(back(text), self._known or Known())

    def _got(self, wanted: dict[str, dict[str, Spot]]) -> dict[Spot, Rule]:
        found: dict[Spot, Rule] = {}
        for name, keys in wanted.items():
            text = commands.run("nft", ["-n", there(ruleset.element_got(name, keys))])
            map, now = ruleset.map_from(name), self._now()
            for element in listing.elements_in(_TOLD_CLASS.sub(_class_back, text)):
                if (spot := listing.spot_of(map, element)) is not None:
                    expires = None if element.left is None else now + element.left
                    found[spot] = Rule(element.number, None, expires)
        return {spot: found[spot] for keys in wanted.values() for spot in keys.values() if spot in found}

    @staticmethod
    def run(script: Sequence[str], *options: str) -> None:
        commands.run("nft", [*options, "-f", "-"], "\n".join([*map(there, script), ""]))
