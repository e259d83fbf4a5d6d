"""Which nodes there are and what joins them. No I/O but :func:`read`."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asa.threads.flooder import LOOP_COUNT

FEWEST: Final = 2
MOST: Final = 40
"""Agents. Each is a process; above it a small machine is busy with nothing else."""
MOST_RELAYS: Final = 40
REACH: Final = LOOP_COUNT
"""Links a flood crosses (RFC 8990 §2.6): agents farther apart never hear of each other."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}", re.ASCII)
_KEYS: Final = ("origin", "delegators", "relays", "links")
_FILE: Final = f"origin, delegators, relays and links (docs/lab.md); {FEWEST}..{MOST} agents"


class TopologyError(ValueError):
    """A network that cannot be: what is wrong, and what is ``allowed``."""

    def __init__(self, wrong: str, allowed: str = _FILE) -> None:
        super().__init__(wrong)
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Topology:
    """``links`` join two nodes by a cable, or more by one Ethernet segment. Raises :class:`TopologyError`."""

    name: str
    origin: str
    delegators: tuple[str, ...]
    relays: tuple[str, ...]
    """GRASP nodes that are no agents and only relay."""
    links: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        _check(self)

    @property
    def agents(self) -> tuple[str, ...]:
        """The origin first."""
        return (self.origin, *self.delegators)

    @property
    def nodes(self) -> tuple[str, ...]:
        return (*self.agents, *self.relays)

    def neighbours(self) -> dict[str, dict[str, int]]:
        """Of each node: its neighbours, and the first link that joins them, as an index into ``links``."""
        found: dict[str, dict[str, int]] = {name: {} for name in self.nodes}
        for index, link in enumerate(self.links):
            for one, other in itertools.permutations(link, 2):
                found[one].setdefault(other, index)
        return found

    def distances(self, start: str) -> dict[str, int]:
        """Links between ``start`` and every node that can be reached."""
        neighbours = self.neighbours()
        found, queue = {start: 0}, deque([start])
        while queue:
            name = queue.popleft()
            for each in neighbours[name]:
                if each not in found:
                    found[each] = found[name] + 1
                    queue.append(each)
        return found

    def next_hops(self, start: str) -> dict[str, str]:
        """Which neighbour of ``start`` is nearest to each other node."""
        neighbours = self.neighbours()
        found: dict[str, str] = {each: each for each in neighbours[start]}
        queue = deque(found)
        while queue:
            name = queue.popleft()
            for each in neighbours[name]:
                if each != start and each not in found:
                    found[each] = found[name]
                    queue.append(each)
        return found


def _check(topology: Topology) -> None:
    names = topology.nodes
    for name in names:
        if not _NAME.fullmatch(name) or name.startswith("switch"):
            raise TopologyError(
                f"{name!r:.40} is no name of a node", "1..31 letters, digits, - _ or ., not beginning with switch"
            )
    if double := next((name for name in names if names.count(name) > 1), None):
        raise TopologyError(f"there are two nodes {double}", "each name once, in one of origin, delegators, relays")
    if not FEWEST <= len(topology.agents) <= MOST:
        raise TopologyError(f"{len(topology.agents)} agents", f"{FEWEST}..{MOST} agents, one of them the origin")
    if len(topology.relays) > MOST_RELAYS:
        raise TopologyError(f"{len(topology.relays)} relays", f"at most {MOST_RELAYS} relays")
    for link in topology.links:
        if unknown := next((name for name in link if name not in names), None):
            raise TopologyError(f"a link joins {unknown!r:.40}, which is no node", f"the nodes are {', '.join(names)}")
        if len(link) < 2 or len(set(link)) < len(link):
            raise TopologyError(f"a link joins {', '.join(link) or 'nobody'}", "two or more nodes, each once")
    for name in topology.agents:
        distances = topology.distances(name)
        if apart := next((each for each in names if each not in distances), None):
            raise TopologyError(f"no way from {name} to {apart}", "links that join every node to all the others")
        if far := next((each for each in topology.agents if distances[each] > REACH), None):
            raise TopologyError(
                f"{name} and {far} are {distances[far]} links apart, and GRASP floods cross {REACH}",
                f"agents at most {REACH} links apart: a line of {REACH + 1}, a ring of {2 * REACH + 1}, any star",
            )


# -- shapes; every agent but the origin is r1, r2, ...


def _delegators(nodes: int) -> tuple[str, ...]:
    return tuple(f"r{number}" for number in range(1, nodes))


def _row(nodes: int) -> tuple[tuple[str, ...], ...]:
    return tuple(itertools.pairwise(("origin", *_delegators(nodes))))


def tree(nodes: int) -> Topology:
    """The delegators around the origin, the last one behind a relay."""
    delegators = _delegators(nodes)
    links = [("origin", each) for each in delegators[:-1]] + [("origin", "relay"), ("relay", delegators[-1])]
    return Topology("tree", "origin", delegators, ("relay",), tuple(links))


def line(nodes: int) -> Topology:
    """One behind the other, the origin at an end."""
    return Topology("line", "origin", _delegators(nodes), (), _row(nodes))


def ring(nodes: int) -> Topology:
    if nodes < 3:
        raise TopologyError("a ring has three nodes at least", f"3..{min(MOST, 2 * REACH + 1)} agents in a ring")
    delegators = _delegators(nodes)
    return Topology("ring", "origin", delegators, (), (*_row(nodes), (delegators[-1], "origin")))


def star(nodes: int) -> Topology:
    """The delegators around the origin."""
    delegators = _delegators(nodes)
    return Topology("star", "origin", delegators, (), tuple(("origin", each) for each in delegators))


# -- files


def read(path: Path) -> Topology:
    """A topology in JSON or, if the name ends in .toml, TOML. Raises :class:`TopologyError`."""
    try:
        text = path.read_text()
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise TopologyError(f"cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise TopologyError("is not a table of keys")
    if unknown := next((key for key in found if key not in _KEYS), None):
        raise TopologyError(f"there is no key {unknown!r:.40}")
    if not isinstance(found.get("origin"), str):
        raise TopologyError("origin must be the name of a node")
    links = found.get("links")
    if not isinstance(links, list):
        raise TopologyError("links must be a list of lists of names")
    return Topology(
        path.name, found["origin"], tuple(_names(found, "delegators")), tuple(_names(found, "relays")),
        tuple(tuple(_strings(each, "a link")) for each in links),
    )  # fmt: skip


def _names(found: dict[str, Any], key: str) -> Iterator[str]:
    return _strings(found.get(key, []), key)


def _strings(value: object, what: str) -> Iterator[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TopologyError(f"{what} must be a list of names")
    return iter(value)
