"""Locator options (RFC 8990 §2.9.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from grasp.constants import IPPROTO_TCP, IPPROTO_UDP, OptionType
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.wire.address import Address, address_from_bytes

_PROTOCOLS = (IPPROTO_TCP, IPPROTO_UDP)


def _check_endpoint(protocol: object, port: object) -> None:
    if type(protocol) is not int or protocol not in _PROTOCOLS:
        raise LocalError(ErrorCode.invalidLoc, f"transport protocol must be 6 or 17, not {protocol!r:.40}")
    if type(port) is not int or not 0 <= port <= 0xFFFF:
        raise LocalError(ErrorCode.invalidLoc, f"port must be 0..65535, not {port!r:.40}")


@dataclass(frozen=True, slots=True)
class IPv6Locator:
    """O_IPv6_LOCATOR (§2.9.5.1): an address, 6 for TCP or 17 for UDP, a port."""

    address: IPv6Address
    protocol: int
    port: int

    def __post_init__(self) -> None:
        if type(self.address) is not IPv6Address:
            raise LocalError(ErrorCode.invalidLoc, "address must be an ipaddress.IPv6Address")
        if self.address.scope_id is not None:
            raise LocalError(ErrorCode.invalidLoc, "the scope of a link-local address is not part of a locator")
        _check_endpoint(self.protocol, self.port)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}"

    def to_item(self) -> list[Any]:
        return [int(OptionType.O_IPv6_LOCATOR), self.address.packed, self.protocol, self.port]


@dataclass(frozen=True, slots=True)
class IPv4Locator:
    """O_IPv4_LOCATOR (§2.9.5.2)."""

    address: IPv4Address
    protocol: int
    port: int

    def __post_init__(self) -> None:
        if type(self.address) is not IPv4Address:
            raise LocalError(ErrorCode.invalidLoc, "address must be an ipaddress.IPv4Address")
        _check_endpoint(self.protocol, self.port)

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"

    def to_item(self) -> list[Any]:
        return [int(OptionType.O_IPv4_LOCATOR), self.address.packed, self.protocol, self.port]


@dataclass(frozen=True, slots=True)
class FQDNLocator:
    """O_FQDN_LOCATOR (§2.9.5.3). The name need not be inside the secure domain (§3)."""

    name: str
    protocol: int
    port: int

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name:
            raise LocalError(ErrorCode.invalidLoc, "a domain name must be a non-empty text")
        _check_endpoint(self.protocol, self.port)

    def __str__(self) -> str:
        return f"{self.name[:253]}:{self.port}"

    def to_item(self) -> list[Any]:
        return [int(OptionType.O_FQDN_LOCATOR), self.name, self.protocol, self.port]


@dataclass(frozen=True, slots=True)
class URILocator:
    """O_URI_LOCATOR (§2.9.5.4). Protocol and port are None where the URI says it all."""

    uri: str
    protocol: int | None = None
    port: int | None = None

    def __post_init__(self) -> None:
        if type(self.uri) is not str or not self.uri:
            raise LocalError(ErrorCode.invalidLoc, "a URI must be a non-empty text")
        _check_endpoint(
            IPPROTO_TCP if self.protocol is None else self.protocol,
            0 if self.port is None else self.port,
        )

    def __str__(self) -> str:
        return self.uri[:253]

    def to_item(self) -> list[Any]:
        return [int(OptionType.O_URI_LOCATOR), self.uri, self.protocol, self.port]


Locator = IPv6Locator | IPv4Locator | FQDNLocator | URILocator


def _address(length: int) -> Callable[[Any], Address]:
    def convert(field: Any) -> Address:
        if type(field) is not bytes or len(field) != length:
            raise WireError(f"address of a locator is not {length} bytes")
        return address_from_bytes(field)

    return convert


def _text(field: Any) -> Any:
    return field


_KINDS: dict[int, tuple[Any, Any]] = {
    OptionType.O_IPv6_LOCATOR: (IPv6Locator, _address(16)),
    OptionType.O_IPv4_LOCATOR: (IPv4Locator, _address(4)),
    OptionType.O_FQDN_LOCATOR: (FQDNLocator, _text),
    OptionType.O_URI_LOCATOR: (URILocator, _text),
}


def is_locator(item: Any) -> bool:
    """Whether a decoded option claims to be a locator."""
    return type(item) is list and len(item) > 0 and type(item[0]) is int and item[0] in _KINDS


def locator_from_item(item: Any) -> Locator:
    """A decoded locator option. Raises :class:`WireError`."""
    if not is_locator(item):
        raise WireError("not a locator option")
    if len(item) != 4:
        raise WireError(f"locator option of {len(item)} items")
    kind, convert = _KINDS[item[0]]
    try:
        locator: Locator = kind(convert(item[1]), item[2], item[3])
    except LocalError as error:
        raise WireError(f"locator option: {error.detail}") from None
    return locator
