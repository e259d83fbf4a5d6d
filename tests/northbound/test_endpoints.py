"""Every endpoint, on a real socket, each answer held against the OpenAPI document."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from asa import views
from asa.northbound.bodies import Reserve
from asa.northbound.resources import ROUTES
from asa.northbound.server import Server
from asa.views import ReservationRequest

from .conftest import TOKEN, Described
from .double import NOW, Double
from .raw import Answer, Raw

WISH = {"pool": "wan", "rate": 1_000_000_000, "end": NOW + 3600, "owner": "me"}


class Api:
    """Asks, and has each answer judged."""

    def __init__(self, raw: Raw, described: Described) -> None:
        self._raw = raw
        self._described = described
        self.asked: set[tuple[str, str]] = set()

    def __call__(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._raw.ask(method, target, body, headers=renamed)
        self._described.check(method, target, answer)
        return answer


@pytest.fixture
def api(raw: Raw, described: Described) -> Api:
    return Api(raw, described)


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
    ("GET", "/v1/reservations/r000001", None, 200),
    ("PATCH", "/v1/reservations/r000001", {"rate": 5, "end": "never", "patience_ms": 0}, 200),
    ("DELETE", "/v1/reservations/r000001", None, 200),
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
    ("POST", "/v1/agent/restart", None, 200),
    ("POST", "/v1/agent/remove", {"confirm": "node#1"}, 200),
]


def test_every_endpoint_answers_as_documented(api: Api, double: Double) -> None:
    double.reserve(ReservationRequest("wan", 5))
    for method, target, body, status in HAPPY:
        assert api(method, target, body).status == status, (method, target)


def test_no_endpoint_is_left_out_here() -> None:
    asked = {(method, target.partition("?")[0]) for method, target, _, _ in HAPPY}
    for route in ROUTES:
        matching = [
            path for method, path in asked if method == route.method and path.count("/") == route.path.count("/")
        ]
        assert matching or route.stream, route.path


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/v1/pools/lan", None, 404, "unknown-pool"),
    ("GET", "/v1/reservations/r9", None, 404, "unknown-reservation"),
    ("DELETE", "/v1/reservations/r9", None, 404, "unknown-reservation"),
    ("POST", "/v1/reservations", WISH | {"pool": "lan"}, 404, "unknown-pool"),
    ("POST", "/v1/reservations", WISH | {"end": 5}, 400, "bad-window"),
    ("POST", "/v1/reservations", WISH | {"rate": 10**11}, 409, "short"),
    ("PATCH", "/v1/reservations/r000001", {}, 400, "bad-request"),
    ("PATCH", "/v1/reservations/r000001", {"rate": 10**11}, 409, "short"),
    ("POST", "/v1/pools", {"name": "wan", "capacity": 5, "at": 5}, 409, "conflict"),
    ("POST", "/v1/transfers/t9/forfeit", {"confirm": True}, 404, "unknown-transfer"),
    ("POST", "/v1/transfers/t1/forfeit", {"confirm": False}, 400, "bad-request"),
    ("POST", "/v1/peers/node/forget", {"confirm": False}, 400, "bad-request"),
    ("POST", "/v1/peers/nobody/forget", {"confirm": True}, 404, "not-found"),
    ("PATCH", "/v1/params", {"lease": 7}, 400, "bad-request"),
    ("PATCH", "/v1/params", {}, 400, "bad-request"),
    ("POST", "/v1/agent/remove", {"confirm": "node#2"}, 409, "conflict"),
    ("POST", "/v1/agent/activate", {"now": True}, 400, "bad-request"),
    ("GET", "/v2/pools", None, 404, "unknown-path"),
    ("GET", "/v1/pools/", None, 400, "bad-request"),
    ("PUT", "/v1/pools", None, 405, "method-not-allowed"),
    ("DELETE", "/v1/health", None, 405, "method-not-allowed"),
    ("GET", "/v1/health", {"a": 1}, 400, "bad-request"),
    ("GET", "/v1/health?verbose=1", None, 400, "bad-request"),
]


@pytest.mark.parametrize(("method", "target", "body", "status", "code"), REFUSED)
def test_what_is_refused_says_so_in_one_form(
    api: Api, double: Double, method: str, target: str, body: Any, status: int, code: str
) -> None:
    double.reserve(ReservationRequest("wan", 5))
    answer = api(method, target, body)
    assert (answer.status, answer.code) == (status, code)
    assert set(answer.json()["error"]) == {"code", "message", "hint", "details"}
    assert api("GET", "/v1/health").status == 200, "the connection goes on"


def test_a_refusal_tells_what_would_fit(api: Api) -> None:
    details = api("POST", "/v1/reservations", WISH | {"rate": 11_000_000_000}).json()["error"]["details"]
    assert details["lower_rate"]["rate"] == 10_000_000_000
    assert details["shortages"][0]["missing"] == 1_000_000_000


def test_what_was_made_is_where_location_says(api: Api) -> None:
    made = api("POST", "/v1/reservations", WISH)
    assert api("GET", made.headers["location"]).json() == made.json()
    made = api("POST", "/v1/pools", {"name": "a b/c%é", "capacity": 7})
    assert api("GET", made.headers["location"]).json()["pool"] == made.json()


def test_a_key_makes_a_request_once(api: Api) -> None:
    first = api("POST", "/v1/reservations", WISH, Idempotency_Key="k 1")
    assert api("POST", "/v1/reservations", WISH, Idempotency_Key="k 1").json() == first.json()
    assert api("GET", "/v1/reservations").json()["total"] == 1
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


FIELDS: list[tuple[dict[str, Any] | bytes, str, str]] = [
    (WISH | {"rate": "5"}, "$.rate", "int, got str"),
    (WISH | {"rate": True}, "$.rate", "int, got bool"),
    (WISH | {"rate": 1.5}, "$.rate", "int, got float"),
    (WISH | {"rate": 5.0}, "$.rate", "int, got float"),
    (WISH | {"rate": 0}, "$.rate", ">= 1"),
    (WISH | {"rate": -1}, "$.rate", ">= 1"),
    (WISH | {"rate": 2**63}, "$.rate", "<= 9223372036854775807"),
    (WISH | {"rate": 10**400}, "$.rate", ""),
    (WISH | {"rate": None}, "$.rate", "int, got null"),
    (WISH | {"start": []}, "$.start", "int | null, got array"),
    (WISH | {"end": "never"}, "$.end", "int | null, got str"),
    (WISH | {"owner": 5}, "$.owner", "str, got int"),
    (WISH | {"owner": "a\n"}, "$.owner", "control characters"),
    (WISH | {"owner": "a" * 256}, "$.owner", "length <= 255"),
    (WISH | {"dry_run": 1}, "$.dry_run", "bool, got int"),
    (WISH | {"pool": ""}, "$.pool", "length >= 1"),
    ({"pool": "wan"}, "$.rate", "rate"),
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
    assert api("GET", "/v1/reservations").json()["total"] == 0


QUERIES = [
    ("/v1/reservations?limit=0", "limit: expected int >= 1"),
    ("/v1/reservations?limit=1001", "limit: expected int <= 1000"),
    ("/v1/reservations?limit=1e2", "limit: expected int, got str"),
    ("/v1/reservations?limit=5.0", "limit: expected int, got str"),
    ("/v1/reservations?limit=true", "limit: expected int, got str"),
    ("/v1/reservations?limit=" + "9" * 30, "limit"),
    ("/v1/reservations?limit=1&limit=2", "twice"),
    ("/v1/reservations?limti=2", "unknown query parameter"),
    ("/v1/reservations?state=dead", "state"),
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


def test_tcp_needs_the_token(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    assert server.port is not None
    with Raw(server.port) as raw:
        for wrong in (
            "",
            "Bearer",
            "Bearer x",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer é",
        ):
            answer = raw.ask("GET", "/v1/health", headers={"Authorization": wrong})
            assert (answer.status, answer.code) == (401, "unauthorized"), wrong
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert raw.ask("GET", "/nowhere").status == 401
        assert raw.ask("GET", "/v1/health", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert TOKEN not in caplog.text


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
    have = {f.name: "required" if f.required else f.default for f in msgspec.structs.fields(Reserve)}
    assert have == want
