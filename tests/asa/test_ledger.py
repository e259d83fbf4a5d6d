"""The ledger is a function of its records: making a change and taking it back, and what is free, by brute force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.ledger import MARGIN_S, Ledger
from asa.records import (
    KINDS,
    Change,
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Once,
    Promise,
    Record,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
    made,
    removed,
)
from objectives import Block, NodeId, Window

ME, PEER = NodeId("me", "0" * 16), NodeId("peer", "1" * 16)
NOW = 1_000
FLOOR = NOW - MARGIN_S
T1, T2 = b"1" * 16, b"2" * 16
BLOCK = Block(10, 20, NOW, None)

ONE_OF_EACH: tuple[Record, ...] = (
    Seed("wan", 0, 100, NOW),
    Held("wan", BLOCK),
    Given(T1, "wan", PEER, (BLOCK,), GivenState.ESCROW, NOW),
    Taken(T2, "wan", PEER, (BLOCK,), TakenState.ACCEPTED, NOW),
    Promise(T1, "wan", PEER, 7, Window(NOW, NOW + 50), NOW + 9),
    Reservation("r-1", "wan", 5, Window(NOW, None), ReservationState.BOOKED, NOW, NOW),
    Once("key", "digest", "r-1", NOW),
    Fact("serial", "7"),
    Contact(PEER, "[::1]:7017", NOW),
)
NEXT: tuple[Change, ...] = (
    Change(ONE_OF_EACH[2], Given(T1, "wan", PEER, (BLOCK,), GivenState.CLOSED, NOW)),
    Change(ONE_OF_EACH[3], Taken(T2, "wan", PEER, (BLOCK,), TakenState.CONFIRMED, NOW)),
    Change(ONE_OF_EACH[5], Reservation("r-1", "wan", 3, Window(NOW, NOW + 70), ReservationState.BOOKED, NOW, NOW + 1)),
    Change(ONE_OF_EACH[5], Reservation("r-1", "wan", 5, Window(NOW, None), ReservationState.CANCELLED, NOW, NOW)),
    Change(ONE_OF_EACH[7], Fact("serial", "8")),
)


def snapshot(ledger: Ledger) -> dict[str, Any]:
    """Everything that follows from the records, but the number of changes."""
    return {
        "records": set(ledger.records()),
        "escrows": dict(ledger.escrows),
        "order": list(ledger.order),
        "free": [ledger.account("wan").free.at(time) for time in range(FLOOR, NOW + 120)],
        "counts": (ledger.account("wan").reservations, len(ledger.account("wan").held)),
    }


def test_there_is_one_of_each_kind() -> None:
    assert {type(each) for each in ONE_OF_EACH} == set(KINDS)


@pytest.mark.parametrize("record", ONE_OF_EACH, ids=lambda each: type(each).__name__)
def test_a_record_made_and_taken_back_leaves_no_trace(record: Record) -> None:
    ledger = Ledger(ME, NOW)
    before = snapshot(ledger)
    ledger.apply(made(record))
    assert set(ledger.records()) == {record}
    ledger.undo(made(record))
    assert snapshot(ledger) == before


@pytest.mark.parametrize("change", NEXT, ids=lambda each: f"{each.kind.__name__} {getattr(each.after, 'state', '')}")
def test_a_record_replaced_and_taken_back_is_what_it_was(change: Change) -> None:
    ledger = Ledger(ME, NOW, ONE_OF_EACH)
    before = snapshot(ledger)
    ledger.apply((change,))
    assert snapshot(ledger) != before
    ledger.undo((change,))
    assert snapshot(ledger) == before


def test_a_ledger_loaded_is_the_one_that_was_built_by_changes() -> None:
    built = Ledger(ME, NOW)
    built.apply(made(*ONE_OF_EACH))
    assert snapshot(Ledger(ME, NOW, ONE_OF_EACH)) == snapshot(built)
    assert snapshot(Ledger(ME, NOW, built.records())) == snapshot(built)


@pytest.mark.parametrize("record", ONE_OF_EACH, ids=lambda each: type(each).__name__)
def test_changes_that_do_not_fit_change_nothing(record: Record) -> None:
    ledger = Ledger(ME, NOW, ONE_OF_EACH)
    before = snapshot(ledger)
    fits = made(Fact("another", "1"), Held("wan", Block(50, 60, NOW, None)))
    with pytest.raises(ValueError, match="not what a change expects"):
        ledger.apply((*fits, *made(record)))
    assert snapshot(ledger) == before
    empty = Ledger(ME, NOW)
    before = snapshot(empty)
    with pytest.raises(ValueError, match="not what a change expects"):
        empty.apply((*fits, Change(record, None)) if not isinstance(record, Given | Taken) else (*fits, *NEXT[:2]))
    assert snapshot(empty) == before


def test_what_was_asked_is_over_when_it_is_decided() -> None:
    ledger = Ledger(ME, NOW)
    ledger.asking[T2] = None  # type: ignore[assignment]
    ledger.apply(made(Taken(T2, "wan", PEER, (BLOCK,), TakenState.REFUSED, NOW)))
    assert T2 not in ledger.asking


times = st.integers(FLOOR - 5, NOW + 40)


@st.composite
def spans(draw: st.DrawFn) -> Window:
    start = draw(times)
    return Window(start, draw(st.none() | st.integers(start + 1, NOW + 50)))


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Blocks, promises and reservations, more promised than held too."""
    records: list[Record] = []
    for low, window in enumerate(draw(st.lists(spans(), max_size=5))):
        records.append(Held("wan", Block(low * 10, low * 10 + draw(st.integers(1, 10)), window.start, window.end)))
    for number, window in enumerate(draw(st.lists(spans(), max_size=5))):
        state = draw(st.sampled_from(list(ReservationState)))
        rate = draw(st.integers(1, 9))
        records.append(Reservation(f"r-{number}", "wan", rate, window, state, NOW, NOW))
    for number, window in enumerate(draw(st.lists(spans(), max_size=2))):
        records.append(Promise(bytes([number]) * 16, "wan", PEER, draw(st.integers(1, 9)), window, NOW))
    return draw(st.permutations(records))


