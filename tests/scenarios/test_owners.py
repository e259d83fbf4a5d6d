"""Who may end what, and what projects may have: scenarios 13 to 16, 22 to 24, 27 and 32 of docs/tegu.md."""

from __future__ import annotations

import time

import pytest

from asa.errors import Ended, Forbidden, OverCap
from tests.agents.domain import G, M, eventually

from .conftest import ADMIN, OUTSIDE, Scene, ids, link, settled, state_at, two_way

C, OTHER = "with cookie c", "with another"


def outside(number: int, **more) -> dict:
    """A flow of a's, for which its interface alone counts."""
    return {"source": f"10.1.0.{number}", "destination": OUTSIDE, "owner": "shop"} | more


def test_scenario_13_with_anothers_secret_nothing_is_cancelled(scene: Scene):
    made = scene.a.reserve("wan", 10 * M, secret=C, **two_way())
    before = link(scene.a), link(scene.b)
    for agent in scene.a, scene.b:
        for secret in OTHER, C.upper(), None:
            with pytest.raises(Forbidden):
                agent.cancel(made["id"], secret)
    assert settled(scene.a, made["id"])
    assert settled(scene.b, made["id"])
    assert (link(scene.a), link(scene.b)) == before


@pytest.mark.parametrize(("by", "secret"), [("a", C), ("b", C), ("a", ADMIN), ("b", ADMIN)])
def test_scenario_14_what_is_cancelled_is_free_at_once_and_others_stay(scene: Scene, by, secret):
    pool = scene.domain.seed(f"freed-{by}-{len(secret)}", 100 * M)
    stays = scene.a.reserve(pool, 30 * M, secret=OTHER, **two_way("fd00:a::2", "fd00:b::2", back=M))
    made = scene.a.reserve(pool, 60 * M, secret=C, **two_way(back=M))
    asked, other = (scene.a, scene.b) if by == "a" else (scene.b, scene.a)
    booked = link(asked), link(other)
    asked.cancel(made["id"], secret)
    there = {asked: 60 * M, other: M} if by == "a" else {asked: M, other: 60 * M}
    assert link(asked) == booked[0] - there[asked]
    assert asked.reservations(state=None) == [asked.get(f"reservations/{stays['id']}")]
    eventually(lambda: state_at(other, made["id"]) == "cancelled", what="the other end is told")
    assert link(other) == booked[1] - there[other]
    assert ids(other.reservations(state=None)) == {stays["id"]}
    again = scene.a.reserve(pool, 60 * M, **two_way(back=M))
    assert settled(scene.b, again["id"])
    assert settled(scene.b, stays["id"])


def test_scenario_15_cancel_all_takes_exactly_those_of_the_secret_and_counts_them(scene: Scene):
    made = {C: [], OTHER: []}
    for number, secret in enumerate([C, OTHER, C, OTHER, C]):
        made[secret].append(scene.a.reserve("wan", M, secret=secret, **two_way(f"fd00:a::{number + 2}"))["id"])
    over = scene.a.reserve("wan", M, secret=C, **two_way())["id"]
    scene.a.cancel(over, C)
    before = link(scene.a)
    assert scene.a.request("DELETE", "reservations", secret="of nobody") == {"cancelled": 0, "ids": []}
    assert link(scene.a) == before
    gone = scene.a.request("DELETE", "reservations", secret=C)
    assert (gone["cancelled"], sorted(gone["ids"])) == (3, made[C])
    for agent in scene.a, scene.b:
        eventually(lambda agent=agent: ids(agent.reservations(state=None)) == set(made[OTHER]))
    assert link(scene.a) == before - 3 * M
    assert scene.a.request("DELETE", "reservations", secret=C)["cancelled"] == 0


def test_scenario_16_an_ended_one_is_not_listed_and_takes_nothing(scene: Scene):
    end = int(time.time()) + 5
    made = scene.a.reserve("wan", 10 * M, end=end, secret=C, **two_way())
    assert link(scene.b) == 10 * M
    eventually(lambda: time.time() >= end + 0.1)
    assert scene.a.reservations(state=None) == scene.b.reservations(state=None) == []
    assert (link(scene.a), link(scene.b)) == (0, 0)
    assert state_at(scene.a, made["id"]) == state_at(scene.b, made["id"]) == "ended"
    with pytest.raises(Ended):
        scene.a.cancel(made["id"], C)
    # The same flow is nobody's now.
    assert scene.a.reserve("wan", 10 * M, **two_way())


