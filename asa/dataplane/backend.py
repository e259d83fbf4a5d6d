"""Who sees to it that packets get what a plan says: the interface of all back ends, and what they tell. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Key, Line, Plan, Share
from asa.errors import AgentError

MOST_STRAYS: Final = 20
"""Told of in words; there may be more."""


class EnforcementFailed(AgentError):
    """The system refused, or did not answer in time; what is in place is to be read back."""

    code = "enforcement-failed"


class Unfit(AgentError):
    """This system cannot do what a back end needs; the message says what is missing, the hint what to do."""

    code = "unfit"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a back end can do on this system."""

    ways: frozenset[str] = frozenset({"out", "in"})
    """The directions of an interface it shapes."""
    actions: frozenset[Action] = frozenset({Action.GUARANTEE, Action.KEEP})
    marks: bool = True
    """Whether it can set a DSCP."""
    expires: bool = True
    """Whether what it installs ends by itself, without this agent."""
    notes: tuple[str, ...] = ()
    """What an operator should know of its limits here, in words."""


Spot = tuple[str, Action, Match]
"""One match on a line."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the system does with the packets of one spot."""

    group: int
    """Spots of one line with the same number, which is not 0, share a class; 0: no class."""
    share: Share | None
    """Of the class; None if there is none, though there may be a rule that leads to it."""
    dscp: int | None
    expires: float | None
    """UNIX s; None: never."""
    through: tuple[str, ...] = ()
    output: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the system says there is, of ours."""

    lines: Mapping[str, str] = field(default_factory=dict)
    """By name of each line asked for: empty if it is shaped as it shall be, else what is wrong, in words."""
    found: Mapping[Spot, Found] = field(default_factory=dict)
    strays: tuple[str, ...] = ()
    """Ours by their mark, but of no spot: classes no rule leads to and the like, in words; at most MOST_STRAYS."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one entry, since it was installed; they start again at 0 when the class is new."""

    bytes: int
    packets: int
    dropped: int
    """Packets."""
    borrowed: int
    """Packets sent beyond the guarantee."""
    backlog: int
    """Bytes that wait now."""
    overlimits: int = 0
    """How often packets had to wait at the ceiling."""


class Backend(Protocol):
    """All calls come from one thread at a time. Each raises EnforcementFailed if the system fails or does not answer.

    It remembers what it knows of the system - from the last :meth:`read` of everything and what it applied since - and
    changes only what differs from that. It touches nothing without its own mark.
    """

    name: str

    def probe(self, lines: Sequence[Line]) -> Abilities:
        """What can be done here, found out by trying it where nobody is harmed. Raises Unfit."""
        ...

    def apply(self, plan: Plan) -> Mapping[Key, str]:
        """Make the system be as ``plan`` says; what could not be put in place, and why.

        Where a rule leads to a class, the class is there before the rule and goes after it. What shrinks or goes does
        so before anything grows or comes, so that no line ever has more guarantees than it can keep. What stays the
        same is not interrupted; who changes its share only keeps its class. One entry that is refused, or a line that
        cannot be shaped, does not hold up the others.
        """
        ...

    def read(self, keys: Collection[Key] | None = None) -> Reading:
        """Ask the system: of everything, or only of the spots and lines of some entries, which is quick for a few."""
        ...

    def count(self) -> Mapping[Key, Counters]:
        """Of the entries with a class, as of now."""
        ...

    def clear(self) -> None:
        """Leave nothing of ours behind."""
        ...

    def close(self) -> None:
        """Free what the back end itself holds; what is installed stays."""
        ...
