"""A service in memory: capacity as one number per pool, admission by adding up, events in a list."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from asa import views
from asa.errors import (
    AsaError,
    BadRequest,
    BadWindow,
    Conflict,
    Ended,
    KeyReused,
    NotFound,
    Short,
    UnknownPool,
    UnknownReservation,
    UnknownTransfer,
)

NOW = 1_800_000_000
KEPT = 1_000


class Double:
    """Holds 10 Gbit/s of the pool ``wan``. ``hold`` keeps reservations from being answered until it is set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._happened = threading.Condition(self._lock)
        self._capacity = {"wan": 10_000_000_000}
        self._reservations: dict[str, views.ReservationView] = {}
        self._keys: dict[str, tuple[views.ReservationRequest, str]] = {}
        self._events: list[views.Event] = []
        self._params = views.ParamsView(
            1, "node#1", [views.ParamView("lease_s", 600, 600, 10, 86_400, "s", "How long a grant lasts")]
        )
        self._transfers = {"t1": views.TransferView("t1", "held", "wan", "node#2", 5, [], "offered", True, NOW, "")}
        self.ready = True
        self.hold: threading.Event | None = None
        self.held = threading.Semaphore(0)
        """Released once by every reservation that is being held."""
        self.failure: Exception | None = None
        """Raised by ``status``."""

    def happen(self, kind: str, message: str = "") -> None:
        with self._happened:
            self._events.append(views.Event(len(self._events) + 1, float(NOW), kind, message, {"x": 1}))
            self._happened.notify_all()

    def reserve(self, request: views.ReservationRequest, key: str | None = None) -> views.ReservationView:
        if self.hold is not None:
            self.held.release()
            assert self.hold.wait(20)
        with self._lock:
            if key in self._keys:
                before, identifier = self._keys[key]
                if before != request:
                    raise KeyReused("the key came with another request")
                return self._reservations[identifier]
            self._admit(request.pool, request.rate, request.end)
            number = f"r{len(self._reservations) + 1:06}"
            made = views.ReservationView(
                number, request.pool, request.rate, request.start or NOW, request.end, "active", request.source,
                request.destination, request.owner, request.label, NOW, None,
            )  # fmt: skip
            if not request.dry_run:
                self._reservations[number] = made
                if key is not None:
                    self._keys[key] = (request, number)
            return made

    def _admit(self, pool: str, rate: int, end: int | None) -> None:
        if pool not in self._capacity:
            raise UnknownPool(f"no pool {pool}")
        if end is not None and end <= NOW:
            raise BadWindow("the window has passed")
        free = self._capacity[pool] - sum(r.rate for r in self._reservations.values() if r.state == "active")
        if rate > free:
            raise Short(
                f"{rate - free} bit/s short",
                hint="reserve less",
                details={
                    "shortages": [{"start": NOW, "end": end, "missing": rate - free}],
                    "lower_rate": {"rate": free, "start": NOW, "end": end},
                    "later_start": None, "shorter": None, "peers_asked": ["node#2: declined"],
                },
            )  # fmt: skip

    def reservation(self, identifier: str) -> views.ReservationView:
        try:
            return self._reservations[identifier]
        except KeyError:
            raise UnknownReservation(f"no reservation {identifier!r}") from None

    def reservations(
        self,
        *,
        pool: str | None = None,
        state: str | None = None,
        owner: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> views.Page:
        states = {None: ("pending", "active"), "all": ("pending", "active", "ended", "cancelled")}.get(state, (state,))
        found = [
            each
            for _, each in sorted(self._reservations.items())
            if each.state in states and pool in (None, each.pool) and owner in (None, each.owner)
        ]
        rest = [each for each in found if after is None or each.id > after]
        return views.Page(rest[:limit], len(found), rest[limit - 1].id if len(rest) > limit else None)

    def cancel(self, identifier: str) -> views.ReservationView:
        with self._lock:
            self._reservations[identifier] = replace(self.reservation(identifier), state="cancelled", remaining_s=0)
            return self._reservations[identifier]

    def change(
        self, identifier: str, *, rate: int | None = None, end: int | str | None = None, patience_ms: int = 5_000
    ) -> views.ReservationView:
        with self._lock:
            before = self.reservation(identifier)
            if before.state == "cancelled":
                raise Ended("it was cancelled")
            self._admit(before.pool, (rate or before.rate) - before.rate, None)
            after = None if end == "never" else before.end if end is None else int(end)
            self._reservations[identifier] = replace(before, rate=rate or before.rate, end=after)
            return self._reservations[identifier]

    def availability(
        self,
        pool: str,
        *,
        start: int | None = None,
        end: int | None = None,
        rate: int | None = None,
        duration: int | None = None,
        patience_ms: int = 0,
    ) -> views.Availability:
        free = self.pool(pool).pool.free
        return views.Availability(
            pool, start or NOW, end, free, [(start or NOW, free)], NOW if rate else None, 0, 7 if patience_ms else None
        )

    def pools(self) -> list[views.PoolView]:
        return [self.pool(name).pool for name in sorted(self._capacity)]

    def pool(self, name: str) -> views.PoolDetail:
        if name not in self._capacity:
            raise UnknownPool(f"no pool {name!r}")
        held = self._capacity[name]
        committed = sum(r.rate for r in self._reservations.values() if r.state == "active" and r.pool == name)
        seeds = [views.SeedView(0, held, "node#1")]
        return views.PoolDetail(
            views.PoolView(name, held, seeds, held, committed, held - committed, held - committed, 0, 1, 0, []),
            [views.BlockView(0, held, NOW, None)],
        )

    def seed(self, name: str, capacity: int, at: int | None = None) -> views.PoolView:
        with self._lock:
            if at is not None and at < self._capacity.get(name, 0):
                raise Conflict("seeded already")
            self._capacity[name] = self._capacity.get(name, 0) + capacity
        return self.pool(name).pool

    def peers(self) -> list[views.PeerView]:
        return [views.PeerView("node#2", "[fe80::2]:7000", {"wan": 5}, 1.5, True, 0, 0.0)]

    def forget(self, node: str) -> views.PeerView:
        for each in self.peers():
            if node in (each.node, each.node.partition("#")[0]):
                return each
        raise NotFound(f"there is no peer {node!r}")

    def transfers(self, *, in_doubt: bool = False) -> list[views.TransferView]:
        return [each for each in self._transfers.values() if each.in_doubt or not in_doubt]

    def forfeit(self, txn: str) -> views.TransferView:
        if txn not in self._transfers:
            raise UnknownTransfer(f"no transfer {txn!r}")
        self._transfers[txn] = replace(self._transfers[txn], in_doubt=False, state="forfeited")
        return self._transfers[txn]

    def params(self) -> views.ParamsView:
        return self._params

    def set_params(self, values: dict[str, int | bool]) -> views.ParamsView:
        for name, value in values.items():
            if name != "lease_s":
                raise BadRequest(f"no parameter {name!r}")
            params = [replace(self._params.params[0], value=value)]
            self._params = replace(self._params, serial=self._params.serial + 1, params=params)
        return self._params

    def audit(self, pool: str | None = None) -> views.Audit:
        pools = [pool] if pool else sorted(self._capacity)
        found = [views.AuditPool(each, 10, 10, 0, True, [], [], [], []) for each in pools]
        return views.Audit(True, True, 1, ["node#1"], [], found)

    def health(self) -> views.Health:
        return views.Health("ok" if self.ready else "starting", self.ready, "node#1", "0.1", [], {"main": "ok"}, "3")

    def status(self) -> views.Status:
        if self.failure is not None:
            raise self.failure
        return views.Status(
            "node#1", "1", "origin", "operational", "0.1", 1, NOW, 5, "plain", False, 7017, ["lo"], self.health(),
            self.pools(), 1, len(self.transfers(in_doubt=True)), len(self._reservations), self._params.serial,
        )  # fmt: skip

    def manifest(self) -> dict[str, Any]:
        return {"name": "asa"}

    def events(self, after: int = 0, *, limit: int = 100, wait_ms: int = 0) -> views.Events:
        with self._happened:
            self._happened.wait_for(lambda: len(self._events) > after, wait_ms / 1000)
            kept = self._events[-KEPT:]
            first = kept[0].number if kept else 1
            found = [event for event in kept if event.number > after][:limit]
            missed = max(0, first - after - 1) if found else 0
            return views.Events(found, found[-1].number if found else after, missed)

    def activate(self) -> views.Status:
        return self.status()

    def deactivate(self) -> views.Status:
        return self.status()

    def restart(self) -> views.Status:
        return self.status()

    def remove(self, confirm: str) -> dict[str, Any]:
        if confirm != "node#1":
            raise Conflict("that is not this node's name")
        return {"handed_back": {"wan": 10}}


__all__ = ["NOW", "AsaError", "Double"]
