"""The HTTP servers: cheroot's, one for the Unix socket and one for TCP with TLS, with threads of their own each.

Of the threads, ``workers - 1`` at most run calls that may wait for peers, WAITING more hold calls that wait for their
turn, and half as many as ``workers`` wait for events: so there is always one for what can be answered at once.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asa.errors import AsaError, BadConfig
from asa.northbound import listening
from asa.northbound.access import Clients, Local, Members, TcpGate, Token, UnixGate
from asa.northbound.application import application
from asa.northbound.limits import RATE, WAITING
from asa.northbound.resources import ROUTES
from asa.northbound.serving import TICK_S, HttpServer
from asa.northbound.tls import Contexts, Files
from asa.northbound.watchers import Lane, Watchers
from asa.service import Service


@dataclass(frozen=True, slots=True)
class Remote:
    """The API over TCP: where, with which certificate, and who may what."""

    address: tuple[str, int]
    """An IP address, and a port; 0: any."""
    files: Files
    tokens: tuple[Token, ...] = ()
    clients: tuple[Clients, ...] = ()
    members: Members | None = None
    """Who says whose a client's certificate is; None: its common name says it, and ``files.trust`` vouches for it."""


class Server:
    """The northbound API of a service, on a Unix socket and, with ``remote``, over TCP with TLS.

    ``workers`` (2..64) bounds how many calls run at once that may wait: one less for peers, half as many for events.
    ``rate``: requests a second of one principal. ``inherited`` are the listening sockets of a predecessor
    (:meth:`fds`), used instead of opening new ones of their kind.
    """

    def __init__(
        self,
        service: Service,
        socket_path: str | Path,
        *,
        mode: int = 0o660,
        group: str | int | None = None,
        local: Local | None = None,
        remote: Remote | None = None,
        workers: int = 16,
        rate: int = RATE,
        inherited: Sequence[int] = (),
        log: logging.Logger | None = None,
    ) -> None:
        """Raises BadConfig for what cannot be; nothing is opened yet."""
        if not 2 <= workers <= 64:
            raise BadConfig(f"{workers} workers: expected 2 to 64")
        if remote is not None and not (remote.tokens or remote.clients):
            raise BadConfig("nobody may ask over the API's TCP", hint="name a token or clients, or leave TCP off")
        self._service = service
        self._path = Path(socket_path)
        self._mode = mode
        self._group = group
        self._local = local or Local()
        self._remote = remote
        self._rate = rate
        self._inherited = tuple(inherited)
        self._log = log or logging.getLogger(__name__)
        self._threads = workers + workers // 2 + WAITING
        self._lane = Lane(workers - 1, WAITING)
        self._watchers = Watchers(service, workers // 2)
        self._unix: listening.UnixListener | None = None
        self._tcp: socket.socket | None = None
        self._servers: list[HttpServer] = []
        self._handed_on = False
        self._stopped = False

    @property
    def port(self) -> int | None:
        """The TCP port, None without TCP."""
        return None if self._tcp is None else int(self._tcp.getsockname()[1])

    def start(self) -> None:
        """Listen and serve. Raises BadConfig, and Conflict if another agent listens on the path."""
        try:
            gate = UnixGate(self._local, self._rate)
            contexts = None if self._remote is None else Contexts(self._remote.files, self._log)
            self._listen()
        except AsaError:
            self._close_listeners(unlink=True)
            raise
        if self._unix is not None:
            app = application(self._service, ROUTES, self._lane, self._watchers, gate)
            self._serve(HttpServer("asa-api-unix", self._unix.sock, app, self._threads, self._log, unix=gate))
        if self._tcp is not None and self._remote is not None:
            remote = self._remote
            entrance = TcpGate(remote.tokens, remote.clients, remote.members, self._rate)
            app = application(self._service, ROUTES, self._lane, self._watchers, entrance)
            self._serve(HttpServer("asa-api-tcp", self._tcp, app, self._threads, self._log, contexts=contexts))

    def _serve(self, server: HttpServer) -> None:
        server.prepare()
        threading.Thread(target=server.serve, name=f"{server.name}-accept", daemon=True).start()
        self._servers.append(server)

    def fds(self) -> list[int]:
        """Copies of the listening sockets for the program that follows: the caller's, and inherited across exec.

        From here on :meth:`stop` leaves the socket's file, and who connects meanwhile waits to be accepted by the
        successor.
        """
        self._handed_on = True
        copies = [os.dup(sock.fileno()) for sock in self._listeners()]
        for copy in copies:
            os.set_inheritable(copy, True)
        return copies

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept no more, answer what was asked if that takes no longer than ``grace_s``, and close. Repeatable."""
        if self._stopped:
            return
        self._stopped = True
        until = time.monotonic() + grace_s + TICK_S
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
            elif self._remote is None or not listening.listens_at(sock, *self._remote.address):
                sock.close()  # TCP has been switched off since, or is elsewhere.
            else:
                self._tcp = sock
        if self._unix is None:
            self._unix = listening.UnixListener(self._path, self._mode, self._group)
        if self._tcp is None and self._remote is not None:
            self._tcp = listening.tcp(*self._remote.address)

    def _listeners(self) -> list[socket.socket]:
        unix = None if self._unix is None else self._unix.sock
        return [sock for sock in (unix, self._tcp) if sock is not None]

    def _close_listeners(self, *, unlink: bool) -> None:
        if self._unix is not None:
            self._unix.close(unlink=unlink)
        if self._tcp is not None:
            self._tcp.close()
