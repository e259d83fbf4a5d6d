"""Completion for bash, zsh and fish, made from the command line's own description.

The scripts know the commands, options and files by themselves; for names of pools, reservations, transfers and
parameters they ask the agent that the line being typed is for, through ``asa completion --values``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asa.cli import scripts
from asa.cli.agent import PAGE, Agent
from asa.cli.arguments import parser
from asa.cli.commands import COMPLETED
from asa.cli.output import Output

_KINDS: Final = {
    "POOL": "pools",
    "ID": "reservations",
    "TXN": "transfers",
    "PARAMETER": "params",
    "PARAMETER=VALUE": "params",
    "RESOURCE": "pools",
    "FILE": "files",
    "PATH": "files",
    "DIR": "files",
}
"""What completes an operand or an option's value, by how the help calls it."""

_PLAIN: Final = re.compile("[A-Za-z0-9._:#@-]{1,200}", re.ASCII)
"""Names that are offered: none that a shell would take for anything but a word."""

Choices = tuple[tuple[str, str], ...]
"""Words with what they mean."""


@dataclass(frozen=True, slots=True)
class Place:
    """What may come at a place of the command line: ``kind`` names where words are found, or ``choices`` lists them."""

    kind: str = ""
    choices: Choices = ()


@dataclass(frozen=True, slots=True)
class Command:
    """One command as completion sees it. ``path`` is ``""`` for asa alone, ``/pool/add`` for what is below."""

    path: str
    commands: Choices
    options: Choices
    valued: tuple[tuple[str, Place], ...]
    """Options that take a value."""
    operands: tuple[Place, ...]
    repeated: bool
    """Whether the last operand may come again."""


def tree(described: argparse.ArgumentParser | None = None, path: str = "") -> Iterator[Command]:
    """Every command, asa alone first."""
    described = described or parser()
    commands: list[tuple[str, str]] = []
    below: list[tuple[str, argparse.ArgumentParser]] = []
    options: list[tuple[str, str]] = []
    valued: list[tuple[str, Place]] = []
    operands: list[Place] = []
    repeated = False
    for action in described._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands += [(each.dest, each.help or "") for each in action._choices_actions]
            below += [(name, each) for name, each in action.choices.items()]
        elif action.option_strings:
            options += [(each, (action.help or "").replace("%%", "%")) for each in action.option_strings]
            if action.nargs != 0:
                valued += [(each, _place(action)) for each in action.option_strings]
        else:
            operands.append(_place(action))
            repeated = action.nargs in ("+", "*")
    yield Command(path, tuple(commands), tuple(options), tuple(valued), tuple(operands), repeated)
    for name, each in below:
        yield from tree(each, f"{path}/{name}")


def _place(action: argparse.Action) -> Place:
    if action.choices is not None:
        return Place(choices=tuple((str(each), "") for each in action.choices))
    return Place(_KINDS.get(str(action.metavar), ""))


_SCRIPTS: Final[dict[str, Callable[[Sequence[Command]], str]]] = {
    "bash": scripts.bash,
    "zsh": scripts.zsh,
    "fish": scripts.fish,
}


def completion(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    if arguments.shell is not None:
        script = _SCRIPTS[arguments.shell](list(tree()))
        output.result({"shell": arguments.shell, "script": script}, script.rstrip("\n"))
        return 0
    found = [each for each in _values(arguments.values, agent) if isinstance(each, str) and _PLAIN.fullmatch(each)]
    output.result(found, "\n".join(found))
    return 0


def _values(kind: str, agent: Agent) -> list[Any]:
    assert kind in COMPLETED
    if kind == "pools":
        return [each.get("name") for each in agent.get("pools")]
    if kind == "transfers":
        return [each.get("txn") for each in agent.get("transfers", in_doubt="true")]
    if kind == "params":
        return [each.get("name") for each in agent.get("params")["params"]]
    # One page is more than anybody wants to choose from.
    return [each.get("id") for each in agent.pages(PAGE)["reservations"]]
