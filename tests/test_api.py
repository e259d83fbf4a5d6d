"""The pythonic face before anything reaches the network: arguments, and what they may not break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

import grasp
from grasp import ErrorCode, LocalError, Objective
from grasp.transport import Interface
from tests.test_conformance import HERE, NEIGHBOUR, PEER, Links, Talking, Wire
from tests.wire.by_hand import pack


@pytest.fixture
def links() -> Links:
    return Links()


@pytest.fixture
def asa(links: Links) -> Iterator[grasp.ASA]:
    with grasp.Node(substrate=links) as node, node.register_asa("tester") as asa:
        asa.register(Objective.negotiation("N"))
        asa.register(Objective.synchronization("S"))
        yield asa


LOOP: list[Any] = []
LOOP.append(LOOP)

WRONG: dict[str, Callable[[grasp.ASA], object]] = {
    "negotiate a name": lambda asa: asa.negotiate("N"),  # type: ignore[arg-type]
    "publish a name": lambda asa: asa.publish("S"),  # type: ignore[arg-type]
    "publish a loop": lambda asa: asa.publish(Objective.synchronization("S", LOOP)),
    "publish an object": lambda asa: asa.publish(Objective.synchronization("S", object())),
    "register a name": lambda asa: asa.register("X"),  # type: ignore[arg-type]
    "flood a number": lambda asa: asa.flood(5),  # type: ignore[arg-type]
    "flood a list of numbers": lambda asa: asa.flood([5]),  # type: ignore[list-item]
    "synchronize a number": lambda asa: asa.synchronize(5),  # type: ignore[arg-type]
    "discover nothing": lambda asa: asa.discover(None),  # type: ignore[arg-type]
    "listen to a list": lambda asa: asa.listen(["N"], 1),  # type: ignore[arg-type]
    "no handler": lambda asa: asa.on_negotiate("N", None),  # type: ignore[arg-type]
    "no flood handler": lambda asa: asa.on_flood("S", None),  # type: ignore[arg-type]
    "a text for a peer": lambda asa: asa.synchronize("S", peer="fe80::1"),  # type: ignore[arg-type]
    "a name that is no text": lambda _: Objective("\ud800"),
    "a negative timeout": lambda asa: asa.discover("N", -1),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_told_as_one(asa: grasp.ASA, call: Callable[[grasp.ASA], object]) -> None:
    with pytest.raises(LocalError) as caught:
        call(asa)
    assert caught.value.code is ErrorCode.badArgument


@pytest.mark.parametrize("reason", [5, "\ud800", b"no"])
def test_a_reason_that_cannot_be_sent_does_not_lose_the_session(asa: grasp.ASA, links: Links, reason: Any) -> None:
    links.wire = Talking(lambda request: pack([5, request.session_id, ["N", 3, 5, 1]]))  # type: ignore[union-attr]
    with asa.negotiate(Objective.negotiation("N", 2), PEER) as negotiation, pytest.raises(LocalError):
        negotiation.decline(reason)
    assert [type(each).__name__ for each in links.wire.sent] == ["RequestNegotiation", "End"]


def test_a_request_that_was_taken_and_closed_upon_is_not_sent_there_again(asa: grasp.ASA, links: Links) -> None:
    sent: list[bytes] = []

    class Closing(Wire):
        def send(self, data: bytes) -> None:
            sent.append(data)

        def receive(self, seconds: float) -> bytes:
            return b""

    links.wire = Closing()
    answering = links.multicast

    def multicast(interface: int, data: bytes) -> bool:
        done = answering(interface, data)
        discovery = links.multicasts[-1]
        response = [2, discovery.session_id, HERE.packed, 60_000, [103, bytes(15) + b"\x09", 6, 7]]  # type: ignore[union-attr]
        links.receiver.connected(Wire(pack(response)))
        return done

    links.multicast = multicast  # type: ignore[method-assign]
    with pytest.raises(grasp.PeerError) as caught:
        asa.negotiate(Objective.negotiation("N", 2), timeout=1_500)
    assert caught.value.code is ErrorCode.noPeer
    assert len(sent) == 1


def test_what_is_published_is_what_it_was_then(asa: grasp.ASA, links: Links) -> None:
    value = ([1], bytearray(b"x"))
    asa.publish(Objective.synchronization("S", value))
    value[0].append(2)
    value[1].extend(b"y")
    wire = Wire(pack([4, 5, ["S", 5, 6, None]]))
    links.receiver.connected(wire)
    (answer,) = wire.sent
    assert answer.objective.value == [[1], b"x"]  # type: ignore[union-attr]


def test_a_value_can_be_made_when_it_is_asked_for(asa: grasp.ASA, links: Links) -> None:
    values: list[Any] = [1, object(), 3]
    asa.on_synchronize("S", lambda: values.pop(0))
    sent = []
    for session in 5, 6, 7:
        wire = Wire(pack([4, session, ["S", 5, 6, None]]))
        links.receiver.connected(wire)
        sent.append([each.objective.value for each in wire.sent])  # type: ignore[union-attr]
    assert sent == [[1], [], [3]], "what has no form in CBOR is not answered, and the next is"
    asa.unpublish("S")
    wire = Wire(pack([4, 8, ["S", 5, 6, None]]))
    links.receiver.connected(wire)
    assert wire.sent == []


def test_a_flood_handler_is_replaced_and_removed(asa: grasp.ASA, links: Links) -> None:
    heard: list[str] = []
    for name in ("first", "second"):
        asa.on_flood("S", lambda _, name=name: heard.append(name))  # type: ignore[misc]
    asa.flood(Objective.synchronization("S", 1))
    for _ in range(100):
        if heard:
            break
        asa.wait_flood("absent", 20)
    asa.ignore_floods("S")
    asa.flood(Objective.synchronization("S", 2))
    asa.wait_flood("absent", 50)
    assert heard == ["second"]


@pytest.mark.parametrize(
    "wrong", [{"address": "2001:db8::1"}, {"interfaces": [5]}, {"interfaces": "eth0"}, {"limits": {}}]
)
def test_a_node_that_cannot_be_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalError) as caught:
        grasp.Node(**wrong)
    assert caught.value.code is ErrorCode.badArgument


def test_flood_handlers_that_exit_do_not_wear_out_the_node(asa: grasp.ASA) -> None:
    heard: list[Any] = []

    def exiting(tagged: grasp.TaggedObjective) -> None:
        heard.append(tagged.objective.value)
        raise SystemExit(1)

    asa.on_flood("S", exiting)
    for number in range(20):
        asa.flood(Objective.synchronization("S", number))
        for _ in range(100):
            if len(heard) > number:
                break
            asa.wait_flood("absent", 20)
    assert heard == list(range(20))


def test_who_asks_over_ipv6_is_not_sent_to_ipv4(links: Links) -> None:
    """A node with a routed IPv4 address only is reached at its link-local one by a neighbour without IPv4."""
    links.address = IPv4Address("192.0.2.2")  # type: ignore[assignment]
    links.interfaces = (Interface("eth0", 1, IPv6Address("fe80::1"), (), (IPv4Address("192.0.2.2"),)),)  # type: ignore[assignment]
    with grasp.Node(substrate=links) as node, node.register_asa("tester") as asa:
        asa.register(Objective("D"), discoverable=True)
        links.receiver.multicast_received(pack([1, 2, HERE.packed, ["D", 1, 6]]), NEIGHBOUR)
        (reply,) = links.replies
        assert [str(each) for each in reply.locators] == ["[fe80::1]:7"]  # type: ignore[union-attr]
