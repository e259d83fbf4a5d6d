"""The arithmetic of what was asked, kept, moved and audited, and what counts as a failure."""

from __future__ import annotations

import pytest

from lab.domain.demand import Row
from lab.domain.report import MOST_FAILURES, Report
from lab.domain.screen import BAR, bar
from lab.domain.verdicts import Verdict, Verdicts, broken
from lab.domain.watching import Moves


def verdict(number: int, outcome: str, node: str = "a", rate: int = 10, **kw) -> Verdict:
    given = {"id": f"r-{number}", "start": 100, "end": 200} if outcome == "admitted" else {}
    return Verdict(Row(number, node, "wan", rate, 0, None), f"row-{number}", outcome, **(given | kw))


def view(number: int, **kw) -> dict:
    usual = {"id": f"r-{number}", "pool": "wan", "rate": 10, "start": 100, "end": 200, "state": "active"}
    return usual | {"owner": f"row-{number}"} | kw


def test_a_summary_adds_up_over_all_and_by_node():
    verdicts = Verdicts()
    for each in (
        verdict(1, "admitted", took_s=0.010),
        verdict(2, "admitted", "b", rate=7, took_s=0.030, attempts=3),
        verdict(3, "refused", reason="short", took_s=0.020, late_s=1.5),
        verdict(4, "refused", "b", reason="busy", took_s=0.040),
        verdict(5, "unanswered", reason="unreachable", took_s=40.0),
    ):
        verdicts.add(each)
    found = verdicts.summary(["a", "b", "c"])
    assert (found["asked"], found["admitted"], found["refused"], found["unanswered"]) == (5, 2, 2, 1)
    assert found["admitted_rate"] == 17
    assert found["reasons"] == {"short": 1, "busy": 1}
    assert (found["repeated"], found["late"]) == (1, 1)
    assert found["by_node"]["b"] == {"asked": 2, "admitted": 1, "refused": 1, "unanswered": 0, "admitted_rate": 7}
    assert found["by_node"]["c"]["asked"] == 0
    # By nearest rank, of those that were answered.
    assert found["answer_ms"] == {"median": 20, "p99": 40, "max": 40}
    assert verdicts.count("a", "refused") == 1
    assert Verdicts().summary(["a"])["answer_ms"] == {"median": None, "p99": None, "max": None}


def test_answers_that_are_kept_are_no_failure():
    verdicts = [verdict(1, "admitted"), verdict(2, "refused"), verdict(3, "unanswered"), verdict(4, "unanswered")]
    assert broken(verdicts, {"a": [view(1), view(3), view(99)]}) == []
    assert broken(verdicts, {"a": [view(1, state="ended")]}) == []
    assert broken(verdicts, {"b": []}) == []


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([], "was admitted as r-1 and is not there"),
        ([view(1, rate=9)], "was admitted as"),
        ([view(1, end=199)], "was admitted as"),
        ([view(1, end=None)], "was admitted as"),
        ([view(1, start=101)], "was admitted as"),
        ([view(1, pool="lan")], "was admitted as"),
        ([view(1, state="cancelled")], "is cancelled"),
        ([view(1), view(1, id="r-7")], "is there 2 times"),
        ([view(1), view(2)], "row-2 was refused and is there"),
    ],
)
def test_an_answer_that_is_not_kept_is_told(listed, said):
    (found,) = broken([verdict(1, "admitted"), verdict(2, "refused")], {"a": listed})
    assert said in found


def test_a_transfer_counts_once_whoever_tells_of_it():
    moves = Moves()

    def event(kind: str, peer: str, txn: str, rate: int) -> dict:
        return {"kind": kind, "fields": {"peer": f"{peer}#0123", "pool": "wan", "rate": rate, "txn": txn}}

    moves.note("a", event("capacity-given", "b", "t1", 5))
    moves.note("b", event("capacity-taken", "a", "t1", 5))
    moves.note("c", event("capacity-taken", "a", "t2", 7))
    moves.note("b", event("capacity-returned", "a", "t3", 2))
    moves.note("b", {"kind": "reservation-booked", "fields": {"id": "r-1"}})
    assert moves.summary() == {
        "transfers": 3,
        "rate": 14,
        "between": [
            {"from": "a", "to": "b", "transfers": 1, "rate": 5},
            {"from": "a", "to": "c", "transfers": 1, "rate": 7},
            {"from": "b", "to": "a", "transfers": 1, "rate": 2},
        ],
    }


def audit(**kw) -> dict:
    pool = {"pool": "wan", "seeded": 10, "held": 10, "in_motion": 0, "ok": True, "missing": [], "twice": []}
    pool |= {"foreign": [], "overlapping_seeds": []}
    whole = {"at_rest": True, "rounds": 2, "agents": ["a#1", "b#2"], "unreachable": []}
    pool |= {key: value for key, value in kw.items() if key in pool}
    whole |= {key: value for key, value in kw.items() if key in whole}
    return whole | {"ok": pool["ok"], "pools": [pool]}


def judged(**kw) -> list[str]:
    report = Report(seed={"wan": 10}, audit=audit(**kw))
    report.judge_audit(2)
    return report.failures


def test_an_audit_fails_a_run_if_anything_is_missing_twice_in_motion_or_not_looked_at():
    assert judged() == []
    assert judged(agents=["a#1"]) == ["the audit found 1 agents of 2"]
    assert judged(unreachable=["b#2"]) == ["the audit did not reach b#2"]
    assert judged(at_rest=False) == ["the audit found no moment of rest in 2 rounds"]
    assert judged(in_motion=3) == ["audit of wan: 3bit still in motion"]
    assert judged(seeded=9) == ["audit of wan: 9bit seeded"]
    assert judged(ok=False, twice=[{}], missing=[{}, {}]) == [
        "audit of wan: 2 blocks missing, 1 blocks twice",
        "the audit is not ok",
    ]
    nothing = Report()
    nothing.judge_audit(2)
    assert not nothing.ok


def test_failures_are_told_once_and_not_by_the_thousand():
    report = Report()
    assert report.ok
    report.fail("a", "b")
    report.fail("a")
    assert report.failures == ["a", "b"]
    report.fail(*map(str, range(1_000)))
    assert len(report.failures) == 2 + MOST_FAILURES + 1
    assert not report.as_json()["ok"]


def test_a_bar_is_never_longer_than_the_whole_nor_hides_what_is_there():
    assert bar(0, 0, 10) == ""
    assert bar(10, 0, 10) == "▓" * BAR
    assert bar(5, 5, 10) == "▓" * (BAR // 2) + "░" * (BAR // 2)
    assert bar(1, 1, 10_000) == "▓░"
    assert len(bar(9_999, 9_999, 10_000)) == BAR
