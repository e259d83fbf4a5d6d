"""Bringing a database into use: made, examined, migrated."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from asa.records import Record
from asa.store.directory import BEFORE, DATABASE, StateDirectory
from asa.store.faults import FAULTS, Cause, cause_of, failed
from asa.store.rows import seal
from asa.store.schema import (
    APPLICATION_ID,
    Schema,
    application_id,
    broken_seals,
    build,
    migrate,
    problems,
    serial,
    user_version,
)

KEPT_COPIES: Final = 2
"""Of those made before migrations."""
BUSY_S: Final = 2.0
"""How long a commit waits for another program that writes to the database."""
_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = 100


def connect(path: Path) -> sqlite3.Connection:
    # mode=rw: SQLite must never make the file.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def look_at_header(state: StateDirectory, schema: Schema, now: int) -> None:
    """What the file says of itself, before SQLite touches it: another's, or a newer one's, is left as it is."""
    # While SQLite has the file open this would not do: closing any descriptor of it drops SQLite's locks.
    with open(state.database, "rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER:
        raise state.set_aside("it is empty" if not header else "it is cut off", now)
    if not header.startswith(_MAGIC):
        raise state.set_aside("it is no SQLite database", now)
    version, application = struct.unpack(">60xI4xI28x", header)
    _ours(state, schema, application, version)


def _ours(state: StateDirectory, schema: Schema, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise failed(Cause.FOREIGN, f"{state.database} is the database of another program")
    if version > schema.version:
        raise failed(
            Cause.NEWER, f"{state.database} has version {version}; this agent knows versions up to {schema.version}"
        )


def examine(connection: sqlite3.Connection, state: StateDirectory, schema: Schema, now: int) -> None:
    # Again, for the log may know better than the file.
    version = user_version(connection)
    _ours(state, schema, application_id(connection), version)
    try:
        found = problems(connection, schema, version)
        there = serial(connection) if not found else 0
    except sqlite3.Error as error:
        # What these statements name is always there, so that an error in one of them is in the database.
        if cause_of(error) is not Cause.MISMATCH:
            raise
        found = [str(error)]
    if found:
        raise state.set_aside("; ".join(found), now)
    least = state.least_serial()
    if there < least:
        raise state.set_aside(f"the last {least - there} of {least} transactions are missing", now)


def bring_up(connection: sqlite3.Connection, state: StateDirectory, schema: Schema, now: int) -> None:
    current = user_version(connection)
    if current == schema.version:
        return
    # A migration seals every row anew, and would make a damaged one look sound.
    if broken := broken_seals(connection):
        raise state.set_aside("; ".join(broken[:10]), now)
    for version in range(current + 1, schema.version + 1):
        _copy(connection, state, version)
        try:
            migrate(connection, schema.migrations[version - 1], version)
        except FAULTS as error:
            if cause_of(error) is Cause.MISMATCH:
                raise failed(
                    Cause.MIGRATION,
                    f"{state.database} could not be brought from version {version - 1} to {version}, and is as before:"
                    f" {error}",
                ) from error
            raise
        state.forget_copies(KEPT_COPIES)


def _copy(connection: sqlite3.Connection, state: StateDirectory, version: int) -> None:
    new = state.blank(f"{BEFORE}{version}")
    try:
        with closing(connect(new)) as copy:
            connection.backup(copy)
            # So that the copy is one file.
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    state.complete(new)


def create(state: StateDirectory, schema: Schema, records: Iterable[Record]) -> None:
    """A database with ``records``, complete before it gets its name."""
    tables = {each.kind: each for each in schema.tables}
    new = state.blank(DATABASE)
    try:
        with closing(connect(new)) as connection:
            build(connection, schema, schema.version)
            connection.execute("BEGIN IMMEDIATE")
            for record in records:
                table = tables[type(record)]
                row = table.to_row(record)
                connection.execute(table.insert, (*row, seal(table.name, row)))
            connection.execute("COMMIT")
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    state.complete(new)
    state.initialise(0)
