"""Carries out what the pairing decides: opens, secures, reads and writes connections. For one thread.

``now`` is monotonic seconds where it does not say otherwise.
"""

from __future__ import annotations

import logging
import secrets
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address
from typing import Final

from grasp.discovery import Source
from grasp.errors import WireError
from grasp.limits import Limits
from grasp.rates import TokenBucket
from grasp.transport import Neighbour, NotMemberError, Receiver
from grasp.transport.interfaces import Interface
from grasp.transport.links.announcements import Announced, Place, Schedule, announced, announcement
from grasp.transport.links.pairing import Pairing
from grasp.transport.links.phases import Action, Do, Link, Phase, Timing
from grasp.transport.links.wire import Wire
from grasp.transport.tls import LINK, TlsContexts, TlsSession
from grasp.wire import Address, Discovery, Flood, Message, Noop, Response, encode_message

_log = logging.getLogger("grasp.transport")

_LOGGED_PER_S: Final = 0.1
_LOGGED_BURST: Final = 10
_TOLD_PER_S: Final = 1.0
_UPWARDS: Final = (Discovery, Flood, Response)
_NEVER: Final = float("inf")
_WHY: Final = 200
"""Characters of a reason that is shown."""


class Carrier:
    """What others read of it is replaced as a whole: its attributes without an underscore."""

    def __init__(
        self, contexts: TlsContexts, limits: Limits, objective: str, timing: Timing | None, counts: Counter[str]
    ) -> None:
        self._contexts = contexts
        self._limits = limits
        self._objective = objective
        self._counts = counts
        self._random = secrets.SystemRandom().random
        self._pairing = Pairing(limits.neighbours, self._random, timing)
        self._pairing.generation = contexts.generation
        self._schedules: dict[int, Schedule] = {}
        self._wires: dict[int, Wire] = {}
        self._by_link: dict[Link, Wire] = {}
        self._up: dict[Link, float] = {}  # since when, UNIX s
        self._logged = TokenBucket(_LOGGED_PER_S, _LOGGED_BURST)
        # One line for each neighbour at the start; then who comes and goes all the time does not fill the log.
        self._told = TokenBucket(_TOLD_PER_S, limits.neighbours)
        self._timer = 0.0
        # Responses are longer than multicasts may be.
        self._longest = max(limits.multicast_size, limits.message_size)
        self._noop = encode_message(Noop(), self._longest)
        #: Where this node listens.
        self.own: frozenset[Place] = frozenset()
        self.interfaces: Mapping[int, Interface] = {}
        #: Interfaces with a link that is up.
        self.linked: frozenset[int] = frozenset()
        self.neighbours: tuple[Neighbour, ...] = ()
        #: UNIX s: when the first certificate that a link relies on ends.
        self.expires = _NEVER

    def begin(
        self, receiver: Receiver, port: int, announce: Callable[[Interface, bytes], bool], epoll: select.epoll
    ) -> None:
        self._receiver = receiver
        self._port = port
        self._announce = announce
        self._epoll = epoll

    def close(self) -> None:
        """Every connection."""
        for wire in list(self._wires.values()):
            wire.close()
        self._wires.clear()
        self.neighbours, self.linked, self.interfaces = (), frozenset(), {}

    # -- time

    @property
    def due(self) -> float:
        """When :meth:`upkeep` has something to do."""
        return min([self._timer, *(each.next for each in self._schedules.values())])

    def upkeep(self, now: float) -> None:
        """Announce, connect, keep alive and give up, as far as it is time to."""
        for index, schedule in self._schedules.items():
            if schedule.due(now):
                message = announcement(secrets.randbits(32), self._pairing.own[index], self._objective)
                self._announce(self.interfaces[index], encode_message(message, self._limits.multicast_size))
        if now >= self._timer:
            self._do(self._pairing.due(now))
            self._survey()
            self._timer = self._pairing.next()

    # -- what others have told

    def changed(self, interfaces: Mapping[int, Interface]) -> set[int]:
        """What there is now; the indexes that are not there any more."""
        now = time.monotonic()
        places = {
            index: Place(each.link_local, self._port)
            for index, each in interfaces.items()
            if each.link_local is not None
        }
        gone = set(self.interfaces) - set(places)
        for index in gone:
            self._do(self._pairing.addressed(now, index, None))
            del self._schedules[index]
        self.interfaces = {index: interfaces[index] for index in places}
        self.own = frozenset(places.values())
        for index, place in places.items():
            if self._pairing.own.get(index) != place:
                self._do(self._pairing.addressed(now, index, place))
                self._schedules.setdefault(index, Schedule(now, self._random)).begin(now)
        self._survey()
        return gone

    def found(self, interface: int, found: Announced) -> None:
        """An announcement."""
        now = time.monotonic()
        if self._pairing.heard(now, interface, found):
            self._schedules[interface].unknown(now)
            self._timer = 0.0

    def adopted(self, sock: socket.socket, session: TlsSession, address: Address, interface: int) -> None:
        """A neighbour has connected, and is a member."""
        if not isinstance(address, IPv6Address) or not address.is_link_local:
            self._counts["link: not from a neighbour"] += 1
            sock.close()
            return
        link, actions = self._pairing.adopted(time.monotonic(), interface, session.member.acp_name, session.generation)
        wire = Wire(sock, session, link, address, self._longest)
        wire.secured = True
        self._add(wire)
        self._do(actions)
        # A recheck may have been between the handshake and now.
        self._judge(wire, self._contexts.clock())
        # What came right behind the handshake is in the session already.
        self._flow(wire)
        self._timer = 0.0

    def send(self, interface: int, data: bytes) -> None:
        """To all neighbours there."""
        for link in [each for each in self._up if each.interface == interface]:
            self._say(self._by_link[link], data)

    def reply(self, target: Source, data: bytes) -> None:
        """To the one by whose link something came."""
        for link in self._up:
            place, wire = link.place, self._by_link[link]
            if (
                place is not None
                and (link.interface, place.address, place.port) == (target.interface, target.address, target.port)
                and (target.member is None or wire.session.member.acp_name == target.member.acp_name)
            ):
                self._say(wire, data)
                return
        self._counts["link: nobody to reply to"] += 1

    def recheck(self, clock: float) -> None:
        """Cut off who is no member any more; ``clock`` is UNIX s."""
        for wire in [each for each in self._wires.values() if each.secured]:
            self._judge(wire, clock)
        self._survey()
        self._timer = 0.0

    def _judge(self, wire: Wire, clock: float) -> None:
        if wire.link.phase is not Phase.CLOSED and (why := wire.session.refusal(clock)):
            self._complain(wire, f"is cut off: {why}")
            self._do([self._pairing.cut(time.monotonic(), wire.link, "no member any more")])

    def renew(self) -> None:
        """There is another identity: links are made anew with it."""
        self._pairing.renew(time.monotonic(), self._contexts.generation)
        self._timer = 0.0

    # -- connections

    def ready(self, number: int, events: int) -> None:
        """Something can be read from or written to a connection, or it has failed."""
        wire = self._wires.get(number)
        if wire is None:
            return
        try:
            if wire.connecting:
                wire.connected()
                wire.link.reached = True
            elif events & ~select.EPOLLOUT:
                wire.receive()
                wire.link.heard = time.monotonic()
            wire.flush()
        except OSError as error:
            self._failed(wire, error)
            return
        self._flow(wire)

    def _flow(self, wire: Wire) -> None:
        """Go on with what has come."""
        link = wire.link
        if link.phase is Phase.CLOSED:
            return
        try:
            if wire.handshake():
                if link.phase is Phase.CONNECTING:
                    session = wire.session
                    now = time.monotonic()
                    self._do(self._pairing.secured(now, link, session.member.acp_name, session.generation))
                for message, data in wire.messages():
                    self._message(wire, message, data)
                    if self._closed(link):
                        return
        except WireError as error:
            self._counts["link: invalid message"] += 1
            # What it said goes into no count, of which there would be one for each way to be wrong.
            _log.debug("link with %s: %.100s", wire.address, error.detail)
            self._lost(wire, "sent what is no GRASP")
        except OSError as error:
            self._failed(wire, error)
        else:
            if wire.ended and not (link.phase is Phase.RETIRED and wire.queued):
                self._lost(wire, "ended the connection")
            self._watch(wire)

    @staticmethod
    def _closed(link: Link) -> bool:
        return link.phase is Phase.CLOSED

    def _message(self, wire: Wire, message: Message, data: bytes) -> None:
        link = wire.link
        now = time.monotonic()
        if link.phase is Phase.AWAITED:
            found = announced(message, wire.address, self._objective) if isinstance(message, Flood) else None
            if found is None:
                self._lost(wire, "did not say where it listens")
            else:
                self._do(self._pairing.greeted(now, link, found))
                self._timer = 0.0
            return
        if link.phase in (Phase.ASKED, Phase.OFFERED):
            self._do(self._pairing.message(now, link, isinstance(message, Noop)))
            self._timer = 0.0
        if link.phase in (Phase.UP, Phase.RETIRED) and not isinstance(message, Noop):
            self._hand_up(wire, message, data)

    def _hand_up(self, wire: Wire, message: Message, data: bytes) -> None:
        link, place = wire.link, wire.link.place
        if not isinstance(message, _UPWARDS) or place is None:
            self._counts["link: not for links"] += 1
            self._lost(wire, f"sent a {type(message).__name__}, which has no place on a link")
            return
        source = Source(place.address, place.port, link.interface, wire.session.member)
        try:
            self._receiver.multicast_received(data, source)
        except Exception:
            _log.exception("handling a message from a link failed")

    # -- actions

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            link = action.link
            if action.do is Do.OPEN:
                self._open(link)
                continue
            wire = self._by_link.get(link)
            if wire is None:
                continue
            if action.do is Do.CLOSE:
                self._counts[f"link: {action.why}"] += 1
                self._remove(wire)
            elif action.do is Do.UP:
                self._came_up(wire)
            elif action.do is Do.GREET:
                own = self._pairing.own[link.interface]
                self._say(wire, encode_message(announcement(secrets.randbits(32), own, self._objective), self._longest))
            elif action.do is Do.NOOP:
                self._say(wire, self._noop)
            elif action.do is Do.PROVE:
                wire.prove()
                self._say(wire, self._noop)
            else:
                self._leave(wire, finish=action.do is Do.RETIRE)

    def _open(self, link: Link) -> None:
        place = link.place
        assert place is not None
        session = TlsSession(self._contexts, server=False, protocols=(LINK,))
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        wire = Wire(sock, session, link, place.address, self._longest)
        self._by_link[link] = wire
        try:
            wire.connect(self._pairing.own[link.interface].address, place.port)
        except OSError as error:
            self._failed(wire, error)
            return
        self._add(wire)

    def _add(self, wire: Wire) -> None:
        self._wires[wire.fileno()] = self._by_link[wire.link] = wire
        wire.interested = wire.wanted
        self._epoll.register(wire.fileno(), wire.interested)

    def _watch(self, wire: Wire) -> None:
        wanted = wire.wanted
        if wanted != wire.interested and wire.fileno() in self._wires:
            self._epoll.modify(wire.fileno(), wanted)
            wire.interested = wanted

    def _say(self, wire: Wire, data: bytes) -> None:
        wire.link.said = time.monotonic()
        try:
            wire.send(data)
        except OSError as error:
            self._failed(wire, error)
        else:
            self._watch(wire)

    def _leave(self, wire: Wire, finish: bool) -> None:
        self._up.pop(wire.link, None)
        try:
            if finish:
                wire.finish()
        except OSError as error:
            self._failed(wire, error)
        else:
            self._watch(wire)
        self._survey()

    def _came_up(self, wire: Wire) -> None:
        link = wire.link
        self._up[link] = self._contexts.clock()
        self._survey()
        self._tell(wire, f"is linked on {self.interfaces[link.interface].name}")
        try:
            self._receiver.neighbour_up(link.interface)
        except Exception:
            _log.exception("telling of a neighbour failed")

    def _failed(self, wire: Wire, error: OSError) -> None:
        if isinstance(error, NotMemberError):
            self._counts["link: not a member"] += 1
            self._complain(wire, f"is no neighbour: {error}")
        kind = "failed" if isinstance(error, NotMemberError) else f"broke: {type(error).__name__}"
        self._lost(wire, kind, str(error)[:_WHY])
        _log.debug("link with %s: %s", wire.address, error)

    def _lost(self, wire: Wire, why: str, detail: str = "") -> None:
        if wire.link.phase is not Phase.CLOSED:
            if wire.link.phase is Phase.UP:
                self._tell(wire, why)
            self._do([self._pairing.closed(time.monotonic(), wire.link, why, detail)])
            self._timer = 0.0

    def _tell(self, wire: Wire, what: str) -> None:
        if self._told.take(time.monotonic()):
            _log.info("neighbour %s at %s %s", wire.session.member.name or wire.link.member, wire.address, what)

    def _complain(self, wire: Wire, what: str) -> None:
        """One line in the log; few, whatever neighbours do."""
        if self._logged.take(time.monotonic()):
            who = wire.session.member.name or wire.link.member if wire.secured else ""
            _log.warning("neighbour %s at %s %.300s", who, wire.address, what)

    def _remove(self, wire: Wire) -> None:
        self._by_link.pop(wire.link, None)
        self._wires.pop(wire.fileno(), None)
        # Closing takes it out of the epoll set too.
        wire.close()
        self._up.pop(wire.link, None)
        self._survey()

    def _survey(self) -> None:
        """What others may want to know."""
        up = [
            Neighbour(link.interface, self._by_link[link].address, self._by_link[link].session.member, since, "up")
            for link, since in self._up.items()
        ]
        begun = self._contexts.clock() - time.monotonic()
        failing = [
            Neighbour(each.interface, each.place.address, None, begun + each.since, "failing", each.why)
            for each in self._pairing.candidates
            if each.failures and not each.held
        ]
        self.neighbours = (*up, *failing)
        self.linked = frozenset(each.interface for each in self._up)
        self.expires = min((each.member.expires for each in up if each.member is not None), default=_NEVER)
