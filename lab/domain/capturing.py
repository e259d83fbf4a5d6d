"""A capture file of everything that crosses the links between the nodes, for ``CAPTURE=FILE make run``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import dpkt

from lab import Host
from lab.capture import Capture


@contextlib.contextmanager
def capturing(wires: Sequence[tuple[Host, str]], file: Path) -> Iterator[None]:
    """Each wire is a host's end of a link. The file is there when the block has ended, however it ends.

    Raises OSError if it cannot be written.
    """
    with open(file, "wb") as stream:
        captures = [Capture(host, device) for host, device in wires]
        try:
            with contextlib.ExitStack() as running:
                for each in captures:
                    running.enter_context(each)
                yield
        finally:
            writer = dpkt.pcap.Writer(stream, snaplen=1 << 17, nano=True)
            for frame in sorted(frame for each in captures for frame in each.frames):
                writer.writepkt(frame.data, frame.time)
