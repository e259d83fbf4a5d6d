"""A live node under attack from its own link, and what is to be found of it afterwards."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import cbor2

from lab import Host, Lab
from tests.network.raw import KINDS_ABOUT_SESSIONS, M_DISCOVERY, M_NEGOTIATE, M_RESPONSE, NEG, SYN, Raw, Wire, items
from tests.network.steer import Agent, Failed, eventually

from .besieged import Besieged
from .messages import MULTICAST, bytes_of, message

TARGET, HONEST, ATTACKER = "fd00::1", "fd00::2", "fd00::3"
HELD = 40  #: connections the attacker leaves open at a time


class Siege(Besieged):
    """The node under attack (`target`), an honest one (`honest`), the attacker (`raw`) and a silent far host.

    The target has a second link, so that it relays; it answers rapid discoveries, serves "neg", queues
    requests for "queue", publishes "syn", and asks for "bait", which only the attacker has.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        hosts = [lab.host(name) for name in ("target", "honest", "attacker", "far")]
        lab.lan(*hosts[:3])
        lab.link(hosts[0], hosts[3])
        for host, address in zip(hosts, (TARGET, HONEST, ATTACKER), strict=False):
            host.address(f"{address}/64", "eth0")
        self.target, self.honest = Agent(hosts[0]), Agent(hosts[1])
        self.attacker: Host = hosts[2]
        self.target.start(rapid=True)
        self.honest.start(["eth0"])
        for each in self.target, self.honest:
            each.register("neg")
        self.target.serve("neg", [["propose", 1], ["accept"]])
        self.target.register("queue")
        self.target.code_of("listen", "queue", timeout=1)
        self.target.register("syn", "synchronize")
        self.target.publish("syn", "well")
        self.target.register("bait")
        self.target.register("baited", "synchronize")
        self.port = self.target.port
        self.link_local = hosts[0].link_local("eth0")

    def __enter__(self) -> Siege:
        self.raw = Raw(self.attacker, "eth0")
        return self

    def __exit__(self, *ending: object) -> None:
        self.raw.__exit__(*ending)
        self.ended = [agent.end() for agent in (self.target, self.honest)]

    # -- what is found

    def serves(self) -> bool:
        """Whether an honest node can discover, negotiate and synchronize."""
        try:
            offer = self.honest.negotiate("neg", 5, timeout=10_000)
            agreed = self.honest.propose(offer["session"], 2, timeout=10_000)["agreed"]
            found = self.honest.discover("syn", timeout=10_000, minimum_ttl=0, count=1)
            where = [[TARGET, 6, self.port], 0]
            return bool(agreed and found and self.honest.synchronize("syn", peer=where, timeout=10_000) == "well")
        except Failed:
            return False

    def renew(self) -> None:
        self.target.stop_listening("queue")
        self.target.code_of("listen", "queue", timeout=1)

    def poke(self) -> None:
        for _ in range(8):
            self.honest.code_of("synchronize", "syn", peer=[[TARGET, 6, self.port], 0], timeout=2_000)

    # -- the attack

    @property
    def parts(self) -> tuple[Callable[[Random], None], ...]:
        return self._multicasts, self._connections, self._connections, self._answers, self._bait

    def _multicasts(self, rng: Random) -> None:
        with self.attacker.entered():
            elsewhere = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with elsewhere:
            while self.on:
                data = bytes_of(rng, rng.choice([MULTICAST, MULTICAST, (*MULTICAST, M_RESPONSE, M_NEGOTIATE)]))
                sender = rng.choice([self.raw.sender, self.raw.sender, elsewhere])
                with contextlib.suppress(OSError):
                    sender.sendto(data, ("ff02::13", 7017, 0, self.raw.index))
                self.sent["multicasts"] += 1
                if self.sent["multicasts"] % 50 == 0:
                    time.sleep(0.01)

    def _connect(self, rng: Random) -> Wire:
        return self.raw.connect(rng.choice([TARGET, self.link_local]), self.port, 2)

    def _connections(self, rng: Random) -> None:
        held: list[Wire] = []
        while self.on:
            try:
                wire = self._connect(rng)
                self._talk(rng, wire)
            except OSError:
                continue
            finally:
                self.sent["connections"] += 1
            if rng.random() < 0.1 and len(held) < HELD:
                held.append(wire)
            else:
                _leave(rng, wire)
            if len(held) == HELD or (held and rng.random() < 0.05):
                held.pop(rng.randrange(len(held))).close()
        for wire in held:
            wire.close()

    def _talk(self, rng: Random, wire: Wire) -> None:
        session = rng.getrandbits(32)
        wire.socket.settimeout(rng.choice([0.001, 0.02]))
        if rng.random() < 0.4:
            # Into a session, so that what follows is about one.
            name, kind = rng.choice([("neg", 3), ("neg", 3), ("syn", 4), ("queue", 3)])
            wire.send([kind, session, [name, NEG if kind == 3 else SYN, rng.choice([1, 2, 6, 255]), 1]])
            _read(wire)
        for _ in range(rng.choice([1, 1, 2, 5])):
            kinds = KINDS_ABOUT_SESSIONS if rng.random() < 0.7 else ()
            data = bytes_of(rng, *([kinds] if kinds else []), session=session if rng.random() < 0.7 else None)
            self.sent["messages on connections"] += 1
            if rng.random() < 0.2:
                cut = rng.randrange(len(data) + 1)
                wire.socket.sendall(data[:cut])
                data = data[cut:]
            wire.socket.sendall(data)
            if rng.random() < 0.3:
                _read(wire)

    def _answers(self, rng: Random) -> None:
        """Whoever connects to the attacker gets an answer that may or may not fit."""
        while self.on:
            try:
                wire = self.raw.accept(0.2)
            except TimeoutError:
                continue
            with wire, contextlib.suppress(OSError):
                for _ in range(rng.choice([0, 1, 1, 3])):
                    wire.socket.settimeout(0.02)
                    data = _read(wire)
                    session = _session_in(data)
                    wire.socket.sendall(bytes_of(rng, KINDS_ABOUT_SESSIONS, session))
                    self.sent["answers"] += 1

    def _bait(self, rng: Random) -> None:
        """The target's own requests, for which the attacker's answers are meant."""
        where = [[ATTACKER, 6, self.raw.port], 0]
        while self.on:
            if rng.random() < 0.5:
                futures = [
                    self.target.begin("discover", "bait", timeout=300, minimum_ttl=0),
                    self.target.begin("negotiate", "bait", 1, timeout=400, rapid=rng.random() < 0.5),
                ]
                with contextlib.suppress(OSError, StopIteration):
                    self._respond(rng)
            else:
                futures = [
                    self.target.begin("negotiate", "bait", 1, timeout=300, peer=where),
                    self.target.begin("synchronize", "baited", timeout=300, peer=where),
                    self.target.begin("discover", "baited", timeout=300, peer=where),
                ]
            for future in futures:
                with contextlib.suppress(Failed):
                    found = future.result(60)
                    if isinstance(found, dict) and found.get("session"):
                        self.target.code_of("propose", found["session"], 2, timeout=300)
            for failed in (future.exception() for future in futures):
                # A stranger's words may make a call fail, with a code; anything else is a bug.
                if isinstance(failed, Failed) and failed.code == "crash":
                    self.found.append(str(failed))
            self.sent["own requests"] += len(futures)

    def _respond(self, rng: Random) -> None:
        eventually(lambda: self.raw.messages(M_DISCOVERY, self.port), 0.2)
        heard = self.raw.messages(M_DISCOVERY, self.port)[-1:]
        self.raw.heard.clear()
        for _, _, discovery in heard:
            with self._connect(rng) as wire:
                answer = message(rng, (M_RESPONSE,), discovery[1])
                if len(answer) > 2 and rng.random() < 0.8:
                    answer[2] = discovery[2]
                wire.send(answer)
                self.sent["responses"] += 1


def _leave(rng: Random, wire: Wire) -> None:
    if rng.random() < 0.3:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif rng.random() < 0.2:
        with contextlib.suppress(OSError):
            wire.socket.shutdown(socket.SHUT_WR)
    wire.close()


def _read(wire: Wire) -> bytes:
    try:
        return wire.socket.recv(4_096)
    except TimeoutError:
        return b""


def _session_in(data: bytes) -> int | None:
    try:
        first: Any = items(data)[0][0]
        return first[1] if type(first[1]) is int else None
    except (IndexError, TypeError, cbor2.CBORDecodeError):
        return None


@contextlib.contextmanager
def siege() -> Iterator[Siege]:
    """A lab with a `Siege` in it."""
    with Lab() as lab, Siege(lab) as besieged:
        yield besieged
