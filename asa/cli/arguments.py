"""The command line: which commands there are and what they take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from asa.cli import operands
from asa.errors import AgentError
from asa.quantities import format_time

DEFAULT_SOCKET: Final = "/run/asa/asa.sock"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds an answer may take, beside the patience a command asks peers with."""

DEFAULT_PATIENCE_MS: Final = 5_000
"""How long peers are asked, as the API has it."""

SHELLS: Final = ("bash", "zsh", "fish")
COMPLETED: Final = ("pools", "reservations", "transfers", "params")
"""What an agent is asked for while a command line is completed."""

_EPILOG: Final = (
    "Rates: 500Mbit, 2.5Gbit, 100Mibit or plain bit/s. Times: now, +90m, 2026-12-31T18:00 (local time), "
    "2026-12-31T18:00Z, UNIX seconds, never. Durations: 90s, 15m, 2h, 1d, 1w, 1h30m. "
    "Exit status: 0 ok, 1 refused or failed, 2 wrong arguments, 3 no agent reachable, 4 an audit could not be judged. "
    "See docs/agent-cli.md."
)

Describe = Callable[[argparse.ArgumentParser], None]
Entry = tuple[str, Describe | tuple[Any, ...], str]
"""A command: its name, what describes its arguments, or the commands below it; what it does."""


