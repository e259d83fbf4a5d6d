"""The command line: which commands there are and what they take."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from asa.cli import operands
from asa.cli.commands import ALONE, BANDWIDTH, COMMANDS, Entry
from asa.errors import AgentError
from asa.quantities import format_time

DEFAULT_SOCKET: Final = "/run/asa/asa.sock"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds an answer may take, beside the patience a command asks peers with."""

_OF_KINDS: Final = {"two-way": "back", "steering": "through", "mirroring": "output"}
"""What each of these kinds needs, and no other has."""

REMOTE: Final = {
    "--cacert": "cacert",
    "--node": "expected",
    "--token-file": "token_file",
    "--cert": "cert",
    "--cert-key": "key_file",
}
"""Options that are for --tcp only, and what they are called in the arguments."""

_EPILOG: Final = (
    "Rates: 500Mbit, 2.5Gbit, 100Mibit or plain bit/s. Times: now, +90m, 2026-12-31T18:00 (local time), "
    "2026-12-31T18:00Z, UNIX seconds, never. Durations: 90s, 15m, 2h, 1d, 1w, 1h30m. "
    "Exit status: 0 ok, 1 refused or failed, 2 wrong arguments, 3 no agent reachable, 4 an audit could not be judged. "
    "See docs/agent-cli.md."
)


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
    intermixed = False
    """Whether options may stand between operands that may be left out."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        self.intermixed = False
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True

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
    if arguments.command != "domain":
        # That one asks no agent, and joining's token is no agent's.
        _check_remote(given)
    _check_window(given.get("start"), given.get("end"))
    if "secret_file" in given:
        given["secret_file"] = given["secret_file"] or os.environ.get("ASA_SECRET_FILE") or None
    if arguments.command == "reserve":
        _settle_wish(given)
    if arguments.command == "cancel":
        _check_cancel(given)
    for each in ("tcp", *REMOTE.values()):
        given.setdefault(each, None)
    arguments.chosen_socket = given.get("socket")
    given.setdefault("socket", os.environ.get("ASA_SOCKET") or DEFAULT_SOCKET)
    given.setdefault("timeout", DEFAULT_TIMEOUT)
    return arguments


def _check_remote(given: dict[str, Any]) -> None:
    """What goes with --tcp, and with nothing else."""
    if "tcp" not in given:
        if found := [option for option, name in REMOTE.items() if name in given]:
            raise UsageError(f"{found[0]} is for --tcp", hint="over a Unix socket the user who asks is what counts")
        return
    if ("cert" in given) is not ("key_file" in given):
        raise UsageError("--cert and --cert-key go together", hint="a certificate, and the key that belongs to it")
    if "token_file" not in given and "cert" not in given:
        raise UsageError(
            "--tcp needs --token-file, or --cert and --cert-key", hint="the agent's configuration says whose"
        )


def _check_window(start: Any, end: Any) -> None:
    """Only where both are given: what an end alone is measured by, the agent's clock, is the agent's to say."""
    if isinstance(start, int) and isinstance(end, int) and end <= start:
        raise UsageError(
            f"the window would end at {format_time(end)}, not after its start at {format_time(start)}",
            hint="give an --end after --start, or --for how long",
        )


def _settle_wish(given: dict[str, Any]) -> None:
    """What one operand alone is, and that the kind has what it needs and nothing else."""
    kind = given["kind"] = given["kind"] or ("two-way" if given["back"] else "one-way")
    for its, name in _OF_KINDS.items():
        if given[name] and kind != its:
            raise UsageError(f"--{name} is for --kind {its}", hint=f"this is {kind}")
        if kind == its and not given[name]:
            raise UsageError(f"--kind {its} needs --{name}", hint="asa reserve --help says more")
    pool, rate = given["pool"], given["rate"]
    if kind in BANDWIDTH:
        if rate is None:
            pool, rate = None, pool
        if rate is None or (pool is None and not re.match("[-+.]?[0-9]", rate)):
            raise UsageError("the following arguments are required: RATE", hint="asa reserve --help says more")
        given["rate"] = _operand("RATE", rate)
    else:
        if rate is not None or (pool is not None and _is_rate(pool)):
            raise UsageError(f"{kind} reserves no bandwidth", hint="leave RATE out")
        given["rate"] = 0
    given["pool"] = pool or ""


def _operand(name: str, text: str) -> int:
    try:
        return operands.rate(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"argument {name}: {error}", hint="asa reserve --help says more") from None


def _is_rate(text: str) -> bool:
    try:
        return operands.rate(text) > 0
    except argparse.ArgumentTypeError:
        return False


def _check_cancel(given: dict[str, Any]) -> None:
    if given["all"] == bool(given["ids"]):
        raise UsageError("cancel takes either IDs or --all", hint="asa cancel --help says more")
    if given["owner"] is not None and not given["all"]:
        raise UsageError("--owner is for --all", hint="asa list --owner tells which there are")
    if given["all"] and given["secret_file"] is None:
        raise UsageError("--all needs --secret-file", hint="all that the secret in it opens are cancelled")


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
    group.add_argument(
        "--tcp", metavar="HOST:PORT", default=absent, type=operands.endpoint, help="TLS over TCP instead"
    )
    group.add_argument(
        "--cacert", metavar="FILE", default=absent, type=operands.some_text,
        help="the authorities to believe with --tcp; this system's",
    )  # fmt: skip
    group.add_argument(
        "--node", dest="expected", metavar="NAME", default=absent, type=operands.some_text,
        help="the node's name, where its certificate has that and no HOST",
    )  # fmt: skip
    group.add_argument(
        "--token-file", metavar="FILE", default=absent, type=operands.some_text,
        help="the token to show with --tcp, or to join with",
    )  # fmt: skip
    group.add_argument(
        "--cert", metavar="FILE", default=absent, type=operands.some_text, help="or the certificate to show"
    )
    group.add_argument(
        "--cert-key", dest="key_file", metavar="FILE", default=absent, type=operands.some_text, help="and its key"
    )
    group.add_argument(
        "--timeout", metavar="DURATION", default=absent, type=operands.timeout,
        help=f"how long an answer may take; {DEFAULT_TIMEOUT:g}s",
    )  # fmt: skip
    group.add_argument("--json", action="store_true", default=absent, help="exactly one JSON value on stdout")


def _commands(parser: _Parser, entries: Sequence[Entry], common: _Parser, dest: str) -> None:
    required = parser.prog.rpartition(" ")[2] not in ALONE
    commands = parser.add_subparsers(dest=dest, metavar=dest.upper(), required=required)
    for name, describe, text in entries:
        each = commands.add_parser(name, parents=[common], help=text, description=text, allow_abbrev=False)
        if isinstance(describe, tuple):
            _commands(each, describe, common, "action")
        else:
            describe(each)
            each.intermixed = name == "reserve"