def test_scenario_22_a_project_has_no_more_than_its_cap(scene: Scene):
    scene.cap(scene.a, "shop", "eth0:out", 1, percent=True)
    with pytest.raises(OverCap) as refused:
        scene.a.reserve("", 500 * M, **outside(1))
    assert refused.value.details == {
        "project": "shop", "resource": "eth0:out", "cap": 100 * M, "booked": 0, "wanted": 500 * M,
    }  # fmt: skip
    scene.a.reserve("", 5 * M, **outside(1))
    # Booked together, not each by itself; of this project only.
    with pytest.raises(OverCap):
        scene.a.reserve("", 96 * M, **outside(2))
    scene.a.reserve("", 500 * M, **outside(3, owner="another"))
    scene.cap(scene.a, "shop", "eth0:out", 0, percent=True)
    for wanted in outside(4), two_way("h-a", "h-b"):
        with pytest.raises(OverCap):
            scene.a.reserve("wan" if "kind" in wanted else "", 1, **wanted)
    assert scene.b.reservations(state=None) == []
    scene.cap(scene.a, "shop", "eth0:out", 90, percent=True)
    scene.a.reserve("", 500 * M, **outside(4))
    assert link(scene.a) == 1_005 * M


def test_scenario_23_a_lowered_cap_spares_what_there_is_over_restarts_too(scene: Scene):
    made = scene.a.reserve("", 5 * G, **outside(1))
    scene.cap(scene.a, "shop", "eth0:out", 1 * G)
    scene.cap(scene.a, "*", "*", 50, percent=True)
    caps = scene.a.get("caps")
    for life in range(2):
        assert scene.a.get("caps") == caps
        assert state_at(scene.a, made["id"]) == "active"
        with pytest.raises(OverCap):
            scene.a.reserve("", 1, **outside(2))
        with pytest.raises(OverCap):
            scene.a.request("PATCH", f"reservations/{made['id']}", {"rate": 5 * G + 1})
        if not life:
            scene.crash(scene.a)
    assert scene.a.request("PATCH", f"reservations/{made['id']}", {"rate": G - 1})["rate"] == G - 1
    scene.a.reserve("", 1, **outside(2))
    assert link(scene.a) == G


def test_scenario_24_at_the_alarm_the_request_succeeds_and_one_event_tells(scene: Scene):
    def told():
        return [each["fields"] for each in scene.c.events("utilisation-alarm")]

    before = told()
    flow = {"destination": OUTSIDE, "start": scene.day, "end": scene.day + 100}
    scene.c.reserve("", 800 * M - 1, source="10.3.0.1", **flow)
    assert told() == before
    scene.c.reserve("", 1, source="10.3.0.2", **flow)
    scene.c.reserve("", 50 * M, source="10.3.0.3", **flow)
    assert told() == [*before, {"resource": "eth0:out", "percent": 80}]
    assert link(scene.c) == 850 * M


def test_scenario_27_passthrough_takes_nothing_and_a_cap_of_0_forbids_it(scene: Scene):
    scene.cap(scene.a, "banned", "*", 0)
    scene.cap(scene.a, "shop", "*", 1)
    flow = {"kind": "passthrough", "source": "10.1.0.1", "destination": "198.51.100.4:8800", "protocol": "udp"}
    with pytest.raises(OverCap):
        scene.a.reserve("", 0, owner="banned", **flow)
    made = scene.a.reserve("", 0, owner="shop", **flow)
    scene.a.reserve("", 0, owner="shop", **flow | {"protocol": "tcp"})
    assert (made["state"], sum(made["takes"].values()), link(scene.a)) == ("active", 0, 0)
    scene.crash(scene.a)
    found = scene.a.get(f"reservations/{made['id']}")
    assert {each: found[each] for each in flow} == flow
    assert found["destination_address"] == "198.51.100.4:8800"


def test_scenario_32_a_pause_keeps_bookings_takes_new_ones_and_outlives_a_restart(scene: Scene):
    old = scene.a.reserve("wan", 10 * M, **two_way())["id"]
    later = scene.a.reserve("wan", 10 * M, start=scene.day, **two_way("fd00:a::9"))["id"]
    scene.a.request("POST", "agent/pause", secret=ADMIN)
    new = scene.a.reserve("wan", 20 * M, **two_way("fd00:a::2"))["id"]
    for life in range(2):
        assert scene.a.get("status")["paused"]
        assert [state_at(scene.a, each) for each in (old, new, later)] == ["paused", "paused", "pending"]
        # Of this node only.
        assert settled(scene.b, old)
        assert settled(scene.b, new)
        assert (link(scene.a), link(scene.b)) == (40 * M, 30 * M)
        if not life:
            scene.crash(scene.a)
    scene.a.request("POST", "agent/resume", secret=ADMIN)
    assert [state_at(scene.a, each) for each in (old, new, later)] == ["active", "active", "pending"]
    assert link(scene.a) == 40 * M
