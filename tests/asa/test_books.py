"""One commit for many: all of it or none, and nobody sees what is not on disk."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from asa.books import GROUP, Books
from asa.errors import Conflict, Short, StoreFailed
from asa.ledger import Ledger
from asa.records import Change, Fact, Plan, made
from objectives import NodeId

ME = NodeId("me", "0" * 16)


class Disk:
    """A journal that can be made to block and to fail, and knows what is durable."""

    def __init__(self):
        self.durable = {}
        self.commits = []
        self.fails = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def commit(self, changes):
        self.entered.set()
        assert self.open.wait(30)
        if self.fails:
            raise self.fails.pop(0)
        self.commits.append(list(changes))
        for each in changes:
            assert self.durable.get(each.key) == each.before
            self.durable[each.key] = each.after


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def ledger():
    return Ledger(ME, 1_000)


def put(name, value="1"):
    def rule(ledger):
        fact = Fact(name, value)
        return Plan((Change(ledger.facts.get(name), fact),), value)

    return rule


def count(ledger):
    """A rule that counts itself: lost updates and double ones show."""
    old = ledger.facts.get("count")
    new = Fact("count", str(int(old.value) + 1 if old else 1))
    return Plan((Change(old, new),), int(new.value))


def waits(books, count_):
    """Until so many transactions wait for their turn."""
    deadline = time.monotonic() + 30
    while len(books._waiting) < count_:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def facts(books):
    return books.read(lambda ledger: {name: each.value for name, each in ledger.facts.items()})


class Volley:
    """Transactions of many threads that all wait while one is being committed, so that they share the next commit."""

    def __init__(self, books, disk):
        self.books, self.disk = books, disk
        self.pool = ThreadPoolExecutor(80)
        disk.open.clear()
        disk.entered.clear()
        self.first = self.pool.submit(books.transact, put("first"))
        assert disk.entered.wait(30)

    def submit(self, rule):
        before = len(self.books._waiting)
        future = self.pool.submit(self.books.transact, rule)
        waits(self.books, before + 1)
        return future

    def go(self):
        self.disk.open.set()
        self.pool.shutdown(wait=True)


def test_what_waits_together_is_committed_together_in_order(ledger, disk):
    books = Books(ledger, disk)
    volley = Volley(books, disk)
    found = [volley.submit(count) for _ in range(20)]
    volley.go()
    assert [each.result() for each in found] == list(range(1, 21))
    assert [len(each) for each in disk.commits] == [1, 20]
    assert disk.durable["count",] == Fact("count", "20")


def test_a_commit_has_at_most_so_many_transactions(ledger, disk):
    books = Books(ledger, disk)
    volley = Volley(books, disk)
    found = [volley.submit(count) for _ in range(GROUP + 6)]
    volley.go()
    assert sorted(each.result() for each in found) == list(range(1, GROUP + 7))
    assert [len(each) for each in disk.commits] == [1, GROUP, 6]


def test_a_reader_sees_nothing_that_is_not_durable(ledger, disk):
    books = Books(ledger, disk)
    disk.open.clear()
    with ThreadPoolExecutor(2) as pool:
        writer = pool.submit(books.transact, put("new"))
        assert disk.entered.wait(30)
        reader = pool.submit(facts, books)
        assert not reader.done()
        assert disk.durable == {}
        disk.open.set()
        assert writer.result() == "1"
        assert reader.result() == {"new": "1"}
        disk.fails = [StoreFailed("full")]
        with pytest.raises(StoreFailed):
            books.transact(put("more"))
        assert facts(books) == {"new": "1"}


def test_changes_are_told_when_they_are_durable_and_before_anybody_sees_them(ledger, disk):
    told = []
    books = Books(ledger, disk, on_changes=lambda changes: told.append((list(changes), dict(disk.durable))))
    assert books.transact(put("new")) == "1"
    ((changes, durable),) = told
    assert [each.after for each in changes] == [Fact("new", "1")]
    assert durable["new",] == Fact("new", "1")
    disk.fails = [StoreFailed("full")]
    with pytest.raises(StoreFailed):
        books.transact(put("more"))
    books.transact(lambda ledger: Plan((), None))
    assert len(told) == 1


def test_a_failure_undoes_all_of_a_commit_and_each_of_its_callers_is_told(ledger, disk):
    said = []
    books = Books(ledger, disk, said.append, lambda: said.append("works"))
    volley = Volley(books, disk)
    found = [volley.submit(each) for each in (count, put("other"), count)]
    disk.fails = [StoreFailed("disk full", hint="make room")]
    # The first commit is under way and fails with it; those behind it do not.
    volley.go()
    with pytest.raises(StoreFailed):
        volley.first.result()
    assert [each.result() for each in found] == [1, "1", 2]
    assert facts(books) == {"count": "2", "other": "1"}
    assert [getattr(each, "message", each) for each in said] == ["disk full", "works"]

    volley = Volley(books, disk)
    volley.disk.open.set()
    volley.first.result()
    volley.pool.shutdown()
    volley = Volley(books, disk)
    found = [volley.submit(each) for each in (count, put("other", "2"), count)]
    failing = disk.commit

    def commit(changes):
        if len(changes) > 1:
            raise StoreFailed("disk full", hint="make room")
        failing(changes)

    disk.commit = commit
    volley.go()
    for each in found:
        with pytest.raises(StoreFailed) as raised:
            each.result()
        assert raised.value.hint == "make room"
    assert len({id(each.exception()) for each in found}) == 3
    assert facts(books) == {"count": "2", "other": "1", "first": "1"}
    assert books.failed
    disk.commit = failing
    assert books.transact(count) == 3
    assert not books.failed
    assert said[-1] == "works"


def test_a_journal_that_raises_anything_at_all_has_failed(ledger, disk):
    books = Books(ledger, disk)
    disk.fails = [ZeroDivisionError("surprise")]
    with pytest.raises(StoreFailed, match="surprise"):
        books.transact(put("new"))
    assert facts(books) == {}
    assert books.failed


def test_a_rule_that_raises_is_its_callers_alone(ledger, disk):
    books = Books(ledger, disk)

    def bad(ledger):
        raise Conflict("no")

    def misfit(ledger):
        return Plan((*made(Fact("half", "1")), Change(Fact("nowhere", "1"), Fact("nowhere", "2"))), None)

    volley = Volley(books, disk)
    found = [volley.submit(each) for each in (count, bad, misfit, count)]
    volley.go()
    assert [each.result() for each in (found[0], found[3])] == [1, 2]
    with pytest.raises(Conflict):
        found[1].result()
    with pytest.raises(ValueError, match="is not what a change expects"):
        found[2].result()
    assert facts(books) == {"first": "1", "count": "2"}
    assert not books.failed


def test_a_decision_made_on_what_did_not_become_durable_is_made_again(ledger, disk):
    """A yes, or a no, that follows from another's change is worth nothing once that is undone."""
    books = Books(ledger, disk)

    def looks(ledger):
        return Plan((), "other" in ledger.facts)

    def refuses(ledger):
        if "other" in ledger.facts:
            raise Short("taken")
        return Plan((), "free")

    volley = Volley(books, disk)
    found = [volley.submit(each) for each in (put("other"), looks, refuses)]
    disk_commit = disk.commit

    def commit(changes):
        if any(each.key == ("other",) for each in changes):
            raise StoreFailed("disk full")
        disk_commit(changes)

    disk.commit = commit
    volley.go()
    with pytest.raises(StoreFailed):
        found[0].result()
    assert found[1].result() is False
    assert found[2].result() == "free"


def test_a_rule_without_changes_needs_no_commit(ledger, disk):
    books = Books(ledger, disk)
    assert books.transact(lambda ledger: Plan((), "nothing")) == "nothing"
    assert disk.commits == []


def test_many_threads_lose_no_transaction_while_the_disk_fails_now_and_then(ledger, disk):
    books = Books(ledger, disk)
    tries, done, failed = 400, [], []
    lock = threading.Lock()
    plain = disk.commit
    calls = iter(range(10**6))

    def commit(changes):
        if next(calls) % 3 == 0:
            raise StoreFailed("now and then")
        plain(changes)

    disk.commit = commit

    def work(_):
        try:
            number = books.transact(count)
        except StoreFailed:
            with lock:
                failed.append(1)
        else:
            with lock:
                done.append(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(tries)))
    assert sorted(done) == list(range(1, len(done) + 1))
    assert len(done) + len(failed) == tries
    assert disk.durable["count",] == Fact("count", str(len(done)))
    assert failed
