"""Two nodes on a link, and a raw neighbour that watches or meddles."""

from __future__ import annotations

import secrets
import signal
import time
from typing import NamedTuple

import cbor2
import pytest

from lab import Host

from .raw import (
    F_DRY,
    M_DISCOVERY,
    M_END,
    M_FLOOD,
    M_INVALID,
    M_NEGOTIATE,
    M_REQ_NEG,
    M_REQ_SYN,
    M_RESPONSE,
    M_SYNCH,
    M_WAIT,
    NEG,
    O_ACCEPT,
    O_DECLINE,
    O_IPV6,
    SYN,
    Raw,
    about,
)
from .steer import Agent, Failed, eventually

A, B = "fd00::a", "fd00::b"


class Pair(NamedTuple):
    a: Agent
    b: Agent
    raw: Raw
    host: Host  #: the raw neighbour's

    @property
    def at_b(self) -> list[object]:
        """`peer` for a: b's routed locator."""
        return [[B, 6, self.b.port], 0]

    def idle(self) -> bool:
        """Whether no session is open at either."""
        return self.a.statistics()["sessions"] == self.b.statistics()["sessions"] == 0


@pytest.fixture(scope="module")
def pair(shared_lab, start_shared):
    a, b, c = map(shared_lab.host, "abc")
    shared_lab.lan(a, b, c)
    for host, address in ((a, A), (b, B), (c, "fd00::c")):
        host.address(f"{address}/64", "eth0")
    with Raw(c, "eth0") as raw:
        yield Pair(start_shared(a, ["eth0"]), start_shared(b, ["eth0"]), raw, c)


def sid() -> int:
    return secrets.randbits(32)


def refused_at_once(agent: Agent, *command, **kw) -> str:
    """The code a command ends with, which it must do long before its timeout of 10 s."""
    before = time.monotonic()
    code = agent.code_of(*command, **kw)
    assert time.monotonic() - before < 8
    return code


# -- discovery


def test_a_multicast_discovery_finds_the_responders_routed_locator(pair):
    pair.b.register("found", ttl=90_000)
    pair.b.serve("found", [["accept"]])
    (found,) = pair.a.discover("found")
    assert found["locator"] == [B, 6, pair.b.port]
    assert found["interface"] == "eth0"
    assert not found["diverted"]
    assert 60 < found["left"] <= 90


def test_a_discovery_is_on_the_wire_what_the_rfc_says(pair):
    pair.a.register("on the wire")
    future = pair.a.begin("discover", "on the wire", timeout=300)
    address, port, message = pair.raw.hear(M_DISCOVERY, about("on the wire"))
    assert future.result(10) == []
    assert address == pair.a.host.link_local("eth0")
    assert port == pair.a.port
    kind, session_id, initiator, objective = message
    assert (kind, initiator) == (M_DISCOVERY, bytes.fromhex("fd00" + 13 * "00" + "0a"))
    assert 0 <= session_id < 1 << 32
    assert objective[0] == "on the wire"
    assert objective[1] & 1
    assert objective[2] == 6
    assert len(objective) == 3


def test_repeated_discoveries_have_new_session_ids_and_growing_intervals(pair):
    before = time.monotonic()
    assert pair.a.discover("repeated", timeout=4_000) == []
    assert 3.9 < time.monotonic() - before < 12
    sent = [message for _, _, message in pair.raw.messages(M_DISCOVERY) if about("repeated")(message)]
    # 0.6, 1.2 and 2.4 s, each up to a quarter longer: three or four fit into 4 s.
    assert 3 <= len(sent) <= 4
    assert len({message[1] for message in sent}) == len(sent)


