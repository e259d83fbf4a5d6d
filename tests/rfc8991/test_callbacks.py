"""The event-loop form (RFC 8991 §2.2.1): noReply now, the results later."""

from __future__ import annotations

import queue
import threading

import pytest

from grasp.rfc8991 import errors, objective
from tests.rfc8991.conftest import WAIT_S, negotiable, synchronizable

EX = "EX1"


@pytest.fixture
def registered(pair):
    for each in pair:
        each.register(negotiable(EX))
    return pair


def mailbox():
    """A callback and what takes its calls."""
    calls = queue.Queue()
    return (lambda *results: calls.put(results)), (lambda: calls.get(timeout=WAIT_S))


def test_a_whole_negotiation_without_a_blocking_call(registered):
    a, b = registered
    heard, next_heard = mailbox()
    got, next_got = mailbox()
    assert b.listen_negotiate(negotiable(EX), callback=heard) == (errors.noReply, None, None)
    waiting = a.request_negotiate(negotiable(EX, 10), None, 30_000, callback=got)
    assert waiting == (errors.noReply, None, None, "")
    errorcode, at_b, requested = next_heard()
    assert (errorcode, requested.value) == (errors.ok, 10)
    requested.value = 5
    assert b.negotiate_step(at_b, requested, 30_000, callback=heard) == (errors.noReply, None, None, "")
    errorcode, at_a, offer, _ = next_got()
    assert (errorcode, offer.value) == (errors.ok, 5)
    assert a.end_negotiate(at_a, True) == errors.ok
    errorcode, none, agreed, reason = next_heard()
    assert (errorcode, none, agreed.value, reason) == (errors.ok, None, 5, "")


def test_declining_reaches_the_callback(registered):
    a, b = registered
    heard, next_heard = mailbox()
    got, next_got = mailbox()
    b.listen_negotiate(negotiable(EX), callback=heard)
    a.request_negotiate(negotiable(EX, 10), None, 30_000, callback=got)
    b.end_negotiate(next_heard()[1], False, "closed on Sundays")
    assert next_got() == (errors.declined, None, None, "closed on Sundays")


def test_discovery_and_synchronization_call_back(pair):
    a, b = pair
    b.register(synchronizable("EX2"))
    b.listen_synchronize(synchronizable("EX2", "v"))
    got, following = mailbox()
    a.discovered(objective("EX2"))
    assert a.discover(objective("EX2"), 50, 1, callback=got) == (errors.noReply, [])
    errorcode, (found,) = following()
    assert (errorcode, found.port) == (errors.ok, b.node.port)
    assert a.synchronize(synchronizable("EX2"), found, 30_000, callback=got) == (errors.noReply, None)
    errorcode, result = following()
    assert (errorcode, result.value) == (errors.ok, "v")


def test_failures_call_back_too(pair):
    a, _ = pair
    got, following = mailbox()
    assert a.synchronize(synchronizable("EX2"), None, 50, callback=got)[0] == errors.noReply
    assert following() == (errors.notFloodDisc, None)
    assert a.request_negotiate(negotiable("EX9"), None, 50, callback=got)[0] == errors.noReply
    assert following() == (errors.notObj, None, None, "")


def test_stopping_to_listen_calls_back(registered):
    _, b = registered
    heard, following = mailbox()
    b.listen_negotiate(negotiable(EX), callback=heard)
    pause = threading.Event()
    while not b.asked_here(EX):
        pause.wait(0.001)
    b.stop_listen_negotiate(negotiable(EX))
    assert following() == (errors.noSession, None, None)


def test_a_callback_may_call_everything_and_is_in_a_thread_of_its_own(registered):
    a, b = registered
    done = queue.Queue()

    def serve(errorcode, session, requested):
        if errorcode == errors.ok:
            b.listen_negotiate(negotiable(EX), callback=serve)
            done.put((requested.value, threading.current_thread()))
            b.end_negotiate(session, True)

    b.listen_negotiate(negotiable(EX), callback=serve)
    for value in (1, 2, 3):
        assert a.request_negotiate(negotiable(EX, value), None, 30_000)[:2] == (errors.ok, None)
        seen, thread = done.get(timeout=WAIT_S)
        assert seen == value
        assert thread is not threading.current_thread()


def test_a_callback_that_fails_harms_nobody(agent, caplog):
    a = agent(callbacks=1)
    failed = threading.Event()

    def fail(*_):
        failed.set()
        raise RuntimeError("in the callback")

    assert a.discover(objective(EX), 0, 1, callback=fail)[0] == errors.noReply
    assert failed.wait(WAIT_S)
    got, following = mailbox()
    pause = threading.Event()
    while a.discover(objective(EX), 0, 1, callback=got)[0] == errors.busy:
        pause.wait(0.001)
    assert following() == (errors.ok, [])
    assert "in the callback" in caplog.text


def test_place_is_free_again_after_a_callback(agent):
    a = agent(callbacks=1)
    a.register(negotiable(EX))
    heard, following = mailbox()
    a.listen_negotiate(negotiable(EX), callback=heard)
    assert a.discover(objective(EX), 0, 1, callback=heard) == (errors.busy, [])
    pause = threading.Event()
    while not a.asked_here(EX):
        pause.wait(0.001)
    a.stop_listen_negotiate(negotiable(EX))
    assert following()[0] == errors.noSession
    while a.discover(objective(EX), 0, 1, callback=heard)[0] == errors.busy:
        pause.wait(0.001)
    assert following() == (errors.ok, [])
