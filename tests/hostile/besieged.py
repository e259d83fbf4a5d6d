"""What is looked at when a node has been attacked: what it holds, what it says in its log, whether it serves."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random

from tests.network.steer import Agent, eventually

from .messages import MARK

REASONS = 60  #: for which messages may be discarded
RECOVERY = 75.0  #: seconds until all that was begun in the attack is over: a session may last a minute


@dataclass
class Level:
    """What a process holds."""

    threads: int
    descriptors: int
    rss_kib: int

    def as_json(self) -> dict[str, int]:
        return asdict(self)


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

    @property
    @abstractmethod
    def parts(self) -> tuple[Callable[[Random], None], ...]:
        """Of an attack, each for a thread; they go on as long as it is `on`."""

    @property
    def on(self) -> bool:
        return time.monotonic() < self._until and self.target.process.poll() is None

    def storm(self, seed: int, seconds: float, progress: Callable[[str], None] = lambda _: None) -> None:
        """Attack from several threads for ``seconds``; what they send depends on ``seed`` alone."""
        self._until = time.monotonic() + seconds

        def guarded(part: Callable[[Random], None], rng: Random) -> None:
            try:
                part(rng)
            except Exception as error:
                self.found.append(f"{getattr(part, 'func', part).__name__}: {error!r}")

        threads = [
            threading.Thread(target=guarded, args=(part, Random(f"{seed}/{n}")), name=f"storm-{n}")
            for n, part in enumerate(self.parts)
        ]
        for each in threads:
            each.start()
        for each in threads:
            while each.is_alive():
                each.join(5.0)
                progress(", ".join(f"{count} {what}" for what, count in sorted(self.sent.items())))

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
        """What its log and its statistics say that they should not."""
        log = self.target.log()
        loud = [line for line in log.splitlines() if " WARNING " in line or " ERROR " in line]
        reasons = self.target.statistics()["discarded"]
        found = [f"a stranger's text in a reason: {each[:200]}" for each in reasons if MARK in each][:1]
        if len(reasons) > REASONS:
            found.append(f"{len(reasons)} reasons to discard something, such as {list(reasons)[-1][:200]}")
        if "Traceback" in log:
            at = log.index("Traceback")
            found.append(log[max(0, at - 200) : at + 2_000])
        if len(loud) > self.warnings:
            found.append(f"{len(loud)} warnings, such as {loud[-1][:200]}")
        found += [f"a line of {len(line)} bytes in its log: {line[:200]}" for line in loud if len(line) > 1_000][:1]
        found += [f"a stranger's text in a warning: {line[:200]}" for line in loud if MARK in line][:1]
        return found
