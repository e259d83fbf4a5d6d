"""Ctrl-C and SIGTERM as a wish that is obeyed where nothing is half done, so that everything is cleaned up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, TypeVar

STEP_S: Final = 0.05
T = TypeVar("T")


class Stopped(Exception):
    """Somebody wants the lab to end; ``signal`` says how it was said."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Stop:
    """While in its ``with`` block, SIGINT, SIGTERM and SIGHUP are only noted; the calls here then raise Stopped.

    ``clock`` and ``sleep``: monotonic seconds.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        # A plain number: what has a lock must not be touched by a signal handler.
        self.asked = 0
        self.tick: Callable[[], None] = lambda: None
        """Called at every step of a wait."""
        self._clock = clock
        self._sleep = sleep
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        for each in self.SIGNALS:
            self._before[each] = signal.signal(each, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or number

    def check(self) -> None:
        """Raises Stopped if so wished."""
        if self.asked:
            raise Stopped(self.asked)

    def sleep(self, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self.check()
            self.tick()
            self._sleep(min(left, STEP_S))
        self.check()

    def until(self, condition: Callable[[], bool], seconds: float, step: float = STEP_S) -> bool:
        """Whether ``condition`` came true within ``seconds``."""
        deadline = self._clock() + seconds
        while not condition():
            if self._clock() >= deadline:
                return False
            self.sleep(step)
        self.check()
        return True

    def during(self, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises. It has a thread of its own and is left to itself if the wish comes."""
        found: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                found.append(call())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            self.check()
            self.tick()
            thread.join(STEP_S)
        if failed:
            raise failed[0]
        return found[0]
