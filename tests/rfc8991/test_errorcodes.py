"""Every errorcode that can be provoked, provoked.

Missing: ``notOverlap`` (overlap is supported), ``IDclash`` (an incoming clash is discarded unseen, RFC 8990
§2.8.6), ``invalidEnd`` (an M_END is well-formed, or it is no message: ``CBORfail``).
"""

from __future__ import annotations

import threading

import pytest

import grasp
from grasp.rfc8991 import Functions, errors, objective, tagged_objective
from grasp.wire import End, Invalid, Negotiation, Objective, Synchronization, Wait
from grasp.wire.message import Accept
from tests.rfc8991.conftest import (
    WAIT_S,
    connected,
    link_locator,
    negotiable,
    reset,
    send,
    synchronizable,
)

NEG, SYN = "EX1", "EX2"


# -- registration


def test_registration_codes(agent):
    a = agent(limits=grasp.Limits(asas=2, objectives=2))
    functions = a.functions
    assert functions.register_asa("A") == (errors.dupASA, None)
    assert functions.register_asa("") == (errors.badArgument, None)
    errorcode, other = functions.register_asa("other")
    assert errorcode == errors.ok
    assert functions.register_asa("third") == (errors.ASAfull, None)
    assert functions.deregister_asa(other, "A") == errors.notYourASA
    assert functions.deregister_asa(other ^ 1, "other") == errors.noASA

    both = negotiable(NEG)
    both.synch = True
    assert a.register_objective(both) == errors.notBoth
    dry = synchronizable(SYN)
    dry.dryrun = True
    assert a.register_objective(dry) == errors.notDry
    assert a.register_objective(negotiable(NEG)) == errors.ok
    assert a.register_objective(negotiable(NEG)) == errors.objReg
    assert functions.register_objective(other, negotiable(NEG)) == errors.objReg
    assert functions.deregister_objective(other, negotiable(NEG)) == errors.notYourObj
    assert functions.deregister_objective(other, negotiable("EX9")) == errors.notObj
    assert a.register_objective(synchronizable(SYN)) == errors.ok
    assert a.register_objective(negotiable("EX3")) == errors.objFull

    assert functions.deregister_asa(other, "other") == errors.ok
    assert functions.register_objective(other, negotiable("EX4")) == errors.noASA
    assert a.deregister_objective(negotiable(NEG)) == errors.ok
    assert a.deregister_objective(negotiable(NEG)) == errors.notObj


def test_overlapping_registrations(agent):
    a = agent()
    _, other = a.functions.register_asa("other")
    assert a.register_objective(negotiable(NEG), overlap=True) == errors.ok
    assert a.functions.register_objective(other, negotiable(NEG), overlap=True) == errors.ok


def test_a_node_that_must_be_secure_and_is_not(hosts):
    with hosts[0].entered(), grasp.Node(["eth0"], require_security=True) as node:
        assert Functions(node.calls).register_asa("A") == (errors.noSecurity, None)


def test_a_stopped_node(agent):
    a = agent()
    a.register(negotiable(NEG))
    listening = a.listening(negotiable(NEG))
    a.node.stop()
    assert listening.result(WAIT_S) == (errors.stopped, None, None)
    assert a.functions.register_asa("later") == (errors.stopped, None)


# -- which objective for which function


def test_negotiation_and_synchronization_are_told_apart(agent):
    a = agent()
    neg, syn = negotiable(NEG), synchronizable(SYN)
    a.register(neg, syn)
    plain = objective(NEG)
    for wrong in (syn, plain):
        assert a.request_negotiate(wrong, None, 1) == (errors.notNeg, None, None, "")
        assert a.listen_negotiate(wrong) == (errors.notNeg, None, None)
    assert a.stop_listen_negotiate(syn) == errors.notNeg
    for wrong in (neg, plain):
        assert a.synchronize(wrong, None, 1) == (errors.notSynch, None)
        assert a.listen_synchronize(wrong) == errors.notSynch
        assert a.get_flood(wrong) == (errors.notSynch, None)
        assert a.flood(1, [tagged_objective(wrong)]) == errors.notSynch
    assert a.stop_listen_synchronize(neg) == errors.notSynch


