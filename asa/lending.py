"""What is out at each member because it asked for it, over time: what an ``ask`` of ``[[allow]]`` bounds. No I/O.

What its dry runs keep is out as well: nobody else can have it.

Counted are bit/s, not blocks: whichever of a pool a member gives here lessens what it has from here, down to nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from asa.ledger import Ledger
from asa.records import Change, Lent, Plan, Promise
from objectives import Block, Window
from objectives.block import peak

MOST_CHANGES: Final = 4_096
"""Times at which what one member has of one pool changes."""

MOST_KEPT: Final = 64
"""Dry runs of one member that are kept at a time, of all pools."""


def lent(ledger: Ledger, member: str, pool: str, window: Window) -> int:
    """bit/s of a pool that are out at a member at the worst instant of a window."""
    loan = ledger.loans.get((member, pool))
    start = max(window.start, ledger.floor)
    if loan is None or (window.end is not None and window.end <= start):
        return 0
    return max(0, -loan.free.lowest(start, window.end))


def kept(ledger: Ledger, now: int, member: str, but: Promise | None = None) -> list[Promise]:
    """What dry runs of a member keep for it; ``but``: one that is just being redeemed."""
    return [each for each in ledger.promises.values() if each.peer.name == member and each.until > now and each != but]


def promised(promises: Iterable[Promise], pool: str, window: Window) -> int:
    """bit/s of a pool that promises come to at the worst instant of a window."""
    common = ((each.rate, each.window.overlap(window)) for each in promises if each.pool == pool)
    return peak(Block(0, rate, part.start, part.end) for rate, part in common if part is not None)


def lend(ledger: Ledger, member: str, pool: str, blocks: Iterable[Block]) -> tuple[Change, ...] | None:
    """Count blocks a member gets; None if there would be more than MOST_CHANGES."""
    changes = _put(ledger, member, pool, _deltas(blocks))
    loan = ledger.loans.get((member, pool))
    more = sum((each.before is None) - (each.after is None) for each in changes)
    return changes if more + (len(loan.changes) if loan is not None else 0) <= MOST_CHANGES else None


def repay(ledger: Ledger, member: str, pool: str, blocks: Iterable[Block]) -> tuple[Change, ...]:
    """Blocks came of a member: at each instant it has so much less from here, but never less than nothing."""
    loan = ledger.loans.get((member, pool))
    if loan is None or not loan.changes:
        return ()
    coming = _deltas(blocks)
    deltas: dict[int, int] = {}
    level = back = counted = 0
    for time in sorted({*loan.changes, *coming}):
        level += loan.changes[time].change if time in loan.changes else 0
        back += coming.get(time, 0)
        before, counted = counted, max(0, min(level, back))
        deltas[time] = before - counted
    return _put(ledger, member, pool, deltas)


def elapsed(ledger: Ledger, most: int = 512) -> Plan[None]:
    """The garbage collector's: when in the past something changed need not be remembered."""
    changes: list[Change] = []
    for loan in ledger.loans.values():
        past = [loan.changes[time] for time in sorted(loan.changes) if time <= ledger.floor]
        if len(past) < 2:
            continue
        if changes and len(changes) + len(past) > most:
            break
        *gone, last = past
        total = sum(each.change for each in past)
        changes += [Change(each, None) for each in gone]
        if total != last.change:
            changes.append(Change(last, Lent(last.member, last.pool, last.at, total) if total else None))
    return Plan(tuple(changes), None)


def _deltas(blocks: Iterable[Block]) -> Mapping[int, int]:
    deltas: Counter[int] = Counter()
    for block in blocks:
        deltas[block.start] += block.amount
        if block.end is not None:
            deltas[block.end] -= block.amount
    return deltas


def _put(ledger: Ledger, member: str, pool: str, deltas: Mapping[int, int]) -> tuple[Change, ...]:
    loan = ledger.loans.get((member, pool))
    changes = []
    for time, delta in deltas.items():
        old = loan.changes.get(time) if loan is not None else None
        total = delta + (old.change if old is not None else 0)
        if delta:
            changes.append(Change(old, Lent(member, pool, time, total) if total else None))
    return tuple(changes)
