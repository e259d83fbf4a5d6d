"""From what is there to what there shall be, in an order that never leads packets to a queue that is not there.

1. Rules that end, or whose queue goes, are removed.
2. Queues that go do so in one transaction with those that come or grow: ovs-vswitchd removes before it adds. If some
   shrink, those that come or grow wait for a second one, for it changes shares in the order of numbers.
3. Meters, then rules: all of a bridge in one bundle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from asa.dataplane.backend import EnforcementFailed, Spot
from asa.dataplane.commands import CommandFailed
from asa.dataplane.nft.table import NftTable
from asa.dataplane.openvswitch import kernel, pipeline, queues
from asa.dataplane.openvswitch.flows import LONGEST, Flow
from asa.dataplane.openvswitch.openflow import Bridge
from asa.dataplane.openvswitch.ovsdb import Ovsdb
from asa.dataplane.openvswitch.pipeline import Laid
from asa.dataplane.openvswitch.queues import Quality, Queue
from asa.dataplane.openvswitch.rows import Operation
from asa.dataplane.openvswitch.survey import Known, led
from asa.dataplane.openvswitch.topology import Port
from asa.dataplane.openvswitch.wishes import Wishes
from asa.dataplane.plan import Line, Share
from asa.dataplane.tc.classifier import Rule

SAME_S: Final = 1.5
"""Two ends that are no further apart are the same: a timeout is in whole seconds."""

MOST_TRIES: Final = 64
"""Of parts of a bundle that was refused, to find out what of it was."""

MOST_CLASSES: Final = 16
"""That are asked for one by one."""


class Change:
    """One turn of apply; what it does it writes into ``known``, and what was refused into ``wanted.failed``."""

    def __init__(
        self, database: Ovsdb, known: Known, egress: NftTable, lines: Mapping[str, tuple[Line, Port]], wanted: Wishes,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._database = database
        self._known = known
        self._egress = egress
        self._lines = lines
        self._wanted = wanted
        self._now = now

    def make(self) -> None:
        known, wanted = self._known, self._wanted
        gone = [spot for spot, (laid, _) in known.laid.items() if self._ends(spot, laid)]
        self._take(gone)
        self._queue()
        self._meter()
        come = {
            spot: each
            for spot, each in wanted.laid.items()
            if wanted.owners[spot] not in wanted.failed and self._differs(spot, *each)
        }
        self._put(come)
        for name, meters in known.meters.items():
            over = dict.fromkeys(meters.keys() - wanted.meters.get(name, {}).keys())
            known.bridges[name].meter(over)
            for number in over:
                del meters[number]

    def _ends(self, spot: Spot, laid: Laid) -> bool:
        found = self._wanted.laid.get(spot)
        # Of another number, the queue it has goes before its rule changes.
        return found is None or found[0].number != laid.number

    def _differs(self, spot: Spot, laid: Laid, expires: int) -> bool:
        found = self._known.laid.get(spot)
        if found is None or found[0] != laid:
            return True
        return found[1] is None or abs(found[1] - expires) > SAME_S

    def _bridge(self, spot: Spot) -> str:
        port = self._known.port(spot[0])
        return "" if port is None else port.bridge

    # -- rules

    def _take(self, gone: list[Spot]) -> None:
        known = self._known
        by_bridge: dict[str, list[str]] = {}
        for spot in gone:
            flows = pipeline.flows_of(known.laid[spot][0])
            by_bridge.setdefault(self._bridge(spot), []).extend(each.deleted for each in flows)
        for name, changes in by_bridge.items():
            known.bridges[name].bundle(changes)
        self._egress.change([spot for spot in gone if led(known, spot)], {})
        for spot in gone:
            del known.laid[spot]

    def _put(self, come: Mapping[Spot, tuple[Laid, int]]) -> None:
        known, failed = self._known, self._wanted.failed
        rules = {
            spot: Rule(kernel.class_of(laid.number) if laid.number else 0, None, expires)
            for spot, (laid, expires) in come.items()
            if led(known, spot)
        }
        for spot, why in self._egress.change([], rules).items() if rules else ():
            failed[self._wanted.owners[spot]] = why
        here: dict[str, list[tuple[Line, Port]]] = {}
        for line, port in self._lines.values():
            here.setdefault(port.bridge, []).append((line, port))
        for name, bridge in known.bridges.items():
            of_bridge = {spot: each for spot, each in come.items() if self._bridge(spot) == name}
            of_lines = pipeline.common((line, port.number) for line, port in here.get(name, ()))
            self._lay(bridge, of_bridge, of_lines)

    def _lay(self, bridge: Bridge, come: Mapping[Spot, tuple[Laid, int]], common: set[Flow]) -> None:
        known, now = self._known, self._now()
        there = known.common.get(bridge.name, set())
        places = {each.place for each in common}
        first = [each.deleted for each in there - common if each.place not in places]
        first += [each.deleted for each in known.odd.get(bridge.name, ())]
        first += [each.added(None) for each in common - there]
        bridge.bundle(first)
        known.common[bridge.name], known.odd[bridge.name] = common, []
        changes: dict[Spot, list[str]] = {}
        for spot, (laid, expires) in come.items():
            if (left := expires - now) <= 0:
                self._wanted.failed[self._wanted.owners[spot]] = "its time is over"
                continue
            flows = pipeline.flows_of(laid)
            lost = []
            if spot in known.laid:
                after = {each.place for each in flows}
                lost = [each for each in pipeline.flows_of(known.laid[spot][0]) if each.place not in after]
            seconds = min(max(math.ceil(left), 1), LONGEST)
            # What the last middlebox sends is caught before anything is sent to the first.
            changes[spot] = [*(each.deleted for each in lost), *(each.added(seconds) for each in reversed(flows))]
        refused: dict[Spot, str] = {}
        self._bundle(bridge, changes, refused, [MOST_TRIES])
        for spot in changes:
            if spot in refused:
                self._wanted.failed[self._wanted.owners[spot]] = refused[spot]
                known.laid.pop(spot, None)
            else:
                known.laid[spot] = come[spot]

    def _bundle(
        self, bridge: Bridge, changes: Mapping[Spot, list[str]], refused: dict[Spot, str], tries: list[int]
    ) -> None:  # fmt: skip
        """Halves of what is refused, until it is known what it was."""
        ordered = [text for each in changes.values() for text in each]
        # What is taken away for one may be what another puts there.
        ordered.sort(key=lambda each: each.startswith("add"))
        try:
            bridge.bundle(ordered)
        except CommandFailed as error:
            tries[0] -= 1
            if tries[0] < 0:
                raise
            if len(changes) == 1:
                refused |= dict.fromkeys(changes, error.message)
                return
            items = list(changes.items())
            for part in (items[: len(items) // 2], items[len(items) // 2 :]):
                self._bundle(bridge, dict(part), refused, tries)

    # -- meters

    def _meter(self) -> None:
        for name, meters in self._wanted.meters.items():
            there = self._known.meters.setdefault(name, {})
            changes = {number: rates for number, rates in meters.items() if there.get(number) != rates}
            self._known.bridges[name].meter(dict(changes), there)
            there |= changes

    # -- queues

    def _queue(self) -> None:
        known = self._known
        self._reset()
        first: list[Operation] = []
        then: list[Operation] = []
        plans: list[tuple[str, dict[int, Share], list[int], dict[int, Share]]] = []
        for name, wanted in self._wanted.shares.items():
            line, port = self._lines[name]
            found = known.lines.get(name)
            if found is None:
                first += queues.come(line, port.row, wanted)
                plans.append((name, {}, [], wanted))
                continue
            had = {number: each.share for number, each in found.queues.items()}
            gone = [number for number in had if number not in wanted]
            put = {number: share for number, share in wanted.items() if had.get(number) != share}
            less = {number: share for number, share in put.items() if _shrinks(had.get(number), share)}
            more = {number: share for number, share in put.items() if number not in less}
            lower = queues.rated(line, found) if line.rate < found.rate else []
            higher = queues.rated(line, found) if line.rate > found.rate else []
            if gone or put or lower or higher:
                both = not less and not lower
                first += [*lower, *queues.changed(name, found, gone, {**less, **(more if both else {})})]
                then += [*higher, *([] if both else queues.changed(name, found, [], more))]
                plans.append((name, less, gone, more))
        first += self._swept()
        made: dict[str, str] = {}
        for operations in (first, then):
            if operations:
                made |= self._database.change(operations)
        for name, less, gone, more in plans:
            self._noted(name, {**less, **more}, gone, made)
        self._checked({name for name, *_ in plans})

    def _reset(self) -> None:
        """A root qdisc that was removed behind its back ovs-vswitchd makes anew only with another QoS."""
        lost = [name for name in self._wanted.shares if name in self._known.lines and name not in self._known.shaped]
        for row in (False, True):
            operations = [
                queues.used(self._lines[name][1].row, self._known.lines[name].row if row else None) for name in lost
            ]
            if operations:
                self._database.change(operations)
        for name in lost:
            self._known.look(name)

    def _swept(self) -> list[Operation]:
        """What removes queues of ours nobody wants."""
        known = self._known
        kept = {known.lines[name].row for name in self._wanted.shares if name in known.lines}
        holders = {port.qos: port.row for port in known.topology.ports.values() if port.qos}
        operations = queues.dropped(known.qualities.loose)
        for row, quality in known.qualities.ours.items():
            if row not in kept:
                operations += queues.gone(quality, holders.get(row))
        known.lines = {name: each for name, each in known.lines.items() if each.row in kept}
        known.qualities = replace(
            known.qualities, loose=(), ours={row: each for row, each in known.qualities.ours.items() if row in kept}
        )
        return operations

    def _noted(self, name: str, put: Mapping[int, Share], gone: Iterable[int], made: Mapping[str, str]) -> None:
        known, (line, port) = self._known, self._lines[name]
        before = known.lines.get(name)
        row = made[queues.quality_name(name)] if before is None else before.row
        lost = set(gone)
        found = {} if before is None else {n: each for n, each in before.queues.items() if n not in lost}
        for number, share in put.items():
            uuid = made.get(queues.queue_name(name, number))
            found[number] = Queue(found[number].row if uuid is None else uuid, share)
        known.lines[name] = Quality(row, line.rate, found)
        known.qualities = replace(
            known.qualities, ours={**known.qualities.ours, row: known.lines[name]},
            lines={**known.qualities.lines, row: name},
        )  # fmt: skip
        if port.qos != row:
            ports = {**known.topology.ports, port.name: replace(port, qos=row)}
            known.topology = replace(known.topology, ports=ports)

    def _checked(self, changed: set[str]) -> None:
        """Only what the kernel has counts. What it has otherwise than the database, ovs-vswitchd is told of again."""
        known = self._known
        for name in changed:
            known.look(name)
        if any(self._lacking(name) for name in self._wanted.shares):
            self._database.change([])
            for name in self._wanted.shares:
                known.look(name)
        for name in self._wanted.shares:
            if 0 in (lacking := self._lacking(name)) and name not in known.shaped:
                raise EnforcementFailed(
                    f"ovs-vswitchd made no queues on {self._lines[name][0].interface}", hint="see its log"
                )
            if lacking:
                owners = {number: key for key, number in self._wanted.numbers.items() if key[0] == name}
                for number in lacking & owners.keys():
                    self._wanted.failed[owners[number]] = f"ovs-vswitchd made no queue {number} as it was told to"
            self._bound(name, self._wanted.shares[name].keys() - lacking)

    def _bound(self, name: str, numbers: set[int]) -> None:
        if (found := self._known.leaves.get(name)) is not None and (new := numbers - found):
            kernel.bound(self._lines[name][0].interface, map(kernel.class_of, new))
            found |= new

    def _lacking(self, name: str) -> set[int]:
        return {n for n, share in self._wanted.shares[name].items() if self._known.share(name, n) != share}


def _shrinks(before: Share | None, after: Share) -> bool:
    return before is not None and after.guarantee <= before.guarantee and after.ceiling <= before.ceiling
