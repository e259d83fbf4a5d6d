"""Joining with real TLS on loopback: the one who has the token gets in, once; nobody else, and nobody is kept out."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from asa.domain import conversation, installing, joining, keys, requests
from asa.domain.authority import Authority
from asa.domain.channel import Channel, ChannelKey, client_context
from asa.domain.conversation import Asking, Given, Kept, Message, Refused
from asa.domain.errors import JoinRefused, NameTaken
from asa.domain.installing import Sent
from asa.domain.invitation import Invitation
from asa.domain.issuing import instant
from asa.domain.keys import PrivateKey
from asa.domain.reception import MOST_GUESTS, MOST_TOLD, Outcome, Reception, listen
from asa.errors import BadRequest, Conflict, StoreFailed
from grasp.security import Identity, problems
from tests.asa_domain.conftest import openssl
from tests.asa_domain.test_installing import csr

PATIENCE = 60.0
HOST = "127.0.0.1"
P256 = bytes.fromhex("2a8648ce3d030107")
"""Its object identifier (RFC 5480 §2.1.1.1)."""


class Serving:
    """A reception in a thread."""

    def __init__(self, ca: Authority, name: str = "rack-7", seconds: float = PATIENCE) -> None:
        self.listener = listen(HOST, 0)
        now = time.time()
        self.told: list[str] = []
        self.reception = Reception(
            ca, name, self.listener, HOST, os.urandom(16), ends=now + seconds, now=now, told=self.told.append
        )
        self.invitation = self.reception.invitation
        self._outcome: Outcome | Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self.reception.run()
        except Exception as error:
            self._outcome = error
        finally:
            self.reception.close()

    def outcome(self) -> Outcome:
        self._thread.join(PATIENCE)
        assert self._outcome is not None, "still waiting"
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def connect(self, source: str = HOST) -> socket.socket:
        return socket.create_connection((HOST, self.invitation.port), PATIENCE, (source, 0))


@pytest.fixture
def serving(ca: Authority) -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def serve(**chosen: object) -> Serving:
        started.append(Serving(ca, **chosen))  # type: ignore[arg-type]
        return started[-1]

    yield serve
    for each in started:
        # What a test has left waiting ends.
        each.reception._until = 0.0
        with socket.socket() as knock:
            knock.connect_ex((HOST, each.invitation.port))
        each._thread.join(PATIENCE)
        assert not each._thread.is_alive()


def put_in(place: Path) -> Callable[[PrivateKey, Given], None]:
    def put(key: PrivateKey, given: Given) -> None:
        sent = Sent(
            installing.read_certificates(given.certificate.encode(), "certificate"),
            installing.read_certificates(given.trust.encode(), "trust"),
            installing.read_crls(given.crl.encode()),
        )
        installing.install(place, sent, [key], time.time())

    return put


class Node:
    """The node's side, step by step."""

    def __init__(self, serving: Serving, source: str = HOST) -> None:
        self.invitation = serving.invitation
        self.socket = serving.connect(source)
        self.channel = Channel(client_context(), server=False, longest=conversation.MAX_GIVEN)
        self.channel.receive(b"")
        while not self.channel.established:
            self.socket.sendall(self.channel.outgoing())
            self.channel.receive(self.socket.recv(65_536))
        assert self.channel.pin == self.invitation.pin

    def ask(self, request: bytes | None = None, invitation: Invitation | None = None) -> Asking:
        text = (request or requests.request(keys.generate(), "node")).decode()
        return conversation.asking(invitation or self.invitation, self.channel.exported(), text)

    def say(self, message: Message) -> Message | None:
        """The answer; None if the other side ends."""
        self.channel.send(message)
        self.socket.sendall(self.channel.outgoing())
        while content := self.socket.recv(65_536):
            if found := self.channel.receive(content):
                return found[0]
        return None


