"""GRASP for Python programs: a node, its ASAs, their negotiations. Times are milliseconds.

Every call may be made from any thread; those that wait block only their caller. ``on_…`` methods take a
function instead, for programs that would rather be called. Failures are
:class:`~grasp.errors.GraspError` with an RFC 8991 code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final

from grasp.arguments import Somewhere, check_handler, check_objective, check_text, peer_from
from grasp.calls import Calls, FloodItem, Registration, SessionHandle, Step
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.core import Core
from grasp.core.core import Statistics
from grasp.errors import ErrorCode, GraspError, LocalError
from grasp.flooding import TaggedObjective
from grasp.limits import Limits
from grasp.locators import Discovered
from grasp.transport import Interface, Substrate
from grasp.transport.plain import PlainSubstrate
from grasp.wire import Address, Objective

_KEEP_CACHED: Final = 1


class Negotiation:
    """One negotiation, at either end. A context manager: left without an agreement, it declines.

    ``offer`` is the peer's latest proposal (at the responder first its request; at the initiator its
    counter-offer, or what it accepted). ``agreed`` tells whether the negotiation has succeeded.
    """

    def __init__(self, calls: Calls, asa: int, handle: SessionHandle | None, offer: Objective) -> None:
        self._calls = calls
        self._asa = asa
        self._handle = handle
        self.offer = offer
        self.agreed = handle is None

    @property
    def ended(self) -> bool:
        return self._handle is None

    @property
    def peer(self) -> Address | None:
        """The peer's address; None once the negotiation has ended."""
        return self._handle.peer if self._handle is not None else None

    @property
    def dry_run(self) -> bool:
        """Whether only the outcome is wanted, not its effect (RFC 8990 §2.5.5)."""
        return self.offer.dry_run

    def _open(self) -> SessionHandle:
        if self._handle is None:
            raise LocalError(ErrorCode.noSession, "the negotiation has ended")
        return self._handle

    def propose(self, value: Any, timeout: int = GRASP_DEF_TIMEOUT) -> bool:
        """Propose ``value`` and wait for the answer: True if accepted, False if ``offer`` is a new one.

        Raises :class:`~grasp.errors.Declined`, :class:`~grasp.errors.PeerError` (timeout, broken
        connection, invalid answer) or :class:`LocalError` ``loopExhausted``.
        """
        handle, self._handle = self._open(), None
        try:
            step = self._calls.negotiate_step(self._asa, handle, self.offer.with_value(value), timeout)
        except LocalError as error:
            if error.code in (ErrorCode.badArgument, ErrorCode.tooLong):
                # Nothing was sent and the session goes on.
                self._handle = handle
            raise
        self._handle, self.offer = step.session, step.objective
        self.agreed = step.session is None
        return self.agreed

    def wait(self, milliseconds: int = GRASP_DEF_TIMEOUT) -> None:
        """Ask the peer to wait that long from now for our next step."""
        self._calls.negotiate_wait(self._asa, self._open(), milliseconds)

    def accept(self) -> Objective:
        """Accept ``offer``, which is returned, and end."""
        self._end(lambda handle: self._calls.end_negotiate(self._asa, handle, True, None))
        self.agreed = True
        return self.offer

    def _end(self, call: Callable[[SessionHandle], None]) -> None:
        handle = self._open()
        try:
            call(handle)
        except LocalError as error:
            if error.code is not ErrorCode.badArgument:
                self._handle = None
            raise
        except GraspError:
            self._handle = None
            raise
        self._handle = None

    def decline(self, reason: str | None = None) -> None:
        """Decline and end."""
        if reason is not None:
            check_text("a reason", reason)
        self._end(lambda handle: self._calls.end_negotiate(self._asa, handle, False, reason))

    def invalid(self, info: bytes = b"") -> None:
        """End with M_INVALID: the peer's offer cannot be understood (RFC 8991 §2.3.7)."""
        if not isinstance(info, bytes | bytearray):
            raise LocalError(ErrorCode.badArgument, f"info must be bytes, not {info!r:.40}")
        self._end(lambda handle: self._calls.send_invalid(self._asa, handle, bytes(info)))

    def __enter__(self) -> Negotiation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            try:
                self._calls.end_negotiate(self._asa, handle, False, None)
            except Exception:
                if error is None:
                    raise


