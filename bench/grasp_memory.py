"""What an idle node with one objective takes: plain, and in a domain."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

from bench.pair import two_hosts
from bench.report import Result, rss_kib, threads
from tests.pki import Authority


def measure(*options: str) -> tuple[float, int]:
    """MiB, and threads."""
    with two_hosts() as (_, _, server, server_end):
        process: subprocess.Popen[str] = server.python(
            "-m", "bench.peer", "serve", "negotiate", "--interface", server_end, *options,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        time.sleep(1)
        found = round(rss_kib(process.pid) / 1024, 1), threads(process.pid)
        process.stdin.close()
        process.wait(10)
        return found


def main() -> None:
    memory, running = measure()
    Result("resident memory, idle", memory, "MiB", aim=28, lower_is_better=True).print()
    Result("threads, idle", running, "", aim=6, lower_is_better=True).print()
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority()
        identity = authority.write(Path(directory, "server"), authority.issue("server"))
        secured, more = measure("--identity", str(identity))
    Result("resident memory, idle, in a domain", secured, "MiB", floor=memory, lower_is_better=True).print()
    Result("threads, idle, in a domain", more, "", floor=running, lower_is_better=True).print()


if __name__ == "__main__":
    main()
