"""Matches as the keys of u32 filters: what is compared where in a packet, and by which word it is looked up. No I/O.

Offsets count from the IP header, or whatever follows the Ethernet header; the latter is before them. All frames pass
the same filters (``protocol all``), because the kernel takes a frame with a VLAN tag for one of protocol 802.1Q, and a
match that looks at no VLAN is of tagged frames too. So IP is told by the version in its first four bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from asa.dataplane.match import Match, Shape, Where
from asa.errors import BadRequest
from asa.flows import Mac, Port

AFTER_HEADER: Final = -1
"""``from_mask`` of keys that count from the end of the IP header."""

_HOPS_AND_PROTOCOL: Final = {4: (8, 16), 6: (4, 8)}
"""Word and shift of the protocol of what the IP header carries."""

_SOURCE: Final = {4: 12, 6: 8}
_DESTINATION: Final = {4: 16, 6: 24}
_PORTS: Final = {4: 20, 6: 40}
"""Where the IP header ends if it has no options, or extensions."""

_WITHOUT_OPTIONS: Final = 5
"""Words of such an IPv4 header."""

_FRAGMENT: Final = 0x1FFF
"""The fragment's offset, in the IPv4 word at 4. Of later fragments there are no ports to look at."""

_MAC_WORDS: Final = {"destination": ((-16, 0xFFFF, 32), (-12, 0xFFFFFFFF, 0)), "source": ((-8, 0xFFFFFFFF, 16),
                     (-4, 0xFFFF0000, -16))}  # fmt: skip
"""Word, mask, and by how much the address is shifted to the right to be in it."""

_BYTE: Final = 0xFF
_WORD: Final = 0xFFFFFFFF


class Unsuitable(BadRequest):
    """u32 cannot tell these packets from others."""


@dataclass(frozen=True, slots=True)
class Key:
    """A packet fits if ``packet[at:at + 4] & mask == value``. ``from_mask``: AFTER_HEADER, or 0."""

    mask: int
    value: int
    at: int
    from_mask: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """How a table of 256 buckets is searched: by the bits ``mask``, at most 8 wide, of the word ``at``. ``plain``: only
    for headers without options."""

    at: int
    mask: int
    plain: bool = False

    def bucket(self, keys: tuple[Key, ...]) -> int:
        """Where packets that fit ``keys`` look, as the kernel's u32_hash_fold has it."""
        if not self.mask:
            return 0
        word = 0
        for key in keys:
            if (key.at == self.at and not key.from_mask) or (self.plain and key.from_mask == AFTER_HEADER):
                word |= key.value
        return (word & self.mask) >> _lowest(self.mask) & _BYTE


def keys_of(match: Match) -> tuple[Key, ...]:
    """Raises Unsuitable. What a packet may not have, a port, comes last: the kernel gives up at what is not there."""
    if match.vlan is not None:
        raise Unsuitable(
            "u32 does not see VLAN tags, which the kernel keeps beside the frame",
            hint="leave the VLAN out, or use a back end that sees it: tc-nft, openvswitch",
        )
    keys = list(family_keys(match.family))
    if match.protocol is not None:
        at, shift = _HOPS_AND_PROTOCOL[match.family]
        keys.append(Key(_BYTE << shift, match.protocol << shift, at))
    keys += _place_keys(match.family, match.source, "source")
    keys += _place_keys(match.family, match.destination, "destination")
    source, destination = match.source_port, match.destination_port
    if source is not None or destination is not None:
        if match.family == 4:
            keys.append(Key(_FRAGMENT, 0, 4))
        mask = (0 if source is None else source.mask << 16) | (0 if destination is None else destination.mask)
        value = (0 if source is None else source.number << 16) | (0 if destination is None else destination.number)
        # The link to the table skips IPv4's options; IPv6's header has one length, and the kernel adds nothing then.
        keys.append(Key(mask, value, 0, AFTER_HEADER) if match.family == 4 else Key(mask, value, _PORTS[6]))
    return tuple(keys)


