"""What an idle agent takes, its API on and its first consumer served."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.agents import POOL, agent_on, running
from bench.pair import two_hosts
from bench.report import Result, rss_kib, threads


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="asa-bench-") as name,
        two_hosts() as (_, _, server, server_end),
        running(agent_on(server, server_end, "origin", "origin", Path(name), {POOL: 10**10})) as agent,
    ):
        # Whatever is loaded only when the first reservation comes is part of it.
        agent.request("POST", "reservations", {"pool": POOL, "rate": 10**6, "end": int(time.time()) + 3_600})
        time.sleep(3)
        memory = round(rss_kib(agent.pid) / 1024, 1)
        Result("asa resident memory, idle", memory, "MiB", aim=60, lower_is_better=True).print()
        Result("asa threads, idle", threads(agent.pid), "").print()


if __name__ == "__main__":
    main()
