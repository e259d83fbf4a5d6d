"""The auditor's verdict against counting, cell by cell, who holds each bit/s at each second."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa import audit
from objectives import Block, NodeId
from objectives.holdings import AcceptedRow, EscrowRow, HeldRow, SeedRow, pages_of

NOW = 1_000
HORIZON = NOW + 6
"""What is so at this second is so for ever."""
TOP = 7
"""bit/s: cells of capacity are 0..TOP-1."""
NODES = [NodeId(name, f"{number:016x}") for number, name in enumerate("abc")]
A, B, C = NODES


def block(low, high, start=NOW, end=None):
    return Block(low, high, start, end)


def txn(number):
    return bytes([number]) * 16


def states(rows, version=1):
    return {node: pages_of(node, version, list(its), []) for node, its in rows.items()}


def judged(rows, unreachable=(), at_rest=True, only=None):
    return audit.judge(states(rows), unreachable, NOW, at_rest=at_rest, rounds=2, only=only)


def cells(*blocks):
    """Every (bit/s, second) a block covers from now on."""
    return Counter(
        (level, second)
        for each in blocks
        for level in range(each.low, each.high)
        for second in range(max(each.start, NOW), (HORIZON if each.end is None else min(each.end - 1, HORIZON)) + 1)
        if each.end is None or second < each.end
    )


def brute(rows, pool):
    """Cells missing, twice and foreign; and the cells of seeds that overlap."""
    accepted = {(row.txn, row.peer, node) for node, its in rows.items() for row in its if isinstance(row, AcceptedRow)}
    seeded, found = Counter(), Counter()
    for node, its in rows.items():
        for row in its:
            if getattr(row, "pool", None) != pool:
                continue
            if isinstance(row, SeedRow):
                seeded += cells(block(row.low, row.high))
            elif isinstance(row, HeldRow) or (isinstance(row, EscrowRow) and (row.txn, node, row.peer) not in accepted):
                found += cells(row.block)
    return (
        {each for each in seeded if each not in found},
        {each for each, count in found.items() if count > 1},
        {each for each in found if each not in seeded},
        {level for (level, _), count in seeded.items() if count > 1},
    )


def views(found):
    return set(cells(*(Block(each.low, each.high, each.start, each.end) for each in found)))


def agrees(rows, pool, verdict):
    missing, twice, foreign, rivals = brute(rows, pool)
    for said, true in (verdict.missing, missing), (verdict.twice, twice), (verdict.foreign, foreign):
        if len(said) < audit.MOST_EXAMPLES:
            assert views(said) == true
        else:
            assert views(said) <= true
    assert bool(verdict.overlapping_seeds) == bool(rivals)
    assert verdict.ok == (not missing and not twice and not foreign and not rivals)


BLOCKS = st.builds(
    lambda low, height, start, length: block(
        low, min(low + height, TOP), start, None if not length else min(start + length, HORIZON)
    ),
    st.integers(0, TOP - 1),
    st.integers(1, TOP),
    st.integers(NOW - 3, HORIZON - 1),
    st.integers(0, 8),
)
POOLS = st.sampled_from(["wan", "lan"])
TXNS = st.integers(1, 3).map(txn)
ROWS = st.one_of(
    st.builds(HeldRow, POOLS, BLOCKS),
    st.builds(EscrowRow, POOLS, BLOCKS, TXNS, st.sampled_from(NODES)),
    st.builds(AcceptedRow, TXNS, st.sampled_from(NODES)),
    st.builds(
        lambda pool, low, height: SeedRow(pool, low, min(TOP, low + height)),
        POOLS,
        st.integers(0, 6),
        st.integers(1, 7),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NODES), ROWS), max_size=12))
def test_the_verdict_is_that_of_counting_cells(drawn):
    rows = {node: [row for owner, row in drawn if owner == node] for node in NODES}
    for pool in judged(rows).pools:
        agrees(rows, pool.pool, pool)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_partition_is_ok_and_without_any_one_of_its_parts_it_is_not(data):
    """The origin's rectangle cut up at random, and dealt out at random."""
    parts = [block(0, TOP)]
    for _ in range(data.draw(st.integers(0, 8))):
        index = data.draw(st.integers(0, len(parts) - 1))
        whole = parts[index]
        cut = data.draw(BLOCKS)
        inner = whole.cut(cut.window)
        if inner is None or cut.start < NOW or not (whole.low < cut.high and cut.low < whole.high):
            continue
        inner = Block(max(whole.low, cut.low), min(whole.high, cut.high), inner.start, inner.end)
        parts[index : index + 1] = [inner, *whole.minus(inner)]
    owners = [data.draw(st.sampled_from(NODES)) for _ in parts]
    rows = {
        node: [HeldRow("wan", part) for part, owner in zip(parts, owners, strict=True) if owner == node]
        for node in NODES
    }
    rows[A].insert(0, SeedRow("wan", 0, TOP))
    verdict = judged(rows)
    assert verdict.ok, verdict
    assert verdict.pools[0].held == TOP
    lost = data.draw(st.integers(0, len(parts) - 1))
    taken = HeldRow("wan", parts[lost])
    without = {node: [row for row in its if row != taken] for node, its in rows.items()}
    verdict = judged(without)
    assert not verdict.ok
    assert views(verdict.pools[0].missing) == set(cells(parts[lost]))


