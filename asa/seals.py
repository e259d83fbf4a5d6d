"""What agents flood, sealed by who says it: in a domain a flood passes through members that could alter it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from grasp import GraspError, cbor
from grasp.member import Member
from grasp.rates import TokenBucket
from objectives import InvalidValue

if TYPE_CHECKING:
    from cryptography import x509

    from grasp.security import Identity, Membership, Revocations

RATE: Final = 200.0
"""Seals verified a second, and BURST at once: more than the announcements of 4,096 agents, and little of a core."""
BURST: Final = 1_000.0
SEEN: Final = 8_192
"""Seals whose verdict is remembered; the one that was not met for longest makes room."""
AHEAD_MS: Final = 60_000
"""How far the clock of who sealed may be ahead of ours, or behind beside the age that is allowed."""
X5CHAIN: Final = 33
"""In the header of a seal: its certificates (RFC 9360 §2)."""
REFUSED_S: Final = 60.0
"""A refusal holds so long: a certificate may become valid, a clock be set."""
MOST_ISSUERS: Final = 64
"""CAs below a trust anchor that are remembered."""


class Unsealed(InvalidValue):
    """A value that is not sealed, or not by a member; the text says why."""


class Sealed(NamedTuple):
    """A value as it travels: its CBOR, and the seal over it."""

    payload: bytes
    seal: Any

    def to_value(self) -> list[Any]:
        return [self.payload, self.seal]


@dataclass(frozen=True, slots=True)
class Opened:
    """What was said, and who provably said it; ``member`` and ``sealed`` None without a domain."""

    value: Any
    member: Member | None = None
    sealed: Sealed | None = None

    def claimed_by(self, name: str) -> None:
        """Raises :class:`Unsealed` if the value speaks for another than who sealed it."""
        if self.member is not None and self.member.name != name:
            raise Unsealed(f"{self.member.name} speaks for {name}")


class Seals:
    """Made by an agent for its own values, and judged on others'. ``identity`` None: plain values, as they are.

    ``revocations`` are those of the node, ``clock`` UNIX s, ``ticks`` monotonic s. Thread-safe: one lock, under which
    nothing else is taken and nothing is verified.
    """

    def __init__(
        self,
        identity: Identity | None,
        revocations: Callable[[], Revocations | None],
        clock: Callable[[], float],
        ticks: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._revocations = revocations
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._membership: Membership | None = None
        self._seen: OrderedDict[bytes, tuple[int, Member | str, float]] = OrderedDict()
        self._bucket = TokenBucket(RATE, BURST)
        self._made: dict[str, tuple[bytes, Identity, Sealed]] = {}
        self._met: OrderedDict[bytes, None] = OrderedDict()
        self._issuers: dict[bytes, x509.Certificate] = {}
        self.met: Callable[[Sequence[x509.Certificate]], None] = lambda _: None
        """Told of the path of every member that is heard for the first time, from its certificate to the anchor."""

    @property
    def needed(self) -> bool:
        """Whether this agent is in a domain."""
        return self._identity is not None

    def renew(self, identity: Identity) -> None:
        """From now on with another certificate, and by its trust anchors."""
        with self._lock:
            self._identity, self._membership = identity, None
            self._seen.clear()
            self._met.clear()
            self._issuers.clear()

    def issuers(self) -> tuple[x509.Certificate, ...]:
        """The CAs proven to be of the domain: trust anchors, those above this agent, and those above agents heard."""
        identity = self._identity
        if identity is None:
            return ()
        with self._lock:
            return (*identity.trust, *identity.chain, *self._issuers.values())

    def wrap(self, objective: str, value: object) -> Any:
        """What is sent for ``value``."""
        sealed = self.seal(objective, value)
        return value if sealed is None else sealed.to_value()

    def seal(self, objective: str, value: object) -> Sealed | None:
        """None without a domain. What is said again is not sealed again, so that receivers know it at once."""
        identity = self._identity
        if identity is None:
            return None
        from grasp.security import seal

        payload = cbor.encode(value)
        made = self._made.get(objective)
        if made is not None and made[0] == payload and made[1] is identity:
            return made[2]
        new = Sealed(payload, seal(identity, objective, payload))
        self._made[objective] = payload, identity, new
        return new

    def open(self, objective: str, value: object) -> Opened:
        """Raises :class:`Unsealed`."""
        if self._identity is None:
            return Opened(value)
        sealed = _sealed(value)
        member = self._member(objective, sealed)
        try:
            return Opened(cbor.decode(sealed.payload), member, sealed)
        except GraspError as error:
            raise Unsealed(f"what {member.name} sealed is not CBOR: {error}"[:200]) from None

    def revoked(self, sealed: Sealed) -> bool:
        """Whether a certificate of who made this seal, which was verified once, is revoked by now."""
        from grasp.security import certificate_from_der

        revocations = self._judge().revocations
        return any(revocations.revoked(certificate_from_der(each)) for each in _certificates(sealed))

    def _member(self, objective: str, sealed: Sealed) -> Member:
        """Who sealed it. A verdict holds until a certificate ends, one more is revoked, or this agent has a new one."""
        now = self._clock()
        membership = self._judge()
        version = membership.revocations.version
        digest = _digest(objective, sealed)
        with self._lock:
            known = self._seen.get(digest)
            if known is not None and known[0] == version and now < known[2]:
                self._seen.move_to_end(digest)
                verdict = known[1]
            elif self._bucket.take(self._ticks()):
                known = None
            else:
                raise Unsealed("too many seals at once to verify them all")
        if known is None:
            verdict = self._verified(membership, objective, sealed, now)
            with self._lock:
                self._seen[digest] = version, verdict, now + REFUSED_S if isinstance(verdict, str) else verdict.expires
                while len(self._seen) > SEEN:
                    self._seen.popitem(last=False)
        if isinstance(verdict, str):
            raise Unsealed(f"its seal is not a member's: {verdict}")
        if verdict.expires <= now:
            raise Unsealed(f"the certificate of {verdict.name} has ended")
        return verdict

    def _verified(self, membership: Membership, objective: str, sealed: Sealed, now: float) -> Member | str:
        from grasp.security import NotMember, unseal

        try:
            member = unseal(membership, objective, sealed.payload, sealed.seal, now)
            self._learn(membership, _certificates(sealed), now)
        except (NotMember, ValueError) as error:
            return str(error)[:160]
        return member

    def _learn(self, membership: Membership, chain: list[bytes], now: float) -> None:
        """Whoever is between a member and a trust anchor: what they revoke counts."""
        from grasp.security import certificate_from_der, fingerprint

        digest = sha256(b"".join(chain)).digest()
        if digest in self._met:
            return
        path = membership.path([certificate_from_der(each) for each in chain], now)
        with self._lock:
            self._met[digest] = None
            while len(self._met) > SEEN:
                self._met.popitem(last=False)
            for each in path[1:-1]:
                if len(self._issuers) < MOST_ISSUERS:
                    self._issuers[fingerprint(each)] = each
        self.met(path)

    def _judge(self) -> Membership:
        with self._lock:
            if self._membership is None:
                assert self._identity is not None
                self._membership = self._identity.membership(self._revocations())
            return self._membership


def check_age(sequence: int, now: float, most_s: float) -> None:
    """Of what says it was sealed at ``sequence`` (ms since 1970): a replay is older than ``most_s``.

    Raises :class:`Unsealed`.
    """
    age = now * 1000 - sequence
    # Without figures in the texts: what is refused for one reason is counted as one.
    if age > most_s * 1000 + AHEAD_MS:
        raise Unsealed("it was sealed too long ago: a replay, or the clocks differ")
    if age < -AHEAD_MS:
        raise Unsealed("it was sealed in what is the future here: the clocks differ")


def _sealed(value: object) -> Sealed:
    if type(value) is not list or len(value) != 2 or type(value[0]) is not bytes:
        raise Unsealed("it is not sealed")
    return Sealed(value[0], value[1])


def _certificates(sealed: Sealed) -> list[bytes]:
    """Of a seal that was verified, in DER."""
    found = sealed.seal[1][X5CHAIN]
    return found if type(found) is list else [found]


def _digest(objective: str, sealed: Sealed) -> bytes:
    try:
        seal = cbor.encode(sealed.seal)
    except GraspError as error:
        raise Unsealed(f"its seal is none: {error}"[:200]) from None
    name = objective.encode()
    return sha256(b"".join(len(each).to_bytes(4) + each for each in (name, sealed.payload, seal))).digest()
