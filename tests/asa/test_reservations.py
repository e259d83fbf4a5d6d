"""Admission against counting second by second, and what a refusal says against trying it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa import reservations
from asa.errors import BadRequest, BadWindow, Conflict, Ended, KeyReused, Short, UnknownPool, UnknownReservation
from asa.ledger import MARGIN_S, Ledger
from asa.records import Held, Once, Reservation, ReservationState
from objectives import Block, NodeId, Window
from objectives.fields import MAX_RATE
from objectives.params import Params

ME = NodeId("me", "0" * 16)
NOW = 10_000
LAST = NOW + 20
"""What is so at this second is so for ever."""
PARAMS = Params()


def ledger_of(*blocks):
    return Ledger(ME, NOW, [Held("wan", each) for each in blocks])


def wanted(rate, start=NOW, end=None, name="r-1", **more):
    return Reservation(name, "wan", rate, Window(start, end), ReservationState.BOOKED, NOW, NOW, **more)


def do(ledger, plan):
    ledger.apply(plan.changes)
    return plan.result


def seconds(window):
    return range(max(window.start, NOW), (LAST if window.end is None else window.end - 1) + 1)


class Counted:
    """bit/s free at every second, counted from the records themselves."""

    def __init__(self, ledger):
        self.free = dict.fromkeys(range(NOW, LAST + 1), 0)
        for each in ledger.records():
            if isinstance(each, Held):
                self.add(each.block.amount, each.block.window)
            elif isinstance(each, Reservation) and each.state is ReservationState.BOOKED:
                self.add(-each.rate, each.window)

    def add(self, amount, window):
        for second in seconds(window):
            if second <= LAST:
                self.free[second] += amount

    def fits(self, rate, window):
        return all(self.free[second] >= rate for second in seconds(window))


TIMES = st.integers(NOW, LAST - 1)
WINDOWS = st.builds(
    lambda start, length: Window(start, None if length == 0 else min(LAST, start + length)), TIMES, st.integers(0, 12)
)
BLOCKS = st.lists(st.tuples(st.integers(1, 9), WINDOWS), max_size=5).map(
    lambda drawn: [Block(20 * n, 20 * n + height, each.start, each.end) for n, (height, each) in enumerate(drawn)]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["book", "book", "book", "cancel", "change"]), st.integers(1, 14), WINDOWS, st.integers(0, 9)
    ),
    max_size=12,
)


@given(BLOCKS, STEPS)
@settings(max_examples=300, deadline=None)
def test_what_is_admitted_and_refused_is_what_counting_second_by_second_says(blocks, steps):
    ledger = ledger_of(*blocks)
    for number, (step, rate, window, which) in enumerate(steps):
        counted = Counted(ledger)
        names = [each.id for each in ledger.reservations.values() if each.state is ReservationState.BOOKED]
        try:
            if step == "book":
                do(ledger, reservations.book(ledger, NOW, wanted(rate, window.start, window.end, f"r-{number:03}")))
                admitted = True
            elif not names:
                continue
            elif step == "cancel":
                do(ledger, reservations.cancel(ledger, NOW, names[which % len(names)]))
                continue
            else:
                old = ledger.reservations[names[which % len(names)]]
                if window.end is not None and window.end <= old.window.start:
                    continue
                do(ledger, reservations.change(ledger, NOW, old.id, PARAMS, rate, window.end, False))
                admitted = True
        except Short:
            admitted = False
        if step == "change":
            counted.add(old.rate, old.window)
            window = Window(old.window.start, window.end)
            # Also what shrinks needs nothing, even where more is promised than held.
            if rate <= old.rate and not (
                old.window.end is not None and (window.end is None or window.end > old.window.end)
            ):
                assert admitted
                continue
        assert admitted == counted.fits(rate, window)
    assert min(Counted(ledger).free.values()) >= 0


@given(BLOCKS, st.lists(st.tuples(st.integers(1, 6), WINDOWS), max_size=5), st.integers(1, 14), WINDOWS)
@settings(max_examples=300, deadline=None)
def test_a_refusal_says_exactly_what_is_missing_and_offers_what_would_fit(blocks, booked, rate, window):
    ledger = ledger_of(*blocks)
    for number, (its, when) in enumerate(booked):
        try:
            do(ledger, reservations.book(ledger, NOW, wanted(its, when.start, when.end, f"r-{number}")))
        except Short:
            pass
    counted = Counted(ledger)
    try:
        reservations.book(ledger, NOW, wanted(rate, window.start, window.end, "r-x"))
    except Short as refused:
        details = refused.details
    else:
        return
    short = {second for second in seconds(window) if counted.free[second] < rate}
    said = set()
    for each in details["shortages"]:
        its = set(seconds(Window(each["start"], each["end"])))
        assert max(rate - counted.free[second] for second in its) == each["missing"]
        said |= its
    assert said == short

    def fits(offer):
        return counted.fits(offer["rate"], Window(offer["start"], offer["end"]))

    lowest = min(counted.free[second] for second in seconds(window))
    if lowest > 0:
        assert details["lower_rate"] == {"rate": lowest, "start": window.start, "end": window.end}
        assert fits(details["lower_rate"])
    else:
        assert details["lower_rate"] is None
    later = details["later_start"]
    length = None if window.end is None else window.end - window.start
    starts = [
        start
        for start in range(window.start, LAST + 1)
        if all(counted.free[min(second, LAST)] >= rate for second in (
            range(start, LAST + 1) if length is None else range(start, start + length)
        ))
    ]  # fmt: skip
    assert (later["start"] if later else None) == (starts[0] if starts else None)
    shorter = details["shorter"]
    if shorter is None:
        assert window.start in short
    else:
        assert fits(shorter)
        assert shorter["end"] in short


def test_a_refusal_names_only_so_many_windows():
    ledger = ledger_of(*(Block(0, 5, NOW + 2 * each, NOW + 2 * each + 1) for each in range(100)))
    with pytest.raises(Short) as refused:
        reservations.book(ledger, NOW, wanted(5, NOW, NOW + 200))
    assert len(refused.value.details["shortages"]) == reservations.SHORTAGES
    assert "16 windows or more" in refused.value.message
    first = [(5, Window(NOW + 1 + 2 * each, NOW + 2 + 2 * each)) for each in range(reservations.FEW - 1)]
    rest = (5, Window(NOW + 2 * reservations.FEW - 1, NOW + 200))
    assert reservations.needs(ledger, "wan", 5, Window(NOW, NOW + 200)) == [*first, rest]


def test_what_has_to_be_obtained_is_each_shortage_for_itself():
    ledger = ledger_of(Block(0, 10, NOW, None), Block(10, 15, NOW + 5, NOW + 10))
    do(ledger, reservations.book(ledger, NOW, wanted(4, NOW + 2, NOW + 4)))
    assert reservations.needs(ledger, "wan", 10, Window(NOW, NOW + 20)) == [(4, Window(NOW + 2, NOW + 4))]
    assert reservations.needs(ledger, "wan", 12, Window(NOW, NOW + 20)) == [
        (2, Window(NOW, NOW + 2)),
        (6, Window(NOW + 2, NOW + 4)),
        (2, Window(NOW + 4, NOW + 5)),
        (2, Window(NOW + 10, NOW + 20)),
    ]
    assert reservations.needs(ledger, "wan", 6, Window(NOW, NOW + 20)) == []
    assert reservations.needs(ledger, "lan", 6, Window(NOW, None)) == [(6, Window(NOW, None))]


def test_the_first_and_the_last_second_of_a_window_count_and_none_beside_them():
    ledger = ledger_of(Block(0, 10, NOW, None))
    do(ledger, reservations.book(ledger, NOW, wanted(10, NOW + 5, NOW + 10, "r-1")))
    do(ledger, reservations.book(ledger, NOW, wanted(10, NOW, NOW + 5, "r-2")))
    do(ledger, reservations.book(ledger, NOW, wanted(10, NOW + 10, None, "r-3")))
    for start, end in (NOW + 4, NOW + 5), (NOW + 9, NOW + 11), (NOW, None):
        with pytest.raises(Short):
            reservations.book(ledger, NOW, wanted(1, start, end, "r-4"))


def test_a_key_makes_one_reservation_and_another_request_under_it_is_refused():
    ledger = ledger_of(Block(0, 10, NOW, None))
    first = do(ledger, reservations.book(ledger, NOW, wanted(10), "key", "digest"))
    again = reservations.book(ledger, NOW + 5, wanted(10, name="r-2"), "key", "digest")
    assert (again.changes, again.result) == ((), first)
    with pytest.raises(KeyReused):
        reservations.book(ledger, NOW, wanted(10, name="r-2"), "key", "other")
    # Also when it is cancelled since: the answer is about the request that was made.
    do(ledger, reservations.cancel(ledger, NOW, "r-1"))
    assert reservations.book(ledger, NOW, wanted(10, name="r-2"), "key", "digest").result.id == "r-1"
    with pytest.raises(Short):
        reservations.book(ledger, NOW, wanted(11, name="r-3"), "refused", "digest")
    assert "refused" not in ledger.onces


def test_a_key_whose_reservation_is_forgotten_can_make_another():
    ledger = Ledger(ME, NOW, [Held("wan", Block(0, 10, NOW, None)), Once("key", "digest", "r-gone", NOW - 5)])
    do(ledger, reservations.book(ledger, NOW, wanted(10), "key", "digest"))
    assert ledger.onces["key"] == Once("key", "digest", "r-1", NOW)


def test_an_id_that_is_taken_is_not_given_twice():
    ledger = ledger_of(Block(0, 10, NOW, None))
    do(ledger, reservations.book(ledger, NOW, wanted(1)))
    with pytest.raises(Conflict):
        reservations.book(ledger, NOW, wanted(1))


def test_ids_sort_by_the_time_they_were_made():
    made = [
        reservations.identifier(each, chance) for each in (10**12, 10**12 + 1, 2 * 10**12) for chance in (0, 2**25 - 1)
    ]
    assert made == sorted(made)
    assert len(set(made)) == 6
    assert {len(each) for each in made} == {16}


def test_what_is_cancelled_is_free_from_then_on_and_stays_cancelled():
    ledger = ledger_of(Block(0, 10, NOW, None))
    do(ledger, reservations.book(ledger, NOW, wanted(10)))
    assert reservations.cancel(ledger, NOW, "r-1").result.state is ReservationState.CANCELLED
    do(ledger, reservations.cancel(ledger, NOW, "r-1"))
    assert ledger.free("wan", Window(NOW, None)) == 10
    assert reservations.cancel(ledger, NOW + 5, "r-1").changes == ()
    with pytest.raises(Ended):
        reservations.change(ledger, NOW, "r-1", PARAMS, 5, None, True)
    with pytest.raises(UnknownReservation):
        reservations.cancel(ledger, NOW, "r-2")


def test_what_has_ended_can_neither_be_cancelled_nor_changed():
    ledger = ledger_of(Block(0, 10, NOW, None))
    do(ledger, reservations.book(ledger, NOW, wanted(10, NOW, NOW + 10)))
    for call in (
        lambda: reservations.cancel(ledger, NOW + 10, "r-1"),
        lambda: reservations.change(ledger, NOW + 10, "r-1", PARAMS, 5, None, True),
    ):
        with pytest.raises(Ended):
            call()
    assert reservations.cancel(ledger, NOW + 9, "r-1").changes


def test_a_change_that_does_not_fit_changes_nothing_at_all():
    ledger = ledger_of(Block(0, 10, NOW, NOW + 10))
    old = do(ledger, reservations.book(ledger, NOW, wanted(5, NOW, NOW + 8)))
    for rate, end in (5, NOW + 11), (11, NOW + 8), (4, None), (10, NOW + 11):
        with pytest.raises(Short):
            reservations.change(ledger, NOW, "r-1", PARAMS, rate, end, False)
        assert ledger.reservations["r-1"] == old
    for rate, end in (0, NOW + 8), (-1, NOW + 8), (MAX_RATE + 1, NOW + 8):
        with pytest.raises(BadRequest):
            reservations.change(ledger, NOW, "r-1", PARAMS, rate, end, False)
    with pytest.raises(BadWindow):
        reservations.change(ledger, NOW + 5, "r-1", PARAMS, 5, NOW + 5, False)
    assert do(ledger, reservations.change(ledger, NOW + 1, "r-1", PARAMS, 10, NOW + 10, False)).window.end == NOW + 10
    assert reservations.change(ledger, NOW + 2, "r-1", PARAMS, 10, None, True).changes == ()


def test_what_a_change_needs_beyond_what_is_booked():
    old = wanted(5, NOW, NOW + 10)
    assert reservations.growth(old, NOW, 5, NOW + 10) is None
    assert reservations.growth(old, NOW, 3, NOW + 5) is None
    assert reservations.growth(old, NOW + 2, 8, NOW + 10) == (3, Window(NOW + 2, NOW + 10))
    assert reservations.growth(old, NOW + 2, 5, None) == (5, Window(NOW + 10, None))
    assert reservations.growth(old, NOW + 2, 8, NOW + 12) == (8, Window(NOW + 2, NOW + 12))


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (None, None, Window(NOW, None)),
        (NOW - 500, NOW + 5, Window(NOW, NOW + 5)),
        (NOW + 5, NOW + 6, Window(NOW + 5, NOW + 6)),
        (NOW + 5, None, Window(NOW + 5, None)),
        (NOW, NOW + PARAMS["max_window"], Window(NOW, NOW + PARAMS["max_window"])),
    ],
)
def test_the_window_a_consumer_means(start, end, found):
    assert reservations.window_of(NOW, start, end, PARAMS) == found


@pytest.mark.parametrize(
    ("start", "end"),
    [(None, NOW), (None, NOW - 1), (NOW + 5, NOW + 5), (NOW + 5, NOW + 4), (NOW, NOW + PARAMS["max_window"] + 1),
     (2**60, None), (None, 2**60)],
)  # fmt: skip
def test_a_window_that_is_none_is_refused(start, end):
    with pytest.raises(BadWindow):
        reservations.window_of(NOW, start, end, PARAMS)


def test_an_unknown_pool_is_told_from_an_exhausted_one_and_from_no_name():
    ledger = ledger_of(Block(0, 10, NOW, None))
    reservations.check_pool(ledger, "wan", frozenset())
    reservations.check_pool(ledger, "lan", frozenset({"lan"}))
    with pytest.raises(UnknownPool) as unknown:
        reservations.check_pool(ledger, "man", frozenset({"lan"}))
    assert "lan, wan" in unknown.value.hint
    for bad in "", "a b", "x" * 64, "wan\n":
        with pytest.raises(BadRequest):
            reservations.check_pool(ledger, bad, frozenset())


def test_pages_show_every_reservation_once_in_order():
    ledger = ledger_of(Block(0, 10**6, 0, None))
    for number in range(25):
        start = NOW + 50 if number % 3 == 0 else NOW
        item = wanted(1, start, NOW + 100 + number, f"r-{(number * 7) % 25:03}", owner="ab"[number % 2])
        do(ledger, reservations.book(ledger, NOW, item))
    do(ledger, reservations.cancel(ledger, NOW, "r-003"))
    now = NOW + 110
    for wish in {}, {"state": "all"}, {"owner": "a"}, {"state": "cancelled"}, {"state": "ended"}, {"pool": "lan"}:
        found, after = [], None
        while True:
            page = reservations.page(ledger, now, after=after, limit=4, **wish)
            found += [each.id for each in page.reservations]
            after = page.next
            if after is None:
                break
        expected = sorted(
            each.id
            for each in ledger.reservations.values()
            if wish.get("pool", "wan") == "wan"
            and wish.get("owner", each.owner) == each.owner
            and (wish.get("state") == "all" or reservations.state_of(each, now) in (
                {"pending", "active"} if "state" not in wish else {wish["state"]}
            ))
        )  # fmt: skip
        assert found == expected, wish
        assert page.total == len(expected)


def test_states_and_what_remains_of_them():
    item = wanted(1, NOW + 10, NOW + 20)
    views = [reservations.view_of(item, NOW + each) for each in (0, 10, 19, 20)]
    assert [(each.state, each.remaining_s) for each in views] == [
        ("pending", 10),
        ("active", 10),
        ("active", 1),
        ("ended", 0),
    ]
    assert reservations.view_of(wanted(1), NOW + 5).remaining_s is None
    cancelled = replace(item, state=ReservationState.CANCELLED)
    assert reservations.view_of(cancelled, NOW + 15).state == "cancelled"


def test_ended_ones_are_forgotten_when_nobody_may_look_at_them_any_more_and_never_sooner():
    params = Params().changed("a", {"history": 500})
    ledger = ledger_of(Block(0, 10**6, 0, None))
    for number, end in enumerate((NOW + 10, NOW + 20, None)):
        do(ledger, reservations.book(ledger, NOW, wanted(1, NOW, end, f"r-{number}"), f"k{number}", "d"))
    do(ledger, reservations.book(ledger, NOW, wanted(1, NOW + 900, NOW + 950, "r-c")))
    do(ledger, reservations.cancel(ledger, NOW + 5, "r-c"))

    def gone(now):
        return [each.before for each in reservations.elapsed(ledger, now, params).changes]

    def forgotten(now):
        ledger.advance(now)
        return {
            each.before.id
            for each in reservations.elapsed(ledger, now, params).changes
            if isinstance(each.before, Reservation)
        }

    assert forgotten(NOW + 504) == set()
    assert forgotten(NOW + 505) == {"r-c"}
    assert forgotten(NOW + 510) == {"r-0", "r-c"}
    assert forgotten(NOW + 10**7) == {"r-0", "r-1", "r-c"}
    keys = {each.name for each in gone(NOW + reservations.KEY_S) if isinstance(each, Once)}
    assert keys == {"k0", "k1", "k2"}
    assert not any(
        isinstance(each.before, Once)
        for each in reservations.elapsed(ledger, NOW + reservations.KEY_S - 1, params).changes
    )
    assert len(reservations.elapsed(ledger, NOW + 10**7, params, most=2).changes) == 2
    # With no history at all the margin for late clocks is kept.
    none = Params().changed("a", {"history": 0})
    fresh = ledger_of(Block(0, 10, 0, None))
    do(fresh, reservations.book(fresh, NOW, wanted(1, NOW, NOW + 10)))
    fresh.advance(NOW + 10)
    assert reservations.elapsed(fresh, NOW + 10, none).changes == ()
    fresh.advance(NOW + 10 + MARGIN_S)
    assert len(reservations.elapsed(fresh, NOW + 10 + MARGIN_S, none).changes) == 1


@pytest.mark.parametrize("rate", [0, -1, MAX_RATE + 1, 1.0, True, "5"])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(BadRequest):
        reservations.check_rate(rate)
