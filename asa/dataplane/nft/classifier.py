"""Packets told apart by nftables: one element of a map sets the class and the DSCP of a match's packets.

While lines on the way in make packets pass through devices, lines on the way out have copies of their rules where such
packets can be seen (:mod:`~asa.dataplane.nft.ruleset`). What is true of a copy is found out from the rules it is of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from asa.dataplane import commands
from asa.dataplane.backend import MOST_STRAYS, Abilities, Spot
from asa.dataplane.commands import CommandFailed
from asa.dataplane.nft import ruleset
from asa.dataplane.nft.ruleset import BRIDGED, COPIES, ROUTED, Table
from asa.dataplane.nft.table import NftTable
from asa.dataplane.plan import Line
from asa.dataplane.tc import netlink
from asa.dataplane.tc.classifier import Rule

SLACK_S: Final = 2.0
"""By which a copy may end sooner or later than the rule: listings tell whole seconds."""

_TRIAL: Final = (
    "add table {0} asa-probe",
    "add map {0} asa-probe m {{ typeof ip saddr : meta priority; flags timeout; }}",
    "add chain {0} asa-probe c {{ type filter hook postrouting priority 300; policy accept; }}",
    'add rule {0} asa-probe c oifname "lo" meta protocol ip meta priority set ip saddr map @m ip dscp set 46 accept',
)


class Nftables:
    """A :class:`~asa.dataplane.tc.classifier.Classifier`."""

    name = "nft"
    redirects = True
    filters = False

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """``now``: UNIX s."""
        self._rules = NftTable(now)
        self._copies = {each: NftTable(now, each) for each in COPIES}
        self._homes: dict[str, Table] = {}
        """By line with a copy: where that is."""

    def probe(self, lines: Sequence[Line]) -> Abilities:
        abilities = self._rules.probe(lines)
        for table in COPIES:
            try:
                NftTable.run([each.format(table.family) for each in _TRIAL], "-c")
            except CommandFailed:
                lost = "packets shaped on the way in lose their class on the way out"
                note = f"no nftables of family {table.family}: {lost}"
                abilities = replace(abilities, notes=(*abilities.notes, note))
        return abilities

    # -- reading

    def read(self, lines: Sequence[Line]) -> tuple[Mapping[Spot, Rule], Mapping[str, str], Sequence[str]]:
        rules, wrong, strays = self._rules.read(lines)
        wrong, strays = dict(wrong), list(strays)
        there = _tables()
        for table, copy, mine in self._with_copies(lines):
            if not mine and str(table) not in there:
                copy.forget()
                continue
            _, its_wrong, its_strays = copy.read(mine)
            strays += its_strays if mine else [f"a table {table}, which nothing needs"]
            for line in mine:
                gone, come = self._behind(table, copy, [line])
                words = "the copy of its rules is not like them" if gone or come else ""
                wrong[line.name] = wrong[line.name] or its_wrong[line.name] or words
        return rules, wrong, strays[:MOST_STRAYS]

    def _with_copies(self, lines: Collection[Line]) -> list[tuple[Table, NftTable, list[Line]]]:
        """Which copies there shall be, and of which lines."""
        inward = any(each.way == "in" for each in lines)
        homes = {each.name: _home(each) for each in lines if inward and each.way == "out"}
        return [
            (table, copy, [each for each in lines if homes.get(each.name) == table])
            for table, copy in self._copies.items()
        ]

    def _behind(self, table: Table, copy: NftTable, lines: Collection[Line]) -> tuple[list[Spot], dict[Spot, Rule]]:
        """What has to go and to come for a copy to be like the rules of some lines."""
        names = {each.name for each in lines}
        wanted = {
            spot: rule
            for spot, rule in self._rules.rules.items()
            if spot[0] in names and ruleset.copied(spot[2], table)
        }
        there = {spot: rule for spot, rule in copy.rules.items() if spot[0] in names}
        gone = [spot for spot in there if spot not in wanted]
        return gone, {spot: rule for spot, rule in wanted.items() if not _like(there.get(spot), rule)}

    def look(self, spots: Collection[Spot]) -> Mapping[Spot, Rule]:
        found = dict(self._rules.look(spots))
        for table, copy in self._copies.items():
            if mine := [each for each in found if self._is_copied(each, table)]:
                there = copy.look(mine)
                # Without its copy a rule is not in force for all packets it is meant for.
                for spot in mine:
                    if not _like(there.get(spot), found[spot]):
                        del found[spot]
        return found

    def amiss(self, lines: Collection[Line]) -> Mapping[str, str]:
        wrong = dict(self._rules.amiss(lines))
        for table, copy in self._copies.items():
            if mine := [each for each in lines if self._homes.get(each.name) == table]:
                wrong |= {name: wrong[name] or why for name, why in copy.amiss(mine).items()}
        return wrong

    # -- changing

    def prepare(self, lines: Sequence[Line]) -> Mapping[str, str]:
        failed = dict(self._rules.prepare(lines))
        there = _tables()
        self._homes = {}
        for table, copy, mine in self._with_copies(lines):
            if not mine:
                if str(table) in there:
                    copy.clear()
                continue
            self._homes |= {each.name: table for each in mine}
            failed = dict(copy.prepare(mine)) | failed
            usable = [each for each in mine if each.name not in failed]
            for spot, why in copy.change(*self._behind(table, copy, usable)).items():
                failed[spot[0]] = f"the rules of {spot[0]} cannot be copied: {why}"
        return failed

    def change(self, gone: Collection[Spot], come: Mapping[Spot, Rule]) -> Mapping[Spot, str]:
        failed = dict(self._rules.change(gone, come))
        for table, copy in self._copies.items():
            its_gone = [spot for spot in gone if self._is_copied(spot, table)]
            its_come = {
                spot: rule for spot, rule in come.items() if self._is_copied(spot, table) and spot not in failed
            }
            if its_gone or its_come:
                failed |= copy.change(its_gone, its_come)
        return failed

    def _is_copied(self, spot: Spot, table: Table) -> bool:
        return self._homes.get(spot[0]) == table and ruleset.copied(spot[2], table)

    def clear(self) -> None:
        self._homes = {}
        there = _tables()
        for table, copy in self._copies.items():
            if str(table) in there:
                copy.clear()
            copy.forget()
        self._rules.clear()

    def close(self) -> None:
        """It holds nothing."""


def _home(line: Line) -> Table:
    """The table that sees what goes out by the line after it came in through a queue."""
    link = netlink.link(line.interface)
    return BRIDGED if link is not None and link.master_kind == "bridge" else ROUTED


def _tables() -> set[str]:
    """All there are, each as ``inet asa``."""
    return {each.removeprefix("table ").strip() for each in commands.run("nft", ["list", "tables"]).splitlines()}


def _like(there: Rule | None, wanted: Rule) -> bool:
    if there is None or (there.number, there.dscp) != (wanted.number, wanted.dscp):
        return False
    if there.expires is None or wanted.expires is None:
        return there.expires == wanted.expires
    return abs(there.expires - wanted.expires) <= SLACK_S
