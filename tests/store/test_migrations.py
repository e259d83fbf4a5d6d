from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing

import pytest

from asa.errors import StoreDamaged, StoreFailed
from asa.records import (
    Cap,
    Change,
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Kind,
    Once,
    Promise,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
    made,
)
from asa.store import Cause, Store, salvage
from asa.store.rows import TABLES, Table, seal
from asa.store.schema import SCHEMA, Schema, build
from objectives import Block, Window
from tests.store.examples import FULL, NOW, PEER, put, some


@dataclasses.dataclass(frozen=True)
class Noted(Fact):
    """A fact as an invented later version has it, with one field more."""

    note: str = ""


FACTS = Table(
    Noted,
    "facts",
    1,
    ("name", "value", "note"),
    lambda each: (each.name, each.value, each.note),
    lambda row: Noted(*row),
)
NEXT = Schema((*SCHEMA.migrations, ("UPDATE contacts SET locator = upper(locator)",)), TABLES)
LATER = Schema(
    (*NEXT.migrations, ("ALTER TABLE facts ADD COLUMN note TEXT NOT NULL DEFAULT ''", "UPDATE facts SET note = name")),
    tuple(FACTS if each.kind is Fact else each for each in TABLES),
)


def loaded_later(records):
    """What the two invented migrations make of records."""
    out = []
    for each in records:
        if type(each) is Fact:
            out.append(Noted(each.name, each.value, each.name))
        elif type(each) is Contact:
            out.append(dataclasses.replace(each, locator=each.locator.upper()))
        else:
            out.append(each)
    return out


def version(path):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()


def content(path):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


CURRENT = SCHEMA.version


@pytest.fixture
def state(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        put(store, some())
    return tmp_path


def test_migrations_run_in_their_order_and_leave_copies_of_what_was(state):
    before = content(state / "asa.db")
    with Store.open(state, now=NOW, schema=LATER) as store:
        assert store.load() == loaded_later(some())
        store.commit(made(Noted("new", "1", "it")))
    assert version(state / "asa.db") == CURRENT + 2
    assert {each.name: version(each) for each in state.glob("asa.db.before-*")} == {
        f"asa.db.before-{CURRENT + 1}": CURRENT,
        f"asa.db.before-{CURRENT + 2}": CURRENT + 1,
    }
    assert content(state / f"asa.db.before-{CURRENT + 1}") == before
    with Store.open(state, now=NOW, schema=LATER) as store:
        (params,) = (each.value for each in some() if each.key == ("params",))
        assert Noted("params", params, "params") in store.load()


def test_a_new_database_has_every_version_and_needs_no_copy(tmp_path):
    with Store.open(tmp_path, now=NOW, schema=LATER) as store:
        put(store, loaded_later(some()))
        assert store.load() == loaded_later(some())
    assert version(tmp_path / "asa.db") == CURRENT + 2
    assert not list(tmp_path.glob("*before*"))


def test_a_copy_is_an_older_version_that_an_operator_can_go_back_to(state):
    Store.open(state, now=NOW, schema=NEXT).close()
    (state / f"asa.db.before-{CURRENT + 1}").rename(state / "asa.db")
    with Store.open(state, now=NOW) as store:
        assert store.load() == some()


def test_the_last_two_copies_are_kept(state):
    many = Schema((*SCHEMA.migrations, *[(f"CREATE TABLE t{number} (x)",) for number in range(10)]), TABLES)
    Store.open(state, now=NOW, schema=many).close()
    assert sorted(each.name for each in state.glob("asa.db.before*")) == ["asa.db.before-12", "asa.db.before-13"]


@pytest.mark.parametrize(
    "statement", ["UPDATE nowhere SET x = 1", "INSERT INTO facts SELECT * FROM facts", "gibberish"]
)
def test_a_migration_that_fails_changes_nothing(state, statement):
    before = content(state / "asa.db")
    broken = Schema((*SCHEMA.migrations, ("DELETE FROM reservations", statement)), TABLES)
    for _ in range(2):
        with pytest.raises(StoreFailed, match=f"from version {CURRENT} to {CURRENT + 1}, and is as before") as raised:
            Store.open(state, now=NOW, schema=broken)
        assert raised.value.details["cause"] == Cause.MIGRATION
        assert content(state / "asa.db") == before
    with Store.open(state, now=NOW) as store:
        assert store.load() == some()


def test_what_was_migrated_before_a_migration_that_fails_stays(state):
    broken = Schema((*NEXT.migrations, ("gibberish",)), TABLES)
    with pytest.raises(StoreFailed, match=f"from version {CURRENT + 1} to {CURRENT + 2}"):
        Store.open(state, now=NOW, schema=broken)
    assert version(state / "asa.db") == CURRENT + 1
    Store.open(state, now=NOW, schema=LATER).close()


def test_a_newer_database_is_refused_and_left_alone(state):
    Store.open(state, now=NOW, schema=LATER).close()
    before = (state / "asa.db").read_bytes()
    for _ in range(2):
        with pytest.raises(
            StoreFailed, match=f"version {CURRENT + 2}; this agent knows versions up to {CURRENT}"
        ) as raised:
            Store.open(state, now=NOW)
        assert raised.value.details["cause"] == Cause.NEWER
    assert (state / "asa.db").read_bytes() == before
    with Store.open(state, now=NOW, schema=LATER) as store:
        assert store.load() == loaded_later(some())


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / "asa.db")
    connection.execute("CREATE TABLE bookmarks (url)")
    connection.commit()
    connection.close()
    before = (tmp_path / "asa.db").read_bytes()
    with pytest.raises(StoreFailed, match="another program") as raised:
        Store.open(tmp_path, now=NOW)
    assert raised.value.details["cause"] == Cause.FOREIGN
    assert (tmp_path / "asa.db").read_bytes() == before


