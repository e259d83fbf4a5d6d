"""The rows of a damaged database, read page by page without SQLite. No I/O.

SQLite gives a tree up at the first page it cannot read. Here whatever a root still leads to is read, and what is not
legible is counted. Deleted rows in free pages are not looked for: a transfer that was settled must not come back.
Source: "Database File Format", https://www.sqlite.org/fileformat2.html §1.3 to §2.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

_INTERIOR_INDEX: Final = 0x02
_INTERIOR_TABLE: Final = 0x05
_LEAF_INDEX: Final = 0x0A
_LEAF_TABLE: Final = 0x0D
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_MAX_PAYLOAD: Final = 16 * 2**20
"""Bytes; no row of ours comes near."""

Row = tuple[Any, ...]


class Illegible(Exception):
    """A page or a cell is not what the format says."""


class Pages:
    """A database file in memory, its log folded in."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        size = struct.unpack_from(">H", content, 16)[0] if len(content) >= 100 else 0
        size = 65536 if size == 1 else size
        self.size = size if size >= 512 and size & (size - 1) == 0 else 4096
        """Bytes of a page."""

    def roots(self) -> dict[str, int]:
        """The first page of each table, as far as the first pages of the file can be read."""
        found = {}
        for row in self.rows(1, []):
            if len(row) == 5 and row[0] == "table" and isinstance(row[1], str) and isinstance(row[3], int):
                found[row[1]] = row[3]
        return found

    def rows(self, root: int, lost: list[str]) -> Iterator[Row]:
        """Every row below ``root``, in no order; ``lost`` gets a line for each page that cannot be read."""
        todo, seen = [root], set[int]()
        while todo:
            number = todo.pop()
            if number in seen:
                lost.append(f"page {number} is reached twice")
                continue
            seen.add(number)
            try:
                yield from self._page(number, todo, lost)
            except Illegible as error:
                lost.append(f"page {number} {error}")

    def _page(self, number: int, todo: list[int], lost: list[str]) -> Iterator[Row]:
        page = self._bytes(number)
        head = 100 if number == 1 else 0
        kind, _, cells = struct.unpack_from(">BHH", page, head)
        if kind not in (_INTERIOR_INDEX, _INTERIOR_TABLE, _LEAF_INDEX, _LEAF_TABLE):
            raise Illegible("is of no kind")
        interior = kind in (_INTERIOR_INDEX, _INTERIOR_TABLE)
        pointers = head + (12 if interior else 8)
        if pointers + 2 * cells > self.size:
            raise Illegible("has more cells than fit")
        if interior:
            todo.append(struct.unpack_from(">I", page, head + 8)[0])
        for index in range(cells):
            try:
                (offset,) = struct.unpack_from(">H", page, pointers + 2 * index)
                if interior:
                    todo.append(struct.unpack_from(">I", page, offset)[0])
                    offset += 4
                if kind != _INTERIOR_TABLE:
                    yield _record(self._payload(page, offset, kind == _LEAF_TABLE))
            except (struct.error, IndexError, UnicodeDecodeError, Illegible) as error:
                lost.append(f"page {number} cell {index}: {error}")

    def _bytes(self, number: int) -> bytes:
        page = self._content[(number - 1) * self.size : number * self.size] if number >= 1 else b""
        if len(page) < self.size:
            raise Illegible("is beyond the end of the file")
        return page

    def _payload(self, page: bytes, offset: int, table: bool) -> bytes:
        """§1.6: what of a cell is on the page, and what on overflow pages."""
        length, offset = _varint(page, offset)
        if table:
            _, offset = _varint(page, offset)
        if length > _MAX_PAYLOAD:
            raise Illegible("a row is too long")
        usable = self.size
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        local = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (usable - 4)
            if local > most:
                local = least
        parts = [page[offset : offset + local]]
        missing = length - len(parts[0])
        if length == local:
            if missing:
                raise Illegible("a row ends beyond its page")
            return parts[0]
        (following,) = struct.unpack_from(">I", page, offset + local)
        # Bounded, however the chain runs: each page makes less missing.
        while missing > 0:
            overflow = self._bytes(following)
            (following,) = struct.unpack_from(">I", overflow)
            parts.append(overflow[4 : 4 + missing])
            missing -= len(parts[-1])
        return b"".join(parts)


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        byte = data[offset + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + count + 1
    return value << 8 | data[offset + 8], offset + 9


def _record(payload: bytes) -> Row:
    """§2.1: types first, then values."""
    end, offset = _varint(payload, 0)
    types = []
    while offset < end:
        kind, offset = _varint(payload, offset)
        types.append(kind)
    values: list[Any] = []
    for kind in types:
        length = _INTEGERS.get(kind, 0) if kind < 12 else (kind - 12) // 2
        data = payload[offset : offset + length]
        if len(data) != length:
            raise Illegible("a row is cut off")
        offset += length
        if kind == 0:
            values.append(None)
        elif kind in _INTEGERS:
            values.append(int.from_bytes(data, "big", signed=True))
        elif kind in (8, 9):
            values.append(kind - 8)
        elif kind >= 12:
            values.append(data.decode() if kind % 2 else data)
        else:
            raise Illegible("a value is of no kind of ours")
    return tuple(values)
