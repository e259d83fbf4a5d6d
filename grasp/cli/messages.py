"""Messages, objectives and locators as JSON and as one line of text."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from typing import Final

from grasp.cli.output import safe, text_of
from grasp.cli.values import JSON, value_to_json
from grasp.constants import F_DISC, F_NEG, F_NEG_DRY, F_SYNCH, IPPROTO_UDP, MessageType, OptionType
from grasp.wire import (
    NO_VALUE,
    Accept,
    Address,
    Discovery,
    Divert,
    End,
    Flood,
    FloodEntry,
    FQDNLocator,
    Invalid,
    IPv4Locator,
    IPv6Locator,
    Locator,
    Message,
    Objective,
    Response,
    URILocator,
    Wait,
)

_FLAGS: Final = {F_DISC: "F_DISC", F_NEG: "F_NEG", F_SYNCH: "F_SYNCH", F_NEG_DRY: "F_NEG_DRY"}
_KINDS: Final = {
    IPv6Locator: OptionType.O_IPv6_LOCATOR,
    IPv4Locator: OptionType.O_IPv4_LOCATOR,
    FQDNLocator: OptionType.O_FQDN_LOCATOR,
    URILocator: OptionType.O_URI_LOCATOR,
}
NAME_LIMIT: Final = 200
"""Characters of a name, reason or URI shown to people."""


def flag_names(flags: int) -> list[str]:
    return [name for bit, name in _FLAGS.items() if flags & bit]


def message_name(message: Message) -> str:
    """Its name in RFC 8990 §4."""
    return MessageType(message.to_item()[0]).name


def interface_name(index: int) -> str:
    """The name of an interface, its index where it has none any more."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def endpoint(address: Address, port: int, interface: int = 0) -> str:
    """``[v6]:port``, ``[v6%interface]:port`` for a link-local address, ``v4:port``: what ``--peer`` takes."""
    if isinstance(address, IPv4Address):
        return f"{address}:{port}"
    zone = f"%{interface_name(interface)}" if interface and address.is_link_local else ""
    return f"[{address}{zone}]:{port}"


# -- as JSON


def objective_json(objective: Objective) -> dict[str, JSON]:
    """``value`` is absent where the objective has none; null is a value."""
    found: dict[str, JSON] = {
        "name": objective.name,
        "flags": flag_names(objective.flags),
        "loop_count": objective.loop_count,
    }
    if objective.value is not NO_VALUE:
        found["value"] = value_to_json(objective.value)
    return found


def locator_json(locator: Locator) -> dict[str, JSON]:
    found: dict[str, JSON] = {"type": _KINDS[type(locator)].name}
    if isinstance(locator, URILocator):
        found["uri"] = locator.uri
    elif isinstance(locator, FQDNLocator):
        found["name"] = locator.name
    else:
        found["address"] = str(locator.address)
    return found | {"protocol": locator.protocol, "port": locator.port}


def message_json(message: Message) -> dict[str, JSON]:
    """Keys are the field names of RFC 8990 §2.8; times are ms."""
    found: dict[str, JSON] = {"type": message_name(message)}
    if hasattr(message, "session_id"):
        found["session_id"] = message.session_id
    if isinstance(message, Discovery | Response | Flood):
        found["initiator"] = str(message.initiator)
    if isinstance(message, Response | Flood):
        found["ttl"] = message.ttl
    if isinstance(message, Response):
        where = [locator_json(each) for each in message.locators]
        found["divert" if isinstance(message.where, Divert) else "locators"] = where
        if message.objective is not None:
            found["objective"] = objective_json(message.objective)
    elif isinstance(message, Flood):
        found["objectives"] = [_entry_json(entry) for entry in message.entries]
    elif isinstance(message, End):
        found["accept"] = isinstance(message.option, Accept)
        if not isinstance(message.option, Accept):
            found["reason"] = message.option.reason
    elif isinstance(message, Wait):
        found["waiting_time"] = message.waiting_time
    elif isinstance(message, Invalid):
        if message.content is not NO_VALUE:
            found["content"] = value_to_json(message.content)
    elif hasattr(message, "objective"):
        found["objective"] = objective_json(message.objective)
    return found


def _entry_json(entry: FloodEntry) -> dict[str, JSON]:
    locator = None if entry.locator is None else locator_json(entry.locator)
    return objective_json(entry.objective) | {"locator": locator}


# -- as text


def locator_text(locator: Locator, interface: int = 0) -> str:
    if isinstance(locator, URILocator):
        text = safe(locator.uri, NAME_LIMIT)
        return text if locator.port is None else f"{text} port {locator.port}"
    if isinstance(locator, FQDNLocator):
        text = f"{safe(locator.name, NAME_LIMIT)}:{locator.port}"
    else:
        text = endpoint(locator.address, locator.port, interface)
    return f"{text}/udp" if locator.protocol == IPPROTO_UDP else text


def objective_text(objective: Objective, limit: int) -> str:
    """``NAME (flags, loop count) = value``, the value cut to ``limit`` characters."""
    flags = "|".join(name.removeprefix("F_") for name in flag_names(objective.flags)) or "no flags"
    head = f"{safe(objective.name, NAME_LIMIT)} ({flags}, loop {objective.loop_count})"
    if objective.value is NO_VALUE:
        return head
    return f"{head} = {text_of(value_to_json(objective.value), limit)}"


def message_text(message: Message, limit: int) -> str:
    """What follows the message's name in a line about it."""
    parts = []
    if hasattr(message, "session_id"):
        parts.append(f"session {message.session_id}")
    if isinstance(message, Discovery | Response | Flood):
        parts.append(f"initiator {message.initiator}")
    if isinstance(message, Response | Flood):
        parts.append(f"ttl {message.ttl} ms")
    if isinstance(message, Response):
        where = ", ".join(locator_text(each) for each in message.locators)
        parts.append(f"{'divert to' if message.diverted else 'at'} {where}")
        if message.objective is not None:
            parts.append(objective_text(message.objective, limit))
    elif isinstance(message, Flood):
        parts += [_entry_text(entry, limit) for entry in message.entries]
    elif isinstance(message, End):
        reason = "" if isinstance(message.option, Accept) else message.option.reason or ""
        verdict = "accept" if isinstance(message.option, Accept) else "decline"
        parts.append(f"{verdict}: {safe(reason, NAME_LIMIT)}" if reason else verdict)
    elif isinstance(message, Wait):
        parts.append(f"wait {message.waiting_time} ms")
    elif isinstance(message, Invalid):
        if message.content is not NO_VALUE:
            parts.append(text_of(value_to_json(message.content), limit))
    elif hasattr(message, "objective"):
        parts.append(objective_text(message.objective, limit))
    return "; ".join(parts)


def _entry_text(entry: FloodEntry, limit: int) -> str:
    text = objective_text(entry.objective, limit)
    return text if entry.locator is None else f"{text} at {locator_text(entry.locator)}"
