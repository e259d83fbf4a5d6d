"""What consumers and operators see: plain values, JSON-ready, the vocabulary of the northbound API.

Rates are bit/s, times UNIX seconds, ``end`` None means for ever, unless a field says otherwise.
"""

from __future__ import annotations

from asa.views.agents import (
    Audit,
    AuditPool,
    BlockView,
    DomainView,
    Health,
    NeighbourView,
    ParamsView,
    ParamView,
    PeerView,
    PoolDetail,
    PoolView,
    Problem,
    SeedView,
    Status,
    TransferView,
)
from asa.views.enforcement import (
    DifferenceView,
    Enforced,
    EnforcedLine,
    EnforcementView,
    ShapedLine,
    UsageView,
)
from asa.views.events import (
    Event,
    Events,
)
from asa.views.reservations import (
    Availability,
    Cancelled,
    CapView,
    LinkView,
    Offer,
    Page,
    Refreshed,
    Refusal,
    ReservationRequest,
    ReservationView,
    Shortage,
)

__all__ = [
    "Audit",
    "AuditPool",
    "Availability",
    "BlockView",
    "Cancelled",
    "CapView",
    "DifferenceView",
    "DomainView",
    "Enforced",
    "EnforcedLine",
    "EnforcementView",
    "Event",
    "Events",
    "Health",
    "LinkView",
    "NeighbourView",
    "Offer",
    "Page",
    "ParamView",
    "ParamsView",
    "PeerView",
    "PoolDetail",
    "PoolView",
    "Problem",
    "Refreshed",
    "Refusal",
    "ReservationRequest",
    "ReservationView",
    "SeedView",
    "ShapedLine",
    "Shortage",
    "Status",
    "TransferView",
    "UsageView",
]
