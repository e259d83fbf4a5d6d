"""Every endpoint, on a real socket, each answer held against the OpenAPI document."""

from __future__ import annotations

import re
import shlex
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import validate

from asa import errors, lifecycle, records, views
from asa.errors import AsaError
from asa.flows import InvalidFlow
from asa.hosts import UnknownHost
from asa.northbound import bodies, openapi
from asa.northbound.bodies import Reserve
from asa.northbound.resources import ROUTES
from asa.northbound.routes import Route
from asa.service import Service
from asa.traffic import UnknownClass
from asa.views import ReservationRequest

from .conftest import Api, Described
from .double import ADMIN, NOW, Double
from .raw import Raw

WISH = {"pool": "wan", "rate": 1_000_000_000, "end": NOW + 3600, "owner": "me"}


HAPPY: list[tuple[str, str, Any, int]] = [
    ("GET", "/", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("GET", "/v1/health", None, 200),
    ("GET", "/v1/status", None, 200),
    ("GET", "/v1/manifest", None, 200),
    ("GET", "/v1/pools", None, 200),
    ("GET", "/v1/pools/wan", None, 200),
    ("POST", "/v1/pools", {"name": "lan", "capacity": 5}, 201),
    ("POST", "/v1/reservations", WISH, 201),
    ("POST", "/v1/reservations", WISH | {"dry_run": True}, 200),
    ("GET", "/v1/reservations?pool=wan&state=all&owner=me&after=r0&limit=1000", None, 200),
    ("GET", "/v1/reservations?kind=one-way&label=backup&host=web1", None, 200),
    ("GET", "/v1/reservations/r000001", None, 200),
    ("POST", "/v1/reservations/r000001/confirm", None, 200),
    ("POST", "/v1/reservations/r000001/confirm", {"patience_ms": 0}, 200),
    ("POST", "/v1/reservations/r000001/refresh", None, 200),
    ("POST", "/v1/refresh", {"host": "web1"}, 200),
    ("PATCH", "/v1/reservations/r000001", {"rate": 5, "end": "never", "patience_ms": 0}, 200),
    ("DELETE", "/v1/reservations/r000001", None, 200),
    ("DELETE", "/v1/reservations?owner=me", None, 200),
    ("GET", "/v1/caps", None, 200),
    ("PUT", "/v1/caps", {"project": "me", "resource": "wan", "amount": 5, "percent": True}, 200),
    ("PUT", "/v1/caps", {"project": "me", "resource": "wan", "amount": None}, 200),
    ("GET", "/v1/links", None, 200),
    ("GET", "/v1/enforcement", None, 200),
    ("GET", "/v1/metrics", None, 200),
    ("GET", f"/v1/availability?pool=wan&start={NOW}&end={NOW + 5}&rate=5&duration=60&patience_ms=9", None, 200),
    ("GET", "/v1/peers", None, 200),
    ("POST", "/v1/peers/node%232/forget", {"confirm": True}, 200),
    ("GET", "/v1/transfers?in_doubt=true", None, 200),
    ("POST", "/v1/transfers/t1/forfeit", {"confirm": True}, 200),
    ("GET", "/v1/params", None, 200),
    ("PATCH", "/v1/params", {"lease_s": 700}, 200),
    ("POST", "/v1/audit", {"pool": "wan"}, 200),
    ("POST", "/v1/audit", None, 200),
    ("GET", "/v1/events?after=0&limit=5&wait_ms=1", None, 200),
    ("POST", "/v1/agent/activate", None, 200),
    ("POST", "/v1/agent/deactivate", {}, 200),
    ("POST", "/v1/agent/pause", None, 200),
    ("POST", "/v1/agent/resume", {}, 200),
    ("POST", "/v1/agent/restart", None, 200),
    ("POST", "/v1/agent/remove", {"confirm": "node#1"}, 200),
]


def test_every_endpoint_answers_as_documented(api: Api, double: Double) -> None:
    double.reserve(ReservationRequest("wan", 5))
    for method, target, body, status in HAPPY:
        assert api(method, target, body, Asa_Secret=ADMIN).status == status, (method, target)


def test_no_endpoint_is_left_out_here() -> None:
    asked = [(method, *target.partition("?")[::2]) for method, target, _, _ in HAPPY]
    for route in ROUTES:
        pattern = re.sub(r"{\w+}", "[^/]+", route.path)
        queries = [query for method, path, query in asked if method == route.method and re.fullmatch(pattern, path)]
        assert queries or route.stream, route.path
        given = {pair.partition("=")[0] for query in queries for pair in query.split("&")}
        assert route.stream or given >= set(route.query.__struct_fields__), route.path


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/v1/pools/lan", None, 404, "unknown-pool"),
    ("GET", "/v1/reservations/r9", None, 404, "unknown-reservation"),
    ("DELETE", "/v1/reservations/r9", None, 404, "unknown-reservation"),
    ("POST", "/v1/reservations", WISH | {"pool": "lan"}, 404, "unknown-pool"),
    ("POST", "/v1/reservations", WISH | {"end": 5}, 400, "bad-window"),
    ("POST", "/v1/reservations", WISH | {"rate": 10**11}, 409, "short"),
    ("POST", "/v1/reservations", WISH | {"pool": "", "rate": 2 * 10**9}, 409, "link-short"),
    ("POST", "/v1/reservations", WISH | {"owner": "poor"}, 409, "over-cap"),
    ("POST", "/v1/reservations", WISH | {"source": "web1", "destination": "web2"}, 409, "duplicate"),
    ("POST", "/v1/reservations", WISH | {"source": "192.0.2.7"}, 409, "elsewhere"),
    ("POST", "/v1/reservations", WISH | {"kind": "two-way", "back": 5, "destination": "198.51.100.7"}, 504,
     "unreachable"),
    ("POST", "/v1/reservations", WISH | {"kind": "two-way", "back": 5, "destination": "198.51.100.0/24"}, 409,
     "refused-there"),
    ("POST", "/v1/reservations", WISH | {"source": "10.0.0.1/8"}, 400, "bad-flow"),
    ("POST", "/v1/reservations", WISH | {"source": "web9"}, 400, "unknown-host"),
    ("POST", "/v1/reservations", WISH | {"traffic": "void"}, 400, "unknown-class"),
    ("POST", "/v1/reservations", {"pool": "wan"}, 400, "bad-request"),
    ("POST", "/v1/reservations", WISH | {"kind": "steering", "through": ["web2"]}, 400, "bad-request"),
    ("POST", "/v1/reservations/r9/confirm", None, 404, "unknown-reservation"),
    ("POST", "/v1/reservations/r000002/confirm", None, 403, "forbidden"),
    ("POST", "/v1/reservations/r000003/confirm", {}, 409, "conflict"),
    ("POST", "/v1/reservations/r000004/confirm", {}, 409, "ended"),
    ("POST", "/v1/reservations/r000005/confirm", {"patience_ms": 0}, 504, "unreachable"),
    ("POST", "/v1/reservations/r000001/confirm", {"patience_ms": 60_001}, 400, "bad-request"),
    ("POST", "/v1/reservations/r9/refresh", None, 404, "unknown-reservation"),
    ("POST", "/v1/reservations/r000002/refresh", {}, 403, "forbidden"),
    ("POST", "/v1/refresh", {}, 400, "bad-request"),
    ("POST", "/v1/refresh", None, 400, "bad-request"),
    ("POST", "/v1/refresh", {"host": "x" * 301}, 400, "bad-request"),
    ("DELETE", "/v1/reservations", None, 400, "bad-request"),
    ("DELETE", "/v1/reservations/r000002", None, 403, "forbidden"),
    ("PATCH", "/v1/reservations/r000002", {"rate": 1}, 403, "forbidden"),
    ("PATCH", "/v1/reservations/r000001", {"back": 1}, 400, "bad-request"),
    ("PATCH", "/v1/reservations/r000001", {"rate": 0}, 400, "bad-request"),
    ("PUT", "/v1/caps", {"project": "me", "resource": "wan", "amount": 5}, 403, "forbidden"),
    ("PUT", "/v1/caps", {"project": "me", "resource": "wan"}, 400, "bad-request"),
    ("PUT", "/v1/caps", {"project": "me", "resource": "", "amount": 5}, 400, "bad-request"),
    ("PUT", "/v1/caps", {"project": "me", "resource": "wan", "amount": -1}, 400, "bad-request"),
    ("PUT", "/v1/caps", {"project": "me" * 128, "resource": "wan", "amount": 1}, 400, "bad-request"),
    ("POST", "/v1/agent/pause", None, 403, "forbidden"),
    ("POST", "/v1/agent/resume", None, 403, "forbidden"),
    ("PATCH", "/v1/reservations/r000001", {}, 400, "bad-request"),
    ("PATCH", "/v1/reservations/r000001", {"rate": 10**11}, 409, "short"),
    ("POST", "/v1/pools", {"name": "wan", "capacity": 5, "at": 5}, 409, "conflict"),
    ("POST", "/v1/transfers/t9/forfeit", {"confirm": True}, 404, "unknown-transfer"),
    ("POST", "/v1/transfers/t1/forfeit", {"confirm": False}, 400, "bad-request"),
    ("POST", "/v1/peers/node/forget", {"confirm": False}, 400, "bad-request"),
    ("POST", "/v1/peers/nobody/forget", {"confirm": True}, 404, "not-found"),
    ("PATCH", "/v1/params", {"lease": 7}, 400, "bad-request"),
    ("PATCH", "/v1/params", {}, 400, "bad-request"),
    ("POST", "/v1/agent/remove", {"confirm": "node#2"}, 400, "bad-request"),
    ("POST", "/v1/agent/activate", {"now": True}, 400, "bad-request"),
    ("GET", "/v2/pools", None, 404, "unknown-path"),
    ("GET", "/v1/pools/", None, 400, "bad-request"),
    ("PUT", "/v1/pools", None, 405, "method-not-allowed"),
    ("DELETE", "/v1/health", None, 405, "method-not-allowed"),
    ("GET", "/v1/health", {"a": 1}, 400, "bad-request"),
    ("GET", "/v1/health?verbose=1", None, 400, "bad-request"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body", "status", "code"), REFUSED)
def test_what_is_refused_says_so_in_one_form(
    api: Api, double: Double, method: str, target: str, body: Any, status: int, code: str
) -> None:
    double.reserve(ReservationRequest("wan", 5))
    double.reserve(ReservationRequest("wan", 5, source="web1", destination="web2"), secret="its own")
    double.reserve(ReservationRequest("wan", 10**12, park=True))
    double.cancel(double.reserve(ReservationRequest("wan", 5)).id)
    double.reserve(ReservationRequest("wan", 5, destination=double.silent, hold_s=60))
    double.set_cap("poor", "wan", 5, secret=ADMIN)
    answer = api(method, target, body)
    assert (answer.status, answer.code) == (status, code)
    assert set(answer.json()["error"]) == {"code", "message", "hint", "details"}
    assert api("GET", "/v1/health").status == 200, "the connection goes on"


def test_a_refusal_tells_what_would_fit(api: Api, described: Described) -> None:
    for pool, there in ("wan", 10**10), ("", 10**9):
        answer = api("POST", "/v1/reservations", WISH | {"pool": pool, "rate": there + 10**9})
        schema = {"$ref": "#/components/schemas/ShortError", "components": described.document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())
        details = answer.json()["error"]["details"]
        assert details["resource"] == (pool or "eth0:out")
        assert details["lower_rate"]["rate"] == there
        assert details["shortages"][0]["missing"] == 10**9


def test_a_refusal_names_who_or_what_stands_in_the_way(api: Api, double: Double) -> None:
    flow = {"source": "10.0.0.1:80", "destination": "10.0.0.2", "protocol": "tcp"}
    made = api("POST", "/v1/reservations", WISH | flow).json()
    assert api("POST", "/v1/reservations", WISH | flow).json()["error"]["details"] == {"id": made["id"]}
    elsewhere = api("POST", "/v1/reservations", WISH | {"source": "192.0.2.7"})
    assert elsewhere.json()["error"]["details"] == {"node": "node#2"}
    double.set_cap("me", "wan", 1_500_000_000, secret=ADMIN)
    assert api("POST", "/v1/reservations", WISH).json()["error"]["details"] == {
        "project": "me", "resource": "wan", "cap": 1_500_000_000, "booked": 1_000_000_000, "wanted": 1_000_000_000,
    }  # fmt: skip


def test_what_was_made_is_where_location_says(api: Api) -> None:
    made = api("POST", "/v1/reservations", WISH)
    assert api("GET", made.headers["location"]).json() == made.json()
    made = api("POST", "/v1/pools", {"name": "a b/c%é", "capacity": 7})
    assert api("GET", made.headers["location"]).json()["pool"] == made.json()


def test_a_key_makes_a_request_once(api: Api) -> None:
    first = api("POST", "/v1/reservations", WISH, Idempotency_Key="k 1")
    assert api("POST", "/v1/reservations", WISH, Idempotency_Key="k 1").json() == first.json()
    assert len(api("GET", "/v1/reservations").json()["reservations"]) == 1
    assert api("POST", "/v1/reservations", WISH | {"rate": 5}, Idempotency_Key="k 1").code == "idempotency-key-reused"


def test_a_key_is_refused_where_it_would_promise_too_much(api: Api) -> None:
    seed = {"name": "lan", "capacity": 5}
    assert api("POST", "/v1/pools", seed, Idempotency_Key="k").code == "bad-request"
    assert [each["name"] for each in api("GET", "/v1/pools").json()] == ["wan"]


@pytest.mark.parametrize("key", ["k" * 129, "k\tk", "ké"])
def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    assert api("POST", "/v1/reservations", WISH, Idempotency_Key=key).code == "bad-request"


def test_health_is_503_with_the_same_body_until_ready(api: Api, double: Double) -> None:
    double.ready = False
    answer = api("GET", "/v1/health")
    assert (answer.status, answer.json()["status"]) == (503, "starting")


def test_pages_follow_one_another(api: Api) -> None:
    for _ in range(5):
        api("POST", "/v1/reservations", WISH | {"rate": 1})
    seen, after = [], ""
    while True:
        page = api("GET", f"/v1/reservations?limit=2{after}").json()
        seen += [each["id"] for each in page["reservations"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == [f"r{number:06}" for number in range(1, 6)]


def test_a_page_may_be_short_or_empty_and_have_a_next_one(api: Api, double: Double) -> None:
    double.scan = 2
    for number in range(5):
        api("POST", "/v1/reservations", WISH | {"rate": 1, "labels": [f"n{number}"]})
    page = api("GET", "/v1/reservations?label=n3").json()
    assert page == {"reservations": [], "next": "r000002"}
    page = api("GET", "/v1/reservations?label=n3&after=r000002").json()
    assert ([each["id"] for each in page["reservations"]], page["next"]) == (["r000004"], "r000004")
    assert api("GET", "/v1/reservations?label=n3&after=r000004").json() == {"reservations": [], "next": None}


def test_a_whole_wish_reaches_the_service(api: Api) -> None:
    wish = {
        "pool": "wan", "rate": 5, "start": NOW + 1, "end": NOW + 2, "source": "web1:80{3}", "destination": "fd00::/64",
        "owner": "me", "labels": ["a", "b b"], "kind": "two-way", "protocol": "tcp", "back": 6,
        "traffic": "global_voice", "through": ["web1"], "output": "eth7", "hold_s": 30,
    }  # fmt: skip
    made = api("POST", "/v1/reservations", wish | {"park": True, "patience_ms": 1}).json()
    assert {name: made.get(name) for name in wish if name != "hold_s"} == {
        name: value for name, value in wish.items() if name != "hold_s"
    }
    assert (made["state"], made["held_until"], made["source_address"]) == ("held", NOW + 30, "10.0.0.1")
    assert (made["takes"], made["partner"], made["secret"]) == ({"wan": 11}, "node#2", False)
    confirmed = api("POST", made_at(made) + "/confirm").json()
    assert (confirmed["state"], confirmed["held_until"]) == ("active", None)
    assert api("PATCH", made_at(made), {"back": 7, "end": NOW + 3}).json()["takes"] == {"wan": 12}


def made_at(made: dict[str, Any]) -> str:
    return f"/v1/reservations/{made['id']}"


@pytest.mark.parametrize("kind", ["passthrough", "steering", "mirroring"])
def test_what_reserves_no_bandwidth_needs_no_pool_and_no_rate(api: Api, kind: str) -> None:
    made = api("POST", "/v1/reservations", {"kind": kind, "source": "10.0.0.7"})
    assert (made.status, made.json()["pool"], made.json()["takes"]) == (201, "", {})


def test_what_cannot_be_placed_may_be_parked(api: Api) -> None:
    made = api("POST", "/v1/reservations", WISH | {"rate": 10**11, "park": True})
    assert (made.status, made.json()["state"]) == (201, "parked")
    assert made.json()["why"]
    assert [each["state"] for each in api("GET", "/v1/reservations?state=parked").json()["reservations"]] == ["parked"]


def test_a_list_has_only_what_was_asked_for(api: Api) -> None:
    for more in ({"source": "web1", "labels": ["x", "y"]}, {"kind": "two-way", "back": 5}, {"owner": "you"}):
        api("POST", "/v1/reservations", WISH | more)
    for query, found in (
        ("kind=two-way", [2]),
        ("label=y", [1]),
        ("label=x&owner=me", [1]),
        ("label=x&owner=you", []),
        ("host=web1", [1]),
        ("host=10.0.0.1", [1]),
        ("owner=you", [3]),
        ("state=active", [1, 2, 3]),
        ("state=held", []),
        ("", [1, 2, 3]),
    ):
        page = api("GET", f"/v1/reservations?{query}").json()
        assert [each["id"] for each in page["reservations"]] == [f"r{number:06}" for number in found], query


def test_a_host_that_moved_is_followed(api: Api, double: Double) -> None:
    for source in ("web1", "web2", "10.0.0.9"):
        api("POST", "/v1/reservations", WISH | {"source": source})
    double.hosts["web1"] = "10.0.0.7"
    assert api("POST", "/v1/refresh", {"host": "web1"}).json() == {"moved": ["r000001"], "same": [], "failed": {}}
    assert api("GET", "/v1/reservations/r000001").json()["source_address"] == "10.0.0.7"
    assert api("POST", "/v1/reservations/r000003/refresh").json()["same"] == ["r000003"]
    del double.hosts["web2"]
    assert list(api("POST", "/v1/reservations/r000002/refresh").json()["failed"]) == ["r000002"]


def test_caps_are_set_and_removed(api: Api) -> None:
    cap = {"project": "me", "resource": "wan", "amount": 50, "percent": True}
    assert api("PUT", "/v1/caps", cap, Asa_Secret=ADMIN).json() == [cap]
    other = {"project": "*", "resource": "eth0:out", "amount": 0}
    assert api("PUT", "/v1/caps", other, Asa_Secret=ADMIN).json() == [other | {"percent": False}, cap]
    assert api("GET", "/v1/caps").json() == [other | {"percent": False}, cap]
    assert api("PUT", "/v1/caps", other | {"amount": None}, Asa_Secret=ADMIN).json() == [cap]
    assert api("PUT", "/v1/caps", other | {"amount": None}, Asa_Secret=ADMIN).code == "not-found"
    assert api("PUT", "/v1/caps", cap | {"amount": 101}, Asa_Secret=ADMIN).code == "bad-request"


def test_links_tell_what_is_booked(api: Api) -> None:
    api("POST", "/v1/reservations", WISH | {"pool": "", "rate": 5})
    assert api("GET", "/v1/links").json() == [
        {"name": "eth0:out", "capacity": 10**9, "booked": 5, "free": 10**9 - 5, "reservations": 1}
    ]


def test_enforcement_is_paused_and_resumed(api: Api) -> None:
    assert api("POST", "/v1/agent/pause", Asa_Secret=ADMIN).json()["paused"] is True
    assert api("GET", "/v1/status").json()["paused"] is True
    assert api("POST", "/v1/agent/resume", Asa_Secret=ADMIN).json()["paused"] is False


FIELDS: list[tuple[dict[str, Any] | bytes, str, str]] = [
    (WISH | {"rate": "5"}, "$.rate", "int, got str"),
    (WISH | {"rate": True}, "$.rate", "int, got bool"),
    (WISH | {"rate": 1.5}, "$.rate", "int, got float"),
    (WISH | {"rate": 5.0}, "$.rate", "int, got float"),
    (WISH | {"rate": -1}, "$.rate", ">= 0"),
    (WISH | {"rate": 2**63}, "$.rate", "<= 9223372036854775807"),
    (WISH | {"rate": 10**400}, "$.rate", ""),
    (WISH | {"rate": None}, "$.rate", "int, got null"),
    (WISH | {"start": []}, "$.start", "int | null, got array"),
    (WISH | {"end": "never"}, "$.end", "int | null, got str"),
    (WISH | {"owner": 5}, "$.owner", "str, got int"),
    (WISH | {"owner": "a\n"}, "$.owner", "control characters"),
    (WISH | {"owner": "a" * 256}, "$.owner", "length <= 255"),
    (WISH | {"dry_run": 1}, "$.dry_run", "bool, got int"),
    (WISH | {"pool": "a" * 256}, "$.pool", "length <= 255"),
    (WISH | {"pool": None}, "$.pool", "str, got null"),
    (WISH | {"source": "a" * 301}, "$.source", "length <= 300"),
    (WISH | {"destination": "a\x7f"}, "$.destination", "control characters"),
    (WISH | {"label": "backup"}, "$.label", "nothing"),
    (WISH | {"labels": "backup"}, "$.labels", "array, got str"),
    (WISH | {"labels": ["x"] * 17}, "$.labels", "length <= 16"),
    (WISH | {"labels": [""]}, "$.labels[0]", "length >= 1"),
    (WISH | {"labels": ["x", "a" * 256]}, "$.labels[1]", "length <= 255"),
    (WISH | {"labels": [5]}, "$.labels[0]", "str, got int"),
    (WISH | {"kind": "oneway"}, "$.kind", "one of mirroring, one-way, passthrough, steering, two-way"),
    (WISH | {"kind": "x" * 10_000}, "$.kind", "one of mirroring"),
    (WISH | {"kind": None}, "$.kind", "got null"),
    (WISH | {"protocol": ""}, "$.protocol", "length >= 1"),
    (WISH | {"protocol": 6}, "$.protocol", "str, got int"),
    (WISH | {"back": -1}, "$.back", ">= 0"),
    (WISH | {"back": 2**63}, "$.back", "<= 9223372036854775807"),
    (WISH | {"traffic": ""}, "$.traffic", "length >= 1"),
    (WISH | {"through": ["x"] * 17}, "$.through", "length <= 16"),
    (WISH | {"through": ["a" * 301]}, "$.through[0]", "length <= 300"),
    (WISH | {"through": [""]}, "$.through[0]", "length >= 1"),
    (WISH | {"output": "a" * 301}, "$.output", "length <= 300"),
    (WISH | {"hold_s": -1}, "$.hold_s", ">= 0"),
    (WISH | {"hold_s": 86_401}, "$.hold_s", "<= 86400"),
    (WISH | {"hold_s": True}, "$.hold_s", "int, got bool"),
    (WISH | {"park": "yes"}, "$.park", "bool, got str"),
    (WISH | {"secret": "s"}, "$.secret", "nothing"),
    (b'{"pool":"wan","rate":5,"rate":6}', "$.rate", "one"),
    (b'{"pool":"wan","rate":5,"r\\u0061te":5}', "$.rate", "one"),
    (WISH | {"onwer": "me"}, "$.onwer", "nothing"),
    (b"[1]", "$", "object, got array"),
    (b"null", "$", "object, got null"),
    (b'{"pool":', "$", "JSON"),
    (b'{"pool":"wan","rate":5}{}', "$", "JSON"),
    (b'{"pool":"\xff","rate":5}', "$", "JSON"),
    (b"{'pool':'wan'}", "$", "JSON"),
    (b"NaN", "$", "JSON"),
    (b'{"pool":' * 7000, "$", ""),
    (b"[" * 60_000, "$", ""),
]


@pytest.mark.parametrize(("body", "path", "expected"), FIELDS)
def test_a_value_that_does_not_fit_is_named_with_what_would(api: Api, body: Any, path: str, expected: str) -> None:
    answer = api("POST", "/v1/reservations", body)
    assert (answer.status, answer.code) == (400, "bad-request")
    details = answer.json()["error"]["details"]
    assert details.get("path", "$").startswith(path)
    assert expected in details.get("expected", "")
    assert api("GET", "/v1/reservations").json()["reservations"] == []


QUERIES = [
    ("/v1/reservations?limit=0", "limit: expected int >= 1"),
    ("/v1/reservations?limit=1001", "limit: expected int <= 1000"),
    ("/v1/reservations?limit=1e2", "limit: expected int, got str"),
    ("/v1/reservations?limit=5.0", "limit: expected int, got str"),
    ("/v1/reservations?limit=true", "limit: expected int, got str"),
    ("/v1/reservations?limit=" + "9" * 30, "limit"),
    ("/v1/reservations?limit=1&limit=2", "twice"),
    ("/v1/reservations?limti=2", "unknown query parameter"),
    ("/v1/reservations?state=dead", "state: expected one of active, all, cancelled"),
    ("/v1/reservations?state=", "state"),
    ("/v1/reservations?kind=oneway", "kind: expected one of mirroring"),
    ("/v1/reservations?label=", "label"),
    ("/v1/reservations?label=" + "x" * 256, "label"),
    ("/v1/reservations?host=", "host"),
    ("/v1/reservations?host=" + "x" * 301, "host"),
    ("/v1/reservations?pool=%ff", "UTF-8"),
    ("/v1/reservations?pool=a%00", "control"),
    ("/v1/transfers?in_doubt=1", "in_doubt: expected bool"),
    ("/v1/availability?rate=5", "pool"),
    ("/v1/events?wait_ms=30001", "wait_ms"),
    ("/v1/events/stream?after=-1", "after"),
]


@pytest.mark.parametrize(("target", "said"), QUERIES)
def test_a_query_that_does_not_fit_is_refused(api: Api, target: str, said: str) -> None:
    raw = api._raw.ask("GET", target)
    assert (raw.status, raw.code) == (400, "bad-request")
    assert said in raw.json()["error"]["message"]


def test_misspelt_names_are_guessed(api: Api) -> None:
    assert "owner" in api("POST", "/v1/reservations", WISH | {"onwer": "x"}).json()["error"]["hint"]
    assert "limit" in api("GET", "/v1/reservations?limti=2").json()["error"]["hint"]
    assert "/v1/reservations" in api("GET", "/v1/reservation").json()["error"]["hint"]


def test_a_number_may_be_a_name(api: Api) -> None:
    api("POST", "/v1/pools", {"name": "5", "capacity": 7})
    assert api("GET", "/v1/availability?pool=5").json()["pool"] == "5"


def test_what_is_unexpected_is_logged_and_not_told(api: Api, double: Double, caplog: pytest.LogCaptureFixture) -> None:
    double.failure = RuntimeError("secret of the house")
    answer = api("GET", "/v1/status")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert "secret of the house" in caplog.text
    assert "Traceback" in caplog.text


def test_head_and_options(raw: Raw) -> None:
    got, head = raw.ask("GET", "/v1/status"), raw.ask("HEAD", "/v1/status")
    assert (head.status, head.headers | {"date": ""}, head.body) == (200, got.headers | {"date": ""}, b"")
    assert raw.ask("HEAD", "/v1/pools/none").status == 404
    options = raw.ask("OPTIONS", "/v1/reservations/x")
    assert (options.status, options.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH")
    assert "content-length" not in options.headers
    assert "PATCH" in raw.ask("OPTIONS", "*").headers["allow"]
    assert raw.ask("PUT", "/v1/pools").headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_a_body_says_what_it_is(api: Api) -> None:
    assert api("POST", "/v1/reservations", WISH, Content_Type="text/plain").code == "unsupported-media-type"
    assert api("POST", "/v1/reservations", WISH, Content_Type="").code == "unsupported-media-type"
    assert api("POST", "/v1/reservations", WISH, Content_Type="Application/JSON; charset=UTF-8").status == 201
    assert api("POST", "/v1/reservations", None, Content_Length="").code == "length-required"


def test_what_the_manual_shows_can_be_asked(api: Api) -> None:
    text = (Path(__file__).parents[2] / "docs/agent-api.md").read_text()
    shown = re.findall(r"^    curl .*(?:\n {9,}.*)*", text, re.MULTILINE)
    assert len(shown) == 8
    for command in shown:
        words = shlex.split(command.replace("\\\n", " "))
        options = list(pairwise(words))
        headers = dict(value.split(": ") for option, value in options if option == "-H")
        body = dict(options).get("-d")
        method = dict(options).get("-X", "GET" if body is None else "POST")
        (target,) = (word.removeprefix("http://x") for word in words if word.startswith("http://x"))
        target = target.replace("r-0k3xq2v8s7c1dn", "r000003")
        if headers.get("Asa-Secret") == "of the administrator":
            headers["Asa-Secret"] = ADMIN
            api("PUT", "/v1/caps", {"project": "*", "resource": "eth0:out", "amount": 1}, Asa_Secret=ADMIN)
        named = {name.replace("-", "_"): value for name, value in headers.items()}
        answer = api(method, target, None if body is None else body.encode(), **named)
        assert answer.status in (200, 201), (command, answer.body)


def test_the_openapi_document_is_valid_and_complete(described: Described) -> None:
    validate(described.document)
    for route in ROUTES:
        assert route.method.lower() in described.document["paths"][route.path]
    identifiers = [each["operationId"] for path in described.document["paths"].values() for each in path.values()]
    assert len(identifiers) == len(set(identifiers))


def test_every_number_that_is_answered_says_its_unit(described: Described) -> None:
    for name, schema in described.document["components"]["schemas"].items():
        if not hasattr(views, name):
            continue
        for field, found in schema["properties"].items():
            kinds = {each.get("type") for each in (found, *found.get("anyOf", ()))}
            if kinds & {"integer", "number"}:
                assert found.get("description"), (name, field)
            if field in ("rate", "free", "capacity", "missing", "seeded", "held", "committed", "spare", "in_motion"):
                assert kinds == {"array"} or "bit/s" in found["description"], (name, field)
            if field in ("start", "end", "created", "started", "since", "at"):
                assert "UNIX seconds" in found["description"], (name, field)


def test_a_reservation_request_is_the_service_s_own() -> None:
    want = {f.name: "required" if f.default is MISSING else f.default for f in fields(ReservationRequest)}
    want |= {f.name: f.default_factory for f in fields(ReservationRequest) if f.default_factory is not MISSING}
    have = {f.name: "required" if f.required else f.default for f in msgspec.structs.fields(Reserve)}
    have |= {f.name: f.default_factory for f in msgspec.structs.fields(Reserve) if f.default is msgspec.NODEFAULT}
    assert have == want


def test_states_and_kinds_are_the_agent_s_own() -> None:
    assert set(get_args(bodies.State)) == {*lifecycle.State, "all"}
    assert set(get_args(bodies.Kind)) == set(records.Kind)


KINDS = {kind.__name__: kind for kind in (*vars(errors).values(), InvalidFlow, UnknownHost, UnknownClass)
         if isinstance(kind, type) and issubclass(kind, AsaError)}  # fmt: skip


@pytest.mark.parametrize("route", [each for each in ROUTES if each.name not in ("index", "openapi", "stream")])
def test_what_the_service_raises_is_documented(route: Route) -> None:
    method = getattr(Service, {"refresh_reservation": "refresh"}.get(route.name, route.name))
    named = set(re.findall(r"\w+", (method.__doc__ or "").partition("Raises ")[2])) & set(KINDS)
    assert {KINDS[name] for name in named} <= {*route.errors, *openapi._ALWAYS}


def test_a_parameter_given_twice_is_refused(api: Api) -> None:
    assert api("PATCH", "/v1/params", b'{"lease_s":700,"lease_s":800}').code == "bad-request"
    assert api("GET", "/v1/params").json()["serial"] == 1
