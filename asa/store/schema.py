"""The tables, as numbered migrations, and what a database must look like to be ours.

A migration is never edited once released: the next one is added behind it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from asa.store.rows import SEAL, TABLES, Table, seal

APPLICATION_ID: Final = int.from_bytes(b"asa\n", "big")
"""At offset 68 of the file, where file(1) finds it too."""

Migration = tuple[str, ...]
"""Statements that bring a database from the version before to this one."""

# Without rowid a row is in one B-tree, so that a commit of one record writes one page of it and there is no index that
# could disagree. Columns are quoted where they are words of SQL.
_VERSION_1: Final[Migration] = (
    """CREATE TABLE commits (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    serial INTEGER NOT NULL
) STRICT""",
    "INSERT INTO commits VALUES (1, 0)",
    """CREATE TABLE seeds (
    pool TEXT NOT NULL,
    low INTEGER NOT NULL CHECK (low >= 0),
    high INTEGER NOT NULL CHECK (high > low),
    at INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (pool, low)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE held (
    pool TEXT NOT NULL,
    low INTEGER NOT NULL CHECK (low >= 0),
    start INTEGER NOT NULL CHECK (start >= 0),
    high INTEGER NOT NULL CHECK (high > low),
    "end" INTEGER CHECK ("end" > start),
    seal INTEGER NOT NULL,
    PRIMARY KEY (pool, low, start)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE given (
    txn BLOB NOT NULL PRIMARY KEY,
    pool TEXT NOT NULL,
    peer TEXT NOT NULL,
    blocks TEXT NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE taken (
    txn BLOB NOT NULL PRIMARY KEY,
    pool TEXT NOT NULL,
    peer TEXT NOT NULL,
    blocks TEXT NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE promises (
    txn BLOB NOT NULL PRIMARY KEY,
    pool TEXT NOT NULL,
    peer TEXT NOT NULL,
    rate INTEGER NOT NULL CHECK (rate >= 0),
    start INTEGER NOT NULL CHECK (start >= 0),
    "end" INTEGER CHECK ("end" > start),
    until INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE reservations (
    id TEXT NOT NULL PRIMARY KEY,
    pool TEXT NOT NULL,
    rate INTEGER NOT NULL CHECK (rate >= 0),
    start INTEGER NOT NULL CHECK (start >= 0),
    "end" INTEGER CHECK ("end" > start),
    state TEXT NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    owner TEXT NOT NULL,
    label TEXT NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE onces (
    name TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    reservation TEXT NOT NULL,
    at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE facts (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE contacts (
    node TEXT NOT NULL PRIMARY KEY,
    locator TEXT NOT NULL,
    seen INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
)

# A reservation's ``label`` is its only label; ``more`` has what few have, as JSON (:mod:`asa.store.rows`).
_VERSION_2: Final[Migration] = (
    "ALTER TABLE reservations ADD COLUMN more TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE contacts ADD COLUMN serves TEXT NOT NULL DEFAULT ''",
    """CREATE TABLE caps (
    project TEXT NOT NULL,
    resource TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    percent INTEGER NOT NULL CHECK (percent IN (0, 1)),
    seal INTEGER NOT NULL,
    PRIMARY KEY (project, resource)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE pacts (
    txn BLOB NOT NULL PRIMARY KEY,
    peer TEXT NOT NULL,
    before TEXT,
    after TEXT NOT NULL,
    at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE verdicts (
    txn BLOB NOT NULL PRIMARY KEY,
    peer TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE notices (
    id TEXT NOT NULL,
    peer TEXT NOT NULL,
    why TEXT NOT NULL,
    at INTEGER NOT NULL,
    "end" INTEGER,
    seal INTEGER NOT NULL,
    PRIMARY KEY (id, peer)
) STRICT, WITHOUT ROWID""",
)

_VERSION_3: Final[Migration] = (
    "ALTER TABLE given ADD COLUMN lent INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE lent (
    member TEXT NOT NULL,
    pool TEXT NOT NULL,
    at INTEGER NOT NULL,
    change INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (member, pool, at)
) STRICT, WITHOUT ROWID""",
)


@dataclass(frozen=True)
class Schema:
    """The migrations up to this version, and how records are kept in what the last of them leaves."""

    migrations: tuple[Migration, ...]
    tables: tuple[Table[Any], ...]

    @property
    def version(self) -> int:
        return len(self.migrations)


SCHEMA: Final = Schema((_VERSION_1, _VERSION_2, _VERSION_3), TABLES)


def application_id(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def user_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def serial(connection: sqlite3.Connection) -> int:
    """How many transactions there were."""
    return int(connection.execute("SELECT serial FROM commits").fetchone()[0])


def sealed_tables(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Every table with seals, and the columns the seal is over, in their order."""
    names = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    ]
    columns = {name: [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')] for name in names}
    return {name: tuple(each for each in found if each != SEAL) for name, found in columns.items() if SEAL in found}


def migrate(connection: sqlite3.Connection, migration: Migration, version: int) -> None:
    """One transaction. Raises :class:`sqlite3.Error`, and nothing has changed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version == 1:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in migration:
            connection.execute(statement)
        _seal_all(connection)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _seal_all(connection: sqlite3.Connection) -> None:
    connection.create_function("sealed", -1, lambda table, *row: seal(table, row), deterministic=True)
    for name, columns in sealed_tables(connection).items():
        quoted = ", ".join(f'"{each}"' for each in columns)
        connection.execute(f"UPDATE \"{name}\" SET {SEAL} = sealed('{name}', {quoted})")


def build(connection: sqlite3.Connection, schema: Schema, version: int) -> None:
    """Make a database of ``version`` in an empty one."""
    for number, migration in enumerate(schema.migrations[:version], 1):
        migrate(connection, migration, number)


def _layout(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def model(schema: Schema, version: int) -> sqlite3.Connection:
    """An empty database of ``version`` in memory: what one on disk is held against."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    build(connection, schema, version)
    return connection


def problems(connection: sqlite3.Connection, schema: Schema, version: int) -> list[str]:
    """What is wrong with a database of ``version``, pages, tables and seals. Empty if it is sound."""
    found = [str(line) for (line,) in connection.execute("PRAGMA quick_check(10)") if line != "ok"]
    if found:
        return found
    expected = model(schema, version)
    try:
        layout = _layout(connection)
        for name, statement in _layout(expected).items():
            if layout.get(name) != statement:
                found.append(f"the table {name} is not as it was made")
        if not found and connection.execute("SELECT count(*) FROM commits").fetchone() != (1,):
            found.append("the table commits does not have its one row")
        return found
    finally:
        expected.close()


def broken_seals(connection: sqlite3.Connection) -> list[str]:
    """Rows whose seal does not fit, in every table. Reads everything."""
    found = []
    for name, columns in sealed_tables(connection).items():
        quoted = ", ".join(f'"{each}"' for each in columns)
        for *row, sealed in connection.execute(f'SELECT {quoted}, {SEAL} FROM "{name}"'):
            if seal(name, row) != sealed:
                found.append(f"{name} {row[0]!r}: the row does not fit its seal")
    return found
