"""Running an agent as a process: the store, the agent, its API, signals, restarts."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from random import SystemRandom
from typing import Final, NoReturn

from asa.agent import Agent
from asa.config import Config
from asa.errors import AsaError
from asa.northbound.access import Local
from asa.northbound.server import Server
from asa.remote import remote_of
from asa.salvaged import kept
from asa.store import Store, salvage
from grasp import GraspError

_log = logging.getLogger("asa")

HANDED_ON: Final = "ASA_HANDED_ON"
"""Environment of a successor: listening sockets and the number of failures before it, as JSON."""

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
CALM_S: Final = 600.0
"""An agent that ran so long has recovered: its next failure counts as the first."""

DRAIN_S: Final = 5.0
SALVAGE: Final = "--salvage"
"""The option that is an operator's decision once, and not its successors'."""


def run(config: Config, *, salvaged: bool = False) -> int:
    """Until SIGTERM or SIGINT; SIGHUP replaces the program by what is installed now. Returns the exit status.

    ``salvaged``: after damage, go on as a new instance with what can still be read. Raises AgentError.
    """
    logging.basicConfig(
        level=config.agent.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    handed_on = json.loads(os.environ.pop(HANDED_ON, "{}"))
    failures = int(handed_on.get("failures", 0))
    began = time.monotonic()
    if salvaged:
        _salvage(config)
    store = Store.open(config.agent.state_dir, now=int(time.time()))
    agent = Agent(config, store)
    api = config.api
    server = Server(
        agent.operations,
        api.socket,
        mode=api.socket_mode,
        group=api.socket_group,
        local=Local(api.operators, api.consumers, api.readers),
        remote=remote_of(config, lambda: agent.node.revocations),
        workers=api.workers,
        rate=api.rate,
        inherited=handed_on.get("fds", []),
    )
    # A successor lets whoever asks wait in the backlog until it can answer; any other says that it is starting.
    replaces = bool(handed_on.get("fds")) and not failures
    if not replaces:
        server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.end("stop", "a signal"))
    signal.signal(signal.SIGHUP, lambda *_: agent.end("restart", "SIGHUP"))
    try:
        agent.start()
        if replaces:
            server.start()
        _log.info("serving %s", api.socket)
        how, why = agent.endings.get()
    except GraspError as error:
        how, why = "fatal", str(error)
        if replaces:
            server.start()
    except AsaError:
        server.stop(0)
        store.close()
        raise
    _log.info("ending: %s: %s", how, why)
    if how == "fatal":
        _last_resort(server.fds(), 1 if time.monotonic() - began > CALM_S else failures + 1)
    # Who connects from now on waits in the backlog for the successor, if there is one.
    fds = server.fds() if how == "restart" else []
    server.stop(DRAIN_S)
    if how == "removed":
        agent.farewell()
    agent.stop()
    store.close()
    if how == "restart" and not _stopped(agent):
        _successor(fds, 0)
    if how == "restart":
        api.socket.unlink(missing_ok=True)
    if how == "removed":
        _purge(config)
    return 0


def _stopped(agent: Agent) -> bool:
    """Whether somebody has asked for the end meanwhile. From here on a signal ends the process at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    while not agent.endings.empty():
        if agent.endings.get()[0] == "stop":
            return True
    return False


def _salvage(config: Config) -> None:
    """An operator's decision after damage: go on, as a new instance, with what is still true (:mod:`asa.salvaged`)."""
    now = int(time.time())
    found = salvage(config.agent.state_dir, now)
    for each in found.lost:
        _log.warning("lost: %s", each)
    records = kept(found.records, not found.lost, config.pools, now)
    _log.warning("going on as a new instance with %d of %d records", len(records), len(found.records))
    Store.create_from(config.agent.state_dir, records, now=now).close()


def _last_resort(fds: list[int], failures: int) -> NoReturn:
    """Begin anew after a pause that doubles with each failure in a row (RFC 9222 §8).

    Threads may hang, so nothing is waited for: what is durable is what counts.
    """
    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(16, failures - 1)) * SystemRandom().uniform(0.5, 1.5)
    _log.error("restarting the agent in %.1f s, after %d failures in a row", pause, failures)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    time.sleep(pause)
    _successor(fds, failures)


def _successor(fds: list[int], failures: int) -> NoReturn:
    """Replace the program in this very process; listening sockets live on."""
    # One more until the successor has its own handler would end the process, and asks for what happens anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.environ[HANDED_ON] = json.dumps({"fds": fds, "failures": failures})
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *(each for each in sys.orig_argv[1:] if each != SALVAGE)])


def _purge(config: Config) -> None:
    """The state of an agent that is gone: keys and everything else."""
    directory = config.agent.state_dir
    for each in sorted(directory.glob("*")):
        if each.is_file():
            each.unlink()
    _log.info("%s is purged", directory)
