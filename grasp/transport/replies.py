"""Single messages to whoever sent a multicast, each on a connection of its own (RFC 8990 §2.5.4.4)."""

from __future__ import annotations

import errno
import select
import socket
import threading
from dataclasses import dataclass
from typing import Final

from grasp.discovery import Source
from grasp.wire import address_text

_UNFINISHED: Final = (errno.EINPROGRESS, errno.EAGAIN, errno.EALREADY, errno.ENOTCONN)


@dataclass(slots=True)
class _Reply:
    socket: socket.socket
    data: bytes
    expires: float


class Replies:
    """Connects without waiting, so that sources that do not exist hold up nobody.

    At most ``limit`` connect at once, for ``seconds`` each; one more displaces the oldest.
    """

    def __init__(self, epoll: select.epoll, limit: int, seconds: float) -> None:
        self._epoll = epoll
        self._limit = limit
        self._seconds = seconds
        self._lock = threading.Lock()
        self._pending: dict[int, _Reply] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, now: float, target: Source, data: bytes) -> None:
        """Start sending ``data``, at most a few kilobytes. ``now`` is monotonic s."""
        name = address_text(target.address)
        version = target.address.version
        sock = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            code = sock.connect_ex((name, target.port, 0, target.interface) if version == 6 else (name, target.port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, "cannot connect")
            # On a fast link the connection stands by now.
            sent = _try(sock, data)
        except OSError:
            sock.close()
            return
        if sent:
            sock.close()
            return
        with self._lock:
            if len(self._pending) >= self._limit:
                self._forget(next(iter(self._pending)))
            self._pending[sock.fileno()] = _Reply(sock, data, now + self._seconds)
            self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def ready(self, number: int) -> None:
        """The connection with this descriptor stands, or has failed."""
        with self._lock:
            reply = self._pending.get(number)
            if reply is None:
                return
            try:
                if not _try(reply.socket, reply.data):
                    return
            except OSError:
                # The asker is not there; it repeats its question if it is.
                pass
            self._forget(number)

    def expire(self, now: float) -> None:
        with self._lock:
            for number in [number for number, reply in self._pending.items() if reply.expires <= now]:
                self._forget(number)

    def _forget(self, number: int) -> None:
        # Closing takes it out of the epoll set too.
        self._pending.pop(number).socket.close()

    def close(self) -> None:
        with self._lock:
            for number in list(self._pending):
                self._forget(number)


def _try(sock: socket.socket, data: bytes) -> bool:
    """Whether all of ``data`` was taken; a fresh connection takes a message whole. Raises OSError."""
    try:
        sock.send(data)
    except OSError as error:
        if error.errno in _UNFINISHED:
            return False
        raise
    return True
