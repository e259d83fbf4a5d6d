"""A DomainSubstrate that only speaks on the loopback, and what stands in for the core above it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from grasp.limits import Limits
from grasp.security import Identity
from grasp.transport import Connection, Source
from grasp.transport.domain import DomainSubstrate

LOOPBACK = IPv6Address("::1")
NO_INTERFACE = ["none0"]
PATIENCE = 30.0


def eventually(check: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What ``check`` returns, as soon as that is true."""
    deadline = time.monotonic() + patience
    while not (found := check()):
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.01)
    return found


class Ear:
    """Echoes what a connection says; after ``.`` a session is over, as a core says, and after ``!`` it hangs up."""

    def __init__(self) -> None:
        self.connections: queue.Queue[Connection] = queue.Queue()
        self.served = 0
        self.errors: queue.Queue[Exception | None] = queue.Queue()
        self.lock = threading.Lock()

    def multicast_received(self, data: bytes, source: Source) -> None: ...

    def connected(self, connection: Connection) -> None:
        self.connections.put(connection)
        with self.lock:
            self.served += 1
        try:
            while data := connection.receive(PATIENCE):
                connection.newcomer = False
                connection.send(data)
                if data.endswith(b"!") or (data.endswith(b".") and not connection.release()):
                    break
            self.errors.put(None)
        except OSError as error:
            self.errors.put(error)
        finally:
            connection.close()

    def interfaces_changed(self, gone: frozenset[int]) -> None: ...

    def neighbour_up(self, interface: int) -> None: ...

    def upkeep(self, now: float) -> None: ...


class Running:
    """One that is started."""

    def __init__(self, ear: Ear, identity: Identity, **options: Any) -> None:
        self.ear = ear
        limits = Limits(**options)
        self.substrate = DomainSubstrate(identity, NO_INTERFACE, limits=limits, name=f"t-{identity.name}")
        self.substrate.start(ear)

    @property
    def port(self) -> int:
        return self.substrate.port

    def connect(self, other: Running, member: str = "") -> Connection:
        return self.substrate.connect(LOOPBACK, other.port, 0, PATIENCE, member)

    def session(self, other: Running, member: str = "") -> Connection:
        """One that ends in turn."""
        connection = self.connect(other, member)
        connection.send(b"a session.")
        assert connection.receive(PATIENCE) == b"a session."
        connection.release()
        return connection

    def count(self, reason: str) -> int:
        return self.substrate.discarded.get(reason, 0)
