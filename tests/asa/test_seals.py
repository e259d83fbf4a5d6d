"""What is flooded in a domain: whose it provably is, and what is refused."""

from __future__ import annotations

import time

import pytest

import grasp.security
from asa import seals as module
from asa.seals import Seals, Unsealed, check_age
from grasp import cbor
from grasp.security import Revocations
from objectives import InvalidValue
from tests.pki import Authority, Issued

NAME = "EX1.Agent"
VALUE = {"node": "rack-7#0123456789abcdef", "seq": 5}


class Clock:
    def __init__(self) -> None:
        self.now = time.time()
        self.ticks = 1_000.0


class World:
    """A CA, and members of its domain."""

    def __init__(self) -> None:
        self.ca = Authority()
        self.clock = Clock()
        self.revocations = Revocations()

    def member(self, name: str, ca: Authority | None = None, issued: Issued | None = None) -> Seals:
        identity = (ca or self.ca).identity(name, issued)
        return Seals(identity, lambda: self.revocations, lambda: self.clock.now, lambda: self.clock.ticks)

    def revoke(self, issued: Issued) -> None:
        self.ca.revoke(issued)
        assert self.revocations.add(self.ca.crl(), [self.ca.certificate], self.clock.now)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objectives of the seals that were verified."""
    seen: list[str] = []
    real = grasp.security.unseal

    def counted(membership, context, *more):
        seen.append(context)
        return real(membership, context, *more)

    monkeypatch.setattr(grasp.security, "unseal", counted)
    return seen


def travelled(value):
    """As it comes out of a message."""
    return cbor.decode(cbor.encode(value))


def test_who_sealed_a_value_is_known_to_who_opens_it(world):
    opened = world.member("rack-8").open(NAME, travelled(world.member("rack-7").wrap(NAME, VALUE)))
    assert opened.value == VALUE
    assert opened.member.name == "rack-7"
    opened.claimed_by("rack-7")
    with pytest.raises(Unsealed, match="rack-7 speaks for rack-9"):
        opened.claimed_by("rack-9")


def test_without_a_domain_values_travel_bare_and_prove_nothing():
    plain = Seals(None, lambda: None, time.time, time.monotonic)
    assert plain.wrap(NAME, VALUE) is VALUE
    opened = plain.open(NAME, VALUE)
    assert (opened.value, opened.member, opened.sealed) == (VALUE, None, None)
    opened.claimed_by("anybody")
    assert not plain.needed
    assert plain.issuers() == ()


def altered(wrapped, index, change):
    found = list(wrapped)
    found[index] = change(found[index])
    return found


def test_nothing_but_a_members_seal_over_exactly_this_opens(world):
    receiver, sender = world.member("rack-8"), world.member("rack-7")
    good = travelled(sender.wrap(NAME, VALUE))
    other = travelled(sender.wrap("EX1.Reach", VALUE))
    foreign = travelled(world.member("rack-7", Authority()).wrap(NAME, VALUE))
    abroad = Authority("other.example.com")
    for bad in (
        VALUE, None, [], [good[0]], [good[0], good[1], 1], [VALUE, good[1]], [good[0].hex(), good[1]],
        altered(good, 0, lambda payload: payload + b"\x00"),
        altered(good, 0, lambda payload: payload[:-1] + bytes([payload[-1] ^ 1])),
        altered(good, 1, lambda seal: [*seal[:3], seal[3][:-1] + bytes([seal[3][-1] ^ 1])]),
        altered(good, 1, lambda seal: [seal[0], seal[1], b"payload", seal[3]]),
        altered(good, 1, lambda seal: seal[:3]),
        altered(good, 1, lambda seal: [seal[0], {}, None, seal[3]]),
        altered(good, 1, lambda _: "a seal"),
        other, foreign, travelled(world.member("rack-7", abroad).wrap(NAME, VALUE)),
    ):  # fmt: skip
        with pytest.raises(Unsealed):
            receiver.open(NAME, bad)
    assert receiver.open(NAME, good).value == VALUE


def test_what_a_member_sealed_need_not_be_good_cbor(world):
    receiver, sender = world.member("rack-8"), world.ca.identity("rack-7")
    for payload in b"", b"\xff", b"\x82\x01", b"\x01\x02", b"\x81" * 500 + b"\x01":
        value = [payload, grasp.security.seal(sender, NAME, payload)]
        with pytest.raises(Unsealed, match="rack-7 sealed is not CBOR"):
            receiver.open(NAME, travelled(value))


def test_a_refusal_is_an_invalid_value_and_says_nothing_long(world):
    with pytest.raises(InvalidValue) as raised:
        world.member("rack-8").open(NAME, [b"x", ["y" * 5_000]])
    assert len(str(raised.value)) < 300


def test_what_was_seen_before_is_not_verified_again(world, verified):
    receiver, sender = world.member("rack-8"), world.member("rack-7")
    good = travelled(sender.wrap(NAME, VALUE))
    bad = altered(good, 0, lambda payload: payload + b"\x00")
    for _ in range(5):
        assert receiver.open(NAME, good).member.name == "rack-7"
        with pytest.raises(Unsealed):
            receiver.open(NAME, bad)
    assert len(verified) == 2


def test_a_verdict_ends_with_the_revocation_of_its_member(world):
    rack = world.ca.issue("rack-7")
    receiver, sender = world.member("rack-8"), world.member("rack-7", issued=rack)
    sealed = travelled(sender.wrap(NAME, VALUE))
    assert receiver.open(NAME, sealed).member.name == "rack-7"
    world.revoke(world.ca.issue("somebody"))
    assert receiver.open(NAME, sealed).member.name == "rack-7"
    world.revoke(rack)
    with pytest.raises(Unsealed, match="revoked"):
        receiver.open(NAME, sealed)


def test_a_verdict_ends_with_the_certificate_and_a_refusal_after_a_minute(world):
    now = world.clock.now
    receiver = world.member("rack-8")
    short = world.ca.issue("rack-7", not_before=now + 100, not_after=now + 1_000)
    sealed = travelled(world.member("rack-7", issued=short).wrap(NAME, VALUE))
    with pytest.raises(Unsealed):
        receiver.open(NAME, sealed)
    world.clock.now = now + 100 + module.REFUSED_S
    assert receiver.open(NAME, sealed).member.name == "rack-7"
    world.clock.now = now + 1_001
    with pytest.raises(Unsealed):
        receiver.open(NAME, sealed)


def test_no_more_seals_are_verified_than_the_rate_allows_and_known_ones_still_open(world, verified, monkeypatch):
    monkeypatch.setattr(module, "BURST", 3.0)
    receiver, sender = world.member("rack-8"), world.member("rack-7")
    sealed = [travelled(sender.wrap(NAME, {**VALUE, "seq": number})) for number in range(5)]
    for each in sealed[:3]:
        receiver.open(NAME, each)
    with pytest.raises(Unsealed, match="too many"):
        receiver.open(NAME, sealed[3])
    assert receiver.open(NAME, sealed[0]).value == VALUE | {"seq": 0}
    assert len(verified) == 3
    world.clock.ticks += 1.0
    assert receiver.open(NAME, sealed[3]).value["seq"] == 3


def test_the_verdicts_remembered_are_bounded(world, monkeypatch, verified):
    monkeypatch.setattr(module, "SEEN", 2)
    receiver, sender = world.member("rack-8"), world.member("rack-7")
    sealed = [travelled(sender.wrap(NAME, {**VALUE, "seq": number})) for number in range(3)]
    for each in (*sealed, sealed[0], sealed[2]):
        receiver.open(NAME, each)
    assert len(verified) == 4


def test_what_is_said_again_bears_the_same_seal_until_the_certificate_is_another(world):
    sender = world.member("rack-7")
    first = sender.seal(NAME, VALUE)
    assert sender.seal(NAME, dict(VALUE)) is first
    assert sender.seal("EX1.Reach", VALUE).seal != first.seal
    assert sender.seal(NAME, {**VALUE, "seq": 6}).seal != first.seal
    sender.renew(world.ca.identity("rack-7"))
    again = sender.seal(NAME, VALUE)
    assert again.payload == first.payload
    assert again.seal[1] != first.seal[1]
    assert world.member("rack-8").open(NAME, travelled(again.to_value())).value == VALUE


def test_after_a_renewal_others_are_judged_by_the_new_trust_anchors(world):
    receiver, new = world.member("rack-8"), Authority(name="new-ca")
    sealed = travelled(world.member("rack-7", new).wrap(NAME, VALUE))
    with pytest.raises(Unsealed):
        receiver.open(NAME, sealed)
    receiver.renew(world.ca.identity("rack-8", trust=[world.ca.certificate, new.certificate]))
    assert receiver.open(NAME, sealed).member.name == "rack-7"


def test_the_cas_above_a_member_are_known_once_it_has_been_heard(world):
    receiver = world.member("rack-8")
    below = Authority(name="below", issuer=world.ca)
    assert receiver.issuers() == (world.ca.certificate,)
    wrapped = travelled(world.member("rack-7", below).wrap(NAME, VALUE))
    assert receiver.open(NAME, wrapped).member.name == "rack-7"
    assert set(receiver.issuers()) == {world.ca.certificate, below.certificate}
    # What a certificate is shown with proves nothing if it is not above it.
    rack, stranger = world.ca.issue("rack-9"), Authority(name="stranger")
    beside = Issued(rack.key, rack.certificate, (stranger.certificate,))
    assert receiver.open(NAME, travelled(world.member("rack-9", issued=beside).wrap(NAME, VALUE))).value == VALUE
    assert stranger.certificate not in receiver.issuers()


@pytest.mark.parametrize(
    ("age_s", "taken"),
    [(0, True), (180, True), (240, True), (241, False), (10**6, False), (-59, True), (-61, False), (-(10**9), False)],
)
def test_what_was_sealed_too_long_ago_or_in_the_future_is_a_replay(age_s, taken):
    now = 1_800_000_000.0
    if taken:
        check_age(int((now - age_s) * 1000), now, 180.0)
    else:
        with pytest.raises(Unsealed):
            check_age(int((now - age_s) * 1000), now, 180.0)
