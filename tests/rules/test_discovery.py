"""One node's part in other nodes' discoveries, a rule of RFC 8990 §2.5.4 per test."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from ipaddress import IPv6Address

import pytest

from grasp.discovery import Answer, Asked, DiscoveryRules, Ignore, Redirect, Relay, Source
from grasp.limits import Limits
from grasp.locators import LocatorCache
from grasp.wire import Discovery, IPv6Locator, Objective, Response
from tests.wire.by_hand import pack

INITIATOR = IPv6Address("2001:db8::1")
ASKER = IPv6Address("fe80::a")
LEFT, RIGHT, UP = 1, 2, 3
ROUTED = IPv6Locator(IPv6Address("2001:db8::99"), 6, 7017)
NEARBY = IPv6Locator(IPv6Address("fe80::99"), 6, 7017)


class Node:
    """DiscoveryRules with what the core hands them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.cache = LocatorCache(self.limits)
        self.rules = DiscoveryRules(self.limits, self.cache)
        self.now = 1000.0

    def asked(
        self,
        session_id: int = 1,
        *,
        loop_count: int = 6,
        initiator: IPv6Address = INITIATOR,
        source: IPv6Address = ASKER,
        interface: int = LEFT,
        supported: bool = False,
        interfaces: Sequence[int] = (LEFT, RIGHT, UP),
    ) -> Answer | Redirect | Relay | Ignore:
        message = Discovery(session_id, initiator, Objective("EX1", 1, loop_count))
        data = pack([1, session_id, initiator.packed, ["EX1", 1, loop_count]])
        origin = Source(source, 40_000, interface)
        return self.rules.received(self.now, message, data, origin, supported, interfaces)

    def knows(self, locator: IPv6Locator, interface: int, ttl: int = 60_000) -> None:
        self.cache.add(self.now, "EX1", [locator], interface, ttl, False)

    def asker(self, session_id: int = 1, initiator: IPv6Address = INITIATOR) -> Asked | None:
        return self.rules.asker(self.now, Response(session_id, initiator, 1, (ROUTED,)))


@pytest.fixture
def node() -> Node:
    return Node()


def test_what_an_asa_here_supports_is_answered_and_not_relayed(node: Node) -> None:
    assert node.asked(supported=True) == Answer()
    assert node.asker() is None


def test_what_an_asa_here_supports_is_answered_before_what_others_do(node: Node) -> None:
    node.knows(ROUTED, RIGHT)
    assert node.asked(supported=True) == Answer()


def test_what_is_supported_here_is_answered_on_any_link_and_with_any_loop_count(node: Node) -> None:
    assert node.asked(1, supported=True, interfaces=(LEFT,)) == Answer()
    assert node.asked(2, supported=True, loop_count=1) == Answer()
    assert node.asked(3, supported=True, loop_count=0) == Answer()


def test_the_same_discovery_from_the_same_neighbour_is_answered_once(node: Node) -> None:
    assert node.asked(supported=True) == Answer()
    assert isinstance(node.asked(supported=True), Ignore)
    assert isinstance(node.asked(supported=True, interface=RIGHT), Ignore)


def test_the_same_discovery_is_answered_to_each_neighbour_that_brings_it(node: Node) -> None:
    """Each is a relay of its own, and waits for its own response."""
    assert node.asked(supported=True, source=IPv6Address("fe80::a")) == Answer()
    assert node.asked(supported=True, source=IPv6Address("fe80::b")) == Answer()


def test_the_next_discovery_of_the_same_neighbour_is_answered(node: Node) -> None:
    assert node.asked(1, supported=True) == Answer()
    assert node.asked(2, supported=True) == Answer()


def test_equal_session_ids_of_two_initiators_are_two_discoveries(node: Node) -> None:
    """§2.7."""
    other = IPv6Address("2001:db8::2")
    assert node.asked(7, supported=True) == Answer()
    assert node.asked(7, supported=True, initiator=other) == Answer()
    assert isinstance(node.asked(8), Relay)
    assert isinstance(node.asked(8, initiator=other), Relay)


