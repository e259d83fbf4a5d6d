"""What peers send that ought not to be: declined with a reason, nothing changes, and the agent is there afterwards."""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from contextlib import closing

import cbor2
import pytest

import grasp
from asa.errors import UnknownPool
from objectives import Block, NodeId
from objectives.resource import Ask, Confirm, Give, Settle, answer_from_value

from .domain import Domain, G, M, eventually

MALLORY = NodeId("mallory", "00000000000000aa")
BOB = NodeId("bob", "00000000000000bb")


def ask(of, pool, rate, start, end, **more):
    wanted = {"node": MALLORY, "at": int(time.time())} | more
    made = Ask(os.urandom(16), wanted["node"], of.identity, pool, rate, rate, start, end, wanted["at"], True, 0)
    return made.to_value()


def state_of(agent, pool):
    """All that a transfer could have changed."""
    return (
        sorted(map(str, agent.held(pool))),
        sorted((each["txn"], each["state"]) for each in agent.get("transfers") if each["pool"] == pool),
        agent.reservations(pool),
    )


@pytest.fixture
def mallory(line):
    with line.stranger("d", "mallory") as stranger:
        yield stranger


def test_values_of_wrong_types_and_sizes_are_declined_with_a_reason(line, mallory):
    pool = line.seed("types", G)
    agent = line.agents["b"]
    before, now = state_of(agent, pool), int(time.time())
    good = ask(agent, pool, M, now, now + 60)
    bad = [
        None, 7, "ask", [], {}, b"\x00", [good], {"op": "ask"}, {"op": ["ask"]}, {1: 2},
        {**good, "txn": b"short"}, {**good, "node": "mallory"}, {**good, "pool": "p\x00ol"}, {**good, "rate": -1},
        {**good, "rate": 2**80}, {**good, "rate": 1.5}, {**good, "least": 2 * M}, {**good, "from": -1},
        {**good, "to": now - 1}, {**good, "path": ["x"] * 9}, {**good, "held": "x"}, {**good, "urgent": 1},
        {**good, "pool": "x" * 10_000}, {**good, "op": "offer"}, cbor2.CBORTag(24, b"\xff\xff"),
    ]  # fmt: skip
    for value in bad:
        assert mallory.refusal(agent.peer, value).startswith("bad-value: "), value
    # Nesting, and sizes beyond what the objective allows, are GRASP's to refuse.
    deep: list = []
    for _ in range(200):
        deep = [deep]
    for value in deep, {**good, "more": bytes(60_000)}, "x" * 100_000:
        with pytest.raises((grasp.GraspError, ValueError)):
            mallory.ask(agent.peer, value)
    assert state_of(agent, pool) == before
    assert agent.get("health")["status"] == "ok"


def test_gifts_that_overlap_are_foreign_or_for_somebody_else_are_declined(line, mallory):
    pool = line.seed("gifts", G)
    origin, b = line.origin, line.agents["b"]
    b.reserve(pool, 100 * M)
    before = [state_of(each, pool) for each in (origin, b)]
    now = int(time.time())

    def give(of, *blocks, **more):
        wanted = {"node": MALLORY, "at": now} | more
        return Give(os.urandom(16), wanted["node"], of, pool, blocks, wanted["at"]).to_value()

    held = b.held(pool)[0]
    for value, reason in (
        (give(b.identity, Block(*held)), "overlap"),
        (give(b.identity, Block(held[0] + 1, held[0] + 2, now + 50, None)), "overlap"),
        (give(b.identity, Block(5 * G, 6 * G, now, None)), "foreign"),
        (give(b.identity, Block(G - 1, G + 1, now, None)), "foreign"),
        (give(b.identity, Block(900 * M, G, 0, 100)), "past"),
        (give(b.identity, Block(900 * M, G, now + 5, None), at=now - 4_000), "stale"),
        (give(b.identity, Block(900 * M, G, now + 5, None), at=now + 4_000), "stale"),
        (give(b.identity, Block(900 * M, G, now + 5, None), node=b.identity), "own"),
    ):
        assert mallory.refusal(b.peer, value).partition(":")[0] == reason, value
    # One for somebody else is neither taken nor declined: whom it is meant for may have it already.
    for of in origin.identity, BOB, NodeId("b", "00000000000000cc"):
        with pytest.raises(grasp.GraspError) as raised:
            mallory.ask(b.peer, give(of, Block(900 * M, G, now + 5, None)))
        assert not isinstance(raised.value, grasp.Declined)
    after = [state_of(each, pool) for each in (origin, b)]
    assert [each[0] for each in after] == [each[0] for each in before]
    origin.audited(pool)


