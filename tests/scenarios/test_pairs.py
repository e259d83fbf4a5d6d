"""Two agents and a reservation of both: at once, after crashes, and after an agent lost all it knew."""

from __future__ import annotations

import shutil
import signal
import threading
import time

from asa.errors import AsaError
from tests.agents.domain import M, eventually, in_parallel

from .conftest import Scene, ids, settled, state_at, two_way


def outcome(ask):
    try:
        return str(ask().get("id"))
    except AsaError as error:
        return error.code


def test_asked_of_both_ends_at_once_it_is_booked_once(scene: Scene):
    a, b = scene.a, scene.b
    for number in range(8):
        when = {"start": scene.day + 10 * number, "end": scene.day + 10 * number + 10}
        found = in_parallel(
            [
                lambda when=when: outcome(lambda: a.reserve("wan", M, **when, **two_way("h-a", "h-b"))),
                lambda when=when: outcome(lambda: b.reserve("wan", 10 * M, **when, **two_way("h-b", "h-a", back=M))),
            ]
        )
        made = [each for each in found if each.startswith("r-")]
        assert len(made) == 1, found
        assert settled(a, made[0], "pending")
        assert settled(b, made[0], "pending")
    assert ids(a.reservations(state=None)) == ids(b.reservations(state=None))


def test_a_repeat_that_comes_before_the_answer_gets_the_same(scene: Scene):
    when = {"start": scene.day, "end": scene.day + 100}

    def ask():
        return scene.a.reserve("wan", M, key=f"one of {scene.day}", **when, **two_way("h-a", "h-b"))["id"]

    assert len(set(in_parallel([ask] * 4))) == 1


def test_confirmed_at_both_ends_at_once_it_is_booked(scene: Scene):
    held = scene.a.reserve("wan", M, hold_s=60, **two_way("h-a", "h-b"))["id"]
    eventually(lambda: state_at(scene.b, held) == "held")

    def confirm(agent):
        return outcome(lambda: agent.request("POST", f"reservations/{held}/confirm", {}))

    found = in_parallel([lambda: confirm(scene.a), lambda: confirm(scene.b)])
    assert held in found
    assert settled(scene.a, held)
    assert settled(scene.b, held)


def test_placed_anew_right_after_a_crash_a_pair_stays_one(scene: Scene):
    made = scene.a.reserve("wan", M, **two_way("h-a", "h-b"))
    assert settled(scene.b, made["id"])
    scene.crash(scene.a)
    found = scene.a.request("POST", f"reservations/{made['id']}/refresh")
    assert (found["same"], found["moved"]) == ([made["id"]], [])
    assert scene.a.get(f"reservations/{made['id']}")["partner"] == scene.b.node
    assert settled(scene.b, made["id"])


def test_an_agent_that_is_not_there_is_not_forgotten(scene: Scene):
    scene.b.kill()
    try:
        assert outcome(lambda: scene.a.reserve("wan", M, **two_way("h-a", "h-b"))) == "unreachable"
        parked = scene.a.reserve("wan", M, park=True, **two_way("h-a", "h-b"))
        assert (parked["state"], parked["why"].partition(":")[0]) == ("parked", "unreachable")
        scene.crash(scene.a)
        assert outcome(lambda: scene.a.reserve("wan", M, **two_way("h-a:9", "h-b", protocol="tcp"))) == "unreachable"
    finally:
        scene.b.start()
    found = scene.a.request("POST", f"reservations/{parked['id']}/refresh")
    assert found["moved"] == [parked["id"]]
    assert settled(scene.b, parked["id"])


def test_a_change_and_a_new_place_at_once_leave_the_ends_alike(scene: Scene):
    made = scene.a.reserve("wan", M, **two_way("h-a", "h-b"))["id"]
    assert settled(scene.b, made)
    changing = threading.Thread(
        target=lambda: outcome(lambda: scene.a.request("PATCH", f"reservations/{made}", {"rate": 2 * M}))
    )
    scene.b.signal(signal.SIGSTOP)
    try:
        changing.start()
        time.sleep(0.3)
        scene.hosts("a", **{"h-a": "fd00:a::9"})
    finally:
        scene.b.signal(signal.SIGCONT)
    outcome(lambda: scene.a.request("POST", f"reservations/{made}/refresh"))
    changing.join()
    scene.a.request("POST", f"reservations/{made}/refresh")

    def alike():
        here, there = (agent.get(f"reservations/{made}") for agent in (scene.a, scene.b))
        ends = here["source_address"], there["destination_address"]
        rates = (here["rate"], here["back"]) == (there["back"], there["rate"])
        return rates and here["state"] == there["state"] and ends == ("fd00:a::9", "fd00:a::9")

    eventually(alike)


def test_an_alarm_is_not_told_again_by_the_next_life(scene: Scene):
    flow = {"destination": "203.0.113.9", "start": scene.day, "end": scene.day + 100}
    scene.c.reserve("", 850 * M, source="10.3.0.1", **flow)
    eventually(lambda: scene.c.events("utilisation-alarm"))
    scene.crash(scene.c)
    scene.c.reserve("", M, source="10.3.0.2", **flow)
    assert scene.c.events("utilisation-alarm") == []


def test_who_lost_all_it_knew_has_new_ends_and_what_was_of_the_old_is_let_go(scene: Scene):
    old = scene.c.node
    made = scene.a.reserve("wan", M, **two_way("h-a", "h-c"))["id"]
    assert settled(scene.c, made)
    scene.c.kill()
    shutil.rmtree(scene.c.state)
    scene.c.start()
    assert scene.c.node != old
    eventually(lambda: any(scene.c.node in str(each["fields"]) for each in scene.a.events("peer-serves")))
    again = scene.a.reserve("wan", M, **two_way("h-a:7", "h-c", protocol="tcp"))
    assert again["partner"] == scene.c.node
    assert settled(scene.c, again["id"])
    # Its other end is arranged with the new one, by itself.
    eventually(lambda: scene.a.get(f"reservations/{made}")["partner"] == scene.c.node)
    assert settled(scene.c, made)
