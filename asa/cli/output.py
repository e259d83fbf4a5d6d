"""What goes to stdout and stderr: text for people, or exactly one JSON value.

Nothing a peer or another user has named reaches a terminal as it is: :func:`safe` escapes every character that is not
printable (control characters, bidirectional overrides) and bounds the length.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Collection, Sequence
from typing import Any, Final, TextIO

from asa.errors import AsaError

_LONGEST: Final = 4_000
"""Characters of one text for a terminal."""

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


def dumps(value: Any) -> str:
    """JSON in one line of ASCII, DEL escaped too."""
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")


def pretty(value: Any) -> str:
    """JSON in lines for people: other scripts as they are."""
    return "\n".join(safe(line) for line in json.dumps(value, ensure_ascii=False, indent=2).split("\n"))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """Rows of cells as aligned columns under ``headers``; those named in ``right`` end together. Cells are escaped.

    Columns that are empty in every row are left out.
    """
    cells = [[safe(cell, 200) for cell in row] for row in rows]
    shown = [index for index in range(len(headers)) if any(row[index] for row in cells)]
    lines = [[headers[index] for index in shown], *([row[index] for index in shown] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    places = [str.rjust if headers[index] in right else str.ljust for index in shown]
    return "\n".join(
        "  ".join(place(cell, width) for place, cell, width in zip(places, line, widths, strict=True)).rstrip()
        for line in lines
    )


def listed(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and what they stand for, one pair a line; a pair whose second is empty is left out. Escaped."""
    shown = [(name, text) for name, text in pairs if text]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {safe(text)}" for name, text in shown)


def error_json(error: AsaError) -> dict[str, Any]:
    """An error as it stands in JSON output, the same as in the API's answers."""
    return {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}


class Unwritable(Exception):
    """stdout or stderr cannot be written to; ``cause`` is what the system said."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Output:
    """One command's output: one :meth:`result`, or any number of :meth:`line`, or one :meth:`fail`."""

    def __init__(self, as_json: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.as_json = as_json
        self._stdout = stdout
        self._stderr = stderr
        for stream in (stdout, stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A locale without some script is no reason to fail.
                stream.reconfigure(errors="backslashreplace")

    def result(self, value: Any, text: str) -> None:
        """The one result: ``value`` as JSON, or ``text``, which is escaped already."""
        if self.as_json:
            _write(self._stdout, dumps(value))
        elif text:
            _write(self._stdout, text)

    def line(self, value: Any, text: str) -> None:
        """One of many: in JSON one value a line."""
        self.result(value, text)

    def note(self, text: str) -> None:
        """A remark for people, escaped already."""
        if not self.as_json:
            _write(self._stderr, text)

    def fail(
        self, error: AsaError, beside: dict[str, Any] | None = None, text: str = "", *, usage: str = "", said: str = ""
    ) -> None:
        """``error`` instead of a result; ``beside`` it in JSON, ``text`` (escaped) below it for people.

        ``usage`` stands above it, ``said`` in place of its message and hint, for people both.
        """
        if self.as_json:
            _write(self._stdout, dumps({"error": error_json(error)} | (beside or {})))
            return
        hint = f"\n     {safe(error.hint)}" if error.hint and not said else ""
        self.note(f"{usage}asa: {safe(said or error.message)}{hint}" + (f"\n{text}" if text else ""))

    def flush(self) -> None:
        """What others, argparse's help, have printed."""
        try:
            self._stdout.flush()
        except OSError as error:
            raise Unwritable(error) from None

    def forget(self) -> None:
        """Keep Python from complaining, at exit, about what could not be written."""
        try:
            number = os.open(os.devnull, os.O_WRONLY)
            os.dup2(number, self._stdout.fileno())
            os.close(number)
        except (OSError, ValueError):
            pass


def _write(stream: TextIO, text: str) -> None:
    line = text + "\n"
    try:
        for start in range(0, len(line), _PIECE):
            stream.write(line[start : start + _PIECE])
        stream.flush()
    except OSError as error:
        raise Unwritable(error) from None
