"""A member in a process of its own, to be killed: ``python -m tests.links.member DIRECTORY``."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from grasp import Node, Objective
from grasp.security import Identity


def main() -> None:
    identity = Identity.load(Path(sys.argv[1]))
    node = Node(identity=identity, name="member")
    with node:
        asa = node.register_asa("flooder")
        asa.register(Objective.synchronization("EX1"))

        def tell(_: int) -> None:
            asa.flood(Objective.synchronization("EX1", f"from {identity.name}"), 60_000)

        node.on_neighbour(tell)
        threading.Event().wait()


if __name__ == "__main__":
    main()
