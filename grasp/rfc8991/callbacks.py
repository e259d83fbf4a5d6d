"""Calls that return at once and report later (RFC 8991 §2.2.1)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from grasp.errors import ErrorCode, LocalError

_log = logging.getLogger("grasp.rfc8991")

_PATIENCE_S = 5.0


class Callbacks:
    """A thread for each call that is pending: it waits as any caller would, then calls back.

    With ``limit`` calls pending one more is refused with ``busy``, and nothing has been done.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def __len__(self) -> int:
        return len(self._threads)

    def start(self, task: Callable[[], object]) -> None:
        """Raises :class:`LocalError` ``busy``."""
        thread = threading.Thread(target=self._run, args=(task,), name="grasp-callback", daemon=True)
        with self._lock:
            if len(self._threads) >= self._limit:
                raise LocalError(ErrorCode.busy, f"{self._limit} callbacks are pending, the most allowed")
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:
                self._threads.discard(thread)
                raise LocalError(ErrorCode.busy, "the host has no thread left for a callback") from None

    def _run(self, task: Callable[[], object]) -> None:
        try:
            task()
        except Exception:
            _log.exception("a callback failed")
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def join(self) -> None:
        """Wait for those pending, 5 s at most and not for the calling one."""
        deadline = time.monotonic() + _PATIENCE_S
        with self._lock:
            threads = self._threads - {threading.current_thread()}
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
