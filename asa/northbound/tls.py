"""TLS of the API over TCP: whose certificate it shows, whom it believes, and both anew when their files change."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asa.errors import BadConfig
from asa.northbound.access import Shown

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all as good."""


@dataclass(frozen=True, slots=True)
class Files:
    """PEM: the server's certificate with those between it and its authority, its key, and whom to believe."""

    certificate: Path
    key: Path
    trust: Path | None = None
    """The authorities of clients' certificates; None: clients show none."""


class Contexts:
    """The context for new handshakes, from the files as they are. For any thread."""

    def __init__(self, files: Files, log: logging.Logger) -> None:
        """Raises BadConfig."""
        self._files = files
        self._log = log
        self._lock = threading.Lock()
        self._stamp = self._stamps()
        self._failed = ""
        self._context = self._made()

    def current(self) -> ssl.SSLContext:
        """Files that cannot be used, or do not belong together, leave what there was."""
        with self._lock:
            stamp = self._stamps()
            if stamp != self._stamp:
                try:
                    self._context = self._made()
                    self._stamp = stamp
                    self._failed = ""
                    self._log.info("the API's certificate was read anew")
                except BadConfig as error:
                    # Both files may be on the way: it is tried again at the next handshake.
                    if error.message != self._failed:
                        self._failed = error.message
                        self._log.warning("the API goes on with its old certificate: %s", error.message)
            return self._context

    def _stamps(self) -> tuple[Any, ...]:
        return tuple(_stamp(each) for each in (self._files.certificate, self._files.key, self._files.trust))

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        # A session that is resumed would not show its certificate again.
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        try:
            # An encrypted key must not make OpenSSL ask a terminal.
            context.load_cert_chain(self._files.certificate, self._files.key, password=lambda: "")
            if self._files.trust is not None:
                context.verify_mode = ssl.CERT_OPTIONAL
                context.load_verify_locations(self._files.trust)
        except ssl.SSLError as error:
            raise BadConfig(
                f"the API's TLS: {self._files.certificate}, {self._files.key}: {error.reason or 'not usable'}",
                hint="PEM files: a certificate, its key, not encrypted, and the authorities of clients",
            ) from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise BadConfig(
                f"the API's TLS: {self._files.certificate}, {self._files.key}: {why}",
                hint="the agent must be able to read the files",
            ) from None
        return context


def _stamp(path: Path | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def shown_by(sock: ssl.SSLSocket) -> Shown | None:
    """What the client has shown in the handshake, which found the way to an authority; None: nothing."""
    leaf = sock.getpeercert(True)
    told: dict[str, Any] = sock.getpeercert() or {}
    if leaf is None:
        return None
    names = [value for part in told.get("subject", ()) for key, value in part if key == "commonName"]
    return Shown(
        names[0] if len(names) == 1 else "", ssl.cert_time_to_seconds(told["notAfter"]), (leaf, *_between(sock, leaf))
    )


def _between(sock: ssl.SSLSocket, leaf: bytes) -> tuple[bytes, ...]:
    """The other certificates the client sent. Python has a public method for it from 3.13 on."""
    public = getattr(sock, "get_unverified_chain", None)
    if public is not None:
        return tuple(each for each in public() if each != leaf)
    chain = sock._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]
    der = ssl._ssl.ENCODING_DER  # type: ignore[attr-defined]
    return tuple(each for each in (one.public_bytes(der) for one in chain) if each != leaf)
