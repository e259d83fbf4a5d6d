"""Addresses of the ACP Zone Addressing Sub-Scheme (RFC 8994 §6.11.2, §6.11.3). No I/O."""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address
from typing import Final

MOST_NUMBERS: Final = 2**15
"""Node numbers of one registrar."""
_REGISTRAR_BITS: Final = 48


def zone_address(routing_subdomain: str, registrar: bytes, number: int) -> IPv6Address:
    """``fd``, 40 bits of the subdomain's SHA-256, type 0, zone 0, the registrar's 48 bits, 15 bits of number, V = 0."""
    if not 0 <= number < MOST_NUMBERS or len(registrar) * 8 != _REGISTRAR_BITS:
        raise ValueError("a node number or a registrar that has no room in an address")
    prefix = b"\xfd" + hashlib.sha256(routing_subdomain.lower().encode()).digest()[:5]
    return IPv6Address(prefix + b"\0\0" + registrar + (number << 1).to_bytes(2))


def registrar_of(key_identifier: bytes) -> bytes:
    """48 bits that are a CA's own: two CAs of one domain give different addresses (§6.11.7.2)."""
    return hashlib.sha256(b"registrar" + key_identifier).digest()[:6]
