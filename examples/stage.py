"""A stage for the examples: two hosts joined by a cable, a process in each, and what they say on one screen.

Not part of the tutorial: an ASA on a real router needs none of it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

from lab import Host, Lab, unavailable_reason

LONGEST_S = 9.0


def play(module: str, roles: tuple[str, str], serving: tuple[str, ...] = ()) -> int:
    """Run ``python -m module ROLE INTERFACE`` for both roles; 0 if each that is not ``serving`` exits with 0.

    Those that serve are stopped when the others are done.
    """
    if reason := unavailable_reason():
        print(f"cannot play here: {reason}", file=sys.stderr)
        return 1
    begin = time.monotonic()
    with Lab() as lab:
        hosts = [lab.host(role) for role in roles]
        devices = lab.link(*hosts)
        cast = {
            role: _start(host, module, role, device, begin)
            for role, host, device in zip(roles, hosts, devices, strict=True)
        }
        acting = {role: process for role, (process, _) in cast.items() if role not in serving}
        done = _wait(acting, begin + LONGEST_S)
    for _, screen in cast.values():
        screen.join()
    return 0 if done else 1


def say(text: str) -> None:
    """Print a line in one write: several threads of a role speak."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _start(
    host: Host, module: str, role: str, device: str, begin: float
) -> tuple[subprocess.Popen[Any], threading.Thread]:
    process = host.python("-u", "-m", module, role, device, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def show() -> None:
        for line in process.stdout or ():
            say(f"{time.monotonic() - begin:5.2f} s  {role:8} {line.rstrip()}")

    screen = threading.Thread(target=show, daemon=True)
    screen.start()
    return process, screen


def _wait(processes: dict[str, subprocess.Popen[Any]], deadline: float) -> bool:
    """Until all have ended well, or the first has not."""
    while processes and time.monotonic() < deadline:
        for role, process in list(processes.items()):
            if process.poll() is None:
                continue
            if process.returncode:
                print(f"{role} failed with exit code {process.returncode}", file=sys.stderr)
                return False
            del processes[role]
        time.sleep(0.01)
    for role in processes:
        print(f"{role} has not finished after {LONGEST_S} s", file=sys.stderr)
    return not processes
