"""A reservation as two agents speak of it, each from its own side. No I/O."""

from __future__ import annotations

from dataclasses import replace

from asa.errors import BadRequest
from asa.records import Kind, Reservation, ReservationState
from objectives import InvalidValue, NodeId
from objectives.pact import Terms


def terms_of(reservation: Reservation) -> Terms:
    """What the agent at the other end is asked for: of two-way bandwidth the same seen from there, of any other kind,
    which only moves there, the same. Raises BadRequest for what is too much for a message."""
    ends, rates = (reservation.source, reservation.destination), (reservation.rate, reservation.back)
    if reservation.kind is Kind.TWO_WAY:
        ends, rates = ends[::-1], rates[::-1]
    try:
        return Terms(
            kind=reservation.kind.value,
            source=ends[0],
            destination=ends[1],
            protocol=reservation.protocol,
            rate=rates[0],
            back=rates[1],
            start=reservation.window.start,
            end=reservation.window.end,
            traffic=reservation.traffic,
            owner=reservation.owner,
            labels=reservation.labels,
            secret=reservation.secret,
            hold=reservation.until,
            pool=reservation.pool,
        )
    except InvalidValue as error:
        raise BadRequest(str(error)) from None


def asked_for(
    identifier: str, terms: Terms, partner: NodeId, now: int, existing: Reservation | None = None
) -> Reservation:
    """The reservation that ``terms`` of ``partner`` ask for, to be placed; an ``existing`` one with the same ends stays
    where it is (:func:`same_ends`)."""
    state = ReservationState.HELD if terms.hold is not None else ReservationState.BOOKED
    if existing is not None:
        new = replace(
            existing, rate=terms.rate, back=terms.back, window=terms.window, until=terms.hold, state=state, changed=now
        )
        moved = replace(
            new, source=terms.source, destination=terms.destination, protocol=terms.protocol, names=("", "")
        )
        return new if same_ends(existing, moved) else moved
    return Reservation(
        id=identifier,
        pool=terms.pool,
        rate=terms.rate,
        window=terms.window,
        state=state,
        created=now,
        changed=now,
        source=terms.source,
        destination=terms.destination,
        owner=terms.owner,
        labels=terms.labels,
        kind=Kind(terms.kind),
        protocol=terms.protocol,
        back=terms.back,
        traffic=terms.traffic,
        until=terms.hold,
        secret=terms.secret,
        partner=str(partner),
    )


def same_ends(one: Reservation, other: Reservation) -> bool:
    """Whether two reservations are of the same flow, whatever its ends are called."""
    return (one.source, one.destination, one.protocol) == (other.source, other.destination, other.protocol)
