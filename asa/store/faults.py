"""Why stable storage did not do what it was asked to: one stable word for each cause."""

from __future__ import annotations

import errno
import sqlite3
from enum import StrEnum
from typing import Final

from asa.errors import StoreFailed


class Cause(StrEnum):
    """``details["cause"]`` of a :class:`StoreFailed`. After any of them nothing has changed on disk."""

    DISK_FULL = "disk-full"
    IO_ERROR = "io-error"
    READ_ONLY = "read-only"
    DAMAGED = "damaged"
    """The database is malformed; the next opening will say where and set it aside."""
    BUSY = "busy"
    """Another program has the database locked for writing."""
    CLOSED = "closed"
    MISMATCH = "mismatch"
    """What a change was to replace is not what is on disk, or the record does not fit: a defect of ours."""
    NEWER = "newer"
    """The database was written by a newer version of the agent."""
    FOREIGN = "foreign"
    """The database is another program's."""
    MIGRATION = "migration"
    """The database could not be brought to this version."""


_HINTS: Final = {
    Cause.DISK_FULL: "make room on the file system of the state directory",
    Cause.IO_ERROR: "look for disk errors in the kernel's log",
    Cause.READ_ONLY: "make the state directory writable for the agent's user",
    Cause.DAMAGED: "restart the agent: it examines the database and says what can be done",
    Cause.BUSY: "end the program that writes to the database; reading it does no harm",
    Cause.CLOSED: "open the store again",
    Cause.MISMATCH: "this is a defect of the agent; restart it and report this",
    Cause.NEWER: "install that version, or restore a copy made before the update",
    Cause.FOREIGN: "give the agent a state directory of its own",
    Cause.MIGRATION: "go on with the version before, and report this",
}

_OF_SQLITE: Final = {
    sqlite3.SQLITE_FULL: Cause.DISK_FULL,
    sqlite3.SQLITE_CORRUPT: Cause.DAMAGED,
    sqlite3.SQLITE_NOTADB: Cause.DAMAGED,
    sqlite3.SQLITE_READONLY: Cause.READ_ONLY,
    sqlite3.SQLITE_PERM: Cause.READ_ONLY,
    sqlite3.SQLITE_AUTH: Cause.READ_ONLY,
    sqlite3.SQLITE_BUSY: Cause.BUSY,
    sqlite3.SQLITE_LOCKED: Cause.BUSY,
    sqlite3.SQLITE_ERROR: Cause.MISMATCH,
    sqlite3.SQLITE_CONSTRAINT: Cause.MISMATCH,
    sqlite3.SQLITE_MISMATCH: Cause.MISMATCH,
    sqlite3.SQLITE_TOOBIG: Cause.MISMATCH,
}

_OF_OS: Final = {
    errno.ENOSPC: Cause.DISK_FULL,
    errno.EDQUOT: Cause.DISK_FULL,
    errno.EROFS: Cause.READ_ONLY,
    errno.EACCES: Cause.READ_ONLY,
    errno.EPERM: Cause.READ_ONLY,
}


class Mismatch(Exception):
    """What a change was to replace is not on disk."""


FAULTS: Final = (sqlite3.Error, sqlite3.Warning, OSError, Mismatch, OverflowError, UnicodeError)
"""What :func:`cause_of` tells apart. OverflowError and UnicodeError are a number or a text SQLite cannot hold."""


def cause_of(error: BaseException) -> Cause:
    if isinstance(error, Mismatch | OverflowError | UnicodeError):
        return Cause.MISMATCH
    if isinstance(error, OSError):
        return _OF_OS.get(error.errno or 0, Cause.IO_ERROR)
    if not hasattr(error, "sqlite_errorcode"):
        # Python's own: a text read that is no UTF-8, or a value it cannot bind.
        return Cause.DAMAGED if isinstance(error, sqlite3.OperationalError) else Cause.MISMATCH
    # The low byte is the primary code; extended codes say more, and there are more of them with every version.
    return _OF_SQLITE.get(error.sqlite_errorcode & 0xFF, Cause.IO_ERROR)


def failed(cause: Cause, message: str, hint: str | None = None) -> StoreFailed:
    return StoreFailed(message, hint=_HINTS[cause] if hint is None else hint, details={"cause": str(cause)})


def failure(error: BaseException, doing: str) -> StoreFailed:
    """What to raise for an ``error`` met while ``doing`` something."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return failed(cause_of(error), f"{doing}: {error} ({name})")