def test_a_node_joins(serving: Callable[..., Serving], ca: Authority, tmp_path: Path) -> None:
    place = tmp_path / "identity"
    server = serving()
    joining.join(server.invitation, put_in(place))
    outcome = server.outcome()
    assert (outcome.end, outcome.source, outcome.wrong, outcome.guests) == ("joined", HOST, 0, 1)
    identity = Identity.load(place)
    assert (identity.name, identity.domain) == ("rack-7", ca.domain)
    assert [each.serial for each in ca.certificates()] == [identity.certificate.serial_number]
    openssl("verify", "-x509_strict", "-CAfile", place / "trust.pem", "-crl_check", "-CRLfile", place / "crl.pem",
            place / "certificate.pem")  # fmt: skip
    assert problems(place, time.time()) == []


def test_name_and_address_are_the_invitations_whatever_the_request_says(serving: Callable[..., Serving]) -> None:
    server = serving()
    node = Node(server)
    answer = node.say(node.ask(csr(keys.generate())))
    assert isinstance(answer, Given)
    (certificate,) = installing.read_certificates(answer.certificate.encode(), "certificate")
    assert certificate.subject.rfc4514_string() == "CN=rack-7"
    node.socket.close()
    assert server.outcome().end == "unconfirmed"


def test_a_token_works_once(serving: Callable[..., Serving], ca: Authority, tmp_path: Path) -> None:
    server = serving()
    first, second = Node(server), Node(server)
    assert isinstance(first.say(first.ask()), Given)
    # Before the first has said that it kept what it was given, and from a third that comes only now.
    third = Node(server)
    for late in (second, third):
        assert late.say(late.ask()) == Refused("used")
    assert first.say(Kept()) is None
    assert server.outcome().end == "joined"
    assert len(ca.certificates()) == 1
    with pytest.raises(JoinRefused, match="nobody answers"):
        joining.join(server.invitation, put_in(tmp_path / "late"))
    assert not (tmp_path / "late").exists()


def test_what_was_said_on_another_connection_is_no_proof(serving: Callable[..., Serving], ca: Authority) -> None:
    server = serving()
    first, second = Node(server), Node(server)
    assert second.say(first.ask()) == Refused("wrong-proof")
    assert ca.certificates() == []
    assert isinstance(first.say(first.ask()), Given)


def guess(server: Serving) -> Message | None:
    node = Node(server)
    with node.socket:
        return node.say(node.ask(invitation=replace(server.invitation, secret=os.urandom(16))))


def test_wrong_proofs_are_counted_and_told_seldom_and_keep_nobody_out(
    serving: Callable[..., Serving], ca: Authority, tmp_path: Path
) -> None:
    server = serving()
    tries = 4 * MOST_TOLD + 1
    for _ in range(tries):
        assert guess(server) == Refused("wrong-proof")
    assert ca.certificates() == []
    # Each of the first, then at 16 and at 32.
    assert server.told == [f"{HOST}: a wrong proof"] * MOST_TOLD + [
        f"{HOST}: a wrong proof; {count} of such by now" for count in (2 * MOST_TOLD, 4 * MOST_TOLD)
    ]
    joining.join(server.invitation, put_in(tmp_path / "identity"))
    outcome = server.outcome()
    assert (outcome.end, outcome.wrong, outcome.guests) == ("joined", tries, tries + 1)


def test_who_has_an_answer_is_sent_away(serving: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch) -> None:
    """One question each: it is the server that ends, and not when the guest's time is over."""
    monkeypatch.setattr("asa.domain.reception.GUEST_S", 1e6)
    server = serving()
    node = Node(server)
    assert node.say(node.ask(invitation=replace(server.invitation, secret=os.urandom(16)))) == Refused("wrong-proof")
    while content := node.socket.recv(65_536):
        node.channel.receive(content)
    # Before the next one is heard.
    guess(server)
    assert server.reception._seen == 2
    assert node.socket not in [each.socket for each in server.reception._guests]


