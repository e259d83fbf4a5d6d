"""Link-local multicast over UDP (RFC 8990 §2.5.3, §2.6, §2.8.4)."""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Final

from grasp.constants import ALL_GRASP_NEIGHBORS_4, ALL_GRASP_NEIGHBORS_6, GRASP_LISTEN_PORT
from grasp.discovery import Source
from grasp.transport.interfaces import Interface
from grasp.wire import address_from_text

_log = logging.getLogger("grasp.transport")

_IPV6_MULTICAST_ALL: Final = 29
_IP_MULTICAST_ALL: Final = 49
_IP_PKTINFO: Final = 8
_GROUP_6: Final = socket.inet_pton(socket.AF_INET6, ALL_GRASP_NEIGHBORS_6)
_GROUP_4: Final = socket.inet_pton(socket.AF_INET, ALL_GRASP_NEIGHBORS_4)
_BATCH: Final = 64


class MulticastSockets:
    """Sends from one port on any interface and receives GRASP_LISTEN_PORT on the joined ones.

    Several instances on one host each get every multicast (§2.3), their own excepted.
    """

    def __init__(self, port: int, ipv4: bool, limit: int, name: str) -> None:
        self._port = port
        self._limit = limit
        self._name = name
        self._joined: dict[int, Interface] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._sockets: list[socket.socket] = []
        self._receive_4: socket.socket | None = None
        self._send_4: socket.socket | None = None
        try:
            self._wake, self._waker = self._keep(*socket.socketpair())
            self._receive_6 = self._keep(_receiver_6())[0]
            self._send_6 = self._keep(_sender_6(port))[0]
            if ipv4:
                self._receive_4 = self._keep(_receiver_4())[0]
                self._send_4 = self._keep(_sender_4(port))[0]
        except BaseException:
            self._close()
            raise

    def _keep(self, *sockets: socket.socket) -> tuple[socket.socket, ...]:
        self._sockets += sockets
        return sockets

    def join(self, interfaces: Iterable[Interface]) -> None:
        """Be a member of the group on exactly these interfaces (§2.6)."""
        wanted = {interface.index: interface for interface in interfaces}
        with self._lock:
            for index in set(self._joined) - set(wanted):
                self._membership(index, join=False)
                del self._joined[index]
            for index, interface in wanted.items():
                # Joining again is refused as a duplicate, unless the interface was made anew meanwhile.
                if self._membership(index, join=True):
                    self._joined[index] = interface

    def _membership(self, index: int, join: bool) -> bool:
        done = False
        option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
        attempts: list[Callable[[], None]] = [
            lambda: self._receive_6.setsockopt(socket.IPPROTO_IPV6, option, _GROUP_6 + struct.pack("@I", index))
        ]
        if self._receive_4 is not None:
            receive_4 = self._receive_4
            option_4 = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
            request = _GROUP_4 + bytes(4) + struct.pack("@i", index)
            attempts.append(lambda: receive_4.setsockopt(socket.IPPROTO_IP, option_4, request))
        for attempt in attempts:
            try:
                attempt()
                done = True
            except OSError as error:
                if join and error.errno == 98:  # EADDRINUSE: a member already
                    done = True
                elif join:
                    _log.debug("interface %d: cannot join: %s", index, error)
        return done

    def send(self, interface: Interface, data: bytes) -> bool:
        """To all neighbours on ``interface``, over IPv6 if it has that, and over IPv4 if enabled."""
        sent = False
        try:
            if interface.link_local is not None:
                self._send_6.sendto(data, (ALL_GRASP_NEIGHBORS_6, GRASP_LISTEN_PORT, 0, interface.index))
                sent = True
        except OSError as error:
            _log.debug("%s: multicast failed: %s", interface.name, error)
        try:
            if self._send_4 is not None and interface.ipv4:
                pktinfo = struct.pack("@i4s4s", interface.index, interface.ipv4[0].packed, bytes(4))
                self._send_4.sendmsg(
                    [data],
                    [(socket.IPPROTO_IP, _IP_PKTINFO, pktinfo)],
                    0,
                    (ALL_GRASP_NEIGHBORS_4, GRASP_LISTEN_PORT),
                )
                sent = True
        except OSError as error:
            _log.debug("%s: IPv4 multicast failed: %s", interface.name, error)
        return sent

    def start(self, received: Callable[[bytes, Source], None]) -> None:
        self._thread = threading.Thread(target=self._run, args=(received,), name=self._name, daemon=True)
        self._thread.start()

    def _run(self, received: Callable[[bytes, Source], None]) -> None:
        poll = select.poll()
        sockets = {each.fileno(): each for each in (self._receive_6, self._receive_4) if each is not None}
        for number in (self._wake.fileno(), *sockets):
            poll.register(number, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number not in sockets:
                    return
                self._drain(sockets[number], received)

    def _drain(self, sock: socket.socket, received: Callable[[bytes, Source], None]) -> None:
        for _ in range(_BATCH):
            try:
                data, ancillary, flags, name = sock.recvmsg(self._limit + 1, 128)
            except BlockingIOError:
                return
            except OSError as error:
                _log.debug("receiving a multicast failed: %s", error)
                return
            if flags & socket.MSG_TRUNC or len(data) > self._limit:
                continue
            source = self._source(ancillary, name)
            if source is None:
                continue
            try:
                received(data, source)
            except Exception:
                # Nothing a neighbour sends may end this thread; whatever slipped through is ours to mend.
                _log.exception("handling a multicast failed")

    def _source(self, ancillary: list[tuple[int, int, bytes]], name: tuple[str, int]) -> Source | None:
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                group, index = data[:16], struct.unpack("@I", data[16:20])[0]
                multicast = group == _GROUP_6
            elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                index, _, group = struct.unpack("@i4s4s", data[:12])
                multicast = group == _GROUP_4
            else:
                continue
            interface = self._joined.get(index)
            if interface is None or not multicast:
                return None
            address = address_from_text(name[0])
            if name[1] == self._port and (address == interface.link_local or address in interface.ipv4):
                return None
            return Source(address, name[1], index)
        return None

    def stop(self) -> None:
        """End the thread and close. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waker.send(b"x")
            if thread is not threading.current_thread():
                thread.join(5)
        self._close()

    def _close(self) -> None:
        for each in self._sockets:
            each.close()


def _bound(family: int, address: tuple[str, int], *options: tuple[int, int, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _receiver_6() -> socket.socket:
    sock = _bound(
        socket.AF_INET6,
        ("::", GRASP_LISTEN_PORT),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1),
        (socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1),
    )
    sock.setblocking(False)
    return sock


def _receiver_4() -> socket.socket:
    sock = _bound(
        socket.AF_INET,
        (ALL_GRASP_NEIGHBORS_4, GRASP_LISTEN_PORT),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        (socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0),
        (socket.IPPROTO_IP, _IP_PKTINFO, 1),
    )
    sock.setblocking(False)
    return sock


def _sender_6(port: int) -> socket.socket:
    return _bound(
        socket.AF_INET6,
        ("::", port),
        (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1),
        # Nothing is read from it.
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 0),
    )


def _sender_4(port: int) -> socket.socket:
    return _bound(
        socket.AF_INET,
        ("0.0.0.0", port),
        (socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 0),
    )
