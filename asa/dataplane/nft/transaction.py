"""One change of the nftables table: what is known of it, the text that changes it, and what is known after. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from asa.dataplane.backend import Spot
from asa.dataplane.nft import ruleset
from asa.dataplane.nft.ruleset import MOST_MAPS, TABLE, Map, Table
from asa.dataplane.plan import Line
from asa.dataplane.tc.classifier import Rule

DOUBT_S: Final = 2.0
"""Around the moment an element ends nobody knows whether it is still there."""


@dataclass(slots=True)
class Known:
    """The table, as far as it is ours."""

    chains: dict[str, list[str] | None] = field(default_factory=dict)
    """By line: the digests of its rules; None: it hangs where it should not."""
    maps: dict[str, Map] = field(default_factory=dict)
    """By name."""
    rules: dict[Spot, Rule] = field(default_factory=dict)
    sizes: Counter[str] = field(default_factory=Counter)
    """By name of a map: its elements."""
    spots: dict[tuple[str, str], Spot] = field(default_factory=dict)
    """By name of a map and key: what it means, which takes longer to find out than to remember."""
    places: dict[Spot, tuple[str, str]] = field(default_factory=dict)
    """The reverse."""
    strays: list[str] = field(default_factory=list)
    junk: list[str] = field(default_factory=list)
    """What removes the strays."""

    def maps_of(self, line: str) -> set[Map]:
        return {each for each in self.maps.values() if each.line == line}

    def learn(self, spot: Spot, rule: Rule, place: tuple[str, str]) -> None:
        """There is an element of it."""
        self.rules[spot] = rule
        self.spots[place] = spot
        self.places[spot] = place
        self.sizes[place[0]] += 1

    def forget(self, spot: Spot) -> None:
        """Its element is not there any more."""
        if self.rules.pop(spot, None) is not None:
            place = self.places.pop(spot)
            del self.spots[place]
            self.sizes[place[0]] -= 1


def digests(line: Line, maps: Iterable[Map], table: Table = TABLE) -> list[str]:
    return [ruleset.digest_in(each) for each in ruleset.rules_of(line, maps, table)]


def refilled(line: Line, maps: Iterable[Map], table: Table = TABLE) -> list[str]:
    """All rules of its chain anew."""
    rules = ruleset.rules_of(line, maps, table)
    return [
        ruleset.chain_flushed(ruleset.chain_of(line.name), table),
        *(ruleset.rule_come(line.name, each, table) for each in rules),
    ]  # fmt: skip


class Transaction:
    """What leads from ``known`` to what it is told; the maps are there before the rules that ask them, and longer."""

    def __init__(self, known: Known, lines: Mapping[str, Line], now: float, table: Table = TABLE) -> None:
        """``lines``: those with a chain. ``now``: UNIX s."""
        self.known = known
        self.refused: dict[Spot, str] = {}
        """What was not taken into it, and why."""
        self.script: list[str] = []
        self.owners: list[Spot | None] = []
        """Of each line of the script; None: it is for several."""
        self._lines = lines
        self._now = now
        self._table = table
        self._taken: set[Spot] = set()
        self._put: dict[Spot, tuple[Rule, tuple[str, str]]] = {}
        self._out: list[tuple[Spot, str]] = []
        self._in: list[tuple[Spot, str]] = []
        self._sizes: Counter[str] = Counter()
        self._new: dict[str, Map] = {}
        self._empty: list[str] = []

    def take(self, spot: Spot) -> None:
        """It is not told apart any more; nothing happens if it is not."""
        rule = self.known.rules.get(spot)
        if rule is None or spot in self._taken:
            return
        self._taken.add(spot)
        name, key = self.known.places[spot]
        self._sizes[name] -= 1
        left = DOUBT_S if rule.expires is None else rule.expires - self._now
        if left < DOUBT_S:
            if left < -DOUBT_S:
                return
            # This changes nothing if it is there, and what is not there cannot be deleted.
            as_it_was = Rule(rule.number, rule.dscp, None)
            self._out.append((spot, ruleset.element_come(name, key, as_it_was, self._now, self._table)))
        self._out.append((spot, ruleset.element_gone(name, key, self._table)))

    def put(self, spot: Spot, rule: Rule) -> None:
        """In place of what it is now."""
        if rule.expires is not None and rule.expires <= self._now:
            self.refused[spot] = "its time is over"
            return
        before = self.known.rules.get(spot)
        if before is not None and before.dscp == rule.dscp:
            name, key = self.known.places[spot]
        else:
            map = ruleset.map_of(spot, rule.dscp)
            name, key = ruleset.name_of(map), ruleset.key_of(spot[2])
            if name not in self.known.maps and name not in self._new:
                if len(self.known.maps) + len(self._new) >= MOST_MAPS:
                    self.refused[spot] = f"there are {MOST_MAPS} kinds of matches already"
                    return
                self._new[name] = map
        self.take(spot)
        self._sizes[name] += 1
        self._put[spot] = rule, (name, key)
        self._in.append((spot, ruleset.element_come(name, key, rule, self._now, self._table)))

    def finish(self) -> None:
        """Write the script; empty if there is nothing to do."""
        changed = {map.line for map in self._new.values()}
        touched = {name for name, delta in self._sizes.items() if delta}
        for name in touched & self.known.maps.keys():
            if self.known.sizes[name] + self._sizes[name] <= 0:
                self._empty.append(name)
                changed.add(self.known.maps[name].line)
        self._write(None, (ruleset.map_come(each, self._table) for each in self._new.values()))
        for spot, text in (*self._out, *self._in):
            self._write(spot, [text])
        for line in sorted(changed & self._lines.keys()):
            self._write(None, refilled(self._lines[line], self._maps_of(line), self._table))
        self._write(None, (ruleset.gone("map", name, self._table) for name in self._empty))

    def _maps_of(self, line: str) -> set[Map]:
        gone = {self.known.maps[name] for name in self._empty}
        return self.known.maps_of(line) - gone | {each for each in self._new.values() if each.line == line}

    def _write(self, owner: Spot | None, texts: Iterable[str]) -> None:
        for text in texts:
            self.script.append(text)
            self.owners.append(owner)

    def commit(self) -> None:
        """The kernel did it."""
        known = self.known
        changed = {map.line for map in self._new.values()} | {known.maps[name].line for name in self._empty}
        known.maps |= self._new
        for spot in self._taken:
            known.forget(spot)
        for spot, (rule, place) in self._put.items():
            known.learn(spot, rule, place)
        for name in self._empty:
            del known.maps[name], known.sizes[name]
        for line in changed & self._lines.keys():
            known.chains[line] = digests(self._lines[line], known.maps_of(line), self._table)
