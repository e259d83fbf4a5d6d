"""One real agent of a domain, in a host of its own, whose API is served over TCP too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asa.northbound.client import Tls
from lab import Lab
from tests.agents.domain import ONE_ORIGIN, Agent, Domain, G

PORT = 7180
ADDRESS = f"127.0.0.1:{PORT}"
TOKEN = "0perator-" + "t" * 32
READING = "reader-" + "r" * 32
ADMIN = "the-administrator's-" + "a" * 12


@dataclass
class Living:
    """``a``, the origin of ``wan``: tokens of an operator and of a reader, ``ops-*`` of the domain as operators."""

    agent: Agent
    domain: Domain
    secrets: set[str] = field(default_factory=set)
    """What nothing may show: tokens, the administrator's secret, lines of the keys."""

    def identity(self, name: str) -> Path:
        """The directory of another member's."""
        found = self.domain.identity(name)
        assert found is not None
        self.secrets |= key_lines(found / "key.pem")
        return found

    @property
    def trust(self) -> Path:
        return self.domain.directory / "a.id" / "trust.pem"

    def believing(self, shown: Path | None = None) -> Tls:
        """For a client; with the identity that it shows, if one is given."""
        pair = (None, None) if shown is None else (str(shown / "certificate.pem"), str(shown / "key.pem"))
        return Tls(str(self.trust), "a", *pair)


def key_lines(file: Path) -> set[str]:
    """Of PEM, the lines with the key."""
    return {line for line in file.read_text().splitlines() if not line.startswith("-----")}


@contextmanager
def living(lab: Lab, directory: Path, rate: int = 1_000_000, log_level: str = "info") -> Iterator[Living]:
    """Running; with ``rate`` requests a second."""
    domain = Domain.secured(lab, directory, ["a", "z"], ONE_ORIGIN)
    files = {}
    for name, content in (("token", TOKEN), ("reading", READING), ("admin", ADMIN)):
        files[name] = directory / name
        files[name].touch(0o600)
        files[name].write_text(f"{content}\n")
    agent = domain.agent("a", "origin", {"wan": 10 * G}, more=f"""
tcp = "0.0.0.0:{PORT}"
token_file = "{files["token"]}"
admin_file = "{files["admin"]}"
rate = {rate}
[[api.token]]
file = "{files["reading"]}"
role = "reader"
[[api.client]]
members = ["ops-*"]
role = "operator"
[[link]]
interface = "eth0"
capacity = {10 * G}
""")  # fmt: skip
    text = agent.config.read_text()
    agent.config.write_text(text.replace('mode = "origin"', f'mode = "origin"\nlog_level = "{log_level}"', 1))
    found = Living(agent.start(), domain, {TOKEN, READING, ADMIN})
    found.secrets |= key_lines(directory / "a.id" / "key.pem")
    try:
        yield found
    finally:
        if agent.process is not None and agent.process.poll() is None:
            agent.stop()
