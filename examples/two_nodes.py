"""Two GRASP nodes find each other, negotiate, synchronize and flood, before your eyes.

    python -m examples.two_nodes            # in two hosts made for it; needs network namespaces

``north`` and ``south`` are one process each. North can spare bandwidth and negotiates it as EX1; south
publishes its configuration as EX2; both flood their router IDs as EX3. Each checks what it gets, and the
whole exits with 0 only if everything happened.
"""

from __future__ import annotations

import queue
import sys
import threading
from ipaddress import IPv6Address

import grasp
from examples.stage import play, say
from grasp import FloodItem, IPv6Locator, Negotiation, Objective

CONFIGURATION = {"mtu": 9000, "area": "0.0.0.7"}
ROUTER_IDS = {"north": "2001:db8::a", "south": "2001:db8::b"}
TIMEOUT = 5_000  # ms
PORT_OF_BGP = 179


def expect(what: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise SystemExit(f"{what}: {seen!r} instead of {expected!r}")


def north(node: grasp.Node) -> None:
    asa = node.register_asa("spare-bandwidth")
    asa.register(Objective.negotiation("EX1"))
    bids: queue.Queue[int] = queue.Queue()

    def haggle(negotiation: Negotiation) -> None:
        """South wants 800 Mbit/s. We begin with 500, and take what it says then."""
        bids.put(negotiation.offer.value)
        say(f"asked by {negotiation.peer} for {negotiation.offer.value} Mbit/s; offers 500")
        if not negotiation.propose(500, TIMEOUT):
            say(f"counter-offer of {negotiation.offer.value} Mbit/s; accepts")
            bids.put(negotiation.accept().value)

    asa.on_negotiate("EX1", haggle)
    found = discover(asa, "EX2")
    configuration = asa.synchronize("EX2", found, TIMEOUT).value
    say(f"synchronized EX2: {configuration}")
    expect("EX2", configuration, CONFIGURATION)
    expect("south's bids", [bids.get(timeout=TIMEOUT / 1000) for _ in range(2)], [800, 600])
    exchange_floods(asa, "north", "south")


def south(node: grasp.Node) -> None:
    asa = node.register_asa("customer")
    asa.register(Objective.negotiation("EX1"))
    asa.register(Objective.synchronization("EX2"))
    asa.publish(Objective.synchronization("EX2", CONFIGURATION))
    found = discover(asa, "EX1")
    say("requests 800 Mbit/s")
    with asa.negotiate(Objective.negotiation("EX1", 800), found, TIMEOUT) as negotiation:
        say(f"is offered {negotiation.offer.value} Mbit/s; wants 600")
        expect("first offer", negotiation.offer.value, 500)
        expect("the answer to 600 Mbit/s", negotiation.propose(600, TIMEOUT), True)
    say(f"agreed on {negotiation.offer.value} Mbit/s")
    exchange_floods(asa, "south", "north")


def discover(asa: grasp.ASA, name: str) -> grasp.Discovered:
    found = asa.discover(name, TIMEOUT)
    if not found:
        raise SystemExit(f"nobody has {name}")
    locator = found[0].locator
    assert isinstance(locator, IPv6Locator)
    say(f"discovered {name} at [{locator.address}]:{locator.port}")
    return found[0]


def exchange_floods(asa: grasp.ASA, own: str, other: str) -> None:
    """Both flood EX3. The locators tell the two copies in the caches apart."""
    asa.register(Objective.synchronization("EX3"))
    arrived: dict[str, str] = {}
    complete = threading.Event()

    def note(tagged: grasp.TaggedObjective) -> None:
        locator = tagged.locator
        assert isinstance(locator, IPv6Locator)
        arrived[tagged.objective.value] = str(locator.address)
        if other in arrived:
            complete.set()

    asa.on_flood("EX3", note)
    for tagged in asa.floods("EX3"):
        note(tagged)
    say(f"floods EX3: {own} has router ID {ROUTER_IDS[own]}")
    locator = IPv6Locator(IPv6Address(ROUTER_IDS[own]), 6, PORT_OF_BGP)
    asa.flood(FloodItem(Objective.synchronization("EX3", own), locator))
    if not complete.wait(TIMEOUT / 1000):
        raise SystemExit(f"no flood of {other}")
    say(f"received EX3: {other} has router ID {arrived[other]}")
    expect("flood", arrived[other], ROUTER_IDS[other])


def main(arguments: list[str]) -> int:
    if not arguments:
        code = play("examples.two_nodes", ("north", "south"))
        say("FAILED" if code else "discovery, negotiation, synchronization and flooding: all done")
        return code
    role, interface = arguments
    with grasp.Node([interface]) as node:
        say(f"is a GRASP node at [{node.interfaces[0].link_local}]:{node.port}")
        {"north": north, "south": south}[role](node)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
