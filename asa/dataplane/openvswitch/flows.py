"""OpenFlow flows as ovs-ofctl reads and prints them. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from asa.dataplane.match import ANY_FRAME, Match, Where
from asa.errors import BadRequest
from asa.flows import Mac, Port

COOKIE: Final = 0x0A5A_0000_0000_0000
COOKIES: Final = 0xFFFF_0000_0000_0000
"""The mask: what begins like this is ours."""
OURS: Final = f"cookie={COOKIE:#x}/{COOKIES:#x}"

LONGEST: Final = 65_535
"""Seconds of a hard timeout; 0 would be for ever."""

MOST_NOTES: Final = 1_000
"""Bytes."""

_TYPES: Final[Mapping[tuple[int, int | None], str]] = {
    (4, None): "ip", (6, None): "ipv6", (4, 1): "icmp", (6, 58): "icmp6", (4, 6): "tcp", (6, 6): "tcp6",
    (4, 17): "udp", (6, 17): "udp6", (4, 132): "sctp", (6, 132): "sctp6",
}  # fmt: skip
_OF_TYPE: Final = {text: key for key, text in _TYPES.items()}

_LEFT: Final = re.compile(r"[^\s,=]+(?:=[^\s,]*)?")
_SECONDS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)s?")
_PORT: Final = re.compile(r"(0|[1-9][0-9]{0,4}|0x[0-9a-f]{1,4})(?:/(0x[0-9a-f]{1,4}))?")
_NOTE: Final = re.compile(r"note:((?:[0-9a-f]{2})(?:\.[0-9a-f]{2})*)")

Fields = frozenset[str]
"""``tcp``, ``nw_src=10.0.0.0/8``... in any order."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What makes it the same one are table, priority and fields."""

    table: int
    priority: int
    fields: Fields
    actions: str
    """As printed; empty for none."""

    @property
    def place(self) -> tuple[int, int, Fields]:
        return self.table, self.priority, self.fields

    def added(self, seconds: int | None) -> str:
        """``seconds``: until it ends by itself, 1..65535; None for never."""
        timeout = "" if seconds is None else f"hard_timeout={seconds},"
        return f"add cookie={COOKIE:#x},{self._where}{timeout}actions={self.actions or 'drop'}"

    @property
    def deleted(self) -> str:
        return f"delete_strict {OURS},{self._where}".rstrip(",")

    @property
    def _where(self) -> str:
        # What a field needs, as the protocol's name, comes before it.
        fields = sorted(self.fields, key=lambda each: ("=" in each, each))
        return "".join(f"{each}," for each in (f"table={self.table}", f"priority={self.priority}", *fields))


@dataclass(frozen=True, slots=True)
class Seen:
    """A flow in the switch."""

    flow: Flow
    left: float | None
    """Seconds until it ends; None: never."""
    packets: int
    bytes: int


def seen_in(dump: str) -> Iterator[Seen | str]:
    """From ``ovs-ofctl dump-flows --no-names``; of a line that cannot be read, its text."""
    for line in dump.splitlines():
        line = line.strip()
        if not line.startswith("cookie="):
            continue
        try:
            yield _seen(line)
        except (KeyError, ValueError):
            yield line


def _seen(line: str) -> Seen:
    left, _, actions = line.partition(" actions=")
    known: dict[str, str] = {}
    fields: set[str] = set()
    for token in _LEFT.findall(left):
        name, _, value = token.partition("=")
        if name in _STATISTICS:
            known[name] = value
        else:
            fields.add(token)
    age = _seconds(known.get("hard_age") or known["duration"])
    limit = int(known.get("hard_timeout", "0"))
    return Seen(
        Flow(
            int(known.get("table", "0")), int(known.get("priority", "32768")), frozenset(fields),
            "" if actions == "drop" else actions,
        ),
        limit - age if limit else None, int(known.get("n_packets", "0")), int(known.get("n_bytes", "0")),
    )  # fmt: skip


