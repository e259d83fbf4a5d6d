from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from lab import Capture, Host, Lab, unavailable_reason

PORT = 7017
ROOT = Path(__file__).parent.parent


def pings(host: Host, *argv: str) -> bool:
    return host.run(["ping", "-6", "-n", "-c", "1", "-W", "2", *argv], check=False).returncode == 0


def namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listed.stdout.splitlines()}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def eventually(condition, timeout: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_linked_hosts_reach_each_other_by_link_local_address(lab):
    a, b = lab.host("a"), lab.host("b")
    assert lab.link(a, b) == ("eth0", "eth0")
    assert IPv6Address(b.link_local("eth0")).is_link_local
    assert pings(a, f"{b.link_local('eth0')}%eth0")


def test_interfaces_are_numbered_in_order_of_creation(lab):
    a, b, c = map(lab.host, "abc")
    assert lab.link(a, b) == ("eth0", "eth0")
    assert lab.link(b, c) == ("eth1", "eth0")
    assert lab.lan(a, b, c) == ("eth1", "eth2", "eth1")


def test_multicast_reaches_every_host_on_a_lan_once(lab):
    a, b, c = map(lab.host, "abc")
    lab.lan(a, b, c)
    with Capture(b, "eth0") as at_b, Capture(c, "eth0") as at_c:
        with a.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            scope = socket.if_nametoindex("eth0")
            sender.sendto(b"everyone", ("ff02::13", PORT, 0, scope))
        assert eventually(lambda: at_b.packets(PORT) and at_c.packets(PORT))
    for capture in at_b, at_c:
        (heard,) = capture.packets(PORT)
        assert heard.payload == b"everyone"
        assert heard.source[0] == a.link_local("eth0")
        assert heard.destination == ("ff02::13", PORT)


def test_hosts_of_different_links_do_not_hear_each_other(lab):
    a, b, c = map(lab.host, "abc")
    lab.link(a, b)
    lab.link(b, c)
    assert not pings(a, "-W", "0.2", f"{c.link_local('eth0')}%eth0")


def test_a_chain_routes_between_its_ends_hop_by_hop(lab):
    *_, last = hosts = lab.chain(4)
    first = hosts[0]
    assert last.addresses() == ["fd00:0:0:2::2"]
    assert pings(first, "fd00:0:0:2::2")
    assert pings(last, "fd00::1")
    assert not pings(first, "-t", "2", "-W", "0.2", "fd00:0:0:2::2")
    assert pings(first, "-t", "3", "fd00:0:0:2::2")


def test_addresses_routes_and_forwarding_can_be_changed(lab):
    a, b, c = map(lab.host, "abc")
    lab.link(a, b)
    lab.link(b, c)
    a.address("fd00:1::1/64", "eth0")
    b.address("fd00:1::2/64", "eth0")
    b.address("fd00:2::2/64", "eth1")
    c.address("fd00:2::3/64", "eth0")
    a.route("fd00:2::/64", via="fd00:1::2")
    c.route("default", via=b.link_local("eth1"), dev="eth0")
    assert not pings(a, "-W", "0.2", "fd00:2::3")
    b.forwarding(True)
    assert pings(a, "fd00:2::3")
    c.delete_address("fd00:2::3/64", "eth0")
    assert c.addresses() == []
    assert not pings(a, "-W", "0.2", "fd00:2::3")


def test_an_interface_goes_down_and_comes_back(lab):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    peer = f"{b.link_local('eth0')}%eth0"
    b.down("eth0")
    assert not pings(a, "-W", "0.2", peer)
    b.up("eth0")
    b.link_local("eth0")
    a.link_local("eth0")
    assert pings(a, peer)


@pytest.mark.parametrize(
    ("family", "prefixes", "target"),
    [
        (socket.AF_INET6, ("fd00::1/64", "fd00::2/64"), "fd00::2"),
        (socket.AF_INET, ("10.0.0.1/24", "10.0.0.2/24"), "10.0.0.2"),
    ],
    ids=["IPv6", "IPv4"],
)
def test_a_capture_has_every_datagram_in_order_and_knows_its_direction(lab, family, prefixes, target):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    a.address(prefixes[0], "eth0")
    b.address(prefixes[1], "eth0")
    sent = [b"%d" % n for n in range(200)]
    before = time.time()
    with Capture(a, "eth0") as near, Capture(b, "eth0") as far:
        with b.entered():
            receiver = socket.socket(family, socket.SOCK_DGRAM)
            receiver.bind((target, PORT))
        with a.entered(), receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
            receiver.settimeout(5)
            for payload in sent:
                sender.sendto(payload, (target, PORT))
            assert [receiver.recv(100) for _ in sent] == sent
    for capture, outgoing in (near, True), (far, False):
        seen = capture.packets(udp_port=PORT)
        assert [d.payload for d in seen] == sent
        assert {d.outgoing for d in seen} == {outgoing}
        assert {d.destination for d in seen} == {(target, PORT)}
        times = [d.time for d in seen]
        assert times == sorted(times)
        assert before <= times[0] <= times[-1] <= time.time()
        assert capture.dropped == 0
        assert capture.packets(udp_port=PORT + 1) == []


def test_a_capture_survives_its_interface_going_down(lab):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    with Capture(a, "eth0") as capture:
        a.down("eth0")
        a.up("eth0")
        a.link_local("eth0")
        with a.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"back", ("ff02::13", PORT, 0, socket.if_nametoindex("eth0")))
        assert eventually(lambda: capture.packets(PORT))


