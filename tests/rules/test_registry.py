"""Which ASAs there are and what they handle: every refusal of RFC 8991 §2.3.3 and who is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from grasp.calls import Registration
from grasp.core.registry import Registered, Registry
from grasp.errors import ErrorCode, LocalError
from grasp.limits import MAX_MESSAGE_SIZE, Limits
from grasp.wire import Objective

NEG = Objective.negotiation("EX3")
SYNCH = Objective.synchronization("EX2")


def new_registry(limits: Limits | None = None) -> Registry:
    handles: Iterator[int] = count(100)
    return Registry(limits or Limits(), lambda: next(handles))


@pytest.fixture
def registry() -> Registry:
    return new_registry()


def refused(call: Callable[..., Any], *arguments: Any) -> ErrorCode:
    with pytest.raises(LocalError) as caught:
        call(*arguments)
    return caught.value.code


def entry(registry: Registry, asa: int, registration: Registration) -> Registered:
    registry.add_objective(asa, registration)
    return registry.of(asa, registration.objective.name)


# -- ASAs


def test_each_asa_gets_a_handle_of_its_own(registry: Registry) -> None:
    assert registry.add_asa("a") != registry.add_asa("b")


def test_a_handle_is_drawn_again_if_it_is_zero_or_taken() -> None:
    drawn = iter([5, 5, 0, 5, 6])
    registry = Registry(Limits(), lambda: next(drawn))
    assert registry.add_asa("a") == 5
    assert registry.add_asa("b") == 6


def test_two_asas_cannot_have_one_name(registry: Registry) -> None:
    registry.add_asa("a")
    assert refused(registry.add_asa, "a") is ErrorCode.dupASA


@pytest.mark.parametrize("name", ["", None, 1, b"a"])
def test_the_name_of_an_asa_is_a_text(registry: Registry, name: Any) -> None:
    assert refused(registry.add_asa, name) is ErrorCode.badArgument


def test_no_more_asas_are_registered_than_the_bound() -> None:
    registry = new_registry(Limits(asas=2))
    first = registry.add_asa("a")
    registry.add_asa("b")
    assert refused(registry.add_asa, "c") is ErrorCode.ASAfull
    registry.remove_asa(first, "a")
    registry.add_asa("c")


def test_an_asa_that_has_gone_is_not_registered(registry: Registry) -> None:
    asa = registry.add_asa("a")
    registry.check_asa(asa)
    registry.remove_asa(asa, "a")
    for call in (
        lambda: registry.check_asa(asa),
        lambda: registry.remove_asa(asa, "a"),
        lambda: registry.add_objective(asa, Registration(NEG)),
        lambda: registry.of(asa, "EX3"),
        lambda: registry.remove_objective(asa, "EX3"),
    ):
        assert refused(call) is ErrorCode.noASA
    registry.add_asa("a")


def test_an_asa_is_not_removed_under_another_name(registry: Registry) -> None:
    asa = registry.add_asa("a")
    registry.add_asa("b")
    assert refused(registry.remove_asa, asa, "b") is ErrorCode.notYourASA
    registry.check_asa(asa)


def test_with_an_asa_go_its_objectives_and_no_others(registry: Registry) -> None:
    one, other = registry.add_asa("one"), registry.add_asa("other")
    mine = [entry(registry, one, Registration(each)) for each in (NEG, SYNCH)]
    theirs = entry(registry, other, Registration(Objective("EX1")))
    assert registry.remove_asa(one, "one") == mine
    assert registry.everything() == [theirs]


# -- objectives


@pytest.mark.parametrize(("flags", "code"), [
    (1 | 2 | 4, ErrorCode.notBoth), (2 | 4, ErrorCode.notBoth), (2 | 4 | 8, ErrorCode.notBoth),
    (8, ErrorCode.notDry), (1 | 8, ErrorCode.notDry), (4 | 8, ErrorCode.notDry),
])  # fmt: skip
def test_flags_that_exclude_each_other_are_refused(registry: Registry, flags: int, code: ErrorCode) -> None:
    asa = registry.add_asa("a")
    assert refused(registry.add_objective, asa, Registration(Objective("EX1", flags))) is code
    assert registry.everything() == []


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4, 5, 2 | 8, 1 | 2 | 8])
def test_flags_that_go_together_are_accepted(registry: Registry, flags: int) -> None:
    registry.add_objective(registry.add_asa("a"), Registration(Objective("EX1", flags)))


@pytest.mark.parametrize("overlap", [False, True])
def test_an_asa_registers_an_objective_once(registry: Registry, overlap: bool) -> None:
    asa = registry.add_asa("a")
    registry.add_objective(asa, Registration(NEG, overlap=overlap))
    assert refused(registry.add_objective, asa, Registration(NEG, overlap=overlap)) is ErrorCode.objReg
    dry = Registration(Objective.negotiation("EX3", dry_run=True), overlap=overlap)
    assert refused(registry.add_objective, asa, dry) is ErrorCode.objReg


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True)])
def test_two_asas_share_an_objective_only_if_both_allow_it(registry: Registry, first: bool, second: bool) -> None:
    registry.add_objective(registry.add_asa("a"), Registration(NEG, overlap=first))
    asa = registry.add_asa("b")
    assert refused(registry.add_objective, asa, Registration(NEG, overlap=second)) is ErrorCode.objReg
    assert len(registry.everything()) == 1


def test_any_number_of_asas_that_all_allow_it_share_an_objective(registry: Registry) -> None:
    for name in "abc":
        registry.add_objective(registry.add_asa(name), Registration(NEG, overlap=True))
    assert len(registry.everything()) == 3


def test_names_are_compared_letter_by_letter(registry: Registry) -> None:
    asa = registry.add_asa("a")
    for name in ("EX3", "ex3", "EX3 ", "32473:EX3"):
        registry.add_objective(asa, Registration(Objective(name)))


def test_no_more_objectives_are_registered_than_the_bound() -> None:
    registry = new_registry(Limits(objectives=2))
    one, other = registry.add_asa("one"), registry.add_asa("other")
    registry.add_objective(one, Registration(NEG, overlap=True))
    registry.add_objective(other, Registration(NEG, overlap=True))
    assert refused(registry.add_objective, one, Registration(SYNCH)) is ErrorCode.objFull
    registry.remove_objective(other, "EX3")
    registry.add_objective(one, Registration(SYNCH))


@pytest.mark.parametrize("max_size", [-1, 1, 2047, MAX_MESSAGE_SIZE + 1, 4096.5, "4096"])
def test_a_message_size_out_of_bounds_is_refused(registry: Registry, max_size: Any) -> None:
    asa = registry.add_asa("a")
    assert refused(registry.add_objective, asa, Registration(NEG, max_size=max_size)) is ErrorCode.badArgument


@pytest.mark.parametrize("ttl", [-1, 2**32, 1.5, True, "60000", None])
def test_a_lifetime_no_response_could_carry_is_refused(registry: Registry, ttl: Any) -> None:
    """It becomes the ttl of an M_RESPONSE, an unsigned integer of 32 bits (RFC 8990 §4)."""
    asa = registry.add_asa("a")
    assert refused(registry.add_objective, asa, Registration(NEG, ttl=ttl)) is ErrorCode.badArgument


@pytest.mark.parametrize("ttl", [0, 1, 60_000, 2**32 - 1])
def test_a_lifetime_a_response_can_carry_is_accepted(registry: Registry, ttl: int) -> None:
    assert entry(registry, registry.add_asa("a"), Registration(NEG, ttl=ttl)).registration.ttl == ttl


def test_an_objective_is_found_by_who_registered_it_only(registry: Registry) -> None:
    one, other = registry.add_asa("one"), registry.add_asa("other")
    registry.add_objective(one, Registration(NEG))
    assert registry.of(one, "EX3").asa == one
    assert refused(registry.of, other, "EX3") is ErrorCode.notYourObj
    assert refused(registry.remove_objective, other, "EX3") is ErrorCode.notYourObj
    assert refused(registry.of, one, "EX4") is ErrorCode.notObj
    assert refused(registry.remove_objective, one, "EX4") is ErrorCode.notObj


def test_a_removed_objective_is_not_found_and_can_be_registered_again(registry: Registry) -> None:
    one, other = registry.add_asa("one"), registry.add_asa("other")
    registry.add_objective(one, Registration(NEG))
    assert registry.remove_objective(one, "EX3").name == "EX3"
    assert refused(registry.of, one, "EX3") is ErrorCode.notObj
    registry.add_objective(other, Registration(NEG))


# -- sizes


def test_the_largest_message_of_any_objective_is_what_has_to_be_received(registry: Registry) -> None:
    """RFC 8990 §2.8.3."""
    asa = registry.add_asa("a")
    assert registry.receive_limit == 2048
    registry.add_objective(asa, Registration(NEG, max_size=9000))
    registry.add_objective(asa, Registration(SYNCH, max_size=5000))
    assert registry.receive_limit == 9000
    assert (registry.max_size("EX3"), registry.max_size("EX2"), registry.max_size("EX1")) == (9000, 5000, 2048)
    registry.remove_objective(asa, "EX3")
    assert registry.receive_limit == 5000
    registry.remove_asa(asa, "a")
    assert registry.receive_limit == registry.max_size("EX2") == 2048


def test_without_a_size_of_its_own_an_objective_has_that_of_the_node() -> None:
    registry = new_registry(Limits(message_size=3000))
    assert entry(registry, registry.add_asa("a"), Registration(NEG)).max_size == 3000


# -- who is chosen


def test_nothing_registered_handles_nothing(registry: Registry) -> None:
    assert registry.negotiator("EX3") is registry.publisher("EX3") is registry.discoverable("EX3") is None


def test_an_objective_is_discovered_once_its_asa_listens_or_says_so(registry: Registry) -> None:
    """RFC 8991 §2.3.3."""
    asa = registry.add_asa("a")
    silent = entry(registry, asa, Registration(NEG))
    assert registry.discoverable("EX3") is None
    silent.listening = True
    assert registry.discoverable("EX3") is silent
    published = entry(registry, asa, Registration(SYNCH))
    assert registry.discoverable("EX2") is None
    published.published = SYNCH
    assert registry.discoverable("EX2") is published
    at_once = entry(registry, asa, Registration(Objective("EX1"), discoverable=True))
    assert registry.discoverable("EX1") is at_once


def test_an_asa_does_not_discover_itself(registry: Registry) -> None:
    one, other = registry.add_asa("one"), registry.add_asa("other")
    first = entry(registry, one, Registration(NEG, discoverable=True, overlap=True))
    assert registry.discoverable("EX3", except_asa=one) is None
    assert registry.discoverable("EX3", except_asa=other) is first
    second = entry(registry, other, Registration(NEG, discoverable=True, overlap=True))
    assert registry.discoverable("EX3", except_asa=one) is second


def test_a_request_goes_to_who_listens_and_has_fewest_waiting(registry: Registry) -> None:
    entries = [entry(registry, registry.add_asa(name), Registration(NEG, overlap=True)) for name in "abc"]
    assert registry.negotiator("EX3") is None
    for each, waiting in zip(entries, (2, 1, 0), strict=True):
        each.requests.extend(range(waiting))
    entries[0].listening = entries[1].listening = True
    assert registry.negotiator("EX3") is entries[1]
    entries[2].listening = True
    assert registry.negotiator("EX3") is entries[2]
    assert registry.negotiator("EX4") is None


def test_a_value_is_published_by_who_has_one(registry: Registry) -> None:
    entries = [entry(registry, registry.add_asa(name), Registration(SYNCH, overlap=True)) for name in "ab"]
    assert registry.publisher("EX2") is None
    entries[1].published = SYNCH
    assert registry.publisher("EX2") is entries[1]
