from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from asa.errors import StoreDamaged
from asa.records import Fact, made
from asa.store import Store, salvage
from asa.store.schema import SCHEMA
from tests.store.crashing import ROWS, at_every_line
from tests.store.examples import NOW, put, reservation, some
from tests.store.test_migrations import LATER, loaded_later

ROUNDS = 12


@pytest.fixture
def fast(tmp_path):
    """A place in memory, for a process that ends is all that is tested here."""
    memory = Path("/dev/shm")
    base = memory / f"asa-{tmp_path.name}-{random.getrandbits(40):x}" if memory.is_dir() else tmp_path / "fast"
    base.mkdir()
    yield base
    shutil.rmtree(base)


def test_whatever_was_acknowledged_is_there_after_kill_9_and_nothing_is_there_in_part(tmp_path):
    chance = random.Random(9)
    acknowledged = -1
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.crashing", tmp_path], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        for _ in range(chance.randrange(1, 200)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        for line in process.stdout.read().splitlines(keepends=True):
            if line.endswith(b"\n"):
                acknowledged = int(line)
        process.stdout.close()
        process.wait()
        with Store.open(tmp_path, now=NOW) as store:
            records = store.load()
        (count,) = [int(each.value) for each in records if type(each) is Fact]
        assert acknowledged <= count <= acknowledged + 1
        assert [each for each in records if type(each) is not Fact] == [
            reservation(number) for number in range((count + 1) * ROWS)
        ]
    assert acknowledged >= ROUNDS
    with sqlite3.connect(tmp_path / "asa.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_crash_at_any_line_of_the_first_start_leaves_a_new_agent(fast):
    for directory in at_every_line(fast / "new", lambda directory: Store.open(directory, now=NOW).close()):
        with Store.open(directory, now=NOW) as store:
            assert store.load() == []
            put(store, some())
        with Store.open(directory, now=NOW) as store:
            assert store.load() == some()


def test_a_crash_at_any_line_of_a_commit_leaves_all_of_it_or_nothing(fast):
    Store.create_from(fast / "old", some(), now=NOW).close()
    more = [reservation(100), reservation(101), Fact("x", "y")]

    def act(directory):
        with Store.open(directory, now=NOW) as store:
            store.commit(made(*more))

    seen = set()
    for directory in at_every_line(fast / "old", act):
        with Store.open(directory, now=NOW) as store:
            there = store.load()
        new = [each for each in there if each in more]
        assert [each for each in there if each not in more] == some()
        assert new in ([], more)
        seen.add(len(new))
    assert seen == {0, 3}


def test_a_crash_at_any_line_of_a_migration_loses_nothing(fast):
    Store.create_from(fast / "old", some(), now=NOW, schema=SCHEMA).close()
    for directory in at_every_line(fast / "old", lambda directory: Store.open(directory, now=NOW, schema=LATER)):
        with Store.open(directory, now=NOW, schema=LATER) as store:
            assert store.load() == loaded_later(some())
        assert not list(directory.glob("*.new-*"))


def test_a_crash_at_any_line_of_setting_aside_neither_loses_the_file_nor_starts_empty(fast):
    old = fast / "old"
    Store.create_from(old, some(), now=NOW).close()
    (old / "asa.db").write_bytes(b"not a database" * 1000)
    (old / "asa.db-wal").write_bytes(b"nor a log" * 1000)

    def act(directory):
        with pytest.raises(StoreDamaged):
            Store.open(directory, now=NOW)

    for directory in at_every_line(old, act):
        for _ in range(2):
            with pytest.raises(StoreDamaged, match="no SQLite database"):
                Store.open(directory, now=NOW + 1)
        assert not (directory / "asa.db").exists()
        (aside,) = directory.glob("asa.db.damaged-*Z")
        assert aside.read_bytes() == b"not a database" * 1000
        assert aside.with_name(aside.name + "-wal").read_bytes() == b"nor a log" * 1000


def test_a_crash_at_any_line_of_starting_from_salvaged_records_loses_none(fast):
    old = fast / "old"
    Store.create_from(old, some(), now=NOW).close()
    with open(old / "asa.db", "r+b") as file:
        file.truncate(file.seek(0, 2) - 6000)
    with pytest.raises(StoreDamaged):
        Store.open(old, now=NOW)
    salvaged = salvage(old, NOW)

    started = set()
    for directory in at_every_line(old, lambda directory: Store.create_from(directory, salvaged.records, now=NOW)):
        try:
            store = Store.open(directory, now=NOW)
        except StoreDamaged:
            started.add(False)
            if not (directory / "asa.db").exists():
                Store.create_from(directory, salvaged.records, now=NOW).close()
            else:
                (directory / "damaged.json").unlink()
            store = Store.open(directory, now=NOW)
        else:
            started.add(True)
        with store:
            assert store.load() == salvaged.records
    assert started == {False, True}


def test_a_crash_at_any_line_of_a_salvage_changes_nothing(fast):
    old = fast / "old"
    Store.create_from(old, some(), now=NOW).close()
    with open(old / "asa.db", "r+b") as file:
        file.truncate(file.seek(0, 2) - 6000)
    with pytest.raises(StoreDamaged):
        Store.open(old, now=NOW)
    expected = salvage(old, NOW)
    names = sorted(each.name for each in old.iterdir())
    for directory in at_every_line(old, lambda directory: salvage(directory, NOW)):
        assert salvage(directory, NOW + 1) == expected
        assert sorted(each.name for each in directory.iterdir()) == names
