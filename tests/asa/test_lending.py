"""What is out at a member because it asked: counted at every instant, held against a count second by second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa import lending, transfer
from asa.ledger import MARGIN_S, Ledger
from asa.records import Held, Lent, Promise, Record, Seed, made
from asa.transfer import Declined
from objectives import Block, NodeId, Window
from objectives.fields import MAX_RATE
from objectives.params import Params
from objectives.resource import Ask, Give, Offer, available_from

NOW = 1_000_000
ME, PEER, THIRD = NodeId("me", "0" * 16), NodeId("peer", "1" * 16), NodeId("third", "2" * 16)
PARAMS = Params().changed("test", {"least_grant": 1})
LIMIT = 30
SEEDS = [(0, 1000)]
ASK = Ask(b"a" * 16, PEER, ME, "wan", 20, 20, NOW, NOW + 100, NOW)


def ledger(*records: Record) -> Ledger:
    return Ledger(ME, NOW, (Seed("wan", 0, 1000, NOW), Held("wan", Block(0, 500, NOW - 60, None)), *records))


def asked(it: Ledger, number: int, rate: int, least: int | None = None, **other: object) -> Offer:
    """Granted, and on the ledger."""
    ask = replace(ASK, txn=number.to_bytes(16, "big"), rate=rate, least=least or rate, **other)  # type: ignore[arg-type]
    plan = transfer.escrow(it, NOW, PARAMS, ask, most=LIMIT)
    it.apply(plan.changes)
    return plan.result


def out(it: Ledger, start: int = NOW, end: int | None = NOW + 100, member: str = "peer", pool: str = "wan") -> int:
    return lending.lent(it, member, pool, Window(start, end))


def test_several_requests_together_get_no_more_than_the_limit() -> None:
    it = ledger()
    asked(it, 1, 20)
    with pytest.raises(Declined) as declined:
        asked(it, 2, 20)
    assert declined.value.reason.startswith("limit: at most 10 bit/s")
    assert available_from(declined.value.reason) == 10
    assert sum(each.amount for each in asked(it, 3, 20, 1).blocks) == 10
    with pytest.raises(Declined, match="at most 0 bit/s"):
        asked(it, 4, 1)


def test_a_dry_run_says_no_more_than_the_limit() -> None:
    it = ledger()
    asked(it, 1, 20)
    assert transfer.hold(it, NOW, PARAMS, replace(ASK, rate=100, least=1), most=LIMIT).result.rate == 10


def test_others_other_pools_and_other_times_count_for_themselves() -> None:
    it = ledger(Held("lan", Block(0, 100, NOW, None)))
    asked(it, 1, 30)
    asked(it, 2, 30, node=THIRD)
    asked(it, 3, 30, pool="lan")
    asked(it, 4, 30, start=NOW + 100, end=NOW + 200)
    with pytest.raises(Declined, match="at most 0 bit/s"):
        asked(it, 5, 1, start=NOW + 99, end=NOW + 101)


def test_another_instance_of_the_same_name_is_the_same_member() -> None:
    it = ledger()
    asked(it, 1, 30)
    with pytest.raises(Declined, match="at most 0 bit/s"):
        asked(it, 2, 1, node=NodeId("peer", "f" * 16))


def test_what_it_did_not_take_is_not_out() -> None:
    it = ledger()
    offer = asked(it, 1, 30)
    it.apply(transfer.take_back(it, NOW, offer.txn).changes)
    assert out(it) == 0
    asked(it, 2, 30)


def test_what_it_took_stays_out_when_the_transfer_is_closed_and_forgotten() -> None:
    it = ledger()
    offer = asked(it, 1, 30)
    it.apply(transfer.close(it, NOW, offer.txn).changes)
    it.apply(transfer.elapsed(it, NOW + transfer.TOMBSTONE_S).changes)
    assert it.given == {}
    assert out(it) == 30


def test_what_it_gives_back_is_not_out_whichever_blocks_they_are() -> None:
    it = ledger()
    offer = asked(it, 1, 30)
    it.apply(transfer.close(it, NOW, offer.txn).changes)
    foreign = Give(b"g" * 16, PEER, ME, "wan", (Block(700, 720, NOW, NOW + 50),), NOW)
    it.apply(transfer.receive(it, NOW, foreign, SEEDS).changes)
    assert (out(it, NOW, NOW + 50), out(it, NOW + 50)) == (10, 30)


def test_what_comes_of_it_because_we_asked_is_not_out_either() -> None:
    it = ledger()
    asked(it, 1, 30)
    ask = Ask(b"m" * 16, ME, PEER, "wan", 10, 10, NOW, NOW + 100, NOW)
    it.asking[ask.txn] = ask
    offer = Offer(ask.txn, PEER, (Block(700, 710, NOW, NOW + 100),))
    it.apply(transfer.accept(it, NOW, ask, offer, SEEDS).changes)
    assert out(it) == 20


def test_surplus_that_is_handed_over_and_not_taken_pays_nothing_back() -> None:
    """Else a member could decline what it is offered, and ask for so much more."""
    it = ledger()
    asked(it, 1, 30)
    give = transfer.push(it, NOW, b"p" * 16, PEER, "wan", [Block(400, 420, NOW, NOW + 100)])
    it.apply(give.changes)
    it.apply(transfer.take_back(it, NOW, give.result.txn).changes)
    assert out(it) == 30


def kept(it: Ledger, number: int, rate: int, **other: object) -> Ask:
    """A dry run whose promise is on the ledger."""
    ask = replace(ASK, txn=number.to_bytes(16, "big"), rate=rate, least=rate, **other)  # type: ignore[arg-type]
    it.apply(transfer.hold(it, NOW, PARAMS, ask, most=LIMIT).changes)
    return ask


def test_what_dry_runs_keep_is_out_and_counts_for_the_next_dry_run_too() -> None:
    it = ledger()
    kept(it, 1, 12)
    asked(it, 2, 5)
    kept(it, 3, 8)
    with pytest.raises(Declined, match=r"^at most 5 bit/s"):
        asked(it, 4, 6)
    with pytest.raises(Declined, match=r"^at most 5 bit/s"):
        kept(it, 5, 6)
    asked(it, 6, 5)


def test_the_dry_run_that_is_redeemed_is_not_counted_beside_its_live_run() -> None:
    it = ledger()
    dry = kept(it, 1, LIMIT)
    with pytest.raises(Declined, match=r"^at most 0 bit/s"):
        asked(it, 2, 1)
    asked(it, 3, LIMIT, held=dry.txn)
    assert (it.promises, out(it)) == ({}, LIMIT)


def test_anothers_dry_run_is_no_way_round_the_limit() -> None:
    it = ledger()
    kept(it, 1, LIMIT)
    other = kept(it, 2, 20, node=THIRD)
    with pytest.raises(Declined, match=r"^at most 0 bit/s"):
        asked(it, 3, 1, held=other.txn)


def test_dry_runs_of_others_of_other_pools_of_other_times_and_that_are_over_do_not_count() -> None:
    it = ledger(Held("lan", Block(0, 100, NOW, None)))
    kept(it, 1, LIMIT, node=THIRD)
    kept(it, 2, LIMIT, pool="lan")
    kept(it, 3, LIMIT, start=NOW + 100, end=NOW + 200)
    it.apply(made(Promise(b"o" * 16, "wan", PEER, LIMIT, Window(NOW, NOW + 100), NOW)))
    asked(it, 4, LIMIT)


def test_dry_runs_that_do_not_meet_count_by_their_peak() -> None:
    it = ledger()
    kept(it, 1, 20, end=NOW + 50)
    kept(it, 2, 20, start=NOW + 50)
    asked(it, 3, 10)


def test_so_many_dry_runs_of_one_member_are_kept_and_no_more() -> None:
    it = ledger()
    for number in range(lending.MOST_KEPT):
        kept(it, number, 1, start=NOW + 10 * number, end=NOW + 10 * number + 10)
    with pytest.raises(Declined) as declined:
        kept(it, 100, 1, start=NOW + 5_000, end=NOW + 5_010, node=NodeId("peer", "f" * 16))
    assert declined.value.code == "busy"
    kept(it, 101, 1, node=THIRD)
    plan = transfer.hold(it, NOW, PARAMS, replace(ASK, txn=b"p" * 16, rate=1, least=1))
    assert plan.changes, "where nobody is known nobody has a bound"


def test_without_members_nothing_is_counted() -> None:
    it = ledger()
    it.apply(transfer.escrow(it, NOW, PARAMS, ASK).changes)
    assert it.loans == {}


def test_what_a_member_without_a_limit_gets_is_counted_for_the_day_it_has_one() -> None:
    it = ledger()
    it.apply(transfer.escrow(it, NOW, PARAMS, ASK, most=MAX_RATE).changes)
    assert out(it) == 20


def test_a_restart_changes_nothing() -> None:
    it = ledger()
    asked(it, 1, 20)
    asked(it, 2, 5, start=NOW + 30, end=None)
    again = Ledger(ME, NOW, it.records())
    assert [out(again, NOW + at, NOW + at + 1) for at in (0, 29, 30, 99, 100, 9_999)] == [20, 20, 25, 25, 5, 5]


def test_no_member_can_make_more_different_times_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "MOST_CHANGES", 4)
    it = ledger()
    for number in range(2):
        asked(it, number, 1, start=NOW + 10 * number, end=NOW + 10 * number + 5)
    with pytest.raises(Declined, match=r"^more than 4 different times"):
        asked(it, 7, 1, start=NOW + 50, end=NOW + 60)
    unlimited = transfer.escrow(it, NOW, PARAMS, replace(ASK, start=NOW + 50, end=NOW + 60), most=MAX_RATE)
    it.apply(unlimited.changes)
    it.apply(transfer.take_back(it, NOW, unlimited.result.txn).changes)
    assert out(it, NOW, NOW + 9) == 1


def test_the_past_is_folded_into_one_change() -> None:
    changes = [Lent("peer", "wan", NOW - MARGIN_S - 10 + each, 1) for each in range(10)]
    over = [Lent("third", "wan", NOW - 200, 5), Lent("third", "wan", NOW - 190, -5)]
    it = ledger(*changes, *over, Lent("peer", "wan", NOW + 5, -3))
    it.apply(lending.elapsed(it).changes)
    left = {each for each in it.records() if isinstance(each, Lent)}
    assert left == {Lent("peer", "wan", NOW - MARGIN_S - 1, 10), Lent("peer", "wan", NOW + 5, -3)}
    assert (out(it, NOW, NOW + 1), out(it, NOW + 5, None), out(it, member="third")) == (10, 7, 0)
    assert lending.elapsed(it).changes == ()


spans = st.tuples(st.integers(0, 39), st.integers(1, 40) | st.none())
moves = st.lists(st.tuples(st.booleans(), st.integers(1, 9), spans), max_size=12)


@given(moves)
@settings(max_examples=150, deadline=None)
def test_it_is_what_a_count_second_by_second_comes_to(story: list[tuple[bool, int, tuple[int, int | None]]]) -> None:
    it = Ledger(ME, NOW)
    count = [0] * 80
    for lends, amount, (start, length) in story:
        end = None if length is None else NOW + start + length
        block = Block(0, amount, NOW + start, end)
        changes = lending.lend(it, "peer", "wan", [block]) if lends else lending.repay(it, "peer", "wan", [block])
        assert changes is not None
        it.apply(changes)
        for second in range(start, len(count) if length is None else min(start + length, len(count))):
            count[second] = count[second] + amount if lends else max(0, count[second] - amount)
    assert [out(it, NOW + each, NOW + each + 1) for each in range(len(count))] == count
    assert out(it, NOW, NOW + len(count)) == max(count)
    assert all(each.change for each in it.records() if isinstance(each, Lent))
