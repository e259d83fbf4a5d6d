"""A thread of the enforcer's: hears from the kernel that somebody changed interfaces, queues or rules."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from asa.dataplane.backend import EnforcementFailed
from asa.dataplane.tc.changes import Changes

_log = logging.getLogger("asa")

LOOK_S: Final = 1.0
"""How long it waits before it looks whether it shall end."""

CALM_S: Final = 0.1
"""What comes within this time is told once."""


class Listener:
    """Calls ``heard`` from its own thread; ``table`` is that of nftables, empty for none.

    Without it everything is read back every now and then all the same, so that whatever ends it is only logged.
    """

    def __init__(self, table: str, heard: Callable[[], None]) -> None:
        self._table = table
        self._heard = heard
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asa-enforcer-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Without waiting for longer than it takes to notice."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2 * LOOK_S)

    def _run(self) -> None:
        try:
            changes = Changes(self._table)
        except EnforcementFailed as error:
            _log.warning("the kernel does not tell of changes: %s", error.message)
            return
        try:
            while not self._stopping.is_set():
                if changes.wait(LOOK_S):
                    time.sleep(CALM_S)
                    changes.changes()
                    self._heard()
        except (EnforcementFailed, OSError) as error:
            _log.warning("the kernel no longer tells of changes: %s", error)
        finally:
            changes.close()
