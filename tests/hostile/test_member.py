"""A member that misbehaves: it has a certificate, so it is listened to; its connections end, and others are served."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from random import Random

import cbor2
import pytest
from OpenSSL import SSL

from grasp.limits import Limits
from tests.network.raw import (
    KINDS_ABOUT_SESSIONS,
    M_END,
    M_FLOOD,
    M_NEGOTIATE,
    M_NOOP,
    M_REQ_NEG,
    M_REQ_SYN,
    M_SYNCH,
    NEG,
    O_ACCEPT,
    SYN,
)
from tests.network.steer import eventually

from .fortress import FIRST_S, REQUEST, TARGET, Fortress, Service
from .messages import BOMBS, MULTICAST, bytes_of, shared_reference_bomb
from .tlsends import LINK, SESSION, Tls

HEARD = {"noise", "queue", "neg"}  #: what the bad member may say and ask for: it is a member


@pytest.fixture
def bad(stronghold: Fortress) -> Path:
    return stronghold.identity("mallory")


@pytest.fixture(autouse=True)
def served(stronghold: Fortress) -> object:
    """Whatever it does, no session of the honest member fails."""
    with Service(stronghold) as it:
        yield it
        assert it.verdict(heard=HEARD) == []


def negotiated(wire: Tls, number: int) -> bool:
    wire.send([M_REQ_NEG, number, ["neg", NEG, 6, 5]])
    if wire.receive() != [M_NEGOTIATE, number, ["neg", NEG, 5, 1]]:
        return False
    wire.send([M_END, number, [O_ACCEPT]])
    return True


def test_it_is_a_member_as_long_as_it_behaves(stronghold: Fortress, bad: Path) -> None:
    """Or else the tests below would show nothing."""
    with stronghold.tls(bad) as wire, stronghold.link(bad) as link:
        assert negotiated(wire, 1)
        wire.send([M_REQ_SYN, 2, ["syn", SYN, 6]])
        assert wire.receive() == [M_SYNCH, 2, ["syn", SYN, 6, "well"]]
        link.send([M_FLOOD, 3, bytes(15) + b"\x09", 100, [["noise", SYN, 3, 1], []]])
        assert eventually(lambda: stronghold.target.calls().get("noise"))
        assert stronghold.links(stronghold.target) == ["honest", "mallory"]
    assert eventually(stronghold.linked)


def test_who_has_behaved_is_not_turned_out_for_who_says_nothing(stronghold: Fortress, bad: Path) -> None:
    """Its connection waits for the next session, while hundreds of strangers want room."""
    with contextlib.ExitStack() as held:
        wire = held.enter_context(stronghold.tls(bad))
        assert negotiated(wire, 1)
        before = stronghold.discarded("handshake")
        for n in range(2 * Limits().workers):
            address = (TARGET, stronghold.link_local)[n % 2]
            with contextlib.suppress(OSError):
                held.enter_context(stronghold.tcp(address))
        assert eventually(lambda: stronghold.discarded("handshake") > before)
        assert negotiated(wire, 2)


@pytest.mark.parametrize("protocol", [SESSION, LINK])
def test_what_is_no_grasp_ends_its_connection(stronghold: Fortress, bad: Path, protocol: str) -> None:
    rng = Random(protocol)
    kinds = KINDS_ABOUT_SESSIONS if protocol == SESSION else MULTICAST
    longest = cbor2.dumps([M_FLOOD, 1, bytes(16), 1_000, [["noise", SYN, 3, bytes(70_000)], []]])
    attempts = [*BOMBS, shared_reference_bomb(), longest, b"\xff", rng.randbytes(50_000)]
    attempts += [bytes_of(rng, kinds) + b"\xff" for _ in range(30)]
    # What it says does not become a reason of its own each time.
    attempts += [cbor2.dumps([M_FLOOD, (1 << 32) + n, bytes(16), 1, [["noise", SYN, 3, 1], []]]) for n in range(10)]
    reasons = len(stronghold.target.statistics()["discarded"])
    for attempt in attempts:
        with stronghold.tls(bad, protocol) if protocol == SESSION else stronghold.link(bad) as wire:
            with contextlib.suppress(OSError):
                wire.send(attempt)
                # What could be the beginning of something longer is so no more.
                wire.send(b"\xff" * 70_000)
            assert wire.ends(), attempt[:100]
    assert len(stronghold.target.statistics()["discarded"]) < reasons + 10
    assert eventually(stronghold.linked)


def test_floods_at_full_speed(stronghold: Fortress, bad: Path, served: Service) -> None:
    rounds, until = served.rounds, time.monotonic() + 0.3
    number = 0
    with stronghold.link(bad) as link:
        while time.monotonic() < until:
            number += 1
            own = number.to_bytes(16)
            link.send([M_FLOOD, number, own, 100, [["noise", SYN, 3, number % 1_000], []]])
        assert link.socket.fileno() >= 0
    assert number > 500
    assert served.rounds > rounds
    assert eventually(stronghold.linked)


def test_requests_without_an_end_and_nobody_to_read_the_answers(
    stronghold: Fortress, bad: Path, served: Service
) -> None:
    """On sessions it waits for nothing; on a link it lets what is flooded pile up."""
    before = stronghold.target.rss_kib()
    rounds, until = served.rounds, time.monotonic() + 1.0
    with contextlib.ExitStack() as held:
        held.enter_context(stronghold.link(bad))
        wires = [held.enter_context(stronghold.tls(bad)) for _ in range(8)]
        request = b"".join(cbor2.dumps([M_REQ_SYN, n, ["syn", SYN, 6]]) for n in range(500))
        for wire in wires:
            wire.socket.settimeout(0.1)
        while time.monotonic() < until:
            for wire in wires:
                with contextlib.suppress(OSError):
                    wire.socket.send(request)
        assert served.rounds > rounds
    assert stronghold.target.rss_kib() < before + 16 * 1024


def test_a_byte_a_second_and_nothing_at_all(stronghold: Fortress, bad: Path) -> None:
    """Once TLS stands there is as much time for the first request as for TLS, and no more."""
    request = cbor2.dumps(REQUEST)
    with contextlib.ExitStack() as held:
        silent = held.enter_context(stronghold.tls(bad, timeout=FIRST_S + 10))
        slow = held.enter_context(stronghold.tls(bad, timeout=1.0))
        began = time.monotonic()
        for byte in request:
            try:
                slow.send(bytes([byte]))
                if slow.receive() is None:
                    break
            except TimeoutError:
                pass
            except OSError:
                break
        assert time.monotonic() - began > FIRST_S - 1
        assert silent.ends()


def test_renegotiation_is_refused_and_costs_nothing(stronghold: Fortress, bad: Path) -> None:
    """TLS 1.2, where a client may ask for it as often as it likes."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate_chain_file(str(bad / "certificate.pem"))
    context.use_privatekey_file(str(bad / "key.pem"))
    before = stronghold.target.rss_kib()
    for _ in range(3):
        with stronghold.tcp(timeout=2.0) as sock:
            sock.setblocking(True)
            wire = SSL.Connection(context, sock)
            wire.set_connect_state()
            wire.do_handshake()
            asked = 0
            with contextlib.suppress(SSL.Error, OSError):
                while asked < 20_000:
                    wire.renegotiate()
                    asked += 1
                    with contextlib.suppress(SSL.WantReadError):
                        sock.setblocking(False)
                        wire.do_handshake()
            assert asked
    assert stronghold.target.rss_kib() < before + 8 * 1024


def test_noops_and_keep_alives_at_full_speed(stronghold: Fortress, bad: Path, served: Service) -> None:
    until = time.monotonic() + 0.1
    rounds = served.rounds
    data = cbor2.dumps([M_NOOP]) * 5_000
    with stronghold.link(bad) as link, stronghold.tls(bad) as wire:
        while time.monotonic() < until:
            for each in (link, wire):
                with contextlib.suppress(OSError):
                    each.send(data)
    assert served.rounds > rounds
    assert eventually(stronghold.linked)
