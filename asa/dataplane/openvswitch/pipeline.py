"""Our tables in a bridge, and what is in them for lines and entries. No I/O.

One flow in table 0, above most others, sends each packet through our tables and then to table 0 again, with one bit of
a register set so that it is not taken there a second time: what forwards packets is the bridge's own pipeline, as if
we were not there. A table of ours in which nothing matches does nothing.

===========  ====================================================================================
``MIRRORS``  copies, of packets as they came
``INWARD``   the ways in: held to the ceiling by a meter, marked
``OUTWARD``  the ways out: the queue, the marking; what unreserved packets lose
``STEERING``  the next middlebox as the Ethernet destination
===========  ====================================================================================

In each table the match that looks at most has the greatest priority. All flows of a spot follow from its :class:`Laid`,
and that from them: its words are in a note.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from asa.dataplane.backend import Spot
from asa.dataplane.match import ANY_FRAME, Match, Shape
from asa.dataplane.openvswitch.flows import Flow, Seen, fields_of, match_of, note, noted
from asa.dataplane.plan import Action, Line, Share
from asa.errors import BadRequest
from asa.flows import Mac
from objectives.reach import Prefix

MIRRORS, INWARD, OUTWARD, STEERING = 240, 241, 242, 243

BEGIN: Final = 65_000
"""The priority in table 0: an operator's flows above it decide alone."""

SLOTS: Final = 4_500
"""Shapes have numbers 1..SLOTS - 1, four priorities each."""
_LOWEST: Final = 100
"""Priority of an entry; below are those of what is unreserved."""
_STAGE: Final = 20_000
"""What a middlebox sends is above what comes from elsewhere, and the last one's above all."""

METERS: Final = 0x0A5A_0000
"""Our meters are METERS + n; the number is our mark on them."""

_BURST_S: Final = 0.1
_LEAST_BURST: Final = 200
"""kbit: some frames of TCP."""

_FLAG: Final = "reg15=0/0x80000000"
_MARKED: Final = "load:0x1->NXM_NX_REG15[31]"

