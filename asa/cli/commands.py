"""Which commands there are, and what each takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from asa.cli import operands
from asa.cli.domain_commands import DOMAIN

DEFAULT_PATIENCE_MS: Final = 5_000
"""How long peers are asked, as the API has it."""

SHELLS: Final = ("bash", "zsh", "fish")
COMPLETED: Final = ("pools", "reservations", "transfers", "params")
"""What an agent is asked for while a command line is completed."""

KINDS: Final = ("two-way", "one-way", "passthrough", "steering", "mirroring")
BANDWIDTH: Final = ("two-way", "one-way")
"""The kinds that have a rate."""

STATES: Final = (
    "held", "parked", "pending", "installing", "active", "paused", "failed", "ending", "ended", "cancelled",
)  # fmt: skip

BACKENDS: Final = ("tc-nft", "tc-u32", "openvswitch", "record")
"""What sees to it that packets get what is reserved for them."""

ALONE: Final = ("params", "caps")
"""The commands with others below them that mean something without."""

Describe = Callable[[argparse.ArgumentParser], None]
Entry = tuple[str, Describe | tuple[Any, ...], str]
"""A command: its name, what describes its arguments, or the commands below it; what it does."""


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


def _secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret-file", type=operands.some_text, metavar="FILE",
        help="the secret that opens it, - for standard input; $ASA_SECRET_FILE",
    )  # fmt: skip


def _reserve(parser: argparse.ArgumentParser) -> None:
    # Which of the two a single one is, its kind says: asa.cli.arguments.
    parser.add_argument("pool", nargs="?", type=operands.some_text, metavar="POOL", help="what follows from the route")
    parser.add_argument("rate", nargs="?", type=operands.some_text, metavar="RATE", help="from source to destination")
    parser.add_argument("--back", type=operands.rate, metavar="RATE", help="from destination to source: two-way")
    parser.add_argument(
        "--kind", choices=KINDS, metavar="KIND", help=f"{', '.join(KINDS)}; one-way, or with --back two-way"
    )
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
    parser.add_argument(
        "--protocol", default="any", type=operands.some_text, metavar="PROTOCOL", help="tcp, udp, a number; any"
    )
    parser.add_argument(
        "--class", dest="traffic", default="default", type=operands.some_text, metavar="CLASS",
        help="the traffic class, global_ before it to keep the marking outside; default",
    )  # fmt: skip
    parser.add_argument(
        "--through", default=[], action="append", type=operands.some_text, metavar="BOX",
        help="a middlebox, several in order: steering",
    )  # fmt: skip
    parser.add_argument(
        "--output", default="", type=operands.any_text, metavar="HOST", help="where the copies go: mirroring"
    )
    parser.add_argument("--owner", default="", type=operands.any_text, metavar="TEXT", help="the project it is for")
    parser.add_argument(
        "--label", dest="labels", default=[], action="append", type=operands.some_text, metavar="TEXT",
        help="what it is for; may be repeated",
    )  # fmt: skip
    _patience(parser)
    parser.add_argument(
        "--hold", default=0, type=operands.duration, metavar="DURATION", help="hold it until it is confirmed, so long"
    )
    parser.add_argument("--park", action="store_true", help="keep what cannot be placed now, and try again")
    parser.add_argument("--dry-run", action="store_true", help="tell whether it would be admitted, change nothing")
    _secret(parser)
    parser.add_argument(
        "--key", type=operands.token, metavar="KEY", help="the idempotency key of an attempt that is repeated"
    )


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", type=operands.some_text, metavar="POOL", help="only of this pool")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--state", choices=STATES, metavar="STATE",
        help=f"{', '.join(STATES)}; without it those that are not over",
    )  # fmt: skip
    which.add_argument("--all", action="store_true", help="in every state")
    parser.add_argument("--owner", type=operands.any_text, metavar="TEXT", help="only of this owner")
    parser.add_argument("--kind", choices=KINDS, metavar="KIND", help="only of this kind")
    parser.add_argument("--label", type=operands.some_text, metavar="TEXT", help="only with this label")
    parser.add_argument("--host", type=operands.some_text, metavar="HOST", help="only those with this end")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=operands.some_text, metavar="ID")


def _maybe_one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", type=operands.some_text, metavar="ID", help="all of them")


def _confirm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", type=operands.some_text, metavar="ID", nargs="+")
    _patience(parser)
    _secret(parser)


def _cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", type=operands.some_text, metavar="ID", nargs="*")
    parser.add_argument("--all", action="store_true", help="all that the secret opens")
    parser.add_argument("--owner", type=operands.any_text, metavar="TEXT", help="with --all, only of this owner")
    _secret(parser)


def _extend(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--end", type=operands.end, metavar="TIME", help="the new end, an earlier one too")
    how.add_argument("--by", type=operands.duration, metavar="DURATION", help="so much later than now agreed")
    _patience(parser)
    _secret(parser)


def _resize(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("rate", type=operands.rate, metavar="RATE")
    parser.add_argument("--back", type=operands.rate, metavar="RATE", help="of two-way bandwidth the way back too")
    _patience(parser)
    _secret(parser)


def _refresh(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", type=operands.some_text, metavar="ID")
    which.add_argument("--host", type=operands.some_text, metavar="HOST", help="all that have this end")
    _secret(parser)


def _project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", type=operands.any_text, metavar="PROJECT", help="an owner; * is every other one")


def _resource(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resource", default="*", type=operands.some_text, metavar="RESOURCE",
        help="a pool, or one direction of an interface as eth0:out; each",
    )  # fmt: skip
    _secret(parser)


def _caps_set(parser: argparse.ArgumentParser) -> None:
    _project(parser)
    parser.add_argument("cap", type=operands.cap, metavar="CAP", help="10%% or 500Mbit")
    _resource(parser)


def _caps_remove(parser: argparse.ArgumentParser) -> None:
    _project(parser)
    _resource(parser)


def _import_tegu(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=operands.some_text, metavar="FILE", help="a checkpoint of Tegu's")
    parser.add_argument(
        "--pool", default="", type=operands.any_text, metavar="POOL", help="of bandwidth; what follows from the route"
    )
    _patience(parser)
    parser.add_argument("--dry-run", action="store_true", help="tell what would be taken over, change nothing")
    parser.add_argument(
        "--secret-file", type=operands.some_text, metavar="FILE",
        help="the administrator's secret, which caps need, - for standard input; $ASA_SECRET_FILE",
    )  # fmt: skip


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


def _deputy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", required=True, metavar="PATH", type=operands.some_text, help="the Unix socket the agent comes to"
    )
    parser.add_argument(
        "--backend", required=True, choices=BACKENDS, metavar="NAME", help=f"how it is done: {', '.join(BACKENDS)}"
    )
    parser.add_argument(
        "--uid", dest="uids", default=[], action="append", type=operands.some_text, metavar="USER",
        help="whose agent may come beside root's, by name or number; may be repeated; the deputy's own user",
    )  # fmt: skip
    parser.add_argument("--group", metavar="GROUP", type=operands.some_text, help="the socket's; the deputy's own")
    parser.add_argument(
        "--interface", dest="interfaces", action="append", type=operands.some_text, metavar="NAME",
        help="let the agent have only this one; may be repeated; all",
    )  # fmt: skip
    parser.add_argument("--take-over", action="store_true", help="replace queues that somebody else set up")
    parser.add_argument(
        "--ovsdb", metavar="PATH", type=operands.some_text, help="Open vSwitch's database socket, for openvswitch"
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
    ("reserve", _reserve, "reserve bandwidth, or have packets led or copied"),
    ("list", _list, "the reservations made here"),
    ("show", _one, "one reservation"),
    ("confirm", _confirm, "book what is held"),
    ("cancel", _cancel, "give reservations up"),
    ("extend", _extend, "move the end of a reservation"),
    ("resize", _resize, "change the rate of a reservation"),
    ("refresh", _refresh, "place reservations anew whose ends have moved"),
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
    (
        "caps",
        (
            ("list", _nothing, "every cap"),
            ("set", _caps_set, "set a cap; what is booked above it stays"),
            ("remove", _caps_remove, "remove a cap"),
        ),
        "what projects may have booked at most",
    ),
    ("links", _nothing, "the interfaces whose capacity is limited"),
    ("enforcement", _nothing, "what makes packets of this node obey, and how that goes"),
    ("usage", _maybe_one, "what packets of reservations got"),
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
    ("pause", _secret, "enforce nothing on this node until it is resumed"),
    ("resume", _secret, "enforce again"),
    ("restart", _nothing, "replace the running program by the installed version"),
    ("remove", _remove, "hand the capacity back and end the agent for good"),
    ("import-tegu", _import_tegu, "take over a checkpoint of Tegu's"),
    ("run", _run, "be the agent"),
    ("deputy", _deputy, "do for an agent without privileges what needs CAP_NET_ADMIN"),
    ("domain", DOMAIN, "the certificates of agents, and joining"),
    ("config", (("check", _config_check, "read a configuration and tell what is wrong"),), "the configuration"),
    ("completion", _completion, "completion for a shell"),
)
