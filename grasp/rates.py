"""How often: token buckets and exponential back-off. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class TokenBucket:
    """Allows ``rate`` events a second, ``burst`` of them at once. ``now`` is monotonic seconds."""

    __slots__ = ("_burst", "_level", "_rate", "_then")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._then = 0.0

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + max(0.0, now - self._then) * self._rate)
        self._then = now

    def take(self, now: float) -> bool:
        """Whether one more event is allowed now."""
        self._fill(now)
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def delay(self, now: float) -> float:
        """Seconds until the next event is allowed."""
        self._fill(now)
        return max(0.0, (1 - self._level) / self._rate)


def backoff(first: float, longest: float, jitter: Callable[[], float]) -> Iterator[float]:
    """Intervals that double from ``first`` to ``longest`` seconds, each lengthened by up to a quarter.

    ``jitter`` draws from [0, 1).
    """
    interval = first
    while True:
        yield interval * (1 + jitter() / 4)
        interval = min(2 * interval, longest)
