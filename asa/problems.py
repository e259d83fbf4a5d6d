"""What is wrong with an agent at the moment, each told once when it begins and when it is over."""

from __future__ import annotations

from collections.abc import Callable

from asa.events import EventLog
from asa.views import Problem


class Problems:
    """By code. ``clock``: UNIX s."""

    def __init__(self, events: EventLog, clock: Callable[[], int]) -> None:
        self._events = events
        self._clock = clock
        self._known: dict[str, Problem] = {}

    def __contains__(self, code: str) -> bool:
        return code in self._known

    def __bool__(self) -> bool:
        return bool(self._known)

    def set(self, code: str, message: str | None) -> None:
        """Something that is wrong from now on, or with None no longer is; told once each time."""
        known = self._known.get(code)
        if message is None:
            if self._known.pop(code, None) is not None:
                self._events.tell("problem-solved", code, code=code)
        elif known is None or known.message != message:
            self._known[code] = Problem(code, message, self._clock())
            self._events.tell("problem", message, code=code)

    def all(self) -> list[Problem]:
        """The oldest first."""
        return sorted(self._known.copy().values(), key=lambda each: each.since)
