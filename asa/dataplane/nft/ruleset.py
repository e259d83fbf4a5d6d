"""The text of our nftables tables. No I/O.

A table has a chain for each line and, for each shape of its matches and each DSCP given, a map from what is looked at
to the class. The names of maps say all that; chains are known again by the digests in the comments of their rules.

The table of family ``netdev`` has all lines: it sees every frame that goes out, or comes in, by an interface. But what
came in through the device of a line passes no such chain on its way out (nf_skip_egress in the kernel). Where that may
be, tables of the families ``inet``, for what is routed, and ``bridge``, for what goes out by a port of a bridge, have
copies of the chains and maps of lines on the way out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import Any, Final

from asa.dataplane.backend import Spot
from asa.dataplane.match import ANY_FRAME, Match, Shape, Where
from asa.dataplane.plan import Action, Line
from asa.dataplane.tc.classifier import DEFAULT, MAJOR, Rule, device_of
from asa.flows import Mac, Port
from asa.traffic import MAX_DSCP


@dataclass(frozen=True, slots=True)
class Table:
    """One of nftables, and the queues its rules lead to: ``major`` is of the root qdisc, ``default`` of the class of
    packets nobody reserved for, which is number 0 in rules."""

    family: str = "netdev"
    name: str = "asa"
    major: int = MAJOR
    default: int = DEFAULT

    def __str__(self) -> str:
        return f"{self.family} {self.name}"

    def classid(self, number: int) -> str:
        return f"{self.major:x}:{number or self.default:x}"

    @property
    def copies(self) -> bool:
        """Whether its rules are copies, and its chains see all interfaces."""
        return self.family != TABLE.family


TABLE: Final = Table()

MOST_MAPS: Final = 2_048
"""Of a line: each is a rule or more that packets go through."""

ROUTED: Final = Table("inet")
BRIDGED: Final = Table("bridge")
COPIES: Final = (ROUTED, BRIDGED)
"""The tables with copies."""

_LETTERS: Final = {Action.GUARANTEE: "g", Action.KEEP: "k"}
_ACTIONS: Final = {letter: action for action, letter in _LETTERS.items()}
_NONE: Final = "n"
_MAC: Final = "m"
_IP: Final = {4: "ip", 6: "ip6"}
_ADDRESS_BITS: Final = {4: 32, 6: 128}


# -- names


@lru_cache(1_024)
def chain_of(line: str) -> str:
    """``out.eth0``; what nft takes in no name is written as ``/`` and two hexadecimal digits for each byte."""
    interface, _, way = line.rpartition(":")
    escaped = re.sub(r"[^A-Za-z0-9_.-]", lambda found: "".join(f"/{each:02x}" for each in found[0].encode()), interface)
    return f"{way}.{escaped}"


def line_of(chain: str) -> str:
    """The reverse. Raises ValueError."""
    way, dot, escaped = chain.partition(".")
    line = re.sub(r"/([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), escaped) + ":" + way
    if not dot or chain_of(line) != chain:
        raise ValueError(f"{chain!r:.80} is of no line")
    return line


@dataclass(frozen=True, slots=True)
class Map:
    """Matches of one shape whose packets get the same DSCP, which is None where it is left alone."""

    line: str
    action: Action
    shape: Shape
    dscp: int | None


def map_of(spot: Spot, dscp: int | None) -> Map:
    line, action, match = spot
    return Map(line, action, match.shape, dscp)


@lru_cache(4 * MOST_MAPS)
def name_of(map: Map) -> str:
    """``out.eth0//g.4.32.24.p.n.fff0.n.46``"""
    shape = map.shape
    places = (_NONE if each is None else _MAC if each < 0 else str(each) for each in (shape.source, shape.destination))
    ports = (_NONE if each is None else f"{each:x}" for each in (shape.source_port, shape.destination_port))
    parts = (
        _LETTERS[map.action], str(shape.family), *places, "p" if shape.protocol else _NONE, *ports,
        "v" if shape.vlan else _NONE, _NONE if map.dscp is None else str(map.dscp),
    )  # fmt: skip
    return f"{chain_of(map.line)}//{'.'.join(parts)}"


