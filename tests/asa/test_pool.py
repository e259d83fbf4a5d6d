"""Picking, taking out and tidying, against a model of single cells: one bit/s in one second each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.pool import Pool, area, merged
from objectives import Block, Window
from objectives.block import disjoint, peak, trough

HIGH, LATE = 7, 8
NEVER = LATE + 2
"""In the model for ever is two seconds longer than any end."""

Cells = Counter[tuple[int, int]]


def cells(blocks: Iterable[Block]) -> Cells:
    return Counter(
        (rate, time)
        for block in blocks
        for rate in range(block.low, block.high)
        for time in range(block.start, NEVER if block.end is None else block.end)
    )


ends = st.integers(1, LATE) | st.none()


@st.composite
def rectangles(draw: st.DrawFn) -> Block:
    low, start = draw(st.integers(0, HIGH - 1)), draw(st.integers(0, LATE - 1))
    end = draw(st.integers(start + 1, LATE) | st.none())
    return Block(low, draw(st.integers(low + 1, HIGH)), start, end)


@st.composite
def pools(draw: st.DrawFn) -> list[Block]:
    """Disjoint blocks; more of them come of cutting others up, as transfers do."""
    blocks: list[Block] = []
    for new in draw(st.lists(rectangles(), min_size=1, max_size=7)):
        blocks = [piece for each in blocks for piece in each.minus(new)] + [new]
    return draw(st.permutations(blocks))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, LATE - 1))
    return Window(start, draw(st.integers(start + 1, LATE) | st.none()))


def span(window: Window) -> range:
    return range(window.start, NEVER if window.end is None else window.end)


@given(pools(), windows(), st.integers(1, HIGH))
def test_a_pick_is_exactly_the_amount_at_every_instant_of_the_window_and_nothing_else(
    blocks: list[Block], window: Window, amount: int
) -> None:
    held = cells(blocks)
    least = min(sum(time == at for _, time in held) for at in span(window))
    if least < amount:
        with pytest.raises(ValueError, match="missing"):
            Pool(blocks).pick(amount, window)
        return
    picked = cells(Pool(blocks).pick(amount, window))
    assert max(picked.values()) == 1
    assert picked.keys() <= held.keys()
    assert Counter(time for _, time in picked) == dict.fromkeys(span(window), amount)


@given(pools(), windows(), st.integers(1, HIGH))
def test_what_was_picked_can_be_taken_out_and_put_back(blocks: list[Block], window: Window, amount: int) -> None:
    pool = Pool(blocks)
    try:
        picked = pool.pick(amount, window)
    except ValueError:
        return
    gone, left = pool.taking(picked)
    for each in gone:
        pool.remove(each)
    for each in [*left, *picked]:
        pool.add(each)
    assert cells(pool) == cells(blocks)


@given(pools(), st.lists(rectangles(), min_size=1, max_size=3))
def test_what_is_taken_out_leaves_exactly_the_rest(blocks: list[Block], parts: list[Block]) -> None:
    parts = [each for number, each in enumerate(parts) if not any(each.overlaps(other) for other in parts[:number])]
    held, wanted = cells(blocks), cells(parts)
    if not wanted.keys() <= held.keys():
        with pytest.raises(ValueError, match="more is to be taken out"):
            Pool(blocks).taking(parts)
        return
    gone, left = Pool(blocks).taking(parts)
    assert set(gone) <= set(blocks)
    untouched = cells(each for each in blocks if each not in gone)
    assert untouched + cells(left) + wanted == held


@given(pools(), st.integers(0, NEVER - 1))
def test_tidying_changes_nothing_from_the_floor_on(blocks: list[Block], floor: int) -> None:
    pool = Pool(blocks)
    gone, come = pool.tidy(floor)
    for each in gone:
        pool.remove(each)
    for each in come:
        pool.add(each)

    def later(of: Cells) -> Cells:
        return Counter({cell: count for cell, count in of.items() if cell[1] >= floor})

    assert later(cells(pool)) == later(cells(blocks))
    assert disjoint(pool)
    assert len(pool) <= len(blocks)
    assert not any(each.window.passed(floor) for each in pool)
    assert pool.tidy(floor) == ([], [])


def test_tidying_drops_a_block_that_ends_at_the_floor_beside_one_that_goes_on() -> None:
    ended, living = Block(0, 4, 0, 5), Block(4, 8, 0, None)
    assert Pool([ended, living]).tidy(5) == ([ended], [])


def test_a_start_in_the_past_is_no_reason_to_write() -> None:
    assert Pool([Block(0, 4, 0, None), Block(4, 8, 3, 9)]).tidy(5) == ([], [])


def test_what_touches_is_merged_in_both_directions() -> None:
    blocks = [Block(0, 2, 0, 5), Block(0, 2, 5, None), Block(2, 4, 0, None), Block(4, 6, 0, 9)]
    gone, come = Pool(blocks).tidy(0)
    assert set(gone) == set(blocks[:3])
    assert come == [Block(0, 4, 0, None)]


@given(pools())
def test_merging_keeps_every_cell(blocks: list[Block]) -> None:
    assert cells(merged(blocks)) == cells(blocks)
    assert len(merged(blocks)) <= len(blocks)


@given(rectangles(), rectangles())
def test_a_difference_is_what_the_cells_say(one: Block, other: Block) -> None:
    pieces = cells(one.minus(other))
    assert pieces == Counter({cell: 1 for cell in cells([one]) if cell not in cells([other])})


@given(pools(), pools())
def test_an_area_counts_the_cells_in_common(some: list[Block], within: list[Block]) -> None:
    ending = [Block(each.low, each.high, each.start, each.end or NEVER) for each in some]
    assert area(ending, within) == sum((cells(ending) & cells(within)).values())


@given(pools(), windows())
def test_peak_and_trough_are_the_most_and_the_least_of_the_cells(blocks: list[Block], window: Window) -> None:
    held = Counter(time for _, time in cells(blocks))
    assert peak(blocks) == max(held.values())
    assert trough(blocks, window) == min(held[time] for time in span(window))


@given(st.lists(rectangles(), max_size=5))
def test_blocks_are_disjoint_if_no_cell_is_in_two(blocks: list[Block]) -> None:
    assert disjoint(blocks) == (not blocks or max(cells(blocks).values()) == 1)


def test_a_pool_has_each_block_once() -> None:
    pool = Pool([Block(0, 4, 0, None)])
    with pytest.raises(ValueError, match="stands where"):
        pool.add(Block(0, 2, 0, 9))
    with pytest.raises(ValueError, match="not held"):
        pool.remove(Block(0, 2, 0, None))
    assert pool.overlapping(Block(3, 9, 7, 8)) == Block(0, 4, 0, None)
    assert pool.overlapping(Block(4, 9, 7, 8)) is None


def test_those_that_reach_least_beyond_the_window_are_used_first() -> None:
    lease, stock = Block(6, 8, 0, 10), Block(0, 6, 0, None)
    assert Pool([stock, lease]).pick(3, Window(2, 10)) == [Block(6, 8, 2, 10), Block(0, 1, 2, 10)]
