"""One policy, set at the origin while all run, and obeyed by every agent."""

from __future__ import annotations

import signal
import time

import pytest

from asa.errors import BadRequest, Conflict

from .domain import QUIET, G, M, eventually


def test_a_policy_is_obeyed_everywhere_without_a_restart(line):
    pool, now = line.seed("policy", G), int(time.time())
    pids = {name: each.get("status")["pid"] for name, each in line.agents.items()}
    line.obey(permanent=False)
    far = line.agents["d"]
    refusal = far.refused(pool, 100 * M).details
    assert refusal["peers_asked"]
    assert all(": policy: " in each for each in refusal["peers_asked"]), refusal
    assert far.reserve(pool, 100 * M, end=now + 600)
    line.obey(permanent=True)
    assert far.reserve(pool, 100 * M)["end"] is None
    line.obey(max_window=60)
    for each in line.agents.values():
        with pytest.raises(BadRequest, match="the policy allows 60 s"):
            each.reserve(pool, M, end=int(time.time()) + 120)
    line.obey(max_window=31_622_400)
    assert {name: each.get("status")["pid"] for name, each in line.agents.items()} == pids


def test_a_policy_is_remembered_by_an_agent_that_crashed_and_hears_nobody(line):
    serial = line.obey(history=4_321)
    far = line.agents["d"]
    others = [each for each in line.agents.values() if each is not far]
    for each in others:
        each.signal(signal.SIGSTOP)
    try:
        far.kill()
        far.start()
        found = far.params()
        assert (found["serial"], found["history"]) == (serial, 4_321)
    finally:
        for each in others:
            each.signal(signal.SIGCONT)
    line.obey(history=86_400)


def test_only_an_origin_sets_the_policy_and_only_within_bounds(line):
    before = line.origin.params()
    for bad in (
        {"low_water": 101},
        {"refill": -1},
        {"permanent": 1},
        {"hold": True},
        {"nothing": 1},
        {"hold": 60, "guard": -1},
    ):
        with pytest.raises(BadRequest):
            line.origin.params(**bad)
    assert line.origin.params() == before
    with pytest.raises(Conflict) as refused:
        line.agents["c"].params(hold=60)
    assert "a" in refused.value.hint


def test_a_flooded_value_out_of_bounds_leaves_the_old_one_and_the_rest_is_obeyed(line):
    serial = line.obey(hold=100)
    before = line.origin.params()["low_water"]
    with line.stranger("d") as stranger:
        values = {"hold": 60, "low_water": 101, "refill": "5", "permanent": 1, "unheard-of": 7}
        stranger.flood("EX1.Params", {"serial": serial + 1, "issuer": "a", "values": values})
        for each in line.agents.values():
            eventually(lambda each=each: each.params()["serial"] == serial + 1)
            found = each.params()
            assert (found["hold"], found["low_water"], found["refill"], found["permanent"]) == (60, before, 0, True)
            eventually(
                lambda each=each: any("low_water must be" in told["message"] for told in each.events("params-refused"))
            )
    line.obey(hold=120)


def test_an_old_policy_and_one_that_is_none_change_nothing(line):
    serial = line.obey(hold=100)
    with line.stranger("d") as stranger:
        for stale in 0, 1, serial - 1:
            stranger.flood("EX1.Params", {"serial": stale, "issuer": "z", "values": {"history": 5}})
        for garbage in (
            None, 7, [], "serial", {}, {"serial": -1, "issuer": "a", "values": {}},
            {"serial": 2**60, "issuer": "a", "values": {}}, {"serial": serial + 5, "issuer": "", "values": {}},
            {"serial": serial + 5, "issuer": "a", "values": [1]}, {"serial": serial + 5, "issuer": "a\n", "values": {}},
            {"serial": float("nan"), "issuer": "a", "values": {"history": 5}},
        ):  # fmt: skip
            stranger.flood("EX1.Params", garbage)
        # Floods are taken in the order they come: behind this one all of those are.
        stranger.flood("EX1.Params", {"serial": serial + 1, "issuer": "a", "values": {"hold": 90}})
        for each in line.agents.values():
            eventually(lambda each=each: each.params()["hold"] == 90)
            assert each.params()["history"] == 86_400
            assert each.get("health")["status"] == "ok"
    line.obey(hold=120)


def test_a_pool_that_is_low_is_refilled_and_surplus_goes_back(line):
    pool = line.seed("stock", G)
    c, d = line.agents["c"], line.agents["d"]
    c.cancel(c.reserve(pool, 400 * M)["id"])
    line.obey(low_water=20, refill=40, lease=3_600, horizon=600, high_water=20)
    eventually(lambda: d.pool(pool)["spare"] >= 100 * M, what="d is refilled")
    # Borrowed for the lease only.
    assert all(end is not None for _, _, _, end in d.held(pool))
    eventually(lambda: c.pool(pool)["held"] <= 230 * M, what="c returns what is above its mark")
    assert c.pool(pool)["held"] > 0
    assert any(each["fields"]["pool"] == pool for each in c.events("capacity-returned"))
    line.obey(
        **{
            each: QUIET.get(each, 7_200 if each == "lease" else 3_600)
            for each in ("refill", "high_water", "lease", "horizon")
        },
    )
    line.origin.audited(pool)
