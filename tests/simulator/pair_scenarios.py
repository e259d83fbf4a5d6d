"""Small stories of reservations two agents have in common, into which every fault is put at every event."""

from __future__ import annotations

from collections.abc import Callable

from asa.records import LIVING, Reservation, ReservationState
from objectives import NodeId
from objectives.pact import Arrange, CallOff, Settle, Terms
from tests.simulator.scenarios import Scenario
from tests.simulator.world import M, World

BOTH_SEEDED = {"a": (0, 100 * M), "b": (100 * M, 200 * M)}
ASKED = {"giver": "b", "requester": "a", "third": "c"}
"""Who keeps, and who decides."""
LONG = 100_000
"""Seconds: no window of these stories ends while they are told."""


def living(world: World, name: str) -> list[tuple[int, int, str]]:
    """Rates and state of what has an end at a node."""
    found = world.nodes[name].disk.of(Reservation).values()
    return [(each.rate // M, each.back // M, each.state.value) for each in found if each.state in LIVING]


def _only(world: World, name: str) -> str:
    return next(iter(world.couples.there(name)), "")


def _at_both(rate: int, back: int, state: str = "booked") -> Callable[[World], bool]:
    return lambda world: living(world, "a") == [(rate, back, state)] and living(world, "b") == [(back, rate, state)]


def _at_none(world: World) -> bool:
    return living(world, "a") == living(world, "b") == []


def _make(world: World) -> None:
    world.couples.reserve("a", "b", 10 * M, 4 * M, 0, LONG)


def _meddled(world: World) -> None:
    """Whoever is not the other end says what only that may say."""
    there, stranger = _only(world, "a"), NodeId("stranger", "0" * 16)
    a, b, now = world.nodes["a"].me, world.nodes["b"].me, world.nodes["a"].clock()
    terms = Terms("two-way", there, f"{there}'", "any", M, M, now, now + LONG)
    for request in (
        CallOff(stranger, b, there, now),
        CallOff(a, NodeId("b", "f" * 16), there, now),
        CallOff(a, b, there, now - 1_000),
        Arrange(bytes(16), stranger, b, there, terms, now, 1_000),
        Arrange(bytes(16), b, b, "r-forged", terms, now, 1_000),
        Arrange(bytes(16), a, NodeId("b", "f" * 16), "r-forged", terms, now, 1_000),
        Arrange(bytes(16), a, b, "r-forged", terms, now - 1_000, 1_000),
        Settle(bytes(16), stranger, NodeId("b", "f" * 16), there),
    ):
        world.adversary.speak("b", request)
    _resize(world)


def _hold(world: World) -> None:
    world.couples.reserve("a", "b", 10 * M, 4 * M, 0, LONG, hold=LONG)


def _lacking(world: World) -> None:
    world.couples.reserve("a", "b", 10 * M, 60 * M, 0, LONG)


def _resize(world: World) -> None:
    world.couples.change("a", _only(world, "a"), 6 * M, 9 * M)


def _resize_from_there(world: World) -> None:
    world.couples.change("b", _only(world, "b"), 9 * M, 6 * M, LONG // 2)


def _resize_twice(world: World) -> None:
    there = _only(world, "a")
    world.couples.change("a", there, 6 * M, then=lambda _: world.couples.change("a", there, 8 * M, 2 * M))


def _at_once(world: World) -> None:
    """Both ends change it, and one end twice: what is computed from what is not any more must not be booked."""
    there = _only(world, "a")
    world.couples.change("a", there, 6 * M)
    world.couples.change("a", there, None, None, LONG // 2)
    world.couples.change("b", there, 3 * M)
    world.at(world.now + 0.07, "changes", "a", lambda: world.couples.change("a", there, None, 5 * M))


def _cancel(world: World) -> None:
    world.couples.cancel("a", _only(world, "a"))


def _cancel_there(world: World) -> None:
    world.couples.cancel("b", _only(world, "b"))


def _cancel_while_prepared(world: World) -> None:
    name = world.couples.reserve("a", "b", 10 * M, 4 * M, 0, LONG)

    def cancels() -> None:
        if world.couples.there("b") == [name]:
            world.counts["cancelled while prepared"] += 1
            world.couples.cancel("b", name)
        elif world.counts["arranged"] + world.counts["not arranged"] == 0:
            world.at(world.now + 0.002, "cancels", "b", cancels)

    world.at(world.now + 0.002, "cancels", "b", cancels)


def _cancel_while_changed(world: World) -> None:
    there = _only(world, "a")
    world.couples.change("a", there, 6 * M)
    world.at(world.now + 0.018, "cancels", "b", lambda: world.couples.cancel("b", there))
    world.at(world.now + 0.022, "cancels", "a", lambda: world.couples.cancel("a", there))


def _confirm(world: World) -> None:
    world.couples.confirm("a", _only(world, "a"))


def _both_cross(world: World) -> None:
    """Either asks the other, and either's capacity is for one only."""
    world.couples.reserve("a", "b", 60 * M, 60 * M, 0, LONG)
    world.couples.reserve("b", "a", 60 * M, 60 * M, 0, LONG)


def _same_flow_from_both(world: World) -> None:
    world.couples.reserve("a", "b", 10 * M, 4 * M, 0, LONG, flow="flow")
    world.couples.reserve("b", "a", 10 * M, 4 * M, 0, LONG, flow="flow")


def _same_flow(world: World) -> None:
    for _ in range(2):
        world.couples.reserve("a", "b", 10 * M, 4 * M, 0, LONG, flow="flow")


def _fill_there(world: World) -> None:
    """At b all but 50 Mbit/s is promised."""
    world.reserve("b", 50 * M, 0, None)


TWO = ("a", "b")
BOOKED = ReservationState.BOOKED

PAIR_SCENARIOS = (
    Scenario("made at both", TWO, BOTH_SEEDED, _make, _at_both(10, 4), smallest=True, roles=ASKED),
    Scenario("held at both", TWO, BOTH_SEEDED, _hold, _at_both(10, 4, "held"), roles=ASKED),
    Scenario("confirmed at both", TWO, BOTH_SEEDED, _confirm, _at_both(10, 4), _hold, roles=ASKED),
    Scenario("resized", TWO, BOTH_SEEDED, _resize, _at_both(6, 9), _make, smallest=True, roles=ASKED),
    Scenario(
        "resized from the other end", TWO, BOTH_SEEDED, _resize_from_there, _at_both(6, 9), _make,
        roles={"giver": "a", "requester": "b"},
    ),
    Scenario("meddled with", TWO, BOTH_SEEDED, _meddled, _at_both(6, 9), _make, roles=ASKED),
    Scenario("resized twice", TWO, BOTH_SEEDED, _resize_twice, _at_both(8, 2), _make, roles=ASKED),
    Scenario(
        "changed by all at once", TWO, BOTH_SEEDED, _at_once,
        lambda world: len(living(world, "a")) == len(living(world, "b")) == 1, _make, roles=ASKED,
    ),
    Scenario("cancelled", TWO, BOTH_SEEDED, _cancel, _at_none, _make, roles={"giver": "a", "requester": "b"}),
    Scenario("cancelled at the other end", TWO, BOTH_SEEDED, _cancel_there, _at_none, _make, roles=ASKED),
    Scenario(
        "cancelled while prepared", TWO, BOTH_SEEDED, _cancel_while_prepared,
        lambda world: _at_none(world) and world.counts["cancelled while prepared"] == 1, roles=ASKED,
    ),
    Scenario("cancelled while changed", TWO, BOTH_SEEDED, _cancel_while_changed, _at_none, _make, roles=ASKED),
    Scenario(
        "the other end lacks", ("a", "b", "c"),
        {"a": (0, 30 * M), "b": (30 * M, 80 * M), "c": (80 * M, 180 * M)}, _lacking,
        lambda world: (60, 10, "booked") in living(world, "b"), _fill_there, roles=ASKED,
    ),
    Scenario(
        "all of it is at the asking end", TWO, {"a": (0, 100 * M)}, _lacking, _at_both(10, 60), roles=ASKED,
    ),
    Scenario(
        "one flow from both", TWO, BOTH_SEEDED, _same_flow_from_both,
        lambda world: len(living(world, "a")) == len(living(world, "b")) <= 1, roles=ASKED,
    ),
    Scenario(
        "both cross", TWO, {"a": (0, 100 * M), "b": (100 * M, 160 * M)}, _both_cross,
        lambda world: len(living(world, "a")) == len(living(world, "b")) <= 1, roles=ASKED,
    ),
    Scenario(
        "one flow twice", TWO, BOTH_SEEDED, _same_flow,
        lambda world: len(living(world, "a")) == len(living(world, "b")) == 1, roles=ASKED,
    ),
)  # fmt: skip
