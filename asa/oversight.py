"""What an agent shows of itself: pools, peers, transfers, holdings, health. Reads, and decides nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import grasp
from asa.books import Books
from asa.config import Config, security
from asa.ledger import Ledger
from asa.lifecycle import LISTED, Phases, not_enforced, state_of
from asa.records import Given, GivenState, Promise, Taken
from asa.seeding import ranges
from asa.steps import Party
from asa.threads.duty import Duty
from asa.version import VERSION
from asa.views import (
    BlockView,
    CapView,
    Health,
    LinkView,
    NeighbourView,
    PeerView,
    PoolView,
    Problem,
    SeedView,
    Status,
    TransferView,
)
from objectives import Block, InvalidValue, Window
from objectives.agent import MAX_SEEDS, Announcement, PoolSummary
from objectives.block import peak
from objectives.holdings import AcceptedRow, EscrowRow, HeldRow, HoldingsPage, Row, SeedRow, pages_of

if TYPE_CHECKING:
    from asa.agent import Agent

PLAIN_NOTICE: Final = (
    "plain: GRASP is neither authenticated nor encrypted here; whoever can send on a link can speak as an agent, so"
    " every link must be secured below IP (RFC 8990 §2.5.1)"
)


def block_view(block: Block) -> BlockView:
    return BlockView(block.low, block.high, block.start, block.end)


def pool_view(party: Party, ledger: Ledger, pool: str) -> PoolView:
    """One pool, now."""
    now = max(party.clock(), ledger.floor)
    account = ledger.account(pool)
    seeds = [SeedView(each.low, each.high, str(ledger.me)) for each in account.seeds.values()]
    seeds += [SeedView(low, high, origin) for low, high, origin in party.peers.seeds(pool)]
    held = sum(each.amount for each in account.held if each.start <= now and not each.window.passed(now))
    free = account.free.at(now)
    return PoolView(
        name=pool,
        seeded=sum(each.high - each.low for each in seeds),
        seeds=sorted(seeds, key=lambda each: (each.low, each.origin)),
        held=held,
        committed=held - free,
        free=free,
        spare=spare(party, ledger, pool),
        in_doubt=sum(
            peak(each.blocks) for each in ledger.escrows.values() if each.pool == pool and each.txn not in party.talking
        ),
        blocks=len(account.held),
        reservations=account.reservations,
        problems=[f"the seeds of {one} and {other} overlap" for one, other in rivals(seeds)]
        + [
            f"{-lowest} bit/s more is promised than held at the worst instant"
            for lowest in _below_zero(ledger, pool, now)
        ],
    )


def _below_zero(ledger: Ledger, pool: str, now: int) -> list[int]:
    lowest = ledger.free(pool, Window(now, None))
    return [lowest] if lowest < 0 else []


def overbooked(ledger: Ledger, now: int) -> list[str]:
    """What more is promised of than there is at some instant: after a loss of capacity, never by booking."""
    return [each for each in (*ledger.accounts, *ledger.links) if _below_zero(ledger, each, max(now, ledger.floor))]


def cap_views(ledger: Ledger) -> list[CapView]:
    return [CapView(each.project, each.resource, each.amount, each.percent) for _, each in sorted(ledger.caps.items())]


def link_views(ledger: Ledger, now: int) -> list[LinkView]:
    """The directions of interfaces whose capacity is limited."""
    views = []
    for name, capacity in sorted(ledger.links.items()):
        free = ledger.free_links[name]
        counts = (each.reservations for (_, resource), each in ledger.projects.items() if resource == name)
        views.append(LinkView(name, capacity, capacity - free.at(now), free.lowest(now, None), sum(counts)))
    return views


def pool_views(party: Party, ledger: Ledger, known: Iterable[str]) -> list[PoolView]:
    """Every pool there is here, and those ``known`` from others."""
    return [pool_view(party, ledger, each) for each in sorted({*ledger.accounts, *known})]


def spare(party: Party, ledger: Ledger, pool: str) -> int:
    """bit/s free over the whole horizon of the policy."""
    now = max(party.clock(), ledger.floor)
    return max(0, ledger.free(pool, Window(now, now + party.params()["horizon"])))


def rivals(seeds: Sequence[SeedView]) -> list[tuple[str, str]]:
    """Origins whose ranges overlap, pair by pair."""
    found = []
    ordered = sorted(seeds, key=lambda each: (each.low, each.high))
    for index, seed in enumerate(ordered):
        for other in ordered[index + 1 :]:
            if other.low >= seed.high:
                break
            found.append((seed.origin, other.origin))
    return found


def announcement(party: Party, ledger: Ledger, sequence: int, state: str) -> Announcement:
    """What this agent floods of itself: the pools it has most to say of."""
    summaries = [
        PoolSummary(
            name,
            spare(party, ledger, name) if state == "active" else 0,
            ranges(account.seeds.values())[:MAX_SEEDS],
        )
        for name, account in ledger.accounts.items()
        if account.seeds or len(account.held)
    ]
    summaries.sort(key=lambda each: (not each.seeds, -each.spare, each.name))
    return Announcement(ledger.me, sequence, state, tuple(summaries))


def peer_views(party: Party) -> list[PeerView]:
    now = party.ticks()
    everyone = party.peers.everyone()
    good = {party.peers.good(now, pool) for pool in party.peers.pools()}
    return [
        PeerView(
            node=str(each.node),
            locator=each.locator,
            pools=each.spare,
            heard_s=None if each.heard is None else round(now - each.heard, 1),
            good=each.node in good,
            failures=each.failures,
            backoff_s=round(max(0.0, each.not_before - now), 1),
        )
        for each in everyone
    ]


def transfer_view(party: Party, record: Given | Taken | Promise) -> TransferView:
    if isinstance(record, Promise):
        block = BlockView(0, record.rate, record.window.start, record.window.end)
        return TransferView(
            record.txn.hex(), "held", record.pool, str(record.peer), record.rate, [block], "held", False, record.until,
            "kept after a dry run, until the time given",
        )  # fmt: skip
    given = isinstance(record, Given)
    in_doubt = given and record.state is GivenState.ESCROW and record.txn not in party.talking
    note = "the requester is asked what became of it" if in_doubt else ""
    return TransferView(
        record.txn.hex(), "given" if given else "taken", record.pool, str(record.peer), peak(record.blocks),
        [block_view(each) for each in record.blocks], str(record.state), in_doubt, record.at, note,
    )  # fmt: skip


def transfer_views(party: Party, ledger: Ledger, in_doubt: bool) -> list[TransferView]:
    records: list[Given | Taken | Promise] = [*ledger.given.values(), *ledger.taken.values(), *ledger.promises.values()]
    views = [transfer_view(party, each) for each in records]
    return sorted((each for each in views if each.in_doubt or not in_doubt), key=lambda each: (each.at, each.txn))


def holdings(ledger: Ledger) -> list[HoldingsPage]:
    """Everything an auditor needs, as it is at this moment."""
    rows: list[Row] = []
    for pool, account in ledger.accounts.items():
        rows += [SeedRow(pool, each.low, each.high) for each in account.seeds.values()]
        rows += [HeldRow(pool, each) for each in account.held if not each.window.passed(ledger.floor)]
    for given in ledger.escrows.values():
        rows += [EscrowRow(given.pool, each, given.txn, given.peer) for each in given.blocks]
    rows += [
        AcceptedRow(each.txn, each.peer) for each in ledger.taken.values() if each.state in ("accepted", "confirmed")
    ]
    known = [each.node for each in ledger.contacts.values()]
    try:
        return pages_of(ledger.me, ledger.version, rows, known)
    except InvalidValue:
        # Too fragmented to be reported whole: one page too few shows as such at the auditor.
        return pages_of(ledger.me, ledger.version, rows[:1], known)


def health(
    status: str,
    ready: bool,
    node: str,
    version: str,
    books: Books,
    duties: Sequence[Duty],
    problems: Callable[[], list[Problem]],
    notices: Sequence[str],
) -> Health:
    return Health(
        status=status,
        ready=ready and not books.failed,
        node=node,
        version=version,
        problems=problems(),
        threads={each.name: each.state() for each in duties},
        sqlite=sqlite3.sqlite_version,
        notices=list(notices),
    )


def notices(config: Config, secured: bool) -> list[str]:
    """What is as it was configured, and an operator had better know."""
    return [*([] if secured else [PLAIN_NOTICE]), *security.notices(config.grasp.substrate, config.allow)]


def neighbours(node: grasp.Node) -> list[NeighbourView]:
    """Links with neighbours, as the substrate knows them."""
    names = {each.index: each.name for each in node.interfaces}
    return [
        NeighbourView(
            names.get(each.interface, f"#{each.interface}"),
            str(each.address),
            each.member.name if each.member is not None else "",
            each.state,
            int(each.since),
            each.why,
        )
        for each in node.neighbours
    ]


def status(agent: Agent) -> Status:
    """Everything at a glance."""
    party = agent.party
    known = party.peers.pools()
    now = party.clock()

    def look(ledger: Ledger) -> tuple[list[PoolView], int, int]:
        pools = pool_views(party, ledger, known)
        doubtful = sum(each.txn not in party.talking for each in ledger.escrows.values())
        return pools, doubtful, live(ledger, now, agent.enforcement.standing)

    pools, doubtful, reservations = agent.books.read(look)
    node = agent.node
    enforced = agent.enforcement.picture
    return Status(
        node=party.me.name,
        instance=party.me.instance,
        mode=agent.config.agent.mode,
        state="operational" if agent.active and agent.ready else "instantiated",
        version=VERSION,
        pid=os.getpid(),
        started=agent.started,
        uptime_s=now - agent.started,
        substrate=agent.config.grasp.substrate,
        secure=node.secured,
        grasp_port=node.port if node.running else 0,
        interfaces=[each.name for each in node.interfaces] if node.running else [],
        health=agent.health(),
        pools=pools,
        peers=len(party.peers.everyone()),
        transfers_in_doubt=doubtful,
        reservations=reservations,
        params_serial=party.params().serial,
        paused=agent.paused,
        serves=[str(each) for each in agent.config.flows.serves],
        back_end=enforced.back_end,
        effect=enforced.obeyed(agent.paused),
        domain=agent.warden.view() if agent.warden is not None else None,
        neighbours=neighbours(node) if node.running else [],
    )


def live(ledger: Ledger, now: int, phases: Phases = not_enforced) -> int:
    """How many reservations are not over."""
    return sum(state_of(each, now, phases=phases) in LISTED for each in ledger.reservations.values())
