"""A process that ends without warning: at every line of the store in turn, or killed while it commits."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import asa.store
from asa.records import made
from asa.store import Store
from tests.store.examples import NOW, counted, reservation

_SOURCES = str(Path(asa.store.__file__).parent)


def child(action: Callable[[], object]) -> int:
    """Run ``action`` in a process of its own that ends without cleaning up; its exit status, 0 if all went well."""
    process = _begin(action)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _begin(action: Callable[[], object]) -> int:
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
    return process


def at_every_line(directory: Path, action: Callable[[Path], object]) -> Iterator[Path]:
    """What ``action`` leaves of ``directory`` if it crashes before the first line of the store, the second, and so on.

    A process that ends leaves its files as they are: ``action`` runs once, in a process that stops at each line until
    a copy is made. What several lines leave alike comes once, and last what is there when all went well.
    """
    told, tell = os.pipe()
    awaited, go_on = os.pipe()

    def traced() -> None:
        os.close(told)
        os.close(go_on)
        sys.settrace(lambda frame, event, _: _stopping(frame, tell, awaited))
        action(directory)

    process = _begin(traced)
    os.close(tell)
    os.close(awaited)
    found: dict[object, Path] = {}
    lines = 0
    try:
        while os.read(told, 1):
            lines += 1
            _copied(directory, found)
            os.write(go_on, b".")
    finally:
        os.close(told)
        os.close(go_on)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status == 0
    _copied(directory, found)
    assert lines > 30, "nothing was traced"
    yield from found.values()


def _stopping(frame: FrameType, tell: int, awaited: int) -> Any:
    if not frame.f_code.co_filename.startswith(_SOURCES):
        return None

    def at_line(_: FrameType, event: str, __: Any) -> Any:
        if event == "line":
            os.write(tell, b".")
            assert os.read(awaited, 1), "nobody looks any more"
        return at_line

    return at_line


def _copied(directory: Path, found: dict[object, Path]) -> None:
    """Add a copy, if nothing there is like it."""
    content = None
    if directory.exists():
        content = tuple((each, each.is_file() and each.read_bytes()) for each in sorted(directory.rglob("*")))
    if content not in found:
        found[content] = directory.with_name(f"{directory.name}-{len(found)}")
        if content is not None:
            shutil.copytree(directory, found[content])


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
