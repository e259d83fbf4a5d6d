"""Which packets go to which class of the kernel's HTB: the interface of what tells them apart (nftables, u32). No I/O.

What both sides of it agree on - handles, numbers, the devices that stand for lines - is here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from asa.dataplane.backend import Abilities, Spot
from asa.dataplane.plan import Line

MAJOR: Final = 0x0A5A
"""The handle of our root qdiscs (``a5a:``), which is our mark on them."""

WHOLE: Final = 0x1
"""The class all others share: the line's rate."""

DEFAULT: Final = 0xFFFF
"""The class of packets nobody reserved anything for."""

FIRST: Final = 0x10
LAST: Final = 0xFFFE
"""Numbers of the classes of entries."""

LONGEST_NAME: Final = 15
"""Characters of an interface's name (IFNAMSIZ)."""


def device_of(line: str) -> str:
    """The interface whose queue is a line's: its own on the way out; on the way in an ifb, which has our mark in its
    name."""
    interface, _, way = line.rpartition(":")
    if way == "out":
        return interface
    name = f"asa-{interface}"
    if len(name) > LONGEST_NAME:
        name = f"asa-{hashlib.sha256(interface.encode()).hexdigest()[:10]}"
    return name


@dataclass(frozen=True, slots=True)
class Rule:
    """Where the packets of a spot go. ``number``: of the class; 0 is the default one. ``expires``: UNIX s."""

    number: int
    dscp: int | None
    expires: float | None


class Classifier(Protocol):
    """Raises EnforcementFailed and Unfit as the back end does. Only one thread at a time."""

    name: str
    redirects: bool
    """Whether it makes what comes in go through the device of a line itself. What is redirected to that before, by
    ``tc``, passes no nftables hook on the way."""
    filters: bool
    """Whether its rules are filters of the queues, each of which holds the class it leads to."""

    def probe(self, lines: Sequence[Line]) -> Abilities: ...

    def prepare(self, lines: Sequence[Line]) -> Mapping[str, str]:
        """Have what belongs to lines as a whole: chains, and what markings unreserved packets lose; what of lines that
        are no longer there goes. What is as it shall be is not interrupted. By line: why it could not be done."""
        ...

    def read(self, lines: Sequence[Line]) -> tuple[Mapping[Spot, Rule], Mapping[str, str], Sequence[str]]:
        """All rules; by line what is wrong with what :meth:`prepare` does, empty if nothing; strays in words."""
        ...

    def look(self, spots: Collection[Spot]) -> Mapping[Spot, Rule]:
        """Some rules, those that are there: quick for a few."""
        ...

    def amiss(self, lines: Collection[Line]) -> Mapping[str, str]:
        """By line what is wrong with what :meth:`prepare` does, empty if nothing: quick for a few, and as true as what
        was known of the rest."""
        ...

    def change(self, gone: Collection[Spot], come: Mapping[Spot, Rule]) -> Mapping[Spot, str]:
        """Take rules away, then put rules in place, in one go where the kernel lets that be; a spot in both is
        replaced without a gap. What could not be done, and why; the others are done all the same."""
        ...

    def clear(self) -> None: ...

    def close(self) -> None: ...