_STATISTICS: Final = frozenset({
    "cookie", "duration", "table", "n_packets", "n_bytes", "hard_timeout", "idle_timeout", "idle_age", "hard_age",
    "priority", "importance", "send_flow_rem", "reset_counts", "check_overlap", "no_packet_counts", "no_byte_counts",
})  # fmt: skip


def _seconds(text: str) -> float:
    if (found := _SECONDS.fullmatch(text)) is None:
        raise ValueError(text)
    return float(found[1])


# -- matches


def fields_of(match: Match, *more: str) -> Fields:
    found = set(more)
    if match.family != ANY_FRAME:
        kind = _TYPES.get((match.family, match.protocol))
        found |= {kind} if kind else {_TYPES[match.family, None], f"nw_proto={match.protocol}"}
    for place, end in ((match.source, "src"), (match.destination, "dst")):
        if place is not None:
            found.add(_place(place, end))
    for port, end in ((match.source_port, "src"), (match.destination_port, "dst")):
        if port is not None:
            found.add(f"tp_{end}={_ports(port)}")
    if match.vlan is not None:
        found.add(f"dl_vlan={match.vlan}")
    return frozenset(found)


def _place(place: IPv4Network | IPv6Network | Mac, end: str) -> str:
    if isinstance(place, Mac):
        return f"dl_{end}={place}"
    address = str(place) if place.prefixlen < place.max_prefixlen else str(place.network_address)
    return f"{'nw' if place.version == 4 else 'ipv6'}_{end}={address}"


def _ports(port: Port) -> str:
    return str(port.number) if port.mask == 0xFFFF else f"{port.number:#x}/{port.mask:#x}"


def match_of(fields: Fields) -> Match | None:
    """What :func:`fields_of` gave those fields; None if it gives no such."""
    family, protocol, vlan = ANY_FRAME, None, None
    places: dict[str, Where] = {"src": None, "dst": None}
    ports: dict[str, Port | None] = {"src": None, "dst": None}
    try:
        for field in fields:
            name, equals, value = field.partition("=")
            end = name[-3:]
            if not equals:
                family, of_type = _OF_TYPE[name]
                protocol = of_type if of_type is not None else protocol
            elif name in ("dl_src", "dl_dst"):
                places[end] = Mac(value)
            elif name in ("nw_src", "nw_dst", "ipv6_src", "ipv6_dst"):
                places[end] = ip_network(value)
            elif name in ("tp_src", "tp_dst"):
                ports[end] = _port(value)
            elif name == "nw_proto":
                protocol = int(value)
            elif name == "dl_vlan":
                vlan = int(value)
            else:
                return None
        match = Match(family, places["src"], places["dst"], protocol, ports["src"], ports["dst"], vlan)
    except (BadRequest, KeyError, ValueError):
        return None
    return match if fields_of(match) == fields else None


def _port(text: str) -> Port:
    if (found := _PORT.fullmatch(text)) is None:
        raise ValueError(text)
    return Port(int(found[1], 0), 0xFFFF if found[2] is None else int(found[2], 16))


# -- notes


def note(*words: str) -> str:
    """An action that does nothing but be there: words without blanks, for whoever reads the flow."""
    octets = " ".join(words).encode("utf-8")[:MOST_NOTES]
    # Six bytes fit beside the action's head, and it grows by eight (ovs-actions(7)).
    octets = octets.ljust(6 + (max(len(octets) - 6, 0) + 7) // 8 * 8, b"\0")
    return "note:" + ".".join(f"{each:02x}" for each in octets)


def noted(actions: str) -> tuple[str, ...]:
    """The words of the first note among some actions; empty if there is none."""
    if (found := _NOTE.search(actions)) is None:
        return ()
    return tuple(bytes.fromhex(found[1].replace(".", "")).rstrip(b"\0").decode("utf-8", "replace").split())
