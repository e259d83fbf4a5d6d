"""Who asks: over the Unix socket the kernel says it, over TCP a token or a certificate does; and how often each may."""

from __future__ import annotations

import fnmatch
import grp
import hashlib
import hmac
import ipaddress
import math
import os
import pwd
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from asa.errors import BadConfig, Forbidden, Unauthorized
from asa.northbound.limits import FAILURES, MIN_TOKEN
from asa.northbound.rates import Buckets
from asa.northbound.refusals import TooManyRequests
from asa.northbound.roles import CONSUMER, OPERATOR, READER, Principal, Role

EVERYBODY: Final = "*"
GROUP: Final = "@"
"""Before the name of a group, where users are named."""

_SO_PEERGROUPS: Final = 59
"""Linux, for every architecture this runs on; Python has no name for it."""
_LONGEST: Final = 1_024
"""Bytes: what Python lets an option have, 256 groups."""


@dataclass(frozen=True, slots=True)
class Local:
    """Who may what over the Unix socket: names and numbers of users, ``@group``, ``*``; who is named twice may more.

    Root and the agent's own user are operators in any case.
    """

    operators: tuple[str, ...] = ()
    consumers: tuple[str, ...] = (EVERYBODY,)
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what who bears it may. ``name`` tells it from others."""

    text: str = field(repr=False)
    role: Role
    name: str

    def __post_init__(self) -> None:
        """Raises BadConfig."""
        if not (len(self.text) >= MIN_TOKEN and self.text.isascii() and self.text.isprintable() and
                " " not in self.text):  # fmt: skip
            raise BadConfig(
                f"{self.name}: a token has at least {MIN_TOKEN} printable ASCII characters and no spaces",
                hint="openssl rand -hex 32",
            )


@dataclass(frozen=True, slots=True)
class Clients:
    """What those may whose certificates have a common name that one of the ``patterns`` fits."""

    patterns: tuple[str, ...]
    role: Role


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate of a client, whose key it has proved to have."""

    name: str
    """The common name; empty: none, or several."""
    expires: float
    """UNIX s."""
    chain: tuple[bytes, ...]
    """DER, the client's own first."""


class Members(Protocol):
    """Says whose a certificate is where being a member of the domain is what counts."""

    def name(self, chain: Sequence[bytes]) -> str:
        """The name of the member, now. Raises Unauthorized."""
        ...


class Visitor(Protocol):
    """What of a connection counts here."""

    principal: Principal | None
    """Known without a request: who has the other end of a Unix socket."""
    shown: Shown | None
    address: str
    trusted: bool
    """Whether it has shown a right token."""


class Gate:
    """Lets requests in, or raises Unauthorized, Forbidden or TooManyRequests. For any thread."""

    def __init__(self, rate: int) -> None:
        """``rate``: requests a second of one principal."""
        self._rates = Buckets(rate)

    def enter(self, visitor: Visitor, authorization: str | None) -> Principal:
        """Who asks: ``authorization`` is the header."""
        now = time.monotonic()
        try:
            principal = self._known(visitor, authorization, now)
        except Unauthorized:
            self._count(visitor.address, now)
            raise
        self._count(principal.name, now)
        return _with_role(principal)

    def again(self, visitor: Visitor, authorization: str | None) -> Principal:
        """Who asks, of a request that was let in and is not over; it counts once only."""
        return _with_role(self._known(visitor, authorization, time.monotonic()))

    def _known(self, visitor: Visitor, authorization: str | None, now: float) -> Principal:
        raise NotImplementedError

    def _count(self, name: str, now: float) -> None:
        if wait := self._rates.take(name, now):
            raise _too_many(f"more requests of {name} than are answered in a second", wait)


def _with_role(principal: Principal) -> Principal:
    """Raises Forbidden for one that has none."""
    if principal.role is None:
        raise Forbidden(
            f"{principal.name} has no role here",
            hint="the agent's configuration says who has one: [api]",
            details={"role": None, "needed": READER.text},
        )
    return principal


def _too_many(why: str, wait: float) -> TooManyRequests:
    return TooManyRequests(why, hint="wait, then try again", details={"retry_after_ms": math.ceil(wait * 1000)})


