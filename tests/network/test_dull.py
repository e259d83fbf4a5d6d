"""DULL instances on real links (RFC 8990 §2.5.2), with neighbours of bare sockets that break its rules."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from grasp import Dull, ErrorCode, IPv4Locator, IPv6Locator, LocalError, Objective
from lab import Host

from .raw import GROUP_6, M_DISCOVERY, M_FLOOD, M_RESPONSE, O_DIVERT, O_IPV6, PORT, Raw, about, encoded
from .steer import eventually

ANY = IPv6Address("::")
NAMES = ("AN_ACP", "AN_Proxy")
Begin = Callable[..., Dull]


def acp(value: Any = "IKEv2", loop_count: int = 1) -> Objective:
    return Objective("AN_ACP", 4, loop_count, value)


@pytest.fixture
def begin() -> Iterator[Begin]:
    with ExitStack() as running:

        def start(host: Host, names: tuple[str, ...] = NAMES, **kw: Any) -> Dull:
            """An instance on eth0 of ``host``, in this process: its threads and sockets live in that host."""
            with host.entered():
                return running.enter_context(Dull("eth0", names, **kw))

        yield start


@pytest.fixture(scope="module")
def row(shared_lab):
    """a - b - c; eth0 of b looks at a. Every link has a routed prefix too."""
    a, b, c = (shared_lab.host(name) for name in "abc")
    shared_lab.link(a, b)
    shared_lab.link(b, c)
    a.address("fd00::a/64", "eth0")
    b.address("fd00::b/64", "eth0")
    return a, b, c


def link_local(host: Host, dev: str = "eth0") -> IPv6Address:
    return IPv6Address(host.link_local(dev))


def test_a_flood_is_heard_with_its_locator(row, begin) -> None:
    a, b, _ = row
    one, other = begin(a), begin(b)
    heard: list[Any] = []
    other.on_flood("AN_ACP", heard.append)
    assert one.flood(acp(loop_count=6), 210_000, IPv6Locator(ANY, 17, 15_000))
    (entry,) = other.wait_flood("AN_ACP", 5_000)
    assert entry.objective == acp()
    assert entry.locator == IPv6Locator(link_local(a), 17, 15_000)
    assert entry.initiator == link_local(a)
    assert entry.interface == other.interface.index
    assert eventually(lambda: heard == [entry])
    assert one.floods() == other.floods("AN_Proxy") == []


def test_what_leaves_the_host(row, begin) -> None:
    a, b, _ = row
    with Raw(b, "eth0") as raw:
        one = begin(a)
        one.flood(Objective("AN_ACP", 4, 6, "DTLS"), 1_000, IPv6Locator(ANY, 17, 15_000))
        one.flood(Objective("AN_Proxy", 4, 6), 0)
        one.discover("AN_ACP", 50)
        source, port, message = raw.hear(M_FLOOD, about("AN_ACP"))
        own = link_local(a)
        assert (source, port) == (str(own), one.port)
        assert message[2:] == [own.packed, 1_000, [["AN_ACP", 4, 1, "DTLS"], [O_IPV6, own.packed, 17, 15_000]]]
        assert raw.hear(M_FLOOD, about("AN_Proxy"))[2][3:] == [0, [["AN_Proxy", 4, 1], []]]
        assert raw.hear(M_DISCOVERY)[2][2:] == [own.packed, ["AN_ACP", 1, 1]]


def test_what_may_not_leave_the_host_is_refused(row, begin) -> None:
    one = begin(row[0])
    routed = IPv6Address("fd00::a")

    def code(call: Callable[[], Any]) -> ErrorCode:
        with pytest.raises(LocalError) as caught:
            call()
        return caught.value.code

    assert code(lambda: one.flood(acp(), 1, IPv6Locator(routed, 6, 1))) is ErrorCode.invalidLoc
    assert code(lambda: one.flood(acp(), 1, IPv4Locator(IPv4Address("192.0.2.1"), 6, 1))) is ErrorCode.invalidLoc
    assert code(lambda: one.flood(Objective("AN_ACP", 3), 1)) is ErrorCode.notSynch
    assert code(lambda: one.flood(acp("x" * 2_000), 1)) is ErrorCode.tooLong
    assert code(lambda: one.flood(Objective("EX1", 4), 1)) is ErrorCode.notObj
    assert code(lambda: one.serve("AN_ACP", 0)) is ErrorCode.invalidLoc
    for call in (one.floods, one.wait_flood, one.stop_serving, one.discover):
        assert code(lambda call=call: call("EX1")) is ErrorCode.notObj
    assert code(lambda: one.on_flood("EX1", print)) is ErrorCode.notObj
    assert code(lambda: one.serve("EX1", 1)) is ErrorCode.notObj
    assert one.flood(acp(), 1, IPv6Locator(IPv6Address("fe80::1234"), 6, 1))


def test_a_discovery_is_answered(row, begin) -> None:
    a, b, _ = row
    one, other = begin(a), begin(b)
    assert one.discover("AN_ACP", 50) == []
    other.serve("AN_ACP", 15_000, 17, 5_000)
    (found,) = one.discover("AN_ACP", 5_000)
    assert found.locator == IPv6Locator(link_local(b), 17, 15_000)
    assert found.interface == one.interface.index
    assert 0 < found.expires - time.monotonic() <= 5
    other.stop_serving("AN_ACP")
    assert one.discover("AN_ACP", 50) == [found]
    assert one.discover("AN_ACP", 50, minimum_ttl=0) == []


def test_two_instances_and_a_node_share_a_host_and_an_interface(row, begin, start) -> None:
    a, b, _ = row
    one, two, far = begin(a), begin(a, ("AN_ACP",)), begin(b)
    node, remote = start(a, ["eth0"]), start(b, ["eth0"])
    for n, dull in enumerate((one, two), 1):
        dull.serve("AN_ACP", n)
    found = far.discover("AN_ACP", 5_000, count=2)
    assert sorted(each.locator.port for each in found) == [1, 2]
    assert [each.locator.port for each in one.discover("AN_ACP", 5_000)] == [2]
    far.flood(acp(), 5_000)
    for dull in one, two:
        assert dull.wait_flood("AN_ACP", 5_000)
    one.flood(acp("from one"), 5_000)
    assert eventually(lambda: "from one" in [each.objective.value for each in two.floods()])
    remote.register("usual", "synchronize")
    remote.publish("usual", 1)
    node.register("flooded", "synchronize")
    node.flood([["flooded", 2, None]])
    assert node.synchronize("usual") == 1
    assert remote.wait_flood("flooded")[0]["value"] == 2
    assert one.floods("AN_Proxy") == []
    assert eventually(lambda: far.discarded.get("foreign objective"))


def test_what_breaks_a_rule_is_discarded_and_nothing_is_relayed(row, begin) -> None:
    a, b, c = row
    with Raw(a, "eth0") as raw, Raw(c, "eth0") as beyond:
        dull = begin(b)
        dull.serve("AN_ACP", 15_000)

        def flood(value: str, name: str = "AN_ACP", loop_count: int = 1, locator: Any = ()) -> list[Any]:
            return [M_FLOOD, 1, raw.packed, 0, [[name, 4, loop_count, value], list(locator)]]

        raw.multicast(flood("too far", loop_count=2))
        raw.multicast(flood("foreign", name="EX1"))
        raw.multicast(flood("led away", locator=[O_IPV6, IPv6Address("fd00::a").packed, 6, 1]))
        raw.multicast([M_DISCOVERY, 2, raw.packed, ["AN_ACP", 1, 2]])
        raw.multicast([M_DISCOVERY, 3, raw.packed, ["EX1", 1, 1]])
        raw.multicast([M_DISCOVERY, 4, raw.packed, ["AN_Proxy", 1, 6]])
        raw.multicast([3, 5, ["AN_ACP", 3, 1, 0]])
        raw.multicast(b"\xff\xff")
        with a.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as routed:
            routed.bind(("fd00::a", 0))
            for message in flood("from afar"), [M_DISCOVERY, 6, raw.packed, ["AN_ACP", 1, 1]]:
                routed.sendto(encoded(message), (GROUP_6, PORT, 0, raw.index))
        raw.multicast(flood("good"))
        assert [each.objective.value for each in dull.wait_flood("AN_ACP", 5_000)] == ["good"]
        assert dull.discarded == {
            "loop count not 1": 3,
            "foreign objective": 2,
            "locator not link-local": 1,
            "message type": 1,
            "malformed message": 1,
            "source not link-local": 2,
        }
        raw.multicast([M_DISCOVERY, 7, raw.packed, ["AN_ACP", 1, 1]])
        with raw.accept() as wire:
            own = link_local(b).packed
            assert wire.receive() == [M_RESPONSE, 7, raw.packed, 60_000, [O_IPV6, own, 6, 15_000]]
            assert wire.receive() is None
        with pytest.raises(TimeoutError):
            raw.accept(0.2)
        assert beyond.heard == []


def test_who_connects_is_read_only_from_the_link_and_never_answered(row, begin) -> None:
    a, b, c = row
    with Raw(a, "eth0") as raw, Raw(c, "eth0") as beyond:
        dull = begin(b)
        request = [4, 9, ["AN_ACP", 5, 1]]
        for where, ear in ((link_local(b), raw), ("fd00::b", raw), (link_local(b, "eth1"), beyond)):
            with ear.connect(str(where), dull.port) as wire:
                wire.send(request)
                assert wire.receive() is None
        with raw.connect(str(link_local(b)), dull.port) as wire:
            wire.send(b"\xff\xff\xff")
            assert wire.receive() is None
        # The routed peer and the one on the other link are closed before a byte of theirs is read.
        counted = {"message type": 1, "connection without a valid message": 1}
        assert eventually(lambda: dull.discarded == counted), dull.discarded


def test_only_a_response_with_a_link_local_locator_is_taken(row, begin) -> None:
    a, b, _ = row
    with Raw(b, "eth0") as raw:
        one = begin(a)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.extend(one.discover("AN_ACP", 5_000)))
        thread.start()
        source, port, message = raw.hear(M_DISCOVERY)
        far = [O_IPV6, IPv6Address("fd00::b").packed, 6, 1]
        for where in ([O_DIVERT, far], far, raw.locator):
            with raw.connect(source, port) as wire:
                wire.send([M_RESPONSE, message[1], message[2], 5_000, where])
                assert wire.receive() is None
        thread.join(30)
        assert [each.locator for each in found] == [IPv6Locator(link_local(b), 6, raw.port)]
        # Counted once the connection is closed.
        assert eventually(lambda: one.discarded == {"response with Divert": 1, "locator not link-local": 1})


def test_the_interface_may_come_go_and_change_its_address(lab, begin) -> None:
    a, b = lab.host("a"), lab.host("b")
    one, other = begin(a), begin(b)
    other.serve("AN_ACP", 4_711)
    assert one.interface is None
    assert not one.flood(acp(), 0, IPv6Locator(ANY, 6, 1))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(one.discover("AN_ACP", 10_000)))
    thread.start()
    lab.link(a, b)
    thread.join(30)
    assert [each.locator.address for each in found] == [link_local(b)]
    b.delete_address(f"{link_local(b)}/64", "eth0")
    b.address("fe80::b/64", "eth0")
    assert eventually(lambda: other.interface and str(other.interface.link_local) == "fe80::b")
    (moved,) = one.discover("AN_ACP", 5_000, minimum_ttl=0)
    assert moved.locator.address == IPv6Address("fe80::b")
    other.flood(acp(), 0, IPv6Locator(ANY, 6, 1))
    assert one.wait_flood("AN_ACP", 5_000)[0].locator == IPv6Locator(IPv6Address("fe80::b"), 6, 1)
    a.down("eth0")
    assert eventually(lambda: one.interface is None)
    assert eventually(lambda: one.floods() == [])
    assert one.discover("AN_ACP", 0) == []


def test_nothing_is_left_after_the_stop(row) -> None:
    a, b, _ = row

    def level() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = level()
    with Raw(b, "eth0") as raw:
        with a.entered():
            dull = Dull("eth0", NAMES).start()
        idle = {each.name for each in threading.enumerate() if each.name.startswith("dull")}
        assert idle == {"dull-multicast", "dull-interfaces", "dull-accept-1", "dull-accept-2"}
        dull.on_flood(None, lambda _: None)
        dull.serve("AN_ACP", 1)
        ended: list[Any] = []

        def wait() -> None:
            try:
                dull.wait_flood("AN_Proxy", 60_000)
            except LocalError as error:
                ended.append(error.code)

        waiting = threading.Thread(target=wait)
        waiting.start()
        raw.multicast([M_FLOOD, 1, raw.packed, 0, [["AN_ACP", 4, 1, 0], []]])
        assert dull.wait_flood("AN_ACP", 5_000)
        with raw.connect(str(link_local(a)), dull.port):
            begun = time.monotonic()
            dull.stop()
            dull.stop()
            assert time.monotonic() - begun < 10
        waiting.join(30)
        assert ended == [ErrorCode.stopped]
        with pytest.raises(LocalError):
            dull.start()
    assert eventually(lambda: level() == before), (before, level())
