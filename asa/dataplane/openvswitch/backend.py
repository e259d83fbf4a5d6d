"""The back end for lines that are ports of an Open vSwitch: queues over OVSDB, flows over OpenFlow.

What a bridge does with packets otherwise stays its operator's: our flows set a queue and a marking and let its own
pipeline forward (:mod:`asa.dataplane.openvswitch.pipeline`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from asa.dataplane.backend import MOST_STRAYS, Abilities, Counters, EnforcementFailed, Found, Reading, Spot, Unfit
from asa.dataplane.nft.table import NftTable
from asa.dataplane.openvswitch import kernel, pipeline, queues
from asa.dataplane.openvswitch.change import Change
from asa.dataplane.openvswitch.egress import TABLE
from asa.dataplane.openvswitch.ovsdb import Ovsdb
from asa.dataplane.openvswitch.pipeline import Laid, meter_for
from asa.dataplane.openvswitch.places import Places
from asa.dataplane.openvswitch.survey import Known, bridges_of, led, look_up, strays, survey, take
from asa.dataplane.openvswitch.topology import COLUMNS, Port, topology_of
from asa.dataplane.openvswitch.wishes import wishes_of
from asa.dataplane.plan import Action, Entry, Key, Line, Plan
from asa.dataplane.tc.classifier import Rule
from asa.flows import Mac

MOST_LOOKED_AT: Final = 8
"""Spots that are asked for one by one; with more everything is read."""

NOTES: Final = (
    "on the way in a meter holds to the ceiling by dropping: TCP gets about half of it, and nothing is guaranteed",
    f"no queue has less than {queues.LEAST} bit/s, whatever is reserved",
    "bonds, patch ports and tunnels have no queues and are refused as lines",
    "a packet is looked at as it comes into the bridge: its VLAN is that of its frame there",
    "a marking is set before it is known by which port a packet leaves",
    "of several mirrors that want a packet, the one that looks at most gets it",
)
SYSTEM: Final = (
    "the datapath is the kernel's, with which this back end was never tried: its tests have that in user space only"
)
USERSPACE: Final = "the datapath is in user space and has no queues: nftables leads packets to them (table asa_ovs)"


class OpenVSwitch:
    """A :class:`~asa.dataplane.backend.Backend`."""

    name = "openvswitch"

    def __init__(self, ovsdb: Path, take_over: bool, *, now: Callable[[], float] = time.time) -> None:
        """``ovsdb``: the socket of ovsdb-server; those of the bridges are in the same directory. ``take_over``: a QoS
        or a root qdisc of somebody else gives way. ``now``: UNIX s."""
        self._database = Ovsdb(ovsdb)
        self._directory = ovsdb.parent
        self._take_over = take_over
        self._now = now
        self._egress = NftTable(now, TABLE)
        self._egress_lines = 0
        self._egress_wrong: dict[str, str] = {}
        self._lines: dict[str, Line] = {}
        self._numbers: dict[Key, int] = {}
        self._known: Known | None = None

    # -- probing

    def probe(self, lines: Sequence[Line]) -> Abilities:
        self._lines = {each.name: each for each in lines}
        try:
            found, _ = look_up(self._database)
        except EnforcementFailed as error:
            raise Unfit(f"there is no Open vSwitch: {error.message}", hint=error.hint) from None
        ports = {each.name: found.ports.get(each.interface) for each in lines}
        problems = [_problem(line, ports[line.name]) for line in lines]
        if lines and all(problems):
            raise Unfit("; ".join(problems[:3]), hint="lines are ports of a bridge that allows OpenFlow14")
        fit = [line for line, problem in zip(lines, problems, strict=True) if not problem]
        for name, bridge in bridges_of(found, self._directory).items():
            if any((port := ports[line.name]) is not None and port.bridge == name for line in fit):
                bridge.dump("table=0")
        userspace = [line for line in fit if line.way == "out" and (port := ports[line.name]) and port.userspace]
        if userspace:
            self._egress.probe(userspace)
        there = [port for line in fit if (port := ports[line.name]) is not None]
        return Abilities(actions=frozenset(Action), notes=(*notes_of(there), *(each for each in problems if each)))

    # -- applying

    def apply(self, plan: Plan) -> Mapping[Key, str]:
        try:
            return self._apply(plan)
        except EnforcementFailed:
            # What is there is to be asked again.
            self._known = None
            raise

    def _apply(self, plan: Plan) -> Mapping[Key, str]:
        self._lines = {each.name: each for each in plan.lines}
        known = self._current()
        lines: dict[str, tuple[Line, Port]] = {}
        refused: dict[str, str] = {}
        for line in plan.lines:
            port = known.topology.ports.get(line.interface)
            why = _problem(line, port) or (self._foreign(port, known) if port and line.way == "out" else "")
            if why:
                refused[line.name] = why
            elif port is not None:
                lines[line.name] = line, port
        userspace = [_bare(line) for line, port in lines.values() if line.way == "out" and port.userspace]
        if userspace or self._egress_lines:
            self._egress_lines = len(userspace)
            self._egress_wrong.clear()
            for name, why in self._egress.prepare(userspace).items():
                refused[name] = why
                lines.pop(name, None)
        hops = self._hops(known)
        wanted = wishes_of(plan, lines, known, hops, self._now())
        change = Change(self._database, known, self._egress, lines, wanted, self._now)
        change.make()
        self._numbers = wanted.numbers
        failed = {key: refused[entry.line] for key, entry in plan.entries.items() if entry.line in refused}
        return failed | wanted.failed

    def _current(self) -> Known:
        """What is known, if the ports are still the same; else what is there."""
        if self._known is not None:
            found = topology_of(*self._database.select(*COLUMNS))
            if found == self._known.topology:
                return self._known
        return self._survey()

    def _survey(self) -> Known:
        known = self._known = survey(self._database, self._directory, self._now())
        lines = {
            name: _bare(self._lines.get(name) or Line(name.rpartition(":")[0], "out", 8, 8))
            for name in known.lines
            if (port := known.port(name)) is not None and port.userspace
        }
        rules: Mapping[Spot, Rule] = {}
        if lines:
            rules, wrong, _ = self._egress.read(list(lines.values()))
            self._egress_wrong = dict(wrong)
        for spot, (laid, expires) in list(known.laid.items()):
            if led(known, spot):
                rule = rules.get(spot)
                if rule is None or rule.number != _class(laid):
                    known.odd.setdefault(_bridge(known, spot[0]), []).extend(pipeline.flows_of(laid))
                    del known.laid[spot]
                elif rule.expires is not None and expires is not None:
                    known.laid[spot] = laid, min(expires, rule.expires)
        return known

    def _foreign(self, port: Port, known: Known) -> str:
        if self._take_over or port.qos in known.qualities.ours:
            return ""
        if port.qos:
            return f"{port.name} has a QoS of somebody else's; take_over = true replaces it"
        kind = kernel.foreign(port.name)
        return f"{port.name} has a root qdisc {kind} of somebody else's; take_over = true replaces it" if kind else ""

    def _hops(self, known: Known) -> Callable[[str, Entry], tuple[tuple[Mac, ...], int]]:
        places = Places(self._directory, known.topology)

        def hops(bridge: str, entry: Entry) -> tuple[tuple[Mac, ...], int]:
            before = next(
                (known.laid[spot][0] for match in entry.matches
                 if (spot := (entry.line, entry.action, match)) in known.laid),
                None,
            )  # fmt: skip
            same = before is not None and (before.through, before.output) == (entry.through, entry.output)
            macs: list[Mac] = []
            for at, text in enumerate(entry.through or (entry.output,)):
                mac = places.mac(text) or (before.macs[at] if same and before is not None else None)
                if mac is None:
                    raise EnforcementFailed(f"the MAC address of {text} is not known here: no neighbour has it")
                macs.append(mac)
            if entry.action is Action.STEER:
                if len(set(macs)) < len(macs):
                    raise EnforcementFailed("a middlebox comes twice; it is told by its address who sent a packet")
                return tuple(macs), 0
            port = places.port(bridge, macs[0]) or (before.port if same and before is not None else None)
            if port is None:
                raise EnforcementFailed(
                    f"{bridge} does not know behind which port {entry.output} is",
                    hint="it has to be heard of, or to be in external_ids:attached-mac of its Interface",
                )
            return tuple(macs), port

        return hops

    # -- reading

    def read(self, keys: Collection[Key] | None = None) -> Reading:
        try:
            known = self._known
            spots = {(line, action, match) for line, action, matches in keys or () for match in matches}
            if keys is None or known is None or len(spots) > MOST_LOOKED_AT or any(_hopping(each) for each in spots):
                known = self._survey()
                if keys is None:
                    names = [*self._lines, *(each for each in known.lines if each not in self._lines)]
                    return self._reading(known, names, known.laid, tuple(strays(known)[:MOST_STRAYS]))
                return self._reading(known, {line for line, _, _ in keys}, spots & known.laid.keys())
            return self._look(known, {line for line, _, _ in keys}, spots)
        except EnforcementFailed:
            self._known = None
            raise

    def _look(self, known: Known, names: Collection[str], spots: Collection[Spot]) -> Reading:
        """At a few spots, in the bridges and in the kernel."""
        fresh = Known(known.topology, known.qualities, known.bridges, lines=known.lines)
        fresh.common, fresh.leaves = dict(known.common), known.leaves
        for name in names:
            if name in known.lines:
                numbers = {known.laid[spot][0].number for spot in spots if spot[0] == name and spot in known.laid}
                device = name.rpartition(":")[0]
                found = {
                    each: kernel.one_class(device, kernel.class_of(each)) for each in (0, kernel.WHOLE - 1, *numbers)
                }
                fresh.rates[name] = {number: rates for number, rates in found.items() if rates is not None}
                if kernel.shaped(device):
                    fresh.shaped.add(name)
        for spot in spots:
            port = known.port(spot[0])
            if port is not None and port.bridge in known.bridges and spot in known.laid:
                flow = pipeline.flows_of(known.laid[spot][0])[0]
                only = ",".join([f"table={flow.table}", *sorted(flow.fields, key=lambda each: ("=" in each, each))])
                partly = Known(known.topology, known.qualities)
                if known.laid[spot][0].inward and port.bridge not in fresh.meters:
                    fresh.meters[port.bridge] = known.bridges[port.bridge].meters()
                take(partly, known.bridges[port.bridge], known.bridges[port.bridge].dump(only), self._now())
                if spot in partly.laid:
                    fresh.laid[spot] = partly.laid[spot]
        queued = {spot for spot in fresh.laid if led(known, spot)}
        rules = self._egress.look(queued)
        for spot in queued:
            rule = rules.get(spot)
            if rule is None or rule.number != _class(fresh.laid[spot][0]):
                del fresh.laid[spot]
        for name in {_bridge(known, name) for name in names}:
            if name in known.bridges:
                begin = Known(known.topology, known.qualities)
                take(begin, known.bridges[name], known.bridges[name].dump("table=0"), self._now())
                fresh.common[name] = begin.common[name] | {
                    each for each in known.common.get(name, ()) if each.table != 0
                }  # fmt: skip
        return self._reading(fresh, names, fresh.laid)

    def _reading(
        self, known: Known, names: Iterable[str], spots: Iterable[Spot], told: tuple[str, ...] = ()
    ) -> Reading:  # fmt: skip
        lines = {name: self._wrong(known, name) for name in names}
        found = {}
        for spot in spots:
            laid, expires = known.laid[spot]
            share = laid.share if laid.inward else known.share(spot[0], laid.number) if laid.number else None
            if laid.inward and laid.share is not None:
                rates = known.meters.get(_bridge(known, spot[0]), {}).get(laid.number)
                share = share if rates == meter_for(laid.share.ceiling) else None
            found[spot] = Found(laid.number, share, laid.dscp, expires, laid.through, laid.output)
        return Reading(lines, found, told)

    def _wrong(self, known: Known, name: str) -> str:
        line = self._lines.get(name)
        if line is None:
            return f"{name} is no line"
        port = known.port(name)
        if why := _problem(line, port):
            return why
        assert port is not None
        if line.way == "out" and (why := known.wrong(line)):
            return why
        if line.way == "out" and port.userspace and (why := self._egress_wrong.get(name, "")):
            return why
        lacking = pipeline.common(
            (each, its.number) for each, its in self._here(known, port.bridge)
        ) - known.common.get(port.bridge, set())
        return f"{port.bridge} does not send packets through our tables as it shall" if lacking else ""

    def _here(self, known: Known, bridge: str) -> list[tuple[Line, Port]]:
        found = ((line, known.port(line.name)) for line in self._lines.values())
        return [(line, port) for line, port in found if port is not None and port.bridge == bridge]

    # -- counting, clearing

    def count(self) -> Mapping[Key, Counters]:
        known = self._current()
        found: dict[Key, Counters] = {}
        by_line: dict[str, Mapping[int, Counters]] = {}
        for key, number in self._numbers.items():
            line = key[0]
            if line not in by_line:
                by_line[line] = self._counted(known, line)
            at = number if line.endswith(":in") else kernel.class_of(number)
            if at in by_line[line]:
                found[key] = by_line[line][at]
        return found

    def _counted(self, known: Known, line: str) -> Mapping[int, Counters]:
        if not line.endswith(":in"):
            return kernel.counters(line.rpartition(":")[0])
        port = known.port(line)
        return known.bridges[port.bridge].metered() if port is not None and port.bridge in known.bridges else {}

    def clear(self) -> None:
        self._known, self._numbers = None, {}
        found, qualities = look_up(self._database)
        for bridge in bridges_of(found, self._directory).values():
            bridge.clear()
        holders = {port.qos: port.row for port in found.ports.values() if port.qos}
        operations = [each for row in qualities.ours.values() for each in queues.gone(row, holders.get(row.row))]
        operations += queues.dropped(qualities.loose)
        if operations:
            self._database.change(operations)
        try:
            self._egress.clear()
        except Unfit:
            # Without nft there is nothing of ours in it.
            pass

    def close(self) -> None:
        self._egress.close()


def notes_of(ports: Iterable[Port]) -> tuple[str, ...]:
    """What to know where lines are these ports."""
    datapaths = {each.userspace for each in ports}
    return (*NOTES, *([USERSPACE] if True in datapaths else []), *([SYSTEM] if False in datapaths else []))


def _problem(line: Line, port: Port | None) -> str:
    return f"{line.interface} is no port of a bridge of Open vSwitch" if port is None else port.problem


def _bare(line: Line) -> Line:
    """Without what OpenFlow sees to."""
    return replace(line, cleared=(), vouched=())


def _class(laid: Laid) -> int:
    return kernel.class_of(laid.number) if laid.number else 0


def _bridge(known: Known, line: str) -> str:
    port = known.port(line)
    return "" if port is None else port.bridge


def _hopping(spot: Spot) -> bool:
    return spot[1] in (Action.STEER, Action.MIRROR)
