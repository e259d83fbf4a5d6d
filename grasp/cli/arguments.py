"""The command line: which commands there are and what they take."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, NoReturn

from grasp.cli.values import NotAValue, parse_value
from grasp.constants import GRASP_DEF_LOOPCT, GRASP_DEF_TIMEOUT
from grasp.errors import ErrorCode, LocalError
from grasp.wire import Address

DEFAULT_TIMEOUT: Final = 5_000
"""Milliseconds: enough for discovery over six hops, short enough for who waits at a terminal."""

_ABSENT: Final = object()
_LONGEST_MS: Final = 0xFFFF_FFFF
_EPILOG: Final = (
    "Values are JSON. A VALUE that starts with a minus sign and is not a plain number goes after --. "
    "Exit status: 0 success, 1 failure, 2 wrong arguments. See docs/cli.md."
)


class UsageError(LocalError):
    """The command line is wrong; ``usage`` says how it should be."""

    def __init__(self, detail: str, usage: str) -> None:
        super().__init__(ErrorCode.badArgument, detail)
        self.usage = usage


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """``--peer``: an address, the zone it was written with or "", a port 1..65535."""

    address: Address
    zone: str
    port: int


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage())


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Raises :class:`UsageError`, or SystemExit where help was asked for."""
    arguments = _parser().parse_args(argv)
    # Given before or after the command's name: argparse lets the later parser's default win.
    arguments.json = wants_json(argv)
    return arguments


def given(value: Any) -> bool:
    """Whether an option with a VALUE was there; null is a value."""
    return value is not _ABSENT


def wants_json(argv: Sequence[str]) -> bool:
    """Also for a command line that cannot be parsed."""
    return "--json" in (argv[: list(argv).index("--")] if "--" in argv else argv)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="grasp", description="Look into a GRASP network (RFC 8990).", epilog=_EPILOG, allow_abbrev=False
    )
    output = _Parser(add_help=False, allow_abbrev=False)
    output.add_argument("--json", action="store_true", help="exactly one JSON value on stdout, errors included")
    output.add_argument("--verbose", action="store_true", help="the node's log on stderr; long values in full")
    parser.add_argument("--json", action="store_true", help="the same as after the command")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, describe, text in _COMMANDS:
        each = commands.add_parser(name, parents=[output], help=text, description=text, allow_abbrev=False)
        describe(each)
    return parser


# -- what is common


def _network(parser: argparse.ArgumentParser, timeout: str, member: bool = True) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--interface", action="append", metavar="NAME", help="repeatable; all if absent")
    group.add_argument("--timeout", type=_milliseconds, metavar="MS", help=timeout)
    group.add_argument("--port", type=_number(0, 0xFFFF), default=0, metavar="N", help="TCP port; any free one if 0")
    group.add_argument("--ipv4", action="store_true", help="use IPv4 too")
    if member:
        group.add_argument(
            "--identity", type=Path, metavar="DIR", help="be a member of a domain, by the certificate and key in there"
        )


def _waiting(parser: argparse.ArgumentParser) -> None:
    _network(parser, f"how long to wait; {DEFAULT_TIMEOUT}")
    parser.set_defaults(default_timeout=DEFAULT_TIMEOUT)


def _running(parser: argparse.ArgumentParser, member: bool = True) -> None:
    _network(parser, "end after so long; without, at SIGINT or SIGTERM", member)
    parser.set_defaults(default_timeout=None)


def _monitor(parser: argparse.ArgumentParser) -> None:
    # It hears what is sent in clear, and says nothing: nobody asks who it is.
    _running(parser, member=False)


def _peer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peer", type=_peer_address, metavar="ADDR:PORT", help="[v6]:port, [v6%%interface]:port or v4:port"
    )


def _loop_count(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--loop-count", type=_number(1, 255), default=GRASP_DEF_LOOPCT, metavar="N", help=f"{GRASP_DEF_LOOPCT}"
    )


# -- the commands


def _discover(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=_name, metavar="NAME")
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--count", type=_number(1, 1_000_000), default=1, metavar="N", help="wait for N of them; 1")
    how_many.add_argument("--all", action="store_true", help="all that answer within the timeout")
    _peer(parser)
    _waiting(parser)


def _synchronize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=_name, metavar="NAME")
    _peer(parser)
    _waiting(parser)


def _negotiate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=_name, metavar="NAME")
    parser.add_argument("value", type=_value, metavar="VALUE")
    parser.add_argument(
        "--counter", type=_value, metavar="VALUE", default=_ABSENT, help="propose this once before accepting"
    )
    parser.add_argument("--dry-run", action="store_true", help="ask for the outcome without its effect")
    _loop_count(parser)
    _peer(parser)
    _waiting(parser)


def _flood(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=_name, metavar="NAME")
    parser.add_argument("value", type=_value, metavar="VALUE")
    parser.add_argument("--ttl", type=_ttl, required=True, metavar="MS", help="how long it is valid; 0 for ever")
    _loop_count(parser)
    _waiting(parser)


def _floods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=_name, metavar="NAME", nargs="?")
    parser.add_argument("--follow", action="store_true", help="print each as it arrives, until stopped")
    _waiting(parser)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=_name, metavar="NAME")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--synchronize", type=_value, metavar="VALUE", default=_ABSENT, help="the value to answer with")
    kind.add_argument(
        "--negotiate", type=_value, metavar="VALUE", default=_ABSENT, help="accept up to this, else offer it"
    )
    parser.add_argument(
        "--ttl", type=_ttl, default=GRASP_DEF_TIMEOUT, metavar="MS",
        help=f"how long others may remember where it is; {GRASP_DEF_TIMEOUT}",
    )  # fmt: skip
    _running(parser)


def _decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="HEX|FILE|-", help="messages in hex, or a file: hex, binary, pcap, pcapng")


_COMMANDS: Final[tuple[tuple[str, Callable[[argparse.ArgumentParser], None], str], ...]] = (
    ("discover", _discover, "who supports an objective"),
    ("synchronize", _synchronize, "the current value of an objective"),
    ("negotiate", _negotiate, "request a value and agree on one"),
    ("flood", _flood, "send a value to all nodes"),
    ("floods", _floods, "what others flood"),
    ("serve", _serve, "answer for an objective"),
    ("relay", _running, "relay between interfaces, with no objective of its own"),
    ("monitor", _monitor, "show every multicast message heard"),
    ("decode", _decode, "show messages from hex, a file or a packet capture"),
)


# -- the types


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r:.40} is no integer") from None
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{text:.40} is not within {least}..{most}")
        return found

    return number


_milliseconds: Final = _number(1, _LONGEST_MS)
_ttl: Final = _number(0, _LONGEST_MS)


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an objective's name is not empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("an objective's name is UTF-8 text") from None
    return text


def _value(text: str) -> Any:
    try:
        return parse_value(text)
    except NotAValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _peer_address(text: str) -> PeerAddress:
    host, colon, port = text.rpartition(":")
    zone = ""
    try:
        if not colon or not 1 <= int(port) <= 0xFFFF or not port.isascii() or not port.isdecimal():
            raise ValueError
        if host.startswith("[") and host.endswith("]"):
            host, percent, zone = host[1:-1].partition("%")
            if percent and not zone:
                raise ValueError
            return PeerAddress(IPv6Address(host), zone, int(port))
        return PeerAddress(IPv4Address(host), "", int(port))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} is not [IPv6]:port, [IPv6%interface]:port or IPv4:port"
        ) from None
