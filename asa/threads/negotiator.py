"""MAIN_NEGOTIATOR and NEGOTIATOR: serve what peers ask, each request in a thread of the GRASP node's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

import grasp
from asa.answering import serve
from asa.performer import Performer
from asa.steps import Party
from asa.threads.duty import Duty
from grasp import Negotiation
from objectives import InvalidValue
from objectives.resource import request_from_value

REPORT_S: Final = 10.0
"""Refused values are reported at most this often, with their number: a peer's garbage must not fill the log."""


class MainNegotiator(Duty):
    """Listens for ``EX1.Resource``. The session's own thread is the NEGOTIATOR of RFC 9222 Appendix C."""

    name = "negotiator"
    pause = REPORT_S

    def __init__(
        self,
        asa: grasp.ASA,
        objective: str,
        party: Party,
        performer: Performer,
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._asa = asa
        self._objective = objective
        self._party = party
        self._performer = performer
        self._refused: Counter[str] = Counter()
        self._reported = 0.0

    def listen(self) -> None:
        """Take requests from now on."""
        self._asa.on_negotiate(self._objective, self._negotiator)

    def _negotiator(self, negotiation: Negotiation) -> None:
        try:
            request = request_from_value(negotiation.offer.value)
        except InvalidValue as error:
            if len(self._refused) < 16:
                self._refused[str(error)] += 1
            negotiation.decline(f"bad-value: {error}"[:200])
            return
        self._performer.run(serve(self._party, request, negotiation.dry_run), negotiation)

    def turn(self) -> float | None:
        if self._refused and time.monotonic() - self._reported >= REPORT_S:
            refused, self._refused = self._refused, Counter()
            for reason, count in refused.most_common(3):
                self._report(self.name, f"{count} requests were refused: {reason}")
            self._reported = time.monotonic()
        return None
