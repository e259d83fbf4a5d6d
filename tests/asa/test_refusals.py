"""What is remembered as never to be: one that fills its place takes nobody else's, and is told of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from asa import pacts, transfer
from asa.books import Books
from asa.events import EventLog
from asa.ledger import Ledger
from asa.peers import Peers
from asa.records import Change, Record, Taken, TakenState, Verdict, VerdictState
from asa.refusals import MOST, MOST_OF_ONE, Declined, crowded
from asa.steps import Party
from asa.threads.garbage_collector import CROWDED, GarbageCollector
from asa.transfer import TOMBSTONE_S
from objectives import Block, NodeId, pact
from objectives.params import Params
from objectives.resource import NEVER, Settle

NOW = 1_000_000
ME, MALLORY, OTHER = NodeId("me", "0" * 16), NodeId("mallory", "1" * 16), NodeId("other", "2" * 16)
AGAIN = NodeId("mallory", "f" * 16)


def txn(number: int) -> bytes:
    return number.to_bytes(16, "big")


def taken(number: int, peer: NodeId = MALLORY, state: TakenState = TakenState.REFUSED) -> Taken:
    return Taken(txn(number), "wan", peer, (), state, NOW)


def never(number: int, peer: NodeId = MALLORY, state: VerdictState = VerdictState.NEVER) -> Verdict:
    return Verdict(txn(number), peer, "r-1", state, NOW)


def settle(peer: NodeId) -> Settle:
    return Settle(b"s" * 16, peer, ME, "wan", (Block(0, 1, NOW, None),))


def taken_answer(it: Ledger, peer: NodeId, members: bool = True) -> str:
    return transfer.answer(it, NOW, settle(peer), members=members).result


def pact_answer(it: Ledger, peer: NodeId, members: bool = True) -> str:
    return pacts.answer(it, NOW, pact.Settle(b"s" * 16, peer, ME, "r-9"), members=members).result


BOTH = pytest.mark.parametrize(("record", "answer"), [(taken, taken_answer), (never, pact_answer)])
Make = Callable[..., Record]
Answer = Callable[..., str]


@BOTH
def test_one_member_fills_its_own_place_only(record: Make, answer: Answer) -> None:
    it = Ledger(ME, NOW, [record(number) for number in range(MOST_OF_ONE)])
    for peer in (MALLORY, AGAIN):
        with pytest.raises(Declined) as declined:
            answer(it, peer)
        assert declined.value.code == "busy"
    assert answer(it, OTHER) == NEVER


@BOTH
def test_there_is_room_for_one_more_below_the_bound(record: Make, answer: Answer) -> None:
    it = Ledger(ME, NOW, [record(number) for number in range(MOST_OF_ONE - 1)])
    assert answer(it, MALLORY) == NEVER


@BOTH
def test_all_together_have_a_bound_too(record: Make, answer: Answer) -> None:
    peers = [NodeId(f"m{number}", "1" * 16) for number in range(11)]
    it = Ledger(ME, NOW, [record(number, peers[number % 11]) for number in range(MOST)])
    for members in (True, False):
        with pytest.raises(Declined):
            answer(it, OTHER, members)


@BOTH
def test_where_nobody_is_known_a_name_has_no_bound_of_its_own(record: Make, answer: Answer) -> None:
    it = Ledger(ME, NOW, [record(number) for number in range(MOST_OF_ONE)])
    assert answer(it, MALLORY, False) == NEVER
    assert crowded(it, False) is None


def test_what_was_taken_or_decided_fills_nothing() -> None:
    for records in (
        [taken(number, state=TakenState.CONFIRMED) for number in range(MOST_OF_ONE)],
        [never(number, state=VerdictState.ACCEPTED) for number in range(MOST_OF_ONE)],
    ):
        it = Ledger(ME, NOW, records)
        assert crowded(it, True) is None
        assert taken_answer(it, MALLORY) == pact_answer(it, MALLORY) == NEVER


class Disk:
    def commit(self, changes: Sequence[Change]) -> None:
        """All is well."""


@BOTH
def test_a_place_that_is_full_is_a_problem_until_it_is_empty_again(record: Make, answer: Answer) -> None:
    now, told = NOW, dict[str, str | None]()
    peers = Peers(ME, Random(7))
    party = Party(ME, lambda: now, lambda: 0.0, Random(7), peers, Params, members=True)
    books = Books(Ledger(ME, NOW, [record(number) for number in range(MOST_OF_ONE)]), Disk())
    collector = GarbageCollector(
        party, books, EventLog(), lambda _, what: pytest.fail(what), Random(7), problem=told.__setitem__
    )
    collector.turn()
    text = told[CROWDED]
    assert text is not None
    assert "mallory" in text
    assert "of 1000 at most" in text
    now = NOW + TOMBSTONE_S + 1
    collector.turn()
    assert told[CROWDED] is None
