"""The states of what is on disk, and which may follow which: one transition table each. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class GivenState(StrEnum):
    """A transfer at the giver (design: exactly-once transfer)."""

    ESCROW = "escrow"
    """The blocks left the pool; whose they are depends on the requester."""
    CLOSED = "closed"
    """They are the requester's."""
    RETURNED = "returned"
    """They are back in the pool."""
    FORFEITED = "forfeited"
    """Back in the pool by an operator's word, the requester never to return."""
    LAPSED = "lapsed"
    """Their window has passed, whosever they were."""


class TakenState(StrEnum):
    """A transfer at the requester."""

    ACCEPTED = "accepted"
    """The blocks are in the pool; the giver may still ask."""
    CONFIRMED = "confirmed"
    """The giver has closed it, or the window has passed: nobody will ask."""
    REFUSED = "refused"
    """They never were and never will be in the pool."""


class Kind(StrEnum):
    """What a reservation is for (docs/reservations.md)."""

    TWO_WAY = "two-way"
    """Bandwidth both ways, a rate each."""
    ONE_WAY = "one-way"
    """Bandwidth from the source to the destination."""
    PASSTHROUGH = "passthrough"
    """Packets that keep the DSCP they come with; no bandwidth."""
    STEERING = "steering"
    """Packets that go through middleboxes; no bandwidth."""
    MIRRORING = "mirroring"
    """Packets of which a copy goes elsewhere; no bandwidth."""


BANDWIDTH: Final = frozenset({Kind.TWO_WAY, Kind.ONE_WAY})
"""The kinds that reserve some."""


class ReservationState(StrEnum):
    """What is on disk of a reservation's life; the clock and the data plane tell the rest (:mod:`asa.lifecycle`)."""

    HELD = "held"
    """Its capacity is kept until a deadline, unless it is confirmed before."""
    PREPARED = "prepared"
    """Its capacity is kept until the agent at the other end has decided."""
    BOOKED = "booked"
    PARKED = "parked"
    """It cannot be placed now and takes nothing; it is tried again."""
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    """Held or parked, and nothing came of it in time."""


TAKING: Final = frozenset({ReservationState.HELD, ReservationState.PREPARED, ReservationState.BOOKED})
"""The states in which a reservation takes capacity."""

LIVING: Final = TAKING | {ReservationState.PARKED}
"""The states in which another of the same flow would be its duplicate."""

WAITING: Final = frozenset({ReservationState.HELD, ReservationState.PREPARED, ReservationState.PARKED})
"""The states whose end is not the consumer's alone."""


GIVEN: Final[Mapping[GivenState | None, frozenset[GivenState | None]]] = {
    None: frozenset({GivenState.ESCROW}),
    GivenState.ESCROW: frozenset({GivenState.CLOSED, GivenState.RETURNED, GivenState.FORFEITED, GivenState.LAPSED}),
    GivenState.CLOSED: frozenset({None}),
    GivenState.RETURNED: frozenset({None}),
    GivenState.FORFEITED: frozenset({None}),
    GivenState.LAPSED: frozenset({None}),
}
"""The transition table of :class:`Given`; None is no record."""

TAKEN: Final[Mapping[TakenState | None, frozenset[TakenState | None]]] = {
    None: frozenset({TakenState.ACCEPTED, TakenState.REFUSED}),
    TakenState.ACCEPTED: frozenset({TakenState.CONFIRMED}),
    TakenState.CONFIRMED: frozenset({None}),
    TakenState.REFUSED: frozenset({None}),
}
"""The transition table of :class:`Taken`."""

RESERVATION: Final[Mapping[ReservationState | None, frozenset[ReservationState | None]]] = {
    None: frozenset(
        {ReservationState.HELD, ReservationState.PREPARED, ReservationState.BOOKED, ReservationState.PARKED}
    ),
    ReservationState.HELD: frozenset(
        {ReservationState.HELD, ReservationState.BOOKED, ReservationState.CANCELLED, ReservationState.LAPSED}
    ),
    ReservationState.PREPARED: frozenset(
        {ReservationState.HELD, ReservationState.BOOKED, ReservationState.CANCELLED, None}
    ),
    ReservationState.BOOKED: frozenset({ReservationState.BOOKED, ReservationState.CANCELLED, None}),
    ReservationState.PARKED: frozenset(
        {ReservationState.PARKED, ReservationState.BOOKED, ReservationState.CANCELLED, ReservationState.LAPSED}
    ),
    ReservationState.CANCELLED: frozenset({None}),
    ReservationState.LAPSED: frozenset({None}),
}
"""The transition table of :class:`Reservation`. A state to itself is a change of rate, window or place."""


class VerdictState(StrEnum):
    ACCEPTED = "accepted"
    NEVER = "never"


VERDICT: Final[Mapping[VerdictState | None, frozenset[VerdictState | None]]] = {
    None: frozenset({VerdictState.ACCEPTED, VerdictState.NEVER}),
    VerdictState.ACCEPTED: frozenset({None}),
    VerdictState.NEVER: frozenset({None}),
}
"""The transition table of :class:`Verdict`."""
