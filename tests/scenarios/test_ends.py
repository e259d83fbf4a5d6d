"""Reservations of more than one agent: scenarios 25, 26, 29 and 37 of docs/tegu.md."""

from __future__ import annotations

import signal

import pytest

from asa.errors import Forbidden, LinkShort, RefusedThere, Short, Unreachable
from tests.agents.domain import PATIENCE_MS, M, eventually

from .conftest import ADMIN, OUTSIDE, Scene, ids, link, settled, state_at, two_way

VM = "of the vm's owner"


@pytest.mark.parametrize("why", ["over-cap", "link-short", "silence"])
def test_scenario_25_a_peer_that_refuses_midway_leaves_nothing_anywhere(scene: Scene, why):
    a, b, c = scene.a, scene.b, scene.c
    pool, when = scene.domain.seed(f"torn-{why}", 100 * M), {"start": scene.day, "end": scene.day + 100}
    stays = b.reserve(pool, 10 * M, **when, **two_way("fd00:b::2", "fd00:c::2", back=10 * M))
    assert settled(c, stays["id"], "pending")
    if why == "over-cap":
        scene.cap(c, "shop", "*", 0)
    elif why == "link-short":
        c.reserve("", 980 * M, source="10.3.0.1", destination=OUTSIDE, **when)
    else:
        c.signal(signal.SIGSTOP)
    before = ids(c.reservations(state=None)) if why != "silence" else {stays["id"]}
    lent, booked = scene.free(a, pool, scene.day, scene.day + 100), link(b)

    def free():
        return sum(scene.free(each, pool, scene.day, scene.day + 100) for each in (a, b, c))

    patience_ms = 4_000 if why == "silence" else PATIENCE_MS
    try:
        # b has too little for its end: a lends it before c is asked.
        with pytest.raises((RefusedThere, Unreachable)) as refused:
            b.reserve(pool, 50 * M, patience_ms=patience_ms, **when, **two_way("h-b", "h-c", back=30 * M))
    finally:
        c.signal(signal.SIGCONT)
    if why == "silence":
        assert refused.type is Unreachable
    else:
        assert refused.value.details["reason"].startswith(f"{why}: ")
        assert refused.value.details["node"] == c.node
    assert ids(b.reservations(state=None)) == {stays["id"]}
    assert link(b) == booked
    eventually(lambda: ids(c.reservations(state=None)) == before, what="c keeps nothing for it")
    eventually(lambda: free() == lent, what="all that was taken for it is free")
    if why != "silence":
        assert scene.free(a, pool, scene.day, scene.day + 100) == lent
    taken = [each["fields"]["rate"] for each in b.events("capacity-taken") if each["fields"]["pool"] == pool]
    assert taken == [10 * M, 50 * M], "a lent it before c was asked"
    audit = a.audited(pool)["pools"][0]
    assert (audit["in_motion"], audit["held"]) == (0, 100 * M)


def test_scenario_26_one_way_to_the_outside_is_of_its_source_alone(scene: Scene):
    wanted = {"destination": "198.51.100.7:443", "protocol": "tcp", "start": scene.day, "end": scene.day + 100}
    made = scene.a.reserve("wan", 40 * M, source="10.1.0.1", secret=VM, **wanted)
    assert (made["kind"], made["partner"]) == ("one-way", "")
    assert made["takes"] == {"wan": 40 * M, "eth0:out": 40 * M}
    assert (link(scene.a), link(scene.a, "eth0:in")) == (40 * M, 0)
    assert scene.b.reservations(state=None) == scene.c.reservations(state=None) == []
    free = scene.free(scene.a, "wan", scene.day, scene.day + 100)
    scene.a.cancel(made["id"], VM)
    assert scene.free(scene.a, "wan", scene.day, scene.day + 100) == free + 40 * M
    assert link(scene.a) == 0


