"""TLS of a library that is not the target's: that of the Python interpreter."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import cbor2

from tests.network.raw import items

SESSION, LINK = "grasp/1", "grasp-link/1"


def client_context(identity: Path | None, protocol: str = SESSION, newest: bool = True) -> ssl.SSLContext:
    """Takes whoever answers; ``newest``: TLS 1.3, else 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_3 if newest else ssl.TLSVersion.TLSv1_2
    if protocol:
        context.set_alpn_protocols([protocol])
    if identity is not None:
        context.load_cert_chain(identity / "certificate.pem", identity / "key.pem")
    return context


def server_context(identity: Path, *protocols: str) -> ssl.SSLContext:
    """Asks for no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity / "certificate.pem", identity / "key.pem")
    context.set_alpn_protocols(list(protocols))
    return context


class Tls:
    """Messages on a TLS connection."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.socket = sock
        self._rest = b""
        self._ready: list[Any] = []

    def __enter__(self) -> Tls:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, message: Any) -> None:
        self.socket.sendall(message if isinstance(message, bytes) else cbor2.dumps(message))

    def receive(self) -> Any:
        """The next message; None when the target has ended the connection, in whatever way."""
        while not self._ready:
            try:
                data = self.socket.recv(65_536)
            except TimeoutError:
                raise
            except OSError:
                return None
            if not data:
                return None
            self._ready, self._rest = items(self._rest + data)
        return self._ready.pop(0)

    def ends(self) -> bool:
        """Whether the target ends the connection, whatever it says before."""
        try:
            while self.receive() is not None:
                pass
        except TimeoutError:
            return False
        return True
