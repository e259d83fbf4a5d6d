"""Connections between members: kept and used again, checked all the time, ended when they must be."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from grasp.errors import ErrorCode, LocalError
from grasp.transport import Connection, NotMemberError
from tests.pki import Authority
from tests.tls.substrates import LOOPBACK, PATIENCE, Running, eventually

Start = Callable[..., Running]


@pytest.fixture
def ca() -> Authority:
    return Authority()


def one_and_other(running: Start, ca: Authority, **options: int) -> tuple[Running, Running]:
    return running(ca.identity("one"), **options), running(ca.identity("other"), **options)


def port_at(other: Running) -> int:
    """The port of whoever connected last."""
    return other.ear.connections.get(timeout=PATIENCE).peer_port


def ended(connection: Connection) -> bool:
    """Whether the other end, or this node, has ended it; closed or reset is the same."""
    try:
        return connection.receive(PATIENCE) == b""
    except ConnectionResetError:
        return True


def test_a_session_that_ended_in_turn_leaves_its_connection_to_the_next(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    connections = [one.session(other) for _ in range(5)]
    assert len({id(each) for each in connections}) == 1
    assert other.ear.served == 1
    assert connections[0].member is not None
    assert connections[0].member.name == "other"


def test_a_session_that_broke_leaves_none(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    for _ in range(3):
        connection = one.connect(other)
        connection.send(b"a session")
        assert connection.receive(PATIENCE) == b"a session"
        connection.close()
    eventually(lambda: other.ear.served == 3)
    assert one.connect(other) is not connection


def test_two_sessions_at_once_have_two_connections(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    first, second = one.connect(other), one.connect(other)
    assert first is not second
    for each in (first, second):
        each.send(b"x.")
        assert each.receive(PATIENCE) == b"x."
        each.release()
    # The last that was used is the first to be used again.
    assert one.connect(other) is second
    assert one.connect(other) is first


def test_a_kept_connection_the_peer_has_given_up_is_not_used(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    kept = one.session(other)
    other.ear.connections.get(timeout=PATIENCE).close()
    eventually(lambda: not kept.quiet())  # type: ignore[attr-defined]
    assert one.session(other) is not kept


def test_a_kept_connection_on_which_something_came_out_of_turn_is_not_used(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    kept = one.session(other)
    other.ear.connections.get(timeout=PATIENCE).send(b"by the way")
    eventually(lambda: not kept.quiet())  # type: ignore[attr-defined]
    assert one.session(other) is not kept


def test_connections_are_kept_for_a_while_only(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca, kept_ms=1)
    one.session(other)
    assert other.ear.errors.get(timeout=PATIENCE) is None


@pytest.mark.parametrize("member", ["other", ""])
def test_who_is_asked_for_answers(running: Start, ca: Authority, member: str) -> None:
    one, other = one_and_other(running, ca)
    one.session(other, member)
    one.session(other, member)
    assert other.ear.served == 1


def test_somebody_else_than_who_was_asked_for_is_told_nothing(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    one.session(other)
    with pytest.raises(NotMemberError, match="other answers there, not third"):
        one.connect(other, "third")
    # It saw a handshake that came to nothing, and not a byte of a request.
    assert other.ear.served == 1
    eventually(lambda: other.count("handshake: failed"))


@pytest.mark.parametrize("idle", [True, False], ids=["while kept", "in the middle of a session"])
def test_a_revoked_member_is_cut_off(running: Start, ca: Authority, idle: bool) -> None:
    one, other = one_and_other(running, ca)
    connection = one.session(other)
    if not idle:
        connection = one.connect(other)
    third = running(ca.identity("third"))
    untouched = third.connect(other)
    ca.revoke(one.substrate.identity.certificate)
    assert other.substrate.revocations.add(ca.crl(), [ca.certificate], time.time())
    error = other.ear.errors.get(timeout=PATIENCE)
    assert isinstance(error, NotMemberError)
    assert "revoked" in str(error)
    assert other.count("connection: no member any more") == 1
    if not idle:
        assert ended(connection)
    with pytest.raises(NotMemberError, match="does not take us for a member"):
        one.session(other)
    # Others go on.
    untouched.send(b"still here")
    assert untouched.receive(PATIENCE) == b"still here"


def test_who_learns_of_a_revocation_uses_nothing_it_kept(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    one.session(other)
    in_use = one.connect(other)
    ca.revoke(other.substrate.identity.certificate)
    one.substrate.revocations.add(ca.crl(), [ca.certificate], time.time())
    with pytest.raises(NotMemberError, match="revoked"):
        one.connect(other)
    with pytest.raises(NotMemberError, match="revoked"):
        in_use.receive(PATIENCE)


def test_a_certificate_that_ends_ends_its_connections(running: Start, ca: Authority) -> None:
    other = running(ca.identity("other"))
    until = time.time() + 1.5
    one = running(ca.identity("one", ca.issue("one", not_after=until)))
    connection = one.connect(other)
    connection.send(b"in time")
    assert connection.receive(PATIENCE) == b"in time"
    error = other.ear.errors.get(timeout=PATIENCE)
    assert time.time() >= until - 0.5
    assert isinstance(error, NotMemberError)
    assert ended(connection)


def test_renewed_it_goes_on_and_is_known_by_the_new_certificate(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    kept = one.session(other)
    assert one.connect(other) is kept
    running_session = kept
    idle = one.session(other)
    new = ca.identity("one")
    one.substrate.renew(new)
    running_session.send(b"goes on.")
    assert running_session.receive(PATIENCE) == b"goes on."
    running_session.release()
    fresh = one.session(other)
    assert fresh not in (running_session, idle)
    seen = [other.ear.connections.get(timeout=PATIENCE).member for _ in range(3)]
    assert [each.fingerprint == new.member.fingerprint for each in seen if each] == [False, False, True]
    with pytest.raises(LocalError) as caught:
        one.substrate.renew(Authority("elsewhere.example.com").identity("one"))
    assert caught.value.code is ErrorCode.badIdentity


def test_an_idle_connection_makes_room_for_newcomers(running: Start, ca: Authority) -> None:
    one, other = running(ca.identity("one")), running(ca.identity("other"), workers=3)
    one.session(other)
    held = [one.connect(other)]
    for _ in range(4):
        held.append(one.connect(other))
        held[-1].send(b"x")
        assert held[-1].receive(PATIENCE) == b"x"
        held[-1].send(b".")
        assert held[-1].receive(PATIENCE) == b"."
    assert other.ear.served >= 5


def test_a_node_that_stops_leaves_nothing_open(running: Start, ca: Authority) -> None:
    one, other = one_and_other(running, ca)
    before = len(list(Path("/proc/self/fd").iterdir()))
    fresh = running(ca.identity("fresh"))
    fresh.session(other)
    waiting = fresh.connect(other)
    fresh.substrate.stop()
    with pytest.raises(OSError, match="stopped"):
        fresh.connect(other)
    assert ended(waiting)
    waiting.close()
    one.session(other)
    eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 3)


def test_a_member_never_speaks_to_who_does_not_do_tls(running: Start, ca: Authority) -> None:
    """What a plain node would receive is a ClientHello, and no byte of GRASP follows."""
    one = running(ca.identity("one"), first_message_ms=500)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as plain:
        plain.settimeout(PATIENCE)
        with pytest.raises(OSError, match="nothing received in time"):
            one.substrate.connect(LOOPBACK, plain.getsockname()[1], 0, PATIENCE)
        accepted, _ = plain.accept()
        with accepted:
            heard = b""
            while data := accepted.recv(65_536):
                heard += data
    assert heard[:1] == b"\x16"
    assert len(heard) == 5 + int.from_bytes(heard[3:5])
