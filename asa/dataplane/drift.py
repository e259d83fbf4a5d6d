"""Where what there is differs from what there shall be, in words. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asa.dataplane.backend import Abilities, Found, Reading, Spot
from asa.dataplane.match import ANY_FRAME, Match, Where
from asa.dataplane.plan import Entry, Key, Line, Plan, Share
from asa.flows import Endpoint, protocol_text
from asa.quantities import exact_rate

LONGEST_WORDS: Final = 200
"""Characters of what is told of one side of a difference."""

LATE_S: Final = 5.0
"""So much later than its entry says a rule may end: clocks are read apart, and the kernel counts in ticks. One that
ends sooner is no difference, for it is refreshed in time, or missing then."""

ABSENT: Final = "nothing"


class What(StrEnum):
    MISSING = "missing"
    """No rule for packets that shall have one."""
    CHANGED = "changed"
    """They get something else than they shall, or for too long."""
    STRAY = "stray"
    """Ours by its mark, and wanted by nobody."""
    LINE = "line"
    """An interface that is not shaped as it shall be."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``before``: as it was found; ``after``: as it shall be; each at most LONGEST_WORDS characters."""

    line: str
    """Empty if it is not known."""
    ids: tuple[str, ...]
    """The reservations it is about, sorted."""
    what: What
    before: str
    after: str


ALL: Final = Abilities()


def differences(
    plan: Plan, reading: Reading, now: float, keys: Collection[Key] | None = None, abilities: Abilities = ALL
) -> list[Difference]:
    """Lines first, then entries, one difference each, then strays. ``now``: UNIX s, when it was read.

    ``keys``: the reading is of these entries only, and so is what is told. What a back end is not able to do - to mark,
    to let rules end by themselves - is no difference.
    """
    found = [
        Difference(each.name, (), What.LINE, reading.lines[each.name][:LONGEST_WORDS], _line_words(each))
        for each in plan.lines
        if reading.lines.get(each.name)
    ]
    owners: dict[Spot, Key] = {
        (each.line, each.action, match): key for key, each in plan.entries.items() for match in each.matches
    }
    groups = _groups(owners, reading.found)
    entries = plan.entries.values() if keys is None else [plan.entries[key] for key in keys if key in plan.entries]
    for entry in entries:
        difference = _of_entry(entry, reading.found, groups, now, abilities)
        if difference is not None:
            found.append(difference)
    if keys is None:
        for spot, each in reading.found.items():
            if spot not in owners:
                words = f"{spot[1]} {_packets(frozenset({spot[2]}))}: {_found_words(each, now)}"
                found.append(Difference(spot[0], (), What.STRAY, words[:LONGEST_WORDS], ABSENT))
        found += [Difference("", (), What.STRAY, each[:LONGEST_WORDS], ABSENT) for each in reading.strays]
    return found


_Groups = Mapping[tuple[str, int], set[Key | None]]


def _groups(owners: Mapping[Spot, Key], found: Mapping[Spot, Found]) -> _Groups:
    """Which entries a class of a line has packets of; None are those of no entry."""
    groups: dict[tuple[str, int], set[Key | None]] = {}
    for spot, each in found.items():
        if each.group:
            groups.setdefault((spot[0], each.group), set()).add(owners.get(spot))
    return groups


def _of_entry(
    entry: Entry, found: Mapping[Spot, Found], groups: _Groups, now: float, abilities: Abilities
) -> Difference | None:
    there: list[Found] = []
    for match in entry.matches:
        each = found.get((entry.line, entry.action, match))
        if each is not None:
            there.append(each)
    if not there:
        return Difference(entry.line, entry.ids, What.MISSING, ABSENT, _shall_be(entry, now))
    wrong = [words for each in there if (words := _wrong(entry, each, now, abilities))]
    if len(there) < len(entry.matches):
        wrong.append(f"{len(entry.matches) - len(there)} of {len(entry.matches)} rules are missing")
    if len({each.group for each in there}) > 1:
        wrong.append("its packets are in several classes")
    elif there[0].group and len(groups.get((entry.line, there[0].group), ())) > 1:
        wrong.append("its class has packets of others too")
    if not wrong:
        return None
    before = "; ".join(dict.fromkeys(wrong))[:LONGEST_WORDS]
    return Difference(entry.line, entry.ids, What.CHANGED, before, _shall_be(entry, now))


def _wrong(entry: Entry, found: Found, now: float, abilities: Abilities) -> str:
    """What of a rule is not as it shall be; empty if all is."""
    wrong = []
    if found.share != entry.share or bool(found.group) != (entry.share is not None):
        wrong.append(_share_words(found))
    if found.dscp != entry.dscp and abilities.marks:
        wrong.append(_dscp_words(found.dscp))
    if abilities.expires and (found.expires is None or found.expires > entry.expires + LATE_S):
        wrong.append(_end_words(found.expires, now))
    if found.through != entry.through:
        wrong.append(f"through {', '.join(found.through) or 'no middlebox'}")
    if found.output != entry.output:
        wrong.append(f"copies to {found.output or 'nobody'}")
    return ", ".join(wrong)


# -- words


def _line_words(line: Line) -> str:
    return f"shaped to {exact_rate(line.rate)}, {exact_rate(line.floor)} of it for packets nobody reserved for"


def _share(share: Share) -> str:
    return f"{exact_rate(share.guarantee)} up to {exact_rate(share.ceiling)}, priority {share.priority}"


def _share_words(found: Found) -> str:
    if found.share is not None:
        return _share(found.share) if found.group else f"{_share(found.share)}, in no class"
    return "a class that is not there" if found.group else "no share"


def _dscp_words(dscp: int | None) -> str:
    return "marking left alone" if dscp is None else f"DSCP {dscp}"


def _end_words(expires: float | None, now: float) -> str:
    return "never ends" if expires is None else f"ends in {expires - now:.0f} s"


def _shall_be(entry: Entry, now: float) -> str:
    words = [_share(entry.share)] if entry.share is not None else []
    words.append(_dscp_words(entry.dscp))
    if entry.through:
        words.append(f"through {', '.join(entry.through)}")
    if entry.output:
        words.append(f"copies to {entry.output}")
    words.append(_end_words(entry.expires, now))
    return f"{_packets(entry.matches)}: {', '.join(words)}"[:LONGEST_WORDS]


def _found_words(found: Found, now: float) -> str:
    words = [_share_words(found), _dscp_words(found.dscp)]
    if found.through:
        words.append(f"through {', '.join(found.through)}")
    if found.output:
        words.append(f"copies to {found.output}")
    return ", ".join([*words, _end_words(found.expires, now)])


def _packets(matches: frozenset[Match]) -> str:
    """The first of them; they differ in IP version and protocol only."""
    texts = sorted(map(_match_words, matches))
    return texts[0] if len(texts) == 1 else f"{texts[0]} and {len(texts) - 1} more"


def _match_words(match: Match) -> str:
    def end(place: Where, port: object) -> str:
        text = str(Endpoint(place))
        return text if port is None else f"[{text}]:{port}" if ":" in text else f"{text}:{port}"

    words = [end(match.source, match.source_port), "->", end(match.destination, match.destination_port)]
    if match.protocol is not None:
        words.insert(0, protocol_text(match.protocol))
    if match.family != ANY_FRAME:
        words.insert(0, f"IPv{match.family}")
    if match.vlan is not None:
        words.append(f"VLAN {match.vlan}")
    return " ".join(words)
