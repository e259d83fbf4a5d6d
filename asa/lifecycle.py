"""The life of a reservation as a consumer sees it: states, and which may follow which. No I/O.

What is on disk decides first, then the clock, then whether the node's enforcement is paused, then what the data plane
says; so a restart changes nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asa.records import Reservation, ReservationState


class State(StrEnum):
    HELD = "held"
    """Its capacity is kept for a while; it is confirmed, or it lapses."""
    PARKED = "parked"
    """It cannot be placed now, takes nothing, and is tried again."""
    PENDING = "pending"
    """Booked, for a window that has not begun."""
    INSTALLING = "installing"
    """Its window has begun, and the data plane has not confirmed it yet."""
    ACTIVE = "active"
    PAUSED = "paused"
    """Its window has begun, and the node's enforcement is paused."""
    FAILED = "failed"
    """The data plane could not do it; it goes on trying."""
    ENDING = "ending"
    """It is over, and the data plane has not confirmed that it is gone."""
    ENDED = "ended"
    CANCELLED = "cancelled"


_OVER: Final = frozenset({State.ENDING, State.ENDED, State.CANCELLED})
_RUNNING: Final = frozenset({State.INSTALLING, State.ACTIVE, State.PAUSED, State.FAILED})

LIFE: Final[Mapping[State | None, frozenset[State | None]]] = {
    None: frozenset({State.HELD, State.PARKED, State.PENDING}) | _RUNNING,
    State.HELD: frozenset({State.PENDING, None}) | _RUNNING | _OVER,
    State.PARKED: frozenset({State.PENDING}) | _RUNNING | _OVER,
    State.PENDING: _RUNNING | _OVER,
    State.INSTALLING: _RUNNING - {State.INSTALLING} | _OVER,
    State.ACTIVE: _RUNNING - {State.ACTIVE} | _OVER,
    State.PAUSED: _RUNNING - {State.PAUSED} | _OVER,
    State.FAILED: _RUNNING - {State.FAILED} | _OVER,
    State.ENDING: frozenset({State.ENDED, State.CANCELLED}),
    State.ENDED: frozenset({None}),
    State.CANCELLED: frozenset({None}),
}
"""The transition table; None is not there. A hold of the agent at the other end that is refused leaves nothing behind.
"""

LISTED: Final = frozenset(State) - _OVER | {State.ENDING}
"""What is shown to who does not ask for those that are over."""


class Phase(StrEnum):
    """What the data plane says of a reservation."""

    ABSENT = "absent"
    INSTALLING = "installing"
    INSTALLED = "installed"
    FAILED = "failed"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the data plane has come with a reservation, and why it has not come further; empty if it has."""

    phase: Phase
    why: str = ""


Phases = Callable[[Reservation, int], Standing | None]
"""What the data plane says of a reservation at an instant, UNIX s; None: there is nothing of it to enforce, or the node
only keeps the books."""


def not_enforced(reservation: Reservation, now: int) -> Standing | None:
    """Of a node that only keeps the books."""
    return None


def gone(standing: Standing | None) -> bool:
    """Whether the data plane has nothing of a reservation."""
    return standing is None or standing.phase is Phase.ABSENT


_BEGUN: Final = {Phase.INSTALLED: State.ACTIVE, Phase.FAILED: State.FAILED, None: State.ACTIVE}


def state_of(reservation: Reservation, now: int, paused: bool = False, phases: Phases = not_enforced) -> State:
    """``now``: UNIX s. ``paused``: whether the node's enforcement is."""
    match reservation.state:
        case ReservationState.HELD | ReservationState.PREPARED:
            deadline = reservation.until
            lapsed = reservation.window.passed(now) or (deadline is not None and deadline <= now)
            return State.ENDED if lapsed else State.HELD
        case ReservationState.PARKED:
            return State.ENDED if reservation.window.passed(now) else State.PARKED
        case ReservationState.LAPSED:
            return State.ENDED
    cancelled = reservation.state is ReservationState.CANCELLED
    if cancelled or reservation.window.passed(now):
        if not gone(phases(reservation, now)):
            return State.ENDING
        return State.CANCELLED if cancelled else State.ENDED
    if reservation.window.start > now:
        return State.PENDING
    if paused:
        return State.PAUSED
    standing = phases(reservation, now)
    return _BEGUN.get(standing.phase if standing is not None else None, State.INSTALLING)


def over(reservation: Reservation, now: int) -> bool:
    """Whether it takes no more part in anything; the data plane may have to tidy up yet."""
    return state_of(reservation, now) in (State.ENDED, State.CANCELLED)
