"""Files of a CA and of an identity: read within bounds, written so that a crash leaves the old one or the new one.

A file belongs to the owner of its directory, so that root may put an identity where an agent without privileges reads
it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from asa.domain.errors import BadFile
from asa.errors import NotFound, StoreFailed
from grasp.security import sync_directory, write_durably

MAX_FILE: Final = 4 * 2**20
"""Bytes; nothing that is read here is longer."""
SECRET: Final = 0o600
PUBLIC: Final = 0o644


def failed(path: Path, error: OSError) -> StoreFailed:
    return StoreFailed(f"{path}: {error.strerror or error}", hint="who may write there, and is there room?")


def read(path: Path) -> bytes:
    """Raises NotFound or BadFile."""
    try:
        with path.open("rb") as stream:
            found = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from None
    if len(found) > MAX_FILE:
        raise BadFile(f"{path} is longer than {MAX_FILE} bytes")
    return found


def read_secret(path: Path) -> bytes:
    """A file that neither group nor others may read. Raises NotFound or BadFile."""
    found = read(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_stream(path):
        raise BadFile(f"{path}: others than its owner may read it", hint=f"chmod go= {path}")
    return found


def _is_stream(path: Path) -> bool:
    return not stat.S_ISREG(path.stat().st_mode)


def write(path: Path, content: bytes, mode: int) -> None:
    """Atomic and durable. Raises StoreFailed."""
    try:
        write_durably(path, content, mode)
    except OSError as error:
        raise failed(path, error) from None


def private_directory(path: Path) -> None:
    """Made with mode 0700 if it is not there. Raises StoreFailed."""
    try:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(path.parent)
    except OSError as error:
        raise failed(path, error) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among all processes that lock the file ``path``, which is made if it is not there. Raises StoreFailed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET)
    except OSError as error:
        raise failed(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
