"""Several agents without threads or a network: the Desk, the Relocation, the Keeper and what else is theirs are the
product's own, their clock and their sessions are not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Protocol
from unittest.mock import patch

from asa import answering, credentials, expiry, reservations
from asa.agent import SALT, Agent
from asa.alarms import Alarms
from asa.books import Books
from asa.config import AgentSection, Config, FlowsSection, LinkSection, RouteSection
from asa.credentials import Credentials
from asa.desk import Desk
from asa.enforcement import Enforcement
from asa.errors import AsaError
from asa.events import EventLog
from asa.identity import identify, remembered, remembering
from asa.ledger import Ledger
from asa.operations import Operations
from asa.pairing import serve_pact
from asa.peers import Peers
from asa.performer import Performer
from asa.problems import Problems
from asa.records import Change, Record
from asa.relocation import Relocation
from asa.seeding import seed
from asa.steps import (
    Agree,
    Begin,
    Broken,
    Deny,
    Drop,
    Finish,
    Look,
    Party,
    Propose,
    Refused,
    Steps,
    Tell,
    Transact,
    Wait,
)
from asa.store import Store
from asa.threads.delegator import Delegator
from asa.threads.garbage_collector import GarbageCollector
from asa.threads.keeper import Keeper
from asa.threads.pact_settler import PactSettler
from asa.whereabouts import Whereabouts, limits
from objectives import NodeId, pact, resource
from objectives.agent import Announcement, PoolSummary
from objectives.params import Params
from objectives.reach import Reach
from tests.simulator.disk import Disk

START = 1_700_000_000


def instance_of(name: str) -> str:
    return f"{ord(name):016x}"


class Crash(BaseException):
    """The agent that runs is gone."""


class Saved(Protocol):
    def load(self) -> list[Record]: ...
    def commit(self, changes: Sequence[Change]) -> None: ...
    def close(self) -> None: ...


class Memory(Disk):
    """A disk that is none, and is not lost in a crash."""

    def __init__(self) -> None:
        super().__init__(lambda: False, lambda changes: None)

    def load(self) -> list[Record]:
        return list(self)

    def close(self) -> None:
        pass


class Asked:
    """The side of a session that is asked."""

    def __init__(self, node: Node, steps: Steps[None]) -> None:
        self._node = node
        self._steps = steps
        self._deciding = False

    def answer(self, value: Any = None, error: BaseException | None = None) -> tuple[str, Any]:
        """Runs until it says something: ``answer``, ``agree`` or ``deny``; or to its end: ``over``."""
        said: tuple[str, Any] = "over", None
        try:
            while True:
                step = self._steps.throw(error) if error is not None else self._steps.send(value)
                value = error = None
                match step:
                    case Transact() | Look():
                        try:
                            value = self._node.did(step)
                        except (AsaError, ValueError) as raised:
                            error = raised
                    case Propose():
                        self._deciding = True
                        return "answer", step.answer
                    case Agree():
                        said = "agree", None
                    case Deny():
                        said = "deny", step.reason
                    case Wait() | Tell():
                        pass
                    case _:
                        raise AssertionError(f"nobody else is asked: {step}")
        except StopIteration:
            return said

    def decide(self, accepted: bool) -> None:
        if self._deciding:
            self._deciding = False
            self.answer(accepted)

    def lose(self) -> None:
        """The session breaks."""
        if self._deciding:
            self._deciding = False
            self.answer(error=Broken("the session is over"))


class Runner(Performer):
    """Performs conversations at once; ``World.fault`` says what goes wrong in the next pact."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def run(self, steps: Steps[Any], incoming: Any = None) -> Any:
        scene = _Scene(self._node)
        try:
            step = next(steps)
            while True:
                try:
                    result = scene.perform(step)
                except (AsaError, Refused, Broken, ValueError) as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return end.value
        finally:
            scene.lose()