def test_who_goes_on_guessing_keeps_nobody_out(serving: Callable[..., Serving], tmp_path: Path) -> None:
    server = serving()
    many, over = threading.Event(), threading.Event()
    heard: list[Message | None] = []

    def go_on() -> None:
        while not over.is_set():
            try:
                heard.append(guess(server))
            except OSError:
                # The invitation is over.
                return
            if len(heard) > MOST_TOLD:
                many.set()

    guessing = [threading.Thread(target=go_on) for _ in range(2)]
    for each in guessing:
        each.start()
    try:
        assert many.wait(PATIENCE / 2)
        joining.join(server.invitation, put_in(tmp_path / "identity"), timeout=PATIENCE)
        assert server.outcome().end == "joined"
    finally:
        over.set()
        for each in guessing:
            each.join(PATIENCE)
    assert all(each in (Refused("wrong-proof"), None) for each in heard)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 30_000,
        b'{"is":"asking","also":' + b"[" * 30_000,
        b'{"is":' + b'{"is":' * 5_000,
        b'{"is":"asking","request":"\xff","proof":"' + b"A" * 43 + b'="}',
        b'{"is":"asking","request":"\\ud800","proof":"' + b"A" * 43 + b'="}',
    ],
    ids=["brackets", "brackets in it", "objects", "no UTF-8", "half a character"],
)
def test_no_message_of_a_stranger_ends_the_invitation(
    serving: Callable[..., Serving], tmp_path: Path, body: bytes
) -> None:
    server = serving()
    node = Node(server)
    node.channel._tls.sendall(len(body).to_bytes(4) + body)
    node.socket.sendall(node.channel.outgoing())
    while content := node.socket.recv(65_536):
        assert node.channel.receive(content) == []
    joining.join(server.invitation, put_in(tmp_path / "identity"))
    assert server.outcome().end == "joined"


def test_two_who_join_at_once_with_one_token(serving: Callable[..., Serving], ca: Authority, tmp_path: Path) -> None:
    server = serving()
    places = [tmp_path / "one", tmp_path / "two"]
    together = threading.Barrier(len(places), timeout=PATIENCE)

    def join(place: Path) -> str:
        together.wait()
        try:
            joining.join(server.invitation, put_in(place), timeout=PATIENCE)
        except JoinRefused as error:
            return error.code
        return "joined"

    with ThreadPoolExecutor(len(places)) as pool:
        found = list(pool.map(join, places))
    assert sorted(found) == ["join-refused", "joined"]
    assert server.outcome().end == "joined"
    winner, loser = sorted(places, key=lambda each: not each.exists())
    assert not loser.exists()
    (issued,) = ca.certificates()
    assert Identity.load(winner).certificate.serial_number == issued.serial


def test_a_token_with_another_secret(serving: Callable[..., Serving], tmp_path: Path) -> None:
    server = serving()
    with pytest.raises(JoinRefused, match="secret"):
        joining.join(replace(server.invitation, secret=b"x" * 16), put_in(tmp_path / "identity"))
    assert not (tmp_path / "identity").exists()


def test_an_invitation_that_is_over(serving: Callable[..., Serving], ca: Authority, tmp_path: Path) -> None:
    server = serving(seconds=0.05)
    assert server.outcome().end == "expired"
    with pytest.raises(JoinRefused, match="nobody answers"):
        joining.join(server.invitation, put_in(tmp_path / "identity"))
    assert ca.certificates() == []


class Impostor:
    """Answers like a CA, with a key of its own or one it has stolen, and without the secret."""

    def __init__(self, context: SSL.Context, answer: Callable[[Asking], Message]) -> None:
        self._context = context
        self._listener = listen(HOST, 0)
        self._listener.setblocking(True)
        self._answer = answer
        self.heard: list[Message] = []
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            channel = Channel(self._context, server=True, longest=conversation.MAX_ASKING)
            while content := connection.recv(65_536):
                for said in channel.receive(content):
                    self.heard.append(said)
                    assert isinstance(said, Asking)
                    channel.send(self._answer(said))
                connection.sendall(channel.outgoing())

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def bogus(_: Asking) -> Given:
    return Given("certificate", "trust", "crl", b"p" * 32)


def test_in_the_middle_with_another_certificate_nothing_is_heard(tmp_path: Path) -> None:
    expected, there = ChannelKey(time.time()), ChannelKey(time.time())
    impostor = Impostor(there.context(), bogus)
    with pytest.raises(JoinRefused, match="not who made the token"):
        joining.join(Invitation(HOST, impostor.port, expected.pin, b"s" * 16), put_in(tmp_path / "identity"))
    impostor.join()
    assert impostor.heard == []
    assert not (tmp_path / "identity").exists()


