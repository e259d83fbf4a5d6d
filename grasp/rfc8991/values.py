"""RFC 8991's arguments and structures as values of the core, both ways.

``…_in`` raise :class:`~grasp.errors.LocalError` ``badArgument`` for a wrong type or range, and
``invalidLoc`` for a locator GRASP has no form for.
"""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from grasp.calls import FloodItem, Peer, SessionHandle
from grasp.cbor import as_received
from grasp.constants import F_DISC, F_NEG, F_NEG_DRY, F_SYNCH
from grasp.errors import ErrorCode, LocalError
from grasp.flooding import TaggedObjective
from grasp.locators import Discovered
from grasp.rfc8991.structures import ASA_locator, objective, tagged_objective
from grasp.wire import FQDNLocator, IPv4Locator, IPv6Locator, Locator, Objective, URILocator


def _wrong(name: str, wanted: str, given: object) -> LocalError:
    return LocalError(ErrorCode.badArgument, f"{name} must be {wanted}, not {type(given).__name__}")


def number_in(name: str, given: object) -> int:
    """An unsigned 32-bit integer (§2.3.2.1)."""
    if type(given) is not int:
        raise _wrong(name, "an integer", given)
    if not 0 <= given <= 0xFFFF_FFFF:
        raise LocalError(ErrorCode.badArgument, f"{name} must be 0..2^32-1, not {given!r:.40}")
    return given


def flag_in(name: str, given: object) -> bool:
    if type(given) is not bool:
        raise _wrong(name, "True or False", given)
    return given


def text_in(name: str, given: object) -> str:
    if type(given) is not str:
        raise _wrong(name, "text", given)
    return given


def bytes_in(name: str, given: object) -> bytes:
    if not isinstance(given, bytes | bytearray | memoryview):
        raise _wrong(name, "bytes", given)
    return bytes(given)


def session_in(given: object) -> SessionHandle:
    """Raises ``noSession`` for None, which stands for a negotiation that is over."""
    if given is None:
        raise LocalError(ErrorCode.noSession, "the negotiation has ended")
    if type(given) is not SessionHandle:
        raise _wrong("session_handle", "one that a call has returned", given)
    return given


def objective_in(given: object) -> Objective:
    """A copy, value and all: the ASA may change its objective while a callback is pending."""
    if not isinstance(given, objective):
        raise _wrong("objective", "an rfc8991.objective", given)
    flags = F_DISC
    for name, bit in (("negotiate", F_NEG), ("dryrun", F_NEG_DRY), ("synch", F_SYNCH)):
        flags |= bit if flag_in(name, getattr(given, name)) else 0
    return Objective(given.name, flags, given.loop_count, as_received(given.value))


def synchronized_in(given: object) -> Objective:
    """Raises ``notSynch`` unless ``synch`` is set."""
    wanted = objective_in(given)
    if not wanted.synchronizable:
        raise LocalError(ErrorCode.notSynch, wanted.name)
    return wanted


def negotiated_in(given: object) -> Objective:
    """Raises ``notNeg`` unless ``negotiate`` is set."""
    wanted = objective_in(given)
    if not wanted.negotiable:
        raise LocalError(ErrorCode.notNeg, wanted.name)
    return wanted


def objective_out(core: Objective) -> objective:
    """An absent value is None, as null is."""
    result = objective(core.name)
    result.negotiate = core.negotiable
    result.dryrun = core.dry_run
    result.synch = core.synchronizable
    result.loop_count = core.loop_count
    result.value = core.value if core.has_value else None
    return result


def locator_in(given: object) -> Locator:
    if not isinstance(given, ASA_locator):
        raise _wrong("locator", "an rfc8991.ASA_locator", given)
    kinds = [flag_in(name, getattr(given, name)) for name in ("is_ipaddress", "is_fqdn", "is_uri")]
    if sum(kinds) != 1:
        raise LocalError(ErrorCode.invalidLoc, "exactly one of is_ipaddress, is_fqdn and is_uri must be set")
    is_ipaddress, is_fqdn, _ = kinds
    # The constructors check what is merely declared here.
    where: Any = given.locator
    protocol: Any = given.protocol
    port: Any = given.port
    if is_fqdn:
        return FQDNLocator(where, protocol, port)
    if not is_ipaddress:
        return URILocator(where, protocol, port)
    address = _address_in(where)
    if isinstance(address, IPv4Address):
        return IPv4Locator(address, protocol, port)
    return IPv6Locator(address, protocol, port)


def _address_in(where: object) -> IPv4Address | IPv6Address:
    if isinstance(where, IPv4Address | IPv6Address):
        return where
    try:
        return ip_address(text_in("locator", where))
    except ValueError:
        raise LocalError(ErrorCode.invalidLoc, f"{where!r:.80} is no IP address") from None


def peer_in(given: object) -> Peer | None:
    if given is None:
        return None
    locator = locator_in(given)
    assert isinstance(given, ASA_locator)
    link_local = isinstance(locator, IPv6Locator) and locator.address.is_link_local
    return Peer(locator, number_in("ifi", given.ifi) if link_local else 0)


def _tagged_in(given: object) -> tagged_objective:
    if not isinstance(given, tagged_objective):
        raise _wrong("tagged_objective", "an rfc8991.tagged_objective", given)
    return given


def tag_in(given: object) -> tuple[str, Locator | None]:
    """What tells one cached flood from another: the objective's name and the locator."""
    tagged = _tagged_in(given)
    return objective_in(tagged.objective).name, None if tagged.locator is None else locator_in(tagged.locator)


def items_in(given: object) -> list[FloodItem]:
    if not isinstance(given, list | tuple):
        raise _wrong("tagged_objective_list", "a list", given)
    items = [_tagged_in(each) for each in given]
    return [
        FloodItem(synchronized_in(each.objective), None if each.locator is None else locator_in(each.locator))
        for each in items
    ]


def _locator_out(locator: Locator, ifi: int, expire: float | None, diverted: bool) -> ASA_locator:
    if isinstance(locator, IPv6Locator | IPv4Locator):
        result = ASA_locator(locator.address, ifi, diverted)
    elif isinstance(locator, FQDNLocator):
        result = ASA_locator(locator.name, ifi, diverted)
        result.is_fqdn = True
    else:
        result = ASA_locator(locator.uri, ifi, diverted)
        result.is_uri = True
    result.protocol, result.port = locator.protocol, locator.port
    result.expire = math.inf if expire is None else expire
    return result


def discovered_out(found: Discovered) -> ASA_locator:
    return _locator_out(found.locator, found.interface, found.expires, found.diverted)


def tagged_out(found: TaggedObjective) -> tagged_objective:
    locator = None
    if found.locator is not None:
        locator = _locator_out(found.locator, found.interface, found.expires, False)
    return tagged_objective(objective_out(found.objective), locator)
