"""One node's part in other nodes' floods, and what it keeps of them: RFC 8990 §2.5.6.2 and §2.8.11 rule by rule."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grasp.discovery import Source
from grasp.flooding import FloodCache, FloodReaction, FloodRules, TaggedObjective
from grasp.limits import Limits
from grasp.wire import Address, Flood, FloodEntry, IPv6Locator, Locator, Objective, decode_message
from tests.wire.by_hand import Raw, pack, tagged

INITIATOR = IPv6Address("2001:db8::1")
LEFT, RIGHT, UP = 1, 2, 3
HERE = IPv6Locator(IPv6Address("2001:db8::99"), 6, 7017)
THERE = IPv6Locator(IPv6Address("2001:db8::98"), 6, 7017)


def flood(
    session_id: int = 1,
    loop_count: int = 6,
    initiator: Address = INITIATOR,
    ttl: int = 60_000,
    entries: Sequence[tuple[str, Any, Locator | None]] = (("EX1", 1, None),),
) -> Flood:
    made = tuple(FloodEntry(Objective(name, 5, loop_count, value), locator) for name, value, locator in entries)
    return Flood(session_id, initiator, ttl, made)


class Node:
    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.rules = FloodRules(self.limits)
        self.now = 1000.0

    def hears(
        self,
        session_id: int = 1,
        *,
        loop_count: int = 6,
        initiator: Address = INITIATOR,
        interface: int = LEFT,
        interfaces: Sequence[int] = (LEFT, RIGHT, UP),
    ) -> FloodReaction:
        message = flood(session_id, loop_count, initiator)
        data = pack([9, session_id, initiator.packed, 60_000, [["EX1", 5, loop_count, 1], []]])
        source = Source(IPv6Address("fe80::a"), 40_000, interface)
        return self.rules.received(self.now, message, data, source, interfaces)


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_flood_is_cached_and_relayed_on_the_other_interfaces_with_one_loop_less(node: Node) -> None:
    reaction = node.hears(interface=RIGHT)
    assert reaction.cache
    assert reaction.interfaces == (LEFT, UP)
    assert reaction.data == pack([9, 1, INITIATOR.packed, 60_000, [["EX1", 5, 5, 1], []]])


def test_only_the_loop_count_of_the_first_objective_is_lowered_and_decides(node: Node) -> None:
    """§2.5.6.2."""
    initiator, source = INITIATOR.packed, Source(IPv6Address("fe80::a"), 40_000, LEFT)
    data = pack([9, 1, initiator, 0, [["EX1", 5, 2, 1], []], [["EX2", 5, 9, 1], []], [["EX3", 5, 1, 1], []]])
    message = decode_message(data)
    assert isinstance(message, Flood)
    reaction = node.rules.received(node.now, message, data, source, (LEFT, RIGHT))
    assert reaction.data == pack(
        [9, 1, initiator, 0, [["EX1", 5, 1, 1], []], [["EX2", 5, 9, 1], []], [["EX3", 5, 1, 1], []]]
    )
    data = pack([9, 2, initiator, 0, [["EX1", 5, 1, 1], []], [["EX2", 5, 9, 1], []]])
    message = decode_message(data)
    assert isinstance(message, Flood)
    assert node.rules.received(node.now, message, data, source, (LEFT, RIGHT)).interfaces == ()


def test_without_another_interface_it_is_only_cached(node: Node) -> None:
    reaction = node.hears(interfaces=(LEFT,))
    assert reaction.cache
    assert reaction.interfaces == ()


@pytest.mark.parametrize(("loop_count", "relayed"), [(0, False), (1, False), (2, True), (255, True)])
def test_a_flood_whose_loop_count_becomes_zero_is_cached_and_not_relayed(
    node: Node, loop_count: int, relayed: bool
) -> None:
    reaction = node.hears(loop_count=loop_count)
    assert reaction.cache
    assert bool(reaction.interfaces) is relayed


def test_a_flood_is_cached_and_relayed_once_from_wherever_it_comes(node: Node) -> None:
    node.hears()
    for interface in (LEFT, RIGHT, UP):
        for loop_count in (2, 6, 255):
            reaction = node.hears(interface=interface, loop_count=loop_count)
            assert not reaction.cache
            assert reaction.interfaces == ()


@pytest.mark.parametrize("seconds", [0.0, 1.0, 60.0, 119.9])
def test_a_flood_is_not_relayed_again_within_twice_the_default_timeout(node: Node, seconds: float) -> None:
    node.hears(1)
    node.now += seconds
    node.hears(2)
    assert node.hears(1).interfaces == ()


def test_equal_session_ids_of_two_initiators_are_two_floods(node: Node) -> None:
    assert node.hears(7).interfaces
    assert node.hears(7, initiator=IPv6Address("2001:db8::2")).interfaces
    assert node.hears(7, initiator=IPv4Address("192.0.2.1")).interfaces


def test_our_own_flood_is_neither_cached_nor_relayed_when_it_comes_back(node: Node) -> None:
    node.rules.own(node.now, 1, INITIATOR)
    reaction = node.hears(1)
    assert not reaction.cache
    assert reaction.interfaces == ()
    assert node.hears(1, initiator=IPv6Address("2001:db8::2")).cache


@pytest.mark.parametrize("loop_count", [0, 2, 6, 255])
def test_a_flood_with_link_local_initiator_and_a_loop_count_other_than_one_is_discarded(
    node: Node, loop_count: int
) -> None:
    """§2.5.6.2: "such messages MUST be discarded"."""
    reaction = node.hears(initiator=IPv6Address("fe80::1"), loop_count=loop_count)
    assert not reaction.cache
    assert reaction.interfaces == ()


def test_a_flood_with_link_local_initiator_stays_on_its_link(node: Node) -> None:
    reaction = node.hears(initiator=IPv6Address("fe80::1"), loop_count=1)
    assert reaction.cache
    assert reaction.interfaces == ()


def test_the_total_rate_of_relaying_is_limited_and_that_of_caching_is_not() -> None:
    node = Node(Limits(relay_rate=10, seen=16_384))
    relayed = cached = 0
    for number in range(500):
        reaction = node.hears(number)
        relayed += bool(reaction.interfaces)
        cached += reaction.cache
        node.now += 0.01
    assert 10 + 4 * 10 <= relayed <= 10 + 5 * 10
    assert cached == 500
    node.now += 1.0
    assert node.hears(10_000).interfaces


@pytest.mark.parametrize("rate", [1, 100, 200])
def test_at_the_highest_rate_and_the_smallest_table_nothing_is_relayed_twice_in_its_time(rate: int) -> None:
    """The smallest ``seen`` that Limits accepts must hold what ``relay_rate`` lets through in 120 s (§2.5.6.2)."""
    seen = next(seen for seen in range(100 * rate, 400 * rate) if _accepted(rate, seen))
    node = Node(Limits(relay_rate=rate, seen=seen))
    assert node.hears(0).interfaces
    heard = relayed = 1
    for tenth in range(1198):
        node.now = 1000.0 + tenth / 10
        while node.hears(heard).interfaces:
            heard += 1
            relayed += 1
        heard += 1
    assert relayed >= 119 * rate
    node.now = 1119.9
    assert node.hears(0).interfaces == ()


def _accepted(rate: int, seen: int) -> bool:
    try:
        Limits(relay_rate=rate, seen=seen)
    except ValueError:
        return False
    return True


# -- the cache


@pytest.fixture
def cache() -> FloodCache:
    return FloodCache(Limits())


def values(cache: FloodCache, now: float = 0.0, name: str | None = None) -> list[Any]:
    return [each.objective.value for each in cache.get(now, name)]


def test_what_is_cached_tells_where_it_came_from(cache: FloodCache) -> None:
    stored = cache.store(10.0, flood(entries=[("EX1", "a", HERE), ("EX2", "b", None)]), LEFT)
    expected = [
        TaggedObjective(Objective("EX1", 5, 6, "a"), HERE, LEFT, INITIATOR, 70.0),
        TaggedObjective(Objective("EX2", 5, 6, "b"), None, LEFT, INITIATOR, 70.0),
    ]
    assert stored == expected
    assert cache.get(10.0) == expected
    assert cache.get(10.0, "EX2") == expected[1:]
    assert cache.get(10.0, "EX3") == []


@pytest.mark.parametrize("locator", [None, HERE])
def test_the_same_name_and_tag_overwrites(cache: FloodCache, locator: Locator | None) -> None:
    cache.store(0.0, flood(1, entries=[("EX1", "old", locator)]), LEFT)
    cache.store(0.0, flood(2, entries=[("EX1", "new", locator)], initiator=IPv6Address("2001:db8::2")), RIGHT)
    assert values(cache) == ["new"]
    assert len(cache) == 1


def test_another_tag_makes_an_entry_of_its_own(cache: FloodCache) -> None:
    for value, locator in (("a", None), ("b", HERE), ("c", THERE), ("d", IPv6Locator(HERE.address, 17, HERE.port))):
        cache.store(0.0, flood(entries=[("EX1", value, locator)]), LEFT)
    assert sorted(values(cache)) == ["a", "b", "c", "d"]


def test_an_entry_is_gone_when_its_lifetime_is_over(cache: FloodCache) -> None:
    cache.store(0.0, flood(ttl=5000), LEFT)
    assert values(cache, 4.999) == [1]
    assert values(cache, 5.0) == []
    assert len(cache) == 0


def test_a_ttl_of_zero_is_for_ever(cache: FloodCache) -> None:
    cache.store(0.0, flood(ttl=0), LEFT)
    assert cache.get(1e12)[0].expires is None


def test_being_flooded_again_prolongs_or_shortens_the_lifetime(cache: FloodCache) -> None:
    cache.store(0.0, flood(ttl=5000), LEFT)
    cache.store(4.0, flood(ttl=5000), LEFT)
    assert values(cache, 8.0) == [1]
    cache.store(8.0, flood(ttl=100), LEFT)
    assert values(cache, 8.2) == []


def test_an_entry_can_be_forgotten_by_name_and_tag(cache: FloodCache) -> None:
    cache.store(0.0, flood(entries=[("EX1", "a", None), ("EX1", "b", HERE)]), LEFT)
    assert not cache.expire("EX1", THERE)
    assert not cache.expire("EX2", None)
    assert cache.expire("EX1", None)
    assert not cache.expire("EX1", None)
    assert values(cache) == ["b"]


def test_at_the_bound_the_oldest_of_who_floods_most_makes_room() -> None:
    cache = FloodCache(Limits(cached_floods=4))
    quiet, babbler = IPv6Address("2001:db8::2"), IPv6Address("2001:db8::3")
    cache.store(0.0, flood(entries=[("quiet", 0, None)], initiator=quiet), LEFT)
    for number in range(50):
        cache.store(0.0, flood(number, entries=[(f"babble{number}", number, None)], initiator=babbler), LEFT)
    assert values(cache) == [0, 47, 48, 49]
    cache.store(0.0, flood(entries=[("quiet2", "q", None)], initiator=quiet), LEFT)
    assert values(cache) == [0, 48, 49, "q"]


def test_at_the_bound_what_has_expired_goes_first() -> None:
    cache = FloodCache(Limits(cached_floods=3))
    cache.store(0.0, flood(entries=[("long", "long", None)]), LEFT)
    cache.store(0.0, flood(entries=[("short", "short", None)], ttl=1000), LEFT)
    cache.store(0.0, flood(entries=[("long2", "long2", None)]), LEFT)
    cache.store(2.0, flood(entries=[("new", "new", None)]), LEFT)
    assert values(cache, 2.0) == ["long", "long2", "new"]


def test_overwriting_at_the_bound_displaces_nothing() -> None:
    cache = FloodCache(Limits(cached_floods=2))
    for name, value in (("a", 1), ("b", 2), ("a", 3), ("b", 4)):
        cache.store(0.0, flood(entries=[(name, value, None)]), LEFT)
    assert sorted(values(cache)) == [3, 4]


def test_a_single_flood_larger_than_the_cache_does_not_exceed_it() -> None:
    cache = FloodCache(Limits(cached_floods=3))
    cache.store(0.0, flood(entries=[(f"EX{number}", number, None) for number in range(9)]), LEFT)
    assert values(cache) == [6, 7, 8]


def test_who_gets_a_value_may_change_it_without_changing_the_cache(cache: FloodCache) -> None:
    cache.store(0.0, flood(entries=[("EX1", {"a": [1]}, None)]), LEFT)
    cache.get(0.0)[0].objective.value["a"].append(2)
    assert values(cache) == [{"a": [1]}]


WIRE_VALUES: dict[str, Raw] = {
    "no value": Raw(b""), "null": Raw(pack(None)), "undefined": Raw(b"\xf7"), "simple value": Raw(b"\xf8\xff"),
    "tag": tagged(1, pack(0)), "encoded CBOR": tagged(24, pack(pack([1]))), "shared": tagged(28, pack([])),
    "big number": tagged(2, pack(bytes(range(1, 12)))), "map in a tag": tagged(99, pack({"a": {}})),
    "map with array key": Raw(b"\xa1\x81\x01\x02"), "map with map key": Raw(b"\xa1\xa1\x00\x01\x02"),
    "map with tag key": Raw(b"\xa1\xd8\x63\x01\x02"), "NaN": Raw(b"\xf9\x7e\x00"), "nested": Raw(b"\x82\x81\xf7\xa0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WIRE_VALUES)
def test_any_value_that_can_be_flooded_can_be_taken_from_the_cache(name: str, cache: FloodCache) -> None:
    value = WIRE_VALUES[name]
    count = 0x84 if value else 0x83
    objective = bytes([count]) + pack("EX1") + pack(5) + pack(6) + value
    data = b"\x85" + pack(9) + pack(1) + INITIATOR.packed.join((b"\x50", b"")) + pack(0) + b"\x82" + objective + b"\x80"
    message = decode_message(data)
    assert isinstance(message, Flood)
    cache.store(0.0, flood(entries=[("EX2", "another", None)]), LEFT)
    cache.store(0.0, message, LEFT)
    found = cache.get(0.0)
    assert len(found) == 2
    assert repr(found[1].objective) == repr(message.entries[0].objective)


class Cache(RuleBasedStateMachine):
    """Against a list of entries, newest last."""

    LIMIT = 5

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.cache = FloodCache(Limits(cached_floods=self.LIMIT))
        self.model: list[tuple[str, Locator | None, int, IPv6Address, int | None]] = []
        self.serial = 0

    def _live(self) -> list[tuple[str, Locator | None, int, IPv6Address, int | None]]:
        return [each for each in self.model if each[4] is None or each[4] > self.now]

    @rule(seconds=st.integers(0, 6))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        name=st.sampled_from(["a", "b", "c", "d"]),
        locator=st.sampled_from([None, HERE, THERE]),
        initiator=st.integers(1, 3),
        ttl=st.integers(0, 9),
    )
    def store(self, name: str, locator: Locator | None, initiator: int, ttl: int) -> None:
        self.serial += 1
        address = IPv6Address(0x20010DB8 << 96 | initiator)
        self.cache.store(
            float(self.now), flood(1, 6, address, ttl * 1000, entries=[(name, self.serial, locator)]), LEFT
        )
        self.model = [each for each in self.model if each[:2] != (name, locator)]
        if len(self.model) >= self.LIMIT:
            self.model = self._live()
        if len(self.model) >= self.LIMIT:
            held = [sum(other[3] == each[3] for other in self.model) for each in self.model]
            # Of initiators that hold equally much, any may have to make room.
            room = [at for at, count in enumerate(held) if count == max(held)]
            oldest = {self.model[at][3]: at for at in reversed(room)}
            kept = {each.objective.value for each in self.cache.get(float(self.now))}
            gone = [at for at in oldest.values() if self.model[at][2] not in kept]
            assert len(gone) == 1
            del self.model[gone[0]]
        self.model.append((name, locator, self.serial, address, self.now + ttl if ttl else None))

    @rule(name=st.sampled_from(["a", "b", "c", "d"]), locator=st.sampled_from([None, HERE, THERE]))
    def expire(self, name: str, locator: Locator | None) -> None:
        known = any(each[:2] == (name, locator) for each in self._live())
        found = self.cache.expire(name, locator)
        assert found or not known
        self.model = [each for each in self.model if each[:2] != (name, locator)]

    @rule(name=st.sampled_from(["a", "b", "c", "d", None]))
    def get(self, name: str | None) -> None:
        found = [each.objective.value for each in self.cache.get(float(self.now), name)]
        assert found == [each[2] for each in self._live() if name is None or each[0] == name]
        self.model = self._live()

    @invariant()
    def never_more_than_the_bound(self) -> None:
        assert len(self.cache) <= self.LIMIT


Cache.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_flood_cache_behaves_like_a_list = Cache.TestCase
