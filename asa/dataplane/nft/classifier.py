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
from asa.dataplane.nft.ruleset import COPIES, TABLE
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

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """``now``: UNIX s."""
        self._rules = NftTable(now)
        self._copies = {family: NftTable(now, family) for family in COPIES}
        self._homes: dict[str, str] = {}
        """By line with a copy: the family of its table."""

    def probe(self, lines: Sequence[Line]) -> Abilities:
        abilities = self._rules.probe(lines)
        for family in COPIES:
            try:
                NftTable.run([each.format(family) for each in _TRIAL], "-c")
            except CommandFailed:
                note = f"no nftables of family {family}: packets shaped on the way in lose their class on the way out"
                abilities = replace(abilities, notes=(*abilities.notes, note))
        return abilities

    # -- reading

    def read(self, lines: Sequence[Line]) -> tuple[Mapping[Spot, Rule], Mapping[str, str], Sequence[str]]:
        rules, wrong, strays = self._rules.read(lines)
        wrong, strays = dict(wrong), list(strays)
        there = _tables()
        for family, copy, mine in self._with_copies(lines):
            if not mine and family not in there:
                copy.forget()
                continue
            _, its_wrong, its_strays = copy.read(mine)
            strays += its_strays if mine else [f"a table {family} {TABLE}, which nothing needs"]
            for line in mine:
                gone, come = self._behind(family, copy, [line])
                words = "the copy of its rules is not like them" if gone or come else ""
                wrong[line.name] = wrong[line.name] or its_wrong[line.name] or words
        return rules, wrong, strays[:MOST_STRAYS]

    def _with_copies(self, lines: Collection[Line]) -> list[tuple[str, NftTable, list[Line]]]:
        """Which copies there shall be: by family, of these lines."""
        inward = any(each.way == "in" for each in lines)
        homes = {each.name: _home(each) for each in lines if inward and each.way == "out"}
        return [
            (family, copy, [each for each in lines if homes.get(each.name) == family])
            for family, copy in self._copies.items()
        ]

    def _behind(self, family: str, copy: NftTable, lines: Collection[Line]) -> tuple[list[Spot], dict[Spot, Rule]]:
        """What has to go and to come for a copy to be like the rules of some lines."""
        names = {each.name for each in lines}
        wanted = {
            spot: rule
            for spot, rule in self._rules.rules.items()
            if spot[0] in names and ruleset.copied(spot[2], family)
        }
        there = {spot: rule for spot, rule in copy.rules.items() if spot[0] in names}
        gone = [spot for spot in there if spot not in wanted]
        return gone, {spot: rule for spot, rule in wanted.items() if not _like(there.get(spot), rule)}

    def look(self, spots: Collection[Spot]) -> Mapping[Spot, Rule]:
        return self._rules.look(spots)

    # -- changing

    def prepare(self, lines: Sequence[Line]) -> Mapping[str, str]:
        failed = dict(self._rules.prepare(lines))
        there = _tables()
        self._homes = {}
        for family, copy, mine in self._with_copies(lines):
            if not mine:
                if family in there:
                    copy.clear()
                continue
            self._homes |= {each.name: family for each in mine}
            failed = dict(copy.prepare(mine)) | failed
            usable = [each for each in mine if each.name not in failed]
            for spot, why in copy.change(*self._behind(family, copy, usable)).items():
                failed[spot[0]] = f"the rules of {spot[0]} cannot be copied: {why}"
        return failed

    def change(self, gone: Collection[Spot], come: Mapping[Spot, Rule]) -> Mapping[Spot, str]:
        failed = dict(self._rules.change(gone, come))
        for family, copy in self._copies.items():
            its_gone = [spot for spot in gone if self._is_copied(spot, family)]
            its_come = {
                spot: rule for spot, rule in come.items() if self._is_copied(spot, family) and spot not in failed
            }
            if its_gone or its_come:
                failed |= copy.change(its_gone, its_come)
        return failed

    def _is_copied(self, spot: Spot, family: str) -> bool:
        return self._homes.get(spot[0]) == family and ruleset.copied(spot[2], family)

    def clear(self) -> None:
        self._homes = {}
        there = _tables()
        for family, copy in self._copies.items():
            if family in there:
                copy.clear()
            copy.forget()
        self._rules.clear()

    def close(self) -> None:
        """It holds nothing."""


def _home(line: Line) -> str:
    """The family that sees what goes out by the line after it came in through a queue."""
    link = netlink.link(line.interface)
    return "bridge" if link is not None and link.master_kind == "bridge" else "inet"


def _tables() -> set[str]:
    """The families of the tables of ours."""
    words = (each.split() for each in commands.run("nft", ["list", "tables"]).splitlines())
    return {each[1] for each in words if len(each) == 3 and each[2] == TABLE}


def _like(there: Rule | None, wanted: Rule) -> bool:
    if there is None or (there.number, there.dscp) != (wanted.number, wanted.dscp):
        return False
    if there.expires is None or wanted.expires is None:
        return there.expires == wanted.expires
    return abs(there.expires - wanted.expires) <= SLACK_S
