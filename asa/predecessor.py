"""What made packets obey on this node before, remembered over restarts, and cleared once something else does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from asa.books import Books
from asa.config import EnforcementSection
from asa.dataplane.backend import Backend, EnforcementFailed, Unfit
from asa.dataplane.plan import Line
from asa.errors import AsaError, StoreFailed
from asa.events import EventLog
from asa.identity import remembered, remembering

ENFORCED: Final = "enforced"
"""The fact's name."""

TRIES: Final = 3
"""To clear what it left; after that it is told, and left alone."""

_log = logging.getLogger("asa")


class Predecessor:
    """Owned by one thread. ``choose``: as :func:`asa.dataplane.choice.backend_for`."""

    def __init__(
        self,
        books: Books,
        section: EnforcementSection,
        choose: Callable[[EnforcementSection, tuple[Line, ...]], Backend],
        events: EventLog,
    ) -> None:
        self._books = books
        self._section = section
        self._choose = choose
        self._events = events
        self._known: dict[str, Any] | None = remembered(books, ENFORCED, None)
        self._tries = 0

    @property
    def name(self) -> str:
        """Of the back end that was used last, one with an effect; empty if there was none, or nothing of it is left."""
        return str(self._known["backend"]) if self._known is not None else ""

    def clear(self, successor: str) -> None:
        """Leave nothing of what another back end than ``successor`` put in place. Raises EnforcementFailed, Unfit; but
        not for ever, for what cannot be cleared must not hold up what can be enforced."""
        if self._known is None or self.name == successor:
            return
        try:
            self._cleared(self._known)
        except (EnforcementFailed, Unfit) as error:
            self._tries += 1
            if self._tries < TRIES:
                raise EnforcementFailed(
                    f"what {self.name} left cannot be cleared: {error.message}", hint=error.hint
                ) from error
            self._tell_left(error)
        self._remember(None)

    def _cleared(self, known: dict[str, Any]) -> None:
        deputy = known.get("deputy")
        section = replace(
            self._section,
            backend=known["backend"],
            deputy=Path(deputy) if deputy is not None else None,
            ovsdb=Path(known["ovsdb"]),
        )
        backend = self._choose(section, ())
        try:
            backend.probe(())
            if backend.name != self.name:
                raise Unfit(f"the deputy at {deputy} is one of {backend.name} now")
            backend.clear()
        finally:
            backend.close()
        self._events.tell("enforcement-cleared", f"what {self.name} had put in place is gone", back_end=self.name)

    def _tell_left(self, error: AsaError) -> None:
        self._events.tell(
            "enforcement-left",
            f"what {self.name} had put in place is left, and is to be cleared by hand: {error.message}",
            back_end=self.name,
        )  # fmt: skip

    def succeeded(self, successor: str) -> None:
        """Another start is to know of ``successor``, which has an effect."""
        section = self._section
        deputy = str(section.deputy) if section.deputy is not None else None
        self._remember({"backend": successor, "deputy": deputy, "ovsdb": str(section.ovsdb)})

    def _remember(self, known: dict[str, Any] | None) -> None:
        if known == self._known:
            return
        try:
            self._books.transact(lambda ledger: remembering(ledger, ENFORCED, known))
        except StoreFailed as error:
            # It is of use to a later start only.
            _log.warning("what enforces here is not remembered: %s", error.message)
        self._known = known
