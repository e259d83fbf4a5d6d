"""Having a warden: the agent's end of :mod:`~asa.dataplane.u32.warden`."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from asa.dataplane.backend import EnforcementFailed
from asa.dataplane.u32.warden import HELLO, NAME, TOLD, trusted

PATIENCE_S: Final = 10.0
"""For a warden to start, or to end its look at many filters."""

_TRIES: Final = 3
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}
_SOURCES: Final = Path(__file__).resolve().parents[3]


class WardenCall:
    """Only one thread uses it, in the network namespace whose filters are watched."""

    def __init__(self) -> None:
        self._link: socket.socket | None = None

    def tell(self, when: float) -> None:
        """Have a warden that looks at ``when`` (UNIX s), or before. Raises EnforcementFailed."""
        if self.present() and self._sent(when):
            return
        try:
            for _ in range(_TRIES):
                if self._connected() or self._start():
                    if self._sent(when):
                        return
                    self.close()
                # Another one is about to end, or just begins.
                time.sleep(0.1)
        except OSError as error:
            raise EnforcementFailed(f"no process can watch when rules expire: {error}") from None
        raise EnforcementFailed("no process watches when rules expire: it ended at once", hint="see the agent's log")

    def present(self) -> bool:
        """Whether there is one; none is started."""
        if self._link is not None:
            try:
                # It says nothing after its hello, so this is the end of it.
                self._link.recv(1)
            except BlockingIOError:
                return True
            except OSError:
                pass
            self._drop()
        return self._connects()

    def close(self) -> None:
        """It goes on until what is installed has expired."""
        self._drop()

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _sent(self, when: float) -> bool:
        if self._link is None:
            return False
        try:
            self._link.send(TOLD.pack(when))
        except OSError:
            self._drop()
            return False
        return True

    def _connects(self) -> bool:
        try:
            return self._connected()
        except OSError:
            return False

    def _connected(self) -> bool:
        """To the one there is. Raises OSError if it is somebody else."""
        link = _socket()
        try:
            link.connect(NAME)
            if not trusted(link):
                raise PermissionError(errno.EPERM, f"{NAME[1:]} is another user's process")
            if link.recv(len(HELLO)) != HELLO:
                raise ConnectionResetError
        except (ConnectionError, TimeoutError):
            link.close()
            return False
        except OSError:
            link.close()
            raise
        # An agent waits for nobody from now on: who does not read what it is told is no warden any more.
        link.setblocking(False)
        self._link = link
        return True

    def _start(self) -> bool:
        with _socket() as listening:
            try:
                listening.bind(NAME)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                raise
            listening.listen(8)
            process = subprocess.Popen(
                # Nothing but the standard library, and this package, is needed.
                [sys.executable, "-S", "-E", "-m", "asa.dataplane.u32.warden"],
                stdin=listening.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=_SOURCES,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        connected = self._connected()
        try:
            # What was started has started the warden, which is nobody's child.
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return connected


def _socket() -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    link.settimeout(PATIENCE_S)
    return link
