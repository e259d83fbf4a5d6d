from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.asa_cli.fake import Fake
from tests.asa_cli.forked import Starter
from tests.northbound.remote import Pki

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds a command may take on a busy machine before a test gives up."""


class Outcome(NamedTuple):
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON value of stdout, in one line; NaN and the like are none."""
        assert self.stdout.count("\n") == 1
        assert self.stdout.isascii()
        return json.loads(self.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def environment(socket: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASA_", "PYTHON"))}
    return kept | {"ASA_SOCKET": socket, "TZ": "UTC", "PYTHONPATH": str(ROOT), "COLUMNS": "100"} | more


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "asa", *argv]


Run = Callable[..., Outcome]


@pytest.fixture
def fake() -> Iterator[Fake]:
    agent = Fake()
    yield agent
    agent.close()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki") / "files")


@pytest.fixture
def secured(pki: Pki) -> Iterator[Fake]:
    """Over TCP with TLS; it wants to see certificates, and takes none for an answer too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.files.certificate, pki.files.key)
    context.load_verify_locations(pki.trust)
    context.verify_mode = ssl.CERT_OPTIONAL
    agent = Fake(context)
    yield agent
    agent.close()


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    starter = Starter(environment(""), PATIENCE)
    yield starter
    starter.close()


@pytest.fixture
def asa(fake: Fake, starter: Starter) -> Run:
    """The command, as a process of its own, with the fake as its agent."""

    def run(*argv: str, **environ: str) -> Outcome:
        done = Outcome(*starter.run(argv, environment(fake.socket, **environ)))
        assert "Traceback" not in done.stderr + done.stdout
        return done

    return run
