"""Negotiations between two nodes (RFC 8991 §2.3.5, §2.2.2)."""

from __future__ import annotations

import time

import pytest

from grasp.rfc8991 import RawCBOR, errors
from tests.rfc8991.conftest import WAIT_S, in_thread, negotiable

EX = "EX1"


@pytest.fixture
def registered(pair):
    for each in pair:
        each.register(negotiable(EX))
    return pair


def opened(a, b, value=None, **kinds):
    """A negotiation that b has taken: (a's result to come, b's session, what a requested)."""
    listening = b.listening(negotiable(EX))
    asked = a.later("request_negotiate", negotiable(EX, value, **kinds), b.locator(a), 30_000)
    errorcode, session, requested = listening.result(WAIT_S)
    assert errorcode == errors.ok
    return asked, session, requested


def test_a_request_that_is_accepted_has_no_session(registered):
    a, b = registered
    asked, session, requested = opened(a, b, {"bandwidth": 10})
    assert (requested.name, requested.negotiate, requested.dryrun, requested.synch) == (EX, True, False, False)
    assert (requested.loop_count, requested.value) == (6, {"bandwidth": 10})
    assert b.end_negotiate(session, True) == errors.ok
    errorcode, none, agreed, reason = asked.result(WAIT_S)
    assert (errorcode, none, agreed.value, reason) == (errors.ok, None, {"bandwidth": 10}, "")
    assert b.end_negotiate(session, True) == errors.noSession


def test_a_peer_is_discovered_when_none_is_given(registered):
    a, b = registered
    listening = b.listening(negotiable(EX))
    asked = a.later("request_negotiate", negotiable(EX, 1), None, 30_000)
    _, session, _ = listening.result(WAIT_S)
    b.end_negotiate(session, True)
    assert asked.result(WAIT_S)[:2] == (errors.ok, None)


def test_steps_alternate_until_one_side_ends(registered):
    a, b = registered
    asked, at_b, seen = opened(a, b, 100)
    bids = [seen.value]
    seen.value = 40
    stepped = b.later("negotiate_step", at_b, seen, 30_000)
    errorcode, at_a, offer, reason = asked.result(WAIT_S)
    assert (errorcode, offer.value, offer.loop_count, reason) == (errors.ok, 40, 5, "")
    assert at_a is not None
    bids.append(offer.value)
    offer.value = 70
    answered = a.later("negotiate_step", at_a, offer, 30_000)
    errorcode, same, counter, _ = stepped.result(WAIT_S)
    assert (errorcode, same, counter.value, counter.loop_count) == (errors.ok, at_b, 70, 4)
    assert b.end_negotiate(at_b, True) == errors.ok
    errorcode, none, agreed, _ = answered.result(WAIT_S)
    assert (errorcode, none, agreed.value) == (errors.ok, None, 70)


def test_declining_gives_the_reason(registered):
    a, b = registered
    for given, received in (("no capacity before 18:00 ☹", "no capacity before 18:00 ☹"), ("", ""), (None, "")):
        asked, session, _ = opened(a, b, 1)
        assert b.end_negotiate(session, False, given) == errors.ok
        assert asked.result(WAIT_S) == (errors.declined, None, None, received)


def test_the_reason_is_ignored_on_acceptance(registered):
    a, b = registered
    asked, session, _ = opened(a, b, 1)
    assert b.end_negotiate(session, True, "because") == errors.ok
    assert asked.result(WAIT_S)[0] == errors.ok


def test_waiting_prolongs_the_peers_timeout(registered):
    a, b = registered
    listening = b.listening(negotiable(EX))
    start = time.monotonic()
    asked = a.later("request_negotiate", negotiable(EX, 1), b.locator(a), 4_000)
    _, session, _ = listening.result(WAIT_S)
    assert b.negotiate_wait(session, 30_000) == errors.ok
    with pytest.raises(TimeoutError):
        # Longer than the request would have waited by itself.
        asked.result(4.5)
    assert b.end_negotiate(session, True) == errors.ok
    assert asked.result(WAIT_S)[0] == errors.ok
    assert 4.5 <= time.monotonic() - start < WAIT_S