class ASA:
    """An autonomic service agent registered at a node. A context manager that deregisters it."""

    def __init__(self, calls: Calls, handle: int, name: str) -> None:
        self._calls = calls
        self.handle: Final = handle
        self.name: Final = name

    def __enter__(self) -> ASA:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.deregister()
        except LocalError as error:
            if error.code not in (ErrorCode.noASA, ErrorCode.stopped):
                raise

    def deregister(self) -> None:
        """End its sessions and forget what it registered."""
        self._calls.deregister_asa(self.handle, self.name)

    def register(
        self,
        objective: Objective,
        *,
        ttl: int = GRASP_DEF_TIMEOUT,
        discoverable: bool = False,
        overlap: bool = False,
        local: bool = False,
        max_size: int = 0,
    ) -> None:
        """Register an objective this ASA will negotiate, publish or flood (RFC 8991 §2.3.3).

        ``ttl``: how long others may cache where it is. ``discoverable``: answer discovery at once, without
        listening. ``overlap``: other ASAs here may register it too. ``local``: known by link-local
        address only. ``max_size``: bytes of its unicast messages, 2048..65536, 0 for the default.

        Raises :class:`LocalError`: ``notBoth``, ``notDry``, ``objReg``, ``objFull``, ``badArgument``.
        """
        check_objective(objective)
        self._calls.register_objective(
            self.handle, Registration(objective, ttl, discoverable, overlap, local, max_size)
        )

    def deregister_objective(self, name: str) -> None:
        """Undo :meth:`register`."""
        self._calls.deregister_objective(self.handle, name)

    def discover(
        self,
        objective: Objective | str,
        timeout: int = 1_000,
        *,
        count: int | None = 1,
        minimum_ttl: int = _KEEP_CACHED,
        peer: Somewhere | None = None,
    ) -> list[Discovered]:
        """Who supports ``objective``: as soon as ``count`` are known, or with None all that answer in time.

        Cached locators count if they live longer than ``minimum_ttl`` ms; 0 forgets them first. With
        ``peer`` only that node is asked, by unicast. An empty list is no error.
        """
        wanted = Objective(objective) if isinstance(objective, str) else check_objective(objective)
        return self._calls.discover(
            self.handle, wanted, timeout, minimum_ttl, count, peer_from(peer) if peer is not None else None
        )

    def negotiate(
        self,
        objective: Objective,
        peer: Somewhere | None = None,
        timeout: int = GRASP_DEF_TIMEOUT,
        *,
        rapid: bool = False,
    ) -> Negotiation:
        """Request ``objective`` with its value and wait for the first answer.

        Without ``peer`` one is discovered; ``rapid`` then lets the request travel with the discovery
        (RFC 8990 §2.5.5.1). If the result is ``agreed`` the peer has accepted; else its counter-offer is
        in ``offer`` and it is our turn.
        """
        step = self._calls.request_negotiate(self.handle, check_objective(objective), peer_from(peer), timeout, rapid)
        return self._negotiation(step)

    def _negotiation(self, step: Step) -> Negotiation:
        return Negotiation(self._calls, self.handle, step.session, step.objective)

    def listen(self, name: str, timeout: int | None = None) -> Negotiation:
        """The next request about ``name``, waiting for it; from now on it can be discovered.

        Requests that come between two calls are kept. Any number of threads may listen. Raises
        :class:`LocalError` ``noReply`` after ``timeout`` ms, ``noSession`` when listening is stopped.
        """
        check_text("a name", name)
        handle, objective = self._calls.listen_negotiate(self.handle, name, timeout)
        return Negotiation(self._calls, self.handle, handle, objective)

    def on_negotiate(self, name: str, handler: Callable[[Negotiation], None]) -> None:
        """Call ``handler`` for every request about ``name``, several at once, each in a thread of its own.

        A negotiation it has not ended when it returns or raises is declined.
        """

        check_text("a name", name)
        check_handler(handler)

        def serve(handle: SessionHandle, objective: Objective) -> None:
            handler(Negotiation(self._calls, self.handle, handle, objective))

        self._calls.serve_negotiate(self.handle, name, serve)

    def stop_listening(self, name: str) -> None:
        """Undo :meth:`listen` or :meth:`on_negotiate`: further requests are turned away at once."""
        self._calls.stop_listen_negotiate(self.handle, name)

    def synchronize(
        self,
        objective: Objective | str,
        peer: Somewhere | None = None,
        timeout: int = GRASP_DEF_TIMEOUT,
        *,
        rapid: bool = False,
    ) -> Objective:
        """The current value at ``peer``; without peer the flooded one, else that of a discovered peer."""
        wanted = Objective.synchronization(objective) if isinstance(objective, str) else check_objective(objective)
        return self._calls.synchronize(self.handle, wanted, peer_from(peer), timeout, rapid)

    def publish(self, objective: Objective) -> None:
        """Answer synchronization requests with this value from now on; repeat it when it changes."""
        self._calls.listen_synchronize(self.handle, check_objective(objective))

    def on_synchronize(self, name: str, provider: Callable[[], Any]) -> None:
        """Answer each synchronization request with what ``provider`` returns at that moment.

        It runs in the thread that serves the request and must not block for long; if it raises, the
        requester's connection is closed unanswered.
        """
        check_text("a name", name)
        check_handler(provider)
        self._calls.serve_synchronize(self.handle, name, provider)

    def unpublish(self, name: str) -> None:
        """Undo :meth:`publish` or :meth:`on_synchronize`."""
        self._calls.stop_listen_synchronize(self.handle, name)

    def flood(self, what: Objective | FloodItem | Iterable[Objective | FloodItem], ttl: int = GRASP_DEF_TIMEOUT) -> int:
        """Flood objectives to all nodes, valid for ``ttl`` ms, 0 for ever; returns the number of links.

        Raises :class:`LocalError` ``tooLong`` if they do not fit into one multicast.
        """
        if not isinstance(what, Iterable):
            what = [what]
        items = [each if isinstance(each, FloodItem) else FloodItem(check_objective(each)) for each in what]
        return self._calls.flood(
            self.handle, ttl, [each if isinstance(each, FloodItem) else FloodItem(each) for each in items]
        )

    def floods(self, name: str | None = None) -> list[TaggedObjective]:
        """What is in the flood cache of one objective, or of all."""
        return self._calls.get_flood(self.handle, name)

    def wait_flood(self, name: str, timeout: int = GRASP_DEF_TIMEOUT) -> list[TaggedObjective]:
        """The same, waiting until there is something; an empty list after ``timeout`` ms."""
        return self._calls.wait_flood(self.handle, name, timeout)

    def on_flood(self, name: str | None, handler: Callable[[TaggedObjective], None]) -> None:
        """Call ``handler`` for every flooded objective of that name, or of any, that arrives.

        It replaces the one given before for the same name; :meth:`ignore_floods` undoes it.
        """
        check_handler(handler)
        self._calls.serve_flood(self.handle, name, handler)

    def ignore_floods(self, name: str | None) -> None:
        """Undo :meth:`on_flood` for this name, or the one for any."""
        self._calls.stop_serve_flood(self.handle, name)

    def expire_flood(self, tagged: TaggedObjective) -> None:
        """Forget a flooded value that is known to be stale."""
        self._calls.expire_flood(self.handle, tagged.objective.name, tagged.locator)


