"""The HTB that ovs-vswitchd makes of a QoS row, as the kernel has it: classes ``1:(queue+1)`` below ``1:fffe``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from asa.dataplane import commands
from asa.dataplane.backend import Counters
from asa.dataplane.tc import netlink
from asa.dataplane.tc.htb import Rates

MAJOR: Final = 0x1
DEFAULT: Final = 0x1
"""The class of queue 0."""
WHOLE: Final = 0xFFFE

QUEUE: Final = 40
"""Packets that may wait in a class of a userspace datapath. ovs-vswitchd writes all packets by one socket, in whose
buffer those that wait are counted: a long queue fills it, and then packets of every class are lost."""


def class_of(queue: int) -> int:
    return queue + 1


def shaped(device: str) -> bool:
    """Whether the root qdisc of an interface is one ovs-vswitchd makes."""
    found = netlink.link(device)
    root = None if found is None else netlink.root(found.index)
    return root is not None and (root.kind, root.handle, root.default) == ("htb", MAJOR, DEFAULT)


def foreign(device: str) -> str:
    """The kind of a root qdisc somebody asked for; empty if nobody did."""
    found = netlink.link(device)
    root = None if found is None else netlink.root(found.index)
    return root.kind if root is not None and root.handle else ""


def classes(device: str) -> dict[int, Rates]:
    """By number; empty if there is no such interface or nothing on it."""
    found = netlink.link(device)
    return {} if found is None else netlink.classes(found.index, MAJOR)


def one_class(device: str, number: int) -> Rates | None:
    found = netlink.link(device)
    return None if found is None else netlink.one_class(found.index, number, MAJOR)


def counters(device: str) -> dict[int, Counters]:
    found = netlink.link(device)
    return {} if found is None else netlink.counters(found.index, MAJOR)


def leaves(device: str) -> set[int]:
    """Numbers of the classes with a bounded queue."""
    found = netlink.link(device)
    return set() if found is None else netlink.leaves(found.index, MAJOR)


def bound(device: str, numbers: Iterable[int]) -> None:
    """Give classes a queue of QUEUE packets."""
    lines = [
        f"qdisc replace dev {device} parent {MAJOR:x}:{each:x} pfifo limit {QUEUE}" for each in sorted(numbers)
    ]  # fmt: skip
    if lines:
        commands.run("tc", ["-force", "-batch", "-"], "\n".join([*lines, ""]))
