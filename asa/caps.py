"""What a project may have booked of a pool or an interface: caps, and where one stands in the way. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asa.errors import BadRequest, NotFound, OverCap
from asa.ledger import Ledger
from asa.records import BANDWIDTH, Cap, Change, Plan, Reservation, is_link, removed
from objectives import InvalidValue, Window
from objectives.fields import MAX_RATE, check_name

EVERY: Final = "*"
"""Every project without a cap of its own; every resource."""

MAX_CAPS: Final = 10_000
MAX_PROJECT: Final = 255

Whole = Callable[[Ledger, str], int]
"""bit/s: all there is of a pool, of which a cap in percent is a part."""


def seeded_here(ledger: Ledger, pool: str) -> int:
    """What this agent knows without its peers."""
    return ledger.seeded(pool)


def cap_of(ledger: Ledger, project: str, resource: str) -> Cap | None:
    """The one that counts: that of the project before that of every one, that of the resource before that of every
    resource."""
    for key in (project, resource), (project, EVERY), (EVERY, resource), (EVERY, EVERY):
        found = ledger.caps.get(key)
        if found is not None:
            return found
    return None


def limit_of(ledger: Ledger, cap: Cap, resource: str, whole: Whole) -> int:
    """bit/s."""
    if not cap.percent:
        return cap.amount
    if is_link(resource):
        # Of an interface without limit there is no part.
        return ledger.links[resource] * cap.amount // 100 if resource in ledger.links else (cap.amount and MAX_RATE)
    return whole(ledger, resource) * cap.amount // 100


def check(
    ledger: Ledger, project: str, amounts: dict[str, int], window: Window, whole: Whole, extra: bool = False
) -> None:
    """Whether a project may have so much more (bit/s of each resource) over a window. Raises OverCap.

    A cap of 0 bans what takes 0 of a resource too, unless it is only ``extra`` for what there is.
    """
    if not ledger.caps:
        return
    for resource, amount in amounts.items():
        cap = cap_of(ledger, project, resource)
        if cap is None or (extra and amount <= 0):
            continue
        limit = limit_of(ledger, cap, resource, whole)
        booked = ledger.booked(project, resource, window)
        if limit == 0 or (amount > 0 and booked + amount > limit):
            raise _over(project, resource, limit, booked, amount)


def check_banned(ledger: Ledger, wanted: Reservation) -> None:
    """What takes nothing of any resource is banned with all of them; of the kinds that reserve no bandwidth with any
    of them. Raises OverCap."""
    resources = {EVERY} if wanted.kind in BANDWIDTH else {EVERY, *(resource for _, resource in ledger.caps)}
    for resource in resources if ledger.caps else ():
        cap = cap_of(ledger, wanted.owner, resource)
        if cap is not None and cap.amount == 0:
            raise _over(wanted.owner, resource, 0, 0, 0)


def _over(project: str, resource: str, limit: int, booked: int, wanted: int) -> OverCap:
    of = resource if resource != EVERY else "anything"
    return OverCap(
        f"project {project[:80] or '(none)'} may have {limit} bit/s of {of}, and has {booked} in the window",
        hint="ask the operator of this node for a higher cap" if limit else "this project may not reserve here",
        details={"project": project, "resource": resource, "cap": limit, "booked": booked, "wanted": wanted},
    )


def set_cap(ledger: Ledger, project: str, resource: str, amount: int, percent: bool) -> Plan[Cap]:
    """Raises BadRequest. What is booked above it stays."""
    if type(amount) is not int or not 0 <= amount <= (100 if percent else MAX_RATE):
        raise BadRequest(f"a cap is 0..100 % or 0..{MAX_RATE} bit/s, not {amount!r:.40}{' %' if percent else ''}")
    if not isinstance(project, str) or len(project) > MAX_PROJECT or not project.isprintable():
        raise BadRequest(f"a project is a printable text of at most {MAX_PROJECT} characters")
    _check_resource(resource)
    new, old = Cap(project, resource, amount, percent), ledger.caps.get((project, resource))
    if old is None and len(ledger.caps) >= MAX_CAPS:
        raise BadRequest(f"there are {MAX_CAPS} caps already", hint="remove some")
    return Plan((Change(old, new),) if new != old else (), new)


def remove_cap(ledger: Ledger, project: str, resource: str) -> Plan[Cap]:
    """Raises NotFound."""
    old = ledger.caps.get((project, resource))
    if old is None:
        raise NotFound(f"project {project!r:.80} has no cap of {resource!r:.80}", hint="asa caps shows them")
    return Plan(removed([old]), old)


def _check_resource(resource: str) -> None:
    if resource == EVERY:
        return
    name, colon, way = resource.partition(":") if isinstance(resource, str) else ("", "", "")
    try:
        if not colon:
            check_name(name, "the pool")
            return
    except InvalidValue as error:
        raise BadRequest(str(error)) from None
    if way not in ("in", "out") or not 1 <= len(name) <= 15 or not name.isprintable() or " " in name or "/" in name:
        raise BadRequest(
            f"{resource!r:.40} is no resource", hint="a pool's name, one direction of an interface as eth0:out, or *"
        )
