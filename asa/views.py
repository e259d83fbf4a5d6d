"""What consumers and operators see: plain values, JSON-ready, the vocabulary of the northbound API.

Rates are bit/s, times UNIX seconds, ``end`` None means for ever, unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


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

    shortages: list[Shortage]
    lower_rate: Offer | None
    later_start: Offer | None
    shorter: Offer | None
    peers_asked: list[str]
    """What each peer asked answered, one line each, bounded."""


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A consumer's wish."""

    pool: str
    rate: int
    """bit/s."""
    start: int | None = None
    """UNIX seconds; None: now."""
    end: int | None = None
    """UNIX seconds; None: for ever."""
    source: str = "any"
    destination: str = "any"
    owner: str = ""
    label: str = ""
    patience_ms: int = 5_000
    """Milliseconds peers may be asked for what is missing; 0: not at all."""
    dry_run: bool = False
    """Tell whether it would be admitted here, and change nothing."""


@dataclass(frozen=True, slots=True)
class ReservationView:
    id: str
    pool: str
    rate: int
    """bit/s."""
    start: int
    """UNIX seconds."""
    end: int | None
    """UNIX seconds; None: for ever."""
    state: Literal["pending", "active", "ended", "cancelled"]
    source: str
    destination: str
    owner: str
    label: str
    created: int
    """UNIX seconds."""
    remaining_s: int | None
    """Seconds to the start while pending, to the end while active; None for ever, 0 after it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some reservations, in order of id; ``next`` is the ``after`` of the next page, None at the end."""

    reservations: list[ReservationView]
    total: int
    """On all pages together."""
    next: str | None
    """None on the last page."""


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


@dataclass(frozen=True, slots=True)
class SeedView:
    low: int
    """bit/s on the pool's line, the first of the range."""
    high: int
    """bit/s on the pool's line, the first behind the range."""
    origin: str
    """Name#instance of the agent that seeded it."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool as this agent sees it."""

    name: str
    seeded: int
    """bit/s of all origins known here."""
    seeds: list[SeedView]
    held: int
    """bit/s held here now."""
    committed: int
    """bit/s booked by reservations now."""
    free: int
    """bit/s held and not committed now."""
    spare: int
    """bit/s free over the whole horizon of the policy."""
    in_doubt: int
    """bit/s in transfers whose outcome is not known."""
    blocks: int
    """Held here; more of them are more fragments."""
    reservations: int
    """Kept here."""
    problems: list[str]


@dataclass(frozen=True, slots=True)
class BlockView:
    low: int
    """bit/s on the pool's line, the first of the range."""
    high: int
    """bit/s on the pool's line, the first behind the range."""
    start: int
    """UNIX seconds."""
    end: int | None
    """UNIX seconds; None: for ever."""


@dataclass(frozen=True, slots=True)
class PoolDetail:
    pool: PoolView
    held: list[BlockView]


@dataclass(frozen=True, slots=True)
class PeerView:
    node: str
    """Name#instance."""
    locator: str
    pools: dict[str, int]
    """bit/s it last said it could spare, by pool."""
    heard_s: float | None
    """Seconds since it was last heard, None if only remembered."""
    good: bool
    failures: int
    """Conversations that failed in a row."""
    backoff_s: float
    """Seconds until it is asked again."""


@dataclass(frozen=True, slots=True)
class TransferView:
    txn: str
    direction: Literal["given", "taken", "held"]
    pool: str
    peer: str
    rate: int
    """bit/s, the most at any instant."""
    blocks: list[BlockView]
    state: str
    in_doubt: bool
    at: int
    """UNIX seconds of its last change."""
    note: str


@dataclass(frozen=True, slots=True)
class ParamView:
    name: str
    value: int | bool
    """In the unit."""
    default: int | bool
    """In the unit, as is the value."""
    low: int
    """The least value, in the unit."""
    high: int
    """The greatest value, in the unit."""
    unit: str
    about: str


@dataclass(frozen=True, slots=True)
class ParamsView:
    serial: int
    """Grows by one with each change."""
    issuer: str
    params: list[ParamView]


@dataclass(frozen=True, slots=True)
class Problem:
    code: str
    message: str
    since: int
    """UNIX seconds."""


@dataclass(frozen=True, slots=True)
class Health:
    """``ready``: reservations are accepted. ``status``: starting, ok, degraded, inactive or stopping."""

    status: str
    ready: bool
    node: str
    version: str
    problems: list[Problem]
    threads: dict[str, str]
    sqlite: str


@dataclass(frozen=True, slots=True)
class Status:
    node: str
    instance: str
    mode: Literal["origin", "delegator"]
    state: Literal["installed", "instantiated", "operational"]
    version: str
    pid: int
    """Of the process."""
    started: int
    """UNIX seconds."""
    uptime_s: int
    """Seconds."""
    substrate: str
    secure: bool
    grasp_port: int
    """TCP and UDP; 0 while GRASP is down."""
    interfaces: list[str]
    health: Health
    pools: list[PoolView]
    peers: int
    """Known here."""
    transfers_in_doubt: int
    """Transfers whose outcome is not known."""
    reservations: int
    """Pending and active."""
    params_serial: int
    """Of the policy in force."""


@dataclass(frozen=True, slots=True)
class AuditPool:
    """Whether the blocks found partition what was seeded; the examples are bounded."""

    pool: str
    seeded: int
    """bit/s."""
    held: int
    """bit/s held by all agents now."""
    in_motion: int
    """bit/s in escrow that no requester has accepted."""
    ok: bool
    missing: list[BlockView]
    twice: list[BlockView]
    foreign: list[BlockView]
    overlapping_seeds: list[SeedView]


@dataclass(frozen=True, slots=True)
class Audit:
    """``ok`` only if every agent known answered, at rest, and every pool is partitioned."""

    ok: bool
    at_rest: bool
    rounds: int
    """Readings of all agents that it took."""
    agents: list[str]
    unreachable: list[str]
    pools: list[AuditPool]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    number: int
    """Grows by one each, from 1 at every start of the agent."""
    at: float
    """UNIX seconds, with fractions."""
    kind: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Events:
    events: list[Event]
    next: int
    """A number: pass it as ``after`` to go on."""
    missed: int
    """Events between ``after`` and the first here that are no longer kept."""
