"""The boundary between an agent and its north side: what the API, the command line and the page may ask of it.

Every call may be made from any thread, blocks only its caller, and fails with :class:`~asa.errors.AsaError` only.
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

        Raises Short (with a Refusal), BadWindow, UnknownPool, KeyReused, NotReady, Busy, StoreFailed.
        """
        ...

    def reservation(self, identifier: str) -> ReservationView: ...

    def reservations(
        self,
        *,
        pool: str | None = None,
        state: str | None = None,
        owner: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        """Without ``state`` those pending and active; ``all`` for ended ones too."""
        ...

    def cancel(self, identifier: str) -> ReservationView: ...

    def change(
        self, identifier: str, *, rate: int | None = None, end: int | str | None = None, patience_ms: int = 5_000
    ) -> ReservationView:
        """Resize and extend or shorten, at once or not at all. ``end``: None leaves it, ``"never"`` for ever."""
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
        """What is free here, and with patience what peers would add to it (for ``rate``, or all they would grant)."""
        ...

    def pools(self) -> list[PoolView]: ...

    def pool(self, name: str) -> PoolDetail: ...

    def seed(self, name: str, capacity: int, at: int | None = None) -> PoolView:
        """Add ``capacity`` to a pool at an origin, from ``at`` on the pool's line, or behind all that is known."""
        ...

    def peers(self) -> list[PeerView]: ...

    def transfers(self, *, in_doubt: bool = False) -> list[TransferView]: ...

    def forfeit(self, txn: str) -> TransferView:
        """Take back an escrow whose requester will never come back; only an operator can know that."""
        ...

    def params(self) -> ParamsView: ...

    def set_params(self, values: dict[str, int | bool]) -> ParamsView: ...

    def audit(self, pool: str | None = None) -> Audit: ...

    def health(self) -> Health: ...

    def status(self) -> Status: ...

    def manifest(self) -> dict[str, Any]: ...

    def events(self, after: int = 0, *, limit: int = 100, wait_ms: int = 0) -> Events:
        """Events numbered above ``after``; waits up to ``wait_ms`` until there is one."""
        ...

    def activate(self) -> Status: ...

    def deactivate(self) -> Status:
        """Stop asking and granting; what is promised stays promised."""
        ...

    def restart(self) -> Status:
        """Replace the running program by the installed version; listening sockets stay open."""
        ...

    def remove(self, confirm: str) -> dict[str, Any]:
        """Hand the capacity back to peers, purge keys and stop. ``confirm`` must be the node's name."""
        ...


__all__ = ["Event", "Service"]
