"""The functions of RFC 8991 §2.3: its names, its parameters in its order, its return values in its order.

No function raises. Each returns an errorcode, alone or first: 0, a number of Appendix A, or one of ours
from 100 on (:class:`~grasp.errors.ErrorCode`). A result the RFC calls undefined is None. Timeouts and
lifetimes are ms, 0..2^32-1; a timeout of 0 is GRASP_DEF_TIMEOUT except in :meth:`Functions.discover`.
Everything may be called from any thread, and blocks only that.

The functions that wait take ``callback``. With it they return ``noReply`` at once, the other results
undefined, and ``callback`` is called once in a thread of its own, with the return values of the function:
``callback(errorcode, …)``. An argument of a wrong type or range is reported by the call itself, and so is
``busy`` when too many callbacks are pending; ``callback`` is then never called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from grasp.calls import Calls, Registration, SessionHandle, Step
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.errors import Declined, ErrorCode, GraspError, LocalError
from grasp.limits import Limits
from grasp.rfc8991.callbacks import Callbacks
from grasp.rfc8991.structures import ASA_locator, objective, tagged_objective
from grasp.rfc8991.values import (
    bytes_in,
    discovered_out,
    flag_in,
    items_in,
    negotiated_in,
    number_in,
    objective_in,
    objective_out,
    peer_in,
    session_in,
    synchronized_in,
    tag_in,
    tagged_out,
    text_in,
)

_log = logging.getLogger("grasp.rfc8991")

R = TypeVar("R")
W = TypeVar("W", bound=tuple[Any, ...])
Stepped = tuple[int, SessionHandle | None, objective | None, str]
Requested = tuple[int, SessionHandle | None, objective | None]
Callback = Callable[..., object] | None


class Functions:
    """RFC 8991's functions on one node: ``Functions(node.calls)``. The module has those of a default node.

    ``callbacks``: how many may be pending at once.
    """

    def __init__(self, calls: Calls | None = None, callbacks: int = Limits().workers) -> None:
        self._calls = calls
        self._callbacks = Callbacks(callbacks)

    def _core(self) -> Calls:
        calls = self._calls
        if calls is None:
            raise LocalError(ErrorCode.noASA, "register_asa comes first")
        return calls

    def _start(self) -> Calls:
        return self._core()

    def _wait(
        self, prepare: Callable[[], Callable[[], W]], failed: Callable[[ErrorCode, str], W], callback: Callback
    ) -> W:
        """Call what ``prepare`` makes of the arguments: now, or in a thread for ``callback``."""

        def start() -> W:
            call = prepare()
            if callback is None:
                return call()
            if not callable(callback):
                raise LocalError(ErrorCode.badArgument, "callback must be callable")
            self._callbacks.start(lambda: callback(*_attempt(call, failed)))
            return failed(ErrorCode.noReply, "")

        return _attempt(start, failed)

    # -- §2.3.3 Registration

    def register_asa(self, name: str) -> tuple[int, int | None]:
        """Returns errorcode, asa_handle. ``dupASA``, ``ASAfull``."""

        def call() -> tuple[int, int | None]:
            own_name = text_in("name", name)
            return ErrorCode.ok, self._start().register_asa(own_name)

        return _attempt(call, lambda code, _: (code, None))

    def deregister_asa(self, asa_handle: int, name: str) -> int:
        """End its sessions and forget its objectives. ``noASA``, ``notYourASA``."""

        def call() -> int:
            asa = number_in("asa_handle", asa_handle)
            self._core().deregister_asa(asa, text_in("name", name))
            return ErrorCode.ok

        return _attempt(call, _only)

    def register_objective(
        self,
        asa_handle: int,
        objective: objective,
        ttl: int = GRASP_DEF_TIMEOUT,
        discoverable: bool = False,
        overlap: bool = False,
        local: bool = False,
    ) -> int:
        """``notBoth``, ``notDry``, ``objReg``, ``objFull``."""

        def call() -> int:
            registration = Registration(
                objective_in(objective),
                number_in("ttl", ttl),
                flag_in("discoverable", discoverable),
                flag_in("overlap", overlap),
                flag_in("local", local),
            )
            self._core().register_objective(number_in("asa_handle", asa_handle), registration)
            return ErrorCode.ok

        return _attempt(call, _only)

    def deregister_objective(self, asa_handle: int, objective: objective) -> int:
        """``notObj``, ``notYourObj``."""
        return self._named(asa_handle, objective, lambda core: core.deregister_objective)

    # -- §2.3.4 Discovery

    def discover(
        self,
        asa_handle: int,
        objective: objective,
        timeout: int,
        minimum_TTL: int,
        *,
        callback: Callback = None,
    ) -> tuple[int, list[ASA_locator]]:
        """Returns errorcode, locator_list; the list is empty when nobody answers, and on failure.

        It takes all of ``timeout``; 0 looks into the cache only. Cached locators with no more than
        ``minimum_TTL`` ms left are forgotten first, so 0 forgets all.
        """

        def prepare() -> Callable[[], tuple[int, list[ASA_locator]]]:
            asa, wanted = number_in("asa_handle", asa_handle), objective_in(objective)
            wait, minimum = number_in("timeout", timeout), number_in("minimum_TTL", minimum_TTL)
            core = self._core()
            return lambda: (
                ErrorCode.ok,
                [discovered_out(each) for each in core.discover(asa, wanted, wait, minimum, None)],
            )

        return self._wait(prepare, lambda code, _: (code, []), callback)

    # -- §2.3.5 Negotiation

    def request_negotiate(
        self,
        asa_handle: int,
        objective: objective,
        peer: ASA_locator | None,
        timeout: int,
        *,
        callback: Callback = None,
    ) -> Stepped:
        """Returns errorcode, session_handle, proffered_objective, reason.

        ``peer`` None discovers one. On success without session_handle the peer has accepted. ``reason`` is
        empty unless the code is ``declined``.
        """

        def prepare() -> Callable[[], Stepped]:
            asa, wanted, where = number_in("asa_handle", asa_handle), objective_in(objective), peer_in(peer)
            wait, core = number_in("timeout", timeout), self._core()
            return lambda: _stepped(core.request_negotiate(asa, wanted, where, wait))

        return self._wait(prepare, _no_step, callback)

    def listen_negotiate(
        self, asa_handle: int, objective: objective, *, callback: Callback = None
    ) -> tuple[int, SessionHandle | None, objective | None]:
        """Returns errorcode, session_handle, requested_objective, when a request comes.

        ``noSession`` after :meth:`stop_listen_negotiate`. Requests between two calls are kept.
        """

        def prepare() -> Callable[[], Requested]:
            asa, name = number_in("asa_handle", asa_handle), negotiated_in(objective).name
            core = self._core()

            def call() -> Requested:
                session, requested = core.listen_negotiate(asa, name, None)
                return ErrorCode.ok, session, objective_out(requested)

            return call

        return self._wait(prepare, lambda code, _: (code, None, None), callback)

    def stop_listen_negotiate(self, asa_handle: int, objective: objective) -> int:
        """End every :meth:`listen_negotiate` of this objective, from any other thread."""
        return self._named(asa_handle, objective, lambda core: core.stop_listen_negotiate)

    def negotiate_step(
        self,
        asa_handle: int,
        session_handle: SessionHandle,
        objective: objective,
        timeout: int,
        *,
        callback: Callback = None,
    ) -> Stepped:
        """Returns errorcode, session_handle, proffered_objective, reason, as :meth:`request_negotiate` does.

        The loop count that counts is the session's own, whatever ``objective`` has. After
        ``badArgument``, ``tooLong`` and ``busy`` nothing was sent and the session goes on.
        """

        def prepare() -> Callable[[], Stepped]:
            asa, session = number_in("asa_handle", asa_handle), session_in(session_handle)
            offer, wait = objective_in(objective), number_in("timeout", timeout)
            core = self._core()
            return lambda: _stepped(core.negotiate_step(asa, session, offer, wait))

        return self._wait(prepare, _no_step, callback)

    def negotiate_wait(self, asa_handle: int, session_handle: SessionHandle, timeout: int) -> int:
        """Have the peer wait ``timeout`` ms from now. ``sockErrWait``."""

        def call() -> int:
            asa, session = number_in("asa_handle", asa_handle), session_in(session_handle)
            self._core().negotiate_wait(asa, session, number_in("timeout", timeout))
            return ErrorCode.ok

        return _attempt(call, _only)

    def end_negotiate(
        self, asa_handle: int, session_handle: SessionHandle, result: bool, reason: str | None = None
    ) -> int:
        """Accept the peer's last proposal or decline, ``reason`` being for people. ``sockErrEnd``."""

        def call() -> int:
            asa, session = number_in("asa_handle", asa_handle), session_in(session_handle)
            accept = flag_in("result", result)
            why = None if reason is None else text_in("reason", reason)
            self._core().end_negotiate(asa, session, accept, None if accept else why)
            return ErrorCode.ok

        return _attempt(call, _only)

    # -- §2.3.6 Synchronization and Flooding

    def synchronize(
        self,
        asa_handle: int,
        objective: objective,
        peer: ASA_locator | None,
        timeout: int,
        *,
        callback: Callback = None,
    ) -> tuple[int, objective | None]:
        """Returns errorcode, result.

        ``peer`` None takes the flooded value if there is one, else asks a discovered peer.
        """

        def prepare() -> Callable[[], tuple[int, Any]]:
            asa, wanted, where = number_in("asa_handle", asa_handle), synchronized_in(objective), peer_in(peer)
            wait, core = number_in("timeout", timeout), self._core()
            return lambda: (ErrorCode.ok, objective_out(core.synchronize(asa, wanted, where, wait)))

        return self._wait(prepare, lambda code, _: (code, None), callback)

    def listen_synchronize(self, asa_handle: int, objective: objective) -> int:
        """Answer with this value from now on. Does not block; repeat it when the value changes."""

        def call() -> int:
            asa, answer = number_in("asa_handle", asa_handle), synchronized_in(objective)
            self._core().listen_synchronize(asa, answer)
            return ErrorCode.ok

        return _attempt(call, _only)

    def stop_listen_synchronize(self, asa_handle: int, objective: objective) -> int:
        """Answer no more."""
        return self._named(asa_handle, objective, lambda core: core.stop_listen_synchronize)

    def flood(self, asa_handle: int, ttl: int, tagged_objective_list: list[tagged_objective]) -> int:
        """``ttl`` 0 is for ever. A locator ``::`` becomes each link's own address, and stays on the link.

        ``tooLong`` if it does not fit into one multicast; ``noInterface`` if no link took it: it is in the
        cache of this node only.
        """

        def call() -> int:
            items = items_in(tagged_objective_list)
            sent = self._core().flood(number_in("asa_handle", asa_handle), number_in("ttl", ttl), items)
            return ErrorCode.ok if sent else ErrorCode.noInterface

        return _attempt(call, _only)

    def get_flood(self, asa_handle: int, objective: objective) -> tuple[int, list[tagged_objective] | None]:
        """Returns errorcode, tagged_objective_list; the list is empty when nothing of it is cached."""

        def call() -> tuple[int, list[tagged_objective] | None]:
            name = synchronized_in(objective).name
            found = self._core().get_flood(number_in("asa_handle", asa_handle), name)
            return ErrorCode.ok, [tagged_out(each) for each in found]

        return _attempt(call, lambda code, _: (code, None))

    def expire_flood(self, asa_handle: int, tagged_objective: tagged_objective) -> int:
        """Forget one that :meth:`get_flood` has returned. ``notObj`` if it is not cached any more."""

        def call() -> int:
            name, locator = tag_in(tagged_objective)
            self._core().expire_flood(number_in("asa_handle", asa_handle), name, locator)
            return ErrorCode.ok

        return _attempt(call, _only)

    # -- §2.3.7 Invalid Message Function

    def send_invalid(self, asa_handle: int, session_handle: SessionHandle, info: bytes = b"") -> int:
        """End the session with M_INVALID; of ``info`` as much is sent as fits. ``sockErrEnd``."""

        def call() -> int:
            asa, session = number_in("asa_handle", asa_handle), session_in(session_handle)
            self._core().send_invalid(asa, session, bytes_in("info", info))
            return ErrorCode.ok

        return _attempt(call, _only)

    # -- what several have in common

    def _named(self, asa_handle: int, given: objective, choose: Callable[[Calls], Callable[[int, str], None]]) -> int:
        def call() -> int:
            asa, name = number_in("asa_handle", asa_handle), objective_in(given).name
            choose(self._core())(asa, name)
            return ErrorCode.ok

        return _attempt(call, _only)


def _attempt(call: Callable[[], R], failed: Callable[[ErrorCode, str], R]) -> R:
    try:
        return call()
    except Declined as error:
        return failed(error.code, error.reason)
    except GraspError as error:
        _log.debug("%s", error)
        return failed(error.code, "")
    except Exception:
        _log.exception("unexpected failure")
        return failed(ErrorCode.unspec, "")


def _only(code: ErrorCode, _reason: str) -> int:
    return code


def _no_step(code: ErrorCode, reason: str) -> Stepped:
    return code, None, None, reason


def _stepped(step: Step) -> Stepped:
    return ErrorCode.ok, step.session, objective_out(step.objective), ""
