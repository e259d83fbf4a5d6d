"""What an attacker on the link does with packets: takes streams from a capture, sends with forged sources."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import NamedTuple

from lab import Host
from lab.capture import ETH_P_IPV6, ETHERNET_HEADER, Frame

GROUP, GRASP_PORT = "ff02::13", 7017
_IPV6_HEADER = 40


class End(NamedTuple):
    address: str
    port: int


class Stream(NamedTuple):
    """All that one end of a TCP connection said to the other."""

    source: End
    destination: End
    data: bytes
    begun: bool  #: by this end


def streams(frames: Iterable[Frame]) -> list[Stream]:
    """Those of which the beginning was captured, in the order of their beginnings."""
    segments: dict[tuple[End, End], dict[int, bytes]] = {}
    first: dict[tuple[End, End], int] = {}
    begun = set()
    for frame in frames:
        packet = frame.data[ETHERNET_HEADER:]
        if frame.data[12:14] != struct.pack("!H", ETH_P_IPV6) or packet[6] != socket.IPPROTO_TCP:
            continue
        length = _IPV6_HEADER + int.from_bytes(packet[4:6], "big")
        tcp = packet[_IPV6_HEADER:length]
        sport, dport, number = struct.unpack_from("!HHL", tcp)
        key = End(str(IPv6Address(packet[8:24])), sport), End(str(IPv6Address(packet[24:40])), dport)
        payload, syn, ack = tcp[(tcp[12] >> 4) * 4 :], tcp[13] & 0x02, tcp[13] & 0x10
        if syn:
            first[key] = number + 1
            segments[key] = {}
            if not ack:
                begun.add(key)
        elif payload and key in segments:
            segments[key][(number - first[key]) & 0xFFFF_FFFF] = payload
    return [Stream(*key, _joined(segments[key]), key in begun) for key in first]


def _joined(segments: dict[int, bytes]) -> bytes:
    data = b""
    for at, payload in sorted(segments.items()):
        if at > len(data):
            raise ValueError(f"bytes {len(data)} to {at} were not captured")
        data += payload[len(data) - at :]
    return data


def records(data: bytes) -> list[bytes]:
    """The TLS records in ``data``."""
    found = []
    while len(data) >= 5:
        length = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:length])
        data = data[length:]
    return found


class Forger:
    """Sends GRASP multicasts whose source is whatever the attacker likes."""

    def __init__(self, host: Host, dev: str) -> None:
        with host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((dev, ETH_P_IPV6))

    def close(self) -> None:
        self._socket.close()

    def multicast(self, source: str | IPv6Address, data: bytes, port: int = GRASP_PORT) -> None:
        """``data`` from ``source``, UDP port ``port``."""
        own, group = IPv6Address(source).packed, IPv6Address(GROUP).packed
        length = 8 + len(data)
        udp = struct.pack("!HHHH", port, GRASP_PORT, length, 0) + data
        pseudo = own + group + struct.pack("!LL", length, socket.IPPROTO_UDP)
        udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp)) + data
        header = struct.pack("!LHBB", 6 << 28, length, socket.IPPROTO_UDP, 255) + own + group
        ethernet = b"\x33\x33" + group[12:] + b"\x02\x00" + own[12:] + struct.pack("!H", ETH_P_IPV6)
        self._socket.send(ethernet + header + udp)


def checksum(data: bytes) -> int:
    """That of the Internet (RFC 1071); never 0, which in UDP means that there is none."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF) or 0xFFFF