def _free(records: Sequence[Record], time: int) -> int:
    free = 0
    for each in records:
        match each:
            case Held() if each.block.start <= time and (each.block.end is None or time < each.block.end):
                free += each.block.high - each.block.low
            case Promise() | Reservation() if each.window.start <= time and (
                each.window.end is None or time < each.window.end
            ):
                counts = not isinstance(each, Reservation) or each.state is ReservationState.BOOKED
                free -= each.rate if counts else 0
    return free


@given(histories(), spans(), st.integers(0, 100))
def test_free_is_the_least_of_what_every_second_says(records: list[Record], window: Window, later: int) -> None:
    loaded, built = Ledger(ME, NOW, records), Ledger(ME, NOW)
    built.apply([Change(None, each) for each in records if getattr(each, "state", "") != "cancelled"])
    assert built.free("wan", window) == loaded.free("wan", window)
    for ledger in (loaded, built):
        ledger.advance(NOW + later)
        start = max(window.start, ledger.floor)
        end = NOW + 200 if window.end is None else window.end
        expected = min((_free(records, time) for time in range(start, end)), default=0) if ledger.accounts else 0
        assert ledger.free("wan", window) == expected


@given(histories(), st.integers(0, 120))
def test_what_is_removed_later_is_as_if_it_had_never_been(records: list[Record], later: int) -> None:
    ledger = Ledger(ME, NOW, records)
    ledger.advance(NOW + later)
    going = [each for each in records if getattr(each, "state", "") != "cancelled"]
    ledger.apply(removed(going))
    assert ledger.free("wan", Window(ledger.floor, None)) == 0
    assert ledger.account("wan").free.steps(ledger.floor, None, 9) == [(ledger.floor, 0)]


def test_the_clock_never_goes_back() -> None:
    ledger = Ledger(ME, NOW)
    ledger.advance(NOW + 100)
    ledger.advance(NOW)
    assert ledger.floor == NOW + 100 - MARGIN_S


def test_a_block_in_escrow_is_found_by_what_it_overlaps() -> None:
    ledger = Ledger(ME, NOW, [ONE_OF_EACH[2]])
    assert ledger.escrow_of("wan", Block(19, 30, NOW + 5, NOW + 6)) == ONE_OF_EACH[2]
    assert ledger.escrow_of("wan", Block(20, 30, NOW, None)) is None
    assert ledger.escrow_of("lan", BLOCK) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, Given(T1, "wan", PEER, (BLOCK,), GivenState.CLOSED, NOW)),
        (Given(T1, "wan", PEER, (BLOCK,), GivenState.CLOSED, NOW), ONE_OF_EACH[2]),
        (
            Given(T1, "wan", PEER, (BLOCK,), GivenState.CLOSED, NOW),
            Given(T1, "wan", PEER, (BLOCK,), GivenState.RETURNED, NOW),
        ),
        (ONE_OF_EACH[2], None),
        (Taken(T2, "wan", PEER, (BLOCK,), TakenState.REFUSED, NOW), ONE_OF_EACH[3]),
        (ONE_OF_EACH[3], Taken(T2, "wan", PEER, (BLOCK,), TakenState.REFUSED, NOW)),
        (ONE_OF_EACH[3], None),
        (None, None),
        (ONE_OF_EACH[3], ONE_OF_EACH[2]),
    ],
)
def test_a_step_that_its_table_does_not_have_is_a_defect(before: Record | None, after: Record | None) -> None:
    from asa.errors import IllegalTransition

    with pytest.raises(IllegalTransition):
        Change(before, after)
