"""Who may ask, and how often: roles over the Unix socket, tokens and certificates over TCP, bounds for each."""

from __future__ import annotations

import grp
import hashlib
import hmac
import os
import pwd
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asa.config import AgentSection, Config, parse
from asa.errors import BadConfig, Unauthorized
from asa.northbound import access, connection, limits
from asa.northbound.access import Clients, Local, Shown, TcpGate, Token, UnixGate, address_counted
from asa.northbound.client import Client, Tls
from asa.northbound.members import DomainMembers
from asa.northbound.rates import Buckets, Doors, Place, Places, Turns
from asa.northbound.resources import ROUTES
from asa.northbound.roles import CONSUMER, OPERATOR, READER, Principal, Role
from asa.northbound.routes import Route
from asa.northbound.server import Remote, Server
from asa.northbound.tls import Files
from asa.remote import remote_of
from asa.views import Events
from grasp.security import Revocations
from tests.pki import DAY, Authority, Issued, pem

from .conftest import UNBOUND, Described
from .double import Double
from .raw import PATIENCE_S, Answer, Raw
from .remote import READING, TOKEN, Pki

NOBODY = 65_534
GIVEN = {
    "operator": {
        "seed", "refresh", "set_cap", "forget", "forfeit", "set_params", "audit", "activate", "deactivate", "pause",
        "resume", "restart", "remove",
    },
    "consumer": {"reserve", "cancel_all", "change", "cancel", "confirm", "refresh_reservation"},
}  # fmt: skip
"""The least role of each operation that is not for every reader."""

BODIES: dict[str, Any] = {
    "seed": {"name": "lan", "capacity": 1}, "reserve": {"pool": "wan", "rate": 5}, "change": {"rate": 6},
    "refresh": {"host": "web1"}, "set_cap": {"project": "p", "resource": "wan", "amount": 1},
    "forget": {"confirm": True}, "forfeit": {"confirm": True}, "set_params": {"lease_s": 60},
    "remove": {"confirm": "node"},
}  # fmt: skip


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int, *groups: int) -> None:
    """Everybody who connects is this one, to the server."""
    monkeypatch.setattr(access, "_peer", lambda sock: (uid, frozenset(groups)))


def ask(raw: Raw, route: Route, token: str | None = None) -> Answer:
    target = route.path.replace("{name}", "wan").replace("{id}", "r000001").replace("{node}", "b").replace("{txn}", "t")
    if route.name == "availability":
        target += "?pool=wan"
    headers = {"Asa-Secret": "any"} if route.secret_needed else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return raw.ask(route.method, target, BODIES.get(route.name), headers=headers)


def test_every_operation_has_the_least_role_that_may_and_the_document_says_which(described: Described) -> None:
    told = {
        operation["operationId"]: operation["x-role"]
        for path in described.document["paths"].values()
        for operation in path.values()
    }
    assert told == {route.name: route.role.text for route in ROUTES}
    for role, names in GIVEN.items():
        assert {name for name, least in told.items() if least == role} == names
    for route in ROUTES:
        if route.name not in GIVEN["operator"] | GIVEN["consumer"]:
            assert route.role is READER
            assert route.method == "GET"


@pytest.mark.parametrize("role", [READER, CONSUMER, OPERATOR])
def test_each_role_may_what_it_may_and_is_told_what_the_rest_takes(
    double: Double, path: Path, monkeypatch: pytest.MonkeyPatch, described: Described, role: Role
) -> None:
    as_user(monkeypatch, NOBODY, NOBODY)
    name = str(NOBODY)
    local = Local(
        operators=(name,) if role is OPERATOR else (),
        consumers=(name,) if role is CONSUMER else (),
        readers=("*",),
    )
    server = Server(double, path, local=local, rate=UNBOUND)
    server.start()
    try:
        for route in ROUTES:
            with Raw(path) as raw:
                answer = ask(raw, route)
            if role < route.role:
                assert (answer.status, answer.code) == (403, "forbidden"), route.name
                error = answer.json()["error"]
                assert error["details"] == {"role": role.text, "needed": route.role.text}
                assert f"takes the role {route.role.text}" in error["message"]
                described.check(route.method, route.path, answer)
            else:
                assert answer.status != 403 or "needed" not in answer.json()["error"]["details"], route.name
    finally:
        server.stop(1.0)


def principal(local: Local, uid: int, *groups: int) -> Role | None:
    gate = UnixGate(local, UNBOUND)
    with pytest.MonkeyPatch.context() as patch:
        as_user(patch, uid, *groups)
        with socket.socket() as sock:
            return gate.principal(sock).role


