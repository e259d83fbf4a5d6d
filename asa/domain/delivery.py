"""What a CA hands out, as a directory: an identity's files, complete where its key is there too."""

from __future__ import annotations

import time
from pathlib import Path

from cryptography import x509

from asa.domain import files, installing, keys
from asa.domain.authority import Authority
from asa.domain.index import Issued
from asa.domain.installing import CERTIFICATE, CRL, KEY, TRUST, Sent
from asa.domain.keys import PrivateKey, PublicKey
from asa.errors import Conflict


def own_key(out: Path) -> PrivateKey:
    """A new node's key, on disk before there is a certificate for it; the one a broken-off attempt has left there.

    Raises Conflict if there is a certificate, BadFile or StoreFailed.
    """
    if (out / CERTIFICATE).exists():
        raise Conflict(f"{out / CERTIFICATE} is there already", hint="say another --out")
    if (out / KEY).exists():
        return keys.read(files.read_secret(out / KEY), out / KEY)
    key = keys.generate()
    files.private_directory(out)
    files.write(out / KEY, keys.plain(key), files.SECRET)
    return key


def refuse_other(out: Path, public: PublicKey) -> None:
    """Before anything is issued. Raises Conflict if ``out`` has another node's files or another key."""
    key = out / KEY
    if key.exists() and not keys.same(keys.read(files.read_secret(key), key), public):
        raise Conflict(f"{key} is another key than the certificate is for", hint="say another --out")
    if not key.exists() and (out / CERTIFICATE).exists():
        there = installing.read_certificates(files.read(out / CERTIFICATE), out / CERTIFICATE)[0]
        if not keys.same(keys.supported(there.public_key(), out), public):
            raise Conflict(f"{out / CERTIFICATE} is for another key", hint="say another --out")


def deliver(out: Path, ca: Authority, issued: Issued) -> None:
    """Write the certificate, the trust anchor and the newest list. Raises StoreFailed."""
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    if (out / KEY).exists():
        key = keys.read(files.read_secret(out / KEY), out / KEY)
        sent = Sent((certificate,), (ca.certificate,), (ca.crl().encode(),))
        installing.install(out, sent, [key], time.time())
        return
    files.private_directory(out)
    files.write(out / TRUST, ca.trust.encode(), files.PUBLIC)
    files.write(out / CRL, ca.crl().encode(), files.PUBLIC)
    files.write(out / CERTIFICATE, issued.pem.encode(), files.PUBLIC)
