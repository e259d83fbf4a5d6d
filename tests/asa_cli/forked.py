"""The command in processes of its own that cost no start of Python each: one that has loaded it forks for every run."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO

FILES = ("the run", "stdin", "stdout", "stderr")
"""What is handed over for a run; the first of them says its words and its environment."""


class Starter:
    """Runs the command, one at a time. ``patience``: s a run may take."""

    def __init__(self, environ: dict[str, str], patience: float) -> None:
        """``environ``: what Python itself looks at when it starts; each run has its own for the rest."""
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(patience)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.asa_cli.forked", str(theirs.fileno())],
                env=environ, cwd="/", stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip

    def run(self, argv: Sequence[str], environ: dict[str, str]) -> tuple[int, str, str]:
        """Without input, at the root directory; its exit status, stdout and stderr."""
        with open(os.devnull, "rb") as stdin, _memory() as run, _memory() as stdout, _memory() as stderr:
            run.write(json.dumps([list(argv), environ]).encode())
            run.flush()
            socket.send_fds(self._ours, [b"."], [each.fileno() for each in (run, stdin, stdout, stderr)])
            status = int(self._ours.recv(16))
            return status, _read(stdout).decode(), _read(stderr).decode()

    def close(self) -> None:
        self._ours.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _memory() -> IO[bytes]:
    return open(os.memfd_create("run"), "w+b")


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _serve(asked: socket.socket) -> None:
    """Returns in a process of its own for every run, which then is that of the command."""
    while True:
        said, files, _, _ = socket.recv_fds(asked, 1, len(FILES))
        if not said:
            sys.exit()
        process = os.fork()
        if process == 0:
            asked.close()
            _become(files)
            return
        for each in files:
            os.close(each)
        asked.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def _become(files: list[int]) -> None:
    run, *streams = files
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    with open(run, "rb") as file:
        argv, environ = json.loads(_read(file))
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv[1:] = argv


if __name__ == "__main__":
    # So that no run has to.
    import asa.cli
    import asa.northbound.client
    import asa.views

    for module in pkgutil.iter_modules(asa.cli.__path__, "asa.cli."):
        importlib.import_module(module.name)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("asa", run_name="__main__", alter_sys=True)
