"""Admission against counting second by second, and what a refusal says against trying it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa import caps, expiry, listing, reservations, shortage
from asa.errors import (
    BadRequest,
    BadWindow,
    Conflict,
    Duplicate,
    Ended,
    Forbidden,
    IllegalTransition,
    KeyReused,
    LinkShort,
    NotFound,
    OverCap,
    Short,
    UnknownPool,
    UnknownReservation,
)
from asa.ledger import MARGIN_S, Ledger
from asa.lifecycle import LIFE, LISTED, Phase, Standing, State, state_of
from asa.records import (
    BACK,
    BOTH,
    OUT,
    Change,
    Held,
    Kind,
    Notice,
    Once,
    Reservation,
    ReservationState,
    Seed,
    is_link,
    made,
)
from objectives import Block, NodeId, Window
from objectives.fields import MAX_RATE
from objectives.params import Params

ME = NodeId("me", "0" * 16)
NOW = 10_000
LAST = NOW + 20
"""What is so at this second is so for ever."""
PARAMS = Params()


def ledger_of(*blocks, **links):
    """``eth0_out=5`` for a limit of 5 bit/s of ``eth0:out``."""
    limits = {name.replace("_", ":"): limit for name, limit in links.items()}
    return Ledger(ME, NOW, [Held("wan", each) for each in blocks], links=limits)


def wanted(rate, start=NOW, end=None, name="r-1", **more):
    return Reservation(name, "wan", rate, Window(start, end), ReservationState.BOOKED, NOW, NOW, **more)


def do(ledger, plan):
    ledger.apply(plan.changes)
    return plan.result


def book(ledger, item, now=NOW):
    return do(ledger, reservations.book(ledger, now, item))


def change(ledger, now, name, **wishes):
    """Resize, extend or shorten."""
    if "end" in wishes:
        wishes["keep_end"] = False
    new = reservations.changed(reservations.find(ledger, name), now, PARAMS, **wishes)
    return reservations.exchange(ledger, now, new)


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
                do(ledger, change(ledger, NOW, old.id, rate=rate, end=window.end))
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
    assert len(refused.value.details["shortages"]) == shortage.SHORTAGES
    assert "16 windows or more" in refused.value.message
    first = [("wan", 5, Window(NOW + 1 + 2 * each, NOW + 2 + 2 * each)) for each in range(shortage.FEW - 1)]
    rest = ("wan", 5, Window(NOW + 2 * shortage.FEW - 1, NOW + 200))
    assert shortage.needs(ledger, {"wan": 5}, Window(NOW, NOW + 200)) == [*first, rest]


def test_what_has_to_be_obtained_is_each_shortage_for_itself():
    ledger = ledger_of(Block(0, 10, NOW, None), Block(10, 15, NOW + 5, NOW + 10))
    do(ledger, reservations.book(ledger, NOW, wanted(4, NOW + 2, NOW + 4)))
    assert shortage.needs(ledger, {"wan": 10}, Window(NOW, NOW + 20)) == [("wan", 4, Window(NOW + 2, NOW + 4))]
    twelve = [
        ("wan", 2, Window(NOW, NOW + 2)),
        ("wan", 6, Window(NOW + 2, NOW + 4)),
        ("wan", 2, Window(NOW + 4, NOW + 5)),
        ("wan", 2, Window(NOW + 10, NOW + 20)),
    ]
    assert shortage.needs(ledger, {"wan": 12}, Window(NOW, NOW + 20)) == twelve
    assert shortage.needs(ledger, {"wan": 6}, Window(NOW, NOW + 20)) == []
    lan = [("lan", 6, Window(NOW, NOW + 20))]
    assert shortage.needs(ledger, {"lan": 6}, Window(NOW, NOW + 20)) == lan
    # Pool by pool; an interface has what it has, and what takes nothing of a pool needs nothing of it.
    every = {"wan": 12, "eth0:out": 10**6, "lan": 6, "man": 0}
    assert shortage.needs(ledger, every, Window(NOW, NOW + 20)) == [*twelve, *lan]


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
        change(ledger, NOW, "r-1", rate=5)
    with pytest.raises(UnknownReservation):
        reservations.cancel(ledger, NOW, "r-2")


def test_what_has_ended_can_neither_be_cancelled_nor_changed():
    ledger = ledger_of(Block(0, 10, NOW, None))
    do(ledger, reservations.book(ledger, NOW, wanted(10, NOW, NOW + 10)))
    for call in (
        lambda: reservations.cancel(ledger, NOW + 10, "r-1"),
        lambda: change(ledger, NOW + 10, "r-1", rate=5),
    ):
        with pytest.raises(Ended):
            call()
    assert reservations.cancel(ledger, NOW + 9, "r-1").changes


def test_a_change_that_does_not_fit_changes_nothing_at_all():
    ledger = ledger_of(Block(0, 10, NOW, NOW + 10))
    old = do(ledger, reservations.book(ledger, NOW, wanted(5, NOW, NOW + 8)))
    for rate, end in (5, NOW + 11), (11, NOW + 8), (4, None), (10, NOW + 11):
        with pytest.raises(Short):
            change(ledger, NOW, "r-1", rate=rate, end=end)
        assert ledger.reservations["r-1"] == old
    for rate, end in (0, NOW + 8), (-1, NOW + 8), (MAX_RATE + 1, NOW + 8):
        with pytest.raises(BadRequest):
            change(ledger, NOW, "r-1", rate=rate, end=end)
    with pytest.raises(BadWindow):
        change(ledger, NOW + 5, "r-1", rate=5, end=NOW + 5)
    assert do(ledger, change(ledger, NOW + 1, "r-1", rate=10, end=NOW + 10)).window.end == NOW + 10
    assert change(ledger, NOW + 2, "r-1", rate=10).changes == ()


def test_what_a_change_needs_beyond_what_is_booked():
    old = wanted(5, NOW, NOW + 10)

    def growth(now, rate, end):
        return reservations.growth(old, now, wanted(rate, NOW, end))

    assert growth(NOW, 5, NOW + 10) == []
    assert growth(NOW, 3, NOW + 5) == []
    assert growth(NOW + 2, 8, NOW + 10) == [(Window(NOW + 2, NOW + 10), {"wan": 3})]
    assert growth(NOW + 2, 5, None) == [(Window(NOW + 10, None), {"wan": 5})]
    assert growth(NOW + 2, 8, NOW + 12) == [
        (Window(NOW + 2, NOW + 10), {"wan": 3}),
        (Window(NOW + 10, NOW + 12), {"wan": 8}),
    ]


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
            page = listing.page(ledger, now, listing.Filter(**wish), after, 4)
            found += [each.id for each in page.reservations]
            after = page.next
            if after is None:
                break
        expected = sorted(
            each.id
            for each in ledger.reservations.values()
            if wish.get("pool", "wan") == "wan"
            and wish.get("owner", each.owner) == each.owner
            and (wish.get("state") == "all" or state_of(each, now) in (
                {"pending", "active"} if "state" not in wish else {wish["state"]}
            ))
        )  # fmt: skip
        assert found == expected, wish


def test_states_and_what_remains_of_them():
    item = wanted(1, NOW + 10, NOW + 20)
    views = [listing.view_of(item, NOW + each) for each in (0, 10, 19, 20)]
    assert [(each.state, each.remaining_s) for each in views] == [
        ("pending", 10),
        ("active", 10),
        ("active", 1),
        ("ended", 0),
    ]
    assert listing.view_of(wanted(1), NOW + 5).remaining_s is None
    cancelled = replace(item, state=ReservationState.CANCELLED)
    assert listing.view_of(cancelled, NOW + 15).state == "cancelled"


def test_ended_ones_are_forgotten_when_nobody_may_look_at_them_any_more_and_never_sooner():
    params = Params().changed("a", {"history": 500})
    ledger = ledger_of(Block(0, 10**6, 0, None))
    for number, end in enumerate((NOW + 10, NOW + 20, None)):
        do(ledger, reservations.book(ledger, NOW, wanted(1, NOW, end, f"r-{number}"), f"k{number}", "d"))
    do(ledger, reservations.book(ledger, NOW, wanted(1, NOW + 900, NOW + 950, "r-c")))
    do(ledger, reservations.cancel(ledger, NOW + 5, "r-c"))

    def gone(now):
        return [each.before for each in expiry.elapsed(ledger, now, params).changes]

    def forgotten(now):
        ledger.advance(now)
        return {
            each.before.id
            for each in expiry.elapsed(ledger, now, params).changes
            if isinstance(each.before, Reservation)
        }

    assert forgotten(NOW + 504) == set()
    assert forgotten(NOW + 505) == {"r-c"}
    assert forgotten(NOW + 510) == {"r-0", "r-c"}
    assert forgotten(NOW + 10**7) == {"r-0", "r-1", "r-c"}
    keys = {each.name for each in gone(NOW + expiry.KEY_S) if isinstance(each, Once)}
    assert keys == {"k0", "k1", "k2"}
    assert not any(
        isinstance(each.before, Once) for each in expiry.elapsed(ledger, NOW + expiry.KEY_S - 1, params).changes
    )
    assert len(expiry.elapsed(ledger, NOW + 10**7, params, most=2).changes) == 2
    # With no history at all the margin for late clocks is kept.
    none = Params().changed("a", {"history": 0})
    fresh = ledger_of(Block(0, 10, 0, None))
    do(fresh, reservations.book(fresh, NOW, wanted(1, NOW, NOW + 10)))
    fresh.advance(NOW + 10)
    assert expiry.elapsed(fresh, NOW + 10, none).changes == ()
    fresh.advance(NOW + 10 + MARGIN_S)
    assert len(expiry.elapsed(fresh, NOW + 10 + MARGIN_S, none).changes) == 1


@pytest.mark.parametrize("rate", [0, -1, MAX_RATE + 1, 1.0, True, "5"])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(BadRequest):
        reservations.check_rate(rate)


# -- duplicates

PORTS = {"source": "10.0.0.1:80{3}", "destination": "10.1.0.1"}


def rival(**more):
    return wanted(1, NOW + 10, NOW + 20, "r-2", **(PORTS | more))


@pytest.mark.parametrize(
    ("more", "duplicate"),
    [
        ({}, True),
        ({"rate": 5, "owner": "bob", "labels": ("x",), "traffic": "voice", "secret": "s"}, True),
        ({"kind": Kind.TWO_WAY, "back": 1}, False),
        ({"kind": Kind.PASSTHROUGH, "rate": 0, "pool": ""}, False),
        ({"protocol": "tcp"}, False),
        ({"source": "10.0.0.1:80"}, False),
        ({"source": "10.0.0.1:80{4}"}, False),
        ({"source": "10.0.0.1:81{3}"}, False),
        ({"destination": "10.1.0.0/24"}, False),
        ({"source": PORTS["destination"], "destination": PORTS["source"]}, False),
        ({"window": Window(NOW, NOW + 10)}, False),
        ({"window": Window(NOW + 20, None)}, False),
        ({"window": Window(NOW + 19, None)}, True),
        ({"window": Window(NOW, NOW + 11)}, True),
        ({"window": Window(NOW, None)}, True),
        ({"window": Window(NOW + 12, NOW + 13)}, True),
    ],
)
def test_a_flow_is_reserved_once_at_a_time(more, duplicate):
    ledger = ledger_of(Block(0, 100, 0, None))
    book(ledger, wanted(1, NOW + 10, NOW + 20, "r-1", **PORTS))
    item = replace(rival(), **more)
    if not duplicate:
        book(ledger, item)
        return
    with pytest.raises(Duplicate) as refused:
        reservations.book(ledger, NOW, item)
    assert refused.value.details == {"id": "r-1"}


def test_two_way_bandwidth_is_the_same_whichever_end_comes_first():
    ledger = ledger_of(Block(0, 100, 0, None))
    both = {"kind": Kind.TWO_WAY, "back": 2, "source": "a", "destination": "b"}
    book(ledger, wanted(1, name="r-1", **both))
    for ends in {}, {"source": "b", "destination": "a"}:
        with pytest.raises(Duplicate):
            reservations.book(ledger, NOW, wanted(1, name="r-2", **(both | ends)))
    book(ledger, wanted(1, name="r-3", source="a", destination="b"))
    book(ledger, wanted(1, name="r-4", source="b", destination="a"))


def test_copies_that_go_elsewhere_are_another_flow():
    ledger = ledger_of()
    mirror = {"pool": "", "kind": Kind.MIRRORING, "source": "a"}
    for number, output in enumerate(["eth1", "eth2"]):
        book(ledger, replace(wanted(0, name=f"r-{number}"), **mirror, output=output))
    with pytest.raises(Duplicate):
        book(ledger, replace(wanted(0, name="r-9"), **mirror, output="eth2"))


def test_what_says_nothing_of_its_packets_is_nobodys_duplicate():
    ledger = ledger_of(Block(0, 100, 0, None))
    for number in range(3):
        book(ledger, wanted(1, name=f"r-{number}"))
    book(ledger, wanted(1, name="r-tcp", protocol="tcp"))
    with pytest.raises(Duplicate):
        reservations.book(ledger, NOW, wanted(1, name="r-9", protocol="tcp"))


@pytest.mark.parametrize("state", list(ReservationState))
def test_what_lives_has_its_flow_and_what_is_over_has_not(state):
    there = replace(wanted(1, name="r-1", **PORTS), state=state)
    ledger = Ledger(ME, NOW, [Held("wan", Block(0, 100, 0, None)), there])
    if state in (ReservationState.CANCELLED, ReservationState.LAPSED):
        book(ledger, rival())
    else:
        with pytest.raises(Duplicate):
            book(ledger, rival())


def test_a_change_may_not_reach_into_another_of_its_flow_and_is_none_of_itself():
    ledger = ledger_of(Block(0, 100, 0, None))
    book(ledger, wanted(1, NOW, NOW + 10, "r-1", **PORTS))
    book(ledger, wanted(1, NOW + 20, NOW + 30, "r-2", **PORTS))
    do(ledger, change(ledger, NOW, "r-1", end=NOW + 20))
    with pytest.raises(Duplicate):
        change(ledger, NOW, "r-1", end=NOW + 21)
    # Nor may what is parked, which takes nothing.
    do(ledger, reservations.park(ledger, NOW, wanted(1, NOW + 40, NOW + 50, "r-3", **PORTS), "no route"))
    do(ledger, change(ledger, NOW, "r-2", end=NOW + 40))
    book(ledger, wanted(1, NOW + 60, None, "r-4", **PORTS))
    with pytest.raises(Duplicate):
        change(ledger, NOW, "r-3", end=NOW + 61)
    do(ledger, change(ledger, NOW, "r-3", end=NOW + 60))


# -- caps


def cap(ledger, project, resource, amount, percent=False):
    do(ledger, caps.set_cap(ledger, project, resource, amount, percent))


def alice(rate, name="r-1", start=NOW, end=None, **more):
    return wanted(rate, start, end, name, owner="alice", **more)


def test_a_project_has_at_most_its_cap_at_any_instant():
    ledger = ledger_of(Block(0, 1000, 0, None))
    cap(ledger, "alice", "wan", 10)
    book(ledger, alice(6, "r-1", NOW, NOW + 10))
    book(ledger, alice(6, "r-2", NOW + 10, NOW + 20))
    book(ledger, alice(4, "r-3", NOW, NOW + 20))
    with pytest.raises(OverCap) as refused:
        book(ledger, alice(1, "r-4", NOW + 19, NOW + 30))
    assert refused.value.details == {"project": "alice", "resource": "wan", "cap": 10, "booked": 10, "wanted": 1}
    book(ledger, wanted(500, name="r-5", owner="bob"))
    do(ledger, reservations.cancel(ledger, NOW, "r-3"))
    book(ledger, alice(4, "r-6", NOW, NOW + 20))


def test_the_cap_of_a_project_comes_before_that_of_every_one_and_of_a_resource_before_that_of_every_resource():
    ledger = ledger_of(Block(0, 1000, 0, None))
    order = [("*", "*", 1), ("*", "wan", 2), ("alice", "*", 3), ("alice", "wan", 4)]
    for number, (project, resource, amount) in enumerate(order):
        cap(ledger, project, resource, amount)
        with pytest.raises(OverCap) as refused:
            book(ledger, alice(amount + 1, f"r-{number}"))
        assert refused.value.details["cap"] == amount
    do(ledger, caps.remove_cap(ledger, "alice", "wan"))
    assert caps.cap_of(ledger, "alice", "wan").amount == 3
    assert caps.cap_of(ledger, "bob", "wan").amount == 2
    assert caps.cap_of(ledger, "bob", "lan").amount == 1
    with pytest.raises(NotFound):
        caps.remove_cap(ledger, "alice", "wan")


def test_percent_are_of_what_is_seeded_of_a_pool_and_of_what_may_be_reserved_of_an_interface():
    ledger = ledger_of(Block(0, 1000, 0, None), eth0_out=70)
    ledger.apply(made(Seed("wan", 0, 200, NOW)))
    cap(ledger, "*", "*", 50, percent=True)
    with pytest.raises(OverCap) as refused:
        book(ledger, alice(101))
    assert refused.value.details["cap"] == 100
    with pytest.raises(OverCap) as refused:
        book(ledger, alice(36, claims=(("eth0:out", OUT),)))
    assert (refused.value.details["resource"], refused.value.details["cap"]) == ("eth0:out", 35)
    book(ledger, alice(35, claims=(("wan", OUT), ("eth0:out", OUT))))
    # What peers have seeded counts as well for who knows of it.
    do(ledger, reservations.book(ledger, NOW, alice(165, "r-2"), whole=lambda ledger, pool: 400))
    # Of an interface without limit there is no part.
    book(ledger, alice(10**9, "r-3", claims=(("eth9:out", OUT),)))
    cap(ledger, "*", "eth9:out", 0, percent=True)
    with pytest.raises(OverCap):
        book(ledger, alice(1, "r-4", claims=(("eth9:out", OUT),)))


@pytest.mark.parametrize("percent", [False, True])
@pytest.mark.parametrize(("project", "resource"), [("alice", "*"), ("*", "*")])
def test_a_cap_of_0_bans_also_what_takes_nothing(project, resource, percent):
    ledger = ledger_of(Block(0, 1000, 0, None))
    book(ledger, alice(5))
    cap(ledger, project, resource, 0, percent)
    none = replace(alice(0, "r-2"), kind=Kind.PASSTHROUGH, pool="", source="a")
    for item in alice(1, "r-3"), none:
        with pytest.raises(OverCap):
            book(ledger, item)
    with pytest.raises(OverCap):
        reservations.park(ledger, NOW, alice(1, "r-4"), "no route")
    # What there is goes on: it may become less, and not more.
    do(ledger, change(ledger, NOW, "r-1", rate=3))
    with pytest.raises(OverCap):
        change(ledger, NOW, "r-1", rate=4)
    do(ledger, change(ledger, NOW, "r-1", end=NOW + 5))
    with pytest.raises(OverCap):
        change(ledger, NOW, "r-1", end=NOW + 6)
    if project == "alice":
        book(ledger, replace(none, owner="bob"))


def test_a_cap_that_is_lowered_is_for_what_comes():
    ledger = ledger_of(Block(0, 1000, 0, None))
    book(ledger, alice(100))
    cap(ledger, "alice", "wan", 50)
    assert ledger.reservations["r-1"].state is ReservationState.BOOKED
    with pytest.raises(OverCap):
        book(ledger, alice(1, "r-2"))
    with pytest.raises(OverCap):
        change(ledger, NOW, "r-1", rate=101)
    do(ledger, change(ledger, NOW, "r-1", rate=60))
    do(ledger, change(ledger, NOW, "r-1", rate=40))
    do(ledger, change(ledger, NOW, "r-1", rate=50))


@pytest.mark.parametrize(
    ("project", "resource", "amount", "percent"),
    [("a", "wan", -1, False), ("a", "wan", 101, True), ("a", "wan", MAX_RATE + 1, False), ("a", "wan", True, False),
     ("a\n", "wan", 1, False), ("a" * 256, "wan", 1, False), ("a", "w n", 1, False), ("a", "", 1, False),
     ("a", "eth0:up", 1, False), ("a", ":out", 1, False), ("a", "e" * 16 + ":in", 1, False)],
)  # fmt: skip
def test_what_is_no_cap_is_refused(project, resource, amount, percent):
    with pytest.raises(BadRequest):
        caps.set_cap(ledger_of(), project, resource, amount, percent)


# -- links


OVER_LINK = {"claims": (("wan", OUT), ("eth0:out", OUT))}


def test_what_takes_a_pool_and_a_link_fits_only_where_both_have_it():
    ledger = ledger_of(Block(0, 10, 0, None), eth0_out=6)
    with pytest.raises(LinkShort) as refused:
        book(ledger, wanted(7, **OVER_LINK))
    assert refused.value.details["resource"] == "eth0:out"
    assert refused.value.details["lower_rate"]["rate"] == 6
    book(ledger, wanted(6, **OVER_LINK))
    book(ledger, wanted(4, name="r-2"))
    with pytest.raises(Short) as refused:
        book(ledger, wanted(1, name="r-3"))
    assert not isinstance(refused.value, LinkShort)
    do(ledger, reservations.cancel(ledger, NOW, "r-1"))
    assert ledger.free("eth0:out", Window(NOW, None)) == 6
    with pytest.raises(LinkShort):
        # The link comes first: no peer can add to it.
        book(ledger, wanted(11, name="r-4", **OVER_LINK))


def test_both_ways_are_taken_of_what_each_goes_over():
    ledger = ledger_of(Block(0, 100, 0, None), eth0_out=10, eth0_in=3)
    claims = (("wan", BOTH), ("eth0:out", OUT), ("eth0:in", BACK))
    item = wanted(9, kind=Kind.TWO_WAY, back=3, claims=claims)
    assert item.demand() == {"wan": 12, "eth0:out": 9, "eth0:in": 3}
    with pytest.raises(LinkShort) as refused:
        book(ledger, replace(item, back=4))
    assert refused.value.details["resource"] == "eth0:in"
    # Less of one of two rates is another wish.
    assert refused.value.details["lower_rate"] is None
    book(ledger, item)
    always = Window(NOW, None)
    assert [ledger.free(each, always) for each in ("wan", "eth0:out", "eth0:in")] == [88, 1, 0]
    grown = change(ledger, NOW, "r-1", rate=10).result
    with pytest.raises(LinkShort):
        change(ledger, NOW, "r-1", back=4)
    assert reservations.growth(item, NOW, grown) == [(always, {"wan": 1, "eth0:out": 1})]


def test_what_a_reservation_takes_nothing_of_does_not_stand_in_its_way():
    ledger = ledger_of(Block(0, 10, 0, None), eth0_in=1)
    there = wanted(5, name="r-0", claims=(("eth0:in", OUT),))
    ledger.apply(made(there))
    assert ledger.free("eth0:in", Window(NOW, None)) == -4
    book(ledger, wanted(5, claims=(("wan", OUT), ("eth0:in", BACK))))
    # Nor is it lacking.
    more = ledger_of()
    more.apply(made(wanted(5)))
    assert more.free("wan", Window(NOW, None)) == -5
    assert shortage.needs(more, {"wan": 0}, Window(NOW, None)) == []


def test_what_a_changed_or_moved_reservation_needs_is_what_it_has_not():
    old = wanted(5, NOW, NOW + 10, claims=(("wan", OUT), ("eth0:out", OUT)))
    new = replace(old, rate=7, window=Window(NOW, NOW + 20), claims=(("wan", OUT), ("lan", OUT), ("eth1:out", OUT)))
    assert reservations.growth(old, NOW + 2, new) == [
        (Window(NOW + 2, NOW + 10), {"wan": 2, "lan": 7, "eth1:out": 7}),
        (Window(NOW + 10, NOW + 20), {"wan": 7, "lan": 7, "eth1:out": 7}),
    ]
    assert reservations.growth(old, NOW, replace(old, rate=4)) == []
    for state in ReservationState.PARKED, ReservationState.LAPSED, ReservationState.CANCELLED:
        assert reservations.growth(replace(old, state=state), NOW, old) == [(old.window, old.demand())]


def test_what_is_lacking_is_of_pools_and_of_what_is_left_of_the_window():
    ledger = ledger_of(Block(0, 5, 0, None), eth0_out=1)
    item = wanted(8, NOW, NOW + 20, claims=(("wan", OUT), ("lan", OUT), ("eth0:out", OUT)))
    assert reservations.lacking(ledger, NOW + 4, item) == [
        ("wan", 3, Window(NOW + 4, NOW + 20)),
        ("lan", 8, Window(NOW + 4, NOW + 20)),
    ]
    assert reservations.lacking(ledger, NOW + 20, item) == []
    booked = book(ledger, wanted(5, NOW, NOW + 10))
    assert reservations.lacking(ledger, NOW, replace(booked, rate=6, window=Window(NOW, NOW + 12))) == [
        ("wan", 1, Window(NOW, NOW + 10)),
        ("wan", 1, Window(NOW + 10, NOW + 12)),
    ]
    # What is parked has nothing of what it is to take.
    parked = do(ledger, reservations.park(ledger, NOW, wanted(9, name="r-2"), "short"))
    placed = replace(parked, state=ReservationState.BOOKED)
    assert [each[:2] for each in reservations.lacking(ledger, NOW, placed)] == [("wan", 9), ("wan", 4)]


RESOURCES = "wan", "lan", "eth0:out", "eth0:in"
CLAIMS = st.sampled_from(
    [
        (Kind.ONE_WAY, (("wan", OUT),)),
        (Kind.ONE_WAY, (("wan", OUT), ("lan", OUT), ("eth0:out", OUT))),
        (Kind.TWO_WAY, (("wan", BOTH),)),
        (Kind.TWO_WAY, (("wan", BOTH), ("eth0:out", OUT), ("eth0:in", BACK))),
        (Kind.TWO_WAY, (("eth0:out", OUT), ("eth0:in", BACK))),
        (Kind.ONE_WAY, (("lan", OUT), ("lan", OUT), ("eth0:in", BACK))),
    ]
)
WISHES = st.tuples(CLAIMS, st.integers(1, 7), st.integers(1, 4), WINDOWS)


def wish(name, drawn):
    (kind, claims), rate, back, window = drawn
    back = back if kind is Kind.TWO_WAY else 0
    return wanted(rate, window.start, window.end, name, kind=kind, back=back, claims=claims)


def several(blocks, booked):
    """Blocks for two pools, two limited links, and some of it booked."""
    records = [Held(("wan", "lan")[number % 2], each) for number, each in enumerate(blocks)]
    ledger = Ledger(ME, NOW, records, links={"eth0:out": 9, "eth0:in": 6})
    for number, drawn in enumerate(booked):
        try:
            book(ledger, wish(f"r-{number}", drawn))
        except Short:
            pass
    return ledger


def fits_second_by_second(ledger, item):
    return all(
        ledger.free(resource, Window(second, second + 1)) >= amount
        for resource, amount in item.demand().items()
        if amount
        for second in seconds(item.window)
    )


@given(BLOCKS, st.lists(WISHES, max_size=5), WISHES)
@settings(max_examples=300, deadline=None)
def test_of_several_resources_what_is_offered_can_be_booked(blocks, booked, drawn):
    ledger = several(blocks, booked)
    item = wish("r-x", drawn)
    fits = fits_second_by_second(ledger, item)
    try:
        reservations.admit(ledger, NOW, item)
    except Short as refused:
        details, of_a_link = refused.details, isinstance(refused, LinkShort)
    else:
        assert fits
        return
    assert not fits
    assert of_a_link == is_link(details["resource"])
    for name in "lower_rate", "later_start", "shorter":
        offer = details[name]
        if offer is not None:
            offered = replace(item, rate=offer["rate"], window=Window(offer["start"], offer["end"]))
            reservations.admit(ledger, NOW, offered)
            assert (offer["rate"] < item.rate) == (name == "lower_rate")
    assert details["shortages"]


@given(
    BLOCKS, st.lists(WISHES, min_size=1, max_size=5), st.integers(1, 9), st.integers(1, 5), WINDOWS, st.integers(0, 9)
)
@settings(max_examples=300, deadline=None)
def test_a_change_of_several_resources_is_admitted_where_it_fits_without_what_it_was(
    blocks, booked, rate, back, window, later
):
    ledger = several(blocks, booked)
    if not ledger.reservations:
        return
    now = NOW + later
    old = next(iter(ledger.reservations.values()))
    if old.window.passed(now) or (window.end is not None and window.end <= max(now, old.window.start)):
        return
    without = Ledger(ME, NOW, [each for each in ledger.records() if each != old], links=ledger.links)
    new = replace(
        old, rate=rate, back=back if old.kind is Kind.TWO_WAY else 0, window=Window(old.window.start, window.end)
    )
    left = replace(new, window=Window(max(now, old.window.start), window.end))
    fits = fits_second_by_second(without, left)
    try:
        do(ledger, reservations.exchange(ledger, now, new))
    except Short:
        assert not fits
        assert ledger.reservations[old.id] == old
    else:
        assert fits
        assert all(ledger.free(each, Window(now, None)) >= 0 for each in RESOURCES)


# -- what is held


def held(rate=5, until=NOW + 30, name="r-1", end=None, **more):
    return replace(wanted(rate, NOW, end, name, **more), state=ReservationState.HELD, until=until)


def test_a_hold_keeps_its_capacity_until_its_deadline_and_then_lapses():
    ledger = ledger_of(Block(0, 5, 0, None))
    book(ledger, held())
    with pytest.raises(Short):
        book(ledger, wanted(1, name="r-2"))
    assert state_of(ledger.reservations["r-1"], NOW + 29) is State.HELD
    assert listing.view_of(ledger.reservations["r-1"], NOW + 10).remaining_s == 20
    assert expiry.lapsed(ledger, NOW + 29).changes == ()
    assert state_of(ledger.reservations["r-1"], NOW + 30) is State.ENDED
    (gone,) = do(ledger, expiry.lapsed(ledger, NOW + 30))
    assert (gone.state, gone.changed, gone.why) == (ReservationState.LAPSED, NOW + 30, "nobody confirmed it in time")
    book(ledger, wanted(5, name="r-2"))
    assert expiry.lapsed(ledger, NOW + 99).changes == ()
    for call in reservations.confirm, reservations.cancel:
        with pytest.raises(Ended):
            call(ledger, NOW + 40, "r-1")


def test_what_is_confirmed_before_its_deadline_is_booked():
    ledger = ledger_of(Block(0, 5, 0, None))
    book(ledger, held())
    confirmed = do(ledger, reservations.confirm(ledger, NOW + 29, "r-1"))
    assert (confirmed.state, confirmed.until, confirmed.changed) == (ReservationState.BOOKED, None, NOW + 29)
    assert reservations.confirm(ledger, NOW + 99, "r-1").changes == ()
    assert expiry.lapsed(ledger, NOW + 99).changes == ()
    with pytest.raises(UnknownReservation):
        reservations.confirm(ledger, NOW, "r-2")


@pytest.mark.parametrize("until", [NOW + 30, NOW + 50])
def test_a_hold_is_over_with_its_deadline_and_with_its_window(until):
    ledger = ledger_of(Block(0, 5, 0, None))
    book(ledger, held(until=until, end=NOW + 40))
    over = min(until, NOW + 40)
    assert reservations.confirm(ledger, over - 1, "r-1").changes
    assert reservations.changed(ledger.reservations["r-1"], over - 1, PARAMS, rate=4).until == until
    with pytest.raises(Ended):
        reservations.confirm(ledger, over, "r-1")
    with pytest.raises(Ended):
        reservations.changed(ledger.reservations["r-1"], over, PARAMS, rate=4)
    assert len(expiry.lapsed(ledger, over).changes) == 1


def test_what_waits_for_another_agent_is_neither_confirmed_nor_changed_nor_does_it_lapse():
    ledger = ledger_of(Block(0, 5, 0, None))
    book(ledger, replace(wanted(5, NOW, NOW + 10), state=ReservationState.PREPARED))
    for call in (
        lambda: reservations.confirm(ledger, NOW, "r-1"),
        lambda: reservations.changed(ledger.reservations["r-1"], NOW, PARAMS, rate=4),
    ):
        with pytest.raises(Conflict):
            call()
    assert expiry.lapsed(ledger, NOW + 99).changes == ()
    assert "r-1" in ledger.waiting


def test_so_many_lapse_at_once():
    ledger = ledger_of(Block(0, 50, 0, None))
    for number in range(5):
        book(ledger, held(1, name=f"r-{number}"))
    assert len(do(ledger, expiry.lapsed(ledger, NOW + 30, most=3))) == 3
    assert len(do(ledger, expiry.lapsed(ledger, NOW + 30, most=3))) == 2
    assert ledger.waiting == {}


# -- what is parked


def test_what_is_parked_takes_nothing_and_is_booked_when_it_fits():
    ledger = ledger_of(Block(0, 5, 0, None), eth0_out=9)
    item = wanted(5, NOW, NOW + 50, **PORTS, **OVER_LINK)
    parked = do(ledger, reservations.park(ledger, NOW, item, "x" * 300, "key", "digest"))
    assert (parked.state, parked.claims, len(parked.why)) == (ReservationState.PARKED, (), reservations.LONGEST_WHY)
    assert reservations.park(ledger, NOW, replace(item, id="r-9"), "", "key", "digest").result == parked
    with pytest.raises(Conflict):
        reservations.park(ledger, NOW, item, "")
    with pytest.raises(Duplicate):
        reservations.park(ledger, NOW, replace(item, id="r-9"), "")
    assert ledger.free("wan", Window(NOW, None)) == 5
    assert ledger.projects == {}
    assert listing.view_of(parked, NOW).state == "parked"
    with pytest.raises(Conflict):
        reservations.confirm(ledger, NOW, "r-1")
    other = book(ledger, wanted(1, name="r-2"))
    placed = replace(parked, claims=item.claims)
    with pytest.raises(Short):
        reservations.unpark(ledger, NOW + 5, parked, placed)
    assert ledger.reservations["r-1"] == parked
    do(ledger, reservations.cancel(ledger, NOW, other.id))
    booked = do(ledger, reservations.unpark(ledger, NOW + 5, parked, placed))
    assert booked == replace(item, changed=NOW + 5)
    assert ledger.free("eth0:out", Window(NOW, NOW + 50)) == 4
    with pytest.raises(Ended):
        reservations.unpark(ledger, NOW + 5, parked, placed)
    assert ledger.waiting == {}


def test_what_is_parked_is_dropped_at_its_end():
    ledger = ledger_of()
    do(ledger, reservations.park(ledger, NOW, wanted(5, NOW, NOW + 10), "short"))
    do(ledger, reservations.park(ledger, NOW, wanted(5, name="r-2"), "short"))
    assert expiry.lapsed(ledger, NOW + 9).changes == ()
    with pytest.raises(Ended):
        reservations.unpark(ledger, NOW + 10, ledger.reservations["r-1"], ledger.reservations["r-1"])
    (gone,) = do(ledger, expiry.lapsed(ledger, NOW + 10))
    assert (gone.id, gone.state) == ("r-1", ReservationState.LAPSED)
    assert gone.why == "it could not be placed in time: short"
    assert set(ledger.waiting) == {"r-2"}
    assert do(ledger, reservations.cancel(ledger, NOW + 10**9, "r-2")).state is ReservationState.CANCELLED


def test_what_is_parked_can_be_changed_while_it_takes_nothing():
    ledger = ledger_of()
    do(ledger, reservations.park(ledger, NOW, wanted(5, NOW, NOW + 10, owner="alice"), "short"))
    cap(ledger, "alice", "*", 0)
    new = do(ledger, change(ledger, NOW, "r-1", rate=50, end=NOW + 20))
    assert (new.state, new.rate, new.window.end) == (ReservationState.PARKED, 50, NOW + 20)


# -- whose they are


def test_a_secret_opens_what_it_was_given_with_and_the_administrator_everything():
    ledger = ledger_of(Block(0, 100, 0, None))
    book(ledger, held(name="r-1", secret="s"))
    book(ledger, wanted(1, name="r-2"))
    for call in reservations.confirm, reservations.cancel:
        for opened in frozenset(), frozenset({"t", ""}):
            with pytest.raises(Forbidden):
                call(ledger, NOW, "r-1", opened)
        for opened in frozenset({"s", "t"}), None:
            assert call(ledger, NOW, "r-1", opened).changes
    # Where there is no secret none is needed.
    assert reservations.cancel(ledger, NOW, "r-2", frozenset()).changes


def test_mine_are_those_a_secret_opens_and_are_not_over():
    ledger = ledger_of(Block(0, 100, 0, None))
    for number, (secret, owner) in enumerate([("s", "a"), ("s", "b"), ("t", "a"), ("", "a"), ("s", "a"), ("s", "a")]):
        book(ledger, wanted(1, NOW, NOW + 10 if number == 5 else None, f"r-{number}", secret=secret, owner=owner))
    do(ledger, reservations.cancel(ledger, NOW, "r-4"))

    def mine(opened, owner=None, now=NOW + 10, most=9):
        return reservations.mine(ledger, opened, owner, now, most)

    assert mine(frozenset({"s"})) == ["r-0", "r-1"]
    assert mine(frozenset({"s"}), now=NOW + 9) == ["r-0", "r-1", "r-5"]
    assert mine(frozenset({"s"}), now=NOW + 9, most=2) == ["r-0", "r-1"]
    assert mine(frozenset({"s", "t"}), "a") == ["r-0", "r-2"]
    assert mine(frozenset({""}), "a") == []
    assert mine(frozenset()) == []
    # The administrator's, of an owner only.
    assert mine(None) == []
    assert mine(None, "a") == ["r-0", "r-2", "r-3"]


def test_the_agent_at_the_other_end_has_to_be_told_once_of_what_is_cancelled():
    ledger = ledger_of(Block(0, 100, 0, None))
    peer = NodeId("peer", "1" * 16)
    book(ledger, wanted(1, NOW, NOW + 50, partner=str(peer)))
    do(ledger, reservations.cancel(ledger, NOW + 1, "r-1", why="y" * 300))
    (notice,) = ledger.notices.values()
    assert notice == Notice("r-1", peer, "y" * reservations.LONGEST_WHY, NOW + 1, NOW + 50)
    assert reservations.cancel(ledger, NOW + 2, "r-1").changes == ()


# -- lives


@pytest.mark.parametrize("state", list(ReservationState))
def test_history_is_kept_for_what_is_over_in_any_way_and_what_waits_is_never_forgotten(state):
    params = Params().changed("a", {"history": 500})
    ledger = Ledger(ME, NOW, [replace(wanted(1, NOW, NOW + 10), state=state, changed=NOW + 5)])

    def forgotten(now):
        ledger.advance(now)
        return len(expiry.elapsed(ledger, now, params).changes)

    over = {"booked": NOW + 510, "cancelled": NOW + 505, "lapsed": NOW + 505}.get(state)
    if over is not None:
        assert forgotten(over - 1) == 0
        assert forgotten(over) == 1
    assert forgotten(NOW + 10**6) == (over is not None)


def test_from_second_to_second_a_life_goes_on_as_its_table_says():
    """Every record, every step of its table, every second of its window, and whatever the data plane says."""
    base = wanted(1, NOW + 10, NOW + 20)
    records = [replace(base, state=each) for each in ReservationState]
    records.append(replace(base, state=ReservationState.HELD, until=NOW + 15))
    words = [(paused, phase) for paused in (False, True) for phase in (None, *map(Standing, Phase))]
    for record in records:
        for now in range(NOW, NOW + 22):
            for paused, phase in words:
                before = state_of(record, now, paused, lambda *_, phase=phase: phase)
                for then, word in words:
                    after = state_of(record, now + 1, then, lambda *_, word=word: word)
                    # What is over does not begin again in the data plane.
                    again = before in (State.ENDED, State.CANCELLED) and after is State.ENDING
                    assert again or after == before or after in LIFE[before], (record.state, before, after)


def test_what_is_listed_is_what_is_not_over():
    assert {each for each in State if each not in LISTED} == {State.ENDED, State.CANCELLED}
    assert set(LIFE) == {None, *State}


def test_pages_are_filtered_by_each_of_their_fields_and_bounded_in_what_they_look_at(monkeypatch):
    ledger = ledger_of(Block(0, 10**6, 0, None))
    for number in range(10):
        book(ledger, wanted(1, name=f"r-{number}", labels=("a",) * (number % 2), source=f"10.0.0.{number}",
             names=(f"host{number}", ""), claims=(("wan", OUT), (f"eth{number % 3}:out", OUT))))  # fmt: skip
    do(ledger, reservations.park(ledger, NOW, wanted(1, name="r-p"), "short"))

    def ids(**wish):
        found, after, pages = [], None, 0
        while True:
            page = listing.page(ledger, NOW, listing.Filter(**wish), after)
            found += [each.id for each in page.reservations]
            after, pages = page.next, pages + 1
            if after is None:
                return found, pages

    every = [*(f"r-{number}" for number in range(10)), "r-p"]
    wishes = [
        ({}, every),
        ({"label": "a"}, every[1:10:2]),
        ({"pool": "eth1:out"}, ["r-1", "r-4", "r-7"]),
        ({"pool": "wan"}, every),
        ({"kind": "two-way"}, []),
        ({"host": "10.0.0.3"}, ["r-3"]),
        ({"host": "host3"}, ["r-3"]),
        ({"state": "parked"}, ["r-p"]),
        ({"state": "active"}, every[:-1]),
    ]
    for scan, pages in (4_096, 1), (3, 4):
        monkeypatch.setattr(listing, "SCAN", scan)
        for wish_, expected in wishes:
            assert ids(**wish_) == (expected, pages), wish_
    assert listing.page(ledger_of(), NOW, listing.Filter()) == listing.page(ledger_of(), NOW, listing.Filter(), "r-1")


def test_a_view_names_what_was_written_and_what_it_stands_for():
    item = wanted(1, source="10.0.0.1", destination="10.1.0.1", names=("web1", ""), secret="s")
    view = listing.view_of(item, NOW)
    assert (view.source, view.source_address) == ("web1", "10.0.0.1")
    assert (view.destination, view.destination_address) == ("10.1.0.1", "10.1.0.1")
    assert view.secret is True
    assert view.takes == {"wan": 1}


@pytest.mark.parametrize(
    ("kind", "rate", "back", "good"),
    [
        (Kind.ONE_WAY, 1, 0, True),
        (Kind.ONE_WAY, 1, 1, False),
        (Kind.ONE_WAY, 0, 0, False),
        (Kind.TWO_WAY, 1, 1, True),
        (Kind.TWO_WAY, 1, 0, False),
        (Kind.TWO_WAY, 0, 1, False),
        (Kind.TWO_WAY, 1, MAX_RATE + 1, False),
        *((kind, 0, 0, True) for kind in (Kind.PASSTHROUGH, Kind.STEERING, Kind.MIRRORING)),
        (Kind.STEERING, 1, 0, False),
    ],
)
def test_rates_are_those_of_the_kind(kind, rate, back, good):
    item = wanted(rate, kind=kind, back=back)
    if good:
        reservations.check_kind(item)
    else:
        with pytest.raises(BadRequest):
            reservations.check_kind(item)


def test_a_record_is_changed_only_as_its_table_says():
    item = wanted(1)
    with pytest.raises(IllegalTransition):
        Change(item, replace(item, state=ReservationState.PARKED))
