"""The floor: the barest blocking sockets that exchange the bytes GRASP would, and check none of them.

    python -m bench.floor serve negotiate --port 7017 --threads 4
    python -m bench.floor client negotiate fd00::1 --port 7017 --sessions 20000 --clients 4

What a benchmark of grasp measures is held against this: the same machine, kernel, cbor2 and threads.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable

from cbor2 import dumps, loads

from bench.load import run

M_REQ_NEG, M_REQ_SYN, M_NEGOTIATE, M_END, M_SYNCH = 3, 4, 5, 6, 8
O_ACCEPT = 101
LARGEST = 2048  # GRASP_DEF_MAX_SIZE


def serve_negotiate(connection: socket.socket) -> None:
    _, session, objective = loads(connection.recv(LARGEST))
    connection.send(dumps([M_NEGOTIATE, session, [objective[0], 3, 5, ["NZD", 40]]]))
    loads(connection.recv(LARGEST))


def negotiate(connection: socket.socket, session: int) -> None:
    connection.send(dumps([M_REQ_NEG, session, ["EX3", 3, 6, ["NZD", 47]]]))
    loads(connection.recv(LARGEST))
    connection.send(dumps([M_END, session, [O_ACCEPT]]))


def serve_synchronize(connection: socket.socket) -> None:
    _, session, objective = loads(connection.recv(LARGEST))
    connection.send(dumps([M_SYNCH, session, [objective[0], 5, 6, ["Example 2 value=", 200]]]))


def synchronize(connection: socket.socket, session: int) -> None:
    connection.send(dumps([M_REQ_SYN, session, ["EX2", 5, 6, None]]))
    loads(connection.recv(LARGEST))


SERVERS: dict[str, Callable[[socket.socket], None]] = {
    "negotiate": serve_negotiate,
    "synchronize": serve_synchronize,
}
CLIENTS: dict[str, Callable[[socket.socket, int], None]] = {
    "negotiate": negotiate,
    "synchronize": synchronize,
}


def serve(exchange: str, port: int, threads: int) -> None:
    """Serve with `threads` threads, all of them in accept(), until SIGTERM or the end of stdin."""
    answer = SERVERS[exchange]
    listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=socket.SOMAXCONN)
    # Inherited by what accept() returns.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def work() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    sys.stdin.read()


def client(exchange: str, address: str, port: int, sessions: int, clients: int) -> dict[str, float]:
    """Run `sessions` sessions, one TCP connection each, from `clients` threads; return what they took."""
    ask = CLIENTS[exchange]
    family, _, _, _, server = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]

    def session() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect(server)
            ask(connection, random.getrandbits(32))

    outcome = run(session, sessions, clients, OSError)
    if outcome["refused"]:
        sys.exit(f"{outcome['refused']} of {sessions} sessions failed")
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__.partition("\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("serve", help="answer until SIGTERM or the end of stdin")
    server.add_argument("exchange", choices=SERVERS)
    server.add_argument("--port", type=int, default=0)
    server.add_argument("--threads", type=int, default=1)
    caller = roles.add_parser("client", help="ask, and print the rate as JSON")
    caller.add_argument("exchange", choices=CLIENTS)
    caller.add_argument("address")
    caller.add_argument("--port", type=int, required=True)
    caller.add_argument("--sessions", type=int, default=10_000)
    caller.add_argument("--clients", type=int, default=1)
    args = parser.parse_args()
    if args.role == "serve":
        serve(args.exchange, args.port, args.threads)
    else:
        print(json.dumps(client(args.exchange, args.address, args.port, args.sessions, args.clients)))


if __name__ == "__main__":
    main()
