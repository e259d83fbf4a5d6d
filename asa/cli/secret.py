"""The secret that opens a reservation: read from a file, sent in a header, shown by nothing."""

from __future__ import annotations

import os
import stat
import sys
from typing import Final

from asa.cli.arguments import UsageError

HEADER: Final = "Asa-Secret"
STDIN: Final = "-"
LONGEST: Final = 255
"""Characters, printable ASCII."""

_MOST: Final = LONGEST + 100
"""Bytes that are read, blanks around it included."""


def read_secret(file: str) -> str:
    """The only line in ``file``, without the blanks around it. Raises UsageError, which shows nothing of it."""
    try:
        found = _stdin() if file == STDIN else _content(file)
    except OSError as error:
        raise _refused(file, error.strerror or str(error), "name a file with the secret, or - for stdin") from None
    text = found.decode("ascii", "replace").strip()
    if not is_secret(text):
        raise _refused(file, "no secret in it", f"one line of 1..{LONGEST} printable ASCII characters")
    return text


def is_secret(text: str) -> bool:
    """Whether it is one, and a header brings it over as it is."""
    return 1 <= len(text) <= LONGEST and text.isascii() and text.isprintable() and text == text.strip()


def _stdin() -> bytes:
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer.read(_MOST)


def _content(file: str) -> bytes:
    with open(file, "rb") as stream:
        if os.fstat(stream.fileno()).st_mode & stat.S_IRWXO:
            raise _refused(file, "it is open to everybody on this host", f"chmod o= {file}")
        return stream.read(_MOST)


def _refused(file: str, why: str, hint: str) -> UsageError:
    return UsageError(f"--secret-file {file}: {why}", hint=hint)
