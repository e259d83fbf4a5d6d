"""Who is at the other end, where the substrate knows it (RFC 8990 §2.5.1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the domain: its certificate passed the membership check (RFC 8994 §6.2.3).

    Nothing here is what the peer says of itself in a message; all of it is what the domain's CA signed.
    """

    name: str
    """The common name of the certificate's subject; empty if it has none."""
    acp_name: str
    """Its AcpNodeName (§6.2.2), as it stands in the certificate."""
    domain: str
    """The acp-domain-name, in lower case."""
    fingerprint: bytes
    """SHA-256 of the certificate."""
    expires: int
    """UNIX s: when the first certificate of its chain ends."""