def test_what_is_cached_is_diverted_to_and_not_relayed(node: Node) -> None:
    node.knows(ROUTED, RIGHT)
    reaction = node.asked()
    assert isinstance(reaction, Redirect)
    assert [each.locator for each in reaction.entries] == [ROUTED]
    assert node.asker() is None


def test_a_divert_is_sent_once_to_each_neighbour(node: Node) -> None:
    node.knows(ROUTED, RIGHT)
    assert isinstance(node.asked(), Redirect)
    assert isinstance(node.asked(), Ignore)
    assert isinstance(node.asked(source=IPv6Address("fe80::b")), Redirect)


def test_what_was_learnt_on_the_askers_link_is_not_told_there(node: Node) -> None:
    """§2.5.4.3: the peer in question will answer directly; so there is nothing to relay either."""
    node.knows(ROUTED, LEFT)
    assert isinstance(node.asked(interface=LEFT), Ignore)
    assert isinstance(node.asked(2, interface=RIGHT), Redirect)


def test_only_what_was_learnt_on_other_links_is_told(node: Node) -> None:
    there = IPv6Locator(IPv6Address("2001:db8::98"), 6, 7017)
    node.knows(ROUTED, LEFT)
    node.knows(there, RIGHT)
    reaction = node.asked(interface=LEFT)
    assert isinstance(reaction, Redirect)
    assert [each.locator for each in reaction.entries] == [there]


def test_a_link_local_locator_is_never_diverted_to(node: Node) -> None:
    """§2.9.5.1 note 2."""
    node.knows(NEARBY, RIGHT)
    assert isinstance(node.asked(1, interface=LEFT), Ignore)
    node.knows(ROUTED, RIGHT)
    reaction = node.asked(2, interface=LEFT)
    assert isinstance(reaction, Redirect)
    assert [each.locator for each in reaction.entries] == [ROUTED]


def test_what_has_expired_is_not_diverted_to(node: Node) -> None:
    node.knows(ROUTED, RIGHT, ttl=5000)
    node.now += 5.0
    assert isinstance(node.asked(), Relay)


def test_what_nobody_here_knows_is_relayed_on_the_other_interfaces_with_one_loop_less(node: Node) -> None:
    """§2.5.4.4: same session ID, same initiator, loop count decremented."""
    expected = pack([1, 1, INITIATOR.packed, ["EX1", 1, 5]])
    assert node.asked(interface=RIGHT) == Relay(expected, (LEFT, UP))


def test_without_another_interface_nothing_is_relayed(node: Node) -> None:
    assert isinstance(node.asked(interfaces=(LEFT,)), Ignore)
    assert isinstance(node.asked(interfaces=()), Ignore)


def test_a_link_that_is_not_ours_is_relayed_from_to_all_that_are(node: Node) -> None:
    """A unicast discovery may come from anywhere (§2.5.4.2)."""
    reaction = node.asked(interface=0)
    assert isinstance(reaction, Relay)
    assert reaction.interfaces == (LEFT, RIGHT, UP)


@pytest.mark.parametrize(("loop_count", "relayed"), [(0, False), (1, False), (2, True), (255, True)])
def test_a_discovery_whose_loop_count_becomes_zero_is_not_relayed(node: Node, loop_count: int, relayed: bool) -> None:
    assert isinstance(node.asked(loop_count=loop_count), Relay) is relayed
    assert (node.asker() is not None) is relayed


def test_a_discovery_is_relayed_once_from_wherever_it_comes(node: Node) -> None:
    assert isinstance(node.asked(), Relay)
    for interface in (LEFT, RIGHT, UP):
        for loop_count in (2, 6, 255):
            assert isinstance(node.asked(interface=interface, loop_count=loop_count), Ignore)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 60.0, 119.9])
def test_a_discovery_is_not_relayed_again_while_it_is_remembered(node: Node, seconds: float) -> None:
    node.asked()
    node.now += seconds
    node.asked(2)
    assert isinstance(node.asked(1), Ignore)


