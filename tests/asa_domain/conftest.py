from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asa.domain import authority, keys
from asa.domain.authority import Authority
from tests.asa_cli.conftest import PATIENCE, Outcome, environment
from tests.asa_cli.forked import Starter

DOMAIN = "acp.example.com"
PASSPHRASE = b"correct horse battery"

Openssl = Callable[..., str]


def openssl(*argv: str | Path, status: int = 0, passphrase: bytes = PASSPHRASE) -> str:
    """stdout and stderr of openssl(1), which knows nothing of ours."""
    done = subprocess.run(
        ["openssl", *map(str, argv)], capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
        env=os.environ | {"PASSPHRASE": passphrase.decode()},
    )  # fmt: skip
    assert (done.returncode == 0) is (status == 0), done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA that has issued nothing, whose passphrase is cheap to try: a true one takes a moment each time."""
    directory = tmp_path_factory.mktemp("pristine") / "ca"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_COST", 2)
        authority.create(directory, DOMAIN, PASSPHRASE, now=time.time())
    return directory


@pytest.fixture
def home(pristine: Path, tmp_path: Path) -> Path:
    """A directory with a CA of this test's own, and its passphrase in a file."""
    shutil.copytree(pristine, tmp_path / "ca")
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (tmp_path / "passphrase").chmod(0o600)
    return tmp_path


@pytest.fixture
def ca(home: Path) -> Authority:
    return unlocked(home)


def unlocked(home: Path, clock: Callable[[], float] = time.time) -> Authority:
    found = Authority(home / "ca", clock)
    found.unlock(PASSPHRASE)
    return found


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    starter = Starter(environment(""), PATIENCE)
    yield starter
    starter.close()


Run = Callable[..., Outcome]


@pytest.fixture
def asa(home: Path, starter: Starter) -> Run:
    """``asa domain``, as a process of its own; ``signing`` for what needs the CA and its passphrase."""

    def run(command: str, *argv: str | Path, signing: bool = False) -> Outcome:
        words = ["domain", command, *map(str, argv)]
        if signing:
            words += ["--ca", str(home / "ca"), "--passphrase-file", str(home / "passphrase")]
        done = Outcome(*starter.run(words, environment("")))
        assert "Traceback" not in done.stderr + done.stdout
        assert PASSPHRASE.decode() not in done.stderr + done.stdout
        return done

    return run
