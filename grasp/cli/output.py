"""What goes to stdout and stderr: text for people, or exactly one JSON value.

Nothing a stranger has sent reaches a terminal as it is: :func:`safe` escapes every character that is not
printable (control characters, bidirectional overrides) and bounds the length.
"""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Sequence
from typing import Final, TextIO

from grasp.cli.values import JSON
from grasp.errors import GraspError

_COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "dim": 2}
_LONGEST: Final = 100_000
"""Characters of one text: above the largest message in hex, so it only stops what is not a message."""

_PIECE: Final = 400
"""Characters written at once. An unbuffered stdout (PYTHONUNBUFFERED) forgets what does not fit into a pipe in one
go, and says nothing; below PIPE_BUF (pipe(7)) all fits or it raises."""


def safe(text: str, limit: int = _LONGEST) -> str:
    """``text`` for a terminal, at most ``limit`` characters before escaping; ``…`` marks a cut."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else _escape(each) for each in cut)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def dumps(value: JSON) -> str:
    """JSON in one line of ASCII, DEL escaped too."""
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")


def text_of(value: JSON, limit: int = _LONGEST) -> str:
    """JSON for people: other scripts as they are."""
    return safe(json.dumps(value, ensure_ascii=False, allow_nan=False), limit)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of cells as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def error_json(error: GraspError) -> JSON:
    """An error as it stands in JSON output; ``code`` and ``number`` are stable (RFC 8991 Appendix A)."""
    return {
        "code": error.code.name,
        "number": int(error.code),
        "message": error.code.text,
        "detail": error.detail,
    }


class Unwritable(Exception):
    """stdout or stderr cannot be written to; ``cause`` is what the system said."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Failed(Exception):
    """``error``, and what there was before it: ``beside`` it in JSON, ``text`` for people."""

    def __init__(self, error: GraspError, beside: dict[str, JSON], text: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.beside = beside
        self.text = text


class Output:
    """One command's output. In JSON either :meth:`result`, or an array that :meth:`element` adds to.

    Each line of such an array is complete when it is written: ``[{…}``, then ``,{…}`` per element, then ``]``.
    """

    def __init__(self, as_json: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.as_json = as_json
        self._stdout = stdout
        self._stderr = stderr
        self._streaming = False
        self._elements = 0
        for stream in (stdout, stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A locale without some script is no reason to fail.
                stream.reconfigure(errors="backslashreplace")
        self.coloured = (
            not as_json
            and stdout.isatty()
            and not os.environ.get("NO_COLOR")  # https://no-color.org
            and os.environ.get("TERM") != "dumb"
        )

    def colour(self, text: str, name: str) -> str:
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.coloured else text

    def _write(self, text: str) -> None:
        _write_to(self._stdout, text)

    def result(self, value: JSON, text: str) -> None:
        """The one result of a command that has one."""
        _end_at_signals()
        if self.as_json:
            self._write(dumps(value))
        elif text:
            self._write(text)

    def stream(self) -> None:
        """From here on :meth:`element` and :meth:`close`."""
        self._streaming = True

    def element(self, value: JSON, text: str) -> None:
        if self.as_json:
            self._write(("," if self._elements else "[") + dumps(value))
        else:
            self._write(text)
        self._elements += 1

    def ready(self, value: JSON, text: str) -> None:
        """The first element; people see it on stderr."""
        if self.as_json:
            self.element(value, text)
        else:
            self.note(text)

    def note(self, text: str) -> None:
        """A remark for people."""
        if not self.as_json:
            _write_to(self._stderr, text)

    def fail(self, error: GraspError, beside: dict[str, JSON] | None = None, text: str = "", usage: str = "") -> None:
        """``error`` instead of a result, or as the last element; the rest as in :class:`Failed`."""
        found = {"error": error_json(error)} | (beside or {})
        if not self.as_json:
            if text:
                self._write(text)
            self.note(f"{usage}grasp: {safe(str(error), 2000)}")
        elif self._elements:
            self.element(found, "")
        else:
            self._streaming = False
            self._write(dumps(found))

    def close(self) -> None:
        """End the array, if this was one."""
        if self._streaming and self.as_json:
            self._write("]" if self._elements else "[]")
        self._streaming = False


def _write_to(stream: TextIO, text: str) -> None:
    line = text + "\n"
    try:
        for start in range(0, len(line), _PIECE):
            stream.write(line[start : start + _PIECE])
        stream.flush()
    except OSError as error:
        raise Unwritable(error) from None


def _end_at_signals() -> None:
    """All is done but the writing: a reader that does not read must not keep a command alive."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
