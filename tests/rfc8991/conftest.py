from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

import grasp
from grasp import rfc8991
from grasp.rfc8991 import ASA_locator, Functions, errors, objective
from grasp.wire import Message, decode_message, encode_message
from lab import Host, Lab, unavailable_reason

WAIT_S = 30.0
"""The bound of every wait of these tests; none is meant to be used up."""


def negotiable(name: str, value: Any = None, *, dryrun: bool = False, loop_count: int = 6) -> objective:
    made = objective(name)
    made.negotiate, made.dryrun, made.value, made.loop_count = True, dryrun, value, loop_count
    return made


def synchronizable(name: str, value: Any = None) -> objective:
    made = objective(name)
    made.synch, made.value = True, value
    return made


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """What ``call`` returns or raises, later. Threads are of the namespace they are started in."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Agent:
    """An ASA at a node of its own: RFC 8991's functions, the asa_handle left out, called inside its host."""

    def __init__(self, host: Host, name: str, *, callbacks: int = 16, **options: Any) -> None:
        self.host, self.name = host, name
        options.setdefault("interfaces", ["eth0"])
        with host.entered():
            self.node = grasp.Node(name=name, **options).start()
        self.functions = Functions(self.node.calls, callbacks)
        self.another = Functions(self.node.calls)
        errorcode, handle = self.functions.register_asa(name)
        assert errorcode == errors.ok
        self.handle: int = handle or 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self.functions, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with self.host.entered():
                return function(self.handle, *arguments, **options)

        return call

    def later(self, name: str, *arguments: Any, **options: Any) -> Future[Any]:
        """The same in a thread."""
        return in_thread(lambda: getattr(self, name)(*arguments, **options))

    def register(self, *objectives: objective, **options: Any) -> None:
        for each in objectives:
            assert self.register_objective(each, **options) == errors.ok

    def listening(self, wanted: objective) -> Future[Any]:
        """A listen_negotiate in a thread, once it does listen."""
        request = self.later("listen_negotiate", wanted)
        pause = threading.Event()
        for _ in range(int(WAIT_S * 1000)):
            if self.asked_here(wanted.name):
                return request
            pause.wait(0.001)
        raise AssertionError(f"nobody listens for {wanted.name}")

    def discovered(self, wanted: objective, minimum_ttl: int = 1) -> Any:
        """The one locator there is, however slowly the answer comes."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            errorcode, found = self.discover(wanted, 100, minimum_ttl)
            assert errorcode == errors.ok
            if found:
                assert len(found) == 1
                return found[0]
        raise AssertionError(f"{wanted.name} was not discovered")

    def asked_here(self, name: str) -> bool:
        """Whether this node would answer a discovery: asked for by another ASA of it."""
        _, asker = self.another.register_asa("asker")
        _, found = self.another.discover(asker or 0, objective(name), 0, 1)
        self.another.deregister_asa(asker or 0, "asker")
        return bool(found)

    def locator(self, seen_from: Agent) -> ASA_locator:
        """Where this node is, for one on the same link."""
        return link_locator(self.host, self.node.port, seen_from.host)


def link_locator(host: Host, port: int, seen_from: Host) -> ASA_locator:
    with seen_from.entered():
        made = ASA_locator(IPv6Address(host.link_local("eth0")), socket.if_nametoindex("eth0"))
    made.port = port
    return made


class Scripted:
    """A peer that is no GRASP node: it reads one message and does with the connection what it is told."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with host.entered():
            self._listener = socket.create_server(("::", 0), family=socket.AF_INET6)
        self._listener.settimeout(WAIT_S)
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []

    def meet(self, script: Callable[[socket.socket, Any], None]) -> None:
        def run() -> None:
            connection = self._listener.accept()[0]
            self._connections.append(connection)
            data = b""
            while True:
                data += connection.recv(4096)
                try:
                    message = decode_message(data)
                except grasp.WireError:
                    continue
                break
            script(connection, message)

        threading.Thread(target=run, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._connections):
            each.close()


def send(connection: socket.socket, message: Message) -> None:
    connection.sendall(encode_message(message, 2048))


def reset(connection: socket.socket) -> None:
    """Close with RST, so that the other end's next send fails."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def connected(host: Host, port: int) -> bool:
    """Whether ``host`` still has a connection to a peer's port, as its kernel says."""
    with host.entered():
        rows = [each.split() for each in Path("/proc/thread-self/net/tcp6").read_text().splitlines()[1:]]
    # Columns 2 and 3 are the peer and the state, of which 1 is ESTABLISHED (proc(5)).
    return any(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@pytest.fixture(scope="package")
def hosts() -> Iterator[tuple[Host, Host]]:
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        lab.link(a, b)
        yield a, b


@pytest.fixture
def agent(hosts: tuple[Host, Host]) -> Iterator[Callable[..., Agent]]:
    """Makes agents, at host 0 or 1."""
    made: list[Agent] = []

    def make(number: int = 0, name: str = "", **options: Any) -> Agent:
        made.append(Agent(hosts[number], name or "AB"[number], **options))
        return made[-1]

    yield make
    for each in made:
        each.node.stop()


@pytest.fixture
def pair(agent: Callable[..., Agent]) -> tuple[Agent, Agent]:
    """Two agents that are neighbours."""
    return agent(0), agent(1)


@pytest.fixture
def scripted(hosts: tuple[Host, Host]) -> Iterator[Scripted]:
    peer = Scripted(hosts[1])
    yield peer
    peer.close()


@pytest.fixture
def default_node(hosts: tuple[Host, Host]) -> Iterator[Any]:
    """The module with its default node at host 0, which the test is inside."""
    with hosts[0].entered():
        rfc8991.configure(["eth0"])
        yield rfc8991
        rfc8991.shutdown()
