"""The mandate: what an operator writes down for one agent, in TOML, checked whole (``docs/configuration.md``).

Every problem of a file is reported at once, each with where it is, what is wrong and what is allowed. A key that does
not exist is a problem too: a limit with a typing error in its name is a limit that is not there.
"""

from __future__ import annotations

import difflib
import grp
import pwd
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

# As a module: it is made of what sections are made of, so it may be the one that is imported first.
from asa import hosts
from asa.config.api import ApiSection, tcp_together
from asa.config.section import Problems, Section, problem_text
from asa.config.sections import (
    AgentSection,
    Config,
    EnforcementSection,
    FlowsSection,
    GraspSection,
    LimitsSection,
    LinkSection,
    PoolSeed,
    RouteSection,
    each_once,
    links_together,
    pools_together,
)
from asa.config.security import AllowSection, DomainSection, allowed_together
from asa.config.values import Read, Wrong, a_name, a_prefix, a_rate, an_interface_name, shown
from asa.errors import BadConfig
from asa.traffic import BUILT_IN, TrafficClass, classes_from

__all__ = [
    "MAX_FILE",
    "AgentSection",
    "AllowSection",
    "ApiSection",
    "Config",
    "DomainSection",
    "EnforcementSection",
    "FlowsSection",
    "GraspSection",
    "LimitsSection",
    "LinkSection",
    "PoolSeed",
    "RouteSection",
    "load",
    "parse",
    "problem_text",
]

MAX_FILE: Final = 1 << 20
"""Bytes of a file; a longer one is refused, which bounds the pools, links and routes too."""

