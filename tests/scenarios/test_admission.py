"""What is taken and what is refused: scenarios 1 to 12, 17, 19 to 21 of docs/tegu.md."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import pytest

from asa.errors import (
    AsaError,
    BadRequest,
    BadWindow,
    Duplicate,
    Forbidden,
    LinkShort,
    NotReady,
    Short,
    Unauthorized,
    Unreachable,
)
from asa.flows import InvalidFlow
from asa.northbound.client import Client, Tls
from asa.traffic import UnknownClass
from asa.version import VERSION
from lab import Lab, unavailable_reason
from tests.agents.domain import Agent, Domain, G, M, eventually

from .conftest import OUTSIDE, TCP, TOKEN, Scene, ids, link, settled, two_way

YEAR = 365 * 86_400


@dataclass
class Start:
    agent: Agent
    health: dict[str, Any]
    refusals: dict[str, str]
    """Code by what was asked for."""


PATIENT = """
import sys
from asa.cli import main
from asa.threads import seeder

seeder.LISTEN_S = 6.0
sys.exit(main())
"""
"""The command, but that an origin listens to others for longer than a second before its first seeding."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """An origin before its first seeding."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    changes = {
        "reserve": ("POST", "reservations", {"pool": "wan", "rate": M}),
        "cancel": ("DELETE", "reservations/r-1", None),
        "cap": ("PUT", "caps", {"project": "shop", "resource": "*", "amount": 0}),
        "pause": ("POST", "agent/pause", None),
        "seed": ("POST", "pools", {"name": "more", "capacity": M}),
    }
    with Lab() as lab:
        domain = Domain.line(lab, tmp_path_factory.mktemp("cold"), ["cold", "void"])
        agent = domain.agent("cold", "origin", {"wan": G})
        agent.program = ["-c", PATIENT]
        agent.launch()

        def answer(method, path, body=None):
            try:
                return agent.request(method, path, body)
            except Unreachable:
                return None
            except AsaError as error:
                return error.code

        health = eventually(lambda: answer("GET", "health"), what="it answers")
        refusals = {name: answer(*call) for name, call in changes.items()}
        yield Start(agent.ready(), health, refusals)


def test_scenario_01_an_agent_that_starts_is_alive_with_its_version(start):
    assert (start.health["status"], start.health["ready"], start.health["version"]) == ("starting", False, VERSION)
    assert start.agent.get("health")["version"] == VERSION


def test_scenario_02_a_change_before_it_is_ready_is_refused_and_nothing_is_kept(start):
    assert set(start.refusals.values()) == {NotReady.code}, start.refusals
    agent = start.agent
    assert (agent.reservations(), agent.get("caps"), agent.get("status")["paused"]) == ([], [], False)
    assert [each["name"] for each in agent.get("pools")] == ["wan"]


def test_scenario_03_a_reservation_has_an_id_a_state_and_what_remains_and_is_listed_at_both_ends(scene: Scene):
    end = int(time.time()) + 90
    made = scene.a.reserve("wan", 10 * M, end=end, **two_way(back=20 * M))
    assert made["id"]
    assert (made["state"], made["partner"]) == ("active", scene.b.node)
    assert 80 <= made["remaining_s"] <= 90
    assert [each["id"] for each in scene.a.reservations(state=None)] == [made["id"]]
    assert settled(scene.b, made["id"])
    (there,) = scene.b.reservations(state=None)
    assert (there["id"], there["end"]) == (made["id"], end)
    assert (there["source_address"], there["rate"], there["back"]) == ("fd00:b::1", 20 * M, 10 * M)
    assert [link(scene.a), link(scene.a, "eth0:in"), link(scene.b)] == [10 * M, 20 * M, 20 * M]


def test_scenario_04_the_same_flow_in_an_overlapping_window_is_a_duplicate(scene: Scene):
    flow = two_way("h-a:80{3}", "h-b", protocol="tcp")
    made = scene.a.reserve("wan", 10 * M, start=scene.day, end=scene.day + 100, **flow)
    booked = link(scene.a)
    # By name or address, and whatever does not tell flows apart.
    again = flow | {"source": "[fd00:a::1]:80{3}", "owner": "another", "traffic": "voice", "back": M}
    for wanted in flow, again:
        with pytest.raises(Duplicate) as refused:
            scene.a.reserve("wan", M, start=scene.day + 99, end=scene.day + 200, secret="another's", **wanted)
        assert refused.value.details == {"id": made["id"]}
    assert ids(scene.a.reservations(state=None)) == ids(scene.b.reservations(state=None)) == {made["id"]}
    assert link(scene.a) == booked