DISPATCH: Final = Flow(
    0, BEGIN, frozenset({_FLAG}),
    ",".join([_MARKED, *(f"resubmit(,{each})" for each in (MIRRORS, INWARD, OUTWARD, STEERING)), "resubmit(,0)"]),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Laid:
    """What is, or shall be, in a bridge for one spot."""

    spot: Spot
    slot: int
    inward: int
    """The OpenFlow number of the line's port on a way in; 0 on a way out."""
    number: int = 0
    """Of the queue, or the meter; 0: none."""
    dscp: int | None = None
    share: Share | None = None
    """On a way in; on a way out the queue has it."""
    through: tuple[str, ...] = ()
    output: str = ""
    macs: tuple[Mac, ...] = ()
    """Of the middleboxes, or of who gets the copies."""
    port: int = 0
    """OpenFlow's, of who gets the copies."""


def table_of(spot: Spot) -> int:
    line, action, _ = spot
    if action is Action.STEER:
        return STEERING
    if action is Action.MIRROR:
        return MIRRORS
    return INWARD if line.endswith(":in") else OUTWARD


def flows_of(laid: Laid) -> tuple[Flow, ...]:
    """The one that names the spot first."""
    line, action, match = laid.spot
    table = table_of(laid.spot)
    # Passthrough gives way to a guarantee of the very same packets.
    priority = _LOWEST + 4 * laid.slot + (2 if action is Action.GUARANTEE else 0)
    fields = fields_of(match, *([f"in_port={laid.inward}"] if laid.inward else []))
    if action is Action.STEER:
        return _steering(laid, table, priority, fields)
    if action is Action.MIRROR:
        copy = f"clone(set_field:{laid.macs[0]}->eth_dst,output:{laid.port})"
        return (Flow(table, priority, fields, f"{note(line, laid.output)},{copy}"),)
    meter = [f"meter:{METERS + laid.number}"] if laid.inward and laid.number else []
    words = [line, "-" if laid.dscp is None else str(laid.dscp)]
    if laid.share is not None:
        words += [str(laid.share.guarantee), str(laid.share.ceiling), str(laid.share.priority)]
    queue = [f"set_queue:{laid.number}"] if laid.number and not laid.inward else []
    mark = [] if laid.dscp is None else [f"set_field:{laid.dscp}->ip_dscp"]
    every = ",".join([*meter, note(*words), *queue])
    marked = ",".join([*meter, note(*words), *mark, *queue])
    if match.family != ANY_FRAME:
        return (Flow(table, priority, fields, marked),)
    # Only IP packets have a DSCP.
    of_ip = [Flow(table, priority + 1, fields | {kind}, marked) for kind in ("ip", "ipv6")] if mark else []
    return (Flow(table, priority, fields, every), *of_ip)


def _steering(laid: Laid, table: int, priority: int, fields: frozenset[str]) -> tuple[Flow, ...]:
    """A middlebox is sent what is for its MAC address, and sends it on with that as the source: so it is known by it,
    wherever its port is. After the last one the destination is the one it gave."""
    line, _, match = laid.spot
    first = Flow(
        table, priority, fields, f"{note(line, *laid.through)},set_field:{laid.macs[0]}->eth_dst"
    )  # fmt: skip
    # What it sends on comes in by its own port, and with its own address as the source.
    left = replace(match, source=None) if isinstance(match.source, Mac) else match
    source = str(match.source) if isinstance(match.source, Mac) else "-"
    found = [first]
    for at, (here, following) in enumerate(pairwise((*laid.macs, None))):
        assert here is not None
        words = note(line, "hop", str(at), source)
        actions = words if following is None else f"{words},set_field:{following}->eth_dst"
        stage = priority + (2 if following is None else 1) * _STAGE
        found.append(Flow(table, stage, fields_of(left, f"dl_src={here}"), actions))
    return tuple(found)


def meter_for(ceiling: int) -> tuple[int, int]:
    """Rate (kbit/s) and burst (kbit) that hold to ``ceiling`` bit/s."""
    rate = max(-(-ceiling // 1_000), 1)
    return rate, max(int(rate * _BURST_S), _LEAST_BURST)


# -- back from flows


@dataclass(frozen=True, slots=True)
class Read:
    laid: Mapping[Spot, tuple[Laid, float | None]]
    """And the seconds left."""
    common: Collection[Flow]
    """What belongs to lines as a whole."""
    odd: Sequence[Flow]
    """Ours by their cookie, but of no whole spot."""


def read(seen: Iterable[Seen]) -> Read:
    common: list[Flow] = []
    found: dict[tuple[int, int, frozenset[str]], Seen] = {}
    first: list[Laid] = []
    hops: dict[tuple[Spot, int], list[tuple[int, Mac]]] = {}
    for each in seen:
        flow = each.flow
        if flow.table == 0 or flow.priority < _LOWEST:
            common.append(flow)
            continue
        found[flow.place] = each
        words = noted(flow.actions)
        if flow.table == STEERING and len(words) == 4 and words[1] == "hop":
            _collect_hop(flow, words, hops)
        elif (laid := _named(flow, words)) is not None:
            first.append(laid)
    whole: dict[Spot, tuple[Laid, float | None]] = {}
    for laid in first:
        if laid.spot[1] is Action.STEER:
            laid = replace(laid, macs=tuple(mac for _, mac in sorted(hops.get((laid.spot, laid.slot), []))))
            if len(laid.macs) != len(laid.through) or not laid.macs:
                continue
        wanted = flows_of(laid)
        there = [found.get(flow.place) for flow in wanted]
        if laid.spot not in whole and all(its and its.flow == flow for its, flow in zip(there, wanted, strict=True)):
            lefts = [its.left for its in there if its is not None and its.left is not None]
            whole[laid.spot] = laid, min(lefts, default=None)
            for flow in wanted:
                del found[flow.place]
    return Read(whole, common, [each.flow for each in found.values()])


def _slot(priority: int) -> int:
    return (priority - _LOWEST) // 4


def _named(flow: Flow, words: Sequence[str]) -> Laid | None:
    """What the first flow of a spot says; None if it is none."""
    inward = next((int(each[8:]) for each in flow.fields if each.startswith("in_port=") and each[8:].isdecimal()), 0)
    match = match_of(frozenset(each for each in flow.fields if not each.startswith("in_port=")))
    if match is None or not words or flow.table not in (MIRRORS, INWARD, OUTWARD, STEERING):
        return None
    line, slot = words[0], _slot(flow.priority)
    if flow.table == STEERING:
        return Laid((line, Action.STEER, match), slot, inward, through=tuple(words[1:]))
    tail = flow.actions.rpartition("clone(")[2]
    if flow.table == MIRRORS:
        mac, port = tail[len("set_field:") :][:17], tail.rpartition("output:")[2].rstrip(")")
        if len(words) != 2 or not port.isdecimal():
            return None
        try:
            macs = (Mac(mac),)
        except BadRequest:
            return None
        return Laid((line, Action.MIRROR, match), slot, inward, output=words[1], macs=macs, port=int(port))
    if len(words) < 2 or (flow.priority - _LOWEST) % 4 not in (0, 2):
        return None
    actions = flow.actions.split(",")
    number = _after(actions, "set_queue:")
    if number is None and (meter := _after(actions, "meter:")) is not None:
        number = meter - METERS
    action = Action.GUARANTEE if (flow.priority - _LOWEST) % 4 else Action.KEEP
    dscp = int(words[1]) if words[1].isdecimal() else None
    return Laid((line, action, match), slot, inward, number or 0, dscp, _share(words[2:]))


def _after(actions: Iterable[str], name: str) -> int | None:
    found = next((each[len(name) :] for each in actions if each.startswith(name)), "")
    return int(found) if found.isdecimal() else None


def _share(words: Sequence[str]) -> Share | None:
    if len(words) != 3 or not all(each.isdecimal() and len(each) < 17 for each in words):
        return None
    try:
        return Share(*map(int, words))
    except BadRequest:
        return None


def _collect_hop(flow: Flow, words: Sequence[str], hops: dict[tuple[Spot, int], list[tuple[int, Mac]]]) -> None:
    line, _, at, source = words
    mac = next((each[7:] for each in flow.fields if each.startswith("dl_src=")), "")
    match = match_of(frozenset(each for each in flow.fields if not each.startswith("dl_src=")))
    if match is None:
        return
    try:
        if source != "-":
            match = replace(match, source=Mac(source))
        slot = _slot(flow.priority % _STAGE)
        hops.setdefault(((line, Action.STEER, match), slot), []).append((int(at), Mac(mac)))
    except (BadRequest, ValueError):
        return


# -- lines


def common(lines: Iterable[tuple[Line, int]]) -> set[Flow]:
    """What the lines of one bridge, with the numbers of their ports, need together. None, if there are none.

    Where a packet goes is not known yet, so on the ways out every one loses it that comes by a port which is no line:
    what comes by a line was judged where it came from.
    """
    known = list(lines)
    found: dict[tuple[int, int, frozenset[str]], Flow] = {DISPATCH.place: DISPATCH} if known else {}
    for line, port in known:
        if not line.cleared:
            continue
        if line.way == "out":
            for each, number in known:
                exempt = Flow(OUTWARD, 3, frozenset({f"in_port={number}"}), note(each.interface))
                found[exempt.place] = exempt
        table, more = (OUTWARD, []) if line.way == "out" else (INWARD, [f"in_port={port}"])
        for fields in _sources(line.vouched):
            for dscp in line.cleared:
                flow = Flow(table, 2, fields | {f"nw_tos={dscp << 2}", *more}, "set_field:0->ip_dscp")
                found[flow.place] = flow
    return set(found.values())


def _sources(vouched: Iterable[Prefix]) -> list[frozenset[str]]:
    matches = [Match(each.version, each if each.prefixlen else None) for each in vouched]
    return [fields_of(each) for each in matches or (Match(4), Match(6))]


# -- priorities


def slots(found: Mapping[Shape, int], wanted: Iterable[Shape]) -> dict[Shape, int]:
    """A number for each shape, greater where the rank is. Those it has are kept, as long as new ones fit between.

    Raises BadRequest for more shapes than there are numbers.
    """
    ordered = sorted(set(wanted), key=lambda each: each.rank)
    if len(ordered) >= SLOTS:
        raise BadRequest(f"{len(ordered)} shapes of matches in a bridge, {SLOTS - 1} can be told apart")
    kept = [each for each in ordered if each in found]
    if all(0 < found[a] < found[b] < SLOTS for a, b in pairwise(kept)) and all(0 < found[a] < SLOTS for a in kept):
        numbers: dict[Shape, int] = {}
        if _fill(ordered, found, numbers):
            return numbers
    step = SLOTS // (len(ordered) + 1)
    return {each: step * at for at, each in enumerate(ordered, 1)}


def _fill(ordered: Sequence[Shape], found: Mapping[Shape, int], numbers: dict[Shape, int]) -> bool:
    """Spread new shapes evenly between those that have a number; False if there is not enough room."""
    low, new = 0, list[Shape]()
    for each in [*ordered, None]:
        if each is not None and each not in found:
            new.append(each)
            continue
        high = SLOTS if each is None else found[each]
        if high - low <= len(new):
            return False
        for at, shape in enumerate(new, 1):
            numbers[shape] = low + (high - low) * at // (len(new) + 1)
        if each is not None:
            numbers[each] = high
        low, new = high, []
    return True
