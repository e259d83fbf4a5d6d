"""MAIN_NEGOTIATOR and NEGOTIATOR: serve what peers ask, each request in a thread of the GRASP node's."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

import grasp
from asa.answering import serve
from asa.events import Complaints, EventLog
from asa.performer import Performer
from asa.steps import Party
from asa.threads.duty import Duty
from grasp import Negotiation
from objectives import InvalidValue
from objectives.resource import request_from_value

REPORT_S: Final = 10.0
"""How often refused values are told of."""


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
        events: EventLog,
        complaints: Complaints,
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._asa = asa
        self._objective = objective
        self._party = party
        self._performer = performer
        self._events = events
        self._complaints = complaints

    def listen(self) -> None:
        """Take requests from now on."""
        self._asa.on_negotiate(self._objective, self._negotiator)

    def _negotiator(self, negotiation: Negotiation) -> None:
        try:
            request = request_from_value(negotiation.offer.value)
        except InvalidValue as error:
            self._complaints.add(f"a request: {error}")
            negotiation.decline(f"bad-value: {error}"[:200])
            return
        self._performer.run(serve(self._party, request, negotiation.dry_run), negotiation)

    def turn(self) -> float | None:
        self._complaints.tell(self._events, "peer-refused")
        return None
