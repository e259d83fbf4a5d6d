"""The token of an invitation: where to go, who is there, and the secret that is worth a certificate once. No I/O.

``asa-join-`` and base64url of: version, port, the host's length and the host, SHA-256 of the key (SubjectPublicKeyInfo)
of who waits there, the secret, and the first bytes of the SHA-256 of all that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Final

from asa.domain.errors import BadToken

PREFIX: Final = "asa-join-"
SECRET_BYTES: Final = 16
PIN_BYTES: Final = 32
LONGEST: Final = 512
"""Characters of a token."""
_VERSION: Final = 1
_CHECK: Final = 4
_LONGEST_HOST: Final = 253
_HINT: Final = "the whole token, as asa domain invite printed it"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a token says. Raises ValueError."""

    host: str
    port: int
    pin: bytes
    """SHA-256 of the server's SubjectPublicKeyInfo."""
    secret: bytes = field(repr=False)
    """Never sent: both sides prove that they know it."""

    def __post_init__(self) -> None:
        if not re.fullmatch(rf"[0-9A-Za-z.:-]{{1,{_LONGEST_HOST}}}", self.host, re.ASCII):
            raise ValueError("no host")
        if not 1 <= self.port <= 65_535 or len(self.pin) != PIN_BYTES or len(self.secret) != SECRET_BYTES:
            raise ValueError("no port, key or secret")

    @property
    def identifier(self) -> str:
        """Names it in the CA's index; says nothing about the secret."""
        return self.pin.hex()[:32]

    def token(self) -> str:
        host = self.host.encode("ascii")
        content = bytes((_VERSION,)) + self.port.to_bytes(2) + bytes((len(host),)) + host + self.pin + self.secret
        return PREFIX + _encoded(content + _checksum(content))

    def proof(self, who: str, *bound: bytes) -> bytes:
        """That ``who`` knows the secret, in this conversation: over everything it is ``bound`` to."""
        whole = hmac.new(self.secret, f"asa-join-1 {who}".encode(), hashlib.sha256)
        for each in bound:
            whole.update(len(each).to_bytes(8) + each)
        return whole.digest()


def parse_token(text: str) -> Invitation:
    """Raises BadToken, which shows nothing of the token."""
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > LONGEST:
        raise BadToken("this is no token of an invitation", hint=_HINT)
    body = text.removeprefix(PREFIX)
    try:
        content = urlsafe_b64decode(body.encode("ascii") + b"=" * (-len(body) % 4))
    except ValueError:
        content = b""
    said, check = content[:-_CHECK], content[-_CHECK:]
    # Of texts that mean the same bytes one is the token.
    if len(said) < _CHECK or _checksum(said) != check or _encoded(content) != body:
        raise BadToken("the token was cut or altered", hint=_HINT)
    if said[0] != _VERSION:
        raise BadToken("the token was made by another release of asa", hint="the same release on both sides")
    try:
        length = said[3]
        host, rest = said[4 : 4 + length].decode("ascii"), said[4 + length :]
        return Invitation(host, int.from_bytes(said[1:3]), rest[:PIN_BYTES], rest[PIN_BYTES:])
    except (ValueError, IndexError):
        raise BadToken("the token was cut or altered", hint=_HINT) from None


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_CHECK]
