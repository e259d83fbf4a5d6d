"""Signals that end a command, and errors with something beside them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from asa.errors import AgentError, AsaError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """SIGINT or SIGTERM while a command was at work."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stopped(AgentError):
    """The command was ended by a signal; what it had asked for may have been done or not."""

    code = "stopped"


class Failed(Exception):
    """``error``, and what belongs to it: ``beside`` it in JSON, ``text`` (escaped) below it for people."""

    def __init__(
        self,
        error: AsaError,
        beside: dict[str, Any] | None = None,
        text: str = "",
        *,
        said: str = "",
        signal: int | None = None,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.beside = beside
        self.text = text
        self.said = said
        """What people are told instead of the error's message and hint, where ``text`` says all that more readably."""
        self.signal = signal
        """The signal that was the cause."""


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise :class:`Interrupted`, once; the second one ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, _: FrameType | None) -> None:
        defaults()
        raise Interrupted(number)

    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def defaults() -> None:
    """Leave the signals to the system, or to whoever handles them next."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