def test_only_the_calling_thread_enters_a_host_and_it_comes_back(lab):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)

    def here() -> str:
        return os.readlink("/proc/thread-self/ns/net")

    outside = here()
    with contextlib.suppress(ZeroDivisionError), ThreadPoolExecutor(1) as other:
        assert other.submit(here).result() == outside
        with a.entered():
            assert here() != outside
            assert [name for _, name in socket.if_nameindex()] == ["lo", "eth0"]
            assert other.submit(here).result() == outside
            raise ZeroDivisionError
    assert here() == outside


def test_a_process_runs_inside_its_host_under_its_own_pid(lab):
    host = lab.host("a")
    process = host.popen(["sleep", "60"])
    assert eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text().strip() == "sleep")
    with host.entered():
        inside = os.readlink("/proc/thread-self/ns/net")
    assert os.readlink(f"/proc/{process.pid}/ns/net") == inside


def test_a_lab_leaves_no_namespace_and_no_process_behind(lab):
    stubborn = "trap '' TERM; sleep 60 & echo $!; wait; wait"
    with Lab() as inner, pytest.raises(ZeroDivisionError):  # noqa: PT012 - what is left after the block is the test
        inner.TERMINATION = 0.2
        host = inner.host("a")
        polite = host.popen(["sleep", "60"])
        deaf = host.popen(["sh", "-c", stubborn], stdout=subprocess.PIPE, text=True)
        grandchild = int(deaf.stdout.readline())
        assert alive(grandchild)
        assert host.netns in namespaces()
        raise ZeroDivisionError
    assert host.netns not in namespaces()
    assert polite.returncode == -signal.SIGTERM
    assert deaf.returncode == -signal.SIGKILL
    assert eventually(lambda: not alive(grandchild))


@pytest.mark.parametrize("ending", ["interrupted", "never closed"])
def test_a_lab_is_cleaned_up_however_its_program_ends(lab, ending):
    program = """
import signal, time
from lab import Lab
# Who starts tests in the background may have SIGINT ignored, which children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
lab = Lab().__enter__()
print(lab.host("a").netns, lab.hosts["a"].popen(["sleep", "60"]).pid, flush=True)
"""
    if ending == "interrupted":
        program += "time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        name, pid = process.stdout.readline().split()
        if ending == "interrupted":
            process.send_signal(signal.SIGINT)
        process.wait(30)
    assert name not in namespaces()
    assert not alive(int(pid))


def test_labs_and_hosts_do_not_collide(lab):
    lab.host("a")
    with Lab() as other:
        assert other.host("a").netns != lab.hosts["a"].netns
        with pytest.raises(ValueError, match="already"):
            other.host("a")


@pytest.mark.skipif(unavailable_reason() is not None, reason=str(unavailable_reason()))
def test_enter_gives_a_namespace_where_loopback_works_and_labs_can_be_built():
    program = (
        "import os, socket, lab;"
        "socket.create_server(('::1', 0), family=socket.AF_INET6);"
        "print(os.readlink('/proc/self/ns/net'), socket.if_nameindex(), lab.unavailable_reason())"
    )
    entered = subprocess.run(
        ["lab/enter", sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    inside, _, rest = entered.stdout.strip().partition(" ")
    assert inside != os.readlink("/proc/self/ns/net")
    assert rest == "[(1, 'lo')] None"
