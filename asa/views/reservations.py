"""What consumers see: reservations, refusals, caps, availability. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from asa.views.enforcement import Enforced


@dataclass(frozen=True, slots=True)
class Shortage:
    """A window in which the capacity falls short, and by how much at worst."""

    start: int
    """UNIX seconds."""
    end: int | None
    """UNIX seconds; None: for ever."""
    missing: int
    """bit/s at the worst instant."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A reservation that would fit here now."""

    rate: int
    """bit/s."""
    start: int
    """UNIX seconds."""
    end: int | None
    """UNIX seconds; None: for ever."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reservation does not fit, and what would."""

    resource: str
    """The pool, or the direction of an interface (``eth0:out``), of which there is too little."""
    shortages: list[Shortage]
    lower_rate: Offer | None
    later_start: Offer | None
    shorter: Offer | None
    peers_asked: list[str]
    """What each peer asked answered, one line each, bounded."""


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A consumer's wish."""

    pool: str = ""
    """Empty: what follows from the route."""
    rate: int = 0
    """bit/s from the source to the destination; 0 for the kinds that reserve none."""
    start: int | None = None
    """UNIX seconds; None: now."""
    end: int | None = None
    """UNIX seconds; None: for ever."""
    source: str = "any"
    destination: str = "any"
    owner: str = ""
    labels: list[str] = field(default_factory=list)
    patience_ms: int = 5_000
    """Milliseconds peers may be asked for what is missing, and for the other end; 0: not at all."""
    dry_run: bool = False
    """Tell whether it would be admitted here, and change nothing."""
    kind: str = "one-way"
    """two-way, one-way, passthrough, steering or mirroring."""
    protocol: str = "any"
    back: int = 0
    """bit/s from the destination to the source; two-way only."""
    traffic: str = "default"
    """The traffic class; ``global_`` before it keeps the marking on leaving the domain."""
    through: list[str] = field(default_factory=list)
    """Middleboxes in order; steering only."""
    output: str = ""
    """Where the copies go; mirroring only."""
    hold_s: int = 0
    """Seconds to hold it until it is confirmed; 0: book it."""
    park: bool = False
    """Keep what cannot be placed now, and try again until its end."""


@dataclass(frozen=True, slots=True)
class ReservationView:
    id: str
    pool: str
    """The first it takes capacity of; empty if it takes none of any."""
    rate: int
    """bit/s from the source to the destination."""
    start: int
    """UNIX seconds."""
    end: int | None
    """UNIX seconds; None: for ever."""
    state: Literal[
        "held", "parked", "pending", "installing", "active", "paused", "failed", "ending", "ended", "cancelled"
    ]
    source: str
    """The end on this agent's side, as the consumer wrote it."""
    destination: str
    owner: str
    labels: list[str]
    created: int
    """UNIX seconds."""
    remaining_s: int | None
    """Seconds to the deadline while held, to the start while pending, to the end while active; None for ever, 0 after
    it."""
    kind: Literal["two-way", "one-way", "passthrough", "steering", "mirroring"] = "one-way"
    protocol: str = "any"
    back: int = 0
    """bit/s from the destination to the source."""
    traffic: str = "default"
    through: list[str] = field(default_factory=list)
    output: str = ""
    source_address: str = "any"
    """The source with a name resolved."""
    destination_address: str = "any"
    takes: dict[str, int] = field(default_factory=dict)
    """bit/s of each pool and of each direction of an interface (``eth0:out``)."""
    partner: str = ""
    """Name#instance of the agent that has the other end."""
    held_until: int | None = None
    """UNIX seconds; None unless it is held by a consumer."""
    secret: bool = False
    """Whether it takes its owner's secret to change it."""
    why: str = ""
    """Why it is parked or not in force yet, or how it ended."""
    enforcement: Enforced | None = None
    """What the data plane says of it; None if it has nothing of it, or nothing to do for it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some reservations, in order of id; ``next`` is the ``after`` of the next page, None at the end.

    A page may be short, or empty, and still have a next one.
    """

    reservations: list[ReservationView]
    next: str | None
    """None on the last page."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of cancelling all of an owner's."""

    cancelled: int
    """How many were, truly."""
    ids: list[str]
    """The first thousand of them."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of placing reservations anew, by id."""

    moved: list[str]
    """Those that take other resources now, or have another agent at the other end."""
    same: list[str]
    failed: dict[str, str]
    """Those that stay as they were, and why."""


@dataclass(frozen=True, slots=True)
class CapView:
    """What a project may have booked of a resource at any instant."""

    project: str
    """``*``: every one without a cap of its own."""
    resource: str
    """A pool, one direction of an interface (``eth0:out``), or ``*``: each."""
    amount: int
    """bit/s, or percent."""
    percent: bool


@dataclass(frozen=True, slots=True)
class LinkView:
    """One direction of an interface whose capacity is limited by the configuration."""

    name: str
    """``eth0:out`` or ``eth0:in``."""
    capacity: int
    """bit/s that may be reserved: without the headroom."""
    booked: int
    """bit/s now."""
    free: int
    """bit/s at the worst instant from now on."""
    reservations: int
    """Kept here that take of it."""


@dataclass(frozen=True, slots=True)
class Availability:
    """How much is free: ``free`` at the worst instant of the window, ``steps`` [time, free] over it."""

    pool: str
    start: int
    """UNIX seconds."""
    end: int | None
    """UNIX seconds; None: for ever."""
    free: int
    """bit/s, at the worst instant of the window."""
    steps: list[tuple[int, int]]
    """UNIX seconds and the bit/s free from then on, in order of time, bounded."""
    earliest: int | None
    """UNIX seconds: if a rate and a duration were asked for the earliest start here; None if there is none."""
    peers_spare: int
    """bit/s: what peers last said they could spare."""
    obtainable: int | None
    """bit/s: what peers would grant over the window, on top of ``free``; None if they were not asked."""
    earliest_obtainable: int | None = None
    """UNIX s: the earliest start tried at which it fits with what peers would grant; None if none, or not asked."""
