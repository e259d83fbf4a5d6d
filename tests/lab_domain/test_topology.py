"""Shapes and files of networks, and that what is built of them reaches from everywhere to everywhere."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from lab import unavailable_reason
from lab.domain.places import PREFIX, namespaces
from lab.domain.topology import MOST, REACH, Topology, TopologyError, line, read, ring, star, tree

TOPOLOGIES = Path(__file__).parents[2] / "examples" / "topologies"


def distances(topology: Topology) -> dict[tuple[str, str], int]:
    """Floyd and Warshall's, as an independent source."""
    far = 10_000
    found = {(a, b): 0 if a == b else far for a in topology.nodes for b in topology.nodes}
    for link in topology.links:
        for pair in itertools.permutations(link, 2):
            found[pair] = 1
    for middle, a, b in itertools.product(topology.nodes, repeat=3):
        found[a, b] = min(found[a, b], found[a, middle] + found[middle, b])
    return found


@pytest.mark.parametrize(
    "topology",
    [
        *(line(n) for n in (2, 7)), *(ring(n) for n in (3, 6, 13)), *(star(n) for n in (2, MOST)),
        *(tree(n) for n in (2, 4, MOST)), *(read(each) for each in sorted(TOPOLOGIES.iterdir())),
    ],
    ids=lambda each: f"{each.name} of {len(each.agents)}",
)  # fmt: skip
def test_next_hops_lead_to_every_node_by_a_shortest_way(topology):
    expected = distances(topology)
    hops = {name: topology.next_hops(name) for name in topology.nodes}
    for start, end in itertools.permutations(topology.nodes, 2):
        assert topology.distances(start)[end] == expected[start, end]
        way = [start]
        while way[-1] != end:
            way.append(hops[way[-1]][end])
            assert expected[way[-2], way[-1]] == 1
        assert len(way) - 1 == expected[start, end]
    assert max(expected[pair] for pair in itertools.product(topology.agents, repeat=2)) <= REACH


def test_the_last_delegator_of_a_tree_is_two_links_away_behind_a_relay():
    topology = tree(6)
    assert topology.neighbours()["r5"].keys() == {"relay"}
    assert topology.neighbours()["relay"].keys() == {"origin", "r5"}


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("{", "cannot be read"),
        ("[]", "not a table"),
        ({"origin": "a", "delegators": ["b"], "links": [["a", "b"]], "speed": 3}, "no key 'speed'"),
        ({"delegators": ["b"], "links": [["a", "b"]]}, "origin must be"),
        ({"origin": "a", "delegators": "b", "links": [["a", "b"]]}, "delegators must be"),
        ({"origin": "a", "delegators": ["b"]}, "links must be"),
        ({"origin": "a", "delegators": ["b"], "links": ["ab"]}, "a link must be"),
        ({"origin": "a", "delegators": ["b"], "links": [["a", "b"], ["a", "c"]]}, "'c', which is no node"),
        ({"origin": "a", "delegators": ["b"], "links": [["a", "b"], ["a"]]}, "a link joins a"),
        ({"origin": "a", "delegators": ["b", "a"], "links": [["a", "b"]]}, "two nodes a"),
        ({"origin": "a", "delegators": ["b", "c"], "links": [["a", "b"]]}, "no way from a to c"),
        ({"origin": "a", "delegators": [], "links": []}, "1 agents"),
        ({"origin": "a b", "delegators": ["c"], "links": [["a b", "c"]]}, "'a b' is no name"),
        ({"origin": "switch0", "delegators": ["c"], "links": [["switch0", "c"]]}, "'switch0' is no name"),
    ],
)
def test_a_file_that_is_no_network_is_refused_with_what_is_allowed(tmp_path, content, wrong):
    file = tmp_path / "network.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(TopologyError, match=wrong) as caught:
        read(file)
    assert caught.value.allowed


def test_json_and_toml_say_the_same(tmp_path):
    (tmp_path / "n.json").write_text(
        '{"origin": "a", "delegators": ["b"], "relays": ["c"], "links": [["a", "c", "b"]]}'
    )
    (tmp_path / "n.toml").write_text('origin = "a"\ndelegators = ["b"]\nrelays = ["c"]\nlinks = [["a", "c", "b"]]\n')
    one, other = read(tmp_path / "n.json"), read(tmp_path / "n.toml")
    assert (one.agents, one.relays, one.links) == (other.agents, other.relays, other.links)
    assert one.links == (("a", "c", "b"),)


@pytest.mark.parametrize("topology", [tree(4), ring(5), read(TOPOLOGIES / "campus.toml")], ids=lambda each: each.name)
def test_in_namespaces_every_host_reaches_every_other_from_its_own_address(topology, tmp_path):
    if reason := unavailable_reason():
        pytest.skip(reason)
    with namespaces(topology, tmp_path, lambda: None) as ground:
        for number, name in enumerate(topology.nodes, 1):
            if name in topology.agents:
                assert ground.places[name].address == PREFIX + number
        pings = {
            (one, number): ground.places[one].launch(
                ["ping", "-6", "-n", "-c", "1", "-W", "2", "-I", str(ground.places[one].address), str(PREFIX + number)],
                (tmp_path / "pings").open("ab"),
            )
            for one in topology.agents
            for number, other in enumerate(topology.nodes, 1)
            if other != one
        }
        assert {pair: each.wait(30) for pair, each in pings.items()} == dict.fromkeys(pings, 0)
        assert {each.poll() for each in ground.relays.values()} <= {None}
