"""What is on disk: records, each of one kind and with one key, and the changes of a transaction. No I/O.

The whole state of an agent follows from its records (:class:`~asa.ledger.Ledger`), so what survives a crash is exactly
what was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from asa.errors import IllegalTransition
from objectives import Block, NodeId, Window

Key = tuple[str | int | bytes, ...]


class GivenState(StrEnum):
    """A transfer at the giver (design: exactly-once transfer)."""

    ESCROW = "escrow"
    """The blocks left the pool; whose they are depends on the requester."""
    CLOSED = "closed"
    """They are the requester's."""
    RETURNED = "returned"
    """They are back in the pool."""
    FORFEITED = "forfeited"
    """Back in the pool by an operator's word, the requester never to return."""
    LAPSED = "lapsed"
    """Their window has passed, whosever they were."""


class TakenState(StrEnum):
    """A transfer at the requester."""

    ACCEPTED = "accepted"
    """The blocks are in the pool; the giver may still ask."""
    CONFIRMED = "confirmed"
    """The giver has closed it, or the window has passed: nobody will ask."""
    REFUSED = "refused"
    """They never were and never will be in the pool."""


class ReservationState(StrEnum):
    BOOKED = "booked"
    CANCELLED = "cancelled"


GIVEN: Final[Mapping[GivenState | None, frozenset[GivenState | None]]] = {
    None: frozenset({GivenState.ESCROW}),
    GivenState.ESCROW: frozenset({GivenState.CLOSED, GivenState.RETURNED, GivenState.FORFEITED, GivenState.LAPSED}),
    GivenState.CLOSED: frozenset({None}),
    GivenState.RETURNED: frozenset({None}),
    GivenState.FORFEITED: frozenset({None}),
    GivenState.LAPSED: frozenset({None}),
}
"""The transition table of :class:`Given`; None is no record."""

TAKEN: Final[Mapping[TakenState | None, frozenset[TakenState | None]]] = {
    None: frozenset({TakenState.ACCEPTED, TakenState.REFUSED}),
    TakenState.ACCEPTED: frozenset({TakenState.CONFIRMED}),
    TakenState.CONFIRMED: frozenset({None}),
    TakenState.REFUSED: frozenset({None}),
}
"""The transition table of :class:`Taken`."""

RESERVATION: Final[Mapping[ReservationState | None, frozenset[ReservationState | None]]] = {
    None: frozenset({ReservationState.BOOKED}),
    ReservationState.BOOKED: frozenset({ReservationState.BOOKED, ReservationState.CANCELLED, None}),
    ReservationState.CANCELLED: frozenset({None}),
}
"""The transition table of :class:`Reservation`. Booked to booked is a change of rate or end."""


@dataclass(frozen=True, slots=True)
class Seed:
    """Capacity ``[low, high)`` this agent, as origin, brought into a pool; it is never taken out again."""

    pool: str
    low: int
    high: int
    at: int

    @property
    def key(self) -> Key:
        return self.pool, self.low


@dataclass(frozen=True, slots=True)
class Held:
    """A block in the pool."""

    pool: str
    block: Block

    @property
    def key(self) -> Key:
        return self.pool, self.block.low, self.block.start


@dataclass(frozen=True, slots=True)
class Given:
    """Blocks that left the pool for ``peer`` under a transaction; ``at``: when it got into this state."""

    txn: bytes
    pool: str
    peer: NodeId
    blocks: tuple[Block, ...]
    state: GivenState
    at: int

    @property
    def key(self) -> Key:
        return (self.txn,)


@dataclass(frozen=True, slots=True)
class Taken:
    """Blocks of the giver ``peer`` that came, or were refused, under a transaction."""

    txn: bytes
    pool: str
    peer: NodeId
    blocks: tuple[Block, ...]
    state: TakenState
    at: int

    @property
    def key(self) -> Key:
        return (self.txn,)


@dataclass(frozen=True, slots=True)
class Promise:
    """Capacity kept for ``peer`` after a dry run, until ``until`` (UNIX s) or its live run."""

    txn: bytes
    pool: str
    peer: NodeId
    rate: int
    window: Window
    until: int

    @property
    def key(self) -> Key:
        return (self.txn,)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A consumer's: ``rate`` bit/s over a window. ``changed``: when it was last changed or cancelled, UNIX s."""

    id: str
    pool: str
    rate: int
    window: Window
    state: ReservationState
    created: int
    changed: int
    source: str = "any"
    destination: str = "any"
    owner: str = ""
    label: str = ""

    @property
    def key(self) -> Key:
        return (self.id,)


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key, the digest of its request, and the reservation it made."""

    name: str
    digest: str
    reservation: str
    at: int

    @property
    def key(self) -> Key:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing an agent knows of itself, as JSON: who it is, the policy in force, whether it is active."""

    name: str
    value: str

    @property
    def key(self) -> Key:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Contact:
    """A peer there were dealings with, and where it was last (``[address]:port``)."""

    node: NodeId
    locator: str
    seen: int

    @property
    def key(self) -> Key:
        return (str(self.node),)


Record = Seed | Held | Given | Taken | Promise | Reservation | Once | Fact | Contact
KINDS: Final = (Seed, Held, Given, Taken, Promise, Reservation, Once, Fact, Contact)


@dataclass(frozen=True, slots=True)
class Change:
    """One record made, replaced or removed. Raises :class:`IllegalTransition` if its table has no such step."""

    before: Record | None
    after: Record | None

    def __post_init__(self) -> None:
        some = self.after if self.after is not None else self.before
        if some is None:
            raise IllegalTransition("a change of nothing into nothing")
        if (
            self.before is not None
            and self.after is not None
            and (type(self.before) is not type(self.after) or self.before.key != self.after.key)
        ):
            raise IllegalTransition(f"{self.before.key} cannot become {self.after.key}: another record")
        old = getattr(self.before, "state", None)
        new = getattr(self.after, "state", None)
        table: Mapping[object, frozenset[object]] | None = _TABLES.get(type(some))
        if table is not None and new not in table[old]:
            raise IllegalTransition(f"{type(some).__name__} {old} -> {new}")

    @property
    def kind(self) -> type[Record]:
        return type(self.after if self.after is not None else self.before)  # type: ignore[return-value]

    @property
    def key(self) -> Key:
        some = self.after if self.after is not None else self.before
        assert some is not None
        return some.key


_TABLES: Final[Mapping[type, Mapping[object, frozenset[object]]]] = {
    Given: GIVEN,  # type: ignore[dict-item]
    Taken: TAKEN,  # type: ignore[dict-item]
    Reservation: RESERVATION,  # type: ignore[dict-item]
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """What a rule decided: the changes, all or none of which become durable, and what to tell the caller then."""

    changes: tuple[Change, ...]
    result: T


def made(*records: Record) -> tuple[Change, ...]:
    return tuple(Change(None, each) for each in records)


def removed(records: Iterable[Record]) -> tuple[Change, ...]:
    return tuple(Change(each, None) for each in records)
