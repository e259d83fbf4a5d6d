"""The sockets a server listens on: the Unix socket's file, TCP, and those of a predecessor."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import Final

from asa.errors import BadConfig, Conflict
from asa.northbound.limits import BACKLOG

_MAKING: Final = ".new"
"""Suffix of the socket's file until it is complete."""
_LONGEST_PATH: Final = 107 - len(_MAKING)
"""Bytes (sun_path in unix(7) has 108, with a NUL)."""


class UnixListener:
    """A listening Unix socket and its file, which appears complete: with its mode and group, and answering."""

    def __init__(self, path: Path, mode: int, group: str | int | None) -> None:
        """Raises Conflict if an agent listens there, BadConfig if nobody can."""
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise BadConfig(
                f"the socket's path is longer than {_LONGEST_PATH} bytes: {path}", hint="choose a shorter one"
            )
        _refuse_live(path)
        made = path.with_name(path.name + _MAKING)
        sock = socket.socket(socket.AF_UNIX)
        try:
            made.unlink(missing_ok=True)
            sock.bind(str(made))
            if group is not None:
                shutil.chown(made, group=group)
            made.chmod(mode)
            sock.listen(BACKLOG)
            made.rename(path)
        except (OSError, LookupError) as error:
            sock.close()
            try:
                made.unlink(missing_ok=True)
            except OSError:
                pass
            raise BadConfig(
                f"cannot listen on {path}: {error}", hint="the directory must exist, and the agent may write there"
            ) from None
        self.sock = sock
        self._file = _identity(path)
        self._path = path

    @staticmethod
    def listens_at(sock: socket.socket, path: Path) -> bool:
        """Whether it was made for ``path``, and a file is there; only its file's name tells, and that of its making."""
        return sock.getsockname() == f"{path}{_MAKING}" and _identity(path) is not None

    @classmethod
    def inherited(cls, sock: socket.socket, path: Path) -> UnixListener:
        """Go on with a predecessor's socket, whose file is at ``path``."""
        listener = cls.__new__(cls)
        listener.sock = sock
        listener._file = _identity(path)
        listener._path = path
        return listener

    def close(self, *, unlink: bool) -> None:
        """Listen no longer. The file is removed only if it is still this socket's."""
        self.sock.close()
        if unlink and self._file is not None and _identity(self._path) == self._file:
            try:
                self._path.unlink()
            except OSError:
                pass  # It is stale now, and will be replaced.


def tcp(host: str, port: int) -> socket.socket:
    """Listen on TCP at an IP address; port 0: any. Raises BadConfig."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise BadConfig(f"{host!r} is not an IP address", hint="one of this host, or 0.0.0.0 or :: for all") from None
    sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What accept() returns inherits it. Without it a small answer may wait 40 ms for the client's ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((str(address), port))
        sock.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        raise BadConfig(f"cannot listen on {host} port {port}: {error}", hint="choose another port") from None
    return sock


def listens_at(sock: socket.socket, host: str, port: int) -> bool:
    """Whether a TCP socket does so there; port 0: wherever."""
    at, number = sock.getsockname()[:2]
    return ipaddress.ip_address(at) == ipaddress.ip_address(host) and port in (0, number)


def adopt(descriptor: int) -> socket.socket:
    """A predecessor's listening socket. Raises BadConfig if it is none."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise BadConfig(f"inherited descriptor {descriptor}: {error}") from None
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise BadConfig(f"inherited descriptor {descriptor} does not listen")
    sock.set_inheritable(False)
    return sock


def _refuse_live(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BadConfig(f"{path} is there and not a socket", hint="choose another path; nothing was changed")
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadConfig(f"cannot listen on {path}: {error}") from None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # Stale: its agent ended without removing it.
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # Its backlog is full, so it is somebody's.
        except OSError as error:
            raise BadConfig(f"cannot tell whether an agent listens on {path}: {error}") from None
    raise Conflict(f"an agent listens on {path} already", hint="stop it, or choose another path for this one")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
