from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import subprocess

import pytest

from asa.errors import StoreDamaged, StoreFailed
from asa.records import Fact, made
from asa.store import Cause, Store
from tests.store.crashing import child
from tests.store.examples import NOW, counted, put, reservation, some
from tests.store.test_migrations import LATER, loaded_later


def cause(raised):
    return raised.value.details["cause"]


def fill(path):
    """Leave no byte free beside ``path``; returns the file to remove."""
    ballast = path / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                pass
    return ballast


def test_a_full_disk_refuses_commits_and_loses_nothing_then_takes_them_again(mount):
    path = mount("size=2m")
    with Store.open(path / "state", now=NOW) as store:
        put(store, some())
        for _ in range(3):
            ballast = fill(path)
            refused = 0
            number = max((int(each.id[2:]) for each in store.load() if hasattr(each, "id")), default=0) + 1
            # The log reuses what it has, until it would have to grow.
            while not refused:
                assert number < 20_000
                before = store.load()
                try:
                    store.commit(made(reservation(number), reservation(number + 1)))
                except StoreFailed as error:
                    assert error.details["cause"] == Cause.DISK_FULL  # noqa: PT017 - which one fails is not known
                    refused += 1
                    assert store.load() == before
                number += 2
            for _ in range(5):
                with pytest.raises(StoreFailed) as raised:
                    store.commit(made(reservation(number)))
                assert cause(raised) == Cause.DISK_FULL
            ballast.unlink()
            store.commit(made(reservation(number)))
            assert len(store.load()) == len(before) + 1
        expected = store.load()
    with Store.open(path / "state", now=NOW) as store:
        assert store.load() == expected


def test_what_a_full_disk_refused_does_not_come_back_after_a_crash(mount):
    path = mount("size=1m")

    def work():
        store = Store.open(path / "state", now=NOW)
        store.commit((counted(-1),))
        number = 0
        fill(path)
        try:
            while True:
                store.commit((counted(number), *made(reservation(number))))
                number += 1
        except StoreFailed:
            (path / "ballast").unlink()
            (path / "said").write_text(str(number))

    assert child(work) == 0
    number = int((path / "said").read_text())
    with Store.open(path / "state", now=NOW) as store:
        assert store.load() == [*[reservation(each) for each in range(number)], Fact("count", str(number))]


def test_a_first_start_on_a_full_disk_fails_and_the_next_one_succeeds(mount):
    path = mount("size=1m")
    ballast = fill(path)
    for _ in range(2):
        with pytest.raises(StoreFailed) as raised:
            Store.open(path / "state", now=NOW)
        assert cause(raised) == Cause.DISK_FULL
    ballast.unlink()
    with Store.open(path / "state", now=NOW) as store:
        put(store, some())


@pytest.mark.parametrize("room", [0, 4096, 16384, 40960, 65536, 98304, 131072])
def test_a_start_that_runs_out_of_room_is_no_damage_and_loses_nothing(mount, room):
    path = mount("size=1m")
    Store.create_from(path / "state", some(), now=NOW).close()
    ballast = fill(path)
    os.truncate(ballast, ballast.stat().st_size - room)
    try:
        Store.open(path / "state", now=NOW, schema=LATER).close()
    except StoreFailed as error:
        assert error.details["cause"] in (Cause.DISK_FULL, Cause.IO_ERROR)  # noqa: PT017 - with much room it succeeds
    ballast.unlink()
    with Store.open(path / "state", now=NOW, schema=LATER) as store:
        assert store.load() == loaded_later(some())


def test_damage_on_a_full_disk_is_reported_at_every_start_and_left_in_place(mount):
    path = mount("size=1m")
    Store.create_from(path / "state", some(), now=NOW).close()
    (path / "state" / "asa.db").write_bytes(b"garbage" * 1000)
    ballast = fill(path)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="could not be set aside"):
            Store.open(path / "state", now=NOW)
        assert (path / "state" / "asa.db").read_bytes() == b"garbage" * 1000
    ballast.unlink()
    with pytest.raises(StoreDamaged, match="was set aside"):
        Store.open(path / "state", now=NOW)


def test_a_read_only_disk_is_refused_and_nothing_is_changed(mount):
    path = mount("size=1m")
    Store.create_from(path / "state", some(), now=NOW).close()
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
    with pytest.raises(StoreFailed) as raised:
        Store.open(path / "state", now=NOW)
    assert cause(raised) == Cause.READ_ONLY
    with pytest.raises(StoreFailed) as raised:
        Store.open(path / "new", now=NOW)
    assert cause(raised) == Cause.READ_ONLY
    subprocess.run(["mount", "-o", "remount,rw", path], check=True)
    with Store.open(path / "state", now=NOW) as store:
        assert store.load() == some()


def test_a_write_that_the_kernel_refuses_undoes_the_commit_and_the_next_may_succeed(tmp_path):
    def work():
        store = Store.open(tmp_path, now=NOW)
        store.commit((counted(-1),))
        limit = os.stat(tmp_path / "asa.db-wal").st_size + 5000
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        for _ in range(3):
            with pytest.raises(StoreFailed) as raised:
                store.commit((counted(0), *made(reservation(1))))
            assert cause(raised) in (Cause.IO_ERROR, Cause.DISK_FULL)
            assert store.load() == [Fact("count", "0")]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        store.commit((counted(0),))
        assert store.load() == [Fact("count", "1")]

    assert child(work) == 0
    with Store.open(tmp_path, now=NOW) as store:
        assert store.load() == [Fact("count", "1")]


# -- a disk that does not sync

_NUMBERS = {"x86_64": (75, 74), "aarch64": (83, 82)}
"""fdatasync and fsync."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse_to_sync():
    """From now on fsync and fdatasync fail with EIO in this process (seccomp(2)), for ever."""
    libc = ctypes.CDLL(None, use_errno=True)
    fdatasync, fsync = _NUMBERS[platform.machine()]
    load, equal, give = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0), (equal, 2, 0, fdatasync), (equal, 1, 0, fsync), (give, 0, 0, 0x7FFF0000)]
    steps.append((give, 0, 0, 0x00050000 | 5))
    program = _Program(len(steps), b"".join(struct.pack("HBBI", *each) for each in steps))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.skipif(platform.machine() not in _NUMBERS, reason="the numbers of the system calls are not known")
def test_a_commit_that_cannot_be_synced_is_not_made(tmp_path):
    def work():
        store = Store.open(tmp_path, now=NOW)
        store.commit((counted(-1),))
        refuse_to_sync()
        for _ in range(3):
            with pytest.raises(StoreFailed) as raised:
                store.commit((counted(0), *made(reservation(1))))
            assert cause(raised) == Cause.IO_ERROR
            assert store.load() == [Fact("count", "0")]

    assert child(work) == 0
    with Store.open(tmp_path, now=NOW) as store:
        # The attempts to settle wrote over the frames of the commit, though they were not synced either.
        assert store.load() == [Fact("count", "0")]
        store.commit((counted(0), *made(reservation(1))))
