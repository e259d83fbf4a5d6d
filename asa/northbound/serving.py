"""cheroot's server on a socket that listens already: its threads, and the connections between requests."""
# cheroot's stubs name everything and give it no types.
# mypy: allow-untyped-calls, allow-any-generics

from __future__ import annotations

import itertools
import logging
import queue
import selectors
import socket
import ssl
import threading
import time
from typing import Any, Final

from cheroot import wsgi
from cheroot.connections import ConnectionManager
from cheroot.workers.threadpool import ThreadPool, WorkerThread
from falcon.constants import HTTP_METHODS

from asa.northbound.access import UnixGate, address_counted
from asa.northbound.application import CONNECTION, METHOD
from asa.northbound.connection import Connection
from asa.northbound.handshakes import Entrant, Handshakes
from asa.northbound.limits import (
    FIRST_S,
    HANDSHAKE_S,
    IDLE_S,
    MAX_ACCEPTED,
    MAX_BODY,
    MAX_HEAD,
    MAX_IDLE,
    MAX_OPEN,
    MAX_OPEN_IN_ALL,
    MAX_STRANGERS,
    MAX_STRANGERS_OF_ONE,
    STRANGERS,
)
from asa.northbound.rates import Doors, Places, Turns
from asa.northbound.roles import OPERATOR, Principal
from asa.northbound.tls import Contexts, shown_by

TICK_S: Final = 0.25
"""How often a server looks for connections idle too long, and whether it is to stop."""


class _Gateway(wsgi.Gateway_10):
    """The environment of a request, with its connection: WSGI has no other way to tell that a client is gone."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]  # the stubs know only the abstract one
        found: dict[str, Any] = super().get_environ()
        found[CONNECTION] = self.req.conn
        found[METHOD] = found["REQUEST_METHOD"]
        if found[METHOD] not in HTTP_METHODS:
            # To falcon it would be no request at all. TRACE it knows, and no endpoint takes that.
            found["REQUEST_METHOD"] = "TRACE"
        return found


class _Connections(ConnectionManager):
    def _from_server_socket(self, server_socket: Any) -> Connection | None:
        found: Connection | None = self.server.welcome(super()._from_server_socket)  # type: ignore[misc]  # not in the stubs
        return found

    def keep(self, conn: Connection, idle_s: float) -> None:
        """Wait ``idle_s`` for a first request, without a thread."""
        conn.last_used = time.time() - IDLE_S + idle_s
        self._selector.register(conn.socket.fileno(), selectors.EVENT_READ, data=conn)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the idle ones; what has arrived on them already is still answered."""
        self.server.finish_arrivals()
        for number, connection in list(self._selector.connections):  # type: ignore[attr-defined]  # not in the stubs
            # Who has never asked has come to: like one that was accepted now, it is waited for.
            if connection is not self.server and (not connection.asked or connection.last()):
                self._selector.unregister(number)  # type: ignore[attr-defined]
                self.server.process_conn(connection)
        super().close()


class _Workers(ThreadPool):
    def __init__(self, server: HttpServer, threads: int) -> None:
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

    @property
    def threads(self) -> list[WorkerThread]:
        return list(self._threads)  # type: ignore[attr-defined]  # not in the stubs


