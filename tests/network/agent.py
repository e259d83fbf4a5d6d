"""A GRASP node in a process of its own, steered over stdin and stdout: ``python -m tests.network.agent``.

Each line is a JSON object. A command is ``{"id": 1, "do": "discover", "args": [...], "kw": {...}}`` and calls
the method ``do_discover``, in a thread of its own, so a call may block. The answer has the same id, and
``result`` or ``error`` (an error code's name) with ``detail``. The end of stdin ends the process.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections import Counter, deque
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from grasp import ASA, FloodItem, GraspError, Limits, Node, Objective, Peer, TaggedObjective
from grasp import Negotiation as Session
from grasp.constants import F_DISC

from .values import from_json, locator_from_json, locator_to_json, to_json

KINDS = {"negotiate": Objective.negotiation, "synchronize": Objective.synchronization}
HOLD = 60.0
KEPT = 500  #: of what has happened, lest the agent grow in an attack of hours


class Agent:
    """The commands. ``asa`` names the ASA that acts, registered when it is first named."""

    def __init__(self) -> None:
        self.node: Node | None = None
        self.asas: dict[str, ASA] = {}
        self.sessions: dict[int, Session] = {}
        self.served: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.flooded: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.calls: Counter[str] = Counter()
        self.gates: dict[str, threading.Event] = {}
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()

    # -- life

    def do_start(self, interfaces=None, *, address=None, limits=None, identity=None, **kw):
        """``identity``: the directory it is in."""
        self.asas.clear()
        if identity is not None:
            from grasp.security import Identity

            kw["identity"] = Identity.load(Path(identity))
        self.node = Node(
            interfaces,
            address=ip_address(address) if address else None,
            limits=Limits(**limits) if limits else None,
            **kw,
        ).start()
        return self.do_info()

    def do_stop(self):
        """How many seconds it took."""
        before = time.monotonic()
        self.node.stop()
        return time.monotonic() - before

    def do_cycles(self, count, interfaces):
        """Start, use and stop ``count`` nodes, one after the other: threads and descriptors before and after."""

        def level():
            gc.collect()
            return [len(self.do_thread_names()), len(os.listdir("/proc/self/fd"))]

        before = level()
        for _ in range(count):
            with Node(interfaces) as node:
                asa = node.register_asa("cycle")
                asa.register(Objective.synchronization("cycle"))
                asa.publish(Objective.synchronization("cycle", 1))
                asa.flood(Objective.synchronization("cycle", 2))
                asa.discover("nobody has it", timeout=1)
        return [before, level()]

    def do_info(self):
        return {
            "port": self.node.port,
            "address": str(self.node.address) if self.node.address else None,
            "interfaces": {
                each.name: {
                    "index": each.index,
                    "link_local": str(each.link_local) if each.link_local else None,
                    "routed": [str(address) for address in each.routed],
                    "ipv4": [str(address) for address in each.ipv4],
                }
                for each in self.node.interfaces
            },
        }

    def do_statistics(self):
        found = self.node.statistics
        return {
            "sessions": found.sessions,
            "floods": found.floods,
            "objectives_located": found.objectives_located,
            "discarded": found.discarded,
        }

    def do_neighbours(self):
        """Who is on the links: name, address and state."""
        return [[each.member and each.member.name, str(each.address), each.state] for each in self.node.neighbours]

    def do_calls(self):
        """How often handlers were called, for each objective."""
        with self.lock:
            return dict(self.calls)

    def do_thread_names(self):
        return sorted(each.name for each in threading.enumerate() if not each.name.startswith("steer"))

    def do_open_gate(self, gate):
        self._gate(gate).set()

    def _gate(self, name):
        with self.lock:
            return self.gates.setdefault(name, threading.Event())

    # -- registration

    def asa(self, name):
        with self.lock:
            if name not in self.asas:
                self.asas[name] = self.node.register_asa(name)
            return self.asas[name]

    def do_register(self, name, kind="negotiate", *, asa="asa", dry_run=False, **kw):
        if kind == "discover":
            objective = Objective(name, F_DISC)
        elif kind == "negotiate":
            objective = Objective.negotiation(name, dry_run=dry_run)
        else:
            objective = KINDS[kind](name)
        self.asa(asa).register(objective, **kw)

    def do_deregister(self, name, *, asa="asa"):
        self.asa(asa).deregister_objective(name)

    def do_deregister_asa(self, asa="asa"):
        with self.lock:
            leaving = self.asas.pop(asa)
        leaving.deregister()

    # -- discovery

    def _peer(self, peer):
        if peer is None:
            return None
        locator, interface, *member = peer
        if isinstance(interface, str):
            interface = next(each.index for each in self.node.interfaces if each.name == interface)
        return Peer(locator_from_json(locator), interface, *member)

    def do_discover(self, objective, timeout=5_000, *, peer=None, asa="asa", loop_count=None, **kw):
        if loop_count is not None:
            objective = Objective(objective, F_DISC, loop_count)
        found = self.asa(asa).discover(objective, timeout, peer=self._peer(peer), **kw)
        now = time.monotonic()
        names = {each.index: each.name for each in self.node.interfaces}
        return [
            {
                "locator": locator_to_json(each.locator),
                "interface": names.get(each.interface, each.interface),
                "diverted": each.diverted,
                "left": each.expires - now,
            }
            for each in found
        ]

    # -- negotiation

    def _told(self, session):
        number = None
        if not session.ended:
            number = next(self.numbers)
            self.sessions[number] = session
            with self.lock:
                if len(self.sessions) > KEPT:
                    del self.sessions[next(iter(self.sessions))]
        return {"session": number, **self._state(session)}

    def _state(self, session):
        return {
            "agreed": session.agreed,
            "value": to_json(session.offer.value),
            "loop_count": session.offer.loop_count,
            "dry_run": session.dry_run,
            "peer": str(session.peer) if session.peer else None,
        }

    def do_negotiate(self, name, value, *, peer=None, timeout=10_000, rapid=False, asa="asa", **kw):
        objective = Objective.negotiation(name, from_json(value), **kw)
        return self._told(self.asa(asa).negotiate(objective, self._peer(peer), timeout, rapid=rapid))

    def do_negotiate_all(self, name, count, *, peer=None, timeout=10_000):
        """``count`` negotiations at once: how each ended."""
        endings = []

        def one(value):
            try:
                session = self.asa("asa").negotiate(Objective.negotiation(name, value), self._peer(peer), timeout)
                with session:
                    ending = "agreed" if session.agreed else "offered"
            except GraspError as error:
                ending = error.code.name
            endings.append(ending)

        threads = [threading.Thread(target=one, args=(n,), name=f"steer-{n}") for n in range(count)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return endings

    def do_propose(self, number, value, *, timeout=10_000):
        session = self.sessions[number]
        session.propose(from_json(value), timeout)
        return self._state(session)

    def do_wait(self, number, milliseconds):
        self.sessions[number].wait(milliseconds)

    def do_accept(self, number):
        return to_json(self.sessions[number].accept().value)

    def do_decline(self, number, reason=None):
        self.sessions[number].decline(reason)

    def do_invalid(self, number, info=""):
        self.sessions[number].invalid(info.encode())

    def do_listen(self, name, timeout=10_000, *, asa="asa"):
        return self._told(self.asa(asa).listen(name, timeout))

    def do_stop_listening(self, name, *, asa="asa"):
        self.asa(asa).stop_listening(name)

    def do_serve(self, name, script, *, asa="asa"):
        """Play ``script`` in every negotiation of ``name``; `served` tells how each went."""

        def handler(session):
            record = {"name": name, "asa": asa, "offers": [], **self._state(session), "ending": "open"}
            with self.lock:
                self.served.append(record)
                self.calls[name] += 1
            try:
                self._play(script, session, record)
            except GraspError as error:
                record["ending"] = error.code.name
                raise
            except Exception as error:
                record["ending"] = type(error).__name__
                raise

        self.asa(asa).on_negotiate(name, handler)

    def _play(self, script, session, record):
        record["offers"].append(to_json(session.offer.value))
        for action, *argument in script:
            if action == "wait":
                session.wait(argument[0])
            elif action == "hold":
                self._gate(argument[0]).wait(HOLD)
            elif action == "propose":
                session.propose(from_json(argument[0]))
                record["offers"].append(to_json(session.offer.value))
                if session.agreed:
                    record["ending"] = "agreed"
                    return
            elif action == "accept":
                session.accept()
                record["ending"] = "accepted"
            elif action == "decline":
                session.decline(*argument)
                record["ending"] = "declined"
            elif action == "invalid":
                session.invalid(b"no idea")
                record["ending"] = "invalid"
            elif action == "return":
                record["ending"] = "returned"
                return
            elif action == "raise":
                raise ZeroDivisionError("the handler's own mistake")

    def do_served(self):
        with self.lock:
            return list(self.served)

    # -- synchronization and floods

    def do_synchronize(self, name, *, peer=None, timeout=10_000, rapid=False, asa="asa", **kw):
        objective = Objective.synchronization(name, **kw)
        found = self.asa(asa).synchronize(objective, self._peer(peer), timeout, rapid=rapid)
        return to_json(found.value)

    def do_publish(self, name, value, *, asa="asa"):
        self.asa(asa).publish(Objective.synchronization(name, from_json(value)))

    def do_unpublish(self, name, *, asa="asa"):
        self.asa(asa).unpublish(name)

    def do_flood(self, items, ttl=60_000, *, asa="asa", loop_count=6):
        """``items``: (name, value, locator or null) each."""
        return self.asa(asa).flood(
            [
                FloodItem(
                    Objective.synchronization(name, from_json(value), loop_count=loop_count), locator_from_json(where)
                )
                for name, value, where in items
            ],
            ttl,
        )

    def _tagged(self, each: TaggedObjective):
        return {
            "name": each.objective.name,
            "value": to_json(each.objective.value),
            "loop_count": each.objective.loop_count,
            "locator": locator_to_json(each.locator),
            "initiator": str(each.initiator) if each.initiator else None,
            "left": each.expires - time.monotonic() if each.expires is not None else None,
        }

    def do_floods(self, name=None, *, asa="asa"):
        return [self._tagged(each) for each in self.asa(asa).floods(name)]

    def do_wait_flood(self, name, timeout=10_000, *, asa="asa"):
        return [self._tagged(each) for each in self.asa(asa).wait_flood(name, timeout)]

    def do_on_flood(self, name=None, *, gate=None, asa="asa"):
        """Remember every flood of ``name``; with ``gate`` each handler waits for it to open."""

        def handler(tagged):
            with self.lock:
                self.flooded.append(self._tagged(tagged))
                self.calls[tagged.objective.name] += 1
            if gate is not None:
                self._gate(gate).wait(HOLD)

        self.asa(asa).on_flood(name, handler)

    def do_flooded(self):
        with self.lock:
            return list(self.flooded)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(threadName)s %(name)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    agent = Agent()
    writing = threading.Lock()

    def answer(command):
        try:
            method = getattr(agent, f"do_{command['do']}")
            reply = {"result": method(*command.get("args", ()), **command.get("kw", {}))}
        except GraspError as error:
            reply = {"error": error.code.name, "detail": str(error), "kind": type(error).__name__}
        except Exception:
            reply = {"error": "crash", "detail": traceback.format_exc(), "kind": "crash"}
        with writing:
            print(json.dumps({"id": command["id"], **reply}), flush=True)

    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), name="steer", daemon=True).start()
    if agent.node is not None:
        agent.node.stop()


if __name__ == "__main__":
    main()
