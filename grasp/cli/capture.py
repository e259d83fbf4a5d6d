"""Packet captures (pcap, pcapng): the multicasts and TCP connections of GRASP in them.

Reading them is dpkt's part, from the extra ``pcap``. Fragments, checksums and tunnels are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, BinaryIO, Final

from grasp.cli.streams import Item, Stream
from grasp.constants import GRASP_LISTEN_PORT
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.wire import Address, Flood, IPv4Locator, IPv6Locator, Locator, Message, Response, decode_message

_PCAPNG: Final = bytes.fromhex("0a0d0d0a")
_PCAP: Final = tuple(map(bytes.fromhex, ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1")))
_LARGEST_BLOCK: Final = 1 << 24

Endpoint = tuple[Address, int]


@dataclass(frozen=True, slots=True)
class Captured:
    """A message, or what should have been one, and whence and where it went; ``transport`` is udp or tcp."""

    transport: str
    source: Endpoint
    destination: Endpoint
    item: Item


@dataclass(frozen=True, slots=True)
class _Packet:
    time: float
    source: Endpoint
    destination: Endpoint
    data: bytes
    sequence: int | None = None
    """None for UDP."""
    syn: bool = False


@dataclass(slots=True)
class _Connection:
    """Both directions, by their source."""

    ends: tuple[Endpoint, Endpoint]
    streams: dict[Endpoint, Stream] = field(default_factory=dict)

    def captured(self) -> Iterator[Captured]:
        for source, stream in self.streams.items():
            destination = self.ends[0] if source == self.ends[1] else self.ends[1]
            for item in stream.items:
                yield Captured("tcp", source, destination, item)


def is_capture(start: bytes) -> bool:
    """Whether a file that starts with these 4 bytes is one. No GRASP message does."""
    return start[:4] == _PCAPNG or start[:4] in _PCAP


class Capture:
    """Takes the packets of a file; :meth:`messages` is what GRASP said in them, by time.

    A TCP connection counts as GRASP if a message was found in it, or if one of its ends is known from
    the port of a multicast (RFC 8990 §2.8.4) or from a locator. Memory grows with the file.
    """

    def __init__(self) -> None:
        self._multicasts: list[Captured] = []
        self._open: dict[frozenset[Endpoint], _Connection] = {}
        self._connections: list[_Connection] = []
        self._known: set[Endpoint] = set()

    def read(self, file: BinaryIO) -> None:
        """All packets of ``file``. Raises :class:`LocalError` where it is damaged; what was read counts."""
        for packet in _packets(file):
            if packet.sequence is not None:
                self._segment(packet, packet.sequence)
            elif packet.destination[1] == GRASP_LISTEN_PORT:
                self._multicast(packet)

    def _multicast(self, packet: _Packet) -> None:
        message: Message | WireError
        try:
            message = decode_message(packet.data)
            self._known.add(packet.source)
        except WireError as error:
            message = error
        item = Item(packet.time, packet.data, message)
        self._multicasts.append(Captured("udp", packet.source, packet.destination, item))

    def _segment(self, packet: _Packet, sequence: int) -> None:
        ends = frozenset((packet.source, packet.destination))
        connection = self._open.get(ends)
        known = connection.streams.get(packet.source) if connection is not None else None
        another = packet.syn and known is not None and not known.may_start_at((sequence + 1) % (1 << 32))
        if connection is None or another:
            connection = self._open[ends] = _Connection((packet.source, packet.destination))
            self._connections.append(connection)
        stream = connection.streams.setdefault(packet.source, Stream())
        stream.add(packet.time, sequence, packet.syn, packet.data)

    def messages(self) -> list[Captured]:
        """Everything found, once all packets were read."""
        found = list(self._multicasts)
        for connection in self._connections:
            for stream in connection.streams.values():
                stream.finish()
        for each in found + [each for connection in self._connections for each in connection.captured()]:
            self._known.update(_located(each.item.message))
        for connection in self._connections:
            if any(stream.valid for stream in connection.streams.values()) or not self._known.isdisjoint(
                connection.ends
            ):
                found += connection.captured()
        return sorted(found, key=lambda each: each.item.time)


def _located(message: Message | WireError) -> Iterator[Endpoint]:
    locators: tuple[Locator | None, ...] = ()
    if isinstance(message, Response):
        locators = message.locators
    elif isinstance(message, Flood):
        locators = tuple(entry.locator for entry in message.entries)
    for each in locators:
        if isinstance(each, IPv6Locator | IPv4Locator):
            yield each.address, each.port


class _Bounded:
    """A file that need not be seekable, for dpkt, which reads as much as a length field says."""

    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self._start = start
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_BLOCK:
            raise ValueError(f"a block of {size} bytes")
        start, self._start = self._start[:size], self._start[size:]
        data = start + self._file.read(size - len(start))
        if data and len(data) < size:
            raise ValueError(f"{size - len(data)} bytes are missing at its end")
        return data


def _packets(file: BinaryIO) -> Iterator[_Packet]:
    try:
        import dpkt
    except ImportError:
        raise LocalError(ErrorCode.badArgument, "packet captures need dpkt: pip install 'grasp-asa[pcap]'") from None
    start = file.read(4)
    rest = _Bounded(start, file)
    try:
        reader = dpkt.pcapng.Reader(rest) if start == _PCAPNG else dpkt.pcap.Reader(rest)
        parse = _parsers(dpkt).get(reader.datalink())
    except Exception as error:
        # dpkt raises whatever its parsing ran into.
        raise LocalError(ErrorCode.badArgument, f"not a readable capture: {str(error)[:80]}") from None
    if parse is None:
        raise LocalError(ErrorCode.badArgument, f"captures of link type {reader.datalink()} are not supported")
    frames = iter(reader)
    while True:
        try:
            time, frame = next(frames)
        except StopIteration:
            return
        except Exception as error:
            raise LocalError(ErrorCode.badArgument, f"the capture is cut short or damaged: {str(error)[:80]}") from None
        packet = _packet(dpkt, float(time), frame, parse)
        if packet is not None:
            yield packet


def _parsers(dpkt: Any) -> dict[int, Any]:
    """What a frame is, by link type (https://www.tcpdump.org/linktypes.html)."""
    raw = _either_ip(dpkt)
    return {
        0: dpkt.loopback.Loopback,
        1: dpkt.ethernet.Ethernet,
        12: raw,
        14: raw,
        101: raw,
        108: dpkt.loopback.Loopback,
        113: dpkt.sll.SLL,
        228: raw,
        229: raw,
        276: dpkt.sll2.SLL2,
    }


def _either_ip(dpkt: Any) -> Any:
    return lambda frame: dpkt.ip6.IP6(frame) if frame[:1] and frame[0] >> 4 == 6 else dpkt.ip.IP(frame)


def _packet(dpkt: Any, time: float, frame: bytes, parse: Any) -> _Packet | None:
    """The UDP or TCP packet in a frame; None for anything else, unreadable ones included."""
    try:
        layer = parse(frame)
        while not isinstance(layer, dpkt.ip.IP | dpkt.ip6.IP6):
            layer = layer.data
            if isinstance(layer, bytes):
                return None
        transport = layer.data
        source: Address
        destination: Address
        if isinstance(layer, dpkt.ip.IP):
            source, destination = IPv4Address(layer.src), IPv4Address(layer.dst)
            whole = not layer.mf and not layer.offset
        else:
            source, destination = IPv6Address(layer.src), IPv6Address(layer.dst)
            whole = dpkt.ip.IP_PROTO_FRAGMENT not in layer.extension_hdrs
        if not whole or not isinstance(transport, dpkt.udp.UDP | dpkt.tcp.TCP):
            return None
        ends = (source, transport.sport), (destination, transport.dport)
        if isinstance(transport, dpkt.udp.UDP):
            return _Packet(time, *ends, bytes(transport.data))
        syn = bool(transport.flags & dpkt.tcp.TH_SYN)
        return _Packet(time, *ends, bytes(transport.data), transport.seq, syn)
    except Exception:
        # A stranger's packet: whatever dpkt stumbles over, the next one counts.
        return None
