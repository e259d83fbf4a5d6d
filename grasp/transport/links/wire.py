"""One connection between neighbours: a socket that never waits, TLS, and the messages on it. Not thread-safe."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Final

from grasp.transport.links.phases import Link
from grasp.transport.tls import TlsClosed, TlsFailed, TlsSession
from grasp.wire import Message, address_text
from grasp.wire.stream import MessageReader

QUEUE: Final = 262_144
"""Bytes that wait for a neighbour to read; with more it loses the link, so that nobody waits for it."""

_KERNEL: Final = 65_536
_READ: Final = 65_536
_DEAD_MS: Final = 30_000
_PROOF_MS: Final = 3_000


class TooSlow(ConnectionError):
    """The neighbour does not read what is sent to it."""


class Wire:
    """``address``: the other end's; ``interested``: what epoll was told."""

    def __init__(self, sock: socket.socket, session: TlsSession, link: Link, address: IPv6Address, limit: int) -> None:
        self.socket = sock
        self.session = session
        self.link = link
        self.address = address
        self.connecting = False
        self.secured = False
        self.interested = 0
        self._reader = MessageReader(limit)
        self._queue: list[bytes] = []
        self._queued = 0
        self._ended = False
        self._finishing = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL)

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def wanted(self) -> int:
        """What epoll is to watch for."""
        if self.connecting:
            return select.EPOLLOUT
        return (0 if self._ended else select.EPOLLIN) | (select.EPOLLOUT if self._queue else 0)

    @property
    def ended(self) -> bool:
        """Whether the other end says no more."""
        return self._ended

    @property
    def queued(self) -> int:
        """Bytes the kernel has not taken yet."""
        return self._queued

    def connect(self, own: IPv6Address, port: int) -> None:
        """Begin to. Raises OSError."""
        scope = self.link.interface
        # From the address that is announced: the other end compares.
        self.socket.bind((address_text(own), 0, 0, scope))
        self.connecting = True
        try:
            self.socket.connect((address_text(self.address), port, 0, scope))
        except BlockingIOError:
            pass

    def connected(self) -> None:
        """The socket is ready. Raises OSError."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self.connecting = False

    def handshake(self) -> bool:
        """Go on with it, if it is not done; whether it is. Raises OSError."""
        if not self.secured:
            try:
                self.secured = self.session.handshake()
            finally:
                # Also the alert that says why not.
                self._out()
        return self.secured

    def receive(self) -> None:
        """Take what has come. Raises OSError."""
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return
        if data:
            self.session.feed(data)
        else:
            self._ended = True

    def messages(self) -> Iterator[tuple[Message, bytes]]:
        """Whole messages among what has come. Raises OSError, or :class:`~grasp.errors.WireError`."""
        while True:
            message = self._reader.next()
            if message is not None:
                yield message, self._reader.last
                continue
            try:
                data = self.session.read()
            except TlsClosed:
                self._ended = True
                return
            except TlsFailed:
                if self._ended:
                    return
                raise
            if not data:
                # Reading may have made an answer: to a key update.
                self._out()
                if self._queued > QUEUE:
                    raise TooSlow(f"{self._queued} bytes wait for it")
                return
            self._reader.feed(data)

    def send(self, data: bytes) -> None:
        """Raises OSError, :class:`TooSlow` among them."""
        if self._queued > QUEUE:
            raise TooSlow(f"{self._queued} bytes wait for it")
        self.session.write(data)
        self._out()

    def _out(self) -> None:
        data = self.session.outgoing()
        if data:
            self._queue.append(data)
            self._queued += len(data)
            self.flush()

    def flush(self) -> None:
        """Let the kernel have what it takes. Raises OSError."""
        while self._queue and not self.connecting:
            data = self._queue[0]
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                return
            self._queued -= sent
            if sent < len(data):
                self._queue[0] = data[sent:]
                return
            del self._queue[0]
        if self._finishing and not self._queue:
            self._finishing = False
            self.socket.shutdown(socket.SHUT_WR)

    def finish(self) -> None:
        """Say that nothing more comes, after what is queued. Raises OSError."""
        self.session.close()
        self._finishing = True
        self._out()
        self.flush()

    def prove(self) -> None:
        """What is sent from now on has to be acknowledged within seconds, or the connection ends."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PROOF_MS)

    def close(self) -> None:
        """Also says so, as far as the kernel takes it."""
        try:
            if not self.connecting:
                self.session.close()
                self._out()
        except OSError:
            pass
        self.socket.close()
