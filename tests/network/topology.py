"""Networks of any shape, where every host reaches every other by a routed address."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from lab import Host, Lab


def network(lab: Lab, edges: Iterable[tuple[str, str]]) -> dict[str, Host]:
    """Hosts joined by cables, the address of the n-th being fd00::n on its loopback, and shortest routes."""
    edges = list(edges)
    hosts = {name: lab.host(name) for name in sorted({name for edge in edges for name in edge})}
    neighbours: dict[str, dict[str, str]] = {name: {} for name in hosts}  # whose, whom, through which interface
    for one, other in edges:
        neighbours[one][other], neighbours[other][one] = lab.link(hosts[one], hosts[other])
    for name, host in hosts.items():
        host.forwarding(True)
        host.address(f"{address(hosts, name)}/128", "lo")
    for name, host in hosts.items():
        for target, via in _first_hops(neighbours, name).items():
            next_hop = hosts[via].link_local(neighbours[via][name])
            host.route(f"{address(hosts, target)}/128", via=next_hop, dev=neighbours[name][via])
    return hosts


def address(hosts: dict[str, Host], name: str) -> str:
    return f"fd00::{list(hosts).index(name) + 1:x}"


def _first_hops(neighbours: dict[str, dict[str, str]], start: str) -> dict[str, str]:
    first = {name: name for name in neighbours[start]}
    queue = deque(first)
    while queue:
        at = queue.popleft()
        for name in neighbours[at]:
            if name != start and name not in first:
                first[name] = first[at]
                queue.append(name)
    return first
