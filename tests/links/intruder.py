"""A member that does with its links what it likes: pyOpenSSL on a blocking socket, and cbor2."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import Any

import cbor2
from OpenSSL import SSL

from lab import Host
from tests.pki import Authority, Issued

NOOP = [0]


def announcement(address: str, port: int = 4711) -> list[Any]:
    packed = IPv6Address(address).packed
    return [9, 77, packed, 210_000, [["EX9.Neighbor", 4, 1, "TLS"], [103, packed, 6, port]]]


class Intruder:
    """A connection to a node, from ``dev`` of ``host``."""

    def __init__(
        self,
        host: Host,
        dev: str,
        address: str,
        port: int,
        authority: Authority,
        issued: Issued,
        patience: float = 20.0,
    ) -> None:
        self.address = host.link_local(dev)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_alpn_protos([b"grasp-link/1"])
        context.use_certificate(issued.certificate)
        for each in issued.chain:
            context.add_extra_chain_cert(each)
        context.use_privatekey(issued.key)
        context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        with host.entered():
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            self.socket.settimeout(patience)
            self.socket.connect((address, port, 0, socket.if_nametoindex(dev)))
        self.socket.setblocking(True)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(patience).to_bytes(8, "little") + bytes(8))
        self.tls = SSL.Connection(context, self.socket)
        self.tls.set_connect_state()
        self.tls.do_handshake()

    def send(self, *messages: Any) -> None:
        data = b"".join(each if isinstance(each, bytes) else cbor2.dumps(each) for each in messages)
        try:
            self.tls.sendall(data)
        except SSL.Error:
            pass

    def receive(self) -> Any:
        """The next messages; None when the node has closed."""
        try:
            data = self.tls.recv(65_536)
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return None
        return cbor2.loads(data)

    def closed(self) -> bool:
        """Whether the node closes before it runs out of patience, whatever it says before."""
        try:
            while self.tls.recv(65_536):
                pass
        except SSL.WantReadError:
            return False
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return True
        return True

    def link(self, port: int = 4711) -> None:
        """Get a link, as a neighbour does."""
        self.send(announcement(self.address, port))
        assert self.receive() == NOOP
        self.send(NOOP)

    def close(self) -> None:
        self.socket.close()


@contextmanager
def intruding(*args: Any, **kw: Any) -> Iterator[Intruder]:
    found = Intruder(*args, **kw)
    try:
        yield found
    finally:
        found.close()
