"""What docs/reservations.md says, as simply as it can be written: lists, and counting at every instant that matters.

Nothing of ``asa`` is used here. An agent is a :class:`Site`, a reservation a :class:`Booking`; what is refused raises
:class:`Refusal` with its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_network
from typing import Any

End = tuple[str, str, int | None]
"""Place, port and VLAN of one end, as they are written."""

CLASSES = ("default", "voice", "control", "data")
BANDWIDTH = ("two-way", "one-way")
OVER = ("ended", "cancelled")
MARGIN = 90
"""Seconds by which clocks of other agents may be behind."""
SKEW = 60
PARKABLE = (
    "short", "link-short", "over-cap", "unknown-host", "unreachable", "refused-there", "elsewhere", "no-route", "busy",
    "unknown-pool",
)  # fmt: skip


class Refusal(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Crashed(Exception):
    """The agent did not live to answer."""


def text(end: End) -> str:
    place, port, vlan = end
    if port:
        place = f"[{place}]:{port}" if ":" in place else f"{place}:{port}"
    return place if vlan is None else f"{place}{{{vlan}}}"


def is_name(place: str) -> bool:
    return place.startswith("h")


def is_network(place: str) -> bool:
    return place != "any" and not is_name(place) and place.count(":") != 5


def covers(prefix: str, place: str) -> bool:
    if not is_network(place):
        return False
    outer, inner = ip_network(prefix), ip_network(place)
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def length(prefix: str) -> int:
    return ip_network(prefix).prefixlen


@dataclass
class Booking:
    id: str
    kind: str
    asked: tuple[End, End]
    """As they were written, this agent's end first."""
    rate: int
    back: int
    start: int
    end: int | None
    state: str
    """held, prepared, booked, parked, cancelled or lapsed."""
    created: int
    changed: int
    protocol: str = "any"
    ends: tuple[End, End] = (("any", "", None), ("any", "", None))
    """With names resolved."""
    pool: str = ""
    owner: str = ""
    labels: tuple[str, ...] = ()
    traffic: str = "default"
    through: tuple[str, ...] = ()
    output: str = ""
    claims: tuple[tuple[str, str], ...] = ()
    """What it takes: a resource, and ``rate``, ``back`` or ``both``."""
    until: int | None = None
    secret: str | None = None
    partner: str = ""
    why: str = ""

    def takes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for resource, what in self.claims:
            amount = {"rate": self.rate, "back": self.back, "both": self.rate + self.back}[what]
            found[resource] = found.get(resource, 0) + amount
        return found

    def at(self, time: int) -> bool:
        return self.start <= time and (self.end is None or time < self.end)

    def passed(self, now: int) -> bool:
        return self.end is not None and self.end <= now

    def names(self) -> tuple[str, ...]:
        """As they were written, of those that could be resolved."""
        return tuple(
            text(asked) if is_name(asked[0]) and not is_name(end[0]) else ""
            for asked, end in zip(self.asked, self.ends, strict=True)
        )

    def shown(self, now: int, paused: bool) -> str:
        """The state of the table in the document."""
        if self.state == "cancelled":
            return "cancelled"
        if self.state == "lapsed" or self.passed(now):
            return "ended"
        if self.state in ("held", "prepared"):
            return "ended" if self.until is not None and self.until <= now else "held"
        if self.state == "parked":
            return "parked"
        if self.start > now:
            return "pending"
        return "paused" if paused else "active"

    def of_host(self, host: str) -> bool:
        """Whether an end is of a host, as it was given or resolved, whatever its port and VLAN."""
        return any(host in (end[0], text(end)) for end in (*self.ends, *self.asked))

    def over(self, now: int) -> bool:
        return self.shown(now, False) in OVER

    def taking(self, now: int) -> bool:
        return self.state in ("held", "prepared", "booked") and not self.over(now)

    def flow(self) -> object:
        """What duplicates have in common; None: it says of no packets that they are its own."""
        if self.protocol == "any" and all(each == ("any", "", None) for each in self.ends):
            return None
        pair: Any = frozenset(self.ends) if self.kind == "two-way" else self.ends
        return self.kind, self.protocol, pair, self.output

    def like(self, other: Booking) -> bool:
        return all(
            getattr(self, each.name) == getattr(other, each.name) for each in fields(self) if each.name != "changed"
        )


