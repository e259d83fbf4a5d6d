"""Connections over TCP, and the threads that accept them."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

from grasp.limits import Limits
from grasp.wire import Address, address_from_text, address_text

_log = logging.getLogger("grasp.transport")

_SPARE: Final = 2
_CLOSE_ENOUGH_S: Final = 0.05
_READ: Final = 4_096


def _interval(seconds: float) -> bytes:
    microseconds = max(1, int(seconds * 1_000_000))
    return struct.pack("ll", *divmod(microseconds, 1_000_000))


class TcpConnection:
    """One TCP connection. Time-outs are the socket's own (SO_RCVTIMEO), which spares a poll per read."""

    __slots__ = (
        "_closed", "_delaying", "_on_close", "_reading", "_seconds", "_sent", "_socket",
        "interface", "peer", "peer_name", "peer_port",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        peer_name: str,
        peer_port: int,
        interface: int,
        seconds: float,
        on_close: Callable[[TcpConnection], None],
        delaying: bool,
    ) -> None:
        self._socket = sock
        self._seconds = seconds
        self._on_close = on_close
        self._closed = False
        self._reading = False
        self._delaying = delaying
        self._sent = False
        self.peer = address_from_text(peer_name)
        self.peer_name = peer_name
        self.peer_port = peer_port
        self.interface = interface

    def send(self, data: bytes) -> None:
        if self._sent and self._delaying:
            # A second message before the peer's next would wait for the acknowledgement of the first.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._delaying = False
        self._sent = True
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            raise TimeoutError("peer does not read") from None

    def receive(self, seconds: float) -> bytes:
        if seconds <= 0:
            raise TimeoutError("no time left")
        if not 0 <= self._seconds - seconds < _CLOSE_ENOUGH_S:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _interval(seconds))
            self._seconds = seconds
        self._sent = False
        self._reading = True
        try:
            return self._socket.recv(_READ)
        except BlockingIOError:
            raise TimeoutError("nothing received in time") from None
        finally:
            self._reading = False
            if self._closed:
                self._socket.close()

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

    def interrupt(self) -> None:
        """End both directions, so that a thread blocked in :meth:`receive` returns and closes."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def connect(
    address: Address, port: int, interface: int, seconds: float, on_close: Callable[[TcpConnection], None]
) -> TcpConnection:
    """A connection to ``address``; a link-local one needs its ``interface``. Raises OSError."""
    family = socket.AF_INET6 if type(address) is IPv6Address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _interval(seconds))
        name = address_text(address)
        sock.connect((name, port, 0, interface) if family == socket.AF_INET6 else (name, port))
    except BlockingIOError:
        sock.close()
        raise TimeoutError(f"no connection in {seconds:.1f} s") from None
    except BaseException:
        sock.close()
        raise
    return TcpConnection(sock, name, port, interface, -1.0, on_close, delaying=True)


class Acceptors:
    """Threads that accept a connection and serve it themselves, so that nothing is handed over.

    Two wait in accept when idle; when the last one gets a connection it starts another, up to
    ``Limits.workers``. Above ``sessions`` or ``sessions_per_peer`` a connection is closed unread.
    """

    def __init__(
        self,
        listener: socket.socket,
        serve: Callable[[TcpConnection], None],
        admit: Callable[[socket.socket, int], bool],
        limits: Limits,
        name: str,
    ) -> None:
        self._listener = listener
        self._serve = serve
        self._admit = admit
        self._limits = limits
        self._name = name
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._started = 0
        self._idle = 0
        self._surplus = 0
        self._running = True
        self._open: set[TcpConnection] = set()
        self._per_peer: dict[str, int] = {}
        self.refused = 0
        first = limits.first_message_ms / 1000
        # Inherited by every accepted socket; on the listener it makes idle threads look up.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _interval(first))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _interval(first))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A connection that never says anything costs the kernel a request, not us a thread.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, max(1, int(first)))
        self._first = first

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
                except BlockingIOError:
                    if self._retire():
                        return
                    continue
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

    def shrink(self) -> None:
        """Let half of the threads that are too many go. Call it about once a second."""
        with self._lock:
            self._surplus = (self._idle - _SPARE + 1) // 2 if self._idle > _SPARE else 0

    def _take(self, sock: socket.socket, name: tuple[str, int, int, int]) -> None:
        peer = name[0]
        connection = TcpConnection(sock, peer, name[1], name[3], self._first, self._closed, delaying=False)
        with self._lock:
            mine = self._per_peer.get(peer, 0)
            allowed = len(self._open) < self._limits.sessions and mine < self._limits.sessions_per_peer
            self._open.add(connection)
            self._per_peer[peer] = mine + 1
            self._idle -= 1
            if not self._idle and len(self._threads) < self._limits.workers and self._running:
                self._spawn()
        try:
            if allowed and self._running and self._admit(sock, name[3]):
                self._serve(connection)
            else:
                self.refused += 1
                connection.close()
        except Exception:
            # Nothing a peer sends may end a thread; whatever slipped through is ours to mend.
            _log.exception("serving a connection failed")
            connection.close()
        finally:
            with self._lock:
                self._idle += 1

    def _closed(self, connection: TcpConnection) -> None:
        with self._lock:
            self._open.discard(connection)
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
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(5)
        self._listener.close()
        for connection in connections:
            connection.close()
