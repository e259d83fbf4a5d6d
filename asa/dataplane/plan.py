"""What packets shall get: the desired state of a node's data plane, as a whole. No I/O.

A *line* is one direction of an interface. An *entry* is what the packets of a reservation - or of several with the very
same packets - get on a line. A plan is everything there shall be; what is not in it shall not be there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, Literal

from asa.dataplane.match import Match
from asa.errors import BadRequest
from asa.flows import InvalidFlow, Mac
from asa.traffic import MAX_DSCP
from objectives.reach import Prefix

LOWEST_RATE: Final = 8
"""bit/s: the kernel counts whole bytes a second."""

MAX_PRIORITY: Final = 7
"""The kernel's HTB has priorities 0..7; 0 borrows first."""

DEFAULT_PRIORITY: Final = 7
"""Of packets nobody reserved anything for."""

INTERFACE: Final = r"(?!-|\.{1,2}(?::|\Z))[A-Za-z0-9_.@+-]{1,15}"
"""Names of interfaces that can be shaped: fewer than the kernel takes (dev_valid_name() in net/core/dev.c), for they
get into the input of tc, nft and ip, where others have a meaning."""


class Action(StrEnum):
    GUARANTEE = "guarantee"
    """Its share of the line, and its marking."""
    KEEP = "keep"
    """Passthrough: no share, and the marking it came with."""
    STEER = "steer"
    """Through middleboxes, in order."""
    MIRROR = "mirror"
    """A copy to somewhere else."""


@dataclass(frozen=True, slots=True)
class Share:
    """bit/s, whole bytes a second. What is between guarantee and ceiling is borrowed, if others leave it."""

    guarantee: int
    ceiling: int
    priority: int = 1
    """0..7: who borrows first."""

    def __post_init__(self) -> None:
        if not LOWEST_RATE <= self.guarantee <= self.ceiling:
            raise BadRequest(f"a guarantee of {self.guarantee} bit/s below a ceiling of {self.ceiling}")
        if self.guarantee % 8 or self.ceiling % 8:
            raise BadRequest("a share is of whole bytes a second")
        if not 0 <= self.priority <= MAX_PRIORITY:
            raise BadRequest(f"a priority is 0..{MAX_PRIORITY}, not {self.priority!r:.20}")


@dataclass(frozen=True, slots=True)
class Line:
    """One direction of an interface, shaped to ``rate`` bit/s, of which ``floor`` is of packets nobody reserved for; it
    is 0 only where packets are left alone anyway.

    Of those packets the ones from ``vouched`` (empty: from everywhere) lose the markings ``cleared``: DSCPs that only
    a reservation gives.
    """

    interface: str
    way: Literal["out", "in"]
    rate: int
    floor: int
    cleared: tuple[int, ...] = ()
    vouched: tuple[Prefix, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.interface, str) or not re.fullmatch(INTERFACE, self.interface):
            raise BadRequest(
                f"{self.interface!a:.40} is no interface that can be shaped",
                hint="1..15 letters, digits, _ . @ + or -, and no - at the start",
            )
        if self.way not in ("out", "in"):
            raise BadRequest(f"a line goes out or in, not {self.way!a:.20}")
        if not all(type(each) is int and 0 <= each <= MAX_DSCP for each in self.cleared):
            raise BadRequest(f"a DSCP is 0..{MAX_DSCP}, not {self.cleared!a:.40}")
        if self.rate < LOWEST_RATE or not 0 <= self.floor <= self.rate or self.rate % 8 or self.floor % 8:
            raise BadRequest(f"a line of {self.rate} bit/s with a floor of {self.floor}")

    @property
    def name(self) -> str:
        """As reservations call the resource: ``eth0:out``."""
        return f"{self.interface}:{self.way}"

    @property
    def guaranteeable(self) -> int:
        """bit/s: the guarantees of all its entries are not more than this."""
        return self.rate - self.floor


Key = tuple[str, Action, frozenset[Match]]
"""What makes an entry the same one: the line, the action, the packets. Not whose it is and how much it gets."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``ids``: the reservations it is for, sorted. ``expires``: UNIX s when it ends by itself unless it is refreshed.
    Raises BadRequest."""

    line: str
    action: Action
    matches: frozenset[Match]
    ids: tuple[str, ...]
    expires: int
    share: Share | None = None
    """GUARANTEE only."""
    dscp: int | None = None
    """What its packets are marked with, 0..63; None leaves the marking alone."""
    through: tuple[str, ...] = ()
    """STEER only: addresses or MAC addresses of the middleboxes."""
    output: str = ""
    """MIRROR only: address or MAC address of who gets the copies."""
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.matches:
            raise BadRequest("an entry of every packet")
        if (self.action is Action.GUARANTEE) != (self.share is not None):
            raise BadRequest(f"{self.action} and the share {self.share}")
        if (self.action is Action.STEER) != bool(self.through) or (self.action is Action.MIRROR) != bool(self.output):
            raise BadRequest(f"{self.action} through {self.through} to {self.output!r}")
        for each in (*self.through, *filter(None, (self.output,))):
            if not _is_host(each):
                raise BadRequest(f"{each!a:.60} is no address and no MAC address")
        if self.dscp is not None and not 0 <= self.dscp <= MAX_DSCP:
            raise BadRequest(f"a DSCP is 0..{MAX_DSCP}, not {self.dscp!r:.20}")
        object.__setattr__(self, "key", (self.line, self.action, self.matches))


def _is_host(text: str) -> bool:
    try:
        # The scope of an IPv6 address is free text.
        return str(ip_address(text)) == text and "%" not in text
    except ValueError:
        pass
    try:
        Mac(text)
    except InvalidFlow:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Plan:
    """Raises BadRequest if an entry is on no line, two of one action want the same packets of a line, or a line has
    more guarantees than it can keep."""

    lines: tuple[Line, ...] = ()
    entries: Mapping[Key, Entry] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        lines = {each.name: each for each in self.lines}
        guaranteed = dict.fromkeys(lines, 0)
        seen: set[tuple[str, Action, Match]] = set()
        for key, entry in self.entries.items():
            if key != entry.key or entry.line not in lines:
                raise BadRequest(f"an entry of {entry.ids} on {entry.line}, which is no line")
            if entry.share is not None:
                guaranteed[entry.line] += entry.share.guarantee
            for match in entry.matches:
                if (spot := (entry.line, entry.action, match)) in seen:
                    raise BadRequest(f"two entries want the same packets on {entry.line}: {match}")
                seen.add(spot)
        for name, line in lines.items():
            if guaranteed[name] > line.guaranteeable:
                raise BadRequest(f"{guaranteed[name]} bit/s guaranteed on {name}, which has {line.guaranteeable}")

    @classmethod
    def unchecked(cls, lines: tuple[Line, ...], entries: Mapping[Key, Entry]) -> Plan:
        """For who sees to it that what is checked here holds: checking thousands of entries takes ten milliseconds."""
        made = object.__new__(cls)
        object.__setattr__(made, "lines", lines)
        object.__setattr__(made, "entries", entries)
        return made
