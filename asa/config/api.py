"""The section ``[api]``: who may ask this agent for something, and where. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from asa.config.section import Problems, Rules, Section
from asa.config.security import DOMAIN
from asa.config.values import (
    MAX_LISTED,
    Read,
    Wrong,
    a_choice,
    a_group,
    a_list,
    a_mode,
    a_mode_made,
    a_path,
    a_pattern,
    a_socket_path,
    an_endpoint,
    an_integer,
    an_optional,
    shown,
)
from asa.errors import BadConfig

Role = Literal["reader", "consumer", "operator"]
ROLES: Final = ("reader", "consumer", "operator")
"""Each may what the ones before may."""


def a_user(value: Any) -> str:
    """A user's name or number, a group's behind ``@``, or ``*`` for everybody."""
    text = str(value) if type(value) is int and value >= 0 else value
    name = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?"
    if not isinstance(text, str) or not re.fullmatch(rf"\*|@?{name}", text, re.ASCII):
        raise Wrong(f"is {shown(value)}", 'a user by name or number, a group as "@group", or "*" for everybody')
    return text


def sections(made: type[Section], required: tuple[str, ...]) -> Read:
    """A list of tables as ``made``; the first that is wrong is told."""

    def read_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(each, dict | made) for each in value):
            raise Wrong(f"is {shown(value)}", "a list of sections, with two brackets each")
        if len(value) > MAX_LISTED:
            raise Wrong(f"has {len(value)} sections", f"at most {MAX_LISTED}")
        return tuple(read(index, each) for index, each in enumerate(value))

    def read(index: int, value: Any) -> Any:
        if isinstance(value, made):
            return value
        for name in (*value, *required):
            if name not in made.RULES:
                raise Wrong(f"[{index}].{name} does not exist", ", ".join(made.RULES))
            if name not in value:
                raise Wrong(f"[{index}].{name} is missing", "required")
        try:
            return made(**{name: made.RULES[name](each) for name, each in value.items()})
        except Wrong as error:
            raise Wrong(f"[{index}] {error.wrong}", error.allowed) from None
        except BadConfig as error:
            first = error.details["problems"][0]
            raise Wrong(f"[{index}].{first['key']} {first['problem']}", first["allowed"]) from None

    return read_all


@dataclass(frozen=True, slots=True)
class TokenSection(Section):
    """What who bears the token in a file may."""

    file: Path
    role: Role

    RULES: ClassVar[Rules] = {"file": a_path, "role": a_choice(*ROLES)}


@dataclass(frozen=True, slots=True)
class ClientSection(Section):
    """What clients may whose certificates have certain names."""

    members: tuple[str, ...]
    """Patterns of the common names: ``*``, ``?``, ``[…]``; case counts."""
    role: Role

    RULES: ClassVar[Rules] = {"members": a_list(a_pattern, "patterns of names"), "role": a_choice(*ROLES)}

    def together(self, problems: Problems) -> None:
        if not self.members:
            problems.add("members", "is empty", 'patterns of names, such as ["ops-*"]')


@dataclass(frozen=True, slots=True)
class ApiSection(Section):
    socket: Path = Path("/run/asa/asa.sock")
    socket_mode: int = 0o660
    socket_group: str | None = None
    """None: the group the agent runs as."""
    operators: tuple[str, ...] = ()
    """Users, groups as ``@group``, ``*``: who may everything over the socket, beside root and the agent's own user."""
    consumers: tuple[str, ...] = ("*",)
    """Who may reserve, and look."""
    readers: tuple[str, ...] = ()
    """Who may look."""
    tcp: tuple[str, int] | None = None
    """An address and a port, with TLS; None: the socket only."""
    tls_certificate: Path | None = None
    """None: the certificate of ``[domain]``."""
    tls_key: Path | None = None
    client_trust: Path | None = None
    """The authorities of clients' certificates; None: those of ``[domain]``, and clients are members of it."""
    token_file: Path | None = None
    """The same as one ``[[api.token]]`` of an operator."""
    token: tuple[TokenSection, ...] = ()
    client: tuple[ClientSection, ...] = ()
    workers: int = 8
    """Requests that may wait for peers at once, and one more; above it such requests wait, quick ones do not."""
    rate: int = 1_000
    """Requests a second of one user, token, client or address; more are refused."""
    admin_file: Path | None = None
    """The administrator's secret, which does for that of every owner; None: there is none."""

    RULES: ClassVar[Rules] = {
        "socket": a_socket_path,
        "socket_mode": a_mode,
        "socket_group": an_optional(a_group),
        "operators": a_list(a_user, "users"),
        "consumers": a_list(a_user, "users"),
        "readers": a_list(a_user, "users"),
        "tcp": an_optional(an_endpoint),
        "tls_certificate": an_optional(a_path),
        "tls_key": an_optional(a_path),
        "client_trust": an_optional(a_path),
        "token_file": an_optional(a_path),
        "token": sections(TokenSection, ("file", "role")),
        "client": sections(ClientSection, ("members", "role")),
        "workers": an_integer(2, 64),
        "rate": an_integer(1, 1_000_000),
        "admin_file": an_optional(a_path),
    }
    MADE: ClassVar[Rules] = {"socket_mode": a_mode_made}

    @property
    def tokens(self) -> tuple[TokenSection, ...]:
        """All of them."""
        return self.token if self.token_file is None else (TokenSection(self.token_file, "operator"), *self.token)

    def together(self, problems: Problems) -> None:
        if self.tcp is not None and not (self.tokens or self.client):
            problems.add("token_file", "is missing", "a file with a token, or an [[api.client]], is required with tcp")
        if (self.tls_certificate is None) is not (self.tls_key is None):
            missing = "tls_certificate" if self.tls_certificate is None else "tls_key"
            problems.add(missing, "is missing", "tls_certificate and tls_key, both or none")
        for file, count in Counter(self._secret_files()).items():
            if count > 1:
                key = "admin_file" if file == self.admin_file else "token"
                what = "the token_file too" if file == self.token_file else f"{file}, as another is"
                problems.add(key, f"is {what}", "a file of its own for each token, and for the administrator's secret")

    def _secret_files(self) -> Iterator[Path]:
        yield from (each.file for each in self.tokens)
        if self.admin_file is not None:
            yield self.admin_file


def tcp_together(substrate: str | None, api: ApiSection | None, problems: Problems) -> None:
    """What TCP takes from the domain where it is not given; None is what could not be read."""
    if api is None or api.tcp is None or substrate in (None, DOMAIN):
        return
    without = f'a PEM file, or [grasp] substrate = "{DOMAIN}": then those of [domain] are used'
    if api.tls_certificate is None:
        problems.add("api.tls_certificate", "is missing, and tcp is TLS", without)
    if api.client and api.client_trust is None:
        problems.add("api.client_trust", "is missing, and says whose certificates of clients count", without)
