"""The same exchanges as bench.floor, on a grasp node.

python -m bench.peer serve negotiate --interface eth0
python -m bench.peer client negotiate --interface eth0 --sessions 20000 --clients 8
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from pathlib import Path

import grasp
from bench.load import run

NEGOTIATED = grasp.Objective.negotiation("EX3", ["NZD", 47])
PUBLISHED = grasp.Objective.synchronization("EX2", ["Example 2 value=", 200])


def offer(negotiation: grasp.Negotiation) -> None:
    negotiation.propose(["NZD", 40])


def listen(asa: grasp.ASA) -> None:
    """Requests taken by listen_negotiate in a thread of the ASA's own."""
    while True:
        try:
            offer(asa.listen("EX3"))
        except grasp.PeerError:
            continue
        except grasp.LocalError:
            return


def node_of(interface: str, identity: Path | None, once: bool = False) -> grasp.Node:
    """A plain node, or one in the domain of ``identity``; with ``once`` it keeps no connection for another session."""
    if identity is None:
        return grasp.Node([interface])
    from grasp.security import Identity
    from grasp.transport.domain import DomainSubstrate
    from grasp.transport.secured import TlsConnection

    class Once(DomainSubstrate):
        def _keep(self, connection: TlsConnection) -> bool:
            connection.close()
            return False

    kind = Once if once else DomainSubstrate
    return grasp.Node(substrate=kind(Identity.load(identity), [interface]))


def serve(exchange: str, interface: str, threads: int, identity: Path | None) -> None:
    """Answer until SIGTERM or the end of stdin. ``threads`` listen; 0 leaves the calling to the node."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with node_of(interface, identity) as node, node.register_asa("server") as asa:
        asa.register(NEGOTIATED)
        asa.register(PUBLISHED)
        asa.publish(PUBLISHED)
        if exchange == "negotiate" and not threads:
            asa.on_negotiate("EX3", offer)
        for _ in range(threads):
            threading.Thread(target=listen, args=(asa,), daemon=True).start()
        print(json.dumps({"port": node.port}), flush=True)
        sys.stdin.read()


def client(
    exchange: str, interface: str, sessions: int, clients: int, identity: Path | None, once: bool
) -> dict[str, float]:
    """Run ``sessions`` sessions from ``clients`` threads; return what they took."""
    with node_of(interface, identity, once) as node, node.register_asa("client") as asa:
        asa.register(NEGOTIATED)
        objective = NEGOTIATED if exchange == "negotiate" else PUBLISHED
        found: list[grasp.Discovered] = []
        for _ in range(20):
            found = found or asa.discover(objective.name, 500)
        (peer,) = found

        def negotiate() -> None:
            with asa.negotiate(NEGOTIATED, peer) as negotiation:
                negotiation.accept()

        def synchronize() -> None:
            asa.synchronize(PUBLISHED, peer)

        def discover() -> None:
            asa.discover("EX2", minimum_ttl=0)

        ask = {"negotiate": negotiate, "synchronize": synchronize, "discover": discover}[exchange]
        return run(ask, sessions, clients, grasp.GraspError)


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    parser = argparse.ArgumentParser(prog="python -m bench.peer", description=__doc__.partition("\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("serve", help="answer until SIGTERM or the end of stdin")
    server.add_argument("exchange", choices=["negotiate", "synchronize", "discover"])
    server.add_argument("--interface", required=True)
    server.add_argument("--threads", type=int, default=0)
    server.add_argument("--identity", type=Path)
    caller = roles.add_parser("client", help="ask, and print the rate as JSON")
    caller.add_argument("exchange", choices=["negotiate", "synchronize", "discover"])
    caller.add_argument("--interface", required=True)
    caller.add_argument("--sessions", type=int, default=10_000)
    caller.add_argument("--clients", type=int, default=1)
    caller.add_argument("--identity", type=Path)
    caller.add_argument("--once", action="store_true")
    args = parser.parse_args()
    if args.role == "serve":
        serve(args.exchange, args.interface, args.threads, args.identity)
    else:
        found = client(args.exchange, args.interface, args.sessions, args.clients, args.identity, args.once)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
