"""Taking turns at what has the same name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Whoever comes with a name somebody is busy with waits for its turn; it bounds nothing itself."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy: set[str] = set()

    @contextmanager
    def turn(self, name: str | None) -> Iterator[None]:
        """None is nobody's: there is no waiting for it."""
        if name is None:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: name not in self._busy)
            self._busy.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(name)
                self._changed.notify_all()
