"""How long a discovery with an empty cache takes, beside the barest multicast, connection and answer."""

from __future__ import annotations

import statistics

from bench.pair import ROUNDS, asked, served, two_hosts
from bench.report import Result

DISCOVERIES = 300


def main() -> None:
    ours, floor = [], []
    count = str(DISCOVERIES)
    with (
        two_hosts() as (client, client_end, server, server_end),
        served(server, "bench.multicast", "serve", "--interface", server_end),
        served(server, "bench.peer", "serve", "synchronize", "--interface", server_end),
    ):
        bare = ("bench.multicast", "client", "--interface", client_end, "--sessions", count)
        grasp = ("bench.peer", "client", "discover", "--interface", client_end, "--sessions", count)
        for _ in range(ROUNDS):
            floor.append(asked(client, *bare)["p50_us"])
            ours.append(asked(client, *grasp)["p50_us"])
    Result(
        "cold discovery, until the first answer is in the caller's hands",
        statistics.median(ours),
        "us",
        floor=statistics.median(floor),
    ).print()


if __name__ == "__main__":
    main()