def at(takers: Iterable[tuple[Booking, int]], time: int) -> int:
    """How much they take at an instant."""
    return sum(amount for each, amount in takers if each.at(time))


@dataclass
class Open:
    """What the other agent has decided, and has not been heard here."""

    peer: str
    before: Booking | None
    after: Booking
    accepted: bool = False


@dataclass
class Notice:
    at: int
    end: int | None


@dataclass
class Site:
    """One agent. ``routes``: prefix, interface or None, pools or None."""

    name: str
    serves: tuple[str, ...]
    routes: tuple[tuple[str, str | None, tuple[str, ...] | None], ...]
    links: dict[str, int]
    pools: dict[str, int]
    prefer: int
    admin: str | None
    hosts: dict[str, dict[int, str]] = field(default_factory=dict)
    caps: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    paused: bool = False
    up: bool = True
    books: list[Booking] = field(default_factory=list)
    open: dict[str, Open] = field(default_factory=dict)
    notices: dict[tuple[str, str], Notice] = field(default_factory=dict)
    keys: dict[str, tuple[object, str]] = field(default_factory=dict)

    def find(self, identifier: str) -> Booking | None:
        return next((each for each in self.books if each.id == identifier), None)

    def put(self, new: Booking) -> None:
        for index, each in enumerate(self.books):
            if each.id == new.id:
                self.books[index] = new
                return
        self.books.append(new)

    def drop(self, identifier: str) -> None:
        self.books = [each for each in self.books if each.id != identifier]

    def capacity(self, resource: str) -> int | None:
        """None: no limit."""
        return self.links.get(resource) if ":" in resource else self.pools.get(resource, 0)

    def takers(self, resource: str, now: int, owner: str | None = None) -> list[tuple[Booking, int]]:
        found = [each for each in self.books if owner in (None, each.owner) and each.taking(now)]
        return [(each, amount) for each in found if (amount := each.takes().get(resource, 0))]

    def taken(self, resource: str, time: int, now: int, owner: str | None = None) -> int:
        return at(self.takers(resource, now, owner), time)

    def local(self, place: str) -> bool:
        """No agent here serves a longer prefix of what another one does."""
        return place == "any" or not self.serves or any(covers(each, place) for each in self.serves)

    def toward(self, place: str) -> tuple[str | None, tuple[str, ...] | None]:
        """Interface and pools, each of the longest prefix that states it."""
        found = [
            each for each in self.routes if (covers(each[0], place) if is_network(place) else length(each[0]) == 0)
        ]
        found.sort(key=lambda each: -length(each[0]))
        interface = next((each[1] for each in found if each[1] is not None), None)
        return interface, next((each[2] for each in found if each[2] is not None), None)

    def addresses(self, place: str) -> dict[int, str]:
        if is_name(place):
            if place not in self.hosts:
                raise Refusal("unknown-host")
            return self.hosts[place]
        if not is_network(place):
            return {4: place, 6: place}
        return {ip_network(place).version: place}

    def resolved(self, source: End, destination: End) -> tuple[End, End]:
        if not is_name(source[0]) and not is_name(destination[0]):
            return source, destination
        sources, destinations = self.addresses(source[0]), self.addresses(destination[0])
        common = [each for each in (self.prefer, 10 - self.prefer) if each in sources and each in destinations]
        if not common:
            raise Refusal("bad-flow")
        version = common[0]
        return (sources[version], *source[1:]), (destinations[version], *destination[1:])

    def host(self, name: str) -> str:
        return self.resolved((name, "", None), (name, "", None))[0][0]


