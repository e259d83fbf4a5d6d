"""Verdicts at the edges of each rule."""

from __future__ import annotations

from itertools import pairwise

import pytest

from asa.dataplane.backend import Counters
from asa.dataplane.plan import Share
from asa.dataplane.proof import LONG_QUEUE, Verdict, judged
from asa.errors import BadRequest

SHARE = Share(1_000_000, 2_000_000)
KEPT, IDLE, EXCEEDED, STARVED = Verdict.KEPT, Verdict.IDLE, Verdict.EXCEEDED, Verdict.STARVED


def counters(rate: int = 0, seconds: float = 10.0, **more: int) -> Counters:
    values = {"bytes": int(rate * seconds / 8), "packets": 0, "dropped": 0, "borrowed": 0, "backlog": 0}
    return Counters(**values | more)


def verdict(rate: int, queue: int = 0, **more: int) -> Verdict:
    """Of ten seconds behind counts that did not begin at 0."""
    before = counters(backlog=queue)
    after = counters(rate, **more)
    return judged(before, after, 10.0, SHARE).verdict


@pytest.mark.parametrize(
    ("rate", "more", "expected"),
    [
        (0, {}, IDLE),
        (9_999, {}, IDLE),
        (10_000, {}, KEPT),
        (899_999, {}, KEPT),
        (2_000_000, {}, KEPT),
        # Held up by others.
        (899_992, {"dropped": 1}, STARVED),
        (900_000, {"dropped": 1}, KEPT),
        (0, {"dropped": 1}, STARVED),
        (0, {"backlog": LONG_QUEUE}, STARVED),
        (500_000, {"backlog": LONG_QUEUE}, STARVED),
        (500_000, {"backlog": LONG_QUEUE - 1}, KEPT),
        (0, {"backlog": LONG_QUEUE - 1}, IDLE),
        # Held up by its own ceiling: a transfer of a part of the interval, unless it waited all along.
        (500_000, {"dropped": 9, "overlimits": 40}, KEPT),
        (500_000, {"dropped": 9, "overlimits": 40, "backlog": LONG_QUEUE}, KEPT),
        (500_000, {"dropped": 9, "overlimits": 40, "backlog": LONG_QUEUE, "queue": LONG_QUEUE}, STARVED),
        (500_000, {"dropped": 9, "overlimits": 40, "backlog": LONG_QUEUE, "queue": LONG_QUEUE - 1}, KEPT),
        (500_000, {"overlimits": 40, "backlog": LONG_QUEUE, "queue": LONG_QUEUE}, STARVED),
        # At its ceiling.
        (1_900_000, {"overlimits": 1}, EXCEEDED),
        (1_900_000, {"dropped": 1}, EXCEEDED),
        (1_900_000, {"backlog": LONG_QUEUE}, KEPT),
        (1_899_992, {"overlimits": 1, "dropped": 1}, KEPT),
        (2_100_000, {"overlimits": 1}, EXCEEDED),
    ],
)
def test_the_verdict_of_an_interval(rate: int, more: dict[str, int], expected: Verdict) -> None:
    assert verdict(rate, **more) is expected


def test_of_a_share_without_borrowing_who_fills_it_is_at_its_ceiling() -> None:
    found = judged(counters(), counters(950_000, overlimits=3), 10.0, Share(1_000_000, 1_000_000))
    assert found.verdict is EXCEEDED


def test_what_is_told_is_of_the_interval_and_the_total_since_the_class_was_made() -> None:
    before = Counters(1_000, 10, 1, 5, 99_000, 7)
    after = Counters(2_001_000, 2_010, 3, 25, 64, 7)
    found = judged(before, after, 8.0, SHARE)
    assert (found.seconds, found.rate, found.bytes, found.packets) == (8.0, 2_000_000, 2_000_000, 2_000)
    assert (found.dropped, found.borrowed, found.backlog, found.total) == (2, 20, 64, after)
    assert found.verdict is EXCEEDED


@pytest.mark.parametrize("counted", ["bytes", "packets", "dropped"])
def test_a_class_that_was_made_anew_counts_from_0(counted: str) -> None:
    before = Counters(
        **{"bytes": 5, "packets": 5, "dropped": 0, "borrowed": 9, "backlog": 0, "overlimits": 9} | {counted: 500}
    )
    after = Counters(bytes=100, packets=100, dropped=100, borrowed=3, backlog=LONG_QUEUE, overlimits=0)
    found = judged(before, after, 10.0, SHARE)
    assert (found.bytes, found.packets, found.dropped, found.borrowed) == (100, 100, 100, 3)
    assert found.verdict is IDLE


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_no_time_is_no_interval(seconds: float) -> None:
    with pytest.raises(BadRequest):
        judged(counters(), counters(), seconds, SHARE)


def test_nothing_is_lost_or_made_up_over_many_intervals() -> None:
    counts = [Counters(index * 125_000, index * 100, index, index * 3, 0) for index in range(11)]
    found = [judged(a, b, 1.0, SHARE) for a, b in pairwise(counts)]
    assert sum(each.bytes for each in found) == counts[-1].bytes
    assert sum(each.dropped for each in found) == counts[-1].dropped
    assert {each.rate for each in found} == {1_000_000}
