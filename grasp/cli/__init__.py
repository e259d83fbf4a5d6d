"""The command ``grasp``, for whoever debugs a GRASP network (``docs/cli.md``)."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

from grasp.cli.arguments import UsageError, parse, wants_json
from grasp.cli.events import Interrupted, interrupted_by_signals
from grasp.cli.output import Failed, Output, Unwritable, safe
from grasp.errors import ErrorCode, GraspError, LocalError

__all__ = ["main"]

_log = logging.getLogger("grasp.cli")

_FAILURE: Final = 1
_USAGE: Final = 2
_BY_SIGNAL: Final = 128
_SIGPIPE: Final = 13

# Imported when called: decoding hex opens no socket, and a session needs no packet capture.
_MODULES: Final = {
    "discover": "requests",
    "synchronize": "requests",
    "negotiate": "requests",
    "flood": "floods",
    "floods": "floods",
    "serve": "responder",
    "relay": "responder",
    "monitor": "monitor",
    "decode": "decode",
}
_SPOKEN: Final = frozenset({"serve", "relay"})
"""Commands that stay, so that what their node warns about belongs on the terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 success, 1 failure, 2 usage, 128+n ended by signal n."""
    words = sys.argv[1:] if argv is None else list(argv)
    output = Output(wants_json(words), sys.stdout, sys.stderr)
    try:
        with interrupted_by_signals():
            status = _run(words, output)
            output.close()
            return status
    except Unwritable as error:
        _forget(sys.stdout)
        if isinstance(error.cause, BrokenPipeError):
            return _BY_SIGNAL + _SIGPIPE
        print(f"grasp: cannot write: {error.cause}", file=sys.stderr)
        return _FAILURE


def _run(words: Sequence[str], output: Output) -> int:
    try:
        arguments = parse(words)
        with _logging_to(sys.stderr, arguments.verbose, arguments.command in _SPOKEN):
            module = importlib.import_module(f"grasp.cli.{_MODULES[arguments.command]}")
            getattr(module, arguments.command)(arguments, output)
        return 0
    except SystemExit:
        # Only asking for help ends argparse this way.
        return 0
    except UsageError as error:
        output.fail(error, usage=error.usage)
        return _USAGE
    except Failed as failed:
        output.fail(failed.error, failed.beside, failed.text)
    except GraspError as error:
        output.fail(error)
    except Interrupted as interrupted:
        output.fail(LocalError(ErrorCode.stopped, f"by {interrupted}"))
        return _BY_SIGNAL + interrupted.number
    except Unwritable:
        raise
    except Exception as error:
        _log.exception("please report this")
        output.fail(LocalError(ErrorCode.unspec, f"{type(error).__name__}: {error}"))
    return _FAILURE


class _Safe(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Tracebacks have lines; what a peer wrote must not make any.
        return "\n".join(safe(line, 2000) for line in super().format(record).splitlines())


@contextmanager
def _logging_to(stream: TextIO, verbose: bool, spoken: bool) -> Iterator[None]:
    logger = logging.getLogger("grasp")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Safe("%(asctime)s %(name)s: %(message)s" if verbose else "grasp: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if spoken else logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _forget(stdout: TextIO) -> None:
    """Keep Python from complaining, at exit, about what could not be written."""
    try:
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, stdout.fileno())
        os.close(number)
    except (OSError, ValueError):
        pass