def test_a_unicast_discovery_is_answered_on_its_own_connection(pair):
    pair.b.register("asked alone", "synchronize")
    pair.b.publish("asked alone", 1)
    (found,) = pair.a.discover("asked alone", peer=pair.at_b)
    assert found["locator"] == [B, 6, pair.b.port]
    assert not pair.raw.messages(M_DISCOVERY, port=0)
    assert not [m for _, _, m in pair.raw.messages(M_DISCOVERY) if about("asked alone")(m)]
    number = sid()
    with pair.raw.connect(B, pair.b.port) as wire:
        wire.send([M_DISCOVERY, number, pair.raw.packed, ["asked alone", 1, 6]])
        kind, session_id, initiator, ttl, locator, *_ = wire.receive()
        assert [kind, session_id, initiator] == [M_RESPONSE, number, pair.raw.packed]
        assert ttl == 60_000
        assert locator == [O_IPV6, bytes.fromhex("fd00" + 13 * "00" + "0b"), 6, pair.b.port]
        assert wire.receive() is None


def test_a_response_comes_by_tcp_to_the_udp_source_port_and_the_connection_is_closed(pair):
    pair.b.register("to the port", "synchronize")
    pair.b.publish("to the port", 1)
    number = sid()
    pair.raw.multicast([M_DISCOVERY, number, pair.raw.packed, ["to the port", 5, 6]])
    with pair.raw.accept() as wire:
        assert wire.socket.getpeername()[0].partition("%")[0] == pair.b.host.link_local("eth0")
        kind, session_id, initiator, _, locator, *_ = wire.receive()
        assert [kind, session_id, initiator] == [M_RESPONSE, number, pair.raw.packed]
        assert locator[3] == pair.b.port
        assert wire.receive() is None


def test_nobody_answers_for_an_objective_that_is_registered_but_not_listened_for(pair):
    pair.b.register("silent")
    assert pair.a.discover("silent", timeout=300) == []
    pair.b.register("outspoken", discoverable=True)
    assert len(pair.a.discover("outspoken")) == 1


def test_discovery_stops_being_answered_when_listening_stops(pair):
    pair.b.register("stopping")
    pair.b.serve("stopping", [["accept"]])
    assert pair.a.discover("stopping")
    pair.b.stop_listening("stopping")
    assert pair.a.discover("stopping", timeout=300, minimum_ttl=0) == []


def test_a_response_nobody_asked_for_is_ignored(pair):
    pair.a.register("unasked")
    before = pair.a.statistics()["objectives_located"]
    with pair.raw.connect(A, pair.a.port) as wire:
        wire.send([M_RESPONSE, sid(), pair.raw.packed, 60_000, pair.raw.locator, ["unasked", 3, 6]])
    assert eventually(lambda: pair.a.statistics()["discarded"].get("unsolicited response"))
    assert pair.a.statistics()["objectives_located"] == before
    assert pair.a.discover("unasked", timeout=0) == []


@pytest.mark.parametrize("wrong", ["session ID", "initiator", "objective"])
def test_a_response_that_does_not_match_the_discovery_is_ignored(pair, wrong):
    name = f"mismatched {wrong}"
    future = pair.a.begin("discover", name, timeout=1_000)
    _, port, message = pair.raw.hear(M_DISCOVERY, about(name))
    session_id, initiator, objective = message[1:]
    if wrong == "session ID":
        session_id ^= 1
    elif wrong == "initiator":
        initiator = pair.raw.packed
    else:
        objective = ["other", 1, 6]
    with pair.raw.connect(pair.a.host.link_local("eth0"), port) as wire:
        wire.send([M_RESPONSE, session_id, initiator, 60_000, pair.raw.locator, objective])
    assert future.result(10) == []


# -- negotiation


def test_a_request_can_be_accepted_at_once(pair):
    pair.b.register("at once")
    pair.b.serve("at once", [["accept"]])
    pair.a.register("at once")
    outcome = pair.a.negotiate("at once", ["NZD", 47])
    assert outcome["agreed"]
    assert outcome["value"] == ["NZD", 47]


