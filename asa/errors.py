"""Two roots: what is wrong at our side (:class:`AgentError`) and what a peer did (:class:`PeerFault`).

Each error has a stable ``code``, a ``message`` that says what was wrong and where, and a ``hint`` that says what to do.
"""

from __future__ import annotations

from typing import Any


class AsaError(Exception):
    """Root of all errors of the agent. ``code`` never changes; ``details`` is JSON-ready."""

    code = "internal"
    status = 500
    """The HTTP status the northbound API answers with."""

    def __init__(self, message: str, *, hint: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}


class AgentError(AsaError):
    """The caller, the configuration, the disk or the agent itself."""


class PeerFault(AsaError):
    """A peer sent something that is refused; nothing has changed here."""

    code = "peer-fault"
    status = 502


class BadRequest(AgentError):
    """A value of the wrong type or out of its range."""

    code = "bad-request"
    status = 400


class BadConfig(AgentError):
    """The configuration file cannot be used; ``details["problems"]`` lists every reason."""

    code = "bad-config"
    status = 400


class BadWindow(BadRequest):
    """A window that is empty, past or too long."""

    code = "bad-window"


class Unauthorized(AgentError):
    """Nothing of the request says who asks: no token and no certificate, or not one of those that count."""

    code = "unauthorized"
    status = 401


class NotFound(AgentError):
    code = "not-found"
    status = 404


class UnknownPool(NotFound):
    """No pool of that name is known here, which is not the same as an exhausted one."""

    code = "unknown-pool"


class UnknownReservation(NotFound):
    code = "unknown-reservation"


class UnknownTransfer(NotFound):
    code = "unknown-transfer"


class Conflict(AgentError):
    """What was asked for contradicts what there is already."""

    code = "conflict"
    status = 409


class Ended(Conflict):
    """The reservation has ended or was cancelled."""

    code = "ended"


class KeyReused(Conflict):
    """An idempotency key came back with another request."""

    code = "idempotency-key-reused"
    status = 422


class Short(AgentError):
    """There is not enough capacity. ``details`` is a :class:`~asa.views.Refusal` as JSON."""

    code = "short"
    status = 409


class LinkShort(Short):
    """The interface the traffic would take has not enough left, which no peer can change."""

    code = "link-short"


class OverCap(AgentError):
    """The project would have more than its cap; ``details`` has project, resource, cap, booked and wanted (bit/s)."""

    code = "over-cap"
    status = 409


class Duplicate(Conflict):
    """There is a reservation of the same flow in an overlapping window; ``details["id"]`` is it."""

    code = "duplicate"


class Forbidden(AgentError):
    """Neither the owner's secret nor the administrator's came with the request, or who asks has not the role for it;
    then ``details`` has role and needed."""

    code = "forbidden"
    status = 403


class Elsewhere(AgentError):
    """Another agent has to be asked; ``details["node"]`` is it."""

    code = "elsewhere"
    status = 409


class RefusedThere(AgentError):
    """The agent that has the other end refuses its part; ``details`` has node and reason."""

    code = "refused-there"
    status = 409


class NotReady(AgentError):
    """The agent is starting, stopping or not activated."""

    code = "not-ready"
    status = 503


class Busy(AgentError):
    """A bound was reached; the same may succeed later."""

    code = "busy"
    status = 503


class NotInstalled(AgentError):
    """A library that is needed only for this is not there."""

    code = "not-installed"
    status = 501


class NotCleared(AgentError):
    """Something of this agent is left in the data plane."""

    code = "not-cleared"
    status = 503


class StoreFailed(AgentError):
    """Stable storage did not take a change, which therefore was not made."""

    code = "store-failed"
    status = 507


class StoreDamaged(AgentError):
    """The database is damaged; it was set aside, never replaced."""

    code = "store-damaged"
    status = 500


class StoreLocked(AgentError):
    """Another agent uses the state directory."""

    code = "store-locked"
    status = 409


class Unreachable(AgentError):
    """No peer, or not that peer, could be reached."""

    code = "unreachable"
    status = 504


class IllegalTransition(AgentError):
    """A defect of ours: a state machine was asked for a step its table does not have."""

    code = "illegal-transition"
