"""Telling packets apart with the kernel's u32 filters, for systems without nftables.

A filter leads right to its class of HTB. All there is to know of it the kernel has
(:mod:`~asa.dataplane.u32.messages`), and a warden (:mod:`~asa.dataplane.u32.warden`) removes it when it expires.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from asa.dataplane.backend import MOST_STRAYS, Abilities, EnforcementFailed, Spot, Unfit
from asa.dataplane.commands import CommandFailed, needed, run
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Line
from asa.dataplane.tc.classifier import Rule, device_of
from asa.dataplane.u32 import kernel
from asa.dataplane.u32.filters import Unsuitable
from asa.dataplane.u32.messages import Leaf, Link, deletion, link_deletion, new_leaf, new_link, new_table
from asa.dataplane.u32.tree import Cramped, Label, Tree, rule_of
from asa.dataplane.u32.warden_call import WardenCall

SCRATCH: Final = "asa~u32"
"""A device that is down and leads nowhere, as long as it takes to try something. No line is called that."""

CLEARINGS: Final = 250
CLEARING_S: Final = 0.02
"""A table is in use for some ms after the end of the link to it."""

MOST_SINGLY: Final = 100
"""Filters that are asked for one by one; more are found quicker by reading all."""

NOTES: Final = (
    "u32 sets no DSCP: packets keep the marking they came with, those nobody reserved anything for too",
    "u32 does not see VLAN tags: a reservation with a VLAN is refused on this line",
    "u32 does not look behind extension headers of IPv6, and sees no ports in fragments",
    "rules expire by a process of their own, the warden: a service manager must not end it with the agent"
    " (systemd: KillMode=process)",
)


class U32:
    """A :class:`~asa.dataplane.tc.classifier.Classifier`, of devices with a root qdisc ``a5a:``."""

    name = "u32"
    redirects = False
    filters = True

    def __init__(self) -> None:
        self._trees: dict[str, tuple[int, Tree]] = {}
        """By line: the index of its device, and what is there."""
        self._warden = WardenCall()

    # -- what a back end asks

    def probe(self, lines: Sequence[Line]) -> Abilities:
        with contextlib.suppress(CommandFailed):
            run("ip", ["link", "delete", SCRATCH])
        try:
            run("ip", ["link", "add", SCRATCH, "type", "ifb"])
        except CommandFailed as error:
            why = f"u32 cannot be tried: {error.message}{needed(error.said)}"
            raise Unfit(why, hint="the kernel needs ifb") from None
        try:
            self._try()
        finally:
            with contextlib.suppress(CommandFailed):
                run("ip", ["link", "delete", SCRATCH])
        return Abilities(actions=frozenset({Action.GUARANTEE, Action.KEEP}), marks=False, notes=NOTES)

    def _try(self) -> None:
        spot = (Action.GUARANTEE, Match(4, IPv4Network("192.0.2.1/32"), IPv4Network("192.0.2.0/24"), 6))
        try:
            run("tc", ["qdisc", "add", "dev", SCRATCH, "root", "handle", "a5a:", "htb"])
            index, tree = socket.if_nametoindex(SCRATCH), Tree(())
            leaf, needed = tree.place(spot, Rule(1, None, None))
            refused = kernel.change([*_made(index, needed), new_leaf(index, leaf)])
            if refused or Tree(kernel.nodes(index)).leaves.get(spot) != leaf:
                raise Unfit(f"u32 does not do what it is told: {next(iter(refused.values()), 'nothing is there')}")
        except (CommandFailed, OSError) as error:
            raise Unfit(f"u32 cannot be used here: {error}", hint="the kernel needs sch_htb and cls_u32") from None

    def prepare(self, lines: Sequence[Line]) -> Mapping[str, str]:
        wrong: dict[str, str] = {}
        kept: set[int] = set()
        for line in lines:
            known = self._known(line.name)
            if known is None:
                continue
            kept.add(known[0])
            with _asking():
                self._tidy(*known)
            earliest = _earliest(known[1])
            if earliest is not None and not self._warden.present():
                try:
                    self._warden.tell(earliest)
                except EnforcementFailed as error:
                    wrong[line.name] = error.message
        with _asking():
            foreign = set(kernel.queues()) - kept
        for index in foreign:
            sweep(index)
        names = {line.name for line in lines}
        self._trees = {line: tree for line, tree in self._trees.items() if line in names}
        return wrong

    def read(self, lines: Sequence[Line]) -> tuple[Mapping[Spot, Rule], Mapping[str, str], Sequence[str]]:
        rules: dict[Spot, Rule] = {}
        wrong: dict[str, str] = {}
        strays: list[str] = []
        for line in lines:
            wrong[line.name] = ""
            self._trees.pop(line.name, None)
            if (known := self._known(line.name)) is None:
                continue
            _, tree = known
            for (action, match), leaf in tree.leaves.items():
                rules[line.name, action, match] = rule_of(leaf)
            strays += [f"u32 filter {each:08x} on {device_of(line.name)} is of no use" for each in tree.strays]
            wrong[line.name] = self._unwatched(line.name)
        return rules, wrong, strays[:MOST_STRAYS]

    def look(self, spots: Collection[Spot]) -> Mapping[Spot, Rule]:
        found: dict[Spot, Rule] = {}
        for line, labels in _by_line(spots).items():
            if (known := self._known(line)) is None:
                continue
            index, tree = known
            leaves = {label: leaf for label in labels if (leaf := tree.leaves.get(label)) is not None}
            if not _as_known(index, leaves.values()):
                self._trees.pop(line)
                if (known := self._known(line)) is None:
                    continue
                leaves = {label: leaf for label in labels if (leaf := known[1].leaves.get(label)) is not None}
            found |= {(line, action, match): rule_of(leaf) for (action, match), leaf in leaves.items()}
        return found

    def amiss(self, lines: Collection[Line]) -> Mapping[str, str]:
        return {each.name: self._unwatched(each.name) for each in lines}

    def _unwatched(self, line: str) -> str:
        known = self._known(line)
        expires = known is not None and _earliest(known[1]) is not None
        return "no process watches when rules expire" if expires and not self._warden.present() else ""

    def change(self, gone: Collection[Spot], come: Mapping[Spot, Rule]) -> Mapping[Spot, str]:
        refused: dict[Spot, str] = {}
        if expiring := {spot: rule.expires for spot, rule in come.items() if rule.expires is not None}:
            try:
                # Before anything is in place: who dies now leaves nothing that nobody removes.
                self._warden.tell(min(expiring.values()))
            except EnforcementFailed as error:
                refused = dict.fromkeys(expiring, error.message)
                gone = [each for each in gone if each not in refused]
                come = {spot: rule for spot, rule in come.items() if spot not in refused}
        leaving, wanted = _by_line(gone), _by_line(come)
        for line in leaving | wanted:
            labels = wanted.get(line, set())
            coming = {label: come[line, *label] for label in labels}
            try:
                why = self._change(line, leaving.get(line, set()) - labels, coming)
                if why and line not in self._trees:
                    # What was known of the line was of a queue that somebody has taken away.
                    why = self._change(line, set(), {label: coming[label] for label in why})
            except EnforcementFailed as error:
                self._trees.pop(line, None)
                why = dict.fromkeys(coming, error.message)
                if not coming:
                    raise
            refused |= {(line, *label): told for label, told in why.items()}
        return refused

    def clear(self) -> None:
        with _asking():
            queues = kernel.queues()
        for index in queues:
            sweep(index)
        self._trees.clear()

    def close(self) -> None:
        self._warden.close()

    # -- one line

    def _known(self, line: str) -> tuple[int, Tree] | None:
        """None if there is no such device."""
        try:
            index = socket.if_nametoindex(device_of(line))
        except OSError:
            self._trees.pop(line, None)
            return None
        known = self._trees.get(line)
        if known is None or known[0] != index:
            with _asking():
                known = self._trees[line] = index, Tree(kernel.nodes(index))
        return known

    def _change(self, line: str, gone: set[Label], come: Mapping[Label, Rule]) -> dict[Label, str]:
        if (known := self._known(line)) is None:
            return dict.fromkeys(come, f"there is no interface {device_of(line)}")
        index, tree = known
        refused: dict[Label, str] = {}
        placed: list[tuple[Label, Leaf]] = []
        with _asking():
            self._tidy(index, tree)
            self._remove(index, tree, [tree.leaves.pop(each) for each in gone if each in tree.leaves])
            for label, rule in sorted(come.items(), key=lambda each: each[0][0]):
                if tree.has(label, rule):
                    continue
                try:
                    leaf, needed = self._placed(index, tree, label, rule)
                except Unsuitable as error:
                    refused[label] = error.message
                    continue
                if needed and (why := kernel.change(_made(index, needed))):
                    return self._stale(line, come, why)
                placed.append((label, leaf))
            if placed and (why := kernel.change([new_leaf(index, leaf) for _, leaf in placed])):
                refused |= self._stale(line, [placed[at][0] for at in why], why)
            replaced = [
                older
                for label, leaf in placed
                if label not in refused and (older := tree.settle(label, leaf)) is not None
            ]
            self._remove(index, tree, replaced)
        return refused

    def _stale(self, line: str, labels: Iterable[Label], why: Mapping[int, str]) -> dict[Label, str]:
        """The kernel refuses what fits to what is known of the line, which therefore is to be read again."""
        self._trees.pop(line, None)
        told = next(iter(why.values())) or "there is no queue of ours"
        return dict.fromkeys(labels, f"u32 on {device_of(line)}: {told}")

    def _placed(self, index: int, tree: Tree, label: Label, rule: Rule) -> tuple[Leaf, list[int | Link]]:
        try:
            return tree.place(label, rule)
        except Cramped:
            self._spread(index, tree)
            return tree.place(label, rule)

    def _spread(self, index: int, tree: Tree) -> None:
        new, old = tree.spread()
        # For a moment there are both, so that no packet is without its class.
        messages = [*(new_link(index, each) for each in new), *_ended(index, old)]
        if any(kernel.change(messages).values()):
            raise EnforcementFailed("the links between u32's tables cannot be put in order")

    def _remove(self, index: int, tree: Tree, leaves: Iterable[Leaf]) -> None:
        handles = [each.handle for each in leaves]
        for handle in handles:
            tree.forget(handle)
        links = tree.drop_empty()
        messages = [deletion(index, each) for each in handles] + _ended(index, links)
        if messages and (why := [told for told in kernel.change(messages).values() if told]):
            raise EnforcementFailed(f"{len(why)} u32 filters cannot be removed: {why[0]}")

    def _tidy(self, index: int, tree: Tree) -> None:
        if tree.surplus:
            refused = kernel.change([deletion(index, each) for each in tree.surplus])
            # A link is in the kernel for some ms after its end, and its table is in use as long.
            tree.discard({each for at, each in enumerate(tree.surplus) if not refused.get(at)})
        if not tree.in_order:
            self._spread(index, tree)


def _made(index: int, needed: Iterable[int | Link]) -> list[bytes]:
    return [new_table(index, each) if isinstance(each, int) else new_link(index, each) for each in needed]


def _ended(index: int, links: Sequence[Link]) -> list[bytes]:
    root = kernel.root(index) if links else 0
    return [link_deletion(index, each, root) for each in links]


def sweep(index: int) -> None:
    """Leave no filter of ours on an interface's queue. Raises EnforcementFailed and Unfit."""
    with _asking():
        if kernel.others(index):
            _sweep_shared(index)
        else:
            kernel.change([deletion(index, 0)])


