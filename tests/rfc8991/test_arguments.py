"""Arguments of every kind: what is wrong is a code, never an exception."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address, IPv6Address

import pytest

from grasp.rfc8991 import ASA_locator, RawCBOR, errors, tagged_objective
from grasp.wire import Objective
from tests.rfc8991.conftest import WAIT_S, link_locator, negotiable, synchronizable

NEG, SYN = "EX1", "EX2"

# -- arguments

WRONG = {
    "number": (None, "1", 1.0, -1, 2**32, True),
    "flag": (None, 0, 1, "yes"),
    "text": (None, 1, b"A"),
    "objective": (None, "EX1", Objective.negotiation("EX1"), 7),
    "locator": ("fe80::1", 1, object()),
    "session": ("x", 1, object()),
    "callback": (1, "x"),
}


def fresh(attribute, value):
    made = negotiable(NEG)
    setattr(made, attribute, value)
    return made


BAD_OBJECTIVES = [
    fresh("name", 1),
    fresh("name", None),
    fresh("negotiate", 1),
    fresh("dryrun", None),
    fresh("synch", "no"),
    fresh("loop_count", 256),
    fresh("loop_count", -1),
    fresh("loop_count", None),
    fresh("value", threading.Lock()),
]


def test_a_wrong_argument_is_a_code_not_an_exception(agent):
    a = agent()
    f, neg, syn = a.functions, negotiable(NEG), synchronizable(SYN)
    a.register(neg, syn)
    for wrong in WRONG["number"]:
        assert f.deregister_asa(wrong, "A") == errors.badArgument
        assert f.listen_synchronize(wrong, syn) == errors.badArgument
        assert a.register_objective(negotiable("EX5"), ttl=wrong) == errors.badArgument
        assert a.discover(neg, wrong, 1) == (errors.badArgument, [])
        assert a.discover(neg, 1, wrong) == (errors.badArgument, [])
        assert a.request_negotiate(neg, None, wrong) == (errors.badArgument, None, None, "")
        assert a.synchronize(syn, None, wrong) == (errors.badArgument, None)
        assert a.flood(wrong, [tagged_objective(syn)]) == errors.badArgument
    for wrong in WRONG["flag"]:
        for name in ("discoverable", "overlap", "local"):
            assert a.register_objective(negotiable("EX5"), **{name: wrong}) == errors.badArgument
    for wrong in WRONG["text"]:
        assert f.register_asa(wrong) == (errors.badArgument, None)
        assert a.deregister_asa(wrong) == errors.badArgument
    for wrong in (*WRONG["objective"], *BAD_OBJECTIVES):
        assert a.register_objective(wrong) == errors.badArgument
        assert a.discover(wrong, 1, 1) == (errors.badArgument, [])
        assert a.request_negotiate(wrong, None, 1) == (errors.badArgument, None, None, "")
        assert a.listen_negotiate(wrong) == (errors.badArgument, None, None)
        assert a.stop_listen_negotiate(wrong) == errors.badArgument
        assert a.synchronize(wrong, None, 1) == (errors.badArgument, None)
        assert a.listen_synchronize(wrong) == errors.badArgument
        assert a.get_flood(wrong) == (errors.badArgument, None)
        assert a.flood(1, [tagged_objective(wrong)]) == errors.badArgument
    for wrong in WRONG["locator"]:
        assert a.request_negotiate(neg, wrong, 1)[0] == errors.badArgument
        assert a.synchronize(syn, wrong, 1)[0] == errors.badArgument
        assert a.flood(1, [tagged_objective(syn, wrong)]) == errors.badArgument
        assert a.expire_flood(tagged_objective(syn, wrong)) == errors.badArgument
    for wrong in WRONG["session"]:
        assert a.negotiate_step(wrong, neg, 1) == (errors.badArgument, None, None, "")
        assert a.negotiate_wait(wrong, 1) == errors.badArgument
        assert a.end_negotiate(wrong, True) == errors.badArgument
        assert a.send_invalid(wrong, b"") == errors.badArgument
    for wrong in WRONG["callback"]:
        assert a.discover(neg, 1, 1, callback=wrong) == (errors.badArgument, [])
    for wrong in (None, [], [syn], [None], "x", tagged_objective(syn)):
        assert a.flood(1, wrong) == errors.badArgument
    for wrong in (None, syn, [tagged_objective(syn)]):
        assert a.expire_flood(wrong) == errors.badArgument


@pytest.mark.parametrize("value", [object(), print, RawCBOR(b"\x82\x01"), RawCBOR(b"")])
def test_a_value_without_a_cbor_form(agent, scripted, value):
    a = agent()
    a.register(negotiable(NEG), synchronizable(SYN))
    peer = link_locator(scripted.host, scripted.port, a.host)
    assert a.request_negotiate(negotiable(NEG, value), peer, 1000) == (errors.badArgument, None, None, "")
    assert a.listen_synchronize(synchronizable(SYN, value)) == errors.badArgument
    assert a.flood(0, [tagged_objective(synchronizable(SYN, value))]) == errors.badArgument


def test_a_negotiation_that_is_over_has_no_session(agent):
    a = agent()
    neg = negotiable(NEG)
    a.register(neg)
    assert a.negotiate_step(None, neg, 1) == (errors.noSession, None, None, "")
    assert a.negotiate_wait(None, 1) == errors.noSession
    assert a.end_negotiate(None, False, "why") == errors.noSession
    assert a.send_invalid(None) == errors.noSession


def test_an_unexpected_failure_is_unspecified(monkeypatch, agent, caplog):
    a = agent()
    monkeypatch.setattr(a.node.calls, "get_flood", lambda *_: 1 / 0)
    assert a.get_flood(synchronizable(SYN)) == (errors.unspec, None)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("value", "code"), [(object(), errors.badArgument), (b"x" * 2048, errors.tooLong)])
def test_a_step_that_cannot_be_sent_leaves_the_session_as_it_was(pair, value, code):
    a, b = pair
    for each in pair:
        each.register(negotiable(NEG))
    listening = b.listening(negotiable(NEG))
    asked = a.later("request_negotiate", negotiable(NEG, 1), b.locator(a), 5000)
    _, session, requested = listening.result(WAIT_S)
    requested.value = value
    assert b.negotiate_step(session, requested, 1000) == (code, None, None, "")
    assert b.end_negotiate(session, True) == errors.ok
    assert asked.result(WAIT_S)[:2] == (errors.ok, None)


# -- locators

ADDRESS = IPv6Address("fd00::1")


def locator(where=ADDRESS, **fields):
    made = ASA_locator(where)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "wrong",
    [
        locator(port=65536),
        locator(port="7017"),
        locator(protocol=1),
        locator(is_fqdn=True),
        locator(is_ipaddress=False),
        locator("", is_fqdn=True),
        locator("no address", is_ipaddress=True),
        locator(IPv6Address("fe80::1%eth0")),
    ],
    ids=str,
)
def test_a_locator_without_a_wire_form(agent, wrong):
    a = agent()
    syn = synchronizable(SYN)
    a.register(syn)
    assert a.flood(1, [tagged_objective(syn, wrong)]) == errors.invalidLoc
    assert a.synchronize(syn, wrong, 1) == (errors.invalidLoc, None)


@pytest.mark.parametrize(
    "unreachable",
    [
        locator("https://example.net/", is_uri=True),
        locator(protocol=17, port=5),
        locator(IPv6Address("fe80::1"), port=5),
    ],
    ids=str,
)
def test_a_peer_that_cannot_be_reached_by_tcp(agent, unreachable):
    a = agent()
    neg, syn = negotiable(NEG), synchronizable(SYN)
    a.register(neg, syn)
    assert a.request_negotiate(neg, unreachable, 1000) == (errors.invalidLoc, None, None, "")
    assert a.synchronize(syn, unreachable, 1000) == (errors.invalidLoc, None)


def test_an_ipv4_locator_is_one(agent):
    a = agent()
    syn = synchronizable(SYN)
    a.register(syn)
    assert a.flood(0, [tagged_objective(syn, locator(IPv4Address("192.0.2.1"), port=5))]) == errors.ok
    _, (kept,) = a.get_flood(syn)
    assert kept.locator.locator == IPv4Address("192.0.2.1")
