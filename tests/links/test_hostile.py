"""What a member can do with a link, and what it cannot."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv6Address
from typing import Any

import cbor2
import pytest

from grasp import Limits, Node, Objective
from grasp.transport.links import pairing
from grasp.transport.links.phases import Timing
from lab import Host, Lab
from tests.pki import Authority

from .conftest import Join, eventually, linked
from .intruder import NOOP, Intruder, announcement, intruding

FLOOD = [9, 5, IPv6Address("fe80::1").packed, 60_000, [["EX1", 4, 1, "told"], []]]


@pytest.fixture
def hosts(lab: Lab) -> dict[str, Host]:
    hosts = {name: lab.host(name) for name in ("node", "bad", "good")}
    lab.lan(*hosts.values())
    return hosts


@pytest.fixture
def intrude(hosts: dict[str, Host], ca: Authority) -> Iterator[Any]:
    issued = ca.issue("bad")
    with ExitStack() as running:

        def begin(node: Node, **kw: Any) -> Intruder:
            where = hosts["node"].link_local("eth0")
            return running.enter_context(intruding(hosts["bad"], "eth0", where, node.port, ca, issued, **kw))

        yield begin


def reasons(node: Node) -> set[str]:
    return set(node.statistics.discarded)


MISBEHAVIOUR = {
    "garbage": (b"\xff\xff\xff", "link: invalid message"),
    "no message": ({"a": 1}, "link: invalid message"),
    "too long": ([9, 5, IPv6Address("fe80::1").packed, 1, [["EX1", 4, 1, "x" * 5_000], []]], "link: invalid message"),
    "a negotiation": ([3, 5, ["EX1", 3, 6, None]], "link: not for links"),
    "the end of one": ([6, 5, [101]], "link: not for links"),
    "a response by a session's rules": ([8, 5, ["EX1", 5, 6, 1]], "link: not for links"),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_who_says_what_has_no_place_on_a_link_loses_it(
    what: str, hosts: dict[str, Host], join: Join, intrude: Any
) -> None:
    node = join(hosts["node"])
    bad = intrude(node)
    bad.link()
    bad.send(FLOOD)
    assert eventually(lambda: linked(node) == ["bad"] and node.statistics.floods == 1)
    message, reason = MISBEHAVIOUR[what]
    bad.send(message)
    assert bad.closed()
    assert reason in reasons(node)
    assert eventually(lambda: linked(node) == [])


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(lambda own, other: NOOP, id="M_NOOP"),
        pytest.param(lambda own, other: FLOOD, id="a flood"),
        pytest.param(lambda own, other: announcement(other), id="the address of somebody else"),
        pytest.param(lambda own, other: announcement(own, 0), id="no port"),
        pytest.param(lambda own, other: announcement("2001:db8::1"), id="a routed address"),
    ],
)
def test_who_does_not_say_where_it_listens_gets_no_link(
    greeting: Any, hosts: dict[str, Host], join: Join, intrude: Any
) -> None:
    node = join(hosts["node"])
    bad = intrude(node)
    bad.send(greeting(bad.address, hosts["good"].link_local("eth0")), FLOOD)
    assert bad.receive() is None
    assert (linked(node), node.statistics.floods) == ([], 0)


def test_what_comes_behind_the_greeting_counts_only_once_the_link_is_up(
    hosts: dict[str, Host], join: Join, intrude: Any
) -> None:
    node = join(hosts["node"])
    bad = intrude(node)
    # The flood confirms the link as any message does, and is heard.
    bad.send(announcement(bad.address), FLOOD)
    assert eventually(lambda: linked(node) == ["bad"] and node.statistics.floods == 1)


def test_who_says_nothing_is_closed_after_a_while(
    hosts: dict[str, Host], join: Join, intrude: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "Timing", lambda: Timing(greeting=0.3, silence=0.3, dead=1.0))
    node = join(hosts["node"])
    assert intrude(node).closed()
    offered = intrude(node)
    offered.send(announcement(offered.address))
    assert offered.closed()
    up = intrude(node)
    up.link(4712)
    assert eventually(lambda: linked(node) == ["bad"])
    # It is asked whether it is there, and then given up.
    assert up.receive() == NOOP
    assert up.closed()
    assert {"link: awaited for too long", "link: offered for too long", "link: up for too long"} <= reasons(node)


def test_a_neighbour_that_does_not_read_delays_nobody_and_loses_its_link(
    hosts: dict[str, Host], join: Join, intrude: Any
) -> None:
    node, good = join(hosts["node"]), join(hosts["good"], limits=Limits(tasks=100_000))
    assert eventually(lambda: linked(node) == ["good"])
    bad = intrude(node)
    bad.link()
    assert eventually(lambda: linked(node) == ["bad", "good"])
    asa = node.register_asa("babbler")
    asa.register(Objective.synchronization("EX1"))
    heard: list[int] = []
    good.register_asa("listener").on_flood("EX1", lambda tagged: heard.append(tagged.objective.value[0]))
    count = 0
    while linked(node) != ["good"]:
        count += 1
        asa.flood(Objective.synchronization("EX1", [count, "x" * 1_000], loop_count=6), 60_000)
        # Somebody else reads at once, however much waits for this one.
        assert eventually(partial(_close_behind, heard, count))
        assert count < 5_000
    assert eventually(lambda: len(heard) == count)
    assert "link: broke: TooSlow" in reasons(node)
    assert count < 1_500


def _close_behind(heard: list[int], count: int) -> bool:
    return len(heard) >= count - 50


def test_connections_that_say_nothing_leave_room_for_neighbours(
    hosts: dict[str, Host], join: Join, intrude: Any
) -> None:
    node = join(hosts["node"], limits=Limits(sessions_per_peer=200))
    silent = [intrude(node) for _ in range(80)]
    join(hosts["good"])
    assert eventually(lambda: linked(node) == ["good"])
    assert eventually(lambda: node.statistics.discarded.get("link: others wait too", 0) >= 80 - 64)
    assert silent[0].closed()


def test_a_member_that_claims_many_places_has_a_few_links_and_takes_nobodys(
    hosts: dict[str, Host], join: Join, intrude: Any
) -> None:
    node = join(hosts["node"])
    join(hosts["good"])
    assert eventually(lambda: linked(node) == ["good"])
    kept = [each for each in node.neighbours if each.member]
    for port in range(1, 9):
        intrude(node).link(port)
    assert eventually(lambda: linked(node) == ["bad"] * 8 + ["good"])
    ninth = intrude(node)
    ninth.send(announcement(ninth.address, 9))
    assert ninth.receive() is None
    assert all(each in node.neighbours for each in kept)


def test_threads_and_descriptors_stay_level(hosts: dict[str, Host], join: Join, intrude: Any) -> None:
    node = join(hosts["node"])
    for _ in range(3):
        bad = intrude(node)
        bad.link()
        bad.close()
    assert eventually(lambda: linked(node) == [])
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(40):
        bad = intrude(node)
        if number % 2:
            bad.link()
        bad.send(b"\xff")
        bad.close()
    assert eventually(lambda: linked(node) == [])

    def level() -> bool:
        return len(os.listdir("/proc/self/fd")) <= before[0] + 2 and threading.active_count() <= before[1] + 3

    assert eventually(level)


def test_a_storm_of_forged_announcements_does_not_keep_a_neighbour_out(hosts: dict[str, Host], join: Join) -> None:
    node = join(hosts["node"], limits=Limits(neighbours=16))
    done = threading.Event()

    def storm() -> None:
        with hosts["bad"].entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            own = IPv6Address(hosts["bad"].link_local("eth0"))
            index = socket.if_nametoindex("eth0")
            port = 0
            while not done.wait(0.002):
                port = port % 60_000 + 1
                data = cbor2.dumps(announcement(str(own), port))
                sock.sendto(data, ("ff02::13", 7017, 0, index))

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        assert eventually(lambda: any(each.state == "failing" for each in node.neighbours))
        good = join(hosts["good"])
        assert eventually(lambda: linked(node) == ["good"])
        assert linked(good) == ["node"]
        assert len(node.neighbours) <= 17
    finally:
        done.set()
        thread.join()
