"""A member of a domain under attack from its own link; another member goes on working with it meanwhile."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from lab import Capture, Host, Lab
from tests.network.raw import M_FLOOD, M_NOOP, M_REQ_NEG, NEG, O_IPV6, SYN, Raw, Wire
from tests.network.steer import Agent, Failed, eventually
from tests.pki import Authority

from .assault import parts
from .besieged import Besieged
from .tlsends import LINK, SESSION, Tls, client_context
from .wires import Forger

TARGET, HONEST, ATTACKER = "fd00::1", "fd00::2", "fd00::3"
NEIGHBOR = "EX9.Neighbor"
PATIENCE = 10.0
FIRST_S = 3.0  #: how long the target waits for the handshake, and for a first message


class Fortress(Besieged):
    """`target` and `honest` are members with a link between them; the attacker's host has an identity only if it is
    given one (`intruder`).

    The target serves "neg", publishes "syn", takes in floods of "told"; "queue" is registered and asked for by
    nobody but attackers.
    """

    threads = (*Besieged.threads, "grasp-links")

    def __init__(self, lab: Lab, directory: Path) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._issuing = threading.Lock()
        self.lab, self.directory = lab, directory
        self.ca, self.foreign = Authority("acp.example.com"), Authority("acp.example.com", "other ca")
        hosts = [lab.host(name) for name in ("target", "honest", "attacker")]
        lab.lan(*hosts)
        for host, address in zip(hosts, (TARGET, HONEST, ATTACKER), strict=True):
            host.address(f"{address}/64", "eth0")
        self.attacker: Host = hosts[2]
        self.target, self.honest = Agent(hosts[0]), Agent(hosts[1])
        self.link_local = hosts[0].link_local("eth0")
        with Capture(hosts[0], "eth0") as self.recording:
            self._begin()

    def _begin(self) -> None:
        for agent in self.target, self.honest:
            limits = {"first_message_ms": int(FIRST_S * 1000)}
            agent.start(["eth0"], identity=str(self.identity(agent.host.name)), limits=limits)
            agent.register("neg")
            agent.register("told", "synchronize")
        self.port = self.target.port
        self.honest.serve("neg", [["accept"]])
        self.target.serve("neg", [["propose", 1], ["accept"]])
        self.target.register("queue")
        self.target.serve("queue", [["accept"]])
        self.target.register("bait")
        self.target.register("baited", "synchronize")
        self.target.register("syn", "synchronize")
        self.target.publish("syn", "well")
        self.target.on_flood()
        assert eventually(self.linked), self.target.neighbours()
        # What is replayed later would be seen: nobody says it again.
        self.honest.register("recorded")
        self.target.register("recorded")
        self.target.serve("recorded", [["accept"]])
        assert self.honest.negotiate("recorded", 1, peer=self.where)["agreed"]
        self.honest.register("recorded flood", "synchronize")
        self.honest.flood([["recorded flood", 1, None]], 1)
        assert eventually(lambda: self.target.calls() == {"recorded": 1, "recorded flood": 1}), self.target.calls()

    def __enter__(self) -> Fortress:
        self.raw = Raw(self.attacker, "eth0")
        self.forger = Forger(self.attacker, "eth0")
        return self

    def __exit__(self, *ending: object) -> None:
        self.forger.close()
        self.raw.__exit__(*ending)
        self.ended = [agent.end() for agent in (self.target, self.honest)]

    def identity(self, name: str, authority: Authority | None = None, **odd: Any) -> Path:
        """Where the identity of a member, or of somebody that ``authority`` vouches for, is. Made when first named."""
        authority = authority or self.ca
        directory = self.directory / f"{authority.name}-{name}"
        with self._issuing:
            if directory.exists():
                return directory
            authority.write(directory, authority.issue(name, **odd), trust=(self.ca.anchor,))
        return directory

    # -- what the honest node does

    @property
    def where(self) -> list[Any]:
        return [[TARGET, 6, self.port], 0]

    def linked(self) -> bool:
        return self.links(self.target) == ["honest"] and self.links(self.honest) == ["target"]

    @staticmethod
    def links(agent: Agent) -> list[str]:
        """Who has a link with it."""
        return sorted(name for name, _, state in agent.neighbours() if state == "up")

    def serves(self) -> bool:
        """Whether a session and a flood of the honest node come through."""
        mark = time.monotonic_ns()
        try:
            self.round(mark)
        except Failed:
            return False
        return bool(eventually(lambda: self.told() == mark, 2.0))

    def told(self) -> Any:
        """What the honest node has flooded last, as the target knows it."""
        return next((each["value"] for each in self.target.floods("told")), None)

    def round(self, mark: int) -> None:
        """One negotiation, one synchronization and one flood. Raises Failed."""
        offer = self.honest.negotiate("neg", 5, peer=self.where, timeout=10_000)
        if not self.honest.propose(offer["session"], 2, timeout=10_000)["agreed"]:
            raise Failed("declined", "the target did not agree", "test")
        if self.honest.synchronize("syn", peer=self.where, timeout=10_000) != "well":
            raise Failed("wrong", "the target published something else", "test")
        if self.honest.flood([["told", mark, None]]) != 1:
            raise Failed("silent", "there was no interface to flood", "test")

    def renew(self) -> None:
        pass

    def poke(self) -> None:
        for _ in range(32):
            with contextlib.suppress(OSError):
                self.raw.connect(TARGET, self.port).close()

    routed = TARGET

    @staticmethod
    def lure(port: int) -> list[Any]:
        """The attacker's locator."""
        return [ATTACKER, 6, port]

    @property
    def parts(self) -> tuple[Callable[[Random], None], ...]:
        return parts(self)

    @property
    def warnings(self) -> int:  # type: ignore[override]
        """Some at once, and one in five seconds."""
        return 20 + int(time.monotonic() - self._began) // 5

    # -- what was accepted

    def accepted(self, heard: Collection[str] = ()) -> list[str]:
        """What the target took from somebody else than the honest node, but for ``heard``; empty if nothing."""
        usual = {"neg", "told", *heard}
        calls = {name: count for name, count in self.target.calls().items() if name not in usual}
        found = [f"calls for {calls}"] if calls != {"recorded": 1, "recorded flood": 1} else []
        found += [f"a flood of {each['name']}" for each in self.target.floods() if each["name"] not in usual]
        found += [f"a link with {name}" for name in self.links(self.target) if name != "honest"]
        return found

    def discarded(self, reason: str) -> int:
        """How much was, for reasons that begin so."""
        counts = self.target.statistics()["discarded"]
        return sum(count for name, count in counts.items() if name.startswith(reason))

    # -- the attacker's ends

    def tcp(self, address: str = TARGET, source: str = "", timeout: float = PATIENCE) -> socket.socket:
        """A connection to the target's port, from one of the attacker's addresses."""
        with self.attacker.entered():
            sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            if source:
                sock.bind((source, 0))
            sock.connect((address, self.port, 0, self.raw.index if address.startswith("fe80") else 0))
        except OSError:
            sock.close()
            raise
        return sock

    @contextlib.contextmanager
    def listening(self, serve: Callable[[Wire], None], port: int = 0) -> Iterator[int]:
        """A port of the attacker's; ``serve`` gets each connection that the target, or the honest node, makes to it."""
        with self.attacker.entered():
            listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=64)
        listener.settimeout(0.1)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    sock, _ = listener.accept()
                    sock.settimeout(PATIENCE)
                    with Wire(sock) as wire, contextlib.suppress(OSError):
                        serve(wire)

        thread = threading.Thread(target=accept, name="attacker-accept", daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join()
            listener.close()

    def tls(self, identity: Path | None, protocol: str = SESSION, address: str = "", timeout: float = PATIENCE) -> Tls:
        """A TLS connection to it, secured by a library that is not the target's. Raises OSError.

        In TLS 1.3 a client is done before it has been judged: only what is read afterwards tells.
        """
        address = address or (self.link_local if protocol == LINK else TARGET)
        sock = self.tcp(address, timeout=timeout)
        try:
            return Tls(client_context(identity, protocol).wrap_socket(sock))
        except BaseException:
            sock.close()
            raise

    def announcement(
        self, session: int = 1, port: int | None = None, address: bytes | None = None, ttl: int = 210_000
    ) -> list[Any]:
        """By which a neighbour says that it listens at the attacker's address and port, if no other is given."""
        own = address or self.raw.packed
        where = [O_IPV6, own, 6, port or self.raw.port]
        return [M_FLOOD, session, own, ttl, [[NEIGHBOR, 4, 1, "TLS"], where]]

    def link(self, identity: Path) -> Tls:
        """A link that is up, if the target takes it. Raises OSError, AssertionError."""
        wire = self.tls(identity, LINK)
        try:
            wire.send(self.announcement())
            assert wire.receive() == [M_NOOP]
            wire.send([M_NOOP])
        except BaseException:
            wire.close()
            raise
        return wire


class Service:
    """The honest node's work, while the ``with`` block lasts: round after round, none of which may fail."""

    def __init__(self, fortress: Fortress) -> None:
        self._fortress = fortress
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self.rounds = 0
        self.slowest = 0.0
        self.failed: list[str] = []

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            began = time.monotonic()
            try:
                self._fortress.round(self.rounds)
                self.rounds += 1
            except Failed as failed:
                self.failed.append(f"round {self.rounds}: {failed}")
            self.slowest = max(self.slowest, time.monotonic() - began)

    def verdict(self, rounds: int = 10, heard: Collection[str] = ()) -> list[str]:
        """What was wrong with it, and what of others was accepted but for ``heard``; empty if nothing."""
        fortress = self._fortress
        eventually(lambda: self.rounds >= rounds or self.failed)
        self.__exit__(None, None, None)
        wrong = list(self.failed)
        if self.rounds < rounds:
            wrong.append(f"{self.rounds} rounds only")
        elif not eventually(lambda: fortress.told() == self.rounds - 1, 5.0):
            wrong.append(f"the last of {self.rounds} floods did not arrive, but {fortress.told()}")
        if not eventually(fortress.linked, 5.0):
            wrong.append(f"the link is gone: {fortress.target.neighbours()}")
        return wrong + fortress.accepted(heard)


@contextlib.contextmanager
def fortress() -> Iterator[Fortress]:
    """A lab with a `Fortress` in it."""
    with (
        tempfile.TemporaryDirectory(prefix="fortress-") as directory,
        Lab() as lab,
        Fortress(lab, Path(directory)) as it,
    ):
        yield it


REQUEST = [M_REQ_NEG, 7, ["queue", NEG, 6, 1]]
FOREIGN_FLOOD = [M_FLOOD, 8, bytes(15) + b"\x09", 60_000, [["foreign", SYN, 3, 1], []]]