def test_only_what_is_registered_is_transmitted(agent):
    a = agent()
    _, other = a.functions.register_asa("other")
    assert a.functions.register_objective(other, negotiable(NEG)) == errors.ok
    assert a.functions.register_objective(other, synchronizable(SYN)) == errors.ok
    assert a.request_negotiate(negotiable("EX9"), None, 1)[0] == errors.notObj
    assert a.request_negotiate(negotiable(NEG), None, 1)[0] == errors.notYourObj
    assert a.listen_negotiate(negotiable(NEG))[0] == errors.notYourObj
    assert a.listen_synchronize(synchronizable(SYN)) == errors.notYourObj
    assert a.flood(1, [tagged_objective(synchronizable(SYN))]) == errors.notYourObj
    assert a.flood(1, [tagged_objective(synchronizable("EX9"))]) == errors.notObj


# -- what peers do


def test_nobody_answers_discovery(agent):
    a = agent()
    neg, syn = negotiable(NEG), synchronizable(SYN)
    a.register(neg, syn)
    assert a.request_negotiate(neg, None, 50) == (errors.noDiscReply, None, None, "")
    assert a.synchronize(syn, None, 50) == (errors.notFloodDisc, None)


def test_nothing_listens_on_the_port(agent, scripted):
    a = agent()
    neg, syn = negotiable(NEG), synchronizable(SYN)
    a.register(neg, syn)
    peer = link_locator(scripted.host, scripted.port, a.host)
    scripted.close()
    assert a.request_negotiate(neg, peer, 30_000) == (errors.sockErrNegRq, None, None, "")
    assert a.synchronize(syn, peer, 30_000) == (errors.sockErrSynRq, None)


def test_the_peer_has_no_asa_that_listens(pair):
    a, b = pair
    neg, syn = negotiable(NEG), synchronizable(SYN)
    a.register(neg, syn)
    b.register(neg, syn)
    assert a.request_negotiate(neg, b.locator(a), 30_000) == (errors.noPeer, None, None, "")
    assert a.synchronize(syn, b.locator(a), 30_000) == (errors.noListener, None)


OTHER = Objective.negotiation("EX7", 1)

