"""How long a discovery with an empty cache takes, beside the barest multicast, connection and answer; plain, and in a
domain."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench.pair import ROUNDS, asked, served, two_hosts
from bench.report import Result
from tests.pki import Authority

DISCOVERIES = 300


def main() -> None:
    ours, floor, secured = [], [], []
    count = str(DISCOVERIES)
    authority = Authority()
    with (
        tempfile.TemporaryDirectory() as directory,
        two_hosts() as (client, client_end, server, server_end),
        served(server, "bench.multicast", "serve", "--interface", server_end),
        served(server, "bench.peer", "serve", "synchronize", "--interface", server_end),
        served(
            server, "bench.peer", "serve", "synchronize", "--interface", server_end,
            "--identity", str(authority.write(Path(directory, "server"), authority.issue("server"))),
        ),
    ):  # fmt: skip
        bare = ("bench.multicast", "client", "--interface", client_end, "--sessions", count)
        grasp = ("bench.peer", "client", "discover", "--interface", client_end, "--sessions", count)
        member = ("--identity", str(authority.write(Path(directory, "client"), authority.issue("client"))))
        for _ in range(ROUNDS):
            floor.append(asked(client, *bare)["p50_us"])
            ours.append(asked(client, *grasp)["p50_us"])
            secured.append(asked(client, *grasp, *member)["p50_us"])
    Result(
        "cold discovery, until the first answer is in the caller's hands",
        statistics.median(ours),
        "us",
        floor=statistics.median(floor),
    ).print()
    Result(
        "the same in a domain, beside plain", statistics.median(secured), "us", floor=statistics.median(ours)
    ).print()


if __name__ == "__main__":
    main()
