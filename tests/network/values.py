"""Objective values and locators as JSON, for the pipe between a test and its agents."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from grasp import (
    NO_VALUE,
    FQDNLocator,
    IPv4Locator,
    IPv6Locator,
    Locator,
    RawCBOR,
    Tag,
    URILocator,
)


def to_json(value: Any) -> Any:
    """What JSON lacks is an object whose only key starts with "$"."""
    if type(value) is RawCBOR:
        return {"$raw": value.hex()}
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, Tag):
        return {"$tag": [value.tag, to_json(value.value)]}
    if value is NO_VALUE:
        return {"$none": 0}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, dict):
        return {"$map": [[to_json(key), to_json(each)] for key, each in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"$repr": repr(value)}


def from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [from_json(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "$raw":
        return RawCBOR(bytes.fromhex(content))
    if kind == "$hex":
        return bytes.fromhex(content)
    if kind == "$tag":
        return Tag(content[0], from_json(content[1]))
    if kind == "$map":
        return {from_json(key): from_json(each) for key, each in content}
    if kind == "$none":
        return NO_VALUE
    return object()  # "$object": something CBOR has no form for


def locator_to_json(locator: Locator | None) -> Any:
    if locator is None:
        return None
    if isinstance(locator, IPv6Locator | IPv4Locator):
        return [str(locator.address), locator.protocol, locator.port]
    if isinstance(locator, FQDNLocator):
        return ["fqdn:" + locator.name, locator.protocol, locator.port]
    return ["uri:" + locator.uri, locator.protocol, locator.port]


def locator_from_json(item: Any) -> Locator | None:
    if item is None:
        return None
    where, protocol, port = item
    kind, _, name = where.partition(":")
    if kind == "fqdn":
        return FQDNLocator(name, protocol, port)
    if kind == "uri":
        return URILocator(name, protocol, port)
    address = ip_address(where)
    return IPv6Locator(address, protocol, port) if address.version == 6 else IPv4Locator(address, protocol, port)
