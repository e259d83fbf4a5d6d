"""The agent itself: how it is, and its life cycle (RFC 9222 §4)."""

from __future__ import annotations

import argparse

from asa.cli.agent import Agent
from asa.cli.output import Output, listed, pretty, safe, table
from asa.cli.pools import overview
from asa.cli.shapes import shaped
from asa.quantities import format_time, roughly
from asa.views import Health, NeighbourView, Status


def status(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("status")
    output.result(answer, "" if output.as_json else _status(shaped(Status, answer)))
    return 0


def _status(found: Status) -> str:
    summary = listed(
        [
            ("node", f"{found.node}#{found.instance}"),
            ("mode", found.mode),
            ("state", found.state),
            ("health", found.health.status),
            ("version", f"{found.version}, pid {found.pid}"),
            ("running", f"{roughly(found.uptime_s)}, since {format_time(found.started)}"),
            ("substrate", _substrate(found)),
            ("certificate", _certificate(found)),
            ("GRASP", f"port {found.grasp_port} on {', '.join(found.interfaces) or 'no interface'}"),
            ("peers", str(found.peers)),
            ("serves", ", ".join(found.serves)),
            ("enforcement", _enforcement(found)),
            ("reservations", str(found.reservations)),
            ("in doubt", f"{found.transfers_in_doubt} transfers" if found.transfers_in_doubt else ""),
            ("policy", f"serial {found.params_serial}" if found.params_serial else "the defaults"),
        ]
    )
    parts = [summary, overview(found.pools)]
    if found.neighbours:
        rows = [
            [each.interface, each.address, each.member, _standing(each), format_time(each.since)]
            for each in found.neighbours
        ]
        parts.append(table(["LINK", "ADDRESS", "NEIGHBOUR", "STATE", "SINCE"], rows))
    if found.health.problems:
        parts.append(_problems(found.health))
    parts += [safe(each) for each in found.health.notices]
    return "\n\n".join(parts)


def _standing(neighbour: NeighbourView) -> str:
    return f"{neighbour.state}: {neighbour.why}" if neighbour.why else neighbour.state


def _substrate(found: Status) -> str:
    if found.domain is not None:
        return f"{found.substrate} {found.domain.name}: every message authenticated and encrypted"
    return found.substrate if found.secure else f"{found.substrate}: relies on links that are secured below IP"


def _certificate(found: Status) -> str:
    if found.domain is None:
        return ""
    left = found.domain.expires - found.started - found.uptime_s
    until = f"until {format_time(found.domain.expires)}, {roughly(left)} left" if left > 0 else "it has ended"
    return f"{found.domain.acp_name}, {until}"


def _enforcement(found: Status) -> str:
    if found.paused:
        return "paused: asa resume goes on with it"
    if found.effect:
        return f"{found.back_end}: packets obey"
    if found.back_end == "record":
        return "record: packets are left alone"
    return f"{found.back_end}: it does not work as it shall" if found.back_end else ""


def _problems(found: Health) -> str:
    rows = [[each.code, format_time(each.since), each.message] for each in found.problems]
    return table(["PROBLEM", "SINCE", "WHAT"], rows)


def health(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """0 if reservations are accepted."""
    answer = agent.get("health")
    found = shaped(Health, answer)
    if output.as_json:
        output.result(answer, "")
        return 0 if found.ready else 1
    parts = [
        listed(
            [
                ("node", found.node),
                ("health", found.status),
                ("ready", "yes" if found.ready else "no: reservations are not accepted"),
                ("version", found.version),
                ("SQLite", found.sqlite),
            ]
        )
    ]
    if found.threads:
        parts.append(table(["THREAD", "STATE"], [list(each) for each in sorted(found.threads.items())]))
    if found.problems:
        parts.append(_problems(found))
    parts += [safe(each) for each in found.notices]
    output.result(answer, "\n\n".join(parts))
    return 0 if found.ready else 1


def manifest(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.get("manifest")
    output.result(answer, "" if output.as_json else pretty(answer))
    return 0


def activate(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _turned(agent, output, "activate")


def deactivate(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _turned(agent, output, "deactivate")


def pause(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _turned(agent, output, "pause", agent.secret)


def resume(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _turned(agent, output, "resume", agent.secret)


def restart(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    return _turned(agent, output, "restart")


def _turned(agent: Agent, output: Output, action: str, headers: dict[str, str] | None = None) -> int:
    answer = agent.post("agent", action, headers=headers)
    if output.as_json:
        output.result(answer, "")
        return 0
    found = shaped(Status, answer)
    paused = ", enforcement paused" if found.paused else ""
    output.result(answer, f"{safe(found.node)} is {found.state}, health {safe(found.health.status)}{paused}")
    return 0


def remove(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    answer = agent.post("agent", "remove", body={"confirm": arguments.confirm})
    output.result(answer, "" if output.as_json else pretty(answer))
    return 0
