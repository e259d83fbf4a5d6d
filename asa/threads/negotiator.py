"""MAIN_NEGOTIATOR and NEGOTIATOR: serve what peers ask, each request in a thread of the GRASP node's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Final, TypeVar

import grasp
from asa.answering import serve
from asa.authority import Authority
from asa.events import Complaints, EventLog
from asa.pairing import serve_pact
from asa.performer import Performer
from asa.records import Reservation
from asa.steps import Party
from asa.threads.duty import Duty
from grasp import Negotiation
from grasp.rates import TokenBucket
from objectives import InvalidValue, pact, resource
from objectives.pact import Arrange

R = TypeVar("R", resource.Request, pact.Request)

REPORT_S: Final = 10.0
"""How often refused values are told of."""
RATE: Final = 100.0
"""Requests of one member served a second, and BURST at once."""
BURST: Final = 200.0
MOST_MEMBERS: Final = 4_096
"""Members whose pace is remembered; who was silent longest begins anew."""


class Pace:
    """How often each member may ask. Thread-safe."""

    def __init__(self, rate: float = RATE, burst: float = BURST, most: int = MOST_MEMBERS) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, name: str, now: float) -> bool:
        """Whether one more request of ``name`` is served now; monotonic s."""
        with self._lock:
            bucket = self._buckets.get(name)
            if bucket is None:
                bucket = self._buckets[name] = TokenBucket(self._rate, self._burst)
                if len(self._buckets) > self._most:
                    self._buckets.popitem(last=False)
            self._buckets.move_to_end(name)
            return bucket.take(now)


class MainNegotiator(Duty):
    """Listens for ``EX1.Resource`` and ``EX1.Pact``. The session's own thread is the NEGOTIATOR of RFC 9222 App. C.

    ``place`` says what the terms of a request for the other end of a reservation come to here, or raises AsaError.
    """

    name = "negotiator"
    pause = REPORT_S

    def __init__(
        self,
        asa: grasp.ASA,
        resource_name: str,
        pact_name: str,
        party: Party,
        performer: Performer,
        authority: Authority,
        place: Callable[[Arrange], Reservation],
        events: EventLog,
        complaints: Complaints,
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._asa = asa
        self._names = resource_name, pact_name
        self._party = party
        self._performer = performer
        self._authority = authority
        self._place = place
        self._events = events
        self._complaints = complaints
        self._impostors = Complaints()
        self._pace = Pace()

    def listen(self) -> None:
        """Take requests from now on."""
        resource_name, pact_name = self._names
        self._asa.on_negotiate(resource_name, self._resource)
        self._asa.on_negotiate(pact_name, self._pact)

    def _resource(self, negotiation: Negotiation) -> None:
        request = self._read(negotiation, resource.request_from_value)
        if request is not None:
            self._performer.run(serve(self._party, request, negotiation.dry_run), negotiation)

    def _pact(self, negotiation: Negotiation) -> None:
        request = self._read(negotiation, pact.request_from_value)
        if request is not None:
            self._performer.run(serve_pact(self._party, request, self._place), negotiation)

    def _read(self, negotiation: Negotiation, read: Callable[[object], R]) -> R | None:
        """The request a session began with; None if it makes no sense or is not of its sender, and is declined."""
        try:
            request = read(negotiation.offer.value)
        except InvalidValue as error:
            self._complaints.add(f"a request: {error}")
            negotiation.decline(f"bad-value: {error}"[:200])
            return None
        member = negotiation.member
        if member is not None and not self._pace.take(member.name, self._party.ticks()):
            self._complaints.add(f"{member.name} asks more than {RATE:.0f} times a second")
            if isinstance(request, resource.Give):
                # A decline is final, and nothing on disk makes this one so: the giver has to ask.
                negotiation.invalid()
            else:
                negotiation.decline("busy: too many requests a second")
            return None
        why = self._authority.impostor(member.name if member is not None else None, request.node)
        if why:
            self._impostors.add(f"{request.op}: {why}")
            negotiation.decline(why[:200])
            return None
        return request

    def turn(self) -> float | None:
        self._complaints.tell(self._events, "peer-refused")
        self._impostors.tell(self._events, "claim-refused")
        return None
