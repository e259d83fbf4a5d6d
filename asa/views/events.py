"""What happened, as it is told. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
