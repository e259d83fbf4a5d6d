"""Capacity goes where consumers want it, for as long as they do, and not a bit/s more."""

from __future__ import annotations

import os
import signal
import time

import pytest

from asa.errors import BadWindow, Conflict, KeyReused, Short, UnknownPool
from objectives import Block, NodeId
from objectives.resource import Ask, Give, Hold, Offer, answer_from_value

from .domain import PATIENCE_MS, QUIET, Domain, G, M, eventually, in_parallel, in_time

STRANGER = NodeId("stranger", "00000000000000aa")


def amounts(held):
    return sorted(high - low for low, high, _, _ in held)


def over(held, start, end):
    """bit/s held at every instant of a window, by blocks that cover it."""
    return sum(
        high - low for low, high, first, last in held if first <= start and (last is None or (end and end <= last))
    )


def taken_from(agent, pool):
    """The names of those it got capacity of a pool from, in order."""
    return [
        each["fields"]["peer"].partition("#")[0]
        for each in agent.events("capacity-taken")
        if each["fields"]["pool"] == pool
    ]


def stocked(agent, pool, rate):
    """Let an agent hold ``rate`` for ever, and free."""
    agent.cancel(agent.reserve(pool, rate)["id"])
    assert agent.pool(pool)["free"] == rate


def ask(of, pool, rate, start, end, **more):
    wanted = {"node": STRANGER, "urgent": True, "patience": PATIENCE_MS} | more
    return Ask(
        os.urandom(16), wanted.pop("node"), of.identity, pool, rate, rate, start, end, int(time.time()), **wanted
    )


def hand_back(stranger, agent, pool, blocks):
    """What a stranger got goes to an agent, so that the audit can find it."""
    eventually(lambda: agent.moves_nothing(pool))
    give = Give(os.urandom(16), STRANGER, agent.identity, pool, tuple(blocks), int(time.time()))
    assert stranger.ask(agent.peer, give.to_value()).agreed


def test_a_delegator_that_starts_with_nothing_has_its_first_grant_within_seconds(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["cold0", "cold1", "cold2"], ["cold1"])
    domain.agent("cold0", "origin", {"wan": G}).start()
    late = domain.agent("cold2").start()
    begin = time.monotonic()
    eventually(lambda: late.knows("wan", G))
    booked = late.reserve("wan", 200 * M, end=int(time.time()) + 600)
    assert booked["state"] == "active"
    # By itself an agent is heard of once a minute.
    assert time.monotonic() - begin < 30.0
    # And then its stock, without a consumer: 5 % of the seed for the policy's lease.
    eventually(lambda: late.pool("wan")["spare"] >= 50 * M)
    assert late.audited()["pools"][0]["held"] == G
    for each in domain.agents.values():
        assert each.stop() == 0


def test_what_does_not_fit_locally_comes_from_a_peer_for_exactly_the_window(line):
    pool, now = line.seed("window", G), int(time.time())
    far = line.agents["d"]
    booked = far.reserve(pool, 100 * M, start=now + 3_600, end=now + 4_200)
    assert (booked["rate"], booked["start"], booked["end"], booked["state"]) == (
        100 * M, now + 3_600, now + 4_200, "pending",
    )  # fmt: skip
    assert [[high - low, start, end] for low, high, start, end in far.held(pool)] == [
        [100 * M, now + 3_600, now + 4_200]
    ]
    assert not line.agents["b"].held(pool) + line.agents["c"].held(pool)
    # The giver keeps what is before and behind it: nobody has to give that back.
    at_giver = line.origin.held(pool)
    assert over(at_giver, now + 3_600, now + 4_200) == 900 * M
    assert over(at_giver, now + 3_000, now + 3_600) == G
    assert over(at_giver, now + 4_200, None) == G
    line.origin.audited(pool)


def test_with_a_guard_the_window_obtained_is_wider_on_both_sides(line):
    pool, now = line.seed("guarded", G), int(time.time())
    serial = line.origin.params(guard=7)["serial"]
    far = line.agents["d"]
    eventually(lambda: far.params()["serial"] == serial)
    far.reserve(pool, 100 * M, start=now + 3_600, end=now + 4_200)
    assert [[start, end] for _, _, start, end in far.held(pool)] == [[now + 3_593, now + 4_207]]
    serial = line.origin.params(guard=QUIET["guard"])["serial"]
    for each in line.agents.values():
        eventually(lambda each=each: each.params()["serial"] == serial)
    line.origin.audited(pool)


