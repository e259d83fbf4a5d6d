"""The ledger is a function of its records: making a change and taking it back, and what is free, by brute force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.diary import Diary, flow_of
from asa.errors import IllegalTransition
from asa.ledger import MARGIN_S, Ledger
from asa.records import (
    BACK,
    BOTH,
    KINDS,
    OUT,
    RESERVATION,
    VERDICT,
    Cap,
    Change,
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Kind,
    Lent,
    Notice,
    Once,
    Pact,
    Promise,
    Record,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
    Verdict,
    VerdictState,
    is_link,
    made,
    removed,
)
from objectives import Block, NodeId, Window

ME, PEER = NodeId("me", "0" * 16), NodeId("peer", "1" * 16)
NOW = 1_000
FLOOR = NOW - MARGIN_S
T1, T2 = b"1" * 16, b"2" * 16
BLOCK = Block(10, 20, NOW, None)

BOOKED = ReservationState.BOOKED
RICH = Reservation(
    "r-2", "wan", 4, Window(NOW, NOW + 60), ReservationState.HELD, NOW, NOW, "10.0.0.1", "10.1.0.0/16", "alice",
    kind=Kind.TWO_WAY, back=2, claims=(("wan", BOTH), ("eth0:out", OUT), ("eth0:in", BACK)), until=NOW + 9, secret="s",
)  # fmt: skip

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
    Cap("alice", "wan", 50, True),
    Pact(T1, PEER, None, RICH, NOW),
    Verdict(T1, PEER, "r-2", VerdictState.ACCEPTED, NOW),
    Notice("r-1", PEER, "cancelled", NOW, None),
    RICH,
    Lent("peer", "wan", NOW, 7),
)
NEXT: tuple[Change, ...] = (
    Change(ONE_OF_EACH[2], Given(T1, "wan", PEER, (BLOCK,), GivenState.CLOSED, NOW)),
    Change(ONE_OF_EACH[3], Taken(T2, "wan", PEER, (BLOCK,), TakenState.CONFIRMED, NOW)),
    Change(ONE_OF_EACH[5], Reservation("r-1", "wan", 3, Window(NOW, NOW + 70), ReservationState.BOOKED, NOW, NOW + 1)),
    Change(ONE_OF_EACH[5], Reservation("r-1", "wan", 5, Window(NOW, None), ReservationState.CANCELLED, NOW, NOW)),
    Change(ONE_OF_EACH[7], Fact("serial", "8")),
    Change(ONE_OF_EACH[9], Cap("alice", "wan", 0, False)),
    Change(ONE_OF_EACH[10], Pact(T1, PEER, RICH, RICH, NOW)),
    Change(ONE_OF_EACH[12], Notice("r-1", PEER, "cancelled", NOW + 1, None)),
    Change(ONE_OF_EACH[14], Lent("peer", "wan", NOW, 3)),
    Change(None, Lent("peer", "wan", NOW + 5, -7)),
    Change(ONE_OF_EACH[14], None),
    Change(RICH, replace(RICH, state=ReservationState.BOOKED, until=None)),
    Change(RICH, replace(RICH, state=ReservationState.LAPSED)),
    Change(RICH, replace(RICH, claims=(("lan", BOTH), ("eth1:out", OUT)), secret="t")),
    Change(RICH, replace(RICH, rate=1, back=0, window=Window(NOW + 5, None))),
)


TIMES = range(FLOOR, NOW + 120)


def snapshot(ledger: Ledger) -> dict[str, Any]:
    """Everything that follows from the records, but the number of changes."""
    return {
        "records": set(ledger.records()),
        "escrows": dict(ledger.escrows),
        "order": list(ledger.order),
        "free": {pool: [account.free.at(time) for time in TIMES] for pool, account in ledger.accounts.items()
                 if account.free.steps(FLOOR, None, 2) != [(FLOOR, 0)]},
        "counts": {pool: (account.reservations, len(account.held)) for pool, account in ledger.accounts.items()
                   if account.reservations or len(account.held)},
        "links": {link: [free.at(time) for time in TIMES] for link, free in ledger.free_links.items()
                  if free.steps(FLOOR, None, 2) != [(FLOOR, 0)]},
        "projects": {key: (project.reservations, [project.free.at(time) for time in TIMES])
                     for key, project in ledger.projects.items()},
        "loans": {key: [loan.free.at(time) for time in TIMES] for key, loan in ledger.loans.items()
                  if loan.changes},
        "flows": {flow: (list(diary._entries), diary._apart) for flow, diary in ledger.flows.items()},
        "secrets": {each: set(ids) for each, ids in ledger.secrets.items()},
        "waiting": dict(ledger.waiting),
    }  # fmt: skip


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


def gone(record: Record) -> Change:
    """A change of a record that is there, to nothing if its table has that."""
    try:
        return Change(record, None)
    except IllegalTransition:
        return next(each for each in NEXT if each.before == record)


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
        empty.apply((*fits, gone(record)))
    assert snapshot(empty) == before


def test_a_decision_ends_the_time_in_which_it_could_be_made() -> None:
    ledger = Ledger(ME, NOW)
    ledger.arranging.add(T1)
    ledger.apply(made(Verdict(T1, PEER, "r-1", VerdictState.NEVER, NOW)))
    assert T1 not in ledger.arranging


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
                counts = not isinstance(each, Reservation) or each.state in ("held", "prepared", "booked")
                free -= each.rate if counts else 0
    return free


@given(histories(), spans(), st.integers(0, 100))
def test_free_is_the_least_of_what_every_second_says(records: list[Record], window: Window, later: int) -> None:
    loaded, built = Ledger(ME, NOW, records), Ledger(ME, NOW)
    built.apply([Change(None, each) for each in records if getattr(each, "state", "") not in ("cancelled", "lapsed")])
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
    for each in records:
        if isinstance(each, Reservation) and each.state not in ("booked", "prepared"):
            if each.state not in ("cancelled", "lapsed"):
                ledger.apply((Change(each, replace(each, state=ReservationState.CANCELLED)),))
        else:
            ledger.apply(removed([each]))
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
    with pytest.raises(IllegalTransition):
        Change(before, after)


@pytest.mark.parametrize(
    ("table", "of"),
    [
        (RESERVATION, lambda state: replace(RICH, state=state)),
        (VERDICT, lambda state: Verdict(T1, PEER, "r-1", state, NOW)),
    ],
    ids=["reservation", "verdict"],
)
def test_every_step_is_in_its_table_or_a_defect(table: Any, of: Any) -> None:
    records = {state: of(state) if state is not None else None for state in table}
    assert set(table) == {None, *next(each for each in table if each is not None).__class__}
    for before in table:
        for after in table:
            if after in table[before]:
                Change(records[before], records[after])
            else:
                with pytest.raises(IllegalTransition):
                    Change(records[before], records[after])


# -- what follows from the records, by brute force

POOLS = "wan", "lan"
LINKS = {"eth0:out": 40, "eth0:in": 30}
FLOWS = ("any", "any"), ("a", "b"), ("b", "a"), ("a:80{3}", "b")
CLAIMS = (
    (),
    (("wan", OUT),),
    (("wan", BOTH), ("eth0:out", OUT), ("eth0:in", BACK)),
    (("wan", OUT), ("lan", BACK), ("eth1:out", BOTH)),
    (("lan", OUT), ("lan", OUT)),
)


@st.composite
def anything(draw: st.DrawFn) -> Reservation:
    """A reservation as it may be, with its capacity there or not."""
    source, destination = draw(st.sampled_from(FLOWS))
    return Reservation(
        f"r-{draw(st.integers(0, 5))}", draw(st.sampled_from(["", *POOLS])), draw(st.integers(0, 9)), draw(spans()),
        draw(st.sampled_from(list(ReservationState))), NOW, NOW, source, destination, draw(st.sampled_from(["", "p"])),
        kind=draw(st.sampled_from([Kind.ONE_WAY, Kind.TWO_WAY])), back=draw(st.integers(0, 3)),
        claims=draw(st.sampled_from(CLAIMS)), secret=draw(st.sampled_from(["", "s", "t"])),
    )  # fmt: skip


def steps(ledger: Ledger, wish: Reservation) -> list[Change]:
    """Changes that make, replace or remove the reservation of an id, as far as its table has them."""
    old = ledger.reservations.get(wish.id)
    found = []
    for after in (wish, None):
        with suppress(IllegalTransition):
            found.append(Change(old, after))
    return found[:1]


def taken(records: Iterable[Record], resource: str, time: int, owner: str | None = None) -> int:
    total = 0
    for each in records:
        if (
            isinstance(each, Reservation)
            and each.state in ("held", "prepared", "booked")
            and owner in (None, each.owner)
            and each.window.start <= time
            and (each.window.end is None or time < each.window.end)
        ):
            amounts = {OUT: each.rate, BACK: each.back, BOTH: each.rate + each.back}
            claims = each.claims or ((each.pool, OUT),)
            total += sum(amounts[way] for name, way in claims if name == resource)
    return total


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """A snapshot without what a history may leave behind: a diary that once had overlaps goes on looking for them."""
    return state | {"flows": {flow: entries for flow, (entries, _) in state["flows"].items()}}


@given(st.lists(st.tuples(anything(), st.booleans()), max_size=14), st.integers(0, 60))
def test_after_any_changes_and_undos_everything_is_as_of_the_records_alone(
    wishes: list[tuple[Reservation, bool]], later: int
) -> None:
    ledger = Ledger(ME, NOW, links=LINKS)
    for wish, undone in wishes:
        changes = steps(ledger, wish)
        before = plain(snapshot(ledger))
        ledger.apply(changes)
        if undone:
            ledger.undo(changes)
            assert plain(snapshot(ledger)) == before
    records = list(ledger.records())
    fresh = Ledger(ME, NOW, records, links=LINKS)
    assert plain(snapshot(ledger)) == plain(snapshot(fresh))
    for each in (ledger, fresh):
        each.advance(NOW + later)
    # And as counted, without a ledger.
    living = [each for each in records if isinstance(each, Reservation)]
    for time in range(ledger.floor, NOW + 60, 7):
        second = Window(time, time + 1)
        for pool in POOLS:
            assert ledger.free(pool, second) == -taken(living, pool, time)
        for link in ("eth0:out", "eth0:in"):
            assert ledger.free(link, second) == LINKS[link] - taken(living, link, time)
        for owner in ("", "p"):
            for resource in (*POOLS, *LINKS, "eth1:out"):
                assert ledger.booked(owner, resource, second) == taken(living, resource, time, owner)
    assert ledger.free("eth1:out", Window(NOW, None)) > 10**15
    assert set(ledger.waiting) == {each.id for each in living if each.state in ("held", "prepared", "parked")}
    assert ledger.secrets == {
        secret: ids for secret in "st" if (ids := {each.id for each in living if each.secret == secret})
    }
    filed = {flow: {each[1] for each in diary._entries} for flow, diary in ledger.flows.items()}
    alive = [each for each in living if each.state in ("held", "prepared", "booked", "parked")]
    assert filed == {
        flow: {each.id for each in alive if flow_of(each) == flow} for flow in map(flow_of, alive) if flow is not None
    }


@given(st.lists(anything(), max_size=8), anything())
def test_a_duplicate_is_found_where_there_is_one_even_among_those_that_overlap(
    records: list[Reservation], wish: Reservation
) -> None:
    """Version 1 admitted flows twice; what it has booked stays."""
    living = {each.id: each for each in records}
    loaded, built = Ledger(ME, NOW, living.values()), Ledger(ME, NOW)
    built.apply(made(*(each for each in living.values() if each.state not in ("cancelled", "lapsed"))))
    same = {
        each.id
        for each in living.values()
        if each.id != wish.id
        and each.state in ("held", "prepared", "booked", "parked")
        and flow_of(wish) is not None
        and flow_of(each) == flow_of(wish)
        and each.window.overlap(wish.window) is not None
    }
    for ledger in (loaded, built):
        found = ledger.duplicate(wish)
        assert (found.id if found else None) in (same or {None})


@pytest.mark.parametrize("loaded", [True, False])
def test_an_early_window_that_reaches_over_others_is_seen_behind_them(loaded: bool) -> None:
    windows = [Window(0, 100), Window(10, 20), Window(30, 40), Window(50, 60)]
    diary = Diary()
    for number, window in enumerate(windows):
        (diary.append if loaded else diary.add)(window, f"r-{number}")
    if loaded:
        diary.settle()
    assert diary.overlapping(Window(70, 80), "") == "r-0"
    assert diary.overlapping(Window(70, 80), "r-0") is None
    assert diary.overlapping(Window(100, None), "") is None


def test_a_diary_says_whether_something_is_in_a_window() -> None:
    diary = Diary()
    assert not diary
    for number in range(50):
        diary.add(Window(10 * number, 10 * number + 5), f"r-{number}")
    assert diary.overlapping(Window(5, 10), "") is None
    assert diary.overlapping(Window(0, 1), "r-0") is None
    assert diary.overlapping(Window(4, 11), "r-0") == "r-1"
    assert diary.overlapping(Window(4, 11), "r-1") == "r-0"
    assert diary.overlapping(Window(495, None), "") is None
    for number in range(50):
        diary.remove(Window(10 * number, 10 * number + 5), f"r-{number}")
    assert not diary


@pytest.mark.parametrize("resource", ["eth0:out", "eth0:in", "x:y"])
def test_a_direction_of_an_interface_is_no_pool(resource: str) -> None:
    assert is_link(resource)
    assert not is_link("wan")


def test_a_link_without_limit_has_no_end_and_one_with_has_its_own_from_the_beginning() -> None:
    ledger = Ledger(ME, NOW, links={"eth0:out": 7})
    assert ledger.free("eth0:out", Window(NOW, None)) == 7
    assert ledger.calendar("eth0:in") is None
    assert ledger.calendar("wan") is None
    ledger.advance(NOW + 10**6)
    assert ledger.free("eth0:out", Window(NOW + 10**6, None)) == 7
