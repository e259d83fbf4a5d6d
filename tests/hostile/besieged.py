"""What is looked at when a node has been attacked: what it holds, what it says in its log, whether it serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass

from tests.network.steer import Agent, eventually

from .messages import MARK

RECOVERY = 75.0  #: seconds until all that was begun in the attack is over: a session may last a minute


@dataclass
class Level:
    """What a process holds."""

    threads: int
    descriptors: int
    rss_kib: int


class Besieged(ABC):
    """`target` is under attack, `honest` is a node that wants to be served all the same."""

    target: Agent
    honest: Agent
    threads: tuple[str, ...] = ("MainThread", "grasp-multicast", "grasp-interfaces")
    warnings = 20  #: that its log may have

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.found: list[str] = []  #: what went wrong during the attack itself

    @abstractmethod
    def serves(self) -> bool:
        """Whether the honest node is served."""

    @abstractmethod
    def renew(self) -> None:
        """Let go of what the target itself holds for the attacker."""

    @abstractmethod
    def poke(self) -> None:
        """Connect some times: threads that are too many go with the connections that come."""

    def level(self) -> Level:
        return Level(self.target.threads(), self.target.descriptors(), self.target.rss_kib())

    def recovered(self, before: Level) -> list[str]:
        """What is still wrong, `RECOVERY` seconds after the attack at the latest; empty if nothing is."""
        self.renew()
        wrong: list[str] = []

        def look() -> bool:
            wrong.clear()
            self.poke()
            now = self.level()
            names = self.target.thread_names()
            if self.target.statistics()["sessions"]:
                wrong.append(f"{self.target.statistics()['sessions']} sessions are open")
            if now.descriptors > before.descriptors + 2:
                wrong.append(f"{now.descriptors} descriptors, {before.descriptors} before")
            if now.threads > before.threads + 4:
                wrong.append(f"{now.threads} threads, {before.threads} before: {names}")
            wrong.extend(f"thread {name} is gone" for name in self.threads if name not in names)
            if sum(name.startswith("grasp-accept") for name in names) < 2:
                wrong.append(f"nobody accepts: {names}")
            return not wrong

        eventually(look, RECOVERY)
        if not eventually(self.serves):
            wrong.append("it does not serve an honest node")
        return wrong + self.found + self.complaints()

    def complaints(self) -> list[str]:
        """What its log says that it should not."""
        log = self.target.log()
        loud = [line for line in log.splitlines() if " WARNING " in line or " ERROR " in line]
        found = []
        if "Traceback" in log:
            at = log.index("Traceback")
            found.append(log[max(0, at - 200) : at + 2_000])
        if len(loud) > self.warnings:
            found.append(f"{len(loud)} warnings, such as {loud[-1][:200]}")
        found += [f"a line of {len(line)} bytes in its log: {line[:200]}" for line in loud if len(line) > 1_000][:1]
        found += [f"a stranger's text in a warning: {line[:200]}" for line in loud if MARK in line][:1]
        return found
