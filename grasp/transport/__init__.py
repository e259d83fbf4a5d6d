"""What carries GRASP: the substrate of RFC 8990 §2.5.1 and §2.5.3, behind one small interface.

A :class:`Substrate` sends link-local multicasts, opens connections, and calls its :class:`Receiver`.
:class:`~grasp.transport.plain.PlainSubstrate` is UDP multicast and TCP on links that are secured below IP;
:class:`~grasp.transport.domain.DomainSubstrate` is TLS between the members of a domain, and trusts no link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from grasp.discovery import Source
from grasp.member import Member
from grasp.transport.interfaces import Interface
from grasp.wire import Address

__all__ = ["Connection", "Interface", "Neighbour", "NotMemberError", "Receiver", "Source", "Substrate"]


class NotMemberError(ConnectionError):
    """The peer is not a member of the domain, not the one asked for, or does not take us for a member."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who is, or was heard, on a link: interface index, address there, since when (UNIX s), how it stands with it.

    ``why``: what came of the last attempt, where no link could be made.
    """

    interface: int
    address: Address
    member: Member | None
    since: float
    state: str
    why: str = ""


class Connection(Protocol):
    """A reliable byte stream to a member of the domain."""

    newcomer: bool
    """True until the peer's first whole message; until then the connection may be ended to admit others."""

    @property
    def reusable(self) -> bool:
        """Whether it may carry one session after another: :meth:`release` is not always a close."""

    @property
    def peer(self) -> Address:
        """The peer's address, without scope."""

    @property
    def peer_name(self) -> str:
        """The same as text, with scope: what two connections of one peer have in common."""

    @property
    def peer_port(self) -> int: ...

    @property
    def interface(self) -> int:
        """Index of the interface a link-local peer is on; 0 for a routed peer."""

    @property
    def member(self) -> Member | None:
        """Who the peer has proved to be; None where the substrate does not know."""

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises OSError (TimeoutError among them)."""

    def receive(self, seconds: float) -> bytes:
        """Some bytes, b"" when the peer has closed. Raises OSError, TimeoutError after ``seconds``."""

    def close(self) -> None:
        """Idempotent, from any thread; a blocked :meth:`receive` returns."""

    def release(self) -> bool:
        """The session on it has ended in turn. False: it is closed.

        True: it may carry another. One that this node opened belongs to the substrate again; on an accepted one
        the next request may be awaited for ``Limits.idle_ms``, and :attr:`newcomer` is true until it has come.
        """


class Receiver(Protocol):
    """What a substrate calls. Calls come from its own threads, several at once."""

    def multicast_received(self, data: bytes, source: Source) -> None:
        """A link-local multicast arrived, from another node or instance."""

    def connected(self, connection: Connection) -> None:
        """A peer has connected. Runs in a thread of its own, which is free again when this returns."""

    def interfaces_changed(self, gone: frozenset[int]) -> None:
        """Interfaces or addresses changed; ``gone`` are the indexes no longer in use."""

    def neighbour_up(self, interface: int) -> None:
        """A neighbour can be reached there now that could not before."""

    def upkeep(self, now: float) -> None:
        """Called at least once a second, with the monotonic time."""


class Substrate(Protocol):
    """A security and transport substrate (§2.5.1)."""

    @property
    def secured(self) -> bool:
        """Whether it authenticates members itself."""

    @property
    def port(self) -> int:
        """The TCP port connections are accepted on, and the UDP source port of multicasts (§2.8.4)."""

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The GRASP interfaces that are usable now."""

    @property
    def address(self) -> Address | None:
        """A routed address of this node, None if it has only link-local ones."""

    @property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """Those known by name; empty where the substrate does not tell them apart."""

    @property
    def discarded(self) -> Mapping[str, int]:
        """How often something was not taken in, by reason."""

    def start(self, receiver: Receiver) -> None:
        """Open everything. Raises :class:`~grasp.errors.LocalError`; then nothing is left open."""

    def stop(self) -> None:
        """Close everything and wait for the threads. Idempotent."""

    def is_own(self, address: Address) -> bool:
        """Whether ``address`` is this node's."""

    def multicast(self, interface: int, data: bytes) -> bool:
        """Send to all GRASP neighbours on one interface; False if it could not be sent."""

    def reply(self, target: Source, data: bytes) -> None:
        """Send one message to where a multicast came from (§2.5.4.4); best effort, never waits."""

    def connect(self, address: Address, port: int, interface: int, seconds: float, member: str = "") -> Connection:
        """Connect. ``member``: the name its certificate must have; any member's if empty.

        Raises OSError, :class:`NotMemberError` among them.
        """
