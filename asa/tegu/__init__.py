"""What a checkpoint of AT&T's Tegu says, as plain values: caps of projects, pledges, a report of every line. No I/O.

A checkpoint is text: ``ucap: <project> <value>`` for each cap, then one JSON object in a line for each pledge, with its
cookie in clear. ``ptype`` tells the kind: 0 two-way, 1 steering, 2 mirror, 3 one-way, 4 passthrough. These names of
fields are accepted, and no others. Names without a comma between them mean the same, and must not contradict each
other:

==================  ================================================================================================
all kinds           ``id``; ``commence``, ``expiry`` (or both in ``window``), UNIX seconds; ``usrkey`` ``cookie``
two-way             ``host1``, ``host2``; ``port1``, ``port2``; ``vlan1``, ``vlan2``; ``bandwin`` ``bandw_in``, to
                    host1, and ``bandwout`` ``bandw_out``, from host1, bit/s; ``dscp``; ``dscp_koe`` ``koe``;
                    ``protocol`` ``proto``; ``match_v6`` ``ipv6``
one-way             ``src``, ``dest``; ``src_port``, ``dest_port``; ``src_vlan``; ``bandwout`` ``bandw_out``;
                    ``dscp``; ``dscp_koe`` ``koe``; ``protocol`` ``proto``; ``match_v6`` ``ipv6``
passthrough         ``host``; ``port``; ``vlan``; ``protocol`` ``proto``
steering            ``host1`` ``ep1``, ``host2`` ``ep2``; ``port1``, ``port2``; ``protocol`` ``proto``; ``tenant_id``
                    ``tenant``; ``mbox_list`` of ids or of objects with ``id``, ``mac``, ``switch`` ``swid``,
                    ``port`` ``swport``
mirror              ``host1`` ``ports``, separated by blanks, a word ``vlan:n,n`` among them; ``host2`` ``output``;
                    ``vlan``; ``tenant_id`` ``tenant``; ``options``; ``qid`` ``physical_host``
passed over         ``state``, ``time``, ``qid``, ``pushed``, ``paused``, ``path_list``, ``gate``; of passthrough
                    ``physical_host`` ``phost``
==================  ================================================================================================

Ports and VLANs may stand behind a host (:mod:`asa.tegu.endpoints`) or in fields of their own. Other fields are left
out, and their number is told.
"""

from __future__ import annotations

from asa.tegu.checkpoint import MAX_BYTES, MAX_LINE, MAX_LINES, Checkpoint, read_checkpoint
from asa.tegu.endpoints import Endpoint
from asa.tegu.pledges import (
    Cap,
    Middlebox,
    Mirror,
    OneWay,
    Passthrough,
    Pledge,
    Protocol,
    Secret,
    Steering,
    Traffic,
    TwoWay,
)
from asa.tegu.report import Code, Entry, Kind, Refused, Report

__all__ = [
    "MAX_BYTES",
    "MAX_LINE",
    "MAX_LINES",
    "Cap",
    "Checkpoint",
    "Code",
    "Endpoint",
    "Entry",
    "Kind",
    "Middlebox",
    "Mirror",
    "OneWay",
    "Passthrough",
    "Pledge",
    "Protocol",
    "Refused",
    "Report",
    "Secret",
    "Steering",
    "Traffic",
    "TwoWay",
    "read_checkpoint",
]
