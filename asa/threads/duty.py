"""A piece of work that a thread of its own repeats, and that can be seen to be alive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Final

_log = logging.getLogger("asa")

LONGEST_PAUSE_S: Final = 60.0


class Duty:
    """Calls ``turn`` again and again, ``pause`` seconds apart, or at once when woken. Subclasses say what a turn is.

    What a turn raises is reported, and the next comes after a pause that doubles. ``limit`` seconds without an end of
    a turn is too long: the monitor then puts a new thread in its place; the old one finds that out when it comes back.
    """

    name = "duty"
    pause = 1.0
    limit = 120.0

    def __init__(self, report: Callable[[str, str], None], rng: Random) -> None:
        self._report = report
        self._rng = rng
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._generation = 0
        self._beat = time.monotonic()
        self.restarts = 0

    def turn(self) -> float | None:
        """One round of the work; returns seconds until the next, or None for the usual pause."""
        raise NotImplementedError

    def start(self) -> None:
        """Also in the place of a thread that died or hangs."""
        self._generation += 1
        self._beat = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(self._generation,), name=f"asa-{self.name}", daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        """Let the next turn come now."""
        self._wake.set()

    def stop(self) -> None:
        """Without waiting; :meth:`join` does."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout: float) -> bool:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            return not thread.is_alive()
        return True

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def state(self) -> str:
        """``alive``, ``stopped``, ``dead`` or ``hung``."""
        if self._stopping.is_set() or self._thread is None:
            return "stopped"
        if not self._thread.is_alive():
            return "dead"
        return "hung" if time.monotonic() - self._beat > self.limit else "alive"

    def _run(self, generation: int) -> None:
        failures = 0
        while not self._stopping.is_set() and generation == self._generation:
            self._wake.clear()
            pause: float | None
            try:
                pause = self.turn()
                failures = 0
            except Exception as error:
                failures += 1
                _log.exception("%s failed", self.name)
                self._report(self.name, f"{type(error).__name__}: {error}")
                pause = min(LONGEST_PAUSE_S, 2.0 ** min(failures, 6)) * self._rng.uniform(0.5, 1.0)
            if generation != self._generation:
                return
            self._beat = time.monotonic()
            self._rest(self.pause if pause is None else pause)

    def _rest(self, seconds: float) -> None:
        """Sleep, but show every now and then that this is rest and not a hang."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._wake.wait(min(left, 10.0)):
            self._beat = time.monotonic()