def test_a_gift_that_was_refused_is_refused_when_it_is_replayed_where_it_would_fit(line, mallory):
    pool = line.seed("replayed", G)
    b = line.agents["b"]
    booked = b.reserve(pool, 100 * M, end=int(time.time()) + 6)
    low, high, _, end = b.held(pool)[0]
    value = Give(
        os.urandom(16), MALLORY, b.identity, pool, (Block(low, high, end - 1, None),), int(time.time())
    ).to_value()
    assert mallory.refusal(b.peer, value).startswith("overlap: ")
    b.cancel(booked["id"])
    for _ in range(3):
        assert mallory.refusal(b.peer, value).startswith("replay: ")
    eventually(lambda: time.time() > end + 1)
    assert mallory.refusal(b.peer, value).startswith("replay: ")
    line.origin.audited(pool)


def test_requests_that_are_stale_replayed_or_in_its_own_name_get_nothing(line, mallory):
    pool = line.seed("asked", G)
    origin, now = line.origin, int(time.time())
    value = ask(origin, pool, 100 * M, now, now + 600)
    answer = mallory.ask(origin.peer, value)
    mallory.do(answer.accept)
    for _ in range(3):
        assert mallory.refusal(origin.peer, value).startswith("replay: ")
    for other, reason in (
        (ask(origin, pool, M, now, now + 600, at=now - 4_000), "stale"),
        (ask(origin, pool, M, now, now + 600, at=now + 4_000), "stale"),
        (ask(origin, pool, M, now - 9_000, now - 8_000), "past"),
        (ask(origin, pool, M, now, now + 600, node=origin.identity), "own"),
        (ask(line.agents["b"], pool, M, now, now + 600), "not-me"),
        (ask(origin, pool, 2 * G, now, now + 600), "short"),
        (ask(origin, "nowhere", M, now, now + 600), "short"),
    ):
        assert mallory.refusal(origin.peer, other).partition(":")[0] == reason, other
    blocks = answer_from_value(answer.offer.value).blocks
    back = Give(os.urandom(16), MALLORY, origin.identity, pool, blocks, int(time.time()))
    assert mallory.ask(origin.peer, back.to_value()).agreed
    # The same gift once more is agreed to, and changes nothing.
    held = origin.held(pool)
    assert mallory.ask(origin.peer, back.to_value()).agreed
    assert origin.held(pool) == held
    origin.audited(pool)


def test_nobody_can_settle_or_confirm_the_transfers_of_others(line, mallory):
    pool = line.seed("forged", G)
    origin, b = line.origin, line.agents["b"]
    b.reserve(pool, 100 * M)
    (given,) = [each for each in origin.get("transfers") if each["pool"] == pool]
    txn = bytes.fromhex(given["txn"])
    blocks = tuple(Block(each["low"], each["high"], each["start"], each["end"]) for each in given["blocks"])
    before = state_of(b, pool)

    def answered(agent, request):
        answer = mallory.ask(agent.peer, request.to_value())
        found = answer_from_value(answer.offer.value)
        mallory.do(answer.accept)
        return found

    # Not being its giver, one is told that one's blocks never will be taken: true, and final for the asker alone.
    assert answered(b, Settle(txn, MALLORY, b.identity, pool, blocks)).outcome == "never"
    other = (Block(0, 1, int(time.time()) + 9, None),)
    assert mallory.refusal(b.peer, Settle(txn, origin.identity, b.identity, pool, other).to_value()).startswith(
        "bad-value: "
    )
    assert mallory.refusal(b.peer, Settle(txn, origin.identity, BOB, pool, blocks).to_value()).startswith("not-me: ")
    assert mallory.refusal(origin.peer, Confirm(MALLORY, BOB, (txn,)).to_value()).startswith("not-me: ")
    answered(origin, Confirm(MALLORY, origin.identity, (txn, os.urandom(16))))
    # What is in escrow is not said to be closed.
    value = ask(origin, pool, 50 * M, int(time.time()), int(time.time()) + 600)
    waiting = mallory.ask(origin.peer, value)
    assert answered_elsewhere(line, origin, Confirm(BOB, origin.identity, (value["txn"], txn))) == (txn,)
    mallory.do(waiting.decline)
    eventually(lambda: origin.pool(pool)["held"] == 900 * M)
    assert state_of(b, pool) == before
    origin.audited(pool)


