"""Agents as processes, each in a namespaced host of its own, and what a test asks of them over their API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import grasp
from asa.errors import AsaError, Short
from asa.membership import MULTICAST_SIZE
from asa.northbound.client import Client
from asa.seals import Seals
from grasp import FloodItem, IPv6Locator, Objective
from grasp.calls import Peer
from grasp.security import Identity
from lab import Host, Lab
from objectives import NodeId, node_from_text
from tests.network.topology import address, network
from tests.pki import Authority, Issued

M, G = 10**6, 10**9
T = TypeVar("T")

QUIET = {
    "refill": 0, "high_water": 100, "least_grant": 1, "guard": 0, "settle_interval": 1, "flood_interval": 5,
}  # fmt: skip
"""A policy under which nothing moves but for a consumer: what an agent holds is what its consumers made it ask for."""

ONE_ORIGIN = """
[[allow]]
members = ["a"]
origin = ["*"]
params = true
"""

RELAY = """
import sys, threading, grasp
from grasp.security import Identity
limits = grasp.Limits(multicast_size=16_384)
with grasp.Node(identity=Identity.load(sys.argv[1]), limits=limits):
    threading.Event().wait()
"""

READY_S = 60.0
PATIENCE_S = 40.0
"""The bound of every wait of these tests; none is meant to be used up."""
PATIENCE_MS = 20_000
"""Of a consumer who does not say: peers that are slow, on a machine that is, are no refusal."""
READERS = 8


def eventually(condition: Callable[[], Any], timeout: float = PATIENCE_S, what: str = "", pause: float = 0.05) -> Any:
    """What ``condition`` returns as soon as that is true; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(pause)
    return found


