"""What goes on between agents: peers, transfers of capacity, the audit of all of it."""

from __future__ import annotations

import argparse
from typing import Final

from asa.cli.agent import Agent
from asa.cli.arguments import UsageError
from asa.cli.output import Output, listed, safe, table
from asa.cli.pools import blocks
from asa.cli.shapes import shaped, shaped_list
from asa.quantities import exact_rate, format_rate, format_time, roughly
from asa.views import Audit, AuditPool, PeerView, TransferView

NOT_JUDGED: Final = 4
"""Exit status of an audit that found nothing wrong but did not see all there is, at rest."""


def peers(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("peers")
    if output.as_json:
        output.result(answer, "")
        return 0
    rows = [
        [
            each.node,
            each.locator,
            "good" if each.good else "",
            "remembered only" if each.heard_s is None else f"{roughly(each.heard_s)} ago",
            str(each.failures) if each.failures else "",
            roughly(each.backoff_s) if each.backoff_s > 0 else "",
            ", ".join(f"{name} {format_rate(spare)}" for name, spare in each.pools.items()),
        ]
        for each in shaped_list(PeerView, answer)
    ]
    headers = ["NODE", "LOCATOR", "STATE", "HEARD", "FAILURES", "NOT ASKED FOR", "SPARE"]
    output.result(answer, table(headers, rows, {"FAILURES"}) if rows else "no peers")
    return 0


def transfers(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("transfers", in_doubt="true" if arguments.in_doubt else None)
    if output.as_json:
        output.result(answer, "")
        return 0
    rows = [
        [
            each.txn,
            each.direction,
            each.pool,
            each.peer,
            format_rate(each.rate),
            each.state,
            "in doubt" if each.in_doubt else "",
            format_time(each.at),
            each.note,
        ]
        for each in shaped_list(TransferView, answer)
    ]
    headers = ["TXN", "DIRECTION", "POOL", "PEER", "RATE", "STATE", "DOUBT", "SINCE", "NOTE"]
    nothing = "no transfers in doubt" if arguments.in_doubt else "no transfers"
    output.result(answer, table(headers, rows, {"RATE"}) if rows else nothing)
    return 0


def forget(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    if not arguments.yes:
        raise UsageError(
            f"forget {arguments.node} without --yes does nothing",
            hint="only if it will never come back; what it held permanently is lost then",
        )
    answer = agent.post("peers", arguments.node, "forget", body={"confirm": True})
    output.result(answer, "" if output.as_json else f"{shaped(PeerView, answer).node} is forgotten")
    return 0


def forfeit(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """If the requester does come back with what it took, the capacity is there twice: so nobody does this by chance."""
    if not arguments.yes:
        raise UsageError(
            f"forfeit {arguments.txn} without --yes does nothing",
            hint="only if its requester will never come back: if it does, the same capacity is used twice",
        )
    answer = agent.post("transfers", arguments.txn, "forfeit", body={"confirm": True})
    text = ""
    if not output.as_json:
        view = shaped(TransferView, answer)
        text = listed(
            [
                ("txn", view.txn),
                ("pool", view.pool),
                ("peer", view.peer),
                ("rate", exact_rate(view.rate)),
                ("state", view.state),
                ("note", view.note),
            ]
        )
    output.result(answer, text)
    return 0


def audit(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """0 only if all that was seeded was found, once, and every agent answered."""
    answer = agent.post("audit", body={} if arguments.pool is None else {"pool": arguments.pool})
    found = shaped(Audit, answer)
    output.result(answer, "" if output.as_json else _audited(found))
    if found.ok:
        return 0
    return NOT_JUDGED if _blameless(found) else 1


def _blameless(found: Audit) -> bool:
    return all(each.ok for each in found.pools)


def _audited(found: Audit) -> str:
    parts = []
    if found.pools:
        rows = [
            [
                each.pool,
                format_rate(each.seeded),
                format_rate(each.held),
                format_rate(each.in_motion),
                "ok" if each.ok else "NOT OK",
            ]
            for each in found.pools
        ]
        parts.append(table(["POOL", "SEEDED", "HELD", "IN MOTION", "VERDICT"], rows, {"SEEDED", "HELD", "IN MOTION"}))
    parts += [text for each in found.pools if (text := _wrong(each))]
    agents = f"agents that answered: {len(found.agents)}, rounds: {found.rounds}"
    if found.unreachable:
        agents += f"; unreachable: {', '.join(safe(each, 200) for each in found.unreachable)}"
    if not found.at_rest:
        agents += "; capacity was moving all the while, try again"
    verdict = "ok: all that was seeded is there, once" if found.ok else "NOT OK"
    if not found.ok and _blameless(found):
        verdict = "NOT JUDGED: nothing wrong was found, but not all was seen at rest"
    parts.append(f"{agents}\n{verdict}")
    return "\n\n".join(parts)


def _wrong(pool: AuditPool) -> str:
    lines = []
    for title, found in (("missing", pool.missing), ("twice", pool.twice), ("foreign", pool.foreign)):
        if found:
            lines.append(f"{safe(pool.pool)}: {title}\n{blocks(found, '  ')}")
    if pool.overlapping_seeds:
        lines.append(f"{safe(pool.pool)}: seeds that overlap")
        lines += [
            f"  {safe(each.origin)}  {exact_rate(each.low)} to {exact_rate(each.high)}"
            for each in pool.overlapping_seeds
        ]
    return "\n".join(lines)
