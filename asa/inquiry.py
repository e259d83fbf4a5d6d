"""Questions about capacity that change nothing: how much is free, when, and would it be admitted; here and at peers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asa import reservations
from asa.errors import BadRequest, LinkShort, Short
from asa.ledger import Ledger
from asa.records import Reservation
from asa.shortage import needs
from asa.views import Availability
from objectives import Window

if TYPE_CHECKING:
    from asa.agent import Agent

STEPS: Final = 200
"""Changes of the free capacity told of."""

LATER_S: Final = (900, 3_600, 14_400, 43_200, 86_400)
"""How much later it is tried whether peers would grant what they would not now."""

STARTS: Final = 12
"""Starts tried at most."""


def availability(
    agent: Agent,
    pool: str,
    start: int | None,
    end: int | None,
    rate: int | None,
    duration: int | None,
    patience_ms: int,
) -> Availability:
    """See :meth:`asa.service.Service.availability`."""
    party, now = agent.party, agent.party.clock()
    if duration is not None and duration < 1:
        raise BadRequest("the duration must be 1 s or more")
    if duration is not None and end is None:
        end = (start or now) + duration
    window = reservations.window_of(now, start, end, party.params())
    if rate is not None:
        reservations.check_rate(rate)
    known = party.peers.pools()
    length = duration if duration is not None else (None if window.end is None else window.end - window.start)

    def look(ledger: Ledger) -> tuple[Availability, list[int]]:
        reservations.check_pool(ledger, pool, known)
        free = ledger.account(pool).free
        begin = max(window.start, ledger.floor)
        steps = free.steps(begin, window.end, STEPS)
        found = Availability(
            pool=pool,
            start=window.start,
            end=window.end,
            free=max(0, free.lowest(begin, window.end)),
            steps=steps,
            earliest=free.earliest(rate, length, begin) if rate is not None else None,
            peers_spare=party.peers.spare(pool),
            obtainable=None,
        )
        return found, [time for time, _ in free.steps(begin, None, STARTS)]

    found, changes = agent.books.read(look)
    if patience_ms <= 0 or not agent.ready or not party.active():
        return found
    until = time.monotonic() + patience_ms / 1000
    missing = party.peers.spare(pool) if rate is None else max(0, rate - found.free)
    asked = agent.delegator.probe(pool, missing, window, patience_ms / 1000) if missing else 0
    found = replace(found, obtainable=asked)
    if rate is None:
        return found
    starts = sorted({window.start, *changes, *(window.start + later for later in LATER_S)})[:STARTS]
    return replace(found, earliest_obtainable=_earliest(agent, pool, rate, length, starts, found.earliest, until))


def _earliest(
    agent: Agent, pool: str, rate: int, length: int | None, starts: list[int], here: int | None, until: float
) -> int | None:
    """The first of ``starts`` at which a rate fits with what peers would add; ``here`` it fits without them."""
    for start in starts:
        if here is not None and here <= start:
            return here
        window = Window(start, None if length is None else start + length)
        if _fits(agent, pool, rate, window, until):
            return start
    return here


def _fits(agent: Agent, pool: str, rate: int, window: Window, until: float) -> bool:
    """Whether what is short over a window would be granted by peers."""
    return _granted(agent, agent.books.read(lambda ledger: needs(ledger, {pool: rate}, window)), until)


def _granted(agent: Agent, missing: list[tuple[str, int, Window]], until: float) -> bool:
    for pool, rate, piece in missing:
        left = until - time.monotonic()
        if left <= 0 or agent.delegator.probe(pool, rate, piece, left) < rate:
            return False
    return True


def admissible(agent: Agent, wanted: Reservation, patience_ms: int) -> None:
    """Whether a reservation would be admitted here, with patience by asking peers too. Raises what book does."""
    now = agent.party.clock()
    try:
        agent.books.read(lambda ledger: reservations.book(ledger, now, wanted, whole=agent.party.seeded))
    except LinkShort:
        raise
    except Short:
        until = time.monotonic() + patience_ms / 1000
        missing = agent.books.read(lambda ledger: reservations.lacking(ledger, now, wanted))
        if patience_ms <= 0 or not agent.party.active() or not _granted(agent, missing, until):
            raise
