"""Token buckets against exact arithmetic, and the intervals of a back-off."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.rates import TokenBucket, backoff

_CASES = settings(max_examples=100, deadline=None)
# Eighths of a second and powers of two are exact in binary, so the model's arithmetic is the bucket's.
MOMENTS = st.lists(st.integers(0, 12), min_size=1, max_size=60).map(
    lambda gaps: [sum(gaps[: at + 1]) / 8 for at in range(len(gaps))]
)


@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 6), MOMENTS)
@_CASES
def test_an_event_is_allowed_exactly_when_the_bucket_holds_a_token(rate: int, burst: int, moments: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    level, then = Fraction(burst), Fraction(0)
    for moment in moments:
        level = min(Fraction(burst), level + (Fraction(moment) - then) * rate)
        then = Fraction(moment)
        assert bucket.take(moment) is (level >= 1)
        if level >= 1:
            level -= 1


@given(st.integers(1, 200), st.integers(1, 20), MOMENTS)
@_CASES
def test_in_no_interval_are_there_more_events_than_burst_and_rate_allow(
    rate: int, burst: int, moments: list[float]
) -> None:
    bucket = TokenBucket(rate, burst)
    taken = [moment for moment in moments for _ in range(30) if bucket.take(moment)]
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * rate + 1e-6


@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 3), MOMENTS)
@_CASES
def test_the_delay_is_the_time_until_the_next_event_is_allowed(rate: int, burst: int, moments: list[float]) -> None:
    for moment in moments:
        early, in_time = TokenBucket(rate, burst), TokenBucket(rate, burst)
        for bucket in (early, in_time):
            while bucket.take(moment):
                pass
        delay = early.delay(moment)
        assert delay == in_time.delay(moment) == pytest.approx(1 / rate)
        assert not early.take(moment + delay - 1 / 64)
        assert in_time.take(moment + delay)


def test_a_bucket_begins_full_and_does_not_wait_while_it_holds_a_token() -> None:
    bucket = TokenBucket(2, 3)
    assert bucket.delay(1000.0) == 0
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(5000.0) for _ in range(4)] == [True, True, True, False]


def test_intervals_double_up_to_the_longest() -> None:
    assert list(islice(backoff(0.5, 10.0, lambda: 0.0), 8)) == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_jitter_lengthens_an_interval_by_less_than_a_quarter_and_does_not_add_up() -> None:
    jitter = iter([0.0, 0.5, 0.999, 0.0, 0.5])
    assert list(islice(backoff(1.0, 4.0, lambda: next(jitter)), 5)) == [1.0, 2.25, pytest.approx(4.999), 4.0, 4.5]


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=12, max_size=12))
@_CASES
def test_no_jitter_makes_an_interval_shorter_than_the_one_before_until_the_longest(jitter: list[float]) -> None:
    source = iter(jitter)
    found = list(islice(backoff(1.0, 64.0, lambda: next(source)), 12))
    assert found[:7] == sorted(found[:7])
    assert all(64 <= each <= 80 for each in found[6:])