def answered_elsewhere(line, agent, confirm):
    with line.stranger("c", "bob") as bob:
        answer = bob.ask(agent.peer, confirm.to_value())
        found = answer_from_value(answer.offer.value)
        bob.do(answer.accept)
        return found.txns


class Giver:
    """A peer that announces plenty, and answers requests with whatever the test wants."""

    def __init__(self, stranger, pools):
        self.stranger, self.asked = stranger, []
        self.offers = lambda ask: None
        stranger.do(lambda: stranger.asa.on_negotiate("EX1.Resource", self.serve))
        self.say("active", [[pool, 2**50, []] for pool in pools])

    def say(self, state, pools):
        said = {"node": str(MALLORY), "seq": time.time_ns() // 10**6, "state": state, "pools": pools}
        self.stranger.flood("EX1.Agent", said)

    def leave(self):
        self.say("left", [])

    def serve(self, negotiation):
        value = negotiation.offer.value
        if value.get("op") != "ask":
            negotiation.decline("no")
            return
        self.asked.append(value)
        answer = self.offers(value)
        if answer is None:
            negotiation.decline("no")
            return
        try:
            negotiation.propose(answer, 5_000)
        except grasp.Declined as error:
            self.asked.append(error.reason)
        except grasp.GraspError as error:
            self.asked.append(str(error))


def ready(agent, pool):
    """Whether mallory is the one it will ask."""
    return any(
        each["node"].startswith("mallory") and each["backoff_s"] == 0 and each["pools"].get(pool) == 2**50
        for each in agent.get("peers")
    )


def test_offers_of_something_else_than_was_asked_for_are_refused_and_the_consumer_served_by_others(line, mallory):
    d = line.agents["c"]

    def offer(value, *blocks, **more):
        return {
            "op": "offer",
            "txn": value["txn"],
            "node": str(MALLORY),
            "blocks": [list(each) for each in blocks],
        } | more

    lies = {
        "more than asked for": lambda v: offer(v, (0, v["rate"] + 1, v["from"], v["to"])),
        "less than the least": lambda v: offer(v, (0, v["rate"], v["from"], v["to"] - 1)),
        "a longer window": lambda v: offer(v, (0, v["rate"], v["from"], v["to"] + 10_000)),
        "for ever": lambda v: offer(v, (0, v["rate"], v["from"], None)),
        "foreign": lambda v: offer(v, (7 * G, 7 * G + v["rate"], v["from"], v["to"])),
        "another transaction": lambda v: offer(v, (0, v["rate"], v["from"], v["to"]), txn=os.urandom(16)),
        "of another": lambda v: offer(v, (0, v["rate"], v["from"], v["to"]), node=str(BOB)),
        "no offer": lambda v: {"op": "settled", "txn": v["txn"], "node": str(MALLORY), "outcome": "accepted"},
        "garbage": lambda v: {"op": "offer", "blocks": "all of them"},
        "overlapping blocks": lambda v: offer(v, (0, v["rate"], v["from"], v["to"]), (1, 2, v["from"], v["to"])),
        "nothing": lambda v: offer(v),
        "a counter-request": lambda v: v,
    }
    # Each has a pool of its own, of which nobody has granted anything yet: who says it has enough is asked first.
    pools = {name: f"offer-{number}" for number, name in enumerate(lies)}
    for pool in pools.values():
        line.origin.post("pools", {"name": pool, "capacity": G})
    for pool in pools.values():
        eventually(lambda pool=pool: d.knows(pool, G))
    # It has all of it when it is asked for, but not all the time: as far as its peers know it has not enough.
    later = int(time.time()) + 2_000
    for pool in pools.values():
        line.origin.reserve(pool, 995 * M, start=later, end=later + 10)
    giver = Giver(mallory, list(pools.values()))
    for pool in pools.values():
        eventually(lambda pool=pool: d.spare_of(pool).get("a") == 5 * M)
    for name, lie in lies.items():
        giver.offers = lie
        asked, pool = len(giver.asked), pools[name]
        # It is left alone for a while where it broke off; the time is told in tenths of a second.
        eventually(lambda pool=pool: ready(d, pool) and time.sleep(0.1) is None and ready(d, pool))
        now = int(time.time())
        d.reserve(pool, 10 * M, start=now + 100, end=now + 200)
        assert len(giver.asked) > asked, name
        held = d.held(pool)
        assert sum(high - low for low, high, *_ in held) == 10 * M, name
        assert all((start, end) == (now + 100, now + 200) and high <= G for _, high, start, end in held), name
    assert d.get("health")["status"] == "ok"
    # Whoever announces itself and shows no holdings keeps the audit from being ok; the blocks are where they should be.
    audit = eventually(lambda: (found := line.origin.audit())["at_rest"] and found)
    assert audit["unreachable"] == [str(MALLORY)]
    assert all(each["ok"] for each in audit["pools"] if each["pool"] in pools.values()), audit
    giver.leave()
    eventually(lambda: not d.spare_of(pool).get("mallory"))


def test_announcements_that_lie_or_come_in_masses_are_bounded_in_memory_and_in_the_log(line, mallory):
    pool = line.seed("liars", G)
    b = line.agents["b"]
    log, events, peers = len(b.log()), len(b.events()), len(b.get("peers"))
    for garbage in None, 7, {}, {"node": "x"}, {"node": str(MALLORY), "seq": -1}, [1] * 50:
        mallory.flood("EX1.Agent", garbage)
    count = 1_500
    for number in range(count):
        node = f"liar{number}#{number:016x}"
        pools = [[f"invented{number}", 2**50, [[0, 2**50]]], [pool, 2**40, []]]
        mallory.flood("EX1.Agent", {"node": node, "seq": 1, "state": "active", "pools": pools}, port=1, ttl=2_000)
        if number % 100 == 0:
            assert b.get("health")["ready"]

    def noticed():
        mallory.flood("EX1.Agent", {"node": "b#" + "0" * 16, "seq": 1, "state": "active", "pools": []}, port=1)
        return "namesake" in b.problems()

    eventually(noticed, pause=0.5)
    # Floods that come too fast are lost. Of a peer that is new one line tells; of what else came hardly any.
    heard = len(b.get("peers")) - peers
    assert len(b.log()) - log < 100 * heard + 5_000, f"{len(b.log()) - log} characters, {heard} of {count} lies heard"
    assert len(b.events()) - events < heard + 50
    # What was refused is told of now and then, the most frequent of it, not each time.
    assert 1 <= len(eventually(lambda: b.events("peer-refused"))) < 20
    # Consumers are still served: of what announces all and answers nothing only so many are tried.
    assert b.get("health")["ready"]
    assert line.origin.reserve(pool, 100 * M)


def test_of_masses_of_peers_only_so_many_are_remembered_in_memory_and_on_disk(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["crowded", "crowd"])
    agent = domain.agent("crowded", "origin", {"wan": G}, limits={"peers": 40}).start()
    with domain.stranger("crowd") as stranger:
        numbers = itertools.count()

        def heard():
            for number in itertools.islice(numbers, 20):
                node = f"n{number}#{number:016x}"
                stranger.flood("EX1.Agent", {"node": node, "seq": 1, "state": "active", "pools": []}, port=1)
            assert len(agent.get("peers")) <= 40
            return len(agent.events("peer-heard")) > 120

        eventually(heard)
    with closing(sqlite3.connect(f"file:{agent.state}/asa.db?mode=ro", uri=True)) as database:
        assert database.execute("SELECT count(*) FROM contacts").fetchone()[0] <= 40
    agent.kill()
    agent.start()
    assert len(agent.get("peers")) <= 40
    assert agent.reserve("wan", G)
    assert agent.stop() == 0


def test_a_pool_that_only_a_stranger_speaks_of_is_not_made_up_by_its_asking_and_giving(line, mallory):
    b, now = line.agents["b"], int(time.time())
    before = {each["name"] for each in b.get("pools")}
    for number in range(50):
        assert mallory.refusal(b.peer, ask(b, f"made-up-{number}", M, now, now + 60)).startswith("short: ")
    gift = Give(os.urandom(16), MALLORY, b.identity, "made-up", (Block(0, G, now, None),), now)
    assert mallory.refusal(b.peer, gift.to_value()).startswith("foreign: ")
    # An origin takes back nothing but what origins have seeded, also where no other is known.
    own = line.seed("its-own", G)
    beyond = Give(os.urandom(16), MALLORY, line.origin.identity, own, (Block(2 * G, 3 * G, now, None),), now)
    assert mallory.refusal(line.origin.peer, beyond.to_value()).startswith("foreign: ")
    assert {each["name"] for each in b.get("pools")} == before | {own}
    for name in "made-up-7", "made-up":
        with pytest.raises(UnknownPool):
            b.reserve(name, M)
