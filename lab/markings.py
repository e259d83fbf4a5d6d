"""Which DSCPs the packets have that a host receives, counted by its kernel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from .hosts import Host, LabError

DSCPS = 64
TABLE = "lab_markings"


class Kind(NamedTuple):
    """Packets that are counted together."""

    version: Literal[4, 6]
    protocol: Literal["tcp", "udp"]
    port: int  #: they go to


class Markings:
    """Counts during the ``with`` block what comes to a host, on any of its interfaces, of some kinds.

    Needs nft(8); raises LabError. What the kernel hands around as one packet (segmentation offload) counts as one.
    """

    def __init__(self, host: Host, kinds: Iterable[Kind]) -> None:
        self.host = host
        self.kinds = tuple(kinds)

    def __enter__(self) -> Markings:
        chains, jumps = [], []
        for number, (version, protocol, port) in enumerate(self.kinds):
            header = "ip" if version == 4 else "ip6"
            counted = "".join(f"{header} dscp {dscp} counter return\n" for dscp in range(DSCPS))
            chains.append(f"chain kind{number} {{\n{counted}}}\n")
            jumps.append(f"meta nfproto ipv{version} {protocol} dport {port} jump kind{number}\n")
        base = "type filter hook prerouting priority -400; policy accept;\n"
        table = f"table inet {TABLE} {{\n{''.join(chains)}chain incoming {{\n{base}{''.join(jumps)}}}\n}}\n"
        done = self.host.run(["nft", "-f", "-"], input=table, check=False)
        if done.returncode:
            raise LabError(f"no markings can be counted at {self.host.name}: {' '.join(done.stderr.split()):.200}")
        return self

    def __exit__(self, *_: object) -> None:
        self.host.run(["nft", "delete", "table", "inet", TABLE], check=False)

    def seen(self) -> Mapping[Kind, Mapping[int, int]]:
        """Packets so far by kind and DSCP, those that came."""
        listed = json.loads(self.host.run(["nft", "-j", "list", "table", "inet", TABLE]).stdout)["nftables"]
        counts: dict[str, list[int]] = {}
        for each in listed:
            rule = each.get("rule", {})
            packets = [part["counter"]["packets"] for part in rule.get("expr", ()) if "counter" in part]
            counts.setdefault(rule.get("chain", ""), []).extend(packets)
        return {
            kind: {dscp: count for dscp, count in enumerate(counts[f"kind{number}"]) if count}
            for number, kind in enumerate(self.kinds)
        }
