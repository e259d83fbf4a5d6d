"""Being the deputy of an agent that has no privileges."""

from __future__ import annotations

import argparse
import importlib
import os
import pwd
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from asa.cli.agent import Agent
from asa.cli.arguments import UsageError
from asa.cli.interrupts import defaults
from asa.cli.output import Output

ROOT: Final = 0


def deputy(arguments: argparse.Namespace, agent: Agent, output: Output) -> int:
    """Until it is stopped by a signal; its exit status is the command's. Raises AgentError."""
    uids = {_uid(each) for each in arguments.uids} or {os.getuid()}
    interfaces = _interfaces(arguments.interfaces)
    # Loaded only now, for it needs all of the data plane; signals are its own affair.
    backend = _backend(arguments.backend, arguments.take_over, arguments.ovsdb)
    defaults()
    status: int = importlib.import_module("asa.dataplane.deputy.server").run(
        backend, Path(arguments.listen), uids=uids | {ROOT}, group=arguments.group, interfaces=interfaces
    )
    return status


def _uid(text: str) -> int:
    if re.fullmatch("[0-9]{1,10}", text, re.ASCII):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise UsageError(f"--uid {text}: there is no such user", hint="a user's name, or its number") from None


def _interfaces(names: Sequence[str] | None) -> frozenset[str] | None:
    pattern: str = importlib.import_module("asa.dataplane.plan").INTERFACE
    for each in names or ():
        if not re.fullmatch(pattern, each):
            raise UsageError(f"--interface {each!a:.40} is the name of none that can be shaped")
    return None if names is None else frozenset(names)


def _backend(name: str, take_over: bool, ovsdb: str | None) -> Any:
    section = importlib.import_module("asa.config").EnforcementSection
    where = {} if ovsdb is None else {"ovsdb": Path(ovsdb)}
    chosen = section(backend=name, take_over=take_over, **where)
    return importlib.import_module("asa.dataplane.choice").backend_for(chosen, ())
