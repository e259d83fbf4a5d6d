"""Random and mutated messages at a live node: nothing kills it, nothing stays behind."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.network.raw import M_FLOOD, SYN

from .messages import KINDS, bytes_of
from .siege import TARGET

GROWTH_KIB = 24 * 1024

items = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
        | st.builds(cbor2.CBORTag, st.integers(0, 1 << 64 - 1), inner)
    ),
    max_leaves=20,
)
objectives = st.lists(items, max_size=5) | st.tuples(
    st.sampled_from(["neg", "syn", "queue", "bait"]), st.integers(0, 20), st.integers(-1, 300), items
).map(list)
structured = st.tuples(
    st.sampled_from(KINDS) | items, st.integers(0, (1 << 32) - 1) | items, st.binary(min_size=16, max_size=16) | items
).flatmap(lambda head: st.lists(objectives | items, max_size=4).map(lambda rest: [*head, *rest]))
short = st.tuples(st.sampled_from(KINDS), st.integers(0, (1 << 32) - 1), objectives).map(list)


@pytest.fixture(scope="module")
def before(besieged):
    """The node's level with its caches full."""
    besieged.storm(1, 2.0)
    assert besieged.recovered(besieged.level()) == []
    return besieged.level()


def test_hypothesis_finds_no_message_that_harms(besieged, before):
    @settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(structured | short | st.binary(max_size=60), min_size=1, max_size=5))
    def attack(messages):
        data = [each if isinstance(each, bytes) else cbor2.dumps(each) for each in messages]
        for each in data:
            besieged.raw.multicast(each[:1_232])
        with besieged.raw.connect(TARGET, besieged.port) as wire:
            try:
                for each in data:
                    wire.send(each)
            except OSError:
                pass
        assert besieged.target.process.poll() is None

    attack()
    assert besieged.recovered(before) == []


@pytest.mark.parametrize("seed", [2, 3])
def test_a_storm_leaves_the_node_as_it_was(besieged, before, seed):
    besieged.storm(seed, 3.0)
    assert besieged.recovered(before) == []
    after = besieged.level()
    assert after.rss_kib < before.rss_kib + GROWTH_KIB
    # The attack was one.
    assert min(besieged.sent[what] for what in ("multicasts", "connections", "answers", "own requests")) > 20


def test_a_good_flood_is_taken_in_after_all_that(besieged, before):
    besieged.raw.multicast([M_FLOOD, 1, bytes(15) + b"\x07", 60_000, [["survived", SYN, 3, 1], []]])
    assert besieged.target.wait_flood("survived", timeout=10_000)


def test_the_same_seed_makes_the_same_messages():
    from random import Random

    one, other = ([bytes_of(Random(f"7/{n}")) for n in range(200)] for _ in range(2))
    assert one == other
