"""Joining a domain with the token of an invitation: the node's side."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Final

from asa.domain import conversation, keys, requests
from asa.domain.channel import READ, Broken, Channel, client_context
from asa.domain.conversation import Garbled, Given, Kept, Message, Refused
from asa.domain.errors import JoinRefused
from asa.domain.invitation import Invitation
from asa.domain.keys import PrivateKey

TIMEOUT_S: Final = 30.0
_NAME: Final = "joining"
_REFUSALS: Final = {
    "wrong-proof": "the secret of the token is not the one of the invitation",
    "used": "the invitation was used already",
    "bad-request": "the request was not understood there",
    "failed": "the CA could not issue a certificate; it says why there",
}
_AGAIN: Final = "asa domain invite at the CA makes a new token"


def join(
    invitation: Invitation,
    put: Callable[[PrivateKey, Given], None],
    *,
    timeout: float = TIMEOUT_S,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Get a certificate for a new key; ``put`` checks all that was given and puts it on disk, or raises.

    ``timeout`` s for all of it. Raises JoinRefused, and what ``put`` raises.
    """
    until = monotonic() + timeout
    where = f"{invitation.host} port {invitation.port}"
    key = keys.generate()
    request = requests.request(key, _NAME).decode()
    with _connected(invitation, timeout, where) as connection:
        talk = _Talk(connection, where, until, monotonic)
        talk.shake()
        if talk.channel.pin != invitation.pin:
            raise JoinRefused(
                f"who answers at {where} is not who made the token",
                hint="the invitation is over and another one waits there, or somebody is in between",
            )
        exported = talk.channel.exported()
        said = talk.ask(conversation.asking(invitation, exported, request))
        if isinstance(said, Refused):
            raise JoinRefused(f"{where}: {_REFUSALS[said.code]}", hint=_AGAIN)
        if not isinstance(said, Given) or not conversation.gives_rightly(invitation, exported, request, said):
            raise JoinRefused(f"who answers at {where} does not know the secret of the token", hint=_AGAIN)
        put(key, said)
        talk.end(Kept())


def _connected(invitation: Invitation, timeout: float, where: str) -> socket.socket:
    try:
        return socket.create_connection((invitation.host, invitation.port), timeout)
    except OSError as error:
        raise JoinRefused(
            f"nobody answers at {where}: {error.strerror or error}",
            hint="asa domain invite waits there until the token was used or its time is over; is it reachable?",
        ) from None


class _Talk:
    def __init__(self, connection: socket.socket, where: str, until: float, monotonic: Callable[[], float]) -> None:
        self._socket = connection
        self._where = where
        self._until = until
        self._monotonic = monotonic
        self.channel = Channel(client_context(), server=False, longest=conversation.MAX_GIVEN)

    def shake(self) -> None:
        """TLS; what ends it stays with us until the key was looked at."""
        self.channel.receive(b"")
        while not self.channel.established:
            self._send()
            self._receive()

    def ask(self, message: Message) -> Message:
        self.channel.send(message)
        self._send()
        while True:
            if found := self._receive():
                return found[0]

    def end(self, message: Message) -> None:
        """What we were given is kept, even if the other side cannot be told."""
        try:
            self.channel.send(message)
            self.channel.end()
            self._send()
        except JoinRefused:
            pass

    def _send(self) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(self.channel.outgoing())
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from None

    def _receive(self) -> list[Message]:
        try:
            self._socket.settimeout(self._left())
            content = self._socket.recv(READ)
            found = self.channel.receive(content)
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from None
        except (Broken, Garbled) as error:
            raise self._broken(error.message) from None
        if not found and (not content or self.channel.closed):
            raise self._broken("the other side broke off")
        return found

    def _left(self) -> float:
        left = self._until - self._monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def _broken(self, why: str) -> JoinRefused:
        return JoinRefused(f"{self._where}: {why}", hint=_AGAIN)
