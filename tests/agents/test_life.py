"""The life of an agent: activated and not, restarted, removed; and the mistakes of whoever starts it."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time

import pytest

from asa.errors import BadRequest, Conflict, Short
from asa.northbound.client import Client

from .domain import PATIENCE_S, Domain, G, M, eventually


def name_of(node):
    return node.partition("#")[0]


def test_an_agent_that_is_deactivated_keeps_what_it_promised_and_takes_no_part_until_it_is_activated(line):
    pool, now = line.seed("inactive", G), int(time.time())
    c, d = line.agents["c"], line.agents["d"]
    c.cancel(c.reserve(pool, 600 * M)["id"])
    promised = c.reserve(pool, 100 * M)
    # From here on nobody but c has anything to give.
    line.origin.reserve(pool, 400 * M)
    assert c.post("agent/deactivate")["state"] == "instantiated"
    for life in "this", "the next":
        health = c.get("health")
        assert (health["status"], health["ready"]) == ("inactive", True), life
        assert c.reservations(pool, "active")[0]["id"] == promised["id"]
        # What it holds it may still promise; it asks nobody for more, and grants nobody any.
        more = c.reserve(pool, 10 * M, end=now + 600)
        assert c.refused(pool, G).details["peers_asked"] == []
        refusal = d.refused(pool, 100 * M)
        said = [each for each in refusal.details["peers_asked"] if each.startswith("c: ")]
        assert all(each.startswith("c: inactive: ") for each in said), said
        c.cancel(more["id"])
        if life == "this":
            c.kill()
            c.start()
    c.post("agent/activate")
    assert c.get("health")["status"] == "ok"
    eventually(lambda: d.spare_of(pool).get("c") == 500 * M, what="d has heard that c is back")
    assert d.reserve(pool, 100 * M)
    line.origin.audited(pool)


def test_a_second_agent_in_a_state_directory_is_refused_and_the_first_lives_on(line):
    c = line.agents["c"]
    second = line.agent("c", on="b", at="-second", state=c.state).launch()
    assert second.process.wait(PATIENCE_S) != 0
    assert "Traceback" not in second.log()
    assert f"is in use by process {c.pid}" in second.log()
    assert not second.socket.exists()
    assert c.get("health")["ready"]


def test_a_state_directory_is_refused_to_an_agent_of_another_name(line):
    b = line.agents["b"]
    before = b.node
    assert b.stop() == 0
    impostor = line.agent("impostor", on="b", state=b.state)
    del line.agents["impostor"]
    log = impostor.refuses_to_start()
    assert "the state directory is that of b" in log
    assert "Traceback" not in log
    assert b.start().node == before


@pytest.mark.parametrize("way", ["SIGHUP", "POST"])
def test_a_restart_under_load_fails_no_request_and_loses_no_reservation(line, way):
    pool = line.seed(f"restart-{way}", G)
    c = line.agents["c"]
    c.cancel(c.reserve(pool, 500 * M)["id"])
    pid, started = c.pid, c.get("status")["started"]
    stop, failures = threading.Event(), []
    kept, gone = {}, set()
    counts = itertools.count()

    def consume(number):
        client = Client(str(c.socket), timeout=30.0)
        mine = []
        while not stop.is_set():
            count = next(counts)
            try:
                wanted = {"pool": pool, "rate": M + count, "end": int(time.time()) + 3_000, "patience_ms": 2_000}
                # One in eight wants what only peers have.
                if count % 8 == 0:
                    wanted |= {
                        "start": int(time.time()) + 900 + count,
                        "rate": 520 * M,
                        "end": int(time.time()) + 901 + count,
                    }
                key = {"Idempotency-Key": f"{way}-{number}-{count}"}
                with contextlib.suppress(Short):
                    made = client.request("POST", "/v1/reservations", wanted, headers=key)
                    kept[made["id"]] = made["rate"]
                    mine.append(made["id"])
                client.request("GET", "/v1/reservations", query={"pool": pool, "limit": 5})
                if len(mine) > 4:
                    identifier = mine.pop(0)
                    client.request("DELETE", f"/v1/reservations/{identifier}")
                    gone.add(identifier)
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    lives = set()
    try:
        for _ in range(3):
            before = len(kept)
            eventually(lambda before=before: len(kept) > before + 20, what="the load goes on")
            life = c.get("status")["started"], len(c.log().split("serving "))
            if way == "SIGHUP":
                c.signal(signal.SIGHUP)
                # A second one before the first is done must not hurt.
                c.signal(signal.SIGHUP)
            else:
                c.post("agent/restart")
            eventually(lambda life=life: len(c.log().split("serving ")) > life[1], what="the successor serves")
            lives.add(len(c.log().split("serving ")))
    finally:
        stop.set()
        for each in threads:
            each.join(40)
    assert failures == []
    assert c.process.poll() is None
    assert c.get("status")["pid"] == pid
    assert c.get("status")["started"] > started
    assert len(lives) == 3
    found = {each["id"]: each["rate"] for each in c.reservations(pool, "active") + c.reservations(pool, "pending")}
    assert found == {each: rate for each, rate in kept.items() if each not in gone}
    print(f"{len(kept)} reservations, {len(gone)} cancelled, over {len(lives)} restarts")
    line.origin.audited(pool)


def test_a_signal_during_a_restart_is_not_lost_on_the_way(line):
    b = line.agents["b"]
    for _ in range(5):
        for _ in range(3):
            b.signal(signal.SIGHUP)
            time.sleep(0.05)  # in the middle of it, wherever that is
    eventually(lambda: b.process.poll() is None and b.is_ready(), what="it has survived them all")
    assert b.stop() == 0
    b.start()


def test_an_agent_is_removed_only_when_it_owes_nobody_anything_and_then_leaves_nothing_behind(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["home", "near", "far"])
    domain.agent("home", "origin", {"wan": G})
    domain.agent("near")
    domain.agent("far")
    domain.start(refill=0, high_water=100, least_grant=1, guard=0, settle_interval=1, flood_interval=2)
    home, near, far = domain.agents.values()
    now = int(time.time())
    booked = far.reserve("wan", 300 * M)
    far.reserve("wan", 100 * M, start=now + 500, end=now + 900)
    near.reserve("wan", 200 * M, end=now + 900)
    node = far.node
    with pytest.raises(BadRequest):
        far.post("agent/remove", {"confirm": "near"})
    with pytest.raises(Conflict, match="2 reservations"):
        far.post("agent/remove", {"confirm": "far"})
    with pytest.raises(Conflict, match=r"peers hold capacity|reservations"):
        home.post("agent/remove", {"confirm": "home"})
    home.post("agent/activate")
    for each in far.reservations("wan", "pending") + far.reservations("wan", "active"):
        far.cancel(each["id"])
    assert booked["state"] == "active"
    # Nobody is there to take it: it stays, deactivated, and can be tried again.
    for each in home, near:
        each.kill()
    with pytest.raises(Conflict) as refused:
        far.request("POST", "agent/remove", {"confirm": "far"}, timeout=60.0)
    assert refused.value.details["left"]
    for each in home, near:
        each.launch()
    for each in home, near:
        each.ready()
    assert far.process.poll() is None
    assert far.get("health")["status"] == "inactive"

    def removed():
        try:
            return far.request("POST", "agent/remove", {"confirm": "far"}, timeout=60.0)
        except Conflict:
            return None

    outcome = eventually(removed, 80.0, "it is removed once its peers are up", pause=0.5)
    assert (outcome["removed"], outcome["node"]) == (True, node)
    assert far.process.wait(PATIENCE_S) == 0
    assert not far.state.exists() or list(far.state.iterdir()) == []
    assert not far.socket.exists()
    eventually(lambda: sum(high - low for low, high, *_ in home.held("wan")) >= 800 * M)
    audit = home.audited("wan")
    assert {name_of(each) for each in audit["agents"]} == {"home", "near"}
    assert near.reserve("wan", 800 * M)
    # Who comes back under the name is somebody else, with nothing.
    far.start()
    assert far.node != node
    eventually(lambda: far.knows("wan", G))
    assert far.held("wan") == []
    assert far.reservations("wan") == []
    assert home.audited("wan")["pools"][0]["held"] == G
    assert "namesake" not in far.problems()
    for each in domain.agents.values():
        assert each.stop() == 0