class Model:
    """``whole``: bit/s all origins seeded of a pool."""

    def __init__(self, sites: Iterable[Site], whole: dict[str, int], params: dict[str, int], now: int) -> None:
        self.sites = {each.name: each for each in sites}
        self.whole = whole
        self.params = params
        self.now = now
        self.fault = ""
        self.crashed: set[str] = set()

    # Where it stands.

    def serving(self, site: Site, place: str) -> str | None:
        """Which other agent serves a place, by the longest prefix, of several the last by name."""
        found = [
            (length(prefix), each.name)
            for each in self.sites.values()
            if each is not site
            for prefix in each.serves
            if covers(prefix, place)
        ]
        return max(found)[1] if found else None

    def place(self, site: Site, old: Booking, anew: bool = False, partner: str | None = None) -> Booking:
        new = copy(old)
        if new.traffic.removeprefix("global_") not in CLASSES:
            raise Refusal("unknown-class")
        asked, ends = new.asked, site.resolved(*new.asked)
        (near, _, near_vlan), (far, _, far_vlan) = ends
        apart = near_vlan is not None and far_vlan is not None and near_vlan != far_vlan
        if near == far != "any" and not apart:
            raise Refusal("bad-flow")
        here, there = site.local(near), far != "any" and site.local(far)
        if not here and there and new.kind == "two-way":
            asked, ends, here, there = asked[::-1], ends[::-1], there, here
            new.rate, new.back = new.back, new.rate
        server = self.serving(site, ends[0][0])
        if not here and server is not None:
            raise Refusal(f"elsewhere {server}")
        new.asked, new.ends = asked, ends
        new.through = tuple(site.host(each) for each in new.through)
        new.output = site.host(new.output) if new.output else ""
        if partner is None and new.kind == "two-way" and not (here and there and site.serves):
            partner = self.serving(site, ends[1][0])
        interface, pools = site.toward(ends[1][0])
        named = tuple(dict.fromkeys(each for each, _ in new.claims if ":" not in each)) or (new.pool,)
        if new.pool and not (anew and pools is not None):
            pools = named
        if pools is None:
            if new.kind in BANDWIDTH:
                raise Refusal("no-route")
            pools = ()
        both = "both" if new.kind == "two-way" and partner is None else "rate"
        claims = [(each, both) for each in pools]
        claims += self.crossing(site, new, interface, "out", "in")
        if ends[0][0] != "any":
            inner = site.toward(ends[0][0])[0]
            if inner != interface:
                claims += self.crossing(site, new, inner, "in", "out")
        new.claims, new.pool, new.partner = tuple(claims), pools[0] if pools else "", partner or ""
        return new

    def crossing(self, site: Site, new: Booking, interface: str | None, there: str, back: str) -> list[tuple[str, str]]:
        claims = [(f"{interface}:{there}", "rate")]
        if new.kind == "two-way":
            claims.append((f"{interface}:{back}", "back"))
        return [each for each in claims if each[0] in site.links]

    # What is checked.

    def duplicate(self, site: Site, wanted: Booking) -> Booking | None:
        start = max(self.now, wanted.start)
        for each in site.books:
            if each.id != wanted.id and not each.over(self.now) and each.flow() == wanted.flow() is not None:
                begins = max(start, each.start)
                ends = [end for end in (each.end, wanted.end) if end is not None]
                if all(begins < end for end in ends):
                    return each
        return None

    def instants(self, site: Site, wanted: Booking) -> list[int]:
        start = max(self.now, wanted.start)
        times = {start} | {time for each in site.books for time in (each.start, each.end) if time is not None}
        return sorted(time for time in times if time >= start and wanted.at(time))

    def limit(self, site: Site, owner: str, resource: str) -> int | None:
        """The cap that counts, in bit/s."""
        for key in (owner, resource), (owner, "*"), ("*", resource), ("*", "*"):
            if key not in site.caps:
                continue
            amount, percent = site.caps[key]
            if not percent:
                return amount
            if resource == "*":
                return amount
            if ":" in resource and resource not in site.links:
                return None if amount else 0
            whole = site.links[resource] if ":" in resource else self.whole.get(resource, 0)
            return whole * amount // 100
        return None

    def banned(self, site: Site, new: Booking) -> bool:
        """What takes nothing is by a cap of 0 of everything, and without bandwidth by one of anything."""
        for resource in {"*"} if new.kind in BANDWIDTH else {"*", *(resource for _, resource in site.caps)}:
            for key in (new.owner, resource), (new.owner, "*"), ("*", resource), ("*", "*"):
                if key in site.caps:
                    if site.caps[key][0] == 0:
                        return True
                    break
        return False

    def admit(self, site: Site, new: Booking, old: Booking | None = None) -> None:
        """Whether it fits at every instant, with what ``old`` takes if it comes in its place."""
        if self.duplicate(site, new) is not None:
            raise Refusal("duplicate")
        takes = new.takes()
        if not takes and old is None and self.banned(site, new):
            raise Refusal("over-cap")
        had = old.takes() if old is not None and old.taking(self.now) else {}
        links = pools = False
        for time in self.instants(site, new):
            for resource, amount in takes.items():
                more = amount - (had.get(resource, 0) if old is not None and old.at(time) else 0)
                if old is not None and more <= 0:
                    continue
                limit = self.limit(site, new.owner, resource)
                if limit is not None and (
                    limit == 0 or (more and site.taken(resource, time, self.now, new.owner) + more > limit)
                ):
                    raise Refusal("over-cap")
                capacity = site.capacity(resource)
                if more and capacity is not None and capacity - site.taken(resource, time, self.now) < more:
                    links, pools = links or ":" in resource, pools or ":" not in resource
        if links or pools:
            raise Refusal("link-short" if links else "short")

    def fits(self, site: Site, new: Booking) -> bool:
        """Whether there is the capacity, whatever else may be in the way."""
        free = replace(new, id="", owner="nobody at all", ends=(("any", "", None), ("any", "", None)), protocol="any")
        caps, site.caps = site.caps, {}
        try:
            self.admit(site, free)
        except Refusal:
            return False
        finally:
            site.caps = caps
        return True

    # Two agents.

    def meet(self, site: Site, new: Booking, rule: Callable[[], None], finish: Callable[[], None]) -> None:
        """Both ends, or none. ``rule`` is what is checked here, ``finish`` what is done then."""
        if not new.partner:
            rule()
            finish()
            return
        self.pact(site, self.sites[new.partner], new, rule, finish)

    def pact(self, site: Site, peer: Site, new: Booking, rule: Callable[[], None], finish: Callable[[], None]) -> None:
        rule()
        fault, self.fault = self.fault, ""
        if not peer.up or fault == "request lost":
            raise Refusal("unreachable")
        try:
            self.prepare(site, peer, new)
        except Refusal:
            if fault == "crash there":
                self.crashed.add(peer.name)
            raise Refusal("unreachable" if fault in ("answer lost", "crash there") else "refused-there") from None
        if fault in ("answer lost", "crash there"):
            if fault == "crash there":
                self.crashed.add(peer.name)
            raise Refusal("unreachable")
        if fault == "crash before deciding":
            self.crashed.add(site.name)
            raise Crashed
        if (new.id, peer.name) in site.notices:
            self.heard(peer, new.id)
            raise Refusal("conflict")
        finish()
        peer.open[new.id].accepted = True
        if fault == "crash after deciding":
            self.crashed.add(site.name)
            raise Crashed
        if fault == "crash there at last":
            self.crashed.add(peer.name)
        elif fault != "decision lost":
            self.heard(peer, new.id)

    def prepare(self, site: Site, peer: Site, new: Booking) -> None:
        """What the agent that is asked does before it says yes."""
        if new.id in peer.open:
            raise Refusal("busy")
        old = peer.find(new.id)
        turned = new.kind == "two-way"
        state = "held" if new.until is not None else "booked"
        rate, back = (new.back, new.rate) if turned else (new.rate, new.back)
        if old is not None and old.partner == site.name:
            after = replace(
                old, rate=rate, back=back, start=new.start, end=new.end, until=new.until, state=state, changed=self.now
            )
            if new.ends[::-1] != old.ends or new.protocol != old.protocol:
                ends = new.ends[::-1]
                after = replace(after, asked=ends, ends=ends, protocol=new.protocol)
                after = self.place(peer, after, True, site.name)
                if after.ends[0] != ends[0]:
                    raise Refusal("elsewhere")
        else:
            ends = new.ends[::-1] if turned else new.ends
            wanted = replace(
                new, asked=ends, ends=ends, rate=rate, back=back, state=state, created=self.now, changed=self.now,
                claims=(), partner="", why="", through=(), output="",
            )  # fmt: skip
            after = self.place(peer, wanted, True, site.name if turned else None)
            if after.ends[0] != ends[0]:
                raise Refusal("elsewhere")
        if old is not None:
            if old.partner != site.name or old.over(self.now) or old.state == "parked":
                raise Refusal("taken")
            if old.kind != after.kind or old.start != new.start or (old.state == "booked" and state == "held"):
                raise Refusal("conflict")
            end = None if None in (old.end, after.end) else max(old.end or 0, after.end or 0)
            kept = replace(
                old, rate=max(old.rate, rate), back=max(old.back, back), end=end, until=None, asked=after.asked,
                ends=after.ends, protocol=after.protocol, claims=tuple(dict.fromkeys((*old.claims, *after.claims))),
            )  # fmt: skip
        else:
            kept = replace(after, state="prepared", until=None)
        self.admit(peer, kept, old)
        peer.open[new.id] = Open(site.name, copy(old) if old is not None else None, after)
        peer.put(kept)

    def heard(self, site: Site, identifier: str) -> None:
        """The agent that was asked has heard what was decided."""
        pact = site.open.pop(identifier)
        current = site.find(identifier)
        if current is None or current.state in ("cancelled", "lapsed"):
            if pact.accepted:
                self.tell(site, pact.after)
        elif pact.accepted:
            site.put(pact.after)
        elif pact.before is not None:
            site.put(pact.before)
        else:
            site.drop(identifier)

    def tell(self, site: Site, gone: Booking, partner: str | None = None) -> None:
        """The agent at the other end is to be told that it is over."""
        partner = gone.partner if partner is None else partner
        if partner:
            site.notices.setdefault((gone.id, partner), Notice(self.now, gone.end))

    def settle(self, site: Site) -> None:
        """Ask about what is in doubt, then tell what is over; whoever is not there is asked and told later."""
        for identifier, pact in list(site.open.items()):
            if self.sites[pact.peer].up:
                self.heard(site, identifier)
        for (identifier, peer), notice in list(site.notices.items()):
            there = self.sites[peer]
            if identifier in site.open or not there.up:
                continue
            found = there.find(identifier)
            mine = found is not None and found.partner == site.name and notice.at + SKEW >= found.created
            if found is not None and mine and not found.over(self.now):
                there.put(replace(found, state="cancelled", changed=self.now, why="?"))
            del site.notices[identifier, peer]

    # What consumers do.

    def reserve(
        self,
        site: Site,
        wish: Booking,
        *,
        hold: int = 0,
        park: bool = False,
        dry: bool = False,
        key: str | None = None,
        said: object = None,
    ) -> Booking | None:
        """``wish`` with the id it is to get; ``said``: the whole of the request, for the key."""
        if hold > self.params["max_hold"] or (hold and park):
            raise Refusal("bad-request")
        wish.start = max(self.now, wish.start)
        self.check_window(wish.start, wish.end)
        self.check_kind(wish)
        wish.state, wish.until = ("held", self.now + hold) if hold else ("booked", None)
        if wish.until is not None and wish.end is not None:
            wish.until = min(wish.until, wish.end)
        if key is not None and key in site.keys:
            before, identifier = site.keys[key]
            if before != said:
                raise Refusal("idempotency-key-reused")
            found = site.find(identifier)
            if found is not None:
                return found
        try:
            wish.ends = wish.asked
            new = self.place(site, wish)
            wish = replace(new, pool=wish.pool, claims=(), partner="")
            if wish.pool and wish.pool not in self.whole:
                raise Refusal("unknown-pool")
            if dry:
                self.admit(site, new)
                return None
            self.meet(site, new, lambda: self.admit(site, new), lambda: self.keep(site, new, key, said))
            return new
        except Refusal as error:
            code = error.code.partition(" ")[0]
            if not park or dry or code not in PARKABLE:
                raise
            parked = replace(wish, state="parked", until=None, why=f"{code}:")
            self.admit(site, replace(parked, claims=()))
            self.keep(site, parked, key, said)
            return parked

    def keep(self, site: Site, new: Booking, key: str | None = None, said: object = None) -> None:
        site.put(new)
        if key is not None:
            site.keys[key] = said, new.id

    def check_window(self, start: int, end: int | None) -> None:
        begin = max(start, self.now)
        if end is not None and (end <= begin or end - begin > self.params["max_window"]):
            raise Refusal("bad-window")

    def check_kind(self, wish: Booking) -> None:
        if (wish.rate > 0) != (wish.kind in BANDWIDTH) or (wish.back > 0) != (wish.kind == "two-way"):
            raise Refusal("bad-request")

    def opened(self, site: Site, identifier: str, secret: str | None) -> Booking:
        found = site.find(identifier)
        if found is None:
            raise Refusal("unknown-reservation")
        if found.secret is not None and secret != found.secret and not self.is_admin(site, secret):
            raise Refusal("forbidden")
        return found

    def is_admin(self, site: Site, secret: str | None) -> bool:
        return site.admin is not None and secret == site.admin

    def check_admin(self, site: Site, secret: str | None) -> None:
        if site.admin is not None and secret != site.admin:
            raise Refusal("forbidden")

    def check_free(self, site: Site, identifier: str) -> None:
        if identifier in site.open:
            raise Refusal("conflict")

    def check_running(self, found: Booking) -> None:
        if found.over(self.now):
            raise Refusal("ended")

    def confirm(self, site: Site, identifier: str, secret: str | None) -> Booking:
        old = self.opened(site, identifier, secret)
        self.check_free(site, identifier)
        self.check_running(old)
        if old.state == "booked":
            return old
        if old.state != "held":
            raise Refusal("conflict")
        new = replace(old, state="booked", until=None, changed=self.now)
        self.meet(site, new, lambda: None, lambda: site.put(new))
        return new

    def change(
        self,
        site: Site,
        identifier: str,
        secret: str | None,
        rate: int | None,
        back: int | None,
        end: int | str | None,
    ) -> Booking:
        if rate is back is end is None:
            raise Refusal("bad-request")
        old = self.opened(site, identifier, secret)
        self.check_free(site, identifier)
        self.check_running(old)
        until = old.end if end is None else None if end == "never" else int(end)
        if end is not None:
            self.check_window(old.start, until)
        new = replace(old, rate=old.rate if rate is None else rate, back=old.back if back is None else back, end=until)
        self.check_kind(new)
        new.changed = old.changed if new.like(old) else self.now

        def rule() -> None:
            if not new.like(old):
                self.admit(site, new if new.state != "parked" else replace(new, claims=()), old)

        self.meet(site, new, rule, lambda: site.put(new))
        return new

    def cancel(self, site: Site, identifier: str, secret: str | None) -> Booking:
        old = self.opened(site, identifier, secret)
        if old.state == "cancelled":
            return old
        if old.over(self.now):
            raise Refusal("ended")
        new = replace(old, state="cancelled", changed=self.now, why="?")
        site.put(new)
        self.tell(site, new)
        return new

    def cancel_all(self, site: Site, secret: str, owner: str | None) -> list[str]:
        admin = self.is_admin(site, secret)
        if admin and owner is None:
            raise Refusal("bad-request")
        gone = [
            each.id
            for each in site.books
            if (admin or each.secret == secret) and owner in (None, each.owner) and not each.over(self.now)
        ]
        for each in gone:
            found = site.find(each)
            assert found is not None
            self.cancel(site, each, site.admin if found.secret is None else secret)
        return sorted(gone)

    # What is placed anew.

    def refresh(
        self, site: Site, secret: str | None, host: str | None, identifier: str | None, order: Sequence[str]
    ) -> dict[str, str]:
        """What became of each: moved, same or failed. ``order``: in which they are tried."""
        if identifier is not None:
            self.check_running(self.opened(site, identifier, secret))
            ids = [identifier]
        else:
            self.check_admin(site, secret)
            ids = [
                each
                for each in order
                if (found := site.find(each)) is not None
                and host is not None
                and found.of_host(host)
                and not found.over(self.now)
            ]
        result = {}
        for each in ids:
            try:
                result[each] = self.again(site, each)
            except Refusal:
                result[each] = "failed"
        return result

    def again(self, site: Site, identifier: str) -> str:
        old = site.find(identifier)
        assert old is not None
        if old.state == "parked":
            return self.retry(site, old)
        try:
            new = self.place(site, old, True)
            far = new.ends[1][0]
            if old.partner and not new.partner and old.kind == "two-way" and not (site.serves and site.local(far)):
                new = self.place(site, old, True, old.partner)
        except Refusal as error:
            code, _, server = error.code.partition(" ")
            if code != "elsewhere":
                raise
            self.move(site, old, self.sites[server])
            return "moved"
        if new.like(old):
            return "same"
        new.changed = self.now
        self.check_free(site, identifier)

        def finish() -> None:
            site.put(new)
            if new.partner != old.partner:
                self.tell(site, old)

        def rule() -> None:
            self.check_running(old)
            self.admit(site, new, old)

        self.meet(site, new, rule, finish)
        return "moved"

    def move(self, site: Site, old: Booking, peer: Site) -> None:
        """Another agent takes over what is one-way."""
        if old.kind != "one-way":
            raise Refusal("conflict")
        now = replace(old, ends=site.resolved(*old.asked))
        new = replace(now, state="cancelled", partner=peer.name, why="?", changed=self.now)
        self.pact(site, peer, now, lambda: self.check_free(site, old.id), lambda: site.put(new))

    def retry(self, site: Site, parked: Booking) -> str:
        new = self.place(site, parked)
        new.state, new.why, new.changed = "booked", "", self.now
        self.meet(site, new, lambda: self.admit(site, new), lambda: site.put(new))
        return "moved"

    # Time.

    def lapse(self, site: Site) -> None:
        """Holds and parked ones whose time is over."""
        for each in list(site.books):
            if each.state in ("held", "parked") and each.over(self.now):
                site.put(replace(each, state="lapsed", changed=self.now, why="?"))

    def keep_trying(self, site: Site, order: Sequence[str], everything: Sequence[str]) -> None:
        """What is parked, then what has an end that moved, each in the order in which it is tried."""
        self.lapse(site)
        moved = [each for each in self.astray(site, everything) if each not in order]
        for identifier in order:
            parked = site.find(identifier)
            if parked is not None and parked.state == "parked":
                with suppress(Refusal):
                    self.retry(site, parked)

        for identifier in moved:
            with suppress(Refusal):
                self.again(site, identifier)

    def astray(self, site: Site, order: Sequence[str]) -> list[str]:
        """Those with an end that another agent serves, who does not have it."""
        found = []
        for identifier in order:
            each = site.find(identifier)
            assert each is not None
            if each.over(self.now) or each.kind not in BANDWIDTH:
                continue
            for peer in self.sites.values():
                source, destination = (
                    any(covers(prefix, end[0]) for prefix in peer.serves) and not site.local(end[0])
                    for end in each.ends
                )
                if peer is not site and (
                    source or (destination and each.kind == "two-way" and each.partner != peer.name)
                ):
                    found.append(identifier)
        return found

    def full(self, site: Site) -> set[str]:
        """Of what so much is booked at some instant from now on that an alarm is due."""
        found = set()
        for resource, whole in (*site.pools.items(), *site.links.items()):
            least = min(free for _, free in self.steps(site, resource))
            if (whole - max(0, least)) * 100 // whole >= self.params["alarm"]:
                found.add(resource)
        return found

    def collect(self, site: Site) -> None:
        """Forget what has been over for longer than the history, and what no other agent can ask for any more."""
        past = self.now - MARGIN

        def done(each: Booking | None) -> bool:
            return each is None or each.passed(past) or (each.state == "held" and (each.until or self.now) <= past)

        for identifier, pact in list(site.open.items()):
            if done(pact.before) and done(pact.after):
                del site.open[identifier]
                current = site.find(identifier)
                if current is not None and current.state == "prepared":
                    site.drop(identifier)
                elif current is not None and current.state == "held":
                    site.put(replace(current, state="lapsed", changed=self.now, why="?"))
        site.notices = {key: each for key, each in site.notices.items() if each.end is None or each.end > past}
        for each in list(site.books):
            ended = each.end if each.state == "booked" else each.changed
            forgotten = ended is not None and ended + self.params["history"] <= self.now and ended <= past
            if forgotten and each.state in ("booked", "cancelled", "lapsed"):
                site.drop(each.id)

    # Operators.

    def set_cap(self, site: Site, secret: str | None, key: tuple[str, str], amount: int | None, percent: bool) -> None:
        self.check_admin(site, secret)
        if amount is None:
            if key not in site.caps:
                raise Refusal("not-found")
            del site.caps[key]
        elif amount > 100 and percent:
            raise Refusal("bad-request")
        else:
            site.caps[key] = amount, percent

    def pause(self, site: Site, secret: str | None, paused: bool) -> None:
        self.check_admin(site, secret)
        site.paused = paused

    # What is shown.

    def view(self, site: Site, each: Booking, node: Callable[[str], str]) -> dict[str, Any]:
        """Every field the API shows; ``why`` only as far as the model knows it."""
        state = each.shown(self.now, site.paused)
        remaining: int | None = 0
        if state == "held" and each.until is not None:
            remaining = each.until - self.now
        elif state in ("pending", "held", "parked") and each.start > self.now:
            remaining = each.start - self.now
        elif state not in OVER:
            remaining = None if each.end is None else each.end - self.now
        addresses = [text(end) for end in each.ends]
        written = [name or address for name, address in zip(each.names(), addresses, strict=True)]
        return {
            "id": each.id, "pool": each.pool, "rate": each.rate, "start": each.start, "end": each.end, "state": state,
            "source": written[0], "destination": written[1], "owner": each.owner, "labels": list(each.labels),
            "created": each.created, "remaining_s": remaining, "kind": each.kind, "protocol": each.protocol,
            "back": each.back, "traffic": each.traffic, "through": list(each.through), "output": each.output,
            "source_address": addresses[0], "destination_address": addresses[1], "takes": self.shown_takes(each),
            "partner": node(each.partner) if each.partner else "", "held_until": each.until,
            "secret": each.secret is not None,
        }  # fmt: skip

    def shown_takes(self, each: Booking) -> dict[str, int]:
        taking = each.state in ("held", "prepared", "booked")
        return {resource: amount for resource, amount in each.takes().items() if amount and taking}

    def steps(self, site: Site, resource: str, owner: str | None = None) -> list[tuple[int, int]]:
        """What is free from now on, or booked by a project: the time, and how much from then."""
        whole = 0 if owner is not None else site.capacity(resource) or 0
        sign = 1 if owner is not None else -1
        times = {self.now} | {time for each in site.books for time in (each.start, each.end) if time is not None}
        found: list[tuple[int, int]] = []
        takers = site.takers(resource, self.now, owner)
        for time in sorted(each for each in times if each >= self.now):
            level = whole + sign * at(takers, time)
            if not found or found[-1][1] != level:
                found.append((time, level))
        return found
