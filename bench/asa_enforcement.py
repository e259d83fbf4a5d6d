"""Putting reservations in place, refreshing and removing them, through each back end and on the real system.

The floor is the bare transactions of the very same rules: what the back end told ``tc``, ``nft``, ``ovs-ofctl``,
netlink or OVSDB, told again to a system in the same state, with nothing computed. The aim is for telling it; reading it
back, which the bare transactions leave out, comes on top.

python -m bench.asa_enforcement
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from asa.dataplane import commands
from asa.dataplane.backend import Backend
from asa.dataplane.drift import differences
from asa.dataplane.match import Match
from asa.dataplane.nft.classifier import Nftables
from asa.dataplane.openvswitch import OpenVSwitch
from asa.dataplane.openvswitch.ovsdb import Ovsdb
from asa.dataplane.plan import Action, Entry, Key, Line, Plan, Share
from asa.dataplane.tc.control import TrafficControl
from asa.dataplane.u32 import kernel
from asa.dataplane.u32.classifier import U32
from asa.flows import Port
from bench.report import Result
from lab import Host, Lab
from lab.switch import Switch, switch_unavailable_reason

SIZES = (1, 100, 1_000, 5_000)
ROUNDS = {1: 9, 100: 5, 1_000: 3, 5_000: 1}
"""Of each size; the median counts."""
LIFE_S = 3_600
AIM = 2
READING = {"list", "get", "show", "dump-flows", "dump-meters", "-c"}
Told = Callable[[], Any]


def line() -> Line:
    return Line("eth0", "out", 40_000_000_000, 2_000_000_000, (18, 26, 46))


def entry(number: int, expires: int) -> Entry:
    source = ip_network(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    match = Match(4, source, ip_network("192.0.2.1"), 6, None, Port(443))
    share = Share(1_000_000, 1_000_000)
    return Entry("eth0:out", Action.GUARANTEE, frozenset({match}), (f"r-{number}",), expires, share, 46)


def plan(entries: list[Entry]) -> Plan:
    return Plan((line(),), {each.key: each for each in entries})


class Tape:
    """What a back end tells the system, to be told again."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        run, change, transact = commands.run, kernel.change, Ovsdb.transact
        told = self.told

        def run_and_keep(program: Any, arguments: Any, stdin: str = "", *more: Any) -> str:
            if not READING & {word for each in arguments for word in each.split()}:
                argv = [program, *arguments]
                told.append(lambda: subprocess.run(argv, input=stdin, capture_output=True, text=True))
            return run(program, arguments, stdin, *more)

        def change_and_keep(messages: Any) -> Any:
            told.append(lambda: change(messages))
            return change(messages)

        def transact_and_keep(self: Ovsdb, operations: Any) -> Any:
            if any(each["op"] != "select" for each in operations):
                told.append(lambda: transact(self, operations))
            return transact(self, operations)

        commands.run, kernel.change = run_and_keep, change_and_keep  # type: ignore[assignment]
        Ovsdb.transact = transact_and_keep  # type: ignore[method-assign]
        try:
            yield
        finally:
            commands.run, kernel.change = run, change
            Ovsdb.transact = transact  # type: ignore[method-assign]

    def play(self) -> float:
        begun = time.perf_counter()
        for each in self.told:
            each()
        return time.perf_counter() - begun


def timed(what: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


class Subject:
    """A back end on a system that has nothing of it yet."""

    def __init__(self, make: Callable[[], Backend]) -> None:
        self.backend = make()
        self.able = self.backend.probe((line(),))
        self.tell(plan([]))
        self.read(plan([]))

    def tell(self, wanted: Plan) -> None:
        failed = self.backend.apply(wanted)
        assert not failed, next(iter(failed.values()))

    def read(self, wanted: Plan, keys: Collection[Key] | None = None) -> None:
        """Everything, or as much as an agent asks for after a change."""
        part = wanted if keys is None else replace(wanted, entries={key: wanted.entries[key] for key in keys})
        found = differences(part, self.backend.read(keys), time.time(), keys, self.able)
        assert not found, found[0]

    def end(self) -> None:
        self.backend.clear()
        self.backend.close()


def once(make: Callable[[], Backend], size: int) -> dict[str, tuple[float, float, float]]:
    """Seconds of telling and of reading back, and of the bare transactions."""
    now = int(time.time())
    some = [entry(number, now + LIFE_S) for number in range(size)]
    later = [replace(each, expires=now + 2 * LIFE_S) for each in some]
    steps = {"install": plan(some), "refresh": plan(later), "remove": plan([])}
    subject = Subject(make)
    tapes, own, reading = {}, {}, {}
    for name, wanted in steps.items():
        tapes[name] = Tape()
        with tapes[name].recording():
            own[name] = timed(lambda wanted=wanted: subject.tell(wanted))  # type: ignore[misc]
        reading[name] = timed(lambda wanted=wanted: subject.read(wanted, wanted.entries.keys()))  # type: ignore[misc]
    bare = {name: tape.play() for name, tape in tapes.items()}
    subject.end()
    return {name: (own[name], reading[name], bare[name]) for name in steps}


def back_end(name: str, make: Callable[[], Backend]) -> None:
    for size in SIZES:
        rounds = [once(make, size) for _ in range(ROUNDS[size])]
        for step in rounds[0]:
            own, reading, bare = (
                round(statistics.median(each[step][index] for each in rounds) * 1e3, 2) for index in (0, 1, 2)
            )
            Result(f"{name} {step} {size:,}", own, "ms", bare, AIM, True).print()
            Result(f"{name} {step} {size:,}, then read back", round(own + reading, 2), "ms", bare).print()
    idle(name, make, SIZES[-1])


def idle(name: str, make: Callable[[], Backend], size: int) -> None:
    """Everything is as it shall be."""
    subject, now = Subject(make), int(time.time())
    wanted = plan([entry(number, now + LIFE_S) for number in range(size)])
    subject.tell(wanted)

    def reconcile() -> None:
        subject.read(wanted)
        subject.tell(wanted)

    seconds = statistics.median(timed(reconcile) for _ in range(5))
    Result(f"{name} reconcile {size:,} with nothing to do", round(seconds * 1e3, 2), "ms").print()
    subject.end()


def road(lab: Lab) -> Host:
    here, there = lab.host("here"), lab.host("there")
    lab.link(here, there)
    return here


def main() -> None:
    with Lab() as lab:
        here = road(lab)
        with here.entered():
            back_end("tc-nft", lambda: TrafficControl(Nftables(), False))
            back_end("tc-u32", lambda: TrafficControl(U32(), False))
        if why := switch_unavailable_reason():
            print(f"# openvswitch: {why}", flush=True)
            return
        with Switch(here) as switch:
            switch.bridge("br0")
            switch.port("br0", "eth0")
            with here.entered():
                back_end("openvswitch", lambda: OpenVSwitch(switch.socket, False))


if __name__ == "__main__":
    main()
