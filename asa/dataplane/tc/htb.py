"""The kernel's HTB as text for ``tc -batch`` and ``ip -batch``: queues, classes, and devices for the way in. No I/O.

A line's root qdisc ``a5a:`` has one class ``a5a:1`` of the line's rate; below it ``a5a:ffff`` for packets nobody
reserved for, and the classes of entries, each with a queue of bounded length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from asa.dataplane.plan import DEFAULT_PRIORITY, INTERFACE, LOWEST_RATE, Line, Share
from asa.dataplane.tc.classifier import DEFAULT, FIRST, LAST, MAJOR, WHOLE, device_of

QUEUE: Final = 100
"""Packets that may wait in a class."""

OWN_INGRESS: Final = 2_650
"""The preference of our redirecting filter where the ingress qdisc is ours too, and goes with it."""

SHARED_INGRESS: Final = 2_651
"""The same where the ingress qdisc was there before."""

FILTERS: Final = 2_650
"""The preference of our u32 filters on root qdiscs."""

NUMBERS: Final = {
    # The queue of a class has its number as handle, and a5a: is the root's.
    way: tuple(each for each in range(FIRST, LAST + 1) if each % 2 == odd and each != MAJOR)
    for way, odd in (("out", 0), ("in", 1))
}
"""Of the classes of entries. A packet that goes on may still have the class it had on the way in, which is to be none
on the way out."""


def is_of_entry(line: str, number: int) -> bool:
    """Whether a class of that number may be an entry's on a line."""
    return FIRST <= number <= LAST and number != MAJOR and number % 2 == line.endswith(":in")


_BURST_S: Final = 0.005
_LEAST_BURST: Final = 3_200
"""Bytes: two frames."""
_MOST_BURST: Final = 4_000_000
_LONGEST_BURST_S: Final = 200
"""The kernel counts a burst as time, in 32 bits of 64 ns: 274 s."""
_LEAST_QUANTUM: Final = 1_600
_MOST_QUANTUM: Final = 200_000
"""Bytes; the kernel warns of what is outside 1,000..200,000."""


class Rates(NamedTuple):
    """Of an HTB class, in bit/s, and its priority."""

    guarantee: int
    ceiling: int
    priority: int


def writable(device: str) -> bool:
    """Whether the name of somebody's interface can stand in a batch."""
    return re.fullmatch(INTERFACE, device) is not None


def whole(line: Line) -> Rates:
    return Rates(line.rate, line.rate, 0)


def default(line: Line) -> Rates:
    # The kernel has no class of rate 0.
    return Rates(max(line.floor, LOWEST_RATE), line.rate, DEFAULT_PRIORITY)


def rates(share: Share) -> Rates:
    return Rates(share.guarantee, share.ceiling, share.priority)


# -- classes


def parameters(rates: Rates) -> str:
    """How much may be sent at once is a few milliseconds' worth; whose turn it is to borrow is for as many bytes as the
    guarantee is large, within what the kernel likes."""
    quantum = min(max(rates.guarantee // 800, _LEAST_QUANTUM), _MOST_QUANTUM)
    return (
        f"rate {rates.guarantee}bit burst {_burst(rates.guarantee)} ceil {rates.ceiling}bit "
        f"cburst {_burst(rates.ceiling)} prio {rates.priority} quantum {quantum}"
    )


def _burst(rate: int) -> int:
    octets = rate // 8
    return min(max(int(octets * _BURST_S), _LEAST_BURST), _MOST_BURST, octets * _LONGEST_BURST_S)


def class_come(device: str, number: int, rates: Rates) -> list[str]:
    parent = "" if number == WHOLE else f"{WHOLE:x}"
    lines = [
        f"class add dev {device} parent {MAJOR:x}:{parent} classid {MAJOR:x}:{number:x} htb {parameters(rates)}",
    ]
    return lines if number == WHOLE else [*lines, leaf(device, number)]


def leaf(device: str, number: int) -> str:
    # ffff: is the handle of an ingress qdisc.
    handle = WHOLE if number == DEFAULT else number
    return f"qdisc replace dev {device} parent {MAJOR:x}:{number:x} handle {handle:x}: pfifo limit {QUEUE}"


def class_changed(device: str, number: int, rates: Rates) -> str:
    parent = "" if number == WHOLE else f"{WHOLE:x}"
    return f"class change dev {device} parent {MAJOR:x}:{parent} classid {MAJOR:x}:{number:x} htb {parameters(rates)}"


def class_gone(device: str, number: int) -> str:
    return f"class del dev {device} classid {MAJOR:x}:{number:x}"


# -- lines


def root_come(device: str) -> str:
    """In place of whatever is there."""
    return f"qdisc replace dev {device} root handle {MAJOR:x}: htb default {DEFAULT:x}"


def root_gone(device: str) -> str:
    return f"qdisc del dev {device} root"


def alias_of(line: str) -> str:
    """Our mark on a device made for the way in: ``asa:eth0:in``."""
    return f"asa:{line}"


def device_come(line: Line) -> list[str]:
    """For ``ip -batch``: the device that stands for the way in."""
    device = device_of(line.name)
    return [f"link add name {device} type ifb", *device_up(line)]


def scratch_come(device: str, kind: str) -> str:
    """For ``ip -batch``."""
    return f"link add name {device} type {kind}"


def device_up(line: Line) -> list[str]:
    return [f"link set dev {device_of(line.name)} alias {alias_of(line.name)} up"]


def device_gone(device: str) -> str:
    """For ``ip -batch``."""
    return f"link del dev {device}"


def ingress_come(interface: str) -> str:
    return f"qdisc add dev {interface} ingress"


def redirect(interface: str, device: str, own_ingress: bool) -> str:
    """All that comes in goes through ``device`` first. ``own_ingress``: the ingress qdisc is there for that alone."""
    preference = OWN_INGRESS if own_ingress else SHARED_INGRESS
    return (
        f"filter add dev {interface} parent ffff:fff2 protocol all pref {preference} "
        f"u32 match u32 0 0 action mirred egress redirect dev {device}"
    )


def redirect_gone(interface: str, preference: int) -> str:
    return f"filter del dev {interface} parent ffff:fff2 pref {preference}"


def ingress_gone(interface: str) -> str:
    return f"qdisc del dev {interface} ingress"


# -- what became of a batch

_FAILED: Final = re.compile(r"Command failed -:([0-9]+)")


def failures(said: str, commands: Sequence[str]) -> dict[int, str]:
    """What ``tc -force -batch -`` wrote: by position of each command that failed, why; empty if it is not about one."""
    found: dict[int, str] = {}
    words: list[str] = []
    for text in said.splitlines():
        failed = _FAILED.fullmatch(text.strip())
        if failed is None:
            words.append(text.strip())
            continue
        position = int(failed[1]) - 1
        if 0 <= position < len(commands):
            found[position] = " ".join(" ".join(words).split())[-200:] or "refused"
        words.clear()
    return found