def test_a_refusal_leaves_no_trace_and_explains_itself(line):
    pool, now = line.seed("refused", G), int(time.time())
    line.agents["b"].reserve(pool, 900 * M, start=now + 600, end=now + 700)
    far = line.agents["d"]
    refusal = far.refused(pool, 200 * M, start=now + 500, end=now + 800).details
    assert [(each["start"], each["end"], each["missing"]) for each in refusal["shortages"]] == [
        (now + 500, now + 800, 200 * M)
    ]
    said = {name: text for name, _, text in (each.partition(": ") for each in refusal["peers_asked"])}
    assert set(said) >= {"a", "b", "c"}
    assert str(100 * M) in said["a"], "what it could have given tells a consumer what to ask for instead"
    eventually(lambda: not far.held(pool), what="what was obtained in vain goes back")
    assert far.reservations(pool) == []
    audit = line.origin.audited(pool)
    assert audit["pools"][0]["in_motion"] == 0
    assert line.agents["c"].reserve(pool, 100 * M, start=now + 500, end=now + 800)


def test_with_no_patience_nobody_is_asked(line):
    pool = line.seed("impatient", G)
    far = line.agents["d"]
    assert far.refused(pool, M, patience_ms=0).details["peers_asked"] == []
    assert far.held(pool) == []
    assert not [each for each in line.origin.get("transfers") if each["pool"] == pool]


def test_a_dry_run_of_a_consumer_books_and_moves_nothing(line):
    pool = line.seed("tried", G)
    booked = line.origin.reserve(pool, 600 * M, dry_run=True)
    assert (booked["id"], booked["rate"]) == ("", 600 * M)
    with pytest.raises(Short):
        line.origin.reserve(pool, 2 * G, dry_run=True)
    assert line.origin.reservations(pool) == []
    assert line.origin.pool(pool)["free"] == G


def test_windows_that_do_not_overlap_each_get_the_whole_pool(line):
    pool, now = line.seed("turns", G), int(time.time())
    b, c, d = (line.agents[name] for name in "bcd")
    in_parallel(
        [
            lambda: b.reserve(pool, G, start=now + 100, end=now + 200),
            lambda: c.reserve(pool, G, start=now + 200, end=now + 300),
        ]
    )
    refusal = d.refused(pool, G, start=now + 150, end=now + 250).details
    assert refusal["shortages"][0]["missing"] == G
    assert d.reserve(pool, G, start=now + 300)["end"] is None
    assert over(d.held(pool), now + 300, None) == G
    # All of it for ever is d's; the time before is others'.
    assert b.refused(pool, 1, start=now + 1_000)
    line.origin.audited(pool)


def test_an_open_ended_reservation_is_granted_for_ever(line):
    pool = line.seed("for-ever", G)
    b = line.agents["b"]
    booked = b.reserve(pool, 300 * M)
    assert (booked["end"], booked["remaining_s"]) == (None, None)
    assert [[high - low, end] for low, high, _, end in b.held(pool)] == [[300 * M, None]]
    line.origin.audited(pool)


def test_a_lease_comes_back_by_the_clock_without_a_message(line):
    pool = line.seed("lease", G)
    c, d = line.agents["c"], line.agents["d"]
    end = in_time(lambda end: c.reserve(pool, G, end=end), 6)["end"]
    assert d.refused(pool, G, end=end + 3_600, patience_ms=0)
    c.kill()
    try:
        eventually(lambda: time.time() >= end, 180.0)
        assert d.reserve(pool, G, end=end + 3_600)["rate"] == G
    finally:
        c.start()
    eventually(lambda: {each["state"] for each in c.reservations(pool)} == {"ended"})
    assert c.pool(pool)["held"] == 0
    line.origin.audited(pool)


def test_what_no_peer_has_alone_is_gathered_from_several(line):
    pool = line.seed("gathered", G)
    b, c, d = (line.agents[name] for name in "bcd")
    stocked(b, pool, 400 * M)
    stocked(c, pool, 300 * M)
    booked = d.reserve(pool, 900 * M)
    assert booked["rate"] == 900 * M
    assert sum(amounts(d.held(pool))) == 900 * M
    # A peer may have brought what another had.
    assert len(set(taken_from(d, pool))) > 1
    line.origin.audited(pool)


