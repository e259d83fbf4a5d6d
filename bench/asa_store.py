"""Durable commits, beside the barest sqlite3 loop that writes the same row; and reading 100,000 reservations."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from asa.records import Reservation, ReservationState, made
from asa.store import Store
from bench.report import Result
from objectives import Window

ROUNDS, COMMITS = 10, 400
BATCH = 32
LIVE = 100_000
NOW = 1_800_000_000


def reservation(number: int) -> Reservation:
    # Keys in no order, as those drawn at random are.
    key = f"r-{number * 0x9E3779B97F4A7C15 % 2**64:016x}"
    window = Window(NOW + number, NOW + number + 3600)
    return Reservation(
        key, "wan", 10**8, window, ReservationState.BOOKED, NOW, NOW, "10.0.0.1", "10.1.0.0/16", "alice", ("backup",)
    )


def row(each: Reservation) -> tuple[str | int | None, ...]:
    window = each.window
    return (
        each.id, each.pool, each.rate, window.start, window.end, each.state, each.created, each.changed, each.source,
        each.destination, each.owner, each.labels[0],
    )  # fmt: skip


class Bare:
    """One table, one connection, WAL and synchronous=FULL."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE reservations (id TEXT PRIMARY KEY, pool TEXT, rate INTEGER, start INTEGER, stop INTEGER,"
            " state TEXT, created INTEGER, changed INTEGER, source TEXT, destination TEXT, owner TEXT, label TEXT)"
            " WITHOUT ROWID"
        )

    def commit(self, reservations: list[Reservation]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for each in reservations:
            self._connection.execute("INSERT INTO reservations VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", row(each))
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def rate(commit: Callable[[list[Reservation]], None], batches: list[list[Reservation]]) -> float:
    """Commits/s."""
    begun = time.perf_counter()
    for batch in batches:
        commit(batch)
    return len(batches) / (time.perf_counter() - begun)


def commits(directory: Path, changes: int, aim: float | None) -> None:
    bare = Bare(directory / f"bare-{changes}.db")
    store = Store.open(directory / f"store-{changes}", now=NOW)
    number = 0
    ours, floor = 0.0, 0.0
    # Turn by turn, so that what else the disk does falls on both alike.
    for _ in range(ROUNDS):
        batches = []
        for _ in range(COMMITS):
            batches.append([reservation(number + each) for each in range(changes)])
            number += changes
        floor = max(floor, rate(bare.commit, batches))
        ours = max(ours, rate(lambda batch: store.commit(made(*batch)), batches))
    store.close()
    bare.close()
    word = "change" if changes == 1 else "changes"
    Result(f"durable commits of {changes} {word}", round(ours), "1/s", floor=round(floor), aim=aim).print()


def load(directory: Path) -> None:
    records = [reservation(number) for number in range(LIVE)]
    Store.create_from(directory / "load", records, now=NOW).close()
    begun = time.perf_counter()
    with Store.open(directory / "load", now=NOW) as store:
        opened = time.perf_counter()
        loaded = store.load()
        done = time.perf_counter()
    assert len(loaded) == LIVE
    name = f"open and load {LIVE} reservations"
    Result(name, round(done - begun, 2), "s", aim=5, lower_is_better=True).print()
    Result("of that, examining the database", round(opened - begun, 2), "s").print()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="asa-store-") as name:
        directory = Path(name)
        commits(directory, 1, aim=0.5)
        commits(directory, BATCH, aim=None)
        load(directory)


if __name__ == "__main__":
    main()
