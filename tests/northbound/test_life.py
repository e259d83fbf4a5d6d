"""Starting, stopping and being replaced; the socket's file; streams; the client."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asa.errors import BadConfig, BadRequest, Busy, Conflict, Forbidden, KeyReused, Short, UnknownPool, Unreachable
from asa.northbound import limits
from asa.northbound.access import Local, Token
from asa.northbound.client import Client, Tls
from asa.northbound.connection import Connection
from asa.northbound.refusals import MethodNotAllowed
from asa.northbound.roles import OPERATOR
from asa.northbound.server import Remote, Server
from asa.northbound.serving import HttpServer
from asa.northbound.tls import Files

from .conftest import UNBOUND
from .double import Double
from .raw import PATIENCE_S, Raw
from .remote import TOKEN, Pki

WISH = {"pool": "wan", "rate": 5}


def test_a_stale_socket_is_replaced_and_a_live_one_refused(double: Double, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    first = Server(double, path, mode=0o600, group=os.getgid())
    first.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = Server(double, path)
    with pytest.raises(Conflict, match="listens on"):
        second.start()
    with Raw(path) as raw:
        assert raw.ask("GET", "/v1/health").status == 200
    first.stop()
    assert not path.exists()
    first.stop()


def test_a_file_that_is_no_socket_is_left_alone(double: Double, path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(BadConfig, match="not a socket"):
        Server(double, path).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"remote": {"address": ("192.0.2.1", 0)}}, "cannot listen"),
        ({"remote": {"address": ("example.com", 0)}}, "not an IP address"),
        ({"remote": {"tokens": ()}}, "nobody may ask"),
        ({"remote": {"files": Files(Path("/nowhere"), Path("/nowhere"))}}, "No such file"),
        ({"remote": {"files": Files(Path("/dev/null"), Path("/dev/null"))}}, "TLS"),
        ({"local": Local(operators=("no-such-user",))}, "no user no-such-user"),
        ({"local": Local(readers=("@no-such-group",))}, "no group no-such-group"),
        ({"workers": 1}, "2 to 64"),
        ({"group": "no-such-group"}, "cannot listen"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(
    double: Double, path: Path, pki: Pki, options: dict[str, Any], said: str
) -> None:
    if "remote" in options:
        right = {"address": ("127.0.0.1", 0), "files": pki.files, "tokens": (Token(TOKEN, OPERATOR, "one"),)}
        options = {"remote": Remote(**right | options["remote"])}
    with pytest.raises(BadConfig, match=said):
        Server(double, path, **options).start()
    assert not path.exists()


def test_threads_are_named_and_end(double: Double, path: Path) -> None:
    server = Server(double, path, workers=3)
    server.start()
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("asa-api")}
    count = 3 + 1 + limits.WAITING
    assert names == {"asa-api-unix-accept", *(f"asa-api-unix-{number + 1}" for number in range(count))}
    with Raw(path) as idle:
        assert idle.ask("GET", "/v1/health").status == 200
        server.stop()
        assert idle.closed()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asa-api")]


def test_what_was_asked_is_answered_while_stopping(double: Double, path: Path) -> None:
    double.hold = threading.Event()
    server = Server(double, path)
    server.start()
    with Raw(path) as raw:
        raw.send(
            b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 23\r\n\r\n{"pool":"wan","rate":5}'
        )
        assert double.held.acquire(timeout=PATIENCE_S)
        stopping = threading.Thread(target=server.stop, args=(PATIENCE_S,))
        stopping.start()
        double.hold.set()
        answer = raw.read()
        assert answer.status == 201
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()


def test_a_stop_waits_no_longer_than_its_grace(
    double: Double, path: Path, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    double.hold = threading.Event()
    server = Server(double, path, remote=pki.remote())
    server.start()
    assert server.port is not None
    try:
        with (
            Raw(path) as asking,
            Raw(path) as silent,
            Raw(server.port, pki.context()) as half,
            Raw(server.port) as mute,
        ):
            asking.send(
                b"POST /v1/reservations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b'Content-Length: 23\r\n\r\n{"pool":"wan","rate":5}'
            )
            half.send(b"GET /v1/hea")
            mute.send(b"\x16\x03")
            assert double.held.acquire(timeout=PATIENCE_S)
            began = time.monotonic()
            server.stop(0.5)
            assert time.monotonic() - began < PATIENCE_S / 3
            assert "asa-api-unix-" in caplog.text, "what is not done is named"
            assert not path.exists()
            double.hold.set()
            assert asking.read().status == 201, "a late answer is still given"
            assert silent.closed() or silent.read().status == 408
    finally:
        double.hold.set()


def test_what_has_arrived_before_a_stop_is_answered(double: Double, path: Path) -> None:
    for _ in range(20):
        server = Server(double, path)
        server.start()
        kept = [Raw(path) for _ in range(5)]
        for each in kept:
            assert each.ask("GET", "/v1/health").status == 200
        for each in kept:
            each.send(b"GET /v1/pools HTTP/1.1\r\nHost: x\r\n\r\n")
        server.stop(PATIENCE_S)
        for each in kept:
            assert each.read().status == 200
            assert each.closed()
            each.close()


def test_what_arrives_while_its_worker_gives_the_connection_back_is_answered(
    double: Double, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    giving, go = threading.Event(), threading.Event()
    give = HttpServer.put_conn

    def held_up(server: HttpServer, conn: Connection) -> None:
        giving.set()
        assert go.wait(PATIENCE_S)
        give(server, conn)

    monkeypatch.setattr(HttpServer, "put_conn", held_up)
    server = Server(double, path)
    server.start()
    with Raw(path) as raw:
        assert raw.ask("GET", "/v1/health").status == 200
        assert giving.wait(PATIENCE_S)
        stopping = threading.Thread(target=server.stop, args=(PATIENCE_S,))
        stopping.start()
        until = time.monotonic() + PATIENCE_S
        while server._servers[0].ready:
            assert time.monotonic() < until
            time.sleep(0.001)
        raw.send(b"GET /v1/pools HTTP/1.1\r\nHost: x\r\n\r\n")
        go.set()
        assert raw.read().status == 200
        assert raw.closed()
        stopping.join(PATIENCE_S)


def test_who_asks_too_late_on_the_unix_socket_is_told_so(double: Double, path: Path) -> None:
    server = Server(double, path)
    server.start()
    with Raw(path) as raw:
        assert raw.ask("GET", "/v1/health").status == 200
        server.stop(PATIENCE_S)
        with pytest.raises(BrokenPipeError):
            raw.sock.sendall(b"GET /v1/pools HTTP/1.1\r\nHost: x\r\n\r\n")


def test_a_successor_goes_on_with_the_same_sockets_and_nobody_is_refused(double: Double, path: Path, pki: Pki) -> None:
    server = Server(double, path, remote=pki.remote(), rate=UNBOUND)
    context = pki.context()
    server.start()
    port = server.port
    assert port is not None
    over = threading.Event()
    failures: list[Exception] = []
    asked = threading.Semaphore(0)

    def keep_asking(connect: Callable[[], Raw]) -> None:
        while not over.is_set():
            try:
                with connect() as raw:
                    assert raw.ask("GET", "/v1/health", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
                asked.release()
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=keep_asking, args=(lambda: Raw(path),)) for _ in range(3)]
    threads += [threading.Thread(target=keep_asking, args=(lambda: Raw(port, context),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        for _ in range(30):
            assert asked.acquire(timeout=PATIENCE_S)
        inherited = server.fds()
        server.stop(PATIENCE_S)
        server = Server(double, path, remote=pki.remote(port), rate=UNBOUND, inherited=inherited)
        server.start()
        assert server.port == port
    over.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    server.stop(1.0)
    assert failures == []
    assert not path.exists()


def test_a_successor_that_listens_elsewhere_leaves_the_old_address(double: Double, path: Path, pki: Pki) -> None:
    first = Server(double, path, remote=pki.remote())
    first.start()
    port = first.port
    assert port is not None
    inherited = first.fds()
    first.stop(PATIENCE_S)
    second = Server(double, path, remote=replace(pki.remote(), address=("::1", port)), inherited=inherited)
    second.start()
    try:
        with pytest.raises(ConnectionRefusedError):
            Raw(port)
        with Client(f"[::1]:{port}", TOKEN, tls=Tls(str(pki.trust))) as client:
            assert client.request("GET", "/v1/health")["ready"]
    finally:
        second.stop(1.0)


def test_inherited_sockets_survive_exec(path: Path) -> None:
    program = """
