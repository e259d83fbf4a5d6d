"""The endpoints: each one call of the service, and all of them as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from msgspec.structs import asdict

from asa import views
from asa.errors import (
    BadRequest,
    BadWindow,
    Conflict,
    Duplicate,
    Elsewhere,
    Ended,
    Forbidden,
    KeyReused,
    LinkShort,
    NotCleared,
    NotFound,
    NotInstalled,
    NotReady,
    OverCap,
    RefusedThere,
    Short,
    StoreFailed,
    UnknownPool,
    UnknownReservation,
    UnknownTransfer,
    Unreachable,
)
from asa.flows import InvalidFlow
from asa.hosts import UnknownHost
from asa.northbound import bodies
from asa.northbound.roles import CONSUMER, OPERATOR, READER
from asa.northbound.routes import Call, Reply, Route
from asa.service import Service
from asa.traffic import UnknownClass


@dataclass(frozen=True, slots=True)
class Index:
    """Where to look."""

    service: str
    openapi: str
    """The path of the description of every endpoint."""
    endpoints: list[str]
    """Method and path, each."""


def index(service: Service, call: Call) -> Index:
    return Index("asa", "/openapi.json", [f"{route.method} {route.path}" for route in ROUTES])


def health(service: Service, call: Call) -> Reply:
    found = service.health()
    return Reply(found, status=200 if found.ready else 503)


def seed(service: Service, call: Call) -> Reply:
    body: bodies.Seed = call.body
    seeded = service.seed(body.name, body.capacity, body.at)
    return Reply(seeded, location=f"/v1/pools/{quote(seeded.name, safe='')}")


def reserve(service: Service, call: Call) -> Reply:
    body: bodies.Reserve = call.body
    made = service.reserve(views.ReservationRequest(**asdict(body)), call.key, call.secret)
    if body.dry_run:
        return Reply(made, status=200)
    return Reply(made, location=f"/v1/reservations/{quote(made.id, safe='')}")


def reservations(service: Service, call: Call) -> views.Page:
    return service.reservations(**asdict(call.query))


def confirm(service: Service, call: Call) -> views.ReservationView:
    return service.confirm(call.path[0], call.secret, call.body.patience_ms)


def cancel_all(service: Service, call: Call) -> views.Cancelled:
    # The route needs it.
    assert call.secret is not None
    return service.cancel_all(call.secret, call.query.owner)


def change(service: Service, call: Call) -> views.ReservationView:
    body: bodies.Change = call.body
    if body.rate is None and body.back is None and body.end is None:
        raise BadRequest(
            "nothing to change", hint="give rate, back, end or several", details={"path": "$", "expected": "rate"}
        )
    return service.change(call.path[0], **asdict(body), secret=call.secret)


def refresh_reservation(service: Service, call: Call) -> views.Refreshed:
    return service.refresh(identifier=call.path[0], secret=call.secret)


def refresh(service: Service, call: Call) -> views.Refreshed:
    return service.refresh(host=call.body.host, secret=call.secret)


def set_cap(service: Service, call: Call) -> list[views.CapView]:
    body: bodies.Cap = call.body
    return service.set_cap(body.project, body.resource, body.amount, body.percent, call.secret)


def availability(service: Service, call: Call) -> views.Availability:
    return service.availability(**asdict(call.query))


def forfeit(service: Service, call: Call) -> views.TransferView:
    _confirmed(call.body, "forfeit only what its requester will never come back for")
    return service.forfeit(call.path[0])


def forget(service: Service, call: Call) -> views.PeerView:
    _confirmed(call.body, "forget only a peer that will never come back")
    return service.forget(call.path[0])


def _confirmed(body: bodies.GoneForEver, hint: str) -> None:
    if not body.confirm:
        raise BadRequest("field $.confirm: expected true", hint=hint, details={"path": "$.confirm", "expected": "true"})


def openapi(service: Service, call: Call) -> dict[str, Any]:
    # Made when first asked for: it reads sources, and most agents are never asked.
    from asa.northbound.openapi import document

    global _document
    if _document is None:
        _document = document(ROUTES)
    return _document


_document: dict[str, Any] | None = None
METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""

_CHANGES: Final = (NotReady, StoreFailed)
_ADMITS: Final = (Short, LinkShort, OverCap, Duplicate, RefusedThere, Unreachable, BadWindow, *_CHANGES)

ROUTES: Final[tuple[Route, ...]] = (
    Route("index", "GET", "/", "Where to look.", index, Index, role=READER),
    Route("openapi", "GET", "/openapi.json", "This document.", openapi, dict[str, Any], role=READER),
    Route(
        "health", "GET", "/v1/health", "Whether the agent is well: 200 if reservations are accepted, otherwise 503 with"
        " the same body.", health, views.Health, also=(503,), role=READER,
    ),
    Route(
        "status", "GET", "/v1/status", "What the agent is and does.",
        lambda service, call: service.status(), views.Status, role=READER,
    ),
    Route(
        "manifest", "GET", "/v1/manifest", "The agent's own description of itself (RFC 9222 §5).",
        lambda service, call: service.manifest(), dict[str, Any], role=READER,
    ),
    Route(
        "pools", "GET", "/v1/pools", "Every pool known here.",
        lambda service, call: service.pools(), list[views.PoolView], role=READER,
    ),
    Route(
        "pool", "GET", "/v1/pools/{name}", "One pool and the blocks held of it.",
        lambda service, call: service.pool(call.path[0]), views.PoolDetail, errors=(UnknownPool,), role=READER,
    ),
    Route(
        "seed", "POST", "/v1/pools", "Seed a pool at its origin, or grow it.", seed, views.PoolView, 201,
        body=bodies.Seed, errors=(Conflict, *_CHANGES), role=OPERATOR,
    ),
    Route(
        "reserve", "POST", "/v1/reservations", "Reserve bandwidth, or treatment of packets, asking peers within the"
        " patience. With an Idempotency-Key the same request is done once however often it is sent; with an Asa-Secret"
        " only who knows it, or the administrator, may change or cancel it. A dry run changes nothing and is answered"
        " 200.", reserve, views.ReservationView, 201, body=bodies.Reserve, key=True, also=(200,), secret=True,
        long=True, errors=(UnknownPool, UnknownHost, UnknownClass, InvalidFlow, Elsewhere, KeyReused, *_ADMITS),
        role=CONSUMER,
    ),
    Route(
        "reservations", "GET", "/v1/reservations", "Reservations made here, in order of id, a page at a time.",
        reservations, views.Page, query=bodies.ReservationsQuery, role=READER,
    ),
    Route(
        "cancel_all", "DELETE", "/v1/reservations", "Cancel all reservations that the secret opens. If it fails some"
        " may be cancelled and some not; it may be repeated.", cancel_all, views.Cancelled, query=bodies.CancelQuery,
        secret=True, secret_needed=True, errors=_CHANGES, role=CONSUMER,
    ),
    Route(
        "reservation", "GET", "/v1/reservations/{id}", "One reservation.",
        lambda service, call: service.reservation(call.path[0]), views.ReservationView, errors=(UnknownReservation,),
        role=READER,
    ),
    Route(
        "change", "PATCH", "/v1/reservations/{id}", "Resize, extend or shorten a reservation, at once or not at all.",
        change, views.ReservationView, body=bodies.Change, secret=True, long=True,
        errors=(UnknownReservation, Ended, Conflict, Forbidden, *_ADMITS), role=CONSUMER,
    ),
    Route(
        "cancel", "DELETE", "/v1/reservations/{id}", "Cancel a reservation; a cancelled one is returned as it is.",
        lambda service, call: service.cancel(call.path[0], call.secret), views.ReservationView, secret=True,
        errors=(UnknownReservation, Ended, Forbidden, *_CHANGES), role=CONSUMER,
    ),
    Route(
        "confirm", "POST", "/v1/reservations/{id}/confirm", "Book what is held, at both ends.", confirm,
        views.ReservationView, body=bodies.Confirm, body_optional=True, secret=True, long=True,
        errors=(UnknownReservation, Ended, Conflict, Forbidden, RefusedThere, Unreachable, *_CHANGES), role=CONSUMER,
    ),
    Route(
        "refresh_reservation", "POST", "/v1/reservations/{id}/refresh", "Place a reservation anew whose ends may have"
        " moved; if it cannot be it stays as it was.", refresh_reservation, views.Refreshed, body=bodies.Nothing,
        body_optional=True, secret=True, long=True, errors=(UnknownReservation, Ended, Forbidden, *_CHANGES),
        role=CONSUMER,
    ),
    Route(
        "refresh", "POST", "/v1/refresh", "Place all reservations anew that name a host; those that cannot be stay as"
        " they were.", refresh, views.Refreshed, body=bodies.Refresh, secret=True, long=True,
        errors=(UnknownReservation, Forbidden, *_CHANGES), role=OPERATOR,
    ),
    Route(
        "caps", "GET", "/v1/caps", "What each project may have booked.",
        lambda service, call: service.caps(), list[views.CapView], role=READER,
    ),
    Route(
        "set_cap", "PUT", "/v1/caps", "Set a cap, or remove it; answers all of them.", set_cap, list[views.CapView],
        body=bodies.Cap, secret=True, errors=(NotFound, Forbidden, *_CHANGES), role=OPERATOR,
    ),
    Route(
        "links", "GET", "/v1/links", "The interfaces whose capacity is limited, each direction.",
        lambda service, call: service.links(), list[views.LinkView], role=READER,
    ),
    Route(
        "enforcement", "GET", "/v1/enforcement", "What makes packets of this node obey, and how that goes: the lines"
        " that are shaped, how many reservations are in place, and what had to be put right.",
        lambda service, call: service.enforcement(), views.EnforcementView, role=READER,
    ),
    Route(
        "metrics", "GET", "/v1/metrics", "What is measured, in the text format of Prometheus; of at most 1000"
        " reservations each by itself.", lambda service, call: service.metrics(), str, media=METRICS,
        errors=(NotInstalled,), role=READER,
    ),
    Route(
        "availability", "GET", "/v1/availability", "How much of a pool is free over a window, when a rate would fit,"
        " and with patience what peers would add.", availability, views.Availability, query=bodies.AvailabilityQuery,
        long=True, errors=(BadWindow, UnknownPool), role=READER,
    ),
    Route(
        "peers", "GET", "/v1/peers", "The peers known here.",
        lambda service, call: service.peers(), list[views.PeerView], role=READER,
    ),
    Route(
        "forget", "POST", "/v1/peers/{node}/forget", "No longer count on a peer that is gone for ever.",
        forget, views.PeerView, body=bodies.GoneForEver, errors=(NotFound, Conflict, *_CHANGES), role=OPERATOR,
    ),
    Route(
        "transfers", "GET", "/v1/transfers", "Capacity given, taken and held in escrow.",
        lambda service, call: service.transfers(in_doubt=call.query.in_doubt), list[views.TransferView],
        query=bodies.TransfersQuery, role=READER,
    ),
    Route(
        "forfeit", "POST", "/v1/transfers/{txn}/forfeit", "Take back an escrow whose requester will never come back.",
        forfeit, views.TransferView, body=bodies.GoneForEver, errors=(UnknownTransfer, Conflict, *_CHANGES),
        role=OPERATOR,
    ),
    Route(
        "params", "GET", "/v1/params", "The policy in force.",
        lambda service, call: service.params(), views.ParamsView, role=READER,
    ),
    Route(
        "set_params", "PATCH", "/v1/params", "Set parameters of the policy, all of them or none.",
        lambda service, call: service.set_params(call.body), views.ParamsView, body=bodies.Params,
        errors=(Conflict, *_CHANGES), role=OPERATOR,
    ),
    Route(
        "audit", "POST", "/v1/audit", "Whether the blocks of all agents partition what was seeded.",
        lambda service, call: service.audit(call.body.pool), views.Audit, body=bodies.AuditWish, body_optional=True,
        long=True, errors=(UnknownPool, NotReady), role=OPERATOR,
    ),
    Route(
        "events", "GET", "/v1/events", "What happened; may wait until something does.",
        lambda service, call: service.events(call.query.after, limit=call.query.limit), views.Events,
        query=bodies.EventsQuery, role=READER,
    ),
    Route(
        "stream", "GET", "/v1/events/stream", "What happens, as server-sent events: `id` is the event's number, `event`"
        " its kind, `data` the event. Behind a gap comes an event `missed` without id; silence is broken by a comment"
        " every 15 s.", lambda service, call: service.events(call.query.after), views.Event, query=bodies.StreamQuery,
        stream=True, role=READER,
    ),
    Route(
        "activate", "POST", "/v1/agent/activate", "Ask and grant.", lambda service, call: service.activate(),
        views.Status, body=bodies.Nothing, body_optional=True, errors=_CHANGES, role=OPERATOR,
    ),
    Route(
        "deactivate", "POST", "/v1/agent/deactivate", "Stop asking and granting; what is promised stays promised.",
        lambda service, call: service.deactivate(), views.Status, body=bodies.Nothing, body_optional=True,
        errors=_CHANGES, role=OPERATOR,
    ),
    Route(
        "pause", "POST", "/v1/agent/pause", "Enforce nothing on this node until it is resumed, also over restarts;"
        " bookings stay, and new ones are taken.", lambda service, call: service.pause(call.secret), views.Status,
        body=bodies.Nothing, body_optional=True, secret=True, errors=(Forbidden, *_CHANGES),
        role=OPERATOR,
    ),
    Route(
        "resume", "POST", "/v1/agent/resume", "Enforce again.", lambda service, call: service.resume(call.secret),
        views.Status, body=bodies.Nothing, body_optional=True, secret=True, errors=(Forbidden, *_CHANGES),
        role=OPERATOR,
    ),
    Route(
        "restart", "POST", "/v1/agent/restart", "Replace the running program by the installed version.",
        lambda service, call: service.restart(), views.Status, body=bodies.Nothing, body_optional=True, role=OPERATOR,
    ),
    Route(
        "remove", "POST", "/v1/agent/remove", "Hand the capacity back to peers, purge keys and stop.",
        lambda service, call: service.remove(call.body.confirm), dict[str, Any], body=bodies.Remove, long=True,
        errors=(Conflict, NotCleared, *_CHANGES), role=OPERATOR,
    ),
)  # fmt: skip
"""Every endpoint there is."""
