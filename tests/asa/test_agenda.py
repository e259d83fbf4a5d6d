"""When reservations are looked at again, against a list that is searched as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asa.agenda import AFTER_S, SPARE, Agenda, ends_by_itself, next_instant, to_refresh
from objectives import Window

LIFE, LEAD = 300, 5
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "due"]), st.integers(0, 5), st.integers(0, 50)), max_size=80
)


@given(STEPS)
def test_an_agenda_is_a_sorted_list_of_the_last_instant_of_each(steps: list[tuple[str, int, int]]) -> None:
    agenda, known = Agenda(), dict[str, int]()
    for what, which, at in steps:
        name = f"r{which}"
        if what == "put":
            agenda.put(name, at)
            known[name] = at
        elif what == "remove":
            agenda.remove(name)
            known.pop(name, None)
        else:
            expected = sorted((when, each) for each, when in known.items() if when <= at)[:2]
            assert agenda.due(at, 2) == [each for _, each in expected]
            for _, each in expected:
                del known[each]
        assert agenda.next() == min(known.values(), default=None)
        assert len(agenda) == len(known)


def test_what_was_put_off_again_and_again_does_not_pile_up() -> None:
    agenda = Agenda()
    for at in range(10_000):
        agenda.put("r", at)
    assert len(agenda._heap) <= SPARE + 3
    assert agenda.due(9_998, 10) == []
    assert agenda.due(9_999, 10) == ["r"]
    agenda.put("r", 1)
    agenda.clear()
    assert agenda.next() is None


def test_a_rule_ends_a_little_after_its_window_or_with_its_life() -> None:
    assert ends_by_itself(Window(0, None), 1_000, LIFE) == 1_300
    assert ends_by_itself(Window(0, 1_100), 1_000, LIFE) == 1_100 + AFTER_S
    assert ends_by_itself(Window(0, 5_000), 1_000, LIFE) == 1_300


@given(st.integers(1_000, 10**6), st.integers(30, 64_800))
def test_a_rule_is_refreshed_before_the_half_of_its_life_is_over_and_not_long_before(made: int, life: int) -> None:
    at = to_refresh(made + life, life)
    assert made < made + life // 4 <= at <= made + (life + 1) // 2


@given(st.integers(0, 400), st.one_of(st.none(), st.integers(1, 400)), st.integers(0, 900))
def test_a_life_goes_from_instant_to_instant(start: int, length: int | None, now: int) -> None:
    window = Window(start, None if length is None else start + length)
    at = next_instant(window, now, LEAD, LIFE)
    if window.passed(now):
        assert at is None
    elif now < start - LEAD:
        assert at == start - LEAD
    elif now < start:
        assert at == start
    else:
        assert at == window.end
    expires = ends_by_itself(window, now, LIFE)
    again = next_instant(window, now, LEAD, LIFE, expires)
    if not window.passed(now) and now >= start:
        assert again is not None
        assert now < again <= expires
        assert window.end is None or again <= window.end


def test_who_comes_too_late_to_refresh_does_it_at_once() -> None:
    assert next_instant(Window(0, None), 1_000, LEAD, LIFE, 1_010) == 1_001
