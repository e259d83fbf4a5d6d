"""Which packets: what is looked at in a frame, in one direction. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from asa.flows import Flow, HostName, InvalidFlow, Mac, Port

ANY_FRAME: Final = 0
"""The family of a match that looks at no IP header."""

Where = IPv4Network | IPv6Network | Mac | None

_WITH_PORTS: Final = frozenset({6, 17, 132})


@dataclass(frozen=True, slots=True)
class Match:
    """What is None is not looked at. Raises :class:`~asa.errors.BadRequest` if no packet is like that."""

    family: int
    """4 or 6, or ANY_FRAME."""
    source: Where = None
    destination: Where = None
    protocol: int | None = None
    source_port: Port | None = None
    destination_port: Port | None = None
    vlan: int | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.family not in (ANY_FRAME, 4, 6):
            raise InvalidFlow(f"{self.family!r:.20} is no IP version")
        for place in (self.source, self.destination):
            if isinstance(place, IPv4Network | IPv6Network):
                if place.version != self.family or place.prefixlen == 0:
                    raise InvalidFlow(f"{place} in a match of family {self.family}")
                if isinstance(place, IPv6Network) and place.network_address.scope_id is not None:
                    raise InvalidFlow("a match with a scope, which is of one host only")
            elif place is not None and not isinstance(place, Mac):
                raise InvalidFlow(f"{place!r:.40} is no place")
        if self.protocol is not None and (self.family == ANY_FRAME or not 0 <= self.protocol <= 255):
            raise InvalidFlow(f"{self.protocol!r:.20} is no protocol of family {self.family}")
        ports = (self.source_port, self.destination_port)
        if ports != (None, None) and self.protocol not in _WITH_PORTS:
            raise InvalidFlow("a port of a protocol without ports")
        if not all(each is None or isinstance(each, Port) for each in ports):
            raise InvalidFlow("a port that is none")
        if self.vlan is not None and (type(self.vlan) is not int or not 1 <= self.vlan <= 4_094):
            raise InvalidFlow(f"{self.vlan!r:.20} is no VLAN")
        looked_at = (self.family, self.source, self.destination, self.protocol, *ports, self.vlan)
        object.__setattr__(self, "_hash", hash(looked_at))

    def __hash__(self) -> int:
        # Networks take microseconds to be hashed, and thousands of matches are looked up at once.
        return self._hash

    @property
    def shape(self) -> Shape:
        """What it looks at, without what it wants to see: matches of one shape exclude each other."""

        def of_place(place: Where) -> int | None:
            return -1 if isinstance(place, Mac) else None if place is None else place.prefixlen

        def of_port(port: Port | None) -> int | None:
            return None if port is None else port.mask

        return Shape(
            self.family,
            of_place(self.source),
            of_place(self.destination),
            self.protocol is not None,
            of_port(self.source_port),
            of_port(self.destination_port),
            self.vlan is not None,
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """``source`` and ``destination``: the length of the prefix, -1 for a MAC address, None if not looked at; the ports:
    the mask."""

    family: int
    source: int | None
    destination: int | None
    protocol: bool
    source_port: int | None
    destination_port: int | None
    vlan: bool

    @property
    def rank(self) -> tuple[int, ...]:
        """Of the shapes a packet fits, the one with the greatest rank decides: the one that looks at most."""

        def of_place(length: int | None) -> int:
            return 0 if length is None else 129 if length < 0 else length + (96 if self.family == 4 else 0)

        def of_port(mask: int | None) -> int:
            return 0 if mask is None else mask.bit_count()

        places = of_place(self.source) + of_place(self.destination)
        ports = of_port(self.source_port) + of_port(self.destination_port)
        # The rest makes the order total.
        return (
            places, ports, self.protocol, self.vlan, self.family, of_place(self.source),
            self.source_port or 0, self.destination_port or 0,
        )  # fmt: skip


def matches_of(flow: Flow, vlan: int | None = None) -> tuple[Match, ...]:
    """The packets of a flow, one match for each IP version and protocol that has to be told apart, in order.

    ``vlan``: the tag they have where they are looked at. Empty if nothing is looked at: every packet would be of it.
    Raises InvalidFlow for a name that was not resolved.
    """
    places: list[Where] = []
    for end in (flow.source, flow.destination):
        if isinstance(end.place, HostName):
            raise InvalidFlow(f"{end.place} was not resolved")
        everywhere = isinstance(end.place, IPv4Network | IPv6Network) and end.place.prefixlen == 0
        places.append(None if everywhere else end.place)
    of_ip = (
        flow.protocol is not None
        or flow.has_ports
        or any(isinstance(each, IPv4Network | IPv6Network) for each in (flow.source.place, flow.destination.place))
    )
    if not of_ip:
        if places == [None, None] and vlan is None:
            return ()
        return (Match(ANY_FRAME, places[0], places[1], vlan=vlan),)
    numbers = (None,) if flow.protocols is None else tuple(sorted(flow.protocols))
    return tuple(
        Match(family, places[0], places[1], number, flow.source.port, flow.destination.port, vlan)
        for family in sorted(flow.families)
        for number in numbers
    )
