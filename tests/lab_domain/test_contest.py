"""When a flow with a reservation counts as kept, and how that is told."""

from __future__ import annotations

import pytest

from lab.domain.contest import CAPACITY, KEPT, RATE, Contest
from lab.domain.report import Report


def held(reserved: int, failed: str = "") -> Contest:
    return Contest("r1", CAPACITY, RATE, 8, 9_400_000, 86_000_000, reserved, 76_000_000, failed)


@pytest.mark.parametrize(
    ("reserved", "failed", "told"),
    [
        (19_100_000, "", None),
        (RATE * KEPT // 100, "", None),
        (RATE * KEPT // 100 - 1, "", "of 20Mbit reserved only 18.0Mbit arrived"),
        (0, "", "of 20Mbit reserved only 0.0Mbit arrived"),
        (19_100_000, "nobody listens", "no flow could be measured: nobody listens"),
    ],
)
def test_less_than_nine_tenths_of_what_is_reserved_is_a_failure_and_so_is_no_measurement(reserved, failed, told):
    assert held(reserved, failed).failure == told


def lines(contest: dict) -> list[str]:
    asked = {"asked": 0, "admitted": 0, "refused": 0, "unanswered": 0, "reasons": {}}
    crash = {"node": "r1", "kills": 1, "down_s": 1.0, "transfers": []}
    moved, kept = {"transfers": 0, "rate": 0}, {"admitted": 0, "refused": 0}
    return list(Report(contest=contest, asked=asked, crash=crash, moved=moved, kept=kept).lines())


def test_both_rates_are_told_and_nothing_of_the_kind_where_packets_are_left_alone():
    told = (
        "obeyed    a flow of 20Mbit against 8 greedy ones on 100Mbit: 9.4Mbit without its reservation, 19.1Mbit with it"
    )
    assert told in lines(held(19_100_000).summary())
    assert not any(each.startswith("obeyed") for each in lines({}))
