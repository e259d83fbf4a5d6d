"""Which back end a node has: the one its configuration names, or the first that can do what is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from asa.config import EnforcementSection
from asa.dataplane.backend import Backend, Unfit
from asa.dataplane.plan import Line

AUTO: Final = ("tc-nft", "tc-u32")
"""Tried in this order. Open vSwitch is chosen by name only: a switch that is there need not carry this traffic."""

# Each is loaded when it is chosen, for most nodes have one, and what it needs.


def _record(section: EnforcementSection, now: Callable[[], float]) -> Backend:
    from asa.dataplane.record import Record

    return Record()


def _tc_nft(section: EnforcementSection, now: Callable[[], float]) -> Backend:
    from asa.dataplane.nft.classifier import Nftables
    from asa.dataplane.tc.control import TrafficControl

    return TrafficControl(Nftables(now), section.take_over, now)


def _tc_u32(section: EnforcementSection, now: Callable[[], float]) -> Backend:
    from asa.dataplane.tc.control import TrafficControl
    from asa.dataplane.u32.classifier import U32

    return TrafficControl(U32(), section.take_over)


def _openvswitch(section: EnforcementSection, now: Callable[[], float]) -> Backend:
    from asa.dataplane.openvswitch import OpenVSwitch

    return OpenVSwitch(section.ovsdb, section.take_over, now=now)


_MADE: Final[Mapping[str, Callable[[EnforcementSection, Callable[[], float]], Backend]]] = {
    "record": _record,
    "tc-nft": _tc_nft,
    "tc-u32": _tc_u32,
    "openvswitch": _openvswitch,
}


def backend_for(section: EnforcementSection, lines: Sequence[Line], now: Callable[[], float] = time.time) -> Backend:
    """Not probed yet, unless ``auto`` had to find out. ``now``: UNIX s, of the clock that says when entries expire; a
    deputy, and the warden of u32, have the system's. Raises Unfit, with what each lacks, if none can do it here, and
    EnforcementFailed."""
    if section.deputy is not None and section.backend != "record":
        from asa.dataplane.deputy.remote import Remote

        return Remote(section.deputy)
    if section.backend != "auto":
        return _MADE[section.backend](section, now)
    lacking = []
    for name in AUTO:
        found = _MADE[name](section, now)
        try:
            found.probe(lines)
        except Unfit as error:
            found.close()
            lacking.append(f"{name}: {error.message}")
        except BaseException:
            found.close()
            raise
        else:
            return found
    raise Unfit(
        f"no back end can be used here: {'; '.join(lacking)}",
        hint='give the agent CAP_NET_ADMIN, tc and nft, or an asa deputy that has them; or set backend = "record"',
    )
