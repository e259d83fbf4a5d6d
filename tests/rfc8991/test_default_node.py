"""The node behind the module's functions: configured, started by the first ASA, stopped at the end."""

from __future__ import annotations

import queue
import socket
import subprocess
import threading
import time

import pytest

import grasp
from grasp import rfc8991
from grasp.rfc8991 import errors
from tests.rfc8991.conftest import WAIT_S, in_thread, negotiable, synchronizable

EX = "EX1"


def threads():
    return [each for each in threading.enumerate() if each.name.startswith("grasp")]


def gone(seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while threads():
        assert time.monotonic() < deadline, threads()
        time.sleep(0.002)


def test_it_starts_with_the_first_asa_and_not_before(default_node):
    assert threads() == []
    assert default_node.register_asa(7) == (errors.badArgument, None)
    assert threads() == []
    errorcode, first = default_node.register_asa("first")
    assert errorcode == errors.ok
    assert threads() != []
    errorcode, second = default_node.register_asa("second")
    assert errorcode == errors.ok
    assert first != second


def test_the_arguments_are_those_of_a_node(default_node):
    with pytest.raises(grasp.LocalError) as wrong:
        default_node.configure(["eth0"], port=70_000)
    assert wrong.value.code is errors.badArgument
    with pytest.raises(TypeError):
        default_node.configure(colour="blue")
    default_node.configure(["eth0"], limits=grasp.Limits(asas=1))
    default_node.register_asa("one")
    assert default_node.register_asa("two") == (errors.ASAfull, None)


def test_it_is_not_configured_while_it_is_in_use(default_node):
    default_node.register_asa("A")
    with pytest.raises(grasp.LocalError, match="shutdown"):
        default_node.configure(["eth0"])
    default_node.shutdown()
    default_node.configure(["eth0"])


def test_a_socket_that_is_taken(default_node):
    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        default_node.configure(["eth0"], port=taken.getsockname()[1])
        assert default_node.register_asa("A") == (errors.noSocket, None)
    errorcode, _ = default_node.register_asa("A")
    assert errorcode == errors.ok


def test_shutdown_ends_what_waits_and_what_is_pending(default_node):
    _, handle = default_node.register_asa("A")
    default_node.register_objective(handle, negotiable(EX))
    default_node.register_objective(handle, negotiable("EX2"))
    pending = queue.Queue()
    default_node.listen_negotiate(handle, negotiable("EX2"), callback=lambda *r: pending.put(r))
    waiting = in_thread(lambda: default_node.listen_negotiate(handle, negotiable(EX)))
    _, other = default_node.register_asa("other")
    for name in (EX, "EX2"):
        while not default_node.discover(other, negotiable(name), 0, 1)[1]:
            time.sleep(0.001)
    default_node.shutdown()
    assert pending.get_nowait() == (errors.stopped, None, None)
    assert waiting.result(WAIT_S) == (errors.stopped, None, None)
    default_node.shutdown()
    assert default_node.get_flood(handle, synchronizable("EX3")) == (errors.noASA, None)
    gone()


def test_after_shutdown_it_starts_anew_and_old_handles_are_void(default_node):
    _, old = default_node.register_asa("A")
    default_node.shutdown()
    errorcode, new = default_node.register_asa("A")
    assert errorcode == errors.ok
    assert default_node.register_objective(old, negotiable(EX)) == errors.noASA
    assert default_node.register_objective(new, negotiable(EX)) == errors.ok


def test_a_callback_may_shut_it_down(default_node):
    _, handle = default_node.register_asa("A")
    done = threading.Event()

    def stop(*_):
        rfc8991.shutdown()
        done.set()

    default_node.discover(handle, negotiable(EX), 0, 1, callback=stop)
    assert done.wait(WAIT_S)
    gone()


def test_many_threads_register_at_once_and_one_node_starts(default_node):
    codes = [in_thread(lambda n=n: rfc8991.register_asa(f"ASA {n}")) for n in range(16)]
    results = [each.result(WAIT_S) for each in codes]
    assert {errorcode for errorcode, _ in results} == {errors.ok}
    assert len({handle for _, handle in results}) == 16
    assert sum(each.name == "grasp-multicast" for each in threads()) == 1


PROGRAM = """
import sys, threading
from grasp import rfc8991 as grasp
from grasp.rfc8991 import errors

grasp.configure(["eth0"])
errorcode, handle = grasp.register_asa("program")
wanted = grasp.objective("EX1")
wanted.neg = True
wanted.value = 1
assert grasp.register_objective(handle, wanted) == errors.ok
# Calls that still wait must not keep the process.
grasp.listen_negotiate(handle, wanted, callback=print)
threading.Thread(target=grasp.listen_negotiate, args=(handle, wanted), daemon=True).start()
errorcode, session, offer, reason = grasp.request_negotiate(handle, wanted, None, 30_000)
assert errorcode == errors.ok, grasp.error_text(errorcode)
sys.exit(offer.value)
"""


def test_a_process_that_exits_has_deregistered(hosts, agent):
    """RFC 8991 §2.3.3: the actions of deregister_asa "must also happen automatically if an ASA exits"."""
    b = agent(1)
    b.register(negotiable(EX))
    listening = b.listening(negotiable(EX))
    process = hosts[0].python("-c", PROGRAM, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    errorcode, session, offer = listening.result(WAIT_S)
    assert errorcode == errors.ok
    offer.value = 42
    # It exits in the middle of the session, which ends at once and not by a timeout.
    assert b.negotiate_step(session, offer, 30_000)[0] == errors.noPeer
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 42, err
    assert "Traceback" not in err
    assert out.strip() == f"{errors.stopped} None None"
