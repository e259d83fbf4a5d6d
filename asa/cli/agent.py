"""The agent a command talks to, asked over its HTTP API."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from asa.cli.arguments import DEFAULT_TIMEOUT, REMOTE, UsageError
from asa.cli.shapes import BadAnswer
from asa.errors import AsaError, BadRequest, Duplicate, Elsewhere, Forbidden, Unreachable

if TYPE_CHECKING:
    from asa.northbound.client import Client

PAGE = 1_000
"""Items asked for at a time: the most the API gives."""


def lost(error: AsaError) -> bool:
    """Whether there was no answer: an error that an agent answered with brings the code the agent gave it along."""
    return isinstance(error, Unreachable) and "code" not in vars(error)


class Agent:
    """Connects when it is first asked. Every call raises AsaError: the agent's own, or that there is none."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._patience_s = getattr(arguments, "patience", 0) / 1000

    @cached_property
    def client(self) -> Client:
        return self._client(self._arguments.timeout + self._patience_s)

    def _client(self, timeout: float) -> Client:
        # Not before it is needed: checking a configuration or printing a completion asks nobody.
        from asa.northbound.client import Client, Tls

        given = self._arguments
        if given.tcp is None:
            return Client(f"unix:{given.socket}", timeout=timeout)
        token = None if given.token_file is None else _token(given.token_file)
        tls = Tls(given.cacert, given.expected or "", given.cert, given.key_file)
        try:
            return Client(_endpoint(given.tcp), token=token, timeout=timeout, tls=tls)
        except BadRequest as error:
            raise UsageError(error.message, hint=error.hint) from None

    @cached_property
    def secret(self) -> dict[str, str]:
        """The header that shows the secret of the file that is named; empty if none is. Raises UsageError."""
        file = getattr(self._arguments, "secret_file", None)
        if file is None:
            return {}
        from asa.cli.secret import HEADER, read_secret

        return {HEADER: read_secret(file)}

    def _ask(self, method: str, path: tuple[str, ...], **given: Any) -> Any:
        try:
            return self.client.request(method, _path(path), **given)
        except (Duplicate, Elsewhere, Forbidden) as error:
            error.hint = self._advice(error)
            raise
        except OSError as error:
            raise Unreachable(f"the agent cannot be reached: {error.strerror or error}") from error

    def _advice(self, error: AsaError) -> str:
        if isinstance(error, Forbidden):
            if "needed" in error.details:
                return error.hint
            if getattr(self._arguments, "secret_file", None) is None:
                return "--secret-file FILE with the secret that opens it, or the administrator's"
            return "the secret given is not the one that opens it, nor the administrator's"
        of = "node" if isinstance(error, Elsewhere) else "id"
        found = error.details.get(of)
        if not isinstance(found, str):
            return error.hint
        if isinstance(error, Elsewhere):
            return f"ask the agent on {found.partition('#')[0]}: the same command, given there"
        return f"{self.command('show', found)} shows it: change or cancel that one, or name another flow"

    def get(self, *path: str, **query: Any) -> Any:
        """``query`` values that are None are left out."""
        return self._ask("GET", path, query=query)

    def post(self, *path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self._ask("POST", path, body=body, headers=headers)

    def put(self, *path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        return self._ask("PUT", path, body=body, headers=headers)

    def patch(self, *path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        return self._ask("PATCH", path, body=body, headers=headers)

    def delete(self, *path: str, headers: dict[str, str] | None = None, **query: Any) -> Any:
        return self._ask("DELETE", path, headers=headers, query=query)

    def pages(self, most: int | None = None, **query: Any) -> dict[str, Any]:
        """All reservations that fit, or the first ``most`` and a few, as one page with nothing behind it.

        A page with none of them may still have a next one.
        """
        found: list[Any] = []
        after: str | None = None
        while True:
            page = self.get("reservations", **query, after=after, limit=PAGE)
            if not isinstance(page, dict) or not isinstance(page.get("reservations"), list):
                raise BadAnswer("the agent's answer is no page of reservations")
            found += page["reservations"]
            following = page.get("next")
            if following is None or (most is not None and len(found) >= most):
                return page | {"reservations": found, "next": None}
            if not isinstance(following, str) or following == after:
                raise BadAnswer("the agent's pages do not go on")
            after = following

    def stream(self, after: int) -> Iterator[Any]:
        """Events as they happen, until the agent ends."""
        from http.client import HTTPException

        try:
            yield from self.client.events(after)
        except (OSError, ValueError, HTTPException) as error:
            raise Unreachable(f"the stream of events broke: {error}") from error

    def life(self, within_s: float) -> tuple[Any, ...]:
        """What the agent's next life has differently, asked on a connection that is not kept. Raises AsaError."""
        with self._client(min(within_s, self._arguments.timeout)) as client:
            try:
                status = client.request("GET", "/v1/status")
            except OSError as error:
                raise Unreachable(f"the agent cannot be reached: {error.strerror or error}") from error
        if not isinstance(status, dict):
            raise BadAnswer("the agent's answer is no status")
        return tuple(status.get(each) for each in ("instance", "pid", "started"))

    def command(self, *words: str) -> str:
        """A command for the same agent and with the same secret's file, ready to be pasted into a shell."""
        arguments = self._arguments
        where: list[str] = []
        if words[0] != "show" and getattr(arguments, "secret_file", None) is not None:
            where += ["--secret-file", arguments.secret_file]
        if arguments.tcp is not None:
            where += ["--tcp", _endpoint(arguments.tcp)]
            for option, name in REMOTE.items():
                if (value := getattr(arguments, name)) is not None:
                    where += [option, value]
        elif arguments.chosen_socket is not None:
            where += ["--socket", arguments.chosen_socket]
        if arguments.timeout != DEFAULT_TIMEOUT:
            where += ["--timeout", f"{round(arguments.timeout * 1000)}ms"]
        return shlex.join(["asa", *words, *where])


def _endpoint(tcp: tuple[str, int]) -> str:
    host, port = tcp
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path(segments: tuple[str, ...]) -> str:
    # "." and ".." would be taken for steps in the path.
    quoted = [quote(each, safe="") for each in segments]
    return "/v1/" + "/".join(each.replace(".", "%2E") if set(each) == {"."} else each for each in quoted)


def _token(file: str) -> str:
    try:
        found = Path(file).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not ASCII text"
        raise UsageError(f"--token-file {file}: {why}", hint="the file the agent's configuration names") from None
    if not found or not found.isprintable() or " " in found:
        raise UsageError(f"--token-file {file}: no token in it", hint="one line of printable characters")
    return found
