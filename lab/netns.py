"""setns(2), which Python has from 3.12 on."""

from __future__ import annotations

import ctypes
import os
import sys

if sys.version_info >= (3, 12):
    from os import CLONE_NEWNET, setns
else:
    CLONE_NEWNET = 0x40000000
    _libc = ctypes.CDLL(None, use_errno=True)

    def setns(fd: int, nstype: int = 0) -> None:
        if _libc.setns(fd, nstype):
            errno = ctypes.get_errno()
            raise OSError(errno, os.strerror(errno))


__all__ = ["CLONE_NEWNET", "setns"]