def test_scenario_05_exchanged_ends_are_the_same_two_way_and_another_one_way(scene: Scene):
    when = {"start": scene.day, "end": scene.day + 100}
    made = scene.a.reserve("wan", 10 * M, **when, **two_way("h-a:80{3}", "h-b:90{4}", protocol="udp"))
    for agent in scene.a, scene.b:
        with pytest.raises(Duplicate) as refused:
            agent.reserve("wan", 10 * M, **when, **two_way("h-b:90{4}", "h-a:80{3}", protocol="udp"))
        assert refused.value.details == {"id": made["id"]}
    # Ports and VLANs that stay where they were are of another flow.
    scene.a.reserve("wan", 10 * M, **when, **two_way("h-b:80{3}", "h-a:90{4}", protocol="udp"))
    one = {"kind": "one-way", "protocol": "udp"} | when
    there = scene.a.reserve("wan", M, source="fd00:a::7", destination="fd00:a::8", **one)
    back = scene.a.reserve("wan", M, source="fd00:a::8", destination="fd00:a::7", **one)
    assert ids(scene.a.reservations(state="pending")) >= {there["id"], back["id"]}
    with pytest.raises(Duplicate):
        scene.a.reserve("wan", M, source="fd00:a::8", destination="fd00:a::7", **one)


def test_scenario_06_touching_windows_another_vlan_or_port_are_not_the_same(scene: Scene):
    start, end = scene.day, scene.day + 100
    flow = two_way("h-a:80{3}", "h-b", protocol="tcp")
    made = [scene.a.reserve("wan", 10 * M, start=start, end=end, **flow)]
    made += [scene.a.reserve("wan", 10 * M, start=end, end=end + 100, **flow)]
    for other in {"source": "h-a:80{4}"}, {"source": "h-a:81{3}"}, {"protocol": "udp"}, {"destination": "h-b:1"}:
        made.append(scene.a.reserve("wan", 10 * M, start=start, end=end, **flow | other))
    assert ids(scene.b.reservations(state=None)) == ids(made)
    assert (len(ids(made)), link(scene.a)) == (6, 50 * M)


def test_scenario_07_no_bandwidth_is_refused(scene: Scene):
    for rate, back in (0, 0), (10 * M, 0), (0, 10 * M):
        with pytest.raises(BadRequest, match="must be 1"):
            scene.a.reserve("wan", rate, **two_way(back=back))
    with pytest.raises(BadRequest, match="must be 1"):
        scene.a.reserve("wan", 0, source="h-a", destination="h-b")
    assert scene.a.reservations(state=None) == scene.b.reservations(state=None) == []


def test_scenario_08_an_end_before_now_or_the_start_is_refused(scene: Scene):
    now = int(time.time())
    for start, end in (None, now - 1), (now - 100, now - 10), (scene.day, scene.day - 1), (scene.day, scene.day):
        with pytest.raises(BadWindow):
            scene.a.reserve("wan", M, start=start, end=end, **two_way())
    assert scene.a.reservations(state=None) == scene.b.reservations(state=None) == []


def test_scenario_09_too_long_a_window_is_refused_and_a_year_is_not(scene: Scene):
    longest = scene.a.params()["max_window"]
    with pytest.raises(BadWindow, match=str(longest)):
        scene.a.reserve("wan", M, start=scene.day, end=scene.day + longest + 1, **two_way())
    made = scene.a.reserve("wan", M, end=int(time.time()) + YEAR, **two_way())
    # Years from now, and for ever, which Tegu could not.
    far = scene.a.reserve("wan", M, start=scene.day + 20 * YEAR, end=scene.day + 21 * YEAR, **two_way())
    ever = scene.a.reserve("wan", M, **two_way("fd00:a::2"))
    assert ids(scene.b.reservations(state=None)) == ids([made, far, ever])


def test_scenario_10_both_ends_the_same_are_refused(scene: Scene):
    scene.hosts("a", alias="fd00:a::2")
    for source, destination in ("h-a", "h-a"), ("alias", "fd00:a::2"), ("h-a:80", "h-a:90"), ("H-A", "fd00:a:0::1"):
        for kind in two_way(), {"kind": "one-way"}:
            with pytest.raises(BadRequest, match="the same endpoint") as refused:
                scene.a.reserve("wan", M, **kind | {"source": source, "destination": destination, "protocol": "tcp"})
            assert refused.value.code == InvalidFlow.code
    assert scene.a.reservations(state=None) == []
    assert link(scene.a) == 0


def test_scenario_11_a_wrong_credential_changes_nothing(scene: Scene):
    when = {"start": scene.day, "end": scene.day + 100}
    scene.a.reserve("wan", 10 * M, secret="of the shop", **when, **two_way())
    theirs = scene.a.reserve("wan", 10 * M, secret="of another", **when, **two_way("fd00:a::2", owner="another"))
    before = link(scene.a), link(scene.b)
    with scene.a.host.entered():
        believed = Tls(str(scene.pki.trust))
        with Client(TCP, "wrong" * 8, tls=believed) as stranger, pytest.raises(Unauthorized):
            stranger.request("POST", "/v1/reservations", {"pool": "wan", "rate": M, **when}, {}, {})
        with Client(TCP, TOKEN, tls=believed) as known:
            assert len(known.request("GET", "/v1/reservations", None, {}, {})["reservations"]) == 2
    # A project has its own secrets only, and nobody but the administrator sets caps or pauses.
    for secret in "of the shop", "nobody's", None:
        for call in ("DELETE", ""), ("PATCH", {"rate": M}), ("POST", "/refresh"):
            path = f"reservations/{theirs['id']}" + (call[1] if call[0] == "POST" else "")
            with pytest.raises(Forbidden):
                scene.a.request(call[0], path, call[1] if call[0] == "PATCH" else None, secret=secret)
        with pytest.raises(Forbidden):
            scene.a.request("PUT", "caps", {"project": "*", "resource": "*", "amount": 0}, secret=secret)
        with pytest.raises(Forbidden):
            scene.a.request("POST", "agent/pause", secret=secret)
    assert (link(scene.a), link(scene.b)) == before
    assert (scene.a.get("caps"), scene.a.get("status")["paused"]) == ([], False)
    assert settled(scene.b, theirs["id"], "pending")


