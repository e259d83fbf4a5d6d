from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from asa.errors import AsaError, Conflict, StoreDamaged, StoreFailed
from asa.records import Fact, made, removed
from asa.store import Cause, Store, salvage
from asa.store.rows import seal
from tests.store.crashing import child
from tests.store.examples import NOW, counted, put, reservation, some

FLIPS = 400


@pytest.fixture
def state(tmp_path):
    """A store of a few records, closed."""
    Store.create_from(tmp_path / "state", some(), now=NOW).close()
    return tmp_path / "state"


@pytest.fixture
def killed(tmp_path):
    """A store whose process ended without closing it: some records in the database, more in the log."""

    def work():
        store = Store.open(tmp_path / "killed", now=NOW)
        for number in range(-1, 20):
            store.commit((counted(number), *made(reservation(100 + number))))

    Store.create_from(tmp_path / "killed", some(), now=NOW).close()
    assert child(work) == 0
    return tmp_path / "killed"


KILLED = [
    *[each for each in some() if type(each) is not Fact],
    *[reservation(100 + number) for number in range(-1, 20)],
    Fact("count", "20"),
    *[each for each in some() if type(each) is Fact],
]


def same(loaded, expected):
    return len(loaded) == len(expected) and all(each in loaded for each in expected)


def refused_twice(directory, match):
    """Where it was set aside; the second start must not take the empty place for a new agent's."""
    for later in range(2):
        with pytest.raises(StoreDamaged, match=match) as raised:
            Store.open(directory, now=NOW + later)
    assert not (directory / "asa.db").exists()
    assert raised.value.hint
    assert json.loads((directory / "damaged.json").read_text())["moved"] is True
    return raised.value.details["aside"]


def test_garbage_is_set_aside_as_it_is(state):
    (state / "asa.db").write_bytes(b"garbage" * 5000)
    aside = refused_twice(state, "no SQLite database")
    assert aside == "asa.db.damaged-20270115T080000Z"
    assert (state / aside).read_bytes() == b"garbage" * 5000


def test_an_empty_file_is_damage(state):
    (state / "asa.db").write_bytes(b"")
    refused_twice(state, "it is empty")


def test_a_few_bytes_are_damage(state):
    (state / "asa.db").write_bytes(b"SQLite format 3\0")
    refused_twice(state, "it is cut off")


def test_a_file_cut_off_in_a_page_is_damage(state):
    content = (state / "asa.db").read_bytes()
    (state / "asa.db").write_bytes(content[:-6000])
    aside = refused_twice(state, "malformed")
    assert (state / aside).read_bytes() == content[:-6000]


def test_a_missing_file_is_damage_and_no_fresh_start(state):
    (state / "asa.db").unlink()
    assert refused_twice(state, "missing") is None
    assert salvage(state, NOW).records == []
    assert salvage(state, NOW).lost


def test_a_missing_file_takes_its_log_aside(killed):
    log = (killed / "asa.db-wal").read_bytes()
    (killed / "asa.db").unlink()
    aside = refused_twice(killed, "missing")
    assert (killed / f"{aside}-wal").read_bytes() == log


@pytest.mark.parametrize("trace", ["asa.db-wal", "asa.db.before-2", "asa.db.damaged-20270115T080000Z"])
def test_traces_of_a_database_are_enough_to_miss_it(tmp_path, trace):
    (tmp_path / trace).write_bytes(b"x")
    refused_twice(tmp_path, "missing")


def test_a_killed_store_goes_on_with_its_log(killed):
    with Store.open(killed, now=NOW) as store:
        assert same(store.load(), KILLED)


def test_a_missing_log_is_damage(killed):
    (killed / "asa.db-wal").unlink()
    refused_twice(killed, "the last 21 of 21 transactions are missing")
    salvaged = salvage(killed, NOW)
    assert same(salvaged.records, some())
    assert salvaged.lost == ["the latest transactions, 21 of 21"]


