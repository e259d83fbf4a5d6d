"""Everything one agent knows that must survive a crash, in memory, and what follows from it. No I/O.

The ledger is a function of the records on disk: it changes only by :meth:`Ledger.apply`, with changes that are durable,
or about to be and undone if not. Rules (:mod:`asa.transfer`, :mod:`asa.reservations`) read it and decide; they never
change it. Not thread-safe; :class:`~asa.books.Books` locks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from asa.calendar import Calendar
from asa.pool import Pool
from asa.records import (
    Change,
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Once,
    Promise,
    Record,
    Reservation,
    ReservationState,
    Seed,
    Taken,
)
from objectives import Block, NodeId, Window
from objectives.resource import Ask

MARGIN_S: Final = 90
"""Time this long past is forgotten: clocks of peers may be behind, and they may still speak of it."""


class Account:
    """One pool at this agent: the blocks held, and the free capacity at every instant."""

    def __init__(self, floor: int) -> None:
        self.seeds: dict[int, Seed] = {}
        self.held = Pool()
        self.free = Calendar()
        self.free.forget(floor)
        self.reservations = 0


class Ledger:
    """``me`` is this agent; ``now`` UNIX s at start, from which its memory begins; ``version`` counts changes."""

    def __init__(self, me: NodeId, now: int, records: Iterable[Record] = (), version: int = 0) -> None:
        self.me: Final = me
        self.floor = max(0, now - MARGIN_S)
        self.version = version
        """Grows with every change of seeds, blocks and transfers."""
        self.accounts: dict[str, Account] = {}
        self.given: dict[bytes, Given] = {}
        self.escrows: dict[bytes, Given] = {}
        """Those of ``given`` whose outcome is open."""
        self.taken: dict[bytes, Taken] = {}
        self.promises: dict[bytes, Promise] = {}
        self.reservations: dict[str, Reservation] = {}
        self.order: list[str] = []
        """The ids of the reservations, sorted."""
        self.onces: dict[str, Once] = {}
        self.facts: dict[str, Fact] = {}
        self.contacts: dict[str, Contact] = {}
        self.asking: dict[bytes, Ask] = {}
        """What was asked and not yet decided. Only these can be accepted; a crash forgets them, on purpose."""
        self._loading: defaultdict[Account, Counter[int]] | None = defaultdict(Counter)
        for record in records:
            self._one(None, record)
        loaded, self._loading = self._loading, None
        for account, changes in loaded.items():
            account.free.fill(changes)

    def account(self, pool: str) -> Account:
        """The account of a pool, to be read; an empty one if there never was one, which is not kept."""
        return self.accounts.get(pool) or Account(self.floor)

    def _account(self, pool: str) -> Account:
        """The account of a pool, to be changed."""
        found = self.accounts.get(pool)
        if found is None:
            found = self.accounts[pool] = Account(self.floor)
        return found

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes. Raises ValueError, with nothing changed, if one does not fit the ledger: a defect of ours."""
        for number, change in enumerate(changes):
            try:
                if self._find(change.before or change.after) != change.before:
                    raise ValueError(f"{change.kind.__name__} {change.key!r} is not what a change expects")
                self._one(change.before, change.after)
            except ValueError:
                self.undo(changes[:number])
                raise

    def undo(self, changes: Sequence[Change]) -> None:
        """Take back changes that did not become durable."""
        for change in reversed(changes):
            self._one(change.after, change.before)

    def advance(self, now: int) -> None:
        """Forget the time before ``now`` less the margin. The clock never goes back here."""
        if now - MARGIN_S > self.floor:
            self.floor = now - MARGIN_S
            for account in self.accounts.values():
                account.free.forget(self.floor)

    def _one(self, before: Record | None, after: Record | None) -> None:
        some = after if after is not None else before
        match some:
            case Held():
                self._held(before, after)
                self.version += 1
            case Seed():
                seeds = self._account(some.pool).seeds
                _replace(seeds, some.low, after)
                self.version += 1
            case Given():
                _replace(self.given, some.txn, after)
                self.escrows.pop(some.txn, None)
                if isinstance(after, Given) and after.state is GivenState.ESCROW:
                    self.escrows[some.txn] = after
                self.version += 1
            case Taken():
                _replace(self.taken, some.txn, after)
                self.asking.pop(some.txn, None)
                self.version += 1
            case Promise():
                for record, sign in (before, 1), (after, -1):
                    if isinstance(record, Promise):
                        self._shift(self._account(record.pool), sign * record.rate, record.window)
                _replace(self.promises, some.txn, after)
            case Reservation():
                self._reservation(before, after)
            case Once():
                _replace(self.onces, some.name, after)
            case Fact():
                _replace(self.facts, some.name, after)
            case Contact():
                _replace(self.contacts, str(some.node), after)

    def _held(self, before: Record | None, after: Record | None) -> None:
        if isinstance(before, Held):
            account = self._account(before.pool)
            account.held.remove(before.block)
            self._shift(account, -before.block.amount, before.block.window)
        if isinstance(after, Held):
            account = self._account(after.pool)
            account.held.add(after.block)
            self._shift(account, after.block.amount, after.block.window)

    def _reservation(self, before: Record | None, after: Record | None) -> None:
        for record, sign in (before, 1), (after, -1):
            if isinstance(record, Reservation) and record.state is ReservationState.BOOKED:
                account = self._account(record.pool)
                account.reservations -= sign
                self._shift(account, sign * record.rate, record.window)
        some = after if after is not None else before
        assert isinstance(some, Reservation)
        if before is None and (not self.order or some.id > self.order[-1]):
            self.order.append(some.id)
        elif before is None:
            insort(self.order, some.id)
        elif after is None:
            del self.order[bisect_left(self.order, some.id)]
        _replace(self.reservations, some.id, after)

    def _shift(self, account: Account, amount: int, window: Window) -> None:
        if self._loading is None:
            account.free.add(amount, window.start, window.end)
            return
        changes = self._loading[account]
        changes[window.start] += amount
        if window.end is not None:
            changes[window.end] -= amount

    def _find(self, some: Record | None) -> Record | None:
        match some:
            case Held():
                account = self.accounts.get(some.pool)
                block = account.held.at(some.block.low, some.block.start) if account is not None else None
                return Held(some.pool, block) if block is not None else None
            case Seed():
                account = self.accounts.get(some.pool)
                return account.seeds.get(some.low) if account is not None else None
            case Given():
                return self.given.get(some.txn)
            case Taken():
                return self.taken.get(some.txn)
            case Promise():
                return self.promises.get(some.txn)
            case Reservation():
                return self.reservations.get(some.id)
            case Once():
                return self.onces.get(some.name)
            case Fact():
                return self.facts.get(some.name)
            case Contact():
                return self.contacts.get(str(some.node))
        return None

    # What follows from the records.

    def free(self, pool: str, window: Window) -> int:
        """bit/s free at the worst instant of a window; below 0 where more is promised than held."""
        account = self.accounts.get(pool)
        if account is None:
            return 0
        start = max(window.start, self.floor)
        if window.end is not None and window.end <= start:
            return 0
        return account.free.lowest(start, window.end)

    def seeded(self, pool: str) -> int:
        """bit/s this agent seeded."""
        account = self.accounts.get(pool)
        return sum(each.high - each.low for each in account.seeds.values()) if account is not None else 0

    def escrow_of(self, pool: str, block: Block) -> Given | None:
        """A transfer in escrow that a block overlaps."""
        for given in self.escrows.values():
            if given.pool == pool and any(each.overlaps(block) for each in given.blocks):
                return given
        return None

    def records(self) -> Iterator[Record]:
        """Every record, as it would be read from disk."""
        for pool, account in self.accounts.items():
            yield from account.seeds.values()
            for block in account.held:
                yield Held(pool, block)
        for table in (
            self.given,
            self.taken,
            self.promises,
            self.reservations,
            self.onces,
            self.facts,
            self.contacts,
        ):
            yield from table.values()


def _replace(table: dict[Any, Any], key: object, record: object) -> None:
    if record is None:
        del table[key]
    else:
        table[key] = record
