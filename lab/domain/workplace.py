"""The directory of a run: configurations, sockets, state and logs, gone afterwards whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from asa.config.values import SOCKET_PATH
from lab.domain.topology import Topology

_JANITOR: Final = 'cat >/dev/null; rm -rf -- "$1"'
"""Reads until this process is gone, be it by SIGKILL."""


class NoRoom(RuntimeError):
    """The directory for temporary files cannot be used."""


@contextlib.contextmanager
def workplace(topology: Topology) -> Iterator[Path]:
    """Raises NoRoom."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="asa-lab-"))
    except OSError as error:
        raise NoRoom(f"no directory for temporary files: {error}") from None
    try:
        longest = max(len(bytes(directory / f"{name}.sock")) for name in topology.agents)
        if longest > SOCKET_PATH:
            raise NoRoom(f"{directory} is too long for sockets in it; set TMPDIR to something shorter, such as /tmp")
        with subprocess.Popen(
            ["sh", "-c", _JANITOR, "janitor", str(directory)], stdin=subprocess.PIPE, start_new_session=True
        ):
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
