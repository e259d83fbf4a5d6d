"""From a plan to what there shall be in the bridges: numbers of queues and meters, priorities, hops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from asa.dataplane.backend import EnforcementFailed, Spot
from asa.dataplane.match import Match, Shape
from asa.dataplane.openvswitch import pipeline, queues
from asa.dataplane.openvswitch.flows import LONGEST
from asa.dataplane.openvswitch.pipeline import Laid, meter_for
from asa.dataplane.openvswitch.survey import Known
from asa.dataplane.openvswitch.topology import Port
from asa.dataplane.plan import Action, Entry, Key, Line, Plan, Share
from asa.errors import BadRequest
from asa.flows import Mac

MOST_HOPS: Final = 16

Hops = Callable[[str, Entry], tuple[tuple[Mac, ...], int]]
"""Of a bridge and an entry that steers or mirrors: MAC addresses, and the port of who gets copies. Raises
EnforcementFailed if somebody is not known."""


@dataclass(slots=True)
class Wishes:
    laid: dict[Spot, tuple[Laid, int]] = field(default_factory=dict)
    """And when it ends, UNIX s."""
    owners: dict[Spot, Key] = field(default_factory=dict)
    shares: dict[str, dict[int, Share]] = field(default_factory=dict)
    """Of queues, by line."""
    meters: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    """By bridge."""
    numbers: dict[Key, int] = field(default_factory=dict)
    failed: dict[Key, str] = field(default_factory=dict)


def wishes_of(
    plan: Plan, lines: Mapping[str, tuple[Line, Port]], known: Known, hops: Hops, now: float
) -> Wishes:  # fmt: skip
    """``lines``: those something can be done on, by name; entries on others are left out. ``now``: UNIX s."""
    found = Wishes()
    found.shares = {name: {0: queues.default(line)} for name, (line, _) in lines.items() if line.way == "out"}
    entries = [each for each in plan.entries.values() if each.line in lines]
    for bridge in {port.bridge for _, port in lines.values()}:
        here = [each for each in entries if lines[each.line][1].bridge == bridge]
        _of_bridge(found, bridge, here, lines, known, hops, now)
    return found


def _of_bridge(
    found: Wishes, bridge: str, entries: Iterable[Entry], lines: Mapping[str, tuple[Line, Port]], known: Known,
    hops: Hops, now: float,
) -> None:  # fmt: skip
    fit: list[tuple[Entry, tuple[Mac, ...], int]] = []
    taken: dict[tuple[Action, Match, str], Key] = {}
    for entry in entries:
        try:
            _check(entry, lines[entry.line][0], taken, now)
            macs, port = hops(bridge, entry) if entry.action in (Action.STEER, Action.MIRROR) else ((), 0)
        except (BadRequest, EnforcementFailed) as error:
            found.failed[entry.key] = error.message
            continue
        fit.append((entry, macs, port))
    try:
        slots = pipeline.slots(_slots(known, bridge), (match.shape for each, _, _ in fit for match in each.matches))
    except BadRequest as error:
        found.failed |= dict.fromkeys((each.key for each, _, _ in fit), error.message)
        return
    _number(found, bridge, [each for each, _, _ in fit if each.share is not None], lines, known)
    for entry, macs, port in fit:
        if entry.key in found.failed:
            continue
        line = lines[entry.line][0]
        inward = lines[entry.line][1].number if line.way == "in" else 0
        number = found.numbers.get(entry.key, 0)
        if entry.share is not None and inward:
            found.meters.setdefault(bridge, {})[number] = meter_for(entry.share.ceiling)
        elif entry.share is not None:
            found.shares[entry.line][number] = entry.share
        for match in entry.matches:
            spot = entry.line, entry.action, match
            laid = Laid(
                spot, slots[match.shape], inward, number, entry.dscp, entry.share if inward else None,
                entry.through, entry.output, macs, port,
            )  # fmt: skip
            found.laid[spot] = laid, entry.expires
            found.owners[spot] = entry.key


def _check(entry: Entry, line: Line, taken: dict[tuple[Action, Match, str], Key], now: float) -> None:
    if entry.expires - now <= 0:
        raise EnforcementFailed("its time is over")
    if entry.expires - now > LONGEST:
        raise EnforcementFailed(f"a flow ends after {LONGEST} s at most", hint="refresh it more often")
    if len(entry.through) > MOST_HOPS:
        raise EnforcementFailed(f"{len(entry.through)} middleboxes; a chain has {MOST_HOPS} at most")
    places = [
        (entry.action, match, line.name if line.way == "in" and entry.action is not Action.STEER else "")
        for match in entry.matches
    ]
    for place in places:
        # Where a packet goes is not known when it is looked at; by which port it came is.
        if (other := taken.get(place)) is not None:
            raise EnforcementFailed(f"the same packets have something reserved on {other[0]}, on the same bridge")
    taken.update(dict.fromkeys(places, entry.key))


def _slots(known: Known, bridge: str) -> dict[Shape, int]:
    found: dict[Shape, int] = {}
    for (line, _, match), (laid, _) in known.laid.items():
        port = known.port(line)
        if port is not None and port.bridge == bridge:
            found.setdefault(match.shape, laid.slot)
    return found


def _number(
    found: Wishes, bridge: str, entries: Iterable[Entry], lines: Mapping[str, tuple[Line, Port]], known: Known
) -> None:
    """One is of one entry in the whole bridge: which port a packet leaves by is decided later. Who has one keeps it."""
    used = {"out": _queued(known, bridge), "in": set(known.meters.get(bridge, {}))}
    given: dict[str, set[int]] = {"out": set(), "in": set()}
    new: list[tuple[Entry, str]] = []
    for entry in entries:
        way: str = lines[entry.line][0].way
        had = (known.laid.get((entry.line, entry.action, match)) for match in entry.matches)
        number = next(
            (each[0].number for each in had if each and each[0].number and each[0].number not in given[way]), 0
        )
        if number:
            found.numbers[entry.key] = number
            given[way].add(number)
        else:
            new.append((entry, way))
    free = {way: _free(used[way] | given[way]) for way in used}
    for entry, way in new:
        number = next(free[way])
        if number > queues.LAST:
            found.failed[entry.key] = f"{bridge} has no number left for a queue"
            continue
        found.numbers[entry.key] = number


def _free(taken: Collection[int]) -> Iterator[int]:
    return (each for each in count(queues.FIRST) if each not in taken)


def _queued(known: Known, bridge: str) -> set[int]:
    found: set[int] = set()
    for port in known.topology.of(bridge):
        if port.qos in known.qualities.foreign:
            found |= known.qualities.foreign[port.qos]
        if (quality := known.lines.get(f"{port.name}:out")) is not None:
            found |= set(quality.queues)
    return found
