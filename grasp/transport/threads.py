"""Waiting for threads that may be in a function of an ASA."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Final

_log = logging.getLogger("grasp.transport")

_STOP_S: Final = 5.0
_NAMED: Final = 8


def join_all(threads: Iterable[threading.Thread]) -> None:
    """Wait for them, five seconds in all, and name those that are later. The calling thread is left out."""
    deadline = time.monotonic() + _STOP_S
    others = [thread for thread in threads if thread is not threading.current_thread()]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [thread.name for thread in others if thread.is_alive()]
    if late:
        _log.warning("stopped, but handlers have not returned yet in %s", ", ".join(late[:_NAMED]))
