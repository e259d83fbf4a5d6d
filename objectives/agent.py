"""``EX1.Agent``: what every agent floods of itself, so that all know whom to ask. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from objectives.fields import MAX_RATE, Fields, InvalidValue, check_integer, check_name, shown
from objectives.node import NodeId, node_from_text

NAME: Final = "Agent"
STATES: Final = frozenset({"active", "inactive", "left"})
MAX_POOLS: Final = 24
MAX_PARTS: Final = 8
"""Announcements of one sequence; what they say adds up."""
MAX_SEEDS: Final = 8
MAX_PAYLOAD: Final = 1_000
"""Bytes: what is left of one multicast (RFC 8990 §2.5.3) beside header and locator."""


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """What an agent says of one pool: what it seeded ``[low, high)``, and what it could spare over the horizon."""

    name: str
    spare: int
    seeds: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Announcement:
    """An agent: who it is, whether it takes part, and its pools. ``sequence`` grows, so that an old one never wins."""

    node: NodeId
    sequence: int
    state: str
    """``active``; ``inactive``: it neither asks nor grants; ``left``: it has handed over all it had and is gone."""
    pools: tuple[PoolSummary, ...]
    at: tuple[bytes, int] | None = None
    """Its routed address and TCP port, where a seal is to vouch for them; a flood's locator is outside of the seal."""

    def parts(self) -> list[Announcement]:
        """The same in so many that each fits into one multicast; what MAX_PARTS do not hold is left out."""
        parts: list[list[PoolSummary]] = [[]]
        left = MAX_PAYLOAD
        for each in self.pools:
            # Heads of items, the name, an integer of 9 bytes for each number.
            size = 16 + len(each.name) + 20 * len(each.seeds)
            if size > left or len(parts[-1]) == MAX_POOLS:
                if len(parts) == MAX_PARTS:
                    break
                parts.append([])
                left = MAX_PAYLOAD
            parts[-1].append(each)
            left -= size
        return [replace(self, pools=tuple(each)) for each in parts]

    def to_value(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "node": str(self.node),
            "seq": self.sequence,
            "state": self.state,
            "pools": [[each.name, each.spare, [list(seed) for seed in each.seeds]] for each in self.pools],
        }
        if self.at is not None:
            value["at"] = list(self.at)
        return value


def announcement_from_value(value: object) -> Announcement:
    """Raises :class:`InvalidValue`."""
    fields = Fields(value, "agent")
    return Announcement(
        node_from_text(fields.text("node", 96)),
        fields.integer("seq", 0, 2**53),
        fields.choice("state", STATES),
        fields.items("pools", MAX_POOLS, _pool),
        _where(fields.value("at")) if fields.has("at") else None,
    )


def _where(item: object) -> tuple[bytes, int]:
    if type(item) is not list or len(item) < 2 or type(item[0]) is not bytes or len(item[0]) not in (4, 16):
        raise InvalidValue(f"agent.at must hold [address of 4 or 16 bytes, port], not {shown(item)}")
    return item[0], check_integer(item[1], 1, 65_535, "agent.at")


def _pool(item: object, where: str) -> PoolSummary:
    if type(item) is not list or len(item) < 3 or type(item[2]) is not list or len(item[2]) > MAX_SEEDS:
        raise InvalidValue(f"{where} must hold [name, spare, seeds]")
    name, spare, seeds = item[:3]
    if type(spare) is not int or not 0 <= spare <= MAX_RATE:
        raise InvalidValue(f"{where}: spare must be 0..{MAX_RATE} bit/s")
    return PoolSummary(check_name(name, where), spare, tuple(_seed(each, where) for each in seeds))


def _seed(item: object, where: str) -> tuple[int, int]:
    if (
        type(item) is not list
        or len(item) != 2
        or type(item[0]) is not int
        or type(item[1]) is not int
        or not 0 <= item[0] < item[1] <= MAX_RATE
    ):
        raise InvalidValue(f"{where}: a seed must be [low, high] with 0 <= low < high <= {MAX_RATE} bit/s")
    return item[0], item[1]