def test_in_the_middle_with_a_key_of_another_kind_nothing_is_heard(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "asa")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, instant(0), instant(2**32))
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(builder.sign(key, None))
    context.use_privatekey(key)
    impostor = Impostor(context, bogus)
    with pytest.raises(JoinRefused, match="not who made the token"):
        joining.join(Invitation(HOST, impostor.port, b"p" * 32, b"s" * 16), put_in(tmp_path / "identity"))
    impostor.join()
    assert impostor.heard == []


def reflected(said: Asking) -> Given:
    return Given("certificate", "trust", "crl", said.proof)


@pytest.mark.parametrize("answer", [bogus, reflected, lambda _: Kept()])
def test_a_ca_has_to_know_the_secret_too(tmp_path: Path, answer: Callable[[Asking], Message]) -> None:
    key = ChannelKey(time.time())
    impostor = Impostor(key.context(), answer)
    with pytest.raises(JoinRefused, match="does not know the secret"):
        joining.join(Invitation(HOST, impostor.port, key.pin, b"s" * 16), put_in(tmp_path / "identity"))
    impostor.join()
    assert len(impostor.heard) == 1
    assert not (tmp_path / "identity").exists()


def test_a_node_keeps_nothing_that_members_would_refuse(tmp_path: Path, serving: Callable[..., Serving]) -> None:
    server = serving()

    def refuse(key: PrivateKey, given: Given) -> None:
        raise StoreFailed("no room")

    with pytest.raises(StoreFailed):
        joining.join(server.invitation, refuse)
    outcome = server.outcome()
    assert outcome.end == "unconfirmed"
    assert outcome.issued is not None


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(JoinRefused, match="timed out"):
            joining.join(Invitation(HOST, port, b"p" * 32, b"s" * 16), put_in(tmp_path), timeout=0.1)


@pytest.mark.parametrize(
    "noise", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100, bytes(range(256)) * 8]
)
def test_strangers_keep_nobody_out(serving: Callable[..., Serving], tmp_path: Path, noise: bytes) -> None:
    """More of them than there are places, all still there."""
    server = serving()
    with ExitStack() as stack:
        for _ in range(2 * MOST_GUESTS):
            stranger = stack.enter_context(server.connect())
            try:
                stranger.sendall(noise)
            except OSError:
                pass
        joining.join(server.invitation, put_in(tmp_path / "identity"))
        assert server.outcome().end == "joined"
        assert len(server.reception._guests) == 0


def test_who_connects_most_makes_room(serving: Callable[..., Serving]) -> None:
    server = serving()
    node = Node(server, "127.0.0.2")
    with ExitStack() as stack:
        strangers = [stack.enter_context(server.connect()) for _ in range(2 * MOST_GUESTS)]
        # The first of them have made room for the last, and the node, which was there before all, has not.
        assert strangers[0].recv(1) == b""
        assert isinstance(node.say(node.ask()), Given)


