"""Packets obey what is reserved: real traffic through a router whose agent shapes a link of 100 Mbit/s."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import Lab, unavailable_reason
from lab.markings import Kind, Markings
from lab.traffic import missing, refusal, streams, wait_until
from tests.agents.domain import M, eventually
from tests.dataplane.road import CAPACITY, HALF, KEPT, RATE, Road, again

EF = 46
USABLE = CAPACITY * 70 // 100
"""What others get at least of the link while one flow of RATE is reserved."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Iterator[Road]:
    if reason := unavailable_reason() or missing():
        pytest.skip(reason)
    with Lab() as lab:
        if reason := refusal(lab.host("trial")):
            pytest.skip(reason)
        yield Road.build(lab, tmp_path_factory.mktemp("road"))


@pytest.fixture
def road(built: Road) -> Iterator[Road]:
    yield built
    built.tidy()


def test_a_reserved_flow_keeps_its_rate_against_greedy_flows_which_keep_the_rest_and_it_alone_is_marked(road):
    flow, greedy = road.flow(), road.greedy(dscp=EF)
    road.measured([flow, greedy], lambda rates: rates[0] < HALF)
    road.reserve(flow)
    with Markings(road.right, [Kind(4, "tcp", flow.port), Kind(4, "tcp", greedy.port)]) as markings:
        road.measured([flow, greedy], lambda rates: rates[0] >= KEPT and rates[1] >= USABLE)
        reserved, others = markings.seen().values()
    assert list(reserved) == [EF]
    # They said that they were voice, and nobody had reserved that.
    assert list(others) == [0]


def test_reserved_flows_into_this_node_keep_their_rates_against_a_flood_and_greedy_flows(road):
    flow, other, greedy, flood = road.flow("in", 6), road.flow("in", 4), road.greedy("in", 6), road.flood("in", 6)
    # What comes in comes in bursts: the flood alone would leave gaps for a lone flow.
    road.measured([flow, greedy, flood], lambda rates: rates[0] < HALF)
    road.reserve(flow)
    road.reserve(other)

    def held(rates: list[float]) -> bool:
        return min(rates[:2]) >= KEPT and sum(rates[2:]) >= USABLE - RATE

    road.measured([flow, other, greedy, flood], held)


def test_reservations_side_by_side_keep_their_rates_and_who_sends_more_is_held_to_his(road):
    modest, wild, smaller = road.flow(version=6), road.flow(version=4, rate=2 * RATE), road.flow(version=4, udp=True)
    for each in modest, wild:
        road.reserve(each)
    road.reserve(smaller, RATE // 2)

    def held(rates: list[float]) -> bool:
        kept = KEPT <= rates[0] <= RATE and KEPT <= rates[1] <= RATE and KEPT // 2 <= rates[2] <= RATE // 2
        return kept and rates[3] >= CAPACITY * 40 // 100

    kinds = [Kind(6, "tcp", modest.port), Kind(4, "tcp", wild.port), Kind(4, "udp", smaller.port)]
    with Markings(road.right, kinds) as markings:
        road.measured([modest, wild, smaller, road.greedy()], held)
        assert [list(each) for each in markings.seen().values()] == [[EF]] * 3


def test_a_flow_has_its_guarantee_to_the_end_of_its_window_and_loses_it_within_a_second(road):
    def run() -> tuple[float, float]:
        flow, flood = road.flow(), road.flood()
        end = int(time.time()) + 4
        identifier = road.reserve(flow, end=end)
        with streams([flow, flood], longest=15.0) as (reserved, _):
            wait_until(end + 2.0)
            rates = reserved.rate(end - 1.0, end), reserved.rate(end + 1.0, end + 2.0)
        eventually(lambda: road.state(identifier) == "ended", what="over")
        return rates

    again(run, lambda rates: rates[0] >= KEPT and rates[1] < HALF, lambda: f"of {RATE / M:.0f} Mbit/s reserved")