def test_a_peer_that_says_nothing_times_out(registered):
    a, b = registered
    listening = b.listening(negotiable(EX))
    assert a.request_negotiate(negotiable(EX, 1), b.locator(a), 500) == (errors.noNegReply, None, None, "")
    _, session, requested = listening.result(WAIT_S)
    assert b.negotiate_step(session, requested, 30_000)[0] in (errors.noPeer, errors.sockErrNegStep)


def test_the_loop_count_ends_a_negotiation_at_both_ends(registered):
    a, b = registered
    asked, at_b, seen = opened(a, b, 1, loop_count=3)
    stepped = b.later("negotiate_step", at_b, seen, 30_000)
    _, at_a, offer, _ = asked.result(WAIT_S)
    assert offer.loop_count == 2
    answered = a.later("negotiate_step", at_a, offer, 30_000)
    _, at_b, counter, _ = stepped.result(WAIT_S)
    assert counter.loop_count == 1
    assert b.negotiate_step(at_b, counter, 30_000) == (errors.loopExhausted, None, None, "")
    assert answered.result(WAIT_S)[0] == errors.noPeer
    assert b.end_negotiate(at_b, False) == errors.noSession


def test_an_asa_cannot_raise_the_loop_count_of_a_session(registered):
    a, b = registered
    asked, at_b, seen = opened(a, b, 1, loop_count=3)
    seen.loop_count = 200
    stepped = b.later("negotiate_step", at_b, seen, 30_000)
    _, at_a, offer, _ = asked.result(WAIT_S)
    assert offer.loop_count == 2
    a.end_negotiate(at_a, True)
    stepped.result(WAIT_S)


def test_dry_runs_and_others_do_not_mix_in_one_session(registered):
    a, b = registered
    asked, session, requested = opened(a, b, 1, dryrun=True)
    assert requested.dryrun
    assert b.negotiate_step(session, negotiable(EX, 2), 30_000) == (errors.badArgument, None, None, "")
    stepped = b.later("negotiate_step", session, negotiable(EX, 2, dryrun=True), 30_000)
    _, at_a, offer, _ = asked.result(WAIT_S)
    assert offer.dry
    assert a.end_negotiate(at_a, True) == errors.ok
    assert stepped.result(WAIT_S)[:2] == (errors.ok, None)


def test_simultaneous_sessions_of_the_same_two_are_not_mixed_up(registered):
    """RFC 8991 §2.2.2: B asks A for a second quantity while the first is still negotiated."""
    a, b = registered
    sessions = {}
    for value in (10, 20, 30):
        asked, session, requested = opened(a, b, value)
        assert requested.value == value
        sessions[value] = asked, session, requested
    assert len({session for _, session, _ in sessions.values()}) == 3
    steps = {}
    for value in (20, 30, 10):
        _, session, requested = sessions[value]
        requested.value = value + 1
        steps[value] = b.later("negotiate_step", session, requested, 30_000)
    for value in (30, 10, 20):
        errorcode, session, offer, _ = sessions[value][0].result(WAIT_S)
        assert (errorcode, offer.value) == (errors.ok, value + 1)
        assert a.end_negotiate(session, value != 10, "too much") == errors.ok
    for value in (10, 20, 30):
        errorcode, none, agreed, reason = steps[value].result(WAIT_S)
        if value == 10:
            assert (errorcode, none, agreed, reason) == (errors.declined, None, None, "too much")
        else:
            assert (errorcode, none, agreed.value) == (errors.ok, None, value + 1)


def test_a_session_belongs_to_its_asa(registered):
    a, b = registered
    asked, session, requested = opened(a, b, 1)
    _, other = b.functions.register_asa("other")
    assert b.functions.end_negotiate(other, session, True) == errors.noSession
    assert b.functions.negotiate_step(other, session, requested, 1)[0] == errors.noSession
    assert b.end_negotiate(session, True) == errors.ok
    assert asked.result(WAIT_S)[0] == errors.ok


def test_send_invalid_ends_the_session(registered):
    a, b = registered
    asked, session, _ = opened(a, b, 1)
    assert b.send_invalid(session, bytes(5000)) == errors.ok
    assert asked.result(WAIT_S) == (errors.noValidStep, None, None, "")
    assert b.send_invalid(session) == errors.noSession


