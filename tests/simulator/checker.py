"""The promise, checked from the disks alone, by other means than the agents' own audit.

For every pool, at every moment, over all nodes: blocks held, and escrows their requester has not accepted, tile what
was seeded. The seeded rectangles tile it at the beginning; so they do for ever if the rectangles that each commit takes
out of that set and those it puts in are the same function of capacity and time. That is what is checked at every
commit, which costs little however large the network is; now and then all of it is added up from nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from asa.ledger import Ledger
from asa.records import (
    TAKING,
    Change,
    Given,
    GivenState,
    Held,
    Lent,
    Promise,
    Record,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
)
from objectives import Block, NodeId, Window
from objectives.fields import MAX_RATE
from tests.simulator.disk import Disk
from tests.simulator.pairs import Pairs

ENDLESS = 2**60
HAS = (TakenState.ACCEPTED, TakenState.CONFIRMED)

Weights = Counter[tuple[str, Block]]


class Violation(AssertionError):
    """The promise is broken: a defect."""


class Checker:
    """``forgotten``: the latest instant any node has forgotten; nothing is promised of the time before."""

    def __init__(self) -> None:
        self.disks: dict[NodeId, Disk] = {}
        self.forgotten = 0
        self.checks = 0
        self.audits = 0
        self.lapsed = 0
        """Transfers that only time has decided."""
        self.limit = MAX_RATE
        """bit/s of a pool that a node may lend another at a time."""
        self.most_lent = 0
        self._escrows: dict[bytes, dict[NodeId, Given]] = {}
        self._accepted: set[tuple[NodeId, bytes, NodeId]] = set()
        self.told: dict[str, tuple[NodeId, int, Window] | None] = {}
        """Reservations consumers were told of: what was booked where, or None if it was refused."""
        self.pairs = Pairs(self.disks)

    def committed(self, node: NodeId, now: int, changes: Sequence[Change]) -> None:
        """Judge what a node has just made durable; ``now`` by its clock. Raises Violation."""
        weights: Weights = Counter()
        balance = False
        for change in changes:
            self._weigh(node, change.before, -1, weights)
            self._weigh(node, change.after, 1, weights)
            self.lapsed += isinstance(change.after, Given) and change.after.state is GivenState.LAPSED
            balance |= change.kind in (Held, Promise, Reservation)
            if isinstance(change.after, Reservation) and self.told.get(change.after.id, node) is None:
                raise Violation(f"{change.after.id} was refused, and is on the disk of {node.name}")
        self.checks += 1
        wrong = differing(weights, self.forgotten)
        if wrong is not None:
            raise Violation(f"{node.name} made {wrong} by {[str(each) for each in changes]}")
        if balance:
            self.check_free(node, now)
        if any(change.kind is Lent for change in changes):
            self.check_lent(node)
        self.pairs.committed(node, now, changes)

    def _weigh(self, node: NodeId, record: Record | None, sign: int, weights: Weights) -> None:
        match record:
            case Held():
                weights[record.pool, record.block] += sign
            case Seed():
                weights[record.pool, Block(record.low, record.high, 0, None)] -= sign
            case Given() if record.state is GivenState.ESCROW:
                if sign > 0:
                    self._escrows.setdefault(record.txn, {})[node] = record
                else:
                    del self._escrows[record.txn][node]
                if (record.peer, record.txn, node) not in self._accepted:
                    _count(weights, record, sign)
            case Taken() if record.state in HAS:
                who = node, record.txn, record.peer
                if sign > 0:
                    self._accepted.add(who)
                else:
                    self._accepted.discard(who)
                given = self._escrows.get(record.txn, {}).get(record.peer)
                if given is not None and given.peer == node:
                    _count(weights, given, -sign)

    def check_free(self, node: NodeId, now: int) -> None:
        """That a node has promised consumers and peers no more than it holds, at any instant from ``now`` on."""
        changes: dict[str, Counter[int]] = {}
        disk = self.disks[node]
        rows: list[tuple[str, int, int, int | None]] = [
            (each.pool, each.block.amount, each.block.start, each.block.end) for each in disk.of(Held).values()
        ]
        rows += [
            (pool, -amount, each.window.start, each.window.end)
            for each in disk.of(Reservation).values()
            if each.state in TAKING
            for pool, amount in each.demand().items()
        ]
        rows += [
            (each.pool, -each.rate, each.window.start, each.window.end)
            for each in disk.of(Promise).values()
            if each.until > now
        ]
        for pool, amount, start, end in rows:
            if end is None or end > now:
                of = changes.setdefault(pool, Counter())
                of[max(start, now)] += amount
                if end is not None:
                    of[end] -= amount
        for pool, of in changes.items():
            free = 0
            for time in sorted(of):
                free += of[time]
                if free < 0:
                    raise Violation(f"{node.name} has promised {-free} bit/s of {pool} more than it holds at {time}")

    def check_lent(self, node: NodeId) -> None:
        """That no member ever has more out than is lent to one, and none less than nothing."""
        changes: dict[tuple[str, str], Counter[int]] = {}
        for each in self.disks[node].of(Lent).values():
            changes.setdefault((each.member, each.pool), Counter())[each.at] = each.change
        for (member, pool), of in changes.items():
            level = 0
            for time in sorted(of):
                level += of[time]
                if not 0 <= level <= self.limit:
                    raise Violation(f"{node.name} has lent {level} bit/s of {pool} to {member} at {time}")
                self.most_lent = max(self.most_lent, level)

    def check_ledger(self, node: NodeId, ledger: Ledger) -> None:
        """That the free capacity a node reckons with, at every instant, is what is on its disk. Raises Violation."""
        rows: dict[str, list[tuple[int, Window]]] = {}
        for record in self.disks[node]:
            match record:
                case Held():
                    rows.setdefault(record.pool, []).append((record.block.amount, record.block.window))
                case Promise():
                    rows.setdefault(record.pool, []).append((-record.rate, record.window))
                case Reservation() if record.state in TAKING:
                    for pool, amount in record.demand().items():
                        rows.setdefault(pool, []).append((-amount, record.window))
        for pool, of in rows.items():
            times = {edge for _, window in of for edge in (window.start, window.end) if edge is not None}
            for time in sorted({ledger.floor, *(each for each in times if each > ledger.floor)}):
                free = sum(amount for amount, window in of if window.covers(Window(time, time + 1)))
                if free != (seen := ledger.free(pool, Window(time, time + 1))):
                    raise Violation(f"{node.name} reckons with {seen} bit/s of {pool} at {time}, it is {free}")

    def check_told(self) -> None:
        """That what consumers were told is on disk. Raises Violation."""
        self.pairs.check_told()
        for name in self.told:
            self.check_told_one(name)

    def check_told_one(self, name: str) -> None:
        told = self.told[name]
        if told is None:
            for node, disk in self.disks.items():
                if (name,) in disk.of(Reservation):
                    raise Violation(f"{name} was refused, and is on the disk of {node.name}")
        elif not self.is_told(name, told):
            record = self.disks[told[0]].of(Reservation).get((name,))
            raise Violation(f"{name} was booked as {told[1]} bit/s over {told[2]}, on disk is {record}")

    def is_told(self, name: str, told: tuple[NodeId, int, Window]) -> bool:
        """Whether a reservation is on disk exactly so."""
        node, rate, window = told
        record = self.disks[node].of(Reservation).get((name,))
        return record is not None and (record.rate, record.window, record.state) == (
            rate,
            window,
            ReservationState.BOOKED,
        )

    def audit(self) -> None:
        """Add everything up from the disks, trusting nothing remembered. Raises Violation."""
        weights: Weights = Counter()
        for node, disk in self.disks.items():
            for seed in disk.of(Seed).values():
                weights[seed.pool, Block(seed.low, seed.high, 0, None)] -= 1
            for held in disk.of(Held).values():
                weights[held.pool, held.block] += 1
            for given in disk.of(Given).values():
                if given.state is GivenState.ESCROW and not self._has(given, node):
                    _count(weights, given, 1)
        self.audits += 1
        wrong = differing(weights, self.forgotten)
        if wrong is not None:
            raise Violation(f"all disks together: {wrong}")

    def _has(self, given: Given, giver: NodeId) -> bool:
        disk = self.disks.get(given.peer)
        taken = disk.of(Taken).get((given.txn,)) if disk is not None else None
        return taken is not None and taken.peer == giver and taken.state in HAS

    def escrows(self) -> list[tuple[NodeId, Given]]:
        """Every transfer whose outcome is open."""
        return [(node, given) for each in self._escrows.values() for node, given in each.items()]


def _count(weights: Weights, given: Given, sign: int) -> None:
    for block in given.blocks:
        weights[given.pool, block] += sign


def differing(weights: Mapping[tuple[str, Block], int], since: int) -> str | None:
    """Where signed rectangles do not add up to nothing from ``since`` on, in words; None if they do."""
    pools: dict[str, list[tuple[int, int, int, int, int]]] = {}
    for (pool, block), weight in weights.items():
        end = ENDLESS if block.end is None else block.end
        if weight and end > since:
            pools.setdefault(pool, []).append((block.low, block.high, max(block.start, since), end, weight))
    for pool, rows in pools.items():
        for low, high, start, end, total in _sums(rows):
            if total:
                what = "twice" if total > 0 else "missing"
                return (
                    f"[{low}, {high}) of {pool} in [{start}, {'never' if end == ENDLESS else end}) {what} ({total:+})"
                )
    return None


def _sums(rows: list[tuple[int, int, int, int, int]]) -> Iterable[tuple[int, int, int, int, int]]:
    """The cells of the coarsest grid that holds the rectangles, and the weight of each: a sweep over capacity."""
    lows = sorted({edge for row in rows for edge in row[:2]})
    begins: dict[int, list[tuple[int, int, int, int, int]]] = {}
    for row in rows:
        begins.setdefault(row[0], []).append(row)
    active: list[tuple[int, int, int, int, int]] = []
    for low, high in pairwise(lows):
        active = [row for row in active if row[1] > low] + begins.get(low, [])
        times = sorted({edge for row in active for edge in row[2:4]})
        deltas = [0] * (len(times) + 1)
        for _, _, start, end, weight in active:
            deltas[bisect_left(times, start)] += weight
            deltas[bisect_left(times, end)] -= weight
        total = 0
        for number in range(len(times) - 1):
            total += deltas[number]
            yield low, high, times[number], times[number + 1], total
