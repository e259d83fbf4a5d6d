"""Neighbour links with real TLS, between namespaces."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address
from itertools import pairwise
from pathlib import Path

import cbor2
import pytest

from grasp import ErrorCode, GraspError, IPv6Locator, Locator, Node, Objective
from grasp.calls import Peer
from grasp.transport import Connection, Source
from grasp.transport.domain import DomainSubstrate
from grasp.wire import Discovery, Response, decode_message, encode_message
from lab import Capture, Host, Lab
from tests.network.raw import Raw
from tests.network.topology import address, network
from tests.pki import Authority

from .conftest import Join, eventually, linked

ROOT = Path(__file__).parents[2]
EX1 = Objective.synchronization("EX1", loop_count=6)


def connections(host: Host, port: int = 0) -> int:
    """TCP connections that are established, by the kernel's own account."""
    listed = host.run(["ss", "-Htn", "state", "established"]).stdout.splitlines()
    return len(listed)


def flooded(sender: Node, value: object, objective: str = "EX1") -> None:
    asa = sender.register_asa(f"flooder-{time.monotonic_ns()}")
    asa.register(Objective.synchronization(objective))
    assert asa.flood(Objective.synchronization(objective, value, loop_count=6), 60_000) == len(sender.interfaces)


def values(node: Node, objective: str = "EX1") -> list[object]:
    asa = node.register_asa(f"listener-{time.monotonic_ns()}")
    found = [each.objective.value for each in asa.floods(objective)]
    asa.deregister()
    return found


def shown(node: Node) -> list[bytes]:
    """The certificates its neighbours have shown."""
    return [each.member.fingerprint for each in node.neighbours if each.member is not None]


def own(node: Node) -> list[bytes]:
    """The certificate it has."""
    assert node.identity is not None
    return [node.identity.member.fingerprint]


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    return a, b


def mesh(nodes: dict[str, Node], timeout: float = 30.0) -> bool:
    return bool(
        eventually(lambda: all(linked(node) == sorted(set(nodes) - {name}) for name, node in nodes.items()), timeout)
    )


def test_two_neighbours_find_each_other_and_have_one_link(pair: tuple[Host, Host], join: Join) -> None:
    a, b = pair
    nodes = {"a": join(a), "b": join(b)}
    assert mesh(nodes)
    flooded(nodes["a"], "hello")
    assert eventually(lambda: values(nodes["b"]) == ["hello"])
    (neighbour,) = nodes["a"].neighbours
    assert str(neighbour.address) == b.link_local("eth0")
    assert neighbour.state == "up"
    assert eventually(lambda: connections(a) == connections(b) == 1)


def test_on_a_lan_there_is_one_link_for_every_two(lab: Lab, join: Join) -> None:
    hosts = {name: lab.host(name) for name in "abcd"}
    lab.lan(*hosts.values())
    nodes = {name: join(host) for name, host in hosts.items()}
    assert mesh(nodes)
    assert eventually(lambda: [connections(each) for each in hosts.values()] == [3, 3, 3, 3])
    flooded(nodes["a"], "hello")
    assert eventually(lambda: [values(nodes[name]) for name in "bcd"] == [["hello"]] * 3)


def test_floods_and_discoveries_go_from_hop_to_hop(lab: Lab, join: Join) -> None:
    hosts = lab.chain(4)
    nodes = [join(host) for host in hosts]
    assert eventually(lambda: [len(linked(each)) for each in nodes] == [1, 2, 2, 1])
    flooded(nodes[0], ["far", 1])
    assert eventually(lambda: values(nodes[3]) == [["far", 1]])
    serving = nodes[3].register_asa("server")
    serving.register(Objective.synchronization("EX2"))
    serving.publish(Objective.synchronization("EX2", "published"))
    asking = nodes[0].register_asa("asker")
    asking.register(Objective.synchronization("EX2"))
    (found,) = asking.discover(Objective.synchronization("EX2", loop_count=6), timeout=20_000)
    assert found.diverted
    # The caller's own thread connects.
    with hosts[0].entered():
        assert asking.synchronize(Objective.synchronization("EX2"), timeout=20_000).value == "published"


