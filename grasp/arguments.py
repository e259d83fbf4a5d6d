"""What a caller may pass where an objective, a peer, a text or a handler is wanted; all raise ``badArgument``."""

from __future__ import annotations

from grasp.calls import Peer
from grasp.core.shared import peer_of
from grasp.errors import ErrorCode, LocalError
from grasp.locators import Discovered
from grasp.wire import FQDNLocator, IPv4Locator, IPv6Locator, Locator, Objective, URILocator

Somewhere = Discovered | Peer | Locator
"""A peer, as found by discovery or as a locator with a routed address."""


def peer_from(where: Somewhere | None) -> Peer | None:
    if where is None or isinstance(where, Peer):
        return where
    if isinstance(where, Discovered):
        return peer_of(where)
    if not isinstance(where, IPv6Locator | IPv4Locator | FQDNLocator | URILocator):
        raise LocalError(ErrorCode.badArgument, f"peer must be a Discovered, a Peer or a locator, not {where!r:.80}")
    return Peer(where)


def check_objective(objective: object) -> Objective:
    if not isinstance(objective, Objective):
        raise LocalError(ErrorCode.badArgument, f"an objective must be a grasp.Objective, not {objective!r:.80}")
    return objective


def check_text(what: str, text: object) -> None:
    try:
        if isinstance(text, str):
            text.encode()
            return
    except UnicodeEncodeError:
        pass
    raise LocalError(ErrorCode.badArgument, f"{what} must be UTF-8 text, not {text!r:.80}")


def check_handler(handler: object) -> None:
    if not callable(handler):
        raise LocalError(ErrorCode.badArgument, f"a handler must be callable, not {handler!r:.80}")
