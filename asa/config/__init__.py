"""The mandate: what an operator writes down for one agent, in TOML, checked whole (``docs/configuration.md``).

Every problem of a file is reported at once, each with where it is, what is wrong and what is allowed. A key that does
not exist is a problem too: a limit with a typing error in its name is a limit that is not there.
"""

from __future__ import annotations

import difflib
import grp
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from asa.config.sections import (
    AgentSection,
    ApiSection,
    Config,
    GraspSection,
    LimitsSection,
    PoolSeed,
    Problems,
    Section,
    pools_together,
    problem_text,
)
from asa.config.values import shown
from asa.errors import BadConfig

__all__ = [
    "MAX_FILE",
    "AgentSection",
    "ApiSection",
    "Config",
    "GraspSection",
    "LimitsSection",
    "PoolSeed",
    "load",
    "parse",
    "problem_text",
]

MAX_FILE: Final = 1 << 20
"""Bytes of a file; a longer one is refused, which bounds the pools too."""

_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "agent": AgentSection,
    "grasp": GraspSection,
    "api": ApiSection,
    "limits": LimitsSection,
}
_REQUIRED: Final[Mapping[type[Section], tuple[str, ...]]] = {
    AgentSection: ("name", "mode"),
    PoolSeed: ("name", "capacity"),
}


def load(path: str | Path) -> Config:
    """The configuration in a file; what it names on this host is looked at too. Raises :class:`BadConfig`."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise BadConfig(f"{file} is too long", hint=f"at most {MAX_FILE} bytes")
        text = content.decode()
    except FileNotFoundError:
        raise BadConfig(
            f"there is no file {file}", hint="start from examples/origin.toml or examples/delegator.toml"
        ) from None
    except PermissionError:
        raise BadConfig(f"{file} may not be read", hint="run as the agent's user, or let its group read it") from None
    except UnicodeDecodeError as error:
        raise BadConfig(f"{file} is not UTF-8, from byte {error.start} on", hint="TOML is UTF-8 text") from None
    except OSError as error:
        raise BadConfig(f"{file} cannot be read: {error.strerror}", hint="give the name of a TOML file") from None
    return _parse(text, str(file), _on_this_host)


def parse(text: str, source: str) -> Config:
    """The configuration in ``text``; ``source`` names it in errors. Raises :class:`BadConfig`."""
    return _parse(text, source, lambda api, problems: None)


def _parse(text: str, source: str, look: Callable[[ApiSection, Problems], None]) -> Config:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        why = re.sub(r" \(at .*\)$", "", str(error)) if isinstance(error, tomllib.TOMLDecodeError) else "out of bounds"
        problem: dict[str, Any] = {"key": "", "problem": f"is not TOML: {why}", "allowed": ""}
        where = ""
        if at := _place(str(error), text):
            problem["line"], problem["column"] = at
            where = f", line {at[0]}, column {at[1]}"
        raise BadConfig(
            f"{source}{where}: not TOML: {why}", hint="see https://toml.io", details={"problems": [problem]}
        ) from None
    problems = Problems()
    sections: dict[str, Any] = {}
    for name in document:
        if name not in _SECTIONS and name != "pool":
            _unknown(name, name, [*_SECTIONS, "pool"], problems)
    for name, made in _SECTIONS.items():
        table = document.get(name, {})
        if isinstance(table, dict):
            sections[name] = _section(made, table, name, problems)
        else:
            problems.add(name, f"is {shown(table)}", f"a section: [{name}]")
    agent = document.get("agent")
    pools = _pools(document.get("pool", []), agent.get("mode") if isinstance(agent, dict) else None, problems)
    if isinstance(sections.get("api"), ApiSection):
        look(sections["api"], problems)
    problems.raise_any(source)
    return Config(sections["agent"], sections["grasp"], sections["api"], pools, sections["limits"])


def _place(error: str, text: str) -> tuple[int, int] | None:
    """The line and column, from 1, of an error of tomllib, which keeps them in its message only."""
    if found := re.search(r"\(at line ([0-9]+), column ([0-9]+)\)$", error):
        return int(found[1]), int(found[2])
    if error.endswith("(at end of document)"):
        return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1
    return None


def _section(made: type[Section], table: Mapping[str, Any], path: str, problems: Problems) -> Any:
    """One section with the values that are right, so that all of it can be checked further; None if that is too few."""
    wrong = set()
    for name in table:
        if name not in made.RULES:
            _unknown(f"{path}.{name}", name, list(made.RULES), problems)
    values = {}
    for name, rule in made.RULES.items():
        if name in table:
            before = len(problems.found)
            values[name] = problems.reading(f"{path}.{name}", rule, table[name])
            if len(problems.found) > before:
                del values[name]
                wrong.add(name)
        elif name in _REQUIRED.get(made, ()):
            problems.add(f"{path}.{name}", "is missing", "required")
    if not set(_REQUIRED.get(made, ())) <= set(values):
        return None
    try:
        return made(**values)
    except BadConfig as error:
        for each in error.details["problems"]:
            if each["key"] not in wrong:
                problems.add(f"{path}.{each['key']}", each["problem"], each["allowed"])
        return None


def _unknown(path: str, name: str, known: list[str], problems: Problems) -> None:
    hint = ""
    if near := difflib.get_close_matches(name.lower(), known, 1):
        hint = f"; did you mean {near[0]}?"
    elif elsewhere := [section for section, made in _SECTIONS.items() if name in made.RULES]:
        hint = f"; it belongs to [{elsewhere[0]}]"
    problems.add(path, f"does not exist{hint}", ", ".join(known))


def _pools(tables: Any, mode: str | None, problems: Problems) -> tuple[PoolSeed, ...]:
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        problems.add("pool", "is no list of sections", "[[pool]], with two brackets, once for each pool")
        return ()
    read = [_section(PoolSeed, each, f"pool[{index}]", problems) for index, each in enumerate(tables)]
    names = [each.get("name") for each in tables]
    pools_together(mode, [each if isinstance(each, str) else None for each in names], problems)
    return tuple(each for each in read if each is not None)


def _on_this_host(api: ApiSection, problems: Problems) -> None:
    if api.socket_group is not None:
        try:
            grp.getgrnam(api.socket_group)
        except KeyError:
            problems.add("api.socket_group", f"is {api.socket_group}", "a group of this host (getent group)")
    if api.token_file is not None:
        try:
            found = api.token_file.stat()
        except OSError as error:
            problems.add("api.token_file", f"cannot be read: {error.strerror}", "a file with a token")
            return
        if not stat.S_ISREG(found.st_mode):
            problems.add("api.token_file", "is no file", "a file with a token")
        elif found.st_mode & stat.S_IRWXO:
            problems.add("api.token_file", "is open to everybody on this host", f"chmod o= {api.token_file}")
