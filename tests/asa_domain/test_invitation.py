"""Tokens: what they say, what becomes of altered ones, and that nothing shows the secret."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.domain import conversation
from asa.domain.conversation import Asking, Frames, Garbled, Given, Kept, Refused
from asa.domain.errors import BadToken
from asa.domain.invitation import Invitation, parse_token

PIN, SECRET = bytes(range(32)), bytes(range(100, 116))
INVITATION = Invitation("fd00::1", 7180, PIN, SECRET)


@given(
    st.sampled_from(["::1", "fd00::1", "192.0.2.1", "ca.example.com", "x" * 253]),
    st.integers(1, 65_535), st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16),
)  # fmt: skip
def test_a_token_says_what_was_put_into_it(host: str, port: int, pin: bytes, secret: bytes) -> None:
    token = Invitation(host, port, pin, secret).token()
    found = parse_token(f"  {token}\n")
    assert (found.host, found.port, found.pin, found.secret) == (host, port, pin, secret)
    assert token.isascii()
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_every_single_altered_character_is_noticed() -> None:
    token = INVITATION.token()
    for index, each in enumerate(token):
        for other in {"A", "b", "9", "-"} - {each}:
            with pytest.raises(BadToken):
                parse_token(token[:index] + other + token[index + 1 :])


def test_a_token_that_is_cut_or_has_more_is_noticed() -> None:
    token = INVITATION.token()
    for length in range(len(token)):
        with pytest.raises(BadToken):
            parse_token(token[:length])
    for more in ("A", "AA", "AAA", "AAAA", "=", token):
        with pytest.raises(BadToken):
            parse_token(token + more)


@given(st.text(max_size=600))
def test_any_text_is_a_token_or_told_apart(text: str) -> None:
    with pytest.raises(BadToken):
        parse_token(text)


def test_a_token_of_another_release_is_told_as_such() -> None:
    from base64 import urlsafe_b64encode

    content = b"\x02" + b"x" * 60
    content += hashlib.sha256(content).digest()[:4]
    with pytest.raises(BadToken, match="another release"):
        parse_token("asa-join-" + urlsafe_b64encode(content).decode().rstrip("="))


def test_nothing_shows_the_secret() -> None:
    shown = repr(INVITATION) + str(INVITATION) + INVITATION.identifier
    assert repr(SECRET)[2:-1] not in shown
    assert SECRET.hex() not in shown
    token = INVITATION.token()
    with pytest.raises(BadToken) as raised:
        parse_token(token[:-1])
    assert token[20:40] not in str(raised.value) + raised.value.hint


def test_the_secret_never_travels() -> None:
    asking = conversation.encode(conversation.asking(INVITATION, b"exported", "request"))
    given = conversation.encode(conversation.given(INVITATION, b"exported", "request", "c", "t", "l"))
    for secret in (SECRET, SECRET.hex().encode(), INVITATION.token().encode()[40:]):
        assert secret not in asking
        assert secret not in given


def test_a_proof_is_an_hmac_over_all_it_is_bound_to() -> None:
    bound = b"".join(len(each).to_bytes(8) + each for each in (PIN, b"exported", b"request"))
    expected = hmac.digest(SECRET, b"asa-join-1 node" + bound, "sha256")
    assert conversation.asking(INVITATION, b"exported", "request").proof == expected


def test_a_proof_is_good_for_one_connection_one_request_and_one_side() -> None:
    said = conversation.asking(INVITATION, b"exported", "request")
    assert conversation.asks_rightly(INVITATION, b"exported", said)
    assert not conversation.asks_rightly(INVITATION, b"another", said)
    assert not conversation.asks_rightly(INVITATION, b"exported", Asking("another", said.proof))
    answer = conversation.given(INVITATION, b"exported", "request", "c", "t", "l")
    assert conversation.gives_rightly(INVITATION, b"exported", "request", answer)
    for altered in (
        Given("d", "t", "l", answer.proof), Given("c", "u", "l", answer.proof), Given("c", "t", "m", answer.proof),
        Given("ct", "", "l", answer.proof), Given("c", "t", "l", said.proof),
    ):  # fmt: skip
        assert not conversation.gives_rightly(INVITATION, b"exported", "request", altered)
    assert not conversation.gives_rightly(INVITATION, b"exported", "another", answer)


def test_messages_come_in_pieces_or_together() -> None:
    said: list[conversation.Message] = [Kept(), Refused("used"), Asking("x" * 5_000, b"p" * 32)]
    stream = b"".join(conversation.encode(each) for each in said)
    pieces = Frames(conversation.MAX_ASKING)
    assert [each for byte in stream for each in pieces.feed(bytes((byte,)))] == said
    assert Frames(conversation.MAX_ASKING).feed(stream) == said


@pytest.mark.parametrize(
    "stream",
    [
        b"\xff\xff\xff\xff", (conversation.MAX_ASKING + 1).to_bytes(4), b"\0\0\0\0", b"\0\0\0\x02{}", b"\0\0\0\x01[",
        b'\0\0\0\x11{"is":"unheard"} ', b'\0\0\0\x1e{"is":"refused","code":"other"}',
    ],
)  # fmt: skip
def test_what_is_no_message(stream: bytes) -> None:
    with pytest.raises(Garbled):
        Frames(conversation.MAX_ASKING).feed(stream)


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_told_apart(stream: bytes) -> None:
    try:
        Frames(100).feed(stream)
    except Garbled:
        pass
