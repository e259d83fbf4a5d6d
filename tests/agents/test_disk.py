"""A disk that is full, and one that lies: the agent says so, keeps what it promised, and never makes anything up."""

from __future__ import annotations

import os
import threading
import time

import pytest

from asa.config import PoolSeed
from asa.errors import AsaError, Short, StoreFailed
from asa.pool import merged
from asa.records import (
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Once,
    Promise,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
)
from asa.salvaged import kept
from objectives import Block, NodeId, Window
from tests.store.conftest import mount  # noqa: F401 - a fixture
from tests.store.test_full_disk import fill

from .domain import QUIET, Domain, G, M, eventually

NOW = 10_000
OTHER = NodeId("other", "0" * 16)
TRUE = [
    Reservation("r-1", "wan", 5, Window(NOW, None), ReservationState.BOOKED, NOW, NOW),
    Once("key", "digest", "r-1", NOW),
    Contact(OTHER, "[fd00::1]:1", NOW),
    Fact("params", "{}"),
    Fact("active", "false"),
    Seed("wan", 0, 100, NOW),
]
ITS_OWN = [
    Fact("node", '"me#0123456789abcdef"'),
    Given(b"g" * 16, "wan", OTHER, (Block(0, 10, NOW, None),), GivenState.ESCROW, NOW),
    Taken(b"a" * 16, "wan", OTHER, (Block(20, 30, NOW + 10, NOW + 20),), TakenState.ACCEPTED, NOW),
    Taken(b"c" * 16, "wan", OTHER, (Block(30, 40, NOW, None),), TakenState.CONFIRMED, NOW),
    Promise(b"p" * 16, "wan", OTHER, 5, Window(NOW, None), NOW + 100),
]
HELD = [Held("wan", Block(10, 40, NOW, None)), Held("lan", Block(20, 30, NOW, None))]


def test_after_salvage_only_that_is_kept_whose_truth_needs_nothing_that_may_be_lost():
    pools = PoolSeed("wan", 100), PoolSeed("lan", 50, 70), PoolSeed("man", 30)
    found = kept([*TRUE, *ITS_OWN, *HELD], False, pools, NOW)
    assert found == [*TRUE, Seed("lan", 70, 120, NOW), Seed("man", 0, 30, NOW)]
    # Whatever the order and however much is lost: no seed of the configuration is brought in anew.
    assert kept([], False, pools, NOW) == [Seed("wan", 0, 100, NOW), *found[-2:]]


def test_with_nothing_lost_blocks_are_kept_but_for_those_a_giver_may_get_back():
    found = kept([*ITS_OWN, *TRUE, *HELD], True, [PoolSeed("new", 7)], NOW)
    assert [each for each in found if not isinstance(each, Held)] == TRUE
    blocks = {each.block for each in found if isinstance(each, Held) and each.pool == "wan"}
    unsure = Block(20, 30, NOW + 10, NOW + 20)
    assert not any(each.overlaps(unsure) for each in blocks)
    assert merged([*blocks, unsure]) == [Block(10, 40, NOW, None)]
    assert HELD[1] in found


@pytest.fixture
def pair(shared_lab, tmp_path) -> Domain:
    """An origin and a delegator, started by the test."""
    number = len(shared_lab.hosts)
    return Domain.line(shared_lab, tmp_path, [f"o{number}", f"p{number}"])


def parts(domain):
    return list(domain.hosts)


