"""What came of a run: as JSON, and for people. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from asa.quantities import format_rate

MOST_FAILURES: Final = 20
"""Of one kind told."""


@dataclass(slots=True)
class Report:
    """``failures`` is why not everything held; the rest as ``docs/lab.md`` has it."""

    network: dict[str, Any] = field(default_factory=dict)
    seed: dict[str, int] = field(default_factory=dict)
    contest: dict[str, Any] = field(default_factory=dict)
    """Empty where packets are left alone."""
    demand: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    moved: dict[str, Any] = field(default_factory=dict)
    crash: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    took_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failures

    def fail(self, *reasons: str) -> None:
        known = [each for each in reasons if each not in self.failures]
        self.failures += known[:MOST_FAILURES]
        if len(known) > MOST_FAILURES:
            self.failures.append(f"and {len(known) - MOST_FAILURES} more of the kind")

    def judge_audit(self, agents: int) -> None:
        """Add to the failures what the audit says, and what it does not."""
        audit = self.audit
        if not audit:
            self.fail("there was no audit")
            return
        if audit["unreachable"]:
            self.fail(f"the audit did not reach {', '.join(audit['unreachable'])}")
        if len(audit["agents"]) != agents:
            self.fail(f"the audit found {len(audit['agents'])} agents of {agents}")
        if not audit["at_rest"]:
            self.fail(f"the audit found no moment of rest in {audit['rounds']} rounds")
        for pool in audit["pools"]:
            if not pool["ok"]:
                wrong = [f"{len(pool[each])} blocks {each}" for each in ("missing", "twice", "foreign") if pool[each]]
                self.fail(f"audit of {pool['pool']}: {', '.join(wrong) or 'seeds overlap'}")
            if pool["in_motion"]:
                self.fail(f"audit of {pool['pool']}: {format_rate(pool['in_motion'])} still in motion")
            if pool["seeded"] != self.seed.get(pool["pool"]):
                self.fail(f"audit of {pool['pool']}: {format_rate(pool['seeded'])} seeded")
        if not audit["ok"]:
            self.fail("the audit is not ok")

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok, "failures": self.failures, "network": self.network, "seed": self.seed,
            "contest": self.contest, "demand": self.demand, "asked": self.asked, "moved": self.moved,
            "crash": self.crash, "kept": self.kept, "audit": self.audit, "took_s": self.took_s,
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """For people."""
        asked, moved, crash, kept = self.asked, self.moved, self.crash, self.kept
        if contest := self.contest:
            without, reserved = (f"{contest[each] / 10**6:.1f}Mbit" for each in ("without", "reserved"))
            yield (
                f"obeyed    a flow of {format_rate(contest['rate'])} against {contest['greedy']} greedy ones on"
                f" {format_rate(contest['capacity'])}: {without} without its reservation, {reserved} with it"
            )
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(asked["reasons"].items()))
        yield (
            f"asked     {asked['asked']} reservations: {asked['admitted']} admitted, {asked['refused']} refused"
            + (f" ({reasons})" if reasons else "")
            + (f", {asked['unanswered']} unanswered" if asked["unanswered"] else "")
        )
        yield f"moved     {moved['transfers']} transfers, {format_rate(moved['rate'])} in sum"
        outcomes = ", ".join(each["outcome"] for each in crash["transfers"]) or "none in doubt"
        times = "once" if crash["kills"] == 1 else f"{crash['kills']} times"
        yield f"crashed   {crash['node']}, {times}, back in {crash['down_s']:.1f} s; its transfers: {outcomes}"
        yield f"kept      {kept['admitted']} yes, {kept['refused']} no, as they were answered"
        for pool in self.audit.get("pools", ()):
            yield (
                f"audited   {pool['pool']}: {format_rate(pool['held'])} of {format_rate(pool['seeded'])} held,"
                f" {'each bit/s once' if pool['ok'] else 'NOT a partition'}, {len(self.audit['agents'])} agents"
            )
        for each in self.failures:
            yield f"FAILED    {each}"
        if self.ok:
            yield f"everything held, in {self.took_s:.0f} s"