class HttpServer(wsgi.Server):
    """With ``unix`` on a Unix socket, with ``contexts`` over TLS."""

    ConnectionClass = Connection
    max_request_header_size = MAX_HEAD
    max_request_body_size = MAX_BODY
    keep_alive_conn_limit = MAX_IDLE
    expiration_interval = TICK_S
    software = "asa"

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        app: Any,
        threads: int,
        log: logging.Logger,
        *,
        unix: UnixGate | None = None,
        contexts: Contexts | None = None,
    ) -> None:
        super().__init__(sock.getsockname(), app, server_name="asa", timeout=IDLE_S)  # type: ignore[arg-type]  # float
        self.name = name
        self.gateway = _Gateway
        self.requests = _Workers(self, threads)
        self.doors = Doors(MAX_OPEN, MAX_OPEN_IN_ALL)
        self.places: Places[Entrant] = Places(MAX_STRANGERS_OF_ONE, MAX_STRANGERS, MAX_OPEN, MAX_OPEN_IN_ALL)
        self._turns: Turns[Connection] = Turns(max(1, threads // STRANGERS))
        self._unix = unix
        self._handshakes: Handshakes | None = None
        if contexts is not None:
            self._handshakes = Handshakes(f"{name}-tls", contexts, self._arrived, self.places.leave, log)
            # Idle strangers close nobody else's connection behind its answer.
            self.keep_alive_conn_limit = MAX_IDLE + MAX_STRANGERS
        self._listening = sock
        self._log = log
        self._changed = threading.Condition()
        self._ending = False
        self._returning = 0
        """Workers that are giving a connection back to the thread that selects."""

    def prepare(self) -> None:
        self.socket = self._listening
        self.socket.setblocking(False)
        self._connections = _Connections(self)
        self.requests.start()
        if self._handshakes is not None:
            self._handshakes.start()
        self.ready = True

    def serve(self) -> None:
        while self.ready:
            try:
                self._connections.run(self.expiration_interval)
            except Exception:
                # Out of descriptors or memory: the connection stays in the backlog, and would be tried again at once.
                self._log.exception("cannot accept a connection")
                time.sleep(TICK_S)

    def welcome(self, accept: Any) -> Connection | None:
        """A connection that is to be served at once; None if there is none, or not yet."""
        if self._handshakes is None:
            conn: Connection | None = accept(self.socket)
            return conn if conn is not None and self._let_in(conn) else None
        try:
            plain, address = self.socket.accept()
        except (BlockingIOError, ConnectionError):
            return None
        place = Entrant(address_counted(address[0]), plain)
        self._drop(self.places.enter(place))
        self._handshakes.begin(plain, address, place)
        return None

    def entered(self, conn: Connection, principal: Principal | None) -> None:
        """A worker has found out whose a request is."""
        if conn.place is None:
            return
        if principal is None:
            self._drop(self.places.doubt(conn.place))
        else:
            self.places.know(conn.place, principal.name)

    def _drop(self, place: Entrant | None) -> None:
        if place is None:
            return
        place.cut()
        for conn in self._turns.forget(place.name, lambda each: each.place is place):
            # It waits for its turn, and would as long again.
            conn.turn = False
            conn.close()

    def _let_in(self, conn: Connection) -> bool:
        if self._unix is None:
            return True
        try:
            principal = conn.principal = self._unix.principal(conn.socket)
        except OSError:
            conn.close()
            return False
        conn.address = principal.name
        if principal.role is not OPERATOR:
            if not self.doors.enter(principal.name):
                conn.turn_away(f"{MAX_OPEN} connections of {principal.name} are open")
                return False
            conn.counted = principal.name
        return True

    def _arrived(self, sock: ssl.SSLSocket, address: Any, place: Entrant) -> None:
        """By the thread of the handshakes."""
        conn = Connection(self, sock)
        conn.remote_addr, conn.remote_port = address[:2]
        conn.shown = shown_by(sock)
        conn.address, conn.place = place.name, place
        if conn.shown is not None:
            self.places.know(place, f"certificate {conn.shown.name}")
        if self._ending:
            self.process_conn(conn)
        else:
            self._connections.keep(conn, FIRST_S)

    def process_conn(self, conn: Connection) -> None:
        """Something has arrived: a worker is to answer it."""
        if conn.place is not None and conn.place.dropped:
            conn.close()
            return
        stranger = self._handshakes is not None and conn.shown is None and not conn.trusted
        # At the end nobody would be left to call who waits.
        if stranger and not conn.turn and not self._ending:
            conn.turn = True
            # Who sends a request slowly keeps a thread.
            if not self._turns.take(conn.address, conn):
                return
        self._hand_over(conn)

    def turn_over(self, conn: Connection) -> None:
        """A worker is done with it, for now or for good."""
        if conn.turn:
            conn.turn = False
            if (following := self._turns.give(conn.address)) is not None:
                self._hand_over(following)

    def _hand_over(self, conn: Connection) -> None:
        try:
            self.requests.put(conn)
        except queue.Full:
            conn.turn_away(f"{MAX_ACCEPTED} connections wait to be served")

    def put_conn(self, conn: Connection) -> None:
        """A worker has answered, and nothing more has arrived so far."""
        self.turn_over(conn)
        with self._changed:
            ending = self._ending
            self._returning += not ending
        if not ending:
            try:
                self._connections.put(conn)
            finally:
                with self._changed:
                    self._returning -= 1
                    self._changed.notify_all()
            return
        # Something may have arrived since it was looked, before anybody knew of the end.
        while conn.last() and conn.communicate():
            pass
        conn.close()

    def stop(self) -> None:
        with self._changed:
            self._ending = True
            # From here on no worker gives back any more: what is idle is idle.
            self._changed.wait_for(lambda: not self._returning)
        super().stop()

    def finish_arrivals(self) -> None:
        """No connection is accepted any more; those on their way are still served."""
        if self._handshakes is not None:
            self._handshakes.stop(min(HANDSHAKE_S, self.shutdown_timeout))
        for conn in self._turns.everybody():
            self._hand_over(conn)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        # What cheroot tells as information is clients that went away.
        self._log.log(level if level > logging.INFO else logging.DEBUG, "%s", msg, exc_info=traceback)