def test_a_full_disk_stops_granting_and_booking_but_nothing_that_was_promised(pair, mount, tmp_path):  # noqa: F811
    origin_name, full_name = parts(pair)
    # Room for the log of the database until it is folded in, which is 4 MiB.
    path = mount("size=8m")
    origin = pair.agent(origin_name, "origin", {"first": G})
    full = pair.agent(full_name, state=path / "state")
    pool = pair.start(**QUIET).seed("wan", 10 * G)
    full.cancel(full.reserve(pool, 5 * G)["id"])
    stop, promised, refused, others = threading.Event(), {}, [], []

    def load(number):
        count = 0
        while not stop.is_set():
            count += 1
            try:
                booked = full.reserve(pool, M, labels=[f"{number}-{count}"], start=int(time.time()) + 60 * count)
                promised[booked["id"]] = booked["rate"]
            except StoreFailed as error:
                refused.append(error)
                stop.wait(0.02)
            except Short:
                # Enough was booked for a while.
                full.cancel(promised.popitem()[0]) if promised else None
            except AsaError as error:
                others.append(error)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    try:
        eventually(lambda: len(promised) > 30)
        ballast = fill(path)
        eventually(lambda: refused, what="the disk is full")
        health = eventually(lambda: (found := full.get("health"))["status"] == "degraded" and found)
        assert [each["code"] for each in health["problems"]] == ["store-failed"]
        assert not health["ready"]
        assert refused[0].details["cause"] == "disk-full"
        assert "make room" in refused[0].hint
        # It answers whoever asks, and grants no peer anything.
        before = len(refused)
        eventually(lambda: len(refused) > before + 5)
        assert full.reservations(pool)
        assert full.pool(pool)["held"] == 5 * G
        assert any(each["fields"]["code"] == "store-failed" for each in full.events("problem"))
        origin.reserve(pool, 5 * G, end=int(time.time()) + 600)
        refusal = origin.refused(pool, 100 * M, end=int(time.time()) + 600).details
        assert not any("at most" in each for each in refusal["peers_asked"] if each.startswith(full.name)), refusal
    finally:
        stop.set()
        for each in threads:
            each.join(30)
    assert others == []
    assert {each["id"] for each in full.reservations(pool, "pending")} >= set(promised)
    # Nobody asks it for anything now; that there is room again it finds out by itself.
    ballast.unlink()
    eventually(full.is_ready, what="it works again")
    eventually(lambda: full.get("health")["status"] == "ok")
    eventually(lambda: [each for each in full.events("problem-solved") if each["fields"]["code"] == "store-failed"])
    found = {each["id"]: each["rate"] for each in full.reservations(pool, "pending")}
    assert found.items() >= promised.items()
    full.cancel(next(iter(promised)))
    origin.audited(pool)
    full.kill()
    full.start()
    again = {each["id"]: each["rate"] for each in full.reservations(pool, "all") if each["state"] == "pending"}
    assert set(found) - set(again) == {next(iter(promised))}
    origin.audited(pool)
    assert full.stop() == 0


def test_a_full_disk_asks_no_peer_for_what_it_could_not_keep(pair, mount):  # noqa: F811
    origin_name, full_name = parts(pair)
    path = mount("size=1m")
    origin = pair.agent(origin_name, "origin", {"first": G})
    full = pair.agent(full_name, state=path / "state")
    pool = pair.start(**QUIET).seed("wan", 10 * G)
    full.reserve(pool, M)
    ballast = fill(path)
    for number in range(400):
        try:
            full.reserve(pool, M, start=int(time.time()) + 100 * number, end=int(time.time()) + 100 * number + 50)
        except StoreFailed:
            break
    with pytest.raises(StoreFailed):
        full.reserve(pool, 100 * M)
    # At most what was under way when the disk ran full is in doubt; nobody's capacity goes the same way after it.
    doubtful = len(origin.get("transfers", in_doubt=True))
    for _ in range(5):
        with pytest.raises(StoreFailed):
            full.reserve(pool, 100 * M)
    assert len(origin.get("transfers", in_doubt=True)) <= max(1, doubtful)
    ballast.unlink()
    eventually(full.is_ready)
    eventually(lambda: not origin.get("transfers", in_doubt=True))
    assert full.reserve(pool, 100 * M)
    origin.audited(pool)


@pytest.fixture
def damaged(pair) -> Domain:
    """A delegator with reservations and capacity, stopped, its database cut off in the middle of a page."""
    origin_name, name = parts(pair)
    pair.agent(origin_name, "origin", {"wan": 10 * G})
    victim = pair.agent(name)
    pair.start(**QUIET)
    for number in range(60):
        victim.reserve("wan", M, labels=[f"number {number}" + "x" * 200])
    victim.before = (victim.node, {each["id"] for each in victim.reservations("wan")})
    assert victim.stop() == 0
    return pair


