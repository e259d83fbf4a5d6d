"""What somebody destroys of what is in place: the agent puts it right, and who does not compete hardly notices."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.traffic import streams, wait_until
from tests.agents.domain import eventually
from tests.dataplane.misfortune import REPAIRED_S, classes, drifts, nothing_left, put_right, troubled
from tests.dataplane.road import KEPT, RATE, Road

LOST = 0.02
"""Of the packets of a flow nobody competes with, while what is in place for it is destroyed and put in place again."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Iterator[Road]:
    with troubled(tmp_path_factory.mktemp("chaos")) as road:
        yield road


@pytest.fixture
def road(built: Road) -> Iterator[Road]:
    yield built
    nothing_left(built)


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
    with streams([flow], longest=2 * REPAIRED_S + 10) as (stream,):
        begin = time.time()
        road.middle.run(command.format(number=number).split())
        eventually(lambda: drifts(road) > before, REPAIRED_S, "a drift is told")
        put_right(road, 2)
        repaired = time.time()
        wait_until(repaired + 1.0)
        assert stream.lost(begin, repaired + 1.0) <= lost
        assert stream.rate(repaired + 0.5, repaired + 1.0) >= KEPT * 9 // 10
