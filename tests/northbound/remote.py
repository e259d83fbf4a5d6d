"""What the API over TCP needs: an authority, a server's certificate, clients with certificates of their own."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from cryptography import x509

from asa.northbound.access import Clients, Token
from asa.northbound.roles import CONSUMER, OPERATOR, READER
from asa.northbound.server import Remote
from asa.northbound.tls import Files
from tests.pki import Authority, Issued, key_pem, pem

LOOPBACK = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
TOKEN = "a-token-of-some-length"
READING = "another-token-for-looking"


class Pki:
    """The files of a server at loopback, and contexts for clients."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.ca = Authority("api.example.com", "authority")
        self.trust = directory / "trust.pem"
        self.trust.write_bytes(pem(self.ca.certificate))
        self.files = Files(directory / "server.pem", directory / "server.key", self.trust)
        self.write(self.server())

    def server(self, name: str = "server") -> Issued:
        return self.ca.issue(name, (), names=LOOPBACK)

    def write(self, issued: Issued) -> None:
        self.files.certificate.write_bytes(pem(*issued.whole))
        self.files.key.write_bytes(key_pem(issued.key))

    def context(self, issued: Issued | None = None) -> ssl.SSLContext:
        """A client's; with a certificate if one is given."""
        context = ssl.create_default_context(cafile=str(self.trust))
        if issued is not None:
            certificate, key = self.pair(issued)
            context.load_cert_chain(certificate, key)
        return context

    def pair(self, issued: Issued) -> tuple[Path, Path]:
        """Files with a certificate and its key."""
        stem = self.directory / f"client-{issued.certificate.serial_number}"
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        certificate.write_bytes(pem(*issued.whole))
        key.touch(0o600)
        key.write_bytes(key_pem(issued.key))
        return certificate, key

    def remote(self, port: int = 0) -> Remote:
        tokens = (Token(TOKEN, OPERATOR, "operators"), Token(READING, READER, "readers"))
        clients = (Clients(("boss", "boss-*"), OPERATOR), Clients(("rack-?",), CONSUMER))
        return Remote(("127.0.0.1", port), self.files, tokens, clients)