def test_over_the_unix_socket_users_and_groups_give_the_role() -> None:
    own = os.geteuid()
    assert principal(Local(), 0) is OPERATOR
    assert principal(Local(), own) is OPERATOR
    assert principal(Local((), (), ()), own) is OPERATOR, "the agent's own user cannot be locked out"
    assert principal(Local(), NOBODY, NOBODY) is CONSUMER
    user, group = pwd.getpwuid(own), grp.getgrgid(os.getegid())
    assert principal(Local(("12345",), (), ()), 12_345) is OPERATOR
    assert principal(Local((f"@{group.gr_name}",), (), ()), NOBODY, 7, group.gr_gid) is OPERATOR
    assert principal(Local(("@7",), (), ()), NOBODY, 7) is OPERATOR
    assert principal(Local(("@7",), (), ()), 7, 8) is None, "a group is no user"
    assert principal(Local((), (user.pw_name,), ("*",)), NOBODY) is READER
    assert principal(Local(("@8",), ("@7",), ("*",)), NOBODY, 7, 8) is OPERATOR, "the higher one counts"
    assert principal(Local((), ("@7",), ()), NOBODY, 8) is None
    for wrong in ("no-such-user", "@no-such-group"):
        with pytest.raises(BadConfig, match=wrong.removeprefix("@")):
            UnixGate(Local(operators=(wrong,)), UNBOUND)


def test_the_kernel_says_who_has_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        uid, groups = access._peer(ours)
    assert uid == os.getuid()
    assert groups == {os.getgid(), *os.getgroups()}


def test_without_a_role_nothing_is_answered(double: Double, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, NOBODY)
    server = Server(double, path, local=Local((), (), ()), rate=UNBOUND)
    server.start()
    try:
        with Raw(path) as raw:
            for target in ("/", "/v1/health", "/nowhere", "/openapi.json"):
                answer = raw.ask("GET", target)
                assert (answer.status, answer.code) == (403, "forbidden")
            assert raw.ask("OPTIONS", "/v1/health").status == 403
    finally:
        server.stop(1.0)


