"""A process that ends without warning: at every line of the store in turn, or killed while it commits."""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import asa.store
from asa.records import made
from asa.store import Store
from tests.store.examples import NOW, counted, reservation

_SOURCES = str(Path(asa.store.__file__).parent)
_CRASHED = 99
_ROUNDS = 24
"""A line of a loop counts so often: what it does from one record to the next is the same after that."""
# They name things and say what is on disk; nothing is written in them.
_WITHOUT_IO = ("rows.py", "pages.py", "faults.py")


def child(action: Callable[[], object]) -> int:
    """Run ``action`` in a process of its own that ends without cleaning up; its exit status, 0 if all went well."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException as error:
            os.write(2, f"child: {error!r}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def at_every_line(prepare: Callable[[], Path], action: Callable[[Path], object]) -> Iterator[Path]:
    """The directory as it is after a crash before the first line of the store that runs, the second, and so on."""
    for last in itertools.count(1):
        directory = prepare()
        status = child(lambda directory=directory, last=last: _until(last, lambda: action(directory)))
        assert status in (0, _CRASHED)
        yield directory
        if status == 0:
            assert last > 30, "nothing was traced"
            return


def _until(last: int, action: Callable[[], object]) -> None:
    left = last
    passed: Counter[tuple[str, int]] = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        source = frame.f_code.co_filename
        if not source.startswith(_SOURCES) or source.endswith(_WITHOUT_IO) or _in_memory(frame):
            return None
        if event == "line":
            place = source, frame.f_lineno
            passed[place] += 1
            if passed[place] > _ROUNDS:
                return trace
            left -= 1
            if left == 0:
                os._exit(_CRASHED)
        return trace

    sys.settrace(trace)
    action()


def _in_memory(frame: FrameType | None) -> bool:
    """Whether a database in memory is being made, or one only looked at."""
    while frame is not None and frame.f_code is not _until.__code__:
        if frame.f_code.co_name in (
            "model",
            "sealed_tables",
            "problems",
            "broken_seals",
            "_rows",
            "_rows_of",
            "_records",
        ):
            return True
        frame = frame.f_back
    return False


ROWS = 3


def commit_for_ever(directory: Path) -> None:
    """Commit ROWS reservations and a count at a time, and say the count on standard output when it is durable."""
    with Store.open(directory, now=NOW) as store:
        records = store.load()
        number = max((int(each.value) for each in records if hasattr(each, "value")), default=-1)
        while True:
            store.commit((*made(*(reservation((number + 1) * ROWS + index) for index in range(ROWS))), counted(number)))
            number += 1
            os.write(1, b"%d\n" % number)


if __name__ == "__main__":
    commit_for_ever(Path(sys.argv[1]))
