"""A network in one process: nodes made of the rules alone, links, a virtual clock and a queue of packets.

The shell around the rules is what the core does with sockets, in as few lines as show it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from itertools import count

from grasp.discovery import Answer, DiscoveryRules, Redirect, Relay, Source
from grasp.flooding import FloodCache, FloodRules
from grasp.limits import Limits
from grasp.locators import LocatorCache
from grasp.wire import (
    Discovery,
    Divert,
    Flood,
    FloodEntry,
    IPv6Locator,
    Objective,
    Response,
    decode_message,
    encode_message,
)

Links = list[list[int]]
"""Each link as the numbers of the nodes on it."""

HOP = 0.001
"""Seconds from one node to the next."""

TTL = 60_000


def _routed(number: int) -> IPv6Address:
    return IPv6Address(0x2001_0DB8 << 96 | number + 1)


def _link_local(number: int) -> IPv6Address:
    return IPv6Address(0xFE80 << 112 | number + 1)


class Node:
    def __init__(self, network: Network, number: int) -> None:
        self.network = network
        self.number = number
        self.links: list[int] = []
        self.supports: set[str] = set()
        self.cache = LocatorCache(network.limits)
        self.rules = DiscoveryRules(network.limits, self.cache)
        self.floods = FloodRules(network.limits)
        self.flooded = FloodCache(network.limits)
        self.heard: Counter[int] = Counter()
        self.relayed: Counter[int] = Counter()
        """By session ID: floods cached here; floods and discoveries sent on."""
        self.answers: dict[int, list[IPv6Address]] = {}

    @property
    def interfaces(self) -> Sequence[int]:
        return range(1, len(self.links) + 1)

    def locator(self) -> IPv6Locator:
        return IPv6Locator(_routed(self.number), 6, 7017)

    # -- what it starts

    def flood(self, name: str, value: object, loop_count: int) -> int:
        session_id = next(self.network.session_ids)
        objective = Objective.synchronization(name, value, loop_count=loop_count)
        data = encode_message(Flood(session_id, _routed(self.number), TTL, (FloodEntry(objective),)), 1232)
        self.floods.own(self.network.now, session_id, _routed(self.number))
        for index in self.interfaces:
            self.network.multicast(self, index, data)
        return session_id

    def discover(self, name: str, loop_count: int) -> int:
        session_id = next(self.network.session_ids)
        self.answers[session_id] = []
        data = encode_message(Discovery(session_id, _routed(self.number), Objective(name, 1, loop_count)), 1232)
        self.rules.own(self.network.now, session_id, _routed(self.number))
        for index in self.interfaces:
            self.network.multicast(self, index, data)
        return session_id

    # -- what it receives

    def received(self, data: bytes, source: Source) -> None:
        message = decode_message(data)
        if isinstance(message, Flood):
            flood = self.floods.received(self.network.now, message, data, source, self.interfaces)
            if flood.cache:
                self.flooded.store(self.network.now, message, source.interface)
                self.heard[message.session_id] += 1
            self._send_on(message.session_id, flood.data, flood.interfaces)
        elif isinstance(message, Discovery):
            self._asked(message, data, source)
        elif isinstance(message, Response):
            self._answered(message, source)

    def _asked(self, message: Discovery, data: bytes, source: Source) -> None:
        if message.session_id in self.answers:
            return
        name = message.objective.name
        reaction = self.rules.received(self.network.now, message, data, source, name in self.supports, self.interfaces)
        if isinstance(reaction, Relay):
            self._send_on(message.session_id, reaction.data, reaction.interfaces)
        elif isinstance(reaction, Answer):
            self._respond(Response(message.session_id, message.initiator, TTL, (self.locator(),)), source)
        elif isinstance(reaction, Redirect):
            locators = tuple(each.locator for each in reaction.entries)
            self._respond(Response(message.session_id, message.initiator, TTL, Divert(locators)), source)

    def _answered(self, message: Response, source: Source) -> None:
        asked = self.rules.asker(self.network.now, message)
        own = self.answers.get(message.session_id)
        assert own is None or asked is None, "a node relayed its own discovery"
        if own is not None:
            own += [each.address for each in message.locators if isinstance(each, IPv6Locator)]
            name = self.network.asked_for[message.session_id]
        elif asked is not None:
            name = asked.name
            self._respond(
                Response(message.session_id, message.initiator, message.ttl, Divert(message.locators)), asked.source
            )
        else:
            return
        self.cache.add(self.network.now, name, message.locators, source.interface, message.ttl, message.diverted)

    def _send_on(self, session_id: int, data: bytes, interfaces: Sequence[int]) -> None:
        if interfaces:
            self.relayed[session_id] += 1
        for index in interfaces:
            self.network.multicast(self, index, data)

    def _respond(self, response: Response, to: Source) -> None:
        self.network.unicast(self, to, encode_message(response, 2048))


class Network:
    def __init__(self, links: Links, limits: Limits | None = None, delay: Callable[[], float] = lambda: HOP) -> None:
        self.limits = limits or Limits()
        self.links = links
        self.now = 1000.0
        self.session_ids = count(1)
        self.asked_for: dict[int, str] = {}
        self.multicasts: Counter[int] = Counter()
        self.unicasts = 0
        self._delay = delay
        self._queue: list[tuple[float, int, Node, bytes, Source]] = []
        self._order = count()
        self.nodes = [Node(self, number) for number in range(1 + max(node for link in links for node in link))]
        for number, link in enumerate(links):
            for node in link:
                self.nodes[node].links.append(number)

    def _deliver(self, sender: Node, link: int, receiver: Node, data: bytes) -> None:
        source = Source(_link_local(sender.number), 40_000, receiver.links.index(link) + 1)
        heapq.heappush(self._queue, (self.now + self._delay(), next(self._order), receiver, data, source))

    def multicast(self, sender: Node, interface: int, data: bytes) -> None:
        self.multicasts[sender.number] += 1
        link = sender.links[interface - 1]
        for number in self.links[link]:
            if number != sender.number:
                self._deliver(sender, link, self.nodes[number], data)

    def unicast(self, sender: Node, to: Source, data: bytes) -> None:
        self.unicasts += 1
        link = sender.links[to.interface - 1]
        receiver = next(node for node in self.links[link] if _link_local(node) == to.address)
        self._deliver(sender, link, self.nodes[receiver], data)

    def run(self) -> None:
        """Until no packet is on its way."""
        while self._queue:
            self.now, _, receiver, data, source = heapq.heappop(self._queue)
            receiver.received(data, source)

    def find(self, asker: int, name: str, loop_count: int) -> list[int]:
        """The nodes a discovery finds."""
        session_id = self.nodes[asker].discover(name, loop_count)
        self.asked_for[session_id] = name
        self.run()
        return [int(address) & 0xFFFF_FFFF for address in self.nodes[asker].answers[session_id]]

    def distances(self, start: int) -> dict[int, int]:
        """Hops from ``start`` to every node it can reach, by breadth-first search."""
        found, waiting = {start: 0}, deque([start])
        while waiting:
            node = waiting.popleft()
            for link in self.nodes[node].links:
                for other in self.links[link]:
                    if other not in found:
                        found[other] = found[node] + 1
                        waiting.append(other)
        return found


# -- shapes


def line(size: int) -> Links:
    return [[node, node + 1] for node in range(size - 1)]


def ring(size: int) -> Links:
    return [[node, (node + 1) % size] for node in range(size)]


def full_mesh(size: int) -> Links:
    return [[one, other] for one in range(size) for other in range(one)]


def one_link(size: int) -> Links:
    return [list(range(size))]


def grid(width: int, height: int) -> Links:
    across = [[row * width + at, row * width + at + 1] for row in range(height) for at in range(width - 1)]
    down = [[row * width + at, row * width + width + at] for row in range(height - 1) for at in range(width)]
    return across + down


def tree(size: int, seed: int) -> Links:
    """Deep, with many short branches."""
    generator = random.Random(seed)
    return [[generator.randrange(max(0, node - size // 30), node), node] for node in range(1, size)]


def random_connected(size: int, seed: int) -> Links:
    """A tree, more links between any two nodes, and some links with several nodes on them."""
    generator = random.Random(seed)
    links = [[generator.randrange(node), node] for node in range(1, size)]
    links += [generator.sample(range(size), 2) for _ in range(generator.randrange(size))]
    links += [generator.sample(range(size), min(size, generator.randrange(3, 7))) for _ in range(size // 10)]
    return links
