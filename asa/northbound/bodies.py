"""What a request may carry: bodies and queries as types, which decode, check and document themselves.

Rates are bit/s and times UNIX seconds, integers both, unless a field says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from asa.northbound.limits import (
    MAX_BOXES,
    MAX_END,
    MAX_HOLD_S,
    MAX_INT,
    MAX_LABELS,
    MAX_LIMIT,
    MAX_NAME,
    MAX_PARAMS,
    MAX_PATIENCE_MS,
    MAX_TEXT,
    MAX_WAIT_MS,
)

# Not "$", which to Python also stands before a last line feed.
_LINE = r"^[^\x00-\x1f\x7f]*(?![\s\S])"

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, pattern=_LINE)]
Text = Annotated[str, Meta(max_length=MAX_TEXT, pattern=_LINE)]
End = Annotated[str, Meta(max_length=MAX_END, pattern=_LINE)]
Host = Annotated[str, Meta(min_length=1, max_length=MAX_END, pattern=_LINE)]
Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
Positive = Annotated[int, Meta(ge=1, le=MAX_INT)]
Rate = Annotated[int, Meta(ge=1, le=MAX_INT, description="bit/s")]
Time = Annotated[int, Meta(ge=0, le=MAX_INT, description="UNIX seconds")]
Patience = Annotated[
    int,
    Meta(
        ge=0,
        le=MAX_PATIENCE_MS,
        description="Milliseconds peers may be asked for what is missing, and for the other end; 0: not at all",
    ),
]
Number = Annotated[int, Meta(ge=-MAX_INT - 1, le=MAX_INT)]
Kind = Literal["two-way", "one-way", "passthrough", "steering", "mirroring"]
State = Literal[
    "held", "parked", "pending", "installing", "active", "paused", "failed", "ending", "ended", "cancelled", "all"
]


class Checked(Struct, frozen=True, forbid_unknown_fields=True):
    """Refuses what it does not know."""


class Reserve(Checked, frozen=True):
    """A consumer's wish; the fields and defaults of :class:`asa.views.ReservationRequest`."""

    pool: Annotated[Text, Meta(description="Of which pool; empty: what follows from the route")] = ""
    rate: Annotated[
        Count, Meta(description="bit/s from the source to the destination; 0 for the kinds that reserve none")
    ] = 0
    start: Annotated[Time | None, Meta(description="UNIX seconds; null: now")] = None
    end: Annotated[Time | None, Meta(description="UNIX seconds; null: for ever")] = None
    source: Annotated[
        End, Meta(description="Traffic from where: `PLACE[:PORT[/MASK]][{VLAN}]`, a host by its name, or any")
    ] = "any"
    destination: Annotated[End, Meta(description="Traffic to where, written as the source is")] = "any"
    owner: Annotated[Text, Meta(description="Whom it is for: the project, whose caps count")] = ""
    labels: Annotated[list[Name], Meta(max_length=MAX_LABELS, description="What it is for, in the owner's words")] = []
    patience_ms: Patience = 5_000
    dry_run: Annotated[bool, Meta(description="Tell whether it would be admitted here, and change nothing")] = False
    kind: Annotated[
        Kind,
        Meta(
            description="two-way: bandwidth both ways; one-way: bandwidth from the source to the destination."
            " Without bandwidth, passthrough: packets keep their marking; steering: they go through middleboxes;"
            " mirroring: a copy of them goes elsewhere"
        ),
    ] = "one-way"
    protocol: Annotated[Name, Meta(description="icmp, tcp, udp, icmpv6, sctp, a number 0..255, or any")] = "any"
    back: Annotated[Count, Meta(description="bit/s from the destination to the source; two-way only")] = 0
    traffic: Annotated[
        Name, Meta(description="The traffic class; `global_` before it keeps the marking on leaving the domain")
    ] = "default"
    through: Annotated[list[Host], Meta(max_length=MAX_BOXES, description="Middleboxes in order; steering only")] = []
    output: Annotated[End, Meta(description="Where the copies go; mirroring only")] = ""
    hold_s: Annotated[
        int, Meta(ge=0, le=MAX_HOLD_S, description="Seconds to hold it until it is confirmed; 0: book it")
    ] = 0
    park: Annotated[bool, Meta(description="Keep what cannot be placed now, and try again until its end")] = False


class Change(Checked, frozen=True):
    """What to change of a reservation, at once or not at all; what is left out stays."""

    rate: Rate | None = None
    back: Annotated[Rate | None, Meta(description="bit/s from the destination to the source; two-way only")] = None
    end: Annotated[Time | Literal["never"] | None, Meta(description='UNIX seconds, or "never": for ever')] = None
    patience_ms: Patience = 5_000


class Confirm(Checked, frozen=True):
    """How long the agent at the other end may be asked."""

    patience_ms: Patience = 5_000


class Refresh(Checked, frozen=True):
    """Which host has moved."""

    host: Annotated[Host, Meta(description="An end, as it was given or resolved")]


class Cap(Checked, frozen=True):
    """What a project may have booked of a resource at any instant; what is booked above it stays."""

    project: Annotated[Text, Meta(description="The owner; `*`: every one without a cap of its own")]
    resource: Annotated[Name, Meta(description="A pool, one direction of an interface (`eth0:out`), or `*`: each")]
    amount: Annotated[Count | None, Meta(description="bit/s, or percent; 0 bans; null removes the cap")]
    percent: Annotated[bool, Meta(description="The amount is percent of the whole resource, 0..100")] = False


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
        State | None, Meta(description="Only in this state; without it those that are not over, `all` for every one")
    ] = None
    owner: Annotated[Text | None, Meta(description="Only of this owner")] = None
    kind: Annotated[Kind | None, Meta(description="Only of this kind")] = None
    label: Annotated[Name | None, Meta(description="Only with this label")] = None
    host: Annotated[Host | None, Meta(description="Only with this end, as it was given or resolved")] = None
    after: Annotated[Name | None, Meta(description="Only those behind this id: the `next` of the page before")] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="At most so many")] = 100


class CancelQuery(Checked, frozen=True):
    """Which of the reservations that the secret opens."""

    owner: Annotated[Text | None, Meta(description="Only of this owner; the administrator has to name one")] = None


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
