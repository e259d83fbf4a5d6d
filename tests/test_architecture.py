"""The shape of the house: which module may import which, read from the sources without running them."""

from __future__ import annotations

import ast
import importlib
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import grasp

ROOT = Path(grasp.__file__).parent
LONGEST = 400

LAYERS = [
    ["grasp.constants", "grasp.errors", "grasp.limits", "grasp.cbor"],
    ["grasp.wire"],
    [
        "grasp.seen",
        "grasp.rates",
        "grasp.session",
        "grasp.locators",
        "grasp.discovery",
        "grasp.flooding",
        "grasp.calls",
    ],
    ["grasp.transport"],
    ["grasp.core"],
    ["grasp.arguments", "grasp.api", "grasp.dull", "grasp"],
    ["grasp.rfc8991"],
    ["grasp.cli", "grasp.__main__"],
]
"""From the ground up. A module imports only from its own layer and those below it."""

WITHOUT_IO = [
    "grasp.constants", "grasp.errors", "grasp.limits", "grasp.cbor",
    "grasp.wire", "grasp.wire.address", "grasp.wire.codec", "grasp.wire.locator", "grasp.wire.message",
    "grasp.wire.objective", "grasp.wire.relay", "grasp.wire.stream",
    "grasp.seen", "grasp.rates", "grasp.session", "grasp.locators", "grasp.discovery", "grasp.flooding", "grasp.calls",
    "grasp.core.registry",
]  # fmt: skip
"""Rules and values: sockets, threads, clocks and files are handed in, or better, not there."""

IO = {
    "asyncio", "concurrent", "datetime", "fcntl", "http", "io", "logging", "multiprocessing", "netifaces", "pathlib",
    "queue", "select", "selectors", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile",
    "threading", "time", "urllib",
}  # fmt: skip


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def _imports(module: str) -> set[str]:
    """Every module imported anywhere in ``module``, inside functions and for type checking too."""
    tree = ast.parse(MODULES[module].read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found


IMPORTS = {module: _imports(module) for module in MODULES}


def _layer(module: str) -> int:
    """The layer named by the longest prefix; the bare package only stands for itself."""
    fitting = [
        (len(name), level)
        for level, names in enumerate(LAYERS)
        for name in names
        if module == name or (name != "grasp" and module.startswith(f"{name}."))
    ]
    assert fitting, f"{module} has no layer: say in LAYERS where it belongs"
    return max(fitting)[1]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_downwards(module: str) -> None:
    ours = {each for each in IMPORTS[module] if each.partition(".")[0] == "grasp"}
    assert ours <= set(MODULES)
    upwards = {each for each in ours if _layer(each) > _layer(module)}
    assert upwards == set()


def test_there_is_no_import_cycle() -> None:
    graph = {module: {each for each in found if each in MODULES} for module, found in IMPORTS.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_the_protocol_knows_nothing_of_bandwidth_nor_of_the_laboratory(module: str) -> None:
    above = {"asa", "objectives", "lab", "tests", "bench", "examples"}
    assert {each.partition(".")[0] for each in IMPORTS[module]} & above == set()


@pytest.mark.parametrize("module", WITHOUT_IO)
def test_a_module_of_rules_imports_nothing_that_does_io(module: str) -> None:
    assert {each.partition(".")[0] for each in IMPORTS[module]} & IO == set()


def test_every_module_of_rules_and_every_one_below_the_api_that_says_it_does_no_io_is_in_the_list() -> None:
    says_so = {
        module
        for module, path in MODULES.items()
        if _layer(module) < _layer("grasp.api")
        and re.search(r"\b(no|without) I/O\b", ast.get_docstring(ast.parse(path.read_text())) or "", re.IGNORECASE)
    }
    assert says_so | {module for module in MODULES if _layer(module) <= _layer("grasp.calls")} == set(WITHOUT_IO)


def test_no_rule_reads_a_clock_or_opens_a_file() -> None:
    for module in WITHOUT_IO:
        for node in ast.walk(ast.parse(MODULES[module].read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"open", "print", "input"}, module


def test_modules_are_small() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count >= LONGEST} == {}


@pytest.mark.parametrize("package", ["grasp", "grasp.wire", "grasp.core", "grasp.rfc8991"])
def test_public_names_are_listed_sorted_and_there(package: str) -> None:
    module = importlib.import_module(package)
    names = list(module.__all__)
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []
    assert not any(name.startswith("_") for name in names)


def test_every_public_class_and_function_of_grasp_says_what_it_is() -> None:
    undocumented = [
        name for name in grasp.__all__ if callable(value := getattr(grasp, name)) and not (value.__doc__ or "").strip()
    ]
    assert undocumented == []


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))] == []