def cut(agent, share):
    """Truncate a database that was closed, in the middle of a page."""
    database = agent.state / "asa.db"
    size = database.stat().st_size
    os.truncate(database, int(size * share) // 4096 * 4096 + 1_000)


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_truncated_database_is_never_started_from_and_after_salvage_the_agent_is_a_new_instance(damaged, share):
    origin, victim = damaged.agents.values()
    node, reservations = victim.before
    cut(victim, share)
    for _ in range(2):
        log = victim.refuses_to_start()
        assert "is damaged" in log
        assert "set aside" in log
        assert "salvage" in log
        assert "Traceback" not in log
    assert not victim.socket.exists()
    assert list(victim.state.glob("asa.db.damaged-*"))
    assert not (victim.state / "asa.db").exists()
    assert any(b"number 1" in each.read_bytes() for each in victim.state.glob("asa.db.damaged-*"))
    victim.start("--salvage")
    assert "lost: " in victim.log()
    name, _, instance = victim.node.partition("#")
    assert name == node.partition("#")[0]
    assert instance != node.partition("#")[2]
    kept = {each["id"] for each in victim.reservations("wan")}
    assert kept <= reservations
    # Nothing is owned twice, whatever was lost; what is missing the audit names.
    audit = eventually(lambda: (found := origin.audit("wan"))["at_rest"] and found)
    assert audit["pools"][0]["twice"] == []
    assert audit["pools"][0]["foreign"] == []
    # Nothing of what it held, which was for ever; before it hears the policy again it may borrow some.
    assert all(end is not None for *_, end in victim.held("wan"))
    print(f"cut at {share}: {len(kept)} of {len(reservations)} reservations were salvaged, {victim.held('wan')} held")
    # The next start is an ordinary one.
    now = victim.node
    victim.kill()
    assert victim.start().node == now


def test_an_origin_whose_database_was_lost_does_not_seed_its_pools_anew(pair):
    origin_name, name = parts(pair)
    origin, other = pair.agent(origin_name, "origin", {"wan": 10 * G}), pair.agent(name)
    pair.start(**QUIET)
    other.reserve("wan", 4 * G)
    assert origin.stop() == 0
    os.truncate(origin.state / "asa.db", 1_000)
    origin.refuses_to_start()
    origin.start("--salvage")
    eventually(lambda: [each for each in other.get("peers") if each["node"] == origin.node])
    # The policy it lost the others still have: the next it sets is obeyed.
    eventually(lambda: origin.params()["serial"] == other.params()["serial"])
    serial = origin.params(flood_interval=1)["serial"]
    eventually(lambda: other.params()["serial"] == serial)
    assert other.params()["refill"] == 0
    other_held = [each[:2] for each in other.held("wan")]
    for low, high, *_ in origin.held("wan"):
        assert not any(low < its_high and its_low < high for its_low, its_high in other_held)
    # The old instance is known until it was silent for three of its floods.
    eventually(lambda: other.knows("wan", 10 * G))
    eventually(lambda: not other.problems())
    audit = eventually(lambda: (found := origin.audit("wan"))["at_rest"] and found)
    pool = audit["pools"][0]
    assert (pool["seeded"], pool["twice"], pool["foreign"]) == (10 * G, [], [])
    assert (
        sum(each["high"] - each["low"] for each in pool["missing"] if each["start"] <= time.time())
        == 10 * G - pool["held"]
    )
    assert pool["held"] >= 4 * G
    # And it does not, either, at the start after that.
    origin.kill()
    origin.start()
    assert all(end is not None for *_, end in origin.held("wan"))


def test_salvage_without_damage_is_refused(pair):
    origin_name, _ = parts(pair)
    origin = pair.agent(origin_name, "origin", {"wan": G}).start()
    node = origin.node
    assert origin.stop() == 0
    assert "no damage is on record" in origin.refuses_to_start("--salvage")
    assert origin.start().node == node
    assert origin.pool("wan")["held"] == G