def test_a_slow_one_in_the_middle_of_its_handshake_keeps_nobody_out(
    serving: Callable[..., Serving], tmp_path: Path
) -> None:
    server = serving()
    slow = Channel(client_context(), server=False, longest=100)
    slow.receive(b"")
    hello = slow.outgoing()
    with server.connect() as stranger:
        stranger.sendall(hello[: len(hello) // 2])
        joining.join(server.invitation, put_in(tmp_path / "identity"))
        assert server.outcome().end == "joined"


def test_who_takes_too_long_is_sent_away(
    serving: Callable[..., Serving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asa.domain.reception.GUEST_S", 0.05)
    server = serving()
    with server.connect() as stranger:
        assert stranger.recv(1) == b""
    monkeypatch.undo()
    joining.join(server.invitation, put_in(tmp_path / "identity"))


def test_older_tls_is_not_spoken(serving: Callable[..., Serving]) -> None:
    server = serving()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with server.connect() as connection, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(connection)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with server.connect() as connection, context.wrap_socket(connection) as wrapped:
        assert wrapped.version() == "TLSv1.3"
        assert wrapped.cipher() is not None
        assert wrapped.cipher()[2] == 256  # type: ignore[index]


@pytest.mark.parametrize("stream", [b"\xff\xff\xff\xff", b"\0\0\0\x02{}", b"\0\0\0\x0d" + b'{"is":"kept"}'])
def test_what_is_no_question_ends_the_connection(serving: Callable[..., Serving], stream: bytes) -> None:
    node = Node(serving())
    node.channel._tls.sendall(stream)
    node.socket.sendall(node.channel.outgoing())
    while content := node.socket.recv(65_536):
        assert node.channel.receive(content) == []


def weak() -> bytes:
    return csr(rsa.generate_private_key(65_537, 1024))


def of_no_version() -> bytes:
    """Its bytes are in order; version 12 of requests there is not (RFC 2986 §4)."""
    der = x509.load_pem_x509_csr(csr(keys.generate())).public_bytes(Encoding.DER)
    return pem_of(der.replace(b"\x02\x01\x00", b"\x02\x01\x0c", 1))


def of_no_curve() -> bytes:
    der = x509.load_pem_x509_csr(csr(keys.generate())).public_bytes(Encoding.DER)
    return pem_of(der.replace(P256, P256[:3] + b"\x3e" + P256[4:], 1))


def pem_of(der: bytes) -> bytes:
    lines = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + lines + b"-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize(
    "request_", [weak(), b"no request", of_no_version(), of_no_curve()], ids=["weak", "none", "no version", "no curve"]
)
def test_a_bad_request_does_not_use_the_token_up(
    serving: Callable[..., Serving], ca: Authority, request_: bytes
) -> None:
    server = serving()
    node = Node(server)
    assert node.say(node.ask(request_)) == Refused("bad-request")
    assert ca.certificates() == []
    node = Node(server)
    assert isinstance(node.say(node.ask()), Given)


def test_a_revoked_key_does_not_use_the_token_up(serving: Callable[..., Serving], ca: Authority) -> None:
    key = keys.generate()
    ca.issue("rack-7", key.public_key())
    ca.revoke("rack-7")
    server = serving()
    node = Node(server)
    assert node.say(node.ask(csr(key))) == Refused("bad-request")
    assert "revoked" in server.told[0]
    node = Node(server)
    assert isinstance(node.say(node.ask()), Given)


def test_a_name_that_was_issued_meanwhile(serving: Callable[..., Serving], ca: Authority) -> None:
    server = serving()
    ca.issue("rack-7", keys.generate().public_key())
    node = Node(server)
    assert node.say(node.ask()) == Refused("failed")
    node.socket.close()
    with pytest.raises(NameTaken):
        server.outcome()
    assert len(ca.certificates()) == 1


def test_nobody_is_invited_under_a_name_that_has_a_certificate(ca: Authority) -> None:
    ca.issue("rack-7", keys.generate().public_key())
    with pytest.raises(NameTaken):
        Serving(ca)
    with listen(HOST, 0) as listener, pytest.raises(BadRequest):
        Reception(ca, "rack-8", listener, HOST, b"s" * 16, ends=1.0, now=0.0, days=0)
    taken = IPv6Address("fd00::1")
    ca.issue("rack-9", keys.generate().public_key(), address=taken)
    with listen(HOST, 0) as listener, pytest.raises(NameTaken):
        Reception(ca, "rack-8", listener, HOST, b"s" * 16, ends=1.0, now=0.0, address=taken)


def test_the_use_is_on_disk_before_the_certificate_is_sent(
    serving: Callable[..., Serving], ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a crash comes just before sending, the certificate is known and the token worth nothing."""

    def crash(*_: object) -> Message:
        raise StoreFailed("crashed")

    server = serving()
    node = Node(server)
    monkeypatch.setattr(conversation, "given", crash)
    assert node.say(node.ask()) is None
    with pytest.raises(StoreFailed, match="crashed"):
        server.outcome()
    (issued,) = ca.certificates()
    ca.revoke("rack-7")
    with pytest.raises(Conflict, match="used already"):
        ca.issue("rack-7", keys.generate().public_key(), invitation=server.invitation.identifier)
    assert [each.serial for each in ca.certificates()] == [issued.serial]
