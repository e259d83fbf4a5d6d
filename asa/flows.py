"""What a reservation is about: two endpoints, the protocol between them, and when two of these are the same. No I/O.

An endpoint in text is ``PLACE[:PORT[/MASK]][{VLAN}]``:

    10.0.0.1   10.0.0.0/8   10.0.0.1:80   10.0.0.1:80/0xfff0{3}
    fd00::1    fd00::/64    [fd00::1]:443 [fd00::/64]:53{7}
    aa:bb:cc:dd:ee:ff       [aa:bb:cc:dd:ee:ff]:80
    web1       web1:80{3}   any           any:53

What parses as an address is one, so no name ends in a label that is a number (RFC 1123 §2.1), ``fd00::1:443`` is an
address, and a port behind colons needs brackets. What is left out is not looked at: no port is all ports and what has
none, no VLAN is every VLAN and untagged frames.

A MAC address is of frames, which need not carry anything that has ports. So it takes a port only in a flow whose
protocol is named.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from asa.errors import BadRequest

MAX_TEXT: Final = 300
"""Characters of an endpoint's text: a host's name of 253, a port with its mask and a VLAN fit."""

PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
"""The protocols that are written by name (IANA, Protocol Numbers); every other is written as its number."""

_NAMES: Final = {number: name for name, number in PROTOCOLS.items()}
_WITH_PORTS: Final = frozenset({6, 17, 132})
_TCP_AND_UDP: Final = frozenset({6, 17})
_OF_FAMILY: Final = {1: frozenset({4}), 58: frozenset({6})}
_BOTH: Final = frozenset({4, 6})
_TWIN: Final = {"icmp": "icmpv6", "icmpv6": "icmp"}

_PLACES: Final = "write 10.0.0.1, 10.0.0.0/8, fd00::1, fd00::/64, aa:bb:cc:dd:ee:ff, a host's name, or any"
_PORTS: Final = "a port is 80, 0x50, or 80/0xfff0 with a mask"
_PROTOCOLS: Final = f"write {', '.join(PROTOCOLS)}, a number 0..255, or any"
_KEYS: Final = ("source", "destination", "protocol")

_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_MAC_OTHERWISE: Final = re.compile(r"[0-9a-f]{2}(?:-[0-9a-f]{2}){5}|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}")
_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_PORT: Final = re.compile(r"(0|[1-9][0-9]{0,4}|0x[0-9a-f]{1,4})(?:/(.*))?")
_BRACKETS: Final = re.compile(r"\[([^\[\]]*:[^\[\]]*)\](?::(.*))?")
_WITH_VLAN: Final = re.compile(r"([^{}]*)(?:\{(0|[1-9][0-9]{0,3})\})?")


class InvalidFlow(BadRequest, ValueError):
    """An endpoint or a flow that is refused; the hint says what to write."""

    code = "bad-flow"


def _quoted(value: object) -> str:
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return ascii(value) if len(value) <= 40 else ascii(value[:40]) + "…"


# -- endpoints


@dataclass(frozen=True, slots=True)
class Mac:
    """A MAC address in its one text form: lower case, with colons. Raises :class:`InvalidFlow`."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not _MAC.fullmatch(self.text):
            raise InvalidFlow(f"{_quoted(self.text)} is no MAC address", hint="write aa:bb:cc:dd:ee:ff")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class HostName:
    """A name for the host table, in lower case (RFC 1123 §2.1). Raises :class:`InvalidFlow`."""

    text: str

    def __post_init__(self) -> None:
        if (
            not isinstance(self.text, str)
            or not (len(self.text) <= 253 and _NAME.fullmatch(self.text))
            # What would be read as something else.
            or (self.text == "any" or _NUMERIC.fullmatch(self.text) or _MAC_OTHERWISE.fullmatch(self.text))
        ):
            raise InvalidFlow(
                f"{_quoted(self.text)} is no host's name",
                hint="a name is labels of 1..63 letters, digits and inner -, with dots between; the last is no number",
            )

    def __str__(self) -> str:
        return self.text


Place = IPv4Network | IPv6Network | Mac | HostName | None
"""Where an endpoint is. An address is the prefix of its full length; None is anywhere."""


