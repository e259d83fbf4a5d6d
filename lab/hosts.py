"""Hosts that are one Linux network namespace each, and the links between them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Any

from .netns import CLONE_NEWNET, setns

NETNS = Path("/run/netns")  # where ip-netns(8) keeps its names

# The kernel's names for the last columns of if_inet6.
IFA_F_TENTATIVE = 0x40
SCOPE_GLOBAL, SCOPE_LINK = 0x00, 0x20

SYSCTLS = {
    # Duplicate address detection would keep each new link-local address unusable for a second or two.
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    # One TCP connection per session fills the TIME_WAIT table, and connect() crawls, after 14,000 of them.
    "net.ipv4.tcp_tw_reuse": "1",
    # Ports below it are for those who ask for one by its number.
    "net.ipv4.ip_local_port_range": "8192 65535",
}

_serial = itertools.count()


class LabError(RuntimeError):
    """The kernel, or ip(8), refused something the lab asked for."""


def _ip(*argv: str, stdin: str = "") -> None:
    try:
        done = subprocess.run(["ip", *argv], input=stdin, capture_output=True, text=True, timeout=30)
    except OSError as error:
        raise LabError(f"cannot run ip(8): {error}") from error
    if done.returncode:
        raise LabError(f"{' '.join(['ip', *argv, stdin]).strip()}: {done.stderr.strip()}")


class Host:
    """A host of a `Lab`: interfaces, addresses, routes and processes of its own."""

    def __init__(self, name: str, netns: str) -> None:
        self.name = name
        self.netns = netns
        self.processes: list[subprocess.Popen[Any]] = []
        self._devices = (f"eth{n}" for n in itertools.count())

    def __repr__(self) -> str:
        return f"<Host {self.name} in {self.netns}>"

    def _create(self) -> None:
        _ip("netns", "add", self.netns)
        for key, value in SYSCTLS.items():
            self.sysctl(key, value)
        self.up("lo")

    def _destroy(self) -> None:
        if (NETNS / self.netns).exists():
            _ip("netns", "delete", self.netns)

    def new_device(self) -> str:
        """The name the next interface of this host gets: eth0, eth1, ..."""
        return next(self._devices)

    def ip(self, *commands: str) -> None:
        """Run ip(8) commands such as "link set eth0 mtu 1280" in this host, in one process.

        :raises LabError: at the first that fails; those before it stay done
        """
        _ip("-netns", self.netns, "-batch", "-", stdin="\n".join(commands))

    def sysctl(self, key: str, value: str) -> None:
        """Set a net.* kernel parameter of this host."""
        try:
            with self.entered():
                Path("/proc/sys", *key.split(".")).write_text(value)
        except OSError as error:
            raise LabError(f"cannot set {key}: {error}") from error

    def address(self, prefix: str, dev: str) -> None:
        """Add an address, with its prefix length: "fd00:1::1/64"."""
        self.ip(f"address add {prefix} dev {dev}")

    def delete_address(self, prefix: str, dev: str) -> None:
        self.ip(f"address delete {prefix} dev {dev}")

    def route(self, prefix: str, via: str | None = None, dev: str | None = None) -> None:
        """Add a route ("default" is a prefix too); a link-local `via` needs its `dev`."""
        self.ip(f"route add {prefix}" + (f" via {via}" if via else "") + (f" dev {dev}" if dev else ""))

    def forwarding(self, on: bool) -> None:
        """Be a router, for IPv4 and IPv6, or cease to be one."""
        for key in "net.ipv6.conf.all.forwarding", "net.ipv4.ip_forward":
            self.sysctl(key, str(int(on)))

    def up(self, dev: str) -> None:
        """Bring an interface up; `link_local` waits until it can be used."""
        self.ip(f"link set {dev} up")

    def down(self, dev: str) -> None:
        """Take an interface down; the kernel drops its IPv6 addresses and routes."""
        self.ip(f"link set {dev} down")

    def addresses(self, dev: str | None = None, scope: int = SCOPE_GLOBAL) -> list[str]:
        """The IPv6 addresses that can be used now, of one interface or of all but loopback."""
        with self.entered():
            table = Path("/proc/thread-self/net/if_inet6").read_text()
        rows = (line.split() for line in table.splitlines())
        return [
            str(IPv6Address(bytes.fromhex(address)))
            for address, _, _, its_scope, flags, its_dev in rows
            if int(its_scope, 16) == scope
            and not int(flags, 16) & IFA_F_TENTATIVE
            and (its_dev == dev if dev else its_dev != "lo")
        ]

    def link_local(self, dev: str, timeout: float = 5.0) -> str:
        """The link-local address of an interface, without a zone, as soon as it can be used.

        :raises LabError: not within `timeout` seconds; the other end of the link may be down
        """
        deadline = time.monotonic() + timeout
        while not (found := self.addresses(dev, SCOPE_LINK)):
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: no link-local address on {dev} after {timeout} s")
            time.sleep(0.01)
        return found[0]

    def popen(self, argv: Sequence[str], **kw: Any) -> subprocess.Popen[Any]:
        """Start a process in this host; its pid is the command's own. It ends with the lab, if not before.

        The keywords are those of `subprocess.Popen`.
        """
        process = subprocess.Popen(["ip", "netns", "exec", self.netns, *argv], **kw)
        self.processes.append(process)
        return process

    def python(self, *args: str, **kw: Any) -> subprocess.Popen[Any]:
        """`popen` of this very interpreter: ``host.python("-m", "bench.floor", ...)``."""
        return self.popen([sys.executable, *args], **kw)

    def run(
        self, argv: Sequence[str], timeout: float = 30.0, check: bool = True, **kw: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in this host to its end and return its output as text.

        :raises subprocess.CalledProcessError: it failed, and `check` is set
        :raises subprocess.TimeoutExpired: not within `timeout` seconds
        """
        kw = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | kw
        command = ["ip", "netns", "exec", self.netns, *argv]
        return subprocess.run(command, timeout=timeout, check=check, **kw)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in this host, with the calling thread only, until the end of the block.

        Sockets opened in the block, and threads started in it, stay in this host after it. /proc/net and
        /sys/class/net go on to show the process's first namespace; /proc/thread-self/net shows this one.
        """
        with open("/proc/thread-self/ns/net") as own, open(NETNS / self.netns) as inside:
            setns(inside.fileno(), CLONE_NEWNET)
            try:
                yield
            finally:
                setns(own.fileno(), CLONE_NEWNET)

    def _strays(self) -> list[int]:
        """Processes in this host that are not this one: children of those it started."""
        if not (NETNS / self.netns).exists():
            return []
        listed = subprocess.run(["ip", "netns", "pids", self.netns], capture_output=True, text=True)
        return [pid for pid in map(int, listed.stdout.split()) if pid != os.getpid()]


class Lab:
    """Some hosts and the links between them, gone without a trace at the end of the ``with`` block.

    Every lab has names of its own, so labs can exist side by side, in one process or in several.
    """

    TERMINATION = 3.0  # seconds a process has between SIGTERM and SIGKILL

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._indices = itertools.count(101)
        self._prefix = f"gl{os.getpid()}-{next(_serial)}"

    def __enter__(self) -> Lab:
        atexit.register(self.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def host(self, name: str) -> Host:
        """A new host with a loopback interface and nothing else.

        :raises ValueError: the lab has one of that name
        :raises LabError: no namespace can be made; see `unavailable_reason`
        """
        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        host = self.hosts[name] = Host(name, f"{self._prefix}-{name}")
        host._create()
        return host

    def link(self, a: Host, b: Host) -> tuple[str, str]:
        """Join two hosts by a cable of their own; return the interface names, up and with a link-local."""
        here, there = self._cable(a, b)
        a.link_local(here)
        b.link_local(there)
        return here, there

    def _cable(self, a: Host, b: Host) -> tuple[str, str]:
        here, there = a.new_device(), b.new_device()
        # Where both ends have the same index, as in fresh namespaces they would, the kernel does not take
        # them for a pair and reports the carrier up to a second later (linkwatch_urgent_event).
        a.ip(
            f"link add {here} index {next(self._indices)} type veth"
            f" peer name {there} index {next(self._indices)} netns {b.netns}"
        )
        a.up(here)
        b.up(there)
        return here, there

    def lan(self, *hosts: Host) -> tuple[str, ...]:
        """Join several hosts by one Ethernet segment; return their interface names, as `link` does."""
        number = sum(name.startswith("switch") for name in self.hosts)
        switch = self.host(f"switch{number}")
        # A switch is not a neighbour: it must not speak on the link.
        switch.sysctl("net.ipv6.conf.all.disable_ipv6", "1")
        switch.sysctl("net.ipv6.conf.default.disable_ipv6", "1")
        # Snooping without a querier on the link loses multicast to whoever joined some minutes ago.
        switch.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        devices = []
        for host in hosts:
            dev, port = self._cable(host, switch)
            switch.ip(f"link set {port} master br0")
            devices.append(dev)
        for host, dev in zip(hosts, devices, strict=True):
            host.link_local(dev)
        return tuple(devices)

    def chain(self, length: int) -> list[Host]:
        """Routers h0, h1, ... in a row, each linked to the next and able to reach all the others.

        The link between h(i) and h(i+1) is fd00:0:0:i::/64, with ::1 on the left and ::2 on the right;
        eth0 of every host but h0 looks left.
        """
        hosts = [self.host(f"h{i}") for i in range(length)]
        for i, (left, right) in enumerate(itertools.pairwise(hosts)):
            left_dev, right_dev = self.link(left, right)
            left.address(f"fd00:0:0:{i:x}::1/64", left_dev)
            right.address(f"fd00:0:0:{i:x}::2/64", right_dev)
        for i, host in enumerate(hosts):
            host.forwarding(True)
            to_left = [f"route add fd00:0:0:{j:x}::/64 via fd00:0:0:{i - 1:x}::1" for j in range(i - 1)]
            to_right = [f"route add fd00:0:0:{j:x}::/64 via fd00:0:0:{i:x}::2" for j in range(i + 1, length - 1)]
            host.ip(*to_left, *to_right)
        return hosts

    def close(self) -> None:
        """End every process of the lab and remove every namespace; harmless when done before."""
        hosts = list(self.hosts.values())
        _end((process for host in hosts for process in host.processes), self.TERMINATION)
        for host in hosts:
            for pid in host._strays():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            host._destroy()
        self.hosts.clear()
        atexit.unregister(self.close)


def _end(processes: Iterable[subprocess.Popen[Any]], patience: float) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@functools.cache
def unavailable_reason() -> str | None:
    """Why no lab can be built here, or None. Tests that need one skip with it."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    try:
        with Lab() as lab:
            a, b = lab.host("a"), lab.host("b")
            lab.link(a, b)
            a.run(["true"])
    except (LabError, OSError, subprocess.SubprocessError) as error:
        return f"no network namespaces: {error}"
    return None
