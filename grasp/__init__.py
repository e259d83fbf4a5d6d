"""GRASP, the GeneRic Autonomic Signaling Protocol (RFC 8990), and its API (RFC 8991).

>>> import grasp
>>> with grasp.Node(["eth0"]) as node:                                    # doctest: +SKIP
...     asa = node.register_asa("example")
...     asa.register(grasp.Objective.negotiation("EX3"))
...     with asa.negotiate(grasp.Objective.negotiation("EX3", ["NZD", 47])) as negotiation:
...         if not negotiation.agreed:
...             negotiation.accept()

:mod:`grasp.rfc8991` has the functions of RFC 8991 under their own names.
"""

from grasp.api import ASA, Node
from grasp.calls import FloodItem, Peer
from grasp.cbor import RawCBOR, Tag
from grasp.core.core import Statistics
from grasp.dull import Dull
from grasp.errors import Declined, ErrorCode, GraspError, LocalError, PeerError, WireError
from grasp.flooding import TaggedObjective
from grasp.limits import Limits
from grasp.locators import Discovered
from grasp.member import Member
from grasp.negotiation import Negotiation
from grasp.transport import Neighbour
from grasp.wire import NO_VALUE, FQDNLocator, IPv4Locator, IPv6Locator, Locator, Objective, URILocator

__all__ = [
    "ASA",
    "NO_VALUE",
    "Declined",
    "Discovered",
    "Dull",
    "ErrorCode",
    "FQDNLocator",
    "FloodItem",
    "GraspError",
    "IPv4Locator",
    "IPv6Locator",
    "Limits",
    "LocalError",
    "Locator",
    "Member",
    "Negotiation",
    "Neighbour",
    "Node",
    "Objective",
    "Peer",
    "PeerError",
    "RawCBOR",
    "Statistics",
    "Tag",
    "TaggedObjective",
    "URILocator",
    "WireError",
]
