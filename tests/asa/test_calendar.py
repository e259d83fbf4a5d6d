"""The calendar of free capacity: named cases, and every answer against what counting second by second gives."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asa.btree import Node
from asa.calendar import FAN_OUT, Calendar, Shortfall

HORIZON = 40
"""After it nothing changes any more in the windows that hypothesis makes."""

Window = tuple[int, int | None]

AMOUNTS = st.integers(-4, 4)
TIMES = st.integers(0, HORIZON - 1)
LATER = st.integers(0, HORIZON + 5)
WINDOWS = st.tuples(TIMES, st.integers(1, HORIZON)).map(lambda each: (each[0], min(sum(each), HORIZON)))
WINDOWS_OR_OPEN: st.SearchStrategy[Window] = WINDOWS | TIMES.map(lambda start: (start, None))


class Seconds:
    """What is free in each second up to the horizon, and from then on in the last of them. Counts, and nothing else."""

    def __init__(self) -> None:
        self.free = dict.fromkeys(range(HORIZON + 1), 0)
        self.begin = -1
        """The time last forgotten up to; before time 0 nothing is free."""

    def add(self, amount: int, start: int, end: int | None) -> None:
        for second in self.free:
            if start <= second and (end is None or second < end):
                self.free[second] += amount

    def at(self, time: int) -> int:
        return self.free[min(time, HORIZON)]

    def lowest(self, start: int, end: int | None) -> int:
        last = max(start, HORIZON) + 1 if end is None else end
        return min(self.at(second) for second in range(start, last))

    def earliest(self, amount: int, duration: int | None, after: int, before: int | None) -> int | None:
        for start in range(after, max(after, HORIZON) + 1):
            end = None if duration is None else start + duration
            if before is not None and (end is None or end > before):
                continue
            if self.lowest(start, end) >= amount:
                return start
        return None

    def shortfalls(self, amount: int, start: int, end: int | None) -> list[Shortfall]:
        found = []
        second = start
        last = max(start, HORIZON) + 1 if end is None else end
        while second < last:
            if self.at(second) >= amount:
                second += 1
                continue
            begun = second
            while second < last and self.at(second) < amount:
                second += 1
            until = None if end is None and second == last else second
            found.append(Shortfall(begun, until, max(amount - self.at(each) for each in range(begun, second))))
        return found

    def steps(self, start: int, end: int | None) -> list[tuple[int, int]]:
        last = max(start, HORIZON) + 1 if end is None else end
        changes = [second for second in range(start + 1, last) if self.at(second) != self.at(second - 1)]
        return [(second, self.at(second)) for second in [start, *changes]]

    @property
    def changes(self) -> int:
        free = self.free | {-1: 0}
        return sum(free[second] != free[second - 1] for second in range(self.begin + 1, HORIZON + 1))


def checked(calendar: Calendar) -> list[tuple[int, int]]:
    """Every (time, delta) of the tree, after what each node knows has been counted anew from below.

    Nodes have a least number of entries until something is forgotten, which leaves the first of each level with fewer.
    """
    least = calendar._least if calendar._forgotten is None else 1
    changes, _ = _below(calendar._root, least, calendar._fan_out, first=True, root=True)
    times = [time for time, _ in changes]
    assert times == sorted(set(times))
    assert all(delta for _, delta in changes)
    assert len(calendar) == len(changes)
    return changes


def _below(node: Node, least: int, most: int, first: bool, root: bool) -> tuple[list[tuple[int, int]], int]:
    """The changes below a node, and its height."""
    assert len(node.keys) == len(node.sums) == len(node.lows) == len(node.highs) <= most
    assert root or len(node.keys) >= least
    if node.children is None:
        assert node.lows is node.sums is node.highs
        return list(zip(node.keys, node.sums, strict=True)), 1
    assert len(node.children) == len(node.keys) >= (2 if root else least)
    changes: list[tuple[int, int]] = []
    heights = set()
    for index, child in enumerate(node.children):
        below, height = _below(child, least, most, first and index == 0, root=False)
        heights.add(height)
        levels = list(accumulate(delta for _, delta in below))
        assert (node.sums[index], node.lows[index], node.highs[index]) == (levels[-1], min(levels), max(levels))
        assert (first and index == 0) or node.keys[index] <= below[0][0]
        assert index == 0 or changes[-1][0] < node.keys[index]
        changes += below
    assert len(heights) == 1
    return changes, heights.pop() + 1


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


def test_nothing_is_free_where_nothing_was_added(calendar: Calendar) -> None:
    assert calendar.at(0) == 0
    assert calendar.lowest(5, None) == 0
    assert len(calendar) == 0
    assert calendar.steps(5, None, 3) == [(5, 0)]
    assert calendar.earliest(1, 1, 0) is None
    assert calendar.earliest(0, None, 7) == 7


def test_a_window_holds_its_first_second_and_not_its_last(calendar: Calendar) -> None:
    calendar.add(100, 10, 20)
    assert [calendar.at(time) for time in (9, 10, 19, 20)] == [0, 100, 100, 0]


def test_a_window_without_an_end_lasts_for_ever(calendar: Calendar) -> None:
    calendar.add(100, 10, None)
    assert [calendar.at(time) for time in (9, 10, 2**62)] == [0, 100, 100]
    assert calendar.fits(100, 10, None)
    assert not calendar.fits(100, 9, None)


def test_bookings_that_do_not_overlap_do_not_add_up(calendar: Calendar) -> None:
    calendar.add(100, 0, None)
    calendar.add(-80, 1000, 2000)
    calendar.add(-30, 2000, 3000)
    assert calendar.lowest(500, 3000) == 20
    assert calendar.lowest(2000, 3000) == 70


def test_a_window_sees_the_booking_inside_it(calendar: Calendar) -> None:
    calendar.add(100, 0, None)
    calendar.add(-80, 1000, 2000)
    assert not calendar.fits(50, 500, 3000)
    assert calendar.shortfalls(50, 500, 3000) == [Shortfall(1000, 2000, 30)]
    assert calendar.fits(20, 500, 3000)
    assert calendar.fits(50, 2000, 3000)
    assert calendar.fits(50, 500, 1000)


def test_what_is_taken_back_leaves_nothing(calendar: Calendar) -> None:
    calendar.add(100, 0, None)
    calendar.add(-80, 1000, 2000)
    calendar.add(80, 1000, 2000)
    assert len(calendar) == 1
    assert calendar.steps(0, None, 10) == [(0, 100)]


def test_touching_windows_of_one_amount_are_one(calendar: Calendar) -> None:
    calendar.add(5, 10, 20)
    calendar.add(5, 20, 30)
    assert len(calendar) == 2
    assert calendar.steps(0, None, 10) == [(0, 0), (10, 5), (30, 0)]


def test_shortfalls_of_different_depth_that_touch_are_one_as_deep_as_the_deepest(calendar: Calendar) -> None:
    calendar.add(100, 0, 50)
    calendar.add(-60, 10, 20)
    calendar.add(-90, 20, 30)
    assert calendar.shortfalls(50, 0, 40) == [Shortfall(10, 30, 40)]
    assert calendar.shortfalls(50, 15, 25) == [Shortfall(15, 25, 40)]
    assert calendar.shortfalls(50, 15, 20) == [Shortfall(15, 20, 10)]
    assert calendar.shortfalls(50, 0, None) == [Shortfall(10, 30, 40), Shortfall(50, None, 50)]
    assert calendar.shortfalls(50, 0, None, limit=1) == [Shortfall(10, 30, 40)]


def test_the_earliest_start_is_found_in_a_gap_that_is_long_enough(calendar: Calendar) -> None:
    calendar.add(100, 0, None)
    calendar.add(-80, 10, 20)
    calendar.add(-80, 25, 40)
    assert calendar.earliest(50, 5, 10) == 20
    assert calendar.earliest(50, 6, 10) == 40
    assert calendar.earliest(50, 6, 4) == 4
    assert calendar.earliest(50, 6, 5) == 40
    assert calendar.earliest(50, None, 0) == 40
    assert calendar.earliest(101, 1, 0) is None


def test_the_earliest_start_ends_by_the_deadline(calendar: Calendar) -> None:
    calendar.add(100, 0, None)
    calendar.add(-80, 10, 20)
    assert calendar.earliest(50, 5, 10, 25) == 20
    assert calendar.earliest(50, 5, 10, 24) is None
    assert calendar.earliest(50, None, 0, 10**12) is None
    assert calendar.earliest(50, 5, 10, 3) is None


def test_what_is_forgotten_is_refused_and_what_follows_stays(calendar: Calendar) -> None:
    calendar.add(100, 10, None)
    calendar.add(-30, 20, 40)
    calendar.forget(30)
    assert len(calendar) == 1
    assert calendar.steps(30, None, 10) == [(30, 70), (40, 100)]
    for ask in (
        lambda: calendar.at(29),
        lambda: calendar.lowest(29, 50),
        lambda: calendar.fits(1, 29, None),
        lambda: calendar.shortfalls(1, 29, 50),
        lambda: calendar.earliest(1, 1, 29),
        lambda: calendar.steps(29, None, 1),
    ):
        with pytest.raises(ValueError, match="what was free at 29 is forgotten; the calendar begins at 30"):
            ask()


def test_a_booking_that_began_before_what_is_forgotten_can_be_taken_back(calendar: Calendar) -> None:
    calendar.add(100, 0, None)
    calendar.add(-30, 20, 40)
    calendar.add(-50, 22, 25)
    calendar.forget(30)
    calendar.add(50, 22, 25)
    calendar.add(30, 20, 40)
    assert calendar.steps(30, None, 10) == [(30, 100)]
    assert len(calendar) == 0


def test_an_earlier_time_is_not_remembered_by_forgetting_it(calendar: Calendar) -> None:
    calendar.forget(30)
    calendar.forget(20)
    with pytest.raises(ValueError, match="begins at 30"):
        calendar.at(29)


@pytest.mark.parametrize(("start", "end", "why"), [(5, 5, "empty"), (5, 4, "reversed")])
def test_an_empty_or_reversed_window_is_refused(calendar: Calendar, start: int, end: int, why: str) -> None:
    for ask in (
        lambda: calendar.add(1, start, end),
        lambda: calendar.lowest(start, end),
        lambda: calendar.fits(1, start, end),
        lambda: calendar.shortfalls(1, start, end),
        lambda: calendar.earliest(1, end - start, start),
        lambda: calendar.steps(start, end, 1),
    ):
        with pytest.raises(ValueError, match=f"from 5 to {end} is {why}"):
            ask()


def test_what_is_no_int_is_refused_and_changes_nothing(calendar: Calendar) -> None:
    half: int = 0.5  # type: ignore[assignment]  # the very mistake
    for ask in (
        lambda: calendar.add(half, 0, 1),
        lambda: calendar.add(1, half, 1),
        lambda: calendar.add(1, 0, half),
        lambda: calendar.at(half),
        lambda: calendar.lowest(half, None),
        lambda: calendar.fits(half, 0, None),
        lambda: calendar.shortfalls(half, 0, None),
        lambda: calendar.earliest(1, half, 0),
        lambda: calendar.earliest(1, 1, 0, half),
        lambda: calendar.forget(half),
    ):
        with pytest.raises(TypeError, match=r"int, .* 0\.5"):
            ask()
    assert len(calendar) == 0


def test_bounds_are_checked(calendar: Calendar) -> None:
    with pytest.raises(ValueError, match="limit of 0"):
        calendar.steps(0, None, 0)
    with pytest.raises(ValueError, match="limit of 0"):
        calendar.shortfalls(1, 0, None, 0)
    with pytest.raises(ValueError, match="fan-out of 3"):
        Calendar(3)


@given(st.lists(st.tuples(AMOUNTS, WINDOWS_OR_OPEN)), WINDOWS_OR_OPEN, AMOUNTS, st.integers(4, 6))
def test_the_least_and_the_shortfalls_are_those_counted(
    added: list[tuple[int, Window]], asked: Window, amount: int, fan_out: int
) -> None:
    calendar, seconds = Calendar(fan_out), Seconds()
    for each, window in added:
        calendar.add(each, *window)
        seconds.add(each, *window)
    checked(calendar)
    assert calendar.lowest(*asked) == seconds.lowest(*asked)
    assert calendar.fits(amount, *asked) is (seconds.lowest(*asked) >= amount)
    assert calendar.shortfalls(amount, *asked) == seconds.shortfalls(amount, *asked)


@given(st.lists(st.tuples(AMOUNTS, WINDOWS_OR_OPEN)), st.randoms(use_true_random=False))
def test_what_was_added_can_be_taken_back_in_any_order(added: list[tuple[int, Window]], chance: random.Random) -> None:
    calendar = Calendar(4)
    for amount, window in added:
        calendar.add(amount, *window)
    chance.shuffle(added)
    for amount, window in added:
        calendar.add(-amount, *window)
    assert checked(calendar) == []
    assert calendar.at(HORIZON) == 0


class Comparison(RuleBasedStateMachine):
    """A calendar of several levels beside the count of each second."""

    def __init__(self) -> None:
        super().__init__()
        self.calendar, self.seconds = Calendar(4), Seconds()
        self.added: list[tuple[int, Window]] = []

    @rule(amount=AMOUNTS, window=WINDOWS_OR_OPEN)
    def add(self, amount: int, window: Window) -> None:
        self.calendar.add(amount, *window)
        self.seconds.add(amount, *window)
        self.added.append((amount, window))

    @rule(amounts=st.lists(AMOUNTS, min_size=8, max_size=20), start=TIMES, length=st.integers(1, 3))
    def add_in_a_row(self, amounts: list[int], start: int, length: int) -> None:
        for index, amount in enumerate(amounts):
            begin = (start + index * length) % HORIZON
            self.add(amount, (begin, min(begin + length, HORIZON)))

    @precondition(lambda self: self.added)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        amount, window = self.added.pop(data.draw(st.integers(0, len(self.added) - 1)))
        self.calendar.add(-amount, *window)
        self.seconds.add(-amount, *window)

    @rule(later=st.integers(0, 6))
    def forget(self, later: int) -> None:
        now = self.seconds.begin = max(self.seconds.begin, 0) + later
        self.calendar.forget(now)

    @rule(window=WINDOWS_OR_OPEN, amount=AMOUNTS, limit=st.integers(1, 4))
    def ask_about_a_window(self, window: Window, amount: int, limit: int) -> None:
        if window[0] < self.seconds.begin:
            with pytest.raises(ValueError, match="forgotten"):
                self.calendar.lowest(*window)
            return
        assert self.calendar.lowest(*window) == self.seconds.lowest(*window)
        expected = self.seconds.shortfalls(amount, *window)
        assert self.calendar.shortfalls(amount, *window) == expected
        assert self.calendar.shortfalls(amount, *window, limit) == expected[:limit]
        assert self.calendar.steps(*window, HORIZON) == self.seconds.steps(*window)
        assert self.calendar.steps(*window, limit) == self.seconds.steps(*window)[:limit]

    @rule(amount=AMOUNTS, duration=st.none() | st.integers(1, HORIZON), after=LATER, before=st.none() | LATER)
    def ask_for_the_earliest(self, amount: int, duration: int | None, after: int, before: int | None) -> None:
        after = max(after, self.seconds.begin)
        expected = self.seconds.earliest(amount, duration, after, before)
        assert self.calendar.earliest(amount, duration, after, before) == expected

    @invariant()
    def every_second_is_right(self) -> None:
        for time in range(max(self.seconds.begin, 0), HORIZON + 6):
            assert self.calendar.at(time) == self.seconds.at(time)

    @invariant()
    def the_tree_is_sound(self) -> None:
        checked(self.calendar)
        assert len(self.calendar) == self.seconds.changes


class TestComparison(Comparison.TestCase):  # type: ignore[misc, valid-type]  # hypothesis makes the class at run time
    settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class Sorted:
    """The changes in one sorted list, and what is free after each, counted whenever somebody asks."""

    def __init__(self, deltas: dict[int, int]) -> None:
        self.times = sorted(time for time, delta in deltas.items() if delta)
        self.free = [0, *accumulate(deltas[time] for time in self.times)]

    def lowest(self, start: int, end: int | None) -> int:
        last = len(self.times) if end is None else bisect_left(self.times, end)
        return min(self.free[bisect_right(self.times, start) : last + 1])

    def shortfalls(self, amount: int, start: int, end: int) -> list[Shortfall]:
        inside = [time for time in self.times if start < time < end]
        found: list[Shortfall] = []
        for begin, until in zip([start, *inside], [*inside, end], strict=True):
            missing = amount - self.free[bisect_right(self.times, begin)]
            if missing <= 0:
                continue
            if found and found[-1].end == begin:
                last = found.pop()
                found.append(Shortfall(last.start, until, max(last.missing, missing)))
            else:
                found.append(Shortfall(begin, until, missing))
        return found

    def earliest(self, amount: int, duration: int, after: int) -> int | None:
        starts = [after, *(time for time in self.times if time > after)]
        return next((start for start in starts if self.lowest(start, start + duration) >= amount), None)


@pytest.mark.parametrize(("fan_out", "bookings"), [(4, 4_000), (7, 10_000), (FAN_OUT, 20_000)])
def test_a_large_calendar_answers_as_a_sorted_list_does(fan_out: int, bookings: int) -> None:
    chance = random.Random(fan_out)
    span = 40 * bookings
    calendar = Calendar(fan_out)
    deltas: dict[int, int] = {}
    live: list[tuple[int, int, int | None]] = []

    def add(amount: int, start: int, end: int | None) -> None:
        calendar.add(amount, start, end)
        deltas[start] = deltas.get(start, 0) + amount
        if end is not None:
            deltas[end] = deltas.get(end, 0) - amount

    def compare(begin: int) -> None:
        assert [each for each in checked(calendar) if each[0] > begin] == sorted(
            (time, delta) for time, delta in deltas.items() if delta and time > begin
        )
        model = Sorted(deltas)
        for _ in range(200):
            start = chance.randrange(begin, span)
            end = start + int(span ** chance.random()) + 1
            low = model.lowest(start, end)
            assert calendar.lowest(start, end) == low
            assert calendar.lowest(start, None) == model.lowest(start, None)
            assert calendar.at(start) == model.lowest(start, start + 1)
        for _ in range(20):
            start = chance.randrange(begin, span)
            end = start + int(span ** chance.random()) + 1
            amount = model.lowest(start, end) + chance.randint(-2, 20)
            for limit in (1, 50, span):
                assert calendar.shortfalls(amount, start, end, limit) == model.shortfalls(amount, start, end)[:limit]
        for _ in range(20):
            start, duration = chance.randrange(begin, span), chance.randint(1, span // 50)
            amount = model.lowest(start, start + duration) + chance.randint(0, 5)
            assert calendar.earliest(amount, duration, start) == model.earliest(amount, duration, start)

    add(10**12, 0, None)
    for _ in range(bookings):
        start = chance.randrange(span)
        end = None if chance.random() < 0.01 else start + chance.randint(1, span // 100)
        live.append((chance.randint(1, 100), start, end))
        amount, start, end = live[-1]
        add(-amount, start, end)
    compare(0)
    chance.shuffle(live)
    for amount, start, end in live[bookings // 10 :]:
        add(amount, start, end)
    compare(0)
    for now in (span // 10, span // 2, span // 2 + 1):
        calendar.forget(now)
        compare(now)
    for amount, start, end in live[: bookings // 10]:
        add(amount, start, end)
    add(-(10**12), 0, None)
    assert checked(calendar) == []
    assert calendar.at(span) == 0


@pytest.mark.parametrize("count", [0, 1, 5, 24, 25, 1_000, 20_000])
@pytest.mark.parametrize("fan_out", [4, FAN_OUT])
def test_filled_at_once_is_as_filled_one_by_one(count: int, fan_out: int) -> None:
    chance = random.Random(count)
    windows = [
        (chance.randrange(1, 9), start := chance.randrange(50_000), start + 1 + chance.randrange(500))
        for _ in range(count)
    ]
    one, other = Calendar(fan_out), Calendar(fan_out)
    changes: dict[int, int] = {}
    for calendar in one, other:
        calendar.forget(1_000)
    for amount, start, end in windows:
        one.add(amount, start, end)
        changes[start] = changes.get(start, 0) + amount
        changes[end] = changes.get(end, 0) - amount
    other.fill(changes)
    assert checked(other) == checked(one)
    assert len(other) == len(one)
    for amount, start, end in windows[: count // 2]:
        other.add(-amount, start, end)
        one.add(-amount, start, end)
    assert checked(other) == checked(one)
    if other:
        with pytest.raises(ValueError, match="not empty"):
            other.fill({})
