"""Waiting for the node of one invitation: one thread, many connections, one certificate.

Anybody may connect. What that costs is bounded: :data:`MOST_GUESTS` connections, each :data:`GUEST_S` long, before its
proof a few kilobytes each; one more takes the place of the oldest of the source that has most. Each has one question,
and ends with the answer. Nothing that comes from outside ends the invitation but its one use: 128 bits are not
guessed, so wrong proofs are counted and told, no more.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal

from OpenSSL import SSL

from asa.domain import conversation, requests
from asa.domain.authority import NODE_DAYS, Address, Authority
from asa.domain.channel import READ, Channel, ChannelKey
from asa.domain.conversation import Asking, Code, Kept, Message, Refused
from asa.domain.errors import BadFile, BadIdentity, Revoked
from asa.domain.index import Issued
from asa.domain.invitation import Invitation
from asa.errors import AsaError, Conflict

MOST_GUESTS: Final = 64
GUEST_S: Final = 10.0
"""A whole conversation, from connecting to the last byte asked."""
KEEPING_S: Final = 30.0
"""For the node to put away what it was given, and to say so."""
MOST_TOLD: Final = 8
"""Of what strangers do wrong, told each; then each time that their number has doubled."""
_BACKLOG: Final = 128
_AT_ONCE: Final = 16

End = Literal["joined", "unconfirmed", "expired"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invitation ended. ``unconfirmed``: a certificate was given, the node did not say that it kept it."""

    end: End
    issued: Issued | None
    wrong: int
    """Proofs that were wrong."""
    guests: int
    """Connections there were."""
    source: str
    """Where the node came from."""


