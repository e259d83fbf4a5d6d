"""Floods and discoveries through whole networks, without a socket: what the rules of one node add up to."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rules.network import (
    Links,
    Network,
    full_mesh,
    grid,
    line,
    one_link,
    random_connected,
    ring,
    tree,
)

SHAPES: dict[str, Links] = {
    "two nodes": line(2),
    "line of 200": line(200),
    "ring of 3": ring(3),
    "ring of 201": ring(201),
    "full mesh of 20": full_mesh(20),
    "one link of 200": one_link(200),
    "two nodes, five links": [[0, 1]] * 5,
    "grid of 15 x 15": grid(15, 15),
    "tree of 200": tree(200, 1),
    **{f"random of 200, {seed}": random_connected(200, seed) for seed in range(4)},
}


def _sent_by_the_rules(network: Network, origin: int, loop_count: int) -> int:
    """Transmissions of one flood: all links of the origin; all but one of each node that has a loop count left."""
    return sum(
        len(network.nodes[node].links) - (hops > 0)
        for node, hops in network.distances(origin).items()
        if hops < loop_count
    )


def _check_flood(network: Network, origin: int, loop_count: int) -> None:
    before = network.multicasts.total()
    session_id = network.nodes[origin].flood("EX1", origin, loop_count)
    network.run()
    hops = network.distances(origin)
    heard = {node.number: node.heard[session_id] for node in network.nodes if node.heard[session_id]}
    assert heard == {node: 1 for node, away in hops.items() if 0 < away <= loop_count}
    assert all(node.relayed[session_id] <= 1 for node in network.nodes)
    assert network.nodes[origin].relayed[session_id] == 0
    assert network.multicasts.total() - before == _sent_by_the_rules(network, origin, loop_count)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loop_count", [1, 2, 6, 255])
def test_a_flood_is_heard_once_by_every_node_within_its_loop_count_and_no_other(shape: str, loop_count: int) -> None:
    network = Network(SHAPES[shape])
    _check_flood(network, len(network.nodes) // 2, loop_count)


@given(st.integers(2, 12), st.integers(0, 2**32), st.integers(1, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_in_any_small_network_too(size: int, seed: int, loop_count: int, data: st.DataObject) -> None:
    network = Network(random_connected(size, seed))
    for _ in range(2):
        _check_flood(network, data.draw(st.integers(0, size - 1)), loop_count)


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_way_is_fastest_a_flood_reaches_everyone_and_goes_over_no_link_for_ever(shape: str) -> None:
    """Packets overtake each other, so that a flood comes by long ways first."""
    generator = random.Random(shape)
    network = Network(SHAPES[shape], delay=lambda: generator.uniform(0.001, 0.1))
    session_id = network.nodes[0].flood("EX1", 0, 255)
    network.run()
    assert all(node.heard[session_id] == 1 for node in network.nodes[1:])
    assert all(node.relayed[session_id] <= 1 for node in network.nodes)
    assert network.multicasts.total() <= _sent_by_the_rules(network, 0, 255)


@pytest.mark.parametrize("loop_count", [1, 3, 6])
def test_no_way_takes_a_flood_farther_than_its_loop_count(loop_count: int) -> None:
    generator = random.Random(7)
    network = Network(random_connected(200, 7), delay=lambda: generator.uniform(0.001, 0.1))
    session_id = network.nodes[0].flood("EX1", 0, loop_count)
    network.run()
    hops = network.distances(0)
    assert all(hops[node.number] <= loop_count for node in network.nodes if node.heard[session_id])
    assert all(node.relayed[session_id] <= 1 for node in network.nodes)


def test_every_node_ends_up_with_the_last_flood_of_everybody() -> None:
    """Floods of one name and tag: the later overwrites the earlier (§2.8.11)."""
    network = Network(random_connected(60, 3))
    for node in network.nodes:
        node.flood("EX1", node.number, 255)
        network.run()
    for node in network.nodes[:-1]:
        (cached,) = node.flooded.get(network.now, "EX1")
        assert cached.objective.value == len(network.nodes) - 1


def test_a_babbling_node_is_throttled_by_its_neighbours_and_others_are_heard_again_soon() -> None:
    """§2.5.6.2: the total rate of relaying is limited."""
    network = Network(line(5))
    for number in range(1000):
        network.nodes[0].flood(f"babble{number}", 0, 6)
    network.run()
    rate = network.limits.relay_rate
    assert sum(network.nodes[1].heard.values()) == 1000
    assert sum(network.nodes[1].relayed.values()) <= rate + rate * (network.now - 1000.0)
    network.now += 1.0
    session_id = network.nodes[0].flood("EX1", 0, 6)
    network.run()
    assert network.nodes[4].heard[session_id] == 1


def test_a_flood_through_ten_thousand_nodes() -> None:
    network = Network(tree(10_000, 5))
    assert 50 < max(network.distances(0).values()) < 255
    start = time.process_time()
    _check_flood(network, 0, 255)
    assert time.process_time() - start < 10


def test_a_discovery_through_ten_thousand_nodes() -> None:
    network = Network(tree(10_000, 6))
    far = max(network.distances(0).items(), key=lambda each: each[1])
    network.nodes[far[0]].supports.add("EX1")
    assert network.find(0, "EX1", far[1] - 1) == []
    assert network.find(0, "EX1", far[1]) == [far[0] + 1]


# -- discovery


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loop_count", [1, 6, 100])
def test_a_discovery_finds_the_nearest_responder_if_and_only_if_it_is_within_the_loop_count(
    shape: str, loop_count: int
) -> None:
    generator = random.Random(shape)
    for _ in range(5):
        network = Network(SHAPES[shape])
        asker, *responders = generator.sample(range(len(network.nodes)), min(4, len(network.nodes)))
        for responder in responders:
            network.nodes[responder].supports.add("EX1")
        found = network.find(asker, "EX1", loop_count)
        hops = network.distances(asker)
        nearest = min(hops[responder] for responder in responders)
        assert set(found) <= {responder + 1 for responder in responders}
        assert bool(found) is (nearest <= loop_count)
        if found:
            assert nearest in {hops[number - 1] for number in found}
        assert all(node.relayed.total() <= 1 for node in network.nodes)
        assert network.multicasts.total() <= _sent_by_the_rules(network, asker, loop_count)
        # A responder answers each neighbour that asks it once, and each answer goes back hop by hop.
        asked_by = sum(len(network.links[link]) - 1 for each in responders for link in network.nodes[each].links)
        assert network.unicasts <= asked_by * loop_count


@given(st.integers(2, 12), st.integers(0, 2**32), st.integers(1, 8), st.data())
@settings(max_examples=60, deadline=None)
def test_caches_only_ever_help(size: int, seed: int, loop_count: int, data: st.DataObject) -> None:
    """One discovery after the other; each must find at least what it would with nothing cached anywhere."""
    network = Network(random_connected(size, seed))
    responder = data.draw(st.integers(0, size - 1))
    network.nodes[responder].supports.add("EX1")
    hops = network.distances(responder)
    for _ in range(6):
        asker = data.draw(st.integers(0, size - 1).filter(lambda each: each != responder))
        found = network.find(asker, "EX1", loop_count)
        assert set(found) <= {responder + 1}
        if hops[asker] <= loop_count:
            assert found
        network.now += data.draw(st.sampled_from([0.1, 3.0, 59.9985, 60.0, 61.0]))


def test_a_second_discovery_is_answered_from_caches_nearby() -> None:
    network = Network(line(100))
    network.nodes[99].supports.add("EX1")
    assert network.find(0, "EX1", 255) == [100]
    sent = network.multicasts.total()
    network.now += 30
    assert network.find(2, "EX1", 255) == [100]
    assert network.multicasts.total() - sent <= 4


def test_when_the_caches_have_expired_the_way_is_searched_anew() -> None:
    network = Network(line(50))
    network.nodes[49].supports.add("EX1")
    assert network.find(0, "EX1", 255) == [50]
    network.nodes[49].supports.clear()
    network.nodes[25].supports.add("EX1")
    network.now += 61
    assert network.find(0, "EX1", 255) == [26]


def test_a_discovery_of_what_nobody_has_dies_out() -> None:
    for shape, links in SHAPES.items():
        network = Network(links)
        assert network.find(0, "EX1", 255) == [], shape
        assert network.unicasts == 0
        assert network.multicasts.total() <= _sent_by_the_rules(network, 0, 255)


def test_two_askers_with_one_session_id_are_told_apart_by_their_addresses() -> None:
    """§2.7: the initiator's address goes with the session ID everywhere."""
    network = Network(line(5))
    network.nodes[2].supports.add("EX1")
    first = network.nodes[0].discover("EX1", 6)
    network.session_ids = iter([first])  # type: ignore[assignment]
    assert network.nodes[4].discover("EX1", 6) == first
    network.asked_for[first] = "EX1"
    network.run()
    assert network.nodes[0].answers[first]
    assert network.nodes[4].answers[first]


def test_a_storm_of_discoveries_is_throttled() -> None:
    """§2.5.4.4: the total rate of relaying is limited."""
    network = Network(line(4))
    for number in range(1000):
        network.nodes[0].discover(f"nothing{number}", 6)
    network.run()
    rate = network.limits.relay_rate
    assert network.nodes[1].relayed.total() <= rate + rate * (network.now - 1000.0)
    network.nodes[3].supports.add("EX1")
    network.now += 1.0
    assert network.find(0, "EX1", 6) == [4]
