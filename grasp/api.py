"""GRASP for Python programs: a node, its ASAs, their negotiations. Times are milliseconds.

Every call may be made from any thread; those that wait block only their caller. ``on_…`` methods take a
function instead, for programs that would rather be called. Failures are
:class:`~grasp.errors.GraspError` with an RFC 8991 code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from grasp.arguments import Somewhere, check_handler, check_objective, check_text, peer_from
from grasp.calls import Admit, Calls, FloodItem, Registration, SessionHandle, Step
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.core import Core
from grasp.core.core import Statistics
from grasp.errors import ErrorCode, LocalError
from grasp.flooding import TaggedObjective
from grasp.limits import Limits
from grasp.locators import Discovered
from grasp.negotiation import Negotiation
from grasp.transport import Interface, Neighbour, Substrate
from grasp.transport.plain import PlainSubstrate
from grasp.wire import Address, Objective

if TYPE_CHECKING:
    from grasp.security import Identity, Revocations
    from grasp.transport.domain import DomainSubstrate

__all__ = ["ASA", "Negotiation", "Node"]

_KEEP_CACHED: Final = 1


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
        admit: Admit | None = None,
    ) -> None:
        """Register an objective this ASA will negotiate, publish or flood (RFC 8991 §2.3.3).

        ``ttl``: how long others may cache where it is. ``discoverable``: answer discovery at once, without
        listening. ``overlap``: other ASAs here may register it too. ``local``: known by link-local
        address only. ``max_size``: bytes of its unicast messages, 2048..65536, 0 for the default.
        ``admit``: who may negotiate or synchronize it: it returns why a member may not, or None. It is called
        with None where the substrate does not know its peers, in the thread of the request, and must not block.

        Raises :class:`LocalError`: ``notBoth``, ``notDry``, ``objReg``, ``objFull``, ``badArgument``.
        """
        check_objective(objective)
        if admit is not None:
            check_handler(admit)
        self._calls.register_objective(
            self.handle, Registration(objective, ttl, discoverable, overlap, local, max_size, admit)
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
    that does not authenticate peers. ``identity``: be a member of its domain and speak with its members only,
    encrypted; without one the links must be secured below IP. ``revocations``: shared with whoever learns of
    them. ``substrate`` replaces the one chosen so, and the arguments that are for it.

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
        identity: Identity | None = None,
        revocations: Revocations | None = None,
        limits: Limits | None = None,
        substrate: Substrate | None = None,
        name: str = "grasp",
    ) -> None:
        if limits is not None and not isinstance(limits, Limits):
            raise LocalError(ErrorCode.badArgument, f"limits must be a grasp.Limits, not {limits!r:.80}")
        self._domain: DomainSubstrate | None = None
        if substrate is None and identity is not None:
            # TLS is loaded by those who need it: a second, on a small router.
            from grasp.transport.domain import DomainSubstrate

            substrate = self._domain = DomainSubstrate(
                identity, interfaces, revocations=revocations, port=port, address=address, ipv4=ipv4, limits=limits,
                name=name,
            )  # fmt: skip
        elif substrate is None:
            substrate = PlainSubstrate(interfaces, port=port, address=address, ipv4=ipv4, limits=limits, name=name)
        self._core = Core(substrate, limits=limits, rapid=rapid, require_security=require_security, name=name)

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
    def secured(self) -> bool:
        """Whether every peer has proved to be a member of the domain."""
        return self._core.substrate.secured

    @property
    def identity(self) -> Identity | None:
        """What this node proves who it is with; None outside a domain."""
        return self._domain.identity if self._domain is not None else None

    @property
    def revocations(self) -> Revocations | None:
        """Who is no member any more; what is added takes effect within two seconds. None outside a domain."""
        return self._domain.revocations if self._domain is not None else None

    def renew(self, identity: Identity) -> None:
        """Be known by ``identity`` from now on: same domain, a newer certificate. Running sessions go on.

        Raises :class:`LocalError` ``badIdentity`` outside a domain, or for another one's.
        """
        if self._domain is None:
            raise LocalError(ErrorCode.badIdentity, "this node is in no domain")
        self._domain.renew(identity)

    @property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """Who is on the links, in a domain; empty over the plain substrate."""
        return self._core.substrate.neighbours

    def on_neighbour(self, handler: Callable[[int], None]) -> None:
        """Call ``handler``, in another thread, with the interface's index whenever a neighbour comes up there."""
        check_handler(handler)
        self._core.on_neighbour(handler)

    @property
    def statistics(self) -> Statistics:
        return self._core.statistics()
