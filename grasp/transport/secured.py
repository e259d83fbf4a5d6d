"""A TLS connection: :class:`~grasp.transport.tls.TlsSession` over a TCP connection, which times and interrupts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from cryptography import x509

from grasp.member import Member
from grasp.transport import NotMemberError
from grasp.transport.kept import Place
from grasp.transport.tcp import TcpConnection
from grasp.transport.tls import TlsClosed, TlsFailed, TlsSession

_LINGER_S = 1.0
_UNSENT = 65_536
"""Bytes of TLS's own that may wait until something is sent."""


def shake_hands(wire: TcpConnection, session: TlsSession, seconds: float) -> bytes:
    """Do the whole handshake within ``seconds``; the bytes of it that are still to be sent.

    A client's last flight is left over so that it can go together with the first request. Raises
    :class:`~grasp.transport.tls.TlsFailed`, TimeoutError, OSError; the peer has been told why by then.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            done = session.handshake()
        except TlsFailed:
            _tell(wire, session.outgoing(), deadline)
            raise
        data = session.outgoing()
        if done:
            return data
        if data:
            wire.send(data)
        data = wire.receive(deadline - time.monotonic())
        if not data:
            raise TlsFailed("the peer closed the connection in the handshake")
        session.feed(data)


def _tell(wire: TcpConnection, alert: bytes, deadline: float) -> None:
    """Send the alert and wait for the peer's end: closed at once, what it has sent meanwhile would undo the alert."""
    try:
        if alert:
            wire.send(alert)
        wire.send_end()
        until = min(deadline, time.monotonic() + _LINGER_S)
        while wire.receive(until - time.monotonic()):
            pass
    except OSError:
        pass


class TlsConnection:
    """Both ends may be in use at once, by one reader and several writers.

    ``_sending`` keeps what is sent in the order it was encrypted in, ``_engine`` two threads from being inside
    OpenSSL at once; the latter is never held while something is sent or received.

    ``left``: bytes of the handshake that go first. ``state``: what the peer was judged by as a member. ``ended`` is
    called once it is closed, ``keep`` when a session on it has ended in turn: whether another may begin.
    """

    reusable = True

    __slots__ = (
        "_closed", "_deserted", "_ended", "_engine", "_keep", "_left", "_refusal", "_sending", "_session", "_wire",
        "interface", "member", "peer", "peer_name", "peer_port", "state",
    )  # fmt: skip

    def __init__(
        self,
        wire: TcpConnection,
        session: TlsSession,
        left: bytes,
        state: tuple[int, int],
        ended: Callable[[TlsConnection], None],
        keep: Callable[[TlsConnection], bool],
    ) -> None:
        self._wire = wire
        self._session = session
        self._left = left
        self._ended = ended
        self._keep = keep
        self._engine = threading.Lock()
        self._sending = threading.Lock()
        self._closed = False
        self._deserted = False
        self._refusal = ""
        self.state = state
        self.member: Member = session.member
        self.peer = wire.peer
        self.peer_name = wire.peer_name
        self.peer_port = wire.peer_port
        self.interface = wire.interface

    @property
    def newcomer(self) -> bool:
        return self._wire.newcomer

    @newcomer.setter
    def newcomer(self, value: bool) -> None:
        self._wire.newcomer = value

    @property
    def place(self) -> Place:
        return self.peer, self.peer_port, self.interface

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        return self._session.chain

    def refusal(self, now: float) -> str:
        """Why its peer is no member at ``now`` (UNIX s); empty if it is."""
        return self._session.refusal(now)

    @property
    def generation(self) -> int:
        return self._session.generation

    def send(self, data: bytes) -> None:
        with self._sending:
            with self._engine:
                self._session.write(data)
                data = self._left + self._session.outgoing()
                self._left = b""
            self._wire.send(data)

    def receive(self, seconds: float) -> bytes:
        session, wire = self._session, self._wire
        deadline = 0.0
        fed = b""
        try:
            while True:
                if fed or not session.spent:
                    with self._engine:
                        session.feed(fed)
                        data = session.read()
                    if data:
                        return data
                if fed:
                    self._answer()
                now = time.monotonic()
                deadline = deadline or now + seconds
                fed = wire.receive(deadline - now)
                if not fed:
                    return self._over()
        except TlsClosed:
            return self._over()
        except OSError as error:
            if self._refusal:
                raise NotMemberError(self._refusal) from None
            if isinstance(error, TlsFailed):
                self._answer()
            raise

    def _over(self) -> bytes:
        self._deserted = True
        if self._refusal:
            raise NotMemberError(self._refusal)
        return b""

    def release(self) -> bool:
        return not self._closed and self._keep(self)

    def quiet(self) -> bool:
        """Whether it stands and the peer has said nothing on it since the last session."""
        return not self._closed and self._wire.quiet()

    def interrupt(self) -> None:
        """End it, so that whoever uses it closes it."""
        self._wire.interrupt()

    def refuse(self, why: str) -> None:
        """The peer is no member any more: whoever uses the connection learns so, and closes it."""
        self._refusal = why
        self._wire.interrupt()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._ended(self)
        if not self._deserted:
            self._answer(last=True)
        self._wire.close()

    def _answer(self, last: bool = False) -> None:
        """Send what TLS itself has to say, with close_notify if it is the ``last``.

        Nobody waits for it, so it waits for nobody: if somebody is sending, or the kernel takes no more, it goes with
        what is sent next, or never. A peer that makes much of it and reads nothing loses the connection.
        """
        if not self._sending.acquire(blocking=False):
            return
        try:
            with self._engine:
                if last:
                    self._session.close()
                data = self._left + self._session.outgoing()
            if data:
                self._left = self._wire.finish(data)
            if len(self._left) > _UNSENT:
                self._wire.interrupt()
        finally:
            self._sending.release()
