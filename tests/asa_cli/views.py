"""Recorded answers, made from the dataclasses themselves: a field that is renamed fails here."""

from __future__ import annotations

from dataclasses import replace

from asa.views import (
    Audit,
    AuditPool,
    Availability,
    BlockView,
    Cancelled,
    CapView,
    DifferenceView,
    DomainView,
    Enforced,
    EnforcedLine,
    EnforcementView,
    Event,
    Events,
    Health,
    LinkView,
    NeighbourView,
    Offer,
    Page,
    ParamsView,
    ParamView,
    PeerView,
    PoolDetail,
    PoolView,
    Problem,
    Refreshed,
    Refusal,
    ReservationView,
    SeedView,
    ShapedLine,
    Shortage,
    Status,
    TransferView,
    UsageView,
)

NOON = 1_798_718_400
"""2026-12-31T12:00:00Z."""
GBIT = 10**9


def reservation(identifier: str = "r1", **changes: object) -> ReservationView:
    values: dict[str, object] = {
        "id": identifier, "pool": "wan", "rate": 2_500_000_000, "start": NOON, "end": NOON + 7_200, "state": "active",
        "source": "any", "destination": "192.0.2.0/24", "owner": "vm7", "labels": ["backup"], "created": NOON - 60,
        "remaining_s": 5_400,
    }  # fmt: skip
    return ReservationView(**(values | changes))  # type: ignore[arg-type]