def test_a_negotiation_of_several_steps_ends_in_the_value_both_have(pair):
    pair.b.register("haggle")
    pair.b.serve("haggle", [["propose", 10], ["propose", 20], ["accept"]])
    pair.a.register("haggle")
    first = pair.a.negotiate("haggle", 100)
    assert (first["agreed"], first["value"], first["loop_count"]) == (False, 10, 5)
    second = pair.a.propose(first["session"], 60)
    assert (second["agreed"], second["value"], second["loop_count"]) == (False, 20, 3)
    third = pair.a.propose(first["session"], 30)
    assert (third["agreed"], third["value"]) == (True, 30)

    def told() -> list[object]:
        return [(each["offers"], each["ending"]) for each in pair.b.served() if each["name"] == "haggle"]

    assert eventually(lambda: told() == [([100, 60, 30], "accepted")])
    assert eventually(pair.idle)


def test_the_initiator_accepts_the_counter_offer(pair):
    pair.b.register("countered")
    pair.b.serve("countered", [["propose", 10], ["accept"]])
    pair.a.register("countered")
    offer = pair.a.negotiate("countered", 100)
    assert pair.a.accept(offer["session"]) == 10
    assert eventually(lambda: [e["ending"] for e in pair.b.served() if e["name"] == "countered"] == ["agreed"])


@pytest.mark.parametrize("reason", ["no more today — gar nichts", None])
def test_a_decline_arrives_with_its_reason(pair, reason):
    name = f"declined {reason}"
    pair.b.register(name)
    pair.b.serve(name, [["decline", reason]])
    pair.a.register(name)
    with pytest.raises(Failed) as failed:
        pair.a.negotiate(name, 1)
    assert (failed.value.code, failed.value.kind) == ("declined", "Declined")
    assert (reason or "") in str(failed.value)


def test_a_handler_that_returns_or_raises_declines(pair):
    pair.b.excused = True
    for ending in "return", "raise":
        pair.b.register(f"ends by {ending}")
        pair.b.serve(f"ends by {ending}", [[ending]])
        pair.a.register(f"ends by {ending}")
        assert refused_at_once(pair.a, "negotiate", f"ends by {ending}", 1) == "declined"
    assert pair.b.log().count("Traceback") == pair.b.log().count("ZeroDivisionError: the handler's own mistake") == 1


def test_a_wait_prolongs_the_initiators_patience(pair):
    pair.b.register("wait")
    pair.b.serve("wait", [["wait", 20_000], ["hold", "wait"], ["accept"]])
    pair.a.register("wait")
    assert eventually(lambda: pair.a.discover("wait"))
    future = pair.a.begin("negotiate", "wait", 1, timeout=1_500)
    with pytest.raises(TimeoutError):
        future.result(2.5)
    pair.b.open_gate("wait")
    assert future.result(10)["agreed"]


def test_a_wait_that_runs_out_ends_the_negotiation(pair):
    pair.b.register("short wait")
    pair.b.serve("short wait", [["wait", 3_000], ["hold", "short wait"], ["accept"]])
    pair.a.register("short wait")
    assert eventually(lambda: pair.a.discover("short wait"))
    before = time.monotonic()
    future = pair.a.begin("negotiate", "short wait", 1)
    with pytest.raises(TimeoutError):
        future.result(1.0)
    # Its own time is up together with the initiator's: it must not be the one that hangs up.
    pair.b.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Failed) as failed:
            future.result(20)
    finally:
        pair.b.process.send_signal(signal.SIGCONT)
    assert failed.value.code == "noNegReply"
    assert 0.3 <= time.monotonic() - before < 9
    pair.b.open_gate("short wait")


def test_the_initiator_may_ask_the_responder_to_wait(pair):
    pair.b.register("wait for me")
    pair.b.serve("wait for me", [["propose", 5], ["accept"]])
    pair.a.register("wait for me")
    offer = pair.a.negotiate("wait for me", 1)
    pair.a.wait(offer["session"], 5_000)
    assert pair.a.propose(offer["session"], 3)["agreed"]


