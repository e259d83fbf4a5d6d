"""Which connections are kept for another session, and for how long. Times are seconds of no clock."""

from __future__ import annotations

from ipaddress import IPv6Address

from grasp.limits import Limits
from grasp.member import Member
from grasp.transport.kept import Kept

HERE = IPv6Address("fd00::1")


class Line:
    def __init__(self, number: int, name: str = "", peer: int = 0) -> None:
        self.number = number
        self.place = (HERE, peer, 0)
        self.member = Member(name, "", "", b"", 0)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def kept(**options: int) -> Kept[Line]:
    return Kept(Limits(**{"kept": 6, "kept_per_peer": 3, "kept_ms": 10_000, **options}))


def test_the_last_that_was_put_is_the_first_to_be_taken() -> None:
    pool, lines = kept(), [Line(number) for number in range(3)]
    for each in lines:
        assert pool.put(each, 0)
    assert [pool.take((HERE, 0, 0), "", 1) for _ in range(4)] == [*reversed(lines), None]
    assert not any(each.closed for each in lines)


def test_it_is_taken_for_the_place_and_the_member_it_leads_to() -> None:
    pool, line = kept(), Line(0, "rack-7", peer=7)
    pool.put(line, 0)
    assert pool.take((HERE, 8, 0), "", 1) is None
    assert pool.take((HERE, 7, 2), "", 1) is None
    assert pool.take((HERE, 7, 0), "rack-8", 1) is None
    assert pool.take((HERE, 7, 0), "rack-7", 1) is line


def test_the_oldest_to_a_peer_and_the_oldest_of_all_make_room() -> None:
    pool, lines = kept(), [Line(number) for number in range(5)]
    for each in lines:
        pool.put(each, 0)
    assert [each.closed for each in lines] == [1, 1, 0, 0, 0]
    others = [Line(number, peer=number) for number in range(10, 14)]
    for each in others:
        pool.put(each, 0)
    assert len(pool) == 6
    assert [each.closed for each in lines] == [1, 1, 1, 0, 0]
    assert not any(each.closed for each in others)


def test_they_grow_old() -> None:
    pool, old, young = kept(), Line(0), Line(1)
    pool.put(old, 0)
    pool.put(young, 6)
    pool.expire(9.9)
    assert (old.closed, young.closed) == (0, 0)
    pool.expire(10)
    assert (old.closed, young.closed) == (1, 0)
    # Not taken any more either, whether or not it was looked after.
    assert pool.take((HERE, 0, 0), "", 16) is None


def test_after_the_last_clearing_nothing_is_kept() -> None:
    pool, first, second, third = kept(), Line(0), Line(1), Line(2)
    pool.put(first, 0)
    pool.clear()
    assert first.closed == 1
    assert pool.put(second, 0)
    pool.clear(last=True)
    assert second.closed == 1
    assert not pool.put(third, 0)
    # It is still its owner's.
    assert third.closed == 0


def test_what_is_removed_is_the_callers_to_close() -> None:
    pool, line = kept(), Line(0)
    pool.put(line, 0)
    assert pool.remove(line)
    assert not pool.remove(line)
    assert line.closed == 0
    assert pool.take((HERE, 0, 0), "", 0) is None
