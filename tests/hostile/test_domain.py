"""Whoever is on a member's link without being one: nothing of theirs is accepted, and members are served."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from ipaddress import IPv6Address
from random import Random

import cbor2
import pytest
from cryptography import x509

from grasp.limits import Limits
from lab import Capture
from lab.capture import ETHERNET_HEADER
from tests.network.raw import F_DISC, M_DISCOVERY, M_FLOOD, M_REQ_SYN, M_RESPONSE, O_IPV6, SYN, Wire
from tests.network.steer import eventually
from tests.pki import Authority

from .fortress import (
    ATTACKER,
    FIRST_S,
    FOREIGN_FLOOD,
    NEIGHBOR,
    REQUEST,
    TARGET,
    Fortress,
    Service,
)
from .messages import BOMBS, MARK, spoilt
from .tlsends import LINK, SESSION, Tls, client_context, server_context
from .wires import GRASP_PORT, Stream, records, streams

pytestmark = pytest.mark.usefixtures("service")

HALF_OPEN = 1_000
ANNOUNCERS = 10_000
PER_ADDRESS = 50
FAR = bytes.fromhex("fd00") + bytes(13) + b"\x99"


def said(sock: socket.socket, data: bytes) -> bytes:
    """What the target answers before it ends the connection, which it has to."""
    heard = b""
    with sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        try:
            while more := sock.recv(65_536):
                heard += more
        except ConnectionError:
            pass
    return heard


def in_tls(data: bytes) -> bool:
    """Whether all of it are records of TLS, as far as it goes."""
    return all(each[0] in (20, 21, 22, 23) and each[1] == 3 for each in records(data))


# -- replayed and altered


@pytest.fixture(scope="module")
def recorded(stronghold: Fortress) -> list[Stream]:
    """Of a link and of a session what the client said, and then what the server said."""
    found = streams(stronghold.recording.frames)
    assert len(found) == 4
    return sorted(found, key=lambda each: not each.begun)


@pytest.mark.parametrize("which", [0, 1], ids=["one connection", "the other"])
def test_a_recorded_connection_is_worth_nothing(stronghold: Fortress, recorded: list[Stream], which: int) -> None:
    """Verbatim, and with a bit changed in each record, once in its head and once in its content."""
    rng = Random(which)
    data = recorded[which].data
    attempts = [data]
    at = 0
    for record in records(data):
        for spot in (rng.randrange(5), rng.randrange(5, len(record))):
            altered = bytearray(data)
            altered[at + spot] ^= 1 << rng.randrange(8)
            attempts.append(bytes(altered))
        at += len(record)
    before = stronghold.discarded("handshake")
    for attempt in attempts:
        for address in (TARGET, stronghold.link_local):
            assert in_tls(said(stronghold.tcp(address), attempt))
    assert eventually(lambda: stronghold.discarded("handshake") >= before + 2 * len(attempts))


def test_what_a_server_once_said_does_not_make_another_a_neighbour(
    stronghold: Fortress, recorded: list[Stream]
) -> None:
    """The target connects to whoever announces itself, and hears what was recorded."""
    heard: list[bytes] = []

    def serve(wire: Wire) -> None:
        hello = wire.socket.recv(65_536)
        heard.append(hello + said(wire.socket, recorded[2 + len(heard) % 2].data))

    with stronghold.listening(serve) as port:
        stronghold.raw.multicast(stronghold.announcement(port=port))
        # The target, and the honest node.
        assert eventually(lambda: len(heard) == 2)
    assert all(in_tls(each) for each in heard)


def test_recorded_multicasts_from_whom_they_came_and_from_elsewhere(stronghold: Fortress) -> None:
    rng = Random(3)
    heard = stronghold.recording.packets(GRASP_PORT)
    # Nothing was multicast but the announcements.
    assert {cbor2.loads(each.payload)[4][0][0] for each in heard} == {NEIGHBOR}
    links = stronghold.links(stronghold.target)
    for each in heard:
        stronghold.forger.multicast(each.source[0], each.payload, each.source[1])
        stronghold.raw.multicast(each.payload)
        for _ in range(50):
            stronghold.forger.multicast(each.source[0], spoilt(rng, each.payload)[:1_232], each.source[1])
    assert stronghold.links(stronghold.target) == links


# -- many, and slow


def hello() -> bytes:
    """A ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = client_context(None).wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def test_a_thousand_connections_that_say_nothing_and_a_thousand_that_stop_halfway(
    stronghold: Fortress, service: Service
) -> None:
    """From many addresses, so that no bound for one of them helps; and some that say a byte a second."""
    stronghold.attacker.ip(
        *(f"address add fd00::a:{n:x}/64 dev eth0 nodad" for n in range(2 * HALF_OPEN // PER_ADDRESS))
    )
    greeting = hello()
    with contextlib.ExitStack() as held:
        socks = []
        for n in range(2 * HALF_OPEN):
            sock = held.enter_context(stronghold.tcp(TARGET, f"fd00::a:{n // PER_ADDRESS:x}"))
            with contextlib.suppress(OSError):
                # It may have been ended already, to make room.
                sock.sendall(greeting[: n % len(greeting)] if n % 2 else b"")
            socks.append(sock)
        slow = [held.enter_context(stronghold.tcp(stronghold.link_local)) for _ in range(20)]
        ended = threading.Event()
        held.callback(ended.set)

        def drip() -> None:
            for byte in greeting:
                for sock in slow:
                    with contextlib.suppress(OSError):
                        sock.sendall(bytes([byte]))
                if ended.wait(1.0):
                    return

        threading.Thread(target=drip, daemon=True).start()
        rounds = service.rounds
        # By itself, and in the time a handshake may take.
        limit = FIRST_S + 15
        for sock in socks + slow:
            sock.settimeout(limit)
            with contextlib.suppress(ConnectionError):
                while sock.recv(4_096):
                    pass
        assert service.rounds > rounds


# -- what is no TLS, or not the one

HELLO_10 = bytes.fromhex("16030100310100002d0301") + bytes(32) + bytes.fromhex("000006c014c0130035010000")
NOTHING = b"\x16\x03\x03\x40\x00" + bytes(16_384)
NO_TLS = {
    "plain request": cbor2.dumps(REQUEST),
    "plain synchronization": cbor2.dumps([M_REQ_SYN, 9, ["syn", SYN, 6]]),
    "plain flood": cbor2.dumps(FOREIGN_FLOOD),
    "plain response": cbor2.dumps([M_RESPONSE, 1, FAR, 1_000, [O_IPV6, FAR, 6, 1]]),
    "http": b"GET / HTTP/1.1\r\nHost: " + MARK.encode() + b"\r\n\r\n",
    "zeros": bytes(100_000),
    "noise": Random(1).randbytes(100_000),
    "ssl 2": bytes.fromhex("802e0100020015000000100100800200800300800400800600400700c0") + bytes(19),
    "ssl 3": bytes.fromhex("160300002d010000290300") + bytes(32) + bytes.fromhex("0000020035000100"),
    "tls 1.0": HELLO_10,
    "longest record": b"\x16\x03\x01\xff\xff" + bytes(65_535),
    "record cut off": b"\x16\x03\x01\x40\x00" + b"\x01\x00\x3f\xfc\x03\x03" + bytes(100),
    "hello of 16 MiB": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380) + NOTHING * 9,
    "empty records": b"\x16\x03\x01\x00\x00" * 5_000,
    "alerts": b"\x15\x03\x01\x00\x02\x01\x00" * 5_000,
    "fatal alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "change cipher": b"\x14\x03\x03\x00\x01\x01" * 5_000,
    "application data": b"\x17\x03\x03\x00\x10" + bytes(16),
    "heartbeat": b"\x18\x03\x03\x00\x03\x01\x40\x00",
    "hello in small records": b"".join(b"\x16\x03\x01\x00\x01" + bytes([each]) for each in HELLO_10[5:]),
    "dtls": bytes.fromhex("16fefd0000000000000000003101000025000000000000002d") + bytes(36),
    **{f"bomb {n}": each for n, each in enumerate(BOMBS)},
}  # fmt: skip


def test_what_is_no_tls_is_answered_by_an_alert_at_most(stronghold: Fortress) -> None:
    before = stronghold.discarded("handshake")
    for what, data in NO_TLS.items():
        for address in (TARGET, stronghold.link_local):
            answer = said(stronghold.tcp(address), data)
            assert answer == b"" or (answer[0] == 21 and len(answer) == 7), what
    assert eventually(lambda: stronghold.discarded("handshake") >= before + 2 * len(NO_TLS))


# -- who has no certificate, or another


def strangers(stronghold: Fortress) -> dict[str, object]:
    """Directories of identities that are worth nothing here; None: none at all."""
    make, ca = stronghold.identity, stronghold.ca
    absurd = [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.3.6.1.4.1.99999.{n}"), bytes(1_000)), n == 0)
        for n in range(30)
    ]
    below = ca
    for n in range(60):
        below = Authority(ca.domain, f"below-{n}", issuer=below)
    return {
        "nobody": None,
        "another ca": make("honest", stronghold.foreign),
        "another domain": make("elsewhere", ca, acp_name="fd89b714f3db00000000000000000001@other.example.com"),
        "no name": make("nameless", ca, acp_name=()),
        "two names": make("double", ca, acp_name=("fd0000000000000000000000000000a1@acp.example.com", "a@b")),
        "hostile name": make(MARK + "\n\u202e", stronghold.foreign, acp_name=MARK.encode() + b"\0\n@acp.example.com"),
        "odd name": make("odd", ca, acp_name=b"\0\n\xff@acp.example.com"),
        "over": make("over", ca, not_after=time.time() - 60),
        "absurd": make("absurd", ca, extensions=absurd),
        "deep": make("deep", below),
    }


def test_who_is_no_member_gets_neither_a_session_nor_a_link(stronghold: Fortress) -> None:
    for who, identity in strangers(stronghold).items():
        for protocol, message in ((SESSION, REQUEST), (LINK, stronghold.announcement())):
            try:
                with stronghold.tls(identity, protocol) as wire:
                    wire.send(message)
                    assert wire.receive() is None, who
            except OSError:
                # Refused so early that not even the client's part was done.
                pass


def test_who_is_no_member_is_not_connected_to(stronghold: Fortress) -> None:
    """It announces itself, and answers as a server with the certificate of another CA: it hears an alert."""
    context = server_context(stronghold.identity("honest", stronghold.foreign), LINK, SESSION)
    heard: list[object] = []

    def serve(wire: Wire) -> None:
        try:
            heard.append(Tls(context.wrap_socket(wire.socket, server_side=True)).socket.recv(100))
        except OSError as error:
            heard.append(type(error))

    before = stronghold.discarded("link: not a member")
    with stronghold.listening(serve) as port:
        stronghold.raw.multicast(stronghold.announcement(port=port))
        place = [[ATTACKER, 6, port], 0]
        assert stronghold.target.code_of("negotiate", "neg", 1, peer=place, timeout=5_000) == "notMember"
        assert eventually(lambda: stronghold.discarded("link: not a member") > before and len(heard) >= 2)
    assert set(heard) <= {ssl.SSLError, ssl.SSLEOFError, ConnectionResetError}


# -- by multicast


def test_plain_grasp_is_neither_heeded_nor_answered(stronghold: Fortress) -> None:
    raw = stronghold.raw
    own, connected = raw.packed, []
    honest = IPv6Address(stronghold.honest.host.link_local("eth0")).packed
    with stronghold.listening(connected.append) as port:
        where = [O_IPV6, own, 6, port]
        messages = [
            [M_DISCOVERY, 1, own, ["neg", F_DISC, 6]],
            [M_DISCOVERY, 2, own, [NEIGHBOR, F_DISC, 1]],
            FIRST_S,
            FOREIGN_FLOOD,
            [M_FLOOD, 3, own, 60_000, [["told", SYN, 6, MARK], []]],
            [M_FLOOD, 4, own, 60_000, [["told", SYN, 1, MARK], [O_IPV6, own, 6, port]]],
            [M_FLOOD, 5, own, 60_000, [[NEIGHBOR, 4, 2, "TLS"], where]],
            [M_FLOOD, 6, own, 60_000, [[NEIGHBOR, 4, 1, "IKEv2"], where]],
            [M_FLOOD, 7, own, 60_000, [[NEIGHBOR, 4, 1, "TLS"], [O_IPV6, honest, 6, port]]],
            [M_FLOOD, 8, honest, 60_000, [[NEIGHBOR, 4, 1, "TLS"], [O_IPV6, honest, 6, port]]],
            [M_FLOOD, 9, own, 60_000, [[NEIGHBOR, 4, 1, "TLS"], [O_IPV6, FAR, 6, port]]],
            [M_FLOOD, 10, FAR, 60_000, [[NEIGHBOR, 4, 1, "TLS"], [O_IPV6, FAR, 6, port]]],
            [M_RESPONSE, 11, own, 60_000, where],
            REQUEST,
        ]
        before = stronghold.discarded("multicast")
        for each in messages:
            raw.multicast(each)
        raw.multicast(cbor2.dumps(messages[0]) + os.urandom(20))
        assert eventually(lambda: stronghold.discarded("multicast") >= before + len(messages) + 1)
        assert [raw.address, "plain"] in [each[1:] for each in stronghold.target.neighbours()]
        # Whoever had wanted to connect would have done so before it connects to what is announced as it should.
        raw.multicast(stronghold.announcement(port=raw.port))
        with raw.accept():
            pass
    assert connected == []


def test_ten_thousand_announcers(stronghold: Fortress) -> None:
    """What is known of them and done about them is bounded, and who has a link keeps it."""
    before = stronghold.target.rss_kib()
    with Capture(stronghold.attacker, "eth0") as capture:
        for n in range(ANNOUNCERS):
            own = IPv6Address(f"fe80::bad:{n >> 16:x}:{n & 0xFFFF:x}").packed
            flood = stronghold.announcement(n, 7017, own, ttl=2_200)
            stronghold.forger.multicast(IPv6Address(own), cbor2.dumps(flood))
        assert eventually(lambda: failing(stronghold))
        # None is tried again before its time is over.
        assert eventually(lambda: not failing(stronghold))
    sought = {
        str(IPv6Address(frame.data[ETHERNET_HEADER + 48 : ETHERNET_HEADER + 64]))
        for frame in capture.frames
        if solicits(frame.data)
    }
    # By both members.
    assert 0 < sum(each.startswith("fe80::bad:") for each in sought) <= 2 * Limits().neighbours
    assert stronghold.target.rss_kib() < before + 8 * 1024


def failing(stronghold: Fortress) -> int:
    """Places where the target has tried in vain to make a link."""
    return sum(state == "failing" for _, _, state in stronghold.target.neighbours())


def solicits(frame: bytes) -> bool:
    """Whether it asks who has an address."""
    packet = frame[ETHERNET_HEADER:]
    return frame[12:14] == struct.pack("!H", 0x86DD) and packet[6] == socket.IPPROTO_ICMPV6 and packet[40] == 135