def test_a_log_that_an_operator_folded_in_is_none(killed):
    connection = sqlite3.connect(killed / "asa.db")
    assert connection.execute("SELECT count(*) FROM reservations").fetchone() == (30,)
    connection.close()
    assert not (killed / "asa.db-wal").exists()
    with Store.open(killed, now=NOW) as store:
        assert same(store.load(), KILLED)


def test_an_old_copy_put_in_place_unasked_is_damage_and_by_decision_is_not(state, tmp_path):
    shutil.copy(state / "asa.db", tmp_path / "copy")
    with Store.open(state, now=NOW) as store:
        store.commit(made(reservation(100)))
    shutil.copy(tmp_path / "copy", state / "asa.db")
    refused_twice(state, "the last 1 of 1 transactions are missing")

    shutil.copy(tmp_path / "copy", state / "asa.db")
    with pytest.raises(StoreDamaged) as raised:
        Store.open(state, now=NOW)
    assert "is there again" in raised.value.hint
    (state / "damaged.json").unlink()
    with Store.open(state, now=NOW) as store:
        assert store.load() == some()
        store.commit(made(reservation(100)))


def test_a_row_changed_by_another_is_damage_with_its_table_and_key(state):
    connection = sqlite3.connect(state / "asa.db")
    connection.execute("UPDATE held SET high = high + 1 WHERE low = 3000000000")
    connection.commit()
    connection.close()
    store = Store.open(state, now=NOW)
    with pytest.raises(StoreDamaged, match=r"held \('wan', 3000000000, 0\): the row does not fit its seal"):
        store.load()
    with pytest.raises(StoreFailed) as raised:
        store.commit(made(reservation(100)))
    assert raised.value.details["cause"] == Cause.CLOSED
    refused_twice(state, "held")
    salvaged = salvage(state, NOW)
    assert same(salvaged.records, [each for each in some() if each.key != ("wan", 3 * 10**9, 0)])
    assert len(salvaged.lost) == 1
    assert salvaged.lost[0].startswith("held: ")


def test_a_row_that_is_sealed_and_makes_no_record_is_damage(state):
    connection = sqlite3.connect(state / "asa.db")
    row = (b"\x09" * 16, "wan", "hv#0011223344556677", "[[5,4,0,null]]", "escrow", 1, 0)
    connection.execute("INSERT INTO given VALUES (?,?,?,?,?,?,?,?)", (*row[:-1], seal("given", row), row[-1]))
    connection.commit()
    connection.close()
    store = Store.open(state, now=NOW)
    with pytest.raises(StoreDamaged, match=r"given .*a block's range"):
        store.load()


def test_a_changed_table_is_damage(state):
    connection = sqlite3.connect(state / "asa.db")
    connection.execute("ALTER TABLE facts RENAME TO lies")
    connection.commit()
    connection.close()
    refused_twice(state, "the table facts is not as it was made")


def test_two_set_aside_in_one_second_do_not_meet(state):
    for _ in range(3):
        (state / "asa.db").write_bytes(b"garbage")
        (state / "damaged.json").unlink(missing_ok=True)
        with pytest.raises(StoreDamaged):
            Store.open(state, now=NOW)
    assert len(list(state.glob("asa.db.damaged-*"))) == 3


def test_a_marker_that_cannot_be_read_counts(state):
    (state / "damaged.json").write_text("{")
    with pytest.raises(StoreDamaged, match="cannot be read"):
        Store.open(state, now=NOW)
    assert (state / "asa.db").exists()


def test_there_is_nothing_to_salvage_without_damage(state):
    with pytest.raises(Conflict):
        salvage(state, NOW)


def test_salvaged_records_begin_a_new_database_once(state):
    with open(state / "asa.db", "r+b") as file:
        file.truncate(file.seek(0, 2) - 6000)
    refused_twice(state, "malformed")
    salvaged = salvage(state, NOW)
    assert 0 < len(salvaged.records) < len(some())
    with Store.create_from(state, salvaged.records, now=NOW) as store:
        assert store.load() == salvaged.records
        store.commit(made(reservation(100)))
    with Store.open(state, now=NOW) as store:
        assert len(store.load()) == len(salvaged.records) + 1
    with pytest.raises(Conflict):
        salvage(state, NOW)


