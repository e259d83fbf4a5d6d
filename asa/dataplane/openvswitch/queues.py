"""The QoS and Queue rows of ports: what there is, what there shall be, and the operations between. No I/O.

Each of our ports has one QoS of type linux-htb, and Queue 0 for packets nobody reserved for. The mark on our rows is
``external_ids:asa``, the line's name. A Queue number n is the kernel's class ``1:(n+1)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from asa.dataplane.openvswitch.rows import Operation, Row, as_map, of_map
from asa.dataplane.plan import DEFAULT_PRIORITY, MAX_PRIORITY, Line, Share
from asa.errors import BadRequest

MARK: Final = "asa"
KIND: Final = "linux-htb"

COLUMNS: Final = (
    ("QoS", ("type", "queues", "other_config", "external_ids")),
    ("Queue", ("other_config", "external_ids")),
)

FIRST: Final = 0x100
"""The least number of an entry's queue: the small ones are what operators use."""
LAST: Final = 0xEFFE
"""ovs-vswitchd's most is 0xf000 queues."""

LEAST: Final = 12_000
"""bit/s: ovs-vswitchd gives every class as much (1,500 bytes a second)."""

_BURST_S: Final = 0.02
_LEAST_BURST: Final = 25_600
"""bit: two frames."""


@dataclass(frozen=True, slots=True)
class Queue:
    row: str
    share: Share | None
    """None if its columns say what we would not."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A QoS row of ours with its queues, by number."""

    row: str
    rate: int
    """bit/s; 0 if it is none, or the row is not of our kind."""
    queues: Mapping[int, Queue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Qualities:
    ours: Mapping[str, Quality] = field(default_factory=dict)
    """By UUID."""
    lines: Mapping[str, str] = field(default_factory=dict)
    """By UUID of the row, what its mark says."""
    foreign: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """By UUID, the numbers of its queues."""
    loose: tuple[str, ...] = ()
    """UUIDs of Queue rows of ours that no QoS of ours has."""


def qualities_of(qualities: Sequence[Row], queues: Sequence[Row]) -> Qualities:
    """From the rows of COLUMNS."""
    rows = {each["_uuid"][1]: each for each in queues}
    ours: dict[str, Quality] = {}
    lines: dict[str, str] = {}
    foreign: dict[str, frozenset[int]] = {}
    used: set[str] = set()
    for each in qualities:
        row, numbers = each["_uuid"][1], {int(n): uuid[1] for n, uuid in as_map(each["queues"]).items()}
        used |= set(numbers.values())
        mark = as_map(each["external_ids"]).get(MARK)
        if mark is None:
            foreign[row] = frozenset(numbers)
            continue
        rate = _number(as_map(each["other_config"]).get("max-rate")) if each["type"] == KIND else 0
        found = {
            number: Queue(uuid, _share(as_map(rows[uuid]["other_config"])))
            for number, uuid in numbers.items()
            if uuid in rows and MARK in as_map(rows[uuid]["external_ids"])
        }
        ours[row] = Quality(row, rate, found)
        lines[row] = mark
    loose = tuple(uuid for uuid, each in rows.items() if uuid not in used and MARK in as_map(each["external_ids"]))
    return Qualities(ours, lines, foreign, loose)


def default(line: Line) -> Share:
    """What Queue 0 is given."""
    return Share(line.floor, line.rate, DEFAULT_PRIORITY)


def in_kernel(share: Share, rate: int) -> tuple[int, int, int]:
    """Guarantee, ceiling and priority of the class ovs-vswitchd makes of it on a line of ``rate`` bit/s."""
    guarantee = min(max(share.guarantee, LEAST), rate)
    return guarantee, min(max(share.ceiling, guarantee), rate), share.priority


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 16 else 0


def _share(config: Mapping[str, str]) -> Share | None:
    try:
        share = Share(
            _number(config.get("min-rate")),
            _number(config.get("max-rate")),
            _number(config.get("priority")) if "priority" in config else MAX_PRIORITY + 1,
        )
    except BadRequest:
        return None
    return share if _config(share) == dict(config) else None


def _config(share: Share) -> dict[str, str]:
    burst = str(max(int(share.ceiling * _BURST_S), _LEAST_BURST))
    return {
        "min-rate": str(share.guarantee), "max-rate": str(share.ceiling), "priority": str(share.priority),
        "burst": burst,
    }  # fmt: skip


# -- operations


def _at(row: str) -> list[list[object]]:
    return [["_uuid", "==", ["uuid", row]]]


def _new(line: str, number: int, share: Share) -> Operation:
    row = {"other_config": of_map(_config(share)), "external_ids": of_map({MARK: line})}
    return {"op": "insert", "table": "Queue", "uuid-name": queue_name(line, number), "row": row}


def queue_name(line: str, number: int) -> str:
    """What a new row is called until it has a UUID."""
    return f"q{line.encode().hex()}_{number}"


def quality_name(line: str) -> str:
    return f"s{line.encode().hex()}"


def come(line: Line, port: str, wanted: Mapping[int, Share]) -> list[Operation]:
    """A QoS for a port (UUID) that has none of ours, with all its queues."""
    name = quality_name(line.name)
    queues = ["map", [[number, ["named-uuid", queue_name(line.name, number)]] for number in wanted]]
    row = {
        "type": KIND, "queues": queues, "other_config": of_map({"max-rate": str(line.rate)}),
        "external_ids": of_map({MARK: line.name}),
    }  # fmt: skip
    return [
        *(_new(line.name, number, share) for number, share in wanted.items()),
        {"op": "insert", "table": "QoS", "uuid-name": name, "row": row},
        {"op": "update", "table": "Port", "where": _at(port), "row": {"qos": ["named-uuid", name]}},
    ]


def rated(line: Line, found: Quality) -> list[Operation]:
    if found.rate == line.rate:
        return []
    row = {"type": KIND, "other_config": of_map({"max-rate": str(line.rate)})}
    return [{"op": "update", "table": "QoS", "where": _at(found.row), "row": row}]


def changed(line: str, found: Quality, gone: Iterable[int], put: Mapping[int, Share]) -> list[Operation]:
    """Queues taken from a QoS, and some given it or given other shares."""
    operations: list[Operation] = []
    mutations: list[object] = []
    lost = [each for each in gone if each in found.queues]
    if lost:
        mutations.append(["queues", "delete", ["set", lost]])
        operations += dropped(found.queues[each].row for each in lost)
    new = {number: share for number, share in put.items() if number not in found.queues}
    if new:
        operations += [_new(line, number, share) for number, share in new.items()]
        # An insertion leaves a number alone that is there, with a queue of somebody else.
        mutations.append(["queues", "delete", ["set", list(new)]])
        mutations.append(["queues", "insert", ["map", [[n, ["named-uuid", queue_name(line, n)]] for n in new]]])
    if mutations:
        operations.append({"op": "mutate", "table": "QoS", "where": _at(found.row), "mutations": mutations})
    for number, share in put.items():
        if number not in new:
            row = {"other_config": of_map(_config(share))}
            operations.append({"op": "update", "table": "Queue", "where": _at(found.queues[number].row), "row": row})
    return operations


def dropped(rows: Iterable[str]) -> list[Operation]:
    """Queue rows; the server refuses those a QoS still has."""
    return [{"op": "delete", "table": "Queue", "where": _at(each)} for each in rows]


def gone(found: Quality, port: str | None) -> list[Operation]:
    """A QoS of ours with its queues; ``port``: the UUID of the one that has it."""
    operations: list[Operation] = []
    if port is not None:
        operations.append({"op": "update", "table": "Port", "where": _at(port), "row": {"qos": ["set", []]}})
    operations.append({"op": "delete", "table": "QoS", "where": _at(found.row)})
    return [*operations, *dropped(each.row for each in found.queues.values())]


def used(port: str, row: str | None) -> Operation:
    """The port's QoS, by UUID; None: none."""
    return {
        "op": "update", "table": "Port", "where": _at(port),
        "row": {"qos": ["set", []] if row is None else ["uuid", row]},
    }  # fmt: skip
