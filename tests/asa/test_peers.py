"""Whom to ask: the good peer, else whoever says it has enough, by chance; and nobody who failed, for a while."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from asa.peers import FIRST_BACKOFF_S, GOOD_S, LONGEST_BACKOFF_S, MOST_INSTANCES, Peers
from objectives import NodeId
from objectives.agent import Announcement, PoolSummary

ME = NodeId("me", "0" * 16)
NOW = 1_000.0


def node(name, instance=1):
    return NodeId(name, f"{instance:016x}")


def says(who, spare=0, *, sequence=1, state="active", pool="wan", seeds=()):
    return Announcement(who, sequence, state, (PoolSummary(pool, spare, seeds),))


@pytest.fixture
def peers():
    return Peers(ME, random.Random(7), most=100)


def known(peers, **spare):
    for name, amount in spare.items():
        peers.heard(NOW, says(node(name), amount), f"[fd00::{name[0]}]:1")


def chosen(peers, want, times=3_000, excluded=(), now=NOW):
    return Counter(found.name for _ in range(times) if (found := peers.choose(now, "wan", want, excluded)) is not None)


def test_with_nobody_known_nobody_is_asked(peers):
    assert peers.choose(NOW, "wan", 1, ()) is None


def test_agents_with_the_same_knowledge_do_not_all_ask_the_same_peer(peers):
    known(peers, a=1_000, b=1_000, c=1_000, d=1_000)
    found = chosen(peers, 500)
    assert set(found) == {"a", "b", "c", "d"}
    assert max(found.values()) < 0.6 * 3_000
    assert min(found.values()) > 0.05 * 3_000


def test_the_richer_of_those_that_have_enough_is_likelier_and_those_that_have_not_are_left_out(peers):
    known(peers, rich=10_000, enough=600, poor=400)
    found = chosen(peers, 500)
    assert set(found) == {"rich", "enough"}
    # Of two drawn at random it is the richer, unless both are the other.
    assert abs(found["enough"] / 3_000 - 1 / 4) < 0.05


def test_where_nobody_has_enough_all_are_tried_in_proportion_to_what_they_said(peers):
    known(peers, a=300, b=100, c=0)
    found = chosen(peers, 1_000)
    total = (300 + 10) + (100 + 10) + (0 + 10)
    for name, weight in {"a": 310, "b": 110, "c": 10}.items():
        assert abs(found[name] / 3_000 - weight / total) < 0.05


def test_the_peer_that_granted_last_is_asked_first_while_it_has_something_for_a_while(peers):
    known(peers, a=10_000, b=700)
    peers.granted(NOW, node("b"), "wan", 100)
    assert peers.good(NOW, "wan") == node("b")
    assert set(chosen(peers, 5_000)) == {"b"}
    assert chosen(peers, 500, excluded=("b",)) == {"a": 3_000}
    assert peers.good(NOW, "lan") is None
    assert peers.good(NOW + GOOD_S + 1, "wan") is None
    assert "a" in chosen(peers, 500, now=NOW + GOOD_S + 1)
    # What it gave it has no more, until it says otherwise.
    peers.granted(NOW, node("b"), "wan", 600)
    assert set(chosen(peers, 500)) == {"a"}


def test_a_peer_that_declined_is_not_good_any_more_but_not_left_alone_either(peers):
    known(peers, a=10_000, b=700)
    peers.granted(NOW, node("b"), "wan", 100)
    peers.declined(node("b"), "wan", 0)
    assert peers.good(NOW, "wan") is None
    assert set(chosen(peers, 500)) == {"a"}
    assert chosen(peers, 500, excluded=("a",)) == {"b": 3_000}


def test_a_peer_that_fails_is_left_alone_for_a_time_that_doubles_within_bounds(peers):
    known(peers, a=1_000)
    pauses = []
    for _ in range(14):
        peers.failed(NOW, node("a"))
        (peer,) = peers.everyone()
        pauses.append(peer.not_before - NOW)
        assert peers.choose(NOW, "wan", 1, ()) is None
        assert peers.choose(NOW, "wan", 1, (), urgent=True) == node("a")
        assert peers.choose(NOW + pauses[-1], "wan", 1, ()) == node("a")
    for number, pause in enumerate(pauses):
        usual = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**number)
        assert 0.5 * usual <= pause <= 1.5 * usual
    assert len(set(pauses[-4:])) == 4, "chance keeps agents apart"
    for forgiven in (lambda: peers.granted(NOW, node("a"), "wan", 1)), (lambda: peers.declined(node("a"), "wan", 0)):
        peers.failed(NOW, node("a"))
        forgiven()
        (peer,) = peers.everyone()
        assert (peer.failures, peer.not_before) == (0, 0.0)


def test_a_good_peer_that_fails_is_good_no_more(peers):
    known(peers, a=1_000, b=1_000)
    peers.granted(NOW, node("a"), "wan", 1)
    peers.failed(NOW, node("a"))
    assert peers.good(NOW + 10, "wan") is None
    assert chosen(peers, 5) == {"b": 3_000}


@pytest.mark.parametrize("state", ["inactive", "left"])
def test_who_takes_no_part_is_not_asked_and_its_spare_does_not_count(peers, state):
    known(peers, a=1_000)
    assert peers.spare("wan") == 1_000
    assert peers.heard(NOW, says(node("a"), 1_000, sequence=2, state=state), "[fd00::a]:1")
    assert peers.choose(NOW, "wan", 1, ()) is None
    assert peers.spare("wan") == 0


def test_an_old_flood_and_our_own_change_nothing(peers):
    assert peers.heard(NOW, says(node("a"), 5, sequence=10), "[fd00::a]:1")
    assert not peers.heard(NOW, says(node("a"), 7, sequence=9), "[fd00::dead]:1")
    assert not peers.heard(NOW, says(ME, 7), "[fd00::dead]:1")
    (peer,) = peers.everyone()
    assert (peer.spare, peer.locator) == ({"wan": 5}, "[fd00::a]:1")
    # News without a move is taken in, and is no news to those who want to know of moves.
    assert not peers.heard(NOW, says(node("a"), 7, sequence=10), "[fd00::a]:1")
    assert peers.spare("wan") == 7
    assert peers.heard(NOW, says(node("a"), 7, sequence=11), "[fd00::a]:2")


def test_the_table_is_bounded_and_who_was_silent_longest_makes_room():
    peers = Peers(ME, random.Random(7), most=100)
    peers.remember(node("old"), "[fd00::1]:1")
    for number in range(300):
        peers.heard(NOW + number, says(node(f"n{number}")), "[fd00::1]:1")
    names = {each.node.name for each in peers.everyone()}
    assert len(names) == 100
    assert names == {f"n{number}" for number in range(200, 300)}
    for number in range(300):
        peers.remember(node(f"m{number}"), "[fd00::1]:1")
    assert len(peers.everyone()) == 100


def test_a_name_with_ever_new_instances_takes_the_place_of_its_own_only(peers):
    known(peers, a=1, b=1)
    for number in range(500):
        peers.heard(NOW + number, says(node("mallory", number)), "[fd00::9]:1")
    names = Counter(each.node.name for each in peers.everyone())
    assert names == {"a": 1, "b": 1, "mallory": MOST_INSTANCES}
    assert {each.node for each in peers.everyone() if each.node.name == "mallory"} == {
        node("mallory", number) for number in range(500 - MOST_INSTANCES, 500)
    }


def test_nodes_of_our_name_that_are_not_us_are_known_while_they_are_heard(peers):
    for instance in range(1, 4):
        peers.heard(NOW + instance, says(node("me", instance)), "[fd00::1]:1")
    peers.heard(NOW, says(ME), "[fd00::1]:1")
    peers.heard(NOW, says(node("other")), "[fd00::1]:1")
    assert set(peers.namesakes(NOW + 3, 10)) == {node("me", each) for each in range(1, 4)}
    assert peers.namesakes(NOW + 12.5, 10) == [node("me", 3)]
    assert peers.namesakes(NOW + 99, 10) == []


def test_seeds_and_pools_are_those_of_all_who_spoke_of_them(peers):
    peers.heard(NOW, says(node("a"), 5, seeds=((0, 10), (20, 30))), "[fd00::a]:1")
    peers.heard(NOW, says(node("b"), 5, seeds=((10, 20),)), "[fd00::b]:1")
    peers.heard(NOW, says(node("c"), 5, pool="lan"), "[fd00::c]:1")
    assert sorted(peers.seeds("wan")) == [(0, 10, str(node("a"))), (10, 20, str(node("b"))), (20, 30, str(node("a")))]
    assert peers.pools() == {"wan", "lan"}
    assert peers.seeds("lan") == []
    peers.forget(node("a"))
    assert [each[2] for each in peers.seeds("wan")] == [str(node("b"))]


def test_what_an_origin_that_left_has_seeded_counts_no_more(peers):
    peers.heard(NOW, says(node("a"), 5, seeds=((0, 10),)), "[fd00::a]:1")
    peers.heard(NOW, says(node("a"), 5, seeds=((0, 10),), sequence=2, state="left"), "[fd00::a]:1")
    assert peers.seeds("wan") == []


def test_an_instance_that_is_silent_is_forgotten_for_a_new_one_of_its_name_in_its_place(peers):
    peers.heard(NOW, says(node("a", 1), seeds=((0, 10),)), "[fd00::a]:1")
    peers.heard(NOW, says(node("a", 3)), "[fd00::e]:1")
    peers.heard(NOW, says(node("b", 1)), "[fd00::a]:1")
    peers.remember(node("a", 4), "[fd00::a]:9")
    peers.heard(NOW + 50, says(node("a", 2), seeds=((0, 10),)), "[fd00::a]:2")
    # Of another name, or somewhere else, or heard just now, is another agent.
    assert peers.replaced(NOW + 50, node("a", 2), 60.0) == [node("a", 4)]
    assert peers.replaced(NOW + 70, node("b", 1), 60.0) == []
    assert peers.replaced(NOW + 70, node("nobody"), 60.0) == []
    assert peers.replaced(NOW + 70, node("a", 2), 60.0) == [node("a", 1)]
    assert {str(each.node) for each in peers.everyone()} == {str(node("a", 2)), str(node("a", 3)), str(node("b", 1))}
    assert peers.seeds("wan") == [(0, 10, str(node("a", 2)))]


def test_a_peer_of_an_earlier_life_can_be_asked_before_it_is_heard(peers):
    peers.remember(node("a"), "[fd00::a]:1")
    peers.remember(ME, "[fd00::b]:1")
    assert peers.choose(NOW, "wan", 1, ()) == node("a")
    assert peers.locator(node("a")) == "[fd00::a]:1"
    assert peers.named("a") == [node("a")]
    assert peers.locator(node("b")) is None


def test_parts_of_one_announcement_add_up_and_a_newer_one_replaces_them(peers):
    peers.heard(NOW, says(node("a"), 5, pool="wan", sequence=4), "[fd00::a]:1")
    peers.heard(NOW, says(node("a"), 7, pool="lan", sequence=4), "[fd00::a]:1")
    assert peers.everyone()[0].spare == {"wan": 5, "lan": 7}
    peers.heard(NOW, says(node("a"), 6, pool="wan", sequence=5), "[fd00::a]:1")
    assert peers.everyone()[0].spare == {"wan": 6}


def test_who_may_not_give_is_not_asked_and_has_nothing_to_spare():
    peers = Peers(ME, random.Random(7), gives=lambda name: name != "a")
    known(peers, a=1_000)
    assert peers.choose(NOW, "wan", 1, (), urgent=True) is None
    known(peers, b=10)
    peers.granted(NOW, node("a"), "wan", 1)
    assert chosen(peers, 500, 100) == {"b": 100}
    assert peers.spare("wan") == 10
