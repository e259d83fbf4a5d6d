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
    Duplicate,
    Elsewhere,
    Ended,
    Forbidden,
    KeyReused,
    LinkShort,
    NotFound,
    NotInstalled,
    OverCap,
    RefusedThere,
    Short,
    UnknownPool,
    UnknownReservation,
    UnknownTransfer,
    Unreachable,
)
from asa.flows import HostName, endpoint_from_text
from asa.hosts import UnknownHost
from asa.traffic import TrafficClasses

NOW = 1_800_000_000
KEPT = 1_000
LINK = "eth0:out"
ADMIN = "the administrator's"
LIVING = ("held", "parked", "pending", "installing", "active", "paused", "failed", "ending")
CLASSES = TrafficClasses()


class Double:
    """Holds 10 Gbit/s of the pool ``wan``, and 1 Gbit/s of a link that is taken without a pool.

    Behind node#2 is 192.0.2.0/24; behind node#3 is 198.51.100.0/24, of which it grants no whole and answers for no
    part. ``hold`` keeps calls that
    may wait for peers from being answered until it is set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._happened = threading.Condition(self._lock)
        self._capacity = {"wan": 10_000_000_000, LINK: 1_000_000_000}
        self._reservations: dict[str, views.ReservationView] = {}
        self._keys: dict[str, tuple[views.ReservationRequest, str]] = {}
        self._secrets: dict[str, str] = {}
        self._caps: dict[tuple[str, str], views.CapView] = {}
        self._events: list[views.Event] = []
        self._params = views.ParamsView(
            1, "node#1", [views.ParamView("lease_s", 600, 600, 10, 86_400, "s", "How long a grant lasts")]
        )
        self._transfers = {"t1": views.TransferView("t1", "held", "wan", "node#2", 5, [], "offered", True, NOW, "")}
        self.hosts = {"web1": "10.0.0.1", "web2": "10.0.0.2"}
        self.silent = "203.0.113.9"
        """An end whose agent has to be asked before what is held for it is confirmed."""
        self.scan = 4_096
        """Reservations looked at for one page."""
        self.paused = False
        self.ready = True
        self.hold: threading.Event | None = None
        self.held = threading.Semaphore(0)
        """Released once by every call that is being held."""
        self.failure: Exception | None = None
        """Raised by ``status``."""

    def happen(self, kind: str, message: str = "") -> None:
        with self._happened:
            self._events.append(views.Event(len(self._events) + 1, float(NOW), kind, message, {"x": 1}))
            self._happened.notify_all()

    def _held_up(self) -> None:
        if self.hold is not None:
            self.held.release()
            assert self.hold.wait(60)

    def reserve(
        self, request: views.ReservationRequest, key: str | None = None, secret: str | None = None
    ) -> views.ReservationView:
        self._held_up()
        with self._lock:
            if key in self._keys:
                before, identifier = self._keys[key]
                if before != request:
                    raise KeyReused("the key came with another request")
                return self._reservations[identifier]
            made = self._placed(request, f"r{len(self._reservations) + 1:06}", secret is not None)
            try:
                self._admit(made)
            except Short as short:
                if not request.park:
                    raise
                made = replace(made, state="parked", takes={}, why=short.message)
            if not request.dry_run:
                self._reservations[made.id] = made
                if secret is not None:
                    self._secrets[made.id] = secret
                if key is not None:
                    self._keys[key] = (request, made.id)
            return made

    def _placed(self, request: views.ReservationRequest, identifier: str, secret: bool) -> views.ReservationView:
        CLASSES.find(request.traffic)
        needed = {"two-way": {"rate", "back"}, "one-way": {"rate"}}.get(request.kind, set())
        for name, value in (("rate", request.rate), ("back", request.back)):
            if (name in needed) is not bool(value):
                raise BadRequest(f"{request.kind} with {name} {value}")
        source, destination = self._address(request.source, "source"), self._address(request.destination, "destination")
        if source.startswith("192.0.2."):
            raise Elsewhere("node#2 serves it", hint="reserve there", details={"node": "node#2"})
        two_way = request.kind == "two-way"
        if two_way and destination.endswith("/24"):
            raise RefusedThere("node#3 refuses its part", details={"node": "node#3", "reason": "no"})
        if two_way and destination.startswith("198.51.100."):
            raise Unreachable("node#3 does not answer")
        takes = {request.pool or LINK: request.rate + request.back} if request.rate else {}
        given: Any = request
        return views.ReservationView(
            id=identifier, pool=request.pool, rate=request.rate, start=request.start or NOW, end=request.end,
            state="held" if request.hold_s else "active", source=request.source, destination=request.destination,
            owner=request.owner, labels=request.labels, created=NOW, remaining_s=request.hold_s or None,
            kind=given.kind, protocol=request.protocol, back=request.back, traffic=request.traffic,
            through=request.through, output=request.output, source_address=source, destination_address=destination,
            takes=takes, partner="node#2" if two_way else "", secret=secret,
            held_until=NOW + request.hold_s if request.hold_s else None,
        )  # fmt: skip

    def _address(self, text: str, where: str) -> str:
        place = endpoint_from_text(text, where).place
        if not isinstance(place, HostName):
            return text
        if place.text not in self.hosts:
            raise UnknownHost(f"there is no host {place}")
        return self.hosts[place.text]

    def _living(self) -> list[views.ReservationView]:
        return [each for each in self._reservations.values() if each.state in LIVING]

    def _booked(self, resource: str, owner: str | None = None) -> int:
        return sum(each.takes.get(resource, 0) for each in self._living() if owner in (None, each.owner))

    def _admit(self, new: views.ReservationView) -> None:
        old = self._reservations.get(new.id)
        flow = new.source_address, new.destination_address, new.protocol
        for each in self._living():
            same = (each.source_address, each.destination_address, each.protocol) == flow
            if same and each.id != new.id and "any" not in flow[:2]:
                raise Duplicate(f"{each.id} is for the same flow", details={"id": each.id})
        if new.end is not None and new.end <= NOW:
            raise BadWindow("the window has passed")
        for resource, amount in new.takes.items():
            if resource not in self._capacity:
                raise UnknownPool(f"no pool {resource}")
            had = old.takes.get(resource, 0) if old is not None else 0
            cap = self._caps.get((new.owner, resource))
            booked = self._booked(resource, new.owner) - had
            if cap is not None and booked + amount > cap.amount:
                details = {"project": new.owner, "resource": resource, "cap": cap.amount, "booked": booked}
                raise OverCap("more than the cap", details=details | {"wanted": amount})
            free = self._capacity[resource] - self._booked(resource) + had
            if amount > free:
                raise (LinkShort if resource == LINK else Short)(
                    f"{amount - free} bit/s short",
                    hint="reserve less",
                    details={
                        "resource": resource,
                        "shortages": [{"start": NOW, "end": new.end, "missing": amount - free}],
                        "lower_rate": {"rate": free, "start": NOW, "end": new.end},
                        "later_start": None, "shorter": None, "peers_asked": ["node#2: declined"],
                    },
                )  # fmt: skip

    def _open(self, identifier: str, secret: str | None) -> views.ReservationView:
        found = self.reservation(identifier)
        if found.secret and secret not in (ADMIN, self._secrets[identifier]):
            raise Forbidden(f"{identifier} is changed with its owner's secret only")
        return found

    def _administer(self, secret: str | None) -> None:
        if secret != ADMIN:
            raise Forbidden("only the administrator may")

    def confirm(self, identifier: str, secret: str | None = None, patience_ms: int = 5_000) -> views.ReservationView:
        self._held_up()
        with self._lock:
            found = self._open(identifier, secret)
            if found.state == "cancelled":
                raise Ended("it was cancelled")
            if found.state == "parked":
                raise Conflict("it is parked, not held")
            if found.destination_address == self.silent and patience_ms == 0:
                raise Unreachable("nobody was asked")
            self._reservations[identifier] = replace(found, state="active", held_until=None, remaining_s=None)
            return self._reservations[identifier]

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
        kind: str | None = None,
        label: str | None = None,
        host: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> views.Page:
        rest = [each for _, each in sorted(self._reservations.items()) if each.id > (after or "")]
        found: list[views.ReservationView] = []
        last = None
        for last in rest[: self.scan]:
            ends = last.source, last.destination, last.source_address, last.destination_address
            if (
                (state == "all" or (last.state in LIVING if state is None else last.state == state))
                and (pool is None or pool == last.pool)
                and (owner is None or owner == last.owner)
                and (kind is None or kind == last.kind)
                and (label is None or label in last.labels)
                and (host is None or host in ends)
            ):
                found.append(last)
            if len(found) == limit:
                break
        return views.Page(found, last.id if last is not None and last is not rest[-1] else None)

    def cancel(self, identifier: str, secret: str | None = None) -> views.ReservationView:
        with self._lock:
            found = self._open(identifier, secret)
            self._reservations[identifier] = replace(found, state="cancelled", remaining_s=0, takes={})
            return self._reservations[identifier]

    def cancel_all(self, secret: str, owner: str | None = None) -> views.Cancelled:
        if secret == ADMIN and owner is None:
            raise BadRequest("the administrator has to name an owner")
        ids = [
            each.id
            for each in self._living()
            if owner in (None, each.owner) and secret in (ADMIN, self._secrets.get(each.id))
        ]
        for identifier in ids:
            self.cancel(identifier, secret)
        return views.Cancelled(len(ids), ids[:1_000])

    def change(
        self,
        identifier: str,
        *,
        rate: int | None = None,
        back: int | None = None,
        end: int | str | None = None,
        patience_ms: int = 5_000,
        secret: str | None = None,
    ) -> views.ReservationView:
        self._held_up()
        with self._lock:
            before = self._open(identifier, secret)
            if before.state == "cancelled":
                raise Ended("it was cancelled")
            if back is not None and before.kind != "two-way":
                raise BadRequest(f"{before.kind} has no back")
            until = None if end == "never" else before.end if end is None else int(end)
            new = replace(before, rate=rate or before.rate, back=back or before.back, end=until)
            new = replace(new, takes=dict.fromkeys(before.takes, new.rate + new.back))
            self._admit(new)
            self._reservations[identifier] = new
            return new

    def refresh(
        self, host: str | None = None, identifier: str | None = None, secret: str | None = None
    ) -> views.Refreshed:
        self._held_up()
        if identifier is None:
            found = [each for each in self._living() if host in (each.source, each.destination)]
        else:
            found = [self._open(identifier, secret)]
        done = views.Refreshed([], [], {})
        for each in found:
            try:
                self._open(each.id, secret)
                source, destination = (
                    self._address(each.source, "source"),
                    self._address(each.destination, "destination"),
                )
            except AsaError as error:
                done.failed[each.id] = error.message
                continue
            new = replace(each, source_address=source, destination_address=destination)
            (done.same if new == each else done.moved).append(each.id)
            self._reservations[each.id] = new
        return done

    def caps(self) -> list[views.CapView]:
        return [each for _, each in sorted(self._caps.items())]

    def set_cap(
        self, project: str, resource: str, amount: int | None, percent: bool = False, secret: str | None = None
    ) -> list[views.CapView]:
        self._administer(secret)
        if amount is None:
            if self._caps.pop((project, resource), None) is None:
                raise NotFound(f"{project!r} has no cap of {resource!r}")
        elif percent and amount > 100:
            raise BadRequest("a cap is 0..100 %")
        else:
            self._caps[project, resource] = views.CapView(project, resource, amount, percent)
        return self.caps()

    def links(self) -> list[views.LinkView]:
        capacity, booked = self._capacity[LINK], self._booked(LINK)
        count = sum(LINK in each.takes for each in self._living())
        return [views.LinkView(LINK, capacity, booked, capacity - booked, count)]

    def enforcement(self) -> views.EnforcementView:
        shaped = views.ShapedLine(LINK, self._capacity[LINK], 8_000, self._booked(LINK), 1, "")
        difference = views.DifferenceView(NOW, LINK, ["r000001"], "missing", "nothing", "1Mbit up to 2Mbit")
        return views.EnforcementView(
            back_end="tc-nft", effect=not self.paused, paused=self.paused, trouble="", ways=["out", "in"],
            actions=["guarantee", "keep"], marks=True, expires=True, notes=["no steering"], lines=[shaped],
            installed=len(self._living()), installing=0, failed=0, removing=0, reconciled=NOW,
            differences=[difference],
        )  # fmt: skip

    def metrics(self) -> str:
        if not self.ready:
            raise NotInstalled("metrics need a library")
        return "# TYPE asa_peers gauge\nasa_peers 1.0\n"

    def pause(self, secret: str | None = None) -> views.Status:
        self._administer(secret)
        self.paused = True
        return self.status()

    def resume(self, secret: str | None = None) -> views.Status:
        self._administer(secret)
        self.paused = False
        return self.status()

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
        return [self.pool(name).pool for name in sorted(self._capacity) if name != LINK]

    def pool(self, name: str) -> views.PoolDetail:
        if name not in self._capacity:
            raise UnknownPool(f"no pool {name!r}")
        held = self._capacity[name]
        committed = self._booked(name)
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
            self.pools(), 1, len(self.transfers(in_doubt=True)), len(self._living()), self._params.serial, self.paused,
            ["10.0.0.0/8"], "tc-nft", not self.paused,
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
            raise BadRequest("that is not this node's name")
        return {"handed_back": {"wan": 10}}


__all__ = ["ADMIN", "LINK", "NOW", "AsaError", "Double"]
