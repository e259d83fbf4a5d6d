"""Three agents in a row, each with hosts behind it, that all scenarios share; each test has a day of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from asa.errors import Ended, UnknownReservation
from lab import Lab, unavailable_reason
from tests.agents.domain import QUIET, Agent, Domain, G, M, eventually
from tests.northbound.remote import Pki

ADMIN = "of the administrator"
TOKEN = "t" * 32
TCP = "127.0.0.1:7180"
OUTSIDE = "203.0.113.9"
"""Behind no agent, and of no pool: its interface alone counts."""

LINKS = {"a": "capacity = 10_000_000_000", "b": "capacity = 1_000_000_000\nheadroom = 10",
         "c": "capacity = 1_000_000_000\nalarm = 80"}  # fmt: skip
_days = itertools.count(1)


@dataclass
class Scene:
    """``a``, the origin of ``wan``, ``b`` and ``c``; behind each of them fd00:NAME::/64 and a host h-NAME."""

    domain: Domain
    day: int = 0
    """UNIX s: when a test's own future begins."""

    @property
    def a(self) -> Agent:
        return self.domain.agents["a"]

    @property
    def b(self) -> Agent:
        return self.domain.agents["b"]

    @property
    def c(self) -> Agent:
        return self.domain.agents["c"]

    def file(self, name: str, content: str = "") -> Path:
        """One that only its owner may read."""
        path = self.domain.directory / name
        if content:
            path.touch(0o600)
            path.write_text(content)
        return path

    def hosts(self, agent: str, **addresses: str) -> None:
        """What names mean to an agent, besides h-a, h-b and h-c; the file is replaced as a whole."""
        table = {f"h-{each}": f"fd00:{each}::1" for each in "abc"} | addresses
        text = "".join(f"[hosts.{name}]\naddresses = {json.dumps([place])}\n" for name, place in table.items())
        new = self.file(f"{agent}.new", text)
        new.replace(self.file(f"{agent}.hosts"))

    def more(self, name: str) -> str:
        """The configuration of an agent."""
        tcp = self.remote() if name == "a" else ""
        return f"""{tcp}admin_file = "{self.file("admin", ADMIN)}"
[flows]
hosts_file = "{self.file(f"{name}.hosts")}"
serves = ["fd00:{name}::/64", "10.{" abc".index(name)}.0.0/16"]
[[link]]
interface = "eth0"
{LINKS[name]}
[[route]]
prefix = "::/0"
interface = "eth0"
[[route]]
prefix = "0.0.0.0/0"
interface = "eth0"
[[route]]
prefix = "203.0.113.0/24"
pools = []
"""

    def remote(self) -> str:
        """The API over TCP; ``trust.pem`` in :attr:`pki` believes it."""
        certificate, key = self.pki.pair(self.pki.server())
        return (
            f'tcp = "{TCP}"\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
            f'token_file = "{self.file("token", TOKEN)}"\n'
        )

    @cached_property
    def pki(self) -> Pki:
        return Pki(self.domain.directory / "pki")

    def crash(self, *agents: Agent, meanwhile: float = 0.0) -> None:
        """SIGKILL and a new start, ``meanwhile`` (UNIX s) at the earliest."""
        for each in agents:
            each.kill()
        eventually(lambda: time.time() >= meanwhile)
        for each in agents:
            each.launch()
        for each in agents:
            each.ready()

    def acquainted(self, *agents: Agent) -> None:
        for each in agents:
            each.ready()
        for each in agents:
            eventually(
                lambda each=each: len(each.events("peer-serves")) >= 2, what=f"{each.name} knows who serves what"
            )

    def tidy(self) -> None:
        """As it was before a test."""
        for agent in self.domain.agents.values():
            agent.restore()
            self.hosts(agent.name)
            if agent.get("status")["paused"]:
                agent.request("POST", "agent/resume", secret=ADMIN)
            for cap in agent.get("caps"):
                self.cap(agent, cap["project"], cap["resource"], None)
        for agent in self.domain.agents.values():
            for each in agent.reservations(state=None):
                with contextlib.suppress(Ended, UnknownReservation):
                    agent.cancel(each["id"], ADMIN)

    def cap(self, agent: Agent, project: str, resource: str, amount: int | None, percent: bool = False) -> None:
        body = {"project": project, "resource": resource, "amount": amount, "percent": percent}
        agent.request("PUT", "caps", body, secret=ADMIN)

    def asa(self, agent: Agent, *argv: str) -> tuple[int, Any]:
        """The exit status and the JSON of a command."""
        command = [sys.executable, "-m", "asa", "--socket", str(agent.socket), "--json", *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout)

    def free(self, agent: Agent, pool: str, start: int, end: int) -> int:
        found: int = agent.get("availability", pool=pool, start=start, end=end)["free"]
        return found


def ids(found: list[dict[str, Any]]) -> set[str]:
    return {each["id"] for each in found}


def link(agent: Agent, name: str = "eth0:out") -> int:
    """bit/s booked of an interface at the worst instant."""
    found: dict[str, Any] = next(each for each in agent.get("links") if each["name"] == name)
    return int(found["capacity"] - found["free"])


def state_at(agent: Agent, identifier: str) -> str:
    """``absent`` where it is not known."""
    found = [each["state"] for each in agent.reservations() if each["id"] == identifier]
    return found[0] if found else "absent"


def settled(agent: Agent, identifier: str, state: str = "active") -> bool:
    """Its state there, in the end: what one agent has told its consumer the other hears a moment later."""
    return bool(eventually(lambda: state_at(agent, identifier) == state, what=f"{identifier} is {state}"))


def two_way(source: str = "h-a", destination: str = "h-b", **more: Any) -> dict[str, Any]:
    return {"kind": "two-way", "source": source, "destination": destination, "back": 10 * M, "owner": "shop"} | more


@pytest.fixture(scope="package")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        domain = Domain.line(lab, tmp_path_factory.mktemp("scenarios"), ["a", "b", "c"])
        scene = Scene(domain)
        for name in "abc":
            scene.hosts(name)
            pools = {"wan": 100 * G} if name == "a" else None
            domain.agent(name, "origin" if pools else "delegator", pools, more=scene.more(name))
        domain.start(**QUIET | {"retry": 1, "flood_interval": 1})
        scene.acquainted(*domain.agents.values())
        yield scene


@pytest.fixture
def scene(everyone: Scene) -> Iterator[Scene]:
    everyone.day = int(time.time()) + 86_400 * next(_days)
    yield everyone
    everyone.tidy()
