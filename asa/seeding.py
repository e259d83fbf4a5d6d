"""Bringing capacity into a pool: what makes an agent an origin. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asa.errors import BadRequest, Conflict
from asa.ledger import Ledger
from asa.records import Held, Plan, Seed, made
from objectives import Block, InvalidValue
from objectives.agent import MAX_SEEDS, Announcement, PoolSummary
from objectives.block import within
from objectives.fields import MAX_RATE, check_name


def ranges(seeds: Iterable[Seed]) -> tuple[tuple[int, int], ...]:
    """The ranges ``[low, high)`` of seeds, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for each in sorted(seeds, key=lambda each: each.low):
        if joined and joined[-1][1] == each.low:
            joined[-1] = joined[-1][0], each.high
        else:
            joined.append((each.low, each.high))
    return tuple(joined)


def _check_announceable(ledger: Ledger, new: Seed) -> None:
    """What this agent seeds has to fit into what it floods of itself, or nobody learns of it. Raises Conflict."""
    seeds = {name: list(account.seeds.values()) for name, account in ledger.accounts.items() if account.seeds}
    seeds.setdefault(new.pool, []).append(new)
    pools = tuple(PoolSummary(name, MAX_RATE, ranges(each)) for name, each in seeds.items())
    said = Announcement(ledger.me, 0, "active", pools)
    told = sum(len(each.pools) for each in said.parts())
    if told < len(pools) or any(len(each.seeds) > MAX_SEEDS for each in pools):
        raise Conflict(
            "one origin cannot announce so many pools, or ranges of a pool that do not touch",
            hint=f"at most {told} pools of such names and {MAX_SEEDS} ranges of each; let another be their origin",
        )


def strays(held: Iterable[Block], seeds: Sequence[tuple[int, int, str]]) -> list[Block]:
    """Blocks agents hold that lie in no origin's seed: their origin is silent, or has lost its state."""
    ranged = [(low, high) for low, high, _ in seeds]
    return [each for each in held if not within(each.low, each.high, ranged)]


def seed(
    ledger: Ledger, now: int, name: str, capacity: int, at: int | None, others: Sequence[tuple[int, int, str]]
) -> Plan[Seed]:
    """Add ``capacity`` bit/s from ``at`` on the pool's line, or behind all known; ``others``: low, high, origin.

    Raises Conflict if it overlaps what is seeded, here or at another origin; BadRequest.
    """
    try:
        check_name(name, "the pool")
    except InvalidValue as error:
        raise BadRequest(str(error)) from None
    taken = [(each.low, each.high, str(ledger.me)) for each in ledger.account(name).seeds.values()] + list(others)
    low = max((high for _, high, _ in taken), default=0) if at is None else at
    if type(capacity) is not int or capacity < 1 or low < 0 or low + capacity > MAX_RATE:
        raise BadRequest(f"the capacity must be 1..{MAX_RATE} bit/s, and end there too", hint="1 Gbit/s is 1000000000")
    for start, end, origin in taken:
        if low < end and start < low + capacity:
            raise Conflict(
                f"{name}: {low}..{low + capacity} overlaps {start}..{end} of {origin}",
                hint="leave the place out, or choose one behind all others",
            )
    _check_announceable(ledger, Seed(name, low, low + capacity, now))
    made_here = Seed(name, low, low + capacity, now)
    return Plan(made(made_here, Held(name, Block(low, low + capacity, ledger.floor, None))), made_here)