def map_from(name: str) -> Map:
    """Raises ValueError."""
    chain, _, rest = name.partition("//")
    parts = rest.split(".")
    if len(parts) != 9 or parts[0] not in _ACTIONS:
        raise ValueError(f"{name!r:.80} is no map of ours")

    def of_place(text: str) -> int | None:
        return None if text == _NONE else -1 if text == _MAC else int(text)

    def of_port(text: str) -> int | None:
        return None if text == _NONE else int(text, 16)

    shape = Shape(
        int(parts[1]), of_place(parts[2]), of_place(parts[3]), parts[4] == "p", of_port(parts[5]), of_port(parts[6]),
        parts[7] == "v",
    )  # fmt: skip
    found = Map(line_of(chain), _ACTIONS[parts[0]], shape, None if parts[8] == _NONE else int(parts[8]))
    if (found.dscp is not None and not 0 <= found.dscp <= MAX_DSCP) or name_of(found) != name:
        raise ValueError(f"{name!r:.80} is no map of ours")
    return found


# -- what is looked at


def _fields(shape: Shape) -> Iterator[tuple[str, str]]:
    """Of a packet, in the order they have in keys, each with its mask or without."""
    if shape.vlan:
        yield "vlan id", ""
    for field, length in (("saddr", shape.source), ("daddr", shape.destination)):
        if length is None:
            continue
        if length < 0:
            yield f"ether {field}", ""
        else:
            full = length == _ADDRESS_BITS[shape.family]
            yield f"{_IP[shape.family]} {field}", "" if full else _netmask(shape.family, length)
    if shape.protocol:
        yield "meta l4proto", ""
    for field, mask in (("sport", shape.source_port), ("dport", shape.destination_port)):
        if mask is not None:
            yield f"th {field}", "" if mask == 0xFFFF else f"{mask:#x}"


def _netmask(family: int, length: int) -> str:
    return str(IPv4Network((0, length)).netmask if family == 4 else IPv6Network((0, length)).netmask)


def key_of(match: Match) -> str:
    """Of an element, as nft takes it."""
    parts: list[object] = [] if match.vlan is None else [match.vlan]
    for place in (match.source, match.destination):
        if place is not None:
            parts.append(place if isinstance(place, Mac) else place.network_address)
    if match.protocol is not None:
        parts.append(match.protocol)
    parts += [port.number for port in (match.source_port, match.destination_port) if port is not None]
    return " . ".join(map(str, parts))


def match_of(shape: Shape, parts: list[object]) -> Match:
    """The reverse, of what JSON has. Raises ValueError, BadRequest."""
    left = list(reversed(parts))

    def next_of(kind: type) -> Any:
        if not left or type(left[-1]) is not kind:
            raise ValueError(f"{parts!r:.80} is no key")
        return left.pop()

    def place(length: int | None) -> Where:
        if length is None:
            return None
        if length < 0:
            return Mac(next_of(str))
        if shape.family == 4:
            return IPv4Network((int(IPv4Address(next_of(str))), length))
        return IPv6Network((int(IPv6Address(next_of(str))), length))

    vlan = next_of(int) if shape.vlan else None
    source, destination = place(shape.source), place(shape.destination)
    protocol = next_of(int) if shape.protocol else None
    source_port, destination_port = (
        None if mask is None else Port(next_of(int), mask) for mask in (shape.source_port, shape.destination_port)
    )
    if left:
        raise ValueError(f"{parts!r:.80} is no key")
    return Match(shape.family, source, destination, protocol, source_port, destination_port, vlan)


def copied(match: Match, table: Table) -> bool:
    """Whether a table of copies can tell its packets apart: where packets are routed, frames are not to be seen yet."""
    shape = match.shape
    seen_as_frame = shape.family == ANY_FRAME or shape.vlan or -1 in (shape.source, shape.destination)
    return table.family == BRIDGED.family or not seen_as_frame


# -- text for nft -f


def table_come(table: Table = TABLE) -> str:
    return f"add table {table}"


def hook_of(line: str, table: Table = TABLE) -> tuple[str, str]:
    """Where its chain hangs: the hook, and the interface, which is empty if the hook is of all."""
    interface, _, way = line.rpartition(":")
    if table.copies:
        return "postrouting", ""
    return ("egress" if way == "out" else "ingress"), interface


def chain_come(line: str, table: Table = TABLE) -> str:
    hook, interface = hook_of(line, table)
    # Behind whoever translates addresses.
    where = f'device "{interface}" priority 0' if interface else "priority 300"
    return f"add chain {table} {chain_of(line)} {{ type filter hook {hook} {where}; policy accept; }}"


