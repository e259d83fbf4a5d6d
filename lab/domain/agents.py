"""The agents of the lab: real processes with a configuration, a state directory and a socket each."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from asa.errors import AsaError
from asa.northbound.client import Client
from lab.domain.places import Place, Process

TIMEOUT_S: Final = 20.0
"""For an answer, beside the patience of what is asked."""
TAIL: Final = 15
"""Lines of a log that are shown of an agent that failed."""
_CALM: Final = re.compile("^[-0-9]+ [:,0-9]+ (DEBUG|INFO|WARNING) ")


class Agent:
    """One agent. Requests may be made by any thread, each over a connection of its own."""

    def __init__(
        self, name: str, mode: str, place: Place, directory: Path, seeds: Mapping[str, int], more: str = ""
    ) -> None:
        """``seeds``: bit/s by pool, at an origin. ``more``: further sections of its configuration."""
        self.name = name
        self.mode = mode
        self.socket = directory / f"{name}.sock"
        self.log = directory / f"{name}.log"
        self.config = directory / f"{name}.toml"
        self.life = 0
        """How often it was started."""
        self.expected = True
        """Whether it is all right that it does not run."""
        self._place = place
        self._process: Process | None = None
        self._connections = threading.local()
        self.config.write_text(f"{_toml(self, directory / name, seeds)}\n{more}")

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with open(self.log, "ab") as output:
            command = [sys.executable, "-m", "asa", "run", "-c", str(self.config)]
            self._process = self._place.launch(command, output)
        self.life += 1
        self.expected = False

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self.expected = True
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def died(self) -> str | None:
        """How it ended, if it should not have."""
        if self.expected or self.running or self._process is None:
            return None
        code = self._process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"{self.name} ended {how}: {self.tail()}"

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL:])

    def complaints(self) -> list[str]:
        """The last lines of its log above WARNING, and what follows them if it is no line of a logger."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [each for each in lines if not _CALM.search(each)][-TAIL:]

    def request(self, method: str, path: str, body: Any = None, *, patience_ms: int = 0, **query: Any) -> Any:
        """Raises AsaError."""
        return self.client(patience_ms).request(method, f"/v1/{path}", body, query)

    def client(self, patience_ms: int = 0) -> Client:
        """This thread's connection."""
        timeout = TIMEOUT_S + patience_ms / 1000
        clients: dict[float, Client] | None = getattr(self._connections, "clients", None)
        if clients is None:
            clients = self._connections.clients = {}
        if timeout not in clients:
            clients[timeout] = Client(str(self.socket), timeout=timeout)
        return clients[timeout]

    def ready(self) -> bool:
        try:
            return bool(self.request("GET", "health")["ready"])
        except AsaError:
            return False

    def knows(self, pools: Iterable[str], seed: int) -> bool:
        """Whether it has heard of what the origin seeded."""
        try:
            found = {each["name"]: each["seeded"] for each in self.request("GET", "pools")}
        except AsaError:
            return False
        return all(found.get(pool) == seed for pool in pools)

    def in_doubt(self) -> list[dict[str, Any]]:
        """Its transfers whose outcome is not known."""
        found: list[dict[str, Any]] = self.request("GET", "transfers", in_doubt=True)
        return found


def _toml(agent: Agent, state: Path, seeds: Mapping[str, int]) -> str:
    place = agent._place
    lines = [
        "[agent]", f"name = {_text(agent.name)}", f"mode = {_text(agent.mode)}", f"state_dir = {_text(str(state))}", "",
        "[grasp]", f"interfaces = [{', '.join(_text(each) for each in place.interfaces)}]",
    ]  # fmt: skip
    if place.address is not None:
        lines.append(f"address = {_text(str(place.address))}")
    if place.ipv4:
        lines.append("ipv4 = true")
    lines.append(f'substrate = "{"plain" if place.identity is None else "domain"}"')
    if place.identity is not None:
        lines += ["", "[domain]", f"identity = {_text(str(place.identity))}"]
    lines += ["", "[api]", f"socket = {_text(str(agent.socket))}"]
    for pool, capacity in seeds.items():
        lines += ["", "[[pool]]", f"name = {_text(pool)}", f"capacity = {capacity}"]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    # A basic string of TOML may hold every escape that JSON writes.
    return json.dumps(value)
