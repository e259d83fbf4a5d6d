"""Who is a member no more: between two flights of a handshake, between the handshake and the link, and later."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import cbor2
import pytest

from grasp import Node
from grasp.transport import tls
from grasp.transport.domain import DomainSubstrate
from grasp.transport.links import Links
from grasp.transport.tls import LINK
from lab import Host, Lab
from tests.pki import Authority, Issued
from tests.tls.pairs import Peer, lenient, records

from .conftest import Join, eventually, linked
from .intruder import announcement, intruding


@pytest.fixture
def ca() -> Authority:
    return Authority("acp.example.com")


@pytest.fixture
def hosts(lab: Lab) -> dict[str, Host]:
    hosts = {name: lab.host(name) for name in ("node", "bad")}
    lab.lan(*hosts.values())
    return hosts


def revoke(ca: Authority, issued: Issued, node: Node) -> None:
    ca.revoke(issued)
    assert node.revocations is not None
    assert node.revocations.add(ca.crl(), [ca.certificate], time.time())


def heard(sock: socket.socket) -> bytes:
    """What the node says until it closes."""
    told = b""
    try:
        while data := sock.recv(65_536):
            told += data
    except ConnectionResetError:
        pass
    return told


def substrate_of(node: Node) -> DomainSubstrate:
    found = node._core.substrate
    assert isinstance(found, DomainSubstrate)
    return found


@pytest.fixture
def dialled(hosts: dict[str, Host], join: Join) -> Iterator[tuple[Node, socket.socket]]:
    node = join(hosts["node"])
    with hosts["bad"].entered(), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.settimeout(20.0)
        scope = socket.if_nametoindex("eth0")
        sock.connect((hosts["node"].link_local("eth0"), node.port, 0, scope))
        yield node, sock


def test_who_holds_back_its_finished_until_it_is_revoked_gets_no_link(
    dialled: tuple[Node, socket.socket], ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, sock = dialled
    judged, judge = threading.Event(), tls._Judgement.judge

    def told(judgement: tls._Judgement) -> bool:
        found = judge(judgement)
        judged.set()
        return found

    bad = ca.issue("bad")
    context = lenient(bad, ca)
    context.set_alpn_protos([LINK])
    peer = Peer(context, False)
    while not peer.handshake():
        if data := peer.outgoing():
            sock.sendall(data)
        peer.feed(sock.recv(65_536))
    flight = peer.outgoing()
    *_, (_, finished) = records(flight)
    held = len(flight) - 5 - len(finished)
    monkeypatch.setattr(tls._Judgement, "judge", told)
    sock.sendall(flight[:held])
    assert judged.wait(20.0)
    revoke(ca, bad, node)
    # Everything that looks for it has looked.
    substrate_of(node)._upkeep(time.monotonic())
    peer.connection.send(cbor2.dumps(announcement("fe80::b")))
    sock.sendall(flight[held:] + peer.outgoing())
    heard(sock)
    assert eventually(lambda: node.statistics.discarded.get("handshake: not a member")) == 1
    assert linked(node) == []


def test_a_list_that_comes_before_the_link_is_taken_over_cuts_it(
    hosts: dict[str, Host], join: Join, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, bad = join(hosts["node"]), ca.issue("bad")
    adopt = Links.adopt

    def late(links: Links, *args: Any) -> None:
        revoke(ca, bad, node)
        links.recheck(time.time())
        adopt(links, *args)

    monkeypatch.setattr(Links, "adopt", late)
    with intruding(hosts["bad"], "eth0", hosts["node"].link_local("eth0"), node.port, ca, bad) as intruder:
        intruder.send(announcement(intruder.address))
        assert intruder.closed()
    assert eventually(lambda: node.statistics.discarded.get("link: no member any more")) == 1
    assert linked(node) == []


def test_as_a_client_it_judges_the_server_at_the_end_of_the_handshake_too(
    hosts: dict[str, Host], join: Join, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of ours: whoever connects, what is revoked while the handshake is under way is refused at its end."""
    bad = ca.issue("bad")
    node = join(hosts["node"])
    judge = tls._Judgement.judge

    def overtaken(judgement: tls._Judgement) -> bool:
        found = judge(judgement)
        if found and judgement.member is not None and judgement.member.name == "bad" and not ca.revoked:
            revoke(ca, bad, node)
        return found

    monkeypatch.setattr(tls._Judgement, "judge", overtaken)
    join(hosts["bad"], "bad", bad)
    refused = ("link: not a member", "handshake: not a member")
    assert eventually(lambda: any(node.statistics.discarded.get(each) for each in refused))
    assert linked(node) == []
    assert "link: no member any more" not in node.statistics.discarded


def test_a_link_ends_with_its_certificate_and_is_not_taken_back(
    hosts: dict[str, Host], join: Join, ca: Authority
) -> None:
    node = join(hosts["node"])
    other = join(hosts["bad"], "bad", ca.issue("bad", not_after=time.time() + 3_600))
    assert eventually(lambda: linked(node) == ["bad"] and linked(other) == ["node"])
    # Of the two only one has the later clock, so that it alone can have ended the link.
    substrate_of(node)._contexts.clock = lambda: time.time() + 3_700
    assert eventually(lambda: linked(node) == [] and linked(other) == [])
    assert node.statistics.discarded["link: no member any more"] == 1
    refused = ("link: not a member", "handshake: not a member")
    assert eventually(lambda: any(node.statistics.discarded.get(each) for each in refused))
    assert linked(node) == []


def test_a_neighbour_whose_trust_anchor_is_given_up_loses_its_link(
    hosts: dict[str, Host], join: Join, ca: Authority
) -> None:
    old = Authority("acp.example.com", "old")
    both = (ca.certificate, old.certificate)
    issued = ca.issue("node")
    with ExitStack() as running:
        with hosts["node"].entered():
            node = running.enter_context(Node(identity=ca.identity("node", issued, both), name="node"))
        with hosts["bad"].entered():
            running.enter_context(Node(identity=old.identity("bad", trust=both), name="bad"))
        assert eventually(lambda: linked(node) == ["bad"])
        node.renew(ca.identity("node", issued))
        assert eventually(lambda: linked(node) == [])
        assert node.statistics.discarded["link: no member any more"] == 1