def _onward(line: str, table: Table) -> str:
    """How a packet that has its class goes on. What comes in goes to the device whose queue is the line's."""
    return f'fwd to "{device_of(line)}"' if hook_of(line, table)[0] == "ingress" else "accept"


def chain_flushed(chain: str, table: Table = TABLE) -> str:
    return f"flush chain {table} {chain}"


def gone(kind: str, name: str, table: Table = TABLE) -> str:
    """``kind``: chain, map, set, flowtable, ..."""
    return f"delete {kind} {table} {name}"


def map_come(map: Map, table: Table = TABLE) -> str:
    keys = " . ".join(field for field, _ in _fields(map.shape))
    return f"add map {table} {name_of(map)} {{ typeof {keys} : meta priority; flags timeout; }}"


def element_come(name: str, key: str, rule: Rule, now: float, table: Table = TABLE) -> str:
    """``now``: UNIX s. What has no end gets none; whose end is over is not to be written."""
    left = "" if rule.expires is None else f" timeout {max(int((rule.expires - now) * 1_000), 1)}ms"
    return f"add element {table} {name} {{ {key}{left} : {table.classid(rule.number)} }}"


def element_gone(name: str, key: str, table: Table = TABLE) -> str:
    return f"delete element {table} {name} {{ {key} }}"


def element_got(name: str, keys: Iterable[str], table: Table = TABLE) -> str:
    return f"get element {table} {name} {{ {', '.join(keys)} }}"


def rules_of(line: Line, maps: Iterable[Map], table: Table = TABLE) -> list[str]:
    """Of its chain, each with its digest. The first map that has the packet decides, the one that looks at most first;
    of two that look at the same, a guarantee goes before passing through."""

    def order(map: Map) -> tuple[tuple[int, ...], bool, int]:
        rank = tuple(-each for each in map.shape.rank)
        return rank, map.action is not Action.GUARANTEE, -1 if map.dscp is None else map.dscp

    texts = [text for map in sorted(maps, key=order) for text in _lookups(map, table)]
    texts += _unreserved(line, table)
    if table.copies:
        texts = [f'oifname "{line.interface}" {text}' for text in texts]
    return [f'{text} comment "{digest_of(text)}"' for text in texts]


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rule_come(line: str, rule: str, table: Table = TABLE) -> str:
    return f"add rule {table} {chain_of(line)} {rule}"


def digest_in(rule: str) -> str:
    return rule[-17:-1]


def _lookups(map: Map, table: Table) -> list[str]:
    shape = map.shape
    keys = " . ".join(f"({field} & {mask})" if mask else field for field, mask in _fields(shape))
    lookup = f"meta priority set {keys} map @{name_of(map)}"

    def of_version(version: int) -> str:
        # Behind a tag it is not the frame that says of which protocol the packet is.
        which = f"vlan type {_IP[version]}" if shape.vlan else f"meta protocol {_IP[version]}"
        marking = "" if map.dscp is None else f" {_IP[version]} dscp set {map.dscp}"
        return f"{which} {lookup}{marking} {_onward(map.line, table)}"

    if shape.family != ANY_FRAME:
        return [of_version(shape.family)]
    # Only IP packets have a DSCP; the rest of the frames get the class alone.
    return [*([] if map.dscp is None else [of_version(4), of_version(6)]), f"{lookup} {_onward(map.line, table)}"]


def _unreserved(line: Line, table: Table) -> list[str]:
    texts = []
    for version in (4, 6):
        sources = [each for each in line.vouched if each.version == version]
        if not line.cleared or (line.vouched and not sources):
            continue
        ip = _IP[version]
        everywhere = any(each.prefixlen == 0 for each in sources) or not sources
        whose = "" if everywhere else f" {ip} saddr {{ {', '.join(map(str, _collapsed(sources)))} }}"
        which = ", ".join(map(str, sorted(set(line.cleared))))
        texts.append(f"meta protocol {ip}{whose} {ip} dscp {{ {which} }} {ip} dscp set 0")
    # Packets come with the class they had on another line.
    return [*texts, f"meta priority set {table.classid(0)} {_onward(line.name, table)}"]


def _collapsed(prefixes: Iterable[IPv4Network | IPv6Network]) -> list[IPv4Network | IPv6Network]:
    return sorted(collapse_addresses(prefixes))  # type: ignore[type-var]
