"""What is seen of the data plane: what packets of a reservation get, and how that goes. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ActionName = Literal["guarantee", "keep", "steer", "mirror"]
PhaseName = Literal["absent", "installing", "installed", "failed", "removing"]
VerdictName = Literal["kept", "idle", "exceeded", "starved"]


@dataclass(frozen=True, slots=True)
class UsageView:
    """What packets of a reservation did on a line, over the last interval and since its class was made."""

    verdict: VerdictName
    """kept: they got what they sent; idle: they sent nothing; exceeded: more than the ceiling came, and was held back;
    starved: they got less than the guarantee and had to wait."""
    at: int
    """UNIX seconds: the end of the interval."""
    seconds: float
    """The length of the interval."""
    rate: int
    """bit/s that went through, on average over the interval."""
    dropped: int
    """Packets, in the interval."""
    borrowed: int
    """Packets sent beyond the guarantee, in the interval."""
    backlog: int
    """Bytes that wait at the end of it."""
    sent_bytes: int
    """Since the class was made."""
    sent_packets: int
    """Since the class was made."""
    dropped_packets: int
    """Since the class was made."""
    borrowed_packets: int
    """Since the class was made."""


@dataclass(frozen=True, slots=True)
class EnforcedLine:
    """What packets of a reservation get on one direction of an interface."""

    line: str
    """``eth0:out`` or ``eth0:in``."""
    action: ActionName
    guarantee: int | None
    """bit/s; None where the action gives none."""
    ceiling: int | None
    """bit/s; what is between guarantee and ceiling is borrowed, if others leave it."""
    dscp: int | None
    """What packets are marked with, 0..63; None: they keep what they come with."""
    shared_with: int
    """Other reservations of the very same packets, which have this share together with it."""
    since: int | None
    """UNIX seconds: when it was first read back from the system as it shall be; None as long as it is not."""
    expires: int
    """UNIX seconds: when it ends by itself, unless the agent goes on refreshing it."""
    usage: UsageView | None = None
    """None before the first interval is over, or where nothing can be counted."""


@dataclass(frozen=True, slots=True)
class Enforced:
    """What the data plane says of a reservation."""

    phase: PhaseName
    why: str
    """Why it has not come further; empty if it has."""
    effect: bool
    """Whether packets are treated so; a record only keeps what it is told."""
    lines: list[EnforcedLine]


@dataclass(frozen=True, slots=True)
class ShapedLine:
    """One direction of an interface that is shaped."""

    name: str
    """``eth0:out`` or ``eth0:in``."""
    rate: int
    """bit/s it is shaped to."""
    floor: int
    """bit/s of that which are for packets nobody reserved for."""
    guaranteed: int
    """bit/s guaranteed to reservations, as read back."""
    entries: int
    """Groups of packets that are told apart, as read back."""
    trouble: str
    """Why it is not shaped as it shall be; empty if it is."""


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """Something that was not as it shall be, and was put right."""

    at: int
    """UNIX seconds."""
    line: str
    ids: list[str]
    """The reservations it is about."""
    what: str
    before: str
    """As it was found."""
    after: str
    """As it shall be."""


@dataclass(frozen=True, slots=True)
class EnforcementView:
    """What makes packets of this node obey, and how that goes."""

    back_end: str
    """record, tc-nft, tc-u32 or openvswitch; empty while none works, and where there is no link."""
    effect: bool
    """Whether packets are treated as it says: not by a record, not while paused. With a trouble it is in doubt: what
    was in place goes on until it ends by itself."""
    paused: bool
    trouble: str
    """Why the back end does not work; empty if it does."""
    ways: list[Literal["out", "in"]]
    """Directions it shapes."""
    actions: list[ActionName]
    marks: bool
    """Whether it can mark packets."""
    expires: bool
    """Whether what it installs ends by itself when the agent is gone."""
    notes: list[str]
    """What an operator should know of its limits here."""
    lines: list[ShapedLine]
    installed: int
    """Reservations whose rules were read back as they shall be."""
    installing: int
    """Those that wait, for others to go or for their turn."""
    failed: int
    """Those that could not be put in place; it is tried again."""
    removing: int
    """Those that are over, and of which something is left."""
    reconciled: int | None
    """UNIX seconds: when everything was last read back; None: never."""
    differences: list[DifferenceView] = field(default_factory=list)
    """The last that were found, the newest first, at most 50."""