def test_scenario_29_both_ends_on_one_node_are_tested_for_capacity_all_the_same(scene: Scene):
    pool, when = scene.domain.seed("inside", 100 * M), {"start": scene.day, "end": scene.day + 100}
    inside = two_way("h-a", "fd00:a::2", back=30 * M) | when
    with pytest.raises(Short):
        scene.a.reserve(pool, 71 * M, patience_ms=0, **inside)
    made = scene.a.reserve(pool, 70 * M, **inside)
    assert (made["partner"], made["takes"][pool]) == ("", 100 * M)
    assert scene.free(scene.a, pool, scene.day, scene.day + 100) == 0
    with pytest.raises(Short):
        scene.a.reserve(pool, 1, patience_ms=0, source="fd00:a::3", destination="fd00:a::4", **when)
    with pytest.raises(LinkShort):
        scene.a.reserve("wan", 9_999 * M, source="fd00:a::3", destination="fd00:a::4", **when)
    assert scene.b.reservations(state=None) == []


def test_scenario_37_a_source_that_moved_goes_to_its_new_agent_with_its_id_and_secret(scene: Scene):
    scene.hosts("a", vm="fd00:a::5")
    wanted = {"source": "vm:80{3}", "destination": "fd00:99::9", "protocol": "udp", "traffic": "voice"}
    window = {"start": scene.day, "end": scene.day + 100}
    made = scene.a.reserve("wan", 40 * M, secret=VM, owner="shop", labels=["x"], **wanted, **window)
    scene.hosts("a", vm="fd00:b::5")
    # The same, asked for where it was, belongs elsewhere.
    with pytest.raises(Exception, match="b serves") as elsewhere:
        scene.a.reserve("wan", 40 * M, **wanted, **window)
    assert elsewhere.value.details["node"] == scene.b.node
    found = scene.a.request("POST", "refresh", {"host": "vm"}, secret=ADMIN)
    assert found == {"moved": [made["id"]], "same": [], "failed": {}}
    assert state_at(scene.a, made["id"]) == "cancelled"
    assert (link(scene.a), link(scene.b)) == (0, 40 * M)
    assert settled(scene.b, made["id"], "pending")
    there = scene.b.get(f"reservations/{made['id']}")
    kept = ("rate", "start", "end", "protocol", "traffic", "owner", "labels", "kind", "destination_address")
    assert {each: there[each] for each in kept} == {each: made[each] for each in kept}
    assert (there["source_address"], there["partner"]) == ("[fd00:b::5]:80{3}", "")
    with pytest.raises(Forbidden):
        scene.b.cancel(made["id"], "another's")
    scene.b.request("PATCH", f"reservations/{made['id']}", {"rate": 50 * M}, secret=VM)
    assert link(scene.b) == 50 * M
    scene.b.cancel(made["id"], VM)
    assert link(scene.b) == 0


def test_scenario_37_a_far_end_that_moved_is_left_and_found_again_under_the_same_id(scene: Scene):
    scene.hosts("a", vm="fd00:b::5")
    wanted = two_way("h-a", "vm", back=20 * M) | {"start": scene.day, "end": scene.day + 100}
    made = scene.a.reserve("wan", 10 * M, secret=VM, **wanted)
    assert (link(scene.a), link(scene.b), link(scene.c)) == (10 * M, 20 * M, 0)
    scene.hosts("a", vm="fd00:c::5")
    found = scene.a.request("POST", f"reservations/{made['id']}/refresh", secret=VM)
    assert found["moved"] == [made["id"]], found
    now = scene.a.get(f"reservations/{made['id']}")
    assert (now["partner"], now["destination"], now["destination_address"]) == (scene.c.node, "vm", "fd00:c::5")
    assert settled(scene.c, made["id"], "pending")
    assert settled(scene.b, made["id"], "cancelled")
    assert (link(scene.a), link(scene.b), link(scene.c)) == (10 * M, 0, 20 * M)
    with pytest.raises(Forbidden):
        scene.c.cancel(made["id"], "another's")
    scene.c.cancel(made["id"], VM)
    assert settled(scene.a, made["id"], "cancelled")