@dataclass(frozen=True, slots=True)
class Port:
    """The ports that are ``number`` in the bits of ``mask``, both 16 bits wide. Raises :class:`InvalidFlow`."""

    number: int
    mask: int = 0xFFFF

    def __post_init__(self) -> None:
        if not all(type(each) is int and 0 <= each <= 0xFFFF for each in (self.number, self.mask)):
            raise InvalidFlow("the port does not fit into 16 bits", hint="a port is 1..65535")
        if self.mask == 0:
            raise InvalidFlow("the mask 0x0 looks at no bit of the port", hint="leave the port out: that is any")
        if self.number & ~self.mask:
            meant = Port(self.number & self.mask, self.mask)
            raise InvalidFlow("the port has bits its mask does not look at", hint=f"did you mean {meant}?")
        if self.number == 0 and self.mask == 0xFFFF:  # Reserved (RFC 6335 §6).
            raise InvalidFlow("port 0 is nobody's", hint="leave the port out for any port")

    def __str__(self) -> str:
        return str(self.number) if self.mask == 0xFFFF else f"{self.number}/{self.mask:#x}"

    def meets(self, other: Port) -> bool:
        """Whether a port is in both."""
        return (self.number ^ other.number) & self.mask & other.mask == 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a flow; None does not look at it. ``vlan``: 1..4094. Raises :class:`InvalidFlow`."""

    place: Place = None
    port: Port | None = None
    vlan: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.place, Place) or not isinstance(self.port, Port | None):
            raise InvalidFlow("the endpoint is of something else", hint=_PLACES)
        if isinstance(self.place, IPv6Network):
            _check_ipv6(self.place)
        if self.vlan is not None and (type(self.vlan) is not int or not 1 <= self.vlan <= 4_094):
            # IEEE 802.1Q: 0 is a priority tag, 4095 is reserved.
            hint = "0 is a priority tag; leave it out for any VLAN" if self.vlan == 0 else "a VLAN is {1} to {4094}"
            raise InvalidFlow(f"{self.vlan!r:.20} is no VLAN", hint=hint)

    def __str__(self) -> str:
        place = "any" if self.place is None else str(self.place)
        if isinstance(self.place, IPv4Network | IPv6Network) and self.place.num_addresses == 1:
            place = str(self.place.network_address)
        if self.port is not None:
            place = f"[{place}]:{self.port}" if ":" in place else f"{place}:{self.port}"
        return place if self.vlan is None else f"{place}{{{self.vlan}}}"

    @property
    def families(self) -> frozenset[int]:
        """The IP versions a packet from or to here may be of, as far as the place itself says."""
        return frozenset({self.place.version}) if isinstance(self.place, IPv4Network | IPv6Network) else _BOTH


def _check_ipv6(prefix: IPv6Network) -> None:
    if prefix.network_address.scope_id is not None:
        raise InvalidFlow("a scope is of one host only", hint="leave out % and the interface")
    mapped = prefix.network_address.ipv4_mapped
    if mapped is not None and prefix.prefixlen >= 96:
        # RFC 4291 §2.5.5.2: only an API has them, the packets are IPv4.
        meant = Endpoint(IPv4Network((mapped, prefix.prefixlen - 96)))
        raise InvalidFlow("no packet has an IPv4-mapped address", hint=f"did you mean {meant}?")


ANY: Final = Endpoint()


def endpoint_from_text(text: object, where: str = "endpoint") -> Endpoint:
    """Reads what ``str`` of an endpoint gives, upper case and blanks around it too. Raises :class:`InvalidFlow`."""
    try:
        if not isinstance(text, str) or not text.isascii() or len(text) > MAX_TEXT:
            raise InvalidFlow(f"is no ASCII text of at most {MAX_TEXT} characters", hint=_PLACES)
        found = _WITH_VLAN.fullmatch(text.strip().lower())
        if found is None:
            raise InvalidFlow("the VLAN is no number in braces at the end", hint="a VLAN is {1} to {4094}")
        place, port = _split(found[1])
        vlan = None if found[2] is None else int(found[2])
        return Endpoint(_place(place), None if port is None else _port(port), vlan)
    except InvalidFlow as error:
        raise InvalidFlow(f"{where} {_quoted(text)}: {error.message}", hint=error.hint) from None


def _split(text: str) -> tuple[str, str | None]:
    """Place and port. Brackets are for what has colons itself."""
    if text.startswith("["):
        found = _BRACKETS.fullmatch(text)
        if found is None:
            raise InvalidFlow("brackets are around an address with colons", hint="write [fd00::1]:443 or 10.0.0.1:80")
        return found[1], found[2]
    place, _, port = text.partition(":")
    return (place, port) if text.count(":") == 1 else (text, None)


def _place(text: str) -> Place:
    if text == "any":
        return None
    if _MAC.fullmatch(text):
        return Mac(text)
    if _MAC_OTHERWISE.fullmatch(text):
        meant = ":".join(re.findall("[0-9a-f]{2}", text))
        raise InvalidFlow("a MAC address has colons", hint=f"did you mean {meant}?")
    if ":" in text or "/" in text or _NUMERIC.fullmatch(text):
        return _prefix(text)
    if not text:
        raise InvalidFlow("the address is missing", hint=_PLACES)
    return HostName(text)


def _prefix(text: str) -> IPv4Network | IPv6Network:
    address, slash, length = text.partition("/")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidFlow("is no address", hint=_address_hint(text)) from None
    if slash and length != str(network.prefixlen):
        raise InvalidFlow("the length of the prefix is no plain number", hint=f"did you mean {network}?")
    if ip_address(address) != network.network_address:
        raise InvalidFlow("is no network: host bits are set", hint=f"did you mean {network}?")
    return network


def _address_hint(text: str) -> str:
    place, _, port = text.rpartition(":")
    try:
        return f"did you mean {Endpoint(Mac(place) if _MAC.fullmatch(place) else ip_network(place), _port(port))}?"
    except ValueError:
        return _PLACES


def _port(text: str) -> Port:
    found = _PORT.fullmatch(text)
    if found is None:
        raise InvalidFlow(f"{_quoted(text)} is no port", hint=_PORTS)
    mask = "0xffff" if found[2] is None else found[2]
    if re.fullmatch("0x[0-9a-f]{1,4}", mask):
        return Port(int(found[1], 0), int(mask, 16))
    # A decimal one might be meant as the length of a prefix.
    length = f"; {mask} bits are {0xFFFF << 16 - int(mask) & 0xFFFF:#x}" if re.fullmatch("[1-9]|1[0-6]", mask) else ""
    raise InvalidFlow(f"{_quoted(mask)} is no mask", hint=f"a mask is 0x and one to four hexadecimal digits{length}")


# -- flows


def protocol_from_text(text: object, where: str = "protocol") -> int | None:
    """The number of a protocol, None for ``any``. Raises :class:`InvalidFlow`."""
    if isinstance(text, str) and text.isascii() and len(text) <= MAX_TEXT:
        stripped = text.strip().lower()
        if stripped in PROTOCOLS or stripped == "any":
            return PROTOCOLS.get(stripped)
        if re.fullmatch("0|[1-9][0-9]{0,2}", stripped) and int(stripped) <= 255:
            return int(stripped)
        if near := difflib.get_close_matches(stripped, [*PROTOCOLS, "any"], 1):
            raise InvalidFlow(f"{where} {_quoted(text)} is no protocol", hint=f"did you mean {near[0]}?")
    raise InvalidFlow(f"{where} {_quoted(text)} is no protocol", hint=_PROTOCOLS)


def protocol_text(protocol: int | None) -> str:
    return "any" if protocol is None else _NAMES.get(protocol, str(protocol))


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets from ``source`` to ``destination``. ``protocol``: 0..255, None is any, which beside a port means TCP
    and UDP. Raises :class:`InvalidFlow`."""

    source: Endpoint
    destination: Endpoint
    protocol: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.source, Endpoint) or not isinstance(self.destination, Endpoint):
            raise InvalidFlow("a flow is between two endpoints", hint=_PLACES)
        protocol = self.protocol
        if protocol is not None and (type(protocol) is not int or not 0 <= protocol <= 255):
            raise InvalidFlow(f"{protocol!r:.20} is no protocol", hint=_PROTOCOLS)
        name = protocol_text(protocol)
        if self.has_ports and protocol is not None and protocol not in _WITH_PORTS:
            raise InvalidFlow(f"{name} has no ports", hint="leave the port out, or name tcp, udp or sctp")
        for end in (self.source, self.destination):
            if isinstance(end.place, Mac) and end.port is not None and protocol is None:
                raise InvalidFlow(f"{end} has a port of no protocol", hint="name tcp, udp or sctp")
        if not self.families:
            apart = not self.source.families & self.destination.families
            hint = "give both ends as IPv4 or as IPv6" if apart else f"did you mean {_TWIN[name]}?"
            raise InvalidFlow(f"no packet of {name} goes from {self.source} to {self.destination}", hint=hint)

    @property
    def has_ports(self) -> bool:
        return self.source.port is not None or self.destination.port is not None

    @property
    def families(self) -> frozenset[int]:
        """The IP versions its packets may be of; never empty."""
        own = _BOTH if self.protocol is None else _OF_FAMILY.get(self.protocol, _BOTH)
        return self.source.families & self.destination.families & own

    @property
    def protocols(self) -> frozenset[int] | None:
        """The numbers its packets may have; None is every number."""
        if self.protocol is not None:
            return frozenset({self.protocol})
        return _TCP_AND_UDP if self.has_ports else None

    def reversed(self) -> Flow:
        """The way back: ports and VLANs stay with their ends."""
        return Flow(self.destination, self.source, self.protocol)


