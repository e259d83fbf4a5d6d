"""The data structures of RFC 8991 §2.3.2 under their own names. All mutable, none knows the core."""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from grasp.constants import GRASP_DEF_LOOPCT, IPPROTO_TCP


class objective:
    """A GRASP objective, as in the RFC's Python example (§2.3.2.4).

    ``value`` is anything CBOR has a form for. A :class:`~grasp.cbor.RawCBOR` (an encoded item) travels as
    tag 24 and arrives as one: unwrapped, not decoded. Set at most one of ``negotiate`` and ``synch``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.negotiate = False
        self.dryrun = False
        self.synch = False
        self.loop_count = GRASP_DEF_LOOPCT
        self.value: Any = None

    @property
    def neg(self) -> bool:
        """The RFC's text says ``neg`` where its Python example says ``negotiate``."""
        return self.negotiate

    @neg.setter
    def neg(self, supported: bool) -> None:
        self.negotiate = supported

    @property
    def dry(self) -> bool:
        """The RFC's text says ``dry`` where its Python example says ``dryrun``."""
        return self.dryrun

    @dry.setter
    def dry(self, supported: bool) -> None:
        self.dryrun = supported

    def __repr__(self) -> str:
        flags = "".join(f" {flag}" for flag in ("negotiate", "dryrun", "synch") if getattr(self, flag))
        return f"<objective {self.name!r}{flags} loop_count={self.loop_count} value={self.value!r}>"


class ASA_locator:
    """Where an ASA is (§2.3.2.5).

    ``locator`` is an ``ipaddress`` address or a text; one of ``is_ipaddress``, ``is_fqdn`` and ``is_uri``
    says which, the first is set for an address. ``ifi`` is the interface index it was learnt on, 0 for
    none. ``expire`` is in seconds of :func:`time.monotonic`, infinite for never. ``protocol`` is 6 (TCP)
    or 17 (UDP), ``port`` 0..65535; both are None where a URI says it all.
    """

    def __init__(self, locator: IPv6Address | IPv4Address | str, ifi: int = 0, diverted: bool = False) -> None:
        self.locator = locator
        self.ifi = ifi
        self.expire: float = math.inf
        self.diverted = diverted
        self.protocol: int | None = IPPROTO_TCP
        self.port: int | None = 0
        self.is_ipaddress = isinstance(locator, IPv6Address | IPv4Address)
        self.is_fqdn = False
        self.is_uri = False

    def __repr__(self) -> str:
        return f"<ASA_locator {self.locator} protocol={self.protocol} port={self.port} ifi={self.ifi}>"


class tagged_objective:
    """An objective and the ASA_locator that goes with it, or None (§2.3.2.6)."""

    def __init__(self, objective: objective, locator: ASA_locator | None = None) -> None:
        self.objective = objective
        self.locator = locator

    def __repr__(self) -> str:
        return f"<tagged_objective {self.objective!r} {self.locator!r}>"
