"""The running lab: agents on their ground, asked, watched and listed together."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from asa.errors import AsaError
from lab.domain.agents import Agent
from lab.domain.contest import SECTIONS
from lab.domain.demand import Row
from lab.domain.places import SITE, Ground
from lab.domain.player import reserve
from lab.domain.settings import Settings
from lab.domain.stop import Stop
from lab.domain.verdicts import Verdicts
from lab.domain.watching import Watch

START_S: Final = 20.0
START_EACH_S: Final = 2.0
"""More for each agent: they start side by side on few processors."""
PAGE: Final = 1_000
FLOWS: Final = '[flows]\nkernel_routes = {}\nserves = ["{}"]\n[enforcement]\nbackend = "{}"\n'
LINK: Final = '[[link]]\ninterface = "{}"\ncapacity = {}\n'
ALLOW: Final = '[[allow]]\nmembers = ["{}"]\norigin = ["*"]\nparams = true\n'
BACK_END: Final = "tc-nft"
"""How packets are made to obey, where they can be."""
ROOM: Final = 4
"""Times all that is seeded: the capacity of links between the agents. Pools are what is scarce, not these."""
FASTEST: Final = 400_000_000_000
"""bit/s: faster links are not shaped, for the kernel's queues are not made for more."""
AUDITS: Final = 6
"""How often an audit that found no rest is repeated."""


class Broken(RuntimeError):
    """The lab cannot go on, and why."""


class Domain:
    """All agents of a run, the origin first."""

    def __init__(self, settings: Settings, ground: Ground, pools: Sequence[str], directory: Path, stop: Stop) -> None:
        topology = settings.topology
        seeds = dict.fromkeys(pools, settings.seed)
        capacity = ROOM * sum(seeds.values())

        def more(number: int, name: str) -> str:
            allowed = ALLOW.format(topology.origin) if ground.places[name].identity is not None else ""
            return _sections(ground, name, SITE.format(number), capacity) + allowed

        self.agents = {
            name: Agent(
                name,
                "origin" if name == topology.origin else "delegator",
                ground.places[name],
                directory,
                seeds if name == topology.origin else {},
                more(number, name),
            )
            for number, name in enumerate(topology.agents, 1)
        }
        self.origin = self.agents[topology.origin]
        self.victim = self.agents[topology.delegators[-1]]
        self.seeds = seeds
        self.verdicts = Verdicts()
        self.watch = Watch(list(self.agents.values()))
        self._ground = ground
        self._stop = stop
        self._extra = itertools.count(1)
        self._given_up = False

    def start(self) -> None:
        """Until every agent is ready and has heard of every pool. Raises Broken."""
        limit = START_S + START_EACH_S * len(self.agents)
        for agent in self.agents.values():
            self._stop.check()
            agent.start()
        for what, condition in (
            ("ready", Agent.ready),
            ("told of the pools", lambda agent: agent.knows(self.seeds, self.origin_seed)),
        ):
            waiting = dict(self.agents)

            def settled(waiting: dict[str, Agent] = waiting, condition: Any = condition) -> bool:
                for name, agent in list(waiting.items()):
                    if condition(agent):
                        del waiting[name]
                return not waiting or bool(self.deaths())

            if not self._stop.until(settled, limit, 0.1) or waiting:
                raise Broken("\n".join([f"not {what}: {', '.join(waiting)}", *self.deaths()]))
        self.watch.start()

    @property
    def origin_seed(self) -> int:
        """bit/s of each pool."""
        return next(iter(self.seeds.values()))

    def set_policy(self, values: dict[str, int]) -> None:
        """For all agents; asked of the origin, which floods it. Raises AsaError."""
        self.origin.request("PATCH", "params", values)

    def deaths(self) -> list[str]:
        """Of agents and relays that should be running."""
        found = [died for each in self.agents.values() if (died := each.died())]
        return found + [f"relay {name} ended" for name, each in self._ground.relays.items() if each.poll() is not None]

    def ask(self, row: Row, window: tuple[int, int | None], late_s: float) -> None:
        """Reserve like any consumer, and keep the answer. In the caller's thread, until there is one."""
        owner = f"row-{row.number}" if row.number else f"extra-{next(self._extra)}"
        verdict = reserve(self.agents[row.node], row, window, owner, lambda: self._given_up, late_s=late_s)
        self.verdicts.add(verdict)

    def give_up(self) -> None:
        """No consumer waits any longer."""
        self._given_up = True
        self.watch.stop()

    def listed(self, names: Sequence[str] | None = None) -> dict[str, list[dict[str, Any]]]:
        """Every reservation of the agents, in every state. Raises AsaError."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name in names if names is not None else self.agents:
            its = found[name] = []
            after = None
            while True:
                page = self.agents[name].request("GET", "reservations", state="all", limit=PAGE, after=after)
                its += page["reservations"]
                after = page["next"]
                if after is None:
                    break
        return found

    def in_doubt(self) -> list[str]:
        """Transactions in doubt anywhere. Raises AsaError."""
        return [each["txn"] for agent in self.agents.values() for each in agent.in_doubt()]

    def audit(self) -> dict[str, Any]:
        """Of all pools, asked of the origin; empty if it gives none."""
        audit: dict[str, Any] = {}
        for _ in range(AUDITS):
            try:
                audit = self.origin.request("POST", "audit", {}, patience_ms=60_000)
            except AsaError:
                audit = {}
            if audit.get("ok") and not any(each["in_motion"] for each in audit["pools"]):
                break
            time.sleep(1)
        return audit


def _sections(ground: Ground, name: str, site: str, capacity: int) -> str:
    """What the configuration of an agent says of packets. ``capacity``: bit/s of each of its links to other nodes."""
    obeyed = ground.access is not None
    text = FLOWS.format("true" if obeyed else "false", site, BACK_END if obeyed else "record")
    if obeyed and capacity <= FASTEST:
        text += "".join(LINK.format(each, capacity) for each in ground.places[name].interfaces)
    if ground.access is not None and ground.access.agent == name:
        text += SECTIONS.format(interface=ground.access.interface)
    return text
