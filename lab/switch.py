"""A host's own Open vSwitch: ovsdb-server and ovs-vswitchd with a directory of their own, on the userspace datapath."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from .hosts import Host, LabError

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ethtool")
PATIENCE = 20.0  # seconds a daemon has to answer after its start


def switch_unavailable_reason() -> str | None:
    """Why no switch can be started here, or None. Tests that need one skip with it."""
    missing = [each for each in PROGRAMS if shutil.which(each) is None]
    if missing:
        return f"no {', '.join(missing)}"
    return None if SCHEMA.exists() else f"no {SCHEMA}"


class Switch:
    """Open vSwitch of one host, gone without a trace at the end of the ``with`` block, at the latest with the lab."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._temporary = tempfile.TemporaryDirectory(prefix="ovs-")
        self.directory = Path(self._temporary.name)
        self.socket = self.directory / "db.sock"
        self._environment = os.environ | {
            f"OVS_{each}DIR": str(self.directory) for each in ("RUN", "LOG", "DB", "SYSCONF")
        }
        self._server: subprocess.Popen[Any] | None = None
        self._daemon: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Switch:
        try:
            self._run("ovsdb-tool", "create", str(self.directory / "conf.db"), str(SCHEMA))
            self.start_server()
            self.vsctl("--no-wait", "init")
            self.start_daemon()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start_server(self) -> None:
        self._server = self._start("ovsdb-server", f"--remote=punix:{self.socket}", str(self.directory / "conf.db"))
        self._await(lambda: self._run("ovsdb-client", "list-dbs", f"unix:{self.socket}"))

    def start_daemon(self) -> None:
        """Start ovs-vswitchd and wait until it has done all the database says."""
        self._daemon = self._start("ovs-vswitchd", f"unix:{self.socket}")
        self._await(lambda: self.appctl("version"))
        # Only a change is waited for.
        self.vsctl("--timeout=15", "set", "Open_vSwitch", ".", f"external_ids:started={self._daemon.pid}")

    def kill_server(self) -> None:
        """SIGKILL; the database stays as it is on disk."""
        self._server = self._ended(self._server)

    def kill_daemon(self) -> None:
        """SIGKILL; flows are lost, what was set up in the kernel stays."""
        self._daemon = self._ended(self._daemon)

    def vsctl(self, *arguments: str) -> str:
        return self._run("ovs-vsctl", f"--db=unix:{self.socket}", *arguments)

    def ofctl(self, command: str, bridge: str, *arguments: str) -> str:
        """OpenFlow 1.4: ``switch.ofctl("dump-flows", "br0")``."""
        return self._run("ovs-ofctl", "-O", "OpenFlow14", command, f"unix:{self.directory / bridge}.mgmt", *arguments)

    def appctl(self, *arguments: str) -> str:
        return self._run("ovs-appctl", "-t", "ovs-vswitchd", *arguments)

    def bridge(self, name: str) -> None:
        """A new bridge; there is no kernel module in a lab."""
        self.vsctl("add-br", name, "--", "set", "Bridge", name, "datapath_type=netdev")

    def port(self, bridge: str, dev: str) -> None:
        """Add an interface of the host to a bridge."""
        # A frame whose checksum is left to hardware that is not there arrives broken.
        self._run("ethtool", "-K", dev, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
        self.vsctl("add-port", bridge, dev)

    def attach(self, bridge: str, host: Host, address: str | None = None) -> tuple[str, str]:
        """Join a host to a bridge by a cable; return its interface and the port's, both up."""
        dev, port = host.new_device(), f"{bridge}-{host.name}"[:15]
        host.ip(f"link add {dev} type veth peer name {port} netns {self.host.netns}", f"link set {dev} up")
        if address is not None:
            host.address(address, dev)
        host.run(["ethtool", "-K", dev, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"])
        self.host.up(port)
        self.port(bridge, port)
        return dev, port

    def close(self) -> None:
        """End both daemons and remove their directory; harmless when done before."""
        self._daemon = self._ended(self._daemon)
        self._server = self._ended(self._server)
        self._temporary.cleanup()

    def _run(self, *argv: str) -> str:
        try:
            return self.host.run(list(argv), env=self._environment).stdout
        except subprocess.CalledProcessError as error:
            raise LabError(f"{' '.join(argv)}: {error.stderr.strip()}") from error

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[Any]:
        with contextlib.suppress(FileNotFoundError):
            (self.directory / f"{program}.pid").unlink()
        log = self.directory / f"{program}.log"
        return self.host.popen(
            [program, "--pidfile", f"--log-file={log}", "--verbose=console:off", "--no-chdir", *arguments],
            env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _await(self, answers: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answers()
                return
            except LabError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @staticmethod
    def _ended(process: subprocess.Popen[Any] | None) -> None:
        if process is not None:
            process.kill()
            process.wait()