def test_our_own_discovery_is_not_relayed_when_it_comes_back(node: Node) -> None:
    node.rules.own(node.now, 1, INITIATOR)
    assert isinstance(node.asked(1), Ignore)
    assert node.asker(1) is None
    assert isinstance(node.asked(1, initiator=IPv6Address("2001:db8::2")), Relay)


def test_a_discovery_that_was_not_relayed_for_its_loop_count_may_be_when_it_comes_by_a_shorter_way(node: Node) -> None:
    assert isinstance(node.asked(loop_count=1), Ignore)
    assert isinstance(node.asked(loop_count=3), Relay)


def test_the_total_rate_of_relaying_is_limited() -> None:
    """§2.5.4.4."""
    node = Node(Limits(relay_rate=10, seen=16_384))
    relayed = 0
    for number in range(500):
        relayed += isinstance(node.asked(number), Relay)
        node.now += 0.01
    assert 10 + 4 * 10 <= relayed <= 10 + 5 * 10
    node.now += 1.0
    assert isinstance(node.asked(10_000), Relay)


def test_what_exceeds_the_rate_is_relayed_when_it_is_repeated_later() -> None:
    node = Node(Limits(relay_rate=1, seen=16_384))
    assert isinstance(node.asked(1), Relay)
    assert isinstance(node.asked(2), Ignore)
    node.now += 1.0
    assert isinstance(node.asked(2), Relay)


def test_what_is_not_relayed_anyway_does_not_use_up_the_rate() -> None:
    node = Node(Limits(relay_rate=1, seen=16_384))
    for number in range(10):
        node.asked(number, loop_count=1)
        node.asked(number, interfaces=(LEFT,))
        node.asked(number, supported=True)
    assert isinstance(node.asked(99), Relay)


# -- responses to what was relayed


def test_a_response_goes_back_to_who_asked(node: Node) -> None:
    node.asked(1, source=IPv6Address("fe80::a"), interface=LEFT)
    node.asked(2, source=IPv6Address("fe80::b"), interface=RIGHT)
    first, second = node.asker(1), node.asker(2)
    assert first is not None
    assert second is not None
    assert (first.source, first.name) == (Source(IPv6Address("fe80::a"), 40_000, LEFT), "EX1")
    assert second.source == Source(IPv6Address("fe80::b"), 40_000, RIGHT)


def test_it_is_the_first_who_asked_that_gets_the_response(node: Node) -> None:
    node.asked(source=IPv6Address("fe80::a"))
    node.asked(source=IPv6Address("fe80::b"), interface=RIGHT)
    asked = node.asker()
    assert asked is not None
    assert asked.source.address == IPv6Address("fe80::a")


def test_a_response_to_nothing_that_was_relayed_goes_nowhere(node: Node) -> None:
    node.asked(1)
    assert node.asker(2) is None
    assert node.asker(1, IPv6Address("2001:db8::2")) is None


def test_every_responder_is_passed_on_not_only_the_first(node: Node) -> None:
    node.asked()
    assert node.asker() == node.asker() is not None


@pytest.mark.parametrize(
    ("loop_count", "seconds"), [(2, 1.0), (6, 1.0), (10, 1.0), (21, 2.0), (101, 10.0), (255, 25.4)]
)
def test_a_relay_waits_100_ms_per_remaining_loop_but_a_second_at_least(loop_count: int, seconds: float) -> None:
    """§2.5.4.4 suggests the former; with few loops left that would be too short for a TCP answer."""
    node = Node()
    node.asked(loop_count=loop_count)
    node.now += seconds - 0.01
    assert node.asker() is not None
    node.now += 0.02
    assert node.asker() is None


def test_no_more_askers_are_remembered_than_the_relay_rate_allows() -> None:
    """However long it goes on: a bucket of burst, and the rate for the longest time a response is awaited."""
    node = Node()
    for number in range(40_000):
        node.asked(number, loop_count=255)
        node.now += 0.001
    remembered = sum(isinstance(each, Asked) for each in gc.get_objects())
    assert 0 < remembered <= node.limits.relay_rate * 27
