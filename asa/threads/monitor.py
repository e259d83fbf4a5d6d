"""MONITOR: notices threads that died or hang and replaces them; gives up on the agent when that does not help."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from asa.threads.duty import Duty

MOST_RESTARTS: Final = 5
"""Of threads within PERIOD_S; one more, and the agent as a whole is restarted."""

PERIOD_S: Final = 600.0


class Monitor(Duty):
    """Watches the other duties; ``give_up`` is called once, with the reason, in the worst case."""

    name = "monitor"
    pause = 1.0

    def __init__(
        self,
        duties: Sequence[Duty],
        report: Callable[[str, str], None],
        give_up: Callable[[str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._duties = duties
        self._give_up = give_up
        self._restarts: deque[float] = deque()

    def turn(self) -> float | None:
        now = time.monotonic()
        while self._restarts and self._restarts[0] + PERIOD_S < now:
            self._restarts.popleft()
        for duty in self._duties:
            state = duty.state()
            if state not in ("dead", "hung"):
                continue
            if len(self._restarts) >= MOST_RESTARTS:
                self._give_up(f"the thread {duty.name} is {state}, and restarting threads has not helped")
                return None
            self._restarts.append(now)
            duty.restarts += 1
            self._report(duty.name, f"the thread is {state}; a new one takes its place")
            duty.start()
        return None
