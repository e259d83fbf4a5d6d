"""What a joining node and the CA say to each other, and what each proves by it. No I/O.

Inside TLS 1.3, each message four bytes of length, most significant first, and one JSON object::

    node                                            CA
      (checks that the CA's key is the token's pin)
      asking: request, proof "node"        ->
                                           <-         given: certificate, trust, crl, proof "ca"   or   refused: code
      kept                                 ->

Both proofs are an HMAC with the token's secret over the pin, keying material of this TLS connection (RFC 5705) and the
request; the CA's also over all it gives. Name and address are the invitation's, whatever the request says.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from asa.domain.invitation import Invitation
from asa.errors import AgentError

MAX_ASKING: Final = 32 * 1024
MAX_GIVEN: Final = 4 * 2**20
"""Bytes of a message behind its length."""
LENGTH_BYTES: Final = 4

_Pem = Annotated[str, Meta(max_length=2**21)]
_Proof = Annotated[bytes, Meta(min_length=32, max_length=32)]

Code = Literal["wrong-proof", "used", "bad-request", "failed"]


class Garbled(AgentError):
    """What came is not of this conversation."""

    code = "garbled"


class Asking(Struct, tag_field="is", tag="asking"):
    request: Annotated[str, Meta(max_length=16 * 1024)]
    """PEM."""
    proof: _Proof


class Given(Struct, tag_field="is", tag="given"):
    """All PEM."""

    certificate: _Pem
    trust: _Pem
    crl: _Pem
    proof: _Proof


class Refused(Struct, tag_field="is", tag="refused"):
    code: Code


class Kept(Struct, tag_field="is", tag="kept"):
    """What was given is on the node's disk."""


Message = Asking | Given | Refused | Kept

_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """With the length in front."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(LENGTH_BYTES) + body


def decode(body: bytes) -> Message:
    """Raises :class:`Garbled`."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The last two are msgspec's too: text that is no UTF-8, and more brackets than it goes into.
        raise Garbled("a message that is none of the conversation") from None


class Frames:
    """Messages out of a stream of bytes; ``longest`` bounds what is kept."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._kept = bytearray()

    def feed(self, content: bytes) -> list[Message]:
        """Raises :class:`Garbled`."""
        self._kept += content
        found = []
        while len(self._kept) >= LENGTH_BYTES:
            length = int.from_bytes(self._kept[:LENGTH_BYTES])
            if length > self._longest:
                raise Garbled(f"a message longer than {self._longest} bytes")
            if len(self._kept) < LENGTH_BYTES + length:
                break
            found.append(decode(bytes(self._kept[LENGTH_BYTES : LENGTH_BYTES + length])))
            del self._kept[: LENGTH_BYTES + length]
        return found


def asking(invitation: Invitation, exported: bytes, request: str) -> Asking:
    """``exported``: the keying material of the connection."""
    return Asking(request, _node_proof(invitation, exported, request))


def given(invitation: Invitation, exported: bytes, request: str, certificate: str, trust: str, crl: str) -> Given:
    return Given(certificate, trust, crl, _ca_proof(invitation, exported, request, certificate, trust, crl))


def asks_rightly(invitation: Invitation, exported: bytes, said: Asking) -> bool:
    """Whether who asks knows the secret."""
    return hmac.compare_digest(said.proof, _node_proof(invitation, exported, said.request))


def gives_rightly(invitation: Invitation, exported: bytes, request: str, said: Given) -> bool:
    """Whether who gives knows the secret, and gives to this request."""
    expected = _ca_proof(invitation, exported, request, said.certificate, said.trust, said.crl)
    return hmac.compare_digest(said.proof, expected)


def _node_proof(invitation: Invitation, exported: bytes, request: str) -> bytes:
    return invitation.proof("node", invitation.pin, exported, request.encode())


def _ca_proof(invitation: Invitation, exported: bytes, request: str, *given: str) -> bytes:
    return invitation.proof("ca", invitation.pin, exported, request.encode(), *(each.encode() for each in given))
