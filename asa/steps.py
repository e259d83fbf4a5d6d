"""The steps of a conversation, and the agent as its conversations see it. No I/O.

What agents say to each other is written as generators, one side of a conversation each, as they would tell it
(:mod:`asa.asking`, :mod:`asa.answering`): they yield what they want done, one of the classes here, and are sent what
came of it. Threads and GRASP perform the steps in production (:mod:`asa.performer`); the simulator performs the same
generators with lost messages, and crashes between any two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from asa.ledger import Ledger
from asa.peers import Peers
from asa.records import Plan
from objectives import NodeId, pact, resource
from objectives.params import Params
from objectives.resource import TXN_LENGTH

Request = resource.Request | pact.Request
Answer = resource.Answer | pact.Answer


@dataclass(frozen=True, slots=True)
class Transact:
    """Decide on the ledger and make it durable; the plan's result, or what the rule or the store raises."""

    rule: Callable[[Ledger], Plan[Any]]


@dataclass(frozen=True, slots=True)
class Look:
    """Read the ledger, or change what it keeps in memory only."""

    look: Callable[[Ledger], Any]


@dataclass(frozen=True, slots=True)
class Begin:
    """Open a session with a peer. Its answer, None if it accepted at once; raises Refused or Broken."""

    peer: NodeId
    request: Request
    dry: bool = False
    patience_ms: int = 10_000
    objective: str = resource.NAME
    """What the request is about, without the operator's prefix: some requests are of more than one."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the session that was begun, by accepting or declining the peer's answer. Never fails."""

    accept: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Break off the session that was begun, without a decision."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Answer the peer that began; True if it accepts, False if it declines; raises Broken."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Agree:
    """Accept what the peer that began has sent, and end. Never fails."""


@dataclass(frozen=True, slots=True)
class Deny:
    """Decline what the peer that began has sent, and end. Never fails."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask the peer that began for this much more time (M_WAIT). Raises Broken."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Something an operator may want to know."""

    kind: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


Step = Transact | Look | Begin | Finish | Drop | Propose | Agree | Deny | Wait | Tell
T = TypeVar("T")
Steps = Generator[Step, Any, T]


class Refused(Exception):
    """The peer declined; ``reason`` is its text, ``code`` the part before the colon."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = reason.partition(":")[0]


class Broken(Exception):
    """The session ended otherwise, or never began: nobody knows what the other end knows."""


@dataclass(slots=True)
class Party:
    """One agent, as its conversations see it. ``clock``: UNIX s; ``ticks``: monotonic s."""

    me: NodeId
    clock: Callable[[], int]
    ticks: Callable[[], float]
    rng: Random
    peers: Peers
    params: Callable[[], Params]
    active: Callable[[], bool] = lambda: True
    lends: Callable[[str], int | None] = lambda name: None
    """bit/s of one pool that may be lent to a member at a time; None: what is lent is not counted."""
    gives: Callable[[str], bool] = lambda name: True
    """Whether capacity of an agent is taken."""
    members: bool = False
    """Whether agents are known by their certificates: then what is remembered of one is bounded for itself."""
    talking: set[bytes] = field(default_factory=set)
    """Transfers given and pacts whose session is running; an escrow or a pact of any other is in doubt."""

    def txn(self) -> bytes:
        return self.rng.randbytes(TXN_LENGTH)

    def seeds(self, ledger: Ledger, pool: str) -> list[tuple[int, int]] | None:
        """What all origins known have seeded; None if none is known."""
        others = [(low, high) for low, high, _ in self.peers.seeds(pool)]
        own = [(each.low, each.high) for each in ledger.account(pool).seeds.values()]
        return own + others or None

    def seeded(self, ledger: Ledger, pool: str) -> int:
        """bit/s of a pool, at all origins known."""
        return ledger.seeded(pool) + sum(high - low for low, high, _ in self.peers.seeds(pool))

    def share(self, ledger: Ledger, pool: str) -> int:
        """bit/s: what this agent would have if all agents had as much."""
        return self.seeded(ledger, pool) // (1 + self.peers.crowd())

    def keep(self, ledger: Ledger, pool: str) -> int:
        """bit/s a delegator keeps back from peers that only want to refill; an origin keeps nothing."""
        if ledger.account(pool).seeds:
            return 0
        return self.share(ledger, pool) * self.params()["low_water"] // 100
