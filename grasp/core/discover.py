"""Discovery: answering and relaying it (RFC 8990 §2.5.4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from grasp.core.channel import Channel
from grasp.core.search import Searches
from grasp.core.shared import Shared
from grasp.discovery import Answer, DiscoveryRules, Ignore, Redirect, Relay, Source
from grasp.errors import LocalError
from grasp.locators import Discovered
from grasp.wire import (
    Discovery,
    Divert,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    encode_message,
)


class Discoveries:
    """A core's part in the discoveries of others."""

    def __init__(
        self,
        shared: Shared,
        rules: DiscoveryRules,
        searches: Searches,
        serve: Callable[[Channel, RequestNegotiation | RequestSynchronization], None],
    ) -> None:
        self._shared = shared
        self._rules = rules
        self._searches = searches
        self._serve = serve

    def received(self, message: Discovery, data: bytes, source: Source) -> None:
        """A discovery by multicast."""
        reaction = self._react(message, data, source)
        shared = self._shared
        if isinstance(reaction, Relay):
            self._relay(reaction)
            return
        answer = self._answer(message, source, reaction)
        if answer is None:
            return
        rapid = self._rapid_request(message) if isinstance(reaction, Answer) else None
        if rapid is None:
            self._reply(source, answer)
        elif not shared.tasks.submit(lambda: self._reply_rapidly(source, rapid)):
            shared.counts["discovery: too many rapid requests"] += 1

    def asked(self, channel: Channel, message: Discovery) -> None:
        """A discovery by unicast (§2.5.4.2): as if by multicast, answered on its connection."""
        connection = channel.connection
        source = Source(connection.peer, connection.peer_port, connection.interface, connection.member)
        reaction = self._react(message, channel.received_bytes, source)
        try:
            if isinstance(reaction, Relay):
                answer = self._relayed_for(message, reaction)
            else:
                answer = self._answer(message, source, reaction)
            data = _fitting(answer, self._shared.limits.message_size) if answer is not None else None
            if data is not None:
                connection.send(data)
                channel.release()
                return
        except OSError:
            pass
        channel.close()

    def _react(self, message: Discovery, data: bytes, source: Source) -> Answer | Redirect | Relay | Ignore:
        shared = self._shared
        interfaces = [each.index for each in shared.substrate.interfaces]
        with shared.lock:
            if self._searches.own(message):
                return Ignore("our own")
            supported = shared.registry.discoverable(message.objective.name) is not None
            reaction = self._rules.received(time.monotonic(), message, data, source, supported, interfaces)
            if isinstance(reaction, Ignore):
                shared.counts[f"discovery: {reaction.reason}"] += 1
        return reaction

    def _answer(self, message: Discovery, source: Source, reaction: Answer | Redirect | Ignore) -> Response | None:
        shared = self._shared
        if isinstance(reaction, Redirect):
            return _diverted(message, reaction.entries)
        if isinstance(reaction, Ignore):
            return None
        with shared.lock:
            registered = shared.registry.discoverable(message.objective.name)
        if registered is None:
            return None
        ipv4 = source.address.version == 4
        own = shared.own_locators(source.interface, registered.registration.local, ipv4)
        if not own:
            return None
        return Response(message.session_id, message.initiator, registered.registration.ttl, own)

    def _rapid_request(self, message: Discovery) -> RequestNegotiation | RequestSynchronization | None:
        """The request a rapid discovery stands for, if this node does rapid mode and an ASA listens."""
        shared, objective = self._shared, message.objective
        if not shared.rapid or not objective.has_value:
            return None
        with shared.lock:
            if objective.negotiable and shared.registry.negotiator(objective.name) is not None:
                return RequestNegotiation(message.session_id, objective)
            if objective.synchronizable and shared.registry.publisher(objective.name) is not None:
                return RequestSynchronization(message.session_id, objective)
        return None

    def _connect_back(self, source: Source) -> Channel:
        limits = self._shared.limits
        seconds = limits.reply_connect_ms / 1000
        member = source.member.name if source.member is not None else ""
        connection = self._shared.substrate.connect(source.address, source.port, source.interface, seconds, member)
        channel = Channel(connection, limits.message_size, ours=True)
        channel.reusable = False
        return channel

    def _reply(self, source: Source, response: Response) -> None:
        """An M_RESPONSE to where the multicast came from (§2.5.4.4, §2.8.5), with the locators that fit."""
        data = _fitting(response, self._shared.limits.message_size)
        if data is not None:
            self._shared.substrate.reply(source, data)

    def _reply_rapidly(self, source: Source, request: RequestNegotiation | RequestSynchronization) -> None:
        try:
            channel = self._connect_back(source)
        except OSError:
            self._shared.counts["discovery: asker not reached"] += 1
            return
        self._serve(channel, request)

    def _relayed_for(self, message: Discovery, reaction: Relay) -> Response | None:
        """Relay a unicast discovery and wait for the first response on its behalf."""
        found = self._searches.on_behalf(message, lambda: self._relay(reaction))
        routed = tuple(each for each in found if each.divertible)
        return _diverted(message, routed) if routed else None

    def _relay(self, reaction: Relay) -> None:
        for index in reaction.interfaces:
            self._shared.substrate.multicast(index, reaction.data)

    def responded(self, message: Response, interface: int) -> None:
        """An M_RESPONSE, to a search of this node or to a discovery it has relayed; ``interface`` it came by."""
        shared = self._shared
        with shared.lock:
            wanted = self._searches.waiting(message)
            asked = self._rules.asker(time.monotonic(), message)
        name = wanted if wanted is not None else asked.name if asked is not None else None
        if name is None or (message.objective is not None and message.objective.name != name):
            shared.counts["unsolicited response"] += 1
            return
        learnt = self._searches.learn(name, message, interface)
        if wanted is not None:
            self._searches.found(message, learnt)
            return
        routed = tuple(each.locator for each in learnt if each.divertible)
        if asked is not None and routed:
            # The relay does not support it itself, so what it passes on is a Divert (§2.8.5).
            relayed = Response(message.session_id, message.initiator, message.ttl, Divert(routed))
            self._reply(asked.source, relayed)

    def interfaces_changed(self, gone: frozenset[int]) -> None:
        with self._shared.lock:
            for index in gone:
                self._shared.locators.forget_interface(index)


def _diverted(message: Discovery, entries: tuple[Discovered, ...]) -> Response:
    """A Divert to ``entries``, valid as long as all of them are."""
    ttl = int((min(each.expires for each in entries) - time.monotonic()) * 1000)
    where = Divert(tuple(each.locator for each in entries))
    return Response(message.session_id, message.initiator, max(1, ttl), where)


def _fitting(response: Response, limit: int) -> bytes | None:
    """``response`` in at most ``limit`` bytes, locators left out from the end; None if not even one fits."""
    locators = response.locators
    while locators:
        where = Divert(locators) if response.diverted else locators
        try:
            return encode_message(replace(response, where=where), limit)
        except LocalError:
            locators = locators[:-1]
    return None