def match_of(keys: tuple[Key, ...]) -> Match | None:
    """What has exactly these keys; None if nothing does."""
    found = {(each.at, each.from_mask): each for each in keys}
    family = next((each for each in (4, 6) if family_keys(each)[0] in keys), 0)
    try:
        ports = found.get((0, AFTER_HEADER) if family == 4 else (_PORTS[6], 0)) if family else None
        protocol = None
        if family:
            at, shift = _HOPS_AND_PROTOCOL[family]
            key = found.get((at, 0))
            protocol = None if key is None else key.value >> shift
        match = Match(
            family,
            _place(found, family, "source"),
            _place(found, family, "destination"),
            protocol,
            None if ports is None else _port(ports.value >> 16, ports.mask >> 16),
            None if ports is None else _port(ports.value & 0xFFFF, ports.mask & 0xFFFF),
        )
        return match if keys_of(match) == keys else None
    except (BadRequest, ValueError):
        return None


def family_keys(family: int) -> tuple[Key, ...]:
    return (Key(0xF0000000, family << 28, 0),) if family else ()


def plain_key() -> Key:
    return Key(0x0F000000, _WITHOUT_OPTIONS << 24, 0)


def ways_of(shape: Shape) -> tuple[Way, ...]:
    """The words that tell matches of a shape apart, the best first; never empty."""
    ways: list[Way] = []
    for end, starts in (("destination", _DESTINATION), ("source", _SOURCE)):
        length = shape.destination if end == "destination" else shape.source
        if length is not None and length < 0:
            ways.append(Way(-12, _BYTE) if end == "destination" else Way(-4, _BYTE << 16))
        elif length:
            word, bits = divmod(length - 1, 32)
            bits += 1
            ways.append(Way(starts[shape.family] + 4 * word, (1 << min(8, bits)) - 1 << 32 - bits))
    if shape.protocol and not ways:
        at, shift = _HOPS_AND_PROTOCOL[shape.family]
        ways.append(Way(at, _BYTE << shift))
    # Last, because a packet with options is not found by its ports.
    for mask, shift in ((shape.destination_port, 0), (shape.source_port, 16)):
        if mask is not None:
            ways.append(Way(_PORTS[shape.family], (mask & _BYTE << _lowest(mask)) << shift, shape.family == 4))
    return tuple(ways) or (Way(0, 0),)


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _place_keys(family: int, place: Where, end: str) -> list[Key]:
    if place is None:
        return []
    if isinstance(place, Mac):
        address = int(place.text.replace(":", ""), 16)
        return [
            Key(mask, (address >> shift if shift >= 0 else address << -shift) & mask, at)
            for at, mask, shift in _MAC_WORDS[end]
        ]
    start = (_SOURCE if end == "source" else _DESTINATION)[family]
    mask, value = int(place.netmask), int(place.network_address)
    words = range(place.max_prefixlen // 32)
    shifts = [place.max_prefixlen - 32 * (word + 1) for word in words]
    return [
        Key(mask >> shift & _WORD, value >> shift & _WORD, start + 4 * word)
        for word, shift in zip(words, shifts, strict=True)
        if mask >> shift & _WORD
    ]


def _place(found: dict[tuple[int, int], Key], family: int, end: str) -> Where:
    first, second = (found.get((at, 0)) for at, _, _ in _MAC_WORDS[end])
    if first is not None and second is not None:
        value = first.value << 32 | second.value if end == "destination" else first.value << 16 | second.value >> 16
        return Mac(":".join(f"{each:02x}" for each in value.to_bytes(6, "big")))
    if not family:
        return None
    start = (_SOURCE if end == "source" else _DESTINATION)[family]
    words = [found.get((start + 4 * word, 0), Key(0, 0, 0)) for word in range(1 if family == 4 else 4)]
    length = sum(each.mask.bit_count() for each in words)
    if not length:
        return None
    value = int.from_bytes(b"".join(each.value.to_bytes(4, "big") for each in words), "big")
    return IPv4Network((value, length)) if family == 4 else IPv6Network((value, length))


def _port(number: int, mask: int) -> Port | None:
    return Port(number, mask) if mask else None
