"""What really crosses an interface, as the kernel hands it to a packet socket."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import threading
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import NamedTuple

from .hosts import Host

# From linux/if_ether.h, linux/if_packet.h and asm-generic/socket.h; Python lacks them.
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_TIMESTAMPNS, SO_RCVBUFFORCE, SO_ATTACH_FILTER = 35, 33, 26
BPF_RET = 0x06

ETHERNET_HEADER, UDP_HEADER = 14, 8
RECEIVE_BUFFER = 16 << 20
LARGEST_FRAME = 1 << 17  # segmentation offload shows TCP segments far beyond the MTU


class Frame(NamedTuple):
    time: float  #: UNIX s, by the kernel
    outgoing: bool  #: sent by the host itself
    data: bytes  #: from the Ethernet header on


class Datagram(NamedTuple):
    time: float  #: UNIX s, by the kernel
    outgoing: bool  #: sent by the host itself
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes


class Capture:
    """All frames one interface of a host sends and receives during the ``with`` block.

    ``with Capture(host, "eth0") as capture: ...`` and then, when the block has ended and nothing is on the
    way any more, `frames` and `packets`. They may be read during the block too, and then tell what has
    been seen so far.
    """

    def __init__(self, host: Host, dev: str) -> None:
        self.host = host
        self.dev = dev
        self.frames: list[Frame] = []
        self.dropped = 0  #: frames the kernel had no room for; known when the block has ended
        self._ended = False
        self._thread = threading.Thread(target=self._collect, name=f"capture-{host.name}-{dev}", daemon=True)

    def __enter__(self) -> Capture:
        with self.host.entered():
            # No protocol until bound, lest frames of other interfaces be queued in between.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            with contextlib.suppress(PermissionError):  # root of a user namespace gets the default size
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            self._socket.settimeout(0.05)
            self._socket.bind((self.dev, ETH_P_ALL))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is queued is still read, and nothing comes after it. By the time of a frame they could not be told apart:
        # the kernel begins to note it a moment after it is asked to, and gives that of the reading until then.
        nothing = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RET, 0, 0, 0))
        program = struct.pack("@HP", 1, ctypes.addressof(nothing))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        self._ended = True
        self._thread.join()
        _, self.dropped = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._socket.close()

    def _collect(self) -> None:
        while True:
            ended = self._ended
            try:
                data, ancillary, _, address = self._socket.recvmsg(LARGEST_FRAME, socket.CMSG_SPACE(16))
            except TimeoutError:
                if ended:
                    return
                continue
            except OSError as error:
                # Once, when the interface goes down; frames come again when it is up again.
                if error.errno != errno.ENETDOWN:
                    raise
                continue
            seconds, nanoseconds = struct.unpack("@ll", ancillary[0][2])
            when = seconds + nanoseconds * 1e-9
            self.frames.append(Frame(when, address[2] == socket.PACKET_OUTGOING, data))

    def packets(self, udp_port: int | None = None) -> list[Datagram]:
        """The unfragmented UDP datagrams so far, IPv4 and IPv6, from or to `udp_port` if it is given."""
        datagrams = (datagram for frame in list(self.frames) if (datagram := _datagram(frame)))
        return [d for d in datagrams if udp_port in (None, d.source[1], d.destination[1])]


def _datagram(frame: Frame) -> Datagram | None:
    (ethertype,) = struct.unpack_from("!H", frame.data, 12)
    packet = frame.data[ETHERNET_HEADER:]
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    if ethertype == ETH_P_IPV6 and packet[6] == socket.IPPROTO_UDP:
        source, destination, udp = IPv6Address(packet[8:24]), IPv6Address(packet[24:40]), packet[40:]
    elif ethertype == ETH_P_IP and packet[9] == socket.IPPROTO_UDP and not _fragment(packet):
        header = (packet[0] & 0x0F) * 4
        source, destination, udp = IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[header:]
    else:
        return None
    sport, dport, length, _ = struct.unpack_from("!HHHH", udp)
    payload = udp[UDP_HEADER:length]
    return Datagram(frame.time, frame.outgoing, (str(source), sport), (str(destination), dport), payload)


def _fragment(ipv4: bytes) -> bool:
    return bool(int.from_bytes(ipv4[6:8], "big") & 0x3FFF)