TWO_WAY: dict[str, object] = {
    "kind": "two-way", "back": GBIT, "source": "web1:80{3}", "source_address": "10.0.0.1:80{3}", "destination": "db",
    "destination_address": "10.9.0.1", "protocol": "tcp", "traffic": "global_voice", "labels": ["backup", "night"],
    "takes": {"wan": 2_500_000_000, "eth0:out": 2_500_000_000, "eth0:in": GBIT}, "partner": "b#2", "secret": True,
}  # fmt: skip
BLOCK = BlockView(low=0, high=4 * GBIT, start=NOON, end=None)
POOL = PoolView(
    name="wan", seeded=10 * GBIT, seeds=[SeedView(low=0, high=10 * GBIT, origin="o#1")], held=4 * GBIT,
    committed=2_500_000_000, free=1_500_000_000, spare=1_234_567_890, in_doubt=GBIT, blocks=1, reservations=3,
    problems=["the seeds of o#1 and p#2 overlap"],
)  # fmt: skip
DETAIL = PoolDetail(pool=POOL, held=[BLOCK])
AVAILABILITY = Availability(
    pool="wan", start=NOON, end=NOON + 7_200, free=GBIT, steps=[(NOON, 2 * GBIT), (NOON + 3_600, GBIT)],
    earliest=NOON + 3_600, peers_spare=3 * GBIT, obtainable=None,
)  # fmt: skip
PEERS = [
    PeerView(
        node="b#2", locator="[fd00::2]:4242", pools={"wan": 3 * GBIT}, heard_s=12.5, good=True, failures=0, backoff_s=0
    ),
    PeerView(node="c#3", locator="[fd00::3]:4242", pools={}, heard_s=None, good=False, failures=3, backoff_s=40.0),
]
TRANSFER = TransferView(
    txn="00ff", direction="given", pool="wan", peer="b#2", rate=GBIT, blocks=[BLOCK], state="escrow", in_doubt=True,
    at=NOON, note="asked 3 times",
)  # fmt: skip
PARAMS = ParamsView(
    serial=4, issuer="o",
    params=[
        ParamView("lease", 3_600, 7_200, 0, 31_536_000, "s", "how long a stock is asked for"),
        ParamView("permanent", True, True, 0, 1, "", "capacity may be granted for ever"),
        ParamView("least_grant", 1_000_000, 1_000_000, 1, 2**53, "bit/s", "the least that is offered"),
        ParamView("low_water", 2, 2, 0, 100, "%", "below it peers are asked"),
    ],
)  # fmt: skip
HEALTH = Health(
    status="degraded", ready=True, node="o", version="0.1.0",
    problems=[Problem("clock-jumped", "the clock went back 3 s", NOON)],
    threads={"flooder": "waiting"}, sqlite="3.51.3",
)  # fmt: skip
STATUS = Status(
    node="o", instance="0123456789abcdef", mode="origin", state="operational", version="0.1.0", pid=4711,
    started=NOON - 93_600, uptime_s=93_600, substrate="plain", secure=False, grasp_port=40_123,
    interfaces=["eth0"], health=HEALTH, pools=[POOL], peers=2, transfers_in_doubt=1, reservations=3, params_serial=4,
    back_end="tc-nft", effect=True,
)  # fmt: skip
MEMBER = replace(
    STATUS, substrate="domain", secure=True,
    domain=DomainView("acp.example.com", "fd00@acp.example.com", NOON + 10 * 86_400, 1, 1),
    neighbours=[
        NeighbourView("eth0", "fe80::7", "rack-7", "up", NOON), NeighbourView("eth1", "fe80::8", "", "plain", NOON),
    ],
)  # fmt: skip
PLAIN = replace(STATUS, health=replace(HEALTH, problems=[], notices=["plain: nothing is encrypted"]))
AUDIT = Audit(
    ok=True, at_rest=True, rounds=2, agents=["o#1", "b#2"], unreachable=[],
    pools=[AuditPool("wan", 10 * GBIT, 9 * GBIT, GBIT, True, [], [], [], [])],
)  # fmt: skip
BAD_AUDIT = Audit(
    ok=False, at_rest=False, rounds=5, agents=["o#1"], unreachable=["b#2"],
    pools=[
        AuditPool(
            "wan", 10 * GBIT, 9 * GBIT, 0, False, [BLOCK], [BLOCK], [], [SeedView(0, GBIT, "o#1")],
        )
    ],
)  # fmt: skip
EVENTS = [
    Event(1, NOON + 0.5, "reserved", "r1 is reserved", {"id": "r1", "rate": 5}),
    Event(2, NOON + 1.5, "peer-lost", "b#2 is silent", {}),
]
KEPT = Events(events=EVENTS, next=2, missed=0)
CAPS = [CapView("p1", "*", 10, True), CapView("*", "eth0:out", 500_000_000, False), CapView("", "wan", 0, False)]
LINKS = [LinkView("eth0:out", 9 * GBIT, 4 * GBIT, 3 * GBIT, 2), LinkView("eth0:in", 9 * GBIT, 0, 9 * GBIT, 0)]
USAGE = UsageView(
    verdict="starved", at=NOON, seconds=10.0, rate=1_500_000_000, dropped=12, borrowed=0, backlog=30_000,
    sent_bytes=1_875_000_000, sent_packets=1_250_000, dropped_packets=40, borrowed_packets=3,
)  # fmt: skip
ENFORCED = Enforced(
    phase="installed", why="", effect=True,
    lines=[
        EnforcedLine("eth0:out", "guarantee", 2 * GBIT, 4 * GBIT, 46, 1, NOON, NOON + 300, USAGE),
        EnforcedLine("eth0:in", "keep", None, None, None, 0, None, NOON + 300),
    ],
)  # fmt: skip
FAILED = Enforced(
    phase="failed", why="no class left", effect=False,
    lines=[EnforcedLine("eth0:out", "guarantee", GBIT, GBIT, 0, 0, None, NOON + 300)],
)  # fmt: skip
ENFORCEMENT = EnforcementView(
    back_end="tc-nft", effect=True, paused=False, trouble="", ways=["out", "in"], actions=["guarantee", "keep"],
    marks=True, expires=True, notes=["frames without an IP header go to the default class"],
    lines=[
        ShapedLine("eth0:out", 10 * GBIT, GBIT, 2 * GBIT, 3, ""),
        ShapedLine("eth0:in", 10 * GBIT, GBIT, 0, 0, "its ingress qdisc is another's"),
    ],
    installed=3, installing=0, failed=1, removing=0, reconciled=NOON,
    differences=[
        DifferenceView(NOON - 60, "eth0:out", ["r1"], "missing", "nothing", "2Gbit up to 4Gbit, priority 1"),
    ],
)  # fmt: skip
NO_ENFORCEMENT = EnforcementView(
    back_end="", effect=False, paused=False, trouble="", ways=[], actions=[], marks=False, expires=False, notes=[],
    lines=[], installed=0, installing=0, failed=0, removing=0, reconciled=None,
)  # fmt: skip
REFRESHED = Refreshed(moved=["r1"], same=["r2"], failed={})
CANCELLED = Cancelled(cancelled=2, ids=["r1", "r2"])
REFUSAL = Refusal(
    resource="wan",
    shortages=[Shortage(NOON, NOON + 3_600, 500_000_000), Shortage(NOON + 7_200, None, 1_000_000_000)],
    lower_rate=Offer(2 * GBIT, NOON, NOON + 7_200),
    later_start=Offer(2_500_000_000, NOON + 3_600, NOON + 10_800),
    shorter=Offer(2_500_000_000, NOON, NOON + 1_800),
    peers_asked=["b#2: nothing to spare", "c#3: \x1b[31mtimed out"],
)


def page(*found: ReservationView, following: str | None = None) -> Page:
    return Page(reservations=list(found), next=following)
