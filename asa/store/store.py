"""Stable storage: one database, one connection, one transaction for each commit."""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

from asa.errors import Conflict, StoreFailed
from asa.records import Change, Record
from asa.store.directory import COMPANIONS, StateDirectory
from asa.store.faults import FAULTS, Cause, Mismatch, cause_of, failed, failure
from asa.store.opening import bring_up, connect, create, examine, look_at_header
from asa.store.rows import Row, Table, seal
from asa.store.schema import SCHEMA, Schema, serial

_COUNT: Final = "UPDATE commits SET serial = ?"


class Store:
    """The records of one agent, open and locked. May be used from any thread, one call at a time.

    Every commit counts one up in the table ``commits`` and then in the file ``initialised``. A database that has fewer
    than the file says has lost what was acknowledged - its log was removed, or an old copy put in its place - and is
    treated as damaged.
    """

    def __init__(self, directory: StateDirectory, connection: sqlite3.Connection, schema: Schema, now: int) -> None:
        self._directory = directory
        self._connection: sqlite3.Connection | None = connection
        self._schema = schema
        self._tables: dict[type, Table[object]] = {each.kind: each for each in schema.tables}
        self._opened = now
        self._serial = serial(connection)
        self._lock = Lock()
        self._in_doubt = False
        directory.initialise(self._serial)

    # -- opening

    @classmethod
    def open(cls, directory: Path, *, now: int, schema: Schema = SCHEMA) -> Store:
        """Open the database in ``directory``, made where there has never been one. ``now``: UNIX s.

        Raises :class:`StoreLocked`; :class:`StoreDamaged` until an operator has decided what to do;
        :class:`StoreFailed` with its :class:`Cause`.
        """
        state = StateDirectory.lock(directory)
        try:
            if (damage := state.damage()) is not None:
                raise state.damaged(damage)
            if not state.database.exists():
                if state.had_database():
                    raise state.set_aside("it is missing", now)
                create(state, schema, ())
            return cls._open(state, schema, now)
        except FAULTS as error:
            state.release()
            raise failure(error, f"the database {state.database} cannot be opened") from error
        except BaseException:
            state.release()
            raise

    @classmethod
    def create_from(cls, directory: Path, records: Iterable[Record], *, now: int, schema: Schema = SCHEMA) -> Store:
        """An operator's decision after damage: go on with ``records`` (:func:`~asa.store.salvage`), and nothing else.

        Raises :class:`Conflict` if a database is in place, or has been without damage on record;
        :class:`StoreLocked`, :class:`StoreFailed`.
        """
        state = StateDirectory.lock(directory)
        try:
            decided = state.damage() is not None
            if state.in_place() or (state.had_database() and not decided):
                raise Conflict(
                    f"there is a database in {directory} and no damage on record",
                    hint="start the agent: it examines what is there and sets it aside if it must",
                )
            create(state, schema, records)
            state.decided()
            return cls._open(state, schema, now)
        except FAULTS as error:
            state.release()
            raise failure(error, f"the database {state.database} cannot be made") from error
        except BaseException:
            state.release()
            raise

    @classmethod
    def _open(cls, state: StateDirectory, schema: Schema, now: int) -> Store:
        look_at_header(state, schema, now)
        with suppress(PermissionError):
            os.chmod(state.database, 0o600)
        connection = connect(state.database)
        try:
            try:
                examine(connection, state, schema, now)
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                if mode != "wal":
                    raise failed(
                        Cause.IO_ERROR, f"{state.database} cannot have a write-ahead log", "use a local file system"
                    )
                connection.execute("PRAGMA synchronous = FULL")
                bring_up(connection, state, schema, now)
                return cls(state, connection, schema, now)
            except sqlite3.DatabaseError as error:
                # Before the connection is closed, see set_aside.
                if cause_of(error) is Cause.DAMAGED:
                    raise state.set_aside(str(error), now) from error
                raise
        except BaseException:
            connection.close()
            raise

    # -- what it is for

    def load(self) -> list[Record]:
        """Everything committed. Raises :class:`StoreDamaged`, with table and key, if a row makes no valid record."""
        with self._lock, _no_garbage():
            connection = self._usable()
            records: list[Record] = []
            append = records.append
            for table in self._schema.tables:
                name, from_row = table.name, table.from_row
                row: Row = ()
                try:
                    for *values, sealed in connection.execute(table.select):
                        row = tuple(values)
                        if seal(name, row) != sealed:
                            raise ValueError("the row does not fit its seal")
                        append(from_row(row))
                except (ValueError, TypeError) as error:
                    raise self._damaged(f"{name} {row[: table.keys]}: {error}") from error
                except sqlite3.Error as error:
                    if cause_of(error) is Cause.DAMAGED:
                        raise self._damaged(f"{name} after {row[: table.keys]}: {error}") from error
                    raise failure(error, f"the table {name} cannot be read") from error
            return records

    def commit(self, changes: Sequence[Change]) -> None:
        """Make the changes in their order, all or none, durable when it returns.

        Raises :class:`StoreFailed`: none was made, and the next commit may succeed. If it was the very last step that
        failed, the changes may be in the log without being visible; they are written over before anything else is
        committed. Only if the process ends before that was possible may they be there at the next start.
        """
        if not changes:
            return
        with self._lock:
            connection = self._usable()
            if self._in_doubt:
                self._settle(connection)
            number = self._serial + 1
            try:
                connection.execute("BEGIN IMMEDIATE")
                for change in changes:
                    self._apply(connection, change)
                connection.execute(_COUNT, (number,))
            except BaseException as error:
                self._roll_back(connection)
                if cause_of(error) is Cause.DISK_FULL:
                    self._shrink(connection)
                if isinstance(error, FAULTS):
                    raise failure(error, "the changes were not stored") from error
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if not self._is_in(connection, number):
                    if cause_of(error) is Cause.DISK_FULL:
                        self._shrink(connection)
                    raise failure(error, "the changes were not stored") from error
                return
            self._serial = number
            self._directory.note(number)

    def _apply(self, connection: sqlite3.Connection, change: Change) -> None:
        table = self._tables[change.kind]
        keys, name = table.keys, table.name
        if change.before is None:
            new = table.to_row(change.after)
            connection.execute(table.insert, (*new, seal(name, new)))
            return
        old = table.to_row(change.before)
        if change.after is None:
            done = connection.execute(table.delete, (*old[:keys], seal(name, old)))
        else:
            new = table.to_row(change.after)
            done = connection.execute(table.update, (*new[keys:], seal(name, new), *old[:keys], seal(name, old)))
        if done.rowcount != 1:
            raise Mismatch(f"{name} {change.key} is not on disk as it was taken to be")

    # -- when a commit fails

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        # After some errors SQLite has rolled back by itself.
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._close()
            raise failure(error, "the state of the database is unknown; the store is closed") from error

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Move what is in the log into the database, which may give the disk the room that is missing."""
        if not self._in_doubt:
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _is_in(self, connection: sqlite3.Connection, number: int) -> bool:
        """After a COMMIT that failed: whether the transaction is visible, which the disk is then made to agree with."""
        self._roll_back(connection)
        try:
            visible = serial(connection) == number
        except sqlite3.Error as error:
            self._close()
            raise failure(error, "the state of the database is unknown; the store is closed") from error
        self._in_doubt = True
        try:
            self._settle(connection)
        except StoreFailed:
            if visible:
                self._close()
                raise
        return visible

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Write over what a failed COMMIT may have left in the log, where a crash now would bring it back.

        SQLite has not counted those frames and appends in their place; each frame's check sum covers those before
        it, so that nothing of them is valid once the first is another.
        """
        try:
            connection.execute("BEGIN IMMEDIATE")
            number = serial(connection) + 1
            connection.execute(_COUNT, (number,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(connection)
            raise failure(error, "the changes were not stored") from error
        self._in_doubt = False
        self._serial = number
        self._directory.note(number)

    def _damaged(self, what: str) -> BaseException:
        error = self._directory.set_aside(what, self._opened)
        self._close()
        return error

    # -- the rest

    def _usable(self) -> sqlite3.Connection:
        if self._connection is None:
            raise failed(Cause.CLOSED, "the store is closed")
        return self._connection

    def close(self) -> None:
        """Fold the log into the database and unlock the directory; what is committed is safe without it."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
            self._directory.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The database."""
        return self._directory.database

    @property
    def sqlite_version(self) -> str:
        return sqlite3.sqlite_version

    def size(self) -> int:
        """Bytes on disk, the log included."""
        total = 0
        for suffix in ("", *COMPANIONS):
            with suppress(FileNotFoundError):
                total += os.stat(f"{self.path}{suffix}").st_size
        return total


@contextmanager
def _no_garbage() -> Iterator[None]:
    """What is made meanwhile stays: to look for garbage among 100,000 records costs a fifth of making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
