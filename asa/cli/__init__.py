"""The command ``asa``, for who reserves bandwidth and who looks after an agent (``docs/agent-cli.md``)."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TextIO

from asa.cli.agent import Agent, lost
from asa.cli.arguments import UsageError, VersionAsked, parse, wants_json
from asa.cli.interrupts import Failed, Interrupted, Stopped, interrupted_by_signals
from asa.cli.output import Output, Unwritable
from asa.errors import AgentError, AsaError

__all__ = ["main"]

_OK: Final = 0
_FAILED: Final = 1
_USAGE: Final = 2
_NO_AGENT: Final = 3
_BY_SIGNAL: Final = 128
_SIGPIPE: Final = 13

# Imported when called: a list of reservations needs no configuration, a configuration no agent.
_FUNCTIONS: Final = {
    "reserve": "reserving.reserve",
    "list": "reservations.list_",
    "show": "reservations.show",
    "confirm": "changes.confirm",
    "cancel": "changes.cancel",
    "extend": "changes.extend",
    "resize": "changes.resize",
    "refresh": "changes.refresh",
    "availability": "pools.availability",
    "pool list": "pools.list_",
    "pool show": "pools.show",
    "pool add": "pools.add",
    "caps": "caps.list_",
    "caps list": "caps.list_",
    "caps set": "caps.set_",
    "caps remove": "caps.remove",
    "links": "caps.links",
    "enforcement": "enforcement.status",
    "usage": "enforcement.usage",
    "peers": "network.peers",
    "transfers": "network.transfers",
    "forfeit": "network.forfeit",
    "forget": "network.forget",
    "audit": "network.audit",
    "params": "policy.get",
    "params get": "policy.get",
    "params set": "policy.set_",
    "status": "lifecycle.status",
    "health": "lifecycle.health",
    "manifest": "lifecycle.manifest",
    "activate": "lifecycle.activate",
    "deactivate": "lifecycle.deactivate",
    "pause": "lifecycle.pause",
    "resume": "lifecycle.resume",
    "restart": "lifecycle.restart",
    "remove": "lifecycle.remove",
    "events": "events.events",
    "import-tegu": "tegu.import_",
    "run": "local.run",
    "deputy": "deputy.deputy",
    "domain init": "domain.init",
    "domain issue": "domain.issue",
    "domain renew": "domain.renew",
    "domain revoke": "domain.revoke",
    "domain crl": "domain.crl",
    "domain list": "domain.list_",
    "domain invite": "joining.invite",
    "domain join": "joining.join",
    "domain request": "domain.request",
    "domain install": "domain.install",
    "domain show": "domain.show",
    "domain check": "domain.check",
    "config check": "local.check",
    "completion": "completion.completion",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 ok, 1 refused or failed, 2 usage, 3 no agent, 4 not judged,
    128+n by signal n."""
    words = sys.argv[1:] if argv is None else list(argv)
    # A shell's >&- leaves none; argparse too writes to these.
    sys.stdout, sys.stderr = (stream or _nowhere() for stream in (sys.stdout, sys.stderr))
    output = Output(wants_json(words), sys.stdout, sys.stderr)
    try:
        with interrupted_by_signals():
            status = _run(words, output)
            output.flush()
            return status
    except Unwritable as error:
        output.forget()
        if isinstance(error.cause, BrokenPipeError):
            return _BY_SIGNAL + _SIGPIPE
        with suppress(OSError):
            print(f"asa: cannot write: {error.cause.strerror}", file=sys.stderr)
        return _FAILED
    except Interrupted as interrupted:
        # While the outcome was being written: nothing is left to say.
        return _BY_SIGNAL + interrupted.number


def _run(words: Sequence[str], output: Output) -> int:
    try:
        arguments = parse(words)
        name = " ".join(filter(None, (arguments.command, getattr(arguments, "action", None))))
        module, _, function = _FUNCTIONS[name].partition(".")
        found: int = getattr(importlib.import_module(f"asa.cli.{module}"), function)(
            arguments, Agent(arguments), output
        )
        return found
    except SystemExit:
        # Only asking for help ends argparse this way.
        return _OK
    except VersionAsked:
        # Not before: it reads the metadata of what is installed.
        version = importlib.import_module("asa.version").VERSION
        output.result({"version": version}, f"asa {version}")
        return _OK
    except UsageError as error:
        output.fail(error, usage=error.usage)
        return _USAGE
    except Failed as failed:
        output.fail(failed.error, failed.beside, failed.text, said=failed.said)
        return _BY_SIGNAL + failed.signal if failed.signal is not None else _status(failed.error)
    except AsaError as error:
        output.fail(error)
        return _status(error)
    except Interrupted as interrupted:
        output.fail(Stopped(f"stopped by {interrupted}"))
        return _BY_SIGNAL + interrupted.number
    except Unwritable:
        raise
    except Exception as error:
        output.fail(AgentError(f"{type(error).__name__}: {error}", hint="this is a defect; please report it"))
        return _FAILED


def _nowhere() -> TextIO:
    return open(os.devnull, "w")


def _status(error: AsaError) -> int:
    return _NO_AGENT if lost(error) else _FAILED
