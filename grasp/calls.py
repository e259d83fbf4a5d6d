"""The boundary between an ASA's side (the API) and the GRASP core (RFC 8991 §1, RFC 9222 §3.3).

Everything that crosses it is a value: handles are integers or frozen dataclasses, objectives and
locators are frozen, failures are :class:`~grasp.errors.GraspError`. Only the ``serve_*`` calls and
:attr:`Registration.admit` pass a function; a core in another process would be reached by a thread that
repeats the blocking form instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.flooding import TaggedObjective
from grasp.locators import Discovered
from grasp.member import Member
from grasp.wire import Address, Locator, Objective


@dataclass(frozen=True, slots=True)
class SessionHandle:
    """Identifies one negotiation at this node (RFC 8991 §2.3.2.8): ``number`` alone never comes twice."""

    number: int
    session_id: int
    peer: Address
    initiated: bool
    member: Member | None = None
    """Who the peer has proved to be, where the substrate knows."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where to reach an ASA; ``interface`` is the index a link-local address is on, else 0.

    ``member``: the name that the certificate of who answers there must have; any member's if empty. Only a
    substrate that knows its members looks at it.
    """

    locator: Locator
    interface: int = 0
    member: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """The peer's answer: its proposal and the session; no session if it accepted ``objective``."""

    session: SessionHandle | None
    objective: Objective


Admit = Callable[[Member | None], str | None]
"""Why a member may not ask, None if it may. Called in the thread that serves the request; must not block."""


@dataclass(frozen=True, slots=True)
class Registration:
    """How an objective is registered (RFC 8991 §2.3.3). ``ttl`` in ms, ``max_size`` in bytes."""

    objective: Objective
    ttl: int = GRASP_DEF_TIMEOUT
    discoverable: bool = False
    overlap: bool = False
    local: bool = False
    max_size: int = 0
    """Largest unicast message of this objective; 0 for the node's default (RFC 8990 §2.8.3)."""
    admit: Admit | None = None
    """Who may negotiate or synchronize; all if None."""


@dataclass(frozen=True, slots=True)
class FloodItem:
    """An objective to flood and its locator; the address ``::`` stands for each link's own address."""

    objective: Objective
    locator: Locator | None = None


class Calls(Protocol):
    """What a core does for ASAs. Times are ms; every call may raise GraspError."""

    def register_asa(self, name: str) -> int: ...

    def deregister_asa(self, asa: int, name: str) -> None: ...

    def register_objective(self, asa: int, registration: Registration) -> None: ...

    def deregister_objective(self, asa: int, name: str) -> None: ...

    def discover(
        self,
        asa: int,
        objective: Objective,
        timeout: int,
        minimum_ttl: int,
        count: int | None,
        peer: Peer | None = None,
    ) -> list[Discovered]: ...

    def request_negotiate(
        self, asa: int, objective: Objective, peer: Peer | None, timeout: int, rapid: bool = False
    ) -> Step: ...

    def listen_negotiate(self, asa: int, name: str, timeout: int | None) -> tuple[SessionHandle, Objective]: ...

    def serve_negotiate(self, asa: int, name: str, handler: Callable[[SessionHandle, Objective], None]) -> None: ...

    def stop_listen_negotiate(self, asa: int, name: str) -> None: ...

    def negotiate_step(self, asa: int, session: SessionHandle, objective: Objective, timeout: int) -> Step: ...

    def negotiate_wait(self, asa: int, session: SessionHandle, timeout: int) -> None: ...

    def end_negotiate(self, asa: int, session: SessionHandle, accept: bool, reason: str | None) -> None: ...

    def send_invalid(self, asa: int, session: SessionHandle, info: bytes) -> None: ...

    def synchronize(
        self, asa: int, objective: Objective, peer: Peer | None, timeout: int, rapid: bool = False
    ) -> Objective: ...

    def listen_synchronize(self, asa: int, objective: Objective) -> None: ...

    def serve_synchronize(self, asa: int, name: str, provider: Callable[[], Any]) -> None: ...

    def stop_listen_synchronize(self, asa: int, name: str) -> None: ...

    def flood(self, asa: int, ttl: int, items: Sequence[FloodItem]) -> int: ...

    def get_flood(self, asa: int, name: str | None) -> list[TaggedObjective]: ...

    def wait_flood(self, asa: int, name: str, timeout: int) -> list[TaggedObjective]: ...

    def serve_flood(self, asa: int, name: str | None, handler: Callable[[TaggedObjective], None]) -> None: ...

    def stop_serve_flood(self, asa: int, name: str | None) -> None: ...

    def expire_flood(self, asa: int, name: str, locator: Locator | None) -> None: ...
