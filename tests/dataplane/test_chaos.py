"""What misfortune does to what is in place: the agent puts it right, nothing is lost, and nothing is left over."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from asa.errors import AsaError
from lab import Lab, unavailable_reason
from lab.traffic import missing, refusal, streams, wait_until
from tests.agents.domain import M, eventually
from tests.dataplane.road import KEPT, RATE, Road

REPAIRED_S = 20.0
"""Generous: the agent looks every second, and hears of interfaces at once."""
LOST = 0.02
"""Of the packets of a flow nobody competes with, while what is in place for it is destroyed and put in place again."""
OURS = (0x1, 0xFFFF)
"""Classes that are there without any reservation."""
OVER = ("ending", "ended", "cancelled")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Iterator[Road]:
    if reason := unavailable_reason() or missing():
        pytest.skip(reason)
    with Lab() as lab:
        if reason := refusal(lab.host("trial")):
            pytest.skip(reason)
        yield Road.build(lab, tmp_path_factory.mktemp("chaos"), more="reconcile_s = 1")


@pytest.fixture
def road(built: Road) -> Iterator[Road]:
    yield built
    built.tidy()
    eventually(lambda: in_place(built) == (0, 0, 0), REPAIRED_S, "nothing is left")


def classes(road: Road, device: str) -> dict[int, str]:
    """Of reservations, by number, as tc(8) tells them."""
    said = road.middle.run(["tc", "class", "show", "dev", device], check=False).stdout
    found = re.findall(r"^class htb a5a:([0-9a-f]+) (.*)$", said, re.MULTILINE)
    return {int(number, 16): text for number, text in found if int(number, 16) not in OURS}


def elements(road: Road) -> int:
    """Rules of reservations."""
    done = road.middle.run(["nft", "-j", "list", "table", "netdev", "asa"], check=False)
    listed = json.loads(done.stdout)["nftables"] if done.returncode == 0 else []
    return sum(len(each["map"].get("elem", ())) for each in listed if "map" in each)


def in_place(road: Road) -> tuple[int, int, int]:
    """Classes on the way out and on the way in, and rules."""
    return len(classes(road, "eth1")), len(classes(road, "asa-eth1")), elements(road)


def put_right(road: Road, reservations: int) -> None:
    """Each has a class and a rule both ways, and is in force."""
    expected = reservations, reservations, 2 * reservations
    eventually(lambda: in_place(road) == expected, REPAIRED_S, f"{expected} in place: {in_place(road)}")
    eventually(lambda: [road.state(each) for each in road.ids] == ["active"] * reservations, REPAIRED_S, "in force")


def drifts(road: Road) -> int:
    return len(road.agent.events("enforcement-drift"))


@pytest.mark.parametrize(
    ("command", "way", "lost"),
    [
        ("nft flush ruleset", "out", LOST),
        ("nft delete table netdev asa", "in", LOST),
        ("tc qdisc del dev eth1 root", "out", LOST),
        ("tc qdisc del dev asa-eth1 root", "in", LOST),
        ("tc class del dev eth1 classid a5a:{number:x}", "out", LOST),
        # What comes in has nowhere to go meanwhile; what goes out does not notice.
        ("ip link delete asa-eth1", "out", LOST),
        # A twentieth of its rate is all it gets until somebody looks.
        ("tc class change dev eth1 parent a5a:1 classid a5a:{number:x} htb rate 1mbit ceil 1mbit", "out", 1.0),
    ],
)
def test_what_was_destroyed_is_there_again_and_who_does_not_compete_hardly_notices(road, command, way, lost):
    flow = road.flow(way, udp=True, rate=RATE * 9 // 10)
    road.reserve(flow)
    number = min(classes(road, "eth1"))
    road.reserve(road.flow(version=6))
    put_right(road, 2)
    before = drifts(road)
    with streams([flow], longest=30.0) as (stream,):
        begin = time.time()
        road.middle.run(command.format(number=number).split())
        eventually(lambda: drifts(road) > before, REPAIRED_S, "a drift is told")
        put_right(road, 2)
        repaired = time.time()
        wait_until(repaired + 1.0)
        assert stream.lost(begin, repaired + 1.0) <= lost
        assert stream.rate(repaired + 0.5, repaired + 1.0) >= KEPT * 9 // 10


def test_an_interface_that_is_made_anew_is_shaped_again(road):
    flow = road.flow()
    road.reserve(flow)
    put_right(road, 1)
    road.middle.ip("link delete eth1")
    eventually(lambda: not classes(road, "eth1"))
    road.rejoin()
    put_right(road, 1)
    road.measured([flow, road.flood()], lambda rates: rates[0] >= KEPT)


def test_an_agent_that_is_killed_while_it_works_loses_nothing_and_leaves_nothing_half_done(road):
    chance = random.Random(990)
    promised: set[str] = set()
    for _ in range(3):
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(road.ask, road.flow(), M, back=M) for _ in range(24)]
            time.sleep(chance.uniform(0.02, 0.2))
            road.agent.kill()
            # Who is cut off may have been booked all the same: the agent knows.
            assert all(each.exception() is None or isinstance(each.exception(), AsaError) for each in asked)
        promised |= {each.result() for each in asked if each.exception() is None}
        road.agent.start()
        road.ids[:] = [each["id"] for each in road.agent.reservations() if each["state"] not in OVER]
        assert promised <= set(road.ids)
        put_right(road, len(road.ids))
