"""What does not work at the moment: since when, why, and when it is tried again. No I/O."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final, Generic, TypeVar

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
LONGEST_WHY: Final = 250
"""Characters."""

S = TypeVar("S", bound=Hashable)


@dataclass(slots=True)
class Trouble:
    """``since``, ``again``: by the monotonic clock, s."""

    why: str
    since: float
    again: float
    delay: float


class Troubles(Generic[S]):
    """Each subject's trouble is tried again after 1 s, doubled at each failure up to 60 s, a little earlier by chance.

    Bounded by the subjects there are: what is no longer told is forgotten.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._known: dict[S, Trouble] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, subject: S) -> bool:
        return subject in self._known

    def why(self, subject: S) -> str:
        """Empty if there is none."""
        known = self._known.get(subject)
        return known.why if known is not None else ""

    def items(self) -> list[tuple[S, str]]:
        """Each with its reason."""
        return [(subject, each.why) for subject, each in self._known.items()]

    def told(self, found: Mapping[S, str], ticks: float) -> tuple[list[S], list[S]]:
        """Everything that does not work as of now; what of it is new or has another reason, and what is over."""
        new = []
        for subject, text in found.items():
            why = text[:LONGEST_WHY]
            known = self._known.get(subject)
            if known is None:
                self._known[subject] = Trouble(why, ticks, ticks + self._by_chance(FIRST_S), FIRST_S)
                new.append(subject)
                continue
            if known.why != why:
                known.why = why
                new.append(subject)
            if known.again <= ticks:
                known.delay = min(LONGEST_S, known.delay * 2)
                known.again = ticks + self._by_chance(known.delay)
        over = [each for each in self._known if each not in found]
        self.forget(over)
        return new, over

    def forget(self, subjects: Iterable[S]) -> None:
        for each in subjects:
            self._known.pop(each, None)

    def again(self) -> float | None:
        """When the next is tried, by the monotonic clock; None if all works."""
        return min((each.again for each in self._known.values()), default=None)

    def _by_chance(self, delay: float) -> float:
        return delay * self._rng.uniform(0.8, 1.0)