def test_the_peer_that_gave_last_is_asked_first(line):
    pool = line.seed("good", G)
    c, d = line.agents["c"], line.agents["d"]
    stocked(c, pool, 400 * M)
    eventually(lambda: d.spare_of(pool) == {"a": 600 * M, "b": 0, "c": 400 * M}, what="d has heard what c can spare")
    # More than the origin has left: the first grant of all comes from either, later ones from the same.
    for _ in range(6):
        d.reserve(pool, 20 * M)
    givers = taken_from(d, pool)
    assert len(givers) == 6
    assert len(set(givers)) == 1
    line.origin.audited(pool)


def test_a_peer_that_hangs_does_not_use_up_the_patience_of_a_consumer(line):
    pool, now = line.seed("hung", G), int(time.time())
    c, d = line.agents["c"], line.agents["d"]
    stocked(c, pool, 800 * M)
    eventually(lambda: d.spare_of(pool) == {"a": 200 * M, "b": 0, "c": 800 * M})
    d.reserve(pool, 300 * M, end=now + 600)
    # It gave last, so it is asked first from now on.
    assert taken_from(d, pool) == ["c"]
    c.signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        assert d.reserve(pool, 90 * M, end=now + 600, patience_ms=16_000)["rate"] == 90 * M
        assert time.monotonic() - begin < 32.0
    finally:
        c.signal(signal.SIGCONT)
    assert taken_from(d, pool) == ["c", "a"]
    line.origin.audited(pool)


def test_a_giver_that_is_short_asks_a_third_party_while_the_requester_waits(line):
    pool, now = line.seed("third", G), int(time.time())
    b = line.agents["b"]
    with line.stranger("d") as stranger:
        wanted = ask(b, pool, 500 * M, now, now + 900)
        answer = stranger.ask(b.peer, wanted.to_value())
        offer = answer_from_value(answer.offer.value)
        assert isinstance(offer, Offer)
        assert sum(each.amount for each in offer.blocks) == 500 * M
        assert taken_from(b, pool) == ["a"]
        stranger.do(answer.accept)
        eventually(lambda: b.moves_nothing(pool))
        hand_back(stranger, line.origin, pool, offer.blocks)
    line.origin.audited(pool)


def test_what_nobody_has_is_refused_without_asking_in_circles(line):
    pool, now = line.seed("circles", G), int(time.time())
    in_parallel([lambda each=each: each.reserve(pool, 250 * M) for each in line.agents.values()])
    for each in line.agents.values():
        eventually(lambda each=each: each.moves_nothing(pool))
    before = {name: len(each.events()) for name, each in line.agents.items()}
    with line.stranger("d") as stranger:
        # Circles would use up the patience.
        patience = {"patience": 60_000}
        begin = time.monotonic()
        refusal = stranger.refusal(
            line.agents["b"].peer, ask(line.agents["b"], pool, 500 * M, now, now + 900, **patience).to_value()
        )
        assert refusal.startswith("short: ")
        assert time.monotonic() - begin < 45.0
        # Only nodes that still may be asked are: not those on the path, and no more than the policy's depth.
        deep = ask(line.agents["b"], pool, 500 * M, now, now + 900, path=("x", "y"), **patience)
        begin = time.monotonic()
        assert stranger.refusal(line.agents["b"].peer, deep.to_value()).startswith("short: ")
        assert time.monotonic() - begin < 45.0
    doubtful = [each for agent in line.agents.values() for each in agent.get("transfers", in_doubt=True)]
    assert [each for each in doubtful if each["pool"] == pool] == []
    assert sum(len(each.events()) - before[name] for name, each in line.agents.items()) < 20
    line.origin.audited(pool)


