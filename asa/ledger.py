"""Everything one agent knows that must survive a crash, in memory, and what follows from it. No I/O.

The ledger is a function of the records on disk: it changes only by :meth:`Ledger.apply`, with changes that are durable,
or about to be and undone if not. Rules (:mod:`asa.transfer`, :mod:`asa.reservations`) read it and decide; they never
change it. Not thread-safe; :class:`~asa.books.Books` locks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from asa.accounts import Account, Loan, Project
from asa.calendar import Calendar
from asa.diary import Diary, FlowKey, flow_of
from asa.records import (
    LIVING,
    TAKING,
    WAITING,
    Cap,
    Change,
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Lent,
    Notice,
    Once,
    Pact,
    Promise,
    Record,
    Reservation,
    Seed,
    Taken,
    Verdict,
    is_link,
)
from objectives import Block, NodeId, Window
from objectives.fields import MAX_RATE
from objectives.resource import Ask

MARGIN_S: Final = 90
"""Time this long past is forgotten: clocks of peers may be behind, and they may still speak of it."""


class Ledger:
    """``me`` is this agent; ``now`` UNIX s at start, from which its memory begins; ``version`` counts changes.

    ``links``: bit/s that may be reserved of each direction of an interface (``eth0:out``); others are not limited.
    """

    def __init__(
        self,
        me: NodeId,
        now: int,
        records: Iterable[Record] = (),
        version: int = 0,
        links: Mapping[str, int] | None = None,
    ) -> None:
        self.me: Final = me
        self.floor = max(0, now - MARGIN_S)
        self.version = version
        """Grows with every change of seeds, blocks and transfers."""
        self.accounts: dict[str, Account] = {}
        self.links: Final = dict(links or {})
        self.free_links: dict[str, Calendar] = {}
        """bit/s free of every direction of an interface that something takes or that is limited."""
        self.projects: dict[tuple[str, str], Project] = {}
        """What a project has booked of a resource."""
        self.flows: dict[FlowKey, Diary] = {}
        """When there are living reservations of a flow."""
        self.secrets: dict[str, set[str]] = {}
        """The ids of the reservations with a secret, by its hash."""
        self.waiting: dict[str, Reservation] = {}
        """Those whose life goes on by itself: held, prepared, parked."""
        self.given: dict[bytes, Given] = {}
        self.escrows: dict[bytes, Given] = {}
        """Those of ``given`` whose outcome is open."""
        self.taken: dict[bytes, Taken] = {}
        self.promises: dict[bytes, Promise] = {}
        self.loans: dict[tuple[str, str], Loan] = {}  # by member and pool
        self.reservations: dict[str, Reservation] = {}
        self.order: list[str] = []
        """The ids of the reservations, sorted."""
        self.onces: dict[str, Once] = {}
        self.facts: dict[str, Fact] = {}
        self.contacts: dict[str, Contact] = {}
        self.caps: dict[tuple[str, str], Cap] = {}
        self.pacts: dict[bytes, Pact] = {}
        self.verdicts: dict[bytes, Verdict] = {}
        self.notices: dict[tuple[str, str], Notice] = {}
        self.arranging: set[bytes] = set()
        """Pacts that may still be decided for. A crash forgets them, on purpose."""
        self.requests: dict[bytes, tuple[str, FlowKey | None]] = {}
        """What those are about: the reservation's id, and its flow."""
        self.asking: dict[bytes, Ask] = {}
        """What was asked and not yet decided. Only these can be accepted; a crash forgets them, on purpose."""
        self._loading: defaultdict[Calendar, Counter[int]] | None = defaultdict(Counter)
        for resource, limit in self.links.items():
            self._shift(self._link(resource), limit, Window(0, None))
        for record in records:
            self._one(None, record)
        loaded, self._loading = self._loading, None
        for calendar, changes in loaded.items():
            calendar.fill(changes)
        for diary in self.flows.values():
            diary.settle()

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
            counted: list[Account | Project | Loan] = [*self.accounts.values(), *self.projects.values()]
            counted += self.loans.values()
            for calendar in (*self.free_links.values(), *(each.free for each in counted)):
                calendar.forget(self.floor)

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
                        self._shift(self._account(record.pool).free, sign * record.rate, record.window)
                _replace(self.promises, some.txn, after)
            case Lent():
                loan = self.loans.setdefault((some.member, some.pool), Loan(self.floor))
                for record, sign in (before, 1), (after, -1):
                    if isinstance(record, Lent):
                        self._shift(loan.free, sign * record.change, Window(some.at, None))
                _replace(loan.changes, some.at, after)
            case Reservation():
                self._reservation(before, after)
            case Once():
                _replace(self.onces, some.name, after)
            case Fact():
                _replace(self.facts, some.name, after)
            case Contact():
                _replace(self.contacts, str(some.node), after)
            case Cap():
                _replace(self.caps, some.key, after)
            case Pact():
                _replace(self.pacts, some.txn, after)
            case Verdict():
                _replace(self.verdicts, some.txn, after)
                self.arranging.discard(some.txn)
                self.requests.pop(some.txn, None)
            case Notice():
                _replace(self.notices, some.key, after)

    def _held(self, before: Record | None, after: Record | None) -> None:
        if isinstance(before, Held):
            account = self._account(before.pool)
            account.held.remove(before.block)
            self._shift(account.free, -before.block.amount, before.block.window)
        if isinstance(after, Held):
            account = self._account(after.pool)
            account.held.add(after.block)
            self._shift(account.free, after.block.amount, after.block.window)

    def _reservation(self, before: Record | None, after: Record | None) -> None:
        for record, sign in (before, 1), (after, -1):
            if isinstance(record, Reservation):
                self._file(record, -sign)
                if record.state in TAKING:
                    self._take(record, sign)
        some = after if after is not None else before
        assert isinstance(some, Reservation)
        if before is None and (not self.order or some.id > self.order[-1]):
            self.order.append(some.id)
        elif before is None:
            insort(self.order, some.id)
        elif after is None:
            del self.order[bisect_left(self.order, some.id)]
        _replace(self.reservations, some.id, after)

    def _take(self, record: Reservation, sign: int) -> None:
        """Book what a reservation takes (-1), or give it back (1)."""
        for resource, amount in record.demand().items():
            if is_link(resource):
                calendar = self._link(resource)
            else:
                account = self._account(resource)
                account.reservations -= sign
                calendar = account.free
            if amount:
                self._shift(calendar, sign * amount, record.window)
            key = record.owner, resource
            project = self.projects.get(key)
            if project is None:
                project = self.projects[key] = Project(self.floor)
            project.reservations -= sign
            if not project.reservations:
                del self.projects[key]
            elif amount:
                self._shift(project.free, sign * amount, record.window)

    def _file(self, record: Reservation, sign: int) -> None:
        """Put a reservation where it is found by its flow, its secret and its state (1), or take it out (-1)."""
        flow = flow_of(record)
        if flow is not None and record.state in LIVING:
            diary = self.flows.get(flow)
            if diary is None:
                diary = self.flows[flow] = Diary()
            if self._loading is not None:
                diary.append(record.window, record.id)
            elif sign > 0:
                diary.add(record.window, record.id)
            else:
                diary.remove(record.window, record.id)
                if not diary:
                    del self.flows[flow]
        if record.secret:
            owned = self.secrets.setdefault(record.secret, set())
            if sign > 0:
                owned.add(record.id)
            else:
                owned.discard(record.id)
                if not owned:
                    del self.secrets[record.secret]
        if record.state in WAITING:
            if sign > 0:
                self.waiting[record.id] = record
            else:
                self.waiting.pop(record.id, None)

    def _link(self, resource: str) -> Calendar:
        found = self.free_links.get(resource)
        if found is None:
            found = self.free_links[resource] = Calendar()
            found.forget(self.floor)
        return found

    def _shift(self, calendar: Calendar, amount: int, window: Window) -> None:
        if self._loading is None:
            calendar.add(amount, window.start, window.end)
            return
        changes = self._loading[calendar]
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
            case Lent():
                return self.loans.get((some.member, some.pool), Loan(self.floor)).changes.get(some.at)
            case Reservation():
                return self.reservations.get(some.id)
            case Once():
                return self.onces.get(some.name)
            case Fact():
                return self.facts.get(some.name)
            case Contact():
                return self.contacts.get(str(some.node))
            case Cap():
                return self.caps.get((some.project, some.resource))
            case Pact():
                return self.pacts.get(some.txn)
            case Verdict():
                return self.verdicts.get(some.txn)
            case Notice():
                return self.notices.get((some.id, str(some.peer)))
        return None

    # What follows from the records.

    def calendar(self, resource: str) -> Calendar | None:
        """What is free of a resource; None of a pool of which there never was anything, and of a link without limit."""
        if is_link(resource):
            return self.free_links[resource] if resource in self.links else None
        account = self.accounts.get(resource)
        return account.free if account is not None else None

    def free(self, resource: str, window: Window) -> int:
        """bit/s free at the worst instant of a window; below 0 where more is promised than there is."""
        calendar = self.calendar(resource)
        if calendar is None:
            return MAX_RATE if is_link(resource) else 0
        start = max(window.start, self.floor)
        if window.end is not None and window.end <= start:
            return 0
        return calendar.lowest(start, window.end)

    def booked(self, project: str, resource: str, window: Window) -> int:
        """bit/s a project has of a resource at the worst instant of a window."""
        found = self.projects.get((project, resource))
        start = max(window.start, self.floor)
        if found is None or (window.end is not None and window.end <= start):
            return 0
        return -found.free.lowest(start, window.end)

    def duplicate(self, wanted: Reservation) -> Reservation | None:
        """A living reservation of the same flow whose window overlaps that of ``wanted``; itself is none."""
        flow = flow_of(wanted)
        diary = self.flows.get(flow) if flow is not None else None
        found = diary.overlapping(wanted.window, wanted.id) if diary is not None else None
        return self.reservations[found] if found is not None else None

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
        for loan in self.loans.values():
            yield from loan.changes.values()
        for table in (
            self.given,
            self.taken,
            self.promises,
            self.reservations,
            self.onces,
            self.facts,
            self.contacts,
            self.caps,
            self.pacts,
            self.verdicts,
            self.notices,
        ):
            yield from table.values()


def _replace(table: dict[Any, Any], key: object, record: object) -> None:
    if record is None:
        del table[key]
    else:
        table[key] = record
