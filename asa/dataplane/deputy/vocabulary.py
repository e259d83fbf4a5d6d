"""What an agent says to its deputy, and hears from it: a fixed vocabulary. No I/O.

Every frame is one JSON object whose ``is`` says what it is. The agent asks, the deputy answers, in turn; a long
question or answer comes in several frames, of which all but the last have ``more``. Nothing in it is a command, and no
text that gets into one is free: it says which lines and entries there shall be (:mod:`asa.dataplane.plan`).

Entries have numbers, which the agent gives and which mean something on one connection only.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from asa.dataplane.backend import MOST_STRAYS
from asa.dataplane.plan import INTERFACE, MAX_PRIORITY, Action
from asa.traffic import MAX_DSCP
from objectives.fields import MAX_RATE, MAX_TIME

VERSION: Final = 1

MOST_LINES: Final = 256
MOST_ENTRIES: Final = 100_000
"""Of one agent; a line has fewer classes than that."""
MOST_MATCHES: Final = 1_024
"""Of one entry."""
MOST_IDS: Final = 64
"""Of an entry; those beyond, which only texts could name, are not told."""
MOST_ITEMS: Final = 2_000
"""Entries or spots asked for, or told of, in one frame."""
MOST_FRAMES: Final = 500
"""Of one question or answer."""
LONGEST_TEXT: Final = 400
"""Characters of what is meant for people; the rest is cut off."""

NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
"""Of a reservation."""

Number = Annotated[int, Meta(ge=0, le=2**53)]
_Rate = Annotated[int, Meta(ge=0, le=MAX_RATE)]
_Dscp = Annotated[int, Meta(ge=0, le=MAX_DSCP)]
_PortNumber = Annotated[int, Meta(ge=0, le=0xFFFF)]
_Place = Annotated[str, Meta(pattern=r"\A[0-9a-f:./]{3,49}\Z")]
_HostText = Annotated[str, Meta(pattern=r"\A[0-9a-f:.]{0,45}\Z")]
_Interface = Annotated[str, Meta(pattern=rf"\A(?:{INTERFACE})\Z")]
_LineName = Annotated[str, Meta(pattern=rf"\A(?:{INTERFACE}):(?:out|in)\Z")]
_Name = Annotated[str, Meta(pattern=rf"\A{NAME}\Z")]
_Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]


class _Frame(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class MatchFrame(_Frame, frozen=True):
    family: Annotated[int, Meta(ge=0, le=6)]
    source: _Place | None = None
    destination: _Place | None = None
    protocol: Annotated[int, Meta(ge=0, le=255)] | None = None
    source_port: tuple[_PortNumber, _PortNumber] | None = None
    """Number and mask."""
    destination_port: tuple[_PortNumber, _PortNumber] | None = None
    vlan: Annotated[int, Meta(ge=1, le=4_094)] | None = None


class ShareFrame(_Frame, frozen=True):
    guarantee: _Rate
    ceiling: _Rate
    priority: Annotated[int, Meta(ge=0, le=MAX_PRIORITY)]


class LineFrame(_Frame, frozen=True):
    interface: _Interface
    way: Literal["out", "in"]
    rate: _Rate
    floor: _Rate
    cleared: Annotated[tuple[_Dscp, ...], Meta(max_length=MAX_DSCP + 1)] = ()
    vouched: Annotated[tuple[_Place, ...], Meta(max_length=1_024)] = ()


class KeyFrame(_Frame, frozen=True):
    line: _LineName
    action: Action
    matches: Annotated[tuple[MatchFrame, ...], Meta(min_length=1, max_length=MOST_MATCHES)]


class EntryFrame(KeyFrame, frozen=True):
    number: Number
    expires: Annotated[int, Meta(ge=0, le=MAX_TIME)]
    ids: Annotated[tuple[_Name, ...], Meta(max_length=MOST_IDS)] = ()
    share: ShareFrame | None = None
    dscp: _Dscp | None = None
    through: Annotated[tuple[_HostText, ...], Meta(max_length=64)] = ()
    output: _HostText = ""


class FoundFrame(_Frame, frozen=True):
    group: Annotated[int, Meta(ge=0, le=2**32)]
    share: ShareFrame | None = None
    dscp: _Dscp | None = None
    expires: float | None = None
    through: Annotated[tuple[_Text, ...], Meta(max_length=64)] = ()
    output: _Text = ""


class CountersFrame(_Frame, frozen=True):
    number: Number
    bytes: int
    packets: int
    dropped: int
    borrowed: int
    backlog: int
    overlimits: int = 0


# -- what an agent says


class _Said(_Frame, frozen=True, tag_field="is", tag=str.lower):
    pass


class Hello(_Said, frozen=True):
    """The first frame. The first change brings all lines and entries."""

    version: Annotated[int, Meta(ge=1, le=2**31)]


class Probe(_Said, frozen=True):
    lines: Annotated[tuple[LineFrame, ...], Meta(max_length=MOST_LINES)]


class Change(_Said, frozen=True):
    """Make the plan another one, and the system be as it says. ``lines``: all there shall be, None for those there
    are. ``gone`` comes before ``come``; what comes with a known number is in the place of what had it."""

    lines: Annotated[tuple[LineFrame, ...], Meta(max_length=MOST_LINES)] | None = None
    gone: Annotated[tuple[Number, ...], Meta(max_length=MOST_ENTRIES)] = ()
    come: Annotated[tuple[EntryFrame, ...], Meta(max_length=MOST_ITEMS)] = ()
    more: bool = False


class Read(_Said, frozen=True):
    """``everything``, or some entries: by number, or with their key those that have none."""

    everything: bool = False
    numbers: Annotated[tuple[Number, ...], Meta(max_length=MOST_ITEMS)] = ()
    keys: Annotated[tuple[KeyFrame, ...], Meta(max_length=MOST_ITEMS)] = ()


class Count(_Said, frozen=True):
    pass


class Clear(_Said, frozen=True):
    pass


Asked = Hello | Probe | Change | Read | Count | Clear

# -- what a deputy answers


class Welcome(_Said, frozen=True):
    version: int
    backend: _Text


class Able(_Said, frozen=True):
    ways: tuple[Literal["out", "in"], ...]
    actions: tuple[Action, ...]
    marks: bool
    expires: bool
    notes: Annotated[tuple[_Text, ...], Meta(max_length=64)] = ()


class Failure(_Frame, frozen=True):
    number: Number
    why: _Text


class Changed(_Said, frozen=True):
    """Which entries could not be put in place, or taken away."""

    failed: Annotated[tuple[Failure, ...], Meta(max_length=MOST_ITEMS)] = ()
    more: bool = False


class OfEntry(_Frame, frozen=True):
    """The spot of the match at ``at`` in the order an entry came with."""

    number: Number
    at: Annotated[int, Meta(ge=0, lt=MOST_MATCHES)]
    found: FoundFrame


class Other(_Frame, frozen=True):
    """A spot of no entry."""

    line: _LineName
    action: Action
    match: MatchFrame
    found: FoundFrame


class There(_Said, frozen=True):
    lines: Annotated[dict[_LineName, _Text], Meta(max_length=MOST_LINES)] = {}
    entries: Annotated[tuple[OfEntry, ...], Meta(max_length=MOST_ITEMS)] = ()
    others: Annotated[tuple[Other, ...], Meta(max_length=MOST_ITEMS)] = ()
    strays: Annotated[tuple[_Text, ...], Meta(max_length=MOST_STRAYS)] = ()
    more: bool = False


class Counted(_Said, frozen=True):
    entries: Annotated[tuple[CountersFrame, ...], Meta(max_length=MOST_ITEMS)] = ()
    more: bool = False


class Cleared(_Said, frozen=True):
    pass


class Refused(_Said, frozen=True):
    code: Annotated[str, Meta(pattern=r"\A[a-z-]{1,64}\Z")]
    message: _Text
    hint: _Text = ""


Answer = Welcome | Able | Changed | There | Counted | Cleared | Refused
