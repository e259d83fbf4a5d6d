"""The section ``[api]``: who may ask this agent for something, and where. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from asa.config.section import Problems, Rules, Section
from asa.config.values import (
    a_group,
    a_loopback_endpoint,
    a_mode,
    a_mode_made,
    a_path,
    a_socket_path,
    an_integer,
    an_optional,
)


@dataclass(frozen=True, slots=True)
class ApiSection(Section):
    socket: Path = Path("/run/asa/asa.sock")
    socket_mode: int = 0o660
    socket_group: str | None = None
    """None: the group the agent runs as."""
    tcp: tuple[str, int] | None = None
    """A loopback address and a port; None: the socket only."""
    token_file: Path | None = None
    workers: int = 8
    """Requests that may wait for peers at once, and one more; above it such requests wait, quick ones do not."""
    admin_file: Path | None = None
    """The administrator's secret, which does for that of every owner; None: there is none."""

    RULES: ClassVar[Rules] = {
        "socket": a_socket_path,
        "socket_mode": a_mode,
        "socket_group": an_optional(a_group),
        "tcp": an_optional(a_loopback_endpoint),
        "token_file": an_optional(a_path),
        "workers": an_integer(2, 64),
        "admin_file": an_optional(a_path),
    }
    MADE: ClassVar[Rules] = {"socket_mode": a_mode_made}

    def together(self, problems: Problems) -> None:
        if self.tcp is not None and self.token_file is None:
            problems.add("token_file", "is missing", "a file with a token is required with tcp")
        if self.admin_file is not None and self.admin_file == self.token_file:
            problems.add("admin_file", "is the token_file too", "a file of its own: every client has the token")
