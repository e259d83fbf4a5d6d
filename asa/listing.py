"""Reservations as they are shown, one by one and in pages. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asa.ledger import Ledger
from asa.lifecycle import LISTED, Phases, State, not_enforced, state_of
from asa.records import TAKING, Reservation
from asa.views import Enforced, Page, ReservationView

SCAN: Final = 4_096
"""Reservations looked at for one page, which bounds how long others wait."""

Seen = Callable[[Reservation, int], Enforced | None]
"""What is shown of the data plane, of a reservation now."""


def not_seen(reservation: Reservation, now: int) -> Enforced | None:
    """Of a node that only keeps the books."""
    return None


def view_of(
    reservation: Reservation,
    now: int,
    paused: bool = False,
    phases: Phases = not_enforced,
    enforced: Seen = not_seen,
) -> ReservationView:
    """One reservation, now."""
    state = state_of(reservation, now, paused, phases)
    seen = enforced(reservation, now)
    window = reservation.window
    remaining: int | None = 0
    if state is State.HELD and reservation.until is not None:
        remaining = reservation.until - now
    elif window.start > now and state in (State.PENDING, State.HELD, State.PARKED):
        remaining = window.start - now
    elif state not in (State.ENDED, State.CANCELLED, State.ENDING):
        remaining = None if window.end is None else window.end - now
    source, destination = (
        given or resolved
        for given, resolved in zip(reservation.names, (reservation.source, reservation.destination), strict=True)
    )
    return ReservationView(
        id=reservation.id,
        pool=reservation.pool,
        rate=reservation.rate,
        start=window.start,
        end=window.end,
        state=state.value,
        source=source,
        destination=destination,
        owner=reservation.owner,
        labels=list(reservation.labels),
        created=reservation.created,
        remaining_s=remaining,
        kind=reservation.kind.value,
        protocol=reservation.protocol,
        back=reservation.back,
        traffic=reservation.traffic,
        through=list(reservation.through),
        output=reservation.output,
        source_address=reservation.source,
        destination_address=reservation.destination,
        takes=_taken(reservation),
        partner=reservation.partner,
        held_until=reservation.until,
        secret=bool(reservation.secret),
        why=reservation.why or (seen.why if seen is not None else ""),
        enforcement=seen,
    )


def _taken(reservation: Reservation) -> dict[str, int]:
    """bit/s of each resource it takes now."""
    if reservation.state not in TAKING:
        return {}
    return {resource: amount for resource, amount in reservation.demand().items() if amount}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which reservations; None of a field is any. ``state`` None are those that are not over, ``all`` every one.

    ``pool``: any resource it takes. ``host``: one of its ends, as given or resolved, whatever its port and VLAN.
    """

    pool: str | None = None
    state: str | None = None
    owner: str | None = None
    kind: str | None = None
    label: str | None = None
    host: str | None = None

    def takes(self, each: Reservation, now: int, paused: bool, phases: Phases) -> bool:
        return (
            (self.pool is None or each.pool == self.pool or self.pool in each.demand())
            and (self.owner is None or each.owner == self.owner)
            and (self.kind is None or each.kind == self.kind)
            and (self.label is None or self.label in each.labels)
            and (self.host is None or names_host(each, self.host))
            and (self.state == "all" or self._is(state_of(each, now, paused, phases)))
        )

    def _is(self, state: State) -> bool:
        return state in LISTED if self.state is None else state == self.state


def page(
    ledger: Ledger,
    now: int,
    wanted: Filter,
    after: str | None = None,
    limit: int = 100,
    paused: bool = False,
    phases: Phases = not_enforced,
    enforced: Seen = not_seen,
) -> Page:
    """Reservations in order of id. SCAN of them are looked at: a page may be short, or empty, and still have a next."""
    found: list[ReservationView] = []
    last = None
    first = bisect_right(ledger.order, after or "")
    for identifier in ledger.order[first : first + SCAN]:
        last = identifier
        each = ledger.reservations[identifier]
        if wanted.takes(each, now, paused, phases):
            found.append(view_of(each, now, paused, phases, enforced))
            if len(found) == limit:
                break
    return Page(found, last if last is not None and last != ledger.order[-1] else None)


def names_host(reservation: Reservation, host: str) -> bool:
    """Whether an end is of a host, as it was given or resolved, whatever its port and VLAN."""
    ends = (reservation.source, reservation.destination, *reservation.names)
    return any(host in each and host in (each, _place(each)) for each in ends)


def _place(end: str) -> str:
    """An endpoint in text without its port and VLAN."""
    text = end.partition("{")[0]
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