class UnixGate(Gate):
    """By the users and groups of who has connected."""

    def __init__(self, local: Local, rate: int) -> None:
        """Raises BadConfig for a user or a group that does not exist."""
        super().__init__(rate)
        own = ("0", str(os.geteuid()))
        self._lists = [
            (OPERATOR, _Named((*own, *local.operators))),
            (CONSUMER, _Named(local.consumers)),
            (READER, _Named(local.readers)),
        ]

    def principal(self, sock: socket.socket) -> Principal:
        """Who has the other end. Raises OSError."""
        uid, groups = _peer(sock)
        role = next((role for role, named in self._lists if named.has(uid, groups)), None)
        return Principal(f"user {uid}", role)

    def _known(self, visitor: Visitor, authorization: str | None, now: float) -> Principal:
        assert visitor.principal is not None
        return visitor.principal


class _Named:
    """Users and groups by name or number."""

    def __init__(self, names: Iterable[str]) -> None:
        self._everybody = False
        self._uids: set[int] = set()
        self._gids: set[int] = set()
        for each in names:
            if each == EVERYBODY:
                self._everybody = True
            elif each.startswith(GROUP):
                self._gids.add(group_number(each.removeprefix(GROUP)))
            else:
                self._uids.add(user_number(each))

    def has(self, uid: int, groups: frozenset[int]) -> bool:
        return self._everybody or uid in self._uids or not self._gids.isdisjoint(groups)


def user_number(name: str) -> int:
    """Raises BadConfig."""
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise BadConfig(f"there is no user {name}", hint="getent passwd tells who there is") from None


def group_number(name: str) -> int:
    """Raises BadConfig."""
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise BadConfig(f"there is no group {name}", hint="getent group tells which there are") from None


def _peer(sock: socket.socket) -> tuple[int, frozenset[int]]:
    """The user and all groups of who connected, as they were then."""
    _, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _LONGEST)
        more: Sequence[int] = struct.unpack(f"{len(found) // 4}I", found)
    except OSError:
        # More groups than that, or no Linux.
        try:
            more = os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
        except KeyError:
            more = ()
    return uid, frozenset((gid, *more))


class TcpGate(Gate):
    """By a token; without one by the certificate the client has shown."""

    def __init__(self, tokens: Iterable[Token], clients: Iterable[Clients], members: Members | None, rate: int) -> None:
        super().__init__(rate)
        # As digests: what a core dump or an error could show is no token.
        self._tokens = [(_digest(each.text), Principal(f"token {each.name}", each.role)) for each in tokens]
        self._clients = tuple(clients)
        self._members = members
        self._failures = Buckets(FAILURES)

    def _known(self, visitor: Visitor, authorization: str | None, now: float) -> Principal:
        if authorization is None:
            if visitor.shown is None:
                raise Unauthorized(
                    "no token and no certificate",
                    hint="send Authorization: Bearer and a token, or come with a certificate",
                )
            return self._of_certificate(visitor.shown)
        found = self._of_token(authorization)
        if found is None:
            if wait := self._failures.take(visitor.address, now):
                raise _too_many(f"more wrong tokens of {visitor.address} than are answered in a second", wait)
            raise Unauthorized(
                "the token is none of the agent's", hint="the agent's configuration names the files they are in"
            )
        visitor.trusted = True
        return found

    def _of_token(self, authorization: str) -> Principal | None:
        scheme, _, given = authorization.partition(" ")
        digest = _digest(given.strip())
        found = None
        for each, principal in self._tokens:
            if hmac.compare_digest(digest, each) and found is None:
                found = principal
        return found if scheme.lower() == "bearer" else None

    def _of_certificate(self, shown: Shown) -> Principal:
        name = shown.name
        if self._members is not None:
            name = self._members.name(shown.chain)
        elif shown.expires < time.time():
            raise Unauthorized("the certificate has expired", hint="connect with a new one")
        # To "*" too somebody has to have a name.
        fitting = [
            each.role for each in self._clients if name and any(fnmatch.fnmatchcase(name, one) for one in each.patterns)
        ]
        return Principal(f"client {name}" if name else "a client without a name", max(fitting, default=None))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("latin-1", "replace")).digest()


def address_counted(address: str) -> str:
    """By what the requests of an address are counted: of IPv6 the /64, which is one host's to choose from."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