def test_a_negotiation_nobody_answers_times_out(pair):
    pair.b.register("asleep")
    listening = pair.b.begin("listen", "asleep")
    pair.a.register("asleep")
    assert eventually(lambda: pair.a.discover("asleep"))
    before = time.monotonic()
    assert pair.a.code_of("negotiate", "asleep", 1, timeout=300) == "noNegReply"
    assert 0.3 <= time.monotonic() - before < 9
    late = listening.result(10)
    assert late["value"] == 1
    assert pair.b.code_of("propose", late["session"], 2, timeout=500) in {"noPeer", "sockErrNegStep"}
    assert eventually(pair.idle)


def test_a_dry_run_is_one_on_both_sides_and_on_the_wire(pair):
    pair.b.register("dry")
    pair.b.serve("dry", [["propose", 7], ["accept"]])
    pair.a.register("dry")
    offer = pair.a.negotiate("dry", 9, dry_run=True)
    assert offer["dry_run"]
    pair.a.accept(offer["session"])
    assert [each["dry_run"] for each in pair.b.served() if each["name"] == "dry"] == [True]
    with pair.raw.connect(B, pair.b.port) as wire:
        number = sid()
        wire.send([M_REQ_NEG, number, ["dry", NEG | F_DRY, 6, 9]])
        assert wire.receive() == [M_NEGOTIATE, number, ["dry", NEG | F_DRY, 5, 7]]
        wire.send([M_END, number, [O_ACCEPT]])
        assert wire.receive() is None


def test_a_session_is_on_the_wire_what_the_rfc_says(pair):
    pair.a.register("wire")
    peer = [[str(pair.raw.address), 6, pair.raw.port], "eth0"]
    future = pair.a.begin("negotiate", "wire", ["NZD", 47], peer=peer)
    with pair.raw.accept() as wire:
        kind, number, objective = wire.receive()
        assert (kind, objective) == (M_REQ_NEG, ["wire", NEG, 6, ["NZD", 47]])
        wire.send([M_WAIT, number, 5_000])
        wire.send([M_NEGOTIATE, number, ["wire", NEG, 5, ["NZD", 10]]])
        offer = future.result(10)
        assert offer["value"] == ["NZD", 10]
        step = pair.a.begin("propose", offer["session"], ["NZD", 20])
        assert wire.receive() == [M_NEGOTIATE, number, ["wire", NEG, 4, ["NZD", 20]]]
        wire.send([M_END, number, [O_DECLINE, "no"]])
        with pytest.raises(Failed, match=r"declined.*no"):
            step.result(10)
        assert wire.receive() is None


def test_the_loop_count_ends_a_negotiation_that_does_not_converge(pair):
    pair.b.register("endless")
    pair.b.serve("endless", [["propose", n] for n in range(10)])
    pair.a.register("endless")
    offer = pair.a.negotiate("endless", 0)
    codes = [pair.a.code_of("propose", offer["session"], 100 + step) for step in range(3)]
    assert codes[0] is None
    assert codes[1] is None
    assert codes[2] in {"loopExhausted", "noPeer"}
    assert eventually(pair.idle)


def test_an_invalid_ends_the_negotiation_at_both_ends(pair):
    pair.b.register("invalid")
    pair.b.serve("invalid", [["invalid"]])
    pair.a.register("invalid")
    assert refused_at_once(pair.a, "negotiate", "invalid", 1) == "noValidStep"
    assert eventually(pair.idle)


def test_a_value_that_cannot_be_encoded_leaves_the_session_usable(pair):
    pair.b.register("encodable")
    pair.b.serve("encodable", [["propose", 1], ["accept"]])
    pair.a.register("encodable")
    offer = pair.a.negotiate("encodable", 0)
    assert pair.a.code_of("propose", offer["session"], {"$object": 0}) == "badArgument"
    assert pair.a.propose(offer["session"], 2)["agreed"]


