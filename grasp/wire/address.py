"""Addresses as they stand in messages: 4 or 16 bytes."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address


@lru_cache(maxsize=1024)
def address_from_bytes(packed: bytes) -> Address:
    """The address of 4 or 16 bytes. A network has few addresses and many messages, so they are kept."""
    return IPv6Address(packed) if len(packed) == 16 else IPv4Address(packed)


@lru_cache(maxsize=1024)
def address_from_text(host: str) -> Address:
    """The address in a socket's name, without scope and without IPv4 mapping."""
    if ":" not in host:
        return IPv4Address(host)
    address = IPv6Address(host.partition("%")[0])
    return address.ipv4_mapped or address


@lru_cache(maxsize=1024)
def address_text(address: Address) -> str:
    """``str(address)``, kept: making it takes longer than connecting."""
    return str(address)
