"""DELEGATOR: serves consumers, and keeps the pools neither low nor full (the main loop of RFC 9222 Appendix C)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Final, TypeVar

from asa.asking import Need, fit, hand_over, obtain, probe
from asa.books import Books
from asa.errors import Busy, LinkShort, Short, StoreFailed
from asa.ledger import Ledger
from asa.performer import Performer
from asa.records import Plan
from asa.shortage import NOTHING, Said
from asa.steps import Party, Steps
from asa.threads.duty import Duty
from objectives import Block, NodeId, Window

PATIENCE_S: Final = 10.0
FIRST_S: Final = 1.0
FAILED: Final = 3
"""Sessions failed in a row that make a peer count as gone (RFC 9222 §8)."""
LONGEST_S: Final = 120.0
MOST_BLOCKS: Final = 64
"""Handed over in one transfer."""


T = TypeVar("T")


class Delegator(Duty):
    """``most`` consumers' needs are taken to peers at once; one more waits for its turn within its patience.

    ``search`` looks for peers when none is known.
    """

    name = "delegator"
    limit = 300.0

    def __init__(
        self,
        party: Party,
        performer: Performer,
        books: Books,
        most: int,
        search: Callable[[], None],
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._party = party
        self._performer = performer
        self._books = books
        self._search = search
        self._turns = threading.BoundedSemaphore(most)
        self._waits: dict[str, float] = {}
        self._next: dict[str, float] = {}

    # Consumers.

    def fit(
        self,
        rule: Callable[[Ledger, Said], Plan[T]],
        lacking: Callable[[Ledger], list[tuple[str, int, Window]]],
        patience_s: float,
    ) -> T:
        """Perform a rule that books capacity, with that of peers if need be (:func:`asa.asking.fit`).

        Raises what the rule does, Busy, StoreFailed. It runs in the consumer's own thread: that is the shortest way.
        """
        party, until = self._party, time.monotonic() + patience_s
        try:
            return self._books.transact(lambda ledger: rule(ledger, NOTHING))
        except LinkShort:
            raise
        except Short:
            if patience_s <= 0 or not (party.active() or self._books.failed):
                raise
        with self._turn(until):
            return self._performer.run(fit(party, rule, lacking, until))

    def converse(self, steps: Callable[[float], Steps[T]], patience_s: float) -> T:
        """Have a conversation for a consumer, told until when (monotonic s). Raises what it does, Busy, StoreFailed."""
        until = time.monotonic() + patience_s
        with self._turn(until):
            return self._performer.run(steps(until))

    def probe(self, pool: str, rate: int, window: Window, patience_s: float) -> int:
        """bit/s peers would grant; nothing is kept of it. Raises Busy."""
        until = time.monotonic() + patience_s
        with self._turn(until):
            return self._performer.run(probe(self._party, Need(pool, rate, window, until, urgent=True)))

    @contextmanager
    def _turn(self, until: float) -> Iterator[None]:
        if self._books.failed:
            raise StoreFailed(
                "stable storage has failed: peers are not asked for what could not be kept",
                hint="GET /v1/health tells why",
            )
        if not self._turns.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Busy("too many consumers wait for capacity of peers", hint="try again, or with more patience")
        try:
            yield
        finally:
            self._turns.release()

    # The main loop.

    def turn(self) -> float | None:
        if not self._party.active():
            return None
        if not self._party.peers.anybody(FAILED):
            self._search()
        pools = self._books.read(lambda ledger: list(ledger.accounts)) + sorted(self._party.peers.pools())
        for pool in dict.fromkeys(pools):
            if time.monotonic() < self._next.get(pool, 0.0):
                continue
            wait = self._tend(pool)
            self._next[pool] = time.monotonic() + wait * self._rng.uniform(0.8, 1.2)
        return FIRST_S

    def _tend(self, pool: str) -> float:
        """See that a pool is neither low nor full; returns seconds until the next look."""
        low, surplus = self._books.read(lambda ledger: (self._low(ledger, pool), self._surplus(ledger, pool)))
        if low is not None:
            until = time.monotonic() + PATIENCE_S
            got = self._performer.run(obtain(self._party, Need(pool, low[0], low[1], until)))
            if got.rate:
                self._waits[pool] = FIRST_S
            else:
                self._waits[pool] = min(LONGEST_S, self._waits.get(pool, FIRST_S) * 2)
            return self._waits[pool]
        self._waits.pop(pool, None)
        if surplus is not None:
            peer, blocks = surplus
            if not self._performer.run(hand_over(self._party, peer, pool, blocks)):
                return LONGEST_S
        return FIRST_S

    def _low(self, ledger: Ledger, pool: str) -> tuple[int, Window] | None:
        """What to ask for if the pool is low; an origin never asks for stock."""
        params, now = self._party.params(), self._party.clock()
        if ledger.account(pool).seeds:
            return None
        share = self._party.share(ledger, pool)
        free = ledger.free(pool, Window(now, now + params["horizon"]))
        if share == 0 or free >= share * params["low_water"] // 100 or params["refill"] == 0:
            return None
        missing = max(0, share * params["refill"] // 100 - free)
        if missing < params["least_grant"]:
            return None
        lease = max(params["lease"], params["horizon"]) if params["lease"] else 0
        return missing, Window(now, now + lease if lease else None)

    def _surplus(self, ledger: Ledger, pool: str) -> tuple[NodeId, list[Block]] | None:
        """What to return, and to which origin: what is free above the high-water mark, leases too."""
        params, now = self._party.params(), self._party.clock()
        account = ledger.accounts.get(pool)
        if account is None or account.seeds or params["high_water"] >= 100:
            return None
        share = self._party.share(ledger, pool)
        mark = max(share * params["high_water"], share * params["refill"]) // 100
        over = ledger.free(pool, Window(now, now + params["horizon"])) - mark
        if over < max(1, mark // 10, params["least_grant"]):
            return None
        origins = [each for each in self._party.peers.everyone() if each.seeds.get(pool) and each.state == "active"]
        if not origins:
            return None
        picked: list[Block] = []
        for block in sorted(account.held, key=lambda each: each.amount):
            left = block.cut(Window(now, None))
            if left is None or left.start > now + params["horizon"] or len(picked) == MOST_BLOCKS:
                continue
            # What is promised within the block's own life, and what goes with it already, stays.
            gone = sum(each.amount for each in picked if each.window.overlap(left.window) is not None)
            part = min(over, left.amount, ledger.free(pool, left.window) - gone)
            if part > 0:
                picked.append(Block(left.low, left.low + part, left.start, left.end))
                over -= part
        if not picked:
            return None
        home = self._rng.choice(origins).node
        for origin in origins:
            if any(low <= picked[0].low < high for low, high in origin.seeds[pool]):
                home = origin.node
        return home, picked