def test_requests_wait_for_a_listener_that_has_listened_before(pair):
    pair.b.register("queue")
    pair.a.register("queue")
    first = pair.b.begin("listen", "queue")
    assert eventually(lambda: pair.a.discover("queue", minimum_ttl=0, timeout=500))
    requests = [pair.a.begin("negotiate", "queue", n, peer=pair.at_b) for n in range(3)]
    told = [first.result(10), pair.b.listen("queue"), pair.b.listen("queue")]
    assert sorted(each["value"] for each in told) == [0, 1, 2]
    for each in told:
        pair.b.accept(each["session"])
    assert all(request.result(10)["agreed"] for request in requests)


# -- nobody listens


def test_a_request_nobody_listens_for_is_refused_at_once(pair):
    for name in "never registered", "not listened for":
        pair.a.register(name)
        assert refused_at_once(pair.a, "negotiate", name, 1, peer=pair.at_b) == "noPeer"
        pair.a.deregister(name)
    pair.b.register("not listened for")


def test_a_synchronization_nobody_publishes_is_refused_at_once(pair):
    assert refused_at_once(pair.a, "synchronize", "unpublished", peer=pair.at_b) == "noListener"


def test_a_port_where_nothing_listens_is_refused_at_once(pair):
    pair.a.register("closed port")
    nowhere = [[B, 6, 1], 0]
    assert refused_at_once(pair.a, "negotiate", "closed port", 1, peer=nowhere) == "sockErrNegRq"
    assert refused_at_once(pair.a, "synchronize", "closed port", peer=nowhere) == "sockErrSynRq"
    assert refused_at_once(pair.a, "discover", "closed port", peer=nowhere) is None


@pytest.mark.parametrize("kind", [M_REQ_NEG, M_REQ_SYN])
def test_the_connection_of_a_request_nobody_listens_for_is_closed_without_a_word(pair, kind):
    with pair.raw.connect(B, pair.b.port) as wire:
        wire.send([kind, sid(), ["nobody", NEG if kind == M_REQ_NEG else SYN, 6, None]])
        assert wire.closed_within(2) is not None


# -- synchronization


def test_synchronization_gets_the_published_value_and_its_changes(pair):
    pair.b.register("published", "synchronize")
    for value in {"$map": [["a", 1]]}, [1.5, None, True, {"$hex": "00ff"}]:
        pair.b.publish("published", value)
        assert pair.a.synchronize("published") == value
    pair.b.unpublish("published")
    assert refused_at_once(pair.a, "synchronize", "published", peer=pair.at_b) == "noListener"


def test_a_synchronization_is_on_the_wire_what_the_rfc_says(pair):
    pair.b.register("synch wire", "synchronize")
    pair.b.publish("synch wire", "now")
    with pair.raw.connect(B, pair.b.port) as wire:
        wire.send([M_REQ_SYN, 77, ["synch wire", SYN, 6]])
        kind, number, objective = wire.receive()
        assert (kind, number, objective[0], objective[3]) == (M_SYNCH, 77, "synch wire", "now")
        assert wire.receive() is None
    future = pair.a.begin("synchronize", "synch wire", peer=[[str(pair.raw.address), 6, pair.raw.port], "eth0"])
    with pair.raw.accept() as wire:
        kind, number, objective = wire.receive()
        assert (kind, objective) == (M_REQ_SYN, ["synch wire", SYN, 6, None])
        wire.send([M_SYNCH, number, ["synch wire", SYN, 6, 5]])
        assert future.result(10) == 5
        assert wire.receive() is None