class Agent:
    """One ``asa run``. Any thread may ask it, each over a connection of its own."""

    def __init__(
        self,
        host: Host,
        address: str,
        directory: Path,
        name: str,
        mode: str = "delegator",
        pools: Mapping[str, int | tuple[int, int]] | None = None,
        *,
        state: Path | None = None,
        limits: Mapping[str, int] | None = None,
        at: str = "",
        workers: int = 8,
        more: str = "",
        identity: Path | None = None,
    ) -> None:
        """``pools``: bit/s by name, or (bit/s, where on the pool's line). ``at`` tells apart agents of one name.

        ``more``: further sections of its configuration, and keys of ``[api]`` before them. ``identity``: its directory;
        None: substrate ``plain``.
        """
        self.host = host
        self.name = name
        self.address = address
        self.state = state or directory / f"{name}{at}"
        self.socket = directory / f"{name}{at}.sock"
        self.log_file = directory / f"{name}{at}.log"
        self.config = directory / f"{name}{at}.toml"
        self.kills = 0
        self.program = ["-m", "asa"]
        """What Python runs."""
        self.process: subprocess.Popen[bytes] | None = None
        self._connections = threading.local()
        devices = [f"eth{number}" for number in range(_links(host))]
        text = f'[agent]\nname = "{name}"\nmode = "{mode}"\nstate_dir = "{self.state}"\n'
        text += f'[grasp]\ninterfaces = {json.dumps(devices)}\naddress = "{address}"\n'
        text += f'substrate = "{"plain" if identity is None else "domain"}"\n'
        text += f'[api]\nsocket = "{self.socket}"\nworkers = {workers}\n{more}\n'
        for pool, capacity in (pools or {}).items():
            amount, place = capacity if isinstance(capacity, tuple) else (capacity, None)
            text += f'[[pool]]\nname = "{pool}"\ncapacity = {amount}\n' + (
                f"at = {place}\n" if place is not None else ""
            )
        if identity is not None:
            text += f'[domain]\nidentity = "{identity}"\n'
        if limits:
            text += "[limits]\n" + "".join(f"{key} = {value}\n" for key, value in limits.items())
        self.config.write_text(text)

    # Its life.

    def launch(self, *extra: str) -> Agent:
        """Start it, without waiting. Connections to an earlier life are of no use any more."""
        self._connections = threading.local()
        with open(self.log_file, "ab") as log:
            self.process = self.host.popen(
                [sys.executable, *self.program, "run", "-c", str(self.config), *extra], stdout=log, stderr=log
            )
        return self

    def start(self, *extra: str) -> Agent:
        return self.launch(*extra).ready()

    def ready(self) -> Agent:
        eventually(self.is_ready, READY_S, f"{self.name} is ready: {self.log()[-2000:]}")
        return self

    def is_ready(self) -> bool:
        try:
            return bool(self.get("health")["ready"])
        except AsaError:
            assert self.process is None or self.process.poll() is None, f"{self.name} has ended: {self.log()[-2000:]}"
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def refuses_to_start(self, *extra: str) -> str:
        """Its log, once it has ended by itself with a status of its own that is no success."""
        self.launch(*extra)
        assert self.process is not None
        assert self.process.wait(PATIENCE_S) > 0, self.log()[-2000:]
        return self.log()

    def restore(self) -> None:
        """Running and active, whatever has become of it."""
        if self.process is None or self.process.poll() is not None:
            self.launch()
        self.signal(signal.SIGCONT)
        self.ready()
        if self.get("health")["status"] == "inactive":
            self.post("agent/activate")

    # What it is asked.

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        secret: str | None = None,
        timeout: float = 30.0,
        **query: Any,
    ) -> Any:
        """Raises AsaError."""
        clients: dict[float, Client] = self._connections.__dict__.setdefault("clients", {})
        if timeout not in clients:
            clients[timeout] = Client(str(self.socket), timeout=timeout)
        headers = {"Idempotency-Key": key} if key is not None else {}
        if secret is not None:
            headers["Asa-Secret"] = secret
        return clients[timeout].request(method, f"/v1/{path}", body, query, headers)

    def get(self, path: str, **query: Any) -> Any:
        return self.request("GET", path, **query)

    def post(self, path: str, body: Any = None) -> Any:
        return self.request("POST", path, body)

    def reserve(
        self, pool: str, rate: int, *, key: str | None = None, secret: str | None = None, **wanted: Any
    ) -> dict[str, Any]:
        key = key or os.urandom(8).hex()
        body = {"pool": pool, "rate": rate, "patience_ms": PATIENCE_MS, **wanted}
        found: dict[str, Any] = self.request("POST", "reservations", body, key=key, secret=secret, timeout=60.0)
        return found

    def refused(self, pool: str, rate: int, **wanted: Any) -> Short:
        """The refusal of a reservation that must not fit."""
        try:
            found = self.reserve(pool, rate, **wanted)
        except Short as error:
            return error
        raise AssertionError(f"admitted: {found}")

    def reservations(self, pool: str | None = None, state: str = "all") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = None
        while True:
            page = self.get("reservations", pool=pool, state=state, limit=1000, after=after)
            found += page["reservations"]
            if (after := page["next"]) is None:
                return found

    def cancel(self, reservation: str, secret: str | None = None) -> Any:
        return self.request("DELETE", f"reservations/{reservation}", secret=secret)

    def params(self, **values: int | bool) -> dict[str, Any]:
        """The policy here, after it was changed if ``values`` are given: values by name, and ``serial``."""
        found = self.request("PATCH", "params", values) if values else self.get("params")
        return {each["name"]: each["value"] for each in found["params"]} | {"serial": found["serial"]}

    def pool(self, name: str) -> dict[str, Any]:
        """What it sees of a pool, and ``blocks_held``, as [low, high, start, end]."""
        found = self.get(f"pools/{name}")
        blocks = [[each["low"], each["high"], each["start"], each["end"]] for each in found["held"]]
        return {**found["pool"], "blocks_held": blocks}

    def held(self, pool: str) -> list[list[Any]]:
        return list(self.pool(pool)["blocks_held"])

    def transfers(self, pool: str | None = None) -> list[dict[str, Any]]:
        """All, or those of a pool, but not whether givers have confirmed what was taken: that comes by itself."""
        found = [each for each in self.get("transfers") if pool in (None, each["pool"])]
        return [
            {name: value for name, value in each.items() if name != "at" or each["direction"] != "taken"}
            | {"state": "accepted" if each["state"] == "confirmed" else each["state"]}
            for each in found
        ]

    def moves_nothing(self, pool: str) -> bool:
        """Whether nothing of a pool is on its way from here, nor kept after a dry run.

        Who has taken or refused what it was offered goes on before this agent has heard of it.
        """
        return not any(
            each["state"] in ("escrow", "held")
            and any(block["end"] is None or block["end"] > time.time() for block in each["blocks"])
            for each in self.transfers(pool)
        )

    def finds(self, other: Agent) -> bool:
        """Whether it knows where another is in its present life."""
        port = other.get("status")["grasp_port"]
        return any(each["node"] == other.node and each["locator"].endswith(f":{port}") for each in self.get("peers"))

    def knows(self, pool: str, seeded: int) -> bool:
        try:
            return any(each["name"] == pool and each["seeded"] == seeded for each in self.get("pools"))
        except AsaError:
            return False

    def spare_of(self, pool: str) -> dict[str, int]:
        """What peers last said they could spare, by their names."""
        return {each["node"].partition("#")[0]: each["pools"].get(pool, 0) for each in self.get("peers")}

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self.get("events", after=after, limit=1000)
            found += [each for each in page["events"] if kind in (None, each["kind"])]
            if not page["events"]:
                return found
            after = page["next"]

    def problems(self) -> dict[str, str]:
        return {each["code"]: each["message"] for each in self.get("health")["problems"]}

    def audit(self, pool: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.request("POST", "audit", {"pool": pool} if pool else {}, timeout=60.0)
        return found

    def audited(self, pool: str | None = None, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """The audit, once it is at rest; it must be ok."""
        found: dict[str, Any] = {}

        def good() -> bool:
            found.update(self.audit(pool))
            return bool(found["ok"])

        try:
            eventually(good, timeout, pause=0.3)
        except AssertionError:
            raise AssertionError(f"not ok within {timeout} s: {found}") from None
        return found

    @property
    def node(self) -> str:
        status = self.get("status")
        return f"{status['node']}#{status['instance']}"

    @property
    def identity(self) -> NodeId:
        return node_from_text(self.node)

    @property
    def peer(self) -> Peer:
        """Where it is, for a stranger."""
        return Peer(IPv6Locator(IPv6Address(self.address), 6, self.get("status")["grasp_port"]), 0)


def _links(host: Host) -> int:
    with host.entered():
        return sum(
            line.strip().startswith("eth") for line in Path("/proc/thread-self/net/dev").read_text().splitlines()
        )


@dataclass
class Domain:
    """Hosts that can all reach each other, and the agents on them."""

    lab: Lab
    hosts: dict[str, Host]
    directory: Path
    agents: dict[str, Agent]
    pki: Authority | None = None
    """The CA whose members the agents are; None: substrate ``plain``."""
    rules: str = ""
    """``[[allow]]`` of every agent."""
    members: dict[str, Issued] = field(default_factory=dict)
    """Certificates, by name."""

    @classmethod
    def line(cls, lab: Lab, directory: Path, names: Sequence[str], relays: Iterable[str] = ()) -> Domain:
        """Hosts in a row, those named in ``relays`` running no agent but a plain GRASP relay."""
        return cls.shaped(lab, directory, list(pairwise(names)), relays)

    @classmethod
    def secured(cls, lab: Lab, directory: Path, names: Sequence[str], rules: str, relays: Iterable[str] = ()) -> Domain:
        """Hosts in a row whose agents, and relays, have a certificate each and speak over the substrate ``domain``."""
        made = cls(lab, network(lab, list(pairwise(names))), directory, {}, Authority(), rules)
        for name in relays:
            with open(directory / f"{name}.log", "wb") as log:
                made.hosts[name].python("-c", RELAY, str(made.identity(name)), stdout=log, stderr=log)
        return made

    def identity(self, name: str, **odd: Any) -> Path | None:
        """The directory with a new identity of ``name``."""
        if self.pki is None:
            return None
        self.members[name] = self.pki.issue(name, **odd)
        return self.pki.write(self.directory / f"{name}.id", self.members[name])

    @classmethod
    def shaped(cls, lab: Lab, directory: Path, edges: Sequence[tuple[str, str]], relays: Iterable[str] = ()) -> Domain:
        hosts = network(lab, edges)
        for name in relays:
            with open(directory / f"{name}.log", "wb") as log:
                hosts[name].python("-m", "grasp", "relay", stdout=log, stderr=log)
        return cls(lab, hosts, directory, {})

    def agent(self, name: str, mode: str = "delegator", pools: Any = None, *, on: str = "", **more: Any) -> Agent:
        """A new agent on the host of its name, or ``on`` another; not started."""
        host = on or name
        more = {"identity": self.identity(name), **more, "more": more.get("more", "") + self.rules}
        made = Agent(self.hosts[host], address(self.hosts, host), self.directory, name, mode, pools, **more)
        self.agents.setdefault(name, made)
        return made

    def start(self, **params: int | bool) -> Domain:
        """All agents at once; the first origin then sets the policy, and all must obey it."""
        for each in self.agents.values():
            each.launch()
        for each in self.agents.values():
            each.ready()
        if params:
            self.obey(**params)
        return self

    def obey(self, **values: int | bool) -> int:
        """A policy, set at the first origin and in force everywhere; its serial."""
        serial: int = self.origin.params(**values)["serial"]
        for each in self.agents.values():
            eventually(lambda each=each: each.params()["serial"] == serial, what=f"{values} at {each.name}")
        return serial

    def restore(self, policy: Mapping[str, int | bool]) -> None:
        """All agents run, take part and obey ``policy``: what one test leaves does not take the next one down."""
        for each in self.agents.values():
            each.restore()
        there = self.origin.params()
        if changed := {name: value for name, value in policy.items() if name != "serial" and there[name] != value}:
            self.obey(**changed)

    def acquainted(self) -> Domain:
        """Every agent has heard of every other."""
        for each in self.agents.values():
            others = {other.node for other in self.agents.values()} - {each.node}
            eventually(
                lambda each=each, others=others: {peer["node"] for peer in each.get("peers")} >= others,
                what=f"{each.name} has heard of all",
            )
        return self

    @property
    def origin(self) -> Agent:
        return next(iter(self.agents.values()))

    def seed(self, pool: str, capacity: int) -> str:
        """A new pool at the origin, known everywhere."""
        self.origin.post("pools", {"name": pool, "capacity": capacity})
        for each in self.agents.values():
            eventually(lambda each=each: each.knows(pool, capacity), what=f"{each.name} knows {pool}")
        return pool

    def stranger(self, host: str, name: str = "a stranger", port: int = 0) -> Stranger:
        identity = self.pki.identity(name) if self.pki is not None else None
        return Stranger(self.hosts[host], address(self.hosts, host), name, identity, port)


class Stranger:
    """A GRASP node in this process that speaks as an agent might, or ought not to. All of it runs inside its host."""

    def __init__(self, host: Host, address: str, name: str, identity: Identity | None = None, port: int = 0) -> None:
        self._entered = host.entered()
        self._thread = ThreadPoolExecutor(1, f"stranger-{host.name}", self._entered.__enter__)
        self.address = IPv6Address(address)
        devices = [f"eth{number}" for number in range(_links(host))]
        limits = None if identity is None else grasp.Limits(multicast_size=MULTICAST_SIZE)
        self.grasp = grasp.Node(devices, port=port, address=self.address, identity=identity, limits=limits)
        self.seals = Seals(identity, lambda: self.grasp.revocations, time.time, time.monotonic)
        self._thread.submit(self.grasp.start).result(READY_S)
        self.asa = self.grasp.register_asa(name)
        self.asa.register(Objective.negotiation("EX1.Resource", dry_run=True), max_size=16_384)
        self.asa.register(Objective.negotiation("EX1.Pact"), max_size=16_384)
        self.asa.register(Objective.synchronization("EX1.Agent"))
        self.asa.register(Objective.synchronization("EX1.Params"), max_size=MULTICAST_SIZE)
        self.asa.register(Objective.synchronization("EX1.Reach"))
        self.asa.register(Objective.synchronization("EX1.Revoked"), max_size=65_536)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.submit(self.grasp.stop).result(READY_S)
        # In the thread that entered: whichever thread collected the garbage would leave its own host otherwise.
        self._thread.submit(self._entered.__exit__, None, None, None).result(READY_S)
        self._thread.shutdown()

    def do(self, call: Callable[[], Any], timeout: float = READY_S) -> Any:
        return self._thread.submit(call).result(timeout)

    def ask(
        self, peer: Peer, value: Any, *, dry: bool = False, timeout: int = PATIENCE_MS, name: str = "EX1.Resource"
    ) -> grasp.Negotiation:
        """Begin a session with any value at all; raises what GRASP does."""
        wanted = Objective.negotiation(name, value, dry_run=dry)
        found: grasp.Negotiation = self.do(lambda: self.asa.negotiate(wanted, peer, timeout))
        return found

    def refusal(self, peer: Peer, value: Any, *, dry: bool = False, name: str = "EX1.Resource") -> str:
        """The reason with which a request is declined; it must be."""
        try:
            answer = self.ask(peer, value, dry=dry, name=name)
        except grasp.Declined as error:
            return str(error.reason)
        raise AssertionError(f"answered: {answer.offer.value!r:.300}")

    def flood(self, name: str, value: Any, port: int | None = None, ttl: int = 60_000) -> None:
        where = IPv6Locator(self.address, 6, port if port is not None else self.grasp.port)
        self.do(lambda: self.asa.flood(FloodItem(Objective.synchronization(name, value), where), ttl))


def in_time(do: Callable[[int], T], seconds: int) -> T:
    """What ``do`` returns when given an end, UNIX s, by which it has to be done.

    It comes in so many seconds, so that it can be waited for; where that was too soon, for it was over or the end had
    passed, ``do`` is called once more with much more time.
    """
    end = int(time.time()) + seconds
    try:
        found = do(end)
    except (AsaError, grasp.GraspError):
        if time.time() < end:
            raise
    else:
        if time.time() < end:
            return found
    eventually(lambda: time.time() >= end)
    return do(int(time.time()) + 6 * seconds + 20)


def hangs_up(agent: Agent) -> None:
    """SIGHUP: replace the running program."""
    agent.signal(signal.SIGHUP)


def in_parallel(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(READERS) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]