def listen(host: str, port: int) -> socket.socket:
    """Raises OSError; ``port`` 0 is any that is free."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class _Guest:
    """One connection."""

    def __init__(self, connection: socket.socket, source: str, context: SSL.Context, until: float) -> None:
        self.socket = connection
        self.source = source
        self.channel = Channel(context, server=True, longest=conversation.MAX_ASKING)
        self.until = until
        self.unsent = b""
        self.answered = False
        self.gone = False

    @property
    def network(self) -> str:
        """Whose address it is: of IPv6 the /64, of which one host may have all."""
        address = ip_address(self.source.partition("%")[0])
        return address.exploded[:19] if isinstance(address, IPv6Address) else self.source

    def read(self) -> list[Message]:
        try:
            content = self.socket.recv(READ)
            found = self.channel.receive(content)
        except BlockingIOError:
            return []
        except Exception:
            # Whatever a stranger sends ends its own connection, also what nobody has thought of.
            self.gone = True
            return []
        self.gone = not content or self.channel.closed
        return found

    def write(self) -> None:
        self.unsent += self.channel.outgoing()
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent[:READ]) :]
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True


class Reception:
    """Serves one invitation. :meth:`run` once, then :meth:`close`."""

    def __init__(
        self,
        authority: Authority,
        name: str,
        listener: socket.socket,
        host: str,
        secret: bytes,
        *,
        ends: float,
        address: Address | None = None,
        days: int = NODE_DAYS,
        told: Callable[[str], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        now: float,
    ) -> None:
        """``ends``: UNIX s. ``told`` hears of wrong proofs and bad requests, seldom (:data:`MOST_TOLD`).

        Raises what :meth:`~asa.domain.authority.Authority.check_free` raises, or StoreFailed.
        """
        authority.check_free(name, address=address, days=days)
        self._authority = authority
        self._name = name
        self._address = address
        self._days = days
        self._told = told
        self._monotonic = monotonic
        self._until = monotonic() + ends - now
        key = ChannelKey(now)
        self._context = key.context()
        self.invitation = Invitation(host, listener.getsockname()[1], key.pin, secret)
        authority.invite(self.invitation.identifier, name, int(ends))
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._guests: list[_Guest] = []
        self._seen = 0
        self._wrong = 0
        self._complaints = 0
        self._issued: Issued | None = None
        self._joiner: _Guest | None = None
        self._kept = False
        self._failure: AsaError | None = None

    def run(self) -> Outcome:
        """Until the node has joined, or the invitation is over. Raises what issuing raises."""
        while (end := self._end()) is None:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._listener:
                    self._admit()
                else:
                    self._serve(key.data)
            self._dismiss()
        if self._failure is not None:
            raise self._failure
        source = self._joiner.source if self._joiner is not None else ""
        return Outcome(end, self._issued, self._wrong, self._seen, source)

    def close(self) -> None:
        for guest in self._guests:
            guest.socket.close()
        self._guests.clear()
        self._listener.close()
        self._selector.close()

    def _end(self) -> End | None:
        if self._joiner is not None:
            if self._kept:
                return "joined"
            return "unconfirmed" if self._joiner not in self._guests else None
        if self._failure is not None and not any(each.unsent for each in self._guests):
            return "expired"
        return "expired" if self._monotonic() >= self._until else None

    def _patience(self) -> float:
        ends = [each.until for each in self._guests]
        if self._joiner is None:
            ends.append(self._until)
        return max(0.0, min(ends) - self._monotonic())

    def _admit(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            if len(self._guests) >= MOST_GUESTS:
                self._make_room()
            guest = _Guest(connection, str(address[0]), self._context, self._monotonic() + GUEST_S)
            self._seen += 1
            self._guests.append(guest)
            self._selector.register(connection, selectors.EVENT_READ, guest)

    def _make_room(self) -> None:
        there = [each for each in self._guests if each is not self._joiner]
        counts = Counter(each.network for each in there)
        most = max(counts.values())
        self._drop(next(each for each in there if counts[each.network] == most))

    def _serve(self, guest: _Guest) -> None:
        if guest not in self._guests:
            # Dropped for another since the selector named it.
            return
        for said in guest.read():
            self._hear(guest, said)
        guest.write()
        if guest.gone or (guest.answered and guest is not self._joiner and not guest.unsent):
            self._drop(guest)
        else:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if guest.unsent else 0)
            self._selector.modify(guest.socket, events, guest)

    def _hear(self, guest: _Guest, said: Message) -> None:
        if isinstance(said, Kept) and guest is self._joiner:
            self._kept = True
        elif isinstance(said, Asking) and not guest.answered:
            guest.answered = True
            guest.channel.send(self._answer(guest, said))
            if guest is not self._joiner:
                guest.channel.end()
        else:
            guest.gone = True

    def _answer(self, guest: _Guest, said: Asking) -> Message:
        exported = guest.channel.exported()
        if not conversation.asks_rightly(self.invitation, exported, said):
            self._wrong += 1
            self._complain(guest, "a wrong proof")
            return Refused("wrong-proof")
        if self._issued is not None:
            return Refused("used")
        try:
            wishes = requests.wishes(said.request.encode(), "the request")
        except (BadFile, BadIdentity) as error:
            self._complain(guest, error.message)
            return Refused("bad-request")
        return self._issue(guest, said.request, exported, wishes)

    def _issue(self, guest: _Guest, request: str, exported: bytes, wishes: requests.Wishes) -> Message:
        try:
            crl = self._authority.crl()
            issued = self._authority.issue(
                self._name, wishes.key, address=self._address, days=self._days, invitation=self.invitation.identifier
            )
        except Revoked as error:
            # It is the key of the request.
            self._complain(guest, error.message)
            return Refused("bad-request")
        except AsaError as error:
            self._failure = error
            return Refused(_code(error))
        # It is on disk that this was the one use.
        self._issued = issued
        self._joiner = guest
        guest.until = self._monotonic() + KEEPING_S
        return conversation.given(self.invitation, exported, request, issued.pem, self._authority.trust, crl)

    def _complain(self, guest: _Guest, what: str) -> None:
        self._complaints += 1
        count = self._complaints
        if count <= MOST_TOLD:
            self._told(f"{guest.source}: {what}")
        elif count & (count - 1) == 0:
            self._told(f"{guest.source}: {what}; {count} of such by now")

    def _dismiss(self) -> None:
        now = self._monotonic()
        for guest in [each for each in self._guests if each.until <= now]:
            self._drop(guest)

    def _drop(self, guest: _Guest) -> None:
        self._guests.remove(guest)
        with suppress(KeyError, ValueError):
            self._selector.unregister(guest.socket)
        guest.socket.close()


def _code(error: AsaError) -> Code:
    return "used" if type(error) is Conflict else "failed"
