"""Running the system's own programs: bounded in time and output, without a shell."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Final, Literal

from asa.dataplane.backend import EnforcementFailed, Unfit

Program = Literal["tc", "nft", "ip", "ovs-ofctl", "ovs-appctl"]

TIME_LIMIT_S: Final = 20.0
MOST_OUTPUT: Final = 64 << 20
"""Bytes that are taken of a program, of what it writes to standard output and error together."""

LONGEST_TOLD: Final = 400
"""Characters of what a program said that get into an error."""

_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_PIECE: Final = 65_536
_ENVIRONMENT: Final = {"PATH": _PATH, "LC_ALL": "C"}


class CommandFailed(EnforcementFailed):
    """A program ended with an error; ``said`` is what it wrote about it."""

    def __init__(self, program: str, status: int, said: str) -> None:
        told = " ".join(said.split())[:LONGEST_TOLD]
        super().__init__(f"{program} failed with {status}: {told}", hint="asa enforcement shows what is in place")
        self.status_code = status
        self.said = said


def run(program: Program, arguments: Sequence[str], stdin: str = "", time_limit_s: float = TIME_LIMIT_S) -> str:
    """What it writes to standard output.

    Raises Unfit if there is no such program, CommandFailed if it fails, EnforcementFailed if it does not end in time,
    or writes more than MOST_OUTPUT; then it is killed, and what it has done so far is unknown.
    """
    try:
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise Unfit(f"there is no program {program}", hint="install the package that has it") from None
    except OSError as error:
        raise EnforcementFailed(f"{program} cannot be started: {error.strerror}") from None
    with process:
        try:
            out, said = _exchange(process, stdin.encode(), time.monotonic() + time_limit_s)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise EnforcementFailed(f"{program} did not end within {time_limit_s:g} s") from None
            if isinstance(error, _Overflow):
                raise EnforcementFailed(f"{program} wrote more than {MOST_OUTPUT} bytes") from None
            raise
    if process.returncode:
        raise CommandFailed(program, process.returncode, said or out)
    return out


def needed(said: str) -> str:
    """What a program lacked, to be put behind why it failed; empty if that was no privilege."""
    refused = any(each in said.lower() for each in ("not permitted", "permission denied", "must be root"))
    return ": it takes CAP_NET_ADMIN" if refused else ""


class _Overflow(Exception):
    """It writes too much."""


def _exchange(process: subprocess.Popen[bytes], stdin: bytes, deadline: float) -> tuple[str, str]:
    """What it writes to standard output and error until it ends. Raises TimeoutExpired and _Overflow."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    told: dict[object, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    left = memoryview(stdin)
    with selectors.DefaultSelector() as ready:
        for stream in (process.stdout, process.stderr):
            ready.register(stream, selectors.EVENT_READ)
        if left:
            os.set_blocking(process.stdin.fileno(), False)
            ready.register(process.stdin, selectors.EVENT_WRITE)
        else:
            process.stdin.close()
        while ready.get_map():
            for key, _ in ready.select(_left(deadline)):
                if key.fileobj is process.stdin:
                    try:
                        left = left[os.write(key.fd, left[:_PIECE]) :]
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:
                        # It has ended, or reads no more: its status tells.
                        left = left[:0]
                    if not left:
                        ready.unregister(process.stdin)
                        process.stdin.close()
                elif piece := os.read(key.fd, _PIECE):
                    told[key.fileobj] += piece
                    if sum(map(len, told.values())) > MOST_OUTPUT:
                        raise _Overflow
                else:
                    ready.unregister(key.fileobj)
    process.wait(_left(deadline))
    out, said = (each.decode(errors="replace") for each in told.values())
    return out, said


def _left(deadline: float) -> float:
    """Seconds. Raises TimeoutExpired."""
    if (left := deadline - time.monotonic()) <= 0:
        raise subprocess.TimeoutExpired((), 0)
    return left
