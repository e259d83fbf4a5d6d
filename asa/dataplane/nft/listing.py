"""What nft lists of a table of ours, and what it says of a script that failed. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asa.dataplane.backend import Spot
from asa.dataplane.nft.ruleset import TABLE, Map, Table, match_of
from asa.errors import BadRequest

FOREIGN: Final = -1
"""The number of classes that are none of ours."""

MOST: Final = 0xFFFF
"""The greatest number of a class."""


@dataclass(frozen=True, slots=True)
class Element:
    key: str
    parts: list[object]
    number: int
    """Of the class; 0: the default one; FOREIGN: none of ours."""
    left: float | None
    """Seconds; None: it has no end."""


def objects(listing: object, table: Table = TABLE) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Kind and content of all that is listed of our table; what has another form than expected is left out."""
    items = listing.get("nftables") if isinstance(listing, dict) else None
    for item in items if isinstance(items, list) else []:
        for kind, content in item.items() if isinstance(item, dict) else ():
            if not isinstance(content, dict):
                continue
            if (content.get("family"), content.get("table")) == (table.family, table.name):
                yield kind, content


def elements(content: Mapping[str, Any], table: Table = TABLE) -> tuple[list[Element], list[str]]:
    """Of a map; and in words what is none of ours."""
    found: list[Element] = []
    strays: list[str] = []
    raw = content.get("elem")
    for each in raw if isinstance(raw, list) else []:
        try:
            found.append(_element(each, table))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            strays.append(f"an element {each!r:.100}")
    return found, strays


def _element(raw: Any, table: Table) -> Element:
    body, value = raw
    left = None
    if type(body) is dict and "elem" in body:
        body = body["elem"]
        left = body.get("expires") if "timeout" in body else None
        if left is not None and type(left) not in (int, float):
            raise ValueError(f"it ends in {left!r:.40}")
        # The fraction is left out.
        left = None if left is None else left + 0.5
        body = body["val"]
    parts = body["concat"] if type(body) is dict else [body]
    if not all(type(each) in (str, int) for each in parts):
        raise ValueError(f"{parts!r:.80} is no key")
    return Element(" . ".join(map(str, parts)), parts, _number(value, table), left)


def _number(classid: str, table: Table) -> int:
    major, _, minor = classid.partition(":")
    number = int(minor or "0", 16)
    if int(major, 16) != table.major or not 0 < number <= MOST:
        return FOREIGN
    return 0 if number == table.default else number


_TOLD: Final = re.compile(
    r"(?:[{,])\s*([0-9a-f:. ]+?)(?: timeout [0-9a-z]+)?(?: expires ([0-9a-z]+))? : ([0-9a-f]+:[0-9a-f]+)(?=\s*[},])"
)
_SPAN: Final = re.compile(r"([0-9]+)(ms|[dhms])")
_UNITS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def elements_in(text: str, table: Table = TABLE) -> Iterator[Element]:
    """Of a listing that is not JSON; what is none of ours is left out."""
    for key, left, classid in _TOLD.findall(text):
        parts: list[object] = [int(each) if each.isdecimal() else each for each in key.split(" . ")]
        seconds = sum(int(count) * _UNITS[unit] for count, unit in _SPAN.findall(left)) if left else None
        try:
            yield Element(key, parts, _number(classid, table), seconds)
        except ValueError:
            continue


def spot_of(map: Map, element: Element) -> Spot | None:
    """None if it says nothing this agent could have meant."""
    if element.number == FOREIGN:
        return None
    try:
        return map.line, map.action, match_of(map.shape, element.parts)
    except (ValueError, BadRequest):
        return None


_FAILED: Final = re.compile(r"^(?:/dev/stdin|-|<stdin>):([0-9]+):[0-9]+(?:-[0-9]+)?: Error: (.*)$", re.MULTILINE)


def failures(said: str, count: int) -> dict[int, str]:
    """What nft wrote about a file of ``count`` lines: by position of each that is wrong, why; empty if it is not about
    one."""
    return {int(line) - 1: why for line, why in _FAILED.findall(said) if 0 < int(line) <= count}
