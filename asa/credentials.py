"""Secrets of consumers and of the administrator: kept hashed, compared in constant time. No I/O.

A hash is ``scrypt$SALT$HASH`` and can be checked by whoever has it, so that the agent at the other end of a reservation
needs no more than that. An agent makes all of its own with one salt: what one secret opens is then found without trying
every reservation.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from asa.errors import BadRequest

SALT_LENGTH: Final = 16
MAX_SECRET: Final = 255
"""Characters, printable ASCII."""

_COST: Final = 2**12
"""4 MiB and some ten milliseconds: secrets that people make up are worth guessing."""

_DIGITS: Final = frozenset("0123456789abcdef")


def check_secret(secret: str) -> None:
    """Raises BadRequest, which does not show it."""
    if not 1 <= len(secret) <= MAX_SECRET or not secret.isascii() or not secret.isprintable():
        raise BadRequest(f"a secret is 1..{MAX_SECRET} printable ASCII characters")


def hashed(secret: str, salt: bytes) -> str:
    """What is kept of a secret. Raises BadRequest."""
    check_secret(secret)
    made = hashlib.scrypt(secret.encode(), salt=salt, n=_COST, r=8, p=1, dklen=32)
    return f"scrypt${salt.hex()}${made.hex()}"


def salt_of(stored: str) -> bytes | None:
    """The salt of a hash, None if it is none; another agent may have made it up."""
    kind, _, rest = stored.partition("$")
    salt, _, made = rest.partition("$")
    right = kind == "scrypt" and len(salt) == 2 * SALT_LENGTH and len(made) == 64 and _DIGITS.issuperset(salt + made)
    return bytes.fromhex(salt) if right else None


class Credentials:
    """``admin``: the administrator's secret, None if there is none."""

    def __init__(self, salt: bytes, admin: str | None = None) -> None:
        self._salt = salt
        self._admin = hashed(admin, salt) if admin is not None else None

    @property
    def guarded(self) -> bool:
        """Whether there is an administrator's secret."""
        return self._admin is not None

    def hash(self, secret: str) -> str:
        """Raises BadRequest."""
        return hashed(secret, self._salt)

    def opened(self, secret: str | None, stored: Iterable[str]) -> frozenset[str] | None:
        """Which of the hashes ``secret`` opens; None if it is the administrator's, to whom all is open.

        Raises BadRequest. It takes one computation for each salt among them.
        """
        if secret is None:
            return frozenset()
        own = self.hash(secret)
        if self._admin is not None and hmac.compare_digest(own, self._admin):
            return None
        by_salt: dict[bytes, set[str]] = {}
        for each in stored:
            salt = salt_of(each)
            if salt is not None:
                by_salt.setdefault(salt, set()).add(each)
        made = {own if salt == self._salt else hashed(secret, salt) for salt in by_salt}
        return frozenset(made & {each for found in by_salt.values() for each in found})
