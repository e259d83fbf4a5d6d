"""Synchronization (RFC 8990 §2.5.6.1; RFC 8991 §2.3.6)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from grasp.calls import Peer
from grasp.cbor import as_received
from grasp.constants import F_NEG, F_NEG_DRY, F_SYNCH, GRASP_DEF_TIMEOUT
from grasp.core.channel import Channel
from grasp.core.registry import Registered
from grasp.core.search import Searches
from grasp.core.shared import Shared, milliseconds
from grasp.errors import ErrorCode, LocalError, PeerError, WireError
from grasp.transport import NotMemberError
from grasp.wire import Invalid, Message, Objective, RequestSynchronization, Synchronization, encode_message

_log = logging.getLogger("grasp.core")

_REASON: Final = 200
"""Characters of the reason for a refusal."""


class Synchronizations:
    """Asking for the value of an objective, and answering."""

    def __init__(self, shared: Shared, searches: Searches) -> None:
        self._shared = shared
        self._searches = searches

    def request(self, asa: int, objective: Objective, peer: Peer | None, timeout: int, rapid: bool) -> Objective:
        """The peer's value. The flood cache is the caller's to look into first."""
        deadline = time.monotonic() + (milliseconds(timeout) or GRASP_DEF_TIMEOUT) / 1000
        if objective.negotiable:
            raise LocalError(ErrorCode.notSynch, objective.name)
        # A request has a value field, null (§2.10.3), as the objective's own format is for its answer.
        wanted = Objective(
            objective.name, (objective.flags | F_SYNCH) & ~(F_NEG | F_NEG_DRY), objective.loop_count, None
        )
        if peer is not None:
            return self._request(wanted, peer, deadline)
        if rapid:
            quick = self._searches.rapid(asa, wanted, deadline)
            if quick is not None:
                session_id, channel, first = quick
                try:
                    return self._judge(wanted, session_id, first)
                finally:
                    channel.close()
                    self._release(session_id)
        return self._searches.with_some_peer(
            asa, wanted, deadline, lambda found: self._request(wanted, found, deadline), ErrorCode.notFloodDisc
        )

    def _request(self, wanted: Objective, peer: Peer, deadline: float) -> Objective:
        shared = self._shared
        with shared.lock:
            shared.check_running()
            limit = shared.registry.max_size(wanted.name)
            session_id = shared.ids.new()
        channel: Channel | None = None
        try:
            channel = shared.connect(peer, deadline, limit)
            channel.send(RequestSynchronization(session_id, wanted), limit)
            try:
                message = channel.receive(deadline)
            except NotMemberError:
                raise
            except TimeoutError:
                raise PeerError(ErrorCode.noSynchReply, f"{wanted.name}: {peer.locator}") from None
            except OSError as error:
                shared.check_running()
                raise PeerError(ErrorCode.noListener, f"{wanted.name}: {peer.locator}: {error}") from None
            except WireError as error:
                raise PeerError(error.code, f"{wanted.name}: {error.detail}") from None
            value = self._judge(wanted, session_id, message)
            channel.release()
            return value
        except OSError as error:
            shared.check_running()
            code = ErrorCode.notMember if isinstance(error, NotMemberError) else ErrorCode.sockErrSynRq
            raise PeerError(code, f"{wanted.name}: {peer.locator}: {error}") from None
        finally:
            if channel is not None:
                channel.close()
            self._release(session_id)

    def _release(self, session_id: int) -> None:
        with self._shared.lock:
            self._shared.ids.release(session_id)

    def _judge(self, wanted: Objective, session_id: int, message: Message) -> Objective:
        if (
            isinstance(message, Synchronization)
            and message.session_id == session_id
            and message.objective.name == wanted.name
            and message.objective.has_value
        ):
            return message.objective
        said = type(message).__name__
        if isinstance(message, Invalid) and isinstance(message.content, str):
            said = f"{said} ({message.content[:_REASON]})"
        raise PeerError(ErrorCode.noValidSynch, f"{wanted.name}: {said} instead of its value")

    def listen(self, asa: int, objective: Objective) -> None:
        """Answer requests with ``objective`` from now on; repeat it when the value changes."""
        shared = self._shared
        if not objective.has_value:
            objective = objective.with_value(None)
        with shared.lock:
            shared.check_running()
            registered = self._synchronizable(asa, objective.name)
        answer = Synchronization(0xFFFF_FFFF, objective.with_value(as_received(objective.value)))
        encode_message(answer, registered.max_size)
        registered.published, registered.provider = answer.objective, None

    def serve(self, asa: int, name: str, provider: Callable[[], Any]) -> None:
        """Answer requests with what ``provider`` returns then."""
        with self._shared.lock:
            self._shared.check_running()
            registered = self._synchronizable(asa, name)
            registered.published, registered.provider = None, provider

    def stop_listen(self, asa: int, name: str) -> None:
        with self._shared.lock:
            registered = self._synchronizable(asa, name)
            registered.published = registered.provider = None

    def _synchronizable(self, asa: int, name: str) -> Registered:
        registered = self._shared.registry.of(asa, name)
        if not registered.registration.objective.synchronizable:
            raise LocalError(ErrorCode.notSynch, name)
        return registered

    def _current(self, registered: Registered) -> Objective | None:
        """The value now; None, which closes the connection, if its ASA fails to give one."""
        provider = registered.provider
        if provider is None:
            return registered.published
        try:
            value = as_received(provider())
            current = registered.registration.objective.with_value(value)
            encode_message(Synchronization(0xFFFF_FFFF, current), registered.max_size)
        except Exception:
            _log.exception("the value of %s could not be made", registered.name)
            return None
        return current

    def requested(self, channel: Channel, message: RequestSynchronization) -> bool:
        """A peer's M_REQ_SYN: answer and close (§2.5.6.1), or close at once when nobody listens (§2.8.6).

        False if it is to be discarded because its session ID is active here.
        """
        shared = self._shared
        with shared.lock:
            if shared.ids.active(message.session_id) and not shared.substrate.is_own(channel.connection.peer):
                shared.counts["session ID clash"] += 1
                return False
            registered = shared.registry.publisher(message.objective.name)
            if registered is None:
                shared.counts["no synchronization listener"] += 1
        try:
            if (why_not := shared.refusal(registered, channel.connection.member)) is not None:
                channel.send(Invalid(message.session_id, why_not[:_REASON]), shared.limits.message_size)
                registered = None
            published = self._current(registered) if registered is not None else None
            if registered is not None and published is not None:
                channel.send(Synchronization(message.session_id, published), registered.max_size)
                channel.release()
                return True
        except OSError:
            pass
        channel.close()
        return True
