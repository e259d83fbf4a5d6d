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
    Event,
    Events,
    Health,
    Page,
    ParamsView,
    PeerView,
    PoolDetail,
    PoolView,
    ReservationRequest,
    ReservationView,
    Status,
    TransferView,
)


class Service(Protocol):
    def reserve(self, request: ReservationRequest, key: str | None = None) -> ReservationView:
        """Admit a reservation, asking peers within the patience. With a ``key`` the same request is done once.

        Raises Short (with a Refusal), BadRequest, BadWindow, UnknownPool, KeyReused, Busy, NotReady, StoreFailed.
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
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        """Without ``state`` those pending and active; ``all`` for ended ones too. Of an unknown pool there are none."""
        ...

    def cancel(self, identifier: str) -> ReservationView:
        """Free its capacity from now on. One that is cancelled already is returned as it is.

        Raises UnknownReservation, Ended, NotReady, StoreFailed.
        """
        ...

    def change(
        self, identifier: str, *, rate: int | None = None, end: int | str | None = None, patience_ms: int = 5_000
    ) -> ReservationView:
        """Resize and extend or shorten, at once or not at all. ``end``: None leaves it, ``"never"`` for ever.

        Raises Short (with a Refusal), BadRequest, BadWindow, UnknownReservation, Ended, Busy, NotReady, StoreFailed.
        """
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

        Raises BadRequest if it is not, Conflict with what stands in the way, NotReady, StoreFailed.
        """
        ...


__all__ = ["Event", "Service"]