@pytest.fixture
def serve(double: Double, path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(remote: Remote, rate: int = UNBOUND) -> Server:
        server = Server(double, path, remote=remote, rate=rate)
        server.start()
        started.append(server)
        return server

    yield start
    for each in started:
        each.stop(1.0)


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_over_tcp_every_request_needs_a_token_or_a_certificate(
    serve: Callable[..., Server], pki: Pki, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access, "FAILURES", UNBOUND)
    port = serve(pki.remote()).port
    assert port is not None
    with Raw(port, pki.context()) as raw:
        for wrong in (
            "", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é",
        ):  # fmt: skip
            answer = raw.ask("GET", "/v1/health", headers={"Authorization": wrong})
            assert (answer.status, answer.code) == (401, "unauthorized"), wrong
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for target in ("/nowhere", "/openapi.json"):
            assert raw.ask("GET", target).status == 401
        assert raw.ask("OPTIONS", "/v1/health").status == 401
        assert raw.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
        assert raw.ask("GET", "/v1/health").status == 401, "each request counts for itself"
    assert TOKEN not in caplog.text


def test_a_token_has_a_role(serve: Callable[..., Server], pki: Pki) -> None:
    port = serve(pki.remote()).port
    with Raw(port, pki.context()) as raw:
        assert raw.ask("POST", "/v1/audit", headers=bearing(TOKEN)).status == 200
        answer = raw.ask("POST", "/v1/audit", headers=bearing(READING))
        assert (answer.status, answer.json()["error"]["details"]["role"]) == (403, "reader")
        assert raw.ask("GET", "/v1/pools", headers=bearing(READING)).status == 200


def test_a_certificate_has_the_role_of_its_name(serve: Callable[..., Server], pki: Pki) -> None:
    port = serve(pki.remote()).port
    ca = pki.ca
    for issued, audit, reserve in (
        (ca.issue("boss", ()), 200, 201),
        (ca.issue("rack-1", ()), 403, 201),
        (ca.issue("rack-12", ()), 403, 403),
        (ca.issue("", (), names=[]), 403, 403),
    ):
        with Raw(port, pki.context(issued)) as raw:
            assert raw.ask("POST", "/v1/audit").status == audit
            assert raw.ask("POST", "/v1/reservations", {"pool": "wan", "rate": 5}).status == reserve
            assert raw.ask("POST", "/v1/audit", headers=bearing(TOKEN)).status == 200, "a token goes before it"
    answer: Answer
    with Raw(port, pki.context(ca.issue("stranger", ()))) as raw:
        answer = raw.ask("GET", "/v1/health")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert answer.json()["error"]["details"]["role"] is None


WRONG = [
    lambda ca: Authority("elsewhere.example", "authority").issue("boss", ()),
    lambda ca: ca.issue("boss", (), not_after=time.time() - DAY / 2),
    lambda ca: ca.issue("boss", (), not_before=time.time() + DAY),
]


@pytest.mark.parametrize("issue", WRONG, ids=["of another authority", "expired", "not yet valid"])
def test_a_certificate_that_does_not_count_ends_the_handshake(
    serve: Callable[..., Server], pki: Pki, issue: Callable[[Authority], Any]
) -> None:
    port = serve(pki.remote()).port
    with pytest.raises((ssl.SSLError, ConnectionError)), Raw(port, pki.context(issue(pki.ca))) as raw:
        raw.ask("GET", "/v1/health")


def test_what_is_no_tls_or_too_old_gets_no_answer(serve: Callable[..., Server], pki: Pki) -> None:
    port = serve(pki.remote()).port
    assert port is not None
    with Raw(port) as raw:
        raw.send(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert b"HTTP" not in raw.sock.recv(100)
    # Python's own TLS does not offer it any more: a ClientHello of TLS 1.1 by hand (RFC 4346 §7.4.1.2).
    body = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x14" + b"\x01\x00"
    handshake = b"\x01" + len(body).to_bytes(3) + body
    with Raw(port) as raw:
        raw.send(b"\x16\x03\x01" + len(handshake).to_bytes(2) + handshake)
        answer = raw.sock.recv(100)
    assert answer[:1] == b"\x15", "an alert"
    assert answer[5:7] == bytes([2, 70]), "fatal, protocol_version"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_there_are_no_session_tickets(serve: Callable[..., Server], pki: Pki, version: ssl.TLSVersion) -> None:
    port = serve(pki.remote()).port
    context = pki.context()
    context.minimum_version = context.maximum_version = version
    with Raw(port, context) as raw:
        assert raw.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
        assert isinstance(raw.sock, ssl.SSLSocket)
        assert raw.sock.version() == version.name.replace("v1_", "v1.")
        assert raw.sock.session is None or not raw.sock.session.has_ticket


def test_a_new_certificate_is_used_for_new_connections(
    double: Double, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = Pki(tmp_path / "files")
    server = Server(double, path, remote=own.remote(), rate=UNBOUND)
    server.start()
    try:
        with Raw(server.port or 0, own.context()) as kept:
            assert kept.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
            for number in range(3):
                new = own.server(f"server-{number}")
                own.write(new)
                with Raw(server.port or 0, own.context()) as raw:
                    assert isinstance(raw.sock, ssl.SSLSocket)
                    shown = raw.sock.getpeercert(True)
                    assert shown is not None
                    assert ssl.DER_cert_to_PEM_cert(shown).encode() == pem(new.certificate)
            assert kept.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
            own.files.key.write_bytes(b"rubbish")
            for _ in range(2):
                with Raw(server.port or 0, own.context()) as raw:
                    assert raw.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
            assert caplog.text.count("goes on with its old certificate") == 1
    finally:
        server.stop(1.0)


def test_the_client_shows_what_it_has_and_says_why_it_is_not_believed(serve: Callable[..., Server], pki: Pki) -> None:
    address = f"https://127.0.0.1:{serve(pki.remote()).port}"
    certificate, key = pki.pair(pki.ca.issue("boss", ()))
    shown = Tls(str(pki.trust), "server", str(certificate), str(key))
    with Client(address, tls=shown) as client:
        assert client.request("POST", "/v1/audit") is not None
    with Client(address, tls=replace(shown, certificate=None)) as client, pytest.raises(Unauthorized):
        client.request("GET", "/v1/health")


# Members of a domain.


@pytest.fixture
def domain(tmp_path: Path) -> tuple[Authority, Path]:
    ca = Authority("acp.example.com")
    return ca, ca.write(tmp_path / "identity", ca.issue("core-1"))


def of_domain(directory: Path, revocations: Revocations) -> Remote:
    files = Files(directory / "certificate.pem", directory / "key.pem", directory / "trust.pem")
    clients = (Clients(("*",), READER), Clients(("ops-*",), OPERATOR))
    return Remote(("127.0.0.1", 0), files, (), clients, DomainMembers(directory, lambda: revocations))


def test_members_of_the_domain_are_let_in_by_their_names_until_they_are_revoked(
    serve: Callable[..., Server], domain: tuple[Authority, Path], tmp_path: Path
) -> None:
    ca, directory = domain
    revocations = Revocations()
    address = f"127.0.0.1:{serve(of_domain(directory, revocations)).port}"
    below = Authority("acp.example.com", "below", issuer=ca)
    for issuer in (ca, below):
        issued = issuer.issue("ops-1")
        files = issuer.write(tmp_path / issuer.name, issued)
        shown = Tls(str(directory / "trust.pem"), "core-1", str(files / "certificate.pem"), str(files / "key.pem"))
        with Client(address, tls=shown) as client:
            assert client.request("POST", "/v1/audit") is not None
            issuer.revoke(issued)
            revocations.add(issuer.crl(), [issuer.certificate], time.time())
            with pytest.raises(Unauthorized, match="revoked"):
                client.request("POST", "/v1/audit")


@pytest.mark.parametrize(
    ("odd", "said"),
    [({"acp_name": ()}, "AcpNodeName"), ({"acp_name": "0@elsewhere.example"}, "domain")],
    ids=["no name", "another domain"],
)
def test_a_certificate_of_the_authority_that_is_no_member_s_is_refused(
    serve: Callable[..., Server], domain: tuple[Authority, Path], tmp_path: Path, odd: dict[str, Any], said: str
) -> None:
    ca, directory = domain
    address = f"127.0.0.1:{serve(of_domain(directory, Revocations())).port}"
    files = ca.write(tmp_path / "other", ca.issue("ops-1", **odd))
    shown = Tls(str(directory / "trust.pem"), "core-1", str(files / "certificate.pem"), str(files / "key.pem"))
    with Client(address, tls=shown) as client, pytest.raises(Unauthorized, match=said):
        client.request("GET", "/v1/health")


def test_a_session_that_is_resumed_is_no_way_past_a_revocation(
    serve: Callable[..., Server], domain: tuple[Authority, Path], tmp_path: Path
) -> None:
    ca, directory = domain
    revocations = Revocations()
    port = serve(of_domain(directory, revocations)).port
    issued = ca.issue("ops-1")
    files = ca.write(tmp_path / "ops-1", issued)
    context = ssl.create_default_context(cafile=str(directory / "trust.pem"))
    context.check_hostname = False
    context.load_cert_chain(files / "certificate.pem", files / "key.pem")
    # Which can resume by its number what the server remembers; Python cannot switch that off.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Raw(port or 0, context) as raw:
        assert raw.ask("POST", "/v1/audit").status == 200
        assert isinstance(raw.sock, ssl.SSLSocket)
        session = raw.sock.session
    ca.revoke(issued)
    revocations.add(ca.crl(), [ca.certificate], time.time())
    with socket.create_connection(("127.0.0.1", port or 0), PATIENCE_S) as plain:
        resumed = context.wrap_socket(plain, session=session)
        resumed.sendall(b"POST /v1/audit HTTP/1.1\r\nHost: x\r\n\r\n")
        assert resumed.recv(100).startswith(b"HTTP/1.1 401 ")


def member(ca: Authority, directory: Path, issued: Issued, tmp_path: Path) -> ssl.SSLContext:
    """A client's, with the certificate of a member."""
    files = ca.write(tmp_path / "member", issued)
    context = ssl.create_default_context(cafile=str(directory / "trust.pem"))
    context.check_hostname = False
    context.load_cert_chain(files / "certificate.pem", files / "key.pem")
    return context


def revoke(ca: Authority, issued: Issued, revocations: Revocations) -> None:
    ca.revoke(issued)
    revocations.add(ca.crl(), [ca.certificate], time.time())


def test_a_stream_of_events_ends_when_its_member_is_revoked_and_tells_nothing_more(
    serve: Callable[..., Server], domain: tuple[Authority, Path], tmp_path: Path, double: Double
) -> None:
    ca, directory = domain
    revocations = Revocations()
    port = serve(of_domain(directory, revocations)).port or 0
    issued = ca.issue("ops-1")
    with Raw(port, member(ca, directory, issued, tmp_path)) as raw:
        raw.send(b"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read().status == 200
        double.happen("before")
        while b"before" not in raw.line():
            pass
        revoke(ca, issued, revocations)
        double.happen("after")
        while line := raw.line():
            assert b"after" not in line


def test_a_long_poll_is_refused_when_its_member_is_revoked_meanwhile(
    serve: Callable[..., Server], domain: tuple[Authority, Path], tmp_path: Path, double: Double
) -> None:
    ca, directory = domain
    revocations = Revocations()
    port = serve(of_domain(directory, revocations)).port or 0
    issued = ca.issue("ops-1")
    waits = threading.Event()
    events = double.events

    def told(after: int = 0, *, limit: int = 100, wait_ms: int = 0) -> Events:
        waits.set()
        return events(after, limit=limit, wait_ms=wait_ms)

    double.events = told  # type: ignore[method-assign]
    with Raw(port, member(ca, directory, issued, tmp_path)) as raw:
        raw.send(b"GET /v1/events?wait_ms=30000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert waits.wait(PATIENCE_S)
        revoke(ca, issued, revocations)
        double.happen("after")
        answer = raw.read()
        assert (answer.status, answer.code) == (401, "unauthorized")


# How often, and how many.


def test_a_bucket_gives_so_many_at_once_and_so_many_a_second() -> None:
    buckets = Buckets(8)
    assert [buckets.take("a", 100.0) for _ in range(8)] == [0.0] * 8
    assert buckets.take("a", 100.0) == 0.125
    assert buckets.take("b", 100.0) == 0, "each for itself"
    assert buckets.take("a", 100.0625) == 0.0625
    assert buckets.take("a", 100.125) == 0
    assert buckets.take("a", 100.125) > 0
    assert sum(buckets.take("a", 1e6) == 0 for _ in range(20)) == 8, "silence is not saved up"


def test_only_so_many_are_counted() -> None:
    buckets = Buckets(1, most=3)
    for name in "abc":
        buckets.take(name, 0.0)
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("d", 0.0) == 0
    assert buckets.take("b", 0.0) == 0, "who was silent longest was forgotten"
    assert buckets.take("a", 0.0) > 0
    assert len(buckets._left) == 3


def test_doors_are_as_wide_as_they_are() -> None:
    doors = Doors(2, 3)
    assert [doors.enter(name) for name in "aaab"] == [True, True, False, True]
    assert not doors.enter("c")
    doors.leave("a")
    assert doors.enter("c")
    for name in "abc":
        doors.leave(name)
    assert not doors._open


def test_the_oldest_stranger_makes_room_for_one_more() -> None:
    places: Places[Place] = Places(2, 4, 1, 2)
    first, second, third = (Place("a") for _ in range(3))
    assert [places.enter(each) for each in (first, second, third)] == [None, None, first]
    assert [each.dropped for each in (first, second, third)] == [True, False, False]
    others = [Place(name) for name in "bc"]
    assert [places.enter(each) for each in others] == [None, None]
    assert places.enter(Place("d")) is second, "of the name that has the most"
    places.leave(first)
    places.leave(third)
    places.leave(third)
    assert [places.enter(Place("e")), places.enter(Place("f"))] == [None, others[0]]


def test_who_is_known_takes_no_stranger_s_place_and_makes_no_room() -> None:
    places: Places[Place] = Places(1, 1, 1, 2)
    known = [Place("a") for _ in range(4)]
    for each, principal in zip(known, ("x", "y", "x", "z"), strict=True):
        places.enter(each)
        places.know(each, principal)
    assert [each.principal for each in known] == ["x", "y", None, None], (
        "one of each and two in all; the rest strangers"
    )
    assert [each.dropped for each in known] == [False, False, True, False]
    assert places.enter(Place("a")) is known[3]
    doubted = places.doubt(known[0])
    assert doubted is not None
    assert (doubted.dropped, known[0].principal) == (True, None)
    assert places.enter(Place("a")) is known[0], "it counts as one of them"
    places.know(known[0], "x")
    assert known[0].principal is None, "what was dropped stays so"
    for each in known:
        places.leave(each)
    assert not places._known._open


def test_who_waits_for_a_turn_may_be_forgotten() -> None:
    turns: Turns[int] = Turns(1)
    for number in range(4):
        turns.take("a", number)
    assert turns.forget("a", lambda each: each == 2) == [2]
    assert turns.forget("a", lambda each: each in (0, 2)) == []
    assert turns.forget("b", lambda each: True) == []
    assert [turns.give("a") for _ in range(3)] == [1, 3, None]


def test_turns_come_in_order_and_all_at_the_end() -> None:
    turns: Turns[int] = Turns(2)
    assert [turns.take("a", number) for number in range(5)] == [True, True, False, False, False]
    assert turns.take("b", 9)
    assert [turns.give("a"), turns.give("a")] == [2, 3]
    assert turns.everybody() == [4]
    assert [turns.give("a") for _ in range(3)] == [None] * 3
    assert turns.give("b") is None
    assert not turns._busy
    assert turns.take("a", 1)


def test_an_address_counts_as_what_one_host_has_of_them() -> None:
    assert address_counted("192.0.2.1") == address_counted("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_counted("2001:db8::1") == address_counted("2001:db8::ffff") != address_counted("2001:db8:0:1::1")
    assert address_counted("fe80::1%eth0") == "fe80::/64"


def test_more_requests_than_the_rate_are_refused_each_principal_for_itself(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    gate = TcpGate(pki.remote().tokens, (), None, 3)
    visitor = Visitor("192.0.2.1")
    for token in (TOKEN, READING):
        for _ in range(3):
            gate.enter(visitor, f"Bearer {token}")
        with pytest.raises(access.TooManyRequests) as refused:
            gate.enter(visitor, f"Bearer {token}")
        assert refused.value.details == {"retry_after_ms": 334}
    for _ in range(3):
        with pytest.raises(Unauthorized):
            gate.enter(visitor, None)
    with pytest.raises(access.TooManyRequests):
        gate.enter(visitor, None)
    with pytest.raises(Unauthorized):
        gate.enter(Visitor("192.0.2.2"), None)


class Visitor:
    def __init__(self, address: str, shown: Shown | None = None) -> None:
        self.address = address
        self.shown = shown
        self.principal: Principal | None = None
        self.trusted = False


def test_wrong_tokens_are_looked_at_so_often_only(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    gate = TcpGate(pki.remote().tokens, (), None, UNBOUND)
    known, guesser = Visitor("192.0.2.1"), Visitor("192.0.2.1")
    gate.enter(known, f"Bearer {TOKEN}")
    for _ in range(limits.FAILURES):
        with pytest.raises(Unauthorized):
            gate.enter(guesser, "Bearer wrong")
    for _ in range(3):
        with pytest.raises(access.TooManyRequests):
            gate.enter(guesser, "Bearer wrong")
    gate.enter(known, f"Bearer {TOKEN}")
    gate.enter(Visitor("192.0.2.1"), f"Bearer {TOKEN}")  # who shares the address with the guesser
    with pytest.raises(Unauthorized):
        gate.enter(Visitor("192.0.2.2"), "Bearer wrong")
    now[0] += 1
    with pytest.raises(Unauthorized):
        gate.enter(guesser, "Bearer wrong")


@pytest.mark.parametrize("given", [TOKEN, READING, "no token at all"])
def test_every_guess_is_compared_with_all_tokens_and_in_a_time_that_tells_nothing(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    genuine = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return genuine(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    gate = TcpGate(pki.remote().tokens, (), None, UNBOUND)
    try:
        gate.enter(Visitor("192.0.2.1"), f"Bearer {given}")
    except Unauthorized:
        assert given not in (TOKEN, READING)
    said = hashlib.sha256(given.encode()).digest()
    assert compared == [(said, hashlib.sha256(each.encode()).digest()) for each in (TOKEN, READING)]


def test_too_many_requests_are_told_when_to_come_again(double: Double, path: Path, described: Described) -> None:
    server = Server(double, path, rate=1)
    server.start()
    try:
        with Raw(path) as raw:
            answers = [raw.ask("GET", "/v1/pools") for _ in range(3)]
            assert answers[0].status == 200
            refused = [each for each in answers if each.status == 429]
            assert refused
            for each in refused:
                assert each.code == "too-many-requests"
                assert each.headers["retry-after"] == "1"
                described.check("GET", "/v1/pools", each)
            until = time.monotonic() + PATIENCE_S
            while raw.ask("GET", "/v1/pools").status == 429:
                assert time.monotonic() < until
                time.sleep(0.1)
    finally:
        server.stop(1.0)


def test_one_user_has_so_many_connections_and_others_are_served(
    double: Double, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.northbound.serving.MAX_OPEN", 3)
    as_user(monkeypatch, NOBODY)
    server = Server(double, path, rate=UNBOUND)
    server.start()
    try:
        many = [Raw(path) for _ in range(3)]
        for each in many:
            assert each.ask("GET", "/v1/health").status == 200
        with Raw(path) as raw:
            answer = raw.read()
            assert (answer.status, answer.code) == (503, "busy")
            assert raw.closed()
        as_user(monkeypatch, os.getuid())
        for _ in range(5):
            many.append(Raw(path))
            assert many[-1].ask("GET", "/v1/health").status == 200
        many.pop(0).close()
        as_user(monkeypatch, NOBODY)
        until = time.monotonic() + PATIENCE_S
        while True:
            with Raw(path) as raw:
                raw.send(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
                if raw.read().status == 200:
                    break
            assert time.monotonic() < until, "the place of one that is gone comes free"
        for each in many:
            each.close()
    finally:
        server.stop(1.0)


def test_half_open_handshakes_and_silent_connections_keep_nobody_from_being_served(
    serve: Callable[..., Server], pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.northbound.serving.MAX_STRANGERS_OF_ONE", 400)
    monkeypatch.setattr("asa.northbound.serving.MAX_STRANGERS", 400)
    server = serve(pki.remote())
    port, context = server.port, pki.context()
    assert port is not None
    crowd: list[Raw] = []
    for number in range(1_000):
        crowd.append(Raw(port))
        crowd[-1].send(b"\x16\x03\x01\x02\x00"[: number % 6])
        if number % 100 == 0:
            crowd.append(Raw(port, context))  # and says nothing
            with Raw(port, context) as raw:
                assert raw.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
    with Raw(port, context) as raw:
        assert raw.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
        (tcp,) = [each for each in server._servers if each.name == "asa-api-tcp"]
        assert tcp._handshakes is not None
        assert len(tcp._handshakes._open) <= limits.MAX_HANDSHAKES_OF_ONE
    for each in crowd:
        each.close()


def test_who_sends_slowly_before_it_is_known_leaves_threads_for_others(
    serve: Callable[..., Server], pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 60.0)
    server = serve(pki.remote())
    port, context = server.port, pki.context()
    assert port is not None
    known = Raw(port, context)
    assert known.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
    slow = [Raw(port, context) for _ in range(80)]
    for each in slow:
        each.send(b"GET /v1/hea")
    (tcp,) = [each for each in server._servers if each.name == "asa-api-tcp"]
    until = time.monotonic() + PATIENCE_S
    while len(tcp._turns._waiting.get("127.0.0.1", ())) < 60:
        assert time.monotonic() < until
        time.sleep(0.01)
    with known, Raw(port, pki.context(pki.ca.issue("boss", ()))) as shown:
        assert known.ask("GET", "/v1/health", headers=bearing(TOKEN)).status == 200
        assert shown.ask("GET", "/v1/health").status == 200
    for each in slow:
        each.send(b"lth HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % TOKEN.encode())
    assert [each.read().status for each in slow] == [200] * 80
    for each in slow:
        each.close()


def test_a_handshake_and_a_first_request_take_so_long_only(
    serve: Callable[..., Server], pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.northbound.handshakes.HANDSHAKE_S", 0.1)
    monkeypatch.setattr("asa.northbound.serving.FIRST_S", 0.1)
    port = serve(pki.remote()).port
    assert port is not None
    with Raw(port) as half, Raw(port, pki.context()) as silent:
        half.send(b"\x16\x03")
        assert half.closed()
        assert silent.closed()


def refused(raw: Raw) -> Raw:
    """A stranger, who has asked."""
    assert raw.ask("GET", "/v1/health").status == 401
    return raw


def test_strangers_of_an_address_keep_nobody_of_it_from_being_served(
    serve: Callable[..., Server], pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("MAX_STRANGERS_OF_ONE", "MAX_STRANGERS"):
        monkeypatch.setattr(f"asa.northbound.serving.{bound}", 4)
    server = serve(pki.remote())
    port, context, shown = server.port or 0, pki.context(), pki.context(pki.ca.issue("boss", ()))
    known = [Raw(port, context), Raw(port, shown)]
    for each, headers in zip(known, (bearing(TOKEN), {}), strict=True):
        assert each.ask("GET", "/v1/health", headers=headers).status == 200
    crowd = [refused(Raw(port, context)) for _ in range(6)]
    for each in crowd[:2]:
        assert each.closed(), "the oldest make room"
    for each, headers in zip(known, (bearing(TOKEN), {}), strict=True):
        assert each.ask("GET", "/v1/health", headers=headers).status == 200
    for tls, headers in ((context, bearing(TOKEN)), (shown, {})):
        for _ in range(6):
            known.append(Raw(port, tls))
            assert known[-1].ask("GET", "/v1/health", headers=headers).status == 200
    # Each of a token's made room for itself before it was known; a certificate is known before it asks.
    (tcp,) = [each for each in server._servers if each.name == "asa-api-tcp"]
    assert dict(tcp.places._known._open) == {"token operators": 7, "certificate boss": 7}
    for each in (*crowd, *known):
        each.close()
    until = time.monotonic() + PATIENCE_S
    while tcp.places._strangers or tcp.places._known._open:
        assert time.monotonic() < until, "the places of those that are gone come free"
        time.sleep(0.01)


def test_a_stranger_that_waits_for_a_thread_makes_room_and_is_not_kept(
    serve: Callable[..., Server], pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.northbound.serving.MAX_STRANGERS_OF_ONE", 40)
    monkeypatch.setattr(connection, "REQUEST_S", 60.0)
    server = serve(pki.remote())
    port, context = server.port or 0, pki.context()
    (tcp,) = [each for each in server._servers if each.name == "asa-api-tcp"]
    crowd: list[Raw] = []
    for number in range(90):
        crowd.append(Raw(port, context))
        crowd[-1].send(b"GET /v1/hea")
        if number < tcp._turns._most:
            until = time.monotonic() + PATIENCE_S
            while tcp._turns._busy.get("127.0.0.1", 0) <= number:
                assert time.monotonic() < until
                time.sleep(0.001)
    for each in crowd[:50]:
        assert each.closed()
    assert len(tcp._turns._waiting.get("127.0.0.1", ())) <= 40
    with Raw(port, pki.context(pki.ca.issue("boss", ()))) as shown:
        assert shown.ask("GET", "/v1/health").status == 200
    for each in crowd:
        each.close()


def test_who_has_lost_its_right_counts_as_a_stranger_again(
    serve: Callable[..., Server], domain: tuple[Authority, Path], tmp_path: Path
) -> None:
    ca, directory = domain
    revocations = Revocations()
    server = serve(of_domain(directory, revocations))
    (tcp,) = [each for each in server._servers if each.name == "asa-api-tcp"]
    issued = ca.issue("ops-1")
    with Raw(server.port or 0, member(ca, directory, issued, tmp_path)) as raw:
        assert raw.ask("GET", "/v1/health").status == 200
        assert dict(tcp.places._known._open) == {"certificate ops-1": 1}
        revoke(ca, issued, revocations)
        assert raw.ask("GET", "/v1/health").status == 401
        assert (tcp.places._count, dict(tcp.places._known._open)) == (1, {})


def test_tokens_are_shown_by_nothing() -> None:
    token = Token(TOKEN, OPERATOR, "/etc/asa/token")
    assert TOKEN not in repr(token)
    with pytest.raises(BadConfig) as refused:
        Token("short", OPERATOR, "/etc/asa/token")
    assert "short" not in str(refused.value)
    assert "/etc/asa/token" in str(refused.value)


def test_tls_is_loaded_only_with_tcp(path: Path) -> None:
    program = (
        "import sys, asa.northbound.server; "
        "print([each for each in ('OpenSSL', 'cryptography', 'grasp') if each in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


# As it is configured.


def configured(directory: Path, api: str, substrate: str = "plain") -> Config:
    return parse(
        f'[agent]\nname = "core-1"\nmode = "origin"\n[grasp]\nsubstrate = "{substrate}"\n'
        f'[domain]\nidentity = "{directory}"\n[api]\ntcp = "[::1]:7180"\n{api}',
        "x",
    )


def test_over_tcp_is_what_the_configuration_says(domain: tuple[Authority, Path], tmp_path: Path) -> None:
    _, identity = domain
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name * 8}\n")
    tokens = f'token_file = "{tmp_path}/one"\n[[api.token]]\nfile = "{tmp_path}/two"\nrole = "reader"\n'
    clients = '[[api.client]]\nmembers = ["ops-*"]\nrole = "consumer"\n'
    files = 'tls_certificate = "/c.pem"\ntls_key = "/k.pem"\n'
    expected = (
        Token("one" * 8, OPERATOR, f"{tmp_path}/one"),
        Token("two" * 8, READER, f"{tmp_path}/two"),
    )

    plain = remote_of(configured(identity, files + tokens), lambda: None)
    assert plain == Remote(("::1", 7180), Files(Path("/c.pem"), Path("/k.pem")), expected)
    plain = remote_of(configured(identity, files + 'client_trust = "/t.pem"\n' + clients), lambda: None)
    assert plain is not None
    assert (plain.files.trust, plain.members) == (Path("/t.pem"), None)
    assert plain.clients == (Clients(("ops-*",), CONSUMER),)
    own = remote_of(configured(identity, tokens + clients, "domain"), lambda: None)
    assert own is not None
    assert own.files == Files(identity / "certificate.pem", identity / "key.pem", identity / "trust.pem")
    assert isinstance(own.members, DomainMembers)
    other = remote_of(configured(identity, files + 'client_trust = "/t.pem"\n' + clients, "domain"), lambda: None)
    assert other is not None
    assert (other.files, other.members) == (Files(Path("/c.pem"), Path("/k.pem"), Path("/t.pem")), None)
    assert remote_of(Config(AgentSection("a", "origin")), lambda: None) is None


@pytest.mark.parametrize(
    "content", [b"", b"short", b"has a space in the middle", b"n\xc3\xb6t only ascii at all", b"\xff" * 20]
)
def test_a_token_that_is_none_is_told_by_its_file_only(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    files = 'tls_certificate = "/c.pem"\ntls_key = "/k.pem"\n'
    with pytest.raises(BadConfig) as refused:
        remote_of(configured(tmp_path, f'{files}token_file = "{tmp_path}/token"\n'), lambda: None)
    told = f"{refused.value.message} {refused.value.hint}"
    assert str(tmp_path / "token") in told
    assert not content or content.decode("latin-1") not in told.replace(str(tmp_path), "")
    with pytest.raises(BadConfig, match="No such file"):
        remote_of(configured(tmp_path, f'{files}token_file = "{tmp_path}/nothing"\n'), lambda: None)
