"""Who the nodes of a run are: a CA of the run's own, and an identity for each node that speaks GRASP."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from asa.domain import keys
from asa.domain.authority import Authority, create
from asa.domain.installing import Sent, install

DOMAIN: Final = "lab.example.com"


def identities(names: Sequence[str], directory: Path, check: Callable[[], None]) -> dict[str, Path]:
    """A directory for each of ``names``, as ``asa domain issue`` makes it, below ``directory``.

    ``check`` may raise to give up. Nobody keeps the passphrase of the CA's key.
    """
    now = time.time()
    passphrase = secrets.token_hex(16).encode()
    create(directory / "ca", DOMAIN, passphrase, now=now)
    authority = Authority(directory / "ca")
    authority.unlock(passphrase)
    trust = (authority.certificate,)
    made = {}
    for name in names:
        check()
        key = keys.generate()
        certificate = x509.load_pem_x509_certificate(authority.issue(name, key.public_key()).pem.encode())
        made[name] = directory / name
        install(made[name], Sent((certificate,), trust), (key,), now)
    return made
