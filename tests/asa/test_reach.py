"""Who serves a place, against every prefix of every agent tried one by one."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa.flows import HostName, Mac, Place
from asa.reach import MOST, Map, covers
from objectives import NodeId
from objectives.reach import MAX_PREFIXES, Prefix, Reach, reach_from_value

ME = NodeId("me", "0" * 16)
A, B, C = (NodeId(name, "1" * 16) for name in ("a", "b", "c"))
B2 = NodeId("b", "2" * 16)


def prefix(text: str) -> Prefix:
    return ip_network(text)


def reach(node: NodeId, sequence: int, *texts: str) -> Reach:
    return Reach(node, sequence, tuple(prefix(each) for each in texts))


def heard(*said: Reach) -> Map:
    made = Map(ME)
    for number, each in enumerate(said):
        made.heard(float(number), each)
    return made


def bits(network: Prefix) -> str:
    """The part that counts, as ones and zeros."""
    return format(int(network.network_address), f"0{network.max_prefixlen}b")[: network.prefixlen]


def is_within(place: Prefix, outer: Prefix) -> bool:
    return place.version == outer.version and bits(place).startswith(bits(outer))


@dataclass
class Flooded:
    """What an agent said last."""

    sequence: int
    at: int
    prefixes: set[Prefix] = field(default_factory=set)


def server(known: dict[NodeId, Flooded], place: Prefix) -> NodeId | None:
    found = [
        (each.prefixlen, node)
        for node, said in known.items()
        for each in said.prefixes
        if is_within(place, each)
    ]  # fmt: skip
    return max(found)[1] if found else None


def network(version: int, number: int, length: int) -> Prefix:
    """Few bits differ, so that prefixes meet."""
    if version == 4:
        return IPv4Network((number << 24, length), strict=False)
    return IPv6Network((number << 120, length), strict=False)


PREFIXES = st.builds(network, st.sampled_from([4, 6]), st.integers(0, 255), st.integers(0, 9))
NODES = st.sampled_from([ME, A, B, B2, C])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("heard"), NODES, st.integers(0, 5), st.sets(PREFIXES, max_size=8)),
        st.tuples(st.just("forget"), NODES),
    ),
    max_size=20,
)


@given(STEPS, st.lists(PREFIXES, min_size=8, max_size=8))
@settings(max_examples=400, deadline=None)
def test_of_all_that_was_said_the_longest_prefix_counts_and_of_equals_the_last_in_order(
    steps: list[tuple[Any, ...]], places: list[Prefix]
) -> None:
    made = Map(ME)
    known: dict[NodeId, Flooded] = {}
    for now, (what, *rest) in enumerate(steps):
        if what == "forget":
            made.forget(rest[0])
            known.pop(rest[0], None)
        else:
            node, sequence, prefixes = rest
            old = known.get(node, Flooded(-1, now))
            new = old.prefixes
            if node != ME and node not in known:
                known = {each: said for each, said in known.items() if each.name != node.name}
            if node != ME and sequence >= old.sequence:
                new = set(prefixes) | (old.prefixes if sequence == old.sequence else set())
                known[node] = Flooded(sequence, now, new)
            assert made.heard(float(now), Reach(node, sequence, tuple(prefixes))) == (new != old.prefixes)
        for place in places:
            assert made.serving(place) == server(known, place)


@given(st.lists(st.tuples(NODES, st.integers(0, 3), st.sets(PREFIXES, max_size=6)), max_size=12))
def test_nothing_is_left_of_who_is_forgotten(said: list[tuple[NodeId, int, set[Prefix]]]) -> None:
    made = Map(ME)
    for node, sequence, prefixes in said:
        made.heard(0.0, Reach(node, sequence, tuple(prefixes)))
    for node in (A, B, B2, C):
        made.forget(node)
    assert (made._agents, made._owners, +made._lengths) == ({}, {}, Counter())


def test_prefixes_of_every_length_are_found() -> None:
    chance = random.Random(7)
    for version, width in (4, 32), (6, 128):
        number = chance.getrandbits(width)
        make = IPv4Network if version == 4 else IPv6Network
        lengths = sorted(chance.sample(range(width + 1), 20))
        nodes = {length: NodeId(f"n{length}", "0" * 16) for length in lengths}
        made = heard(*(Reach(nodes[length], 1, (make((number, length), strict=False),)) for length in lengths))
        for length in range(width + 1):
            place = make((number, length), strict=False)
            longest = max((each for each in lengths if each <= length), default=None)
            assert made.serving(place) == (nodes[longest] if longest is not None else None)
        if lengths[-1] == width:
            made.forget(nodes[width])
        beside = make(number ^ 1)
        longest = max(each for each in lengths if each < width)
        assert made.serving(beside) == nodes[longest]


def test_all_of_a_place_must_be_within() -> None:
    made = heard(reach(A, 1, "10.0.0.0/24"))
    assert made.serving(prefix("10.0.0.7")) == A
    assert made.serving(prefix("10.0.0.128/25")) == A
    assert made.serving(prefix("10.0.0.0/24")) == A
    assert made.serving(prefix("10.0.0.0/23")) is None
    assert made.serving(prefix("10.0.1.0")) is None


@pytest.mark.parametrize("place", [None, HostName("web1"), Mac("02:00:00:00:00:01")])
def test_what_is_no_network_is_served_by_nobody(place: Place) -> None:
    everything = prefix("0.0.0.0/0"), prefix("::/0")
    assert heard(reach(A, 1, "0.0.0.0/0", "::/0")).serving(place) is None
    assert not any(covers(each, place) for each in everything)


def test_addresses_of_the_other_version_with_the_same_bits_are_others() -> None:
    made = heard(reach(A, 1, "0.0.0.0/0"))
    assert made.serving(prefix("::/0")) is None
    assert made.serving(prefix("a00::1")) is None
    assert not covers(prefix("0.0.0.0/0"), prefix("::1"))
    assert not covers(prefix("::/0"), prefix("10.0.0.1"))


@given(PREFIXES, PREFIXES)
def test_a_prefix_covers_what_begins_with_its_bits(outer: Prefix, place: Prefix) -> None:
    assert covers(outer, place) == is_within(place, outer)


def test_what_this_agent_hears_of_itself_is_not_taken_in() -> None:
    made = Map(ME)
    assert not made.heard(0.0, reach(ME, 1, "10.0.0.0/8"))
    assert made.serving(prefix("10.0.0.1")) is None


def test_an_old_sequence_does_not_count() -> None:
    made = Map(ME)
    assert made.heard(0.0, reach(A, 5, "10.0.0.0/8"))
    assert not made.heard(9.0, reach(A, 4, "10.0.0.0/8", "11.0.0.0/8"))
    assert made.serving(prefix("11.0.0.1")) is None
    assert made.serving(prefix("10.0.0.1")) == A


def test_a_new_instance_takes_the_place_of_the_old_one_whichever_sorts_last() -> None:
    for first, second in (B, B2), (B2, B):
        made = heard(reach(first, 9, "10.0.0.0/8", "11.0.0.0/8"), reach(second, 1, "10.0.0.0/8"))
        assert made.serving(prefix("10.0.0.1")) == second
        assert made.serving(prefix("11.0.0.1")) is None


def test_parts_of_one_sequence_add_up_in_any_order_and_the_next_sequence_takes_their_place() -> None:
    whole = Reach(A, 7, tuple(prefix(f"2001:db8:{number:x}::/48") for number in range(MAX_PREFIXES)))
    parts = whole.parts()
    assert len(parts) > 1
    for order in parts, parts[::-1], [*parts, parts[0]]:
        made = heard(*(reach_from_value(each.to_value()) for each in order))
        assert all(made.serving(each) == A for each in whole.prefixes)
    assert made.heard(9.0, reach(A, 8, "2001:db8:1::/48"))
    assert [each for each in whole.prefixes if made.serving(each)] == [prefix("2001:db8:1::/48")]


def test_what_is_said_again_is_nothing_new() -> None:
    made = Map(ME)
    assert made.heard(0.0, reach(A, 1, "10.0.0.0/8"))
    assert not made.heard(1.0, reach(A, 1, "10.0.0.0/8"))
    assert not made.heard(8.0, reach(A, 2, "10.0.0.0/8"))
    assert made.serving(prefix("10.0.0.1")) == A


def test_who_serves_nothing_any_more_says_so() -> None:
    made = heard(reach(A, 1, "10.0.0.0/8"), reach(B, 1, "10.0.0.0/8"))
    assert made.serving(prefix("10.0.0.1")) == B
    assert made.heard(2.0, reach(B, 2))
    assert made.serving(prefix("10.0.0.1")) == A


def test_in_whatever_order_agents_are_heard_all_mean_the_same() -> None:
    said = [reach(each, 1, "10.0.0.0/8") for each in (A, C, B)]
    assert {heard(*order).serving(prefix("10.0.0.1")) for order in (said, said[::-1], said[1:] + said[:1])} == {C}


def test_an_agent_has_at_most_so_many_prefixes_in_all_parts() -> None:
    made = Map(ME)
    for part in range(40):
        made.heard(float(part), Reach(A, 1, tuple(prefix(f"10.{part}.{each}.0/24") for each in range(50))))
    assert len(made._agents[A].prefixes) == MAX_PREFIXES
    assert set(made._owners) == made._agents[A].prefixes
    assert +made._lengths == {(4, 24): MAX_PREFIXES}


def test_who_was_not_heard_for_longest_makes_room() -> None:
    made = Map(ME)
    nodes = [NodeId(f"n{number}", "0" * 16) for number in range(MOST + 1)]
    places = [IPv4Network((10 << 24) + number) for number in range(MOST + 1)]
    for number in range(MOST):
        made.heard(float(number), Reach(nodes[number], 1, (places[number],)))
    made.heard(float(MOST), Reach(nodes[0], 2, (places[0],)))
    assert made.serving(places[1]) == nodes[1]
    made.heard(float(MOST + 1), Reach(nodes[MOST], 1, (places[MOST],)))
    assert len(made._agents) == MOST
    assert made.serving(places[1]) is None
    assert [made.serving(places[each]) for each in (0, 2, MOST)] == [nodes[each] for each in (0, 2, MOST)]
