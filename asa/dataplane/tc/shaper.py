"""The queues of lines: what there is of them, and setting them up and taking them away with ``tc`` and ``ip``.

Of a line: its root qdisc with the class of the whole line and the one of unreserved packets; on the way in, the device
that stands for it, and that what comes in goes through that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from asa.dataplane import commands
from asa.dataplane.backend import Abilities, Unfit
from asa.dataplane.plan import Line
from asa.dataplane.tc import htb, netlink
from asa.dataplane.tc.classifier import DEFAULT, MAJOR, WHOLE, device_of
from asa.dataplane.tc.htb import Rates
from asa.dataplane.tc.netlink import Filter, Link, Qdisc, Queues

MOST_COMMANDS: Final = 20_000
"""Of one run of a program, which is limited in time."""

SCRATCH: Final = "asa+probe"
"""The device abilities are tried with: never up, and gone at once."""


@dataclass(slots=True)
class Seen:
    """A line in the system."""

    line: Line
    base: Link | None
    """The interface."""
    link: Link | None
    """The device whose queue is the line's."""
    root: Qdisc | None = None
    redirected: bool = True
    """On the way in: all that comes in goes through the device."""
    classes: dict[int, Rates] = field(default_factory=dict)
    """By number."""
    leaves: set[int] = field(default_factory=set)
    """Numbers of the classes that have a queue of their own."""

    @property
    def device(self) -> str:
        return device_of(self.line.name)

    @property
    def shaped(self) -> bool:
        """Whether its root qdisc is ours, and of use."""
        return self.link is not None and self.root is not None and _of_ours(self.root) and self.root.default == DEFAULT

    def hindrance(self, take_over: bool) -> str:
        """Why nobody can shape it as things are; empty if nothing is in the way."""
        if self.base is None:
            return f"there is no interface {self.line.interface}"
        if self.link is not None and self.line.way == "in" and not _is_of(self.link, self.line):
            return f"{self.device} is a device of somebody else's"
        if self.root is not None and self.root.handle not in (0, MAJOR) and not take_over:
            return f"{self.line.interface} has a root qdisc of somebody else's, {self.root.kind} {self.root.handle:x}:"
        return ""

    def wrong(self) -> str:
        """What is not as it shall be, in words; empty: nothing."""
        if self.link is None:
            return f"there is no device {self.device}"
        if not self.shaped:
            return f"{self.device} has no root qdisc of ours"
        if self.line.way == "in" and not self.link.up:
            return f"{self.device} is down"
        for number, wanted in ((WHOLE, htb.whole(self.line)), (DEFAULT, htb.default(self.line))):
            if (its := self.classes.get(number)) != wanted:
                return f"class {number:x} of {self.device} is {_words(its)} instead of {_words(wanted)}"
        if DEFAULT not in self.leaves:
            return f"class {DEFAULT:x} of {self.device} has no queue"
        return "" if self.redirected else f"what comes in at {self.line.interface} does not go through {self.device}"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Ours, but of no line."""

    words: str
    tc: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()


def _of_ours(root: Qdisc) -> bool:
    return root.handle == MAJOR and root.kind == "htb"


def _is_of(link: Link, line: Line) -> bool:
    return link.kind == "ifb" and link.alias == htb.alias_of(line.name)


def _words(rates: Rates | None) -> str:
    return "missing" if rates is None else f"{rates.guarantee}..{rates.ceiling} bit/s, priority {rates.priority}"


# -- reading


def survey(lines: Collection[Line], redirect: bool) -> tuple[dict[str, Seen], list[Leftover]]:
    """All lines by name, with all classes, and what is ours beside them. ``redirect``: what comes in is led to their
    devices from here. Raises EnforcementFailed."""
    links, queues = netlink.links(), netlink.queues()
    filters = {index: netlink.filters(index) for index in queues.ingress}
    seen = {}
    for line in lines:
        each = seen[line.name] = Seen(line, links.get(line.interface), links.get(device_of(line.name)))
        if each.link is not None:
            each.root = queues.roots.get(each.link.index)
            each.leaves = queues.leaves.get(each.link.index, set())
            each.classes = netlink.classes(each.link.index) if each.shaped else {}
        if redirect and line.way == "in" and each.base is not None:
            each.redirected = _redirected(each, filters.get(each.base.index, []))
    inward = {each.interface for each in lines if each.way == "in"} if redirect else set()
    return seen, _leftovers(seen, inward, links, queues, filters)


def look(line: Line, redirect: bool) -> Seen:
    """One line, with no classes but its own two."""
    seen = Seen(line, netlink.link(line.interface), netlink.link(device_of(line.name)))
    if seen.link is not None:
        seen.root = netlink.root(seen.link.index)
        if seen.shaped:
            found = {each: netlink.one_class(seen.link.index, each) for each in (WHOLE, DEFAULT)}
            seen.classes = {number: rates for number, rates in found.items() if rates is not None}
            # Asking for all queues of all interfaces would take longer than everything else.
            seen.leaves = {DEFAULT}
    if redirect and line.way == "in" and seen.base is not None:
        seen.redirected = _redirected(seen, netlink.filters(seen.base.index))
    return seen


def _redirected(seen: Seen, filters: Sequence[Filter]) -> bool:
    return seen.link is not None and any(_ours(each) and each.target == seen.link.index for each in filters)


def _ours(filter: Filter) -> bool:
    return filter.kind == "u32" and filter.preference in (htb.OWN_INGRESS, htb.SHARED_INGRESS)


def _leftovers(
    seen: dict[str, Seen],
    inward: set[str],
    links: dict[str, Link],
    queues: Queues,
    filters: dict[int, list[Filter]],
) -> list[Leftover]:
    """``inward``: the interfaces with filters of ours."""
    found = []
    devices = {each.device for each in seen.values()}
    for name, link in links.items():
        can = htb.writable(name)
        if link.index in queues.ingress and name not in inward and any(map(_ours, filters[link.index])):
            words = f"what comes in at {name} is redirected by us"
            found.append(Leftover(words, tuple(_unredirected(name, filters[link.index])) if can else ()))
        if name in devices:
            continue
        if link.kind == "ifb" and link.alias.startswith(htb.alias_of("")):
            found.append(Leftover(f"the device {name} of no line", ip=(htb.device_gone(name),) if can else ()))
        elif (root := queues.roots.get(link.index)) is not None and _of_ours(root):
            words = f"a root qdisc of ours on {name}, which is no line"
            found.append(Leftover(words, (htb.root_gone(name),) if can else ()))
    return found


def filtered(seen: Iterable[Seen]) -> dict[str, int]:
    """Devices of lines whose queues have u32 filters of ours, and their indices. Raises EnforcementFailed."""
    return {
        each.device: each.link.index
        for each in seen
        if each.link is not None
        and each.shaped
        and any(its.kind == "u32" and its.preference == htb.FILTERS for its in netlink.queue_filters(each.link.index))
    }


def _unredirected(interface: str, filters: Sequence[Filter]) -> list[str]:
    """The ingress qdisc goes too if we made it and nobody else uses it by now."""
    ours = sorted({each.preference for each in filters if _ours(each)})
    if htb.OWN_INGRESS in ours and all(map(_ours, filters)):
        return [htb.ingress_gone(interface)]
    return [htb.redirect_gone(interface, each) for each in ours]


# -- changing


def settle(seen: dict[str, Seen], take_over: bool) -> dict[str, str]:
    """Have what is missing of lines; the rates of classes that are there already are left for whoever knows the order.

    By line, why it could not be done. Raises EnforcementFailed if the outcome is unknown.
    """
    failed = {name: why for name, each in seen.items() if (why := each.hindrance(take_over))}

    def todo() -> list[Seen]:
        return [each for name, each in seen.items() if name not in failed]

    made = []
    for each in todo():
        if each.line.way == "in" and (each.link is None or not each.link.up):
            made += [(each, text) for text in (htb.device_come if each.link is None else htb.device_up)(each.line)]
    failed |= _told("ip", made)
    if made:
        for each in todo():
            each.link = netlink.link(each.device)
            each.root = None if each.link is None else netlink.root(each.link.index)

    queued = []
    for each in todo():
        missing = [(number, rates) for number, rates in _own(each.line) if number not in each.classes]
        if not each.shaped:
            if each.root is not None and each.root.handle == MAJOR:
                # The kernel cannot change the default class of a qdisc.
                queued.append((each, htb.root_gone(each.device)))
            queued.append((each, htb.root_come(each.device)))
            each.root = Qdisc("htb", MAJOR, DEFAULT)
            each.classes, each.leaves, missing = {}, set(), list(_own(each.line))
        for number, rates in missing:
            queued += [(each, text) for text in htb.class_come(each.device, number, rates)]
            each.classes[number] = rates
            each.leaves.add(number)
        if DEFAULT not in each.leaves:
            queued.append((each, htb.leaf(each.device, DEFAULT)))
            each.leaves.add(DEFAULT)
    failed |= _told("tc", queued)

    turned = []
    for each in todo():
        if each.redirected or each.base is None or each.link is None:
            continue
        filters = netlink.filters(each.base.index)
        stale = sorted({its.preference for its in filters if _ours(its)})
        turned += [(each, htb.redirect_gone(each.line.interface, its)) for its in stale]
        own = htb.OWN_INGRESS in stale
        if netlink.ingress(each.base.index) is None:
            turned.append((each, htb.ingress_come(each.line.interface)))
            own = True
        turned.append((each, htb.redirect(each.line.interface, each.device, own)))
        each.redirected = True
    return failed | _told("tc", turned)


def _own(line: Line) -> tuple[tuple[int, Rates], ...]:
    return (WHOLE, htb.whole(line)), (DEFAULT, htb.default(line))


def _told(program: Literal["tc", "ip"], batch: Sequence[tuple[Seen, str]]) -> dict[str, str]:
    failed: dict[str, str] = {}
    for position, why in run(program, [text for _, text in batch]).items():
        seen = batch[position][0]
        failed.setdefault(seen.line.name, f"{seen.device} cannot be shaped: {why}")
    return failed


def remove(leftovers: Iterable[Leftover]) -> None:
    """What cannot be removed is found again. Raises EnforcementFailed if the outcome is unknown."""
    found = list(leftovers)
    # First nothing is redirected to the devices that go.
    run("tc", [text for each in found for text in each.tc])
    run("ip", [text for each in found for text in each.ip])


def run(program: Literal["tc", "ip"], batch: Sequence[str]) -> dict[int, str]:
    """All commands, whatever becomes of the others: by position of each that failed, why.

    Raises EnforcementFailed if it is not known which were done.
    """
    failed: dict[int, str] = {}
    for start in range(0, len(batch), MOST_COMMANDS):
        part = batch[start : start + MOST_COMMANDS]
        try:
            commands.run(program, ["-force", "-batch", "-"], "\n".join([*part, ""]))
        except commands.CommandFailed as error:
            found = htb.failures(error.said, part)
            if not found:
                raise
            failed |= {start + position: why for position, why in found.items()}
    return failed


def probe(redirect: bool) -> Abilities:
    """Tried with a device of its own, which nobody's packets go through. Raises Unfit and EnforcementFailed."""
    notes = []
    if netlink.link(SCRATCH) is not None:
        # Of a probe that was killed.
        run("ip", [htb.device_gone(SCRATCH)])
    for kind in ("ifb", "dummy"):
        if not (refused := run("ip", [htb.scratch_come(SCRATCH, kind)])):
            break
    else:
        why = next(iter(refused.values()))
        raise Unfit(
            f"no device can be made to try with: {why}{commands.needed(why)}",
            hint="give the agent CAP_NET_ADMIN, and modprobe ifb",
        )
    try:
        rates = Rates(8_000, 8_000, 0)
        come = [
            htb.root_come(SCRATCH),
            *htb.class_come(SCRATCH, WHOLE, rates),
            *htb.class_come(SCRATCH, DEFAULT, rates),
        ]
        if refused := run("tc", come):
            raise Unfit(f"the kernel has no HTB: {next(iter(refused.values()))}", hint="modprobe sch_htb")
        turned = [htb.ingress_come(SCRATCH), htb.redirect(SCRATCH, SCRATCH, True)]
        ways = {"out", "in"}
        if kind != "ifb":
            notes.append("no ifb devices: nothing is shaped on the way in; modprobe ifb")
            ways.discard("in")
        elif redirect and (refused := run("tc", turned)):
            notes.append(
                f"nothing is shaped on the way in: {next(iter(refused.values()))}; modprobe cls_u32 act_mirred"
            )
            ways.discard("in")
    finally:
        run("ip", [htb.device_gone(SCRATCH)])
    return Abilities(ways=frozenset(ways), notes=tuple(notes))