def test_what_a_dry_run_found_is_kept_for_the_live_run_that_names_it(line):
    pool, now = line.seed("held", G), int(time.time())
    origin = line.origin
    with line.stranger("d") as stranger:
        dry, hold = ask(origin, pool, 800 * M, now, now + 900), origin.params()["hold"]
        asked = int(time.time())
        answer = stranger.ask(origin.peer, dry.to_value(), dry=True)
        kept = answer_from_value(answer.offer.value)
        assert isinstance(kept, Hold)
        assert (kept.rate, kept.txn) == (800 * M, dry.txn)
        assert asked + hold <= kept.until <= int(time.time()) + hold
        stranger.do(answer.accept)
        assert [each["state"] for each in origin.get("transfers") if each["pool"] == pool] == ["held"]
        assert origin.pool(pool)["free"] == 200 * M
        line.agents["c"].refused(pool, 300 * M, end=now + 900)
        # Who names another's, or none, does not get it; nor does who wants another window.
        other = NodeId("mallory", "0" * 16)
        theirs = ask(origin, pool, 800 * M, now, now + 900, node=other, held=dry.txn)
        assert stranger.refusal(origin.peer, theirs.to_value()).startswith("short: ")
        assert stranger.refusal(
            origin.peer, ask(origin, pool, 800 * M, now, now + 999, held=dry.txn).to_value()
        ).startswith("short")
        live = stranger.ask(origin.peer, ask(origin, pool, 800 * M, now, now + 900, held=dry.txn).to_value())
        offer = answer_from_value(live.offer.value)
        assert sum(each.amount for each in offer.blocks) == 800 * M
        stranger.do(live.accept)
        # It is used up.
        assert stranger.refusal(
            origin.peer, ask(origin, pool, 800 * M, now, now + 900, held=dry.txn).to_value()
        ).startswith("short")
        hand_back(stranger, origin, pool, offer.blocks)
    assert origin.pool(pool)["free"] == G
    origin.audited(pool)


def test_a_dry_run_that_is_declined_keeps_nothing(line):
    pool, now = line.seed("declined", G), int(time.time())
    with line.stranger("d") as stranger:
        answer = stranger.ask(line.origin.peer, ask(line.origin, pool, G, now, now + 900).to_value(), dry=True)
        stranger.do(answer.decline)
    eventually(lambda: line.origin.pool(pool)["free"] == G)


def test_an_offer_that_is_declined_or_left_without_an_answer_comes_back(line):
    pool, now = line.seed("left", G), int(time.time())
    with line.stranger("d") as stranger:
        answer = stranger.ask(line.origin.peer, ask(line.origin, pool, G, now, now + 900).to_value())
        assert line.origin.pool(pool)["free"] == 0
        stranger.do(answer.decline)
        eventually(lambda: line.origin.pool(pool)["free"] == G)
        answer = stranger.ask(line.origin.peer, ask(line.origin, pool, 400 * M, now, now + 900).to_value())
        stranger.do(lambda: answer.invalid(b"gone"))
        eventually(lambda: line.origin.pool(pool)["in_doubt"] == 400 * M)
    # Nobody can ask a stranger that is gone: it is in doubt, seen as such, and the operator's to forfeit.
    found = [each for each in line.origin.get("transfers", in_doubt=True) if each["pool"] == pool]
    assert [(each["rate"], each["in_doubt"], each["state"]) for each in found] == [(400 * M, True, "escrow")]
    audit = line.origin.audited(pool)
    assert audit["pools"][0]["in_motion"] == 400 * M
    line.origin.post(f"transfers/{found[0]['txn']}/forfeit", {"confirm": True})
    assert line.origin.pool(pool)["free"] == G
    assert line.origin.audited(pool)["pools"][0]["in_motion"] == 0


def test_a_change_brings_what_it_lacks_or_changes_nothing(line):
    pool, now = line.seed("changed", G), int(time.time())
    b = line.agents["b"]
    booked = b.reserve(pool, 100 * M, end=now + 600)
    patient = {"patience_ms": PATIENCE_MS}
    changed = b.request("PATCH", f"reservations/{booked['id']}", {"rate": 300 * M, "end": now + 900, **patient})
    assert (changed["rate"], changed["end"]) == (300 * M, now + 900)
    assert over(b.held(pool), now + 600, now + 900) == 300 * M
    with pytest.raises(Short):
        b.request("PATCH", f"reservations/{booked['id']}", {"rate": 2 * G, **patient})
    assert b.reservations(pool)[0]["rate"] == 300 * M
    assert b.request("PATCH", f"reservations/{booked['id']}", {"end": "never", **patient})["end"] is None
    line.origin.audited(pool)


def test_a_request_with_a_key_is_done_once_wherever_its_capacity_comes_from(line):
    pool, now = line.seed("keyed", G), int(time.time())
    c = line.agents["c"]
    wanted = {"end": now + 600, "labels": ["once"]}
    first = c.reserve(pool, 100 * M, key="vm-1", **wanted)
    again = in_parallel([lambda: c.reserve(pool, 100 * M, key="vm-1", **wanted)] * 4)
    assert {each["id"] for each in again} == {first["id"]}
    assert len(c.reservations(pool)) == 1
    assert sum(amounts(c.held(pool))) == 100 * M
    with pytest.raises(KeyReused):
        c.reserve(pool, 101 * M, key="vm-1", **wanted)


