"""Running the system's own programs: bounded in time and output, without a shell."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Final, Literal

from asa.dataplane.backend import EnforcementFailed, Unfit

Program = Literal["tc", "nft", "ip", "ovs-ofctl", "ovs-appctl"]

TIME_LIMIT_S: Final = 20.0
LONGEST_TOLD: Final = 400
"""Characters of what a program said that get into an error."""

_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
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

    Raises Unfit if there is no such program, CommandFailed if it fails, EnforcementFailed if it does not end in time;
    then it is killed, and what it has done so far is unknown.
    """
    try:
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise Unfit(f"there is no program {program}", hint="install the package that has it") from None
    except OSError as error:
        raise EnforcementFailed(f"{program} cannot be started: {error.strerror}") from None
    try:
        out, said = process.communicate(stdin, timeout=time_limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise EnforcementFailed(f"{program} did not end within {time_limit_s:g} s") from None
    if process.returncode:
        raise CommandFailed(program, process.returncode, said or out)
    return out