ANSWERS = {
    "silence": (None, errors.noNegReply),
    "close": (lambda c, _: c.close(), errors.noPeer),
    "no CBOR": (lambda c, _: c.sendall(b"\xff"), errors.CBORfail),
    "no message": (lambda c, _: c.sendall(b"\x81\x18\x2a"), errors.CBORfail),
    "other objective": (lambda c, m: send(c, Negotiation(m.session_id, OTHER)), errors.invalidNeg),
    "M_INVALID": (lambda c, m: send(c, Invalid(m.session_id)), errors.noValidStep),
    "other session": (lambda c, m: send(c, End(m.session_id ^ 1, Accept())), errors.noValidStep),
    "wrong message": (lambda c, m: send(c, Synchronization(m.session_id, OTHER)), errors.noValidStep),
    "wait, then silence": (lambda c, m: send(c, Wait(m.session_id, 50)), errors.noNegReply),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_peer_can_do_to_a_request(agent, scripted, answer):
    script, code = ANSWERS[answer]
    a = agent()
    a.register(negotiable(NEG))
    scripted.meet(script or (lambda _c, _m: None))
    peer = link_locator(scripted.host, scripted.port, a.host)
    timeout = 500 if code == errors.noNegReply else 30_000
    assert a.request_negotiate(negotiable(NEG, 1), peer, timeout) == (code, None, None, "")


SYNCH_ANSWERS = {
    "silence": (None, errors.noSynchReply),
    "close": (lambda c, _: c.close(), errors.noListener),
    "no CBOR": (lambda c, _: c.sendall(b"\xff"), errors.CBORfail),
    "M_INVALID": (lambda c, m: send(c, Invalid(m.session_id)), errors.noValidSynch),
    "other objective": (lambda c, m: send(c, Synchronization(m.session_id, OTHER)), errors.noValidSynch),
}


@pytest.mark.parametrize("answer", SYNCH_ANSWERS)
def test_what_a_peer_can_do_to_a_synchronization(agent, scripted, answer):
    script, code = SYNCH_ANSWERS[answer]
    a = agent()
    scripted.meet(script or (lambda _c, _m: None))
    peer = link_locator(scripted.host, scripted.port, a.host)
    timeout = 500 if code == errors.noSynchReply else 30_000
    assert a.synchronize(synchronizable(SYN), peer, timeout) == (code, None)


BROKEN = {
    "negotiate_step": (lambda a, s, o: a.negotiate_step(s, o, 30_000)[0], errors.sockErrNegStep),
    "negotiate_wait": (lambda a, s, o: a.negotiate_wait(s, 1000), errors.sockErrWait),
    "end_negotiate": (lambda a, s, o: a.end_negotiate(s, True), errors.sockErrEnd),
    "send_invalid": (lambda a, s, o: a.send_invalid(s, b"?"), errors.sockErrEnd),
}


@pytest.mark.parametrize("function", BROKEN)
def test_the_connection_breaks_within_a_negotiation(agent, scripted, function):
    call, code = BROKEN[function]
    a = agent()
    a.register(negotiable(NEG))
    answered, broken = threading.Event(), threading.Event()

    def script(connection, message):
        send(connection, Negotiation(message.session_id, message.objective.with_loop_count(5)))
        assert answered.wait(WAIT_S)
        reset(connection)
        broken.set()

    scripted.meet(script)
    peer = link_locator(scripted.host, scripted.port, a.host)
    errorcode, session, offer, _ = a.request_negotiate(negotiable(NEG, 1), peer, 30_000)
    assert errorcode == errors.ok
    answered.set()
    assert broken.wait(WAIT_S)
    pause = threading.Event()
    while connected(a.host, scripted.port):
        pause.wait(0.001)
    assert call(a, session, offer) == code
    assert a.negotiate_wait(session, 1) == errors.noSession


# -- bounds


def test_one_session_more_than_allowed(agent, scripted):
    a = agent(limits=grasp.Limits(sessions=1))
    a.register(negotiable(NEG))
    scripted.meet(lambda c, m: send(c, Negotiation(m.session_id, m.objective.with_loop_count(5))))
    peer = link_locator(scripted.host, scripted.port, a.host)
    errorcode, session, _, _ = a.request_negotiate(negotiable(NEG, 1), peer, 30_000)
    assert errorcode == errors.ok
    assert a.request_negotiate(negotiable(NEG, 1), peer, 30_000) == (errors.busy, None, None, "")
    assert a.end_negotiate(session, False) == errors.ok


def test_one_callback_more_than_allowed(agent):
    a = agent(callbacks=1)
    a.register(negotiable(NEG))
    results = []
    assert a.listen_negotiate(negotiable(NEG), callback=lambda *r: results.append(r)) == (errors.noReply, None, None)
    assert a.discover(negotiable(NEG), 0, 1, callback=results.append) == (errors.busy, [])
    assert results == []


def test_longer_than_a_message_may_be(agent, scripted):
    a = agent()
    neg, syn = negotiable(NEG, b"x" * 2048), synchronizable(SYN, b"x" * 2048)
    a.register(neg, syn)
    peer = link_locator(scripted.host, scripted.port, a.host)
    assert a.request_negotiate(neg, peer, 30_000) == (errors.tooLong, None, None, "")
    assert a.listen_synchronize(syn) == errors.tooLong
    assert a.flood(1, [tagged_objective(synchronizable(SYN, b"x" * 1232))]) == errors.tooLong


def test_a_flood_that_no_link_takes(agent):
    a = agent(interfaces=["eth7"])
    syn = synchronizable(SYN, 1)
    a.register(syn)
    assert a.flood(0, [tagged_objective(syn)]) == errors.noInterface
    _, (kept,) = a.get_flood(syn)
    assert kept.objective.value == 1


def test_steps_run_out(agent):
    a = agent()
    a.register(negotiable(NEG), synchronizable(SYN))
    assert a.request_negotiate(negotiable(NEG, 1, loop_count=0), None, 1)[0] == errors.loopExhausted
    spent = synchronizable(SYN)
    spent.loop_count = 0
    assert a.flood(1, [tagged_objective(spent)]) == errors.loopExhausted
