"""The cache of discovered locators (RFC 8990 §2.5.4.3, §2.8.5), rule by rule and against a list."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grasp.limits import Limits
from grasp.locators import Discovered, LocatorCache
from grasp.wire import FQDNLocator, IPv4Locator, IPv6Locator, Locator, URILocator

LEFT, RIGHT = 1, 2
ROUTED = [IPv6Locator(IPv6Address(0x20010DB8 << 96 | number), 6, 7017) for number in range(1, 5)]
NEARBY = [IPv6Locator(IPv6Address(0xFE80 << 112 | number), 6, 7017) for number in range(1, 3)]


@pytest.fixture
def cache() -> LocatorCache:
    return LocatorCache(Limits())


def known(cache: LocatorCache, now: float = 0.0, name: str = "EX1") -> list[Locator]:
    return [each.locator for each in cache.get(now, name)]


def test_what_is_learnt_tells_where_how_and_until_when(cache: LocatorCache) -> None:
    learnt = cache.add(10.0, "EX1", ROUTED[:1], LEFT, 5000, False)
    assert learnt == [Discovered(ROUTED[0], LEFT, 15.0, False)]
    assert cache.get(10.0, "EX1") == learnt
    assert cache.get(10.0, "EX2") == []


def test_all_responders_are_kept(cache: LocatorCache) -> None:
    for locator in ROUTED:
        cache.add(0.0, "EX1", [locator], LEFT, 5000, False)
    assert known(cache) == ROUTED


def test_a_locator_is_gone_when_its_lifetime_is_over(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 5000, False)
    cache.add(0.0, "EX1", ROUTED[1:2], LEFT, 6000, False)
    assert known(cache, 4.999) == ROUTED[:2]
    assert known(cache, 5.0) == ROUTED[1:2]
    assert known(cache, 6.0) == []
    assert cache.learnt_elsewhere(6.0, "EX1", RIGHT) is None


def test_a_ttl_of_zero_is_ten_times_the_default_timeout(cache: LocatorCache) -> None:
    """§2.8.5."""
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 0, False)
    assert known(cache, 599.9) == ROUTED[:1]
    assert known(cache, 600.0) == []


def test_a_responders_own_answer_is_preferred_to_what_others_say(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:2], LEFT, 5000, True)
    cache.add(0.0, "EX1", ROUTED[2:3], LEFT, 5000, False)
    assert known(cache) == [ROUTED[2], ROUTED[0], ROUTED[1]]


def test_what_others_say_of_a_responder_prolongs_its_own_answer_and_does_not_shorten_it(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 5000, False)
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 1000, True)
    assert cache.get(4.0, "EX1") == [Discovered(ROUTED[0], LEFT, 5.0, False)]
    cache.add(4.0, "EX1", ROUTED[:1], LEFT, 5000, True)
    assert cache.get(8.0, "EX1") == [Discovered(ROUTED[0], LEFT, 9.0, False)]


def test_a_later_divert_replaces_an_earlier_one(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 5000, True)
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 1000, True)
    assert cache.get(0.0, "EX1") == [Discovered(ROUTED[0], LEFT, 1.0, True)]


def test_a_responders_own_answer_replaces_a_divert(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 5000, True)
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 1000, False)
    assert cache.get(0.0, "EX1") == [Discovered(ROUTED[0], LEFT, 1.0, False)]


def test_a_responder_may_shorten_its_own_lifetime(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 5000, False)
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 1000, False)
    assert known(cache, 1.0) == []


def test_an_answer_that_has_expired_does_not_lend_its_word_to_a_divert(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 1000, False)
    cache.add(2.0, "EX1", ROUTED[:1], LEFT, 1000, True)
    assert cache.get(2.0, "EX1") == [Discovered(ROUTED[0], LEFT, 3.0, True)]


def test_a_routed_locator_stands_once_and_a_link_local_one_once_per_link(cache: LocatorCache) -> None:
    for interface in (LEFT, RIGHT):
        cache.add(0.0, "EX1", [ROUTED[0], NEARBY[0]], interface, 5000, False)
    found = [(each.locator, each.interface) for each in cache.get(0.0, "EX1")]
    assert sorted(found, key=repr) == sorted([(ROUTED[0], LEFT), (NEARBY[0], LEFT), (NEARBY[0], RIGHT)], key=repr)


def test_only_an_ipv6_link_local_address_is_link_local() -> None:
    others = [
        ROUTED[0],
        IPv4Locator(IPv4Address("192.0.2.1"), 6, 1),
        FQDNLocator("fe80.example", 6, 1),
        URILocator("x"),
    ]
    assert [Discovered(each, LEFT, 1.0, False).link_local for each in [NEARBY[0], *others]] == [True] + [False] * 4


def test_a_name_is_compared_letter_by_letter(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 5000, False)
    assert known(cache, name="ex1") == known(cache, name="EX1 ") == []


def test_locators_that_will_not_last_are_flushed_on_request(cache: LocatorCache) -> None:
    """RFC 8991 §2.3.4: those with no more than minimum_TTL left go; 0 flushes all."""
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 1000, False)
    cache.add(0.0, "EX1", ROUTED[1:2], LEFT, 5000, False)
    cache.drop_below(0.0, "EX1", 999)
    assert known(cache) == ROUTED[:2]
    cache.drop_below(0.0, "EX1", 1000)
    assert known(cache) == ROUTED[1:2]
    cache.drop_below(0.0, "EX1", 0)
    assert known(cache) == []
    cache.drop_below(0.0, "never heard of", 0)


def test_a_locator_that_did_not_answer_is_forgotten_on_every_link(cache: LocatorCache) -> None:
    for interface in (LEFT, RIGHT):
        cache.add(0.0, "EX1", ROUTED[:2], interface, 5000, False)
    cache.forget("EX1", ROUTED[0])
    assert known(cache) == ROUTED[1:2]
    cache.forget("EX1", ROUTED[1])
    cache.forget("EX1", ROUTED[1])
    assert cache.names() == []


def test_what_was_learnt_on_an_interface_goes_with_it(cache: LocatorCache) -> None:
    cache.add(0.0, "EX1", ROUTED[:1], LEFT, 5000, False)
    cache.add(0.0, "EX1", ROUTED[1:2], RIGHT, 5000, False)
    cache.add(0.0, "EX2", ROUTED[:1], LEFT, 5000, False)
    cache.forget_interface(LEFT)
    assert known(cache) == ROUTED[1:2]
    assert cache.names() == ["EX1"]


def test_a_response_without_a_usable_locator_leaves_nothing_behind(cache: LocatorCache) -> None:
    assert cache.add(0.0, "EX1", [], LEFT, 5000, False) == []
    assert cache.names() == []


def test_at_the_bound_the_objective_that_expires_first_makes_room() -> None:
    cache = LocatorCache(Limits(cached_objectives=3))
    for name, ttl in (("a", 5000), ("b", 1000), ("c", 9000), ("d", 3000)):
        cache.add(0.0, name, ROUTED[:1], LEFT, ttl, False)
    assert sorted(cache.names()) == ["a", "c", "d"]


def test_at_the_bound_objectives_that_have_expired_go_first() -> None:
    cache = LocatorCache(Limits(cached_objectives=3))
    for name, ttl in (("a", 1000), ("b", 2000), ("c", 9000)):
        cache.add(0.0, name, ROUTED[:1], LEFT, ttl, False)
    cache.add(5.0, "d", ROUTED[:1], LEFT, 500, False)
    assert sorted(cache.names()) == ["c", "d"]


def test_at_the_bound_of_one_objective_the_locator_that_expires_first_makes_room() -> None:
    cache = LocatorCache(Limits(cached_locators=2))
    for locator, ttl in zip(ROUTED, (5000, 1000, 9000, 3000), strict=True):
        cache.add(0.0, "EX1", [locator], LEFT, ttl, False)
    assert sorted(known(cache), key=repr) == sorted([ROUTED[2], ROUTED[3]], key=repr)


@dataclass
class Entry:
    name: str
    locator: Locator
    interface: int
    expires: int
    diverted: bool


class Cache(RuleBasedStateMachine):
    """Against a list of entries. Every entry expires at a time of its own, so that there is no tie at a bound."""

    NAMES = ("a", "b", "c", "d")
    OBJECTIVES, LOCATORS = 3, 3

    def __init__(self) -> None:
        super().__init__()
        self.cache = LocatorCache(Limits(cached_objectives=self.OBJECTIVES, cached_locators=self.LOCATORS))
        self.now = 0
        """Milliseconds."""
        self.model: list[Entry] = []
        self.taken: set[int] = set()

    def _live(self, name: str) -> list[Entry]:
        return [each for each in self.model if each.name == name and each.expires > self.now]

    def _seconds(self) -> float:
        return self.now / 1000

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 1000

    @rule(
        entries=st.lists(
            st.tuples(
                st.sampled_from(NAMES),
                st.sampled_from(ROUTED + NEARBY),
                st.sampled_from([LEFT, RIGHT]),
                st.integers(1000, 9000),
                st.booleans(),
            ),
            max_size=4,
        )
    )
    def add(self, entries: list[tuple[str, Locator, int, int, bool]]) -> None:
        for entry in entries:
            self._add(*entry)

    def _add(self, name: str, locator: Locator, interface: int, ttl: int, diverted: bool) -> None:
        while self.now + ttl in self.taken:
            ttl += 1
        self.taken.add(self.now + ttl)
        entry = Entry(name, locator, interface, self.now + ttl, diverted)
        if not any(each.name == name for each in self.model):
            if len({each.name for each in self.model}) >= self.OBJECTIVES:
                self.model = [each for each in self.model if each.expires > self.now]
            names = {each.name for each in self.model}
            if len(names) >= self.OBJECTIVES:
                first = min(names, key=lambda one: max(each.expires for each in self.model if each.name == one))
                self.model = [each for each in self.model if each.name != first]
        mine = [each for each in self.model if each.name == name]
        same = next((each for each in mine if (each.locator, each.interface) == (locator, interface)), None)
        if same is not None:
            if same.expires > self.now and not same.diverted and diverted:
                entry.expires, entry.diverted = max(entry.expires, same.expires), False
            self.model[self.model.index(same)] = entry
        else:
            if len(mine) >= self.LOCATORS:
                self.model.remove(min(mine, key=lambda each: each.expires))
            self.model.append(entry)
        self.cache.add(self._seconds(), name, [locator], interface, ttl, diverted)

    @rule(name=st.sampled_from(NAMES))
    def get(self, name: str) -> None:
        self.model = [each for each in self.model if each.name != name or each.expires > self.now]
        expected: list[tuple[Locator, int | None]] = []
        for each in sorted(self._live(name), key=lambda each: each.diverted):
            which = (each.locator, each.interface if each.locator in NEARBY else None)
            if which not in expected:
                expected.append(which)
        found = self.cache.get(self._seconds(), name)
        assert [(each.locator, each.interface if each.locator in NEARBY else None) for each in found] == expected

    @rule(name=st.sampled_from(NAMES), interface=st.sampled_from([LEFT, RIGHT]))
    def learnt_elsewhere(self, name: str, interface: int) -> None:
        self.model = [each for each in self.model if each.name != name or each.expires > self.now]
        live = self._live(name)
        found = self.cache.learnt_elsewhere(self._seconds(), name, interface)
        if not live:
            assert found is None
        else:
            assert found is not None
            assert {each.locator for each in found} == {
                each.locator for each in live if each.interface != interface and each.locator not in NEARBY
            }

    @rule(name=st.sampled_from(NAMES), minimum_ttl=st.sampled_from([0, 1, 2000, 5000]))
    def drop_below(self, name: str, minimum_ttl: int) -> None:
        self.cache.drop_below(self._seconds(), name, minimum_ttl)
        self.model = [
            each for each in self.model
            if each.name != name or (minimum_ttl and round(each.expires - self.now) > minimum_ttl)
        ]  # fmt: skip

    @rule(name=st.sampled_from(NAMES), locator=st.sampled_from(ROUTED + NEARBY))
    def forget(self, name: str, locator: Locator) -> None:
        self.cache.forget(name, locator)
        self.model = [each for each in self.model if (each.name, each.locator) != (name, locator)]

    @rule(interface=st.sampled_from([LEFT, RIGHT]))
    def forget_interface(self, interface: int) -> None:
        self.cache.forget_interface(interface)
        self.model = [each for each in self.model if each.interface != interface]

    @invariant()
    def never_more_than_the_bound(self) -> None:
        assert len(self.cache.names()) <= self.OBJECTIVES
        assert {each.name for each in self.model if each.expires > self.now} <= set(self.cache.names())


Cache.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
test_the_locator_cache_behaves_like_a_list = Cache.TestCase
