"""The table of what was seen, against a list that is searched from end to end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grasp.seen import SeenTable


def test_a_key_is_new_once_in_its_lifetime() -> None:
    table = SeenTable(10, 5.0)
    assert table.add(100.0, "a")
    assert not table.add(100.0, "a")
    assert not table.add(104.999, "a")
    assert table.add(105.0, "a")
    assert not table.add(109.0, "a")


def test_being_seen_again_does_not_prolong_the_lifetime() -> None:
    table = SeenTable(10, 5.0)
    table.add(0.0, "a")
    table.add(4.0, "a")
    assert table.add(5.0, "a")


def test_at_the_bound_the_oldest_makes_room() -> None:
    table = SeenTable(2, 100.0)
    for now, key in enumerate("abc"):
        assert table.add(float(now), key)
    assert len(table) == 2
    assert not table.add(3.0, "b")
    assert not table.add(3.0, "c")
    assert table.add(3.0, "a")


def test_what_has_expired_does_not_take_up_room() -> None:
    table = SeenTable(1000, 1.0)
    for now in range(100):
        table.add(float(now), now)
    assert len(table) == 1


class Seen(RuleBasedStateMachine):
    LIMIT, LIFETIME = 4, 8

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.table = SeenTable(self.LIMIT, float(self.LIFETIME))
        self.model: list[tuple[int, int]] = []

    @rule(seconds=st.integers(0, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(key=st.integers(0, 7))
    def add(self, key: int) -> None:
        self.model = [(each, until) for each, until in self.model if until > self.now]
        known = any(each == key for each, _ in self.model)
        assert self.table.add(float(self.now), key) is not known
        if not known:
            self.model = [*self.model, (key, self.now + self.LIFETIME)][-self.LIMIT :]
        assert len(self.table) <= self.LIMIT

    @invariant()
    def nothing_is_forgotten_before_its_time(self) -> None:
        assert all(key in self.table for key, until in self.model if until > self.now)

    @invariant()
    def nothing_is_known_that_never_came(self) -> None:
        assert 8 not in self.table
        assert len(self.table) <= self.LIMIT


Seen.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_table_behaves_like_a_list = Seen.TestCase
