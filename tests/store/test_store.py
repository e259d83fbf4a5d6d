from __future__ import annotations

import dataclasses
import gc
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa.errors import Conflict, IllegalTransition, StoreDamaged, StoreFailed, StoreLocked
from asa.records import (
    KINDS,
    Cap,
    Change,
    Fact,
    Given,
    GivenState,
    Held,
    Kind,
    Pact,
    Reservation,
    ReservationState,
    made,
    removed,
)
from asa.store import Cause, Store
from asa.store.rows import TABLES, seal
from asa.store.schema import SCHEMA, model, sealed_tables
from objectives import Block, Window
from tests.store.crashing import child
from tests.store.examples import BLOCK, FULL, NOW, PEER, any_record, counted, put, reservation, some


def rows(path, statement):
    """What SQLite itself finds in the file."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def may_go(record):
    try:
        return bool(removed([record]))
    except IllegalTransition:
        return False


def cause(raised):
    return raised.value.details["cause"]


def test_a_new_directory_holds_nothing_and_is_private(tmp_path):
    with Store.open(tmp_path / "a" / "state", now=NOW) as store:
        assert store.load() == []
        assert store.path == tmp_path / "a" / "state" / "asa.db"
        assert store.size() > 4096
        assert store.sqlite_version == sqlite3.sqlite_version
        put(store, some())
        assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
        for file in store.path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_the_database_is_durable_at_each_commit(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_every_kind_of_record_comes_back_after_a_restart(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        put(store, some())
        assert store.load() == some()
    with Store.open(tmp_path, now=NOW) as store:
        assert store.load() == some()


@settings(max_examples=60, deadline=None)
@given(records=st.lists(any_record, max_size=12, unique_by=lambda each: (type(each), each.key)))
def test_any_record_comes_back_as_it_was(records, tmp_path_factory):
    directory = tmp_path_factory.mktemp("state")
    with Store.open(directory, now=NOW) as store:
        put(store, records)
    with Store.open(directory, now=NOW) as store:
        loaded = store.load()
        assert len(loaded) == len(records)
        assert all(each in loaded for each in records)
        final = [each for each in loaded if may_go(each)]
        store.commit(removed(final))
        assert store.load() == [each for each in loaded if each not in final]


def test_no_field_of_a_reservation_is_lost(tmp_path):
    """Beside every field changed back to what it is by default, so that none stands for another."""
    least = Reservation("r-least", "wan", 1, Window(NOW, None), ReservationState.HELD, NOW, NOW)
    optional = [each for each in dataclasses.fields(Reservation) if each.default is not dataclasses.MISSING]
    assert all(getattr(FULL, each.name) != each.default for each in optional)
    records = [FULL, least]
    records += [dataclasses.replace(FULL, id=f"r-less-{each.name}", **{each.name: each.default}) for each in optional]
    records += [
        dataclasses.replace(least, id=f"r-only-{each.name}", **{each.name: getattr(FULL, each.name)})
        for each in optional
    ]
    records += [
        dataclasses.replace(least, id=f"r-labels-{number}", labels=labels)
        for number, labels in enumerate([("",), ("a",), ("", ""), ("a", "b"), ("[]",)])
    ]
    records += [dataclasses.replace(least, id=f"r-{each}", kind=each) for each in Kind]
    records += [dataclasses.replace(least, id=f"r-{each}", state=each) for each in ReservationState]
    pacts = [Pact(each.id.encode(), PEER, each, dataclasses.replace(each, rate=9), NOW) for each in records]
    with Store.create_from(tmp_path, [*records, *pacts], now=NOW) as store:
        assert sorted(store.load(), key=repr) == sorted([*records, *pacts], key=repr)
        # What is on disk is replaced by what it is taken to be.
        store.commit([Change(each, dataclasses.replace(each, at=1)) for each in pacts])
        held = [each for each in records if each.state is ReservationState.HELD]
        store.commit([Change(each, dataclasses.replace(each, rate=5)) for each in held])
    with Store.open(tmp_path, now=NOW) as store:
        ids = {each.id for each in held}
        assert {each.rate for each in store.load() if isinstance(each, Reservation) and each.id in ids} == {5}


BAD_MORE = [
    "{",
    "[]",
    "null",
    '{"colour": "red"}',
    '{"id": "r-2"}',
    '{"kind": "three-way"}',
    '{"kind": 1}',
    '{"back": -1}',
    '{"back": 1.0}',
    '{"back": true}',
    '{"back": 9223372036854775808}',
    '{"protocol": 6}',
    '{"labels": "a"}',
    '{"labels": [1]}',
    '{"labels": ["in", "two places"]}',
    '{"through": {}}',
    '{"names": ["one"]}',
    '{"names": ["one", "two", "three"]}',
    '{"claims": [["wan"]]}',
    '{"claims": [["wan", "up"]]}',
    '{"claims": [["wan", "out", "in"]]}',
    '{"until": "now"}',
    '{"secret": null}',
]


def damaged_by(directory, table, row):
    """Whether a row, sealed, is refused as damage."""
    Store.open(directory, now=NOW).close()
    connection = sqlite3.connect(directory / "asa.db")
    (columns,) = (each.columns for each in TABLES if each.name == table)
    names = ", ".join(f'"{each}"' for each in (*columns, "seal"))
    places = ", ".join("?" * (len(row) + 1))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", (*row, seal(table, row)))
    connection.commit()
    connection.close()
    with Store.open(directory, now=NOW) as store, pytest.raises(StoreDamaged, match=table):
        store.load()


@pytest.mark.parametrize("more", BAD_MORE)
def test_what_cannot_be_of_a_reservation_is_damage(tmp_path, more):
    row = ("r-1", "wan", 5, NOW, None, "booked", NOW, NOW, "any", "any", "", "a", more)
    damaged_by(tmp_path, "reservations", row)


def full_but(**changes):
    item = {
        "id": "r-1", "pool": "wan", "rate": 5, "start": NOW, "end": None, "state": "held", "created": 1, "changed": 1,
        "source": "any", "destination": "any", "owner": "", "label": "", "more": {},
    }  # fmt: skip
    return json.dumps({name: value for name, value in (item | changes).items() if value != "gone"})


@pytest.mark.parametrize(
    "after",
    ["", "{", "[]", "null", *(full_but(**each) for each in (
        {"id": 1}, {"rate": -1}, {"rate": "5"}, {"rate": True}, {"start": None}, {"end": NOW}, {"state": "asleep"},
        {"state": None}, {"owner": None}, {"owner": "gone"}, {"colour": "red"}, {"more": ""}, {"more": None},
        {"more": {"kind": "x"}}, {"more": {"id": "r-2"}}, {"label": "a", "more": {"labels": []}},
    ))],
)  # fmt: skip
def test_what_cannot_be_a_reservation_of_a_pact_is_damage(tmp_path, after):
    damaged_by(tmp_path, "pacts", (b"1" * 16, str(PEER), None, after, NOW))


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("reservations", ("r-1", "wan", 5, NOW, None, "asleep", NOW, NOW, "any", "any", "", "", "")),
        ("verdicts", (b"1" * 16, str(PEER), "r-1", "maybe", NOW)),
        ("verdicts", (b"1" * 16, "nobody", "r-1", "never", NOW)),
        ("notices", ("r-1", "nobody", "", NOW, None)),
        ("pacts", (b"1" * 16, "nobody", None, full_but(), NOW)),
    ],
)
def test_what_makes_no_record_is_damage(tmp_path, table, row):
    damaged_by(tmp_path, table, row)


def test_each_kind_has_its_table_with_the_columns_of_the_schema():
    assert {each.kind for each in TABLES} == set(KINDS)
    database = model(SCHEMA, SCHEMA.version)
    assert {each.name: each.columns for each in TABLES} == sealed_tables(database)
    for table in TABLES:
        info = database.execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [row[1] for row in info if row[5]] == list(table.columns[: table.keys])


def test_a_key_is_the_first_columns_of_its_row():
    for table in TABLES:
        for each in some():
            if type(each) is table.kind:
                assert table.to_row(each)[: table.keys] == each.key


def test_an_operator_can_read_the_tables_while_the_agent_runs(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        escrow = Given(b"\x01" * 16, "wan", PEER, (BLOCK,), GivenState.ESCROW, NOW)
        store.commit(made(escrow, Held("wan", Block(5, 9, 7, None)), reservation(1)))
        assert rows(store.path, "SELECT txn, peer, blocks, state, at FROM given") == [
            (b"\x01" * 16, "hv-7.example#00112233445566ff", f"[[0,1000000000,{NOW},{NOW + 3600}]]", "escrow", NOW)
        ]
        assert rows(store.path, 'SELECT pool, low, high, start, "end" FROM held') == [("wan", 5, 9, 7, None)]
        assert rows(store.path, "SELECT id, rate, state FROM reservations") == [("r-00000001", 10**6, "booked")]
        store.commit(made(reservation(2)))


def test_changes_replace_and_remove_in_their_order(tmp_path):
    booked = reservation(1)
    cancelled = type(booked)("r-00000001", "wan", 10**6, Window(NOW, NOW + 5), ReservationState.CANCELLED, NOW, NOW)
    whole, part = Held("wan", Block(0, 9, 0, None)), Held("wan", Block(0, 9, 0, 50))
    with Store.open(tmp_path, now=NOW) as store:
        store.commit(made(booked, whole))
        store.commit((Change(booked, cancelled), *removed([whole]), *made(part)))
        assert store.load() == [part, cancelled]
        store.commit(())
        store.commit((*removed([cancelled]), Change(part, whole)))
        assert store.load() == [whole]


@pytest.mark.parametrize(
    "wrong",
    [
        Change(None, reservation(1, rate=7)),
        Change(reservation(1, rate=7), reservation(1, rate=8)),
        Change(reservation(1, rate=7), None),
        Change(reservation(9), None),
        Change(reservation(9), reservation(9, rate=8)),
        Change(None, Fact("huge", "\ud800")),
        Change(None, reservation(3, rate=2**63)),
        Change(None, reservation(3, rate=-1)),
        Change(None, dataclasses.replace(FULL, back=-1)),
        Change(None, dataclasses.replace(FULL, back=2**63)),
        Change(None, dataclasses.replace(FULL, why="\ud800")),
        Change(None, Pact(b"1", PEER, None, dataclasses.replace(FULL, rate=-1), NOW)),
        Change(None, Cap("a", "wan", -1, False)),
    ],
)
def test_a_change_that_does_not_fit_the_disk_undoes_all_of_its_commit(tmp_path, wrong):
    with Store.open(tmp_path, now=NOW) as store:
        store.commit(made(reservation(1)))
        with pytest.raises(StoreFailed) as raised:
            store.commit((*made(reservation(2)), wrong))
        assert cause(raised) == Cause.MISMATCH
        assert store.load() == [reservation(1)]
        store.commit(made(reservation(2)))
    with Store.open(tmp_path, now=NOW) as store:
        assert store.load() == [reservation(1), reservation(2)]


def test_a_closed_store_says_so(tmp_path):
    store = Store.open(tmp_path, now=NOW)
    store.close()
    store.close()
    for call in (store.load, lambda: store.commit(made(reservation(1)))):
        with pytest.raises(StoreFailed) as raised:
            call()
        assert cause(raised) == Cause.CLOSED


def test_a_closed_store_is_one_file_with_everything(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        put(store, some())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["asa.db", "initialised", "lock"]


def test_commits_from_many_threads_are_all_there(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        threads = [
            threading.Thread(
                target=lambda base=base: [store.commit(made(reservation(base * 100 + each))) for each in range(25)]
            )
            for base in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(store.load()) == 200


def test_another_program_that_writes_delays_a_commit_and_does_not_break_it(tmp_path, monkeypatch):
    monkeypatch.setattr("asa.store.opening.BUSY_S", 0.1)
    with Store.open(tmp_path, now=NOW) as store:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed) as raised:
            store.commit(made(reservation(1)))
        assert cause(raised) == Cause.BUSY
        other.execute("ROLLBACK")
        other.close()
        store.commit(made(reservation(1)))
        assert store.load() == [reservation(1)]


def test_a_second_agent_in_the_same_process_is_locked_out(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        for call in (lambda: Store.open(tmp_path, now=NOW), lambda: Store.create_from(tmp_path, [], now=NOW)):
            with pytest.raises(StoreLocked) as raised:
                call()
            assert raised.value.details["pid"] == os.getpid()
        store.commit(made(reservation(1)))
    Store.open(tmp_path, now=NOW).close()


def test_an_agent_in_another_process_locks_out_until_it_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.crashing", tmp_path], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert process.stdout.readline() == b"0\n"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreLocked, match=f"process {process.pid}"):
            Store.open(tmp_path, now=NOW)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with Store.open(tmp_path, now=NOW) as store:
        assert len(store.load()) >= 4


def test_a_program_started_by_the_agent_does_not_keep_the_lock(tmp_path):
    with Store.open(tmp_path, now=NOW):
        sleeping = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        Store.open(tmp_path, now=NOW).close()
    finally:
        sleeping.kill()
        sleeping.wait()


def test_what_is_committed_survives_a_process_that_just_ends(tmp_path):
    def work():
        store = Store.open(tmp_path, now=NOW)
        for number in range(-1, 50):
            store.commit((counted(number),))

    assert child(work) == 0
    assert (tmp_path / "asa.db-wal").stat().st_size > 0
    with Store.open(tmp_path, now=NOW) as store:
        assert store.load() == [Fact("count", "50")]


def test_a_store_begun_from_records_has_them_and_is_never_made_over_another(tmp_path):
    with Store.create_from(tmp_path, some(), now=NOW) as store:
        assert store.load() == some()
    with pytest.raises(Conflict):
        Store.create_from(tmp_path, [], now=NOW)
    (tmp_path / "asa.db").rename(tmp_path / "away")
    with pytest.raises(Conflict):
        Store.create_from(tmp_path, [], now=NOW)
    (tmp_path / "away").rename(tmp_path / "asa.db")
    with Store.open(tmp_path, now=NOW) as store:
        assert store.load() == some()


def test_a_directory_that_cannot_be_made_is_a_store_failure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed) as raised:
        Store.open(tmp_path / "file" / "state", now=NOW)
    assert cause(raised) == Cause.IO_ERROR


def test_loading_leaves_the_garbage_collector_as_it_was(tmp_path):
    with Store.open(tmp_path, now=NOW) as store:
        store.load()
        assert gc.isenabled()
        gc.disable()
        try:
            store.load()
            assert not gc.isenabled()
        finally:
            gc.enable()


def test_a_hundred_thousand_reservations_load_within_five_seconds(tmp_path: Path):
    records = [reservation(number) for number in range(100_000)]
    Store.create_from(tmp_path, records, now=NOW).close()
    # Of the processor: whatever else runs here takes none of them.
    begun = time.process_time()
    with Store.open(tmp_path, now=NOW) as store:
        assert store.load() == records
    assert time.process_time() - begun < 5
