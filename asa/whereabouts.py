"""Where things are, as this agent knows it: the host table, routes, what it serves and what others do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from asa import hosts
from asa.config import Config
from asa.errors import BadConfig
from asa.hosts import HostTable
from asa.placement import Surroundings
from asa.reach import Map
from asa.routing import Routes, kernel_interface
from objectives import NodeId

BAD_HOSTS = "host-table"


class Whereabouts:
    """``problem`` is told what is wrong with the host table, or None."""

    def __init__(self, config: Config, me: NodeId, problem: Callable[[str, str | None], None]) -> None:
        self.map = Map(me)
        self._config = config
        self._problem = problem
        self._routes = Routes(config.routes, kernel_interface if config.flows.kernel_routes else None)
        self._limited = frozenset(limits(config))
        self._lock = threading.Lock()
        self._hosts = HostTable()
        self._read: tuple[int, int, int] | None = None

    def surroundings(self) -> Surroundings:
        """As they are now. A host table that changed is read again; one that cannot be used leaves the old in force."""
        config = self._config
        return Surroundings(
            hosts=self._table(config.flows.hosts_file) if config.flows.hosts_file is not None else self._hosts,
            classes=config.classes,
            toward=self._routes.toward,
            serves=config.flows.serves,
            serving=self.map.serving,
            limited=self._limited,
            prefer=config.flows.prefer,
        )

    def _table(self, file: Path) -> HostTable:
        with self._lock:
            try:
                found = file.stat()
                version = found.st_mtime_ns, found.st_size, found.st_ino
                if version != self._read:
                    self._hosts = hosts.load(file)
                    self._read = version
                    self._problem(BAD_HOSTS, None)
            except OSError as error:
                self._read = None
                self._problem(BAD_HOSTS, f"the host table {file} cannot be read: {error.strerror}; the old one holds")
            except BadConfig as error:
                self._read = None
                self._problem(BAD_HOSTS, f"{error.message[:200]}; the old one holds")
            return self._hosts


def limits(config: Config) -> dict[str, int]:
    """bit/s that may be reserved of each direction of an interface (``eth0:out``)."""
    found: dict[str, int] = {}
    for each in config.links:
        found[f"{each.interface}:out"], found[f"{each.interface}:in"] = each.usable(config.floor)
    return found


def thresholds(config: Config) -> dict[str, int]:
    """Percent at which an alarm is told, of the interfaces with one of their own."""
    return {
        f"{each.interface}:{way}": each.alarm
        for each in config.links
        if each.alarm is not None
        for way in ("out", "in")
    }