def test_everything_is_salvaged_but_the_damaged_page(tmp_path):
    state = tmp_path / "state"
    many = [reservation(number) for number in range(5000)]
    Store.create_from(state, many, now=NOW).close()
    content = bytearray((state / "asa.db").read_bytes())
    page = content.index(b"r-00002500") // 4096
    content[page * 4096 : page * 4096 + 4096] = bytes(4096)
    (state / "asa.db").write_bytes(content)
    refused_twice(state, "malformed")
    salvaged = salvage(state, NOW)
    assert 4900 < len(salvaged.records) < 5000
    assert set(salvaged.records) < set(many)
    assert any(each.startswith(f"reservations: page {page + 1} ") for each in salvaged.lost)


@pytest.mark.parametrize("what", ["zeros", "noise"])
def test_everything_is_salvaged_from_a_database_without_its_first_page(killed, what):
    Store.open(killed, now=NOW).close()
    with open(killed / "asa.db", "r+b") as file:
        file.write(bytes(4096) if what == "zeros" else random.Random(1).randbytes(4096))
    refused_twice(killed, "no SQLite database")
    assert same(salvage(killed, NOW).records, KILLED)


def test_settled_transfers_do_not_come_back_from_free_pages(tmp_path):
    state = tmp_path / "state"
    with Store.open(state, now=NOW) as store:
        put(store, [reservation(number) for number in range(500)])
        for each in store.load():
            store.commit(made(Fact(f"after-{each.id}", "")))
        store.commit(removed([each for each in store.load() if type(each) is not Fact]))
    with open(state / "asa.db", "r+b") as file:
        file.write(bytes(4096))
    refused_twice(state, "no SQLite database")
    assert {type(each) for each in salvage(state, NOW).records} == {Fact}


def test_a_file_cut_off_anywhere_is_found_or_lacks_nothing(state, tmp_path):
    size = (state / "asa.db").stat().st_size
    chance = random.Random(3)
    for number in range(60):
        copy = shutil.copytree(state, tmp_path / f"cut-{number}")
        os.truncate(copy / "asa.db", size - 1 - chance.randrange(size if number % 2 else 300))
        try:
            with Store.open(copy, now=NOW) as store:
                assert store.load() == some()
        except StoreDamaged:
            assert len(list(copy.glob("asa.db.damaged-*Z"))) == 1


def flipped(directory: Path, name: str, chance: random.Random) -> None:
    with open(directory / name, "r+b") as file:
        size = file.seek(0, 2)
        # The first bytes say most, and zeros least.
        for _ in range(20):
            place = chance.randrange(100) if chance.random() < 0.15 else chance.randrange(size)
            file.seek(place)
            byte = file.read(1)[0]
            if byte:
                break
        file.seek(place)
        file.write(bytes([byte ^ 1 << chance.randrange(8)]))


@pytest.mark.parametrize("name", ["asa.db", "asa.db-wal"])
def test_a_flipped_bit_is_found_or_does_no_harm_and_salvage_makes_nothing_up(killed, name):
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else killed.parent
    chance = random.Random(name)
    found = 0
    for _ in range(FLIPS):
        with tempfile.TemporaryDirectory(prefix="asa-", dir=memory) as base:
            copy = shutil.copytree(killed, Path(base, "copy"))
            flipped(copy, name, chance)
            try:
                with Store.open(copy, now=NOW) as store:
                    assert same(store.load(), KILLED)
            except AsaError as error:
                found += 1
                if isinstance(error, StoreDamaged):
                    salvaged = salvage(copy, NOW)
                    if not same(salvaged.records, KILLED):
                        assert salvaged.lost
                    # What is older was acknowledged too; only if it says so may the count be behind.
                    assert all(each in KILLED or type(each) is Fact for each in salvaged.records)
    assert found > FLIPS // 20
