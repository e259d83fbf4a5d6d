"""GARBAGE_COLLECTOR: merges adjacent blocks, and lets go of what time has decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final, TypeVar

from asa import expiry, lending, pacts, refusals, transfer
from asa.books import Books
from asa.errors import StoreFailed
from asa.events import EventLog
from asa.identity import remembering
from asa.ledger import Ledger
from asa.lifecycle import Phases, not_enforced
from asa.records import Held, Plan, made, removed
from asa.steps import Party
from asa.threads.duty import Duty

MOST: Final = 512
"""Records changed in one transaction, so that consumers never wait long."""


RETRY_S: Final = 2.0
"""Between two attempts to write when the store has failed; agents that wait for it to work again write nothing."""

TRIED: Final = "tried"

CROWDED: Final = "refusals"

T = TypeVar("T")


class GarbageCollector(Duty):
    name = "garbage-collector"
    pause = 15.0

    def __init__(
        self,
        party: Party,
        books: Books,
        events: EventLog,
        report: Callable[[str, str], None],
        rng: Random,
        phases: Phases = not_enforced,
        problem: Callable[[str, str | None], None] = lambda code, message: None,
    ) -> None:
        super().__init__(report, rng)
        self._phases = phases
        self._party = party
        self._books = books
        self._events = events
        self._problem = problem

    def turn(self) -> float | None:
        now = self._party.clock()
        self._books.read(lambda ledger: ledger.advance(now))
        if self._books.failed:
            try:
                self._books.transact(lambda ledger: remembering(ledger, TRIED, now))
            except StoreFailed:
                return RETRY_S
        params = self._party.params()
        for lapsed in self._all(lambda ledger: transfer.elapsed(ledger, now, MOST)):
            for given in lapsed:
                self._events.tell("transfer-lapsed", f"the window of a transfer to {given.peer.name} has passed")
        for ended in self._all(lambda ledger: pacts.elapsed(ledger, now, MOST)):
            for pact in ended:
                self._events.tell("pact-lapsed", f"what {pact.peer.name} was to decide about {pact.after.id} is over")
        for _ in self._all(lambda ledger: expiry.elapsed(ledger, now, params, MOST, self._phases)):
            pass
        self._problem(CROWDED, self._books.read(lambda ledger: refusals.crowded(ledger, self._party.members)))
        for _ in self._all(lambda ledger: lending.elapsed(ledger, MOST)):
            pass
        for pool in self._books.read(lambda ledger: list(ledger.accounts)):
            self._books.transact(lambda ledger, pool=pool: tidied(ledger, pool))  # type: ignore[misc]
        return None

    def _all(self, rule: Callable[[Ledger], Plan[T]]) -> Iterator[T]:
        """The results of a rule, again and again until a transaction finds less than it may change."""
        made = MOST

        def counted(ledger: Ledger) -> Plan[T]:
            nonlocal made
            plan = rule(ledger)
            made = len(plan.changes)
            return plan

        while made >= MOST and not self.stopping:
            yield self._books.transact(counted)


def tidied(ledger: Ledger, pool: str) -> Plan[int]:
    """The blocks of a pool, merged; how many fewer there are then."""
    gone, come = ledger.account(pool).held.tidy(ledger.floor)
    changes = (*removed(Held(pool, each) for each in gone), *made(*(Held(pool, each) for each in come)))
    return Plan(changes, len(gone) - len(come))