class UsageError(AgentError):
    """The command line is wrong; ``usage`` says how it should be."""

    code = "usage"
    status = 400

    def __init__(self, message: str, usage: str = "", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.usage = usage


class VersionAsked(Exception):
    """The command line asks which release this is, and for nothing else."""


class _Version(argparse.Action):
    def __call__(self, *_: Any) -> NoReturn:
        raise VersionAsked


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage(), hint=f"{self.prog} --help says more")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            # Only now: most command lines are right.
            from difflib import get_close_matches

            known = [str(each) for each in action.choices]
            near = get_close_matches(str(value), known, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise argparse.ArgumentError(action, f"there is no {value!r:.40}; {meant}")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Raises :class:`UsageError`, :class:`VersionAsked`, or SystemExit where help was asked for."""
    arguments = parser().parse_args(argv)
    arguments.json = wants_json(argv)
    given = vars(arguments)
    if "socket" in given and "tcp" in given:
        raise UsageError("--socket and --tcp do not go together", hint="give one of them")
    if "token_file" in given and "tcp" not in given:
        raise UsageError("--token-file is for --tcp", hint="a Unix socket is guarded by its permissions")
    if "tcp" in given and "token_file" not in given:
        raise UsageError("--tcp needs --token-file", hint="the file the agent's configuration names")
    _check_window(given.get("start"), given.get("end"))
    given.setdefault("tcp", None)
    given.setdefault("token_file", None)
    arguments.chosen_socket = given.get("socket")
    given.setdefault("socket", os.environ.get("ASA_SOCKET") or DEFAULT_SOCKET)
    given.setdefault("timeout", DEFAULT_TIMEOUT)
    return arguments


def _check_window(start: Any, end: Any) -> None:
    """Only where both are given: what an end alone is measured by, the agent's clock, is the agent's to say."""
    if isinstance(start, int) and isinstance(end, int) and end <= start:
        raise UsageError(
            f"the window would end at {format_time(end)}, not after its start at {format_time(start)}",
            hint="give an --end after --start, or --for how long",
        )


def wants_json(argv: Sequence[str]) -> bool:
    """Also for a command line that cannot be parsed."""
    return "--json" in (argv[: list(argv).index("--")] if "--" in argv else argv)


def parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="asa",
        description="Reserve bandwidth at this node's agent, and look after the agent.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    # Without defaults: that of a subcommand's parser would win over what was given before the command.
    common = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for each in (top, common):
        _common(each)
    top.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="which release this is")
    _commands(top, COMMANDS, common, "command")
    return top


def _common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the agent, before or behind the command")
    absent = argparse.SUPPRESS
    group.add_argument(
        "--socket", metavar="PATH", default=absent, type=operands.some_text,
        help=f"the agent's Unix socket; $ASA_SOCKET, else {DEFAULT_SOCKET}",
    )  # fmt: skip
    group.add_argument("--tcp", metavar="HOST:PORT", default=absent, type=operands.endpoint, help="TCP instead")
    group.add_argument(
        "--token-file", metavar="FILE", default=absent, type=operands.some_text, help="the token --tcp needs"
    )
    group.add_argument(
        "--timeout", metavar="DURATION", default=absent, type=operands.timeout,
        help=f"how long an answer may take; {DEFAULT_TIMEOUT:g}s",
    )  # fmt: skip
    group.add_argument("--json", action="store_true", default=absent, help="exactly one JSON value on stdout")


def _commands(
    parser: argparse.ArgumentParser, entries: Sequence[Entry], common: argparse.ArgumentParser, dest: str
) -> None:
    # Only "params" means something alone.
    commands = parser.add_subparsers(dest=dest, metavar=dest.upper(), required=not parser.prog.endswith(" params"))
    for name, describe, text in entries:
        each = commands.add_parser(name, parents=[common], help=text, description=text, allow_abbrev=False)
        if isinstance(describe, tuple):
            _commands(each, describe, common, "action")
        else:
            describe(each)


# -- what each command takes


def _nothing(parser: argparse.ArgumentParser) -> None:
    pass


def _pool(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", type=operands.some_text, metavar="POOL")


def _pool_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=operands.some_text, metavar="NAME")
    parser.add_argument("capacity", type=operands.rate, metavar="CAPACITY")
    parser.add_argument(
        "--at", type=operands.position, metavar="RATE", help="where on the pool's line; behind all that is known"
    )


def _patience(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patience", type=operands.patience, default=DEFAULT_PATIENCE_MS, metavar="DURATION",
        help=f"how long peers may be asked for what is missing; 0 not at all; {DEFAULT_PATIENCE_MS}ms",
    )  # fmt: skip


def _reserve(parser: argparse.ArgumentParser) -> None:
    _pool(parser)
    parser.add_argument("rate", type=operands.rate, metavar="RATE")
    parser.add_argument("--start", type=operands.start, metavar="TIME", help="now")
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--end", type=operands.end, metavar="TIME", help="never")
    until.add_argument("--for", dest="duration", type=operands.duration, metavar="DURATION", help="instead of --end")
    parser.add_argument(
        "--source", default="any", type=operands.any_text, metavar="SELECTOR", help="traffic from where; any"
    )
    parser.add_argument(
        "--destination", default="any", type=operands.any_text, metavar="SELECTOR", help="traffic to where; any"
    )
    parser.add_argument("--owner", default="", type=operands.any_text, metavar="TEXT", help="whom it is for")
    parser.add_argument("--label", default="", type=operands.any_text, metavar="TEXT", help="what it is for")
    _patience(parser)
    parser.add_argument("--dry-run", action="store_true", help="tell whether it would be admitted, change nothing")
    parser.add_argument(
        "--key", type=operands.token, metavar="KEY", help="the idempotency key of an attempt that is repeated"
    )


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", type=operands.some_text, metavar="POOL", help="only of this pool")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--state", choices=("pending", "active", "ended", "cancelled"), metavar="STATE",
        help="pending, active, ended or cancelled; without it the first two",
    )  # fmt: skip
    which.add_argument("--all", action="store_true", help="in every state")
    parser.add_argument("--owner", type=operands.any_text, metavar="TEXT", help="only of this owner")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=operands.some_text, metavar="ID")


def _several(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", type=operands.some_text, metavar="ID", nargs="+")


def _extend(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--end", type=operands.end, metavar="TIME", help="the new end, an earlier one too")
    how.add_argument("--by", type=operands.duration, metavar="DURATION", help="so much later than now agreed")
    _patience(parser)


def _resize(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("rate", type=operands.rate, metavar="RATE")
    _patience(parser)


def _availability(parser: argparse.ArgumentParser) -> None:
    _pool(parser)
    parser.add_argument("--start", type=operands.start, metavar="TIME", help="now")
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--end", type=operands.finite_end, metavar="TIME", help="the policy's horizon")
    until.add_argument("--for", dest="duration", type=operands.duration, metavar="DURATION", help="instead of --end")
    parser.add_argument("--rate", type=operands.rate, metavar="RATE", help="say when the earliest start for it is")
    parser.add_argument(
        "--patience", type=operands.patience, default=0, metavar="DURATION",
        help="ask peers for so long what they would grant on top; 0, not at all",
    )  # fmt: skip


def _transfers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--in-doubt", action="store_true", help="only those whose outcome is not known")


def _forfeit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("txn", type=operands.some_text, metavar="TXN")
    parser.add_argument("--yes", action="store_true", help="the requester will never come back")


def _forget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", type=operands.some_text, metavar="NODE")
    parser.add_argument("--yes", action="store_true", help="it will never come back")


def _params_get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", type=operands.some_text, metavar="PARAMETER")


def _params_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("values", nargs="+", type=operands.assignment, metavar="PARAMETER=VALUE")


def _audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", nargs="?", type=operands.some_text, metavar="POOL", help="all of them")


def _events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="go on until stopped")
    parser.add_argument("--after", type=operands.number, default=0, metavar="N", help="only with a greater number")


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="its configuration")
    parser.add_argument(
        "--salvage", action="store_true", help="after damage: go on, as a new instance, with what can still be read"
    )


def _remove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--confirm", required=True, metavar="NAME", help="the name of the node")


def _config_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")


def _completion(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("shell", nargs="?", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    what.add_argument(
        "--values", choices=COMPLETED, metavar="KIND", help=f"what the scripts ask for: {', '.join(COMPLETED)}"
    )


COMMANDS: Final[tuple[Entry, ...]] = (
    ("reserve", _reserve, "reserve bandwidth of a pool"),
    ("list", _list, "the reservations made here"),
    ("show", _one, "one reservation"),
    ("cancel", _several, "give reservations up"),
    ("extend", _extend, "move the end of a reservation"),
    ("resize", _resize, "change the rate of a reservation"),
    ("availability", _availability, "how much of a pool is free, and when"),
    (
        "pool",
        (
            ("list", _nothing, "every pool known here"),
            ("show", _pool, "one pool, and the blocks held of it"),
            ("add", _pool_add, "seed a pool at its origin, or grow it"),
        ),
        "pools of bandwidth",
    ),
    ("peers", _nothing, "the other agents"),
    ("transfers", _transfers, "capacity given and taken"),
    ("forfeit", _forfeit, "take back what a lost peer never confirmed"),
    ("forget", _forget, "no longer count on a peer that is gone for ever"),
    ("audit", _audit, "whether all that was seeded is there, once"),
    (
        "params",
        (
            ("get", _params_get, "the policy in force, or one parameter"),
            ("set", _params_set, "change the policy of the domain"),
        ),
        "the policy in force, and changing it",
    ),
    ("status", _nothing, "what the agent is and does"),
    ("health", _nothing, "whether the agent is well"),
    ("manifest", _nothing, "the agent's description of itself"),
    ("events", _events, "what happened"),
    ("activate", _nothing, "ask peers and grant to them"),
    ("deactivate", _nothing, "stop asking and granting"),
    ("restart", _nothing, "replace the running program by the installed version"),
    ("remove", _remove, "hand the capacity back and end the agent for good"),
    ("run", _run, "be the agent"),
    ("config", (("check", _config_check, "read a configuration and tell what is wrong"),), "the configuration"),
    ("completion", _completion, "completion for a shell"),
)
