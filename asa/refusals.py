"""What is declined, and what is remembered as never to be: bounded, for all and for each member. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import Final

from asa.errors import AgentError
from asa.ledger import Ledger
from asa.records import TakenState, VerdictState

MOST: Final = 10_000
"""Transactions remembered never to be taken, or never to be decided for; above it no unknown one is answered, so that
no peer can fill the disk."""

MOST_OF_ONE: Final = 1_000
"""The same of one member: above it none of its own is answered that is unknown, and those of the others are."""


class Declined(AgentError):
    """A peer's request that is declined; ``code: message`` goes to the peer as the reason. Nothing has changed."""

    def __init__(self, code: str, message: str, *, available: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.available = available

    @property
    def reason(self) -> str:
        return f"{self.code}: {self.message}"


class BadOffer(Declined):
    """A giver's offer that is refused."""


def never_taken(ledger: Ledger) -> Counter[str]:
    """How many transfers are remembered as refused, by the giver's name."""
    return Counter(each.peer.name for each in ledger.taken.values() if each.state is TakenState.REFUSED)


def never_decided(ledger: Ledger) -> Counter[str]:
    """How many pacts are remembered as never to be, by the name of who was asked."""
    return Counter(each.peer.name for each in ledger.verdicts.values() if each.state is VerdictState.NEVER)


def check_room(counts: Counter[str], name: str, members: bool) -> None:
    """Raises Declined if no more of ``name`` is remembered. ``members``: whether names are those of certificates."""
    if counts.total() >= MOST or (members and counts[name] >= MOST_OF_ONE):
        raise Declined("busy", "too many transactions that never will be are remembered")


def crowded(ledger: Ledger, members: bool) -> str | None:
    """Whose transactions are not answered any more, or soon will not be; None if there is room for all."""
    found = []
    for what, counts in ("transfers", never_taken(ledger)), ("pacts", never_decided(ledger)):
        if counts.total() >= MOST * 9 // 10:
            found.append(f"all agents ({counts.total()} {what}, of {MOST} at most)")
        if members:
            most = ((name, count) for name, count in counts.most_common(3) if count >= MOST_OF_ONE * 9 // 10)
            found += [f"{name} ({count} {what}, of {MOST_OF_ONE} at most)" for name, count in most]
    return f"so many refused transactions are remembered: of {'; of '.join(found)}" if found else None
