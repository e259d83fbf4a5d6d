"""The API against its own description, by schemathesis: the same each time, and short; ``make fuzz`` is longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from asa.northbound.server import Server
from tests.fuzz_api import command, run

from .remote import READING, TOKEN, Pki


@pytest.mark.parametrize(
    ("token", "paths"), [(TOKEN, "^/v1/(caps|params|pools)"), (READING, "^/v1/audit")], ids=["operator", "reader"]
)
def test_what_is_asked_in_every_documented_way_and_some_others_is_answered_as_documented(
    server: Server, pki: Pki, tmp_path: Path, token: str, paths: str
) -> None:
    argv = command(
        f"https://127.0.0.1:{server.port}", "--tls-verify", str(pki.trust), "-H", f"Authorization: Bearer {token}",
        "--phases", "coverage", "--generation-deterministic", "--include-path-regex", paths,
    )  # fmt: skip
    assert run(argv, tmp_path, 300) == ""
