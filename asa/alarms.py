"""When so much of a pool or an interface is booked that somebody should know: told once, until it is less. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from asa.ledger import Ledger
from asa.records import is_link
from objectives import Window


@dataclass(frozen=True, slots=True)
class Alarm:
    """``percent`` of a resource is booked, or lent, at the worst instant from now on."""

    resource: str
    percent: int
    threshold: int


def used(ledger: Ledger, now: int, resource: str) -> int | None:
    """Percent of a resource at the worst instant from now on; of a pool only at its origin, for of what a delegator
    has obtained for its consumers all is in use. None if there is no telling."""
    whole = ledger.links.get(resource, 0) if is_link(resource) else ledger.seeded(resource)
    if not whole:
        return None
    return (whole - max(0, ledger.free(resource, Window(now, None)))) * 100 // whole


class Alarms:
    """``policy`` is percent, 0 for none; ``own`` are those of interfaces with one of their own. Not thread-safe."""

    def __init__(self, own: dict[str, int]) -> None:
        self._own = own
        self._above: set[str] = set()

    def check(self, ledger: Ledger, now: int, resources: Iterable[str], policy: int) -> list[Alarm]:
        """Those that are above their threshold, and were not when they were checked last."""
        found = []
        for resource in resources:
            threshold = self._own.get(resource, policy)
            percent = used(ledger, now, resource) if threshold else None
            if percent is None or percent < threshold:
                self._above.discard(resource)
            elif resource not in self._above:
                self._above.add(resource)
                found.append(Alarm(resource, percent, threshold))
        return found
