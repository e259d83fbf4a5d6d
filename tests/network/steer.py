"""The test's end of an agent (see `agent`), and waiting with a bound."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from lab import Host

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  #: seconds the pipe to an agent may take, beyond what the command itself waits


class Failed(Exception):
    """A command ended in an error; ``code`` is the name of its error code, "crash" if it has none."""

    def __init__(self, code: str, detail: str, kind: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.kind = kind


def eventually(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """What ``condition`` returns as soon as that is true, or its last value after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


class Agent:
    """A GRASP node in a process on ``host``. Its commands are methods: ``agent.discover("EX1")``.

    `begin` starts one and returns its future, for commands that block.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.excused = False  #: whether tracebacks in its log are part of the test
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self._ids = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self.process = host.python(
            *["-m", "tests.network.agent"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        threading.Thread(target=self._read, name=f"agent-{host.name}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> None:
        for line in self.process.stdout:
            reply = json.loads(line)
            with self._lock:
                future = self._waiting.pop(reply["id"])
            if "error" in reply:
                future.set_exception(Failed(reply["error"], reply["detail"], reply["kind"]))
            else:
                future.set_result(reply["result"])
        with self._lock:
            for future in self._waiting.values():
                future.set_exception(Failed("gone", "the agent's process has ended", "gone"))
            self._waiting.clear()

    def begin(self, do: str, *args: Any, **kw: Any) -> Future[Any]:
        future: Future[Any] = Future()
        number = next(self._ids)
        with self._lock:
            self._waiting[number] = future
        command = json.dumps({"id": number, "do": do, "args": args, "kw": kw})
        with self._lock:
            self.process.stdin.write(command + "\n")
        return future

    def __getattr__(self, do: str) -> Callable[..., Any]:
        if do.startswith("_"):
            raise AttributeError(do)
        return lambda *args, **kw: self.begin(do, *args, **kw).result(PATIENCE)

    def code_of(self, do: str, *args: Any, **kw: Any) -> str | None:
        """The error code a command ends with, None if it succeeds."""
        try:
            self.begin(do, *args, **kw).result(PATIENCE)
        except Failed as failed:
            return failed.code
        return None

    @property
    def port(self) -> int:
        return self.info()["port"]

    # -- what the kernel says of the process

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def rss_kib(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise ProcessLookupError(self.pid)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    # -- the end

    def end(self) -> int | None:
        """Close its stdin and wait; the exit status, None if it had to be killed."""
        self.process.stdin.close()
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
        return status
