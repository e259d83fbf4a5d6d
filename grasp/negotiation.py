"""A negotiation as an ASA sees it. Times are milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from grasp.arguments import check_text
from grasp.calls import Calls, SessionHandle
from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.errors import ErrorCode, GraspError, LocalError
from grasp.member import Member
from grasp.wire import Address, Objective


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
    def member(self) -> Member | None:
        """Who the peer has proved to be; None where the substrate does not know, and once the negotiation has ended."""
        return self._handle.member if self._handle is not None else None

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
