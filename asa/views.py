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
    end: int | None
    missing: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A reservation that would fit here now."""

    rate: int
    start: int
    end: int | None


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
    """A consumer's wish. ``start`` None means now; ``patience_ms`` how long peers may be asked, 0 not at all."""

    pool: str
    rate: int
    start: int | None = None
    end: int | None = None
    source: str = "any"
    destination: str = "any"
    owner: str = ""
    label: str = ""
    patience_ms: int = 5_000
    dry_run: bool = False
    """Tell whether it would be admitted here, and change nothing."""


@dataclass(frozen=True, slots=True)
class ReservationView:
    id: str
    pool: str
    rate: int
    start: int
    end: int | None
    state: Literal["pending", "active", "ended", "cancelled"]
    source: str
    destination: str
    owner: str
    label: str
    created: int
    remaining_s: int | None
    """Seconds to the start while pending, to the end while active; None for ever, 0 after it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some reservations, in order of id; ``next`` is the ``after`` of the next page, None at the end."""

    reservations: list[ReservationView]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Availability:
    """How much is free: ``free`` at the worst instant of the window, ``steps`` [time, free] over it."""

    pool: str
    start: int
    end: int | None
    free: int
    steps: list[tuple[int, int]]
    earliest: int | None
    """If a rate and a duration were asked for: the earliest start here, None if there is none."""
    peers_spare: int
    """bit/s: what peers last said they could spare."""
    obtainable: int | None
    """bit/s: what peers would grant over the window, on top of ``free``; None if they were not asked."""


@dataclass(frozen=True, slots=True)
class SeedView:
    low: int
    high: int
    origin: str


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool as this agent sees it."""

    name: str
    seeded: int
    """Of all origins known here."""
    seeds: list[SeedView]
    held: int
    committed: int
    free: int
    spare: int
    """Free over the whole horizon of the policy."""
    in_doubt: int
    blocks: int
    reservations: int
    problems: list[str]


@dataclass(frozen=True, slots=True)
class BlockView:
    low: int
    high: int
    start: int
    end: int | None


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
    """What it last said it could spare, by pool."""
    heard_s: float | None
    """Seconds since it was last heard, None if only remembered."""
    good: bool
    failures: int
    backoff_s: float


@dataclass(frozen=True, slots=True)
class TransferView:
    txn: str
    direction: Literal["given", "taken", "held"]
    pool: str
    peer: str
    rate: int
    """The most at any instant."""
    blocks: list[BlockView]
    state: str
    in_doubt: bool
    at: int
    note: str


@dataclass(frozen=True, slots=True)
class ParamView:
    name: str
    value: int | bool
    default: int | bool
    low: int
    high: int
    unit: str
    about: str


@dataclass(frozen=True, slots=True)
class ParamsView:
    serial: int
    issuer: str
    params: list[ParamView]


@dataclass(frozen=True, slots=True)
class Problem:
    code: str
    message: str
    since: int


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
    started: int
    uptime_s: int
    substrate: str
    secure: bool
    grasp_port: int
    interfaces: list[str]
    health: Health
    pools: list[PoolView]
    peers: int
    transfers_in_doubt: int
    reservations: int
    params_serial: int


@dataclass(frozen=True, slots=True)
class AuditPool:
    """Whether the blocks found partition what was seeded; the examples are bounded."""

    pool: str
    seeded: int
    held: int
    in_motion: int
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
    agents: list[str]
    unreachable: list[str]
    pools: list[AuditPool]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; ``number`` grows by one each, from 1 at every start of the agent."""

    number: int
    at: float
    kind: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Events:
    events: list[Event]
    next: int
    """Pass it as ``after`` to go on."""
    missed: int
    """Events between ``after`` and the first here that are no longer kept."""
