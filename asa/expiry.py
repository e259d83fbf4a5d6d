"""What time does to reservations: holds that run out, and what is forgotten. No I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from asa.ledger import Ledger
from asa.lifecycle import Phases, State, gone, not_enforced, state_of
from asa.records import LIVING, Change, Plan, Reservation, ReservationState
from asa.reservations import LONGEST_WHY
from objectives.params import Params

KEY_S: Final = 86_400
"""An idempotency key is remembered this long."""


def lapsed(ledger: Ledger, now: int, most: int = 512) -> Plan[list[Reservation]]:
    """What was held or parked too long, and is no more."""
    changes: list[Change] = []
    for each in ledger.waiting.values():
        if each.state is not ReservationState.PREPARED and state_of(each, now) is State.ENDED:
            held = each.state is ReservationState.HELD
            why = "nobody confirmed it in time" if held else f"it could not be placed in time: {each.why}"
            new = replace(each, state=ReservationState.LAPSED, why=why[:LONGEST_WHY], changed=now)
            changes.append(Change(each, new))
            if len(changes) >= most:
                break
    return Plan(tuple(changes), [each.after for each in changes if isinstance(each.after, Reservation)])


def elapsed(ledger: Ledger, now: int, params: Params, most: int = 512, phases: Phases = not_enforced) -> Plan[None]:
    """The garbage collector's: reservations nobody may look at any more, and idempotency keys.

    What the data plane still has is not forgotten, or nobody would know whose it is.
    """
    changes: list[Change] = []
    for reservation in ledger.reservations.values():
        if reservation.state in LIVING - {ReservationState.BOOKED}:
            continue
        ended = reservation.window.end if reservation.state is ReservationState.BOOKED else reservation.changed
        old = ended is not None and ended + params["history"] <= now and ended <= ledger.floor
        if old and gone(phases(reservation, now)):
            changes.append(Change(reservation, None))
            if len(changes) >= most:
                break
    changes += [Change(each, None) for each in ledger.onces.values() if each.at + KEY_S <= now]
    return Plan(tuple(changes[:most]), None)