@pytest.mark.parametrize("wrong", ["session ID", "name", "type"])
def test_a_synchronization_that_does_not_answer_the_request_is_refused(pair, wrong):
    future = pair.a.begin("synchronize", "mine", peer=[[str(pair.raw.address), 6, pair.raw.port], "eth0"])
    with pair.raw.accept() as wire:
        _, number, _ = wire.receive()
        wire.send(
            [
                M_NEGOTIATE if wrong == "type" else M_SYNCH,
                number ^ (wrong == "session ID"),
                ["yours" if wrong == "name" else "mine", SYN, 6, 1],
            ]
        )
        with pytest.raises(Failed, match="noValidSynch"):
            future.result(5)


# -- floods


def test_a_flood_reaches_the_cache_with_its_tag_and_ttl(pair):
    pair.a.register("flood", "synchronize")
    assert pair.a.flood([["flood", {"$map": [["bw", 1]]}, [A, 6, 4711]]], ttl=30_000) == 1
    (tagged,) = pair.b.wait_flood("flood")
    assert tagged["value"] == {"$map": [["bw", 1]]}
    assert tagged["locator"] == [A, 6, 4711]
    assert tagged["initiator"] == A
    assert 20 < tagged["left"] <= 30
    assert pair.b.synchronize("flood") == {"$map": [["bw", 1]]}


def test_a_flood_is_on_the_wire_what_the_rfc_says(pair):
    pair.a.register("flood wire", "synchronize")
    pair.a.register("flood wire 2", "synchronize")
    pair.a.flood([["flood wire", 1, None], ["flood wire 2", 2, [A, 17, 9]]], ttl=0)
    address, port, message = pair.raw.hear(M_FLOOD, about("flood wire"))
    assert (address, port) == (pair.a.host.link_local("eth0"), pair.a.port)
    packed = bytes.fromhex("fd00" + 13 * "00" + "0a")
    kind, _, initiator, ttl, *entries = message
    assert [kind, initiator, ttl] == [M_FLOOD, packed, 0]
    assert entries == [[["flood wire", SYN, 6, 1], []], [["flood wire 2", SYN, 6, 2], [O_IPV6, packed, 17, 9]]]
    assert [each["left"] for each in pair.b.wait_flood("flood wire")] == [None]


def test_a_later_flood_replaces_the_value_with_the_same_tag_only(pair):
    pair.a.register("tags", "synchronize")
    for value, locator in ((1, None), (2, [A, 6, 1]), (3, None)):
        pair.a.flood([["tags", value, locator]])
    assert eventually(lambda: {each["value"] for each in pair.b.floods("tags")} == {2, 3})
    assert len(pair.b.floods("tags")) == 2


def test_a_flood_is_forgotten_after_its_ttl(pair):
    pair.a.register("short", "synchronize")
    pair.a.flood([["short", 1, None]], ttl=1_500)
    assert pair.b.wait_flood("short")
    assert eventually(lambda: not pair.b.floods("short"))


def test_a_flood_handler_is_called_once_per_flood(pair):
    pair.b.on_flood("called")
    pair.a.register("called", "synchronize")
    for value in range(3):
        pair.a.flood([["called", value, None]])
    assert eventually(lambda: len(pair.b.flooded()) == 3)
    assert sorted(each["value"] for each in pair.b.flooded()) == [0, 1, 2]


def test_the_same_flood_heard_again_changes_nothing(pair):
    packed, number = pair.raw.packed, sid()
    pair.raw.multicast([M_FLOOD, number, packed, 0, [["again", SYN, 1, "first"], []]])
    assert pair.b.wait_flood("again")
    pair.raw.multicast([M_FLOOD, number, packed, 0, [["again", SYN, 1, "second"], []]])
    pair.raw.multicast([M_FLOOD, sid(), packed, 0, [["marker", SYN, 1, 0], []]])
    assert pair.b.wait_flood("marker")
    assert [each["value"] for each in pair.b.floods("again")] == ["first"]