def test_scenario_12_an_unknown_class_is_refused_and_a_known_one_is_kept(scene: Scene):
    for unknown in "gold", "global_", "VOICE", "global_global_voice":
        with pytest.raises(BadRequest) as refused:
            scene.a.reserve("wan", M, **two_way(traffic=unknown))
        assert refused.value.code == UnknownClass.code
    assert scene.a.reservations(state=None) == []
    made = scene.a.reserve("wan", M, **two_way(traffic="global_voice"))
    assert made["traffic"] == scene.b.get(f"reservations/{made['id']}")["traffic"] == "global_voice"


def test_scenario_17_a_pending_one_is_booked_for_its_window(scene: Scene):
    pool, start = scene.domain.seed("ahead", 100 * M), int(time.time()) + 60
    made = scene.a.reserve(pool, 70 * M, start=start, end=start + 100, source="h-a", destination="h-b")
    assert made["state"] == "pending"
    assert 50 <= made["remaining_s"] <= 60
    assert scene.a.pool(pool)["free"] == 100 * M
    free = [scene.free(scene.a, pool, start + each, start + each + 1) for each in (-9, -1, 0, 99, 100)]
    assert free == [100 * M, 100 * M, 30 * M, 30 * M, 100 * M]
    refused = scene.b.refused(pool, 31 * M, start=start + 99, end=start + 200)
    assert refused.details["shortages"][0]["missing"]


def test_scenario_19_a_window_around_a_booking_is_tested(scene: Scene):
    pool, day = scene.domain.seed("enclosed", 100 * M), scene.day
    scene.a.reserve(pool, 80 * M, start=day + 1_000, end=day + 2_000)
    found = scene.a.refused(pool, 50 * M, start=day + 500, end=day + 3_000, patience_ms=0).details["shortages"]
    assert found == [{"start": day + 1_000, "end": day + 2_000, "missing": 30 * M}]
    scene.a.reserve(pool, 20 * M, start=day + 500, end=day + 3_000)
    assert scene.free(scene.a, pool, day, day + 4_000) == 0


def test_scenario_20_the_end_of_one_is_the_start_of_another(scene: Scene):
    pool, day = scene.domain.seed("touching", 100 * M), scene.day
    scene.a.reserve(pool, 80 * M, start=day + 1_000, end=day + 2_000)
    scene.a.reserve(pool, 50 * M, start=day + 2_000, end=day + 3_000)
    scene.a.reserve(pool, 50 * M, start=day, end=day + 1_000)
    free = [scene.free(scene.a, pool, day + each, day + each + 1) for each in (999, 1_000, 1_999, 2_000)]
    assert free == [50 * M, 20 * M, 20 * M, 50 * M]


def test_scenario_21_never_more_than_there_is_at_any_instant_and_all_of_it(scene: Scene):
    pool, day, rng = scene.domain.seed("counted", 900 * M), scene.day, random.Random(21)
    # b's interface has 10 % headroom of 1 Gbit/s, the pool at a has none.
    used = {"b": [0] * 40, "a": [0] * 40}
    wishes = {"b": {"pool": "", "destination": OUTSIDE, "protocol": "udp"}, "a": {"pool": pool}}
    accepted = 0
    for number in range(60):
        name, rate = rng.choice("ab"), rng.randint(1, 500) * M
        low, high = sorted(rng.sample(range(41), 2))
        wanted = wishes[name] | {"start": day + low, "end": day + high, "patience_ms": 0}
        wanted |= {"source": f"fd00:a::{number:x}"} if name == "a" else {"source": f"10.2.0.1:{number + 1}"}
        fits = max(used[name][low:high]) + rate <= 900 * M
        try:
            scene.domain.agents[name].reserve(wanted.pop("pool"), rate, **wanted)
        except (Short, LinkShort):
            assert not fits, (name, rate, low, high)
        else:
            assert fits, (name, rate, low, high)
            accepted += 1
            for second in range(low, high):
                used[name][second] += rate
    assert 15 < accepted < 50
    assert [scene.free(scene.a, pool, day + each, day + each + 1) for each in range(40)] == [
        900 * M - each for each in used["a"]
    ]
    assert link(scene.b) == max(used["b"])
    # The whole of an interface without headroom, and not a bit/s more.
    whole = {"source": "10.1.0.1", "destination": OUTSIDE, "start": day + 50, "end": day + 90}
    scene.a.reserve("", 10 * G, **whole)
    with pytest.raises(LinkShort):
        scene.a.reserve("", 1, **whole | {"source": "10.1.0.2"})