import os, sys
from asa.northbound.server import Server
from tests.northbound.double import Double
path, inherited = sys.argv[1], [int(number) for number in sys.argv[2:]]
server = Server(Double(), path, inherited=inherited)
server.start()
print(len(inherited), flush=True)
sys.stdin.readline()
numbers = [str(number) for number in server.fds()]
server.stop(1.0)
if not inherited:
    os.execv(sys.executable, [sys.executable, "-c", open("/proc/self/cmdline").read().split("\\0")[2], path, *numbers])
"""
    agent = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    with agent:
        assert agent.stdout.readline() == "0\n"
        agent.stdin.write("go\n")
        agent.stdin.flush()
        with Client(str(path)) as client:
            assert client.request("GET", "/v1/health")["ready"]
        assert agent.stdout.readline() == "1\n"
        with Client(str(path)) as client:
            assert client.request("GET", "/v1/health")["ready"]
        agent.stdin.close()
    assert agent.returncode == 0


def test_a_stream_tells_what_happens(server: Server, double: Double, path: Path) -> None:
    double.happen("first")
    double.happen("kind\nwith a line end")
    with Raw(path) as raw:
        raw.send(b"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 1\r\n\r\n")
        head = raw.read()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
        assert [raw.line() for _ in range(2)] == [b"id: 2\n", b"event: kind with a line end\n"]
        assert raw.line().startswith(b'data: {"number":2,')
        assert raw.line() == b"\n"
        double.happen("third")
        assert raw.line() == b"id: 3\n"


def test_a_stream_tells_of_a_gap_and_keeps_alive(
    server: Server, double: Double, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.northbound.watchers.KEEP_ALIVE_S", 0.0)
    for _ in range(1_010):
        double.happen("many")
    with Client(str(path)) as client:
        events = client.events()
        gap = next(events)
        assert (gap["kind"], gap["fields"]) == ("missed", {"missed": 10})
        assert [next(events)["number"] for _ in range(1_000)] == list(range(11, 1_011))
    with Raw(path) as raw:
        raw.send(b"GET /v1/events/stream?after=1010 HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.read()
        assert raw.line() == b": keep-alive\n"


def test_so_many_may_wait_for_events_and_one_more_is_refused(server: Server, path: Path, double: Double) -> None:
    streams = [Raw(path) for _ in range(4)]
    for each in streams:
        each.send(b"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert each.read().status == 200
    with Raw(path) as raw:
        for target in ("/v1/events/stream", "/v1/events?wait_ms=30000", "/v1/events?wait%5Fms=30000"):
            answer = raw.ask("GET", target)
            assert (answer.status, answer.code) == (503, "busy")
        assert raw.ask("GET", "/v1/events").status == 200
    for each in streams:
        each.close()
    double.happen("late")
    with Raw(path) as raw:
        until = time.monotonic() + PATIENCE_S
        while (answer := raw.ask("GET", "/v1/events?wait_ms=1")).status == 503:
            assert time.monotonic() < until, "the places of clients that are gone come free"
        assert answer.json()["events"]


def test_streams_end_when_the_server_stops(double: Double, path: Path) -> None:
    server = Server(double, path)
    server.start()
    double.happen("one")
    events = Client(str(path)).events()
    assert next(events)["number"] == 1
    server.stop(PATIENCE_S)
    assert list(events) == []


def test_the_client_raises_the_agent_s_own_errors(server: Server, path: Path, pki: Pki) -> None:
    believed = Tls(str(pki.trust))
    for address, token in ((str(path), None), (f"unix:{path}", None), (f"127.0.0.1:{server.port}", TOKEN)):
        with Client(address, token, tls=believed) as client:
            made = client.request("POST", "/v1/reservations", WISH, headers={"Idempotency-Key": f"k{address}"})
            assert client.request("DELETE", f"/v1/reservations/{made['id']}")["state"] == "cancelled"
            assert client.request("GET", "/v1/transfers", query={"in_doubt": True, "x": None})[0]["txn"] == "t1"
            with pytest.raises(Short) as short:
                client.request("POST", "/v1/reservations", WISH | {"rate": 10**12})
            assert short.value.details["lower_rate"]
            with pytest.raises(UnknownPool, match="nowhere"):
                client.request("GET", "/v1/pools/nowhere")
            with pytest.raises(MethodNotAllowed):
                client.request("PUT", "/v1/pools")
            with pytest.raises(KeyReused):
                client.request(
                    "POST", "/v1/reservations", {"pool": "x", "rate": 1}, headers={"Idempotency-Key": f"k{address}"}
                )


def test_what_is_refused_of_a_flow_is_a_bad_request_to_the_client(server: Server, path: Path) -> None:
    with Client(str(path)) as client:
        for more, code in (
            ({"source": "10.0.0.1/8"}, "bad-flow"),
            ({"source": "web9"}, "unknown-host"),
            ({"traffic": "x"}, "unknown-class"),
        ):
            with pytest.raises(BadRequest) as refused:
                client.request("POST", "/v1/reservations", WISH | more)
            assert (refused.value.code, refused.value.status) == (code, 400)
        client.request("POST", "/v1/reservations", WISH, headers={"Asa-Secret": "its own"})
        with pytest.raises(Forbidden):
            client.request("DELETE", "/v1/reservations/r000001")
        assert client.request("DELETE", "/v1/reservations", headers={"Asa-Secret": "its own"})["cancelled"] == 1


@pytest.mark.parametrize("secret", ["hush\n", "hush\r\nHost: y", "hüsh", "hush\u2028"])
def test_the_client_sends_no_header_that_is_none_and_does_not_show_it(path: Path, secret: str) -> None:
    with pytest.raises(BadRequest, match="Asa-Secret") as refused:
        Client(str(path)).request("DELETE", "/v1/reservations", headers={"Asa-Secret": secret})
    assert "sh" not in f"{refused.value.message}{refused.value.hint}"


def test_the_client_takes_an_unready_health_for_an_answer(server: Server, double: Double, path: Path) -> None:
    double.ready = False
    assert Client(str(path)).request("GET", "/v1/health")["status"] == "starting"


def test_where_nobody_listens_the_client_says_so(path: Path) -> None:
    with pytest.raises(Unreachable, match="no agent at") as unreachable:
        Client(str(path)).request("GET", "/v1/health")
    assert unreachable.value.hint
    with pytest.raises(Unreachable):
        list(Client("127.0.0.1:1", TOKEN).events())


@pytest.mark.parametrize(
    ("method", "headers", "connections"),
    [
        ("GET", {}, 2),
        ("DELETE", {}, 2),
        ("PUT", {}, 2),
        ("POST", {"Idempotency-Key": "k"}, 2),
        ("POST", {}, 1),
        ("PATCH", {}, 1),
    ],
)
def test_only_what_may_be_repeated_is_and_only_once(
    path: Path, method: str, headers: dict[str, str], connections: int
) -> None:
    accepted = 0
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def close_each() -> None:
            nonlocal accepted
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    sock.recv(4096)
                    accepted += 1

        thread = threading.Thread(target=close_each)
        thread.start()
        with pytest.raises(Unreachable, match="closed the connection"):
            Client(str(path)).request(method, "/v1/pools", headers=headers)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)
    assert accepted == connections


def test_a_kept_connection_the_agent_has_closed_is_opened_again(double: Double, path: Path) -> None:
    client = Client(str(path))
    for _ in range(2):
        server = Server(double, path)
        server.start()
        assert client.request("GET", "/v1/health")["ready"]
        server.stop(1.0)
    client.close()


def test_where_nobody_listens_any_more_the_client_says_so(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, Client(str(path)) as client:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        assert client.request("GET", "/v1/health") == {}
        thread.join(PATIENCE_S)
        listener.close()
        for _ in range(2):
            with pytest.raises(Unreachable, match="no agent at"):
                client.request("GET", "/v1/health")


def test_a_network_that_breaks_is_an_unreachable_agent(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    with Client(str(path)) as client:
        assert client.request("GET", "/v1/health")["ready"]
        monkeypatch.setattr(http.client.HTTPConnection, "getresponse", broken)
        with pytest.raises(Unreachable, match="No route to host"):
            client.request("GET", "/v1/health")
        with pytest.raises(Unreachable, match="No route to host"):
            next(client.events())


def test_the_client_loads_nothing_of_the_server() -> None:
    program = (
        "import sys, asa.northbound.client; "
        "print([each for each in ('msgspec', 'falcon', 'cheroot', 'asa.views') if each in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_busy_is_the_agent_s_own_error_too(server: Server, path: Path) -> None:
    streams = [Client(str(path)).events() for _ in range(5)]
    raws = [Raw(path) for _ in range(4)]
    for each in raws:
        each.send(b"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        each.read()
    with pytest.raises(Busy):
        next(streams[0])
    for each in raws:
        each.close()
