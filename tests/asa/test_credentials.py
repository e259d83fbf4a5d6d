"""Secrets and what is kept of them: against scrypt as RFC 7914 has it, and that nothing shows one."""

from __future__ import annotations

import hashlib
import pickle
import string
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa import credentials
from asa.credentials import MAX_SECRET, SALT_LENGTH, Credentials, check_secret, hashed, salt_of
from asa.errors import BadRequest

SALT, OTHER = b"s" * SALT_LENGTH, b"o" * SALT_LENGTH
PRINTABLE = string.digits + string.ascii_letters + string.punctuation + " "
SECRETS = st.text(PRINTABLE, min_size=1, max_size=MAX_SECRET)

BAD = ["", "x" * (MAX_SECRET + 1), "pässwort", "tab\there", "line\n", "\0", "\x7f", "\N{NO-BREAK SPACE}"]


class Computed:
    """How often scrypt was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = hashlib.scrypt

        def scrypt(*positional: Any, **named: Any) -> bytes:
            self.count += 1
            return real(*positional, **named)

        monkeypatch.setattr(credentials.hashlib, "scrypt", scrypt)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    return Computed(monkeypatch)


def test_a_hash_says_how_it_was_made_and_anyone_can_make_it_again() -> None:
    kind, salt, made = hashed("correct horse", SALT).split("$")
    assert (kind, bytes.fromhex(salt)) == ("scrypt", SALT)
    assert bytes.fromhex(made) == hashlib.scrypt(b"correct horse", salt=SALT, n=4096, r=8, p=1, dklen=32)


@settings(max_examples=20, deadline=None)
@given(SECRETS, SECRETS)
def test_a_secret_opens_what_was_hashed_of_it_and_no_other(one: str, other: str) -> None:
    at = Credentials(SALT)
    stored = at.hash(one)
    assert stored.isascii()
    assert len(stored) <= 255
    assert salt_of(stored) == SALT
    assert at.opened(one, [stored]) == {stored}
    assert at.opened(other, [stored]) == ({stored} if other == one else set())


def test_case_and_blanks_of_a_secret_count() -> None:
    at = Credentials(SALT)
    assert len({at.hash(each) for each in ("secret", "Secret", "secret ", " secret")}) == 4


def test_what_another_agent_hashed_is_opened_too_by_one_computation_for_each_salt(computed: Computed) -> None:
    here, there = Credentials(SALT), Credentials(OTHER)
    mine, its = here.hash("secret"), there.hash("secret")
    assert mine != its
    foreign = there.hash("another")
    stored = [mine, its, foreign, *(f"scrypt${salt.hex()}${'0' * 64}" for salt in (SALT, OTHER) for _ in range(5))]
    computed.count = 0
    assert here.opened("secret", stored) == {mine, its}
    assert computed.count == 2
    assert there.opened("secret", iter(stored)) == {mine, its}
    assert here.opened("another", stored) == {foreign}
    assert here.opened("nobody's", stored) == frozenset()


def test_without_a_secret_nothing_is_open_and_nothing_computed(computed: Computed) -> None:
    at = Credentials(SALT, "admin")
    stored = at.hash("secret")
    computed.count = 0
    assert at.opened(None, [stored]) == frozenset()
    assert computed.count == 0


def test_all_is_open_to_the_administrator_of_this_agent_alone() -> None:
    at = Credentials(SALT, "admin")
    stored = at.hash("secret")
    assert at.guarded
    assert at.opened("admin", [stored]) is None
    assert at.opened("admin", []) is None
    assert at.opened("secret", [stored]) == {stored}
    assert at.opened("Admin", [stored]) == frozenset()
    unguarded = Credentials(SALT)
    assert not unguarded.guarded
    assert unguarded.opened("admin", [stored]) == frozenset()
    assert Credentials(OTHER, "else").opened("admin", [stored]) == frozenset()


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_secret_is_refused_before_anything_is_computed(bad: str, computed: Computed) -> None:
    at = Credentials(SALT, "admin")
    computed.count = 0
    for refused in (
        lambda: check_secret(bad), lambda: hashed(bad, SALT), lambda: at.hash(bad), lambda: at.opened(bad, []),
        lambda: Credentials(SALT, bad),
    ):  # fmt: skip
        with pytest.raises(BadRequest, match=rf"^a secret is 1\.\.{MAX_SECRET} printable ASCII characters$"):
            refused()
    assert computed.count == 0


def test_every_printable_character_and_the_longest_secret_are_taken() -> None:
    check_secret(PRINTABLE)
    check_secret("x" * MAX_SECRET)


GOOD = hashed("secret", SALT)
MALFORMED = {
    "empty": "",
    "of no kind": GOOD.removeprefix("scrypt"),
    "of another kind": GOOD.replace("scrypt", "bcrypt"),
    "in upper case": GOOD.upper(),
    "its kind alone": "scrypt",
    "no salt": f"scrypt$${GOOD[-64:]}",
    "a salt too short": f"scrypt${SALT.hex()[:-2]}${GOOD[-64:]}",
    "a salt too long": f"scrypt${SALT.hex()}00${GOOD[-64:]}",
    "a salt of something else": f"scrypt${'z' * 32}${GOOD[-64:]}",
    "a salt with blanks": f"scrypt${'00 ' * 10}00${GOOD[-64:]}",
    "a salt in upper case": f"scrypt${'AB' * 16}${GOOD[-64:]}",
    "a salt of other digits": f"scrypt${'٠' * 32}${GOOD[-64:]}",
    "no hash": GOOD[:-64],
    "a hash too short": GOOD[:-1],
    "a hash too long": GOOD + "0",
    "a hash of something else": GOOD[:-1] + "g",
    "a hash in parts": GOOD[:-2] + "$0",
    "the secret itself": "secret",
}


@pytest.mark.parametrize("stored", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_hash_opens_nothing_costs_nothing_and_stands_in_nobodys_way(stored: str, computed: Computed) -> None:
    assert salt_of(stored) is None
    assert Credentials(SALT).opened("secret", [stored, GOOD]) == {GOOD}
    assert computed.count == 1


@given(st.text(alphabet="scrypt$0af \u0660\n", max_size=120))
def test_whatever_a_peer_made_up_is_looked_at_without_harm(stored: str) -> None:
    salt = salt_of(stored)
    assert salt is None or len(salt) == SALT_LENGTH


def test_nothing_shows_a_secret() -> None:
    secret = "hunter2-and-more"
    at = Credentials(SALT, secret)
    shown = [repr(at), str(at), at.hash(secret), str(vars(at)), repr(at.opened(secret, [at.hash(secret)]))]
    shown.append(pickle.dumps(at).decode("latin-1"))
    for bad in (f"{secret}\n", secret * 99):
        with pytest.raises(BadRequest) as error:
            at.opened(bad, [])
        shown += [repr(error.value), error.value.hint, str(error.value.details)]
        shown += traceback.format_exception(error.value)
    assert not any(secret in each for each in shown)
    assert not any(secret.encode().hex() in each for each in shown)
