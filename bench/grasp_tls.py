"""Sessions per second between members of a domain beside those of plain nodes, in turn in the same run.

One-off sessions have a handshake each, with both certificates; the others use a connection that was kept.
"""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.pair import ROUNDS, asked, served, two_hosts
from bench.report import Result
from tests.pki import Authority

SESSIONS = 6_000
SESSIONS_ONCE = 1_500
CLIENTS = (1, 8)
AIM_ONCE, AIM_KEPT = 0.35, 0.8


def measure(exchange: str, clients: int, client_identity: Path, server_identity: Path) -> None:
    rates: dict[str, list[float]] = {"plain": [], "once": [], "kept": []}
    member = ("--identity", str(client_identity))
    with two_hosts() as (client, client_end, server, server_end), ExitStack() as stack:
        for options in ((), ("--identity", str(server_identity))):
            stack.enter_context(
                served(server, "bench.peer", "serve", exchange, "--interface", server_end, *options)
            )  # fmt: skip
        for _ in range(ROUNDS):
            for kind, options in (("plain", ()), ("once", (*member, "--once")), ("kept", member)):
                sessions = SESSIONS_ONCE if kind == "once" else SESSIONS
                load = ("--sessions", str(sessions), "--clients", str(clients))
                ran = asked(client, "bench.peer", "client", exchange, "--interface", client_end, *load, *options)
                assert not ran["refused"], ran
                rates[kind].append(ran["rate"])
    plain = statistics.median(rates["plain"])
    for kind, aim in (("once", AIM_ONCE), ("kept", AIM_KEPT)):
        name = f"{exchange}, TLS, {'a handshake each' if kind == 'once' else 'connection kept'}, {clients} at once"
        Result(name, statistics.median(rates[kind]), "1/s", floor=plain, aim=aim).print()


def main() -> None:
    authority = Authority()
    with tempfile.TemporaryDirectory() as directory:
        identities = [authority.write(Path(directory, name), authority.issue(name)) for name in ("client", "server")]
        for exchange in ("negotiate", "synchronize"):
            for clients in CLIENTS:
                measure(exchange, clients, *identities)


if __name__ == "__main__":
    main()
