"""A client of ovsdb-server: transactions over its unix socket (RFC 7047), bounded in time and in what it reads."""

from __future__ import annotations

import itertools
import json
import random
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from asa.dataplane.backend import EnforcementFailed
from asa.dataplane.openvswitch.rows import Operation, Row

DATABASE: Final = "Open_vSwitch"

TIME_LIMIT_S: Final = 15.0
"""For an answer; and for ovs-vswitchd to act."""
CONNECT_LIMIT_S: Final = 5.0
"""For all attempts to connect: as long as a restart of ovsdb-server may take."""
LONGEST: Final = 64 * 2**20
"""Bytes of an answer; 5,000 queues are less than 2 MiB."""

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_CHUNK: Final = 2**18


class Ovsdb:
    """Connects anew for each transaction: the server drops who does not answer its probes, and may be restarted."""

    def __init__(
        self,
        path: Path,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._sleep = sleep
        self._jitter = jitter
        self._serial = itertools.count(1)

    def transact(self, operations: Sequence[Operation]) -> list[Row]:
        """The result of each operation; all of them are done, or none. Raises EnforcementFailed.

        If the answer does not come, what has been done is unknown.
        """
        serial = next(self._serial)
        question = {"method": "transact", "params": [DATABASE, *operations], "id": serial}
        with self._connected() as connection:
            try:
                return _results(self._asked(connection, question, serial))
            except TimeoutError:
                raise EnforcementFailed(f"ovsdb-server did not answer within {TIME_LIMIT_S:g} s") from None
            except OSError as error:
                raise EnforcementFailed(f"ovsdb-server hung up: {error.strerror or error}") from None

    def select(self, *wanted: tuple[str, Sequence[str]]) -> list[list[Row]]:
        """All rows of some tables, each with some columns, of one moment."""
        asked = [
            {"op": "select", "table": table, "where": [], "columns": ["_uuid", *columns]} for table, columns in wanted
        ]
        return [each["rows"] for each in self.transact(asked)]

    def change(self, operations: Sequence[Operation]) -> dict[str, str]:
        """A transaction, and wait until ovs-vswitchd has done what it says (``next_cfg``, ``cur_cfg``).

        The UUIDs of new rows, by ``uuid-name``. If only the waiting fails, the database has the changes.
        """
        bump = {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}
        told = {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]}
        results = self.transact([*operations, bump, told])
        rows = results[-1]["rows"]
        if len(rows) != 1:
            raise EnforcementFailed("the database has no switch", hint="start ovs-vswitchd: it makes the first row")
        target, deadline, pause = int(rows[0]["next_cfg"]), self._monotonic() + TIME_LIMIT_S, 0.001
        question = [{"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["cur_cfg"]}]
        while True:
            rows = self.transact(question)[0]["rows"]
            if len(rows) == 1 and int(rows[0]["cur_cfg"]) >= target:
                return {
                    asked["uuid-name"]: done["uuid"][1]
                    for asked, done in zip(operations, results, strict=False)
                    if "uuid-name" in asked
                }
            if self._monotonic() > deadline:
                raise EnforcementFailed(
                    f"ovs-vswitchd did not act within {TIME_LIMIT_S:g} s", hint="see whether it runs, and its log"
                )
            self._sleep(pause)
            pause = min(2 * pause, 0.01)

    def _connected(self) -> socket.socket:
        deadline, pause = self._monotonic() + CONNECT_LIMIT_S, _FIRST_PAUSE_S
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            connection.settimeout(TIME_LIMIT_S)
            try:
                connection.connect(str(self._path))
                return connection
            except OSError as error:
                connection.close()
                if self._monotonic() + pause > deadline:
                    raise EnforcementFailed(
                        f"ovsdb-server cannot be reached at {self._path}: {error.strerror or error}",
                        hint="see whether it runs, and [enforcement] ovsdb",
                    ) from None
            self._sleep(pause * (1 + self._jitter()) / 2)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _asked(self, connection: socket.socket, question: object, serial: int) -> object:
        connection.sendall(json.dumps(question, separators=(",", ":")).encode("ascii"))
        deadline = self._monotonic() + TIME_LIMIT_S
        received = bytearray()
        while True:
            if (left := deadline - self._monotonic()) <= 0:
                raise TimeoutError
            connection.settimeout(left)
            if not (chunk := connection.recv(_CHUNK)):
                raise EnforcementFailed("ovsdb-server hung up before it answered")
            received += chunk
            if len(received) > LONGEST:
                raise EnforcementFailed(f"ovsdb-server answers with more than {LONGEST} bytes")
            # Only there can an item end; without this a long one would be decoded once for each chunk.
            if not received.rstrip().endswith(b"}"):
                continue
            items, rest = _items(received.decode("utf-8", "replace"))
            received = bytearray(rest.encode())
            for item in items:
                if item.get("method") == "echo":
                    answer = {"id": item.get("id"), "result": item.get("params"), "error": None}
                    connection.sendall(json.dumps(answer).encode("ascii"))
                elif item.get("id") == serial:
                    if item.get("error") is not None:
                        raise EnforcementFailed(f"ovsdb-server refuses: {str(item['error'])[:300]}")
                    return item.get("result")


def _items(text: str) -> tuple[list[dict[str, Any]], str]:
    """The whole JSON objects at the begin of a stream, and what is left. Raises EnforcementFailed."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        if not text.startswith("{"):
            raise EnforcementFailed("what ovsdb-server says is no JSON-RPC")
        try:
            item, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            break
        found.append(item)
        text = text[end:]
    return found, text


def _results(result: object) -> list[Row]:
    if not isinstance(result, list):
        raise EnforcementFailed("ovsdb-server gives no results")
    for each in result:
        # A failure at the commit comes as one more item (RFC 7047 §4.1.3).
        if isinstance(each, dict) and "error" in each:
            told = f"{each['error']}: {each.get('details', '')}"
            raise EnforcementFailed(f"ovsdb-server refuses: {told[:300]}")
    return [each if isinstance(each, dict) else {} for each in result]