def test_a_flood_with_a_link_local_initiator_and_a_loop_count_other_than_1_is_dropped(pair):
    for count in (0, 2, 6):
        pair.raw.multicast([M_FLOOD, sid(), pair.raw.packed, 0, [["off link", SYN, count, 0], []]])
    pair.raw.multicast([M_FLOOD, sid(), pair.raw.packed, 0, [["on link", SYN, 1, 0], []]])
    assert pair.b.wait_flood("on link")
    assert pair.b.floods("off link") == []


def test_a_flood_that_does_not_fit_one_multicast_is_refused(pair):
    pair.a.register("too long", "synchronize")
    assert pair.a.code_of("flood", [["too long", {"$hex": 1_300 * "00"}, None]]) == "tooLong"
    pair.a.flood([["too long", {"$hex": 1_150 * "00"}, None]])
    assert pair.b.wait_flood("too long")


# -- values and sizes


def test_a_raw_value_arrives_as_its_very_bytes(pair):
    odd = "9f1801fb3ff8000000000000d9d9f743616263ff"  # indefinite, not the shortest, a tag within
    pair.b.register("raw")
    pair.b.serve("raw", [["propose", {"$raw": odd}], ["accept"]])
    pair.a.register("raw")
    offer = pair.a.negotiate("raw", {"$raw": odd})
    assert offer["value"] == {"$raw": odd}
    pair.a.accept(offer["session"])
    assert eventually(lambda: [e["offers"][0] for e in pair.b.served() if e["name"] == "raw"] == [{"$raw": odd}])
    with pair.raw.connect(B, pair.b.port) as wire:
        number = sid()
        wire.send([M_REQ_NEG, number, ["raw", NEG, 6, cbor2.CBORTag(24, bytes.fromhex(odd))]])
        answer = wire.receive()[2][3]
        assert (answer.tag, answer.value.hex()) == (24, odd)


def test_a_tagged_value_is_handed_over_uninterpreted(pair):
    pair.b.register("tagged")
    pair.b.serve("tagged", [["accept"]])
    pair.a.register("tagged")
    assert pair.a.negotiate("tagged", {"$tag": [35, "(a+)+$"]})["agreed"]
    assert [e["value"] for e in pair.b.served() if e["name"] == "tagged"] == [{"$tag": [35, "(a+)+$"]}]


def test_an_objective_with_a_raised_size_carries_20000_bytes(pair):
    big = {"$hex": 20_000 * "5a"}
    pair.b.register("big", max_size=21_000)
    pair.b.serve("big", [["propose", big], ["accept"]])
    pair.a.register("big", max_size=21_000)
    offer = pair.a.negotiate("big", big)
    assert offer["value"] == big
    assert pair.a.propose(offer["session"], big)["agreed"]
    pair.b.register("big sync", "synchronize", max_size=21_000)
    pair.b.publish("big sync", big)
    pair.a.register("big sync", "synchronize", max_size=21_000)
    assert pair.a.synchronize("big sync") == big


def test_2049_bytes_are_refused_without_a_raised_size_and_2048_are_not(pair):
    pair.b.register("size")
    pair.b.serve("size", [["accept"]])
    pair.a.register("size")
    overhead = len(cbor2.dumps([M_REQ_NEG, 1 << 31, ["size", NEG, 6, bytes(2_000)]])) - 2_000

    def request(length: int) -> bytes:
        message = cbor2.dumps([M_REQ_NEG, sid() | 1 << 31, ["size", NEG, 6, bytes(length - overhead)]])
        assert len(message) == length
        return message

    def answer(length: int) -> object:
        with pair.raw.connect(B, pair.b.port) as wire:
            wire.send(request(length))
            return wire.receive()

    assert answer(2_048)[0] == M_END
    assert answer(2_049) is None or answer(2_049)[0] == M_INVALID
    with pytest.raises(Failed) as failed:
        pair.a.negotiate("size", {"$hex": "00" * 2_045}, peer=pair.at_b)
    assert failed.value.code == "tooLong"
    assert pair.a.statistics()["sessions"] == 0


