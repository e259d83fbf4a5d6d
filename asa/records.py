"""What is on disk: records, each of one kind and with one key, and the changes of a transaction. No I/O.

The whole state of an agent follows from its records (:class:`~asa.ledger.Ledger`), so what survives a crash is exactly
what was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from asa.errors import IllegalTransition
from asa.states import BANDWIDTH as BANDWIDTH
from asa.states import GIVEN as GIVEN
from asa.states import LIVING as LIVING
from asa.states import RESERVATION as RESERVATION
from asa.states import TAKEN as TAKEN
from asa.states import TAKING as TAKING
from asa.states import VERDICT as VERDICT
from asa.states import WAITING as WAITING
from asa.states import GivenState as GivenState
from asa.states import Kind as Kind
from asa.states import ReservationState as ReservationState
from asa.states import TakenState as TakenState
from asa.states import VerdictState as VerdictState
from objectives import Block, NodeId, Window
from objectives.reach import Prefix

Key = tuple[str | int | bytes, ...]


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
    """Blocks that left the pool for ``peer`` under a transaction; ``at``: when it got into this state.

    ``lent``: they are counted in what is lent to it (:class:`Lent`).
    """

    txn: bytes
    pool: str
    peer: NodeId
    blocks: tuple[Block, ...]
    state: GivenState
    at: int
    lent: bool = False

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
class Lent:
    """From ``at`` (UNIX s) on ``change`` bit/s more, or less, of a pool are out at a member that asked for them."""

    member: str
    pool: str
    at: int
    change: int

    @property
    def key(self) -> Key:
        return self.member, self.pool, self.at


Claim = tuple[str, str]
"""A resource, and what of a reservation it has to carry: OUT, BACK or BOTH. A resource is a pool by its name, or one
direction of an interface (``eth0:out``, ``eth0:in``)."""

OUT: Final = "out"
BACK: Final = "back"
BOTH: Final = "both"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A consumer's: ``rate`` bit/s over a window. ``changed``: when it was last changed or cancelled, UNIX s.

    The source is the end on this agent's side.
    """

    id: str
    pool: str
    """The first it takes capacity of; empty if it takes none."""
    rate: int
    """bit/s from the source to the destination."""
    window: Window
    state: ReservationState
    created: int
    changed: int
    source: str = "any"
    """As the flow is looked at: names stand for addresses (:mod:`asa.flows`)."""
    destination: str = "any"
    owner: str = ""
    """The project."""
    labels: tuple[str, ...] = ()
    kind: Kind = Kind.ONE_WAY
    protocol: str = "any"
    back: int = 0
    """bit/s from the destination to the source."""
    traffic: str = "default"
    """The traffic class, as :mod:`asa.traffic` writes it."""
    through: tuple[str, ...] = ()
    """Steering: the middleboxes, in order."""
    output: str = ""
    """Mirroring: where the copies go."""
    names: tuple[str, str] = ("", "")
    """Source and destination as the consumer wrote them, where that was by name."""
    claims: tuple[Claim, ...] = ()
    """What it takes; empty for its rate of its pool."""
    until: int | None = None
    """UNIX s: the deadline of a hold."""
    secret: str = ""
    """The owner's, hashed (:mod:`asa.credentials`); empty if none is needed."""
    partner: str = ""
    """Name#instance of the agent that has the other end; empty if there is none."""
    why: str = ""
    """Why it is parked, or how it ended."""

    @property
    def key(self) -> Key:
        return (self.id,)

    def demand(self) -> dict[str, int]:
        """bit/s of each resource, while it takes any."""
        if not self.claims:
            return {self.pool: self.rate} if self.pool else {}
        amounts = {OUT: self.rate, BACK: self.back, BOTH: self.rate + self.back}
        found: dict[str, int] = {}
        for resource, way in self.claims:
            found[resource] = found.get(resource, 0) + amounts[way]
        return found


def is_link(resource: str) -> bool:
    """Whether a resource is one direction of an interface; else it is a pool."""
    return ":" in resource


@dataclass(frozen=True, slots=True)
class Cap:
    """What a project may have booked of a resource at any instant: bit/s, or percent of the whole of it.

    ``project`` ``*`` is every one without a cap of its own, ``resource`` ``*`` every resource; 0 bans.
    """

    project: str
    resource: str
    amount: int
    percent: bool

    @property
    def key(self) -> Key:
        return self.project, self.resource


@dataclass(frozen=True, slots=True)
class Pact:
    """At the agent that was asked for the other end of a reservation: what it becomes if the asking agent decides for
    it, and what it was before. While it is open the reservation takes the most of both."""

    txn: bytes
    peer: NodeId
    before: Reservation | None
    after: Reservation
    at: int

    @property
    def key(self) -> Key:
        return (self.txn,)


@dataclass(frozen=True, slots=True)
class Verdict:
    """At the agent that asked for the other end of the reservation ``id``: its decision, which is final."""

    txn: bytes
    peer: NodeId
    id: str
    state: VerdictState
    at: int

    @property
    def key(self) -> Key:
        return (self.txn,)


@dataclass(frozen=True, slots=True)
class Notice:
    """The agent at the other end of a reservation that is over here has yet to be told so."""

    id: str
    peer: NodeId
    why: str
    at: int
    end: int | None
    """UNIX s: the end of its window, from when on nobody needs to know; None: for ever."""

    @property
    def key(self) -> Key:
        return self.id, str(self.peer)


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
    """A peer there were dealings with, where it was last (``[address]:port``), and which prefixes it said it serves."""

    node: NodeId
    locator: str
    seen: int
    serves: tuple[Prefix, ...] = ()

    @property
    def key(self) -> Key:
        return (str(self.node),)


Record = (
    Seed | Held | Given | Taken | Promise | Lent | Reservation | Once | Fact | Contact | Cap | Pact | Verdict | Notice
)
KINDS: Final = (
    Seed, Held, Given, Taken, Promise, Lent, Reservation, Once, Fact, Contact, Cap, Pact, Verdict, Notice,
)  # fmt: skip


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
    Verdict: VERDICT,  # type: ignore[dict-item]
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
