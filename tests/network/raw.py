"""A neighbour made of bare sockets and cbor2, which says what a test tells it and nothing else.

It shares no code with the implementation, so it sees what really is on the wire.
"""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

import cbor2

from lab import Host

PORT = 7017
GROUP_6, GROUP_4 = "ff02::13", "224.0.0.119"
M_NOOP, M_DISCOVERY, M_RESPONSE, M_REQ_NEG, M_REQ_SYN, M_NEGOTIATE, M_END, M_WAIT, M_SYNCH, M_FLOOD = range(10)
M_INVALID = 99
O_DIVERT, O_ACCEPT, O_DECLINE, O_IPV6, O_IPV4, O_FQDN, O_URI = range(100, 107)
F_DISC, F_NEG, F_SYNCH, F_DRY = 1, 2, 4, 8
NEG, SYN = F_DISC | F_NEG, F_DISC | F_SYNCH
KINDS_ABOUT_SESSIONS = (M_REQ_NEG, M_REQ_SYN, M_NEGOTIATE, M_NEGOTIATE, M_END, M_WAIT, M_SYNCH, M_INVALID)
TIMEOUT = 10.0

INERT = {number: lambda content, _: content for number in (2, 28, 29, 35)}  # tags cbor2 would act upon


def encoded(message: Any) -> bytes:
    return message if isinstance(message, bytes) else cbor2.dumps(message)


def items(data: bytes) -> tuple[list[Any], bytes]:
    """The whole CBOR items in ``data``, and the rest."""
    found = []
    while data:
        stream = io.BytesIO(data)
        try:
            found.append(cbor2.CBORDecoder(stream, read_size=1, semantic_decoders=INERT).decode())
        except cbor2.CBORDecodeEOF:
            break
        data = data[stream.tell() :]
    return found, data


def about(name: str) -> Callable[[Any], bool]:
    """Whether a discovery, or a flood's first objective, is about ``name``."""

    def matches(message: Any) -> bool:
        if message[0] == M_DISCOVERY:
            return message[3][0] == name
        first = next(entry for entry in message[4:] if isinstance(entry[0], list))
        return first[0][0] == name

    return matches


class Wire:
    """One TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._ready: list[Any] = []

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    close = __exit__

    def send(self, message: Any) -> None:
        self.socket.sendall(encoded(message))

    def receive(self, timeout: float = TIMEOUT) -> Any:
        """The next message; None when the peer has closed."""
        deadline = time.monotonic() + timeout
        while not self._ready:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._ready, self._rest = items(self._rest + data)
        return self._ready.pop(0)

    def closed_within(self, timeout: float) -> float | None:
        """Seconds until the peer closed without a word; None if it spoke or did not."""
        before = time.monotonic()
        try:
            return time.monotonic() - before if self.receive(timeout) is None else None
        except TimeoutError:
            return None


class Raw:
    """UDP and TCP on the same port, and an ear for the GRASP multicasts of one interface."""

    def __init__(self, host: Host, dev: str, ipv4: str | None = None) -> None:
        """``ipv4``: speak IPv4, from this address."""
        self.host, self.dev = host, dev
        self.four = ipv4
        self.heard: list[tuple[str, int, bytes]] = []
        self._closing = False
        family = socket.AF_INET if ipv4 else socket.AF_INET6
        with host.entered():
            self.index = socket.if_nametoindex(dev)
            self.listener = socket.create_server((ipv4 or "::", 0), family=family, backlog=64)
            self.port: int = self.listener.getsockname()[1]
            self.sender = socket.socket(family, socket.SOCK_DGRAM)
            self.sender.bind((ipv4 or "::", self.port))
            self.ear = socket.socket(family, socket.SOCK_DGRAM)
            self.ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ipv4:
                member = socket.inet_aton(GROUP_4) + bytes(4) + struct.pack("@i", self.index)
                self.ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                out = struct.pack("@4s4si", bytes(4), bytes(4), self.index)
                self.sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, out)
                self.sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
                self.ear.bind((GROUP_4, PORT))
            else:
                member = socket.inet_pton(socket.AF_INET6, GROUP_6) + struct.pack("@I", self.index)
                self.ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
                self.sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
                self.ear.bind(("::", PORT))
        self.ear.settimeout(0.1)
        self._thread = threading.Thread(target=self._listen, name=f"raw-{host.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._thread.join()
        for each in (self.listener, self.sender, self.ear):
            each.close()

    def _listen(self) -> None:
        while not self._closing:
            try:
                data, source = self.ear.recvfrom(65536)
            except TimeoutError:
                continue
            self.heard.append((source[0].partition("%")[0], source[1], data))

    @property
    def address(self) -> str:
        return self.four or self.host.link_local(self.dev)

    @property
    def packed(self) -> bytes:
        """What this neighbour writes into the initiator field."""
        return ip_address(self.address).packed

    @property
    def locator(self) -> list[Any]:
        return [O_IPV4 if self.four else O_IPV6, self.packed, 6, self.port]

    def multicast(self, message: Any) -> None:
        to = (GROUP_4, PORT) if self.four else (GROUP_6, PORT, 0, self.index)
        self.sender.sendto(encoded(message), to)

    def messages(self, kind: int, port: int | None = None) -> list[tuple[str, int, Any]]:
        """The multicasts of one message type heard so far: source address, source port, message."""
        found = []
        for address, source_port, data in list(self.heard):
            try:
                message = cbor2.loads(data, semantic_decoders=INERT)
            except cbor2.CBORDecodeError:
                continue
            if port in (None, source_port) and message[0] == kind:
                found.append((address, source_port, message))
        return found

    def hear(self, kind: int, matching: Callable[[Any], bool] = bool, timeout: float = TIMEOUT) -> tuple[str, int, Any]:
        """The first multicast of that type that matches, heard already or within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            for found in self.messages(kind):
                if matching(found[2]):
                    return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"no multicast of type {kind} within {timeout} s")
            time.sleep(0.01)

    def accept(self, timeout: float = TIMEOUT) -> Wire:
        self.listener.settimeout(timeout)
        sock, _ = self.listener.accept()
        return Wire(sock)

    def connect(self, address: str, port: int, timeout: float = TIMEOUT) -> Wire:
        """A link-local address is on this neighbour's link."""
        with self.host.entered():
            return Wire(_connect(address, port, self.index, timeout))


def _connect(address: str, port: int, index: int, timeout: float) -> socket.socket:
    where = ip_address(address)
    if isinstance(where, IPv6Address):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect((address, port, 0, index if where.is_link_local else 0))
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect((address, port))
    return sock