def test_at_once_with_one_key_is_once_too(line):
    pool, now = line.seed("at-once", G), int(time.time())
    c = line.agents["c"]
    found = in_parallel([lambda: c.reserve(pool, 100 * M, key="vm-2", end=now + 600)] * 6)
    assert len({each["id"] for each in found}) == 1
    assert len(c.reservations(pool)) == 1
    line.origin.audited(pool)


def test_an_unknown_pool_is_not_an_exhausted_one(line):
    pool = line.seed("exhausted", G)
    line.agents["b"].reserve(pool, G)
    with pytest.raises(UnknownPool, match="no pool nowhere"):
        line.agents["d"].reserve("nowhere", 1)
    with pytest.raises(Short) as refused:
        line.agents["d"].reserve(pool, 1)
    assert refused.value.details["shortages"]
    with pytest.raises(UnknownPool):
        line.agents["d"].pool("nowhere")
    assert line.agents["d"].pool(pool)["seeded"] == G


def test_a_window_that_ends_while_peers_are_asked_is_no_defect(line):
    pool = line.seed("moment", G)
    b = line.agents["b"]
    for each in range(3):
        end = int(time.time()) + 1
        try:
            b.reserve(pool, (each + 1) * M, end=end)
        except (Short, BadWindow):
            pass
    assert b.get("health")["status"] == "ok"
    line.origin.audited(pool)


def test_blocks_of_a_stranger_are_taken_only_within_what_was_seeded(line):
    pool = line.seed("gifts", G)
    b = line.agents["b"]
    me = b.identity
    with line.stranger("d") as stranger:

        def give(*blocks):
            return Give(os.urandom(16), STRANGER, me, pool, blocks, int(time.time())).to_value()

        assert stranger.refusal(b.peer, give(Block(G, G + 1, 0, None))).startswith("foreign: ")
        stocked(b, pool, 100 * M)
        low, high, start, _ = b.held(pool)[0]
        assert stranger.refusal(b.peer, give(Block(low + 1, high, start + 5, None))).startswith("overlap: ")
    line.origin.audited(pool)


def test_what_is_short_is_obtained_for_each_window_as_much_as_is_short(line):
    pool, now = line.seed("stairs", G), int(time.time())
    c, d = line.agents["c"], line.agents["d"]
    d.cancel(d.reserve(pool, 500 * M, end=now + 300)["id"])
    # 500 of it are here for five minutes, and the other 500 at the origin.
    assert d.reserve(pool, 900 * M, end=now + 600)["rate"] == 900 * M
    refused = c.refused(pool, 500 * M, end=now + 600)
    lower = refused.details["lower_rate"]
    assert c.reserve(pool, lower["rate"], end=lower["end"])["rate"] == lower["rate"] <= 100 * M
    asked = [each.partition(":")[0] for each in refused.details["peers_asked"]]
    assert len(asked) == len(set(asked))
    line.origin.audited(pool)


def test_a_question_about_capacity_counts_what_peers_would_give_and_takes_nothing(line):
    pool, now = line.seed("asked", G), int(time.time())
    c, d = line.agents["c"], line.agents["d"]
    c.reserve(pool, 800 * M, end=now + 1_000)
    assert d.reserve(pool, 200 * M, end=now + 600, dry_run=True)["id"] == ""
    eventually(lambda: line.origin.moves_nothing(pool), what="what was only asked about is free")
    assert d.refused(pool, 300 * M, end=now + 600, dry_run=True)
    eventually(lambda: line.origin.moves_nothing(pool))
    found = d.get(f"availability?pool={pool}&rate={300 * M}&duration=600&patience_ms={PATIENCE_MS}")
    assert (found["free"], found["earliest"], found["obtainable"]) == (0, None, 200 * M)
    assert found["earliest_obtainable"] >= now + 1_000
    assert d.held(pool) == []
    line.origin.audited(pool)


def test_the_audit_of_a_pool_nobody_knows_is_no_verdict(line):
    with pytest.raises(UnknownPool):
        line.origin.audit("wam")


def test_a_peer_that_is_heard_is_not_forgotten(line):
    peer = line.agents["c"].node
    with pytest.raises(Conflict, match="was heard"):
        line.origin.post("peers/c/forget", {"confirm": True})
    assert peer in [each["node"] for each in line.origin.get("peers")]
