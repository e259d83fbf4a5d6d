"""Putting reservations in place, refreshing and removing them, through each back end and on the real system.

The floor is the bare transactions of the very same rules: what the back end told ``tc``, ``nft``, ``ovs-ofctl`` or
OVSDB, told again to a system in the same state, with nothing computed. Of u32, which the back end tells by netlink, it
is ``tc -batch`` of one plain filter for each. Where the same words would not do the same again, for they name rows that
are gone, there is none. The aim is for telling it; reading it back, which the floor leaves out, comes on top.

python -m bench.asa_enforcement
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from asa.dataplane import commands
from asa.dataplane.backend import Backend, EnforcementFailed
from asa.dataplane.drift import differences
from asa.dataplane.match import Match
from asa.dataplane.nft.classifier import Nftables
from asa.dataplane.openvswitch import OpenVSwitch
from asa.dataplane.openvswitch.ovsdb import Ovsdb
from asa.dataplane.plan import Action, Entry, Key, Line, Plan, Share
from asa.dataplane.tc.control import TrafficControl
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
More = Callable[[str, int], str]


def line() -> Line:
    return Line("eth0", "out", 20_000_000_000, 1_000_000_000, (18, 26, 46))


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
        self.same = True
        """Whether what was told again did as much as the first time."""

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        run, transact = commands.run, Ovsdb.transact
        told = self.told

        def run_and_keep(program: Any, arguments: Any, stdin: str = "", *more: Any) -> str:
            if not READING & {word for each in arguments for word in each.split()}:
                argv = [program, *arguments]
                told.append(lambda: subprocess.run(argv, input=stdin, capture_output=True, text=True))
            return run(program, arguments, stdin, *more)

        def transact_and_keep(client: Ovsdb, operations: Any) -> Any:
            results = transact(client, operations)

            def again() -> None:
                try:
                    done = transact(client, operations)
                except EnforcementFailed:
                    done = []
                self.same &= touched(done) == touched(results)

            if any(each["op"] != "select" for each in operations):
                told.append(again)
            return results

        commands.run = run_and_keep  # type: ignore[assignment]
        Ovsdb.transact = transact_and_keep  # type: ignore[method-assign]
        try:
            yield
        finally:
            commands.run = run
            Ovsdb.transact = transact  # type: ignore[method-assign]

    def play(self) -> float:
        begun = time.perf_counter()
        for each in self.told:
            each()
        return time.perf_counter() - begun


def touched(results: list[dict[str, Any]]) -> int:
    """Rows."""
    return sum(each.get("count", 0) for each in results)


def timed(what: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


class Subject:
    """A back end on a system that has nothing of it yet."""

    def __init__(self, make: Callable[[], Backend]) -> None:
        self.backend = make()
        self.able = self.backend.probe((line(),))
        # What a back end starts once it starts before the clock does.
        self.tell(plan([entry(1 << 20, int(time.time()) + LIFE_S)]))
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


def filters(step: str, size: int) -> str:
    """For ``tc -batch``. A preference has room for 4,095 in a row."""
    where = "dev eth0 parent a5a: protocol ip"
    if step == "remove":
        return "".join(f"filter del {where} pref {each}\n" for each in range(1, size // 4_000 + 2))
    return "".join(
        f"filter add {where} pref {number // 4_000 + 1} u32 match ip src 10.{number >> 16}.{number >> 8 & 255}."
        f"{number & 255}/32 match ip dst 192.0.2.1/32 match ip protocol 6 0xff match ip dport 443 0xffff "
        "flowid a5a:ffff\n"
        for number in range(size)
    )


def once(make: Callable[[], Backend], size: int, more: More | None) -> dict[str, tuple[float, float, float | None]]:
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
        if more is not None:
            tapes[name].told.append(functools.partial(commands.run, "tc", ["-force", "-batch", "-"], more(name, size)))
        reading[name] = timed(lambda wanted=wanted: subject.read(wanted, wanted.entries.keys()))  # type: ignore[misc]
    played = {name: tape.play() for name, tape in tapes.items()}
    bare = {name: seconds if tapes[name].same else None for name, seconds in played.items()}
    subject.end()
    return {name: (own[name], reading[name], bare[name]) for name in steps}


def median(seconds: Iterable[float | None]) -> float:
    """Milliseconds."""
    return round(statistics.median(each for each in seconds if each is not None) * 1e3, 2)


def back_end(name: str, make: Callable[[], Backend], more: More | None = None) -> None:
    """``more``: text for ``tc -batch``, by step and size, that belongs to the floor."""
    for size in SIZES:
        rounds = [once(make, size, more) for _ in range(ROUNDS[size])]
        for step in rounds[0]:
            own, reading = (median(each[step][index] for each in rounds) for index in (0, 1))
            bares = [each[step][2] for each in rounds]
            bare = None if None in bares else median(bares)
            Result(f"{name} {step} {size:,}", own, "ms", bare, None if bare is None else AIM, True).print()
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
            back_end("tc-u32", lambda: TrafficControl(U32(), False), filters)
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
