"""Which ASAs there are and which objectives they handle (RFC 8991 §2.3.3). No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from grasp.calls import Registration, SessionHandle
from grasp.errors import ErrorCode, LocalError
from grasp.limits import MAX_MESSAGE_SIZE, Limits
from grasp.wire import Objective


@dataclass(slots=True, eq=False)
class Registered:
    """An objective one ASA has registered, and how it listens for it now."""

    asa: int
    registration: Registration
    max_size: int
    listening: bool = False
    handler: Callable[[SessionHandle, Objective], None] | None = None
    requests: deque[Any] = field(default_factory=deque)
    arrived: Any = None
    """The condition notified of requests; made by the first who waits for them."""
    published: Objective | None = None
    provider: Callable[[], Any] | None = None
    """Makes the value for each request anew, instead of ``published``."""

    @property
    def name(self) -> str:
        return self.registration.objective.name

    @property
    def discoverable(self) -> bool:
        """Whether discovery is answered: once the ASA listens, or if it said so (RFC 8991 §2.3.3)."""
        return self.registration.discoverable or self.listening or self.answers

    @property
    def answers(self) -> bool:
        """Whether synchronization requests are answered."""
        return self.published is not None or self.provider is not None


class Registry:
    """Not thread-safe; the owner locks. ``random_id`` draws unpredictable 32-bit handles."""

    def __init__(self, limits: Limits, random_id: Callable[[], int]) -> None:
        self._limits = limits
        self._random_id = random_id
        self._asas: dict[int, str] = {}
        self._objectives: dict[str, list[Registered]] = {}
        self.receive_limit = limits.message_size
        """Bytes: the largest unicast message any objective allows."""

    def add_asa(self, name: str) -> int:
        if type(name) is not str or not name:
            raise LocalError(ErrorCode.badArgument, "the name of an ASA must be a non-empty text")
        if name in self._asas.values():
            raise LocalError(ErrorCode.dupASA, f"{name!r:.80} is registered already")
        if len(self._asas) >= self._limits.asas:
            raise LocalError(ErrorCode.ASAfull, f"{self._limits.asas} ASAs are registered, the most allowed")
        asa = self._random_id()
        while asa == 0 or asa in self._asas:
            asa = self._random_id()
        self._asas[asa] = name
        return asa

    def remove_asa(self, asa: int, name: str) -> list[Registered]:
        """Remove the ASA and return what it had registered."""
        if asa not in self._asas:
            raise LocalError(ErrorCode.noASA)
        if self._asas[asa] != name:
            raise LocalError(ErrorCode.notYourASA, f"this handle is not that of {name!r:.80}")
        del self._asas[asa]
        removed = [each for each in self.everything() if each.asa == asa]
        for each in removed:
            self._remove(each)
        return removed

    def check_asa(self, asa: int) -> None:
        """Raises ``noASA``."""
        if asa not in self._asas:
            raise LocalError(ErrorCode.noASA, "register_asa comes first")

    def add_objective(self, asa: int, registration: Registration) -> None:
        self.check_asa(asa)
        objective = registration.objective
        if objective.negotiable and objective.synchronizable:
            raise LocalError(ErrorCode.notBoth, objective.name)
        if objective.dry_run and not objective.negotiable:
            raise LocalError(ErrorCode.notDry, objective.name)
        entries = self._objectives.get(objective.name, [])
        if any(each.asa == asa for each in entries):
            raise LocalError(ErrorCode.objReg, objective.name)
        if entries and not (registration.overlap and all(each.registration.overlap for each in entries)):
            raise LocalError(ErrorCode.objReg, f"{objective.name}: by another ASA, and not both allow overlap")
        if sum(map(len, self._objectives.values())) >= self._limits.objectives:
            raise LocalError(ErrorCode.objFull, f"the most allowed is {self._limits.objectives}")
        max_size = registration.max_size or self._limits.message_size
        if type(max_size) is not int or not self._limits.message_size <= max_size <= MAX_MESSAGE_SIZE:
            raise LocalError(
                ErrorCode.badArgument,
                f"max_size must be {self._limits.message_size}..{MAX_MESSAGE_SIZE} bytes, not {max_size!r:.40}",
            )
        if type(registration.ttl) is not int or not 0 <= registration.ttl <= 0xFFFF_FFFF:
            raise LocalError(ErrorCode.badArgument, f"ttl must be 0..2^32-1 ms, not {registration.ttl!r:.40}")
        self._objectives.setdefault(objective.name, []).append(Registered(asa, registration, max_size))
        self.receive_limit = max(self.receive_limit, max_size)

    def remove_objective(self, asa: int, name: str) -> Registered:
        entry = self.of(asa, name)
        self._remove(entry)
        return entry

    def _remove(self, entry: Registered) -> None:
        entries = self._objectives[entry.name]
        entries.remove(entry)
        if not entries:
            del self._objectives[entry.name]
        sizes = [each.max_size for each in self.everything()]
        self.receive_limit = max(sizes, default=self._limits.message_size)

    def of(self, asa: int, name: str) -> Registered:
        """What ``asa`` registered under ``name``. Raises ``noASA``, ``notObj`` or ``notYourObj``."""
        self.check_asa(asa)
        entries = self._objectives.get(name)
        if not entries:
            raise LocalError(ErrorCode.notObj, f"{name!r:.80} is not registered")
        for entry in entries:
            if entry.asa == asa:
                return entry
        raise LocalError(ErrorCode.notYourObj, f"{name!r:.80}")

    def everything(self) -> list[Registered]:
        return [each for entries in self._objectives.values() for each in entries]

    def negotiator(self, name: str) -> Registered | None:
        """Who gets a request now: of several that overlap, the one with fewest requests waiting."""
        chosen: Registered | None = None
        for each in self._objectives.get(name, ()):
            if each.listening and (chosen is None or len(each.requests) < len(chosen.requests)):
                chosen = each
        return chosen

    def publisher(self, name: str) -> Registered | None:
        return next((each for each in self._objectives.get(name, ()) if each.answers), None)

    def discoverable(self, name: str, except_asa: int = 0) -> Registered | None:
        for each in self._objectives.get(name, ()):
            if each.discoverable and each.asa != except_asa:
                return each
        return None

    def max_size(self, name: str) -> int:
        """Bytes a unicast message about ``name`` may have."""
        return max((each.max_size for each in self._objectives.get(name, ())), default=self._limits.message_size)
