"""Every command in both forms: what it asks the agent, what it prints of the answer."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from asa.cli.commands import STATES
from asa.errors import Conflict, Ended, NotReady, UnknownPool, UnknownReservation
from asa.northbound.resources import ROUTES
from asa.northbound.routes import Route
from tests.asa_cli import views
from tests.asa_cli.conftest import Run
from tests.asa_cli.fake import Asked, Fake, as_json
from tests.asa_cli.views import GBIT, NOON

STATE = {"state": "pending", "remaining_s": 60}
FOR_EVER = {"end": None, "remaining_s": None}
R1 = "/v1/reservations/r1"


def reserving(**changes: Any) -> dict[str, Any]:
    return {
        "pool": "wan", "rate": 2_500_000_000, "start": None, "end": None, "source": "any", "destination": "any",
        "owner": "", "labels": [], "patience_ms": 5_000, "dry_run": False, "kind": "one-way", "protocol": "any",
        "back": 0, "traffic": "default", "through": [], "output": "", "hold_s": 0, "park": False,
    } | changes  # fmt: skip


CASES: list[tuple[list[str], Asked, Any, list[str]]] = [
    (
        ["reserve", "wan", "2.5Gbit", "--start", str(NOON), "--end", "2026-12-31T14:00Z", "--destination",
         "192.0.2.0/24", "--owner", "vm7", "--label", "backup", "--patience", "250ms"],
        Asked("POST", "/v1/reservations", {}, reserving(
            start=NOON, end=NOON + 7_200, destination="192.0.2.0/24", owner="vm7", labels=["backup"],
            patience_ms=250)),
        views.reservation(),
        ["id           r1", "kind         one-way", "2.5Gbit", "active, 1h30m left", "2026-12-31T12:00:00Z",
         "2026-12-31T14:00:00Z", "192.0.2.0/24", "vm7", "backup"],
    ),
    (
        ["reserve", "wan", "2.5Gbit", "--start", str(NOON), "--for", "2h"],
        Asked("POST", "/v1/reservations", {}, reserving(start=NOON, end=NOON + 7_200)),
        views.reservation(**STATE),
        ["pending, starts in 1m"],
    ),
    (
        ["reserve", "wan", "2.5Gbit", "--start", "now", "--end", "never", "--patience", "0"],
        Asked("POST", "/v1/reservations", {}, reserving(patience_ms=0)),
        views.reservation(**FOR_EVER),
        ["active, for ever", "end          never"],
    ),
    (
        ["reserve", "wan", "2.5Gbit", "--dry-run"],
        Asked("POST", "/v1/reservations", {}, reserving(dry_run=True)),
        views.reservation(**FOR_EVER),
        ["would be admitted: 2.5Gbit of wan from 2026-12-31T12:00:00Z until never"],
    ),
    (
        ["reserve", "wan", "--source", "web1:80{3}", "2.5Gbit", "--back", "1Gbit", "--destination", "db", "--protocol",
         "tcp", "--class", "global_voice", "--hold", "2m", "--park", "--label", "backup", "--label", "night"],
        Asked("POST", "/v1/reservations", {}, reserving(
            kind="two-way", back=GBIT, source="web1:80{3}", destination="db", protocol="tcp", traffic="global_voice",
            hold_s=120, park=True, labels=["backup", "night"])),
        views.reservation(state="held", remaining_s=120, held_until=NOON + 120, **views.TWO_WAY),
        ["kind         two-way", "rate         2.5Gbit", "back         1Gbit",
         "state        held, to be confirmed within 2m", "held until   2026-12-31T12:02:00Z",
         "source       web1:80{3}, 10.0.0.1:80{3}", "destination  db, 10.9.0.1", "protocol     tcp",
         "class        global_voice", "takes        2.5Gbit of wan", "takes        1Gbit of eth0:in",
         "partner      b#2 has the other end", "label        backup\nlabel        night",
         "secret       needed to change it"],
    ),
    (
        ["reserve", "--back", "1Gbit", "2.5Gbit", "--kind", "two-way", "--dry-run"],
        Asked("POST", "/v1/reservations", {}, reserving(pool="", kind="two-way", back=GBIT, dry_run=True)),
        views.reservation(**views.TWO_WAY),
        ["would be admitted: 2.5Gbit and 1Gbit back of wan from"],
    ),
    (
        ["reserve", "--kind", "steering", "--source", "web1", "--through", "fw1", "--through", "fw2"],
        Asked("POST", "/v1/reservations", {}, reserving(
            pool="", rate=0, kind="steering", source="web1", through=["fw1", "fw2"])),
        views.reservation(kind="steering", rate=0, pool="", through=["fw1", "fw2"], state="failed", why="no fw2"),
        ["through      fw1\nthrough      fw2", "state        failed, 1h30m left", "why          no fw2"],
    ),
    (
        ["reserve", "--kind", "mirroring", "--source", "web1", "--output", "tap1", "--dry-run"],
        Asked("POST", "/v1/reservations", {}, reserving(
            pool="", rate=0, kind="mirroring", source="web1", output="tap1", dry_run=True)),
        views.reservation(kind="mirroring", rate=0, pool="", output="tap1"),
        ["would be admitted: mirroring from 2026-12-31T12:00:00Z until 2026-12-31T14:00:00Z"],
    ),
    (
        ["reserve", "wan", "--kind", "passthrough", "--source", "web1"],
        Asked("POST", "/v1/reservations", {}, reserving(rate=0, kind="passthrough", source="web1")),
        views.reservation(kind="passthrough", rate=0),
        ["kind         passthrough\npool         wan\nstate"],
    ),
    (["show", "r1"], Asked("GET", R1), views.reservation(), ["id           r1", "created"]),
    (["show", "a/b?c"], Asked("GET", "/v1/reservations/a%2Fb%3Fc"), views.reservation("a/b?c"), ["a/b?c"]),
    (["show", ".."], Asked("GET", "/v1/reservations/%2E%2E"), views.reservation(".."), [".."]),
    (
        ["extend", "r1", "--end", "never"],
        Asked("PATCH", R1, {}, {"end": "never", "patience_ms": 5_000}),
        views.reservation(**FOR_EVER),
        ["for ever"],
    ),
    (
        ["extend", "r1", "--end", "2026-12-31T14:00:00Z", "--patience", "1m"],
        Asked("PATCH", R1, {}, {"end": NOON + 7_200, "patience_ms": 60_000}),
        views.reservation(),
        ["2026-12-31T14:00:00Z"],
    ),
    (
        ["resize", "r1", "100Mibit"],
        Asked("PATCH", R1, {}, {"rate": 104_857_600, "patience_ms": 5_000}),
        views.reservation(rate=104_857_600),
        ["104.8576Mbit"],
    ),
    (
        ["resize", "r1", "2Gbit", "--back", "1Gbit", "--patience", "0"],
        Asked("PATCH", R1, {}, {"rate": 2 * GBIT, "back": GBIT, "patience_ms": 0}),
        views.reservation(**views.TWO_WAY),
        ["back         1Gbit"],
    ),
    (["refresh", "r1"], Asked("POST", f"{R1}/refresh"), views.REFRESHED, ["r1  moved", "r2  as it was"]),
    (
        ["refresh", "--host", "web1"], Asked("POST", "/v1/refresh", {}, {"host": "web1"}),
        views.Refreshed([], [], {}), ["no reservation has such an end"],
    ),
    (
        ["caps"], Asked("GET", "/v1/caps"), views.CAPS,
        ["PROJECT  RESOURCE      CAP", "p1       *             10%", "*        eth0:out  500Mbit",
         "(none)   wan          0bit"],
    ),
    (["caps", "list"], Asked("GET", "/v1/caps"), [], ["no caps"]),
    (
        ["caps", "set", "p1", "10%"],
        Asked("PUT", "/v1/caps", {}, {"project": "p1", "resource": "*", "amount": 10, "percent": True}),
        views.CAPS, ["10%"],
    ),
    (
        ["caps", "set", "*", "500Mbit", "--resource", "eth0:out"],
        Asked("PUT", "/v1/caps", {},
              {"project": "*", "resource": "eth0:out", "amount": 500_000_000, "percent": False}),
        views.CAPS, ["500Mbit"],
    ),
    (
        ["caps", "set", "p1", "0", "--resource", "wan"],
        Asked("PUT", "/v1/caps", {}, {"project": "p1", "resource": "wan", "amount": 0, "percent": False}),
        views.CAPS, ["p1"],
    ),
    (
        ["caps", "remove", "p1", "--resource", "wan"],
        Asked("PUT", "/v1/caps", {}, {"project": "p1", "resource": "wan", "amount": None, "percent": False}),
        [], ["no caps"],
    ),
    (
        ["enforcement"], Asked("GET", "/v1/enforcement"), views.ENFORCEMENT,
        ["back end   tc-nft", "effect     packets obey", "shapes     out, in", "can        guarantee, keep, mark",
         "in place   3", "failed     1", "read back  2026-12-31T12:00:00Z", "note       frames without",
         "eth0:out  10Gbit  1Gbit       2Gbit        3", "its ingress qdisc is another's",
         "2026-12-31T11:59:00Z  eth0:out  r1  missing  nothing  2Gbit up to 4Gbit, priority 1"],
    ),
    (
        ["enforcement"], Asked("GET", "/v1/enforcement"), views.NO_ENFORCEMENT,
        ["back end  none", "effect    none: no [[link]] is configured", "in place  0"],
    ),
    (
        ["usage"], Asked("GET", "/v1/reservations", {"limit": "1000"}),
        views.page(views.reservation(enforcement=views.ENFORCED), views.reservation("r2")),
        ["r1  eth0:out      2Gbit    4Gbit  starved  1.5Gbit   12 pkt  1875000000 B  active", "r1  eth0:in"],
    ),
    (
        ["usage"], Asked("GET", "/v1/reservations", {"limit": "1000"}), views.page(), ["there is nothing to count"],
    ),
    (
        ["usage", "r1"], Asked("GET", R1), views.reservation(state="failed", enforcement=views.FAILED),
        ["r1  eth0:out", "failed  no class left"],
    ),
    (
        ["usage", "r1"], Asked("GET", R1), views.reservation(state="pending"),
        ["r1 is pending: there is nothing to count"],
    ),
    (
        ["show", "r1"], Asked("GET", R1), views.reservation(enforcement=views.ENFORCED),
        ["enforced     eth0:out 2Gbit, up to 4Gbit, DSCP 46, together with 1 of the same packets, since"
         " 2026-12-31T12:00:00Z, starved at 1.5Gbit", "enforced     eth0:in keep, marking kept"],
    ),
    (
        ["show", "r1"], Asked("GET", R1), views.reservation(state="failed", why="no class left",
                                                           enforcement=views.FAILED),
        ["why          no class left", "enforced     eth0:out 1Gbit, no more, DSCP 0; on record only"],
    ),
    (
        ["links"], Asked("GET", "/v1/links"), views.LINKS,
        ["LINK      CAPACITY  BOOKED   FREE  RESERVATIONS", "eth0:out     9Gbit   4Gbit  3Gbit             2"],
    ),
    (["pause"], Asked("POST", "/v1/agent/pause"), as_json(views.STATUS) | {"paused": True},
     ["o is operational, health degraded, enforcement paused"]),
    (["resume"], Asked("POST", "/v1/agent/resume"), views.STATUS, ["o is operational, health degraded\n"]),
    (
        ["availability", "wan", "--start", str(NOON), "--for", "2h"],
        Asked("GET", "/v1/availability", {"pool": "wan", "start": str(NOON), "end": str(NOON + 7_200)}),
        views.AVAILABILITY,
        ["free throughout  1Gbit", "spare 3Gbit", "2026-12-31T13:00:00Z  1Gbit"],
    ),
    (
        ["availability", "wan", "--start", str(NOON), "--for", "2h", "--rate", "2Gbit"],
        Asked(
            "GET", "/v1/availability",
            {"pool": "wan", "start": str(NOON), "rate": str(2 * GBIT), "duration": "7200"},
        ),
        views.AVAILABILITY,
        ["2Gbit for 2h fits from 2026-12-31T13:00:00Z on:",
         "asa reserve wan 2Gbit --start 2026-12-31T13:00:00Z --end 2026-12-31T15:00:00Z"],
    ),
    (
        ["pool", "list"], Asked("GET", "/v1/pools"), [views.POOL],
        ["POOL  SEEDED   HELD  COMMITTED     FREE       SPARE  IN DOUBT  RESERVATIONS  PROBLEMS",
         "wan   10Gbit  4Gbit", "~1.235Gbit", "the seeds of o#1 and p#2 overlap"],
    ),
    (
        ["pool", "show", "wan"], Asked("GET", "/v1/pools/wan"), views.DETAIL,
        ["10Gbit over all agents", "o#1: 0 to 10Gbit", "0 to 4Gbit", "never"],
    ),
    (
        ["pool", "add", "wan", "10Gbit"],
        Asked("POST", "/v1/pools", {}, {"name": "wan", "capacity": 10 * GBIT}), views.POOL, ["pool", "wan"],
    ),
    (
        ["pool", "add", "wan", "10Gbit", "--at", "0"],
        Asked("POST", "/v1/pools", {}, {"name": "wan", "capacity": 10 * GBIT, "at": 0}), views.POOL, ["pool", "wan"],
    ),
    (
        ["peers"], Asked("GET", "/v1/peers"), views.PEERS,
        ["b#2", "12.5s ago", "wan 3Gbit", "remembered only", "[fd00::3]:4242", "40s"],
    ),
    (
        ["transfers"], Asked("GET", "/v1/transfers"), [views.TRANSFER],
        ["00ff", "given", "b#2", "1Gbit", "in doubt", "asked 3 times"],
    ),
    (["transfers", "--in-doubt"], Asked("GET", "/v1/transfers", {"in_doubt": "true"}), [], ["no transfers in doubt"]),
    (
        ["forget", "b#2", "--yes"],
        Asked("POST", "/v1/peers/b%232/forget", {}, {"confirm": True}), views.PEERS[0], ["b#2 is forgotten"],
    ),
    (
        ["forfeit", "00ff", "--yes"],
        Asked("POST", "/v1/transfers/00ff/forfeit", {}, {"confirm": True}), views.TRANSFER, ["00ff", "b#2"],
    ),
    (
        ["params"], Asked("GET", "/v1/params"), views.PARAMS,
        ["lease        1h     2h       0s to 52w1d", "permanent    true", "1Mbit", "serial 4, issued by o"],
    ),
    (["params", "get"], Asked("GET", "/v1/params"), views.PARAMS, ["lease"]),
    (["audit"], Asked("POST", "/v1/audit", {}, {}), views.AUDIT, ["9Gbit", "ok: all that was seeded is there, once"]),
    (
        ["audit", "wan"], Asked("POST", "/v1/audit", {}, {"pool": "wan"}), views.AUDIT,
        ["agents that answered: 2, rounds: 2"],
    ),
    (
        ["status"], Asked("GET", "/v1/status"), views.STATUS,
        ["o#0123456789abcdef", "1d2h, since 2026-12-30T10:00:00Z", "relies on links that are secured",
         "port 40123 on eth0", "clock-jumped", "wan"],
    ),
    (
        ["status"], Asked("GET", "/v1/status"), views.MEMBER,
        ["domain acp.example.com: every message authenticated", "fd00@acp.example.com, until 2027-01-10T12",
         "eth0  fe80::7  rack-7     up     2026", "eth1  fe80::8             plain  2026"],
    ),
    (["status"], Asked("GET", "/v1/status"), views.PLAIN, ["relies on links that are secured", "nothing is encrypted"]),
    (["health"], Asked("GET", "/v1/health"), views.PLAIN.health, ["degraded", "plain: nothing is encrypted"]),
    (["health"], Asked("GET", "/v1/health"), views.HEALTH, ["degraded", "flooder", "clock-jumped", "3.51.3"]),
    (["manifest"], Asked("GET", "/v1/manifest"), {"name": "asa", "é": ["\x1b"]}, ['"name": "asa"', '"é"']),
    (["activate"], Asked("POST", "/v1/agent/activate"), views.STATUS, ["o is operational"]),
    (["deactivate"], Asked("POST", "/v1/agent/deactivate"), views.STATUS, ["o is operational"]),
    (["restart"], Asked("POST", "/v1/agent/restart"), views.STATUS, ["o is operational"]),
    (
        ["remove", "--confirm", "o"],
        Asked("POST", "/v1/agent/remove", {}, {"confirm": "o"}), {"returned": 3}, ['"returned": 3'],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "asked", "answer", "texts"), CASES, ids=[" ".join(case[0][:3]) for case in CASES])
def test_a_command_asks_and_shows(
    asa: Run, fake: Fake, argv: list[str], asked: Asked, answer: Any, texts: list[str]
) -> None:
    fake.answers[asked.method, asked.path] = answer
    done = asa(*argv)
    assert (done.status, done.stderr) == (0, "")
    assert fake.asked == [asked]
    assert [text for text in texts if text not in done.stdout] == []
    assert all(line == line.rstrip() for line in done.stdout.split("\n"))

    fake.asked.clear()
    done = asa(*argv, "--json")
    assert (done.status, done.stderr) == (0, "")
    assert fake.asked == [asked]
    assert done.json == as_json(answer)


def route_of(asked: Asked) -> Route:
    for route in ROUTES:
        pattern = re.sub("{[a-z]+}", "[^/]+", route.path)
        if route.method == asked.method and re.fullmatch(pattern, asked.path):
            return route
    raise AssertionError(f"the API has no {asked.method} {asked.path}")


@pytest.mark.parametrize("asked", [case[1] for case in CASES], ids=[" ".join(case[0][:3]) for case in CASES])
def test_what_is_asked_is_what_the_api_takes(asked: Asked) -> None:
    route = route_of(asked)
    msgspec.convert(asked.query, route.query, strict=False)
    if route.body is None:
        assert asked.body is None
    elif asked.body is not None or not route.body_optional:
        msgspec.convert(asked.body, route.body)


@pytest.mark.parametrize("case", CASES, ids=[" ".join(case[0][:3]) for case in CASES])
def test_what_is_shown_is_of_the_type_the_api_answers(case: tuple[list[str], Asked, Any, list[str]]) -> None:
    msgspec.convert(as_json(case[2]), route_of(case[1]).result)


def test_no_window_is_for_ever_and_an_attempt_has_a_key_of_its_own(asa: Run, fake: Fake) -> None:
    fake.answers["POST", "/v1/reservations"] = views.reservation(**FOR_EVER)
    for _ in range(2):
        assert asa("reserve", "wan", "2.5Gbit").status == 0
    asa("reserve", "wan", "2.5Gbit", "--dry-run")
    asa("reserve", "wan", "2.5Gbit", "--key", "mine")
    assert [each.body["end"] for each in fake.asked] == [None] * 4
    keys = [each.key for each in fake.asked]
    assert keys[2:] == [None, "mine"]
    assert keys[0] != keys[1]
    assert all(key is not None and len(key) == 32 for key in keys[:2])


def test_for_alone_counts_from_now(asa: Run, fake: Fake) -> None:
    fake.answers["POST", "/v1/reservations"] = views.reservation()
    before = int(time.time())
    assert asa("reserve", "wan", "1Gbit", "--for", "2h").status == 0
    assert fake.asked[0].body["start"] is None
    assert before <= fake.asked[0].body["end"] - 7_200 <= int(time.time())


def test_availability_asks_peers_only_with_patience(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/availability"] = as_json(views.AVAILABILITY) | {"obtainable": 5 * GBIT}
    assert "5Gbit, peers would grant" in asa("availability", "wan", "--patience", "2s").stdout
    assert fake.asked[0].query == {"pool": "wan", "patience_ms": "2000"}


def test_when_it_fits_here_and_with_what_peers_would_grant(asa: Run, fake: Fake) -> None:
    wish = ["availability", "wan", "--rate", "2Gbit", "--for", "2h", "--patience", "2s"]

    def shown(**changes: Any) -> list[str]:
        fake.answers["GET", "/v1/availability"] = as_json(views.AVAILABILITY) | {"obtainable": GBIT} | changes
        done = asa(*wish)
        assert done.status == 0
        return done.stdout.split("\n\n")[-1].splitlines()

    here = [
        "2Gbit for 2h fits from 2026-12-31T13:00:00Z on:",
        "  asa reserve wan 2Gbit --start 2026-12-31T13:00:00Z --end 2026-12-31T15:00:00Z",
    ]
    there = [
        "2Gbit for 2h fits with what peers would grant from 2026-12-31T12:00:00Z on:",
        "  asa reserve wan 2Gbit --start 2026-12-31T12:00:00Z --end 2026-12-31T14:00:00Z --patience 2s",
    ]
    assert shown(earliest_obtainable=NOON) == here + there
    assert shown(earliest_obtainable=NOON, earliest=None) == there
    assert shown(earliest_obtainable=NOON + 3_600) == here
    assert shown(earliest_obtainable=None) == here
    assert shown(earliest_obtainable=None, earliest=None) == [
        "2Gbit for 2h fits at no time as far as is known here, nor with what peers would grant at the times tried"
    ]
    assert shown(earliest=None, obtainable=None) == [
        "2Gbit for 2h fits at no time as far as is known here; peers may have more"
    ]


def test_a_rate_is_exact_but_in_tables(asa: Run, fake: Fake) -> None:
    odd = views.reservation(rate=2_500_000_002)
    fake.answers["GET", R1], fake.answers["GET", "/v1/reservations"] = odd, views.page(odd)
    assert "rate         2.500000002Gbit\n" in asa("show", "r1").stdout
    assert " ~2.5Gbit " in asa("list").stdout


def test_a_list_goes_through_all_pages(asa: Run, fake: Fake) -> None:
    rows = [views.reservation(f"r{number}") for number in range(5)]

    def answer(asked: Asked) -> Any:
        after = asked.query.get("after")
        if after is None:
            return views.page(*rows[:2], following="r1")
        if after == "r1":
            return views.page(*rows[2:4], following="r3")
        return views.page(following="r9") if after == "r3" else views.page(*rows[4:])

    fake.answers["GET", "/v1/reservations"] = answer
    done = asa("list", "--json")
    assert done.json == as_json(views.page(*rows))
    assert [each.query for each in fake.asked] == [
        {"limit": "1000"}, {"limit": "1000", "after": "r1"}, {"limit": "1000", "after": "r3"},
        {"limit": "1000", "after": "r9"},
    ]  # fmt: skip
    lines = asa("list").stdout.splitlines()
    assert lines[0].split() == [
        "ID", "KIND", "POOL", "RATE", "STATE", "START", "END", "TIME", "DESTINATION", "OWNER", "LABELS",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == [f"r{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("argv", "query"),
    [
        ([], {}),
        (["--all"], {"state": "all"}),
        (["--state", "ended", "--pool", "wan"], {"state": "ended", "pool": "wan"}),
        (["--owner", "a&b=c"], {"owner": "a&b=c"}),
        (
            ["--kind", "steering", "--label", "night", "--host", "[fd00::1]:443{3}"],
            {"kind": "steering", "label": "night", "host": "[fd00::1]:443{3}"},
        ),
        *((["--state", state], {"state": state}) for state in STATES),
    ],
)
def test_a_list_can_be_narrowed(asa: Run, fake: Fake, argv: list[str], query: dict[str, str]) -> None:
    fake.answers["GET", "/v1/reservations"] = views.page()
    done = asa("list", *argv)
    assert (done.status, done.stdout) == (0, "no reservations\n")
    assert fake.asked[0].query == query | {"limit": "1000"}


def test_pages_that_do_not_go_on_end_the_list(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/reservations"] = views.page(views.reservation(), following="r1")
    done = asa("list", "--json")
    assert done.status == 1
    assert done.json["error"]["code"] == "bad-answer"
    assert len(fake.asked) == 2


def test_cancelling_goes_on_after_one_that_cannot_be(asa: Run, fake: Fake) -> None:
    cancelled = views.reservation("r1", state="cancelled", remaining_s=0)
    fake.answers["DELETE", "/v1/reservations/r1"] = cancelled
    fake.answers["DELETE", "/v1/reservations/r2"] = UnknownReservation("there is no reservation r2")
    fake.answers["DELETE", "/v1/reservations/r3"] = Ended("r3 has ended")
    done = asa("cancel", "r2", "r1", "r3", "--json")
    assert done.status == 1
    found = done.json
    assert found["cancelled"] == [as_json(cancelled)]
    assert [(each["id"], each["error"]["code"]) for each in found["failed"]] == [
        ("r2", "unknown-reservation"), ("r3", "ended"),
    ]  # fmt: skip
    assert found["error"]["code"] == "unknown-reservation"

    done = asa("cancel", "r2", "r1", "r3")
    assert done.status == 1
    assert done.stdout == "r1 cancelled\n"
    assert done.stderr == "asa: there is no reservation r2\nasa: r3: r3 has ended\n"

    done = asa("cancel", "r1", "--json")
    assert (done.status, done.json) == (0, {"cancelled": [as_json(cancelled)], "failed": []})


def test_extending_by_counts_from_the_agreed_end(asa: Run, fake: Fake) -> None:
    fake.answers["GET", R1] = fake.answers["PATCH", R1] = views.reservation()
    assert asa("extend", "r1", "--by", "90m").status == 0
    assert fake.asked[1].body == {"end": NOON + 7_200 + 5_400, "patience_ms": 5_000}
    fake.answers["GET", R1] = views.reservation(**FOR_EVER)
    done = asa("extend", "r1", "--by", "90m", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "conflict")


def test_one_parameter(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/params"] = views.PARAMS
    assert asa("params", "get", "lease", "--json").json == as_json(views.PARAMS.params[0])
    assert "1h" in asa("params", "get", "lease").stdout
    done = asa("params", "get", "leese")
    assert (done.status, done.stderr) == (1, "asa: there is no parameter leese\n     did you mean lease?\n")


def test_parameters_are_set_with_their_units(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/params"] = fake.answers["PATCH", "/v1/params"] = views.PARAMS
    done = asa("params", "set", "lease=2h", "permanent=off", "least_grant=10Mbit", "low_water=5%", "--json")
    assert done.json == as_json(views.PARAMS)
    assert fake.asked[1].body == {"lease": 7_200, "permanent": False, "least_grant": 10**7, "low_water": 5}
    assert asa("params", "set", "lease=60").status == 0
    assert fake.asked[3].body == {"lease": 60}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lease=2 hours", "did you mean 2h?; 0s to 52w1d"),
        ("lease=53w", "0s to 52w1d"),
        ("permanent=2", "it is true or false"),
        ("least_grant=1MB", "bytes are not accepted; did you mean 8Mbit?; 1bit to 9007.199254740992Tbit"),
        ("low_water=x", "a whole number is wanted; 0% to 100%"),
    ],
)
def test_a_parameters_value_that_is_refused(asa: Run, fake: Fake, word: str, hint: str) -> None:
    fake.answers["GET", "/v1/params"] = views.PARAMS
    done = asa("params", "set", word, "--json")
    assert (done.status, done.json["error"]["code"], done.json["error"]["hint"]) == (1, "bad-request", hint)
    assert len(fake.asked) == 1


def test_an_audit_that_fails_is_an_answer_and_a_failure(asa: Run, fake: Fake) -> None:
    fake.answers["POST", "/v1/audit"] = views.BAD_AUDIT
    done = asa("audit", "--json")
    assert (done.status, done.json) == (1, as_json(views.BAD_AUDIT))
    done = asa("audit")
    assert done.status == 1
    for text in ("wan: missing", "wan: twice", "seeds that overlap", "unreachable: b#2", "try again", "NOT OK"):
        assert text in done.stdout


@pytest.mark.parametrize("changes", [{"at_rest": False}, {"unreachable": ["b#2"]}])
def test_an_audit_that_found_nothing_wrong_but_did_not_see_all_is_no_loss(
    asa: Run, fake: Fake, changes: dict[str, Any]
) -> None:
    fake.answers["POST", "/v1/audit"] = found = as_json(views.AUDIT) | {"ok": False} | changes
    done = asa("audit", "--json")
    assert (done.status, done.json) == (4, found)
    done = asa("audit")
    assert done.status == 4
    assert done.stdout.endswith("\nNOT JUDGED: nothing wrong was found, but not all was seen at rest\n")


@pytest.mark.parametrize("wrong", ["missing", "twice", "foreign"])
def test_what_is_found_wrong_is_a_failure_also_while_capacity_moves(asa: Run, fake: Fake, wrong: str) -> None:
    found = as_json(views.AUDIT) | {"ok": False, "at_rest": False}
    found["pools"][0] |= {"ok": False, wrong: [as_json(views.BLOCK)]}
    fake.answers["POST", "/v1/audit"] = found
    done = asa("audit")
    assert (done.status, done.stdout.splitlines()[-1]) == (1, "NOT OK")


def test_health_that_is_not_ready_is_an_answer_and_a_failure(asa: Run, fake: Fake) -> None:
    starting = views.Health("starting", False, "o", "0.1.0", [], {}, "3.51.3")
    fake.answers["GET", "/v1/health"] = starting
    done = asa("health", "--json")
    assert (done.status, done.json) == (1, as_json(starting))
    done = asa("health")
    assert done.status == 1
    assert "no: reservations are not accepted" in done.stdout


@pytest.mark.parametrize("command", ["status", "health"])
def test_an_agent_over_plain_links_says_so(asa: Run, fake: Fake, command: str) -> None:
    fake.answers["GET", "/v1/status"], fake.answers["GET", "/v1/health"] = views.PLAIN, views.PLAIN.health
    shown = asa(command).stdout
    assert "plain: nothing is encrypted" in shown
    assert ("plain: relies on links that are secured below IP" in shown) == (command == "status")
    fake.answers["GET", "/v1/status"], fake.answers["GET", "/v1/health"] = views.MEMBER, views.MEMBER.health
    assert "plain: " not in asa(command).stdout


def test_a_neighbour_without_a_link_is_shown_with_the_reason(asa: Run, fake: Fake) -> None:
    why = "tlsv1 alert unknown ca"
    failing = views.NeighbourView("eth0", "fe80::7", "", "failing", views.NOON, why)
    fake.answers["GET", "/v1/status"] = replace(views.MEMBER, neighbours=[failing])
    (line,) = (each for each in asa("status").stdout.splitlines() if "fe80::7" in each)
    assert f"failing: {why}" in line


def test_a_status_says_who_is_served_and_that_enforcement_is_paused(asa: Run, fake: Fake) -> None:
    changes = {"paused": True, "serves": ["10.2.0.0/16", "fd00:2::/32"]}
    fake.answers["GET", "/v1/status"] = as_json(views.STATUS) | changes
    shown = asa("status").stdout
    assert "\nserves        10.2.0.0/16, fd00:2::/32\nenforcement   paused: " in shown
    fake.answers["GET", "/v1/status"] = views.STATUS
    assert "\nenforcement   tc-nft: packets obey\n" in asa("status").stdout
    for back_end, told in (
        ("record", "\nenforcement   record: packets are left alone\n"),
        ("tc-u32", "\nenforcement   tc-u32: it does not work as it shall\n"),
    ):
        fake.answers["GET", "/v1/status"] = as_json(views.STATUS) | {"back_end": back_end, "effect": False}
        assert told in asa("status").stdout
    fake.answers["GET", "/v1/status"] = as_json(views.STATUS) | {"back_end": "", "effect": False}
    assert "enforcement" not in asa("status").stdout


def test_a_list_has_both_rates_and_the_time_that_counts(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/reservations"] = views.page(
        views.reservation("r1", **views.TWO_WAY),
        views.reservation("r2", state="held", remaining_s=90),
        views.reservation("r3", state="failed"),
        views.reservation("r4", state="parked", kind="steering", rate=0, labels=[]),
    )
    lines = [" ".join(line.split()) for line in asa("list").stdout.splitlines()]
    assert "r1 two-way wan 2.5Gbit 1Gbit active" in lines[1]
    assert lines[1].endswith(" 1h30m left web1:80{3} db vm7 backup, night")
    assert "to be confirmed within 1m30s" in lines[2]
    assert "failed" in lines[3]
    assert "1h30m left" in lines[3]
    assert lines[4].startswith("r4 steering wan parked")


def test_events_up_to_now(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/events"] = views.KEPT
    assert asa("events", "--json").json == as_json(views.KEPT)
    assert fake.asked[0].query == {"after": "0", "limit": "1000"}
    done = asa("events", "--after", "1")
    assert fake.asked[1].query["after"] == "1"
    assert done.stdout == (
        "1  2026-12-31T12:00:00Z  reserved  r1 is reserved  id=r1 rate=5\n"
        "2  2026-12-31T12:00:01Z  peer-lost  b#2 is silent\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownPool("there is no pool wam", hint="did you mean wan?", details={"known": ["wan"]}), "unknown-pool"),
        (Conflict("no"), "conflict"),
        (NotReady("starting"), "not-ready"),
    ],
)
def test_what_the_agent_refuses_is_told(asa: Run, fake: Fake, error: Any, code: str) -> None:
    fake.answers["GET", "/v1/pools/wam"] = error
    done = asa("pool", "show", "wam", "--json")
    assert (done.status, done.stderr) == (1, "")
    assert done.json == {
        "error": {"code": code, "message": error.message, "hint": error.hint, "details": error.details}
    }
    done = asa("pool", "show", "wam")
    hint = f"     {error.hint}\n" if error.hint else ""
    assert (done.status, done.stdout, done.stderr) == (1, "", f"asa: {error.message}\n{hint}")
