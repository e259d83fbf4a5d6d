"""The manifest: what an agent manages, what it measures and what it can be told to do (RFC 9222 §6.2.2)."""

from __future__ import annotations

from typing import Any, Final

from asa.config import Config
from asa.config.security import DOMAIN
from asa.version import VERSION
from asa.views import PoolView
from objectives import NodeId, agent, holdings, pact, params, reach, resource, revoked

METRICS: Final = {
    "pool.seeded": "bit/s all origins brought into a pool",
    "pool.held": "bit/s this agent holds now",
    "pool.committed": "bit/s promised to consumers and peers now",
    "pool.free": "bit/s free now",
    "pool.spare": "bit/s free over the policy's horizon",
    "pool.in_doubt": "bit/s in escrow for transfers whose outcome is not known",
    "reservations": "reservations that are not over",
    "link.booked": "bit/s booked of one direction of an interface now",
    "link.free": "bit/s free of it at the worst instant from now on",
    "enforcement.installed": "reservations whose rules were read back as they shall be",
    "enforcement.failed": "reservations the data plane could not put in place, and goes on trying",
    "line.guaranteed": "bit/s guaranteed to reservations on one direction of an interface now",
    "reservation.rate": "bit/s that packets of a reservation got in the last interval",
    "reservation.sent": "bytes that packets of a reservation sent",
    "reservation.dropped": "packets of a reservation that were dropped",
    "reservation.borrowed": "packets of a reservation sent beyond its guarantee",
    "reservation.verdict": "kept, idle, exceeded or starved",
    "transfers_in_doubt": "transfers whose outcome is not known",
    "peers": "agents known",
}

ACTIONS: Final = {
    "reserve": "POST /v1/reservations",
    "cancel": "DELETE /v1/reservations/{id}",
    "cancel-all": "DELETE /v1/reservations",
    "change": "PATCH /v1/reservations/{id}",
    "confirm": "POST /v1/reservations/{id}/confirm",
    "refresh": "POST /v1/refresh",
    "set-cap": "PUT /v1/caps",
    "pause": "POST /v1/agent/pause",
    "resume": "POST /v1/agent/resume",
    "seed": "POST /v1/pools",
    "forfeit": "POST /v1/transfers/{txn}/forfeit",
    "forget": "POST /v1/peers/{node}/forget",
    "set-params": "PATCH /v1/params",
    "audit": "POST /v1/audit",
    "activate": "POST /v1/agent/activate",
    "deactivate": "POST /v1/agent/deactivate",
    "restart": "POST /v1/agent/restart",
    "remove": "POST /v1/agent/remove",
}


def manifest(config: Config, me: NodeId, pools: list[PoolView]) -> dict[str, Any]:
    """JSON-ready."""
    prefix = config.grasp.objective_prefix
    return {
        "asa": "bandwidth",
        "version": VERSION,
        "node": me.name,
        "instance": me.instance,
        "mode": config.agent.mode,
        "manages": [{"pool": each.name, "held": each.held, "unit": "bit/s"} for each in pools],
        "objectives": [
            {"name": prefix + resource.NAME, "use": "negotiation", "dry_run": True, "max_size": resource.MAX_SIZE},
            {"name": prefix + pact.NAME, "use": "negotiation", "dry_run": False, "max_size": pact.MAX_SIZE},
            {"name": prefix + params.NAME, "use": "flooding and synchronization"},
            {"name": prefix + agent.NAME, "use": "flooding"},
            {"name": prefix + reach.NAME, "use": "flooding"},
            {"name": prefix + holdings.NAME, "use": "synchronization", "max_size": holdings.MAX_SIZE},
            {"name": prefix + revoked.NAME, "use": "flooding and synchronization", "max_size": revoked.MAX_SIZE},
        ],
        "parameters": {
            name: {"default": each.default, "low": each.low, "high": each.high, "unit": each.unit, "about": each.about}
            for name, each in params.PARAMETERS.items()
        },
        "metrics": METRICS,
        "actions": ACTIONS,
        "substrate": {"name": config.grasp.substrate, "secure": config.grasp.substrate == DOMAIN},
    }
