"""Networks with loops: a ring and a full mesh of four nodes. Nothing storms, everything is found."""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import ExitStack

import cbor2
import pytest

from lab import Capture

from .raw import M_DISCOVERY, M_FLOOD, PORT
from .steer import eventually
from .topology import address, network

SHAPES = {
    "ring": [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")],
    "mesh": list(itertools.combinations("abcd", 2)),
}


@pytest.fixture(scope="module", params=SHAPES)
def looped(request, shared_lab, start_shared):
    """Agents by name, and (host, interface) of one end of every link."""
    edges = [(request.param + one, request.param + other) for one, other in SHAPES[request.param]]
    hosts = network(shared_lab, edges)
    counts = Counter()
    ends = []
    for one, other in edges:
        ends.append((hosts[one], f"eth{counts[one]}"))
        counts.update([one, other])
    agents = {name: start_shared(host, address=address(hosts, name)) for name, host in hosts.items()}
    return agents, ends, {name: address(hosts, name) for name in hosts}


class Traffic:
    """All the multicasts on all the links."""

    def __init__(self, ends):
        self._stack = ExitStack()
        self.captures = [Capture(*end) for end in ends]

    def __enter__(self):
        for capture in self.captures:
            self._stack.enter_context(capture)
        return self

    def __exit__(self, *ending):
        self._stack.__exit__(*ending)
        assert not any(capture.dropped for capture in self.captures)

    def crossings(self, kind):
        """How often each session of that message type crossed each link."""
        found = Counter()
        for link, capture in enumerate(self.captures):
            for packet in capture.packets(PORT):
                message = cbor2.loads(packet.payload)
                if message[0] == kind:
                    found[link, message[1]] += 1
        return found


@pytest.mark.parametrize("loop_count", [6, 255])
def test_a_flood_crosses_each_link_at_most_twice_and_arrives_everywhere_once(looped, loop_count):
    agents, ends, _ = looped
    origin, *others = agents.values()
    names = [f"storm {loop_count} {n}" for n in range(20)]
    for each in (*names, f"end {loop_count}"):
        origin.register(each, "synchronize")
    for each in others:
        each.on_flood(names[0])
    with Traffic(ends) as traffic:
        for name in names:
            origin.flood([[name, 1, None]], loop_count=loop_count)
        for each, name in itertools.product(others, names):
            assert each.wait_flood(name)
        # What the last of them caused has passed when a later one is everywhere.
        origin.flood([[f"end {loop_count}", 1, None]], loop_count=loop_count)
        for each in others:
            assert each.wait_flood(f"end {loop_count}")
    crossings = traffic.crossings(M_FLOOD)
    assert max(crossings.values()) <= 2
    assert len({session for _, session in crossings}) == 21
    for each in others:
        assert len([tagged for tagged in each.flooded() if tagged["name"] == names[0]]) == 1


def test_everyone_finds_everyone_and_a_discovery_crosses_each_link_at_most_twice(looped):
    agents, ends, addresses = looped
    for name, each in agents.items():
        each.register(f"of {name}", "synchronize")
        each.publish(f"of {name}", name)
    with Traffic(ends) as traffic:
        for (one, asker), (other, responder) in itertools.permutations(agents.items(), 2):
            found = asker.discover(f"of {other}")
            assert [addresses[other], 6, responder.port] in [each["locator"] for each in found], (one, other)
            assert asker.synchronize(f"of {other}") == other
    assert max(traffic.crossings(M_DISCOVERY).values()) <= 2


def test_a_discovery_of_what_nobody_has_dies_out(looped):
    agents, ends, _ = looped
    asker = next(iter(agents.values()))
    with Traffic(ends) as traffic:
        assert asker.discover("nowhere", timeout=500, loop_count=255) == []
    crossings = traffic.crossings(M_DISCOVERY)
    assert max(crossings.values()) <= 2
    assert len({session for _, session in crossings}) == 1


def test_several_floods_at_once_from_everywhere_arrive_everywhere(looped):
    agents, ends, _ = looped
    for name, each in agents.items():
        each.register(f"news of {name}", "synchronize")
    with Traffic(ends) as traffic:
        futures = [
            each.begin("flood", [[f"news of {name}", value, None]])
            for value in range(5)
            for name, each in agents.items()
        ]
        assert all(future.result(10) for future in futures)
        for each, name in itertools.product(agents.values(), agents):
            assert each.wait_flood(f"news of {name}")
    assert max(traffic.crossings(M_FLOOD).values()) <= 2


def test_nothing_is_left_open(looped):
    for each in looped[0].values():
        assert eventually(lambda each=each: each.statistics()["sessions"] == 0)
