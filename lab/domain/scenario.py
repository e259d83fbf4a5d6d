"""The run itself: build, play the demand, kill one agent in the middle of it, restart it, check and audit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import examples.day
from asa.errors import AsaError
from asa.quantities import format_duration, format_rate
from lab import LabError, unavailable_reason
from lab.domain.capturing import capturing
from lab.domain.commands import commands
from lab.domain.contest import contest
from lab.domain.crash import crash
from lab.domain.demand import Demand, demand, read
from lab.domain.domain import BACK_END, Broken, Domain
from lab.domain.places import Ground, loopback, namespaces
from lab.domain.player import Player, Timing
from lab.domain.report import Report
from lab.domain.screen import Scene, Screen
from lab.domain.settings import Settings
from lab.domain.stop import Stop, Stopped
from lab.domain.verdicts import broken
from lab.domain.workplace import workplace

DAY: Final = Path(examples.day.__file__).with_name("day.csv")
CRASH_AT: Final = 0.5
"""Of the time the demand takes."""
LEAD_S: Final = 1.0
ANSWERS_S: Final = 90.0
"""After the last row was asked for."""
AGAIN_S: Final = 3.0
"""Until an agent that a user killed is started again, as a service would be."""
QUIET_S: Final = 60.0
"""For everything in doubt to be settled."""


def wanted(settings: Settings) -> Demand:
    """The user's file; else the day of ``examples/``, made anew for other agents than its file names.

    Raises :class:`~lab.domain.demand.DemandError`.
    """
    agents = settings.topology.agents
    if settings.reservations is not None:
        return read(settings.reservations, agents)
    if set(agents) == set(examples.day.NODES):
        return read(DAY, agents)
    return demand("examples/day.py", examples.day.day(agents), agents)


def policy(speed: float) -> dict[str, int]:
    """The usual policy on compressed time: what is an hour or two of the demand is not one of the agents."""
    horizon = max(2, round(3_600 / speed))
    return {"horizon": horizon, "lease": 2 * horizon, "settle_interval": 1}


USUAL: Final = {"horizon": 3_600, "lease": 7_200, "settle_interval": 5}


class Run:
    """One run. Raises Broken, LabError and Stopped; then everything is gone already."""

    def __init__(self, settings: Settings, rows: Demand, screen: Screen, stop: Stop, stay: bool) -> None:
        self.settings = settings
        self.report = Report()
        self._rows = rows
        self._screen = screen
        self._stop = stop
        self._stay = stay
        self._begin = time.monotonic()

    def run(self) -> Report:
        topology, stop = self.settings.topology, self._stop
        with workplace(topology) as directory, self._ground(directory) as ground:
            domain = Domain(self.settings, ground, self._rows.pools, directory, stop)
            try:
                self._play(domain, ground)
            except AsaError as error:
                raise Broken(
                    "\n".join(domain.deaths() or [f"an agent does not answer as it should: {error}"])
                ) from error
            finally:
                stop.tick = _nothing
                self._screen.close()
                domain.give_up()
        return self.report

    @contextlib.contextmanager
    def _ground(self, directory: Path) -> Iterator[Ground]:
        where, topology = self.settings.where, self.settings.topology
        if where is None and (reason := unavailable_reason()):
            self._screen.say(f"{reason}; so all agents run on this host's loopback")
            where = "loopback"
        self._screen.say(f"building {topology.name}: {', '.join([*topology.agents, *topology.relays])}")
        if where == "loopback":
            if topology.relays or topology.name != "star":
                self._screen.say("on loopback every agent is a neighbour of every other, whatever the topology")
            with loopback(topology) as ground:
                yield ground
            return
        try:
            with namespaces(topology, directory, self._stop.check) as ground, self._captured(ground):
                yield ground
        except LabError as error:
            # The terminal's Ctrl-C is ip(8)'s too.
            self._stop.check()
            raise Broken(f"cannot build the network: {error}") from error

    @contextlib.contextmanager
    def _captured(self, ground: Ground) -> Iterator[None]:
        file = self.settings.capture
        if file is None:
            yield
            return
        self._screen.say(f"everything that crosses the links goes to {file}")
        try:
            with capturing(ground.wires, file):
                yield
        except PermissionError as error:
            raise Broken(f"cannot capture: {error}") from error

    def _play(self, domain: Domain, ground: Ground) -> None:
        report, topology = self.report, self.settings.topology
        speed, say = self.settings.speed, self._screen.say
        domain.start()
        report.network = {
            "ground": ground.where, "topology": topology.name, "origin": topology.origin,
            "delegators": list(topology.delegators), "relays": list(ground.relays), "substrate": ground.substrate,
        }  # fmt: skip
        report.seed = dict(domain.seeds)
        self._contest(domain, ground)
        domain.set_policy(policy(speed))
        if ground.substrate == "plain":
            say("GRASP travels in the clear (substrate plain): on loopback there are no links to secure")
        say(f"{len(domain.agents)} agents on {ground.where}; {format_rate(domain.origin_seed)} seeded at the origin")
        lasts = self._rows.last / speed
        say(
            f"playing {len(self._rows.rows)} reservations of {self._rows.name}: {format_duration(self._rows.last)}"
            f" in {format_duration(round(lasts))}"
        )
        report.demand = {
            "file": self._rows.name, "reservations": len(self._rows.rows), "speed": speed, "seconds": round(lasts),
        }  # fmt: skip
        player = Player(self._rows.rows, Timing(time.time() + LEAD_S, speed), domain.ask)
        self._show(domain, player)
        player.start()
        try:
            self._day(domain, player, lasts)
        finally:
            player.stop()
        self._check(domain)
        report.took_s = round(time.monotonic() - self._begin, 1)
        if not report.ok:
            self._complaints(domain)
        for line in report.lines():
            say(line)
        if self._stay:
            self._stay_up(domain)

    def _contest(self, domain: Domain, ground: Ground) -> None:
        """Before the day: it is about packets, and takes none of the capacity that is played for."""
        access, say = ground.access, self._screen.say
        self.report.network["enforcement"] = BACK_END if access is not None else "record"
        if access is None:
            say(f"packets are left alone, and reservations only written down: {ground.why}")
            return
        agent = domain.agents[access.agent]
        result = self._stop.during(lambda: contest(agent, access, say))
        self.report.contest = result.summary()
        if failure := result.failure:
            self.report.fail(failure)

    def _day(self, domain: Domain, player: Player, lasts: float) -> None:
        stop, report = self._stop, self.report
        stop.until(lambda: self._ended(domain, player), LEAD_S + CRASH_AT * lasts)
        self._stop_if_dead(domain)
        peers = [each for each in domain.agents.values() if each is not domain.victim]
        pool = self._rows.pools[0]
        result = crash(domain.victim, peers, pool, domain.origin_seed, domain.ask, stop, self._screen.say)
        report.crash = result.summary()
        if not result.kills_in_transfer:
            report.fail(f"of {result.kills} kills none hit an open transfer")
        elif not result.settled:
            report.fail("the transfers of the crash are still in doubt")
        if domain.victim.running:
            self._promises(domain, [domain.victim.name])
        if not stop.until(lambda: self._ended(domain, player), lasts + ANSWERS_S):
            report.fail("not every reservation was answered in time")
        self._stop_if_dead(domain)

    def _ended(self, domain: Domain, player: Player) -> bool:
        return player.done or bool(domain.deaths())

    def _stop_if_dead(self, domain: Domain) -> None:
        if deaths := domain.deaths():
            raise Broken("\n".join(deaths))

    def _check(self, domain: Domain) -> None:
        """At rest: nothing in doubt, every answer kept, every bit/s there once."""
        stop, report = self._stop, self.report
        domain.set_policy(USUAL)
        try:
            if not stop.until(lambda: not domain.in_doubt(), QUIET_S, 0.2):
                report.fail(f"still in doubt: {', '.join(domain.in_doubt())}")
        except AsaError as error:
            report.fail(f"an agent does not answer: {error}")
        self._promises(domain, list(domain.agents))
        report.audit = stop.during(domain.audit)
        report.judge_audit(len(domain.agents))
        stop.during(domain.watch.look)
        report.asked = domain.verdicts.summary(domain.agents)
        report.moved = domain.watch.moved()
        if lost := [each.owner for each in domain.verdicts.all() if each.lost]:
            report.fail(f"never answered: {', '.join(lost[:20])}")
        report.fail(*domain.deaths())

    def _promises(self, domain: Domain, names: list[str]) -> None:
        """Compare what was answered so far with what the agents list."""
        verdicts = [each for each in domain.verdicts.all() if each.row.node in names]
        try:
            listed = self._stop.during(lambda: domain.listed(names))
        except AsaError as error:
            self.report.fail(f"an agent does not list its reservations: {error}")
            return
        self.report.fail(*broken(verdicts, listed))
        self.report.kept = {
            each: sum(verdict.outcome == each for verdict in verdicts) for each in ("admitted", "refused")
        }

    def _complaints(self, domain: Domain) -> None:
        """Of every log: the files are about to go."""
        for agent in domain.agents.values():
            for line in agent.complaints():
                self._screen.say(f"{agent.name}: {line}")

    def _show(self, domain: Domain, player: Player) -> None:
        def title() -> str:
            clock = int(player.timing.file_time(time.time()))
            return (
                f"{clock // 3600:02}:{clock % 3600 // 60:02} of the demand" if not player.done else "after the demand"
            )

        scene = Scene(domain.watch, domain.verdicts, sum(domain.seeds.values()), domain.origin.name, title)

        def tick() -> None:
            for each in domain.watch.news():
                self._screen.say(each)
            self._screen.show(scene, time.monotonic())

        self._stop.tick = tick

    def _stay_up(self, domain: Domain) -> None:
        """Until Ctrl-C, which then is the right end."""
        say = self._screen.say
        say("\nThe agents stay up until Ctrl-C. In another terminal, in this directory:\n")
        asked = next(each for each in domain.agents.values() if each is not domain.origin)
        for line in commands(asked, domain.victim, next(iter(domain.seeds))):
            say(f"    {line}")
        say("")
        with contextlib.suppress(Stopped):
            while True:
                self._stop.sleep(AGAIN_S)
                for agent in domain.agents.values():
                    if agent.died():
                        say(f"{agent.name} is down; it is started again")
                        agent.start()


def _nothing() -> None:
    """Nothing to show any more."""
