"""docs/grasp-conformance.md: whole, and true of the sources it names; and what no other test shows of it."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, ClassVar

import pytest

from grasp.calls import FloodItem, Peer, Registration
from grasp.constants import F_DISC, F_NEG, F_SYNCH
from grasp.core import Core, core
from grasp.discovery import Source
from grasp.dull import Dull
from grasp.errors import ErrorCode, GraspError, LocalError, PeerError
from grasp.transport import Connection, Receiver
from grasp.transport.interfaces import Interface
from grasp.wire import (
    Discovery,
    Flood,
    FQDNLocator,
    Invalid,
    IPv6Locator,
    Message,
    Objective,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    URILocator,
    decode_message,
)
from tests.wire.by_hand import pack

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "grasp-conformance.md"

NOT_OURS, NOT_MET = "not ours: ", "not met: "
NO_TEST = "—"
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "RECOMMENDED", "NOT RECOMMENDED"}
QUOTED = re.compile(r"`([^`]*)`")
CODE = re.compile(r"(grasp/[\w/]+\.py)(?: ([\w.]+))?")
TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")


# -- the page


@dataclass(frozen=True)
class Row:
    section: str
    id: str
    level: str
    requirement: str
    where: str
    test: str


def rows(text: str) -> Iterator[Row]:
    """Every row of every table; a line that is cut or has a cell too many is an error."""
    section = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:].split()[0]
        elif line.startswith("|") and not line.startswith(("| ID |", "| --- |")):
            before, *cells, behind = line.split("|")
            assert (before, behind, len(cells)) == ("", "", 5), f"not a row of five cells: {line}"
            yield Row(section, *(cell.strip() for cell in cells))


@cache
def names(path: Path) -> frozenset[str]:
    """The functions, classes, methods and variables a file defines, methods as ``Class.method``."""
    found = set()

    def note(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    note(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    note(ast.parse(path.read_text()).body, "")
    return frozenset(found)


def faults(text: str) -> list[str]:
    """What is wrong with the page, a line each."""
    found: list[str] = []
    seen: set[str] = set()
    for row in rows(text):
        if row.id in seen:
            found.append(f"{row.id}: a second time")
        seen.add(row.id)
        if not re.fullmatch(rf"G{re.escape(row.section)}[a-z]", row.id):
            found.append(f"{row.id}: not an ID of section {row.section}")
        if row.level not in LEVELS:
            found.append(f"{row.id}: no level {row.level}")
        found += [f"{row.id}: {each}" for each in (*_faults_of_where(row), *_faults_of_test(row))]
    return found


def _faults_of_where(row: Row) -> Iterator[str]:
    if "TBD" in row.where:
        yield "where is to be done"
    named = 0
    for quoted in QUOTED.findall(row.where):
        if "/" not in quoted:
            continue
        match = CODE.fullmatch(quoted)
        if match is None or not (ROOT / match[1]).is_file():
            yield f"no such file: {quoted}"
        elif match[2] and match[2] not in names(ROOT / match[1]):
            yield f"no such name: {quoted}"
        named += 1
    if not named and not row.where.startswith((NOT_OURS, NOT_MET)):
        yield "names no code"


def _faults_of_test(row: Row) -> Iterator[str]:
    if "TBD" in row.test:
        yield "test is to be done"
    elif row.test == NO_TEST:
        if not row.where.startswith((NOT_OURS, NOT_MET)):
            yield "is met, but no test shows it"
    else:
        if row.where.startswith(NOT_OURS):
            yield "is not ours, but has a test"
        for each in row.test.split(", "):
            match = TEST.fullmatch(each.strip("`"))
            if match is None or not (ROOT / match[1]).is_file():
                yield f"no such test file: {each}"
            elif match[2] not in names(ROOT / match[1]):
                yield f"no such test: {each}"


def test_every_row_is_done_and_what_it_names_exists() -> None:
    text = PAGE.read_text()
    assert len(list(rows(text))) > 150
    assert faults(text) == []


GOOD = "| G2.7a | MUST | x | `grasp/session.py SessionIds.new` (y) | `tests/test_conformance.py::test_a_good_row` |"
FAULTY = {
    "nothing done": ("| G2.7a | MUST | x | TBD | TBD |", ["is to be done", "names no code", "is to be done"]),
    "no such file": (GOOD.replace("session.py", "sessions.py"), ["no such file"]),
    "no such method": (GOOD.replace("Ids.new", "Ids.old"), ["no such name"]),
    "no such test file": (GOOD.replace("test_conformance", "test_conformity"), ["no such test file"]),
    "no such test": (GOOD.replace("_good_row", "_bad_row"), ["no such test"]),
    "one of two tests": (GOOD.replace("::test_a_good_row`", "::test_a_good_row`, `tests/x.py::test_y`"), ["no such"]),
    "words for a test": (GOOD.replace("`tests/test_conformance.py::test_a_good_row`", "all"), ["no such test file"]),
    "no test": (GOOD.replace("`tests/test_conformance.py::test_a_good_row`", "—"), ["no test shows it"]),
    "no code": (GOOD.replace("`grasp/session.py SessionIds.new`", "somewhere"), ["names no code"]),
    "not ours, tested": (GOOD.replace("`grasp/session.py SessionIds.new`", "not ours: ASAs"), ["but has a test"]),
    "twice": (f"{GOOD}\n{GOOD}", ["a second time"]),
    "another section": (GOOD.replace("G2.7a", "G2.8a"), ["not an ID of section 2.7"]),
    "no level": (GOOD.replace("MUST", "MAY"), ["no level"]),
}


def test_a_good_row() -> None:
    assert faults(f"## 2.7 Session identifier\n\n{GOOD}\n") == []


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_row_is_found(name: str) -> None:
    text, expected = FAULTY[name]
    found = faults(f"## 2.7 Session identifier\n\n{text}\n")
    assert len(found) == len(expected)
    assert all(part in fault for part, fault in zip(expected, found, strict=True))


@pytest.mark.parametrize("line", ["| G2.7a | MUST | x | y |", GOOD + " z |", GOOD[:-2]])
def test_a_broken_row_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        faults(f"## 2.7 Session identifier\n\n{line}\n")


# -- what no other test shows: a core on a substrate without sockets

HERE, THERE = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
NEIGHBOUR = Source(IPv6Address("fe80::9"), 40_000, 1)
PEER = Peer(IPv6Locator(THERE, 6, 7))
NEG = F_DISC | F_NEG


class Wire:
    """A connection to a peer that sends ``incoming`` and then nothing more."""

    newcomer = True
    peer = THERE
    peer_name = str(THERE)
    peer_port = 7
    interface = 0
    member = None
    reusable = False

    def __init__(self, *incoming: bytes) -> None:
        self._incoming = list(incoming)
        self._sent: list[bytes] = []
        self.patience: list[float] = []
        """Seconds of every wait for the peer."""
        self.closed = False

    @property
    def sent(self) -> list[Message]:
        return [decode_message(data) for data in self._sent]

    def send(self, data: bytes) -> None:
        self._sent.append(data)

    def receive(self, seconds: float) -> bytes:
        self.patience.append(seconds)
        if not self._incoming:
            raise TimeoutError
        return self._incoming.pop(0)

    def close(self) -> None:
        self.closed = True

    def release(self) -> bool:
        self.close()
        return False


class Links:
    """Two links, on which everything sent is kept; whoever is connected to is ``wire``."""

    secured = False
    neighbours = ()
    discarded: ClassVar[dict[str, int]] = {}
    port = 7
    interfaces = tuple(Interface(f"eth{n}", n, IPv6Address(f"fe80::{n}"), (), ()) for n in (1, 2))
    address = HERE

    def __init__(self) -> None:
        self.multicasts: list[Message] = []
        self.replies: list[Message] = []
        self.wire = Wire()

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def stop(self) -> None:
        pass

    def is_own(self, address: IPv6Address) -> bool:
        return address == HERE

    def multicast(self, interface: int, data: bytes) -> bool:
        self.multicasts.append(decode_message(data))
        return True

    def reply(self, target: Source, data: bytes) -> None:
        self.replies.append(decode_message(data))

    def connect(self, address: IPv6Address, port: int, interface: int, seconds: float, member: str = "") -> Connection:
        return self.wire


@pytest.fixture
def links() -> Links:
    return Links()


@pytest.fixture
def node(links: Links) -> Iterator[Core]:
    made = Core(links, jitter=lambda: 0.0)
    made.start()
    yield made
    made.stop()


def asa(node: Core, *objectives: Objective) -> int:
    handle = node.register_asa("tester")
    for each in objectives:
        node.register_objective(handle, Registration(each))
    return handle


FLOOD = pack([9, 1, THERE.packed, 0, [["EX1", 5, 6, 1], []]])
DISCOVERY = pack([1, 2, THERE.packed, ["EX1", 1, 6]])


@pytest.mark.parametrize("required", [True, False])
def test_without_the_security_it_needs_a_node_neither_sends_nor_takes_in_a_multicast(required: bool) -> None:
    """§2.5.6.2; where security is not required, the links are taken to be secured below IP."""
    links = Links()
    node = Core(links, require_security=required)
    node.start()
    node.multicast_received(FLOOD, NEIGHBOUR)
    node.multicast_received(DISCOVERY, NEIGHBOUR)
    assert (node.statistics().floods, len(links.multicasts)) == ((0, 0) if required else (1, 2))
    wire = Wire(DISCOVERY)
    node.connected(wire)
    assert bool(wire.patience) is not required
    if required:
        with pytest.raises(LocalError) as caught:
            asa(node)
        assert caught.value.code is ErrorCode.noSecurity
        with pytest.raises(LocalError):
            node.flood(0, 0, [FloodItem(Objective.synchronization("EX1", 1))])
        assert links.multicasts == []
    node.stop()


def test_two_instances_share_no_data() -> None:
    """§2.5.1: an instance for operations across a boundary has its own copy of everything."""
    one, other = Core(Links()), Core(Links())
    for each in one, other:
        each.start()
    before = other.statistics()
    handle = asa(one, Objective.negotiation("EX2"))
    one.multicast_received(FLOOD, NEIGHBOUR)
    one.multicast_received(DISCOVERY, NEIGHBOUR)
    answer = Wire(pack([2, 2, THERE.packed, 60_000, [103, THERE.packed, 6, 7]]))
    answer.interface = 2
    one.connected(answer)
    assert (one.statistics().floods, one.statistics().objectives_located) == (1, 1)
    assert other.statistics() == before
    # Names, objectives and what was seen already are free at the other.
    assert asa(other, Objective.negotiation("EX2"))
    other.multicast_received(FLOOD, NEIGHBOUR)
    assert other.statistics().floods == 1
    one.deregister_asa(handle, "tester")
    for each in one, other:
        each.stop()


def test_session_ids_come_from_the_cryptographic_generator_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """§2.7: nothing but ``secrets`` goes into them, every bit of it, and nothing of it twice."""
    asked: list[int] = []

    def token_bytes(length: int) -> bytes:
        asked.append(length)
        return b"".join(((len(asked) << 16) + n).to_bytes(4, "little") for n in range(length // 4))

    monkeypatch.setattr(core.secrets, "token_bytes", token_bytes)
    ids = core.RandomIds()
    drawn = [ids.draw() for _ in range(600)]
    assert len(set(drawn)) == 600
    assert {each >> 16 for each in drawn} == {1, 2, 3}
    assert len(asked) == 3
    monkeypatch.setattr(core.secrets, "token_bytes", lambda length: b"\xff" * length)
    assert core.RandomIds().draw() == 2**32 - 1


@pytest.mark.parametrize("item", [[77, 1, 2], [10], [98, 1, THERE.packed, ["EX1", 1, 6]], [-1, 1]])
def test_an_unknown_message_by_multicast_has_no_effect(node: Core, links: Links, item: list[Any]) -> None:
    node.multicast_received(pack(item), NEIGHBOUR)
    assert links.multicasts == links.replies == []
    assert node.statistics().discarded == {"multicast: unknown message": 1}


@pytest.mark.parametrize("item", [[77, 4711, 2], [3, 4711], [7, 4711, -1], [5, 4711, ["EX1", NEG, 6, 1]]])
def test_an_invalid_message_is_answered_with_its_session_id_and_what_is_wrong(node: Core, item: list[Any]) -> None:
    """§2.8.12."""
    wire = Wire(pack(item))
    node.connected(wire)
    (answer,) = wire.sent
    kind, session_id, content = answer.to_item()
    assert (kind, session_id) == (99, 4711)
    assert type(content) is str
    assert 0 < len(content) <= 200
    assert wire.closed


@pytest.mark.parametrize("item", [[77], [77, "x"], [77, 2**32], [], 5])
def test_an_unknown_message_without_a_session_id_is_dropped(node: Core, item: Any) -> None:
    wire = Wire(pack(item))
    node.connected(wire)
    assert wire.sent == []
    assert wire.closed


@pytest.mark.parametrize("item", [[99, 1], [99, 1, "what?"], [99, 1, 2, 3], [99, -1], [99]])
def test_an_invalid_message_is_never_answered_where_no_session_is(node: Core, item: list[Any]) -> None:
    """§2.8.12."""
    wire = Wire(pack(item))
    node.connected(wire)
    assert wire.sent == []


@pytest.mark.parametrize(("timeout", "seconds"), [(0, 60.0), (90_000, 90.0)])
def test_a_request_is_sent_whole_and_starts_a_timer(node: Core, links: Links, timeout: int, seconds: float) -> None:
    """§2.8.6, §2.10.3: null where there is no value, the default loop count, GRASP_DEF_TIMEOUT."""
    negotiable, synchronizable = Objective("EX1", NEG), Objective.synchronization("EX2")
    handle = asa(node, negotiable, synchronizable)
    with pytest.raises(PeerError):
        node.request_negotiate(handle, negotiable, PEER, timeout)
    (request,) = links.wire.sent
    assert isinstance(request, RequestNegotiation)
    assert request.objective == Objective("EX1", NEG, 6, None)
    assert links.wire.patience == [pytest.approx(seconds, abs=1.0)]
    links.wire = Wire()
    with pytest.raises(PeerError):
        node.synchronize(handle, synchronizable, PEER, timeout)
    (question,) = links.wire.sent
    assert isinstance(question, RequestSynchronization)
    assert (question.objective.name, question.objective.loop_count, question.objective.value) == ("EX2", 6, None)
    assert links.wire.patience == [pytest.approx(seconds, abs=1.0)]


@pytest.mark.parametrize("value", [7, None])
def test_a_rapid_discovery_has_the_timer_and_the_loop_count_of_a_request(node: Core, links: Links, value: Any) -> None:
    """§2.8.4: nobody answers, so it ends with the timeout of the negotiation."""
    objective = Objective.negotiation("EX1", value, loop_count=3)
    with pytest.raises(GraspError) as caught:
        node.request_negotiate(asa(node, objective), objective, None, 20, True)
    assert caught.value.code is ErrorCode.noDiscReply
    rapid = links.multicasts[0]
    assert isinstance(rapid, Discovery)
    assert rapid.objective == objective


# -- DULL (§2.5.2), on one link of the same kind


@pytest.fixture
def dull(links: Links, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dull]:
    def substrate(interfaces: list[str], **_: Any) -> Links:
        links.interfaces = tuple(each for each in Links.interfaces if each.name in interfaces)
        return links

    monkeypatch.setattr("grasp.dull.PlainSubstrate", substrate)
    with Dull("eth1", ["EX1"]) as made:
        yield made


def test_dull_uses_the_interface_it_was_given_and_shares_nothing(dull: Dull, links: Links) -> None:
    secure = Core(Links())
    secure.start()
    handle = asa(secure)
    secure.multicast_received(FLOOD, NEIGHBOUR)
    assert dull.floods() == []
    dull.flood(Objective.synchronization("EX1", 2), 0)
    links.receiver.multicast_received(pack([9, 2, THERE.packed, 0, [["EX1", 5, 1, 3], []]]), NEIGHBOUR)
    assert [each.objective.value for each in dull.floods("EX1")] == [3]
    assert [each.objective.value for each in secure.get_flood(handle, None)] == [1]
    assert [each.name for each in links.interfaces] == ["eth1"]
    secure.stop()


def test_dull_sends_nothing_but_discoveries_and_floods_with_a_loop_count_of_1(dull: Dull, links: Links) -> None:
    dull.flood(Objective.synchronization("EX1", 2, loop_count=6), 0)
    dull.serve("EX1", 4711)
    assert dull.discover("EX1", timeout=20) == []
    flood, *discoveries = links.multicasts
    assert isinstance(flood, Flood)
    assert [entry.objective.loop_count for entry in flood.entries] == [1]
    assert discoveries
    assert all(isinstance(each, Discovery) and each.objective.loop_count == 1 for each in discoveries)
    assert (links.replies, links.wire.sent) == ([], [])


@pytest.mark.parametrize(
    ("name", "loop_count", "source", "welcome"),
    [
        ("EX1", 1, NEIGHBOUR, True),
        ("EX1", 0, NEIGHBOUR, False),
        ("EX1", 2, NEIGHBOUR, False),
        ("EX1", 255, NEIGHBOUR, False),
        ("EX2", 1, NEIGHBOUR, False),
        ("EX1", 1, Source(THERE, 40_000, 1), False),
    ],
)
def test_dull_discards_without_a_word_and_relays_nothing(
    dull: Dull, links: Links, name: str, loop_count: int, source: Source, welcome: bool
) -> None:
    dull.serve("EX1", 4711)
    links.receiver.multicast_received(pack([9, 1, THERE.packed, 0, [[name, 5, loop_count, 1], []]]), source)
    links.receiver.multicast_received(pack([1, 2, THERE.packed, [name, 1, loop_count]]), source)
    assert len(dull.floods()) == len(links.replies) == int(welcome)
    wire = Wire(pack([1, 3, THERE.packed, [name, 1, loop_count]]), pack([3, 4, [name, NEG, loop_count, 1]]))
    wire.peer, wire.interface = source.address, source.interface
    links.receiver.connected(wire)
    assert wire.sent == []
    assert links.multicasts == []


class Talking(Wire):
    """A peer whose first answer to us is whatever ``answer`` makes of our message."""

    def __init__(self, answer: Callable[[Message], bytes]) -> None:
        super().__init__()
        self._answer = answer

    def receive(self, seconds: float) -> bytes:
        if not self.patience:
            self._incoming.append(self._answer(self.sent[0]))
        return super().receive(seconds)


@pytest.mark.parametrize("kind", [3, 4], ids=["M_REQ_NEG", "M_REQ_SYN"])
def test_a_request_with_a_session_id_active_here_is_discarded(node: Core, links: Links, kind: int) -> None:
    """§2.8.6: neither answered nor closed at once; it would be answered with any other ID."""
    tester = asa(node, Objective("EX1", NEG), Objective("EX2", F_DISC | F_SYNCH))
    node.serve_negotiate(tester, "EX1", lambda session, _: node.end_negotiate(tester, session, True, None))
    node.listen_synchronize(tester, Objective.synchronization("EX2", 1))
    outcome: list[tuple[list[Message], int]] = []

    def meanwhile(request: Message) -> bytes:
        assert isinstance(request, RequestNegotiation)
        for session_id in (request.session_id, request.session_id ^ 1):
            name, flags = ("EX1", NEG) if kind == 3 else ("EX2", F_DISC | F_SYNCH)
            wire = Wire(pack([kind, session_id, [name, flags, 6, 1]]))
            node.connected(wire)
            outcome.append((wire.sent, len(wire.patience)))
        return pack([6, request.session_id, [101]])

    links.wire = Talking(meanwhile)
    node.request_negotiate(tester, Objective("EX1", NEG, 6, 1), PEER, 5_000)
    (clashing, waited), (other, _) = outcome
    assert clashing == []
    assert waited == 2
    assert len(other) == 1


@pytest.mark.parametrize("off", [0, 1], ids=["malformed", "of another session"])
def test_within_a_session_m_invalid_has_the_id_of_the_message_it_answers(node: Core, links: Links, off: int) -> None:
    tester = asa(node, Objective("EX1", NEG))
    links.wire = Talking(lambda request: pack([5, request.session_id ^ off, ["EX1", NEG, 5, *([1] if off else [])]]))  # type: ignore[union-attr]
    with pytest.raises(PeerError):
        node.request_negotiate(tester, Objective("EX1", NEG, 6, 1), PEER, 5_000)
    request, complaint = links.wire.sent
    assert isinstance(complaint, Invalid)
    assert complaint.session_id == request.session_id ^ off  # type: ignore[union-attr]


@pytest.mark.parametrize("tail", [[], ["why"], [0, 0]])
def test_within_a_session_an_invalid_message_is_not_answered(node: Core, links: Links, tail: list[Any]) -> None:
    tester = asa(node, Objective("EX1", NEG))
    links.wire = Talking(lambda request: pack([99, request.session_id, *tail]))  # type: ignore[union-attr]
    with pytest.raises(PeerError):
        node.request_negotiate(tester, Objective("EX1", NEG, 6, 1), PEER, 5_000)
    assert len(links.wire.sent) == 1


def test_a_discovery_of_another_with_the_id_of_our_search_is_not_taken_for_ours(links: Links) -> None:
    """§2.7: the initiator tells them apart, so the other's is relayed."""
    node = Core(links, random_id=itertools.count(7).__next__, jitter=lambda: 0.0)
    node.start()
    tester = asa(node)
    send = links.multicast
    theirs: list[Message] = []

    def multicast(interface: int, data: bytes) -> bool:
        message = decode_message(data)
        if isinstance(message, Discovery) and message.initiator == HERE and not theirs:
            theirs.append(message)
            node.multicast_received(pack([1, message.session_id, THERE.packed, ["EX9", 1, 6]]), NEIGHBOUR)
        return send(interface, data)

    links.multicast = multicast  # type: ignore[method-assign]
    node.discover(tester, Objective("EX1"), 10, 0, 1)
    node.stop()
    relayed = [each for each in links.multicasts if isinstance(each, Discovery) and each.initiator == THERE]
    assert [each.objective.name for each in relayed] == ["EX9"]
    assert relayed[0].session_id == theirs[0].session_id  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("locator", "said"),
    [
        (FQDNLocator("router.example.com", 6, 7), True),
        (FQDNLocator("Router.LOCAL.", 6, 7), False),
        (URILocator("https://router.example.com:8443/x.local"), True),
        (URILocator("https://admin@router.local:8443/x"), False),
        (IPv6Locator(IPv6Address("fe80::7"), 6, 7), False),
        (IPv6Locator(THERE, 6, 7), True),
    ],
    ids=str,
)
def test_a_divert_holds_only_what_is_valid_everywhere(node: Core, links: Links, locator: Any, said: bool) -> None:
    """§2.9.5.1, §2.9.5.3, §2.9.5.4; what a relay learnt is passed on as a Divert."""
    node.multicast_received(pack([1, 5, THERE.packed, ["EX1", 1, 6]]), NEIGHBOUR)
    response = Wire(pack([2, 5, THERE.packed, 60_000, locator.to_item()]))
    response.interface = 2
    node.connected(response)
    found = [each.locators for each in links.replies if isinstance(each, Response) and each.diverted]
    assert found == ([(locator,)] if said else [])
