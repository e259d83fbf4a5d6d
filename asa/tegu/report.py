"""What became of each line of a checkpoint: its number, outcome, and why. No I/O.

No text here holds anything of the file but ids, kinds and names of projects, each checked before: cookies and tokens
stand in clear in a checkpoint, also in lines that cannot be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a line is about; the kinds of pledges are in the order of Tegu's ``ptype``."""

    TWO_WAY = "two-way"
    STEERING = "steering"
    MIRROR = "mirror"
    ONE_WAY = "one-way"
    PASSTHROUGH = "passthrough"
    CAP = "cap"
    NONE = ""
    """Not to be told."""


PTYPES: Final[Mapping[int, Kind]] = {
    0: Kind.TWO_WAY,
    1: Kind.STEERING,
    2: Kind.MIRROR,
    3: Kind.ONE_WAY,
    4: Kind.PASSTHROUGH,
}

LOST: Final[Mapping[Kind, str]] = {
    Kind.TWO_WAY: "whether IPv6 was forced; a start before Tegu was last restarted",
    Kind.STEERING: "whether IPv6 was forced; a start before Tegu was last restarted",
    Kind.MIRROR: "a start before Tegu was last restarted",
    Kind.ONE_WAY: "the VLAN, mostly the protocol, whether IPv6 was forced; a start before Tegu was last restarted",
    Kind.PASSTHROUGH: "the protocol with its address and port; a start before Tegu was last restarted",
}
"""What Tegu does not write, or not always, so that no reader can tell whether it was asked for."""


class Code(StrEnum):
    """What became of a line, for programs; never changes."""

    TAKEN = "taken"
    EXPIRED = "expired"
    UNPARSABLE = "unparsable"
    NOT_UTF8 = "not-utf-8"
    TOO_LONG = "too-long"
    CUT_OFF = "cut-off"
    NOT_READ = "not-read"
    EMPTY = "empty"
    UNKNOWN_KIND = "unknown-kind"
    DUPLICATE_ID = "duplicate-id"
    ZERO_BANDWIDTH = "zero-bandwidth"
    BAD_FIELD = "bad-field"
    BAD_HOST = "bad-host"
    BAD_WINDOW = "bad-window"


class Refused(Exception):
    """What a line says cannot be taken over. ``why`` quotes nothing of the line."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``notes`` are what an operator should look at although it was taken over."""

    line: int
    """From 1; that of the first line concerned."""
    code: Code
    kind: Kind = Kind.NONE
    id: str = ""
    """Of a pledge, or a cap's project; empty if there is none that can be shown."""
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def taken(self) -> bool:
        return self.code is Code.TAKEN

    def __str__(self) -> str:
        what = " ".join(each for each in (self.kind.value, self.id) if each)
        said = "; ".join(each for each in (self.why, *self.notes) if each)
        return f"line {self.line}:{' ' + what + ':' if what else ''} {self.code.value}{': ' + said if said else ''}"


@dataclass(frozen=True, slots=True)
class Report:
    """All lines but blank ones, in their order."""

    entries: tuple[Entry, ...]

    def counts(self) -> dict[str, int]:
        """How many lines each code stands at."""
        return dict(Counter(each.code.value for each in self.entries))

    def lost(self) -> dict[str, str]:
        """By kind of the pledges taken over, what a checkpoint never says."""
        there = {each.kind for each in self.entries if each.taken}
        return {kind.value: text for kind, text in LOST.items() if kind in there}

    def text(self) -> str:
        """For an operator; one line for each entry, then what is lost and the counts."""
        lines = [str(each) for each in self.entries]
        lines += [f"not in a checkpoint, {kind}: {text}" for kind, text in self.lost().items()]
        lines.append(", ".join(f"{count} {code}" for code, count in self.counts().items()) or "nothing to read")
        return "\n".join(lines)
