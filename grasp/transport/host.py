"""What every substrate has of its host: interfaces as they come and go, one port, connections, upkeep."""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Final

from grasp.discovery import Source
from grasp.errors import ErrorCode, LocalError
from grasp.limits import Limits
from grasp.transport import Connection, Neighbour, Receiver
from grasp.transport.interfaces import ChangeBell, Interface, Snapshot, take_snapshot
from grasp.transport.multicast import MulticastSockets
from grasp.transport.tcp import Acceptors, TcpConnection, end_overdue
from grasp.wire import Address, address_from_text

_log = logging.getLogger("grasp.transport")

_PORT_TRIES: Final = 64
_MAPPED: Final = "::ffff:"
_IDLE_S: Final = 1.0
_BUSY_S: Final = 0.2
_SETTLE_S: Final = 0.01


class HostSubstrate(ABC):
    """GRASP on the named interfaces, or on all that can multicast.

    ``port`` is the TCP port connections are accepted on and the UDP port multicasts leave from (§2.8.4);
    0 chooses one that is free for both. ``address`` is the routed address to be known by, instead of the
    first one found. ``ipv4`` adds IPv4 connections, and multicasts where they are used.
    """

    secured: ClassVar[bool]
    multicasts_ipv4: ClassVar[bool] = False
    link_local_only = False
    """Whether connections from routed peers are refused."""

    def __init__(
        self,
        interfaces: Sequence[str] | None = None,
        *,
        port: int = 0,
        address: Address | None = None,
        ipv4: bool = False,
        limits: Limits | None = None,
        name: str = "grasp",
    ) -> None:
        if isinstance(interfaces, str):
            raise LocalError(ErrorCode.badArgument, "interfaces must be a sequence of names, not one text")
        if type(port) is not int or not 0 <= port <= 0xFFFF:
            raise LocalError(ErrorCode.badArgument, f"port must be 0..65535, not {port!r:.40}")
        if interfaces is not None and not all(isinstance(each, str) for each in interfaces):
            raise LocalError(ErrorCode.badArgument, "the names of interfaces must be text")
        if address is not None and not isinstance(address, IPv4Address | IPv6Address):
            raise LocalError(ErrorCode.badArgument, f"address must be an ipaddress object, not {address!r:.80}")
        if address is not None and (address.is_multicast or address.is_unspecified):
            raise LocalError(ErrorCode.badArgument, f"{address} cannot be the address of a node")
        self._wanted = tuple(interfaces) if interfaces is not None else None
        self._requested_port = port
        self._address = address
        self._ipv4 = ipv4
        self._limits = limits or Limits()
        self._name = name
        self._snapshot = Snapshot({}, frozenset(), ())
        self._running = False
        self._outgoing: set[TcpConnection] = set()
        self._port = 0
        self._refresh_lock = threading.Lock()

    # -- what differs

    @abstractmethod
    def _begin(self, receiver: Receiver) -> None:
        """The sockets are open, the interfaces not looked at yet, no thread runs."""

    @abstractmethod
    def _accepted(self, wire: TcpConnection) -> None:
        """A peer has connected; in a thread of its own, free again when this returns."""

    @abstractmethod
    def _heard(self, data: bytes, source: Source) -> None:
        """A datagram came to the multicast port."""

    @abstractmethod
    def _end(self) -> None:
        """Stop what :meth:`_begin` began; no connection is accepted any more."""

    def _interfaces(self, snapshot: Snapshot) -> None:  # noqa: B027
        """They are others now."""

    def _ready(self, number: int) -> None:  # noqa: B027
        """A descriptor registered with ``_epoll`` is ready."""

    def _upkeep(self, now: float) -> None:  # noqa: B027
        """At least once a second; ``now`` is monotonic s."""

    @property
    def _busy(self) -> bool:
        """Whether upkeep is due more often than once a second."""
        return False

    # -- what does not

    @property
    def port(self) -> int:
        return self._port

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        return tuple(self._snapshot.interfaces.values())

    @property
    def address(self) -> Address | None:
        return self._address or next(iter(self._snapshot.routed), None)

    @property
    def neighbours(self) -> tuple[Neighbour, ...]:
        return ()

    @property
    def discarded(self) -> Mapping[str, int]:
        return {}

    def is_own(self, address: Address) -> bool:
        snapshot = self._snapshot
        return address in snapshot.own or any(each.link_local == address for each in snapshot.interfaces.values())

    def start(self, receiver: Receiver) -> None:
        listener = None
        try:
            listener, self._multicast = self._open()
            self._bell = ChangeBell()
        except OSError as error:
            if listener is not None:
                listener.close()
                self._multicast.stop()
            raise LocalError(ErrorCode.noSocket, f"cannot open GRASP sockets: {error}") from error
        self._receiver = receiver
        self._running = True
        self._acceptors = Acceptors(listener, self._accepted, self._arrival, self._limits, f"{self._name}-accept")
        self._wake, self._waker = socket.socketpair()
        self._epoll = select.epoll()
        self._begin(receiver)
        self._refresh()
        if not self._snapshot.interfaces:
            wanted = "any interface" if self._wanted is None else ", ".join(self._wanted)
            _log.warning("%s is not usable yet (up, multicast, link-local address); waiting for it", wanted)
        self._multicast.start(self._heard)
        self._acceptors.start()
        self._watcher = threading.Thread(target=self._watch, name=f"{self._name}-interfaces", daemon=True)
        self._watcher.start()

    def _open(self) -> tuple[socket.socket, MulticastSockets]:
        ipv4 = self._ipv4 and self.multicasts_ipv4
        for attempt in range(_PORT_TRIES):
            listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not self._ipv4)
                listener.bind(("::", self._requested_port))
                port = int(listener.getsockname()[1])
                multicast = MulticastSockets(port, ipv4, self._limits.multicast_size, f"{self._name}-multicast")
            except OSError:
                listener.close()
                if self._requested_port or attempt == _PORT_TRIES - 1:
                    raise
                continue
            listener.listen(self._limits.backlog)
            self._port = port
            return listener, multicast
        raise AssertionError("unreachable")

    def _arrival(self, sock: socket.socket, peer: str, scope: int) -> int | None:
        """The interface a connection came to: 0 if its peer is routed, None if it is not one of GRASP's (§2.1).

        ``scope`` is that of a link-local peer.
        """
        snapshot = self._snapshot
        if scope:
            return scope if scope in snapshot.interfaces else None
        if self.link_local_only:
            return None
        mapped = peer.startswith(_MAPPED)
        if self._wanted is None and not mapped:
            return 0
        local = address_from_text(sock.getsockname()[0])
        if self._wanted is not None and local not in snapshot.own:
            return None
        if mapped:
            return next((index for index, each in snapshot.interfaces.items() if local in each.ipv4), 0)
        return 0

    def _watch(self) -> None:
        bell, wake = self._bell.fileno(), self._wake.fileno()
        for number in (bell, wake):
            self._epoll.register(number, select.EPOLLIN)
        upkeep = time.monotonic()
        while self._running:
            busy = self._acceptors.open or self._outgoing or self._busy
            ready = [number for number, _ in self._epoll.poll(_BUSY_S if busy else _IDLE_S)]
            if wake in ready:
                return
            try:
                for number in ready:
                    if number == bell:
                        self._changed()
                    else:
                        self._ready(number)
                now = time.monotonic()
                if now >= upkeep:
                    upkeep = now + _BUSY_S / 2
                    self._receiver.upkeep(now)
                    self._acceptors.upkeep(now)
                    self._upkeep(now)
                    end_overdue(list(self._outgoing), now)
            except Exception:
                _log.exception("upkeep failed")

    def _changed(self) -> None:
        # One change rings several times: look at the first ring, and again when they are through.
        self._bell.silence()
        self._refresh()
        time.sleep(_SETTLE_S)
        self._bell.silence()
        self._refresh()

    def _refresh(self) -> None:
        with self._refresh_lock:
            before, after = self._snapshot, take_snapshot(self._wanted, self._ipv4)
            self._multicast.join(after.interfaces.values())
            if before == after:
                return
            self._snapshot = after
        gone = frozenset(before.interfaces) - frozenset(after.interfaces)
        for index, interface in after.interfaces.items():
            if index not in before.interfaces:
                _log.info("using %s", interface.name)
        for index in gone:
            _log.info("no longer using %s", before.interfaces[index].name)
        self._interfaces(after)
        self._receiver.interfaces_changed(gone)

    @abstractmethod
    def multicast(self, interface: int, data: bytes) -> bool: ...

    @abstractmethod
    def reply(self, target: Source, data: bytes) -> None: ...

    @abstractmethod
    def connect(self, address: Address, port: int, interface: int, seconds: float, member: str = "") -> Connection: ...

    def stop(self) -> None:
        if not self._running:
            return
        self._running = False
        self._waker.send(b"x")
        if self._watcher is not threading.current_thread():
            self._watcher.join(5)
        self._multicast.stop()
        for connection in list(self._outgoing):
            connection.interrupt()
        self._acceptors.stop()
        self._end()
        for each in (self._bell, self._wake, self._waker, self._epoll):
            each.close()
        self._snapshot = Snapshot({}, frozenset(), ())
