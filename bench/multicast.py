"""The floor of a discovery: a multicast, a connection back, an answer, with bare sockets and cbor2.

    python -m bench.multicast serve --interface eth0
    python -m bench.multicast client --interface eth0 --sessions 300

It uses a group and a port of its own, so that it can share a link with a GRASP node.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import statistics
import struct
import sys
import threading
import time

from cbor2 import dumps, loads

GROUP, PORT = "ff02::1:1", 7018
M_DISCOVERY, M_RESPONSE = 1, 2


def serve(interface: str) -> None:
    index = socket.if_nametoindex(interface)
    receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    receiver.bind(("::", PORT))
    group = socket.inet_pton(socket.AF_INET6, GROUP)
    receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", index))

    def answer() -> None:
        while True:
            data, source = receiver.recvfrom(2048)
            _, session, initiator, _ = loads(data)
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
                connection.connect(source)
                connection.send(dumps([M_RESPONSE, session, initiator, 60_000, [103, bytes(16), 6, 4242]]))

    threading.Thread(target=answer, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(json.dumps({"port": PORT}), flush=True)
    sys.stdin.read()


def client(interface: str, sessions: int) -> dict[str, float]:
    index = socket.if_nametoindex(interface)
    listener = socket.create_server(("::", 0), family=socket.AF_INET6)
    sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sender.bind(("::", listener.getsockname()[1]))
    durations = []
    for session in range(sessions):
        begun = time.perf_counter()
        sender.sendto(dumps([M_DISCOVERY, session, bytes(16), ["EX2", 1, 6]]), (GROUP, PORT, 0, index))
        connection, _ = listener.accept()
        with connection:
            loads(connection.recv(2048))
        durations.append(time.perf_counter() - begun)
    return {"p50_us": round(statistics.median(durations) * 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.multicast", description=__doc__.partition("\n")[0])
    parser.add_argument("role", choices=["serve", "client"])
    parser.add_argument("--interface", required=True)
    parser.add_argument("--sessions", type=int, default=300)
    args = parser.parse_args()
    if args.role == "serve":
        serve(args.interface)
    else:
        print(json.dumps(client(args.interface, args.sessions)))


if __name__ == "__main__":
    main()