_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "agent": AgentSection,
    "grasp": GraspSection,
    "api": ApiSection,
    "limits": LimitsSection,
    "flows": FlowsSection,
    "enforcement": EnforcementSection,
    "domain": DomainSection,
}
_LISTS: Final[Mapping[str, type[Section]]] = {
    "pool": PoolSeed,
    "link": LinkSection,
    "route": RouteSection,
    "allow": AllowSection,
}
_KEYS: Final = [*_SECTIONS, "classes", *_LISTS]
_WRITTEN: Final = {f"[{name}]": made for name, made in _SECTIONS.items()} | {
    f"[[{name}]]": made for name, made in _LISTS.items()
}
_REQUIRED: Final[Mapping[type[Section], tuple[str, ...]]] = {
    AgentSection: ("name", "mode"),
    PoolSeed: ("name", "capacity"),
    LinkSection: ("interface", "capacity"),
    RouteSection: ("prefix",),
    AllowSection: ("members",),
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
    return _parse(text, source, lambda sections, problems: None)


def _parse(text: str, source: str, look: Callable[[Mapping[str, Any], Problems], None]) -> Config:
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
        if name not in _KEYS:
            _unknown(name, name, _KEYS, problems)
    for name, made in _SECTIONS.items():
        table = document.get(name, {})
        if isinstance(table, dict):
            sections[name] = _section(made, table, name, problems)
        else:
            problems.add(name, f"is {shown(table)}", f"a section: [{name}]")
    classes = _classes(document["classes"], problems) if "classes" in document else BUILT_IN
    lists = {name: _list(made, document.get(name, []), name, problems) for name, made in _LISTS.items()}
    agent = document.get("agent")
    mode = agent.get("mode") if isinstance(agent, dict) else None
    pools_together(mode, _each(a_name, document, "pool", "name"), problems)
    each_once("link", "interface", _each(an_interface_name, document, "link", "interface"), problems)
    each_once("route", "prefix", _each(a_prefix, document, "route", "prefix"), problems)
    enforcement = sections.get("enforcement")
    keys = (("interface", an_interface_name), ("capacity", a_rate(1)), ("capacity_in", a_rate(1)))
    links = zip(*(_each(read, document, "link", key) for key, read in keys), strict=True)
    links_together(enforcement and enforcement.backend, list(links), problems)
    grasp = sections.get("grasp")
    if not any(each["key"].startswith("allow") for each in problems.found):
        allowed_together(mode, grasp and grasp.substrate, lists["allow"], problems)
    tcp_together(grasp and grasp.substrate, sections.get("api"), problems)
    look(sections, problems)
    problems.raise_any(source)
    return Config(
        sections["agent"],
        sections["grasp"],
        sections["api"],
        lists["pool"],
        sections["limits"],
        lists["link"],
        lists["route"],
        sections["flows"],
        classes,
        sections["enforcement"],
        sections["domain"],
        lists["allow"],
    )


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
    if not wrong.isdisjoint(made.ONE_OF):
        wrong |= set(made.ONE_OF)
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
    elif elsewhere := [written for written, made in _WRITTEN.items() if name in made.RULES]:
        hint = f"; it belongs to {elsewhere[0]}"
    problems.add(path, f"does not exist{hint}", ", ".join(known))


def _list(made: type[Section], tables: Any, name: str, problems: Problems) -> tuple[Any, ...]:
    """A list of sections, without those that are wrong."""
    if not _are_tables(tables):
        problems.add(name, "is no list of sections", f"[[{name}]], with two brackets, once for each {name}")
        return ()
    read = [_section(made, each, f"{name}[{index}]", problems) for index, each in enumerate(tables)]
    return tuple(each for each in read if each is not None)


def _are_tables(tables: Any) -> bool:
    return isinstance(tables, list) and all(isinstance(each, dict) for each in tables)


def _each(read: Read, document: Mapping[str, Any], name: str, key: str) -> list[Any]:
    """A key of each section of a list, None where it is wrong: those of sections with other problems too."""
    tables = document.get(name, [])
    return [_or_none(read, each.get(key)) for each in tables] if _are_tables(tables) else []


def _or_none(read: Read, value: Any) -> Any:
    try:
        return read(value)
    except Wrong:
        return None


def _classes(table: Any, problems: Problems) -> tuple[TrafficClass, ...]:
    try:
        return classes_from(table).classes
    except BadConfig as error:
        for each in error.details["problems"]:
            key = f"classes.{each['key']}" if each["key"] else "classes"
            problems.add(key, each["problem"], each["allowed"])
        return ()


def _on_this_host(sections: Mapping[str, Any], problems: Problems) -> None:
    """Looks at what the sections that are right name."""
    api, flows = sections.get("api"), sections.get("flows")
    if isinstance(api, ApiSection):
        if api.socket_group is not None:
            _look_at_group(api.socket_group, problems)
        _look_at_users(api, problems)
        for key, file in _tokens(api):
            _look_at_secret(key, file, "a file with a token", problems)
        _look_at_secret("tls_key", api.tls_key, "a PEM file with a key", problems)
        _mode("api.tls_certificate", api.tls_certificate, "a PEM file with a certificate", problems)
        _mode("api.client_trust", api.client_trust, "a PEM file with certificates", problems)
        _look_at_secret("admin_file", api.admin_file, "a file with a secret", problems)
    if isinstance(flows, FlowsSection):
        _look_at_hosts(flows.hosts_file, problems)


def _look_at_group(group: str, problems: Problems) -> None:
    try:
        grp.getgrnam(group)
    except KeyError:
        problems.add("api.socket_group", f"is {group}", "a group of this host (getent group)")


def _look_at_users(api: ApiSection, problems: Problems) -> None:
    for key in ("operators", "consumers", "readers"):
        for name in getattr(api, key):
            try:
                if name.startswith("@") and not name[1:].isdigit():
                    grp.getgrnam(name[1:])
                elif name != "*" and not name.removeprefix("@").isdigit():
                    pwd.getpwnam(name)
            except KeyError:
                problems.add(f"api.{key}", f"has {name}", "users and groups of this host (getent passwd, getent group)")


def _tokens(api: ApiSection) -> Iterator[tuple[str, Path | None]]:
    yield "token_file", api.token_file
    for index, each in enumerate(api.token):
        yield f"token[{index}].file", each.file


def _look_at_secret(name: str, file: Path | None, what: str, problems: Problems) -> None:
    mode = _mode(f"api.{name}", file, what, problems)
    if mode is not None and mode & stat.S_IRWXO:
        problems.add(f"api.{name}", "is open to everybody on this host", f"chmod o= {file}")


def _look_at_hosts(file: Path | None, problems: Problems) -> None:
    key = "flows.hosts_file"
    if file is None or _mode(key, file, "a host table", problems) is None:
        return
    try:
        hosts.load(file)
    except BadConfig as error:
        for each in error.details.get("problems", []):
            problems.add(key, f"{file}: {each['key']} {each['problem']}".replace(":  ", ": "), each["allowed"])
        if not error.details:
            problems.add(key, error.message, error.hint)


def _mode(key: str, file: Path | None, what: str, problems: Problems) -> int | None:
    """The permissions of a regular file; None, and a problem, if it is none. No file is no problem."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError as error:
        problems.add(key, f"cannot be read: {error.strerror}", what)
        return None
    if not stat.S_ISREG(found.st_mode):
        problems.add(key, "is no file", what)
        return None
    return found.st_mode
