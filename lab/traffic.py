"""Real traffic between hosts, by iperf3(1), and what of it arrives.

Rates are of what TCP or UDP carries, in bit/s, as the receiver counts it interval by interval. Nothing runs for longer
than it was told: whoever is still sending then is killed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from .hosts import Host

INTERVAL_S = 0.1  # the shortest of iperf3
BEGIN_S = 10.0  # until a receiver listens, and until something of a flow arrives
END_S = 5.0  # until a killed process is gone
PACE_US = (
    100  # between datagrams or little bursts of them; bursts of a millisecond leave gaps for others in a full queue
)
LINES = 20  # of what iperf3 said that are told if it fails
HOOK = 'type filter hook egress device "lo" priority 0; policy accept;\n'
PROGRAMS = ("iperf3", "nft", "tc")

_LISTENS = "Server listening"
_ARRIVED = re.compile(
    r"\[ *(?P<who>\d+|SUM)\] +(?P<begin>[\d.]+)-(?P<end>[\d.]+) +sec +[\d.]+ \w+ +(?P<kbit>[\d.]+) Kbits/sec"
    r"(?: +[\d.]+ ms +(?P<lost>-?\d+)/(?P<sent>\d+) \([^)]*\))? *$"
)


Wrap = Callable[[Sequence[str]], list[str]]
"""Of the command that is to be run, the one that runs it."""


class TrafficError(RuntimeError):
    """iperf3 could not do what it was told; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What one host sends to an address of another."""

    source: Host
    target: Host
    address: str
    port: int
    udp: bool = False
    rate: int = 0  #: bit/s of each stream; 0: as much as TCP can
    streams: int = 1
    length: int = 0  #: bytes of a write, or of a datagram; 0: what iperf3 has
    dscp: int = 0  #: 0..63


class Interval(NamedTuple):
    """A little while at the receiver."""

    begin: float  #: UNIX s
    end: float  #: UNIX s
    rate: float  #: bit/s
    lost: int  #: datagrams of UDP that should have come before those that did
    sent: int  #: datagrams that did, and those


class Stream:
    """One flow, ready to begin in a ``with`` block; `intervals` grows while it runs."""

    def __init__(self, flow: Flow, longest: float, command: Wrap = list) -> None:
        """``longest``: seconds from its begin after which it ends by itself. ``command``: what runs another."""
        self.flow = flow
        self.longest = longest
        self._command = command
        self.intervals: list[Interval] = []
        self._listens = threading.Event()
        self._said: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Stream:
        port = str(self.flow.port)
        receiver = self._start(
            self.flow.target, "-s", "-1", "-p", port, "-i", str(INTERVAL_S), "-f", "k", "--forceflush"
        )
        self._thread = threading.Thread(target=self._hear, args=(receiver,), name=f"receiver-{port}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._processes:
            each.kill()
        for each in self._processes:
            each.wait(END_S)
        self._thread.join(END_S)

    def begin(self) -> None:
        """Returns when something has arrived. Raises TrafficError."""
        flow, deadline = self.flow, time.monotonic() + BEGIN_S
        while not self._listens.wait(0.01):
            # It has nothing more to say when it has ended.
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise TrafficError(f"nobody listens at port {flow.port}: {self._words()}")
        options = ["-c", flow.address, "-p", str(flow.port), "-t", f"{self.longest:.0f}", "-i", "0"]
        options += ["-P", str(flow.streams), "-b", str(flow.rate), "--connect-timeout", f"{BEGIN_S * 1000:.0f}"]
        options += ["-u", "--pacing-timer", str(PACE_US)] if flow.udp else []
        options += ["-l", str(flow.length)] if flow.length else []
        options += ["-S", str(flow.dscp << 2)] if flow.dscp else []
        sender = self._start(flow.source, *options)
        while not self.intervals:
            if sender.poll() is not None:
                said, _ = sender.communicate(timeout=END_S)
                raise TrafficError(f"the flow to port {flow.port} ended: {' '.join(said.split()):.300}")
            if time.monotonic() > deadline:
                raise TrafficError(f"of the flow to port {flow.port} nothing came in {BEGIN_S} s: {self._words()}")
            time.sleep(0.01)

    def rate(self, begin: float, end: float) -> float:
        """bit/s from one time to another (UNIX s); an interval that is partly between them counts in part."""
        bits = sum(each.rate * max(0.0, min(end, each.end) - max(begin, each.begin)) for each in list(self.intervals))
        return bits / (end - begin)

    def lost(self, begin: float, end: float) -> float:
        """Of the datagrams of the intervals that ended between two times the part that did not come, 0..1."""
        found = [each for each in list(self.intervals) if begin < each.end <= end]
        return sum(each.lost for each in found) / max(1, sum(each.sent for each in found))

    def _start(self, host: Host, *options: str) -> subprocess.Popen[str]:
        process = host.popen(
            self._command(["iperf3", *options]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._processes.append(process)
        return process

    def _hear(self, receiver: subprocess.Popen[str]) -> None:
        assert receiver.stdout is not None
        of_all = self.flow.streams > 1
        for line in receiver.stdout:
            now = time.time()
            self._said = [*self._said[-LINES:], line]
            if line.startswith(_LISTENS):
                self._listens.set()
            found = _ARRIVED.match(line)
            if found is None or (found["who"] == "SUM") != of_all:
                continue
            lasted = float(found["end"]) - float(found["begin"])
            counts = int(found["lost"] or 0), int(found["sent"] or 0)
            self.intervals.append(Interval(now - lasted, now, float(found["kbit"]) * 1000, *counts))

    def _words(self) -> str:
        return " ".join("".join(self._said).split()) or "nothing was said"


@contextlib.contextmanager
def streams(flows: Sequence[Flow], longest: float, command: Wrap = list) -> Iterator[list[Stream]]:
    """All flows at once. Each begins when the one before it arrives: who has to fight to get through is named first.

    ``longest``: seconds after which a flow ends by itself. Raises TrafficError.
    """
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(Stream(flow, longest, command)) for flow in flows]
        for each in found:
            each.begin()
        yield found


def measure(flows: Sequence[Flow], seconds: float, settle: float = 0.5, command: Wrap = list) -> list[float]:
    """bit/s of each flow in ``seconds``, from ``settle`` seconds after all of them arrive. Raises TrafficError."""
    with streams(flows, seconds + settle + BEGIN_S, command) as running:
        begin = time.time() + settle
        wait_until(begin + seconds)
        return [each.rate(begin, begin + seconds) for each in running]


def wait_until(when: float) -> None:
    """Until what arrived by then (UNIX s) has been told."""
    time.sleep(max(0.0, when + 2 * INTERVAL_S - time.time()))


def missing(which: Callable[[str], str | None] = shutil.which) -> str | None:
    """Why there can be no traffic here, or None. Tests that need some skip with it."""
    gone = [each for each in PROGRAMS if which(each) is None]
    return f"there is no {' and no '.join(gone)}" if gone else None


def refusal(host: Host) -> str | None:
    """Why the kernel would not shape what a host sends, in its own words, or None; tried on lo, and nothing is left."""
    table = "table netdev lab_try"
    tried = (
        (["tc", "-batch", "-"], "qdisc add dev lo root handle 1: htb\nqdisc del dev lo root\n"),
        (["ip", "-batch", "-"], "link add lab_try type ifb\nlink delete lab_try\n"),
        (
            ["nft", "-f", "-"],
            f"{table} {{\nchain every {{\n{HOOK}meta priority set 1:10 ip dscp set 46\n}}\n}}\ndelete {table}\n",
        ),
    )
    for command, told in tried:
        done = host.run(command, check=False, input=told)
        if done.returncode:
            return f"{command[0]} fails here: {' '.join(done.stderr.split()):.200}"
    return None
