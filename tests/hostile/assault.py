"""An attack at random on a member of a domain: on its ports as anybody, and on what is behind them as a member."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address
from random import Random
from typing import TYPE_CHECKING

import cbor2
from OpenSSL import SSL

from tests.network.raw import KINDS_ABOUT_SESSIONS, M_RESPONSE, NEG, SYN, Wire

from .handshakes import converse, in_one_flight, shake, with_spoilt_certificate
from .messages import MARK, MULTICAST, bytes_of, spoilt
from .tlsends import LINK, SESSION, client_context, server_context
from .wires import streams

if TYPE_CHECKING:
    from .fortress import Fortress

ATTEMPT_S = 0.3  #: what an answer is waited for


def parts(fortress: Fortress) -> tuple[Callable[[Random], None], ...]:
    every = (_multicasts, _records, _handshakes, _certificates, _sessions, _links, _answers)
    return tuple(partial(each, fortress) for each in every)


def _multicasts(fortress: Fortress, rng: Random) -> None:
    """Announcements, true, forged and spoilt, and everything else; from the attacker and from who is not there."""
    while fortress.on:
        source = IPv6Address(f"fe80::bad:{rng.randrange(400):x}")
        if rng.random() < 0.5:
            own = rng.choice([fortress.raw.packed, source.packed])
            ttl = rng.choice([1, 500, 2_000])
            data = cbor2.dumps(fortress.announcement(rng.getrandbits(32), rng.choice([None, 7017]), own, ttl))
            data = spoilt(rng, data) if rng.random() < 0.5 else data
        else:
            data = bytes_of(rng, (*MULTICAST, M_RESPONSE))
        with contextlib.suppress(OSError):
            if rng.random() < 0.5:
                fortress.raw.multicast(data)
            else:
                fortress.forger.multicast(source, data[:1_232])
        fortress.sent["multicasts"] += 1
        if fortress.sent["multicasts"] % 20 == 0:
            time.sleep(0.02)


def _records(fortress: Fortress, rng: Random) -> None:
    """What members once said, spoilt; bytes at random; GRASP in clear."""
    recorded = [each.data for each in streams(fortress.recording.frames)]
    while fortress.on:
        how = rng.random()
        data = spoilt(rng, rng.choice(recorded)) if how < 0.6 else bytes_of(rng) if how < 0.8 else rng.randbytes(900)
        with contextlib.suppress(OSError), fortress.tcp(_address(fortress, rng), timeout=ATTEMPT_S) as sock:
            for at in range(0, len(data), step := rng.choice([1, 7, 100_000])):
                sock.sendall(data[at : at + step])
            sock.recv(65_536)
        fortress.sent["records"] += 1


def _handshakes(fortress: Fortress, rng: Random) -> None:
    """Those of members and of others, with one flight spoilt."""
    bad, foreign = fortress.identity("mallory"), fortress.identity("honest", fortress.foreign)
    while fortress.on:
        protocol = rng.choice([SESSION, LINK, ""])
        context = client_context(rng.choice([bad, bad, foreign, None]), protocol, newest=rng.random() < 0.6)
        address = _address(fortress, rng)
        with contextlib.suppress(OSError), fortress.tcp(address, timeout=ATTEMPT_S) as sock:
            shake(sock, context, False, in_one_flight(rng))
        fortress.sent["handshakes"] += 1


def _certificates(fortress: Fortress, rng: Random) -> None:
    identity = fortress.identity("mallory")
    while fortress.on:
        protocol = rng.choice([SESSION, LINK])
        client = with_spoilt_certificate(rng, identity, protocol.encode())
        if client is None:
            continue
        address = _address(fortress, rng)
        with contextlib.suppress(OSError, SSL.Error), fortress.tcp(address, timeout=ATTEMPT_S) as sock:
            converse(sock, client, bytes_of(rng))
        fortress.sent["certificates"] += 1


def _sessions(fortress: Fortress, rng: Random) -> None:
    """A member says what no member should."""
    identity = fortress.identity("mallory")
    while fortress.on:
        session = rng.getrandbits(32)
        with contextlib.suppress(OSError), fortress.tls(identity, timeout=ATTEMPT_S) as wire:
            for _ in range(rng.choice([1, 1, 3])):
                if rng.random() < 0.5:
                    name, kind = rng.choice([("neg", 3), ("syn", 4), ("queue", 3)])
                    wire.send([kind, session, [name, NEG if kind == 3 else SYN, rng.choice([1, 6, 255]), 1]])
                    wire.socket.recv(4_096)
                wire.send(bytes_of(rng, KINDS_ABOUT_SESSIONS, session if rng.random() < 0.7 else None))
                fortress.sent["messages in sessions"] += 1
            wire.socket.recv(4_096)


def _links(fortress: Fortress, rng: Random) -> None:
    """The same on links; what is valid floods and discoveries, too."""
    identity = fortress.identity("mallory")
    while fortress.on:
        with contextlib.suppress(OSError), fortress.tls(identity, LINK, timeout=ATTEMPT_S) as wire:
            greeting = cbor2.dumps(fortress.announcement(rng.getrandbits(32), ttl=rng.choice([1, 1_000])))
            wire.send(spoilt(rng, greeting) if rng.random() < 0.3 else greeting)
            if rng.random() < 0.8:
                wire.send(b"\x81\x00")
            for _ in range(rng.choice([1, 5, 50])):
                kinds = (*MULTICAST, M_RESPONSE) if rng.random() < 0.8 else KINDS_ABOUT_SESSIONS
                wire.send(bytes_of(rng, kinds))
                fortress.sent["messages on links"] += 1
            wire.socket.recv(4_096)


def _answers(fortress: Fortress, rng: Random) -> None:
    """Whoever the target, lured by an announcement or sent by its own ASA, connects to, is no better."""
    bad, foreign = fortress.identity("mallory"), fortress.identity("honest", fortress.foreign)
    contexts = [server_context(bad, rng.choice([SESSION, LINK])), server_context(foreign, SESSION)]

    def serve(wire: Wire) -> None:
        wire.socket.settimeout(ATTEMPT_S)
        how = rng.random()
        if how < 0.3:
            wire.socket.recv(4_096)
            wire.send(bytes_of(rng) if how < 0.2 else rng.randbytes(100))
        elif how < 0.7:
            shake(wire.socket, rng.choice(contexts), True, in_one_flight(rng))
        else:
            with rng.choice(contexts).wrap_socket(wire.socket, server_side=True) as secured:
                secured.recv(4_096)
                secured.sendall(bytes_of(rng, KINDS_ABOUT_SESSIONS))
        fortress.sent["answers"] += 1

    while fortress.on:
        with fortress.listening(serve) as port:
            fortress.raw.multicast(fortress.announcement(rng.getrandbits(32), port, ttl=500))
            for _ in range(5):
                for do, name in (("negotiate", "bait"), ("synchronize", "baited")):
                    place = [fortress.lure(port), 0, rng.choice(["", "", MARK])]
                    value = [1] if do == "negotiate" else []
                    if fortress.target.code_of(do, name, *value, peer=place, timeout=300) == "crash":
                        fortress.found.append(f"{do} with the attacker crashed")
                    fortress.sent["own requests"] += 1


def _address(fortress: Fortress, rng: Random) -> str:
    return rng.choice([fortress.routed, fortress.link_local])
