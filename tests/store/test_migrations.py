from __future__ import annotations

import dataclasses
import sqlite3

import pytest

from asa.errors import StoreDamaged, StoreFailed
from asa.records import Contact, Fact, made
from asa.store import Cause, Store
from asa.store.rows import TABLES, Table
from asa.store.schema import SCHEMA, Schema
from tests.store.examples import NOW, put, some


@dataclasses.dataclass(frozen=True)
class Noted(Fact):
    """A fact as an invented version 3 has it, with one field more."""

    note: str = ""


FACTS = Table(
    Noted,
    "facts",
    1,
    ("name", "value", "note"),
    lambda each: (each.name, each.value, each.note),
    lambda row: Noted(*row),
)
V2 = Schema((*SCHEMA.migrations, ("UPDATE contacts SET locator = upper(locator)",)), TABLES)
V3 = Schema(
    (*V2.migrations, ("ALTER TABLE facts ADD COLUMN note TEXT NOT NULL DEFAULT ''", "UPDATE facts SET note = name")),
    tuple(FACTS if each.kind is Fact else each for each in TABLES),
)


def loaded_by_v3(records):
    """What the two migrations make of records of version 1."""
    out = []
    for each in records:
        if type(each) is Fact:
            out.append(Noted(each.name, each.value, each.name))
        elif type(each) is Contact:
            out.append(Contact(each.node, each.locator.upper(), each.seen))
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


@pytest.fixture
def state(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        put(store, some())
    return tmp_path


def test_migrations_run_in_their_order_and_leave_copies_of_what_was(state):
    before = content(state / "asa.db")
    with Store.open(state, now=NOW, schema=V3) as store:
        assert store.load() == loaded_by_v3(some())
        store.commit(made(Noted("new", "1", "it")))
    assert version(state / "asa.db") == 3
    assert {each.name: version(each) for each in state.glob("asa.db.before-*")} == {
        "asa.db.before-2": 1,
        "asa.db.before-3": 2,
    }
    assert content(state / "asa.db.before-2") == before
    with Store.open(state, now=NOW, schema=V3) as store:
        assert store.load()[-2] == Noted("params", some()[-2].value, "params")


def test_a_new_database_has_every_version_and_needs_no_copy(tmp_path):
    with Store.open(tmp_path, now=NOW, schema=V3) as store:
        put(store, loaded_by_v3(some()))
        assert store.load() == loaded_by_v3(some())
    assert version(tmp_path / "asa.db") == 3
    assert not list(tmp_path.glob("*before*"))


def test_a_copy_is_an_older_version_that_an_operator_can_go_back_to(state):
    Store.open(state, now=NOW, schema=V2).close()
    (state / "asa.db.before-2").rename(state / "asa.db")
    with Store.open(state, now=NOW) as store:
        assert store.load() == some()


def test_the_last_two_copies_are_kept(state):
    many = Schema((*SCHEMA.migrations, *[(f"CREATE TABLE t{number} (x)",) for number in range(10)]), TABLES)
    Store.open(state, now=NOW, schema=many).close()
    assert sorted(each.name for each in state.glob("asa.db.before*")) == ["asa.db.before-10", "asa.db.before-11"]


@pytest.mark.parametrize(
    "statement", ["UPDATE nowhere SET x = 1", "INSERT INTO facts SELECT * FROM facts", "gibberish"]
)
def test_a_migration_that_fails_changes_nothing(state, statement):
    before = content(state / "asa.db")
    broken = Schema((*SCHEMA.migrations, ("DELETE FROM reservations", statement)), TABLES)
    for _ in range(2):
        with pytest.raises(StoreFailed, match="from version 1 to 2, and is as before") as raised:
            Store.open(state, now=NOW, schema=broken)
        assert raised.value.details["cause"] == Cause.MIGRATION
        assert content(state / "asa.db") == before
    with Store.open(state, now=NOW) as store:
        assert store.load() == some()


def test_what_was_migrated_before_a_migration_that_fails_stays(state):
    broken = Schema((*V2.migrations, ("gibberish",)), TABLES)
    with pytest.raises(StoreFailed, match="from version 2 to 3"):
        Store.open(state, now=NOW, schema=broken)
    assert version(state / "asa.db") == 2
    Store.open(state, now=NOW, schema=V3).close()


def test_a_newer_database_is_refused_and_left_alone(state):
    Store.open(state, now=NOW, schema=V3).close()
    before = (state / "asa.db").read_bytes()
    for _ in range(2):
        with pytest.raises(StoreFailed, match="version 3; this agent knows versions up to 1") as raised:
            Store.open(state, now=NOW)
        assert raised.value.details["cause"] == Cause.NEWER
    assert (state / "asa.db").read_bytes() == before
    with Store.open(state, now=NOW, schema=V3) as store:
        assert store.load() == loaded_by_v3(some())


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
        Store.open(state, now=NOW, schema=V3)
