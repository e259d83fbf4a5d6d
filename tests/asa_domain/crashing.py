"""A process that dies just before, or just after, the nth step that makes something durable."""

from __future__ import annotations

import os
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from typing import Any

_KILLED = 77
_FAILED = 78


def deaths(work: Callable[[], object], prepare: Callable[[], None]) -> Iterator[int]:
    """Runs ``work`` in a process of its own that dies at its first, second … step; yields after each death.

    Ends when ``work`` has come to its end without dying; ``prepare`` comes before every run.
    """
    step = 0
    while True:
        prepare()
        pid = os.fork()
        if pid == 0:
            try:
                _arm(step)
                work()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(_FAILED)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            assert step > 0, "nothing was made durable"
            return
        assert status == _KILLED
        yield step
        step += 1


def _arm(fatal: int) -> None:
    """Every step counts twice: before it is done, and after."""
    count = 0

    def point() -> None:
        nonlocal count
        if count == fatal:
            os._exit(_KILLED)
        count += 1

    def dying(done: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **more: Any) -> Any:
            point()
            found = done(*given, **more)
            point()
            return found

        return step

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(sql, *given)
            point()
            found = super().execute(sql, *given)
            point()
            return found

    connect = sqlite3.connect
    sqlite3.connect = lambda *given, **more: connect(*given, factory=Connection, **more)  # type: ignore[assignment]
    os.fsync = dying(os.fsync)
    os.replace = dying(os.replace)
