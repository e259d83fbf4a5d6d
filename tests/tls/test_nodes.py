"""Nodes in a domain: what their agents see of members, and what errors are called."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import grasp
from grasp import ErrorCode, LocalError, Objective, PeerError
from grasp.security import Identity
from tests.pki import Authority
from tests.tls.substrates import LOOPBACK, NO_INTERFACE, PATIENCE, eventually

EX3 = Objective.negotiation("EX3", ["NZD", 47])
EX2 = Objective.synchronization("EX2", [1])
CA = Authority()
Start = Callable[..., grasp.ASA]


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[grasp.Node, grasp.ASA]]]:
    nodes: list[grasp.Node] = []

    def started(identity: Identity | None, **options: Any) -> tuple[grasp.Node, grasp.ASA]:
        node = grasp.Node(NO_INTERFACE, identity=identity, name=identity.name if identity else "plain", **options)
        nodes.append(node.start())
        return node, node.register_asa("asa")

    yield started
    for each in nodes:
        each.stop()


def at(node: grasp.Node, member: str = "") -> grasp.Peer:
    return grasp.Peer(grasp.IPv6Locator(LOOPBACK, socket.IPPROTO_TCP, node.port), 0, member)


def register(asa: grasp.ASA, **options: Any) -> None:
    asa.register(EX3, **options)
    asa.register(EX2, **options)


def test_both_ends_of_a_session_know_each_others_name(start: Any) -> None:
    (_, asking), (node, asked) = start(CA.identity("one")), start(CA.identity("other"))
    seen: list[str] = []

    def offer(negotiation: grasp.Negotiation) -> None:
        assert negotiation.member is not None
        seen.append(negotiation.member.name)
        negotiation.propose(["NZD", 40])

    for each in (asking, asked):
        register(each)
    asked.on_negotiate("EX3", offer)
    asked.publish(EX2)
    for _ in range(3):
        with asking.negotiate(EX3, at(node, "other")) as negotiation:
            assert negotiation.member is not None
            assert negotiation.member.name == "other"
            assert negotiation.offer.value == ["NZD", 40]
            negotiation.accept()
        assert asking.synchronize(EX2, at(node, "other")).value == [1]
    assert seen == ["one"] * 3
    assert node.secured
    assert node.neighbours == ()


def test_sessions_taken_by_listen_leave_the_connection_to_the_next(start: Any) -> None:
    """However soon the next request comes, and whoever takes it."""
    (asker, asking), (node, asked) = start(CA.identity("one")), start(CA.identity("other"))
    register(asking)
    asked.register(EX3)
    agreed: list[Any] = []

    def listen() -> None:
        while True:
            try:
                with asked.listen("EX3") as negotiation:
                    negotiation.propose(["NZD", 41])
                    agreed.append(negotiation.agreed)
            except LocalError:
                return

    listeners = [threading.Thread(target=listen) for _ in range(2)]
    for each in listeners:
        each.start()
    eventually(lambda: _agrees(asking, node))
    for _ in range(100):
        with asking.negotiate(EX3, at(node)) as negotiation:
            negotiation.accept()
    eventually(lambda: len(agreed) == 101)
    node.stop()
    for each in listeners:
        each.join(PATIENCE)
    assert agreed.count(True) == 101
    assert asker.statistics.sessions == 0


def _agrees(asking: grasp.ASA, node: grasp.Node) -> bool:
    """The listeners may not have come to listen yet."""
    try:
        with asking.negotiate(EX3, at(node)) as negotiation:
            negotiation.accept()
    except PeerError:
        return False
    return True


def asks_in_vain(asa: grasp.ASA, peer: grasp.Peer) -> tuple[ErrorCode, ErrorCode]:
    codes = []
    for ask in (lambda: asa.negotiate(EX3, peer), lambda: asa.synchronize(EX2, peer)):
        with pytest.raises(PeerError) as caught:
            ask()
        codes.append(caught.value.code)
    return codes[0], codes[1]


@pytest.mark.parametrize(
    "outsider",
    [
        lambda: Authority().identity("x"),
        lambda: Authority().identity("x", trust=(CA.certificate,)),
        lambda: CA.identity("x", CA.issue("x", "0@other.example.com")),
    ],
    ids=["neither takes the other for a member", "it is not taken for one", "of another domain"],
)
def test_a_stranger_is_told_that_it_is_none(start: Any, outsider: Callable[[], Identity]) -> None:
    (_, asking), (node, asked) = start(outsider()), start(CA.identity("other"))
    for each in (asking, asked):
        register(each)
    asked.on_negotiate("EX3", lambda negotiation: negotiation.accept() and None)
    asked.publish(EX2)
    assert asks_in_vain(asking, at(node)) == (ErrorCode.notMember, ErrorCode.notMember)


def test_another_member_than_the_one_wanted_is_asked_nothing(start: Any) -> None:
    (_, asking), (node, asked) = start(CA.identity("one")), start(CA.identity("other"))
    for each in (asking, asked):
        register(each)
    asked.publish(EX2)
    assert asks_in_vain(asking, at(node, "third")) == (ErrorCode.notMember, ErrorCode.notMember)
    assert asking.synchronize(EX2, at(node, "other")).value == [1]


def test_an_agent_says_who_may_ask(start: Any) -> None:
    (_, welcome), (_, unwelcome) = start(CA.identity("rack-7")), start(CA.identity("attic"))
    node, asked = start(CA.identity("other"))
    refusal = "only racks may ask"
    asked.register(EX3, admit=lambda member: None if member and member.name.startswith("rack-") else refusal)
    asked.register(EX2, admit=lambda member: None if member and member.name.startswith("rack-") else refusal)
    asked.on_negotiate("EX3", lambda negotiation: negotiation.propose(["NZD", 1]) and None)
    asked.publish(EX2)
    for each in (welcome, unwelcome):
        register(each)
    with welcome.negotiate(EX3, at(node)) as negotiation:
        negotiation.accept()
    assert welcome.synchronize(EX2, at(node)).value == [1]
    for _ in range(2):
        with pytest.raises(grasp.Declined) as declined:
            unwelcome.negotiate(EX3, at(node))
        assert declined.value.reason == refusal
        with pytest.raises(PeerError, match=refusal) as caught:
            unwelcome.synchronize(EX2, at(node))
        assert caught.value.code is ErrorCode.noValidSynch
    assert node.statistics.discarded["not admitted"] == 4


def test_who_cannot_be_judged_is_not_admitted(start: Any) -> None:
    (_, asking), (node, asked) = start(CA.identity("one")), start(CA.identity("other"))

    def failing(member: grasp.Member | None) -> str | None:
        raise ValueError("a mistake")

    asked.register(EX3, admit=failing)
    asked.on_negotiate("EX3", lambda negotiation: negotiation.accept() and None)
    register(asking)
    with pytest.raises(grasp.Declined) as declined:
        asking.negotiate(EX3, at(node))
    assert declined.value.reason == "not decided"


def test_without_a_domain_an_agent_that_admits_is_asked_with_nobody(start: Any) -> None:
    (_, asking), (node, asked) = start(None), start(None)
    asked_about: list[grasp.Member | None] = []
    asked.register(EX2, admit=lambda member: asked_about.append(member))
    asked.publish(EX2)
    assert asking.synchronize("EX2", at(node)).value == [1]
    assert asked_about == [None]
    assert not node.secured
    assert node.identity is node.revocations is None
    with pytest.raises(LocalError) as caught:
        node.renew(CA.identity("one"))
    assert caught.value.code is ErrorCode.badIdentity


@pytest.mark.parametrize("secured", [True, False], ids=["a member asks a plain node", "a plain node asks a member"])
def test_members_and_plain_nodes_have_nothing_in_common(start: Any, secured: bool) -> None:
    (_, asking), (node, asked) = (
        start(CA.identity("one") if secured else None),
        start(None if secured else CA.identity("one")),
    )
    for each in (asking, asked):
        register(each)
    asked.publish(EX2)
    asked.on_negotiate("EX3", lambda negotiation: negotiation.accept() and None)
    codes = asks_in_vain(asking, at(node))
    assert set(codes) <= {
        ErrorCode.sockErrNegRq, ErrorCode.sockErrSynRq, ErrorCode.noPeer, ErrorCode.noListener, ErrorCode.CBORfail,
        ErrorCode.noValidSynch, ErrorCode.noValidStep,
    }  # fmt: skip
    reason = "connection: invalid message" if secured else "handshake: failed"
    assert eventually(lambda: node.statistics.discarded.get(reason))


def test_many_sessions_at_once_share_few_connections(start: Any) -> None:
    (asker, asking), (node, asked) = start(CA.identity("one")), start(CA.identity("other"))
    for each in (asking, asked):
        register(each)
    asked.on_negotiate("EX3", lambda negotiation: negotiation.propose(["NZD", 40]) and None)
    asked.publish(EX2)
    failures: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(20):
                with asking.negotiate(EX3, at(node)) as negotiation:
                    negotiation.accept()
                asking.synchronize(EX2, at(node))
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert failures == []
    assert asker.statistics.sessions == 0
    eventually(lambda: node.statistics.sessions == 0)


def test_a_plain_node_loads_no_tls() -> None:
    """On a small router that is a second, and megabytes."""
    program = (
        "import sys, grasp\n"
        "node = grasp.Node(['none0'])\n"
        "print([each for each in ('OpenSSL', 'cryptography.x509', 'ssl') if each in sys.modules])\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
