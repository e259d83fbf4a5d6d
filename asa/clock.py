"""Wall-clock time that never goes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """UNIX seconds. While the system's clock is behind what it once said, time stands still here.

    What ended has been handed to others: a clock that is set back must not bring it to life again.
    """

    def __init__(self, source: Callable[[], float] = time.time, at_least: int = 0) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._highest = at_least

    def __call__(self) -> int:
        now = int(self._source())
        with self._lock:
            self._highest = max(self._highest, now)
            return self._highest

    @property
    def behind(self) -> int:
        """Seconds the system's clock is behind; 0 as long as it goes forward."""
        return max(0, self() - int(self._source()))
