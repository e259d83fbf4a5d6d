"""Bytes that are no request, or too much of one, and clients that take their time."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from asa.northbound import application, connection, limits
from asa.northbound.server import Server
from asa.views import ReservationRequest

from .double import Double
from .raw import PATIENCE_S, Raw
from .remote import TOKEN, Pki

GET = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"

CHUNKED = b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

BROKEN = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300, 400),
    (b"F(O / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"F" * 33 + b" / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"GET /v1/pools/a\x00b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /v1/pools/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400),
    (b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    (b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}", 400),
    (b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}", 400),
    (b"GET http://x/v1/health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}", 400),
    (b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
    (b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    (b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
    (CHUNKED + b"4000\r\n%b\r\n" % (b"x" * 16384) * 5, 413),
    (CHUNKED + b"1;e=%b\r\nx\r\n" % (b"x" * 30_000) * 20, 413),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 65 + b"\r\n", 431),
    (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status"), BROKEN)
def test_what_is_no_request_is_answered_once_and_closed(raw: Raw, data: bytes, status: int) -> None:
    raw.send(data + GET)
    answer = raw.read()
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert set(answer.json()["error"]) == {"code", "message", "hint", "details"}
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.closed()


def test_a_method_that_nobody_knows_is_one_that_is_not_allowed(raw: Raw) -> None:
    for method in ("QUERY", "FOO", "TRACE", "PROPFIND", "WEBSOCKET"):
        answer = raw.ask(method, "/v1/pools")
        assert (answer.status, answer.code) == (405, "method-not-allowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        assert method in answer.json()["error"]["message"]
    assert raw.ask("FOO", "/nowhere").code == "unknown-path"


def test_nul_and_nonsense_in_a_path_are_refused(raw: Raw) -> None:
    for name in ("a%00b", "%ff", "%0a", "x" * 256):
        assert raw.ask("GET", f"/v1/pools/{name}").code == "bad-request"
    assert raw.ask("GET", "/v1/pools/%2e%2e%2fetc").code == "unknown-pool"


def test_pipelined_requests_are_answered_in_order(raw: Raw) -> None:
    raw.send(b"".join(b"GET /v1/pools/p%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(200)))
    assert [raw.read().json()["error"]["message"] for _ in range(200)] == [f"no pool 'p{n}'" for n in range(200)]


def test_a_request_may_come_byte_by_byte(raw: Raw) -> None:
    body = b'{"pool":"wan","rate":5}'
    data = b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for byte in data + b"Content-Length: %d\r\n\r\n" % len(body) + body:
        raw.send(bytes([byte]))
    assert raw.read().status == 201


def test_chunks_and_continue(raw: Raw) -> None:
    head = (
        b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    )
    raw.send(head + b"Expect: 100-continue\r\n\r\n")
    assert (raw.line(), raw.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
    raw.send(b'e\r\n{"pool":"wan",\r\n9\r\n"rate":5}\r\n0\r\n\r\n')
    assert raw.read().status == 201


def test_an_upgrade_is_declined_by_answering(raw: Raw) -> None:
    assert raw.ask("GET", "/v1/health", headers={"Upgrade": "h2c", "Connection": "Upgrade"}).status == 200


def test_http_1_0_closes_behind_its_answer(raw: Raw) -> None:
    raw.send(b"GET /v1/health HTTP/1.0\r\n\r\n")
    assert raw.read().status == 200
    assert raw.closed()


def test_a_client_that_half_closes_is_answered(raw: Raw) -> None:
    raw.send(GET)
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.read().status == 200
    assert raw.closed()


def test_half_requests_hold_no_worker_and_are_given_up(
    double: Double, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.3)
    server = Server(double, path, workers=2)
    server.start()
    try:
        slow = [Raw(path) for _ in range(50)]
        for number, each in enumerate(slow):
            each.send(GET[: 1 + number % (len(GET) - 1)])
        with Raw(path) as raw:
            assert raw.ask("GET", "/v1/health").status == 200
        assert {each.read().code for each in slow} == {"request-timeout"}
        for each in slow:
            each.close()
    finally:
        server.stop(1.0)


def test_a_client_that_reads_slowly_holds_no_worker(double: Double, path: Path) -> None:
    for _ in range(1000):
        double.reserve(ReservationRequest("wan", 1, labels=["x" * 1000]))
    server = Server(double, path, workers=2)
    server.start()
    try:
        slow = [Raw(path) for _ in range(4)]
        for each in slow:
            each.send(b"GET /v1/reservations?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        with Raw(path) as raw:
            assert raw.ask("GET", "/v1/health").status == 200
        for each in slow:
            assert [len(each.read().json()["reservations"]) for _ in range(3)] == [1000] * 3
            each.close()
    finally:
        server.stop(1.0)


def test_a_hundred_connections_at_once_are_all_served(server: Server, path: Path) -> None:
    statuses: list[int] = []

    def one() -> None:
        with Raw(path) as raw:
            statuses.extend(raw.ask("GET", "/v1/pools").status for _ in range(10))

    threads = [threading.Thread(target=one) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert statuses == [200] * 1000


def test_beyond_the_bound_a_connection_is_closed_behind_its_answer(server: Server, path: Path) -> None:
    kept = [Raw(path) for _ in range(limits.MAX_IDLE + 64)]
    closed = 0
    for each in kept:
        answer = each.ask("GET", "/v1/health")
        assert answer.status == 200
        closed += answer.headers.get("connection") == "close"
    assert closed >= 1
    with Raw(path) as one_more:
        assert one_more.ask("GET", "/v1/health").status == 200
    for each in kept:
        each.close()


RESERVE = (
    b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b'Content-Length: 43\r\n\r\n{"pool":"wan","rate":5,"patience_ms":60000}'
)


def test_calls_that_wait_for_peers_leave_a_worker_for_the_rest(
    double: Double, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "PLACE_S", 60.0)
    double.hold = threading.Event()
    server = Server(double, path, workers=4)
    server.start()
    try:
        waiting = [Raw(path) for _ in range(3 + limits.WAITING)]
        for each in waiting:
            each.send(RESERVE)
        for _ in range(3):
            assert double.held.acquire(timeout=PATIENCE_S)
        streams = [Raw(path) for _ in range(2)]
        for each in streams:
            each.send(b"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert each.read().status == 200
        # A question put before all of them wait would take the place of one.
        until = time.monotonic() + PATIENCE_S
        while server._lane.free:
            assert time.monotonic() < until, "all of them wait"
            time.sleep(0.01)
        with Raw(path) as raw:
            answer = raw.ask("POST", "/v1/audit")
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "busy", "1")
            assert raw.ask("GET", "/v1/health").status == 200
            without_patience = raw.ask("GET", "/v1/availability?pool=wan")
            assert without_patience.status == 200
        assert not double.held.acquire(blocking=False), "no more than all workers but one run"
        double.hold.set()
        assert [each.read().status for each in waiting] == [201] * len(waiting)
        for each in [*waiting, *streams]:
            each.close()
    finally:
        double.hold.set()
        server.stop(1.0)


def test_a_call_waits_for_its_turn_no_longer_than_its_patience(double: Double, path: Path) -> None:
    double.hold = threading.Event()
    server = Server(double, path, workers=2)
    server.start()
    try:
        with Raw(path) as running, Raw(path) as waiting:
            running.send(RESERVE)
            assert double.held.acquire(timeout=PATIENCE_S)
            answer = waiting.ask("POST", "/v1/reservations", {"pool": "wan", "rate": 5, "patience_ms": 50})
            assert (answer.status, answer.code) == (503, "busy")
            assert "patience" in answer.json()["error"]["hint"]
    finally:
        double.hold.set()
        server.stop(1.0)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/reservations/r000001/confirm", None),
        ("POST", "/v1/reservations/r000001/refresh", None),
        ("POST", "/v1/refresh", {"host": "web1"}),
        ("PATCH", "/v1/reservations/r000001", {"rate": 6}),
    ],
)
def test_whatever_may_ask_the_other_end_takes_a_place(
    double: Double, path: Path, monkeypatch: pytest.MonkeyPatch, method: str, target: str, body: Any
) -> None:
    monkeypatch.setattr(application, "PLACE_S", 0.05)
    double.reserve(ReservationRequest("wan", 5))
    double.hold = threading.Event()
    server = Server(double, path, workers=2)
    server.start()
    try:
        with Raw(path) as running, Raw(path) as waiting:
            running.send(RESERVE)
            assert double.held.acquire(timeout=PATIENCE_S)
            answer = waiting.ask(method, target, body)
            assert (answer.status, answer.code) == (503, "busy")
            assert waiting.ask("DELETE", "/v1/reservations/r000001").status == 200, "what asks nobody takes none"
    finally:
        double.hold.set()
        server.stop(1.0)


def test_a_small_answer_over_tcp_does_not_wait_for_an_acknowledgement(server: Server, pki: Pki) -> None:
    assert server.port is not None
    with Raw(server.port, pki.context()) as raw:
        took = []
        for _ in range(50):
            began = time.perf_counter()
            assert raw.ask("GET", "/v1/health", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
            took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 0.04, "a delayed acknowledgement comes 40 ms after, at the earliest"


def test_nothing_behind_a_chunked_body_is_taken_for_a_request(raw: Raw) -> None:
    raw.send(CHUNKED + b"0\r\n\r\n" + GET)
    answer = raw.read()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert raw.closed()


def test_a_body_that_does_not_come_is_given_up(double: Double, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.2)
    server = Server(double, path)
    server.start()
    try:
        for target in (b"/v1/audit", b"/v1/nowhere"):
            with Raw(path) as raw:
                raw.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{" % target)
                if target == b"/v1/audit":
                    assert raw.read().code == "request-timeout"
                assert raw.closed()
        monkeypatch.setattr(connection, "REQUEST_S", PATIENCE_S)
        with Raw(path) as raw:
            raw.send(b"POST /v1/audit HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
            raw.sock.shutdown(socket.SHUT_WR)
            assert raw.read().code == "bad-request"
    finally:
        server.stop(1.0)
