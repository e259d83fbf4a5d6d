"""Four nodes on one LAN."""

from __future__ import annotations

import time

import pytest

from .raw import M_DISCOVERY, M_FLOOD, Raw, about
from .steer import eventually


@pytest.fixture(scope="module")
def lan(shared_lab, start_shared):
    hosts = [shared_lab.host(name) for name in "abcdr"]
    shared_lab.lan(*hosts)
    for n, host in enumerate(hosts, 1):
        host.address(f"fd00::{n}/64", "eth0")
    with Raw(hosts[-1], "eth0") as raw:
        yield [*(start_shared(host, ["eth0"]) for host in hosts[:-1]), raw]


def responders(agents, name):
    for each in agents:
        each.register(name, "synchronize")
        each.publish(name, each.host.name)
    return sorted([f"fd00::{n}", 6, each.port] for n, each in enumerate(agents, 2))


def test_all_responders_are_found_as_soon_as_they_are_as_many_as_wanted(lan):
    a, *others, _ = lan
    expected = responders(others, "three")
    before = time.monotonic()
    found = a.discover("three", count=3)
    assert time.monotonic() - before < 4.9
    assert sorted(each["locator"] for each in found) == expected
    assert not any(each["diverted"] for each in found)


def test_without_a_count_everyone_who_answers_in_time_is_found(lan):
    a, *others, raw = lan
    expected = responders(others, "everyone")
    before = time.monotonic()
    found = a.discover("everyone", timeout=1_000, count=None)
    assert 0.9 < time.monotonic() - before < 9
    assert sorted(each["locator"] for each in found) == expected
    assert len([m for _, _, m in raw.messages(M_DISCOVERY) if about("everyone")(m)]) == 1


def test_one_is_enough_when_one_is_wanted(lan):
    a, *others, _ = lan
    responders(others, "one")
    assert len(a.discover("one")) >= 1


def test_everyone_hears_a_flood_and_nobody_repeats_it_on_the_same_link(lan):
    a, *others, raw = lan
    a.register("to all", "synchronize")
    a.flood([["to all", 1, None]])
    for each in others:
        assert each.wait_flood("to all")[0]["value"] == 1
    raw.hear(M_FLOOD, about("to all"))
    assert len([m for _, _, m in raw.messages(M_FLOOD) if about("to all")(m)]) == 1


def test_everyone_negotiates_with_everyone_at_once(lan):
    agents = lan[:-1]
    for each in agents:
        each.register("everyone at once")
        each.serve("everyone at once", [["accept"]])
    futures = [
        one.begin("negotiate_all", "everyone at once", 10, peer=[[f"fd00::{n}", 6, other.port], 0])
        for one in agents
        for n, other in enumerate(agents, 1)
        if one is not other
    ]
    assert [ending for future in futures for ending in future.result(30)] == ["agreed"] * 120
    assert eventually(lambda: all(each.statistics()["sessions"] == 0 for each in agents))


def test_a_responder_that_has_gone_is_forgotten_for_another(lan):
    a, b, c, *_ = lan
    for each in b, c:
        each.register("going")
        each.serve("going", [["accept"]])
    a.register("going")
    assert len(a.discover("going", count=2)) == 2
    b.stop_listening("going")
    b.deregister("going")
    for _ in range(3):
        assert a.negotiate("going", 1)["agreed"]