def test_a_message_in_single_bytes_is_understood(pair):
    pair.b.register("bytewise")
    pair.b.serve("bytewise", [["accept"]])
    number = sid()
    with pair.raw.connect(B, pair.b.port) as wire:
        for byte in cbor2.dumps([M_REQ_NEG, number, ["bytewise", NEG, 6, 1]]):
            wire.socket.sendall(bytes([byte]))
        assert wire.receive() == [M_END, number, [O_ACCEPT]]


# -- session IDs


def test_a_request_with_a_session_id_of_our_own_is_discarded(pair):
    pair.a.register("clash")
    pair.a.register("victim")
    pair.a.serve("victim", [["accept"]])
    future = pair.a.begin("negotiate", "clash", 1, peer=[[str(pair.raw.address), 6, pair.raw.port], "eth0"])
    with pair.raw.accept() as wire, pair.raw.connect(A, pair.a.port) as intruder:
        _, number, _ = wire.receive()
        intruder.send([M_REQ_NEG, number, ["victim", NEG, 6, 1]])
        assert eventually(lambda: pair.a.statistics()["discarded"].get("session ID clash"))
        with pytest.raises(TimeoutError):
            intruder.receive(0.3)
        assert not [each for each in pair.a.served() if each["name"] == "victim"]
        wire.send([M_END, number, [O_ACCEPT]])
        assert future.result(10)["agreed"]


def test_equal_session_ids_of_two_initiators_do_not_mix(pair):
    pair.b.register("twins")
    pair.b.serve("twins", [["propose", "yours"], ["accept"]])
    number = sid()
    with (
        pair.raw.connect(B, pair.b.port) as first,
        pair.raw.connect(pair.b.host.link_local("eth0"), pair.b.port) as second,
    ):
        for wire, value in ((first, 1), (second, 2)):
            wire.send([M_REQ_NEG, number, ["twins", NEG, 6, value]])
        for wire in first, second:
            assert wire.receive() == [M_NEGOTIATE, number, ["twins", NEG, 5, "yours"]]
        for wire in first, second:
            wire.send([M_END, number, [O_ACCEPT]])
    assert eventually(lambda: [e["ending"] for e in pair.b.served() if e["name"] == "twins"] == ["agreed"] * 2)


# -- what a stranger says in discovery


@pytest.mark.parametrize(
    "odd",
    [
        [106, "https://example.com/", None, None],
        [105, "no.such.name.invalid", 6, 7],
        [105, "x" * 300, 6, 7],
        [105, "a\x00b", 6, 7],
        [105, "a..b", 6, 7],
        [103, bytes.fromhex("fd00" + 13 * "00" + "0b"), 17, 7],
        [103, bytes.fromhex("fd00" + 13 * "00" + "0b"), 6, 1],
        [103, bytes(15) + b"\1", 6, 0],
        [104, bytes(4), 6, 7],
    ],
    ids=[
        "URI",
        "unresolvable",
        "long label",
        "NUL in the name",
        "empty label",
        "UDP",
        "nobody listens",
        "port 0",
        "unspecified",
    ],
)
def test_a_locator_that_is_of_no_use_is_passed_over_for_the_next(pair, odd, request):
    name = f"odd locator {request.node.callspec.id}"
    pair.a.register(name)
    future = pair.a.begin("negotiate", name, 1, timeout=8_000)
    _, port, message = pair.raw.hear(M_DISCOVERY, about(name))
    good = [103, pair.raw.packed, 6, pair.raw.port]
    with pair.raw.connect(pair.a.host.link_local("eth0"), port) as wire:
        wire.send([M_RESPONSE, message[1], message[2], 60_000, odd, good])
    with pair.raw.accept(3) as wire:
        kind, number, _ = wire.receive()
        assert kind == M_REQ_NEG
        wire.send([M_END, number, [O_ACCEPT]])
        assert future.result(10)["agreed"]
