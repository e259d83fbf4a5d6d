"""Rules of u32 end by themselves: whatever happens to the agent, and whoever comes after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asa.dataplane.tc.classifier import Rule
from asa.dataplane.u32.classifier import U32
from asa.dataplane.u32.warden import HELLO, NAME, TOLD
from asa.dataplane.u32.warden_call import WardenCall
from lab import Host, Lab, unavailable_reason
from tests.dataplane.u32_box import DEVICE, LINE, eventually, filters, match, pair, shape, spot, wardens

SHORT_S = 2
LONG_S = 600
FIRST, SECOND, THIRD = (spot(match(None, f"10.0.0.{each}/32")) for each in (2, 3, 4))

OWNER = """
import os, sys, time
from asa.dataplane.tc.classifier import Rule
from asa.dataplane.u32.classifier import U32
from tests.dataplane.test_warden import FIRST, SECOND, THIRD, LINE, LONG_S, SHORT_S
u32 = U32()
now = time.time()
if sys.argv[1] == "install":
    rules = {FIRST: Rule(0x10, None, now + SHORT_S), SECOND: Rule(0x11, None, now + LONG_S)}
    assert u32.change((), rules | {THIRD: Rule(0x12, None, None)}) == {}
    if len(sys.argv) > 2:
        os.execv(sys.executable, [sys.executable, "-c", os.environ["OWNER"], "renew"])
else:
    found, wrong, _ = u32.read([LINE])
    assert len(found) == 3 and wrong == {LINE.name: ""}, (found, wrong)
    assert u32.change((), {FIRST: Rule(0x10, None, now + LONG_S)}) == {}