def check_ends_differ(flow: Flow) -> None:
    """For kinds that carry traffic from one host to another: whatever the ports, what a host sends to itself crosses no
    link. One address in two VLANs may be two hosts. Raises :class:`InvalidFlow`."""
    source, destination = flow.source, flow.destination
    told_apart = None not in (source.vlan, destination.vlan) and source.vlan != destination.vlan
    if source.place == destination.place and not told_apart:
        raise InvalidFlow(f"{source} and {destination} are the same endpoint", hint="name two different hosts")


Identity = tuple[int | None, tuple[Endpoint, Endpoint] | frozenset[Endpoint]]


def identity(flow: Flow, either_way: bool) -> Identity:
    """A key that two flows share exactly where :func:`same_flow` holds, so a duplicate is found by one look-up."""
    ends = flow.source, flow.destination
    return flow.protocol, frozenset(ends) if either_way else ends


def same_flow(a: Flow, b: Flow, *, either_way: bool) -> bool:
    """The duplicate rule: protocol, places, ports with masks and VLANs are equal; ``either_way``, for two-way
    bandwidth, with the ends swapped too. A name equals itself only: resolve it where it may be an address."""
    return identity(a, either_way) == identity(b, either_way)


def overlapping(a: Flow, b: Flow) -> bool:
    """Whether a packet can match both, each in its own direction. A name may be any host, a MAC any address's."""
    return (
        (a.protocols is None or b.protocols is None or not a.protocols.isdisjoint(b.protocols))
        and not a.families.isdisjoint(b.families)
        and _ends_meet(a.source, b.source)
        and _ends_meet(a.destination, b.destination)
    )