def test_what_is_in_escrow_is_the_requesters_if_it_reports_so_and_else_in_motion():
    part = block(0, 3)
    seed, rest = SeedRow("wan", 0, 7), HeldRow("wan", block(3, 7))
    escrow = EscrowRow("wan", part, txn(1), B)
    moving = judged({A: [seed, rest, escrow], B: []})
    assert moving.ok
    assert (moving.pools[0].held, moving.pools[0].in_motion) == (4, 3)
    accepted = judged({A: [seed, rest, escrow], B: [AcceptedRow(txn(1), A), HeldRow("wan", part)]})
    assert accepted.ok
    assert (accepted.pools[0].held, accepted.pools[0].in_motion) == (7, 0)
    # Under another's name, or of another giver, it is not the same transaction.
    its = HeldRow("wan", part)
    for liar in (
        {C: [its, AcceptedRow(txn(1), A)]},
        {B: [its, AcceptedRow(txn(1), C)]},
        {B: [its, AcceptedRow(txn(2), A)]},
    ):
        twice = judged({A: [seed, rest, escrow], B: [], **liar})
        assert not twice.ok
        assert views(twice.pools[0].twice) == set(cells(part))
    # Given on since: it is whoever holds it.
    on = judged({A: [seed, rest, escrow], B: [AcceptedRow(txn(1), A)], C: [HeldRow("wan", part)]})
    assert on.ok


def test_seeds_that_overlap_are_named_with_their_origins():
    verdict = judged(
        {A: [SeedRow("wan", 0, 4), HeldRow("wan", block(0, 4))], B: [SeedRow("wan", 3, 7), HeldRow("wan", block(4, 7))]}
    )
    assert not verdict.ok
    found = verdict.pools[0]
    assert [(each.low, each.high, each.origin) for each in found.overlapping_seeds] == [(0, 4, str(A)), (3, 7, str(B))]
    assert (found.missing, found.twice, found.foreign) == ([], [], [])
    assert found.seeded == 7


@pytest.mark.parametrize(("at_rest", "unreachable"), [(False, ()), (True, ("d#0",)), (False, ("d#0",))])
def test_a_partition_is_no_proof_while_things_move_or_somebody_is_silent(at_rest, unreachable):
    rows = {A: [SeedRow("wan", 0, 7), HeldRow("wan", block(0, 7))]}
    assert judged(rows).ok
    verdict = judged(rows, unreachable, at_rest)
    assert not verdict.ok
    assert verdict.pools[0].ok
    assert verdict.unreachable == list(unreachable)


def test_time_that_has_passed_does_not_count():
    rows = {
        A: [SeedRow("wan", 0, 7), HeldRow("wan", block(0, 7, NOW - 100))],
        B: [HeldRow("wan", block(0, 7, NOW - 50, NOW))],
    }
    assert judged(rows).ok


def test_one_pool_can_be_judged_alone_also_one_nobody_knows():
    rows = {A: [SeedRow("wan", 0, 7), HeldRow("wan", block(0, 7)), SeedRow("lan", 0, 7)]}
    assert not judged(rows).ok
    assert judged(rows, only="wan").ok
    assert [each.pool for each in judged(rows, only="wan").pools] == ["wan"]
    nothing = judged(rows, only="nowhere")
    assert [(each.pool, each.seeded, each.held) for each in nothing.pools] == [("nowhere", 0, 0)]


def test_examples_are_bounded_and_the_verdict_is_not():
    rows = {A: [SeedRow("wan", 0, 2_000)], B: [HeldRow("lan", block(2 * each, 2 * each + 1)) for each in range(500)]}
    lan, wan = judged(rows).pools
    assert len(lan.foreign) == audit.MOST_EXAMPLES
    assert not lan.ok
    assert not wan.ok


def test_pages_are_one_state_only_if_all_are_there_in_order_and_of_one_version():
    pages = pages_of(A, 7, [HeldRow("wan", block(each, each + 1)) for each in range(450)], [])
    assert len(pages) == 3
    assert audit.whole(pages)
    other = pages_of(A, 8, [HeldRow("wan", block(each, each + 1)) for each in range(450)], [])
    for bad in [], pages[:2], pages[1:], [pages[0], pages[2], pages[1]], [*pages[:2], other[2]], [*pages, pages[2]]:
        assert not audit.whole(bad)
    assert audit.versions({A: pages, B: other}) == {A: 7, B: 8}