print("done", flush=True)
time.sleep(600)
"""

FOREIGN = "parent a5a: pref 5 protocol ip u32 match ip dport 4000 0xffff flowid a5a:1e"

NOBODY = f"""
import os, socket, time
os.setgid(65534); os.setuid(65534)
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.settimeout(10)
name = {NAME!r}
"""
SQUATTER = """
link.bind(name)
link.listen()
print("done", flush=True)
time.sleep(600)
"""
STRANGER = """
link.connect(name)
print(link.recv(1))
"""
needs_users = pytest.mark.skipif("4294967295" not in Path("/proc/self/uid_map").read_text(), reason="one user only")


@pytest.fixture
def host() -> Iterator[Host]:
    if why := unavailable_reason():
        pytest.skip(why)
    with Lab() as lab:
        here, _ = pair(lab)
        shape(here)
        yield here


def owner(host: Host, *words: str) -> subprocess.Popen[str]:
    process = host.python(
        "-c", OWNER, *words, stdout=subprocess.PIPE, text=True, env=os.environ | {"OWNER": OWNER, "PYTHONPATH": "."}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    return process


def rules(host: Host) -> set[object]:
    with host.entered():
        found, _, _ = U32().read([LINE])
    return set(found)


def test_after_the_agents_end_each_rule_goes_when_it_expires(host: Host) -> None:
    process = owner(host, "install")
    assert rules(host) == {FIRST, SECOND, THIRD}
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(wardens(host)) == 1
    eventually(lambda: rules(host) == {SECOND, THIRD})
    # One rule expires still.
    assert len(wardens(host)) == 1
    with host.entered():
        u32 = U32()
        u32.read([LINE])
        assert u32.change([SECOND], {}) == {}
        u32.prepare([LINE])
        u32.close()
    assert rules(host) == {THIRD}


def test_a_hung_agent_is_no_more_generous_than_a_dead_one(host: Host) -> None:
    process = owner(host, "install")
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: rules(host) == {SECOND, THIRD})


def test_what_a_successor_renewed_stays(host: Host) -> None:
    process = owner(host, "install")
    process.send_signal(signal.SIGKILL)
    process.wait()
    successor = owner(host, "renew")
    # Until it would have been removed, had it not been renewed.
    time.sleep(SHORT_S + 1)
    assert rules(host) == {FIRST, SECOND, THIRD}
    assert len(wardens(host)) == 1
    assert successor.poll() is None


def test_the_program_may_be_replaced_in_the_agents_process(host: Host) -> None:
    process = owner(host, "install", "replaced")
    # Until it would have been removed, had it not been renewed.
    time.sleep(SHORT_S + 1)
    assert rules(host) == {FIRST, SECOND, THIRD}
    assert len(wardens(host)) == 1
    # Nothing is left that nobody reaps.
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
        pids = [int(each) for each in children.read().split()]
    assert pids == []


def test_there_is_one_warden_for_all_and_it_ends_when_nothing_is_left_to_do(host: Host) -> None:
    with host.entered():
        agents = [U32(), U32()]
        for at, u32 in enumerate(agents):
            assert u32.change((), {(FIRST, SECOND)[at]: Rule(0x10, None, time.time() + LONG_S)}) == {}
        assert len(wardens(host)) == 1
        agents[0].clear()
        for u32 in agents:
            u32.close()
    eventually(lambda: wardens(host) == [])


def test_a_warden_that_is_gone_is_missed_and_replaced(host: Host) -> None:
    with host.entered():
        u32 = U32()
        assert u32.change((), {FIRST: Rule(0x10, None, time.time() + SHORT_S)}) == {}
        (pid,) = wardens(host)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: wardens(host) == [])
        found, wrong, _ = u32.read([LINE])
        assert set(found) == {FIRST}
        assert wrong == {LINE.name: "no process watches when rules expire"}
        assert u32.prepare([LINE]) == {}
        assert u32.read([LINE])[1] == {LINE.name: ""}
        eventually(lambda: u32.read([LINE])[0] == {})
        # What expired is no stray, as far as it is still there.
        assert list(u32.read([LINE])[2]) == []
        u32.close()


def test_only_what_expired_goes_and_a_rule_without_end_stays(host: Host) -> None:
    with host.entered():
        u32 = U32()
        now = time.time()
        wanted = {
            spot(match(None, f"10.1.{at // 256}.{at % 256}/32")): Rule(0x10, None, now + (1 if at % 2 else LONG_S))
            for at in range(1_000)
        }
        assert u32.change((), wanted | {THIRD: Rule(0x12, None, None)}) == {}
        host.run(["tc", "-batch", "-"], input=f"filter add dev {DEVICE} {FOREIGN}\n")
        lasting = {each for each, rule in wanted.items() if rule.expires == now + LONG_S}
        eventually(lambda: set(u32.read([LINE])[0]) == lasting | {THIRD})
        # Renewing what the warden has removed puts it in place anew.
        assert u32.change((), {each: Rule(0x10, None, now + LONG_S) for each in wanted}) == {}
        assert set(u32.read([LINE])[0]) == {*wanted, THIRD}
        u32.close()
    assert "pref 5 " in filters(host)


@needs_users
def test_where_somebody_else_has_the_wardens_name_no_rule_that_expires_is_installed(host: Host) -> None:
    process = host.python("-c", NOBODY + SQUATTER, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    with host.entered():
        u32 = U32()
        lasting = {SECOND: Rule(0x11, None, None)}
        refused = u32.change((), {FIRST: Rule(0x10, None, time.time() + LONG_S)} | lasting)
        assert list(refused) == [FIRST]
        assert "another user" in refused[FIRST]
        assert u32.read([LINE])[0] == lasting


@needs_users
def test_a_warden_hears_agents_only_and_survives_nonsense(host: Host) -> None:
    with host.entered():
        call = WardenCall()
        call.tell(time.time() + LONG_S)
        (pid,) = wardens(host)
        links = []
        for said in (b"", b"x", bytes(100), TOLD.pack(float("nan")), TOLD.pack(float("-inf")), TOLD.pack(0)):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            link.settimeout(10)
            link.connect(NAME)
            assert link.recv(1) == HELLO
            link.send(said)
            links.append(link)
        for link in links:
            link.close()
        assert call.present()
        told = host.run([sys.executable, "-c", NOBODY + STRANGER])
        assert told.stdout == "b''\n"
        assert wardens(host) == [pid]
        call.close()
    eventually(lambda: wardens(host) == [])
