"""What the rest of the agent reads of the data plane: never "in force" before the system was read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asa.agenda import AFTER_S
from asa.dataplane.backend import Abilities, Counters
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Share
from asa.dataplane.proof import judged
from asa.enforcement import MOST_TOUCHED, Enforcement, Picture, Sampled
from asa.lifecycle import Phase, Standing, State, state_of
from asa.records import Change, Contact, Reservation, ReservationState
from objectives import NodeId, Window

NOW = 1_000
LIFE = 300
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
    found = Enforcement(enabled=True, effect=True, life_s=LIFE)
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
    assert real.standing(BOOKED, NOW) == Standing(Phase.FAILED, "why")


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
    seen = Enforcement(enabled=True, effect=True, life_s=LIFE)
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
    shown = seen.enforced(BOOKED, NOW)
    assert shown is not None
    assert (shown.phase, shown.effect) == ("installed", False)
    assert not seen.view(False).effect


def test_a_node_without_lines_says_nothing() -> None:
    seen = Enforcement(enabled=False, effect=True)
    seen.changed([Change(None, BOOKED)])
    assert (seen.standing(BOOKED, NOW), seen.enforced(BOOKED, NOW), dict(seen.take().booked)) == (None, None, {})


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
    shown = real.enforced(replace(BOOKED, id="r-2"), NOW)
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
    paused = real.view(paused=True)
    # What a pause keeps away is not on its way.
    assert (paused.effect, paused.installing, paused.failed) == (False, 0, 1)
    (shaped,) = view.lines
    # Once, though it is of two reservations.
    assert (shaped.guaranteed, shaped.entries, shaped.rate, shaped.trouble) == (16_000, 1, 80_000, "no")


# -- what is over


def old(seconds: int, **more: Any) -> Reservation:
    """One that was over so long before NOW."""
    return replace(BOOKED, window=Window(0, NOW - seconds), created=0, changed=0, **more)


def test_what_was_over_so_long_that_its_rules_have_ended_is_not_waited_for_at_a_start() -> None:
    seen = Enforcement(enabled=True, effect=True, life_s=LIFE)
    assert state(seen, old(AFTER_S - 1)) is State.ENDING
    assert state(seen, old(AFTER_S)) is State.ENDED
    recent, ancient = (replace(CANCELLED, created=0, changed=NOW - each) for each in (LIFE - 1, LIFE))
    assert (state(seen, recent), state(seen, ancient)) == (State.ENDING, State.CANCELLED)
    # Its window may have been longer when its rules were made.
    shortened = replace(old(100), changed=NOW - 150)
    assert (state(seen, shortened), state(seen, shortened, NOW - 150 + LIFE)) == (State.ENDING, State.ENDED)
    seen.take()
    assert (state(seen, recent), state(seen, ancient)) == (State.ENDING, State.CANCELLED)
    assert (seen.enforced(ancient, NOW), seen.enforced(replace(HELD, created=0), NOW)) == (None, None)
    shown = seen.enforced(recent, NOW)
    assert shown is not None
    assert (shown.phase, shown.lines) == ("removing", [])
    seen.publish(Picture())
    assert (state(seen, old(1)), state(seen, recent)) == (State.ENDED, State.CANCELLED)


def test_without_a_back_end_what_was_cancelled_may_be_in_place_until_its_rules_end(real: Enforcement) -> None:
    real.publish(picture(Phase.FAILED, unread=NOW))
    cancelled = replace(CANCELLED, id="r-9", changed=NOW + 5)
    assert state(real, cancelled, NOW + 5 + LIFE - 1) is State.ENDING
    assert state(real, cancelled, NOW + 5 + LIFE) is State.CANCELLED
    # What is younger than the last back end never was in place.
    assert state(real, replace(cancelled, created=NOW + 1), NOW + 5) is State.CANCELLED
    # What was over before it was lost had been read back as gone.
    real.publish(picture(Phase.FAILED, unread=NOW, read=NOW + 6))
    assert state(real, cancelled, NOW + 5) is State.CANCELLED
    # Of what takes no line nothing is missing.
    assert state(real, replace(BOOKED, id="r-8")) is State.ACTIVE
    real.publish(Picture())
    assert state(real, cancelled, NOW + 5) is State.CANCELLED


def test_what_is_cancelled_before_anything_was_looked_at_is_not_gone_by_that() -> None:
    seen = Enforcement(enabled=True, effect=True, life_s=LIFE)
    seen.changed([Change(BOOKED, CANCELLED)])
    assert state(seen, CANCELLED) is State.ENDING
    seen.take()
    seen.changed([Change(replace(BOOKED, id="r-2"), replace(CANCELLED, id="r-2"))])
    assert state(seen, replace(CANCELLED, id="r-2")) is State.ENDING
    seen.publish(Picture())
    assert state(seen, CANCELLED) is State.CANCELLED


# -- what is not in force, though it seems


def test_after_a_pause_nothing_is_in_force_before_it_was_read_back(real: Enforcement) -> None:
    woken: list[bool] = []
    real.publish(picture(Phase.INSTALLED))
    real.wake = lambda: woken.append(True)
    # The pause was over before anybody had published what it took away.
    real.resumed()
    assert (state(real), woken) == (State.INSTALLING, [True])
    real.take()
    assert state(real) is State.INSTALLING
    real.publish(picture(Phase.INSTALLED))
    assert state(real) is State.ACTIVE


def test_what_the_enforcer_has_not_come_to_is_not_in_force_when_its_time_comes(real: Enforcement) -> None:
    real.publish(Picture(lines=(LINE,), looked=NOW + 5))
    later = replace(BOOKED, window=Window(NOW + 6, None), claims=(("wan", 1), ("eth0:out", 1)))
    assert state(real, later, NOW + 6) is State.INSTALLING
    assert state(real, replace(later, window=Window(NOW + 5, None)), NOW + 6) is State.ACTIVE
    assert state(real, replace(later, claims=(("wan", 1),)), NOW + 6) is State.ACTIVE
    real.publish(Picture(lines=(LINE,), looked=NOW + 6))
    assert state(real, later, NOW + 6) is State.ACTIVE


def test_what_nobody_refreshed_is_no_longer_in_force(real: Enforcement) -> None:
    entry = replace(ENTRY, expires=NOW + 50)
    real.publish(picture(Phase.INSTALLED, abilities=Abilities(), entries={"r-1": (ENTRY, entry)}))
    assert (state(real, now=NOW + 49), state(real, now=NOW + 50)) == (State.ACTIVE, State.INSTALLING)
    real.publish(picture(Phase.INSTALLED, abilities=Abilities(expires=False), entries={"r-1": (entry,)}))
    assert state(real, now=NOW + 50) is State.ACTIVE
