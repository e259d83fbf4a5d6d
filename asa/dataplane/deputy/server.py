"""The deputy: a small process with CAP_NET_ADMIN that does for an agent without it what the data plane needs.

It serves one agent at a time over a Unix socket, and understands :mod:`asa.dataplane.deputy.vocabulary`, nothing
else. Without an agent it does nothing: what is in place expires.
"""

from __future__ import annotations

import logging
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from asa.dataplane.backend import Backend
from asa.dataplane.deputy.conversation import Conversation, refusal
from asa.dataplane.deputy.vocabulary import Answer
from asa.dataplane.deputy.wire import Garbled, Splitter, encoded
from asa.errors import AsaError, Busy, Forbidden
from asa.northbound.listening import UnixListener

_log = logging.getLogger("asa.deputy")

FRAME_S: Final = 10.0
"""Seconds from a frame's first byte to its last, and for the agent to read an answer; idle it may be for ever."""

MODE: Final = 0o660
"""Of the socket: for its owner and group."""

_PIECE: Final = 262_144
_CREDENTIALS: Final = struct.Struct("=iII")
"""struct ucred (unix(7)): process, user and group of who connected, as the kernel knows them."""


@dataclass(slots=True)
class _Agent:
    sock: socket.socket
    pid: int
    uid: int
    conversation: Conversation
    splitter: Splitter = field(default_factory=Splitter)
    began: float = 0.0
    """When what it has not ended yet began, monotonic s."""

    def __str__(self) -> str:
        return f"process {self.pid} of user {self.uid}"


class Deputy:
    """Serves on ``listener``, in the thread that calls :meth:`serve`, users ``uids``; see :class:`Conversation`."""

    def __init__(
        self,
        backend: Backend,
        listener: socket.socket,
        uids: Collection[int],
        interfaces: Collection[str] | None = None,
        frame_s: float = FRAME_S,
    ) -> None:
        self._backend = backend
        self._listener = listener
        self._uids = frozenset(uids)
        self._interfaces = None if interfaces is None else frozenset(interfaces)
        self._frame_s = frame_s
        self._agent: _Agent | None = None
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        listener.setblocking(False)

    def stop(self) -> None:
        """Let :meth:`serve` end after what it is doing; from any thread and from a signal's handler."""
        try:
            self._wake.send(b"\0")
        except BlockingIOError:
            pass  # It was told before.

    def serve(self) -> None:
        """Until :meth:`stop`. What is in place stays."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(self._left())}
                if self._woken in ready:
                    break
                agent = self._agent
                if agent is not None and (agent.sock in ready or self._left() == 0.0) and not self._heard(agent):
                    selector.unregister(agent.sock)
                    agent.sock.close()
                    self._agent = None
                # What the agent there is said before somebody new came may be that it goes.
                waits = self._agent is not None and self._agent.sock in ready
                if self._listener in ready and not waits and (accepted := self._accepted()) is not None:
                    self._agent = accepted
                    selector.register(accepted.sock, selectors.EVENT_READ)
        if self._agent is not None:
            self._agent.sock.close()
            self._agent = None

    def close(self) -> None:
        """After :meth:`serve`; the listener is its maker's."""
        self._wake.close()
        self._woken.close()

    def _left(self) -> float | None:
        """Seconds until what the agent has begun has to be whole."""
        agent = self._agent
        if agent is None or not agent.splitter.amid:
            return None
        return max(0.0, agent.began + self._frame_s - time.monotonic())

    def _accepted(self) -> _Agent | None:
        """Who comes now, if it may; else it is told why not."""
        try:
            sock = self._listener.accept()[0]
        except OSError as error:
            _log.warning("nobody could be let in: %s", error.strerror)
            return None
        sock.settimeout(self._frame_s)
        pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        agent = _Agent(sock, pid, uid, Conversation(self._backend, self._interfaces))
        unwanted: AsaError | None = None
        if uid not in self._uids:
            unwanted = Forbidden(f"user {uid} may not use this deputy", hint=f"asa deputy --uid {uid} lets it")
        elif self._agent is not None:
            unwanted = Busy(f"this deputy is {self._agent}'s", hint="it serves one agent at a time")
        if unwanted is None:
            _log.info("serving %s", agent)
            return agent
        _log.warning("%s is sent away: %s", agent, unwanted.message)
        sock.setblocking(False)
        _said(sock, refusal(unwanted))
        sock.close()
        return None

    def _heard(self, agent: _Agent) -> bool:
        """Whether it goes on."""
        try:
            if self._left() == 0.0:
                raise Garbled(f"a frame that is not whole after {self._frame_s:g} s")
            piece = agent.sock.recv(_PIECE)
            if not piece:
                _log.info("%s is gone", agent)
                return False
            if not agent.splitter.amid:
                agent.began = time.monotonic()
            agent.splitter.feed(piece)
            while (body := agent.splitter.take()) is not None:
                agent.began = time.monotonic()
                for each in agent.conversation.hear(body):
                    agent.sock.sendall(encoded(each))
        except Garbled as error:
            _log.warning("%s is not understood: %s", agent, error.message)
            _said(agent.sock, refusal(error))
            return False
        except OSError as error:
            _log.warning("%s is gone: %s", agent, error.strerror or error)
            return False
        return True


def _said(sock: socket.socket, answer: Answer) -> None:
    try:
        sock.sendall(encoded(answer))
    except OSError:
        pass  # Who does not listen is not told.


def run(
    backend: Backend,
    path: Path,
    *,
    uids: Collection[int],
    group: str | None = None,
    interfaces: Collection[str] | None = None,
) -> int:
    """Be the deputy until SIGTERM or SIGINT; what is in place stays. Returns the exit status.

    Raises :class:`~asa.errors.BadConfig` or :class:`~asa.errors.Conflict` if it cannot listen at ``path``.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    listener = UnixListener(path, MODE, group)
    deputy = Deputy(backend, listener.sock, uids, interfaces)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: deputy.stop())
    only = "" if interfaces is None else f", for {', '.join(sorted(interfaces))} only"
    _log.info("serving %s with %s%s", path, backend.name, only)
    try:
        deputy.serve()
    finally:
        listener.close(unlink=True)
        backend.close()
        deputy.close()
    _log.info("ended; what is in place expires by itself")
    return 0
