"""All links of a node, in one thread.

No lock is held while something is received, sent or handed up. Other threads leave in a queue what is to be done.
``now`` is monotonic seconds where it does not say otherwise.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Final

from grasp.discovery import Source
from grasp.limits import Limits
from grasp.transport import Neighbour, Receiver
from grasp.transport.interfaces import Interface, Snapshot
from grasp.transport.links.announcements import NEIGHBOR, Announcements
from grasp.transport.links.carrier import Carrier
from grasp.transport.links.phases import Timing
from grasp.transport.tls import TlsContexts, TlsSession
from grasp.wire import Address

_log = logging.getLogger("grasp.transport")

_CALLS: Final = 4_096
_LONGEST_S: Final = 60.0
_STOP_S: Final = 5.0


class Links:
    """Neighbours and the links to them, on all interfaces.

    ``objective``: what is announced by DULL; it has to be the same at all nodes of a domain.
    """

    def __init__(
        self,
        contexts: TlsContexts,
        *,
        limits: Limits | None = None,
        name: str = "grasp",
        objective: str = NEIGHBOR,
        timing: Timing | None = None,
    ) -> None:
        limits = limits or Limits()
        self._contexts = contexts
        self._name = name
        #: Why something was discarded, refused or given up.
        self.counts: Final[Counter[str]] = Counter()
        self._carrier = Carrier(contexts, limits, objective, timing, self.counts)
        self._announcements = Announcements(limits, objective, self.counts)
        self._hearing = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False
        self._running = False
        self._usable: frozenset[int] = frozenset()
        self._checked = self._state

    def start(self, receiver: Receiver, port: int, announce: Callable[[Interface, bytes], bool]) -> None:
        """``port`` is where connections are accepted; ``announce`` multicasts on an interface. Raises OSError."""
        if self._contexts.identity.acp_name.address is None:
            _log.warning("the AcpNodeName of this node has no acp-address: no neighbour will link with it (rule 5)")
        self._epoll = select.epoll()
        try:
            self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._epoll.close()
            raise
        self._epoll.register(self._bell, select.EPOLLIN)
        self._carrier.begin(receiver, port, announce, self._epoll)
        self._running = True
        self._thread = threading.Thread(target=self._run, name=f"{self._name}-links", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every link and end the thread. Idempotent."""
        if not self._running:
            return
        self._running = False
        os.eventfd_write(self._bell, 1)
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)

    def heard(self, data: bytes, source: Source) -> None:
        """A datagram came to the multicast port: only announcements of neighbours count there."""
        with self._hearing:
            found = self._announcements.heard(time.monotonic(), data, source, self._carrier.own)
        if found is not None:
            self._call(partial(self._carrier.found, source.interface, found), "announcements")

    def interfaces_changed(self, snapshot: Snapshot) -> None:
        """To be told first of all when started, and then whenever something changes."""
        usable = {index: each for index, each in snapshot.interfaces.items() if each.link_local is not None}
        self._usable = frozenset(usable)
        self._call(partial(self._changed, usable))

    def _changed(self, interfaces: dict[int, Interface]) -> None:
        gone = self._carrier.changed(interfaces)
        with self._hearing:
            for index in gone:
                self._announcements.gone(index)

    def adopt(self, sock: socket.socket, session: TlsSession, address: Address, port: int, interface: int) -> None:
        """Take over a connection that somebody made to us and secured for this; ``port`` is where it comes from."""
        if not self._call(partial(self._carrier.adopted, sock, session, address, interface), "connections"):
            sock.close()

    def multicast(self, interface: int, data: bytes) -> bool:
        """Send to every neighbour on ``interface``; whether it can be used, be there neighbours or not."""
        if not self._running or interface not in self._usable:
            return False
        if interface not in self._carrier.linked:
            return True
        return self._call(partial(self._carrier.send, interface, data), "messages")

    def reply(self, target: Source, data: bytes) -> None:
        """Send to the neighbour by whose link something came, if it is still there."""
        self._call(partial(self._carrier.reply, target, data), "messages")

    def recheck(self, now: float) -> None:
        """Cut off who is no member any more at ``now``, in UNIX s."""
        self._checked = self._state
        self._call(partial(self._carrier.recheck, now))

    def renew(self) -> None:
        """The contexts have another identity: make every link anew with it, beside the old one."""
        self._call(self._carrier.renew)

    def upkeep(self, now: float) -> None:
        """To be called at least once a second."""
        clock = self._contexts.clock()
        if self._checked != self._state or clock > self._carrier.expires:
            self.recheck(clock)

    @property
    def _state(self) -> tuple[int, int]:
        """What a neighbour is judged by."""
        return self._contexts.revocations.version, self._contexts.generation

    @property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """Those with a link, state ``up``, and places where none can be made, state ``failing``."""
        return self._carrier.neighbours

    def plain_neighbours(self) -> tuple[Neighbour, ...]:
        """Who speaks GRASP without security on our links, state ``plain``: heard last at ``since``, never answered."""
        clock = self._contexts.clock()
        with self._hearing:
            found = self._announcements.plain(time.monotonic())
        return tuple(Neighbour(index, address, None, clock - ago, "plain") for index, address, ago in found)

    # -- the thread

    def _call(self, call: Callable[[], None], bounded: str = "") -> bool:
        """Have the thread do it; False if it is behind with too much of what is ``bounded``."""
        if not self._running or (bounded and len(self._calls) >= _CALLS):
            self.counts[f"link: more {bounded or 'calls'} than can be handled"] += 1
            return False
        self._calls.append(call)
        if not self._woken and threading.current_thread() is not self._thread:
            self._woken = True
            try:
                os.eventfd_write(self._bell, 1)
            except OSError:
                # Stopped meanwhile.
                return False
        return True

    def _run(self) -> None:
        while self._running:
            try:
                self._turn()
            except Exception:
                # Nothing a neighbour sends may end this thread; whatever slipped through is ours to mend.
                _log.exception("handling a link failed")
        self._carrier.close()
        self._epoll.close()
        os.close(self._bell)

    def _turn(self) -> None:
        wait = 0.0 if self._calls else min(max(0.0, self._carrier.due - time.monotonic()), _LONGEST_S)
        for number, events in self._epoll.poll(wait):
            if number == self._bell:
                os.eventfd_read(self._bell)
            else:
                self._carrier.ready(number, events)
        # Before the queue is looked at: what comes later rings again.
        self._woken = False
        for _ in range(len(self._calls)):
            self._calls.popleft()()
        self._carrier.upkeep(time.monotonic())
