"""What tshark, which knows nothing of ours, makes of a capture file of the lab."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

from grasp.wire import Flood, decode_message

GROUP, PORT = "ff02::13", 7017
NEIGHBOR = "EX9.Neighbor"
#: Names of the lab, its pools and its policy, some of which are in every message but those of DULL.
KNOWN = ("EX1.", "EX1.Resource", "EX1.Params", "flood_interval", "origin", "lab.example.com")


def _tshark(file: Path, shown: str, *fields: str, decoded: tuple[str, ...] = ()) -> list[list[str]]:
    command = ["tshark", "-n", "-r", str(file), *decoded, "-Y", shown, "-T", "fields"]
    for each in fields:
        command += ["-e", each]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    return [line.split("\t") for line in found.splitlines()]


def announcements(file: Path) -> Counter[str]:
    """Multicasts by sender; each is an M_FLOOD of the neighbour objective and nothing else, or this fails."""
    found: Counter[str] = Counter()
    for source, destination, payload in _tshark(file, "udp", "ipv6.src", "ipv6.dst", "udp.payload"):
        assert destination == GROUP
        message = decode_message(bytes.fromhex(payload))
        assert isinstance(message, Flood)
        assert {(each.objective.name, each.objective.loop_count) for each in message.entries} == {(NEIGHBOR, 1)}
        found[source] += 1
    return found


def streams(file: Path) -> dict[str, int]:
    """How many TCP streams with data there are, how many of them are TLS, and packets of them that show something."""
    listening = {port for (port,) in _tshark(file, "tcp.flags.syn == 1 && tcp.flags.ack == 0", "tcp.dstport")}
    decoded = tuple(word for port in sorted(listening) for word in ("-d", f"tcp.port=={port},tls"))
    every = {each for (each,) in _tshark(file, "tcp.len > 0", "tcp.stream", decoded=decoded)}
    opened = {each for (each,) in _tshark(file, "tls.handshake.type == 1", "tcp.stream", decoded=decoded)}
    bare = "tcp.len > 0 && !tls && !tcp.reassembled_in && !tcp.analysis.flags"
    certificates = "tls.handshake.type == 11"
    words = " || ".join(f'tcp.payload contains "{each}"' for each in KNOWN)
    return {
        "with data": len(every),
        "tls": len(opened),
        "not tls": len(every - opened),
        "bare packets": len(_tshark(file, bare, "frame.number", decoded=decoded)),
        "certificates": len(_tshark(file, certificates, "frame.number", decoded=decoded)),
        "words": len(_tshark(file, words, "frame.number", decoded=decoded)),
    }
