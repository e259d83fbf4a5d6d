"""The boundary between an agent and its north side: what the API, the command line and the page may ask of it.

Every call may be made from any thread, blocks only its caller, and fails with :class:`~asa.errors.AsaError` only: with
what its docstring names, or with the root itself for a defect. A call that changes something raises NotReady while the
agent starts or stops, and StoreFailed if the change could not be made durable; then nothing has changed.
"""

from __future__ import annotations

from typing import Any, Protocol

from asa.views import (
    Audit,
    Availability,
    Cancelled,
    CapView,
    EnforcementView,
    Event,
    Events,
    Health,
    LinkView,
    Page,
    ParamsView,
    PeerView,
    PoolDetail,
    PoolView,
    Refreshed,
    ReservationRequest,
    ReservationView,
    Status,
    TransferView,
)


class Service(Protocol):
    def reserve(
        self, request: ReservationRequest, key: str | None = None, secret: str | None = None
    ) -> ReservationView:
        """Admit a reservation, asking peers within the patience. With a ``key`` the same request is done once.

        With a ``secret`` only who knows it, or the administrator, may change or cancel it. Of two-way bandwidth the
        agent that serves the far end is asked for its part: both are booked, or none.

        Raises Short and LinkShort (with a Refusal), OverCap, Duplicate, Elsewhere, RefusedThere, Unreachable,
        BadRequest, BadWindow, UnknownPool, UnknownHost, UnknownClass, InvalidFlow, KeyReused, Busy, NotReady,
        StoreFailed.
        """
        ...

    def confirm(self, identifier: str, secret: str | None = None, patience_ms: int = 5_000) -> ReservationView:
        """Book what is held, at both ends.

        Raises UnknownReservation, Ended, Conflict, Forbidden, RefusedThere, Unreachable, Busy, NotReady, StoreFailed.
        """
        ...

    def reservation(self, identifier: str) -> ReservationView:
        """Raises UnknownReservation."""
        ...

    def reservations(
        self,
        *,
        pool: str | None = None,
        state: str | None = None,
        owner: str | None = None,
        kind: str | None = None,
        label: str | None = None,
        host: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        """Without ``state`` those that are not over; ``all`` for every one. ``host``: an end, as given or resolved."""
        ...

    def cancel(self, identifier: str, secret: str | None = None) -> ReservationView:
        """Free its capacity from now on, and have the other end freed. One that is cancelled is returned as it is.

        Raises UnknownReservation, Ended, Forbidden, NotReady, StoreFailed.
        """
        ...

    def cancel_all(self, secret: str, owner: str | None = None) -> Cancelled:
        """Cancel all that ``secret`` opens, of one ``owner`` or of all; the administrator has to name an owner.

        Raises BadRequest, NotReady, StoreFailed, after which some may be cancelled and some not.
        """
        ...

    def change(
        self,
        identifier: str,
        *,
        rate: int | None = None,
        back: int | None = None,
        end: int | str | None = None,
        patience_ms: int = 5_000,
        secret: str | None = None,
    ) -> ReservationView:
        """Resize and extend or shorten, at both ends, at once or not at all. ``end``: ``"never"`` for ever.

        Raises Short and LinkShort (with a Refusal), OverCap, Duplicate, RefusedThere, Unreachable, BadRequest,
        BadWindow, UnknownReservation, Ended, Conflict, Forbidden, Busy, NotReady, StoreFailed.
        """
        ...

    def refresh(self, host: str | None = None, identifier: str | None = None, secret: str | None = None) -> Refreshed:
        """Place reservations anew whose ends may have moved: one, or all that name a host. What cannot be placed anew
        stays as it was. Raises UnknownReservation, BadRequest, Forbidden, NotReady, StoreFailed."""
        ...

    def caps(self) -> list[CapView]: ...

    def set_cap(
        self, project: str, resource: str, amount: int | None, percent: bool = False, secret: str | None = None
    ) -> list[CapView]:
        """Set a cap, or with None remove it; what is booked above it stays. Returns all.

        Raises BadRequest, NotFound, Forbidden, NotReady, StoreFailed.
        """
        ...

    def links(self) -> list[LinkView]: ...

    def enforcement(self) -> EnforcementView:
        """What makes packets of this node obey, and how that goes."""
        ...

    def metrics(self) -> str:
        """In Prometheus' text format. Raises NotInstalled."""
        ...

    def pause(self, secret: str | None = None) -> Status:
        """Enforce nothing on this node until it is resumed, also over restarts; bookings stay, new ones are taken.

        Raises Forbidden, NotReady, StoreFailed.
        """
        ...

    def resume(self, secret: str | None = None) -> Status:
        """Raises Forbidden, NotReady, StoreFailed."""
        ...

    def availability(
        self,
        pool: str,
        *,
        start: int | None = None,
        end: int | None = None,
        rate: int | None = None,
        duration: int | None = None,
        patience_ms: int = 0,
    ) -> Availability:
        """What is free here, and with patience what peers would add to it (for ``rate``, or all they would grant).

        Raises BadRequest, BadWindow, UnknownPool; with patience Busy.
        """
        ...

    def pools(self) -> list[PoolView]: ...

    def pool(self, name: str) -> PoolDetail:
        """Raises BadRequest for what cannot be a name, UnknownPool."""
        ...

    def seed(self, name: str, capacity: int, at: int | None = None) -> PoolView:
        """Add ``capacity`` (bit/s) to a pool at an origin, from ``at`` on the pool's line, or behind all that is known.

        Raises Conflict if this is no origin or the place is seeded already, BadRequest, NotReady, StoreFailed.
        """
        ...

    def peers(self) -> list[PeerView]: ...

    def forget(self, node: str) -> PeerView:
        """No longer count on a peer that is gone for ever (name, or name#instance); if it is heard again it is back.

        What it held is not there any more, which the audit goes on to say. Raises NotFound, Conflict, NotReady,
        StoreFailed.
        """
        ...

    def transfers(self, *, in_doubt: bool = False) -> list[TransferView]: ...

    def forfeit(self, txn: str) -> TransferView:
        """Take back an escrow whose requester will never come back; only an operator can know that.

        Raises UnknownTransfer, Conflict if it is not in doubt or its session runs, NotReady, StoreFailed.
        """
        ...

    def params(self) -> ParamsView: ...

    def set_params(self, values: dict[str, int | bool]) -> ParamsView:
        """All values or none. Raises Conflict if this is no origin, BadRequest, NotReady, StoreFailed."""
        ...

    def audit(self, pool: str | None = None) -> Audit:
        """Ask every agent known for what it holds, and judge. One that does not answer is named in the result.

        Raises BadRequest for what cannot be a name, NotReady.
        """
        ...

    def health(self) -> Health: ...

    def status(self) -> Status: ...

    def manifest(self) -> dict[str, Any]: ...

    def events(self, after: int = 0, *, limit: int = 100, wait_ms: int = 0) -> Events:
        """Events numbered above ``after``; waits up to ``wait_ms`` until there is one.

        An ``after`` beyond the last number is of an earlier life of the agent: it starts over with the first.
        """
        ...

    def activate(self) -> Status:
        """Ask and grant. Raises NotReady, StoreFailed."""
        ...

    def deactivate(self) -> Status:
        """Stop asking and granting; what is promised stays promised. Raises NotReady, StoreFailed."""
        ...

    def restart(self) -> Status:
        """Replace the running program by the installed version; listening sockets stay open."""
        ...

    def remove(self, confirm: str) -> dict[str, Any]:
        """Hand the capacity back to peers, purge keys and stop. ``confirm`` must be the node's name.

        Raises BadRequest if it is not, Conflict with what stands in the way, NotCleared, NotReady, StoreFailed.
        """
        ...


__all__ = ["Event", "Service"]
