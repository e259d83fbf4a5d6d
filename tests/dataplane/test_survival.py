"""What an agent goes through itself: its interface is made anew, it is killed while it works. Nothing is lost, and
nothing is left over."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from asa.errors import AsaError
from tests.agents.domain import M, eventually
from tests.dataplane.misfortune import OVER, REPAIRED_S, classes, nothing_left, put_right, troubled
from tests.dataplane.road import KEPT, Road


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Iterator[Road]:
    with troubled(tmp_path_factory.mktemp("survival")) as road:
        yield road


@pytest.fixture
def road(built: Road) -> Iterator[Road]:
    yield built
    nothing_left(built)


def test_an_interface_that_is_made_anew_is_shaped_again(road):
    flow = road.flow()
    road.reserve(flow)
    put_right(road, 1)
    road.middle.ip("link delete eth1")
    eventually(lambda: not classes(road, "eth1"), REPAIRED_S, "it is gone")
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
