"""The API over TCP as the configuration has it: its files, and who may what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from asa.config import Config
from asa.config.api import Role as RoleName
from asa.config.security import DOMAIN
from asa.errors import BadConfig
from asa.northbound.access import Clients, Token
from asa.northbound.members import DomainMembers
from asa.northbound.roles import Role
from asa.northbound.server import Remote
from asa.northbound.tls import Files

if TYPE_CHECKING:
    from grasp.security import Revocations


def remote_of(config: Config, revocations: Callable[[], Revocations | None]) -> Remote | None:
    """None: not over TCP. Raises BadConfig. ``revocations``: what is revoked in the domain, where there is one."""
    api = config.api
    if api.tcp is None:
        return None
    identity = config.domain.identity if config.grasp.substrate == DOMAIN else None
    certificate, key, trust, members = api.tls_certificate, api.tls_key, api.client_trust, None
    if identity is not None:
        if certificate is None:
            certificate, key = identity / "certificate.pem", identity / "key.pem"
        if api.client and trust is None:
            trust, members = identity / "trust.pem", DomainMembers(identity, revocations)
    assert certificate is not None
    assert key is not None
    tokens = tuple(_token(each.file, each.role) for each in api.tokens)
    clients = tuple(Clients(each.members, _role(each.role)) for each in api.client)
    return Remote(api.tcp, Files(certificate, key, trust if clients else None), tokens, clients, members)


def _token(file: Path, role: RoleName) -> Token:
    try:
        text = file.read_text("ascii").strip()
    except OSError as error:
        raise BadConfig(f"{file}: {error.strerror}", hint="a file with a token that the agent may read") from None
    except ValueError:
        # Which would say what is in it.
        text = ""
    return Token(text, _role(role), str(file))


def _role(name: RoleName) -> Role:
    return Role[name.upper()]
