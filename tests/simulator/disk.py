"""What survives a crash of a simulated node: records by kind and key, changed all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from asa.errors import StoreFailed
from asa.records import Change, Key, Record

T = TypeVar("T")


class Disk:
    """``refuse`` decides at each commit whether the store fails; ``committed`` sees every commit that did not."""

    def __init__(self, refuse: Callable[[], bool], committed: Callable[[Sequence[Change]], None]) -> None:
        self._records: dict[type, dict[Key, Record]] = {}
        self._refuse = refuse
        self._committed = committed

    def commit(self, changes: Sequence[Change]) -> None:
        """Raises StoreFailed, or AssertionError for changes that do not fit what is here: a ledger gone astray."""
        if self._refuse():
            raise StoreFailed("the simulated store refuses")
        undo: list[tuple[dict[Key, Record], Key, Record | None]] = []
        try:
            for change in changes:
                table = self._records.setdefault(change.kind, {})
                old = table.get(change.key)
                assert old == change.before, f"{change} meets {old} on disk"
                undo.append((table, change.key, old))
                _put(table, change.key, change.after)
        except AssertionError:
            for table, key, record in reversed(undo):
                _put(table, key, record)
            raise
        self._committed(changes)

    def of(self, kind: type[T]) -> dict[Key, T]:
        """The records of one kind."""
        return self._records.get(kind, {})  # type: ignore[return-value]

    def __iter__(self) -> Iterator[Record]:
        for table in self._records.values():
            yield from table.values()


def _put(table: dict[Key, Record], key: Key, record: Record | None) -> None:
    if record is None:
        table.pop(key, None)
    else:
        table[key] = record
