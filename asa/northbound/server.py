"""The HTTP servers: cheroot's, one for the Unix socket and one for TCP, with threads of their own each.

Of the threads, ``workers - 1`` at most run calls that may wait for peers, WAITING more hold calls that wait for their
turn, and half as many as ``workers`` wait for events: so there is always one for what can be answered at once.
"""
# cheroot's stubs name everything and give it no types.
# mypy: allow-untyped-calls, allow-any-generics

from __future__ import annotations

import itertools
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cheroot import wsgi
from cheroot.connections import ConnectionManager
from cheroot.workers.threadpool import ThreadPool, WorkerThread

from asa.errors import AsaError, BadConfig
from asa.northbound import listening
from asa.northbound.application import CONNECTION, application
from asa.northbound.connection import Connection
from asa.northbound.limits import (
    IDLE_S,
    MAX_ACCEPTED,
    MAX_BODY,
    MAX_HEAD,
    MAX_IDLE,
    MIN_TOKEN,
    WAITING,
)
from asa.northbound.resources import ROUTES
from asa.northbound.watchers import Lane, Watchers
from asa.service import Service

_TICK_S: Final = 0.25
"""How often a server looks for connections idle too long, and whether it is to stop."""

_SETTLE_S: Final = 0.5
"""For workers to give back connections when a server stops."""


class _Gateway(wsgi.Gateway_10):
    """The environment of a request, with its connection: WSGI has no other way to tell that a client is gone."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]  # the stubs know only the abstract one
        found: dict[str, Any] = super().get_environ()
        found[CONNECTION] = self.req.conn
        return found


class _Connections(ConnectionManager):
    def close(self) -> None:
        """Close the idle ones; what has arrived on them already is still answered."""
        # Whoever has its answer may have asked again before its worker has given the connection back.
        self.server.requests.settle(min(_SETTLE_S, self.server.shutdown_timeout))
        for number, connection in list(self._selector.select(0)):  # type: ignore[attr-defined]  # not in the stubs
            if connection is not self.server:
                self._selector.unregister(number)  # type: ignore[attr-defined]
                self.server.process_conn(connection)
        super().close()


class _Workers(ThreadPool):
    def __init__(self, server: _Http, threads: int) -> None:
        # At the bound of the queue one more waits for a second, and is answered 503 then.
        super().__init__(server, threads, threads, MAX_ACCEPTED, 1)
        self._numbers = itertools.count(1)

    def _spawn_worker(self) -> WorkerThread:
        # A service that hangs shall not keep the program from ending.
        worker = WorkerThread(self.server)
        worker.daemon = True
        worker.name = f"{self.server.name}-{next(self._numbers)}"
        worker.start()
        return worker

    def settle(self, seconds: float) -> None:
        """Until no worker has a connection, ``seconds`` at most."""
        until = time.monotonic() + seconds
        while any(each.conn is not None for each in self.threads) and time.monotonic() < until:
            time.sleep(0.001)

    @property
    def threads(self) -> list[WorkerThread]:
        return list(self._threads)  # type: ignore[attr-defined]  # not in the stubs


class _Http(wsgi.Server):
    """cheroot's server, on a socket that listens already."""

    ConnectionClass = Connection
    max_request_header_size = MAX_HEAD
    max_request_body_size = MAX_BODY
    keep_alive_conn_limit = MAX_IDLE
    expiration_interval = _TICK_S
    software = "asa"

    def __init__(self, name: str, sock: socket.socket, app: Any, threads: int, log: logging.Logger) -> None:
        super().__init__(sock.getsockname(), app, server_name="asa", timeout=IDLE_S)  # type: ignore[arg-type]  # float
        self.name = name
        self.gateway = _Gateway
        self.requests = _Workers(self, threads)
        self._listening = sock
        self._log = log

    def prepare(self) -> None:
        self.socket = self._listening
        self.socket.setblocking(False)
        self._connections = _Connections(self)
        self.requests.start()
        self.ready = True

    def serve(self) -> None:
        while self.ready:
            try:
                self._connections.run(self.expiration_interval)
            except Exception:
                # Out of descriptors or memory: the connection stays in the backlog, and would be tried again at once.
                self._log.exception("cannot accept a connection")
                time.sleep(_TICK_S)

    def process_conn(self, conn: Connection) -> None:
        try:
            self.requests.put(conn)
        except queue.Full:
            conn.turn_away(f"{MAX_ACCEPTED} connections wait to be served")

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        # What cheroot tells as information is clients that went away.
        self._log.log(level if level > logging.INFO else logging.DEBUG, "%s", msg, exc_info=traceback)