def test_listening_is_stopped_from_another_thread(registered):
    a, b = registered
    listening = [b.listening(negotiable(EX)), b.later("listen_negotiate", negotiable(EX))]
    # The second may not listen yet; then it listens anew, and has to be stopped as well.
    while not all(each.done() for each in listening):
        assert b.stop_listen_negotiate(negotiable(EX)) == errors.ok
        time.sleep(0.001)
    assert [each.result() for each in listening] == [(errors.noSession, None, None)] * 2
    assert not b.asked_here(EX)
    assert a.request_negotiate(negotiable(EX, 1), b.locator(a), 30_000)[0] == errors.noPeer


def test_deregistering_ends_everything_of_the_asa(registered):
    a, b = registered
    asked, session, requested = opened(a, b, 1)
    listening = b.listening(negotiable(EX))
    stepped = b.later("negotiate_step", session, requested, 30_000)
    _, at_a, _, _ = asked.result(WAIT_S)
    assert b.deregister_asa("B") == errors.ok
    assert listening.result(WAIT_S)[0] == errors.noSession
    assert stepped.result(WAIT_S)[0] in (errors.noPeer, errors.noSession)
    assert a.negotiate_step(at_a, negotiable(EX, 2), 30_000)[0] in (errors.noPeer, errors.sockErrNegStep)
    assert b.listen_negotiate(negotiable(EX)) == (errors.noASA, None, None)


def test_many_threads_may_listen_for_one_objective(registered):
    a, b = registered
    listening = [b.listening(negotiable(EX)), *(b.later("listen_negotiate", negotiable(EX)) for _ in range(3))]
    asked = [a.later("request_negotiate", negotiable(EX, value), b.locator(a), 30_000) for value in range(4)]
    seen = []
    for each in listening:
        errorcode, session, requested = each.result(WAIT_S)
        assert errorcode == errors.ok
        seen.append(requested.value)
        b.end_negotiate(session, True)
    assert sorted(seen) == [0, 1, 2, 3]
    assert [each.result(WAIT_S)[2].value for each in asked] == [0, 1, 2, 3]


# {"a": 1, "b": [2, false]}
RAW = bytes.fromhex("a261610161628202f4")


def test_raw_cbor_passes_through_both_ways(registered):
    """RFC 8991 §2.3.2.4: there is always an option to use a raw CBOR data item as the value."""
    a, b = registered
    asked, session, requested = opened(a, b, RawCBOR(RAW))
    assert type(requested.value) is RawCBOR
    assert requested.value == RAW
    assert requested.value.decode_item() == {"a": 1, "b": [2, False]}
    requested.value = RawCBOR(b"\xf6")
    stepped = b.later("negotiate_step", session, requested, 30_000)
    _, at_a, offer, _ = asked.result(WAIT_S)
    assert type(offer.value) is RawCBOR
    assert offer.value == b"\xf6"
    a.end_negotiate(at_a, True)
    assert stepped.result(WAIT_S)[2].value == RawCBOR(b"\xf6")


def test_an_objective_may_be_changed_as_soon_as_the_call_has_returned(registered):
    a, b = registered
    listening = b.listening(negotiable(EX))
    asked = negotiable(EX, [1])
    answers = []
    errorcode, *_ = a.request_negotiate(asked, b.locator(a), 30_000, callback=lambda *r: answers.append(r))
    assert errorcode == errors.noReply
    asked.value.append(2)
    _, session, requested = listening.result(WAIT_S)
    assert requested.value == [1]
    b.end_negotiate(session, True)


@pytest.mark.parametrize("count", [24])
def test_sessions_from_many_threads(registered, count):
    a, b = registered

    def serve():
        for _ in range(count):
            _, session, requested = b.listen_negotiate(negotiable(EX))
            requested.value *= 2
            in_thread(lambda s=session, r=requested: b.negotiate_step(s, r, 30_000))

    served = in_thread(serve)
    while not b.asked_here(EX):
        time.sleep(0.001)
    asked = [a.later("request_negotiate", negotiable(EX, n), b.locator(a), 30_000) for n in range(count)]
    for n, each in enumerate(asked):
        errorcode, session, offer, _ = each.result(WAIT_S)
        assert (errorcode, offer.value) == (errors.ok, 2 * n)
        assert a.end_negotiate(session, True) == errors.ok
    served.result(WAIT_S)
