"""Small stories, each told the same way every time, into which every fault is put at every event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulator.checker import Violation
from tests.simulator.world import M, World

LEASE = 7_200


@dataclass(frozen=True)
class Scenario:
    """``prepare`` happens undisturbed; of ``act`` every event is struck. ``expect`` holds if nothing strikes."""

    name: str
    names: tuple[str, ...]
    seeds: Mapping[str, tuple[int, int]]
    act: Callable[[World], None]
    expect: Callable[[World], bool]
    prepare: Callable[[World], None] = lambda world: None
    smallest: bool = False
    """Small enough for every pair of faults."""
    roles: Mapping[str, str] = field(default_factory=lambda: {"giver": "a", "requester": "b", "third": "c"})

    def world(self, faults: Mapping[int, str] | None = None, tracing: bool = False, eager: bool = False) -> World:
        """Everything ready for the first event."""
        world = World(self.names, self.seeds, tracing=tracing)
        world.roles = dict(self.roles)
        self.prepare(world)
        world.settle_down()
        world.index = 0
        world.scripts.clear()
        if eager:
            world.hurry()
        world.faults = dict(faults or {})
        return world

    def run(self, faults: Mapping[int, str] | None = None, tracing: bool = False, eager: bool = False) -> World:
        """Tell it to the end; then everything that was said is said once more. Raises Violation."""
        world = self.world(faults, tracing, eager)
        try:
            self.act(world)
            world.settle_down()
            world.faults, world.acted = {}, world.index
            world.adversary.replay_all()
            world.settle_down()
            if world.checker.lapsed:
                raise Violation("time decided what the nodes should have")
            if not faults and not self.expect(world):
                raise Violation(f"undisturbed, {self.name} did not come out as it should: {dict(world.counts)}")
        except AssertionError as error:
            raise Violation(f"{self.name} with {dict(faults or {})}: {error}\n" + "\n".join(world.trace)) from error
        return world


def _amount(world: World, name: str) -> int:
    return sum(each.amount for each in world.holds(name))


def _transfer(world: World) -> None:
    world.ask("b", "a", 10 * M, None)


def _partial(world: World) -> None:
    world.obtain("b", 10 * M, LEASE)


def _reserve(world: World) -> None:
    world.reserve("b", 10 * M, 0, 600)


def _give(world: World) -> None:
    block = world.holds("b")[0]
    world.hand_over("b", "a", [type(block)(block.low, block.low + 4 * M, block.start, block.end)])


def _gifts(world: World) -> None:
    """Two blocks of 5 Mbit/s, of which consumers need one: either may go, but not both."""
    first, second = (
        type(each)(low, low + 5 * M, each.start, each.end) for each in world.holds("b") for low in (0, 5 * M)
    )
    world.hand_over("b", "a", [first, second])
    world.hand_over("b", "a", [first], done=lambda *_: world.hand_over("b", "a", [second]))


def _needs(world: World) -> None:
    world.ask("b", "a", 10 * M, None, done=lambda *_: world.reserve("b", 5 * M, 0, None))


def _relay(world: World) -> None:
    world.ask("b", "c", 10 * M, LEASE)


def _cross(world: World) -> None:
    world.reserve("a", 8 * M, 1_000, 600)
    world.reserve("b", 12 * M, 1_200, 600)


def _back(world: World) -> None:
    def back(blocks: Any, error: BaseException | None) -> None:
        for session in [each for each in world.sessions if each.open]:
            session.sever(keep=False)
        if error is None:
            world.hand_over("b", "a", blocks)

    world.ask("b", "a", 10 * M, LEASE, done=back)


def _both(world: World) -> None:
    world.ask("b", "a", 10 * M, None)
    for name in ("a", "b"):
        world.at(world.now + 0.034, "crash", name, lambda name=name: world.crash(name))  # type: ignore[misc]


def _alter(world: World) -> None:
    def booked(yes: bool) -> None:
        if yes:
            world.change("b", name, 6 * M, None)
            world.at(world.now + 0.5, "cancels", "b", lambda: world.cancel("b", name) if name in told() else None)

    def told() -> list[str]:
        return world.booked("b") if world.nodes["b"].alive else []

    name = world.reserve("b", 8 * M, 0, 600, then=booked)


def _both_book(world: World) -> None:
    for name in ("a", "b"):
        world.reserve(name, 5 * M, 0, 800)


def _books(rate: int) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        world.reserve("a", rate, 0, None)

    return prepare


ONE = {"a": (0, 100 * M)}
TWO = ("a", "b")

SCENARIOS = (
    Scenario("one transfer", TWO, ONE, _transfer, lambda world: _amount(world, "b") == 10 * M, smallest=True),
    Scenario("partial grant", TWO, ONE, _partial, lambda world: _amount(world, "b") == 5 * M, _books(95 * M)),
    Scenario("decline", TWO, ONE, _reserve, lambda world: world.counts["refused"] == 1, _books(100 * M)),
    Scenario("a consumer's need", TWO, ONE, _reserve, lambda world: world.counts["booked"] == 1),
    Scenario(
        "dry run, then live",
        TWO,
        ONE,
        lambda world: world.ask("b", "a", 10 * M, LEASE, dry=True),
        lambda world: _amount(world, "b") == 10 * M,
    ),
    Scenario(
        "give",
        TWO,
        ONE,
        _give,
        lambda world: _amount(world, "b") == 6 * M and world.counts["capacity-returned"] == 1,
        lambda world: world.ask("b", "a", 10 * M, None),
        True,
        {"giver": "b", "requester": "a"},
    ),
    Scenario(
        "gifts that are promised",
        TWO,
        ONE,
        _gifts,
        lambda world: _amount(world, "b") == 5 * M,
        _needs,
        roles={"giver": "b", "requester": "a"},
    ),
    Scenario(
        "relay",
        ("a", "b", "c"),
        ONE,
        _relay,
        lambda world: _amount(world, "b") == 10 * M and world.counts["capacity-given"] == 2,
    ),
    Scenario(
        "needs that cross",
        TWO,
        {"a": (0, 10 * M), "b": (10 * M, 20 * M)},
        _cross,
        lambda world: world.counts["booked"] + world.counts["refused"] == 4,
        _both_book,
    ),
    Scenario("back while in doubt", TWO, ONE, _back, lambda world: world.counts["settled"] >= 1),
    Scenario("both restart", TWO, ONE, _both, lambda world: world.counts["crashes"] == 2),
    Scenario("a reservation changed", TWO, ONE, _alter, lambda world: world.counts["cancels"] == 1),
)