class Node:
    """One GRASP instance. A context manager: starts on entry, stops on exit.

    ``interfaces``: names, or None for all that can multicast; they may appear later. ``port``: TCP port
    for everything, 0 for any free one (a fixed one keeps cached locators valid over restarts).
    ``address``: the routed address to be known by. ``ipv4``: use IPv4 too. ``rapid``: answer rapid
    discoveries (off by default, RFC 8990 §2.5.5.1). ``require_security``: refuse to work over a substrate
    that does not authenticate peers. ``substrate`` replaces the plain one and the four arguments before.

    Raises :class:`LocalError` ``noSocket`` on start if its sockets cannot be opened.
    """

    def __init__(
        self,
        interfaces: Sequence[str] | None = None,
        *,
        port: int = 0,
        address: Address | None = None,
        ipv4: bool = False,
        rapid: bool = False,
        require_security: bool = False,
        limits: Limits | None = None,
        substrate: Substrate | None = None,
        name: str = "grasp",
    ) -> None:
        if limits is not None and not isinstance(limits, Limits):
            raise LocalError(ErrorCode.badArgument, f"limits must be a grasp.Limits, not {limits!r:.80}")
        chosen = substrate or PlainSubstrate(
            interfaces, port=port, address=address, ipv4=ipv4, limits=limits, name=name
        )
        self._core = Core(chosen, limits=limits, rapid=rapid, require_security=require_security, name=name)

    def start(self) -> Node:
        self._core.start()
        return self

    def stop(self) -> None:
        """Blocked calls end with ``stopped``, negotiations are broken off, threads and sockets are gone."""
        self._core.stop()

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def register_asa(self, name: str) -> ASA:
        """Raises :class:`LocalError` ``dupASA``, ``ASAfull``."""
        return ASA(self._core, self._core.register_asa(name), name)

    @property
    def calls(self) -> Calls:
        """The core behind this node, for another API on top of it."""
        return self._core

    @property
    def running(self) -> bool:
        return self._core.running

    @property
    def port(self) -> int:
        return self._core.substrate.port

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The interfaces in use now."""
        return self._core.substrate.interfaces

    @property
    def address(self) -> Address | None:
        """The routed address others know this node by; None if it has only link-local ones."""
        return self._core.substrate.address

    @property
    def statistics(self) -> Statistics:
        return self._core.statistics()
