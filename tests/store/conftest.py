from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CLONE_NEWNS = 0x20000


@pytest.fixture
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs with the given options, seen by the test alone, which is skipped where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    before, home = os.getcwd(), os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNS):
            pytest.skip(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)

        def make(options: str) -> Path:
            path = tmp_path_factory.mktemp("tmpfs")
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
            return path

        yield make
        # What was mounted goes with the namespace.
        assert libc.setns(home, CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
        os.chdir(before)
    finally:
        os.close(home)