def _ends_meet(a: Endpoint, b: Endpoint) -> bool:
    return (
        (a.vlan is None or b.vlan is None or a.vlan == b.vlan)
        and (a.port is None or b.port is None or a.port.meets(b.port))
        and _places_meet(a.place, b.place)
    )


def _places_meet(a: Place, b: Place) -> bool:
    if isinstance(a, IPv4Network | IPv6Network) and isinstance(b, IPv4Network | IPv6Network):
        return a.overlaps(b)
    return a == b if isinstance(a, Mac) and isinstance(b, Mac) else True


def flow_json(flow: Flow) -> dict[str, str]:
    """Every field as its text; :func:`flow_from_json` gives the same flow back."""
    return {
        "source": str(flow.source), "destination": str(flow.destination), "protocol": protocol_text(flow.protocol),
    }  # fmt: skip


def flow_from_json(value: object, where: str = "flow") -> Flow:
    """``protocol`` may be left out: any. Raises :class:`InvalidFlow`, which says where."""
    if not isinstance(value, dict):
        raise InvalidFlow(f"{where} is {_quoted(value)}", hint="give an object with source, destination and protocol")
    for key in value:
        if key not in _KEYS:
            raise InvalidFlow(f"{where}.{_quoted(key)} does not exist", hint=f"known keys: {', '.join(_KEYS)}")
    for key in _KEYS[:2]:
        if key not in value:
            raise InvalidFlow(f"{where}.{key} is missing", hint=_PLACES)
    source, destination = (endpoint_from_text(value[key], f"{where}.{key}") for key in _KEYS[:2])
    protocol = protocol_from_text(value.get("protocol", "any"), f"{where}.protocol")
    try:
        return Flow(source, destination, protocol)
    except InvalidFlow as error:
        raise InvalidFlow(f"{where}: {error.message}", hint=error.hint) from None
