"""Requests that peers begin: how many of one member are served, and what becomes of those above."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from asa.authority import Authority
from asa.events import Complaints, EventLog
from asa.peers import Peers
from asa.steps import Party, Steps
from asa.threads.negotiator import BURST, RATE, MainNegotiator, Pace
from grasp import Negotiation
from objectives import Block, NodeId
from objectives.params import Params
from objectives.resource import Ask, Give

NOW = 1_000_000
ME, PEER, OTHER = NodeId("me", "0" * 16), NodeId("peer", "1" * 16), NodeId("other", "2" * 16)


def ask(node: NodeId = PEER) -> dict[str, object]:
    return Ask(b"a" * 16, node, ME, "wan", 1, 1, NOW, NOW + 9, NOW).to_value()


def give() -> dict[str, object]:
    return Give(b"g" * 16, PEER, ME, "wan", (Block(0, 1, NOW, None),), NOW).to_value()


class Served:
    """A negotiator that hears requests, and what it made of each."""

    def __init__(self, rules: tuple[()] | None = ()) -> None:
        self.ticks, self.handlers, self.heard = 1.0, dict[str, Callable[[Negotiation], None]](), list[str]()
        self.events = EventLog()
        party = Party(ME, lambda: NOW, lambda: self.ticks, Random(7), Peers(ME, Random(7)), Params)
        asa = SimpleNamespace(on_negotiate=self.handlers.__setitem__)
        performer = SimpleNamespace(run=self._serve)
        self.negotiator = MainNegotiator(
            cast("Any", asa), "EX1.Resource", "EX1.Pact", party, cast("Any", performer),
            Authority(rules, "me", "delegator"), lambda _: pytest.fail("it arranges nothing"), self.events,
            Complaints(), lambda *_: pytest.fail("trouble"), Random(7),
        )  # fmt: skip
        self.negotiator.listen()

    def _serve(self, steps: Steps[None], _: Negotiation) -> None:
        steps.close()
        self.heard.append("served")

    def ask(self, value: dict[str, object], member: str | None = "peer", name: str = "EX1.Resource") -> str:
        session = SimpleNamespace(
            offer=SimpleNamespace(value=value), dry_run=False,
            member=SimpleNamespace(name=member) if member is not None else None,
            decline=self.heard.append, invalid=lambda: self.heard.append("broken off"),
        )  # fmt: skip
        self.handlers[name](cast("Negotiation", session))
        return self.heard[-1]

    def exhaust(self) -> None:
        assert {self.ask(ask()) for _ in range(int(BURST))} == {"served"}


def test_one_that_asks_too_often_is_told_busy_and_the_others_are_served() -> None:
    it = Served()
    it.exhaust()
    assert it.ask(ask()).startswith("busy: ")
    assert it.ask(ask(NodeId("peer", "f" * 16))).startswith("busy: ")
    assert it.ask(ask(OTHER), "other") == "served"
    it.ticks += 1 / RATE
    assert it.ask(ask()) == "served"
    assert it.ask(ask()).startswith("busy: ")


def test_a_gift_that_comes_too_often_is_not_decided() -> None:
    it = Served()
    it.exhaust()
    assert it.ask(give()) == "broken off"


def test_what_is_claimed_in_anothers_name_counts_for_who_claims_it() -> None:
    it = Served()
    for _ in range(int(BURST)):
        assert it.ask(ask(OTHER)).startswith("not-you: ")
    assert it.ask(ask(OTHER)).startswith("busy: ")
    assert it.ask(ask(OTHER), "other") == "served"


def test_it_is_told_now_and_then() -> None:
    it = Served()
    it.exhaust()
    for _ in range(5):
        it.ask(ask())
    it.negotiator.turn()
    (told,) = it.events.after(0, 10, 0.0).events
    assert (told.kind, told.fields["count"]) == ("peer-refused", 5)
    assert "peer asks more than" in told.message


def test_where_nobody_is_known_nobody_is_too_fast() -> None:
    it = Served(None)
    assert {it.ask(ask(), None) for _ in range(int(BURST) + 1)} == {"served"}


def test_of_too_many_members_who_was_silent_longest_begins_anew() -> None:
    pace = Pace(1.0, 1.0, 2)
    assert [pace.take(name, 0.0) for name in "aabab"] == [True, False, True, False, False]
    assert pace.take("c", 0.0)
    assert [pace.take(name, 0.0) for name in "bca"] == [False, False, True]
