"""Connections over TCP, and the threads that accept them."""

from __future__ import annotations

import logging
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Final

from grasp.limits import Limits
from grasp.member import Member
from grasp.transport.threads import join_all
from grasp.wire import Address, address_from_text, address_text

_log = logging.getLogger("grasp.transport")

_SPARE: Final = 2
_EXACT_S: Final = 3.0
_SEND_S: Final = 10.0
_READ: Final = 4_096


def _interval(seconds: float) -> bytes:
    """0 for no limit."""
    microseconds = max(1, int(seconds * 1_000_000)) if seconds else 0
    return struct.pack("ll", *divmod(microseconds, 1_000_000))


class TcpConnection:
    """One TCP connection.

    A wait of less than ``_EXACT_S`` is timed by the kernel. For a longer one a kernel timer on every read
    would cost more than the read: :func:`end_overdue`, called a few times a second, ends it instead.
    """

    member: Member | None = None
    reusable = False

    __slots__ = (
        "_closed", "_delaying", "_on_close", "_overdue", "_reading", "_sent", "_socket", "_timer",
        "interface", "known", "newcomer", "peer", "peer_name", "peer_port", "until",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        peer_name: str,
        peer_port: int,
        interface: int,
        on_close: Callable[[TcpConnection], None],
        delaying: bool,
    ) -> None:
        self._socket = sock
        self._on_close = on_close
        self._closed = False
        self._reading = False
        self._overdue = False
        self._delaying = delaying
        self._sent = False
        self._timer = 0.0
        self.until = math.inf
        self.newcomer = True
        self.known = False
        self.peer = address_from_text(peer_name)
        self.peer_name = peer_name
        self.peer_port = peer_port
        self.interface = interface

    def connect(self, name: tuple[str, int] | tuple[str, int, int, int], seconds: float) -> None:
        self._limit(seconds, socket.SO_SNDTIMEO)
        try:
            self._socket.connect(name)
        except OSError as error:
            if self._overdue or isinstance(error, BlockingIOError):
                raise TimeoutError(f"no connection in {seconds:.1f} s") from None
            raise
        self.until = math.inf
        if self._timer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _interval(0))
            self._timer = 0.0

    def send(self, data: bytes) -> None:
        if self._sent and self._delaying:
            # A second message before the peer's next would wait for the acknowledgement of the first.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._delaying = False
        self._sent = True
        self.until = time.monotonic() + _SEND_S
        try:
            self._socket.sendall(data)
        except OSError:
            if self._overdue:
                raise TimeoutError("peer does not read") from None
            raise
        self.until = math.inf

    def receive(self, seconds: float) -> bytes:
        if seconds <= 0:
            raise TimeoutError("no time left")
        self._limit(seconds, socket.SO_RCVTIMEO)
        self._sent = False
        self._reading = True
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            raise TimeoutError("nothing received in time") from None
        finally:
            self._reading = False
            if self._closed:
                self._socket.close()
        self.until = math.inf
        if self._overdue:
            raise TimeoutError("nothing received in time")
        return data

    def _limit(self, seconds: float, option: int) -> None:
        if seconds >= _EXACT_S:
            self.until = time.monotonic() + seconds
            seconds = 0.0
        if seconds != self._timer:
            self._socket.setsockopt(socket.SOL_SOCKET, option, _interval(seconds))
            self._timer = seconds

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        if self._reading:
            # Closing it under a blocked read would neither wake the reader nor keep the number from reuse.
            self.interrupt()
        else:
            self._socket.close()

    def release(self) -> bool:
        # RFC 8990 §2.5.5, §2.5.6.1: whoever ends the session closes its connection.
        self.close()
        return False

    def detach(self) -> socket.socket:
        """The socket, which is the caller's from now on. Only for whoever reads, or nobody."""
        if self._timer:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _interval(0))
        self.until = math.inf
        self._closed = True
        self._on_close(self)
        return self._socket

    def finish(self, data: bytes) -> bytes:
        """Send ``data`` as far as that takes no time; what is left."""
        try:
            return data[self._socket.send(data, socket.MSG_DONTWAIT) :]
        except OSError:
            return data

    def send_end(self) -> None:
        """Nothing more will be sent; what the peer sends can still be received. Raises OSError."""
        self._socket.shutdown(socket.SHUT_WR)

    def quiet(self) -> bool:
        """Whether it stands and nothing came that nobody has read."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def interrupt(self, overdue: bool = False) -> None:
        """End both directions, so that a thread blocked on it returns and closes."""
        self._overdue = self._overdue or overdue
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def end_overdue(connections: Iterable[TcpConnection], now: float) -> None:
    """Interrupt those on which somebody waits for longer than it may. ``now`` is monotonic s."""
    for connection in connections:
        if connection.until <= now:
            connection.interrupt(overdue=True)


def connect(
    address: Address,
    port: int,
    interface: int,
    seconds: float,
    opened: set[TcpConnection],
) -> TcpConnection:
    """A connection to ``address``; a link-local one needs its ``interface``. Raises OSError.

    It is in ``opened`` from the start, so that it can be ended while it still connects.
    """
    family = socket.AF_INET6 if type(address) is IPv6Address else socket.AF_INET
    name = address_text(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    connection = TcpConnection(sock, name, port, interface, opened.discard, delaying=True)
    opened.add(connection)
    try:
        connection.connect((name, port, 0, interface) if family == socket.AF_INET6 else (name, port), seconds)
    except BaseException:
        connection.close()
        raise
    return connection


class Acceptors:
    """Threads that accept a connection and serve it themselves, so that nothing is handed over.

    Two wait in accept when idle; when the last one gets a connection it starts another, up to
    ``Limits.workers``. At that bound the oldest connection whose peer has not yet sent a whole message is
    ended instead; one that is ``known`` goes last, as its next session may just begin. Above ``sessions`` or
    ``sessions_per_peer`` a connection is closed unread.
    """

    def __init__(
        self,
        listener: socket.socket,
        serve: Callable[[TcpConnection], None],
        arrival: Callable[[socket.socket, str, int], int | None],
        limits: Limits,
        name: str,
    ) -> None:
        self._listener = listener
        self._serve = serve
        self._arrival = arrival
        self._limits = limits
        self._name = name
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._started = 0
        self._idle = 0
        self._surplus = 0
        self._running = True
        # In order of arrival.
        self._open: dict[TcpConnection, None] = {}
        self._per_peer: dict[str, int] = {}
        # Inherited by what accept returns.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        with self._lock:
            for _ in range(_SPARE):
                self._spawn()

    def _spawn(self) -> None:
        self._started += 1
        self._idle += 1
        thread = threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            # The host is out of threads; those that run carry on.
            self._threads.discard(thread)
            self._idle -= 1

    def _run(self) -> None:
        try:
            while self._running:
                try:
                    sock, name = self._listener.accept()
                except OSError as error:
                    if self._running:
                        _log.warning("accept failed: %s", error)
                        threading.Event().wait(0.1)
                    continue
                self._take(sock, name)
                if self._retire():
                    return
        finally:
            with self._lock:
                self._idle -= 1
                self._threads.discard(threading.current_thread())

    def _retire(self) -> bool:
        if not self._surplus:
            return False
        with self._lock:
            if self._surplus and self._idle > _SPARE:
                self._surplus -= 1
                return True
        return False

    def upkeep(self, now: float) -> None:
        """End what is overdue, and let half of the threads that are too many go as they wake."""
        with self._lock:
            self._surplus = (self._idle - _SPARE + 1) // 2 if self._idle > _SPARE else 0
            connections = list(self._open)
        end_overdue(connections, now)

    def _take(self, sock: socket.socket, name: tuple[str, int, int, int]) -> None:
        peer = name[0]
        connection = TcpConnection(sock, peer, name[1], name[3], self._closed, delaying=False)
        with self._lock:
            mine = self._per_peer.get(peer, 0)
            allowed = len(self._open) < self._limits.sessions and mine < self._limits.sessions_per_peer
            self._open[connection] = None
            self._per_peer[peer] = mine + 1
            self._idle -= 1
            if not self._idle and self._running:
                if len(self._threads) < self._limits.workers:
                    self._spawn()
                else:
                    self._dismiss_newcomer(connection)
        try:
            interface = self._arrival(sock, peer, name[3]) if allowed and self._running else None
            if interface is not None:
                connection.interface = interface
                self._serve(connection)
            else:
                connection.close()
        except Exception:
            # Nothing a peer sends may end a thread; whatever slipped through is ours to mend.
            _log.exception("serving a connection failed")
            connection.close()
        finally:
            with self._lock:
                self._idle += 1

    def _dismiss_newcomer(self, latest: TcpConnection) -> None:
        known = None
        for connection in self._open:
            if connection.newcomer and connection is not latest:
                if not connection.known:
                    connection.interrupt()
                    return
                known = known or connection
        if known is not None:
            known.interrupt()

    def _closed(self, connection: TcpConnection) -> None:
        with self._lock:
            self._open.pop(connection, None)
            left = self._per_peer[connection.peer_name] - 1
            if left:
                self._per_peer[connection.peer_name] = left
            else:
                del self._per_peer[connection.peer_name]

    @property
    def open(self) -> int:
        """Accepted connections not yet closed."""
        return len(self._open)

    def stop(self) -> None:
        """Stop accepting, end every connection, wait for the threads (bounded)."""
        self._running = False
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        with self._lock:
            connections, threads = list(self._open), list(self._threads)
        for connection in connections:
            connection.interrupt()
        join_all(threads)
        self._listener.close()
        for connection in connections:
            connection.close()
