"""The ledger, its lock and its store: nothing is visible before it is durable.

Many threads' transactions share one commit (group commit): who gets the lock runs all that wait, commits them together
and wakes their threads. A transaction sees those before it in the same commit; readers see only what is committed,
because they take the lock too. Lock order: this one first; under it only those of the peers, the events, the
enforcement and the store, each of which takes no other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from asa.errors import StoreFailed
from asa.ledger import Ledger
from asa.records import Change, Plan

GROUP: Final = 64
"""Transactions in one commit at most: bounds the wait of the first of them."""

T = TypeVar("T")


class Journal(Protocol):
    """Where changes become durable."""

    def commit(self, changes: Sequence[Change]) -> None:
        """All or nothing; durable on return. Raises StoreFailed."""
        ...


class _Ticket:
    """One transaction that waits for its turn."""

    __slots__ = ("changes", "done", "error", "result", "rule")

    def __init__(self, rule: Callable[[Ledger], Plan[Any]]) -> None:
        self.rule = rule
        self.changes: tuple[Change, ...] = ()
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False


class Books:
    """``on_failure`` is told when the store refuses; ``on_success`` when it works again; ``on_changes`` what
    is durable, before anybody sees it. No call may wait, or transact."""

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        on_failure: Callable[[StoreFailed], None] = lambda _: None,
        on_success: Callable[[], None] = lambda: None,
        on_changes: Callable[[Sequence[Change]], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._on_failure = on_failure
        self._on_success = on_success
        self._on_changes = on_changes
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket] = deque()
        self._failed = False

    @property
    def failed(self) -> bool:
        """Whether the last commit failed: then nothing must be granted."""
        return self._failed

    def transact(self, rule: Callable[[Ledger], Plan[T]]) -> T:
        """Let ``rule`` decide on the ledger, make its changes durable, and return its result.

        Raises what the rule raises, or StoreFailed; then nothing has changed.
        """
        ticket = _Ticket(rule)
        self._waiting.append(ticket)
        while not ticket.done:
            with self._lock:
                if not ticket.done:
                    self._run()
        if ticket.error is not None:
            raise ticket.error
        result: T = ticket.result
        return result

    def read(self, look: Callable[[Ledger], T]) -> T:
        """What ``look`` sees; it changes nothing but what the ledger keeps in memory only."""
        with self._lock:
            return look(self._ledger)

    def _run(self) -> None:
        tickets = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
        made: list[_Ticket] = []
        for ticket in tickets:
            try:
                plan = ticket.rule(self._ledger)
                self._ledger.apply(plan.changes)
            except BaseException as error:
                ticket.error = error
            else:
                ticket.changes, ticket.result = plan.changes, plan.result
                made.append(ticket)
        changes = [change for ticket in made for change in ticket.changes]
        if changes:
            try:
                self._journal.commit(changes)
            except BaseException as error:
                self._ledger.undo(changes)
                failure = error if isinstance(error, StoreFailed) else StoreFailed(f"the store failed: {error!r:.200}")
                for ticket in made:
                    if ticket.changes:
                        ticket.error = StoreFailed(failure.message, hint=failure.hint, details=failure.details)
                # A rule without changes, or one that refused, may have seen those of the others; it decides again.
                again = [each for each in tickets if not each.changes]
                for ticket in again:
                    ticket.error = None
                self._waiting.extendleft(reversed(again))
                tickets = [each for each in tickets if each.changes]
                self._failed = True
                self._on_failure(failure)
            else:
                if self._failed:
                    self._failed = False
                    self._on_success()
                self._on_changes(changes)
        for ticket in tickets:
            ticket.done = True
