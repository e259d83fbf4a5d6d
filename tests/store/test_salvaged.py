"""What a new instance goes on with of reservations, caps and what is between two agents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asa.records import Cap, Notice, Pact, Reservation, ReservationState, Verdict, VerdictState
from asa.salvaged import kept
from objectives import Window
from tests.store.examples import FULL, NOW, PEER, reservation

HELD = replace(FULL, window=Window(NOW, NOW + 600), until=NOW + 60)
BOOKED = replace(HELD, state=ReservationState.BOOKED, until=None)
TXN = b"1" * 16


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("state", [each for each in ReservationState if each is not ReservationState.PREPARED])
def test_reservations_nobody_is_deciding_about_are_kept_as_they_are(whole: bool, state: ReservationState) -> None:
    until = NOW + 60 if state is ReservationState.HELD else None
    records = [replace(FULL, state=state, until=until), reservation(1)]
    assert kept(records, whole, (), NOW) == records


@pytest.mark.parametrize(
    ("now_is", "pact", "becomes"),
    [
        # New here: the capacity was kept until the other agent had decided.
        (replace(HELD, state=ReservationState.PREPARED, until=None), Pact(TXN, PEER, None, HELD, NOW), HELD),
        (replace(BOOKED, state=ReservationState.PREPARED), Pact(TXN, PEER, None, BOOKED, NOW), BOOKED),
        (replace(BOOKED, state=ReservationState.PREPARED), None, BOOKED),
        # A confirmation, and a hold that was to be changed: without a deadline while it is open.
        (replace(HELD, until=None), Pact(TXN, PEER, HELD, BOOKED, NOW), BOOKED),
        (
            replace(HELD, until=None),
            Pact(TXN, PEER, HELD, replace(HELD, until=NOW + 90), NOW),
            replace(HELD, until=NOW + 90),
        ),
        (replace(HELD, until=None), None, BOOKED),
        # The most of before and after.
        (replace(BOOKED, rate=99), Pact(TXN, PEER, replace(BOOKED, rate=99), BOOKED, NOW), replace(BOOKED, rate=99)),
        # Cancelled while the other agent was deciding.
        (
            replace(BOOKED, state=ReservationState.CANCELLED),
            Pact(TXN, PEER, BOOKED, BOOKED, NOW),
            replace(BOOKED, state=ReservationState.CANCELLED),
        ),
    ],
)
def test_what_another_agent_was_deciding_about_is_what_it_may_have_become(
    now_is: Reservation, pact: Pact | None, becomes: Reservation
) -> None:
    records = [now_is, *([pact] if pact is not None else [])]
    for order in records, records[::-1]:
        assert kept(order, False, (), NOW) == [becomes]


def test_caps_are_kept_and_what_was_between_two_agents_is_not() -> None:
    cap = Cap("*", "eth0:out", 0, False)
    between = [
        Pact(TXN, PEER, None, FULL, NOW),
        Verdict(TXN, PEER, "r-1", VerdictState.ACCEPTED, NOW),
        Notice("r-1", PEER, "cancelled", NOW, None),
    ]
    for whole in True, False:
        assert kept([*between, cap], whole, (), NOW) == [cap]
