"""``EX1.Reach``: which prefixes an agent serves, so that all know who has the other end of a reservation. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from objectives.fields import Fields, InvalidValue, check_integer, shown
from objectives.node import NodeId
from objectives.txn import read_node

NAME: Final = "Reach"
MAX_PREFIXES: Final = 64
"""In all parts together."""
MAX_PARTS: Final = 4
"""Floods of one sequence; what they say adds up."""
MAX_PAYLOAD: Final = 1_000
"""Bytes: what is left of one multicast (RFC 8990 §2.5.3) beside header and locator."""

Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Reach:
    """The prefixes ``node`` serves. ``sequence`` grows, so that an old one never wins. Raises :class:`InvalidValue`."""

    node: NodeId
    sequence: int
    prefixes: tuple[Prefix, ...]

    def __post_init__(self) -> None:
        check_integer(self.sequence, 0, 2**53, "reach.seq")
        if len(self.prefixes) > MAX_PREFIXES:
            raise InvalidValue(f"reach.prefixes must be at most {MAX_PREFIXES}, not {len(self.prefixes)}")
        if len(set(self.prefixes)) < len(self.prefixes):
            raise InvalidValue("reach.prefixes holds one twice")

    def parts(self) -> list[Reach]:
        """The same in so many that each fits into one multicast: at most MAX_PARTS."""
        parts: list[list[Prefix]] = [[]]
        left = MAX_PAYLOAD
        for each in self.prefixes:
            # Heads of the row and of the address, and a length of at most 2 bytes.
            size = 4 + len(each.network_address.packed)
            if size > left:
                parts.append([])
                left = MAX_PAYLOAD
            parts[-1].append(each)
            left -= size
        return [replace(self, prefixes=tuple(each)) for each in parts]

    def to_value(self) -> dict[str, Any]:
        return {
            "node": str(self.node),
            "seq": self.sequence,
            "prefixes": [[each.network_address.packed, each.prefixlen] for each in self.prefixes],
        }


def reach_from_value(value: object) -> Reach:
    """Raises :class:`InvalidValue`."""
    fields = Fields(value, "reach")
    return Reach(read_node(fields), fields.value("seq"), fields.items("prefixes", MAX_PREFIXES, _prefix))


def _prefix(item: object, where: str) -> Prefix:
    if type(item) is not list or len(item) < 2 or type(item[0]) is not bytes or len(item[0]) not in (4, 16):
        raise InvalidValue(f"{where} must hold [address of 4 or 16 bytes, length], not {shown(item)}")
    address, length = item[:2]
    check_integer(length, 0, 8 * len(address), where)
    try:
        return IPv4Network((address, length)) if len(address) == 4 else IPv6Network((address, length))
    except ValueError:
        raise InvalidValue(f"{where}: an address must be 0 behind its first {length} bits") from None
