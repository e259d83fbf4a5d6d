"""Bringing capacity into a pool: what makes an agent an origin. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from asa.errors import BadRequest, Conflict
from asa.ledger import Ledger
from asa.records import Held, Plan, Seed, made
from objectives import Block, InvalidValue
from objectives.fields import MAX_RATE, check_name


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
    made_here = Seed(name, low, low + capacity, now)
    return Plan(made(made_here, Held(name, Block(low, low + capacity, now, None))), made_here)
