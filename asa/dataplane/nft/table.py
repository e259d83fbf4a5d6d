"""One table of nftables: its chains, maps and elements, read and changed with ``nft``.

All that belongs together is changed in one transaction of the kernel's. Elements end by themselves.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from asa.dataplane import commands
from asa.dataplane.backend import MOST_STRAYS, Abilities, EnforcementFailed, Spot, Unfit
from asa.dataplane.commands import CommandFailed, needed
from asa.dataplane.nft import chains, listing, ruleset
from asa.dataplane.nft.listing import FOREIGN, Element
from asa.dataplane.nft.ruleset import TABLE, Map, Table
from asa.dataplane.nft.transaction import Known, Transaction, digests, refilled
from asa.dataplane.plan import Line
from asa.dataplane.tc.classifier import Rule, device_of

ATTEMPTS: Final = 6
"""At one change; each but the last leaves out what the kernel blamed."""

MOST_LOOKED_AT: Final = 8
"""Maps that are asked for elements, one run of nft each; with more the whole table is read."""

MOST_ASKED: Final = 64
"""Elements that are asked for."""

NOTES: Final = (
    "of a fragmented packet nftables sees ports in the first fragment only: the others get what is reserved for their"
    " addresses without ports, or nothing",
)

_GONE: Final = "No such file or directory"
_OTHERWISE: Final = "the chain of {} has other rules than it shall have"
_KIND: Final = re.compile("[a-z]{1,20}")
_NAME: Final = re.compile(r"[A-Za-z_.][A-Za-z0-9/_.-]{0,255}")
_PLAIN: Final = re.compile(r"[0-9a-f:. ]{1,200}")
"""Keys that may be written back as they were read."""


class NftTable:
    """A :class:`~asa.dataplane.tc.classifier.Classifier` of the lines its family sees."""

    name = "nft-table"
    redirects = True

    def __init__(self, now: Callable[[], float] = time.time, table: Table = TABLE) -> None:
        """``now``: UNIX s. ``table``: the one of nftables it is."""
        self._now = now
        self._table = table
        self._lines: dict[str, Line] = {}
        self._known: Known | None = None
        self._indices: dict[str, tuple[int, int]] = {}
        # By line: the interface its chain was first seen at, or made for, and the device. Its rules know no names.

    def probe(self, lines: Sequence[Line]) -> Abilities:
        trial = [
            "add table netdev asa-probe",
            "add map netdev asa-probe m { typeof ip saddr . ip daddr . meta l4proto . th dport : meta priority; "
            "flags timeout; }",
            'add chain netdev asa-probe c { type filter hook egress device "lo" priority 0; policy accept; }',
            "add rule netdev asa-probe c meta protocol ip meta priority set (ip saddr & 255.255.255.0) . ip daddr . "
            "meta l4proto . th dport map @m ip dscp set 46 accept",
            'add chain netdev asa-probe d { type filter hook ingress device "lo" priority 0; policy accept; }',
            'add rule netdev asa-probe d fwd to "lo"',
        ]
        try:
            # Checked by the kernel, too, but never put in force.
            self.run(trial, "-c")
        except CommandFailed as error:
            raise Unfit(
                f"nftables cannot tell packets apart here: {' '.join(error.said.split())[:200]}{needed(error.said)}",
                hint="it takes CAP_NET_ADMIN, nft 1.0.1 and Linux 5.16 with nf_tables, the netdev egress hook and fwd",
            ) from None
        return Abilities(notes=NOTES)

    # -- reading

    def read(self, lines: Sequence[Line]) -> tuple[Mapping[Spot, Rule], Mapping[str, str], Sequence[str]]:
        known = self._known = self._survey()
        wanted = {each.name: each for each in lines}
        wrong = {name: self._wrong(line, known) for name, line in wanted.items()}
        rules = {spot: rule for spot, rule in known.rules.items() if spot[0] in wanted}
        strays = [
            *known.strays,
            *(f"a chain of {name}, which is no line" for name in known.chains if name not in wanted),
            *(f"a map of {map.line}, which is no line" for map in known.maps.values() if map.line not in wanted),
        ]
        return rules, wrong, strays[:MOST_STRAYS]

    def _wrong(self, line: Line, known: Known) -> str:
        found = known.chains.get(line.name, [])
        if line.name not in known.chains:
            return f"there is no chain of {line.name}"
        if found is None or self._moved(line.name):
            hook, interface = ruleset.hook_of(line.name, self._table)
            return f"the chain of {line.name} is not at the {hook} of {interface or 'packets'}"
        as_it_shall_be = found == digests(line, known.maps_of(line.name), self._table)
        return "" if as_it_shall_be else _OTHERWISE.format(line.name)

    def amiss(self, lines: Collection[Line]) -> Mapping[str, str]:
        known = self._known or self._survey()
        return {
            each.name: self._wrong(each, known)
            or ("" if self._rules_in(each.name) == known.chains[each.name] else _OTHERWISE.format(each.name))
            for each in lines
        }

    def _rules_in(self, line: str) -> list[str]:
        """The digests of what its chain has now."""
        return chains.comments(self._table, ruleset.chain_of(line))

    def _moved(self, line: str) -> bool:
        index = self._index(line)
        return self._indices.setdefault(line, index) != index

    def _index(self, line: str) -> tuple[int, int]:
        interface = ruleset.hook_of(line, self._table)[1]
        return (_index_of(interface), _index_of(device_of(line))) if interface else (0, 0)

    def look(self, spots: Collection[Spot]) -> Mapping[Spot, Rule]:
        wanted: dict[str, dict[str, Spot]] = {}
        for spot in spots:
            rule = None if self._known is None else self._known.rules.get(spot)
            if rule is None or len(wanted) > MOST_LOOKED_AT or len(spots) > MOST_ASKED:
                break
            name = ruleset.name_of(ruleset.map_of(spot, rule.dscp))
            wanted.setdefault(name, {})[ruleset.key_of(spot[2])] = spot
        else:
            if not spots:
                return {}
            try:
                return self._got(wanted)
            except CommandFailed:
                # One that is not there fails for all.
                pass
        rules = self._survey().rules
        return {spot: rules[spot] for spot in spots if spot in rules}

    def _got(self, wanted: dict[str, dict[str, Spot]]) -> dict[Spot, Rule]:
        found: dict[Spot, Rule] = {}
        for name, keys in wanted.items():
            # nft 1.0.6 never answers this in JSON.
            text = commands.run("nft", ["-n", ruleset.element_got(name, keys, self._table)])
            map, now = ruleset.map_from(name), self._now()
            for element in listing.elements_in(text, self._table):
                if (spot := listing.spot_of(map, element)) is not None:
                    found[spot] = _rule(map, element, now)
        return {spot: found[spot] for keys in wanted.values() for spot in keys.values() if spot in found}

    def _survey(self) -> Known:
        """Raises EnforcementFailed."""
        try:
            text = commands.run("nft", ["-j", "-n", "list", "table", self._table.family, self._table.name])
        except CommandFailed as error:
            if _GONE in error.said:
                return Known()
            raise
        return self._table_of(text, self._known or Known())

    def _table_of(self, text: str, before: Known) -> Known:
        known, now = Known(), self._now()
        try:
            told = json.loads(text)
        except ValueError:
            raise EnforcementFailed(f"nft lists what is no JSON: {text[:80]!r}") from None
        for kind, content in listing.objects(told, self._table):
            name = content.get("name")
            if kind == "map" and isinstance(name, str):
                self._take_map(known, before, name, content, now)
            elif kind == "chain" and isinstance(name, str):
                _take_chain(known, name, content, self._table)
            elif kind == "rule":
                _take_rule(known, str(content.get("chain")), content)
            elif isinstance(name, str):
                _stray(known, kind, name, self._table)
        return known

    def _take_map(self, known: Known, before: Known, name: str, content: Mapping[str, Any], now: float) -> None:
        try:
            map = ruleset.map_from(name)
        except ValueError:
            return _stray(known, "map", name, self._table)
        known.maps[name] = map
        found, strays = listing.elements(content, self._table)
        for element in found:
            spot = before.spots.get((name, element.key))
            if spot is None and _PLAIN.fullmatch(element.key):
                spot = listing.spot_of(map, element)
            if spot is None or spot in known.rules or element.number == FOREIGN:
                strays.append(f"an element {element.key:.80}")
                if _PLAIN.fullmatch(element.key):
                    known.junk.append(ruleset.element_gone(name, element.key, self._table))
                continue
            known.learn(spot, _rule(map, element, now), (name, element.key))
        known.strays += (f"{each} of the map {name}" for each in strays)
        return None

    # -- lines

    def prepare(self, lines: Sequence[Line]) -> Mapping[str, str]:
        self._lines = {each.name: each for each in lines}
        if self._known is not None and not self._prepared(self._known):
            return {}
        # With an interface that went away its chain did, too: what was known does not hold any more.
        self._known = known = self._survey()
        return self._prepared(known)

    def _prepared(self, known: Known) -> Mapping[str, str]:
        scripts = {name: self._repair(line, known) for name, line in self._lines.items() if self._wrong(line, known)}
        failed: dict[str, str] = {}
        if scripts:
            try:
                self.run([ruleset.table_come(self._table), *(text for script in scripts.values() for text in script)])
            except CommandFailed:
                failed = self._one_by_one(scripts)
        for name in scripts.keys() - failed.keys():
            known.chains[name] = digests(self._lines[name], known.maps_of(name), self._table)
            self._indices[name] = self._index(name)
        self._sweep(known)
        return failed

    def _repair(self, line: Line, known: Known) -> list[str]:
        chain = ruleset.chain_of(line.name)
        astray = line.name in known.chains and (known.chains[line.name] is None or self._moved(line.name))
        away = [ruleset.chain_flushed(chain, self._table), ruleset.gone("chain", chain, self._table)] if astray else []
        return [
            *away,
            ruleset.chain_come(line.name, self._table),
            *refilled(line, known.maps_of(line.name), self._table),
        ]

    def _one_by_one(self, scripts: Mapping[str, list[str]]) -> dict[str, str]:
        failed: dict[str, str] = {}
        for name, script in scripts.items():
            try:
                self.run([ruleset.table_come(self._table), *script])
            except CommandFailed as error:
                failed[name] = f"nftables refuses the chain of {name}: {_why(error)}"
        return failed

    def _sweep(self, known: Known) -> None:
        chains = [ruleset.chain_of(name) for name in known.chains if name not in self._lines]
        maps = [name for name, map in known.maps.items() if map.line not in self._lines]
        script = [
            *(ruleset.chain_flushed(each, self._table) for each in chains),
            *(ruleset.gone("chain", each, self._table) for each in chains),
            *known.junk,
            *(ruleset.gone("map", each, self._table) for each in maps),
        ]
        if not script:
            return
        try:
            self.run(script)
        except CommandFailed:
            # What cannot go is found again by the next reading.
            for text in script:
                try:
                    self.run([text])
                except CommandFailed:
                    continue
        self._known = self._survey()

    # -- rules

    def change(self, gone: Collection[Spot], come: Mapping[Spot, Rule]) -> Mapping[Spot, str]:
        known = self._known = self._known or self._survey()
        failed = {spot: f"there is no chain of {spot[0]}" for spot in come if spot[0] not in self._lines}
        why = "it was tried too often"
        for attempt in range(ATTEMPTS):
            transaction = Transaction(known, self._lines, self._now(), self._table)
            for spot in gone:
                if spot not in failed:
                    transaction.take(spot)
            for spot, rule in come.items():
                if spot not in failed:
                    transaction.put(spot, rule)
            transaction.finish()
            failed |= transaction.refused
            if not transaction.script:
                return failed
            try:
                self.run(transaction.script)
            except CommandFailed as error:
                why = _why(error)
                if attempt == 0:
                    # Somebody may have changed what was known.
                    known = self._known = self._survey()
                    self.prepare(tuple(self._lines.values()))
                    known = self._known
                elif not self._learn(transaction, error, failed):
                    break
                continue
            transaction.commit()
            return failed
        return dict.fromkeys((*gone, *come), why) | failed

    @staticmethod
    def _learn(transaction: Transaction, error: CommandFailed, failed: dict[Spot, str]) -> bool:
        """Leave out what the kernel blamed; False if that is none of the elements."""
        learnt = False
        for position, why in listing.failures(error.said, len(transaction.script)).items():
            spot = transaction.owners[position]
            if spot is None:
                continue
            learnt = True
            coming = transaction.script[position].startswith("add")
            if _GONE in why and not coming:
                transaction.known.forget(spot)
            else:
                failed[spot] = why
        return learnt

    @property
    def rules(self) -> Mapping[Spot, Rule]:
        """Of all lines, as far as is known."""
        return {} if self._known is None else self._known.rules

    def forget(self) -> None:
        """What was known."""
        self._known, self._lines = None, {}
        self._indices.clear()

    def clear(self) -> None:
        try:
            self.run([ruleset.table_come(self._table), f"delete table {self._table}"])
        finally:
            self.forget()

    def close(self) -> None:
        """It holds nothing."""

    @staticmethod
    def run(script: Sequence[str], *options: str) -> None:
        commands.run("nft", [*options, "-f", "-"], "\n".join([*script, ""]))


def _rule(map: Map, element: Element, now: float) -> Rule:
    return Rule(element.number, map.dscp, None if element.left is None else now + element.left)


def _take_chain(known: Known, name: str, content: Mapping[str, Any], table: Table) -> None:
    try:
        line = ruleset.line_of(name)
    except ValueError:
        return _stray(known, "chain", name, table)
    # Not every nft lists the device.
    hook, interface = ruleset.hook_of(line, table)
    hung = content.get("hook") == hook and content.get("dev", interface) in (interface, [interface])
    known.chains[line] = [] if hung else None
    return None


def _take_rule(known: Known, chain: str, content: Mapping[str, Any]) -> None:
    try:
        line = ruleset.line_of(chain)
    except ValueError:
        return
    if (found := known.chains.get(line)) is not None:
        digest, parts = content.get("comment"), content.get("expr")
        # A device that was made anew has the name, but is not the one that packets go to.
        elsewhere = any(
            isinstance(each, dict) and "fwd" in each and each["fwd"] != {"dev": device_of(line)}
            for each in (parts if isinstance(parts, list) else [])
        )
        found.append(digest if isinstance(digest, str) and not elsewhere else "")


def _stray(known: Known, kind: str, name: str, table: Table) -> None:
    known.strays.append(f"a {kind} {name:.80}")
    if _KIND.fullmatch(kind) and _NAME.fullmatch(name):
        known.junk += [ruleset.chain_flushed(name, table)] if kind == "chain" else []
        known.junk.append(ruleset.gone(kind, name, table))


def _index_of(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def _why(error: CommandFailed) -> str:
    return " ".join(error.said.split())[:200]
