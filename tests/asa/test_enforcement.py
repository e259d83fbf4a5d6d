"""What the rest of the agent reads of the data plane: never "in force" before the system was read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asa.dataplane.backend import Abilities, Counters
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Share
from asa.dataplane.proof import judged
from asa.enforcement import MOST_TOUCHED, Enforcement, Picture, Sampled
from asa.lifecycle import Phase, Standing, State, state_of
from asa.records import Change, Contact, Reservation, ReservationState
from objectives import NodeId, Window

NOW = 1_000
BOOKED = Reservation("r-1", "wan", 8_000, Window(NOW, NOW + 100), ReservationState.BOOKED, NOW, NOW)
CANCELLED = replace(BOOKED, state=ReservationState.CANCELLED)
HELD = replace(BOOKED, state=ReservationState.HELD, until=NOW + 10)
MATCH = Match(4, protocol=6)
LINE = Line("eth0", "out", 80_000, 8_000)
SHARE = Share(16_000, 80_000)
ENTRY = Entry("eth0:out", Action.GUARANTEE, frozenset({MATCH}), ("r-1", "r-2"), NOW + 300, SHARE, 46)


def picture(*phases: Phase, **more: Any) -> Picture:
    standings = {f"r-{number}": Standing(each, "why") for number, each in enumerate(phases, 1)}
    return Picture(standings=standings, **more)


@pytest.fixture
def real() -> Enforcement:
    found = Enforcement(enabled=True, effect=True)
    found.take()
    found.publish(Picture())
    return found


def state(seen: Enforcement, record: Reservation = BOOKED, now: int = NOW) -> State:
    return state_of(record, now, False, seen.standing)


def test_from_the_commit_to_the_reading_back_it_is_being_installed(real: Enforcement) -> None:
    woken: list[bool] = []
    real.wake = lambda: woken.append(True)
    assert state(real) is State.ACTIVE
    real.changed([Change(None, BOOKED)])
    assert woken == [True]
    assert state(real) is State.INSTALLING
    assert real.take().booked == {"r-1": True}
    assert state(real) is State.INSTALLING
    real.publish(picture(Phase.INSTALLED))
    assert state(real) is State.ACTIVE
    real.changed([Change(BOOKED, replace(BOOKED, rate=9_000))])
    assert state(real) is State.INSTALLING
    real.take()
    real.publish(picture(Phase.FAILED))
    assert state(real) is State.FAILED
    assert real.standing("r-1") == Standing(Phase.FAILED, "why")


def test_what_changes_while_it_is_looked_at_is_looked_at_again(real: Enforcement) -> None:
    real.changed([Change(None, BOOKED)])
    real.take()
    real.changed([Change(BOOKED, CANCELLED)])
    assert state(real, CANCELLED) is State.ENDING
    real.publish(picture(Phase.INSTALLED))
    assert state(real, CANCELLED) is State.ENDING
    assert real.take().booked == {"r-1": False}
    assert state(real, CANCELLED) is State.ENDING
    real.publish(picture(Phase.REMOVING))
    assert state(real, CANCELLED) is State.ENDING
    real.publish(Picture())
    assert state(real, CANCELLED) is State.CANCELLED


def test_what_was_taken_stays_open_until_somebody_has_dealt_with_all_of_it(real: Enforcement) -> None:
    real.changed([Change(None, BOOKED)])
    real.take()
    real.publish(Picture(), settled=False)
    assert state(real) is State.INSTALLING
    assert real.take().booked == {"r-1": True}


def test_what_never_was_there_is_gone_at_once(real: Enforcement) -> None:
    woken: list[bool] = []
    real.wake = lambda: woken.append(True)
    real.changed([Change(None, HELD), Change(HELD, CANCELLED), Change(None, Contact(NodeId("a", "1" * 16), "", 1))])
    assert (woken, dict(real.take().booked)) == ([], {})
    assert state(real, CANCELLED) is State.CANCELLED


def test_the_end_of_a_window_is_over_only_when_the_data_plane_says_so(real: Enforcement) -> None:
    real.publish(picture(Phase.INSTALLED))
    assert state(real, now=NOW + 100) is State.ENDING
    real.publish(Picture())
    assert state(real, now=NOW + 100) is State.ENDED


def test_until_everything_was_looked_at_once_nothing_is_in_force_or_gone() -> None:
    seen = Enforcement(enabled=True, effect=True)
    for _ in range(2):
        assert (state(seen), state(seen, now=NOW + 100)) == (State.INSTALLING, State.ENDING)
        assert seen.take().everything
    seen.publish(picture(Phase.INSTALLED))
    assert (state(seen), state(seen, replace(CANCELLED, id="r-9"))) == (State.ACTIVE, State.CANCELLED)
    seen.again()
    assert (state(seen), state(seen, replace(BOOKED, id="r-9"))) == (State.ACTIVE, State.INSTALLING)


def test_too_many_changes_are_a_look_at_everything(real: Enforcement) -> None:
    real.changed([Change(None, replace(BOOKED, id=f"r-{number}")) for number in range(MOST_TOUCHED + 1)])
    taken = real.take()
    assert (taken.everything, dict(taken.booked)) == (True, {})
    assert state(real) is State.INSTALLING


def test_a_record_is_not_waited_for_but_shown() -> None:
    seen = Enforcement(enabled=True, effect=False)
    assert (state(seen), state(seen, CANCELLED)) == (State.ACTIVE, State.CANCELLED)
    seen.changed([Change(None, BOOKED)])
    seen.take()
    seen.publish(picture(Phase.INSTALLED, back_end="record"))
    assert (state(seen), state(seen, CANCELLED)) == (State.ACTIVE, State.CANCELLED)
    shown = seen.enforced("r-1")
    assert shown is not None
    assert (shown.phase, shown.effect) == ("installed", False)
    assert not seen.view(False).effect


def test_a_node_without_lines_says_nothing() -> None:
    seen = Enforcement(enabled=False, effect=True)
    seen.changed([Change(None, BOOKED)])
    assert (seen.standing("r-1"), seen.enforced("r-1"), dict(seen.take().booked)) == (None, None, {})


def test_what_is_shown_of_a_reservation_and_of_the_node(real: Enforcement) -> None:
    usage = judged(Counters(0, 0, 0, 0, 0), Counters(20_000, 20, 1, 2, 300), 10.0, SHARE)
    real.publish(
        picture(
            Phase.INSTALLED, Phase.INSTALLED, Phase.FAILED, Phase.REMOVING, Phase.INSTALLING,
            back_end="tc-nft", effect=True, abilities=Abilities(notes=("slow",)), lines=(LINE,), reconciled=NOW,
            line_troubles={"eth0:out": "no"}, entries={"r-1": (ENTRY,), "r-2": (ENTRY,)}, since={ENTRY.key: NOW},
            samples={ENTRY.key: Sampled(NOW + 9, usage)},
        )
    )  # fmt: skip
    shown = real.enforced("r-2")
    assert shown is not None
    (line,) = shown.lines
    assert (shown.phase, line.line, line.guarantee, line.ceiling, line.dscp) == (
        "installed", "eth0:out", 16_000, 80_000, 46,
    )  # fmt: skip
    assert (line.shared_with, line.since, line.expires) == (1, NOW, NOW + 300)
    assert line.usage is not None
    assert (line.usage.verdict, line.usage.rate, line.usage.sent_bytes, line.usage.at) == (
        "kept", 16_000, 20_000, NOW + 9,
    )  # fmt: skip
    view = real.view(paused=False)
    assert (view.installed, view.failed, view.removing, view.installing) == (2, 1, 1, 1)
    assert view.effect
    assert not real.view(paused=True).effect
    (shaped,) = view.lines
    # Once, though it is of two reservations.
    assert (shaped.guaranteed, shaped.entries, shaped.rate, shaped.trouble) == (16_000, 1, 80_000, "no")
