"""What was asked and what was answered, and whether the answers are kept. No I/O."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lab.domain.demand import Row

Outcome = Literal["admitted", "refused", "unanswered"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("admitted", "refused", "unanswered")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one row. Times are UNIX seconds."""

    row: Row
    owner: str
    """Of its reservation, and of no other in the lab."""
    outcome: Outcome
    reason: str = ""
    """The code of the error, if it is not admitted."""
    id: str = ""
    start: int = 0
    end: int | None = None
    attempts: int = 1
    late_s: float = 0.0
    """How much later it was asked for than it should have been."""
    took_s: float = 0.0
    peers: tuple[str, ...] = ()
    """Of a refusal: what each peer that was asked said."""

    @property
    def lost(self) -> bool:
        """Whether there should have been an answer. After a crash a window may have passed before it was."""
        return self.outcome == "unanswered" and self.reason != "bad-window"


class Verdicts:
    """All of them so far. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Verdict] = []
        self._counts: dict[str, Counter[str]] = {}

    def add(self, verdict: Verdict) -> None:
        with self._lock:
            self._all.append(verdict)
            self._counts.setdefault(verdict.row.node, Counter())[verdict.outcome] += 1

    def all(self) -> list[Verdict]:
        with self._lock:
            return list(self._all)

    def count(self, node: str, outcome: Outcome) -> int:
        with self._lock:
            return self._counts.get(node, Counter())[outcome]

    def summary(self, nodes: Iterable[str]) -> dict[str, Any]:
        """Counts over all, by node and by reason; rates are sums, bit/s."""
        verdicts = self.all()
        by_node = {node: _counted([each for each in verdicts if each.row.node == node]) for node in nodes}
        reasons = Counter(each.reason for each in verdicts if each.outcome == "refused")
        took = sorted(each.took_s for each in verdicts if each.outcome != "unanswered")
        return {
            **_counted(verdicts),
            "reasons": dict(reasons),
            "by_node": by_node,
            "repeated": sum(each.attempts > 1 for each in verdicts),
            "refusals": [_refusal(each) for each in verdicts if each.outcome == "refused"],
            "late": sum(each.late_s > 1 for each in verdicts),
            "answer_ms": {"median": _quantile(took, 0.5), "p99": _quantile(took, 0.99), "max": _quantile(took, 1.0)},
        }


def _counted(verdicts: list[Verdict]) -> dict[str, int]:
    counts = Counter(each.outcome for each in verdicts)
    rate = sum(each.row.rate for each in verdicts if each.outcome == "admitted")
    return {"asked": len(verdicts), **{each: counts[each] for each in OUTCOMES}, "admitted_rate": rate}


def _refusal(verdict: Verdict) -> dict[str, Any]:
    row = verdict.row
    return {
        "reservation": row.number, "node": row.node, "pool": row.pool, "rate": row.rate, "label": row.label,
        "reason": verdict.reason, "peers": list(verdict.peers),
    }  # fmt: skip


def _quantile(ordered: list[float], share: float) -> int | None:
    """Milliseconds; the smallest value that at least ``share`` of all do not exceed."""
    if not ordered:
        return None
    return round(1000 * ordered[max(0, -int(-share * len(ordered) // 1) - 1)])


def broken(verdicts: Iterable[Verdict], listed: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[str]:
    """Answers that are not kept, one line each: ``listed`` is what each agent has, in every state.

    A yes must be there with its rate and window until its end, a no must not be there, nothing may be there twice.
    """
    found: list[str] = []
    by_owner = {node: Counter(each["owner"] for each in its) for node, its in listed.items()}
    by_id = {(node, each["id"]): each for node, its in listed.items() for each in its}
    for verdict in verdicts:
        node = verdict.row.node
        if node not in listed:
            continue
        there = by_owner[node][verdict.owner]
        name = f"{node}: reservation {verdict.owner}"
        if there > 1:
            found.append(f"{name} is there {there} times")
        if verdict.outcome == "refused" and there:
            found.append(f"{name} was refused and is there")
        if verdict.outcome != "admitted":
            continue
        view = by_id.get((node, verdict.id))
        if view is None:
            found.append(f"{name} was admitted as {verdict.id} and is not there")
            continue
        wanted = (verdict.row.pool, verdict.row.rate, verdict.start, verdict.end)
        if (view["pool"], view["rate"], view["start"], view["end"]) != wanted:
            found.append(f"{name} was admitted as {wanted} and is {view}")
        elif view["state"] == "cancelled":
            found.append(f"{name} was admitted and is cancelled")
        elif partner := str(view.get("partner", "")).partition("#")[0]:
            other = by_id.get((partner, verdict.id)) if partner in listed else mirrored(view)
            if other is None or mirrored(other) != mirrored(mirrored(view)):
                found.append(f"{name} was admitted at both ends and is {other} at {partner}")
    return found


def mirrored(view: Mapping[str, Any]) -> dict[str, Any]:
    """What matters of a reservation, as the agent at its other end has it."""
    return {
        "rate": view["back"], "back": view["rate"], "start": view["start"], "end": view["end"],
        "source": view["destination"], "destination": view["source"],
    }  # fmt: skip
