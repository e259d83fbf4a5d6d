"""What a CA has done: certificates issued and revoked, addresses given away, invitations used.

One SQLite file; what is in it is on disk. Who writes holds the lock of the CA's directory
(:mod:`asa.domain.authority`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from asa.domain.addresses import MOST_NUMBERS
from asa.domain.errors import NameTaken
from asa.errors import Busy, NotFound, StoreDamaged, StoreFailed

_VERSION: Final = 1
_WAIT_S: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE node (name TEXT PRIMARY KEY, number INTEGER UNIQUE, address TEXT UNIQUE) STRICT;
CREATE TABLE certificate (
    serial TEXT PRIMARY KEY, name TEXT NOT NULL, issued INTEGER NOT NULL, expires INTEGER NOT NULL,
    revoked INTEGER, pem TEXT NOT NULL
) STRICT;
CREATE INDEX certificate_of ON certificate (name, issued);
CREATE TABLE invitation (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, made INTEGER NOT NULL, ends INTEGER NOT NULL, serial TEXT
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate. Times in UNIX s."""

    serial: int
    name: str
    issued: int
    expires: int
    revoked: int | None
    pem: str

    def valid(self, now: float) -> bool:
        return self.revoked is None and now < self.expires


class Index:
    """An open index. Every method may raise StoreFailed or StoreDamaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._faults():
            self._db = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=_WAIT_S, isolation_level=None)
            # The journal's removal too is on disk before a commit returns.
            self._db.execute("PRAGMA synchronous = EXTRA")
            if self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                raise StoreDamaged(f"{path} is no index of this release", hint="put it back from the backup")

    @classmethod
    def create(cls, path: Path, facts: dict[str, str]) -> None:
        """A new one with ``facts`` in it."""
        path.touch(mode=0o600, exist_ok=False)
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.executescript(f"PRAGMA synchronous = EXTRA; BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            with _commits(db):
                db.executemany("INSERT INTO fact VALUES (?, ?)", facts.items())
        finally:
            db.close()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is changed inside is on disk when it ends, or none of it."""
        with self._faults(), _commits(self._db):
            yield

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreFailed(f"{self._path}: {error}", hint="who may write there, and is there room?") from None
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(f"{self._path}: {error}", hint="put the CA's directory back from the backup") from None

    def fact(self, name: str) -> str:
        """Empty if it is not there."""
        found = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return found[0] if found else ""

    def remember(self, name: str, value: str) -> None:
        self._db.execute("INSERT INTO fact VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2", (name, value))

    def address(self, name: str) -> IPv6Address | None:
        """The one ``name`` was given, for ever."""
        found = self._db.execute("SELECT address FROM node WHERE name = ?", (name,)).fetchone()
        return IPv6Address(found[0]) if found and found[0] else None

    def next_number(self) -> int:
        """Raises Busy when all are given away."""
        number = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM node").fetchone()[0]
        if number >= MOST_NUMBERS:
            raise Busy(f"all {MOST_NUMBERS - 1} node numbers are given away", hint="say --address")
        assert isinstance(number, int)
        return number

    def check_address(self, name: str, address: IPv6Address) -> None:
        """Raises NameTaken if it is another node's."""
        holder = self._db.execute("SELECT name FROM node WHERE address = ?", (str(address),)).fetchone()
        if holder and holder[0] != name:
            raise NameTaken(f"{address} is the address of {holder[0]}", hint="every node has its own")

    def give_address(self, name: str, address: IPv6Address, number: int | None) -> None:
        """Raises NameTaken if it is another node's."""
        self.check_address(name, address)
        self._db.execute(
            "INSERT INTO node VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET number = ?2, address = ?3",
            (name, number, str(address)),
        )

    def add(self, issued: Issued) -> None:
        self._db.execute(
            "INSERT INTO certificate VALUES (?, ?, ?, ?, ?, ?)",
            (_text(issued.serial), issued.name, issued.issued, issued.expires, issued.revoked, issued.pem),
        )

    def revoke(self, serial: int, now: int) -> None:
        self._db.execute(
            "UPDATE certificate SET revoked = ? WHERE serial = ? AND revoked IS NULL", (now, _text(serial))
        )

    def certificates(self, name: str | None = None) -> list[Issued]:
        """Of one node or of all, the oldest first."""
        where = "" if name is None else "WHERE name = ?"
        rows = self._db.execute(
            f"SELECT serial, name, issued, expires, revoked, pem FROM certificate {where} ORDER BY rowid",
            () if name is None else (name,),
        )
        return [Issued(int(serial, 16), *rest) for serial, *rest in rows]

    def certificate(self, serial: int) -> Issued:
        """Raises NotFound."""
        for each in self.certificates():
            if each.serial == serial:
                return each
        raise NotFound(f"this CA issued no certificate {serial:x}", hint="asa domain list shows them")

    def invite(self, identifier: str, name: str, now: int, ends: int) -> None:
        self._db.execute("INSERT INTO invitation VALUES (?, ?, ?, ?, NULL)", (identifier, name, now, ends))

    def use(self, identifier: str, serial: int) -> bool:
        """Mark an invitation as used; False if it is already."""
        done = self._db.execute(
            "UPDATE invitation SET serial = ? WHERE id = ? AND serial IS NULL", (_text(serial), identifier)
        )
        return done.rowcount == 1


def _text(serial: int) -> str:
    return f"{serial:x}"


@contextmanager
def _commits(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