class _Scene:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._world = node.world
        self._asked: Asked | None = None
        self._fault = ""

    def perform(self, step: Any) -> Any:
        match step:
            case Look():
                return self._node.did(step)
            case Transact():
                if self._fault == "crash before deciding":
                    raise Crash
                result = self._node.did(step)
                if self._fault == "crash after deciding":
                    raise Crash
                return result
            case Begin():
                return self._begin(step)
            case Finish():
                asked, self._asked = self._asked, None
                if asked is not None:
                    if self._fault in ("decision lost", "crash there at last"):
                        asked.lose()
                    else:
                        asked.decide(step.accept)
            case Drop():
                self.lose()
            case Tell():
                self._node.events.tell(step.kind, step.message, **step.fields)
            case _:
                raise AssertionError(f"a step of the side that is asked: {step}")
        return None

    def _begin(self, step: Begin) -> Any:
        world, peer = self._world, self._world.nodes[step.peer.name]
        if isinstance(step.request, pact.Arrange):
            self._fault, world.fault = world.fault, ""
        if not peer.up or self._fault == "request lost":
            raise Broken("nobody answers")
        serve = self._asked = peer.serve(step)
        said, value = serve.answer()
        crashes = self._fault == "crash there" or (self._fault == "crash there at last" and said == "answer")
        if crashes:
            world.crashed.append(peer.name)
        if self._fault in ("answer lost", "crash there"):
            self.lose()
            raise Broken("the answer is lost")
        if said == "answer":
            read = pact.answer_from_value if step.objective == pact.NAME else resource.answer_from_value
            return read(value.to_value())
        self._asked = None
        if said == "agree":
            return None
        if said == "deny":
            raise Refused(value)
        raise Broken("the session is over")

    def lose(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.lose()


class Node(Agent):
    """One life of an agent. Of :class:`Agent` it has what needs no thread."""

    def __init__(self, world: World, config: Config, store: Saved, admin: str | None) -> None:
        self.world = world
        self.config = config
        self.up = True
        self.phase = "running"
        self._store = store  # type: ignore[assignment]
        self._active = True
        name = self.name = config.agent.name
        me, records = identify(name, store, instance_of(name))
        self.ledger = Ledger(me, world.now, records, links=limits(config))
        world.lives += 1
        rng = Random(world.lives)
        self.events = EventLog(1_000, lambda: world.now)
        self._problems = Problems(self.events, lambda: world.now)
        self.enforcement = Enforcement(enabled=False, effect=False)
        self.books = Books(self.ledger, store)
        self.peers = Peers(me, rng)
        self._paused = remembered(self.books, "paused", False)
        if not remembered(self.books, SALT, ""):
            self.books.transact(lambda ledger: remembering(ledger, SALT, name.encode().hex() * 16))
        self.credentials = Credentials(self._salt(), admin)
        self.whereabouts = Whereabouts(config, me, self.problem)
        self.surroundings = self.whereabouts.surroundings
        self.party = Party(me, lambda: world.now, lambda: 0.0, rng, self.peers, lambda: world.params)
        self.performer = Runner(self)
        self.delegator = Delegator(self.party, self.performer, self.books, 8, lambda: None, self._report, rng)
        self.desk = Desk(self)
        self.relocation = Relocation(self)
        self.operations = Operations(self)
        self.settler: Any = SimpleNamespace(wake=lambda: None)
        self.pact_settler: Any = SimpleNamespace(wake=lambda: None)
        self.flooder: Any = SimpleNamespace(wake=lambda: None)
        self.keeper = self._keeper()

    def _report(self, thread: str, what: str) -> None:
        pass

    def status(self) -> Any:
        return None

    def _keeper(self) -> Keeper:
        party, alarms = self.party, Alarms({})
        return Keeper(party, self.books, self.events, alarms, self.relocation, self._report, party.rng)

    def did(self, step: Transact | Look) -> Any:
        return self.books.transact(step.rule) if isinstance(step, Transact) else self.books.read(step.look)

    def serve(self, step: Begin) -> Asked:
        if step.objective == pact.NAME:
            return Asked(
                self, serve_pact(self.party, pact.request_from_value(step.request.to_value()), self.desk.asked)
            )
        request = resource.request_from_value(step.request.to_value())
        return Asked(self, answering.serve(self.party, request, step.dry))

    # What its threads would do.

    def lapse(self) -> None:
        self.books.transact(lambda ledger: expiry.lapsed(ledger, self.party.clock()))

    def keep(self) -> None:
        """One turn, as after everybody has said what he serves."""
        keeper = self._keeper()
        for name, layout in self.world.layouts.items():
            if name != self.name:
                keeper.served(self.world.nodes[name].party.me, [ip_network(each) for each in layout.serves])
        keeper.turn()

    def collect(self) -> None:
        GarbageCollector(self.party, self.books, self.events, self._report, self.party.rng).turn()

    def settle(self) -> None:
        for _ in range(3):
            PactSettler(self.party, self.performer, self.books, self.events, self._report, self.party.rng).turn()


class World:
    """``layout`` says what each agent is, by name: routes, serves, links, pools and so on. ``directory``: of the host
    tables, and of the databases if ``stored``."""

    def __init__(
        self, layouts: Mapping[str, Layout], directory: Path, params: Mapping[str, int], stored: bool = False
    ) -> None:
        self.now = START
        self.fault = ""
        self.crashed: list[str] = []
        self.last_id = ""
        self.lives = 0
        self.layouts = dict(layouts)
        self.params = Params(1, "z", {**Params().values, **params})
        self.nodes: dict[str, Node] = {}
        self._directory = directory
        self._stored = stored
        self._sequence = 0
        self._disks: dict[str, Memory] = {name: Memory() for name in layouts}
        for name in layouts:
            self.write_hosts(name, {})
        for name in layouts:
            self.start(name)
            node = self.nodes[name]
            for pool, capacity in self.layouts[name].pools.items():
                node.books.transact(
                    lambda ledger, pool=pool, capacity=capacity: seed(ledger, self.now, pool, capacity, None, ())  # type: ignore[misc]
                )

    def config(self, name: str) -> Config:
        layout = self.layouts[name]
        return Config(
            AgentSection(name, "origin", self._directory / name),
            links=tuple(LinkSection(each, out, into, room) for each, (out, into, room) in layout.links.items()),
            routes=tuple(RouteSection(ip_network(each), *rest) for each, *rest in layout.routes),  # type: ignore[arg-type]
            flows=FlowsSection(
                kernel_routes=False,
                hosts_file=self._hosts(name),
                prefer=f"ipv{layout.prefer}",  # type: ignore[arg-type]
                serves=tuple(ip_network(each) for each in layout.serves),
            ),
        )

    def _hosts(self, name: str) -> Path:
        return self._directory / f"{name}.hosts"

    def write_hosts(self, name: str, hosts: Mapping[str, Mapping[int, str]]) -> None:
        lines = [
            f"[hosts.{each}]\naddresses = [{', '.join(f'{address!r}' for address in addresses.values())}]\n"
            for each, addresses in hosts.items()
        ]
        new = self._hosts(name).with_suffix(f".{self._sequence}")
        self._sequence += 1
        new.write_text("".join(lines))
        new.replace(self._hosts(name))

    def start(self, name: str) -> None:
        """Come to life with what is on disk, and nothing else."""
        path = self._directory / name
        store: Saved = Store.open(path, now=self.now) if self._stored else self._disks[name]
        node = self.nodes[name] = Node(self, self.config(name), store, self.layouts[name].admin)
        self.introduce()
        assert node.up

    def stop(self, name: str) -> None:
        node = self.nodes[name]
        if node.up:
            node.up = False
            node._store.close()

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def introduce(self) -> None:
        """Everybody hears what everybody floods. Nobody is said to take part, so that no capacity is lent."""
        self._sequence += 1
        for node in self.nodes.values():
            for name, layout in self.layouts.items():
                if name not in self.nodes:
                    continue
                peer = self.nodes[name].party.me
                node.whereabouts.map.heard(
                    0.0, Reach(peer, self._sequence, tuple(ip_network(each) for each in layout.serves))
                )
                self._hear(node, peer, layout.pools, 0)
            self._hear(node, NodeId("z", instance_of("z")), {"p": 1_000, "r": 200}, 100_000)

    def _hear(self, node: Node, peer: NodeId, pools: Mapping[str, int], low: int) -> None:
        told = tuple(PoolSummary(pool, 0, ((low, low + capacity),)) for pool, capacity in pools.items())
        node.peers.heard(0.0, Announcement(peer, self._sequence, "inactive", told), "")

    def do(self, call: Callable[[], Any]) -> tuple[str, Any]:
        """The outcome: ``ok`` or an error's code, and what was answered or raised. Who crashed is up again."""
        try:
            outcome: tuple[str, Any] = "ok", call()
        except AsaError as error:
            outcome = error.code, error
        except Crash:
            outcome = "crashed", None
        self.fault = ""
        return outcome

    def close(self) -> None:
        for name in self.nodes:
            self.stop(name)


class Layout(SimpleNamespace):
    """What an agent is: ``serves``, ``routes``, ``links`` (capacity out, in, headroom), ``pools``, ``prefer``,
    ``admin``."""

    serves: tuple[str, ...]
    routes: tuple[tuple[str, str | None, tuple[str, ...] | None], ...]
    links: dict[str, tuple[int, int | None, int]]
    pools: dict[str, int]
    prefer: int
    admin: str | None


@contextmanager
def simulated(now: Callable[[], World | None]) -> Iterator[None]:
    """Time as the ids have it goes on by itself; hashes are computed once each; the last id drawn is known."""
    count = iter(range(START * 1_000, START * 10_000))
    clock = SimpleNamespace(time_ns=lambda: next(count) * 1_000_000, monotonic=lambda: 0.0)
    identifier = reservations.identifier

    def drawn(now_ms: int, chance: int) -> str:
        world = now()
        found = identifier(now_ms, chance)
        if world is not None:
            world.last_id = found
        return found

    with ExitStack() as stack:
        stack.enter_context(patch("asa.desk.time", clock))
        stack.enter_context(patch("asa.threads.keeper.TRIES", 10_000))
        stack.enter_context(patch.object(reservations, "identifier", drawn))
        stack.enter_context(patch.object(credentials, "hashed", _hashed))
        yield


_hashed = functools.lru_cache(1_024)(credentials.hashed)
