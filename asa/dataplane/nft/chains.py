"""The rules of one chain of nftables, read by raw netlink: nft reads all of every table before it says anything."""

from __future__ import annotations

import struct
from typing import Final

from asa.dataplane.nft.ruleset import Table
from asa.dataplane.tc import netlink

# linux/netlink.h, linux/netfilter.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h; of comments libnftnl
_NETFILTER: Final = 12
_FAMILIES: Final = {"inet": 1, "netdev": 5, "bridge": 7}
_GETRULE: Final = 10 << 8 | 7
_TABLE, _CHAIN, _USERDATA = 1, 2, 7
_COMMENT: Final = 0

_HEADER: Final = struct.Struct("=BBH")
"""Family, version and resource."""
_ATTRIBUTE: Final = struct.Struct("=HH")


def comments(table: Table, chain: str) -> list[str]:
    """Of all its rules in order, empty for one without; none if there is no such chain. Raises EnforcementFailed."""
    body = _HEADER.pack(_FAMILIES[table.family], 0, 0) + _text(_TABLE, table.name) + _text(_CHAIN, chain)
    return [_comment(each) for each in netlink.dump(_GETRULE, body, _NETFILTER)]


def _text(kind: int, text: str) -> bytes:
    octets = text.encode() + b"\0"
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(octets), kind) + octets + bytes(-len(octets) % 4)


def _comment(rule: bytes) -> str:
    told = netlink.attributes(rule, _HEADER.size).get(_USERDATA, b"")
    at = 0
    while at + 2 <= len(told):
        kind, length = told[at], told[at + 1]
        if kind == _COMMENT:
            return told[at + 2 : at + 2 + length].rstrip(b"\0").decode("ascii", "replace")
        at += 2 + length
    return ""
