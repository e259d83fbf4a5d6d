"""A process that removes u32 filters when they expire, as the kernel does with nftables' elements, but not with these.

``python -m asa.dataplane.u32.warden``, started by :mod:`~asa.dataplane.u32.warden_call`, in a session of its own: it
outlives the agent, and with it the agent's guarantees end as they shall, also if the agent hangs. It remembers
nothing: when a filter expires is a part of the filter. So one that was renewed, by whomever, is another one, and
nobody has to agree with anybody on who removes what. It listens on a name of its network namespace, of which there is
one only, and so is the warden. Connected agents tell it, in 8 bytes, when to look again (UNIX s); it ends when no
filter expires any more and no agent is connected.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from asa.dataplane.u32 import kernel
from asa.dataplane.u32.messages import Leaf, deletion

NAME: Final = "\0asa-u32-warden"
HELLO: Final = b"\x01"
TOLD: Final = struct.Struct("=d")

MOST_AGENTS: Final = 8
"""Connected at the same time; the one that came first goes."""

LONGEST_SLEEP_S: Final = 60.0
"""The clock may be set."""

PAUSE_S: Final = 0.2
"""Between two looks at least."""

FAILED_S: Final = 2.0
"""After a look that failed."""

INSTALLING_S: Final = 30.0
"""Agents have installed by then what they announced."""

MOST_PROMISED: Final = 1_000

AT_ONCE: Final = 64
"""Filters that are looked at once more and then removed."""

_CREDENTIALS: Final = struct.Struct("=iII")


def trusted(link: socket.socket) -> bool:
    """Whether who is at the other end is this very user, or root."""
    _, uid, _ = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in (0, os.geteuid())


def sweep(now: float) -> float:
    """Remove what has expired by ``now``; when the next will, infinity if none does. Raises OSError."""
    earliest = math.inf
    for index in kernel.queues():
        leaves = [each for each in kernel.nodes(index) if isinstance(each, Leaf) and each.expires]
        expired = [each for each in leaves if each.expires <= now]
        earliest = min([earliest, *(each.expires for each in leaves if each.expires > now)])
        for start in range(0, len(expired), AT_ONCE):
            some = expired[start : start + AT_ONCE]
            # Its number may have become another's since.
            same = set(kernel.node(index, [each.handle for each in some]))
            kernel.change([deletion(index, each.handle) for each in some if each in same])
    return earliest


class Warden:
    """Only one thread uses it."""

    def __init__(self, listening: socket.socket, clock: Callable[[], float]) -> None:
        self._listening = listening
        self._clock = clock
        self._agents: list[socket.socket] = []
        self._promised: dict[float, float] = {}
        """When rules expire that agents are about to install, and when they said so."""

    def watch(self) -> None:
        """Until nothing is left to do."""
        due = 0.0
        while True:
            now = self._clock()
            if now >= due:
                due = self._look(now)
            if due == math.inf and not self._agents and not self._waiting(0):
                # An agent that comes right now gets no hello, and starts another warden.
                return
            for link in self._waiting(min(LONGEST_SLEEP_S, max(PAUSE_S, due - now))):
                if link is self._listening:
                    self._accept()
                elif link in self._agents:
                    due = min(due, self._told(link))
            if due <= self._clock():
                time.sleep(PAUSE_S)

    def _look(self, now: float) -> float:
        """When to look again."""
        try:
            due = sweep(now)
        except OSError:
            return now + FAILED_S
        # What was to be installed may not have been there yet.
        self._promised = {
            when: heard for when, heard in self._promised.items() if when > now and abs(now - heard) < INSTALLING_S
        }
        due = min([due, *self._promised])
        # Somebody may take the filters away, and without an agent nobody tells.
        return due if self._agents or due == math.inf else min(due, now + LONGEST_SLEEP_S)

    def _waiting(self, patience: float) -> list[socket.socket]:
        return select.select([self._listening, *self._agents], [], [], patience)[0]

    def _accept(self) -> None:
        try:
            link, _ = self._listening.accept()
        except OSError:
            return
        try:
            link.setblocking(False)
            if not trusted(link):
                raise PermissionError
            link.send(HELLO)
        except OSError:
            link.close()
            return
        self._agents.append(link)
        if len(self._agents) > MOST_AGENTS:
            self._agents.pop(0).close()

    def _told(self, link: socket.socket) -> float:
        try:
            told = link.recv(TOLD.size)
        except BlockingIOError:
            return math.inf
        except OSError:
            told = b""
        if len(told) != TOLD.size:
            self._agents.remove(link)
            link.close()
            if not self._agents:
                # Nobody installs anything now.
                self._promised.clear()
            return 0.0
        when: float = TOLD.unpack(told)[0]
        if math.isnan(when):
            return math.inf
        if len(self._promised) < MOST_PROMISED:
            self._promised[when] = self._clock()
        return when


def main() -> None:
    # Whoever started it may be replaced by another program, and then reaps no child.
    if os.fork():
        os._exit(0)
    os.chdir("/")
    # What is typed at the agent's terminal, or sent to end its group, is not meant for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as listening:
        os.close(0)
        Warden(listening, time.time).watch()


if __name__ == "__main__":
    main()
