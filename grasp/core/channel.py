"""A connection that carries messages."""

from __future__ import annotations

import threading
import time

from grasp.transport import Connection
from grasp.wire import Message, Noop, encode_message
from grasp.wire.stream import MessageReader


class PeerClosed(ConnectionError):
    """The peer closed the connection where a message was due."""


class Channel:
    """One message per send, one message per receive, M_NOOP ignored (RFC 8990 §2.8.13).

    ``ours``: this node opened the connection, so nothing is due on it between two sessions.
    """

    __slots__ = ("_ours", "_over", "_reader", "connection", "idle", "reusable")

    def __init__(self, connection: Connection, limit: int, ours: bool = False) -> None:
        self.connection = connection
        self._reader = MessageReader(limit)
        self._ours = ours
        self._over: threading.Event | None = None
        self.reusable = connection.reusable
        """False: nobody will wait for another request on it."""
        self.idle = False
        """Whether a session on it has ended in turn and another may begin."""

    def send(self, message: Message, limit: int) -> None:
        """Raises OSError, or :class:`~grasp.errors.LocalError` ``tooLong`` above ``limit`` bytes."""
        self.connection.send(encode_message(message, limit))

    def receive(self, deadline: float) -> Message:
        """The next message, by ``deadline`` (monotonic s) at the latest.

        Raises TimeoutError, :class:`PeerClosed`, OSError or :class:`~grasp.errors.WireError`.
        """
        reader = self._reader
        message = reader.next() if reader.buffer else None
        while message is None or type(message) is Noop:
            if message is None or not reader.buffer:
                data = self.connection.receive(deadline - time.monotonic())
                if not data:
                    raise PeerClosed("peer closed the connection")
                reader.feed(data)
            message = reader.next()
        return message

    @property
    def received_bytes(self) -> bytes:
        """The last message as it came."""
        return self._reader.last

    def limit_to(self, limit: int) -> None:
        """Allow messages of ``limit`` bytes from now on."""
        self._reader.limit = limit

    def hand_over(self) -> None:
        """Somebody else than its reader gets it, until :meth:`close` or :meth:`release`."""
        if self.reusable:
            self._over = threading.Event()

    def await_back(self) -> None:
        """Wait until whoever it was handed over to has done with it, if there may be another session then."""
        if self._over is not None:
            self._over.wait()
            self._over = None

    def close(self) -> None:
        """No effect on a connection of ours that was released: it may be another session's by now."""
        if not (self._ours and self.idle):
            self.connection.close()
        if self._over is not None:
            self._over.set()

    def release(self) -> None:
        """The session has ended in turn: keep the connection for another, where both ends may, or close it."""
        if not self.reusable or (self._ours and self._reader.buffer):
            self.connection.close()
        else:
            self.idle = self.connection.release()
        if self._over is not None:
            self._over.set()
