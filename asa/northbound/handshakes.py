"""TLS handshakes of clients, all in one thread that waits for none of them."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from asa.northbound.limits import HANDSHAKE_S, MAX_HANDSHAKES, MAX_HANDSHAKES_OF_ONE
from asa.northbound.rates import Place
from asa.northbound.tls import Contexts

_TICK_S: Final = 0.25
"""How often it looks for those that take too long."""


class Entrant(Place):
    """The place of a connection, with the socket it has now."""

    __slots__ = ("sock",)

    def __init__(self, name: str, sock: socket.socket) -> None:
        super().__init__(name)
        self.sock = sock

    def cut(self) -> None:
        """End the connection; who has it finds it ended. For any thread."""
        with suppress(OSError):
            # Past TLS, which is another thread's.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


Arrived = Callable[[ssl.SSLSocket, Any, Entrant], None]


class _Open:
    __slots__ = ("address", "place", "since", "sock")

    def __init__(self, sock: ssl.SSLSocket, address: Any, place: Entrant, since: float) -> None:
        self.sock = sock
        self.address = address
        self.place = place
        self.since = since


class Handshakes:
    """Bounded in number and time; whose handshake is done is handed to ``arrived``, whose is given up to ``left``.

    ``arrived`` is called with the socket, the address and its place; ``left`` with the last.
    """

    def __init__(
        self, name: str, contexts: Contexts, arrived: Arrived, left: Callable[[Entrant], None], log: logging.Logger
    ) -> None:
        self._contexts = contexts
        self._arrived = arrived
        self._left = left
        self._log = log
        self._coming: deque[tuple[socket.socket, Any, Entrant]] = deque()
        self._open: dict[int, _Open] = {}
        """By descriptor, the oldest first. The thread's alone."""
        self._selector = selectors.DefaultSelector()
        self._awake, self._waker = socket.socketpair()
        for each in (self._awake, self._waker):
            each.setblocking(False)
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._until: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def begin(self, sock: socket.socket, address: Any, place: Entrant) -> None:
        """Called by the thread that accepts."""
        if len(self._coming) >= MAX_HANDSHAKES:
            sock.close()
            self._left(place)
            return
        self._coming.append((sock, address, place))
        self._wake()

    def stop(self, within_s: float) -> None:
        """Go on with those that have begun, so long, and end."""
        self._until = time.monotonic() + within_s
        self._wake()
        self._thread.join(within_s + 2 * _TICK_S)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._waker.send(b".")

    def _run(self) -> None:
        while self._until is None or ((self._open or self._coming) and time.monotonic() < self._until):
            try:
                self._turn()
            except Exception:
                self._log.exception("a TLS handshake met an error of the agent's own")
        for each in [*self._open.values()]:
            self._give_up(each)
        while self._coming:
            sock, _, place = self._coming.popleft()
            sock.close()
            self._left(place)
        self._selector.close()
        self._awake.close()
        self._waker.close()

    def _turn(self) -> None:
        for key, _ in self._selector.select(_TICK_S):
            if key.fileobj is self._awake:
                with suppress(BlockingIOError):
                    self._awake.recv(4096)
            elif (found := self._open.get(key.fd)) is not None:
                self._step(found)
        while self._coming:
            self._receive(*self._coming.popleft())
        overdue = time.monotonic() - HANDSHAKE_S
        while self._open and (oldest := next(iter(self._open.values()))).since < overdue:
            self._give_up(oldest)

    def _receive(self, plain: socket.socket, address: Any, place: Entrant) -> None:
        of_one = [each for each in self._open.values() if each.place.name == place.name]
        if len(of_one) >= MAX_HANDSHAKES_OF_ONE:
            self._give_up(of_one[0])
        elif len(self._open) >= MAX_HANDSHAKES:
            self._give_up(next(iter(self._open.values())))
        try:
            plain.setblocking(False)
            sock = self._contexts.current().wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        except (OSError, ValueError):
            plain.close()
            self._left(place)
            return
        place.sock = sock
        if place.dropped:
            # Who dropped it may have found the old socket, which has nothing any more.
            place.cut()
        found = self._open[sock.fileno()] = _Open(sock, address, place, time.monotonic())
        self._selector.register(sock, selectors.EVENT_READ)
        self._step(found)

    def _step(self, found: _Open) -> None:
        try:
            found.sock.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(found.sock, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(found.sock, selectors.EVENT_WRITE)
        except (OSError, ValueError) as error:
            self._log.debug("no TLS with %s: %s", found.place.name, getattr(error, "reason", None) or error)
            self._give_up(found)
        else:
            self._forget(found)
            try:
                self._arrived(found.sock, found.address, found.place)
            except BaseException:
                found.sock.close()
                self._left(found.place)
                raise

    def _give_up(self, found: _Open) -> None:
        self._forget(found)
        found.sock.close()
        self._left(found.place)

    def _forget(self, found: _Open) -> None:
        self._selector.unregister(found.sock)
        del self._open[found.sock.fileno()]
