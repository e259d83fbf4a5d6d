"""What operators see: pools, peers, transfers, policy, audits, health. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


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
    notices: list[str] = field(default_factory=list)
    """What an operator ought to know always, and what is no failure."""


@dataclass(frozen=True, slots=True)
class DomainView:
    """What this agent is in its domain (RFC 8994 §6.2)."""

    name: str
    """The acp-domain-name."""
    acp_name: str
    """This node's AcpNodeName."""
    expires: int
    """UNIX seconds: when its certificate ends, or one above it before."""
    crls: int
    """Lists of revoked certificates in force here."""
    crls_version: int
    """Grows when one of them is replaced by a newer one; no unit."""


@dataclass(frozen=True, slots=True)
class NeighbourView:
    """A link with a neighbour, over which floods and discoveries travel."""

    interface: str
    address: str
    member: str
    """The name in its certificate; empty until it has shown one."""
    state: str
    since: int
    """UNIX seconds."""
    why: str = ""
    """What came of the last attempt, where no link could be made; else empty."""


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
    """Those that are not over."""
    params_serial: int
    """Of the policy in force."""
    paused: bool = False
    """Whether enforcement on this node is."""
    serves: list[str] = field(default_factory=list)
    """Prefixes whose hosts reserve here."""
    back_end: str = ""
    """What makes packets obey: record, tc-nft, tc-u32 or openvswitch; empty while none works, and without a link."""
    effect: bool = False
    """Whether packets obey: not with a record, not while none works, and not while paused."""
    domain: DomainView | None = None
    """None over a substrate that knows no members."""
    neighbours: list[NeighbourView] = field(default_factory=list)
    """Links with neighbours; none over a substrate that knows no members."""


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
