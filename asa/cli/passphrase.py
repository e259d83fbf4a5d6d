"""Passphrases and tokens: from a file, standard input or a terminal, never from the command line or environment."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from typing import Final

from asa.cli.arguments import UsageError

STDIN: Final = "-"
SHORTEST: Final = 8
LONGEST: Final = 1_024
"""Bytes."""


def read_passphrase(file: str | None, *, new: bool = False) -> bytes:
    """Its only line; asked for twice if it is ``new``. Raises UsageError, which shows nothing of it."""
    if file is not None:
        found = _line("--passphrase-file", file)
    else:
        found = _asked("--passphrase-file", "passphrase of the CA: ")
        if new and _asked("--passphrase-file", "again: ") != found:
            raise UsageError("the two passphrases differ")
    if not SHORTEST <= len(found) <= LONGEST or b"\n" in found or b"\0" in found:
        raise UsageError(f"a passphrase is one line of {SHORTEST} to {LONGEST} bytes")
    return found


def read_token(file: str | None) -> str:
    """Raises UsageError, which shows nothing of it."""
    found = _line("--token-file", file) if file is not None else _asked("--token-file", "token: ")
    return found.decode("ascii", "replace").strip()


def _asked(option: str, prompt: str) -> bytes:
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError(
            f"{option} is missing, and there is no terminal to ask on", hint=f"{option} FILE, or - for stdin"
        )
    try:
        return getpass.getpass(prompt).encode()
    except (EOFError, UnicodeEncodeError):
        raise UsageError(f"{option}: nothing was typed") from None


def _line(option: str, file: str) -> bytes:
    try:
        found = _stdin() if file == STDIN else _content(option, file)
    except OSError as error:
        raise UsageError(f"{option} {file}: {error.strerror or error}", hint="name a file, or - for stdin") from None
    return found.removesuffix(b"\n").removesuffix(b"\r")


def _stdin() -> bytes:
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer.read(LONGEST + 2)


def _content(option: str, file: str) -> bytes:
    with open(file, "rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
            raise UsageError(f"{option} {file}: it is open to everybody on this host", hint=f"chmod o= {file}")
        return stream.read(LONGEST + 2)
