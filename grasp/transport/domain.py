"""The substrate that trusts no link: TLS between the members of a domain (RFC 8990 §2.5.1, RFC 8994 §6.9.2)."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from grasp.discovery import Source
from grasp.limits import Limits
from grasp.rates import TokenBucket
from grasp.security import Identity, Revocations
from grasp.transport import Connection, Neighbour, NotMemberError, Receiver
from grasp.transport.host import HostSubstrate
from grasp.transport.interfaces import Snapshot
from grasp.transport.kept import Kept
from grasp.transport.links import Links
from grasp.transport.links.announcements import NEIGHBOR
from grasp.transport.secured import TlsConnection, shake_hands
from grasp.transport.tcp import TcpConnection, connect
from grasp.transport.tls import LINK, SESSION, TlsContexts, TlsSession
from grasp.wire import Address

_log = logging.getLogger("grasp.transport")

_COMPLAINTS: Final = 5
_COMPLAINTS_PER_S: Final = 0.1
_NOT_A_MEMBER: Final = "handshake: not a member"
_TOO_MANY: Final = "connection: too many of one member"


class DomainSubstrate(HostSubstrate):
    """GRASP between the members of ``identity``'s domain. Further arguments are those of :class:`HostSubstrate`.

    By multicast nothing is sent, or taken in, but announcements of ``objective`` (DULL, §2.5.2). Multicasts of GRASP
    travel on :class:`~grasp.transport.links.Links`, one to each neighbour; a session has a TLS connection from end to
    end, kept a while for the next. A byte of GRASP is neither sent nor taken in before the peer has proved that it is
    a member, and never in clear.

    ``revocations`` are looked at all the time: whoever they name is cut off within two seconds.
    """

    secured = True

    def __init__(
        self,
        identity: Identity,
        interfaces: Sequence[str] | None = None,
        *,
        revocations: Revocations | None = None,
        objective: str = NEIGHBOR,
        port: int = 0,
        address: Address | None = None,
        ipv4: bool = False,
        limits: Limits | None = None,
        name: str = "grasp",
    ) -> None:
        super().__init__(interfaces, port=port, address=address, ipv4=ipv4, limits=limits, name=name)
        self._contexts = TlsContexts(identity, Revocations() if revocations is None else revocations)
        self._links = Links(self._contexts, limits=self._limits, name=name, objective=objective)
        self._kept: Kept[TlsConnection] = Kept(self._limits)
        self._secured: set[TlsConnection] = set()
        # Accepted, by AcpNodeName, in order of arrival.
        self._guests: dict[str, dict[TlsConnection, None]] = {}
        self._admitting = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._complaints = TokenBucket(_COMPLAINTS_PER_S, _COMPLAINTS)
        self._complaining = threading.Lock()

    @property
    def identity(self) -> Identity:
        return self._contexts.identity

    @property
    def revocations(self) -> Revocations:
        return self._contexts.revocations

    @property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """Those with a link, and those that were heard to speak GRASP without security (state ``plain``)."""
        return self._links.neighbours + self._links.plain_neighbours()

    @property
    def discarded(self) -> Mapping[str, int]:
        return self._counts + self._links.counts

    def renew(self, identity: Identity) -> None:
        """Be known by ``identity`` from now on; running sessions go on. Raises ``badIdentity`` for another domain."""
        self._contexts.renew(identity)
        self._kept.clear()
        if self._running:
            self._links.renew()

    # -- its parts

    def _begin(self, receiver: Receiver) -> None:
        self._links.start(receiver, self._port, self._multicast.send)

    def _interfaces(self, snapshot: Snapshot) -> None:
        self._links.interfaces_changed(snapshot)

    def _heard(self, data: bytes, source: Source) -> None:
        self._links.heard(data, source)

    def _end(self) -> None:
        self._links.stop()
        self._kept.clear(last=True)

    def multicast(self, interface: int, data: bytes) -> bool:
        return self._running and self._links.multicast(interface, data)

    def reply(self, target: Source, data: bytes) -> None:
        if self._running:
            self._links.reply(target, data)

    # -- connections

    @property
    def _state(self) -> tuple[int, int]:
        """What a member is judged by; whoever was judged by less is judged again."""
        return self.revocations.version, self._contexts.generation

    def _accepted(self, wire: TcpConnection) -> None:
        state = self._state
        session = TlsSession(self._contexts, server=True, protocols=(SESSION, LINK))
        try:
            left = shake_hands(wire, session, self._limits.first_message_ms / 1000)
            if left:
                wire.send(left)
        except OSError as error:
            self._failed(wire, error)
            wire.close()
            return
        if session.protocol == LINK:
            self._links.adopt(wire.detach(), session, wire.peer, wire.peer_port, wire.interface)
            return
        wire.known = True
        connection = TlsConnection(wire, session, b"", state, self._closed, self._await_next)
        self._secured.add(connection)
        if self._admitted(connection):
            self._receiver.connected(connection)
        else:
            connection.close()

    def _admitted(self, connection: TlsConnection) -> bool:
        """Whether its member has room for it, be it made by ending its oldest on which no session runs."""
        member, most = connection.member, self._limits.sessions_per_member
        with self._admitting:
            guests = self._guests.setdefault(member.acp_name, {})
            guests[connection] = None
            if len(guests) <= most:
                return True
            oldest = next((each for each in guests if each.newcomer and each is not connection), None)
            if oldest is None:
                del guests[connection]
            else:
                del guests[oldest]
        with self._complaining:
            self._counts[_TOO_MANY] += 1
            allowed = self._complaints.take(time.monotonic())
        if allowed:
            _log.warning("%s at %s has more than %d connections", member.name, connection.peer_name, most)
        if oldest is not None:
            oldest.interrupt()
        return oldest is not None

    def _closed(self, connection: TlsConnection) -> None:
        self._secured.discard(connection)
        self._kept.remove(connection)
        with self._admitting:
            guests = self._guests.get(connection.member.acp_name, {})
            guests.pop(connection, None)
            if not guests:
                self._guests.pop(connection.member.acp_name, None)

    def _keep(self, connection: TlsConnection) -> bool:
        if connection.generation == self._contexts.generation and self._kept.put(connection, time.monotonic()):
            return True
        connection.close()
        return False

    def _await_next(self, connection: TlsConnection) -> bool:
        """Whoever serves an accepted connection waits for the next request, and makes room for others meanwhile."""
        connection.newcomer = True
        return True

    def connect(self, address: Address, port: int, interface: int, seconds: float, member: str = "") -> Connection:
        if not self._running:
            raise OSError("substrate is stopped")
        deadline, state = time.monotonic() + seconds, self._state
        while (kept := self._kept.take((address, port, interface), member, time.monotonic())) is not None:
            if kept.quiet() and (self._judged(kept, self._state) or not self._refusal(kept)):
                return kept
            kept.close()
        wire = connect(address, port, interface, seconds, self._outgoing)
        try:
            session = TlsSession(self._contexts, server=False)
            patience = min(deadline - time.monotonic(), self._limits.first_message_ms / 1000)
            left = shake_hands(wire, session, patience)
            if member not in ("", session.member.name):
                raise NotMemberError(f"{session.member.name or session.member.acp_name} answers there, not {member}")
        except BaseException as error:
            if isinstance(error, OSError):
                self._failed(wire, error)
            wire.close()
            raise
        connection = TlsConnection(wire, session, left, state, self._closed, self._keep)
        self._secured.add(connection)
        return connection

    def _failed(self, wire: TcpConnection, error: OSError) -> None:
        """Count a handshake that came to nothing, and tell the operator of some."""
        if not self._running:
            return
        if isinstance(error, NotMemberError):
            reason = _NOT_A_MEMBER
        elif isinstance(error, TimeoutError):
            reason = "handshake: not done in time"
        else:
            reason = "handshake: failed"
        with self._complaining:
            self._counts[reason] += 1
            allowed = self._complaints.take(time.monotonic())
        if allowed:
            _log.warning("no TLS with %s port %d: %s", wire.peer, wire.peer_port, error)

    # -- members that are none any more

    def _judged(self, connection: TlsConnection, state: tuple[int, int]) -> bool:
        """Whether nothing that its peer was judged by has changed since it was found to be a member."""
        return connection.state == state and self._contexts.clock() < connection.member.expires

    def _refusal(self, connection: TlsConnection) -> str:
        """Why its peer is no member now; empty if it is."""
        return connection.refusal(self._contexts.clock())

    def _upkeep(self, now: float) -> None:
        self._kept.expire(now)
        self._links.upkeep(now)
        state = self._state
        for each in list(self._secured):
            if self._judged(each, state):
                continue
            if why := self._refusal(each):
                with self._complaining:
                    self._counts["connection: no member any more"] += 1
                _log.warning("cut off %s at %s: %s", each.member.name, each.peer_name, why)
                each.refuse(why)
                if self._kept.remove(each):
                    each.close()
            # After the refusal: nobody may take it for judged before.
            each.state = state
