"""A few threads for work that must not hold up whoever noticed it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from grasp.rates import TokenBucket
from grasp.transport.threads import join_all

_log = logging.getLogger("grasp.core")

_IDLE_S: Final = 5.0
_COMPLAINTS: Final = 5
_COMPLAINTS_PER_S: Final = 0.1


class TaskPool:
    """Runs tasks in up to ``threads`` threads, started on demand and gone when idle.

    With ``waiting`` tasks queued one more is refused.
    """

    def __init__(self, threads: int, waiting: int, name: str) -> None:
        self._limit = threads
        self._name = name
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._started = 0
        self._running = True
        self._complaints = TokenBucket(_COMPLAINTS_PER_S, _COMPLAINTS)

    def submit(self, task: Callable[[], None]) -> bool:
        """Queue ``task``; False if the queue is full or the pool stopped."""
        if not self._running:
            return False
        try:
            self._queue.put_nowait(task)
        except queue.Full:
            return False
        with self._lock:
            if self._queue.qsize() > self._idle and len(self._threads) < self._limit:
                self._started += 1
                thread = threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True)
                self._threads.add(thread)
                try:
                    thread.start()
                except RuntimeError:
                    self._threads.discard(thread)
                    return bool(self._threads)
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                task = self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                task = None
            with self._lock:
                self._idle -= 1
                # A task queued since the wait ended has counted on this thread.
                if task is None and (not self._running or self._queue.empty()):
                    self._threads.discard(threading.current_thread())
                    return
            if task is not None:
                try:
                    task()
                except BaseException:
                    # SystemExit too: a handler may not end the node's thread.
                    self._complain()

    def _complain(self) -> None:
        """Log why a task failed; not every time, because who sends floods may be the cause."""
        with self._lock:
            allowed = self._complaints.take(time.monotonic())
        if allowed:
            _log.exception("a task failed")

    def stop(self) -> None:
        """Drop what is queued, wait for what runs (bounded)."""
        self._running = False
        with self._lock:
            threads = list(self._threads)
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        for _ in threads:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                break
        join_all(threads)
