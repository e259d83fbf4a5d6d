"""Nodes on one link, each with the pairing machine of production; connections are queues whose order a test chooses."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any

from grasp.transport.links.announcements import Announced, Place
from grasp.transport.links.pairing import Pairing
from grasp.transport.links.phases import Action, Do, Link, Phase, Timing

EAGER = Timing(follower=0.0, decider=0.0)
"""Nobody waits for the other: every collision there can be."""

CLIENT, SERVER = 0, 1


@dataclass
class Connection:
    """Two ends; ``queues`` are what each still has to receive. ``data`` is sent at ``Node.say``."""

    nodes: tuple[str, str]
    queues: tuple[deque[Any], deque[Any]] = field(default_factory=lambda: (deque(), deque()))
    links: list[Link | None] = field(default_factory=lambda: [None, None])
    finished: list[bool] = field(default_factory=lambda: [False, False])


class Node:
    def __init__(self, name: str, number: int, timing: Timing, random: Callable[[], float]) -> None:
        self.name = name
        self.place = Place(IPv6Address(f"fe80::{number}"), 7000)
        self.timing = timing
        self.random = random
        self.ends: dict[int, tuple[int, int]] = {}  # link number -> connection, end
        self.said = 0
        self.heard: list[str] = []
        self.pairing = Pairing(64, random, timing)

    def restart(self) -> None:
        self.pairing = Pairing(64, self.random, self.timing)
        self.ends = {}


class World:
    def __init__(self, names: str, timing: Timing = EAGER, random: Callable[[], float] = lambda: 0.5) -> None:
        self.now = 1000.0
        self.nodes = {name: Node(name, number, timing, random) for number, name in enumerate(names, 1)}
        self.connections: dict[int, Connection] = {}
        self.count = 0
        self.extras: list[tuple[str, ...]] = []
        for node in self.nodes.values():
            node.pairing.addressed(self.now, 1, node.place)

    def __deepcopy__(self, memo: dict[int, Any]) -> World:
        made = World.__new__(World)
        for key, value in vars(self).items():
            setattr(made, key, copy.deepcopy(value, memo))
        return made

    # -- what can happen

    def announce(self, name: str) -> None:
        """Everybody else hears where it is."""
        for node in self.nodes.values():
            if node.name != name:
                node.pairing.heard(self.now, 1, Announced(self.nodes[name].place, 210.0))

    def announce_all(self) -> None:
        for name in self.nodes:
            self.announce(name)

    def tick(self) -> None:
        for node in self.nodes.values():
            self._do(node, node.pairing.due(self.now))

    def choices(self) -> Iterator[tuple[Any, ...]]:
        for number, connection in self.connections.items():
            for end in CLIENT, SERVER:
                if connection.queues[end]:
                    yield "deliver", number, end
        for extra in dict.fromkeys(self.extras):
            if extra[0] == "kill":
                yield from (("kill", number) for number in self.connections)
            else:
                yield extra

    def act(self, choice: tuple[Any, ...]) -> None:
        kind, *about = choice
        if kind == "deliver":
            self._deliver(*about)
        elif kind == "kill":
            self.extras.remove(("kill",))
            self.reset(about[0])
        else:
            self.extras.remove(choice)
            getattr(self, kind)(*about)

    def reset(self, number: int) -> None:
        """The connection breaks: what was on its way is lost, both ends are told."""
        connection = self.connections[number]
        for end in CLIENT, SERVER:
            connection.queues[end].clear()
            if connection.links[end] is not None:
                connection.queues[end].append("reset")
        self._sweep(number)

    def restart(self, name: str) -> None:
        """Its process is killed and begins anew; the kernel ends its connections."""
        for number, connection in list(self.connections.items()):
            for end in CLIENT, SERVER:
                if connection.nodes[end] == name:
                    connection.queues[end].clear()
                    connection.links[end] = None
                    connection.queues[1 - end].append("reset")
            self._sweep(number)
        node = self.nodes[name]
        node.restart()
        node.pairing.addressed(self.now, 1, node.place)
        self.announce_all()
        self.tick()

    def vanish(self, name: str) -> None:
        """Its host loses power and is back at once: nobody is told that the connections are gone."""
        for number, connection in list(self.connections.items()):
            if name in connection.nodes:
                end = connection.nodes.index(name)
                connection.queues[end].clear()
                connection.links[end] = None
                self._sweep(number)
        node = self.nodes[name]
        node.restart()
        node.pairing.addressed(self.now, 1, node.place)
        self.announce_all()
        self.tick()

    def renew(self, name: str) -> None:
        """It has another certificate."""
        pairing = self.nodes[name].pairing
        pairing.renew(self.now - 1, pairing.generation + 1)
        self.tick()

    def say(self, name: str) -> None:
        """It sends a message to every neighbour."""
        node = self.nodes[name]
        node.said += 1
        for link in node.pairing.links.values():
            if link.phase is Phase.UP:
                self._send(node, link, ("data", f"{name}{node.said}"))

    # -- carrying out

    def _do(self, node: Node, actions: list[Action]) -> None:
        for action in actions:
            link = action.link
            if action.do is Do.OPEN:
                self.count += 1
                assert link.candidate is not None
                other = next(each for each in self.nodes.values() if each.place == link.candidate.place)
                connection = self.connections[self.count] = Connection((node.name, other.name))
                connection.links[CLIENT] = link
                node.ends[link.number] = self.count, CLIENT
                connection.queues[CLIENT].append(("secured", other.name))
                connection.queues[SERVER].append(("adopt", node.name))
            elif action.do is Do.GREET:
                self._send(node, link, ("greeting", node.place))
            elif action.do in (Do.NOOP, Do.PROVE):
                self._send(node, link, "noop")
            elif action.do is Do.RETIRE:
                self._finish(node, link)
            elif action.do is Do.CLOSE:
                self._close(node, link)

    def _send(self, node: Node, link: Link, what: Any) -> None:
        number, end = node.ends[link.number]
        connection = self.connections.get(number)
        if connection is None:
            return
        gone = connection.links[1 - end] is None and ("adopt", connection.nodes[end]) not in connection.queues[1 - end]
        if not gone and not connection.finished[end]:
            connection.queues[1 - end].append(what)

    def _finish(self, node: Node, link: Link) -> None:
        self._send(node, link, "end")
        number, end = node.ends[link.number]
        if number in self.connections:
            self.connections[number].finished[end] = True

    def _close(self, node: Node, link: Link) -> None:
        self._finish(node, link)
        number, end = node.ends.pop(link.number)
        if number in self.connections:
            self.connections[number].links[end] = None
            self.connections[number].queues[end].clear()
            self._sweep(number)

    def _sweep(self, number: int) -> None:
        connection = self.connections[number]
        if connection.links == [None, None] and not any(connection.queues):
            del self.connections[number]

    def _deliver(self, number: int, end: int) -> None:
        connection = self.connections[number]
        what = connection.queues[end].popleft()
        node = self.nodes[connection.nodes[end]]
        pairing, link = node.pairing, connection.links[end]
        if what[0] == "adopt":
            link, actions = pairing.adopted(self.now, 1, what[1], pairing.generation)
            connection.links[end] = link
            node.ends[link.number] = number, end
            self._do(node, actions)
        elif link is None:
            pass
        elif what in ("reset", "end"):
            self._do(node, [pairing.closed(self.now, link, what)])
        elif what[0] == "secured":
            self._do(node, pairing.secured(self.now, link, what[1], link.generation))
        elif what[0] == "greeting":
            assert link.phase is Phase.AWAITED, link
            link.heard = self.now
            self._do(node, pairing.greeted(self.now, link, Announced(what[1], 210.0)))
        else:
            link.heard = self.now
            if what[0] == "data":
                node.heard.append(what[1])
            self._do(node, pairing.message(self.now, link, what == "noop"))
        if number in self.connections:
            self._sweep(number)

    # -- looking

    def quiesce(self) -> None:
        """Deliver everything, time standing still."""
        for _ in range(10_000):
            choice = next((each for each in self.choices() if each[0] == "deliver"), None)
            if choice is None:
                return
            self.act(choice)
        raise AssertionError("they never stop talking")

    def settle(self, seconds: float = 100.0) -> None:
        """Let ``seconds`` pass, with everything delivered at once."""
        end = self.now + seconds
        self.quiesce()
        while (then := min(node.pairing.next() for node in self.nodes.values())) <= end:
            self.now = max(self.now, then)
            self.tick()
            self.quiesce()
        self.now = end

    def up(self, name: str) -> list[tuple[str, int]]:
        """The node's links that are up: with whom, and by which connection."""
        node = self.nodes[name]
        links = [each for each in node.pairing.links.values() if each.phase is Phase.UP]
        return sorted((each.member, node.ends[each.number][0]) for each in links)

    def check_mesh(self) -> None:
        """Exactly one link between every two nodes, the same at both ends, and nothing else."""
        for name in self.nodes:
            assert [other for other, _ in self.up(name)] == sorted(set(self.nodes) - {name}), self.state()
            for other, number in self.up(name):
                assert (name, number) in self.up(other), self.state()
        assert len(self.connections) == len(self.nodes) * (len(self.nodes) - 1) // 2, self.state()

    def state(self) -> Any:
        """All that decides about what comes."""
        return (
            tuple(
                (
                    name,
                    node.pairing.generation,
                    tuple(
                        (
                            node.ends[each.number],
                            each.phase,
                            each.member,
                            each.place,
                            each.generation,
                            each.candidate is None,
                        )
                        for each in node.pairing.links.values()
                    ),
                    tuple((each.place, each.failures, each.held, each.due) for each in node.pairing.candidates),
                    tuple(node.heard),
                )
                for name, node in self.nodes.items()
            ),
            tuple(
                (number, each.nodes, tuple(map(tuple, each.queues)), tuple(each.finished))
                for number, each in self.connections.items()
            ),
            tuple(self.extras),
        )


def explore(start: World, final: Callable[[World], None], limit: int = 200_000) -> int:
    """Every order of events from ``start``; ``final`` looks at each end. Returns the number of states seen."""
    seen = set()
    ready = [start]
    while ready:
        world = ready.pop()
        key = world.state()
        if key in seen:
            continue
        seen.add(key)
        assert len(seen) < limit
        choices = list(world.choices())
        if not any(each[0] == "deliver" for each in choices):
            end = copy.deepcopy(world)
            end.extras = []
            final(end)
        for choice in choices:
            after = copy.deepcopy(world)
            after.act(choice)
            ready.append(after)
    return len(seen)
