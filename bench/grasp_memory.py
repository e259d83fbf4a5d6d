"""What an idle node with one objective takes."""

from __future__ import annotations

import json
import subprocess
import time

from bench.pair import two_hosts
from bench.report import Result, rss_kib, threads


def main() -> None:
    with two_hosts() as (_, _, server, server_end):
        process: subprocess.Popen[str] = server.python(
            "-m", "bench.peer", "serve", "negotiate", "--interface", server_end,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        time.sleep(1)
        Result(
            "resident memory, idle", round(rss_kib(process.pid) / 1024, 1), "MiB", aim=28, lower_is_better=True
        ).print()
        Result("threads, idle", threads(process.pid), "", aim=6, lower_is_better=True).print()
        process.stdin.close()
        process.wait(10)


if __name__ == "__main__":
    main()
