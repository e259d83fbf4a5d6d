"""Over the substrate ``domain`` a member speaks for itself only, and does what its name is allowed to: real agents."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

import grasp
from grasp.calls import Peer
from objectives import Block, NodeId, pact
from objectives.agent import Announcement, PoolSummary
from objectives.pact import Arrange, CallOff, Terms
from objectives.resource import Ask, Confirm, Give, Settle, answer_from_value

from .domain import PATIENCE_MS, QUIET, Domain, G, M, eventually, in_time

MALLORY = NodeId("mallory", "00000000000000aa")
RULES = """
[[allow]]
members = ["a"]
origin = ["*"]
params = true
[[allow]]
members = ["mall*"]
ask = "100Mbit"
audit = false
give = true
[[allow]]
members = ["miser"]
ask = "100Mbit"
"""


@pytest.fixture(scope="module")
def members(shared_lab, tmp_path_factory) -> Domain:
    """``a`` (origin) and ``b`` in a row, and a host for whoever else has a certificate."""
    domain = Domain.secured(shared_lab, tmp_path_factory.mktemp("members"), ["a", "b", "m"], RULES)
    domain.agent("a", "origin", {"wan": G})
    domain.agent("b")
    return domain.start(**QUIET)


@pytest.fixture
def mallory(members):
    with members.stranger("m", "mallory") as stranger:
        yield stranger


def ask(of: NodeId, rate: int, node: NodeId = MALLORY, **more: object) -> dict[str, object]:
    now = int(time.time())
    made = Ask(os.urandom(16), node, of, "wan", rate, rate, now, now + 600, now, True, 0)
    return replace(made, **more).to_value()


def taken(stranger, of, rate: int, node: NodeId = MALLORY) -> tuple[Block, ...]:
    answer = stranger.ask(of.peer, ask(of.identity, rate, node))
    stranger.do(answer.accept)
    eventually(lambda: of.moves_nothing("wan"), what=f"{of.name} has heard that it was taken")
    return answer_from_value(answer.offer.value).blocks


def returned(stranger, of, blocks: tuple[Block, ...], node: NodeId = MALLORY) -> bool:
    give = Give(os.urandom(16), node, of.identity, "wan", blocks, int(time.time()))
    return bool(stranger.ask(of.peer, give.to_value()).agreed)


def test_members_serve_each_other(members):
    a, b = members.agents["a"], members.agents["b"]
    eventually(lambda: b.knows("wan", G))
    booked = b.reserve("wan", 50 * M)
    assert a.audited("wan")["agents"] == sorted([a.node, b.node])
    b.cancel(booked["id"])


@pytest.mark.parametrize("claimed", ["b", "a"])
def test_a_message_in_anothers_name_is_declined_whatever_it_says(members, mallory, claimed):
    """The origin is asked in the name of a delegator, the delegator in that of its origin."""
    agent = members.agents["a" if claimed == "b" else "b"]
    other, me, now = members.agents[claimed].identity, agent.identity, int(time.time())
    blocks = (Block(10, 20, now, now + 60),)
    terms = Terms("one-way", "192.0.2.1", "192.0.2.9", "", 5, 0, now, now + 60)
    eventually(lambda: agent.moves_nothing("wan"))
    before = agent.held("wan"), agent.transfers(), agent.reservations()
    for value in (
        ask(me, M, other),
        Give(os.urandom(16), other, me, "wan", blocks, now).to_value(),
        Settle(os.urandom(16), other, me, "wan", blocks).to_value(),
        Confirm(other, me, (os.urandom(16),)).to_value(),
    ):
        assert mallory.refusal(agent.peer, value).startswith("not-you: "), value
    for request in (
        Arrange(os.urandom(16), other, me, "r-1", terms, now, 1000),
        CallOff(other, me, "r-1", now),
        pact.Settle(os.urandom(16), other, me, "r-1"),
        Confirm(other, me, (os.urandom(16),)),
    ):
        assert mallory.refusal(agent.peer, request.to_value(), name="EX1.Pact").startswith("not-you: "), request
    assert mallory.refusal(agent.peer, ask(me, M, other), dry=True).startswith("not-you: ")
    assert (agent.held("wan"), agent.transfers(), agent.reservations()) == before


def test_a_transfer_of_another_is_not_settled_with_a_name_of_ones_own(members, mallory):
    """``b`` has taken blocks of ``a``. Who asks what became of them is told ``never``, which is true of itself."""
    a, b = members.agents["a"], members.agents["b"]
    booked = b.reserve("wan", 40 * M)
    taken = next(each for each in b.get("transfers") if each["direction"] == "taken")
    held = b.held("wan")
    blocks = tuple(Block(*each) for each in held)
    question = Settle(bytes.fromhex(taken["txn"]), MALLORY, b.identity, "wan", blocks)
    answer = mallory.ask(b.peer, question.to_value())
    assert answer_from_value(answer.offer.value).outcome == "never"
    mallory.do(answer.accept)
    assert b.held("wan") == held
    b.cancel(booked["id"])
    a.audited("wan")


def test_several_requests_together_get_no_more_than_the_members_limit(members, mallory):
    a = members.agents["a"]
    blocks = (*taken(mallory, a, 40 * M), *taken(mallory, a, 40 * M))
    assert mallory.refusal(a.peer, ask(a.identity, 40 * M)).startswith(f"limit: at most {20 * M} bit/s")
    # Neither a restart nor a second name under the same certificate makes it forget.
    other = NodeId("mallory", "00000000000000bb")
    assert mallory.refusal(a.peer, ask(a.identity, 40 * M, other)).startswith("limit: ")
    assert a.stop() == 0
    a.start()
    assert mallory.refusal(a.peer, ask(a.identity, 40 * M)).startswith(f"limit: at most {20 * M} bit/s")
    assert mallory.refusal(a.peer, ask(a.identity, 40 * M), dry=True).startswith("limit: ")
    # Other members have a limit of their own, or none.
    node = NodeId("mallet", "0" * 16)
    with members.stranger("m", "mallet") as mallet:
        assert mallet.refusal(a.peer, ask(a.identity, 101 * M, node)).startswith("limit: at most 100000000 bit/s")
        assert returned(mallet, a, taken(mallet, a, 100 * M, node), node)
    assert returned(mallory, a, blocks)
    assert returned(mallory, a, taken(mallory, a, 100 * M))
    b = members.agents["b"]
    eventually(lambda: b.finds(a), what="b hears a again")
    b.cancel(b.reserve("wan", 500 * M)["id"])
    a.audited("wan")


def test_what_dry_runs_keep_counts_for_the_limit(members, mallory):
    a = members.agents["a"]
    dry = ask(a.identity, 60 * M)
    kept = mallory.ask(a.peer, dry, dry=True)
    mallory.do(kept.accept)
    assert mallory.refusal(a.peer, ask(a.identity, 60 * M), dry=True).startswith(f"limit: at most {40 * M} bit/s")
    assert mallory.refusal(a.peer, ask(a.identity, 60 * M)).startswith(f"limit: at most {40 * M} bit/s")
    live = mallory.ask(a.peer, ask(a.identity, 100 * M, held=dry["txn"], start=dry["from"], end=dry["to"]))
    mallory.do(live.accept)
    assert returned(mallory, a, answer_from_value(live.offer.value).blocks)
    a.audited("wan")


def test_what_the_origin_gave_to_another_nobody_else_hands_over(members, mallory):
    """``b`` has it, and would have it still: it would be there twice."""
    a, b = members.agents["a"], members.agents["b"]
    booked = b.reserve("wan", 50 * M)
    for low, high, start, end in b.held("wan"):
        give = Give(os.urandom(16), MALLORY, a.identity, "wan", (Block(low, high, start, end),), int(time.time()))
        assert mallory.refusal(a.peer, give.to_value()).startswith("given: ")
    b.cancel(booked["id"])
    a.audited("wan")


def test_capacity_of_a_member_with_a_limit_is_not_taken_and_not_asked_for(members):
    """It offers what is not its own, and says it has plenty; one that may give would be asked."""
    a, b = members.agents["a"], members.agents["b"]
    eventually(lambda: b.knows("wan", G))
    held, now = a.held("wan"), int(time.time())
    for name, expected in ("miser", False), ("mallory", True):
        node, asked = NodeId(name, "00000000000000cc"), []
        with members.stranger("m", name) as member:
            if name == "miser":
                give = Give(os.urandom(16), node, a.identity, "wan", (Block(0, 10, now - 9, now - 8),), now)
                assert member.refusal(a.peer, give.to_value()).startswith("not-allowed: ")
                assert a.held("wan") == held
            member.do(lambda asked=asked, member=member: member.asa.on_negotiate("EX1.Resource", asked.append))

            def known(state="active", spare=5 * G, node=node, member=member):
                where = (member.address.packed, member.grasp.port)
                said = Announcement(node, int(time.time() * 1000), state, (PoolSummary("wan", spare, ()),), where)
                member.flood("EX1.Agent", member.seals.wrap("EX1.Agent", said.to_value()))
                return b.spare_of("wan").get(node.name) == spare

            eventually(known, what=f"b hears {name}", pause=0.3)
            assert b.refused("wan", 2 * G).code == "short"
            assert bool(asked) is expected
            eventually(lambda known=known: known("left", 0), what=f"{name} has left", pause=0.3)
    a.audited("wan")


def test_holdings_are_shown_to_those_only_who_may_audit(members, mallory):
    a, b = members.agents["a"], members.agents["b"]
    for agent in (a, b):
        for name in ("EX1.Holdings", "EX1.Holdings.1"):
            with pytest.raises(grasp.GraspError):
                mallory.do(lambda name=name, agent=agent: mallory.asa.synchronize(name, agent.peer, 5_000))
        # What it may know it gets.
        assert mallory.do(lambda agent=agent: mallory.asa.synchronize("EX1.Params", agent.peer, PATIENCE_MS)).value
    with members.stranger("m", "auditor") as auditor:
        page = auditor.do(lambda: auditor.asa.synchronize("EX1.Holdings", a.peer, PATIENCE_MS)).value
        assert page["node"] == a.node


def test_what_a_member_keeps_is_missed_by_the_audit_that_names_it_and_comes_back_by_the_clock(members, mallory):
    """Of one transfer it keeps what it got and shows nobody; the other it leaves open, and says nothing when asked."""
    a, b = members.agents["a"], members.agents["b"]
    a.audited("wan")
    before = a.get("pools/wan")["pool"]["free"]
    where = (mallory.address.packed, mallory.grasp.port)

    def announce(state):
        said = Announcement(MALLORY, int(time.time() * 1000), state, (PoolSummary("wan", 0, ()),), where)
        mallory.flood("EX1.Agent", mallory.seals.wrap("EX1.Agent", said.to_value()))

    def known(state):
        announce(state)
        return all(any(each["node"] == str(MALLORY) for each in agent.get("peers")) for agent in (a, b))

    eventually(lambda: known("active"), what="it is known", pause=0.3)
    silent = []
    mallory.do(lambda: mallory.asa.on_negotiate("EX1.Resource", silent.append))

    def kept_and_left_open(end):
        kept = mallory.ask(a.peer, ask(a.identity, 30 * M, end=end))
        mallory.do(kept.accept)
        eventually(lambda: a.moves_nothing("wan"), what="a has heard that it was taken")
        left_open = mallory.ask(a.peer, ask(a.identity, 20 * M, end=end))
        assert not left_open.agreed
        audits = [eventually(lambda agent=agent: seen(agent)) for agent in (a, b)]
        return answer_from_value(kept.offer.value).blocks, audits, a.get("pools/wan")["pool"]["free"]

    def seen(agent):
        """An audit under which nothing moved and that has read both: a busy agent may answer it too late."""
        found = agent.audit("wan")
        return found if found["at_rest"] and {a.node, b.node} <= set(found["agents"]) else None

    blocks, audits, free = in_time(kept_and_left_open, 15)
    for found in audits:
        (pool,) = found["pools"]
        assert (found["ok"], found["unreachable"]) == (False, [str(MALLORY)])
        assert [(each["low"], each["high"]) for each in pool["missing"]] == [(each.low, each.high) for each in blocks]
        assert pool["in_motion"] == 20 * M
    of = {each["rate"]: each["peer"] for each in a.get("transfers")}
    assert (of[30 * M], of[20 * M]) == (str(MALLORY), str(MALLORY))
    assert free == before - 50 * M
    eventually(lambda: a.get("pools/wan")["pool"]["free"] == before, 180.0, "its lease is over")
    announce("left")
    a.audited("wan")
    b.audited("wan")


def test_an_agent_asks_nobody_but_the_member_it_means(members, mallory):
    """Where ``a`` is, only the certificate of ``a`` will do: whoever sits at its address is left without an answer."""
    a = members.agents["a"]
    wrong, right = Peer(a.peer.locator, 0, "b"), Peer(a.peer.locator, 0, "a")
    with pytest.raises(grasp.GraspError) as raised:
        mallory.do(lambda: mallory.asa.synchronize("EX1.Params", wrong, PATIENCE_MS))
    assert raised.value.code == grasp.ErrorCode.notMember
    assert mallory.do(lambda: mallory.asa.synchronize("EX1.Params", right, PATIENCE_MS)).value


def test_an_agent_with_the_certificate_of_another_does_not_start(members):
    agent = members.agent("c", on="m", identity=members.identity("d"))
    log = agent.refuses_to_start()
    assert "is that of d, and the configuration names the agent c" in log
    del members.agents["c"]


def test_an_agent_without_an_identity_says_what_to_do(members, tmp_path):
    agent = members.agent("c", on="m", identity=tmp_path / "nothing")
    log = agent.refuses_to_start()
    assert str(tmp_path / "nothing") in log
    assert "asa domain" in log
    del members.agents["c"]


def test_a_claim_that_was_refused_is_told_now_and_then_and_not_each_time(members, mallory):
    a, b = members.agents["a"], members.agents["b"]
    for _ in range(20):
        mallory.refusal(a.peer, ask(a.identity, M, b.identity))
    told = eventually(lambda: a.events("claim-refused"), what="it is told of")
    assert 1 <= len(told) <= 4
    assert all("mallory" in each["message"] for each in told)


def test_who_sits_at_the_address_and_port_of_an_agent_is_not_asked_in_its_place(members):
    """``b`` needs capacity of ``a``, which is down, and mallory waits where it was."""
    a, b = members.agents["a"], members.agents["b"]
    eventually(lambda: b.knows("wan", G))
    there, port, asked = a.peer, a.get("status")["grasp_port"], []
    assert a.stop() == 0
    with members.stranger("a", "mallory", port) as mallory:
        for name in ("EX1.Resource", "EX1.Pact"):
            mallory.do(lambda name=name: mallory.asa.on_negotiate(name, asked.append))
        assert b.refused("wan", 700 * M).code == "short"
        assert asked == []
        # It is there: who does not care whom it asks is served.
        with members.stranger("m", "careless") as careless, pytest.raises(grasp.Declined):
            careless.ask(there, None)
        assert len(asked) == 1
    a.start()
    eventually(lambda: b.finds(a), what="b hears a again")
    b.cancel(b.reserve("wan", 700 * M)["id"])
