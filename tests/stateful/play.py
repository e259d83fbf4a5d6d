"""Random steps, done by the agents and by the model, and compared after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

from asa import lifecycle
from asa.ledger import Ledger
from asa.lifecycle import LIFE, State
from asa.records import ReservationState
from asa.views import ReservationRequest
from tests.stateful.model import Booking, Crashed, End, Model, Refusal, Site, text
from tests.stateful.world import START, Layout, World, instance_of, simulated

Route = tuple[str, str | None, tuple[str, ...] | None]

PARAMS = {"history": 200, "max_hold": 120, "max_window": 5_000, "alarm": 90}
SECRETS = ("sesame", "swordfish", "the boss of a")
OWNERS = ("", "red", "blue")
RESOURCES = ("p", "q", "r", "s", "eth0:out", "eth0:in", "eth1:out", "*")
FAULTS = (
    "request lost",
    "answer lost",
    "decision lost",
    "crash there",
    "crash there at last",
    "crash before deciding",
    "crash after deciding",
)
NAMES = ("h1", "h2", "h3", "h4", "h7", "h9")
KNOWN: dict[str, dict[int, str]] = {
    "h1": {4: "10.1.0.1"},
    "h2": {4: "10.2.0.2"},
    "h3": {4: "10.3.0.3"},
    "h4": {4: "10.2.0.4", 6: "fd00:2::4"},
    "h7": {4: "10.1.0.7", 6: "fd00:1::7"},
}
PLACES = ("10.1.0.1", "10.1.0.5", "10.2.0.2", "10.2.0.0/24", "10.3.0.3", "10.9.0.9", "any", "aa:bb:cc:dd:ee:00", *NAMES)
TRIED = 6
"""Parked ones at one agent at most, all of which one turn of its keeper tries."""
FEW = 40
"""Living ones at one agent, above which most steps end some."""

A_ROUTES: tuple[tuple[Route, ...], ...] = (
    (
        ("10.1.0.0/16", "eth1", ()),
        ("10.2.0.0/16", "eth0", ("p",)),
        ("10.3.0.0/16", "eth1", ("p", "q")),
        ("10.9.0.0/24", "eth1", None),
        ("fd00:2::/64", "eth0", ("p",)),
        ("0.0.0.0/0", "eth0", ("q",)),
    ),
    (
        ("10.1.0.0/16", "eth1", ("p",)),
        ("10.2.0.0/16", "eth1", ("q",)),
        ("10.3.0.0/16", "eth0", ("p",)),
        ("0.0.0.0/0", "eth2", ("q", "p")),
    ),
)
B_ROUTES: tuple[tuple[Route, ...], ...] = (
    (("10.1.0.0/16", "eth0", ("r",)), ("10.2.0.0/16", "eth1", None), ("fd00:1::/64", "eth0", ("r",))),
    (("10.1.0.0/16", "eth0", ("r", "s")), ("10.2.0.0/16", "eth0", None), ("0.0.0.0/0", "eth1", ("r",))),
)
C_ROUTES: tuple[tuple[Route, ...], ...] = ((("0.0.0.0/0", "eth0", ("s",)),), (("10.1.0.0/16", "eth0", None),))
ROUTES = {"a": A_ROUTES, "b": B_ROUTES, "c": C_ROUTES}
SERVES: dict[str, tuple[tuple[str, ...], ...]] = {
    "a": (("10.1.0.0/16", "10.9.0.0/24", "fd00:1::/64"), ("10.1.0.0/16", "fd00:1::/64")),
    "b": (("10.2.0.0/16", "fd00:2::/64"), ("10.2.0.0/16", "10.9.0.0/24", "fd00:2::/64")),
    "c": ((), ()),
}
LINKS: dict[str, dict[str, tuple[int, int | None, int]]] = {
    "a": {"eth0": (1_000, 600, 10), "eth1": (800, None, 0)},
    "b": {"eth0": (700, 900, 5)},
    "c": {},
}
POOLS = {"a": {"p": 1_000, "q": 700}, "b": {"r": 800}, "c": {"s": 500}}
WHOLE = {"p": 2_000, "q": 700, "r": 1_000, "s": 500}
ADMINS = {"a": "the boss of a", "b": None, "c": None}
PREFERS = {"a": 6, "b": 4, "c": 6}


class Wrong(AssertionError):
    """The agents and the model differ."""


@dataclass(frozen=True)
class Step:
    """What is done, and by which agent; what it is done to is chosen when it comes to it, so that steps may be left
    out before it."""

    what: str
    agent: str
    said: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.what} at {self.agent}: {dict(self.said)}"


# Steps.

WEIGHTS: dict[str, int] = {
    "reserve": 75,
    "change": 18,
    "confirm": 6,
    "cancel": 6,
    "cancel all": 1,
    "cap": 9,
    "advance": 13,
    "crash": 5,
    "down": 2,
    "up": 3,
    "host": 5,
    "routes": 2,
    "serves": 2,
    "refresh": 8,
    "refresh host": 4,
    "settle": 9,
    "collect": 4,
    "pause": 2,
}


def an_end(rng: Random) -> End:
    place = rng.choice(PLACES)
    port = rng.choice(("80", "80/0xfff0")) if rng.random() < 0.15 and not place.startswith("aa") else ""
    return place, port, 3 if rng.random() < 0.08 else None


USUAL: tuple[tuple[End, End], ...] = (
    (("10.1.0.1", "", None), ("10.2.0.2", "", None)),
    (("h1", "", None), ("h2", "", None)),
    (("h7", "", None), ("h4", "", None)),
    (("10.1.0.5", "", None), ("10.3.0.3", "", None)),
    (("any", "", None), ("any", "", None)),
    (("10.9.0.9", "", None), ("10.1.0.1", "", None)),
    (("h9", "", None), ("h2", "", None)),
    (("10.1.0.5", "", None), ("10.2.0.6", "", None)),
    (("10.1.0.8", "", None), ("10.2.0.2", "80", None)),
    (("h1", "", 3), ("h4", "", None)),
)


def a_wish(rng: Random, agent: str) -> dict[str, Any]:
    kind = rng.choices(("two-way", "one-way", "passthrough", "steering", "mirroring"), (50, 30, 6, 6, 6))[0]
    rates = (1, 50, 100, 200, 300, 450)
    source, destination = rng.choice(USUAL) if rng.random() < 0.85 else (an_end(rng), an_end(rng))
    if rng.random() < (0.75 if agent == "b" else 0.15):
        source, destination = destination, source
    start = rng.choice((None, None, -20, 0, 10, 50, 120))
    span = rng.choice((5, 30, 100, 200, 400, 400, 900, None))
    wish = {
        "kind": kind,
        "source": source,
        "destination": destination,
        "rate": rng.choice(rates) if kind in ("two-way", "one-way") else 0,
        "back": rng.choice(rates) if kind == "two-way" else 0,
        "start": start,
        "span": 9_000 if rng.random() < 0.02 else span,
        "pool": rng.choice((*WHOLE, *WHOLE, "nix")) if rng.random() < 0.25 else "",
        "owner": rng.choice(OWNERS),
        "labels": rng.choice(((), ("x",), ("x", "y"))),
        "protocol": "any" if rng.random() < 0.8 else rng.choice(("tcp", "udp")),
        "traffic": rng.choice(
            ("default", "voice", "global_data", "default", "nope" if rng.random() < 0.05 else "data")
        ),
        "through": ("10.3.0.8", "h3") if kind == "steering" else (),
        "output": rng.choice(("h2", "10.3.0.9")) if kind == "mirroring" else "",
        "hold": rng.choices((5, 30, 100, 500), (9, 9, 9, 1))[0] if rng.random() < 0.25 else 0,
        "park": rng.random() < 0.35,
        "dry": rng.random() < 0.08,
        "key": rng.choice(("k1", "k2", "k3")) if rng.random() < 0.1 else None,
        "secret": rng.choice(SECRETS[:2]) if rng.random() < 0.3 else None,
        "joins": rng.choice(("", "", "", "after", "before", "again")),
    }
    if rng.random() < 0.97:
        wish["park"] = wish["park"] and not wish["hold"]
    if rng.random() < 0.01:
        wish["back"] = 7
    return wish


def a_step(rng: Random) -> Step:
    what, agent = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0], rng.choice("aaabbc")
    said: dict[str, Any] = {"which": rng.randrange(1_000), "secret": rng.choice((None, None, *SECRETS)), "fault": ""}
    said["right"] = rng.random() < 0.8
    if what in ("reserve", "change", "confirm", "refresh") and rng.random() < 0.2:
        said["fault"] = rng.choice(FAULTS)
    match what:
        case "reserve":
            said |= a_wish(rng, agent)
        case "change":
            said["rate"] = rng.choice((None, None, 1, 80, 260, 500, 700))
            said["back"] = rng.choice((None, None, None, 60, 240, 400))
            said["end"] = rng.choices((None, "never", 15, 90, 300, 700, -5, 9_000), (9, 4, 4, 4, 4, 4, 1, 1))[0]
        case "cancel all":
            said["owner"] = rng.choice((None, *OWNERS))
        case "cap":
            percent = rng.random() < 0.4
            said["key"] = rng.choice((*OWNERS, "*", "*")), rng.choice((*RESOURCES, "p", "q", "r", "p", "q", "r"))
            said["amount"] = rng.choice((None, 0, 10, 30, 50, 100, 101) if percent else (None, 0, 100, 300, 500, 800))
            said["percent"] = percent
        case "advance" | "up":
            said["seconds"] = rng.choice((1, 1, 1, 5, 5, 10, 10, 20, 30, 60, 100, 250))
        case "host":
            said["name"] = rng.choice(NAMES)
            said["network"] = rng.choice(("10.1.0", "10.2.0", "10.9.0", "172.16.0", None))
            said["agents"] = rng.choice(("abc", "abc", "a", "b"))
        case "refresh host":
            said["host"] = rng.choice(PLACES)
        case "pause":
            said["paused"] = rng.random() < 0.6
    return Step(what, agent, said)


def steps_of(seed: int, count: int) -> list[Step]:
    rng = Random(seed)
    return [a_step(rng) for _ in range(count)]


def node_text(name: str) -> str:
    return f"{name}#{instance_of(name)}"


class Play:
    """``stored``: the databases are real ones in ``directory``."""

    def __init__(self, directory: Path, stored: bool = False) -> None:
        self.route = dict.fromkeys("abc", 0)
        self.serve = 0
        self.hosts = {name: dict(KNOWN) for name in "abc"}
        self.model = Model([self._site(name) for name in "abc"], WHOLE, PARAMS, START)
        self.world = World({name: self._layout(name) for name in "abc"}, directory, PARAMS, stored)
        for name in "abc":
            self.world.write_hosts(name, KNOWN)
        self.seen: dict[tuple[str, str], State] = {}
        self.done = 0
        self.outcomes: dict[str, int] = {}
        self.rng = Random(0)
        self.wish: Booking | None = None

    def _site(self, name: str) -> Site:
        links = {}
        for each, (out, into, room) in LINKS[name].items():
            links[f"{each}:out"] = out * (100 - room) // 100
            links[f"{each}:in"] = (out if into is None else into) * (100 - room) // 100
        return Site(
            name, SERVES[name][0], ROUTES[name][0], links, POOLS[name], PREFERS[name], ADMINS[name], dict(KNOWN)
        )

    def _layout(self, name: str) -> Layout:
        return Layout(
            serves=SERVES[name][self.serve],
            routes=ROUTES[name][self.route[name]],
            links=LINKS[name],
            pools=POOLS[name],
            prefer=PREFERS[name],
            admin=ADMINS[name],
        )

    def run(self, steps: Sequence[Step]) -> None:
        """Raises Wrong, which says after which step."""
        self.check(None)
        for number, step in enumerate(steps):
            try:
                self.step(step)
                self.check(step)
            except Exception as error:
                raise Wrong(f"after step {number}, {step}:\n{type(error).__name__}: {error}") from error
            self.done += 1

    # One step.

    def step(self, step: Step) -> None:
        model, world, said = self.model, self.world, step.said
        site = model.sites[step.agent]
        self.rng = Random(said["which"])
        if not site.up and step.what not in ("advance", "up", "host"):
            return
        match step.what:
            case "advance":
                self.advance(said["seconds"])
            case "crash":
                world.restart(step.agent)
            case "down":
                world.stop(step.agent)
                site.up = False
            case "up":
                self.up(said["seconds"])
            case "routes":
                self.route[step.agent] ^= 1
                world.layouts[step.agent] = self._layout(step.agent)
                site.routes = ROUTES[step.agent][self.route[step.agent]]
                world.restart(step.agent)
            case "serves":
                self.serve ^= 1
                world.layouts = {name: self._layout(name) for name in model.sites}
                for name, each in model.sites.items():
                    each.serves = SERVES[name][self.serve]
                    if each.up:
                        world.restart(name)
            case "host":
                self.host(said["name"], said["network"], said["agents"])
            case "settle":
                world.nodes[step.agent].settle()
                model.settle(site)
                model.settle(site)
                self.lapse()
            case "collect":
                world.nodes[step.agent].collect()
                model.collect(site)
            case _:
                self.operate(step, site)

    def advance(self, seconds: int) -> None:
        self.world.now += seconds
        self.model.now += seconds
        self.pass_time()

    def pass_time(self) -> None:
        up = [each for each in self.model.sites.values() if each.up]
        self.lapse()
        for site in up:
            node = self.world.nodes[site.name]
            order = [each.id for each in node.ledger.waiting.values() if each.state is ReservationState.PARKED]
            every = list(node.ledger.reservations)
            full, last = self.model.full(site), node.events.after(0, 9_999, 0).next
            node.keep()
            self.model.keep_trying(site, order, every)
            self.check_alarms(site, node.events.after(last, 9_999, 0).events, full)

    def lapse(self) -> None:
        """What every keeper would do at once."""
        for site in self.model.sites.values():
            if site.up:
                self.world.nodes[site.name].lapse()
                self.model.lapse(site)

    def up(self, seconds: int) -> None:
        self.world.now += seconds
        self.model.now += seconds
        for site in self.model.sites.values():
            if not site.up:
                self.world.start(site.name)
                site.up = True
        self.pass_time()

    def host(self, name: str, network: str | None, agents: str) -> None:
        for each in agents:
            hosts = self.hosts[each]
            if network is None:
                hosts.pop(name, None)
            else:
                hosts[name] = {**hosts.get(name, {}), 4: f"{network}.{name[1:]}"}
            self.world.write_hosts(each, hosts)
            self.model.sites[each].hosts = {key: dict(value) for key, value in hosts.items()}

    def operate(self, step: Step, site: Site) -> None:
        """What somebody asks for: the same is to come of it."""
        model, world = self.model, self.world
        node = world.nodes[step.agent]
        orders = list(node.ledger.reservations)
        pair = self.pair(step, site, node, orders)
        if pair is None:
            return
        theirs, ours, compare = pair
        world.fault = model.fault = step.said["fault"]
        outcome, value = world.do(theirs)
        try:
            expected, wanted = "ok", ours()
        except Refusal as refusal:
            expected, wanted = refusal.code.partition(" ")[0].replace("no-route", "bad-request"), None
        except Crashed:
            expected, wanted = "crashed", None
        model.fault = ""
        what = f"{step.what}: {outcome}"
        self.outcomes[what] = self.outcomes.get(what, 0) + 1
        if outcome != expected:
            raise Wrong(f"it is {outcome}, not {expected} ({value})")
        crashed = {*world.crashed, *(step.agent for _ in "x" if outcome == "crashed")}
        if crashed != model.crashed:
            raise Wrong(f"{crashed} crashed, not {model.crashed}")
        for name in crashed:
            world.restart(name)
        world.crashed.clear()
        model.crashed.clear()
        if outcome == "ok":
            compare(value, wanted)
        elif outcome in ("short", "link-short") and step.what == "reserve":
            self.check_refusal(site, value.details)

    def chosen(self, step: Step, site: Site) -> tuple[str, str | None]:
        """An id and a secret, mostly the right one; the living more often than those that are over, and those that two
        agents have more often than others."""
        living = [each for each in site.books if not each.over(self.model.now)]
        some = living if living and self.rng.random() < 0.9 else site.books
        both = [each for each in some if each.partner]
        some = both if both and self.rng.random() < 0.4 else some
        if not some or self.rng.random() < 0.01:
            return "r-nobody", step.said["secret"]
        found = self.rng.choice(some)
        return found.id, found.secret if step.said["right"] else step.said["secret"]

    def pair(
        self, step: Step, site: Site, node: Any, orders: Sequence[str]
    ) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[Any, Any], None]] | None:
        model, said = self.model, step.said
        ask, nothing = node.operations, lambda value, wanted: None
        admin = site.admin if said["right"] else said["secret"]
        if step.what in ("change", "confirm", "cancel", "refresh") and self.nobody(site):
            return None
        match step.what:
            case "reserve":
                return self.reserve(said, site, ask)
            case "change":
                identifier, secret = self.chosen(step, site)
                found = site.find(identifier)
                plain = found is not None and self.rng.random() < 0.9
                back = None if plain and found is not None and found.kind != "two-way" else said["back"]
                rate = None if plain and found is not None and not found.rate else said["rate"]
                end = said["end"]
                end = model.now + end if isinstance(end, int) else end
                return (
                    lambda: ask.change(identifier, rate=rate, back=back, end=end, secret=secret),
                    lambda: model.change(site, identifier, secret, rate, back, end),
                    self.viewed(site),
                )
            case "confirm":
                identifier, secret = self.chosen(step, site)
                held = [each for each in site.books if each.shown(model.now, False) == "held"]
                if held and self.rng.random() < 0.8:
                    identifier, secret = held[0].id, held[0].secret
                return (
                    lambda: ask.confirm(identifier, secret),
                    lambda: model.confirm(site, identifier, secret),
                    self.viewed(site),
                )
            case "cancel":
                identifier, secret = self.chosen(step, site)
                return (
                    lambda: ask.cancel(identifier, secret),
                    lambda: model.cancel(site, identifier, secret),
                    self.viewed(site),
                )
            case "cancel all":
                secret = said["secret"] or SECRETS[0]
                return (
                    lambda: ask.cancel_all(secret, said["owner"]),
                    lambda: model.cancel_all(site, secret, said["owner"]),
                    lambda value, wanted: self.same("cancelled", (value.cancelled, value.ids), (len(wanted), wanted)),
                )
            case "cap":
                return (
                    lambda: ask.set_cap(*said["key"], said["amount"], said["percent"], admin),
                    lambda: model.set_cap(site, admin, said["key"], said["amount"], said["percent"]),
                    nothing,
                )
            case "pause":
                return (
                    lambda: (ask.pause if said["paused"] else ask.resume)(admin),
                    lambda: model.pause(site, admin, said["paused"]),
                    nothing,
                )
            case "refresh":
                identifier, secret = self.chosen(step, site)
                return (
                    lambda: ask.refresh(None, identifier, secret),
                    lambda: model.refresh(site, secret, None, identifier, orders),
                    self.refreshed,
                )
            case "refresh host":
                host = said["host"]
                return (
                    lambda: ask.refresh(host, None, admin),
                    lambda: model.refresh(site, admin, host, None, orders),
                    self.refreshed,
                )
        raise AssertionError(step.what)

    def viewed(self, site: Site) -> Callable[[Any, Booking], None]:
        return lambda value, wanted: self.same_view(site, value, wanted)

    def nobody(self, site: Site) -> bool:
        """There is nothing to be done to any, but for who tries it all the same."""
        return not site.books and self.rng.random() < 0.9

    def refreshed(self, value: Any, wanted: dict[str, str]) -> None:
        found = dict.fromkeys(value.moved, "moved") | dict.fromkeys(value.same, "same")
        self.same("refreshed", found | dict.fromkeys(value.failed, "failed"), wanted)

    def reserve(
        self, said: Mapping[str, Any], site: Site, ask: Any
    ) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[Any, Any], None]] | None:
        model, now = self.model, self.model.now
        parked = sum(each.state == "parked" for each in site.books)
        if sum(not each.over(now) for each in site.books) >= FEW:
            return None
        start = None if said["start"] is None else now + said["start"]
        end = None if said["span"] is None else (start or now) + said["span"]
        source, destination, protocol, kind = said["source"], said["destination"], said["protocol"], said["kind"]
        other = self.rng.choice(site.books) if site.books and said["joins"] else None
        if other is not None:
            if other.kind == kind:
                (source, destination), protocol = other.asked, other.protocol
            if said["joins"] == "after" and other.end is not None:
                start, end = other.end, other.end + (said["span"] or 50)
            elif said["joins"] == "before" and other.start > now:
                start, end = None, other.start
        park = said["park"] and parked < TRIED
        request = ReservationRequest(
            pool=said["pool"],
            rate=said["rate"],
            start=start,
            end=end,
            source=text(source),
            destination=text(destination),
            owner=said["owner"],
            labels=list(said["labels"]),
            dry_run=said["dry"],
            kind=kind,
            protocol=protocol,
            back=said["back"],
            traffic=said["traffic"],
            through=list(said["through"]),
            output=said["output"],
            hold_s=said["hold"],
            park=park,
        )

        def ours() -> Booking | None:
            wish = Booking(
                self.world.last_id, kind, (source, destination), said["rate"], said["back"],
                now if start is None else start, end, "booked", now, now, protocol=protocol, pool=said["pool"],
                ends=(source, destination), owner=said["owner"], labels=said["labels"], traffic=said["traffic"],
                through=said["through"], output=said["output"], secret=said["secret"],
            )  # fmt: skip
            self.wish = copy(wish)
            return model.reserve(
                site,
                wish,
                hold=said["hold"],
                park=park,
                dry=said["dry"],
                key=said["key"],
                said=repr((request, said["secret"])),
            )

        def theirs() -> Any:
            return ask.reserve(request, said["key"], said["secret"])

        return theirs, ours, lambda value, wanted: wanted and self.same_view(site, value, wanted)

    # What is compared.

    def same(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise Wrong(f"{what}: {found}\n  not {wanted}")

    def same_view(self, site: Site, view: Any, booking: Booking) -> None:
        wanted = self.model.view(site, booking, node_text)
        shown = {each.name: getattr(view, each.name) for each in fields(view)}
        why = shown.pop("why")
        self.same("what the data plane says of it, of a node without", shown.pop("enforcement"), None)
        if shown != wanted:
            differing = {key: (shown[key], wanted[key]) for key in wanted if shown[key] != wanted[key]}
            raise Wrong(f"{site.name}: {booking.id} is shown other than it is (found, wanted): {differing}")
        reason = booking.why.replace("no-route", "bad-request")
        if bool(why) != bool(reason) or (reason not in ("", "?") and not why.startswith(reason)):
            raise Wrong(f"{site.name}: {booking.id} says {why!r}, not {reason!r}")

    def check_refusal(self, site: Site, details: Mapping[str, Any]) -> None:
        """Where it falls short, and that what is offered instead would fit."""
        model, wish = self.model, self.wish
        assert wish is not None
        wish.start = max(model.now, wish.start)
        new = model.place(site, wish)
        resource = details["resource"]
        need = new.takes()[resource]
        capacity = site.capacity(resource) or 0
        gaps: list[tuple[int, int]] = []
        for time in model.instants(site, new):
            missing = need - capacity + site.taken(resource, time, model.now)
            if missing > 0:
                gaps.append((time, missing))
        told = details["shortages"]
        for time, missing in gaps:
            if not any(
                each["start"] <= time and (each["end"] is None or time < each["end"]) and each["missing"] >= missing
                for each in told
            ):
                raise Wrong(f"{resource} is short of {missing} at {time}, which is not said: {told}")
        self.same("first short", told[0]["start"], gaps[0][0])
        self.same("most short", max(each["missing"] for each in told), max(missing for _, missing in gaps))
        for name in ("lower_rate", "later_start", "shorter"):
            offer = details[name]
            if offer is not None:
                other = replace(new, rate=offer["rate"], start=offer["start"], end=offer["end"])
                if not model.fits(site, other):
                    raise Wrong(f"{name} is offered and does not fit: {offer} instead of {new}")
                self.outcomes[name] = self.outcomes.get(name, 0) + 1

    def check_alarms(self, site: Site, told: Sequence[Any], before: set[str]) -> None:
        seen = {each.fields["resource"] for each in told if each.kind == "utilisation-alarm"}
        if not before <= seen <= before | self.model.full(site):
            raise Wrong(f"{site.name}: alarms of {seen}, and {before} are full")

    def check(self, step: Step | None) -> None:
        """Everything that can be seen at every agent, again after a crash now and then."""
        for name, site in self.model.sites.items():
            if site.up:
                self.check_site(site)
                if step is not None and step.said["which"] % 17 == 0:
                    self.world.restart(name)
                    self.check_site(site)

    def check_site(self, site: Site) -> None:
        node = self.world.nodes[site.name]
        ledger = node.ledger
        self.check_listing(site, node)
        self.check_life(site, node)
        self.check_capacity(site, ledger)
        self.check_found(site, node)
        self.same("paused", node.paused, site.paused)
        caps = {(each.project, each.resource): (each.amount, each.percent) for each in node.operations.caps()}
        self.same("caps", caps, site.caps)
        self.same("open", sorted(each.after.id for each in ledger.pacts.values()), sorted(site.open))
        notices = sorted((each.id, each.peer.name) for each in ledger.notices.values())
        self.same("notices", notices, sorted(site.notices))
        saved = {(type(each), each.key): each for each in node._store.load()}
        known = {(type(each), each.key): each for each in ledger.records()}
        if saved != known:
            raise Wrong(f"{site.name}: what is saved is not what is known: {saved.items() ^ known.items()}")

    def check_listing(self, site: Site, node: Any) -> None:
        ask, model = node.operations, self.model
        found = ask.reservations(state="all", limit=1_000).reservations
        books = sorted(site.books, key=lambda each: each.id)
        self.same(f"{site.name}: ids", [each.id for each in found], [each.id for each in books])
        for view, booking in zip(found, books, strict=True):
            self.same_view(site, view, booking)
        which = {
            "pool": lambda each: each.pool == value or value in each.takes(),
            "owner": lambda each: each.owner == value,
            "kind": lambda each: each.kind == value,
            "label": lambda each: value in each.labels,
            "host": lambda each: each.of_host(value),
            "state": lambda each: each.shown(model.now, site.paused) == value,
        }
        rng = self.rng
        name = rng.choice(list(which))
        value = {
            "pool": rng.choice(RESOURCES), "owner": rng.choice(OWNERS), "kind": rng.choice(("one-way", "two-way")),
            "label": rng.choice("xy"), "host": rng.choice(PLACES), "state": rng.choice(("held", "active", "ended")),
        }[name]  # fmt: skip
        wanted = [each.id for each in books if which[name](each) and (name == "state" or not each.over(model.now))]
        pages: list[str] = []
        after: str | None = None
        limit = rng.randrange(1, 9)
        while True:
            page = ask.reservations(**{name: value}, after=after, limit=limit)
            pages += [each.id for each in page.reservations]
            after = page.next
            if after is None:
                break
        self.same(f"the pages of {name}={value}", pages, wanted)

    def check_life(self, site: Site, node: Any) -> None:
        now: dict[str, State] = {
            each.id: lifecycle.state_of(each, self.world.now, node.paused) for each in node.ledger.reservations.values()
        }
        before = {identifier: state for (name, identifier), state in self.seen.items() if name == site.name}
        for identifier in before.keys() | now.keys():
            old, new = before.get(identifier), now.get(identifier)
            if old != new and new not in LIFE[old]:
                raise Wrong(f"{site.name}: {identifier} went from {old} to {new}")
            if new is None:
                del self.seen[site.name, identifier]
            else:
                self.seen[site.name, identifier] = new

    def check_capacity(self, site: Site, ledger: Ledger) -> None:
        now, model = self.world.now, self.model
        for resource in (*site.pools, *site.links):
            calendar = ledger.calendar(resource)
            assert calendar is not None
            self.same(f"{site.name}: free of {resource}", calendar.steps(now, None, 9_999), model.steps(site, resource))
        used = {(each.owner, resource) for each in site.books if each.taking(now) for resource in each.takes()}
        for owner, resource in used | ledger.projects.keys():
            project = ledger.projects.get((owner, resource))
            steps = project.free.steps(now, None, 9_999) if project is not None else [(now, 0)]
            booked = [(time, -free) for time, free in steps]
            self.same(f"{site.name}: {resource} of {owner!r}", booked, model.steps(site, resource, owner))

    def check_found(self, site: Site, node: Any) -> None:
        """Duplicates, and what each secret opens."""
        ledger, now = node.ledger, self.model.now
        for booking in site.books:
            if not booking.passed(now):
                record = ledger.reservations[booking.id]
                window = replace(record.window, start=max(now, record.window.start))
                double = ledger.duplicate(replace(record, id="", window=window))
                wanted = self.model.duplicate(site, replace(booking, id=""))
                self.same(f"a duplicate of {booking}", double is not None, wanted is not None)
        stored = list(ledger.secrets)
        for secret in SECRETS[:2]:
            opened = node.credentials.opened(secret, stored) or frozenset()
            found = sorted(each for one in opened for each in ledger.secrets[one])
            self.same("opened", found, sorted(each.id for each in site.books if each.secret == secret))


@contextmanager
def played(directory: Path, stored: bool = False) -> Any:
    worlds: list[World] = []
    with simulated(lambda: worlds[0] if worlds else None):
        play = Play(directory, stored)
        worlds.append(play.world)
        try:
            yield play
        finally:
            play.world.close()