def test_a_damaged_row_is_not_sealed_anew_by_a_migration(state):
    connection = sqlite3.connect(state / "asa.db")
    connection.execute("UPDATE reservations SET rate = rate * 2 WHERE id = 'r-00000003'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreDamaged, match=r"reservations 'r-00000003': the row does not fit its seal"):
        Store.open(state, now=NOW, schema=LATER)


# -- version 1, as it was released

V1 = Schema(SCHEMA.migrations[:1], ())
ROWS_V1 = {
    "seeds": [("wan", 0, 10**9, NOW)],
    "held": [("wan", 0, 5, 10**9, None)],
    "given": [(b"\1" * 16, "wan", str(PEER), "[[0,9,5,null]]", "closed", NOW)],
    "taken": [(b"\2" * 16, "wan", str(PEER), "[]", "accepted", NOW)],
    "promises": [(b"\3" * 16, "wan", str(PEER), 5, NOW, None, NOW + 9)],
    "reservations": [
        ("r-1", "wan", 7, NOW, NOW + 60, "booked", NOW - 2, NOW - 1, "10.0.0.1", "fd00::/64", "alice", "é\n\0 ✓"),
        ("r-2", "wan", 8, NOW + 1, None, "cancelled", NOW, NOW, "any", "any", "", ""),
    ],
    "onces": [("key", "ab", "r-1", NOW)],
    "facts": [("active", "true")],
    "contacts": [(str(PEER), "[::1]:7017", NOW)],
}
RECORDS_V1 = [
    Seed("wan", 0, 10**9, NOW),
    Held("wan", Block(0, 10**9, 5, None)),
    Given(b"\1" * 16, "wan", PEER, (Block(0, 9, 5, None),), GivenState.CLOSED, NOW),
    Taken(b"\2" * 16, "wan", PEER, (), TakenState.ACCEPTED, NOW),
    Promise(b"\3" * 16, "wan", PEER, 5, Window(NOW, None), NOW + 9),
    Reservation(
        "r-1", "wan", 7, Window(NOW, NOW + 60), ReservationState.BOOKED, NOW - 2, NOW - 1, "10.0.0.1", "fd00::/64",
        "alice", ("é\n\0 ✓",),
    ),
    Reservation("r-2", "wan", 8, Window(NOW + 1, None), ReservationState.CANCELLED, NOW, NOW),
    Once("key", "ab", "r-1", NOW),
    Fact("active", "true"),
    Contact(PEER, "[::1]:7017", NOW),
]  # fmt: skip


# In a table without rowid the key's columns come first on disk; the statement names them as they were declared.
HELD_V1 = 'INSERT INTO held (pool, low, start, high, "end", seal) VALUES (?, ?, ?, ?, ?, ?)'


def make_v1(path, more=()):
    """A database of version 1 with ROWS_V1 and ``more`` reservations."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        build(connection, V1, 1)
        for table, rows in ROWS_V1.items():
            for row in [*rows, *(more if table == "reservations" else ())]:
                places = ", ".join("?" * (len(row) + 1))
                statement = HELD_V1 if table == "held" else f"INSERT INTO {table} VALUES ({places})"
                connection.execute(statement, (*row, seal(table, row)))


@pytest.fixture
def v1(tmp_path):
    make_v1(tmp_path / "asa.db")
    return tmp_path


def test_a_database_of_version_1_keeps_everything(v1):
    for _ in range(2):
        with Store.open(v1, now=NOW) as store:
            assert store.load() == RECORDS_V1
    assert version(v1 / "asa.db") == CURRENT
    assert [version(v1 / f"asa.db.before-{each}") for each in (2, 3)] == [1, 2]


def test_what_came_from_version_1_is_changed_removed_and_added_to_like_any_other(v1):
    old = next(each for each in RECORDS_V1 if each.key == ("r-1",))
    new = dataclasses.replace(old, labels=("a", "b"), kind=Kind.TWO_WAY, back=5)
    gone = next(each for each in RECORDS_V1 if each.key == ("r-2",))
    with Store.open(v1, now=NOW) as store:
        store.commit((Change(old, new), Change(gone, None), *made(FULL, Cap("a", "wan", 50, True))))
    with Store.open(v1, now=NOW) as store:
        kept = [new if each is old else each for each in RECORDS_V1 if each is not gone]
        kept.insert(kept.index(new), FULL)
        assert store.load() == [*kept, Cap("a", "wan", 50, True)]


def test_the_agent_of_version_1_refuses_a_newer_database_and_leaves_it_alone(v1):
    Store.open(v1, now=NOW).close()
    before = (v1 / "asa.db").read_bytes()
    with pytest.raises(StoreFailed, match=f"version {CURRENT}; this agent knows versions up to 1") as raised:
        Store.open(v1, now=NOW, schema=V1)
    assert raised.value.details["cause"] == Cause.NEWER
    assert (v1 / "asa.db").read_bytes() == before


def many_v1(count):
    return [
        (f"r-{number:08}", "wan", 7, NOW, None, "booked", NOW, NOW, "any", "any", "", "x") for number in range(count)
    ]


def test_a_damaged_database_of_version_1_is_salvaged_into_the_current_version(tmp_path):
    make_v1(tmp_path / "asa.db", many_v1(500))
    content = bytearray((tmp_path / "asa.db").read_bytes())
    page = content.index(b"r-00000250") // 4096
    content[page * 4096 : page * 4096 + 4096] = bytes(4096)
    (tmp_path / "asa.db").write_bytes(content)
    with pytest.raises(StoreDamaged):
        Store.open(tmp_path, now=NOW)
    found = salvage(tmp_path, NOW)
    assert all(each in found.records for each in RECORDS_V1)
    assert 300 < len(found.records) - len(RECORDS_V1) < 500
    many = [each for each in found.records if each not in RECORDS_V1]
    assert {each.labels for each in many} == {("x",)}
    assert found.lost


def test_a_database_of_version_1_without_its_first_page_is_salvaged_as_what_it_is(tmp_path):
    make_v1(tmp_path / "asa.db", many_v1(500))
    with open(tmp_path / "asa.db", "r+b") as file:
        file.write(bytes(4096))
    with pytest.raises(StoreDamaged, match="no SQLite database"):
        Store.open(tmp_path, now=NOW)
    found = salvage(tmp_path, NOW).records
    assert len(found) == len(RECORDS_V1) + 500
    assert all(each in found for each in RECORDS_V1)


def test_what_is_not_found_of_a_migrated_database_without_its_first_page_is_told(tmp_path):
    make_v1(tmp_path / "asa.db", many_v1(500))
    with Store.open(tmp_path, now=NOW) as store:
        store.commit(made(Cap("a", "wan", 50, True)))
    with open(tmp_path / "asa.db", "r+b") as file:
        file.write(bytes(4096))
    with pytest.raises(StoreDamaged):
        Store.open(tmp_path, now=NOW)
    found = salvage(tmp_path, NOW)
    assert len(found.records) == len(RECORDS_V1) + 500
    assert any(each.startswith("caps: ") for each in found.lost)
