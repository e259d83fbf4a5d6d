"""Addresses as they stand in messages: 4 or 16 bytes."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

Address = IPv4Address | IPv6Address

_MAPPED: Final = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"


@lru_cache(maxsize=1024)
def address_from_bytes(packed: bytes) -> Address:
    """The address of 4 or 16 bytes. A network has few addresses and many messages, so they are kept."""
    return IPv6Address(packed) if len(packed) == 16 else IPv4Address(packed)


@lru_cache(maxsize=1024)
def address_from_text(host: str) -> Address:
    """The address in a socket's name, without scope and without IPv4 mapping."""
    if ":" not in host:
        return address_from_bytes(socket.inet_pton(socket.AF_INET, host))
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if packed.startswith(_MAPPED):
        return address_from_bytes(packed[12:])
    return address_from_bytes(packed)


@lru_cache(maxsize=1024)
def address_text(address: Address) -> str:
    """``str(address)``, kept: making it takes longer than connecting."""
    return str(address)
