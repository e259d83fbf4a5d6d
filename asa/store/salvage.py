"""What can still be had from a database that was set aside. It is only read; all work is done on a copy."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from asa.errors import Conflict
from asa.records import Record
from asa.store.directory import Damage, StateDirectory
from asa.store.faults import FAULTS, failure
from asa.store.opening import connect
from asa.store.pages import Pages
from asa.store.rows import seal
from asa.store.schema import APPLICATION_ID, SCHEMA, Schema, migrate, model, sealed_tables

_MOST_LINES: Final = 200
"""Of ``lost``; beyond it there is one line that says how many more."""


@dataclass(frozen=True)
class Salvaged:
    """Records that are whole, each with its seal intact, and a line for everything known to be missing."""

    records: list[Record]
    lost: list[str]


def salvage(directory: Path, now: int, *, schema: Schema = SCHEMA) -> Salvaged:
    """Read what a start set aside, page by page. Changes nothing; ``Store.create_from`` goes on with it.

    A transaction of which a part is lost is not whole: an operator compares with the peers (audit) before going on.
    ``now``: UNIX s. Raises :class:`Conflict` if nothing is set aside; :class:`StoreLocked`, :class:`StoreFailed`.
    """
    state = StateDirectory.lock(directory)
    try:
        damage = state.damage()
        if damage is None:
            raise Conflict(f"no damage is on record in {directory}", hint="start the agent: it examines the database")
        return _salvage(state, damage, now, schema)
    except FAULTS as error:
        raise failure(error, f"what was set aside in {directory} cannot be read") from error
    finally:
        state.release()


def _salvage(state: StateDirectory, damage: Damage, now: int, schema: Schema) -> Salvaged:
    if damage.aside is None or not (state.path / damage.aside).exists():
        return Salvaged([], ["everything: there is no database left to read"])
    lost: list[str] = []
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    work = state.path / f"salvage-{stamp}"
    # A crash may have left one.
    for old in state.path.glob("salvage-*"):
        shutil.rmtree(old, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        copy = work / damage.aside
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{state.path / damage.aside}{suffix}", f"{copy}{suffix}")
        _fold_log(copy, lost)
        content = copy.read_bytes()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with closing(_rows(content, damage, schema, lost)) as database:
        records = _records(database, schema, lost)
    if len(lost) > _MOST_LINES:
        lost[_MOST_LINES:] = [f"and {len(lost) - _MOST_LINES} more"]
    return Salvaged(records, lost)


def _fold_log(copy: Path, lost: list[str]) -> None:
    """Bring the log into the file, as far as its check sums hold; and have SQLite name what it finds wrong."""
    try:
        with closing(connect(copy)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            lines = [line for (line,) in connection.execute("PRAGMA quick_check(20)") if line != "ok"]
            lost += [f"check: {' '.join(str(line).split())}" for line in lines]
    except sqlite3.Error as error:
        lost.append(f"check: {error}")


def _rows(content: bytes, damage: Damage, schema: Schema, lost: list[str]) -> sqlite3.Connection:
    """A database in memory, of this version, with every row whose seal is intact.

    Where the first page is lost nothing says of which version the file is: it is of that which most rows fit.
    """
    versions = list(range(schema.version, 0, -1))
    if len(content) >= 100:
        said, application = struct.unpack_from(">60xI4xI", content)
        if application == APPLICATION_ID and 1 <= said <= schema.version:
            versions = [said]
    best: tuple[int, sqlite3.Connection, list[str]] | None = None
    for version in versions:
        told: list[str] = []
        database, found = _rows_of(Pages(content), version, damage, schema, told)
        if best is not None and found <= best[0]:
            database.close()
            continue
        if best is not None:
            best[1].close()
        best = found, database, told
    assert best is not None
    lost += best[2]
    return best[1]


def _rows_of(
    pages: Pages, version: int, damage: Damage, schema: Schema, lost: list[str]
) -> tuple[sqlite3.Connection, int]:
    """As if the file were of a version; and how many rows fit that.

    Without the first page only those tables of a database that was migrated are found that its first version had.
    """
    database = model(schema, version)
    # Where the first page is lost: the tables of a database begin where those of a new one do. A wrong guess does no
    # harm, for the seals tell the tables apart.
    usual = dict(database.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"))
    roots = usual | {name: root for name, root in pages.roots().items() if name in usual}
    count = [row[1] for row in pages.rows(roots["commits"], lost) if len(row) == 2 and isinstance(row[1], int)]
    if not count or count[0] < damage.serial:
        known = f"{damage.serial - count[0]}" if count else "an unknown number"
        lost.append(f"the latest transactions, {known} of {damage.serial}")
    whole = 0
    for name, columns in sealed_tables(database).items():
        statement = f'INSERT INTO "{name}" VALUES ({", ".join("?" * (len(columns) + 1))})'
        place = [each[1] for each in database.execute(f'PRAGMA table_info("{name}")')].index("seal")
        missing: list[str] = []
        for values in pages.rows(roots[name], missing):
            row = values[:place] + values[place + 1 :]
            if len(values) != len(columns) + 1 or seal(name, row) != values[place]:
                missing.append(f"a row that does not fit its seal, of key {values[:1]}")
                continue
            try:
                database.execute(statement, values)
                whole += 1
            except (sqlite3.Error, OverflowError) as error:
                missing.append(f"{values[:1]}: {error}")
        lost += [f"{name}: {each}" for each in missing]
    for number in range(version + 1, schema.version + 1):
        migrate(database, schema.migrations[number - 1], number)
    return database, whole


def _records(database: sqlite3.Connection, schema: Schema, lost: list[str]) -> list[Record]:
    records: list[Record] = []
    for table in schema.tables:
        for *values, _ in database.execute(table.select):
            row = tuple(values)
            try:
                records.append(table.from_row(row))
            except (ValueError, TypeError) as error:
                lost.append(f"{table.name} {row[: table.keys]}: {error}")
    return records
