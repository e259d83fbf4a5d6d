"""From a node's threads, and from signals, to the one thread that writes."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from grasp.cli.output import Output
from grasp.cli.values import JSON

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """SIGINT or SIGTERM while a command that ends by itself was at work."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as JSON and as text."""

    element: JSON
    text: str


class Events:
    """A queue of events that a signal can end. ``limit`` of them may wait to be written; further ones are
    dropped and counted in ``dropped``, for the network goes on when the reader of stdout does not.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        # The only queue that a signal handler may put into.
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.stopped = False
        self.dropped = 0

    def put(self, event: Event) -> None:
        """From any thread."""
        if self._queue.qsize() >= self._limit:
            self.dropped += 1
        else:
            self._queue.put(event)

    def stop(self) -> None:
        """From any thread or a signal handler."""
        self.stopped = True
        self._queue.put(None)

    def until(self, deadline: float | None) -> Iterator[Event]:
        """Events as they come, until stopped or ``deadline`` (monotonic s)."""
        while not self.stopped:
            try:
                event = self._queue.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if event is None:
                return
            yield event


def write_until(events: Events, output: Output, deadline: float | None) -> None:
    """Write events as they come, until stopped or ``deadline`` (monotonic s)."""
    for event in events.until(deadline):
        output.element(event.element, event.text)
    if events.dropped:
        output.element({"event": "dropped", "count": events.dropped}, f"dropped {events.dropped}: not read in time")


@contextmanager
def stopped_by_signals(events: Events) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends ``events``; the second one the process."""

    def first(number: int) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        events.stop()

    with _handling(first):
        yield


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise :class:`Interrupted`, once."""

    def interrupt(number: int) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    with _handling(interrupt):
        yield


@contextmanager
def _handling(react: Callable[[int], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, _: FrameType | None) -> None:
        react(number)

    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