class Server:
    """The northbound API of a service, on a Unix socket and, with a token, on TCP at a loopback address.

    ``workers`` (2..64) bounds how many calls run at once that may wait: one less for peers, half as many for events.
    ``inherited`` are the listening sockets of a predecessor (:meth:`fds`), used instead of opening new ones of
    their kind.
    """

    def __init__(
        self,
        service: Service,
        socket_path: str | Path,
        *,
        mode: int = 0o660,
        group: str | int | None = None,
        tcp: tuple[str, int] | None = None,
        token: str | None = None,
        workers: int = 16,
        inherited: Sequence[int] = (),
        log: logging.Logger | None = None,
    ) -> None:
        """Raises BadConfig for what cannot be; nothing is opened yet."""
        if not 2 <= workers <= 64:
            raise BadConfig(f"{workers} workers: expected 2 to 64")
        if tcp is not None and token is None:
            raise BadConfig("the API's TCP needs a token", hint="set a token, or leave TCP off")
        if token is not None and not (len(token) >= MIN_TOKEN and token.isascii() and token.isprintable()
                                      and " " not in token):  # fmt: skip
            raise BadConfig(f"a token has at least {MIN_TOKEN} printable ASCII characters and no spaces")
        self._service = service
        self._path = Path(socket_path)
        self._mode = mode
        self._group = group
        self._tcp_address = tcp
        self._token = token
        self._inherited = tuple(inherited)
        self._log = log or logging.getLogger(__name__)
        self._threads = workers + workers // 2 + WAITING
        self._lane = Lane(workers - 1, WAITING)
        self._watchers = Watchers(service, workers // 2)
        self._unix: listening.UnixListener | None = None
        self._tcp: socket.socket | None = None
        self._servers: list[_Http] = []
        self._handed_on = False
        self._stopped = False

    @property
    def port(self) -> int | None:
        """The TCP port, None without TCP."""
        return None if self._tcp is None else int(self._tcp.getsockname()[1])

    def start(self) -> None:
        """Listen and serve. Raises BadConfig, and Conflict if another agent listens on the path."""
        try:
            self._listen()
        except AsaError:
            self._close_listeners(unlink=True)
            raise
        for name, sock, token in self._listeners():
            app = application(self._service, ROUTES, self._lane, self._watchers, token)
            server = _Http(name, sock, app, self._threads, self._log)
            server.prepare()
            threading.Thread(target=server.serve, name=f"{name}-accept", daemon=True).start()
            self._servers.append(server)

    def fds(self) -> list[int]:
        """Copies of the listening sockets for the program that follows: the caller's, and inherited across exec.

        From here on :meth:`stop` leaves the socket's file, and who connects meanwhile waits to be accepted by the
        successor.
        """
        self._handed_on = True
        copies = [os.dup(sock.fileno()) for _, sock, _ in self._listeners()]
        for copy in copies:
            os.set_inheritable(copy, True)
        return copies

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept no more, answer what was asked if that takes no longer than ``grace_s``, and close. Repeatable."""
        if self._stopped:
            return
        self._stopped = True
        until = time.monotonic() + grace_s + _TICK_S
        self._watchers.stop()
        workers = [worker for server in self._servers for worker in server.requests.threads]
        stopping = []
        for server in self._servers:
            server.shutdown_timeout = grace_s
            # It waits for ever for a service that hangs; this does not.
            stopping.append(threading.Thread(target=server.stop, name=f"{server.name}-stop", daemon=True))
            stopping[-1].start()
        for thread in stopping:
            thread.join(max(0.0, until - time.monotonic()))
        self._close_listeners(unlink=not self._handed_on)
        if late := [worker.name for worker in workers if worker.is_alive()]:
            self._log.warning("not done %g s after the API was stopped: %s", grace_s, ", ".join(late))

    def _listen(self) -> None:
        for descriptor in self._inherited:
            sock = listening.adopt(descriptor)
            if sock.family == socket.AF_UNIX:
                if not listening.UnixListener.listens_at(sock, self._path):
                    sock.close()  # The configured path is another now, or the file was removed.
                    continue
                self._unix = listening.UnixListener.inherited(sock, self._path)
            elif self._tcp_address is None:
                sock.close()  # TCP has been switched off since.
            else:
                self._tcp = sock
        if self._unix is None:
            self._unix = listening.UnixListener(self._path, self._mode, self._group)
        if self._tcp is None and self._tcp_address is not None:
            self._tcp = listening.tcp(*self._tcp_address)

    def _listeners(self) -> list[tuple[str, socket.socket, str | None]]:
        """The name, the socket, and the token it takes."""
        found: list[tuple[str, socket.socket, str | None]] = []
        if self._unix is not None:
            found.append(("asa-api-unix", self._unix.sock, None))
        if self._tcp is not None:
            found.append(("asa-api-tcp", self._tcp, self._token))
        return found

    def _close_listeners(self, *, unlink: bool) -> None:
        if self._unix is not None:
            self._unix.close(unlink=unlink)
        if self._tcp is not None:
            self._tcp.close()
