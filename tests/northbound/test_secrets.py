"""The header Asa-Secret: which calls take it, what it opens, and that nobody gets to see it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from asa.northbound.resources import ROUTES
from asa.northbound.routes import Call
from asa.views import ReservationRequest

from .conftest import Api, Described
from .double import ADMIN, Double
from .raw import Raw

SECRET = "correct horse battery staple"
WISH = {"pool": "wan", "rate": 5, "owner": "me"}

TAKING: list[tuple[str, str, Any]] = [
    ("POST", "/v1/reservations", WISH),
    ("POST", "/v1/reservations/r000001/confirm", None),
    ("PATCH", "/v1/reservations/r000001", {"rate": 6}),
    ("POST", "/v1/reservations/r000001/refresh", None),
    ("POST", "/v1/refresh", {"host": "web1"}),
    ("DELETE", "/v1/reservations/r000001", None),
    ("DELETE", "/v1/reservations", None),
    ("PUT", "/v1/caps", {"project": "me", "resource": "wan", "amount": 5}),
    ("POST", "/v1/agent/pause", None),
    ("POST", "/v1/agent/resume", None),
]


def test_the_document_tells_which_calls_take_it(described: Described) -> None:
    found = {
        operation["operationId"]: parameter["required"]
        for path in described.document["paths"].values()
        for operation in path.values()
        for parameter in operation["parameters"]
        if parameter["name"] == "Asa-Secret"
    }
    optional = {
        "reserve", "confirm", "change", "refresh_reservation", "refresh", "cancel", "set_cap", "pause", "resume",
    }  # fmt: skip
    assert found == dict.fromkeys(optional, False) | {"cancel_all": True}
    assert len(TAKING) == len(found) == sum(route.secret for route in ROUTES)


@pytest.mark.parametrize("secret", ["s" * 256, "sé", "s\ts"])
def test_one_that_is_none_is_refused(api: Api, double: Double, secret: str) -> None:
    double.reserve(ReservationRequest("wan", 5), secret=SECRET)
    for method, target, body in TAKING:
        answer = api(method, target, body, Asa_Secret=secret)
        assert (answer.status, answer.code) == (400, "bad-request"), (method, target)
        assert "Asa-Secret" in answer.json()["error"]["message"]
    assert len(double.reservations().reservations) == 1
    assert not double.paused


def test_an_empty_one_is_none(raw: Raw, double: Double) -> None:
    made = double.reserve(ReservationRequest("wan", 5))
    raw.send(f"DELETE /v1/reservations/{made.id} HTTP/1.1\r\nHost: x\r\nAsa-Secret: \r\n\r\n".encode())
    answer = raw.read()
    assert (answer.status, answer.code) == (400, "bad-request")
    assert double.reservation(made.id).state == "active"


def test_the_longest_and_the_shortest_are_taken(api: Api) -> None:
    for secret in ("s", "~" * 255, "a b, c"):
        made = api("POST", "/v1/reservations", WISH, Asa_Secret=secret).json()
        assert made["secret"] is True
        assert api("DELETE", f"/v1/reservations/{made['id']}", Asa_Secret=secret).status == 200


def test_it_opens_what_it_was_given_for_and_nothing_else(api: Api) -> None:
    mine = api("POST", "/v1/reservations", WISH | {"hold_s": 60}, Asa_Secret=SECRET).json()
    at = f"/v1/reservations/{mine['id']}"
    calls: list[tuple[str, str, Any]] = [
        ("POST", f"{at}/confirm", None),
        ("PATCH", at, {"rate": 6}),
        ("POST", f"{at}/refresh", {}),
        ("DELETE", at, None),
    ]
    for method, target, body in calls:
        assert api(method, target, body).code == "forbidden"
        assert api(method, target, body, Asa_Secret="another's").code == "forbidden"
    for method, target, body in calls:
        assert api(method, target, body, Asa_Secret=SECRET).status == 200
    theirs = api("POST", "/v1/reservations", WISH, Asa_Secret="another's").json()
    assert api("DELETE", f"/v1/reservations/{theirs['id']}", Asa_Secret=ADMIN).status == 200


def test_all_it_opens_is_cancelled_at_once(api: Api) -> None:
    for owner, secret in (("me", SECRET), ("you", SECRET), ("me", "another's"), ("me", "")):
        api("POST", "/v1/reservations", WISH | {"owner": owner}, Asa_Secret=secret)
    refused = api("DELETE", "/v1/reservations?owner=me")
    assert (refused.status, refused.code) == (400, "bad-request")
    assert "needs the header Asa-Secret" in refused.json()["error"]["message"]
    gone = api("DELETE", "/v1/reservations?owner=me", Asa_Secret=SECRET)
    assert gone.json() == {"cancelled": 1, "ids": ["r000001"]}
    assert api("DELETE", "/v1/reservations", Asa_Secret=SECRET).json()["ids"] == ["r000002"]
    assert api("DELETE", "/v1/reservations", Asa_Secret=SECRET).json() == {"cancelled": 0, "ids": []}
    assert api("DELETE", "/v1/reservations", Asa_Secret=ADMIN).code == "bad-request"
    assert api("DELETE", "/v1/reservations?owner=me", Asa_Secret=ADMIN).json()["cancelled"] == 2
    assert api("DELETE", f"/v1/reservations?owner={'x' * 256}", Asa_Secret=SECRET).code == "bad-request"


def test_where_it_means_nothing_it_is_not_looked_at(api: Api) -> None:
    assert api("GET", "/v1/reservations", Asa_Secret="é").status == 200
    assert api("POST", "/v1/agent/activate", Asa_Secret=SECRET).status == 200


def test_nobody_gets_to_see_it(api: Api, raw: Raw, double: Double, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = double.reserve(ReservationRequest("wan", 5, source="web1"), secret=SECRET)
    said = [api("GET", "/v1/reservations"), api("GET", f"/v1/reservations/{made.id}")]
    wrong = (SECRET + "é", SECRET + "\t.", SECRET * 10, SECRET + "x", SECRET)
    for secret in wrong:
        for method, target, body in TAKING:
            said.append(api(method, target, body, Asa_Secret=secret))
            said.append(api(method, target + "?nothing=1", body, Asa_Secret=secret))
            said.append(api(method, target, b'{"nothing":1}', Asa_Secret=secret))
    double.failure = RuntimeError("a defect")
    said.append(api("POST", "/v1/agent/pause", Asa_Secret=ADMIN))
    assert said[-1].status == 500
    raw.send(f"DELETE /v1/reservations HTTP/1.1\r\nHost: x\r\nAsa-Secret: {SECRET}\r\nAsa-Secret: x\r\n\r\n".encode())
    said.append(raw.read())
    assert "given twice" in said[-1].json()["error"]["message"]
    for answer in said:
        assert SECRET.encode() not in answer.body
        assert SECRET not in str(answer.headers)
    assert "a defect" in caplog.text
    assert SECRET not in caplog.text
    assert ADMIN not in caplog.text
    assert SECRET not in repr(Call((), None, None, None, SECRET))