class Deaf:
    """A member's core that keeps its links, and neither answers nor passes on what comes by them."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def multicast_received(self, data: bytes, source: Source) -> None:
        self.kept.append(data)

    def connected(self, connection: Connection) -> None:
        connection.close()

    def interfaces_changed(self, gone: frozenset[int]) -> None: ...

    def neighbour_up(self, interface: int) -> None: ...

    def upkeep(self, now: float) -> None: ...


def test_where_a_member_relays_nothing_what_is_said_takes_another_way(lab: Lab, join: Join, ca: Authority) -> None:
    """Two ways around a ring: one neighbour of ``a`` passes nothing on, the other does."""
    ring = ["a", "silent", "b", "good"]
    hosts = network(lab, [*pairwise(ring), ("good", "a")])
    core = Deaf()
    with hosts["silent"].entered():
        dropping = DomainSubstrate(ca.identity("silent"), name="silent")
        dropping.start(core)
    try:
        nodes = {name: join(hosts[name], address=IPv6Address(address(hosts, name))) for name in ("a", "b", "good")}
        for name in "ab":
            assert eventually(lambda name=name: linked(nodes[name]) == ["good", "silent"])
        assert eventually(lambda: linked(nodes["good"]) == ["a", "b"])
        flooded(nodes["a"], "around")
        assert eventually(lambda: values(nodes["b"]) == ["around"])
        assert eventually(lambda: any(b"around" in each for each in core.kept)), "it has heard it too"
        serving = nodes["b"].register_asa("server")
        serving.register(Objective.synchronization("EX2"))
        serving.publish(Objective.synchronization("EX2", "published"))
        asking = nodes["a"].register_asa("asker")
        asking.register(Objective.synchronization("EX2"))
        with hosts["a"].entered():
            assert asking.synchronize(Objective.synchronization("EX2", loop_count=6), timeout=20_000).value
    finally:
        dropping.stop()


class Liar(Deaf):
    """Answers each discovery with a place where somebody else listens."""

    def __init__(self, substrate: DomainSubstrate, place: Locator) -> None:
        super().__init__()
        self.substrate = substrate
        self.place = place

    def multicast_received(self, data: bytes, source: Source) -> None:
        super().multicast_received(data, source)
        message = decode_message(data)
        if isinstance(message, Discovery):
            answer = Response(message.session_id, message.initiator, 60_000, (self.place,))
            self.substrate.reply(source, encode_message(answer, 2048))


def test_a_discovery_that_is_answered_wrongly_leads_nowhere(pair: tuple[Host, Host], join: Join, ca: Authority) -> None:
    """A member sends who asks to somebody who is none, and to another that was not meant and does not have it."""
    a, b = pair
    node = join(a)
    with b.entered():
        ear = socket.create_server(("::", 0), family=socket.AF_INET6)
        lying = DomainSubstrate(ca.identity("liar"), name="liar")
    there = IPv6Address(b.link_local("eth0"))
    liar = Liar(lying, IPv6Locator(there, socket.IPPROTO_TCP, ear.getsockname()[1]))
    with b.entered():
        lying.start(liar)
    asking = node.register_asa("asker")
    asking.register(Objective.synchronization("EX2"))
    try:
        assert eventually(lambda: linked(node) == ["liar"])
        with ThreadPoolExecutor(1) as hearing:

            def first() -> bytes:
                wire = ear.accept()[0]
                with wire:
                    return wire.recv(65_536)

            ear.settimeout(30)
            heard = hearing.submit(first)
            with a.entered(), pytest.raises(GraspError):
                asking.synchronize(Objective.synchronization("EX2"), timeout=5_000)
            said = heard.result(30)
        assert said[0] == 22, "a handshake, and no GRASP"
        assert b"EX2" not in said
        # A member answers there, and it is not the one that was meant.
        other = join(b, "other")
        liar.place = IPv6Locator(there, socket.IPPROTO_TCP, other.port)
        meant = Peer(liar.place, node.interfaces[0].index, "server")
        with a.entered(), pytest.raises(GraspError) as raised:
            asking.synchronize("EX2", meant, timeout=5_000)
        assert raised.value.code == ErrorCode.notMember
    finally:
        lying.stop()
        ear.close()


def test_a_link_heals_when_the_cable_does(pair: tuple[Host, Host], join: Join) -> None:
    a, b = pair
    nodes = {"a": join(a), "b": join(b)}
    assert mesh(nodes)
    a.down("eth0")
    assert eventually(lambda: linked(nodes["a"]) == linked(nodes["b"]) == [])
    a.up("eth0")
    assert mesh(nodes)
    flooded(nodes["b"], "again")
    assert eventually(lambda: values(nodes["a"]) == ["again"])
    assert eventually(lambda: connections(a) == connections(b) == 1)


def test_a_link_follows_its_neighbour_to_another_address(pair: tuple[Host, Host], join: Join) -> None:
    a, b = pair
    nodes = {"a": join(a), "b": join(b)}
    assert mesh(nodes)
    b.ip(f"address delete {b.link_local('eth0')}/64 dev eth0", "address add fe80::b:b/64 dev eth0")

    def moved() -> bool:
        return [(str(each.address), each.state) for each in nodes["a"].neighbours] == [("fe80::b:b", "up")]

    assert eventually(moved)
    assert mesh(nodes)
    flooded(nodes["b"], "moved")
    assert eventually(lambda: values(nodes["a"]) == ["moved"])


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft(8) to lose packets")
def test_a_neighbour_that_went_without_a_word_and_came_back_as_another_leaves_no_link_behind(
    lab: Lab, join: Join
) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.lan(a, b)
    nodes = {"a": join(a), "b": join(b)}
    assert mesh(nodes)
    old = b.link_local("eth0")
    # Behind the switch nobody notices, and what its kernel would say of the old connection is lost.
    rules = f"table ip6 quiet {{ chain out {{ type filter hook output priority 0; ip6 saddr {old} drop; }}\n}}"
    b.run(["nft", "-f", "-"], input=rules)
    b.ip("link set eth0 down", "link set eth0 address 02:00:00:00:0b:0b", "link set eth0 up")
    assert eventually(lambda: linked(nodes["a"]) == ["b", "b"])
    assert eventually(lambda: [str(each.address) for each in nodes["a"].neighbours] == [b.link_local("eth0")])
    assert b.link_local("eth0") != old
    assert mesh(nodes)


def test_two_interfaces_on_one_lan_and_two_nodes_of_one_identity_have_a_link_each(
    lab: Lab, join: Join, ca: Authority
) -> None:
    hosts = {name: lab.host(name) for name in "ab"}
    lab.lan(hosts["a"], hosts["b"])
    issued = ca.issue("a")
    first, other = join(hosts["a"], "a", issued), join(hosts["b"])
    second = join(hosts["a"], "a", issued)
    assert eventually(lambda: linked(other) == ["a", "a"])
    assert eventually(lambda: linked(first) == linked(second) == ["a", "b"])
    before = other.neighbours
    time.sleep(1.5)
    # No two of them take each other for the same.
    assert other.neighbours == before


def test_a_killed_node_is_taken_back_when_it_returns(
    pair: tuple[Host, Host], join: Join, ca: Authority, tmp_path: Path
) -> None:
    a, b = pair
    node = join(a)
    ca.write(tmp_path, ca.issue("b"))

    def begin() -> subprocess.Popen[str]:
        return b.python("-m", "tests.links.member", str(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True)

    process = begin()
    assert eventually(lambda: linked(node) == ["b"])
    first = node.neighbours
    process.kill()
    process.wait()
    assert eventually(lambda: linked(node) == [])
    again = begin()
    assert eventually(lambda: linked(node) == ["b"])
    assert node.neighbours != first
    assert eventually(lambda: values(node) == ["from b"])
    again.kill()


def test_a_revoked_neighbour_is_cut_off_within_seconds_and_nobody_else(lab: Lab, join: Join) -> None:
    ca = Authority("acp.example.com")
    hosts = {name: lab.host(name) for name in "abc"}
    lab.lan(*hosts.values())
    bad = ca.issue("c")
    nodes = {"a": join(hosts["a"], authority=ca), "b": join(hosts["b"], authority=ca)}
    nodes["c"] = join(hosts["c"], "c", bad, authority=ca)
    assert mesh(nodes)
    before = [each for each in nodes["a"].neighbours if each.member and each.member.name == "b"]
    ca.revoke(bad)
    for name in "ab":
        revocations = nodes[name].revocations
        assert revocations is not None
        assert revocations.add(ca.crl(), [ca.certificate], time.time())
    began = time.monotonic()
    assert eventually(lambda: linked(nodes["a"]) == ["b"] and linked(nodes["b"]) == ["a"])
    print("cut off after", time.monotonic() - began)
    assert [each for each in nodes["a"].neighbours if each.member] == before
    assert eventually(lambda: linked(nodes["c"]) == [])
    # It goes on trying, and is refused.
    assert eventually(lambda: any("member" in reason for reason in nodes["a"].statistics.discarded))
    assert linked(nodes["a"]) == ["b"]


def test_a_certificate_is_renewed_without_a_gap(pair: tuple[Host, Host], join: Join, ca: Authority) -> None:
    a, b = pair
    acp_names = {name: ca.acp_name() for name in "ab"}
    issued = {name: ca.issue(name, acp_names[name]) for name in "ab"}
    nodes = {"a": join(a, "a", issued["a"]), "b": join(b, "b", issued["b"])}
    assert mesh(nodes)
    old = {name: node.neighbours[0].member for name, node in nodes.items()}
    sender, receiver = nodes["a"].register_asa("s"), nodes["b"].register_asa("r")
    sender.register(Objective.synchronization("EX1"))
    got: list[int] = []
    receiver.on_flood("EX1", lambda tagged: got.append(tagged.objective.value))
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.wait(0.002):
            sent += 1
            sender.flood(Objective.synchronization("EX1", sent, loop_count=6), 60_000)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in range(2):
            for name, node in nodes.items():
                node.renew(ca.identity(name, ca.issue(name, acp_names[name])))
            assert eventually(lambda: (shown(nodes["a"]), shown(nodes["b"])) == (own(nodes["b"]), own(nodes["a"])))
    finally:
        stop.set()
        thread.join()
    assert all(nodes[name].neighbours[0].member != old[name] for name in nodes)
    assert eventually(lambda: len(got) >= sent)
    assert sorted(got) == list(range(1, sent + 1))
    assert eventually(lambda: connections(a) == connections(b) == 1)


# -- who is no neighbour


def test_a_plain_node_is_reported_and_never_answered(pair: tuple[Host, Host], join: Join) -> None:
    a, b = pair
    with Capture(a, "eth0") as capture:
        node = join(a)
        with b.entered(), Node(name="plain") as plain:
            flooded(plain, "in clear")
            asa = plain.register_asa("asker")
            assert asa.discover(EX1, timeout=1_000) == []
            found = eventually(lambda: [each for each in node.neighbours if each.state == "plain"])
            assert [(str(each.address), each.member) for each in found] == [(b.link_local("eth0"), None)]
            # Its own, and what everybody on the link may hear.
            assert {each.objective.name for each in asa.floods()} == {"EX1", "EX9.Neighbor"}
    assert values(node) == []
    sent = [each.data for each in capture.frames if each.outgoing]
    # TCP to it would be an answer.
    assert not any(frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_TCP for frame in sent)
    assert {cbor2.loads(each.payload)[4][0][0] for each in capture.packets(7017) if each.outgoing} == {"EX9.Neighbor"}
    assert node.statistics.discarded["multicast: GRASP without security"] >= 1


def test_a_neighbour_of_another_ca_is_tried_once_by_either_and_learns_nothing(
    pair: tuple[Host, Host], join: Join
) -> None:
    a, b = pair
    foreign = Authority("acp.example.com", "another ca")
    with Capture(a, "eth0") as capture:
        nodes = {"a": join(a), "b": join(b, authority=foreign)}
        flooded(nodes["a"], "secret-value")
        assert eventually(lambda: [[e.state for e in each.neighbours] for each in nodes.values()] == [["failing"]] * 2)
    assert linked(nodes["a"]) == linked(nodes["b"]) == []
    assert values(nodes["b"]) == []
    opened = [each for each in capture.frames if _is_syn(each.data)]
    assert len(opened) == 2
    assert not any(b"secret-value" in each.data or b"EX1" in each.data for each in capture.frames)


def _is_syn(frame: bytes) -> bool:
    return frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_TCP and frame[54 + 13] & 0x12 == 0x02


def test_a_member_without_an_acp_address_is_no_neighbour(pair: tuple[Host, Host], join: Join, ca: Authority) -> None:
    a, b = pair
    node = join(a)
    join(b, "b", ca.issue("b", "++x@acp.example.com"))
    assert eventually(lambda: any("member" in each for each in node.statistics.discarded))
    assert linked(node) == []


def test_a_replayed_announcement_and_forged_ones_make_no_link(pair: tuple[Host, Host], join: Join) -> None:
    a, b = pair
    with Capture(a, "eth0") as capture, b.entered():
        other = Node(name="b", identity=Authority("acp.example.com").identity("b"))
        with other:
            assert eventually(lambda: capture.packets(7017))
    recorded = [each.payload for each in capture.packets(7017)]
    node = join(a)
    with Raw(b, "eth0") as raw:
        raw.multicast(recorded[0])
        address, mine = raw.packed, node.port
        third = IPv6Address("fe80::dead").packed
        own = IPv6Address(a.link_local("eth0")).packed

        def told(
            initiator: bytes, where: bytes, port: int, value: object = "TLS", loop: int = 1, kind: int = 6
        ) -> list[object]:
            return [9, 1, initiator, 210_000, [["EX9.Neighbor", 4, loop, value], [103, where, kind, port]]]

        for message in (
            told(third, third, 4711),
            told(address, third, 4711),
            told(third, address, 4711),
            told(address, own, mine),
            told(own, own, mine),
            told(address, address, 4711, "IKEv2"),
            told(address, address, 4711, loop=2),
            told(address, address, 4711, kind=17),
            [9, 1, address, 210_000, [["EX9.Neighbor", 4, 1, "TLS"], []]],
            [1, 5, address, ["EX9.Neighbor", 5, 1]],
            b"\xff\x00garbage",
        ):
            raw.multicast(message)
        assert eventually(lambda: node.statistics.discarded.get("multicast: malformed message"))
        # The one that was replayed names where nobody listens any more.
        assert eventually(lambda: [each.state for each in node.neighbours] == ["failing"])
        with pytest.raises(TimeoutError):
            raw.accept(0.5)


def test_a_capture_of_the_link_holds_nothing_readable_but_announcements(pair: tuple[Host, Host], join: Join) -> None:
    a, b = pair
    with Capture(a, "eth0") as capture:
        nodes = {"a": join(a), "b": join(b)}
        assert mesh(nodes)
        flooded(nodes["a"], "readable-value", "EX1.Secret")
        asa = nodes["b"].register_asa("asker")
        asa.register(Objective.negotiation("EX2.Asked"))
        assert asa.discover(Objective.negotiation("EX2.Asked"), timeout=300) == []
        assert eventually(lambda: values(nodes["b"], "EX1.Secret") == ["readable-value"])
    datagrams = capture.packets()
    assert {each.destination[1] for each in datagrams} == {7017}
    announced = [cbor2.loads(each.payload) for each in datagrams]
    for message, datagram in zip(announced, datagrams, strict=True):
        source = IPv6Address(datagram.source[0]).packed
        port = datagram.source[1]
        assert message == [9, message[1], source, 210_000, [["EX9.Neighbor", 4, 1, "TLS"], [103, source, 6, port]]]
    streams = b"".join(each.data for each in capture.frames)
    assert not [
        each for each in (b"readable-value", b"EX1.Secret", b"EX2.Asked", b"acp.example.com") if each in streams
    ]
    tls = [each.data[74 + 12 :] for each in capture.frames if each.data[12:14] == b"\x86\xdd" and each.data[20] == 6]
    assert tls
