"""The simulated network: virtual time, the queue of events, what is said, and faults at chosen events."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from asa.errors import AsaError
from asa.records import Held, Plan, Seed, TakenState, made
from asa.steps import Tell
from objectives import Block, NodeId
from objectives.params import Params
from objectives.resource import Ask
from tests.simulator.adversary import Adversary
from tests.simulator.checker import Checker, Violation
from tests.simulator.node import Node
from tests.simulator.process import Process
from tests.simulator.session import End, Message, Over, Said, Session

START = 1_000_000
"""UNIX s at which the virtual clock begins."""
M = 1_000_000
"""bit/s: one Mbit/s."""
POOL = "wan"
LONG = 45.0
"""Seconds a message is delayed "long": beyond every patience and the first settlements."""
SHORT = 7.0
"""Seconds a message is "held up": within a patience, but not before what is in doubt is asked about."""
LONG_DOWN = 100.0
"""Seconds a machine is down "for long": beyond a few turns of the garbage collector."""
PACE = 0.001
DELAY = 0.01
SPREAD = 0.1
"""Seconds for an announcement to reach everybody."""
REBOOT = 3.0

FAULTS = (
    "crash giver",
    "crash requester",
    "crash third",
    "crash all",
    "crash giver, what it sent is lost",
    "crash giver for long",
    "lose",
    "delay",
    "hold up",
    "cut",
    "cut, buffers kept",
    "store refuses",
    "crash before commit",
    "crash after commit",
    "settle now",
    "confirm now",
    "replay",
    "overtaken by its copy",
    "replace requester",
)
"""What can be done to a run at one event."""


class Event:
    """Something that happens at a virtual time; ``done``: not any more."""

    __slots__ = ("done", "label", "node", "number", "run", "time")

    def __init__(self, time: float, number: int, label: str, node: str, run: Callable[[], object]) -> None:
        self.time = time
        self.number = number
        self.label = label
        self.node = node
        self.run = run
        self.done = False

    def __lt__(self, other: Event) -> bool:
        return (self.time, self.number) < (other.time, other.number)


class Network:
    """``jitter``: delays and the pace of steps are drawn by chance from ``seed``; else the same every time.

    ``wire``: values pass through their encoding. ``faults``: by the number of the event at which they strike.
    ``roles``: the nodes that ``giver``, ``requester`` and ``third`` of a fault mean.
    """

    def __init__(
        self,
        names: Sequence[str],
        seeds: Mapping[str, tuple[int, int]],
        seed: int = 0,
        *,
        jitter: bool = False,
        wire: bool = True,
        tracing: bool = False,
        offsets: Mapping[str, int] | None = None,
        values: Mapping[str, int] | None = None,
    ) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.jitter = jitter
        self.wire = wire
        self.tracing = tracing
        self.eager = False
        self.params = Params().changed("simulator", {"least_grant": M, **(values or {})})
        self.now = float(START)
        self.index = 0
        self.acted = 0
        """Events until all was quiet, before everything was replayed."""
        self.counts: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=2_000 if tracing else 60)
        self.checker = Checker()
        self.violation: AssertionError | None = None
        self.faults: dict[int, str] = {}
        self.struck = 0
        self.fault = ""
        self.long = LONG
        self.refusing = 0.0
        """Chance that a commit fails."""
        self.roles: dict[str, str] = {}
        self.busy = 0
        """Events that are more than a timer going round."""
        self.sessions: list[Session] = []
        self.scripts: deque[tuple[NodeId, list[Message]]] = deque(maxlen=200)
        self.forging: dict[str, str] = {}
        """The nodes in whose place the adversary answers the next ask, and how."""
        self.adversary = Adversary(self)
        self._queue: list[Event] = []
        self._number = 0
        self.lost = self.checker.pairs.lost
        """Agents that never come back: what is in doubt with them stays so, until an operator decides."""
        self.nodes: dict[str, Node] = {}
        for number, name in enumerate(names):
            node = Node(self, NodeId(name, f"{number + 1:016x}"), (offsets or {}).get(name, 0))
            self.nodes[name] = node
        for node in self.nodes.values():
            node.start()
        for name, (low, high) in seeds.items():
            self._seed(self.nodes[name], low, high)
        for node in self.nodes.values():
            self.announce(node)
        self.at(self.now + 60, "announcements", "", self._announcements)
        self.run(SPREAD + 0.05)
        self.index = 0

    # Time.

    def at(self, time: float, label: str, node: str, run: Callable[[], object]) -> Event:
        self._number += 1
        event = Event(time, self._number, label, node, run)
        heapq.heappush(self._queue, event)
        return event

    def pace(self) -> float:
        """Seconds one step takes."""
        return self.rng.expovariate(1 / PACE) if self.jitter else PACE

    def delay(self) -> float:
        """Seconds a message takes."""
        if not self.jitter:
            return DELAY
        return self.rng.expovariate(1 / DELAY) * (500 if self.rng.random() < 0.01 else 1)

    def held_up(self, message: Message) -> float:
        """Seconds a fault adds to that."""
        if self.fault == "overtaken by its copy" and isinstance(message, Said):
            self.fired()
            self.fault = ""
            self.adversary.replay(len(self.scripts) - 1)
            return SHORT
        if self.fault not in ("delay", "hold up") or isinstance(message, Over):
            return 0.0
        self.fired()
        return self.long if self.fault == "delay" else SHORT

    def step(self) -> bool:
        """Let the next event happen, and the fault that is to strike at it. Raises Violation. False: there is none."""
        while self._queue and self._queue[0].done:
            heapq.heappop(self._queue)
        if not self._queue:
            return False
        event = heapq.heappop(self._queue)
        self.now = max(self.now, event.time)
        self.index += 1
        self.counts["events"] += 1
        kind = self.faults.get(self.index, "")
        self.trace.append(f"{self.index} {self.now - START:.3f} {event.node} {event.label} {kind}".rstrip())
        if kind:
            self._strike(kind, event)
        if not event.done:
            event.done = True
            event.run()
        self.fault = ""
        if self.violation is not None:
            raise self.violation
        return True

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._queue:
            while self._queue and self._queue[0].done:
                heapq.heappop(self._queue)
            if not self._queue or self._queue[0].time > until:
                break
            self.step()
        self.now = max(self.now, until)

    def settle_down(self, seconds: float = 1_500, confirmed: bool = True) -> None:
        """Until nothing is in doubt and nobody is busy. Raises Violation if that does not come within ``seconds``."""
        until = self.now + seconds
        while not self.quiet(confirmed):
            if self.now > until or not self.step():
                raise Violation(f"after {seconds} s {self.unrest(confirmed)}")
        self.checker.audit()
        self.checker.check_told()
        self.checker.pairs.check_final()
        for node in self.nodes.values():
            self.checker.check_free(node.me, node.clock())
            self.checker.check_ledger(node.me, node.ledger)
            astray = set(node.ledger.records()) ^ set(node.disk)
            if astray:
                raise Violation(f"the ledger of {node.name} is not what is on its disk: {list(astray)[:3]}")

    def quiet(self, confirmed: bool = True) -> bool:
        """Whether all nodes live, no conversation runs, and no transfer is in doubt."""
        return not self.unrest(confirmed)

    def unrest(self, confirmed: bool = True) -> str:
        """What is still going on; empty if nothing is."""
        for node in self.nodes.values():
            if not node.alive:
                return f"{node.name} is down"
            if node.processes:
                return f"{node.name} is busy: {[each.label for each in node.processes]}"
        doubtful = [(node, given) for node, given in self.checker.escrows() if not self.lost & {node, given.peer}]
        if doubtful:
            return f"in doubt: {doubtful}"
        if self.checker.pairs.unrest():
            return self.checker.pairs.unrest()
        if confirmed and self.checker.pairs.unconfirmed():
            return self.checker.pairs.unconfirmed()
        if confirmed:
            for node in self.nodes.values():
                for taken in node.ledger.taken.values():
                    if taken.state is TakenState.ACCEPTED and self._is_there(taken.peer):
                        return f"{node.name} waits for a confirmation"
        self.sessions = [each for each in self.sessions if each.going]
        return "messages are on their way" if any(each.flying for each in self.sessions) else ""

    def _is_there(self, peer: NodeId) -> bool:
        return self.nodes[peer.name].me == peer

    # Faults.

    def fired(self) -> None:
        self.struck += 1

    def _strike(self, kind: str, event: Event) -> None:
        self.fault = kind
        if kind.startswith("crash ") and kind not in ("crash before commit", "crash after commit"):
            role = kind.removeprefix("crash ").partition(",")[0].removesuffix(" for long")
            names = list(self.nodes) if role == "all" else [self.roles.get(role, "")]
            for name in names:
                if name in self.nodes and self.nodes[name].alive:
                    self.fired()
                    self.crash(name, keep="lost" not in kind, reboot=LONG_DOWN if "for long" in kind else None)
        elif kind.startswith("cut"):
            for session in [each for each in self.sessions if each.open]:
                self.fired()
                session.sever(keep="kept" in kind)
        elif kind == "settle now":
            for node in self.nodes.values():
                self.struck += node.settle_all()
        elif kind == "confirm now":
            for node in self.nodes.values():
                self.struck += node.confirm_all()
        elif kind == "replay":
            self.struck += bool(self.scripts)
            self.adversary.replay_all()
        elif kind == "replace requester":
            self.fired()
            self.replace(self.roles["requester"])

    def hurry(self) -> None:
        """From now on escrows are asked about at once and often, their sessions running or not."""
        self.eager = True

        def again() -> None:
            for node in self.nodes.values():
                node.look_for_doubt()
            self.at(self.now + 3, "hurry", "", again)

        self.at(self.now + 3, "hurry", "", again)

    def replace(self, name: str) -> None:
        """A machine dies for good, and another comes in its place, of its name and with nothing on disk."""
        node = self.nodes[name]
        self.counts["replaced"] += 1
        self.lost.add(node.me)
        node.replace(f"{self.rng.getrandbits(64):016x}")

    def refuses(self) -> bool:
        """Whether the store of the node whose turn it is fails now."""
        if self.fault == "store refuses":
            self.fired()
            return True
        return self.refusing > 0 and self.rng.random() < self.refusing

    def strikes(self, name: str) -> None:
        """A fault that crashes the node whose turn it is."""
        self.fired()
        self.crash(name)

    def crash(self, name: str, keep: bool = True, reboot: float | None = None) -> None:
        """Crash a node, and have it come back after ``reboot`` seconds."""
        self.nodes[name].crash(keep)
        self.at(self.now + (REBOOT if reboot is None else reboot), "reboot", name, lambda: self.restart(name))

    def restart(self, name: str) -> None:
        if not self.nodes[name].alive:
            self.nodes[name].start()
            self.checker.check_told()

    def floor(self, floor: int) -> None:
        """A node forgets what was before."""
        self.checker.forgotten = max(self.checker.forgotten, floor)

    # What is said.

    def serve(self, end: End) -> None:
        """A session's first message arrived at its answering end."""
        node = self.nodes[end.node]
        said = end.inbox[0]
        if isinstance(said, Said) and isinstance(said.value, Ask) and end.node in self.forging:
            self.adversary.forge(self.forging.pop(end.node), said.value, end)
            return
        unarmed = end.session.forged and node.alive and node.party.seeds(node.ledger, POOL) is None
        if not node.alive or unarmed:
            # Who knows of no other origin cannot tell what is foreign.
            end.inbox.clear()
            end.close()
            return
        node.serve(end)

    def announce(self, node: Node) -> None:
        """Let all others hear what a node floods of itself; how it gets to them is GRASP's and not simulated."""
        said = node.announcement()
        self.counts["announcements"] += 1

        def heard() -> None:
            for each in self.nodes.values():
                if each is not node and each.alive:
                    self.counts["announcements heard"] += 1
                    each.party.peers.heard(self.now, said, f"[{node.name}]:1")

        self.at(self.now + SPREAD, "announcement", node.name, heard)

    def introduce(self, node: Node) -> None:
        """A node that starts hears the others from a neighbour's flood cache."""
        if len(self.nodes) > 1 and node.name in self.nodes and node.lives > 1:
            for other in self.nodes.values():
                if other is not node and other.alive:
                    node.party.peers.heard(self.now, other.announcement(), f"[{other.name}]:1")
            self.announce(node)

    def _announcements(self) -> None:
        for node in self.nodes.values():
            if node.alive:
                self.announce(node)
        self.sessions = [each for each in self.sessions if each.going]
        self.at(self.now + self.params["flood_interval"], "announcements", "", self._announcements)

    def told(self, name: str, step: Tell) -> None:
        self.counts[step.kind] += 1

    def _seed(self, node: Node, low: int, high: int) -> None:
        seed = Seed(POOL, low, high, node.clock())
        block = Block(low, high, node.ledger.floor, None)
        node.books.transact(lambda ledger: Plan(made(seed, Held(POOL, block)), None))
        if self.violation is not None:
            raise self.violation

    def holds(self, name: str) -> list[Block]:
        return [each.block for each in self.nodes[name].disk.of(Held).values()]

    def ended(self, process: Process, value: Any, error: BaseException | None) -> None:
        """A conversation came to its end. An error the callers of agents do not expect is a defect."""
        if error is not None:
            self.counts[f"ended by {type(error).__name__}"] += 1
        if isinstance(error, ValueError) or (isinstance(error, AsaError) and error.code == "illegal-transition"):
            self.violation = Violation(f"{process.label}: {type(error).__name__}: {error}")

    def killed(self, process: Process) -> None:
        """A conversation was ended by a crash."""