def _sweep_shared(index: int) -> None:
    # The kernel keeps the tables of all preferences of a queue together, and drops them only with the last preference.
    tree = Tree(kernel.nodes(index))
    leaves = [each.handle for each in tree.leaves.values()]
    for handle in leaves:
        tree.forget(handle)
    links = tree.drop_empty()
    kernel.change([deletion(index, each) for each in leaves] + _ended(index, links))
    for _ in range(CLEARINGS):
        messages = [deletion(index, each) for each in tree.surplus]
        if not messages or not any(kernel.change(messages).values()):
            break
        time.sleep(CLEARING_S)
    if not tree.shared:
        kernel.change([deletion(index, 0)])


def _as_known(index: int, leaves: Collection[Leaf]) -> bool:
    """False too if there are too many to ask for each."""
    if len(leaves) > MOST_SINGLY:
        return False
    with _asking():
        return set(kernel.node(index, [each.handle for each in leaves])).issuperset(leaves)


def _earliest(tree: Tree) -> float | None:
    return min((each.expires for each in tree.leaves.values() if each.expires), default=None)


def _by_line(spots: Iterable[Spot]) -> dict[str, set[Label]]:
    found: dict[str, set[Label]] = {}
    for line, action, match in spots:
        found.setdefault(line, set()).add((action, match))
    return found


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPERM:
            raise Unfit("u32 filters may not be changed: it takes CAP_NET_ADMIN") from None
        raise EnforcementFailed(f"the kernel did not do it: {error.strerror or error}") from None
