"""What a request may carry: bodies and queries as types, which decode, check and document themselves.

Rates are bit/s and times UNIX seconds, integers both, unless a field says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from asa.northbound.limits import MAX_INT, MAX_LIMIT, MAX_NAME, MAX_PARAMS, MAX_PATIENCE_MS, MAX_TEXT, MAX_WAIT_MS

# Not "$", which to Python also stands before a last line feed.
_LINE = r"^[^\x00-\x1f\x7f]*(?![\s\S])"

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, pattern=_LINE)]
Text = Annotated[str, Meta(max_length=MAX_TEXT, pattern=_LINE)]
Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
Positive = Annotated[int, Meta(ge=1, le=MAX_INT)]
Rate = Annotated[int, Meta(ge=1, le=MAX_INT, description="bit/s")]
Time = Annotated[int, Meta(ge=0, le=MAX_INT, description="UNIX seconds")]
Patience = Annotated[
    int,
    Meta(ge=0, le=MAX_PATIENCE_MS, description="Milliseconds peers may be asked for what is missing; 0: not at all"),
]
Number = Annotated[int, Meta(ge=-MAX_INT - 1, le=MAX_INT)]
State = Literal["pending", "active", "ended", "cancelled", "all"]


class Checked(Struct, frozen=True, forbid_unknown_fields=True):
    """Refuses what it does not know."""


class Reserve(Checked, frozen=True):
    """A consumer's wish; the fields and defaults of :class:`asa.views.ReservationRequest`."""

    pool: Name
    rate: Rate
    start: Annotated[Time | None, Meta(description="UNIX seconds; null: now")] = None
    end: Annotated[Time | None, Meta(description="UNIX seconds; null: for ever")] = None
    source: Annotated[Text, Meta(description="Traffic from where")] = "any"
    destination: Annotated[Text, Meta(description="Traffic to where")] = "any"
    owner: Annotated[Text, Meta(description="Whom it is for")] = ""
    label: Annotated[Text, Meta(description="What it is for, in the owner's words")] = ""
    patience_ms: Patience = 5_000
    dry_run: Annotated[bool, Meta(description="Tell whether it would be admitted here, and change nothing")] = False


class Change(Checked, frozen=True):
    """What to change of a reservation, at once or not at all; what is left out stays."""

    rate: Rate | None = None
    end: Annotated[Time | Literal["never"] | None, Meta(description='UNIX seconds, or "never": for ever')] = None
    patience_ms: Patience = 5_000


class Seed(Checked, frozen=True):
    """Capacity of a pool at its origin: the pool's first, or more of it."""

    name: Name
    capacity: Rate
    at: Annotated[
        Count | None, Meta(description="bit/s: where on the pool's line it begins; null: behind all that is known")
    ] = None


class GoneForEver(Checked, frozen=True):
    """An operator's word that a peer will never come back."""

    confirm: Annotated[bool, Meta(description="Must be true")]


class AuditWish(Checked, frozen=True):
    """Which pool to audit."""

    pool: Annotated[Name | None, Meta(description="null: all")] = None


class Remove(Checked, frozen=True):
    """The name of the node to be removed, so that no other is by mistake."""

    confirm: Name


class Nothing(Checked, frozen=True):
    """No body, or an empty object."""


Params = Annotated[
    dict[Name, bool | Number],
    Meta(min_length=1, max_length=MAX_PARAMS, description="New values by the name of the parameter"),
]


class NoQuery(Checked, frozen=True):
    """No parameters."""


class ReservationsQuery(Checked, frozen=True):
    """Which reservations, and how many at a time."""

    pool: Annotated[Name | None, Meta(description="Only of this pool")] = None
    state: Annotated[
        State | None, Meta(description="Only in this state; without it those pending and active, `all` for every one")
    ] = None
    owner: Annotated[Text | None, Meta(description="Only of this owner")] = None
    after: Annotated[Name | None, Meta(description="Only those behind this id: the `next` of the page before")] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="At most so many")] = 100


class AvailabilityQuery(Checked, frozen=True):
    """Over which window, whether a rate would fit for a duration, and what peers would add."""

    pool: Name
    start: Annotated[Time | None, Meta(description="UNIX seconds; without it now")] = None
    end: Annotated[Time | None, Meta(description="UNIX seconds; without it as far as the policy's horizon")] = None
    rate: Annotated[Rate | None, Meta(description="bit/s for which the earliest start is sought")] = None
    duration: Annotated[Positive | None, Meta(description="Seconds it must last")] = None
    patience_ms: Annotated[
        int,
        Meta(
            ge=0, le=MAX_PATIENCE_MS, description="Milliseconds peers may be asked what they would add; 0: not at all"
        ),
    ] = 0


class TransfersQuery(Checked, frozen=True):
    """Which transfers."""

    in_doubt: Annotated[bool, Meta(description="Only those whose outcome is not known")] = False


class EventsQuery(Checked, frozen=True):
    """Which events, and how long to wait for one."""

    after: Annotated[int, Meta(ge=0, le=MAX_INT, description="Only those with a greater number")] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="At most so many")] = 100
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS, description="Milliseconds to wait until there is one")] = 0


class StreamQuery(Checked, frozen=True):
    """Where a stream begins."""

    after: Annotated[
        int, Meta(ge=0, le=MAX_INT, description="Only events with a greater number; Last-Event-ID goes before it")
    ] = 0
