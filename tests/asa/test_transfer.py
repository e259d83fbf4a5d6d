"""The rules of a transfer: what is granted, what is declined and why, and that what is declined changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from asa import transfer
from asa.errors import Conflict, UnknownTransfer
from asa.ledger import MARGIN_S, Ledger
from asa.records import (
    Given,
    GivenState,
    Held,
    Plan,
    Promise,
    Record,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
)
from asa.refusals import MOST
from asa.transfer import SKEW_S, TOMBSTONE_S, BadOffer, Declined
from objectives import Block, NodeId, Window
from objectives.params import Params
from objectives.resource import ACCEPTED, NEVER, Ask, Confirm, Give, Offer, Settle

NOW = 1_000_000
ME, PEER, THIRD = NodeId("me", "0" * 16), NodeId("peer", "1" * 16), NodeId("third", "2" * 16)
T, OTHER = b"t" * 16, b"o" * 16
PARAMS = Params().changed("test", {"least_grant": 1})
SEEDS = [(0, 100)]
START, END = NOW, NOW + 600

ASK = Ask(T, PEER, ME, "wan", 10, 5, START, END, NOW)
"""What a peer asks of this agent."""
MINE = Ask(T, ME, PEER, "wan", 10, 5, START, END, NOW)
"""What this agent asks of a peer."""
OFFER = Offer(T, PEER, (Block(40, 50, START, END),))
GIVE = Give(T, PEER, ME, "wan", (Block(40, 50, START, END),), NOW)
SETTLE = Settle(T, PEER, ME, "wan", OFFER.blocks)
ACCEPTED_T = Taken(T, "wan", PEER, OFFER.blocks, TakenState.ACCEPTED, NOW)
REFUSED_T = replace(ACCEPTED_T, state=TakenState.REFUSED)
ESCROW_T = Given(T, "wan", PEER, OFFER.blocks, GivenState.ESCROW, NOW)
HELD = Held("wan", Block(0, 30, NOW - 60, None))


def ledger(*records: Record, asking: Ask | None = None) -> Ledger:
    made = Ledger(ME, NOW, (HELD, *records))
    if asking is not None:
        made.asking[asking.txn] = asking
    return made


def booked(rate: int, window: Window) -> Reservation:
    return Reservation("r-1", "wan", rate, window, ReservationState.BOOKED, NOW, NOW)


def escrow(asked: Ask, *records: Record, keep: int = 0) -> Callable[[], tuple[Ledger, Callable[[Ledger], Plan[Any]]]]:
    return lambda: (ledger(*records), lambda it: transfer.escrow(it, NOW, PARAMS, asked, keep))


def accept(
    offer: Offer, *records: Record, asking: Ask | None = MINE, seeds: Sequence[tuple[int, int]] | None = SEEDS
) -> Callable[[], tuple[Ledger, Callable[[Ledger], Plan[Any]]]]:
    return lambda: (ledger(*records, asking=asking), lambda it: transfer.accept(it, NOW, MINE, offer, seeds))


def receive(give: Give, *records: Record) -> Callable[[], tuple[Ledger, Callable[[Ledger], Plan[Any]]]]:
    return lambda: (ledger(*records), lambda it: transfer.receive(it, NOW, give, SEEDS))


def receive_of_member(*records: Record) -> Callable[[], tuple[Ledger, Callable[[Ledger], Plan[Any]]]]:
    return lambda: (ledger(*records), lambda it: transfer.receive(it, NOW, GIVE, SEEDS, members=True))


def went(to: NodeId, at: int, state: GivenState = GivenState.CLOSED, low: int = 45) -> Given:
    """What overlaps GIVE in a corner, if ``low`` is right, and left here."""
    corner = Block(low, low + 10, END - 1, None)
    return Given(f"{to.name}{at}".encode().rjust(16), "wan", to, (corner,), state, at)


def settle(question: Settle, *records: Record) -> Callable[[], tuple[Ledger, Callable[[Ledger], Plan[Any]]]]:
    return lambda: (ledger(*records), lambda it: transfer.answer(it, NOW, question))


def blocks(*rows: tuple[int, int, int, int | None]) -> Offer:
    return replace(OFFER, blocks=tuple(Block(*row) for row in rows))


FULL = tuple(Taken(number.to_bytes(16, "big"), "wan", PEER, (), TakenState.REFUSED, NOW) for number in range(MOST))

DECLINES: dict[str, tuple[str, Callable[[], tuple[Ledger, Callable[[Ledger], Plan[Any]]]]]] = {
    "ask: too old": ("stale", escrow(replace(ASK, at=NOW - SKEW_S - 1))),
    "ask: from the future": ("stale", escrow(replace(ASK, at=NOW + SKEW_S + 1))),
    "ask: our own": ("own", escrow(replace(ASK, node=ME))),
    "ask: escrow already": ("replay", escrow(ASK, ESCROW_T)),
    "ask: closed already": ("replay", escrow(ASK, replace(ESCROW_T, state=GivenState.CLOSED))),
    "ask: returned already": ("replay", escrow(ASK, replace(ESCROW_T, state=GivenState.RETURNED))),
    "ask: promised already": ("replay", escrow(ASK, Promise(T, "wan", PEER, 1, Window(START, END), NOW + 9))),
    "ask: a pool that is not here": ("short", escrow(replace(ASK, pool="lan"))),
    "ask: more than there is": ("short", escrow(replace(ASK, rate=99, least=31))),
    "ask: less than its least is left": ("short", escrow(ASK, booked(26, Window(END - 1, END)))),
    "ask: only what is kept": ("short", escrow(ASK, keep=26)),
    "ask: a window that has passed": ("past", escrow(replace(ASK, start=NOW - 200, end=NOW - MARGIN_S))),
    "ask: a dry run's promise to another": (
        "short",
        escrow(replace(ASK, held=OTHER), Promise(OTHER, "wan", THIRD, 28, Window(START, END), NOW + 9)),
    ),
    "ask: a dry run whose time is over": (
        "short",
        escrow(replace(ASK, held=OTHER), Promise(OTHER, "wan", PEER, 28, Window(START, END), NOW)),
    ),
    "offer: overlaps what is held": ("overlap", accept(blocks((25, 35, START, END)))),
    "offer: overlaps what is in escrow": (
        "overlap",
        accept(OFFER, replace(ESCROW_T, txn=OTHER, blocks=(Block(49, 60, END - 1, None),))),
    ),
    "offer: foreign": ("foreign", accept(blocks((95, 105, START, END)))),
    "offer: in a gap of the seeds": ("foreign", accept(OFFER, seeds=[(0, 45), (46, 100)])),
    "offer: more than asked": ("bad-offer", accept(blocks((40, 51, START, END)))),
    "offer: more than asked at one instant": (
        "bad-offer",
        accept(blocks((40, 50, START, END), (60, 61, END - 1, END))),
    ),
    "offer: less than the least": ("bad-offer", accept(blocks((40, 44, START, END)))),
    "offer: less than the least at one instant": ("bad-offer", accept(blocks((40, 50, START, END - 1)))),
    "offer: begins before the window": ("bad-offer", accept(blocks((40, 50, START - 1, END)))),
    "offer: ends after the window": ("bad-offer", accept(blocks((40, 50, START, END + 1)))),
    "offer: for ever": ("bad-offer", accept(blocks((40, 50, START, None)))),
    "offer: passed": ("past", accept(blocks((40, 50, NOW - 200, NOW - MARGIN_S)))),
    "offer: our own": ("own", accept(replace(OFFER, node=ME))),
    "offer: another transaction": ("bad-offer", accept(replace(OFFER, txn=OTHER))),
    "offer: not asked for": ("withdrawn", accept(OFFER, asking=None)),
    "offer: asked for otherwise": ("withdrawn", accept(OFFER, asking=replace(MINE, rate=11))),
    "give: too old": ("stale", receive(replace(GIVE, at=NOW - SKEW_S - 1))),
    "give: from the future": ("stale", receive(replace(GIVE, at=NOW + SKEW_S + 1))),
    "give: for another instance": ("not-me", receive(replace(GIVE, of=NodeId("me", "f" * 16)))),
    "give: our own": ("own", receive(replace(GIVE, node=ME))),
    "give: refused before": ("replay", receive(GIVE, REFUSED_T)),
    "give: another's transaction": ("replay", receive(GIVE, replace(ACCEPTED_T, peer=THIRD))),
    "give: other blocks than those taken": (
        "bad-value",
        receive(replace(GIVE, blocks=(Block(40, 51, START, END),)), ACCEPTED_T),
    ),
    "give: overlaps what is held": ("overlap", receive(replace(GIVE, blocks=(Block(29, 40, START, END),)))),
    "give: overlaps what is in escrow": ("overlap", receive(GIVE, replace(ESCROW_T, txn=OTHER))),
    "give: foreign": ("foreign", receive(replace(GIVE, blocks=(Block(90, 101, START, END),)))),
    "give: passed": ("past", receive(replace(GIVE, blocks=(Block(40, 50, NOW - 200, NOW - MARGIN_S),)))),
    "offer: of one that may not give": (
        "not-allowed",
        lambda: (ledger(asking=MINE), lambda it: transfer.accept(it, NOW, MINE, OFFER, SEEDS, gives=False)),
    ),
    "give: of one that may not give": (
        "not-allowed",
        lambda: (ledger(), lambda it: transfer.receive(it, NOW, GIVE, SEEDS, gives=False)),
    ),
    "give: what went to another": ("given", receive_of_member(went(THIRD, NOW - 5))),
    "give: what went to another after it was its own": (
        "given",
        receive_of_member(went(PEER, NOW - 9), went(THIRD, NOW - 5)),
    ),
    "settle: of another instance": ("not-me", settle(replace(SETTLE, of=NodeId("me", "f" * 16)), ACCEPTED_T)),
    "settle: other blocks": ("bad-value", settle(replace(SETTLE, blocks=(Block(40, 49, START, END),)), ACCEPTED_T)),
    "settle: another pool": ("bad-value", settle(replace(SETTLE, pool="lan"), ACCEPTED_T)),
    "settle: too many refusals": ("busy", settle(SETTLE, *FULL)),
    "confirm: of another instance": (
        "not-me",
        lambda: (
            ledger(ESCROW_T),
            lambda it: Plan((), transfer.closed(it, Confirm(PEER, NodeId("me", "f" * 16), (T,)))),
        ),
    ),
}


@pytest.mark.parametrize("name", DECLINES)
def test_what_is_not_right_is_declined_with_its_code_and_changes_nothing(name: str) -> None:
    code, make = DECLINES[name]
    it, rule = make()
    before, asking = set(it.records()), dict(it.asking)
    with pytest.raises(Declined) as declined:
        rule(it)
    assert declined.value.code == code
    assert declined.value.reason.startswith(f"{code}: ")
    assert isinstance(declined.value, BadOffer) or not name.startswith("offer")
    assert set(it.records()) == before
    assert it.asking == asking


def test_an_offer_without_known_seeds_is_judged_by_the_rest() -> None:
    it, rule = accept(blocks((400, 410, START, END)), seeds=None)()
    assert rule(it).result == (Block(400, 410, START, END),)


def test_as_much_is_offered_as_there_is_down_to_the_least() -> None:
    it = ledger(booked(23, Window(NOW + 100, NOW + 200)))
    plan = transfer.escrow(it, NOW, PARAMS, ASK)
    assert sum(each.amount for each in plan.result.blocks if each.window.covers(Window(NOW + 100, NOW + 101))) == 7
    it.apply(plan.changes)
    assert it.free("wan", Window(NOW + 100, NOW + 200)) == 0
    assert it.escrows[T].blocks == plan.result.blocks


@pytest.mark.parametrize("urgent", [False, True])
def test_what_is_kept_back_is_given_only_to_those_whose_consumers_wait(urgent: bool) -> None:
    it = ledger()
    if urgent:
        assert transfer.escrow(it, NOW, PARAMS, replace(ASK, urgent=True), keep=29).result.blocks
    else:
        with pytest.raises(Declined):
            transfer.escrow(it, NOW, PARAMS, ASK, keep=29)


def test_nothing_is_for_ever_where_the_policy_forbids_it() -> None:
    policy = PARAMS.changed("test", {"permanent": False})
    with pytest.raises(Declined, match="for ever"):
        transfer.escrow(ledger(), NOW, policy, replace(ASK, end=None))
    assert transfer.escrow(ledger(), NOW, policy, ASK).result.blocks


def test_a_dry_run_keeps_what_its_live_run_gets() -> None:
    it = ledger()
    dry = transfer.hold(it, NOW, PARAMS, replace(ASK, txn=OTHER, rate=28))
    it.apply(dry.changes)
    assert it.free("wan", Window(START, END)) == 2
    with pytest.raises(Declined):
        transfer.escrow(it, NOW, PARAMS, replace(ASK, node=THIRD))
    live = transfer.escrow(it, NOW, PARAMS, replace(ASK, rate=28, held=OTHER))
    it.apply(live.changes)
    assert it.promises == {}
    assert sum(each.amount for each in live.result.blocks) == 28


@pytest.mark.parametrize(
    ("end", "state", "back"),
    [
        (transfer.close, GivenState.CLOSED, 20),
        (transfer.take_back, GivenState.RETURNED, 30),
        (transfer.forfeit, GivenState.FORFEITED, 30),
    ],
)
def test_an_escrow_ends_once(end: Callable[..., Plan[Any]], state: GivenState, back: int) -> None:
    it = ledger()
    it.apply(transfer.escrow(it, NOW, PARAMS, ASK).changes)
    assert it.free("wan", Window(START, END)) == 20
    it.apply(end(it, NOW, T).changes)
    assert it.given[T].state is state
    assert it.free("wan", Window(START, END)) == back
    if end is transfer.forfeit:
        with pytest.raises(Conflict):
            transfer.forfeit(it, NOW, T)
    else:
        assert end(it, NOW, T).changes == ()


@pytest.mark.parametrize("end", [transfer.close, transfer.take_back])
def test_what_time_has_decided_needs_no_answer(end: Callable[..., Plan[None]]) -> None:
    assert end(ledger(replace(ESCROW_T, state=GivenState.LAPSED)), NOW, T) == Plan((), None)


def test_an_operator_forfeits_only_what_there_is() -> None:
    with pytest.raises(UnknownTransfer):
        transfer.forfeit(ledger(), NOW, T)


def test_a_transaction_nobody_knows_is_refused_on_disk_before_the_answer() -> None:
    it = ledger(asking=MINE)
    plan = transfer.answer(it, NOW, SETTLE)
    assert plan.result == NEVER
    assert [each.after for each in plan.changes] == [REFUSED_T]
    it.apply(plan.changes)
    with pytest.raises(BadOffer, match="over"):
        transfer.accept(it, NOW, MINE, OFFER, SEEDS)


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (ACCEPTED_T, ACCEPTED),
        (replace(ACCEPTED_T, state=TakenState.CONFIRMED), ACCEPTED),
        (REFUSED_T, NEVER),
        (replace(ACCEPTED_T, peer=THIRD), NEVER),
        (replace(REFUSED_T, peer=THIRD), NEVER),
    ],
)
def test_an_answer_is_what_is_on_disk(record: Taken, outcome: str) -> None:
    plan = transfer.answer(ledger(record), NOW, SETTLE)
    assert plan == Plan((), outcome)


@pytest.mark.parametrize("at", [NOW, NOW - SKEW_S - 1])
@pytest.mark.parametrize("state", [TakenState.ACCEPTED, TakenState.CONFIRMED])
def test_a_gift_that_was_taken_stays_taken_when_it_comes_again(state: TakenState, at: int) -> None:
    it = ledger(replace(ACCEPTED_T, state=state))
    assert transfer.receive(it, NOW, replace(GIVE, at=at), SEEDS) == Plan((), None)


@pytest.mark.parametrize(
    "records",
    [
        [went(PEER, NOW - 5)],
        [went(NodeId("peer", "f" * 16), NOW - 5)],
        [went(THIRD, NOW - 9), went(PEER, NOW - 5)],
        [went(THIRD, NOW - 5, low=50)],
        [went(THIRD, NOW - 5, GivenState.RETURNED)],
        [replace(went(THIRD, NOW - 5), pool="lan")],
    ],
    ids=["its own", "its own, by another instance", "its own last", "beside it", "came back", "another pool"],
)
def test_who_had_a_block_from_here_last_gives_it_back(records: list[Given]) -> None:
    it, rule = receive_of_member(*records)()
    it.apply(rule(it).changes)
    assert it.taken[T].blocks == GIVE.blocks


def test_where_nobody_knows_whose_name_it_is_a_block_comes_back_by_whom_it_may() -> None:
    it, rule = receive(GIVE, went(THIRD, NOW - 5))()
    assert rule(it).changes


@pytest.mark.parametrize("record", [ACCEPTED_T, replace(ACCEPTED_T, state=TakenState.CONFIRMED)])
def test_a_gift_that_was_taken_stays_taken_when_its_giver_may_give_no_more(record: Taken) -> None:
    it = ledger(record, went(THIRD, NOW - 5))
    assert transfer.receive(it, NOW, GIVE, SEEDS, gives=False, members=True) == Plan((), None)


def test_a_giver_confirms_only_what_is_no_longer_open() -> None:
    it = ledger(ESCROW_T)
    assert transfer.closed(it, Confirm(PEER, ME, (T, OTHER))) == (OTHER,)


def test_only_its_giver_confirms_a_transfer() -> None:
    it = ledger(ACCEPTED_T)
    assert transfer.confirm(it, NOW, THIRD, [T, OTHER]).changes == ()
    it.apply(transfer.confirm(it, NOW, PEER, [T, OTHER]).changes)
    assert it.taken[T].state is TakenState.CONFIRMED


LINE = (Block(0, 10, NOW, END), Block(10, 20, NOW + 100, END))


@pytest.mark.parametrize(
    ("rate", "window", "fits"),
    [
        (10, Window(NOW, NOW + 100), True),
        (20, Window(NOW, NOW + 100), True),
        (21, Window(NOW, NOW + 100), False),
        (10, Window(NOW + 100, END), True),
        (11, Window(END - 1, END), False),
        (30, Window(END, None), True),
    ],
)
def test_blocks_are_handed_over_only_if_all_of_them_together_are_free(rate: int, window: Window, fits: bool) -> None:
    it = ledger(booked(rate, window))
    if fits:
        it.apply(transfer.push(it, NOW, T, PEER, "wan", LINE).changes)
        assert it.free("wan", Window(NOW, None)) >= 0
        assert it.escrows[T].blocks == LINE
    else:
        with pytest.raises(Conflict):
            transfer.push(it, NOW, T, PEER, "wan", LINE)


def test_what_is_not_held_cannot_be_handed_over() -> None:
    it = ledger(Held("wan", Block(60, 90, NOW, None)))
    with pytest.raises(ValueError, match="more is to be taken out"):
        transfer.push(it, NOW, T, PEER, "wan", [Block(25, 35, NOW, END)])


def test_time_decides_and_forgets_what_nobody_needs() -> None:
    passed = (Block(40, 50, NOW - 600, NOW - MARGIN_S),)
    open_ = replace(ESCROW_T, txn=OTHER, blocks=(*passed, Block(50, 60, NOW - 600, NOW - MARGIN_S + 1)))
    old = NOW - TOMBSTONE_S
    records: dict[str, Record] = {
        "lapsed": replace(ESCROW_T, blocks=passed),
        "open": open_,
        "closed": Given(b"c" * 16, "wan", PEER, passed, GivenState.CLOSED, old),
        "young": Given(b"y" * 16, "wan", PEER, passed, GivenState.RETURNED, old + 1),
        "accepted": replace(ACCEPTED_T, at=old),
        "settled by time": replace(ACCEPTED_T, txn=b"s" * 16, blocks=passed),
        "confirmed": replace(ACCEPTED_T, txn=b"d" * 16, state=TakenState.CONFIRMED, at=old),
        "refused": replace(REFUSED_T, txn=b"r" * 16, at=old),
        "promise": Promise(b"p" * 16, "wan", PEER, 1, Window(START, END), NOW),
        "promise that holds": Promise(b"q" * 16, "wan", PEER, 1, Window(START, END), NOW + 1),
    }
    it = ledger(*records.values())
    plan = transfer.elapsed(it, NOW)
    it.apply(plan.changes)
    assert it.given[T].state is GivenState.LAPSED
    assert it.escrows == {OTHER: open_}
    assert set(it.given) == {T, OTHER, b"y" * 16}
    assert {txn: each.state for txn, each in it.taken.items()} == {
        T: TakenState.ACCEPTED,
        b"s" * 16: TakenState.CONFIRMED,
    }
    assert set(it.promises) == {b"q" * 16}


def test_a_tombstone_outlives_every_replay() -> None:
    """A request is fresh for SKEW_S on both sides of the moment it was made by clocks that differ by as much."""
    assert TOMBSTONE_S > 2 * SKEW_S


def test_an_origins_own_seed_makes_nothing_foreign_while_no_other_is_known() -> None:
    it = ledger(Seed("wan", 0, 30, NOW))
    assert it.seeded("wan") == 30


def test_blocks_whose_past_is_forgotten_can_be_handed_over() -> None:
    old = [Block(0, 5, NOW - 5_000, NOW + 50), Block(5, 9, NOW - 4_000, NOW + 70)]
    it = Ledger(ME, NOW, [Held("wan", each) for each in old])
    plan = transfer.push(it, NOW, T, PEER, "wan", old)
    it.apply(plan.changes)
    assert list(it.account("wan").held) == []
    assert it.escrows[T].blocks == tuple(old)
